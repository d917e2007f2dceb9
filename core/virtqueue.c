/* Contract and terms: core/virtqueue.h. */

#include "core/virtqueue.h"

#include "core/mem.h"

/* How far used_event may fall behind before it is moved on, so that it does not come round. */
#define VQ_QUIET_CHAINS 0x4000u

/* --- Sizes and layout ------------------------------------------------------------------------ */

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
    return (sizeof(struct vq_chain) + sizeof(uint16_t)) * size;
}

size_t virtqueue_indirect_bytes(uint16_t size, uint16_t entries)
{
    return sizeof(struct virtq_desc) * entries * size;
}

static bool vq_dma_is_suitable(const struct vio_dma *dma, size_t bytes)
{
    return dma->bytes >= bytes && (uintptr_t)dma->memory % VIRTQ_DESC_ALIGN == 0 &&
           dma->addr % VIRTQ_DESC_ALIGN == 0;
}

static bool vq_config_is_valid(const struct virtqueue_config *config)
{
    if (!vq_size_is_valid(config->size) || !config->shadow)
        return false;
    if (!vq_dma_is_suitable(config->rings, virtqueue_ring_bytes(config->size)))
        return false;
    return !config->indirect ||
           vq_dma_is_suitable(config->indirect,
                              virtqueue_indirect_bytes(config->size, config->indirect_entries));
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
    size_t used_offset = vq_used_offset(config->size);

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
    }
    vq->chains = config->shadow;
    vq->next = (uint16_t *)(vq->chains + config->size);
}

vio_status virtqueue_init(struct virtqueue *vq, const struct virtqueue_config *config)
{
    uint16_t size = config->size;

    if (!vq_config_is_valid(config))
        return VIO_ERR_INVALID;
    vio_mem_zero(vq, sizeof(*vq));
    vio_mem_zero(config->rings->memory, virtqueue_ring_bytes(size));
    vio_mem_zero(config->shadow, virtqueue_shadow_bytes(size));
    vq_lay_out(vq, config);
    vq->transport = config->transport;
    vq->index = config->index;
    vq->size = size;
    vq->mask = (uint16_t)(size - 1);
    vq->event_idx = vq_has(config, VIRTIO_F_EVENT_IDX);
    vq->in_order = vq_has(config, VIRTIO_F_IN_ORDER);
    vq->order_platform = vq_has(config, VIRTIO_F_ORDER_PLATFORM);

    /* The last one's link is never followed: n_free says where the list ends. */
    for (uint32_t i = 0; i < size; i++)
        vq->next[i] = (uint16_t)((i + 1) & vq->mask);
    vq->free_tail = vq->mask;
    vq->n_free = size;
    virtqueue_disable_callbacks(vq);
    return VIO_OK;
}

struct virtqueue_addresses virtqueue_addresses(const struct virtqueue *vq)
{
    return vq->addresses;
}

/* The two words behind the rings (2.7.7, 2.7.10). */
static le16 *vq_used_event(const struct virtqueue *vq)
{
    return &vq->avail->ring[vq->size];
}

static const le16 *vq_avail_event(const struct virtqueue *vq)
{
    return (const le16 *)(const void *)&vq->used->ring[vq->size];
}

/* --- Supplying buffers (2.7.13) -------------------------------------------------------------- */

uint16_t virtqueue_free_descriptors(const struct virtqueue *vq)
{
    return vq->n_free;
}

unsigned virtqueue_descriptors_needed(const struct virtqueue *vq, unsigned n_bufs)
{
    return n_bufs > 1 && n_bufs <= vq->table_entries ? 1 : n_bufs;
}

uint16_t virtqueue_in_flight(const struct virtqueue *vq)
{
    return (uint16_t)(vq->n_added - vq->n_used - vq->n_drained);
}

/* The rules of 2.7.4.2 and 2.7.5.2; on success the sum of the writable bytes. */
static bool vq_chain_is_valid(const struct vio_buffer *bufs, unsigned n_bufs,
                              uint32_t *ret_writable_bytes)
{
    uint64_t readable = 0;
    uint64_t writable = 0;
    unsigned i = 0;

    for (; i < n_bufs && !bufs[i].device_writable; i++) {
        if (bufs[i].len == 0)
            return false;
        readable += bufs[i].len;
    }
    for (; i < n_bufs; i++) {
        if (bufs[i].len == 0 || !bufs[i].device_writable)
            return false;
        writable += bufs[i].len;
    }
    *ret_writable_bytes = (uint32_t)writable;
    return readable + writable <= UINT32_MAX;
}

static void vq_write_descriptor(struct virtq_desc *desc, const struct vio_buffer *buf,
                                unsigned flags, uint16_t next)
{
    ring_store64(&desc->addr, buf->addr);
    ring_store32(&desc->len, buf->len);
    ring_store16(&desc->flags, (uint16_t)flags);
    ring_store16(&desc->next, next);
}

static unsigned vq_write_flag(const struct vio_buffer *buf)
{
    return buf->device_writable ? VIRTQ_DESC_F_WRITE : 0;
}

/* Along the free list; returns the last descriptor written. */
static uint16_t vq_write_chain(struct virtqueue *vq, const struct vio_buffer *bufs, unsigned n_bufs)
{
    const struct vio_buffer *last = bufs + n_bufs - 1;
    uint16_t at = vq->free_head;

    for (; bufs != last; bufs++) {
        uint16_t next = vq->next[at];
        vq_write_descriptor(&vq->desc[at], bufs, vq_write_flag(bufs) | VIRTQ_DESC_F_NEXT, next);
        at = next;
    }
    vq_write_descriptor(&vq->desc[at], last, vq_write_flag(last), 0);
    return at;
}

/* 2.7.5.3: the table's entries in a row, as IN_ORDER demands, and one descriptor for all of them. */
static uint16_t vq_write_table(struct virtqueue *vq, const struct vio_buffer *bufs, unsigned n_bufs)
{
    uint16_t head = vq->free_head;
    size_t first = (size_t)head * vq->table_entries;
    struct virtq_desc *table = vq->tables + first;
    const struct vio_buffer whole = {
        .addr = vq->tables_addr + first * sizeof(*table),
        .len = (uint32_t)(n_bufs * sizeof(*table)),
    };
    unsigned last = n_bufs - 1;

    for (unsigned i = 0; i < last; i++)
        vq_write_descriptor(&table[i], &bufs[i], vq_write_flag(&bufs[i]) | VIRTQ_DESC_F_NEXT,
                            (uint16_t)(i + 1));
    vq_write_descriptor(&table[last], &bufs[last], vq_write_flag(&bufs[last]), 0);
    vq_write_descriptor(&vq->desc[head], &whole, VIRTQ_DESC_F_INDIRECT, 0);
    return head;
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
    unsigned n_descriptors = virtqueue_descriptors_needed(vq, n_bufs);
    if (n_descriptors > vq->n_free)
        return VIO_ERR_QUEUE_FULL;

    uint16_t head = vq->free_head;
    uint16_t tail = n_descriptors == n_bufs ? vq_write_chain(vq, bufs, n_bufs)
                                            : vq_write_table(vq, bufs, n_bufs);
    vq->chains[head] = (struct vq_chain){
        .cookie = cookie,
        .number = vq->n_added,
        .writable_bytes = writable_bytes,
        .n_descriptors = (uint16_t)n_descriptors,
        .tail = tail,
    };
    vq->free_head = vq->next[tail];
    vq->n_free = (uint16_t)(vq->n_free - n_descriptors);

    /* The device looks at this slot only after idx has moved past it. */
    ring_store16(&vq->avail->ring[vq->n_added & vq->mask], head);
    vq->n_added++;
    return VIO_OK;
}

void virtqueue_publish(struct virtqueue *vq)
{
    if (vq->n_published == vq->n_added || vq->fault != VIRTQUEUE_FAULT_NONE)
        return;
    /* Descriptors and ring entries before the idx that makes the device read them. */
    virtio_wmb(vq->order_platform);
    ring_store16(&vq->avail->idx, (uint16_t)vq->n_added);
    vq->n_published = vq->n_added;
}

/* 2.7.10.1: among the chains published since the last decision is the one that the device named. */
static bool vq_device_wants_notification(const struct virtqueue *vq)
{
    if (!vq->event_idx)
        return !(ring_load16(&vq->used->flags) & VIRTQ_USED_F_NO_NOTIFY);
    uint16_t avail_event = ring_load16(vq_avail_event(vq));
    return (uint16_t)(vq->n_published - avail_event - 1) < vq->n_published - vq->n_notified;
}

bool virtqueue_notify(struct virtqueue *vq)
{
    if (vq->n_notified == vq->n_published || vq->fault != VIRTQUEUE_FAULT_NONE)
        return false;
    /* Our idx visible before the device's wish is read: else both could wait for the other. */
    virtio_mb(vq->order_platform);
    bool wanted = vq_device_wants_notification(vq);
    vq->n_notified = vq->n_published;
    if (!wanted) {
        vq->counters.notifications_suppressed++;
        return false;
    }
    vq->transport->ops->notify(vq->transport->context, vq->index, (uint16_t)vq->n_published);
    vq->counters.notifications++;
    return true;
}

/* --- Receiving used buffers (2.7.14) --------------------------------------------------------- */

static vio_status vq_break(struct virtqueue *vq, enum virtqueue_fault fault, uint64_t value)
{
    vq->fault = fault;
    vq->fault_value = value;
    return VIO_ERR_QUEUE_BROKEN;
}

/* Back to the free list, as a whole: the chain's own links are still in the shadow. */
static void *vq_free_chain(struct virtqueue *vq, uint16_t head)
{
    struct vq_chain *chain = &vq->chains[head];
    void *cookie = chain->cookie;

    if (vq->n_free == 0)
        vq->free_head = head;
    else
        vq->next[vq->free_tail] = head;
    vq->free_tail = chain->tail;
    vq->n_free = (uint16_t)(vq->n_free + chain->n_descriptors);
    chain->cookie = NULL;
    return cookie;
}

/*
 * An event of long ago would come round again and ask for an interrupt that nobody wants. Between
 * two looks idx moves by a whole queue at most, which together with this distance is below 65536.
 */
static void vq_stay_quiet(struct virtqueue *vq)
{
    if (vq->event_idx && !vq->callbacks_wanted &&
        (uint16_t)(vq->n_used + vq->n_ready - vq->used_event) > VQ_QUIET_CHAINS)
        virtqueue_disable_callbacks(vq);
}

/* Learn of new used elements; more of them than the device was given chains is a lie. */
static vio_status vq_look_at_used_idx(struct virtqueue *vq)
{
    uint16_t used_idx = ring_load16(&vq->used->idx);
    uint16_t n_ready = (uint16_t)(used_idx - vq->n_used);

    if (n_ready == 0)
        return VIO_EMPTY;
    if (n_ready > vq->n_published - vq->n_used)
        return vq_break(vq, VIRTQUEUE_FAULT_USED_IDX, used_idx);
    vq->n_ready = n_ready;
    /* idx before the elements that it announces, and before the data that belongs to them. */
    virtio_rmb(vq->order_platform);
    vq_stay_quiet(vq);
    return VIO_OK;
}

/* The element in turn, compared with what we know of the chain that it names. */
static vio_status vq_read_element(struct virtqueue *vq, uint16_t *ret_head, uint32_t *ret_len)
{
    const struct virtq_used_elem *elem = &vq->used->ring[vq->n_used & vq->mask];
    uint32_t id = ring_load32(&elem->id);
    uint32_t len = ring_load32(&elem->len);

    if (id >= vq->size)
        return vq_break(vq, VIRTQUEUE_FAULT_ID_RANGE, id);
    const struct vq_chain *chain = &vq->chains[id];
    if (!chain->cookie || chain->number >= vq->n_published)
        return vq_break(vq, VIRTQUEUE_FAULT_ID_NOT_HEAD, id);
    if (len > chain->writable_bytes)
        return vq_break(vq, VIRTQUEUE_FAULT_LEN, len);
    *ret_head = (uint16_t)id;
    *ret_len = len;
    return VIO_OK;
}

/* 2.7.9: one element may stand for a batch, of which it names the last chain. */
static vio_status vq_begin_batch(struct virtqueue *vq)
{
    uint16_t last;

    vio_status status = vq_read_element(vq, &last, &vq->batch_len);
    if (status != VIO_OK)
        return status;
    uint64_t n_batch = vq->chains[last].number - vq->n_used + 1;
    if (n_batch > vq->n_ready)
        return vq_break(vq, VIRTQUEUE_FAULT_ORDER, last);
    vq->n_batch = (uint16_t)n_batch;
    return VIO_OK;
}

/* The oldest chain in flight; those that were left out of the used ring are written in full. */
static vio_status vq_next_in_order(struct virtqueue *vq, uint16_t *ret_head, uint32_t *ret_len)
{
    if (vq->n_batch == 0) {
        vio_status status = vq_begin_batch(vq);
        if (status != VIO_OK)
            return status;
    }
    const struct vq_chain *chain = &vq->chains[vq->in_order_head];
    vq->n_batch--;
    *ret_head = vq->in_order_head;
    *ret_len = vq->n_batch == 0 ? vq->batch_len : chain->writable_bytes;
    vq->in_order_head = (uint16_t)((vq->in_order_head + chain->n_descriptors) & vq->mask);
    return VIO_OK;
}

vio_status virtqueue_pop_used(struct virtqueue *vq, void **ret_cookie, uint32_t *ret_len)
{
    uint16_t head;
    uint32_t len;

    if (vq->fault != VIRTQUEUE_FAULT_NONE)
        return VIO_ERR_QUEUE_BROKEN;
    vio_status status = vq->n_ready ? VIO_OK : vq_look_at_used_idx(vq);
    if (status != VIO_OK)
        return status;
    status = vq->in_order ? vq_next_in_order(vq, &head, &len) : vq_read_element(vq, &head, &len);
    if (status != VIO_OK)
        return status;

    vq->n_ready--;
    vq->n_used++;
    *ret_cookie = vq_free_chain(vq, head);
    *ret_len = len;
    return VIO_OK;
}

/* Used chains that were not popped; of a lying device any number, but no fewer than it announced. */
static uint16_t vq_n_there(const struct virtqueue *vq)
{
    uint16_t n_there = (uint16_t)(ring_load16(&vq->used->idx) - vq->n_used);

    return n_there < vq->n_ready ? vq->n_ready : n_there;
}

bool virtqueue_has_used(const struct virtqueue *vq)
{
    return vq->fault == VIRTQUEUE_FAULT_NONE && vq_n_there(vq) != 0;
}

/* --- Used buffer notifications (2.7.7) ------------------------------------------------------- */

bool virtqueue_used_interrupt(struct virtqueue *vq)
{
    bool something = virtqueue_has_used(vq);

    vq->counters.interrupts++;
    if (!something)
        vq->counters.interrupts_spurious++;
    return something;
}

static void vq_set_used_event(struct virtqueue *vq, uint64_t n_used)
{
    vq->used_event = (uint16_t)n_used;
    ring_store16(vq_used_event(vq), vq->used_event);
}

bool virtqueue_enable_callbacks_after(struct virtqueue *vq, uint16_t n_chains)
{
    uint64_t n_with_device = vq->n_published - vq->n_used;

    if (vq->fault != VIRTQUEUE_FAULT_NONE)
        return true;
    if (n_chains > n_with_device)
        n_chains = (uint16_t)n_with_device;
    if (n_chains == 0)
        n_chains = 1;
    vq->callbacks_wanted = true;
    if (vq->event_idx)
        vq_set_used_event(vq, vq->n_used + n_chains - 1u);
    else
        ring_store16(&vq->avail->flags, 0);
    /* Our wish visible before we look at the used ring: else a wake-up could be lost. */
    virtio_mb(vq->order_platform);
    return vq_n_there(vq) >= n_chains;
}

bool virtqueue_enable_callbacks(struct virtqueue *vq)
{
    return virtqueue_enable_callbacks_after(vq, 1);
}

void virtqueue_disable_callbacks(struct virtqueue *vq)
{
    vq->callbacks_wanted = false;
    if (vq->event_idx) /* the element last announced: the one that idx passes latest */
        vq_set_used_event(vq, vq->n_used + vq->n_ready - 1);
    else
        ring_store16(&vq->avail->flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
}

/* --- The end of a queue ---------------------------------------------------------------------- */

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
        [VIRTQUEUE_FAULT_ORDER] = "used id is out of order, which IN_ORDER forbids",
    };

    *ret_value = vq->fault_value;
    return texts[vq->fault];
}

void *virtqueue_drain(struct virtqueue *vq)
{
    for (; vq->drain_next < vq->size; vq->drain_next++) {
        if (vq->chains[vq->drain_next].cookie) {
            vq->n_drained++;
            return vq_free_chain(vq, vq->drain_next);
        }
    }
    return NULL;
}
