/* Contract and terms: tests/fakes/fake_pci_caps.h. */

#include "tests/fakes/fake_pci_caps.h"

#include "tests/fakes/testing.h"

void fake_caps_poke(uint8_t config[PCI_CONFIG_BYTES], unsigned at, uint8_t value)
{
    if (at < PCI_CONFIG_BYTES)
        config[at] = value;
}

void fake_caps_poke32(uint8_t config[PCI_CONFIG_BYTES], unsigned at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        fake_caps_poke(config, at + i, (uint8_t)(value >> (8 * i)));
}

void fake_caps_write(uint8_t config[PCI_CONFIG_BYTES], const struct fake_cap *cap)
{
    unsigned at = cap->at;

    fake_caps_poke(config, at + VIRTIO_PCI_CAP_ID, cap->id ? cap->id : PCI_CAPABILITY_VENDOR);
    fake_caps_poke(config, at + VIRTIO_PCI_CAP_NEXT, cap->next);
    fake_caps_poke(config, at + VIRTIO_PCI_CAP_LEN, cap->cap_len);
    fake_caps_poke(config, at + VIRTIO_PCI_CAP_CFG_TYPE, cap->cfg_type);
    fake_caps_poke32(config, at + VIRTIO_PCI_CAP_BAR, cap->bar);
    fake_caps_poke32(config, at + VIRTIO_PCI_CAP_OFFSET, cap->offset);
    fake_caps_poke32(config, at + VIRTIO_PCI_CAP_LENGTH, cap->length);
    if (cap->cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG)
        fake_caps_poke32(config, at + VIRTIO_PCI_CAP_MULTIPLIER, cap->multiplier);
}

static const struct fake_cap fake_usual_caps[] = {
    {.at = FAKE_CAP_COMMON,
     .next = FAKE_CAP_NOTIFY,
     .cap_len = VIRTIO_PCI_CAP_BYTES,
     .cfg_type = VIRTIO_PCI_CAP_COMMON_CFG,
     .bar = FAKE_PCI_BAR,
     .offset = FAKE_PCI_COMMON_OFFSET,
     .length = VIRTIO_PCI_COMMON_BYTES},
    {.at = FAKE_CAP_NOTIFY,
     .next = FAKE_CAP_ISR,
     .cap_len = VIRTIO_PCI_NOTIFY_BYTES,
     .cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
     .bar = FAKE_PCI_BAR,
     .offset = FAKE_PCI_NOTIFY_OFFSET,
     .length = FAKE_PCI_NOTIFY_BYTES,
     .multiplier = 4},
    {.at = FAKE_CAP_ISR,
     .next = FAKE_CAP_DEVICE,
     .cap_len = VIRTIO_PCI_CAP_BYTES,
     .cfg_type = VIRTIO_PCI_CAP_ISR_CFG,
     .bar = FAKE_PCI_BAR,
     .offset = FAKE_PCI_ISR_OFFSET,
     .length = VIRTIO_PCI_ISR_BYTES},
    {.at = FAKE_CAP_DEVICE,
     .next = 0,
     .cap_len = VIRTIO_PCI_CAP_BYTES,
     .cfg_type = VIRTIO_PCI_CAP_DEVICE_CFG,
     .bar = FAKE_PCI_BAR,
     .offset = FAKE_PCI_DEVICE_OFFSET,
     .length = FAKE_PCI_DEVICE_BYTES},
};

void fake_caps_init(uint8_t config[PCI_CONFIG_BYTES])
{
    memset(config, 0, PCI_CONFIG_BYTES);
    config[PCI_VENDOR_ID] = VIRTIO_PCI_VENDOR & 0xFF;
    config[PCI_VENDOR_ID + 1] = VIRTIO_PCI_VENDOR >> 8;
    config[PCI_DEVICE_ID] = 0x42;
    config[PCI_DEVICE_ID + 1] = 0x10;
    config[PCI_COMMAND] = 0x06;     /* memory space, bus master */
    config[PCI_COMMAND + 1] = 0x04; /* interrupt pin disabled */
    config[PCI_STATUS] = PCI_STATUS_CAPABILITY_LIST;
    config[PCI_CAPABILITIES_POINTER] = FAKE_CAP_COMMON;
    for (unsigned i = 0; i < ARRAY_LENGTH(fake_usual_caps); i++)
        fake_caps_write(config, &fake_usual_caps[i]);
}
