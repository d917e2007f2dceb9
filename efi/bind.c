/* Contract and terms: efi/bind.h. */

#include "efi/bind.h"

#include "core/device_spec.h"
#include "efi/component_name.h"
#include "efi/message.h"

/* Above the firmware's drivers (0x10), so that ours goes first when both are asked. */
#define BIND_VERSION 0x20

static struct {
    struct bind_policy policy;
    struct disk *disks;
    bool refuses_all;      /* while the firmware's drivers are to be connected */
    bool left_quarantined; /* the last disk that failed to start, or was stopped, may own memory */
} driver;

struct disk *bind_first_disk(void)
{
    return driver.disks;
}

struct disk *bind_find_disk(EFI_HANDLE controller)
{
    for (struct disk *disk = driver.disks; disk; disk = disk->next) {
        if (disk->controller == controller)
            return disk;
    }
    return NULL;
}

static void bind_append(struct disk *disk)
{
    struct disk **link = &driver.disks;

    while (*link)
        link = &(*link)->next;
    *link = disk;
}

static void bind_remove(struct disk *disk)
{
    struct disk **link = &driver.disks;

    while (*link != disk)
        link = &(*link)->next;
    *link = disk->next;
}

/* --- EFI_DRIVER_BINDING_PROTOCOL ------------------------------------------------------------- */

static EFI_STATUS bind_open_pci_io(EFI_DRIVER_BINDING_PROTOCOL *binding, EFI_HANDLE controller,
                                   EFI_PCI_IO_PROTOCOL **ret_pci_io)
{
    return BS->OpenProtocol(controller, &gEfiPciIoProtocolGuid, (VOID **)ret_pci_io,
                            binding->DriverBindingHandle, controller, EFI_OPEN_PROTOCOL_BY_DRIVER);
}

static void bind_close_pci_io(EFI_DRIVER_BINDING_PROTOCOL *binding, EFI_HANDLE controller)
{
    (void)BS->CloseProtocol(controller, &gEfiPciIoProtocolGuid, binding->DriverBindingHandle,
                            controller); /* it was opened, so it can be closed */
}

static EFI_STATUS EFIAPI bind_supported(EFI_DRIVER_BINDING_PROTOCOL *binding, EFI_HANDLE controller,
                                        EFI_DEVICE_PATH *remaining_path)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;

    (void)remaining_path;
    if (driver.refuses_all || !driver.policy.accepts_any_controller)
        return EFI_UNSUPPORTED;
    EFI_STATUS status = bind_open_pci_io(binding, controller, &pci_io);
    if (EFI_ERROR(status))
        return status;
    bool is_disk = pci_window_virtio_id(pci_io) == VIRTIO_ID_BLOCK;
    bind_close_pci_io(binding, controller);
    return is_disk ? EFI_SUCCESS : EFI_UNSUPPORTED;
}

static EFI_STATUS EFIAPI bind_start(EFI_DRIVER_BINDING_PROTOCOL *binding, EFI_HANDLE controller,
                                    EFI_DEVICE_PATH *remaining_path)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;

    (void)remaining_path;
    driver.left_quarantined = false;
    EFI_STATUS status = bind_open_pci_io(binding, controller, &pci_io);
    if (EFI_ERROR(status))
        return status;
    cleanup_pool struct disk *disk = uefi_allocate(sizeof(*disk));
    status = disk ? disk_open(disk, controller, pci_io, driver.policy.publish_read_only,
                              driver.policy.declined_features, driver.policy.interrupt_mode)
                  : EFI_OUT_OF_RESOURCES;
    if (EFI_ERROR(status)) {
        driver.left_quarantined = disk && disk->blk.quarantined;
        bind_close_pci_io(binding, controller);
        return status;
    }
    if (driver.policy.request_limit_us)
        disk->blk.request_limit_us = driver.policy.request_limit_us;
    bind_append(TAKE_POINTER(disk));
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI bind_stop(EFI_DRIVER_BINDING_PROTOCOL *binding, EFI_HANDLE controller,
                                   UINTN n_children, EFI_HANDLE *children)
{
    struct disk *disk = bind_find_disk(controller);

    (void)n_children;
    (void)children;
    if (!disk)
        return EFI_DEVICE_ERROR;
    EFI_STATUS status = disk_close(disk);
    if (EFI_ERROR(status))
        return status;
    driver.left_quarantined = disk->blk.quarantined;
    bind_remove(disk);
    (void)BS->FreePool(disk); /* allocated by bind_start() */
    bind_close_pci_io(binding, controller);
    return EFI_SUCCESS;
}

static EFI_DRIVER_BINDING_PROTOCOL binding_protocol = {
    .Supported = bind_supported,
    .Start = bind_start,
    .Stop = bind_stop,
    .Version = BIND_VERSION,
};

static EFI_GUID component_name_guid = EFI_COMPONENT_NAME_PROTOCOL_GUID;
static EFI_GUID component_name2_guid = EFI_COMPONENT_NAME2_PROTOCOL_GUID;
static EFI_GUID driver_binding_guid = EFI_DRIVER_BINDING_PROTOCOL_GUID;

EFI_STATUS bind_install(EFI_HANDLE image, const struct bind_policy *policy)
{
    driver.policy = *policy;
    driver.refuses_all = false;
    binding_protocol.ImageHandle = image;
    binding_protocol.DriverBindingHandle = image;
    return BS->InstallMultipleProtocolInterfaces(
        &binding_protocol.DriverBindingHandle, &driver_binding_guid, &binding_protocol,
        &component_name_guid, &component_name, &component_name2_guid, &component_name2, NULL);
}

static EFI_STATUS bind_uninstall(void)
{
    return BS->UninstallMultipleProtocolInterfaces(
        binding_protocol.DriverBindingHandle, &driver_binding_guid, &binding_protocol,
        &component_name_guid, &component_name, &component_name2_guid, &component_name2, NULL);
}

/* --- Taking over and giving back ------------------------------------------------------------- */

static bool bind_is_virtio_disk(EFI_HANDLE controller)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;

    EFI_STATUS status = BS->HandleProtocol(controller, &gEfiPciIoProtocolGuid, (VOID **)&pci_io);
    return !EFI_ERROR(status) && pci_window_virtio_id(pci_io) == VIRTIO_ID_BLOCK;
}

/* Whether any driver has the controller; what cannot be told counts as held. */
static bool bind_is_idle(EFI_HANDLE controller)
{
    cleanup_pool EFI_OPEN_PROTOCOL_INFORMATION_ENTRY *entries = NULL;
    UINTN n_entries = 0;

    EFI_STATUS status =
        BS->OpenProtocolInformation(controller, &gEfiPciIoProtocolGuid, &entries, &n_entries);
    for (UINTN i = 0; i < n_entries; i++) {
        if (entries[i].Attributes & EFI_OPEN_PROTOCOL_BY_DRIVER)
            return false;
    }
    return !EFI_ERROR(status);
}

static void bind_connect_firmware(EFI_HANDLE controller)
{
    /*
     * A lack of memory may have passed at the second attempt. What the firmware cannot make of a disk
     * is its affair then: an empty one has no partitions.
     */
    if (EFI_ERROR(BS->ConnectController(controller, NULL, NULL, TRUE)))
        (void)BS->ConnectController(controller, NULL, NULL, TRUE);
}

/* Start() reports what it knows; that it could not have the function it leaves to its caller. */
static void bind_report_refusal(EFI_HANDLE controller, EFI_STATUS disconnected, EFI_STATUS started)
{
    CHAR16 name[DEVICE_NAME_UNITS];

    device_name_of(controller, name);
    message_error(name, NULL, L"cannot be taken over: %r (letting go of it gave: %r)", started,
                  disconnected);
}

/*
 * Start() is called here and not by ConnectController(), which goes on to the firmware's drivers when
 * ours fails: they would repair, that is write, a damaged partition table that nobody had looked at.
 */
static void bind_take_over_disk(EFI_HANDLE controller)
{
    if (bind_find_disk(controller))
        return;
    bool was_idle = bind_is_idle(controller);
    unsigned n_errors = message_error_count();
    /* Nobody may hold it yet, which is reported like a failure and is fine. */
    EFI_STATUS disconnected = BS->DisconnectController(controller, NULL, NULL);
    EFI_STATUS started = bind_start(&binding_protocol, controller, NULL);

    if (!EFI_ERROR(started)) {
        bind_find_disk(controller)->stays_idle = was_idle && driver.policy.publish_read_only;
        return;
    }
    if (message_error_count() == n_errors)
        bind_report_refusal(controller, disconnected, started);
    if (!was_idle && !driver.left_quarantined)
        bind_connect_firmware(controller);
}

/* Calls @p visit for each virtio disk; how many there were. */
static UINTN bind_for_each_virtio_disk(void (*visit)(EFI_HANDLE controller))
{
    cleanup_pool EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0;
    UINTN n_disks = 0;

    EFI_STATUS status =
        BS->LocateHandleBuffer(ByProtocol, &gEfiPciIoProtocolGuid, NULL, &n_handles, &handles);
    if (EFI_ERROR(status))
        return 0;
    for (UINTN i = 0; i < n_handles; i++) {
        if (!bind_is_virtio_disk(handles[i]))
            continue;
        visit(handles[i]);
        n_disks++;
    }
    return n_disks;
}

/* Partition and file system drivers see no file system on a disk that fails, and say nothing. */
static void bind_connect_file_systems(struct disk *disk)
{
    if (!disk_is_searched(disk))
        message_line(L"%s: its blocks are too large for file systems to be looked for", disk->name);
    else
        bind_connect_firmware(disk->controller);
    block_io_end_gpt_repair(&disk->block_io);
    if (disk_has_failed(disk))
        disk_report_failure(disk, NULL, EFI_DEVICE_ERROR);
}

UINTN bind_take_over(void)
{
    /* A disk that has just failed must not be tried again when file systems are connected. */
    driver.refuses_all = true;
    UINTN n_disks = bind_for_each_virtio_disk(bind_take_over_disk);
    for (struct disk *disk = driver.disks; disk; disk = disk->next)
        bind_connect_file_systems(disk);
    driver.refuses_all = false;
    return n_disks;
}

void bind_report(void)
{
    for (const struct disk *disk = driver.disks; disk; disk = disk->next)
        disk_report(disk);
}

void bind_refresh(void)
{
    for (struct disk *disk = driver.disks; disk; disk = disk->next)
        disk_refresh(disk);
}

/*
 * The firmware's driver gets what it had. When only loading, a disk that no driver had stays without
 * one: connecting it would let the firmware repair, that is write, a damaged partition table that it
 * never looked at. A device that may still own memory is not given to anybody.
 */
static EFI_STATUS bind_give_back_disk(const struct disk *disk)
{
    EFI_HANDLE controller = disk->controller;
    bool stays_idle = disk->stays_idle;

    EFI_STATUS status =
        BS->DisconnectController(controller, binding_protocol.DriverBindingHandle, NULL);
    if (!EFI_ERROR(status) && !stays_idle && !driver.left_quarantined)
        bind_connect_firmware(controller);
    return status;
}

/* Every disk is tried, whatever becomes of the others; the first failure is returned. */
static EFI_STATUS bind_give_back_disks(void)
{
    EFI_STATUS first = EFI_SUCCESS;
    struct disk *next;

    for (struct disk *disk = driver.disks; disk; disk = next) {
        next = disk->next;
        EFI_STATUS status = bind_give_back_disk(disk);
        if (EFI_ERROR(status) && !EFI_ERROR(first))
            first = status;
    }
    return first;
}

EFI_STATUS bind_give_back(void)
{
    driver.refuses_all = true;
    EFI_STATUS status = bind_give_back_disks();
    /* Memory that the first disk needed may be free now that others are gone. */
    if (EFI_ERROR(status))
        status = bind_give_back_disks();
    if (!EFI_ERROR(status))
        status = bind_uninstall();
    driver.refuses_all = false;
    if (!EFI_ERROR(status))
        return EFI_SUCCESS;
    for (const struct disk *disk = driver.disks; disk; disk = disk->next)
        message_error(disk->name, NULL, L"cannot be given back to the firmware: %r", status);
    return status;
}
