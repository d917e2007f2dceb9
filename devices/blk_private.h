/** @file
 * What devices/blk.c and devices/blk_setup.c share, and nobody else sees.
 * Spec:  virtio 1.4, 5.2.5 Device Initialization; 5.2.6 Device Operation.
 */
#ifndef DEVICES_BLK_PRIVATE_H
#define DEVICES_BLK_PRIVATE_H

#include "devices/blk.h"

#define BLK_QUEUE_INDEX 0u
#define BLK_QUEUE_SIZE  128u

/** Header and status around the data. */
#define BLK_OVERHEAD_BUFFERS 2u

/** Longest chain, and so longest indirect table. */
#define BLK_CHAIN_BUFFERS_MAX (BLK_OVERHEAD_BUFFERS + BLK_SEGMENTS_MAX)

/**
 * Note why something failed, unless something did before: what went wrong first is what a person
 * wants to read.
 *
 * @param blk     device.failure is written
 * @param status  handed through
 * @param what    a constant text, followed by the value
 * @param value   what the device answered
 */
static inline vio_status blk_refuse(struct virtio_blk *blk, vio_status status, const char *what,
                                    uint64_t value)
{
    if (!blk->device.failure.what)
        blk->device.failure =
            (struct vio_failure){.what = what, .value = value, .value_is_valid = true};
    return status;
}

/**
 * Bring the device up: features, configuration, queue, and the limits that follow from them.
 *
 * @param blk  opened as a vio_device, its memory allocated
 * @return VIO_OK or why this device is not driven; then it has to be reset
 */
VIO_MUST_CHECK vio_status blk_setup_bring_up(struct virtio_blk *blk);

#endif
