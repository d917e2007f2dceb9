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

static uint32_t fake_poked32(const struct fake_pci *pci, unsigned at)
{
    uint32_t value;

    memcpy(&value, &pci->config[at], sizeof(value));
    return value;
}

static bool fake_is_covered(const struct fake_pci *pci, uint32_t offset, unsigned width_bytes)
{
    static const unsigned caps[] = {FAKE_CAP_COMMON, FAKE_CAP_NOTIFY, FAKE_CAP_ISR,
                                    FAKE_CAP_DEVICE};

    for (unsigned i = 0; i < ARRAY_LENGTH(caps); i++) {
        uint32_t start = fake_poked32(pci, caps[i] + VIRTIO_PCI_CAP_OFFSET);
        uint32_t bytes = fake_poked32(pci, caps[i] + VIRTIO_PCI_CAP_LENGTH);
        if (offset >= start && offset - start + width_bytes <= bytes)
            return true;
    }
    return false;
}

/* 4.1.4.9.2: what the capability is aimed at, as an offset for the BAR's window. */
static uint64_t fake_cfg_target(const struct fake_pci *pci, unsigned width_bytes)
{
    uint32_t offset = fake_poked32(pci, FAKE_CAP_FREE + VIRTIO_PCI_CAP_OFFSET);

    assert_int_equal(pci->config[FAKE_CAP_FREE + VIRTIO_PCI_CAP_BAR], FAKE_PCI_BAR);
    assert_int_equal(fake_poked32(pci, FAKE_CAP_FREE + VIRTIO_PCI_CAP_LENGTH), width_bytes);
    assert_int_equal(offset % width_bytes, 0);
    if (!fake_is_covered(pci, offset, width_bytes))
        fail_msg("pci_cfg_data is used for offset 0x%x, which is in no structure", offset);
    return FAKE_PCI_BAR_BASE + offset;
}

static bool fake_has_cfg_access(const struct fake_pci *pci)
{
    return pci->config[PCI_CAPABILITIES_POINTER] == FAKE_CAP_FREE &&
           pci->config[FAKE_CAP_FREE + VIRTIO_PCI_CAP_CFG_TYPE] == VIRTIO_PCI_CAP_PCI_CFG;
}

static bool fake_is_cfg_data(const struct fake_pci *pci, uint64_t offset)
{
    return fake_has_cfg_access(pci) && offset >= FAKE_CAP_FREE + VIRTIO_PCI_CFG_DATA &&
           offset < FAKE_CAP_FREE + VIRTIO_PCI_CFG_BYTES;
}

/* With the widths of the fields (4.1.3.1). */
static bool fake_is_cfg_aim(const struct fake_pci *pci, uint64_t offset, unsigned width_bytes)
{
    return fake_has_cfg_access(pci) &&
           ((offset == FAKE_CAP_FREE + VIRTIO_PCI_CAP_BAR && width_bytes == 1) ||
            (offset == FAKE_CAP_FREE + VIRTIO_PCI_CAP_OFFSET && width_bytes == 4) ||
            (offset == FAKE_CAP_FREE + VIRTIO_PCI_CAP_LENGTH && width_bytes == 4));
}

static uint32_t fake_config_read(void *context, uint64_t offset, unsigned width_bytes)
{
    struct fake_pci *pci = context;
    uint32_t value = 0;

    assert_true(offset + width_bytes <= PCI_CONFIG_BYTES);
    if (pci->is_opened && fake_is_cfg_data(pci, offset)) {
        assert_int_equal(offset, FAKE_CAP_FREE + VIRTIO_PCI_CFG_DATA);
        return fake_bar_read(pci, fake_cfg_target(pci, width_bytes), width_bytes);
    }
    memcpy(&value, &pci->config[offset], width_bytes);
    fake_log_add((struct fake_event){
        .kind = FAKE_PCI_CONFIG_READ, .width_bytes = width_bytes, .at = offset, .value = value});
    return value;
}

static void fake_config_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct fake_pci *pci = context;

    if (fake_is_cfg_data(pci, offset)) {
        assert_int_equal(offset, FAKE_CAP_FREE + VIRTIO_PCI_CFG_DATA);
        fake_bar_write(pci, fake_cfg_target(pci, width_bytes), width_bytes, value);
        return;
    }
    bool is_command = offset == PCI_COMMAND && width_bytes == 2;
    if (!is_command && !fake_is_cfg_aim(pci, offset, width_bytes))
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

void fake_pci_add_cfg_access(struct fake_pci *pci)
{
    static const struct fake_cap cap = {.at = FAKE_CAP_FREE,
                                        .next = FAKE_CAP_COMMON,
                                        .cap_len = VIRTIO_PCI_CFG_BYTES,
                                        .cfg_type = VIRTIO_PCI_CAP_PCI_CFG};

    fake_caps_write(pci->config, &cap);
    pci->config[PCI_CAPABILITIES_POINTER] = FAKE_CAP_FREE;
}

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
