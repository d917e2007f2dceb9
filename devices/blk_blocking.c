/* Contract and terms: devices/blk.h. Calls that wait. */

#include "devices/blk_private.h"

static void blocking_wait_for_answers(struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    while (!blk_engine_has_answers(blk)) {
        platform->ops->wait(platform->context, BLK_STEP_MAX_US);
        if (blk_engine_has_answers(blk))
            return;
        blk_recover_watch(blk);
        virtio_blk_publish(blk); /* what was sent again */
    }
}

vio_status virtio_blk_wait(struct virtio_blk *blk, const struct virtio_blk_transfer *transfer)
{
    virtio_blk_publish(blk);
    while (!transfer->done) {
        blocking_wait_for_answers(blk);
        /* A queue can seem to have answers, and have none: that is no reason to spin. */
        if (virtio_blk_poll(blk) == 0 && !transfer->done)
            blk->platform.ops->wait(blk->platform.context, BLK_STEP_MAX_US);
    }
    return transfer->status;
}

vio_status virtio_blk_run(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    vio_status status = virtio_blk_submit(blk, transfer);

    return status == VIO_OK ? virtio_blk_wait(blk, transfer) : status;
}

/* Between a read and a change on its way the order counts; between two reads it does not. */
vio_status virtio_blk_read(struct virtio_blk *blk, uint64_t sector, void *buffer, size_t bytes)
{
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_READ,
        .sector = sector,
        .buffer = buffer,
        .bytes = bytes,
        .after_all = virtio_blk_is_changing(blk),
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
        .after_all = true,
    };

    return virtio_blk_run(blk, &transfer);
}

vio_status virtio_blk_flush(struct virtio_blk *blk)
{
    struct virtio_blk_transfer transfer = {.operation = VIRTIO_BLK_FLUSH};

    return virtio_blk_run(blk, &transfer);
}
