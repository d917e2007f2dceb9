/* Contract and terms: efi/pci_window.h. */

#include "efi/pci_window.h"

#include "efi/port.h"
#include "transports/pci_caps.h"

/* ACPI 6.4, 6.4.3.5.1 QWord Address Space Descriptor, which is what GetBarAttributes() gives. */
struct qword_address_space {
    UINT8 type;
    UINT8 length[2];
    UINT8 resource_type;
    UINT8 general_flags;
    UINT8 specific_flags;
    UINT8 granularity[8];
    UINT8 minimum[8];
    UINT8 maximum[8];
    UINT8 translation[8];
    UINT8 bytes[8];
};

_Static_assert(sizeof(struct qword_address_space) == 46, "ACPI 6.4, 6.4.3.5.1");

#define QWORD_ADDRESS_SPACE_TYPE 0x8Au
#define RESOURCE_TYPE_MEMORY     0u
#define RESOURCE_TYPE_IO         1u

static EFI_PCI_IO_PROTOCOL_WIDTH window_width(unsigned width_bytes)
{
    return width_bytes == 1   ? EfiPciIoWidthUint8
           : width_bytes == 2 ? EfiPciIoWidthUint16
                              : EfiPciIoWidthUint32;
}

/* What a read gives that the firmware could not carry out: the answer of a device that is gone. */
static uint32_t window_all_ones(unsigned width_bytes)
{
    return UINT32_MAX >> (8 * (4 - width_bytes));
}

/* Widths and alignment are the window's care (vio_window_covers()). */
static uint32_t window_read_memory(const volatile UINT8 *where, unsigned width_bytes)
{
    return width_bytes == 1   ? *where
           : width_bytes == 2 ? *(const volatile UINT16 *)where
                              : *(const volatile UINT32 *)where;
}

static void window_write_memory(volatile UINT8 *where, unsigned width_bytes, uint32_t value)
{
    if (width_bytes == 1)
        *where = (UINT8)value;
    else if (width_bytes == 2)
        *(volatile UINT16 *)where = (UINT16)value;
    else
        *(volatile UINT32 *)where = value;
}

static const EFI_PCI_IO_PROTOCOL_ACCESS *window_space(const struct pci_bar_access *bar)
{
    return bar->is_io ? &bar->pci_io->Io : &bar->pci_io->Mem;
}

static uint32_t window_read_bar(void *context, uint64_t offset, unsigned width_bytes)
{
    const struct pci_bar_access *bar = context;
    uint32_t value = 0;

    if (bar->memory)
        return window_read_memory(bar->memory + offset, width_bytes);
    if (bar->port)
        return port_read((UINT16)(bar->port + offset), width_bytes);
    EFI_STATUS status = window_space(bar)->Read(bar->pci_io, window_width(width_bytes), bar->index,
                                                offset, 1, &value);
    return EFI_ERROR(status) ? window_all_ones(width_bytes) : value;
}

static void window_write_bar(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    const struct pci_bar_access *bar = context;

    if (bar->memory) {
        window_write_memory(bar->memory + offset, width_bytes, value);
        return;
    }
    if (bar->port) {
        port_write((UINT16)(bar->port + offset), width_bytes, value);
        return;
    }
    /* A write that fails is noticed by what the device does not do; each such wait is bounded. */
    (void)window_space(bar)->Write(bar->pci_io, window_width(width_bytes), bar->index, offset, 1,
                                   &value);
}

static uint32_t window_read_config(void *context, uint64_t offset, unsigned width_bytes)
{
    EFI_PCI_IO_PROTOCOL *pci_io = context;
    uint32_t value = 0;

    EFI_STATUS status =
        pci_io->Pci.Read(pci_io, window_width(width_bytes), (UINT32)offset, 1, &value);
    return EFI_ERROR(status) ? window_all_ones(width_bytes) : value;
}

static void window_write_config(void *context, uint64_t offset, unsigned width_bytes,
                                uint32_t value)
{
    EFI_PCI_IO_PROTOCOL *pci_io = context;

    (void)pci_io->Pci.Write(pci_io, window_width(width_bytes), (UINT32)offset, 1, &value);
}

static const struct vio_window_ops window_bar_ops = {
    .read = window_read_bar,
    .write = window_write_bar,
};

static const struct vio_window_ops window_config_ops = {
    .read = window_read_config,
    .write = window_write_config,
};

/*
 * What the firmware says of one of its BAR indices, by its address on the bus; 0 bytes: absent or
 * unassigned.
 */
struct firmware_bar {
    bool is_io;
    uint64_t address;
    uint64_t processor_address;
    uint64_t bytes;
};

static struct firmware_bar window_ask_firmware(EFI_PCI_IO_PROTOCOL *pci_io, UINT8 index)
{
    cleanup_pool void *resources = NULL;
    struct firmware_bar bar = {0};
    uint64_t minimum, translation;

    if (EFI_ERROR(pci_io->GetBarAttributes(pci_io, index, NULL, &resources)) || !resources)
        return bar;
    const struct qword_address_space *space = resources;
    if (space->type != QWORD_ADDRESS_SPACE_TYPE || space->resource_type > RESOURCE_TYPE_IO)
        return bar;
    /* UEFI 2.10, 14.4: the offset turns the processor's address into the one that PCI uses. */
    __builtin_memcpy(&minimum, space->minimum, sizeof(minimum));
    __builtin_memcpy(&translation, space->translation, sizeof(translation));
    bar.is_io = space->resource_type == RESOURCE_TYPE_IO;
    bar.address = minimum + translation;
    bar.processor_address = minimum;
    __builtin_memcpy(&bar.bytes, space->bytes, sizeof(bar.bytes));
    return bar;
}

/* PCI Local Bus 3.0, 6.2.5.1 Address Maps; 0 for one without an address. */
static uint64_t window_bar_address(EFI_PCI_IO_PROTOCOL *pci_io, UINT8 bar, bool *ret_is_io,
                                   bool *ret_is_64_bit)
{
    uint64_t offset = PCI_BAR_0 + (uint64_t)bar * sizeof(UINT32);
    uint32_t low = window_read_config(pci_io, offset, sizeof(UINT32));

    *ret_is_io = low & PCI_BAR_IS_IO;
    *ret_is_64_bit = false;
    if (*ret_is_io)
        return low & PCI_BAR_IO_ADDRESS_MASK;
    uint64_t address = low & PCI_BAR_ADDRESS_MASK;
    if ((low & PCI_BAR_TYPE_MASK) == PCI_BAR_TYPE_64 && bar + 1 < (int)PCI_BAR_COUNT) {
        *ret_is_64_bit = true;
        address |= (uint64_t)window_read_config(pci_io, offset + sizeof(UINT32), sizeof(UINT32))
                   << 32;
    }
    return address;
}

/*
 * EDK2 counts a 64-bit BAR as one index although it takes two registers, so behind one its indices
 * are not the register numbers that the capabilities mean. The address tells which is which; where
 * no address fits, the register number is what the specification says.
 */
static UINT8 window_find_index(const struct firmware_bar *bars, uint64_t address, bool is_io,
                               UINT8 bar)
{
    for (UINT8 index = 0; index < PCI_BAR_COUNT; index++) {
        if (bars[index].bytes && bars[index].address == address && bars[index].is_io == is_io)
            return index;
    }
    return bar;
}

void pci_window_describe(struct pci_access *access, EFI_PCI_IO_PROTOCOL *pci_io,
                         struct pci_function *ret_function)
{
    struct firmware_bar bars[PCI_BAR_COUNT];
    bool is_io, is_64_bit;

    *ret_function = (struct pci_function){
        .config = {.ops = &window_config_ops, .context = pci_io, .bytes = PCI_CONFIG_BYTES},
    };
    *access = (struct pci_access){0};
    for (UINT8 index = 0; index < PCI_BAR_COUNT; index++)
        bars[index] = window_ask_firmware(pci_io, index);
    for (UINT8 bar = 0; bar < PCI_BAR_COUNT; bar = (UINT8)(bar + (is_64_bit ? 2 : 1))) {
        uint64_t address = window_bar_address(pci_io, bar, &is_io, &is_64_bit);
        UINT8 index = window_find_index(bars, address, is_io, bar);
        if (address == 0 || bars[index].is_io != is_io)
            continue;
        access->bars[bar] = (struct pci_bar_access){
            .pci_io = pci_io,
            .index = index,
            .is_io = is_io,
            .address = bars[index].address == address ? bars[index].processor_address : 0,
        };
        ret_function->bars[bar] = (struct vio_window){
            .ops = &window_bar_ops,
            .context = &access->bars[bar],
            .bytes = bars[index].bytes,
        };
    }
}

bool pci_window_go_direct(struct pci_access *access)
{
    bool are_direct = true;

    for (struct pci_bar_access *bar = access->bars; bar < &access->bars[PCI_BAR_COUNT]; bar++) {
        if (!bar->is_io)
            bar->memory = (volatile UINT8 *)(UINTN)bar->address;
        else if (bar->address <= UINT16_MAX)
            bar->port = (UINT16)bar->address;
        are_direct &= !bar->pci_io || bar->memory || bar->port;
    }
    return are_direct;
}

UINT16 pci_window_virtio_id(EFI_PCI_IO_PROTOCOL *pci_io)
{
    return pci_caps_virtio_id((UINT16)window_read_config(pci_io, PCI_VENDOR_ID, sizeof(UINT16)),
                              (UINT16)window_read_config(pci_io, PCI_DEVICE_ID, sizeof(UINT16)));
}
