/* Contract and terms: transports/pci_modern.h. */

#include "transports/pci_modern.h"

static uint8_t pci_get_status(void *context)
{
    const struct pci_modern *pci = context;

    return reg_read8(&pci->common, VIRTIO_PCI_COMMON_DEVICE_STATUS);
}

static void pci_set_status(void *context, uint8_t status)
{
    const struct pci_modern *pci = context;

    reg_write8(&pci->common, VIRTIO_PCI_COMMON_DEVICE_STATUS, status);
}

/* A feature without its register cannot be used, whatever the device says. */
static uint64_t pci_features_without_registers(const struct pci_modern *pci)
{
    uint64_t features = 0;

    if (!vio_window_covers(&pci->common, VIRTIO_PCI_COMMON_QUEUE_NOTIF_CONFIG_DATA, 2))
        features |= VIO_FEATURE(VIRTIO_F_NOTIF_CONFIG_DATA);
    if (!vio_window_covers(&pci->common, VIRTIO_PCI_COMMON_QUEUE_RESET, 2))
        features |= VIO_FEATURE(VIRTIO_F_RING_RESET);
    return features;
}

static uint64_t pci_get_device_features(void *context)
{
    const struct pci_modern *pci = context;

    reg_write32(&pci->common, VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 0);
    uint64_t low = reg_read32(&pci->common, VIRTIO_PCI_COMMON_DEVICE_FEATURE);
    reg_write32(&pci->common, VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 1);
    uint64_t high = reg_read32(&pci->common, VIRTIO_PCI_COMMON_DEVICE_FEATURE);
    return (high << 32 | low) & ~pci_features_without_registers(pci);
}

static void pci_set_driver_features(void *context, uint64_t features)
{
    struct pci_modern *pci = context;

    pci->features = features;
    reg_write32(&pci->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 0);
    reg_write32(&pci->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE, (uint32_t)features);
    reg_write32(&pci->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 1);
    reg_write32(&pci->common, VIRTIO_PCI_COMMON_DRIVER_FEATURE, (uint32_t)(features >> 32));
}

static uint16_t pci_get_queue_size_max(void *context, uint16_t index)
{
    const struct pci_modern *pci = context;

    if (index >= reg_read16(&pci->common, VIRTIO_PCI_COMMON_NUM_QUEUES))
        return 0;
    reg_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SELECT, index);
    return reg_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SIZE);
}

/* 4.1.3.1: a 64-bit field is written as two halves. */
static void pci_write_address(const struct pci_modern *pci, uint64_t offset, dma_addr addr)
{
    reg_write32(&pci->common, offset, (uint32_t)addr);
    reg_write32(&pci->common, offset + 4, (uint32_t)(addr >> 32));
}

static bool pci_has(const struct pci_modern *pci, unsigned feature_bit)
{
    return (pci->features & VIO_FEATURE(feature_bit)) != 0;
}

/* 4.1.4.4, 4.1.5.2: worked out once, so that a notification is a single write. */
static vio_status pci_prepare_notification(struct pci_modern *pci, uint16_t index)
{
    uint64_t queue_notify_off = reg_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF);
    uint64_t offset = queue_notify_off * pci->notify_off_multiplier;
    unsigned width_bytes = pci_has(pci, VIRTIO_F_NOTIFICATION_DATA) ? VIRTIO_PCI_NOTIFY_DATA_WIDTH
                                                                    : VIRTIO_PCI_NOTIFY_WIDTH;
    uint16_t value = index;

    if (!vio_window_covers(&pci->notify, offset, width_bytes))
        return VIO_ERR_DEVICE;
    if (pci_has(pci, VIRTIO_F_NOTIF_CONFIG_DATA))
        value = reg_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_NOTIF_CONFIG_DATA);
    pci->notifications[index] = (struct pci_notification){.offset = offset, .value = value};
    return VIO_OK;
}

/* 4.1.5.1.2.2: the device says by NO_VECTOR that it has no resources for this one. */
static vio_status pci_write_vector(const struct pci_modern *pci, uint64_t offset, uint16_t vector)
{
    reg_write16(&pci->common, offset, vector);
    if (vector == VIO_NO_VECTOR)
        return VIO_OK;
    return reg_read16(&pci->common, offset) == vector ? VIO_OK : VIO_ERR_NO_VECTOR;
}

static vio_status pci_enable_queue(void *context, uint16_t index, uint16_t size,
                                   const struct virtqueue_addresses *addresses, uint16_t vector)
{
    struct pci_modern *pci = context;

    if (index >= PCI_MODERN_QUEUES_MAX)
        return VIO_ERR_UNSUPPORTED;
    reg_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SELECT, index);
    if (reg_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE) != 0)
        return VIO_ERR_UNSUPPORTED;
    vio_status status = pci_prepare_notification(pci, index);
    if (status != VIO_OK)
        return status;

    reg_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SIZE, size);
    if (reg_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SIZE) != size)
        return VIO_ERR_DEVICE;
    status = pci_write_vector(pci, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, vector);
    if (status != VIO_OK)
        return status;
    pci_write_address(pci, VIRTIO_PCI_COMMON_QUEUE_DESC, addresses->descriptor_area);
    pci_write_address(pci, VIRTIO_PCI_COMMON_QUEUE_DRIVER, addresses->driver_area);
    pci_write_address(pci, VIRTIO_PCI_COMMON_QUEUE_DEVICE, addresses->device_area);
    reg_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_ENABLE, 1);
    return VIO_OK;
}

static void pci_reset_queue(void *context, uint16_t index)
{
    const struct pci_modern *pci = context;

    reg_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SELECT, index);
    reg_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_RESET, 1);
}

/* 4.1.4.3.2: only a queue_reset that reads 0 again says that it is done. */
static bool pci_is_queue_reset(void *context, uint16_t index)
{
    const struct pci_modern *pci = context;

    reg_write16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_SELECT, index);
    return reg_read16(&pci->common, VIRTIO_PCI_COMMON_QUEUE_RESET) == 0;
}

static void pci_notify(void *context, uint16_t index, uint16_t avail_idx)
{
    const struct pci_modern *pci = context;
    const struct pci_notification *notification = &pci->notifications[index];

    /* 2.9: of a split queue, next_off and next_wrap are the two parts of the same 16-bit idx. */
    if (pci_has(pci, VIRTIO_F_NOTIFICATION_DATA))
        reg_write32(&pci->notify, notification->offset,
                    (uint32_t)avail_idx << 16 | notification->value);
    else
        reg_write16(&pci->notify, notification->offset, notification->value);
}

static uint32_t pci_read_config(void *context, uint32_t offset, unsigned width_bytes)
{
    const struct pci_modern *pci = context;

    return vio_window_read(&pci->device, offset, width_bytes);
}

static void pci_write_config(void *context, uint32_t offset, unsigned width_bytes, uint32_t value)
{
    const struct pci_modern *pci = context;

    vio_window_write(&pci->device, offset, width_bytes, value);
}

static uint32_t pci_get_config_bytes(void *context)
{
    const struct pci_modern *pci = context;

    return pci->device.bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)pci->device.bytes;
}

static uint32_t pci_get_config_generation(void *context)
{
    const struct pci_modern *pci = context;

    return reg_read8(&pci->common, VIRTIO_PCI_COMMON_CONFIG_GENERATION);
}

static vio_status pci_route_config_interrupt(void *context, uint16_t vector)
{
    const struct pci_modern *pci = context;

    return pci_write_vector(pci, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, vector);
}

static uint8_t pci_read_interrupt_status(void *context)
{
    const struct pci_modern *pci = context;

    return reg_read8(&pci->isr, 0);
}

static void pci_isolate(void *context)
{
    const struct pci_modern *pci = context;

    pci_function_isolate(&pci->config_space);
}

static const struct vio_transport_ops pci_modern_ops = {
    .get_status = pci_get_status,
    .set_status = pci_set_status,
    .get_device_features = pci_get_device_features,
    .set_driver_features = pci_set_driver_features,
    .get_queue_size_max = pci_get_queue_size_max,
    .enable_queue = pci_enable_queue,
    .reset_queue = pci_reset_queue,
    .is_queue_reset = pci_is_queue_reset,
    .notify = pci_notify,
    .read_config = pci_read_config,
    .write_config = pci_write_config,
    .get_config_bytes = pci_get_config_bytes,
    .get_config_generation = pci_get_config_generation,
    .route_config_interrupt = pci_route_config_interrupt,
    .read_interrupt_status = pci_read_interrupt_status,
    .isolate = pci_isolate,
};

static vio_status pci_fail(struct vio_failure *failure, vio_status status, const char *what)
{
    *failure = (struct vio_failure){.what = what};
    return status;
}

static vio_status pci_fail_for_bar(struct vio_failure *failure, uint8_t bar, uint64_t bar_bytes)
{
    *failure =
        (struct vio_failure){.what = bar_bytes ? "a capability claims more than there is of its BAR"
                                               : PCI_TEXT_NO_ADDRESS,
                             .value = bar,
                             .value_is_valid = true};
    return VIO_ERR_DEVICE;
}

static vio_status pci_find_structures(const struct pci_function *function,
                                      struct pci_caps *ret_caps, struct vio_failure *ret_failure)
{
    uint8_t config[PCI_CONFIG_BYTES];
    uint64_t bar_bytes[PCI_BAR_COUNT];
    uint8_t lacking_bar;

    /* Read once: what is checked is what is used. */
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i += 4) {
        uint32_t value = reg_read32(&function->config, i);
        for (unsigned byte = 0; byte < 4; byte++)
            config[i + byte] = (uint8_t)(value >> (8 * byte));
    }
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        bar_bytes[i] = function->bars[i].bytes;

    if (config[PCI_VENDOR_ID] == 0xFF && config[PCI_VENDOR_ID + 1] == 0xFF)
        return pci_fail(ret_failure, VIO_ERR_GONE, "the PCI function does not answer");
    vio_status status = pci_caps_parse(config, bar_bytes, ret_caps, &lacking_bar);
    if (status == VIO_ERR_UNSUPPORTED)
        return pci_fail(ret_failure, status, "it has no virtio capabilities");
    if (status != VIO_OK && lacking_bar < PCI_BAR_COUNT)
        return pci_fail_for_bar(ret_failure, lacking_bar, bar_bytes[lacking_bar]);
    if (status != VIO_OK)
        return pci_fail(ret_failure, status,
                        "its PCI capabilities name no usable common, notify and ISR structure");
    return VIO_OK;
}

/*
 * 4.1.4.9: the capability is aimed at a place, and pci_cfg_data is then what is there. Each access is
 * aligned, and in a structure, because the window has seen to that; nobody else uses the capability.
 */
#define PCI_CFG_BAR_SHIFT 32u

static uint64_t pci_cfg_aim(const struct pci_modern *pci, uint64_t place, unsigned width_bytes)
{
    uint64_t cap = pci->cfg_access;

    reg_write8(&pci->config_space, cap + VIRTIO_PCI_CAP_BAR, (uint8_t)(place >> PCI_CFG_BAR_SHIFT));
    reg_write32(&pci->config_space, cap + VIRTIO_PCI_CAP_OFFSET, (uint32_t)place);
    reg_write32(&pci->config_space, cap + VIRTIO_PCI_CAP_LENGTH, width_bytes);
    return cap + VIRTIO_PCI_CFG_DATA;
}

static uint32_t pci_cfg_read(void *context, uint64_t place, unsigned width_bytes)
{
    const struct pci_modern *pci = context;

    return vio_window_read(&pci->config_space, pci_cfg_aim(pci, place, width_bytes), width_bytes);
}

static void pci_cfg_write(void *context, uint64_t place, unsigned width_bytes, uint32_t value)
{
    const struct pci_modern *pci = context;

    vio_window_write(&pci->config_space, pci_cfg_aim(pci, place, width_bytes), width_bytes, value);
}

static const struct vio_window_ops pci_cfg_ops = {.read = pci_cfg_read, .write = pci_cfg_write};

static struct vio_window pci_structure_window(struct pci_modern *pci,
                                              const struct pci_function *function,
                                              const struct pci_structure *structure,
                                              uint64_t bytes_needed)
{
    struct vio_window window = function->bars[structure->bar];

    if (structure->by_cfg_data)
        window = (struct vio_window){.ops = &pci_cfg_ops,
                                     .context = pci,
                                     .base = (uint64_t)structure->bar << PCI_CFG_BAR_SHIFT};
    window.base += structure->offset;
    window.bytes = structure->bytes < bytes_needed ? structure->bytes : bytes_needed;
    return window;
}

vio_status pci_modern_open(struct pci_modern *pci, const struct pci_function *function,
                           struct vio_transport *ret_transport, struct vio_failure *ret_failure)
{
    struct pci_caps caps;

    vio_status status = pci_find_structures(function, &caps, ret_failure);
    if (status != VIO_OK)
        return status;
    *pci = (struct pci_modern){
        .config_space = function->config,
        .common = pci_structure_window(pci, function, &caps.common, VIRTIO_PCI_COMMON_BYTES_KNOWN),
        .notify = pci_structure_window(pci, function, &caps.notify, UINT64_MAX),
        .isr = pci_structure_window(pci, function, &caps.isr, VIRTIO_PCI_ISR_BYTES),
        .device = pci_structure_window(pci, function, &caps.device, UINT64_MAX),
        .cfg_access = caps.cfg_access,
        .notify_off_multiplier = caps.notify_off_multiplier,
    };
    *ret_transport = (struct vio_transport){
        .ops = &pci_modern_ops, .context = pci, .isr_is_indirect = caps.isr.by_cfg_data};
    return VIO_OK;
}
