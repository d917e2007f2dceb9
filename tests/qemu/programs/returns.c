/** @file
 * An EFI application that comes back at once. As a later boot option it proves that the firmware
 * went on, and that it could read this file by its own driver.
 */

#include <efi.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static CHAR16 hello[] = L"returns: hello\r\n";

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    (void)self;
    system->ConOut->OutputString(system->ConOut, hello);
    return EFI_SUCCESS;
}
