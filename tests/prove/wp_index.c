/*
 * The index arithmetic of core/virtqueue.c for Frama-C's WP: contracts of the functions that do it,
 * which WP reduces to formulas about their source as it stands, and z3 proves.
 *
 * index.smt2 says more about the same arithmetic, and of a transcript; this says it of the code.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Not the sources' business: what gcc knows by itself. */
#define __atomic_thread_fence(order)            ((void)(order))
#define __builtin_memset(where, value, n_bytes) ((void)(where))

#include "core/mem.h"
#include "core/virtqueue.h"

/*
 * What C says of a conversion to uint16_t (C11, 6.3.1.3), of which this release of WP knows only
 * that the result is in range. A difference below 0 is of uint16_t, and so not far below.
 */
/*@ axiomatic Conversion {
      axiom of_count: \forall integer x; 0 <= x ==> (uint16_t)x == x % 65536;
      axiom of_difference: \forall integer x; -65536 <= x < 0 ==> (uint16_t)x == x + 65536;
    } */

/*@ requires first <= end;
    assigns \nothing;
    ensures none_is_missed:
      \forall integer n; first <= n < end && n % 65536 == index ==> \result;
    ensures it_is_among:
      \let n = end - 1 - (end + 65535 - index) % 65536;
      \result ==> first <= n < end && n % 65536 == index; */
static bool vq_is_among(uint16_t index, uint64_t first, uint64_t end);

/*@ assigns \nothing;
    ensures ahead:
      \forall integer n;
        n_taken <= n < n_taken + 65536 && n % 65536 == idx ==> \result == n - n_taken; */
static uint16_t vq_distance(uint16_t idx, uint64_t n_taken);

/* Assumed, for WP does not know the instruction. */
/*@ assigns \nothing; */
static inline void barrier_device_rmb(void);

/* Assumed, as the one above. */
/*@ assigns \nothing; */
static inline void barrier_device_mb(void);

/*@ assigns \nothing; */
static inline void vio_mem_hook(enum vio_mem_access access, const void *where);

/* Any value: where it is loaded from is Eva's business. */
/*@ assigns \nothing; */
static inline uint16_t ring_load16(const le16 *where);

/*@ assigns where->raw; */
static inline void ring_store16(le16 *where, uint16_t value);

/*@ assigns \nothing; */
static inline void virtio_rmb(bool platform_order);

/*@ assigns \nothing; */
static inline void virtio_mb(bool platform_order);

/*@ assigns \nothing; */
static const le16 *vq_avail_event(const struct virtqueue *vq);

/*@ requires \valid(vq) && vq->n_notified <= vq->n_published;
    assigns \nothing; */
static bool vq_device_wants_notification(const struct virtqueue *vq);

/*@ requires \valid(vq);
    assigns \nothing;
    ensures no_less_than_announced: vq->n_ready <= \result; */
static uint16_t vq_n_there(const struct virtqueue *vq);

/*@ assigns \nothing;
    ensures \result == &vq->avail->ring[vq->size]; */
static le16 *vq_used_event(const struct virtqueue *vq);

/*@ requires \valid(vq) && \separated(vq, &vq->avail->ring[vq->size]);
    assigns vq->used_event, vq->avail->ring[vq->size].raw;
    ensures low_bits: vq->used_event == n_used % 65536; */
static void vq_set_used_event(struct virtqueue *vq, uint64_t n_used);

/*@ requires \valid(vq) && \separated(vq, &vq->avail->flags, &vq->avail->ring[vq->size]);
    requires vq->n_used <= vq->n_published <= vq->n_used + 32768 < 0xFFFFFFFFFFFF0000;
    ensures at_the_nth: vq->event_idx && vq->fault == 0 ==>
      \let n = \max(1, \min(n_chains, vq->n_published - vq->n_used));
      vq->used_event == (vq->n_used + n - 1) % 65536; */
bool virtqueue_enable_callbacks_after(struct virtqueue *vq, uint16_t n_chains);

/*@ requires \valid(vq);
    assigns vq->fault, vq->fault_value, vq->n_free, vq->n_ready;
    ensures vq->n_ready == 0 && vq->n_free == 0; */
static struct vq_shadow *vq_break(struct virtqueue *vq, enum virtqueue_fault fault, uint64_t value);

/*@ requires \valid(vq) && \separated(vq, &vq->avail->flags, &vq->avail->ring[vq->size]);
    requires vq->n_used + vq->n_ready < 0xFFFFFFFFFFFF0000;
    assigns vq->used_event, vq->callbacks_wanted, vq->avail->flags.raw,
            vq->avail->ring[vq->size].raw;
    ensures at_the_last: vq->event_idx && vq->n_used + vq->n_ready > 0 ==>
      vq->used_event == (vq->n_used + vq->n_ready - 1) % 65536; */
void virtqueue_disable_callbacks(struct virtqueue *vq);

/*@ requires \valid(vq) && \separated(vq, &vq->avail->flags, &vq->avail->ring[vq->size]);
    requires vq->n_used + vq->n_ready < 0xFFFFFFFFFFFF0000;
    assigns vq->used_event, vq->callbacks_wanted, vq->avail->flags.raw,
            vq->avail->ring[vq->size].raw;
    ensures not_far_behind:
      vq->event_idx && !vq->callbacks_wanted && vq->n_used + vq->n_ready > 0 ==>
      (uint16_t)(vq->n_used + vq->n_ready - vq->used_event) <= 0x4000; */
static void vq_stay_quiet(struct virtqueue *vq);

/*@ requires \valid(vq);
    requires vq->n_used <= vq->n_published < 0xFFFFFFFFFFF00000;
    requires \separated(vq, &vq->avail->flags, &vq->avail->ring[vq->size]);
    ensures window: \result == VIO_OK ==> 0 < vq->n_ready <= vq->n_published - vq->n_used;
    ensures else_none: \result != VIO_OK && \old(vq->n_ready) == 0 ==> vq->n_ready == 0; */
static vio_status vq_look_at_used_idx(struct virtqueue *vq);

#include "core/virtqueue.c"
