/** @file
 * Split virtqueue, driver side.
 * Spec:      virtio 1.4, 2.7 Split Virtqueues; 2.7.13 Supplying Buffers to The Device; 2.7.14
 *            Receiving Used Buffers From The Device.
 * Knows:     core/transport.h (notify), core/split_spec.h.
 * Memory:    the caller brings two pieces: the rings, which the device sees, and the shadow, which
 *            it must not see. virtqueue_ring_bytes() and virtqueue_shadow_bytes() say how much.
 * Ownership: a chain is the caller's until virtqueue_add() returns VIO_OK, the device's until
 *            virtqueue_pop_used() returns its cookie, then the caller's again. After a timeout it
 *            stays the device's until vio_device_reset() has returned VIO_OK; virtqueue_drain()
 *            then gives the cookies back.
 * Trust:     used idx, id and len come from the device, each is read once and compared with the
 *            shadow. The first lie breaks the queue for good: every later call fails cleanly, and
 *            virtqueue_fault() says what was wrong. Nothing that we wrote into the rings is ever
 *            read back.
 * Threads:   none; an interrupt handler may call virtqueue_used_interrupt() and virtqueue_has_used()
 *            and nothing else.
 * Units:     lengths in bytes, queue sizes in descriptors.
 */
#ifndef CORE_VIRTQUEUE_H
#define CORE_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/device_spec.h"
#include "core/split_spec.h"
#include "core/status.h"
#include "core/transport.h"

/** One physically contiguous piece of a chain. */
struct vio_buffer {
    dma_addr addr;
    uint32_t len;         /**< never 0 */
    bool device_writable; /**< false: device-readable */
};

/** The lie that broke a queue. */
enum virtqueue_fault {
    VIRTQUEUE_FAULT_NONE,
    VIRTQUEUE_FAULT_USED_IDX,    /**< used idx is not within the chains that are in flight */
    VIRTQUEUE_FAULT_ID_RANGE,    /**< id is no descriptor of this queue */
    VIRTQUEUE_FAULT_ID_NOT_HEAD, /**< id is not the head of a chain that the device was given */
    VIRTQUEUE_FAULT_LEN,         /**< len is more than the chain's device-writable bytes */
};

/** What happened on a queue so far, for messages and tests. */
struct virtqueue_counters {
    uint64_t chains_added;
    uint64_t chains_used;
    uint64_t notifications;            /**< register writes */
    uint64_t notifications_suppressed; /**< the device had asked for none (2.7.10) */
    uint64_t interrupts;               /**< calls of virtqueue_used_interrupt() */
    uint64_t interrupts_spurious;      /**< of these: nothing was there */
};

/** Private: what we know of one descriptor, in memory that the device cannot reach. */
struct vq_shadow {
    void *cookie;            /**< of the chain that starts here; NULL: no chain starts here */
    uint32_t writable_bytes; /**< of that chain */
    uint16_t n_descriptors;  /**< of that chain */
    uint16_t next;           /**< next of the chain or of the free list; VQ_CHAIN_END ends it */
    uint16_t avail_head;     /**< not of this descriptor: copy of the available ring's slot */
    bool published;          /**< the device may return the chain that starts here */
};

/** All fields are private to virtqueue.c. */
struct virtqueue {
    struct virtq_desc *desc;
    struct virtq_avail *avail;
    struct virtq_used *used;
    struct virtqueue_addresses addresses;
    const struct vio_transport *transport;

    /* Our own book-keeping; the device sees none of it. */
    struct vq_shadow *shadow;
    uint16_t index;
    uint16_t size;
    uint16_t mask;
    uint16_t free_head;
    uint16_t n_free;
    uint16_t n_in_flight;     /**< chains */
    uint16_t avail_next;      /**< free-running: next slot to fill */
    uint16_t avail_published; /**< free-running: what the device may see */
    uint16_t avail_notified;  /**< avail_published at the last notification decision */
    uint16_t used_next;       /**< free-running: next used element to look at */
    uint16_t used_seen;       /**< free-running: used idx when it was last read, found plausible */
    uint16_t drain_next;      /**< descriptor at which virtqueue_drain() goes on */
    enum virtqueue_fault fault;
    uint64_t fault_value; /**< what the device said */
    struct virtqueue_counters counters;
};

/**
 * The size to use for a queue: the largest power of two that neither side minds.
 *
 * @param wanted      what the driver would like, 1 .. 32768; rounded down to a power of two
 * @param device_max  what the device says it takes; 0 means that there is no such queue. A value
 *                    that is no power of two breaks 2.7 and is rounded down too
 * @return a power of two from 1 to 32768, or 0 if there is no queue
 */
uint16_t virtqueue_negotiate_size(uint16_t wanted, uint16_t device_max);

/**
 * Bytes of device-visible memory for a queue of this size.
 *
 * @param size  a power of two from 1 to 32768
 */
size_t virtqueue_ring_bytes(uint16_t size);

/**
 * Bytes of private memory for a queue of this size.
 *
 * @param size  a power of two from 1 to 32768
 */
size_t virtqueue_shadow_bytes(uint16_t size);

/**
 * Make an empty queue. Writes both pieces of memory completely, so a queue is reset and used again
 * by another call, once the device has been reset. Does not touch the device: give
 * virtqueue_addresses() to the transport.
 *
 * @param vq         any content
 * @param transport  kept; must outlive the queue
 * @param index      the queue's number on its device
 * @param size       a power of two from 1 to 32768
 * @param rings      at least virtqueue_ring_bytes(size), aligned to 16 on both sides; kept
 * @param shadow     at least virtqueue_shadow_bytes(size), aligned as from malloc; kept
 * @return VIO_OK or VIO_ERR_INVALID (nothing changed)
 */
VIO_MUST_CHECK vio_status virtqueue_init(struct virtqueue *vq,
                                         const struct vio_transport *transport, uint16_t index,
                                         uint16_t size, const struct vio_dma *rings, void *shadow);

/**
 * Where the device finds the descriptor, driver and device area (2.7).
 *
 * @param vq  initialised
 */
struct virtqueue_addresses virtqueue_addresses(const struct virtqueue *vq);

/** Descriptors that virtqueue_add() can still take. */
uint16_t virtqueue_free_descriptors(const struct virtqueue *vq);

/** Chains that were added and not popped yet. */
uint16_t virtqueue_in_flight(const struct virtqueue *vq);

/**
 * Place one chain in the descriptor table. The device sees nothing before virtqueue_publish().
 *
 * @param vq      initialised
 * @param bufs    all device-readable buffers before any device-writable one (2.7.4.2); together at
 *                most 2^32 - 1 bytes (2.7.5.2)
 * @param n_bufs  at least 1
 * @param cookie  given back by virtqueue_pop_used(); never NULL
 * @return VIO_OK, VIO_ERR_QUEUE_FULL, VIO_ERR_INVALID, VIO_ERR_QUEUE_BROKEN; on failure nothing has
 *         changed. More buffers than the queue has descriptors at all is VIO_ERR_INVALID
 */
VIO_MUST_CHECK vio_status virtqueue_add(struct virtqueue *vq, const struct vio_buffer *bufs,
                                        unsigned n_bufs, void *cookie);

/** Let the device see all chains added so far (2.7.13 steps 4 and 5); once per batch. */
void virtqueue_publish(struct virtqueue *vq);

/**
 * Tell the device about published chains, unless it asked not to be told (2.7.10). Only after
 * DRIVER_OK. Does nothing when nothing was published since the last call.
 *
 * @param vq  initialised
 * @return whether the device was notified
 */
bool virtqueue_notify(struct virtqueue *vq);

/**
 * Take the next used chain (2.7.14).
 *
 * @param vq          initialised
 * @param ret_cookie  what virtqueue_add() was given
 * @param ret_len     bytes that the device says it wrote; what lies behind them is undefined
 * @return VIO_OK, VIO_EMPTY, VIO_ERR_QUEUE_BROKEN
 */
VIO_MUST_CHECK vio_status virtqueue_pop_used(struct virtqueue *vq, void **ret_cookie,
                                             uint32_t *ret_len);

/**
 * Whether the used ring shows something that virtqueue_pop_used() has not looked at yet, be it
 * valid or a lie; never on a broken queue. Allowed at any time, also from an interrupt handler.
 */
bool virtqueue_has_used(const struct virtqueue *vq);

/**
 * Interrupt entry. Counts, and never fails: an interrupt without cause, for an empty or a broken
 * queue, early or late, is harmless (2.7.7.1).
 *
 * @param vq  initialised
 * @return whether there is something to pop
 */
bool virtqueue_used_interrupt(struct virtqueue *vq);

/**
 * Ask the device for an interrupt per used chain; initially it is asked for none (2.7.7). What came
 * before causes none: look with virtqueue_has_used() afterwards, and only then sleep.
 */
void virtqueue_enable_callbacks(struct virtqueue *vq);

/** Tell the device that interrupts are not wanted. It may send some nevertheless (2.7.7.1). */
void virtqueue_disable_callbacks(struct virtqueue *vq);

/** The first lie of the device, VIRTQUEUE_FAULT_NONE if there was none. */
enum virtqueue_fault virtqueue_fault(const struct virtqueue *vq);

/** The same in words, for a message; with the value that the device gave in @p ret_value. */
const char *virtqueue_fault_text(const struct virtqueue *vq, uint64_t *ret_value);

/**
 * Take back one chain that the device did not return. Only after the device has been reset, and
 * until NULL comes; then virtqueue_init() makes the queue usable again.
 *
 * @param vq  initialised, or zeroed
 * @return the chain's cookie; NULL when none is left
 */
void *virtqueue_drain(struct virtqueue *vq);

#endif
