/* Contract and terms: efi/device_name.h. */

#include "efi/device_name.h"

void device_name_make(EFI_PCI_IO_PROTOCOL *pci_io, CHAR16 *ret_name)
{
    UINTN segment = 0, bus = 0, device = 0, function = 0;

    /* All zeros would be a wrong answer but no harm: a function that is there knows its place. */
    (void)pci_io->GetLocation(pci_io, &segment, &bus, &device, &function);
    (void)UnicodeSPrint(ret_name, DEVICE_NAME_UNITS * sizeof(CHAR16),
                        L"virtio-blk %04x:%02x:%02x.%x", (UINT32)segment, (UINT32)bus,
                        (UINT32)device, (UINT32)function);
}

void device_name_of(EFI_HANDLE controller, CHAR16 *ret_name)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;

    if (EFI_ERROR(BS->HandleProtocol(controller, &gEfiPciIoProtocolGuid, (VOID **)&pci_io)))
        (void)UnicodeSPrint(ret_name, DEVICE_NAME_UNITS * sizeof(CHAR16), L"virtio-blk");
    else
        device_name_make(pci_io, ret_name);
}
