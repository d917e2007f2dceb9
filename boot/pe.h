/** @file
 * Checks an EFI application before the firmware's LoadImage sees it. There is firmware that
 * verifies the signature only and then jumps wherever the headers say.
 * Spec:      Microsoft PE Format (see boot/pe_spec.h). UEFI 2.10, 2.1.1 UEFI Images.
 * Knows:     boot/bytes.h, boot/pe_spec.h, boot/status.h.
 * Ownership: reads the file during the call, keeps nothing.
 * Trust:     every field may hold anything. What is checked is the headers' truth about places and
 *            sizes; not the signature, which is LoadImage's affair, and not the code.
 * Units:     bytes; "address" is relative to the start of the loaded image.
 */
#ifndef BOOT_PE_H
#define BOOT_PE_H

#include <stddef.h>
#include <stdint.h>

#include "boot/pe_spec.h"
#include "boot/status.h"

#define PE_MAX_SECTION_ALIGNMENT (16u * 1024 * 1024) /* ours: kernels for AArch64 have 64 KiB */
#define PE_MAX_FILE_ALIGNMENT    (64u * 1024)        /* PE Format, FileAlignment */

/** What a checked image says of itself. */
struct pe_info {
    uint32_t image_bytes; /**< SizeOfImage: memory that it takes when loaded */
    uint32_t entry;       /**< address of the entry point, below image_bytes and never 0 */
    unsigned section_count;
};

/**
 * Check a PE32+ image that is to be started as an EFI application.
 *
 * The first fault found is returned; those of the file as a whole come first.
 *
 * @param file      the whole file, at any alignment; may be NULL when bytes is 0
 * @param bytes     length of file
 * @param machine   that we run on: PE_MACHINE_X64, PE_MACHINE_AA64
 * @param ret_info  written only on success
 * @return BOOT_OK; BOOT_ERR_PE_SIGNATURE (something other than a PE image, or empty);
 *         BOOT_ERR_PE_TRUNCATED (headers, a section or the certificates end behind the file's end);
 *         BOOT_ERR_PE_MACHINE; BOOT_ERR_PE_FORMAT; BOOT_ERR_PE_SUBSYSTEM; BOOT_ERR_PE_ALIGNMENT;
 *         BOOT_ERR_PE_HEADERS; BOOT_ERR_PE_SECTION_COUNT; BOOT_ERR_PE_SECTION;
 *         BOOT_ERR_PE_ENTRY_POINT; BOOT_ERR_PE_DIRECTORY
 */
BOOT_MUST_CHECK boot_status pe_check(const void *file, size_t bytes, uint16_t machine,
                                     struct pe_info *ret_info);

#endif
