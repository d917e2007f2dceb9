/*
 * core/device.h: the limit to the microsecond, a register that takes long, a queue not the first, no
 * vector at all.
 */

#include "core/device.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_transport.h"
#include "tests/fakes/testing.h"

#define QUEUE_SIZE 4u
#define N_QUEUES   2u
#define FEATURES   (VIO_FEATURE(VIRTIO_F_VERSION_1) | VIO_FEATURE(VIRTIO_F_RING_RESET))

static struct fake_platform platform;
static struct fake_transport fake;
static struct vio_transport_ops ops; /* the fake's, but for what a test replaces */
static struct vio_device device;
static unsigned n_refused; /* vectors */
static struct virtqueue queues[N_QUEUES];
static struct vio_dma rings[N_QUEUES];
static void *shadows[N_QUEUES];

static vio_status try_bring_up(void)
{
    struct vio_queue_plan queue_plans[N_QUEUES];
    const struct vio_bring_up_plan plan = {
        .supported_features = FEATURES,
        .queues = queue_plans,
        .n_queues = N_QUEUES,
    };

    for (uint16_t i = 0; i < N_QUEUES; i++) {
        queue_plans[i] = (struct vio_queue_plan){
            .vq = &queues[i],
            .index = i,
            .size_wanted = QUEUE_SIZE,
            .rings = &rings[i],
            .shadow = shadows[i],
        };
    }
    fake.offered = FEATURES;
    fake.queues[1].size_max = QUEUE_SIZE;
    return vio_device_bring_up(&device, &plan);
}

static int set_up(void **state)
{
    (void)state;
    n_refused = 0;
    fake_platform_init(&platform);
    platform.step_us = 0; /* only waiting takes time */
    fake_transport_init(&fake);
    for (unsigned i = 0; i < N_QUEUES; i++) {
        assert_int_equal(platform.platform.ops->dma_alloc(
                             &platform, virtqueue_ring_bytes(QUEUE_SIZE), &rings[i]),
                         VIO_OK);
        shadows[i] = platform.platform.ops->alloc(&platform, virtqueue_shadow_bytes(QUEUE_SIZE));
    }
    ops = *fake.transport.ops;
    fake.transport.ops = &ops;
    assert_int_equal(vio_device_open(&device, &fake.transport, &platform.platform), VIO_OK);
    assert_int_equal(try_bring_up(), VIO_OK);
    fake_log_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_log_stop();
    for (unsigned i = 0; i < N_QUEUES; i++) {
        platform.platform.ops->dma_free(&platform, &rings[i]);
        platform.platform.ops->free(&platform, shadows[i], virtqueue_shadow_bytes(QUEUE_SIZE));
    }
    fake_platform_assert_no_leaks(&platform);
    return 0;
}

static void given_stuck_device_when_reset_then_given_up_within_the_limit(void **state)
{
    (void)state;
    fake.lie = FAKE_RESET_STUCK;
    uint64_t start_us = platform.now_us;

    assert_int_equal(vio_device_reset(&device), VIO_ERR_TIMEOUT);

    assert_int_equal(platform.now_us - start_us, VIO_RESET_LIMIT_US);
}

static void given_stuck_queue_when_reset_then_given_up_within_the_limit(void **state)
{
    (void)state;
    fake.lie = FAKE_QUEUE_RESET_STUCK;
    uint64_t start_us = platform.now_us;

    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_ERR_TIMEOUT);

    assert_int_equal(platform.now_us - start_us, VIO_RESET_LIMIT_US);
}

/* A virtual machine that is stopped in the middle of an access, and goes on much later. */
static uint8_t get_status_much_later(void *context)
{
    uint8_t status = fake.status;

    platform.now_us += 10 * VIO_RESET_LIMIT_US;
    fake.status = 0;
    (void)context;
    return status;
}

static bool is_queue_reset_much_later(void *context, uint16_t index)
{
    bool reset = !fake.queues[index].enabled;

    platform.now_us += 10 * VIO_RESET_LIMIT_US;
    fake.queues[index].enabled = false;
    (void)context;
    return reset;
}

static void given_pause_in_a_status_read_when_reset_is_done_meanwhile_then_no_timeout(void **state)
{
    (void)state;
    fake.lie = FAKE_RESET_STUCK; /* until the read, which ends it */
    ops.get_status = get_status_much_later;

    assert_int_equal(vio_device_reset(&device), VIO_OK);

    assert_int_equal(platform.waits, 1);
}

static void given_pause_in_a_queue_read_when_reset_is_done_meanwhile_then_no_timeout(void **state)
{
    (void)state;
    fake.lie = FAKE_QUEUE_RESET_STUCK;
    ops.is_queue_reset = is_queue_reset_much_later;

    assert_int_equal(vio_device_reset_queue(&device, 0), VIO_OK);

    assert_int_equal(platform.waits, 1);
}

static void given_two_queues_when_second_is_reset_then_first_goes_on(void **state)
{
    (void)state;
    assert_int_equal(vio_device_reset_queue(&device, 1), VIO_OK);

    assert_true(fake.queues[0].enabled);
    assert_false(fake.queues[1].enabled);
    assert_int_equal(fake_log_at(fake_log_find(FAKE_QUEUE_RESET, 0))->at, 1);
    assert_int_equal(fake_log_at(fake_log_find(FAKE_QUEUE_RESET_READ, 0))->at, 1);
}

/* A device that does not even keep VIO_NO_VECTOR, which every device has to. */
static vio_status refuse_queue_vector(void *context, uint16_t index, uint16_t size,
                                      const struct virtqueue_addresses *addresses, uint16_t vector)
{
    (void)context;
    (void)index;
    (void)size;
    (void)addresses;
    (void)vector;
    n_refused++;
    return VIO_ERR_NO_VECTOR;
}

static vio_status refuse_config_vector(void *context, uint16_t vector)
{
    (void)context;
    (void)vector;
    n_refused++;
    return VIO_ERR_NO_VECTOR;
}

static void assert_refused(unsigned n_times)
{
    assert_int_equal(try_bring_up(), VIO_ERR_NO_VECTOR);

    assert_int_equal(n_refused, n_times);
    assert_true(fake.status & VIRTIO_STATUS_FAILED);
}

static void given_queue_that_refuses_even_no_vector_when_brought_up_then_its_error(void **state)
{
    (void)state;
    ops.enable_queue = refuse_queue_vector;
    assert_refused(1);

    fake.vectors = 7;
    platform.platform.interrupts.n_vectors = 1 + N_QUEUES;
    assert_refused(1 + 3); /* its own, the shared one, none */
    assert_int_equal(device.failure.value, 0);
}

static void given_device_that_refuses_even_no_vector_when_brought_up_then_its_error(void **state)
{
    (void)state;
    ops.route_config_interrupt = refuse_config_vector;

    assert_refused(2);
    assert_false(fake.queues[0].enabled);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_stuck_device_when_reset_then_given_up_within_the_limit),
        TEST(given_stuck_queue_when_reset_then_given_up_within_the_limit),
        TEST(given_pause_in_a_status_read_when_reset_is_done_meanwhile_then_no_timeout),
        TEST(given_pause_in_a_queue_read_when_reset_is_done_meanwhile_then_no_timeout),
        TEST(given_two_queues_when_second_is_reset_then_first_goes_on),
        TEST(given_queue_that_refuses_even_no_vector_when_brought_up_then_its_error),
        TEST(given_device_that_refuses_even_no_vector_when_brought_up_then_its_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
