/** @file
 * Reading ahead of somebody who reads a disk in small pieces, one after the other.
 *
 * File-system drivers and loaders ask for 512 bytes to 64 KiB at a time and wait for each. Two reads
 * in a row that continue the one before are a stream; from then on what follows is read into memory
 * of our own, several requests at once, farther ahead the longer the stream goes on. A read that
 * continues nothing costs a comparison and goes straight to the device, as does a large one, for
 * which copying would cost more than waiting. How large is also measured: where even the fastest of
 * some copies takes more than half of the device's time, a stream of such reads is left to the device
 * until that takes longer.
 * Knows:     devices/blk.h.
 * Ownership: the disk is the caller's and outlives it, but for read_ahead_release(). Memory comes
 *            from the disk's platform as a stream needs it, at most READ_AHEAD_BYTES_MAX.
 * Trust:     a failure while reading ahead is nobody's: the read that gets so far is made again.
 */
#ifndef DEVICES_READ_AHEAD_H
#define DEVICES_READ_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/blk.h"

/** Memory, and so distance, at most. */
#define READ_AHEAD_BYTES_MAX (4u << 20)

/** Requests under way at most, and the length of each at most. */
#define READ_AHEAD_CHUNKS          32u
#define READ_AHEAD_CHUNK_BYTES_MAX (READ_AHEAD_BYTES_MAX / READ_AHEAD_CHUNKS)

/** A single read of at least that many bytes goes straight to the device. */
#define READ_AHEAD_BYPASS_BYTES (256u << 10)

/** All fields are private. */
struct read_ahead {
    struct virtio_blk *blk;
    /** A ring of pieces, read or being read; buffers of READ_AHEAD_CHUNK_BYTES_MAX, or NULL. */
    struct virtio_blk_transfer chunks[READ_AHEAD_CHUNKS];
    unsigned first; /**< the oldest chunk */
    unsigned n_chunks;
    bool is_dropped;      /**< what the chunks hold is not to be used any more */
    uint64_t end_sector;  /**< behind the newest chunk */
    uint64_t next_sector; /**< where a read would continue the last one */
    unsigned n_continued; /**< reads in a row that did */
    uint64_t
        stream_sector;     /**< the same for the stream, from which others may be read in between */
    uint32_t window_bytes; /**< how far ahead to be */

    /* What reads take that are weighed. */
    bool is_weighed;          /**< the read of the moment is */
    uint64_t copying_us;      /**< what was copied for it took */
    uint64_t copied_us;       /**< the least for 64 KiB; UINT64_MAX: nothing is known yet */
    unsigned n_copied;        /**< as far as it matters */
    uint64_t direct_us;       /**< the device's time of late; UINT64_MAX: nothing is known yet */
    uint64_t direct_since_us; /**< the least since, UINT64_MAX: none */
    unsigned n_direct_since;
};

/**
 * Prepare; reads and allocates nothing.
 *
 * @param ahead  any content
 * @param blk    open
 */
void read_ahead_init(struct read_ahead *ahead, struct virtio_blk *blk);

/**
 * Read whole logical blocks, as virtio_blk_run(), which does it where nothing was read ahead.
 *
 * @param ahead  initialised
 * @param read   a VIRTIO_BLK_READ; its sector, buffer and bytes become what was asked of the device
 * @return as virtio_blk_run()
 */
VIO_MUST_CHECK vio_status read_ahead_run(struct read_ahead *ahead,
                                         struct virtio_blk_transfer *read);

/** What was read ahead is out of date: before anything is written, and when the media has changed. */
void read_ahead_drop(struct read_ahead *ahead);

/**
 * Free the memory, unless the disk is quarantined and may still write to it.
 *
 * @param ahead  initialised; its disk is closed, or has nothing under way
 */
void read_ahead_release(struct read_ahead *ahead);

#endif
