/* Contract and terms: efi/initrd.h. */

#include "efi/initrd.h"

#include "efi/message.h"

/* The kernel unpacks archives one behind the other if each begins on a multiple of four. */
#define INITRD_ALIGNMENT 4u

static EFI_GUID load_file2_guid = EFI_LOAD_FILE2_PROTOCOL_GUID;

static struct {
    VENDOR_DEVICE_PATH vendor;
    EFI_DEVICE_PATH end;
} initrd_path = {
    .vendor =
        {
            .Header = {.Type = MEDIA_DEVICE_PATH,
                       .SubType = MEDIA_VENDOR_DP,
                       .Length = {sizeof(VENDOR_DEVICE_PATH), 0}},
            .Guid = LINUX_EFI_INITRD_MEDIA_GUID,
        },
    .end = {.Type = END_DEVICE_PATH_TYPE,
            .SubType = END_ENTIRE_DEVICE_PATH_SUBTYPE,
            .Length = {sizeof(EFI_DEVICE_PATH), 0}},
};

static struct {
    EFI_HANDLE handle;
    struct initrd_offer *offer;
} initrd;

static UINT64 initrd_padding(UINT64 bytes)
{
    return (INITRD_ALIGNMENT - bytes % INITRD_ALIGNMENT) % INITRD_ALIGNMENT;
}

static UINT64 initrd_all_bytes(const struct initrd_offer *offer)
{
    UINT64 all = 0;

    for (UINTN i = 0; i < offer->n_files; i++)
        all += initrd_padding(all) + offer->files[i].bytes;
    return all;
}

static EFI_STATUS initrd_read_all(const struct initrd_offer *offer, uint8_t *buffer)
{
    UINT64 done = 0;

    for (UINTN i = 0; i < offer->n_files; i++) {
        UINT64 padding = initrd_padding(done);
        __builtin_memset(buffer + done, 0, padding);
        done += padding;
        EFI_STATUS status = volume_read_file(&offer->files[i], buffer + done);
        if (EFI_ERROR(status))
            return status;
        done += offer->files[i].bytes;
    }
    return EFI_SUCCESS;
}

/* In the order of 13.2: a boot policy is refused, then the caller learns or has the length. */
static EFI_STATUS EFIAPI initrd_load_file(EFI_LOAD_FILE_PROTOCOL *protocol, EFI_DEVICE_PATH *path,
                                          BOOLEAN boot_policy, UINTN *bytes, VOID *buffer)
{
    struct initrd_offer *offer = initrd.offer;

    if (!protocol || !path || !bytes || !offer)
        return EFI_INVALID_PARAMETER;
    if (boot_policy)
        return EFI_UNSUPPORTED;
    if (!buffer || *bytes < offer->bytes) {
        *bytes = offer->bytes;
        return EFI_BUFFER_TOO_SMALL;
    }
    /* A file is read from where it stands, so a second call would get what lies behind its end. */
    if (offer->status != EFI_NOT_READY)
        return EFI_NOT_FOUND;
    offer->status = initrd_read_all(offer, buffer);
    if (EFI_ERROR(offer->status))
        return offer->status;
    *bytes = offer->bytes;
    offer->on_read(offer->context);
    return EFI_SUCCESS;
}

static EFI_LOAD_FILE_PROTOCOL initrd_protocol = {.LoadFile = initrd_load_file};

EFI_STATUS initrd_offer(struct initrd_offer *offer)
{
    offer->bytes = initrd_all_bytes(offer);
    offer->status = EFI_NOT_READY;
    EFI_STATUS status = BS->InstallMultipleProtocolInterfaces(
        &initrd.handle, &gEfiDevicePathProtocolGuid, &initrd_path, &load_file2_guid,
        &initrd_protocol, NULL);
    if (EFI_ERROR(status)) {
        message_error(NULL, NULL, L"the initrd cannot be offered to the kernel: %r", status);
        return status;
    }
    initrd.offer = offer;
    return EFI_SUCCESS;
}

void initrd_withdraw(void)
{
    if (!initrd.offer)
        return;
    /* If the firmware still uses them they stay, but say nothing any more. */
    (void)BS->UninstallMultipleProtocolInterfaces(initrd.handle, &gEfiDevicePathProtocolGuid,
                                                  &initrd_path, &load_file2_guid, &initrd_protocol,
                                                  NULL);
    initrd.offer = NULL;
    initrd.handle = NULL;
}
