/* tests/hostile/pci_driver.h for transports/pci_modern.h. */

#include <string.h>

#include "tests/hostile/pci_driver.h"
#include "transports/pci_modern.h"

static struct pci_place driver_place(const struct pci_structure *structure)
{
    return (struct pci_place){
        .bar = structure->bar,
        .offset = structure->offset,
        .bytes = structure->bytes,
        .by_cfg_data = structure->by_cfg_data,
    };
}

static vio_status driver_find(const uint8_t config[PCI_CONFIG_BYTES],
                              const uint64_t bar_bytes[PCI_BAR_COUNT],
                              struct pci_findings *ret_findings)
{
    struct pci_caps caps;
    uint8_t lacking_bar;

    vio_status status = pci_caps_parse(config, bar_bytes, &caps, &lacking_bar);
    if (status != VIO_OK)
        return status;
    *ret_findings = (struct pci_findings){
        .places =
            {
                [PCI_PLACE_COMMON] = driver_place(&caps.common),
                [PCI_PLACE_NOTIFY] = driver_place(&caps.notify),
                [PCI_PLACE_ISR] = driver_place(&caps.isr),
                [PCI_PLACE_DEVICE] = driver_place(&caps.device),
            },
        .notify_off_multiplier = caps.notify_off_multiplier,
        .cfg_access = caps.cfg_access,
    };
    return VIO_OK;
}

static vio_status driver_open(void *memory, const struct vio_window *config,
                              const struct vio_window bars[PCI_BAR_COUNT],
                              struct vio_transport *ret_transport, const char **ret_text)
{
    struct pci_function function = {.config = *config};
    struct vio_failure failure = {0};

    memcpy(function.bars, bars, sizeof(function.bars));
    vio_status status = pci_modern_open(memory, &function, ret_transport, &failure);
    *ret_text = failure.what;
    return status;
}

const struct pci_driver *pci_driver_under_test(void)
{
    static const struct pci_driver driver = {
        .transport_bytes = sizeof(struct pci_modern),
        .find = driver_find,
        .open = driver_open,
    };

    return &driver;
}
