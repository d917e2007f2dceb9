/** @file
 * Block device: an engine that keeps many requests in flight, and blocking calls on top of it.
 * Spec:      virtio 1.4, 5.2 Block Device; 5.2.5 Device Initialization; 5.2.6 Device Operation.
 * Knows:     core/device.h, core/virtqueue.h, and the two seams.
 * Use:       virtio_blk_submit() any number of transfers, virtio_blk_publish() once for all of them,
 *            virtio_blk_poll() until they are done. Blocking calls may be mixed in at any time.
 * Ownership: a transfer and its buffer are the driver's from VIO_OK of virtio_blk_submit() until the
 *            transfer is done. Done it is only after the device has answered, or has been reset, or
 *            cut off from memory: then the buffer is the caller's again in any case.
 * Trust:     a request counts as done only if the device wrote both its status byte and all its
 *            data; anything else is an error, never stale memory passed off as data. A device that
 *            lied on a queue is reset and out of use. Of a legacy device the status byte has to be
 *            enough (5.2.6.3 Legacy Interface: Device Operation).
 * Waiting:   a blocking call spins for spin_limit_us and then sleeps, where the device has interrupts
 *            (vio_device.interrupt_use) and may_sleep allows it. Where that was in vain some times in a
 *            row it sleeps at once, until the device is as fast again. A device whose interrupts do not
 *            come is polled, until it is brought up again. It asks for one interrupt for each
 *            sleep, and for none while it spins.
 * Deadlines: a request that was not answered within request_limit_us of being the oldest in flight
 *            is given up, and DEVICE_NEEDS_RESET is not waited for: the queue is reset where
 *            VIRTIO_F_RING_RESET is in force and can be trusted, else the device, which is then
 *            brought up again. Reads
 *            are sent once more, all else has failed. If nothing at all is answered afterwards
 *            either, the device is out of use, as it is at once when it is gone from its bus, until
 *            virtio_blk_reset(). Time that passes between two polls counts for 100 ms at most.
 * Memory:    all at virtio_blk_open(); no request allocates.
 * Units:     sectors are 512 bytes whatever the logical block size is (5.2.4).
 * Threads:   none; calls on one device must not overlap.
 */
#ifndef DEVICES_BLK_H
#define DEVICES_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/device.h"
#include "core/platform.h"
#include "core/status.h"
#include "core/transport.h"
#include "core/virtqueue.h"

/** Default of virtio_blk.spin_limit_us: about what one fast request takes. */
#define BLK_SPIN_LIMIT_US 50u

/** Default of virtio_blk.request_limit_us. */
#define BLK_REQUEST_LIMIT_US 30000000u

/**
 * Descriptors of all queues together; the device may force fewer, and a legacy device more. Requests
 * in flight are fewer, too: on one queue of 256 with indirect tables 214, without 85; never more than
 * this.
 */
#define BLK_DEPTH_MAX 256u

/** Queues in use; a further one is only taken while those before hold less than BLK_DEPTH_MAX. */
#define BLK_QUEUES_MAX 8u

/** Longest single request; a longer transfer becomes several. */
#define BLK_REQUEST_BYTES_MAX (4u << 20)

/** Data descriptors per request; matters only to a device with a small size_max. */
#define BLK_SEGMENTS_MAX 16u

/** How a device wants DISCARD, WRITE_ZEROES or SECURE_ERASE to be cut. */
struct virtio_blk_range_limit {
    uint32_t sectors_max;       /**< in one request, whole blocks; 0: the device cannot do it */
    uint32_t alignment_sectors; /**< of where a longer range is cut; at least 1 */
};

/** What is known of a disk once it is open. */
struct virtio_blk_info {
    uint64_t capacity_sectors;       /**< 0 after a change to something that makes no sense */
    uint32_t block_bytes;            /**< logical block: a power of two from 512 to 2 MiB */
    uint8_t physical_block_exp;      /**< log2 of logical blocks per physical block */
    uint8_t alignment_offset_blocks; /**< of the first aligned logical block */
    uint32_t optimal_blocks;         /**< suggested length of a transfer; 0: none */
    bool read_only;
    bool has_flush;      /**< there is a cache, which flush requests write out */
    bool may_unmap;      /**< WRITE_ZEROES can deallocate */
    uint16_t queue_size; /**< of the first queue; others may be smaller */
    uint16_t n_queues;
    struct virtio_blk_range_limit discard;
    struct virtio_blk_range_limit write_zeroes;
    struct virtio_blk_range_limit secure_erase;
};

/** What was done so far. */
struct virtio_blk_counters {
    uint64_t requests;      /**< sent to the device */
    uint64_t notifications; /**< of all queues */
    uint64_t bytes_read;    /**< that were asked for, read ahead or sent again included */
    uint64_t bytes_written;
    uint64_t recoveries; /**< of a queue or the device */
    uint64_t sleeps;     /**< of blocking calls */
};

/** What a transfer does. */
enum virtio_blk_operation {
    VIRTIO_BLK_READ,
    VIRTIO_BLK_WRITE,
    VIRTIO_BLK_FLUSH, /**< sent when all that was submitted before is done */
    VIRTIO_BLK_DISCARD,
    VIRTIO_BLK_WRITE_ZEROES,
    VIRTIO_BLK_SECURE_ERASE,
    VIRTIO_BLK_GET_ID,
};

/** Something to be done, of any length: it becomes as many requests as the device's limits ask for. */
struct virtio_blk_transfer {
    /* The caller's; left alone until the transfer is done. */
    enum virtio_blk_operation operation;
    uint64_t sector; /**< a multiple of the logical block; 0 for FLUSH and GET_ID */
    void *buffer; /**< READ, WRITE: of bytes; GET_ID: of VIRTIO_BLK_ID_BYTES; else not looked at */
    uint64_t
        bytes;  /**< a multiple of the logical block, 0 allowed; not looked at for FLUSH, GET_ID */
    bool unmap; /**< WRITE_ZEROES: the device may deallocate, where info.may_unmap */
    bool after_all; /**< not sent before all that was submitted earlier is done */
    bool is_guess;  /**< a failure is no news: neither failure nor failed are written */
    bool is_queued; /**< virtio_blk_next_done() gives it back */

    /* For reading. */
    bool done;
    vio_status status; /**< once done: VIO_OK, or the first failure */

    /* Private. */
    struct virtio_blk_transfer *next;
    uint64_t next_sector;
    uint8_t *next_buffer;
    uint64_t bytes_left;
    bool is_unsent; /**< FLUSH and GET_ID, of which there is nothing left to count */
    uint16_t n_in_flight;
};

/** Fill in a read, for callers for whom clearing the whole structure is too slow. */
static inline void virtio_blk_make_read(struct virtio_blk_transfer *transfer, uint64_t sector,
                                        void *buffer, uint64_t bytes)
{
    transfer->operation = VIRTIO_BLK_READ;
    transfer->sector = sector;
    transfer->buffer = buffer;
    transfer->bytes = bytes;
    transfer->unmap = false;
    transfer->after_all = false;
    transfer->is_guess = false;
    transfer->is_queued = false;
}

/** Take over the caller's part of another transfer, and not what has become of it. */
static inline void virtio_blk_copy_wish(struct virtio_blk_transfer *transfer,
                                        const struct virtio_blk_transfer *other)
{
    virtio_blk_make_read(transfer, other->sector, other->buffer, other->bytes);
    transfer->operation = other->operation;
    transfer->unmap = other->unmap;
    transfer->after_all = other->after_all;
    transfer->is_guess = other->is_guess;
    transfer->is_queued = other->is_queued;
}

/** Whether a transfer, when it is carried out, changes what can be read. */
static inline bool virtio_blk_changes(const struct virtio_blk_transfer *transfer)
{
    return transfer->operation != VIRTIO_BLK_READ && transfer->operation != VIRTIO_BLK_GET_ID &&
           transfer->operation != VIRTIO_BLK_FLUSH;
}

/** Header and status around the data. */
#define BLK_OVERHEAD_BUFFERS 2u

/** Private: one request in flight. */
struct blk_slot {
    /** Header, data, status, for data that is one segment; the header lies first in the memory. */
    struct vio_buffer chain[BLK_OVERHEAD_BUFFERS + 1];
    struct blk_slot_memory *memory; /**< header, status, and what is too small to be mapped */
    struct virtio_blk_transfer *transfer;
    struct vio_mapping mapping;
    dma_addr data_addr;
    uint64_t sector;
    uint32_t data_bytes;   /**< that the device moves; 0: none */
    uint32_t bytes;        /**< of the transfer that the request stands for */
    uint8_t queue;         /**< by number */
    bool is_mapped;        /**< the data */
    bool device_writes;    /**< the data */
    bool was_retried;      /**< after a recovery */
    struct blk_slot *next; /**< free, or in flight in the order of sending */
    struct blk_slot *previous;
};

/** Private. */
struct blk_transfer_list {
    struct virtio_blk_transfer *first;
    struct virtio_blk_transfer **end;
};

/** What failed last: a request; or a transfer, if the device is out of use; for a message. */
struct virtio_blk_failed_request {
    const char *verb; /**< "read", "write", "flush" … */
    uint64_t sector;
    uint64_t bytes;
};

/** All fields are private to devices/blk*.c but for those said to be for reading or writing. */
struct virtio_blk {
    struct vio_device device;                /**< device.failure is for reading */
    struct virtio_blk_info info;             /**< for reading */
    struct virtio_blk_counters counters;     /**< for reading */
    struct virtio_blk_failed_request failed; /**< for reading */
    struct virtqueue queues[BLK_QUEUES_MAX];
    uint64_t request_limit_us; /**< for writing, after virtio_blk_open() */
    uint32_t spin_limit_us;    /**< for writing: a blocking call spins so long before it sleeps */
    bool may_sleep;            /**< for writing, at any time: true at first */
    /**
     * For writing, after virtio_blk_open(): whether a queue's reset alone is proof that the device
     * has let go of that queue's buffers. 2.6.1 demands it, but QEMU's disks (7.2) confirm it and go
     * on with what they had: late data lands in memory that is somebody else's. So false; only who
     * knows his device says true.
     */
    bool trust_queue_reset;
    bool quarantined; /**< for reading: it confirmed no reset, and what it knows is not freed */
    bool is_shut_down;
    bool has_unflushed; /**< for reading: something was changed since the last flush */

    struct vio_transport transport;
    struct vio_platform platform; /**< its interrupts are for writing, if they become others */
    struct vio_dma rings;
    struct vio_dma indirect;
    struct vio_dma slot_memory;
    void *shadow;
    uint16_t depth; /**< descriptors that there is memory for: BLK_DEPTH_MAX, or a legacy queue's */
    struct blk_slot slots[BLK_DEPTH_MAX];
    struct blk_slot *free_slots;
    struct blk_slot *oldest; /**< in flight */
    struct blk_slot *newest;
    struct blk_transfer_list waiting; /**< not sent, or not completely */
    struct blk_transfer_list finished;
    uint16_t n_in_flight;
    unsigned n_changing; /**< transfers under way that are no reads */
    uint8_t next_queue;
    struct virtqueue *asked; /**< for an interrupt; NULL: none */
    uint16_t n_asked;        /**< at which answer from the last one taken */
    uint8_t n_vain_spins;    /**< in a row: waits that ended asleep */
    uint8_t n_missed;        /**< in a row: answers that came in a sleep without an interrupt */
    bool maps_buffers;
    bool has_unpublished; /**< requests */

    uint32_t request_bytes_max; /**< a multiple of the block size */
    uint32_t segment_bytes_max;
    uint32_t short_bytes_max; /**< of a request that is one segment and not mapped; 0: none is */
    uint16_t segments_max;    /**< data descriptors per request */
    uint64_t declined_features;
    vio_status dead; /**< VIO_OK, or why the device is of no use any more */

    /* Time that counts, in microseconds. */
    uint64_t waited_us;
    uint64_t last_look_us;    /**< by the platform's clock */
    bool is_watched;          /**< last_look_us is of now, and not of before a pause */
    uint64_t next_alive_us;   /**< by waited_us, as are the following */
    uint64_t oldest_since_us; /**< that request is the oldest in flight */
    bool recovered_in_vain;   /**< nothing was answered since the last recovery */
};

/**
 * Bring the device up and read what there is to know.
 *
 * @param blk                any content; stays at its address until virtio_blk_close()
 * @param transport          copied
 * @param platform           copied
 * @param declined_features  features not to accept although the driver could, 0 for none
 * @return VIO_OK; VIO_ERR_INVALID for an incomplete seam, nothing was touched; what
 *         vio_device_bring_up() returns; VIO_ERR_NO_MEMORY; VIO_ERR_UNSUPPORTED for a disk that is
 *         empty or whose sizes make no sense; VIO_ERR_DEVICE for a capacity that overflows.
 *         blk->device.failure says more. On failure nothing needs to be closed, and the device is
 *         left reset, or cut off and quarantined if it did not confirm that
 */
VIO_MUST_CHECK vio_status virtio_blk_open(struct virtio_blk *blk,
                                          const struct vio_transport *transport,
                                          const struct vio_platform *platform,
                                          uint64_t declined_features);

/**
 * Reset the device and give back all memory. Transfers under way end with VIO_ERR_GONE. If the
 * device does not confirm the reset it is cut off from the bus, and the memory it knows is left
 * allocated for good. Every later call is refused, virtio_blk_reset() as well.
 *
 * @param blk  open
 */
void virtio_blk_close(struct virtio_blk *blk);

/**
 * Reset the device and nothing else; allocates and frees nothing, so it may be called while the
 * firmware hands over to an operating system. Every later call but close fails, and what was under way
 * ends with the next poll.
 *
 * @param blk  open
 */
void virtio_blk_shutdown(struct virtio_blk *blk);

/**
 * Reset the device, bring it up again, and end all transfers under way with VIO_ERR_ABORTED. Brings
 * back a device that was out of use, if it lets itself be brought up.
 *
 * @param blk  open
 * @return VIO_OK, or why the device is out of use now
 */
VIO_MUST_CHECK vio_status virtio_blk_reset(struct virtio_blk *blk);

/**
 * Take a transfer. Transfers are sent in the order of their submission, and may end in any other:
 * who needs an order says so by after_all, or submits the next one when the first is done.
 * The device need not see anything before virtio_blk_publish().
 *
 * @param blk       open
 * @param transfer  the caller's part filled in; the rest is written here
 * @return VIO_OK: it will be done, though perhaps with a failure, and may be done already. Else it
 *         was not taken and is not done: VIO_ERR_INVALID for a broken multiple; VIO_ERR_RANGE beyond
 *         the end; VIO_ERR_READ_ONLY; VIO_ERR_UNSUPPORTED for what the device does not offer; why
 *         the device is out of use
 */
VIO_MUST_CHECK vio_status virtio_blk_submit(struct virtio_blk *blk,
                                            struct virtio_blk_transfer *transfer);

/** Let the device see all that was submitted: at most one notification per queue. */
void virtio_blk_publish(struct virtio_blk *blk);

/**
 * Look for answers, send what has been waiting for room, publish it, and watch the deadlines.
 * Never waits, but for a reset that has become necessary (VIO_RESET_LIMIT_US each).
 *
 * @param blk  open
 * @return number of requests that were answered
 */
unsigned virtio_blk_poll(struct virtio_blk *blk);

/** Publish, and poll until this transfer, submitted before, is done; its status. */
VIO_MUST_CHECK vio_status virtio_blk_wait(struct virtio_blk *blk,
                                          const struct virtio_blk_transfer *transfer);

/**
 * Ask for one interrupt when about half of what is in flight is answered, for who looks for answers
 * when he has been woken by it. virtio_blk_poll() takes the wish back.
 *
 * @param blk  open
 * @return whether enough is answered already, or nothing is in flight, so that none may come; a device
 *         that is polled sends none in any case
 */
bool virtio_blk_ask_interrupt(struct virtio_blk *blk);

/** The next transfer with is_queued that is done, in the order of their ends; NULL when none. */
struct virtio_blk_transfer *virtio_blk_next_done(struct virtio_blk *blk);

/** Whether the device is out of use because nobody answers on its bus any more. */
bool virtio_blk_is_gone(const struct virtio_blk *blk);

/** Whether any transfer is not done. */
bool virtio_blk_is_busy(const struct virtio_blk *blk);

/** Whether a transfer other than a read is not done: then what a read gives is not settled. */
static inline bool virtio_blk_is_changing(const struct virtio_blk *blk)
{
    return blk->n_changing != 0;
}

/** Forget device.failure, unless it says why the device is out of use. */
static inline void virtio_blk_forget_failure(struct virtio_blk *blk)
{
    if (blk->dead == VIO_OK)
        blk->device.failure = (struct vio_failure){0};
}

/**
 * Look whether the device has another capacity than info says (5.2.6.1: the driver SHOULD check it
 * on a configuration change), and take it over; and whether it is gone, or idle and in need of a reset,
 * which it gets then.
 *
 * @param blk  open
 * @return whether info.capacity_sectors has changed
 */
bool virtio_blk_refresh(struct virtio_blk *blk);

/* --- Blocking calls (devices/blk_blocking.c) ------------------------------------------------- */

/**
 * Carry a transfer out: a read after all changes that were submitted before it, anything else after
 * all that was. A failure may be VIO_ERR_NO_MEMORY; VIO_ERR_IO and VIO_ERR_UNSUPPORTED from
 * the status byte; VIO_ERR_DEVICE for an answer against the specification; VIO_ERR_TIMEOUT,
 * VIO_ERR_NEEDS_RESET, VIO_ERR_GONE, VIO_ERR_QUEUE_BROKEN: see Deadlines and Trust above.
 *
 * @param blk       open
 * @param transfer  as for virtio_blk_submit(), but after_all is set here; forgets an earlier
 *                  device.failure
 * @return what virtio_blk_submit() returned, or the transfer's status
 */
VIO_MUST_CHECK vio_status virtio_blk_run(struct virtio_blk *blk,
                                         struct virtio_blk_transfer *transfer);

/**
 * Read whole logical blocks. Large reads become several requests in flight at once.
 *
 * @param blk     open
 * @param sector  of 512 bytes; a multiple of the logical block
 * @param buffer  of @p bytes; undefined on failure
 * @param bytes   a multiple of the logical block; 0 is allowed and does nothing
 * @return as virtio_blk_run()
 */
VIO_MUST_CHECK vio_status virtio_blk_read(struct virtio_blk *blk, uint64_t sector, void *buffer,
                                          size_t bytes);

/**
 * Write whole logical blocks.
 *
 * @param blk     open
 * @param sector  as for virtio_blk_read()
 * @param buffer  of @p bytes, not changed
 * @param bytes   as for virtio_blk_read()
 * @return as virtio_blk_run()
 */
VIO_MUST_CHECK vio_status virtio_blk_write(struct virtio_blk *blk, uint64_t sector,
                                           const void *buffer, size_t bytes);

/**
 * Make all completed writes durable. Sends nothing, and succeeds, where the device has no cache to
 * flush (5.2.5), is read-only, or nothing was changed through this driver since the last flush.
 *
 * @param blk  open
 * @return VIO_OK or as virtio_blk_run()
 */
VIO_MUST_CHECK vio_status virtio_blk_flush(struct virtio_blk *blk);

#endif
