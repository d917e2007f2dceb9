/* Contract and terms: transports/pci_legacy.h. */

#include "transports/pci_legacy.h"

static uint8_t legacy_get_status(void *context)
{
    const struct pci_legacy *pci = context;

    return reg_read8(&pci->registers, VIRTIO_PCI_LEGACY_STATUS);
}

static void legacy_set_status(void *context, uint8_t status)
{
    const struct pci_legacy *pci = context;

    reg_write8(&pci->registers, VIRTIO_PCI_LEGACY_STATUS, status);
}

static uint64_t legacy_get_device_features(void *context)
{
    const struct pci_legacy *pci = context;

    return reg_read32(&pci->registers, VIRTIO_PCI_LEGACY_DEVICE_FEATURES);
}

static void legacy_set_driver_features(void *context, uint64_t features)
{
    const struct pci_legacy *pci = context;

    reg_write32(&pci->registers, VIRTIO_PCI_LEGACY_DRIVER_FEATURES, (uint32_t)features);
}

static uint16_t legacy_get_queue_size(void *context, uint16_t index)
{
    const struct pci_legacy *pci = context;

    reg_write16(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_SELECT, index);
    return reg_read16(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_SIZE);
}

static bool legacy_has_vectors(const struct pci_legacy *pci)
{
    return pci->msix &&
           (reg_read16(&pci->config_space, pci->msix + PCI_MSIX_CONTROL) & PCI_MSIX_ENABLE);
}

/* 4.1.5.1.2.2: the device says by NO_VECTOR that it has no resources for this one. */
static vio_status legacy_write_vector(const struct pci_legacy *pci, uint64_t offset,
                                      uint16_t vector)
{
    if (!legacy_has_vectors(pci))
        return vector == VIO_NO_VECTOR ? VIO_OK : VIO_ERR_NO_VECTOR;
    reg_write16(&pci->registers, offset, vector);
    if (vector == VIO_NO_VECTOR)
        return VIO_OK;
    return reg_read16(&pci->registers, offset) == vector ? VIO_OK : VIO_ERR_NO_VECTOR;
}

/* A queue begins to exist when it gets an address, so that comes last. */
static vio_status legacy_enable_queue(void *context, uint16_t index, uint16_t size,
                                      const struct virtqueue_addresses *addresses, uint16_t vector)
{
    const struct pci_legacy *pci = context;
    uint64_t page = addresses->descriptor_area / VIRTIO_PCI_LEGACY_PAGE_BYTES;

    if (legacy_get_queue_size(context, index) != size)
        return VIO_ERR_DEVICE;
    /* A queue that is in use; a page that the register has no room for, or no queue at all. */
    if (reg_read32(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_ADDRESS) != 0 || page > UINT32_MAX ||
        page == 0)
        return VIO_ERR_UNSUPPORTED;
    vio_status status = legacy_write_vector(pci, VIRTIO_PCI_LEGACY_QUEUE_VECTOR, vector);
    if (status == VIO_OK)
        reg_write32(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_ADDRESS, (uint32_t)page);
    return status;
}

/* VIRTIO_F_RING_RESET is not among the 32 features that there are. */
static void legacy_reset_queue(void *context, uint16_t index)
{
    (void)context;
    (void)index;
}

static bool legacy_is_queue_reset(void *context, uint16_t index)
{
    (void)context;
    (void)index;
    return false;
}

static void legacy_notify(void *context, uint16_t index, uint16_t avail_idx)
{
    const struct pci_legacy *pci = context;

    (void)avail_idx; /* nor is VIRTIO_F_NOTIFICATION_DATA */
    reg_write16(&pci->registers, VIRTIO_PCI_LEGACY_QUEUE_NOTIFY, index);
}

static uint32_t legacy_config_offset(const struct pci_legacy *pci)
{
    return legacy_has_vectors(pci) ? VIRTIO_PCI_LEGACY_CONFIG_WITH_MSIX : VIRTIO_PCI_LEGACY_CONFIG;
}

static uint32_t legacy_read_config(void *context, uint32_t offset, unsigned width_bytes)
{
    const struct pci_legacy *pci = context;

    return vio_window_read(&pci->registers, (uint64_t)legacy_config_offset(pci) + offset,
                           width_bytes);
}

static void legacy_write_config(void *context, uint32_t offset, unsigned width_bytes,
                                uint32_t value)
{
    const struct pci_legacy *pci = context;

    vio_window_write(&pci->registers, (uint64_t)legacy_config_offset(pci) + offset, width_bytes,
                     value);
}

/* pci_legacy_open() has seen that the BAR is no shorter than that; I/O space is shorter than 4 GiB. */
static uint32_t legacy_get_config_bytes(void *context)
{
    const struct pci_legacy *pci = context;

    return (uint32_t)pci->registers.bytes - legacy_config_offset(pci);
}

static uint32_t legacy_get_config_generation(void *context)
{
    (void)context;
    return 0;
}

static vio_status legacy_route_config_interrupt(void *context, uint16_t vector)
{
    return legacy_write_vector(context, VIRTIO_PCI_LEGACY_CONFIG_VECTOR, vector);
}

static uint8_t legacy_read_interrupt_status(void *context)
{
    const struct pci_legacy *pci = context;

    return reg_read8(&pci->registers, VIRTIO_PCI_LEGACY_ISR);
}

static void legacy_isolate(void *context)
{
    const struct pci_legacy *pci = context;

    pci_function_isolate(&pci->config_space);
}

static const struct vio_transport_ops pci_legacy_ops = {
    .get_status = legacy_get_status,
    .set_status = legacy_set_status,
    .get_device_features = legacy_get_device_features,
    .set_driver_features = legacy_set_driver_features,
    .get_queue_size_max = legacy_get_queue_size,
    .enable_queue = legacy_enable_queue,
    .reset_queue = legacy_reset_queue,
    .is_queue_reset = legacy_is_queue_reset,
    .notify = legacy_notify,
    .read_config = legacy_read_config,
    .write_config = legacy_write_config,
    .get_config_bytes = legacy_get_config_bytes,
    .get_config_generation = legacy_get_config_generation,
    .route_config_interrupt = legacy_route_config_interrupt,
    .read_interrupt_status = legacy_read_interrupt_status,
    .isolate = legacy_isolate,
};

static vio_status legacy_check_bar(const struct pci_legacy *pci, struct vio_failure *ret_failure)
{
    uint32_t bar = reg_read32(&pci->config_space, PCI_BAR_0);
    uint32_t bytes_min = pci->msix ? VIRTIO_PCI_LEGACY_CONFIG_WITH_MSIX : VIRTIO_PCI_LEGACY_CONFIG;
    struct vio_failure failure = {.what = PCI_TEXT_NO_ADDRESS, .value_is_valid = true};
    vio_status status = VIO_ERR_UNSUPPORTED;

    if (!(bar & PCI_BAR_IS_IO)) {
        failure = (struct vio_failure){
            .what = "a legacy device has its registers in an I/O BAR 0, this one's BAR 0 is",
            .value = bar,
            .value_is_valid = true};
    } else if (pci->registers.bytes && pci->registers.bytes < bytes_min) {
        failure = (struct vio_failure){.what = "its BAR 0 is too short for a legacy device, bytes:",
                                       .value = pci->registers.bytes,
                                       .value_is_valid = true};
        status = VIO_ERR_DEVICE;
    } else if (pci->registers.bytes) {
        return VIO_OK;
    }
    *ret_failure = failure;
    return status;
}

vio_status pci_legacy_open(struct pci_legacy *pci, const struct pci_function *function,
                           struct vio_transport *ret_transport, struct vio_failure *ret_failure)
{
    *pci = (struct pci_legacy){
        .config_space = function->config,
        .registers = function->bars[0],
        .msix = pci_function_find_capability(&function->config, PCI_CAPABILITY_MSIX),
    };
    vio_status status = legacy_check_bar(pci, ret_failure);
    if (status == VIO_OK)
        *ret_transport =
            (struct vio_transport){.ops = &pci_legacy_ops, .context = pci, .is_legacy = true};
    return status;
}
