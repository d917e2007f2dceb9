/* Register windows over EFI_PCI_IO_PROTOCOL: widths, offsets, and which index a BAR has. */

#include "efi/pci_window.h"
#include "tests/fakes/fake_pci_io.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define HIGH_ADDRESS UINT64_C(0xE000000000)

static struct fake_pci_io pci_io;
static struct pci_access access;
static struct pci_function function;

static int set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    fake_pci_io_init(&pci_io);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_pci_io_assert_no_leaks(&pci_io);
    return 0;
}

static void set_bar(UINT8 bar, enum fake_pci_io_bar_kind kind, UINT64 address, UINT64 bytes)
{
    const struct fake_pci_io_bar content = {.kind = kind, .address = address, .bytes = bytes};

    fake_pci_io_set_bar(&pci_io, bar, content);
}

/* Describes the function; that must touch no register of the device and write nothing. */
static void describe(void)
{
    memset(&access, 0x5A, sizeof(access));
    memset(&function, 0x5A, sizeof(function));
    pci_window_describe(&access, &pci_io.protocol, &function);
    for (unsigned i = 0; i < pci_io.n_accesses; i++) {
        assert_false(pci_io.accesses[i].is_write);
        assert_int_equal(pci_io.accesses[i].index, FAKE_PCI_IO_CONFIG);
    }
    pci_io.n_accesses = 0;
}

static void assert_last_access(bool is_write, UINT8 index, UINT64 offset, unsigned width_bytes,
                               UINT32 value)
{
    assert_int_equal(pci_io.n_accesses, 1);
    assert_int_equal(pci_io.accesses[0].is_write, is_write);
    assert_int_equal(pci_io.accesses[0].index, index);
    assert_int_equal(pci_io.accesses[0].offset, offset);
    assert_int_equal(pci_io.accesses[0].width_bytes, width_bytes);
    assert_int_equal(pci_io.accesses[0].value, value);
    pci_io.n_accesses = 0;
}

/* Asserts a window's length, and that its last word arrives in the BAR with this index. */
static void assert_bar(UINT8 bar, UINT64 bytes, UINT8 index)
{
    const struct vio_window *window = &function.bars[bar];

    assert_int_equal(window->bytes, bytes);
    reg_write32(window, bytes - 4, 0x11223344);
    assert_last_access(true, index, bytes - 4, 4, 0x11223344);
}

static void given_memory_bar_when_accessed_then_index_offset_and_width_are_kept(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x4000);
    pci_io.mem_value = 0x89ABCDEF;
    describe();
    const struct vio_window *bar = &function.bars[1];

    assert_int_equal(reg_read8(bar, 0x13), 0xEF);
    assert_last_access(false, 1, 0x13, 1, 0xEF);
    assert_int_equal(reg_read16(bar, 0x3FFE), 0xCDEF);
    assert_last_access(false, 1, 0x3FFE, 2, 0xCDEF);
    assert_int_equal(reg_read32(bar, 0x2004), 0x89ABCDEF);
    assert_last_access(false, 1, 0x2004, 4, 0x89ABCDEF);
    reg_write8(bar, 0x14, 0x5A);
    assert_last_access(true, 1, 0x14, 1, 0x5A);
    reg_write16(bar, 0x16, 0xBEEF);
    assert_last_access(true, 1, 0x16, 2, 0xBEEF);
    reg_write32(bar, 0x3FFC, 0xFEDCBA98);
    assert_last_access(true, 1, 0x3FFC, 4, 0xFEDCBA98);
}

static void given_config_space_when_accessed_then_offset_and_width_are_kept(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
        pci_io.config[i] = (UINT8)(i ^ 0xC0);
    describe();
    const struct vio_window *config = &function.config;

    assert_int_equal(config->bytes, PCI_CONFIG_BYTES);
    assert_int_equal(reg_read8(config, 0x41), 0x81);
    assert_last_access(false, FAKE_PCI_IO_CONFIG, 0x41, 1, 0x81);
    assert_int_equal(reg_read16(config, 0x42), 0x8382);
    assert_last_access(false, FAKE_PCI_IO_CONFIG, 0x42, 2, 0x8382);
    assert_int_equal(reg_read32(config, 0xFC), 0x3F3E3D3C);
    assert_last_access(false, FAKE_PCI_IO_CONFIG, 0xFC, 4, 0x3F3E3D3C);
    reg_write8(config, 0x51, 0xA1);
    assert_last_access(true, FAKE_PCI_IO_CONFIG, 0x51, 1, 0xA1);
    reg_write16(config, 0x52, 0xA3A2);
    assert_last_access(true, FAKE_PCI_IO_CONFIG, 0x52, 2, 0xA3A2);
    reg_write32(config, 0x54, 0xA7A6A5A4);
    assert_last_access(true, FAKE_PCI_IO_CONFIG, 0x54, 4, 0xA7A6A5A4);
}

static void given_access_fails_when_read_then_all_ones_of_the_width(void **state)
{
    static const uint32_t all_ones[] = {[1] = 0xFF, [2] = 0xFFFF, [4] = 0xFFFFFFFF};

    (void)state;
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x1000);
    describe();
    for (unsigned width_bytes = 1; width_bytes <= 4; width_bytes *= 2) {
        fake_pci_io_fail(&pci_io, FAKE_PCI_IO_MEM_READ, 1);
        fake_pci_io_fail(&pci_io, FAKE_PCI_IO_CONFIG_READ, 1);

        uint32_t bar = vio_window_read(&function.bars[1], 8, width_bytes);
        uint32_t config = vio_window_read(&function.config, 8, width_bytes);

        assert_int_equal(bar, all_ones[width_bytes]);
        assert_int_equal(config, all_ones[width_bytes]);
    }
    assert_int_equal(pci_io.n_accesses, 0);
}

static void assert_no_windows(void)
{
    for (UINT8 bar = 0; bar < PCI_BAR_COUNT; bar++)
        assert_int_equal(function.bars[bar].bytes, 0);
}

static void given_no_bars_when_described_then_all_have_length_0(void **state)
{
    (void)state;
    describe();

    assert_no_windows();
}

static void given_io_bars_when_described_then_told_from_memory_at_the_same_address(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_MEMORY64, 0x6000, 0x1000);
    set_bar(2, FAKE_PCI_IO_IO, 0xC0000000, 0x100);
    set_bar(3, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x2000);
    set_bar(5, FAKE_PCI_IO_IO, 0x6000, 0x80);

    describe();

    assert_bar(0, 0x1000, 0);
    assert_bar(2, 0x100, 1);
    assert_bar(3, 0x2000, 2);
    assert_bar(5, 0x80, 4);
}

static void given_io_bar_when_accessed_then_index_offset_and_width_are_kept(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_IO, 0x6000, 0x80);
    pci_io.mem_value = 0x89ABCDEF;
    describe();
    const struct vio_window *bar = &function.bars[0];

    assert_int_equal(reg_read8(bar, 0x13), 0xEF);
    assert_last_access(false, 0, 0x13, 1, 0xEF);
    assert_int_equal(reg_read16(bar, 0x0C), 0xCDEF);
    assert_last_access(false, 0, 0x0C, 2, 0xCDEF);
    reg_write16(bar, 0x10, 0xBEEF);
    assert_last_access(true, 0, 0x10, 2, 0xBEEF);
    fake_pci_io_fail(&pci_io, FAKE_PCI_IO_MEM_READ, 1);
    assert_int_equal(reg_read8(bar, 0x12), 0xFF);
    assert_int_equal(reg_read32(bar, 0x80), UINT32_MAX);
    assert_int_equal(pci_io.n_accesses, 0);
}

static void assert_last_port(bool is_write, UINT16 port, unsigned width_bytes, UINT32 value)
{
    assert_int_equal(fake_port_last.is_write, is_write);
    assert_int_equal(fake_port_last.port, port);
    assert_int_equal(fake_port_last.width_bytes, width_bytes);
    assert_int_equal(fake_port_last.value, value);
    assert_int_equal(pci_io.n_accesses, 0);
}

static void given_io_bar_when_gone_direct_then_its_ports_are_used(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_IO, 0x6000, 0x80);
    describe();
    const struct vio_window *bar = &function.bars[0];

    pci_window_go_direct(&access);

    reg_write16(bar, 0x10, 0xBEEF);
    assert_last_port(true, 0x6010, 2, 0xBEEF);
    fake_port_last.value = 0x5A;
    assert_int_equal(reg_read8(bar, 0x12), 0x5A);
    assert_last_port(false, 0x6012, 1, 0x5A);
    assert_int_equal(reg_read32(bar, 0x7C), 0x5A);
    assert_last_port(false, 0x607C, 4, 0x5A);
    assert_int_equal(reg_read32(bar, 0x80), UINT32_MAX);
    assert_last_port(false, 0x607C, 4, 0x5A);
}

/* As on machines whose I/O space is somewhere in memory. */
static void given_io_bar_where_no_port_is_when_gone_direct_then_still_by_the_firmware(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_IO, 0x6000, 0x80);
    pci_io.translation_bytes = 0 - UINT64_C(0x4010000000);
    describe();

    pci_window_go_direct(&access);

    reg_write16(&function.bars[0], 0x10, 0xBEEF);
    assert_last_access(true, 0, 0x10, 2, 0xBEEF);
}

static void given_other_space_by_the_firmwares_word_when_described_then_no_window(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_IO, 0x6000, 0x80);
    pci_io.config[PCI_BAR_0] = 0; /* the register speaks of memory */

    describe();

    assert_no_windows();
}

static void given_bar_of_another_resource_when_described_then_no_window(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x1000);
    pci_io.resource_type = 2; /* bus numbers */

    describe();

    assert_no_windows();
}

static void given_odd_descriptor_when_described_then_length_0(void **state)
{
    static const UINT8 types[] = {0x79, 0x87, 0x88, 0x8B};

    (void)state;
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x1000);
    set_bar(4, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS, 0x4000);
    for (unsigned i = 0; i < ARRAY_LENGTH(types); i++) {
        pci_io.descriptor_type = types[i];

        describe();

        assert_no_windows();
    }
}

static void given_firmware_knows_no_resources_when_described_then_length_0(void **state)
{
    (void)state;
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x1000);
    pci_io.gives_no_resources = true;

    describe();

    assert_no_windows();
}

static void given_no_pool_for_a_descriptor_when_described_then_length_0(void **state)
{
    (void)state;
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x1000);
    fake_uefi_fail_pool = 1;

    describe();

    assert_no_windows();
}

static void given_empty_memory_bar_when_described_then_length_0(void **state)
{
    (void)state;
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0, 0);
    set_bar(4, FAKE_PCI_IO_MEMORY64, 0, 0);

    describe();

    assert_no_windows();
}

static void given_qemus_layout_when_described_then_index_is_the_register_number(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_IO, 0x6000, 0x80);
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0xC1042000, 0x1000);
    set_bar(4, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS, 0x4000);

    describe();

    assert_bar(0, 0x80, 0);
    assert_bar(1, 0x1000, 1);
    assert_int_equal(function.bars[2].bytes, 0);
    assert_int_equal(function.bars[3].bytes, 0);
    assert_bar(4, 0x4000, 4);
}

static void given_64_bit_bars_only_when_described_then_each_takes_one_index(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_MEMORY64, 0xC0000000, 0x1000);
    set_bar(2, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS + 0x200000000, 0x200000000);
    set_bar(4, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS, 0x4000);

    describe();

    assert_bar(0, 0x1000, 0);
    assert_bar(2, 0x200000000, 1);
    assert_bar(4, 0x4000, 2);
}

static void given_64_bit_bar_before_others_when_described_then_their_indices_are_lower(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS, 0x1000);
    set_bar(2, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x2000);
    set_bar(3, FAKE_PCI_IO_IO, 0x6000, 0x80);
    set_bar(4, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS + 0x4000, 0x4000);

    describe();

    assert_bar(0, 0x1000, 0);
    assert_bar(2, 0x2000, 1);
    assert_int_equal(function.bars[1].bytes, 0);
    assert_bar(3, 0x80, 2);
    assert_bar(4, 0x4000, 3); /* an I/O BAR takes an index as well, as an absent one does */
}

static void given_bars_that_differ_in_high_half_when_described_then_told_apart(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_MEMORY64, 0x1C0000000, 0x1000);
    set_bar(2, FAKE_PCI_IO_MEMORY64, 0x2C0000000, 0x2000);
    set_bar(4, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x4000);
    set_bar(5, FAKE_PCI_IO_MEMORY32, 0xD0000000, 0x8000);

    describe();

    assert_bar(0, 0x1000, 0);
    assert_bar(2, 0x2000, 1);
    assert_bar(4, 0x4000, 2);
    assert_bar(5, 0x8000, 3);
}

static void given_last_bar_claims_64_bits_when_described_then_nothing_behind_read(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS, 0x1000);
    set_bar(5, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x2000);
    pci_io.config[PCI_BAR_0 + 5 * 4] |= PCI_BAR_TYPE_64;
    pci_io.config[PCI_BAR_0 + 6 * 4] = 1; /* the CardBus CIS pointer */

    describe();

    assert_bar(5, 0x2000, 4);
}

static void given_firmware_counts_registers_when_described_then_index_is_register(void **state)
{
    (void)state;
    pci_io.counts_registers = true;
    set_bar(0, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS, 0x1000);
    set_bar(2, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x2000);
    set_bar(4, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS + 0x4000, 0x4000);

    describe();

    assert_bar(0, 0x1000, 0);
    assert_bar(2, 0x2000, 2);
    assert_bar(4, 0x4000, 4);
}

static void
given_bus_translates_when_described_then_bars_are_found_by_their_bus_address(void **state)
{
    (void)state;
    pci_io.translation_bytes = 0x80000000;
    set_bar(0, FAKE_PCI_IO_MEMORY64, HIGH_ADDRESS, 0x1000);
    set_bar(2, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x2000);

    describe();

    assert_bar(0, 0x1000, 0);
    assert_bar(2, 0x2000, 1);
}

static void given_unassigned_bar_when_described_then_no_window(void **state)
{
    (void)state;
    set_bar(0, FAKE_PCI_IO_IO, 0, 0x80);
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0, 0x1000);

    describe();

    assert_no_windows();
}

static void given_device_gone_when_described_then_no_window(void **state)
{
    (void)state;
    set_bar(1, FAKE_PCI_IO_MEMORY32, 0xC0000000, 0x1000);
    memset(pci_io.config, 0xFF, sizeof(pci_io.config));

    describe();

    assert_int_equal(function.bars[1].bytes, 0);
    assert_int_equal(reg_read16(&function.config, PCI_VENDOR_ID), 0xFFFF);
}

static void given_pci_ids_when_virtio_id_asked_then_type_or_0(void **state)
{
    /* Checks: PCI-DISC-1, PCI-DISC-2 */
    static const struct {
        UINT16 vendor;
        UINT16 device;
        UINT16 virtio_id;
    } cases[] = {
        {0x1AF4, 0x1042, 2}, {0x1AF4, 0x1001, 2}, {0x1AF4, 0x1044, 4}, {0x8086, 0x1234, 0},
        {0x8086, 0x1042, 0}, {0x1042, 0x1AF4, 0}, {0xFFFF, 0xFFFF, 0},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake_pci_io_set_config16(&pci_io, PCI_VENDOR_ID, cases[i].vendor);
        fake_pci_io_set_config16(&pci_io, PCI_DEVICE_ID, cases[i].device);

        assert_int_equal(pci_window_virtio_id(&pci_io.protocol), cases[i].virtio_id);
    }
}

static void given_config_unreadable_when_virtio_id_asked_then_0(void **state)
{
    (void)state;
    fake_pci_io_set_config16(&pci_io, PCI_VENDOR_ID, 0x1AF4);
    fake_pci_io_set_config16(&pci_io, PCI_DEVICE_ID, 0x1042);
    fake_pci_io_fail(&pci_io, FAKE_PCI_IO_CONFIG_READ, 1);

    assert_int_equal(pci_window_virtio_id(&pci_io.protocol), 0);
}

#define WINDOW_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WINDOW_TEST(given_memory_bar_when_accessed_then_index_offset_and_width_are_kept),
        WINDOW_TEST(given_config_space_when_accessed_then_offset_and_width_are_kept),
        WINDOW_TEST(given_access_fails_when_read_then_all_ones_of_the_width),
        WINDOW_TEST(given_no_bars_when_described_then_all_have_length_0),
        WINDOW_TEST(given_io_bars_when_described_then_told_from_memory_at_the_same_address),
        WINDOW_TEST(given_io_bar_when_accessed_then_index_offset_and_width_are_kept),
        WINDOW_TEST(given_io_bar_when_gone_direct_then_its_ports_are_used),
        WINDOW_TEST(given_io_bar_where_no_port_is_when_gone_direct_then_still_by_the_firmware),
        WINDOW_TEST(given_other_space_by_the_firmwares_word_when_described_then_no_window),
        WINDOW_TEST(given_bar_of_another_resource_when_described_then_no_window),
        WINDOW_TEST(given_odd_descriptor_when_described_then_length_0),
        WINDOW_TEST(given_firmware_knows_no_resources_when_described_then_length_0),
        WINDOW_TEST(given_no_pool_for_a_descriptor_when_described_then_length_0),
        WINDOW_TEST(given_empty_memory_bar_when_described_then_length_0),
        WINDOW_TEST(given_qemus_layout_when_described_then_index_is_the_register_number),
        WINDOW_TEST(given_64_bit_bars_only_when_described_then_each_takes_one_index),
        WINDOW_TEST(given_64_bit_bar_before_others_when_described_then_their_indices_are_lower),
        WINDOW_TEST(given_bars_that_differ_in_high_half_when_described_then_told_apart),
        WINDOW_TEST(given_last_bar_claims_64_bits_when_described_then_nothing_behind_read),
        WINDOW_TEST(given_firmware_counts_registers_when_described_then_index_is_register),
        WINDOW_TEST(given_bus_translates_when_described_then_bars_are_found_by_their_bus_address),
        WINDOW_TEST(given_unassigned_bar_when_described_then_no_window),
        WINDOW_TEST(given_device_gone_when_described_then_no_window),
        WINDOW_TEST(given_pci_ids_when_virtio_id_asked_then_type_or_0),
        WINDOW_TEST(given_config_unreadable_when_virtio_id_asked_then_0),
    };

    return cmocka_run_group_tests_name("pci_window", tests, NULL, NULL);
}
