/** @file
 * Little-endian fields of a file, at any address.
 * Knows: nothing.
 */
#ifndef BOOT_BYTES_H
#define BOOT_BYTES_H

#include <stdint.h>

static inline uint32_t bytes_get16(const uint8_t *field)
{
    return (uint32_t)(field[0] | field[1] << 8);
}

static inline uint32_t bytes_get32(const uint8_t *field)
{
    return bytes_get16(field) | bytes_get16(field + 2) << 16;
}

#endif
