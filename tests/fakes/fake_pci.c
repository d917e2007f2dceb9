/* Contract and terms: tests/fakes/fake_pci.h. */

#include "tests/fakes/fake_pci.h"

#include "core/transport.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

/* One register, or half of a 64-bit one. */
struct fake_register {
    void *value;
    unsigned width_bytes; /* 0: there is none */
    bool writable;
};

#define FAKE_REGISTER(member, bytes, may_write)                                                    \
    (struct fake_register)                                                                         \
    {                                                                                              \
        .value = (member), .width_bytes = (bytes), .writable = (may_write)                         \
    }

static struct fake_register fake_queue_register(struct fake_pci_queue *queue, uint64_t offset)
{
    switch (offset) {
    case VIRTIO_PCI_COMMON_QUEUE_SIZE:
        return FAKE_REGISTER(&queue->size, 2, true);
    case VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR:
        return FAKE_REGISTER(&queue->vector, 2, true);
    case VIRTIO_PCI_COMMON_QUEUE_ENABLE:
        return FAKE_REGISTER(&queue->enable, 2, true);
    case VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF:
        return FAKE_REGISTER(&queue->notify_off, 2, false);
    case VIRTIO_PCI_COMMON_QUEUE_DESC:
    case VIRTIO_PCI_COMMON_QUEUE_DESC + 4:
        return FAKE_REGISTER((uint8_t *)&queue->descriptor_area + offset % 8, 4, true);
    case VIRTIO_PCI_COMMON_QUEUE_DRIVER:
    case VIRTIO_PCI_COMMON_QUEUE_DRIVER + 4:
        return FAKE_REGISTER((uint8_t *)&queue->driver_area + offset % 8, 4, true);
    case VIRTIO_PCI_COMMON_QUEUE_DEVICE:
    case VIRTIO_PCI_COMMON_QUEUE_DEVICE + 4:
        return FAKE_REGISTER((uint8_t *)&queue->device_area + offset % 8, 4, true);
    case VIRTIO_PCI_COMMON_QUEUE_NOTIF_CONFIG_DATA:
        return FAKE_REGISTER(&queue->notif_config_data, 2, false);
    case VIRTIO_PCI_COMMON_QUEUE_RESET:
        return FAKE_REGISTER(&queue->reset, 2, true);
    default:
        return (struct fake_register){0};
    }
}

static struct fake_register fake_common_register(struct fake_pci *pci, uint64_t offset)
{
    static struct fake_pci_queue no_queue;

    switch (offset) {
    case VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT:
        return FAKE_REGISTER(&pci->device_feature_select, 4, true);
    case VIRTIO_PCI_COMMON_DEVICE_FEATURE:
        return FAKE_REGISTER(&pci->device_features[pci->device_feature_select & 1], 4, false);
    case VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT:
        return FAKE_REGISTER(&pci->driver_feature_select, 4, true);
    case VIRTIO_PCI_COMMON_DRIVER_FEATURE:
        return FAKE_REGISTER(&pci->driver_features[pci->driver_feature_select & 1], 4, true);
    case VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR:
        return FAKE_REGISTER(&pci->config_vector, 2, true);
    case VIRTIO_PCI_COMMON_NUM_QUEUES:
        return FAKE_REGISTER(&pci->num_queues, 2, false);
    case VIRTIO_PCI_COMMON_DEVICE_STATUS:
        return FAKE_REGISTER(&pci->status, 1, true);
    case VIRTIO_PCI_COMMON_CONFIG_GENERATION:
        return FAKE_REGISTER(&pci->generation, 1, false);
    case VIRTIO_PCI_COMMON_QUEUE_SELECT:
        return FAKE_REGISTER(&pci->queue_select, 2, true);
    default:
        no_queue = (struct fake_pci_queue){0};
        return fake_queue_register(
            pci->queue_select < FAKE_PCI_QUEUES ? &pci->queues[pci->queue_select] : &no_queue,
            offset);
    }
}

/* The device configuration takes any aligned access: which fields it has is the driver's matter. */
static struct fake_register fake_find_register(struct fake_pci *pci, uint64_t offset,
                                               unsigned width_bytes)
{
    static uint32_t notification;
    bool with_data = pci->driver_features[1] & 1u << (VIRTIO_F_NOTIFICATION_DATA - 32);

    if (offset >= FAKE_PCI_NOTIFY_OFFSET && offset < FAKE_PCI_NOTIFY_OFFSET + FAKE_PCI_NOTIFY_BYTES)
        return FAKE_REGISTER(&notification, with_data ? 4 : 2, true);
    if (offset >= FAKE_PCI_DEVICE_OFFSET && offset < FAKE_PCI_DEVICE_OFFSET + FAKE_PCI_DEVICE_BYTES)
        return FAKE_REGISTER(&pci->device_config[offset - FAKE_PCI_DEVICE_OFFSET], width_bytes,
                             true);
    if (offset == FAKE_PCI_ISR_OFFSET)
        return FAKE_REGISTER(&pci->isr, 1, false);
    if (offset < VIRTIO_PCI_COMMON_BYTES_KNOWN)
        return fake_common_register(pci, offset);
    return (struct fake_register){0};
}

static struct fake_register fake_check_access(struct fake_pci *pci, uint64_t offset,
                                              unsigned width_bytes)
{
    struct fake_register reg = fake_find_register(pci, offset, width_bytes);

    if (reg.width_bytes == 0)
        fail_msg("an access to offset 0x%llx, where no register is", (unsigned long long)offset);
    if (reg.width_bytes != width_bytes || offset % width_bytes)
        fail_msg("an access of %u bytes to offset 0x%llx, a register of %u bytes", width_bytes,
                 (unsigned long long)offset, reg.width_bytes);
    return reg;
}

static uint32_t fake_bar_read(void *context, uint64_t offset, unsigned width_bytes)
{
    struct fake_pci *pci = context;
    uint32_t value = 0;

    assert_true(offset >= FAKE_PCI_BAR_BASE);
    offset -= FAKE_PCI_BAR_BASE;
    struct fake_register reg = fake_check_access(pci, offset, width_bytes);
    if (offset >= FAKE_PCI_NOTIFY_OFFSET)
        fail_msg("the notification structure was read");
    memcpy(&value, reg.value, width_bytes);
    if (offset == FAKE_PCI_ISR_OFFSET)
        pci->isr = 0;
    fake_log_add((struct fake_event){
        .kind = FAKE_REG_READ, .width_bytes = width_bytes, .at = offset, .value = value});
    return value;
}

static void fake_bar_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct fake_pci *pci = context;

    assert_true(offset >= FAKE_PCI_BAR_BASE);
    offset -= FAKE_PCI_BAR_BASE;
    fake_log_add((struct fake_event){
        .kind = FAKE_REG_WRITE, .width_bytes = width_bytes, .at = offset, .value = value});
    struct fake_register reg = fake_check_access(pci, offset, width_bytes);
    if (!reg.writable)
        fail_msg("a write to offset 0x%llx, which is read-only", (unsigned long long)offset);
    bool is_vector = offset == VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR ||
                     offset == VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR;
    if (is_vector && pci->refuses_vectors)
        value = VIO_NO_VECTOR;
    if (is_vector && pci->lacks_vectors)
        value = 0;
    if (offset == VIRTIO_PCI_COMMON_QUEUE_SIZE && pci->refuses_size)
        return;
    memcpy(reg.value, &value, width_bytes);
}

static uint32_t fake_config_read(void *context, uint64_t offset, unsigned width_bytes)
{
    const struct fake_pci *pci = context;
    uint32_t value = 0;

    assert_true(offset + width_bytes <= PCI_CONFIG_BYTES);
    memcpy(&value, &pci->config[offset], width_bytes);
    fake_log_add((struct fake_event){
        .kind = FAKE_PCI_CONFIG_READ, .width_bytes = width_bytes, .at = offset, .value = value});
    return value;
}

static void fake_config_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct fake_pci *pci = context;

    if (offset != PCI_COMMAND || width_bytes != 2)
        fail_msg("configuration space was written at 0x%llx", (unsigned long long)offset);
    memcpy(&pci->config[offset], &value, width_bytes);
    fake_log_add((struct fake_event){
        .kind = FAKE_PCI_CONFIG_WRITE, .width_bytes = width_bytes, .at = offset, .value = value});
}

static const struct vio_window_ops fake_bar_ops = {.read = fake_bar_read, .write = fake_bar_write};
static const struct vio_window_ops fake_config_ops = {
    .read = fake_config_read,
    .write = fake_config_write,
};

void fake_pci_init(struct fake_pci *pci)
{
    *pci = (struct fake_pci){
        .device_features = {0, 1},
        .num_queues = 2,
        .config_vector = VIO_NO_VECTOR,
        .function.config = {.ops = &fake_config_ops, .context = pci, .bytes = PCI_CONFIG_BYTES},
    };
    pci->function.bars[FAKE_PCI_BAR] = (struct vio_window){
        .ops = &fake_bar_ops,
        .context = pci,
        .base = FAKE_PCI_BAR_BASE,
        .bytes = FAKE_PCI_BAR_BYTES,
    };
    for (unsigned i = 0; i < FAKE_PCI_QUEUES; i++)
        pci->queues[i] = (struct fake_pci_queue){
            .size = 256, .vector = VIO_NO_VECTOR, .notify_off = (uint16_t)i};
    fake_caps_init(pci->config);
}
