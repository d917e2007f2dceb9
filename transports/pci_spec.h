/** @file
 * virtio over PCI as the specification lays it out.
 * Spec:  virtio 1.4, 4.1.2 PCI Device Discovery; 4.1.4 Virtio Structure PCI Capabilities; 4.1.4.3
 *        Common configuration structure layout; 4.1.4.9 PCI configuration access capability;
 *        4.1.4.10 Legacy Interfaces: A Note on PCI Device Layout. PCI Local Bus 3.0, 6
 *        Configuration Space; 6.8.2 MSI-X Capability and Table Structures.
 */
#ifndef TRANSPORTS_PCI_SPEC_H
#define TRANSPORTS_PCI_SPEC_H

/* PCI configuration space header */
#define PCI_CONFIG_BYTES              256u
#define PCI_VENDOR_ID                 0x00u
#define PCI_DEVICE_ID                 0x02u
#define PCI_COMMAND                   0x04u
#define PCI_COMMAND_BUS_MASTER        0x0004u
#define PCI_COMMAND_INTERRUPT_DISABLE 0x0400u
#define PCI_STATUS                    0x06u
#define PCI_STATUS_CAPABILITY_LIST    0x0010u
#define PCI_BAR_0                     0x10u
#define PCI_BAR_IS_IO                 0x1u
#define PCI_BAR_TYPE_MASK             0x6u
#define PCI_BAR_TYPE_64               0x4u
#define PCI_BAR_ADDRESS_MASK          0xFFFFFFF0u
#define PCI_BAR_IO_ADDRESS_MASK       0xFFFFFFFCu
#define PCI_CAPABILITIES_POINTER      0x34u
#define PCI_INTERRUPT_LINE            0x3Cu
#define PCI_INTERRUPT_PIN             0x3Du
#define PCI_FIRST_CAPABILITY          0x40u
#define PCI_CAPABILITY_VENDOR         0x09u
#define PCI_BAR_COUNT                 6u
/** As many as fit behind the header, each being 4 bytes at least: a longer list is a loop. */
#define PCI_CAPABILITIES_MAX ((PCI_CONFIG_BYTES - PCI_FIRST_CAPABILITY) / 4)

/* PCI Local Bus 3.0, 6.8.2: the capability, relative to its beginning */
#define PCI_CAPABILITY_MSIX     0x11u
#define PCI_MSIX_CONTROL        2u
#define PCI_MSIX_TABLE          4u
#define PCI_MSIX_BYTES          12u
#define PCI_MSIX_SIZE_MASK      0x07FFu /* entries, less one */
#define PCI_MSIX_FUNCTION_MASK  0x4000u
#define PCI_MSIX_ENABLE         0x8000u
#define PCI_MSIX_TABLE_BIR_MASK 0x7u
/* the table, relative to an entry */
#define PCI_MSIX_ENTRY_ADDRESS   0u
#define PCI_MSIX_ENTRY_DATA      8u
#define PCI_MSIX_ENTRY_CONTROL   12u
#define PCI_MSIX_ENTRY_BYTES     16u
#define PCI_MSIX_ENTRY_IS_MASKED 0x1u

/* 4.1.2 */
#define VIRTIO_PCI_VENDOR           0x1AF4u
#define VIRTIO_PCI_MODERN_BASE      0x1040u
#define VIRTIO_PCI_MODERN_LAST      0x107Fu
#define VIRTIO_PCI_TRANSITIONAL_BLK 0x1001u
#define VIRTIO_PCI_TRANSITIONAL_CON 0x1003u
#define VIRTIO_PCI_TRANSITIONAL_RNG 0x1005u

/* 4.1.4 struct virtio_pci_cap: offsets of its fields */
#define VIRTIO_PCI_CAP_ID         0u
#define VIRTIO_PCI_CAP_NEXT       1u
#define VIRTIO_PCI_CAP_LEN        2u
#define VIRTIO_PCI_CAP_CFG_TYPE   3u
#define VIRTIO_PCI_CAP_BAR        4u
#define VIRTIO_PCI_CAP_OFFSET     8u
#define VIRTIO_PCI_CAP_LENGTH     12u
#define VIRTIO_PCI_CAP_BYTES      16u
#define VIRTIO_PCI_CAP_MULTIPLIER 16u /* of a notify capability */
#define VIRTIO_PCI_NOTIFY_BYTES   20u
#define VIRTIO_PCI_CFG_DATA       16u /* of a PCI configuration access capability */
#define VIRTIO_PCI_CFG_BYTES      20u

/* 4.1.4 cfg_type */
#define VIRTIO_PCI_CAP_COMMON_CFG 1u
#define VIRTIO_PCI_CAP_NOTIFY_CFG 2u
#define VIRTIO_PCI_CAP_ISR_CFG    3u
#define VIRTIO_PCI_CAP_DEVICE_CFG 4u
#define VIRTIO_PCI_CAP_PCI_CFG    5u

/* 4.1.4.3 struct virtio_pci_common_cfg: offsets of its fields */
#define VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT 0u
#define VIRTIO_PCI_COMMON_DEVICE_FEATURE        4u
#define VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT 8u
#define VIRTIO_PCI_COMMON_DRIVER_FEATURE        12u
#define VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR    16u
#define VIRTIO_PCI_COMMON_NUM_QUEUES            18u
#define VIRTIO_PCI_COMMON_DEVICE_STATUS         20u
#define VIRTIO_PCI_COMMON_CONFIG_GENERATION     21u
#define VIRTIO_PCI_COMMON_QUEUE_SELECT          22u
#define VIRTIO_PCI_COMMON_QUEUE_SIZE            24u
#define VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR     26u
#define VIRTIO_PCI_COMMON_QUEUE_ENABLE          28u
#define VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF      30u
#define VIRTIO_PCI_COMMON_QUEUE_DESC            32u
#define VIRTIO_PCI_COMMON_QUEUE_DRIVER          40u
#define VIRTIO_PCI_COMMON_QUEUE_DEVICE          48u
/** What every device has; the fields behind it come with features. */
#define VIRTIO_PCI_COMMON_BYTES                   56u
#define VIRTIO_PCI_COMMON_QUEUE_NOTIF_CONFIG_DATA 56u
#define VIRTIO_PCI_COMMON_QUEUE_RESET             58u
#define VIRTIO_PCI_COMMON_BYTES_KNOWN             60u

#define VIRTIO_PCI_ISR_BYTES    1u
#define VIRTIO_PCI_NOTIFY_WIDTH 2u
/** With VIRTIO_F_NOTIFICATION_DATA */
#define VIRTIO_PCI_NOTIFY_DATA_WIDTH 4u

/* 4.1.4.10: offsets in BAR 0 of what a legacy device has there */
#define VIRTIO_PCI_LEGACY_DEVICE_FEATURES 0u
#define VIRTIO_PCI_LEGACY_DRIVER_FEATURES 4u
#define VIRTIO_PCI_LEGACY_QUEUE_ADDRESS   8u
#define VIRTIO_PCI_LEGACY_QUEUE_SIZE      12u
#define VIRTIO_PCI_LEGACY_QUEUE_SELECT    14u
#define VIRTIO_PCI_LEGACY_QUEUE_NOTIFY    16u
#define VIRTIO_PCI_LEGACY_STATUS          18u
#define VIRTIO_PCI_LEGACY_ISR             19u
/** While MSI-X is enabled; else the device's configuration stands here already. */
#define VIRTIO_PCI_LEGACY_CONFIG_VECTOR    20u
#define VIRTIO_PCI_LEGACY_QUEUE_VECTOR     22u
#define VIRTIO_PCI_LEGACY_CONFIG           20u
#define VIRTIO_PCI_LEGACY_CONFIG_WITH_MSIX 24u
/** 4.1.5.1.3.1: the unit of a queue's address */
#define VIRTIO_PCI_LEGACY_PAGE_BYTES 4096u

#endif
