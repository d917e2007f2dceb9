/* Contract and terms: tests/bench/bench.h. */

#include "tests/bench/bench.h"

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define CALIBRATION_MS     50u
#define PCI_INTERRUPT_LINE 0x3Cu
#define VIRTIO_VENDOR      0x1AF4u
#define VIRTIO_BLK_IDS     0x10011AF4u, 0x10421AF4u /* transitional, modern */
#define JOB_BYTES_MAX      8192u

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static struct bench_job job;
static struct bench_disk disk;
static EFI_HANDLE ours; /* the image of virtio.efi, the last that was loaded */
static unsigned last_mark;

/* --- What there is on this machine ----------------------------------------------------------- */

static bool is_virtio_disk(EFI_PCI_IO_PROTOCOL *pci_io)
{
    static const uint32_t ids[] = {VIRTIO_BLK_IDS};
    uint32_t id = 0;

    if (EFI_ERROR(pci_io->Pci.Read(pci_io, EfiPciIoWidthUint32, 0, 1, &id)))
        return false;
    return id == ids[0] || id == ids[1];
}

static EFI_STATUS find_disk(void)
{
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0;

    EFI_STATUS status =
        BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, &n_handles, &handles);
    if (EFI_ERROR(status))
        return status;
    status = EFI_NOT_FOUND;
    for (UINTN i = 0; i < n_handles && EFI_ERROR(status); i++) {
        disk.handle = handles[i];
        if (!EFI_ERROR(BS->HandleProtocol(handles[i], &pci_io_guid, (VOID **)&disk.pci_io)) &&
            is_virtio_disk(disk.pci_io))
            status = EFI_SUCCESS;
    }
    (void)BS->FreePool(handles); /* allocated above */
    return status;
}

static EFI_STATUS allocate(void)
{
    EFI_PHYSICAL_ADDRESS address = 0;
    EFI_STATUS status = EFI_SUCCESS;

    for (unsigned i = 0; i < BENCH_DEPTH_MAX && !EFI_ERROR(status); i++)
        status = BS->CreateEvent(0, 0, NULL, NULL, &disk.tokens[i].Event);
    if (!EFI_ERROR(status))
        status = BS->AllocatePages(AllocateAnyPages, EfiBootServicesData,
                                   BENCH_POOL_BYTES / EFI_PAGE_SIZE, &address);
    disk.pool = (UINT8 *)(UINTN)address;
    return status;
}

static EFI_STATUS read_job(EFI_HANDLE volume)
{
    static char text[JOB_BYTES_MAX];
    UINTN bytes = sizeof(text);
    EFI_FILE_HANDLE file = NULL;

    EFI_FILE_HANDLE root = LibOpenRoot(volume);
    if (!root)
        return EFI_NOT_FOUND;
    EFI_STATUS status = root->Open(root, &file, L"\\bench.txt", EFI_FILE_MODE_READ, 0);
    if (!EFI_ERROR(status)) {
        status = file->Read(file, &bytes, text);
        (void)file->Close(file); /* always EFI_SUCCESS */
    }
    (void)root->Close(root); /* always EFI_SUCCESS */
    if (EFI_ERROR(status))
        return status;
    unsigned wrong_line = bench_parse_job(text, bytes, &job);
    if (wrong_line)
        Print(L"bench: line %d of the job makes no sense\n", wrong_line);
    return wrong_line ? EFI_INVALID_PARAMETER : EFI_SUCCESS;
}

static void print_clock(void)
{
    uint64_t start = bench_now();

    (void)BS->Stall(CALIBRATION_MS * 1000); /* it only ever waits */
    Print(L"bench: clock %ld\n", (bench_now() - start) / CALIBRATION_MS);
}

/* --- The two drivers ------------------------------------------------------------------------- */

static void find_protocols(void)
{
    disk.block_io = NULL;
    disk.block_io2 = NULL;
    /* A protocol that is not there is reported with each line that asks for it. */
    (void)BS->HandleProtocol(disk.handle, &BlockIoProtocol, (VOID **)&disk.block_io);
    (void)BS->HandleProtocol(disk.handle, &gEfiBlockIo2ProtocolGuid, (VOID **)&disk.block_io2);
}

/* The image that drives the disk, NULL for none: what is measured is who it is said to be. */
static EFI_HANDLE find_driver(void)
{
    EFI_OPEN_PROTOCOL_INFORMATION_ENTRY *entries = NULL;
    UINTN n_entries = 0;
    EFI_HANDLE driver = NULL;

    if (EFI_ERROR(BS->OpenProtocolInformation(disk.handle, &pci_io_guid, &entries, &n_entries)))
        return NULL;
    for (UINTN i = 0; i < n_entries; i++) {
        if (entries[i].Attributes & EFI_OPEN_PROTOCOL_BY_DRIVER)
            driver = entries[i].AgentHandle;
    }
    if (entries)
        (void)BS->FreePool(entries); /* allocated by the call */
    return driver;
}

/* Anew and not recursively: as few others as possible are to use the disk meanwhile. */
static EFI_STATUS connect_firmware(void)
{
    (void)BS->DisconnectController(disk.handle, NULL, NULL); /* it may be connected to nobody */
    EFI_STATUS status = BS->ConnectController(disk.handle, NULL, NULL, FALSE);
    find_protocols();
    if (EFI_ERROR(status))
        return status;
    return disk.block_io && find_driver() != ours ? EFI_SUCCESS : EFI_NOT_FOUND;
}

/* virtio.efi takes the disk when it starts, and gives it back when it is unloaded. */
static EFI_STATUS load_ours(EFI_HANDLE self, EFI_HANDLE volume)
{
    EFI_DEVICE_PATH *path = FileDevicePath(volume, L"\\virtio.efi");

    EFI_STATUS status =
        path ? BS->LoadImage(FALSE, self, path, NULL, 0, &ours) : EFI_OUT_OF_RESOURCES;
    if (!EFI_ERROR(status))
        status = BS->StartImage(ours, NULL, NULL);
    find_protocols();
    if (EFI_ERROR(status))
        return status;
    return disk.block_io && find_driver() == ours ? EFI_SUCCESS : EFI_NOT_FOUND;
}

/* --- The lines of the job -------------------------------------------------------------------- */

static void set_mark(unsigned mark)
{
    UINT16 value = (UINT16)(BENCH_MARK | mark);

    /*
     * A scratch register (PCI Local Bus 3.0, 6.2.4), and above it one that cannot be written, which
     * tells the marks from the firmware's own numbers. Who traces nothing misses nothing.
     */
    (void)disk.pci_io->Pci.Write(disk.pci_io, EfiPciIoWidthUint16, PCI_INTERRUPT_LINE, 1, &value);
}

/* Whether the rest of the job makes sense: after a failure the driver may still own buffers. */
static bool run_line(const struct bench_line *line, uint64_t round, const char *driver)
{
    static const char *const results[] = {"ok", "wrong", "failed", "absent"};
    struct bench_time time;

    last_mark = last_mark % UINT8_MAX + 1;
    set_mark(last_mark);
    enum bench_result result = line->api == BENCH_FILE ? bench_read_file(&disk, line, &time)
                                                       : bench_read(&disk, line, &time);
    set_mark(0);
    Print(L"bench: run %d %ld %a %ld %a %ld %ld %ld %ld %a\n", last_mark, round, driver, line->api,
          line->name, line->depth, line->ops, time.ticks, time.least, results[result]);
    return result != BENCH_FAILED;
}

static EFI_STATUS run_lines(uint64_t round, bool is_ours)
{
    for (unsigned i = 0; i < job.n_lines; i++) {
        const struct bench_line *line = &job.lines[i];
        if (line->api == BENCH_BLOCK_IO2 && !is_ours)
            continue;
        if (!run_line(line, round, is_ours ? "ours" : "firmware"))
            return EFI_DEVICE_ERROR;
    }
    return EFI_SUCCESS;
}

/* Both drivers in each round, so that what slows the host down for a while slows down both. */
static EFI_STATUS run_round(EFI_HANDLE self, EFI_HANDLE volume, uint64_t round)
{
    EFI_STATUS status = connect_firmware();
    if (!EFI_ERROR(status))
        status = run_lines(round, false);
    if (EFI_ERROR(status))
        return status;
    status = load_ours(self, volume);
    if (!EFI_ERROR(status))
        status = run_lines(round, true);
    if (EFI_ERROR(status))
        return status;
    return BS->UnloadImage(ours);
}

static EFI_STATUS run_job(EFI_HANDLE self)
{
    EFI_LOADED_IMAGE *own = NULL;

    EFI_STATUS status = BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&own);
    if (!EFI_ERROR(status))
        status = read_job(own->DeviceHandle);
    if (!EFI_ERROR(status))
        status = find_disk();
    if (!EFI_ERROR(status))
        status = allocate();
    if (EFI_ERROR(status))
        return status;
    print_clock();
    if (job.wants_costs)
        bench_costs(disk.pci_io);
    for (uint64_t round = 0; round < job.rounds && !EFI_ERROR(status); round++)
        status = run_round(self, own->DeviceHandle, round);
    return status;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    InitializeLib(self, system);
    EFI_STATUS status = run_job(self);
    if (EFI_ERROR(status))
        Print(L"bench: error %r\n", status);
    else
        Print(L"bench: done\n");
    RT->ResetSystem(EfiResetShutdown, status, 0, NULL);
    return status;
}
