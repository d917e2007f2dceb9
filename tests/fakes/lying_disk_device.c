/* Contract and terms: tests/fakes/lying_disk_private.h. The device's side: transport and platform. */

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/lying_disk_private.h"
#include "tests/fakes/testing.h"

/* Between two waits: more than all that a script asks for with nothing to wait for. */
#define CLOCK_READS_MAX 20000u

/* The honest device is quicker than any driver: what is available is served when somebody looks. */
void lying_disk_serve(struct lying_disk *disk)
{
    if (disk->honest.transport.status & VIRTIO_STATUS_DRIVER_OK)
        fake_blk_device_serve_all(&disk->honest);
    assert_true(disk->honest.n_requests <= LYING_DISK_REQUESTS_MAX);
    if (!disk->is_used_again || disk->honest.n_requests == disk->n_at_use)
        return;
    if (!disk->may_recover)
        fail_msg("used once more, and nothing was answered since the last reset");
    disk->may_recover = disk->is_used_again = false;
}

/* --- The transport ---------------------------------------------------------------------------- */

static const struct vio_transport *liar_honest(struct lying_disk *disk)
{
    lying_disk_restore(disk);
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

static void liar_let_go_of_queue(struct lying_disk *disk, uint16_t index)
{
    lying_disk_serve(disk); /* what it took before it let go */
    for (unsigned i = 0; i < disk->honest.n_requests; i++)
        disk->told[i].let_go |= disk->honest.requests[i].queue == index;
    disk->is_known[index] = false;
}

static void liar_let_go(struct lying_disk *disk)
{
    for (uint16_t i = 0; i < FAKE_QUEUES; i++)
        liar_let_go_of_queue(disk, i);
}

bool lying_disk_is_in_use(const struct lying_disk *disk)
{
    bool is_in_use = false;

    for (unsigned i = 0; i < FAKE_QUEUES; i++)
        is_in_use |= disk->is_known[i];
    return is_in_use;
}

bool lying_disk_accepted(const struct lying_disk *disk, unsigned feature_bit)
{
    return disk->honest.transport.accepted & VIO_FEATURE(feature_bit);
}

static uint8_t liar_get_status(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);
    uint8_t truth = honest->ops->get_status(honest->context);
    uint8_t status = (uint8_t)lying_disk_answer(disk, LIE_STATUS, 0, 1, truth);

    disk->lied_about_status |= status != truth;
    if (status == 0 && disk->lies.status_written == 0)
        liar_let_go(disk);
    return status;
}

/* In use for the first time, or again. What that is worth shows when something is sent. */
static void liar_note_use(struct lying_disk *disk)
{
    disk->is_used_again = disk->lies.was_reset && !disk->reset_by_caller;
    disk->may_recover |= !disk->is_used_again;
    disk->n_at_use = disk->honest.n_requests;
    disk->n_tries = 0;
}

static void liar_set_status(void *context, uint8_t status)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    lies_status_written(&disk->lies, status);
    if (status == 0) {
        disk->n_resets++;
        disk->n_tries++;
        disk->is_write_through = false;
    }
    if (status & VIRTIO_STATUS_DRIVER_OK)
        liar_note_use(disk);
    liar_assume_status(disk, disk->honest.transport.status & status);
    /* It knows no FEATURES_OK, and a driver that was told of one may keep it. */
    if (disk->transport.is_legacy && disk->lied_about_status)
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    honest->ops->set_status(honest->context, status);
}

static uint64_t liar_get_device_features(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    disk->honest.transport.offered =
        lying_disk_answer(disk, LIE_FEATURES, 0, 8, disk->true_features);
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

    if (index >= FAKE_QUEUES)
        return 0;
    disk->honest.transport.queues[index].size_max = (uint16_t)lying_disk_answer(
        disk, LIE_QUEUE_SIZE, index, 2, index < LYING_DISK_QUEUES ? LYING_DISK_QUEUE_SIZE : 0);
    return honest->ops->get_queue_size_max(honest->context, index);
}

/* 3.1.2: a legacy device has no more than the driver's word. */
static uint8_t liar_settled_status(const struct lying_disk *disk)
{
    return VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
           (disk->transport.is_legacy ? 0 : VIRTIO_STATUS_FEATURES_OK);
}

/* 2.5.4: of the fields that were read at all, each twice in a row with the same result. */
static bool liar_all_repeated(const struct lying_disk *disk)
{
    for (unsigned i = 0; i < FAKE_CONFIG_BYTES; i++) {
        if (disk->was_told[i] && !disk->was_repeated[i])
            return false;
    }
    return true;
}

/* The fields as they were told last are those that the honest device holds requests to. */
static void liar_believe_config(struct lying_disk *disk)
{
    const struct fake_transport *transport = &disk->honest.transport;
    uint32_t block_bytes = VIRTIO_BLK_SECTOR_BYTES;

    if (disk->transport.is_legacy ? !liar_all_repeated(disk) : !disk->fields_are_valid)
        fail_msg("the configuration was read at two generations, and is believed");
    memcpy(&disk->honest.sectors, &transport->config[VIRTIO_BLK_CONFIG_CAPACITY], 8);
    if (transport->accepted & VIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE))
        memcpy(&block_bytes, &transport->config[VIRTIO_BLK_CONFIG_BLK_SIZE], 4);
    if (block_bytes == 0 || block_bytes % VIRTIO_BLK_SECTOR_BYTES)
        fail_msg("a disk with blocks of %u bytes gets a queue", block_bytes);
    disk->honest.block_bytes = block_bytes;
}

static uint16_t liar_n_queues(const struct lying_disk *disk)
{
    uint16_t n = 1;

    if (lying_disk_accepted(disk, VIRTIO_BLK_F_MQ))
        memcpy(&n, &disk->honest.transport.config[VIRTIO_BLK_CONFIG_NUM_QUEUES], sizeof(n));
    return n ? n : 1;
}

static void liar_check_area(const struct fake_queue *known, dma_addr addr, uint64_t bytes)
{
    const struct {
        dma_addr addr;
        uint64_t bytes;
    } areas[] = {
        {known->addresses.descriptor_area, sizeof(struct virtq_desc) * known->size},
        {known->addresses.driver_area,
         sizeof(struct virtq_avail) + sizeof(le16) * (known->size + 1u)},
        {known->addresses.device_area,
         sizeof(struct virtq_used) + sizeof(le16) + sizeof(struct virtq_used_elem) * known->size},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(areas); i++) {
        if (addr < areas[i].addr + areas[i].bytes && areas[i].addr < addr + bytes)
            fail_msg("two queues share memory");
    }
}

/* A queue gets memory that the device does not know as something else. */
static void liar_check_queue(const struct lying_disk *disk, uint16_t index, uint16_t size,
                             const struct virtqueue_addresses *addresses)
{
    assert_true(index < FAKE_QUEUES && index < liar_n_queues(disk));
    if (disk->is_known[index])
        fail_msg("queue %u is made anew, and the device has not let go of it", index);
    for (unsigned i = 0; i < FAKE_QUEUES; i++) {
        const struct fake_queue *known = &disk->honest.transport.queues[i];
        if (!disk->is_known[i])
            continue;
        liar_check_area(known, addresses->descriptor_area, sizeof(struct virtq_desc) * size);
        liar_check_area(known, addresses->driver_area,
                        sizeof(struct virtq_avail) + sizeof(le16) * (size + 1u));
        liar_check_area(known, addresses->device_area,
                        sizeof(struct virtq_used) + sizeof(le16) +
                            sizeof(struct virtq_used_elem) * size);
    }
}

static vio_status liar_enable_queue(void *context, uint16_t index, uint16_t size,
                                    const struct virtqueue_addresses *addresses, uint16_t vector)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);
    bool is_in_use = disk->honest.transport.queues[index].was_reset;
    uint64_t refusal = lying_disk_answer(disk, LIE_QUEUE_ENABLE, index, 1, 0);

    if (refusal)
        return refusal & 1 ? VIO_ERR_DEVICE : VIO_ERR_UNSUPPORTED;
    liar_believe_config(disk);
    liar_assume_status(disk, is_in_use ? disk->lies.status_written : liar_settled_status(disk));
    liar_check_queue(disk, index, size, addresses);
    vio_status status = honest->ops->enable_queue(honest->context, index, size, addresses, vector);
    disk->used[index] = (uint8_t *)fake_ring_used(&disk->honest.rings[index]);
    disk->is_known[index] = true;
    if (is_in_use)
        liar_note_use(disk);
    return status;
}

static void liar_reset_queue(void *context, uint16_t index)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    lies_queue_reset(&disk->lies);
    disk->n_resets++;
    disk->n_tries++;
    honest->ops->reset_queue(honest->context, index);
}

static bool liar_is_queue_reset(void *context, uint16_t index)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    if (!(lying_disk_answer(disk, LIE_QUEUE_RESET, index, 1, 1) & 1))
        return false;
    liar_let_go_of_queue(disk, index);
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

/* 5.2.5: not before FEATURES_OK, and it is a single byte, that no generation has to make whole. */
static void liar_note_cache(struct lying_disk *disk, bool is_write_through)
{
    uint8_t settled = liar_settled_status(disk);

    assert_true((disk->lies.status_written & settled) == settled || disk->lied_about_status);
    liar_assume_status(disk, disk->lies.status_written | settled);
    assert_true(lying_disk_accepted(disk, VIRTIO_BLK_F_CONFIG_WCE));
    disk->is_write_through = is_write_through;
}

/* Of a legacy device the capacity counts as soon as both halves have been the same. */
static void liar_note_field(struct lying_disk *disk, uint32_t offset, uint32_t value)
{
    disk->was_repeated[offset] = disk->was_told[offset] && disk->told_field[offset] == value;
    disk->was_told[offset] = true;
    disk->told_field[offset] = value;
    if (disk->transport.is_legacy && offset == VIRTIO_BLK_CONFIG_CAPACITY + 4 &&
        disk->was_repeated[offset] && disk->was_repeated[VIRTIO_BLK_CONFIG_CAPACITY])
        memcpy(&disk->honest.sectors, &disk->honest.transport.config[VIRTIO_BLK_CONFIG_CAPACITY],
               sizeof(disk->honest.sectors));
}

static uint32_t liar_read_config(void *context, uint32_t offset, unsigned width_bytes)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);
    struct fake_transport *transport = &disk->honest.transport;
    uint64_t value = 0;

    assert_true(offset + width_bytes <= FAKE_CONFIG_BYTES);
    memcpy(&value, &disk->true_config[offset], width_bytes);
    value = lying_disk_answer(disk, LIE_CONFIG, offset, width_bytes, value);
    memcpy(&transport->config[offset], &value, width_bytes);
    (void)honest->ops->read_config(honest->context, offset, width_bytes); /* for its checks */
    if (offset == VIRTIO_BLK_CONFIG_WRITEBACK) {
        liar_note_cache(disk, value == 0);
        return (uint32_t)value;
    }
    liar_note_field(disk, offset, (uint32_t)value);
    disk->fields_are_open = true;
    disk->fields_are_valid = false;
    return (uint32_t)value;
}

static void liar_write_config(void *context, uint32_t offset, unsigned width_bytes, uint32_t value)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    /* 5.2.4: the one field that a driver writes, where it may write at all. */
    assert_int_equal(offset, VIRTIO_BLK_CONFIG_WRITEBACK);
    assert_false(disk->honest.transport.offered & VIO_FEATURE(VIRTIO_BLK_F_RO));
    liar_note_cache(disk, value == 0);
    honest->ops->write_config(honest->context, offset, width_bytes, value);
}

static uint32_t liar_get_config_bytes(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    disk->told_config_bytes = (uint32_t)lying_disk_answer(
        disk, LIE_CONFIG_BYTES, 0, 4, honest->ops->get_config_bytes(honest->context));
    return disk->told_config_bytes;
}

static uint32_t liar_get_config_generation(void *context)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    uint32_t truth = honest->ops->get_config_generation(honest->context);
    uint32_t generation = (uint32_t)lying_disk_answer(disk, LIE_GENERATION, 0, 4, truth);

    if (disk->fields_are_open)
        disk->fields_are_valid = generation == disk->told_generation;
    if (disk->fields_are_open && disk->fields_are_valid && !disk->transport.is_legacy)
        memcpy(&disk->honest.sectors, &disk->honest.transport.config[VIRTIO_BLK_CONFIG_CAPACITY],
               sizeof(disk->honest.sectors));
    disk->fields_are_open = false;
    disk->told_generation = generation;
    return generation;
}

static vio_status liar_route_config_interrupt(void *context, uint16_t vector)
{
    struct lying_disk *disk = context;
    const struct vio_transport *honest = liar_honest(disk);

    if (lying_disk_answer(disk, LIE_VECTOR, 0, 1, 0))
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
    liar_let_go(disk);
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

    lying_disk_restore(disk);
    lying_disk_serve(disk);
    for (unsigned i = 0; i < disk->honest.n_requests; i++) {
        if (disk->honest.requests[i].data_addr == mapping->addr && !disk->told[i].let_go &&
            !lying_disk_has_answered(disk, i))
            fail_msg("a buffer goes back to its owner while the device may still use it");
    }
    return disk->fake.platform.ops->unmap(context, mapping);
}

static void liar_dma_free(void *context, struct vio_dma *dma)
{
    struct lying_disk *disk = liar_of_platform(context);

    lying_disk_restore(disk);
    if (lying_disk_is_in_use(disk))
        fail_msg("shared memory is freed while the device may still write to it");
    memset(disk->used, 0, sizeof(disk->used));
    disk->fake.platform.ops->dma_free(context, dma);
}

static uint64_t liar_now_us(void *context)
{
    struct lying_disk *disk = liar_of_platform(context);

    if (++disk->n_clock_reads > CLOCK_READS_MAX)
        fail_msg("the driver watches the clock, and does not wait");
    return disk->fake.platform.ops->now_us(context);
}

static void liar_on_wait(void *context)
{
    struct lying_disk *disk = context;

    lying_disk_restore(disk);
    disk->n_clock_reads = 0;
}

/* What is there if the feature is on offer, which most of it is only where a row says so. */
static void liar_set_config(struct fake_transport *transport)
{
    static const struct {
        uint32_t offset;
        unsigned width_bytes;
        uint32_t value;
    } fields[] = {
        {VIRTIO_BLK_CONFIG_SIZE_MAX, 4, LYING_DISK_SIZE_MAX},
        {VIRTIO_BLK_CONFIG_SEG_MAX, 4, LYING_DISK_SEG_MAX},
        {VIRTIO_BLK_CONFIG_BLK_SIZE, 4, VIRTIO_BLK_SECTOR_BYTES},
        {VIRTIO_BLK_CONFIG_OPT_IO_SIZE, 4, 8},
        {VIRTIO_BLK_CONFIG_WRITEBACK, 1, 1},
        {VIRTIO_BLK_CONFIG_NUM_QUEUES, 2, LYING_DISK_QUEUES},
        {VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS, 4, LYING_DISK_RANGE_MAX},
        {VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG, 4, 1},
        {VIRTIO_BLK_CONFIG_DISCARD_SECTOR_ALIGNMENT, 4, 8},
        {VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS, 4, LYING_DISK_RANGE_MAX},
        {VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SEG, 4, 1},
        {VIRTIO_BLK_CONFIG_WRITE_ZEROES_MAY_UNMAP, 1, 1},
        {VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SECTORS, 4, LYING_DISK_RANGE_MAX},
        {VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SEG, 4, 1},
        {VIRTIO_BLK_CONFIG_SECURE_ERASE_ALIGNMENT, 4, 8},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(fields); i++)
        fake_transport_set_config(transport, fields[i].offset, fields[i].width_bytes,
                                  fields[i].value);
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
    liar_set_config(transport);
    disk->honest.id = LYING_DISK_ID;
    transport->config_bytes = LYING_DISK_CONFIG_BYTES;
    memcpy(disk->true_config, transport->config, sizeof(disk->true_config));
    if (script->is_legacy)
        transport->offered &= UINT32_MAX;
    transport->transport.is_legacy = script->is_legacy;
    disk->true_features = transport->offered;

    memcpy(disk->lies.list, script->lies, sizeof(disk->lies.list));
    disk->transport = (struct vio_transport){
        .ops = &liar_transport_ops, .context = disk, .is_legacy = script->is_legacy};
    disk->platform_ops = *disk->fake.platform.ops;
    disk->platform_ops.unmap = liar_unmap;
    disk->platform_ops.dma_free = liar_dma_free;
    disk->platform_ops.now_us = liar_now_us;
    disk->platform = (struct vio_platform){.ops = &disk->platform_ops, .context = &disk->fake};
    fake_memory_before_access(lying_disk_before_access, disk);
}

void lying_disk_end(struct lying_disk *disk)
{
    lying_disk_restore(disk);
    assert_false(lying_disk_is_in_use(disk));
    if (disk->isolated) {
        fake_platform_assert_quarantined(&disk->fake, disk->n_kept);
    } else {
        assert_int_equal(disk->lies.status_written, 0);
        fake_platform_assert_no_leaks(&disk->fake);
    }
    fake_memory_before_access(NULL, NULL);
    fake_blk_device_free(&disk->honest);
}
