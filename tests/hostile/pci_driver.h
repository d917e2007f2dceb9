/** @file
 * The little that the hostile PCI functions know of the transport that they are put under. To put
 * another one under them, write this structure for it, and have pci_driver_under_test() return it.
 */
#ifndef TESTS_HOSTILE_PCI_DRIVER_H
#define TESTS_HOSTILE_PCI_DRIVER_H

#include <stdbool.h>

#include "core/platform.h"
#include "core/transport.h"
#include "transports/pci_spec.h"

/** Where a structure is, as the driver understands the capability list. */
struct pci_place {
    uint8_t bar;
    uint64_t offset;
    uint64_t bytes;   /**< 0: there is none */
    bool by_cfg_data; /**< the BAR is out of reach, and configuration space leads there (4.1.4.9) */
};

enum pci_places {
    PCI_PLACE_COMMON,
    PCI_PLACE_NOTIFY,
    PCI_PLACE_ISR,
    PCI_PLACE_DEVICE, /**< may be absent */
    PCI_PLACES,
};

struct pci_findings {
    struct pci_place places[PCI_PLACES];
    uint32_t notify_off_multiplier;
    uint8_t cfg_access; /**< where that capability is; only for places that need it */
};

struct pci_driver {
    /** Memory for one transport, in the driver's own form; allocated by the test. */
    size_t transport_bytes;
    /** Read the capability list; writes @p ret_findings on success only. */
    vio_status (*find)(const uint8_t config[PCI_CONFIG_BYTES],
                       const uint64_t bar_bytes[PCI_BAR_COUNT], struct pci_findings *ret_findings);
    /**
     * Make a transport of a function. Configuration space and BARs are given as windows; on failure
     * @p ret_text says why.
     */
    vio_status (*open)(void *memory, const struct vio_window *config,
                       const struct vio_window bars[PCI_BAR_COUNT],
                       struct vio_transport *ret_transport, const char **ret_text);
};

const struct pci_driver *pci_driver_under_test(void);

#endif
