/** @file
 * Between UTF-8 (files on disk) and UTF-16 (everything that UEFI calls a string).
 * Spec:      The Unicode Standard, 3.9 Unicode Encoding Forms (D91 UTF-16, D92 UTF-8).
 *            UEFI 2.10, 2.3.1 Data Types, CHAR16: the terminator is a zero unit.
 * Knows:     boot/text.h, boot/status.h.
 * Ownership: the caller brings every buffer; nothing is kept.
 * Trust:     strict both ways: overlong forms, surrogates in UTF-8 and lone surrogates in UTF-16
 *            are errors, never replaced. What lies outside the BMP becomes a surrogate pair.
 * Units:     _units are uint16_t, _bytes are bytes.
 */
#ifndef BOOT_UTF16_H
#define BOOT_UTF16_H

#include <stddef.h>
#include <stdint.h>

#include "boot/status.h"
#include "boot/text.h"

/** A string being written. n_units excludes the terminator, which follows every append. */
struct utf16_text {
    uint16_t *units;
    size_t capacity_units; /**< terminator included */
    size_t n_units;
};

/**
 * Append text in UTF-8 and a terminator. n bytes of UTF-8 never need more than n units.
 *
 * @param target  on failure it keeps its n_units, and what follows them is undefined
 * @param source  must not contain U+0000, it would end the string early
 * @return BOOT_OK, BOOT_ERR_BUFFER_TOO_SMALL, BOOT_ERR_ENCODING, BOOT_ERR_CONTROL_BYTE (U+0000)
 */
BOOT_MUST_CHECK boot_status utf16_append(struct utf16_text *target, struct text_slice source);

/**
 * Convert a UEFI string to UTF-8. One unit never needs more than three bytes.
 *
 * @param units           need not be terminated; ends at n_units or at the first zero unit
 * @param n_units         length of what is there to read
 * @param buffer          receives the text, without a terminator; undefined on failure
 * @param capacity_bytes  of buffer
 * @param ret_text        the text in buffer
 * @return BOOT_OK, BOOT_ERR_BUFFER_TOO_SMALL, BOOT_ERR_ENCODING (lone surrogate)
 */
BOOT_MUST_CHECK boot_status utf16_to_utf8(const uint16_t *units, size_t n_units, char *buffer,
                                          size_t capacity_bytes, struct text_slice *ret_text);

#endif
