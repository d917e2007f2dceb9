/* Contract and terms: tests/fakes/lying_disk.h. What has to hold of each use of a lying disk. */

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/lying_disk_private.h"
#include "tests/fakes/testing.h"

static const struct {
    uint32_t type;
    bool changes;
    bool is_range;
    unsigned feature_bit;
} operations[] = {
    [DISK_OP_READ] = {VIRTIO_BLK_T_IN, false, false, 0},
    [DISK_OP_WRITE] = {VIRTIO_BLK_T_OUT, true, false, 0},
    [DISK_OP_FLUSH] = {VIRTIO_BLK_T_FLUSH, false, false, 0},
    [DISK_OP_DISCARD] = {VIRTIO_BLK_T_DISCARD, true, true, VIRTIO_BLK_F_DISCARD},
    [DISK_OP_WRITE_ZEROES] = {VIRTIO_BLK_T_WRITE_ZEROES, true, true, VIRTIO_BLK_F_WRITE_ZEROES},
    [DISK_OP_SECURE_ERASE] = {VIRTIO_BLK_T_SECURE_ERASE, true, true, VIRTIO_BLK_F_SECURE_ERASE},
    [DISK_OP_GET_ID] = {VIRTIO_BLK_T_GET_ID, false, false, 0},
};

/* --- Requests --------------------------------------------------------------------------------- */

static unsigned judge_operation(const struct fake_blk_request *request)
{
    unsigned i = 0;

    while (operations[i].type != request->type)
        i++;
    return i;
}

static uint64_t judge_sector(const struct fake_blk_request *request)
{
    return operations[judge_operation(request)].is_range ? request->range_sector : request->sector;
}

/* Of the disk, that the request is about. */
static uint64_t judge_bytes(const struct fake_blk_request *request)
{
    if (operations[judge_operation(request)].is_range)
        return (uint64_t)request->range_sectors * VIRTIO_BLK_SECTOR_BYTES;
    return request->type == VIRTIO_BLK_T_GET_ID ? 0 : request->data_bytes;
}

static bool judge_is_of_step(const struct fake_blk_request *request, const struct disk_step *step)
{
    uint64_t sector = judge_sector(request);

    return request->type == operations[step->operation].type &&
           (step->bytes == 0 || (sector >= step->sector &&
                                 sector < step->sector + step->bytes / VIRTIO_BLK_SECTOR_BYTES));
}

static bool judge_said_yes(const struct lying_disk *disk, unsigned request)
{
    const struct told *told = &disk->told[request];
    const struct fake_blk_request *sent = &disk->honest.requests[request];
    bool device_writes = sent->type == VIRTIO_BLK_T_IN || sent->type == VIRTIO_BLK_T_GET_ID;

    return lying_disk_has_answered(disk, request) && told->status == VIRTIO_BLK_S_OK &&
           (disk->transport.is_legacy || !told->has_len ||
            told->len >= 1 + (device_writes ? sent->data_bytes : 0));
}

/* --- Sending ---------------------------------------------------------------------------------- */

/* What was lost is sent again if it is a read, and once. */
static void judge_sending(const struct lying_disk *disk, unsigned first_request)
{
    const struct fake_blk_request *requests = disk->honest.requests;

    for (unsigned i = first_request; i < disk->honest.n_requests; i++) {
        unsigned n_before = 0;
        for (unsigned j = first_request; j < i; j++) {
            if (requests[i].type != requests[j].type ||
                judge_sector(&requests[i]) != judge_sector(&requests[j]))
                continue;
            n_before++;
            if (requests[i].type != VIRTIO_BLK_T_IN || !disk->told[j].let_go ||
                lying_disk_has_answered(disk, j))
                fail_msg("request %u, of type %u, is request %u again", i, requests[i].type, j);
        }
        if (n_before > 1)
            fail_msg("request %u was sent %u times before", i, n_before);
    }
}

/* --- Success ---------------------------------------------------------------------------------- */

bool lying_disk_can_flush(const struct lying_disk *disk)
{
    return lying_disk_accepted(disk, VIRTIO_BLK_F_FLUSH) && !disk->is_write_through &&
           !(disk->honest.transport.offered & VIO_FEATURE(VIRTIO_BLK_F_RO));
}

void lying_disk_judge_flushed(const struct lying_disk *disk)
{
    if (!lying_disk_can_flush(disk))
        return;
    for (unsigned i = disk->honest.n_requests; i-- > 0;) {
        const struct fake_blk_request *request = &disk->honest.requests[i];
        if (request->type == VIRTIO_BLK_T_FLUSH && judge_said_yes(disk, i))
            return;
        if (operations[judge_operation(request)].changes)
            fail_msg("a flush succeeded, and request %u, of type %u, is behind all flushes", i,
                     request->type);
    }
}

static void judge_data(const struct lying_disk *disk, const struct disk_step *step)
{
    const uint8_t *image = disk->honest.image + step->sector * VIRTIO_BLK_SECTOR_BYTES;

    if (step->operation == DISK_OP_READ || step->operation == DISK_OP_WRITE) {
        assert_memory_equal(step->buffer, image, step->bytes);
        return;
    }
    for (size_t i = 0; i < step->bytes; i++)
        assert_int_equal(image[i], 0);
}

/* The driver reports success: it was told so, of every byte. */
static void judge_success(const struct lying_disk *disk, const struct use *use,
                          const struct disk_step *step)
{
    uint64_t bytes = 0;
    unsigned n_answers = 0;

    if (step->operation == DISK_OP_FLUSH) {
        lying_disk_judge_flushed(disk);
        return;
    }
    for (unsigned i = use->first_request; i < disk->honest.n_requests; i++) {
        const struct fake_blk_request *request = &disk->honest.requests[i];
        const struct told *told = &disk->told[i];
        if (!judge_is_of_step(request, step))
            continue;
        /* A lost one has to have been sent again, or the sum is not right. */
        if (request->type == VIRTIO_BLK_T_IN && told->let_go && !lying_disk_has_answered(disk, i))
            continue;
        if (!judge_said_yes(disk, i))
            fail_msg("success, and request %u was answered: %d, with status %d and len %u", i,
                     lying_disk_has_answered(disk, i), told->status, told->len);
        bytes += judge_bytes(request);
        if (request->type == VIRTIO_BLK_T_GET_ID)
            assert_memory_equal(step->buffer, told->id, DISK_ID_BYTES);
        n_answers++;
    }
    assert_true(bytes == step->bytes);
    assert_true(step->operation != DISK_OP_GET_ID || n_answers == 1);
    judge_data(disk, step);
}

/* --- Failure ---------------------------------------------------------------------------------- */

/* What the driver refuses without asking the device, it has a reason to. */
static void judge_refusal(const struct lying_disk *disk, const struct disk_driver *driver,
                          const void *driven, const struct use *use, const struct disk_step *step)
{
    bool is_range = operations[step->operation].is_range;
    bool read_only = disk->honest.transport.offered & VIO_FEATURE(VIRTIO_BLK_F_RO);
    uint64_t end = step->sector + step->bytes / VIRTIO_BLK_SECTOR_BYTES;

    /* Of a device that was reset, all that may have been otherwise for a while. */
    bool was_same = disk->n_resets == use->first_reset;

    if (step->status == VIO_ERR_RANGE)
        assert_true(end > driver->capacity_sectors(driven) || !was_same);
    if (step->status == VIO_ERR_READ_ONLY)
        assert_true((read_only || !was_same) && (is_range || step->operation == DISK_OP_WRITE));
    if (step->status == VIO_ERR_UNSUPPORTED && is_range &&
        !lying_disk_accepted(disk, operations[step->operation].feature_bit))
        return;
    /* A refusal of any other kind is the device's, or that of a device that is out of use. */
    assert_int_not_equal(step->status, VIO_ERR_INVALID);
    assert_int_not_equal(step->status, VIO_ERR_QUEUE_FULL);
    assert_int_not_equal(step->status, VIO_ERR_ABORTED);
}

static void judge_failure(const struct lying_disk *disk, const struct use *use, vio_status status)
{
    bool is_in_use = lying_disk_is_in_use(disk);

    if (status == VIO_ERR_GONE || status == VIO_ERR_QUEUE_BROKEN) {
        assert_false(is_in_use);
        return;
    }
    if (status != VIO_ERR_TIMEOUT && status != VIO_ERR_NEEDS_RESET)
        return;
    if (disk->n_resets == use->first_reset && use->was_in_use)
        fail_msg("the device failed, and was not reset");
}

/* To give it up takes one reset; one more shows that there was a try to use it again. */
void lying_disk_judge_death(const struct lying_disk *disk, vio_status why)
{
    if (why != VIO_ERR_TIMEOUT && why != VIO_ERR_NEEDS_RESET)
        return;
    if (disk->may_recover && !disk->isolated && !disk->is_used_again && disk->n_tries < 2)
        fail_msg("the device is out of use, and there was no try to use it again");
}

void lying_disk_judge(const struct lying_disk *disk, const struct disk_driver *driver,
                      const void *driven, const struct use *use)
{
    judge_sending(disk, use->first_request);
    for (unsigned i = use->first_request; i < disk->honest.n_requests; i++) {
        if (!disk->told[i].let_go && !lying_disk_has_answered(disk, i))
            fail_msg("the use is over, and request %u is still the device's", i);
    }
    for (unsigned i = 0; i < use->n_steps; i++) {
        if (use->steps[i].status == VIO_OK) {
            judge_success(disk, use, &use->steps[i]);
        } else {
            judge_refusal(disk, driver, driven, use, &use->steps[i]);
            judge_failure(disk, use, use->steps[i].status);
        }
    }
}

/* 5.2.5: without FLUSH there is no other way to have writes last. */
void lying_disk_judge_opened(const struct lying_disk *disk)
{
    if (lying_disk_accepted(disk, VIRTIO_BLK_F_CONFIG_WCE) &&
        !lying_disk_accepted(disk, VIRTIO_BLK_F_FLUSH) &&
        !(disk->honest.transport.offered & VIO_FEATURE(VIRTIO_BLK_F_RO)) &&
        disk->told_config_bytes > VIRTIO_BLK_CONFIG_WRITEBACK)
        assert_true(disk->is_write_through);
}
