/** @file
 * A virtio-pci device of either kind: finds out by which interface it is to be driven.
 * Spec:      virtio 1.4, 4.1.5.1.1.1 Legacy Interface: A Note on Device Layout Detection; 2.2.3
 *            Legacy Interface: A Note on Feature Bits; 4.1.2.1 Device Requirements: PCI Device
 *            Discovery.
 * Knows:     transports/pci_modern.h, transports/pci_legacy.h.
 * Ownership: as theirs.
 */
#ifndef TRANSPORTS_PCI_H
#define TRANSPORTS_PCI_H

#include "transports/pci_legacy.h"
#include "transports/pci_modern.h"

/** Private: whichever it is. */
struct pci {
    union {
        struct pci_modern modern;
        struct pci_legacy legacy;
    };
};

/**
 * Make a transport: a modern one where the capabilities allow it, and the device offers VERSION_1;
 * else a legacy one, if the device is of a kind that has such an interface.
 *
 * @param pci            any content; must outlive ret_transport
 * @param function       copied
 * @param ret_transport  for vio_device_open(); written on success only
 * @param ret_failure    what is wrong with the device, written on failure only
 * @return VIO_OK, or what pci_modern_open() or pci_legacy_open() returned
 */
VIO_MUST_CHECK vio_status pci_open(struct pci *pci, const struct pci_function *function,
                                   struct vio_transport *ret_transport,
                                   struct vio_failure *ret_failure);

#endif
