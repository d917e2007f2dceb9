/** @file
 * Takes the addresses of BARs away, so that the next driver finds a device that the firmware has
 * given none.
 *
 * usage, in the UEFI shell: unassign_bar.efi FUNCTION BAR... [FUNCTION BAR...]...
 *
 * FUNCTION is a PCI address as 00:10.0, BAR the number of its (first) register. Prints for each what
 * the register held, and what it holds now.
 */

#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define BAR_0         0x10u
#define BARS          6u
#define BAR_IS_IO     0x1u
#define BAR_TYPE_MASK 0x6u
#define BAR_TYPE_64   0x4u

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;

static UINT32 read_config(EFI_PCI_IO_PROTOCOL *pci_io, UINT32 offset)
{
    UINT32 value = 0;

    (void)pci_io->Pci.Read(pci_io, EfiPciIoWidthUint32, offset, 1, &value);
    return value;
}

static void clear_config(EFI_PCI_IO_PROTOCOL *pci_io, UINT32 offset)
{
    UINT32 zero = 0;

    (void)pci_io->Pci.Write(pci_io, EfiPciIoWidthUint32, offset, 1, &zero);
}

static void unassign(EFI_PCI_IO_PROTOCOL *pci_io, const CHAR16 *name, UINTN bar)
{
    UINT32 offset = BAR_0 + (UINT32)(bar * sizeof(UINT32));
    UINT32 before = read_config(pci_io, offset);

    clear_config(pci_io, offset);
    if (!(before & BAR_IS_IO) && (before & BAR_TYPE_MASK) == BAR_TYPE_64)
        clear_config(pci_io, offset + (UINT32)sizeof(UINT32));
    Print(L"unassign-bar: %s BAR %d: %08x, now %08x\n", name, bar, before,
          read_config(pci_io, offset));
}

static EFI_PCI_IO_PROTOCOL *find_function(const CHAR16 *wanted)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL, *found = NULL;
    UINTN n_handles = 0, segment, bus, device, function;
    EFI_HANDLE *handles = NULL;
    CHAR16 name[16];

    if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, &n_handles, &handles)))
        return NULL;
    for (UINTN i = 0; i < n_handles && !found; i++) {
        if (EFI_ERROR(BS->HandleProtocol(handles[i], &pci_io_guid, (VOID **)&pci_io)) ||
            EFI_ERROR(pci_io->GetLocation(pci_io, &segment, &bus, &device, &function)))
            continue;
        SPrint(name, sizeof(name), L"%02x:%02x.%x", bus, device, function);
        if (StriCmp(wanted, name) == 0)
            found = pci_io;
    }
    (void)BS->FreePool(handles);
    return found;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;
    const CHAR16 *name = NULL;
    CHAR16 **words;

    InitializeLib(self, system);
    INTN n_words = GetShellArgcArgv(self, &words);
    for (INTN i = 1; i < n_words; i++) {
        BOOLEAN is_bar = StrLen(words[i]) == 1;
        if (!is_bar) {
            name = words[i];
            pci_io = find_function(name);
        }
        if (!pci_io || (is_bar && Atoi(words[i]) >= BARS))
            return EFI_NOT_FOUND;
        if (is_bar)
            unassign(pci_io, name, Atoi(words[i]));
    }
    return EFI_SUCCESS;
}
