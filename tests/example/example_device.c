/* Contract and terms: tests/example/example_device.h. */

#include "example_device.h"

#include "core/mem.h"

/* What was read of a chain, in capital letters already, and how much of that was written back. */
struct text {
    char letters[EXAMPLE_DEVICE_TEXT_BYTES];
    uint32_t n_read;
    uint32_t n_written;
};

/* What the links of a chain stay within: the queue's descriptors, or those of an indirect table. */
struct table {
    const struct virtq_desc *desc;
    uint32_t n_entries;
};

static void *at_address(dma_addr addr)
{
    return (void *)(uintptr_t)addr;
}

static bool has(const struct example_device *device, unsigned feature_bit)
{
    return (device->features & VIO_FEATURE(feature_bit)) != 0;
}

static bool platform_order(const struct example_device *device)
{
    return has(device, VIRTIO_F_ORDER_PLATFORM);
}

void example_device_attach(struct example_device *device, uint16_t size,
                           struct virtqueue_addresses addresses, uint64_t features)
{
    *device = (struct example_device){
        .desc = at_address(addresses.descriptor_area),
        .avail = at_address(addresses.driver_area),
        .used = at_address(addresses.device_area),
        .features = features,
        .size = size,
    };
}

void example_device_notify(void *context, uint16_t index, uint16_t avail_idx)
{
    struct example_device *device = context;

    (void)index;
    (void)avail_idx;
    device->notified = true;
    device->n_notifications++;
}

/* --- One chain ------------------------------------------------------------------------------- */

static void read_letters(struct text *text, const char *from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes && text->n_read < sizeof(text->letters); i++) {
        char letter = from[i];
        bool is_small = letter >= 'a' && letter <= 'z';
        text->letters[text->n_read++] = (char)(is_small ? letter - 'a' + 'A' : letter);
    }
}

static void write_letters(struct text *text, char *to, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes && text->n_written < text->n_read; i++)
        to[i] = text->letters[text->n_written++];
}

/* 2.7.5.3: one descriptor may stand for a table of them. */
static bool find_table(const struct example_device *device, uint16_t *head, struct table *ret_table)
{
    const struct virtq_desc *desc = &device->desc[*head];

    *ret_table = (struct table){.desc = device->desc, .n_entries = device->size};
    if (!(ring_load16(&desc->flags) & VIRTQ_DESC_F_INDIRECT))
        return true;
    ret_table->desc = at_address(le64_to(desc->addr));
    ret_table->n_entries = ring_load32(&desc->len) / (uint32_t)sizeof(struct virtq_desc);
    *head = 0;
    return has(device, VIRTIO_F_INDIRECT_DESC) && ret_table->n_entries <= device->size;
}

/* Along the links; false if the driver broke a rule. */
static bool serve_chain(const struct example_device *device, uint16_t head, uint32_t *ret_len)
{
    struct text text = {.n_read = 0};
    struct table table;
    bool writing = false;
    uint16_t at = head;

    if (!find_table(device, &at, &table))
        return false;
    /* No chain has more descriptors than its table: one that goes on is a loop. */
    for (uint32_t n = 0; n < table.n_entries && at < table.n_entries; n++) {
        const struct virtq_desc *desc = &table.desc[at];
        uint16_t flags = ring_load16(&desc->flags);
        uint32_t bytes = ring_load32(&desc->len);
        char *buffer = at_address(le64_to(desc->addr));

        if (flags & VIRTQ_DESC_F_INDIRECT || (writing && !(flags & VIRTQ_DESC_F_WRITE)))
            return false;
        writing = (flags & VIRTQ_DESC_F_WRITE) != 0;
        if (writing)
            write_letters(&text, buffer, bytes);
        else
            read_letters(&text, buffer, bytes);
        *ret_len = text.n_written;
        if (!(flags & VIRTQ_DESC_F_NEXT))
            return true;
        at = ring_load16(&desc->next);
    }
    return false;
}

/* --- The rings ------------------------------------------------------------------------------- */

/* The next available chain is served, and its used element written. */
static bool serve_next(struct example_device *device)
{
    uint16_t mask = (uint16_t)(device->size - 1);
    uint16_t n_available = (uint16_t)(ring_load16(&device->avail->idx) - device->n_taken);
    uint32_t len = 0;

    if (n_available == 0 || device->broken)
        return false;
    /* idx before the entries and descriptors that it announces. */
    virtio_rmb(platform_order(device));
    uint16_t head = ring_load16(&device->avail->ring[device->n_taken & mask]);
    if (n_available > device->size || head >= device->size || !serve_chain(device, head, &len)) {
        device->broken = true;
        return false;
    }
    struct virtq_used_elem *elem = &device->used->ring[device->n_returned & mask];
    ring_store32(&elem->id, head);
    ring_store32(&elem->len, len);
    device->n_taken++;
    device->n_returned++;
    return true;
}

/*
 * 2.7.10: with EVENT_IDX the event stays behind while the device is at work, and is then the chain
 * that is made available next. Without, a flag says the same.
 */
static void want_notifications(struct example_device *device, bool wanted)
{
    uint16_t flags = wanted ? 0 : (uint16_t)VIRTQ_USED_F_NO_NOTIFY;

    if (!has(device, VIRTIO_F_EVENT_IDX))
        ring_store16(&device->used->flags, flags);
    else if (wanted)
        ring_store16((le16 *)(void *)&device->used->ring[device->size], device->n_taken);
    /* The wish visible before avail idx is read for the last time: else both could wait. */
    virtio_mb(platform_order(device));
}

/* 2.7.7: among the chains returned since idx was @p old_idx is the one that the driver named. */
static bool driver_wants_interrupt(const struct example_device *device, uint16_t old_idx)
{
    if (!has(device, VIRTIO_F_EVENT_IDX))
        return !(ring_load16(&device->avail->flags) & VIRTQ_AVAIL_F_NO_INTERRUPT);
    uint16_t used_event = ring_load16(&device->avail->ring[device->size]);
    return (uint16_t)(device->n_returned - used_event - 1) <
           (uint16_t)(device->n_returned - old_idx);
}

unsigned example_device_work(struct example_device *device, unsigned n_chains)
{
    uint16_t old_idx = device->n_returned;
    unsigned n_served = 0;

    device->notified = false;
    want_notifications(device, false);
    while (n_served < n_chains && serve_next(device))
        n_served++;
    want_notifications(device, true);
    /* What came between the last look and the wish has no notification of its own. */
    while (n_served < n_chains && serve_next(device))
        n_served++;
    if (n_served == 0)
        return 0;

    /* The elements, and the data that belongs to them, before the idx that announces them. */
    virtio_wmb(platform_order(device));
    ring_store16(&device->used->idx, device->n_returned);
    /* idx visible before the driver's wish is read: else both could wait for the other. */
    virtio_mb(platform_order(device));
    if (driver_wants_interrupt(device, old_idx))
        device->n_interrupts++;
    return n_served;
}
