/** @file
 * File systems on the disks that we drive, and files on them.
 * Spec:      UEFI 2.10, 13.4 Simple File System Protocol; 13.5 File Protocol.
 * Knows:     efi/bind.h, boot/utf16.h. The file systems themselves are the firmware's drivers.
 * Ownership: volumes belong to their list; a file is closed by volume_close_file().
 * Errors:    reported here, once, with disk, path and reason.
 */
#ifndef EFI_VOLUME_H
#define EFI_VOLUME_H

#include "boot/text.h"
#include "efi/disk.h"
#include "efi/uefi.h"

/** One file system on one of our disks. */
struct volume {
    EFI_HANDLE handle;
    EFI_FILE_PROTOCOL *root;
    const struct disk *disk;
};

struct volume_list {
    struct volume *volumes; /**< pool memory */
    UINTN n_volumes;
};

/** An open file. */
struct volume_file {
    const struct volume *volume;
    EFI_FILE_PROTOCOL *file; /**< NULL: not open */
    CHAR16 *path;            /**< for UEFI, pool memory */
    CHAR16 *shown_path;      /**< as the entry writes it, pool memory */
    UINT64 bytes;
};

/**
 * Find the file systems on our disks.
 *
 * @param first_path  device path of the one to put first, if it is among them; may be NULL
 * @param ret_list    may be empty; to be closed
 * @return EFI_SUCCESS, EFI_OUT_OF_RESOURCES
 */
EFI_STATUS volume_find_all(EFI_DEVICE_PATH *first_path, struct volume_list *ret_list);

/** Closes the roots; accepts a zeroed list. */
void volume_close_all(struct volume_list *list);

/**
 * Open a file for reading and learn its length. An empty file is an error: nothing that is booted
 * is empty.
 *
 * @param volume    outlives the file
 * @param path      as written in a boot entry, see boot/entry.h
 * @param ret_file  to be closed; written only on success
 * @return EFI_SUCCESS; EFI_NOT_FOUND, EFI_INVALID_PARAMETER, EFI_END_OF_FILE (empty), or what the
 *         file system said; the failure was reported
 */
EFI_STATUS volume_open_file(const struct volume *volume, struct text_slice path,
                            struct volume_file *ret_file);

/** Accepts a zeroed file. */
void volume_close_file(struct volume_file *file);

/**
 * Read the file from its beginning to its end, showing progress. Once: what was checked must be
 * what is used.
 *
 * @param file    open
 * @param buffer  of file->bytes
 * @return EFI_SUCCESS; EFI_END_OF_FILE when the file is shorter than it said, or what the file
 *         system said; the failure was reported
 */
EFI_STATUS volume_read_file(const struct volume_file *file, void *buffer);

#endif
