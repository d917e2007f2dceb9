/** @file
 * How a row of tests/hostile/test_hostile_disk.c is written, for the files that hold some.
 */
#ifndef TESTS_HOSTILE_DISK_ROWS_H
#define TESTS_HOSTILE_DISK_ROWS_H

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/hostile_rows.h"
#include "tests/fakes/lying_disk.h"

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
#define NUM_QUEUES    VIRTIO_BLK_CONFIG_NUM_QUEUES

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

#define OF_QUEUE(queue, what, number)                                                              \
    {                                                                                              \
        .about = (what), .at = (queue), .value = (number)                                          \
    }
#define OFFERS(bits) FLIPS(LIE_FEATURES, bits)

/* A value that a row does not foresee: a time, or one that only the driver knows. */
#define ANY_VALUE UINT64_C(0x5EED)

struct row {
    const char *name;
    struct disk_script script;
    vio_status opened;
    vio_status used;
    vio_status used_last; /* if the use is repeated */
    bool isolated;
    bool is_late; /**< that it is gone shows only at a deadline */
    bool is_only_opened;
    bool is_noticed;   /* before the deadline */
    unsigned n_untold; /* lies and failing calls that the driver gives no occasion for */
    uint64_t value;    /* that the failure names */
    uint64_t sectors;  /* that the disk has to be found to have; 0: any number */
};

#define WORKS                 .used = VIO_OK
#define REFUSED(what, number) .opened = VIO_ERR_##what, .value = (number)
#define FAILS(what, number)   .used = VIO_ERR_##what, .value = (number)

#define WITHOUT_EVENT_IDX HIDES(LIE_FEATURES, BIT(VIRTIO_F_EVENT_IDX))
#define NEVER             SAYS(LIE_USED_IDX, 0)
#define NEVER_UNTIL_RESET AFTER(LIE_UNTIL_RESET, LIE_USED_IDX, 0)

#endif
