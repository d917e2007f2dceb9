/** @file
 * Rows of tests/hostile/test_hostile_disk.c: ranges, the serial number, several queues, the cache's
 * mode, and what a caller does at once or when all else has failed.
 */
#ifndef TESTS_HOSTILE_DISK_ROWS_MORE_H
#define TESTS_HOSTILE_DISK_ROWS_MORE_H

#include "tests/hostile/disk_rows.h"

#define DISCARD_MAX       VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS
#define DISCARD_SEGMENTS  VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG
#define DISCARD_ALIGNMENT VIRTIO_BLK_CONFIG_DISCARD_SECTOR_ALIGNMENT
#define ZEROES_MAX        VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS
#define MAY_UNMAP         VIRTIO_BLK_CONFIG_WRITE_ZEROES_MAY_UNMAP
#define ERASE_SEGMENTS    VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SEG
#define ERASE_ALIGNMENT   VIRTIO_BLK_CONFIG_SECURE_ERASE_ALIGNMENT
#define WRITEBACK         VIRTIO_BLK_CONFIG_WRITEBACK

#define WITH_DISCARD OFFERS(BIT(VIRTIO_BLK_F_DISCARD))
#define WITH_ZEROES  OFFERS(BIT(VIRTIO_BLK_F_WRITE_ZEROES))
#define WITH_ERASE   OFFERS(BIT(VIRTIO_BLK_F_SECURE_ERASE))
#define WITH_MQ      OFFERS(BIT(VIRTIO_BLK_F_MQ))
#define WITH_WCE     OFFERS(BIT(VIRTIO_BLK_F_CONFIG_WCE))

#define USES(what, ...)                                                                            \
    {                                                                                              \
        .use = (what), .lies = { __VA_ARGS__ }                                                     \
    }

static const struct row range_rows[] = {
    {"a discard in pieces", USES(DISK_DISCARD, WITH_DISCARD), WORKS},
    {"zeroes in pieces", USES(DISK_WRITE_ZEROES, WITH_ZEROES), WORKS},
    {"a secure erase in pieces", USES(DISK_SECURE_ERASE, WITH_ERASE), WORKS},
    {"a discard that is not on offer", USES(DISK_DISCARD), FAILS(UNSUPPORTED, 0)},
    {"a discard of 0 sectors at most", USES(DISK_DISCARD, WITH_DISCARD, FIELD(DISCARD_MAX, 0)),
     FAILS(UNSUPPORTED, 0)},
    {"a discard of 0 segments at most",
     USES(DISK_DISCARD, WITH_DISCARD, FIELD(DISCARD_SEGMENTS, 0)), FAILS(UNSUPPORTED, 0)},
    {"a discard of less than a block at most",
     USES(DISK_DISCARD, WITH_DISCARD, FIELD(BLK_SIZE, 4096), FIELD(DISCARD_MAX, 7)),
     FAILS(UNSUPPORTED, 0)},
    {"a discard of a block and a sector at most",
     USES(DISK_DISCARD, WITH_DISCARD, FIELD(BLK_SIZE, 4096), FIELD(DISCARD_MAX, 9)), WORKS},
    {"a discard of 2^32 - 1 sectors at most",
     USES(DISK_DISCARD, WITH_DISCARD, FIELD(DISCARD_MAX, UINT32_MAX),
          FIELD(DISCARD_SEGMENTS, UINT32_MAX)),
     WORKS},
    {"a discard aligned to 0", USES(DISK_DISCARD, WITH_DISCARD, FIELD(DISCARD_ALIGNMENT, 0)),
     WORKS},
    {"a discard aligned to 3", USES(DISK_DISCARD, WITH_DISCARD, FIELD(DISCARD_ALIGNMENT, 3)),
     WORKS},
    {"a discard aligned to parts of blocks",
     USES(DISK_DISCARD, WITH_DISCARD, FIELD(BLK_SIZE, 4096), FIELD(DISCARD_ALIGNMENT, 12)), WORKS},
    {"a discard aligned to more than its length",
     USES(DISK_DISCARD, WITH_DISCARD, FIELD(DISCARD_ALIGNMENT, UINT32_MAX)), WORKS},
    {"zeroes of 0 sectors at most", USES(DISK_WRITE_ZEROES, WITH_ZEROES, FIELD(ZEROES_MAX, 0)),
     FAILS(UNSUPPORTED, 0)},
    {"zeroes that may unmap 255 times", USES(DISK_WRITE_ZEROES, WITH_ZEROES, FIELD(MAY_UNMAP, 255)),
     WORKS},
    {"a secure erase of 0 segments at most",
     USES(DISK_SECURE_ERASE, WITH_ERASE, FIELD(ERASE_SEGMENTS, 0)), FAILS(UNSUPPORTED, 0)},
    {"a secure erase aligned to 7", USES(DISK_SECURE_ERASE, WITH_ERASE, FIELD(ERASE_ALIGNMENT, 7)),
     WORKS},
    {"a zoned disk that discards",
     USES(DISK_DISCARD, OFFERS(BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_ZONED))),
     FAILS(UNSUPPORTED, 0)},
    {"a read-only disk that discards",
     USES(DISK_DISCARD, OFFERS(BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_RO))),
     FAILS(READ_ONLY, 0)},
    {"a configuration space that ends in the discard limits",
     {.lies = {WITH_DISCARD, SAYS(LIE_CONFIG_BYTES, 47)}},
     REFUSED(DEVICE, 47)},
    {"a discard ends with status 1", USES(DISK_DISCARD, WITH_DISCARD, SAYS(LIE_ANSWER, 1)),
     FAILS(IO, 1)},
    {"the second piece of a discard ends with status 2",
     USES(DISK_DISCARD, WITH_DISCARD, {.about = LIE_ANSWER, .from = 1, .count = 1, .value = 2}),
     FAILS(UNSUPPORTED, 2)},
    {"a discard ends and its status is not written",
     USES(DISK_DISCARD, WITH_DISCARD, SAYS(LIE_ANSWER, 0xFF)), FAILS(DEVICE, 0xFF)},
    {"zeroes with len 0", USES(DISK_WRITE_ZEROES, WITH_ZEROES, SAYS(LIE_USED_LEN, 0)),
     FAILS(DEVICE, 0)},
    {"a discard that wrote to its range", USES(DISK_DISCARD, WITH_DISCARD, SAYS(LIE_USED_LEN, 17)),
     FAILS(QUEUE_BROKEN, 17)},
    {"a discard is never answered", USES(DISK_DISCARD, WITH_DISCARD, NEVER),
     FAILS(TIMEOUT, ANY_VALUE)},
};

static const struct row queue_rows[] = {
    {"0 queues", USES(DISK_READ_MANY, WITH_MQ, FIELD(NUM_QUEUES, 0)), WORKS},
    {"65535 queues of which four are there",
     USES(DISK_READ_MANY, WITH_MQ, FIELD(NUM_QUEUES, 65535), OF_QUEUE(0, LIE_QUEUE_SIZE, 16)),
     WORKS},
    {"eight queues of 16",
     USES(DISK_READ_MANY, WITH_MQ, FIELD(NUM_QUEUES, 8),
          OF_QUEUE(LIE_ANYWHERE, LIE_QUEUE_SIZE, 16)),
     WORKS},
    {"eight queues of 4",
     USES(DISK_TOGETHER, OFFERS(BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD)),
          FIELD(NUM_QUEUES, 8), OF_QUEUE(LIE_ANYWHERE, LIE_QUEUE_SIZE, 4)),
     WORKS},
    {"the second queue is not there", USES(DISK_READ_MANY, WITH_MQ, OF_QUEUE(1, LIE_QUEUE_SIZE, 0)),
     WORKS},
    {"the second queue is refused", USES(DISK_READ_MANY, WITH_MQ, OF_QUEUE(1, LIE_QUEUE_ENABLE, 1)),
     WORKS},
    {"the second queue holds no request",
     USES(DISK_READ_MANY, WITH_MQ, OF_QUEUE(1, LIE_QUEUE_SIZE, 2)), WORKS},
    {"the third queue is smaller than the others",
     USES(DISK_READ_MANY, WITH_MQ, OF_QUEUE(2, LIE_QUEUE_SIZE, 4)), WORKS},
    {"an idle queue seems to have answers",
     USES(DISK_READ_BLOCK, WITH_MQ, AFTER(LIE_UNTIL_RESET, LIE_USED_IDX, 0),
          OF_QUEUE(1, LIE_USED_IDX, 5)),
     WORKS},
    {"used idx moves at every other look only",
     USES(DISK_READ_BLOCK, NEVER_UNTIL_RESET,
          {.about = LIE_USED_IDX, .how = LIE_GROWS, .after = LIE_UNTIL_RESET, .value = 0x8000}),
     WORKS},
    {"an answer on the second queue to no request",
     USES(DISK_READ_MANY, WITH_MQ, OF_QUEUE(1, LIE_USED_ID, 9)), FAILS(QUEUE_BROKEN, 9)},
    {"used idx of the second queue jumps",
     USES(DISK_WRITE_MANY, WITH_MQ,
          {.about = LIE_USED_IDX, .at = 1, .how = LIE_PLUS, .value = 0x100}),
     FAILS(QUEUE_BROKEN, ANY_VALUE)},
    {"a length on the second queue is too long",
     USES(DISK_READ_MANY, WITH_MQ, OF_QUEUE(1, LIE_USED_LEN, UINT32_MAX)),
     FAILS(QUEUE_BROKEN, UINT32_MAX)},
    {"the last queue never answers and reads go by the other one",
     USES(DISK_READ_MANY, WITH_MQ, FIELD(NUM_QUEUES, 2), OF_QUEUE(1, LIE_USED_IDX, 0)), WORKS},
    {"the last queue never answers and has too many reads",
     {.use = DISK_READ_MANY,
      .repeats = 1,
      .lies = {WITH_MQ, FIELD(NUM_QUEUES, 2), FIELD(SEG_MAX, 1), OF_QUEUE(1, LIE_USED_IDX, 0)}},
     FAILS(TIMEOUT, ANY_VALUE),
     .used_last = VIO_ERR_TIMEOUT},
    {"the second queue never answers until it is reset",
     USES(DISK_READ_MANY, OFFERS(BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_F_RING_RESET)),
          {.about = LIE_USED_IDX, .at = 1, .after = LIE_UNTIL_RESET, .value = 0}),
     WORKS},
    {"an optimal size of 2^32 - 1 blocks",
     {.lies = {FIELD(VIRTIO_BLK_CONFIG_OPT_IO_SIZE, UINT32_MAX)}},
     WORKS},
    {"an optimal size of 0 blocks", {.lies = {FIELD(VIRTIO_BLK_CONFIG_OPT_IO_SIZE, 0)}}, WORKS},
    {"a cache that is none", USES(DISK_FLUSH, WITH_WCE, FIELD(WRITEBACK, 0)), WORKS},
    {"a cache of mode 2", USES(DISK_FLUSH, WITH_WCE, FIELD(WRITEBACK, 2)), WORKS},
    {"a cache of mode 255", USES(DISK_FLUSH, WITH_WCE, FIELD(WRITEBACK, 255)), WORKS},
    {"a cache without flush",
     USES(DISK_FLUSH, WITH_WCE, HIDES(LIE_FEATURES, BIT(VIRTIO_BLK_F_FLUSH))), WORKS},
    {"a cache whose mode is beyond the configuration space",
     USES(DISK_FLUSH, WITH_WCE, SAYS(LIE_CONFIG_BYTES, 32)), WORKS},
};

#define NEW_GENERATION                                                                             \
    {                                                                                              \
        .about = LIE_GENERATION, .how = LIE_PLUS, .from = 2, .value = 1                            \
    }
#define FIELD_LATER(where, number)                                                                 \
    {                                                                                              \
        .about = LIE_CONFIG, .at = (where), .from = 1, .value = (number)                           \
    }

static const struct row call_rows[] = {
    {"a serial number without an end", USES(DISK_GET_ID), WORKS},
    {"a serial number that changes while it is read",
     USES(DISK_GET_ID, {.about = LIE_ID, .at = LIE_ANYWHERE, .how = LIE_GROWS, .value = 7}), WORKS},
    {"a serial number of all ones", USES(DISK_GET_ID, OF_QUEUE(LIE_ANYWHERE, LIE_ID, 0xFF)), WORKS},
    {"a serial number that nobody knows", USES(DISK_GET_ID, SAYS(LIE_ANSWER, 2)),
     FAILS(UNSUPPORTED, 2)},
    {"a serial number that is a byte short", USES(DISK_GET_ID, SAYS(LIE_USED_LEN, 20)),
     FAILS(DEVICE, 20)},
    {"a serial number of which nothing came", USES(DISK_GET_ID, SAYS(LIE_USED_LEN, 1)),
     FAILS(DEVICE, 1)},
    {"a serial number that is a byte too long", USES(DISK_GET_ID, SAYS(LIE_USED_LEN, 22)),
     FAILS(QUEUE_BROKEN, 22)},
    {"a serial number that never comes",
     {.use = DISK_GET_ID, .repeats = 2, .lies = {NEVER}},
     FAILS(TIMEOUT, ANY_VALUE),
     .used_last = VIO_ERR_TIMEOUT},
    {"all at once", USES(DISK_TOGETHER, WITH_DISCARD), WORKS},
    {"all at once on a read-only disk",
     USES(DISK_TOGETHER, OFFERS(BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_RO))),
     FAILS(READ_ONLY, 0)},
    {"all at once and the second fails",
     {.use = DISK_TOGETHER,
      .repeats = 1,
      .lies = {WITH_DISCARD, {.about = LIE_ANSWER, .from = 3, .count = 1, .value = 1}}},
     FAILS(IO, 1),
     .used_last = VIO_OK},
    {"all at once and nothing is answered until the reset",
     {.use = DISK_TOGETHER, .repeats = 1, .lies = {WITH_DISCARD, NEVER_UNTIL_RESET}},
     FAILS(TIMEOUT, ANY_VALUE),
     .used_last = VIO_OK},
    {"all at once and nothing is answered",
     {.use = DISK_TOGETHER, .repeats = 1, .lies = {WITH_DISCARD, NEVER}},
     FAILS(TIMEOUT, ANY_VALUE),
     .used_last = VIO_ERR_TIMEOUT},
    {"all at once and the third answer is a lie",
     USES(DISK_TOGETHER, WITH_DISCARD, {.about = LIE_USED_ID, .from = 2, .value = 0x10000}),
     FAILS(QUEUE_BROKEN, 0x10000)},
    {"all at once on several queues and the first answer is a lie",
     USES(DISK_TOGETHER, OFFERS(BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD)),
          SAYS(LIE_USED_ID, 0x10000)),
     FAILS(QUEUE_BROKEN, 0x10000)},
    {"reset by the caller", {.use = DISK_RESET, .repeats = 2}, WORKS, .used_last = VIO_OK},
    {"reset by the caller after a lie", USES(DISK_RESET, AFTER(LIE_UNTIL_RESET, LIE_USED_ID, 77)),
     WORKS},
    {"reset by the caller after two failures",
     {.use = DISK_RESET, .lies = {{.about = LIE_USED_IDX, .count = 700, .value = 0}}},
     WORKS},
    {"reset by the caller and not confirmed",
     {.use = DISK_RESET, .repeats = 1, .lies = {AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0x0F)}},
     FAILS(TIMEOUT, ANY_VALUE),
     .used_last = VIO_ERR_TIMEOUT,
     .isolated = true},
    {"reset by the caller and then without a queue",
     {.use = DISK_RESET, .repeats = 1, .lies = {AFTER(LIE_ONCE_RESET, LIE_QUEUE_SIZE, 0)}},
     FAILS(UNSUPPORTED, ANY_VALUE),
     .used_last = VIO_ERR_UNSUPPORTED},
    {"the capacity shrinks", USES(DISK_REFRESH, NEW_GENERATION, FIELD_LATER(CAPACITY_LOW, 1)),
     WORKS},
    {"the capacity shrinks and the generation begins anew",
     USES(DISK_REFRESH, {.about = LIE_GENERATION, .from = 2, .value = 0},
          FIELD_LATER(CAPACITY_LOW, 1)),
     WORKS},
    {"the capacity becomes 0", USES(DISK_REFRESH, NEW_GENERATION, FIELD_LATER(CAPACITY_LOW, 0)),
     FAILS(RANGE, 0)},
    {"the capacity becomes 2^64 - 1",
     USES(DISK_REFRESH, NEW_GENERATION, FIELD_LATER(CAPACITY_LOW, ALL_ONES),
          FIELD_LATER(CAPACITY_HIGH, ALL_ONES)),
     FAILS(RANGE, 0)},
    {"the capacity changes for ever",
     USES(DISK_REFRESH, FIELD_LATER(CAPACITY_LOW, 8),
          {.about = LIE_GENERATION, .how = LIE_GROWS, .from = 2, .value = 1}),
     FAILS(RANGE, 0)},
    {"the capacity changes and only the generation tells",
     USES(DISK_REFRESH, FIELD_LATER(CAPACITY_LOW, 8)), WORKS, .n_untold = 1},
    {"gone when the capacity is looked at",
     USES(DISK_REFRESH, AFTER(DRIVER_OK, LIE_REGISTERS, ALL_ONES),
          AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0xFF)),
     FAILS(GONE, 0xFF), .isolated = true},
};

#endif
