/** @file
 * Barriers that order accesses also as a device behind a bus sees them, for AArch64.
 * Spec:  virtio 1.4, 6 Reserved Feature Bits, VIRTIO_F_ORDER_PLATFORM.
 * Why:   the fences of core/mem.h reach the processors of the inner shareable domain; a device may
 *        sit in the outer one.
 */
#ifndef CORE_BARRIER_AARCH64_H
#define CORE_BARRIER_AARCH64_H

static inline void barrier_device_wmb(void)
{
    __asm__ volatile("dmb oshst" ::: "memory");
}

static inline void barrier_device_rmb(void)
{
    __asm__ volatile("dmb oshld" ::: "memory");
}

static inline void barrier_device_mb(void)
{
    __asm__ volatile("dmb osh" ::: "memory");
}

#endif
