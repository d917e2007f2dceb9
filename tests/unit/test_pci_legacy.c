/* transports/pci_legacy.h: which registers are accessed, how wide, and in which order. */

#include "transports/pci_legacy.h"

#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_pci_legacy.h"
#include "tests/fakes/testing.h"

#define TABLE UINT64_C(0x23456789000)
#define PAGE  0x23456789u

static const struct virtqueue_addresses addresses = {
    .descriptor_area = TABLE, .driver_area = 1, .device_area = 2};

static struct fake_pci_legacy fake;
static struct pci_legacy pci;
static struct vio_transport transport;
static struct vio_failure failure;

static vio_status open_fake(void)
{
    transport = (struct vio_transport){0};
    failure = (struct vio_failure){0};
    return pci_legacy_open(&pci, &fake.function, &transport, &failure);
}

static int set_up(void **state)
{
    (void)state;
    fake_legacy_init(&fake);
    assert_int_equal(open_fake(), VIO_OK);
    fake_log_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_log_stop();
    return 0;
}

static vio_status enable_queue(uint16_t index, uint16_t vector)
{
    return transport.ops->enable_queue(transport.context, index, 256, &addresses, vector);
}

struct expected_access {
    enum fake_event_kind kind;
    uint64_t at;
    unsigned width_bytes;
    uint64_t value;
};

/* The log holds exactly these accesses of registers. */
static void assert_accesses(const struct expected_access *expected, size_t n_expected)
{
    size_t n = 0;

    for (size_t i = 0; i < fake_log_length(); i++) {
        const struct fake_event *event = fake_log_at(i);
        if (event->kind == FAKE_PCI_CONFIG_READ)
            continue;
        assert_true(n < n_expected);
        assert_int_equal(event->kind, expected[n].kind);
        assert_int_equal(event->at, expected[n].at);
        assert_int_equal(event->width_bytes, expected[n].width_bytes);
        assert_int_equal(event->value, expected[n].value);
        n++;
    }
    assert_int_equal(n, n_expected);
    fake_log_start();
}

static void given_legacy_device_when_opened_then_complete_and_no_register_touched(void **state)
{
    /* Checks: PCI-LEG-1 */
    (void)state;
    fake_legacy_init(&fake);

    assert_int_equal(open_fake(), VIO_OK);

    assert_true(vio_transport_is_complete(&transport));
    assert_true(transport.is_legacy);
    assert_null(failure.what);
    assert_int_equal(fake_log_count(FAKE_REG_WRITE) + fake_log_count(FAKE_REG_READ), 0);
    assert_int_equal(fake_log_count(FAKE_PCI_CONFIG_WRITE), 0);
}

/* One thing wrong with BAR 0, and what is said of it. */
static void given_bad_bar_0_when_opened_then_refused_and_named(void **state)
{
    (void)state;
    static const struct {
        uint32_t bar;
        uint64_t bytes;
        bool has_msix;
        vio_status status;
        uint64_t value;
    } cases[] = {
        {0, 0, true, VIO_ERR_UNSUPPORTED, 0},                        /* absent */
        {0xC0000000, 0x1000, true, VIO_ERR_UNSUPPORTED, 0xC0000000}, /* memory */
        {1, 0, true, VIO_ERR_UNSUPPORTED, 0},                        /* without an address */
        {0xC001, 23, true, VIO_ERR_DEVICE, 23},
        {0xC001, 19, false, VIO_ERR_DEVICE, 19},
        {0xC001, 24, true, VIO_OK, 0},
        {0xC001, 20, false, VIO_OK, 0},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake_legacy_init(&fake);
        memcpy(&fake.config[PCI_BAR_0], &cases[i].bar, 4);
        fake.function.bars[0].bytes = cases[i].bytes;
        if (!cases[i].has_msix)
            fake.config[FAKE_LEGACY_MSIX] = PCI_CAPABILITY_VENDOR;

        assert_int_equal(open_fake(), cases[i].status);

        assert_int_equal(transport.ops != NULL, cases[i].status == VIO_OK);
        assert_int_equal(failure.what != NULL, cases[i].status != VIO_OK);
        if (cases[i].status != VIO_OK) {
            assert_true(failure.value_is_valid);
            assert_non_null(strstr(failure.what, "BAR"));
            assert_int_equal(failure.value, cases[i].value);
        }
    }
}

static void given_status_and_features_when_accessed_then_their_registers(void **state)
{
    /* Checks: X-PCIL-4 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_READ, 18, 1, 0x07},      {FAKE_REG_WRITE, 18, 1, 0x0},
        {FAKE_REG_READ, 0, 4, 0xFEDCBA98}, {FAKE_REG_WRITE, 4, 4, 0x89ABCDEF},
        {FAKE_REG_READ, 19, 1, 0x3},
    };
    fake.status = 7;
    fake.device_features = 0xFEDCBA98;
    fake.isr = 3;

    assert_int_equal(transport.ops->get_status(transport.context), 7);
    transport.ops->set_status(transport.context, 0);
    assert_int_equal(transport.ops->get_device_features(transport.context), 0xFEDCBA98);
    transport.ops->set_driver_features(transport.context, 0x89ABCDEF);
    assert_int_equal(transport.ops->read_interrupt_status(transport.context), 3);

    assert_accesses(expected, ARRAY_LENGTH(expected));
    assert_int_equal(fake.isr, 0);
}

static void given_queue_when_enabled_then_its_page_comes_last(void **state)
{
    /* Checks: X-PCIL-2, X-PCIL-3 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, 14, 2, 1},  {FAKE_REG_READ, 12, 2, 256}, {FAKE_REG_WRITE, 14, 2, 1},
        {FAKE_REG_READ, 12, 2, 256}, {FAKE_REG_READ, 8, 4, 0},    {FAKE_REG_WRITE, 8, 4, PAGE},
        {FAKE_REG_WRITE, 16, 2, 1},
    };

    assert_int_equal(transport.ops->get_queue_size_max(transport.context, 1), 256);
    assert_int_equal(enable_queue(1, VIO_NO_VECTOR), VIO_OK);
    transport.ops->notify(transport.context, 1, 0xA5A5);

    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_vectors_when_msix_is_enabled_then_written_and_read_back(void **state)
{
    /* Checks: PCI-MSIX-5 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, 20, 2, 0},  {FAKE_REG_READ, 20, 2, 0},    {FAKE_REG_WRITE, 14, 2, 0},
        {FAKE_REG_READ, 12, 2, 256}, {FAKE_REG_READ, 8, 4, 0},     {FAKE_REG_WRITE, 22, 2, 1},
        {FAKE_REG_READ, 22, 2, 1},   {FAKE_REG_WRITE, 8, 4, PAGE},
    };
    fake_legacy_enable_msix(&fake, true);

    assert_int_equal(transport.ops->route_config_interrupt(transport.context, 0), VIO_OK);
    assert_int_equal(enable_queue(0, 1), VIO_OK);

    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_refused_vector_when_enabled_then_no_vector_and_no_queue(void **state)
{
    /* Checks: PCI-MSIX-5, PCI-MSIX-6 */
    (void)state;
    fake_legacy_enable_msix(&fake, true);
    fake.refuses_vectors = true;

    assert_int_equal(transport.ops->route_config_interrupt(transport.context, 0),
                     VIO_ERR_NO_VECTOR);
    assert_int_equal(enable_queue(0, 0), VIO_ERR_NO_VECTOR);
    assert_int_equal(fake.queues[0].page, 0);

    assert_int_equal(transport.ops->route_config_interrupt(transport.context, VIO_NO_VECTOR),
                     VIO_OK);
    assert_int_equal(enable_queue(0, VIO_NO_VECTOR), VIO_OK);
    assert_int_equal(fake.queues[0].page, PAGE);
}

/* Without MSI-X the vectors' places are those of the configuration. */
static void given_no_msix_when_vectors_are_written_then_nothing_is(void **state)
{
    (void)state;
    for (unsigned has_capability = 0; has_capability < 2; has_capability++) {
        fake_legacy_init(&fake);
        if (!has_capability)
            fake.config[FAKE_LEGACY_MSIX] = 0;
        fake_legacy_enable_msix(&fake, !has_capability);
        assert_int_equal(open_fake(), VIO_OK);

        assert_int_equal(transport.ops->route_config_interrupt(transport.context, 0),
                         VIO_ERR_NO_VECTOR);
        assert_int_equal(transport.ops->route_config_interrupt(transport.context, VIO_NO_VECTOR),
                         VIO_OK);
        assert_int_equal(enable_queue(0, 0), VIO_ERR_NO_VECTOR);
        assert_int_equal(fake.queues[0].page, 0);
        for (unsigned i = 0; i < FAKE_LEGACY_CONFIG_BYTES; i++)
            assert_int_equal(fake.device_config[i], 0);
    }
}

static void given_queue_that_cannot_be_when_enabled_then_refused(void **state)
{
    (void)state;
    struct virtqueue_addresses elsewhere = addresses;
    const struct vio_transport_ops *ops = transport.ops;

    assert_int_equal(ops->enable_queue(&pci, 0, 128, &addresses, VIO_NO_VECTOR), VIO_ERR_DEVICE);
    elsewhere.descriptor_area = UINT64_C(1) << 44;
    assert_int_equal(ops->enable_queue(&pci, 0, 256, &elsewhere, VIO_NO_VECTOR),
                     VIO_ERR_UNSUPPORTED);
    elsewhere.descriptor_area = 0;
    assert_int_equal(ops->enable_queue(&pci, 0, 256, &elsewhere, VIO_NO_VECTOR),
                     VIO_ERR_UNSUPPORTED);
    assert_int_equal(fake.queues[0].page, 0);
    elsewhere.descriptor_area = (UINT64_C(1) << 44) - 4096;
    assert_int_equal(ops->enable_queue(&pci, 0, 256, &elsewhere, VIO_NO_VECTOR), VIO_OK);
    assert_int_equal(fake.queues[0].page, UINT32_MAX);
    assert_int_equal(enable_queue(0, VIO_NO_VECTOR), VIO_ERR_UNSUPPORTED);
}

static void given_config_when_msix_comes_and_goes_then_it_moves(void **state)
{
    /* Checks: PCI-LEG-2, PCI-LEG-3, X-PCIL-5, X-PCIL-6 */
    (void)state;
    const struct vio_transport_ops *ops = transport.ops;

    for (unsigned i = 0; i < FAKE_LEGACY_CONFIG_BYTES; i++)
        fake.device_config[i] = (uint8_t)(0x30 + i);
    for (unsigned with_msix = 0; with_msix < 4; with_msix++) {
        fake_legacy_enable_msix(&fake, with_msix & 1);

        assert_int_equal(ops->read_config(&pci, 0, 4), 0x33323130);
        assert_int_equal(ops->read_config(&pci, 6, 2), 0x3736);
        assert_int_equal(ops->read_config(&pci, 7, 1), 0x37);
        assert_int_equal(ops->get_config_bytes(&pci),
                         FAKE_LEGACY_BAR_BYTES - (with_msix & 1 ? 24 : 20));
        ops->write_config(&pci, 32, 1, with_msix);
        assert_int_equal(fake.device_config[32], with_msix);
    }
}

static void given_config_beyond_the_bar_when_read_then_all_ones(void **state)
{
    (void)state;
    fake_legacy_enable_msix(&fake, true);

    assert_int_equal(transport.ops->read_config(&pci, FAKE_LEGACY_CONFIG_BYTES, 4), UINT32_MAX);
    assert_int_equal(transport.ops->read_config(&pci, UINT32_MAX - 3, 4), UINT32_MAX);
    transport.ops->write_config(&pci, FAKE_LEGACY_CONFIG_BYTES, 4, 0);
}

static void given_what_legacy_devices_lack_when_asked_for_then_nothing_is_touched(void **state)
{
    (void)state;
    transport.ops->reset_queue(&pci, 0);
    assert_false(transport.ops->is_queue_reset(&pci, 0));
    assert_int_equal(transport.ops->get_config_generation(&pci),
                     transport.ops->get_config_generation(&pci));

    assert_int_equal(fake_log_length(), 0);
}

static void given_device_when_isolated_then_no_bus_master(void **state)
{
    (void)state;
    transport.ops->isolate(&pci);

    assert_int_equal(fake.config[PCI_COMMAND], 0x03);
    assert_int_equal(fake.config[PCI_COMMAND + 1], 0x04);
}

/* --- transports/pci_function.h ------------------------------------------------------------------ */

static uint8_t find_msix(void)
{
    return pci_function_find_capability(&fake.function.config, PCI_CAPABILITY_MSIX);
}

static void given_capability_when_looked_for_then_found_wherever_it_is(void **state)
{
    (void)state;
    fake.config[PCI_CAPABILITIES_POINTER] = 0x40 | 3; /* two bits that mean nothing */
    fake.config[0x40] = PCI_CAPABILITY_VENDOR;
    fake.config[0x41] = 0xFC | 1;
    fake.config[0xFC] = 0x01;
    fake.config[0xFD] = FAKE_LEGACY_MSIX;

    assert_int_equal(find_msix(), FAKE_LEGACY_MSIX);
}

static void given_no_such_capability_when_looked_for_then_0(void **state)
{
    (void)state;
    fake.config[FAKE_LEGACY_MSIX] = PCI_CAPABILITY_VENDOR;
    assert_int_equal(find_msix(), 0);

    fake.config[FAKE_LEGACY_MSIX + 1] = FAKE_LEGACY_MSIX; /* a loop */
    assert_int_equal(find_msix(), 0);

    fake.config[FAKE_LEGACY_MSIX + 1] = 0x3C; /* into the header */
    fake.config[0x3C] = PCI_CAPABILITY_MSIX;
    assert_int_equal(find_msix(), 0);

    fake_legacy_init(&fake);
    fake.config[PCI_STATUS] = 0;
    assert_int_equal(find_msix(), 0);

    memset(fake.config, 0xFF, sizeof(fake.config)); /* gone */
    assert_int_equal(find_msix(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_legacy_device_when_opened_then_complete_and_no_register_touched),
        TEST(given_bad_bar_0_when_opened_then_refused_and_named),
        TEST(given_status_and_features_when_accessed_then_their_registers),
        TEST(given_queue_when_enabled_then_its_page_comes_last),
        TEST(given_vectors_when_msix_is_enabled_then_written_and_read_back),
        TEST(given_refused_vector_when_enabled_then_no_vector_and_no_queue),
        TEST(given_no_msix_when_vectors_are_written_then_nothing_is),
        TEST(given_queue_that_cannot_be_when_enabled_then_refused),
        TEST(given_config_when_msix_comes_and_goes_then_it_moves),
        TEST(given_config_beyond_the_bar_when_read_then_all_ones),
        TEST(given_what_legacy_devices_lack_when_asked_for_then_nothing_is_touched),
        TEST(given_device_when_isolated_then_no_bus_master),
        TEST(given_capability_when_looked_for_then_found_wherever_it_is),
        TEST(given_no_such_capability_when_looked_for_then_0),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
