/* Contract and terms: devices/blk.h. */

#include "devices/blk.h"

#include "core/mem.h"
#include "devices/blk_private.h"
#include "devices/blk_spec.h"

/* A status register read is a trip to the device, so not at every look at the used ring. */
#define BLK_ALIVE_CHECK_US 100000u

/* Not a status that the specification knows: a device that does not write it has not succeeded. */
#define BLK_STATUS_UNWRITTEN 0xFFu

/* What the device shares with us per request: two of them fill a cache line. */
struct blk_slot_memory {
    struct virtio_blk_req_header header;
    uint8_t status;
    uint8_t padding[15];
};

_Static_assert(sizeof(struct blk_slot_memory) == 32, "slots are laid out as an array");

/* A caller's transfer, cut into requests as slots become free. */
struct blk_transfer {
    const char *verb;
    uint32_t type;
    uint64_t sector;
    uint8_t *buffer;
    size_t bytes_left;
    vio_status status; /* the first failure; no request is added after it */
    uint64_t first_sector;
    size_t all_bytes;
};

static void blk_make_slots(struct virtio_blk *blk)
{
    struct blk_slot_memory *memory = blk->slot_memory.memory;

    for (unsigned i = 0; i < BLK_SLOTS_MAX; i++) {
        blk->slots[i] = (struct blk_slot){
            .memory = &memory[i],
            .memory_addr = blk->slot_memory.addr + i * sizeof(*memory),
            .next_free = blk->free_slots,
        };
        blk->free_slots = &blk->slots[i];
    }
}

/* --- Letting go ------------------------------------------------------------------------------ */

/* The buffer of a request that is over, one way or the other, is the caller's again. */
static vio_status blk_release_slot(struct virtio_blk *blk, struct blk_slot *slot)
{
    vio_status status = VIO_OK;

    if (slot->data_bytes)
        status = blk->platform.ops->unmap(blk->platform.context, &slot->mapping);
    slot->data_bytes = 0;
    slot->next_free = blk->free_slots;
    blk->free_slots = slot;
    return status;
}

/* After this the device reaches no memory of ours; whether it confirmed that is recorded. */
static void blk_stop_device(struct virtio_blk *blk)
{
    struct vio_failure first = blk->device.failure;

    /* A device that reads as gone may be gone, or may lie: it has confirmed nothing. */
    if (vio_device_reset(&blk->device) != VIO_OK) {
        blk->transport.ops->isolate(blk->transport.context);
        blk->quarantined = true;
    }
    if (first.what)
        blk->device.failure = first;
}

/* The device has let us down: stop it, take all requests back, and be of no use from now on. */
static void blk_give_up(struct virtio_blk *blk, vio_status reason)
{
    void *cookie;

    blk->dead = reason;
    blk_stop_device(blk);
    while (virtqueue_drain(&blk->vq, &cookie))
        (void)blk_release_slot(blk, cookie); /* the request has failed already */
}

static void blk_free_memory(struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    platform->ops->free(platform->context, blk->shadow, virtqueue_shadow_bytes(BLK_QUEUE_SIZE));
    if (blk->quarantined)
        return;
    if (blk->slot_memory.memory)
        platform->ops->dma_free(platform->context, &blk->slot_memory);
    if (blk->indirect.memory)
        platform->ops->dma_free(platform->context, &blk->indirect);
    if (blk->rings.memory)
        platform->ops->dma_free(platform->context, &blk->rings);
}

static vio_status blk_allocate_memory(struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    vio_status status = platform->ops->dma_alloc(platform->context,
                                                 virtqueue_ring_bytes(BLK_QUEUE_SIZE), &blk->rings);
    if (status != VIO_OK)
        return status;
    status = platform->ops->dma_alloc(
        platform->context, virtqueue_indirect_bytes(BLK_QUEUE_SIZE, BLK_CHAIN_BUFFERS_MAX),
        &blk->indirect);
    if (status != VIO_OK)
        return status;
    blk->shadow = platform->ops->alloc(platform->context, virtqueue_shadow_bytes(BLK_QUEUE_SIZE));
    if (!blk->shadow)
        return VIO_ERR_NO_MEMORY;
    return platform->ops->dma_alloc(
        platform->context, BLK_SLOTS_MAX * sizeof(struct blk_slot_memory), &blk->slot_memory);
}

vio_status virtio_blk_open(struct virtio_blk *blk, const struct vio_transport *transport,
                           const struct vio_platform *platform, uint64_t declined_features)
{
    *blk = (struct virtio_blk){
        .transport = *transport,
        .platform = *platform,
        .declined_features = declined_features,
    };
    vio_status status = vio_device_open(&blk->device, &blk->transport, &blk->platform);
    if (status != VIO_OK)
        return status;

    status = blk_allocate_memory(blk);
    if (status != VIO_OK) {
        blk->device.failure.what = "no memory for its queue";
        goto err_open;
    }
    status = blk_setup_bring_up(blk);
    if (status != VIO_OK)
        goto err_open;
    blk_make_slots(blk);
    return VIO_OK;

err_open:
    blk_stop_device(blk);
    blk_free_memory(blk);
    return status;
}

void virtio_blk_close(struct virtio_blk *blk)
{
    blk_give_up(blk, VIO_ERR_GONE);
    blk_free_memory(blk);
}

void virtio_blk_shutdown(struct virtio_blk *blk)
{
    blk->dead = VIO_ERR_GONE;
    blk_stop_device(blk);
}

/* --- Requests -------------------------------------------------------------------------------- */

static uint32_t blk_n_descriptors(const struct virtio_blk *blk, uint32_t data_bytes)
{
    uint32_t whole = data_bytes / blk->segment_bytes_max;
    uint32_t n_bufs = BLK_OVERHEAD_BUFFERS + whole + (data_bytes % blk->segment_bytes_max != 0);

    return virtqueue_descriptors_needed(&blk->vq, n_bufs);
}

/* header | data | status, the data cut where the device's segments end (2.7.4.2). */
static unsigned blk_make_chain(const struct virtio_blk *blk, const struct blk_slot *slot,
                               struct vio_buffer *bufs)
{
    unsigned n = 0;

    bufs[n++] =
        (struct vio_buffer){.addr = slot->memory_addr, .len = sizeof(struct virtio_blk_req_header)};
    for (uint32_t done = 0; done < slot->data_bytes;) {
        uint32_t left = slot->data_bytes - done;
        uint32_t len = left < blk->segment_bytes_max ? left : blk->segment_bytes_max;
        bufs[n++] = (struct vio_buffer){
            .addr = slot->mapping.addr + done, .len = len, .device_writable = slot->device_writes};
        done += len;
    }
    bufs[n++] =
        (struct vio_buffer){.addr = slot->memory_addr + offsetof(struct blk_slot_memory, status),
                            .len = 1,
                            .device_writable = true};
    return n;
}

static vio_status blk_map_data(struct virtio_blk *blk, struct blk_slot *slot,
                               const struct blk_transfer *transfer, uint32_t bytes)
{
    slot->device_writes = transfer->type == VIRTIO_BLK_T_IN;
    if (bytes == 0)
        return VIO_OK;
    vio_status status = blk->platform.ops->map(
        blk->platform.context, transfer->buffer, bytes,
        slot->device_writes ? VIO_DEVICE_WRITABLE : VIO_DEVICE_READABLE, &slot->mapping);
    if (status == VIO_OK)
        slot->data_bytes = bytes;
    return status;
}

static void blk_write_header(struct blk_slot *slot, const struct blk_transfer *transfer)
{
    struct virtio_blk_req_header *header = &slot->memory->header;

    ring_store32(&header->type, transfer->type);
    ring_store32(&header->reserved, 0);
    ring_store64(&header->sector, transfer->sector);
    ring_store8(&slot->memory->status, BLK_STATUS_UNWRITTEN);
    slot->sector = transfer->sector;
}

/* One request of the transfer into the queue; VIO_ERR_QUEUE_FULL and VIO_ERR_NO_MEMORY may pass. */
static vio_status blk_add_request(struct virtio_blk *blk, const struct blk_transfer *transfer,
                                  uint32_t bytes)
{
    struct vio_buffer bufs[BLK_CHAIN_BUFFERS_MAX];
    struct blk_slot *slot = blk->free_slots;

    /* Before anything is mapped, which may mean copied. */
    if (!slot || blk_n_descriptors(blk, bytes) > virtqueue_free_descriptors(&blk->vq))
        return VIO_ERR_QUEUE_FULL;
    vio_status status = blk_map_data(blk, slot, transfer, bytes);
    if (status != VIO_OK)
        return status;
    blk->free_slots = slot->next_free;
    blk_write_header(slot, transfer);

    status = virtqueue_add(&blk->vq, bufs, blk_make_chain(blk, slot, bufs), slot);
    if (status != VIO_OK) {
        (void)blk_release_slot(blk, slot); /* nothing was transferred that could get lost */
        return status;
    }
    blk->counters.requests++;
    return VIO_OK;
}

static void blk_fail_transfer(struct virtio_blk *blk, struct blk_transfer *transfer,
                              vio_status status, uint64_t sector, size_t bytes)
{
    transfer->status = status;
    blk->failed = (struct virtio_blk_failed_request){
        .verb = transfer->verb, .sector = sector, .bytes = bytes};
}

/*
 * The next request of the transfer, as long as may be. With others in flight a lack of anything
 * passes by itself; without, a shorter request may still find the memory to be mapped.
 */
static vio_status blk_add_next(struct virtio_blk *blk, const struct blk_transfer *transfer,
                               uint32_t *ret_bytes)
{
    uint32_t block = blk->info.block_bytes;
    uint32_t bytes = transfer->bytes_left < blk->request_bytes_max ? (uint32_t)transfer->bytes_left
                                                                   : blk->request_bytes_max;

    for (;;) {
        vio_status status = blk_add_request(blk, transfer, bytes);
        *ret_bytes = bytes;
        if (status != VIO_ERR_NO_MEMORY || bytes <= block || virtqueue_in_flight(&blk->vq))
            return status;
        bytes = bytes / 2 - bytes / 2 % block;
    }
}

/* As many requests as fit, then one publication and at most one notification for all of them. */
static void blk_submit(struct virtio_blk *blk, struct blk_transfer *transfer)
{
    while (transfer->bytes_left && transfer->status == VIO_OK) {
        uint32_t bytes;
        vio_status status = blk_add_next(blk, transfer, &bytes);
        if (status != VIO_OK) {
            if (virtqueue_in_flight(&blk->vq) == 0) {
                (void)blk_refuse(blk, status, "no memory to map a request of bytes", bytes);
                blk_fail_transfer(blk, transfer, status, transfer->sector, bytes);
            }
            break;
        }
        transfer->sector += bytes / VIRTIO_BLK_SECTOR_BYTES;
        transfer->buffer += bytes;
        transfer->bytes_left -= bytes;
    }
    virtqueue_publish(&blk->vq);
    (void)virtqueue_notify(&blk->vq); /* suppressed: the device looks by itself */
}

/* The next completion, or why there will be none. */
static vio_status blk_wait_used(struct virtio_blk *blk, void **ret_cookie, uint32_t *ret_len)
{
    const struct vio_platform *platform = &blk->platform;
    uint64_t last_us = platform->ops->now_us(platform->context);
    uint64_t next_check_us = BLK_ALIVE_CHECK_US;
    uint64_t waited_us = 0;

    for (;;) {
        vio_status status = virtqueue_pop_used(&blk->vq, ret_cookie, ret_len);
        if (status != VIO_EMPTY)
            return status;
        if (waited_us >= next_check_us) {
            status = vio_device_check_alive(&blk->device);
            if (status != VIO_OK)
                return status;
            next_check_us = waited_us + BLK_ALIVE_CHECK_US;
        }
        if (waited_us >= BLK_REQUEST_LIMIT_US)
            return blk_refuse(blk, VIO_ERR_TIMEOUT, "no answer, after microseconds", waited_us);
        platform->ops->wait(platform->context, BLK_ALIVE_CHECK_US);

        /* A long step is the machine's pause, not the device's: it counts no more than a wait. */
        uint64_t now_us = platform->ops->now_us(platform->context);
        uint64_t step_us = now_us - last_us;
        waited_us += step_us < BLK_ALIVE_CHECK_US ? step_us : BLK_ALIVE_CHECK_US;
        last_us = now_us;
    }
}

/* 5.2.6: what the status byte means, and whether all data really came (2.7.8.3). */
static vio_status blk_judge_answer(struct virtio_blk *blk, const struct blk_slot *slot,
                                   uint32_t used_len)
{
    uint8_t answer = ring_load8(&slot->memory->status);
    uint64_t writable_bytes = 1 + (uint64_t)(slot->device_writes ? slot->data_bytes : 0);

    switch (answer) {
    case VIRTIO_BLK_S_OK:
        if (used_len < writable_bytes)
            return blk_refuse(blk, VIO_ERR_DEVICE,
                              "the device claims success but wrote too few bytes:", used_len);
        return VIO_OK;
    case VIRTIO_BLK_S_IOERR:
        return blk_refuse(blk, VIO_ERR_IO, "the device reports an I/O error, status", answer);
    case VIRTIO_BLK_S_UNSUPP:
        return blk_refuse(blk, VIO_ERR_UNSUPPORTED,
                          "the device does not support the request, status", answer);
    default:
        return blk_refuse(blk, VIO_ERR_DEVICE, "the device gave an unknown status:", answer);
    }
}

/* No completion came: all that is in flight has failed together, so the whole transfer is named. */
static void blk_abort_transfer(struct virtio_blk *blk, struct blk_transfer *transfer,
                               vio_status status)
{
    if (status == VIO_ERR_QUEUE_BROKEN) {
        uint64_t value;
        const char *text = virtqueue_fault_text(&blk->vq, &value);
        (void)blk_refuse(blk, status, text, value);
    }
    blk_fail_transfer(blk, transfer, status, transfer->first_sector, transfer->all_bytes);
    blk_give_up(blk, status);
}

/* One completion: judge it, give its buffer back, remember the first failure. */
static void blk_finish_one(struct virtio_blk *blk, struct blk_transfer *transfer)
{
    void *cookie;
    uint32_t used_len;

    vio_status status = blk_wait_used(blk, &cookie, &used_len);
    if (status != VIO_OK) {
        blk_abort_transfer(blk, transfer, status);
        return;
    }

    struct blk_slot *slot = cookie;
    uint32_t bytes = slot->data_bytes;
    status = blk_judge_answer(blk, slot, used_len);
    vio_status unmapped = blk_release_slot(blk, slot);
    if (status == VIO_OK && unmapped != VIO_OK)
        status = blk_refuse(blk, unmapped, "the mapping could not be undone, of bytes", bytes);
    if (status != VIO_OK) {
        if (transfer->status == VIO_OK)
            blk_fail_transfer(blk, transfer, status, slot->sector, bytes);
        return;
    }
    if (transfer->type == VIRTIO_BLK_T_IN)
        blk->counters.bytes_read += bytes;
    else
        blk->counters.bytes_written += bytes;
}

static vio_status blk_run(struct virtio_blk *blk, struct blk_transfer *transfer)
{
    transfer->first_sector = transfer->sector;
    transfer->all_bytes = transfer->bytes_left;
    do {
        blk_submit(blk, transfer);
        /* All that has come, so that what is submitted next is a batch again. */
        while (virtqueue_in_flight(&blk->vq)) {
            blk_finish_one(blk, transfer);
            if (!virtqueue_has_used(&blk->vq))
                break;
        }
    } while (virtqueue_in_flight(&blk->vq) || (transfer->bytes_left && transfer->status == VIO_OK));
    return transfer->status;
}

static vio_status blk_check_range(const struct virtio_blk *blk, uint64_t sector, size_t bytes)
{
    uint32_t block_sectors = blk->info.block_bytes / VIRTIO_BLK_SECTOR_BYTES;

    if (blk->dead != VIO_OK)
        return blk->dead;
    if (sector % block_sectors || bytes % blk->info.block_bytes)
        return VIO_ERR_INVALID;
    /* Written so that nothing can wrap. */
    if (sector > blk->info.capacity_sectors ||
        bytes / VIRTIO_BLK_SECTOR_BYTES > blk->info.capacity_sectors - sector)
        return VIO_ERR_RANGE;
    return VIO_OK;
}

vio_status virtio_blk_read(struct virtio_blk *blk, uint64_t sector, void *buffer, size_t bytes)
{
    struct blk_transfer transfer = {
        .verb = "read",
        .type = VIRTIO_BLK_T_IN,
        .sector = sector,
        .buffer = buffer,
        .bytes_left = bytes,
    };

    vio_status status = blk_check_range(blk, sector, bytes);
    if (status != VIO_OK || bytes == 0)
        return status;
    blk->device.failure = (struct vio_failure){0};
    return blk_run(blk, &transfer);
}

vio_status virtio_blk_write(struct virtio_blk *blk, uint64_t sector, const void *buffer,
                            size_t bytes)
{
    struct blk_transfer transfer = {
        .verb = "write",
        .type = VIRTIO_BLK_T_OUT,
        .sector = sector,
        .buffer = (uint8_t *)(uintptr_t)buffer, /* mapped device-readable: never written */
        .bytes_left = bytes,
    };

    vio_status status = blk_check_range(blk, sector, bytes);
    if (status != VIO_OK)
        return status;
    if (blk->info.read_only)
        return VIO_ERR_READ_ONLY;
    if (bytes == 0)
        return VIO_OK;
    blk->device.failure = (struct vio_failure){0};
    return blk_run(blk, &transfer);
}

vio_status virtio_blk_flush(struct virtio_blk *blk)
{
    struct blk_transfer transfer = {.verb = "flush", .type = VIRTIO_BLK_T_FLUSH};

    if (blk->dead != VIO_OK)
        return blk->dead;
    if (!blk->info.has_flush || blk->info.read_only)
        return VIO_OK;
    blk->device.failure = (struct vio_failure){0};
    vio_status status = blk_add_request(blk, &transfer, 0);
    return status == VIO_OK ? blk_run(blk, &transfer) : status;
}
