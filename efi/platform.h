/** @file
 * core/platform.h over EFI_PCI_IO_PROTOCOL, boot services and interrupts, for one PCI function.
 * Spec:      UEFI 2.10, 14.4 EFI PCI I/O Protocol: AllocateBuffer, Map, Unmap; 2.3.4 x64
 *            Platforms.
 * Knows:     core/platform.h, efi/clock.h, efi/interrupt.h.
 * Ownership: the protocol is the caller's; it outlives every buffer and mapping.
 * DMA:       shared memory and callers' buffers are given the addresses that came out of Map(), as
 *            VIRTIO_F_ACCESS_PLATFORM demands of a driver behind an IOMMU or in an encrypted guest.
 *            Without that feature a device is given pointers, which are physical addresses (2.3.4 x64
 *            Platforms), also where an IOMMU is programmed for others; and no buffer is mapped.
 */
#ifndef EFI_PLATFORM_H
#define EFI_PLATFORM_H

#include "core/platform.h"
#include "efi/interrupt.h"
#include "efi/uefi.h"

/** The context of a vio_platform; outlives it. */
struct platform {
    EFI_PCI_IO_PROTOCOL *pci_io; /**< of the device's function */
    struct interrupt *interrupt; /**< opened, and attached to the transport */
};

/** Make a vio_platform whose context this is. */
struct vio_platform platform_make(struct platform *platform);

#endif
