/* Reading ahead: large reads go to the device where copying takes as long. */

#include "devices/blk_spec.h"
#include "tests/fakes/ahead_fixture.h"
#include "tests/fakes/testing.h"

#define LARGE_SECTORS 128u /* 64 KiB, as the firmware's FAT driver asks for */
#define SMALL_SECTORS 32u  /* 16 KiB */
#define UNTIL_JUDGED  12u  /* and all that was read ahead until then is used up */
#define UNTIL_FAR     80u  /* as far ahead as it goes */
#define MEASURED      20u

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

static void given_copies_slower_when_stream_goes_on_then_each_read_is_a_request(void **state)
{
    (void)state;
    uint64_t sector = 0;
    open_with(10, 6);

    assert_int_equal(requests_of_stream(&sector, UNTIL_JUDGED, LARGE_SECTORS), MEASURED);
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
    uint64_t sector = 0;
    open_with(10, 1000);

    assert_int_equal(requests_of_stream(&sector, UNTIL_JUDGED, LARGE_SECTORS), MEASURED);
    assert_true(requests_of_stream(&sector, UNTIL_FAR, SMALL_SECTORS) <= MEASURED / 2);
}

static void given_copies_slower_when_another_stream_begins_then_weighed_anew(void **state)
{
    (void)state;
    uint64_t sector = 0, elsewhere = 20000;
    open_with(10, 1000);

    assert_int_equal(requests_of_stream(&sector, UNTIL_JUDGED, LARGE_SECTORS), MEASURED);
    reader.copy_us = 1;
    assert_true(requests_of_stream(&elsewhere, UNTIL_FAR, LARGE_SECTORS) <= MEASURED / 2);
}

static void given_copies_slower_when_something_else_is_read_in_between_then_still_judged(void **s)
{
    (void)s;
    uint64_t sector = 0;
    open_with(10, 1000);

    (void)requests_of_stream(&sector, UNTIL_JUDGED, LARGE_SECTORS);
    ahead_read(39000, 1);

    assert_int_equal(requests_of_stream(&sector, 0, LARGE_SECTORS), MEASURED);
}

static void given_another_length_when_stream_goes_on_then_weighed_anew(void **state)
{
    (void)state;
    uint64_t sector = 0;
    open_with(10, 1000);

    (void)requests_of_stream(&sector, UNTIL_JUDGED, LARGE_SECTORS);
    reader.copy_us = 1;

    assert_true(requests_of_stream(&sector, UNTIL_FAR, LARGE_SECTORS - 8) <= MEASURED / 2);
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
    reader.copy_us = 1;
    assert_true(requests_of_stream(&sector, UNTIL_FAR, LARGE_SECTORS) <= MEASURED / 2);

    sector = 20000;
    reader.copy_us = 50;
    reader.platform.wait_us = 30000;
    ahead_read(sector, LARGE_SECTORS);
    reader.platform.wait_us = 10;
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
        AHEAD_TEST(given_copies_slower_when_another_stream_begins_then_weighed_anew),
        AHEAD_TEST(given_copies_slower_when_something_else_is_read_in_between_then_still_judged),
        AHEAD_TEST(given_another_length_when_stream_goes_on_then_weighed_anew),
        AHEAD_TEST(given_pause_of_the_machine_when_weighed_then_it_does_not_count),
    };

    return cmocka_run_group_tests_name("read_ahead_weighed", tests, NULL, NULL);
}
