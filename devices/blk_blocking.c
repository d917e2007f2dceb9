/* Contract and terms: devices/blk.h. Calls that wait. */

#include "devices/blk_private.h"

/*
 * Nothing is there as a rule when one has just asked for it: then waiting comes first. A queue can
 * also seem to have answers, and have none, which is no reason to spin.
 */
vio_status virtio_blk_wait(struct virtio_blk *blk, const struct virtio_blk_transfer *transfer)
{
    const struct vio_platform *platform = &blk->platform;

    virtio_blk_publish(blk);
    while (!transfer->done) {
        bool seems_answered = blk_engine_has_answers(blk);
        if (!seems_answered)
            platform->ops->wait(platform->context, BLK_STEP_MAX_US);
        if (virtio_blk_poll(blk) == 0 && seems_answered && !transfer->done)
            platform->ops->wait(platform->context, BLK_STEP_MAX_US);
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
