/* EFI_BLOCK_IO2_PROTOCOL: arguments, tokens, when they are signalled, and levels (UEFI 2.10, 13.10). */

#include "devices/blk_spec.h"
#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define BLOCK EFI_DISK_BLOCK_BYTES
#define LAST  (EFI_DISK_BLOCKS - 1)

/* The three ways to give no token, or one. */
enum token_kind {
    TOKEN_NONE,
    TOKEN_WITHOUT_EVENT,
    TOKEN_WITH_EVENT,
    TOKEN_KINDS,
};

static EFI_BLOCK_IO2_TOKEN *token_of(enum token_kind kind)
{
    static EFI_BLOCK_IO2_TOKEN without_event;

    if (kind == TOKEN_NONE)
        return NULL;
    without_event = (EFI_BLOCK_IO2_TOKEN){.TransactionStatus = EFI_NOT_READY};
    return kind == TOKEN_WITH_EVENT ? efi_token(0) : &without_event;
}

/* --- Arguments -------------------------------------------------------------------------------- */

static void given_each_bad_argument_when_started_then_its_status_and_nothing_else(void **state)
{
    /* Checks: BLK-REQ-2 */
    static const struct {
        bool no_media;
        UINT32 media_id_off_by;
        EFI_LBA lba;
        UINTN bytes;
        bool has_buffer;
        EFI_STATUS status;
    } cases[] = {
        {true, 0, 0, BLOCK, true, EFI_NO_MEDIA},
        {true, 1, 0, BLOCK, true, EFI_NO_MEDIA},
        {true, 0, EFI_DISK_BLOCKS, 0, false, EFI_NO_MEDIA},
        {true, 0, 0, 1, false, EFI_NO_MEDIA},
        {false, 1, 0, BLOCK, true, EFI_MEDIA_CHANGED},
        {false, UINT32_MAX, 0, BLOCK, true, EFI_MEDIA_CHANGED},
        {false, 1, 0, 0, true, EFI_MEDIA_CHANGED},
        {false, 1, EFI_DISK_BLOCKS, 1, false, EFI_MEDIA_CHANGED},
        {false, 0, 0, BLOCK, false, EFI_INVALID_PARAMETER},
        {false, 0, 0, BLOCK - 1, true, EFI_BAD_BUFFER_SIZE},
        {false, 0, 0, BLOCK + 1, true, EFI_BAD_BUFFER_SIZE},
        {false, 0, EFI_DISK_BLOCKS, BLOCK, true, EFI_INVALID_PARAMETER},
        {false, 0, LAST, 2 * BLOCK, true, EFI_INVALID_PARAMETER},
        {false, 0, UINT64_MAX, BLOCK, true, EFI_INVALID_PARAMETER},
        {false, 0, UINT64_MAX / BLOCK + 1, BLOCK, true, EFI_INVALID_PARAMETER},
        {false, 0, 1, UINT64_MAX - BLOCK + 1, true, EFI_INVALID_PARAMETER},
    };

    (void)state;
    efi_disk_open(false);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    for (unsigned i = 0; i < ARRAY_LENGTH(cases) * TOKEN_KINDS; i++) {
        unsigned n = i / TOKEN_KINDS;
        EFI_BLOCK_IO2_TOKEN *token = token_of(i % TOKEN_KINDS);
        UINT32 media_id = efi_disk_media_id() + cases[n].media_id_off_by;
        void *data = cases[n].has_buffer ? efi_disk.buffer : NULL;
        efi_disk.block_io.media.MediaPresent = !cases[n].no_media;

        EFI_STATUS read =
            io2->ReadBlocksEx(io2, media_id, cases[n].lba, token, cases[n].bytes, data);
        EFI_STATUS written =
            io2->WriteBlocksEx(io2, media_id, cases[n].lba, token, cases[n].bytes, data);

        assert_int_equal(read, cases[n].status);
        assert_int_equal(written, cases[n].status);
        if (i % TOKEN_KINDS == TOKEN_WITH_EVENT)
            efi_assert_outstanding(0);
    }
    assert_int_equal(efi_disk.device.n_requests, 0);
    assert_int_equal(fake_uefi_timers(), 0);
    assert_int_equal(fake_uefi_signals, 0);
}

static void given_zero_length_when_started_then_signalled_at_once_and_no_request(void **state)
{
    static const EFI_LBA lbas[] = {0, LAST, EFI_DISK_BLOCKS, UINT64_MAX};

    (void)state;
    efi_disk_open(false);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    for (unsigned i = 0; i < ARRAY_LENGTH(lbas); i++) {
        for (unsigned kind = 0; kind < TOKEN_WITH_EVENT; kind++) {
            assert_int_equal(
                io2->ReadBlocksEx(io2, efi_disk_media_id(), lbas[i], token_of(kind), 0, NULL),
                EFI_SUCCESS);
            assert_int_equal(
                io2->WriteBlocksEx(io2, efi_disk_media_id(), lbas[i], token_of(kind), 0, NULL),
                EFI_SUCCESS);
        }

        EFI_STATUS read =
            io2->ReadBlocksEx(io2, efi_disk_media_id(), lbas[i], efi_token(2 * i), 0, NULL);
        EFI_STATUS written =
            io2->WriteBlocksEx(io2, efi_disk_media_id(), lbas[i], efi_token(2 * i + 1), 0, NULL);

        assert_int_equal(read, EFI_SUCCESS);
        assert_int_equal(written, EFI_SUCCESS);
        efi_assert_signalled(2 * i, EFI_SUCCESS);
        efi_assert_signalled(2 * i + 1, EFI_SUCCESS);
    }
    assert_int_equal(efi_disk.device.n_requests, 0);
    assert_int_equal(fake_uefi_timers(), 0);
}

static void given_no_event_when_read_written_and_flushed_then_done_on_return(void **state)
{
    (void)state;
    efi_disk_open(false);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    for (unsigned kind = 0; kind < TOKEN_WITH_EVENT; kind++) {
        EFI_LBA lba = 10 + kind;
        unsigned n_before = efi_disk.device.n_requests;
        efi_disk_fill(lba, 1, (uint8_t)(0x30 + kind));

        EFI_STATUS written = io2->WriteBlocksEx(io2, efi_disk_media_id(), lba, token_of(kind),
                                                BLOCK, efi_disk_place(lba));
        assert_memory_equal(efi_disk_image(lba), efi_disk_place(lba), BLOCK);
        EFI_STATUS flushed = io2->FlushBlocksEx(io2, token_of(kind));
        assert_int_equal(efi_disk.device.n_returned, n_before + 2);
        EFI_STATUS read = io2->ReadBlocksEx(io2, efi_disk_media_id(), LAST, token_of(kind), BLOCK,
                                            efi_disk_place(LAST));

        assert_int_equal(written, EFI_SUCCESS);
        assert_int_equal(flushed, EFI_SUCCESS);
        assert_int_equal(read, EFI_SUCCESS);
        efi_assert_was_read(LAST, 1);
        assert_int_equal(efi_disk.device.requests[n_before + 1].type, VIRTIO_BLK_T_FLUSH);
    }
    assert_int_equal(fake_uefi_signals, 0);
    assert_int_equal(fake_uefi_timers(), 0);
}

static void given_read_only_media_when_started_then_refused_or_nothing_sent(void **state)
{
    /* Checks: X-BLK-3 */
    (void)state;
    efi_disk.device.transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_RO);
    efi_disk_open(false);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    for (unsigned kind = 0; kind < TOKEN_KINDS; kind++)
        assert_int_equal(
            io2->WriteBlocksEx(io2, efi_disk_media_id(), 0, token_of(kind), BLOCK, efi_disk.buffer),
            EFI_WRITE_PROTECTED);
    efi_disk_start_flush(1);

    assert_true(io2->Media->ReadOnly);
    efi_assert_outstanding(0);
    efi_assert_signalled(1, EFI_SUCCESS);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

/* --- Signalling ------------------------------------------------------------------------------- */

static void given_token_when_read_then_signalled_after_the_answer_with_the_data_there(void **state)
{
    (void)state;
    efi_disk_open(true);
    assert_int_equal(fake_uefi_timers(), 0);

    efi_disk_start_read(0, LAST, 1);

    efi_assert_outstanding(0);
    assert_int_equal(fake_uefi_timers(), 1);
    fake_uefi_tick();
    efi_assert_outstanding(0);
    assert_int_equal(fake_uefi_timers(), 1);
    efi_disk_answer();
    efi_assert_outstanding(0);
    fake_uefi_tick();
    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_was_read(LAST, 1);
    assert_int_equal(fake_uefi_timers(), 0);
}

static void given_two_outstanding_when_one_is_answered_then_timer_goes_on(void **state)
{
    (void)state;
    efi_disk_open(true);
    efi_disk_start_read(0, 0, 1);
    efi_disk_answer();
    efi_disk_start_read(1, 100, 1);

    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_outstanding(1);
    assert_int_equal(fake_uefi_timers(), 1);
    efi_disk_answer();
    fake_uefi_tick();
    efi_assert_signalled(1, EFI_SUCCESS);
    assert_int_equal(fake_uefi_timers(), 0);
    efi_disk_start_read(2, 200, 1);
    assert_int_equal(fake_uefi_timers(), 1);
}

static void given_read_of_many_requests_when_answered_then_signalled_once_at_the_end(void **state)
{
    (void)state;
    fake_blk_device_offer(&efi_disk.device, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4,
                          4096);
    fake_blk_device_offer(&efi_disk.device, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    efi_disk.device.transport.queues[0].size_max = 16;
    efi_disk_open(true);

    efi_disk_start_read(0, 0, EFI_DISK_BLOCKS);
    for (unsigned i = 0; i < 1000 && efi_tokens[0].n_signalled == 0; i++) {
        assert_true(efi_disk.device.n_returned < EFI_DISK_BLOCKS / 8);
        efi_disk_answer();
        fake_uefi_tick();
    }

    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_was_read(0, EFI_DISK_BLOCKS);
    assert_int_equal(efi_disk.device.n_requests, EFI_DISK_BLOCKS / 8);
}

static void call_read(void)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    (void)io->ReadBlocks(io, efi_disk_media_id(), 500, BLOCK, efi_disk_place(500));
}

static void call_read_nothing(void)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    (void)io->ReadBlocks(io, efi_disk_media_id(), 500, 0, NULL);
}

static void call_write(void)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    (void)io->WriteBlocks(io, efi_disk_media_id(), 500, BLOCK, efi_disk_place(500));
}

static void call_write_nothing(void)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    (void)io->WriteBlocks(io, efi_disk_media_id(), 500, 0, NULL);
}

static void call_flush(void)
{
    (void)efi_disk_io()->FlushBlocks(efi_disk_io());
}

static void call_read_ex(void)
{
    efi_disk_start_read(1, 500, 1);
}

static void call_read_ex_nothing(void)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    (void)io2->ReadBlocksEx(io2, efi_disk_media_id(), 0, NULL, 0, NULL);
}

static void call_write_ex(void)
{
    efi_disk_start_write(1, 500, 1);
}

static void call_write_ex_nothing(void)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    (void)io2->WriteBlocksEx(io2, efi_disk_media_id(), 0, NULL, 0, NULL);
}

static void call_flush_ex(void)
{
    efi_disk_start_flush(1);
}

static void call_refresh(void)
{
    (void)block_io_refresh(&efi_disk.block_io);
}

/* Whatever is called next; the timer need not come for it. */
static void given_answer_when_anything_is_called_then_signalled(void **state)
{
    static void (*const calls[])(void) = {
        call_read,    call_read_nothing,    call_write,    call_write_nothing,    call_flush,
        call_read_ex, call_read_ex_nothing, call_write_ex, call_write_ex_nothing, call_flush_ex,
        call_refresh,
    };

    (void)state;
    for (unsigned read_only = 0; read_only < 2; read_only++) {
        for (unsigned i = 0; i < ARRAY_LENGTH(calls); i++) {
            bool writes = calls[i] == call_write || calls[i] == call_write_ex;
            if (read_only && writes)
                continue;
            efi_disk_open(read_only);
            efi_disk_start_read(0, 0, 1);
            efi_disk_answer();
            efi_assert_outstanding(0);

            calls[i]();

            if (efi_tokens[0].n_signalled == 0)
                fail_msg("call number %u did not signal, read-only: %u", i, read_only);
            efi_assert_signalled(0, EFI_SUCCESS);
            assert_int_equal(efi_disk_tear_down(NULL), 0);
            assert_int_equal(efi_disk_set_up(NULL), 0);
        }
    }
}

/* Such a read asks the device for nothing, but who waits must not have to know that. */
static void given_answer_when_read_from_what_was_read_ahead_then_signalled(void **state)
{
    EFI_LBA lba = 0;

    (void)state;
    efi_disk_open(true);
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    for (; lba < 8; lba++)
        assert_int_equal(io->ReadBlocks(io, efi_disk_media_id(), lba, BLOCK, efi_disk_place(lba)),
                         EFI_SUCCESS);
    efi_disk_start_read(0, 1000, 1);
    efi_disk_answer();
    unsigned n_before = efi_disk.device.n_requests;

    assert_int_equal(io->ReadBlocks(io, efi_disk_media_id(), lba, BLOCK, efi_disk_place(lba)),
                     EFI_SUCCESS);

    assert_int_equal(efi_disk.device.n_requests, n_before);
    efi_assert_signalled(0, EFI_SUCCESS);
}

/* --- Levels and batches ----------------------------------------------------------------------- */

static void given_batch_at_notify_when_level_is_restored_then_one_notification(void **state)
{
    /* Checks: X-SPLIT-1 */
    (void)state;
    efi_disk_open(false);
    unsigned notified_before = efi_disk.device.transport.notifications;

    for (unsigned round = 1; round <= 2; round++) {
        unsigned first = round * 20;
        EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
        for (unsigned i = first; i < first + 20; i++)
            efi_disk_start_read(i, i, 1);
        assert_int_equal(efi_disk.device.n_requests, (round - 1) * 20);
        BS->RestoreTPL(old_tpl);

        assert_int_equal(efi_disk.device.n_requests, round * 20);
        assert_int_equal(efi_disk.device.transport.notifications, notified_before + round);
        efi_disk_answer();
        fake_uefi_tick();
        for (unsigned i = first; i < first + 20; i++)
            efi_assert_signalled(i, EFI_SUCCESS);
        efi_assert_was_read(first, 20);
    }
}

static void given_batch_of_nothing_to_be_sent_when_level_is_restored_then_signalled(void **state)
{
    (void)state;
    efi_disk_open(false);

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    efi_disk_start_flush(0);
    efi_assert_outstanding(0);
    BS->RestoreTPL(old_tpl);

    efi_assert_signalled(0, EFI_SUCCESS);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void given_timer_refused_when_a_batch_goes_on_then_the_next_call_sets_it(void **state)
{
    (void)state;
    efi_disk_open(false);
    fake_uefi_fail_timer = 1;

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    efi_disk_start_read(0, 0, 1);
    assert_int_equal(fake_uefi_timers(), 0);
    efi_disk_start_read(1, 1, 1);
    BS->RestoreTPL(old_tpl);

    assert_int_equal(fake_uefi_timers(), 1);
    efi_disk_answer();
    fake_uefi_tick();
    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_signalled(1, EFI_SUCCESS);
}

static void given_batch_when_blocking_call_comes_in_its_middle_then_both_are_done(void **state)
{
    (void)state;
    efi_disk_open(false);
    efi_disk_fill(700, 1, 0x99);

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    efi_disk_start_read(0, 0, 1);
    call_read();
    efi_disk_start_write(1, 700, 1);
    BS->RestoreTPL(old_tpl);
    efi_disk_answer();
    fake_uefi_tick();

    efi_assert_was_read(500, 1);
    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_signalled(1, EFI_SUCCESS);
    assert_memory_equal(efi_disk_image(700), efi_disk_place(700), BLOCK);
}

static void given_caller_at_each_level_when_started_then_sent_when_below_notify(void **state)
{
    static const EFI_TPL levels[] = {TPL_APPLICATION, TPL_CALLBACK, TPL_NOTIFY};

    (void)state;
    efi_disk_open(true);
    for (unsigned i = 0; i < ARRAY_LENGTH(levels); i++) {
        EFI_TPL old_tpl = BS->RaiseTPL(levels[i]);

        efi_disk_start_read(i, i, 1);

        assert_int_equal(fake_uefi_tpl, levels[i]);
        assert_int_equal(efi_disk.device.n_requests, levels[i] < TPL_NOTIFY ? i + 1 : i);
        efi_assert_outstanding(i);
        BS->RestoreTPL(old_tpl);
        assert_int_equal(efi_disk.device.n_requests, i + 1);
        efi_disk_answer();
        fake_uefi_tick();
        efi_assert_signalled(i, EFI_SUCCESS);
    }
}

/* No notification may run in the middle of a call, which would find the disk half-way. */
static void assert_at_notify_and_nobody_told(struct fake_blk_device *device)
{
    (void)device;
    assert_int_equal(fake_uefi_tpl, TPL_NOTIFY);
    assert_int_equal(efi_tokens[0].n_signalled, 0);
}

static void given_tick_in_blocking_call_when_answered_then_signalled_behind_it(void **state)
{
    (void)state;
    efi_disk_open(true);
    efi_disk.device.on_wait = assert_at_notify_and_nobody_told;
    (void)efi_token_at(0, TPL_NOTIFY);
    efi_disk_start_read(0, 0, 1);
    efi_disk_start_read(1, 1, 1);

    call_read();

    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_was_read(500, 1);
}

/* 13.9.1: an IoAlign of 0 means that buffers may lie anywhere. */
static void given_buffers_at_odd_addresses_when_read_and_written_then_as_any_other(void **state)
{
    uint8_t *odd = efi_disk.buffer + 1, *other = efi_disk.buffer + 64 * BLOCK + 3;
    const UINTN bytes = 24 * BLOCK;

    (void)state;
    efi_disk_open(false);
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    UINT32 id = efi_disk_media_id();
    assert_int_equal(io->Media->IoAlign, 0);

    assert_int_equal(io->ReadBlocks(io, id, 5, bytes, odd), EFI_SUCCESS);
    assert_int_equal(io2->ReadBlocksEx(io2, id, 300, efi_token(0), bytes, other), EFI_SUCCESS);
    efi_tick_until_signalled(0);

    efi_assert_signalled(0, EFI_SUCCESS);
    assert_memory_equal(odd, efi_disk_image(5), bytes);
    assert_memory_equal(other, efi_disk_image(300), bytes);

    assert_int_equal(io->WriteBlocks(io, id, 700, bytes, odd), EFI_SUCCESS);
    assert_int_equal(io2->WriteBlocksEx(io2, id, 800, efi_token(1), bytes, other), EFI_SUCCESS);
    efi_tick_until_signalled(1);

    efi_assert_signalled(1, EFI_SUCCESS);
    assert_memory_equal(efi_disk_image(700), odd, bytes);
    assert_memory_equal(efi_disk_image(800), other, bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EFI_DISK_TEST(given_buffers_at_odd_addresses_when_read_and_written_then_as_any_other),
        EFI_DISK_TEST(given_each_bad_argument_when_started_then_its_status_and_nothing_else),
        EFI_DISK_TEST(given_zero_length_when_started_then_signalled_at_once_and_no_request),
        EFI_DISK_TEST(given_no_event_when_read_written_and_flushed_then_done_on_return),
        EFI_DISK_TEST(given_read_only_media_when_started_then_refused_or_nothing_sent),
        EFI_DISK_TEST(given_token_when_read_then_signalled_after_the_answer_with_the_data_there),
        EFI_DISK_TEST(given_two_outstanding_when_one_is_answered_then_timer_goes_on),
        EFI_DISK_TEST(given_read_of_many_requests_when_answered_then_signalled_once_at_the_end),
        EFI_DISK_TEST(given_answer_when_anything_is_called_then_signalled),
        EFI_DISK_TEST(given_answer_when_read_from_what_was_read_ahead_then_signalled),
        EFI_DISK_TEST(given_batch_at_notify_when_level_is_restored_then_one_notification),
        EFI_DISK_TEST(given_batch_of_nothing_to_be_sent_when_level_is_restored_then_signalled),
        EFI_DISK_TEST(given_timer_refused_when_a_batch_goes_on_then_the_next_call_sets_it),
        EFI_DISK_TEST(given_batch_when_blocking_call_comes_in_its_middle_then_both_are_done),
        EFI_DISK_TEST(given_caller_at_each_level_when_started_then_sent_when_below_notify),
        EFI_DISK_TEST(given_tick_in_blocking_call_when_answered_then_signalled_behind_it),
    };

    return cmocka_run_group_tests_name("block_io2", tests, NULL, NULL);
}
