/* Contract and terms: core/virtqueue.h. */

#include "core/virtqueue.h"

#include "core/mem.h"

/* No index of any queue, not even of the largest. */
#define VQ_CHAIN_END 0xFFFFu

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
static size_t vq_used_offset(uint16_t size)
{
    size_t avail_end =
        vq_avail_offset(size) + sizeof(struct virtq_avail) + sizeof(le16) * size + sizeof(le16);

    return vq_align_up(avail_end, VIRTQ_USED_ALIGN);
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
    return vq_used_offset(size) + sizeof(struct virtq_used) +
           sizeof(struct virtq_used_elem) * size + sizeof(le16);
}

size_t virtqueue_shadow_bytes(uint16_t size)
{
    return sizeof(struct vq_shadow) * size;
}

static void vq_make_free_list(struct virtqueue *vq)
{
    for (uint16_t i = 0; i < vq->size; i++)
        vq->shadow[i].next = (uint16_t)(i + 1);
    vq->shadow[vq->size - 1].next = VQ_CHAIN_END;
    vq->free_head = 0;
    vq->n_free = vq->size;
}

vio_status virtqueue_init(struct virtqueue *vq, const struct vio_transport *transport,
                          uint16_t index, uint16_t size, const struct vio_dma *rings, void *shadow)
{
    if (!vq_size_is_valid(size) || rings->bytes < virtqueue_ring_bytes(size) || !shadow)
        return VIO_ERR_INVALID;
    if ((uintptr_t)rings->memory % VIRTQ_DESC_ALIGN || rings->addr % VIRTQ_DESC_ALIGN)
        return VIO_ERR_INVALID;

    vio_mem_zero(vq, sizeof(*vq));
    vio_mem_zero(rings->memory, virtqueue_ring_bytes(size));
    vio_mem_zero(shadow, virtqueue_shadow_bytes(size));

    uint8_t *memory = rings->memory;
    vq->desc = (struct virtq_desc *)memory;
    vq->avail = (struct virtq_avail *)(memory + vq_avail_offset(size));
    vq->used = (struct virtq_used *)(memory + vq_used_offset(size));
    vq->addresses = (struct virtqueue_addresses){
        .descriptor_area = rings->addr,
        .driver_area = rings->addr + vq_avail_offset(size),
        .device_area = rings->addr + vq_used_offset(size),
    };
    vq->transport = transport;
    vq->shadow = shadow;
    vq->index = index;
    vq->size = size;
    vq->mask = (uint16_t)(size - 1);
    vq_make_free_list(vq);
    virtqueue_disable_callbacks(vq);
    return VIO_OK;
}

struct virtqueue_addresses virtqueue_addresses(const struct virtqueue *vq)
{
    return vq->addresses;
}

uint16_t virtqueue_free_descriptors(const struct virtqueue *vq)
{
    return vq->n_free;
}

uint16_t virtqueue_in_flight(const struct virtqueue *vq)
{
    return vq->n_in_flight;
}

/* The rules of 2.7.4.2 and 2.7.5.2; on success the sum of the writable bytes. */
static bool vq_chain_is_valid(const struct vio_buffer *bufs, unsigned n_bufs,
                              uint32_t *ret_writable_bytes)
{
    uint64_t total = 0;
    uint64_t writable = 0;

    for (unsigned i = 0; i < n_bufs; i++) {
        if (bufs[i].len == 0)
            return false;
        if (!bufs[i].device_writable && writable)
            return false;
        if (bufs[i].device_writable)
            writable += bufs[i].len;
        total += bufs[i].len;
        if (total > UINT32_MAX)
            return false;
    }
    *ret_writable_bytes = (uint32_t)writable;
    return true;
}

/* Takes descriptors off the free list; the caller has seen that there are enough. */
static void vq_write_chain(struct virtqueue *vq, const struct vio_buffer *bufs, unsigned n_bufs)
{
    uint16_t at = vq->free_head;
    uint16_t last = at;

    for (unsigned i = 0; i < n_bufs; i++) {
        struct virtq_desc *desc = &vq->desc[at];
        bool more = i + 1 < n_bufs;
        uint16_t flags = (uint16_t)((bufs[i].device_writable ? VIRTQ_DESC_F_WRITE : 0) |
                                    (more ? VIRTQ_DESC_F_NEXT : 0));

        ring_store64(&desc->addr, bufs[i].addr);
        ring_store32(&desc->len, bufs[i].len);
        ring_store16(&desc->flags, flags);
        ring_store16(&desc->next, more ? vq->shadow[at].next : 0);
        last = at;
        at = vq->shadow[at].next;
    }
    vq->shadow[last].next = VQ_CHAIN_END;
    vq->free_head = at;
    vq->n_free = (uint16_t)(vq->n_free - n_bufs);
}

vio_status virtqueue_add(struct virtqueue *vq, const struct vio_buffer *bufs, unsigned n_bufs,
                         void *cookie)
{
    uint32_t writable_bytes;

    if (vq->fault != VIRTQUEUE_FAULT_NONE)
        return VIO_ERR_QUEUE_BROKEN;
    if (n_bufs == 0 || n_bufs > vq->size || !cookie)
        return VIO_ERR_INVALID;
    if (!vq_chain_is_valid(bufs, n_bufs, &writable_bytes))
        return VIO_ERR_INVALID;
    if (n_bufs > vq->n_free)
        return VIO_ERR_QUEUE_FULL;

    uint16_t head = vq->free_head;
    vq_write_chain(vq, bufs, n_bufs);
    vq->shadow[head].cookie = cookie;
    vq->shadow[head].writable_bytes = writable_bytes;
    vq->shadow[head].n_descriptors = (uint16_t)n_bufs;
    vq->shadow[head].published = false;

    /* The device looks at this slot only after idx has moved past it. */
    uint16_t slot = vq->avail_next & vq->mask;
    ring_store16(&vq->avail->ring[slot], head);
    vq->shadow[slot].avail_head = head;
    vq->avail_next++;
    vq->n_in_flight++;
    vq->counters.chains_added++;
    return VIO_OK;
}

void virtqueue_publish(struct virtqueue *vq)
{
    if (vq->avail_published == vq->avail_next || vq->fault != VIRTQUEUE_FAULT_NONE)
        return;
    for (uint16_t i = vq->avail_published; i != vq->avail_next; i++)
        vq->shadow[vq->shadow[i & vq->mask].avail_head].published = true;
    /* Descriptors and ring entries before the idx that makes the device read them. */
    virtio_wmb();
    ring_store16(&vq->avail->idx, vq->avail_next);
    vq->avail_published = vq->avail_next;
}

bool virtqueue_notify(struct virtqueue *vq)
{
    if (vq->avail_notified == vq->avail_published || vq->fault != VIRTQUEUE_FAULT_NONE)
        return false;
    vq->avail_notified = vq->avail_published;
    /* Our idx visible before the device's wish is read: else both sides could wait for the other.
     */
    virtio_mb();
    if (ring_load16(&vq->used->flags) & VIRTQ_USED_F_NO_NOTIFY) {
        vq->counters.notifications_suppressed++;
        return false;
    }
    vq->transport->ops->notify(vq->transport->context, vq->index);
    vq->counters.notifications++;
    return true;
}

static vio_status vq_break(struct virtqueue *vq, enum virtqueue_fault fault, uint64_t value)
{
    vq->fault = fault;
    vq->fault_value = value;
    return VIO_ERR_QUEUE_BROKEN;
}

/* Chains that the device can see and has not returned. */
static uint16_t vq_n_with_device(const struct virtqueue *vq)
{
    uint16_t n_unpublished = (uint16_t)(vq->avail_next - vq->avail_published);

    return (uint16_t)(vq->n_in_flight - n_unpublished);
}

/* Back to the free list, as a whole: the chain's own links are still in the shadow. */
static void *vq_free_chain(struct virtqueue *vq, uint16_t head)
{
    void *cookie = vq->shadow[head].cookie;
    uint16_t last = head;

    while (vq->shadow[last].next != VQ_CHAIN_END)
        last = vq->shadow[last].next;
    vq->shadow[last].next = vq->free_head;
    vq->free_head = head;
    vq->n_free = (uint16_t)(vq->n_free + vq->shadow[head].n_descriptors);
    vq->n_in_flight--;
    vq->shadow[head].cookie = NULL;
    return cookie;
}

/* Learn of new used elements; more of them than the device was given chains is a lie. */
static vio_status vq_look_at_used_idx(struct virtqueue *vq)
{
    uint16_t used_idx = ring_load16(&vq->used->idx);
    uint16_t n_used = (uint16_t)(used_idx - vq->used_next);

    if (n_used == 0)
        return VIO_EMPTY;
    if (n_used > vq_n_with_device(vq))
        return vq_break(vq, VIRTQUEUE_FAULT_USED_IDX, used_idx);
    vq->used_seen = used_idx;
    /* idx before the elements that it announces, and before the data that belongs to them. */
    virtio_rmb();
    return VIO_OK;
}

vio_status virtqueue_pop_used(struct virtqueue *vq, void **ret_cookie, uint32_t *ret_len)
{
    if (vq->fault != VIRTQUEUE_FAULT_NONE)
        return VIO_ERR_QUEUE_BROKEN;
    if (vq->used_next == vq->used_seen) {
        vio_status status = vq_look_at_used_idx(vq);
        if (status != VIO_OK)
            return status;
    }

    const struct virtq_used_elem *elem = &vq->used->ring[vq->used_next & vq->mask];
    uint32_t id = ring_load32(&elem->id);
    uint32_t len = ring_load32(&elem->len);

    if (id >= vq->size)
        return vq_break(vq, VIRTQUEUE_FAULT_ID_RANGE, id);
    if (!vq->shadow[id].cookie || !vq->shadow[id].published)
        return vq_break(vq, VIRTQUEUE_FAULT_ID_NOT_HEAD, id);
    if (len > vq->shadow[id].writable_bytes)
        return vq_break(vq, VIRTQUEUE_FAULT_LEN, len);

    vq->used_next++;
    vq->counters.chains_used++;
    *ret_cookie = vq_free_chain(vq, (uint16_t)id);
    *ret_len = len;
    return VIO_OK;
}

bool virtqueue_has_used(const struct virtqueue *vq)
{
    return vq->fault == VIRTQUEUE_FAULT_NONE && ring_load16(&vq->used->idx) != vq->used_next;
}

bool virtqueue_used_interrupt(struct virtqueue *vq)
{
    bool something = virtqueue_has_used(vq);

    vq->counters.interrupts++;
    if (!something)
        vq->counters.interrupts_spurious++;
    return something;
}

void virtqueue_enable_callbacks(struct virtqueue *vq)
{
    ring_store16(&vq->avail->flags, 0);
    /* Our wish visible before the caller looks at the used ring: else a wake-up could be lost. */
    virtio_mb();
}

void virtqueue_disable_callbacks(struct virtqueue *vq)
{
    ring_store16(&vq->avail->flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
}

enum virtqueue_fault virtqueue_fault(const struct virtqueue *vq)
{
    return vq->fault;
}

const char *virtqueue_fault_text(const struct virtqueue *vq, uint64_t *ret_value)
{
    static const char *const texts[] = {
        [VIRTQUEUE_FAULT_NONE] = "no fault",
        [VIRTQUEUE_FAULT_USED_IDX] = "used idx is not within the chains in flight",
        [VIRTQUEUE_FAULT_ID_RANGE] = "used id is no descriptor of the queue",
        [VIRTQUEUE_FAULT_ID_NOT_HEAD] = "used id is not the head of a chain in flight",
        [VIRTQUEUE_FAULT_LEN] = "used len is more than the chain's writable bytes",
    };

    *ret_value = vq->fault_value;
    return texts[vq->fault];
}

void *virtqueue_drain(struct virtqueue *vq)
{
    for (; vq->drain_next < vq->size; vq->drain_next++) {
        if (vq->shadow[vq->drain_next].cookie)
            return vq_free_chain(vq, vq->drain_next);
    }
    return NULL;
}
