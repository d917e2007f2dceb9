/** @file
 * A virtio function on a PCI bus: configuration space, and one BAR with the structures that
 * fake_caps_init() describes. Each register access is logged; one of the wrong width, to a place
 * where nothing is, or a write to a read-only register, fails the test. With a PCI configuration access
 * capability, its registers can be reached by that one as well, but for a misuse (4.1.4.9.2).
 * Spec:   virtio 1.4, 4.1.4.3 Common configuration structure layout; 4.1.4.9 PCI configuration access
 *         capability.
 * Knows:  transports/pci_modern.h (struct pci_function), tests/fakes/fake_log.h.
 */
#ifndef TESTS_FAKES_FAKE_PCI_H
#define TESTS_FAKES_FAKE_PCI_H

#include "tests/fakes/fake_pci_caps.h"
#include "transports/pci_modern.h"

#define FAKE_PCI_QUEUES 80u

/** Where BAR 4 begins in what its window refers to; an offset in front of it is an error. */
#define FAKE_PCI_BAR_BASE UINT64_C(0x600000000)

struct fake_pci_queue {
    uint16_t size;
    uint16_t vector;
    uint16_t enable;
    uint16_t notify_off;
    uint64_t descriptor_area;
    uint64_t driver_area;
    uint64_t device_area;
    uint16_t notif_config_data;
    uint16_t reset;
};

struct fake_pci {
    struct pci_function function; /**< to be given to the code under test */
    uint8_t config[PCI_CONFIG_BYTES];

    /* Registers of the common configuration structure */
    uint32_t device_feature_select;
    uint32_t driver_feature_select;
    uint32_t device_features[2];
    uint32_t driver_features[2];
    uint16_t config_vector;
    uint16_t num_queues;
    uint8_t status;
    uint8_t generation;
    uint16_t queue_select;
    struct fake_pci_queue queues[FAKE_PCI_QUEUES];

    uint8_t isr; /**< cleared by reading */
    uint8_t device_config[FAKE_PCI_DEVICE_BYTES];

    /* Knobs */
    bool refuses_vectors; /**< they read back as VIO_NO_VECTOR */
    bool lacks_vectors;   /**< they read as 0, as without MSI-X */
    bool refuses_size;
    bool is_opened; /**< reads of pci_cfg_data are accesses, and not those of a whole list */
};

/** A device with two queues of 256, whose notify offsets are their numbers. */
void fake_pci_init(struct fake_pci *pci);

/** Give it a PCI configuration access capability, first in the list; which is then writable. */
void fake_pci_add_cfg_access(struct fake_pci *pci);

#endif
