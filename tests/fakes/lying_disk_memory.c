/* Contract and terms: tests/fakes/lying_disk_private.h. What is loaded from shared memory. */

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/lying_disk_private.h"
#include "tests/fakes/testing.h"

/* A lie stands in memory for the one load that it is told to. */
void lying_disk_restore(struct lying_disk *disk)
{
    if (disk->lied_at)
        memcpy(disk->lied_at, &disk->truth, disk->lied_bytes);
    disk->lied_at = NULL;
}

uint64_t lying_disk_answer(struct lying_disk *disk, enum lie_about about, unsigned at,
                           unsigned width_bytes, uint64_t truth)
{
    lying_disk_restore(disk);
    return lies_answer(&disk->lies, about, at, width_bytes, truth);
}

static uint64_t liar_load(struct lying_disk *disk, enum lie_about about, unsigned at,
                          const void *where, unsigned width_bytes)
{
    uint8_t *memory = (uint8_t *)(uintptr_t)where;
    uint64_t truth = 0;

    memcpy(&truth, memory, width_bytes);
    uint64_t answer = lying_disk_answer(disk, about, at, width_bytes, truth);
    if (answer != truth) {
        disk->lied_at = memory;
        disk->truth = truth;
        disk->lied_bytes = width_bytes;
        memcpy(memory, &answer, width_bytes);
    }
    return answer;
}

/* --- Which request a word is about ------------------------------------------------------------ */

/* The newest one, for a head and a status byte are used again and again. */
static struct told *told_by_head(struct lying_disk *disk, unsigned queue, uint32_t head)
{
    for (unsigned i = disk->honest.n_requests; i-- > 0;) {
        const struct fake_blk_request *request = &disk->honest.requests[i];
        if (request->queue == queue && request->head == head)
            return &disk->told[i];
    }
    return NULL;
}

static bool told_find_byte(const struct lying_disk *disk, const uint8_t *where,
                           unsigned *ret_request, unsigned *ret_id_at)
{
    for (unsigned i = disk->honest.n_requests; i-- > 0;) {
        const struct fake_blk_request *request = &disk->honest.requests[i];
        bool is_id = request->type == VIRTIO_BLK_T_GET_ID && where >= request->data &&
                     where < request->data + DISK_ID_BYTES;
        if (!is_id && request->status_byte != where)
            continue;
        *ret_request = i;
        *ret_id_at = is_id ? (unsigned)(where - request->data) : DISK_ID_BYTES;
        return true;
    }
    return false;
}

bool lying_disk_has_answered(const struct lying_disk *disk, unsigned request)
{
    const struct told *told = &disk->told[request];

    return told->has_status && (told->has_len || told->needs_no_len);
}

/* --- Loads ------------------------------------------------------------------------------------ */

static void liar_load_byte(struct lying_disk *disk, const void *where)
{
    unsigned request, id_at;

    if (!told_find_byte(disk, where, &request, &id_at))
        fail_msg("the driver loads a byte that is no request's answer");
    struct told *told = &disk->told[request];
    if (id_at < DISK_ID_BYTES) {
        told->id[id_at] = (uint8_t)liar_load(disk, LIE_ID, id_at, where, 1);
        return;
    }
    unsigned queue = disk->honest.requests[request].queue;
    told->status = (uint8_t)liar_load(disk, LIE_ANSWER, queue, where, 1);
    if (!told->has_status) {
        disk->may_recover = true;
        disk->n_tries = 0;
    }
    told->has_status = true;
    told->needs_no_len = lying_disk_accepted(disk, VIRTIO_F_IN_ORDER);
}

/* Id and len in any order, but both of one element before the next. */
static void liar_load_element(struct lying_disk *disk, unsigned queue, uint64_t offset,
                              const void *where)
{
    bool is_len = offset % sizeof(struct virtq_used_elem) != 0;
    uint64_t element = offset / sizeof(struct virtq_used_elem);

    if (queue != disk->element_queue || element != disk->element_at ||
        (is_len ? disk->has_len : disk->has_id))
        disk->has_id = disk->has_len = false;
    disk->element_queue = queue;
    disk->element_at = element;
    if (is_len) {
        disk->len = (uint32_t)liar_load(disk, LIE_USED_LEN, queue, where, 4);
        disk->has_len = true;
    } else {
        disk->id = (uint32_t)liar_load(disk, LIE_USED_ID, queue, where, 4);
        disk->has_id = true;
    }
    struct told *told = told_by_head(disk, queue, disk->id);
    /* The first counts: a second answer to the same request is a lie, which is another's business. */
    if (disk->has_id && disk->has_len && told && !told->has_len) {
        told->has_len = true;
        told->len = disk->len;
    }
}

static void liar_load_ring(struct lying_disk *disk, unsigned queue, uint64_t offset,
                           const void *where)
{
    uint64_t ring_bytes = sizeof(struct virtq_used_elem) * disk->honest.rings[queue].size;

    if (offset == offsetof(struct virtq_used, flags)) {
        (void)liar_load(disk, LIE_USED_FLAGS, queue, where, 2);
    } else if (offset == offsetof(struct virtq_used, idx)) {
        lying_disk_serve(disk);
        (void)liar_load(disk, LIE_USED_IDX, queue, where, 2);
    } else if (offset == sizeof(struct virtq_used) + ring_bytes) {
        (void)liar_load(disk, LIE_AVAIL_EVENT, queue, where, 2);
    } else {
        liar_load_element(disk, queue, offset - sizeof(struct virtq_used), where);
    }
}

void lying_disk_before_access(void *context, enum vio_mem_access access, const void *where)
{
    struct lying_disk *disk = context;

    lying_disk_restore(disk);
    if (access == VIO_MEM_LOAD8) {
        liar_load_byte(disk, where);
        return;
    }
    if (access != VIO_MEM_LOAD16 && access != VIO_MEM_LOAD32)
        return;
    for (unsigned i = 0; i < FAKE_QUEUES; i++) {
        uint64_t offset = (uint64_t)((uintptr_t)where - (uintptr_t)disk->used[i]);
        uint64_t bytes = sizeof(struct virtq_used) + sizeof(le16) +
                         sizeof(struct virtq_used_elem) * disk->honest.rings[i].size;
        if (disk->used[i] && offset < bytes) {
            liar_load_ring(disk, i, offset, where);
            return;
        }
    }
    fail_msg("the driver loads what is in no used ring");
}
