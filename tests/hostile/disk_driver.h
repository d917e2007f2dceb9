/** @file
 * The little that the hostile disks know of the driver that they are put under. To put another
 * driver under them, write this structure for it, and have disk_driver_under_test() return it.
 * Contract: the seams are those of core/transport.h and core/platform.h.
 */
#ifndef TESTS_HOSTILE_DISK_DRIVER_H
#define TESTS_HOSTILE_DISK_DRIVER_H

#include "core/platform.h"
#include "core/transport.h"

/** What can be done with a disk. */
enum disk_operation {
    DISK_OP_READ,
    DISK_OP_WRITE,
    DISK_OP_FLUSH,
    DISK_OP_DISCARD,
    DISK_OP_WRITE_ZEROES,
    DISK_OP_SECURE_ERASE,
    DISK_OP_GET_ID,
    DISK_OPERATIONS,
};

struct disk_step {
    enum disk_operation operation;
    uint64_t sector; /**< in units of 512 bytes, as the disk's blocks allow */
    void *buffer;    /**< READ, WRITE; GET_ID: of DISK_ID_BYTES */
    size_t bytes;    /**< whole logical blocks; 0 for FLUSH and GET_ID */
    vio_status status;
};

#define DISK_ID_BYTES 20u

struct disk_driver {
    /** Memory for one disk, in the driver's own form; allocated by the test. */
    size_t disk_bytes;
    /** Bring the device up. After a failure nothing is closed, but explain() is called. */
    vio_status (*open)(void *disk, const struct vio_transport *transport,
                       const struct vio_platform *platform);
    void (*close)(void *disk);
    /** Carry it out, and wait for its end. */
    vio_status (*run)(void *disk, struct disk_step *step);
    /** All of these at once, as far as the driver can: the statuses say how they ended. */
    void (*run_together)(void *disk, struct disk_step *steps, unsigned n_steps);
    /** Reset the device and use it again, also one that the driver had done with. */
    vio_status (*reset)(void *disk);
    /** Look whether the capacity is another. */
    void (*refresh)(void *disk);
    /** What it believes of the disk, once open. */
    uint64_t (*capacity_sectors)(const void *disk);
    uint32_t (*block_bytes)(const void *disk);
    /** Why the last call failed, in words, and what the device had answered; NULL: no words. */
    const char *(*explain)(const void *disk, uint64_t *ret_value);
};

/** Longest time without an answer, and for a reset, that the driver may take. */
#define DISK_DRIVER_REQUEST_LIMIT_US 30000000u
#define DISK_DRIVER_RESET_LIMIT_US   1000000u
/** And until it notices that a device that owes it an answer needs a reset, or is gone. */
#define DISK_DRIVER_NOTICE_LIMIT_US 500000u

const struct disk_driver *disk_driver_under_test(void);

#endif
