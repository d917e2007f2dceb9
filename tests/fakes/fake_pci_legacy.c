/* Contract and terms: tests/fakes/fake_pci_legacy.h. */

#include "tests/fakes/fake_pci_legacy.h"

#include "core/transport.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

struct legacy_register {
    void *value;
    unsigned width_bytes; /* 0: there is none */
    bool writable;
};

static bool legacy_has_msix(const struct fake_pci_legacy *pci)
{
    return pci->config[FAKE_LEGACY_MSIX] == PCI_CAPABILITY_MSIX &&
           (pci->config[FAKE_LEGACY_MSIX + 3] & 0x80);
}

static struct legacy_register legacy_find_header(struct fake_pci_legacy *pci, uint64_t offset)
{
    static struct fake_legacy_queue no_queue;
    struct fake_legacy_queue *queue =
        pci->queue_select < FAKE_LEGACY_QUEUES ? &pci->queues[pci->queue_select] : &no_queue;

    no_queue = (struct fake_legacy_queue){0};
    switch (offset) {
    case 0:
        return (struct legacy_register){&pci->device_features, 4, false};
    case 4:
        return (struct legacy_register){&pci->driver_features, 4, true};
    case 8:
        return (struct legacy_register){&queue->page, 4, true};
    case 12:
        return (struct legacy_register){&queue->size, 2, false};
    case 14:
        return (struct legacy_register){&pci->queue_select, 2, true};
    case 16:
        return (struct legacy_register){&pci->queue_notify, 2, true};
    case 18:
        return (struct legacy_register){&pci->status, 1, true};
    case 19:
        return (struct legacy_register){&pci->isr, 1, false};
    case 20:
        return (struct legacy_register){&pci->config_vector, 2, true};
    case 22:
        return (struct legacy_register){&queue->vector, 2, true};
    default:
        return (struct legacy_register){0};
    }
}

/* The configuration takes accesses of any width. */
static struct legacy_register legacy_find(struct fake_pci_legacy *pci, uint64_t offset,
                                          unsigned width_bytes)
{
    uint64_t header_bytes = legacy_has_msix(pci) ? 24 : 20;

    if (offset < header_bytes)
        return legacy_find_header(pci, offset);
    offset -= header_bytes;
    if (offset + width_bytes > FAKE_LEGACY_CONFIG_BYTES)
        return (struct legacy_register){0};
    return (struct legacy_register){&pci->device_config[offset], width_bytes, true};
}

static struct legacy_register legacy_check(struct fake_pci_legacy *pci, uint64_t offset,
                                           unsigned width_bytes)
{
    struct legacy_register reg = legacy_find(pci, offset, width_bytes);

    if (reg.width_bytes != width_bytes)
        fail_msg("an access of %u bytes to offset %llu, a register of %u bytes", width_bytes,
                 (unsigned long long)offset, reg.width_bytes);
    return reg;
}

static uint32_t legacy_read(void *context, uint64_t offset, unsigned width_bytes)
{
    struct fake_pci_legacy *pci = context;
    uint32_t value = 0;

    assert_true(offset >= FAKE_LEGACY_BAR_BASE);
    offset -= FAKE_LEGACY_BAR_BASE;
    struct legacy_register reg = legacy_check(pci, offset, width_bytes);
    memcpy(&value, reg.value, width_bytes);
    if (offset == 19)
        pci->isr = 0;
    fake_log_add((struct fake_event){
        .kind = FAKE_REG_READ, .width_bytes = width_bytes, .at = offset, .value = value});
    return value;
}

static void legacy_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct fake_pci_legacy *pci = context;

    assert_true(offset >= FAKE_LEGACY_BAR_BASE);
    offset -= FAKE_LEGACY_BAR_BASE;
    fake_log_add((struct fake_event){
        .kind = FAKE_REG_WRITE, .width_bytes = width_bytes, .at = offset, .value = value});
    struct legacy_register reg = legacy_check(pci, offset, width_bytes);
    if (!reg.writable)
        fail_msg("a write to offset %llu, which is read-only", (unsigned long long)offset);
    if (offset == 8 && pci->queues[pci->queue_select % FAKE_LEGACY_QUEUES].page != 0)
        fail_msg("queue %u was given an address while it had one", pci->queue_select);
    bool is_vector = legacy_has_msix(pci) && (offset == 20 || offset == 22);
    if (is_vector && pci->refuses_vectors)
        value = VIO_NO_VECTOR;
    memcpy(reg.value, &value, width_bytes);
}

static uint32_t legacy_config_read(void *context, uint64_t offset, unsigned width_bytes)
{
    const struct fake_pci_legacy *pci = context;
    uint32_t value = 0;

    assert_true(offset + width_bytes <= PCI_CONFIG_BYTES);
    memcpy(&value, &pci->config[offset], width_bytes);
    fake_log_add((struct fake_event){
        .kind = FAKE_PCI_CONFIG_READ, .width_bytes = width_bytes, .at = offset, .value = value});
    return value;
}

static void legacy_config_write(void *context, uint64_t offset, unsigned width_bytes,
                                uint32_t value)
{
    struct fake_pci_legacy *pci = context;

    if (offset != PCI_COMMAND || width_bytes != 2)
        fail_msg("configuration space was written at 0x%llx", (unsigned long long)offset);
    memcpy(&pci->config[offset], &value, width_bytes);
    fake_log_add((struct fake_event){
        .kind = FAKE_PCI_CONFIG_WRITE, .width_bytes = width_bytes, .at = offset, .value = value});
}

static const struct vio_window_ops legacy_bar_ops = {.read = legacy_read, .write = legacy_write};
static const struct vio_window_ops legacy_config_ops = {
    .read = legacy_config_read,
    .write = legacy_config_write,
};

void fake_legacy_enable_msix(struct fake_pci_legacy *pci, bool enable)
{
    pci->config[FAKE_LEGACY_MSIX + 3] = enable ? 0x80 : 0;
}

void fake_legacy_init(struct fake_pci_legacy *pci)
{
    static const uint8_t head[] = {0xF4, 0x1A, 0x01, 0x10, 0x07, 0x04, 0x10, 0x00};

    *pci = (struct fake_pci_legacy){
        .function.config = {.ops = &legacy_config_ops, .context = pci, .bytes = PCI_CONFIG_BYTES},
        .queues = {{.size = 256, .vector = VIO_NO_VECTOR}, {.size = 256, .vector = VIO_NO_VECTOR}},
        .config_vector = VIO_NO_VECTOR,
    };
    pci->function.bars[0] = (struct vio_window){
        .ops = &legacy_bar_ops,
        .context = pci,
        .base = FAKE_LEGACY_BAR_BASE,
        .bytes = FAKE_LEGACY_BAR_BYTES,
    };
    memcpy(pci->config, head, sizeof(head));
    pci->config[PCI_BAR_0] = 0x01;
    pci->config[PCI_BAR_0 + 1] = 0xC0;
    pci->config[PCI_CAPABILITIES_POINTER] = FAKE_LEGACY_MSIX;
    pci->config[FAKE_LEGACY_MSIX] = PCI_CAPABILITY_MSIX;
}
