/** @file
 * Stands between a disk driver and its interrupts, and reads with it meanwhile.
 *
 * usage, in the UEFI shell: bend_interrupts.efi DRIVER READS
 *
 * Each handler that is registered at EFI_CPU_ARCH_PROTOCOL from now on gets ours in front of it, which
 * lets some interrupts through and drops, doubles or delays others, at random. Then the driver (a file
 * in the root folder that we were started from) is loaded, and each virtio disk read so many times:
 * with a random number of tokens of EFI_BLOCK_IO2 at once, waiting in WaitForEvent(), or by
 * EFI_BLOCK_IO. The driver is unloaded at the end. Prints for each disk how many reads there were, what
 * went wrong, and what the longest round took; then what was done to the interrupts.
 */

#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define DEPTH_MAX   32u
#define READ_BYTES  4096u
#define STALE       0xa5
#define CHANCES     16u /* of which about one each is to drop, double and delay */
#define VECTORS     256u
#define LATE_PERIOD 10000u /* of 100 ns */
#define LAPIC_EOI   ((volatile UINT32 *)0xFEE000B0u)
#define LAPIC_ICR   ((volatile UINT32 *)0xFEE00300u)
#define ICR_TO_SELF 0x40000u
#define EVERY_NTH   4u /* round is by EFI_BLOCK_IO */
#define FS_PER_US   1000000000u
#define FS_PER_MS   (1000u * (UINT64)FS_PER_US)

typedef VOID(EFIAPI *interrupt_handler)(INTN vector, VOID *context);

/* From the PI specification, volume 2, 12.3 CPU Architectural Protocol. */
typedef struct cpu_arch_protocol {
    VOID *others[5];
    EFI_STATUS(EFIAPI *RegisterInterruptHandler)
    (struct cpu_arch_protocol *, INTN vector, interrupt_handler);
    EFI_STATUS(EFIAPI *GetTimerValue)
    (struct cpu_arch_protocol *, UINT32 timer, UINT64 *ret_ticks, UINT64 *ret_period_fs);
} cpu_arch_protocol;

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static EFI_GUID block_io2_guid = EFI_BLOCK_IO2_PROTOCOL_GUID;
static EFI_GUID cpu_arch_guid = {
    0x26baccb1, 0x6f42, 0x11d4, {0xbc, 0xe7, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}};

static cpu_arch_protocol *cpu;
static EFI_STATUS(EFIAPI *register_before)(cpu_arch_protocol *, INTN, interrupt_handler);
static interrupt_handler targets[VECTORS];
static UINTN n_targets;
static INTN late_vector; /* 0: none */
static BOOLEAN is_bending;
static struct {
    UINTN all, dropped, doubled, delayed;
} interrupts;

static UINT64 next_random(void)
{
    static UINT64 state = 0x9E3779B97F4A7C15u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 11;
}

/* --- Interrupts ------------------------------------------------------------------------------- */

static VOID let_through(INTN vector, VOID *context)
{
    if (targets[vector])
        targets[vector](vector, context); /* which ends the interrupt */
    else
        *LAPIC_EOI = 0;
}

static VOID EFIAPI on_interrupt(INTN vector, VOID *context)
{
    interrupts.all++;
    switch (is_bending ? next_random() % CHANCES : CHANCES) {
    case 0:
        interrupts.dropped++;
        *LAPIC_EOI = 0;
        break;
    case 1: /* a real one more, to which anything may happen */
        interrupts.doubled++;
        let_through(vector, context);
        *LAPIC_ICR = ICR_TO_SELF | (UINT32)vector;
        break;
    case 2:
        if (!late_vector) {
            interrupts.delayed++;
            late_vector = vector;
            *LAPIC_EOI = 0;
            break;
        }
        /* fall through */
    default:
        let_through(vector, context);
    }
}

/* The one that was kept back comes when the level allows it, and nobody waits for it any more. */
static VOID EFIAPI on_late(EFI_EVENT event, VOID *context)
{
    INTN vector = late_vector;

    (void)event;
    (void)context;
    late_vector = 0;
    if (vector && targets[vector])
        *LAPIC_ICR = ICR_TO_SELF | (UINT32)vector;
}

static EFI_STATUS EFIAPI register_ours(cpu_arch_protocol *this, INTN vector,
                                       interrupt_handler handler)
{
    EFI_STATUS status = register_before(this, vector, handler ? on_interrupt : NULL);

    if (EFI_ERROR(status) || vector < 0 || vector >= (INTN)VECTORS)
        return status;
    n_targets += handler ? 1 : (UINTN)-1;
    targets[vector] = handler;
    return status;
}

/* --- Reading ---------------------------------------------------------------------------------- */

struct read {
    EFI_BLOCK_IO2_TOKEN token;
    UINTN n_signalled;
};

static struct read reads[DEPTH_MAX];
static UINT8 *buffers;
static EFI_EVENT all_done;
static UINTN n_done, n_wanted;
static UINTN n_errors, n_twice, n_wrong;

static UINT64 ticks_now(UINT64 *ret_period_fs)
{
    UINT64 ticks = 0;

    (void)cpu->GetTimerValue(cpu, 0, &ticks, ret_period_fs);
    return ticks;
}

static VOID EFIAPI on_signal(EFI_EVENT event, VOID *context)
{
    struct read *read = context;

    (void)event;
    if (++read->n_signalled > 1)
        n_twice++;
    if (EFI_ERROR(read->token.TransactionStatus))
        n_errors++;
    if (++n_done == n_wanted)
        (void)BS->SignalEvent(all_done);
}

/* Each eight bytes of the disk are their place on it, or all are zero. */
static VOID check_data(const UINT8 *data, EFI_LBA lba, UINTN block_bytes)
{
    for (UINTN at = 0; at < READ_BYTES; at += sizeof(UINT64)) {
        UINT64 value = *(const UINT64 *)(data + at);
        if (value != 0 && value != lba * block_bytes + at) {
            n_wrong++;
            return;
        }
    }
}

static EFI_LBA random_lba(const EFI_BLOCK_IO_MEDIA *media)
{
    UINT64 blocks = READ_BYTES / media->BlockSize;

    return next_random() % ((media->LastBlock + 1) / blocks) * blocks;
}

static VOID read_with_tokens(EFI_BLOCK_IO2_PROTOCOL *block_io2, UINTN depth)
{
    EFI_BLOCK_IO_MEDIA *media = block_io2->Media;
    EFI_LBA lbas[DEPTH_MAX];
    UINTN index;

    n_done = 0;
    n_wanted = depth;
    SetMem(buffers, depth * READ_BYTES, STALE);
    for (UINTN i = 0; i < depth; i++) {
        lbas[i] = random_lba(media);
        reads[i].n_signalled = 0;
        if (EFI_ERROR(block_io2->ReadBlocksEx(block_io2, media->MediaId, lbas[i], &reads[i].token,
                                              READ_BYTES, buffers + i * READ_BYTES))) {
            n_errors++;
            return;
        }
    }
    (void)BS->WaitForEvent(1, &all_done, &index);
    for (UINTN i = 0; i < depth; i++)
        check_data(buffers + i * READ_BYTES, lbas[i], media->BlockSize);
}

static VOID read_blocking(EFI_BLOCK_IO *block_io)
{
    EFI_LBA lba = random_lba(block_io->Media);

    SetMem(buffers, READ_BYTES, STALE);
    if (EFI_ERROR(
            block_io->ReadBlocks(block_io, block_io->Media->MediaId, lba, READ_BYTES, buffers)))
        n_errors++;
    check_data(buffers, lba, block_io->Media->BlockSize);
}

static VOID read_disk(EFI_HANDLE handle, UINTN n_reads)
{
    EFI_BLOCK_IO2_PROTOCOL *block_io2 = NULL;
    EFI_BLOCK_IO *block_io = NULL;
    VOID *pci_io = NULL;
    UINT64 period_fs = 0, longest = 0;
    UINTN done = 0;

    /* Only drivers of virtio disks put these onto the handle of the PCI function itself. */
    if (EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, &pci_io)) ||
        EFI_ERROR(BS->HandleProtocol(handle, &BlockIoProtocol, (VOID **)&block_io)) ||
        EFI_ERROR(BS->HandleProtocol(handle, &block_io2_guid, (VOID **)&block_io2)))
        return;
    n_errors = n_twice = n_wrong = 0;
    for (UINTN round = 0; done < n_reads && !n_errors; round++) {
        BOOLEAN blocks = round % EVERY_NTH == 0;
        UINTN depth = blocks ? 1 : 1 + next_random() % DEPTH_MAX;
        UINT64 start = ticks_now(&period_fs);
        if (blocks)
            read_blocking(block_io);
        else
            read_with_tokens(block_io2, depth);
        UINT64 passed = ticks_now(&period_fs) - start;
        longest = passed > longest ? passed : longest;
        done += depth;
    }
    Print(L"bend: %d reads, %d errors, %d signalled twice, %d wrong, longest round %ld ms\n", done,
          n_errors, n_twice, n_wrong, longest * (period_fs / 1000) / (FS_PER_MS / 1000));
}

static VOID read_disks(UINTN n_reads)
{
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0;

    if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &BlockIoProtocol, NULL, &n_handles, &handles)))
        return;
    for (UINTN i = 0; i < n_handles; i++)
        read_disk(handles[i], n_reads);
    (void)BS->FreePool(handles);
}

/* --- The story -------------------------------------------------------------------------------- */

static EFI_STATUS make_events(EFI_EVENT *ret_late)
{
    EFI_STATUS status = BS->CreateEvent(0, 0, NULL, NULL, &all_done);

    for (UINTN i = 0; i < DEPTH_MAX && !EFI_ERROR(status); i++)
        status = BS->CreateEvent(EVT_NOTIFY_SIGNAL, TPL_CALLBACK, on_signal, &reads[i],
                                 &reads[i].token.Event);
    if (!EFI_ERROR(status))
        status =
            BS->CreateEvent(EVT_TIMER | EVT_NOTIFY_SIGNAL, TPL_NOTIFY, on_late, NULL, ret_late);
    if (!EFI_ERROR(status))
        status = BS->SetTimer(*ret_late, TimerPeriodic, LATE_PERIOD);
    return status;
}

static EFI_STATUS load_driver(EFI_HANDLE self, CHAR16 *name, EFI_HANDLE *ret_driver)
{
    EFI_LOADED_IMAGE *loaded = NULL;

    EFI_STATUS status = BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&loaded);
    if (EFI_ERROR(status))
        return status;
    status =
        BS->LoadImage(FALSE, self, FileDevicePath(loaded->DeviceHandle, name), NULL, 0, ret_driver);
    return EFI_ERROR(status) ? status : BS->StartImage(*ret_driver, NULL, NULL);
}

static EFI_STATUS run(EFI_HANDLE self, CHAR16 *driver_name, UINTN n_reads)
{
    EFI_EVENT late = NULL;
    EFI_HANDLE driver = NULL;

    EFI_STATUS status = make_events(&late);
    if (EFI_ERROR(status))
        return status;
    register_before = cpu->RegisterInterruptHandler;
    cpu->RegisterInterruptHandler = register_ours;
    status = load_driver(self, driver_name, &driver);
    if (EFI_ERROR(status))
        goto out;
    is_bending = TRUE;
    read_disks(n_reads);
    is_bending = FALSE;
    Print(L"bend: %d interrupts, %d dropped, %d doubled, %d delayed\n", interrupts.all,
          interrupts.dropped, interrupts.doubled, interrupts.delayed);
    Print(L"bend: %d handlers before the driver is unloaded\n", n_targets);
    status = BS->UnloadImage(driver);
    Print(L"bend: %d handlers after that\n", n_targets);
out:
    cpu->RegisterInterruptHandler = register_before;
    (void)BS->CloseEvent(late);
    return status;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_PHYSICAL_ADDRESS address = 0;
    CHAR16 **words = NULL;

    InitializeLib(self, system);
    if (GetShellArgcArgv(self, &words) != 3)
        return EFI_INVALID_PARAMETER;
    EFI_STATUS status = BS->LocateProtocol(&cpu_arch_guid, NULL, (VOID **)&cpu);
    if (!EFI_ERROR(status))
        status = BS->AllocatePages(AllocateAnyPages, EfiBootServicesData,
                                   DEPTH_MAX * READ_BYTES / EFI_PAGE_SIZE, &address);
    if (EFI_ERROR(status))
        return status;
    buffers = (UINT8 *)(UINTN)address;
    status = run(self, words[1], Atoi(words[2]));
    Print(L"bend: %r\n", status);
    return status;
}
