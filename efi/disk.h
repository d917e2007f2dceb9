/** @file
 * One virtio disk that we drive: from a PCI function to an open block device with its protocols:
 * EFI_BLOCK_IO, EFI_BLOCK_IO2, EFI_DISK_INFO, and EFI_ERASE_BLOCK where the device can erase.
 * Spec:      UEFI 2.10, 11.1 EFI Driver Binding Protocol (what Start and Stop have to do); 7.4
 *            EFI_BOOT_SERVICES.ExitBootServices().
 * Knows:     devices/blk.h, transports/pci.h, efi/block_io.h, efi/pci_window.h, efi/interrupt.h.
 * Ownership: the PCI I/O protocol must be opened by driver for the controller as long as the disk is
 *            open. The structure stays where it is.
 */
#ifndef EFI_DISK_H
#define EFI_DISK_H

#include "devices/blk.h"
#include "efi/block_io.h"
#include "efi/device_name.h"
#include "efi/disk_info.h"
#include "efi/erase_block.h"
#include "efi/interrupt.h"
#include "efi/pci_window.h"
#include "efi/platform.h"
#include "efi/uefi.h"
#include "transports/pci.h"

/**
 * EDK2's disk driver takes the memory of 64 blocks, for the disk and for each partition: one disk
 * with blocks of 2 MiB would leave a small machine's kernel none.
 */
#define DISK_SEARCHED_BLOCK_BYTES_MAX (64u << 10)

struct disk {
    EFI_HANDLE controller;
    EFI_PCI_IO_PROTOCOL *pci_io;
    CHAR16 name[DEVICE_NAME_UNITS];
    struct virtio_blk blk;
    struct block_io block_io;
    struct disk_info disk_info;
    struct erase_block erase_block; /**< installed only where the device can do it */
    bool has_erase_block;
    bool must_reconnect; /**< the media has changed, and file systems do not know yet */
    bool stays_idle;     /**< nobody else is to drive it when we stop, for nobody did before */

    UINT64 original_attributes;
    struct pci_access access;
    struct pci pci;
    struct vio_transport transport;
    struct platform platform;
    struct interrupt interrupt;
    EFI_EVENT exit_event;
    EFI_EVENT refresh_timer; /**< NULL: somebody else calls disk_refresh() */
    struct disk *next;       /**< for whoever keeps a list */
};

/**
 * Bring the device up and install its protocols on the controller. A failure is reported here, with
 * the device's name and what it answered. Media that may be written is looked at each second, and
 * whoever has it open connected anew when it has changed; else that is left to disk_refresh().
 *
 * @param disk               any content
 * @param controller         handle of the PCI function
 * @param pci_io             opened by driver
 * @param publish_read_only  see block_io_init()
 * @param declined_features  see virtio_blk_open()
 * @param interrupt_mode     how it is to say that it is done
 * @return EFI_SUCCESS or the reason; then nothing is left to close
 */
EFI_STATUS disk_open(struct disk *disk, EFI_HANDLE controller, EFI_PCI_IO_PROTOCOL *pci_io,
                     bool publish_read_only, UINT64 declined_features,
                     enum interrupt_mode interrupt_mode);

/**
 * Undo disk_open(): the device is reset, the function's attributes are as they were.
 *
 * @param disk  open
 * @return EFI_SUCCESS; or, with nothing changed, why somebody does not let go of EFI_BLOCK_IO
 */
EFI_STATUS disk_close(struct disk *disk);

/**
 * See whether the media has another size, or is gone, and connect anew whoever has it open. Open
 * files on it are of no use afterwards, so this is for moments in which the caller has none.
 *
 * @param disk  open; at TPL_CALLBACK or below
 */
void disk_refresh(struct disk *disk);

/**
 * The one way to write to a disk that is published read-only: everybody who has it open is connected
 * anew and finds writable media, or read-only media again. Close files before: what a file system
 * still holds back is refused. If somebody does not let go, or the flush fails, the media is
 * read-only and can be read.
 *
 * @param disk      open
 * @param writable  what is wanted
 * @return EFI_SUCCESS, at once if the media is so already; with nothing changed
 *         EFI_WRITE_PROTECTED, as block_io_set_writable() or because no file systems are looked for
 *         on it; why somebody did not let go; why what was written could not be flushed
 */
EFI_STATUS disk_set_writable(struct disk *disk, bool writable);

/** Say on the console what the disk is like, and how it says that it is done. */
void disk_report(const struct disk *disk);

/** Whether file systems are to be looked for on this open disk. */
bool disk_is_searched(const struct disk *disk);

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
