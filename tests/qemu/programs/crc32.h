/** @file
 * CRC-32 as zlib reckons it, by chunks: CalculateCrc32() of the boot services wants all at once.
 */
#ifndef TESTS_QEMU_PROGRAMS_CRC32_H
#define TESTS_QEMU_PROGRAMS_CRC32_H

#include <efi.h>

static UINT32 crc_table[256];

static inline void make_crc_table(void)
{
    for (UINT32 i = 0; i < 256; i++) {
        UINT32 value = i;
        for (unsigned bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ ((value & 1) ? 0xedb88320u : 0);
        crc_table[i] = value;
    }
}

/** Begins with all ones; the checksum is the complement of what comes out in the end. */
static inline UINT32 crc_add(UINT32 crc, const UINT8 *data, UINTN n_bytes)
{
    for (UINTN i = 0; i < n_bytes; i++)
        crc = (crc >> 8) ^ crc_table[(crc ^ data[i]) & 0xff];
    return crc;
}

#endif
