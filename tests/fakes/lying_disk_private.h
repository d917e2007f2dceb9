/** @file
 * What tests/fakes/lying_disk.c, the encounter and its judge, and tests/fakes/lying_disk_device.c,
 * the device, share, and nobody else sees.
 */
#ifndef TESTS_FAKES_LYING_DISK_PRIVATE_H
#define TESTS_FAKES_LYING_DISK_PRIVATE_H

#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/lying_disk.h"

#define LYING_DISK_REQUESTS_MAX 512u

/* What the driver was told about one of its requests. */
struct told {
    bool has_status;
    bool has_len;
    uint8_t status;
    uint32_t len;
};

struct lying_disk {
    struct vio_transport transport; /* these two are given to the driver */
    struct vio_platform platform;
    struct vio_platform_ops platform_ops;

    struct fake_platform fake;
    struct fake_blk_device honest;
    struct lies lies;

    /* The honest device is made to believe what was told; this is what was true. */
    uint8_t true_config[FAKE_CONFIG_BYTES];
    uint64_t true_features;
    bool lied_about_status;

    /* 2.5.1: fields count when the generation was the same before and after them. */
    uint32_t told_generation;
    bool fields_are_open;  /* read since the generation was told last */
    bool fields_are_valid; /* those that were read last */

    /* The used ring, while there is one; and one word of shared memory that is a lie just now. */
    uint8_t *used;
    void *lied_at;
    uint64_t truth;
    unsigned lied_bytes;

    struct told told[LYING_DISK_REQUESTS_MAX]; /* by request */
    uint64_t element_at;                       /* used element that is being read */
    bool has_id, has_len;
    uint32_t id, len;
    unsigned n_told;

    bool may_write; /* the device, into memory that it knows */
    bool isolated;
    unsigned n_unmapped;
    unsigned n_kept; /* shared blocks when it was cut off */
};

/** An honest disk behind its lies, the platform, and what there is to know of both. */
void lying_disk_init(struct lying_disk *disk, const struct disk_script *script);

/** Fails the test if anything is left behind; frees what the test itself needed. */
void lying_disk_end(struct lying_disk *disk);

/** The device takes and serves what is available. */
void lying_disk_serve(struct lying_disk *disk);

#endif
