/* Contract and terms: devices/blk.h. Calls that wait, spinning or asleep. */

#include "devices/blk_private.h"

/* A look at the rings costs a tenth of a poll, which looks at all else. */
#define BLOCKING_LOOKS   8u
#define BLOCKING_WAIT_US (BLK_STEP_MAX_US / BLOCKING_LOOKS)

static bool blocking_has_answers(const struct virtio_blk *blk)
{
    uint16_t n_queues = blk->info.n_queues;

    for (uint16_t i = 0; i < n_queues; i++) {
        if (virtqueue_has_used(&blk->queues[i]))
            return true;
    }
    return false;
}

static void blocking_wait(const struct virtio_blk *blk)
{
    blk->platform.ops->wait(blk->platform.context, BLOCKING_WAIT_US);
}

static bool blocking_wait_for_answers(const struct virtio_blk *blk)
{
    blocking_wait(blk);
    return blocking_has_answers(blk);
}

/*
 * Whether something seems to be there, or waiting is of no use. On a platform whose waits are long,
 * longer perhaps than they were asked to be, not more than two: between polls little time counts.
 */
static bool blocking_look(const struct virtio_blk *blk)
{
    const struct vio_platform *platform = &blk->platform;

    if (blk->dead != VIO_OK || blk->n_in_flight == 0 || blocking_has_answers(blk) ||
        blocking_wait_for_answers(blk))
        return true;
    uint64_t start_us = platform->ops->now_us(platform->context);
    for (unsigned i = 1; i < BLOCKING_LOOKS; i++) {
        if (blocking_wait_for_answers(blk))
            return true;
        if (platform->ops->now_us(platform->context) - start_us >= BLOCKING_WAIT_US)
            return false;
    }
    return false;
}

/* --- Sleeping --------------------------------------------------------------------------------- */

/* NULL when none of its requests is in flight. */
static const struct blk_slot *blocking_oldest(const struct virtio_blk *blk,
                                              const struct virtio_blk_transfer *transfer)
{
    const struct blk_slot *slot = blk->oldest;

    while (slot && slot->transfer != transfer)
        slot = slot->next;
    return slot;
}

/* How many requests of the same transfer are in the same queue. */
static uint16_t blocking_n_beside(const struct blk_slot *first)
{
    uint16_t n = 0;

    for (const struct blk_slot *slot = first; slot; slot = slot->next)
        n = (uint16_t)(n + (slot->transfer == first->transfer && slot->queue == first->queue));
    return n;
}

static bool blocking_ask(struct virtio_blk *blk, uint8_t queue, uint16_t n_answers)
{
    struct virtqueue *vq = &blk->queues[queue];

    if (blk->asked != vq)
        blk_decline_interrupt(blk);
    blk->asked = vq;
    blk->n_asked = n_answers;
    return virtqueue_enable_callbacks_after(vq, n_answers);
}

bool virtio_blk_ask_interrupt(struct virtio_blk *blk)
{
    const struct blk_slot *oldest = blk->oldest;

    if (blk->dead != VIO_OK || !oldest)
        return true;
    uint16_t n_in_flight = virtqueue_in_flight(&blk->queues[oldest->queue]);
    return blocking_ask(blk, oldest->queue, (uint16_t)((n_in_flight + 1) / 2));
}

/*
 * One queue is asked at a time, and for no fewer answers than this transfer needs from it: so that a
 * sleep costs one interrupt and not many. While there is more to send, half of them, or the device
 * would run dry.
 */
static bool blocking_ask_for(struct virtio_blk *blk, const struct virtio_blk_transfer *transfer)
{
    const struct blk_slot *oldest = blocking_oldest(blk, transfer);

    if (!oldest) /* it waits for others to end */
        return virtio_blk_ask_interrupt(blk);
    uint16_t n_answers = blocking_n_beside(oldest);
    if (blk->waiting.first)
        n_answers = (uint16_t)((n_answers + 1) / 2);
    return blocking_ask(blk, oldest->queue, n_answers);
}

static bool blocking_may_sleep(const struct virtio_blk *blk)
{
    return blk->device.interrupt_use != VIO_POLLED && blk->may_sleep && blk->dead == VIO_OK;
}

/* One may get lost; of these many none was ever sent, or something lies between the device and us. */
#define BLOCKING_MISSED_MAX 8u

/* Asked once more, the queue says whether the answer is there that was to raise the interrupt. */
static void blocking_judge_sleep(struct virtio_blk *blk, unsigned slept)
{
    if (slept & VIO_SLEPT_INTERRUPT)
        blk->n_missed = 0;
    else if (slept && virtqueue_enable_callbacks_after(blk->asked, blk->n_asked) &&
             ++blk->n_missed == BLOCKING_MISSED_MAX)
        blk->device.interrupt_use = VIO_POLLED;
}

/*
 * As blocking_look(), which it is where one cannot sleep. For how long is reckoned here: the time that
 * counts does not begin before the first look.
 */
static bool blocking_sleep(struct virtio_blk *blk, const struct virtio_blk_transfer *transfer,
                           uint64_t *slept_us)
{
    const struct vio_platform *platform = &blk->platform;

    if (blocking_ask_for(blk, transfer))
        return true;
    uint64_t start_us = platform->ops->now_us(platform->context);
    unsigned slept = platform->ops->sleep(platform->context);
    *slept_us += platform->ops->now_us(platform->context) - start_us;
    blocking_judge_sleep(blk, slept);
    blk_decline_interrupt(blk);
    blk->counters.sleeps += slept != 0;
    if (slept & VIO_SLEPT_CONFIG)
        blk->next_alive_us = blk->waited_us; /* it may have said that it needs a reset */
    return slept == 0 && blocking_look(blk);
}

/* Spinning in front of a sleep costs as much as the sleep saves. */
#define BLOCKING_VAIN_SPINS_MAX 4u

static void blocking_learn(struct virtio_blk *blk, uint64_t slept_us)
{
    if (slept_us < blk->spin_limit_us)
        blk->n_vain_spins = 0;
    else if (blk->n_vain_spins < BLOCKING_VAIN_SPINS_MAX)
        blk->n_vain_spins++;
}

/*
 * Nothing is there as a rule when one has just asked for it: then waiting comes first. A queue can
 * also seem to have answers, and have none, which is no reason to spin.
 */
vio_status virtio_blk_wait(struct virtio_blk *blk, const struct virtio_blk_transfer *transfer)
{
    virtio_blk_publish(blk);
    if (transfer->done)
        return transfer->status;
    uint64_t start_us = blk->waited_us;
    uint64_t slept_us = 0;
    bool spins = blk->n_vain_spins < BLOCKING_VAIN_SPINS_MAX;
    while (!transfer->done) {
        bool has_spun = !spins || blk->waited_us - start_us >= blk->spin_limit_us;
        bool seems_answered = has_spun && blocking_may_sleep(blk)
                                  ? blocking_sleep(blk, transfer, &slept_us)
                                  : blocking_look(blk);
        if (virtio_blk_poll(blk) == 0 && seems_answered && !transfer->done)
            blocking_wait(blk);
    }
    blocking_learn(blk, slept_us);
    return transfer->status;
}

vio_status virtio_blk_run(struct virtio_blk *blk, struct virtio_blk_transfer *transfer)
{
    /* Between a read and a change on its way the order counts; between two reads it does not. */
    transfer->after_all = transfer->operation != VIRTIO_BLK_READ || virtio_blk_is_changing(blk);
    vio_status status = virtio_blk_submit(blk, transfer);

    return status == VIO_OK ? virtio_blk_wait(blk, transfer) : status;
}

vio_status virtio_blk_read(struct virtio_blk *blk, uint64_t sector, void *buffer, size_t bytes)
{
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_READ,
        .sector = sector,
        .buffer = buffer,
        .bytes = bytes,
    };

    return virtio_blk_run(blk, &transfer);
}

vio_status virtio_blk_write(struct virtio_blk *blk, uint64_t sector, const void *buffer,
                            size_t bytes)
{
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_WRITE,
        .sector = sector,
        .buffer = (void *)(uintptr_t)buffer, /* mapped device-readable: never written */
        .bytes = bytes,
    };

    return virtio_blk_run(blk, &transfer);
}

vio_status virtio_blk_flush(struct virtio_blk *blk)
{
    struct virtio_blk_transfer transfer = {.operation = VIRTIO_BLK_FLUSH};

    return virtio_blk_run(blk, &transfer);
}
