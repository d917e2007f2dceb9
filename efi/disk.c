/* Contract and terms: efi/disk.h. */

#include "efi/disk.h"

#include "efi/message.h"
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

/* Vectors first: where they are in force, a legacy device's registers lie elsewhere. */
static EFI_STATUS disk_open_device(struct disk *disk, UINT64 declined_features,
                                   enum interrupt_mode interrupt_mode)
{
    struct vio_failure failure = {0};
    struct pci_function function;

    pci_window_describe(&disk->access, disk->pci_io, &function);
    bool are_direct = pci_window_go_direct(&disk->access);
    interrupt_open(&disk->interrupt, &function, interrupt_mode);
    vio_status status = pci_open(&disk->pci, &function, &disk->transport, &failure);
    if (status == VIO_OK) {
        disk->transport.isr_is_indirect |= !are_direct;
        interrupt_attach(&disk->interrupt, &disk->transport);
        disk->platform = (struct platform){.pci_io = disk->pci_io, .interrupt = &disk->interrupt};
        struct vio_platform platform = platform_make(&disk->platform);
        status = virtio_blk_open(&disk->blk, &disk->transport, &platform, declined_features);
        failure = disk->blk.device.failure;
    }
    if (status != VIO_OK) {
        interrupt_close(&disk->interrupt);
        disk_report_open_failure(disk, status, &failure);
    }
    return status_to_efi(status);
}

static void disk_settle_interrupts(struct disk *disk)
{
    struct interrupt *interrupt = &disk->interrupt;
    enum vio_interrupt_use use = disk->blk.device.interrupt_use;

    interrupt_settle(interrupt, use, disk->blk.info.n_queues);
    /* For when the device is brought up again. */
    disk->blk.platform.interrupts = interrupt_ready(interrupt);
    if (interrupt->mode != INTERRUPT_ALWAYS)
        return;
    disk->blk.spin_limit_us = 0;
    if (use == VIO_POLLED)
        message_error(disk->name, NULL, L"cannot have interrupts, so it is polled: %a",
                      interrupt->reason);
}

/* A device that still owns guest memory would corrupt the kernel; this allocates nothing. */
static VOID EFIAPI disk_on_exit_boot_services(EFI_EVENT event, VOID *context)
{
    struct disk *disk = context;

    (void)event;
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY); /* no timer of ours in its middle */
    virtio_blk_shutdown(&disk->blk);
    interrupt_close(&disk->interrupt);
    BS->RestoreTPL(old_tpl);
}

static EFI_GUID disk_info_guid = EFI_DISK_INFO_PROTOCOL_GUID;
static EFI_GUID erase_block_guid = EFI_ERASE_BLOCK_PROTOCOL_GUID;

/* The list ends at the first NULL, which is where the last protocol stands if there is one. */
static EFI_STATUS disk_publish(struct disk *disk)
{
    struct block_io *block_io = &disk->block_io;

    return BS->InstallMultipleProtocolInterfaces(
        &disk->controller, &gEfiBlockIoProtocolGuid, &block_io->protocol, &gEfiBlockIo2ProtocolGuid,
        &block_io->protocol2, &disk_info_guid, &disk->disk_info.protocol,
        disk->has_erase_block ? &erase_block_guid : NULL, &disk->erase_block.protocol, NULL);
}

static EFI_STATUS disk_withdraw(struct disk *disk)
{
    struct block_io *block_io = &disk->block_io;

    return BS->UninstallMultipleProtocolInterfaces(
        disk->controller, &gEfiBlockIoProtocolGuid, &block_io->protocol, &gEfiBlockIo2ProtocolGuid,
        &block_io->protocol2, &disk_info_guid, &disk->disk_info.protocol,
        disk->has_erase_block ? &erase_block_guid : NULL, &disk->erase_block.protocol, NULL);
}

/* --- Media that changes ----------------------------------------------------------------------- */

/* Of 100 ns: a second. */
#define DISK_REFRESH_PERIOD 10000000u

static EFI_STATUS disk_reconnect(struct disk *disk)
{
    EFI_BLOCK_IO_PROTOCOL *protocol = &disk->block_io.protocol;

    EFI_STATUS status = BS->ReinstallProtocolInterface(disk->controller, &gEfiBlockIoProtocolGuid,
                                                       protocol, protocol);
    disk->must_reconnect = EFI_ERROR(status);
    return status;
}

void disk_refresh(struct disk *disk)
{
    if (block_io_refresh(&disk->block_io))
        disk->must_reconnect = disk_is_searched(disk);
    if (disk->must_reconnect)
        (void)disk_reconnect(disk); /* who does not let go now is asked again the next time */
}

EFI_STATUS disk_set_writable(struct disk *disk, bool writable)
{
    EFI_BLOCK_IO_PROTOCOL *protocol = &disk->block_io.protocol;
    EFI_BLOCK_IO_MEDIA *media = &disk->block_io.media;
    UINT32 media_id = media->MediaId;

    if (writable != (bool)media->ReadOnly)
        return EFI_SUCCESS;
    /* Nobody has looked at its partition table, and nobody is to be connected to it now. */
    if (!disk_is_searched(disk))
        return EFI_WRITE_PROTECTED;
    /* Read-only media is not flushed any more. */
    EFI_STATUS flushed = writable ? EFI_SUCCESS : protocol->FlushBlocks(protocol);
    EFI_STATUS status = block_io_set_writable(&disk->block_io, writable);
    if (EFI_ERROR(status))
        return status;
    status = disk_reconnect(disk);
    if (EFI_ERROR(status)) {
        /* Whoever did not let go keeps the old id; whoever got the new one is connected once more. */
        media->MediaId = media_id;
        media->ReadOnly = TRUE;
        (void)disk_reconnect(disk);
    }
    return EFI_ERROR(status) ? status : flushed;
}

static VOID EFIAPI disk_on_refresh(EFI_EVENT event, VOID *context)
{
    (void)event;
    disk_refresh(context);
}

static EFI_STATUS disk_start_refreshing(struct disk *disk)
{
    EFI_STATUS status = BS->CreateEvent(EVT_TIMER | EVT_NOTIFY_SIGNAL, TPL_CALLBACK,
                                        disk_on_refresh, disk, &disk->refresh_timer);
    if (EFI_ERROR(status))
        return status;
    status = BS->SetTimer(disk->refresh_timer, TimerPeriodic, DISK_REFRESH_PERIOD);
    if (EFI_ERROR(status)) {
        (void)BS->CloseEvent(disk->refresh_timer); /* ours, so it can be closed */
        disk->refresh_timer = NULL;
    }
    return status;
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static void disk_close_event(EFI_EVENT *event)
{
    if (*event)
        (void)BS->CloseEvent(*event); /* ours, so it can be closed */
    *event = NULL;
}

static void disk_close_device(struct disk *disk)
{
    disk_close_event(&disk->refresh_timer);
    block_io_close_device(&disk->block_io);
    interrupt_close(&disk->interrupt);
    block_io2_close(&disk->block_io);
    block_io_release(&disk->block_io);
    disk_close_event(&disk->exit_event);
}

/* From an open device to one that others can use. */
static EFI_STATUS disk_offer(struct disk *disk, bool publish_read_only)
{
    EFI_STATUS status = block_io2_open(&disk->block_io);
    if (EFI_ERROR(status))
        return status;
    disk_info_init(&disk->disk_info, &disk->block_io);
    erase_block_init(&disk->erase_block, &disk->block_io);
    disk->has_erase_block = !publish_read_only && erase_block_is_possible(&disk->block_io);
    status = BS->CreateEvent(EVT_SIGNAL_EXIT_BOOT_SERVICES, TPL_CALLBACK,
                             disk_on_exit_boot_services, disk, &disk->exit_event);
    if (!EFI_ERROR(status) && !publish_read_only)
        status = disk_start_refreshing(disk);
    return EFI_ERROR(status) ? status : disk_publish(disk);
}

EFI_STATUS disk_open(struct disk *disk, EFI_HANDLE controller, EFI_PCI_IO_PROTOCOL *pci_io,
                     bool publish_read_only, UINT64 declined_features,
                     enum interrupt_mode interrupt_mode)
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
    status = disk_open_device(disk, declined_features, interrupt_mode);
    if (EFI_ERROR(status))
        goto err_device;
    disk_settle_interrupts(disk);
    block_io_init(&disk->block_io, &disk->blk, publish_read_only);
    status = disk_offer(disk, publish_read_only);
    if (EFI_ERROR(status))
        goto err_offer;
    return EFI_SUCCESS;

err_offer:
    message_error(disk->name, NULL, L"the firmware refused to publish it: %r", status);
    disk_close_device(disk);
err_device:
    disk_restore_function(disk);
    return status;
}

static bool disk_has_protocol(EFI_HANDLE handle, EFI_GUID *guid)
{
    VOID *protocol;

    return !EFI_ERROR(BS->HandleProtocol(handle, guid, &protocol));
}

static bool disk_is_opened_by(EFI_HANDLE handle, EFI_GUID *guid, EFI_HANDLE agent)
{
    cleanup_pool EFI_OPEN_PROTOCOL_INFORMATION_ENTRY *entries = NULL;
    UINTN n_entries = 0;

    /* What cannot be told counts as open. */
    if (EFI_ERROR(BS->OpenProtocolInformation(handle, guid, &entries, &n_entries)))
        return true;
    for (UINTN i = 0; i < n_entries; i++) {
        if (entries[i].AgentHandle == agent)
            return true;
    }
    return false;
}

/*
 * EDK2's disk I/O driver opens both protocols, and closes only EFI_BLOCK_IO when its Start() fails
 * later on: then nobody is left who would let go of EFI_BLOCK_IO2. At its next Start() it cannot
 * open that one again, and goes on without; then it has no EFI_DISK_IO2 to offer.
 */
static void disk_close_forgotten_at(EFI_HANDLE handle)
{
    bool is_used = disk_has_protocol(handle, &gEfiDiskIo2ProtocolGuid);
    EFI_GUID *guid = &gEfiBlockIo2ProtocolGuid;
    cleanup_pool EFI_OPEN_PROTOCOL_INFORMATION_ENTRY *entries = NULL;
    UINTN n_entries = 0;

    if (EFI_ERROR(BS->OpenProtocolInformation(handle, guid, &entries, &n_entries)))
        return;
    for (UINTN i = 0; i < n_entries; i++) {
        EFI_HANDLE agent = entries[i].AgentHandle;
        if (entries[i].Attributes & EFI_OPEN_PROTOCOL_BY_DRIVER &&
            (!is_used || !disk_is_opened_by(handle, &gEfiBlockIoProtocolGuid, agent)))
            (void)BS->CloseProtocol(handle, guid, agent, entries[i].ControllerHandle);
    }
}

/* The disk, its partitions, and what may be in these. */
static void disk_close_forgotten(EFI_HANDLE handle)
{
    cleanup_pool EFI_OPEN_PROTOCOL_INFORMATION_ENTRY *entries = NULL;
    UINTN n_entries = 0;

    disk_close_forgotten_at(handle);
    if (EFI_ERROR(
            BS->OpenProtocolInformation(handle, &gEfiDiskIoProtocolGuid, &entries, &n_entries)))
        return;
    for (UINTN i = 0; i < n_entries; i++) {
        if (entries[i].Attributes & EFI_OPEN_PROTOCOL_BY_CHILD_CONTROLLER)
            disk_close_forgotten(entries[i].ControllerHandle);
    }
}

EFI_STATUS disk_close(struct disk *disk)
{
    EFI_STATUS status = disk_withdraw(disk);
    if (EFI_ERROR(status)) {
        disk_close_forgotten(disk->controller);
        status = disk_withdraw(disk);
    }
    if (EFI_ERROR(status))
        return status;
    disk_close_device(disk);
    disk_restore_function(disk);
    return EFI_SUCCESS;
}

/* --- Messages --------------------------------------------------------------------------------- */

#define DISK_COMPLETION_UNITS 80u

/* What the device does, and not what it was offered. */
static void disk_describe_completion(const struct disk *disk, CHAR16 text[DISK_COMPLETION_UNITS])
{
    const struct interrupt *interrupt = &disk->interrupt;
    UINTN bytes = DISK_COMPLETION_UNITS * sizeof(CHAR16);

    if (disk->blk.device.interrupt_use == VIO_LINE)
        UnicodeSPrint(text, bytes, L"interrupts over line %d", interrupt->irq);
    else if (disk->blk.device.interrupt_use != VIO_POLLED)
        UnicodeSPrint(text, bytes, L"MSI-X with %d vector%a", interrupt->n_vectors,
                      interrupt->n_vectors == 1 ? "" : "s");
    else if (interrupt->mode == INTERRUPT_POLL)
        UnicodeSPrint(text, bytes, L"polled (asked for)");
    else
        UnicodeSPrint(text, bytes, L"polled: %a", interrupt->reason);
}

void disk_report(const struct disk *disk)
{
    CHAR16 completion[DISK_COMPLETION_UNITS];

    disk_describe_completion(disk, completion);
    message_line(L"%s: %ld MiB, %d-byte blocks, %a, %s", disk->name,
                 disk->blk.info.capacity_sectors / 2048, disk->blk.info.block_bytes,
                 disk->blk.info.read_only ? "read-only" : "writable", completion);
}

bool disk_is_searched(const struct disk *disk)
{
    return disk->blk.info.block_bytes <= DISK_SEARCHED_BLOCK_BYTES_MAX;
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
