/* Contract and terms: tests/fakes/fake_ring.h. */

#include "tests/fakes/fake_ring.h"

#include "tests/fakes/testing.h"

void fake_ring_attach(struct fake_ring *ring, struct fake_platform *platform, uint16_t size,
                      const struct virtqueue_addresses *addresses)
{
    *ring = (struct fake_ring){.platform = platform, .addresses = *addresses, .size = size};
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

bool fake_ring_take(struct fake_ring *ring, uint16_t *ret_head)
{
    if (fake_ring_n_available(ring) == 0)
        return false;
    uint16_t head = le16_to(fake_ring_avail(ring)->ring[ring->avail_seen % ring->size]);
    if (head >= ring->size)
        fail_msg("available head %u in a queue of %u", head, ring->size);
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

unsigned fake_ring_read_chain(const struct fake_ring *ring, uint16_t head,
                              struct fake_part *ret_parts)
{
    const struct virtq_desc *table = fake_ring_desc(ring);
    uint64_t total = 0;
    bool writable_seen = false;

    for (unsigned n = 0; n < ring->size; n++) {
        uint16_t flags = le16_to(table[head].flags);
        struct fake_part part = {
            .addr = le64_to(table[head].addr),
            .len = le32_to(table[head].len),
            .device_writable = (flags & VIRTQ_DESC_F_WRITE) != 0,
        };
        total += part.len;
        fake_check_part(&part, writable_seen, total);
        writable_seen = part.device_writable;
        ret_parts[n] = part;
        if (flags & ~(VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE))
            fail_msg("descriptor flags 0x%x", flags);
        if (!(flags & VIRTQ_DESC_F_NEXT))
            return n + 1;
        head = le16_to(table[head].next);
        if (head >= ring->size)
            fail_msg("a descriptor that links to %u in a queue of %u", head, ring->size);
    }
    fail_msg("a chain that is a loop");
    return 0;
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
    fake_ring_used(ring)->flags = le16_from(no_notify ? VIRTQ_USED_F_NO_NOTIFY : 0);
}
