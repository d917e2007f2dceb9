/** @file
 * Strict conversions, one code point at a time.
 */
#include "boot/utf16.h"

#include <stdbool.h>

enum {
    SURROGATE_HIGH = 0xd800, /* first half of a pair, up to SURROGATE_LOW - 1 */
    SURROGATE_LOW = 0xdc00,
    SURROGATE_END = 0xe000,
    SUPPLEMENTARY = 0x10000, /* first code point outside the BMP */
    CODE_POINT_END = 0x110000,
};

static bool utf16_is_surrogate(uint32_t value)
{
    return value >= SURROGATE_HIGH && value < SURROGATE_END;
}

/* How many bytes the sequence has that starts with lead; 0 when none may start so. */
static size_t utf8_sequence_bytes(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc0 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf8 ? 4 : 0;
}

static boot_status utf8_take(struct text_slice *rest, uint32_t *ret_code_point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, SUPPLEMENTARY};
    unsigned char lead = (unsigned char)rest->start[0];
    size_t bytes = utf8_sequence_bytes(lead);
    uint32_t value;

    if (bytes == 0 || bytes > rest->bytes)
        return BOOT_ERR_ENCODING;
    value = bytes == 1 ? lead : lead & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        unsigned char next = (unsigned char)rest->start[i];

        if ((next & 0xc0) != 0x80)
            return BOOT_ERR_ENCODING;
        value = value << 6 | (next & 0x3fu);
    }

    /* An overlong form could smuggle a "/" or a NUL past the checks made on the bytes. */
    if (value < smallest[bytes] || value >= CODE_POINT_END || utf16_is_surrogate(value))
        return BOOT_ERR_ENCODING;
    *rest = text_skip(*rest, bytes);
    *ret_code_point = value;
    return BOOT_OK;
}

boot_status utf16_append(struct utf16_text *target, struct text_slice source)
{
    size_t used = target->n_units;

    while (source.bytes > 0) {
        uint32_t value;
        size_t needed;
        boot_status status = utf8_take(&source, &value);

        if (status != BOOT_OK)
            return status;
        if (value == 0)
            return BOOT_ERR_CONTROL_BYTE;
        needed = value < SUPPLEMENTARY ? 1 : 2;
        if (target->capacity_units - used < needed)
            return BOOT_ERR_BUFFER_TOO_SMALL;
        if (needed == 2) {
            value -= SUPPLEMENTARY;
            target->units[used++] = (uint16_t)(SURROGATE_HIGH + (value >> 10));
            value = SURROGATE_LOW + (value & 0x3ff);
        }
        target->units[used++] = (uint16_t)value;
    }
    if (used >= target->capacity_units)
        return BOOT_ERR_BUFFER_TOO_SMALL;
    target->units[used] = 0;
    target->n_units = used;
    return BOOT_OK;
}

/* Takes the code point at units[*index]; moves *index behind it. */
static boot_status utf16_take(const uint16_t *units, size_t n_units, size_t *index,
                              uint32_t *ret_code_point)
{
    uint32_t value = units[*index];
    uint32_t low;

    *index += 1;
    if (utf16_is_surrogate(value)) {
        if (value >= SURROGATE_LOW || *index == n_units)
            return BOOT_ERR_ENCODING;
        low = units[*index];
        if (low < SURROGATE_LOW || low >= SURROGATE_END)
            return BOOT_ERR_ENCODING;
        *index += 1;
        value = SUPPLEMENTARY + ((value - SURROGATE_HIGH) << 10) + (low - SURROGATE_LOW);
    }
    *ret_code_point = value;
    return BOOT_OK;
}

/* Writes one code point; returns how many bytes it took, 0 when they do not fit. */
static size_t utf8_put(uint32_t value, char *buffer, size_t capacity_bytes)
{
    static const unsigned char lead[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    size_t bytes = value < 0x80 ? 1 : value < 0x800 ? 2 : value < SUPPLEMENTARY ? 3 : 4;

    if (bytes > capacity_bytes)
        return 0;
    for (size_t i = bytes - 1; i > 0; i--) {
        buffer[i] = (char)(0x80 | (value & 0x3f));
        value >>= 6;
    }
    buffer[0] = (char)(lead[bytes] | value);
    return bytes;
}

boot_status utf16_to_utf8(const uint16_t *units, size_t n_units, char *buffer,
                          size_t capacity_bytes, struct text_slice *ret_text)
{
    size_t used = 0;
    size_t index = 0;

    while (index < n_units && units[index] != 0) {
        uint32_t value;
        size_t bytes;
        boot_status status = utf16_take(units, n_units, &index, &value);

        if (status != BOOT_OK)
            return status;
        bytes = used < capacity_bytes ? utf8_put(value, buffer + used, capacity_bytes - used) : 0;
        if (bytes == 0)
            return BOOT_ERR_BUFFER_TOO_SMALL;
        used += bytes;
    }
    *ret_text = (struct text_slice){buffer, used};
    return BOOT_OK;
}
