/* Reading ahead: errors, no memory, what is dropped on its way, and the end of a disk. */

#include "devices/blk_spec.h"
#include "tests/fakes/ahead_fixture.h"
#include "tests/fakes/testing.h"

/* A device that answers one request per wait, the newest first: so what is read ahead stays away. */
static void open_with_ahead_left_behind(void)
{
    reader.device.delay_waits = 1;
    reader.device.order = FAKE_BLK_REVERSED;
    ahead_open();
}

static bool has_no_failure(void)
{
    return !reader.blk.device.failure.what && !reader.blk.failed.verb;
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void given_bad_sector_ahead_when_reader_gets_there_then_told_and_not_before(void **state)
{
    static const uint64_t bads[] = {10003, 10004, 10050, 10500, 13000};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(bads); i++) {
        reader.device.bad_sector = bads[i];
        ahead_open();

        for (uint64_t sector = 10000; sector < bads[i]; sector++) {
            ahead_read(sector, 1);
            assert_true(has_no_failure());
        }
        vio_status status = ahead_try_read(bads[i], 1);

        assert_int_equal(status, VIO_ERR_IO);
        assert_string_equal(reader.blk.failed.verb, "read");
        assert_int_equal(reader.blk.failed.sector, bads[i]);
        assert_int_equal(reader.blk.failed.bytes, AHEAD_SECTOR);
        assert_non_null(reader.blk.device.failure.what);
        assert_int_equal(ahead_try_read(bads[i], 1), VIO_ERR_IO);
        ahead_read_on(bads[i] + 1, 1000, 1);
        assert_null(reader.blk.device.failure.what);
        assert_int_equal(ahead_tear_down(NULL), 0);
        assert_int_equal(ahead_set_up(NULL), 0);
    }
}

static void
given_read_across_a_bad_sector_when_partly_read_ahead_then_fails_as_a_whole(void **state)
{
    (void)state;
    ahead_open();
    uint64_t sector = ahead_read_on(10000, 20, 8);
    uint64_t end_ahead = ahead_end_of_requests(0);
    reader.device.bad_sector = end_ahead + 1;
    assert_true(end_ahead > sector);

    vio_status status = ahead_try_read(end_ahead - 4, 8);

    assert_int_equal(status, VIO_ERR_IO);
    ahead_read(end_ahead - 4, 5);
    ahead_read_on(end_ahead + 2, 100, 8);
}

/* What went wrong is asked for after a read that failed, and is no news after one that did not. */
static void
given_read_that_failed_when_the_next_is_read_ahead_then_failure_is_forgotten(void **state)
{
    (void)state;
    ahead_open();
    uint64_t sector = ahead_read_on(10000, 20, 1);
    reader.device.bad_sector = 5;
    assert_int_equal(ahead_try_read(5, 1), VIO_ERR_IO);
    assert_non_null(reader.blk.device.failure.what);
    unsigned n_requests = reader.device.n_requests;

    ahead_read(sector, 1);

    assert_null(reader.blk.device.failure.what);
    assert_int_equal(reader.device.n_requests, n_requests);
}

static void given_error_that_passes_when_read_ahead_then_nobody_notices(void **state)
{
    (void)state;
    reader.device.lie = FAKE_BLK_STATUS;
    reader.device.lie_value = VIRTIO_BLK_S_IOERR;
    reader.device.lie_from = 3;
    reader.device.lie_until = 4;
    ahead_open();

    ahead_read_on(10000, 1000, 1);

    assert_true(has_no_failure());
    assert_true(reader.device.n_requests < 1000 / 4);
}

/* --- A device that dies ----------------------------------------------------------------------- */

/* Whatever the device was doing when it died, the reader is told of his own read, and why. */
static void assert_told_of(uint64_t sector)
{
    assert_non_null(reader.blk.device.failure.what);
    assert_non_null(reader.blk.failed.verb);
    assert_string_equal(reader.blk.failed.verb, "read");
    assert_in_range(reader.blk.failed.sector, sector, sector + 7);
}

static void read_while_it_works(vio_status expected)
{
    uint64_t sector = 1000;
    vio_status status = VIO_OK;

    while (status == VIO_OK) {
        assert_true(sector < AHEAD_DISK_SECTORS - 8);
        status = ahead_try_read(sector, 8);
        sector += 8;
    }
    assert_int_equal(status, expected);
    assert_told_of(sector - 8);
    assert_int_equal(ahead_try_read(sector + 8000, 8), expected);
    assert_told_of(sector + 8000);
}

static void given_device_that_lies_in_a_stream_when_read_then_right_data_or_an_error(void **state)
{
    static const struct {
        enum fake_blk_lie lie;
        uint32_t value;
        vio_status status;
    } cases[] = {
        {FAKE_BLK_IDX_JUMPS, 1000, VIO_ERR_QUEUE_BROKEN},
        {FAKE_BLK_ID, 5000, VIO_ERR_QUEUE_BROKEN},
        {FAKE_BLK_NEVER, 0, VIO_ERR_TIMEOUT},
        {FAKE_BLK_NO_DATA, 0, VIO_ERR_DEVICE},
    };

    (void)state;
    for (unsigned i = 0; i < 8 * ARRAY_LENGTH(cases); i++) {
        reader.device.lie = cases[i / 8].lie;
        reader.device.lie_value = cases[i / 8].value;
        reader.device.lie_from = i % 8;
        reader.device.delay_waits = i % 3;
        ahead_open();

        read_while_it_works(cases[i / 8].status);

        assert_int_equal(fake_platform_live(&reader.platform, FAKE_CALL_MAP), 0);
        assert_int_equal(ahead_tear_down(NULL), 0);
        assert_int_equal(ahead_set_up(NULL), 0);
    }
}

static void
given_device_gone_in_a_stream_when_read_then_gone_and_nothing_freed_too_early(void **state)
{
    (void)state;
    open_with_ahead_left_behind();
    ahead_read_on(0, 3, 8);
    assert_true(reader.device.n_pending > 0);
    reader.device.transport.lie = FAKE_GONE;

    read_while_it_works(VIO_ERR_GONE);

    assert_true(reader.blk.quarantined);
    ahead_close();
    ahead_assert_quarantined((unsigned)(reader.chunk_bytes / READ_AHEAD_CHUNK_BYTES_MAX));
}

static void given_disk_out_of_use_when_read_then_nothing_of_it_is_served_from_memory(void **state)
{
    (void)state;
    ahead_open();
    uint64_t sector = ahead_read_on(10000, 20, 8);
    assert_true(ahead_end_of_requests(0) > sector + 8);
    reader.device.transport.lie = FAKE_GONE;
    assert_int_equal(ahead_try_read(0, 8), VIO_ERR_GONE);

    assert_int_equal(ahead_try_read(sector, 8), VIO_ERR_GONE);

    ahead_close();
    ahead_assert_quarantined((unsigned)(reader.chunk_bytes / READ_AHEAD_CHUNK_BYTES_MAX));
}

/* The read's answer is right; what the device did next to it is seen only when memory is looked for. */
static void
given_device_that_lies_beside_a_read_when_it_begins_a_stream_then_none_begins(void **state)
{
    (void)state;
    open_with_ahead_left_behind();
    ahead_read_on(0, 3, 8);
    assert_true(reader.device.n_pending > 0);
    ahead_read_on(20000, 2, 8);
    unsigned n_requests = reader.device.n_requests;
    reader.device.lie = FAKE_BLK_ID_TWICE;
    reader.device.lie_from = reader.device.n_returned;

    ahead_read(20016, 8);

    assert_int_equal(reader.blk.dead, VIO_ERR_QUEUE_BROKEN);
    assert_int_equal(reader.ahead.n_chunks, 0);
    assert_int_equal(ahead_try_read(20024, 8), VIO_ERR_QUEUE_BROKEN);
    assert_int_equal(reader.device.n_requests, n_requests + 1);
}

/* A reset that brings the device up again sends the reads again, those ahead too. */
static void given_device_that_needs_a_reset_in_a_stream_when_read_then_goes_on(void **state)
{
    (void)state;
    reader.device.lie = FAKE_BLK_NEVER;
    reader.device.lie_from = 5;
    reader.device.delay_waits = 1;
    ahead_open();
    reader.device.reset_is_honest = reader.device.n_resets + 1;

    ahead_read_on(0, 1000, 8);

    assert_int_equal(reader.blk.counters.recoveries, 1);
    assert_true(has_no_failure());
}

/* --- Memory ----------------------------------------------------------------------------------- */

static void given_no_memory_for_chunks_when_read_then_as_if_there_were_no_read_ahead(void **state)
{
    (void)state;
    ahead_open();
    fake_platform_fail_from(&reader.platform, FAKE_CALL_ALLOC, 1);

    ahead_read_on(0, 100, 8);

    assert_int_equal(reader.device.n_requests, 100);
    assert_int_equal(reader.chunk_bytes_max, 0);
    assert_true(has_no_failure());
}

static void given_memory_for_some_chunks_when_read_then_still_right_and_still_ahead(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 6; n++) {
        ahead_open();
        fake_platform_fail_from(&reader.platform, FAKE_CALL_ALLOC, n + 1);

        ahead_read_on(0, 2000, 8);

        assert_true(reader.device.n_requests < 2000 / 4);
        assert_int_equal(reader.chunk_bytes_max, n * READ_AHEAD_CHUNK_BYTES_MAX);
        assert_int_equal(ahead_tear_down(NULL), 0);
        assert_int_equal(ahead_set_up(NULL), 0);
    }
}

static void given_no_mapping_for_a_chunk_when_read_then_nobody_notices(void **state)
{
    (void)state;
    reader.platform.map_bytes_max = 8 * AHEAD_SECTOR;
    ahead_open();

    ahead_read_on(0, 500, 8);

    assert_true(has_no_failure());
}

/* --- Dropped on its way ----------------------------------------------------------------------- */

static void
given_ahead_in_flight_when_dropped_then_its_memory_is_not_used_before_it_is_done(void **state)
{
    (void)state;
    open_with_ahead_left_behind();
    ahead_read_on(0, 3, 8);
    unsigned n_ahead = reader.device.n_pending;
    size_t chunk_bytes = reader.chunk_bytes;
    assert_true(n_ahead > 0);

    read_ahead_drop(&reader.ahead);
    ahead_read_on(20000, 20, 8); /* a stream, for which there is no memory now */

    assert_int_equal(reader.device.n_pending, n_ahead);
    assert_int_equal(reader.chunk_bytes, chunk_bytes);
    assert_int_equal(ahead_end_of_requests(3 + n_ahead), 20000 + 20 * 8);
    fake_blk_device_serve_all(&reader.device);
    ahead_read(20160, 8);
    assert_true(ahead_end_of_requests(0) > 20168 + 64);
    ahead_read_on(20168, 100, 8);
}

static void given_chunk_on_its_way_when_passed_over_then_not_waited_for_and_not_reused(void **state)
{
    (void)state;
    open_with_ahead_left_behind();
    uint64_t sector = ahead_read_on(0, 8, 64);
    uint64_t end = ahead_end_of_requests(0);
    unsigned n_pending = reader.device.n_pending;
    assert_true(n_pending > 1);

    ahead_read(end - 8, 8);

    assert_int_equal(reader.device.n_pending, n_pending);
    ahead_read_on(sector, 100, 8);
}

/* --- The end of the disk's life --------------------------------------------------------------- */

static void given_ahead_in_flight_when_closed_then_all_memory_is_given_back(void **state)
{
    (void)state;
    open_with_ahead_left_behind();
    ahead_read_on(0, 3, 8);
    assert_true(reader.device.n_pending > 0);
    assert_true(reader.chunk_bytes > 0);

    ahead_close();

    assert_int_equal(reader.chunk_bytes, 0);
    assert_int_equal(fake_platform_live(&reader.platform, FAKE_CALL_ALLOC), 0);
}

static void given_disk_that_confirms_no_reset_when_released_then_nothing_is_freed(void **state)
{
    (void)state;
    open_with_ahead_left_behind();
    ahead_read_on(0, 3, 8);
    size_t chunk_bytes = reader.chunk_bytes;
    assert_true(chunk_bytes > 0);
    reader.device.transport.lie = FAKE_RESET_STUCK;

    ahead_close();

    assert_true(reader.blk.quarantined);
    assert_int_equal(reader.chunk_bytes, chunk_bytes);
    ahead_assert_quarantined((unsigned)(chunk_bytes / READ_AHEAD_CHUNK_BYTES_MAX));
}

static void given_released_when_initialised_again_then_reads_as_at_first(void **state)
{
    (void)state;
    ahead_open();
    ahead_read_on(0, 100, 8);
    while (virtio_blk_is_busy(&reader.blk))
        (void)virtio_blk_poll(&reader.blk);
    read_ahead_release(&reader.ahead);
    assert_int_equal(reader.chunk_bytes, 0);

    read_ahead_init(&reader.ahead, &reader.blk);
    unsigned n_requests = reader.device.n_requests;
    ahead_read(0, 8);
    ahead_read(8, 8);

    assert_int_equal(reader.device.n_requests, n_requests + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AHEAD_TEST(given_bad_sector_ahead_when_reader_gets_there_then_told_and_not_before),
        AHEAD_TEST(given_read_across_a_bad_sector_when_partly_read_ahead_then_fails_as_a_whole),
        AHEAD_TEST(given_read_that_failed_when_the_next_is_read_ahead_then_failure_is_forgotten),
        AHEAD_TEST(given_error_that_passes_when_read_ahead_then_nobody_notices),
        AHEAD_TEST(given_device_that_lies_in_a_stream_when_read_then_right_data_or_an_error),
        AHEAD_TEST(given_device_gone_in_a_stream_when_read_then_gone_and_nothing_freed_too_early),
        AHEAD_TEST(given_disk_out_of_use_when_read_then_nothing_of_it_is_served_from_memory),
        AHEAD_TEST(given_device_that_lies_beside_a_read_when_it_begins_a_stream_then_none_begins),
        AHEAD_TEST(given_device_that_needs_a_reset_in_a_stream_when_read_then_goes_on),
        AHEAD_TEST(given_no_memory_for_chunks_when_read_then_as_if_there_were_no_read_ahead),
        AHEAD_TEST(given_memory_for_some_chunks_when_read_then_still_right_and_still_ahead),
        AHEAD_TEST(given_no_mapping_for_a_chunk_when_read_then_nobody_notices),
        AHEAD_TEST(
            given_ahead_in_flight_when_dropped_then_its_memory_is_not_used_before_it_is_done),
        AHEAD_TEST(given_chunk_on_its_way_when_passed_over_then_not_waited_for_and_not_reused),
        AHEAD_TEST(given_ahead_in_flight_when_closed_then_all_memory_is_given_back),
        AHEAD_TEST(given_disk_that_confirms_no_reset_when_released_then_nothing_is_freed),
        AHEAD_TEST(given_released_when_initialised_again_then_reads_as_at_first),
    };

    return cmocka_run_group_tests_name("read_ahead_faults", tests, NULL, NULL);
}
