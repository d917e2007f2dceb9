/** @file
 * Hands the initrds to the kernel's EFI stub, which asks for them when it is ready.
 * Spec:      UEFI 2.10, 13.2 Load File 2 Protocol. Linux: LINUX_EFI_INITRD_MEDIA_GUID.
 * Knows:     efi/volume.h.
 * Ownership: the files are the caller's and stay open until initrd_withdraw().
 */
#ifndef EFI_INITRD_H
#define EFI_INITRD_H

#include "efi/uefi.h"
#include "efi/volume.h"

/** What the kernel is offered, and what became of it. */
struct initrd_offer {
    const struct volume_file *files;
    UINTN n_files;
    UINT64 bytes;      /**< of all files, each padded to four bytes but the last */
    EFI_STATUS status; /**< EFI_NOT_READY until the kernel has asked; then how that ended */
    void (*on_read)(void *context); /**< called when all files were read, still in boot services */
    void *context;
};

/**
 * Publish the initrds. They are read, straight into the kernel's buffer, when it calls LoadFile().
 *
 * @param offer  files, n_files, on_read and context set; stays where it is until withdrawn
 * @return EFI_SUCCESS, or what the firmware answered (reported)
 */
EFI_STATUS initrd_offer(struct initrd_offer *offer);

/** Take the offer back; harmless when nothing is offered. */
void initrd_withdraw(void);

#endif
