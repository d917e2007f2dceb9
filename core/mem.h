/** @file
 * Access to memory that a device shares with us, and the order of those accesses.
 * Spec:   virtio 1.4, 2.7.13.3.1 Updating idx; 2.7.13.4.1 Notifying The Device;
 *         2.7.14 Receiving Used Buffers From The Device.
 * Trust:  each load reads the memory exactly once, so that a value that was checked is the value
 *         that is used. In core/, transports/, devices/ and boot/ the word volatile
 *         occurs in this file only.
 * Tests:  with VIO_MEM_HOOKS defined every access and barrier calls a function of the test's, which
 *         is how the order of accesses is asserted and how a device that rewrites memory between
 *         two loads is played.
 */
#ifndef CORE_MEM_H
#define CORE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/le.h"
#if defined(__x86_64__)
#include "core/barrier_x86_64.h"
#elif defined(__aarch64__)
#include "core/barrier_aarch64.h"
#else
#error "a port begins with core/barrier_ARCH.h"
#endif

enum vio_mem_access {
    VIO_MEM_LOAD8,
    VIO_MEM_LOAD16,
    VIO_MEM_LOAD32,
    VIO_MEM_STORE8,
    VIO_MEM_STORE16,
    VIO_MEM_STORE32,
    VIO_MEM_STORE64,
    VIO_MEM_WMB,
    VIO_MEM_RMB,
    VIO_MEM_MB,
    VIO_MEM_DEVICE_WMB,
    VIO_MEM_DEVICE_RMB,
    VIO_MEM_DEVICE_MB,
};

#ifdef VIO_MEM_HOOKS
/** Called before each access; a hook may change the memory. */
void vio_mem_hook(enum vio_mem_access access, const void *where);
#else
static inline void vio_mem_hook(enum vio_mem_access access, const void *where)
{
    (void)access;
    (void)where;
}
#endif

static inline uint8_t ring_load8(const uint8_t *where)
{
    vio_mem_hook(VIO_MEM_LOAD8, where);
    return *(const volatile uint8_t *)where;
}

static inline uint16_t ring_load16(const le16 *where)
{
    vio_mem_hook(VIO_MEM_LOAD16, where);
    return *(const volatile uint16_t *)&where->raw;
}

static inline uint32_t ring_load32(const le32 *where)
{
    vio_mem_hook(VIO_MEM_LOAD32, where);
    return *(const volatile uint32_t *)&where->raw;
}

static inline void ring_store8(uint8_t *where, uint8_t value)
{
    vio_mem_hook(VIO_MEM_STORE8, where);
    *(volatile uint8_t *)where = value;
}

static inline void ring_store16(le16 *where, uint16_t value)
{
    vio_mem_hook(VIO_MEM_STORE16, where);
    *(volatile uint16_t *)&where->raw = value;
}

static inline void ring_store32(le32 *where, uint32_t value)
{
    vio_mem_hook(VIO_MEM_STORE32, where);
    *(volatile uint32_t *)&where->raw = value;
}

static inline void ring_store64(le64 *where, uint64_t value)
{
    vio_mem_hook(VIO_MEM_STORE64, where);
    *(volatile uint64_t *)&where->raw = value;
}

/*
 * The three barriers. @p platform_order is VIRTIO_F_ORDER_PLATFORM: the device is ordered like
 * hardware behind a bus, and the barriers that suffice between processors do not suffice.
 */

/** All stores before this one are visible to the device before any store after it. */
static inline void virtio_wmb(bool platform_order)
{
    vio_mem_hook(platform_order ? VIO_MEM_DEVICE_WMB : VIO_MEM_WMB, NULL);
    if (platform_order)
        barrier_device_wmb();
    else
        __atomic_thread_fence(__ATOMIC_RELEASE);
}

/** No load after this one is carried out before a load in front of it. */
static inline void virtio_rmb(bool platform_order)
{
    vio_mem_hook(platform_order ? VIO_MEM_DEVICE_RMB : VIO_MEM_RMB, NULL);
    if (platform_order)
        barrier_device_rmb();
    else
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
}

/** Full barrier: stores before it are visible before any load after it is carried out. */
static inline void virtio_mb(bool platform_order)
{
    vio_mem_hook(platform_order ? VIO_MEM_DEVICE_MB : VIO_MEM_MB, NULL);
    if (platform_order)
        barrier_device_mb();
    else
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/*
 * Stores to places at which the device does not look before something else is published, behind a
 * write barrier: in which order and by how many accesses they are made is the compiler's business.
 */

static inline void ring_fill16(le16 *where, uint16_t value)
{
    vio_mem_hook(VIO_MEM_STORE16, where);
    where->raw = value;
}

static inline void ring_fill64(le64 *where, uint64_t value)
{
    vio_mem_hook(VIO_MEM_STORE64, where);
    where->raw = value;
}

/** Eight bytes of anything, at any address. */
typedef uint64_t __attribute__((may_alias, aligned(1))) vio_mem_word;

/**
 * Copy, of two pieces that do not overlap. By words and not by memcpy(), which in a freestanding
 * program may be a loop over bytes; eight words are read before the first is written, so that they
 * are under way at once.
 */
static inline void vio_mem_copy(void *to, const void *from, size_t bytes)
{
    vio_mem_word *word = to;
    const vio_mem_word *source = from;

    for (; bytes >= 8 * sizeof(*word); bytes -= 8 * sizeof(*word)) {
        uint64_t a = source[0], b = source[1], c = source[2], d = source[3];
        uint64_t e = source[4], f = source[5], g = source[6], h = source[7];
        word[0] = a, word[1] = b, word[2] = c, word[3] = d;
        word[4] = e, word[5] = f, word[6] = g, word[7] = h;
        word += 8;
        source += 8;
    }
    uint8_t *byte = (uint8_t *)word;
    const uint8_t *last = (const uint8_t *)source;
    while (bytes--)
        *byte++ = *last++;
}

static inline void vio_mem_zero(void *where, size_t bytes)
{
    __builtin_memset(where, 0, bytes);
}

#endif
