/*
 * A device that misbehaves on a split virtqueue, one way per row. What holds in every row is said and
 * checked in tests/fakes/lying_ring.h; a row adds whether the lie breaks the queue, and how many
 * chains came back. Each row is a seed of tests/fuzz/fuzz_ring.c, too: a row's program is its input.
 */

#include "tests/fakes/hostile_rows.h"
#include "tests/fakes/lying_ring.h"
#include "tests/fakes/ring_driver_virtboot.h"
#include "tests/fakes/testing.h"

#define SEEDS "tests/fuzz/corpus/ring"

/* Whose rows these are. */
#define DRIVER ring_driver_virtboot

/* --- Programs, as they read best ---------------------------------------------------------------- */

/* A queue of 2^log2, with RING_WITH_..., through which chains have come and gone. */
#define AGED_QUEUE(log2, with, entries, n_chains)                                                  \
    (log2), (with), (entries), (n_chains)&0xFF, (n_chains) >> 8
#define QUEUE_OF(log2) AGED_QUEUE(log2, 0, 0, 0)
#define QUEUE          QUEUE_OF(3)
#define EVENT_IDX      AGED_QUEUE(3, RING_WITH_EVENT_IDX, 0, 0)
#define IN_ORDER       AGED_QUEUE(3, RING_WITH_IN_ORDER, 0, 0)
#define TABLES         AGED_QUEUE(3, RING_WITH_TABLES, 4, 0)

#define ADD(n_readable, n_writable)          RING_ADD, (n_readable) << 4 | (n_writable), 0
#define ADD_OF(n_readable, n_writable, code) RING_ADD, (n_readable) << 4 | (n_writable), (code)
#define GIVE(n_readable, n_writable)         ADD(n_readable, n_writable), RING_PUBLISH, RING_NOTIFY
#define GIVE_ONE                             GIVE(0, 1)
#define GIVE_THREE                           GIVE_ONE, GIVE_ONE, GIVE_ONE
#define FILL                                 RING_FILL, RING_PUBLISH, RING_NOTIFY
#define ROUNDS(n)                            RING_ROUNDS, (n)
#define ENABLE(n)                            RING_ENABLE, (n)
#define POP                                  RING_POP
#define POP_ALL                              RING_POP_ALL
#define RESET                                RING_RESET

#define SAY(word, ...)             RING_SAY, RING_WORD_##word, __VA_ARGS__
#define AGAIN(word, ...)           RING_AGAIN, RING_WORD_##word, __VA_ARGS__
#define SCRIBBLE(area, when, byte) RING_SCRIBBLE, RING_AREA_##area, (when), (byte)
#define NOISE                      0x5A
#define ONES                       0xFF
#define ZEROS                      0

#define RAW(value)                                                                                 \
    RING_RAW, (value)&0xFF, (uint32_t)(value) >> 8 & 0xFF, (uint32_t)(value) >> 16 & 0xFF,         \
        (uint32_t)(value) >> 24
#define BEHIND_POPPED(n) RING_USED, (n)&0xFF, (uint16_t)(n) >> 8
#define PLUS(n)          RING_PLUS, (n)&0xFF
#define HEAD_OF(n)       RING_HEAD, (n)
#define SECOND_OF(n)     RING_SECOND, (n)
#define TAIL_OF(n)       RING_TAIL, (n)
#define HIGH(...)        RING_HIGH | __VA_ARGS__

/* --- Rows --------------------------------------------------------------------------------------- */

struct row {
    const char *name;
    const uint8_t *program;
    size_t n_bytes;
    enum ring_fault fault;
    uint32_t value; /* ANY_VALUE: that it was said is enough */
    unsigned n_popped;
    unsigned n_unsaid; /* of its SAYs and SCRIBBLEs: the driver has no reason for such a load */
};

#define ANY_VALUE 0xA11A11A1u

#define PROGRAM(...)                                                                               \
    .program = (const uint8_t[]){__VA_ARGS__}, .n_bytes = sizeof((const uint8_t[]){__VA_ARGS__})
#define BREAKS(what, n)       .fault = RING_FAULT_##what, .value = ANY_VALUE, .n_popped = (n)
#define BREAKS_AT(what, v, n) .fault = RING_FAULT_##what, .value = (v), .n_popped = (n)
#define SURVIVES(n)           .fault = RING_FAULT_NONE, .n_popped = (n)

static const struct row idx_rows[] = {
    {"used idx jumps by 0x4000",
     PROGRAM(QUEUE, GIVE_ONE, GIVE_ONE, SAY(IDX, BEHIND_POPPED(0x4000)), POP),
     BREAKS_AT(USED_IDX, 0x4000, 0)},
    {"used idx jumps by 0x8000", PROGRAM(QUEUE, GIVE_ONE, SAY(IDX, BEHIND_POPPED(0x8000)), POP),
     BREAKS_AT(USED_IDX, 0x8000, 0)},
    {"used idx goes back by one",
     PROGRAM(QUEUE, ROUNDS(2), GIVE_ONE, SAY(IDX, BEHIND_POPPED(-1)), POP),
     BREAKS_AT(USED_IDX, 1, 2)},
    {"used idx goes back by one and nothing is with the device",
     PROGRAM(QUEUE, ROUNDS(2), SAY(IDX, BEHIND_POPPED(-1)), POP), BREAKS_AT(USED_IDX, 1, 2)},
    {"used idx is 0xffff from the start", PROGRAM(QUEUE, GIVE_ONE, SAY(IDX, RAW(0xFFFF)), POP),
     BREAKS_AT(USED_IDX, 0xFFFF, 0)},
    {"used idx moves on an empty queue", PROGRAM(QUEUE, SAY(IDX, BEHIND_POPPED(1)), POP),
     BREAKS_AT(USED_IDX, 1, 0)},
    {"used idx is one more than the chains with the device",
     PROGRAM(QUEUE, GIVE_ONE, SAY(IDX, BEHIND_POPPED(2)), POP), BREAKS_AT(USED_IDX, 2, 0)},
    {"used idx announces a chain that was not published",
     PROGRAM(QUEUE, GIVE_ONE, ADD(0, 1), SAY(IDX, BEHIND_POPPED(2)), POP),
     BREAKS_AT(USED_IDX, 2, 0)},
    {"used idx announces one of three chains and then three",
     PROGRAM(QUEUE, GIVE_THREE, SAY(IDX, BEHIND_POPPED(1)), SAY(IDX, BEHIND_POPPED(3)), POP_ALL),
     BREAKS_AT(USED_IDX, 4, 1)},
    {"used idx counts descriptors and not chains",
     PROGRAM(QUEUE, GIVE(1, 2), SAY(IDX, BEHIND_POPPED(3)), POP), BREAKS_AT(USED_IDX, 3, 0)},
    {"used idx jumps in the middle of the wrap",
     PROGRAM(AGED_QUEUE(3, 0, 0, 0xFFFF), GIVE_ONE, GIVE_ONE, SAY(IDX, BEHIND_POPPED(3)), POP),
     BREAKS_AT(USED_IDX, 2, 0)},
    {"used idx goes back across the wrap",
     PROGRAM(AGED_QUEUE(3, 0, 0, 0xFFFF), ROUNDS(2), GIVE_ONE, SAY(IDX, BEHIND_POPPED(-2)), POP),
     BREAKS_AT(USED_IDX, 0xFFFF, 2)},
    {"used idx stays at 0xffff when the wrap is due",
     PROGRAM(AGED_QUEUE(3, 0, 0, 0xFFFE), GIVE_ONE, GIVE_ONE, SAY(IDX, RAW(0xFFFF)),
             SAY(IDX, RAW(0xFFFF)), POP, POP, POP),
     SURVIVES(2)},
    {"used idx jumps in a queue of 1",
     PROGRAM(QUEUE_OF(0), GIVE_ONE, SAY(IDX, BEHIND_POPPED(2)), POP), BREAKS_AT(USED_IDX, 2, 0)},
    {"used idx jumps in a full queue of 2",
     PROGRAM(QUEUE_OF(1), FILL, SAY(IDX, BEHIND_POPPED(3)), POP), BREAKS_AT(USED_IDX, 3, 0)},
    {"used idx is a whole queue of 256 and one ahead",
     PROGRAM(QUEUE_OF(8), FILL, SAY(IDX, BEHIND_POPPED(257)), POP), BREAKS_AT(USED_IDX, 257, 0)},
    {"used idx is a whole queue of 32768 and one ahead",
     PROGRAM(QUEUE_OF(15), FILL, SAY(IDX, RAW(32769)), POP), BREAKS_AT(USED_IDX, 32769, 0)},
    {"used idx announces a whole queue of 32768 and then one more",
     PROGRAM(QUEUE_OF(15), FILL, SAY(IDX, RAW(32768)), SAY(IDX, RAW(32769)), POP_ALL),
     BREAKS_AT(USED_IDX, 32769, 32768)},
    {"used idx stands still and moves later",
     PROGRAM(QUEUE, GIVE_ONE, SAY(IDX, BEHIND_POPPED(0)), POP, POP), SURVIVES(1)},
    {"used idx stands still for good",
     PROGRAM(QUEUE, GIVE(1, 2), SAY(IDX, BEHIND_POPPED(0)), SAY(IDX, BEHIND_POPPED(0)),
             SAY(IDX, BEHIND_POPPED(0)), POP, RING_HAS_USED, ENABLE(1)),
     SURVIVES(0)},
    {"used idx is taken back after an interrupt",
     PROGRAM(QUEUE, GIVE_ONE, RING_INTERRUPT, SAY(IDX, BEHIND_POPPED(0)), POP), SURVIVES(0)},
    {"used idx goes back while announced chains are popped",
     PROGRAM(QUEUE, GIVE_ONE, GIVE_ONE, POP, SAY(IDX, BEHIND_POPPED(-1)), RING_HAS_USED, POP),
     SURVIVES(2)},
    {"used idx is taken back when chains that it announced are not popped yet",
     PROGRAM(QUEUE, GIVE_THREE, POP, SAY(IDX, BEHIND_POPPED(0)), RING_HAS_USED,
             SAY(IDX, BEHIND_POPPED(0)), RING_INTERRUPT, SAY(IDX, BEHIND_POPPED(0)), ENABLE(2), POP,
             POP),
     SURVIVES(3)},
    {"used idx jumps at a look and is right at the pop",
     PROGRAM(QUEUE, GIVE_ONE, SAY(IDX, BEHIND_POPPED(0x4000)), RING_HAS_USED, POP), SURVIVES(1)},
    {"used idx jumps while callbacks are turned on",
     PROGRAM(QUEUE, GIVE_ONE, SAY(IDX, BEHIND_POPPED(0x4000)), ENABLE(1),
             SAY(IDX, BEHIND_POPPED(0x4000)), POP),
     BREAKS_AT(USED_IDX, 0x4000, 0)},
    {"used idx changes between two reads",
     PROGRAM(QUEUE, AGAIN(IDX, BEHIND_POPPED(0x4000)), GIVE_ONE, GIVE_ONE, RING_HAS_USED, POP_ALL),
     SURVIVES(2)},
    {"used idx jumps in the queue's second life",
     PROGRAM(QUEUE, GIVE_THREE, POP, RESET, GIVE_ONE, SAY(IDX, BEHIND_POPPED(2)), POP),
     BREAKS_AT(USED_IDX, 2, 1)},
    {"used idx goes on where it was before a reset",
     PROGRAM(QUEUE, ROUNDS(3), RESET, SAY(IDX, RAW(3)), POP), BREAKS_AT(USED_IDX, 3, 3)},
    {"interrupts without cause",
     PROGRAM(QUEUE, RING_INTERRUPT, ENABLE(1), RING_INTERRUPT, RING_DISABLE, RING_INTERRUPT, POP),
     SURVIVES(0)},
};

static const struct row id_rows[] = {
    {"id is the size of the queue", PROGRAM(QUEUE, GIVE_ONE, SAY(ID, RAW(8)), POP),
     BREAKS_AT(ID_RANGE, 8, 0)},
    {"id is 0xffffffff", PROGRAM(QUEUE, GIVE_ONE, SAY(ID, RAW(0xFFFFFFFF)), POP),
     BREAKS_AT(ID_RANGE, 0xFFFFFFFF, 0)},
    {"id is right in its lower 16 bits only",
     PROGRAM(QUEUE, GIVE_ONE, SAY(ID, HIGH(HEAD_OF(0))), POP), BREAKS(ID_RANGE, 0)},
    {"id is right in its lower 31 bits only",
     PROGRAM(QUEUE, GIVE_ONE, SAY(ID, RAW(0x80000000)), POP), BREAKS_AT(ID_RANGE, 0x80000000, 0)},
    {"id is a free descriptor", PROGRAM(QUEUE, GIVE_ONE, SAY(ID, RING_FREE), POP),
     BREAKS(ID_NOT_HEAD, 0)},
    {"id is the last descriptor and free", PROGRAM(QUEUE, GIVE_ONE, SAY(ID, RAW(7)), POP),
     BREAKS_AT(ID_NOT_HEAD, 7, 0)},
    {"id is the middle of a chain", PROGRAM(QUEUE, GIVE(1, 2), SAY(ID, SECOND_OF(0)), POP),
     BREAKS(ID_NOT_HEAD, 0)},
    {"id is the end of a chain", PROGRAM(QUEUE, GIVE(1, 2), SAY(ID, TAIL_OF(0)), POP),
     BREAKS(ID_NOT_HEAD, 0)},
    {"id is the end of the chain in front",
     PROGRAM(QUEUE, GIVE(1, 2), GIVE(1, 1), POP, SAY(ID, RAW(2)), POP),
     BREAKS_AT(ID_NOT_HEAD, 2, 1)},
    {"id is a chain that was added and not published",
     PROGRAM(QUEUE, GIVE_ONE, ADD(0, 1), SAY(ID, RING_UNPUBLISHED), POP), BREAKS(ID_NOT_HEAD, 0)},
    {"id comes twice in a row", PROGRAM(QUEUE, GIVE_ONE, GIVE_ONE, POP, SAY(ID, RING_POPPED), POP),
     BREAKS(ID_NOT_HEAD, 1)},
    {"id comes again when the queue was empty in between",
     PROGRAM(QUEUE, GIVE_ONE, POP_ALL, GIVE_ONE, SAY(ID, RING_POPPED), POP),
     BREAKS(ID_NOT_HEAD, 1)},
    {"id of a chain with several descriptors comes twice",
     PROGRAM(QUEUE, GIVE(1, 2), GIVE(2, 2), POP, SAY(ID, RING_POPPED), POP),
     BREAKS(ID_NOT_HEAD, 1)},
    {"id comes twice and its descriptor is the tail of a new chain",
     PROGRAM(QUEUE_OF(1), GIVE_ONE, GIVE_ONE, POP, POP, GIVE(1, 1), SAY(ID, RAW(1)), POP),
     BREAKS_AT(ID_NOT_HEAD, 1, 2)},
    {"id is a chain of the queue's former life",
     PROGRAM(QUEUE, GIVE_THREE, RESET, GIVE_ONE, SAY(ID, RING_FORMER_LIFE), POP),
     BREAKS(ID_NOT_HEAD, 0)},
    {"id is a chain of a former life that was popped there",
     PROGRAM(QUEUE, GIVE_ONE, GIVE_ONE, POP_ALL, RESET, GIVE_ONE, SAY(ID, RING_POPPED), POP),
     BREAKS(ID_NOT_HEAD, 2)},
    {"id is 1 in a queue of 1", PROGRAM(QUEUE_OF(0), GIVE_ONE, SAY(ID, RAW(1)), POP),
     BREAKS_AT(ID_RANGE, 1, 0)},
    {"id is 2 in a queue of 2", PROGRAM(QUEUE_OF(1), FILL, SAY(ID, RAW(2)), POP),
     BREAKS_AT(ID_RANGE, 2, 0)},
    {"id is 256 in a queue of 256", PROGRAM(QUEUE_OF(8), FILL, SAY(ID, RAW(256)), POP),
     BREAKS_AT(ID_RANGE, 256, 0)},
    {"id is 32768 in a full queue of 32768", PROGRAM(QUEUE_OF(15), FILL, SAY(ID, RAW(32768)), POP),
     BREAKS_AT(ID_RANGE, 32768, 0)},
    {"id is right in its lower 16 bits in a queue of 32768",
     PROGRAM(QUEUE_OF(15), GIVE_ONE, SAY(ID, HIGH(HEAD_OF(0))), POP), BREAKS(ID_RANGE, 0)},
    {"id is wrong where the used ring wraps",
     PROGRAM(AGED_QUEUE(3, 0, 0, 0xFFFF), ROUNDS(1), GIVE_ONE, SAY(ID, RING_POPPED), POP),
     BREAKS(ID_NOT_HEAD, 1)},
    {"id was not written and its memory is all ones",
     PROGRAM(QUEUE, GIVE_ONE, SCRIBBLE(USED, 0, ONES), SAY(ID, RING_STALE), POP),
     BREAKS_AT(ID_RANGE, 0xFFFFFFFF, 0)},
    {"id was not written and is that of a round before",
     PROGRAM(QUEUE_OF(1), ROUNDS(2), GIVE_ONE, GIVE_ONE, SAY(ID, HEAD_OF(1)), POP,
             SAY(ID, RING_STALE), POP),
     BREAKS(ID_NOT_HEAD, 3)},
    {"id becomes 0xffffffff between two reads",
     PROGRAM(QUEUE, GIVE_ONE, GIVE_ONE, AGAIN(ID, RAW(0xFFFFFFFF)), POP_ALL), SURVIVES(2)},
    {"id becomes another chain's between two reads",
     PROGRAM(QUEUE, GIVE(0, 3), GIVE_ONE, AGAIN(ID, HEAD_OF(1)), POP_ALL), SURVIVES(2)},
    {"chains come back in reverse order",
     PROGRAM(QUEUE, GIVE(1, 2), GIVE(0, 1), GIVE(2, 1), SAY(ID, HEAD_OF(2)), SAY(ID, HEAD_OF(1)),
             POP_ALL, GIVE(3, 3), POP_ALL),
     SURVIVES(4)},
    {"one chain never comes back while others come and go",
     PROGRAM(QUEUE, GIVE(1, 1), GIVE(1, 2), SAY(IDX, BEHIND_POPPED(1)), SAY(ID, HEAD_OF(1)), POP,
             GIVE(1, 3), SAY(IDX, BEHIND_POPPED(1)), SAY(ID, HEAD_OF(1)), POP, GIVE(2, 4),
             SAY(IDX, BEHIND_POPPED(1)), SAY(ID, HEAD_OF(1)), POP),
     SURVIVES(3)},
};

static const struct row len_rows[] = {
    {"len is one more than was writable", PROGRAM(QUEUE, GIVE(1, 2), SAY(LEN, PLUS(1)), POP),
     BREAKS_AT(LEN, 1025, 0)},
    {"len is 0xffffffff", PROGRAM(QUEUE, GIVE_ONE, SAY(LEN, RAW(0xFFFFFFFF)), POP),
     BREAKS_AT(LEN, 0xFFFFFFFF, 0)},
    {"len is 0x80000000", PROGRAM(QUEUE, GIVE_ONE, SAY(LEN, RAW(0x80000000)), POP),
     BREAKS_AT(LEN, 0x80000000, 0)},
    {"len is right in its lower 16 bits only",
     PROGRAM(QUEUE, GIVE_ONE, SAY(LEN, HIGH(RING_HONEST)), POP), BREAKS_AT(LEN, 0x10200, 0)},
    {"len counts the readable bytes, too", PROGRAM(QUEUE, GIVE(2, 1), SAY(LEN, RAW(1536)), POP),
     BREAKS_AT(LEN, 1536, 0)},
    {"len is 1 and nothing was writable", PROGRAM(QUEUE, GIVE(1, 0), SAY(LEN, RAW(1)), POP),
     BREAKS_AT(LEN, 1, 0)},
    {"len is that of a longer chain in flight",
     PROGRAM(QUEUE, GIVE_ONE, GIVE(0, 3), SAY(LEN, RAW(1536)), POP), BREAKS_AT(LEN, 1536, 0)},
    {"len is that of the chain popped before",
     PROGRAM(QUEUE, GIVE(0, 3), GIVE_ONE, POP, SAY(LEN, RAW(1536)), POP), BREAKS_AT(LEN, 1536, 1)},
    {"len is one more than half of what there can be",
     PROGRAM(QUEUE, ADD_OF(0, 1, 32), RING_PUBLISH, SAY(LEN, PLUS(1)), POP),
     BREAKS_AT(LEN, 0x80000001, 0)},
    {"len was not written and its memory is all ones",
     PROGRAM(QUEUE, GIVE_ONE, SCRIBBLE(USED, 0, ONES), SAY(LEN, RING_STALE), POP),
     BREAKS_AT(LEN, 0xFFFFFFFF, 0)},
    {"len becomes 0xffffffff between two reads",
     PROGRAM(QUEUE, GIVE_ONE, GIVE(1, 1), AGAIN(LEN, RAW(0xFFFFFFFF)), POP_ALL), SURVIVES(2)},
    {"len is 0", PROGRAM(QUEUE, GIVE(1, 2), SAY(LEN, RAW(0)), POP), SURVIVES(1)},
    {"len is one less than was writable", PROGRAM(QUEUE, GIVE(1, 2), SAY(LEN, PLUS(-1)), POP),
     SURVIVES(1)},
};

static const struct row table_rows[] = {
    {"id is the second entry of an indirect table",
     PROGRAM(TABLES, GIVE(1, 2), SAY(ID, RAW(1)), POP), BREAKS_AT(ID_NOT_HEAD, 1, 0)},
    {"id of an indirect chain comes twice",
     PROGRAM(TABLES, GIVE(1, 2), GIVE(1, 2), POP, SAY(ID, RING_POPPED), POP),
     BREAKS(ID_NOT_HEAD, 1)},
    {"id of an indirect chain is right in its lower 16 bits only",
     PROGRAM(TABLES, GIVE(1, 2), SAY(ID, HIGH(HEAD_OF(0))), POP), BREAKS(ID_RANGE, 0)},
    {"len is one more than an indirect chain's writable bytes",
     PROGRAM(TABLES, GIVE(1, 3), SAY(LEN, PLUS(1)), POP), BREAKS_AT(LEN, 1537, 0)},
    {"len is that of the table and not of its buffers",
     PROGRAM(TABLES, GIVE(3, 0), SAY(LEN, RAW(48)), POP), BREAKS_AT(LEN, 48, 0)},
    {"used idx counts the entries of an indirect table",
     PROGRAM(TABLES, GIVE(1, 3), SAY(IDX, BEHIND_POPPED(4)), POP), BREAKS_AT(USED_IDX, 4, 0)},
    {"indirect tables become ones when they were published",
     PROGRAM(TABLES, GIVE(1, 3), GIVE(2, 2), SCRIBBLE(TABLES, 0, ONES), POP_ALL, GIVE(1, 1),
             GIVE(1, 2), POP_ALL),
     SURVIVES(4)},
    {"indirect tables become noise while they are filled",
     PROGRAM(TABLES, SCRIBBLE(TABLES, 5, NOISE), GIVE(1, 3), SCRIBBLE(TABLES, 2, NOISE), GIVE(2, 2),
             POP_ALL, GIVE(1, 1), POP_ALL),
     SURVIVES(3)},
    {"an indirect descriptor becomes noise",
     PROGRAM(TABLES, GIVE(1, 3), SCRIBBLE(DESCRIPTORS, 0, NOISE), POP_ALL, GIVE(3, 3), POP_ALL,
             RING_FILL, RING_PUBLISH, POP_ALL),
     SURVIVES(10)},
    {"chains with and without a table come back in reverse order",
     PROGRAM(TABLES, GIVE(1, 3), GIVE(2, 4), GIVE(1, 1), SAY(ID, HEAD_OF(2)), SAY(ID, HEAD_OF(1)),
             POP_ALL, GIVE(2, 2), POP_ALL),
     SURVIVES(4)},
};

static const struct row in_order_rows[] = {
    {"in order but the id is of a chain that was not announced",
     PROGRAM(IN_ORDER, GIVE_THREE, SAY(IDX, BEHIND_POPPED(1)), SAY(ID, HEAD_OF(1)), POP),
     BREAKS(ORDER, 0)},
    {"in order and the batch reaches one chain too far",
     PROGRAM(IN_ORDER, GIVE_THREE, SAY(IDX, BEHIND_POPPED(2)), SAY(ID, HEAD_OF(2)), POP_ALL),
     BREAKS(ORDER, 0)},
    {"in order but an id of the batch before comes again",
     PROGRAM(IN_ORDER, GIVE_THREE, SAY(ID, HEAD_OF(1)), POP, POP, SAY(ID, RING_POPPED), POP),
     BREAKS(ID_NOT_HEAD, 2)},
    {"in order but the id is the middle of a chain",
     PROGRAM(IN_ORDER, GIVE(1, 2), SAY(ID, SECOND_OF(0)), POP), BREAKS(ID_NOT_HEAD, 0)},
    {"in order but the id is right in its lower 16 bits only",
     PROGRAM(IN_ORDER, GIVE_ONE, SAY(ID, HIGH(HEAD_OF(0))), POP), BREAKS(ID_RANGE, 0)},
    {"in order but the chain was not published",
     PROGRAM(IN_ORDER, GIVE_ONE, ADD(1, 1), SAY(ID, RING_UNPUBLISHED), POP),
     BREAKS(ID_NOT_HEAD, 0)},
    {"in order and the batch's last chain has a len too large",
     PROGRAM(IN_ORDER, GIVE(0, 3), GIVE_ONE, SAY(ID, HEAD_OF(1)), SAY(LEN, RAW(513)), POP),
     BREAKS_AT(LEN, 513, 0)},
    {"in order and used idx jumps behind a batch",
     PROGRAM(IN_ORDER, GIVE_THREE, SAY(ID, HEAD_OF(2)), POP, POP, POP,
             SAY(IDX, BEHIND_POPPED(0x4000)), POP),
     BREAKS_AT(USED_IDX, 0x4003, 3)},
    {"in order and used idx goes back within a batch",
     PROGRAM(IN_ORDER, GIVE_THREE, SAY(ID, HEAD_OF(2)), POP, SAY(IDX, BEHIND_POPPED(-1)),
             RING_HAS_USED, POP_ALL),
     SURVIVES(3)},
    {"in order and the id changes between two reads",
     PROGRAM(IN_ORDER, GIVE_THREE, AGAIN(ID, HEAD_OF(2)), AGAIN(LEN, RAW(0xFFFFFFFF)), POP_ALL),
     SURVIVES(3)},
    {"in order and one element stands for all",
     PROGRAM(IN_ORDER, GIVE(1, 2), GIVE(0, 2), GIVE_ONE, SAY(ID, HEAD_OF(2)), SAY(LEN, RAW(0)),
             POP_ALL, GIVE(2, 2), POP_ALL),
     SURVIVES(4)},
    {"in order and one element stands for all across the wrap",
     PROGRAM(AGED_QUEUE(3, RING_WITH_IN_ORDER | RING_WITH_EVENT_IDX, 0, 0xFFFE), GIVE_THREE,
             GIVE_ONE, SAY(ID, HEAD_OF(3)), POP_ALL),
     SURVIVES(4)},
    {"in order in tables and one element is of a chain too far",
     PROGRAM(AGED_QUEUE(2, RING_WITH_IN_ORDER | RING_WITH_TABLES, 3, 0), GIVE(1, 2), GIVE(1, 1),
             GIVE(1, 2), SAY(IDX, BEHIND_POPPED(2)), SAY(ID, HEAD_OF(2)), POP),
     BREAKS(ORDER, 0)},
    {"in order in a queue of 1 and the id is 1",
     PROGRAM(AGED_QUEUE(0, RING_WITH_IN_ORDER, 0, 0), ROUNDS(3), GIVE_ONE, SAY(ID, RAW(1)), POP),
     BREAKS_AT(ID_RANGE, 1, 3)},
    {"in order and a full queue of 32768 in one element",
     PROGRAM(AGED_QUEUE(15, RING_WITH_IN_ORDER, 0, 0), FILL, SAY(ID, RAW(32767)), POP_ALL),
     SURVIVES(32768)},
};

static const struct row suppression_rows[] = {
    {"used flags have every bit set", PROGRAM(QUEUE, SAY(FLAGS, RAW(0xFFFF)), GIVE_ONE, POP_ALL),
     SURVIVES(1)},
    {"used flags have every bit set but the one that counts",
     PROGRAM(QUEUE, SAY(FLAGS, RAW(0xFFFE)), GIVE_ONE, POP_ALL), SURVIVES(1)},
    {"used flags change between two reads",
     PROGRAM(QUEUE, AGAIN(FLAGS, RAW(1)), GIVE_ONE, GIVE_ONE, POP_ALL), SURVIVES(2)},
    {"used flags want no notifications and EVENT IDX is in force",
     PROGRAM(EVENT_IDX, SAY(FLAGS, RAW(1)), GIVE_ONE, POP_ALL), SURVIVES(1), .n_unsaid = 1},
    {"avail event lies behind",
     PROGRAM(EVENT_IDX, SAY(AVAIL_EVENT, RAW(0xFFFF)), GIVE_ONE, SAY(AVAIL_EVENT, RAW(0)), GIVE_ONE,
             POP_ALL),
     SURVIVES(2)},
    {"avail event lies ahead",
     PROGRAM(EVENT_IDX, SAY(AVAIL_EVENT, RAW(1)), GIVE_ONE, SAY(AVAIL_EVENT, RAW(0x4000)), GIVE_ONE,
             POP_ALL),
     SURVIVES(2)},
    {"avail event is half the way round",
     PROGRAM(EVENT_IDX, SAY(AVAIL_EVENT, RAW(0x8000)), GIVE_ONE, SAY(AVAIL_EVENT, RAW(0x8001)),
             ADD(0, 1), GIVE_ONE, POP_ALL),
     SURVIVES(3)},
    {"avail event is the last of a batch",
     PROGRAM(EVENT_IDX, ADD(0, 1), ADD(0, 1), SAY(AVAIL_EVENT, RAW(2)), GIVE_ONE, POP_ALL),
     SURVIVES(3)},
    {"avail event is 0 at the wrap",
     PROGRAM(AGED_QUEUE(3, RING_WITH_EVENT_IDX, 0, 0xFFFF), ADD(0, 1), SAY(AVAIL_EVENT, RAW(0)),
             GIVE_ONE, SAY(AVAIL_EVENT, RAW(0)), GIVE_ONE, POP_ALL),
     SURVIVES(3)},
    {"avail event changes between two reads",
     PROGRAM(EVENT_IDX, AGAIN(AVAIL_EVENT, RAW(0x8000)), GIVE_THREE, POP_ALL), SURVIVES(3)},
    {"avail event is never moved and its memory is noise",
     PROGRAM(EVENT_IDX, SCRIBBLE(USED, 0, NOISE), SAY(AVAIL_EVENT, RING_STALE), GIVE_ONE,
             SAY(AVAIL_EVENT, RING_STALE), GIVE_ONE, POP_ALL),
     SURVIVES(2)},
    {"avail event lies within a full queue of 32768",
     PROGRAM(AGED_QUEUE(15, RING_WITH_EVENT_IDX, 0, 0xC000), RING_FILL, RING_PUBLISH,
             SAY(AVAIL_EVENT, RAW(0x3FFF)), RING_NOTIFY, POP_ALL),
     SURVIVES(32768)},
    {"used idx jumps with EVENT IDX while callbacks wait for three",
     PROGRAM(EVENT_IDX, GIVE_THREE, ENABLE(3), SAY(IDX, BEHIND_POPPED(4)), POP),
     BREAKS_AT(USED_IDX, 4, 0)},
};

#define SCRIBBLED(log2, with)                                                                      \
    AGED_QUEUE(log2, RING_MANNER_SCRIBBLES | (with), 4, 0), GIVE(1, 2), GIVE(0, 1), POP,           \
        ENABLE(1), GIVE(1, 3), RING_HAS_USED, POP_ALL, RING_DISABLE, RING_FILL, RING_PUBLISH,      \
        RING_NOTIFY, RING_INTERRUPT, POP_ALL, GIVE(1, 2), POP_ALL

static const struct row scribble_rows[] = {
    {"descriptors become ones when they were published",
     PROGRAM(QUEUE, GIVE(1, 2), GIVE(2, 2), SCRIBBLE(DESCRIPTORS, 0, ONES), POP_ALL, GIVE(3, 3),
             GIVE(1, 1), POP_ALL),
     SURVIVES(4)},
    {"descriptors become zeros when they were published",
     PROGRAM(QUEUE, GIVE(1, 2), GIVE(2, 2), SCRIBBLE(DESCRIPTORS, 0, ZEROS), POP_ALL, GIVE(3, 3),
             GIVE(1, 1), POP_ALL),
     SURVIVES(4)},
    {"free descriptors become noise",
     PROGRAM(QUEUE, SCRIBBLE(DESCRIPTORS, 0, NOISE), GIVE(1, 2), POP_ALL, GIVE(4, 4), POP_ALL),
     SURVIVES(2)},
    {"descriptors become noise while a chain is added",
     PROGRAM(QUEUE, SCRIBBLE(DESCRIPTORS, 4, NOISE), GIVE(2, 2), SCRIBBLE(DESCRIPTORS, 3, ONES),
             GIVE(2, 2), POP_ALL, GIVE(4, 4), POP_ALL),
     SURVIVES(3)},
    {"descriptors become noise while a chain is popped",
     PROGRAM(QUEUE, GIVE(1, 2), GIVE(2, 2), SCRIBBLE(DESCRIPTORS, 4, NOISE), POP_ALL, GIVE(4, 4),
             POP_ALL),
     SURVIVES(3)},
    {"the available ring becomes ones when it was published",
     PROGRAM(QUEUE, GIVE(1, 2), SCRIBBLE(AVAIL, 0, ONES), GIVE(1, 2), POP_ALL, GIVE_ONE, POP_ALL),
     SURVIVES(3)},
    {"the available ring becomes noise before idx is stored",
     PROGRAM(QUEUE, ADD(1, 2), SCRIBBLE(AVAIL, 2, NOISE), RING_PUBLISH, RING_NOTIFY, POP_ALL,
             GIVE_ONE, POP_ALL),
     SURVIVES(2)},
    {"available idx becomes 0 before the device is notified",
     PROGRAM(EVENT_IDX, ADD(1, 2), RING_PUBLISH, SCRIBBLE(AVAIL, 1, ZEROS), RING_NOTIFY, POP_ALL,
             GIVE_ONE, POP_ALL),
     SURVIVES(2)},
    {"used event becomes ones while callbacks are turned on",
     PROGRAM(EVENT_IDX, GIVE_ONE, SCRIBBLE(AVAIL, 2, ONES), ENABLE(1), POP_ALL, GIVE_ONE,
             RING_DISABLE, POP_ALL),
     SURVIVES(2)},
    {"the used ring becomes ones while a chain is popped",
     PROGRAM(QUEUE, GIVE_ONE, GIVE_ONE, SCRIBBLE(USED, 2, ONES), SAY(ID, RING_STALE), POP_ALL),
     BREAKS_AT(ID_RANGE, 0xFFFFFFFF, 0)},
    {"the used ring becomes zeros between id and len",
     PROGRAM(QUEUE, GIVE(1, 2), SCRIBBLE(USED, 4, ZEROS), SAY(LEN, RING_STALE), POP_ALL),
     SURVIVES(1)},
    {"all that is shared becomes ones when the queue is broken",
     PROGRAM(TABLES, GIVE(1, 2), GIVE(1, 1), SAY(IDX, BEHIND_POPPED(3)), POP,
             SCRIBBLE(ALL, 0, ONES), POP, GIVE_ONE, RING_INTERRUPT),
     BREAKS_AT(USED_IDX, 3, 0)},
    {"all that is shared becomes noise before each access", PROGRAM(SCRIBBLED(3, 0)), SURVIVES(12)},
    {"all that is shared becomes noise before each access with EVENT IDX",
     PROGRAM(SCRIBBLED(3, RING_WITH_EVENT_IDX)), SURVIVES(12)},
    {"all that is shared becomes noise before each access with tables",
     PROGRAM(SCRIBBLED(3, RING_WITH_TABLES | RING_WITH_ORDER_PLATFORM)), SURVIVES(12)},
    {"all that is shared becomes noise before each access in order",
     PROGRAM(SCRIBBLED(3, RING_WITH_IN_ORDER | RING_WITH_TABLES | RING_WITH_EVENT_IDX)),
     SURVIVES(12)},
    {"all that is shared becomes noise before each access to a queue of 1",
     PROGRAM(SCRIBBLED(0, RING_WITH_TABLES)), SURVIVES(2)},
    {"all that is shared becomes noise between the queue's lives",
     PROGRAM(TABLES, GIVE(1, 2), GIVE(2, 2), POP, SCRIBBLE(ALL, 0, NOISE), RESET, GIVE(1, 2),
             GIVE_ONE, POP_ALL),
     SURVIVES(3)},
};

static void row_is_taken_as_it_should(void **state)
{
    const struct row *row = *state;
    struct lying_ring_outcome outcome;

    lying_ring_play(&DRIVER, row->program, row->n_bytes, &outcome);

    assert_int_equal(outcome.fault, row->fault);
    if (row->value != ANY_VALUE)
        assert_int_equal(outcome.fault_value, row->value);
    assert_int_equal(outcome.n_popped, row->n_popped);
    assert_int_equal(outcome.n_unsaid, row->n_unsaid);
}

static size_t row_seed(const void *row, uint8_t *ret_bytes)
{
    const struct row *its = row;

    assert_true(its->n_bytes <= HOSTILE_SEED_BYTES_MAX);
    memcpy(ret_bytes, its->program, its->n_bytes);
    return its->n_bytes;
}

static const struct hostile_table tables_of_rows[] = {
    HOSTILE_TABLE("used_idx", idx_rows),        HOSTILE_TABLE("used_id", id_rows),
    HOSTILE_TABLE("used_len", len_rows),        HOSTILE_TABLE("indirect_tables", table_rows),
    HOSTILE_TABLE("in_order", in_order_rows),   HOSTILE_TABLE("suppression", suppression_rows),
    HOSTILE_TABLE("scribbling", scribble_rows),
};

int main(int argc, char **argv)
{
    const struct hostile_program program = {
        .tables = tables_of_rows,
        .n_tables = ARRAY_LENGTH(tables_of_rows),
        .test = row_is_taken_as_it_should,
        .seed = row_seed,
        .seed_folder = SEEDS,
    };

    return hostile_main(&program, argc, argv);
}
