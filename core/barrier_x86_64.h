/** @file
 * Barriers that order accesses also as a device behind a bus sees them, for x86-64.
 * Spec:  virtio 1.4, 6 Reserved Feature Bits, VIRTIO_F_ORDER_PLATFORM.
 * Why:   between processors x86-64 orders all but a store and a later load by itself, and the
 *        fences of core/mem.h cost nothing there. A platform's device may also be reached through
 *        memory that is not write-back, where only these instructions order anything.
 */
#ifndef CORE_BARRIER_X86_64_H
#define CORE_BARRIER_X86_64_H

static inline void barrier_device_wmb(void)
{
    __asm__ volatile("sfence" ::: "memory");
}

static inline void barrier_device_rmb(void)
{
    __asm__ volatile("lfence" ::: "memory");
}

static inline void barrier_device_mb(void)
{
    __asm__ volatile("mfence" ::: "memory");
}

#endif
