/** @file
 * start_with_options.efi IMAGE WORD...
 *
 * Starts an image that lies beside it as a boot manager does: the words are its load options, and no
 * program's name stands before them.
 */

#include <efi.h>
#include <efilib.h>

#define LINE_UNITS 256

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static CHAR16 line[LINE_UNITS];

static EFI_STATUS start(EFI_HANDLE self, EFI_DEVICE_PATH *path)
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
    CHAR16 **words = NULL;

    InitializeLib(self, system);
    INTN n_words = GetShellArgcArgv(self, &words);
    EFI_STATUS status = BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&own);
    if (EFI_ERROR(status) || n_words < 2)
        return EFI_INVALID_PARAMETER;
    for (INTN i = 2; i < n_words; i++) {
        if (StrLen(line) + StrLen(words[i]) + 2 > LINE_UNITS)
            return EFI_BUFFER_TOO_SMALL;
        if (i > 2)
            StrCat(line, L" ");
        StrCat(line, words[i]);
    }
    EFI_DEVICE_PATH *path = FileDevicePath(own->DeviceHandle, words[1]);
    Print(L"start-with-options: \"%s\"\n", line);
    Print(L"start-with-options: %r\n", path ? start(self, path) : EFI_OUT_OF_RESOURCES);
    return EFI_SUCCESS;
}
