/* Contract and terms: core/virtqueue.h. Sizes and layout, and how a queue begins. */

#include "core/mem.h"
#include "core/virtqueue_private.h"

static bool vq_size_is_valid(uint16_t size)
{
    return size != 0 && size <= VIRTQUEUE_SIZE_MAX && (size & (size - 1)) == 0;
}

static size_t vq_align_up(size_t value, size_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static size_t vq_avail_offset(uint16_t size)
{
    return sizeof(struct virtq_desc) * size;
}

/* One le16 more than the ring: used_event, which exists whether or not it is negotiated. */
static size_t vq_avail_end(uint16_t size)
{
    return vq_avail_offset(size) + sizeof(struct virtq_avail) + sizeof(le16) * size + sizeof(le16);
}

static size_t vq_used_offset(uint16_t size, bool is_legacy)
{
    return vq_align_up(vq_avail_end(size), is_legacy ? VIRTQ_LEGACY_ALIGN : VIRTQ_USED_ALIGN);
}

static size_t vq_used_bytes(uint16_t size)
{
    return sizeof(struct virtq_used) + sizeof(struct virtq_used_elem) * size + sizeof(le16);
}

uint16_t virtqueue_negotiate_size(uint16_t wanted, uint16_t device_max)
{
    uint16_t limit = wanted < device_max ? wanted : device_max;

    for (uint32_t size = VIRTQUEUE_SIZE_MAX; size; size >>= 1) {
        if (size <= limit)
            return (uint16_t)size;
    }
    return 0;
}

size_t virtqueue_ring_bytes(uint16_t size)
{
    return vq_used_offset(size, false) + vq_used_bytes(size);
}

size_t virtqueue_legacy_ring_bytes(uint16_t size)
{
    return vq_used_offset(size, true) + vq_align_up(vq_used_bytes(size), VIRTQ_LEGACY_ALIGN);
}

size_t virtqueue_shadow_bytes(uint16_t size)
{
    return sizeof(struct vq_shadow) * size;
}

size_t virtqueue_indirect_bytes(uint16_t size, uint16_t entries)
{
    return sizeof(struct virtq_desc) * entries * size;
}

static bool vq_dma_is_suitable(const struct vio_dma *dma, size_t bytes, unsigned alignment)
{
    return dma->bytes >= bytes && (uintptr_t)dma->memory % VIRTQ_DESC_ALIGN == 0 &&
           dma->addr % alignment == 0;
}

static size_t vq_ring_bytes(const struct virtqueue_config *config)
{
    return config->is_legacy ? virtqueue_legacy_ring_bytes(config->size)
                             : virtqueue_ring_bytes(config->size);
}

static bool vq_config_is_valid(const struct virtqueue_config *config)
{
    if (!vq_size_is_valid(config->size) || !config->shadow)
        return false;
    if (!vq_dma_is_suitable(config->rings, vq_ring_bytes(config),
                            config->is_legacy ? VIRTQ_LEGACY_ALIGN : VIRTQ_DESC_ALIGN))
        return false;
    return !config->indirect ||
           vq_dma_is_suitable(config->indirect,
                              virtqueue_indirect_bytes(config->size, config->indirect_entries),
                              VIRTQ_DESC_ALIGN);
}

static bool vq_has(const struct virtqueue_config *config, unsigned feature_bit)
{
    return (config->features & VIO_FEATURE(feature_bit)) != 0;
}

static void vq_lay_out(struct virtqueue *vq, const struct virtqueue_config *config)
{
    const struct vio_dma *rings = config->rings;
    uint8_t *memory = rings->memory;
    size_t avail_offset = vq_avail_offset(config->size);
    size_t used_offset = vq_used_offset(config->size, config->is_legacy);

    vq->desc = (struct virtq_desc *)memory;
    vq->avail = (struct virtq_avail *)(memory + avail_offset);
    vq->used = (struct virtq_used *)(memory + used_offset);
    vq->addresses = (struct virtqueue_addresses){
        .descriptor_area = rings->addr,
        .driver_area = rings->addr + avail_offset,
        .device_area = rings->addr + used_offset,
    };
    if (config->indirect && vq_has(config, VIRTIO_F_INDIRECT_DESC)) {
        vq->tables = config->indirect->memory;
        vq->tables_addr = config->indirect->addr;
        vq->table_entries = config->indirect_entries;
        vq->table_reserve =
            config->direct_max < config->size ? (uint16_t)(config->size - config->direct_max) : 0;
    }
    vq->shadow = config->shadow;
}

/* A circle: the link behind the last one is never followed, for n_free says where the list ends. */
static void vq_make_free_list(struct virtqueue *vq)
{
    for (uint32_t i = 0; i < vq->size; i++) {
        struct vq_shadow *shadow = &vq->shadow[i];
        shadow->desc = &vq->desc[i];
        shadow->next = &vq->shadow[(i + 1) & vq->mask];
        shadow->link = i * VQ_NEXT_INDEX | VQ_NEXT;
        shadow->link_writable = shadow->link | VQ_WRITE;
        shadow->index = (uint16_t)i;
        shadow->tail = shadow;
    }
    vq->free_head = &vq->shadow[0];
    vq->free_tail = &vq->shadow[vq->mask];
    vq->n_free = vq->size;
}

vio_status virtqueue_init(struct virtqueue *vq, const struct virtqueue_config *config)
{
    uint16_t size = config->size;

    if (!vq_config_is_valid(config))
        return VIO_ERR_INVALID;
    vio_mem_zero(vq, sizeof(*vq));
    vio_mem_zero(config->rings->memory, vq_ring_bytes(config));
    vio_mem_zero(config->shadow, virtqueue_shadow_bytes(size));
    vq_lay_out(vq, config);
    vq->transport = config->transport;
    vq->index = config->index;
    vq->size = size;
    vq->mask = size - 1u;
    vq->event_idx = vq_has(config, VIRTIO_F_EVENT_IDX);
    vq->in_order = vq_has(config, VIRTIO_F_IN_ORDER);
    vq->order_platform = vq_has(config, VIRTIO_F_ORDER_PLATFORM);
    vq->is_legacy = config->is_legacy;

    vq_make_free_list(vq);
    virtqueue_disable_callbacks(vq);
    return VIO_OK;
}
