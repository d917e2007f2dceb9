/* Contract and terms: efi/disk_info.h. */

#include "efi/disk_info.h"

#include "devices/blk_spec.h"

static EFI_STATUS EFIAPI disk_info_inquiry(struct disk_info_protocol *protocol, VOID *buffer,
                                           UINT32 *bytes)
{
    (void)protocol;
    (void)buffer;
    (void)bytes;
    return EFI_NOT_FOUND;
}

static EFI_STATUS EFIAPI disk_info_identify(struct disk_info_protocol *protocol, VOID *buffer,
                                            UINT32 *bytes)
{
    const struct disk_info *disk_info = (const struct disk_info *)protocol;
    uint8_t id[VIRTIO_BLK_ID_BYTES];
    struct virtio_blk_transfer transfer = {.operation = VIRTIO_BLK_GET_ID, .buffer = id};
    UINT32 room = bytes ? *bytes : 0;

    if (!bytes)
        return EFI_INVALID_PARAMETER;
    *bytes = sizeof(id);
    if (room < sizeof(id))
        return EFI_BUFFER_TOO_SMALL;
    if (!buffer)
        return EFI_INVALID_PARAMETER;
    EFI_STATUS status = block_io_run(disk_info->block_io, &transfer);
    /* Only its device can say so: an older one has no serial number to give. */
    if (transfer.status == VIO_ERR_UNSUPPORTED)
        return EFI_NOT_FOUND;
    if (!EFI_ERROR(status))
        __builtin_memcpy(buffer, id, sizeof(id));
    return status;
}

static EFI_STATUS EFIAPI disk_info_sense_data(struct disk_info_protocol *protocol, VOID *buffer,
                                              UINT32 *bytes, UINT8 *number)
{
    (void)number;
    return disk_info_inquiry(protocol, buffer, bytes);
}

static EFI_STATUS EFIAPI disk_info_which_ide(struct disk_info_protocol *protocol, UINT32 *channel,
                                             UINT32 *device)
{
    (void)protocol;
    (void)channel;
    (void)device;
    return EFI_UNSUPPORTED;
}

void disk_info_init(struct disk_info *disk_info, struct block_io *block_io)
{
    *disk_info = (struct disk_info){
        .protocol =
            {
                .interface = DISK_INFO_VIRTIO_INTERFACE_GUID,
                .inquiry = disk_info_inquiry,
                .identify = disk_info_identify,
                .sense_data = disk_info_sense_data,
                .which_ide = disk_info_which_ide,
            },
        .block_io = block_io,
    };
}
