/* Contract and terms: devices/read_ahead.h. */

#include "devices/read_ahead.h"

#include "core/mem.h"
#include "devices/blk_spec.h"

/* Reads that continue the one before until they count as a stream. */
#define AHEAD_CONTINUED_MIN 2u

/*
 * How far ahead a stream begins, and the least that one request asks for: a short stream, such as a
 * directory, costs one request more than it needs, and no more of them.
 */
#define AHEAD_WINDOW_BYTES_MIN  (64u << 10)
#define AHEAD_CHUNK_BYTES_MIN   (64u << 10)
#define AHEAD_CHUNKS_PER_WINDOW 4u

/*
 * Of shorter reads many become one request. Longer ones are weighed: what copies of them take, as the
 * least of what 64 KiB took, against what the device takes. Before so many copies there is no
 * judgement, and nobody is so far ahead that much would have been read for nothing.
 */
#define AHEAD_WEIGHED_BYTES_MIN    (32u << 10)
#define AHEAD_WEIGHED_UNIT_BYTES   (64u << 10)
#define AHEAD_WEIGHED_COPIES       4u
#define AHEAD_WEIGHED_WINDOW_BYTES (256u << 10)

/* A device that has become slower is believed when that many reads in a row were slower. */
#define AHEAD_WEIGHED_DIRECT 4u

/* What must not make the way of a random read longer. */
#define AHEAD_ASIDE static __attribute__((noinline))

void read_ahead_init(struct read_ahead *ahead, struct virtio_blk *blk)
{
    *ahead = (struct read_ahead){
        .blk = blk,
        .next_sector = UINT64_MAX,
        .stream_sector = UINT64_MAX,
        .copied_us = UINT64_MAX,
        .direct_us = UINT64_MAX,
        .direct_since_us = UINT64_MAX,
    };
}

static uint64_t ahead_now_us(const struct read_ahead *ahead)
{
    return ahead->blk->platform.ops->now_us(ahead->blk->platform.context);
}

static struct virtio_blk_transfer *ahead_chunk(struct read_ahead *ahead, unsigned n)
{
    return &ahead->chunks[(ahead->first + n) % READ_AHEAD_CHUNKS];
}

static void ahead_pop(struct read_ahead *ahead)
{
    ahead->n_chunks--;
    /* From the start when that was all: if memory is short, that is where some is. */
    ahead->first = ahead->n_chunks ? (ahead->first + 1) % READ_AHEAD_CHUNKS : 0;
}

void read_ahead_drop(struct read_ahead *ahead)
{
    ahead->is_dropped = true;
    ahead->n_continued = 0;
    ahead->next_sector = UINT64_MAX;
    ahead->stream_sector = UINT64_MAX;
}

/* Of what was dropped: memory that the device may still write to waits for its turn. */
static bool ahead_is_empty(struct read_ahead *ahead)
{
    (void)virtio_blk_poll(ahead->blk); /* what was answered is seen from what is done */
    while (ahead->n_chunks) {
        if (!ahead_chunk(ahead, 0)->done)
            return false;
        ahead_pop(ahead);
    }
    return true;
}

/* --- What was read ahead ---------------------------------------------------------------------- */

static uint64_t ahead_end_of(const struct virtio_blk_transfer *chunk)
{
    return chunk->sector + chunk->bytes / VIRTIO_BLK_SECTOR_BYTES;
}

/* The chunk that holds the sector; those in front of it, which the stream has passed, are over. */
static struct virtio_blk_transfer *ahead_find(struct read_ahead *ahead, uint64_t sector)
{
    if (ahead->is_dropped || ahead->n_chunks == 0 || sector >= ahead->end_sector ||
        sector < ahead_chunk(ahead, 0)->sector)
        return NULL;
    for (;;) {
        struct virtio_blk_transfer *chunk = ahead_chunk(ahead, 0);
        if (sector < ahead_end_of(chunk))
            return chunk;
        /* Passed over before it came: its memory is not free yet, and this is no stream. */
        if (!chunk->done) {
            read_ahead_drop(ahead);
            return NULL;
        }
        ahead_pop(ahead);
    }
}

static void ahead_widen(struct read_ahead *ahead)
{
    if (ahead->window_bytes < READ_AHEAD_BYTES_MAX)
        ahead->window_bytes *= 2;
}

static void ahead_copy(struct read_ahead *ahead, uint8_t *to, const uint8_t *from, size_t bytes)
{
    uint64_t start_us = ahead->is_weighed ? ahead_now_us(ahead) : 0;

    vio_mem_copy(to, from, bytes);
    if (ahead->is_weighed)
        ahead->copying_us += ahead_now_us(ahead) - start_us;
}

/* As much as one chunk holds; 0: nothing. */
static size_t ahead_take(struct read_ahead *ahead, uint64_t sector, uint8_t *buffer, size_t bytes)
{
    const struct virtio_blk_transfer *chunk = ahead_find(ahead, sector);

    if (!chunk)
        return 0;
    vio_status status = chunk->done ? chunk->status : virtio_blk_wait(ahead->blk, chunk);
    if (status != VIO_OK) {
        read_ahead_drop(ahead);
        return 0;
    }
    uint64_t skipped = (sector - chunk->sector) * VIRTIO_BLK_SECTOR_BYTES;
    size_t taken = (size_t)(chunk->bytes - skipped);
    if (taken > bytes)
        taken = bytes;
    ahead_copy(ahead, buffer, (const uint8_t *)chunk->buffer + skipped, taken);
    if (skipped + taken == chunk->bytes) {
        ahead_pop(ahead);
        ahead_widen(ahead);
    }
    return taken;
}

/* --- Reading ahead ---------------------------------------------------------------------------- */

static uint32_t ahead_chunk_bytes(const struct read_ahead *ahead)
{
    uint32_t bytes = ahead->window_bytes / AHEAD_CHUNKS_PER_WINDOW;
    uint32_t block = ahead->blk->info.block_bytes;

    if (bytes < AHEAD_CHUNK_BYTES_MIN)
        bytes = AHEAD_CHUNK_BYTES_MIN;
    if (bytes > READ_AHEAD_CHUNK_BYTES_MAX)
        bytes = READ_AHEAD_CHUNK_BYTES_MAX;
    return bytes - bytes % block;
}

static bool ahead_submit(struct read_ahead *ahead, uint32_t bytes)
{
    struct virtio_blk *blk = ahead->blk;
    struct virtio_blk_transfer *transfer = ahead_chunk(ahead, ahead->n_chunks);
    void *memory = transfer->buffer;

    if (!memory)
        memory = blk->platform.ops->alloc(blk->platform.context, READ_AHEAD_CHUNK_BYTES_MAX);
    *transfer = (struct virtio_blk_transfer){
        .operation = VIRTIO_BLK_READ,
        .sector = ahead->end_sector,
        .buffer = memory,
        .bytes = bytes,
        .is_guess = true,
    };
    if (!memory || virtio_blk_submit(blk, transfer) != VIO_OK)
        return false;
    ahead->n_chunks++;
    ahead->end_sector += bytes / VIRTIO_BLK_SECTOR_BYTES;
    return true;
}

/* As far ahead as the window says. Whole chunks only, so that small reads are not small requests. */
static void ahead_top_up(struct read_ahead *ahead)
{
    uint32_t bytes = ahead_chunk_bytes(ahead);
    uint64_t capacity = ahead->blk->info.capacity_sectors;
    bool added = false;

    while (bytes && ahead->n_chunks < READ_AHEAD_CHUNKS && ahead->end_sector < capacity &&
           (ahead->end_sector - ahead->stream_sector) * VIRTIO_BLK_SECTOR_BYTES + bytes <=
               ahead->window_bytes) {
        uint64_t left = (capacity - ahead->end_sector) * VIRTIO_BLK_SECTOR_BYTES;
        if (!ahead_submit(ahead, left < bytes ? (uint32_t)left : bytes))
            break;
        added = true;
    }
    if (added)
        virtio_blk_publish(ahead->blk);
}

/* --- Whether it is worth while ---------------------------------------------------------------- */

/* The least counts, which no pause of the machine makes longer. */
static void ahead_weigh_copy(struct read_ahead *ahead, uint64_t bytes, uint64_t took_us)
{
    uint64_t unit_us = took_us * AHEAD_WEIGHED_UNIT_BYTES / bytes;

    if (unit_us < ahead->copied_us)
        ahead->copied_us = unit_us;
    if (ahead->n_copied < AHEAD_WEIGHED_COPIES)
        ahead->n_copied++;
}

static void ahead_weigh_direct(struct read_ahead *ahead, uint64_t took_us)
{
    if (took_us < ahead->direct_since_us)
        ahead->direct_since_us = took_us;
    if (++ahead->n_direct_since < AHEAD_WEIGHED_DIRECT &&
        ahead->direct_since_us >= ahead->direct_us)
        return;
    ahead->direct_us = ahead->direct_since_us;
    ahead->direct_since_us = UINT64_MAX;
    ahead->n_direct_since = 0;
}

/*
 * The copy is not all: there are the requests, and the farther ahead, the less of what was read is
 * still in the processor's cache.
 */
static bool ahead_is_slower(const struct read_ahead *ahead, size_t bytes)
{
    return bytes >= AHEAD_WEIGHED_BYTES_MIN && ahead->n_copied == AHEAD_WEIGHED_COPIES &&
           ahead->copied_us * bytes / AHEAD_WEIGHED_UNIT_BYTES > ahead->direct_us / 2;
}

/* --- Streams ---------------------------------------------------------------------------------- */

/* Whether the read goes on where the stream is, whatever was read in between; or begins one. */
static bool ahead_is_stream(struct read_ahead *ahead, uint64_t sector, size_t bytes)
{
    bool goes_on = !ahead->is_dropped && sector == ahead->stream_sector;

    ahead->n_continued = sector == ahead->next_sector ? ahead->n_continued + 1 : 0;
    ahead->next_sector = sector + bytes / VIRTIO_BLK_SECTOR_BYTES;
    if (!goes_on && ahead->n_continued < AHEAD_CONTINUED_MIN)
        return false;
    ahead->stream_sector = ahead->next_sector;
    return bytes < READ_AHEAD_BYPASS_BYTES && !ahead_is_slower(ahead, bytes);
}

static bool ahead_covers(struct read_ahead *ahead)
{
    if (ahead->is_dropped || ahead->end_sector < ahead->stream_sector)
        return false;
    return ahead->n_chunks ? ahead_chunk(ahead, 0)->sector <= ahead->stream_sector
                           : ahead->end_sector == ahead->stream_sector;
}

/*
 * A stream that is not where was read ahead begins anew where it is, as soon as memory is free. The
 * window holds two of its reads at least: one that is served, and one on its way.
 */
static bool ahead_prepare(struct read_ahead *ahead, size_t bytes)
{
    if (!ahead_covers(ahead)) {
        ahead->is_dropped = true;
        if (!ahead_is_empty(ahead))
            return false;
        ahead->is_dropped = false;
        ahead->end_sector = ahead->stream_sector;
        ahead->window_bytes = AHEAD_WINDOW_BYTES_MIN;
    }
    while (ahead->window_bytes < 2 * bytes)
        ahead_widen(ahead);
    return true;
}

/* What is there of the transfer's beginning; the transfer is what remains. */
static void ahead_serve(struct read_ahead *ahead, struct virtio_blk_transfer *transfer)
{
    size_t taken;

    while (transfer->bytes && (taken = ahead_take(ahead, transfer->sector, transfer->buffer,
                                                  (size_t)transfer->bytes)) != 0) {
        transfer->buffer = (uint8_t *)transfer->buffer + taken;
        transfer->bytes -= taken;
        transfer->sector += taken / VIRTIO_BLK_SECTOR_BYTES;
    }
}

static bool ahead_is_whole(const struct read_ahead *ahead, const struct virtio_blk_transfer *read)
{
    uint32_t block = ahead->blk->info.block_bytes;

    return (read->bytes & (block - 1)) == 0 &&
           (read->sector & (block / VIRTIO_BLK_SECTOR_BYTES - 1)) == 0;
}

static vio_status ahead_read(struct read_ahead *ahead, struct virtio_blk_transfer *read)
{
    size_t bytes = (size_t)read->bytes;

    /* What the disk would refuse is not served either, nor anything of a disk that is out of use. */
    if (ahead->n_chunks && ahead->blk->dead == VIO_OK && ahead_is_whole(ahead, read))
        ahead_serve(ahead, read);
    if (read->bytes || bytes == 0)
        return virtio_blk_run(ahead->blk, read);
    virtio_blk_forget_failure(ahead->blk);
    return VIO_OK;
}

static vio_status ahead_read_weighed(struct read_ahead *ahead, struct virtio_blk_transfer *read)
{
    size_t bytes = (size_t)read->bytes;
    uint64_t start_us = ahead_now_us(ahead);

    ahead->copying_us = 0;
    ahead->is_weighed = true;
    vio_status status = ahead_read(ahead, read);
    ahead->is_weighed = false;
    /* What was there in part says nothing. */
    if (status == VIO_OK && read->bytes == 0)
        ahead_weigh_copy(ahead, bytes, ahead->copying_us);
    else if (status == VIO_OK && read->bytes == bytes)
        ahead_weigh_direct(ahead, ahead_now_us(ahead) - start_us);
    return status;
}

/* Where something may be there already, or is weighed. */
AHEAD_ASIDE vio_status ahead_read_with_care(struct read_ahead *ahead,
                                            struct virtio_blk_transfer *read)
{
    bool is_weighed =
        read->bytes >= AHEAD_WEIGHED_BYTES_MIN && read->bytes < READ_AHEAD_BYPASS_BYTES;

    return is_weighed ? ahead_read_weighed(ahead, read) : ahead_read(ahead, read);
}

static bool ahead_is_judged(const struct read_ahead *ahead, size_t bytes)
{
    return bytes < AHEAD_WEIGHED_BYTES_MIN || ahead->n_copied == AHEAD_WEIGHED_COPIES;
}

AHEAD_ASIDE void ahead_go_on(struct read_ahead *ahead, size_t bytes)
{
    if (!ahead_is_judged(ahead, bytes) && ahead->window_bytes > AHEAD_WEIGHED_WINDOW_BYTES)
        ahead->window_bytes = AHEAD_WEIGHED_WINDOW_BYTES;
    if (ahead_prepare(ahead, bytes))
        ahead_top_up(ahead);
}

vio_status read_ahead_run(struct read_ahead *ahead, struct virtio_blk_transfer *read)
{
    uint64_t sector = read->sector;
    size_t bytes = (size_t)read->bytes;

    vio_status status = ahead->n_chunks == 0 && bytes < AHEAD_WEIGHED_BYTES_MIN
                            ? virtio_blk_run(ahead->blk, read)
                            : ahead_read_with_care(ahead, read);
    /* What the disk does nothing for is no part of a stream. */
    if (status == VIO_OK && bytes && ahead_is_stream(ahead, sector, bytes))
        ahead_go_on(ahead, bytes);
    return status;
}

void read_ahead_release(struct read_ahead *ahead)
{
    struct virtio_blk *blk = ahead->blk;

    for (unsigned i = 0; i < READ_AHEAD_CHUNKS && !blk->quarantined; i++)
        blk->platform.ops->free(blk->platform.context, ahead->chunks[i].buffer,
                                READ_AHEAD_CHUNK_BYTES_MAX);
    *ahead = (struct read_ahead){.blk = blk};
}
