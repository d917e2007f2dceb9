/* Contract and terms: devices/blk_private.h. What a disk is like, decided once, at bring-up. */

#include "devices/blk_private.h"

#include "devices/blk_spec.h"

#define SETUP_BLOCK_BYTES_MAX (2u << 20)

/* Configuration space, in the order of 5.2.4. */
struct setup_config {
    uint64_t capacity;
    uint64_t size_max;
    uint64_t seg_max;
    uint64_t blk_size;
    uint64_t physical_block_exp;
    uint64_t alignment_offset;
};

#define SETUP_FIELD(member, bytes, at, bit)                                                        \
    {                                                                                              \
        .offset = (at), .width_bytes = (bytes), .feature_bit = (bit),                              \
        .destination = offsetof(struct setup_config, member)                                       \
    }

static const struct vio_config_field setup_fields[] = {
    SETUP_FIELD(capacity, 8, VIRTIO_BLK_CONFIG_CAPACITY, VIO_CONFIG_ALWAYS),
    SETUP_FIELD(size_max, 4, VIRTIO_BLK_CONFIG_SIZE_MAX, VIRTIO_BLK_F_SIZE_MAX),
    SETUP_FIELD(seg_max, 4, VIRTIO_BLK_CONFIG_SEG_MAX, VIRTIO_BLK_F_SEG_MAX),
    SETUP_FIELD(blk_size, 4, VIRTIO_BLK_CONFIG_BLK_SIZE, VIRTIO_BLK_F_BLK_SIZE),
    SETUP_FIELD(physical_block_exp, 1, VIRTIO_BLK_CONFIG_PHYSICAL_BLOCK_EXP, VIRTIO_BLK_F_TOPOLOGY),
    SETUP_FIELD(alignment_offset, 1, VIRTIO_BLK_CONFIG_ALIGNMENT_OFFSET, VIRTIO_BLK_F_TOPOLOGY),
};

#define SETUP_SUPPORTED_FEATURES                                                                   \
    (VIO_COMMON_FEATURES | VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX) |                                    \
     VIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIO_FEATURE(VIRTIO_BLK_F_RO) |                            \
     VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIO_FEATURE(VIRTIO_BLK_F_FLUSH) |                        \
     VIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY))

static vio_status setup_judge_geometry(struct virtio_blk *blk, const struct setup_config *config)
{
    uint64_t block = config->blk_size;

    if (block < VIRTIO_BLK_SECTOR_BYTES || block > SETUP_BLOCK_BYTES_MAX || (block & (block - 1)))
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED,
                          "its logical block size is no power of two from 512 to 2 MiB:", block);
    if (config->capacity == 0)
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED, "the disk is empty, its sectors are",
                          config->capacity);
    if (config->capacity > UINT64_MAX / VIRTIO_BLK_SECTOR_BYTES)
        return blk_refuse(blk, VIO_ERR_DEVICE,
                          "its capacity overflows, in sectors:", config->capacity);
    if (config->capacity % (block / VIRTIO_BLK_SECTOR_BYTES))
        return blk_refuse(
            blk, VIO_ERR_UNSUPPORTED,
            "its capacity is no multiple of its block size, in sectors:", config->capacity);
    return VIO_OK;
}

/* 3.1.1 step 4: the configuration is read while features are still open. */
static vio_status setup_judge_config(struct vio_device *device, void *context, uint64_t *features)
{
    struct virtio_blk *blk = context;
    struct setup_config config = {0};

    vio_status status = vio_device_read_config(
        device, setup_fields, sizeof(setup_fields) / sizeof(setup_fields[0]), &config);
    if (status != VIO_OK)
        return status;

    /* A feature that was declined takes its fields with it. */
    if (!(*features & VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE)))
        config.blk_size = VIRTIO_BLK_SECTOR_BYTES;
    if (!(*features & VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX)))
        config.size_max = UINT32_MAX;
    if (!(*features & VIO_FEATURE(VIRTIO_BLK_F_SEG_MAX)))
        config.seg_max = BLK_SEGMENTS_MAX;
    status = setup_judge_geometry(blk, &config);
    if (status != VIO_OK)
        return status;

    blk->info = (struct virtio_blk_info){
        .capacity_sectors = config.capacity,
        .block_bytes = (uint32_t)config.blk_size,
        .read_only = vio_device_offers(device, VIRTIO_BLK_F_RO),
        .has_flush = (*features & VIO_FEATURE(VIRTIO_BLK_F_FLUSH)) != 0,
    };
    if (*features & VIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY)) {
        blk->info.physical_block_exp = (uint8_t)config.physical_block_exp;
        blk->info.alignment_offset_blocks = (uint8_t)config.alignment_offset;
    }
    blk->segment_bytes_max = (uint32_t)config.size_max;
    /* A seg_max of 0 would forbid all data; devices that say so mean "no answer". */
    blk->segments_max =
        config.seg_max < BLK_SEGMENTS_MAX ? (uint16_t)config.seg_max : BLK_SEGMENTS_MAX;
    if (blk->segments_max == 0)
        blk->segments_max = 1;
    return VIO_OK;
}

/* From segments per request to bytes per request, now that the queue's size is known. */
static vio_status setup_find_limits(struct virtio_blk *blk)
{
    uint16_t queue_size = virtqueue_free_descriptors(&blk->vq);
    uint64_t segments = blk->segments_max;

    blk->info.queue_size = queue_size;
    if (queue_size <= BLK_OVERHEAD_BUFFERS)
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED,
                          "its queue is too small for a request, its size is", queue_size);
    if (segments > queue_size - BLK_OVERHEAD_BUFFERS)
        segments = queue_size - BLK_OVERHEAD_BUFFERS;

    uint64_t bytes = segments * blk->segment_bytes_max;
    if (bytes > BLK_REQUEST_BYTES_MAX)
        bytes = BLK_REQUEST_BYTES_MAX;
    bytes -= bytes % blk->info.block_bytes;
    if (bytes == 0)
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED,
                          "its requests cannot hold one block, its size_max is",
                          blk->segment_bytes_max);
    blk->request_bytes_max = (uint32_t)bytes;
    return VIO_OK;
}

vio_status blk_setup_bring_up(struct virtio_blk *blk)
{
    const struct vio_queue_plan queue = {
        .vq = &blk->vq,
        .index = BLK_QUEUE_INDEX,
        .size_wanted = BLK_QUEUE_SIZE,
        .rings = &blk->rings,
        .shadow = blk->shadow,
        .indirect = &blk->indirect,
        .indirect_entries = BLK_CHAIN_BUFFERS_MAX,
        .vector = VIO_NO_VECTOR,
    };
    const struct vio_bring_up_plan plan = {
        .supported_features = SETUP_SUPPORTED_FEATURES & ~blk->declined_features,
        .required_features = VIO_FEATURE(VIRTIO_F_VERSION_1),
        .judge_config = setup_judge_config,
        .context = blk,
        .queues = &queue,
        .n_queues = 1,
    };

    vio_status status = vio_device_bring_up(&blk->device, &plan);
    return status == VIO_OK ? setup_find_limits(blk) : status;
}
