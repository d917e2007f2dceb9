/* Reading ahead: large reads go to the device where that takes as long as copying them. */

#include "devices/blk_spec.h"
#include "tests/fakes/ahead_fixture.h"
#include "tests/fakes/testing.h"

#define LARGE_SECTORS 128u /* 64 KiB, as the firmware's FAT driver asks for */
#define SMALL_SECTORS 32u  /* 16 KiB */
#define UNTIL_JUDGED  12u  /* and all that was read ahead until then is used up */
#define UNTIL_FAR     80u  /* as far ahead as it goes */
#define MEASURED      20u
#define ELSEWHERE     20000u

/* A device that takes so long for any request, and a processor that takes so long for any copy. */
static void open_with(uint64_t device_us, uint64_t copy_us)
{
    reader.device.delay_waits = 1;
    reader.platform.wait_us = device_us;
    reader.copy_us = copy_us;
    ahead_open();
}

/* Requests of the last MEASURED of a stream's reads, which moves on. */
static unsigned requests_of_stream(uint64_t *sector, unsigned n_before, unsigned n_sectors)
{
    *sector = ahead_read_on(*sector, n_before, n_sectors);
    unsigned n_requests = reader.device.n_requests;
    *sector = ahead_read_on(*sector, MEASURED, n_sectors);
    return reader.device.n_requests - n_requests;
}

/* A stream of 64 KiB that is left to the device; its end. */
static uint64_t open_judged_slower(void)
{
    uint64_t sector = 0;

    open_with(10, 6);
    assert_int_equal(requests_of_stream(&sector, UNTIL_JUDGED, LARGE_SECTORS), MEASURED);
    return sector;
}

static void given_copies_slower_when_stream_goes_on_then_each_read_is_a_request(void **state)
{
    (void)state;
    uint64_t sector = open_judged_slower();

    assert_int_equal(ahead_end_of_requests(0), sector);
}

static void given_copies_no_slower_when_stream_goes_on_then_fewer_requests(void **state)
{
    static const uint64_t copies_us[] = {0, 1, 2};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(copies_us); i++) {
        uint64_t sector = 0;
        open_with(10, copies_us[i]);

        assert_true(requests_of_stream(&sector, UNTIL_FAR, LARGE_SECTORS) <= MEASURED / 2);
        assert_int_equal(ahead_tear_down(NULL), 0);
        assert_int_equal(ahead_set_up(NULL), 0);
    }
}

static void given_copies_slower_when_reads_are_small_then_fewer_requests_all_the_same(void **state)
{
    (void)state;
    uint64_t sector = 0;
    open_with(10, 1000);

    assert_true(requests_of_stream(&sector, UNTIL_FAR, SMALL_SECTORS) <= MEASURED / 2);
}

static void given_copies_slower_when_smaller_reads_follow_then_these_are_read_ahead(void **state)
{
    (void)state;
    uint64_t sector = open_judged_slower();

    assert_true(requests_of_stream(&sector, UNTIL_FAR, SMALL_SECTORS) <= MEASURED / 2);
}

static void given_copies_slower_when_another_stream_begins_then_judged_from_the_start(void **state)
{
    (void)state;
    (void)open_judged_slower();
    uint64_t elsewhere = ELSEWHERE;

    assert_int_equal(requests_of_stream(&elsewhere, 0, LARGE_SECTORS), MEASURED);
}

static void given_copies_slower_when_others_are_read_in_between_then_still_judged(void **state)
{
    static const uint64_t others[] = {1, SMALL_SECTORS, LARGE_SECTORS,
                                      READ_AHEAD_BYPASS_BYTES / AHEAD_SECTOR};

    (void)state;
    uint64_t sector = open_judged_slower();
    for (unsigned i = 0; i < ARRAY_LENGTH(others); i++) {
        ahead_read(39000, others[i]);

        assert_int_equal(requests_of_stream(&sector, 0, LARGE_SECTORS), MEASURED);
    }
}

/* As where the first of a file is in the host's cache, and the rest is not. */
static void given_device_that_becomes_slower_when_stream_goes_on_then_read_ahead_again(void **state)
{
    (void)state;
    uint64_t sector = open_judged_slower();

    reader.platform.wait_us = 1000;

    assert_true(requests_of_stream(&sector, UNTIL_FAR, LARGE_SECTORS) <= MEASURED / 2);
}

static void given_one_slow_answer_when_stream_goes_on_then_still_judged(void **state)
{
    (void)state;
    uint64_t sector = open_judged_slower();

    reader.platform.wait_us = 1000;
    sector = ahead_read_on(sector, 3, LARGE_SECTORS);
    reader.platform.wait_us = 10;

    assert_int_equal(requests_of_stream(&sector, 0, LARGE_SECTORS), MEASURED);
}

static void given_device_that_becomes_faster_when_another_stream_begins_then_judged(void **state)
{
    (void)state;
    uint64_t sector = 0, elsewhere = ELSEWHERE;
    open_with(1000, 6);

    assert_true(requests_of_stream(&sector, UNTIL_FAR, LARGE_SECTORS) <= MEASURED / 2);
    reader.platform.wait_us = 10;

    assert_int_equal(requests_of_stream(&elsewhere, UNTIL_JUDGED, LARGE_SECTORS), MEASURED);
}

/* What the device takes is not known before a read has gone to it. */
static void given_stream_that_becomes_one_of_large_reads_when_the_next_begins_then_judged(void **s)
{
    (void)s;
    uint64_t sector = 0, elsewhere = ELSEWHERE;
    open_with(10, 6);

    sector = ahead_read_on(sector, UNTIL_FAR, 8);
    assert_true(requests_of_stream(&sector, UNTIL_FAR, LARGE_SECTORS) <= MEASURED / 2);

    assert_int_equal(requests_of_stream(&elsewhere, 3, LARGE_SECTORS), MEASURED);
}

/* As at the ends of extents and files. */
static void given_reads_of_several_lengths_when_stream_goes_on_then_as_far_ahead(void **state)
{
    (void)state;
    uint64_t sector = 0;
    open_with(100, 1);

    for (unsigned i = 0; i < UNTIL_FAR / 2; i++) {
        sector = ahead_read_on(sector, 1, LARGE_SECTORS);
        sector = ahead_read_on(sector, 1, LARGE_SECTORS - 8 * (1 + i % 7));
    }

    assert_true(ahead_end_of_requests(0) - sector >= READ_AHEAD_BYTES_MAX / AHEAD_SECTOR / 2);
}

static void given_large_reads_elsewhere_when_stream_goes_on_then_as_far_ahead(void **state)
{
    (void)state;
    uint64_t sector = 10000;
    open_with(100, 1);
    sector = ahead_read_on(sector, 4, LARGE_SECTORS);

    for (unsigned i = 0; i < UNTIL_FAR; i++) {
        sector = ahead_read_on(sector, 1, LARGE_SECTORS);
        if (i % 4 == 0)
            ahead_read(8 * i, LARGE_SECTORS);
        if (i % 4 == 2)
            ahead_read(8 * i, READ_AHEAD_BYPASS_BYTES / AHEAD_SECTOR);
    }

    assert_true(ahead_end_of_requests(0) - sector >= READ_AHEAD_BYTES_MAX / AHEAD_SECTOR / 2);
}

/* They say nothing of copies, so that there is never a judgement. */
static void given_large_reads_elsewhere_when_stream_is_of_small_ones_then_as_far_ahead(void **state)
{
    (void)state;
    open_with(100, 1);
    uint64_t sector = ahead_read_on(10000, 10 * UNTIL_FAR, 8);

    for (unsigned i = 0; i < UNTIL_FAR; i++) {
        ahead_read(8 * i, LARGE_SECTORS);
        sector = ahead_read_on(sector, 10, 8);
    }

    assert_true(ahead_end_of_requests(0) - sector >= READ_AHEAD_BYTES_MAX / AHEAD_SECTOR / 2);
}

/* A device that refuses at once is not a fast one. */
static void given_failure_when_weighed_then_it_does_not_count(void **state)
{
    (void)state;
    open_with(1000, 100);
    uint64_t sector = ahead_read_on(1000, UNTIL_FAR, LARGE_SECTORS);
    reader.platform.wait_us = 1;
    reader.device.lie = FAKE_BLK_STATUS;
    reader.device.lie_value = VIRTIO_BLK_S_IOERR;
    reader.device.lie_from = reader.device.n_requests;

    assert_int_equal(ahead_try_read(0, LARGE_SECTORS), VIO_ERR_IO);
    reader.device.lie = FAKE_BLK_HONEST;
    sector = ahead_read_on(sector, 40, LARGE_SECTORS);

    assert_true(ahead_end_of_requests(0) - sector >= READ_AHEAD_BYTES_MAX / AHEAD_SECTOR / 2);
}

/* The machine stands still while something is copied, or while the device has it. */
static void given_pause_of_the_machine_when_weighed_then_it_does_not_count(void **state)
{
    (void)state;
    uint64_t sector = 0;
    open_with(20, 5);

    sector = ahead_read_on(sector, 5, LARGE_SECTORS);
    reader.copy_us = UINT64_C(10000000);
    sector = ahead_read_on(sector, 1, LARGE_SECTORS);
    reader.copy_us = 5;
    assert_true(requests_of_stream(&sector, UNTIL_FAR, LARGE_SECTORS) <= MEASURED / 2);

    sector = ELSEWHERE;
    reader.platform.wait_us = 30000;
    ahead_read(sector, LARGE_SECTORS);
    reader.platform.wait_us = 6;
    sector += LARGE_SECTORS;
    assert_int_equal(requests_of_stream(&sector, UNTIL_JUDGED, LARGE_SECTORS), MEASURED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AHEAD_TEST(given_copies_slower_when_stream_goes_on_then_each_read_is_a_request),
        AHEAD_TEST(given_copies_no_slower_when_stream_goes_on_then_fewer_requests),
        AHEAD_TEST(given_copies_slower_when_reads_are_small_then_fewer_requests_all_the_same),
        AHEAD_TEST(given_copies_slower_when_smaller_reads_follow_then_these_are_read_ahead),
        AHEAD_TEST(given_copies_slower_when_another_stream_begins_then_judged_from_the_start),
        AHEAD_TEST(given_copies_slower_when_others_are_read_in_between_then_still_judged),
        AHEAD_TEST(given_device_that_becomes_slower_when_stream_goes_on_then_read_ahead_again),
        AHEAD_TEST(given_one_slow_answer_when_stream_goes_on_then_still_judged),
        AHEAD_TEST(given_device_that_becomes_faster_when_another_stream_begins_then_judged),
        AHEAD_TEST(given_stream_that_becomes_one_of_large_reads_when_the_next_begins_then_judged),
        AHEAD_TEST(given_reads_of_several_lengths_when_stream_goes_on_then_as_far_ahead),
        AHEAD_TEST(given_large_reads_elsewhere_when_stream_goes_on_then_as_far_ahead),
        AHEAD_TEST(given_large_reads_elsewhere_when_stream_is_of_small_ones_then_as_far_ahead),
        AHEAD_TEST(given_failure_when_weighed_then_it_does_not_count),
        AHEAD_TEST(given_pause_of_the_machine_when_weighed_then_it_does_not_count),
    };

    return cmocka_run_group_tests_name("read_ahead_weighed", tests, NULL, NULL);
}
