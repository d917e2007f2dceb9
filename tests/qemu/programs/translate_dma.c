/** @file
 * Puts the virtio disks behind an IOMMU that translates, and reads them.
 *
 * usage, in the UEFI shell: translate_dma.efi DRIVER [stay]
 *
 * Programs QEMU's intel-iommu: the functions of virtio reach nothing but what was mapped for them, at
 * addresses that are not those of the processor; all others reach everything. EDKII_IOMMU_PROTOCOL
 * brings that to the firmware's EFI_PCI_IO.Map(). The driver, a file in the root folder that we were
 * started from, is loaded then, and each disk read with EFI_BLOCK_IO in pieces of several sizes. Prints
 * a checksum for each disk; how much was mapped, also after the driver was unloaded, which it is not
 * with "stay"; and what the IOMMU refused.
 * Spec:  Intel Virtualization Technology for Directed I/O 3.4, 9 Translation Structure Formats; 11
 *        Register Descriptions.
 */

#include <efi.h>
#include <efilib.h>

#include "tests/qemu/programs/crc32.h"

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

/* --- The IOMMU -------------------------------------------------------------------------------- */

#define VIRTIO_VENDOR 0x1AF4u
#define IOMMU_BASE    0xFED90000u
#define IOMMU_ECAP    0x10u
#define IOMMU_GCMD    0x18u
#define IOMMU_GSTS    0x1Cu
#define IOMMU_RTADDR  0x20u
#define IOMMU_CCMD    0x28u
#define IOMMU_FSTS    0x34u
#define GCMD_TE       (1u << 31)
#define GCMD_SRTP     (1u << 30)
#define CCMD_GLOBAL   ((UINT64)1 << 63 | (UINT64)1 << 61)
#define IOTLB_GLOBAL  ((UINT64)1 << 63 | (UINT64)1 << 60)
#define FSTS_FAULTS   0x3u
#define ENTRY_PRESENT 1u
#define ENTRY_RW      3u
#define CONTEXT_PASS  (2u << 2)
#define CONTEXT_AW_39 1u
#define CONTEXT_DID   (1u << 8)
#define PAGE_ENTRIES  512u
#define FUNCTIONS     256u

/** Of an entry: bits that the IOMMU ignores, in which we count who has mapped the page. */
#define ENTRY_ONE_USER (UINT64)0x0010000000000000
#define ENTRY_USERS    (UINT64)0x3FF0000000000000

/** What the devices call a page is its address plus this. */
#define IOVA_OFFSET (UINT64)0x2000000000

struct pair {
    UINT64 low;
    UINT64 high;
};

static UINT64 *top_table;

static volatile UINT32 *iommu32(UINT32 offset)
{
    return (volatile UINT32 *)(UINTN)(IOMMU_BASE + offset);
}

static volatile UINT64 *iommu64(UINT32 offset)
{
    return (volatile UINT64 *)(UINTN)(IOMMU_BASE + offset);
}

static VOID *new_page(void)
{
    EFI_PHYSICAL_ADDRESS address = 0;

    if (EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiBootServicesData, 1, &address)))
        return NULL;
    SetMem((VOID *)(UINTN)address, EFI_PAGE_SIZE, 0);
    return (VOID *)(UINTN)address;
}

static UINT64 *next_table(UINT64 *entry)
{
    if (!*entry)
        *entry = (UINT64)(UINTN)new_page() | ENTRY_RW;
    return (UINT64 *)(UINTN)(*entry & ~(UINT64)(EFI_PAGE_SIZE - 1));
}

/* Three levels of nine bits each. */
static UINT64 *entry_of(UINT64 iova)
{
    UINT64 *table = next_table(&top_table[iova >> 30 & (PAGE_ENTRIES - 1)]);

    table = next_table(&table[iova >> 21 & (PAGE_ENTRIES - 1)]);
    return &table[iova >> 12 & (PAGE_ENTRIES - 1)];
}

static VOID forget_translations(void)
{
    UINT32 iotlb = (UINT32)(*iommu64(IOMMU_ECAP) >> 8 & 0x3FF) * 16 + 8;

    *iommu64(IOMMU_CCMD) = CCMD_GLOBAL;
    while (*iommu64(IOMMU_CCMD) >> 63)
        ;
    *iommu64(iotlb) = IOTLB_GLOBAL;
    while (*iommu64(iotlb) >> 63)
        ;
}

static BOOLEAN is_virtio(UINTN function)
{
    UINT32 id;

    __asm__ volatile("outl %0, %w1" ::"a"((UINT32)(0x80000000u | function << 8)), "Nd"(0xCF8));
    __asm__ volatile("inl %w1, %0" : "=a"(id) : "Nd"(0xCFC));
    return (id & 0xFFFF) == VIRTIO_VENDOR;
}

/* Of bus 0, where all devices are. */
static BOOLEAN translate(void)
{
    struct pair *root = new_page();
    struct pair *context = new_page();

    top_table = new_page();
    if (!root || !context || !top_table)
        return FALSE;
    root[0].low = (UINT64)(UINTN)context | ENTRY_PRESENT;
    for (UINTN function = 0; function < FUNCTIONS; function++) {
        context[function].low =
            ENTRY_PRESENT | (is_virtio(function) ? (UINT64)(UINTN)top_table : CONTEXT_PASS);
        context[function].high = CONTEXT_AW_39 | CONTEXT_DID;
    }
    *iommu64(IOMMU_RTADDR) = (UINT64)(UINTN)root;
    *iommu32(IOMMU_GCMD) = GCMD_SRTP;
    while (!(*iommu32(IOMMU_GSTS) & GCMD_SRTP))
        ;
    forget_translations();
    *iommu32(IOMMU_GCMD) = GCMD_TE;
    while (!(*iommu32(IOMMU_GSTS) & GCMD_TE))
        ;
    return TRUE;
}

static VOID stop_translating(void)
{
    *iommu32(IOMMU_GCMD) = 0;
    while (*iommu32(IOMMU_GSTS) & GCMD_TE)
        ;
}

/* --- EDKII_IOMMU_PROTOCOL --------------------------------------------------------------------- */

struct mapping {
    UINT64 first;
    UINT64 last; /* page */
    UINTN kind;
};

/* Of MdeModulePkg; operations 3 to 5 are 0 to 2 for devices that know 64 bits. */
typedef struct iommu_protocol {
    UINT64 Revision;
    EFI_STATUS(EFIAPI *SetAttribute)
    (struct iommu_protocol *, EFI_HANDLE device, VOID *mapping, UINT64 access);
    EFI_STATUS(EFIAPI *Map)
    (struct iommu_protocol *, UINT32 operation, VOID *memory, UINTN *bytes,
     EFI_PHYSICAL_ADDRESS *ret_address, VOID **ret_mapping);
    EFI_STATUS(EFIAPI *Unmap)(struct iommu_protocol *, VOID *mapping);
    EFI_STATUS(EFIAPI *AllocateBuffer)
    (struct iommu_protocol *, EFI_ALLOCATE_TYPE, EFI_MEMORY_TYPE, UINTN pages, VOID **ret_memory,
     UINT64 attributes);
    EFI_STATUS(EFIAPI *FreeBuffer)(struct iommu_protocol *, UINTN pages, VOID *memory);
} iommu_protocol;

#define KINDS 3u /* device-readable, device-writable, common */

static UINTN n_mapped[KINDS], n_mapped_ever[KINDS];
static UINTN n_buffers;

static EFI_STATUS EFIAPI iommu_set_attribute(iommu_protocol *this, EFI_HANDLE device, VOID *mapping,
                                             UINT64 access)
{
    (void)this;
    (void)device;
    (void)mapping;
    (void)access;
    return EFI_SUCCESS;
}

/* What a device may do to a page that two mappings share is what either allows. */
static EFI_STATUS EFIAPI iommu_map(iommu_protocol *this, UINT32 operation, VOID *memory,
                                   UINTN *bytes, EFI_PHYSICAL_ADDRESS *ret_address,
                                   VOID **ret_mapping)
{
    static const UINT64 rights[KINDS] = {1, 2, 3};
    UINT64 address = (UINT64)(UINTN)memory;
    struct mapping *mapping = AllocatePool(sizeof(*mapping));

    (void)this;
    if (!mapping)
        return EFI_OUT_OF_RESOURCES;
    *mapping = (struct mapping){
        .first = address >> EFI_PAGE_SHIFT,
        .last = (address + *bytes - 1) >> EFI_PAGE_SHIFT,
        .kind = operation % KINDS,
    };
    for (UINT64 page = mapping->first; page <= mapping->last; page++) {
        UINT64 *entry = entry_of(IOVA_OFFSET + (page << EFI_PAGE_SHIFT));
        *entry = (*entry + ENTRY_ONE_USER) | page << EFI_PAGE_SHIFT | rights[mapping->kind];
    }
    forget_translations(); /* a page may allow more than before */
    n_mapped[mapping->kind]++;
    n_mapped_ever[mapping->kind]++;
    *ret_address = IOVA_OFFSET + address;
    *ret_mapping = mapping;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI iommu_unmap(iommu_protocol *this, VOID *context)
{
    struct mapping *mapping = context;

    (void)this;
    for (UINT64 page = mapping->first; page <= mapping->last; page++) {
        UINT64 *entry = entry_of(IOVA_OFFSET + (page << EFI_PAGE_SHIFT));
        *entry -= ENTRY_ONE_USER;
        if (!(*entry & ENTRY_USERS))
            *entry = 0;
    }
    forget_translations();
    n_mapped[mapping->kind]--;
    FreePool(mapping);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI iommu_allocate(iommu_protocol *this, EFI_ALLOCATE_TYPE type,
                                        EFI_MEMORY_TYPE memory_type, UINTN pages, VOID **ret_memory,
                                        UINT64 attributes)
{
    EFI_PHYSICAL_ADDRESS address = 0;

    (void)this;
    (void)type;
    (void)attributes;
    EFI_STATUS status = BS->AllocatePages(AllocateAnyPages, memory_type, pages, &address);
    *ret_memory = (VOID *)(UINTN)address;
    n_buffers += !EFI_ERROR(status);
    return status;
}

static EFI_STATUS EFIAPI iommu_free(iommu_protocol *this, UINTN pages, VOID *memory)
{
    (void)this;
    n_buffers--;
    return BS->FreePages((EFI_PHYSICAL_ADDRESS)(UINTN)memory, pages);
}

static iommu_protocol iommu = {
    .Revision = 0x10000,
    .SetAttribute = iommu_set_attribute,
    .Map = iommu_map,
    .Unmap = iommu_unmap,
    .AllocateBuffer = iommu_allocate,
    .FreeBuffer = iommu_free,
};

static EFI_GUID iommu_guid = {
    0x4e939de9, 0xd948, 0x4b0f, {0x88, 0xed, 0xe6, 0xe1, 0xce, 0x51, 0x7c, 0x1e}};

/* --- Reading ---------------------------------------------------------------------------------- */

#define BUFFER_BYTES (4u << 20)
#define STALE        0xa5

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static UINT8 *buffer;

/* In pieces that grow, at addresses of all kinds. */
static VOID read_disk(EFI_HANDLE handle)
{
    EFI_BLOCK_IO *block_io = NULL;
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;
    UINTN segment = 0, bus = 0, device = 0, function = 0;
    EFI_STATUS status = EFI_SUCCESS;
    UINT32 crc = 0xFFFFFFFF;

    /* Only drivers of virtio disks put EFI_BLOCK_IO onto the handle of the PCI function itself. */
    if (EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, (VOID **)&pci_io)) ||
        EFI_ERROR(BS->HandleProtocol(handle, &BlockIoProtocol, (VOID **)&block_io)))
        return;
    (void)pci_io->GetLocation(pci_io, &segment, &bus, &device, &function);
    UINT64 left = block_io->Media->LastBlock + 1;
    UINTN blocks = 1;
    for (EFI_LBA lba = 0; left && !EFI_ERROR(status); lba += blocks, left -= blocks) {
        blocks = blocks * 3 * block_io->Media->BlockSize < BUFFER_BYTES / 2 ? blocks * 3 : 1;
        if (blocks > left)
            blocks = (UINTN)left;
        UINTN bytes = blocks * block_io->Media->BlockSize;
        UINT8 *data = buffer + blocks % 64 * 8;
        SetMem(data, bytes, STALE);
        status = block_io->ReadBlocks(block_io, block_io->Media->MediaId, lba, bytes, data);
        crc = crc_add(crc, data, bytes);
    }
    Print(L"translate: %02x:%02x.%x %r crc32 %08X\n", bus, device, function, status, ~crc);
}

static VOID disconnect(EFI_HANDLE handle)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;
    UINT16 vendor = 0;

    if (!EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, (VOID **)&pci_io)) &&
        !EFI_ERROR(pci_io->Pci.Read(pci_io, EfiPciIoWidthUint16, 0, 1, &vendor)) &&
        vendor == VIRTIO_VENDOR)
        (void)BS->DisconnectController(handle, NULL, NULL);
}

static VOID for_each_handle(EFI_GUID *protocol, VOID (*visit)(EFI_HANDLE handle))
{
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0;

    if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, protocol, NULL, &n_handles, &handles)))
        return;
    for (UINTN i = 0; i < n_handles; i++)
        visit(handles[i]);
    (void)BS->FreePool(handles);
}

/* --- The story -------------------------------------------------------------------------------- */

/* Before the IOMMU is there: the disk that the driver comes from has mapped things already. */
static EFI_STATUS load_driver(EFI_HANDLE self, CHAR16 *name, EFI_HANDLE *ret_driver)
{
    EFI_LOADED_IMAGE *loaded = NULL;

    EFI_STATUS status = BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&loaded);
    return EFI_ERROR(status)
               ? status
               : BS->LoadImage(FALSE, self, FileDevicePath(loaded->DeviceHandle, name), NULL, 0,
                               ret_driver);
}

static VOID say_mapped(CHAR16 *when)
{
    Print(L"translate: %s: %d readable, %d writable, %d common, %d buffers\n", when, n_mapped[0],
          n_mapped[1], n_mapped[2], n_buffers);
}

static EFI_STATUS run(EFI_HANDLE driver, BOOLEAN stays)
{
    EFI_HANDLE handle = NULL;

    if (!translate())
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status =
        BS->InstallProtocolInterface(&handle, &iommu_guid, EFI_NATIVE_INTERFACE, &iommu);
    if (!EFI_ERROR(status))
        status = BS->StartImage(driver, NULL, NULL);
    if (EFI_ERROR(status))
        return status;
    for_each_handle(&BlockIoProtocol, read_disk);
    Print(L"translate: mapped in all: %d readable, %d writable, %d common\n", n_mapped_ever[0],
          n_mapped_ever[1], n_mapped_ever[2]);
    say_mapped(L"with the driver");
    if (!stays) {
        status = BS->UnloadImage(driver);
        for_each_handle(&pci_io_guid, disconnect); /* the firmware's drivers map things, too */
        say_mapped(L"without it");
    }
    Print(L"translate: faults %d\n", *iommu32(IOMMU_FSTS) & FSTS_FAULTS);
    if (!stays)
        stop_translating(); /* the protocol stays: the firmware has its address */
    return status;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_PHYSICAL_ADDRESS address = 0;
    EFI_HANDLE driver = NULL;
    CHAR16 **words = NULL;

    InitializeLib(self, system);
    INTN n_words = GetShellArgcArgv(self, &words);
    if (n_words != 2 && n_words != 3)
        return EFI_INVALID_PARAMETER;
    EFI_STATUS status = load_driver(self, words[1], &driver);
    if (!EFI_ERROR(status))
        status = BS->AllocatePages(AllocateAnyPages, EfiBootServicesData,
                                   BUFFER_BYTES / EFI_PAGE_SIZE, &address);
    if (EFI_ERROR(status))
        return status;
    buffer = (UINT8 *)(UINTN)address;
    make_crc_table();
    status = run(driver, n_words == 3);
    Print(L"translate: %r\n", status);
    for (;;) /* what the firmware would call has gone with us */
        BS->Stall(1000000);
}
