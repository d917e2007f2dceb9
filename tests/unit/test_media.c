/* Media that changes: another size, gone, there again, writable or not (UEFI 2.10, 13.9.1). */

#include "devices/blk_spec.h"
#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define BLOCK      EFI_DISK_BLOCK_BYTES
#define MEDIA      efi_disk.block_io.media
#define NO_SECTORS 0u

static EFI_STATUS read_with(UINT32 media_id, EFI_LBA lba)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    return io->ReadBlocks(io, media_id, lba, BLOCK, efi_disk_place(lba));
}

static EFI_STATUS read_block(EFI_LBA lba)
{
    return read_with(efi_disk_media_id(), lba);
}

static EFI_STATUS write_block(EFI_LBA lba)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    return io->WriteBlocks(io, efi_disk_media_id(), lba, BLOCK, efi_disk_place(lba));
}

/* The image stays as large as it was; the device says something else of it. */
static void change_capacity(uint64_t sectors)
{
    fake_transport_set_config(&efi_disk.device.transport, VIRTIO_BLK_CONFIG_CAPACITY, 8, sectors);
    efi_disk.device.transport.generation++;
    if (sectors < EFI_DISK_BLOCKS)
        efi_disk.device.sectors = sectors;
}

/* --- block_io_refresh() ----------------------------------------------------------------------- */

static void given_nothing_new_when_refreshed_then_media_as_before_and_no_request(void **state)
{
    (void)state;
    efi_disk_open(true);
    const EFI_BLOCK_IO_MEDIA before = MEDIA;

    bool first = block_io_refresh(&efi_disk.block_io);
    efi_disk.device.transport.generation++; /* something changed, but nothing that shows */
    bool second = block_io_refresh(&efi_disk.block_io);

    assert_false(first);
    assert_false(second);
    assert_memory_equal(&MEDIA, &before, sizeof(before));
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void given_another_capacity_when_refreshed_then_last_block_and_media_id_change(void **state)
{
    /* Checks: BLK-REQ-1 */
    static const uint64_t capacities[] = {EFI_DISK_BLOCKS / 2, 1, EFI_DISK_BLOCKS - 1};

    (void)state;
    efi_disk_open(true);
    for (unsigned i = 0; i < ARRAY_LENGTH(capacities); i++) {
        UINT32 old_id = efi_disk_media_id();
        efi_disk.device.sectors = EFI_DISK_BLOCKS;
        change_capacity(capacities[i]);

        assert_true(block_io_refresh(&efi_disk.block_io));

        assert_int_equal(MEDIA.LastBlock, capacities[i] - 1);
        assert_true(MEDIA.MediaPresent);
        assert_int_not_equal(efi_disk_media_id(), old_id);
        assert_int_equal(read_with(old_id, 0), EFI_MEDIA_CHANGED);
        assert_int_equal(read_block(capacities[i]), EFI_INVALID_PARAMETER);
        assert_int_equal(read_block(capacities[i] - 1), EFI_SUCCESS);
        efi_assert_was_read(capacities[i] - 1, 1);
        assert_false(block_io_refresh(&efi_disk.block_io));
    }
}

static void given_absurd_capacity_when_refreshed_then_no_media_until_it_makes_sense(void **state)
{
    static const uint64_t capacities[] = {NO_SECTORS, UINT64_MAX, UINT64_MAX / 512 + 1};

    (void)state;
    efi_disk_open(true);
    for (unsigned i = 0; i < ARRAY_LENGTH(capacities); i++) {
        UINT32 old_id = efi_disk_media_id();
        change_capacity(capacities[i]);

        assert_true(block_io_refresh(&efi_disk.block_io));

        assert_false(MEDIA.MediaPresent);
        assert_int_equal(read_block(0), EFI_NO_MEDIA);
        assert_int_equal(read_with(old_id, 0), EFI_NO_MEDIA);
        assert_int_equal(efi_disk_io()->FlushBlocks(efi_disk_io()), EFI_NO_MEDIA);
        assert_int_equal(efi_disk_io2()->FlushBlocksEx(efi_disk_io2(), NULL), EFI_NO_MEDIA);
        efi_disk.device.sectors = EFI_DISK_BLOCKS;
        change_capacity(EFI_DISK_BLOCKS);
        assert_true(block_io_refresh(&efi_disk.block_io));
        assert_true(MEDIA.MediaPresent);
        assert_int_equal(MEDIA.LastBlock, EFI_DISK_BLOCKS - 1);
        assert_int_equal(read_with(old_id, 0), EFI_MEDIA_CHANGED);
        assert_int_equal(read_block(0), EFI_SUCCESS);
    }
}

static void given_device_gone_when_refreshed_then_no_media_and_changed_once(void **state)
{
    (void)state;
    efi_disk_open(true);
    efi_disk_start_read(0, 0, 1);
    efi_disk.device.transport.lie = FAKE_GONE;

    bool first = block_io_refresh(&efi_disk.block_io);
    bool second = block_io_refresh(&efi_disk.block_io);

    assert_true(first);
    assert_false(second);
    assert_false(MEDIA.MediaPresent);
    efi_assert_signalled(0, EFI_NO_MEDIA);
    assert_int_equal(read_block(0), EFI_NO_MEDIA);
    efi_disk_close();
    fake_platform_assert_quarantined(&efi_disk.platform, 3);
}

static void given_device_gone_when_read_then_no_media_before_anybody_refreshes(void **state)
{
    (void)state;
    efi_disk_open(true);
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    UINT32 id = efi_disk_media_id();
    efi_disk.device.transport.lie = FAKE_GONE;

    assert_int_equal(read_block(0), EFI_NO_MEDIA);

    /* 13.9.3: also where block, length or buffer are wrong. */
    assert_false(MEDIA.MediaPresent);
    assert_int_equal(io->ReadBlocks(io, id, UINT64_MAX, BLOCK, efi_disk_place(0)), EFI_NO_MEDIA);
    assert_int_equal(io->ReadBlocks(io, id, 0, 0, NULL), EFI_NO_MEDIA);
    assert_int_equal(io->ReadBlocks(io, id, 0, 1, efi_disk_place(0)), EFI_NO_MEDIA);
    assert_int_equal(io->FlushBlocks(io), EFI_NO_MEDIA);
    assert_int_equal(efi_disk_media_id(), id);
    assert_true(block_io_refresh(&efi_disk.block_io));
    assert_int_equal(efi_disk_media_id(), id + 1);
    assert_false(block_io_refresh(&efi_disk.block_io));
    efi_disk_close();
    fake_platform_assert_quarantined(&efi_disk.platform, 3);
}

/* By somebody else, while a read waits: so the memory is free, and a reset brings it up again. */
static void reset_device(struct fake_blk_device *device)
{
    device->transport.status = 0;
    device->on_wait = NULL;
}

static void given_device_that_comes_back_when_reset_then_its_media_does_too(void **state)
{
    (void)state;
    efi_disk_open(true);
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    efi_disk.device.lie = FAKE_BLK_NEVER;
    efi_disk.device.on_wait = reset_device;
    assert_int_equal(read_block(0), EFI_NO_MEDIA);
    assert_false(MEDIA.MediaPresent);
    efi_disk.device.lie = FAKE_BLK_HONEST;

    assert_int_equal(io->Reset(io, TRUE), EFI_SUCCESS);

    assert_true(MEDIA.MediaPresent);
    assert_int_equal(read_block(0), EFI_SUCCESS);
    efi_assert_was_read(0, 1);
    assert_false(block_io_refresh(&efi_disk.block_io));
}

#define SOMEBODY_ELSES 7

/* As if he had closed the disk, and somebody else had its memory. */
static VOID EFIAPI take_memory(EFI_EVENT event, VOID *context)
{
    (void)event;
    (void)context;
    MEDIA.MediaPresent = SOMEBODY_ELSES;
}

static void given_disk_that_is_closed_when_a_read_ends_then_it_is_not_touched_any_more(void **state)
{
    EFI_BLOCK_IO2_TOKEN token = {0};
    EFI_BLOCK_IO2_PROTOCOL *io2;

    (void)state;
    efi_disk_open(true);
    io2 = efi_disk_io2();
    assert_int_equal(
        BS->CreateEvent(EVT_NOTIFY_SIGNAL, TPL_CALLBACK, take_memory, NULL, &token.Event),
        EFI_SUCCESS);
    assert_int_equal(
        io2->ReadBlocksEx(io2, efi_disk_media_id(), 1, &token, BLOCK, efi_disk_place(1)),
        EFI_SUCCESS);
    efi_disk.device.transport.lie = FAKE_GONE;

    assert_int_equal(read_block(0), EFI_NO_MEDIA);

    assert_int_equal(token.TransactionStatus, EFI_NO_MEDIA);
    assert_int_equal(MEDIA.MediaPresent, SOMEBODY_ELSES);
    assert_int_equal(BS->CloseEvent(token.Event), EFI_SUCCESS);
    efi_disk_close();
    fake_platform_assert_quarantined(&efi_disk.platform, 3);
}

/* A recovery brings the device up again, and that may find another disk. */
static void given_disk_that_changed_while_reset_when_refreshed_then_noticed(void **state)
{
    (void)state;
    efi_disk_open(true);
    change_capacity(100);
    assert_int_equal(efi_disk_io()->Reset(efi_disk_io(), TRUE), EFI_SUCCESS);

    assert_true(block_io_refresh(&efi_disk.block_io));

    assert_int_equal(MEDIA.LastBlock, 99);
    assert_int_equal(read_block(100), EFI_INVALID_PARAMETER);
}

/* Another capacity means another disk, for all anybody knows. */
static void given_reading_ahead_when_media_changes_then_nothing_of_it_is_used(void **state)
{
    (void)state;
    efi_disk_open(true);
    for (EFI_LBA lba = 0; lba < 8; lba++)
        assert_int_equal(read_block(lba), EFI_SUCCESS);
    efi_disk_answer();
    change_capacity(1000);
    memset(efi_disk_image(0), 0x66, 1000 * BLOCK);

    assert_true(block_io_refresh(&efi_disk.block_io));

    for (EFI_LBA lba = 8; lba < 40; lba++)
        assert_int_equal(read_block(lba), EFI_SUCCESS);
    efi_assert_was_read(8, 32);
}

static void assert_at_notify(void *context, uint32_t offset)
{
    (void)context;
    (void)offset;
    assert_int_equal(fake_uefi_tpl, TPL_NOTIFY);
}

static void given_caller_at_callback_when_refreshed_then_runs_at_notify_and_restores(void **state)
{
    (void)state;
    efi_disk_open(true);
    efi_disk.device.transport.on_config_read = assert_at_notify;
    change_capacity(10);
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_CALLBACK);

    bool changed = block_io_refresh(&efi_disk.block_io);

    assert_true(changed);
    assert_int_equal(fake_uefi_tpl, TPL_CALLBACK);
    BS->RestoreTPL(old_tpl);
}

/* --- block_io_set_writable() ------------------------------------------------------------------ */

static void
given_published_read_only_when_set_writable_then_writes_and_flushes_reach_the_disk(void **state)
{
    (void)state;
    efi_disk_open(true);
    UINT32 old_id = efi_disk_media_id();
    efi_disk_fill(9, 1, 0x21);

    EFI_STATUS status = block_io_set_writable(&efi_disk.block_io, true);

    assert_int_equal(status, EFI_SUCCESS);
    assert_false(MEDIA.ReadOnly);
    assert_int_equal(read_with(old_id, 0), EFI_MEDIA_CHANGED);
    assert_int_equal(write_block(9), EFI_SUCCESS);
    assert_memory_equal(efi_disk_image(9), efi_disk_place(9), BLOCK);
    assert_int_equal(efi_disk_io()->FlushBlocks(efi_disk_io()), EFI_SUCCESS);
    assert_int_equal(efi_disk.device.requests[1].type, VIRTIO_BLK_T_FLUSH);
}

static void given_writable_media_when_set_read_only_again_then_writes_are_refused(void **state)
{
    (void)state;
    efi_disk_open(true);
    assert_int_equal(block_io_set_writable(&efi_disk.block_io, true), EFI_SUCCESS);
    UINT32 old_id = efi_disk_media_id();

    EFI_STATUS status = block_io_set_writable(&efi_disk.block_io, false);

    assert_int_equal(status, EFI_SUCCESS);
    assert_true(MEDIA.ReadOnly);
    assert_int_equal(read_with(old_id, 0), EFI_MEDIA_CHANGED);
    assert_int_equal(write_block(9), EFI_WRITE_PROTECTED);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void given_read_only_device_when_set_writable_then_write_protected_as_before(void **state)
{
    /* Checks: X-BLK-3 */
    (void)state;
    efi_disk.device.transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_RO);
    efi_disk_open(true);
    const EFI_BLOCK_IO_MEDIA before = MEDIA;

    EFI_STATUS status = block_io_set_writable(&efi_disk.block_io, true);

    assert_int_equal(status, EFI_WRITE_PROTECTED);
    assert_memory_equal(&MEDIA, &before, sizeof(before));
    assert_int_equal(block_io_set_writable(&efi_disk.block_io, false), EFI_SUCCESS);
    assert_true(MEDIA.ReadOnly);
}

static void put_gpt_header(uint8_t *block)
{
    memset(block, 0x5A, BLOCK);
    memcpy(block, "EFI PART", 8);
    memset(block + 24, 0, 8); /* MyLBA */
    block[24] = 1;
}

/* What readers saw of the table is not on the disk: writable, the disk would be another one. */
static void given_repair_is_kept_when_set_writable_then_write_protected(void **state)
{
    (void)state;
    efi_disk_open(true);
    put_gpt_header(efi_disk_place(1));
    assert_int_equal(write_block(1), EFI_SUCCESS);
    block_io_end_gpt_repair(&efi_disk.block_io);
    UINT32 id = efi_disk_media_id();

    EFI_STATUS status = block_io_set_writable(&efi_disk.block_io, true);

    assert_int_equal(status, EFI_WRITE_PROTECTED);
    assert_true(MEDIA.ReadOnly);
    assert_int_equal(efi_disk_media_id(), id);
    assert_int_equal(write_block(9), EFI_WRITE_PROTECTED);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

/* A backup of the table is written elsewhere, which is not kept: nor must it come true later. */
static void given_repair_was_refused_when_set_writable_then_write_protected(void **state)
{
    (void)state;
    efi_disk_open(true);
    assert_int_equal(write_block(EFI_DISK_BLOCKS - 1), EFI_WRITE_PROTECTED);
    block_io_end_gpt_repair(&efi_disk.block_io);

    EFI_STATUS status = block_io_set_writable(&efi_disk.block_io, true);

    assert_int_equal(status, EFI_WRITE_PROTECTED);
    assert_true(MEDIA.ReadOnly);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void given_repair_with_a_token_was_refused_when_set_writable_then_write_protected(void **s)
{
    (void)s;
    efi_disk_open(true);
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    assert_int_equal(io2->WriteBlocksEx(io2, efi_disk_media_id(), 1, efi_token(0),
                                        EFI_DISK_BLOCK_BYTES, efi_disk_place(1)),
                     EFI_WRITE_PROTECTED);
    block_io_end_gpt_repair(&efi_disk.block_io);

    assert_int_equal(block_io_set_writable(&efi_disk.block_io, true), EFI_WRITE_PROTECTED);
}

/* Who tries when nobody is being connected is no repair. */
static void given_write_refused_after_connecting_when_set_writable_then_success(void **state)
{
    (void)state;
    efi_disk_open(true);
    block_io_end_gpt_repair(&efi_disk.block_io);
    assert_int_equal(write_block(9), EFI_WRITE_PROTECTED);

    EFI_STATUS status = block_io_set_writable(&efi_disk.block_io, true);

    assert_int_equal(status, EFI_SUCCESS);
    assert_false(MEDIA.ReadOnly);
}

/* It was writable in between, so that a repair would have gone to the disk. */
static void given_set_read_only_again_when_table_is_repaired_then_write_protected(void **state)
{
    (void)state;
    efi_disk_open(true);
    assert_int_equal(block_io_set_writable(&efi_disk.block_io, true), EFI_SUCCESS);
    assert_int_equal(block_io_set_writable(&efi_disk.block_io, false), EFI_SUCCESS);
    put_gpt_header(efi_disk_place(1));

    EFI_STATUS status = write_block(1);

    assert_int_equal(status, EFI_WRITE_PROTECTED);
    assert_int_equal(fake_uefi_pool_blocks, 1); /* for tokens, and nothing was kept */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EFI_DISK_TEST(given_nothing_new_when_refreshed_then_media_as_before_and_no_request),
        EFI_DISK_TEST(given_another_capacity_when_refreshed_then_last_block_and_media_id_change),
        EFI_DISK_TEST(given_absurd_capacity_when_refreshed_then_no_media_until_it_makes_sense),
        EFI_DISK_TEST(given_device_gone_when_refreshed_then_no_media_and_changed_once),
        EFI_DISK_TEST(given_device_gone_when_read_then_no_media_before_anybody_refreshes),
        EFI_DISK_TEST(given_device_that_comes_back_when_reset_then_its_media_does_too),
        EFI_DISK_TEST(given_disk_that_is_closed_when_a_read_ends_then_it_is_not_touched_any_more),
        EFI_DISK_TEST(given_disk_that_changed_while_reset_when_refreshed_then_noticed),
        EFI_DISK_TEST(given_reading_ahead_when_media_changes_then_nothing_of_it_is_used),
        EFI_DISK_TEST(given_caller_at_callback_when_refreshed_then_runs_at_notify_and_restores),
        EFI_DISK_TEST(
            given_published_read_only_when_set_writable_then_writes_and_flushes_reach_the_disk),
        EFI_DISK_TEST(given_writable_media_when_set_read_only_again_then_writes_are_refused),
        EFI_DISK_TEST(given_read_only_device_when_set_writable_then_write_protected_as_before),
        EFI_DISK_TEST(given_repair_is_kept_when_set_writable_then_write_protected),
        EFI_DISK_TEST(given_repair_was_refused_when_set_writable_then_write_protected),
        EFI_DISK_TEST(given_repair_with_a_token_was_refused_when_set_writable_then_write_protected),
        EFI_DISK_TEST(given_write_refused_after_connecting_when_set_writable_then_success),
        EFI_DISK_TEST(given_set_read_only_again_when_table_is_repaired_then_write_protected),
    };

    return cmocka_run_group_tests_name("media", tests, NULL, NULL);
}
