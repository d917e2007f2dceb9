/** @file
 * Asks virtboot's driver for its name and that of its disk, by both protocols and in languages that
 * it has and that it has not, and prints every answer.
 */

#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static EFI_GUID name_guid = EFI_COMPONENT_NAME_PROTOCOL_GUID;
static EFI_GUID name2_guid = EFI_COMPONENT_NAME2_PROTOCOL_GUID;
static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static CHAR16 driver_name[] = L"virtio driver (virtboot)";

static EFI_COMPONENT_NAME_PROTOCOL *name;
static EFI_COMPONENT_NAME2_PROTOCOL *name2;

static void report(const CHAR16 *what, const char *language, EFI_STATUS status, const CHAR16 *text)
{
    Print(L"component-names: %s %a: %r", what, language, status);
    if (!EFI_ERROR(status))
        Print(L", \"%s\"", text);
    Print(L"\n");
}

static void ask_driver(const char *language)
{
    CHAR16 *text = NULL;

    EFI_STATUS status = name->GetDriverName(name, (CHAR8 *)language, &text);
    report(L"driver", language, status, text);
    text = NULL;
    status = name2->GetDriverName(name2, (CHAR8 *)language, &text);
    report(L"driver2", language, status, text);
}

static void ask_disk(EFI_HANDLE disk, EFI_HANDLE child, const CHAR16 *suffix, const char *language)
{
    CHAR16 what[32];
    CHAR16 *text = NULL;

    EFI_STATUS status = name->GetControllerName(name, disk, child, (CHAR8 *)language, &text);
    SPrint(what, sizeof(what), L"disk%s", suffix);
    report(what, language, status, text);
    text = NULL;
    status = name2->GetControllerName(name2, disk, child, (CHAR8 *)language, &text);
    SPrint(what, sizeof(what), L"disk2%s", suffix);
    report(what, language, status, text);
}

/* The firmware's drivers have names too: ours is known by what it says, by either protocol. */
static BOOLEAN is_ours(EFI_HANDLE handle)
{
    CHAR16 *text = NULL;

    if (EFI_ERROR(BS->HandleProtocol(handle, &name_guid, (VOID **)&name)) ||
        EFI_ERROR(BS->HandleProtocol(handle, &name2_guid, (VOID **)&name2)))
        return FALSE;
    if (!EFI_ERROR(name->GetDriverName(name, (CHAR8 *)"eng", &text)) && text &&
        StrCmp(text, driver_name) == 0)
        return TRUE;
    return !EFI_ERROR(name2->GetDriverName(name2, (CHAR8 *)"en", &text)) && text &&
           StrCmp(text, driver_name) == 0;
}

/* A virtio disk's EFI_BLOCK_IO is on the handle of its PCI function. */
static EFI_HANDLE find_disk(void)
{
    EFI_HANDLE *handles = NULL;
    EFI_HANDLE found = NULL;
    UINTN n_handles = 0;
    VOID *interface;

    if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, &n_handles, &handles)))
        return NULL;
    for (UINTN i = 0; i < n_handles; i++) {
        if (!EFI_ERROR(BS->HandleProtocol(handles[i], &BlockIoProtocol, &interface)))
            found = handles[i];
    }
    (void)BS->FreePool(handles);
    return found;
}

static void ask_all(EFI_HANDLE driver)
{
    static const char *const languages[] = {"eng", "en", "e", "engl", "xx"};
    EFI_HANDLE disk = find_disk();

    Print(L"component-names: languages %a and %a\n", name->SupportedLanguages,
          name2->SupportedLanguages);
    for (UINTN i = 0; i < sizeof(languages) / sizeof(languages[0]); i++) {
        ask_driver(languages[i]);
        ask_disk(disk, NULL, L"", languages[i]);
    }
    /* The driver's own handle is no disk, and a disk has no children. */
    ask_disk(driver, NULL, L" other", "eng");
    ask_disk(driver, NULL, L" other", "en");
    ask_disk(disk, driver, L" child", "eng");
    ask_disk(disk, driver, L" child", "en");
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0;

    InitializeLib(self, system);
    EFI_STATUS status = BS->LocateHandleBuffer(ByProtocol, &name2_guid, NULL, &n_handles, &handles);
    if (EFI_ERROR(status))
        return status;
    for (UINTN i = 0; i < n_handles; i++) {
        if (is_ours(handles[i]))
            ask_all(handles[i]);
    }
    (void)BS->FreePool(handles);
    return EFI_SUCCESS;
}
