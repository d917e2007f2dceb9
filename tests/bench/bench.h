/** @file
 * The speed of a virtio disk under UEFI, through the firmware's own driver and through virtio.efi.
 * Spec:      UEFI 2.10, 13.9 Block I/O Protocol; 13.10 Block I/O 2 Protocol.
 * Knows:     nothing of our drivers: what it measures it finds by the protocols; of core/ the ring,
 *            which bench_floor() measures by itself.
 * Job:       \bench.txt on the volume that bench.efi came from, one word list per line:
 *                rounds N             how often all lines are run for both drivers; first line
 *                expect blocks|zeroes what the disk holds from here on, see bench_verify()
 *                from LBA             where the part begins that the lines from here on read
 *                costs                measure what calls of the firmware alone cost
 *                read NAME random|sequential BYTES API DEPTH REAP OPS
 *                file PATH            read a file of a volume on the disk; after all other lines
 *            API is 1 (EFI_BLOCK_IO) or 2 (EFI_BLOCK_IO2, ours only). Of DEPTH reads in flight,
 *            REAP have to be done before new ones are submitted.
 * Output:    on the console, which nobody times:
 *                bench: clock TICKS              of a millisecond
 *                bench: cost NAME TICKS          the least that one call took
 *                bench: run MARK ROUND DRIVER API NAME DEPTH OPS TICKS LEAST RESULT
 *                bench: error TEXT               nothing more is measured
 *                bench: done
 *            LEAST is the ticks of the fastest read, or of the fastest batch by its reads. RESULT
 *            is ok, wrong (not what is on the disk), failed, or absent (no such protocol). When a
 *            line begins, BENCH_MARK | MARK is written to the disk's interrupt line register, and
 *            BENCH_MARK when it ends, for who traces the configuration space.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <efi.h>
#include <efilib.h>

#include <stdbool.h>
#include <stdint.h>

#define BENCH_NAME_CHARS  24u
#define BENCH_PATH_CHARS  32u
#define BENCH_LINES_MAX   64u
#define BENCH_OPS_MAX     8192u
#define BENCH_DEPTH_MAX   32u
#define BENCH_BLOCK_BYTES 512u
#define BENCH_POOL_BYTES  (64u << 20)
#define BENCH_MARK        0xBE00u

enum bench_api { BENCH_FILE = 0, BENCH_BLOCK_IO = 1, BENCH_BLOCK_IO2 = 2 };

/** A line of the job that reads. */
struct bench_line {
    char name[BENCH_NAME_CHARS];
    CHAR16 path[BENCH_PATH_CHARS]; /**< of a file */
    uint64_t from_lba;
    uint64_t bytes; /**< of one read */
    uint64_t ops;
    uint64_t api;
    uint64_t depth;
    uint64_t reap;
    bool is_random;
    bool is_zeroes; /**< the disk holds zeroes, not numbered blocks */
};

struct bench_job {
    struct bench_line lines[BENCH_LINES_MAX];
    unsigned n_lines;
    uint64_t rounds;
    bool wants_costs;
};

enum bench_result { BENCH_OK, BENCH_WRONG, BENCH_FAILED, BENCH_ABSENT };

/** What a line took. */
struct bench_time {
    uint64_t ticks;
    uint64_t least;
};

/** The disk that is measured, as the driver of the moment shows it. */
struct bench_disk {
    EFI_HANDLE handle;
    EFI_PCI_IO_PROTOCOL *pci_io;
    EFI_BLOCK_IO *block_io;
    EFI_BLOCK_IO2_PROTOCOL *block_io2; /**< NULL: the driver has none */
    UINT8 *pool;                       /**< BENCH_POOL_BYTES; reads take turns in it */
    EFI_BLOCK_IO2_TOKEN tokens[BENCH_DEPTH_MAX];
};

/** Ticks of the processor; with -icount shift=0 these are instructions. */
uint64_t bench_now(void);

/**
 * Parse the job file.
 *
 * @param text     its content, not terminated
 * @param bytes    its length
 * @param ret_job  written on failure too
 * @return 0, or the number of the line that makes no sense
 */
unsigned bench_parse_job(const char *text, UINTN bytes, struct bench_job *ret_job);

/** Run a line of EFI_BLOCK_IO or EFI_BLOCK_IO2. */
enum bench_result bench_read(struct bench_disk *disk, const struct bench_line *line,
                             struct bench_time *ret_time);

/** Read a file of a volume on the disk from begin to end, as a loader does. */
enum bench_result bench_read_file(struct bench_disk *disk, const struct bench_line *line,
                                  struct bench_time *ret_time);

/** Print what calls cost that every driver has to make, and what the ring alone costs. */
void bench_costs(EFI_PCI_IO_PROTOCOL *pci_io);

/**
 * What no driver is below, for each read of a batch of BENCH_DEPTH_MAX, whose device is played.
 *
 * @param ret_ring   ticks of the ring alone: a chain of three is added, published, and popped; 0:
 *                   failed
 * @param ret_token  of EFI_BLOCK_IO2 with that ring, the checks that UEFI demands, the token's event,
 *                   and nothing else: no level is raised, nothing is split, watched, kept in order or
 *                   given up; 0: failed
 */
void bench_floor(UINT64 *ret_ring, UINT64 *ret_token);

#endif
