/* transports/pci_modern.h: which registers are accessed, how wide, and in which order. */

#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_pci.h"
#include "tests/fakes/testing.h"
#include "transports/pci_modern.h"

#define DESC   UINT64_C(0x1122334455667000)
#define DRIVER UINT64_C(0x2122334455668002)
#define DEVICE UINT64_C(0x3122334455669004)

static const struct virtqueue_addresses addresses = {
    .descriptor_area = DESC, .driver_area = DRIVER, .device_area = DEVICE};

static struct fake_pci fake;
static struct pci_modern pci;
static struct vio_transport transport;
static struct vio_failure failure;

static vio_status open_fake(void)
{
    transport = (struct vio_transport){0};
    failure = (struct vio_failure){0};
    return pci_modern_open(&pci, &fake.function, &transport, &failure);
}

/* A transport on a well-behaved device. */
static int set_up(void **state)
{
    (void)state;
    fake_pci_init(&fake);
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

static vio_status enable_queue(uint16_t index)
{
    return transport.ops->enable_queue(transport.context, index, 128, &addresses, VIO_NO_VECTOR);
}

struct expected_access {
    enum fake_event_kind kind;
    uint64_t at;
    unsigned width_bytes;
    uint64_t value;
};

/* The log holds exactly these accesses. */
static void assert_accesses(const struct expected_access *expected, size_t n_expected)
{
    for (size_t i = 0; i < n_expected; i++) {
        const struct fake_event *event = fake_log_at(i);
        if (event->kind != expected[i].kind || event->at != expected[i].at)
            fail_msg("access %zu went to 0x%llx", i, (unsigned long long)event->at);
        assert_int_equal(event->width_bytes, expected[i].width_bytes);
        assert_int_equal(event->value, expected[i].value);
    }
    assert_int_equal(fake_log_length(), n_expected);
}

static void given_good_device_when_opened_then_transport_complete_and_nothing_written(void **state)
{
    /* Checks: PCI-CAP-8, PCI-CAP-5 */
    (void)state;
    fake_pci_init(&fake);
    fake_log_start();

    vio_status status = open_fake();

    assert_int_equal(status, VIO_OK);
    assert_true(vio_transport_is_complete(&transport));
    assert_null(failure.what);
    assert_int_equal(fake_log_count(FAKE_REG_WRITE), 0);
    assert_int_equal(fake_log_count(FAKE_REG_READ), 0);
    assert_int_equal(fake_log_count(FAKE_PCI_CONFIG_WRITE), 0);
}

static void given_config_space_when_opened_then_each_byte_read_once(void **state)
{
    (void)state;
    fake_pci_init(&fake);
    fake_log_start();

    assert_int_equal(open_fake(), VIO_OK);

    for (unsigned i = 0; i < PCI_CONFIG_BYTES / 4; i++) {
        assert_int_equal(fake_log_at(i)->kind, FAKE_PCI_CONFIG_READ);
        assert_int_equal(fake_log_at(i)->at, 4 * i);
        assert_int_equal(fake_log_at(i)->width_bytes, 4);
    }
    assert_int_equal(fake_log_length(), PCI_CONFIG_BYTES / 4);
}

static void given_legacy_device_when_opened_then_unsupported(void **state)
{
    (void)state;
    fake.config[PCI_STATUS] = 0;

    vio_status status = open_fake();

    assert_int_equal(status, VIO_ERR_UNSUPPORTED);
    assert_non_null(failure.what);
    assert_null(transport.ops);
}

static void given_bar_without_an_address_when_opened_then_it_is_named(void **state)
{
    (void)state;
    fake.function.bars[FAKE_PCI_BAR].bytes = 0;

    assert_int_equal(open_fake(), VIO_ERR_DEVICE);

    assert_non_null(strstr(failure.what, "no address"));
    assert_true(failure.value_is_valid);
    assert_int_equal(failure.value, FAKE_PCI_BAR);
}

static void given_bar_shorter_than_claimed_when_opened_then_it_is_named(void **state)
{
    (void)state;
    fake.function.bars[FAKE_PCI_BAR].bytes = FAKE_PCI_NOTIFY_OFFSET;

    assert_int_equal(open_fake(), VIO_ERR_DEVICE);

    assert_non_null(strstr(failure.what, "claims more"));
    assert_int_equal(failure.value, FAKE_PCI_BAR);
}

/* QEMU's modern-pio-notify=on: the first of two, in a BAR of its own. */
static void given_notify_structure_in_an_io_bar_when_notified_then_there(void **state)
{
    (void)state;
    static const struct fake_cap in_io_bar = {.at = FAKE_CAP_FREE,
                                              .next = FAKE_CAP_COMMON,
                                              .cap_len = VIRTIO_PCI_NOTIFY_BYTES,
                                              .cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
                                              .bar = 2,
                                              .length = 4};
    struct vio_window *io_bar = &fake.function.bars[2];

    fake_pci_init(&fake);
    fake_caps_write(fake.config, &in_io_bar);
    fake.config[PCI_CAPABILITIES_POINTER] = FAKE_CAP_FREE;
    *io_bar = fake.function.bars[FAKE_PCI_BAR];
    io_bar->base += FAKE_PCI_NOTIFY_OFFSET + 0x800; /* where no queue's notification would go */
    io_bar->bytes = 4;
    assert_int_equal(open_fake(), VIO_OK);
    assert_int_equal(enable_queue(1), VIO_OK);
    fake_log_start();

    transport.ops->notify(transport.context, 1, 0);

    assert_int_equal(fake_log_length(), 1);
    assert_int_equal(fake_log_at(0)->at, FAKE_PCI_NOTIFY_OFFSET + 0x800);
    assert_int_equal(fake_log_at(0)->width_bytes, 2);
    assert_int_equal(fake_log_at(0)->value, 1);
}

/* --- BARs that are out of reach (4.1.4.9) ------------------------------------------------------- */

static void open_by_cfg_access(void)
{
    fake_pci_init(&fake);
    fake_pci_add_cfg_access(&fake);
    fake.function.bars[FAKE_PCI_BAR] = (struct vio_window){0};
    assert_int_equal(open_fake(), VIO_OK);
    fake.is_opened = true;
}

static void given_bar_out_of_reach_when_used_then_all_registers_by_configuration_space(void **s)
{
    /* Checks: PCI-CFGA-1, PCI-CFGA-2, PCI-CFGA-3, PCI-CAP-8 */
    (void)s;
    const struct vio_transport_ops *ops = transport.ops;
    open_by_cfg_access();
    fake.device_features[0] = 0x12345678;
    fake.device_config[33] = 0x5A;
    fake.isr = 2;
    fake.generation = 9;

    ops->set_status(transport.context, 3);
    assert_int_equal(fake.status, 3);
    assert_int_equal(ops->get_status(transport.context), 3);
    assert_true(ops->get_device_features(transport.context) == UINT64_C(0x112345678));
    assert_int_equal(ops->get_queue_size_max(transport.context, 1), 256);
    assert_int_equal(enable_queue(1), VIO_OK);
    assert_true(fake.queues[1].device_area == DEVICE);
    assert_int_equal(fake.queues[1].enable, 1);
    assert_int_equal(ops->read_config(transport.context, 33, 1), 0x5A);
    ops->write_config(transport.context, 36, 4, 0xA1B2C3D4);
    assert_memory_equal(&fake.device_config[36], "\xD4\xC3\xB2\xA1", 4);
    assert_int_equal(ops->get_config_bytes(transport.context), FAKE_PCI_DEVICE_BYTES);
    assert_int_equal(ops->get_config_generation(transport.context), 9);
    assert_int_equal(ops->read_interrupt_status(transport.context), 2);
    assert_true(transport.isr_is_indirect);
}

static void given_bar_out_of_reach_when_notified_then_aimed_and_written(void **state)
{
    /* Checks: PCI-CFGA-1 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_PCI_CONFIG_WRITE, FAKE_CAP_FREE + 4, 1, FAKE_PCI_BAR},
        {FAKE_PCI_CONFIG_WRITE, FAKE_CAP_FREE + 8, 4, FAKE_PCI_NOTIFY_OFFSET + 4},
        {FAKE_PCI_CONFIG_WRITE, FAKE_CAP_FREE + 12, 4, 2},
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4, 2, 1},
    };
    open_by_cfg_access();
    assert_int_equal(enable_queue(1), VIO_OK);
    fake_log_start();

    transport.ops->notify(transport.context, 1, 0);

    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_bar_out_of_reach_when_beyond_a_structure_then_no_access(void **state)
{
    /* Checks: PCI-CFGA-3 */
    (void)state;
    open_by_cfg_access();
    fake.queues[1].notify_off = FAKE_PCI_NOTIFY_BYTES / 4;
    fake_log_start();

    assert_int_equal(transport.ops->read_config(transport.context, FAKE_PCI_DEVICE_BYTES, 1), 0xFF);
    assert_int_equal(fake_log_length(), 0);
    assert_int_equal(enable_queue(1), VIO_ERR_DEVICE);
    assert_int_equal(fake.queues[1].enable, 0);
}

static void given_cfg_access_when_bars_are_in_reach_then_not_used(void **state)
{
    (void)state;
    fake_pci_init(&fake);
    fake_pci_add_cfg_access(&fake);
    assert_int_equal(open_fake(), VIO_OK);
    fake.is_opened = true;
    fake_log_start();

    assert_int_equal(enable_queue(1), VIO_OK);
    transport.ops->notify(transport.context, 1, 0);

    assert_false(transport.isr_is_indirect);

    assert_int_equal(fake_log_count(FAKE_PCI_CONFIG_WRITE), 0);
}

static void given_broken_list_when_opened_then_device_error(void **state)
{
    (void)state;
    fake.config[FAKE_CAP_ISR + VIRTIO_PCI_CAP_NEXT] = FAKE_CAP_ISR;

    vio_status status = open_fake();

    assert_int_equal(status, VIO_ERR_DEVICE);
    assert_non_null(failure.what);
    assert_null(transport.ops);
}

static void
given_vendor_of_which_one_byte_is_all_ones_when_opened_then_not_taken_for_gone(void **state)
{
    (void)state;
    fake.config[PCI_VENDOR_ID] = 0xFF;

    assert_int_equal(open_fake(), VIO_OK);
}

static void given_absent_function_when_opened_then_gone(void **state)
{
    (void)state;
    memset(fake.config, 0xFF, sizeof(fake.config));

    vio_status status = open_fake();

    assert_int_equal(status, VIO_ERR_GONE);
    assert_non_null(failure.what);
}

static void given_no_window_for_config_space_when_opened_then_gone(void **state)
{
    (void)state;
    fake.function.config.bytes = 0;

    assert_int_equal(open_fake(), VIO_ERR_GONE);
}

static void given_absent_bar_when_opened_then_device_error(void **state)
{
    (void)state;
    fake.function.bars[FAKE_PCI_BAR].bytes = 0;

    assert_int_equal(open_fake(), VIO_ERR_DEVICE);
}

static void given_status_when_read_and_written_then_one_byte_access_each(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_DEVICE_STATUS, 1, 0x0B},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_DEVICE_STATUS, 1, 0x0B},
    };

    transport.ops->set_status(transport.context, 0x0B);
    uint8_t status = transport.ops->get_status(transport.context);

    assert_int_equal(status, 0x0B);
    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_offered_features_when_read_then_both_halves_selected(void **state)
{
    /* Checks: PCI-ACC-1, PCI-COM-1 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 4, 0},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_DEVICE_FEATURE, 4, 0x89ABCDEF},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 4, 1},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_DEVICE_FEATURE, 4, 0x81234567},
    };
    fake.device_features[0] = 0x89ABCDEF;
    fake.device_features[1] = 0x81234567;
    fake_caps_poke32(fake.config, FAKE_CAP_COMMON + 12, VIRTIO_PCI_COMMON_BYTES_KNOWN);
    assert_int_equal(open_fake(), VIO_OK);
    fake_log_start();

    uint64_t features = transport.ops->get_device_features(transport.context);

    assert_true(features == UINT64_C(0x8123456789ABCDEF));
    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_features_when_accepted_then_both_halves_written(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4, 0},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_DRIVER_FEATURE, 4, 0x89ABCDEF},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4, 1},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_DRIVER_FEATURE, 4, 0x81234567},
    };

    transport.ops->set_driver_features(transport.context, UINT64_C(0x8123456789ABCDEF));

    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_queue_when_size_asked_then_selected_first(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_NUM_QUEUES, 2, 2},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 1},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_QUEUE_SIZE, 2, 512},
    };
    fake.queues[1].size = 512;

    uint16_t size = transport.ops->get_queue_size_max(transport.context, 1);

    assert_int_equal(size, 512);
    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_absent_queue_when_size_asked_then_0(void **state)
{
    /* Checks: X-PCI-2 */
    (void)state;
    static const struct {
        uint16_t num_queues;
        uint16_t index;
        uint16_t size;
        uint16_t answer;
    } cases[] = {
        {0, 0, 256, 0}, {1, 1, 256, 0},      {2, 5, 256, 0},         {2, 1, 0, 0},
        {2, 1, 64, 64}, {65535, 79, 64, 64}, {65535, 0xFFFE, 64, 0},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake.num_queues = cases[i].num_queues;
        if (cases[i].index < FAKE_PCI_QUEUES)
            fake.queues[cases[i].index].size = cases[i].size;

        uint16_t size = transport.ops->get_queue_size_max(transport.context, cases[i].index);

        assert_int_equal(size, cases[i].answer);
    }
}

static void given_queue_when_enabled_then_enable_is_the_last_write(void **state)
{
    /* Checks: PCI-COM-3, PCI-COM-4, PCI-COM-6, PCI-ACC-1, PCI-ACC-2, PCI-MSIX-5 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 1},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2, 0},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF, 2, 1},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_SIZE, 2, 128},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_QUEUE_SIZE, 2, 128},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2, 3},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2, 3},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_DESC, 4, (uint32_t)DESC},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_DESC + 4, 4, DESC >> 32},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_DRIVER, 4, (uint32_t)DRIVER},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_DRIVER + 4, 4, DRIVER >> 32},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_DEVICE, 4, (uint32_t)DEVICE},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_DEVICE + 4, 4, DEVICE >> 32},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2, 1},
    };

    vio_status status = transport.ops->enable_queue(transport.context, 1, 128, &addresses, 3);

    assert_int_equal(status, VIO_OK);
    assert_accesses(expected, ARRAY_LENGTH(expected));
    assert_true(fake.queues[1].descriptor_area == DESC);
    assert_true(fake.queues[1].driver_area == DRIVER);
    assert_true(fake.queues[1].device_area == DEVICE);
    assert_int_equal(fake.queues[0].enable, 0);
}

static void given_left_over_vector_when_polled_queue_enabled_then_vector_is_cleared(void **state)
{
    (void)state;
    fake.queues[0].vector = 5; /* left over from the firmware */

    vio_status status = enable_queue(0);

    assert_int_equal(status, VIO_OK);
    assert_int_equal(fake.queues[0].vector, VIO_NO_VECTOR);
}

static void given_device_without_vectors_when_polled_then_fine(void **state)
{
    (void)state;
    fake.lacks_vectors = true;

    assert_int_equal(transport.ops->route_config_interrupt(transport.context, VIO_NO_VECTOR),
                     VIO_OK);
    assert_int_equal(enable_queue(0), VIO_OK);
    assert_int_equal(transport.ops->enable_queue(transport.context, 1, 128, &addresses, 1),
                     VIO_ERR_NO_VECTOR);
}

/* Ways in which a queue cannot be had: no write to queue_enable in any of them. */
static void assert_not_enabled(vio_status status, vio_status expected)
{
    assert_int_equal(status, expected);
    for (size_t i = 0; i < fake_log_length(); i++)
        assert_false(fake_log_at(i)->kind == FAKE_REG_WRITE &&
                     fake_log_at(i)->at == VIRTIO_PCI_COMMON_QUEUE_ENABLE);
}

static void given_queue_already_enabled_when_enabled_then_unsupported(void **state)
{
    (void)state;
    fake.queues[0].enable = 1;

    vio_status status = enable_queue(0);

    assert_not_enabled(status, VIO_ERR_UNSUPPORTED);
}

static void given_size_that_does_not_stick_when_enabled_then_device_error(void **state)
{
    (void)state;
    fake.refuses_size = true;

    vio_status status = enable_queue(0);

    assert_not_enabled(status, VIO_ERR_DEVICE);
}

static void given_refused_vector_when_enabled_then_no_vector(void **state)
{
    /* Checks: PCI-MSIX-5, PCI-MSIX-6 */
    (void)state;
    fake.refuses_vectors = true;

    vio_status status = transport.ops->enable_queue(transport.context, 0, 128, &addresses, 1);

    assert_not_enabled(status, VIO_ERR_NO_VECTOR);
}

static void given_queue_beyond_what_is_driven_when_enabled_then_unsupported(void **state)
{
    (void)state;
    fake.num_queues = 65535;

    assert_not_enabled(enable_queue(PCI_MODERN_QUEUES_MAX), VIO_ERR_UNSUPPORTED);
    assert_not_enabled(enable_queue(0xFFFF), VIO_ERR_UNSUPPORTED);
    assert_int_equal(enable_queue(PCI_MODERN_QUEUES_MAX - 1), VIO_OK);
}

/* Where a notification goes: structure at 0x3000 of the BAR, 0x1000 bytes unless said otherwise. */
static const struct {
    uint32_t multiplier;
    uint16_t notify_off;
    uint32_t bytes;
    bool usable;
} notify_cases[] = {
    {0, 0, 0x1000, true},
    {0, 0xFFFF, 0x1000, true},
    {0, 0xFFFF, 2, true},
    {4, 0, 0x1000, true},
    {4, 3, 0x1000, true},
    {4, 1023, 0x1000, true},
    {4, 1024, 0x1000, false},
    {4, 0xFFFF, 0x1000, false},
    {2, 2047, 0x1000, true},
    {2, 2048, 0x1000, false},
    {2, 1, 3, false},
    {2, 1, 4, true},
    {4096, 0, 0x1000, true},
    {4096, 1, 0x1000, false},
    {0x80000000, 1, 0x1000, false},
    {0x80000000, 2, 0x1000, false}, /* 0 in 32 bits */
    {0xFFFFFFFE, 0xFFFF, 0x1000, false},
    {1, 1, 0x1000, false}, /* odd: no aligned access is possible */
    {1, 2, 0x1000, true},
    {3, 1, 0x1000, false},
};

static void given_notify_offset_when_notified_then_one_write_inside_the_structure(void **state)
{
    /* Checks: X-PCI-4, PCI-NOTIF-1, PCI-NOTIF-3 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(notify_cases); i++) {
        fake_pci_init(&fake);
        fake.queues[1].notify_off = notify_cases[i].notify_off;
        fake_caps_poke32(fake.config, FAKE_CAP_NOTIFY + 12, notify_cases[i].bytes);
        fake_caps_poke32(fake.config, FAKE_CAP_NOTIFY + 16, notify_cases[i].multiplier);
        assert_int_equal(open_fake(), VIO_OK);

        vio_status status = enable_queue(1);

        if (status != (notify_cases[i].usable ? VIO_OK : VIO_ERR_DEVICE))
            fail_msg("case %u: status %d", i, (int)status);
        if (status != VIO_OK)
            continue;
        fake_log_start();
        transport.ops->notify(transport.context, 1, 0);
        const struct expected_access expected = {
            FAKE_REG_WRITE,
            FAKE_PCI_NOTIFY_OFFSET + notify_cases[i].multiplier * notify_cases[i].notify_off, 2, 1};
        assert_accesses(&expected, 1);
    }
}

static void given_bad_notify_offset_when_enabled_then_queue_not_enabled(void **state)
{
    (void)state;
    fake.queues[0].notify_off = 0x8000;

    vio_status status = enable_queue(0);

    assert_not_enabled(status, VIO_ERR_DEVICE);
}

static void given_two_queues_when_notified_then_each_has_its_address_and_index(void **state)
{
    /* Checks: PCI-NOTIF-1, PCI-NOTIF-3 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4 * 5, 2, 0},
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4 * 9, 2, 1},
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4 * 5, 2, 0},
    };
    fake.queues[0].notify_off = 5;
    fake.queues[1].notify_off = 9;
    assert_int_equal(enable_queue(0), VIO_OK);
    assert_int_equal(enable_queue(1), VIO_OK);
    /* What the device says later does not move the address. */
    fake.queues[0].notify_off = 700;

    fake_log_start();
    transport.ops->notify(transport.context, 0, 0);
    transport.ops->notify(transport.context, 1, 0);
    transport.ops->notify(transport.context, 0, 0);

    assert_accesses(expected, ARRAY_LENGTH(expected));
}

/* --- Fields and notifications that come with features ----------------------------------------- */

/* The device has the registers of NOTIF_CONFIG_DATA and RING_RESET, and these features are on. */
static void accept_features(uint64_t features)
{
    fake_caps_poke32(fake.config, FAKE_CAP_COMMON + 12, VIRTIO_PCI_COMMON_BYTES_KNOWN);
    assert_int_equal(open_fake(), VIO_OK);
    transport.ops->set_driver_features(transport.context, features);
    fake_log_start();
}

static void
given_short_common_structure_when_features_read_then_none_without_its_register(void **state)
{
    /* Checks: PCI-CAP-8 */
    (void)state;
    static const uint64_t notif = VIO_FEATURE(VIRTIO_F_NOTIF_CONFIG_DATA);
    static const uint64_t reset = VIO_FEATURE(VIRTIO_F_RING_RESET);
    static const struct {
        uint32_t common_bytes;
        uint64_t missing;
    } cases[] = {
        {56, notif | reset}, {57, notif | reset}, {58, reset}, {59, reset}, {60, 0}, {64, 0}};
    fake.device_features[0] = fake.device_features[1] = UINT32_MAX;

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake_caps_poke32(fake.config, FAKE_CAP_COMMON + 12, cases[i].common_bytes);
        assert_int_equal(open_fake(), VIO_OK);

        uint64_t features = transport.ops->get_device_features(transport.context);

        assert_true(features == ~cases[i].missing);
    }
}

static void given_notification_data_when_notified_then_idx_and_queue_in_one_write(void **state)
{
    /* Checks: PCI-NOTIF-2, PCI-NOTIF-4, X-NOTIF-1 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4, 4, 0x00000001},
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4, 4, 0x7FFF0001},
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4, 4, 0x80000001},
        {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4, 4, 0xFFFF0001},
    };
    accept_features(VIO_FEATURE(VIRTIO_F_NOTIFICATION_DATA));
    assert_int_equal(enable_queue(1), VIO_OK);
    fake_log_start();

    transport.ops->notify(transport.context, 1, 0);
    transport.ops->notify(transport.context, 1, 0x7FFF);
    transport.ops->notify(transport.context, 1, 0x8000);
    transport.ops->notify(transport.context, 1, 0xFFFF);

    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_notif_config_data_when_notified_then_it_stands_for_the_queue(void **state)
{
    /* Checks: PCI-NOTIF-5, PCI-NOTIF-6 */
    (void)state;
    static const struct expected_access alone = {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4, 2,
                                                 0xBEEF};
    static const struct expected_access both = {FAKE_REG_WRITE, FAKE_PCI_NOTIFY_OFFSET + 4, 4,
                                                0x1234BEEF};

    for (unsigned with_data = 0; with_data < 2; with_data++) {
        fake_pci_init(&fake);
        fake.queues[1].notif_config_data = 0xBEEF;
        accept_features(VIO_FEATURE(VIRTIO_F_NOTIF_CONFIG_DATA) |
                        (with_data ? VIO_FEATURE(VIRTIO_F_NOTIFICATION_DATA) : 0));
        assert_int_equal(enable_queue(1), VIO_OK);
        /* Read once, at set-up. */
        fake.queues[1].notif_config_data = 0xDEAD;
        fake_log_start();

        transport.ops->notify(transport.context, 1, 0x1234);

        assert_accesses(with_data ? &both : &alone, 1);
    }
}

static void given_no_feature_when_enabled_then_registers_of_features_left_alone(void **state)
{
    (void)state;
    accept_features(0);

    assert_int_equal(enable_queue(1), VIO_OK);

    for (size_t i = 0; i < fake_log_length(); i++)
        assert_true(fake_log_at(i)->at < VIRTIO_PCI_COMMON_BYTES);
}

static void given_notification_data_when_address_is_misplaced_then_queue_not_enabled(void **state)
{
    /* Checks: PCI-NOTIF-2 */
    (void)state;
    static const struct {
        uint32_t multiplier;
        uint16_t notify_off;
        uint32_t bytes;
    } cases[] = {{2, 1, 0x1000}, {4, 1, 6}, {4, 1, 7}, {0, 0, 2}};

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake_pci_init(&fake);
        fake.queues[1].notify_off = cases[i].notify_off;
        fake_caps_poke32(fake.config, FAKE_CAP_NOTIFY + 12, cases[i].bytes);
        fake_caps_poke32(fake.config, FAKE_CAP_NOTIFY + 16, cases[i].multiplier);
        accept_features(VIO_FEATURE(VIRTIO_F_NOTIFICATION_DATA));

        vio_status status = enable_queue(1);

        assert_not_enabled(status, VIO_ERR_DEVICE);
    }
}

static void given_ring_reset_when_asked_then_done_only_when_the_register_reads_0(void **state)
{
    /* Checks: PCI-COM-7 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 1},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_RESET, 2, 1},
        {FAKE_REG_WRITE, VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 1},
        {FAKE_REG_READ, VIRTIO_PCI_COMMON_QUEUE_RESET, 2, 1},
    };
    accept_features(VIO_FEATURE(VIRTIO_F_RING_RESET));

    transport.ops->reset_queue(transport.context, 1);
    assert_false(transport.ops->is_queue_reset(transport.context, 1));

    assert_accesses(expected, ARRAY_LENGTH(expected));
    assert_int_equal(fake.queues[0].reset, 0);
    fake.queues[1].reset = 0xFFFF;
    assert_false(transport.ops->is_queue_reset(transport.context, 1));
    fake.queues[1].reset = 0;
    assert_true(transport.ops->is_queue_reset(transport.context, 1));
}

static void given_device_config_when_accessed_then_width_is_kept(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    static const struct expected_access expected[] = {
        {FAKE_REG_READ, FAKE_PCI_DEVICE_OFFSET + 8, 4, 0x04030201},
        {FAKE_REG_READ, FAKE_PCI_DEVICE_OFFSET + 10, 2, 0x0403},
        {FAKE_REG_READ, FAKE_PCI_DEVICE_OFFSET + 9, 1, 0x02},
        {FAKE_REG_WRITE, FAKE_PCI_DEVICE_OFFSET + 32, 1, 1},
    };
    for (unsigned i = 0; i < 4; i++)
        fake.device_config[8 + i] = (uint8_t)(i + 1);

    assert_int_equal(transport.ops->read_config(transport.context, 8, 4), 0x04030201);
    assert_int_equal(transport.ops->read_config(transport.context, 10, 2), 0x0403);
    assert_int_equal(transport.ops->read_config(transport.context, 9, 1), 0x02);
    transport.ops->write_config(transport.context, 32, 1, 1);

    assert_int_equal(fake.device_config[32], 1);
    assert_accesses(expected, ARRAY_LENGTH(expected));
}

static void given_device_config_when_read_outside_then_all_ones_and_no_access(void **state)
{
    (void)state;
    assert_int_equal(transport.ops->get_config_bytes(transport.context), FAKE_PCI_DEVICE_BYTES);

    assert_int_equal(transport.ops->read_config(transport.context, 0x60, 4), UINT32_MAX);
    assert_int_equal(transport.ops->read_config(transport.context, 0x5E, 4), UINT32_MAX);
    assert_int_equal(transport.ops->read_config(transport.context, 0x60, 1), 0xFF);
    assert_int_equal(transport.ops->read_config(transport.context, UINT32_MAX, 1), 0xFF);
    transport.ops->write_config(transport.context, 0x60, 1, 1);

    assert_int_equal(fake_log_length(), 0);
}

static void given_no_device_structure_when_read_then_no_bytes_and_all_ones(void **state)
{
    (void)state;
    fake.config[FAKE_CAP_ISR + VIRTIO_PCI_CAP_NEXT] = 0;
    assert_int_equal(open_fake(), VIO_OK);

    assert_int_equal(transport.ops->get_config_bytes(transport.context), 0);
    assert_int_equal(transport.ops->read_config(transport.context, 0, 4), UINT32_MAX);
}

static void given_huge_device_structure_when_opened_then_length_is_kept(void **state)
{
    /* Checks: CFG-4, PCI-CAP-6 */
    (void)state;
    fake.function.bars[FAKE_PCI_BAR].bytes = UINT64_C(0x200000000);
    fake_caps_poke32(fake.config, FAKE_CAP_DEVICE + 12, UINT32_MAX);

    assert_int_equal(open_fake(), VIO_OK);

    assert_int_equal(transport.ops->get_config_bytes(transport.context), UINT32_MAX);
}

static void given_huge_common_structure_when_opened_then_only_its_known_part_is_used(void **state)
{
    /* Checks: PCI-CAP-3, PCI-CAP-5, X-PCI-1 */
    (void)state;
    fake_caps_poke32(fake.config, FAKE_CAP_COMMON + 12, 0x4000);
    fake_caps_poke32(fake.config, FAKE_CAP_ISR + 12, 0x100);

    assert_int_equal(open_fake(), VIO_OK);

    assert_int_equal(pci.common.bytes, VIRTIO_PCI_COMMON_BYTES_KNOWN);
    assert_int_equal(pci.isr.bytes, VIRTIO_PCI_ISR_BYTES);
    assert_int_equal(enable_queue(0), VIO_OK);
}

static void given_generation_when_read_then_one_byte(void **state)
{
    (void)state;
    static const struct expected_access expected = {FAKE_REG_READ,
                                                    VIRTIO_PCI_COMMON_CONFIG_GENERATION, 1, 0xA5};
    fake.generation = 0xA5;

    assert_int_equal(transport.ops->get_config_generation(transport.context), 0xA5);

    assert_accesses(&expected, 1);
}

static void given_isr_when_read_then_one_byte_and_cleared(void **state)
{
    (void)state;
    fake.isr = 3;

    assert_int_equal(transport.ops->read_interrupt_status(transport.context), 3);
    assert_int_equal(transport.ops->read_interrupt_status(transport.context), 0);

    assert_int_equal(fake_log_at(0)->at, FAKE_PCI_ISR_OFFSET);
    assert_int_equal(fake_log_at(0)->width_bytes, 1);
}

static void given_config_vector_when_routed_then_read_back(void **state)
{
    /* Checks: PCI-MSIX-5 */
    (void)state;
    assert_int_equal(transport.ops->route_config_interrupt(transport.context, 2), VIO_OK);
    assert_int_equal(fake.config_vector, 2);
    assert_int_equal(transport.ops->route_config_interrupt(transport.context, VIO_NO_VECTOR),
                     VIO_OK);
    assert_int_equal(fake.config_vector, VIO_NO_VECTOR);

    fake.refuses_vectors = true;

    assert_int_equal(transport.ops->route_config_interrupt(transport.context, 2),
                     VIO_ERR_NO_VECTOR);
    assert_int_equal(transport.ops->route_config_interrupt(transport.context, VIO_NO_VECTOR),
                     VIO_OK);
}

static void given_device_when_isolated_then_only_bus_mastering_is_cleared(void **state)
{
    (void)state;
    fake.config[PCI_COMMAND] = 0x47;
    fake.config[PCI_COMMAND + 1] = 0x05;
    uint8_t before[PCI_CONFIG_BYTES];
    memcpy(before, fake.config, sizeof(before));

    transport.ops->isolate(transport.context);

    before[PCI_COMMAND] = 0x43;
    assert_memory_equal(fake.config, before, sizeof(before));
    assert_int_equal(fake_log_count(FAKE_PCI_CONFIG_WRITE), 1);
    assert_int_equal(fake_log_count(FAKE_REG_WRITE), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_good_device_when_opened_then_transport_complete_and_nothing_written),
        TEST(given_config_space_when_opened_then_each_byte_read_once),
        TEST(given_legacy_device_when_opened_then_unsupported),
        TEST(given_bar_without_an_address_when_opened_then_it_is_named),
        TEST(given_bar_shorter_than_claimed_when_opened_then_it_is_named),
        TEST(given_notify_structure_in_an_io_bar_when_notified_then_there),
        TEST(given_bar_out_of_reach_when_used_then_all_registers_by_configuration_space),
        TEST(given_bar_out_of_reach_when_notified_then_aimed_and_written),
        TEST(given_bar_out_of_reach_when_beyond_a_structure_then_no_access),
        TEST(given_cfg_access_when_bars_are_in_reach_then_not_used),
        TEST(given_broken_list_when_opened_then_device_error),
        TEST(given_vendor_of_which_one_byte_is_all_ones_when_opened_then_not_taken_for_gone),
        TEST(given_absent_function_when_opened_then_gone),
        TEST(given_no_window_for_config_space_when_opened_then_gone),
        TEST(given_absent_bar_when_opened_then_device_error),
        TEST(given_status_when_read_and_written_then_one_byte_access_each),
        TEST(given_offered_features_when_read_then_both_halves_selected),
        TEST(given_features_when_accepted_then_both_halves_written),
        TEST(given_queue_when_size_asked_then_selected_first),
        TEST(given_absent_queue_when_size_asked_then_0),
        TEST(given_queue_when_enabled_then_enable_is_the_last_write),
        TEST(given_left_over_vector_when_polled_queue_enabled_then_vector_is_cleared),
        TEST(given_device_without_vectors_when_polled_then_fine),
        TEST(given_queue_already_enabled_when_enabled_then_unsupported),
        TEST(given_size_that_does_not_stick_when_enabled_then_device_error),
        TEST(given_refused_vector_when_enabled_then_no_vector),
        TEST(given_queue_beyond_what_is_driven_when_enabled_then_unsupported),
        TEST(given_notify_offset_when_notified_then_one_write_inside_the_structure),
        TEST(given_bad_notify_offset_when_enabled_then_queue_not_enabled),
        TEST(given_two_queues_when_notified_then_each_has_its_address_and_index),
        TEST(given_short_common_structure_when_features_read_then_none_without_its_register),
        TEST(given_notification_data_when_notified_then_idx_and_queue_in_one_write),
        TEST(given_notif_config_data_when_notified_then_it_stands_for_the_queue),
        TEST(given_no_feature_when_enabled_then_registers_of_features_left_alone),
        TEST(given_notification_data_when_address_is_misplaced_then_queue_not_enabled),
        TEST(given_ring_reset_when_asked_then_done_only_when_the_register_reads_0),
        TEST(given_device_config_when_accessed_then_width_is_kept),
        TEST(given_device_config_when_read_outside_then_all_ones_and_no_access),
        TEST(given_no_device_structure_when_read_then_no_bytes_and_all_ones),
        TEST(given_huge_device_structure_when_opened_then_length_is_kept),
        TEST(given_huge_common_structure_when_opened_then_only_its_known_part_is_used),
        TEST(given_generation_when_read_then_one_byte),
        TEST(given_isr_when_read_then_one_byte_and_cleared),
        TEST(given_config_vector_when_routed_then_read_back),
        TEST(given_device_when_isolated_then_only_bus_mastering_is_cleared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
