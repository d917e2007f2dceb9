/*
 * A disk that misbehaves, one way per row: at bring-up, in its configuration, in its answers. What
 * holds in every row is checked by tests/fakes/lying_disk.h; a row adds how the driver has to take
 * this one. Each row is a seed of tests/fuzz/fuzz_config.c, too: a row's lies are data.
 */

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/hostile_rows.h"
#include "tests/fakes/lying_disk.h"
#include "tests/fakes/testing.h"

#define SEEDS "tests/fuzz/corpus/config"

#define ACK         VIRTIO_STATUS_ACKNOWLEDGE
#define DRIVER      VIRTIO_STATUS_DRIVER
#define FEATURES_OK VIRTIO_STATUS_FEATURES_OK
#define DRIVER_OK   VIRTIO_STATUS_DRIVER_OK
#define NEEDS_RESET VIRTIO_STATUS_DEVICE_NEEDS_RESET

#define BIT(feature) VIO_FEATURE(feature)
#define ALL_ONES     UINT64_MAX

/* Fields of the configuration space; those of 64 bits by their halves. */
#define CAPACITY_LOW  VIRTIO_BLK_CONFIG_CAPACITY
#define CAPACITY_HIGH (VIRTIO_BLK_CONFIG_CAPACITY + 4)
#define SIZE_MAX_     VIRTIO_BLK_CONFIG_SIZE_MAX
#define SEG_MAX       VIRTIO_BLK_CONFIG_SEG_MAX
#define BLK_SIZE      VIRTIO_BLK_CONFIG_BLK_SIZE
#define EXPONENT      VIRTIO_BLK_CONFIG_PHYSICAL_BLOCK_EXP
#define ALIGNMENT     VIRTIO_BLK_CONFIG_ALIGNMENT_OFFSET

/* Lies, as they read best in a row. */
#define SAYS(what, number)                                                                         \
    {                                                                                              \
        .about = (what), .value = (number)                                                         \
    }
#define ADDS(what, number)                                                                         \
    {                                                                                              \
        .about = (what), .how = LIE_PLUS, .value = (uint64_t)(number)                              \
    }
#define HIDES(what, bits)                                                                          \
    {                                                                                              \
        .about = (what), .how = LIE_CLEARS, .value = (bits)                                        \
    }
#define FLIPS(what, bits)                                                                          \
    {                                                                                              \
        .about = (what), .how = LIE_XOR, .value = (bits)                                           \
    }
#define FIELD(where, number)                                                                       \
    {                                                                                              \
        .about = LIE_CONFIG, .at = (where), .value = (number)                                      \
    }
#define AFTER(bits, what, number)                                                                  \
    {                                                                                              \
        .about = (what), .after = (bits), .value = (number)                                        \
    }
#define FLIPS_AFTER(bits, what, flipped)                                                           \
    {                                                                                              \
        .about = (what), .how = LIE_XOR, .after = (bits), .value = (flipped)                       \
    }

/* A value that a row does not foresee: a time, or one that only the driver knows. */
#define ANY_VALUE UINT64_C(0x5EED)

struct row {
    const char *name;
    struct disk_script script;
    vio_status opened;
    vio_status used;
    vio_status used_last; /* if the use is repeated */
    bool isolated;
    bool is_only_opened;
    unsigned n_untold; /* lies and failing calls that the driver gives no occasion for */
    uint64_t value;    /* that the failure names */
    uint64_t sectors;  /* that the disk has to be found to have; 0: any number */
};

#define WORKS                 .used = VIO_OK
#define REFUSED(what, number) .opened = VIO_ERR_##what, .value = (number)
#define FAILS(what, number)   .used = VIO_ERR_##what, .value = (number)

/* --- Bring-up --------------------------------------------------------------------------------- */

static const struct row bring_up_rows[] = {
    {"status stays 0x0f when the device is reset",
     {.lies = {SAYS(LIE_STATUS, 0x0F)}},
     REFUSED(TIMEOUT, 0x0F),
     .isolated = true},
    {"status stays FAILED when the device is reset",
     {.lies = {SAYS(LIE_STATUS, 0x80)}},
     REFUSED(TIMEOUT, 0x80),
     .isolated = true},
    {"status becomes 0 after a hundred looks",
     {.lies = {{.about = LIE_STATUS, .value = 0x0F, .count = 100}}},
     WORKS},
    {"status is not 0 when a failed bring-up is undone",
     {.lies = {SAYS(LIE_QUEUE_SIZE, 0), AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0x8B)}},
     REFUSED(UNSUPPORTED, 0),
     .isolated = true},
    {"the last reset is never confirmed",
     {.lies = {AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0x0F)}},
     WORKS,
     .isolated = true},
    {"the last reset is confirmed late",
     {.lies = {{.about = LIE_STATUS, .after = LIE_AT_LAST_RESET, .value = 0x0F, .count = 500}}},
     WORKS},
    {"ACKNOWLEDGE does not stick",
     {.lies = {{.about = LIE_STATUS, .how = LIE_CLEARS, .after = ACK, .value = ACK}}},
     WORKS},
    {"DRIVER does not stick",
     {.lies = {{.about = LIE_STATUS, .how = LIE_CLEARS, .after = DRIVER, .value = DRIVER}}},
     WORKS},
    {"FEATURES_OK does not stick",
     {.lies = {HIDES(LIE_STATUS, FEATURES_OK)}},
     REFUSED(FEATURES_REFUSED, ANY_VALUE)},
    {"DRIVER_OK does not stick",
     {.lies = {HIDES(LIE_STATUS, DRIVER_OK), {.about = LIE_USED_IDX, .value = 0, .count = 20}}},
     WORKS},
    {"status reads 0 for ever",
     {.lies = {SAYS(LIE_STATUS, 0)}},
     REFUSED(FEATURES_REFUSED, ANY_VALUE)},
    {"DEVICE_NEEDS_RESET survives the reset",
     {.lies = {FLIPS(LIE_STATUS, NEEDS_RESET)}},
     REFUSED(TIMEOUT, NEEDS_RESET),
     .isolated = true},
    {"DEVICE_NEEDS_RESET after ACKNOWLEDGE",
     {.lies = {FLIPS_AFTER(ACK, LIE_STATUS, NEEDS_RESET)}},
     REFUSED(NEEDS_RESET, 0x41)},
    {"DEVICE_NEEDS_RESET after DRIVER",
     {.lies = {FLIPS_AFTER(DRIVER, LIE_STATUS, NEEDS_RESET)}},
     REFUSED(NEEDS_RESET, 0x43)},
    {"DEVICE_NEEDS_RESET after FEATURES_OK",
     {.lies = {FLIPS_AFTER(FEATURES_OK, LIE_STATUS, NEEDS_RESET)}},
     REFUSED(NEEDS_RESET, 0x4B)},
    {"gone from the beginning",
     {.lies = {SAYS(LIE_REGISTERS, ALL_ONES)}},
     REFUSED(GONE, 0xFF),
     .isolated = true},
    {"gone after ACKNOWLEDGE",
     {.lies = {AFTER(ACK, LIE_REGISTERS, ALL_ONES), AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0xFF)}},
     REFUSED(GONE, 0xFF),
     .isolated = true},
    {"gone after DRIVER",
     {.lies = {AFTER(DRIVER, LIE_REGISTERS, ALL_ONES), AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0xFF)}},
     REFUSED(GONE, 0xFF),
     .isolated = true},
    {"gone after FEATURES_OK",
     {.lies = {AFTER(FEATURES_OK, LIE_REGISTERS, ALL_ONES),
               AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0xFF)}},
     REFUSED(GONE, 0xFF),
     .isolated = true},
    {"gone for one look at the status, then back",
     {.lies = {{.about = LIE_STATUS, .after = ACK, .value = 0xFF, .count = 1}}},
     REFUSED(GONE, 0xFF)},
    {"no feature at all", {.lies = {SAYS(LIE_FEATURES, 0)}}, REFUSED(UNSUPPORTED, ANY_VALUE)},
    {"VERSION_1 is not offered",
     {.lies = {HIDES(LIE_FEATURES, BIT(VIRTIO_F_VERSION_1))}},
     REFUSED(UNSUPPORTED, BIT(VIRTIO_F_VERSION_1))},
    {"features above bit 31 without VERSION_1 which they need",
     {.lies = {SAYS(LIE_FEATURES, BIT(VIRTIO_F_RING_RESET) | BIT(VIRTIO_F_NOTIFICATION_DATA))}},
     REFUSED(UNSUPPORTED, BIT(VIRTIO_F_VERSION_1))},
    {"every feature bit there is", {.lies = {SAYS(LIE_FEATURES, ALL_ONES)}}, WORKS},
    {"features that nobody has defined",
     {.use = DISK_READ_MANY, .lies = {FLIPS(LIE_FEATURES, UINT64_C(0xFFFC) << 48)}},
     WORKS},
    {"features that differ at each look",
     {.use = DISK_READ_MANY,
      .lies = {{.about = LIE_FEATURES, .how = LIE_GROWS, .from = 1, .value = 0x10000001}}},
     WORKS,
     .n_untold = 1},
    {"the packed ring beside the split one",
     {.use = DISK_READ_MANY, .lies = {FLIPS(LIE_FEATURES, BIT(VIRTIO_F_RING_PACKED))}},
     WORKS},
    {"a queue of size 0", {.lies = {SAYS(LIE_QUEUE_SIZE, 0)}}, REFUSED(UNSUPPORTED, 0)},
    {"a queue of size 1", {.lies = {SAYS(LIE_QUEUE_SIZE, 1)}}, REFUSED(UNSUPPORTED, 1)},
    {"a queue of size 2", {.lies = {SAYS(LIE_QUEUE_SIZE, 2)}}, REFUSED(UNSUPPORTED, 2)},
    {"a queue of size 3", {.lies = {SAYS(LIE_QUEUE_SIZE, 3)}}, REFUSED(UNSUPPORTED, 2)},
    {"a queue of size 4", {.use = DISK_READ_MANY, .lies = {SAYS(LIE_QUEUE_SIZE, 4)}}, WORKS},
    {"a queue whose size is no power of two",
     {.use = DISK_READ_MANY, .lies = {SAYS(LIE_QUEUE_SIZE, 13)}},
     WORKS},
    {"a queue of size 32768",
     {.use = DISK_READ_MANY, .lies = {SAYS(LIE_QUEUE_SIZE, 32768)}},
     WORKS},
    {"a queue of size 65535",
     {.use = DISK_READ_MANY, .lies = {SAYS(LIE_QUEUE_SIZE, 65535)}},
     WORKS},
    {"a queue that grows between two looks",
     {.use = DISK_READ_MANY,
      .lies = {{.about = LIE_QUEUE_SIZE, .how = LIE_PLUS, .from = 1, .value = 32704}}},
     WORKS,
     .n_untold = 1},
    {"the queue is refused", {.lies = {SAYS(LIE_QUEUE_ENABLE, 1)}}, REFUSED(DEVICE, 0)},
    {"the queue is enabled already",
     {.lies = {SAYS(LIE_QUEUE_ENABLE, 2)}},
     REFUSED(UNSUPPORTED, 0)},
    {"the configuration vector is refused",
     {.lies = {SAYS(LIE_VECTOR, 1)}},
     REFUSED(DEVICE, 0xFFFF)},
};

/* --- Configuration space ---------------------------------------------------------------------- */

static const struct row config_rows[] = {
    {"the generation never settles",
     {.lies = {{.about = LIE_GENERATION, .how = LIE_GROWS, .value = 1}}},
     REFUSED(DEVICE, ANY_VALUE)},
    {"the generation jumps by 0x80 for ever",
     {.lies = {{.about = LIE_GENERATION, .how = LIE_GROWS, .value = 0x80}}},
     REFUSED(DEVICE, ANY_VALUE)},
    {"the generation settles after ten looks",
     {.lies = {{.about = LIE_GENERATION, .how = LIE_GROWS, .value = 1, .count = 10}}},
     WORKS},
    {"the generation is all ones", {.lies = {SAYS(LIE_GENERATION, ALL_ONES)}}, WORKS},
    {"a configuration space of 0 bytes", {.lies = {SAYS(LIE_CONFIG_BYTES, 0)}}, REFUSED(DEVICE, 0)},
    {"a configuration space that ends in the capacity",
     {.lies = {SAYS(LIE_CONFIG_BYTES, 7)}},
     REFUSED(DEVICE, 7)},
    {"a configuration space that ends before size_max",
     {.lies = {SAYS(LIE_CONFIG_BYTES, 8)}},
     REFUSED(DEVICE, 8)},
    {"a configuration space that ends in seg_max",
     {.lies = {SAYS(LIE_CONFIG_BYTES, 15)}},
     REFUSED(DEVICE, 15)},
    {"a configuration space that ends in blk_size",
     {.lies = {SAYS(LIE_CONFIG_BYTES, 22)}},
     REFUSED(DEVICE, 22)},
    {"a configuration space that ends in the topology",
     {.lies = {SAYS(LIE_CONFIG_BYTES, 25)}},
     REFUSED(DEVICE, 25)},
    {"a configuration space that ends in a field not offered",
     {.lies = {SAYS(LIE_FEATURES, BIT(VIRTIO_F_VERSION_1)), SAYS(LIE_CONFIG_BYTES, 9)}},
     WORKS},
    {"a configuration space of 4 GiB less 1",
     {.lies = {SAYS(LIE_CONFIG_BYTES, UINT32_MAX)}},
     WORKS},
    {"the capacity is torn while it is read",
     {.lies = {{.about = LIE_CONFIG, .at = CAPACITY_HIGH, .value = 1, .count = 1},
               {.about = LIE_GENERATION, .how = LIE_PLUS, .from = 1, .value = 1}}},
     WORKS,
     .sectors = LYING_DISK_SECTORS},
    {"the block size is 0 until the generation changes",
     {.lies = {{.about = LIE_CONFIG, .at = BLK_SIZE, .value = 0, .count = 1},
               {.about = LIE_GENERATION, .how = LIE_PLUS, .from = 1, .value = 1}}},
     WORKS},
    {"fields that change with each look",
     {.use = DISK_READ_MANY,
      .lies = {{.about = LIE_CONFIG, .at = CAPACITY_LOW, .how = LIE_GROWS, .value = 8},
               {.about = LIE_CONFIG, .at = SEG_MAX, .how = LIE_GROWS, .value = (uint64_t)-1},
               {.about = LIE_CONFIG, .at = SIZE_MAX_, .how = LIE_GROWS, .value = (uint64_t)-512}}},
     WORKS},
    {"all fields are all ones",
     {.lies = {FIELD(LIE_ANYWHERE, ALL_ONES)}},
     REFUSED(UNSUPPORTED, UINT32_MAX)},
    {"all fields are 0", {.lies = {FIELD(LIE_ANYWHERE, 0)}}, REFUSED(UNSUPPORTED, 0)},
    {"a capacity of 0", {.lies = {FIELD(CAPACITY_LOW, 0)}}, REFUSED(UNSUPPORTED, 0)},
    {"a capacity of one sector", {.use = DISK_READ_MANY, .lies = {FIELD(CAPACITY_LOW, 1)}}, WORKS},
    {"a capacity of 2^64 - 1 sectors",
     {.lies = {FIELD(CAPACITY_LOW, ALL_ONES), FIELD(CAPACITY_HIGH, ALL_ONES)}},
     REFUSED(DEVICE, UINT64_MAX)},
    {"a capacity whose bytes are 2^64",
     {.lies = {FIELD(CAPACITY_LOW, 0), FIELD(CAPACITY_HIGH, 1u << 23)}},
     REFUSED(DEVICE, UINT64_C(1) << 55)},
    {"a capacity whose bytes are nearly 2^64",
     {.use = DISK_READ_MANY,
      .lies = {FIELD(CAPACITY_LOW, ALL_ONES), FIELD(CAPACITY_HIGH, (1u << 23) - 1)}},
     WORKS},
    {"a capacity that is no multiple of the block size",
     {.lies = {FIELD(CAPACITY_LOW, 129), FIELD(BLK_SIZE, 4096)}},
     REFUSED(UNSUPPORTED, 129)},
    {"a block size of 0", {.lies = {FIELD(BLK_SIZE, 0)}}, REFUSED(UNSUPPORTED, 0)},
    {"a block size of 1", {.lies = {FIELD(BLK_SIZE, 1)}}, REFUSED(UNSUPPORTED, 1)},
    {"a block size of 256", {.lies = {FIELD(BLK_SIZE, 256)}}, REFUSED(UNSUPPORTED, 256)},
    {"a block size of 513", {.lies = {FIELD(BLK_SIZE, 513)}}, REFUSED(UNSUPPORTED, 513)},
    {"a block size of 1536", {.lies = {FIELD(BLK_SIZE, 1536)}}, REFUSED(UNSUPPORTED, 1536)},
    {"a block size of 2 MiB is opened",
     {.lies = {FIELD(BLK_SIZE, 2 << 20), FIELD(CAPACITY_LOW, 8192), FIELD(SIZE_MAX_, UINT32_MAX)}},
     WORKS,
     .is_only_opened = true,
     .sectors = 8192},
    {"a block size of 4 MiB", {.lies = {FIELD(BLK_SIZE, 4 << 20)}}, REFUSED(UNSUPPORTED, 4 << 20)},
    {"a block size of 2^31", {.lies = {FIELD(BLK_SIZE, 1u << 31)}}, REFUSED(UNSUPPORTED, 1u << 31)},
    {"a block size of 4 GiB less 1",
     {.lies = {FIELD(BLK_SIZE, UINT32_MAX)}},
     REFUSED(UNSUPPORTED, UINT32_MAX)},
    {"a block that needs more than the device takes in a request",
     {.lies = {FIELD(BLK_SIZE, 4096), FIELD(SIZE_MAX_, 512)}},
     REFUSED(UNSUPPORTED, 512)},
    {"a size_max of 0", {.lies = {FIELD(SIZE_MAX_, 0)}}, REFUSED(UNSUPPORTED, 0)},
    {"a size_max of 1", {.lies = {FIELD(SIZE_MAX_, 1)}}, REFUSED(UNSUPPORTED, 1)},
    {"a size_max of 127", {.lies = {FIELD(SIZE_MAX_, 127)}}, REFUSED(UNSUPPORTED, 127)},
    {"a size_max of 511", {.use = DISK_READ_MANY, .lies = {FIELD(SIZE_MAX_, 511)}}, WORKS},
    {"a size_max of 2^32 - 1",
     {.use = DISK_READ_MANY, .lies = {FIELD(SIZE_MAX_, UINT32_MAX)}},
     WORKS},
    {"a seg_max of 0", {.use = DISK_WRITE_MANY, .lies = {FIELD(SEG_MAX, 0)}}, WORKS},
    {"a seg_max of 2^32 - 1",
     {.use = DISK_WRITE_MANY, .lies = {FIELD(SEG_MAX, UINT32_MAX)}},
     WORKS},
    {"a seg_max of 65536 whose low 16 bits are 0",
     {.use = DISK_READ_MANY, .lies = {FIELD(SEG_MAX, 65536)}},
     WORKS},
    {"more segments than a request ever has",
     {.use = DISK_READ_MANY, .lies = {FIELD(SEG_MAX, 126), FIELD(SIZE_MAX_, 512)}},
     WORKS},
    {"more segments than the queue has descriptors",
     {.use = DISK_READ_MANY,
      .lies = {HIDES(LIE_FEATURES, BIT(VIRTIO_F_INDIRECT_DESC)), FIELD(SEG_MAX, 126),
               SAYS(LIE_QUEUE_SIZE, 4)}},
     WORKS},
    {"a topology of 2^255 blocks and an offset of 255",
     {.lies = {FIELD(EXPONENT, 255), FIELD(ALIGNMENT, 255)}},
     WORKS},
    {"a read-only disk is written to",
     {.use = DISK_WRITE_BLOCK, .lies = {FLIPS(LIE_FEATURES, BIT(VIRTIO_BLK_F_RO))}},
     FAILS(READ_ONLY, 0)},
    {"a read-only disk is flushed",
     {.use = DISK_FLUSH, .lies = {FLIPS(LIE_FEATURES, BIT(VIRTIO_BLK_F_RO))}},
     WORKS},
    {"a disk without FLUSH is flushed",
     {.use = DISK_FLUSH, .lies = {HIDES(LIE_FEATURES, BIT(VIRTIO_BLK_F_FLUSH))}},
     WORKS},
};

/* --- Answers ---------------------------------------------------------------------------------- */

#define WITHOUT_EVENT_IDX HIDES(LIE_FEATURES, BIT(VIRTIO_F_EVENT_IDX))
#define NEVER             SAYS(LIE_USED_IDX, 0)

static const struct row answer_rows[] = {
    {"a read ends with status 1", {.lies = {SAYS(LIE_ANSWER, 1)}}, FAILS(IO, 1)},
    {"a read ends with status 2", {.lies = {SAYS(LIE_ANSWER, 2)}}, FAILS(UNSUPPORTED, 2)},
    {"a read ends with status 3", {.lies = {SAYS(LIE_ANSWER, 3)}}, FAILS(DEVICE, 3)},
    {"a read ends with status 0x80", {.lies = {SAYS(LIE_ANSWER, 0x80)}}, FAILS(DEVICE, 0x80)},
    {"a read ends and its status is not written",
     {.lies = {SAYS(LIE_ANSWER, 0xFF)}},
     FAILS(DEVICE, 0xFF)},
    {"a write ends with status 1",
     {.use = DISK_WRITE_BLOCK, .lies = {SAYS(LIE_ANSWER, 1)}},
     FAILS(IO, 1)},
    {"a write ends and its status is not written",
     {.use = DISK_WRITE_BLOCK, .lies = {SAYS(LIE_ANSWER, 0xFF)}},
     FAILS(DEVICE, 0xFF)},
    {"a flush ends with status 1",
     {.use = DISK_FLUSH, .lies = {SAYS(LIE_ANSWER, 1)}},
     FAILS(IO, 1)},
    {"a flush ends and its status is not written",
     {.use = DISK_FLUSH, .lies = {SAYS(LIE_ANSWER, 0xFF)}},
     FAILS(DEVICE, 0xFF)},
    {"the last of three reads ends with status 1",
     {.use = DISK_READ_MANY, .lies = {{.about = LIE_ANSWER, .value = 1, .from = 2}}},
     FAILS(IO, 1)},
    {"only the first of three reads fails",
     {.use = DISK_READ_MANY, .lies = {{.about = LIE_ANSWER, .value = 2, .count = 1}}},
     FAILS(UNSUPPORTED, 2)},
    {"one read fails and the next ones are good",
     {.use = DISK_READ_MANY, .repeats = 3, .lies = {{.about = LIE_ANSWER, .value = 1, .count = 1}}},
     FAILS(IO, 1),
     .used_last = VIO_OK},
    {"one write is short of its status and the next one is good",
     {.use = DISK_WRITE_MANY, .repeats = 1, .lies = {{.about = LIE_USED_LEN, .count = 2}}},
     FAILS(DEVICE, 0),
     .used_last = VIO_OK},
    {"a good read and then one that lies",
     {.repeats = 2, .lies = {{.about = LIE_USED_ID, .from = 1, .value = 77}}},
     .value = 77,
     .used_last = VIO_ERR_QUEUE_BROKEN},
    {"a lie and nothing but failures after it",
     {.use = DISK_WRITE_BLOCK,
      .repeats = 3,
      .lies = {{.about = LIE_USED_IDX, .how = LIE_PLUS, .value = 1, .count = 1}}},
     FAILS(QUEUE_BROKEN, 2),
     .used_last = VIO_ERR_QUEUE_BROKEN},
    {"a status that is read again is another",
     {.lies = {{.about = LIE_ANSWER, .value = 1, .count = 1}}},
     FAILS(IO, 1)},
    {"a read with len 0", {.lies = {SAYS(LIE_USED_LEN, 0)}}, FAILS(DEVICE, 0)},
    {"a read with the status written and no data",
     {.lies = {SAYS(LIE_USED_LEN, 1)}},
     FAILS(DEVICE, 1)},
    {"a read with half of the data", {.lies = {SAYS(LIE_USED_LEN, 257)}}, FAILS(DEVICE, 257)},
    {"a read with all the data and no status",
     {.lies = {ADDS(LIE_USED_LEN, -1)}},
     FAILS(DEVICE, 512)},
    {"the second of three reads is a byte short",
     {.use = DISK_READ_MANY,
      .lies = {{.about = LIE_USED_LEN, .how = LIE_PLUS, .from = 1, .count = 1, .value = ALL_ONES}}},
     FAILS(DEVICE, 16384)},
    {"a read of one byte more than there was room for",
     {.lies = {ADDS(LIE_USED_LEN, 1)}},
     FAILS(QUEUE_BROKEN, 514)},
    {"a read with len 2^32 - 1",
     {.lies = {SAYS(LIE_USED_LEN, UINT32_MAX)}},
     FAILS(QUEUE_BROKEN, UINT32_MAX)},
    {"a write with len 0",
     {.use = DISK_WRITE_BLOCK, .lies = {SAYS(LIE_USED_LEN, 0)}},
     FAILS(DEVICE, 0)},
    {"a write that wrote to memory",
     {.use = DISK_WRITE_BLOCK, .lies = {SAYS(LIE_USED_LEN, 513)}},
     FAILS(QUEUE_BROKEN, 513)},
    {"a flush with len 0", {.use = DISK_FLUSH, .lies = {SAYS(LIE_USED_LEN, 0)}}, FAILS(DEVICE, 0)},
    {"an answer to a request that was never made",
     {.lies = {SAYS(LIE_USED_ID, 9)}},
     FAILS(QUEUE_BROKEN, 9)},
    {"an id that is right in its low 16 bits",
     {.lies = {ADDS(LIE_USED_ID, 0x10000)}},
     FAILS(QUEUE_BROKEN, 0x10000)},
    {"an id of 2^32 - 1",
     {.lies = {SAYS(LIE_USED_ID, UINT32_MAX)}},
     FAILS(QUEUE_BROKEN, UINT32_MAX)},
    {"the same request is answered twice",
     {.use = DISK_READ_MANY, .lies = {SAYS(LIE_USED_ID, 0)}},
     FAILS(QUEUE_BROKEN, 0)},
    {"two answers to one request", {.lies = {ADDS(LIE_USED_IDX, 1)}}, FAILS(QUEUE_BROKEN, 2)},
    {"used idx jumps by 0x4000 under a read",
     {.lies = {ADDS(LIE_USED_IDX, 0x4000)}},
     FAILS(QUEUE_BROKEN, 0x4001)},
    {"used idx goes back under a read",
     {.lies = {ADDS(LIE_USED_IDX, -2)}},
     FAILS(QUEUE_BROKEN, 0xFFFF)},
    {"a read is never answered", {.lies = {NEVER}}, FAILS(TIMEOUT, ANY_VALUE)},
    {"a write is never answered",
     {.use = DISK_WRITE_MANY, .lies = {NEVER}},
     FAILS(TIMEOUT, ANY_VALUE)},
    {"a flush is never answered", {.use = DISK_FLUSH, .lies = {NEVER}}, FAILS(TIMEOUT, ANY_VALUE)},
    {"only one of three reads is answered",
     {.use = DISK_READ_MANY, .lies = {SAYS(LIE_USED_IDX, 1)}},
     FAILS(TIMEOUT, ANY_VALUE)},
    {"a read is answered after 250 looks",
     {.lies = {{.about = LIE_USED_IDX, .value = 0, .count = 250}}},
     WORKS},
    {"never answered and the reset is not confirmed",
     {.use = DISK_READ_MANY, .lies = {NEVER, AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0x0F)}},
     FAILS(TIMEOUT, ANY_VALUE),
     .isolated = true},
    {"a lie about a length and the reset is not confirmed",
     {.lies = {SAYS(LIE_USED_LEN, 4096), AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0x0F)}},
     FAILS(QUEUE_BROKEN, 4096),
     .isolated = true},
    {"DEVICE_NEEDS_RESET in the middle of a read",
     {.lies = {NEVER, FLIPS_AFTER(DRIVER_OK, LIE_STATUS, NEEDS_RESET)}},
     FAILS(NEEDS_RESET, 0x4F)},
    {"gone in the middle of a read",
     {.lies = {NEVER, AFTER(DRIVER_OK, LIE_REGISTERS, ALL_ONES),
               AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0xFF)}},
     FAILS(GONE, 0xFF),
     .isolated = true},
    {"gone in the middle of many writes",
     {.use = DISK_WRITE_MANY,
      .lies = {SAYS(LIE_USED_IDX, 1), AFTER(DRIVER_OK, LIE_REGISTERS, ALL_ONES),
               AFTER(LIE_AT_LAST_RESET, LIE_STATUS, 0xFF)}},
     FAILS(GONE, 0xFF),
     .isolated = true},
    {"notifications are not wanted and the device looks all the same",
     {.use = DISK_READ_MANY, .lies = {WITHOUT_EVENT_IDX, SAYS(LIE_USED_FLAGS, 1)}},
     WORKS},
    {"all flags of the used ring are set",
     {.use = DISK_WRITE_MANY, .lies = {WITHOUT_EVENT_IDX, SAYS(LIE_USED_FLAGS, 0xFFFF)}},
     WORKS},
    {"a notification is wanted half way round the ring",
     {.use = DISK_READ_MANY, .lies = {ADDS(LIE_AVAIL_EVENT, 0x8000)}},
     WORKS},
    {"no memory to map a block",
     {.fail_call = FAKE_CALL_MAP, .fail_nth = 1},
     FAILS(NO_MEMORY, 512)},
    {"no memory to map the first of three requests",
     {.use = DISK_READ_MANY, .fail_call = FAKE_CALL_MAP, .fail_nth = 1},
     WORKS},
    {"no memory to map the second of three requests",
     {.use = DISK_READ_MANY, .fail_call = FAKE_CALL_MAP, .fail_nth = 2},
     WORKS},
    {"the data cannot be brought back from the bounce buffer",
     {.fail_call = FAKE_CALL_UNMAP, .fail_nth = 1},
     FAILS(IO, 512)},
    {"no memory for the first area that is shared",
     {.fail_call = FAKE_CALL_DMA_ALLOC, .fail_nth = 1},
     REFUSED(NO_MEMORY, ANY_VALUE)},
    {"no memory for the second area that is shared",
     {.fail_call = FAKE_CALL_DMA_ALLOC, .fail_nth = 2},
     REFUSED(NO_MEMORY, ANY_VALUE)},
    {"no memory for the third area that is shared",
     {.fail_call = FAKE_CALL_DMA_ALLOC, .fail_nth = 3},
     REFUSED(NO_MEMORY, ANY_VALUE)},
    {"no memory that the device does not see",
     {.fail_call = FAKE_CALL_ALLOC, .fail_nth = 1},
     REFUSED(NO_MEMORY, ANY_VALUE)},
};

static void row_is_taken_as_it_should(void **state)
{
    const struct row *row = *state;
    struct disk_outcome outcome;

    disk_script_play(&row->script, &outcome);

    assert_int_equal(outcome.opened, row->opened);
    assert_int_equal(outcome.was_used, row->opened == VIO_OK && !row->is_only_opened);
    assert_int_equal(outcome.used, row->used);
    assert_int_equal(outcome.used_last, row->script.repeats ? row->used_last : row->used);
    assert_int_equal(outcome.isolated, row->isolated);
    assert_int_equal(outcome.n_untold, row->n_untold);
    if (row->used == VIO_ERR_NEEDS_RESET || row->used == VIO_ERR_GONE)
        assert_true(outcome.took_us <= DISK_DRIVER_NOTICE_LIMIT_US);
    if (row->sectors)
        assert_true(outcome.capacity_sectors == row->sectors);
    if (outcome.text[0] && row->value != ANY_VALUE)
        assert_true(outcome.value == row->value);
}

/* The file that the fuzzer reads as the same script. */
static size_t row_seed(const void *row, uint8_t *ret_bytes)
{
    const struct disk_script *script = &((const struct row *)row)->script;
    struct disk_script as_read;

    size_t n_bytes = disk_script_write(script, ret_bytes);
    disk_script_read(ret_bytes, n_bytes, &as_read);
    assert_memory_equal(&as_read, script, sizeof(as_read));
    return n_bytes;
}

static const struct hostile_table tables[] = {
    HOSTILE_TABLE("bring_up", bring_up_rows),
    HOSTILE_TABLE("config", config_rows),
    HOSTILE_TABLE("answers", answer_rows),
};

int main(int argc, char **argv)
{
    const struct hostile_program program = {
        .tables = tables,
        .n_tables = ARRAY_LENGTH(tables),
        .test = row_is_taken_as_it_should,
        .seed = row_seed,
        .seed_folder = SEEDS,
    };

    _Static_assert(DISK_SCRIPT_BYTES_MAX <= HOSTILE_SEED_BYTES_MAX, "a seed fits");
    return hostile_main(&program, argc, argv);
}
