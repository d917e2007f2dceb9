/* Contract and terms: devices/blk.h. The life of an open disk, and its memory. */

#include "devices/blk.h"

#include "devices/blk_private.h"

static void blk_free_memory(struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    platform->ops->free(platform->context, blk->shadow, virtqueue_shadow_bytes(blk->depth));
    if (blk->quarantined)
        return;
    if (blk->slot_memory.memory)
        platform->ops->dma_free(platform->context, &blk->slot_memory);
    if (blk->indirect.memory)
        platform->ops->dma_free(platform->context, &blk->indirect);
    if (blk->rings.memory)
        platform->ops->dma_free(platform->context, &blk->rings);
}

/* Where a legacy device has more descriptors than all requests can take, tables are of no use. */
static vio_status blk_allocate_shared(struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    vio_status status =
        platform->ops->dma_alloc(platform->context, blk_setup_ring_bytes(blk), &blk->rings);
    if (status == VIO_OK && blk->depth == BLK_DEPTH_MAX)
        status = platform->ops->dma_alloc(
            platform->context, virtqueue_indirect_bytes(BLK_DEPTH_MAX, BLK_CHAIN_BUFFERS_MAX),
            &blk->indirect);
    return status == VIO_OK
               ? platform->ops->dma_alloc(platform->context,
                                          BLK_DEPTH_MAX * sizeof(struct blk_slot_memory),
                                          &blk->slot_memory)
               : status;
}

vio_status blk_allocate_memory(struct virtio_blk *blk, uint16_t queue_size)
{
    const struct vio_platform *platform = &blk->platform;

    if (blk->shadow)
        return VIO_OK;
    blk->depth = queue_size > BLK_DEPTH_MAX ? queue_size : BLK_DEPTH_MAX;
    blk->shadow = platform->ops->alloc(platform->context, virtqueue_shadow_bytes(blk->depth));
    vio_status status = blk->shadow ? blk_allocate_shared(blk) : VIO_ERR_NO_MEMORY;
    if (status != VIO_OK)
        return blk_refuse(blk, status, "no memory for its queue, of size", queue_size);
    blk_request_make_slots(blk);
    return VIO_OK;
}

vio_status virtio_blk_open(struct virtio_blk *blk, const struct vio_transport *transport,
                           const struct vio_platform *platform, uint64_t declined_features)
{
    *blk = (struct virtio_blk){
        .transport = *transport,
        .platform = *platform,
        .declined_features = declined_features,
        .request_limit_us = BLK_REQUEST_LIMIT_US,
        .spin_limit_us = BLK_SPIN_LIMIT_US,
        .may_sleep = true,
    };
    vio_status status = vio_device_open(&blk->device, &blk->transport, &blk->platform);
    if (status != VIO_OK)
        return status;

    status = blk_setup_bring_up(blk);
    if (status == VIO_OK)
        return VIO_OK;
    (void)blk_recover_stop_device(blk); /* says in quarantined what that means for the memory */
    blk_free_memory(blk);
    return status;
}

void virtio_blk_close(struct virtio_blk *blk)
{
    /* Whoever is told that it is over may ask for a reset, and the memory for that is gone. */
    blk->is_shut_down = true;
    blk_recover_give_up(blk, VIO_ERR_GONE);
    blk_free_memory(blk);
}

void virtio_blk_shutdown(struct virtio_blk *blk)
{
    blk->dead = VIO_ERR_GONE;
    blk->is_shut_down = true;
    (void)blk_recover_stop_device(blk); /* nobody asks any more */
}
