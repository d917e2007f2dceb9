/** @file
 * Little-endian integers as types, for structures that a device reads or writes.
 * Spec:  virtio 1.4, 2.7.5 The Virtqueue Descriptor Table and others: all fields little-endian.
 * Every CPU that virtboot is built for is little-endian, so a legacy device's "guest-native" order
 * is the same order and no accessor needs to know which kind of device it serves.
 */
#ifndef CORE_LE_H
#define CORE_LE_H

#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "legacy devices use the guest's byte order: see the note above before porting");

typedef struct {
    uint16_t raw;
} le16;
typedef struct {
    uint32_t raw;
} le32;
typedef struct {
    uint64_t raw;
} le64;

static inline le16 le16_from(uint16_t value)
{
    return (le16){.raw = value};
}

static inline le32 le32_from(uint32_t value)
{
    return (le32){.raw = value};
}

static inline le64 le64_from(uint64_t value)
{
    return (le64){.raw = value};
}

static inline uint16_t le16_to(le16 value)
{
    return value.raw;
}

static inline uint32_t le32_to(le32 value)
{
    return value.raw;
}

static inline uint64_t le64_to(le64 value)
{
    return value.raw;
}

#endif
