/** @file
 * What the program was told: by /loader/loader.conf on the file system that it was loaded from, and
 * by its load options, which count for more.
 * Spec:      UEFI 2.10, 9.1 EFI Loaded Image Protocol; 3.1.3 Load Options; 13.5 File Protocol.
 * Knows:     boot/settings.h, boot/loader_conf.h.
 * Ownership: the settings point into file and command line; configuration_release() frees it.
 * Errors:    reported here. Only the command line's are the caller's too: nobody can correct a file
 *            on a machine that does not boot.
 */
#ifndef EFI_CONFIGURATION_H
#define EFI_CONFIGURATION_H

#include "boot/settings.h"
#include "efi/bind.h"
#include "efi/uefi.h"

/** A larger file is not read. */
#define CONFIGURATION_FILE_BYTES_MAX (64u << 10)

struct configuration {
    struct settings settings;
    char *file;         /**< pool memory; NULL: there is none that can be used */
    char *command_line; /**< pool memory */
};

/**
 * Read both. While the firmware's driver still has the disk.
 *
 * @param loaded             of our own image; its device may be NULL, its options may be no text
 * @param program            which words there are
 * @param ret_configuration  zeroed; to be released whatever is returned
 * @return EFI_SUCCESS; EFI_INVALID_PARAMETER for a bad word, after a message and the usage text;
 *         EFI_OUT_OF_RESOURCES, reported
 */
EFI_STATUS configuration_read(EFI_LOADED_IMAGE *loaded, enum settings_program program,
                              struct configuration *ret_configuration);

/** Accepts a zeroed one. */
void configuration_release(struct configuration *configuration);

/** What --help shows, and what follows a bad word. */
void configuration_print_usage(enum settings_program program);

/** How disks are to be driven, in the terms of efi/bind.h; the rest of @p policy stays. */
void configuration_apply(const struct settings *settings, struct bind_policy *policy);

#endif
