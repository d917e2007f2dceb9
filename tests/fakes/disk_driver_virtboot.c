/* tests/hostile/disk_driver.h for devices/blk.h. */

#include "devices/blk.h"
#include "tests/hostile/disk_driver.h"

static vio_status driver_open(void *disk, const struct vio_transport *transport,
                              const struct vio_platform *platform)
{
    return virtio_blk_open(disk, transport, platform, 0);
}

static void driver_close(void *disk)
{
    virtio_blk_close(disk);
}

static vio_status driver_read(void *disk, uint64_t sector, void *buffer, size_t bytes)
{
    return virtio_blk_read(disk, sector, buffer, bytes);
}

static vio_status driver_write(void *disk, uint64_t sector, const void *buffer, size_t bytes)
{
    return virtio_blk_write(disk, sector, buffer, bytes);
}

static vio_status driver_flush(void *disk)
{
    return virtio_blk_flush(disk);
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

const struct disk_driver *disk_driver_under_test(void)
{
    static const struct disk_driver driver = {
        .disk_bytes = sizeof(struct virtio_blk),
        .open = driver_open,
        .close = driver_close,
        .read = driver_read,
        .write = driver_write,
        .flush = driver_flush,
        .capacity_sectors = driver_capacity_sectors,
        .block_bytes = driver_block_bytes,
        .explain = driver_explain,
    };

    return &driver;
}
