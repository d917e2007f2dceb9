/* Contract and terms: efi/disk.h. */

#include "efi/disk.h"

#include "efi/message.h"
#include "efi/platform.h"
#include "efi/status.h"

/* What a virtio function needs; of these, what the bridge and the function support is enabled. */
#define DISK_ATTRIBUTES                                                                            \
    (EFI_PCI_IO_ATTRIBUTE_IO | EFI_PCI_IO_ATTRIBUTE_MEMORY | EFI_PCI_IO_ATTRIBUTE_BUS_MASTER |     \
     EFI_PCI_IO_ATTRIBUTE_DUAL_ADDRESS_CYCLE)

static void disk_restore_function(struct disk *disk)
{
    UINT64 attributes = disk->original_attributes;

    /* A device that may still own memory must not become bus master again. */
    if (disk->blk.quarantined) {
        message_error(disk->name, NULL,
                      L"did not confirm its reset; it is left cut off from memory, with no driver");
        attributes &= ~(UINT64)EFI_PCI_IO_ATTRIBUTE_BUS_MASTER;
    }
    /* They were in force before, so the firmware has no reason to refuse them. */
    (void)disk->pci_io->Attributes(disk->pci_io, EfiPciIoAttributeOperationSet, attributes, NULL);
}

static EFI_STATUS disk_enable_function(struct disk *disk)
{
    EFI_PCI_IO_PROTOCOL *pci_io = disk->pci_io;
    UINT64 supported = 0;

    EFI_STATUS status =
        pci_io->Attributes(pci_io, EfiPciIoAttributeOperationGet, 0, &disk->original_attributes);
    if (EFI_ERROR(status))
        return status;
    status = pci_io->Attributes(pci_io, EfiPciIoAttributeOperationSupported, 0, &supported);
    if (EFI_ERROR(status))
        return status;
    status = pci_io->Attributes(pci_io, EfiPciIoAttributeOperationEnable,
                                supported & DISK_ATTRIBUTES, NULL);
    /* It may have been carried out in part: a function first, the bridge above it second. */
    if (EFI_ERROR(status))
        disk_restore_function(disk);
    return status;
}

static void disk_report_open_failure(const struct disk *disk, vio_status status,
                                     const struct vio_failure *failure)
{
    if (failure->what && failure->value_is_valid)
        message_error(disk->name, NULL, L"cannot be driven: %a: %a 0x%lx", status_text(status),
                      failure->what, failure->value);
    else if (failure->what)
        message_error(disk->name, NULL, L"cannot be driven: %a: %a", status_text(status),
                      failure->what);
    else
        message_error(disk->name, NULL, L"cannot be driven: %a", status_text(status));
}

static EFI_STATUS disk_open_device(struct disk *disk, UINT64 declined_features)
{
    struct vio_platform platform = platform_make(disk->pci_io);
    struct vio_failure failure = {0};
    struct vio_transport transport;
    struct pci_function function;

    pci_window_describe(&disk->access, disk->pci_io, &function);
    vio_status status = pci_modern_open(&disk->pci, &function, &transport, &failure);
    if (status == VIO_OK) {
        status = virtio_blk_open(&disk->blk, &transport, &platform, declined_features);
        failure = disk->blk.device.failure;
    }
    if (status != VIO_OK)
        disk_report_open_failure(disk, status, &failure);
    return status_to_efi(status);
}

/* A device that still owns guest memory would corrupt the kernel; this allocates nothing. */
static VOID EFIAPI disk_on_exit_boot_services(EFI_EVENT event, VOID *context)
{
    struct disk *disk = context;

    (void)event;
    virtio_blk_shutdown(&disk->blk);
}

static EFI_STATUS disk_publish(struct disk *disk)
{
    return BS->InstallMultipleProtocolInterfaces(&disk->controller, &gEfiBlockIoProtocolGuid,
                                                 &disk->block_io.protocol, NULL);
}

EFI_STATUS disk_open(struct disk *disk, EFI_HANDLE controller, EFI_PCI_IO_PROTOCOL *pci_io,
                     bool publish_read_only, UINT64 declined_features)
{
    __builtin_memset(disk, 0, sizeof(*disk));
    disk->controller = controller;
    disk->pci_io = pci_io;
    device_name_make(pci_io, disk->name);

    EFI_STATUS status = disk_enable_function(disk);
    if (EFI_ERROR(status)) {
        message_error(disk->name, NULL, L"its PCI function cannot be enabled: %r", status);
        return status;
    }
    status = disk_open_device(disk, declined_features);
    if (EFI_ERROR(status))
        goto err_device;
    status = BS->CreateEvent(EVT_SIGNAL_EXIT_BOOT_SERVICES, TPL_CALLBACK,
                             disk_on_exit_boot_services, disk, &disk->exit_event);
    if (EFI_ERROR(status))
        goto err_event;
    block_io_init(&disk->block_io, &disk->blk, publish_read_only);
    status = disk_publish(disk);
    if (EFI_ERROR(status))
        goto err_publish;
    return EFI_SUCCESS;

err_publish:
    block_io_release(&disk->block_io);
    (void)BS->CloseEvent(disk->exit_event); /* ours, so it can be closed */
err_event:
    message_error(disk->name, NULL, L"the firmware refused to publish it: %r", status);
    virtio_blk_close(&disk->blk);
err_device:
    disk_restore_function(disk);
    return status;
}

EFI_STATUS disk_close(struct disk *disk)
{
    EFI_STATUS status = BS->UninstallMultipleProtocolInterfaces(
        disk->controller, &gEfiBlockIoProtocolGuid, &disk->block_io.protocol, NULL);
    if (EFI_ERROR(status))
        return status;
    block_io_release(&disk->block_io);
    (void)BS->CloseEvent(disk->exit_event); /* ours, so it can be closed */
    virtio_blk_close(&disk->blk);
    disk_restore_function(disk);
    return EFI_SUCCESS;
}

bool disk_has_failed(const struct disk *disk)
{
    return disk->blk.device.failure.what && disk->blk.failed.verb;
}

void disk_report_failure(const struct disk *disk, const CHAR16 *path, EFI_STATUS status)
{
    const struct vio_failure *failure = &disk->blk.device.failure;
    const struct virtio_blk_failed_request *failed = &disk->blk.failed;

    if (disk_has_failed(disk))
        message_error(disk->name, path, L"%a failed: %r: %a of %ld bytes at sector %ld: %a 0x%lx",
                      failed->verb, status, failed->verb, (UINT64)failed->bytes, failed->sector,
                      failure->what, failure->value);
    else
        message_error(disk->name, path, L"read failed: %r", status);
}
