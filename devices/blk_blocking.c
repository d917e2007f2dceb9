/* Contract and terms: devices/blk.h. Calls that wait. */

#include "devices/blk_private.h"

/* Looks at the used rings, which cost little, to one look at all else, which costs ten times that. */
#define BLOCKING_LOOKS 8u

static bool blocking_has_answers(const struct virtio_blk *blk)
{
    uint16_t n_queues = blk->info.n_queues;

    for (uint16_t i = 0; i < n_queues; i++) {
        if (virtqueue_has_used(&blk->queues[i]))
            return true;
    }
    return false;
}

/* Whether something seems to be there; waits for it, but not for as long as deadlines could pass. */
static bool blocking_look(const struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    /* Nobody will answer. */
    if (blk->dead != VIO_OK || blk->n_in_flight == 0)
        return true;
    for (unsigned i = 0; i < BLOCKING_LOOKS; i++) {
        if (blocking_has_answers(blk))
            return true;
        platform->ops->wait(platform->context, BLK_STEP_MAX_US / BLOCKING_LOOKS);
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
            blk->platform.ops->wait(blk->platform.context, BLK_STEP_MAX_US / BLOCKING_LOOKS);
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
