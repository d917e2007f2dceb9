/* Contract and terms: efi/block_io.h. Blocking calls, and what the media is like. */

#include "efi/block_io.h"

#include "efi/status.h"

#define BLOCK_IO_FIRST_MEDIA_ID 1

static struct block_io *block_io_from(EFI_BLOCK_IO_PROTOCOL *protocol)
{
    return (struct block_io *)((uint8_t *)protocol - offsetof(struct block_io, protocol));
}

EFI_STATUS block_io_status(struct block_io *block_io, vio_status status)
{
    if (status == VIO_OK)
        return EFI_SUCCESS;
    EFI_STATUS efi_status = status_to_efi(status);

    switch (efi_status) {
    case EFI_NO_MEDIA:
        block_io->media.MediaPresent = FALSE;
        return efi_status;
    case EFI_WRITE_PROTECTED:
    case EFI_INVALID_PARAMETER:
    case EFI_ABORTED:
        return efi_status;
    default:
        return EFI_DEVICE_ERROR;
    }
}

EFI_STATUS block_io_check(const struct block_io *block_io, UINT32 media_id, EFI_LBA lba,
                          UINTN bytes, const void *buffer)
{
    const EFI_BLOCK_IO_MEDIA *media = &block_io->media;

    if (!media->MediaPresent)
        return EFI_NO_MEDIA;
    if (media_id != media->MediaId)
        return EFI_MEDIA_CHANGED;
    if (bytes == 0)
        return EFI_SUCCESS;
    if (!buffer)
        return EFI_INVALID_PARAMETER;
    /* A block is a power of two. */
    if (bytes & (media->BlockSize - 1))
        return EFI_BAD_BUFFER_SIZE;
    /* Written so that nothing can wrap. */
    if (lba > media->LastBlock || bytes / media->BlockSize - 1 > media->LastBlock - lba)
        return EFI_INVALID_PARAMETER;
    return EFI_SUCCESS;
}

EFI_STATUS block_io_check_write(struct block_io *block_io, UINT32 media_id, EFI_LBA lba,
                                UINTN bytes, const void *buffer)
{
    EFI_STATUS status = block_io_check(block_io, media_id, lba, bytes, buffer);

    if (EFI_ERROR(status) || bytes == 0 || !block_io->media.ReadOnly)
        return status;
    if (block_io->takes_gpt_repair)
        block_io->would_be_repaired = true;
    return EFI_WRITE_PROTECTED;
}

void block_io_put_repair_over(const struct block_io *block_io, uint64_t sector, void *buffer,
                              uint64_t bytes)
{
    UINT32 block_bytes = block_io->media.BlockSize;

    gpt_repair_apply(&block_io->gpt_repair, block_bytes,
                     sector / (block_bytes / VIRTIO_BLK_SECTOR_BYTES), (UINTN)bytes, buffer);
}

static vio_status block_io_carry_out_read(struct block_io *block_io,
                                          struct virtio_blk_transfer *read)
{
    const uint64_t sector = read->sector, bytes = read->bytes;
    void *buffer = read->buffer;

    vio_status status = read_ahead_run(&block_io->read_ahead, read);
    if (status == VIO_OK && block_io->gpt_repair.blocks)
        block_io_put_repair_over(block_io, sector, buffer, bytes);
    return status;
}

static vio_status block_io_carry_out(struct block_io *block_io,
                                     struct virtio_blk_transfer *transfer)
{
    if (transfer->operation == VIRTIO_BLK_READ)
        return block_io_carry_out_read(block_io, transfer);
    if (virtio_blk_changes(transfer))
        read_ahead_drop(&block_io->read_ahead);
    return virtio_blk_run(block_io->blk, transfer);
}

EFI_STATUS block_io_run(struct block_io *block_io, struct virtio_blk_transfer *transfer)
{
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);

    /* Whoever raised the level so far does not expect the processor to be given away. */
    block_io->blk->may_sleep = old_tpl < TPL_NOTIFY;
    EFI_STATUS status = block_io_status(block_io, block_io_carry_out(block_io, transfer));
    if (block_io->n_outstanding)
        block_io2_serve(block_io);
    BS->RestoreTPL(old_tpl); /* whoever runs now may close the disk */
    return status;
}

/* A call that has nothing to do looks for what others are waiting for. */
static EFI_STATUS block_io_do_nothing(struct block_io *block_io)
{
    if (block_io->n_outstanding)
        block_io2_serve(block_io);
    return EFI_SUCCESS;
}

/* --- EFI_BLOCK_IO_PROTOCOL -------------------------------------------------------------------- */

EFI_STATUS block_io_do_reset(struct block_io *block_io, BOOLEAN extended_verification)
{
    struct virtio_blk *blk = block_io->blk;
    vio_status result = VIO_OK;

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    /* Programs call this before they use a disk, and EDK2 after that: one that is idle is left alone. */
    if (extended_verification || block_io->n_outstanding) {
        read_ahead_drop(&block_io->read_ahead);
        result = virtio_blk_reset(blk);
        block_io2_signal(block_io);
        /* Whatever else has changed is told at the next refresh. */
        if (result == VIO_OK)
            block_io->media.MediaPresent = block_io->was_present;
    }
    BS->RestoreTPL(old_tpl);
    /*
     * EDK2's disk I/O driver calls this when it is to let go of a disk, and does not if it fails. But
     * what it wants is done in any case: nothing is outstanding any more.
     */
    return result == VIO_OK || !extended_verification ? EFI_SUCCESS : EFI_DEVICE_ERROR;
}

static EFI_STATUS EFIAPI block_io_reset(EFI_BLOCK_IO_PROTOCOL *protocol,
                                        BOOLEAN extended_verification)
{
    return block_io_do_reset(block_io_from(protocol), extended_verification);
}

static EFI_STATUS EFIAPI block_io_read(EFI_BLOCK_IO_PROTOCOL *protocol, UINT32 media_id,
                                       EFI_LBA lba, UINTN bytes, VOID *buffer)
{
    struct block_io *block_io = block_io_from(protocol);

    EFI_STATUS status = block_io_check(block_io, media_id, lba, bytes, buffer);
    if (EFI_ERROR(status))
        return status;
    if (bytes == 0)
        return block_io_do_nothing(block_io);
    struct virtio_blk_transfer transfer;
    virtio_blk_make_read(&transfer, block_io_sector(block_io, lba), buffer, bytes);
    return block_io_run(block_io, &transfer);
}

static EFI_STATUS EFIAPI block_io_write(EFI_BLOCK_IO_PROTOCOL *protocol, UINT32 media_id,
                                        EFI_LBA lba, UINTN bytes, VOID *buffer)
{
    struct block_io *block_io = block_io_from(protocol);

    EFI_STATUS status = block_io_check_write(block_io, media_id, lba, bytes, buffer);
    if (status == EFI_WRITE_PROTECTED && block_io->takes_gpt_repair)
        return gpt_repair_write(&block_io->gpt_repair, block_io->media.BlockSize, lba, bytes,
                                buffer);
    if (EFI_ERROR(status))
        return status;
    if (bytes == 0)
        return block_io_do_nothing(block_io);
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_WRITE,
        .sector = block_io_sector(block_io, lba),
        .buffer = buffer,
        .bytes = bytes,
    };
    return block_io_run(block_io, &transfer);
}

static EFI_STATUS EFIAPI block_io_flush(EFI_BLOCK_IO_PROTOCOL *protocol)
{
    struct block_io *block_io = block_io_from(protocol);
    struct virtio_blk_transfer transfer = {.operation = VIRTIO_BLK_FLUSH};

    if (!block_io->media.MediaPresent)
        return EFI_NO_MEDIA;
    /* Who sees read-only media has written nothing that could be flushed. */
    return block_io->media.ReadOnly ? block_io_do_nothing(block_io)
                                    : block_io_run(block_io, &transfer);
}

/* --- The media -------------------------------------------------------------------------------- */

static void block_io_describe_size(struct block_io *block_io)
{
    const struct virtio_blk_info *info = &block_io->blk->info;
    uint64_t blocks = info->capacity_sectors / (info->block_bytes / VIRTIO_BLK_SECTOR_BYTES);

    block_io->media.MediaPresent = blocks != 0 && !virtio_blk_is_gone(block_io->blk);
    block_io->media.LastBlock = blocks ? blocks - 1 : 0;
}

/* A device may claim anything; a shift by 31 is more than any disk has. */
static UINT32 block_io_blocks_per_physical(const struct virtio_blk_info *info)
{
    return info->physical_block_exp < 31 ? 1u << info->physical_block_exp : 1u;
}

void block_io_init(struct block_io *block_io, struct virtio_blk *blk, bool publish_read_only)
{
    const struct virtio_blk_info *info = &blk->info;

    *block_io = (struct block_io){
        .protocol =
            {
                .Revision = EFI_BLOCK_IO_PROTOCOL_REVISION3,
                .Media = &block_io->media,
                .Reset = block_io_reset,
                .ReadBlocks = block_io_read,
                .WriteBlocks = block_io_write,
                .FlushBlocks = block_io_flush,
            },
        .media =
            {
                .MediaId = BLOCK_IO_FIRST_MEDIA_ID,
                .ReadOnly = publish_read_only || info->read_only,
                .WriteCaching = info->has_flush,
                .BlockSize = info->block_bytes,
                .LowestAlignedLba = info->alignment_offset_blocks,
                .LogicalBlocksPerPhysicalBlock = block_io_blocks_per_physical(info),
                .OptimalTransferLengthGranularity = info->optimal_blocks,
            },
        .blk = blk,
        .takes_gpt_repair = publish_read_only,
    };
    block_io_describe_size(block_io);
    block_io->was_present = block_io->media.MediaPresent;
    read_ahead_init(&block_io->read_ahead, blk);
}

void block_io_end_gpt_repair(struct block_io *block_io)
{
    block_io->takes_gpt_repair = false;
}

bool block_io_refresh(struct block_io *block_io)
{
    const EFI_LBA last_block = block_io->media.LastBlock;

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    /* The device may also have changed while it recovered. */
    (void)virtio_blk_refresh(block_io->blk);
    block_io_describe_size(block_io);
    bool changed = last_block != block_io->media.LastBlock ||
                   block_io->was_present != block_io->media.MediaPresent;
    block_io->was_present = block_io->media.MediaPresent;
    if (changed) {
        block_io->media.MediaId++;
        read_ahead_drop(&block_io->read_ahead);
    }
    if (block_io->n_outstanding)
        block_io2_serve(block_io);
    BS->RestoreTPL(old_tpl);
    return changed;
}

EFI_STATUS block_io_set_writable(struct block_io *block_io, bool writable)
{
    if (writable && (block_io->blk->info.read_only || block_io->would_be_repaired))
        return EFI_WRITE_PROTECTED;
    block_io->takes_gpt_repair = false;
    block_io->media.ReadOnly = block_io->blk->info.read_only || !writable;
    block_io->media.MediaId++;
    return EFI_SUCCESS;
}

void block_io_close_device(struct block_io *block_io)
{
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);

    virtio_blk_close(block_io->blk);
    BS->RestoreTPL(old_tpl);
}

void block_io_release(struct block_io *block_io)
{
    read_ahead_release(&block_io->read_ahead);
    gpt_repair_release(&block_io->gpt_repair);
}
