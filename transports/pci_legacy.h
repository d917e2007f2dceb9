/** @file
 * Transport for virtio-pci devices through their legacy interface: registers in I/O BAR 0.
 * Spec:      virtio 1.4, 4.1.4.10 Legacy Interfaces: A Note on PCI Device Layout; 4.1.5.1.3.1 Legacy
 *            Interface: A Note on Virtqueue Configuration; 4.1.5.1.2.2 Driver Requirements: MSI-X
 *            Vector Configuration.
 * Knows:     transports/pci_function.h, core/transport.h.
 * Ownership: the windows given to pci_legacy_open() are copied; what they refer to must outlive the
 *            transport. Nothing is allocated, so there is nothing to close.
 * Trust:     all accesses are bounded by the BAR.
 * MSI-X:     whether it is enabled is asked of the function at each use, for registers come and go
 *            with it, and the configuration space moves.
 */
#ifndef TRANSPORTS_PCI_LEGACY_H
#define TRANSPORTS_PCI_LEGACY_H

#include <stdint.h>

#include "core/device.h"
#include "core/platform.h"
#include "core/transport.h"
#include "transports/pci_function.h"

/** All fields are private to pci_legacy.c. */
struct pci_legacy {
    struct vio_window config_space;
    struct vio_window registers; /**< BAR 0 */
    uint8_t msix;                /**< offset of the MSI-X capability; 0: there is none */
};

/**
 * Make a transport; reads and writes no register of the device.
 *
 * @param pci            any content; must outlive ret_transport
 * @param function       copied
 * @param ret_transport  for vio_device_open(); written on success only
 * @param ret_failure    what is wrong with the device, written on failure only
 * @return VIO_OK; VIO_ERR_UNSUPPORTED without an I/O BAR 0 that has an address; VIO_ERR_DEVICE when
 *         it is shorter than the registers
 */
VIO_MUST_CHECK vio_status pci_legacy_open(struct pci_legacy *pci,
                                          const struct pci_function *function,
                                          struct vio_transport *ret_transport,
                                          struct vio_failure *ret_failure);

#endif
