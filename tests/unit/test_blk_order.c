/* devices/blk.h: what may pass what, and what a flush waits for. */

#include "core/device_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/testing.h"

/* A queue of 128 descriptors, three to a request. */
#define IN_FLIGHT_MAX 42u

/* --- Order ------------------------------------------------------------------------------------ */

static void given_transfer_after_all_when_others_are_in_flight_then_it_and_later_ones_wait(void **s)
{
    (void)s;
    open_manual_disk();
    transfers[2].after_all = true;
    submit(0, VIRTIO_BLK_READ, 0, 1);
    submit(1, VIRTIO_BLK_READ, 1, 1);
    submit(2, VIRTIO_BLK_WRITE, 2, 1);
    submit(3, VIRTIO_BLK_READ, 3, 1);
    virtio_blk_publish(&blk);
    assert_int_equal(disk.n_requests, 2);

    serve(1);
    assert_int_equal(disk.n_requests, 2);
    serve(1);

    assert_int_equal(disk.n_requests, 4);
    assert_int_equal(disk.requests[2].type, VIRTIO_BLK_T_OUT);
    assert_int_equal(disk.requests[2].n_before, 0);
    assert_int_equal(disk.requests[3].n_before, 1);
    serve(2);
    assert_int_equal(count_done(4), 4);
    close_disk();
}

static void given_long_transfer_after_all_when_sent_then_its_own_requests_do_not_stop_it(void **s)
{
    (void)s;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, SECTOR);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    open_manual_disk();
    submit(0, VIRTIO_BLK_READ, 0, 1);
    transfers[1].after_all = true;
    submit(1, VIRTIO_BLK_READ, 1, 100);
    virtio_blk_publish(&blk);
    assert_int_equal(disk.n_requests, 1);

    serve(1);
    assert_int_equal(disk.n_pending, IN_FLIGHT_MAX);
    serve(1);

    assert_int_equal(disk.n_pending, IN_FLIGHT_MAX);
    serve_until_idle();
    assert_was_read(0, 101);
    close_disk();
}

static void
given_flush_between_writes_when_sent_then_behind_all_before_and_beside_the_later(void **s)
{
    /* Checks: BLK-REQ-4, BLK-REQ-5 */
    (void)s;
    open_manual_disk();
    submit(0, VIRTIO_BLK_WRITE, 0, 1);
    submit(1, VIRTIO_BLK_WRITE, 1, 1);
    submit(2, VIRTIO_BLK_FLUSH, 0, 0);
    submit(3, VIRTIO_BLK_WRITE, 3, 1);
    virtio_blk_publish(&blk);
    serve(1);
    assert_int_equal(disk.n_requests, 2);
    disk.order = FAKE_BLK_REVERSED;

    serve(1);
    assert_int_equal(disk.n_requests, 4);
    assert_int_equal(disk.requests[2].type, VIRTIO_BLK_T_FLUSH);
    assert_int_equal(disk.requests[2].n_before, 0);
    serve(1);
    assert_true(transfers[3].done);
    assert_false(transfers[2].done);
    serve(1);

    assert_done(&transfers[2], VIO_OK);
    /* The last write passed the flush, which may not have seen it. */
    assert_true(blk.has_unflushed);
    close_disk();
}

static unsigned count_flushes(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < disk.n_requests; i++)
        count += disk.requests[i].type == VIRTIO_BLK_T_FLUSH;
    return count;
}

static void given_flush_when_nothing_was_changed_then_none_is_sent(void **state)
{
    (void)state;
    open_disk();

    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_OK);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
    assert_int_equal(count_flushes(), 0);
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_OK);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
    assert_int_equal(count_flushes(), 1);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(count_flushes(), 1);
    close_disk();
}

static void given_flush_behind_a_write_in_flight_when_submitted_then_sent(void **state)
{
    (void)state;
    open_manual_disk();
    submit(0, VIRTIO_BLK_WRITE, 0, 1);
    submit(1, VIRTIO_BLK_FLUSH, 0, 0);
    submit(2, VIRTIO_BLK_FLUSH, 0, 0);
    virtio_blk_publish(&blk);

    serve_until_idle();

    assert_int_equal(count_flushes(), 1);
    assert_int_equal(count_done(3), 3);
    close_disk();
}

static void given_write_that_failed_when_flushed_then_sent(void **state)
{
    (void)state;
    open_disk();
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    disk.lie_until = 1;
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_IO);

    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(count_flushes(), 1);
    close_disk();
}

static void given_flush_that_failed_when_flushed_again_then_sent_again(void **state)
{
    (void)state;
    open_disk();
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    disk.lie_from = 1;
    disk.lie_until = 2;
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_OK);
    assert_int_equal(virtio_blk_flush(&blk), VIO_ERR_IO);

    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(count_flushes(), 2);
    assert_false(blk.has_unflushed);
    close_disk();
}

/* --- Blocking calls beside transfers ----------------------------------------------------------- */

static void given_write_under_way_when_read_blocking_then_the_read_sees_it(void **state)
{
    (void)state;
    uint8_t *copy = malloc(8 * SECTOR);
    disk.delay_waits = 1;
    disk.order = FAKE_BLK_REVERSED;
    open_disk();
    fill_buffer(10, 8, 3);
    submit(0, VIRTIO_BLK_WRITE, 10, 8);

    assert_int_equal(virtio_blk_read(&blk, 10, copy, 8 * SECTOR), VIO_OK);

    assert_memory_equal(copy, buffer + 10 * SECTOR, 8 * SECTOR);
    assert_done(&transfers[0], VIO_OK);
    free(copy);
    close_disk();
}

static void given_reads_under_way_when_read_blocking_then_beside_them(void **state)
{
    (void)state;
    disk.delay_waits = 1;
    disk.order = FAKE_BLK_REVERSED;
    open_disk();
    submit_reads(0, 5);

    assert_int_equal(virtio_blk_read(&blk, 20, buffer + 20 * SECTOR, SECTOR), VIO_OK);

    assert_int_equal(count_done(5), 0);
    assert_int_equal(disk.requests[5].n_before, 5);
    assert_was_read(20, 1);
    close_disk();
}

static void given_read_under_way_when_written_blocking_then_the_read_has_what_was_there(void **s)
{
    (void)s;
    uint8_t before[SECTOR];
    uint8_t written[SECTOR] = {0x77};
    disk.delay_waits = 1;
    disk.order = FAKE_BLK_REVERSED;
    memcpy(before, disk.image + 4 * SECTOR, SECTOR);
    open_disk();
    submit(0, VIRTIO_BLK_READ, 4, 1);

    assert_int_equal(virtio_blk_write(&blk, 4, written, SECTOR), VIO_OK);

    assert_done(&transfers[0], VIO_OK);
    assert_memory_equal(buffer + 4 * SECTOR, before, SECTOR);
    assert_memory_equal(disk.image + 4 * SECTOR, written, SECTOR);
    close_disk();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_transfer_after_all_when_others_are_in_flight_then_it_and_later_ones_wait),
        DISK_TEST(given_long_transfer_after_all_when_sent_then_its_own_requests_do_not_stop_it),
        DISK_TEST(given_flush_between_writes_when_sent_then_behind_all_before_and_beside_the_later),
        DISK_TEST(given_flush_when_nothing_was_changed_then_none_is_sent),
        DISK_TEST(given_flush_behind_a_write_in_flight_when_submitted_then_sent),
        DISK_TEST(given_write_that_failed_when_flushed_then_sent),
        DISK_TEST(given_flush_that_failed_when_flushed_again_then_sent_again),
        DISK_TEST(given_write_under_way_when_read_blocking_then_the_read_sees_it),
        DISK_TEST(given_reads_under_way_when_read_blocking_then_beside_them),
        DISK_TEST(given_read_under_way_when_written_blocking_then_the_read_has_what_was_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
