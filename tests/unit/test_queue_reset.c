/*
 * core/device.h: one queue of a live device is reset and made anew (virtio 1.4, 2.6.1 Virtqueue
 * Reset; 2.6.1.2 Virtqueue Re-enable).
 */

#include "core/device.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_ring.h"
#include "tests/fakes/fake_transport.h"
#include "tests/fakes/testing.h"

#define QUEUE_SIZE 64u
#define FEATURES   (VIO_FEATURE(VIRTIO_F_VERSION_1) | VIO_FEATURE(VIRTIO_F_RING_RESET))

static struct fake_platform platform;
static struct fake_transport fake;
static struct vio_device device;
static struct virtqueue vq;
static struct vio_dma rings;
static void *shadow;
static struct vio_queue_plan queue_plan;
static char cookies[QUEUE_SIZE];

static vio_status bring_up(uint64_t offered)
{
    const struct vio_bring_up_plan plan = {
        .supported_features = FEATURES,
        .required_features = VIO_FEATURE(VIRTIO_F_VERSION_1),
        .queues = &queue_plan,
        .n_queues = 1,
    };

    fake.offered = offered;
    return vio_device_bring_up(&device, &plan);
}

static int set_up(void **state)
{
    (void)state;
    fake_platform_init(&platform);
    fake_transport_init(&fake);
    assert_int_equal(
        platform.platform.ops->dma_alloc(&platform, virtqueue_ring_bytes(QUEUE_SIZE), &rings),
        VIO_OK);
    shadow = platform.platform.ops->alloc(&platform, virtqueue_shadow_bytes(QUEUE_SIZE));
    queue_plan = (struct vio_queue_plan){
        .vq = &vq,
        .size_wanted = QUEUE_SIZE,
        .rings = &rings,
        .shadow = shadow,
    };
    assert_int_equal(vio_device_open(&device, &fake.transport, &platform.platform), VIO_OK);
    assert_int_equal(bring_up(FEATURES), VIO_OK);
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

static void publish_one(void *cookie)
{
    const struct vio_buffer buf = {.addr = 0x1000, .len = 8, .device_writable = true};

    assert_int_equal(virtqueue_add(&vq, &buf, 1, cookie), VIO_OK);
    virtqueue_publish(&vq);
}

static void given_live_queue_when_reset_then_asked_once_and_seen_done(void **state)
{
    /* Checks: QRESET-1 */
    (void)state;
    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_OK);

    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET), 1);
    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET_READ), 1);
    assert_int_equal(fake_log_count(FAKE_STATUS_WRITE), 0);
    assert_int_equal(fake_log_count(FAKE_WAIT), 0);
    assert_false(fake.queues[0].enabled);
    assert_int_equal(fake.status, 0x0F);
}

static void given_slow_queue_when_reset_then_waited_for(void **state)
{
    /* Checks: QRESET-1 */
    (void)state;
    fake.lie = FAKE_QUEUE_RESET_SLOW;
    fake.lie_count = 50;

    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_OK);

    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET), 1);
    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET_READ), 50);
    assert_int_equal(fake_log_count(FAKE_WAIT), 49);
}

static void given_stuck_queue_when_reset_then_timeout_that_names_it(void **state)
{
    /* Checks: QRESET-1 */
    (void)state;
    fake.lie = FAKE_QUEUE_RESET_STUCK;
    uint64_t start_us = platform.now_us;

    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_ERR_TIMEOUT);

    assert_in_range(platform.now_us - start_us, VIO_RESET_LIMIT_US, 2 * VIO_RESET_LIMIT_US);
    assert_non_null(device.failure.what);
    assert_int_equal(device.failure.value, 0);
    assert_true(fake.queues[0].enabled);
    /* What is left is the reset of the whole device. */
    fake.lie = FAKE_HONEST;
    assert_int_equal(vio_device_reset(&device), VIO_OK);
}

static void pause_for_long(void *context)
{
    (void)context;
    platform.now_us += 10 * VIO_RESET_LIMIT_US;
}

static void given_long_pause_when_queue_is_reset_meanwhile_then_no_timeout(void **state)
{
    (void)state;
    fake.lie = FAKE_QUEUE_RESET_SLOW;
    fake.lie_count = 2;
    platform.on_wait = pause_for_long;

    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_OK);
}

static void given_device_in_trouble_when_queue_reset_then_noticed_at_once(void **state)
{
    (void)state;
    static const struct {
        enum fake_transport_lie lie;
        vio_status status;
    } cases[] = {{FAKE_GONE, VIO_ERR_GONE}, {FAKE_NEEDS_RESET, VIO_ERR_NEEDS_RESET}};

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake.lie = cases[i].lie;
        fake_log_start();

        assert_int_equal(vio_device_reset_queue(&device, 0), cases[i].status);

        assert_int_equal(fake_log_count(FAKE_WAIT), 0);
        assert_non_null(device.failure.what);
    }
}

static void given_feature_not_in_force_when_reset_then_unsupported_and_nothing_done(void **state)
{
    (void)state;
    assert_int_equal(bring_up(VIO_FEATURE(VIRTIO_F_VERSION_1)), VIO_OK);
    fake_log_start();

    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_ERR_UNSUPPORTED);

    assert_int_equal(fake_log_count(FAKE_QUEUE_RESET), 0);
    assert_true(fake.queues[0].enabled);
}

static void given_chains_in_flight_when_queue_reset_then_drained_and_made_anew(void **state)
{
    /* Checks: QRESET-2, QRESET-3, PCI-COM-8, PCI-COM-9 */
    (void)state;
    struct fake_ring ring;
    struct vio_dma other;
    void *cookie;
    uint32_t len;
    uint16_t head;

    for (unsigned i = 0; i < 5; i++)
        publish_one(&cookies[i]);
    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_OK);
    for (unsigned i = 0; i < 5; i++)
        assert_true(virtqueue_drain(&vq, &cookie));
    assert_false(virtqueue_drain(&vq, &cookie));

    /* Other memory, and a size of its own: the former rings are freed first. */
    platform.platform.ops->dma_free(&platform, &rings);
    assert_int_equal(
        platform.platform.ops->dma_alloc(&platform, virtqueue_ring_bytes(QUEUE_SIZE), &other),
        VIO_OK);
    rings = other;
    queue_plan.size_wanted = 16;
    assert_int_equal(vio_device_set_up_queue(&device, &queue_plan), VIO_OK);

    assert_int_equal(fake.queues[0].size, 16);
    assert_true(fake.queues[0].addresses.descriptor_area == rings.addr);
    assert_int_equal(fake_log_count(FAKE_STATUS_WRITE), 0);
    fake_ring_attach(&ring, &platform, 16, &fake.queues[0].addresses, fake.accepted);
    publish_one(&cookies[9]);
    assert_true(virtqueue_notify(&vq));
    assert_true(fake_ring_take(&ring, &head));
    fake_ring_return(&ring, head, 8);
    assert_int_equal(virtqueue_pop_used(&vq, &cookie, &len), VIO_OK);
    assert_ptr_equal(cookie, &cookies[9]);
}

static void given_broken_queue_when_reset_and_made_anew_then_works_again(void **state)
{
    /* Checks: QRESET-3 */
    (void)state;
    struct fake_ring ring;
    void *cookie;
    uint32_t len;

    publish_one(&cookies[0]);
    fake_ring_attach(&ring, &platform, QUEUE_SIZE, &fake.queues[0].addresses, fake.accepted);
    fake_ring_set_used_idx(&ring, 9);
    assert_int_equal(virtqueue_pop_used(&vq, &cookie, &len), VIO_ERR_QUEUE_BROKEN);

    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_OK);
    assert_true(virtqueue_drain(&vq, &cookie));
    assert_ptr_equal(cookie, &cookies[0]);
    assert_int_equal(vio_device_set_up_queue(&device, &queue_plan), VIO_OK);

    assert_int_equal(virtqueue_fault(&vq), VIRTQUEUE_FAULT_NONE);
    publish_one(&cookies[1]);
    assert_true(virtqueue_notify(&vq));
}

static void given_memory_for_tables_when_queue_set_up_then_chains_go_into_it(void **state)
{
    /* Checks: SPLIT-IND-1 */
    (void)state;
    const struct vio_buffer bufs[] = {{.addr = 0x1000, .len = 1}, {.addr = 0x2000, .len = 1}};
    struct vio_dma tables;

    assert_int_equal(platform.platform.ops->dma_alloc(
                         &platform, virtqueue_indirect_bytes(QUEUE_SIZE, 2), &tables),
                     VIO_OK);
    queue_plan.indirect = &tables;
    queue_plan.indirect_entries = 2;
    fake.offered |= VIO_FEATURE(VIRTIO_F_INDIRECT_DESC);
    const struct vio_bring_up_plan plan = {
        .supported_features = VIO_COMMON_FEATURES, .queues = &queue_plan, .n_queues = 1};
    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(virtqueue_add(&vq, bufs, 2, cookies), VIO_OK);

    assert_int_equal(virtqueue_free_descriptors(&vq), QUEUE_SIZE - 1);
    platform.platform.ops->dma_free(&platform, &tables);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_live_queue_when_reset_then_asked_once_and_seen_done),
        TEST(given_slow_queue_when_reset_then_waited_for),
        TEST(given_stuck_queue_when_reset_then_timeout_that_names_it),
        TEST(given_long_pause_when_queue_is_reset_meanwhile_then_no_timeout),
        TEST(given_device_in_trouble_when_queue_reset_then_noticed_at_once),
        TEST(given_feature_not_in_force_when_reset_then_unsupported_and_nothing_done),
        TEST(given_chains_in_flight_when_queue_reset_then_drained_and_made_anew),
        TEST(given_broken_queue_when_reset_and_made_anew_then_works_again),
        TEST(given_memory_for_tables_when_queue_set_up_then_chains_go_into_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
