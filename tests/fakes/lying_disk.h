/** @file
 * A whole encounter with a hostile disk: it is opened, used, and closed, while it lies as its
 * script says. What has to hold in each of them, whatever the lies, is checked here:
 *
 *   - Success means that the device said so, of each request: status 0, and a length that covers
 *     all the data; of a legacy device the status is enough (5.2.6.3). Where an honest device served the
 *     requests, the data is right.
 *   - No configuration field is believed unless the generation was the same before and after it; of a
 *     legacy device, unless it was read twice with the same result (2.5.4).
 *   - Nothing is sent that breaks a rule (tests/fakes/), among these the limits that the device
 *     gave; nothing beyond the end of the disk; nothing at all to a disk that was not opened.
 *   - A read is sent twice at most, and again only when the device has let go of it unanswered; all
 *     else is sent once. A flush that succeeds covers all that was changed before.
 *   - Memory goes back to its owner after the device has let go of it: by its answer, by a reset
 *     that it confirmed, or because it was cut off from the bus; the same holds before a queue is
 *     made anew. Nothing leaks; what a device that confirmed nothing knows of is kept for good.
 *   - A device that fails is used again after a reset, but not twice with no answer between. One
 *     that lied on a queue, or is gone, is not, unless the caller resets it; and one that is not
 *     used any more is asked for nothing.
 *   - Each request and each reset ends in bounded time, by a clock that waiting moves; the driver
 *     waits, and does not spin on the clock.
 *   - The device is left reset or cut off, and a failure that is the device's has words.
 *
 * A breach fails the test: by cmocka, and in a fuzzer by abort().
 * Knows:  the honest fakes, which play the device; tests/hostile/disk_driver.h.
 */
#ifndef TESTS_FAKES_LYING_DISK_H
#define TESTS_FAKES_LYING_DISK_H

#include "tests/fakes/fake_platform.h"
#include "tests/fakes/lies.h"
#include "tests/hostile/disk_driver.h"

/** The truth about the disk. */
#define LYING_DISK_SECTORS      128u
#define LYING_DISK_SIZE_MAX     4096u
#define LYING_DISK_SEG_MAX      4u
#define LYING_DISK_CONFIG_BYTES 72u
#define LYING_DISK_QUEUE_SIZE   64u
#define LYING_DISK_QUEUES       4u
#define LYING_DISK_RANGE_MAX    16u
#define LYING_DISK_GENERATION   7u
#define LYING_DISK_ID           "twenty bytes, no end"

/** What is done with the disk when it could be opened. */
enum disk_use {
    DISK_READ_BLOCK,
    DISK_READ_MANY, /**< blocks, as several requests in flight */
    DISK_WRITE_BLOCK,
    DISK_WRITE_MANY,
    DISK_FLUSH, /**< of a block that is written before */
    DISK_GET_ID,
    DISK_DISCARD, /**< blocks, as many requests as its limits want; and a flush, as for the next two */
    DISK_WRITE_ZEROES,
    DISK_SECURE_ERASE,
    DISK_TOGETHER, /**< reads, writes, a discard, GET_ID and a flush at once */
    DISK_RESET,    /**< by the caller, between two reads, of which the first may fail */
    DISK_REFRESH,  /**< of the capacity, before a read */
    DISK_USES,
};

#define DISK_REPEATS_MAX 3u

struct disk_script {
    uint8_t use;
    uint8_t fail_call; /**< enum fake_call of the platform */
    uint8_t fail_nth;  /**< which of these fails; 0: none */
    uint8_t repeats;   /**< of the use, also after it failed; up to DISK_REPEATS_MAX */
    bool is_legacy;    /**< it is driven by its legacy interface */
    struct lie lies[LIES_MAX];
};

struct disk_outcome {
    vio_status opened;
    bool was_used;        /**< false also when its blocks are too large to be worth a test's time */
    vio_status used;      /**< VIO_OK also when it was not tried */
    vio_status used_last; /**< of the repeats */
    bool isolated;
    unsigned n_untold;         /**< lies and failing calls that there was no occasion for */
    uint64_t capacity_sectors; /**< as the driver understood it */
    char text[96];             /**< of the first failure, "" if there was none */
    uint64_t value;
    uint64_t took_us; /**< opening and using, by the fake clock */
};

void disk_script_play(const struct disk_script *script, struct disk_outcome *ret_outcome);

/* A script as bytes of a file: use (and 0x80 if legacy), fail_call, fail_nth, repeats, and the lies. */
#define DISK_SCRIPT_LEGACY    0x80u
#define DISK_SCRIPT_BYTES_MAX (4u + LIES_MAX * LIE_BYTES)
size_t disk_script_write(const struct disk_script *script,
                         uint8_t ret_bytes[DISK_SCRIPT_BYTES_MAX]);
void disk_script_read(const uint8_t *bytes, size_t n_bytes, struct disk_script *ret_script);

#endif
