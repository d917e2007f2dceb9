/* devices/blk.h: a disk that answers, late, wrongly, or not at all. */

#include "devices/blk.h"
#include "devices/blk_spec.h"
#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_memory.h"
#include "tests/fakes/testing.h"

#define MIB          (1u << 20)
#define DISK_SECTORS 28672u /* 14 MiB */
#define BUFFER_BYTES (12u * MIB)
#define SECTOR       VIRTIO_BLK_SECTOR_BYTES

/* A queue of 128 descriptors, three to a request. */
#define IN_FLIGHT_MAX 42u

/* Shared blocks: the rings; indirect tables; headers and status bytes. */
#define DMA_BLOCKS 3u

static struct fake_platform platform;
static struct fake_blk_device disk;
static struct virtio_blk blk;
static uint8_t *buffer;
static uint64_t declined;

static void new_disk(uint64_t sectors)
{
    fake_platform_init(&platform);
    fake_blk_device_init(&disk, &platform, sectors);
    declined = 0;
}

static vio_status open_disk(void)
{
    return virtio_blk_open(&blk, &disk.transport.transport, &platform.platform, declined);
}

/* Disk and driver go, and nothing stays behind. */
static void drop_disk(void)
{
    virtio_blk_close(&blk);
    assert_int_equal(disk.transport.status, 0);
    fake_platform_assert_no_leaks(&platform);
    fake_blk_device_free(&disk);
}

/* For a device that is gone: its memory is freed, or kept because no reset was confirmed. */
static void assert_freed_or_quarantined(void)
{
    if (blk.quarantined)
        fake_platform_assert_quarantined(&platform, blk.rings.memory ? DMA_BLOCKS : 0);
    else
        fake_platform_assert_no_leaks(&platform);
}

static int set_up(void **state)
{
    (void)state;
    buffer = malloc(BUFFER_BYTES);
    assert_non_null(buffer);
    memset(buffer, 0x11, BUFFER_BYTES);
    new_disk(DISK_SECTORS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_log_stop();
    fake_blk_device_free(&disk);
    free(buffer);
    return 0;
}

static void assert_reads(uint64_t sector, size_t bytes)
{
    memset(buffer, 0x11, bytes);
    assert_int_equal(virtio_blk_read(&blk, sector, buffer, bytes), VIO_OK);
    assert_memory_equal(buffer, disk.image + sector * SECTOR, bytes);
}

static void assert_writes(uint64_t sector, size_t bytes, uint64_t seed)
{
    uint8_t *copy = malloc(bytes);
    assert_non_null(copy);
    for (size_t i = 0; i < bytes; i++)
        buffer[i] = (uint8_t)test_random(&seed);
    memcpy(copy, buffer, bytes);

    assert_int_equal(virtio_blk_write(&blk, sector, buffer, bytes), VIO_OK);

    assert_memory_equal(disk.image + sector * SECTOR, copy, bytes);
    assert_memory_equal(buffer, copy, bytes);
    free(copy);
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void given_plain_disk_when_opened_then_known_and_live(void **state)
{
    /* Checks: INIT-1h, BLK-INIT-1, RSVD-1 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);

    assert_true(blk.info.capacity_sectors == DISK_SECTORS);
    assert_int_equal(blk.info.block_bytes, 512);
    assert_int_equal(blk.info.physical_block_exp, 0);
    assert_int_equal(blk.info.alignment_offset_blocks, 0);
    assert_int_equal(blk.info.queue_size, 128);
    assert_false(blk.info.read_only);
    assert_true(blk.info.has_flush);
    assert_true(disk.transport.accepted ==
                (VIO_FEATURE(VIRTIO_F_VERSION_1) | VIO_FEATURE(VIRTIO_BLK_F_FLUSH)));
    assert_int_equal(disk.transport.status, 0x0F);
    assert_null(blk.device.failure.what);
    assert_int_equal(disk.n_requests, 0);
    drop_disk();
}

static void given_topology_when_opened_then_known(void **state)
{
    /* Checks: CFG-3 */
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_CONFIG_PHYSICAL_BLOCK_EXP, 1, 3);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_ALIGNMENT_OFFSET, 1, 7);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_OPT_IO_SIZE, 4, 128);

    assert_int_equal(open_disk(), VIO_OK);

    assert_int_equal(blk.info.physical_block_exp, 3);
    assert_int_equal(blk.info.alignment_offset_blocks, 7);
    assert_int_equal(blk.info.optimal_blocks, 128);
    drop_disk();
}

static void given_all_features_offered_when_opened_then_implemented_ones_accepted(void **state)
{
    /* Checks: FEAT-4, FEAT-5, FEAT-8, BLK-INIT-5, BLK-INIT-6, BLK-REQ-3, RSVD-3, BLK-INIT-1,
       RSVD-7, RSVD-10, RSVD-13, CFG-4, INIT-3 */
    (void)state;
    const uint64_t expected =
        VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_EVENT_IDX) |
        VIO_FEATURE(VIRTIO_F_VERSION_1) | VIO_FEATURE(VIRTIO_F_ACCESS_PLATFORM) |
        VIO_FEATURE(VIRTIO_F_IN_ORDER) | VIO_FEATURE(VIRTIO_F_ORDER_PLATFORM) |
        VIO_FEATURE(VIRTIO_F_NOTIFICATION_DATA) | VIO_FEATURE(VIRTIO_F_NOTIF_CONFIG_DATA) |
        VIO_FEATURE(VIRTIO_F_RING_RESET) | VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX) |
        VIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIO_FEATURE(VIRTIO_BLK_F_RO) |
        VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIO_FEATURE(VIRTIO_BLK_F_FLUSH) |
        VIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) | VIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE) |
        VIO_FEATURE(VIRTIO_BLK_F_MQ);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 0x10000);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 126);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 512);
    disk.transport.config_bytes = 96;
    disk.transport.offered = UINT64_MAX;
    fake_log_start();

    assert_int_equal(open_disk(), VIO_OK);

    assert_true(disk.transport.accepted == expected);
    assert_int_equal(fake_log_count(FAKE_CONFIG_WRITE), 0);
    drop_disk();
}

static const struct {
    uint16_t size_max;
    uint16_t used;
} queue_cases[] = {
    {1, 0},     {2, 0},     {3, 0},      {4, 4},       {8, 8},       {127, 64},
    {128, 128}, {256, 256}, {1024, 256}, {32768, 256}, {65535, 256}, {0, 0},
};

static void given_queue_size_when_opened_then_used_or_refused(void **state)
{
    /* Checks: X-SPLIT-3, X-PCI-2 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(queue_cases); i++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        disk.transport.queues[0].size_max = queue_cases[i].size_max;

        vio_status status = open_disk();

        assert_int_equal(status, queue_cases[i].used ? VIO_OK : VIO_ERR_UNSUPPORTED);
        if (status == VIO_OK) {
            assert_int_equal(blk.info.queue_size, queue_cases[i].used);
            assert_reads(0, 64 * 1024);
            assert_writes(5, 10 * MIB, 1);
            virtio_blk_close(&blk);
        } else {
            assert_non_null(blk.device.failure.what);
        }
        assert_int_equal(disk.transport.status, 0);
        fake_platform_assert_no_leaks(&platform);
    }
}

static const struct {
    uint64_t capacity;
    uint32_t blk_size;
    vio_status status;
} geometry_cases[] = {
    {0, 512, VIO_ERR_UNSUPPORTED},
    {1, 512, VIO_OK},
    {7, 4096, VIO_ERR_UNSUPPORTED},
    {8, 4096, VIO_OK},
    {9, 4096, VIO_ERR_UNSUPPORTED},
    {8, 0, VIO_ERR_UNSUPPORTED},
    {8, 1, VIO_ERR_UNSUPPORTED},
    {8, 256, VIO_ERR_UNSUPPORTED},
    {8, 511, VIO_ERR_UNSUPPORTED},
    {8, 513, VIO_ERR_UNSUPPORTED},
    {8, 520, VIO_ERR_UNSUPPORTED},
    {24, 1536, VIO_ERR_UNSUPPORTED},
    {4096, 2 * MIB, VIO_OK},
    {8192, 4 * MIB, VIO_ERR_UNSUPPORTED},
    {UINT64_C(1) << 40, 0x80000000, VIO_ERR_UNSUPPORTED},
    {UINT64_C(1) << 40, 0xFFFFFFFF, VIO_ERR_UNSUPPORTED},
    {(UINT64_C(1) << 55) - 1, 512, VIO_OK},
    {UINT64_C(1) << 55, 512, VIO_ERR_DEVICE},
    {UINT64_C(1) << 63, 512, VIO_ERR_DEVICE},
    {UINT64_MAX, 512, VIO_ERR_DEVICE},
};

static void given_geometry_when_opened_then_judged_before_features_are_settled(void **state)
{
    /* Checks: INIT-2, INIT-5, INIT-6 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(geometry_cases); i++) {
        fake_blk_device_free(&disk);
        new_disk(8);
        fake_transport_set_config(&disk.transport, 0, 8, geometry_cases[i].capacity);
        fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4,
                              geometry_cases[i].blk_size);
        fake_log_start();

        vio_status status = open_disk();

        if (status != geometry_cases[i].status)
            fail_msg("case %u: status %d", i, (int)status);
        if (status == VIO_OK) {
            assert_int_equal(blk.info.block_bytes, geometry_cases[i].blk_size);
            virtio_blk_close(&blk);
        } else {
            assert_non_null(blk.device.failure.what);
            assert_int_equal(fake_log_count(FAKE_QUEUE_ENABLE), 0);
        }
        assert_int_equal(disk.transport.status, 0);
        fake_platform_assert_no_leaks(&platform);
    }
}

static void given_declined_feature_when_opened_then_not_accepted_and_not_believed(void **state)
{
    /* Checks: FEAT-6, X-BLK-3 */
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 4096);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 1);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_CONFIG_PHYSICAL_BLOCK_EXP, 1, 3);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_ALIGNMENT_OFFSET, 1, 7);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_OPT_IO_SIZE, 4, 8);
    disk.block_bytes = 512;
    declined = VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX) |
               VIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
               VIO_FEATURE(VIRTIO_BLK_F_FLUSH);

    assert_int_equal(open_disk(), VIO_OK);

    assert_true(disk.transport.accepted == VIO_FEATURE(VIRTIO_F_VERSION_1));
    assert_int_equal(blk.info.block_bytes, 512);
    assert_int_equal(blk.info.physical_block_exp, 0);
    assert_false(blk.info.has_flush);
    assert_reads(1, 3 * SECTOR);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
    assert_int_equal(disk.n_requests, 1);
    drop_disk();
}

static void given_ro_declined_when_written_then_still_read_only(void **state)
{
    /* Checks: X-BLK-3 */
    (void)state;
    disk.transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_RO);
    declined = VIO_FEATURE(VIRTIO_BLK_F_RO);
    assert_int_equal(open_disk(), VIO_OK);

    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_READ_ONLY);

    assert_int_equal(disk.n_requests, 0);
    drop_disk();
}

static void given_version_1_declined_when_opened_then_unsupported(void **state)
{
    (void)state;
    declined = VIO_FEATURE(VIRTIO_F_VERSION_1);

    assert_int_equal(open_disk(), VIO_ERR_UNSUPPORTED);

    fake_platform_assert_no_leaks(&platform);
}

static void given_too_short_configuration_when_opened_then_device_error(void **state)
{
    /* Checks: CFG-5 */
    (void)state;
    disk.transport.config_bytes = 7;
    assert_int_equal(open_disk(), VIO_ERR_DEVICE);
    assert_non_null(blk.device.failure.what);
    fake_platform_assert_no_leaks(&platform);

    disk.transport.config_bytes = 23;
    disk.transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE);
    assert_int_equal(open_disk(), VIO_ERR_DEVICE);
    fake_platform_assert_no_leaks(&platform);
}

static const struct {
    enum fake_transport_lie lie;
    uint8_t from_status;
    vio_status status;
} open_cases[] = {
    {FAKE_REFUSES_FEATURES, 1, VIO_ERR_FEATURES_REFUSED},
    {FAKE_REFUSES_CONFIG_VECTOR, 1, VIO_ERR_DEVICE},
    {FAKE_REFUSES_QUEUE, 1, VIO_ERR_DEVICE},
    {FAKE_NEEDS_RESET, 1, VIO_ERR_NEEDS_RESET},
    {FAKE_NEEDS_RESET, 3, VIO_ERR_NEEDS_RESET},
    {FAKE_NEEDS_RESET, 0x0B, VIO_ERR_NEEDS_RESET},
};

static void given_failing_bring_up_when_opened_then_left_reset_without_leaks(void **state)
{
    /* Checks: INIT-5, INIT-6, STAT-3 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(open_cases); i++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        fake_transport_lie_from(&disk.transport, open_cases[i].lie, open_cases[i].from_status);
        fake_log_start();

        assert_int_equal(open_disk(), open_cases[i].status);

        assert_non_null(blk.device.failure.what);
        assert_int_equal(disk.transport.status, 0);
        assert_true(fake_log_find_last(FAKE_STATUS_READ) < fake_log_find(FAKE_DMA_FREE, 0));
        fake_platform_assert_no_leaks(&platform);
    }
}

static void given_device_gone_when_opened_then_gone_without_leaks(void **state)
{
    (void)state;
    static const uint8_t moments[] = {0, 1, 0x0B};

    for (unsigned i = 0; i < ARRAY_LENGTH(moments); i++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        fake_transport_lie_from(&disk.transport, FAKE_GONE, moments[i]);

        assert_int_equal(open_disk(), VIO_ERR_GONE);

        assert_non_null(blk.device.failure.what);
        assert_freed_or_quarantined();
    }
}

static void given_stuck_reset_when_opened_then_timeout_and_it_knows_no_memory(void **state)
{
    /* Checks: RESET-1, CLEAN-2 */
    (void)state;
    disk.transport.status = 0x0F;
    disk.transport.lie = FAKE_RESET_STUCK;

    assert_int_equal(open_disk(), VIO_ERR_TIMEOUT);

    assert_int_equal(disk.transport.isolations, 1);
    fake_platform_assert_no_leaks(&platform);
}

static void go_away(void *context, uint16_t index)
{
    struct fake_blk_device *device = context;

    (void)index;
    device->transport.lie = FAKE_GONE;
}

static void given_device_gone_with_its_queue_when_opened_then_memory_quarantined(void **state)
{
    /* Checks: RESET-1, CLEAN-2 */
    (void)state;
    disk.transport.on_enable = go_away;

    assert_int_equal(open_disk(), VIO_ERR_GONE);

    assert_true(blk.quarantined);
    fake_platform_assert_quarantined(&platform, DMA_BLOCKS);
}

static void given_failing_allocation_when_opened_then_no_memory_and_device_left_reset(void **state)
{
    (void)state;
    static const struct {
        enum fake_call call;
        unsigned nth;
    } cases[] = {{FAKE_CALL_ALLOC, 1},
                 {FAKE_CALL_DMA_ALLOC, 1},
                 {FAKE_CALL_DMA_ALLOC, 2},
                 {FAKE_CALL_DMA_ALLOC, 3}};

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        disk.transport.status = 0x0F; /* the firmware's driver was here */
        fake_platform_fail(&platform, cases[i].call, cases[i].nth);

        assert_int_equal(open_disk(), VIO_ERR_NO_MEMORY);

        assert_non_null(blk.device.failure.what);
        fake_platform_assert_no_leaks(&platform);
        assert_int_equal(disk.transport.status, 0);
    }
}

static void given_incomplete_seam_when_opened_then_invalid(void **state)
{
    (void)state;
    struct vio_transport_ops ops = *disk.transport.transport.ops;
    struct vio_transport incomplete = {.ops = &ops, .context = &disk.transport};
    ops.isolate = NULL;

    assert_int_equal(virtio_blk_open(&blk, &incomplete, &platform.platform, 0), VIO_ERR_INVALID);

    fake_platform_assert_no_leaks(&platform);
}

static void given_closed_disk_when_opened_again_then_works(void **state)
{
    /* Checks: STAT-3, CLEAN-2 */
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(open_disk(), VIO_OK);
        assert_reads(i, 100 * SECTOR);
        assert_writes(i * 7, 5 * SECTOR, i + 1);
        fake_log_start();

        virtio_blk_close(&blk);

        assert_true(fake_log_find_last(FAKE_STATUS_READ) < fake_log_find(FAKE_DMA_FREE, 0));
        assert_int_equal(disk.transport.status, 0);
        fake_platform_assert_no_leaks(&platform);
    }
}

static void given_shut_down_disk_when_used_then_gone_and_nothing_allocated(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    fake_log_start();

    virtio_blk_shutdown(&blk);

    assert_int_equal(disk.transport.status, 0);
    assert_int_equal(fake_log_find(FAKE_ALLOC, 0), FAKE_LOG_NONE);
    assert_int_equal(fake_log_find(FAKE_FREE, 0), FAKE_LOG_NONE);
    assert_int_equal(fake_log_find(FAKE_DMA_ALLOC, 0), FAKE_LOG_NONE);
    assert_int_equal(fake_log_find(FAKE_DMA_FREE, 0), FAKE_LOG_NONE);
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_ERR_GONE);
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_GONE);
    assert_int_equal(virtio_blk_flush(&blk), VIO_ERR_GONE);
    drop_disk();
}

/* --- Read, write, flush ----------------------------------------------------------------------- */

static void given_each_block_size_when_read_and_written_then_data_and_sectors_right(void **state)
{
    /* Checks: BLK-REQ-6, BLK-REQ-2, SPLIT-FRAME-1 */
    (void)state;
    static const uint32_t sizes[] = {512, 1024, 4096, 65536, 2 * MIB};

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        uint32_t block_sectors = sizes[i] / SECTOR;
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4,
                              sizes[i]);
        assert_int_equal(open_disk(), VIO_OK);

        assert_reads(0, sizes[i]);
        assert_reads(3 * block_sectors, 2 * sizes[i]);
        assert_reads(DISK_SECTORS - block_sectors, sizes[i]);
        assert_writes(block_sectors, sizes[i], i + 1);
        assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
        assert_reads(block_sectors, sizes[i]);

        assert_int_equal(disk.requests[1].sector, 3 * block_sectors);
        drop_disk();
    }
}

static void given_whole_disk_when_read_and_written_then_all_of_it(void **state)
{
    (void)state;
    fake_blk_device_free(&disk);
    new_disk(BUFFER_BYTES / SECTOR);
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, BUFFER_BYTES);
    assert_writes(0, BUFFER_BYTES, 5);

    assert_true(blk.counters.bytes_read == BUFFER_BYTES);
    assert_true(blk.counters.bytes_written == BUFFER_BYTES);
    assert_int_equal(blk.counters.requests, disk.n_requests);
    drop_disk();
}

static void given_bad_range_when_read_or_written_then_refused_and_nothing_sent(void **state)
{
    /* Checks: BLK-REQ-2, BLK-REQ-6 */
    (void)state;
    static const struct {
        uint64_t sector;
        size_t bytes;
        vio_status status;
    } cases[] = {
        {0, (DISK_SECTORS + 8) * SECTOR, VIO_ERR_RANGE},
        {8, DISK_SECTORS * SECTOR, VIO_ERR_RANGE},
        {DISK_SECTORS, 4096, VIO_ERR_RANGE},
        {DISK_SECTORS - 8, 8192, VIO_ERR_RANGE},
        {DISK_SECTORS + 8, 4096, VIO_ERR_RANGE},
        {DISK_SECTORS + 8, 0, VIO_ERR_RANGE},
        {UINT64_MAX - 7, 4096, VIO_ERR_RANGE},
        {UINT64_MAX - 7, 8192, VIO_ERR_RANGE},
        {UINT64_C(1) << 55, 4096, VIO_ERR_RANGE},
        {UINT64_C(1) << 63, 4096, VIO_ERR_RANGE},
        {0, SIZE_MAX - 4095, VIO_ERR_RANGE},
        {DISK_SECTORS - 8, SIZE_MAX - 4095, VIO_ERR_RANGE},
        {1, 4096, VIO_ERR_INVALID},
        {4, 4096, VIO_ERR_INVALID},
        {7, 4096, VIO_ERR_INVALID},
        {0, 512, VIO_ERR_INVALID},
        {0, 1, VIO_ERR_INVALID},
        {0, 4095, VIO_ERR_INVALID},
        {0, 4097, VIO_ERR_INVALID},
        {0, SIZE_MAX, VIO_ERR_INVALID},
        {0, 0, VIO_OK},
        {DISK_SECTORS, 0, VIO_OK},
    };
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 4096);
    assert_int_equal(open_disk(), VIO_OK);

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        vio_status read = virtio_blk_read(&blk, cases[i].sector, buffer, cases[i].bytes);
        vio_status write = virtio_blk_write(&blk, cases[i].sector, buffer, cases[i].bytes);

        if (read != cases[i].status || write != cases[i].status)
            fail_msg("case %u: read %d, write %d", i, (int)read, (int)write);
    }
    assert_int_equal(disk.n_requests, 0);
    assert_int_equal(disk.transport.notifications, 0);
    assert_reads(DISK_SECTORS - 8, 4096);
    drop_disk();
}

static void given_largest_capacity_when_read_at_the_end_then_no_wrap(void **state)
{
    /* Checks: BLK-REQ-2 */
    (void)state;
    const uint64_t capacity = (UINT64_C(1) << 55) - 1;
    fake_transport_set_config(&disk.transport, 0, 8, capacity);
    assert_int_equal(open_disk(), VIO_OK);

    assert_int_equal(virtio_blk_read(&blk, capacity, buffer, SECTOR), VIO_ERR_RANGE);
    assert_int_equal(virtio_blk_read(&blk, capacity - 1, buffer, 2 * SECTOR), VIO_ERR_RANGE);
    assert_int_equal(virtio_blk_read(&blk, 1, buffer, SIZE_MAX - 511), VIO_ERR_RANGE);

    assert_int_equal(disk.n_requests, 0);
    drop_disk();
}

static void given_read_only_disk_when_written_or_flushed_then_nothing_sent(void **state)
{
    /* Checks: BLK-REQ-3, X-BLK-3 */
    (void)state;
    disk.transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_RO);
    assert_int_equal(open_disk(), VIO_OK);
    assert_true(blk.info.read_only);
    assert_true(disk.transport.accepted & VIO_FEATURE(VIRTIO_BLK_F_RO));

    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_READ_ONLY);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(disk.n_requests, 0);
    assert_int_equal(disk.transport.notifications, 0);
    assert_reads(3, 8 * SECTOR);
    drop_disk();
}

static void given_flush_when_negotiated_then_header_and_status_only(void **state)
{
    /* Checks: BLK-REQ-4, BLK-REQ-5, X-BLK-2, BLK-INIT-3, BLK-INIT-1 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    assert_writes(9, SECTOR, 3);

    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(disk.n_requests, 2);
    assert_int_equal(disk.requests[1].type, VIRTIO_BLK_T_FLUSH);
    assert_true(disk.requests[1].sector == 0);
    assert_true(disk.requests[1].data_bytes == 0);
    assert_int_equal(disk.requests[1].n_descriptors, 2);
    assert_int_equal(fake_platform_live(&platform, FAKE_CALL_MAP), 0);
    drop_disk();
}

static void given_no_flush_feature_when_flushed_then_nothing_sent(void **state)
{
    /* Checks: FEAT-6, BLK-INIT-2 */
    (void)state;
    disk.transport.offered &= ~VIO_FEATURE(VIRTIO_BLK_F_FLUSH);
    assert_int_equal(open_disk(), VIO_OK);
    assert_false(blk.info.has_flush);

    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(disk.n_requests, 0);
    drop_disk();
}

/* --- The device's limits ---------------------------------------------------------------------- */

#define NOT_OFFERED UINT64_MAX

static const struct {
    uint64_t size_max;
    uint64_t seg_max;
    uint32_t request_bytes; /* of a long transfer */
    unsigned n_descriptors; /* of such a request */
} limit_cases[] = {
    {NOT_OFFERED, NOT_OFFERED, 4 * MIB, 3},
    /* Not a block fits, 16 * 31 = 496: driven without VIRTIO_BLK_F_SIZE_MAX. */
    {0, NOT_OFFERED, 4 * MIB, 3},
    {1, NOT_OFFERED, 4 * MIB, 3},
    {31, NOT_OFFERED, 4 * MIB, 3},
    {32, NOT_OFFERED, 512, 18},
    {511, NOT_OFFERED, 7680, 18},
    {512, NOT_OFFERED, 8192, 18},
    {513, NOT_OFFERED, 8192, 18},
    {4096, NOT_OFFERED, 65536, 18},
    {4 * MIB, NOT_OFFERED, 4 * MIB, 3},
    {4 * MIB - 1, NOT_OFFERED, 4 * MIB, 4},
    {UINT32_MAX, NOT_OFFERED, 4 * MIB, 3},
    {NOT_OFFERED, 0, 4 * MIB, 3},
    {NOT_OFFERED, 1, 4 * MIB, 3},
    {NOT_OFFERED, UINT32_MAX, 4 * MIB, 3},
    {511, 1, 4 * MIB, 3},
    {512, 1, 512, 3},
    {513, 1, 512, 3},
    {1023, 1, 512, 3},
    {511, 2, 512, 4},
    {512, 2, 1024, 4},
    {4096, 2, 8192, 4},
    {4096, 0, 4096, 3},
    {4096, 16, 65536, 18},
    {4096, 17, 65536, 18},
    {4096, 65537, 65536, 18}, /* 1 in 16 bits */
    {4096, UINT32_MAX, 65536, 18},
    {512, 1022, 8192, 18},
    {3 * MIB, 2, 4 * MIB, 4},
    {UINT32_MAX, UINT32_MAX, 4 * MIB, 3},
};

static void given_limits_when_read_then_requests_keep_within_them(void **state)
{
    /* Checks: CFG-3, SPLIT-FRAME-2, BLK-REQ-6 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(limit_cases); i++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        if (limit_cases[i].size_max != NOT_OFFERED)
            fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4,
                                  limit_cases[i].size_max);
        if (limit_cases[i].seg_max != NOT_OFFERED)
            fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4,
                                  limit_cases[i].seg_max);

        vio_status status = open_disk();

        if (status != VIO_OK)
            fail_msg("case %u: status %d", i, (int)status);
        size_t bytes =
            limit_cases[i].request_bytes * (limit_cases[i].request_bytes < MIB ? 50u : 2u);
        assert_reads(1, bytes + SECTOR);
        assert_writes(3, bytes + SECTOR, i + 1);
        for (unsigned n = 0; n + 1 < disk.n_requests / 2; n++) {
            assert_int_equal(disk.requests[n].data_bytes, limit_cases[i].request_bytes);
            assert_int_equal(disk.requests[n].n_descriptors, limit_cases[i].n_descriptors);
        }
        drop_disk();
    }
}

static void given_no_room_for_a_block_when_opened_then_the_limit_is_not_accepted(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 4096);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 1024);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 3);
    assert_int_equal(open_disk(), VIO_OK);
    assert_false(disk.transport.accepted & VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX));
    assert_reads(8, 3 * 4096);
    assert_int_equal(disk.requests[0].data_bytes, 3 * 4096);
    virtio_blk_close(&blk);

    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 7);
    disk.n_requests = 0;
    assert_int_equal(open_disk(), VIO_OK);
    assert_true(disk.transport.accepted & VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX));
    assert_reads(8, 3 * 4096);
    assert_int_equal(disk.requests[0].data_bytes, 4096);
    drop_disk();
}

static void given_queue_too_small_for_a_block_when_opened_then_unsupported(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 128);
    disk.transport.queues[0].size_max = 4;

    assert_int_equal(open_disk(), VIO_ERR_UNSUPPORTED);

    assert_non_null(blk.device.failure.what);
    fake_platform_assert_no_leaks(&platform);
}

static void given_small_queue_when_segments_do_not_fit_then_fewer_are_used(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 512);
    disk.transport.queues[0].size_max = 8;
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, 100 * SECTOR);

    assert_int_equal(disk.requests[0].data_bytes, 6 * 512);
    assert_int_equal(disk.requests[0].n_descriptors, 8);
    drop_disk();
}

static void given_long_read_when_split_then_three_requests_and_one_notification(void **state)
{
    /* Checks: X-SPLIT-1, X-SPLIT-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(10, 10 * MIB);

    assert_int_equal(disk.n_requests, 3);
    assert_int_equal(disk.requests[0].data_bytes, BLK_REQUEST_BYTES_MAX);
    assert_int_equal(disk.requests[1].data_bytes, BLK_REQUEST_BYTES_MAX);
    assert_int_equal(disk.requests[2].data_bytes, 2 * MIB);
    assert_true(disk.requests[1].sector == 10 + BLK_REQUEST_BYTES_MAX / SECTOR);
    assert_true(disk.requests[2].sector == 10 + 2 * BLK_REQUEST_BYTES_MAX / SECTOR);
    assert_int_equal(disk.n_pending_max, 3);
    assert_int_equal(disk.transport.notifications, 1);
    drop_disk();
}

static void given_many_requests_when_device_is_slow_then_the_queue_is_full(void **state)
{
    /* Checks: X-SPLIT-2 */
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 512);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    disk.delay_waits = 2;
    disk.order = FAKE_BLK_REVERSED;
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, 100 * SECTOR);
    assert_int_equal(disk.n_pending_max, IN_FLIGHT_MAX);
    assert_int_equal(disk.n_requests, 100);
    assert_writes(0, 100 * SECTOR, 9);
    drop_disk();
}

static void given_device_gone_while_its_config_is_read_when_opened_then_gone(void **state)
{
    (void)state;
    fake_transport_lie_from(&disk.transport, FAKE_GONE,
                            VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);

    assert_int_equal(open_disk(), VIO_ERR_GONE);

    assert_string_equal(blk.device.failure.what, "the device is gone, its status reads");
    assert_freed_or_quarantined();
}

static void given_more_requests_than_descriptors_when_read_then_notified_in_batches(void **state)
{
    const unsigned n_requests = 256;

    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, SECTOR);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, n_requests * SECTOR);

    assert_int_equal(disk.n_requests, n_requests);
    assert_int_equal(disk.transport.notifications,
                     (n_requests + IN_FLIGHT_MAX - 1) / IN_FLIGHT_MAX);
    drop_disk();
}

static void given_few_descriptors_left_when_submitting_then_nothing_is_mapped_in_vain(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, SECTOR);
    assert_int_equal(open_disk(), VIO_OK);
    unsigned maps_before = platform.calls[FAKE_CALL_MAP];

    assert_reads(0, MIB);

    assert_int_equal(platform.calls[FAKE_CALL_MAP] - maps_before, disk.n_requests);
    drop_disk();
}

/* A device that moves idx on when the driver looks, though nothing is in flight. */
static void move_idx_when_idle(void *context, enum vio_mem_access access, const void *where)
{
    struct virtqueue *vq = context;

    if (access == VIO_MEM_LOAD16 && where == &vq->used->idx && virtqueue_in_flight(vq) == 0)
        vq->used->idx.raw = (uint16_t)(vq->used->idx.raw + 5);
}

static void given_idx_that_moves_when_nothing_is_in_flight_then_read_ends(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    fake_memory_before_access(move_idx_when_idle, &blk.queues[0]);

    vio_status status = virtio_blk_read(&blk, 0, buffer, SECTOR);

    fake_memory_before_access(NULL, NULL);
    assert_int_equal(status, VIO_OK);
    drop_disk();
}

static void given_one_batch_when_it_fits_then_one_notification(void **state)
{
    /* Checks: X-SPLIT-1 */
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 512);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, IN_FLIGHT_MAX * SECTOR);

    assert_int_equal(disk.n_requests, IN_FLIGHT_MAX);
    assert_int_equal(disk.transport.notifications, 1);
    assert_int_equal(blk.counters.notifications, 1);
    drop_disk();
}

static void given_device_that_polls_when_used_then_never_notified(void **state)
{
    /* Checks: SUP-AVAIL-3 */
    (void)state;
    disk.polls = true;
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, 10 * MIB);
    assert_writes(7, 3 * SECTOR, 2);
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);

    assert_int_equal(disk.transport.notifications, 0);
    assert_int_equal(blk.queues[0].counters.notifications_suppressed, 3);
    drop_disk();
}

static void given_shuffled_completions_when_10_mib_copied_then_data_is_whole(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 1536);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 5);
    disk.order = FAKE_BLK_SHUFFLED;
    disk.delay_waits = 1;
    platform.wait_us = 100;
    assert_int_equal(open_disk(), VIO_OK);

    assert_writes(17, 10 * MIB, 99);
    assert_reads(17, 10 * MIB);
    assert_reads(0, 11 * MIB);

    assert_int_equal(fake_platform_live(&platform, FAKE_CALL_MAP), 0);
    drop_disk();
}

/* --- Answers ---------------------------------------------------------------------------------- */

static vio_status status_for(unsigned answer)
{
    switch (answer) {
    case VIRTIO_BLK_S_OK:
        return VIO_OK;
    case VIRTIO_BLK_S_IOERR:
        return VIO_ERR_IO;
    case VIRTIO_BLK_S_UNSUPP:
        return VIO_ERR_UNSUPPORTED;
    default:
        return VIO_ERR_DEVICE;
    }
}

static void given_each_status_byte_when_answered_then_its_status(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_STATUS;

    for (unsigned answer = 0; answer < 256; answer++) {
        vio_status expected = status_for(answer);
        disk.lie_value = answer;

        assert_int_equal(virtio_blk_read(&blk, 5, buffer, 2 * SECTOR), expected);
        assert_int_equal(virtio_blk_write(&blk, 6, buffer, SECTOR), expected);
        if (expected != VIO_OK) {
            assert_string_equal(blk.failed.verb, "write");
            assert_true(blk.failed.sector == 6);
            assert_int_equal(blk.failed.bytes, SECTOR);
            assert_non_null(blk.device.failure.what);
        }
        assert_int_equal(virtio_blk_flush(&blk), expected);
    }

    disk.lie = FAKE_BLK_HONEST;
    assert_reads(5, 2 * SECTOR);
    assert_null(blk.device.failure.what);
    drop_disk();
}

static void given_success_with_too_few_bytes_when_read_then_device_error(void **state)
{
    /* Checks: SPLIT-USED-1, SPLIT-USED-2 */
    (void)state;
    static const uint32_t lens[] = {0, 1, 2, 511, 512, 1023, 1024};
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_LEN;

    for (unsigned i = 0; i < ARRAY_LENGTH(lens); i++) {
        disk.lie_value = lens[i];
        assert_int_equal(virtio_blk_read(&blk, 0, buffer, 1024), VIO_ERR_DEVICE);
        assert_true(blk.device.failure.value == lens[i]);
    }

    disk.lie_value = 1025;
    assert_reads(0, 1024);
    drop_disk();
}

static void given_success_with_no_bytes_when_written_or_flushed_then_device_error(void **state)
{
    /* Checks: SPLIT-USED-1 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_LEN;
    disk.lie_value = 0;

    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_DEVICE);
    assert_int_equal(virtio_blk_flush(&blk), VIO_ERR_DEVICE);

    drop_disk();
}

static void given_success_without_data_when_read_then_device_error(void **state)
{
    /* Checks: SPLIT-USED-1 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NO_DATA;

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_ERR_DEVICE);

    drop_disk();
}

static void given_status_byte_when_never_written_then_no_success(void **state)
{
    /* Checks: SPLIT-USED-1 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    for (unsigned i = 0; i < 2 * IN_FLIGHT_MAX; i++)
        assert_reads(i, SECTOR); /* each slot has seen a success */
    disk.lie = FAKE_BLK_NO_STATUS;

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_ERR_DEVICE);
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_DEVICE);
    assert_int_equal(virtio_blk_flush(&blk), VIO_ERR_DEVICE);

    drop_disk();
}

/* Headers and status bytes lie in memory that the device can write at any time. */
static void given_device_that_scribbles_when_idle_then_next_requests_are_whole(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);

    for (unsigned value = 0; value < 256; value += 51) {
        memset(blk.slot_memory.memory, (int)value, blk.slot_memory.bytes);
        assert_reads(value, 10 * MIB);
        memset(blk.slot_memory.memory, (int)value, blk.slot_memory.bytes);
        assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
    }
    drop_disk();
}

static void given_answer_when_judged_then_status_byte_read_once_behind_the_barrier(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    fake_log_start();

    assert_reads(0, SECTOR);

    size_t status_load = FAKE_LOG_NONE;
    for (size_t i = 0; i < fake_log_length(); i++) {
        if (fake_log_at(i)->kind != FAKE_LOAD || fake_log_at(i)->width_bytes != 1)
            continue;
        assert_int_equal(status_load, FAKE_LOG_NONE);
        status_load = i;
    }
    assert_int_not_equal(status_load, FAKE_LOG_NONE);
    assert_true(fake_log_find(FAKE_RMB, 0) < status_load);
    assert_true(status_load < fake_log_find(FAKE_UNMAP, 0));
    drop_disk();
}

static void given_error_in_the_middle_when_read_then_named_and_the_rest_given_back(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 512);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    disk.lie_from = 40;
    disk.lie_until = 42;
    assert_int_equal(open_disk(), VIO_OK);

    assert_int_equal(virtio_blk_read(&blk, 100, buffer, 200 * SECTOR), VIO_ERR_IO);

    assert_string_equal(blk.failed.verb, "read");
    assert_true(blk.failed.sector == 140);
    assert_int_equal(blk.failed.bytes, SECTOR);
    assert_true(disk.n_requests <= 41 + IN_FLIGHT_MAX); /* none is added after the first failure */
    assert_int_equal(fake_platform_live(&platform, FAKE_CALL_MAP), 0);
    assert_int_equal(virtqueue_in_flight(&blk.queues[0]), 0);
    assert_reads(100, 200 * SECTOR);
    drop_disk();
}

static void given_first_of_two_different_errors_when_read_then_it_is_reported(void **state)
{
    (void)state;
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_UNSUPP;
    disk.lie_until = 1;
    disk.lie_from = 0;
    platform.fail_from[FAKE_CALL_UNMAP] = 2; /* what follows fails in another way */
    assert_int_equal(open_disk(), VIO_OK);

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, 10 * MIB), VIO_ERR_UNSUPPORTED);

    assert_true(blk.failed.sector == 0);
    platform.fail_from[FAKE_CALL_UNMAP] = 0;
    drop_disk();
}

/* --- Resources -------------------------------------------------------------------------------- */

static void given_map_that_fails_once_when_read_then_tried_again(void **state)
{
    (void)state;
    for (unsigned nth = 2; nth <= 3; nth++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        disk.delay_waits = 1;
        assert_int_equal(open_disk(), VIO_OK);
        fake_platform_fail(&platform, FAKE_CALL_MAP, nth);

        assert_reads(0, 10 * MIB);

        /* It waited for another request to end, and was not made shorter. */
        assert_int_equal(disk.n_requests, 3);
        assert_int_equal(disk.requests[1].data_bytes, BLK_REQUEST_BYTES_MAX);
        drop_disk();
    }
}

static void given_map_that_always_fails_from_nth_when_read_then_no_memory_and_no_leak(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 3; nth++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        assert_int_equal(open_disk(), VIO_OK);
        fake_platform_fail_from(&platform, FAKE_CALL_MAP, nth);

        assert_int_equal(virtio_blk_read(&blk, 8, buffer, 10 * MIB), VIO_ERR_NO_MEMORY);

        assert_int_equal(disk.n_requests, nth - 1);
        assert_int_equal(fake_platform_live(&platform, FAKE_CALL_MAP), 0);
        platform.fail_from[FAKE_CALL_MAP] = 0;
        assert_reads(8, 10 * MIB);
        drop_disk();
    }
}

static void given_little_to_map_with_when_read_then_shorter_requests(void **state)
{
    /* Checks: BLK-REQ-6 */
    (void)state;
    static const size_t limits[] = {BLK_REQUEST_BYTES_MAX - 1, MIB, 5000, 4096};

    for (unsigned i = 0; i < ARRAY_LENGTH(limits); i++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 4096);
        assert_int_equal(open_disk(), VIO_OK);
        platform.map_bytes_max = limits[i];

        assert_reads(16, 5 * MIB + 3 * 4096);
        assert_writes(16, 7 * 4096, 1);

        assert_true(disk.requests[0].data_bytes <= limits[i]);
        drop_disk();
    }
}

static void given_less_than_a_block_to_map_when_read_then_no_memory(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, 4096);
    assert_int_equal(open_disk(), VIO_OK);
    platform.map_bytes_max = 4095;

    assert_int_equal(virtio_blk_read(&blk, 8, buffer, 10 * MIB), VIO_ERR_NO_MEMORY);

    assert_int_equal(disk.n_requests, 0);
    assert_non_null(blk.device.failure.what);
    drop_disk();
}

static void given_map_that_fails_when_read_then_the_request_is_named(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_STATUS;
    disk.lie_value = VIRTIO_BLK_S_IOERR;
    assert_int_equal(virtio_blk_write(&blk, 77, buffer, SECTOR), VIO_ERR_IO);
    fake_platform_fail(&platform, FAKE_CALL_MAP, 1);

    assert_int_equal(virtio_blk_read(&blk, 8, buffer, SECTOR), VIO_ERR_NO_MEMORY);

    assert_string_equal(blk.failed.verb, "read");
    assert_true(blk.failed.sector == 8);
    assert_int_equal(blk.failed.bytes, SECTOR);
    drop_disk();
}

static void given_unmap_that_fails_when_read_then_io_error(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 3; nth++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        assert_int_equal(open_disk(), VIO_OK);
        fake_platform_fail(&platform, FAKE_CALL_UNMAP, nth);

        assert_int_equal(virtio_blk_read(&blk, 0, buffer, 10 * MIB), VIO_ERR_IO);

        assert_true(blk.failed.sector == (nth - 1) * (uint64_t)(BLK_REQUEST_BYTES_MAX / SECTOR));
        assert_non_null(blk.device.failure.what);
        assert_true(blk.device.failure.value == blk.failed.bytes);
        assert_reads(0, 10 * MIB);
        drop_disk();
    }
}

/* --- Devices that let us down ----------------------------------------------------------------- */

/* Every later call fails at once, and no request is sent. */
static void assert_dead(vio_status status)
{
    unsigned n_requests = disk.n_requests;
    uint64_t now_us = platform.now_us;

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), status);
    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), status);
    assert_int_equal(virtio_blk_flush(&blk), status);
    assert_int_equal(disk.n_requests, n_requests);
    assert_true(platform.now_us == now_us);
    assert_int_equal(fake_platform_live(&platform, FAKE_CALL_MAP), 0);
}

/* The device had confirmed its reset before the first buffer was given back. */
static void assert_unmapped_after_reset(void)
{
    size_t reset = FAKE_LOG_NONE;

    for (size_t i = 0; i < fake_log_length() && reset == FAKE_LOG_NONE; i++) {
        const struct fake_event *event = fake_log_at(i);
        if (event->kind == FAKE_STATUS_WRITE && event->value == 0)
            reset = i;
    }
    assert_int_not_equal(reset, FAKE_LOG_NONE);
    size_t confirmed = fake_log_find(FAKE_STATUS_READ, reset);
    assert_int_equal(fake_log_at(confirmed)->value, 0);
    assert_true(confirmed < fake_log_find(FAKE_UNMAP, 0));
}

static void given_no_answer_when_read_then_timeout_and_buffers_back_after_reset(void **state)
{
    /* Checks: CLEAN-2, CLEAN-1, RESET-1 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    uint64_t start_us = platform.now_us;
    fake_log_start();

    assert_int_equal(virtio_blk_read(&blk, 16, buffer, 10 * MIB), VIO_ERR_TIMEOUT);

    /* Once for the requests, and once for the same after a reset. */
    assert_in_range(platform.now_us - start_us, 2 * BLK_REQUEST_LIMIT_US,
                    2 * BLK_REQUEST_LIMIT_US + MIB);
    assert_int_equal(disk.n_requests, 6);
    assert_unmapped_after_reset();
    assert_int_equal(fake_log_count(FAKE_UNMAP), 3);
    assert_int_equal(disk.transport.status, 0);
    assert_int_equal(disk.transport.isolations, 0);
    assert_string_equal(blk.failed.verb, "read");
    assert_true(blk.failed.sector == 16);
    assert_int_equal(blk.failed.bytes, 10 * MIB);
    assert_non_null(blk.device.failure.what);
    assert_dead(VIO_ERR_TIMEOUT);
    drop_disk();
}

static void given_no_answer_when_flushed_then_timeout(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    assert_writes(0, SECTOR, 1);
    disk.lie = FAKE_BLK_NEVER;

    assert_int_equal(virtio_blk_flush(&blk), VIO_ERR_TIMEOUT);

    assert_string_equal(blk.failed.verb, "flush");
    assert_non_null(blk.device.failure.what);
    /* Not sent again; the device is as good as new, and what was written is still not durable. */
    assert_int_equal(disk.n_requests, 2);
    disk.lie = FAKE_BLK_HONEST;
    assert_int_equal(virtio_blk_flush(&blk), VIO_OK);
    assert_int_equal(disk.n_requests, 3);
    drop_disk();
}

static void given_one_missing_answer_when_written_then_timeout_and_the_disk_goes_on(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    disk.lie_from = 1;
    disk.lie_until = 2;

    assert_int_equal(virtio_blk_write(&blk, 0, buffer, 10 * MIB), VIO_ERR_TIMEOUT);

    assert_int_equal(disk.n_requests, 3);
    assert_int_equal(blk.counters.recoveries, 1);
    assert_reads(0, 10 * MIB);
    drop_disk();
}

static void given_timed_out_disk_when_opened_again_then_works(void **state)
{
    /* Checks: STAT-4 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_ERR_TIMEOUT);
    virtio_blk_close(&blk);
    disk.lie = FAKE_BLK_HONEST;

    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, 10 * MIB);
    drop_disk();
}

static void given_stuck_reset_when_timed_out_then_isolated_and_memory_kept(void **state)
{
    /* Checks: CLEAN-2, RESET-1 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    disk.transport.lie = FAKE_RESET_STUCK;
    fake_log_start();

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, 10 * MIB), VIO_ERR_TIMEOUT);

    assert_true(disk.transport.isolations >= 1);
    assert_true(fake_log_find(FAKE_ISOLATE, 0) < fake_log_find(FAKE_UNMAP, 0));
    /* What failed first is told: the request, not the reset. */
    assert_true(blk.device.failure.value >= BLK_REQUEST_LIMIT_US);
    assert_dead(VIO_ERR_TIMEOUT);
    virtio_blk_close(&blk);
    assert_int_equal(fake_log_count(FAKE_DMA_FREE), 0);
    fake_platform_assert_quarantined(&platform, DMA_BLOCKS);
}

static void given_stuck_reset_when_closed_then_isolated_and_memory_kept(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.transport.lie = FAKE_RESET_STUCK;

    virtio_blk_close(&blk);

    assert_int_equal(disk.transport.isolations, 1);
    fake_platform_assert_quarantined(&platform, DMA_BLOCKS);
}

static void given_stuck_reset_when_shut_down_then_isolated(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.transport.lie = FAKE_RESET_STUCK;
    uint64_t start_us = platform.now_us;

    virtio_blk_shutdown(&blk);

    assert_int_equal(disk.transport.isolations, 1);
    assert_in_range(platform.now_us - start_us, 0, 2 * VIO_RESET_LIMIT_US);
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&platform, DMA_BLOCKS);
}

/* After some waits the device gets into a state. */
static enum fake_transport_lie coming_lie;

static void lie_after_three_waits(struct fake_blk_device *device)
{
    if (device->platform->waits == 3)
        device->transport.lie = coming_lie;
}

static void given_needs_reset_when_waiting_then_noticed_long_before_the_deadline(void **state)
{
    /* Checks: STAT-4, CLEAN-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    coming_lie = FAKE_NEEDS_RESET;
    disk.on_wait = lie_after_three_waits;
    uint64_t start_us = platform.now_us;
    fake_log_start();

    assert_int_equal(virtio_blk_write(&blk, 0, buffer, 10 * MIB), VIO_ERR_NEEDS_RESET);

    assert_in_range(platform.now_us - start_us, 0, 2000000);
    assert_unmapped_after_reset();
    assert_int_equal(disk.transport.status, 0x0F);
    assert_int_equal(blk.counters.recoveries, 1);
    drop_disk();
}

static void given_needs_reset_when_reading_then_read_again_and_nobody_notices(void **state)
{
    /* Checks: STAT-4 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    disk.reset_is_honest = disk.n_resets + 1;
    coming_lie = FAKE_NEEDS_RESET;
    disk.on_wait = lie_after_three_waits;
    uint64_t start_us = platform.now_us;

    assert_reads(0, 10 * MIB);

    assert_in_range(platform.now_us - start_us, 0, 2000000);
    assert_int_equal(disk.n_requests, 6);
    assert_null(blk.device.failure.what);
    drop_disk();
}

static void given_device_gone_when_waiting_then_noticed_long_before_the_deadline(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    coming_lie = FAKE_GONE;
    disk.on_wait = lie_after_three_waits;
    uint64_t start_us = platform.now_us;

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, 10 * MIB), VIO_ERR_GONE);

    assert_in_range(platform.now_us - start_us, 0, 2000000);
    assert_dead(VIO_ERR_GONE);
    virtio_blk_close(&blk);
    assert_freed_or_quarantined();
}

/* All ones is no confirmed reset: a device whose registers are switched off may still write. */
static void given_device_gone_when_given_up_then_isolated_before_buffers_come_back(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    coming_lie = FAKE_GONE;
    disk.on_wait = lie_after_three_waits;
    fake_log_start();

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, 10 * MIB), VIO_ERR_GONE);

    bool isolated_first = fake_log_find(FAKE_ISOLATE, 0) < fake_log_find(FAKE_UNMAP, 0);
    virtio_blk_close(&blk);
    fake_platform_assert_quarantined(&platform, DMA_BLOCKS);
    assert_true(isolated_first);
}

static void given_slow_but_moving_device_when_read_then_success_after_two_minutes(void **state)
{
    (void)state;
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 512);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
    platform.wait_us = 10000;
    disk.delay_waits = 2900;
    assert_int_equal(open_disk(), VIO_OK);
    uint64_t start_us = platform.now_us;

    assert_reads(0, 5 * SECTOR);

    assert_true(platform.now_us - start_us > UINT64_C(120000000));
    drop_disk();
}

/* The machine was stopped for an hour; when it goes on, the answer is there. */
static void answer_after_an_hour(struct fake_blk_device *device)
{
    device->platform->now_us += UINT64_C(3600000000);
    fake_blk_device_serve_all(device);
}

static void given_long_pause_when_answer_is_there_then_no_timeout(void **state)
{
    (void)state;
    disk.delay_waits = 1000;
    disk.on_wait = answer_after_an_hour;
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, 10 * MIB);

    drop_disk();
}

/* The machine was stopped for an hour while the device was still at work. */
static void sleep_for_an_hour_once(struct fake_blk_device *device)
{
    if (device->platform->waits == 1)
        device->platform->now_us += UINT64_C(3600000000);
}

static void given_long_pause_when_device_is_still_at_work_then_no_timeout(void **state)
{
    (void)state;
    disk.delay_waits = 20;
    disk.on_wait = sleep_for_an_hour_once;
    assert_int_equal(open_disk(), VIO_OK);

    assert_reads(0, 10 * MIB);

    drop_disk();
}

static void given_short_waits_when_no_answer_then_the_same_deadline(void **state)
{
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_NEVER;
    platform.wait_us = 50;
    uint64_t start_us = platform.now_us;

    assert_int_equal(virtio_blk_write(&blk, 0, buffer, SECTOR), VIO_ERR_TIMEOUT);

    assert_in_range(platform.now_us - start_us, BLK_REQUEST_LIMIT_US, BLK_REQUEST_LIMIT_US + MIB);
    drop_disk();
}

static const struct {
    enum fake_blk_lie lie;
    uint32_t value;
} broken_cases[] = {
    {FAKE_BLK_ID, 128},          {FAKE_BLK_ID, 0xFFFF},      {FAKE_BLK_ID, 0x10000},
    {FAKE_BLK_ID, UINT32_MAX},   {FAKE_BLK_ID, 100},         {FAKE_BLK_ID, 1},
    {FAKE_BLK_ID_TWICE, 0},      {FAKE_BLK_IDX_JUMPS, 100},  {FAKE_BLK_IDX_JUMPS, 65534},
    {FAKE_BLK_IDX_JUMPS, 32768}, {FAKE_BLK_LEN, UINT32_MAX}, {FAKE_BLK_LEN, 4 * MIB + 2},
};

static void given_lie_on_the_queue_when_read_then_broken_and_device_reset(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(broken_cases); i++) {
        fake_blk_device_free(&disk);
        new_disk(DISK_SECTORS);
        assert_int_equal(open_disk(), VIO_OK);
        disk.lie = broken_cases[i].lie;
        disk.lie_value = broken_cases[i].value;
        fake_log_start();

        vio_status status = virtio_blk_read(&blk, 0, buffer, 10 * MIB);

        if (status != VIO_ERR_QUEUE_BROKEN)
            fail_msg("case %u: status %d", i, (int)status);
        assert_non_null(blk.device.failure.what);
        assert_int_equal(disk.transport.status, 0);
        assert_string_equal(blk.failed.verb, "read");
        assert_dead(VIO_ERR_QUEUE_BROKEN);
        drop_disk();
    }
}

static void given_lie_on_the_first_answer_when_read_then_all_buffers_back_after_reset(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    disk.lie = FAKE_BLK_ID;
    disk.lie_value = 128;
    fake_log_start();

    assert_int_equal(virtio_blk_read(&blk, 0, buffer, 10 * MIB), VIO_ERR_QUEUE_BROKEN);

    assert_unmapped_after_reset();
    assert_int_equal(fake_log_count(FAKE_UNMAP), 3);
    assert_true(blk.device.failure.value == 128);
    drop_disk();
}

/* What a device does that goes on after it was reset: nothing of ours is in its reach. */
static void given_closed_disk_when_device_writes_late_then_nothing_is_there(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    assert_int_equal(open_disk(), VIO_OK);
    assert_reads(0, SECTOR);
    fake_log_start();

    virtio_blk_close(&blk);

    size_t confirmed = fake_log_find_last(FAKE_STATUS_READ);
    assert_int_equal(fake_log_at(confirmed)->value, 0);
    assert_true(confirmed < fake_log_find(FAKE_DMA_FREE, 0));
    assert_true(confirmed < fake_log_find(FAKE_FREE, 0));
    fake_platform_assert_no_leaks(&platform);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_plain_disk_when_opened_then_known_and_live),
        TEST(given_topology_when_opened_then_known),
        TEST(given_all_features_offered_when_opened_then_implemented_ones_accepted),
        TEST(given_queue_size_when_opened_then_used_or_refused),
        TEST(given_geometry_when_opened_then_judged_before_features_are_settled),
        TEST(given_declined_feature_when_opened_then_not_accepted_and_not_believed),
        TEST(given_ro_declined_when_written_then_still_read_only),
        TEST(given_version_1_declined_when_opened_then_unsupported),
        TEST(given_too_short_configuration_when_opened_then_device_error),
        TEST(given_failing_bring_up_when_opened_then_left_reset_without_leaks),
        TEST(given_device_gone_when_opened_then_gone_without_leaks),
        TEST(given_stuck_reset_when_opened_then_timeout_and_it_knows_no_memory),
        TEST(given_device_gone_with_its_queue_when_opened_then_memory_quarantined),
        TEST(given_failing_allocation_when_opened_then_no_memory_and_device_left_reset),
        TEST(given_incomplete_seam_when_opened_then_invalid),
        TEST(given_closed_disk_when_opened_again_then_works),
        TEST(given_shut_down_disk_when_used_then_gone_and_nothing_allocated),
        TEST(given_each_block_size_when_read_and_written_then_data_and_sectors_right),
        TEST(given_whole_disk_when_read_and_written_then_all_of_it),
        TEST(given_bad_range_when_read_or_written_then_refused_and_nothing_sent),
        TEST(given_largest_capacity_when_read_at_the_end_then_no_wrap),
        TEST(given_read_only_disk_when_written_or_flushed_then_nothing_sent),
        TEST(given_flush_when_negotiated_then_header_and_status_only),
        TEST(given_no_flush_feature_when_flushed_then_nothing_sent),
        TEST(given_limits_when_read_then_requests_keep_within_them),
        TEST(given_no_room_for_a_block_when_opened_then_the_limit_is_not_accepted),
        TEST(given_queue_too_small_for_a_block_when_opened_then_unsupported),
        TEST(given_small_queue_when_segments_do_not_fit_then_fewer_are_used),
        TEST(given_long_read_when_split_then_three_requests_and_one_notification),
        TEST(given_many_requests_when_device_is_slow_then_the_queue_is_full),
        TEST(given_device_gone_while_its_config_is_read_when_opened_then_gone),
        TEST(given_more_requests_than_descriptors_when_read_then_notified_in_batches),
        TEST(given_few_descriptors_left_when_submitting_then_nothing_is_mapped_in_vain),
        TEST(given_idx_that_moves_when_nothing_is_in_flight_then_read_ends),
        TEST(given_one_batch_when_it_fits_then_one_notification),
        TEST(given_device_that_polls_when_used_then_never_notified),
        TEST(given_shuffled_completions_when_10_mib_copied_then_data_is_whole),
        TEST(given_each_status_byte_when_answered_then_its_status),
        TEST(given_success_with_too_few_bytes_when_read_then_device_error),
        TEST(given_success_with_no_bytes_when_written_or_flushed_then_device_error),
        TEST(given_success_without_data_when_read_then_device_error),
        TEST(given_status_byte_when_never_written_then_no_success),
        TEST(given_device_that_scribbles_when_idle_then_next_requests_are_whole),
        TEST(given_answer_when_judged_then_status_byte_read_once_behind_the_barrier),
        TEST(given_error_in_the_middle_when_read_then_named_and_the_rest_given_back),
        TEST(given_first_of_two_different_errors_when_read_then_it_is_reported),
        TEST(given_map_that_fails_once_when_read_then_tried_again),
        TEST(given_map_that_always_fails_from_nth_when_read_then_no_memory_and_no_leak),
        TEST(given_little_to_map_with_when_read_then_shorter_requests),
        TEST(given_less_than_a_block_to_map_when_read_then_no_memory),
        TEST(given_map_that_fails_when_read_then_the_request_is_named),
        TEST(given_unmap_that_fails_when_read_then_io_error),
        TEST(given_no_answer_when_read_then_timeout_and_buffers_back_after_reset),
        TEST(given_no_answer_when_flushed_then_timeout),
        TEST(given_one_missing_answer_when_written_then_timeout_and_the_disk_goes_on),
        TEST(given_timed_out_disk_when_opened_again_then_works),
        TEST(given_stuck_reset_when_timed_out_then_isolated_and_memory_kept),
        TEST(given_stuck_reset_when_closed_then_isolated_and_memory_kept),
        TEST(given_stuck_reset_when_shut_down_then_isolated),
        TEST(given_needs_reset_when_reading_then_read_again_and_nobody_notices),
        TEST(given_needs_reset_when_waiting_then_noticed_long_before_the_deadline),
        TEST(given_device_gone_when_waiting_then_noticed_long_before_the_deadline),
        TEST(given_device_gone_when_given_up_then_isolated_before_buffers_come_back),
        TEST(given_slow_but_moving_device_when_read_then_success_after_two_minutes),
        TEST(given_long_pause_when_answer_is_there_then_no_timeout),
        TEST(given_long_pause_when_device_is_still_at_work_then_no_timeout),
        TEST(given_short_waits_when_no_answer_then_the_same_deadline),
        TEST(given_lie_on_the_queue_when_read_then_broken_and_device_reset),
        TEST(given_lie_on_the_first_answer_when_read_then_all_buffers_back_after_reset),
        TEST(given_closed_disk_when_device_writes_late_then_nothing_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
