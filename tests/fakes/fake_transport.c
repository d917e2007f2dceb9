/* Contract and terms: tests/fakes/fake_transport.h. */

#include "tests/fakes/fake_transport.h"

#include "core/device_spec.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

static uint8_t fake_status_now(struct fake_transport *fake)
{
    uint8_t status = fake->status;

    switch (fake->lie) {
    case FAKE_GONE:
        return 0xFF;
    case FAKE_RESET_SLOW:
        if (fake->lie_count && --fake->lie_count == 0)
            fake->status = 0;
        return fake->status;
    case FAKE_NEEDS_RESET:
        return (uint8_t)(status | VIRTIO_STATUS_DEVICE_NEEDS_RESET);
    default:
        return status;
    }
}

static uint8_t fake_get_status(void *context)
{
    struct fake_transport *fake = context;
    uint8_t status = fake_status_now(fake);

    fake_log_add((struct fake_event){.kind = FAKE_STATUS_READ, .value = status});
    return status;
}

static void fake_reset(struct fake_transport *fake)
{
    if (fake->lie == FAKE_RESET_STUCK || fake->lie == FAKE_GONE)
        return;
    if (fake->lie == FAKE_NEEDS_RESET)
        fake->lie = FAKE_HONEST;
    fake->accepted = 0;
    for (unsigned i = 0; i < FAKE_QUEUES; i++) {
        struct fake_queue *queue = &fake->queues[i];
        queue->enabled = queue->resetting = queue->was_reset = false;
    }
    if (fake->on_reset)
        fake->on_reset(fake->context);
    if (fake->lie != FAKE_RESET_SLOW)
        fake->status = 0;
}

static void fake_set_status(void *context, uint8_t status)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_STATUS_WRITE, .value = status});
    if (fake->later_lie != FAKE_HONEST && status == fake->later_status) {
        fake->lie = fake->later_lie;
        fake->later_lie = FAKE_HONEST;
    }
    if (status == 0) {
        fake_reset(fake);
        return;
    }
    if (fake->status & ~status)
        fail_msg("status 0x%x was written over 0x%x: a bit was dropped", status, fake->status);
    if (fake->transport.is_legacy && (status & VIRTIO_STATUS_FEATURES_OK))
        fail_msg("FEATURES_OK was written to a legacy device");
    fake->status = status;
    if (fake->lie == FAKE_REFUSES_FEATURES)
        fake->status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
}

static uint64_t fake_get_device_features(void *context)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_FEATURES_READ, .value = fake->offered});
    return fake->lie == FAKE_GONE ? UINT64_MAX : fake->offered;
}

static void fake_set_driver_features(void *context, uint64_t features)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_FEATURES_WRITE, .value = features});
    if (features & ~fake->offered)
        fail_msg("features 0x%llx were accepted but not offered",
                 (unsigned long long)(features & ~fake->offered));
    if (!(fake->status & VIRTIO_STATUS_DRIVER) || (fake->status & VIRTIO_STATUS_FEATURES_OK))
        fail_msg("features were written at status 0x%x", fake->status);
    if (fake->transport.is_legacy && features > UINT32_MAX)
        fail_msg("features 0x%llx were accepted of a legacy device", (unsigned long long)features);
    fake->accepted = features;
}

static uint16_t fake_get_queue_size_max(void *context, uint16_t index)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_QUEUE_SIZE_READ, .at = index});
    return index < FAKE_QUEUES ? fake->queues[index].size_max : 0;
}

/* 2.7.2: in one piece, the used ring at a boundary of 4096. */
static void fake_check_legacy_addresses(const struct virtqueue_addresses *addresses, uint16_t size)
{
    dma_addr avail_end = addresses->driver_area + 4 + 2u * size + 2;

    assert_int_equal(addresses->descriptor_area % 4096, 0);
    assert_true(addresses->driver_area == addresses->descriptor_area + 16u * size);
    assert_true(addresses->device_area == (avail_end + 4095) / 4096 * 4096);
}

static void fake_check_addresses(const struct virtqueue_addresses *addresses)
{
    assert_int_equal(addresses->descriptor_area % 16, 0);
    assert_int_equal(addresses->driver_area % 2, 0);
    assert_int_equal(addresses->device_area % 4, 0);
}

static vio_status fake_take_vector(const struct fake_transport *fake, uint16_t vector)
{
    if (vector == VIO_NO_VECTOR)
        return VIO_OK;
    if (vector >= 64 || !(fake->vectors >> vector & 1))
        fail_msg("there is no vector %u", vector);
    return fake->vectors_refused >> vector & 1 ? VIO_ERR_NO_VECTOR : VIO_OK;
}

/* A legacy device has no more than the driver's word (3.1.2). */
static bool fake_has_settled_features(const struct fake_transport *fake)
{
    return fake->status &
           (fake->transport.is_legacy ? VIRTIO_STATUS_DRIVER : VIRTIO_STATUS_FEATURES_OK);
}

static vio_status fake_enable_queue(void *context, uint16_t index, uint16_t size,
                                    const struct virtqueue_addresses *addresses, uint16_t vector)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_QUEUE_ENABLE, .at = index, .value = size});
    if (fake->lie == FAKE_REFUSES_QUEUE)
        return VIO_ERR_DEVICE;
    assert_true(index < FAKE_QUEUES);
    struct fake_queue *queue = &fake->queues[index];
    if (size == 0 || (size & (size - 1)) || size > queue->size_max ||
        (fake->transport.is_legacy && size != queue->size_max))
        fail_msg("queue %u of at most %u was given size %u", index, queue->size_max, size);
    /* On a live device only a queue that was reset may be enabled (2.6.1.2). */
    if (!fake_has_settled_features(fake) ||
        ((fake->status & VIRTIO_STATUS_DRIVER_OK) && !queue->was_reset))
        fail_msg("a queue was enabled at status 0x%x", fake->status);
    if (queue->enabled || queue->resetting)
        fail_msg("queue %u was enabled while it was in use", index);
    fake_check_addresses(addresses);
    if (fake->transport.is_legacy)
        fake_check_legacy_addresses(addresses, size);
    if (fake_take_vector(fake, vector) != VIO_OK)
        return VIO_ERR_NO_VECTOR;
    queue->size = size;
    queue->vector = vector;
    queue->addresses = *addresses;
    queue->enabled = true;
    queue->was_reset = false;
    if (fake->on_enable)
        fake->on_enable(fake->context, index);
    return VIO_OK;
}

static void fake_reset_queue(void *context, uint16_t index)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_QUEUE_RESET, .at = index});
    if (!(fake->accepted & VIO_FEATURE(VIRTIO_F_RING_RESET)))
        fail_msg("a queue was reset without VIRTIO_F_RING_RESET");
    assert_true(index < FAKE_QUEUES && fake->queues[index].enabled);
    fake->queues[index].resetting = true;
}

static bool fake_is_queue_reset(void *context, uint16_t index)
{
    struct fake_transport *fake = context;
    struct fake_queue *queue = &fake->queues[index];

    fake_log_add((struct fake_event){.kind = FAKE_QUEUE_RESET_READ, .at = index});
    if (fake->lie == FAKE_QUEUE_RESET_STUCK || fake->lie == FAKE_GONE)
        return false;
    if (fake->lie == FAKE_QUEUE_RESET_SLOW && fake->lie_count && --fake->lie_count)
        return false;
    if (queue->resetting && fake->on_queue_reset)
        fake->on_queue_reset(fake->context, index);
    queue->was_reset = queue->was_reset || queue->resetting;
    queue->enabled = queue->resetting = false;
    return true;
}

static void fake_notify(void *context, uint16_t index, uint16_t avail_idx)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_NOTIFY, .at = index, .value = avail_idx});
    if (!(fake->status & VIRTIO_STATUS_DRIVER_OK))
        fail_msg("a notification at status 0x%x", fake->status);
    assert_true(index < FAKE_QUEUES && fake->queues[index].enabled);
    fake->notifications++;
    fake->notified_avail_idx = avail_idx;
    if (fake->on_notify && fake->lie != FAKE_GONE)
        fake->on_notify(fake->context, index);
}

static void fake_check_config_access(uint32_t offset, unsigned width_bytes)
{
    assert_true(width_bytes == 1 || width_bytes == 2 || width_bytes == 4);
    assert_int_equal(offset % width_bytes, 0);
}

static uint32_t fake_read_config(void *context, uint32_t offset, unsigned width_bytes)
{
    struct fake_transport *fake = context;
    uint32_t value = 0;

    fake_log_add(
        (struct fake_event){.kind = FAKE_CONFIG_READ, .width_bytes = width_bytes, .at = offset});
    fake_check_config_access(offset, width_bytes);
    if (fake->lie == FAKE_GONE || offset + width_bytes > fake->config_bytes)
        return UINT32_MAX >> (8 * (4 - width_bytes));
    if (fake->on_config_read)
        fake->on_config_read(fake->context, offset);
    memcpy(&value, &fake->config[offset], width_bytes);
    return value;
}

static void fake_write_config(void *context, uint32_t offset, unsigned width_bytes, uint32_t value)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){
        .kind = FAKE_CONFIG_WRITE, .width_bytes = width_bytes, .at = offset, .value = value});
    if (!fake_has_settled_features(fake))
        fail_msg("the configuration was written at status 0x%x", fake->status);
    fake_check_config_access(offset, width_bytes);
    assert_true(offset + width_bytes <= fake->config_bytes);
    memcpy(&fake->config[offset], &value, width_bytes);
}

static uint32_t fake_get_config_bytes(void *context)
{
    const struct fake_transport *fake = context;

    return fake->config_bytes;
}

static uint32_t fake_get_config_generation(void *context)
{
    struct fake_transport *fake = context;

    if (fake->lie == FAKE_GENERATION_MOVES && fake->lie_count) {
        fake->lie_count--;
        fake->generation++;
    }
    fake_log_add((struct fake_event){.kind = FAKE_GENERATION_READ, .value = fake->generation});
    return fake->lie == FAKE_GONE ? 0xFF : fake->generation;
}

static vio_status fake_route_config_interrupt(void *context, uint16_t vector)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_CONFIG_VECTOR, .at = vector});
    if (fake->lie == FAKE_REFUSES_CONFIG_VECTOR)
        return VIO_ERR_DEVICE;
    vio_status status = fake_take_vector(fake, vector);
    if (status == VIO_OK)
        fake->config_vector = vector;
    return status;
}

static uint8_t fake_read_interrupt_status(void *context)
{
    (void)context;
    fake_log_add((struct fake_event){.kind = FAKE_ISR_READ});
    return 0;
}

static void fake_isolate(void *context)
{
    struct fake_transport *fake = context;

    fake_log_add((struct fake_event){.kind = FAKE_ISOLATE});
    fake->isolations++;
}

static const struct vio_transport_ops fake_transport_ops = {
    .get_status = fake_get_status,
    .set_status = fake_set_status,
    .get_device_features = fake_get_device_features,
    .set_driver_features = fake_set_driver_features,
    .get_queue_size_max = fake_get_queue_size_max,
    .enable_queue = fake_enable_queue,
    .reset_queue = fake_reset_queue,
    .is_queue_reset = fake_is_queue_reset,
    .notify = fake_notify,
    .read_config = fake_read_config,
    .write_config = fake_write_config,
    .get_config_bytes = fake_get_config_bytes,
    .get_config_generation = fake_get_config_generation,
    .route_config_interrupt = fake_route_config_interrupt,
    .read_interrupt_status = fake_read_interrupt_status,
    .isolate = fake_isolate,
};

void fake_transport_init(struct fake_transport *fake)
{
    *fake = (struct fake_transport){
        .transport = {.ops = &fake_transport_ops, .context = fake},
        .offered = VIO_FEATURE(VIRTIO_F_VERSION_1),
        .queues = {{.size_max = 256}},
        .generation = 7,
    };
}

void fake_transport_lie_from(struct fake_transport *fake, enum fake_transport_lie lie,
                             uint8_t status)
{
    fake->later_lie = lie;
    fake->later_status = status;
}

void fake_transport_set_config(struct fake_transport *fake, uint32_t offset, unsigned width_bytes,
                               uint64_t value)
{
    assert_true(offset + width_bytes <= FAKE_CONFIG_BYTES);
    memcpy(&fake->config[offset], &value, width_bytes);
    if (fake->config_bytes < offset + width_bytes)
        fake->config_bytes = offset + width_bytes;
}
