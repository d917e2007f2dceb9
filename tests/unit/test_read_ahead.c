/* Reading ahead: always the right data, nothing besides for random access, few requests for streams. */

#include "devices/blk_spec.h"
#include "tests/fakes/ahead_fixture.h"
#include "tests/fakes/testing.h"

#define BYPASS_SECTORS (READ_AHEAD_BYPASS_BYTES / AHEAD_SECTOR)
#define MAX_SECTORS    (READ_AHEAD_BYTES_MAX / AHEAD_SECTOR)

/* --- Any pattern ------------------------------------------------------------------------------ */

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    return test_random(&random_state) % limit;
}

/* Mostly small, sometimes longer than what goes past read-ahead. */
static uint64_t random_length(void)
{
    static const uint64_t limits[] = {1, 2, 8, 8, 64, 128, 128, BYPASS_SECTORS + 10};

    return 1 + random_below(limits[random_below(ARRAY_LENGTH(limits))]);
}

/* Where somebody goes who was at these places. */
static uint64_t random_place(const uint64_t *ends, uint64_t n_sectors)
{
    uint64_t end = ends[random_below(2)];

    switch (random_below(16)) {
    case 0:
        return random_below(AHEAD_DISK_SECTORS);
    case 1: /* backwards, or the same once more */
        return end > 2 * n_sectors ? end - n_sectors - random_below(n_sectors + 1) : 0;
    case 2: /* a little ahead of a stream, and over what is there */
        return end + random_below(600);
    case 3: /* the beginning is known, the end is not */
        return end > n_sectors ? end - random_below(n_sectors) : 0;
    default:
        return end;
    }
}

/* The stream that is followed next may be the other one; both wrap at the end of the disk. */
static void random_step(uint64_t *ends)
{
    uint64_t n_sectors = random_length();
    uint64_t sector = random_place(ends, n_sectors);

    if (sector >= AHEAD_DISK_SECTORS)
        sector = random_below(64);
    if (n_sectors > AHEAD_DISK_SECTORS - sector)
        n_sectors = AHEAD_DISK_SECTORS - sector;
    if (random_below(40) == 0)
        ahead_write(sector, n_sectors, random_below(UINT32_MAX));
    else
        ahead_read(sector, n_sectors);
    ends[random_below(8) == 0] = sector + n_sectors;
}

/* A write that is under way while others read what it changes. */
static void random_async_write(const uint64_t *ends)
{
    static uint8_t data[64 * AHEAD_SECTOR];
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_WRITE,
        .sector = ends[0] + random_below(20),
        .buffer = data,
        .bytes = sizeof(data),
    };

    if (transfer.sector > AHEAD_DISK_SECTORS - 64)
        return;
    memset(data, (int)random_below(256), sizeof(data));
    read_ahead_drop(&reader.ahead);
    assert_int_equal(virtio_blk_submit(&reader.blk, &transfer), VIO_OK);
    ahead_read_on(transfer.sector, 4, 16);
    assert_int_equal(virtio_blk_wait(&reader.blk, &transfer), VIO_OK);
}

static void run_model(unsigned n_steps, uint64_t seed)
{
    uint64_t ends[2] = {0, AHEAD_DISK_SECTORS / 2};

    random_state = seed;
    ahead_open();
    for (unsigned i = 0; i < n_steps; i++) {
        random_step(ends);
        if (random_below(50) == 0)
            random_async_write(ends);
    }
    assert_true(reader.chunk_bytes_max > 0);
}

static void given_prompt_device_when_read_in_any_pattern_then_always_the_disks_data(void **state)
{
    (void)state;
    run_model(4000, 1);
}

static void given_slow_disordered_device_when_read_in_any_pattern_then_the_disks_data(void **state)
{
    (void)state;
    reader.device.delay_waits = 2;
    reader.device.order = FAKE_BLK_SHUFFLED;
    run_model(4000, 2);
}

static void given_reversed_device_when_read_in_any_pattern_then_the_disks_data(void **state)
{
    (void)state;
    reader.device.delay_waits = 1;
    reader.device.order = FAKE_BLK_REVERSED;
    run_model(2500, 3);
}

static void given_small_queue_and_limits_when_read_in_any_pattern_then_the_disks_data(void **state)
{
    (void)state;
    fake_blk_device_offer(&reader.device, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4,
                          8192);
    fake_blk_device_offer(&reader.device, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 2);
    reader.device.transport.queues[0].size_max = 8;
    reader.device.delay_waits = 1;
    reader.device.order = FAKE_BLK_SHUFFLED;
    run_model(2500, 4);
}

static void given_little_memory_when_read_in_any_pattern_then_the_disks_data(void **state)
{
    (void)state;
    reader.device.delay_waits = 1;
    reader.platform.map_bytes_max = 20000;
    reader.platform.fail_from[FAKE_CALL_ALLOC] = 5; /* the driver's own, then three chunks */
    run_model(2500, 5);
    assert_int_equal(reader.chunk_bytes_max, 3 * READ_AHEAD_CHUNK_BYTES_MAX);
}

/* --- No stream -------------------------------------------------------------------------------- */

static void given_random_access_when_read_then_one_request_each_and_no_memory(void **state)
{
    (void)state;
    random_state = 9;
    ahead_open();
    for (unsigned i = 0; i < 1000; i++)
        ahead_read(2 * random_below(AHEAD_DISK_SECTORS / 2 - 8), 1 + random_below(8));

    assert_int_equal(reader.device.n_requests, 1000);
    assert_int_equal(reader.chunk_bytes_max, 0);
}

static void given_backwards_or_repeated_reads_when_read_then_one_request_each(void **state)
{
    (void)state;
    ahead_open();
    for (uint64_t sector = 800; sector > 0; sector -= 8)
        ahead_read(sector, 8);
    for (unsigned i = 0; i < 100; i++)
        ahead_read(64, 8);

    assert_int_equal(reader.device.n_requests, 200);
    assert_int_equal(reader.chunk_bytes_max, 0);
}

static void given_large_reads_when_they_continue_then_no_memory_and_no_more_requests(void **state)
{
    (void)state;
    ahead_open();

    ahead_read_on(0, 40, BYPASS_SECTORS);

    assert_int_equal(reader.device.n_requests, 40);
    assert_int_equal(reader.chunk_bytes_max, 0);
}

static void given_nothing_or_no_whole_blocks_when_read_then_as_the_disk_says(void **state)
{
    uint8_t data[2 * AHEAD_SECTOR];

    (void)state;
    ahead_open();
    uint64_t sector = ahead_read_on(0, 20, 1);
    unsigned n_requests = reader.device.n_requests;

    assert_int_equal(ahead_ask(&reader.ahead, sector, data, 0), VIO_OK);
    assert_int_equal(ahead_ask(&reader.ahead, AHEAD_DISK_SECTORS + 1, data, 0), VIO_ERR_RANGE);
    assert_int_equal(ahead_ask(&reader.ahead, sector, data, 100), VIO_ERR_INVALID);
    assert_int_equal(ahead_ask(&reader.ahead, sector, data, AHEAD_SECTOR + 1), VIO_ERR_INVALID);
    assert_int_equal(reader.device.n_requests, n_requests);
}

static void given_reads_of_nothing_when_repeated_then_no_stream(void **state)
{
    uint8_t data[AHEAD_SECTOR];

    (void)state;
    ahead_open();
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(ahead_ask(&reader.ahead, 77, data, 0), VIO_OK);
    assert_int_equal(reader.device.n_requests, 0);

    ahead_read(77, 1);

    assert_int_equal(reader.device.n_requests, 1);
}

static void given_large_blocks_when_read_not_in_whole_ones_then_invalid(void **state)
{
    uint8_t data[4096];

    (void)state;
    fake_blk_device_offer(&reader.device, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4,
                          4096);
    ahead_open();
    uint64_t sector = ahead_read_on(0, 20, 8);

    assert_int_equal(ahead_ask(&reader.ahead, sector + 1, data, sizeof(data)), VIO_ERR_INVALID);
    assert_int_equal(ahead_ask(&reader.ahead, sector, data, AHEAD_SECTOR), VIO_ERR_INVALID);
    ahead_read_on(sector, 1000, 8);
    assert_true(reader.device.n_requests < 1000 / 8);
}

/* --- Streams ---------------------------------------------------------------------------------- */

static void given_reads_that_continue_when_it_happens_twice_then_a_stream(void **state)
{
    (void)state;
    ahead_open();

    ahead_read(1000, 1);
    assert_int_equal(reader.device.n_requests, 1);
    ahead_read(1001, 1);
    assert_int_equal(reader.device.n_requests, 2);
    ahead_read(1002, 1);
    assert_int_equal(reader.device.n_requests, 4);
    assert_true(ahead_end_of_requests(3) > 1003);
    ahead_read(1003, 1);
    assert_int_equal(reader.device.n_requests, 4);
}

static void given_short_directory_when_read_then_one_request_more_and_no_more(void **state)
{
    (void)state;
    ahead_open();

    ahead_read_on(1000, 8, 8);

    assert_in_range(reader.device.n_requests, 1, 4);
}

static void given_512_byte_stream_when_read_then_a_hundredth_of_the_requests(void **state)
{
    (void)state;
    reader.device.delay_waits = 1;
    ahead_open();

    ahead_read_on(0, 20000, 1);

    assert_true(reader.device.n_requests < 20000 / 100);
}

/* A chunk is twice such a read, so half is what there is to be won; but they are under way at once. */
static void given_64_kib_stream_when_read_then_half_the_requests_and_many_at_once(void **state)
{
    (void)state;
    reader.device.delay_waits = 1;
    ahead_open();

    ahead_read_on(0, 300, 128);

    assert_true(reader.device.n_requests < 300 / 2 + 20);
    assert_true(reader.device.n_pending_max >= 8);
}

static void given_long_streams_when_read_then_within_memory_and_distance(void **state)
{
    static const uint64_t lengths[] = {1, 8, 100, 128, BYPASS_SECTORS - 1};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(lengths); i++) {
        uint64_t farthest = 0;
        unsigned n_seen = 0;
        reader.device.delay_waits = 1;
        ahead_open();
        for (uint64_t at = 0; at + lengths[i] <= AHEAD_DISK_SECTORS; at += lengths[i]) {
            ahead_read(at, lengths[i]);
            uint64_t end = ahead_end_of_requests(n_seen);
            n_seen = reader.device.n_requests;
            if (end > at + lengths[i] + farthest)
                farthest = end - at - lengths[i];
        }

        assert_in_range(farthest, MAX_SECTORS / 2, MAX_SECTORS);
        assert_in_range(reader.chunk_bytes_max, READ_AHEAD_BYTES_MAX / 2, READ_AHEAD_BYTES_MAX);
        assert_int_equal(ahead_tear_down(NULL), 0);
        assert_int_equal(ahead_set_up(NULL), 0);
    }
}

static void given_file_and_its_table_when_read_in_turn_then_the_file_stays_a_stream(void **state)
{
    const unsigned n_turns = 1000;

    (void)state;
    ahead_open();
    uint64_t sector = ahead_read_on(10000, 8, 8);
    for (unsigned i = 0; i < n_turns; i++) {
        ahead_read(100 + i / 4, 1);
        sector = ahead_read_on(sector, 1, 8);
    }

    assert_in_range(reader.device.n_requests, n_turns, n_turns + n_turns / 8);
}

static void given_stream_when_a_large_read_is_among_it_then_goes_on_behind_it(void **state)
{
    (void)state;
    ahead_open();
    uint64_t sector = ahead_read_on(0, 100, 8);
    sector = ahead_read_on(sector, 1, 2 * BYPASS_SECTORS);
    unsigned n_requests = reader.device.n_requests;

    ahead_read_on(sector, 400, 8);

    assert_true(reader.device.n_requests - n_requests < 400 / 8);
}

static void given_stream_when_it_moves_elsewhere_then_a_stream_there(void **state)
{
    (void)state;
    ahead_open();
    ahead_read_on(0, 1000, 8);
    unsigned n_requests = reader.device.n_requests;

    ahead_read_on(30000, 1000, 8);

    assert_true(reader.device.n_requests - n_requests < 1000 / 8);
    n_requests = reader.device.n_requests;
    ahead_read_on(100, 1000, 8);
    assert_true(reader.device.n_requests - n_requests < 1000 / 8);
}

static void given_stream_when_written_behind_it_then_begins_again_and_is_right(void **state)
{
    (void)state;
    reader.device.delay_waits = 1;
    ahead_open();
    for (unsigned i = 0; i < 50; i++) {
        uint64_t sector = ahead_read_on(600 * i, 10, 8);
        ahead_write(sector + 4, 8, 1000 * i);
        ahead_read_on(sector, 10, 8);
    }
}

static void given_end_of_disk_when_stream_gets_there_then_exactly_to_its_end(void **state)
{
    static const uint64_t lengths[] = {1, 7, 128};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(lengths); i++) {
        ahead_open();
        uint64_t sector = ahead_read_on(AHEAD_DISK_SECTORS - 20 * lengths[i] - 3, 20, lengths[i]);

        ahead_read_on(sector, 3, 1); /* the last ones */

        assert_int_equal(ahead_end_of_requests(0), AHEAD_DISK_SECTORS);
        if (lengths[i] == 1) {
            assert_int_equal(reader.chunk_bytes_max, READ_AHEAD_CHUNK_BYTES_MAX);
            assert_int_equal(reader.device.n_requests, 4); /* three, and the rest at once */
        }
        unsigned n_requests = reader.device.n_requests;
        assert_int_equal(ahead_try_read(AHEAD_DISK_SECTORS, 1), VIO_ERR_RANGE);
        assert_int_equal(ahead_try_read(AHEAD_DISK_SECTORS - 1, 2), VIO_ERR_RANGE);
        assert_int_equal(reader.device.n_requests, n_requests);
        ahead_read(AHEAD_DISK_SECTORS - 1, 1);
        assert_int_equal(ahead_tear_down(NULL), 0);
        assert_int_equal(ahead_set_up(NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AHEAD_TEST(given_prompt_device_when_read_in_any_pattern_then_always_the_disks_data),
        AHEAD_TEST(given_slow_disordered_device_when_read_in_any_pattern_then_the_disks_data),
        AHEAD_TEST(given_reversed_device_when_read_in_any_pattern_then_the_disks_data),
        AHEAD_TEST(given_small_queue_and_limits_when_read_in_any_pattern_then_the_disks_data),
        AHEAD_TEST(given_little_memory_when_read_in_any_pattern_then_the_disks_data),
        AHEAD_TEST(given_random_access_when_read_then_one_request_each_and_no_memory),
        AHEAD_TEST(given_backwards_or_repeated_reads_when_read_then_one_request_each),
        AHEAD_TEST(given_large_reads_when_they_continue_then_no_memory_and_no_more_requests),
        AHEAD_TEST(given_nothing_or_no_whole_blocks_when_read_then_as_the_disk_says),
        AHEAD_TEST(given_reads_of_nothing_when_repeated_then_no_stream),
        AHEAD_TEST(given_large_blocks_when_read_not_in_whole_ones_then_invalid),
        AHEAD_TEST(given_reads_that_continue_when_it_happens_twice_then_a_stream),
        AHEAD_TEST(given_short_directory_when_read_then_one_request_more_and_no_more),
        AHEAD_TEST(given_512_byte_stream_when_read_then_a_hundredth_of_the_requests),
        AHEAD_TEST(given_64_kib_stream_when_read_then_half_the_requests_and_many_at_once),
        AHEAD_TEST(given_long_streams_when_read_then_within_memory_and_distance),
        AHEAD_TEST(given_file_and_its_table_when_read_in_turn_then_the_file_stays_a_stream),
        AHEAD_TEST(given_stream_when_a_large_read_is_among_it_then_goes_on_behind_it),
        AHEAD_TEST(given_stream_when_it_moves_elsewhere_then_a_stream_there),
        AHEAD_TEST(given_stream_when_written_behind_it_then_begins_again_and_is_right),
        AHEAD_TEST(given_end_of_disk_when_stream_gets_there_then_exactly_to_its_end),
    };

    return cmocka_run_group_tests_name("read_ahead", tests, NULL, NULL);
}
