/* Contract and terms: efi/platform.h. */

#include "efi/platform.h"

#include "efi/clock.h"

static void *platform_alloc(void *context, size_t bytes)
{
    (void)context;
    return uefi_allocate(bytes);
}

static void platform_free(void *context, void *memory, size_t bytes)
{
    (void)context;
    (void)bytes;
    uefi_free_pool_at(&memory);
}

static EFI_PCI_IO_PROTOCOL *platform_pci_io(const void *context)
{
    const struct platform *platform = context;

    return platform->pci_io;
}

/* A mapping of fewer bytes than asked for is of no use: what it serves must be contiguous. */
static vio_status platform_map_range(EFI_PCI_IO_PROTOCOL *pci_io, void *memory, size_t bytes,
                                     EFI_PCI_IO_PROTOCOL_OPERATION operation, dma_addr *ret_addr,
                                     void **ret_mapping)
{
    UINTN mapped_bytes = bytes;
    EFI_PHYSICAL_ADDRESS address = 0;
    void *mapping = NULL;

    if (EFI_ERROR(pci_io->Map(pci_io, operation, memory, &mapped_bytes, &address, &mapping)))
        return VIO_ERR_NO_MEMORY;
    if (mapped_bytes < bytes) {
        (void)pci_io->Unmap(pci_io, mapping); /* nothing was transferred */
        return VIO_ERR_NO_MEMORY;
    }
    *ret_addr = address;
    *ret_mapping = mapping;
    return VIO_OK;
}

static vio_status platform_dma_alloc(void *context, size_t bytes, struct vio_dma *ret_dma)
{
    EFI_PCI_IO_PROTOCOL *pci_io = platform_pci_io(context);
    struct vio_dma dma = {.bytes = bytes};

    EFI_STATUS status = pci_io->AllocateBuffer(pci_io, AllocateAnyPages, EfiBootServicesData,
                                               uefi_pages_of(bytes), &dma.memory, 0);
    if (EFI_ERROR(status))
        return VIO_ERR_NO_MEMORY;
    __builtin_memset(dma.memory, 0, uefi_pages_of(bytes) * EFI_PAGE_SIZE);
    vio_status mapped =
        platform_map_range(pci_io, dma.memory, bytes, EfiPciIoOperationBusMasterCommonBuffer,
                           &dma.addr, &dma.bookkeeping);
    if (mapped != VIO_OK) {
        (void)pci_io->FreeBuffer(pci_io, uefi_pages_of(bytes), dma.memory); /* just allocated */
        return mapped;
    }
    *ret_dma = dma;
    return VIO_OK;
}

static void platform_dma_free(void *context, struct vio_dma *dma)
{
    EFI_PCI_IO_PROTOCOL *pci_io = platform_pci_io(context);

    (void)pci_io->Unmap(pci_io, dma->bookkeeping); /* a common buffer has nothing to copy back */
    (void)pci_io->FreeBuffer(pci_io, uefi_pages_of(dma->bytes), dma->memory);
    *dma = (struct vio_dma){0};
}

static vio_status platform_map(void *context, void *buffer, size_t bytes,
                               enum vio_direction direction, struct vio_mapping *ret_mapping)
{
    /* UEFI names the direction from the bus master's side: it writes what is device-writable. */
    EFI_PCI_IO_PROTOCOL_OPERATION operation = direction == VIO_DEVICE_WRITABLE
                                                  ? EfiPciIoOperationBusMasterWrite
                                                  : EfiPciIoOperationBusMasterRead;
    struct vio_mapping mapping = {0};

    vio_status status = platform_map_range(platform_pci_io(context), buffer, bytes, operation,
                                           &mapping.addr, &mapping.bookkeeping);
    if (status == VIO_OK)
        *ret_mapping = mapping;
    return status;
}

static vio_status platform_unmap(void *context, struct vio_mapping *mapping)
{
    EFI_PCI_IO_PROTOCOL *pci_io = platform_pci_io(context);

    return EFI_ERROR(pci_io->Unmap(pci_io, mapping->bookkeeping)) ? VIO_ERR_IO : VIO_OK;
}

static uint64_t platform_now_us(void *context)
{
    (void)context;
    return clock_now_us();
}

static void platform_wait(void *context, uint64_t limit_us)
{
    (void)context;
    /* Who waits looks at the clock in between. */
    if (limit_us)
        clock_relax();
}

static unsigned platform_sleep(void *context)
{
    const struct platform *platform = context;

    return interrupt_sleep(platform->interrupt);
}

static const struct vio_platform_ops platform_ops = {
    .alloc = platform_alloc,
    .free = platform_free,
    .dma_alloc = platform_dma_alloc,
    .dma_free = platform_dma_free,
    .map = platform_map,
    .unmap = platform_unmap,
    .now_us = platform_now_us,
    .wait = platform_wait,
    .sleep = platform_sleep,
};

struct vio_platform platform_make(struct platform *platform)
{
    return (struct vio_platform){
        .ops = &platform_ops,
        .context = platform,
        .pointers_are_physical = true,
        .interrupts = interrupt_ready(platform->interrupt),
    };
}
