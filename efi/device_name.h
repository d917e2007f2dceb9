/** @file
 * What a device is called in every message: its type and its place on the PCI bus.
 * Spec:  UEFI 2.10, 14.4 EFI PCI I/O Protocol: GetLocation.
 */
#ifndef EFI_DEVICE_NAME_H
#define EFI_DEVICE_NAME_H

#include "efi/uefi.h"

/** Long enough for "virtio-blk ffff:ff:ff.f" and its terminator. */
#define DEVICE_NAME_UNITS 32

/**
 * Make the name of a disk: "virtio-blk 0000:00:03.0" (segment:bus:device.function, hexadecimal).
 *
 * @param pci_io    the device's function
 * @param ret_name  of DEVICE_NAME_UNITS
 */
void device_name_make(EFI_PCI_IO_PROTOCOL *pci_io, CHAR16 *ret_name);

/**
 * The same for a handle.
 *
 * @param controller  handle with EFI_PCI_IO_PROTOCOL
 * @param ret_name    of DEVICE_NAME_UNITS
 */
void device_name_of(EFI_HANDLE controller, CHAR16 *ret_name);

#endif
