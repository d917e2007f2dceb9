/** @file
 * The one result type of core/, devices/ and transports/.
 * Knows:  nothing.
 * Rule:   low layers return, only efi/ logs. VIO_OK is 0; everything else but VIO_EMPTY is a
 *         failure.
 */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

/** The result must be looked at; a deliberate disregard is a cast to void with a reason. */
#define VIO_MUST_CHECK __attribute__((warn_unused_result))

typedef enum vio_status {
    VIO_OK = 0,

    /* The caller's fault: nothing was sent to the device. */
    VIO_ERR_INVALID,   /**< an argument breaks the contract in the header */
    VIO_ERR_RANGE,     /**< beyond the end of the disk */
    VIO_ERR_READ_ONLY, /**< a write to a device that offers VIRTIO_BLK_F_RO */
    VIO_ERR_ABORTED,   /**< the caller reset the device before it was done */

    /* Resources. */
    VIO_ERR_NO_MEMORY,  /**< the platform has no memory or no mapping left */
    VIO_ERR_QUEUE_FULL, /**< not enough free descriptors; pop some used chains and retry */
    VIO_ERR_NO_VECTOR,  /**< the device has no resources for this interrupt vector */
    VIO_EMPTY,          /**< nothing used to pop: no failure, the normal answer while waiting */

    /* The device's fault. */
    VIO_ERR_IO,           /**< the device reported that this request failed */
    VIO_ERR_DEVICE,       /**< the device broke the specification */
    VIO_ERR_QUEUE_BROKEN, /**< the device lied on this queue: of no use until virtqueue_init() */
    VIO_ERR_TIMEOUT,      /**< no answer before the deadline */
    VIO_ERR_NEEDS_RESET,  /**< the device has set DEVICE_NEEDS_RESET */
    VIO_ERR_GONE,         /**< the device does not answer on its bus any more (all ones) */
    VIO_ERR_FEATURES_REFUSED, /**< FEATURES_OK did not stick */

    /* Nobody's fault. */
    VIO_ERR_UNSUPPORTED, /**< this device, or this request on it, is beyond what the code can do */
} vio_status;

#endif
