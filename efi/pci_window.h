/** @file
 * A PCI function's configuration space and BARs, memory and I/O, as register windows.
 * Spec:      UEFI 2.10, 14.4 EFI PCI I/O Protocol: Pci, Mem, Io, GetBarAttributes.
 * Knows:     transports/pci_function.h, efi/port.h.
 * Ownership: the windows refer to the structure given, which stays where it is while they are used.
 */
#ifndef EFI_PCI_WINDOW_H
#define EFI_PCI_WINDOW_H

#include "efi/uefi.h"
#include "transports/pci_function.h"

/** What one BAR's window carries as its context. */
struct pci_bar_access {
    EFI_PCI_IO_PROTOCOL *pci_io;
    UINT8 index; /**< the firmware's number for it */
    bool is_io;
    UINT64 address; /**< where the processor finds it, by the firmware's word; 0: not known */
    /* The same, once pci_window_go_direct() was called; one of them, or none. */
    volatile UINT8 *memory;
    UINT16 port;
};

struct pci_access {
    struct pci_bar_access bars[PCI_BAR_COUNT];
};

/**
 * Describe a function. Touches no register of the device.
 *
 * @param access  any content; must outlive ret_function's windows
 * @param pci_io  must outlive them too
 * @param ret_function  unassigned BARs and the upper halves of 64-bit ones have a length of 0
 */
void pci_window_describe(struct pci_access *access, EFI_PCI_IO_PROTOCOL *pci_io,
                         struct pci_function *ret_function);

/**
 * From now on registers are accessed where they are, without a call of the firmware for each: that
 * takes more instructions than all else that sends a request.
 *
 * @param access  described; the function's memory space and I/O space are enabled
 * @return whether that goes for all; a BAR whose place is not known is left to the firmware
 */
bool pci_window_go_direct(struct pci_access *access);

/** The virtio device type of a function (pci_caps_virtio_id()); 0 for anything else. */
UINT16 pci_window_virtio_id(EFI_PCI_IO_PROTOCOL *pci_io);

#endif
