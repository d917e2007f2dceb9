/* Contract and terms: boot/bzimage.h. */

#include "boot/bzimage.h"

#include "boot/bytes.h"

/* Offsets from the start of the file. */
#define BZIMAGE_BOOT_FLAG        0x1fe /* 16 bits */
#define BZIMAGE_HEADER           0x202 /* 32 bits */
#define BZIMAGE_VERSION          0x206 /* 16 bits */
#define BZIMAGE_KERNEL_ALIGNMENT 0x230 /* 32 bits */
#define BZIMAGE_PREF_ADDRESS     0x258 /* 64 bits */
#define BZIMAGE_INIT_SIZE        0x260 /* 32 bits */
#define BZIMAGE_HEADER_END       0x264

#define BZIMAGE_BOOT_FLAG_MAGIC 0xaa55
#define BZIMAGE_HEADER_MAGIC    0x53726448 /* "HdrS" */
#define BZIMAGE_VERSION_2_10    0x020a     /* the first with init_size */

bool bzimage_find_need(const void *file, size_t bytes, uint32_t loaded,
                       struct bzimage_need *ret_need)
{
    const uint8_t *data = file;
    struct bzimage_need need;
    uint32_t init_bytes;

    if (bytes < BZIMAGE_HEADER_END ||
        bytes_get16(data + BZIMAGE_BOOT_FLAG) != BZIMAGE_BOOT_FLAG_MAGIC ||
        bytes_get32(data + BZIMAGE_HEADER) != BZIMAGE_HEADER_MAGIC ||
        bytes_get16(data + BZIMAGE_VERSION) < BZIMAGE_VERSION_2_10)
        return false;
    init_bytes = bytes_get32(data + BZIMAGE_INIT_SIZE);
    need.lowest = bytes_get32(data + BZIMAGE_PREF_ADDRESS) |
                  (uint64_t)bytes_get32(data + BZIMAGE_PREF_ADDRESS + 4) << 32;
    need.alignment = bytes_get32(data + BZIMAGE_KERNEL_ALIGNMENT);
    if (init_bytes <= loaded || need.alignment == 0 || (need.alignment & (need.alignment - 1)) != 0)
        return false;
    need.bytes = (init_bytes + need.alignment - 1) & -need.alignment;
    *ret_need = need;
    return true;
}

uint64_t bzimage_usable_bytes(const struct bzimage_need *need, uint64_t start, uint64_t bytes)
{
    uint64_t below = start < need->lowest ? need->lowest - start : 0;
    uint64_t to_boundary = -(start + below) & (need->alignment - 1);

    /* One after the other: their sum may wrap. */
    bytes = bytes > below ? bytes - below : 0;
    return bytes > to_boundary ? bytes - to_boundary : 0;
}
