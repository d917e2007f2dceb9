/* devices/blk.h: deadlines, and what becomes of the requests of a device that misses one. */

#include "core/device_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

#define LIMIT_US 1000000u
#define MORE_US  (LIMIT_US + 200000u)
#define LESS_US  (LIMIT_US - 200000u)

static void open_impatient_disk(void)
{
    open_manual_disk();
    blk.request_limit_us = LIMIT_US;
    blk.trust_queue_reset = true;
}

static void submit_writes(unsigned first, unsigned n_transfers)
{
    for (unsigned i = first; i < first + n_transfers; i++)
        submit(i, VIRTIO_BLK_WRITE, i, 1);
}

/* The device takes the next n requests for itself. */
static void lose(unsigned n_requests)
{
    disk.lie = FAKE_BLK_NEVER;
    disk.lie_from = disk.n_returned;
    disk.lie_until = disk.n_returned + n_requests;
    fake_blk_device_serve(&disk, n_requests);
}

/* A write that is not answered, and the recovery that follows. */
static void time_out(unsigned index)
{
    submit(index, VIRTIO_BLK_WRITE, index, 1);
    virtio_blk_publish(&blk);
    poll_for(MORE_US);
    assert_done(&transfers[index], VIO_ERR_TIMEOUT);
}

static void assert_works(void)
{
    unsigned n_requests = disk.n_requests;

    memset(buffer, BUFFER_FILL, 100 * SECTOR);
    disk.delay_waits = 1;
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, 100 * SECTOR), VIO_OK);
    disk.delay_waits = NEVER_BY_ITSELF;
    assert_was_read(0, 100);
    assert_true(disk.n_requests > n_requests);
    assert_int_equal(disk.transport.status, 0x0F);
}

/* --- The deadline ------------------------------------------------------------------------------ */

static void given_own_limit_when_no_answer_then_given_up_at_that_time(void **state)
{
    (void)state;
    static const uint64_t limits_us[] = {400000, LIMIT_US, 7 * LIMIT_US, 50 * LIMIT_US};

    for (unsigned i = 0; i < ARRAY_LENGTH(limits_us); i++) {
        new_disk(DISK_SECTORS);
        open_manual_disk();
        blk.request_limit_us = limits_us[i];
        submit_writes(0, 1);
        virtio_blk_publish(&blk);

        poll_for(limits_us[i] - 100000);
        assert_false(transfers[0].done);
        poll_for(300000);

        assert_done(&transfers[0], VIO_ERR_TIMEOUT);
        assert_true(blk.device.failure.value >= limits_us[i]);
        close_disk();
    }
}

/* An I/O error and a lie in one poll: what ended the device is the lie. */
static void given_lie_behind_an_io_error_when_polled_then_the_lie_is_the_reason(void **state)
{
    (void)state;
    open_impatient_disk();
    submit_reads(0, 2);
    virtio_blk_publish(&blk);
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    fake_blk_device_serve(&disk, 1);
    disk.lie = FAKE_BLK_ID;
    disk.lie_value = 77777;
    fake_blk_device_serve(&disk, 1);

    (void)virtio_blk_poll(&blk);

    assert_done(&transfers[0], VIO_ERR_IO);
    assert_done(&transfers[1], VIO_ERR_QUEUE_BROKEN);
    assert_int_equal(blk.device.failure.value, 77777);
    close_disk();
}

/* Time between two polls counts up to a limit: waits that end late must not be many of them. */
static void given_waits_that_end_late_when_no_answer_then_given_up_nearly_in_time(void **state)
{
    (void)state;
    static const uint64_t ticks_us[] = {0, 1000, 10000, 20000};

    for (unsigned i = 0; i < ARRAY_LENGTH(ticks_us); i++) {
        new_disk(DISK_SECTORS);
        open_impatient_disk();
        machine.tick_us = ticks_us[i];
        uint64_t start_us = machine.now_us;

        assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_TIMEOUT);

        assert_in_range(machine.now_us - start_us, LIMIT_US, LIMIT_US + 300000);
        close_disk();
    }
}

static void given_pause_without_requests_when_one_follows_then_it_has_all_of_its_time(void **state)
{
    (void)state;
    open_impatient_disk();
    submit_writes(0, 1);
    virtio_blk_publish(&blk);
    poll_for(50000);
    serve(1);
    machine.now_us += 100 * LIMIT_US;
    submit_writes(1, 1);
    virtio_blk_publish(&blk);

    assert_int_equal(virtio_blk_poll(&blk), 0);
    poll_for(LIMIT_US - 50000);

    assert_false(transfers[1].done);
    poll_for(100000);
    assert_done(&transfers[1], VIO_ERR_TIMEOUT);
    close_disk();
}

static void given_slow_device_when_it_moves_then_no_request_is_given_up(void **state)
{
    (void)state;
    open_impatient_disk();
    submit_writes(0, 10);
    virtio_blk_publish(&blk);

    for (unsigned i = 0; i < 10; i++) {
        poll_for(LESS_US);
        serve(1);
    }

    for (unsigned i = 0; i < 10; i++)
        assert_done(&transfers[i], VIO_OK);
    assert_int_equal(blk.counters.recoveries, 0);
    close_disk();
}

static void given_one_lost_request_among_many_when_time_passes_then_it_alone_has_failed(void **s)
{
    (void)s;
    open_impatient_disk();
    submit_writes(0, 20);
    virtio_blk_publish(&blk);
    serve(3);
    lose(1);
    serve(16);

    poll_for(MORE_US);

    for (unsigned i = 0; i < 20; i++)
        assert_done(&transfers[i], i == 3 ? VIO_ERR_TIMEOUT : VIO_OK);
    assert_int_equal(blk.counters.recoveries, 1);
    assert_works();
    close_disk();
}

static void given_one_lost_request_when_each_look_finds_other_answers_then_found_too(void **state)
{
    (void)state;
    open_impatient_disk();
    submit_writes(0, 1);
    virtio_blk_publish(&blk);
    lose(1);

    for (unsigned i = 1; i < 100 && !transfers[0].done; i++) {
        submit(i, VIRTIO_BLK_READ, i, 1);
        virtio_blk_publish(&blk);
        machine.now_us += 50000;
        fake_blk_device_serve_all(&disk);
        (void)virtio_blk_poll(&blk);
        assert_done(&transfers[i], VIO_OK);
    }

    assert_done(&transfers[0], VIO_ERR_TIMEOUT);
    close_disk();
}

/* --- What is reset ----------------------------------------------------------------------------- */

static void given_ring_reset_when_a_request_is_lost_then_only_its_queue_is_reset(void **state)
{
    /* Checks: CLEAN-1, QRESET-3 */
    (void)state;
    offer(VIRTIO_F_RING_RESET);
    offer_queues(2, 32);
    open_impatient_disk();
    submit_writes(0, 6);
    virtio_blk_publish(&blk);
    unsigned lost_queue = disk.requests[0].queue;
    fake_log_start();

    poll_for(MORE_US);

    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET), 1);
    assert_int_equal(fake_log_at(fake_log_find(FAKE_QUEUE_RESET, 0))->at, lost_queue);
    assert_int_equal(fake_log_count(FAKE_STATUS_WRITE), 0);
    assert_int_equal(count_done(6), 3);
    serve(3);
    for (unsigned i = 0; i < 6; i++)
        assert_done(&transfers[disk.requests[i].sector],
                    disk.requests[i].queue == lost_queue ? VIO_ERR_TIMEOUT : VIO_OK);
    submit_writes(6, 40);
    serve_until_idle();
    assert_int_equal(count_done(46), 46);
    assert_works();
    close_disk();
}

static void given_no_ring_reset_when_a_request_is_lost_then_the_device_is_reset(void **state)
{
    /* Checks: STAT-4, CLEAN-1 */
    (void)state;
    offer_queues(2, 32);
    open_impatient_disk();
    submit_writes(0, 6);
    virtio_blk_publish(&blk);
    fake_log_start();

    poll_for(MORE_US);

    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET), 0);
    assert_int_equal(fake_log_at(fake_log_find(FAKE_STATUS_WRITE, 0))->value, 0);
    for (unsigned i = 0; i < 6; i++)
        assert_done(&transfers[i], VIO_ERR_TIMEOUT);
    assert_int_equal(blk.info.n_queues, 2);
    assert_works();
    close_disk();
}

static void given_queue_that_is_not_reset_when_a_request_is_lost_then_the_device_is(void **state)
{
    (void)state;
    static const enum fake_transport_lie lies[] = {FAKE_QUEUE_RESET_STUCK, FAKE_REFUSES_QUEUE};

    for (unsigned i = 0; i < ARRAY_LENGTH(lies); i++) {
        new_disk(DISK_SECTORS);
        offer(VIRTIO_F_RING_RESET);
        open_impatient_disk();
        disk.transport.lie = lies[i];
        /* The reset of a queue counts where it is confirmed; that of the device makes it honest. */
        disk.reset_is_honest = disk.n_resets + (lies[i] == FAKE_REFUSES_QUEUE ? 2 : 1);
        submit_reads(0, 3);
        virtio_blk_publish(&blk);

        poll_for(MORE_US);

        assert_int_equal(disk.transport.status, 0x0F);
        assert_int_equal(disk.n_requests, 6);
        serve(3);
        assert_was_read(0, 3);
        assert_works();
        close_disk();
    }
}

static void
given_queue_reset_that_is_not_trusted_when_a_request_is_lost_then_the_device_is_reset(void **state)
{
    (void)state;
    offer(VIRTIO_F_RING_RESET);
    open_manual_disk();
    assert_false(blk.trust_queue_reset);
    blk.request_limit_us = LIMIT_US;
    submit_reads(0, 1);
    virtio_blk_publish(&blk);
    fake_log_start();

    poll_for(MORE_US);

    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET), 0);
    assert_int_not_equal(fake_log_find(FAKE_STATUS_WRITE, 0), FAKE_LOG_NONE);
    assert_int_equal(blk.counters.recoveries, 1);
    serve(1);
    assert_was_read(0, 1);
    close_disk();
}

static void given_lost_request_when_recovered_then_buffers_come_back_behind_the_reset(void **state)
{
    /* Checks: CLEAN-1, CLEAN-2, QRESET-1, QRESET-2 */
    (void)state;
    static const struct {
        bool ring_reset;
        enum fake_transport_lie lie;
        enum fake_event_kind confirmation;
    } cases[] = {{true, FAKE_QUEUE_RESET_SLOW, FAKE_QUEUE_RESET_READ},
                 {false, FAKE_RESET_SLOW, FAKE_STATUS_READ}};

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        new_disk(DISK_SECTORS);
        if (cases[i].ring_reset)
            offer(VIRTIO_F_RING_RESET);
        open_impatient_disk();
        submit_writes(0, 2);
        virtio_blk_publish(&blk);
        disk.transport.lie = cases[i].lie;
        disk.transport.lie_count = 20;
        fake_log_start();

        poll_for(MORE_US);

        assert_int_equal(disk.transport.lie_count, 0);
        assert_int_equal(count_done(2), 2);
        size_t first_unmap = fake_log_find(FAKE_UNMAP, 0);
        size_t n_before = 0;
        for (size_t at = fake_log_find(cases[i].confirmation, 0); at < first_unmap;
             at = fake_log_find(cases[i].confirmation, at + 1))
            n_before++;
        assert_true(n_before >= 20);
        disk.transport.lie = FAKE_HONEST;
        close_disk();
    }
}

/* --- What is sent again ------------------------------------------------------------------------ */

static void given_reads_without_answer_when_recovered_then_sent_again_once(void **state)
{
    /* Checks: STAT-4 */
    (void)state;
    open_impatient_disk();
    submit_reads(0, 3);
    virtio_blk_publish(&blk);

    poll_for(MORE_US);
    assert_int_equal(disk.n_requests, 6);
    assert_int_equal(count_done(3), 0);
    assert_int_equal(fake_platform_live(&machine, FAKE_CALL_MAP), 3);
    serve(1);
    poll_for(MORE_US);

    assert_int_equal(disk.n_requests, 6);
    assert_done(&transfers[0], VIO_OK);
    assert_done(&transfers[1], VIO_ERR_TIMEOUT);
    assert_done(&transfers[2], VIO_ERR_TIMEOUT);
    assert_int_equal(blk.counters.recoveries, 2);
    assert_works();
    close_disk();
}

static void given_reads_when_the_second_try_succeeds_then_nothing_failed(void **state)
{
    (void)state;
    for (unsigned ring_reset = 0; ring_reset < 2; ring_reset++) {
        new_disk(DISK_SECTORS);
        if (ring_reset)
            offer(VIRTIO_F_RING_RESET);
        open_impatient_disk();
        submit_reads(0, 60); /* more than fit */
        virtio_blk_publish(&blk);

        poll_for(MORE_US);
        serve_until_idle();

        for (unsigned i = 0; i < 60; i++)
            assert_done(&transfers[i], VIO_OK);
        assert_was_read(0, 60);
        assert_int_equal(blk.counters.recoveries, 1);
        assert_null(blk.device.failure.what);
        assert_null(blk.failed.verb);
        close_disk();
    }
}

static void given_changes_without_answer_when_recovered_then_failed_and_not_sent_again(void **s)
{
    /* Checks: STAT-4 */
    (void)s;
    static const enum virtio_blk_operation operations[] = {
        VIRTIO_BLK_WRITE, VIRTIO_BLK_FLUSH, VIRTIO_BLK_DISCARD, VIRTIO_BLK_WRITE_ZEROES};

    fake_blk_device_offer(&disk, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS, 4,
                          64);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG, 4, 1);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_WRITE_ZEROES,
                          VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS, 4, 64);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SEG, 4, 1);
    disk.transport.config_bytes = 60;
    open_impatient_disk();
    for (unsigned i = 0; i < ARRAY_LENGTH(operations); i++) {
        submit_writes(0, 1); /* so that there is something to flush, and something answered */
        virtio_blk_publish(&blk);
        serve(1);
        submit(1, operations[i], 0, operations[i] == VIRTIO_BLK_FLUSH ? 0 : 8);
        virtio_blk_publish(&blk);
        unsigned n_requests = disk.n_requests;

        poll_for(3 * LIMIT_US);

        assert_done(&transfers[1], VIO_ERR_TIMEOUT);
        assert_int_equal(disk.n_requests, n_requests);
        assert_int_equal(blk.counters.recoveries, i + 1);
        assert_true(blk.has_unflushed);
    }
    close_disk();
}

/* --- How often --------------------------------------------------------------------------------- */

static void given_nothing_answered_since_when_it_times_out_again_then_out_of_use(void **state)
{
    (void)state;
    open_impatient_disk();
    time_out(0);
    assert_int_equal(disk.transport.status, 0x0F);

    time_out(1);

    assert_int_equal(disk.transport.status, 0);
    assert_int_equal(blk.counters.recoveries, 1);
    assert_dead(VIO_ERR_TIMEOUT);
    close_disk();
}

static void given_something_answered_since_when_it_times_out_again_then_recovered_again(void **s)
{
    (void)s;
    open_impatient_disk();

    for (unsigned i = 0; i < 5; i++) {
        time_out(i);
        assert_int_equal(blk.counters.recoveries, i + 1);
        assert_works();
    }
    close_disk();
}

/* --- What is told ------------------------------------------------------------------------------ */

static void given_lost_write_when_given_up_then_told_until_the_next_transfer(void **state)
{
    (void)state;
    open_impatient_disk();

    time_out(7);

    assert_string_equal(blk.device.failure.what, "no answer, after microseconds");
    assert_in_range(blk.device.failure.value, LIMIT_US, MORE_US);
    assert_string_equal(blk.failed.verb, "write");
    assert_int_equal(blk.failed.sector, 7);
    submit_reads(0, 1);
    assert_null(blk.device.failure.what);
    close_disk();
}

static void given_lost_guess_when_given_up_then_nothing_is_told(void **state)
{
    (void)state;
    open_impatient_disk();
    transfers[7].is_guess = true;

    time_out(7);

    assert_null(blk.device.failure.what);
    assert_null(blk.failed.verb);
    close_disk();
}

/* --- Other reasons ----------------------------------------------------------------------------- */

static void given_device_that_needs_reset_when_polled_then_noticed_soon(void **state)
{
    /* Checks: STAT-4 */
    (void)state;
    for (unsigned waited_us = 0; waited_us < LIMIT_US; waited_us += 50000) {
        new_disk(DISK_SECTORS);
        open_manual_disk();
        submit(0, VIRTIO_BLK_WRITE, 0, 1);
        submit(1, VIRTIO_BLK_READ, 1, 1);
        virtio_blk_publish(&blk);
        poll_for(waited_us);
        disk.transport.lie = FAKE_NEEDS_RESET;

        poll_for(200000);

        assert_done(&transfers[0], VIO_ERR_NEEDS_RESET);
        assert_false(transfers[1].done);
        serve(1);
        assert_done(&transfers[1], VIO_OK);
        assert_works();
        close_disk();
    }
}

static void given_device_that_is_gone_when_polled_then_out_of_use_at_once(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    open_manual_disk();
    submit_reads(0, 60);
    virtio_blk_publish(&blk);
    poll_for(LIMIT_US);
    disk.transport.lie = FAKE_GONE;
    fake_log_start();

    poll_for(200000);

    for (unsigned i = 0; i < 60; i++)
        assert_done(&transfers[i], VIO_ERR_GONE);
    assert_true(fake_log_find(FAKE_ISOLATE, 0) < fake_log_find(FAKE_UNMAP, 0));
    assert_int_equal(blk.counters.recoveries, 0);
    assert_dead(VIO_ERR_GONE);
    /* It may come back, but not with memory that it may still be writing to. */
    disk.transport.lie = FAKE_HONEST;
    assert_int_equal(virtio_blk_reset(&blk), VIO_ERR_GONE);
    assert_dead(VIO_ERR_GONE);
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&machine, DISK_DMA_BLOCKS);
}

/* It was there when its status was looked at, and not any more when it was to be reset. */
static void given_device_that_goes_at_the_deadline_when_recovered_then_gone(void **state)
{
    (void)state;
    open_impatient_disk();
    submit_reads(0, 2);
    virtio_blk_publish(&blk);
    fake_transport_lie_from(&disk.transport, FAKE_GONE, 0);

    poll_for(MORE_US);

    assert_done(&transfers[0], VIO_ERR_GONE);
    assert_done(&transfers[1], VIO_ERR_GONE);
    assert_true(virtio_blk_is_gone(&blk));
    assert_dead(VIO_ERR_GONE);
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&machine, DISK_DMA_BLOCKS);
}

static void given_reset_that_is_not_confirmed_when_given_up_then_quarantined_for_good(void **state)
{
    /* Checks: CLEAN-2, RESET-1 */
    (void)state;
    open_impatient_disk();
    submit_reads(0, 60);
    virtio_blk_publish(&blk);
    disk.transport.lie = FAKE_RESET_STUCK;
    fake_log_start();

    poll_for(MORE_US);

    for (unsigned i = 0; i < 60; i++)
        assert_done(&transfers[i], VIO_ERR_TIMEOUT);
    assert_true(fake_log_find(FAKE_ISOLATE, 0) < fake_log_find(FAKE_UNMAP, 0));
    assert_true(blk.quarantined);
    assert_true(blk.device.failure.value >= LIMIT_US); /* of the request, not of its reset */
    assert_dead(VIO_ERR_TIMEOUT);
    disk.transport.lie = FAKE_HONEST;
    assert_int_equal(virtio_blk_reset(&blk), VIO_ERR_TIMEOUT);
    assert_dead(VIO_ERR_TIMEOUT);
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&machine, DISK_DMA_BLOCKS);
}

static void
given_another_lost_request_when_a_write_is_waited_for_then_no_longer_than_its_deadline(void **state)
{
    (void)state;
    open_impatient_disk();
    submit_reads(0, 1);
    submit(1, VIRTIO_BLK_WRITE, 9, 1);
    uint64_t start_us = machine.now_us;

    assert_int_equal(virtio_blk_wait(&blk, &transfers[1]), VIO_ERR_TIMEOUT);

    assert_in_range(machine.now_us - start_us, LIMIT_US, LIMIT_US + 400000);
    assert_false(transfers[0].done);
    serve(1);
    assert_done(&transfers[0], VIO_OK);
    close_disk();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_own_limit_when_no_answer_then_given_up_at_that_time),
        DISK_TEST(given_lie_behind_an_io_error_when_polled_then_the_lie_is_the_reason),
        DISK_TEST(given_waits_that_end_late_when_no_answer_then_given_up_nearly_in_time),
        DISK_TEST(given_pause_without_requests_when_one_follows_then_it_has_all_of_its_time),
        DISK_TEST(given_slow_device_when_it_moves_then_no_request_is_given_up),
        DISK_TEST(given_one_lost_request_among_many_when_time_passes_then_it_alone_has_failed),
        DISK_TEST(given_one_lost_request_when_each_look_finds_other_answers_then_found_too),
        DISK_TEST(given_ring_reset_when_a_request_is_lost_then_only_its_queue_is_reset),
        DISK_TEST(given_no_ring_reset_when_a_request_is_lost_then_the_device_is_reset),
        DISK_TEST(given_queue_that_is_not_reset_when_a_request_is_lost_then_the_device_is),
        DISK_TEST(
            given_queue_reset_that_is_not_trusted_when_a_request_is_lost_then_the_device_is_reset),
        DISK_TEST(given_lost_request_when_recovered_then_buffers_come_back_behind_the_reset),
        DISK_TEST(given_reads_without_answer_when_recovered_then_sent_again_once),
        DISK_TEST(given_reads_when_the_second_try_succeeds_then_nothing_failed),
        DISK_TEST(given_changes_without_answer_when_recovered_then_failed_and_not_sent_again),
        DISK_TEST(given_nothing_answered_since_when_it_times_out_again_then_out_of_use),
        DISK_TEST(given_something_answered_since_when_it_times_out_again_then_recovered_again),
        DISK_TEST(given_lost_write_when_given_up_then_told_until_the_next_transfer),
        DISK_TEST(given_lost_guess_when_given_up_then_nothing_is_told),
        DISK_TEST(given_device_that_needs_reset_when_polled_then_noticed_soon),
        DISK_TEST(given_device_that_is_gone_when_polled_then_out_of_use_at_once),
        DISK_TEST(given_device_that_goes_at_the_deadline_when_recovered_then_gone),
        DISK_TEST(given_reset_that_is_not_confirmed_when_given_up_then_quarantined_for_good),
        DISK_TEST(
            given_another_lost_request_when_a_write_is_waited_for_then_no_longer_than_its_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
