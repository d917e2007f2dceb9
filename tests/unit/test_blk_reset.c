/* devices/blk.h: a disk that is reset by its user, and a disk that is another one afterwards. */

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

#define LIMIT_US 1000000u
#define MORE_US  (LIMIT_US + 200000u)

static void open_impatient_disk(void)
{
    open_manual_disk();
    blk.request_limit_us = LIMIT_US;
}

static void assert_reads(uint64_t sector, uint64_t n_sectors)
{
    memset(buffer, BUFFER_FILL, BUFFER_BYTES);
    disk.delay_waits = 1;
    assert_int_equal(virtio_blk_read(&blk, sector, buffer + sector * SECTOR, n_sectors * SECTOR),
                     VIO_OK);
    disk.delay_waits = NEVER_BY_ITSELF;
    assert_was_read(sector, n_sectors);
}

/* Two requests in a row that nobody answers. */
static void make_dead(void)
{
    for (unsigned i = 0; i < 2; i++) {
        submit(0, VIRTIO_BLK_WRITE, 0, 1);
        virtio_blk_publish(&blk);
        poll_for(MORE_US);
    }
    assert_dead(VIO_ERR_TIMEOUT);
}

/* --- The user's reset --------------------------------------------------------------------------- */

static void given_transfers_under_way_when_reset_then_aborted_and_the_disk_works(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    open_manual_disk();
    for (unsigned i = 0; i < 60; i++)
        transfers[i].is_queued = true;
    for (unsigned i = 0; i < 60; i++)
        submit(i, VIRTIO_BLK_WRITE, i, 1);
    virtio_blk_publish(&blk);
    fake_log_start();

    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);

    unsigned n_given_back = 0;
    for (struct virtio_blk_transfer *done; (done = virtio_blk_next_done(&blk)); n_given_back++)
        assert_done(done, VIO_ERR_ABORTED);
    assert_int_equal(n_given_back, 60);
    assert_int_equal(fake_platform_live(&machine, FAKE_CALL_MAP), 0);
    size_t reset = fake_log_find(FAKE_STATUS_WRITE, 0);
    assert_int_equal(fake_log_at(reset)->value, 0);
    assert_true(fake_log_find(FAKE_STATUS_READ, reset) < fake_log_find(FAKE_UNMAP, 0));
    assert_int_equal(disk.transport.status, 0x0F);
    assert_false(virtio_blk_is_changing(&blk));
    assert_null(blk.device.failure.what);
    assert_reads(0, 100);
    close_disk();
}

static void given_idle_disk_when_reset_then_all_is_as_before(void **state)
{
    (void)state;
    offer_queues(4, 32);
    open_disk();
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_OK);
    struct virtio_blk_info before = blk.info;

    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);

    assert_int_equal(blk.info.n_queues, before.n_queues);
    assert_int_equal(blk.info.queue_size, before.queue_size);
    assert_true(blk.info.capacity_sectors == before.capacity_sectors);
    /* What was written is no more durable for that. */
    assert_true(blk.has_unflushed);
    assert_reads(0, 100);
    close_disk();
}

static void given_disk_out_of_use_when_reset_then_it_is_back(void **state)
{
    (void)state;
    open_impatient_disk();
    make_dead();

    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);

    assert_int_equal(disk.transport.status, 0x0F);
    /* And it has both its tries again. */
    submit(0, VIRTIO_BLK_WRITE, 0, 1);
    virtio_blk_publish(&blk);
    poll_for(MORE_US);
    assert_done(&transfers[0], VIO_ERR_TIMEOUT);
    assert_reads(0, 100);
    close_disk();
}

static void given_disk_that_lied_when_reset_then_it_is_back(void **state)
{
    (void)state;
    open_disk();
    disk.lie = FAKE_BLK_ID;
    disk.lie_value = 77;
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_ERR_QUEUE_BROKEN);
    assert_dead(VIO_ERR_QUEUE_BROKEN);
    disk.lie = FAKE_BLK_HONEST;

    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);

    assert_reads(0, 100);
    close_disk();
}

static void given_disk_that_is_not_brought_up_again_when_reset_then_out_of_use_until_it_is(void **s)
{
    (void)s;
    static const struct {
        enum fake_transport_lie lie;
        vio_status status;
    } cases[] = {{FAKE_REFUSES_FEATURES, VIO_ERR_FEATURES_REFUSED},
                 {FAKE_REFUSES_QUEUE, VIO_ERR_DEVICE}};

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        new_disk(DISK_SECTORS);
        open_disk();
        disk.transport.lie = cases[i].lie;

        assert_int_equal(virtio_blk_reset(&blk), cases[i].status);

        assert_non_null(blk.device.failure.what);
        assert_int_equal(disk.transport.status, 0);
        assert_dead(cases[i].status);
        disk.transport.lie = FAKE_HONEST;
        assert_int_equal(virtio_blk_reset(&blk), VIO_OK);
        assert_reads(0, 100);
        close_disk();
    }
}

static void given_reset_that_is_not_confirmed_when_reset_then_quarantined(void **state)
{
    /* Checks: CLEAN-2, RESET-1 */
    (void)state;
    open_manual_disk();
    submit_reads(0, 3);
    virtio_blk_publish(&blk);
    disk.transport.lie = FAKE_RESET_STUCK;
    fake_log_start();

    assert_int_equal(virtio_blk_reset(&blk), VIO_ERR_TIMEOUT);

    assert_true(fake_log_find(FAKE_ISOLATE, 0) < fake_log_find(FAKE_UNMAP, 0));
    assert_done(&transfers[2], VIO_ERR_ABORTED);
    assert_true(blk.quarantined);
    assert_dead(VIO_ERR_TIMEOUT);
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&machine, DISK_DMA_BLOCKS);
}

/* --- Another disk -------------------------------------------------------------------------------- */

static void given_other_block_size_when_reset_then_refused_until_it_is_the_old_one(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 1024);
    open_disk();
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 4096);

    assert_int_equal(virtio_blk_reset(&blk), VIO_ERR_DEVICE);

    assert_non_null(blk.device.failure.what);
    assert_int_equal(blk.device.failure.value, 4096);
    assert_int_equal(blk.info.block_bytes, 1024);
    assert_int_equal(disk.transport.status, 0);
    assert_dead(VIO_ERR_DEVICE);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 1024);
    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);
    assert_reads(0, 100);
    close_disk();
}

static void given_other_capacity_when_reset_then_seen(void **state)
{
    /* Checks: BLK-REQ-1 */
    (void)state;
    open_disk();
    fake_transport_set_config(&disk.transport, 0, 8, 64);
    disk.sectors = 64;

    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);

    assert_int_equal(blk.info.capacity_sectors, 64);
    assert_int_equal(virtio_blk_read(&blk, 64, buffer, SECTOR), VIO_ERR_RANGE);
    assert_reads(0, 64);
    close_disk();
}

/* What was written before is not durable, but a read-only disk is never flushed. */
static void given_read_only_after_reset_when_flushed_then_nothing_is_sent(void **state)
{
    (void)state;
    open_disk();
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_OK);
    offer(VIRTIO_BLK_F_RO);
    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);
    unsigned n_requests = disk.n_requests;

    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_READ_ONLY);

    assert_int_equal(disk.n_requests, n_requests);
    close_disk();
}

static void given_smaller_segments_after_recovery_when_read_again_then_it_does_not_fit(void **state)
{
    (void)state;
    open_impatient_disk();
    submit(0, VIRTIO_BLK_READ, 0, 64);
    virtio_blk_publish(&blk);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, SECTOR);

    poll_for(MORE_US);

    assert_done(&transfers[0], VIO_ERR_TIMEOUT);
    assert_int_equal(disk.n_requests, 1);
    assert_reads(0, 100);
    close_disk();
}

static void given_smaller_disk_after_recovery_when_sent_again_then_not_beyond_its_end(void **state)
{
    /* Checks: BLK-REQ-2 */
    (void)state;
    open_impatient_disk();
    submit_reads(0, 60); /* some in flight, some waiting */
    virtio_blk_publish(&blk);
    fake_transport_set_config(&disk.transport, 0, 8, 20);
    disk.sectors = 20;

    poll_for(MORE_US);
    serve_until_idle();

    for (unsigned i = 0; i < 60; i++)
        assert_done(&transfers[i], i < 20 ? VIO_OK : i < 42 ? VIO_ERR_TIMEOUT : VIO_ERR_RANGE);
    assert_was_read(0, 20);
    close_disk();
}

static void
given_read_only_disk_after_recovery_when_writes_wait_then_they_are_not_sent(void **state)
{
    /* Checks: X-BLK-3 */
    (void)state;
    open_impatient_disk();
    for (unsigned i = 0; i < 60; i++)
        submit(i, VIRTIO_BLK_WRITE, i, 1);
    virtio_blk_publish(&blk);
    unsigned n_requests = disk.n_requests;
    offer(VIRTIO_BLK_F_RO);

    poll_for(MORE_US);

    assert_int_equal(disk.n_requests, n_requests);
    assert_int_equal(count_done(60), 60);
    assert_int_equal(transfers[59].status, VIO_ERR_READ_ONLY);
    assert_reads(0, 100);
    close_disk();
}

static void given_no_discard_after_recovery_when_one_waits_then_it_is_not_sent(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS, 4, 8);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG, 4, 1);
    disk.transport.config_bytes = 60;
    open_impatient_disk();
    submit(0, VIRTIO_BLK_READ, 0, 1);
    transfers[1].after_all = true;
    submit(1, VIRTIO_BLK_DISCARD, 0, 64);
    virtio_blk_publish(&blk);
    disk.transport.offered &= ~VIO_FEATURE(VIRTIO_BLK_F_DISCARD);

    poll_for(MORE_US);
    serve(1);

    assert_done(&transfers[0], VIO_OK);
    assert_done(&transfers[1], VIO_ERR_UNSUPPORTED);
    close_disk();
}

static void given_iommu_after_recovery_when_read_again_then_not_by_its_pointer(void **state)
{
    (void)state;
    fake_platform_lend(&machine, buffer, BUFFER_BYTES);
    open_impatient_disk();
    submit_reads(0, 2);
    virtio_blk_publish(&blk);
    offer(VIRTIO_F_ACCESS_PLATFORM);
    fake_platform_lend(&machine, NULL, 0);

    poll_for(MORE_US);

    assert_done(&transfers[0], VIO_ERR_TIMEOUT);
    assert_int_equal(disk.n_requests, 2);
    assert_reads(0, 100);
    close_disk();
}

static void given_no_iommu_after_recovery_when_read_again_then_by_its_pointer(void **state)
{
    /* Checks: RSVD-5 */
    (void)state;
    offer(VIRTIO_F_ACCESS_PLATFORM);
    fake_platform_lend(&machine, buffer, BUFFER_BYTES);
    open_impatient_disk();
    submit_reads(0, 2);
    virtio_blk_publish(&blk);
    disk.transport.offered &= ~VIO_FEATURE(VIRTIO_F_ACCESS_PLATFORM);

    poll_for(MORE_US);

    assert_done(&transfers[0], VIO_ERR_TIMEOUT);
    assert_reads(0, 100);
    close_disk();
}

static void
given_many_queues_when_the_recovery_fails_then_none_that_is_not_there_is_touched(void **s)
{
    (void)s;
    offer_queues(UINT16_MAX, 128);
    open_impatient_disk();
    submit_reads(0, 3);
    virtio_blk_publish(&blk);
    disk.transport.lie = FAKE_REFUSES_FEATURES;

    poll_for(MORE_US);

    assert_done(&transfers[2], VIO_ERR_TIMEOUT);
    assert_dead(VIO_ERR_TIMEOUT);
    close_disk();
}

static void given_disk_out_of_use_when_published_then_not_notified(void **state)
{
    /* Checks: INIT-7 */
    (void)state;
    offer_queues(2, 32);
    open_manual_disk();
    submit_reads(0, 2);
    virtio_blk_publish(&blk);
    disk.lie = FAKE_BLK_ID;
    disk.lie_value = 31;
    fake_blk_device_serve(&disk, 1);
    submit_reads(2, 2);

    (void)virtio_blk_poll(&blk);
    virtio_blk_publish(&blk);

    assert_done(&transfers[3], VIO_ERR_QUEUE_BROKEN);
    assert_int_equal(disk.transport.notifications, 2);
    close_disk();
}

static void given_transfers_under_way_when_shut_down_then_they_end_and_the_disk_stays_off(void **s)
{
    /* Checks: CLEAN-2 */
    (void)s;
    open_impatient_disk();
    submit_reads(0, 60);
    virtio_blk_publish(&blk);
    virtio_blk_shutdown(&blk);
    assert_int_equal(count_done(60), 0);

    poll_for(3 * LIMIT_US);

    for (unsigned i = 0; i < 60; i++)
        assert_done(&transfers[i], VIO_ERR_GONE);
    assert_int_equal(disk.transport.status, 0);
    assert_int_equal(disk.transport.notifications, 1);
    close_disk();
}

static void
given_transfer_under_way_when_shut_down_and_waited_for_then_gone_without_a_wait(void **s)
{
    (void)s;
    open_manual_disk();
    submit(0, VIRTIO_BLK_READ, 3, 1);
    virtio_blk_publish(&blk);
    virtio_blk_shutdown(&blk);
    unsigned waits = machine.waits;

    assert_int_equal(virtio_blk_wait(&blk, &transfers[0]), VIO_ERR_GONE);

    assert_int_equal(machine.waits, waits);
    close_disk();
}

static void given_disk_that_was_shut_down_when_reset_then_it_stays_off(void **state)
{
    (void)state;
    open_manual_disk();
    submit(0, VIRTIO_BLK_WRITE, 0, 1);
    virtio_blk_publish(&blk);
    virtio_blk_shutdown(&blk);

    assert_int_equal(virtio_blk_reset(&blk), VIO_ERR_GONE);

    assert_int_equal(disk.transport.status, 0);
    assert_done(&transfers[0], VIO_ERR_GONE);
    assert_dead(VIO_ERR_GONE);
    close_disk();
}

static void given_disk_that_is_gone_when_reset_then_gone_and_not_late(void **state)
{
    (void)state;
    open_manual_disk();
    disk.transport.lie = FAKE_GONE;

    assert_int_equal(virtio_blk_reset(&blk), VIO_ERR_GONE);

    assert_true(virtio_blk_is_gone(&blk));
    assert_dead(VIO_ERR_GONE);
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&machine, DISK_DMA_BLOCKS);
}

/* Part of it is with the device, and part of it waits for room: it ends once, by whatever means. */
static void assert_partly_sent_ends_once(void (*end)(void), vio_status status)
{
    new_disk(DISK_SECTORS);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, SECTOR);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    open_manual_disk();
    transfers[0].is_queued = true;
    submit(0, VIRTIO_BLK_WRITE, 0, 100);
    virtio_blk_publish(&blk);
    assert_int_equal(transfers[0].n_in_flight, 42);

    end();

    assert_done(&transfers[0], status);
    assert_ptr_equal(virtio_blk_next_done(&blk), &transfers[0]);
    assert_null(virtio_blk_next_done(&blk));
    assert_false(virtio_blk_is_changing(&blk));
}

static void end_by_reset(void)
{
    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);
}

static void end_by_a_lie(void)
{
    disk.lie = FAKE_BLK_IDX_JUMPS;
    disk.lie_value = 1000;
    fake_blk_device_serve(&disk, 1);
    (void)virtio_blk_poll(&blk); /* how many it took for answers is its affair */
}

static void end_by_closing(void)
{
    virtio_blk_close(&blk);
}

static void given_transfer_that_is_partly_sent_when_all_ends_then_it_ends_once(void **state)
{
    (void)state;
    assert_partly_sent_ends_once(end_by_reset, VIO_ERR_ABORTED);
    close_disk();
    assert_partly_sent_ends_once(end_by_a_lie, VIO_ERR_QUEUE_BROKEN);
    close_disk();
    assert_partly_sent_ends_once(end_by_closing, VIO_ERR_GONE);
    fake_platform_assert_no_leaks(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_transfers_under_way_when_reset_then_aborted_and_the_disk_works),
        DISK_TEST(given_idle_disk_when_reset_then_all_is_as_before),
        DISK_TEST(given_disk_out_of_use_when_reset_then_it_is_back),
        DISK_TEST(given_disk_that_lied_when_reset_then_it_is_back),
        DISK_TEST(given_disk_that_is_not_brought_up_again_when_reset_then_out_of_use_until_it_is),
        DISK_TEST(given_reset_that_is_not_confirmed_when_reset_then_quarantined),
        DISK_TEST(given_other_block_size_when_reset_then_refused_until_it_is_the_old_one),
        DISK_TEST(given_other_capacity_when_reset_then_seen),
        DISK_TEST(given_read_only_after_reset_when_flushed_then_nothing_is_sent),
        DISK_TEST(given_smaller_segments_after_recovery_when_read_again_then_it_does_not_fit),
        DISK_TEST(given_smaller_disk_after_recovery_when_sent_again_then_not_beyond_its_end),
        DISK_TEST(given_read_only_disk_after_recovery_when_writes_wait_then_they_are_not_sent),
        DISK_TEST(given_no_discard_after_recovery_when_one_waits_then_it_is_not_sent),
        DISK_TEST(given_iommu_after_recovery_when_read_again_then_not_by_its_pointer),
        DISK_TEST(given_no_iommu_after_recovery_when_read_again_then_by_its_pointer),
        DISK_TEST(given_many_queues_when_the_recovery_fails_then_none_that_is_not_there_is_touched),
        DISK_TEST(given_disk_out_of_use_when_published_then_not_notified),
        DISK_TEST(given_transfers_under_way_when_shut_down_then_they_end_and_the_disk_stays_off),
        DISK_TEST(given_transfer_under_way_when_shut_down_and_waited_for_then_gone_without_a_wait),
        DISK_TEST(given_disk_that_was_shut_down_when_reset_then_it_stays_off),
        DISK_TEST(given_disk_that_is_gone_when_reset_then_gone_and_not_late),
        DISK_TEST(given_transfer_that_is_partly_sent_when_all_ends_then_it_ends_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
