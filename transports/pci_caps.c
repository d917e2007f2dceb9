/* Contract and terms: transports/pci_caps.h. */

#include "transports/pci_caps.h"

#include <stddef.h>

#include "core/device_spec.h"

/* What is made of a list while it is read. */
struct caps_reader {
    const uint8_t *config;
    const uint64_t *bar_bytes;
    bool by_cfg_data; /* looking once more, for what is in BARs that are out of reach */
    struct pci_caps caps;
    uint8_t
        lacking_bar; /* the first that has not got what a capability says; PCI_BAR_COUNT: none */
};

static uint16_t caps_read16(const uint8_t *config, unsigned at)
{
    return (uint16_t)(config[at] | config[at + 1] << 8);
}

static uint32_t caps_read32(const uint8_t *config, unsigned at)
{
    return caps_read16(config, at) | (uint32_t)caps_read16(config, at + 2) << 16;
}

uint16_t pci_caps_virtio_id(uint16_t vendor, uint16_t device)
{
    if (vendor != VIRTIO_PCI_VENDOR)
        return 0;
    if (device > VIRTIO_PCI_MODERN_BASE && device <= VIRTIO_PCI_MODERN_LAST)
        return (uint16_t)(device - VIRTIO_PCI_MODERN_BASE);
    switch (device) {
    case VIRTIO_PCI_TRANSITIONAL_BLK:
        return VIRTIO_ID_BLOCK;
    case VIRTIO_PCI_TRANSITIONAL_CON:
        return VIRTIO_ID_CONSOLE;
    case VIRTIO_PCI_TRANSITIONAL_RNG:
        return VIRTIO_ID_ENTROPY;
    default:
        return 0;
    }
}

/* Which structure a capability describes, and what it must be like to be of use. */
static struct pci_structure *caps_slot(struct pci_caps *caps, uint8_t cfg_type,
                                       uint64_t *ret_min_bytes, uint32_t *ret_alignment)
{
    *ret_alignment = 4;
    switch (cfg_type) {
    case VIRTIO_PCI_CAP_COMMON_CFG:
        *ret_min_bytes = VIRTIO_PCI_COMMON_BYTES;
        return &caps->common;
    case VIRTIO_PCI_CAP_NOTIFY_CFG:
        *ret_min_bytes = VIRTIO_PCI_NOTIFY_WIDTH;
        *ret_alignment = VIRTIO_PCI_NOTIFY_WIDTH;
        return &caps->notify;
    case VIRTIO_PCI_CAP_ISR_CFG:
        *ret_min_bytes = VIRTIO_PCI_ISR_BYTES;
        *ret_alignment = 1;
        return &caps->isr;
    case VIRTIO_PCI_CAP_DEVICE_CFG:
        *ret_min_bytes = 1;
        return &caps->device;
    default:
        return NULL;
    }
}

/* All that a BAR of unknown length may have: cap.offset has 32 bits (4.1.4.9). */
#define CAPS_FAR_BYTES (UINT64_C(1) << 32)

/* The capability at @p at has its first VIRTIO_PCI_CAP_BYTES inside the configuration space. */
static void caps_take(struct caps_reader *reader, unsigned at)
{
    const uint8_t *config = reader->config;
    uint8_t cfg_type = config[at + VIRTIO_PCI_CAP_CFG_TYPE];
    uint8_t cap_len = config[at + VIRTIO_PCI_CAP_LEN];
    uint8_t bar = config[at + VIRTIO_PCI_CAP_BAR];
    uint64_t offset = caps_read32(config, at + VIRTIO_PCI_CAP_OFFSET);
    uint64_t bytes = caps_read32(config, at + VIRTIO_PCI_CAP_LENGTH);
    bool is_notify = cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG;
    bool is_cfg = cfg_type == VIRTIO_PCI_CAP_PCI_CFG;
    unsigned cap_len_min = is_notify || is_cfg ? VIRTIO_PCI_NOTIFY_BYTES : VIRTIO_PCI_CAP_BYTES;
    uint64_t bytes_min;
    uint32_t alignment;

    if (cap_len < cap_len_min || at + cap_len_min > PCI_CONFIG_BYTES)
        return;
    if (is_cfg && !reader->caps.cfg_access)
        reader->caps.cfg_access = (uint8_t)at;
    struct pci_structure *slot = caps_slot(&reader->caps, cfg_type, &bytes_min, &alignment);
    if (!slot || slot->bytes || bar >= PCI_BAR_COUNT)
        return;
    if (bytes < bytes_min || offset % alignment)
        return;
    bool is_far = reader->by_cfg_data && reader->bar_bytes[bar] == 0;
    if (offset + bytes > (is_far ? CAPS_FAR_BYTES : reader->bar_bytes[bar])) {
        if (reader->lacking_bar == PCI_BAR_COUNT)
            reader->lacking_bar = bar;
        return;
    }
    *slot =
        (struct pci_structure){.offset = offset, .bytes = bytes, .bar = bar, .by_cfg_data = is_far};
    if (is_notify)
        reader->caps.notify_off_multiplier = caps_read32(config, at + VIRTIO_PCI_CAP_MULTIPLIER);
}

static vio_status caps_walk(struct caps_reader *reader)
{
    const uint8_t *config = reader->config;
    /* The two low bits of each link are reserved. */
    unsigned at = config[PCI_CAPABILITIES_POINTER] & 0xFCu;

    reader->caps.n_virtio_caps = 0;
    for (unsigned n = 0; at >= PCI_FIRST_CAPABILITY; n++) {
        if (n == PCI_CAPABILITIES_MAX)
            return VIO_ERR_DEVICE;
        bool fits = at + VIRTIO_PCI_CAP_BYTES <= PCI_CONFIG_BYTES;
        if (config[at + VIRTIO_PCI_CAP_ID] == PCI_CAPABILITY_VENDOR && fits) {
            reader->caps.n_virtio_caps++;
            caps_take(reader, at);
        }
        at = config[at + VIRTIO_PCI_CAP_NEXT] & 0xFCu;
    }
    return VIO_OK;
}

vio_status pci_caps_parse(const uint8_t config[PCI_CONFIG_BYTES],
                          const uint64_t bar_bytes[PCI_BAR_COUNT], struct pci_caps *ret_caps,
                          uint8_t *ret_bar)
{
    struct caps_reader reader = {
        .config = config, .bar_bytes = bar_bytes, .lacking_bar = PCI_BAR_COUNT};
    const struct pci_caps *caps = &reader.caps;

    if (!(caps_read16(config, PCI_STATUS) & PCI_STATUS_CAPABILITY_LIST))
        return VIO_ERR_UNSUPPORTED;
    vio_status status = caps_walk(&reader);
    if (status == VIO_OK && caps->cfg_access) {
        reader.by_cfg_data = true;
        status = caps_walk(&reader);
    }
    if (status == VIO_OK && caps->n_virtio_caps == 0)
        return VIO_ERR_UNSUPPORTED;
    if (!caps->common.bytes || !caps->notify.bytes || !caps->isr.bytes)
        status = VIO_ERR_DEVICE;
    if (status == VIO_OK)
        *ret_caps = *caps;
    else
        *ret_bar = reader.lacking_bar;
    return status;
}
