/** @file
 * Finds the virtio structures in a PCI function's capability list. Pure: bytes in, checked ranges
 * out; this is what reads a hostile device's words, so it touches nothing else.
 * Spec:   virtio 1.4, 4.1.4 Virtio Structure PCI Capabilities; 4.1.4.1 Driver Requirements: Virtio
 *         Structure PCI Capabilities; 4.1.4.9 PCI configuration access capability; 4.1.2 PCI Device
 *         Discovery.
 * Knows:  transports/pci_spec.h, core/status.h.
 * Trust:  every range that comes out lies in its BAR completely, in 64-bit arithmetic; in one whose
 *         length is not known, below 4 GiB.
 */
#ifndef TRANSPORTS_PCI_CAPS_H
#define TRANSPORTS_PCI_CAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "transports/pci_spec.h"

/** A virtio structure in a BAR. */
struct pci_structure {
    uint64_t offset;
    uint64_t bytes;   /**< 0: the function has no usable one */
    uint8_t bar;      /**< 0 .. 5 */
    bool by_cfg_data; /**< the BAR is out of reach, but pci_caps.cfg_access leads there */
};

struct pci_caps {
    struct pci_structure common;
    struct pci_structure notify;
    struct pci_structure isr;
    struct pci_structure device; /**< may be absent: not every device type has one */
    uint32_t notify_off_multiplier;
    uint8_t cfg_access; /**< offset of the PCI configuration access capability; 0: there is none */
    unsigned
        n_virtio_caps; /**< vendor capabilities seen, usable or not; with none it is a legacy device */
};

/**
 * The virtio device type of a PCI function (4.1.2.2): its revision and subsystem do not matter.
 *
 * @param vendor  configuration space, PCI_VENDOR_ID
 * @param device  configuration space, PCI_DEVICE_ID
 * @return the device type of virtio 1.4, 5 Device Types; 0 if this is no virtio device, or a
 *         transitional one of a type that no driver here has use for
 */
uint16_t pci_caps_virtio_id(uint16_t vendor, uint16_t device);

/**
 * Walk the capability list. The first usable capability of each type wins, one in a BAR without a
 * length only if there is no other; others, unknown types, reserved BAR numbers and ranges outside
 * their BAR are passed over.
 *
 * @param config     the function's configuration space
 * @param bar_bytes  length of each BAR; 0 for one that is absent or unassigned
 * @param ret_caps   only written on success
 * @param ret_bar    only written on VIO_ERR_DEVICE: a BAR that has not got what a capability says
 *                   is there; PCI_BAR_COUNT: none
 * @return VIO_OK; VIO_ERR_UNSUPPORTED when there is no virtio capability at all (a legacy device);
 *         VIO_ERR_DEVICE when common, notify or ISR structure is missing or the list is a loop
 */
VIO_MUST_CHECK vio_status pci_caps_parse(const uint8_t config[PCI_CONFIG_BYTES],
                                         const uint64_t bar_bytes[PCI_BAR_COUNT],
                                         struct pci_caps *ret_caps, uint8_t *ret_bar);

#endif
