/** @file
 * Writes capability lists into a PCI configuration space, good ones and bad ones.
 * Spec:   virtio 1.4, 4.1.4 Virtio Structure PCI Capabilities.
 * Knows:  transports/pci_spec.h.
 */
#ifndef TESTS_FAKES_FAKE_PCI_CAPS_H
#define TESTS_FAKES_FAKE_PCI_CAPS_H

#include "transports/pci_spec.h"

#include <stdint.h>

/** One capability, as it stands in configuration space. */
struct fake_cap {
    uint8_t at; /**< 0 ends a list of capabilities */
    uint8_t id; /**< 0 stands for PCI_CAPABILITY_VENDOR */
    uint8_t next;
    uint8_t cap_len;
    uint8_t cfg_type;
    uint8_t bar;
    uint32_t offset;
    uint32_t length;
    uint32_t multiplier; /**< of a notify capability */
};

/* The valid list that fake_caps_init() writes: where each capability is. */
#define FAKE_CAP_COMMON 0x40u
#define FAKE_CAP_NOTIFY 0x50u
#define FAKE_CAP_ISR    0x64u
#define FAKE_CAP_DEVICE 0x74u
#define FAKE_CAP_FREE   0x84u /**< first byte behind them */

/* Where each structure lies in BAR 4. */
#define FAKE_PCI_BAR           4u
#define FAKE_PCI_BAR_BYTES     0x4000u
#define FAKE_PCI_COMMON_OFFSET 0x0000u
#define FAKE_PCI_ISR_OFFSET    0x1000u
#define FAKE_PCI_DEVICE_OFFSET 0x2000u
#define FAKE_PCI_NOTIFY_OFFSET 0x3000u
#define FAKE_PCI_NOTIFY_BYTES  0x1000u
#define FAKE_PCI_DEVICE_BYTES  0x60u

/** A modern block device with the usual four capabilities, multiplier 4. */
void fake_caps_init(uint8_t config[PCI_CONFIG_BYTES]);

/** Write one capability where it says that it is, whatever was there. */
void fake_caps_write(uint8_t config[PCI_CONFIG_BYTES], const struct fake_cap *cap);

/** Overwrite one byte of the list. */
void fake_caps_poke(uint8_t config[PCI_CONFIG_BYTES], unsigned at, uint8_t value);

/** Overwrite a le32 of the list. */
void fake_caps_poke32(uint8_t config[PCI_CONFIG_BYTES], unsigned at, uint32_t value);

#endif
