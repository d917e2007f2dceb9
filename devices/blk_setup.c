/* Contract and terms: devices/blk_private.h. What a disk is like, decided at each bring-up. */

#include "core/mem.h"
#include "devices/blk_private.h"

#define SETUP_BLOCK_BYTES_MAX (2u << 20)

/* Configuration space, in the order of 5.2.4. */
struct setup_range {
    uint64_t sectors_max;
    uint64_t segments_max;
    uint64_t alignment;
};

struct setup_config {
    uint64_t capacity;
    uint64_t size_max;
    uint64_t seg_max;
    uint64_t blk_size;
    uint64_t physical_block_exp;
    uint64_t alignment_offset;
    uint64_t opt_io_size;
    uint64_t num_queues;
    struct setup_range discard;
    struct setup_range write_zeroes;
    uint64_t write_zeroes_may_unmap;
    struct setup_range secure_erase;
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
    SETUP_FIELD(opt_io_size, 4, VIRTIO_BLK_CONFIG_OPT_IO_SIZE, VIRTIO_BLK_F_TOPOLOGY),
    SETUP_FIELD(num_queues, 2, VIRTIO_BLK_CONFIG_NUM_QUEUES, VIRTIO_BLK_F_MQ),
    SETUP_FIELD(discard.sectors_max, 4, VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS,
                VIRTIO_BLK_F_DISCARD),
    SETUP_FIELD(discard.segments_max, 4, VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG, VIRTIO_BLK_F_DISCARD),
    SETUP_FIELD(discard.alignment, 4, VIRTIO_BLK_CONFIG_DISCARD_SECTOR_ALIGNMENT,
                VIRTIO_BLK_F_DISCARD),
    SETUP_FIELD(write_zeroes.sectors_max, 4, VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS,
                VIRTIO_BLK_F_WRITE_ZEROES),
    SETUP_FIELD(write_zeroes.segments_max, 4, VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SEG,
                VIRTIO_BLK_F_WRITE_ZEROES),
    SETUP_FIELD(write_zeroes_may_unmap, 1, VIRTIO_BLK_CONFIG_WRITE_ZEROES_MAY_UNMAP,
                VIRTIO_BLK_F_WRITE_ZEROES),
    SETUP_FIELD(secure_erase.sectors_max, 4, VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SECTORS,
                VIRTIO_BLK_F_SECURE_ERASE),
    SETUP_FIELD(secure_erase.segments_max, 4, VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SEG,
                VIRTIO_BLK_F_SECURE_ERASE),
    SETUP_FIELD(secure_erase.alignment, 4, VIRTIO_BLK_CONFIG_SECURE_ERASE_ALIGNMENT,
                VIRTIO_BLK_F_SECURE_ERASE),
};

#define SETUP_RANGE_FEATURES                                                                       \
    (VIO_FEATURE(VIRTIO_BLK_F_DISCARD) | VIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES) |                  \
     VIO_FEATURE(VIRTIO_BLK_F_SECURE_ERASE))

#define SETUP_SUPPORTED_FEATURES                                                                   \
    (VIO_COMMON_FEATURES | VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX) |                                    \
     VIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIO_FEATURE(VIRTIO_BLK_F_RO) |                            \
     VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIO_FEATURE(VIRTIO_BLK_F_FLUSH) |                        \
     VIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) | VIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE) |                   \
     VIO_FEATURE(VIRTIO_BLK_F_MQ) | SETUP_RANGE_FEATURES)

/* --- Judging the configuration (3.1.1 step 4) ------------------------------------------------ */

static vio_status setup_judge_capacity(struct virtio_blk *blk, uint64_t capacity, uint64_t block)
{
    if (capacity == 0)
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED, "the disk is empty, its sectors are", capacity);
    if (capacity > UINT64_MAX / VIRTIO_BLK_SECTOR_BYTES)
        return blk_refuse(blk, VIO_ERR_DEVICE, "its capacity overflows, in sectors:", capacity);
    if (capacity % (block / VIRTIO_BLK_SECTOR_BYTES))
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED,
                          "its capacity is no multiple of its block size, in sectors:", capacity);
    return VIO_OK;
}

static vio_status setup_judge_geometry(struct virtio_blk *blk, const struct setup_config *config)
{
    uint64_t block = config->blk_size;

    if (block < VIRTIO_BLK_SECTOR_BYTES || block > SETUP_BLOCK_BYTES_MAX || (block & (block - 1)))
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED,
                          "its logical block size is no power of two from 512 to 2 MiB:", block);
    return setup_judge_capacity(blk, config->capacity, block);
}

static bool setup_has(uint64_t features, unsigned bit)
{
    return (features & VIO_FEATURE(bit)) != 0;
}

/* A feature that was declined takes its fields with it. */
static void setup_drop_declined(struct setup_config *config, uint64_t features)
{
    if (!setup_has(features, VIRTIO_BLK_F_BLK_SIZE))
        config->blk_size = VIRTIO_BLK_SECTOR_BYTES;
    if (!setup_has(features, VIRTIO_BLK_F_TOPOLOGY))
        config->physical_block_exp = config->alignment_offset = config->opt_io_size = 0;
    if (!setup_has(features, VIRTIO_BLK_F_MQ) || config->num_queues == 0)
        config->num_queues = 1;
}

/*
 * Limits that leave no room for a single block are no limits that a device works by: without the
 * feature, which says that there is one, it has to take what comes.
 */
static void setup_judge_segments(struct virtio_blk *blk, const struct setup_config *config,
                                 uint64_t *features)
{
    uint64_t size_max = setup_has(*features, VIRTIO_BLK_F_SIZE_MAX) ? config->size_max : UINT32_MAX;
    uint64_t seg_max =
        setup_has(*features, VIRTIO_BLK_F_SEG_MAX) ? config->seg_max : BLK_SEGMENTS_MAX;

    /* A seg_max of 0 would forbid all data; devices that say so mean "no answer". */
    if (seg_max == 0)
        seg_max = 1;
    if (seg_max > BLK_SEGMENTS_MAX)
        seg_max = BLK_SEGMENTS_MAX;
    if (seg_max * size_max < config->blk_size) {
        *features &= ~VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX);
        size_max = UINT32_MAX;
    }
    blk->segment_bytes_max = (uint32_t)size_max;
    blk->segments_max = (uint16_t)seg_max;
}

/* Limits by which not a single block can be named mean that the device cannot do it. */
static void setup_judge_range(const struct setup_config *config, const struct setup_range *range,
                              unsigned bit, uint64_t *features,
                              struct virtio_blk_range_limit *ret_limit)
{
    uint32_t block_sectors = (uint32_t)(config->blk_size / VIRTIO_BLK_SECTOR_BYTES);
    uint64_t sectors = range->sectors_max - range->sectors_max % block_sectors;

    *ret_limit = (struct virtio_blk_range_limit){.alignment_sectors = 1};
    if (!setup_has(*features, bit) || sectors == 0 || range->segments_max == 0) {
        *features &= ~VIO_FEATURE(bit);
        return;
    }
    ret_limit->sectors_max = (uint32_t)sectors;
    /* It is a multiple of the block, or of no use as a place to cut. */
    if (range->alignment > block_sectors && range->alignment % block_sectors == 0)
        ret_limit->alignment_sectors = (uint32_t)range->alignment;
}

static void setup_judge_ranges(struct virtio_blk *blk, const struct setup_config *config,
                               uint64_t *features)
{
    struct virtio_blk_info *info = &blk->info;

    /* A zoned disk: of three models only some go together with these (5.2.5.1). */
    if (vio_device_offers(&blk->device, VIRTIO_BLK_F_ZONED))
        *features &= ~SETUP_RANGE_FEATURES;
    setup_judge_range(config, &config->discard, VIRTIO_BLK_F_DISCARD, features, &info->discard);
    setup_judge_range(config, &config->write_zeroes, VIRTIO_BLK_F_WRITE_ZEROES, features,
                      &info->write_zeroes);
    setup_judge_range(config, &config->secure_erase, VIRTIO_BLK_F_SECURE_ERASE, features,
                      &info->secure_erase);
    info->may_unmap = info->write_zeroes.sectors_max && config->write_zeroes_may_unmap;
}

static vio_status setup_judge_config(struct vio_device *device, void *context, uint64_t *features)
{
    struct virtio_blk *blk = context;
    struct setup_config config = {0};

    *features &= ~blk->declined_features; /* also those that core/ accepts by itself */
    vio_status status = vio_device_read_config(
        device, setup_fields, sizeof(setup_fields) / sizeof(setup_fields[0]), &config);
    if (status != VIO_OK)
        return status;
    setup_drop_declined(&config, *features);
    status = setup_judge_geometry(blk, &config);
    if (status != VIO_OK)
        return status;
    /* A disk that comes back with other blocks than the callers know is another disk. */
    if (blk->info.block_bytes && blk->info.block_bytes != config.blk_size)
        return blk_refuse(blk, VIO_ERR_DEVICE,
                          "after its reset it has blocks of another size:", config.blk_size);

    blk->info = (struct virtio_blk_info){
        .capacity_sectors = config.capacity,
        .block_bytes = (uint32_t)config.blk_size,
        .physical_block_exp = (uint8_t)config.physical_block_exp,
        .alignment_offset_blocks = (uint8_t)config.alignment_offset,
        .optimal_blocks = (uint32_t)config.opt_io_size,
        .read_only = vio_device_offers(device, VIRTIO_BLK_F_RO),
        .n_queues = (uint16_t)config.num_queues,
    };
    setup_judge_segments(blk, &config, features);
    setup_judge_ranges(blk, &config, features);
    return VIO_OK;
}

/* --- Queues (3.1.1 step 7) ------------------------------------------------------------------- */

/*
 * The queues share memory for blk->depth descriptors. Sizes are powers of two, so that however
 * the device cuts it, it fits: n queues of size s, n * s at most blk->depth.
 */
static size_t setup_ring_bytes(const struct virtio_blk *blk, uint16_t size)
{
    size_t bytes = virtqueue_ring_bytes(size);

    if (blk->transport.is_legacy)
        return virtqueue_legacy_ring_bytes(size);
    return bytes + (0u - bytes) % VIRTQ_DESC_ALIGN;
}

size_t blk_setup_ring_bytes(const struct virtio_blk *blk)
{
    size_t most = 0;

    for (uint16_t n = 1; n <= BLK_QUEUES_MAX; n = (uint16_t)(n * 2)) {
        size_t bytes = n * setup_ring_bytes(blk, (uint16_t)(blk->depth / n));
        most = bytes > most ? bytes : most;
    }
    return most;
}

static struct vio_dma setup_part(const struct vio_dma *dma, size_t part_bytes, unsigned index)
{
    return (struct vio_dma){
        .memory = (uint8_t *)dma->memory + index * part_bytes,
        .addr = dma->addr + index * part_bytes,
        .bytes = part_bytes,
    };
}

/*
 * The part of a queue that requests take without tables: each is made and read faster so, but takes
 * the place of three when the queue is full.
 */
#define SETUP_DIRECT_SHARE 4u

vio_status blk_setup_queue(struct virtio_blk *blk, uint16_t index)
{
    uint16_t size = blk->info.queue_size;
    bool has_tables = blk->indirect.memory;
    struct vio_dma rings = setup_part(&blk->rings, setup_ring_bytes(blk, size), index);
    struct vio_dma tables = {0};
    const struct vio_queue_plan plan = {
        .vq = &blk->queues[index],
        .index = index,
        .size_wanted = size,
        .rings = &rings,
        .shadow = (uint8_t *)blk->shadow + index * virtqueue_shadow_bytes(size),
        .indirect = has_tables ? &tables : NULL,
        .indirect_entries = BLK_CHAIN_BUFFERS_MAX,
        .direct_max = size / SETUP_DIRECT_SHARE,
    };

    if (has_tables)
        tables = setup_part(&blk->indirect, virtqueue_indirect_bytes(size, BLK_CHAIN_BUFFERS_MAX),
                            index);
    return vio_device_set_up_queue(&blk->device, &plan);
}

/*
 * One processor fills the queues, so what more of them give is room: a queue is taken if those
 * before it leave some of the depth unused. All get the size of the first, or the device's less.
 */
static vio_status setup_queues(struct vio_device *device, void *context)
{
    struct virtio_blk *blk = context;
    uint16_t size, n_used = 0;

    vio_status status = vio_device_get_queue_size(device, 0, BLK_DEPTH_MAX, &size);
    if (status == VIO_OK)
        status = blk_allocate_memory(blk, size);
    if (status != VIO_OK)
        return status;
    unsigned n_wanted = size < blk->depth ? (unsigned)blk->depth / size : 1;
    if (n_wanted > blk->info.n_queues)
        n_wanted = blk->info.n_queues;
    if (n_wanted > BLK_QUEUES_MAX)
        n_wanted = BLK_QUEUES_MAX;
    blk->info.queue_size = size < blk->depth ? size : blk->depth;
    status = vio_device_route_interrupts(device, n_wanted);
    while (n_used < n_wanted && status == VIO_OK) {
        status = blk_setup_queue(blk, n_used);
        /* One that holds no request is left alone; the first is judged with all limits. */
        if (status == VIO_OK && n_used &&
            virtqueue_free_descriptors(&blk->queues[n_used]) <= BLK_OVERHEAD_BUFFERS)
            break;
        if (status == VIO_OK)
            n_used++;
    }
    /* Without the later ones the disk is as usable; what they said is not what anybody asks. */
    if (n_used && status != VIO_OK)
        device->failure = (struct vio_failure){0};
    blk->info.n_queues = n_used;
    blk->next_queue = 0;
    return n_used ? VIO_OK : status;
}

/* From segments per request to bytes per request, now that the queues' size is known. */
static vio_status setup_find_limits(struct virtio_blk *blk)
{
    uint16_t queue_size = virtqueue_free_descriptors(&blk->queues[0]);
    uint64_t segments = blk->segments_max;

    for (uint16_t i = 1; i < blk->info.n_queues; i++) {
        uint16_t size = virtqueue_free_descriptors(&blk->queues[i]);
        queue_size = size < queue_size ? size : queue_size;
    }
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
    uint32_t one_segment_bytes =
        blk->segment_bytes_max < bytes ? blk->segment_bytes_max : (uint32_t)bytes;
    blk->short_bytes_max = blk->maps_buffers ? 0 : one_segment_bytes;
    return VIO_OK;
}

/*
 * 5.2.5.1: where the cache can be asked about it is; else FLUSH means writeback. A cache that
 * nothing could flush is switched to writethrough.
 */
static void setup_judge_cache(struct virtio_blk *blk)
{
    const struct vio_transport *transport = &blk->transport;
    bool has_flush = vio_device_has(&blk->device, VIRTIO_BLK_F_FLUSH);

    blk->info.has_flush = has_flush;
    if (!vio_device_has(&blk->device, VIRTIO_BLK_F_CONFIG_WCE) ||
        transport->ops->get_config_bytes(transport->context) <= VIRTIO_BLK_CONFIG_WRITEBACK)
        return;
    if (has_flush)
        blk->info.has_flush =
            transport->ops->read_config(transport->context, VIRTIO_BLK_CONFIG_WRITEBACK, 1) != 0;
    else if (!blk->info.read_only)
        transport->ops->write_config(transport->context, VIRTIO_BLK_CONFIG_WRITEBACK, 1, 0);
}

vio_status blk_setup_bring_up(struct virtio_blk *blk)
{
    const struct vio_bring_up_plan plan = {
        .supported_features = SETUP_SUPPORTED_FEATURES & ~blk->declined_features,
        .required_features = VIO_FEATURE(VIRTIO_F_VERSION_1),
        .judge_config = setup_judge_config,
        .set_up_queues = setup_queues,
        .context = blk,
    };

    vio_status status = vio_device_bring_up(&blk->device, &plan);
    if (status != VIO_OK)
        return status;
    blk->maps_buffers = !blk->platform.pointers_are_physical ||
                        vio_device_has(&blk->device, VIRTIO_F_ACCESS_PLATFORM);
    blk_request_place_slots(blk);
    setup_judge_cache(blk);
    return setup_find_limits(blk);
}

static void setup_refresh_capacity(struct virtio_blk *blk)
{
    struct vio_failure before = blk->device.failure;
    struct setup_config config = {0};

    vio_status status = vio_device_read_config(&blk->device, setup_fields, 1, &config);
    if (status == VIO_OK)
        status = setup_judge_capacity(blk, config.capacity, blk->info.block_bytes);
    blk->device.failure = before;
    blk->info.capacity_sectors = status == VIO_OK ? config.capacity : 0;
}

/* The status first: what nobody answers for reads as some generation, too, and perhaps as the same. */
bool virtio_blk_refresh(struct virtio_blk *blk)
{
    struct vio_failure before = blk->device.failure;
    uint64_t capacity = blk->info.capacity_sectors;

    if (blk->dead != VIO_OK)
        return false;
    vio_status status = vio_device_check_alive(&blk->device);
    if (status == VIO_ERR_GONE) {
        blk_recover_give_up(blk, status);
        return false;
    }
    blk->device.failure = before;
    /* While something is under way whoever waits for it sees to that. */
    if (status == VIO_ERR_NEEDS_RESET && !virtio_blk_is_busy(blk))
        status = virtio_blk_reset(blk);
    else if (status == VIO_OK && vio_device_config_has_changed(&blk->device))
        setup_refresh_capacity(blk);
    if (status != VIO_OK || blk->info.capacity_sectors == capacity)
        return false;
    blk_engine_check_waiting(blk);
    return true;
}
