/*
 * virtio.efi: the same drivers as a UEFI driver of their own, for every UEFI program to profit. It
 * takes the virtio disks when it is loaded and gives them back when it is unloaded; in between it
 * drives whatever the firmware connects to it.
 */

#include "efi/bind.h"
#include "efi/clock.h"
#include "efi/configuration.h"
#include "efi/message.h"
#include "efi/uefi.h"
#include "efi/version.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

const CHAR16 message_program[] = L"virtio";

static EFI_STATUS EFIAPI driver_unload(EFI_HANDLE image)
{
    (void)image;
    return bind_give_back();
}

/* Either is all that is wanted then. An error, so that the driver does not stay in memory. */
static EFI_STATUS driver_show(const struct settings *settings)
{
    if (!settings->show_help && !settings->show_version)
        return EFI_SUCCESS;
    (void)Print(L"virtio " VIRTBOOT_VERSION L"\n");
    if (settings->show_help)
        configuration_print_usage(SETTINGS_VIRTIO);
    return EFI_ABORTED;
}

static EFI_STATUS driver_configure(EFI_LOADED_IMAGE *loaded, struct bind_policy *policy)
{
    struct configuration configuration = {0};

    EFI_STATUS status = configuration_read(loaded, SETTINGS_VIRTIO, &configuration);
    if (!EFI_ERROR(status))
        status = driver_show(&configuration.settings);
    configuration_apply(&configuration.settings, policy);
    configuration_release(&configuration);
    return status;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    struct bind_policy policy = {.accepts_any_controller = true};
    EFI_LOADED_IMAGE *loaded = NULL;

    InitializeLib(image, system_table);
    clock_init();
    EFI_STATUS status = BS->HandleProtocol(image, &gEfiLoadedImageProtocolGuid, (VOID **)&loaded);
    if (!EFI_ERROR(status))
        status = driver_configure(loaded, &policy);
    if (EFI_ERROR(status))
        return status;
    status = bind_install(image, &policy);
    if (EFI_ERROR(status)) {
        message_error(NULL, NULL, L"the firmware refused our driver: %r", status);
        return status;
    }
    loaded->Unload = driver_unload;
    (void)bind_take_over(); /* a machine without virtio disks may get one later */
    bind_report();
    return EFI_SUCCESS;
}
