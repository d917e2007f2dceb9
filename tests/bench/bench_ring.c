/*
 * What the driver's side of a ring costs per chain. Each argument is one case; bench_ring.py, which
 * chooses them, runs this twice: under callgrind, which counts the instructions of the library's
 * functions by which of the phases below called them, and natively for the time of each phase.
 *
 * Usage: bench_ring "N_BUFS N_ENTRIES BATCH SIZE N_HELD FEATURES ROUNDS"...
 *   N_BUFS     buffers of a chain, 1 to 3
 *   N_ENTRIES  of an indirect table, 0: no indirect descriptors
 *   BATCH      chains added before one publication, and popped after one look at used idx
 *   N_HELD     chains that the device has besides them all the time
 *   FEATURES   in force, hexadecimal
 * Prints for each case the nanoseconds per chain of add and publish, per batch of notify, and per
 * chain of pop: of all rounds the mean of the middle half, less what reading the clock takes.
 *
 * Each phase is a function that nothing is inlined into or cloned from, so that its name stands in
 * the profile.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <valgrind/callgrind.h>

#include "core/virtqueue.h"
#include "tests/example/example_device.h"

#define BUFS_MAX     3u
#define DATA_BYTES   512u
#define HEADER_BYTES 16u
#define PAGE_BYTES   4096u
#define PHASE        __attribute__((noipa)) static

struct bench_case {
    unsigned n_bufs;
    uint16_t n_entries;
    unsigned batch;
    uint16_t size;
    unsigned n_held;
    uint64_t features;
    unsigned n_rounds;
};

struct bench {
    struct bench_case is;
    struct virtqueue vq;
    struct example_device device;
    struct vio_buffer bufs[BUFS_MAX];
    uint32_t len_expected;
    char *cookies; /* their addresses serve; the device is orderly, so they come back in turn */
    unsigned n_cookies;
    unsigned next_added;
    unsigned next_popped;
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_ring: %s\n", what);
    exit(1);
}

static void *memory_of(size_t bytes)
{
    void *memory = aligned_alloc(PAGE_BYTES, (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);

    if (!memory)
        fail("no memory");
    return memory;
}

static struct vio_dma dma_of(size_t bytes)
{
    void *memory = memory_of(bytes);

    return (struct vio_dma){.memory = memory, .addr = (uintptr_t)memory, .bytes = bytes};
}

/* --- The phases ------------------------------------------------------------------------------ */

PHASE void phase_supply(struct bench *bench, unsigned n_chains)
{
    for (unsigned i = 0; i < n_chains; i++) {
        void *cookie = &bench->cookies[bench->next_added];
        if (virtqueue_add(&bench->vq, bench->bufs, bench->is.n_bufs, cookie) != VIO_OK)
            fail("a chain was not taken");
        if (++bench->next_added == bench->n_cookies)
            bench->next_added = 0;
    }
    virtqueue_publish(&bench->vq);
    if (virtqueue_in_flight(&bench->vq) < n_chains)
        fail("chains went astray");
}

PHASE void phase_notify(struct bench *bench)
{
    if (!virtqueue_notify(&bench->vq))
        fail("the device was not notified");
}

PHASE void phase_device(struct bench *bench, unsigned n_chains)
{
    if (example_device_work(&bench->device, n_chains) != n_chains)
        fail("the device did not find its chains");
}

PHASE void phase_pop(struct bench *bench, unsigned n_chains)
{
    for (unsigned i = 0; i < n_chains; i++) {
        void *cookie;
        uint32_t len;
        if (virtqueue_pop_used(&bench->vq, &cookie, &len) != VIO_OK)
            fail("a chain did not come back");
        if (cookie != &bench->cookies[bench->next_popped] || len != bench->len_expected)
            fail("another chain, or another length, came back");
        if (++bench->next_popped == bench->n_cookies)
            bench->next_popped = 0;
    }
}

PHASE void phase_look(struct bench *bench)
{
    void *cookie;
    uint32_t len;

    if (virtqueue_pop_used(&bench->vq, &cookie, &len) != VIO_EMPTY)
        fail("more came back than the device was given");
}

/* --- One case -------------------------------------------------------------------------------- */

/* As a disk's: a header for the device, then data and a status byte from it. */
static void describe_chain(struct bench *bench)
{
    static const uint32_t lens[BUFS_MAX] = {HEADER_BYTES, DATA_BYTES, 1};

    for (unsigned i = 0; i < bench->is.n_bufs; i++) {
        char *memory = memory_of(lens[i]);
        memset(memory, 'a', lens[i]);
        bench->bufs[i] = (struct vio_buffer){
            .addr = (uintptr_t)memory,
            .len = lens[i],
            .device_writable = i > 0,
        };
    }
    bench->len_expected = bench->is.n_bufs > 1 ? HEADER_BYTES : 0;
}

static void free_chain(struct bench *bench)
{
    for (unsigned i = 0; i < bench->is.n_bufs; i++)
        free((void *)(uintptr_t)bench->bufs[i].addr);
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

/* Of the middle half: unmoved by what interrupted a round, and finer than the clock's step. */
static double typical(uint64_t *times, unsigned n)
{
    uint64_t sum = 0;
    unsigned first = n / 4;
    unsigned end = n - first;

    qsort(times, n, sizeof(*times), compare);
    for (unsigned i = first; i < end; i++)
        sum += times[i];
    return (double)sum / (end - first);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void run_rounds(struct bench *bench)
{
    unsigned n_rounds = bench->is.n_rounds;
    unsigned batch = bench->is.batch;
    uint64_t *times[4];

    for (unsigned i = 0; i < 4; i++)
        times[i] = memory_of(n_rounds * sizeof(*times[i]));
    for (unsigned round = 0; round < n_rounds; round++) {
        uint64_t start = now_ns();
        uint64_t nothing = now_ns();
        phase_supply(bench, batch);
        uint64_t supplied = now_ns();
        phase_notify(bench);
        uint64_t notified = now_ns();
        phase_device(bench, batch);
        uint64_t worked = now_ns();
        phase_pop(bench, batch);
        uint64_t popped = now_ns();
        phase_look(bench);
        times[0][round] = nothing - start;
        times[1][round] = supplied - nothing;
        times[2][round] = notified - supplied;
        times[3][round] = popped - worked;
    }
    double clock = typical(times[0], n_rounds);
    double supply_ns = typical(times[1], n_rounds) - clock;
    double notify_ns = typical(times[2], n_rounds) - clock;
    double pop_ns = typical(times[3], n_rounds) - clock;
    printf("%.2f\t%.2f\t%.2f\n", supply_ns / batch, notify_ns, pop_ns / batch);
    for (unsigned i = 0; i < 4; i++)
        free(times[i]);
}

static void run_case(const struct bench_case *is, const char *name)
{
    static const struct vio_transport_ops ops = {.notify = example_device_notify};
    struct bench bench = {.is = *is, .n_cookies = is->batch + is->n_held};
    const struct vio_transport transport = {.ops = &ops, .context = &bench.device};
    struct vio_dma rings = dma_of(virtqueue_ring_bytes(is->size));
    struct vio_dma tables = dma_of(virtqueue_indirect_bytes(is->size, is->n_entries));
    void *shadow = memory_of(virtqueue_shadow_bytes(is->size));
    const struct virtqueue_config config = {
        .transport = &transport,
        .size = is->size,
        .features = is->features,
        .rings = &rings,
        .shadow = shadow,
        .indirect = is->n_entries ? &tables : NULL,
        .indirect_entries = is->n_entries,
    };

    if (virtqueue_init(&bench.vq, &config) != VIO_OK)
        fail("the queue was not made");
    example_device_attach(&bench.device, is->size, virtqueue_addresses(&bench.vq), is->features);
    bench.cookies = memory_of(bench.n_cookies);
    describe_chain(&bench);
    if (is->n_held) {
        phase_supply(&bench, is->n_held);
        phase_notify(&bench);
    }

    CALLGRIND_ZERO_STATS;
    run_rounds(&bench);
    CALLGRIND_DUMP_STATS_AT(name);

    free_chain(&bench);
    free(bench.cookies);
    free(shadow);
    free(tables.memory);
    free(rings.memory);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct bench_case is;
        if (sscanf(argv[i], "%u %" SCNu16 " %u %" SCNu16 " %u %" SCNx64 " %u", &is.n_bufs,
                   &is.n_entries, &is.batch, &is.size, &is.n_held, &is.features,
                   &is.n_rounds) != 7 ||
            is.n_bufs < 1 || is.n_bufs > BUFS_MAX || is.batch < 1 || is.n_rounds < 1)
            fail("a case is not understood");
        run_case(&is, argv[i]);
    }
    return 0;
}
