/* EFI_ERASE_BLOCK_PROTOCOL (UEFI 2.10, 13.12) on devices that can WRITE_ZEROES, DISCARD, or neither. */

#include "efi/erase_block.h"

#include "devices/blk_spec.h"
#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define BLOCK       EFI_DISK_BLOCK_BYTES
#define RANGE_MAX   512u
#define CAN_DISCARD 1u
#define CAN_ZERO    2u
#define CAN_UNMAP   4u

static struct erase_block erase_block;
static EFI_BLOCK_IO2_TOKEN without_event;

static void offer_range(unsigned feature_bit, uint32_t sectors_max_at, uint32_t segments_max_at)
{
    fake_blk_device_offer(&efi_disk.device, feature_bit, sectors_max_at, 4, RANGE_MAX);
    fake_blk_device_offer(&efi_disk.device, feature_bit, segments_max_at, 4, 1);
}

static void open_disk(unsigned abilities, bool publish_read_only)
{
    if (abilities & CAN_DISCARD) {
        offer_range(VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS,
                    VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG);
        fake_transport_set_config(&efi_disk.device.transport,
                                  VIRTIO_BLK_CONFIG_DISCARD_SECTOR_ALIGNMENT, 4, 1);
    }
    if (abilities & CAN_ZERO) {
        offer_range(VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS,
                    VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SEG);
        fake_transport_set_config(&efi_disk.device.transport,
                                  VIRTIO_BLK_CONFIG_WRITE_ZEROES_MAY_UNMAP, 1,
                                  (abilities & CAN_UNMAP) != 0);
    }
    efi_disk_open(publish_read_only);
    erase_block_init(&erase_block, &efi_disk.block_io);
}

static EFI_STATUS erase(EFI_LBA lba, EFI_BLOCK_IO2_TOKEN *token, UINTN bytes)
{
    return erase_block.protocol.erase_blocks(&erase_block.protocol, efi_disk_media_id(), lba, token,
                                             bytes);
}

static bool is_zero(EFI_LBA lba, UINTN n_blocks)
{
    const uint8_t *bytes = efi_disk_image(lba);

    for (UINTN i = 0; i < n_blocks * BLOCK; i++) {
        if (bytes[i])
            return false;
    }
    return true;
}

/* --- What the device can do ------------------------------------------------------------------- */

static void given_each_ability_when_opened_then_possible_and_erased_in_the_best_way(void **state)
{
    /* Checks: BLK-REQ-7, BLK-REQ-9, BLK-REQ-11, BLK-REQ-14 */
    static const struct {
        unsigned abilities;
        bool is_possible;
        uint32_t type;
        uint32_t flags;
    } cases[] = {
        {0, false, 0, 0},
        {CAN_DISCARD, true, VIRTIO_BLK_T_DISCARD, 0},
        {CAN_ZERO, true, VIRTIO_BLK_T_WRITE_ZEROES, 0},
        {CAN_ZERO | CAN_UNMAP, true, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP},
        {CAN_DISCARD | CAN_ZERO, true, VIRTIO_BLK_T_WRITE_ZEROES, 0},
        {CAN_DISCARD | CAN_ZERO | CAN_UNMAP, true, VIRTIO_BLK_T_WRITE_ZEROES,
         VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        const struct fake_blk_request *request = &efi_disk.device.requests[0];
        open_disk(cases[i].abilities, false);

        EFI_STATUS status = erase(100, NULL, 5 * BLOCK);

        assert_int_equal(erase_block_is_possible(&efi_disk.block_io), cases[i].is_possible);
        assert_int_equal(status, cases[i].is_possible ? EFI_SUCCESS : EFI_DEVICE_ERROR);
        assert_int_equal(efi_disk.device.n_requests, cases[i].is_possible);
        if (cases[i].is_possible) {
            assert_int_equal(request->type, cases[i].type);
            assert_int_equal(request->range_sector, 100);
            assert_int_equal(request->range_sectors, 5);
            assert_int_equal(request->range_flags, cases[i].flags);
        }
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
}

static void given_disk_when_initialised_then_layout_of_the_specification(void **state)
{
    (void)state;
    open_disk(CAN_ZERO, false);

    assert_int_equal(erase_block.protocol.revision, 0x2003C);
    assert_int_equal(erase_block.protocol.erase_length_granularity, 1);
    assert_int_equal(offsetof(struct erase_block, protocol), 0);
    assert_int_equal(offsetof(struct erase_block_protocol, erase_length_granularity), 8);
    assert_int_equal(offsetof(struct erase_block_protocol, erase_blocks), 16);
}

static void given_4096_byte_blocks_when_erased_then_sectors_are_counted_in_512(void **state)
{
    (void)state;
    fake_blk_device_offer(&efi_disk.device, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4,
                          4096);
    open_disk(CAN_ZERO, false);

    assert_int_equal(erase(3, NULL, 2 * 4096), EFI_SUCCESS);

    assert_int_equal(efi_disk.device.requests[0].range_sector, 24);
    assert_int_equal(efi_disk.device.requests[0].range_sectors, 16);
}

static void given_range_longer_than_a_request_when_erased_then_all_of_it_and_no_more(void **state)
{
    (void)state;
    open_disk(CAN_ZERO, false);

    assert_int_equal(erase(1, NULL, (EFI_DISK_BLOCKS - 2) * BLOCK), EFI_SUCCESS);

    assert_int_equal(efi_disk.device.n_requests, 4);
    assert_true(is_zero(1, EFI_DISK_BLOCKS - 2));
    assert_false(is_zero(0, 1));
    assert_false(is_zero(EFI_DISK_BLOCKS - 1, 1));
}

/* --- Arguments -------------------------------------------------------------------------------- */

static void given_each_bad_argument_when_erased_then_its_status_and_nothing_else(void **state)
{
    /* Checks: BLK-REQ-2 */
    static const struct {
        bool no_media;
        UINT32 media_id_off_by;
        EFI_LBA lba;
        UINTN bytes;
        EFI_STATUS status;
    } cases[] = {
        {true, 0, 0, BLOCK, EFI_NO_MEDIA},
        {true, 1, EFI_DISK_BLOCKS, 1, EFI_NO_MEDIA},
        {true, 0, 0, 0, EFI_NO_MEDIA},
        {false, 1, 0, BLOCK, EFI_MEDIA_CHANGED},
        {false, 1, EFI_DISK_BLOCKS, 1, EFI_MEDIA_CHANGED},
        {false, 1, 0, 0, EFI_MEDIA_CHANGED},
        {false, 0, 0, 1, EFI_INVALID_PARAMETER},
        {false, 0, 0, BLOCK + 1, EFI_INVALID_PARAMETER},
        {false, 0, EFI_DISK_BLOCKS, BLOCK, EFI_INVALID_PARAMETER},
        {false, 0, EFI_DISK_BLOCKS - 1, 2 * BLOCK, EFI_INVALID_PARAMETER},
        {false, 0, UINT64_MAX, BLOCK, EFI_INVALID_PARAMETER},
        {false, 0, UINT64_MAX / BLOCK + 1, BLOCK, EFI_INVALID_PARAMETER},
        {false, 0, 1, UINT64_MAX - BLOCK + 1, EFI_INVALID_PARAMETER},
    };

    (void)state;
    open_disk(CAN_ZERO | CAN_DISCARD, false);
    EFI_BLOCK_IO2_TOKEN *const tokens[] = {NULL, &without_event, efi_token(0)};
    for (unsigned i = 0; i < ARRAY_LENGTH(cases) * ARRAY_LENGTH(tokens); i++) {
        unsigned n = i / ARRAY_LENGTH(tokens);
        efi_disk.block_io.media.MediaPresent = !cases[n].no_media;

        EFI_STATUS status = erase_block.protocol.erase_blocks(
            &erase_block.protocol, efi_disk_media_id() + cases[n].media_id_off_by, cases[n].lba,
            tokens[i % ARRAY_LENGTH(tokens)], cases[n].bytes);

        assert_int_equal(status, cases[n].status);
    }
    efi_assert_outstanding(0);
    assert_int_equal(efi_disk.device.n_requests, 0);
    assert_int_equal(fake_uefi_timers(), 0);
}

static void given_read_only_media_when_erased_then_write_protected(void **state)
{
    /* Checks: X-BLK-3 */
    (void)state;
    for (unsigned by_device = 0; by_device < 2; by_device++) {
        if (by_device)
            efi_disk.device.transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_RO);
        open_disk(CAN_ZERO | CAN_DISCARD, !by_device);

        assert_int_equal(erase(0, NULL, BLOCK), EFI_WRITE_PROTECTED);
        assert_int_equal(erase(0, efi_token(0), BLOCK), EFI_WRITE_PROTECTED);

        efi_assert_outstanding(0);
        assert_int_equal(efi_disk.device.n_requests, 0);
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
}

static void given_zero_length_when_erased_then_signalled_at_once_and_no_request(void **state)
{
    (void)state;
    open_disk(CAN_ZERO, false);

    assert_int_equal(erase(0, NULL, 0), EFI_SUCCESS);
    assert_int_equal(erase(EFI_DISK_BLOCKS, &without_event, 0), EFI_SUCCESS);
    assert_int_equal(erase(0, efi_token(0), 0), EFI_SUCCESS);

    efi_assert_signalled(0, EFI_SUCCESS);
    assert_int_equal(efi_disk.device.n_requests, 0);
    assert_int_equal(fake_uefi_timers(), 0);
}

/* --- Tokens and order ------------------------------------------------------------------------- */

static void given_token_when_erased_then_signalled_after_the_answer(void **state)
{
    (void)state;
    open_disk(CAN_ZERO, false);

    assert_int_equal(erase(10, efi_token(0), 600 * BLOCK), EFI_SUCCESS);

    efi_assert_outstanding(0);
    assert_int_equal(fake_uefi_timers(), 1);
    assert_int_equal(efi_disk.device.n_requests, 2);
    efi_disk_answer();
    efi_assert_outstanding(0);
    fake_uefi_tick();
    efi_assert_signalled(0, EFI_SUCCESS);
    assert_true(is_zero(10, 600));
    assert_int_equal(fake_uefi_timers(), 0);
}

static void given_device_error_when_erased_then_token_says_so(void **state)
{
    (void)state;
    open_disk(CAN_DISCARD, false);
    efi_disk.device.lie = FAKE_BLK_STATUS;
    efi_disk.device.lie_value = VIRTIO_BLK_S_IOERR;

    assert_int_equal(erase(10, efi_token(0), BLOCK), EFI_SUCCESS);
    efi_disk_answer();
    fake_uefi_tick();

    efi_assert_signalled(0, EFI_DEVICE_ERROR);
    assert_int_equal(erase(10, NULL, BLOCK), EFI_DEVICE_ERROR);
}

static void given_stream_when_erased_then_read_ahead_data_is_not_used(void **state)
{
    (void)state;
    for (unsigned with_token = 0; with_token < 2; with_token++) {
        open_disk(CAN_ZERO, false);
        EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
        for (EFI_LBA lba = 0; lba < 8; lba++)
            assert_int_equal(
                io->ReadBlocks(io, efi_disk_media_id(), lba, BLOCK, efi_disk_place(lba)),
                EFI_SUCCESS);

        assert_int_equal(erase(8, with_token ? efi_token(0) : NULL, 4 * BLOCK), EFI_SUCCESS);
        assert_int_equal(io->ReadBlocks(io, efi_disk_media_id(), 8, 8 * BLOCK, efi_disk_place(8)),
                         EFI_SUCCESS);

        assert_true(is_zero(8, 4));
        efi_assert_was_read(8, 8);
        if (with_token)
            efi_assert_signalled(0, EFI_SUCCESS);
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
}

static void given_erased_when_flushed_then_flush_is_sent_after_it(void **state)
{
    (void)state;
    open_disk(CAN_ZERO, false);

    assert_int_equal(erase(10, efi_token(0), BLOCK), EFI_SUCCESS);
    assert_int_equal(efi_disk_io()->FlushBlocks(efi_disk_io()), EFI_SUCCESS);

    efi_assert_signalled(0, EFI_SUCCESS);
    assert_int_equal(efi_disk.device.n_requests, 2);
    assert_int_equal(efi_disk.device.requests[1].type, VIRTIO_BLK_T_FLUSH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EFI_DISK_TEST(given_each_ability_when_opened_then_possible_and_erased_in_the_best_way),
        EFI_DISK_TEST(given_disk_when_initialised_then_layout_of_the_specification),
        EFI_DISK_TEST(given_4096_byte_blocks_when_erased_then_sectors_are_counted_in_512),
        EFI_DISK_TEST(given_range_longer_than_a_request_when_erased_then_all_of_it_and_no_more),
        EFI_DISK_TEST(given_each_bad_argument_when_erased_then_its_status_and_nothing_else),
        EFI_DISK_TEST(given_read_only_media_when_erased_then_write_protected),
        EFI_DISK_TEST(given_zero_length_when_erased_then_signalled_at_once_and_no_request),
        EFI_DISK_TEST(given_token_when_erased_then_signalled_after_the_answer),
        EFI_DISK_TEST(given_device_error_when_erased_then_token_says_so),
        EFI_DISK_TEST(given_stream_when_erased_then_read_ahead_data_is_not_used),
        EFI_DISK_TEST(given_erased_when_flushed_then_flush_is_sent_after_it),
    };

    return cmocka_run_group_tests_name("erase_block", tests, NULL, NULL);
}
