/* Contract and terms: devices/blk_private.h. One request of the device. */

#include "core/mem.h"
#include "devices/blk_private.h"

#define REQUEST_RANGE_BYTES sizeof(struct virtio_blk_discard_write_zeroes)

/* Not a status that the specification knows: a device that does not write it has not succeeded. */
#define REQUEST_STATUS_UNWRITTEN 0xFFu

/* Longer than most requests take, so that these need no look at the status register. */
#define REQUEST_FIRST_ALIVE_US 10000u

/*
 * A request's way is hot: what it runs through is made twice, once for all requests and once for
 * short reads, in which all that depends on the kind of request is a constant.
 */
#define REQUEST_INLINE static inline __attribute__((always_inline))

/* Data of a length of its own is small, and travels in the slot; 0: the caller's buffer. */
static const struct request_kind {
    uint32_t type;
    uint8_t small_bytes;
    bool is_small;
} request_kinds[] = {
    [VIRTIO_BLK_READ] = {VIRTIO_BLK_T_IN, 0, false},
    [VIRTIO_BLK_WRITE] = {VIRTIO_BLK_T_OUT, 0, false},
    [VIRTIO_BLK_FLUSH] = {VIRTIO_BLK_T_FLUSH, 0, true},
    [VIRTIO_BLK_DISCARD] = {VIRTIO_BLK_T_DISCARD, REQUEST_RANGE_BYTES, true},
    [VIRTIO_BLK_WRITE_ZEROES] = {VIRTIO_BLK_T_WRITE_ZEROES, REQUEST_RANGE_BYTES, true},
    [VIRTIO_BLK_SECURE_ERASE] = {VIRTIO_BLK_T_SECURE_ERASE, REQUEST_RANGE_BYTES, true},
    [VIRTIO_BLK_GET_ID] = {VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_ID_BYTES, true},
};

void blk_request_make_slots(struct virtio_blk *blk)
{
    struct blk_slot_memory *memory = blk->slot_memory.memory;

    /* Backwards, so that they are used in the order of their memory. */
    for (unsigned i = BLK_DEPTH_MAX; i-- > 0;) {
        blk->slots[i] = (struct blk_slot){
            .memory = &memory[i],
            .chain = {{.len = sizeof(struct virtio_blk_req_header)},
                      {.len = 0},
                      {.len = 1, .device_writable = true}},
            .next = blk->free_slots,
        };
        blk->free_slots = &blk->slots[i];
    }
}

void blk_request_place_slots(struct virtio_blk *blk)
{
    dma_addr addr = vio_device_dma_addr(&blk->device, &blk->slot_memory);

    for (unsigned i = 0; i < BLK_DEPTH_MAX; i++, addr += sizeof(struct blk_slot_memory)) {
        struct vio_buffer *chain = blk->slots[i].chain;
        chain[0].addr = addr;
        chain[BLK_OVERHEAD_BUFFERS].addr = addr + offsetof(struct blk_slot_memory, status);
    }
}

/* --- In flight, in the order of sending ------------------------------------------------------- */

static void request_append(struct virtio_blk *blk, struct blk_slot *slot)
{
    slot->next = NULL;
    slot->previous = blk->newest;
    if (blk->newest) {
        blk->newest->next = slot;
    } else {
        blk->oldest = slot;
        blk->oldest_since_us = blk->waited_us;
        blk->next_alive_us = blk->waited_us + REQUEST_FIRST_ALIVE_US;
        blk->is_watched = false;
    }
    blk->newest = slot;
    blk->n_in_flight++;
}

static void request_remove(struct virtio_blk *blk, struct blk_slot *slot)
{
    if (slot->previous) {
        slot->previous->next = slot->next;
    } else {
        blk->oldest = slot->next;
        blk->oldest_since_us = blk->waited_us;
    }
    if (slot->next)
        slot->next->previous = slot->previous;
    else
        blk->newest = slot->previous;
    blk->n_in_flight--;
}

/* --- Sending ---------------------------------------------------------------------------------- */

static bool request_is_range(enum virtio_blk_operation operation)
{
    return request_kinds[operation].small_bytes == REQUEST_RANGE_BYTES;
}

static uint32_t request_data_bytes(enum virtio_blk_operation operation, uint32_t bytes)
{
    const struct request_kind *kind = &request_kinds[operation];

    return kind->is_small ? kind->small_bytes : bytes;
}

/* What is too small to be mapped travels in the slot; the rest is the caller's own memory. */
REQUEST_INLINE vio_status request_place_data(struct virtio_blk *blk, struct blk_slot *slot,
                                             void *buffer, enum virtio_blk_operation operation,
                                             bool is_short)
{
    slot->device_writes = !blk_is_write(operation);
    slot->is_mapped = false;
    if (request_kinds[operation].is_small) {
        slot->data_addr = slot->chain[0].addr + offsetof(struct blk_slot_memory, data);
        return VIO_OK;
    }
    if (is_short || !blk->maps_buffers) {
        slot->data_addr = (uintptr_t)buffer;
        return VIO_OK;
    }
    vio_status status = blk->platform.ops->map(
        blk->platform.context, buffer, slot->data_bytes,
        slot->device_writes ? VIO_DEVICE_WRITABLE : VIO_DEVICE_READABLE, &slot->mapping);
    if (status == VIO_OK) {
        slot->is_mapped = true;
        slot->data_addr = slot->mapping.addr;
    }
    return status;
}

/* 5.2.6: one segment; unmap is for WRITE_ZEROES only. */
static void request_write_range(const struct blk_slot *slot)
{
    struct virtio_blk_discard_write_zeroes *range = &slot->memory->data.range;
    bool unmap = slot->transfer->operation == VIRTIO_BLK_WRITE_ZEROES && slot->transfer->unmap;

    ring_store64(&range->sector, slot->sector);
    ring_store32(&range->num_sectors, slot->bytes / VIRTIO_BLK_SECTOR_BYTES);
    ring_store32(&range->flags, unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0);
}

/* A device may write no more than its string, and what the slot held before is nobody's name. */
static void request_clear_id(const struct blk_slot *slot)
{
    for (unsigned i = 0; i < VIRTIO_BLK_ID_BYTES; i++)
        ring_store8(&slot->memory->data.id[i], 0);
}

REQUEST_INLINE void request_write_header(const struct blk_slot *slot,
                                         enum virtio_blk_operation operation)
{
    struct blk_slot_memory *memory = slot->memory;
    /* 0 where it is not used; a range says itself where it lies. */
    uint64_t sector = request_is_range(operation) ? 0 : slot->sector;

    if (request_is_range(operation))
        request_write_range(slot);
    else if (operation == VIRTIO_BLK_GET_ID)
        request_clear_id(slot);
    ring_store32(&memory->header.type, request_kinds[operation].type);
    ring_store32(&memory->header.reserved, 0);
    ring_store64(&memory->header.sector, sector);
    ring_store8(&memory->status, REQUEST_STATUS_UNWRITTEN);
}

/* Not header | data | status: no data, or data that is cut where the device's segments end (2.7.4.2). */
static vio_status request_add_in_pieces(struct virtio_blk *blk, struct blk_slot *slot)
{
    struct vio_buffer bufs[BLK_CHAIN_BUFFERS_MAX];
    unsigned n = 0;

    bufs[n++] = slot->chain[0];
    for (uint32_t done = 0; done != slot->data_bytes;) {
        uint32_t left = slot->data_bytes - done;
        uint32_t len = left < blk->segment_bytes_max ? left : blk->segment_bytes_max;
        bufs[n++] = (struct vio_buffer){
            .addr = slot->data_addr + done, .len = len, .device_writable = slot->device_writes};
        done += len;
    }
    bufs[n++] = slot->chain[BLK_OVERHEAD_BUFFERS];
    return virtqueue_add(&blk->queues[slot->queue], bufs, n, slot);
}

REQUEST_INLINE vio_status request_add_chain(struct virtio_blk *blk, struct blk_slot *slot,
                                            bool is_short)
{
    /* Also where there is no data. */
    if (!is_short && slot->data_bytes - 1 >= blk->segment_bytes_max)
        return request_add_in_pieces(blk, slot);
    slot->chain[1] = (struct vio_buffer){
        .addr = slot->data_addr, .len = slot->data_bytes, .device_writable = slot->device_writes};
    return virtqueue_add(&blk->queues[slot->queue], slot->chain, BLK_OVERHEAD_BUFFERS + 1, slot);
}

REQUEST_INLINE vio_status request_add(struct virtio_blk *blk, struct blk_slot *slot,
                                      enum virtio_blk_operation operation, bool is_short)
{
    request_write_header(slot, operation);
    vio_status status = request_add_chain(blk, slot, is_short);
    if (status != VIO_OK)
        return status;
    blk->counters.requests++;
    blk->has_unpublished = true;
    if (operation == VIRTIO_BLK_READ)
        blk->counters.bytes_read += slot->bytes;
    else if (operation == VIRTIO_BLK_WRITE)
        blk->counters.bytes_written += slot->bytes;
    return VIO_OK;
}

unsigned blk_request_n_buffers(const struct virtio_blk *blk, uint32_t data_bytes)
{
    if (data_bytes <= blk->segment_bytes_max)
        return BLK_OVERHEAD_BUFFERS + (data_bytes != 0);
    return BLK_OVERHEAD_BUFFERS + data_bytes / blk->segment_bytes_max +
           (data_bytes % blk->segment_bytes_max != 0);
}

/* The queues in turn; one that is full is passed over. */
static bool request_choose_queue(struct virtio_blk *blk, uint32_t data_bytes, uint8_t *ret_queue)
{
    unsigned n_buffers = blk_request_n_buffers(blk, data_bytes);

    for (unsigned i = 0; i < blk->info.n_queues; i++) {
        uint8_t queue = blk->next_queue;
        const struct virtqueue *vq = &blk->queues[queue];
        if (++blk->next_queue >= blk->info.n_queues)
            blk->next_queue = 0;
        if (virtqueue_descriptors_needed(vq, n_buffers) <= virtqueue_free_descriptors(vq)) {
            *ret_queue = queue;
            return true;
        }
    }
    return false;
}

REQUEST_INLINE vio_status request_send(struct virtio_blk *blk, struct virtio_blk_transfer *transfer,
                                       uint32_t bytes, enum virtio_blk_operation operation,
                                       bool is_short)
{
    struct blk_slot *slot = blk->free_slots;
    uint32_t data_bytes = request_data_bytes(operation, bytes);
    bool must_choose = (!is_short && blk->maps_buffers) || blk->info.n_queues != 1;
    uint8_t queue = 0;

    /* Before anything is mapped, which may mean copied; else an only queue says itself if it is full. */
    if (!slot || (must_choose && !request_choose_queue(blk, data_bytes, &queue)))
        return VIO_ERR_QUEUE_FULL;
    slot->transfer = transfer;
    slot->sector = transfer->next_sector;
    slot->bytes = bytes;
    slot->data_bytes = data_bytes;
    slot->queue = queue;
    slot->was_retried = false;
    vio_status status = request_place_data(blk, slot, transfer->next_buffer, operation, is_short);
    if (status != VIO_OK)
        return status;

    status = request_add(blk, slot, operation, is_short);
    if (status != VIO_OK) {
        if (slot->is_mapped) /* nothing was transferred that could get lost */
            (void)blk->platform.ops->unmap(blk->platform.context, &slot->mapping);
        return status;
    }
    blk->free_slots = slot->next;
    request_append(blk, slot);
    transfer->n_in_flight++;
    return VIO_OK;
}

vio_status blk_request_send(struct virtio_blk *blk, struct virtio_blk_transfer *transfer,
                            uint32_t bytes)
{
    return request_send(blk, transfer, bytes, transfer->operation, false);
}

vio_status blk_request_send_short_read(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    return request_send(blk, transfer, (uint32_t)transfer->bytes_left, VIRTIO_BLK_READ, true);
}

/* The device may have come back as another one: smaller, with smaller limits, behind an IOMMU. */
static bool request_still_fits(const struct virtio_blk *blk, const struct blk_slot *slot)
{
    uint64_t capacity = blk->info.capacity_sectors;

    return blk_request_n_buffers(blk, slot->data_bytes) <=
               BLK_OVERHEAD_BUFFERS + blk->segments_max &&
           slot->is_mapped == blk->maps_buffers && slot->sector <= capacity &&
           slot->bytes / VIRTIO_BLK_SECTOR_BYTES <= capacity - slot->sector;
}

vio_status blk_request_send_again(struct virtio_blk *blk, struct blk_slot *slot)
{
    uint8_t queue;

    if (!request_still_fits(blk, slot))
        return VIO_ERR_UNSUPPORTED;
    if (!request_choose_queue(blk, slot->data_bytes, &queue))
        return VIO_ERR_QUEUE_FULL;
    slot->queue = queue;
    slot->was_retried = true;
    return request_add(blk, slot, slot->transfer->operation, false);
}

/* --- The answer ------------------------------------------------------------------------------- */

static vio_status request_refuse(struct virtio_blk *blk, const struct blk_slot *slot,
                                 vio_status status, const char *what, uint64_t value)
{
    return slot->transfer->is_guess ? status : blk_refuse(blk, status, what, value);
}

static void request_copy_id(const struct blk_slot *slot)
{
    uint8_t *id = slot->transfer->buffer;

    for (unsigned i = 0; i < VIRTIO_BLK_ID_BYTES; i++)
        id[i] = ring_load8(&slot->memory->data.id[i]);
}

/*
 * 5.2.6: what the status byte means, and whether all data really came (2.7.8.3). Legacy devices do not
 * know how much that was (5.2.6.3).
 */
static vio_status request_judge(struct virtio_blk *blk, const struct blk_slot *slot,
                                uint32_t used_len)
{
    uint8_t answer = ring_load8(&slot->memory->status);
    uint64_t writable_bytes = 1 + (uint64_t)(slot->device_writes ? slot->data_bytes : 0);

    if (answer == VIRTIO_BLK_S_OK && (used_len >= writable_bytes || blk->transport.is_legacy)) {
        if (slot->transfer->operation == VIRTIO_BLK_GET_ID)
            request_copy_id(slot);
        return VIO_OK;
    }
    switch (answer) {
    case VIRTIO_BLK_S_OK:
        return request_refuse(blk, slot, VIO_ERR_DEVICE,
                              "the device claims success but wrote too few bytes:", used_len);
    case VIRTIO_BLK_S_IOERR:
        return request_refuse(blk, slot, VIO_ERR_IO, "the device reports an I/O error, status",
                              answer);
    case VIRTIO_BLK_S_UNSUPP:
        return request_refuse(blk, slot, VIO_ERR_UNSUPPORTED,
                              "the device does not support the request, status", answer);
    default:
        return request_refuse(blk, slot, VIO_ERR_DEVICE,
                              "the device gave an unknown status:", answer);
    }
}

static vio_status request_unmap(struct virtio_blk *blk, struct blk_slot *slot)
{
    vio_status status = blk->platform.ops->unmap(blk->platform.context, &slot->mapping);

    return status == VIO_OK
               ? status
               : request_refuse(blk, slot, status, "the mapping could not be undone, of bytes",
                                slot->data_bytes);
}

REQUEST_INLINE vio_status request_end(struct virtio_blk *blk, struct blk_slot *slot,
                                      vio_status status)
{
    vio_status unmapped = slot->is_mapped ? request_unmap(blk, slot) : VIO_OK;

    request_remove(blk, slot);
    slot->next = blk->free_slots;
    blk->free_slots = slot;
    return status == VIO_OK ? unmapped : status;
}

vio_status blk_request_end(struct virtio_blk *blk, struct blk_slot *slot, vio_status status)
{
    return request_end(blk, slot, status);
}

vio_status blk_request_answered(struct virtio_blk *blk, struct blk_slot *slot, uint32_t used_len)
{
    return request_end(blk, slot, request_judge(blk, slot, used_len));
}
