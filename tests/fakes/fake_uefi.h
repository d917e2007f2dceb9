/** @file
 * As much of the firmware as efi/block_io.c and efi/volume.c need on the host: the task priority
 * level, pool memory, and a file system of one contiguous file above an EFI_BLOCK_IO_PROTOCOL,
 * which reads whole blocks as the firmware's FAT driver does.
 * Spec:   UEFI 2.10, 7.1 Task Priority Services; 13.5 File Protocol.
 */
#ifndef TESTS_FAKES_FAKE_UEFI_H
#define TESTS_FAKES_FAKE_UEFI_H

#include "efi/uefi.h"

/** The level that RaiseTPL() and RestoreTPL() work on. */
extern EFI_TPL fake_uefi_tpl;

/** Number of messages that were printed as errors. */
extern unsigned fake_uefi_errors;

/** Sets up BS; at TPL_APPLICATION. */
void fake_uefi_init(void);

/** A file that begins at a block and is read from its start. */
struct fake_file {
    EFI_FILE_PROTOCOL protocol; /**< to be given to the code under test */
    EFI_BLOCK_IO_PROTOCOL *block_io;
    EFI_LBA first_block;
    UINT64 position;
    void (*before_read)(void); /**< called in front of and behind each ReadBlocks(); may be NULL */
    void (*after_read)(void);
};

void fake_file_init(struct fake_file *file, EFI_BLOCK_IO_PROTOCOL *block_io, EFI_LBA first_block);

#endif
