/*
 * A PCI function that is nothing but the input: its configuration space, its BARs, and what its
 * registers answer. What has to hold is said in tests/fakes/lying_pci.h.
 *
 * Input: a struct pci_script as bytes, little-endian.
 *
 *      0  bytes of BAR 0 to 5, 64 bits each, of which the highest 8 are dropped
 *     48  configuration space, 256 bytes
 *    304  up to 16 lies of 16 bytes (tests/fakes/lies.h):
 *           0 about   1 how   2 after   3 at   4 from, 16 bits   6 count, 16 bits   8 value, 64 bits
 *
 * Without lies the registers are those of an honest device. The rows of
 * tests/hostile/test_hostile_pci.c are corpus/pci/hostile-*.
 */

#include "tests/fakes/lying_pci.h"
#include "tests/fuzz/assertions.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    struct pci_script script;
    struct pci_outcome outcome;

    pci_script_read(bytes, n_bytes, &script);
    pci_script_play(&script, &outcome);
    return 0;
}
