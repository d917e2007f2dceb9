/* EFI_BLOCK_IO2_PROTOCOL: Reset(), opening, and closing while calls are outstanding. */

#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define BLOCK EFI_DISK_BLOCK_BYTES

/* --- Reset() ---------------------------------------------------------------------------------- */

static EFI_STATUS reset_by(bool by_io2, BOOLEAN extended_verification)
{
    return by_io2 ? efi_disk_io2()->Reset(efi_disk_io2(), extended_verification)
                  : efi_disk_io()->Reset(efi_disk_io(), extended_verification);
}

static void given_tokens_outstanding_when_reset_then_all_are_aborted_and_buffers_free(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        efi_disk_open(false);
        efi_disk_start_write(0, 0, 1);
        efi_disk_start_read(1, 10, 100);
        efi_disk_start_flush(2);
        efi_disk_start_read(3, 200, 1);

        EFI_STATUS status = reset_by(i & 1, (i & 2) != 0);

        assert_int_equal(status, EFI_SUCCESS);
        for (unsigned k = 0; k < 4; k++)
            efi_assert_signalled(k, EFI_ABORTED);
        assert_int_equal(fake_platform_live(&efi_disk.platform, FAKE_CALL_MAP), 0);
        fake_uefi_tick();
        assert_int_equal(fake_uefi_timers(), 0);
        assert_int_equal(efi_disk_read_block(7), EFI_SUCCESS);
        efi_assert_was_read(7, 1);
        efi_disk_start_read(4, 300, 1);
        efi_tick_until_signalled(4);
        efi_assert_signalled(4, EFI_SUCCESS);
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
}

static void given_disk_out_of_use_when_reset_then_used_again(void **state)
{
    (void)state;
    for (unsigned by_io2 = 0; by_io2 < 2; by_io2++) {
        efi_disk.device.lie = FAKE_BLK_IDX_JUMPS;
        efi_disk.device.lie_value = 1000;
        efi_disk_open(true);
        assert_int_equal(efi_disk_read_block(0), EFI_DEVICE_ERROR);
        efi_disk.device.lie = FAKE_BLK_HONEST;
        assert_int_equal(efi_disk_read_block(0), EFI_DEVICE_ERROR);

        /* EDK2 calls it once more when it lets go of a disk: no time to bring one back. */
        assert_int_equal(reset_by(by_io2, FALSE), EFI_SUCCESS);
        assert_int_equal(efi_disk_read_block(0), EFI_DEVICE_ERROR);

        EFI_STATUS status = reset_by(by_io2, TRUE);

        assert_int_equal(status, EFI_SUCCESS);
        assert_int_equal(efi_disk_read_block(0), EFI_SUCCESS);
        efi_assert_was_read(0, 1);
        efi_disk_start_read(0, 9, 1);
        efi_tick_until_signalled(0);
        efi_assert_signalled(0, EFI_SUCCESS);
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
}

static void
given_device_that_cannot_be_brought_up_when_reset_then_error_only_if_extended(void **state)
{
    (void)state;
    for (unsigned extended = 0; extended < 2; extended++) {
        efi_disk_open(true);
        efi_disk_start_read(0, 0, 1);
        efi_disk.device.transport.lie = FAKE_REFUSES_FEATURES;

        EFI_STATUS status = reset_by(true, extended != 0);

        assert_int_equal(status, extended ? EFI_DEVICE_ERROR : EFI_SUCCESS);
        efi_assert_signalled(0, EFI_ABORTED);
        assert_int_equal(efi_disk_read_block(1), EFI_DEVICE_ERROR);
        /* EDK2's disk I/O driver lets go of a disk only if this succeeds; nothing is outstanding. */
        assert_int_equal(reset_by(true, FALSE), EFI_SUCCESS);
        assert_int_equal(efi_disk_read_block(1), EFI_DEVICE_ERROR);
        efi_disk.device.transport.lie = FAKE_HONEST;
        assert_int_equal(reset_by(true, TRUE), EFI_SUCCESS);
        assert_int_equal(efi_disk_read_block(1), EFI_SUCCESS);
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
}

static void given_idle_disk_when_reset_then_left_alone_unless_extended(void **state)
{
    (void)state;
    efi_disk_open(true);
    assert_int_equal(efi_disk_read_block(0), EFI_SUCCESS);
    unsigned n_resets = efi_disk.device.n_resets;

    assert_int_equal(reset_by(false, FALSE), EFI_SUCCESS);
    assert_int_equal(reset_by(true, FALSE), EFI_SUCCESS);
    assert_int_equal(efi_disk.device.n_resets, n_resets);
    for (unsigned by_io2 = 0; by_io2 < 2; by_io2++) {
        assert_int_equal(reset_by(by_io2, TRUE), EFI_SUCCESS);
        assert_true(efi_disk.device.n_resets > n_resets);
        n_resets = efi_disk.device.n_resets;
    }

    assert_int_equal(efi_disk_read_block(1), EFI_SUCCESS);
    efi_assert_was_read(0, 2);
}

/* What comes back from a reset may be another disk of the same size. */
static void given_reading_ahead_when_reset_then_stream_goes_on_with_right_data(void **state)
{
    (void)state;
    efi_disk_open(true);
    for (EFI_LBA lba = 0; lba < 8; lba++)
        assert_int_equal(efi_disk_read_block(lba), EFI_SUCCESS);
    efi_disk_answer();
    memset(efi_disk_image(0), 0x66, 400 * BLOCK);

    assert_int_equal(reset_by(false, TRUE), EFI_SUCCESS);

    assert_int_equal(fake_platform_live(&efi_disk.platform, FAKE_CALL_MAP), 0);
    for (EFI_LBA lba = 8; lba < 400; lba++)
        assert_int_equal(efi_disk_read_block(lba), EFI_SUCCESS);
    efi_assert_was_read(8, 392);
}

/* What a batch has collected ends with the reset; the batch's end finds no queue to be notified. */
static void given_batch_begun_when_reset_fails_in_its_middle_then_nothing_is_notified(void **state)
{
    (void)state;
    efi_disk_open(true);
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    efi_disk_start_read(0, 0, 1);
    efi_disk.device.transport.lie = FAKE_REFUSES_FEATURES;

    EFI_STATUS status = reset_by(true, TRUE);
    BS->RestoreTPL(old_tpl);

    assert_int_equal(status, EFI_DEVICE_ERROR);
    efi_assert_signalled(0, EFI_ABORTED);
    assert_int_equal(efi_disk.device.transport.notifications, 0);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static void given_tokens_outstanding_when_closed_then_all_are_ended(void **state)
{
    (void)state;
    efi_disk.device.transport.queues[0].size_max = 8;
    efi_disk_open(false);
    efi_disk_start_write(0, 0, 1);
    for (unsigned i = 1; i < 300; i++)
        efi_disk_start_read(i, i, 1);
    efi_disk_start_flush(300);

    efi_disk_close();

    for (unsigned i = 0; i <= 300; i++)
        efi_assert_signalled(i, EFI_NO_MEDIA);
    assert_int_equal(fake_uefi_timers(), 0);
    assert_int_equal(fake_uefi_pool_blocks, 0);
    assert_int_equal(fake_uefi_events, 301);
}

static void given_batch_begun_when_closed_then_nothing_is_left_to_run(void **state)
{
    (void)state;
    efi_disk_open(true);
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    efi_disk_start_read(0, 0, 1);

    efi_disk_close();
    BS->RestoreTPL(old_tpl);

    efi_assert_signalled(0, EFI_NO_MEDIA);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void read_once_more(struct efi_token *token)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    assert_int_equal(
        io2->ReadBlocksEx(io2, efi_disk_media_id(), 0, &token->token, BLOCK, efi_disk.buffer),
        EFI_NO_MEDIA);
    assert_int_equal(io2->ReadBlocksEx(io2, efi_disk_media_id(), 0, NULL, BLOCK, efi_disk.buffer),
                     EFI_NO_MEDIA);
}

/* Who is told that it is over may not have understood yet. */
static void given_token_that_reads_on_when_closed_then_refused(void **state)
{
    static const EFI_TPL levels[] = {TPL_CALLBACK, TPL_NOTIFY};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(levels); i++) {
        efi_disk_open(true);
        for (unsigned k = 0; k < 3; k++) {
            (void)efi_token_at(k, levels[i]);
            efi_tokens[k].on_signal = read_once_more;
            efi_disk_start_read(k, k, 1);
        }

        efi_disk_close();

        for (unsigned k = 0; k < 3; k++)
            efi_assert_signalled(k, EFI_NO_MEDIA);
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
}

static void reset_the_closed_disk(struct efi_token *token)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    (void)token;
    assert_int_equal(io2->Reset(io2, TRUE), EFI_DEVICE_ERROR);
}

/* Its rings are free again: a device that is brought up would write to somebody else's memory. */
static void given_token_that_resets_when_closed_then_the_device_stays_off(void **state)
{
    (void)state;
    efi_disk_open(false);
    efi_disk_start_read(0, 0, 1);
    efi_tokens[0].on_signal = reset_the_closed_disk;

    efi_disk_close();

    efi_assert_signalled(0, EFI_NO_MEDIA);
    assert_int_equal(efi_disk.device.transport.status, 0);
    assert_false(efi_disk.device.transport.queues[0].enabled);
}

static void open_and_fail(unsigned fail_pool, unsigned fail_event)
{
    struct block_io *block_io = &efi_disk.block_io;

    block_io_init(block_io, &efi_disk.blk, true);
    fake_uefi_fail_pool = fail_pool;
    fake_uefi_fail_event = fail_event;
    assert_int_equal(block_io2_open(block_io), EFI_OUT_OF_RESOURCES);
    assert_int_equal(fake_uefi_events, 0);
    assert_int_equal(fake_uefi_pool_blocks, 0);
    block_io2_close(block_io);
    block_io_release(block_io);
}

static void given_no_memory_or_no_event_when_opened_then_nothing_is_left_behind(void **state)
{
    (void)state;
    assert_int_equal(virtio_blk_open(&efi_disk.blk, &efi_disk.device.transport.transport,
                                     &efi_disk.platform.platform, 0),
                     VIO_OK);

    open_and_fail(1, 0);
    open_and_fail(0, 1);
    open_and_fail(0, 2);

    virtio_blk_close(&efi_disk.blk);
    efi_disk_open(true);
    assert_int_equal(fake_uefi_events, 2);
    assert_int_equal(efi_disk_read_block(0), EFI_SUCCESS);
}

static void given_timer_refused_when_started_then_the_next_call_sets_it(void **state)
{
    (void)state;
    efi_disk_open(true);
    fake_uefi_fail_timer = 1;
    efi_disk_start_read(0, 0, 1);
    assert_int_equal(fake_uefi_timers(), 0);

    efi_disk_start_read(1, 1, 1);

    assert_int_equal(fake_uefi_timers(), 1);
    efi_disk_answer();
    fake_uefi_tick();
    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_signalled(1, EFI_SUCCESS);
}

/* The firmware's clock ticks while the device takes its time to let go. */
static void tick_while_it_resets(void *context)
{
    unsigned *n_early = context;

    fake_uefi_tick();
    if (efi_disk.device.transport.status != 0)
        *n_early += efi_tokens[0].n_signalled;
}

static void given_slow_reset_when_closed_then_no_timer_gives_a_buffer_back_before(void **state)
{
    unsigned n_early = 0;

    (void)state;
    efi_disk_open(false);
    efi_disk_start_read(0, 0, 1);
    efi_disk.device.transport.lie = FAKE_RESET_SLOW;
    efi_disk.device.transport.lie_count = 5;
    efi_disk.platform.on_wait = tick_while_it_resets;
    efi_disk.platform.on_wait_context = &n_early;

    efi_disk_close();

    efi_disk.platform.on_wait = NULL;
    assert_int_equal(efi_disk.device.transport.lie_count, 0);
    assert_int_equal(n_early, 0);
    efi_assert_signalled(0, EFI_NO_MEDIA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EFI_DISK_TEST(given_tokens_outstanding_when_reset_then_all_are_aborted_and_buffers_free),
        EFI_DISK_TEST(given_disk_out_of_use_when_reset_then_used_again),
        EFI_DISK_TEST(
            given_device_that_cannot_be_brought_up_when_reset_then_error_only_if_extended),
        EFI_DISK_TEST(given_batch_begun_when_reset_fails_in_its_middle_then_nothing_is_notified),
        EFI_DISK_TEST(given_idle_disk_when_reset_then_left_alone_unless_extended),
        EFI_DISK_TEST(given_reading_ahead_when_reset_then_stream_goes_on_with_right_data),
        EFI_DISK_TEST(given_tokens_outstanding_when_closed_then_all_are_ended),
        EFI_DISK_TEST(given_batch_begun_when_closed_then_nothing_is_left_to_run),
        EFI_DISK_TEST(given_token_that_reads_on_when_closed_then_refused),
        EFI_DISK_TEST(given_token_that_resets_when_closed_then_the_device_stays_off),
        EFI_DISK_TEST(given_no_memory_or_no_event_when_opened_then_nothing_is_left_behind),
        EFI_DISK_TEST(given_timer_refused_when_started_then_the_next_call_sets_it),
        EFI_DISK_TEST(given_slow_reset_when_closed_then_no_timer_gives_a_buffer_back_before),
    };

    return cmocka_run_group_tests_name("block_io2_reset", tests, NULL, NULL);
}
