/* devices/blk.h: many transfers at once, sent in order and done in any. */

#include "core/device_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

/* A queue of 128 descriptors, three to a request. */
#define IN_FLIGHT_MAX 42u

/* --- Depth and batches ------------------------------------------------------------------------ */

static const struct {
    uint16_t size_max;
    bool indirect;
    unsigned in_flight;
} depth_cases[] = {
    {4, false, 1},
    {8, false, 2},
    {128, false, 42},
    {256, false, 85},
    {1024, false, 85},
    /* A fourth of the queue without tables. */
    {4, true, 4},
    {8, true, 8},
    {128, true, 108},
    {256, true, 214},
    {1024, true, 214},
};

static void given_many_transfers_when_published_then_as_many_in_flight_as_the_queue_holds(void **s)
{
    /* Checks: X-SPLIT-2 */
    (void)s;
    const unsigned n = 300;

    for (unsigned i = 0; i < ARRAY_LENGTH(depth_cases); i++) {
        new_disk(DISK_SECTORS);
        disk.transport.queues[0].size_max = depth_cases[i].size_max;
        if (depth_cases[i].indirect)
            offer(VIRTIO_F_INDIRECT_DESC);
        open_manual_disk();

        submit_reads(0, n);
        virtio_blk_publish(&blk);

        assert_int_equal(disk.n_pending, depth_cases[i].in_flight);
        assert_int_equal(fake_platform_live(&machine, FAKE_CALL_MAP), depth_cases[i].in_flight);
        serve_until_idle();
        assert_int_equal(disk.n_pending_max, depth_cases[i].in_flight);
        assert_int_equal(count_done(n), n);
        assert_was_read(0, n);
        close_disk();
    }
}

static void given_submitted_transfers_when_not_published_then_the_device_sees_none(void **state)
{
    /* Checks: X-SPLIT-1 */
    (void)state;
    open_manual_disk();

    submit_reads(0, 20);
    fake_blk_device_serve_all(&disk);

    assert_int_equal(disk.n_requests, 0);
    assert_int_equal(disk.transport.notifications, 0);
    assert_int_equal(count_done(20), 0);
    close_disk();
}

static void given_batch_when_published_then_one_notification_for_each_queue(void **state)
{
    /* Checks: X-SPLIT-1 */
    (void)state;
    static const unsigned queues[] = {1, 2, 4, 8};

    for (unsigned i = 0; i < ARRAY_LENGTH(queues); i++) {
        new_disk(DISK_SECTORS);
        offer_queues((uint16_t)queues[i], 32);
        open_manual_disk();
        submit_reads(0, 9);

        virtio_blk_publish(&blk);
        virtio_blk_publish(&blk);

        assert_int_equal(disk.n_requests, 9);
        assert_int_equal(disk.transport.notifications, queues[i]);
        assert_int_equal(blk.counters.notifications, queues[i]);
        serve_until_idle();
        assert_int_equal(disk.transport.notifications, queues[i]);
        close_disk();
    }
}

static void given_full_queue_when_some_are_answered_then_as_many_follow_in_order(void **state)
{
    /* Checks: X-SPLIT-2 */
    (void)state;
    open_manual_disk();
    submit_reads(0, 100);
    virtio_blk_publish(&blk);
    assert_int_equal(disk.n_requests, IN_FLIGHT_MAX);
    disk.order = FAKE_BLK_REVERSED;

    serve(10);

    assert_int_equal(disk.n_requests, IN_FLIGHT_MAX + 10);
    assert_int_equal(disk.transport.notifications, 2);
    assert_int_equal(count_done(100), 10);
    serve_until_idle();
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(disk.requests[i].sector, i);
    assert_was_read(0, 100);
    close_disk();
}

static void given_idle_disk_when_polled_then_no_register_and_no_clock_is_touched(void **state)
{
    (void)state;
    open_manual_disk();
    submit_reads(0, 3);
    virtio_blk_publish(&blk);
    serve(3);
    uint64_t now_us = machine.now_us;
    fake_log_start();

    assert_int_equal(virtio_blk_poll(&blk), 0);

    assert_int_equal(fake_log_length(), 0);
    assert_true(machine.now_us == now_us);
    close_disk();
}

/* --- Ends ------------------------------------------------------------------------------------- */

static void
given_queued_transfers_when_answered_backwards_then_next_done_in_that_order(void **state)
{
    (void)state;
    open_manual_disk();
    for (unsigned i = 0; i < 6; i++)
        transfers[i].is_queued = i != 3;
    submit_reads(0, 6);
    virtio_blk_publish(&blk);
    disk.order = FAKE_BLK_REVERSED;

    serve(4);

    assert_ptr_equal(virtio_blk_next_done(&blk), &transfers[5]);
    assert_ptr_equal(virtio_blk_next_done(&blk), &transfers[4]);
    assert_ptr_equal(virtio_blk_next_done(&blk), &transfers[2]);
    assert_null(virtio_blk_next_done(&blk));
    assert_true(transfers[3].done);
    serve(2);
    assert_ptr_equal(virtio_blk_next_done(&blk), &transfers[1]);
    assert_ptr_equal(virtio_blk_next_done(&blk), &transfers[0]);
    assert_null(virtio_blk_next_done(&blk));
    close_disk();
}

static void given_long_transfer_when_its_requests_end_then_done_with_the_last(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, SECTOR);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    open_manual_disk();
    submit(0, VIRTIO_BLK_READ, 0, 100);
    virtio_blk_publish(&blk);
    disk.order = FAKE_BLK_SHUFFLED;

    for (unsigned answered = 0; answered < 100; answered++) {
        assert_false(transfers[0].done);
        serve(1);
    }

    assert_done(&transfers[0], VIO_OK);
    assert_was_read(0, 100);
    close_disk();
}

static void given_transfer_of_no_bytes_when_submitted_then_done_at_once(void **state)
{
    (void)state;
    open_manual_disk();
    transfers[0].is_queued = true;

    submit(0, VIRTIO_BLK_WRITE, 5, 0);

    assert_done(&transfers[0], VIO_OK);
    assert_ptr_equal(virtio_blk_next_done(&blk), &transfers[0]);
    assert_false(virtio_blk_is_busy(&blk));
    assert_false(virtio_blk_is_changing(&blk));
    close_disk();
}

static void given_refused_transfer_when_submitted_then_not_taken(void **state)
{
    /* Checks: BLK-REQ-2 */
    (void)state;
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_WRITE, .sector = DISK_SECTORS, .bytes = SECTOR, .is_queued = true};
    open_manual_disk();

    assert_int_equal(virtio_blk_submit(&blk, &transfer), VIO_ERR_RANGE);

    assert_false(transfer.done);
    assert_null(virtio_blk_next_done(&blk));
    assert_false(virtio_blk_is_busy(&blk));
    assert_false(virtio_blk_is_changing(&blk));
    close_disk();
}

static void given_transfers_under_way_when_asked_then_busy_and_changing_as_they_are(void **state)
{
    (void)state;
    open_manual_disk();
    submit(0, VIRTIO_BLK_READ, 0, 1);
    assert_true(virtio_blk_is_busy(&blk));
    assert_false(virtio_blk_is_changing(&blk));

    submit(1, VIRTIO_BLK_WRITE, 1, 1);
    assert_true(virtio_blk_is_changing(&blk));
    virtio_blk_publish(&blk);
    disk.order = FAKE_BLK_REVERSED;
    serve(1);

    assert_false(virtio_blk_is_changing(&blk));
    assert_true(virtio_blk_is_busy(&blk));
    serve(1);
    assert_false(virtio_blk_is_busy(&blk));
    close_disk();
}

static void given_one_failing_transfer_when_others_succeed_then_its_status_alone(void **state)
{
    (void)state;
    open_manual_disk();
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    disk.lie_from = 2;
    disk.lie_until = 3;
    submit_reads(0, 5);
    virtio_blk_publish(&blk);

    serve(5);

    for (unsigned i = 0; i < 5; i++)
        assert_done(&transfers[i], i == 2 ? VIO_ERR_IO : VIO_OK);
    assert_string_equal(blk.failed.verb, "read");
    assert_int_equal(blk.failed.sector, 2);
    assert_int_equal(fake_platform_live(&machine, FAKE_CALL_MAP), 0);
    close_disk();
}

static void given_guess_when_it_fails_then_what_failed_before_is_still_told(void **state)
{
    (void)state;
    open_manual_disk();
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_UNSUPP;
    submit(0, VIRTIO_BLK_WRITE, 77, 1);
    virtio_blk_publish(&blk);
    serve(1);
    assert_done(&transfers[0], VIO_ERR_UNSUPPORTED);
    struct vio_failure failure = blk.device.failure;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    transfers[1].is_guess = transfers[2].is_guess = true;

    submit(1, VIRTIO_BLK_READ, 5, 1);
    virtio_blk_publish(&blk);
    serve(1);
    fake_platform_fail(&machine, FAKE_CALL_MAP, 1);
    submit(2, VIRTIO_BLK_READ, 6, 1);

    assert_done(&transfers[1], VIO_ERR_IO);
    assert_done(&transfers[2], VIO_ERR_NO_MEMORY);
    assert_memory_equal(&blk.device.failure, &failure, sizeof(failure));
    assert_int_equal(blk.failed.sector, 77);
    /* Nor is anything told where nothing had failed. */
    virtio_blk_forget_failure(&blk);
    submit(1, VIRTIO_BLK_READ, 5, 1);
    virtio_blk_publish(&blk);
    serve(1);
    fake_platform_fail(&machine, FAKE_CALL_MAP, 1);
    submit(2, VIRTIO_BLK_READ, 6, 1);
    assert_done(&transfers[1], VIO_ERR_IO);
    assert_done(&transfers[2], VIO_ERR_NO_MEMORY);
    assert_null(blk.device.failure.what);
    close_disk();
}

/* --- Memory ----------------------------------------------------------------------------------- */

static void given_physical_pointers_when_used_then_nothing_is_mapped(void **state)
{
    (void)state;
    fake_platform_lend(&machine, buffer, BUFFER_BYTES);
    open_disk();

    submit(0, VIRTIO_BLK_READ, 3, 100);
    virtio_blk_publish(&blk);
    assert_int_equal(virtio_blk_wait(&blk, &transfers[0]), VIO_OK);
    assert_was_read(3, 100);
    fill_buffer(200, 50, 9);
    submit(1, VIRTIO_BLK_WRITE, 200, 50);
    assert_int_equal(virtio_blk_wait(&blk, &transfers[1]), VIO_OK);

    assert_was_read(200, 50);
    assert_int_equal(machine.calls[FAKE_CALL_MAP], 0);
    close_disk();
}

static void given_physical_pointers_when_behind_an_iommu_then_mapped_nevertheless(void **state)
{
    (void)state;
    offer(VIRTIO_F_ACCESS_PLATFORM);
    fake_platform_lend(&machine, NULL, 0);
    open_disk();

    submit(0, VIRTIO_BLK_READ, 3, 100);
    assert_int_equal(virtio_blk_wait(&blk, &transfers[0]), VIO_OK);

    assert_was_read(3, 100);
    assert_int_equal(machine.calls[FAKE_CALL_MAP], disk.n_requests);
    close_disk();
}

static void
given_physical_pointers_when_reads_are_empty_long_or_too_many_then_done_as_well(void **state)
{
    (void)state;
    fake_platform_lend(&machine, buffer, BUFFER_BYTES);
    offer_queues(2, 4);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 4096);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    open_manual_disk();

    submit(0, VIRTIO_BLK_READ, 3, 0);
    assert_done(&transfers[0], VIO_OK);
    submit(1, VIRTIO_BLK_READ, 3, 100);
    serve_until_idle();
    submit_reads(200, 50);
    serve_until_idle();

    assert_was_read(3, 100);
    assert_was_read(200, 50);
    assert_int_equal(machine.calls[FAKE_CALL_MAP], 0);
    close_disk();
}

/* Nothing is counted before a request is made: the queue says itself that it is full. */
static void given_physical_pointers_when_the_only_queue_is_full_then_the_rest_follows(void **state)
{
    const unsigned in_flight = 42; /* of 3 descriptors each, of 128 */

    (void)state;
    fake_platform_lend(&machine, buffer, BUFFER_BYTES);
    open_manual_disk();
    fill_buffer(300, 100, 9);

    submit_reads(0, 100);
    for (unsigned i = 100; i < 200; i++)
        submit(i, VIRTIO_BLK_WRITE, 200 + i, 1);
    virtio_blk_publish(&blk);

    assert_int_equal(disk.n_pending, in_flight);
    assert_int_equal(blk.counters.requests, in_flight);
    serve_until_idle();
    assert_int_equal(count_done(200), 200);
    assert_int_equal(disk.n_requests, 200);
    assert_int_equal(blk.counters.requests, 200);
    assert_was_read(0, 100);
    assert_was_read(300, 100);
    assert_int_equal(machine.calls[FAKE_CALL_MAP], 0);
    close_disk();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_many_transfers_when_published_then_as_many_in_flight_as_the_queue_holds),
        DISK_TEST(given_submitted_transfers_when_not_published_then_the_device_sees_none),
        DISK_TEST(given_batch_when_published_then_one_notification_for_each_queue),
        DISK_TEST(given_full_queue_when_some_are_answered_then_as_many_follow_in_order),
        DISK_TEST(given_idle_disk_when_polled_then_no_register_and_no_clock_is_touched),
        DISK_TEST(given_queued_transfers_when_answered_backwards_then_next_done_in_that_order),
        DISK_TEST(given_long_transfer_when_its_requests_end_then_done_with_the_last),
        DISK_TEST(given_transfer_of_no_bytes_when_submitted_then_done_at_once),
        DISK_TEST(given_refused_transfer_when_submitted_then_not_taken),
        DISK_TEST(given_transfers_under_way_when_asked_then_busy_and_changing_as_they_are),
        DISK_TEST(given_one_failing_transfer_when_others_succeed_then_its_status_alone),
        DISK_TEST(given_guess_when_it_fails_then_what_failed_before_is_still_told),
        DISK_TEST(given_physical_pointers_when_used_then_nothing_is_mapped),
        DISK_TEST(given_physical_pointers_when_behind_an_iommu_then_mapped_nevertheless),
        DISK_TEST(given_physical_pointers_when_reads_are_empty_long_or_too_many_then_done_as_well),
        DISK_TEST(given_physical_pointers_when_the_only_queue_is_full_then_the_rest_follows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
