/* Contract and terms: tests/bench/bench.h. */

#include "tests/bench/bench.h"

#define WORDS_PER_BLOCK (BENCH_BLOCK_BYTES / sizeof(uint64_t))
#define POISON          0xA5A5A5A5A5A5A5A5u

/* Worked out beforehand, so that nothing but the driver is timed. */
static EFI_LBA lbas[BENCH_OPS_MAX];
static UINT8 *buffers[BENCH_OPS_MAX];

/* --- Where the reads go, and what has to come of them ---------------------------------------- */

static uint64_t mix(uint64_t number)
{
    number ^= number >> 31;
    number *= 0x9E3779B97F4A7C15u;
    return number ^ number >> 29;
}

/*
 * Random reads go to the lower and the upper half of the disk in turn, so that no two of them are
 * neighbours and nothing can be gained by reading ahead.
 */
static uint64_t area_of(const struct bench_line *line, uint64_t op, uint64_t n_areas)
{
    uint64_t half = n_areas / 2;

    if (!line->is_random)
        return op % n_areas;
    return op % 2 ? half + mix(op + 1) % half : mix(op + 1) % (half - 1);
}

static uint64_t n_buffers(const struct bench_line *line)
{
    uint64_t fit = BENCH_POOL_BYTES / line->bytes;

    return line->ops < fit ? line->ops : fit;
}

static bool prepare(struct bench_disk *disk, const struct bench_line *line)
{
    const EFI_BLOCK_IO_MEDIA *media = disk->block_io->Media;
    uint64_t blocks = line->bytes / BENCH_BLOCK_BYTES;

    if (media->BlockSize != BENCH_BLOCK_BYTES || media->LastBlock < line->from_lba)
        return false;
    uint64_t n_areas = (media->LastBlock + 1 - line->from_lba) / blocks;
    if (n_areas < 4)
        return false;
    for (uint64_t op = 0; op < line->ops; op++) {
        lbas[op] = line->from_lba + blocks * area_of(line, op, n_areas);
        buffers[op] = disk->pool + op % n_buffers(line) * line->bytes;
    }
    uint64_t *words = (uint64_t *)(void *)disk->pool;
    for (uint64_t i = 0; i < n_buffers(line) * line->bytes / sizeof(*words); i++)
        words[i] = POISON;
    return true;
}

/* A numbered block holds its number and the number's complement in turn. */
static bool is_block_right(const uint64_t *words, bool is_zeroes, EFI_LBA lba)
{
    uint64_t even = is_zeroes ? 0 : lba, odd = is_zeroes ? 0 : ~lba;

    for (unsigned i = 0; i < WORDS_PER_BLOCK; i += 2) {
        if (words[i] != even || words[i + 1] != odd)
            return false;
    }
    return true;
}

/* All that is still in the pool: every read, or the last of them. */
static enum bench_result verify(const struct bench_line *line)
{
    uint64_t blocks = line->bytes / BENCH_BLOCK_BYTES;

    for (uint64_t op = line->ops - n_buffers(line); op < line->ops; op++) {
        for (uint64_t block = 0; block < blocks; block++) {
            const void *bytes = buffers[op] + block * BENCH_BLOCK_BYTES;
            if (!is_block_right(bytes, line->is_zeroes, lbas[op] + block))
                return BENCH_WRONG;
        }
    }
    return BENCH_OK;
}

static void note_least(struct bench_time *time, uint64_t ticks)
{
    if (time->least == 0 || ticks < time->least)
        time->least = ticks;
}

/* --- One after the other --------------------------------------------------------------------- */

static bool read_blocking(struct bench_disk *disk, const struct bench_line *line,
                          struct bench_time *time)
{
    EFI_BLOCK_IO *block_io = disk->block_io;
    UINT32 media_id = block_io->Media->MediaId;
    uint64_t start = bench_now();

    for (uint64_t op = 0; op < line->ops; op++) {
        uint64_t begin = bench_now();
        if (EFI_ERROR(block_io->ReadBlocks(block_io, media_id, lbas[op], line->bytes, buffers[op])))
            return false;
        note_least(time, bench_now() - begin);
    }
    time->ticks = bench_now() - start;
    return true;
}

/* --- Many at once ---------------------------------------------------------------------------- */

/* Tokens that are free are at the front of `order`, those in flight behind them. */
struct flight {
    EFI_BLOCK_IO2_TOKEN *order[BENCH_DEPTH_MAX];
    uint64_t n_free, next_op, n_done;
    uint64_t busy_ticks; /* in calls, but for those that found nothing: how many of them is luck */
};

/* All within one stretch at TPL_NOTIFY, of which the device hears once, at its end. */
static bool submit(struct bench_disk *disk, const struct bench_line *line, struct flight *flight)
{
    EFI_BLOCK_IO2_PROTOCOL *block_io2 = disk->block_io2;
    UINT32 media_id = block_io2->Media->MediaId;
    EFI_STATUS status = EFI_SUCCESS;

    uint64_t begin = bench_now();
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    while (flight->n_free && flight->next_op < line->ops) {
        EFI_BLOCK_IO2_TOKEN *token = flight->order[flight->n_free - 1];
        token->TransactionStatus = EFI_NOT_READY;
        status = block_io2->ReadBlocksEx(block_io2, media_id, lbas[flight->next_op], token,
                                         line->bytes, buffers[flight->next_op]);
        if (EFI_ERROR(status))
            break;
        flight->n_free--;
        flight->next_op++;
    }
    BS->RestoreTPL(old_tpl);
    flight->busy_ticks += bench_now() - begin;
    return !EFI_ERROR(status);
}

static bool reap(struct flight *flight, uint64_t depth)
{
    for (uint64_t i = flight->n_free; i < depth; i++) {
        EFI_BLOCK_IO2_TOKEN *token = flight->order[i];
        if (token->TransactionStatus == EFI_NOT_READY)
            continue;
        if (EFI_ERROR(token->TransactionStatus))
            return false;
        flight->order[i] = flight->order[flight->n_free];
        flight->order[flight->n_free++] = token;
        flight->n_done++;
    }
    return true;
}

/* A read of nothing succeeds at once, and lets the driver look for what is done. */
static bool poll(struct bench_disk *disk, const struct bench_line *line, struct flight *flight)
{
    EFI_BLOCK_IO2_PROTOCOL *block_io2 = disk->block_io2;
    UINT32 media_id = block_io2->Media->MediaId;
    uint64_t n_in_flight = line->depth - flight->n_free;
    uint64_t n_wanted = line->reap < n_in_flight ? line->reap : n_in_flight;

    for (uint64_t until = flight->n_done + n_wanted; flight->n_done < until;) {
        uint64_t begin = bench_now(), n_before = flight->n_done;
        EFI_STATUS status = block_io2->ReadBlocksEx(block_io2, media_id, 0, NULL, 0, disk->pool);
        uint64_t ticks = bench_now() - begin;
        if (EFI_ERROR(status) || !reap(flight, line->depth))
            return false;
        if (flight->n_done != n_before)
            flight->busy_ticks += ticks;
    }
    return true;
}

static bool read_many(struct bench_disk *disk, const struct bench_line *line,
                      struct bench_time *time)
{
    struct flight flight = {.n_free = line->depth};

    for (uint64_t i = 0; i < line->depth; i++)
        flight.order[i] = &disk->tokens[i];
    uint64_t start = bench_now();
    while (flight.n_done < line->ops) {
        uint64_t n_before = flight.n_done;
        bool is_whole_batch = flight.n_free == line->depth;
        flight.busy_ticks = 0;
        if (!submit(disk, line, &flight) || !poll(disk, line, &flight))
            return false;
        if (is_whole_batch && flight.n_free == line->depth)
            note_least(time, flight.busy_ticks / (flight.n_done - n_before));
    }
    time->ticks = bench_now() - start;
    return true;
}

/* Each token's event has been signalled: a caller that waits for it would have woken up. */
static bool are_events_signalled(struct bench_disk *disk, uint64_t depth)
{
    for (uint64_t i = 0; i < depth; i++) {
        if (EFI_ERROR(BS->CheckEvent(disk->tokens[i].Event)))
            return false;
    }
    return true;
}

enum bench_result bench_read(struct bench_disk *disk, const struct bench_line *line,
                             struct bench_time *ret_time)
{
    bool is_async = line->api == BENCH_BLOCK_IO2;

    *ret_time = (struct bench_time){0};
    if (!disk->block_io || (is_async && !disk->block_io2))
        return BENCH_ABSENT;
    if (!prepare(disk, line))
        return BENCH_FAILED;
    if (is_async ? !read_many(disk, line, ret_time) : !read_blocking(disk, line, ret_time))
        return BENCH_FAILED;
    if (is_async && !are_events_signalled(disk, line->depth))
        return BENCH_FAILED;
    return verify(line);
}
