/* transports/pci.h: by which interface a device is driven. */

#include "transports/pci.h"

#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_pci.h"
#include "tests/fakes/fake_pci_legacy.h"
#include "tests/fakes/testing.h"

#define MODERN_ID       0x42
#define TRANSITIONAL_ID 0x01

static struct fake_pci modern;
static struct fake_pci_legacy legacy;
static struct pci pci;
static struct vio_transport transport;
static struct vio_failure failure;

/* A transitional function: the usual capabilities, and an I/O BAR 0. */
static int set_up(void **state)
{
    (void)state;
    fake_pci_init(&modern);
    fake_legacy_init(&legacy);
    modern.function.bars[0] = legacy.function.bars[0];
    memcpy(&modern.config[PCI_BAR_0], &legacy.config[PCI_BAR_0], 4);
    modern.config[PCI_DEVICE_ID] = TRANSITIONAL_ID;
    modern.config[PCI_DEVICE_ID + 1] = 0x10;
    return 0;
}

static vio_status open_function(void)
{
    const struct vio_failure untouched = {.value = 0xA5};
    transport = (struct vio_transport){0};
    failure = untouched;
    memset(&pci, 0xA5, sizeof(pci));
    vio_status status = pci_open(&pci, &modern.function, &transport, &failure);

    assert_int_equal(transport.ops != NULL, status == VIO_OK);
    if (status == VIO_OK)
        assert_memory_equal(&failure, &untouched, sizeof(failure));
    else
        assert_non_null(failure.what);
    return status;
}

static void take_away_capabilities(void)
{
    modern.config[PCI_STATUS] = 0;
}

static void given_transitional_device_when_opened_then_modern(void **state)
{
    /* Checks: PCI-LEG-4, X-CONF-1 */
    (void)state;
    assert_int_equal(open_function(), VIO_OK);

    assert_false(transport.is_legacy);
    modern.status = 5;
    assert_int_equal(transport.ops->get_status(transport.context), 5);
}

static void given_modern_device_when_opened_then_modern_and_not_asked_for_features(void **state)
{
    (void)state;
    modern.config[PCI_DEVICE_ID] = MODERN_ID;
    modern.device_features[1] = 0;
    fake_log_start();

    assert_int_equal(open_function(), VIO_OK);

    assert_false(transport.is_legacy);
    assert_int_equal(fake_log_count(FAKE_REG_READ) + fake_log_count(FAKE_REG_WRITE), 0);
    fake_log_stop();
}

static void given_no_virtio_capabilities_when_opened_then_legacy(void **state)
{
    /* Checks: PCI-LEG-5 */
    (void)state;
    take_away_capabilities();

    assert_int_equal(open_function(), VIO_OK);

    assert_true(transport.is_legacy);
    legacy.status = 5;
    assert_int_equal(transport.ops->get_status(transport.context), 5);
}

static void given_transitional_device_when_it_lacks_version_1_then_legacy(void **state)
{
    /* Checks: FEAT-LEG-1 */
    (void)state;
    modern.device_features[1] = 0xFFFFFFFE;

    assert_int_equal(open_function(), VIO_OK);

    assert_true(transport.is_legacy);
}

/* The modern registers are out of reach: the others are not. */
static void given_transitional_device_when_only_bar_0_has_an_address_then_legacy(void **state)
{
    (void)state;
    modern.function.bars[FAKE_PCI_BAR].bytes = 0;

    assert_int_equal(open_function(), VIO_OK);

    assert_true(transport.is_legacy);
}

static void given_no_bar_has_an_address_when_opened_then_the_modern_one_is_named(void **state)
{
    (void)state;
    modern.function.bars[FAKE_PCI_BAR].bytes = 0;
    modern.function.bars[0].bytes = 0;

    assert_int_equal(open_function(), VIO_ERR_DEVICE);

    assert_non_null(strstr(failure.what, "no address"));
    assert_int_equal(failure.value, FAKE_PCI_BAR);
}

static void given_legacy_device_when_bar_0_has_no_address_then_named(void **state)
{
    (void)state;
    take_away_capabilities();
    modern.function.bars[0].bytes = 0;

    assert_int_equal(open_function(), VIO_ERR_UNSUPPORTED);

    assert_non_null(strstr(failure.what, "no address"));
    assert_int_equal(failure.value, 0);
}

static void given_no_version_1_when_bar_0_has_no_address_then_that_is_named(void **state)
{
    (void)state;
    modern.device_features[1] = 0;
    modern.function.bars[0].bytes = 0;

    assert_int_equal(open_function(), VIO_ERR_UNSUPPORTED);

    assert_non_null(strstr(failure.what, "no address"));
}

static void given_modern_id_when_it_has_no_capabilities_then_never_legacy(void **state)
{
    (void)state;
    modern.config[PCI_DEVICE_ID] = MODERN_ID;
    take_away_capabilities();

    assert_int_equal(open_function(), VIO_ERR_UNSUPPORTED);
}

static void given_device_that_is_gone_when_opened_then_gone(void **state)
{
    (void)state;
    memset(modern.config, 0xFF, sizeof(modern.config));

    assert_int_equal(open_function(), VIO_ERR_GONE);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_transitional_device_when_opened_then_modern),
        TEST(given_modern_device_when_opened_then_modern_and_not_asked_for_features),
        TEST(given_no_virtio_capabilities_when_opened_then_legacy),
        TEST(given_transitional_device_when_it_lacks_version_1_then_legacy),
        TEST(given_transitional_device_when_only_bar_0_has_an_address_then_legacy),
        TEST(given_no_bar_has_an_address_when_opened_then_the_modern_one_is_named),
        TEST(given_legacy_device_when_bar_0_has_no_address_then_named),
        TEST(given_no_version_1_when_bar_0_has_no_address_then_that_is_named),
        TEST(given_modern_id_when_it_has_no_capabilities_then_never_legacy),
        TEST(given_device_that_is_gone_when_opened_then_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
