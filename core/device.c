/* Contract and terms: core/device.h. */

#include "core/device.h"

/* More often than any honest device changes its configuration while it is read. */
#define DEVICE_CONFIG_ATTEMPTS 16

/* Between two looks at a status that has not become 0 yet. */
#define DEVICE_RESET_POLL_US 100

static vio_status device_fail(struct vio_device *device, vio_status status, const char *what,
                              uint64_t value)
{
    device->failure = (struct vio_failure){.what = what, .value = value, .value_is_valid = true};
    return status;
}

vio_status vio_device_open(struct vio_device *device, const struct vio_transport *transport,
                           const struct vio_platform *platform)
{
    if (!vio_transport_is_complete(transport) || !vio_platform_is_complete(platform))
        return VIO_ERR_INVALID;
    *device = (struct vio_device){.transport = transport, .platform = platform};
    return VIO_OK;
}

static uint8_t device_get_status(struct vio_device *device)
{
    return device->transport->ops->get_status(device->transport->context);
}

/* The two states in which there is no point in going on. */
static vio_status device_judge_status(struct vio_device *device, uint8_t status)
{
    if (status == VIRTIO_STATUS_ALL_ONES)
        return device_fail(device, VIO_ERR_GONE, "the device is gone, its status reads", status);
    if (status & VIRTIO_STATUS_DEVICE_NEEDS_RESET)
        return device_fail(device, VIO_ERR_NEEDS_RESET, "the device needs a reset, its status is",
                           status);
    return VIO_OK;
}

/* Bits are only ever added (2.1.1); the one way to drop them is a reset. */
static vio_status device_add_status(struct vio_device *device, uint8_t bit)
{
    uint8_t device_status = device_get_status(device);

    vio_status status = device_judge_status(device, device_status);
    if (status == VIO_OK)
        device->transport->ops->set_status(device->transport->context, device_status | bit);
    return status;
}

vio_status vio_device_reset(struct vio_device *device)
{
    const struct vio_platform *platform = device->platform;
    uint64_t start_us = platform->ops->now_us(platform->context);

    device->accepted = 0;
    device->transport->ops->set_status(device->transport->context, 0);
    for (;;) {
        /* The clock first: a caller that was held up here gets one more look, not a timeout. */
        uint64_t waited_us = platform->ops->now_us(platform->context) - start_us;
        uint8_t status = device_get_status(device);

        if (status == 0)
            return VIO_OK;
        if (status == VIRTIO_STATUS_ALL_ONES)
            return device_fail(device, VIO_ERR_GONE, "the device is gone, its status reads",
                               status);
        if (waited_us >= VIO_RESET_LIMIT_US)
            return device_fail(device, VIO_ERR_TIMEOUT,
                               "the device did not finish its reset, its status stays", status);
        platform->ops->wait(platform->context, DEVICE_RESET_POLL_US);
    }
}

vio_status vio_device_reset_queue(struct vio_device *device, uint16_t index)
{
    const struct vio_transport *transport = device->transport;
    const struct vio_platform *platform = device->platform;
    uint64_t start_us = platform->ops->now_us(platform->context);

    if (!vio_device_has(device, VIRTIO_F_RING_RESET))
        return VIO_ERR_UNSUPPORTED;
    transport->ops->reset_queue(transport->context, index);
    for (;;) {
        uint64_t waited_us = platform->ops->now_us(platform->context) - start_us;

        /* First: registers of a device that is gone can be read as any answer. */
        vio_status status = vio_device_check_alive(device);
        if (status != VIO_OK)
            return status;
        if (transport->ops->is_queue_reset(transport->context, index))
            return VIO_OK;
        if (waited_us >= VIO_RESET_LIMIT_US)
            return device_fail(device, VIO_ERR_TIMEOUT, "the device did not reset its queue",
                               index);
        platform->ops->wait(platform->context, DEVICE_RESET_POLL_US);
    }
}

vio_status vio_device_check_alive(struct vio_device *device)
{
    uint8_t status = device_get_status(device);

    /* Registers that nobody answers for can also read as 0; so does a device that others reset. */
    if (status == 0)
        return device_fail(device, VIO_ERR_GONE, "the device is gone, its status reads", status);
    return device_judge_status(device, status);
}

bool vio_device_has(const struct vio_device *device, unsigned feature_bit)
{
    return (device->accepted & VIO_FEATURE(feature_bit)) != 0;
}

bool vio_device_offers(const struct vio_device *device, unsigned feature_bit)
{
    return (device->offered & VIO_FEATURE(feature_bit)) != 0;
}

/* 2.2.1: bits above 31 depend on VERSION_1, for a device without it is driven as a legacy one. */
static uint64_t device_drop_unsupported_dependencies(uint64_t features)
{
    return features & VIO_FEATURE(VIRTIO_F_VERSION_1) ? features : (uint32_t)features;
}

/* Step 4: read what is offered, decide, and write back the subset that we implement. */
static vio_status device_negotiate(struct vio_device *device, const struct vio_bring_up_plan *plan,
                                   uint64_t *ret_features)
{
    const struct vio_transport *transport = device->transport;
    uint64_t supported = plan->supported_features;
    uint64_t required = plan->required_features;

    device->offered = transport->ops->get_device_features(transport->context);
    if (transport->is_legacy) {
        device->offered = (uint32_t)device->offered;
        supported |= VIO_FEATURE(VIRTIO_F_ANY_LAYOUT); /* 6.3: it promises more, and asks nothing */
        required &= ~VIO_FEATURE(VIRTIO_F_VERSION_1);
    }
    uint64_t features = device->offered & supported;
    if (plan->judge_config) {
        vio_status status = plan->judge_config(device, plan->context, &features);
        if (status != VIO_OK)
            return status;
    }
    features = device_drop_unsupported_dependencies(features & device->offered);
    uint64_t missing = required & ~features;
    if (missing)
        return device_fail(device, VIO_ERR_UNSUPPORTED,
                           "the device does not offer the required features", missing);
    transport->ops->set_driver_features(transport->context, features);
    *ret_features = features;
    return VIO_OK;
}

/* Step 6: the device may refuse the subset by not keeping the bit. */
static vio_status device_confirm_features(struct vio_device *device, uint64_t features)
{
    uint8_t status = device_get_status(device);

    if (status == VIRTIO_STATUS_ALL_ONES)
        return device_fail(device, VIO_ERR_GONE, "the device is gone, its status reads", status);
    if (!(status & VIRTIO_STATUS_FEATURES_OK))
        return device_fail(device, VIO_ERR_FEATURES_REFUSED,
                           "the device refused FEATURES_OK for the features", features);
    return VIO_OK;
}

/* Steps 5 and 6, which a legacy device knows nothing of: it has to do with what it was told (3.1.2). */
static vio_status device_settle_features(struct vio_device *device, uint64_t features)
{
    vio_status status = VIO_OK;

    if (!device->transport->is_legacy) {
        /* 5 */ status = device_add_status(device, VIRTIO_STATUS_FEATURES_OK);
        /* 6 */ status = status ? status : device_confirm_features(device, features);
    }
    if (status == VIO_OK)
        device->accepted = features;
    return status;
}

static vio_status device_route_config(struct vio_device *device, uint16_t vector)
{
    const struct vio_transport *transport = device->transport;

    vio_status status = transport->ops->route_config_interrupt(transport->context, vector);
    /* Without it a change is seen later, by looking. */
    if (status == VIO_ERR_NO_VECTOR)
        status = transport->ops->route_config_interrupt(transport->context, VIO_NO_VECTOR);
    return status;
}

vio_status vio_device_route_interrupts(struct vio_device *device, unsigned n_queues)
{
    const struct vio_interrupts *interrupts = &device->platform->interrupts;

    if (interrupts->n_vectors > n_queues)
        device->interrupt_use = VIO_OWN_VECTORS;
    else if (interrupts->n_vectors)
        device->interrupt_use = VIO_SHARED_VECTOR;
    else
        device->interrupt_use = interrupts->has_line ? VIO_LINE : VIO_POLLED;
    uint16_t vector = interrupts->n_vectors ? 0 : VIO_NO_VECTOR;
    vio_status status = device_route_config(device, vector);
    if (status != VIO_OK)
        return device_fail(device, status, "the device refused the configuration vector", vector);
    return VIO_OK;
}

static uint16_t device_queue_vector(const struct vio_device *device, uint16_t index)
{
    switch (device->interrupt_use) {
    case VIO_OWN_VECTORS:
        return (uint16_t)(1 + index);
    case VIO_SHARED_VECTOR:
        return 0;
    default:
        return VIO_NO_VECTOR;
    }
}

/* 4.1.5.1.2.2: a refused vector is tried again with fewer, and then without. */
static vio_status device_enable_queue(struct vio_device *device, const struct vio_queue_plan *plan,
                                      uint16_t size)
{
    const struct vio_transport *transport = device->transport;
    struct virtqueue_addresses addresses = virtqueue_addresses(plan->vq);

    for (;;) {
        uint16_t vector = device_queue_vector(device, plan->index);
        vio_status status =
            transport->ops->enable_queue(transport->context, plan->index, size, &addresses, vector);
        if (status != VIO_ERR_NO_VECTOR || vector == VIO_NO_VECTOR)
            return status;
        device->interrupt_use = vector == 0 ? VIO_POLLED : VIO_SHARED_VECTOR;
    }
}

vio_status vio_device_get_queue_size(struct vio_device *device, uint16_t index, uint16_t wanted,
                                     uint16_t *ret_size)
{
    const struct vio_transport *transport = device->transport;
    uint16_t size_max = transport->ops->get_queue_size_max(transport->context, index);
    uint16_t size = virtqueue_negotiate_size(transport->is_legacy ? size_max : wanted, size_max);

    if (size == 0)
        return device_fail(device, VIO_ERR_UNSUPPORTED, "the device has no queue", index);
    if (transport->is_legacy && size != size_max)
        return device_fail(device, VIO_ERR_DEVICE, "no ring can be made of its queue's size",
                           size_max);
    *ret_size = size;
    return VIO_OK;
}

dma_addr vio_device_dma_addr(const struct vio_device *device, const struct vio_dma *dma)
{
    bool is_translated = !device->platform->pointers_are_physical ||
                         vio_device_has(device, VIRTIO_F_ACCESS_PLATFORM);

    return is_translated ? dma->addr : (uintptr_t)dma->memory;
}

static struct vio_dma device_dma(const struct vio_device *device, const struct vio_dma *dma)
{
    struct vio_dma seen = *dma;

    seen.addr = vio_device_dma_addr(device, dma);
    return seen;
}

vio_status vio_device_set_up_queue(struct vio_device *device, const struct vio_queue_plan *plan)
{
    const struct vio_transport *transport = device->transport;
    uint16_t size;

    vio_status status = vio_device_get_queue_size(device, plan->index, plan->size_wanted, &size);
    if (status != VIO_OK)
        return status;
    if (size > plan->size_wanted)
        return device_fail(device, VIO_ERR_UNSUPPORTED,
                           "its queue is too large, and cannot be made smaller; its size is", size);

    struct vio_dma rings = device_dma(device, plan->rings);
    struct vio_dma indirect = plan->indirect ? device_dma(device, plan->indirect) : rings;
    const struct virtqueue_config config = {
        .transport = transport,
        .index = plan->index,
        .size = size,
        .features = device->accepted,
        .is_legacy = transport->is_legacy,
        .rings = &rings,
        .shadow = plan->shadow,
        .indirect = plan->indirect ? &indirect : NULL,
        .indirect_entries = plan->indirect_entries,
        .direct_max = (uint16_t)((uint32_t)plan->direct_max * size / plan->size_wanted),
    };
    status = virtqueue_init(plan->vq, &config);
    if (status != VIO_OK)
        return device_fail(device, status, "no ring can be made of the size", size);

    status = device_enable_queue(device, plan, size);
    if (status != VIO_OK)
        return device_fail(device, status, "the device refused the set-up of queue", plan->index);
    return VIO_OK;
}

/* Step 7. */
static vio_status device_set_up_queues(struct vio_device *device,
                                       const struct vio_bring_up_plan *plan)
{
    if (plan->set_up_queues)
        return plan->set_up_queues(device, plan->context);
    vio_status status = vio_device_route_interrupts(device, plan->n_queues);
    if (status != VIO_OK)
        return status;
    for (unsigned i = 0; i < plan->n_queues; i++) {
        status = vio_device_set_up_queue(device, &plan->queues[i]);
        if (status != VIO_OK)
            return status;
    }
    return VIO_OK;
}

/* The eight steps of 3.1.1, in order; stops at the first that fails. */
static vio_status device_run_steps(struct vio_device *device, const struct vio_bring_up_plan *plan)
{
    uint64_t features = 0;
    vio_status status;

    /* 1 */ status = vio_device_reset(device);
    /* 2 */ status = status ? status : device_add_status(device, VIRTIO_STATUS_ACKNOWLEDGE);
    /* 3 */ status = status ? status : device_add_status(device, VIRTIO_STATUS_DRIVER);
    /* 4 */ status = status ? status : device_negotiate(device, plan, &features);
    /* 5, 6 */ status = status ? status : device_settle_features(device, features);
    /* 7 */ status = status ? status : device_set_up_queues(device, plan);
    /* 8 */ status = status ? status : device_add_status(device, VIRTIO_STATUS_DRIVER_OK);
    return status;
}

vio_status vio_device_bring_up(struct vio_device *device, const struct vio_bring_up_plan *plan)
{
    device->failure = (struct vio_failure){0};
    vio_status status = device_run_steps(device, plan);
    if (status == VIO_OK)
        return VIO_OK;

    uint8_t device_status = device_get_status(device);
    /* Whatever looked wrong did so because nobody answers any more. */
    if (device_status == VIRTIO_STATUS_ALL_ONES)
        return device_fail(device, VIO_ERR_GONE, "the device is gone, its status reads",
                           device_status);

    /* 3.1.1: say so to the device. FAILED may stand beside NEEDS_RESET, so not by the helper. */
    device->transport->ops->set_status(device->transport->context,
                                       device_status | VIRTIO_STATUS_FAILED);
    if (!device->failure.what)
        device->failure.what = "the driver does not take this device";
    return status;
}

static uint64_t device_read_field(struct vio_device *device, const struct vio_config_field *field)
{
    const struct vio_transport *transport = device->transport;

    if (field->width_bytes < 8)
        return transport->ops->read_config(transport->context, field->offset, field->width_bytes);
    /* 4.1.3.1: a 64-bit field is two 32-bit accesses; the generation makes one value of them. */
    uint64_t low = transport->ops->read_config(transport->context, field->offset, 4);
    uint64_t high = transport->ops->read_config(transport->context, field->offset + 4, 4);
    return high << 32 | low;
}

static bool device_has_field(const struct vio_device *device, const struct vio_config_field *field)
{
    return field->feature_bit == VIO_CONFIG_ALWAYS || vio_device_offers(device, field->feature_bit);
}

static vio_status device_check_config_size(struct vio_device *device,
                                           const struct vio_config_field *fields, unsigned n_fields)
{
    const struct vio_transport *transport = device->transport;
    uint32_t bytes = transport->ops->get_config_bytes(transport->context);

    for (unsigned i = 0; i < n_fields; i++) {
        if (device_has_field(device, &fields[i]) &&
            (fields[i].offset > bytes || fields[i].width_bytes > bytes - fields[i].offset))
            return device_fail(device, VIO_ERR_DEVICE,
                               "the configuration space is too short, its bytes are", bytes);
    }
    return VIO_OK;
}

/* Whether what is there now is what was there before. */
static bool device_read_fields(struct vio_device *device, const struct vio_config_field *fields,
                               unsigned n_fields, void *ret_values)
{
    bool is_same = true;

    for (unsigned i = 0; i < n_fields; i++) {
        uint64_t *destination = (void *)((uint8_t *)ret_values + fields[i].destination);
        if (!device_has_field(device, &fields[i]))
            continue;
        uint64_t value = device_read_field(device, &fields[i]);
        is_same = is_same && *destination == value;
        *destination = value;
    }
    return is_same;
}

vio_status vio_device_read_config(struct vio_device *device, const struct vio_config_field *fields,
                                  unsigned n_fields, void *ret_values)
{
    const struct vio_transport *transport = device->transport;
    uint32_t generation = 0;

    vio_status status = device_check_config_size(device, fields, n_fields);
    if (status != VIO_OK)
        return status;
    for (unsigned attempt = 0; attempt < DEVICE_CONFIG_ATTEMPTS; attempt++) {
        generation = transport->ops->get_config_generation(transport->context);
        bool is_repeated = device_read_fields(device, fields, n_fields, ret_values) && attempt;
        if (transport->is_legacy
                ? is_repeated
                : generation == transport->ops->get_config_generation(transport->context)) {
            device->config_generation = generation;
            return VIO_OK;
        }
    }
    return device_fail(device, VIO_ERR_DEVICE,
                       "the configuration changes all the time, its generation is", generation);
}

bool vio_device_config_has_changed(const struct vio_device *device)
{
    const struct vio_transport *transport = device->transport;

    return transport->is_legacy ||
           transport->ops->get_config_generation(transport->context) != device->config_generation;
}
