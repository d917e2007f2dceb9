/** @file
 * The second of the two seams: what a transport (virtio-pci, later virtio-mmio) must offer.
 * Spec:   virtio 1.4, 2 Basic Facilities of a Virtio Device.
 * Knows:  core/platform.h, core/status.h.
 * Trust:  every value that comes out of these calls is the device's word and may be a lie.
 * State:  a transport carries registers over, and no policy: the order of calls is core/device.c's.
 */
#ifndef CORE_TRANSPORT_H
#define CORE_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/platform.h"
#include "core/status.h"

/** Where the three parts of a split virtqueue lie, as the device sees them (2.7). */
struct virtqueue_addresses {
    dma_addr descriptor_area; /**< descriptor table, aligned to 16 */
    dma_addr driver_area;     /**< available ring, aligned to 2 */
    dma_addr device_area;     /**< used ring, aligned to 4 */
};

/** Vector number that stands for "no interrupt" (4.1.5.1.2 MSI-X Vector Configuration). */
#define VIO_NO_VECTOR 0xFFFFu

/** All members are required; vio_transport_is_complete() checks that once. */
struct vio_transport_ops {
    /** 2.1 Device Status Field. All ones: the device is gone. Writing 0 asks for a reset. */
    uint8_t (*get_status)(void *context);
    void (*set_status)(void *context, uint8_t status);

    /**
     * 2.2 Feature Bits: the 64 bits that the device offers, but for those that this transport or
     * this device's registers cannot carry out; and those that we accept.
     */
    uint64_t (*get_device_features)(void *context);
    void (*set_driver_features)(void *context, uint64_t features);

    /**
     * Largest size the device takes for this queue, by a legacy interface the one that it has; 0:
     * there is no such queue.
     */
    uint16_t (*get_queue_size_max)(void *context, uint16_t index);
    /**
     * Program size, interrupt vector and addresses, then enable the queue, in this order.
     *
     * @return VIO_ERR_NO_VECTOR if the device refused the vector (4.1.5.1.2): the queue is not
     *         enabled, and can be with another one; VIO_ERR_DEVICE if it does not take the size, or
     *         the notification address lies outside its registers; VIO_ERR_UNSUPPORTED if the queue
     *         was enabled already, or the transport cannot drive so many, or not at this address
     */
    vio_status (*enable_queue)(void *context, uint16_t index, uint16_t size,
                               const struct virtqueue_addresses *addresses, uint16_t vector);
    /**
     * 2.6.1 Virtqueue Reset, where VIRTIO_F_RING_RESET is in force: ask for it, and whether the
     * device has done it. It must be seen done before the queue's memory is anybody's again, and
     * before enable_queue(), which makes a queue of it once more.
     */
    void (*reset_queue)(void *context, uint16_t index);
    bool (*is_queue_reset)(void *context, uint16_t index);
    /**
     * 2.9 Driver Notifications. Exactly one write to the device; address and form were worked out
     * by enable_queue(). Only after DRIVER_OK. @p avail_idx is the available ring's idx as
     * published, which the write carries with VIRTIO_F_NOTIFICATION_DATA.
     */
    void (*notify)(void *context, uint16_t index, uint16_t avail_idx);

    /**
     * 2.5 Device Configuration Space, @p width_bytes being 1, 2 or 4 and the field's own width
     * (halves of a 64-bit field: 4). Reads outside the space give all ones.
     */
    uint32_t (*read_config)(void *context, uint32_t offset, unsigned width_bytes);
    void (*write_config)(void *context, uint32_t offset, unsigned width_bytes, uint32_t value);
    /** Bytes of configuration space the device has; may be more than any structure we know. */
    uint32_t (*get_config_bytes)(void *context);
    uint32_t (*get_config_generation)(void *context);

    /**
     * Vector for configuration changes; VIO_NO_VECTOR for none.
     *
     * @return VIO_ERR_NO_VECTOR if the device refused it
     */
    vio_status (*route_config_interrupt)(void *context, uint16_t vector);
    /** 4.1.4.5 ISR status capability. Bit 0: used buffers, bit 1: configuration. Reading clears. */
    uint8_t (*read_interrupt_status)(void *context);

    /**
     * Stop the device from reaching memory by the bus's own means, when it does not answer a reset.
     * The device is of no use afterwards.
     */
    void (*isolate)(void *context);
};

struct vio_transport {
    const struct vio_transport_ops *ops;
    void *context;
    /**
     * The device is driven by its legacy interface (1.3.1 Legacy Interface: Terminology): only
     * feature bits 0 to 31, no FEATURES_OK, no generation of the configuration space, a queue whose
     * size is the device's and whose parts lie in one piece (2.7.2), known by its start.
     */
    bool is_legacy;
    /** read_interrupt_status() takes several steps, which an interrupt handler must not come between. */
    bool isr_is_indirect;
};

static inline bool vio_transport_is_complete(const struct vio_transport *transport)
{
    const struct vio_transport_ops *ops = transport->ops;

    return ops && ops->get_status && ops->set_status && ops->get_device_features &&
           ops->set_driver_features && ops->get_queue_size_max && ops->enable_queue &&
           ops->reset_queue && ops->is_queue_reset && ops->notify && ops->read_config &&
           ops->write_config && ops->get_config_bytes && ops->get_config_generation &&
           ops->route_config_interrupt && ops->read_interrupt_status && ops->isolate;
}

#endif
