/** @file
 * What a Linux kernel for x86 says of the memory that it needs before it can look for some itself.
 *
 * The kernel's EFI stub asks the firmware for one piece of memory to unpack the kernel into. The stub
 * of Debian's Linux 6.1 does not notice when there is none, and unpacks to an address that nobody gave
 * it, over the running firmware. So whoever starts a kernel looks first.
 * Spec:      The Linux/x86 Boot Protocol, "The Real-Mode Kernel Header" and "Details of Header
 *            Fields"; protocol 2.10 and later.
 * Knows:     boot/bytes.h.
 * Ownership: reads the file during the call, keeps nothing.
 * Trust:     every field may hold anything. A header that makes no sense is none.
 */
#ifndef BOOT_BZIMAGE_H
#define BOOT_BZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One piece of memory that the kernel will ask for, as its stub counts. */
struct bzimage_need {
    uint64_t bytes;     /**< init_size, in whole units of alignment; never 0 */
    uint64_t lowest;    /**< pref_address: what lies below is not used */
    uint64_t alignment; /**< kernel_alignment, of the piece's address; a power of two */
};

/**
 * Look for the setup header of a kernel.
 *
 * @param file      the whole file, at any alignment; may be NULL when bytes is 0
 * @param bytes     length of file
 * @param loaded    bytes that the loaded image has (pe_info.image_bytes). Older kernels count there
 *                  what they unpack into: those need no other piece.
 * @param ret_need  written only when there is one
 * @return whether the file is a kernel that says it needs a piece; others are started as they are
 */
bool bzimage_find_need(const void *file, size_t bytes, uint32_t loaded,
                       struct bzimage_need *ret_need);

/**
 * What of a piece of free memory the kernel can use.
 *
 * @param need   from bzimage_find_need()
 * @param start  physical address
 * @param bytes  start + bytes is 2^64 at most
 * @return bytes from the first address that is aligned and not too low, to the end; 0 if there is none
 */
uint64_t bzimage_usable_bytes(const struct bzimage_need *need, uint64_t start, uint64_t bytes);

#endif
