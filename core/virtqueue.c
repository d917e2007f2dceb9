/* Contract and terms: core/virtqueue.h. */

#include "core/virtqueue.h"

#include "core/mem.h"
#include "core/virtqueue_private.h"

/* How far used_event may fall behind before it is moved on, so that it does not come round. */
#define VQ_QUIET_CHAINS 0x4000u

/* What the ways of a chain are made of, and what must not make them longer. */
#define VQ_INLINE static inline __attribute__((always_inline))
#define VQ_ASIDE  static __attribute__((noinline))

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
    return (uint16_t)vq->n_free;
}

unsigned virtqueue_descriptors_needed(const struct virtqueue *vq, unsigned n_bufs)
{
    return n_bufs > 1 && n_bufs <= vq->table_entries ? 1 : n_bufs;
}

uint16_t virtqueue_in_flight(const struct virtqueue *vq)
{
    return (uint16_t)(vq->n_added - vq->n_used - vq->n_drained);
}

/*
 * The way of a chain is hot: one pass both fills the descriptors and holds the buffers to the rules
 * of 2.7.4.2 and 2.7.5.2. So the chain is taken first, and taken back if a buffer breaks a rule.
 */

/* The first free descriptor heads the next chain. The list goes on from there when it is filled. */
VQ_INLINE struct vq_shadow *vq_take(struct virtqueue *vq, unsigned n_descriptors, void *cookie)
{
    struct vq_shadow *head = vq->free_head;
    uint64_t number = vq->n_added;

    head->cookie = cookie;
    head->number = number;
    head->n_descriptors = (uint16_t)n_descriptors;
    vq->n_free -= n_descriptors;
    /* The device looks at this slot only after idx has moved past it. */
    ring_fill16(&vq->avail->ring[number & vq->mask], head->index);
    vq->n_added++;
    return head;
}

VQ_ASIDE vio_status vq_take_back(struct virtqueue *vq)
{
    struct vq_shadow *head = vq->free_head;

    vq->n_free += head->n_descriptors;
    head->n_descriptors = 0;
    vq->n_added--;
    return VIO_ERR_INVALID;
}

/*
 * Where a chain is being written: along the free list, or along an indirect table. The functions
 * below are made twice, once for each; `in_table` is a constant in both.
 */
struct vq_cursor {
    struct vq_shadow *at;     /* the queue's descriptor; for a table the one that stands for it */
    struct virtq_desc *entry; /* of the table */
    uint64_t link;            /* to that entry */
};

VQ_INLINE struct virtq_desc *vq_desc_at(const struct vq_cursor *cursor, bool in_table)
{
    return in_table ? cursor->entry : cursor->at->desc;
}

VQ_INLINE void vq_step(struct vq_cursor *cursor, bool in_table)
{
    if (in_table) {
        cursor->entry++;
        cursor->link += VQ_NEXT_INDEX;
    } else {
        cursor->at = cursor->at->next;
    }
}

/* The descriptor that stands for a table (2.7.5.3): never with NEXT, nor with WRITE. */
static void vq_fill_indirect(struct virtqueue *vq, const struct vq_shadow *head, size_t n_entries)
{
    size_t first = (size_t)head->index * vq->table_entries;

    ring_fill64(&head->desc->addr, vq->tables_addr + first * sizeof(struct virtq_desc));
    ring_fill64(&head->desc->len_flags_next, n_entries * sizeof(struct virtq_desc) | VQ_INDIRECT);
}

VQ_INLINE vio_status vq_end_chain(struct virtqueue *vq, const struct vq_cursor *cursor,
                                  uint64_t readable, uint64_t writable)
{
    struct vq_shadow *head = vq->free_head;

    head->tail = cursor->at;
    head->writable_bytes = (uint32_t)writable;
    if (readable + writable > UINT32_MAX)
        return vq_take_back(vq);
    vq->free_head = cursor->at->next;
    return VIO_OK;
}

/* A buffer's length and direction in one word, with which two rules are one comparison. */
#define VQ_WRITABLE (UINT64_C(1) << 32)

VQ_INLINE uint64_t vq_len_and_direction(const struct vio_buffer *buf)
{
    return buf->len | (uint64_t)buf->device_writable << 32;
}

VQ_INLINE vio_status vq_fill_writable(struct virtqueue *vq, struct vq_cursor cursor,
                                      const struct vio_buffer *buf, const struct vio_buffer *last,
                                      uint64_t readable, bool in_table)
{
    uint64_t writable = 0;

    for (;; buf++) {
        struct virtq_desc *desc = vq_desc_at(&cursor, in_table);
        uint64_t len = vq_len_and_direction(buf);
        if (len <= VQ_WRITABLE)
            return vq_take_back(vq); /* not writable, or of no length */
        len -= VQ_WRITABLE;
        writable += len;
        ring_fill64(&desc->addr, buf->addr);
        if (buf == last) {
            ring_fill64(&desc->len_flags_next, len | VQ_WRITE);
            return vq_end_chain(vq, &cursor, readable, writable);
        }
        vq_step(&cursor, in_table);
        ring_fill64(&desc->len_flags_next,
                    len + (in_table ? cursor.link | VQ_WRITE : cursor.at->link_writable));
    }
}

VQ_INLINE vio_status vq_fill(struct virtqueue *vq, struct vq_cursor cursor,
                             const struct vio_buffer *buf, const struct vio_buffer *last,
                             bool in_table)
{
    uint64_t readable = 0;

    for (; !buf->device_writable; buf++) {
        struct virtq_desc *desc = vq_desc_at(&cursor, in_table);
        uint64_t len = buf->len;
        if (len == 0)
            return vq_take_back(vq);
        readable += len;
        ring_fill64(&desc->addr, buf->addr);
        if (buf == last) {
            ring_fill64(&desc->len_flags_next, len);
            return vq_end_chain(vq, &cursor, readable, 0);
        }
        vq_step(&cursor, in_table);
        ring_fill64(&desc->len_flags_next, len + (in_table ? cursor.link : cursor.at->link));
    }
    return vq_fill_writable(vq, cursor, buf, last, readable, in_table);
}

VQ_ASIDE vio_status vq_add_in_table(struct virtqueue *vq, const struct vio_buffer *bufs,
                                    unsigned n_bufs, void *cookie)
{
    struct vq_shadow *head = vq_take(vq, 1, cookie);
    const struct vq_cursor cursor = {
        .at = head,
        .entry = vq->tables + (size_t)head->index * vq->table_entries,
        .link = VQ_NEXT,
    };

    vq_fill_indirect(vq, head, n_bufs);
    return vq_fill(vq, cursor, bufs, bufs + (n_bufs - 1), true);
}

static vio_status vq_add_in_queue(struct virtqueue *vq, const struct vio_buffer *bufs,
                                  unsigned n_bufs, void *cookie)
{
    struct vq_shadow *head = vq_take(vq, n_bufs, cookie);
    const struct vq_cursor cursor = {.at = head};

    return vq_fill(vq, cursor, bufs, bufs + (n_bufs - 1), false);
}

VQ_ASIDE vio_status vq_refuse(const struct virtqueue *vq, unsigned n_bufs)
{
    if (vq->fault != VIRTQUEUE_FAULT_NONE)
        return VIO_ERR_QUEUE_BROKEN;
    return n_bufs == 0 || n_bufs > vq->size ? VIO_ERR_INVALID : VIO_ERR_QUEUE_FULL;
}

/* One that does not go into the queue itself: into a table, or not at all. */
VQ_ASIDE vio_status vq_add_aside(struct virtqueue *vq, const struct vio_buffer *bufs,
                                 unsigned n_bufs, void *cookie)
{
    bool fits_table = virtqueue_descriptors_needed(vq, n_bufs) < n_bufs && n_bufs <= vq->size;

    return fits_table && vq->n_free ? vq_add_in_table(vq, bufs, n_bufs, cookie)
                                    : vq_refuse(vq, n_bufs);
}

/* Whether the reserve stays free behind it; not where n_bufs is 0. */
VQ_INLINE bool vq_needs_no_table(const struct virtqueue *vq, unsigned n_bufs)
{
    return (uint64_t)(n_bufs - 1) + vq->table_reserve < vq->n_free;
}

vio_status virtqueue_add(struct virtqueue *vq, const struct vio_buffer *bufs, unsigned n_bufs,
                         void *cookie)
{
    if (!vq_needs_no_table(vq, n_bufs) &&
        (virtqueue_descriptors_needed(vq, n_bufs) < n_bufs || n_bufs - 1 >= vq->n_free))
        return vq_add_aside(vq, bufs, n_bufs, cookie);
    return vq_add_in_queue(vq, bufs, n_bufs, cookie);
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

/* Whether one of the chains from @p first on, @p end not among them, has this index in the ring. */
static bool vq_is_among(uint16_t index, uint64_t first, uint64_t end)
{
    return (uint16_t)((uint16_t)end - index - 1) < end - first;
}

/* How many elements an idx of the device is ahead of what was taken; less than 65536 by nature. */
static uint16_t vq_distance(uint16_t idx, uint64_t n_taken)
{
    return (uint16_t)(idx - (uint16_t)n_taken);
}

/* 2.7.10.1: among the chains published since the last decision is the one that the device named. */
static bool vq_device_wants_notification(const struct virtqueue *vq)
{
    if (!vq->event_idx)
        return !(ring_load16(&vq->used->flags) & VIRTQ_USED_F_NO_NOTIFY);
    return vq_is_among(ring_load16(vq_avail_event(vq)), vq->n_notified, vq->n_published);
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

/* Nothing is free and nothing is ready any more: the hot ways need no look at the fault. NULL. */
VQ_ASIDE struct vq_shadow *vq_break(struct virtqueue *vq, enum virtqueue_fault fault,
                                    uint64_t value)
{
    vq->fault = fault;
    vq->fault_value = value;
    vq->n_free = 0;
    vq->n_ready = 0;
    return NULL;
}

/* Back to the free list, as a whole: the chain's own links are still in the shadow. */
VQ_INLINE void *vq_free_chain(struct virtqueue *vq, struct vq_shadow *head)
{
    /* The end of an empty list is that of the chain taken last: nobody follows its link. */
    vq->free_tail->next = head;
    if (vq->n_free == 0)
        vq->free_head = head;
    vq->free_tail = head->tail;
    vq->n_free += head->n_descriptors;
    head->n_descriptors = 0;
    return head->cookie;
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
VQ_ASIDE vio_status vq_look_at_used_idx(struct virtqueue *vq)
{
    if (vq->fault != VIRTQUEUE_FAULT_NONE)
        return VIO_ERR_QUEUE_BROKEN;
    uint16_t used_idx = ring_load16(&vq->used->idx);
    uint16_t n_ready = vq_distance(used_idx, vq->n_used);

    if (n_ready == 0)
        return VIO_EMPTY;
    if (n_ready > vq->n_published - vq->n_used) {
        vq_break(vq, VIRTQUEUE_FAULT_USED_IDX, used_idx);
        return VIO_ERR_QUEUE_BROKEN;
    }
    vq->n_ready = n_ready;
    /* idx before the elements that it announces, and before the data that belongs to them. */
    virtio_rmb(vq->order_platform);
    vq_stay_quiet(vq);
    return VIO_OK;
}

/* The element in turn, compared with what we know of the chain that it names; NULL for a lie. */
VQ_INLINE struct vq_shadow *vq_read_element(struct virtqueue *vq, uint32_t *ret_len)
{
    const struct virtq_used_elem *elem = &vq->used->ring[vq->n_used & vq->mask];
    uint32_t id = ring_load32(&elem->id);
    uint32_t len = ring_load32(&elem->len);

    if (id >= vq->size)
        return vq_break(vq, VIRTQUEUE_FAULT_ID_RANGE, id);
    struct vq_shadow *head = &vq->shadow[id];
    if (head->n_descriptors == 0 || head->number >= vq->n_published)
        return vq_break(vq, VIRTQUEUE_FAULT_ID_NOT_HEAD, id);
    if (len > head->writable_bytes) {
        if (!vq->is_legacy)
            return vq_break(vq, VIRTQUEUE_FAULT_LEN, len);
        len = head->writable_bytes;
    }
    *ret_len = len;
    return head;
}

/* 2.7.9: one element may stand for a batch, of which it names the last chain. */
static bool vq_begin_batch(struct virtqueue *vq)
{
    const struct vq_shadow *last = vq_read_element(vq, &vq->batch_len);

    if (!last)
        return false;
    uint64_t n_batch = last->number - vq->n_used + 1;
    if (n_batch > vq->n_ready) {
        vq_break(vq, VIRTQUEUE_FAULT_ORDER, last->index);
        return false;
    }
    vq->n_batch = (uint16_t)n_batch;
    return true;
}

/* The oldest chain in flight; those that were left out of the used ring are written in full. */
VQ_ASIDE struct vq_shadow *vq_next_in_order(struct virtqueue *vq, uint32_t *ret_len)
{
    if (vq->n_batch == 0 && !vq_begin_batch(vq))
        return NULL;
    struct vq_shadow *head = &vq->shadow[vq->in_order_head];
    if (head->n_descriptors == 0) /* drained since the batch began */
        return vq_break(vq, VIRTQUEUE_FAULT_ID_NOT_HEAD, head->index);
    vq->n_batch--;
    *ret_len = vq->n_batch == 0 ? vq->batch_len : head->writable_bytes;
    vq->in_order_head = (uint16_t)((vq->in_order_head + head->n_descriptors) & vq->mask);
    return head;
}

vio_status virtqueue_pop_used(struct virtqueue *vq, void **ret_cookie, uint32_t *ret_len)
{
    if (vq->n_ready == 0) {
        vio_status status = vq_look_at_used_idx(vq);
        if (status != VIO_OK)
            return status;
    }
    struct vq_shadow *head =
        vq->in_order ? vq_next_in_order(vq, ret_len) : vq_read_element(vq, ret_len);
    if (!head)
        return VIO_ERR_QUEUE_BROKEN;

    vq->n_ready--;
    vq->n_used++;
    *ret_cookie = vq_free_chain(vq, head);
    return VIO_OK;
}

/* Used chains that were not popped; of a lying device any number, but no fewer than announced. */
static uint16_t vq_n_there(const struct virtqueue *vq)
{
    uint16_t n_there = vq_distance(ring_load16(&vq->used->idx), vq->n_used);

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

bool virtqueue_drain(struct virtqueue *vq, void **ret_cookie)
{
    for (; vq->drain_next < vq->size; vq->drain_next++) {
        struct vq_shadow *head = &vq->shadow[vq->drain_next];
        if (head->n_descriptors == 0)
            continue;
        vq->n_drained++;
        *ret_cookie = vq_free_chain(vq, head);
        if (vq->fault != VIRTQUEUE_FAULT_NONE)
            vq->n_free = 0;
        return true;
    }
    return false;
}
