/** @file
 * The device's side of one split virtqueue. Takes what the driver made available, checks each rule
 * that a driver has to keep, and returns chains, honestly or not.
 * Spec:   virtio 1.4, 2.7 Split Virtqueues; 2.7.5.3 Indirect Descriptors; 2.7.9 In-order use of
 *         descriptors.
 * Knows:  core/split_spec.h, tests/fakes/fake_platform.h, by which it reaches all memory.
 */
#ifndef TESTS_FAKES_FAKE_RING_H
#define TESTS_FAKES_FAKE_RING_H

#include "core/split_spec.h"
#include "core/transport.h"
#include "tests/fakes/fake_platform.h"

struct fake_ring {
    struct fake_platform *platform;
    struct virtqueue_addresses addresses;
    uint16_t size;
    uint64_t features;   /**< in force, as VIO_FEATURE() bits */
    uint16_t avail_seen; /**< free-running: taken so far */
    uint16_t used_idx;   /**< free-running: returned so far */
    uint16_t next_head;  /**< what the next head has to be (IN_ORDER) */
};

/** One descriptor of a chain. */
struct fake_part {
    dma_addr addr;
    uint32_t len;
    bool device_writable;
};

void fake_ring_attach(struct fake_ring *ring, struct fake_platform *platform, uint16_t size,
                      const struct virtqueue_addresses *addresses, uint64_t features);

/* The three areas, where the device sees them. */
struct virtq_desc *fake_ring_desc(const struct fake_ring *ring);
struct virtq_avail *fake_ring_avail(const struct fake_ring *ring);
struct virtq_used *fake_ring_used(const struct fake_ring *ring);

/** Number of chains that are available and not taken; fails the test if idx went back or jumped. */
uint16_t fake_ring_n_available(const struct fake_ring *ring);

/**
 * Take the next available chain's head; false when there is none. With IN_ORDER, fails the test if
 * it is not the descriptor behind the chain that was taken before.
 */
bool fake_ring_take(struct fake_ring *ring, uint16_t *ret_head);

/**
 * Read a chain and check it: links in range, no loop, no empty part, readable before writable, at
 * most 2^32 - 1 bytes; an indirect table only where negotiated, of no other flag, not nested, no
 * longer than the queue; with IN_ORDER each link to the next place.
 *
 * @return how many parts there are, at most the size of the queue
 */
unsigned fake_ring_read_chain(const struct fake_ring *ring, uint16_t head,
                              struct fake_part *ret_parts);

/** Write a used element and move idx past it; any id and len will do. */
void fake_ring_return(struct fake_ring *ring, uint32_t id, uint32_t len);

/** Write a used element and leave idx alone. */
void fake_ring_write_used(const struct fake_ring *ring, uint16_t slot, uint32_t id, uint32_t len);

/** Set used idx to anything. */
void fake_ring_set_used_idx(struct fake_ring *ring, uint16_t idx);

/**
 * Ask the driver not to notify, or to do so again. With EVENT_IDX: for the chain behind those that
 * were taken, so it has to be said again after each take.
 */
void fake_ring_set_no_notify(const struct fake_ring *ring, bool no_notify);

/** Ask the driver to notify when it publishes the chain at this index (EVENT_IDX). */
void fake_ring_set_avail_event(const struct fake_ring *ring, uint16_t avail_event);

/** The index of the used element after which the driver wants an interrupt (EVENT_IDX). */
uint16_t fake_ring_used_event(const struct fake_ring *ring);

/** Whether the driver wants an interrupt for used idx having gone from @p old_idx to used_idx. */
bool fake_ring_interrupt_wanted(const struct fake_ring *ring, uint16_t old_idx);

#endif
