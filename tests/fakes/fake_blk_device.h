/** @file
 * The device's side of a disk: an image in memory behind a fake transport and a fake ring. Runs in
 * notify() and in the platform's wait(), no threads. A request that breaks a rule fails the test.
 * Spec:   virtio 1.4, 5.2.6 Device Operation.
 * Knows:  devices/blk_spec.h and the other fakes.
 */
#ifndef TESTS_FAKES_FAKE_BLK_DEVICE_H
#define TESTS_FAKES_FAKE_BLK_DEVICE_H

#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_ring.h"
#include "tests/fakes/fake_transport.h"

#define FAKE_BLK_RECORDS 8192u
#define FAKE_BLK_PENDING 1024u

/** How requests are answered, from number lie_from on. */
enum fake_blk_lie {
    FAKE_BLK_HONEST,
    FAKE_BLK_STATUS,    /**< lie_value is the status byte; no data but for status 0 */
    FAKE_BLK_NO_STATUS, /**< data and len as they should be, status byte not written */
    FAKE_BLK_NO_DATA,   /**< status 0, len 1, no data */
    FAKE_BLK_LEN,       /**< all done, but lie_value is the used len */
    FAKE_BLK_NEVER,     /**< no answer at all */
    FAKE_BLK_ID,        /**< lie_value is the used id */
    FAKE_BLK_ID_TWICE,  /**< the same element twice */
    FAKE_BLK_IDX_JUMPS, /**< used idx moves by lie_value more than it should */
};

enum fake_blk_order {
    FAKE_BLK_IN_ORDER,
    FAKE_BLK_REVERSED,
    FAKE_BLK_SHUFFLED,
};

/** A request as the device understood it. */
struct fake_blk_request {
    uint32_t type;
    uint64_t sector;
    uint64_t data_bytes;
    unsigned n_descriptors;
    uint32_t longest_part; /**< of the data */
    dma_addr data_addr;    /**< of its first part */
    const uint8_t *data;
    uint16_t head;
    const uint8_t *status_byte;
    uint16_t queue;
    unsigned n_before;     /**< requests that were with the device when it came */
    uint64_t range_sector; /**< DISCARD, WRITE_ZEROES, SECURE_ERASE */
    uint32_t range_sectors;
    uint32_t range_flags;
};

/** A request that was taken and not answered. */
struct fake_pending {
    uint16_t queue;
    uint16_t head;
};

struct fake_blk_device {
    struct fake_transport transport;
    struct fake_platform *platform;
    struct fake_ring rings[FAKE_QUEUES];
    uint8_t *image; /**< NULL: ranges are noted and change nothing, and data is not moved */
    uint64_t sectors;
    uint32_t block_bytes;

    /* Knobs */
    enum fake_blk_lie lie;
    uint32_t lie_value;
    unsigned lie_from;         /**< requests in front of this one, from 0, are served honestly */
    unsigned lie_until;        /**< as are those from this one on; 0: none */
    enum fake_blk_order order; /**< of what is pending at the same time */
    unsigned delay_waits;      /**< 0: serve all in notify(); n: one request each n waits */
    bool polls;                /**< asks for no notifications and looks at each wait */
    void (*on_wait)(struct fake_blk_device *device);
    void (*on_interrupt)(struct fake_blk_device *device); /**< the driver wanted it; may be NULL */
    const char *id;           /**< answer to GET_ID; NULL: not supported */
    unsigned reset_is_honest; /**< at the nth reset the device stops lying; 0: never */
    uint64_t bad_sector;      /**< reads that touch it fail with IOERR; 0: none */

    /* What happened */
    struct fake_blk_request requests[FAKE_BLK_RECORDS];
    unsigned n_requests; /**< may exceed FAKE_BLK_RECORDS */
    unsigned n_returned;
    unsigned n_pending_max;
    unsigned n_interrupts;
    unsigned n_resets; /**< of the device, or of a queue */

    struct fake_pending pending[FAKE_BLK_PENDING];
    unsigned n_pending;
    unsigned waits_left;
    uint64_t shuffle;
};

/**
 * A disk of @p sectors, no two of them alike, that offers VERSION_1, FLUSH and a queue
 * of 128. Free with fake_blk_device_free().
 */
void fake_blk_device_init(struct fake_blk_device *device, struct fake_platform *platform,
                          uint64_t sectors);

void fake_blk_device_free(struct fake_blk_device *device);

/** Offer a feature that has a configuration field, and set the field. */
void fake_blk_device_offer(struct fake_blk_device *device, unsigned feature_bit, uint32_t offset,
                           unsigned width_bytes, uint64_t value);

/** Look at the available rings, and answer up to @p n_requests, in the order that is set. */
void fake_blk_device_serve(struct fake_blk_device *device, unsigned n_requests);

/** Return all that is pending, after one more look at the available ring. */
void fake_blk_device_serve_all(struct fake_blk_device *device);

#endif
