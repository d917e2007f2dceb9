/*
 * core/virtqueue.h for Frama-C's Eva: any number of calls, in any order, with any arguments that the
 * contract allows, while each load from the rings gives any value, because Eva takes a load through
 * a volatile type for that. No access outside the memory of the queue, no division, shift or
 * conversion without a meaning, on no path.
 *
 * Given by the runner: VQ_SIZE, VQ_FEATURES, VQ_ENTRIES, VQ_DIRECT.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Not the sources' business: what gcc knows by itself. */
#define __atomic_thread_fence(order) ((void)(order))
#define __builtin_memset             prove_memset

static void prove_memset(void *where, int value, size_t bytes)
{
    (void)value;
    /*@ loop unroll 4096; */
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)where)[i] = 0;
}

#include "core/virtqueue.c"
#include "core/virtqueue_setup.c"
#include "tests/prove/eva_queue.h"

/* Any value, a new one each time. */
static volatile unsigned any_unsigned;
static volatile uint64_t any_u64;

static struct vio_buffer bufs[VQ_SIZE + 1];
static char cookie_memory;

static void notify(void *context, uint16_t index, uint16_t avail_idx)
{
    (void)context;
    (void)index;
    (void)avail_idx;
}

static void call_add(void)
{
    /*@ loop unroll VQ_SIZE + 1; */
    for (unsigned i = 0; i <= VQ_SIZE; i++) {
        bufs[i].addr = any_u64;
        bufs[i].len = any_unsigned;
        bufs[i].device_writable = any_unsigned & 1;
    }
    /* One state for each length, from none to one too many. */
    /*@ loop unroll VQ_SIZE + 2; */
    for (unsigned n_bufs = 0; n_bufs <= VQ_SIZE + 1; n_bufs++) {
        if (any_unsigned)
            (void)virtqueue_add(&vq, bufs, n_bufs, &cookie_memory);
    }
}

static void call_one(unsigned which)
{
    void *cookie;
    uint32_t len;
    uint64_t value;

    switch (which) {
    case 0:
        call_add();
        break;
    case 1:
        virtqueue_publish(&vq);
        break;
    case 2:
        (void)virtqueue_notify(&vq);
        break;
    case 3:
        if (virtqueue_pop_used(&vq, &cookie, &len) == VIO_OK) {
            /*@ assert the_cookie_is_set: \initialized(&cookie); */
            /*@ assert the_length_is_set: \initialized(&len); */
        }
        break;
    case 4:
        (void)virtqueue_enable_callbacks_after(&vq, (uint16_t)any_unsigned);
        break;
    case 5:
        virtqueue_disable_callbacks(&vq);
        break;
    case 6:
        (void)virtqueue_used_interrupt(&vq);
        break;
    case 7:
        (void)virtqueue_has_used(&vq);
        break;
    case 8:
        (void)virtqueue_drain(&vq, &cookie);
        break;
    default:
        (void)virtqueue_fault_text(&vq, &value);
        (void)virtqueue_free_descriptors(&vq);
        (void)virtqueue_in_flight(&vq);
        break;
    }
}

static void call_any(void)
{
    /*@ loop widen_hints vq.fault, 5; */
    while (any_unsigned)
        call_one(any_unsigned % 10);
}

int main(void)
{
    if (make_queue() != VIO_OK)
        return 1;
    call_any();
    return 0;
}
