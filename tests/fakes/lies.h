/** @file
 * Lies as data: what a device answers in place of the truth, to which question, and from when on.
 * A list of them turns an honest fake into a hostile device. As a list is plain data, a row of a
 * table, the input of a fuzzer and a file of its corpus are the same thing.
 * Knows:  nothing of drivers. A lie says "the third look at the status after ACKNOWLEDGE was
 *         written", and not where in the driver that is.
 */
#ifndef TESTS_FAKES_LIES_H
#define TESTS_FAKES_LIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What a driver can ask a device. LIE_NOTHING ends a list. */
enum lie_about {
    LIE_NOTHING,
    /* Through a transport */
    LIE_STATUS,
    LIE_FEATURES,
    LIE_QUEUE_SIZE,   /**< of the queue at lie.at, as all that is about a queue */
    LIE_QUEUE_ENABLE, /**< the truth is 0; odd: refused, even: enabled already */
    LIE_VECTOR,       /**< the truth is 0; all else: refused */
    LIE_CONFIG,       /**< field or half of one, at lie.at */
    LIE_CONFIG_BYTES,
    LIE_GENERATION,
    LIE_REGISTERS, /**< all of the above, and each register of a PCI function */
    /* In shared memory */
    LIE_USED_FLAGS,
    LIE_USED_IDX,
    LIE_USED_ID,
    LIE_USED_LEN,
    LIE_AVAIL_EVENT,
    LIE_ANSWER, /**< status byte of a request */
    /* Of a PCI function, at lie.at in the structure */
    LIE_COMMON,
    LIE_DEVICE_CONFIG,
    LIE_ISR,
    /* Later ones of the first two kinds */
    LIE_QUEUE_RESET, /**< of the queue at lie.at; the truth is 1, all even: not reset yet */
    LIE_ID,          /**< in shared memory: byte of the answer to GET_ID, at lie.at */
    LIE_KINDS,
};

/** What is said in place of the truth. Cut to the width of the question. */
enum lie_how {
    LIE_IS,
    LIE_XOR,
    LIE_CLEARS, /**< these bits */
    LIE_PLUS,
    LIE_GROWS, /**< the truth plus once, twice, three times ... the value */
    LIE_HOWS,
};

/** In lie.after: while the driver resets a device that it has acknowledged before. */
#define LIE_AT_LAST_RESET 0xFFu

/** In lie.after: once the driver has reset a device that was in use, or a queue of it; and till then. */
#define LIE_ONCE_RESET  0xFEu
#define LIE_UNTIL_RESET 0xFDu

/** In lie.at: at any place. */
#define LIE_ANYWHERE 0xFFu

struct lie {
    uint8_t about;
    uint8_t how;
    uint8_t after;  /**< only while all these bits are in the status as the driver wrote it last */
    uint8_t at;     /**< where a question has a place: this one */
    uint16_t from;  /**< so many questions of the kind are answered truly before */
    uint16_t count; /**< and so many falsely; 0: all */
    uint64_t value;
};

#define LIE_BYTES 16u
#define LIES_MAX  16u

/** A device's lies, and how far it has got with them. */
struct lies {
    struct lie list[LIES_MAX];
    unsigned seen[LIES_MAX]; /**< questions of the kind */
    unsigned told[LIES_MAX]; /**< answers that it changed */
    uint8_t status_written;
    bool acknowledged;
    bool was_in_use;
    bool was_reset; /**< after it was in use */
};

/** The driver writes the status, on which lie.after depends. */
void lies_status_written(struct lies *lies, uint8_t status);

/** The driver resets a queue, on which lie.after depends as well. */
void lies_queue_reset(struct lies *lies);

/**
 * The answer to a question.
 *
 * @param lies         those of the device
 * @param about        not LIE_REGISTERS
 * @param at           where, if the kind of question has places
 * @param width_bytes  1 to 8
 * @param truth        what an honest device answers
 */
uint64_t lies_answer(struct lies *lies, enum lie_about about, unsigned at, unsigned width_bytes,
                     uint64_t truth);

/** Lies that were never told, for nobody asked, or the answer was the same without them. */
unsigned lies_untold(const struct lies *lies);

/** Lies as bytes of a file, LIE_BYTES each, little-endian in the order of struct lie. */
size_t lies_write(const struct lie *list, uint8_t *ret_bytes);

/** The same backwards, from any bytes; what is left over or too much is passed over. */
void lies_read(const uint8_t *bytes, size_t n_bytes, struct lie ret_list[LIES_MAX]);

#endif
