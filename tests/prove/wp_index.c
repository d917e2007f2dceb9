/*
 * The index arithmetic of core/virtqueue.c for Frama-C's WP: chains are numbered in 64 bits, rings
 * count in 16. The contracts stand on declarations in front of the sources themselves, so what is
 * proven is what is compiled.
 */

#include <stdbool.h>
#include <stdint.h>

#define __atomic_thread_fence(order) ((void)(order))
#define __builtin_memset(where, value, bytes) ((void)0)

/*
 * Event comparison (2.7.10.1): exactly if one of the chains first .. end - 1 has this index. For
 * every index, at every wrap, and for more than 65536 chains, too.
 */
/*@ requires first <= end;
    assigns \nothing;
    ensures found: \result ==>
        \exists integer i; first <= i < end && i % 65536 == index;
    ensures complete: \forall integer i;
        first <= i < end && i % 65536 == index ==> \result;
 */
static bool vq_is_among(uint16_t index, uint64_t first, uint64_t end);

/*
 * Window: whatever number of elements the device means by idx, as long as it is fewer than 65536
 * ahead of what was taken, it is found; so comparing it with the chains in flight is exact.
 */
/*@ assigns \nothing;
    ensures below: 0 <= \result < 65536;
    ensures wraps: (n_taken + \result) % 65536 == idx;
    ensures exact: \forall integer n;
        n_taken <= n < n_taken + 65536 && n % 65536 == idx ==> \result == n - n_taken;
 */
static uint16_t vq_distance(uint16_t idx, uint64_t n_taken);

#include "core/virtqueue.c"

/*
 * Delayed callbacks: with used_event as virtqueue_enable_callbacks_after() sets it, the comparison
 * that the device makes (2.7.7.2), here by the function proven above, says so exactly from the
 * n-th used chain on.
 */
/*@ requires 1 <= n_chains <= 32768 && n_used <= new_idx <= n_used + 32768;
    requires n_used <= 0xFFFFFFFFFFFF0000;
    assigns \nothing;
    ensures nth: \result <==> new_idx >= n_used + n_chains;
 */
static bool interrupts(uint64_t n_used, uint16_t n_chains, uint64_t new_idx)
{
    uint16_t used_event = (uint16_t)(n_used + n_chains - 1u);
    /*@ assert event: used_event == (n_used + n_chains - 1) % 65536; */
    /*@ assert alone: \forall integer i; n_used <= i < new_idx && i % 65536 == used_event
            ==> i == n_used + n_chains - 1; */
    return vq_is_among(used_event, n_used, new_idx);
}

/* A slot lies in its ring, whatever the number: the mask is the size less one (virtqueue_init()). */
/*@ requires 1 <= size <= 32768;
    assigns \nothing;
    ensures inside: 0 <= \result < size;
 */
static uint64_t slot(uint64_t number, uint16_t size)
{
    uint64_t mask = (uint64_t)size - 1u;
    return number & mask;
}
