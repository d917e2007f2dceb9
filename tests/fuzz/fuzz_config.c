/*
 * A disk whose every register, configuration field and ring word is answered by the input: it is
 * opened, used and closed by the driver. What has to hold is said in tests/fakes/lying_disk.h.
 *
 * Input: a struct disk_script as bytes, little-endian.
 *
 *      0  use: what is done with the disk (enum disk_use); 0x80: a legacy disk
 *      1  which kind of the platform's calls fails (enum fake_call)
 *      2  which call of this kind; 0: none
 *      3  how often the use is repeated
 *      4  up to 16 lies of 16 bytes (tests/fakes/lies.h):
 *           0 about   1 how   2 after   3 at   4 from, 16 bits   6 count, 16 bits   8 value, 64 bits
 *
 * An input without lies is an honest disk. The rows of tests/hostile/test_hostile_disk.c are
 * corpus/config/hostile-*.
 */

#include "tests/fakes/lying_disk.h"
#include "tests/fuzz/assertions.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    struct disk_script script;
    struct disk_outcome outcome;

    disk_script_read(bytes, n_bytes, &script);
    disk_script_play(&script, &outcome);
    return 0;
}
