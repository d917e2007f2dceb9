/** @file
 * The configuration file of boot loaders, /loader/loader.conf: lines of a key and a value.
 * Knows:     boot/settings.h, boot/text.h, boot/status.h.
 * Ownership: everything points into the file's text.
 * Trust:     the file may hold anything. A line that is wrong is told and counts for nothing; the
 *            rest does count, for a bad configuration file must not keep a machine from booting.
 *
 * "#" begins a comment line. CRLF, a byte order mark and blanks in front of a key are forgiven. Keys
 * that are none of ours are ignored: other boot loaders read this file too.
 */
#ifndef BOOT_LOADER_CONF_H
#define BOOT_LOADER_CONF_H

#include "boot/settings.h"
#include "boot/status.h"
#include "boot/text.h"

/** How far a file has been read. */
struct loader_conf {
    struct text_slice rest;  /**< private: begins as the whole file */
    unsigned line;           /**< counted from 1; 0: none yet */
    struct text_slice value; /**< of this line */
};

/**
 * Begin with a file.
 *
 * @param text  all of it, without a terminator; may be empty
 */
struct loader_conf loader_conf_begin(struct text_slice text);

/**
 * Read on, to the end of the file or to the first line that is wrong. After such a line it can be
 * called again, for those behind it.
 *
 * @param conf      on failure its line and value are those at fault
 * @param settings  changed by each line that is right, in their order: a later one counts
 * @return BOOT_OK at the end of the file; else what is wrong, as settings_set_key()
 */
BOOT_MUST_CHECK boot_status loader_conf_read(struct loader_conf *conf, struct settings *settings);

#endif
