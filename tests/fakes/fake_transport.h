/** @file
 * A transport in memory, with the device's side of bring-up behind it. Breaking a rule of the
 * specification (a status bit dropped, a feature that was not offered, a notification before
 * DRIVER_OK …) fails the test at once; with transport.is_legacy, one of a legacy interface's.
 * Knows:  core/transport.h, core/device_spec.h, tests/fakes/fake_log.h.
 */
#ifndef TESTS_FAKES_FAKE_TRANSPORT_H
#define TESTS_FAKES_FAKE_TRANSPORT_H

#include "core/transport.h"

#define FAKE_QUEUES       10u
#define FAKE_CONFIG_BYTES 256u

/** How the device misbehaves. */
enum fake_transport_lie {
    FAKE_HONEST,
    FAKE_GONE,                  /**< all registers read as all ones */
    FAKE_RESET_STUCK,           /**< status never becomes 0 */
    FAKE_RESET_SLOW,            /**< status becomes 0 at the lie_count-th read after the reset */
    FAKE_NEEDS_RESET,           /**< DEVICE_NEEDS_RESET is set */
    FAKE_REFUSES_FEATURES,      /**< FEATURES_OK does not stick */
    FAKE_REFUSES_CONFIG_VECTOR, /**< whatever it is, as a device that breaks the specification */
    FAKE_REFUSES_QUEUE,         /**< enable_queue() fails */
    FAKE_GENERATION_MOVES,      /**< at each of the next lie_count reads of the generation */
    FAKE_QUEUE_RESET_SLOW,      /**< a queue is reset at the lie_count-th look */
    FAKE_QUEUE_RESET_STUCK,
};

struct fake_queue {
    uint16_t size_max; /**< 0: no such queue */
    uint16_t size;
    uint16_t vector;
    bool enabled;
    bool resetting;
    bool was_reset; /**< and not enabled since */
    struct virtqueue_addresses addresses;
};

struct fake_transport {
    struct vio_transport transport; /**< to be given to the code under test */
    uint64_t offered;
    uint64_t accepted;
    uint8_t status;
    struct fake_queue queues[FAKE_QUEUES];
    uint8_t config[FAKE_CONFIG_BYTES];
    uint32_t config_bytes;
    uint32_t generation;

    uint64_t vectors;         /**< bit n: vector n exists; another one fails the test */
    uint64_t vectors_refused; /**< bit n: for want of resources */
    uint16_t config_vector;

    enum fake_transport_lie lie;
    unsigned lie_count;
    enum fake_transport_lie later_lie; /**< see fake_transport_lie_from() */
    uint8_t later_status;

    /* The device behind it; each may be NULL. */
    void (*on_notify)(void *context, uint16_t index);
    void (*on_enable)(void *context, uint16_t index);
    void (*on_reset)(void *context);
    void (*on_queue_reset)(void *context, uint16_t index);
    void (*on_config_read)(void *context, uint32_t offset);
    void *context;

    unsigned notifications;
    uint16_t notified_avail_idx; /**< with the last notification */
    unsigned isolations;
};

/** A device with VERSION_1 on offer, one queue of 256, and no configuration space. */
void fake_transport_init(struct fake_transport *fake);

/** Let a lie begin when the driver writes exactly this status. */
void fake_transport_lie_from(struct fake_transport *fake, enum fake_transport_lie lie,
                             uint8_t status);

/** Put a value into the configuration space, which grows to hold it. */
void fake_transport_set_config(struct fake_transport *fake, uint32_t offset, unsigned width_bytes,
                               uint64_t value);

#endif
