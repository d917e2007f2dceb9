/** @file
 * Reads the first 10 MiB of each virtio disk with one ReadBlocks(), and prints its CRC-32.
 */

#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define READ_BYTES (10u * 1024 * 1024)

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;

static void read_disk(EFI_HANDLE handle, VOID *buffer)
{
    EFI_BLOCK_IO *block_io = NULL;
    VOID *pci_io = NULL;
    UINT32 crc = 0;

    /* Only drivers of virtio disks put EFI_BLOCK_IO onto the handle of the PCI function itself. */
    if (EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, &pci_io)) ||
        EFI_ERROR(BS->HandleProtocol(handle, &BlockIoProtocol, (VOID **)&block_io)))
        return;
    EFI_STATUS status =
        block_io->ReadBlocks(block_io, block_io->Media->MediaId, 0, READ_BYTES, buffer);
    if (!EFI_ERROR(status))
        status = BS->CalculateCrc32(buffer, READ_BYTES, &crc);
    Print(L"read-block: %r, %d bytes, crc32 %08x\n", status, READ_BYTES, crc);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_PHYSICAL_ADDRESS address = 0;
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0;

    InitializeLib(self, system);
    EFI_STATUS status = BS->AllocatePages(AllocateAnyPages, EfiBootServicesData,
                                          READ_BYTES / EFI_PAGE_SIZE, &address);
    if (EFI_ERROR(status))
        return status;
    status = BS->LocateHandleBuffer(ByProtocol, &BlockIoProtocol, NULL, &n_handles, &handles);
    for (UINTN i = 0; !EFI_ERROR(status) && i < n_handles; i++)
        read_disk(handles[i], (VOID *)(UINTN)address);
    if (handles)
        (void)BS->FreePool(handles);
    (void)BS->FreePages(address, READ_BYTES / EFI_PAGE_SIZE);
    return status;
}
