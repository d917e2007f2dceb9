/* transports/pci_msix.h: which messages a function sends when, and what it is left with. */

#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_msix.h"
#include "tests/fakes/testing.h"
#include "transports/pci_msix.h"

#define ADDRESS UINT64_C(0xFEE00000)
#define DATA    0x4081u

static struct fake_msix fake;
static struct pci_msix msix;
static uint64_t sent_address;
static uint32_t sent_data;

static void on_message(uint64_t address, uint32_t data)
{
    sent_address = address;
    sent_data = data;
}

static int set_up(void **state)
{
    (void)state;
    fake_msix_init(&fake, 4);
    fake.on_message = on_message;
    sent_address = 0;
    sent_data = 0;
    fake_log_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_log_stop();
    return 0;
}

static void open_and_set(uint16_t entry)
{
    assert_int_equal(pci_msix_open(&msix, &fake.function), VIO_OK);
    pci_msix_enable(&msix);
    pci_msix_set(&msix, entry, ADDRESS, DATA);
}

static void assert_refused(vio_status expected)
{
    struct pci_function *function = malloc(sizeof(*function)); /* nothing is behind its last BAR */
    struct pci_msix untouched;

    assert_non_null(function);
    *function = fake.function;
    memset(&msix, 0x5A, sizeof(msix));
    untouched = msix;
    assert_int_equal(pci_msix_open(&msix, function), expected);
    free(function);
    assert_memory_equal(&msix, &untouched, sizeof(msix));
    assert_int_equal(fake_log_count(FAKE_PCI_CONFIG_WRITE) + fake_log_count(FAKE_REG_WRITE), 0);
}

/* --- Finding ---------------------------------------------------------------------------------- */

static void given_any_table_size_when_opened_then_all_its_entries_and_no_more(void **state)
{
    /* Checks: PCI-MSIX-1, PCI-MSIX-4 */
    static const unsigned sizes[] = {1, 2, 3, 1024, 2047, 2048};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        fake_msix_init(&fake, sizes[i]);
        fake.on_message = on_message;
        uint16_t last = (uint16_t)(sizes[i] - 1);

        open_and_set(last);
        pci_msix_start(&msix);
        fake_msix_raise(&fake, last);

        assert_int_equal(msix.n_entries, sizes[i]);
        assert_int_equal(fake.n_messages, 1);
        pci_msix_set(&msix, (uint16_t)sizes[i], ADDRESS, DATA); /* the fake would fail the test */
    }
}

static void given_no_capability_list_when_opened_then_unsupported(void **state)
{
    (void)state;
    fake.config[PCI_STATUS] = 0;

    assert_refused(VIO_ERR_UNSUPPORTED);
}

static void given_no_such_capability_when_opened_then_unsupported(void **state)
{
    (void)state;
    fake.config[FAKE_MSIX_BEFORE + 1] = 0;

    assert_refused(VIO_ERR_UNSUPPORTED);
}

static void given_list_that_is_a_loop_when_opened_then_unsupported(void **state)
{
    (void)state;
    fake.config[FAKE_MSIX_BEFORE + 1] = FAKE_MSIX_BEFORE;

    assert_refused(VIO_ERR_UNSUPPORTED);
}

static void given_function_that_is_gone_when_opened_then_unsupported(void **state)
{
    (void)state;
    memset(fake.config, 0xFF, sizeof(fake.config));

    assert_refused(VIO_ERR_UNSUPPORTED);
}

static void given_capability_cut_off_by_the_end_when_opened_then_unsupported(void **state)
{
    (void)state;
    fake.config[FAKE_MSIX_BEFORE + 1] = 0xF8;
    fake.config[0xF8] = PCI_CAPABILITY_MSIX;

    assert_refused(VIO_ERR_UNSUPPORTED);
}

static void given_links_with_reserved_bits_when_opened_then_found(void **state)
{
    (void)state;
    fake.config[PCI_CAPABILITIES_POINTER] |= 3;
    fake.config[FAKE_MSIX_BEFORE + 1] |= 3;

    assert_int_equal(pci_msix_open(&msix, &fake.function), VIO_OK);
}

static void given_table_outside_of_its_bar_when_opened_then_device_error(void **state)
{
    static const uint32_t tables[] = {
        6,                                            /* reserved BAR numbers */
        7,                                            /* */
        2,                                            /* absent */
        (FAKE_MSIX_TABLE_OFFSET + 8) | FAKE_MSIX_BAR, /* 8 bytes too long */
        0xFFFFFFF8u | FAKE_MSIX_BAR,                  /* in 32 bits its end would wrap */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(tables); i++) {
        fake_msix_set_table(&fake, tables[i]);

        assert_refused(VIO_ERR_DEVICE);
    }
}

static void given_table_in_an_io_bar_when_opened_then_device_error(void **state)
{
    (void)state;
    fake.config[PCI_BAR_0 + 4 * FAKE_MSIX_BAR] = PCI_BAR_IS_IO;

    assert_refused(VIO_ERR_DEVICE);
}

/* --- Sending ---------------------------------------------------------------------------------- */

static void given_entry_that_is_set_when_started_then_its_message_is_sent(void **state)
{
    (void)state;
    open_and_set(2);
    pci_msix_start(&msix);

    fake_msix_raise(&fake, 2);

    assert_int_equal(fake.n_messages, 1);
    assert_int_equal(sent_address, ADDRESS);
    assert_int_equal(sent_data, DATA);
}

static void given_64_bit_address_when_set_then_both_halves_are_written(void **state)
{
    (void)state;
    open_and_set(0);
    pci_msix_set(&msix, 0, UINT64_C(0x123456789ABCDEF0), 1);
    pci_msix_start(&msix);

    fake_msix_raise(&fake, 0);

    assert_int_equal(sent_address, UINT64_C(0x123456789ABCDEF0));
}

static void given_enabled_and_not_started_when_raised_then_sent_at_start(void **state)
{
    (void)state;
    open_and_set(0);

    fake_msix_raise(&fake, 0);
    assert_int_equal(fake.n_messages, 0);
    pci_msix_start(&msix);

    assert_int_equal(fake.n_messages, 1);
}

static void given_masked_entry_when_raised_then_sent_when_it_is_set_again(void **state)
{
    (void)state;
    open_and_set(0);
    pci_msix_start(&msix);
    pci_msix_mask(&msix, 0);

    fake_msix_raise(&fake, 0);
    assert_int_equal(fake.n_messages, 0);
    pci_msix_set(&msix, 0, ADDRESS, DATA + 1);

    assert_int_equal(fake.n_messages, 1);
    assert_int_equal(sent_data, DATA + 1);
}

static void
given_table_used_before_when_set_then_masked_first_and_told_before_unmasked(void **state)
{
    (void)state;
    /* As a driver before us may have left it: enabled, and not masked. */
    fake_msix_set_control(&fake, PCI_MSIX_ENABLE | 3);
    fake.table[3] &= ~PCI_MSIX_ENTRY_IS_MASKED;

    open_and_set(0); /* the fake fails the test if a message changes that could be sent */
    pci_msix_start(&msix);
    fake_msix_raise(&fake, 0);

    assert_int_equal(sent_address, ADDRESS);
}

/* --- Closing ---------------------------------------------------------------------------------- */

static void given_any_control_word_when_closed_then_as_it_was_and_entries_masked(void **state)
{
    static const uint16_t controls[] = {
        3,
        PCI_MSIX_ENABLE | 3,
        PCI_MSIX_FUNCTION_MASK | 3,
        PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK | 3,
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(controls); i++) {
        fake_msix_init(&fake, 4);
        fake_msix_set_control(&fake, controls[i]);
        open_and_set(0);
        pci_msix_set(&msix, 1, ADDRESS, DATA);
        pci_msix_start(&msix);
        fake_msix_raise(&fake, 0);

        pci_msix_close(&msix);
        fake_msix_raise(&fake, 0);

        assert_int_equal(fake_msix_control(&fake), controls[i]);
        assert_true(fake_msix_is_masked(&fake, 0));
        assert_true(fake_msix_is_masked(&fake, 1));
        assert_int_equal(fake.n_messages, 1);
    }
}

static void given_close_when_closed_again_then_nothing_changes(void **state)
{
    (void)state;
    open_and_set(0);
    pci_msix_close(&msix);

    pci_msix_close(&msix);

    assert_int_equal(fake_msix_control(&fake), 3);
    assert_true(fake_msix_is_masked(&fake, 0));
}

static void given_entry_masked_when_it_is_read_back_then_in_force_before_going_on(void **state)
{
    (void)state;
    open_and_set(0);
    fake_log_start();

    pci_msix_mask(&msix, 0);

    size_t last_write = fake_log_find_last(FAKE_REG_WRITE);
    size_t last_read = fake_log_find_last(FAKE_REG_READ);
    assert_true(last_read > last_write);
    assert_int_equal(fake_log_at(last_read)->at, fake_log_at(last_write)->at);
}

#define MSIX_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MSIX_TEST(given_any_table_size_when_opened_then_all_its_entries_and_no_more),
        MSIX_TEST(given_no_capability_list_when_opened_then_unsupported),
        MSIX_TEST(given_no_such_capability_when_opened_then_unsupported),
        MSIX_TEST(given_list_that_is_a_loop_when_opened_then_unsupported),
        MSIX_TEST(given_function_that_is_gone_when_opened_then_unsupported),
        MSIX_TEST(given_capability_cut_off_by_the_end_when_opened_then_unsupported),
        MSIX_TEST(given_links_with_reserved_bits_when_opened_then_found),
        MSIX_TEST(given_table_outside_of_its_bar_when_opened_then_device_error),
        MSIX_TEST(given_table_in_an_io_bar_when_opened_then_device_error),
        MSIX_TEST(given_entry_that_is_set_when_started_then_its_message_is_sent),
        MSIX_TEST(given_64_bit_address_when_set_then_both_halves_are_written),
        MSIX_TEST(given_enabled_and_not_started_when_raised_then_sent_at_start),
        MSIX_TEST(given_masked_entry_when_raised_then_sent_when_it_is_set_again),
        MSIX_TEST(given_table_used_before_when_set_then_masked_first_and_told_before_unmasked),
        MSIX_TEST(given_any_control_word_when_closed_then_as_it_was_and_entries_masked),
        MSIX_TEST(given_close_when_closed_again_then_nothing_changes),
        MSIX_TEST(given_entry_masked_when_it_is_read_back_then_in_force_before_going_on),
    };

    return cmocka_run_group_tests_name("pci_msix", tests, NULL, NULL);
}
