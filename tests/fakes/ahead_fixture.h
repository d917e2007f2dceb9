/** @file
 * Somebody who reads a disk through devices/read_ahead.h, and checks all that he gets.
 * Knows:   devices/read_ahead.h and the fakes.
 * Watched: the platform's calls: no two mappings may share memory at any time, no memory is given
 *          back while it is mapped, and there is never more than READ_AHEAD_BYTES_MAX for chunks.
 * State:   one disk per test program, because a test's words are about "the" disk.
 */
#ifndef TESTS_FAKES_AHEAD_FIXTURE_H
#define TESTS_FAKES_AHEAD_FIXTURE_H

#include "devices/read_ahead.h"
#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/fake_platform.h"

#define AHEAD_DISK_SECTORS 40000u
#define AHEAD_SECTOR       512u

struct ahead_fixture {
    struct fake_platform platform;
    struct vio_platform watched; /**< the same, behind the watch */
    struct fake_blk_device device;
    struct virtio_blk blk;
    struct read_ahead ahead;
    uint64_t copy_us; /**< that pass between two looks at the clock without a request or a wait */
    unsigned waits_seen, requests_seen; /**< at the last look */
    size_t chunk_bytes;                 /**< that are allocated for chunks now */
    size_t chunk_bytes_max;
    unsigned n_reads;
};
extern struct ahead_fixture reader;

/** For cmocka: a disk that is not opened; and the end, which leaves nothing behind. */
int ahead_set_up(void **state);
int ahead_tear_down(void **state);

#define AHEAD_TEST(name) cmocka_unit_test_setup_teardown(name, ahead_set_up, ahead_tear_down)

void ahead_open(void);

/** Close the disk, then release; accepts a disk that is closed. */
void ahead_close(void);

/** Give back all that a quarantined disk kept; its chunks are so many, and must be there. */
void ahead_assert_quarantined(unsigned n_chunks);

/** One read into memory that holds rubbish; what VIO_OK brings must be right. */
vio_status ahead_try_read(uint64_t sector, uint64_t n_sectors);

/** The same, which must succeed. */
void ahead_read(uint64_t sector, uint64_t n_sectors);

/** So many reads, each continuing the one before; returns the sector behind them. */
uint64_t ahead_read_on(uint64_t sector, unsigned n_reads, uint64_t n_sectors);

/** What a writer does: drop, then write bytes of its own. */
void ahead_write(uint64_t sector, uint64_t n_sectors, uint64_t seed);

/** Highest sector that any request asked for since the nth, and 0 for none. */
uint64_t ahead_end_of_requests(unsigned first);

/** A read through what was read ahead, by its arguments. */
vio_status ahead_ask(struct read_ahead *ahead, uint64_t sector, void *buffer, size_t bytes);

#endif
