/** @file
 * What the specification says of every virtio device.
 * Spec:  virtio 1.4, 2.1 Device Status Field; 6 Reserved Feature Bits; 6.3 Legacy Interface: Reserved
 *        Feature Bits; 5 Device Types.
 */
#ifndef CORE_DEVICE_SPEC_H
#define CORE_DEVICE_SPEC_H

#include <stdint.h>

/* 2.1 Device Status Field */
#define VIRTIO_STATUS_ACKNOWLEDGE        0x01u
#define VIRTIO_STATUS_DRIVER             0x02u
#define VIRTIO_STATUS_DRIVER_OK          0x04u
#define VIRTIO_STATUS_FEATURES_OK        0x08u
#define VIRTIO_STATUS_DEVICE_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED             0x80u
/** Not a status: what a bus answers for a device that is not there. */
#define VIRTIO_STATUS_ALL_ONES 0xFFu

/* 6 Reserved Feature Bits, by bit number */
#define VIRTIO_F_ANY_LAYOUT        27 /**< legacy devices only */
#define VIRTIO_F_INDIRECT_DESC     28
#define VIRTIO_F_EVENT_IDX         29
#define VIRTIO_F_VERSION_1         32
#define VIRTIO_F_ACCESS_PLATFORM   33
#define VIRTIO_F_RING_PACKED       34
#define VIRTIO_F_IN_ORDER          35
#define VIRTIO_F_ORDER_PLATFORM    36
#define VIRTIO_F_SR_IOV            37
#define VIRTIO_F_NOTIFICATION_DATA 38
#define VIRTIO_F_NOTIF_CONFIG_DATA 39
#define VIRTIO_F_RING_RESET        40

#define VIO_FEATURE(bit) (UINT64_C(1) << (bit))

/* 5 Device Types */
#define VIRTIO_ID_BLOCK   2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_ENTROPY 4

/** Largest split queue (2.7 Split Virtqueues). */
#define VIRTQUEUE_SIZE_MAX 32768u

#endif
