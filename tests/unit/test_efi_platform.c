/* core/platform.h over EFI_PCI_IO_PROTOCOL: what a device gets went through Map(), always. */

#include "efi/platform.h"
#include "tests/fakes/fake_msix.h"
#include "tests/fakes/fake_pci_io.h"
#include "tests/fakes/fake_processor.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define BUFFER_BYTES 1000u

static struct fake_pci_io pci_io;
static struct interrupt interrupt;
static struct platform context;
static struct vio_platform platform;
static uint8_t buffer[BUFFER_BYTES];

static int set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    fake_pci_io_init(&pci_io);
    fake_processor_init();
    interrupt = (struct interrupt){0};
    context = (struct platform){.pci_io = &pci_io.protocol, .interrupt = &interrupt};
    platform = platform_make(&context);
    memset(buffer, 0xA5, sizeof(buffer));
    return vio_platform_is_complete(&platform) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    fake_pci_io_assert_no_leaks(&pci_io);
    return 0;
}

static bool is_filled(const void *memory, uint8_t value, size_t bytes)
{
    const uint8_t *at = memory;

    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != value)
            return false;
    }
    return true;
}

static void given_any_length_when_dma_allocated_then_zeroed_pages_at_device_address(void **state)
{
    static const size_t lengths[] = {1, 4095, 4096, 4097, 3 * 4096};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(lengths); i++) {
        size_t page_bytes = (lengths[i] + 4095) / 4096 * 4096;
        struct vio_dma dma;

        assert_int_equal(platform.ops->dma_alloc(platform.context, lengths[i], &dma), VIO_OK);

        assert_int_equal(dma.bytes, lengths[i]);
        assert_int_equal((uintptr_t)dma.memory % 4096, 0);
        assert_int_equal(dma.addr % 4096, 0);
        assert_true(is_filled(dma.memory, 0, page_bytes));
        assert_ptr_equal(fake_pci_io_reach(&pci_io, dma.addr, lengths[i], true), dma.memory);
        assert_ptr_equal(fake_pci_io_reach(&pci_io, dma.addr, lengths[i], false), dma.memory);
        platform.ops->dma_free(platform.context, &dma);
        assert_null(dma.memory);
        fake_pci_io_assert_no_leaks(&pci_io);
    }
}

static void given_two_dma_blocks_when_one_is_freed_then_the_other_stays(void **state)
{
    struct vio_dma first, second;

    (void)state;
    assert_int_equal(platform.ops->dma_alloc(platform.context, 100, &first), VIO_OK);
    assert_int_equal(platform.ops->dma_alloc(platform.context, 5000, &second), VIO_OK);

    platform.ops->dma_free(platform.context, &first);

    assert_ptr_equal(fake_pci_io_reach(&pci_io, second.addr, 5000, true), second.memory);
    platform.ops->dma_free(platform.context, &second);
}

static void given_unmap_fails_when_dma_freed_then_its_buffer_is_freed(void **state)
{
    struct vio_dma dma;

    (void)state;
    assert_int_equal(platform.ops->dma_alloc(platform.context, 100, &dma), VIO_OK);
    fake_pci_io_fail(&pci_io, FAKE_PCI_IO_UNMAP, 1);

    platform.ops->dma_free(platform.context, &dma);

    fake_pci_io_assert_no_leaks(&pci_io);
}

/* Nothing left behind, and nothing written to what is "written only on success". */
static void assert_dma_alloc_fails(void)
{
    struct vio_dma dma, untouched;

    memset(&dma, 0x5A, sizeof(dma));
    untouched = dma;

    vio_status status = platform.ops->dma_alloc(platform.context, 8192, &dma);

    assert_int_equal(status, VIO_ERR_NO_MEMORY);
    assert_memory_equal(&dma, &untouched, sizeof(dma));
    fake_pci_io_assert_no_leaks(&pci_io);
}

static void given_no_buffer_when_dma_allocated_then_no_memory(void **state)
{
    (void)state;
    fake_pci_io_fail(&pci_io, FAKE_PCI_IO_ALLOCATE_BUFFER, 1);

    assert_dma_alloc_fails();

    assert_int_equal(pci_io.calls[FAKE_PCI_IO_MAP], 0);
}

static void given_no_mapping_when_dma_allocated_then_no_memory_and_buffer_freed(void **state)
{
    (void)state;
    fake_pci_io_fail(&pci_io, FAKE_PCI_IO_MAP, 1);

    assert_dma_alloc_fails();

    assert_int_equal(pci_io.calls[FAKE_PCI_IO_UNMAP], 0);
}

static void given_short_mapping_when_dma_allocated_then_unmapped_and_buffer_freed(void **state)
{
    /* Checks: RSVD-4 */
    (void)state;
    pci_io.map_bytes_max = 8191;

    assert_dma_alloc_fails();

    assert_int_equal(pci_io.calls[FAKE_PCI_IO_UNMAP], 1);
}

static void given_readable_buffer_when_mapped_then_device_reads_its_data(void **state)
{
    /* Checks: RSVD-4 */
    struct vio_mapping mapping;

    (void)state;
    vio_status mapped =
        platform.ops->map(platform.context, buffer, sizeof(buffer), VIO_DEVICE_READABLE, &mapping);

    assert_int_equal(mapped, VIO_OK);
    assert_true(mapping.addr != (uintptr_t)buffer);
    assert_memory_equal(fake_pci_io_reach(&pci_io, mapping.addr, sizeof(buffer), false), buffer,
                        sizeof(buffer));
    assert_int_equal(platform.ops->unmap(platform.context, &mapping), VIO_OK);
    assert_true(is_filled(buffer, 0xA5, sizeof(buffer)));
}

static void given_writable_buffer_when_unmapped_then_the_devices_data_is_in_it(void **state)
{
    /* Checks: RSVD-4 */
    struct vio_mapping mapping;

    (void)state;
    /* All but the first and the last byte, at an odd address: UEFI asks for no alignment. */
    assert_int_equal(platform.ops->map(platform.context, buffer + 1, sizeof(buffer) - 2,
                                       VIO_DEVICE_WRITABLE, &mapping),
                     VIO_OK);
    memset(fake_pci_io_reach(&pci_io, mapping.addr, sizeof(buffer) - 2, true), 0x3C,
           sizeof(buffer) - 2);

    assert_int_equal(platform.ops->unmap(platform.context, &mapping), VIO_OK);

    assert_true(is_filled(buffer + 1, 0x3C, sizeof(buffer) - 2));
    assert_int_equal(buffer[0], 0xA5);
    assert_int_equal(buffer[sizeof(buffer) - 1], 0xA5);
}

static void given_data_cannot_be_brought_back_when_unmapped_then_io_error(void **state)
{
    struct vio_mapping mapping;

    (void)state;
    assert_int_equal(
        platform.ops->map(platform.context, buffer, sizeof(buffer), VIO_DEVICE_WRITABLE, &mapping),
        VIO_OK);
    fake_pci_io_fail(&pci_io, FAKE_PCI_IO_UNMAP, 1);

    vio_status status = platform.ops->unmap(platform.context, &mapping);

    assert_int_equal(status, VIO_ERR_IO);
}

static void given_no_or_short_mapping_when_mapped_then_no_memory_and_nothing_left(void **state)
{
    static const enum vio_direction directions[] = {VIO_DEVICE_READABLE, VIO_DEVICE_WRITABLE};

    (void)state;
    for (unsigned i = 0; i < 2 * ARRAY_LENGTH(directions); i++) {
        bool is_short = i >= ARRAY_LENGTH(directions);
        struct vio_mapping mapping, untouched;
        memset(&mapping, 0x5A, sizeof(mapping));
        untouched = mapping;
        pci_io.map_bytes_max = is_short ? BUFFER_BYTES - 1 : 0;
        if (!is_short)
            fake_pci_io_fail(&pci_io, FAKE_PCI_IO_MAP, 1);

        vio_status status = platform.ops->map(platform.context, buffer, sizeof(buffer),
                                              directions[i % ARRAY_LENGTH(directions)], &mapping);

        assert_int_equal(status, VIO_ERR_NO_MEMORY);
        assert_memory_equal(&mapping, &untouched, sizeof(mapping));
        fake_pci_io_assert_no_leaks(&pci_io);
    }
}

static void given_pool_when_allocated_then_zeroed_and_freed_once(void **state)
{
    (void)state;
    void *memory = platform.ops->alloc(platform.context, 777);

    assert_non_null(memory);
    assert_true(is_filled(memory, 0, 777));
    assert_int_equal(fake_uefi_pool_blocks, 1);
    platform.ops->free(platform.context, memory, 777);
    assert_int_equal(fake_uefi_pool_blocks, 0);
}

static void given_no_pool_when_allocated_then_null_and_null_can_be_freed(void **state)
{
    (void)state;
    fake_uefi_fail_pool = 1;

    void *memory = platform.ops->alloc(platform.context, 777);

    assert_null(memory);
    platform.ops->free(platform.context, memory, 777);
}

static void given_clock_when_asked_then_its_time(void **state)
{
    (void)state;
    fake_uefi_now_us = UINT64_C(0x123456789A);

    assert_int_equal(platform.ops->now_us(platform.context), UINT64_C(0x123456789A));
}

static void given_a_limit_when_waiting_then_a_short_rest_and_none_for_a_limit_of_0(void **state)
{
    (void)state;
    platform.ops->wait(platform.context, 0);
    unsigned relaxes_for_0 = fake_uefi_relaxes;

    platform.ops->wait(platform.context, 1);
    unsigned relaxes_for_1 = fake_uefi_relaxes;
    platform.ops->wait(platform.context, UINT64_MAX);

    assert_int_equal(relaxes_for_0, 0);
    assert_in_range(relaxes_for_1, 1, 1000);
    assert_in_range(fake_uefi_relaxes - relaxes_for_1, 1, 1000);
}

static void given_no_interrupts_when_asked_to_sleep_then_that_is_not_possible(void **state)
{
    (void)state;

    assert_int_equal(platform.interrupts.n_vectors, 0);
    assert_false(platform.interrupts.has_line);
    assert_int_equal(platform.ops->sleep(platform.context), 0);
}

static void given_vectors_when_asked_to_sleep_then_until_an_interrupt(void **state)
{
    struct fake_msix *function = test_malloc(sizeof(*function));

    (void)state;
    fake_msix_init(function, 2);
    function->on_message = fake_processor_receive;
    interrupt_open(&interrupt, &function->function, INTERRUPT_AUTO);
    platform = platform_make(&context);

    fake_msix_raise(function, 0);

    assert_int_equal(platform.interrupts.n_vectors, 2);
    assert_int_equal(platform.ops->sleep(platform.context),
                     VIO_SLEPT | VIO_SLEPT_INTERRUPT | VIO_SLEPT_CONFIG);
    assert_int_equal(platform.ops->sleep(platform.context), VIO_SLEPT);
    assert_int_equal(fake_processor.n_ticks, 1);
    interrupt_close(&interrupt);
    test_free(function);
}

#define PLATFORM_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLATFORM_TEST(given_any_length_when_dma_allocated_then_zeroed_pages_at_device_address),
        PLATFORM_TEST(given_two_dma_blocks_when_one_is_freed_then_the_other_stays),
        PLATFORM_TEST(given_unmap_fails_when_dma_freed_then_its_buffer_is_freed),
        PLATFORM_TEST(given_no_buffer_when_dma_allocated_then_no_memory),
        PLATFORM_TEST(given_no_mapping_when_dma_allocated_then_no_memory_and_buffer_freed),
        PLATFORM_TEST(given_short_mapping_when_dma_allocated_then_unmapped_and_buffer_freed),
        PLATFORM_TEST(given_readable_buffer_when_mapped_then_device_reads_its_data),
        PLATFORM_TEST(given_writable_buffer_when_unmapped_then_the_devices_data_is_in_it),
        PLATFORM_TEST(given_data_cannot_be_brought_back_when_unmapped_then_io_error),
        PLATFORM_TEST(given_no_or_short_mapping_when_mapped_then_no_memory_and_nothing_left),
        PLATFORM_TEST(given_pool_when_allocated_then_zeroed_and_freed_once),
        PLATFORM_TEST(given_no_pool_when_allocated_then_null_and_null_can_be_freed),
        PLATFORM_TEST(given_clock_when_asked_then_its_time),
        PLATFORM_TEST(given_a_limit_when_waiting_then_a_short_rest_and_none_for_a_limit_of_0),
        PLATFORM_TEST(given_no_interrupts_when_asked_to_sleep_then_that_is_not_possible),
        PLATFORM_TEST(given_vectors_when_asked_to_sleep_then_until_an_interrupt),
    };

    return cmocka_run_group_tests_name("efi_platform", tests, NULL, NULL);
}
