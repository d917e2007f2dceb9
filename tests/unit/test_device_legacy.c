/* core/device.h: bring-up and configuration of a device that is driven by its legacy interface. */

#include "core/device.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_transport.h"
#include "tests/fakes/testing.h"

#define QUEUE_SIZE 64u
#define ACK        VIRTIO_STATUS_ACKNOWLEDGE
#define DRIVER     (ACK | VIRTIO_STATUS_DRIVER)
#define DRIVER_OK  (DRIVER | VIRTIO_STATUS_DRIVER_OK)
#define ANY_LAYOUT VIO_FEATURE(VIRTIO_F_ANY_LAYOUT)

static struct fake_platform platform;
static struct fake_transport fake;
static struct vio_device device;
static struct virtqueue vq;
static struct vio_dma rings;
static void *shadow;
static struct vio_queue_plan queue_plan;
static struct vio_bring_up_plan plan;

static int set_up(void **state)
{
    (void)state;
    fake_platform_init(&platform);
    fake_transport_init(&fake);
    fake.transport.is_legacy = true;
    fake.offered = 0;
    fake.status = 0x07; /* what the firmware's driver left */
    fake.queues[0].size_max = QUEUE_SIZE;
    assert_int_equal(platform.platform.ops->dma_alloc(
                         &platform, virtqueue_legacy_ring_bytes(QUEUE_SIZE), &rings),
                     VIO_OK);
    shadow = platform.platform.ops->alloc(&platform, virtqueue_shadow_bytes(QUEUE_SIZE));
    queue_plan = (struct vio_queue_plan){
        .vq = &vq,
        .size_wanted = QUEUE_SIZE,
        .rings = &rings,
        .shadow = shadow,
    };
    plan = (struct vio_bring_up_plan){
        .supported_features = VIO_COMMON_FEATURES | 0xF0,
        .required_features = VIO_FEATURE(VIRTIO_F_VERSION_1),
        .queues = &queue_plan,
        .n_queues = 1,
    };
    assert_int_equal(vio_device_open(&device, &fake.transport, &platform.platform), VIO_OK);
    fake_log_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_log_stop();
    platform.platform.ops->dma_free(&platform, &rings);
    platform.platform.ops->free(&platform, shadow, virtqueue_shadow_bytes(QUEUE_SIZE));
    fake_platform_assert_no_leaks(&platform);
    return 0;
}

static void given_legacy_device_when_brought_up_then_in_order_and_without_features_ok(void **state)
{
    /* Checks: INIT-LEG-1, FEAT-LEG-2 */
    (void)state;
    static const struct fake_step expected[] = {
        {FAKE_STATUS_WRITE, 0},          /* 1 */
        {FAKE_STATUS_READ, 0},           /*   until it is 0 */
        {FAKE_STATUS_READ, 0},           /* 2 */
        {FAKE_STATUS_WRITE, ACK},        /*   */
        {FAKE_STATUS_READ, ACK},         /* 3 */
        {FAKE_STATUS_WRITE, DRIVER},     /*   */
        {FAKE_FEATURES_READ, 0xFF},      /* 4 */
        {FAKE_FEATURES_WRITE, 0xF0},     /*   */
        {FAKE_CONFIG_VECTOR, 0},         /* 7 */
        {FAKE_QUEUE_SIZE_READ, 0},       /*   */
        {FAKE_QUEUE_ENABLE, QUEUE_SIZE}, /*   */
        {FAKE_STATUS_READ, DRIVER},      /* 8 */
        {FAKE_STATUS_WRITE, DRIVER_OK},
    };
    fake.offered = 0xFF;

    vio_status status = vio_device_bring_up(&device, &plan);

    assert_int_equal(status, VIO_OK);
    fake_log_assert_transport(expected, ARRAY_LENGTH(expected));
    assert_int_equal(fake.status, DRIVER_OK);
    assert_int_equal(device.accepted, 0xF0);
    assert_null(device.failure.what);
}

static void given_any_offer_when_brought_up_then_accepted_only_what_legacy_devices_have(void **s)
{
    /* Checks: FEAT-LEG-2, RSVD-LEG-1, RSVD-LEG-2, X-PCIL-4 */
    (void)s;
    uint64_t ring_features = VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_EVENT_IDX);
    fake.offered = UINT64_MAX;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_true(device.accepted == (ring_features | ANY_LAYOUT | 0xF0));
    assert_true(fake.accepted == device.accepted);
    for (unsigned bit = 32; bit < 64; bit++)
        assert_false(vio_device_offers(&device, bit));
}

static void given_no_any_layout_when_brought_up_then_not_accepted(void **state)
{
    (void)state;
    fake.offered = 0;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(fake.accepted, 0);
}

static void given_modern_device_when_it_offers_any_layout_then_not_accepted(void **state)
{
    (void)state;
    fake.transport.is_legacy = false;
    fake.offered = ANY_LAYOUT | VIO_FEATURE(VIRTIO_F_VERSION_1);

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_true(fake.accepted == VIO_FEATURE(VIRTIO_F_VERSION_1));
}

static void given_another_required_feature_when_missing_then_failed(void **state)
{
    (void)state;
    plan.required_features |= 0x10;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_ERR_UNSUPPORTED);

    assert_int_equal(device.failure.value, 0x10);
    assert_int_equal(fake.status, DRIVER | VIRTIO_STATUS_FAILED);
}

static void given_smaller_queue_when_brought_up_then_it_is_as_the_device_says(void **state)
{
    /* Checks: SPLIT-LEG-1, X-PCIL-3 */
    (void)state;
    fake.queues[0].size_max = 16;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(fake.queues[0].size, 16);
    assert_true(fake.queues[0].addresses.descriptor_area == rings.addr);
    assert_int_equal(virtqueue_free_descriptors(&vq), 16);
}

static void given_impossible_queue_when_brought_up_then_its_size_is_named(void **state)
{
    /* Checks: X-PCIL-3 */
    (void)state;
    static const struct {
        uint16_t size;
        vio_status status;
        uint64_t value;
    } cases[] = {
        {0, VIO_ERR_UNSUPPORTED, 0},
        {63, VIO_ERR_DEVICE, 63},
        {65535, VIO_ERR_DEVICE, 65535},
        {2 * QUEUE_SIZE, VIO_ERR_UNSUPPORTED, 2 * QUEUE_SIZE},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake.queues[0].size_max = cases[i].size;
        fake_log_start();

        assert_int_equal(vio_device_bring_up(&device, &plan), cases[i].status);

        assert_non_null(device.failure.what);
        assert_int_equal(device.failure.value, cases[i].value);
        assert_int_equal(fake_log_count(FAKE_QUEUE_ENABLE), 0);
        assert_int_equal(fake.status, DRIVER | VIRTIO_STATUS_FAILED);
    }
}

/* --- Configuration space without a generation (2.5.4) ------------------------------------------ */

struct values {
    uint64_t capacity;
    uint64_t blocks;
};

static const struct vio_config_field fields[] = {
    {.offset = 0,
     .width_bytes = 8,
     .feature_bit = VIO_CONFIG_ALWAYS,
     .destination = offsetof(struct values, capacity)},
    {.offset = 8,
     .width_bytes = 4,
     .feature_bit = VIO_CONFIG_ALWAYS,
     .destination = offsetof(struct values, blocks)},
};

static unsigned changes_left;
static uint32_t changes_at; /* the field that has just been read when it changes */

/* A capacity of two halves that are the same, and a third number with it. */
static void change_config(void *context, uint32_t offset)
{
    (void)context;
    if (changes_left == 0 || offset != changes_at)
        return;
    changes_left--;
    fake_transport_set_config(&fake, 0, 4, 100 + changes_left);
    fake_transport_set_config(&fake, 4, 4, 100 + changes_left);
    fake_transport_set_config(&fake, 8, 4, 100 + changes_left);
}

static vio_status read_changing_config(unsigned n_changes, uint32_t at, struct values *ret_values)
{
    fake_transport_set_config(&fake, 0, 8, 0);
    fake_transport_set_config(&fake, 8, 4, 0);
    changes_left = n_changes;
    changes_at = at;
    fake.on_config_read = change_config;
    return vio_device_read_config(&device, fields, ARRAY_LENGTH(fields), ret_values);
}

static void given_config_that_changes_when_read_then_until_two_reads_agree(void **state)
{
    /* Checks: CFG-LEG-1, X-CFGL-1 */
    (void)state;
    /* Not before the first word is read, which is the value before: no torn pair, no stale field. */
    static const uint32_t moments[] = {4, 8};

    for (unsigned i = 0; i < ARRAY_LENGTH(moments); i++) {
        for (unsigned n_changes = 0; n_changes < 14; n_changes++) {
            struct values values;
            memset(&values, 0xA5, sizeof(values));
            uint64_t last = n_changes ? 100 : 0;

            assert_int_equal(read_changing_config(n_changes, moments[i], &values), VIO_OK);

            assert_true(values.capacity == (last << 32 | last));
            assert_int_equal(values.blocks, last);
        }
    }
}

static void given_config_that_never_rests_when_read_then_device_error_after_some_reads(void **state)
{
    /* Checks: CFG-LEG-1 */
    (void)state;
    struct values values;

    assert_int_equal(read_changing_config(1000, 8, &values), VIO_ERR_DEVICE);

    assert_non_null(device.failure.what);
    assert_true(fake_log_count(FAKE_CONFIG_READ) < 100);
}

static void given_values_that_stand_there_already_when_read_then_read_twice_nevertheless(void **s)
{
    (void)s;
    struct values values = {0};

    assert_int_equal(read_changing_config(0, 0, &values), VIO_OK);

    assert_int_equal(fake_log_count(FAKE_CONFIG_READ), 2 * 3);
}

static void given_legacy_device_when_asked_for_a_change_then_perhaps(void **state)
{
    (void)state;
    assert_true(vio_device_config_has_changed(&device));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_legacy_device_when_brought_up_then_in_order_and_without_features_ok),
        TEST(given_any_offer_when_brought_up_then_accepted_only_what_legacy_devices_have),
        TEST(given_no_any_layout_when_brought_up_then_not_accepted),
        TEST(given_modern_device_when_it_offers_any_layout_then_not_accepted),
        TEST(given_another_required_feature_when_missing_then_failed),
        TEST(given_smaller_queue_when_brought_up_then_it_is_as_the_device_says),
        TEST(given_impossible_queue_when_brought_up_then_its_size_is_named),
        TEST(given_config_that_changes_when_read_then_until_two_reads_agree),
        TEST(given_config_that_never_rests_when_read_then_device_error_after_some_reads),
        TEST(given_values_that_stand_there_already_when_read_then_read_twice_nevertheless),
        TEST(given_legacy_device_when_asked_for_a_change_then_perhaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
