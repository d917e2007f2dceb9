/** @file
 * A PCI function's MSI-X capability and table: which message each of its vectors is.
 * Spec:      PCI Local Bus 3.0, 6.8.2 MSI-X Capability and Table Structures; virtio 1.4, 4.1.5.1.2
 *            MSI-X Vector Configuration.
 * Knows:     transports/pci_function.h.
 * Order:     open, enable, set any number of entries, start, close. Nothing is sent before start, and
 *            nothing after close. An entry's message is only changed while the entry is masked.
 * Ownership: the windows are copied; what they refer to must outlive the structure.
 * Trust:     a table that does not lie in its BAR completely is not used; all accesses are bounded.
 */
#ifndef TRANSPORTS_PCI_MSIX_H
#define TRANSPORTS_PCI_MSIX_H

#include <stdint.h>

#include "core/platform.h"
#include "core/status.h"
#include "transports/pci_function.h"

/** All fields are private to pci_msix.c but for those said to be for reading. */
struct pci_msix {
    uint16_t n_entries; /**< for reading: 1 .. 2048 */
    struct vio_window config;
    struct vio_window table;
    uint16_t control_at;    /**< in configuration space */
    uint16_t found_control; /**< what close puts back */
    uint16_t n_set;         /**< entries from 0 that may be unmasked */
};

/**
 * Find capability and table; writes no register.
 *
 * @param msix      written on success only
 * @param function  its memory space is enabled
 * @return VIO_OK; VIO_ERR_UNSUPPORTED: the function has no MSI-X; VIO_ERR_DEVICE: its table lies outside
 *         of its BAR, or in one that cannot be reached or is no memory
 */
VIO_MUST_CHECK vio_status pci_msix_open(struct pci_msix *msix, const struct pci_function *function);

/**
 * From now on the function raises no interrupt on its line any more; nor messages, before
 * pci_msix_start().
 */
void pci_msix_enable(const struct pci_msix *msix);

/**
 * Give an entry its message and unmask it.
 *
 * @param msix     enabled
 * @param entry    0 .. msix->n_entries - 1
 * @param address  where the function writes
 * @param data     what it writes there
 */
void pci_msix_set(struct pci_msix *msix, uint16_t entry, uint64_t address, uint32_t data);

/** Mask an entry again: what would have been sent is kept pending by the function. */
void pci_msix_mask(const struct pci_msix *msix, uint16_t entry);

/** Let the function send messages. */
void pci_msix_start(const struct pci_msix *msix);

/**
 * Mask the entries that were set, and have the capability as it was found. Allocates nothing, and may
 * be called at any time after pci_msix_open().
 */
void pci_msix_close(struct pci_msix *msix);

#endif
