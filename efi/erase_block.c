/* Contract and terms: efi/erase_block.h. */

#include "efi/erase_block.h"

#include "devices/blk_spec.h"

bool erase_block_is_possible(const struct block_io *block_io)
{
    const struct virtio_blk_info *info = &block_io->blk->info;

    return info->write_zeroes.sectors_max || info->discard.sectors_max;
}

static EFI_STATUS EFIAPI erase_block_erase_blocks(struct erase_block_protocol *protocol,
                                                  UINT32 media_id, EFI_LBA lba,
                                                  EFI_BLOCK_IO2_TOKEN *token, UINTN bytes)
{
    struct block_io *block_io = ((struct erase_block *)protocol)->block_io;
    const struct virtio_blk_info *info = &block_io->blk->info;

    /* There is no buffer that could be missing. */
    EFI_STATUS status = block_io_check_write(block_io, media_id, lba, bytes, protocol);
    /* 13.12.2 knows one answer to a range that is not valid, whatever is wrong with it. */
    if (status == EFI_BAD_BUFFER_SIZE)
        return EFI_INVALID_PARAMETER;
    if (EFI_ERROR(status))
        return status;
    if (bytes == 0) {
        block_io2_end(token, EFI_SUCCESS);
        return EFI_SUCCESS;
    }
    const struct virtio_blk_transfer transfer = {
        .operation = info->write_zeroes.sectors_max ? VIRTIO_BLK_WRITE_ZEROES : VIRTIO_BLK_DISCARD,
        .sector = block_io_sector(block_io, lba),
        .bytes = bytes,
        .unmap = info->may_unmap,
    };
    return block_io2_start(block_io, token, &transfer);
}

void erase_block_init(struct erase_block *erase_block, struct block_io *block_io)
{
    *erase_block = (struct erase_block){
        .protocol =
            {
                .revision = EFI_ERASE_BLOCK_PROTOCOL_REVISION,
                .erase_length_granularity = 1,
                .erase_blocks = erase_block_erase_blocks,
            },
        .block_io = block_io,
    };
}
