/** @file
 * Split virtqueue, driver side.
 * Spec:      virtio 1.4, 2.7 Split Virtqueues; 2.7.2 Legacy Interfaces: A Note on Virtqueue Layout;
 *            2.7.5.3 Indirect Descriptors; 2.7.7 Used Buffer Notification Suppression; 2.7.8.1
 *            Legacy Interface: The Virtqueue Used Ring; 2.7.9 In-order use of descriptors; 2.7.10
 *            Available Buffer Notification Suppression; 2.7.13 Supplying Buffers to The Device;
 *            2.7.14 Receiving Used Buffers From The Device. The packed layout of 2.8 is not
 *            implemented: one layout, proven well, before two (a deviation from the SHOULD of 6.1
 *            Driver Requirements: Reserved Feature Bits).
 * Knows:     core/transport.h (of which only notify is called), core/split_spec.h.
 * Use:       virtqueue_init(), and virtqueue_addresses() to the transport: vio_device_bring_up()
 *            does both for all queues of a device. Once the device is live, any number of
 *            virtqueue_add(), then virtqueue_publish() and virtqueue_notify() for all of them;
 *            virtqueue_pop_used() until VIO_EMPTY; before a sleep virtqueue_enable_callbacks().
 * Memory:    the caller brings up to three pieces: the rings and the indirect tables, which the
 *            device sees, and the shadow, which it must not see. virtqueue_ring_bytes(),
 *            virtqueue_indirect_bytes() and virtqueue_shadow_bytes() say how much. What they hold
 *            before virtqueue_init() does not matter. Rings, tables and buffers have to be coherent
 *            with the device: nothing here flushes a cache.
 * Ownership: a chain is the caller's until virtqueue_add() returns VIO_OK, the device's until
 *            virtqueue_pop_used() returns its cookie, then the caller's again. After a timeout it
 *            stays the device's until vio_device_reset() or vio_device_reset_queue() has returned
 *            VIO_OK; virtqueue_drain() then gives the cookies back.
 * Trust:     used idx, id, len and the device's wishes are each read once and compared with the
 *            shadow. The first lie breaks the queue for good: every later call fails cleanly, and
 *            virtqueue_fault() says what was wrong. Nothing that we wrote into shared memory is
 *            ever read back, so it does not matter what the device writes there.
 * Cost:      constant in the size of the queue and in the number of chains in flight, but for
 *            virtqueue_init() and virtqueue_drain().
 * Threads:   none; an interrupt handler may call virtqueue_used_interrupt() and
 *            virtqueue_has_used(), and nothing else.
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
    uint32_t len;             /**< never 0 */
    uint32_t device_writable; /**< true; or false: device-readable */
};

/** The lie that broke a queue. */
enum virtqueue_fault {
    VIRTQUEUE_FAULT_NONE,
    VIRTQUEUE_FAULT_USED_IDX,    /**< used idx is not within the chains that are in flight */
    VIRTQUEUE_FAULT_ID_RANGE,    /**< id is no descriptor of this queue */
    VIRTQUEUE_FAULT_ID_NOT_HEAD, /**< id is not the head of a chain that the device was given */
    VIRTQUEUE_FAULT_LEN,         /**< len is more than the chain's device-writable bytes */
    VIRTQUEUE_FAULT_ORDER,       /**< VIRTIO_F_IN_ORDER, and id is of a chain further behind */
};

/** What happened on a queue so far, for messages and tests. */
struct virtqueue_counters {
    uint64_t notifications;            /**< register writes */
    uint64_t notifications_suppressed; /**< the device had asked for none (2.7.10) */
    uint64_t interrupts;               /**< calls of virtqueue_used_interrupt() */
    uint64_t interrupts_spurious;      /**< of these: nothing was there */
};

/** What a queue is made of. */
struct virtqueue_config {
    /**
     * Kept; must outlive the queue. All that is called is ops->notify, by virtqueue_notify(); the
     * others may be NULL where no vio_device is made of the same transport.
     */
    const struct vio_transport *transport;
    /** The queue's number on its device. */
    uint16_t index;
    /** A power of two from 1 to 32768. */
    uint16_t size;
    /**
     * Features in force, as a set of VIO_FEATURE() bits. INDIRECT_DESC, EVENT_IDX, IN_ORDER and
     * ORDER_PLATFORM concern the queue; others are passed over.
     */
    uint64_t features;
    /**
     * For a device that is driven by its legacy interface: the used ring begins where the next 4096
     * bytes do (2.7.2), and the len of a used element is not to be relied on (2.7.8.1).
     */
    bool is_legacy;
    /**
     * At least virtqueue_ring_bytes(); memory and addr aligned to 16. Legacy: at least
     * virtqueue_legacy_ring_bytes(), addr aligned to 4096. They are kept, the structure is not; its
     * bookkeeping is not looked at.
     */
    const struct vio_dma *rings;
    /** At least virtqueue_shadow_bytes(), aligned as a pointer and a uint64_t; kept. */
    void *shadow;
    /**
     * At least virtqueue_indirect_bytes(); otherwise as the rings. NULL: no indirect descriptors,
     * also where the feature is in force.
     */
    const struct vio_dma *indirect;
    /**
     * Buffers that one indirect table holds. A chain of 2 to that many buffers can go into a table
     * and then takes one descriptor of the queue; any other takes one per buffer.
     */
    uint16_t indirect_entries;
    /**
     * How many descriptors may be in use before chains that fit a table go into one: a table is one
     * more piece of memory for both sides to look up, and of no use before descriptors are scarce.
     * 0: all that fits a table goes into one.
     */
    uint16_t direct_max;
};

/** Private: a descriptor, and the chain that it heads, in memory that the device cannot reach. */
struct vq_shadow {
    struct virtq_desc *desc;
    struct vq_shadow *next;  /**< in its chain, or on the free list */
    uint64_t link;           /**< plus len: len_flags_next of a descriptor that is continued here */
    uint64_t link_writable;  /**< the same for a device-writable descriptor */
    void *cookie;            /**< of the chain that starts here */
    uint64_t number;         /**< of that chain, in the order of virtqueue_add() */
    struct vq_shadow *tail;  /**< of that chain */
    uint32_t writable_bytes; /**< of that chain */
    uint16_t n_descriptors;  /**< of the queue that it takes; 0: no chain starts here */
    uint16_t index;          /**< of this descriptor */
};

/** All fields are private to virtqueue.c, but for the counters, which are for reading. */
struct virtqueue {
    struct virtq_desc *desc;
    struct virtq_avail *avail;
    struct virtq_used *used;
    struct virtq_desc *tables; /**< one of table_entries for each descriptor */
    dma_addr tables_addr;
    struct virtqueue_addresses addresses;
    const struct vio_transport *transport;

    /* Our own book-keeping; the device sees none of it. */
    struct vq_shadow *shadow; /**< by descriptor */
    uint16_t index;
    uint16_t size;
    uint64_t mask;          /**< of a chain's number: its slot in the rings */
    uint16_t table_entries; /**< 0: no indirect descriptors */
    uint16_t table_reserve; /**< a chain goes without a table only if so many stay free behind it */
    bool event_idx;
    bool in_order;
    bool order_platform;
    bool is_legacy; /**< len is not to be relied on */

    /* The free list is a FIFO: with an orderly device descriptors are used in table order. */
    struct vq_shadow *free_head;
    struct vq_shadow *free_tail;
    uint32_t n_free; /**< 0 for a broken queue */

    /* Chains since virtqueue_init(); the low 16 bits are the indices of the rings. */
    uint64_t n_added;
    uint64_t n_published; /**< what the device may see */
    uint64_t n_notified;  /**< n_published at the last notification decision */
    uint64_t n_used;      /**< handed back by virtqueue_pop_used() */
    uint64_t n_drained;

    /** Chains that used idx announced and that were not popped yet; 0 for a broken queue. */
    uint16_t n_ready;
    uint16_t n_batch;       /**< of these: covered by the element read last (IN_ORDER) */
    uint16_t in_order_head; /**< of the oldest chain in flight (IN_ORDER) */
    uint32_t batch_len;     /**< len of the last chain of the batch */
    uint16_t used_event;    /**< as the device sees it (EVENT_IDX) */
    bool callbacks_wanted;
    uint16_t drain_next; /**< descriptor at which virtqueue_drain() goes on */
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

/** The same for a queue of a legacy device: a multiple of 4096, and contiguous (2.7.2). */
size_t virtqueue_legacy_ring_bytes(uint16_t size);

/**
 * Bytes of private memory for a queue of this size.
 *
 * @param size  a power of two from 1 to 32768
 */
size_t virtqueue_shadow_bytes(uint16_t size);

/**
 * Bytes of device-visible memory for the indirect tables of a queue of this size.
 *
 * @param size     a power of two from 1 to 32768
 * @param entries  virtqueue_config.indirect_entries
 */
size_t virtqueue_indirect_bytes(uint16_t size, uint16_t entries);

/**
 * Make an empty queue. Writes rings and shadow completely, so a queue is reset and used again by
 * another call, once the device or the queue has been reset. Does not touch the device: give
 * virtqueue_addresses() to the transport. Interrupts are not wanted at first.
 *
 * @param vq      any content
 * @param config  only read during the call
 * @return VIO_OK or VIO_ERR_INVALID (nothing changed)
 */
VIO_MUST_CHECK vio_status virtqueue_init(struct virtqueue *vq,
                                         const struct virtqueue_config *config);

/**
 * Where the device finds the descriptor, driver and device area (2.7).
 *
 * @param vq  initialised
 */
struct virtqueue_addresses virtqueue_addresses(const struct virtqueue *vq);

/** Descriptors that virtqueue_add() can still take; of a broken queue none. */
uint16_t virtqueue_free_descriptors(const struct virtqueue *vq);

/**
 * The fewest descriptors with which a chain can be added: 1 if it fits a table.
 *
 * @param vq      initialised
 * @param n_bufs  1 or more
 */
unsigned virtqueue_descriptors_needed(const struct virtqueue *vq, unsigned n_bufs);

/** Chains that were added and neither popped nor drained yet. */
uint16_t virtqueue_in_flight(const struct virtqueue *vq);

/**
 * Place one chain in the descriptor table. The device sees nothing before virtqueue_publish().
 *
 * @param vq      initialised
 * @param bufs    all device-readable buffers before any device-writable one (2.7.4.2); together at
 *                most 2^32 - 1 bytes (2.7.5.2). The array is only read during the call; what its
 *                addresses lead to is the device's until the cookie is back
 * @param n_bufs  1 to the size of the queue, also for an indirect table (2.7.5.3.1)
 * @param cookie  given back by virtqueue_pop_used(); anything
 * @return VIO_OK, VIO_ERR_QUEUE_FULL, VIO_ERR_INVALID, VIO_ERR_QUEUE_BROKEN; on failure nothing has
 *         changed but the content of descriptors and ring slots that are free
 */
VIO_MUST_CHECK vio_status virtqueue_add(struct virtqueue *vq, const struct vio_buffer *bufs,
                                        unsigned n_bufs, void *cookie);

/**
 * Let the device see all chains added so far (2.7.13 steps 4 and 5); once per batch. The device may
 * use them from now on, notified or not. Does nothing on a broken queue.
 */
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
 * @param ret_len     bytes that the device says it wrote, at most the chain's writable ones; what
 *                    lies behind them is undefined. With IN_ORDER a device may leave out elements,
 *                    which says that all was written. Of a legacy device it means nothing
 * @return VIO_OK, VIO_EMPTY, VIO_ERR_QUEUE_BROKEN
 */
VIO_MUST_CHECK vio_status virtqueue_pop_used(struct virtqueue *vq, void **ret_cookie,
                                             uint32_t *ret_len);

/**
 * Whether there is something for virtqueue_pop_used(), be it valid or a lie; never on a broken
 * queue. Allowed at any time, also from an interrupt handler.
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
 * Ask for an interrupt at the next used chain, and look whether one is there already: then none may
 * come. Only if the answer is false may the caller sleep; no wake-up is lost between the two. With
 * EVENT_IDX the wish is good for one interrupt, without it for one at each used chain until
 * virtqueue_disable_callbacks(); so ask again before each sleep.
 *
 * @param vq  initialised
 * @return whether there is something to pop, or the queue is broken: no interrupt comes to that
 */
bool virtqueue_enable_callbacks(struct virtqueue *vq);

/**
 * The same for the @p n_chains-th used chain from now. Without EVENT_IDX, which alone can express
 * that, the interrupt comes at the first.
 *
 * @param vq        initialised
 * @param n_chains  counted from the last one popped; more than are with the device would never come
 *                  and means all of these
 * @return whether so many are there to be popped
 */
bool virtqueue_enable_callbacks_after(struct virtqueue *vq, uint16_t n_chains);

/** Tell the device that interrupts are not wanted. It may send some nevertheless (2.7.7.1). */
void virtqueue_disable_callbacks(struct virtqueue *vq);

/** The first lie of the device, VIRTQUEUE_FAULT_NONE if there was none. */
enum virtqueue_fault virtqueue_fault(const struct virtqueue *vq);

/** The same in words, for a message; with the value that the device gave in @p ret_value. */
const char *virtqueue_fault_text(const struct virtqueue *vq, uint64_t *ret_value);

/**
 * Take back one chain that the device did not return. Only after the device or the queue has been
 * reset, and until there is none; then virtqueue_init() makes the queue usable again. What was
 * drained is never popped: a pop that comes to it breaks the queue, as if the device had lied.
 *
 * @param vq          initialised, or zeroed
 * @param ret_cookie  what virtqueue_add() was given
 * @return whether there was one
 */
bool virtqueue_drain(struct virtqueue *vq, void **ret_cookie);

#endif
