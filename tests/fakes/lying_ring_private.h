/** @file
 * What the three parts of the lying device share: lying_ring.c runs the program,
 * lying_ring_device.c holds the memory and answers loads, lying_ring_judge.c judges the driver.
 * Knows:  tests/fakes/lying_ring.h.
 */
#ifndef TESTS_FAKES_LYING_RING_PRIVATE_H
#define TESTS_FAKES_LYING_RING_PRIVATE_H

#include "core/device_spec.h"
#include "core/mem.h"
#include "core/split_spec.h"
#include "tests/fakes/lying_ring.h"
#include "tests/fakes/testing.h"

#define LYING_SAYINGS_MAX 64u

/** A chain that was added and neither popped nor drained. */
struct lying_chain {
    uint64_t serial; /**< 0: none */
    uint64_t number; /**< in this life, in the order of being added */
    uint64_t writable_bytes;
    uint16_t head;
    uint16_t second;
    uint16_t tail;
    uint16_t n_descriptors;
    uint32_t first_entry; /**< of the tables' memory */
    uint32_t n_entries;
    struct lying_chain *older;
    struct lying_chain *newer;
};

/** Memory between two guards. */
struct lying_piece {
    uint8_t *block;
    uint8_t *memory;
    size_t bytes;
};

struct lying_value {
    uint8_t kind;
    bool high;
    int64_t argument;
};

struct lying_saying {
    uint8_t word;
    struct lying_value value;
};

/** What one call of the driver was told of a word, which it reads once at most. */
struct lying_answer {
    unsigned n_reads;
    uint32_t value; /**< of the first */
};

struct lying_call {
    struct lying_answer answers[RING_WORDS];
    unsigned n_accesses;
    unsigned n_notified;
};

/** What the driver was told last about callbacks, in this life. */
enum lying_wish {
    LYING_WISH_UNKNOWN,
    LYING_WISH_NO_CALLBACKS,
    LYING_WISH_CALLBACKS,
};

struct lying_ring {
    const struct ring_driver *driver;
    void *self; /**< the driver's own */
    struct ring_setup setup;
    uint8_t manners;
    struct lying_ring_outcome *outcome;

    /* The program: read from the front; a talkative device reads its answers from the back. */
    const uint8_t *program;
    size_t front;
    size_t back;
    unsigned adds_left;

    /* Memory, and what the driver last stored there, whatever the device made of it since. */
    struct lying_piece rings, tables, private_memory;
    uint8_t *rings_stored, *tables_stored;
    struct virtq_desc *desc;
    struct virtq_avail *avail;
    struct virtq_used *used;
    const void *last_store;
    unsigned last_store_bytes;

    /* What the device says, and does to the memory. */
    struct lying_saying sayings[LYING_SAYINGS_MAX];
    unsigned n_sayings;
    struct lying_value again[RING_WORDS];
    bool has_again[RING_WORDS];
    bool scribble_waits;
    unsigned scribble_countdown;
    uint8_t scribble_area, scribble_byte;
    size_t scribble_budget;
    uint64_t noise;

    /* The model: chains by slot, and who owns each descriptor (slot + 1, 0: nobody). */
    struct lying_chain *chains;
    uint16_t *free_slots;
    unsigned n_free_slots;
    uint32_t *owners;
    uint16_t *links;
    uint32_t *entry_owners;
    struct lying_chain *oldest, *newest;
    uint64_t serial;
    uint64_t n_added, n_published, n_notified, n_used;
    uint64_t n_announced; /**< chains for which idx spoke in a pop */
    uint64_t batch_end;   /**< behind the last chain of an IN_ORDER batch */
    struct lying_answer batch_len;
    unsigned n_owned;
    uint16_t popped_head, former_head;
    enum lying_wish wish;
    uint16_t wished_event; /**< of LYING_WISH_CALLBACKS, with EVENT_IDX */
    bool broken;
    struct lying_call call;
};

static inline bool lying_ring_has(const struct lying_ring *ring, unsigned feature_bit)
{
    return (ring->setup.features & VIO_FEATURE(feature_bit)) != 0;
}

static inline bool lying_ring_is_published(const struct lying_ring *ring,
                                           const struct lying_chain *chain)
{
    return chain->number < ring->n_published;
}

/* --- lying_ring_device.c --- */

void lying_ring_make_memory(struct lying_ring *ring);
/** Fails the test if a guard was written. */
void lying_ring_free_memory(struct lying_ring *ring);
/** The queue begins: learn where its areas are, and forget all chains. */
void lying_ring_attach(struct lying_ring *ring);
/** For fake_memory_before_access(). */
void lying_ring_before_access(void *ring, enum vio_mem_access access, const void *where);
/** Overwrite an area now. */
void lying_ring_scribble(struct lying_ring *ring, uint8_t area, uint8_t byte);
/** The next byte of the program, 0 behind its end. */
uint8_t lying_ring_next_byte(struct lying_ring *ring, bool from_back);
struct lying_value lying_ring_next_value(struct lying_ring *ring, bool from_back);
/** Take note of the last store of a call. */
void lying_ring_capture_store(struct lying_ring *ring);
/** Chain whose head is this value, published or not; NULL: there is none. */
struct lying_chain *lying_ring_chain_of_head(const struct lying_ring *ring, uint32_t head);

/* --- lying_ring_judge.c --- */

/** Also judges what the calls before left in the driver's area. */
void lying_ring_begin_call(struct lying_ring *ring);
void lying_ring_end_call(struct lying_ring *ring);
void lying_ring_judge_add(struct lying_ring *ring, const struct ring_buffer *bufs, unsigned n_bufs,
                          void *cookie, vio_status status);
void *lying_ring_next_cookie(struct lying_ring *ring);
void lying_ring_judge_publish(struct lying_ring *ring);
void lying_ring_judge_notify(struct lying_ring *ring, bool notified);
void lying_ring_judge_pop(struct lying_ring *ring, vio_status status, void *cookie, uint32_t len);
/** Of a question whether @p n_chains are there to be popped. */
void lying_ring_judge_look(struct lying_ring *ring, bool answer, unsigned n_chains);
void lying_ring_judge_enable(struct lying_ring *ring, bool answer, uint16_t n_chains);
void lying_ring_judge_disable(struct lying_ring *ring);
void lying_ring_judge_drained(struct lying_ring *ring, void *cookie);
/** Free descriptors and chains in flight add up. */
void lying_ring_judge_accounts(struct lying_ring *ring);

#endif
