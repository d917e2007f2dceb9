/** @file
 * Block device: read, write, flush.
 * Spec:      virtio 1.4, 5.2 Block Device; 5.2.5 Device Initialization; 5.2.6 Device Operation.
 * Knows:     core/device.h, core/virtqueue.h, and the two seams.
 * Ownership: a buffer is the driver's for the length of the call. When a call ends with a timeout
 *            or a broken queue, the device has been reset, or cut off from memory, before the call
 *            returns, so the buffer is the caller's again.
 * Trust:     a request counts as done only if the device wrote both its status byte and all its
 *            data; anything else is an error, never stale memory passed off as data.
 * Waiting:   every wait has a deadline. After a missed one the device is reset and of no use until
 *            it is opened again; other devices are not concerned.
 * Units:     sectors are 512 bytes whatever the logical block size is (5.2.4).
 * Threads:   none; calls on one device must not overlap.
 */
#ifndef DEVICES_BLK_H
#define DEVICES_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/device.h"
#include "core/platform.h"
#include "core/status.h"
#include "core/transport.h"
#include "core/virtqueue.h"

/** Longest time without any completion while requests are in flight. */
#define BLK_REQUEST_LIMIT_US 30000000u

/** Requests in flight at the same time, if the queue is large enough. */
#define BLK_SLOTS_MAX 32u

/** Longest single request; a longer transfer becomes several. */
#define BLK_REQUEST_BYTES_MAX (4u << 20)

/** Data descriptors per request; matters only to a device with a small size_max. */
#define BLK_SEGMENTS_MAX 16u

/** What is known of a disk once it is open. */
struct virtio_blk_info {
    uint64_t capacity_sectors;
    uint32_t block_bytes;            /**< logical block: a power of two from 512 to 2 MiB */
    uint8_t physical_block_exp;      /**< log2 of logical blocks per physical block */
    uint8_t alignment_offset_blocks; /**< of the first aligned logical block */
    bool read_only;
    bool has_flush;
    uint16_t queue_size;
};

/** What was done so far. */
struct virtio_blk_counters {
    uint64_t requests; /**< sent to the device */
    uint64_t bytes_read;
    uint64_t bytes_written;
};

/** Private: one request in flight. */
struct blk_slot {
    struct blk_slot_memory *memory; /**< header and status */
    dma_addr memory_addr;
    struct vio_mapping mapping;
    uint32_t data_bytes; /**< 0: nothing is mapped */
    bool device_writes;  /**< the data: a read */
    uint64_t sector;
    struct blk_slot *next_free;
};

/** The request that failed last, of those that were sent or could not be mapped; for a message. */
struct virtio_blk_failed_request {
    const char *verb; /**< "read", "write", "flush" */
    uint64_t sector;
    size_t bytes;
};

/** All fields are private to blk.c but for those said to be for reading. */
struct virtio_blk {
    struct vio_device device;                /**< device.failure is for reading */
    struct virtio_blk_info info;             /**< for reading */
    struct virtio_blk_counters counters;     /**< for reading; notifications: vq.counters */
    struct virtio_blk_failed_request failed; /**< for reading */
    struct virtqueue vq;

    struct vio_transport transport;
    struct vio_platform platform;
    struct vio_dma rings;
    struct vio_dma indirect;
    struct vio_dma slot_memory;
    void *shadow;
    struct blk_slot slots[BLK_SLOTS_MAX];
    struct blk_slot *free_slots;
    uint32_t request_bytes_max; /**< a multiple of the block size */
    uint32_t segment_bytes_max;
    uint16_t segments_max; /**< data descriptors per request */
    uint64_t declined_features;
    vio_status dead;  /**< VIO_OK, or why the device is of no use any more */
    bool quarantined; /**< for reading: it confirmed no reset, and what it knows is not freed */
};

/**
 * Bring the device up and read what there is to know.
 *
 * @param blk                any content; stays at its address until virtio_blk_close()
 * @param transport          copied
 * @param platform           copied
 * @param declined_features  features not to accept although the driver could, 0 for none
 * @return VIO_OK; VIO_ERR_INVALID for an incomplete seam, nothing was touched; what
 *         vio_device_bring_up() returns; VIO_ERR_NO_MEMORY; VIO_ERR_UNSUPPORTED for a disk that is
 *         empty or whose sizes make no sense; VIO_ERR_DEVICE for a capacity that overflows.
 *         blk->device.failure says more. On failure nothing needs to be closed, and the device is
 *         left reset, or cut off and quarantined if it did not confirm that
 */
VIO_MUST_CHECK vio_status virtio_blk_open(struct virtio_blk *blk,
                                          const struct vio_transport *transport,
                                          const struct vio_platform *platform,
                                          uint64_t declined_features);

/**
 * Reset the device and give back all memory. If the device does not confirm the reset it is cut off
 * from the bus, and the memory it knows is left allocated for good.
 *
 * @param blk  open
 */
void virtio_blk_close(struct virtio_blk *blk);

/**
 * Reset the device and nothing else; allocates and frees nothing, so it may be called while the
 * firmware hands over to an operating system. Every later call but close fails.
 *
 * @param blk  open
 */
void virtio_blk_shutdown(struct virtio_blk *blk);

/**
 * Read whole logical blocks. Large reads become several requests in flight at once.
 *
 * @param blk     open
 * @param sector  of 512 bytes; a multiple of the logical block
 * @param buffer  of @p bytes; undefined on failure
 * @param bytes   a multiple of the logical block; 0 is allowed and does nothing
 * @return VIO_OK; VIO_ERR_INVALID for a broken multiple; VIO_ERR_RANGE beyond the end (nothing was
 *         sent); VIO_ERR_NO_MEMORY; VIO_ERR_IO and VIO_ERR_UNSUPPORTED from the status byte;
 *         VIO_ERR_DEVICE for an answer against the specification; VIO_ERR_TIMEOUT,
 *         VIO_ERR_NEEDS_RESET, VIO_ERR_GONE, VIO_ERR_QUEUE_BROKEN: the device is of no use any more
 */
VIO_MUST_CHECK vio_status virtio_blk_read(struct virtio_blk *blk, uint64_t sector, void *buffer,
                                          size_t bytes);

/**
 * Write whole logical blocks.
 *
 * @param blk     open
 * @param sector  as for virtio_blk_read()
 * @param buffer  of @p bytes, not changed
 * @param bytes   as for virtio_blk_read()
 * @return as virtio_blk_read(), and VIO_ERR_READ_ONLY (nothing was sent)
 */
VIO_MUST_CHECK vio_status virtio_blk_write(struct virtio_blk *blk, uint64_t sector,
                                           const void *buffer, size_t bytes);

/**
 * Make all completed writes durable. Sends nothing, and succeeds, where the device has no cache to
 * flush (VIRTIO_BLK_F_FLUSH not negotiated, 5.2.5) or is read-only.
 *
 * @param blk  open
 * @return VIO_OK or as virtio_blk_read()
 */
VIO_MUST_CHECK vio_status virtio_blk_flush(struct virtio_blk *blk);

#endif
