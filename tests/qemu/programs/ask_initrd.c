/** @file
 * Stands in for a kernel's EFI stub: asks for the initrd as Linux does, and in each way that must
 * be refused. Prints every answer and, in hexadecimal, what is in the buffer and behind it.
 */

#include <efi.h>
#include <efilib.h>

#include <stdint.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define BUFFER_BYTES 32
#define FILLER       0xee

static EFI_GUID load_file2_guid = {
    0x4006c0c1, 0xfcb3, 0x403e, {0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d}};

static struct {
    VENDOR_DEVICE_PATH vendor;
    EFI_DEVICE_PATH end;
} initrd_path = {
    .vendor =
        {
            .Header = {.Type = MEDIA_DEVICE_PATH,
                       .SubType = MEDIA_VENDOR_DP,
                       .Length = {sizeof(VENDOR_DEVICE_PATH), 0}},
            .Guid = {0x5568e427, 0x68fc, 0x4f3d, {0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68}},
        },
    .end = {.Type = END_DEVICE_PATH_TYPE,
            .SubType = END_ENTIRE_DEVICE_PATH_SUBTYPE,
            .Length = {sizeof(EFI_DEVICE_PATH), 0}},
};

static uint8_t buffer[BUFFER_BYTES];

static void ask(const CHAR16 *how, EFI_LOAD_FILE_PROTOCOL *protocol, BOOLEAN boot_policy,
                UINTN bytes, VOID *target)
{
    /* The stub passes what LocateDevicePath() left over, which is the end node. */
    EFI_STATUS status = protocol->LoadFile(protocol, &initrd_path.end, boot_policy, &bytes, target);

    Print(L"ask-initrd: %s: %r, %d bytes: ", how, status, bytes);
    for (UINTN i = 0; i < sizeof(buffer); i++)
        Print(L"%02x", buffer[i]);
    Print(L"\n");
}

static void report_options(EFI_HANDLE self)
{
    EFI_LOADED_IMAGE *image = NULL;

    if (EFI_ERROR(BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&image)))
        return;
    const CHAR16 *options = image->LoadOptions;
    UINTN units = image->LoadOptionsSize / sizeof(CHAR16);
    Print(L"ask-initrd: options: %d bytes, %s\n", image->LoadOptionsSize,
          units && options[units - 1] == 0 ? L"terminated" : L"not terminated");
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_DEVICE_PATH *path = &initrd_path.vendor.Header;
    EFI_LOAD_FILE_PROTOCOL *protocol = NULL;
    EFI_HANDLE handle = NULL;
    UINTN bytes = 0;

    InitializeLib(self, system);
    report_options(self);
    EFI_STATUS status = BS->LocateDevicePath(&load_file2_guid, &path, &handle);
    if (!EFI_ERROR(status))
        status = BS->HandleProtocol(handle, &load_file2_guid, (VOID **)&protocol);
    if (EFI_ERROR(status)) {
        Print(L"ask-initrd: no initrd: %r\n", status);
        return EFI_SUCCESS;
    }

    (void)protocol->LoadFile(protocol, path, FALSE, &bytes, NULL); /* for its length */
    SetMem(buffer, sizeof(buffer), FILLER);
    ask(L"no buffer", protocol, FALSE, 0, NULL);
    ask(L"no buffer, but a length", protocol, FALSE, sizeof(buffer), NULL);
    ask(L"one byte less", protocol, FALSE, bytes - 1, buffer);
    ask(L"boot policy", protocol, TRUE, sizeof(buffer), buffer);
    ask(L"more than needed", protocol, FALSE, sizeof(buffer), buffer);
    SetMem(buffer, sizeof(buffer), FILLER);
    ask(L"once more", protocol, FALSE, sizeof(buffer), buffer);
    return EFI_SUCCESS;
}
