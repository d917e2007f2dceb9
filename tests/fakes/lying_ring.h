/** @file
 * A device that answers each load of its driver from a program, and a judge of what the driver makes
 * of it. A program is a row of tests/hostile/test_hostile_ring.c and an input of
 * tests/fuzz/fuzz_ring.c at the same time.
 * Spec:   virtio 1.4, 2.7 Split Virtqueues.
 * Knows:  tests/hostile/ring_driver.h, core/split_spec.h, tests/fakes/fake_memory.h.
 *
 * The device learns what a device can: where the rings are, and each word that the driver writes,
 * before it is scribbled over. It walks each chain when it is added: links in range, no loop, the
 * very buffers that were given, and no descriptor or table entry that is in use. What is not lied
 * about is answered in an orderly way: all that was published has been returned, in order, written
 * in full; notifications are wanted.
 *
 * The judge knows which chains are in flight, and which answers each call was given:
 *  - a chain comes back only when it was published and is announced and named (in all 32 bits of
 *    id), once, with the len that was said, which is at most what was writable; with IN_ORDER in
 *    order, and those left out of the used ring in full;
 *  - the queue breaks exactly at the first lie, with the right name for it and the value that was
 *    said; then everything fails, nothing is touched, nobody is notified;
 *  - a notification that the device's words ask for is never left out; the wish for an interrupt
 *    stays what it was said to be until it is said otherwise;
 *  - the device's area is not written, nothing outside the queue's memory is touched, nothing that
 *    a chain in flight consists of is changed, and idx moves when chains are published only;
 *  - a call reads each of the device's words once at most, and needs a bounded number of accesses;
 *  - free and used descriptors and chains in flight add up after each call;
 *  - at the end each chain that did not come back is drained once, and the queue serves again.
 */
#ifndef TESTS_FAKES_LYING_RING_H
#define TESTS_FAKES_LYING_RING_H

#include "tests/hostile/ring_driver.h"

/*
 * A program: five bytes that describe the queue, then instructions of one byte and their arguments.
 * Each byte means something, so each input is a program: what is too large is taken modulo.
 *
 *   0    log2 of the queue's size; a fuzzer is seldom led to the large ones, which take their time
 *   1    RING_WITH_... and RING_MANNER_...
 *   2    buffers that an indirect table holds: of all tables together RING_ENTRIES, within bounds
 *   3 4  chains that came and went before, little-endian
 */
#define RING_LOG2S       16u
#define RING_SMALL_LOG2S 9u
#define RING_ENTRIES     1024u
#define RING_ENTRIES_MIN 2u
#define RING_ENTRIES_MAX 32u

#define RING_WITH_TABLES         0x01u /* INDIRECT_DESC */
#define RING_WITH_EVENT_IDX      0x02u
#define RING_WITH_IN_ORDER       0x04u
#define RING_WITH_ORDER_PLATFORM 0x08u
/* Loads that RING_SAY does not cover are answered by values from the program's end, read backwards. */
#define RING_MANNER_TALKATIVE 0x10u
/* Before each access all shared memory is filled with noise. */
#define RING_MANNER_SCRIBBLES 0x20u

enum ring_op {
    RING_ADD,        /* shape (device-readable buffers << 4 | device-writable), len code */
    RING_ADD_FLAWED, /* enum ring_flaw */
    RING_FILL,       /* chains of one device-writable buffer, until the queue is full */
    RING_PUBLISH,
    RING_NOTIFY,
    RING_POP,
    RING_POP_ALL, /* until there is none, or the queue is broken */
    RING_HAS_USED,
    RING_INTERRUPT,
    RING_ENABLE, /* callbacks, at the n-th chain: n */
    RING_DISABLE,
    RING_RESET,    /* of the device: drain the queue and begin its next life */
    RING_ROUNDS,   /* n times: add, publish, notify and pop one chain: n */
    RING_SAY,      /* answer the next load of a word: enum ring_word, value */
    RING_AGAIN,    /* answer all but the first load of a word in one call, which a driver that
                      passes does not make: the same */
    RING_SCRIBBLE, /* enum ring_area, before the n-th access from now (0: at once), byte */
    RING_OPS,
};

/* Len codes: bytes of each buffer are 512 for 0, else 2 to the power of code - 1. */

enum ring_flaw {
    RING_FLAW_NO_BUFFERS,
    RING_FLAW_MORE_THAN_QUEUE,
    RING_FLAW_EMPTY_BUFFER,
    RING_FLAW_READABLE_LAST,
    RING_FLAW_TOO_LONG,
    RING_FLAWS,
};

enum ring_word {
    RING_WORD_FLAGS,
    RING_WORD_IDX,
    RING_WORD_ID,  /* of the element in turn */
    RING_WORD_LEN, /* of the same */
    RING_WORD_AVAIL_EVENT,
    RING_WORDS,
};

enum ring_area {
    RING_AREA_DESCRIPTORS,
    RING_AREA_AVAIL,
    RING_AREA_USED,
    RING_AREA_TABLES,
    RING_AREA_ALL,
    RING_AREAS,
};

/* A value: one byte, and arguments. */
enum ring_value {
    RING_HONEST,
    RING_STALE,       /* what is in memory */
    RING_RAW,         /* 32 bits */
    RING_USED,        /* 16 bits, signed: so many chains behind what was popped */
    RING_PLUS,        /* 8 bits, signed, and added to the honest value */
    RING_HEAD,        /* n: of the n-th chain with the device, the oldest being 0 */
    RING_SECOND,      /* n: its second descriptor */
    RING_TAIL,        /* n: its last descriptor */
    RING_UNPUBLISHED, /* head of a chain that was added and not published */
    RING_POPPED,      /* head of the chain popped last */
    RING_FREE,        /* a descriptor of no chain */
    RING_FORMER_LIFE, /* head of a chain that was drained by RING_RESET */
    RING_VALUES,
};
#define RING_HIGH 0x80u /* or-ed to the first byte: bit 16 of the value is turned over */

struct lying_ring_outcome {
    enum ring_fault fault; /* of the last life */
    uint64_t fault_value;
    unsigned n_popped;
    unsigned n_notified;
    unsigned n_unsaid; /* RING_SAY that no load asked for, RING_SCRIBBLE for which none came */
};

/** Run a program against a driver. What the judge does not like fails the test. */
void lying_ring_play(const struct ring_driver *driver, const uint8_t *program, size_t n_bytes,
                     struct lying_ring_outcome *ret_outcome);

#endif
