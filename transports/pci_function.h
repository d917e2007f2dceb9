/** @file
 * The PCI function that a device sits on, as the platform shows it, and what the transports need of
 * it besides virtio's registers.
 * Spec:   PCI Local Bus 3.0, 6.2.2 Device Control; 6.2.5 Base Addresses; 6.7 Capabilities List.
 * Knows:  core/platform.h, transports/pci_spec.h.
 * Trust:  a capability list is followed for as long as one can be, and no longer.
 */
#ifndef TRANSPORTS_PCI_FUNCTION_H
#define TRANSPORTS_PCI_FUNCTION_H

#include <stdint.h>

#include "core/platform.h"
#include "transports/pci_spec.h"

/** Why a BAR is out of reach; the value is its number. */
#define PCI_TEXT_NO_ADDRESS "the firmware gave no address to its BAR"

struct pci_function {
    struct vio_window config;              /**< configuration space, PCI_CONFIG_BYTES */
    struct vio_window bars[PCI_BAR_COUNT]; /**< memory or I/O; 0 bytes: absent, or out of reach */
};

/**
 * The first capability with this ID.
 *
 * @param config  configuration space
 * @param id      PCI_CAPABILITY_...
 * @return its offset; 0: there is none
 */
uint8_t pci_function_find_capability(const struct vio_window *config, uint8_t id);

/** Take bus mastering from the function: it reaches no memory any more, nor raises a message. */
void pci_function_isolate(const struct vio_window *config);

#endif
