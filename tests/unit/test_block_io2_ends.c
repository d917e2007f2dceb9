/* EFI_BLOCK_IO2_PROTOCOL: order, many tokens, no memory, and errors. */

#include "devices/blk_spec.h"
#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define BLOCK EFI_DISK_BLOCK_BYTES

/* --- Order ------------------------------------------------------------------------------------ */

static void
given_calls_outstanding_when_flushed_then_sent_and_signalled_after_all_of_them(void **state)
{
    (void)state;
    efi_disk_open(false);
    efi_disk_start_write(0, 10, 4);
    efi_disk_start_read(1, 500, 1);
    efi_disk_start_write(2, 20, 4);

    efi_disk_start_flush(3);
    efi_disk_start_read(4, 600, 1);

    assert_int_equal(efi_disk.device.n_requests, 3);
    fake_uefi_tick();
    assert_int_equal(efi_disk.device.n_requests, 3);
    efi_disk_answer();
    fake_uefi_tick();
    for (unsigned i = 0; i < 3; i++)
        efi_assert_signalled(i, EFI_SUCCESS);
    efi_assert_outstanding(3);
    efi_tick_until_signalled(3);
    efi_tick_until_signalled(4);
    assert_int_equal(efi_disk.device.requests[3].type, VIRTIO_BLK_T_FLUSH);
    assert_int_equal(efi_disk.device.requests[4].type, VIRTIO_BLK_T_IN);
    efi_assert_signalled(3, EFI_SUCCESS);
}

/* Nothing is sent for it, but it says that all before it is done. */
static void given_reads_outstanding_when_nothing_to_flush_then_signalled_after_them(void **state)
{
    (void)state;
    efi_disk_open(true);
    efi_disk_start_read(0, 10, 4);

    efi_disk_start_flush(1);

    fake_uefi_tick();
    efi_assert_outstanding(1);
    efi_disk_answer();
    fake_uefi_tick();
    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_signalled(1, EFI_SUCCESS);
    assert_true(efi_tokens[0].order < efi_tokens[1].order);
    assert_int_equal(efi_disk.device.n_requests, 1);
}

static void given_writes_outstanding_when_read_blocking_then_their_data_is_seen(void **state)
{
    (void)state;
    efi_disk.device.order = FAKE_BLK_REVERSED;
    efi_disk_open(false);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(efi_disk_read_block(100 + i),
                         EFI_SUCCESS); /* what follows is read ahead */
    efi_disk_fill(100, 200, 0x77);
    efi_disk_start_write(0, 100, 200);

    for (EFI_LBA lba = 108; lba < 300; lba += 64) {
        uint8_t seen[BLOCK];
        EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
        assert_int_equal(io->ReadBlocks(io, efi_disk_media_id(), lba, BLOCK, seen), EFI_SUCCESS);
        assert_memory_equal(seen, efi_disk_place(lba), BLOCK);
    }

    efi_assert_signalled(0, EFI_SUCCESS);
}

static void given_write_outstanding_when_written_blocking_then_the_later_one_stays(void **state)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    uint8_t later[BLOCK];

    (void)state;
    efi_disk.device.order = FAKE_BLK_REVERSED;
    efi_disk_open(false);
    efi_disk_fill(100, 1, 0x11);
    memset(later, 0x22, sizeof(later));
    efi_disk_start_write(0, 100, 1);

    assert_int_equal(io->WriteBlocks(io, efi_disk_media_id(), 100, BLOCK, later), EFI_SUCCESS);

    efi_assert_signalled(0, EFI_SUCCESS);
    assert_memory_equal(efi_disk_image(100), later, BLOCK);
}

static void given_stream_when_written_with_a_token_then_read_ahead_data_is_not_used(void **state)
{
    (void)state;
    efi_disk_open(false);
    for (EFI_LBA lba = 0; lba < 8; lba++)
        assert_int_equal(efi_disk_read_block(lba), EFI_SUCCESS);
    efi_disk_fill(8, 1, 0x42);
    efi_disk_start_write(0, 8, 1);
    efi_tick_until_signalled(0);
    efi_disk_fill(8, 1, 0);

    assert_int_equal(efi_disk_read_block(8), EFI_SUCCESS);

    assert_int_equal(*efi_disk_place(8), 0x42);
    efi_assert_was_read(8, 1);
}

/* --- Many tokens ------------------------------------------------------------------------------ */

static void given_more_tokens_than_fit_when_started_then_all_are_signalled(void **state)
{
    (void)state;
    efi_disk.device.transport.queues[0].size_max = 8;
    efi_disk.device.order = FAKE_BLK_SHUFFLED;
    efi_disk_open(true);
    assert_true(EFI_TOKENS_MAX > 3 * BLOCK_IO_REQUESTS);

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < EFI_TOKENS_MAX; i++)
            efi_disk_start_read(i, i, 1);
        for (unsigned i = 0; i < EFI_TOKENS_MAX; i++)
            efi_tick_until_signalled(i);

        for (unsigned i = 0; i < EFI_TOKENS_MAX; i++) {
            efi_assert_signalled(i, EFI_SUCCESS);
            efi_tokens[i].n_signalled = 0;
        }
        efi_assert_was_read(0, EFI_TOKENS_MAX);
        assert_int_equal(fake_uefi_pool_blocks, 4); /* the second round needs no more */
        assert_int_equal(fake_uefi_timers(), 0);
        assert_int_equal(efi_disk.device.n_requests, (round + 1) * EFI_TOKENS_MAX);
    }
}

static void
given_no_pool_when_one_too_many_is_started_then_out_of_resources_and_nothing_lost(void **state)
{
    const unsigned n = BLOCK_IO_REQUESTS;

    (void)state;
    efi_disk_open(true);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    for (unsigned i = 0; i < n; i++)
        efi_disk_start_read(i, i, 1);
    fake_uefi_fail_pool = 1;

    EFI_STATUS status =
        io2->ReadBlocksEx(io2, efi_disk_media_id(), n, efi_token(n), BLOCK, efi_disk_place(n));

    assert_int_equal(status, EFI_OUT_OF_RESOURCES);
    efi_assert_outstanding(n);
    efi_disk_start_read(n + 1, n + 1, 1);
    for (unsigned i = 0; i < n; i++)
        efi_tick_until_signalled(i);
    efi_tick_until_signalled(n + 1);
    for (unsigned i = 0; i < n; i++)
        efi_assert_signalled(i, EFI_SUCCESS);
    efi_assert_outstanding(n);
    efi_disk_start_read(n, n, 1);
    efi_tick_until_signalled(n);
    efi_assert_was_read(0, n + 2);
}

/* --- Tokens that are used again --------------------------------------------------------------- */

static void read_next(struct efi_token *token)
{
    unsigned index = (unsigned)(token - efi_tokens);

    assert_int_equal(token->status, EFI_SUCCESS);
    if (token->n_signalled < 20)
        efi_disk_start_read(index, token->n_signalled, 1);
}

static void given_token_when_started_again_from_its_notification_then_signalled_again(void **state)
{
    static const EFI_TPL levels[] = {TPL_CALLBACK, TPL_NOTIFY};

    (void)state;
    efi_disk_open(true);
    for (unsigned i = 0; i < ARRAY_LENGTH(levels); i++) {
        memset(efi_disk.buffer, 0, 20 * BLOCK);
        (void)efi_token_at(i, levels[i]);
        efi_tokens[i].on_signal = read_next;

        efi_disk_start_read(i, 0, 1);
        for (unsigned k = 0; k < 100 && fake_uefi_timers(); k++) {
            efi_disk_answer();
            fake_uefi_tick();
        }

        assert_int_equal(efi_tokens[i].n_signalled, 20);
        efi_assert_was_read(0, 20);
        assert_int_equal(fake_uefi_timers(), 0);
    }
}

static void given_event_without_notification_when_read_then_can_be_waited_for(void **state)
{
    EFI_BLOCK_IO2_TOKEN token = {.TransactionStatus = EFI_NOT_READY};

    (void)state;
    efi_disk_open(true);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    assert_int_equal(BS->CreateEvent(0, 0, NULL, NULL, &token.Event), EFI_SUCCESS);

    assert_int_equal(
        io2->ReadBlocksEx(io2, efi_disk_media_id(), 3, &token, BLOCK, efi_disk_place(3)),
        EFI_SUCCESS);

    assert_int_equal(BS->CheckEvent(token.Event), EFI_NOT_READY);
    efi_disk_answer();
    fake_uefi_tick();
    assert_int_equal(BS->CheckEvent(token.Event), EFI_SUCCESS);
    assert_int_equal(token.TransactionStatus, EFI_SUCCESS);
    efi_assert_was_read(3, 1);
    (void)BS->CloseEvent(token.Event);
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void given_one_of_three_fails_when_answered_then_its_token_says_so_and_no_other(void **state)
{
    (void)state;
    efi_disk.device.lie = FAKE_BLK_STATUS;
    efi_disk.device.lie_value = VIRTIO_BLK_S_IOERR;
    efi_disk.device.lie_from = 1;
    efi_disk.device.lie_until = 2;
    efi_disk_open(true);
    for (unsigned i = 0; i < 3; i++)
        efi_disk_start_read(i, 100 * i, 1);

    efi_disk_answer();
    fake_uefi_tick();

    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_signalled(1, EFI_DEVICE_ERROR);
    efi_assert_signalled(2, EFI_SUCCESS);
    assert_int_equal(fake_uefi_timers(), 0);
}

/* Ticks that come only while something is under way, and a clock that goes on between them. */
static void tick_for(uint64_t time_us)
{
    const uint64_t step_us = 50000;

    for (uint64_t passed_us = 0; passed_us < time_us; passed_us += step_us) {
        efi_disk.platform.now_us += step_us;
        fake_uefi_tick();
    }
}

static void given_write_without_answer_when_deadline_is_over_then_device_error(void **state)
{
    (void)state;
    efi_disk_open(false);
    efi_disk.blk.request_limit_us = 10000000;
    efi_disk_start_write(0, 0, 1);
    tick_for(9000000);
    efi_assert_outstanding(0);

    tick_for(2000000);

    efi_assert_signalled(0, EFI_DEVICE_ERROR);
    assert_int_equal(fake_uefi_timers(), 0);
    assert_int_equal(efi_disk_read_block(5), EFI_SUCCESS);
}

static void given_device_gone_when_ticking_then_no_media(void **state)
{
    (void)state;
    efi_disk_open(false);
    efi_disk_start_read(0, 0, 1);
    efi_disk_start_write(1, 9, 1);
    efi_disk_start_flush(2);
    efi_disk.device.transport.lie = FAKE_GONE;

    tick_for(1000000);

    for (unsigned i = 0; i < 3; i++)
        efi_assert_signalled(i, EFI_NO_MEDIA);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    EFI_STATUS status =
        io2->ReadBlocksEx(io2, efi_disk_media_id(), 0, efi_token(3), BLOCK, efi_disk.buffer);
    assert_int_equal(status, EFI_NO_MEDIA);
    assert_int_equal(io2->FlushBlocksEx(io2, efi_token(3)), EFI_NO_MEDIA);
    efi_assert_outstanding(3);
    assert_int_equal(fake_uefi_timers(), 0);
    efi_disk_close();
    fake_platform_assert_quarantined(&efi_disk.platform, 3);
}

/* --- The firmware's repair of a partition table ----------------------------------------------- */

static void given_repair_is_kept_when_read_with_tokens_then_seen(void **state)
{
    uint8_t header[BLOCK];

    (void)state;
    efi_disk_open(true);
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    memset(header, 0x5A, sizeof(header));
    memcpy(header, "EFI PART", 8);
    memset(header + 24, 0, 8);
    header[24] = 1;               /* MyLBA */
    efi_disk_start_read(0, 0, 4); /* sent before, ended after */

    assert_int_equal(io->WriteBlocks(io, efi_disk_media_id(), 1, BLOCK, header), EFI_SUCCESS);
    efi_disk_answer();
    fake_uefi_tick();
    efi_assert_signalled(0, EFI_SUCCESS);
    assert_memory_equal(efi_disk_place(1), header, BLOCK);
    efi_assert_was_read(0, 1);
    efi_assert_was_read(2, 2);
    memset(efi_disk.buffer, 0, 4 * BLOCK);
    efi_disk_start_read(1, 1, 1);
    efi_tick_until_signalled(1);

    assert_memory_equal(efi_disk_place(1), header, BLOCK);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    assert_int_equal(io2->WriteBlocksEx(io2, efi_disk_media_id(), 1, efi_token(2), BLOCK, header),
                     EFI_WRITE_PROTECTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EFI_DISK_TEST(
            given_calls_outstanding_when_flushed_then_sent_and_signalled_after_all_of_them),
        EFI_DISK_TEST(given_reads_outstanding_when_nothing_to_flush_then_signalled_after_them),
        EFI_DISK_TEST(given_writes_outstanding_when_read_blocking_then_their_data_is_seen),
        EFI_DISK_TEST(given_write_outstanding_when_written_blocking_then_the_later_one_stays),
        EFI_DISK_TEST(given_stream_when_written_with_a_token_then_read_ahead_data_is_not_used),
        EFI_DISK_TEST(given_more_tokens_than_fit_when_started_then_all_are_signalled),
        EFI_DISK_TEST(
            given_no_pool_when_one_too_many_is_started_then_out_of_resources_and_nothing_lost),
        EFI_DISK_TEST(given_token_when_started_again_from_its_notification_then_signalled_again),
        EFI_DISK_TEST(given_event_without_notification_when_read_then_can_be_waited_for),
        EFI_DISK_TEST(given_one_of_three_fails_when_answered_then_its_token_says_so_and_no_other),
        EFI_DISK_TEST(given_write_without_answer_when_deadline_is_over_then_device_error),
        EFI_DISK_TEST(given_device_gone_when_ticking_then_no_media),
        EFI_DISK_TEST(given_repair_is_kept_when_read_with_tokens_then_seen),
    };

    return cmocka_run_group_tests_name("block_io2_ends", tests, NULL, NULL);
}
