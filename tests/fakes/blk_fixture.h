/** @file
 * A disk, its driver, and transfers between them: what the tests of the block engine share.
 * Knows:  devices/blk.h and the fakes.
 * State:  one disk per test program, because a test's words are about "the" disk.
 */
#ifndef TESTS_FAKES_BLK_FIXTURE_H
#define TESTS_FAKES_BLK_FIXTURE_H

#include "devices/blk.h"
#include "devices/blk_spec.h"
#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/fake_platform.h"

#define MIB             (1u << 20)
#define SECTOR          VIRTIO_BLK_SECTOR_BYTES
#define DISK_SECTORS    8192u
#define BUFFER_BYTES    (DISK_SECTORS * SECTOR)
#define BUFFER_FILL     0x11
#define DISK_DMA_BLOCKS 3u
#define NEVER_BY_ITSELF 1000000000u /* delay_waits of a device that answers when it is told to */
#define TRANSFERS_MAX   600u

extern struct fake_platform machine; /**< not "platform", which the queue's tests have */
extern struct fake_blk_device disk;
extern struct virtio_blk blk;
extern uint8_t *buffer;                                     /**< of BUFFER_BYTES */
extern struct virtio_blk_transfer transfers[TRANSFERS_MAX]; /**< for the test's use */

/** Another disk, with nothing left of the one before. */
void new_disk(uint64_t sectors);

/** Offer a feature that has no configuration field, or whose field is set elsewhere. */
void offer(unsigned feature_bit);

/** Offer MQ and that many queues of a size, of which as many exist as the fake has. */
void offer_queues(uint16_t n_queues, uint16_t size);

void open_disk(void);

/** The same, with a device that takes requests when it is notified and answers when it is told to. */
void open_manual_disk(void);

/** The device answers so many requests, which it has, and the driver looks once. */
void serve(unsigned n_requests);

/** Publish, and go on until nothing is under way; a look at a device that has answered all must find something. */
void serve_until_idle(void);

/** Close the disk; it has been reset, and nothing stays behind. */
void close_disk(void);

/** For cmocka: a disk of DISK_SECTORS with one queue of 128, not opened. */
int disk_set_up(void **state);
int disk_tear_down(void **state);

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, disk_set_up, disk_tear_down)

/** transfers[index] to or from the place in the buffer that belongs to its sector; it must go. */
struct virtio_blk_transfer *submit(unsigned index, enum virtio_blk_operation operation,
                                   uint64_t sector, uint64_t n_sectors);

/** Submit that many reads of one sector each, from transfers[first] and its sector on. */
void submit_reads(unsigned first, unsigned n_transfers);

/** Fails the test unless it is done, with this status. */
void assert_done(const struct virtio_blk_transfer *transfer, vio_status status);

/** Number of the first n transfers that are done. */
unsigned count_done(unsigned n_transfers);

/** The buffer holds what the image holds. */
void assert_was_read(uint64_t sector, uint64_t n_sectors);

/** The buffer at a place gets bytes of its own. */
void fill_buffer(uint64_t sector, uint64_t n_sectors, uint64_t seed);

/** Let time pass, and poll every 50 ms, until that much has passed or nothing is under way. */
void poll_for(uint64_t time_us);

/** Every call fails at once with this status, and sends nothing. */
void assert_dead(vio_status status);

#endif
