/** @file
 * File systems on the disks that we drive, and files on them.
 * Spec:      UEFI 2.10, 13.4 Simple File System Protocol; 13.5 File Protocol.
 * Knows:     efi/bind.h, boot/utf16.h. The file systems themselves are the firmware's drivers.
 * Ownership: volumes belong to their list; a file is closed by volume_close_file().
 * Errors:    reported here, once, with disk and path where there is one, and the reason.
 */
#ifndef EFI_VOLUME_H
#define EFI_VOLUME_H

#include "boot/text.h"
#include "efi/disk.h"
#include "efi/uefi.h"

/** Longest file that is opened: so that the lengths of all files of an entry can be added up. */
#define VOLUME_FILE_BYTES_MAX (UINT64_C(1) << 40)

/**
 * One file system on one of our disks. Whoever disconnects the disk's driver, a started program for
 * one, takes the disk away, so it is known by its controller only.
 */
struct volume {
    EFI_HANDLE handle;
    EFI_FILE_PROTOCOL *root;
    EFI_HANDLE controller;
    CHAR16 device[DEVICE_NAME_UNITS]; /**< the disk's name, for messages */
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
 * @return EFI_SUCCESS, or (reported) EFI_OUT_OF_RESOURCES
 */
EFI_STATUS volume_find_all(EFI_DEVICE_PATH *first_path, struct volume_list *ret_list);

/** Closes the roots; accepts a zeroed list. */
void volume_close_all(struct volume_list *list);

/**
 * Say on the console why something on a volume failed, with the disk's own reason if it has one.
 *
 * @param volume  where
 * @param path    of the file; NULL for the volume as a whole
 * @param status  what the file system returned
 */
void volume_report_failure(const struct volume *volume, const CHAR16 *path, EFI_STATUS status);

/**
 * Open a file for reading and learn its length. An empty file is an error: nothing that is booted
 * is empty.
 *
 * @param volume    outlives the file
 * @param path      as written in a boot entry, see boot/entry.h
 * @param ret_file  to be closed; written only on success
 * @return EFI_SUCCESS; EFI_NOT_FOUND, EFI_INVALID_PARAMETER (no path, or a folder),
 *         EFI_END_OF_FILE (empty), EFI_VOLUME_CORRUPTED (too long), EFI_OUT_OF_RESOURCES,
 *         EFI_DEVICE_ERROR, or what the file system said; the failure was reported
 */
EFI_STATUS volume_open_file(const struct volume *volume, struct text_slice path,
                            struct volume_file *ret_file);

/** Accepts a zeroed file. */
void volume_close_file(struct volume_file *file);

#define cleanup_volume_file __attribute__((cleanup(volume_close_file)))

/**
 * Read on from where the file stands, without a display.
 *
 * @param file    open
 * @param buffer  of @p bytes
 * @param bytes   exactly so many, or it is an error
 * @return EFI_SUCCESS; EFI_END_OF_FILE when the file ends before, or what the file system said; the
 *         failure was reported
 */
EFI_STATUS volume_read_bytes(const struct volume_file *file, void *buffer, UINTN bytes);

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
