/* Contract and terms: transports/pci_msix.h. */

#include "transports/pci_msix.h"

#include <stdbool.h>

vio_status pci_msix_open(struct pci_msix *msix, const struct pci_function *function)
{
    const struct vio_window *config = &function->config;
    unsigned at = pci_function_find_capability(config, PCI_CAPABILITY_MSIX);

    if (at == 0 || at + PCI_MSIX_BYTES > PCI_CONFIG_BYTES)
        return VIO_ERR_UNSUPPORTED;
    uint16_t control = reg_read16(config, at + PCI_MSIX_CONTROL);
    uint16_t n_entries = (uint16_t)((control & PCI_MSIX_SIZE_MASK) + 1);
    uint32_t table = reg_read32(config, at + PCI_MSIX_TABLE);
    uint32_t bar = table & PCI_MSIX_TABLE_BIR_MASK;
    uint64_t offset = table & ~PCI_MSIX_TABLE_BIR_MASK;
    uint64_t bytes = (uint64_t)n_entries * PCI_MSIX_ENTRY_BYTES;

    if (bar >= PCI_BAR_COUNT || offset + bytes > function->bars[bar].bytes ||
        reg_read32(config, PCI_BAR_0 + bar * 4) & PCI_BAR_IS_IO)
        return VIO_ERR_DEVICE;
    *msix = (struct pci_msix){
        .n_entries = n_entries,
        .config = *config,
        .table = function->bars[bar],
        .control_at = (uint16_t)(at + PCI_MSIX_CONTROL),
        .found_control = control,
    };
    msix->table.base += offset;
    msix->table.bytes = bytes;
    return VIO_OK;
}

static void msix_write_control(const struct pci_msix *msix, unsigned control)
{
    reg_write16(&msix->config, msix->control_at, (uint16_t)control);
}

/* Read back: a message that was on its way is in memory then, and a mask in force. */
static void msix_write_entry_control(const struct pci_msix *msix, uint16_t entry, bool is_masked)
{
    uint64_t at = (uint64_t)entry * PCI_MSIX_ENTRY_BYTES + PCI_MSIX_ENTRY_CONTROL;
    uint32_t others = reg_read32(&msix->table, at) & ~PCI_MSIX_ENTRY_IS_MASKED;

    reg_write32(&msix->table, at, others | (is_masked ? PCI_MSIX_ENTRY_IS_MASKED : 0));
    (void)reg_read32(&msix->table, at);
}

/* Enabled first: some functions keep no table before. */
void pci_msix_enable(const struct pci_msix *msix)
{
    msix_write_control(msix, msix->found_control | PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK);
}

void pci_msix_start(const struct pci_msix *msix)
{
    unsigned control = msix->found_control | PCI_MSIX_ENABLE;

    msix_write_control(msix, control & ~PCI_MSIX_FUNCTION_MASK);
}

void pci_msix_mask(const struct pci_msix *msix, uint16_t entry)
{
    msix_write_entry_control(msix, entry, true);
}

void pci_msix_set(struct pci_msix *msix, uint16_t entry, uint64_t address, uint32_t data)
{
    uint64_t at = (uint64_t)entry * PCI_MSIX_ENTRY_BYTES;

    pci_msix_mask(msix, entry);
    reg_write32(&msix->table, at + PCI_MSIX_ENTRY_ADDRESS, (uint32_t)address);
    reg_write32(&msix->table, at + PCI_MSIX_ENTRY_ADDRESS + 4, (uint32_t)(address >> 32));
    reg_write32(&msix->table, at + PCI_MSIX_ENTRY_DATA, data);
    msix_write_entry_control(msix, entry, false);
    if (entry >= msix->n_set)
        msix->n_set = (uint16_t)(entry + 1);
}

void pci_msix_close(struct pci_msix *msix)
{
    for (uint16_t entry = 0; entry < msix->n_set; entry++)
        pci_msix_mask(msix, entry);
    msix->n_set = 0;
    msix_write_control(msix, msix->found_control);
}
