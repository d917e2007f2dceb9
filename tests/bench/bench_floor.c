/* Contract and terms: tests/bench/bench.h. The ring alone, with a device that is played here. */

#include "core/virtqueue.h"
#include "tests/bench/bench.h"

#define TRIES     50u
#define RING_SIZE 256u
#define BATCH     BENCH_DEPTH_MAX
#define ANY_BYTES 4096u

struct floor {
    struct virtqueue vq;
    struct vio_transport transport;
    struct vio_dma rings;
    UINT8 *memory; /* rings, shadow, and what the chains lead to */
    UINT16 n_answered;
};

static bool floor_make(struct floor *floor)
{
    UINTN ring_bytes = virtqueue_ring_bytes(RING_SIZE);
    UINTN shadow_bytes = virtqueue_shadow_bytes(RING_SIZE);
    EFI_PHYSICAL_ADDRESS address = 0;

    if (EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiBootServicesData,
                                    EFI_SIZE_TO_PAGES(ring_bytes + shadow_bytes + ANY_BYTES),
                                    &address)))
        return false;
    floor->memory = (UINT8 *)(UINTN)address;
    floor->rings = (struct vio_dma){.memory = floor->memory, .addr = address, .bytes = ring_bytes};
    const struct virtqueue_config config = {
        .transport = &floor->transport, /* of which nothing is called without a notification */
        .size = RING_SIZE,
        .features = VIO_FEATURE(VIRTIO_F_EVENT_IDX),
        .rings = &floor->rings,
        .shadow = floor->memory + ring_bytes,
    };
    return virtqueue_init(&floor->vq, &config) == VIO_OK;
}

static void floor_free(struct floor *floor)
{
    UINTN bytes = floor->rings.bytes + virtqueue_shadow_bytes(RING_SIZE) + ANY_BYTES;

    if (floor->memory)
        (void)BS->FreePages((UINTN)floor->memory, EFI_SIZE_TO_PAGES(bytes)); /* allocated above */
}

/* As a device that has read everything at once. */
static void floor_answer(struct floor *floor)
{
    struct virtqueue_addresses at = virtqueue_addresses(&floor->vq);
    struct virtq_avail *avail = (struct virtq_avail *)(UINTN)at.driver_area;
    struct virtq_used *used = (struct virtq_used *)(UINTN)at.device_area;

    for (unsigned i = 0; i < BATCH; i++, floor->n_answered++) {
        struct virtq_used_elem *elem = &used->ring[floor->n_answered % RING_SIZE];
        elem->id = le32_from(le16_to(avail->ring[floor->n_answered % RING_SIZE]));
        elem->len = le32_from(ANY_BYTES + 1);
    }
    used->idx = le16_from(floor->n_answered);
}

/* Header, data, status: the chain of a read. */
static bool floor_give(struct floor *floor)
{
    const dma_addr any = floor->rings.addr;
    struct vio_buffer bufs[] = {
        {.addr = any, .len = 16},
        {.addr = any, .len = ANY_BYTES, .device_writable = true},
        {.addr = any, .len = 1, .device_writable = true},
    };

    for (unsigned i = 0; i < BATCH; i++) {
        if (virtqueue_add(&floor->vq, bufs, 3, floor) != VIO_OK)
            return false;
    }
    virtqueue_publish(&floor->vq);
    return true;
}

static bool floor_take(struct floor *floor)
{
    void *cookie;
    UINT32 used_len;

    for (unsigned i = 0; i < BATCH; i++) {
        if (virtqueue_pop_used(&floor->vq, &cookie, &used_len) != VIO_OK)
            return false;
    }
    return true;
}

UINT64 bench_ring_floor(void)
{
    struct floor floor = {0};
    UINT64 least = UINT64_MAX;
    bool is_ok = floor_make(&floor);

    for (unsigned i = 0; i < TRIES && is_ok; i++) {
        UINT64 begin = bench_now();
        is_ok = floor_give(&floor);
        UINT64 ticks = bench_now() - begin;
        floor_answer(&floor);
        begin = bench_now();
        is_ok = is_ok && floor_take(&floor);
        ticks += bench_now() - begin;
        if (ticks < least)
            least = ticks;
    }
    floor_free(&floor);
    return is_ok ? least / BATCH : 0;
}
