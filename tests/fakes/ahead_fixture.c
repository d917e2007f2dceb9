/* Contract and terms: tests/fakes/ahead_fixture.h. */

#include "tests/fakes/ahead_fixture.h"

#include "devices/blk_spec.h"
#include "tests/fakes/testing.h"

vio_status ahead_ask(struct read_ahead *ahead, uint64_t sector, void *buffer, size_t bytes)
{
    struct virtio_blk_transfer read = {
        .operation = VIRTIO_BLK_READ,
        .sector = sector,
        .buffer = buffer,
        .bytes = bytes,
    };

    return read_ahead_run(ahead, &read);
}

#define WATCHED_MAX 512u

/* A buffer while it is mapped, or a chunk's memory while it is allocated. */
struct watched {
    const uint8_t *memory; /* NULL: free */
    size_t bytes;
    const void *bookkeeping;
};

struct ahead_fixture reader;
static struct watched mappings[WATCHED_MAX];
static struct watched chunks[READ_AHEAD_CHUNKS];
static uint8_t *memory;
static bool is_open;

/* --- The watch -------------------------------------------------------------------------------- */

static void assert_not_mapped(const uint8_t *buffer, size_t bytes)
{
    for (unsigned i = 0; i < WATCHED_MAX; i++) {
        const struct watched *mapping = &mappings[i];
        if (mapping->memory && buffer < mapping->memory + mapping->bytes &&
            mapping->memory < buffer + bytes)
            fail_msg("memory is used that is mapped for the device");
    }
}

static struct watched *find_watched(struct watched *list, unsigned n, const void *wanted)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].memory == wanted)
            return &list[i];
    }
    return NULL;
}

static vio_status watch_map(void *context, void *buffer, size_t bytes, enum vio_direction direction,
                            struct vio_mapping *ret_mapping)
{
    struct fake_platform *fake = context;

    assert_not_mapped(buffer, bytes);
    vio_status status = fake->platform.ops->map(context, buffer, bytes, direction, ret_mapping);
    if (status != VIO_OK)
        return status;
    struct watched *mapping = find_watched(mappings, WATCHED_MAX, NULL);
    assert_non_null(mapping);
    *mapping = (struct watched){buffer, bytes, ret_mapping->bookkeeping};
    return VIO_OK;
}

static vio_status watch_unmap(void *context, struct vio_mapping *mapping)
{
    struct fake_platform *fake = context;

    for (unsigned i = 0; i < WATCHED_MAX; i++) {
        if (mappings[i].memory && mappings[i].bookkeeping == mapping->bookkeeping)
            mappings[i] = (struct watched){0};
    }
    return fake->platform.ops->unmap(context, mapping);
}

static void *watch_alloc(void *context, size_t bytes)
{
    struct fake_platform *fake = context;
    void *new_memory = fake->platform.ops->alloc(context, bytes);

    if (!new_memory || bytes != READ_AHEAD_CHUNK_BYTES_MAX)
        return new_memory;
    struct watched *chunk = find_watched(chunks, READ_AHEAD_CHUNKS, NULL);
    assert_non_null(chunk);
    *chunk = (struct watched){new_memory, bytes, NULL};
    reader.chunk_bytes += bytes;
    if (reader.chunk_bytes_max < reader.chunk_bytes)
        reader.chunk_bytes_max = reader.chunk_bytes;
    assert_true(reader.chunk_bytes <= READ_AHEAD_BYTES_MAX);
    return new_memory;
}

static void watch_free(void *context, void *old_memory, size_t bytes)
{
    struct fake_platform *fake = context;
    struct watched *chunk = find_watched(chunks, READ_AHEAD_CHUNKS, old_memory);

    if (old_memory && chunk) {
        assert_not_mapped(old_memory, bytes);
        reader.chunk_bytes -= bytes;
        *chunk = (struct watched){0};
    }
    fake->platform.ops->free(context, old_memory, bytes);
}

/* Where nobody waits, somebody copies. */
static uint64_t watch_now_us(void *context)
{
    struct fake_platform *fake = context;

    if (reader.waits_seen == fake->waits && reader.requests_seen == reader.device.n_requests)
        fake->now_us += reader.copy_us;
    reader.waits_seen = fake->waits;
    reader.requests_seen = reader.device.n_requests;
    return fake->platform.ops->now_us(context);
}

/* --- A disk and its end ----------------------------------------------------------------------- */

static void watch_platform(void)
{
    static struct vio_platform_ops ops;

    ops = *reader.platform.platform.ops;
    ops.map = watch_map;
    ops.unmap = watch_unmap;
    ops.alloc = watch_alloc;
    ops.free = watch_free;
    ops.now_us = watch_now_us;
    reader.watched = reader.platform.platform;
    reader.watched.ops = &ops;
}

int ahead_set_up(void **state)
{
    (void)state;
    memset(&reader, 0, sizeof(reader));
    memset(mappings, 0, sizeof(mappings));
    memset(chunks, 0, sizeof(chunks));
    fake_platform_init(&reader.platform);
    watch_platform();
    fake_blk_device_init(&reader.device, &reader.platform, AHEAD_DISK_SECTORS);
    memory = malloc(AHEAD_DISK_SECTORS * AHEAD_SECTOR);
    assert_non_null(memory);
    return 0;
}

void ahead_open(void)
{
    assert_int_equal(
        virtio_blk_open(&reader.blk, &reader.device.transport.transport, &reader.watched, 0),
        VIO_OK);
    read_ahead_init(&reader.ahead, &reader.blk);
    is_open = true;
}

void ahead_close(void)
{
    if (!is_open)
        return;
    is_open = false;
    virtio_blk_close(&reader.blk);
    read_ahead_release(&reader.ahead);
}

void ahead_assert_quarantined(unsigned n_chunks)
{
    unsigned n_kept = 0;

    for (unsigned i = 0; i < READ_AHEAD_CHUNKS; i++) {
        if (!chunks[i].memory)
            continue;
        n_kept++;
        reader.watched.ops->free(&reader.platform, (void *)(uintptr_t)chunks[i].memory,
                                 chunks[i].bytes);
    }
    assert_int_equal(n_kept, n_chunks);
    fake_platform_assert_quarantined(&reader.platform, 3);
}

int ahead_tear_down(void **state)
{
    (void)state;
    ahead_close();
    fake_blk_device_free(&reader.device);
    fake_platform_assert_no_leaks(&reader.platform);
    free(memory);
    return 0;
}

/* --- Reading and writing ---------------------------------------------------------------------- */

vio_status ahead_try_read(uint64_t sector, uint64_t n_sectors)
{
    size_t bytes = (size_t)n_sectors * AHEAD_SECTOR;

    assert_true(bytes <= AHEAD_DISK_SECTORS * AHEAD_SECTOR);
    memset(memory, 0x11, bytes);
    reader.n_reads++;
    vio_status status = ahead_ask(&reader.ahead, sector, memory, bytes);
    if (status == VIO_OK && memcmp(memory, reader.device.image + sector * AHEAD_SECTOR, bytes) != 0)
        fail_msg("wrong data at sector %llu, of %llu sectors", (unsigned long long)sector,
                 (unsigned long long)n_sectors);
    return status;
}

void ahead_read(uint64_t sector, uint64_t n_sectors)
{
    assert_int_equal(ahead_try_read(sector, n_sectors), VIO_OK);
}

uint64_t ahead_read_on(uint64_t sector, unsigned n_reads, uint64_t n_sectors)
{
    for (unsigned i = 0; i < n_reads; i++) {
        ahead_read(sector, n_sectors);
        sector += n_sectors;
    }
    return sector;
}

void ahead_write(uint64_t sector, uint64_t n_sectors, uint64_t seed)
{
    size_t bytes = (size_t)n_sectors * AHEAD_SECTOR;
    uint64_t *words = (uint64_t *)(void *)memory;

    for (size_t i = 0; i < bytes / sizeof(*words); i++)
        words[i] = seed + i;
    read_ahead_drop(&reader.ahead);
    assert_int_equal(virtio_blk_write(&reader.blk, sector, memory, bytes), VIO_OK);
    assert_memory_equal(reader.device.image + sector * AHEAD_SECTOR, memory, bytes);
}

uint64_t ahead_end_of_requests(unsigned first)
{
    uint64_t end = 0;

    assert_true(reader.device.n_requests <= FAKE_BLK_RECORDS);
    for (unsigned i = first; i < reader.device.n_requests; i++) {
        const struct fake_blk_request *request = &reader.device.requests[i];
        uint64_t request_end = request->sector + request->data_bytes / AHEAD_SECTOR;
        end = request_end > end ? request_end : end;
    }
    return end;
}
