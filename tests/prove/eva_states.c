/*
 * What core/virtqueue.h promises, for Frama-C's Eva: each state that a small queue can come into,
 * one by one, while each load from the rings gives any value. eva_ring.c takes all states together
 * and finds what lies outside of memory; here Eva knows every chain, and so finds one that is given
 * back twice, too early, out of order, longer than it is, or never.
 *
 * Given by the runner: VQ_SIZE, VQ_FEATURES, VQ_ENTRIES, VQ_DIRECT. With VQ_CLAIMS it is also claimed
 * that certain things never happen, each of which does: none of these claims may be proven.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "__fc_builtin.h"

/* Not the sources' business: what gcc knows by itself. */
#define __atomic_thread_fence(order) ((void)(order))
#define __builtin_memset             memset

#include "core/mem.h"

/* Chains that were popped, as the numbers of the queue count: idx passes 65535 at every chain. */
#define BASE 65535u

static volatile unsigned any_unsigned;
static volatile uint64_t any_u64;

/* One of 0 to `last`, and Eva goes on with a state for each. */
static unsigned pick(unsigned last)
{
    /*@ loop unroll 100; */
    for (unsigned i = 0; i < last; i++) {
        if (any_unsigned)
            return i;
    }
    return last;
}

/* What was loaded, unchanged: but a state for each value that the queue can do something with. */

static uint16_t told_apart16(const le16 *where)
{
    uint16_t value = ring_load16(where);

    /*@ loop unroll 100; */
    for (unsigned i = 0; i <= VQ_SIZE; i++) {
        if (value == (uint16_t)(BASE + i))
            return (uint16_t)(BASE + i);
    }
    return value;
}

static uint32_t told_apart32(const le32 *where)
{
    uint32_t value = ring_load32(where);

    /*@ loop unroll 100; */
    for (uint32_t i = 0; i < VQ_SIZE; i++) {
        if (value == i)
            return i;
    }
    return value;
}

#define ring_load16 told_apart16
#define ring_load32 told_apart32
#include "core/virtqueue.c"
#include "core/virtqueue_setup.c"
#include "tests/prove/eva_queue.h"

#define BUFS (VQ_SIZE + 1)

static struct vio_buffer bufs[BUFS];

/* What the caller knows. A chain's cookie is the request of its head: so names cost no states. */
struct request {
    bool given;
    bool published;
    uint32_t writable_bytes; /* of all its buffers: no len is more */
    uint64_t number;         /* in the order of virtqueue_add(), where that counts: in order */
};
static struct request requests[VQ_SIZE];
static uint64_t n_added;
static uint64_t n_popped;

static void notify(void *context, uint16_t index, uint16_t avail_idx)
{
    (void)context;
    (void)index;
    (void)avail_idx;
    /*@ check it_is_published: avail_idx == (uint16_t)vq.n_published; */
#ifdef VQ_CLAIMS
    /*@ check never_notified: \false; */
#endif
}

/* --- One call of each kind ------------------------------------------------------------------- */

/* A good chain has one readable buffer and then writable ones; if it is of one, that is writable. */
enum form {
    GOOD,
    ALL_READABLE,
    ALL_WRITABLE,
    LAST_EMPTY,
    FIRST_EMPTY,
    TOO_LONG,
    READABLE_BEHIND_WRITABLE,
};
#define LAST_FORM (VQ_SIZE <= 2 ? READABLE_BEHIND_WRITABLE : GOOD) /* or it takes too long */

/* Ends where the array does, so that a look behind it is a look outside of memory. */
static const struct vio_buffer *make_bufs(unsigned n_bufs, enum form form)
{
    struct vio_buffer *first = bufs + BUFS - n_bufs;

    /*@ loop unroll BUFS; */
    for (unsigned i = 0; i < BUFS; i++) {
        bool writable = i == BUFS - 1 || i > BUFS - n_bufs || form == ALL_WRITABLE;
        bufs[i] = (struct vio_buffer){
            .addr = any_u64,
            .len = VQ_SIZE > 2 && n_bufs == 1 ? 8 : 16, /* else of one length, in the only form */
            .device_writable = writable && form != ALL_READABLE,
        };
    }
    if (form == LAST_EMPTY)
        bufs[BUFS - 1].len = 0;
    if (form == FIRST_EMPTY && n_bufs)
        first->len = 0;
    if (form == TOO_LONG)
        bufs[BUFS - 2].len = UINT32_MAX;
    if (form == READABLE_BEHIND_WRITABLE) {
        bufs[BUFS - 2].device_writable = true;
        bufs[BUFS - 1].device_writable = false;
    }
    return first;
}

static uint32_t writable_bytes(const struct vio_buffer *first, unsigned n_bufs)
{
    uint32_t bytes = 0;

    /*@ loop unroll BUFS; */
    for (unsigned i = 0; i < n_bufs; i++)
        bytes += first[i].device_writable ? first[i].len : 0;
    return bytes;
}

static void call_add(void)
{
    unsigned n_bufs = pick(BUFS);
    enum form form = pick(LAST_FORM);
    const struct vio_buffer *first = make_bufs(n_bufs, form);
    struct request *request = &requests[vq.free_head->index];
    struct vq_shadow *head = vq.free_head;
    uint32_t n_free = vq.n_free;
    /* Then the buffer in front of it, which makes it wrong, is not of the chain. */
    bool of_one = n_bufs == 1 && (form == TOO_LONG || form == READABLE_BEHIND_WRITABLE);
    bool valid = n_bufs >= 1 && n_bufs <= VQ_SIZE && (form <= ALL_WRITABLE || of_one);
    bool fits = virtqueue_descriptors_needed(&vq, n_bufs) <= n_free;

    vio_status status = virtqueue_add(&vq, first, n_bufs, request);
    /*@ check exactly_what_fits: status == VIO_OK <==> valid && fits && vq.fault == 0; */
    /*@ check else_nothing_changed: status != VIO_OK ==>
            vq.n_free == n_free && vq.n_added == n_added && vq.free_head == head; */
#ifdef VQ_CLAIMS
    /*@ check never_full: status != VIO_ERR_QUEUE_FULL; */
    /*@ check never_invalid: !(status == VIO_ERR_INVALID && n_bufs == VQ_SIZE); */
    /*@ check never_the_last: !(status == VIO_OK && vq.n_free == 0); */
#endif
    if (status != VIO_OK)
        return;
    /*@ check was_free: !request->given; */
    *request = (struct request){
        .given = true, .writable_bytes = writable_bytes(first, n_bufs), .number = n_added};
    n_added++;
#ifdef VQ_CLAIMS
    /*@ check never_only_readable: request->writable_bytes > 0; */
    /*@ check never_two_writable: request->writable_bytes <= 16; */
#endif
}

static void call_publish(void)
{
    uint64_t n_published = vq.n_published;

    virtqueue_publish(&vq);
    /*@ check all_or_broken: vq.n_published == (vq.fault == 0 ? n_added : n_published); */
    /*@ loop unroll VQ_SIZE; */
    for (unsigned i = 0; i < VQ_SIZE; i++) {
        if (!vq.fault)
            requests[i].published = requests[i].given;
    }
}

static void call_pop(void)
{
    bool broken = vq.fault != VIRTQUEUE_FAULT_NONE;
    void *cookie;
    uint32_t len;

    vio_status status = virtqueue_pop_used(&vq, &cookie, &len);
    /*@ check broken_for_good: broken ==> status == VIO_ERR_QUEUE_BROKEN; */
    /*@ check broken_is_told: status == VIO_ERR_QUEUE_BROKEN <==> vq.fault != 0; */
#ifdef VQ_CLAIMS
    /*@ check never_used_idx: vq.fault != VIRTQUEUE_FAULT_USED_IDX; */
    /*@ check never_id_range: vq.fault != VIRTQUEUE_FAULT_ID_RANGE; */
    /*@ check never_id_not_head: vq.fault != VIRTQUEUE_FAULT_ID_NOT_HEAD; */
    /*@ check never_len: vq.fault != VIRTQUEUE_FAULT_LEN; */
    /*@ check never_order: vq.fault != VIRTQUEUE_FAULT_ORDER; */
    /*@ check never_empty: status != VIO_EMPTY; */
#endif
    if (status != VIO_OK)
        return;
    struct request *request = cookie;
    /*@ check with_the_device: request->given && request->published; */
    /*@ check the_oldest: vq.in_order ==> request->number == n_popped; */
    /*@ check no_longer: len <= request->writable_bytes; */
    /*@ check left_out_is_full: vq.n_batch > 0 ==> len == request->writable_bytes; */
    *request = (struct request){0};
    n_popped++;
}

static void call_others(void)
{
    uint16_t n_chains = (uint16_t)any_u64;

    if (any_unsigned)
        (void)virtqueue_notify(&vq);
    else if (any_unsigned)
        virtqueue_disable_callbacks(&vq);
    bool enough = virtqueue_enable_callbacks_after(&vq, n_chains);
    bool something = virtqueue_used_interrupt(&vq);
    /*@ check nothing_to_sleep_for: vq.fault != 0 ==> enough && !something; */
    /*@ check announced: vq.n_ready > 0 ==> something; */
}

/* --- A state in few words -------------------------------------------------------------------- */

/* What nobody may look at any more holds anything, and a pointer leads nowhere. */
static void forget_dead(void)
{
    /*@ loop unroll VQ_SIZE; */
    for (unsigned i = 0; i < VQ_SIZE; i++) {
        if (shadow[i].n_descriptors != 0)
            continue;
        shadow[i].cookie = NULL;
        shadow[i].tail = NULL;
        shadow[i].number = any_u64;
        shadow[i].writable_bytes = (uint32_t)any_u64;
        requests[i].number = 0;
    }
    Frama_C_make_unknown((char *)ring_memory, sizeof(ring_memory));
    Frama_C_make_unknown((char *)table_memory, sizeof(table_memory));
    Frama_C_make_unknown((char *)bufs, sizeof(bufs));
    if (vq.fault) {
        vq.fault = (enum virtqueue_fault)Frama_C_interval(1, VIRTQUEUE_FAULT_ORDER);
        vq.n_batch = (uint16_t)any_u64;
    }
}

/* The chain at which the batch ends that is being popped, if there is one. */
static const struct request *last_of_batch(void)
{
    if (vq.fault || vq.n_batch == 0)
        return NULL;
    /*@ loop unroll VQ_SIZE; */
    for (unsigned i = 0; i < VQ_SIZE; i++) {
        if (requests[i].given && requests[i].number == vq.n_used + vq.n_batch - 1)
            return &requests[i];
    }
    return NULL;
}

/* What only makes more states of one holds anything that it can hold. */
static void forget_detail(void)
{
    const struct request *last = last_of_batch();

    vq.n_notified = Frama_C_unsigned_long_long_interval(0, vq.n_published);
    vq.used_event = (uint16_t)any_u64;
    vq.callbacks_wanted = any_unsigned & 1;
    vq.batch_len =
        last ? (uint32_t)Frama_C_interval(0, (int)last->writable_bytes) : (uint32_t)any_u64;
    vq.fault_value = any_u64;
    vq.counters = (struct virtqueue_counters){0};
    /*@ loop unroll VQ_SIZE; */
    for (unsigned i = 0; i < VQ_SIZE; i++) {
        if (!vq.in_order) {
            requests[i].number = 0;
            if (requests[i].published)
                shadow[i].number = Frama_C_unsigned_long_long_interval(0, vq.n_published - 1);
        }
    }
}

/*
 * The number of the oldest chain is BASE again: the queue knows numbers by their distances, and its
 * slots in the rings do not tell one from another here, because all that they hold is any value.
 */
static void count_from_base(void)
{
    uint64_t shift = n_popped - BASE;

    n_popped -= shift;
    n_added -= shift;
    vq.n_added -= shift;
    vq.n_published -= shift;
    vq.n_used -= shift;
    vq.n_notified -= shift;
    /*@ loop unroll VQ_SIZE; */
    for (unsigned i = 0; i < VQ_SIZE; i++) {
        shadow[i].number -= shift;
        requests[i].number -= shift;
    }
}

/* What holds between any two calls. */
static void check_state(void)
{
    unsigned n_taken = 0;
    unsigned n_given = 0;
    const struct request *last = last_of_batch();

    /*@ loop unroll VQ_SIZE; */
    for (unsigned i = 0; i < VQ_SIZE; i++) {
        n_taken += shadow[i].n_descriptors;
        n_given += requests[i].given;
        /*@ check a_head_for_each: requests[i].given <==> shadow[i].n_descriptors != 0; */
    }
    /*@ check all_are_counted: vq.fault == 0 ==> n_taken + vq.n_free == VQ_SIZE; */
    /*@ check in_flight: vq.n_used == n_popped && vq.n_added == n_added == n_popped + n_given; */
    /*@ check published: vq.n_used <= vq.n_published <= vq.n_added; */
    /*@ check ready: vq.n_ready <= vq.n_published - vq.n_used; */
    /*@ check batch: vq.fault == 0 ==> vq.n_batch <= vq.n_ready; */
    /*@ check batch_ends: vq.fault == 0 && vq.n_batch > 0 ==>
            last != \null && vq.batch_len <= last->writable_bytes; */
    /*@ check broken: vq.fault != 0 ==> vq.n_free == 0 && vq.n_ready == 0; */
}

static void call_one(void)
{
    switch (pick(3)) {
    case 0:
        call_add();
        break;
    case 1:
        call_publish();
        break;
    case 2:
        call_pop();
        break;
    default:
        call_others();
        break;
    }
    check_state();
    count_from_base();
    forget_dead();
    forget_detail();
}

static void drain(void)
{
    void *cookie;
    uint32_t len;

    while (virtqueue_drain(&vq, &cookie)) {
        struct request *request = cookie;
        /*@ check not_given_back_yet: request->given; */
        request->given = false;
    }
    /*@ loop unroll VQ_SIZE; */
    for (unsigned i = 0; i < VQ_SIZE; i++) {
        /*@ check given_back: !requests[i].given; */
        ;
    }
    vio_status status = virtqueue_pop_used(&vq, &cookie, &len);
    /*@ check for_the_last_time: status != VIO_OK; */
}

int main(void)
{
    if (make_queue() != VIO_OK)
        return 1;
    vq.n_added = vq.n_published = vq.n_notified = vq.n_used = BASE;
    n_added = n_popped = BASE;
    check_state();
    forget_dead();
    forget_detail();
    while (any_unsigned)
        call_one();
    drain();
    return 0;
}
