/* devices/blk.h: discard, write of zeroes, secure erase, and the serial number. */

#include "core/device_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/testing.h"

#define NO_IMAGE_SECTORS (UINT64_C(1) << 40)

static const struct kind {
    enum virtio_blk_operation operation;
    uint32_t type;
    unsigned feature_bit;
    uint32_t sectors_max_at;
    uint32_t segments_max_at;
    uint32_t alignment_at; /* 0: there is no such field */
} kinds[] = {
    {VIRTIO_BLK_DISCARD, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_F_DISCARD,
     VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS, VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG,
     VIRTIO_BLK_CONFIG_DISCARD_SECTOR_ALIGNMENT},
    {VIRTIO_BLK_WRITE_ZEROES, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_F_WRITE_ZEROES,
     VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS, VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SEG, 0},
    {VIRTIO_BLK_SECURE_ERASE, VIRTIO_BLK_T_SECURE_ERASE, VIRTIO_BLK_F_SECURE_ERASE,
     VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SECTORS, VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SEG,
     VIRTIO_BLK_CONFIG_SECURE_ERASE_ALIGNMENT},
};

static void offer_range(const struct kind *kind, uint32_t sectors_max, uint32_t segments_max,
                        uint32_t alignment)
{
    fake_blk_device_offer(&disk, kind->feature_bit, kind->sectors_max_at, 4, sectors_max);
    fake_transport_set_config(&disk.transport, kind->segments_max_at, 4, segments_max);
    if (kind->alignment_at)
        fake_transport_set_config(&disk.transport, kind->alignment_at, 4, alignment);
    disk.transport.config_bytes = 72;
}

static void offer_blocks(uint32_t block_bytes)
{
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, block_bytes);
}

/* A disk beyond any host's memory. */
static void new_huge_disk(void)
{
    new_disk(8);
    fake_blk_device_free(&disk);
    disk.sectors = NO_IMAGE_SECTORS;
    fake_transport_set_config(&disk.transport, 0, 8, NO_IMAGE_SECTORS);
}

static vio_status run(enum virtio_blk_operation operation, uint64_t sector, uint64_t n_sectors,
                      bool unmap)
{
    struct virtio_blk_transfer transfer = {
        .operation = operation, .sector = sector, .bytes = n_sectors * SECTOR, .unmap = unmap};

    return virtio_blk_run(&blk, &transfer);
}

/* --- How a range is cut ------------------------------------------------------------------------- */

struct cut {
    uint32_t block_bytes;
    uint32_t sectors_max;
    uint32_t alignment;
    uint64_t sector;
    uint64_t n_sectors;
    unsigned n_requests;
    unsigned n_requests_unaligned; /* where there is no alignment to be kept */
};

static const struct cut cuts[] = {
    {512, 100, 0, 7, 1, 1, 1},
    {512, 100, 0, 7, 100, 1, 1},
    {512, 100, 0, 7, 101, 2, 2},
    {512, 1, 0, 7, 5, 5, 5},
    {512, 100, 64, 0, 100, 1, 1},  /* short enough, so nothing is cut */
    {512, 100, 64, 0, 128, 2, 2},  /* 64, 64 */
    {512, 100, 64, 10, 200, 3, 2}, /* to 64, to 128, to 210: 54, 64, 82 */
    {512, 100, 64, 63, 130, 2, 2}, /* to 128: 65 */
    {512, 64, 64, 0, 192, 3, 3},
    {512, 100, 256, 10, 300, 3, 3}, /* to 110; on to 210, as 256 is too far; to 310 */
    {512, 100, 256, 0, 300, 3, 3},  /* to 100 and 200: back to 0 would be no step */
    {4096, 100, 0, 8, 200, 3, 3},   /* 96 is whole blocks */
    {4096, 100, 64, 8, 200, 3, 3},  /* to 64, to 160 no: 128; to 208 */
    {4096, 100, 12, 8, 200, 3, 3},  /* 12 sectors are no whole blocks */
    {4096, UINT32_MAX, 8, 8, 4096, 1, 1},
    {512, UINT32_MAX, 1, 3, DISK_SECTORS - 3, 1, 1},
};

/* The pieces lie one behind the other, and each is as long as may be. */
static void assert_cut_well(const struct kind *kind, const struct cut *cut)
{
    uint32_t block = cut->block_bytes / SECTOR;
    uint64_t most = cut->sectors_max - cut->sectors_max % block;
    uint64_t alignment = kind->alignment_at && cut->alignment % block == 0 ? cut->alignment : 0;
    uint64_t at = cut->sector;
    uint64_t end = cut->sector + cut->n_sectors;

    for (unsigned i = 0; i < disk.n_requests; i++) {
        const struct fake_blk_request *request = &disk.requests[i];
        uint64_t to = end - at <= most ? end : at + most;
        if (to < end && alignment && to - to % alignment > at)
            to -= to % alignment;
        assert_int_equal(request->type, kind->type);
        assert_true(request->range_sector == at);
        assert_true(request->range_sectors == to - at);
        assert_int_equal(request->range_sectors % block, 0);
        assert_int_equal(request->data_bytes, 16);
        at = to;
    }
    assert_true(at == end);
}

static void given_range_when_longer_than_the_limit_then_cut_at_it_and_where_it_is_aligned(void **s)
{
    /* Checks: BLK-REQ-7, BLK-REQ-9, BLK-REQ-10, BLK-REQ-11, X-BLK-2 */
    (void)s;
    for (unsigned k = 0; k < ARRAY_LENGTH(kinds); k++) {
        for (unsigned i = 0; i < ARRAY_LENGTH(cuts); i++) {
            const struct cut *cut = &cuts[i];
            new_disk(DISK_SECTORS);
            offer_blocks(cut->block_bytes);
            offer_range(&kinds[k], cut->sectors_max, 1, cut->alignment);
            open_disk();

            assert_int_equal(run(kinds[k].operation, cut->sector, cut->n_sectors, false), VIO_OK);

            assert_int_equal(disk.n_requests,
                             kinds[k].alignment_at ? cut->n_requests : cut->n_requests_unaligned);
            assert_cut_well(&kinds[k], cut);
            assert_int_equal(machine.calls[FAKE_CALL_MAP], 0);
            close_disk();
        }
    }
}

static void given_more_than_4_gib_when_the_limit_has_32_bits_then_lengths_do_not_wrap(void **state)
{
    /* Checks: BLK-REQ-7 */
    (void)state;
    static const uint32_t blocks[] = {512, 4096, 2 * MIB};
    const uint64_t first = UINT64_C(1) << 36;
    const uint64_t n_sectors = (UINT64_C(9) << 30) / SECTOR;

    for (unsigned i = 0; i < ARRAY_LENGTH(blocks); i++) {
        const struct cut cut = {.block_bytes = blocks[i],
                                .sectors_max = UINT32_MAX / blocks[i] * (blocks[i] / SECTOR),
                                .sector = first,
                                .n_sectors = n_sectors};
        new_huge_disk();
        offer_blocks(blocks[i]);
        offer_range(&kinds[0], UINT32_MAX, 1, 0);
        open_disk();

        assert_int_equal(run(VIRTIO_BLK_DISCARD, first, n_sectors, false), VIO_OK);

        assert_int_equal(disk.n_requests, 3);
        assert_cut_well(&kinds[0], &cut);
        close_disk();
    }
}

static void given_exactly_4_gib_when_discarded_then_two_requests(void **state)
{
    (void)state;
    const uint64_t n_sectors = (UINT64_C(1) << 32) / SECTOR;
    new_huge_disk();
    offer_range(&kinds[0], UINT32_MAX, 1, 0);
    open_disk();

    assert_int_equal(run(VIRTIO_BLK_DISCARD, 0, n_sectors, false), VIO_OK);

    assert_int_equal(disk.n_requests, 2);
    assert_int_equal(disk.requests[0].range_sectors, n_sectors - 1);
    assert_int_equal(disk.requests[1].range_sectors, 1);
    close_disk();
}

/* --- What it does -------------------------------------------------------------------------------- */

static void given_range_when_zeroed_then_it_and_nothing_else(void **state)
{
    (void)state;
    static const uint8_t zeroes[300 * SECTOR];
    uint8_t before[2][SECTOR];
    offer_range(&kinds[1], 64, 1, 0);
    open_disk();
    memcpy(before[0], disk.image + 99 * SECTOR, SECTOR);
    memcpy(before[1], disk.image + 400 * SECTOR, SECTOR);

    assert_int_equal(run(VIRTIO_BLK_WRITE_ZEROES, 100, 300, false), VIO_OK);

    assert_memory_equal(disk.image + 100 * SECTOR, zeroes, sizeof(zeroes));
    assert_memory_equal(disk.image + 99 * SECTOR, before[0], SECTOR);
    assert_memory_equal(disk.image + 400 * SECTOR, before[1], SECTOR);
    assert_int_equal(blk.counters.bytes_written, 0);
    assert_true(blk.has_unflushed);
    close_disk();
}

static void given_wish_to_unmap_when_sent_then_only_with_a_write_of_zeroes(void **state)
{
    /* Checks: BLK-REQ-14 */
    (void)state;
    for (unsigned k = 0; k < ARRAY_LENGTH(kinds); k++) {
        for (unsigned unmap = 0; unmap < 2; unmap++) {
            new_disk(DISK_SECTORS);
            offer_range(&kinds[k], 64, 1, 0);
            open_disk();

            assert_int_equal(run(kinds[k].operation, 0, 8, unmap), VIO_OK);

            bool expected = unmap && kinds[k].operation == VIRTIO_BLK_WRITE_ZEROES;
            assert_int_equal(disk.requests[0].range_flags, expected);
            close_disk();
        }
    }
}

static void given_may_unmap_when_opened_then_known_where_zeroes_can_be_written(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 2; value++) {
        new_disk(DISK_SECTORS);
        offer_range(&kinds[1], 64, value ? 1 : 0, 0);
        fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_WRITE_ZEROES_MAY_UNMAP, 1, 1);
        open_disk();
        assert_int_equal(blk.info.may_unmap, value);
        close_disk();
    }
}

static void given_error_in_one_piece_when_discarded_then_the_whole_has_failed(void **state)
{
    /* Checks: BLK-REQ-16 */
    (void)state;
    offer_range(&kinds[0], 8, 1, 0);
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    disk.lie_from = 3;
    disk.lie_until = 4;
    open_disk();

    assert_int_equal(run(VIRTIO_BLK_DISCARD, 0, 64, false), VIO_ERR_IO);

    assert_string_equal(blk.failed.verb, "discard");
    assert_int_equal(blk.failed.sector, 24);
    assert_true(blk.has_unflushed);
    close_disk();
}

/* --- What is refused ------------------------------------------------------------------------------ */

static void assert_not_supported(const struct kind *kind)
{
    open_disk();
    assert_false(disk.transport.accepted & VIO_FEATURE(kind->feature_bit));
    assert_int_equal(run(kind->operation, 0, 8, false), VIO_ERR_UNSUPPORTED);
    assert_int_equal(disk.n_requests, 0);
    close_disk();
}

static void given_limits_without_room_for_a_block_when_opened_then_not_supported(void **state)
{
    /* Checks: FEAT-6 */
    (void)state;
    static const struct {
        uint32_t block_bytes;
        uint32_t sectors_max;
        uint32_t segments_max;
    } cases[] = {{512, 0, 1}, {512, 64, 0}, {512, 0, 0}, {4096, 7, 1}};

    for (unsigned k = 0; k < ARRAY_LENGTH(kinds); k++) {
        for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
            new_disk(DISK_SECTORS);
            offer_blocks(cases[i].block_bytes);
            offer_range(&kinds[k], cases[i].sectors_max, cases[i].segments_max, 0);
            assert_not_supported(&kinds[k]);
        }
        new_disk(DISK_SECTORS);
        assert_not_supported(&kinds[k]);
    }
}

static void given_zoned_disk_when_opened_then_no_range_is_supported(void **state)
{
    /* Checks: BLK-INIT-5, BLK-INIT-6, X-BLK-1 */
    (void)state;
    for (unsigned k = 0; k < ARRAY_LENGTH(kinds); k++) {
        new_disk(DISK_SECTORS);
        offer_range(&kinds[k], 64, 1, 0);
        offer(VIRTIO_BLK_F_ZONED);
        assert_not_supported(&kinds[k]);
        assert_false(disk.transport.accepted & VIO_FEATURE(VIRTIO_BLK_F_ZONED));
    }
}

static void given_bad_range_when_submitted_then_refused_and_nothing_sent(void **state)
{
    (void)state;
    static const struct {
        uint64_t sector;
        uint64_t bytes;
        vio_status status;
    } cases[] = {
        {DISK_SECTORS, 4096, VIO_ERR_RANGE},
        {DISK_SECTORS - 8, 8192, VIO_ERR_RANGE},
        {UINT64_MAX - 7, 8192, VIO_ERR_RANGE},
        {0, UINT64_MAX - 4095, VIO_ERR_RANGE},
        {8, UINT64_MAX - 4095, VIO_ERR_RANGE},
        {4, 4096, VIO_ERR_INVALID},
        {0, 512, VIO_ERR_INVALID},
        {0, 4097, VIO_ERR_INVALID},
        {0, 0, VIO_OK},
        {DISK_SECTORS, 0, VIO_OK},
    };

    for (unsigned k = 0; k < ARRAY_LENGTH(kinds); k++) {
        new_disk(DISK_SECTORS);
        offer_blocks(4096);
        offer_range(&kinds[k], 64, 1, 0);
        open_disk();
        for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
            struct virtio_blk_transfer transfer = {.operation = kinds[k].operation,
                                                   .sector = cases[i].sector,
                                                   .bytes = cases[i].bytes};
            vio_status status = virtio_blk_run(&blk, &transfer);
            if (status != cases[i].status)
                fail_msg("case %u: status %d", i, (int)status);
        }
        assert_int_equal(disk.n_requests, 0);
        close_disk();
    }
}

static void given_read_only_disk_when_a_range_is_to_change_then_refused(void **state)
{
    /* Checks: X-BLK-3 */
    (void)state;
    for (unsigned k = 0; k < ARRAY_LENGTH(kinds); k++) {
        new_disk(DISK_SECTORS);
        offer(VIRTIO_BLK_F_RO);
        offer_range(&kinds[k], 64, 1, 0);
        open_disk();

        assert_int_equal(run(kinds[k].operation, 0, 8, false), VIO_ERR_READ_ONLY);

        assert_int_equal(disk.n_requests, 0);
        close_disk();
    }
}

/* --- The serial number ---------------------------------------------------------------------------- */

static vio_status get_id(char *id)
{
    /* Neither of both is looked at. */
    struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_GET_ID, .buffer = id, .sector = 3, .bytes = 1};

    return virtio_blk_run(&blk, &transfer);
}

static void given_serial_number_when_asked_for_then_20_bytes_of_it(void **state)
{
    /* Checks: BLK-REQ-8, X-BLK-2 */
    (void)state;
    static const char *const ids[] = {"12345678901234567890", "disk0", ""};
    offer(VIRTIO_BLK_F_RO);
    offer_blocks(4096);
    open_disk();

    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        char id[VIRTIO_BLK_ID_BYTES + 1];
        char expected[VIRTIO_BLK_ID_BYTES + 1] = {0};
        memset(id, '#', sizeof(id));
        memcpy(expected, ids[i], strlen(ids[i]));
        expected[VIRTIO_BLK_ID_BYTES] = '#'; /* not a byte more */
        disk.id = ids[i];

        assert_int_equal(get_id(id), VIO_OK);

        assert_memory_equal(id, expected, sizeof(id));
        assert_int_equal(disk.requests[i].type, VIRTIO_BLK_T_GET_ID);
        assert_int_equal(disk.requests[i].data_bytes, VIRTIO_BLK_ID_BYTES);
        assert_int_equal(disk.requests[i].n_descriptors, 3);
    }
    assert_int_equal(machine.calls[FAKE_CALL_MAP], 0);
    close_disk();
}

static void given_no_serial_number_when_asked_for_then_not_supported(void **state)
{
    (void)state;
    char id[VIRTIO_BLK_ID_BYTES];
    open_disk();

    assert_int_equal(get_id(id), VIO_ERR_UNSUPPORTED);

    assert_string_equal(blk.failed.verb, "reading of the serial number");
    close_disk();
}

static void given_short_answer_when_asked_for_the_serial_number_then_device_error(void **state)
{
    (void)state;
    char id[VIRTIO_BLK_ID_BYTES];
    disk.id = "disk0";
    disk.lie = FAKE_BLK_LEN;
    disk.lie_value = VIRTIO_BLK_ID_BYTES;
    open_disk();

    assert_int_equal(get_id(id), VIO_ERR_DEVICE);

    close_disk();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_range_when_longer_than_the_limit_then_cut_at_it_and_where_it_is_aligned),
        DISK_TEST(given_more_than_4_gib_when_the_limit_has_32_bits_then_lengths_do_not_wrap),
        DISK_TEST(given_exactly_4_gib_when_discarded_then_two_requests),
        DISK_TEST(given_range_when_zeroed_then_it_and_nothing_else),
        DISK_TEST(given_wish_to_unmap_when_sent_then_only_with_a_write_of_zeroes),
        DISK_TEST(given_may_unmap_when_opened_then_known_where_zeroes_can_be_written),
        DISK_TEST(given_error_in_one_piece_when_discarded_then_the_whole_has_failed),
        DISK_TEST(given_limits_without_room_for_a_block_when_opened_then_not_supported),
        DISK_TEST(given_zoned_disk_when_opened_then_no_range_is_supported),
        DISK_TEST(given_bad_range_when_submitted_then_refused_and_nothing_sent),
        DISK_TEST(given_read_only_disk_when_a_range_is_to_change_then_refused),
        DISK_TEST(given_serial_number_when_asked_for_then_20_bytes_of_it),
        DISK_TEST(given_no_serial_number_when_asked_for_then_not_supported),
        DISK_TEST(given_short_answer_when_asked_for_the_serial_number_then_device_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
