/** @file
 * One virtio disk that we drive: from a PCI function to an open block device with EFI_BLOCK_IO.
 * Spec:      UEFI 2.10, 11.1 EFI Driver Binding Protocol (what Start and Stop have to do); 7.4
 *            EFI_BOOT_SERVICES.ExitBootServices().
 * Knows:     devices/blk.h, transports/pci_modern.h, efi/block_io.h, efi/pci_window.h.
 * Ownership: the PCI I/O protocol must be opened by driver for the controller as long as the disk is
 *            open. The structure stays where it is.
 */
#ifndef EFI_DISK_H
#define EFI_DISK_H

#include "devices/blk.h"
#include "efi/block_io.h"
#include "efi/device_name.h"
#include "efi/pci_window.h"
#include "efi/uefi.h"
#include "transports/pci_modern.h"

struct disk {
    EFI_HANDLE controller;
    EFI_PCI_IO_PROTOCOL *pci_io;
    CHAR16 name[DEVICE_NAME_UNITS];
    struct virtio_blk blk;
    struct block_io block_io;
    bool stays_idle; /**< nobody else is to drive it when we stop, for nobody did before */

    UINT64 original_attributes;
    struct pci_access access;
    struct pci_modern pci;
    EFI_EVENT exit_event;
    struct disk *next; /**< for whoever keeps a list */
};

/**
 * Bring the device up and install EFI_BLOCK_IO on the controller. A failure is reported here, with
 * the device's name and what it answered.
 *
 * @param disk               any content
 * @param controller         handle of the PCI function
 * @param pci_io             opened by driver
 * @param publish_read_only  see block_io_init()
 * @param declined_features  see virtio_blk_open()
 * @return EFI_SUCCESS or the reason; then nothing is left to close
 */
EFI_STATUS disk_open(struct disk *disk, EFI_HANDLE controller, EFI_PCI_IO_PROTOCOL *pci_io,
                     bool publish_read_only, UINT64 declined_features);

/**
 * Undo disk_open(): the device is reset, the function's attributes are as they were.
 *
 * @param disk  open
 * @return EFI_SUCCESS; or, with nothing changed, why somebody does not let go of EFI_BLOCK_IO
 */
EFI_STATUS disk_close(struct disk *disk);

/** Whether the last request of this open disk failed, so that disk_report_failure() knows why. */
bool disk_has_failed(const struct disk *disk);

/**
 * Say on the console why the last request of this disk failed.
 *
 * @param disk    open
 * @param path    file that was read; NULL for none
 * @param status  what the file system returned
 */
void disk_report_failure(const struct disk *disk, const CHAR16 *path, EFI_STATUS status);

#endif
