/** @file
 * The one form of what virtboot.efi and virtio.efi say on the firmware's console, but for the first
 * line and the usage text.
 * Rule:  only efi/ logs, and each failure once, where it is known what was being tried.
 */
#ifndef EFI_MESSAGE_H
#define EFI_MESSAGE_H

#include "efi/uefi.h"

/** What each line begins with; defined by the program: L"virtboot" or L"virtio". */
extern const CHAR16 message_program[];

/**
 * "PROGRAM: <text>" and a new line.
 *
 * @param format  efi/print.c: %s CHAR16, %a char, %d and %x 32 bits, %ld and %lx 64 bits, with a
 *                width if need be, %r EFI_STATUS, %%
 */
void message_line(const CHAR16 *format, ...);

/**
 * "PROGRAM: error: DEVICE: PATH: <text>" and a new line.
 *
 * @param device  NULL when no device is concerned
 * @param path    as the user wrote it; NULL when no file is concerned
 * @param format  as above
 */
void message_error(const CHAR16 *device, const CHAR16 *path, const CHAR16 *format, ...);

/** Number of errors printed so far. */
unsigned message_error_count(void);

/**
 * Progress on one line: "PROGRAM: reading PATH  42 %", overwritten by the next call; 100 % ends it.
 *
 * @param path        as the user wrote it
 * @param done_bytes  at most all_bytes
 * @param all_bytes   not 0
 */
void message_progress(const CHAR16 *path, UINT64 done_bytes, UINT64 all_bytes);

/** Ends an unfinished progress line, so that an error does not overwrite it. */
void message_progress_break(void);

#endif
