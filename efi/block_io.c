/* Contract and terms: efi/block_io.h. */

#include "efi/block_io.h"

#include "devices/blk_spec.h"
#include "efi/status.h"

/* Media is never changed while the protocol is installed, so one number is enough. */
#define BLOCK_IO_MEDIA_ID 1

static struct block_io *block_io_from(EFI_BLOCK_IO_PROTOCOL *protocol)
{
    return (struct block_io *)((uint8_t *)protocol - offsetof(struct block_io, protocol));
}

/* 13.9 names the answers that a caller has to expect; all else is a device error to it. */
static EFI_STATUS block_io_status(vio_status status)
{
    EFI_STATUS efi_status = status_to_efi(status);

    switch (efi_status) {
    case EFI_SUCCESS:
    case EFI_NO_MEDIA:
    case EFI_WRITE_PROTECTED:
    case EFI_INVALID_PARAMETER:
        return efi_status;
    default:
        return EFI_DEVICE_ERROR;
    }
}

static EFI_STATUS EFIAPI block_io_reset(EFI_BLOCK_IO_PROTOCOL *protocol,
                                        BOOLEAN extended_verification)
{
    (void)protocol;
    (void)extended_verification;
    /* Each call leaves the device idle, so there is nothing in flight to reset. */
    return EFI_SUCCESS;
}

/* In the order of 13.9.3; a length of 0 succeeds, but only on the right media. */
static EFI_STATUS block_io_check(const struct block_io *block_io, UINT32 media_id, EFI_LBA lba,
                                 UINTN bytes, const void *buffer)
{
    const EFI_BLOCK_IO_MEDIA *media = &block_io->media;

    if (media_id != media->MediaId)
        return EFI_MEDIA_CHANGED;
    if (bytes == 0)
        return EFI_SUCCESS;
    if (!buffer)
        return EFI_INVALID_PARAMETER;
    if (bytes % media->BlockSize)
        return EFI_BAD_BUFFER_SIZE;
    /* Written so that nothing can wrap. */
    if (lba > media->LastBlock || bytes / media->BlockSize - 1 > media->LastBlock - lba)
        return EFI_INVALID_PARAMETER;
    return EFI_SUCCESS;
}

static uint64_t block_io_sector(const struct block_io *block_io, EFI_LBA lba)
{
    return lba * (block_io->media.BlockSize / VIRTIO_BLK_SECTOR_BYTES);
}

static EFI_STATUS EFIAPI block_io_read(EFI_BLOCK_IO_PROTOCOL *protocol, UINT32 media_id,
                                       EFI_LBA lba, UINTN bytes, VOID *buffer)
{
    struct block_io *block_io = block_io_from(protocol);

    EFI_STATUS status = block_io_check(block_io, media_id, lba, bytes, buffer);
    if (EFI_ERROR(status) || bytes == 0)
        return status;

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    vio_status result =
        virtio_blk_read(block_io->blk, block_io_sector(block_io, lba), buffer, bytes);
    if (result == VIO_OK)
        gpt_repair_apply(&block_io->gpt_repair, block_io->media.BlockSize, lba, bytes, buffer);
    BS->RestoreTPL(old_tpl);
    return block_io_status(result);
}

static EFI_STATUS EFIAPI block_io_write(EFI_BLOCK_IO_PROTOCOL *protocol, UINT32 media_id,
                                        EFI_LBA lba, UINTN bytes, VOID *buffer)
{
    struct block_io *block_io = block_io_from(protocol);

    EFI_STATUS status = block_io_check(block_io, media_id, lba, bytes, buffer);
    if (EFI_ERROR(status) || bytes == 0)
        return status;
    if (block_io->takes_gpt_repair)
        return gpt_repair_write(&block_io->gpt_repair, block_io->media.BlockSize, lba, bytes,
                                buffer);
    if (block_io->media.ReadOnly)
        return EFI_WRITE_PROTECTED;

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    vio_status result =
        virtio_blk_write(block_io->blk, block_io_sector(block_io, lba), buffer, bytes);
    BS->RestoreTPL(old_tpl);
    return block_io_status(result);
}

static EFI_STATUS EFIAPI block_io_flush(EFI_BLOCK_IO_PROTOCOL *protocol)
{
    struct block_io *block_io = block_io_from(protocol);

    /* Who sees read-only media has written nothing that could be flushed. */
    if (block_io->media.ReadOnly)
        return EFI_SUCCESS;

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    vio_status result = virtio_blk_flush(block_io->blk);
    BS->RestoreTPL(old_tpl);
    return block_io_status(result);
}

void block_io_init(struct block_io *block_io, struct virtio_blk *blk, bool publish_read_only)
{
    const struct virtio_blk_info *info = &blk->info;
    uint64_t blocks = info->capacity_sectors / (info->block_bytes / VIRTIO_BLK_SECTOR_BYTES);

    *block_io = (struct block_io){
        .protocol =
            {
                .Revision = EFI_BLOCK_IO_PROTOCOL_REVISION2,
                .Media = &block_io->media,
                .Reset = block_io_reset,
                .ReadBlocks = block_io_read,
                .WriteBlocks = block_io_write,
                .FlushBlocks = block_io_flush,
            },
        .media =
            {
                .MediaId = BLOCK_IO_MEDIA_ID,
                .MediaPresent = TRUE,
                .ReadOnly = publish_read_only || info->read_only,
                .WriteCaching = info->has_flush,
                .BlockSize = info->block_bytes,
                .LastBlock = blocks - 1,
                .LowestAlignedLba = info->alignment_offset_blocks,
                /* A device may claim anything; a shift by 31 is more than any disk has. */
                .LogicalBlocksPerPhysicalBlock =
                    info->physical_block_exp < 31 ? 1u << info->physical_block_exp : 1u,
            },
        .blk = blk,
        .takes_gpt_repair = publish_read_only,
    };
}

void block_io_end_gpt_repair(struct block_io *block_io)
{
    block_io->takes_gpt_repair = false;
}

void block_io_release(struct block_io *block_io)
{
    gpt_repair_release(&block_io->gpt_repair);
}
