/** @file
 * An EFI application that takes a page every 32 MiB, for good, and comes back with an error. So the
 * next boot option finds nearly all of the memory free, and none of it in one piece.
 */

#include <efi.h>

#define STEP (32ull * 1024 * 1024)
#define END  (4096ull * 1024 * 1024)

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static CHAR16 done[] = L"scatter-pages: done\r\n";

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    (void)self;
    for (EFI_PHYSICAL_ADDRESS next = STEP; next < END; next += STEP) {
        EFI_PHYSICAL_ADDRESS page = next;
        /* Where there is none to take, memory is in pieces already. */
        (void)system->BootServices->AllocatePages(AllocateAddress, EfiLoaderData, 1, &page);
    }
    system->ConOut->OutputString(system->ConOut, done);
    return EFI_NOT_FOUND;
}
