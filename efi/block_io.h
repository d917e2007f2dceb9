/** @file
 * EFI_BLOCK_IO_PROTOCOL on a virtio block device.
 * Spec:      UEFI 2.10, 13.9 Block I/O Protocol.
 * Knows:     devices/blk.h.
 * Ownership: the structure stays where it is while the protocol is installed; the device is the
 *            caller's and outlives it.
 * TPL:       calls at TPL_NOTIFY or below; a call runs at TPL_NOTIFY from end to end, so that a
 *            timer's callback cannot start another one in its middle.
 */
#ifndef EFI_BLOCK_IO_H
#define EFI_BLOCK_IO_H

#include "devices/blk.h"
#include "efi/gpt_repair.h"
#include "efi/uefi.h"

struct block_io {
    EFI_BLOCK_IO_PROTOCOL protocol; /**< what is installed on the handle */
    EFI_BLOCK_IO_MEDIA media;
    struct virtio_blk *blk;
    bool takes_gpt_repair; /**< published read-only, and the firmware is still connecting */
    struct gpt_repair gpt_repair;
};

/**
 * Fill in the protocol and describe the media.
 *
 * @param block_io           any content
 * @param blk                open
 * @param publish_read_only  the media is shown as read-only whatever the device allows: the
 *                           firmware's partition driver repairs a damaged GPT through any writable
 *                           EFI_BLOCK_IO, and who only loads must not write
 */
void block_io_init(struct block_io *block_io, struct virtio_blk *blk, bool publish_read_only);

/** From now on every write to media published read-only is refused; what was kept stays. */
void block_io_end_gpt_repair(struct block_io *block_io);

/** Free what the protocol's life has collected, once nobody has it any more. */
void block_io_release(struct block_io *block_io);

#endif
