/** @file
 * The little that the hostile disks know of the driver that they are put under. To put another
 * driver under them, write this structure for it, and have disk_driver_under_test() return it.
 * Contract: the seams are those of core/transport.h and core/platform.h.
 */
#ifndef TESTS_HOSTILE_DISK_DRIVER_H
#define TESTS_HOSTILE_DISK_DRIVER_H

#include "core/platform.h"
#include "core/transport.h"

struct disk_driver {
    /** Memory for one disk, in the driver's own form; allocated by the test. */
    size_t disk_bytes;
    /** Bring the device up. After a failure nothing is closed, but explain() is called. */
    vio_status (*open)(void *disk, const struct vio_transport *transport,
                       const struct vio_platform *platform);
    void (*close)(void *disk);
    /** Whole logical blocks; @p sector in units of 512 bytes. */
    vio_status (*read)(void *disk, uint64_t sector, void *buffer, size_t bytes);
    vio_status (*write)(void *disk, uint64_t sector, const void *buffer, size_t bytes);
    vio_status (*flush)(void *disk);
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
