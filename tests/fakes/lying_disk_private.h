/** @file
 * What tests/fakes/lying_disk*.c share, and nobody else sees.
 * Files: lying_disk.c         the encounter: what is done with the disk
 *        lying_disk_judge.c   what has to hold after each use of it
 *        lying_disk_device.c  the device's side: transport and platform
 *        lying_disk_memory.c  the device's side: what the driver loads from shared memory
 */
#ifndef TESTS_FAKES_LYING_DISK_PRIVATE_H
#define TESTS_FAKES_LYING_DISK_PRIVATE_H

#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/fake_memory.h"
#include "tests/fakes/lying_disk.h"

#define LYING_DISK_REQUESTS_MAX 2048u
#define LYING_DISK_STEPS_MAX    8u

/* What the driver was told about one of its requests. */
struct told {
    bool has_status;
    bool has_len;
    bool needs_no_len; /* 2.7.9: an element that is left out says that all was written */
    bool let_go;       /* the device has, by a reset that it confirmed, or by being cut off */
    uint8_t status;
    uint32_t len;
    uint8_t id[DISK_ID_BYTES]; /* what was read of the answer to GET_ID */
};

/* One use of the disk: what is done, and the memory for it. */
struct use {
    enum disk_use kind;
    struct disk_step steps[LYING_DISK_STEPS_MAX];
    unsigned n_steps;
    uint8_t *buffer;
    size_t bytes;
    uint8_t *id;
    unsigned first_request;
    unsigned first_reset;
    bool was_in_use; /* when it began */
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
    /* 2.5.4, by offset: what was read last, and whether the same as before. */
    uint32_t told_field[FAKE_CONFIG_BYTES];
    bool was_told[FAKE_CONFIG_BYTES];
    bool was_repeated[FAKE_CONFIG_BYTES];
    uint32_t told_config_bytes;
    bool is_write_through; /* 5.2.5: by the device's word, or the driver's */

    /* The used rings, while there are any; and one word of shared memory that is a lie just now. */
    uint8_t *used[FAKE_QUEUES];
    void *lied_at;
    uint64_t truth;
    unsigned lied_bytes;

    struct told told[LYING_DISK_REQUESTS_MAX]; /* by request */
    unsigned element_queue;                    /* used element that is being read */
    uint64_t element_at;
    bool has_id, has_len;
    uint32_t id, len;

    /* Which queues, and so whether anything, the device may write to. */
    bool is_known[FAKE_QUEUES];
    bool isolated;
    unsigned n_kept;        /* shared blocks when it was cut off */
    unsigned n_clock_reads; /* since the last wait */

    /* Recovery: after the first, only if something was answered since the one before. */
    bool may_recover;
    bool is_used_again; /* and nothing was sent yet */
    unsigned n_at_use;
    bool reset_by_caller; /* just now */
    bool reset_failed;    /* the caller's last one */
    unsigned n_resets_before;
    unsigned n_resets; /* begun, of the device and of queues */
    unsigned n_tries;  /* the same, since the last answer and since it was used again */
};

/* --- lying_disk_device.c --------------------------------------------------------------------- */

/** An honest disk behind its lies, the platform, and what there is to know of both. */
void lying_disk_init(struct lying_disk *disk, const struct disk_script *script);

/** Fails the test if anything is left behind; frees what the test itself needed. */
void lying_disk_end(struct lying_disk *disk);

/** Let the honest device answer all that is available. */
void lying_disk_serve(struct lying_disk *disk);

/** Whether the device may write to memory. */
bool lying_disk_is_in_use(const struct lying_disk *disk);

bool lying_disk_accepted(const struct lying_disk *disk, unsigned feature_bit);

/* --- lying_disk_memory.c --------------------------------------------------------------------- */

/** Take back a lie that stands in memory. */
void lying_disk_restore(struct lying_disk *disk);

/** The answer to a question that is not about shared memory. */
uint64_t lying_disk_answer(struct lying_disk *disk, enum lie_about about, unsigned at,
                           unsigned width_bytes, uint64_t truth);

/** Before each access of the driver to shared memory. */
void lying_disk_before_access(void *context, enum vio_mem_access access, const void *where);

/** Whether a request was answered as far as the driver can know. */
bool lying_disk_has_answered(const struct lying_disk *disk, unsigned request);

/* --- lying_disk_judge.c ---------------------------------------------------------------------- */

/** What holds of each use, whatever became of it. */
void lying_disk_judge(const struct lying_disk *disk, const struct disk_driver *driver,
                      const void *driven, const struct use *use);

/** The device is out of use for this reason, and the caller has not reset it. */
void lying_disk_judge_death(const struct lying_disk *disk, vio_status why);

/** A flush says that all is durable: then nothing was changed since one that the device confirmed. */
void lying_disk_judge_flushed(const struct lying_disk *disk);

/** Whether this driver has to tell such a device to flush. */
bool lying_disk_can_flush(const struct lying_disk *disk);

/** The bring-up is over, and the driver uses the disk. */
void lying_disk_judge_opened(const struct lying_disk *disk);

#endif
