/* Contract and terms: tests/fakes/blk_fixture.h. */

#include "tests/fakes/blk_fixture.h"

#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

#define POLL_STEP_US 50000u

struct fake_platform machine;
struct fake_blk_device disk;
struct virtio_blk blk;
uint8_t *buffer;
struct virtio_blk_transfer transfers[TRANSFERS_MAX];

void new_disk(uint64_t sectors)
{
    fake_blk_device_free(&disk);
    fake_platform_init(&machine);
    fake_blk_device_init(&disk, &machine, sectors);
}

void offer(unsigned feature_bit)
{
    disk.transport.offered |= VIO_FEATURE(feature_bit);
}

void offer_queues(uint16_t n_queues, uint16_t size)
{
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_MQ, VIRTIO_BLK_CONFIG_NUM_QUEUES, 2, n_queues);
    for (unsigned i = 0; i < FAKE_QUEUES; i++)
        disk.transport.queues[i].size_max = i == 0 || i < n_queues ? size : 0;
}

void open_disk(void)
{
    vio_status status = virtio_blk_open(&blk, &disk.transport.transport, &machine.platform, 0);

    if (status != VIO_OK)
        fail_msg("open: status %d, %s", (int)status, blk.device.failure.what);
}

void open_manual_disk(void)
{
    disk.delay_waits = NEVER_BY_ITSELF;
    open_disk();
}

void serve(unsigned n_requests)
{
    fake_blk_device_serve(&disk, n_requests);
    assert_int_equal(virtio_blk_poll(&blk), n_requests);
}

void serve_until_idle(void)
{
    virtio_blk_publish(&blk);
    while (virtio_blk_is_busy(&blk)) {
        fake_blk_device_serve_all(&disk);
        assert_true(virtio_blk_poll(&blk) > 0);
    }
}

void close_disk(void)
{
    virtio_blk_close(&blk);
    assert_int_equal(disk.transport.status, 0);
    fake_platform_assert_no_leaks(&machine);
}

int disk_set_up(void **state)
{
    (void)state;
    buffer = malloc(BUFFER_BYTES);
    assert_non_null(buffer);
    memset(buffer, BUFFER_FILL, BUFFER_BYTES);
    memset(transfers, 0, sizeof(transfers));
    disk.image = NULL;
    new_disk(DISK_SECTORS);
    return 0;
}

int disk_tear_down(void **state)
{
    (void)state;
    fake_log_stop();
    fake_blk_device_free(&disk);
    free(buffer);
    return 0;
}

struct virtio_blk_transfer *submit(unsigned index, enum virtio_blk_operation operation,
                                   uint64_t sector, uint64_t n_sectors)
{
    struct virtio_blk_transfer *transfer = &transfers[index];

    assert_true(index < TRANSFERS_MAX);
    transfer->operation = operation;
    transfer->sector = sector;
    transfer->bytes = n_sectors * SECTOR;
    transfer->buffer = operation == VIRTIO_BLK_READ || operation == VIRTIO_BLK_WRITE
                           ? buffer + sector * SECTOR
                           : NULL;
    assert_int_equal(virtio_blk_submit(&blk, transfer), VIO_OK);
    return transfer;
}

void submit_reads(unsigned first, unsigned n_transfers)
{
    for (unsigned i = first; i < first + n_transfers; i++)
        submit(i, VIRTIO_BLK_READ, i, 1);
}

void assert_done(const struct virtio_blk_transfer *transfer, vio_status status)
{
    assert_true(transfer->done);
    assert_int_equal(transfer->status, status);
}

unsigned count_done(unsigned n_transfers)
{
    unsigned count = 0;

    for (unsigned i = 0; i < n_transfers; i++)
        count += transfers[i].done;
    return count;
}

void assert_was_read(uint64_t sector, uint64_t n_sectors)
{
    assert_memory_equal(buffer + sector * SECTOR, disk.image + sector * SECTOR, n_sectors * SECTOR);
}

void fill_buffer(uint64_t sector, uint64_t n_sectors, uint64_t seed)
{
    for (uint64_t i = sector * SECTOR; i < (sector + n_sectors) * SECTOR; i++)
        buffer[i] = (uint8_t)test_random(&seed);
}

void poll_for(uint64_t time_us)
{
    for (uint64_t passed_us = 0; passed_us < time_us; passed_us += POLL_STEP_US) {
        machine.now_us += POLL_STEP_US;
        (void)virtio_blk_poll(&blk);
        if (!virtio_blk_is_busy(&blk))
            return;
    }
}

void assert_dead(vio_status status)
{
    unsigned n_requests = disk.n_requests;
    uint64_t now_us = machine.now_us;

    assert_int_not_equal(blk.dead, VIO_OK);
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), status);
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), status);
    assert_int_equal(virtio_blk_flush(&blk), status);
    assert_false(virtio_blk_is_busy(&blk));
    assert_int_equal(virtio_blk_poll(&blk), 0);
    assert_int_equal(disk.n_requests, n_requests);
    assert_true(machine.now_us == now_us);
}
