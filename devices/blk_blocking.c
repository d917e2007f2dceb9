/* Contract and terms: devices/blk.h. Calls that wait. */

#include "devices/blk_private.h"

/* A look at the rings costs a tenth of a poll, which looks at all else. */
#define BLOCKING_LOOKS   8u
#define BLOCKING_WAIT_US (BLK_STEP_MAX_US / BLOCKING_LOOKS)

static bool blocking_has_answers(const struct virtio_blk *blk)
{
    uint16_t n_queues = blk->info.n_queues;

    for (uint16_t i = 0; i < n_queues; i++) {
        if (virtqueue_has_used(&blk->queues[i]))
            return true;
    }
    return false;
}

static void blocking_wait(const struct virtio_blk *blk)
{
    blk->platform.ops->wait(blk->platform.context, BLOCKING_WAIT_US);
}

static bool blocking_wait_for_answers(const struct virtio_blk *blk)
{
    blocking_wait(blk);
    return blocking_has_answers(blk);
}

/*
 * Whether something seems to be there, or waiting is of no use. On a platform whose waits are long,
 * longer perhaps than they were asked to be, not more than two: between polls little time counts.
 */
static bool blocking_look(const struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    if (blk->dead != VIO_OK || blk->n_in_flight == 0 || blocking_has_answers(blk) ||
        blocking_wait_for_answers(blk))
        return true;
    uint64_t start_us = platform->ops->now_us(platform->context);
    for (unsigned i = 1; i < BLOCKING_LOOKS; i++) {
        if (blocking_wait_for_answers(blk))
            return true;
        if (platform->ops->now_us(platform->context) - start_us >= BLOCKING_WAIT_US)
            return false;
    }
    return false;
}

/*
 * Nothing is there as a rule when one has just asked for it: then waiting comes first. A queue can
 * also seem to have answers, and have none, which is no reason to spin.
 */
vio_status virtio_blk_wait(struct virtio_blk *blk, const struct virtio_blk_transfer *transfer)
{
    virtio_blk_publish(blk);
    while (!transfer->done) {
        bool seems_answered = blocking_look(blk);
        if (virtio_blk_poll(blk) == 0 && seems_answered && !transfer->done)
            blocking_wait(blk);
    }
    return transfer->status;
}

vio_status virtio_blk_run(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    /* Between a read and a change on its way the order counts; between two reads it does not. */
    transfer->after_all = transfer->operation != VIRTIO_BLK_READ || virtio_blk_is_changing(blk);
    vio_status status = virtio_blk_submit(blk, transfer);

    return status == VIO_OK ? virtio_blk_wait(blk, transfer) : status;
}

vio_status virtio_blk_read(struct virtio_blk *blk, uint64_t sector, void *buffer, size_t bytes)
{
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_READ,
        .sector = sector,
        .buffer = buffer,
        .bytes = bytes,
    };

    return virtio_blk_run(blk, &transfer);
}

vio_status virtio_blk_write(struct virtio_blk *blk, uint64_t sector, const void *buffer,
                            size_t bytes)
{
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_WRITE,
        .sector = sector,
        .buffer = (void *)(uintptr_t)buffer, /* mapped device-readable: never written */
        .bytes = bytes,
    };

    return virtio_blk_run(blk, &transfer);
}

vio_status virtio_blk_flush(struct virtio_blk *blk)
{
    struct virtio_blk_transfer transfer = {.operation = VIRTIO_BLK_FLUSH};

    return virtio_blk_run(blk, &transfer);
}
