/** @file
 * EFI_PCI_IO_PROTOCOL in memory, as strict as the specification allows. Map() bounces: what the
 * device sees is not the caller's buffer, its address is no pointer, and the data moves in Map()
 * (BusMasterRead) or Unmap() (BusMasterWrite) only. The device reaches memory through
 * fake_pci_io_reach(). Descriptors of BARs are pool memory of fake_uefi.h. With it come I/O ports,
 * of which the last access is remembered.
 * Spec:   UEFI 2.10, 14.4 EFI PCI I/O Protocol; ACPI 6.4, 6.4.3.5.1 QWord Address Space Descriptor.
 * Knows:  tests/fakes/fake_uefi.h; numbers BARs as EDK2's PciBusDxe does.
 */
#ifndef TESTS_FAKES_FAKE_PCI_IO_H
#define TESTS_FAKES_FAKE_PCI_IO_H

#include "efi/uefi.h"
#include "transports/pci_spec.h"

#define FAKE_PCI_IO_BLOCKS   16u
#define FAKE_PCI_IO_ACCESSES 64u

/** What is in a buffer that was just allocated, or in a bounce buffer that the device is to fill. */
#define FAKE_PCI_IO_RUBBISH 0xDBu

/** In place of a BAR index: an access to configuration space. */
#define FAKE_PCI_IO_CONFIG 0xFFu

/** Calls that can be made to fail. */
enum fake_pci_io_call {
    FAKE_PCI_IO_ALLOCATE_BUFFER,
    FAKE_PCI_IO_MAP,
    FAKE_PCI_IO_UNMAP,    /**< the mapping is gone, the data was not brought back */
    FAKE_PCI_IO_MEM_READ, /**< or Io.Read() */
    FAKE_PCI_IO_CONFIG_READ,
    FAKE_PCI_IO_CALL_KINDS,
};

enum fake_pci_io_bar_kind {
    FAKE_PCI_IO_ABSENT,
    FAKE_PCI_IO_IO,
    FAKE_PCI_IO_MEMORY32,
    FAKE_PCI_IO_MEMORY64, /**< prefetchable; takes the next register too */
};

struct fake_pci_io_bar {
    enum fake_pci_io_bar_kind kind;
    UINT64 address; /**< on the PCI bus, as in the register */
    UINT64 bytes;
};

/** One access to a BAR or to configuration space. */
struct fake_pci_io_access {
    bool is_write;
    UINT8 index;
    UINT64 offset;
    unsigned width_bytes;
    UINT32 value; /**< written, or returned */
};

/** AllocateBuffer()'s, or a mapping. */
struct fake_pci_io_block {
    UINT8 *host; /**< NULL: not in use */
    UINT8 *seen; /**< what the device sees: the buffer itself, or the bounce buffer */
    UINTN bytes;
    EFI_PHYSICAL_ADDRESS address;
    EFI_PCI_IO_PROTOCOL_OPERATION operation;
};

struct fake_pci_io {
    EFI_PCI_IO_PROTOCOL protocol; /**< to be given to the code under test */
    UINT8 config[PCI_CONFIG_BYTES];
    UINTN location[4]; /**< segment, bus, device, function */

    /* Knobs */
    UINTN map_bytes_max;      /**< Map() maps no more than this; 0: no limit */
    UINT32 mem_value;         /**< what Mem.Read() and Io.Read() find */
    bool counts_registers;    /**< BAR indices are register numbers; false: EDK2's */
    UINT8 descriptor_type;    /**< in GetBarAttributes(); 0: that of a QWord descriptor */
    UINT8 resource_type;      /**< the same; 0: the BAR's */
    bool gives_no_resources;  /**< GetBarAttributes() succeeds without a descriptor */
    UINT64 translation_bytes; /**< PCI address - host address */

    /* What happened */
    struct fake_pci_io_access accesses[FAKE_PCI_IO_ACCESSES];
    unsigned n_accesses;
    unsigned calls[FAKE_PCI_IO_CALL_KINDS];

    struct fake_pci_io_bar bars[PCI_BAR_COUNT]; /**< by register */
    struct fake_pci_io_block buffers[FAKE_PCI_IO_BLOCKS];
    struct fake_pci_io_block mappings[FAKE_PCI_IO_BLOCKS];
    EFI_PHYSICAL_ADDRESS next_address;
    unsigned fail_at[FAKE_PCI_IO_CALL_KINDS];
};

/** What efi/port.h was asked for last; a read gives the value that stands here. */
struct fake_port_access {
    bool is_write;
    UINT16 port;
    unsigned width_bytes;
    UINT32 value;
};
extern struct fake_port_access fake_port_last;

/** A function without BARs. fake_uefi_init() comes first. */
void fake_pci_io_init(struct fake_pci_io *fake);

/** Let the @p nth call from now fail (1: the next one), and no other. */
void fake_pci_io_fail(struct fake_pci_io *fake, enum fake_pci_io_call call, unsigned nth);

/** Give the function a BAR in this register, and in the next one if it has 64 bits. */
void fake_pci_io_set_bar(struct fake_pci_io *fake, UINT8 bar, struct fake_pci_io_bar content);

/** Set a 16-bit field of configuration space. */
void fake_pci_io_set_config16(struct fake_pci_io *fake, UINT32 offset, UINT16 value);

/**
 * The device's way to memory. Fails the test unless all bytes lie in one live mapping that lets the
 * device access them in this way.
 */
UINT8 *fake_pci_io_reach(struct fake_pci_io *fake, EFI_PHYSICAL_ADDRESS address, UINTN bytes,
                         bool device_writes);

/** Fails the test if a buffer, a mapping or pool memory is alive. */
void fake_pci_io_assert_no_leaks(const struct fake_pci_io *fake);

#endif
