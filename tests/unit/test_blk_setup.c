/* devices/blk.h: several queues, the cache's mode, and a disk whose size changes. */

#include "core/device_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

/* --- Queues ---------------------------------------------------------------------------------------- */

static const uint16_t queue_sizes[] = {4, 8, 16, 32, 64, 128, 256, 1024};
static const uint16_t queue_counts[] = {0, 1, 2, 3, 4, 8, 9, 65535};

/* As many as are needed for 256 descriptors, at most eight. */
static unsigned expected_queues(uint16_t size, uint16_t count)
{
    unsigned needed = size < 256 ? 256u / size : 1;

    if (needed > 8)
        needed = 8;
    if (count == 0)
        return 1;
    return count < needed ? count : needed;
}

/* Requests of three descriptors each in a fourth of the queue, and of one in the rest. */
static unsigned depth_of(unsigned size)
{
    unsigned n_direct = size / 4 / 3;

    return n_direct + (size - 3 * n_direct);
}

struct span {
    uint64_t start;
    uint64_t bytes;
};

static void assert_apart(const struct span *spans, unsigned n_spans)
{
    for (unsigned i = 0; i < n_spans; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (spans[i].start < spans[k].start + spans[k].bytes &&
                spans[k].start < spans[i].start + spans[i].bytes)
                fail_msg("spans %u and %u of the queues' memory overlap", k, i);
        }
    }
}

/* What the device was told, what it finds from there, and what it must not find. */
static void assert_queues_lie_apart(unsigned n_queues)
{
    struct span spans[5 * BLK_QUEUES_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < n_queues; i++) {
        const struct fake_queue *queue = &disk.transport.queues[i];
        const struct virtqueue *vq = &blk.queues[i];
        uint64_t size = queue->size;
        spans[n++] = (struct span){queue->addresses.descriptor_area, 16 * size};
        spans[n++] = (struct span){queue->addresses.driver_area, 6 + 2 * size};
        spans[n++] = (struct span){queue->addresses.device_area, 6 + 8 * size};
        spans[n++] = (struct span){vq->tables_addr, 16 * size * vq->table_entries};
        spans[n++] = (struct span){(uintptr_t)vq->shadow, sizeof(*vq->shadow) * size};
    }
    assert_apart(spans, n);
}

static void assert_all_queues_work(unsigned n_queues)
{
    bool used[FAKE_QUEUES] = {false};
    const unsigned n = TRANSFERS_MAX;

    memset(buffer, BUFFER_FILL, BUFFER_BYTES);
    disk.order = FAKE_BLK_SHUFFLED;
    submit_reads(0, n);
    serve_until_idle();
    for (unsigned i = 0; i < n; i++) {
        assert_done(&transfers[i], VIO_OK);
        used[disk.requests[i].queue] = true;
    }
    assert_was_read(0, n);
    for (unsigned i = 0; i < FAKE_QUEUES; i++)
        assert_int_equal(used[i], i < n_queues);
}

static void given_queues_when_opened_then_as_many_as_the_depth_wants_and_all_work(void **state)
{
    (void)state;
    for (unsigned s = 0; s < ARRAY_LENGTH(queue_sizes); s++) {
        for (unsigned c = 0; c < ARRAY_LENGTH(queue_counts); c++) {
            unsigned expected = expected_queues(queue_sizes[s], queue_counts[c]);
            unsigned size = queue_sizes[s] < 256 ? queue_sizes[s] : 256;
            new_disk(DISK_SECTORS);
            offer_queues(queue_counts[c], queue_sizes[s]);
            offer(VIRTIO_F_INDIRECT_DESC);
            open_manual_disk();

            assert_int_equal(blk.info.n_queues, expected);
            assert_int_equal(blk.info.queue_size, size);
            assert_queues_lie_apart(expected);
            assert_all_queues_work(expected);
            assert_int_equal(disk.n_pending_max, expected * depth_of(size));
            close_disk();
        }
    }
}

static void given_queues_that_are_not_there_when_opened_then_those_before_are_used(void **state)
{
    (void)state;
    offer_queues(8, 32);
    disk.transport.queues[3].size_max = 0;
    open_manual_disk();

    assert_int_equal(blk.info.n_queues, 3);
    assert_null(blk.device.failure.what);
    assert_all_queues_work(3);
    close_disk();
}

static void given_queues_of_other_sizes_when_opened_then_used_as_they_are(void **state)
{
    (void)state;
    offer_queues(4, 64);
    disk.transport.queues[1].size_max = 16;
    disk.transport.queues[2].size_max = 1024;
    offer(VIRTIO_F_INDIRECT_DESC);
    open_manual_disk();

    assert_int_equal(blk.info.n_queues, 4);
    assert_queues_lie_apart(4);
    assert_all_queues_work(4);
    assert_int_equal(disk.n_pending_max, depth_of(64) * 3 + depth_of(16));
    close_disk();
}

static void given_many_queues_when_declined_then_one(void **state)
{
    /* Checks: FEAT-6 */
    (void)state;
    offer_queues(8, 32);

    assert_int_equal(virtio_blk_open(&blk, &disk.transport.transport, &machine.platform,
                                     VIO_FEATURE(VIRTIO_BLK_F_MQ)),
                     VIO_OK);

    assert_int_equal(blk.info.n_queues, 1);
    close_disk();
}

/* --- The cache --------------------------------------------------------------------------------------- */

static void offer_cache_mode(uint8_t writeback)
{
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_CONFIG_WRITEBACK, 1,
                          writeback);
}

/* Positions in the log of the accesses to the field, and of FEATURES_OK. */
static size_t find_writeback(enum fake_event_kind kind)
{
    size_t at = fake_log_find(kind, 0);

    while (at != FAKE_LOG_NONE && fake_log_at(at)->at != VIRTIO_BLK_CONFIG_WRITEBACK)
        at = fake_log_find(kind, at + 1);
    return at;
}

static size_t find_features_ok(void)
{
    size_t at = fake_log_find(FAKE_STATUS_WRITE, 0);

    while (!(fake_log_at(at)->value & VIRTIO_STATUS_FEATURES_OK))
        at = fake_log_find(FAKE_STATUS_WRITE, at + 1);
    return at;
}

static void given_cache_mode_when_opened_then_read_behind_features_ok_and_believed(void **state)
{
    /* Checks: BLK-INIT-4, BLK-INIT-2 */
    (void)state;
    for (uint8_t writeback = 0; writeback < 2; writeback++) {
        new_disk(DISK_SECTORS);
        offer_cache_mode(writeback);
        fake_log_start();
        open_disk();

        size_t read = find_writeback(FAKE_CONFIG_READ);
        assert_int_not_equal(read, FAKE_LOG_NONE);
        assert_true(read > find_features_ok());
        assert_int_equal(fake_log_at(read)->width_bytes, 1);
        assert_int_equal(fake_log_count(FAKE_CONFIG_WRITE), 0);
        assert_int_equal(blk.info.has_flush, writeback);
        assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_OK);
        assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
        assert_int_equal(disk.n_requests, 1 + writeback);
        fake_log_stop();
        close_disk();
    }
}

static void given_no_cache_mode_when_flush_is_there_then_writeback(void **state)
{
    /* Checks: BLK-INIT-3 */
    (void)state;
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_WRITEBACK, 1, 0);
    fake_log_start();
    open_disk();

    assert_int_equal(find_writeback(FAKE_CONFIG_READ), FAKE_LOG_NONE);
    assert_true(blk.info.has_flush);
    close_disk();
}

static void given_cache_that_nothing_flushes_when_opened_then_set_to_writethrough(void **state)
{
    /* Checks: BLK-REQ-12, BLK-INIT-4 */
    (void)state;
    disk.transport.offered &= ~VIO_FEATURE(VIRTIO_BLK_F_FLUSH);
    offer_cache_mode(1);
    fake_log_start();
    open_disk();

    size_t write = find_writeback(FAKE_CONFIG_WRITE);
    assert_int_not_equal(write, FAKE_LOG_NONE);
    assert_true(write > find_features_ok());
    assert_int_equal(fake_log_at(write)->width_bytes, 1);
    assert_int_equal(disk.transport.config[VIRTIO_BLK_CONFIG_WRITEBACK], 0);
    assert_false(blk.info.has_flush);
    /* A reset forgets it. */
    disk.transport.config[VIRTIO_BLK_CONFIG_WRITEBACK] = 1;
    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);
    assert_int_equal(disk.transport.config[VIRTIO_BLK_CONFIG_WRITEBACK], 0);
    close_disk();
}

static void given_read_only_disk_when_opened_then_its_cache_is_left_alone(void **state)
{
    (void)state;
    disk.transport.offered &= ~VIO_FEATURE(VIRTIO_BLK_F_FLUSH);
    offer(VIRTIO_BLK_F_RO);
    offer_cache_mode(1);
    fake_log_start();

    open_disk();

    assert_int_equal(fake_log_count(FAKE_CONFIG_WRITE), 0);
    close_disk();
}

static void given_configuration_that_ends_before_the_mode_when_opened_then_not_touched(void **state)
{
    /* Checks: CFG-5 */
    (void)state;
    offer_cache_mode(0);
    disk.transport.config_bytes = VIRTIO_BLK_CONFIG_WRITEBACK;
    fake_log_start();

    open_disk();

    assert_int_equal(find_writeback(FAKE_CONFIG_READ), FAKE_LOG_NONE);
    assert_true(blk.info.has_flush);
    close_disk();
}

/* --- Changes ----------------------------------------------------------------------------------------- */

static void change_capacity(uint64_t sectors)
{
    fake_transport_set_config(&disk.transport, 0, 8, sectors);
    disk.transport.generation++;
}

static void given_unchanged_configuration_when_refreshed_then_two_registers_are_read(void **state)
{
    /* Checks: CFG-2 */
    (void)state;
    open_disk();
    fake_transport_set_config(&disk.transport, 0, 8, 8); /* of the same generation: not looked at */
    fake_log_start();

    assert_false(virtio_blk_refresh(&blk));

    assert_int_equal(fake_log_length(), 2);
    assert_int_equal(fake_log_count(FAKE_STATUS_READ), 1);
    assert_int_equal(fake_log_count(FAKE_GENERATION_READ), 1);
    assert_int_equal(blk.info.capacity_sectors, DISK_SECTORS);
    close_disk();
}

static void given_other_capacity_when_refreshed_then_taken_over(void **state)
{
    /* Checks: BLK-REQ-1, BLK-REQ-2 */
    (void)state;
    open_disk();

    change_capacity(100);
    assert_true(virtio_blk_refresh(&blk));
    assert_int_equal(blk.info.capacity_sectors, 100);
    assert_int_equal(virtio_blk_read(&blk, 100, buffer, SECTOR), VIO_ERR_RANGE);
    change_capacity(DISK_SECTORS);
    assert_int_equal(virtio_blk_read(&blk, 100, buffer, SECTOR), VIO_ERR_RANGE);
    assert_true(virtio_blk_refresh(&blk));

    assert_int_equal(virtio_blk_read(&blk, 100, buffer, SECTOR), VIO_OK);
    disk.transport.generation++; /* of something else */
    assert_false(virtio_blk_refresh(&blk));
    assert_false(virtio_blk_refresh(&blk));
    close_disk();
}

static void given_senseless_capacity_when_refreshed_then_0_until_there_is_another(void **state)
{
    /* Checks: BLK-REQ-1 */
    (void)state;
    static const uint64_t capacities[] = {0, 9, UINT64_C(1) << 55, UINT64_MAX};
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 4096);
    open_disk();

    for (unsigned i = 0; i < ARRAY_LENGTH(capacities); i++) {
        change_capacity(capacities[i]);
        assert_true(virtio_blk_refresh(&blk));
        assert_int_equal(blk.info.capacity_sectors, 0);
        assert_null(blk.device.failure.what);
        assert_int_equal(virtio_blk_read(&blk, 0, buffer, 4096), VIO_ERR_RANGE);
        change_capacity(DISK_SECTORS);
        assert_true(virtio_blk_refresh(&blk));
        assert_int_equal(virtio_blk_read(&blk, 0, buffer, 4096), VIO_OK);
    }
    close_disk();
}

/* The device finishes a change of the capacity between the reads of its two halves. */
static void change_between_halves(void *context, uint32_t offset)
{
    struct fake_blk_device *device = context;

    if (offset != 4 || device->transport.generation > 100)
        return;
    device->transport.generation = 101;
    fake_transport_set_config(&device->transport, 0, 8, UINT64_C(3) << 32 | 7);
}

static void given_capacity_that_changes_while_it_is_read_when_refreshed_then_not_torn(void **state)
{
    /* Checks: CFG-1a, CFG-2 */
    (void)state;
    open_disk();
    change_capacity(UINT64_C(1) << 32 | 5);
    disk.transport.on_config_read = change_between_halves;

    assert_true(virtio_blk_refresh(&blk));

    assert_true(blk.info.capacity_sectors == (UINT64_C(3) << 32 | 7));
    close_disk();
}

static void given_configuration_in_motion_when_refreshed_then_0_until_it_rests(void **state)
{
    /* Checks: CFG-2 */
    (void)state;
    open_disk();
    disk.transport.lie = FAKE_GENERATION_MOVES;
    disk.transport.lie_count = 1000;

    assert_true(virtio_blk_refresh(&blk));
    assert_int_equal(blk.info.capacity_sectors, 0);
    assert_null(blk.device.failure.what);
    disk.transport.lie_count = 3;

    assert_true(virtio_blk_refresh(&blk));
    assert_int_equal(blk.info.capacity_sectors, DISK_SECTORS);
    close_disk();
}

static void given_smaller_disk_when_transfers_wait_then_those_beyond_its_end_fail(void **state)
{
    /* Checks: BLK-REQ-2 */
    (void)state;
    open_manual_disk();
    submit_reads(0, 60);
    virtio_blk_publish(&blk);
    change_capacity(50);

    assert_true(virtio_blk_refresh(&blk));
    disk.sectors = 50;
    serve_until_idle();

    for (unsigned i = 0; i < 60; i++)
        assert_done(&transfers[i], i < 50 ? VIO_OK : VIO_ERR_RANGE);
    close_disk();
}

static void given_idle_disk_that_needs_a_reset_when_refreshed_then_it_gets_one(void **state)
{
    /* Checks: X-CFG-1, STAT-4 */
    (void)state;
    open_disk();
    unsigned n_resets = disk.n_resets;
    disk.reset_is_honest = n_resets + 1;
    disk.transport.lie = FAKE_NEEDS_RESET;
    fake_transport_set_config(&disk.transport, 0, 8, DISK_SECTORS / 2);
    disk.sectors = DISK_SECTORS / 2;

    assert_true(virtio_blk_refresh(&blk));

    assert_true(disk.n_resets > n_resets);
    assert_int_equal(disk.transport.status, 0x0F);
    assert_int_equal(blk.info.capacity_sectors, DISK_SECTORS / 2);
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_OK);
    close_disk();
}

/* Where a bus answers with zeroes, the generation can be what it was. */
static void given_busy_disk_that_needs_a_reset_when_refreshed_then_left_to_who_waits(void **state)
{
    (void)state;
    open_manual_disk();
    submit(0, VIRTIO_BLK_READ, 3, 1);
    virtio_blk_publish(&blk);
    disk.transport.lie = FAKE_NEEDS_RESET;
    unsigned n_resets = disk.n_resets;

    assert_false(virtio_blk_refresh(&blk));

    assert_int_equal(disk.n_resets, n_resets);
    assert_true(virtio_blk_is_busy(&blk));
    assert_null(blk.device.failure.what);
    disk.transport.lie = FAKE_HONEST;
    serve(1);
    assert_done(&transfers[0], VIO_OK);
    close_disk();
}

static void given_registers_that_read_as_0_when_refreshed_then_out_of_use(void **state)
{
    (void)state;
    disk.transport.generation = 0;
    open_disk();
    disk.transport.status = 0;

    assert_false(virtio_blk_refresh(&blk));

    assert_true(virtio_blk_is_gone(&blk));
    assert_dead(VIO_ERR_GONE);
    close_disk();
}

static void given_device_that_is_gone_when_refreshed_then_out_of_use(void **state)
{
    (void)state;
    open_manual_disk();
    submit_reads(0, 3);
    virtio_blk_publish(&blk);
    disk.transport.lie = FAKE_GONE;

    assert_false(virtio_blk_refresh(&blk));

    assert_int_equal(blk.info.capacity_sectors, DISK_SECTORS);
    assert_done(&transfers[2], VIO_ERR_GONE);
    assert_non_null(blk.device.failure.what);
    assert_dead(VIO_ERR_GONE);
    assert_false(virtio_blk_refresh(&blk));
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&machine, DISK_DMA_BLOCKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_queues_when_opened_then_as_many_as_the_depth_wants_and_all_work),
        DISK_TEST(given_queues_that_are_not_there_when_opened_then_those_before_are_used),
        DISK_TEST(given_queues_of_other_sizes_when_opened_then_used_as_they_are),
        DISK_TEST(given_many_queues_when_declined_then_one),
        DISK_TEST(given_cache_mode_when_opened_then_read_behind_features_ok_and_believed),
        DISK_TEST(given_no_cache_mode_when_flush_is_there_then_writeback),
        DISK_TEST(given_cache_that_nothing_flushes_when_opened_then_set_to_writethrough),
        DISK_TEST(given_read_only_disk_when_opened_then_its_cache_is_left_alone),
        DISK_TEST(given_configuration_that_ends_before_the_mode_when_opened_then_not_touched),
        DISK_TEST(given_unchanged_configuration_when_refreshed_then_two_registers_are_read),
        DISK_TEST(given_other_capacity_when_refreshed_then_taken_over),
        DISK_TEST(given_senseless_capacity_when_refreshed_then_0_until_there_is_another),
        DISK_TEST(given_capacity_that_changes_while_it_is_read_when_refreshed_then_not_torn),
        DISK_TEST(given_configuration_in_motion_when_refreshed_then_0_until_it_rests),
        DISK_TEST(given_smaller_disk_when_transfers_wait_then_those_beyond_its_end_fail),
        DISK_TEST(given_idle_disk_that_needs_a_reset_when_refreshed_then_it_gets_one),
        DISK_TEST(given_busy_disk_that_needs_a_reset_when_refreshed_then_left_to_who_waits),
        DISK_TEST(given_registers_that_read_as_0_when_refreshed_then_out_of_use),
        DISK_TEST(given_device_that_is_gone_when_refreshed_then_out_of_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
