/* Contract and terms: tests/fakes/fake_pci_io.h. */

#include "tests/fakes/fake_pci_io.h"

#include "efi/port.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define FIRST_ADDRESS          UINT64_C(0x7A0000000)
#define DESCRIPTOR_TYPE_QWORD  0x8Au
#define DESCRIPTOR_BYTES       46u
#define END_TAG                0x79u
#define RESOURCE_TYPE_MEMORY   0u
#define RESOURCE_TYPE_IO       1u
#define BAR_64_BIT_PREFETCHING 0xCu

static struct fake_pci_io *fake_of(EFI_PCI_IO_PROTOCOL *protocol)
{
    return (struct fake_pci_io *)protocol;
}

static bool fails(struct fake_pci_io *fake, enum fake_pci_io_call call)
{
    return ++fake->calls[call] == fake->fail_at[call];
}

/* --- Memory ---------------------------------------------------------------------------------- */

static struct fake_pci_io_block *free_block(struct fake_pci_io_block *blocks)
{
    for (unsigned i = 0; i < FAKE_PCI_IO_BLOCKS; i++) {
        if (!blocks[i].host)
            return &blocks[i];
    }
    fail_msg("more than %u blocks are alive", FAKE_PCI_IO_BLOCKS);
    return NULL;
}

static bool has_bytes(const struct fake_pci_io_block *block, const UINT8 *host, UINTN bytes)
{
    return block->host && host >= block->host && host + bytes <= block->host + block->bytes;
}

/* The buffer with all of these bytes; NULL when there is none. */
static struct fake_pci_io_block *find_buffer(struct fake_pci_io *fake, const UINT8 *host,
                                             UINTN bytes)
{
    for (unsigned i = 0; i < FAKE_PCI_IO_BLOCKS; i++) {
        if (has_bytes(&fake->buffers[i], host, bytes))
            return &fake->buffers[i];
    }
    return NULL;
}

static EFI_STATUS EFIAPI fake_allocate_buffer(EFI_PCI_IO_PROTOCOL *protocol, EFI_ALLOCATE_TYPE type,
                                              EFI_MEMORY_TYPE memory_type, UINTN pages,
                                              VOID **ret_host, UINT64 attributes)
{
    struct fake_pci_io *fake = fake_of(protocol);

    (void)type; /* to be ignored, says the specification */
    assert_int_equal(memory_type, EfiBootServicesData);
    assert_int_equal(attributes, 0);
    assert_true(pages > 0);
    if (fails(fake, FAKE_PCI_IO_ALLOCATE_BUFFER))
        return EFI_OUT_OF_RESOURCES;
    struct fake_pci_io_block *buffer = free_block(fake->buffers);
    buffer->bytes = pages * EFI_PAGE_SIZE;
    buffer->host = aligned_alloc(EFI_PAGE_SIZE, buffer->bytes);
    assert_non_null(buffer->host);
    memset(buffer->host, FAKE_PCI_IO_RUBBISH, buffer->bytes);
    *ret_host = buffer->host;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_free_buffer(EFI_PCI_IO_PROTOCOL *protocol, UINTN pages, VOID *host)
{
    struct fake_pci_io *fake = fake_of(protocol);
    struct fake_pci_io_block *buffer = find_buffer(fake, host, pages * EFI_PAGE_SIZE);

    assert_non_null(buffer);
    assert_ptr_equal(buffer->host, host);
    assert_int_equal(buffer->bytes, pages * EFI_PAGE_SIZE);
    for (unsigned i = 0; i < FAKE_PCI_IO_BLOCKS; i++) {
        if (fake->mappings[i].host && has_bytes(buffer, fake->mappings[i].host, 1))
            fail_msg("a buffer is freed that the device can still reach");
    }
    free(buffer->host);
    *buffer = (struct fake_pci_io_block){0};
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_map(EFI_PCI_IO_PROTOCOL *protocol,
                                  EFI_PCI_IO_PROTOCOL_OPERATION operation, VOID *host, UINTN *bytes,
                                  EFI_PHYSICAL_ADDRESS *ret_address, VOID **ret_mapping)
{
    struct fake_pci_io *fake = fake_of(protocol);

    assert_non_null(host);
    assert_true(*bytes > 0);
    assert_in_range(operation, 0, EfiPciIoOperationMaximum - 1);
    bool is_common = operation == EfiPciIoOperationBusMasterCommonBuffer;
    assert_int_equal(is_common, find_buffer(fake, host, *bytes) != NULL);
    if (fails(fake, FAKE_PCI_IO_MAP))
        return EFI_OUT_OF_RESOURCES;
    if (fake->map_bytes_max && *bytes > fake->map_bytes_max)
        *bytes = fake->map_bytes_max;

    struct fake_pci_io_block *mapping = free_block(fake->mappings);
    *mapping = (struct fake_pci_io_block){
        .host = host,
        .seen = is_common ? host : malloc(*bytes),
        .bytes = *bytes,
        .address = fake->next_address,
        .operation = operation,
    };
    assert_non_null(mapping->seen);
    if (operation == EfiPciIoOperationBusMasterRead)
        memcpy(mapping->seen, host, *bytes);
    else if (operation == EfiPciIoOperationBusMasterWrite)
        memset(mapping->seen, FAKE_PCI_IO_RUBBISH, *bytes);
    fake->next_address += (*bytes / EFI_PAGE_SIZE + 2) * EFI_PAGE_SIZE;
    *ret_address = mapping->address;
    *ret_mapping = mapping;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_unmap(EFI_PCI_IO_PROTOCOL *protocol, VOID *opaque)
{
    struct fake_pci_io *fake = fake_of(protocol);
    struct fake_pci_io_block *mapping = opaque;
    bool is_lost = fails(fake, FAKE_PCI_IO_UNMAP);

    assert_true(mapping >= fake->mappings && mapping < fake->mappings + FAKE_PCI_IO_BLOCKS);
    assert_non_null(mapping->host); /* not unmapped yet */
    if (mapping->operation == EfiPciIoOperationBusMasterWrite && !is_lost)
        memcpy(mapping->host, mapping->seen, mapping->bytes);
    if (mapping->operation != EfiPciIoOperationBusMasterCommonBuffer)
        free(mapping->seen);
    *mapping = (struct fake_pci_io_block){0};
    return is_lost ? EFI_DEVICE_ERROR : EFI_SUCCESS;
}

UINT8 *fake_pci_io_reach(struct fake_pci_io *fake, EFI_PHYSICAL_ADDRESS address, UINTN bytes,
                         bool device_writes)
{
    for (unsigned i = 0; i < FAKE_PCI_IO_BLOCKS; i++) {
        const struct fake_pci_io_block *mapping = &fake->mappings[i];
        UINT64 offset = address - mapping->address;
        if (!mapping->host || offset >= mapping->bytes || bytes > mapping->bytes - offset)
            continue;
        if (mapping->operation != EfiPciIoOperationBusMasterCommonBuffer)
            assert_int_equal(mapping->operation, device_writes ? EfiPciIoOperationBusMasterWrite
                                                               : EfiPciIoOperationBusMasterRead);
        return mapping->seen + offset;
    }
    fail_msg("the device accesses 0x%llx, where nothing is mapped", (unsigned long long)address);
    return NULL;
}

void fake_pci_io_assert_no_leaks(const struct fake_pci_io *fake)
{
    for (unsigned i = 0; i < FAKE_PCI_IO_BLOCKS; i++) {
        assert_null(fake->buffers[i].host);
        assert_null(fake->mappings[i].host);
    }
    assert_int_equal(fake_uefi_pool_blocks, 0);
}

/* --- Registers ------------------------------------------------------------------------------- */

static unsigned width_of(EFI_PCI_IO_PROTOCOL_WIDTH width)
{
    assert_in_range(width, EfiPciIoWidthUint8, EfiPciIoWidthUint32);
    return 1u << width;
}

static void record(struct fake_pci_io *fake, bool is_write, UINT8 index, UINT64 offset,
                   unsigned width_bytes, const VOID *value)
{
    assert_true(fake->n_accesses < FAKE_PCI_IO_ACCESSES);
    struct fake_pci_io_access *access = &fake->accesses[fake->n_accesses++];

    assert_int_equal(offset % width_bytes, 0);
    *access = (struct fake_pci_io_access){
        .is_write = is_write, .index = index, .offset = offset, .width_bytes = width_bytes};
    memcpy(&access->value, value, width_bytes);
}

/* The register whose BAR the firmware means by an index; PCI_BAR_COUNT: it has no such index. */
static UINT8 register_of(const struct fake_pci_io *fake, UINT8 index)
{
    UINT8 bar = 0;

    if (fake->counts_registers)
        return index < PCI_BAR_COUNT ? index : PCI_BAR_COUNT;
    for (UINT8 i = 0; i < index && bar < PCI_BAR_COUNT; i++)
        bar = (UINT8)(bar + (fake->bars[bar].kind == FAKE_PCI_IO_MEMORY64 ? 2 : 1));
    return bar < PCI_BAR_COUNT ? bar : PCI_BAR_COUNT;
}

static bool is_range(const struct fake_pci_io *fake, bool is_io, UINT8 index, UINT64 offset,
                     unsigned width_bytes)
{
    UINT8 number = register_of(fake, index);

    if (number == PCI_BAR_COUNT)
        return false;
    const struct fake_pci_io_bar *bar = &fake->bars[number];
    return bar->kind != FAKE_PCI_IO_ABSENT && (bar->kind == FAKE_PCI_IO_IO) == is_io &&
           offset < bar->bytes && width_bytes <= bar->bytes - offset;
}

static EFI_STATUS read_bar(struct fake_pci_io *fake, bool is_io, EFI_PCI_IO_PROTOCOL_WIDTH width,
                           UINT8 index, UINT64 offset, UINTN count, VOID *buffer)
{
    unsigned width_bytes = width_of(width);

    assert_int_equal(count, 1);
    if (!is_range(fake, is_io, index, offset, width_bytes))
        return EFI_UNSUPPORTED;
    if (fails(fake, FAKE_PCI_IO_MEM_READ)) {
        memset(buffer, FAKE_PCI_IO_RUBBISH, width_bytes);
        return EFI_DEVICE_ERROR;
    }
    memcpy(buffer, &fake->mem_value, width_bytes);
    record(fake, false, index, offset, width_bytes, buffer);
    return EFI_SUCCESS;
}

static EFI_STATUS write_bar(struct fake_pci_io *fake, bool is_io, EFI_PCI_IO_PROTOCOL_WIDTH width,
                            UINT8 index, UINT64 offset, UINTN count, VOID *buffer)
{
    unsigned width_bytes = width_of(width);

    assert_int_equal(count, 1);
    if (!is_range(fake, is_io, index, offset, width_bytes))
        return EFI_UNSUPPORTED;
    record(fake, true, index, offset, width_bytes, buffer);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_mem_read(EFI_PCI_IO_PROTOCOL *protocol,
                                       EFI_PCI_IO_PROTOCOL_WIDTH width, UINT8 index, UINT64 offset,
                                       UINTN count, VOID *buffer)
{
    return read_bar(fake_of(protocol), false, width, index, offset, count, buffer);
}

static EFI_STATUS EFIAPI fake_mem_write(EFI_PCI_IO_PROTOCOL *protocol,
                                        EFI_PCI_IO_PROTOCOL_WIDTH width, UINT8 index, UINT64 offset,
                                        UINTN count, VOID *buffer)
{
    return write_bar(fake_of(protocol), false, width, index, offset, count, buffer);
}

static EFI_STATUS EFIAPI fake_io_read(EFI_PCI_IO_PROTOCOL *protocol,
                                      EFI_PCI_IO_PROTOCOL_WIDTH width, UINT8 index, UINT64 offset,
                                      UINTN count, VOID *buffer)
{
    return read_bar(fake_of(protocol), true, width, index, offset, count, buffer);
}

static EFI_STATUS EFIAPI fake_io_write(EFI_PCI_IO_PROTOCOL *protocol,
                                       EFI_PCI_IO_PROTOCOL_WIDTH width, UINT8 index, UINT64 offset,
                                       UINTN count, VOID *buffer)
{
    return write_bar(fake_of(protocol), true, width, index, offset, count, buffer);
}

/* --- efi/port.h ------------------------------------------------------------------------------- */

struct fake_port_access fake_port_last;

uint32_t port_read(uint16_t port, unsigned width_bytes)
{
    fake_port_last = (struct fake_port_access){
        .port = port, .width_bytes = width_bytes, .value = fake_port_last.value};
    return fake_port_last.value;
}

void port_write(uint16_t port, unsigned width_bytes, uint32_t value)
{
    fake_port_last = (struct fake_port_access){
        .is_write = true, .port = port, .width_bytes = width_bytes, .value = value};
}

static EFI_STATUS EFIAPI fake_config_read(EFI_PCI_IO_PROTOCOL *protocol,
                                          EFI_PCI_IO_PROTOCOL_WIDTH width, UINT32 offset,
                                          UINTN count, VOID *buffer)
{
    struct fake_pci_io *fake = fake_of(protocol);
    unsigned width_bytes = width_of(width);

    assert_int_equal(count, 1);
    assert_true(offset + width_bytes <= PCI_CONFIG_BYTES);
    if (fails(fake, FAKE_PCI_IO_CONFIG_READ)) {
        memset(buffer, FAKE_PCI_IO_RUBBISH, width_bytes);
        return EFI_DEVICE_ERROR;
    }
    memcpy(buffer, fake->config + offset, width_bytes);
    record(fake, false, FAKE_PCI_IO_CONFIG, offset, width_bytes, buffer);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_config_write(EFI_PCI_IO_PROTOCOL *protocol,
                                           EFI_PCI_IO_PROTOCOL_WIDTH width, UINT32 offset,
                                           UINTN count, VOID *buffer)
{
    struct fake_pci_io *fake = fake_of(protocol);
    unsigned width_bytes = width_of(width);

    assert_int_equal(count, 1);
    assert_true(offset + width_bytes <= PCI_CONFIG_BYTES);
    memcpy(fake->config + offset, buffer, width_bytes);
    record(fake, true, FAKE_PCI_IO_CONFIG, offset, width_bytes, buffer);
    return EFI_SUCCESS;
}

/* --- What the function is ---------------------------------------------------------------------- */

static EFI_STATUS EFIAPI fake_get_bar_attributes(EFI_PCI_IO_PROTOCOL *protocol, UINT8 index,
                                                 UINT64 *ret_supports, VOID **ret_resources)
{
    struct fake_pci_io *fake = fake_of(protocol);
    UINT8 number = register_of(fake, index);
    VOID *resources = NULL;

    assert_null(ret_supports);
    assert_non_null(ret_resources);
    if (number == PCI_BAR_COUNT || fake->bars[number].kind == FAKE_PCI_IO_ABSENT)
        return EFI_UNSUPPORTED;
    if (fake->gives_no_resources) {
        *ret_resources = NULL;
        return EFI_SUCCESS;
    }
    const struct fake_pci_io_bar *bar = &fake->bars[number];
    UINT64 minimum = bar->address - fake->translation_bytes;
    UINT64 alignment = bar->bytes - 1; /* EDK2 has this where others have the last address */

    if (EFI_ERROR(BS->AllocatePool(EfiBootServicesData, DESCRIPTOR_BYTES + 2, &resources)))
        return EFI_OUT_OF_RESOURCES;
    UINT8 *descriptor = resources;
    memset(descriptor, 0, DESCRIPTOR_BYTES + 2);
    descriptor[0] = fake->descriptor_type ? fake->descriptor_type : DESCRIPTOR_TYPE_QWORD;
    descriptor[1] = DESCRIPTOR_BYTES - 3;
    descriptor[3] = bar->kind == FAKE_PCI_IO_IO ? RESOURCE_TYPE_IO : RESOURCE_TYPE_MEMORY;
    if (fake->resource_type)
        descriptor[3] = fake->resource_type;
    descriptor[6] = bar->kind == FAKE_PCI_IO_MEMORY64 ? 64 : 32;
    memcpy(descriptor + 14, &minimum, sizeof(minimum));
    memcpy(descriptor + 22, &alignment, sizeof(alignment));
    memcpy(descriptor + 30, &fake->translation_bytes, sizeof(fake->translation_bytes));
    memcpy(descriptor + 38, &bar->bytes, sizeof(bar->bytes));
    descriptor[DESCRIPTOR_BYTES] = END_TAG;
    *ret_resources = resources;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_get_location(EFI_PCI_IO_PROTOCOL *protocol, UINTN *segment,
                                           UINTN *bus, UINTN *device, UINTN *function)
{
    const struct fake_pci_io *fake = fake_of(protocol);

    *segment = fake->location[0];
    *bus = fake->location[1];
    *device = fake->location[2];
    *function = fake->location[3];
    return EFI_SUCCESS;
}

void fake_pci_io_set_bar(struct fake_pci_io *fake, UINT8 bar, struct fake_pci_io_bar content)
{
    bool is_64_bit = content.kind == FAKE_PCI_IO_MEMORY64;
    UINT64 value = content.address;

    assert_true(bar + (is_64_bit ? 1u : 0u) < PCI_BAR_COUNT);
    fake->bars[bar] = content;
    if (content.kind == FAKE_PCI_IO_IO)
        value |= PCI_BAR_IS_IO;
    if (is_64_bit)
        value |= BAR_64_BIT_PREFETCHING;
    memcpy(fake->config + PCI_BAR_0 + bar * 4u, &value, is_64_bit ? 8 : 4);
}

void fake_pci_io_set_config16(struct fake_pci_io *fake, UINT32 offset, UINT16 value)
{
    memcpy(fake->config + offset, &value, sizeof(value));
}

void fake_pci_io_fail(struct fake_pci_io *fake, enum fake_pci_io_call call, unsigned nth)
{
    fake->fail_at[call] = fake->calls[call] + nth;
}

void fake_pci_io_init(struct fake_pci_io *fake)
{
    *fake = (struct fake_pci_io){
        .protocol =
            {
                .Mem = {.Read = fake_mem_read, .Write = fake_mem_write},
                .Io = {.Read = fake_io_read, .Write = fake_io_write},
                .Pci = {.Read = fake_config_read, .Write = fake_config_write},
                .Map = fake_map,
                .Unmap = fake_unmap,
                .AllocateBuffer = fake_allocate_buffer,
                .FreeBuffer = fake_free_buffer,
                .GetLocation = fake_get_location,
                .GetBarAttributes = fake_get_bar_attributes,
            },
        .next_address = FIRST_ADDRESS,
    };
    fake_port_last = (struct fake_port_access){0};
}
