/** @file
 * Boot entries: the text files in /loader/entries that say what to boot.
 * Spec:      UAPI.1 Boot Loader Specification, Type #1 Boot Loader Entry Keys; Sorting; Boot
 *            counting. UAPI.10 Version Format Specification for the order.
 * Knows:     boot/text.h, boot/utf16.h, boot/version_order.h, boot/status.h.
 * Ownership: a boot_entry points into the text that it was parsed from and dies with it.
 * Trust:     the file may hold anything. Whatever of it entry_parse() lets through has no control
 *            characters but tabs, and its paths stay below the root of their file system.
 * Units:     lengths in bytes of UTF-8, UEFI strings in units of 16 bits.
 *
 * Where the specification leaves a choice: of the keys in struct boot_entry each but initrd and
 * options may have a value once, a second one is an error, because either choice would boot
 * something that one line of the file does not say. An entry with both linux and efi is valid;
 * linux goes first. A title, version, machine-id, sort-key or architecture without a value counts
 * as absent. CRLF, a byte order mark and blanks in front of a key are forgiven. Unknown keys,
 * devicetree among them, are ignored.
 */
#ifndef BOOT_ENTRY_H
#define BOOT_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/status.h"
#include "boot/text.h"

#define BOOT_ENTRY_MAX_INITRDS      16
#define BOOT_ENTRY_MAX_OPTION_LINES 64

#define BOOT_ENTRY_MAX_FILE_BYTES    (256 * 1024)
#define BOOT_ENTRY_MAX_OPTIONS_BYTES (64 * 1024)
#define BOOT_ENTRY_MAX_VALUE_BYTES   4096 /* of any other value */

/** One entry. A key that the file does not have is an empty slice. */
struct boot_entry {
    struct text_slice title;
    struct text_slice version;
    struct text_slice machine_id;
    struct text_slice sort_key;
    struct text_slice architecture;
    struct text_slice linux_path; /**< at least one of linux_path and efi_path is not empty */
    struct text_slice efi_path;
    struct text_slice initrd_paths[BOOT_ENTRY_MAX_INITRDS]; /**< in the file's order */
    unsigned n_initrds;
    struct text_slice option_lines[BOOT_ENTRY_MAX_OPTION_LINES]; /**< none is empty */
    unsigned n_option_lines;
    size_t options_bytes; /**< of all option lines, joined by one blank each */
};

/**
 * Parse an entry file.
 *
 * @param text            the file, without a terminator; may be NULL when bytes is 0
 * @param bytes           length of text
 * @param ret_entry       written only on success
 * @param ret_error_line  written only on failure: the line at fault, counted from 1, or 0 when it
 *                        is the file as a whole; may be NULL
 * @return BOOT_OK, BOOT_ERR_ENTRY_TOO_LARGE, BOOT_ERR_NO_KERNEL, BOOT_ERR_DUPLICATE_KEY,
 *         BOOT_ERR_CONTROL_BYTE, BOOT_ERR_VALUE_TOO_LONG, BOOT_ERR_OPTIONS_TOO_LONG,
 *         BOOT_ERR_TOO_MANY_INITRDS, BOOT_ERR_TOO_MANY_OPTION_LINES, BOOT_ERR_PATH_MISSING,
 *         BOOT_ERR_PATH_PARENT, BOOT_ERR_PATH_BACKSLASH
 */
BOOT_MUST_CHECK boot_status entry_parse(const char *text, size_t bytes,
                                        struct boot_entry *ret_entry, unsigned *ret_error_line);

/**
 * Decide whether an entry is meant for this machine. One without the architecture key always is.
 *
 * @param entry         from entry_parse()
 * @param architecture  in the words of the UEFI specification: "x64", "aa64"; case does not matter
 * @return false when the entry should be hidden
 */
bool entry_fits_architecture(const struct boot_entry *entry, const char *architecture);

/**
 * The image to start: the linux key's, or the efi key's when there is none.
 *
 * @param entry  from entry_parse()
 * @return never empty
 */
struct text_slice entry_image_path(const struct boot_entry *entry);

/**
 * Join the option lines, one blank between two, as a UEFI string, which is what the load options of
 * an image are.
 *
 * @param entry           from entry_parse()
 * @param buffer          receives the options and a terminator; undefined on failure
 * @param capacity_units  entry->options_bytes + 1 is enough
 * @param ret_units       length without the terminator
 * @return BOOT_OK, BOOT_ERR_BUFFER_TOO_SMALL, BOOT_ERR_ENCODING
 */
BOOT_MUST_CHECK boot_status entry_options_to_uefi(const struct boot_entry *entry, uint16_t *buffer,
                                                  size_t capacity_units, size_t *ret_units);

/**
 * Turn a path of an entry into one for EFI_FILE_PROTOCOL: absolute, with backslashes. Empty and "."
 * components vanish.
 *
 * @param path            of an entry, relative to the root of the entry's file system
 * @param buffer          receives the path and a terminator; undefined on failure
 * @param capacity_units  path.bytes + 2 is enough
 * @param ret_units       length without the terminator
 * @return BOOT_OK, BOOT_ERR_BUFFER_TOO_SMALL, BOOT_ERR_ENCODING, BOOT_ERR_CONTROL_BYTE,
 *         BOOT_ERR_PATH_MISSING, BOOT_ERR_PATH_PARENT, BOOT_ERR_PATH_BACKSLASH
 */
BOOT_MUST_CHECK boot_status entry_path_to_uefi(struct text_slice path, uint16_t *buffer,
                                               size_t capacity_units, size_t *ret_units);

/**
 * Decide whether a file in /loader/entries is an entry: "<name>.conf", not hidden by a leading dot,
 * without control characters.
 *
 * @param file_name  without the folder
 * @return true for an entry
 */
bool entry_file_name_is_entry(struct text_slice file_name);

/**
 * Decide whether a file is the one that somebody asked for by name. Case does not matter, because
 * FAT does not care either.
 *
 * @param file_name  of an entry
 * @param wanted     the same name, with or without ".conf"
 * @return true when they are the same
 */
bool entry_file_name_matches(struct text_slice file_name, struct text_slice wanted);

/**
 * Order two entries by their file names: the newest version first. An entry that has used up its
 * boot attempts ("name+0.conf", "name+0-3.conf") comes after all others. Two different names never
 * compare equal, so the order does not depend on that of the folder.
 *
 * @param a  file name of an entry
 * @param b  file name of another one
 * @return below 0 when a comes before b, 0 when they are the same name, above 0 when it comes after
 */
int entry_file_name_compare(struct text_slice a, struct text_slice b);

#endif
