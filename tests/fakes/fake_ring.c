/* Contract and terms: tests/fakes/fake_ring.h. */

#include "tests/fakes/fake_ring.h"

#include "core/device_spec.h"
#include "tests/fakes/testing.h"

void fake_ring_attach(struct fake_ring *ring, struct fake_platform *platform, uint16_t size,
                      const struct virtqueue_addresses *addresses, uint64_t features)
{
    *ring = (struct fake_ring){
        .platform = platform, .addresses = *addresses, .size = size, .features = features};
}

static bool fake_ring_has(const struct fake_ring *ring, unsigned feature_bit)
{
    return (ring->features & VIO_FEATURE(feature_bit)) != 0;
}

struct virtq_desc *fake_ring_desc(const struct fake_ring *ring)
{
    return fake_platform_reach(ring->platform, ring->addresses.descriptor_area,
                               sizeof(struct virtq_desc) * ring->size, false);
}

struct virtq_avail *fake_ring_avail(const struct fake_ring *ring)
{
    return fake_platform_reach(ring->platform, ring->addresses.driver_area,
                               sizeof(struct virtq_avail) + sizeof(le16) * (ring->size + 1u),
                               false);
}

struct virtq_used *fake_ring_used(const struct fake_ring *ring)
{
    return fake_platform_reach(ring->platform, ring->addresses.device_area,
                               sizeof(struct virtq_used) +
                                   sizeof(struct virtq_used_elem) * ring->size + sizeof(le16),
                               true);
}

uint16_t fake_ring_n_available(const struct fake_ring *ring)
{
    uint16_t idx = le16_to(fake_ring_avail(ring)->idx);
    uint16_t n = (uint16_t)(idx - ring->avail_seen);

    if (n > ring->size)
        fail_msg("available idx went from %u to %u in a queue of %u", ring->avail_seen, idx,
                 ring->size);
    return n;
}

/* 2.7.5: each chain begins where the one before it ended. */
static void fake_check_table_order(struct fake_ring *ring, uint16_t head)
{
    const struct virtq_desc *table = fake_ring_desc(ring);
    unsigned n = 1;

    if (head != ring->next_head)
        fail_msg("available head %u, and %u is next in table order", head, ring->next_head);
    while (le16_to(table[(head + n - 1) % ring->size].flags) & VIRTQ_DESC_F_NEXT) {
        if (++n > ring->size)
            fail_msg("the chain of head %u has no end", head);
    }
    ring->next_head = (uint16_t)((head + n) % ring->size);
}

bool fake_ring_take(struct fake_ring *ring, uint16_t *ret_head)
{
    if (fake_ring_n_available(ring) == 0)
        return false;
    uint16_t head = le16_to(fake_ring_avail(ring)->ring[ring->avail_seen % ring->size]);
    if (head >= ring->size)
        fail_msg("available head %u in a queue of %u", head, ring->size);
    if (fake_ring_has(ring, VIRTIO_F_IN_ORDER))
        fake_check_table_order(ring, head);
    ring->avail_seen++;
    *ret_head = head;
    return true;
}

static void fake_check_part(const struct fake_part *part, bool writable_seen, uint64_t total)
{
    if (part->len == 0)
        fail_msg("a descriptor with no bytes");
    if (writable_seen && !part->device_writable)
        fail_msg("a device-readable descriptor behind a device-writable one");
    if (total > UINT32_MAX)
        fail_msg("a chain of more than 2^32 - 1 bytes");
}

/* A table that descriptors link within: the queue's own, or an indirect one. */
struct fake_table {
    const struct virtq_desc *entries;
    unsigned n_entries;
    bool is_indirect;
};

static void fake_check_flags(const struct fake_ring *ring, const struct fake_table *table,
                             uint16_t flags)
{
    if (flags & ~(VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_INDIRECT))
        fail_msg("descriptor flags 0x%x", flags);
    if (!(flags & VIRTQ_DESC_F_INDIRECT))
        return;
    if (flags != VIRTQ_DESC_F_INDIRECT || table->is_indirect)
        fail_msg("an indirect descriptor with flags 0x%x, nested: %d", flags, table->is_indirect);
    if (!fake_ring_has(ring, VIRTIO_F_INDIRECT_DESC))
        fail_msg("an indirect descriptor without VIRTIO_F_INDIRECT_DESC");
}

static uint16_t fake_follow(const struct fake_ring *ring, const struct fake_table *table,
                            uint16_t at)
{
    uint16_t next = le16_to(table->entries[at].next);

    if (next >= table->n_entries)
        fail_msg("a descriptor that links to %u in a table of %u", next, table->n_entries);
    if (fake_ring_has(ring, VIRTIO_F_IN_ORDER) && next != (at + 1u) % ring->size)
        fail_msg("descriptor %u links to %u, which is not the next one", at, next);
    return next;
}

/* The indirect table that a descriptor stands for. */
static struct fake_table fake_open_table(const struct fake_ring *ring,
                                         const struct virtq_desc *desc)
{
    uint32_t bytes = le32_to(desc->len);

    if (bytes == 0 || bytes % sizeof(*desc) || bytes / sizeof(*desc) > ring->size)
        fail_msg("an indirect table of %u bytes in a queue of %u", bytes, ring->size);
    return (struct fake_table){
        .entries = fake_platform_reach(ring->platform, le64_to(desc->addr), bytes, false),
        .n_entries = (unsigned)(bytes / sizeof(*desc)),
        .is_indirect = true,
    };
}

static unsigned fake_read_table(const struct fake_ring *ring, const struct fake_table *table,
                                uint16_t at, struct fake_part *ret_parts, uint16_t *ret_last)
{
    uint64_t total = 0;
    bool writable_seen = false;

    for (unsigned n = 0; n < table->n_entries; n++) {
        const struct virtq_desc *desc = &table->entries[at];
        uint16_t flags = le16_to(desc->flags);
        struct fake_part part = {
            .addr = le64_to(desc->addr),
            .len = le32_to(desc->len),
            .device_writable = (flags & VIRTQ_DESC_F_WRITE) != 0,
        };
        total += part.len;
        fake_check_part(&part, writable_seen, total);
        fake_check_flags(ring, table, flags);
        writable_seen = part.device_writable;
        ret_parts[n] = part;
        *ret_last = at;
        if (!(flags & VIRTQ_DESC_F_NEXT))
            return n + 1;
        at = fake_follow(ring, table, at);
    }
    fail_msg("a chain that is a loop");
    return 0;
}

unsigned fake_ring_read_chain(const struct fake_ring *ring, uint16_t head,
                              struct fake_part *ret_parts)
{
    const struct fake_table queue = {.entries = fake_ring_desc(ring), .n_entries = ring->size};
    uint16_t last;

    unsigned n = fake_read_table(ring, &queue, head, ret_parts, &last);
    if (!(le16_to(queue.entries[last].flags) & VIRTQ_DESC_F_INDIRECT))
        return n;
    if (n != 1)
        fail_msg("an indirect descriptor at the end of a chain");
    const struct fake_table table = fake_open_table(ring, &queue.entries[head]);
    n = fake_read_table(ring, &table, 0, ret_parts, &last);
    if (n != table.n_entries)
        fail_msg("an indirect table of %u entries for %u parts", table.n_entries, n);
    return n;
}

void fake_ring_write_used(const struct fake_ring *ring, uint16_t slot, uint32_t id, uint32_t len)
{
    struct virtq_used *used = fake_ring_used(ring);

    used->ring[slot % ring->size] =
        (struct virtq_used_elem){.id = le32_from(id), .len = le32_from(len)};
}

void fake_ring_return(struct fake_ring *ring, uint32_t id, uint32_t len)
{
    fake_ring_write_used(ring, ring->used_idx, id, len);
    fake_ring_set_used_idx(ring, (uint16_t)(ring->used_idx + 1));
}

void fake_ring_set_used_idx(struct fake_ring *ring, uint16_t idx)
{
    ring->used_idx = idx;
    fake_ring_used(ring)->idx = le16_from(idx);
}

void fake_ring_set_no_notify(const struct fake_ring *ring, bool no_notify)
{
    if (fake_ring_has(ring, VIRTIO_F_EVENT_IDX))
        fake_ring_set_avail_event(ring, (uint16_t)(ring->avail_seen - (no_notify ? 1 : 0)));
    else
        fake_ring_used(ring)->flags = le16_from(no_notify ? VIRTQ_USED_F_NO_NOTIFY : 0);
}

void fake_ring_set_avail_event(const struct fake_ring *ring, uint16_t avail_event)
{
    struct virtq_used *used = fake_ring_used(ring);
    le16 *where = (le16 *)(void *)&used->ring[ring->size];

    *where = le16_from(avail_event);
}

uint16_t fake_ring_used_event(const struct fake_ring *ring)
{
    return le16_to(fake_ring_avail(ring)->ring[ring->size]);
}

bool fake_ring_interrupt_wanted(const struct fake_ring *ring, uint16_t old_idx)
{
    if (!fake_ring_has(ring, VIRTIO_F_EVENT_IDX))
        return !(le16_to(fake_ring_avail(ring)->flags) & VIRTQ_AVAIL_F_NO_INTERRUPT);
    /* 2.7.7.2, step by step, so that no arithmetic is believed. */
    for (uint16_t idx = old_idx; idx != ring->used_idx; idx++) {
        if (idx == fake_ring_used_event(ring))
            return true;
    }
    return false;
}
