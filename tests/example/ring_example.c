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

#include "core/virtqueue.h"
#include "example_device.h"

#define QUEUE_SIZE 16u
#define N_REQUESTS 6u

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

int main(int argc, char **argv)
{
    uint64_t features = EXAMPLE_DEVICE_FEATURES & ~(argc > 1 ? strtoull(argv[1], NULL, 16) : 0);

    /* All that a queue asks of its transport; with a real device it is one register write. */
    struct example_device device;
    const struct vio_transport_ops ops = {.notify = example_device_notify};
    const struct vio_transport transport = {.ops = &ops, .context = &device};

    /* Memory that both sides use. Here a device address is a pointer; elsewhere the bus says. */
    static _Alignas(VIRTQ_DESC_ALIGN) char ring_memory[1024], table_memory[1024];
    struct vio_dma rings = {ring_memory, (uintptr_t)ring_memory, sizeof(ring_memory), NULL};
    struct vio_dma tables = {table_memory, (uintptr_t)table_memory, sizeof(table_memory), NULL};
    const struct virtqueue_config config = {
        .transport = &transport,
        .size = QUEUE_SIZE,
        .features = features,
        .rings = &rings, /* virtqueue_init() refuses a piece that is too small */
        .shadow = malloc(virtqueue_shadow_bytes(QUEUE_SIZE)), /* which the device must not see */
        .indirect = &tables,
        .indirect_entries = 2,
    };
    struct virtqueue vq;
    check(virtqueue_init(&vq, &config) == VIO_OK, "the queue was not made");

    /* The device learns of it; a real one by vio_device_bring_up() (core/device.h). */
    example_device_attach(&device, QUEUE_SIZE, virtqueue_addresses(&vq), features);

    /* A chain for each word: what the device reads, and behind it what the device writes. */
    for (struct request *r = requests; r < requests + N_REQUESTS; r++) {
        const struct vio_buffer chain[] = {
            {.addr = (uintptr_t)r->word, .len = (uint32_t)strlen(r->word)},
            {.addr = (uintptr_t)r->reply, .len = sizeof(r->reply), .device_writable = true}};
        check(virtqueue_add(&vq, chain, 2, r) == VIO_OK, "a chain was not taken");
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
    return EXIT_SUCCESS;
}
