/** @file
 * Runs virtboot.efi again and again in one boot, and lets one firmware call fail in each run: the
 * first, then the second, until a run comes that makes fewer calls. After each run all must be as
 * it was before.
 *
 * The calls are hooked in the boot services table and in EFI_PCI_IO of the virtio disk. A hook knows
 * its caller by the return address, so a sweep can fail virtboot's own calls only, and what virtboot
 * holds can be told from what the firmware's drivers hold.
 *
 * virtboot's entry starts this program again, as its kernel (option "as-kernel"): then it reads the
 * initrd, as a kernel's stub does, and comes back.
 *
 * Prints for each sweep "fail-calls: NAME: N points, all clean", or one line for each point that is
 * not: "fail-calls: NAME: n=K: what is wrong". Ends with "fail-calls: done". \sweeps.txt beside it
 * has the beginning of the names of the sweeps to run: "own-" or "all-".
 *
 * A call that fails is not carried out; it returns EFI_OUT_OF_RESOURCES.
 */

#include <efi.h>
#include <efilib.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define MAX_HANDLES    512
#define MAX_OWNED      1024
#define MAX_POINTS     5000
#define MAX_REPORTS    20
#define MAX_PAIRS      8
#define LINE_CHARS     192
#define VIRTIO_VENDOR  0x1af4
#define SECTOR_BYTES   512
#define MAX_FILE_BYTES (1024 * 1024)

/*
 * Pages by which free memory may shrink during one sweep: the firmware's pools grow by pages. A file
 * that is left open costs more than a thousand, for the FAT driver then keeps its caches.
 */
#define SLACK_PAGES 64

static EFI_GUID load_file2_guid = {
    0x4006c0c1, 0xfcb3, 0x403e, {0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d}};
static EFI_GUID driver_binding_guid = EFI_DRIVER_BINDING_PROTOCOL_GUID;
static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;

/* --- What the hooks know and count ------------------------------------------------------------ */

enum call {
    CALL_ALLOCATE = 1 << 0, /* AllocatePool(), AllocatePages() */
    CALL_HANDLE_PROTOCOL = 1 << 1,
    CALL_OPEN_PROTOCOL = 1 << 2,
    CALL_INSTALL = 1 << 3, /* InstallMultipleProtocolInterfaces() */
    CALL_LOCATE = 1 << 4,  /* LocateHandleBuffer(), OpenProtocolInformation() */
    CALL_CREATE_EVENT = 1 << 5,
    CALL_LOAD_IMAGE = 1 << 6,
    CALL_DISCONNECT = 1 << 7,
    CALL_PCI_IO = 1 << 8, /* Map(), AllocateBuffer(), GetBarAttributes() */
};

struct sweep {
    const CHAR16 *name;
    unsigned calls;  /* of enum call, counted together */
    bool any_caller; /* the firmware's drivers too, not only virtboot */
};

enum owned_kind { OWNED_POOL, OWNED_PAGES, OWNED_BUFFER, OWNED_EVENT };

static const CHAR16 *const owned_problems[] = {
    [OWNED_POOL] = L"pool memory is left behind",
    [OWNED_PAGES] = L"pages are left behind",
    [OWNED_BUFFER] = L"a DMA buffer is left behind",
    [OWNED_EVENT] = L"an event is left behind",
};

/* What virtboot got and has not given back. */
struct owned {
    enum owned_kind kind;
    const void *what;
    const void *caller;
};

/* One run of virtboot. */
static struct {
    const struct sweep *sweep;
    bool armed; /* while virtboot runs */
    UINTN fail_at;
    UINTN n_calls;
    const void *failed_caller; /* NULL: the call to fail was not reached */
    bool giving_back;          /* virtboot has begun to let go of the disk */
    bool failed_in_give_back;
    const uint8_t *image;
    UINTN image_bytes;
    struct owned owned[MAX_OWNED];
    UINTN n_owned;
    bool lost_count; /* the table was too small */
    INTN n_mappings;
    CHAR16 line[LINE_CHARS];
    UINTN line_chars;
    UINTN n_errors;
    CHAR16 first_error[LINE_CHARS];
    bool kernel_ran;
} run;

static EFI_BOOT_SERVICES firmware; /* the table as it was */
static EFI_PCI_IO_PROTOCOL firmware_pci_io;
static EFI_TEXT_OUTPUT_STRING firmware_output_string;
static EFI_RESET_SYSTEM firmware_reset_system;

static const CHAR16 kernel_line[] = L"fail-calls: the kernel has its initrd";

static bool is_in_virtboot(const void *caller)
{
    const uint8_t *at = caller;

    return at >= run.image && at < run.image + run.image_bytes;
}

static bool is_own(const void *caller)
{
    return run.armed && is_in_virtboot(caller);
}

/* Counts a call; true if it is the one that fails. */
static bool is_due(enum call call, const void *caller)
{
    if (!run.armed || !(run.sweep->calls & call))
        return false;
    if (!run.sweep->any_caller && !is_own(caller))
        return false;
    if (++run.n_calls != run.fail_at)
        return false;
    run.failed_caller = caller;
    run.failed_in_give_back = run.giving_back;
    return true;
}

static void own(enum owned_kind kind, const void *what, const void *caller)
{
    if (!is_own(caller))
        return;
    if (run.n_owned == MAX_OWNED)
        run.lost_count = true;
    else
        run.owned[run.n_owned++] = (struct owned){.kind = kind, .what = what, .caller = caller};
}

/* Whoever gives it back; what is not in the table was not got by virtboot. */
static void disown(enum owned_kind kind, const void *what)
{
    for (UINTN i = 0; run.armed && i < run.n_owned; i++) {
        if (run.owned[i].kind == kind && run.owned[i].what == what) {
            run.owned[i] = run.owned[--run.n_owned];
            return;
        }
    }
}

/* --- Hooks: boot services --------------------------------------------------------------------- */

/* Must stand in the hook itself: the caller of a helper would be the hook. */
#define CALLER __builtin_return_address(0)

static EFI_STATUS EFIAPI hook_allocate_pool(EFI_MEMORY_TYPE type, UINTN bytes, VOID **ret_memory)
{
    if (is_due(CALL_ALLOCATE, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = firmware.AllocatePool(type, bytes, ret_memory);
    if (!EFI_ERROR(status))
        own(OWNED_POOL, *ret_memory, CALLER);
    return status;
}

static EFI_STATUS EFIAPI hook_free_pool(VOID *memory)
{
    disown(OWNED_POOL, memory);
    return firmware.FreePool(memory);
}

static EFI_STATUS EFIAPI hook_allocate_pages(EFI_ALLOCATE_TYPE type, EFI_MEMORY_TYPE memory_type,
                                             UINTN pages, EFI_PHYSICAL_ADDRESS *ret_address)
{
    if (is_due(CALL_ALLOCATE, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = firmware.AllocatePages(type, memory_type, pages, ret_address);
    if (!EFI_ERROR(status))
        own(OWNED_PAGES, (const void *)(UINTN)*ret_address, CALLER);
    return status;
}

static EFI_STATUS EFIAPI hook_free_pages(EFI_PHYSICAL_ADDRESS address, UINTN pages)
{
    disown(OWNED_PAGES, (const void *)(UINTN)address);
    return firmware.FreePages(address, pages);
}

static EFI_STATUS EFIAPI hook_handle_protocol(EFI_HANDLE handle, EFI_GUID *protocol,
                                              VOID **ret_interface)
{
    if (is_due(CALL_HANDLE_PROTOCOL, CALLER))
        return EFI_OUT_OF_RESOURCES;
    return firmware.HandleProtocol(handle, protocol, ret_interface);
}

static EFI_STATUS EFIAPI hook_open_protocol(EFI_HANDLE handle, EFI_GUID *protocol,
                                            VOID **ret_interface, EFI_HANDLE agent,
                                            EFI_HANDLE controller, UINT32 attributes)
{
    if (is_due(CALL_OPEN_PROTOCOL, CALLER))
        return EFI_OUT_OF_RESOURCES;
    return firmware.OpenProtocol(handle, protocol, ret_interface, agent, controller, attributes);
}

/* The pairs cannot be handed on as they are: they are copied, and NULLs fill up the rest. */
static EFI_STATUS EFIAPI hook_install(EFI_HANDLE *handle, ...)
{
    VOID *pairs[MAX_PAIRS * 2] = {NULL};
    __builtin_ms_va_list list;

    if (is_due(CALL_INSTALL, CALLER))
        return EFI_OUT_OF_RESOURCES;
    __builtin_ms_va_start(list, handle);
    for (UINTN i = 0; i < MAX_PAIRS * 2; i += 2) {
        pairs[i] = __builtin_va_arg(list, VOID *);
        if (!pairs[i])
            break;
        pairs[i + 1] = __builtin_va_arg(list, VOID *);
    }
    __builtin_ms_va_end(list);
    return firmware.InstallMultipleProtocolInterfaces(
        handle, pairs[0], pairs[1], pairs[2], pairs[3], pairs[4], pairs[5], pairs[6], pairs[7],
        pairs[8], pairs[9], pairs[10], pairs[11], pairs[12], pairs[13], pairs[14], pairs[15], NULL);
}

static EFI_STATUS EFIAPI hook_locate_handle_buffer(EFI_LOCATE_SEARCH_TYPE type, EFI_GUID *protocol,
                                                   VOID *key, UINTN *ret_n, EFI_HANDLE **ret_buffer)
{
    if (is_due(CALL_LOCATE, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = firmware.LocateHandleBuffer(type, protocol, key, ret_n, ret_buffer);
    if (!EFI_ERROR(status))
        own(OWNED_POOL, *ret_buffer, CALLER);
    return status;
}

static EFI_STATUS EFIAPI hook_open_information(EFI_HANDLE handle, EFI_GUID *protocol,
                                               EFI_OPEN_PROTOCOL_INFORMATION_ENTRY **ret_entries,
                                               UINTN *ret_n)
{
    if (is_due(CALL_LOCATE, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = firmware.OpenProtocolInformation(handle, protocol, ret_entries, ret_n);
    if (!EFI_ERROR(status))
        own(OWNED_POOL, *ret_entries, CALLER);
    return status;
}

static EFI_STATUS EFIAPI hook_create_event(UINT32 type, EFI_TPL tpl, EFI_EVENT_NOTIFY notify,
                                           VOID *context, EFI_EVENT *ret_event)
{
    if (is_due(CALL_CREATE_EVENT, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = firmware.CreateEvent(type, tpl, notify, context, ret_event);
    if (!EFI_ERROR(status))
        own(OWNED_EVENT, *ret_event, CALLER);
    return status;
}

static EFI_STATUS EFIAPI hook_close_event(EFI_EVENT event)
{
    disown(OWNED_EVENT, event);
    return firmware.CloseEvent(event);
}

static EFI_STATUS EFIAPI hook_load_image(BOOLEAN boot_policy, EFI_HANDLE parent,
                                         EFI_DEVICE_PATH *path, VOID *source, UINTN bytes,
                                         EFI_HANDLE *ret_image)
{
    if (is_due(CALL_LOAD_IMAGE, CALLER))
        return EFI_OUT_OF_RESOURCES;
    return firmware.LoadImage(boot_policy, parent, path, source, bytes, ret_image);
}

static EFI_STATUS EFIAPI hook_disconnect(EFI_HANDLE controller, EFI_HANDLE driver, EFI_HANDLE child)
{
    if (is_due(CALL_DISCONNECT, CALLER))
        return EFI_OUT_OF_RESOURCES;
    /* Only its own driver is named by virtboot; the firmware's is not known to it. */
    if (is_own(CALLER) && driver)
        run.giving_back = true;
    return firmware.DisconnectController(controller, driver, child);
}

/* The machine ends with it, so this is the last chance to say why. */
static EFI_STATUS EFIAPI hook_reset_system(EFI_RESET_TYPE type, EFI_STATUS status, UINTN bytes,
                                           CHAR16 *data)
{
    bool armed = run.armed;

    run.armed = false;
    if (armed)
        Print(L"fail-calls: %s: n=%d: virtboot restarts the machine after \"%s\"\n",
              run.sweep->name, run.fail_at, run.first_error);
    return firmware_reset_system(type, status, bytes, data);
}

/* --- Hooks: EFI_PCI_IO of the virtio disk ------------------------------------------------------ */

static EFI_STATUS EFIAPI hook_map(EFI_PCI_IO_PROTOCOL *pci_io,
                                  EFI_PCI_IO_PROTOCOL_OPERATION operation, VOID *memory,
                                  UINTN *bytes, EFI_PHYSICAL_ADDRESS *ret_address,
                                  VOID **ret_mapping)
{
    if (is_due(CALL_PCI_IO, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status =
        firmware_pci_io.Map(pci_io, operation, memory, bytes, ret_address, ret_mapping);
    /* Mappings are counted only: without an IOMMU the firmware gives all of them one value. */
    if (!EFI_ERROR(status) && is_own(CALLER))
        run.n_mappings++;
    return status;
}

static EFI_STATUS EFIAPI hook_unmap(EFI_PCI_IO_PROTOCOL *pci_io, VOID *mapping)
{
    if (is_own(CALLER))
        run.n_mappings--;
    return firmware_pci_io.Unmap(pci_io, mapping);
}

static EFI_STATUS EFIAPI hook_allocate_buffer(EFI_PCI_IO_PROTOCOL *pci_io, EFI_ALLOCATE_TYPE type,
                                              EFI_MEMORY_TYPE memory_type, UINTN pages,
                                              VOID **ret_memory, UINT64 attributes)
{
    if (is_due(CALL_PCI_IO, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status =
        firmware_pci_io.AllocateBuffer(pci_io, type, memory_type, pages, ret_memory, attributes);
    if (!EFI_ERROR(status))
        own(OWNED_BUFFER, *ret_memory, CALLER);
    return status;
}

static EFI_STATUS EFIAPI hook_free_buffer(EFI_PCI_IO_PROTOCOL *pci_io, UINTN pages, VOID *memory)
{
    disown(OWNED_BUFFER, memory);
    return firmware_pci_io.FreeBuffer(pci_io, pages, memory);
}

static EFI_STATUS EFIAPI hook_get_bar(EFI_PCI_IO_PROTOCOL *pci_io, UINT8 index,
                                      UINT64 *ret_supports, VOID **ret_resources)
{
    if (is_due(CALL_PCI_IO, CALLER))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status =
        firmware_pci_io.GetBarAttributes(pci_io, index, ret_supports, ret_resources);
    if (!EFI_ERROR(status) && ret_resources)
        own(OWNED_POOL, *ret_resources, CALLER);
    return status;
}

/* --- Hook: the console -------------------------------------------------------------------------- */

static bool begins_with(const CHAR16 *text, const CHAR16 *prefix)
{
    while (*prefix && *text == *prefix) {
        text++;
        prefix++;
    }
    return *prefix == 0;
}

static void end_line(void)
{
    run.line[run.line_chars] = 0;
    if (begins_with(run.line, L"virtboot: error: ") && run.n_errors++ == 0)
        CopyMem(run.first_error, run.line, sizeof(run.line));
    if (begins_with(run.line, kernel_line))
        run.kernel_ran = true;
    run.line_chars = 0;
}

/* While virtboot runs its output is looked at and not shown: thousands of lines take their time. */
static EFI_STATUS EFIAPI hook_output_string(SIMPLE_TEXT_OUTPUT_INTERFACE *console, CHAR16 *text)
{
    if (!run.armed)
        return firmware_output_string(console, text);
    for (; *text; text++) {
        if (*text == L'\n' || *text == L'\r')
            end_line();
        else if (run.line_chars + 1 < LINE_CHARS)
            run.line[run.line_chars++] = *text;
    }
    return EFI_SUCCESS;
}

static void install_hooks(EFI_PCI_IO_PROTOCOL *pci_io)
{
    firmware = *BS;
    firmware_pci_io = *pci_io;
    firmware_output_string = ST->ConOut->OutputString;
    firmware_reset_system = RT->ResetSystem;

    BS->AllocatePool = hook_allocate_pool;
    BS->FreePool = hook_free_pool;
    BS->AllocatePages = hook_allocate_pages;
    BS->FreePages = hook_free_pages;
    BS->HandleProtocol = hook_handle_protocol;
    BS->OpenProtocol = hook_open_protocol;
    BS->InstallMultipleProtocolInterfaces = hook_install;
    BS->LocateHandleBuffer = hook_locate_handle_buffer;
    BS->OpenProtocolInformation = hook_open_information;
    BS->CreateEvent = hook_create_event;
    BS->CloseEvent = hook_close_event;
    BS->LoadImage = hook_load_image;
    BS->DisconnectController = hook_disconnect;
    pci_io->Map = hook_map;
    pci_io->Unmap = hook_unmap;
    pci_io->AllocateBuffer = hook_allocate_buffer;
    pci_io->FreeBuffer = hook_free_buffer;
    pci_io->GetBarAttributes = hook_get_bar;
    ST->ConOut->OutputString = hook_output_string;
    RT->ResetSystem = hook_reset_system;
}

/* They are part of this image, and the firmware goes on when it has left memory. */
static void remove_hooks(EFI_PCI_IO_PROTOCOL *pci_io)
{
    *BS = firmware;
    *pci_io = firmware_pci_io;
    ST->ConOut->OutputString = firmware_output_string;
    RT->ResetSystem = firmware_reset_system;
}

/* --- The machine: what must be the same after each run ---------------------------------------- */

/* What virtboot is loaded from, and the disk that it takes. */
static struct {
    EFI_HANDLE self;
    EFI_HANDLE disk;
    EFI_PCI_IO_PROTOCOL *disk_pci_io;
    void *virtboot;
    UINTN virtboot_bytes;
    EFI_DEVICE_PATH *virtboot_path;
    const CHAR8 *wanted; /* how the names of the sweeps to run begin */
} machine;

struct snapshot {
    UINTN n_handles;
    UINTN n_images;
    UINTN n_bindings;
    EFI_BLOCK_READ read_blocks; /* of whoever drives the disk; NULL: nobody does */
    UINT8 sector[SECTOR_BYTES];
};

static struct snapshot before;

static UINTN count_handles(EFI_GUID *protocol)
{
    static EFI_HANDLE handles[MAX_HANDLES];
    UINTN bytes = sizeof(handles);

    EFI_STATUS status =
        BS->LocateHandle(protocol ? ByProtocol : AllHandles, protocol, NULL, &bytes, handles);
    return EFI_ERROR(status) ? 0 : bytes / sizeof(handles[0]);
}

static EFI_BLOCK_IO_PROTOCOL *disk_block_io(void)
{
    EFI_BLOCK_IO_PROTOCOL *block_io = NULL;

    EFI_STATUS status = BS->HandleProtocol(machine.disk, &BlockIoProtocol, (VOID **)&block_io);
    return EFI_ERROR(status) ? NULL : block_io;
}

static void take_snapshot(struct snapshot *snapshot)
{
    static UINT8 sector[SECTOR_BYTES] __attribute__((aligned(4096)));
    EFI_BLOCK_IO_PROTOCOL *block_io = disk_block_io();

    ZeroMem(snapshot, sizeof(*snapshot));
    ZeroMem(sector, sizeof(sector));
    snapshot->n_handles = count_handles(NULL);
    snapshot->n_images = count_handles(&LoadedImageProtocol);
    snapshot->n_bindings = count_handles(&driver_binding_guid);
    if (!block_io)
        return;
    snapshot->read_blocks = block_io->ReadBlocks;
    if (!EFI_ERROR(
            block_io->ReadBlocks(block_io, block_io->Media->MediaId, 0, SECTOR_BYTES, sector)))
        CopyMem(snapshot->sector, sector, SECTOR_BYTES);
}

static const CHAR16 *snapshot_problem(const struct snapshot *after)
{
    if (after->n_bindings != before.n_bindings)
        return L"a driver binding is left or gone";
    if (after->n_images != before.n_images)
        return L"an image is left or gone";
    if (!after->read_blocks)
        return L"nobody drives the disk";
    if (after->read_blocks != before.read_blocks)
        return L"the disk is not driven by the firmware's driver";
    if (CompareMem(after->sector, before.sector, SECTOR_BYTES) != 0)
        return L"the disk cannot be read any more";
    if (after->n_handles != before.n_handles)
        return L"a handle is left or gone";
    return NULL;
}

static UINTN free_pages(void)
{
    static UINT8 map[64 * 1024] __attribute__((aligned(16)));
    UINTN bytes = sizeof(map), key = 0, descriptor_bytes = 0, pages = 0;
    UINT32 version = 0;

    if (EFI_ERROR(BS->GetMemoryMap(&bytes, (EFI_MEMORY_DESCRIPTOR *)map, &key, &descriptor_bytes,
                                   &version)))
        return 0;
    for (UINTN at = 0; at + descriptor_bytes <= bytes; at += descriptor_bytes) {
        const EFI_MEMORY_DESCRIPTOR *descriptor = (const EFI_MEMORY_DESCRIPTOR *)(map + at);
        if (descriptor->Type == EfiConventionalMemory)
            pages += descriptor->NumberOfPages;
    }
    return pages;
}

/* --- One run ---------------------------------------------------------------------------------- */

static void begin_run(const struct sweep *sweep, UINTN fail_at)
{
    ZeroMem(&run, sizeof(run));
    run.sweep = sweep;
    run.fail_at = fail_at;
}

static EFI_STATUS run_virtboot(void)
{
    EFI_LOADED_IMAGE *loaded = NULL;
    EFI_HANDLE image = NULL;

    EFI_STATUS status = BS->LoadImage(FALSE, machine.self, machine.virtboot_path, machine.virtboot,
                                      machine.virtboot_bytes, &image);
    if (!EFI_ERROR(status))
        status = BS->HandleProtocol(image, &LoadedImageProtocol, (VOID **)&loaded);
    if (EFI_ERROR(status)) {
        Print(L"fail-calls: virtboot.efi cannot be loaded: %r\n", status);
        return status;
    }
    run.image = loaded->ImageBase;
    run.image_bytes = (UINTN)loaded->ImageSize;
    run.armed = true;
    status = BS->StartImage(image, NULL, NULL);
    /* An application is unloaded by the firmware when it comes back. */
    end_line();
    run.armed = false;
    return status;
}

/*
 * An error needs a message. Success needs the kernel: virtboot may go on without what failed (a
 * title, for one), but only if it does its work.
 */
static const CHAR16 *answer_problem(EFI_STATUS status)
{
    if (run.lost_count)
        return L"fail-calls' own table is too small";
    if (EFI_ERROR(status) && run.n_errors == 0)
        return L"an error without a message";
    if (!EFI_ERROR(status) && !run.kernel_ran)
        return L"success, but the kernel did not run";
    if (!run.failed_caller && EFI_ERROR(status))
        return L"an error although no call failed";
    if (run.n_owned)
        return owned_problems[run.owned[0].kind];
    if (run.n_mappings)
        return L"a mapping is left behind";
    return NULL;
}

static void report(EFI_STATUS status, const CHAR16 *what)
{
    Print(L"fail-calls: %s: n=%d: %s", run.sweep->name, run.fail_at, what);
    if (run.n_owned)
        Print(L" (%d in all, the first got at virtboot+0x%lx)", run.n_owned,
              (UINT64)((const uint8_t *)run.owned[0].caller - run.image));
    if (run.failed_caller && is_in_virtboot(run.failed_caller))
        Print(L" (failed call: virtboot+0x%lx)",
              (UINT64)((const uint8_t *)run.failed_caller - run.image));
    Print(L" (status: %r; said: \"%s\")\n", status, run.first_error);
}

/*
 * What a firmware driver does not connect during the give-back, because one of its own calls failed,
 * is no fault of virtboot: it is asked once more, and all must be well then. True if it was needed.
 */
static bool reconnect_for_firmware(void)
{
    if (!run.failed_in_give_back || is_in_virtboot(run.failed_caller))
        return false;
    bool needed = count_handles(NULL) != before.n_handles;
    (void)BS->ConnectController(machine.disk, NULL, NULL, TRUE); /* judged by the snapshot */
    return needed;
}

/* --- Sweeps ----------------------------------------------------------------------------------- */

/*
 * Two calls fail for virtboot only, because OVMF 2022.11 does not survive their failing for its own
 * drivers: after a failed OpenProtocol() its partition driver calls NULL, after a failed
 * HandleProtocol() its BDS driver, told of the new partition, loops for ever. Map() and
 * AllocateBuffer() of this disk have no caller but virtboot.
 */
static const struct sweep sweeps[] = {
    {L"own-allocations", CALL_ALLOCATE, false},
    {L"own-handle-protocol", CALL_HANDLE_PROTOCOL, false},
    {L"own-open-protocol", CALL_OPEN_PROTOCOL, false},
    {L"own-install-protocols", CALL_INSTALL, false},
    {L"own-locate-handles", CALL_LOCATE, false},
    {L"own-create-event", CALL_CREATE_EVENT, false},
    {L"own-load-image", CALL_LOAD_IMAGE, false},
    {L"own-disconnect", CALL_DISCONNECT, false},
    {L"own-pci-io", CALL_PCI_IO, false},
    {L"all-allocations", CALL_ALLOCATE, true},
    {L"all-install-protocols", CALL_INSTALL, true},
    {L"all-locate-handles", CALL_LOCATE, true},
    {L"all-create-event", CALL_CREATE_EVENT, true},
};

struct tally {
    UINTN n_bad;
    UINTN n_booted;      /* a call failed and virtboot did its work all the same */
    UINTN n_reconnected; /* a firmware driver's call failed during the give-back */
    INTN pages_lost;
    INTN pages_lost_by_firmware;
};

/*
 * When its own allocation fails the FAT driver forgets an open file and with it the volume's caches
 * (seen at 4 points, in OpenVolume() and Open(), which give the caller nothing to close). So memory
 * is charged to virtboot only where its own call failed; what it holds itself is counted everywhere.
 */
static void count_pages(struct tally *tally, INTN lost)
{
    if (run.failed_caller && !is_in_virtboot(run.failed_caller))
        tally->pages_lost_by_firmware += lost;
    else
        tally->pages_lost += lost;
}

/* Returns false when no call was left to fail. */
static bool run_point(const struct sweep *sweep, UINTN fail_at, struct tally *tally)
{
    static struct snapshot after;
    UINTN pages = free_pages();

    begin_run(sweep, fail_at);
    EFI_STATUS status = run_virtboot();
    tally->n_reconnected += reconnect_for_firmware();
    take_snapshot(&after);

    const CHAR16 *problem = answer_problem(status);
    if (!problem)
        problem = snapshot_problem(&after);
    if (problem) {
        if (tally->n_bad++ < MAX_REPORTS)
            report(status, problem);
        before.n_handles = after.n_handles; /* each thing that is left behind is told once */
        before.n_images = after.n_images;
        before.n_bindings = after.n_bindings;
    }
    count_pages(tally, (INTN)pages - (INTN)free_pages());
    if (!run.failed_caller)
        return false;
    tally->n_booted += !EFI_ERROR(status);
    return true;
}

static void run_sweep(const struct sweep *sweep)
{
    struct tally tally = {0};
    UINTN n_points = 0;

    while (n_points < MAX_POINTS && run_point(sweep, n_points + 1, &tally))
        n_points++;
    Print(L"fail-calls: %s: %d booted, %d connected again, pages lost: %d, by the firmware: %d\n",
          sweep->name, tally.n_booted, tally.n_reconnected, tally.pages_lost,
          tally.pages_lost_by_firmware);
    if (n_points == MAX_POINTS)
        Print(L"fail-calls: %s: n=%d: no end\n", sweep->name, n_points);
    else if (tally.pages_lost > SLACK_PAGES)
        Print(L"fail-calls: %s: n=%d: %d pages are lost\n", sweep->name, n_points,
              tally.pages_lost);
    else if (tally.n_bad == 0)
        Print(L"fail-calls: %s: %d points, all clean\n", sweep->name, n_points);
}

/* --- Preparation ------------------------------------------------------------------------------ */

/* The last byte is left 0, so a text ends there at the latest. */
static EFI_STATUS read_file(EFI_HANDLE volume, CHAR16 *path, VOID **ret_data, UINTN *ret_bytes)
{
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *file_system = NULL;
    EFI_FILE_PROTOCOL *root = NULL, *file = NULL;
    UINTN bytes = MAX_FILE_BYTES - 1;

    EFI_STATUS status = BS->HandleProtocol(volume, &FileSystemProtocol, (VOID **)&file_system);
    if (!EFI_ERROR(status))
        status = file_system->OpenVolume(file_system, &root);
    if (!EFI_ERROR(status))
        status = root->Open(root, &file, path, EFI_FILE_MODE_READ, 0);
    if (EFI_ERROR(status))
        return status;
    VOID *data = AllocateZeroPool(MAX_FILE_BYTES);
    if (!data)
        return EFI_OUT_OF_RESOURCES;
    status = file->Read(file, &bytes, data);
    file->Close(file);
    root->Close(root);
    *ret_data = data;
    *ret_bytes = bytes;
    return status;
}

static EFI_STATUS find_disk(void)
{
    static EFI_HANDLE handles[MAX_HANDLES];
    UINTN bytes = sizeof(handles);

    EFI_STATUS status = BS->LocateHandle(ByProtocol, &pci_io_guid, NULL, &bytes, handles);
    if (EFI_ERROR(status))
        return status;
    for (UINTN i = 0; i < bytes / sizeof(handles[0]); i++) {
        EFI_PCI_IO_PROTOCOL *pci_io = NULL;
        UINT16 vendor = 0;
        status = BS->HandleProtocol(handles[i], &pci_io_guid, (VOID **)&pci_io);
        if (EFI_ERROR(status))
            return status;
        status = pci_io->Pci.Read(pci_io, EfiPciIoWidthUint16, 0, 1, &vendor);
        if (EFI_ERROR(status) || vendor != VIRTIO_VENDOR)
            continue;
        machine.disk = handles[i];
        machine.disk_pci_io = pci_io;
        return EFI_SUCCESS;
    }
    return EFI_NOT_FOUND;
}

/* The firmware connects what it boots from, so its driver may not have had the virtio disk yet. */
static EFI_STATUS prepare(EFI_HANDLE self, EFI_HANDLE volume)
{
    UINTN wanted_bytes;

    machine.self = self;
    machine.virtboot_path = FileDevicePath(volume, L"\\virtboot.efi");
    EFI_STATUS status =
        read_file(volume, L"\\virtboot.efi", &machine.virtboot, &machine.virtboot_bytes);
    if (!EFI_ERROR(status))
        status = read_file(volume, L"\\sweeps.txt", (VOID **)&machine.wanted, &wanted_bytes);
    if (!EFI_ERROR(status))
        status = find_disk();
    if (!EFI_ERROR(status))
        status = BS->SetWatchdogTimer(0, 0, 0, NULL);
    if (!EFI_ERROR(status))
        status = BS->ConnectController(machine.disk, NULL, NULL, TRUE);
    if (EFI_ERROR(status))
        return status;
    take_snapshot(&before);
    /* The signature of a boot sector: what is compared later was read. */
    if (before.sector[510] != 0x55 || before.sector[511] != 0xaa)
        return EFI_VOLUME_CORRUPTED;
    return EFI_SUCCESS;
}

static bool is_wanted(const struct sweep *sweep)
{
    const CHAR16 *name = sweep->name;
    const CHAR8 *wanted = machine.wanted;

    while (*wanted && *name == *wanted) {
        name++;
        wanted++;
    }
    return *wanted == 0;
}

static EFI_STATUS be_the_test(EFI_HANDLE self, EFI_HANDLE volume)
{
    EFI_STATUS status = prepare(self, volume);
    if (EFI_ERROR(status)) {
        Print(L"fail-calls: not prepared: %r\n", status);
        return status;
    }
    install_hooks(machine.disk_pci_io);
    for (UINTN i = 0; i < sizeof(sweeps) / sizeof(sweeps[0]); i++)
        if (is_wanted(&sweeps[i]))
            run_sweep(&sweeps[i]);
    remove_hooks(machine.disk_pci_io);
    Print(L"fail-calls: done\n");
    return EFI_SUCCESS;
}

/* --- The kernel's part ------------------------------------------------------------------------ */

static struct {
    VENDOR_DEVICE_PATH vendor;
    EFI_DEVICE_PATH end;
} initrd_path = {
    .vendor =
        {.Header = {.Type = MEDIA_DEVICE_PATH,
                    .SubType = MEDIA_VENDOR_DP,
                    .Length = {sizeof(VENDOR_DEVICE_PATH), 0}},
         .Guid = {0x5568e427, 0x68fc, 0x4f3d, {0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68}}},
    .end = {.Type = END_DEVICE_PATH_TYPE,
            .SubType = END_ENTIRE_DEVICE_PATH_SUBTYPE,
            .Length = {sizeof(EFI_DEVICE_PATH), 0}},
};

/* The test fills its initrd with this. */
static bool is_initrd(const UINT8 *data, UINTN bytes)
{
    for (UINTN i = 0; i < bytes; i++)
        if (data[i] != (UINT8)(i * 7 + i / 256))
            return false;
    return bytes > 0;
}

static EFI_STATUS read_initrd(EFI_LOAD_FILE_PROTOCOL *load_file, EFI_DEVICE_PATH *rest)
{
    VOID *data = NULL;
    UINTN bytes = 0;

    EFI_STATUS status = load_file->LoadFile(load_file, rest, FALSE, &bytes, NULL);
    if (status != EFI_BUFFER_TOO_SMALL)
        return EFI_LOAD_ERROR;
    status = BS->AllocatePool(EfiLoaderData, bytes, &data);
    if (EFI_ERROR(status))
        return status;
    status = load_file->LoadFile(load_file, rest, FALSE, &bytes, data);
    if (!EFI_ERROR(status) && !is_initrd(data, bytes))
        status = EFI_CRC_ERROR;
    (void)BS->FreePool(data);
    return status;
}

/* Finds its initrd as Linux does. */
static EFI_STATUS be_the_kernel(void)
{
    EFI_DEVICE_PATH *path = &initrd_path.vendor.Header;
    EFI_LOAD_FILE_PROTOCOL *load_file = NULL;
    EFI_HANDLE handle = NULL;

    EFI_STATUS status = BS->LocateDevicePath(&load_file2_guid, &path, &handle);
    if (!EFI_ERROR(status))
        status = BS->HandleProtocol(handle, &load_file2_guid, (VOID **)&load_file);
    if (!EFI_ERROR(status))
        status = read_initrd(load_file, path);
    if (!EFI_ERROR(status))
        Print(L"%s\n", kernel_line);
    return status;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_LOADED_IMAGE *loaded = NULL;

    InitializeLib(self, system);
    EFI_STATUS status = BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&loaded);
    if (EFI_ERROR(status))
        return status;
    if (loaded->LoadOptionsSize && begins_with(loaded->LoadOptions, L"as-kernel"))
        return be_the_kernel();
    return be_the_test(self, loaded->DeviceHandle);
}
