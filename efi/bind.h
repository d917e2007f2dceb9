/** @file
 * EFI_DRIVER_BINDING_PROTOCOL for virtio disks, and with it the way to take a disk from the
 * firmware's driver and to give it back.
 * Spec:      UEFI 2.10, 11.1 EFI Driver Binding Protocol; 7.3 Protocol Handler Services:
 *            ConnectController(), DisconnectController().
 * Knows:     efi/disk.h.
 * Ownership: the binding is one per image; disks live from Start() to Stop().
 */
#ifndef EFI_BIND_H
#define EFI_BIND_H

#include "efi/disk.h"
#include "efi/uefi.h"

/** How this program wants its disks. */
struct bind_policy {
    bool publish_read_only;
    /** false: only those that bind_take_over() takes; true: also any that is connected later. */
    bool accepts_any_controller;
    UINT64 declined_features;
    UINT64 request_limit_us; /**< of virtio_blk; 0: its default */
    enum interrupt_mode interrupt_mode;
};

/**
 * Install driver binding and component names.
 *
 * @param image   our own image handle; the protocols are installed on it
 * @param policy  copied
 * @return EFI_SUCCESS or what the firmware answered; then nothing is left behind
 */
EFI_STATUS bind_install(EFI_HANDLE image, const struct bind_policy *policy);

/**
 * Take all virtio disks of the machine: whoever drives one is disconnected, our driver connected,
 * and the firmware's partition and file system drivers are put on top; the latter not where the
 * blocks are so large that those drivers would take much of the memory. A disk that we cannot drive
 * goes back at once to the driver that it had, if any, after a message; unless it did not confirm
 * its reset, then nobody gets it.
 *
 * @return number of virtio disks that the machine has, driven by us or not
 */
UINTN bind_take_over(void);

/**
 * Stop driving disks, let the firmware's drivers have those that they had, uninstall the binding.
 *
 * @return EFI_SUCCESS; otherwise (reported) a disk could not be stopped: our code is still in use
 *         and the image must stay in memory
 */
EFI_STATUS bind_give_back(void);

/** Say on the console what the disks that we drive are like. */
void bind_report(void);

/** See whether a disk has changed its size, for who publishes read-only; see disk_refresh(). */
void bind_refresh(void);

/** The disks that we drive, in the order they were started; NULL when there is none. */
struct disk *bind_first_disk(void);

/** The disk on this controller; NULL when we do not drive it. */
struct disk *bind_find_disk(EFI_HANDLE controller);

#endif
