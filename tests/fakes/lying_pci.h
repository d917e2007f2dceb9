/** @file
 * A whole encounter with a hostile PCI function: its capability list is read, a transport made of
 * it, a device with two queues brought up through that, its configuration read, a queue notified,
 * reset and enabled again, and the device reset at the end. The configuration space is the
 * script's, and so is what the registers behind it answer. Checked here, whatever the function
 * says:
 *
 *   - Each structure that the driver finds lies in its BAR, and each register access in one of
 *     these structures, aligned.
 *   - A notification goes where the device asked for it, computed without overflow, and says what
 *     it was asked to say. A queue is enabled with a size that the device takes, and its addresses.
 *   - Configuration space is read only, but for the command register when the function is cut off, and
 *     the capability that leads to BARs out of reach, which is used as 4.1.4.9.2 says.
 *   - Each wait ends in bounded time; the function is left reset or without bus mastering; a
 *     failure has words, and writes no result.
 *
 * A breach fails the test: by cmocka, and in a fuzzer by abort().
 * Knows:  tests/hostile/pci_driver.h; core/device.h, which uses the transport.
 */
#ifndef TESTS_FAKES_LYING_PCI_H
#define TESTS_FAKES_LYING_PCI_H

#include "tests/fakes/lies.h"
#include "tests/hostile/pci_driver.h"

#define LYING_PCI_QUEUE_SIZE 64u

struct pci_script {
    uint64_t bar_bytes[PCI_BAR_COUNT];
    uint8_t config[PCI_CONFIG_BYTES];
    struct lie lies[LIES_MAX];
};

/** Up to the first failure; what was not reached stays VIO_OK. */
struct pci_outcome {
    vio_status found;
    struct pci_findings findings;
    vio_status opened;
    vio_status brought_up;
    vio_status config_read;
    vio_status queue_reset; /**< and enabled again */
    bool isolated;
    unsigned n_untold; /**< lies that there was no occasion for */
    uint64_t value;    /**< named by the failure of the device, if there was one */
};

/** An honest function: the usual capabilities, RING_RESET on offer. */
void pci_script_init(struct pci_script *script);

void pci_script_play(const struct pci_script *script, struct pci_outcome *ret_outcome);

/* A script as bytes of a file: the BARs' sizes of 64 bits, configuration space, lies. */
#define PCI_SCRIPT_HEAD_BYTES (PCI_BAR_COUNT * 8u + PCI_CONFIG_BYTES)
#define PCI_SCRIPT_BYTES_MAX  (PCI_SCRIPT_HEAD_BYTES + LIES_MAX * LIE_BYTES)
size_t pci_script_write(const struct pci_script *script, uint8_t ret_bytes[PCI_SCRIPT_BYTES_MAX]);
void pci_script_read(const uint8_t *bytes, size_t n_bytes, struct pci_script *ret_script);

#endif
