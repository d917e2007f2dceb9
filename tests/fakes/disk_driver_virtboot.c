/* tests/hostile/disk_driver.h for devices/blk.h. */

#include "devices/blk.h"
#include "devices/blk_spec.h"
#include "tests/fakes/testing.h"
#include "tests/hostile/disk_driver.h"

#define TOGETHER_MAX 16u

static vio_status driver_open(void *disk, const struct vio_transport *transport,
                              const struct vio_platform *platform)
{
    struct virtio_blk *blk = disk;

    vio_status status = virtio_blk_open(blk, transport, platform, 0);
    /* The longer way, on which a device has more to lie about. */
    blk->trust_queue_reset = true;
    return status;
}

static void driver_close(void *disk)
{
    virtio_blk_close(disk);
}

static struct virtio_blk_transfer driver_transfer(const struct disk_step *step)
{
    static const enum virtio_blk_operation operations[] = {
        [DISK_OP_READ] = VIRTIO_BLK_READ,
        [DISK_OP_WRITE] = VIRTIO_BLK_WRITE,
        [DISK_OP_FLUSH] = VIRTIO_BLK_FLUSH,
        [DISK_OP_DISCARD] = VIRTIO_BLK_DISCARD,
        [DISK_OP_WRITE_ZEROES] = VIRTIO_BLK_WRITE_ZEROES,
        [DISK_OP_SECURE_ERASE] = VIRTIO_BLK_SECURE_ERASE,
        [DISK_OP_GET_ID] = VIRTIO_BLK_GET_ID,
    };

    return (struct virtio_blk_transfer){
        .operation = operations[step->operation],
        .sector = step->sector,
        .buffer = step->buffer,
        .bytes = step->bytes,
        .unmap = true,
        .is_queued = true,
    };
}

/* The blocking calls where there are some. */
static vio_status driver_run(void *disk, struct disk_step *step)
{
    struct virtio_blk_transfer transfer;

    switch (step->operation) {
    case DISK_OP_READ:
        return virtio_blk_read(disk, step->sector, step->buffer, step->bytes);
    case DISK_OP_WRITE:
        return virtio_blk_write(disk, step->sector, step->buffer, step->bytes);
    case DISK_OP_FLUSH:
        return virtio_blk_flush(disk);
    default:
        transfer = driver_transfer(step);
        transfer.is_queued = false;
        return virtio_blk_run(disk, &transfer);
    }
}

static void driver_run_together(void *disk, struct disk_step *steps, unsigned n_steps)
{
    struct virtio_blk_transfer transfers[TOGETHER_MAX];
    unsigned n_taken = 0, n_done = 0;

    assert_true(n_steps <= TOGETHER_MAX);
    for (unsigned i = 0; i < n_steps; i++) {
        transfers[i] = driver_transfer(&steps[i]);
        steps[i].status = virtio_blk_submit(disk, &transfers[i]);
        n_taken += steps[i].status == VIO_OK;
        if (i == n_steps / 2)
            virtio_blk_publish(disk);
    }
    /* With some of them published and some not; whatever this finds, it has to hold for all. */
    (void)virtio_blk_poll(disk);
    for (unsigned i = 0; i < n_steps; i++) {
        if (steps[i].status == VIO_OK)
            steps[i].status = virtio_blk_wait(disk, &transfers[i]);
    }
    while (virtio_blk_next_done(disk))
        n_done++;
    assert_int_equal(n_done, n_taken);
    assert_false(virtio_blk_is_busy(disk) || virtio_blk_is_changing(disk));
}

static vio_status driver_reset(void *disk)
{
    return virtio_blk_reset(disk);
}

static void driver_refresh(void *disk)
{
    (void)virtio_blk_refresh(disk); /* capacity_sectors() says it */
}

static uint64_t driver_capacity_sectors(const void *disk)
{
    const struct virtio_blk *blk = disk;

    return blk->info.capacity_sectors;
}

static uint32_t driver_block_bytes(const void *disk)
{
    const struct virtio_blk *blk = disk;

    return blk->info.block_bytes;
}

static const char *driver_explain(const void *disk, uint64_t *ret_value)
{
    const struct virtio_blk *blk = disk;

    *ret_value = blk->device.failure.value;
    return blk->device.failure.what;
}

_Static_assert(BLK_REQUEST_LIMIT_US <= DISK_DRIVER_REQUEST_LIMIT_US, "the tests' patience");
_Static_assert(VIO_RESET_LIMIT_US <= DISK_DRIVER_RESET_LIMIT_US, "the tests' patience");
_Static_assert(VIRTIO_BLK_ID_BYTES == DISK_ID_BYTES, "5.2.6");

const struct disk_driver *disk_driver_under_test(void)
{
    static const struct disk_driver driver = {
        .disk_bytes = sizeof(struct virtio_blk),
        .open = driver_open,
        .close = driver_close,
        .run = driver_run,
        .run_together = driver_run_together,
        .reset = driver_reset,
        .refresh = driver_refresh,
        .capacity_sectors = driver_capacity_sectors,
        .block_bytes = driver_block_bytes,
        .explain = driver_explain,
    };

    return &driver;
}
