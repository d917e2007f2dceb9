/*
 * The ring core, from memory to results: all that another program needs of it, in order.
 *
 *     cc -I include ring_example.c example_device.c libvirtio.a && ./a.out
 *
 * Six words go through a queue to a device that writes them back in capital letters
 * (example_device.h). An argument declines features: hexadecimal, as a set of VIO_FEATURE() bits.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/virtqueue.h"
#include "example_device.h"

#define N_REQUESTS 6u
#define QUEUE_SIZE 16u
#define CHAIN_BUFS 2u
#define PAGE_BYTES 4096u

/* What a cookie leads to. Word and reply stay where they are until the cookie is back. */
static struct request {
    const char *word, *expected;
    char reply[16];
} requests[N_REQUESTS] = {
    {"ring", "RING", ""},   {"chain", "CHAIN", ""},   {"head", "HEAD", ""},
    {"index", "INDEX", ""}, {"buffer", "BUFFER", ""}, {"available", "AVAILABLE", ""},
};

static void check(bool ok, const char *what)
{
    if (!ok) {
        printf("failed: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

/* Memory that both sides use. Here the device's address is the pointer; elsewhere the bus says. */
static struct vio_dma shared_memory(size_t bytes)
{
    void *memory = aligned_alloc(PAGE_BYTES, (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);

    check(memory != NULL, "no memory");
    return (struct vio_dma){.memory = memory, .addr = (uintptr_t)memory, .bytes = bytes};
}

/* All that a queue asks of its transport; with a real device it is one register write. */
static void notify(void *context, uint16_t index, uint16_t avail_idx)
{
    (void)index;
    (void)avail_idx;
    example_device_notify(context);
}

int main(int argc, char **argv)
{
    uint64_t declined = argc > 1 ? strtoull(argv[1], NULL, 16) : 0;
    uint64_t features = EXAMPLE_DEVICE_FEATURES & VIO_COMMON_FEATURES & ~declined;

    /* A queue: two pieces of memory that the device sees, and one that it must not see. */
    struct example_device device;
    const struct vio_transport_ops ops = {.notify = notify};
    const struct vio_transport transport = {.ops = &ops, .context = &device};
    struct vio_dma rings = shared_memory(virtqueue_ring_bytes(QUEUE_SIZE));
    struct vio_dma tables = shared_memory(virtqueue_indirect_bytes(QUEUE_SIZE, CHAIN_BUFS));
    const struct virtqueue_config config = {
        .transport = &transport,
        .size = QUEUE_SIZE,
        .features = features,
        .rings = &rings,
        .shadow = malloc(virtqueue_shadow_bytes(QUEUE_SIZE)),
        .indirect = &tables,
        .indirect_entries = CHAIN_BUFS,
    };
    struct virtqueue vq;
    check(virtqueue_init(&vq, &config) == VIO_OK, "the queue was not made");

    /* The device learns of it; a real one by vio_device_bring_up() (core/device.h). */
    struct virtqueue_addresses addresses = virtqueue_addresses(&vq);
    example_device_attach(&device, QUEUE_SIZE, &addresses, features);

    /* A chain for each word: what the device reads, and behind it what the device writes. */
    for (struct request *r = requests; r < requests + N_REQUESTS; r++) {
        const struct vio_buffer chain[CHAIN_BUFS] = {
            {.addr = (uintptr_t)r->word, .len = (uint32_t)strlen(r->word)},
            {.addr = (uintptr_t)r->reply, .len = sizeof(r->reply), .device_writable = true}};
        check(virtqueue_add(&vq, chain, CHAIN_BUFS, r) == VIO_OK, "a chain was not taken");
    }
    virtqueue_publish(&vq); /* from here on the chains are the device's */
    virtqueue_notify(&vq);

    /* Where the device works here, a driver sleeps until the interrupt or until its deadline. */
    if (!virtqueue_enable_callbacks(&vq) && device.notified)
        example_device_work(&device, QUEUE_SIZE);

    void *cookie;
    uint32_t len; /* whatever the device says, no more than was writable */
    unsigned n_back = 0;
    for (; virtqueue_pop_used(&vq, &cookie, &len) == VIO_OK; n_back++) {
        const struct request *r = cookie;
        printf("%s -> %.*s\n", r->word, (int)len, r->reply);
        check(len == strlen(r->expected) && !memcmp(r->reply, r->expected, len), "a reply");
    }
    check(n_back == N_REQUESTS, "not all came back (virtqueue_fault() says whether it was a lie)");
    printf("ok: %u chains, %u notification, %u interrupt\n", n_back,
           (unsigned)vq.counters.notifications, (unsigned)device.n_interrupts);

    /* A real device is reset first (vio_device_reset()): until then the memory is also its own. */
    free(config.shadow);
    free(tables.memory);
    free(rings.memory);
    return EXIT_SUCCESS;
}
