/** @file
 * Transport for virtio-pci devices that follow virtio 1.0 or later, and for transitional devices
 * through their modern interface.
 * Spec:      virtio 1.4, 4.1 Virtio Over PCI Bus; 4.1.3.1 Driver Requirements: PCI Device Layout;
 *            4.1.4.3.2 Driver Requirements: Common configuration structure layout; 4.1.4.9.2 Driver
 *            Requirements: PCI configuration access capability; 4.1.5.2 Available Buffer
 *            Notifications; 2.6.1 Virtqueue Reset.
 * Knows:     transports/pci_caps.h, transports/pci_function.h, core/transport.h.
 * Ownership: the windows given to pci_modern_open() are copied; what they refer to must outlive the
 *            transport. Nothing is allocated, so there is nothing to close.
 * Reach:     structures in a BAR without a window are accessed through configuration space, where
 *            the device has a capability for that. It is slow, and takes several accesses for one.
 * Trust:     all accesses are bounded by the windows; a notification address outside the notify
 *            structure makes the queue's set-up fail.
 */
#ifndef TRANSPORTS_PCI_MODERN_H
#define TRANSPORTS_PCI_MODERN_H

#include <stdint.h>

#include "core/device.h"
#include "core/platform.h"
#include "core/transport.h"
#include "transports/pci_caps.h"
#include "transports/pci_function.h"

/** Queues per device that can be driven. */
#define PCI_MODERN_QUEUES_MAX 64u

/** Private: how a queue's notification is written. */
struct pci_notification {
    uint64_t offset; /**< in the notify window */
    uint16_t value;  /**< the queue's number, or what the device asks for in its place */
};

/** All fields are private to pci_modern.c. */
struct pci_modern {
    struct vio_window config_space;
    struct vio_window common;
    struct vio_window notify;
    struct vio_window isr;
    struct vio_window device;
    uint8_t cfg_access; /**< offset of that capability; only for windows that go through it */
    uint32_t notify_off_multiplier;
    uint64_t features;                                            /**< as written last */
    struct pci_notification notifications[PCI_MODERN_QUEUES_MAX]; /**< by queue */
};

/**
 * Find the structures; writes no register.
 *
 * @param pci            any content; must outlive ret_transport
 * @param function       copied
 * @param ret_transport  for vio_device_open()
 * @param ret_failure    what is wrong with the device, written on failure only
 * @return VIO_OK; VIO_ERR_UNSUPPORTED for a legacy device; VIO_ERR_DEVICE for broken capabilities;
 *         VIO_ERR_GONE when the configuration space reads as all ones
 */
VIO_MUST_CHECK vio_status pci_modern_open(struct pci_modern *pci,
                                          const struct pci_function *function,
                                          struct vio_transport *ret_transport,
                                          struct vio_failure *ret_failure);

#endif
