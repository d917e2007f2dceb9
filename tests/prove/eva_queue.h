/** @file
 * The queue that Frama-C's Eva is shown, and its memory. Included once, by one of the two harnesses,
 * behind the sources of the queue.
 * Given by the runner: VQ_SIZE, VQ_FEATURES, VQ_ENTRIES, VQ_DIRECT.
 */
#ifndef TESTS_PROVE_EVA_QUEUE_H
#define TESTS_PROVE_EVA_QUEUE_H

#include "core/virtqueue.h"

#define RING_BYTES  (16 * VQ_SIZE + (6 + 2 * VQ_SIZE + 3) / 4 * 4 + 6 + 8 * VQ_SIZE)
#define TABLE_BYTES (16 * VQ_SIZE * VQ_ENTRIES)

static uint8_t ring_memory[RING_BYTES] __attribute__((aligned(16)));
static uint8_t table_memory[TABLE_BYTES] __attribute__((aligned(16)));
static struct vq_shadow shadow[VQ_SIZE];
static struct virtqueue vq;

/** The harness's. */
static void notify(void *context, uint16_t index, uint16_t avail_idx);

static vio_status make_queue(void)
{
    static const struct vio_transport_ops ops = {.notify = notify};
    static const struct vio_transport transport = {.ops = &ops};
    static const struct vio_dma rings = {
        .memory = ring_memory, .addr = 0x100000, .bytes = RING_BYTES};
    static const struct vio_dma tables = {
        .memory = table_memory, .addr = 0x200000, .bytes = TABLE_BYTES};
    static const struct virtqueue_config config = {
        .transport = &transport,
        .size = VQ_SIZE,
        .features = VQ_FEATURES,
        .rings = &rings,
        .shadow = shadow,
        .indirect = &tables,
        .indirect_entries = VQ_ENTRIES,
        .direct_max = VQ_DIRECT,
    };

    return virtqueue_init(&vq, &config);
}

#endif
