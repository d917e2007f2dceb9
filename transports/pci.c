/* Contract and terms: transports/pci.h. */

#include "transports/pci.h"

static bool pci_offers_version_1(const struct vio_transport *transport)
{
    return transport->ops->get_device_features(transport->context) &
           VIO_FEATURE(VIRTIO_F_VERSION_1);
}

/* 4.1.2.1: only the low device IDs have a legacy interface. One that is gone has none. */
static bool pci_may_be_legacy(const struct pci_function *function)
{
    return reg_read16(&function->config, PCI_DEVICE_ID) < VIRTIO_PCI_MODERN_BASE;
}

vio_status pci_open(struct pci *pci, const struct pci_function *function,
                    struct vio_transport *ret_transport, struct vio_failure *ret_failure)
{
    struct vio_transport transport;
    struct vio_failure failure, legacy_failure;

    vio_status status = pci_modern_open(&pci->modern, function, &transport, &failure);
    if (pci_may_be_legacy(function) && (status != VIO_OK || !pci_offers_version_1(&transport))) {
        vio_status legacy = pci_legacy_open(&pci->legacy, function, &transport, &legacy_failure);
        /* What is wrong with its capabilities is more worth telling. */
        if (legacy == VIO_OK || status != VIO_ERR_DEVICE) {
            failure = legacy_failure;
            status = legacy;
        }
    }
    if (status == VIO_OK)
        *ret_transport = transport;
    else
        *ret_failure = failure;
    return status;
}
