/** @file
 * Starts \virtboot.efi as a boot option does: the load options begin with an option, and no
 * program's name stands before it.
 */

#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static CHAR16 *const lines[] = {L"--version", L" --entry x"};

static EFI_STATUS start(EFI_HANDLE self, EFI_DEVICE_PATH *path, CHAR16 *line)
{
    EFI_LOADED_IMAGE *loaded = NULL;
    EFI_HANDLE image = NULL;

    EFI_STATUS status = BS->LoadImage(FALSE, self, path, NULL, 0, &image);
    if (EFI_ERROR(status))
        return status;
    status = BS->HandleProtocol(image, &LoadedImageProtocol, (VOID **)&loaded);
    if (EFI_ERROR(status))
        return status;
    loaded->LoadOptions = line;
    loaded->LoadOptionsSize = (UINT32)StrSize(line);
    return BS->StartImage(image, NULL, NULL);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_LOADED_IMAGE *own = NULL;

    InitializeLib(self, system);
    EFI_STATUS status = BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&own);
    if (EFI_ERROR(status))
        return status;
    EFI_DEVICE_PATH *path = FileDevicePath(own->DeviceHandle, L"\\virtboot.efi");
    for (UINTN i = 0; path && i < sizeof(lines) / sizeof(lines[0]); i++) {
        Print(L"start-with-options: \"%s\"\n", lines[i]);
        Print(L"start-with-options: %r\n", start(self, path, lines[i]));
    }
    Print(L"start-with-options: done\n");
    return EFI_SUCCESS;
}
