/** @file
 * Stands in for a kernel: leaves the boot services and then does nothing at all, for ever.
 *
 * Linux resets the virtio devices too when it starts. With this program in its place, a reset that
 * the trace shows can only have come from the loader's own ExitBootServices event.
 */

#include <efi.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static CHAR16 said[] = L"exit-boot-services: called\r\n";
static CHAR16 refused[] = L"exit-boot-services: refused\r\n";

/* The map may grow between two calls: leave room, and never allocate between map and exit. */
static UINT8 map[64 * 1024] __attribute__((aligned(16)));

static EFI_STATUS leave(EFI_HANDLE self, EFI_BOOT_SERVICES *services)
{
    UINTN map_bytes = sizeof(map), key = 0, descriptor_bytes = 0;
    UINT32 version = 0;

    EFI_STATUS status = services->GetMemoryMap(&map_bytes, (EFI_MEMORY_DESCRIPTOR *)map, &key,
                                               &descriptor_bytes, &version);
    if (EFI_ERROR(status))
        return status;
    return services->ExitBootServices(self, key);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_STATUS status;

    /* The console is gone afterwards, so say it first. */
    system->ConOut->OutputString(system->ConOut, said);

    /* An event handler may change the map during the first call; the second one must do. */
    status = leave(self, system->BootServices);
    if (status == EFI_INVALID_PARAMETER)
        status = leave(self, system->BootServices);
    if (EFI_ERROR(status)) {
        system->ConOut->OutputString(system->ConOut, refused);
        return status;
    }

    for (;;)
        __asm__ volatile("cli; hlt");
}
