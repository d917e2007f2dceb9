/** @file
 * The device's side of a split virtqueue, in the driver's own process: what it is given to read it
 * writes back in capital letters. It takes chains in the order in which they were made available,
 * returns them in the same order, keeps every rule of the specification, and holds the driver to
 * those that it depends on.
 * Spec:      virtio 1.4, 2.7 Split Virtqueues; 2.7.5.3 Indirect Descriptors; 2.7.7 Used Buffer
 *            Notification Suppression; 2.7.10 Available Buffer Notification Suppression.
 * Knows:     core/split_spec.h, core/mem.h.
 * Ownership: allocates nothing; uses the memory of the queue and of the chains that it was given.
 * Threads:   none; what would run beside the driver runs inside example_device_work().
 */
#ifndef EXAMPLE_DEVICE_H
#define EXAMPLE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/device_spec.h"
#include "core/split_spec.h"
#include "core/transport.h"

/** What the device offers. */
#define EXAMPLE_DEVICE_FEATURES                                                                    \
    (VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_EVENT_IDX) |                       \
     VIO_FEATURE(VIRTIO_F_VERSION_1) | VIO_FEATURE(VIRTIO_F_IN_ORDER) |                            \
     VIO_FEATURE(VIRTIO_F_ORDER_PLATFORM))

/** Bytes of a chain that the device reads; what follows them it passes over. */
#define EXAMPLE_DEVICE_TEXT_BYTES 256u

/** All fields are private to example_device.c, but for those said to be for reading. */
struct example_device {
    struct virtq_desc *desc;
    struct virtq_avail *avail;
    struct virtq_used *used;
    uint64_t features;
    uint16_t size;
    uint16_t n_taken;         /**< free-running, as avail idx */
    uint16_t n_returned;      /**< free-running, as used idx */
    bool notified;            /**< for reading: told of chains, and did not work since */
    bool broken;              /**< for reading: the driver broke a rule; nothing is done any more */
    uint64_t n_notifications; /**< for reading */
    uint64_t n_interrupts;    /**< for reading: used buffer notifications that the driver wanted */
};

/**
 * Learn of a queue that is empty.
 *
 * @param device     any content
 * @param size       of the queue
 * @param addresses  in this process an address is a pointer
 * @param features   in force, of EXAMPLE_DEVICE_FEATURES
 */
void example_device_attach(struct example_device *device, uint16_t size,
                           struct virtqueue_addresses addresses, uint64_t features);

/**
 * The driver's notification (2.9): what a struct vio_transport_ops asks for, the device being its
 * context. There is one queue, and its idx is in the ring: both numbers are passed over.
 */
void example_device_notify(void *context, uint16_t index, uint16_t avail_idx);

/**
 * Serve chains that are available, and then interrupt the driver if it wants that.
 *
 * @param device    attached
 * @param n_chains  at most so many
 * @return how many were served
 */
unsigned example_device_work(struct example_device *device, unsigned n_chains);

#endif
