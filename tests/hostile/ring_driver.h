/** @file
 * The driver of a split virtqueue as the hostile rows and the fuzzer see it, so that another one
 * can be put under them: fill in a struct ring_driver, and call vio_mem_hook() before each access
 * to shared memory and at each barrier.
 * Spec:   virtio 1.4, 2.7 Split Virtqueues.
 * Knows:  core/platform.h, core/status.h, core/transport.h: types only.
 * Words:  VIO_OK, VIO_EMPTY, VIO_ERR_QUEUE_FULL, VIO_ERR_INVALID and VIO_ERR_QUEUE_BROKEN are the
 *         only results. A broken queue answers everything with the last of them, touches no shared
 *         memory (but for its wish not to be interrupted) and notifies nobody.
 */
#ifndef TESTS_HOSTILE_RING_DRIVER_H
#define TESTS_HOSTILE_RING_DRIVER_H

#include "core/platform.h"
#include "core/status.h"
#include "core/transport.h"

/** What a driver may accuse its device of. */
enum ring_fault {
    RING_FAULT_NONE,
    RING_FAULT_USED_IDX,    /**< used idx announces what the device does not have */
    RING_FAULT_ID_RANGE,    /**< id is no descriptor */
    RING_FAULT_ID_NOT_HEAD, /**< id is not the head of a chain that the device was given */
    RING_FAULT_LEN,         /**< len is more than the chain's device-writable bytes */
    RING_FAULT_ORDER,       /**< IN_ORDER, and id is of a chain that was not announced yet */
};

struct ring_buffer {
    dma_addr addr;
    uint32_t len;
    bool device_writable;
};

/** Memory and surroundings of a queue; all of it outlives the queue. */
struct ring_setup {
    uint16_t size;
    uint16_t table_entries; /**< buffers that an indirect table holds */
    uint16_t direct_max;    /**< descriptors in use before chains go into tables */
    uint64_t features;      /**< in force, as VIO_FEATURE() bits */
    struct vio_dma rings;
    struct vio_dma tables;
    void *private_memory; /**< which the device does not see */
    void (*notified)(void *context);
    void *context;
};

struct ring_driver {
    /* How much of each memory a queue takes. */
    size_t (*ring_bytes)(uint16_t size);
    size_t (*table_bytes)(uint16_t size, uint16_t entries);
    size_t (*private_bytes)(uint16_t size);

    /** A driver for one queue, in no state yet; NULL when there is no memory. */
    void *(*make)(void);
    void (*destroy)(void *driver);

    /**
     * Begin the queue's life, or its next one, in memory of any content. Descriptors are then taken
     * from 0 upwards: some rows name them by their numbers.
     */
    vio_status (*init)(void *driver, const struct ring_setup *setup);
    void (*addresses)(void *driver, struct virtqueue_addresses *ret_addresses);
    /**
     * Right after init(): make the queue one through which this many chains have come and gone, so
     * that a test about the wrap of an index need not send 65535 of them.
     */
    void (*age)(void *driver, uint16_t n_chains);

    /** Descriptors, and the available ring's slot, but not yet its idx. */
    vio_status (*add)(void *driver, const struct ring_buffer *bufs, unsigned n_bufs, void *cookie);
    void (*publish)(void *driver);
    bool (*notify)(void *driver);
    vio_status (*pop)(void *driver, void **ret_cookie, uint32_t *ret_len);
    /* What idx announced to pop() stays announced, whatever it says at a later look. */
    bool (*has_used)(void *driver);
    bool (*interrupt)(void *driver);
    /** Ask for an interrupt at the n-th chain from now; whether so many are there already. */
    bool (*enable_callbacks)(void *driver, uint16_t n_chains);
    void (*disable_callbacks)(void *driver);
    /** After the device was reset: the next chain that did not come back; false: none is left. */
    bool (*drain)(void *driver, void **ret_cookie);

    enum ring_fault (*fault)(void *driver, const char **ret_text, uint64_t *ret_value);
    uint16_t (*free_descriptors)(void *driver); /**< 0 for a broken queue */
    uint16_t (*in_flight)(void *driver);
};

#endif
