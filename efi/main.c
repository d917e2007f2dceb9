/*
 * virtboot.efi: take the virtio disks, find an entry, load its kernel and initrds, start it. Whatever
 * fails, the disks go back to the firmware, and the status leads it on to the next boot option.
 */

#include "boot/entry.h"
#include "boot/utf16.h"
#include "efi/bind.h"
#include "efi/clock.h"
#include "efi/configuration.h"
#include "efi/entries.h"
#include "efi/image.h"
#include "efi/initrd.h"
#include "efi/message.h"
#include "efi/uefi.h"
#include "efi/version.h"
#include "efi/volume.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

const CHAR16 message_program[] = L"virtboot";

/* What one boot holds; everything in it accepts to be released when it is zero. */
struct boot {
    EFI_HANDLE image;
    struct configuration configuration;
    unsigned n_errors;         /* that were printed before anything was tried */
    EFI_DEVICE_PATH *own_path; /* of the volume that we were started from */
    struct volume_list volumes;
    struct chosen_entry chosen;
    struct volume_file kernel;
    struct volume_file initrds[BOOT_ENTRY_MAX_INITRDS];
    UINTN n_initrds;
    struct initrd_offer offer;
    CHAR16 *options;
    UINT64 take_over_us;
};

/* --- Loading --------------------------------------------------------------------------------- */

/*
 * All since the take-over, file systems included. The initrds are read while the kernel's stub runs,
 * so this is called from there too.
 */
static void main_report_reading(void *context)
{
    const struct boot *boot = context;
    const struct disk *disk = bind_find_disk(boot->chosen.volume->controller);

    if (!disk)
        return;
    message_line(L"read %ld bytes in %ld requests, %ld notifications, %ld ms",
                 disk->blk.counters.bytes_read, disk->blk.counters.requests,
                 disk->blk.counters.notifications, (clock_now_us() - boot->take_over_us) / 1000);
}

static void main_report_entry(const struct chosen_entry *chosen)
{
    struct text_slice title = chosen->entry.title;
    UINTN capacity = title.bytes + 1;
    cleanup_pool CHAR16 *text = uefi_allocate(capacity * sizeof(CHAR16));
    struct utf16_text target = {.units = (uint16_t *)text, .capacity_units = capacity};

    /* A title that is no UTF-8 is left out; nothing else depends on it. */
    if (!text || utf16_append(&target, title) != BOOT_OK)
        message_line(L"booting (%s) from %s", chosen->file_name, chosen->volume->device);
    else
        message_line(L"booting \"%s\" (%s) from %s", text, chosen->file_name,
                     chosen->volume->device);
}

/* All files are opened before anything is read: what is missing is known at once. */
static EFI_STATUS main_open_files(struct boot *boot)
{
    const struct boot_entry *entry = &boot->chosen.entry;

    EFI_STATUS status =
        volume_open_file(boot->chosen.volume, entry_image_path(entry), &boot->kernel);
    while (!EFI_ERROR(status) && boot->n_initrds < entry->n_initrds) {
        status = volume_open_file(boot->chosen.volume, entry->initrd_paths[boot->n_initrds],
                                  &boot->initrds[boot->n_initrds]);
        if (!EFI_ERROR(status))
            boot->n_initrds++;
    }
    return status;
}

static EFI_STATUS main_make_options(struct boot *boot)
{
    const struct boot_entry *entry = &boot->chosen.entry;
    UINTN capacity = entry->options_bytes + 1;
    size_t n_units;

    boot->options = uefi_allocate(capacity * sizeof(CHAR16));
    if (!boot->options)
        return EFI_OUT_OF_RESOURCES;
    boot_status result =
        entry_options_to_uefi(entry, (uint16_t *)boot->options, capacity, &n_units);
    if (result == BOOT_OK)
        return EFI_SUCCESS;
    message_error(boot->chosen.volume->device, boot->chosen.file_name, L"options: %a",
                  boot_status_reason(result));
    return EFI_INVALID_PARAMETER;
}

static EFI_STATUS main_offer_initrds(struct boot *boot)
{
    boot->offer = (struct initrd_offer){
        .files = boot->initrds,
        .n_files = boot->n_initrds,
        .on_read = main_report_reading,
        .context = boot,
    };
    return boot->n_initrds ? initrd_offer(&boot->offer) : EFI_SUCCESS;
}

static UINT64 main_initrd_bytes(const struct boot *boot)
{
    UINT64 bytes = 0;

    for (UINTN i = 0; i < boot->n_initrds; i++)
        bytes += boot->initrds[i].bytes;
    return bytes;
}

/* --- Starting -------------------------------------------------------------------------------- */

static EFI_STATUS main_start(struct boot *boot, EFI_HANDLE kernel_image)
{
    EFI_STATUS status = image_set_options(kernel_image, boot->options);
    if (!EFI_ERROR(status))
        status = main_offer_initrds(boot);
    if (EFI_ERROR(status)) {
        (void)BS->UnloadImage(kernel_image); /* it was never started */
        return status;
    }
    if (boot->n_initrds == 0)
        main_report_reading(boot);

    status = BS->StartImage(kernel_image, NULL, NULL);

    /* Here only a program that is no kernel comes back, or a kernel that did not get far. */
    initrd_withdraw();
    if (boot->n_initrds && boot->offer.status == EFI_NOT_READY)
        main_report_reading(boot); /* it never asked for the initrds */
    else if (boot->n_initrds && EFI_ERROR(boot->offer.status))
        return boot->offer.status; /* reported when it happened */
    if (EFI_ERROR(status))
        message_error(boot->chosen.volume->device, boot->kernel.shown_path, L"came back with: %r",
                      status);
    else
        message_line(L"%s came back", boot->kernel.shown_path);
    return status;
}

static EFI_STATUS main_boot(struct boot *boot)
{
    EFI_HANDLE kernel_image = NULL;

    bind_refresh();
    EFI_STATUS status = volume_find_all(boot->own_path, &boot->volumes);
    if (EFI_ERROR(status))
        return status;
    status = entries_choose(&boot->volumes, boot->configuration.settings.entry_name, &boot->chosen);
    if (EFI_ERROR(status))
        return status;
    main_report_entry(&boot->chosen);
    status = main_open_files(boot);
    if (!EFI_ERROR(status))
        status = main_make_options(boot);
    if (!EFI_ERROR(status))
        status = image_load(boot->image, &boot->kernel, main_initrd_bytes(boot), &kernel_image);
    return EFI_ERROR(status) ? status : main_start(boot, kernel_image);
}

static void main_release(struct boot *boot)
{
    volume_close_file(&boot->kernel);
    for (UINTN i = 0; i < boot->n_initrds; i++)
        volume_close_file(&boot->initrds[i]);
    uefi_free_pool_at(&boot->options);
    entries_release(&boot->chosen);
    volume_close_all(&boot->volumes);
    uefi_free_pool_at(&boot->own_path);
}

/* From the take-over on; what it opened is still to be released, and the disks given back. */
static EFI_STATUS main_use_disks(struct boot *boot)
{
    boot->take_over_us = clock_now_us();
    UINTN n_disks = bind_take_over();
    /* What was said of disks that are driven is not why something fails later. */
    if (bind_first_disk())
        boot->n_errors = message_error_count();
    bind_report();
    if (n_disks == 0) {
        message_error(NULL, NULL, L"no virtio disk found on any PCI bus");
        return EFI_NOT_FOUND;
    }
    /* Why a disk cannot be driven was reported for each. */
    return bind_first_disk() ? main_boot(boot) : EFI_DEVICE_ERROR;
}

static EFI_STATUS main_run(struct boot *boot)
{
    struct bind_policy policy = {.publish_read_only = true};

    configuration_apply(&boot->configuration.settings, &policy);
    EFI_STATUS status = bind_install(boot->image, &policy);
    if (EFI_ERROR(status)) {
        message_error(NULL, NULL, L"the firmware refused our driver: %r", status);
        main_release(boot);
        return status;
    }
    status = main_use_disks(boot);
    main_release(boot);
    if (EFI_ERROR(bind_give_back())) {
        /* Returning would free code that the firmware still calls. */
        message_error(NULL, NULL, L"restarting the machine, because virtboot cannot leave it");
        RT->ResetSystem(EfiResetCold, EFI_ABORTED, 0, NULL);
    }
    message_line(L"devices given back to the firmware");
    return status;
}

static EFI_STATUS main_with_settings(struct boot *boot, EFI_LOADED_IMAGE *loaded)
{
    const struct settings *settings = &boot->configuration.settings;

    EFI_STATUS status = configuration_read(loaded, SETTINGS_VIRTBOOT, &boot->configuration);
    if (EFI_ERROR(status))
        return status;
    boot->n_errors = message_error_count();
    if (settings->show_help)
        configuration_print_usage(SETTINGS_VIRTBOOT);
    if (settings->show_help || settings->show_version)
        return EFI_SUCCESS; /* the version was printed already */
    /* Who loads us from memory need not say from which device. */
    EFI_DEVICE_PATH *path = DevicePathFromHandle(loaded->DeviceHandle);
    boot->own_path = path ? DuplicateDevicePath(path) : NULL;
    return main_run(boot);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    EFI_LOADED_IMAGE *loaded = NULL;

    InitializeLib(image, system_table);
    clock_init();
    (void)Print(L"virtboot " VIRTBOOT_VERSION L"\n");
    cleanup_pool struct boot *boot = uefi_allocate(sizeof(*boot));
    EFI_STATUS status =
        boot ? BS->HandleProtocol(image, &gEfiLoadedImageProtocolGuid, (VOID **)&loaded)
             : EFI_OUT_OF_RESOURCES;
    if (!EFI_ERROR(status)) {
        boot->image = image;
        status = main_with_settings(boot, loaded);
        configuration_release(&boot->configuration);
    }
    /* Whoever had no words for it, such as being out of pool memory. */
    if (EFI_ERROR(status) && message_error_count() == (boot ? boot->n_errors : 0))
        message_error(NULL, NULL, L"%r", status);
    return status;
}
