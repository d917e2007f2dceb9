/* Contract and terms: devices/blk.h, devices/blk_private.h. What becomes of a device that fails. */

#include "devices/blk_private.h"

vio_status blk_recover_stop_device(struct virtio_blk *blk)
{
    struct vio_failure first = blk->device.failure;

    vio_status status = vio_device_reset(&blk->device);
    blk->asked = NULL; /* the queues may become others */
    blk->n_missed = 0;
    if (status != VIO_OK) {
        blk->transport.ops->isolate(blk->transport.context);
        blk->quarantined = true;
    }
    if (first.what)
        blk->device.failure = first;
    return status;
}

/* What fails here fails together, so the whole transfer is named. */
static void recover_fail_request(struct virtio_blk *blk, struct blk_slot *slot, vio_status reason)
{
    struct virtio_blk_transfer *transfer = slot->transfer;

    blk_engine_note_failure(blk, transfer, reason, transfer->sector, transfer->bytes);
    blk_engine_fail_request(blk, slot, reason);
}

void blk_recover_fail_all(struct virtio_blk *blk, vio_status reason)
{
    blk_engine_fail_waiting(blk, reason);
    while (blk->oldest)
        recover_fail_request(blk, blk->oldest, reason);
}

void blk_recover_give_up(struct virtio_blk *blk, vio_status reason)
{
    blk->dead = reason;
    (void)blk_recover_stop_device(blk); /* either way nothing of ours is in its reach now */
    blk_recover_fail_all(blk, reason);
}

/* --- One more try ----------------------------------------------------------------------------- */

static bool recover_queue(struct virtio_blk *blk, uint16_t index)
{
    if (vio_device_reset_queue(&blk->device, index) != VIO_OK ||
        blk_setup_queue(blk, index) != VIO_OK)
        return false;
    /* It may be smaller now; the length of requests is not decided anew. */
    return virtqueue_free_descriptors(&blk->queues[index]) >=
           blk_request_n_buffers(blk, blk->request_bytes_max);
}

static vio_status recover_device(struct virtio_blk *blk)
{
    vio_status status = blk_recover_stop_device(blk);

    return status == VIO_OK ? blk_setup_bring_up(blk) : status;
}

/*
 * What the device had and forgot: a read is sent again, once. All else may have been carried out, or
 * in part, so whoever wanted it has to decide.
 */
static void recover_requests(struct virtio_blk *blk, bool of_all_queues, uint8_t queue,
                             const struct vio_failure *why, vio_status reason)
{
    struct blk_slot *next;

    for (struct blk_slot *slot = blk->oldest; slot; slot = next) {
        next = slot->next;
        if (!of_all_queues && slot->queue != queue)
            continue;
        if (slot->transfer->operation == VIRTIO_BLK_READ && !slot->was_retried &&
            blk_request_send_again(blk, slot) == VIO_OK)
            continue;
        if (!slot->transfer->is_guess)
            blk->device.failure = *why;
        recover_fail_request(blk, slot, reason);
    }
    blk->oldest_since_us = blk->waited_us;
}

/* Only if something was answered since the last time: else it would go on like that for ever. */
static void recover(struct virtio_blk *blk, const struct vio_failure *why, vio_status reason)
{
    struct vio_failure before = blk->device.failure;
    uint8_t queue = blk->oldest->queue;

    blk->device.failure = *why;
    if (blk->recovered_in_vain) {
        blk_recover_give_up(blk, reason);
        return;
    }
    blk->recovered_in_vain = true;
    blk->counters.recoveries++;
    bool queue_is_enough =
        blk->trust_queue_reset && reason == VIO_ERR_TIMEOUT && recover_queue(blk, queue);
    vio_status status = queue_is_enough ? VIO_OK : recover_device(blk);
    if (status != VIO_OK) {
        blk->device.failure = *why;
        blk_recover_give_up(blk, status == VIO_ERR_GONE ? status : reason);
        return;
    }
    blk->device.failure = before;
    recover_requests(blk, !queue_is_enough, queue, why, reason);
    blk_engine_check_waiting(blk);
}

/* --- Deadlines -------------------------------------------------------------------------------- */

static void recover_let_time_pass(struct virtio_blk *blk)
{
    uint64_t now_us = blk->platform.ops->now_us(blk->platform.context);
    uint64_t step_us = blk->is_watched ? now_us - blk->last_look_us : 0;

    blk->is_watched = true;
    blk->waited_us += step_us < BLK_STEP_MAX_US ? step_us : BLK_STEP_MAX_US;
    blk->last_look_us = now_us;
}

/* A status register read is a trip to the device, so not at every look at the used ring. */
static vio_status recover_check_alive(struct virtio_blk *blk, struct vio_failure *ret_why)
{
    struct vio_failure before = blk->device.failure;

    if (blk->waited_us < blk->next_alive_us)
        return VIO_OK;
    blk->next_alive_us = blk->waited_us + BLK_STEP_MAX_US;
    vio_status status = vio_device_check_alive(&blk->device);
    *ret_why = blk->device.failure;
    blk->device.failure = before;
    return status;
}

void blk_recover_watch(struct virtio_blk *blk)
{
    struct vio_failure why;

    recover_let_time_pass(blk);
    vio_status status = recover_check_alive(blk, &why);
    uint64_t since_us = blk->waited_us - blk->oldest_since_us;
    if (status == VIO_OK && since_us >= blk->request_limit_us) {
        status = VIO_ERR_TIMEOUT;
        why = (struct vio_failure){
            .what = "no answer, after microseconds", .value = since_us, .value_is_valid = true};
    }
    if (status == VIO_ERR_GONE) {
        blk->device.failure = why;
        blk_recover_give_up(blk, status);
    } else if (status != VIO_OK) {
        recover(blk, &why, status);
    }
}

vio_status virtio_blk_reset(struct virtio_blk *blk)
{
    if (blk->quarantined || blk->is_shut_down) {
        blk_recover_fail_all(blk, blk->dead);
        return blk->dead;
    }
    blk->dead = VIO_ERR_ABORTED;
    vio_status status = blk_recover_stop_device(blk);
    blk_recover_fail_all(blk, VIO_ERR_ABORTED);
    blk->recovered_in_vain = false;
    blk->dead = status == VIO_OK ? blk_setup_bring_up(blk) : status;
    if (status == VIO_OK && blk->dead != VIO_OK)
        (void)blk_recover_stop_device(blk); /* what was begun of the bring-up */
    return blk->dead;
}
