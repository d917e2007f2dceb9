/*
 * Contract and terms: tests/bench/bench.h. The least that a read with a token can cost: the ring, and
 * around it what UEFI asks for in any case. The device is played here, and no time of its is counted.
 */

#include "core/virtqueue.h"
#include "devices/blk_spec.h"
#include "tests/bench/bench.h"

#define TRIES      50u
#define RING_SIZE  256u
#define BATCH      BENCH_DEPTH_MAX
#define READ_BYTES 4096u

/* What the device sees of a read. */
struct floor_slot {
    struct virtio_blk_req_header header;
    UINT8 status;
    EFI_BLOCK_IO2_TOKEN token;
};

struct floor {
    struct virtqueue vq;
    struct vio_transport transport;
    struct vio_dma rings;
    VOID *shadow;
    EFI_BLOCK_IO_MEDIA media;
    struct floor_slot slots[BATCH];
    UINT8 data[READ_BYTES];
    UINT16 n_given, n_answered;
};

/* One of the two that are measured: gives a batch to the ring, or takes one back. */
struct floor_way {
    bool (*give)(struct floor *floor);
    bool (*take)(struct floor *floor);
};

/* --- The ring alone --------------------------------------------------------------------------- */

static bool floor_add(struct floor *floor, struct floor_slot *slot, VOID *data, UINT32 bytes)
{
    const struct vio_buffer bufs[] = {
        {.addr = (UINTN)&slot->header, .len = sizeof(slot->header)},
        {.addr = (UINTN)data, .len = bytes, .device_writable = true},
        {.addr = (UINTN)&slot->status, .len = 1, .device_writable = true},
    };

    return virtqueue_add(&floor->vq, bufs, 3, slot) == VIO_OK;
}

static bool give_chains(struct floor *floor)
{
    for (unsigned i = 0; i < BATCH; i++) {
        if (!floor_add(floor, &floor->slots[i], floor->data, READ_BYTES))
            return false;
    }
    virtqueue_publish(&floor->vq);
    return true;
}

static bool take_chains(struct floor *floor)
{
    VOID *cookie;
    UINT32 used_len;

    for (unsigned i = 0; i < BATCH; i++) {
        if (virtqueue_pop_used(&floor->vq, &cookie, &used_len) != VIO_OK)
            return false;
    }
    return true;
}

/* --- Reads with a token, by a driver that does nothing for itself ------------------------------ */

/* The checks of UEFI 2.10, 13.10, EFI_BLOCK_IO2_PROTOCOL.ReadBlocksEx(). */
static EFI_STATUS EFIAPI floor_read(struct floor *floor, UINT32 media_id, EFI_LBA lba,
                                    EFI_BLOCK_IO2_TOKEN *token, UINTN bytes, VOID *buffer)
{
    const EFI_BLOCK_IO_MEDIA *media = &floor->media;
    struct floor_slot *slot = &floor->slots[floor->n_given % BATCH];

    if (!media->MediaPresent)
        return EFI_NO_MEDIA;
    if (media_id != media->MediaId)
        return EFI_MEDIA_CHANGED;
    if (!token || !token->Event || !buffer)
        return EFI_INVALID_PARAMETER;
    if (bytes % media->BlockSize)
        return EFI_BAD_BUFFER_SIZE;
    if (lba > media->LastBlock || bytes / media->BlockSize - 1 > media->LastBlock - lba)
        return EFI_INVALID_PARAMETER;
    slot->header = (struct virtio_blk_req_header){.type = le32_from(VIRTIO_BLK_T_IN),
                                                  .sector = le64_from(lba)};
    slot->status = 0xFF;
    floor->n_given++;
    return floor_add(floor, slot, buffer, (UINT32)bytes) ? EFI_SUCCESS : EFI_DEVICE_ERROR;
}

/* As whoever has only the protocol calls it. */
static EFI_STATUS(EFIAPI *const volatile floor_read_blocks_ex)(struct floor *, UINT32, EFI_LBA,
                                                               EFI_BLOCK_IO2_TOKEN *, UINTN,
                                                               VOID *) = floor_read;

static bool give_reads(struct floor *floor)
{
    for (unsigned i = 0; i < BATCH; i++) {
        if (EFI_ERROR(floor_read_blocks_ex(floor, floor->media.MediaId, 8 * i,
                                           &floor->slots[i].token, READ_BYTES, floor->data)))
            return false;
    }
    virtqueue_publish(&floor->vq);
    return true;
}

static bool take_reads(struct floor *floor)
{
    VOID *cookie;
    UINT32 used_len;

    for (unsigned i = 0; i < BATCH; i++) {
        if (virtqueue_pop_used(&floor->vq, &cookie, &used_len) != VIO_OK)
            return false;
        struct floor_slot *slot = cookie;
        if (slot->status != VIRTIO_BLK_S_OK || used_len != READ_BYTES + 1)
            return false;
        slot->token.TransactionStatus = EFI_SUCCESS;
        (void)BS->SignalEvent(slot->token.Event); /* always EFI_SUCCESS */
    }
    return true;
}

/* --- The device, and measuring ------------------------------------------------------------------ */

/* As a device that has read everything at once. */
static void floor_answer(struct floor *floor)
{
    struct virtqueue_addresses at = virtqueue_addresses(&floor->vq);
    const struct virtq_avail *avail = (const struct virtq_avail *)(UINTN)at.driver_area;
    struct virtq_used *used = (struct virtq_used *)(UINTN)at.device_area;

    for (unsigned i = 0; i < BATCH; i++, floor->n_answered++) {
        struct virtq_used_elem *elem = &used->ring[floor->n_answered % RING_SIZE];
        elem->id = le32_from(le16_to(avail->ring[floor->n_answered % RING_SIZE]));
        elem->len = le32_from(READ_BYTES + 1);
        floor->slots[i].status = VIRTIO_BLK_S_OK;
    }
    used->idx = le16_from(floor->n_answered);
}

/* Ticks a read; 0: failed. */
static UINT64 floor_measure(struct floor *floor, const struct floor_way *way)
{
    UINT64 least = UINT64_MAX;

    for (unsigned i = 0; i < TRIES; i++) {
        UINT64 begin = bench_now();
        bool given = way->give(floor);
        UINT64 ticks = bench_now() - begin;
        floor_answer(floor);
        begin = bench_now();
        bool taken = given && way->take(floor);
        ticks += bench_now() - begin;
        if (!taken)
            return 0;
        if (ticks < least)
            least = ticks;
    }
    return least / BATCH;
}

static bool floor_make(struct floor *floor, UINT8 *memory)
{
    floor->rings = (struct vio_dma){
        .memory = memory, .addr = (UINTN)memory, .bytes = virtqueue_ring_bytes(RING_SIZE)};
    floor->shadow = memory + floor->rings.bytes;
    floor->media = (EFI_BLOCK_IO_MEDIA){
        .MediaId = 1, .MediaPresent = TRUE, .BlockSize = BENCH_BLOCK_BYTES, .LastBlock = 1u << 20};
    const struct virtqueue_config config = {
        .transport = &floor->transport, /* of which nothing is called without a notification */
        .size = RING_SIZE,
        .features = VIO_FEATURE(VIRTIO_F_EVENT_IDX),
        .rings = &floor->rings,
        .shadow = floor->shadow,
    };

    for (unsigned i = 0; i < BATCH; i++) {
        if (EFI_ERROR(BS->CreateEvent(0, 0, NULL, NULL, &floor->slots[i].token.Event)))
            return false;
    }
    return virtqueue_init(&floor->vq, &config) == VIO_OK;
}

void bench_floor(UINT64 *ret_ring, UINT64 *ret_token)
{
    static const struct floor_way chains = {give_chains, take_chains};
    static const struct floor_way reads = {give_reads, take_reads};
    static struct floor floor;
    UINTN pages = EFI_SIZE_TO_PAGES(virtqueue_ring_bytes(RING_SIZE)) +
                  EFI_SIZE_TO_PAGES(virtqueue_shadow_bytes(RING_SIZE));
    EFI_PHYSICAL_ADDRESS memory = 0;

    *ret_ring = *ret_token = 0;
    if (EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiBootServicesData, pages, &memory)))
        return;
    if (floor_make(&floor, (UINT8 *)(UINTN)memory)) {
        *ret_ring = floor_measure(&floor, &chains);
        *ret_token = floor_measure(&floor, &reads);
    }
    for (unsigned i = 0; i < BATCH && floor.slots[i].token.Event; i++)
        (void)BS->CloseEvent(floor.slots[i].token.Event); /* created above */
    (void)BS->FreePages(memory, pages);                   /* allocated above */
}
