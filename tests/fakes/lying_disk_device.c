/* Contract and terms: tests/fakes/lying_disk_private.h. The device's side of a lying disk. */

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/fake_memory.h"
#include "tests/fakes/lying_disk_private.h"
#include "tests/fakes/testing.h"

/* --- Shared memory ---------------------------------------------------------------------------- */

/* A lie stands in memory for the one load that it is told to. */
static void liar_restore(struct lying_disk *disk)
{
    if (disk->lied_at)
        memcpy(disk->lied_at, &disk->truth, disk->lied_bytes);
    disk->lied_at = NULL;
}

static uint64_t liar_answer(struct lying_disk *disk, enum lie_about about, unsigned at,
                            unsigned width_bytes, uint64_t truth)
{
    liar_restore(disk);
    return lies_answer(&disk->lies, about, at, width_bytes, truth);
}

static uint64_t liar_load(struct lying_disk *disk, enum lie_about about, const void *where,
                          unsigned width_bytes)
{
    uint8_t *memory = (uint8_t *)(uintptr_t)where;
    uint64_t truth = 0;

    memcpy(&truth, memory, width_bytes);
    uint64_t answer = liar_answer(disk, about, 0, width_bytes, truth);
    if (answer != truth) {
        disk->lied_at = memory;
        disk->truth = truth;
        disk->lied_bytes = width_bytes;
        memcpy(memory, &answer, width_bytes);
    }
    return answer;
}

/* The newest request, for a head and a status byte are used again and again. */
static struct told *told_by_head(struct lying_disk *disk, uint32_t head)
{
    for (unsigned i = disk->honest.n_requests; i-- > 0;) {
        if (disk->honest.requests[i].head == head)
            return &disk->told[i];
    }
    return NULL;
}

static struct told *told_by_status_byte(struct lying_disk *disk, const void *where)
{
    for (unsigned i = disk->honest.n_requests; i-- > 0;) {
        if (disk->honest.requests[i].status_byte == where)
            return &disk->told[i];
    }
    return NULL;
}

static void liar_load_answer(struct lying_disk *disk, const void *where)
{
    struct told *told = told_by_status_byte(disk, where);

    assert_non_null(told);
    told->status = (uint8_t)liar_load(disk, LIE_ANSWER, where, 1);
    disk->n_told += !told->has_status;
    told->has_status = true;
}

/* Id and len in any order, but both of one element before the next. */
static void liar_load_element(struct lying_disk *disk, uint64_t offset, const void *where)
{
    bool is_len = offset % sizeof(struct virtq_used_elem) != 0;
    uint64_t element = offset / sizeof(struct virtq_used_elem);

    if (element != disk->element_at || (is_len ? disk->has_len : disk->has_id))
        disk->has_id = disk->has_len = false;
    disk->element_at = element;
    if (is_len) {
        disk->len = (uint32_t)liar_load(disk, LIE_USED_LEN, where, 4);
        disk->has_len = true;
    } else {
        disk->id = (uint32_t)liar_load(disk, LIE_USED_ID, where, 4);
        disk->has_id = true;
    }
    struct told *told = told_by_head(disk, disk->id);
    if (disk->has_id && disk->has_len && told) {
        told->has_len = true;
        told->len = disk->len;
    }
}

/* The honest device is quicker than any driver: what is available is served when somebody looks. */
void lying_disk_serve(struct lying_disk *disk)
{
    const struct fake_transport *transport = &disk->honest.transport;

    if (transport->queues[0].enabled && (transport->status & VIRTIO_STATUS_DRIVER_OK))
        fake_blk_device_serve_all(&disk->honest);
    assert_true(disk->honest.n_requests <= LYING_DISK_REQUESTS_MAX);
}

static void liar_before_access(void *context, enum vio_mem_access access, const void *where)
{
    struct lying_disk *disk = context;
    const uint8_t *used = disk->used;
    uint64_t ring_bytes = sizeof(struct virtq_used_elem) * disk->honest.rings[0].size;

    liar_restore(disk);
    if (access == VIO_MEM_LOAD8) {
        liar_load_answer(disk, where);
        return;
    }
    if (access != VIO_MEM_LOAD16 && access != VIO_MEM_LOAD32)
        return;
    assert_non_null(used);
    uint64_t offset = (uint64_t)((const uint8_t *)where - used);
    if (offset == offsetof(struct virtq_used, flags)) {
        (void)liar_load(disk, LIE_USED_FLAGS, where, 2);
    } else if (offset == offsetof(struct virtq_used, idx)) {
        lying_disk_serve(disk);
        (void)liar_load(disk, LIE_USED_IDX, where, 2);
    } else if (offset == sizeof(struct virtq_used) + ring_bytes) {
        (void)liar_load(disk, LIE_AVAIL_EVENT, where, 2);
    } else {
        assert_true(offset < sizeof(struct virtq_used) + ring_bytes);
        liar_load_element(disk, offset - sizeof(struct virtq_used), where);
    }
}

/* --- The transport ---------------------------------------------------------------------------- */

static const struct vio_transport *liar_honest(struct lying_disk *disk)
{
    liar_restore(disk);
    return &disk->honest.transport.transport;
}

/*
 * The honest device holds the driver to the order of bring-up, by the status. A driver that was told
 * another status, and adds its bits to that, is given the benefit of the doubt.
 */
static void liar_assume_status(struct lying_disk *disk, uint8_t status)
{
    if (disk->lied_about_status)
        disk->honest.transport.status = status;
}

static uint8_t liar_get_status(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);
    uint8_t truth = honest->ops->get_status(honest->context);
    uint8_t status = (uint8_t)liar_answer(disk, LIE_STATUS, 0, 1, truth);

    disk->lied_about_status |= status != truth;
    if (status == 0 && disk->lies.status_written == 0)
        disk->may_write = false;
    return status;
}

static void liar_set_status(void *context, uint8_t status)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    lies_status_written(&disk->lies, status);
    liar_assume_status(disk, disk->honest.transport.status & status);
    honest->ops->set_status(honest->context, status);
}

static uint64_t liar_get_device_features(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    disk->honest.transport.offered = liar_answer(disk, LIE_FEATURES, 0, 8, disk->true_features);
    return honest->ops->get_device_features(honest->context);
}

static void liar_set_driver_features(void *context, uint64_t features)
{
    const struct vio_transport *honest = liar_honest(context);

    liar_assume_status(context, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    honest->ops->set_driver_features(honest->context, features);
}

static uint16_t liar_get_queue_size_max(void *context, uint16_t index)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    assert_int_equal(index, 0);
    disk->honest.transport.queues[0].size_max =
        (uint16_t)liar_answer(disk, LIE_QUEUE_SIZE, 0, 2, LYING_DISK_QUEUE_SIZE);
    return honest->ops->get_queue_size_max(honest->context, 0);
}

/* The fields as they were told last are those that the honest device holds requests to. */
static void liar_believe_config(struct lying_disk *disk)
{
    const struct fake_transport *transport = &disk->honest.transport;
    uint32_t block_bytes = VIRTIO_BLK_SECTOR_BYTES;

    assert_true(disk->fields_are_valid);
    memcpy(&disk->honest.sectors, &transport->config[VIRTIO_BLK_CONFIG_CAPACITY], 8);
    if (transport->accepted & VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE))
        memcpy(&block_bytes, &transport->config[VIRTIO_BLK_CONFIG_BLK_SIZE], 4);
    if (block_bytes == 0 || block_bytes % VIRTIO_BLK_SECTOR_BYTES)
        fail_msg("a disk with blocks of %u bytes gets a queue", block_bytes);
    disk->honest.block_bytes = block_bytes;
}

static vio_status liar_enable_queue(void *context, uint16_t index, uint16_t size,
                                    const struct virtqueue_addresses *addresses, uint16_t vector)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);
    uint64_t refusal = liar_answer(disk, LIE_QUEUE_ENABLE, 0, 1, 0);

    if (refusal)
        return refusal & 1 ? VIO_ERR_DEVICE : VIO_ERR_UNSUPPORTED;
    liar_believe_config(disk);
    liar_assume_status(disk, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
                                 VIRTIO_STATUS_FEATURES_OK);
    vio_status status = honest->ops->enable_queue(honest->context, index, size, addresses, vector);
    disk->used = (uint8_t *)fake_ring_used(&disk->honest.rings[0]);
    disk->may_write = true;
    return status;
}

static void liar_reset_queue(void *context, uint16_t index)
{
    const struct vio_transport *honest = liar_honest(context);

    honest->ops->reset_queue(honest->context, index);
}

static bool liar_is_queue_reset(void *context, uint16_t index)
{
    const struct vio_transport *honest = liar_honest(context);

    return honest->ops->is_queue_reset(honest->context, index);
}

static void liar_notify(void *context, uint16_t index, uint16_t avail_idx)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    assert_true(disk->lies.status_written & VIRTIO_STATUS_DRIVER_OK);
    liar_assume_status(disk, disk->lies.status_written);
    honest->ops->notify(honest->context, index, avail_idx);
}

static uint32_t liar_read_config(void *context, uint32_t offset, unsigned width_bytes)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);
    struct fake_transport *transport = &disk->honest.transport;
    uint64_t value = 0;

    assert_true(offset + width_bytes <= FAKE_CONFIG_BYTES);
    memcpy(&value, &disk->true_config[offset], width_bytes);
    value = liar_answer(disk, LIE_CONFIG, offset, width_bytes, value);
    memcpy(&transport->config[offset], &value, width_bytes);
    (void)honest->ops->read_config(honest->context, offset, width_bytes); /* for its checks */
    disk->fields_are_open = true;
    disk->fields_are_valid = false;
    return (uint32_t)value;
}

static void liar_write_config(void *context, uint32_t offset, unsigned width_bytes, uint32_t value)
{
    const struct vio_transport *honest = liar_honest(context);

    honest->ops->write_config(honest->context, offset, width_bytes, value);
}

static uint32_t liar_get_config_bytes(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    return (uint32_t)liar_answer(disk, LIE_CONFIG_BYTES, 0, 4,
                                 honest->ops->get_config_bytes(honest->context));
}

static uint32_t liar_get_config_generation(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    uint32_t truth = honest->ops->get_config_generation(honest->context);
    uint32_t generation = (uint32_t)liar_answer(disk, LIE_GENERATION, 0, 4, truth);

    if (disk->fields_are_open)
        disk->fields_are_valid = generation == disk->told_generation;
    disk->fields_are_open = false;
    disk->told_generation = generation;
    return generation;
}

static vio_status liar_route_config_interrupt(void *context, uint16_t vector)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    if (liar_answer(disk, LIE_VECTOR, 0, 1, 0))
        return VIO_ERR_DEVICE;
    return honest->ops->route_config_interrupt(honest->context, vector);
}

static uint8_t liar_read_interrupt_status(void *context)
{
    const struct vio_transport *honest = liar_honest(context);

    return honest->ops->read_interrupt_status(honest->context);
}

static void liar_isolate(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    honest->ops->isolate(honest->context);
    if (!disk->isolated)
        disk->n_kept = fake_platform_live(&disk->fake, FAKE_CALL_DMA_ALLOC);
    disk->isolated = true;
    disk->may_write = false;
}

static const struct vio_transport_ops liar_transport_ops = {
    .get_status = liar_get_status,
    .set_status = liar_set_status,
    .get_device_features = liar_get_device_features,
    .set_driver_features = liar_set_driver_features,
    .get_queue_size_max = liar_get_queue_size_max,
    .enable_queue = liar_enable_queue,
    .reset_queue = liar_reset_queue,
    .is_queue_reset = liar_is_queue_reset,
    .notify = liar_notify,
    .read_config = liar_read_config,
    .write_config = liar_write_config,
    .get_config_bytes = liar_get_config_bytes,
    .get_config_generation = liar_get_config_generation,
    .route_config_interrupt = liar_route_config_interrupt,
    .read_interrupt_status = liar_read_interrupt_status,
    .isolate = liar_isolate,
};

/* --- The platform, as the fake one, and watched ------------------------------------------------ */

static struct lying_disk *liar_of_platform(void *context)
{
    return (struct lying_disk *)(void *)((uint8_t *)context - offsetof(struct lying_disk, fake));
}

static vio_status liar_unmap(void *context, struct vio_mapping *mapping)
{
    struct lying_disk *disk = liar_of_platform(context);

    liar_restore(disk);
    if (++disk->n_unmapped > disk->n_told && disk->may_write)
        fail_msg("a buffer goes back to its owner while the device may still write to it");
    return disk->fake.platform.ops->unmap(context, mapping);
}

static void liar_dma_free(void *context, struct vio_dma *dma)
{
    struct lying_disk *disk = liar_of_platform(context);

    liar_restore(disk);
    if (disk->may_write)
        fail_msg("shared memory is freed while the device may still write to it");
    disk->used = NULL;
    disk->fake.platform.ops->dma_free(context, dma);
}

static void liar_on_wait(void *context)
{
    liar_restore(context);
}

void lying_disk_init(struct lying_disk *disk, const struct disk_script *script)
{
    memset(disk, 0, sizeof(*disk));
    fake_platform_init(&disk->fake);
    fake_blk_device_init(&disk->honest, &disk->fake, LYING_DISK_SECTORS);
    disk->fake.on_wait = liar_on_wait;
    disk->fake.on_wait_context = disk;
    if (script->fail_nth)
        fake_platform_fail(&disk->fake, script->fail_call, script->fail_nth);

    struct fake_transport *transport = &disk->honest.transport;
    transport->offered |= VIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX) | VIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) |
                          VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
                          VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_EVENT_IDX);
    transport->generation = LYING_DISK_GENERATION;
    transport->queues[0].size_max = LYING_DISK_QUEUE_SIZE;
    fake_transport_set_config(transport, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, LYING_DISK_SIZE_MAX);
    fake_transport_set_config(transport, VIRTIO_BLK_CONFIG_SEG_MAX, 4, LYING_DISK_SEG_MAX);
    fake_transport_set_config(transport, VIRTIO_BLK_CONFIG_BLK_SIZE, 4, VIRTIO_BLK_SECTOR_BYTES);
    transport->config_bytes = LYING_DISK_CONFIG_BYTES;
    memcpy(disk->true_config, transport->config, sizeof(disk->true_config));
    disk->true_features = transport->offered;

    memcpy(disk->lies.list, script->lies, sizeof(disk->lies.list));
    disk->transport = (struct vio_transport){.ops = &liar_transport_ops, .context = disk};
    disk->platform_ops = *disk->fake.platform.ops;
    disk->platform_ops.unmap = liar_unmap;
    disk->platform_ops.dma_free = liar_dma_free;
    disk->platform = (struct vio_platform){.ops = &disk->platform_ops, .context = &disk->fake};
    fake_memory_before_access(liar_before_access, disk);
}

void lying_disk_end(struct lying_disk *disk)
{
    liar_restore(disk);
    assert_false(disk->may_write);
    if (disk->isolated) {
        fake_platform_assert_quarantined(&disk->fake, disk->n_kept);
    } else {
        assert_int_equal(disk->lies.status_written, 0);
        fake_platform_assert_no_leaks(&disk->fake);
    }
    fake_memory_before_access(NULL, NULL);
    fake_blk_device_free(&disk->honest);
}
