/** @file
 * Does things to the processor's interrupt vectors, and looks at what a driver does with them.
 *
 * usage, in the UEFI shell: interrupts.efi COMMAND...
 *
 *   take N      take all free vectors but N, until the end or `free`
 *   free        give them back
 *   load FILE   load a driver from the root folder that we were started from
 *   unload      unload it
 *   vectors     how many vectors are free, and how many the driver has
 *   msix        of each virtio function: control word, interrupt disable, which entries are masked
 *   storm N     raise vectors of the driver N times, one by one, and read from each disk in between
 *   catch       take all vectors that the driver has had, to count what comes over them
 *   late N      raise these N times, and say how many came
 *   apic        which vectors are being served, or wait for that
 *   exit        leave the boot services; what follows is said over the serial port
 *
 * Prints a line "interrupts: ..." for each thing done. Data is right when each eight bytes of a disk
 * are their offset.
 */

#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define VECTORS          256u
#define FIRST_VECTOR     0x20u
#define READ_BYTES       4096u
#define STORM_STEP       100u /* interrupts between two reads */
#define LAPIC_EOI        ((volatile UINT32 *)0xFEE000B0u)
#define LAPIC_ICR        ((volatile UINT32 *)0xFEE00300u)
#define LAPIC_IN_SERVICE 0xFEE00100u
#define LAPIC_REQUESTED  0xFEE00200u
#define ICR_TO_SELF      0x40000u
#define ICR_IS_PENDING   0x1000u
#define SERIAL_PORT      0x3F8u
#define FUNCTIONS_MAX    16u
#define MAP_BYTES        (64u * 1024)

#define PCI_COMMAND      4u
#define PCI_CAPABILITIES 0x34u
#define CAPABILITY_MSIX  0x11u
#define VIRTIO_VENDOR    0x1AF4u

typedef VOID(EFIAPI *interrupt_handler)(INTN vector, VOID *context);

/* From the PI specification, volume 2, 12.3 CPU Architectural Protocol. */
typedef struct cpu_arch_protocol {
    VOID *others[5];
    EFI_STATUS(EFIAPI *RegisterInterruptHandler)
    (struct cpu_arch_protocol *, INTN vector, interrupt_handler);
} cpu_arch_protocol;

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static EFI_GUID cpu_arch_guid = {
    0x26baccb1, 0x6f42, 0x11d4, {0xbc, 0xe7, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}};

static cpu_arch_protocol *cpu;
static EFI_STATUS(EFIAPI *register_before)(cpu_arch_protocol *, INTN, interrupt_handler);
static BOOLEAN is_ours[VECTORS];    /* taken by us */
static BOOLEAN is_drivers[VECTORS]; /* has a handler of the driver */
static BOOLEAN was_drivers[VECTORS];
static UINTN n_came;
static EFI_HANDLE self_handle, driver;
static BOOLEAN has_left; /* the boot services */
static struct {
    EFI_HANDLE handle;
    EFI_PCI_IO_PROTOCOL *pci_io;
} functions[FUNCTIONS_MAX];
static UINTN n_functions;
static UINT8 map[MAP_BYTES] __attribute__((aligned(16)));

/* --- Saying ----------------------------------------------------------------------------------- */

static VOID put_char(CHAR16 c)
{
    UINT8 byte = (UINT8)c;
    UINT8 status;

    do
        __asm__ volatile("inb %w1, %b0" : "=a"(status) : "d"(SERIAL_PORT + 5));
    while (!(status & 0x20));
    __asm__ volatile("outb %b0, %w1" : : "a"(byte), "d"(SERIAL_PORT));
}

static VOID say(const CHAR16 *format, ...)
{
    CHAR16 text[160];
    va_list arguments;

    va_start(arguments, format);
    (void)UnicodeVSPrint(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (!has_left) {
        (void)Print(L"interrupts: %s\n", text);
        return;
    }
    for (const CHAR16 *at = L"interrupts: "; *at; at++)
        put_char(*at);
    for (const CHAR16 *at = text; *at; at++)
        put_char(*at);
    put_char('\r');
    put_char('\n');
}

/* --- Vectors ---------------------------------------------------------------------------------- */

static VOID EFIAPI on_interrupt(INTN vector, VOID *context)
{
    (void)vector;
    (void)context;
    n_came++;
    *LAPIC_EOI = 0;
}

/* What the driver registers, and what it gives back. */
static EFI_STATUS EFIAPI register_drivers(cpu_arch_protocol *this, INTN vector,
                                          interrupt_handler handler)
{
    EFI_STATUS status = register_before(this, vector, handler);

    if (EFI_ERROR(status) || vector < 0 || vector >= (INTN)VECTORS)
        return status;
    is_drivers[vector] = handler != NULL;
    was_drivers[vector] |= handler != NULL;
    return status;
}

static UINTN count(const BOOLEAN *flags)
{
    UINTN n = 0;

    for (UINTN i = 0; i < VECTORS; i++)
        n += flags[i];
    return n;
}

static VOID give_back_vectors(VOID)
{
    for (UINTN i = 0; i < VECTORS; i++) {
        if (is_ours[i])
            (void)register_before(cpu, (INTN)i, NULL);
        is_ours[i] = FALSE;
    }
}

static BOOLEAN take_vector(UINTN vector)
{
    is_ours[vector] = !EFI_ERROR(register_before(cpu, (INTN)vector, on_interrupt));
    return is_ours[vector];
}

static VOID take_vectors(UINTN n_free)
{
    for (UINTN i = FIRST_VECTOR; i < VECTORS; i++)
        (void)take_vector(i);
    /* The middle ones, so that they are to be searched. */
    for (UINTN i = VECTORS / 2; i < VECTORS && n_free; i += 3, n_free--) {
        (void)register_before(cpu, (INTN)i, NULL);
        is_ours[i] = FALSE;
    }
    say(L"%d taken", count(is_ours));
}

static VOID report_vectors(VOID)
{
    UINTN n_free = 0;

    for (UINTN i = FIRST_VECTOR; i < VECTORS; i++) {
        if (is_ours[i] || !take_vector(i))
            continue;
        n_free++;
        (void)register_before(cpu, (INTN)i, NULL);
        is_ours[i] = FALSE;
    }
    say(L"%d free, %d of the driver", n_free, count(is_drivers));
}

/* Eight registers of 32 vectors each, 16 bytes apart. */
static UINTN count_in_apic(UINTN first_register)
{
    UINTN n = 0;

    for (UINTN i = 0; i < VECTORS; i++)
        n += *(volatile UINT32 *)(first_register + i / 32 * 16) >> i % 32 & 1;
    return n;
}

static VOID report_apic(VOID)
{
    say(L"%d in service, %d requested", count_in_apic(LAPIC_IN_SERVICE),
        count_in_apic(LAPIC_REQUESTED));
}

static VOID raise(UINTN vector)
{
    *LAPIC_ICR = ICR_TO_SELF | (UINT32)vector;
    while (*LAPIC_ICR & ICR_IS_PENDING)
        ;
}

/* The next vector among the flagged; there is one. */
static UINTN next_vector(const BOOLEAN *flags, UINTN vector)
{
    do
        vector = (vector + 1) % VECTORS;
    while (!flags[vector]);
    return vector;
}

/* --- Disks ------------------------------------------------------------------------------------ */

/* Found at the start, for the boot services may be gone later. */
static VOID find_functions(VOID)
{
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0;

    (void)BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, &n_handles, &handles);
    for (UINTN i = 0; i < n_handles && n_functions < FUNCTIONS_MAX; i++) {
        EFI_PCI_IO_PROTOCOL *pci_io = NULL;
        UINT16 vendor = 0;
        if (EFI_ERROR(BS->HandleProtocol(handles[i], &pci_io_guid, (VOID **)&pci_io)))
            continue;
        (void)pci_io->Pci.Read(pci_io, EfiPciIoWidthUint16, 0, 1, &vendor);
        if (vendor != VIRTIO_VENDOR)
            continue;
        functions[n_functions].handle = handles[i];
        functions[n_functions++].pci_io = pci_io;
    }
    if (handles)
        (void)BS->FreePool(handles);
}

static UINTN n_reads, n_errors;

static VOID read_disk(EFI_HANDLE handle)
{
    static UINT64 data[READ_BYTES / sizeof(UINT64)];
    static UINT64 place;
    EFI_BLOCK_IO *block_io = NULL;

    if (EFI_ERROR(BS->HandleProtocol(handle, &BlockIoProtocol, (VOID **)&block_io)))
        return;
    UINT64 blocks = READ_BYTES / block_io->Media->BlockSize;
    EFI_LBA lba = (place += 17) % ((block_io->Media->LastBlock + 1) / blocks) * blocks;
    SetMem(data, READ_BYTES, 0xa5);
    n_reads++;
    if (EFI_ERROR(
            block_io->ReadBlocks(block_io, block_io->Media->MediaId, lba, READ_BYTES, data)) ||
        data[1] != lba * block_io->Media->BlockSize + sizeof(UINT64))
        n_errors++;
}

static VOID read_disks(VOID)
{
    for (UINTN i = 0; i < n_functions; i++)
        read_disk(functions[i].handle);
}

static VOID storm(UINTN n)
{
    UINTN vector = 0;

    n_reads = n_errors = 0;
    for (UINTN i = 0; i < n && count(is_drivers); i++) {
        raise(vector = next_vector(is_drivers, vector));
        if (i % STORM_STEP == 0)
            read_disks();
    }
    say(L"storm of %d, %d reads, %d errors", n, n_reads, n_errors);
}

static VOID report_function(EFI_PCI_IO_PROTOCOL *pci_io)
{
    UINTN segment, bus, device, function;
    UINT32 words[2], entry_control;
    UINT16 command = 0;
    UINT8 at = 0, header[2];
    UINTN n_masked = 0, n_entries = 0;

    (void)pci_io->GetLocation(pci_io, &segment, &bus, &device, &function);
    (void)pci_io->Pci.Read(pci_io, EfiPciIoWidthUint16, PCI_COMMAND, 1, &command);
    (void)pci_io->Pci.Read(pci_io, EfiPciIoWidthUint8, PCI_CAPABILITIES, 1, &at);
    words[0] = 0;
    for (header[1] = 0; at; at = header[1]) {
        (void)pci_io->Pci.Read(pci_io, EfiPciIoWidthUint8, at, 2, header);
        if (header[0] != CAPABILITY_MSIX)
            continue;
        (void)pci_io->Pci.Read(pci_io, EfiPciIoWidthUint32, at, 2, words);
        n_entries = (words[0] >> 16 & 0x7FF) + 1;
        for (UINTN i = 0; i < n_entries; i++) {
            (void)pci_io->Mem.Read(pci_io, EfiPciIoWidthUint32, (UINT8)(words[1] & 7),
                                   (words[1] & ~7u) + i * 16 + 12, 1, &entry_control);
            n_masked += entry_control & 1;
        }
        break;
    }
    say(L"%02x:%02x.%x control %04x, %d of %d masked, command %04x", bus, device, function,
        words[0] >> 16, n_masked, n_entries, command);
}

static VOID report_functions(VOID)
{
    for (UINTN i = 0; i < n_functions; i++)
        report_function(functions[i].pci_io);
}

/* --- The driver ------------------------------------------------------------------------------- */

static VOID load_driver(CHAR16 *name)
{
    EFI_LOADED_IMAGE *loaded = NULL;

    EFI_STATUS status = BS->HandleProtocol(self_handle, &LoadedImageProtocol, (VOID **)&loaded);
    if (!EFI_ERROR(status))
        status = BS->LoadImage(FALSE, self_handle, FileDevicePath(loaded->DeviceHandle, name), NULL,
                               0, &driver);
    if (!EFI_ERROR(status))
        status = BS->StartImage(driver, NULL, NULL);
    say(L"load: %r", status);
}

static VOID leave_boot_services(VOID)
{
    EFI_STATUS status = EFI_INVALID_PARAMETER;

    say(L"leaving");
    for (UINTN i = 0; i < 2 && status == EFI_INVALID_PARAMETER; i++) {
        UINTN bytes = sizeof(map), key = 0, descriptor_bytes;
        UINT32 version;
        (void)BS->GetMemoryMap(&bytes, (EFI_MEMORY_DESCRIPTOR *)map, &key, &descriptor_bytes,
                               &version);
        status = BS->ExitBootServices(self_handle, key);
    }
    has_left = !EFI_ERROR(status);
    say(L"left: %d", has_left);
}

/* --- Commands --------------------------------------------------------------------------------- */

static VOID catch_vectors(VOID)
{
    UINTN n_caught = 0;

    for (UINTN i = 0; i < VECTORS; i++)
        n_caught += was_drivers[i] && take_vector(i);
    say(L"%d of %d caught", n_caught, count(was_drivers));
}

static VOID raise_late(UINTN n)
{
    UINTN vector = 0;

    n_came = 0;
    for (UINTN i = 0; i < n && count(was_drivers); i++)
        raise(vector = next_vector(was_drivers, vector));
    say(L"%d of %d came late", n_came, n);
}

static BOOLEAN run(CHAR16 *command, CHAR16 *argument)
{
    if (StrCmp(command, L"take") == 0)
        take_vectors(Atoi(argument));
    else if (StrCmp(command, L"load") == 0)
        load_driver(argument);
    else if (StrCmp(command, L"storm") == 0)
        storm(Atoi(argument));
    else if (StrCmp(command, L"late") == 0)
        raise_late(Atoi(argument));
    else
        return FALSE;
    return TRUE;
}

static VOID run_alone(const CHAR16 *command)
{
    if (StrCmp(command, L"free") == 0)
        give_back_vectors();
    else if (StrCmp(command, L"unload") == 0)
        say(L"unload: %r", BS->UnloadImage(driver));
    else if (StrCmp(command, L"vectors") == 0)
        report_vectors();
    else if (StrCmp(command, L"msix") == 0)
        report_functions();
    else if (StrCmp(command, L"apic") == 0)
        report_apic();
    else if (StrCmp(command, L"catch") == 0)
        catch_vectors();
    else if (StrCmp(command, L"exit") == 0)
        leave_boot_services();
    else
        say(L"no such command: %s", command);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    static CHAR16 empty[] = L"";
    CHAR16 **words = NULL;

    InitializeLib(self, system);
    self_handle = self;
    INTN n_words = GetShellArgcArgv(self, &words);
    EFI_STATUS status = BS->LocateProtocol(&cpu_arch_guid, NULL, (VOID **)&cpu);
    if (EFI_ERROR(status))
        return status;
    find_functions();
    register_before = cpu->RegisterInterruptHandler;
    cpu->RegisterInterruptHandler = register_drivers;
    for (INTN i = 1; i < n_words; i++) {
        if (run(words[i], i + 1 < n_words ? words[i + 1] : empty))
            i++;
        else
            run_alone(words[i]);
    }
    say(L"done");
    while (has_left)
        __asm__ volatile("hlt");
    give_back_vectors();
    cpu->RegisterInterruptHandler = register_before;
    return EFI_SUCCESS;
}
