/* Contract and terms: tests/fakes/lying_disk.h. */

#include "tests/fakes/lying_disk.h"

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/lying_disk_private.h"
#include "tests/fakes/testing.h"

#define MANY_BYTES    (48u * 1024)
#define BLOCK_MAX     (32u * 1024)
#define SLACK_US      200000u /* between a limit and the clock's next look at it */
#define BUFFER_FILLER 0x11

/* One use of the disk: which blocks, and the memory for them. */
struct use {
    enum disk_use kind;
    uint64_t sector;
    size_t bytes;
    uint8_t *buffer;
    unsigned first_request;
};

static bool use_reads(const struct use *use)
{
    return use->kind == DISK_READ_BLOCK || use->kind == DISK_READ_MANY;
}

/* False for blocks too large to be worth a test's time. */
static bool choose_blocks(const struct disk_driver *driver, const void *driven, struct use *use)
{
    uint32_t block = driver->block_bytes(driven);
    uint64_t sectors = driver->capacity_sectors(driven);
    uint32_t block_sectors = block / VIRTIO_BLK_SECTOR_BYTES;

    if (block > BLOCK_MAX)
        return false;
    if (sectors > LYING_DISK_SECTORS)
        sectors = LYING_DISK_SECTORS;
    if (sectors >= 2 * block_sectors)
        use->sector = block_sectors;
    use->bytes = block;
    if (use->kind == DISK_READ_MANY || use->kind == DISK_WRITE_MANY) {
        use->bytes = (size_t)(sectors - use->sector) * VIRTIO_BLK_SECTOR_BYTES;
        if (use->bytes > MANY_BYTES)
            use->bytes = MANY_BYTES;
        use->bytes -= use->bytes % block;
    }
    return true;
}

static vio_status run_use(const struct disk_driver *driver, void *driven, const struct use *use)
{
    switch (use->kind) {
    case DISK_READ_BLOCK:
    case DISK_READ_MANY:
        return driver->read(driven, use->sector, use->buffer, use->bytes);
    case DISK_WRITE_BLOCK:
    case DISK_WRITE_MANY:
        return driver->write(driven, use->sector, use->buffer, use->bytes);
    default:
        return driver->flush(driven);
    }
}

/* The driver reports success: it was told so, of every byte. */
static void check_success(const struct lying_disk *disk, const struct use *use)
{
    bool in_order = disk->honest.transport.accepted & VIO_FEATURE(VIRTIO_F_IN_ORDER);
    uint64_t bytes = 0;

    for (unsigned i = use->first_request; i < disk->honest.n_requests; i++) {
        const struct told *told = &disk->told[i];
        uint64_t data_bytes = disk->honest.requests[i].data_bytes;
        if (!told->has_status || told->status != VIRTIO_BLK_S_OK)
            fail_msg("success, and the status of request %u is %d, told: %d", i, told->status,
                     told->has_status);
        /* 2.7.9: an element that is left out says that all was written. */
        if (!told->has_len && !in_order)
            fail_msg("success, and request %u was not returned", i);
        if (told->has_len && told->len < 1 + (use_reads(use) ? data_bytes : 0))
            fail_msg("success, and request %u has a len of %u", i, told->len);
        bytes += data_bytes;
    }
    if (use->kind == DISK_FLUSH) {
        bool read_only = disk->honest.transport.offered & VIO_FEATURE(VIRTIO_BLK_F_RO);
        bool can = disk->honest.transport.accepted & VIO_FEATURE(VIRTIO_BLK_F_FLUSH);
        assert_true(!can || read_only || disk->honest.n_requests == use->first_request + 1);
        return;
    }
    assert_true(bytes == use->bytes);
    assert_memory_equal(use->buffer, disk->honest.image + use->sector * VIRTIO_BLK_SECTOR_BYTES,
                        use->bytes);
}

/* What lies beyond the end is refused without asking the device, also where a sum would wrap. */
static void check_range(struct lying_disk *disk, const struct disk_driver *driver, void *driven)
{
    uint32_t block = driver->block_bytes(driven);
    uint64_t block_sectors = block / VIRTIO_BLK_SECTOR_BYTES;
    uint64_t capacity = driver->capacity_sectors(driven);
    unsigned n_requests = disk->honest.n_requests;
    uint8_t byte;

    assert_true(capacity == disk->honest.sectors);
    assert_int_equal(driver->read(driven, capacity, &byte, block), VIO_ERR_RANGE);
    assert_int_equal(driver->read(driven, capacity - block_sectors, &byte, 2 * (size_t)block),
                     VIO_ERR_RANGE);
    assert_int_equal(driver->read(driven, 0 - block_sectors, &byte, block), VIO_ERR_RANGE);
    lying_disk_serve(disk);
    assert_int_equal(disk->honest.n_requests, n_requests);
}

/* A device that has let the driver down once is asked for nothing any more. */
static void check_dead(struct lying_disk *disk, const struct disk_driver *driver, void *driven,
                       const struct use *use, vio_status why)
{
    unsigned n_requests = disk->honest.n_requests;

    if (why != VIO_ERR_TIMEOUT && why != VIO_ERR_NEEDS_RESET && why != VIO_ERR_GONE &&
        why != VIO_ERR_QUEUE_BROKEN)
        return;
    assert_false(disk->may_write);
    assert_int_not_equal(run_use(driver, driven, use), VIO_OK);
    lying_disk_serve(disk);
    assert_int_equal(disk->honest.n_requests, n_requests);
}

static bool has_words(vio_status status)
{
    return status != VIO_OK && status != VIO_ERR_INVALID && status != VIO_ERR_RANGE &&
           status != VIO_ERR_READ_ONLY;
}

/* Each failure that is not the caller's has words; those of the first are kept. */
static void explain(const struct disk_driver *driver, const void *driven, vio_status status,
                    struct disk_outcome *outcome)
{
    uint64_t value;
    const char *text = driver->explain(driven, &value);

    if (!has_words(status))
        return;
    assert_non_null(text);
    assert_true(text[0] != '\0');
    if (outcome->text[0])
        return;
    snprintf(outcome->text, sizeof(outcome->text), "%s", text);
    outcome->value = value;
}

static void close_disk(struct lying_disk *disk, const struct disk_driver *driver, void *driven)
{
    uint64_t start_us = disk->fake.now_us;

    driver->close(driven);
    assert_true(disk->fake.now_us - start_us <= DISK_DRIVER_RESET_LIMIT_US + SLACK_US);
}

static vio_status use_once(struct lying_disk *disk, const struct disk_driver *driver, void *driven,
                           struct use *use)
{
    use->first_request = disk->honest.n_requests;
    uint64_t start_us = disk->fake.now_us;

    vio_status status = run_use(driver, driven, use);

    uint64_t n_waits = 1u + disk->honest.n_requests - use->first_request;
    assert_true(disk->fake.now_us - start_us <=
                n_waits * DISK_DRIVER_REQUEST_LIMIT_US + DISK_DRIVER_RESET_LIMIT_US + SLACK_US);
    if (status == VIO_OK)
        check_success(disk, use);
    else
        check_dead(disk, driver, driven, use, status);
    return status;
}

static void use_disk(struct lying_disk *disk, const struct disk_driver *driver, void *driven,
                     const struct disk_script *script, struct disk_outcome *outcome)
{
    struct use use = {.kind = script->use};

    check_range(disk, driver, driven);
    if (use.kind != DISK_FLUSH && !choose_blocks(driver, driven, &use))
        return;
    outcome->was_used = true;
    /* Of exactly this size, so that a byte behind it is noticed. */
    use.buffer = malloc(use.bytes ? use.bytes : 1);
    assert_non_null(use.buffer);
    for (unsigned i = 0; i <= script->repeats; i++) {
        memset(use.buffer, BUFFER_FILLER + (int)i, use.bytes);
        outcome->used_last = use_once(disk, driver, driven, &use);
        explain(driver, driven, outcome->used_last, outcome);
        if (i == 0)
            outcome->used = outcome->used_last;
    }
    free(use.buffer);
}

void disk_script_play(const struct disk_script *script, struct disk_outcome *ret_outcome)
{
    static struct lying_disk disk; /* too large for a stack */
    const struct disk_driver *driver = disk_driver_under_test();
    void *driven = malloc(driver->disk_bytes);
    struct disk_outcome outcome = {0};

    assert_non_null(driven);
    memset(driven, 0xA5, driver->disk_bytes);
    lying_disk_init(&disk, script);
    uint64_t start_us = disk.fake.now_us;

    outcome.opened = driver->open(driven, &disk.transport, &disk.platform);
    assert_true(disk.fake.now_us - start_us <= 2 * DISK_DRIVER_RESET_LIMIT_US + SLACK_US);
    if (outcome.opened == VIO_OK) {
        outcome.capacity_sectors = driver->capacity_sectors(driven);
        use_disk(&disk, driver, driven, script, &outcome);
        outcome.took_us = disk.fake.now_us - start_us;
        close_disk(&disk, driver, driven);
    } else {
        outcome.took_us = disk.fake.now_us - start_us;
        assert_int_equal(disk.honest.n_requests, 0);
        explain(driver, driven, outcome.opened, &outcome);
    }
    lying_disk_end(&disk);
    outcome.isolated = disk.isolated;
    outcome.n_untold =
        lies_untold(&disk.lies) + (script->fail_nth > disk.fake.calls[script->fail_call]);
    free(driven);
    *ret_outcome = outcome;
}

size_t disk_script_write(const struct disk_script *script, uint8_t ret_bytes[DISK_SCRIPT_BYTES_MAX])
{
    ret_bytes[0] = script->use;
    ret_bytes[1] = script->fail_call;
    ret_bytes[2] = script->fail_nth;
    ret_bytes[3] = script->repeats;
    return 4 + lies_write(script->lies, ret_bytes + 4);
}

void disk_script_read(const uint8_t *bytes, size_t n_bytes, struct disk_script *ret_script)
{
    uint8_t head[4] = {0};
    size_t n_head = n_bytes < sizeof(head) ? n_bytes : sizeof(head);

    memcpy(head, bytes, n_head);
    *ret_script = (struct disk_script){
        .use = head[0] % DISK_USES,
        .fail_call = head[1] % FAKE_CALL_KINDS,
        .fail_nth = head[2],
        .repeats = head[3] % (DISK_REPEATS_MAX + 1),
    };
    lies_read(bytes + n_head, n_bytes - n_head, ret_script->lies);
}
