/** @file
 * What can be wrong with the material to boot: one status for all of boot/.
 * Knows:     nothing.
 * Ownership: the reasons are string literals.
 * Trust:     every value but BOOT_OK and BOOT_ERR_BUFFER_TOO_SMALL blames the input, never the
 *            caller.
 */
#ifndef BOOT_STATUS_H
#define BOOT_STATUS_H

#define BOOT_MUST_CHECK __attribute__((warn_unused_result))

/** Grouped by what is at fault; boot_status_reason() has a sentence for each. */
typedef enum boot_status {
    BOOT_OK = 0,

    /* The caller. */
    BOOT_ERR_BUFFER_TOO_SMALL, /**< the result with its terminator does not fit */

    /* Any text. */
    BOOT_ERR_ENCODING,     /**< no valid UTF-8, or UTF-16 with a lone surrogate */
    BOOT_ERR_CONTROL_BYTE, /**< NUL or another control character inside a value */

    /* An entry file (boot/entry.h). */
    BOOT_ERR_ENTRY_TOO_LARGE,       /**< more than BOOT_ENTRY_MAX_FILE_BYTES */
    BOOT_ERR_NO_KERNEL,             /**< neither a linux nor an efi key */
    BOOT_ERR_DUPLICATE_KEY,         /**< a key that may stand once stands twice */
    BOOT_ERR_PATH_MISSING,          /**< linux, efi or initrd without a file name */
    BOOT_ERR_PATH_PARENT,           /**< a ".." component */
    BOOT_ERR_PATH_BACKSLASH,        /**< a backslash where only "/" separates */
    BOOT_ERR_VALUE_TOO_LONG,        /**< more than BOOT_ENTRY_MAX_VALUE_BYTES */
    BOOT_ERR_OPTIONS_TOO_LONG,      /**< more than BOOT_ENTRY_MAX_OPTIONS_BYTES when joined */
    BOOT_ERR_TOO_MANY_INITRDS,      /**< more than BOOT_ENTRY_MAX_INITRDS */
    BOOT_ERR_TOO_MANY_OPTION_LINES, /**< more than BOOT_ENTRY_MAX_OPTION_LINES */

    /* A PE image (boot/pe.h). */
    BOOT_ERR_PE_SIGNATURE,     /**< no DOS header or no PE signature: something else */
    BOOT_ERR_PE_TRUNCATED,     /**< the headers promise more bytes than the file has */
    BOOT_ERR_PE_MACHINE,       /**< built for another processor */
    BOOT_ERR_PE_FORMAT,        /**< optional header of another kind or of a wrong size */
    BOOT_ERR_PE_SUBSYSTEM,     /**< no EFI application */
    BOOT_ERR_PE_ALIGNMENT,     /**< alignment that is no power of two or out of bounds */
    BOOT_ERR_PE_HEADERS,       /**< SizeOfHeaders contradicts the other headers */
    BOOT_ERR_PE_SECTION_COUNT, /**< none, or more than PE_MAX_SECTIONS */
    BOOT_ERR_PE_SECTION,       /**< a section that lies outside the image or over its headers */
    BOOT_ERR_PE_ENTRY_POINT,   /**< the entry point is no byte that a section loads */
    BOOT_ERR_PE_DIRECTORY,     /**< certificates or relocations at an impossible place */

    /* A word of the command line, or a key of a configuration file (boot/settings.h). */
    BOOT_ERR_UNKNOWN_WORD,     /**< no option of virtboot */
    BOOT_ERR_OPTION_NO_VALUE,  /**< the option needs a value */
    BOOT_ERR_OPTION_VALUE,     /**< the option takes no value */
    BOOT_ERR_ENTRY_NAME,       /**< --entry wants the name of a file, not a path */
    BOOT_ERR_FEATURE_NUMBER,   /**< no decimal number from 0 to 63 */
    BOOT_ERR_FEATURE_REQUIRED, /**< the driver cannot do without this feature */
    BOOT_ERR_TIMEOUT,          /**< no number of seconds from 1 to 3600 */
    BOOT_ERR_COMPLETION,       /**< none of the ways to wait */

    BOOT_STATUS_COUNT /**< how many there are; no status itself */
} boot_status;

/**
 * Say in English what a status means.
 *
 * @param status  any value; one that is no status gets a sentence that says so
 * @return part of a sentence, without a full stop: "<file>: <reason>". Never NULL.
 */
const char *boot_status_reason(boot_status status);

#endif
