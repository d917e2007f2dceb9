/* EFI_BLOCK_IO_PROTOCOL: the answers that UEFI 2.10, 13.9 gives for each argument. */

#include "devices/blk_spec.h"
#include "efi/block_io.h"
#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define DISK_SECTORS 1000u
#define BLOCK_BYTES  512u
#define BEHIND       0x5A /* the end of what was asked for */

struct machine {
    struct fake_platform platform;
    struct fake_blk_device disk;
    struct virtio_blk blk;
    struct block_io block_io;
};

static struct machine machine;
static uint8_t buffer[4 * BLOCK_BYTES];

static void start(bool publish_read_only)
{
    fake_uefi_init();
    assert_int_equal(virtio_blk_open(&machine.blk, &machine.disk.transport.transport,
                                     &machine.platform.platform, 0),
                     VIO_OK);
    block_io_init(&machine.block_io, &machine.blk, publish_read_only);
    memset(buffer, 0xA5, sizeof(buffer));
}

static int set_up(void **state)
{
    (void)state;
    fake_platform_init(&machine.platform);
    fake_blk_device_init(&machine.disk, &machine.platform, DISK_SECTORS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    virtio_blk_close(&machine.blk);
    block_io_release(&machine.block_io);
    fake_blk_device_free(&machine.disk);
    fake_platform_assert_no_leaks(&machine.platform);
    assert_int_equal(fake_uefi_pool_blocks, 0);
    assert_int_equal(fake_uefi_tpl, TPL_APPLICATION);
    return 0;
}

static void
given_each_bad_argument_when_read_or_written_then_its_status_and_no_request(void **state)
{
    /* Checks: BLK-REQ-2 */
    static const struct {
        UINT32 media_id_off_by;
        EFI_LBA lba;
        UINTN bytes;
        bool has_buffer;
        EFI_STATUS status;
    } cases[] = {
        {1, 0, BLOCK_BYTES, true, EFI_MEDIA_CHANGED},
        {1, 0, 0, true, EFI_MEDIA_CHANGED},
        {0, 0, BLOCK_BYTES, false, EFI_INVALID_PARAMETER},
        {0, 0, BLOCK_BYTES - 1, true, EFI_BAD_BUFFER_SIZE},
        {0, 0, BLOCK_BYTES + 1, true, EFI_BAD_BUFFER_SIZE},
        {0, DISK_SECTORS, BLOCK_BYTES, true, EFI_INVALID_PARAMETER},
        {0, DISK_SECTORS - 1, 2 * BLOCK_BYTES, true, EFI_INVALID_PARAMETER},
        {0, UINT64_MAX, BLOCK_BYTES, true, EFI_INVALID_PARAMETER},
        {0, UINT64_MAX / BLOCK_BYTES + 1, BLOCK_BYTES, true, EFI_INVALID_PARAMETER},
        {0, 1, UINT64_MAX - BLOCK_BYTES + 1, true, EFI_INVALID_PARAMETER},
        {0, DISK_SECTORS, 0, false, EFI_SUCCESS},
    };

    (void)state;
    start(false);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        UINT32 media_id = io->Media->MediaId + cases[i].media_id_off_by;
        void *data = cases[i].has_buffer ? buffer : NULL;

        EFI_STATUS read = io->ReadBlocks(io, media_id, cases[i].lba, cases[i].bytes, data);
        EFI_STATUS written = io->WriteBlocks(io, media_id, cases[i].lba, cases[i].bytes, data);

        assert_int_equal(read, cases[i].status);
        assert_int_equal(written, cases[i].status);
    }
    assert_int_equal(machine.disk.n_requests, 0);
}

static void given_last_block_when_read_then_its_data(void **state)
{
    (void)state;
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;

    EFI_STATUS status =
        io->ReadBlocks(io, io->Media->MediaId, io->Media->LastBlock, BLOCK_BYTES, buffer);

    assert_int_equal(status, EFI_SUCCESS);
    assert_int_equal(io->Media->LastBlock, DISK_SECTORS - 1);
    assert_memory_equal(buffer, machine.disk.image + (DISK_SECTORS - 1) * BLOCK_BYTES, BLOCK_BYTES);
}

static void given_4096_byte_blocks_when_read_then_sectors_are_counted_in_512(void **state)
{
    static uint8_t large[4096];

    (void)state;
    fake_blk_device_offer(&machine.disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4,
                          4096);
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;

    EFI_STATUS status = io->ReadBlocks(io, io->Media->MediaId, 3, sizeof(large), large);

    assert_int_equal(status, EFI_SUCCESS);
    assert_int_equal(io->Media->BlockSize, 4096);
    assert_int_equal(io->Media->LastBlock, DISK_SECTORS / 8 - 1);
    assert_int_equal(machine.disk.requests[0].sector, 24);
    assert_memory_equal(large, machine.disk.image + 3 * 4096, 4096);
}

/* Eight sectors a block: then a block of 64 bits has a sector of more. */
static void given_4096_byte_blocks_when_their_sectors_wrap_then_invalid_parameter(void **state)
{
    static const EFI_LBA lbas[] = {UINT64_MAX / 8 + 1, UINT64_MAX / 8 + 2, UINT64_MAX};
    static uint8_t large[4096];

    (void)state;
    fake_blk_device_offer(&machine.disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4,
                          4096);
    start(false);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;
    for (unsigned i = 0; i < ARRAY_LENGTH(lbas); i++) {
        UINT32 media_id = io->Media->MediaId;

        EFI_STATUS read = io->ReadBlocks(io, media_id, lbas[i], sizeof(large), large);
        EFI_STATUS written = io->WriteBlocks(io, media_id, lbas[i], sizeof(large), large);

        assert_int_equal(read, EFI_INVALID_PARAMETER);
        assert_int_equal(written, EFI_INVALID_PARAMETER);
    }
    assert_int_equal(machine.disk.n_requests, 0);
}

static void given_media_published_read_only_when_written_or_flushed_then_no_request(void **state)
{
    (void)state;
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;

    EFI_STATUS written = io->WriteBlocks(io, io->Media->MediaId, 0, BLOCK_BYTES, buffer);
    EFI_STATUS flushed = io->FlushBlocks(io);

    assert_true(io->Media->ReadOnly);
    assert_int_equal(written, EFI_WRITE_PROTECTED);
    assert_int_equal(flushed, EFI_SUCCESS);
    assert_int_equal(machine.disk.n_requests, 0);
}

static void given_device_is_read_only_when_published_writable_then_media_is_read_only(void **state)
{
    /* Checks: X-BLK-3 */
    (void)state;
    machine.disk.transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_RO);
    start(false);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;

    EFI_STATUS written = io->WriteBlocks(io, io->Media->MediaId, 0, BLOCK_BYTES, buffer);
    EFI_STATUS flushed = io->FlushBlocks(io);

    assert_true(io->Media->ReadOnly);
    assert_int_equal(written, EFI_WRITE_PROTECTED);
    assert_int_equal(flushed, EFI_SUCCESS);
    assert_int_equal(machine.disk.n_requests, 0);
}

static void given_writable_media_when_written_then_data_on_disk_and_flush_sent(void **state)
{
    (void)state;
    start(false);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;

    EFI_STATUS written = io->WriteBlocks(io, io->Media->MediaId, 7, 2 * BLOCK_BYTES, buffer);
    EFI_STATUS flushed = io->FlushBlocks(io);

    assert_false(io->Media->ReadOnly);
    assert_true(io->Media->WriteCaching);
    assert_int_equal(written, EFI_SUCCESS);
    assert_int_equal(flushed, EFI_SUCCESS);
    assert_memory_equal(buffer, machine.disk.image + 7 * BLOCK_BYTES, 2 * BLOCK_BYTES);
    assert_int_equal(machine.disk.n_requests, 2);
    assert_int_equal(machine.disk.requests[1].type, VIRTIO_BLK_T_FLUSH);
}

static void assert_running_at_notify(struct fake_blk_device *disk)
{
    (void)disk;
    assert_int_equal(fake_uefi_tpl, TPL_NOTIFY);
}

static void given_caller_at_each_level_when_read_then_runs_at_notify_and_restores(void **state)
{
    static const EFI_TPL levels[] = {TPL_APPLICATION, TPL_CALLBACK, TPL_NOTIFY};

    (void)state;
    machine.disk.delay_waits = 1;
    machine.disk.on_wait = assert_running_at_notify;
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;
    for (unsigned i = 0; i < ARRAY_LENGTH(levels); i++) {
        fake_uefi_tpl = levels[i];

        EFI_STATUS status = io->ReadBlocks(io, io->Media->MediaId, 0, BLOCK_BYTES, buffer);

        assert_int_equal(status, EFI_SUCCESS);
        assert_int_equal(fake_uefi_tpl, levels[i]);
    }
    fake_uefi_tpl = TPL_APPLICATION;
}

/* One deadline for the read, one for the same read after the device's reset, and that was it. */
static void given_device_never_answers_when_read_then_device_error_now_and_later(void **state)
{
    (void)state;
    machine.disk.lie = FAKE_BLK_NEVER;
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;
    uint64_t start_us = machine.platform.now_us;

    EFI_STATUS first = io->ReadBlocks(io, io->Media->MediaId, 0, BLOCK_BYTES, buffer);
    uint64_t took_us = machine.platform.now_us - start_us;
    EFI_STATUS second = io->ReadBlocks(io, io->Media->MediaId, 0, BLOCK_BYTES, buffer);

    assert_int_equal(first, EFI_DEVICE_ERROR);
    assert_int_equal(second, EFI_DEVICE_ERROR);
    assert_int_equal(machine.disk.n_requests, 2);
    assert_in_range(took_us, 2 * BLK_REQUEST_LIMIT_US, 2 * BLK_REQUEST_LIMIT_US + 1000000);
    assert_in_range(machine.platform.now_us - start_us, took_us, took_us + 1000);
    assert_int_equal(fake_uefi_tpl, TPL_APPLICATION);
}

static void offer_topology(uint8_t physical_block_exp, uint8_t alignment_offset,
                           uint32_t opt_io_size)
{
    struct fake_blk_device *disk = &machine.disk;

    fake_blk_device_offer(disk, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_CONFIG_PHYSICAL_BLOCK_EXP, 1,
                          physical_block_exp);
    fake_blk_device_offer(disk, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_CONFIG_ALIGNMENT_OFFSET, 1,
                          alignment_offset);
    fake_blk_device_offer(disk, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_CONFIG_OPT_IO_SIZE, 4,
                          opt_io_size);
}

static void given_topology_when_published_then_in_media(void **state)
{
    (void)state;
    offer_topology(3, 5, 2048);

    start(true);

    assert_int_equal(machine.block_io.media.LogicalBlocksPerPhysicalBlock, 8);
    assert_int_equal(machine.block_io.media.LowestAlignedLba, 5);
    assert_int_equal(machine.block_io.media.OptimalTransferLengthGranularity, 2048);
}

static void given_absurd_topology_when_published_then_no_undefined_shift(void **state)
{
    (void)state;
    offer_topology(255, 0, 0);

    start(true);

    assert_int_equal(machine.block_io.media.LogicalBlocksPerPhysicalBlock, 1);
}

static void put_gpt_header(uint8_t *block)
{
    memset(block, 0x5A, BLOCK_BYTES);
    memcpy(block, "EFI PART", 8);
    memset(block + 24, 0, 8); /* MyLBA */
    block[24] = 1;
}

static void
given_read_only_media_when_gpt_repaired_then_seen_by_readers_and_not_on_disk(void **state)
{
    static uint8_t entries[32 * BLOCK_BYTES];
    static uint8_t seen[64 * BLOCK_BYTES];
    uint8_t header[BLOCK_BYTES];
    uint8_t *image_before = malloc(DISK_SECTORS * BLOCK_BYTES);

    (void)state;
    assert_non_null(image_before);
    memcpy(image_before, machine.disk.image, DISK_SECTORS * BLOCK_BYTES);
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;
    UINT32 media_id = io->Media->MediaId;
    put_gpt_header(header);
    memset(entries, 0x77, sizeof(entries));

    assert_int_equal(io->WriteBlocks(io, media_id, 1, sizeof(header), header), EFI_SUCCESS);
    assert_int_equal(io->WriteBlocks(io, media_id, 2, sizeof(entries), entries), EFI_SUCCESS);
    block_io_end_gpt_repair(&machine.block_io);
    assert_int_equal(io->WriteBlocks(io, media_id, 1, sizeof(header), header), EFI_WRITE_PROTECTED);
    assert_int_equal(io->ReadBlocks(io, media_id, 0, sizeof(seen), seen), EFI_SUCCESS);

    assert_memory_equal(seen, image_before, BLOCK_BYTES);
    assert_memory_equal(seen + BLOCK_BYTES, header, BLOCK_BYTES);
    assert_memory_equal(seen + 2 * BLOCK_BYTES, entries, sizeof(entries));
    assert_memory_equal(seen + 34 * BLOCK_BYTES, image_before + 34 * BLOCK_BYTES, 30 * BLOCK_BYTES);
    assert_int_equal(io->ReadBlocks(io, media_id, 33, BLOCK_BYTES, seen), EFI_SUCCESS);
    assert_memory_equal(seen, entries, BLOCK_BYTES);
    seen[BLOCK_BYTES] = BEHIND;
    assert_int_equal(io->ReadBlocks(io, media_id, 0, BLOCK_BYTES, seen), EFI_SUCCESS);
    assert_int_equal(seen[BLOCK_BYTES], BEHIND); /* where a kept block begins */
    assert_memory_equal(machine.disk.image, image_before, DISK_SECTORS * BLOCK_BYTES);
    block_io_release(&machine.block_io);
    assert_int_equal(io->ReadBlocks(io, media_id, 1, BLOCK_BYTES, seen), EFI_SUCCESS);
    assert_memory_equal(seen, image_before + BLOCK_BYTES, BLOCK_BYTES);
    free(image_before);
}

static void given_header_of_another_place_when_written_to_lba_1_then_write_protected(void **state)
{
    uint8_t header[BLOCK_BYTES];

    (void)state;
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;
    put_gpt_header(header);
    header[24] = 2;

    EFI_STATUS status = io->WriteBlocks(io, io->Media->MediaId, 1, sizeof(header), header);

    assert_int_equal(status, EFI_WRITE_PROTECTED);
}

static void given_read_only_media_when_any_other_write_then_write_protected(void **state)
{
    static uint8_t blocks[200 * BLOCK_BYTES];
    static const struct {
        EFI_LBA lba;
        UINTN n_blocks;
        bool after_header;
    } cases[] = {
        {0, 1, false},  /* the protective MBR */
        {1, 1, false},  /* LBA 1, but no GPT header */
        {2, 1, false},  /* entries without a header in front */
        {0, 2, true},   /* reaches in from below */
        {136, 2, true}, /* reaches out at the top: 136 blocks from LBA 1 on are kept */
        {137, 1, true}, {DISK_SECTORS - 1, 1, true}, /* the backup header */
        {1, 200, true},
    };

    (void)state;
    start(true);
    EFI_BLOCK_IO_PROTOCOL *io = &machine.block_io.protocol;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        uint8_t header[BLOCK_BYTES];
        put_gpt_header(header);
        if (cases[i].after_header)
            assert_int_equal(io->WriteBlocks(io, io->Media->MediaId, 1, sizeof(header), header),
                             EFI_SUCCESS);

        EFI_STATUS status = io->WriteBlocks(io, io->Media->MediaId, cases[i].lba,
                                            cases[i].n_blocks * BLOCK_BYTES, blocks);

        assert_int_equal(status, EFI_WRITE_PROTECTED);
        block_io_release(&machine.block_io);
    }
    assert_int_equal(machine.disk.n_requests, 0);
}

#define BLOCK_IO_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BLOCK_IO_TEST(given_each_bad_argument_when_read_or_written_then_its_status_and_no_request),
        BLOCK_IO_TEST(given_last_block_when_read_then_its_data),
        BLOCK_IO_TEST(given_4096_byte_blocks_when_read_then_sectors_are_counted_in_512),
        BLOCK_IO_TEST(given_4096_byte_blocks_when_their_sectors_wrap_then_invalid_parameter),
        BLOCK_IO_TEST(given_media_published_read_only_when_written_or_flushed_then_no_request),
        BLOCK_IO_TEST(given_device_is_read_only_when_published_writable_then_media_is_read_only),
        BLOCK_IO_TEST(given_writable_media_when_written_then_data_on_disk_and_flush_sent),
        BLOCK_IO_TEST(given_caller_at_each_level_when_read_then_runs_at_notify_and_restores),
        BLOCK_IO_TEST(given_device_never_answers_when_read_then_device_error_now_and_later),
        BLOCK_IO_TEST(given_topology_when_published_then_in_media),
        BLOCK_IO_TEST(given_read_only_media_when_gpt_repaired_then_seen_by_readers_and_not_on_disk),
        BLOCK_IO_TEST(given_header_of_another_place_when_written_to_lba_1_then_write_protected),
        BLOCK_IO_TEST(given_read_only_media_when_any_other_write_then_write_protected),
        BLOCK_IO_TEST(given_absurd_topology_when_published_then_no_undefined_shift),
    };

    return cmocka_run_group_tests_name("block_io", tests, NULL, NULL);
}
