/* Contract and terms: devices/blk.h, devices/blk_private.h. From transfers to requests, and back. */

#include "devices/blk_private.h"

static const char *const engine_verbs[] = {
    [VIRTIO_BLK_READ] = "read",
    [VIRTIO_BLK_WRITE] = "write",
    [VIRTIO_BLK_FLUSH] = "flush",
    [VIRTIO_BLK_DISCARD] = "discard",
    [VIRTIO_BLK_WRITE_ZEROES] = "write of zeroes",
    [VIRTIO_BLK_SECURE_ERASE] = "secure erase",
    [VIRTIO_BLK_GET_ID] = "reading of the serial number",
};

/* --- Lists ------------------------------------------------------------------------------------ */

static void engine_append(struct blk_transfer_list *list, struct virtio_blk_transfer *transfer)
{
    transfer->next = NULL;
    if (list->first)
        *list->end = transfer;
    else
        list->first = transfer;
    list->end = &transfer->next;
}

static struct virtio_blk_transfer *engine_take_first(struct blk_transfer_list *list)
{
    struct virtio_blk_transfer *transfer = list->first;

    if (transfer)
        list->first = transfer->next;
    return transfer;
}

/* --- The end of a transfer -------------------------------------------------------------------- */

static void engine_finish(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    if (transfer->operation != VIRTIO_BLK_READ)
        blk->n_changing--;
    transfer->done = true;
    if (transfer->is_queued)
        engine_append(&blk->finished, transfer);
}

static void engine_name_failed(struct virtio_blk *blk, const struct virtio_blk_transfer *transfer,
                               uint64_t sector, uint64_t bytes)
{
    if (!transfer->is_guess)
        blk->failed = (struct virtio_blk_failed_request){
            .verb = engine_verbs[transfer->operation], .sector = sector, .bytes = bytes};
}

void blk_engine_note_failure(struct virtio_blk *blk, struct virtio_blk_transfer *transfer,
                             vio_status status, uint64_t sector, uint64_t bytes)
{
    if (transfer->status != VIO_OK)
        return;
    transfer->status = status;
    engine_name_failed(blk, transfer, sector, bytes);
}

static bool engine_is_all_sent(const struct virtio_blk_transfer *transfer)
{
    return transfer->status != VIO_OK || (transfer->bytes_left == 0 && !transfer->is_unsent);
}

/* The slot is free already, but keeps its fields until it is used again. */
static void engine_end_request(struct virtio_blk *blk, const struct blk_slot *slot,
                               vio_status status)
{
    struct virtio_blk_transfer *transfer = slot->transfer;

    if (status != VIO_OK)
        blk_engine_note_failure(blk, transfer, status, slot->sector, slot->bytes);
    /* What was to be made durable is not, as far as anybody knows. */
    if (status != VIO_OK && transfer->operation == VIRTIO_BLK_FLUSH)
        blk->has_unflushed = true;
    transfer->n_in_flight--;
    /* One that waits for room is finished by who sends the rest. */
    if (transfer->n_in_flight == 0 && blk->waiting.first != transfer)
        engine_finish(blk, transfer);
}

void blk_engine_fail_request(struct virtio_blk *blk, struct blk_slot *slot, vio_status reason)
{
    engine_end_request(blk, slot, blk_request_end(blk, slot, reason));
}

void blk_engine_fail_waiting(struct virtio_blk *blk, vio_status status)
{
    struct virtio_blk_transfer *transfer;

    while ((transfer = engine_take_first(&blk->waiting))) {
        blk_engine_note_failure(blk, transfer, status, transfer->sector, transfer->bytes);
        if (transfer->n_in_flight == 0)
            engine_finish(blk, transfer);
    }
}

/* --- Sending ---------------------------------------------------------------------------------- */

static const struct virtio_blk_range_limit *
engine_range_limit(const struct virtio_blk *blk, const struct virtio_blk_transfer *transfer)
{
    switch (transfer->operation) {
    case VIRTIO_BLK_DISCARD:
        return &blk->info.discard;
    case VIRTIO_BLK_WRITE_ZEROES:
        return &blk->info.write_zeroes;
    case VIRTIO_BLK_SECURE_ERASE:
        return &blk->info.secure_erase;
    default:
        return NULL;
    }
}

/* As long as may be; what is cut ends where the device has its boundaries. */
static uint32_t engine_range_bytes(const struct virtio_blk *blk,
                                   const struct virtio_blk_range_limit *limit,
                                   const struct virtio_blk_transfer *transfer)
{
    uint32_t block = blk->info.block_bytes;
    uint64_t sectors = transfer->bytes_left / VIRTIO_BLK_SECTOR_BYTES;
    /* A request's length has 32 bits here, whatever the device would take. */
    uint64_t most = UINT32_MAX / block * (block / VIRTIO_BLK_SECTOR_BYTES);

    if (most > limit->sectors_max)
        most = limit->sectors_max;
    if (sectors <= most)
        return (uint32_t)(sectors * VIRTIO_BLK_SECTOR_BYTES);
    uint64_t over = (transfer->next_sector + most) % limit->alignment_sectors;
    return (uint32_t)((over < most ? most - over : most) * VIRTIO_BLK_SECTOR_BYTES);
}

static uint32_t engine_next_bytes(const struct virtio_blk *blk,
                                  const struct virtio_blk_transfer *transfer)
{
    const struct virtio_blk_range_limit *limit = engine_range_limit(blk, transfer);

    if (limit)
        return engine_range_bytes(blk, limit, transfer);
    return transfer->bytes_left < blk->request_bytes_max ? (uint32_t)transfer->bytes_left
                                                         : blk->request_bytes_max;
}

/*
 * The next request of the transfer, as long as may be. With others in flight a lack of anything
 * passes by itself; without, a shorter request may still find the memory to be mapped.
 */
static vio_status engine_send_next(struct virtio_blk *blk, struct virtio_blk_transfer *transfer,
                                   uint32_t *ret_bytes)
{
    uint32_t block = blk->info.block_bytes;
    uint32_t bytes = engine_next_bytes(blk, transfer);

    for (;;) {
        vio_status status = blk_request_send(blk, transfer, bytes);
        *ret_bytes = bytes;
        if (status != VIO_ERR_NO_MEMORY || bytes <= block || blk->n_in_flight)
            return status;
        bytes = bytes / 2 - bytes / 2 % block;
    }
}

static void engine_step(struct virtio_blk_transfer *transfer, uint32_t bytes)
{
    transfer->is_unsent = false;
    transfer->next_sector += bytes / VIRTIO_BLK_SECTOR_BYTES;
    /* A range has no buffer, and is longer than any. */
    if (transfer->operation == VIRTIO_BLK_READ || transfer->operation == VIRTIO_BLK_WRITE)
        transfer->next_buffer += bytes;
    transfer->bytes_left -= bytes;
}

/* As many requests as fit; whether that was all of the transfer. */
static bool engine_send(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    while (!engine_is_all_sent(transfer)) {
        uint32_t bytes;
        vio_status status = engine_send_next(blk, transfer, &bytes);
        if (status != VIO_OK && blk->n_in_flight)
            return false;
        if (status != VIO_OK) {
            if (!transfer->is_guess)
                (void)blk_refuse(blk, status, "no memory to map a request of bytes", bytes);
            blk_engine_note_failure(blk, transfer, status, transfer->next_sector, bytes);
            return true;
        }
        engine_step(transfer, bytes);
        /* From the first request on, and not before: a flush may be on its way in front of it. */
        if (virtio_blk_changes(transfer))
            blk->has_unflushed = true;
        else if (transfer->operation == VIRTIO_BLK_FLUSH)
            blk->has_unflushed = false;
    }
    return true;
}

static bool engine_has_nothing_to_flush(const struct virtio_blk *blk)
{
    return !blk->info.has_flush || blk->info.read_only || !blk->has_unflushed;
}

/* In the order of submission, until one has to wait: for room, or for all in front of it. */
static void engine_pump(struct virtio_blk *blk)
{
    struct virtio_blk_transfer *transfer;

    while ((transfer = blk->waiting.first)) {
        if (transfer->after_all && blk->n_in_flight && !transfer->n_in_flight &&
            !engine_is_all_sent(transfer))
            return;
        if (transfer->operation == VIRTIO_BLK_FLUSH && engine_has_nothing_to_flush(blk))
            transfer->is_unsent = false;
        if (!engine_send(blk, transfer))
            return;
        (void)engine_take_first(&blk->waiting);
        if (transfer->n_in_flight == 0)
            engine_finish(blk, transfer);
    }
}

/* The short way of what most transfers are: a read that is one short request, and waits for nothing. */
static bool engine_send_at_once(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    if (blk->waiting.first || transfer->after_all ||
        transfer->bytes_left - 1 >= blk->short_bytes_max ||
        blk_request_send_short_read(blk, transfer) != VIO_OK)
        return false;
    transfer->bytes_left = 0;
    return true;
}

/* --- Checking --------------------------------------------------------------------------------- */

static vio_status engine_check_range(const struct virtio_blk *blk,
                                     const struct virtio_blk_transfer *transfer)
{
    uint32_t block_sectors = blk->info.block_bytes / VIRTIO_BLK_SECTOR_BYTES;

    if (transfer->sector & (block_sectors - 1) || transfer->bytes & (blk->info.block_bytes - 1))
        return VIO_ERR_INVALID;
    /* Written so that nothing can wrap. */
    if (transfer->sector > blk->info.capacity_sectors ||
        transfer->bytes / VIRTIO_BLK_SECTOR_BYTES > blk->info.capacity_sectors - transfer->sector)
        return VIO_ERR_RANGE;
    return VIO_OK;
}

static vio_status engine_check_other(const struct virtio_blk *blk,
                                     const struct virtio_blk_transfer *transfer)
{
    if (transfer->operation == VIRTIO_BLK_FLUSH || transfer->operation == VIRTIO_BLK_GET_ID)
        return VIO_OK;
    vio_status status = engine_check_range(blk, transfer);
    if (status != VIO_OK)
        return status;
    if (blk->info.read_only)
        return VIO_ERR_READ_ONLY;
    const struct virtio_blk_range_limit *limit = engine_range_limit(blk, transfer);
    return limit && limit->sectors_max == 0 ? VIO_ERR_UNSUPPORTED : VIO_OK;
}

static vio_status engine_check(const struct virtio_blk *blk,
                               const struct virtio_blk_transfer *transfer)
{
    if (blk->dead != VIO_OK)
        return blk->dead;
    return transfer->operation == VIRTIO_BLK_READ ? engine_check_range(blk, transfer)
                                                  : engine_check_other(blk, transfer);
}

void blk_engine_check_waiting(struct virtio_blk *blk)
{
    for (struct virtio_blk_transfer *transfer = blk->waiting.first; transfer;
         transfer = transfer->next) {
        vio_status status = engine_check(blk, transfer);
        if (status != VIO_OK)
            blk_engine_note_failure(blk, transfer, status, transfer->sector, transfer->bytes);
    }
}

/* --- The engine's calls ------------------------------------------------------------------------ */

/* All but a read may have nothing to count, and tells others to wait for it. */
static void engine_begin_other(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    blk->n_changing++;
    if (transfer->operation != VIRTIO_BLK_FLUSH && transfer->operation != VIRTIO_BLK_GET_ID)
        return;
    transfer->next_sector = 0;
    transfer->bytes_left = 0;
    transfer->is_unsent = true;
    if (transfer->operation == VIRTIO_BLK_FLUSH)
        transfer->after_all = true;
}

vio_status virtio_blk_submit(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    vio_status status = engine_check(blk, transfer);
    if (status != VIO_OK) {
        /* Why the device is out of use is still known, and this is what fails for it now. */
        if (blk->dead != VIO_OK)
            engine_name_failed(blk, transfer, transfer->sector, transfer->bytes);
        return status;
    }
    if (!transfer->is_guess)
        virtio_blk_forget_failure(blk);
    transfer->done = false;
    transfer->status = VIO_OK;
    transfer->next_sector = transfer->sector;
    transfer->next_buffer = transfer->buffer;
    transfer->bytes_left = transfer->bytes;
    transfer->is_unsent = false;
    transfer->n_in_flight = 0;
    if (transfer->operation == VIRTIO_BLK_READ) {
        if (engine_send_at_once(blk, transfer))
            return VIO_OK;
    } else {
        engine_begin_other(blk, transfer);
    }
    engine_append(&blk->waiting, transfer);
    engine_pump(blk);
    return VIO_OK;
}

void virtio_blk_publish(struct virtio_blk *blk)
{
    /* Out of use, its queues may not be there, and it is not to be notified (3.1.1). */
    if (!blk->has_unpublished || blk->dead != VIO_OK)
        return;
    blk->has_unpublished = false;
    for (uint16_t i = 0; i < blk->info.n_queues; i++) {
        virtqueue_publish(&blk->queues[i]);
        if (virtqueue_notify(&blk->queues[i])) /* else the device looks by itself */
            blk->counters.notifications++;
    }
}

/* A lie ends everything. Not on the way of each answer. */
static __attribute__((noinline)) void engine_give_up(struct virtio_blk *blk,
                                                     const struct virtqueue *vq, vio_status status)
{
    struct vio_failure why = {.value_is_valid = true};

    why.what = virtqueue_fault_text(vq, &why.value);
    blk->device.failure = why;
    blk_recover_give_up(blk, status);
}

/* All answers of one queue. */
static unsigned engine_take_answers(struct virtio_blk *blk, struct virtqueue *vq)
{
    /* An idle queue has no answers, whatever the device says. */
    unsigned n_in_flight = virtqueue_in_flight(vq);
    unsigned n_answers = 0;
    void *cookie;
    uint32_t used_len;

    while (n_answers < n_in_flight) {
        vio_status status = virtqueue_pop_used(vq, &cookie, &used_len);
        if (status != VIO_OK) {
            if (status != VIO_EMPTY)
                engine_give_up(blk, vq, status);
            break;
        }
        struct blk_slot *slot = cookie;
        n_answers++;
        blk->recovered_in_vain = false;
        engine_end_request(blk, slot, blk_request_answered(blk, slot, used_len));
    }
    return n_answers;
}

unsigned virtio_blk_poll(struct virtio_blk *blk)
{
    unsigned n_answers = 0;

    if (!virtio_blk_is_busy(blk))
        return 0;
    /* Shut down, which could not wait for what was under way. */
    if (blk->dead != VIO_OK) {
        blk_recover_fail_all(blk, blk->dead);
        return 0;
    }
    blk_decline_interrupt(blk);
    for (uint16_t i = 0; i < blk->info.n_queues && blk->dead == VIO_OK; i++)
        n_answers += engine_take_answers(blk, &blk->queues[i]);
    /* Also beside answers: a request that got lost is not found again because others are not. */
    if (blk->n_in_flight)
        blk_recover_watch(blk);
    if (blk->waiting.first && blk->dead == VIO_OK)
        engine_pump(blk);
    virtio_blk_publish(blk);
    return n_answers;
}

struct virtio_blk_transfer *virtio_blk_next_done(struct virtio_blk *blk)
{
    return engine_take_first(&blk->finished);
}

bool virtio_blk_is_gone(const struct virtio_blk *blk)
{
    return blk->dead == VIO_ERR_GONE;
}

bool virtio_blk_is_busy(const struct virtio_blk *blk)
{
    return blk->n_in_flight != 0 || blk->waiting.first;
}
