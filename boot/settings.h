/** @file
 * What virtboot.efi and virtio.efi can be told: the words of their command lines, and those keys of
 * a configuration file (boot/loader_conf.h) that mean the same.
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

/** Whose command line it is: only virtboot.efi boots, so only it knows --entry. */
enum settings_program {
    SETTINGS_VIRTBOOT,
    SETTINGS_VIRTIO,
};

/** How the completion of requests is waited for. */
enum settings_completion {
    SETTINGS_COMPLETION_AUTO, /**< polling for a moment, then interrupts where they can be had */
    SETTINGS_COMPLETION_POLL,
    SETTINGS_COMPLETION_INTERRUPT, /**< at once; who cannot have any is reported and polled */
};

struct settings {
    bool show_help;
    bool show_version;
    struct text_slice entry_name; /**< file name, with or without ".conf"; empty: not asked for */
    uint64_t declined_features;   /**< bit n: do not accept feature n, though a device offers it */
    uint32_t disk_timeout_s;      /**< 0: not asked for */
    enum settings_completion completion;
};

/**
 * Understand a command line. Words are separated by blanks; a value follows its option after "=" or
 * as the next word, which must not begin with "--" then. Of --entry, --disk-timeout and --completion
 * the last one counts, --decline-feature adds up.
 *
 * @param program            whose line it is
 * @param line               UTF-8; may be empty
 * @param with_program_name  the first word is skipped; it may stand in double quotes. The UEFI
 *                           shell puts it there, a boot variable does not. No option fails to
 *                           begin with "-", so a first word that does is no program name.
 * @param settings           what holds where the line says nothing; written only on success
 * @param ret_bad_word       written only on failure: the word at fault, for the message; may be NULL
 * @return BOOT_OK, BOOT_ERR_UNKNOWN_WORD, BOOT_ERR_OPTION_NO_VALUE, BOOT_ERR_OPTION_VALUE,
 *         BOOT_ERR_ENTRY_NAME, or as settings_set_key()
 */
BOOT_MUST_CHECK boot_status settings_parse(enum settings_program program, struct text_slice line,
                                           bool with_program_name, struct settings *settings,
                                           struct text_slice *ret_bad_word);

/**
 * Understand one key of a configuration file: "virtboot-" and the name of an option without its
 * "--", for those options that say how disks are driven.
 *
 * @param settings  changed only on success, as by the option
 * @param key       any bytes
 * @param value     without the blanks around it
 * @return BOOT_OK, also for a key that is none of ours; BOOT_ERR_OPTION_NO_VALUE,
 *         BOOT_ERR_FEATURE_NUMBER, BOOT_ERR_FEATURE_REQUIRED, BOOT_ERR_TIMEOUT, BOOT_ERR_COMPLETION
 */
BOOT_MUST_CHECK boot_status settings_set_key(struct settings *settings, struct text_slice key,
                                             struct text_slice value);

/** What --help shows: two pieces of ASCII, in this order. */
struct settings_usage {
    const char *head;
    const char *tail;
};

/**
 * What --help shows.
 *
 * @param program  whose options
 * @return lines end in "\n" and have fewer than 80 characters
 */
struct settings_usage settings_usage(enum settings_program program);

#endif
