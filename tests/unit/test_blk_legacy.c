/* devices/blk.h: a disk that is driven by its legacy interface. */

#include "core/device_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

static void make_legacy_disk(uint16_t queue_size)
{
    new_disk(DISK_SECTORS);
    disk.transport.transport.is_legacy = true;
    disk.transport.offered = VIO_FEATURE(VIRTIO_BLK_F_FLUSH);
    disk.transport.queues[0].size_max = queue_size;
}

static void assert_works(void)
{
    const unsigned n = TRANSFERS_MAX;

    memset(buffer, BUFFER_FILL, BUFFER_BYTES);
    submit_reads(0, n);
    serve_until_idle();
    assert_int_equal(count_done(n), n);
    assert_was_read(0, n);
    fill_buffer(0, 100, 3);
    assert_int_equal(virtio_blk_write(&blk, 200, buffer, 100 * SECTOR), VIO_OK);
    assert_memory_equal(disk.image + 200 * SECTOR, buffer, 100 * SECTOR);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
}

static void given_each_queue_size_when_used_then_as_the_device_says_and_all_works(void **state)
{
    /* Checks: SPLIT-LEG-1, X-PCIL-3 */
    (void)state;
    static const uint16_t sizes[] = {4, 16, 128, 256, 512, 1024, 32768};

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        for (unsigned with_tables = 0; with_tables < 2; with_tables++) {
            make_legacy_disk(sizes[i]);
            if (with_tables)
                offer(VIRTIO_F_INDIRECT_DESC);
            open_disk();

            assert_int_equal(blk.info.queue_size, sizes[i]);
            assert_works();
            close_disk();
        }
    }
}

static void given_impossible_queue_when_opened_then_named_and_nothing_left(void **state)
{
    (void)state;
    static const uint16_t sizes[] = {0, 1, 2, 3, 100, 65535};

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        make_legacy_disk(sizes[i]);

        vio_status status = virtio_blk_open(&blk, &disk.transport.transport, &machine.platform, 0);

        assert_true(status == VIO_ERR_UNSUPPORTED || status == VIO_ERR_DEVICE);
        assert_non_null(blk.device.failure.what);
        assert_int_equal(blk.device.failure.value, sizes[i]);
        assert_int_equal(disk.transport.status, 0);
        fake_platform_assert_no_leaks(&machine);
    }
}

static void given_several_queues_when_used_then_each_in_its_place(void **state)
{
    (void)state;
    make_legacy_disk(32);
    offer_queues(4, 32);
    disk.transport.queues[2].size_max = 16; /* smaller fits; larger would not */
    disk.transport.queues[3].size_max = 64;
    open_disk();

    assert_int_equal(blk.info.n_queues, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(disk.transport.queues[i].size, i == 2 ? 16 : 32);
        assert_true(disk.transport.queues[i].addresses.descriptor_area ==
                    blk.rings.addr + i * virtqueue_legacy_ring_bytes(32));
    }
    assert_works();
    close_disk();
}

static void given_no_memory_when_opened_then_no_memory_and_left_reset(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 2; nth++) {
        make_legacy_disk(1024);
        fake_platform_fail(&machine, FAKE_CALL_DMA_ALLOC, nth);

        assert_int_equal(virtio_blk_open(&blk, &disk.transport.transport, &machine.platform, 0),
                         VIO_ERR_NO_MEMORY);

        assert_int_equal(disk.transport.status, 0);
        fake_platform_assert_no_leaks(&machine);
    }
}

/* 5.2.6.3: what legacy devices say there has never been looked at. */
static void given_any_used_len_when_read_then_the_status_byte_is_enough(void **state)
{
    /* Checks: BLK-LEG-4, X-SPLITL-1 */
    (void)state;
    static const uint32_t lens[] = {0, 1, 512, 514, 529, UINT32_MAX};

    for (unsigned i = 0; i < ARRAY_LENGTH(lens); i++) {
        make_legacy_disk(128);
        disk.lie = FAKE_BLK_LEN;
        disk.lie_value = lens[i];
        open_disk();

        assert_int_equal(virtio_blk_read(&blk, 7, buffer + 7 * SECTOR, SECTOR), VIO_OK);

        assert_was_read(7, 1);
        close_disk();
    }
}

static void given_no_status_byte_when_read_then_device_error(void **state)
{
    (void)state;
    make_legacy_disk(128);
    disk.lie = FAKE_BLK_NO_STATUS;
    open_disk();

    assert_int_equal(virtio_blk_read(&blk, 7, buffer, SECTOR), VIO_ERR_DEVICE);
    close_disk();
}

/* The fake device holds the three parts to their lengths: 16, the data, 1. */
static void given_no_any_layout_when_used_then_header_data_and_status_by_themselves(void **state)
{
    /* Checks: BLK-LEG-1, BLK-LEG-3, BLK-LEG-5, BLK-LEG-10 */
    (void)state;
    make_legacy_disk(128);
    open_disk();

    assert_int_equal(virtio_blk_read(&blk, 1, buffer, 8 * SECTOR), VIO_OK);
    assert_int_equal(virtio_blk_write(&blk, 1, buffer, SECTOR), VIO_OK);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(blk.info.capacity_sectors, DISK_SECTORS);
    assert_int_equal(disk.requests[0].n_descriptors, 3);
    assert_int_equal(disk.requests[0].sector, 1);
    assert_int_equal(disk.requests[2].type, VIRTIO_BLK_T_FLUSH);
    close_disk();
}

/* --- What happens later ----------------------------------------------------------------------- */

static void open_with_a_lost_read(uint16_t queue_size)
{
    make_legacy_disk(queue_size);
    disk.lie = FAKE_BLK_NEVER;
    disk.reset_is_honest = 2; /* the first is that of the bring-up */
    open_disk();
    blk.request_limit_us = 1000000;
    submit_reads(0, 3);
    virtio_blk_publish(&blk);
    fake_log_start();
}

static void given_lost_read_when_given_up_then_reset_and_read_again(void **state)
{
    (void)state;
    open_with_a_lost_read(1024);

    poll_for(3000000);

    assert_int_equal(fake_log_count(FAKE_ALLOC) + fake_log_count(FAKE_DMA_ALLOC), 0);
    assert_int_equal(blk.counters.recoveries, 1);
    assert_int_equal(count_done(3), 3);
    assert_was_read(0, 3);
    assert_works();
    close_disk();
}

static void given_larger_queue_after_the_reset_when_recovered_then_out_of_use(void **state)
{
    (void)state;
    static const uint16_t sizes[][2] = {{1024, 2048}, {128, 512}};

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        open_with_a_lost_read(sizes[i][0]);
        disk.transport.queues[0].size_max = sizes[i][1];

        poll_for(3000000);

        assert_done(&transfers[0], VIO_ERR_TIMEOUT);
        assert_dead(VIO_ERR_TIMEOUT);
        assert_int_equal(disk.transport.status, 0);
        close_disk();
    }
}

static void given_another_queue_that_fits_when_recovered_then_all_works(void **state)
{
    (void)state;
    static const uint16_t sizes[][2] = {{1024, 64}, {1024, 512}, {128, 256}, {256, 16}};

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        open_with_a_lost_read(sizes[i][0]);
        disk.transport.queues[0].size_max = sizes[i][1];

        poll_for(3000000);

        assert_int_equal(blk.info.queue_size, sizes[i][1]);
        assert_was_read(0, 3);
        assert_works();
        close_disk();
    }
}

static void given_reset_when_asked_for_then_the_disk_works_again(void **state)
{
    (void)state;
    make_legacy_disk(256);
    open_disk();
    fake_log_start();

    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);

    assert_int_equal(fake_log_count(FAKE_ALLOC) + fake_log_count(FAKE_DMA_ALLOC), 0);
    assert_works();
    close_disk();
}

static void given_new_capacity_when_refreshed_then_seen_without_a_generation(void **state)
{
    /* Checks: CFG-LEG-1 */
    (void)state;
    make_legacy_disk(128);
    open_disk();
    assert_false(virtio_blk_refresh(&blk));
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_CAPACITY, 8, DISK_SECTORS / 2);

    assert_true(virtio_blk_refresh(&blk));

    assert_int_equal(blk.info.capacity_sectors, DISK_SECTORS / 2);
    assert_false(virtio_blk_refresh(&blk));
    close_disk();
}

static void given_cache_that_nothing_flushes_when_opened_then_writethrough(void **state)
{
    /* Checks: BLK-LEG-6 */
    (void)state;
    make_legacy_disk(128);
    disk.transport.offered = 0;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_CONFIG_WRITEBACK, 1, 1);
    open_disk();

    assert_int_equal(disk.transport.config[VIRTIO_BLK_CONFIG_WRITEBACK], 0);
    assert_false(blk.info.has_flush);
    close_disk();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_each_queue_size_when_used_then_as_the_device_says_and_all_works),
        DISK_TEST(given_impossible_queue_when_opened_then_named_and_nothing_left),
        DISK_TEST(given_several_queues_when_used_then_each_in_its_place),
        DISK_TEST(given_no_memory_when_opened_then_no_memory_and_left_reset),
        DISK_TEST(given_any_used_len_when_read_then_the_status_byte_is_enough),
        DISK_TEST(given_no_status_byte_when_read_then_device_error),
        DISK_TEST(given_no_any_layout_when_used_then_header_data_and_status_by_themselves),
        DISK_TEST(given_lost_read_when_given_up_then_reset_and_read_again),
        DISK_TEST(given_larger_queue_after_the_reset_when_recovered_then_out_of_use),
        DISK_TEST(given_another_queue_that_fits_when_recovered_then_all_works),
        DISK_TEST(given_reset_when_asked_for_then_the_disk_works_again),
        DISK_TEST(given_new_capacity_when_refreshed_then_seen_without_a_generation),
        DISK_TEST(given_cache_that_nothing_flushes_when_opened_then_writethrough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
