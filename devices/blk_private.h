/** @file
 * What the files devices/blk*.c share, and nobody else sees.
 * Spec:  virtio 1.4, 5.2.5 Device Initialization; 5.2.6 Device Operation.
 * Files: blk.c          opening, closing, memory
 *        blk_setup.c    what a disk is like: features, configuration, queues, limits
 *        blk_engine.c   from transfers to requests, and back
 *        blk_request.c  one request: header, data and status as a chain, and what its answer means
 *        blk_recover.c  deadlines, and what happens to a device that misses one
 *        blk_blocking.c calls that wait, spinning or asleep
 */
#ifndef DEVICES_BLK_PRIVATE_H
#define DEVICES_BLK_PRIVATE_H

#include "core/le.h"
#include "devices/blk.h"
#include "devices/blk_spec.h"

/** Longest chain, and so longest indirect table. */
#define BLK_CHAIN_BUFFERS_MAX (BLK_OVERHEAD_BUFFERS + BLK_SEGMENTS_MAX)

/** A step of the clock that is longer than that is the machine's pause, not the device's. */
#define BLK_STEP_MAX_US 100000u

/** What the device shares with us per request: a cache line. */
struct blk_slot_memory {
    struct virtio_blk_req_header header;
    uint8_t status;
    uint8_t padding[15];
    union {
        struct virtio_blk_discard_write_zeroes range;
        uint8_t id[VIRTIO_BLK_ID_BYTES];
        uint8_t space[32];
    } data;
};

_Static_assert(sizeof(struct blk_slot_memory) == 64, "slots are laid out as an array");

/**
 * Note why something failed, unless something did before: what went wrong first is what a person
 * wants to read.
 *
 * @param blk     device.failure is written
 * @param status  handed through
 * @param what    a constant text, followed by the value
 * @param value   what the device answered
 */
static inline vio_status blk_refuse(struct virtio_blk *blk, vio_status status, const char *what,
                                    uint64_t value)
{
    if (!blk->device.failure.what)
        blk->device.failure =
            (struct vio_failure){.what = what, .value = value, .value_is_valid = true};
    return status;
}

static inline bool blk_is_write(enum virtio_blk_operation operation)
{
    return operation != VIRTIO_BLK_READ && operation != VIRTIO_BLK_GET_ID;
}

/* --- blk.c ------------------------------------------------------------------------------------ */

/**
 * All memory that the disk will ever need, and its slots; again it does nothing.
 *
 * @param blk         depth, shadow, rings, indirect and slot_memory are written
 * @param queue_size  of the first queue
 * @return VIO_OK or VIO_ERR_NO_MEMORY, which is noted; what was allocated is for blk_free_memory()
 */
VIO_MUST_CHECK vio_status blk_allocate_memory(struct virtio_blk *blk, uint16_t queue_size);

/* --- blk_setup.c ----------------------------------------------------------------------------- */

/** Bytes of the rings of all queues, however many and large they become. */
size_t blk_setup_ring_bytes(const struct virtio_blk *blk);

/**
 * Bring the device up: features, configuration, queues, and the limits that follow from them.
 *
 * @param blk  opened as a vio_device; allocates its memory if it has none
 * @return VIO_OK or why this device is not driven; then it has to be reset
 */
VIO_MUST_CHECK vio_status blk_setup_bring_up(struct virtio_blk *blk);

/** Make one queue anew in its part of the memory; also after its reset. */
VIO_MUST_CHECK vio_status blk_setup_queue(struct virtio_blk *blk, uint16_t index);

/* --- blk_request.c --------------------------------------------------------------------------- */

/** All slots on the free list, their memory allocated. */
void blk_request_make_slots(struct virtio_blk *blk);

/** Say where the device finds the slots' memory; it may come back behind an IOMMU, or without. */
void blk_request_place_slots(struct virtio_blk *blk);

/**
 * One request of the transfer into a queue, from where the transfer stands; nothing is published.
 *
 * @param blk       in use
 * @param transfer  stays as it is
 * @param bytes     of the transfer that the request is to stand for
 * @return VIO_OK; VIO_ERR_QUEUE_FULL and VIO_ERR_NO_MEMORY, which pass as requests end
 */
VIO_MUST_CHECK vio_status blk_request_send(struct virtio_blk *blk,
                                           struct virtio_blk_transfer *transfer, uint32_t bytes);

/**
 * The same for what most requests are: all that is left of a read, at most short_bytes_max.
 *
 * @return as blk_request_send()
 */
VIO_MUST_CHECK vio_status blk_request_send_short_read(struct virtio_blk *blk,
                                                      struct virtio_blk_transfer *transfer);

/**
 * Put a read that is in flight into a queue that has room once more, with the buffer as it is.
 *
 * @return VIO_OK; VIO_ERR_UNSUPPORTED if the device, as it has come back, does not take it; else as
 *         for blk_request_send()
 */
VIO_MUST_CHECK vio_status blk_request_send_again(struct virtio_blk *blk, struct blk_slot *slot);

/** Length of the chain for so many bytes of data. */
unsigned blk_request_n_buffers(const struct virtio_blk *blk, uint32_t data_bytes);

/**
 * Take a request out of flight: the caller's buffer is his again, the slot is free.
 *
 * @param status  what has become of it
 * @return the same; or why the buffer could not be unmapped, which is noted then
 */
VIO_MUST_CHECK vio_status blk_request_end(struct virtio_blk *blk, struct blk_slot *slot,
                                          vio_status status);

/**
 * The same for one that was answered: what the answer means; a serial number is copied, if it came.
 * A failure is noted, unless the transfer is a guess.
 */
VIO_MUST_CHECK vio_status blk_request_answered(struct virtio_blk *blk, struct blk_slot *slot,
                                               uint32_t used_len);

/* --- blk_engine.c ---------------------------------------------------------------------------- */

/** A request will not be answered, for this reason. */
void blk_engine_fail_request(struct virtio_blk *blk, struct blk_slot *slot, vio_status reason);

/** No transfer that waits to be sent, completely or in part, goes on. */
void blk_engine_fail_waiting(struct virtio_blk *blk, vio_status status);

/** The disk has become another one: what waits and is not possible on it any more has failed. */
void blk_engine_check_waiting(struct virtio_blk *blk);

/** Note a transfer's first failure, for who asks what went wrong. */
void blk_engine_note_failure(struct virtio_blk *blk, struct virtio_blk_transfer *transfer,
                             vio_status status, uint64_t sector, uint64_t bytes);

/* --- blk_blocking.c -------------------------------------------------------------------------- */

/** Take back the wish for an interrupt, if there is one. */
static inline void blk_decline_interrupt(struct virtio_blk *blk)
{
    if (blk->asked)
        virtqueue_disable_callbacks(blk->asked);
    blk->asked = NULL;
}

/* --- blk_recover.c --------------------------------------------------------------------------- */

/** Let time pass, and see to a device that does not answer. Only while requests are in flight. */
void blk_recover_watch(struct virtio_blk *blk);

/** End all that is under way, on a device that has let go of it. */
void blk_recover_fail_all(struct virtio_blk *blk, vio_status reason);

/** The device is of no use any more: stop it, and fail all that is under way. */
void blk_recover_give_up(struct virtio_blk *blk, vio_status reason);

/**
 * Take away the device's memory: by a reset that it confirms; else it is cut off and quarantined.
 *
 * @return VIO_OK if it has let go, or what vio_device_reset() returned
 */
vio_status blk_recover_stop_device(struct virtio_blk *blk);

#endif
