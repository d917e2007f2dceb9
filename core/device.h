/** @file
 * Bring-up, reset and configuration space of a virtio device of any type.
 * Spec:      virtio 1.4, 3.1.1 Driver Requirements: Device Initialization; 2.1.1 Driver
 *            Requirements: Device Status Field; 2.2.1 Driver Requirements: Feature Bits; 2.4.2
 *            Driver Requirements: Device Reset; 2.5.1 Driver Requirements: Device Configuration
 *            Space. By a legacy interface: 3.1.2 Legacy Interface: Device Initialization; 2.2.3
 *            Legacy Interface: A Note on Feature Bits; 2.5.4 Legacy Interface: Device Configuration
 *            Space; 2.7.2 Legacy Interfaces: A Note on Virtqueue Layout.
 * Knows:     core/transport.h, core/platform.h, core/virtqueue.h.
 * Ownership: transport, platform and queues belong to the caller and outlive the device.
 * Errors:    after a failed bring-up the device carries FAILED, unless it is gone, and
 *            vio_device.failure says what went wrong and what the device answered.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/device_spec.h"
#include "core/platform.h"
#include "core/status.h"
#include "core/transport.h"
#include "core/virtqueue.h"

/** Longest time that a device or one of its queues may take to reset. */
#define VIO_RESET_LIMIT_US 1000000u

/**
 * What core/ and the transports implement for every driver, to be put among a plan's supported
 * features. RING_PACKED is not: see core/virtqueue.h.
 */
#define VIO_COMMON_FEATURES                                                                        \
    (VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_EVENT_IDX) |                       \
     VIO_FEATURE(VIRTIO_F_VERSION_1) | VIO_FEATURE(VIRTIO_F_ACCESS_PLATFORM) |                     \
     VIO_FEATURE(VIRTIO_F_IN_ORDER) | VIO_FEATURE(VIRTIO_F_ORDER_PLATFORM) |                       \
     VIO_FEATURE(VIRTIO_F_NOTIFICATION_DATA) | VIO_FEATURE(VIRTIO_F_NOTIF_CONFIG_DATA) |           \
     VIO_FEATURE(VIRTIO_F_RING_RESET))

/** What went wrong, for one message by whoever logs. */
struct vio_failure {
    const char *what;    /**< a constant English text; NULL: nothing went wrong */
    uint64_t value;      /**< what the device answered */
    bool value_is_valid; /**< false: the text says all */
};

/** How a device tells that it is done. */
enum vio_interrupt_use {
    VIO_POLLED,        /**< it does not: some queue has no interrupt, or none was made ready */
    VIO_LINE,          /**< one line for all, without vectors */
    VIO_SHARED_VECTOR, /**< vector 0 for whatever has no vector of its own */
    VIO_OWN_VECTORS,   /**< vector 0 for the configuration, 1 + its number for each queue */
};

struct vio_device {
    const struct vio_transport *transport;
    const struct vio_platform *platform;
    uint64_t offered;                     /**< features that the device offers */
    uint64_t accepted;                    /**< features that are in force; 0 before step 6 */
    uint32_t config_generation;           /**< of what vio_device_read_config() read last */
    enum vio_interrupt_use interrupt_use; /**< settled when the queues are set up */
    struct vio_failure failure;
};

/** One queue of a bring-up plan. */
struct vio_queue_plan {
    struct virtqueue *vq;
    uint16_t index;
    /** A power of two; the device may force less. Legacy: what vio_device_get_queue_size() says. */
    uint16_t size_wanted;
    const struct vio_dma *rings;    /**< virtqueue_ring_bytes(size_wanted), or as for legacy */
    void *shadow;                   /**< virtqueue_shadow_bytes(size_wanted) */
    const struct vio_dma *indirect; /**< virtqueue_indirect_bytes(), or NULL for none */
    uint16_t indirect_entries;
    uint16_t direct_max; /**< see virtqueue_config; of a smaller queue as large a part */
};

/** What a driver wants of a device. */
struct vio_bring_up_plan {
    /** Those the driver implements, VERSION_1 among them; ANY_LAYOUT need not be. */
    uint64_t supported_features;
    /** Without these the device is of no use; a legacy interface is one without VERSION_1. */
    uint64_t required_features;
    /**
     * Looks at the configuration space before features are settled (3.1.1 step 4); may take bits
     * out of @p features, and refuse the device. NULL when there is nothing to look at.
     */
    vio_status (*judge_config)(struct vio_device *device, void *context, uint64_t *features);
    void *context;
    const struct vio_queue_plan *queues;
    unsigned n_queues;
    /**
     * Instead of queues, for who has to ask the device about them first: calls
     * vio_device_route_interrupts() and then vio_device_set_up_queue() for each. NULL: queues are all.
     */
    vio_status (*set_up_queues)(struct vio_device *device, void *context);
};

/**
 * Prepare the structure; touches no register.
 *
 * @param device     any content
 * @param transport  kept
 * @param platform   kept
 * @return VIO_OK or VIO_ERR_INVALID when a member of either seam is missing
 */
VIO_MUST_CHECK vio_status vio_device_open(struct vio_device *device,
                                          const struct vio_transport *transport,
                                          const struct vio_platform *platform);

/**
 * The eight steps of 3.1.1, by a legacy interface without the fifth and sixth (3.1.2). Afterwards the
 * device is live, its queues empty.
 *
 * @param device  opened; in any state, also held by another driver's left-overs
 * @param plan    only read during the call
 * @return VIO_OK; VIO_ERR_TIMEOUT, VIO_ERR_GONE, VIO_ERR_NEEDS_RESET, VIO_ERR_FEATURES_REFUSED,
 *         VIO_ERR_UNSUPPORTED, VIO_ERR_NO_VECTOR, VIO_ERR_DEVICE, or what judge_config returned
 */
VIO_MUST_CHECK vio_status vio_device_bring_up(struct vio_device *device,
                                              const struct vio_bring_up_plan *plan);

/**
 * Reset, and wait until the device says that it is done (2.4.2), at most VIO_RESET_LIMIT_US.
 * Allocates nothing. After VIO_OK the device uses no memory of ours any more.
 *
 * @param device  opened
 * @return VIO_OK, VIO_ERR_TIMEOUT, VIO_ERR_GONE
 */
VIO_MUST_CHECK vio_status vio_device_reset(struct vio_device *device);

/**
 * Decide which interrupts the device is to use, of those that the platform has made ready, and route
 * the one for configuration changes (4.1.5.1.2 MSI-X Vector Configuration). Without enough vectors for
 * all, all share the first. A device that refuses the one for its configuration goes without.
 *
 * @param device    features settled
 * @param n_queues  that are to be set up, with numbers from 0
 * @return VIO_OK, or what the transport returned
 */
VIO_MUST_CHECK vio_status vio_device_route_interrupts(struct vio_device *device, unsigned n_queues);

/**
 * Ask for the size that a queue will have: by a legacy interface the device's own, which cannot be
 * changed (2.7.2); else virtqueue_negotiate_size().
 *
 * @param device    features settled
 * @param index     of the queue
 * @param wanted    a power of two
 * @param ret_size  a power of two
 * @return VIO_OK; VIO_ERR_UNSUPPORTED: there is no such queue; VIO_ERR_DEVICE
 */
VIO_MUST_CHECK vio_status vio_device_get_queue_size(struct vio_device *device, uint16_t index,
                                                    uint16_t wanted, uint16_t *ret_size);

/**
 * What the device is to be given as the address of this memory: without VIRTIO_F_ACCESS_PLATFORM it
 * does not know of any translation on its way (6.1 Driver Requirements: Reserved Feature Bits), so
 * it gets the physical address where that is known. vio_device_set_up_queue() sees to this itself.
 *
 * @param device  features settled
 * @param dma     of its platform
 */
dma_addr vio_device_dma_addr(const struct vio_device *device, const struct vio_dma *dma);

/**
 * Make a queue and have the device use it: step 7 of 3.1.1 for one queue, and again after
 * vio_device_reset_queue(), where size and memory may be others (2.6.1.2). A queue whose vector is
 * refused gets the shared one; if that is refused, the device is polled.
 *
 * @param device  features settled; the queue is not enabled
 * @param plan    only read during the call; chains of the queue's former life are drained
 * @return VIO_OK; VIO_ERR_UNSUPPORTED, VIO_ERR_INVALID, VIO_ERR_DEVICE; VIO_ERR_NO_VECTOR: it does
 *         not even go without
 */
VIO_MUST_CHECK vio_status vio_device_set_up_queue(struct vio_device *device,
                                                  const struct vio_queue_plan *plan);

/**
 * Stop one queue of a live device, and wait until it says so (2.6.1), at most VIO_RESET_LIMIT_US.
 * After VIO_OK the device uses no memory of that queue any more; drain it.
 *
 * @param device  brought up
 * @param index   of an enabled queue
 * @return VIO_OK; VIO_ERR_UNSUPPORTED where VIRTIO_F_RING_RESET is not in force, nothing was done;
 *         VIO_ERR_TIMEOUT, VIO_ERR_NEEDS_RESET, VIO_ERR_GONE: only vio_device_reset() is left
 */
VIO_MUST_CHECK vio_status vio_device_reset_queue(struct vio_device *device, uint16_t index);

/**
 * Look for the states in which waiting is of no use. A status of 0 is that of a device that is gone, or
 * that somebody else has reset.
 *
 * @param device  brought up
 * @return VIO_OK, VIO_ERR_NEEDS_RESET, VIO_ERR_GONE
 */
VIO_MUST_CHECK vio_status vio_device_check_alive(struct vio_device *device);

/**
 * Whether the device's configuration is another than vio_device_read_config() read last (2.5.1). One
 * read of a register, so that it can be asked often where no interrupt tells. A legacy interface
 * cannot tell: always.
 */
bool vio_device_config_has_changed(const struct vio_device *device);

/** Whether a feature is in force. */
bool vio_device_has(const struct vio_device *device, unsigned feature_bit);

/** Whether a feature is offered, which decides if its configuration fields exist (2.5.1). */
bool vio_device_offers(const struct vio_device *device, unsigned feature_bit);

/** A run of configuration fields, read into a structure of our own. */
struct vio_config_field {
    uint32_t offset;      /**< in the configuration space */
    uint8_t width_bytes;  /**< 1, 2, 4 or 8; 8 is read as two halves */
    uint8_t feature_bit;  /**< read only if offered; VIO_CONFIG_ALWAYS: always there */
    uint16_t destination; /**< offset of a uint64_t in the caller's structure */
};

#define VIO_CONFIG_ALWAYS 0xFFu

/**
 * Read several fields as one consistent snapshot (2.5.1): retried until the generation is the same
 * before and after; by a legacy interface until two snapshots are alike (2.5.4). Fields that are not
 * offered are left as they are.
 *
 * @param device       opened, features known (from judge_config on)
 * @param fields       what to read
 * @param n_fields     how many
 * @param ret_values   structure that vio_config_field.destination refers to; its offered fields
 *                     are undefined on failure
 * @return VIO_OK; VIO_ERR_DEVICE when the space is too small for an offered field, or it never
 *         stands still
 */
VIO_MUST_CHECK vio_status vio_device_read_config(struct vio_device *device,
                                                 const struct vio_config_field *fields,
                                                 unsigned n_fields, void *ret_values);

#endif
