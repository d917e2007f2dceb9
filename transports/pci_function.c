/* Contract and terms: transports/pci_function.h. */

#include "transports/pci_function.h"

uint8_t pci_function_find_capability(const struct vio_window *config, uint8_t id)
{
    uint8_t at = PCI_CAPABILITIES_POINTER;

    if (!(reg_read16(config, PCI_STATUS) & PCI_STATUS_CAPABILITY_LIST))
        return 0;
    for (unsigned n = 0; n < PCI_CAPABILITIES_MAX; n++) {
        /* The pointer stands where it does, and the links behind the IDs; two bits are reserved. */
        at = reg_read8(config, n ? at + 1u : at) & 0xFCu;
        if (at < PCI_FIRST_CAPABILITY)
            return 0;
        if (reg_read8(config, at) == id)
            return at;
    }
    return 0;
}

void pci_function_isolate(const struct vio_window *config)
{
    uint16_t command = reg_read16(config, PCI_COMMAND);

    reg_write16(config, PCI_COMMAND, (uint16_t)(command & ~PCI_COMMAND_BUS_MASTER));
}
