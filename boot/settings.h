/** @file
 * The words on the command line of virtboot.efi.
 * Knows:     boot/text.h, boot/status.h.
 * Ownership: the result points into the command line and dies with it.
 * Trust:     firmware, shell and boot variables write this line; any bytes may come.
 */
#ifndef BOOT_SETTINGS_H
#define BOOT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/status.h"
#include "boot/text.h"

struct settings {
    bool show_help;
    bool show_version;
    struct text_slice entry_name; /**< file name, with or without ".conf"; empty: not asked for */
    uint64_t declined_features;   /**< bit n: do not accept feature n, though a device offers it */
    uint32_t disk_timeout_s;      /**< 0: not asked for */
};

/**
 * Understand a command line. Words are separated by blanks; a value follows its option after "=" or
 * as the next word, which must not begin with "--" then. Of --entry and --disk-timeout
 * the last one counts, --decline-feature adds up.
 *
 * @param line               UTF-8; may be empty
 * @param with_program_name  the first word is skipped; it may stand in double quotes. The UEFI
 *                           shell puts it there, a boot variable does not. No option fails to
 *                           begin with "-", so a first word that does is no program name.
 * @param ret_settings       written only on success
 * @param ret_bad_word       written only on failure: the word at fault, for the message; may be NULL
 * @return BOOT_OK, BOOT_ERR_UNKNOWN_WORD, BOOT_ERR_OPTION_NO_VALUE, BOOT_ERR_OPTION_VALUE,
 *         BOOT_ERR_ENTRY_NAME, BOOT_ERR_FEATURE_NUMBER, BOOT_ERR_FEATURE_REQUIRED,
 *         BOOT_ERR_TIMEOUT
 */
BOOT_MUST_CHECK boot_status settings_parse(struct text_slice line, bool with_program_name,
                                           struct settings *ret_settings,
                                           struct text_slice *ret_bad_word);

/**
 * What --help shows.
 *
 * @return ASCII; lines end in "\n" and have fewer than 80 characters
 */
const char *settings_usage(void);

#endif
