/** @file
 * Keeps the firmware's repair of a damaged partition table in memory.
 *
 * The firmware's partition driver answers a damaged primary GPT by writing a copy of the backup over
 * it, and reads it back; it finds no partition at all when it cannot. A loader writes nothing, so
 * while the firmware's drivers are connected to media that is published read-only, a write of a GPT
 * header to LBA 1 and of what follows it is taken and kept here: whoever reads through us sees the
 * repaired table, and the disk stays as it is.
 * Spec:      UEFI 2.10, 5.3 GUID Partition Table (GPT) Disk Layout.
 * Ownership: the blocks are allocated at the first write and live until gpt_repair_release().
 */
#ifndef EFI_GPT_REPAIR_H
#define EFI_GPT_REPAIR_H

#include "efi/uefi.h"

/** What can be kept: the header's block, and partition entries behind it. */
#define GPT_REPAIR_BYTES (68u * 1024)

/** Zeroed: nothing is kept. */
struct gpt_repair {
    uint8_t *blocks;                         /**< those from LBA 1 on; NULL: nothing was written */
    uint32_t n_blocks;                       /**< how many there is room for */
    uint8_t written[GPT_REPAIR_BYTES / 512]; /**< per block, whether it is kept */
};

/**
 * Take a write if it belongs to a repair: a GPT header for LBA 1 first, then entries behind it.
 *
 * @param repair       zeroed at the beginning
 * @param block_bytes  of the media, always the same
 * @param lba          first block
 * @param bytes        a multiple of block_bytes
 * @param buffer       of bytes
 * @return EFI_SUCCESS; EFI_WRITE_PROTECTED for any other write, or when there is no memory for it
 */
EFI_STATUS gpt_repair_write(struct gpt_repair *repair, UINT32 block_bytes, EFI_LBA lba, UINTN bytes,
                            const void *buffer);

/**
 * Put what is kept over what was read from the disk.
 *
 * @param repair       any
 * @param block_bytes  of the media
 * @param lba          first block of the read
 * @param bytes        a multiple of block_bytes
 * @param buffer       what the disk returned
 */
void gpt_repair_apply(const struct gpt_repair *repair, UINT32 block_bytes, EFI_LBA lba, UINTN bytes,
                      void *buffer);

/** Forget everything. */
void gpt_repair_release(struct gpt_repair *repair);

#endif
