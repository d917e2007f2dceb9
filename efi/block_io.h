/** @file
 * EFI_BLOCK_IO_PROTOCOL and EFI_BLOCK_IO2_PROTOCOL on a virtio block device: one engine under both.
 * Spec:      UEFI 2.10, 13.9 Block I/O Protocol; 13.10 Block I/O 2 Protocol.
 * Knows:     devices/blk.h, devices/read_ahead.h.
 * Ownership: the structure stays where it is while a protocol is installed; the device is the
 *            caller's and outlives it, but for block_io_release().
 * Order:     a blocking call is carried out after all changes that were started before it. Among
 *            calls with a token there is no order, but that FlushBlocksEx waits for all before it.
 * Tokens:    are signalled from a timer event while any is outstanding, and in every call of either
 *            protocol. Who waits actively calls ReadBlocksEx with a length of 0, which costs little.
 *            Between RaiseTPL(TPL_NOTIFY) and RestoreTPL() any number of calls are one batch: the
 *            device is notified once, when the level is restored.
 * TPL:       calls at TPL_NOTIFY or below; a call runs at TPL_NOTIFY from end to end, so that a
 *            timer's callback cannot start another one in its middle.
 */
#ifndef EFI_BLOCK_IO_H
#define EFI_BLOCK_IO_H

#include "devices/blk.h"
#include "devices/blk_spec.h"
#include "devices/read_ahead.h"
#include "efi/gpt_repair.h"
#include "efi/uefi.h"

/** Tokens with memory from the start: no fewer than there can be requests in flight. */
#define BLOCK_IO_REQUESTS BLK_DEPTH_MAX

/** Private: a call with a token, until it is signalled. */
struct block_io_request {
    struct virtio_blk_transfer transfer; /**< first, for the engine gives it back */
    EFI_BLOCK_IO2_TOKEN *token;
    struct block_io_request *next_free;
};

/** Private. */
struct block_io_request_block {
    struct block_io_request_block *next;
    struct block_io_request requests[BLOCK_IO_REQUESTS];
};

struct block_io {
    EFI_BLOCK_IO_PROTOCOL protocol;   /**< these two are what is installed on the handle */
    EFI_BLOCK_IO2_PROTOCOL protocol2; /**< only after block_io2_open() */
    EFI_BLOCK_IO_MEDIA media;
    struct virtio_blk *blk;
    struct read_ahead read_ahead;
    bool was_present;       /**< the media, when block_io_refresh() last told */
    bool takes_gpt_repair;  /**< published read-only, and the firmware is still connecting */
    bool would_be_repaired; /**< it has tried to write meanwhile; whether that was kept or not */
    struct gpt_repair gpt_repair;

    /* Private to block_io2.c. */
    struct block_io_request_block *blocks;
    struct block_io_request *free_requests;
    unsigned n_outstanding;
    EFI_EVENT timer;
    EFI_EVENT batch_end;
    EFI_EVENT idle;  /**< the firmware is about to halt; NULL: not told */
    EFI_EVENT woken; /**< and has come back */
    bool timer_runs;
    bool in_batch; /**< batch_end is signalled and was not run yet */
};

/**
 * Fill in EFI_BLOCK_IO_PROTOCOL and describe the media.
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

/**
 * Look whether the disk has another size, or is gone, and change the media's description: a new
 * media id, and no media where there is nothing to be read.
 *
 * @param block_io  initialised; at TPL_CALLBACK or below
 * @return whether anything changed, so that whoever has the protocol open should be connected anew
 */
bool block_io_refresh(struct block_io *block_io);

/**
 * Show the media as writable or read-only from now on, as far as the device allows, under a new
 * media id: whoever has the protocol open has to be connected anew to see it.
 *
 * @param block_io  initialised
 * @param writable  what is wanted
 * @return EFI_SUCCESS; EFI_WRITE_PROTECTED for a device that is read-only, or whose partition table
 *         the firmware would repair
 */
EFI_STATUS block_io_set_writable(struct block_io *block_io, bool writable);

/**
 * Close the device in such a way that no timer of ours gets in between: calls that are outstanding
 * end when it has let go of their buffers, and not before.
 */
void block_io_close_device(struct block_io *block_io);

/**
 * Free what the protocols' life has collected, once nobody has them any more and the device is
 * closed.
 */
void block_io_release(struct block_io *block_io);

/* --- For efi/block_io2.c, efi/erase_block.c and efi/disk_info.c ------------------------------ */

/**
 * What a caller is told. 13.9 names the answers he has to expect; all else is a device error. A
 * request that finds the device gone takes the media's presence back at once, as 13.9.1 wants it.
 */
EFI_STATUS block_io_status(struct block_io *block_io, vio_status status);

/** In the order of 13.9.3; a length of 0 succeeds, but only on the right media. */
EFI_STATUS block_io_check(const struct block_io *block_io, UINT32 media_id, EFI_LBA lba,
                          UINTN bytes, const void *buffer);

/**
 * The same for calls that change the disk, which read-only media refuses; and remembers that
 * somebody wanted to, while the firmware is connecting.
 */
EFI_STATUS block_io_check_write(struct block_io *block_io, UINT32 media_id, EFI_LBA lba,
                                UINTN bytes, const void *buffer);

/** The sector of a block. */
static inline uint64_t block_io_sector(const struct block_io *block_io, EFI_LBA lba)
{
    return lba * (block_io->media.BlockSize / VIRTIO_BLK_SECTOR_BYTES);
}

/** Carry out a blocking call; NULL as a token means the same. */
EFI_STATUS block_io_run(struct block_io *block_io, struct virtio_blk_transfer *transfer);

/**
 * 13.9.2: all that is outstanding ends with EFI_ABORTED. With extended verification the device is
 * reset even if nothing is, a disk that was out of use is brought back, and EFI_DEVICE_ERROR says
 * that this failed.
 */
EFI_STATUS block_io_do_reset(struct block_io *block_io, BOOLEAN extended_verification);

/** After a read, where gpt_repair.blocks is not NULL: put what was kept over what was read. */
void block_io_put_repair_over(const struct block_io *block_io, uint64_t sector, void *buffer,
                              uint64_t bytes);

/* --- efi/block_io2.c -------------------------------------------------------------------------- */

/**
 * Fill in EFI_BLOCK_IO2_PROTOCOL, and get memory and events for it.
 *
 * @param block_io  initialised
 * @return EFI_SUCCESS, or what the firmware answered; then nothing is left behind
 */
EFI_STATUS block_io2_open(struct block_io *block_io);

/**
 * Signal what has ended, and no events from now on. Accepts one that was not opened.
 *
 * @param block_io  its device is closed, so that nothing is outstanding any more; whoever is told so
 *                  and starts something else is refused
 */
void block_io2_close(struct block_io *block_io);

/** Start what a token stands for; or carry it out, if it has no event. */
EFI_STATUS block_io2_start(struct block_io *block_io, EFI_BLOCK_IO2_TOKEN *token,
                           const struct virtio_blk_transfer *transfer);

/** Signal the tokens of what is done. At TPL_NOTIFY. */
void block_io2_signal(struct block_io *block_io);

/** Look for what is done, and signal it; for calls that have nothing to do themselves. */
void block_io2_serve(struct block_io *block_io);

/** Signal a token at once, for a call that has nothing to do. NULL is accepted. */
void block_io2_end(EFI_BLOCK_IO2_TOKEN *token, EFI_STATUS status);

#endif
