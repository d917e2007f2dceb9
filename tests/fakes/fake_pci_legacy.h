/** @file
 * A virtio function with a legacy interface: registers in I/O BAR 0, of which the last two are there
 * while MSI-X is enabled, and the device's configuration behind them. Each register access is
 * logged; one of the wrong width, to a place where nothing is, or a write to a read-only register,
 * fails the test, as does a queue whose address is given while it has one.
 * Spec:   virtio 1.4, 4.1.4.10 Legacy Interfaces: A Note on PCI Device Layout.
 * Knows:  transports/pci_function.h, tests/fakes/fake_log.h.
 */
#ifndef TESTS_FAKES_FAKE_PCI_LEGACY_H
#define TESTS_FAKES_FAKE_PCI_LEGACY_H

#include <stdbool.h>

#include "transports/pci_function.h"

#define FAKE_LEGACY_QUEUES       4u
#define FAKE_LEGACY_CONFIG_BYTES 60u
/** With the longer of the two headers. */
#define FAKE_LEGACY_BAR_BYTES (24u + FAKE_LEGACY_CONFIG_BYTES)

/** Where BAR 0 begins in what its window refers to; an offset in front of it is an error. */
#define FAKE_LEGACY_BAR_BASE 0xC000u

/** Where the MSI-X capability is; give it 0 as its ID to take it away. */
#define FAKE_LEGACY_MSIX 0x98u

struct fake_legacy_queue {
    uint16_t size; /**< 0: there is none */
    uint16_t vector;
    uint32_t page;
};

struct fake_pci_legacy {
    struct pci_function function; /**< to be given to the code under test */
    uint8_t config[PCI_CONFIG_BYTES];

    uint32_t device_features;
    uint32_t driver_features;
    uint16_t queue_select;
    uint16_t queue_notify;
    uint8_t status;
    uint8_t isr; /**< cleared by reading */
    uint16_t config_vector;
    struct fake_legacy_queue queues[FAKE_LEGACY_QUEUES];
    uint8_t device_config[FAKE_LEGACY_CONFIG_BYTES];

    bool refuses_vectors; /**< they read back as VIO_NO_VECTOR */
};

/** A transitional ID, an I/O BAR 0, MSI-X off, two queues of 256. */
void fake_legacy_init(struct fake_pci_legacy *pci);

void fake_legacy_enable_msix(struct fake_pci_legacy *pci, bool enable);

#endif
