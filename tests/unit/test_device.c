/* core/device.h: bring-up in eight steps, reset, and the configuration space. */

#include "core/device.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_transport.h"
#include "tests/fakes/testing.h"

#define VERSION_1   VIO_FEATURE(VIRTIO_F_VERSION_1)
#define QUEUE_SIZE  64u
#define ACK         VIRTIO_STATUS_ACKNOWLEDGE
#define DRIVER      (ACK | VIRTIO_STATUS_DRIVER)
#define FEATURES_OK (DRIVER | VIRTIO_STATUS_FEATURES_OK)
#define DRIVER_OK   (FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)
#define LIVE_BEFORE 0x0Fu /* what another driver left behind */

static struct fake_platform platform;
static struct fake_transport fake;
static struct vio_device device;
static struct virtqueue queues[2];
static struct vio_dma rings[2];
static void *shadows[2];
static struct vio_queue_plan queue_plans[2];
static struct vio_bring_up_plan plan;

static int set_up(void **state)
{
    (void)state;
    fake_platform_init(&platform);
    fake_transport_init(&fake);
    fake.status = LIVE_BEFORE;
    fake.queues[1].size_max = 32;
    for (uint16_t i = 0; i < 2; i++) {
        assert_int_equal(platform.platform.ops->dma_alloc(
                             &platform, virtqueue_ring_bytes(QUEUE_SIZE), &rings[i]),
                         VIO_OK);
        shadows[i] = platform.platform.ops->alloc(&platform, virtqueue_shadow_bytes(QUEUE_SIZE));
        queue_plans[i] = (struct vio_queue_plan){
            .vq = &queues[i],
            .index = i,
            .size_wanted = QUEUE_SIZE,
            .rings = &rings[i],
            .shadow = shadows[i],
        };
    }
    plan = (struct vio_bring_up_plan){
        .supported_features = VERSION_1,
        .required_features = VERSION_1,
        .queues = queue_plans,
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
    for (unsigned i = 0; i < 2; i++) {
        platform.platform.ops->dma_free(&platform, &rings[i]);
        platform.platform.ops->free(&platform, shadows[i], virtqueue_shadow_bytes(QUEUE_SIZE));
    }
    fake_platform_assert_no_leaks(&platform);
    return 0;
}

/* Status writes, in order. */
static void assert_status_writes(const uint8_t *expected, size_t n_expected)
{
    size_t n = 0;

    for (size_t i = 0; i < fake_log_length(); i++) {
        if (fake_log_at(i)->kind != FAKE_STATUS_WRITE)
            continue;
        assert_true(n < n_expected);
        assert_int_equal(fake_log_at(i)->value, expected[n]);
        n++;
    }
    assert_int_equal(n, n_expected);
}

/* Bring-up fails: FAILED is set, DRIVER_OK never was, no queue was enabled. */
static void assert_bring_up_fails(vio_status expected)
{
    assert_int_equal(vio_device_bring_up(&device, &plan), expected);

    assert_non_null(device.failure.what);
    assert_int_equal(fake_log_count(FAKE_QUEUE_ENABLE), 0);
    for (size_t i = 0; i < fake_log_length(); i++)
        assert_false(fake_log_at(i)->kind == FAKE_STATUS_WRITE &&
                     (fake_log_at(i)->value & VIRTIO_STATUS_DRIVER_OK));
    const struct fake_event *last = fake_log_at(fake_log_find_last(FAKE_STATUS_WRITE));
    assert_true(last->value & VIRTIO_STATUS_FAILED);
    assert_int_equal(device.accepted, 0);
}

/* --- The eight steps -------------------------------------------------------------------------- */

static void given_good_device_when_brought_up_then_eight_steps_in_order(void **state)
{
    /* Checks: INIT-1, INIT-1a, INIT-1b, INIT-1c, INIT-1d, INIT-1e, INIT-1f, INIT-1g, INIT-1h,
       STAT-1, STAT-2, PCI-COM-5 */
    (void)state;
    static const struct fake_step expected[] = {
        {FAKE_STATUS_WRITE, 0},           /* 1 */
        {FAKE_STATUS_READ, 0},            /*   until it is 0 */
        {FAKE_STATUS_READ, 0},            /* 2 */
        {FAKE_STATUS_WRITE, ACK},         /*   */
        {FAKE_STATUS_READ, ACK},          /* 3 */
        {FAKE_STATUS_WRITE, DRIVER},      /*   */
        {FAKE_FEATURES_READ, VERSION_1},  /* 4 */
        {FAKE_FEATURES_WRITE, VERSION_1}, /*   */
        {FAKE_STATUS_READ, DRIVER},       /* 5 */
        {FAKE_STATUS_WRITE, FEATURES_OK}, /*   */
        {FAKE_STATUS_READ, FEATURES_OK},  /* 6 */
        {FAKE_CONFIG_VECTOR, 0},          /* 7 */
        {FAKE_QUEUE_SIZE_READ, 0},        /*   */
        {FAKE_QUEUE_ENABLE, QUEUE_SIZE},  /*   */
        {FAKE_STATUS_READ, FEATURES_OK},  /* 8 */
        {FAKE_STATUS_WRITE, DRIVER_OK},
    };

    vio_status status = vio_device_bring_up(&device, &plan);

    assert_int_equal(status, VIO_OK);
    fake_log_assert_transport(expected, ARRAY_LENGTH(expected));
    assert_int_equal(fake.status, DRIVER_OK);
    assert_null(device.failure.what);
}

static void given_two_queues_when_brought_up_then_both_enabled_as_planned(void **state)
{
    /* Checks: INIT-1g */
    (void)state;
    plan.n_queues = 2;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(fake.queues[0].size, QUEUE_SIZE);
    assert_int_equal(fake.queues[0].vector, VIO_NO_VECTOR);
    assert_int_equal(fake.queues[1].size, 32);
    assert_int_equal(fake.queues[1].vector, VIO_NO_VECTOR);
    for (unsigned i = 0; i < 2; i++) {
        struct virtqueue_addresses addresses = virtqueue_addresses(&queues[i]);
        assert_true(fake.queues[i].enabled);
        assert_memory_equal(&fake.queues[i].addresses, &addresses, sizeof(addresses));
        assert_true(addresses.descriptor_area == rings[i].addr);
        assert_int_equal(queues[i].index, i);
        assert_int_equal(virtqueue_free_descriptors(&queues[i]), fake.queues[i].size);
    }
}

/* What the device finds in the rings when a queue is enabled: nothing but our wish for silence. */
static void assert_rings_are_empty(void *context, uint16_t index)
{
    const uint8_t *bytes = rings[index].memory;
    size_t avail_flags = 16u * fake.queues[index].size;

    (void)context;
    for (size_t i = 0; i < virtqueue_ring_bytes(fake.queues[index].size); i++)
        assert_int_equal(bytes[i], i == avail_flags ? VIRTQ_AVAIL_F_NO_INTERRUPT : 0);
}

static void given_dirty_ring_memory_when_brought_up_then_zero_before_enabled(void **state)
{
    /* Checks: X-PCI-3, SUP-AVAIL-1 */
    (void)state;
    memset(rings[0].memory, 0xA5, rings[0].bytes);
    memset(shadows[0], 0xA5, virtqueue_shadow_bytes(QUEUE_SIZE));
    fake.on_enable = assert_rings_are_empty;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_true(fake.queues[0].enabled);
}

static void given_odd_queue_maximum_when_brought_up_then_power_of_two_is_used(void **state)
{
    /* Checks: PCI-COM-3, X-SPLIT-3 */
    (void)state;
    fake.queues[0].size_max = 63;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(fake.queues[0].size, 32);
}

static void given_device_brought_up_when_nothing_is_sent_then_no_notification(void **state)
{
    /* Checks: INIT-7 */
    (void)state;
    plan.n_queues = 2;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(fake_log_count(FAKE_NOTIFY), 0);
    assert_int_equal(fake_log_count(FAKE_CONFIG_WRITE), 0);
}

static void given_features_ok_refused_when_brought_up_then_failed_and_no_queue(void **state)
{
    /* Checks: INIT-1f, INIT-5, INIT-6 */
    (void)state;
    static const uint8_t writes[] = {0, ACK, DRIVER, FEATURES_OK, DRIVER | VIRTIO_STATUS_FAILED};
    fake.lie = FAKE_REFUSES_FEATURES;

    assert_bring_up_fails(VIO_ERR_FEATURES_REFUSED);

    assert_status_writes(writes, ARRAY_LENGTH(writes));
    assert_true(device.failure.value == VERSION_1);
}

static void given_failed_device_when_brought_up_again_then_reset_first_and_works(void **state)
{
    /* Checks: STAT-3, STAT-2 */
    (void)state;
    fake.lie = FAKE_REFUSES_FEATURES;
    assert_bring_up_fails(VIO_ERR_FEATURES_REFUSED);
    fake.lie = FAKE_HONEST;
    fake_log_start();

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(fake_log_at(fake_log_find(FAKE_STATUS_WRITE, 0))->value, 0);
    assert_null(device.failure.what);
    assert_int_equal(fake.status, DRIVER_OK);
}

static void given_no_version_1_when_brought_up_then_failed_and_no_features_written(void **state)
{
    /* Checks: FEAT-7a, FEAT-7b, INIT-5, RSVD-2 */
    (void)state;
    static const uint8_t writes[] = {0, ACK, DRIVER, DRIVER | VIRTIO_STATUS_FAILED};
    fake.offered = UINT32_MAX;

    assert_bring_up_fails(VIO_ERR_UNSUPPORTED);

    assert_status_writes(writes, ARRAY_LENGTH(writes));
    assert_int_equal(fake_log_count(FAKE_FEATURES_WRITE), 0);
    assert_true(device.failure.value == VERSION_1);
}

static void given_any_offer_when_brought_up_then_accepted_is_offered_and_supported(void **state)
{
    /* Checks: FEAT-1, FEAT-3, FEAT-4, FEAT-5, FEAT-6, FEAT-8, INIT-1d, INIT-4, RSVD-1, RSVD-10 */
    (void)state;
    uint64_t seed = 7;
    plan.supported_features = VERSION_1 | 0xF0;

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t noise = (uint64_t)test_random(&seed) << 32 | test_random(&seed);
        fake.offered = i == 0 ? UINT64_MAX : noise | VERSION_1;
        fake_log_start();

        assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

        assert_true(fake.accepted == (fake.offered & plan.supported_features));
        assert_true(device.accepted == fake.accepted);
        assert_true(device.offered == fake.offered);
        assert_int_equal(fake_log_count(FAKE_FEATURES_WRITE), 1);
        for (unsigned bit = 0; bit < 64; bit++) {
            assert_int_equal(vio_device_has(&device, bit), fake.accepted >> bit & 1);
            assert_int_equal(vio_device_offers(&device, bit), fake.offered >> bit & 1);
        }
    }
}

static void given_dependent_feature_when_its_base_is_missing_then_not_accepted(void **state)
{
    /* Checks: FEAT-2 */
    (void)state;
    static const unsigned dependents[] = {VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_NOTIFICATION_DATA};

    for (unsigned i = 0; i < ARRAY_LENGTH(dependents); i++) {
        plan.supported_features = VERSION_1 | VIO_FEATURE(dependents[i]);
        plan.required_features = 0;
        fake.offered = VIO_FEATURE(dependents[i]);
        assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);
        assert_int_equal(fake.accepted, 0);

        fake.offered |= VERSION_1;
        assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);
        assert_true(fake.accepted == fake.offered);
    }
}

/* --- Addresses (6.1) ---------------------------------------------------------------------------- */

static void assert_queue_lies_at(dma_addr table, dma_addr tables)
{
    queue_plans[0].indirect = &rings[1]; /* memory for two queues, of which one is used */
    queue_plans[0].indirect_entries = 1;
    plan.supported_features =
        VERSION_1 | VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_ACCESS_PLATFORM);

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    const struct virtqueue_addresses *at = &fake.queues[0].addresses;
    assert_true(at->descriptor_area == table);
    assert_true(at->driver_area == table + 16 * QUEUE_SIZE);
    assert_true(at->device_area > at->driver_area && at->device_area < table + rings[0].bytes);
    assert_true(queues[0].tables_addr == tables);
}

static void given_physical_pointers_when_brought_up_then_untranslated_addresses(void **state)
{
    /* Checks: RSVD-5 */
    (void)state;
    platform.platform.pointers_are_physical = true;
    fake.offered |= VIO_FEATURE(VIRTIO_F_INDIRECT_DESC);

    assert_queue_lies_at((uintptr_t)rings[0].memory, (uintptr_t)rings[1].memory);
}

static void given_physical_pointers_when_behind_an_iommu_then_bus_addresses(void **state)
{
    /* Checks: RSVD-4, RSVD-5 */
    (void)state;
    platform.platform.pointers_are_physical = true;
    fake.offered |= VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_ACCESS_PLATFORM);

    assert_queue_lies_at(rings[0].addr, rings[1].addr);
}

static void given_other_pointers_when_brought_up_then_bus_addresses(void **state)
{
    (void)state;
    fake.offered |= VIO_FEATURE(VIRTIO_F_INDIRECT_DESC);

    assert_queue_lies_at(rings[0].addr, rings[1].addr);
}

/* --- What the driver thinks of the configuration ---------------------------------------------- */

struct judge {
    vio_status answer;
    uint64_t drop;
    uint64_t add;
    uint64_t seen;
    unsigned calls;
};

static vio_status judge_config(struct vio_device *judged, void *context, uint64_t *features)
{
    struct judge *judge = context;

    assert_ptr_equal(judged, &device);
    judge->calls++;
    judge->seen = *features;
    *features = (*features & ~judge->drop) | judge->add;
    return judge->answer;
}

static void given_judge_when_it_drops_a_feature_then_not_accepted(void **state)
{
    /* Checks: INIT-2, INIT-1d */
    (void)state;
    struct judge judge = {.drop = 0x10};
    plan.supported_features = VERSION_1 | 0xF0;
    plan.judge_config = judge_config;
    plan.context = &judge;
    fake.offered = VERSION_1 | 0x3F;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(judge.calls, 1);
    assert_true(judge.seen == (VERSION_1 | 0x30));
    assert_true(fake.accepted == (VERSION_1 | 0x20));
}

static void given_judge_when_it_adds_an_unoffered_feature_then_not_accepted(void **state)
{
    /* Checks: FEAT-1 */
    (void)state;
    struct judge judge = {.add = 0x100};
    plan.judge_config = judge_config;
    plan.context = &judge;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_true(fake.accepted == VERSION_1);
}

static void given_judge_when_it_drops_a_required_feature_then_failed(void **state)
{
    /* Checks: FEAT-7a, FEAT-7b */
    (void)state;
    struct judge judge = {.drop = VERSION_1};
    plan.judge_config = judge_config;
    plan.context = &judge;

    assert_bring_up_fails(VIO_ERR_UNSUPPORTED);
}

static void given_judge_when_it_refuses_then_failed_with_its_reason(void **state)
{
    /* Checks: INIT-2, INIT-5, INIT-6 */
    (void)state;
    static const uint8_t writes[] = {0, ACK, DRIVER, DRIVER | VIRTIO_STATUS_FAILED};
    struct judge judge = {.answer = VIO_ERR_RANGE};
    plan.judge_config = judge_config;
    plan.context = &judge;

    assert_bring_up_fails(VIO_ERR_RANGE);

    assert_status_writes(writes, ARRAY_LENGTH(writes));
}

/* --- Queues that cannot be had ---------------------------------------------------------------- */

static void assert_no_driver_ok_but_failed(void)
{
    static const uint8_t writes[] = {0, ACK, DRIVER, FEATURES_OK,
                                     FEATURES_OK | VIRTIO_STATUS_FAILED};

    assert_status_writes(writes, ARRAY_LENGTH(writes));
    assert_non_null(device.failure.what);
}

static void given_absent_queue_when_brought_up_then_unsupported(void **state)
{
    /* Checks: X-PCI-2, INIT-5 */
    (void)state;
    plan.n_queues = 2;
    fake.queues[1].size_max = 0;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_ERR_UNSUPPORTED);

    assert_no_driver_ok_but_failed();
    assert_int_equal(device.failure.value, 1);
}

static void given_refused_queue_when_brought_up_then_its_error(void **state)
{
    /* Checks: INIT-5 */
    (void)state;
    fake.lie = FAKE_REFUSES_QUEUE;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_ERR_DEVICE);

    assert_no_driver_ok_but_failed();
}

/* --- Interrupts (4.1.5.1.2) ------------------------------------------------------------------- */

static void make_vectors_ready(uint16_t n_vectors)
{
    plan.n_queues = 2;
    platform.platform.interrupts.n_vectors = n_vectors;
    fake.vectors = (UINT64_C(1) << n_vectors) - 1;
}

static void assert_vectors(enum vio_interrupt_use use, uint16_t config, uint16_t first,
                           uint16_t second)
{
    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);
    assert_int_equal(device.interrupt_use, use);
    assert_int_equal(fake.config_vector, config);
    assert_int_equal(fake.queues[0].vector, first);
    assert_int_equal(fake.queues[1].vector, second);
    assert_true(fake.queues[0].enabled && fake.queues[1].enabled);
    assert_null(device.failure.what);
}

static void given_enough_vectors_when_brought_up_then_each_queue_has_its_own(void **state)
{
    /* Checks: PCI-MSIX-4 */
    (void)state;
    make_vectors_ready(3);

    assert_vectors(VIO_OWN_VECTORS, 0, 1, 2);
}

static void given_too_few_vectors_when_brought_up_then_all_share_the_first(void **state)
{
    /* Checks: PCI-MSIX-3 */
    (void)state;
    for (uint16_t n_vectors = 1; n_vectors <= 2; n_vectors++) {
        make_vectors_ready(n_vectors);
        assert_vectors(VIO_SHARED_VECTOR, 0, 0, 0);
    }
}

static void given_a_line_when_brought_up_then_no_vectors(void **state)
{
    (void)state;
    make_vectors_ready(0);
    platform.platform.interrupts.has_line = true;

    assert_vectors(VIO_LINE, VIO_NO_VECTOR, VIO_NO_VECTOR, VIO_NO_VECTOR);
}

static void given_nothing_ready_when_brought_up_then_polled(void **state)
{
    (void)state;
    make_vectors_ready(0);

    assert_vectors(VIO_POLLED, VIO_NO_VECTOR, VIO_NO_VECTOR, VIO_NO_VECTOR);
}

static void given_a_refused_queue_vector_when_brought_up_then_that_queue_shares(void **state)
{
    /* Checks: PCI-MSIX-6 */
    (void)state;
    make_vectors_ready(3);
    fake.vectors_refused = UINT64_C(1) << 2;

    assert_vectors(VIO_SHARED_VECTOR, 0, 1, 0);
}

static void given_all_vectors_refused_when_brought_up_then_polled(void **state)
{
    /* Checks: PCI-MSIX-6 */
    (void)state;
    make_vectors_ready(3);
    fake.vectors_refused = UINT64_MAX;

    assert_vectors(VIO_POLLED, VIO_NO_VECTOR, VIO_NO_VECTOR, VIO_NO_VECTOR);
}

static void
given_only_the_shared_vector_refused_when_brought_up_then_config_goes_without(void **state)
{
    /* Checks: PCI-MSIX-6 */
    (void)state;
    make_vectors_ready(3);
    fake.vectors_refused = 1;

    assert_vectors(VIO_OWN_VECTORS, VIO_NO_VECTOR, 1, 2);
}

static void given_a_polled_device_when_brought_up_again_then_it_is_asked_anew(void **state)
{
    (void)state;
    make_vectors_ready(3);
    fake.vectors_refused = UINT64_MAX;
    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);
    fake.vectors_refused = 0;

    assert_vectors(VIO_OWN_VECTORS, 0, 1, 2);
}

static void given_refused_config_vector_when_brought_up_then_its_error(void **state)
{
    /* Checks: INIT-5, PCI-MSIX-6 */
    (void)state;
    fake.lie = FAKE_REFUSES_CONFIG_VECTOR;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_ERR_DEVICE);

    assert_no_driver_ok_but_failed();
    assert_int_equal(fake_log_count(FAKE_QUEUE_ENABLE), 0);
}

static void given_too_little_ring_memory_when_brought_up_then_invalid(void **state)
{
    (void)state;
    struct vio_dma little = rings[0];
    little.bytes--;
    queue_plans[0].rings = &little;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_ERR_INVALID);

    assert_no_driver_ok_but_failed();
    assert_int_equal(fake_log_count(FAKE_QUEUE_ENABLE), 0);
}

/* --- Devices that stop answering -------------------------------------------------------------- */

static void given_device_needing_reset_when_brought_up_then_stops_at_once(void **state)
{
    /* Checks: STAT-4, INIT-6 */
    (void)state;
    static const uint8_t moments[] = {ACK, DRIVER, FEATURES_OK};

    for (unsigned i = 0; i < ARRAY_LENGTH(moments); i++) {
        fake.lie = FAKE_HONEST;
        fake_transport_lie_from(&fake, FAKE_NEEDS_RESET, moments[i]);
        fake_log_start();

        assert_int_equal(vio_device_bring_up(&device, &plan), VIO_ERR_NEEDS_RESET);

        const struct fake_event *last = fake_log_at(fake_log_find_last(FAKE_STATUS_WRITE));
        assert_true(last->value & VIRTIO_STATUS_FAILED);
        assert_false(fake.status & VIRTIO_STATUS_DRIVER_OK);
    }
}

static void given_device_gone_when_brought_up_then_nothing_more_is_written(void **state)
{
    (void)state;
    static const uint8_t moments[] = {0, ACK, DRIVER, FEATURES_OK};

    for (unsigned i = 0; i < ARRAY_LENGTH(moments); i++) {
        fake.lie = FAKE_HONEST;
        fake_transport_lie_from(&fake, FAKE_GONE, moments[i]);
        fake_log_start();

        vio_status status = vio_device_bring_up(&device, &plan);

        assert_int_equal(status, VIO_ERR_GONE);
        assert_non_null(device.failure.what);
        const struct fake_event *last = fake_log_at(fake_log_find_last(FAKE_STATUS_WRITE));
        assert_int_equal(last->value, moments[i]);
        assert_int_equal(fake_log_count(FAKE_QUEUE_ENABLE), 0);
    }
}

static void given_stuck_reset_when_brought_up_then_timeout_and_no_step_further(void **state)
{
    /* Checks: RESET-1, PCI-COM-5, INIT-5 */
    (void)state;
    fake.lie = FAKE_RESET_STUCK;
    uint64_t start_us = platform.now_us;

    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_ERR_TIMEOUT);

    assert_in_range(platform.now_us - start_us, VIO_RESET_LIMIT_US, VIO_RESET_LIMIT_US * 11 / 10);
    static const uint8_t writes[] = {0, LIVE_BEFORE | VIRTIO_STATUS_FAILED};
    assert_status_writes(writes, ARRAY_LENGTH(writes));
    assert_int_equal(fake_log_count(FAKE_FEATURES_READ), 0);
}

/* --- Reset ------------------------------------------------------------------------------------ */

static void given_slow_device_when_reset_then_waited_for(void **state)
{
    /* Checks: RESET-1, CLEAN-2, PCI-COM-5 */
    (void)state;
    fake.lie = FAKE_RESET_SLOW;
    fake.lie_count = 50;

    assert_int_equal(vio_device_reset(&device), VIO_OK);

    assert_int_equal(fake_log_count(FAKE_STATUS_READ), 50);
    assert_int_equal(fake_log_count(FAKE_STATUS_WRITE), 1);
    assert_int_equal(platform.waits, 49);
    assert_int_equal(device.accepted, 0);
}

static void given_stuck_device_when_reset_then_timeout_with_its_status(void **state)
{
    /* Checks: RESET-1 */
    (void)state;
    fake.lie = FAKE_RESET_STUCK;
    fake.status = 0x1B;
    uint64_t start_us = platform.now_us;

    assert_int_equal(vio_device_reset(&device), VIO_ERR_TIMEOUT);

    assert_in_range(platform.now_us - start_us, VIO_RESET_LIMIT_US, VIO_RESET_LIMIT_US * 11 / 10);
    assert_int_equal(device.failure.value, 0x1B);
    assert_true(device.failure.value_is_valid);
}

/* The machine was stopped for an hour, and the device has long been ready. */
static void sleep_for_an_hour(void *context)
{
    struct fake_transport *transport = context;

    platform.now_us += UINT64_C(3600000000);
    transport->lie = FAKE_HONEST;
    transport->status = 0;
}

static void given_long_pause_when_reset_is_done_meanwhile_then_no_timeout(void **state)
{
    (void)state;
    fake.lie = FAKE_RESET_STUCK;
    platform.on_wait = sleep_for_an_hour;
    platform.on_wait_context = &fake;

    assert_int_equal(vio_device_reset(&device), VIO_OK);
}

/* Held up between two looks, before the clock is read: the status gets one more look. */
static void sleep_and_stay(void *context)
{
    (void)context;
    platform.now_us += UINT64_C(3600000000);
}

static void given_long_pause_when_still_stuck_then_timeout_after_one_more_look(void **state)
{
    (void)state;
    fake.lie = FAKE_RESET_STUCK;
    platform.on_wait = sleep_and_stay;

    assert_int_equal(vio_device_reset(&device), VIO_ERR_TIMEOUT);

    assert_int_equal(fake_log_count(FAKE_STATUS_READ), 2);
}

static void given_gone_device_when_reset_then_gone_at_once(void **state)
{
    (void)state;
    fake.lie = FAKE_GONE;

    assert_int_equal(vio_device_reset(&device), VIO_ERR_GONE);

    assert_int_equal(platform.waits, 0);
    assert_non_null(device.failure.what);
}

static void given_live_device_when_reset_then_nothing_is_allocated(void **state)
{
    (void)state;
    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);
    fake_log_start();

    assert_int_equal(vio_device_reset(&device), VIO_OK);

    assert_int_equal(
        fake_log_count(FAKE_ALLOC) + fake_log_count(FAKE_DMA_ALLOC) + fake_log_count(FAKE_MAP), 0);
    assert_false(vio_device_has(&device, VIRTIO_F_VERSION_1));
}

static void given_device_when_asked_whether_alive_then_each_answer(void **state)
{
    /* Checks: STAT-4 */
    (void)state;
    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);

    assert_int_equal(vio_device_check_alive(&device), VIO_OK);
    assert_null(device.failure.what);

    fake.lie = FAKE_NEEDS_RESET;
    assert_int_equal(vio_device_check_alive(&device), VIO_ERR_NEEDS_RESET);
    assert_int_equal(device.failure.value, DRIVER_OK | VIRTIO_STATUS_DEVICE_NEEDS_RESET);
    fake.lie = FAKE_GONE;
    assert_int_equal(vio_device_check_alive(&device), VIO_ERR_GONE);
    /* Registers of a bus on which nobody answers; or another driver has reset it. */
    fake.lie = FAKE_HONEST;
    fake.status = 0;
    assert_int_equal(vio_device_check_alive(&device), VIO_ERR_GONE);
    assert_int_equal(device.failure.value, 0);
}

/* --- Configuration space ---------------------------------------------------------------------- */

struct values {
    uint64_t wide;
    uint64_t word;
    uint64_t half;
    uint64_t byte;
    uint64_t optional;
};

#define OPTIONAL_BIT 5u

static const struct vio_config_field fields[] = {
    {0, 8, VIO_CONFIG_ALWAYS, offsetof(struct values, wide)},
    {8, 4, VIO_CONFIG_ALWAYS, offsetof(struct values, word)},
    {12, 2, VIO_CONFIG_ALWAYS, offsetof(struct values, half)},
    {14, 1, VIO_CONFIG_ALWAYS, offsetof(struct values, byte)},
    {16, 4, OPTIONAL_BIT, offsetof(struct values, optional)},
};

static void fill_config(uint32_t bytes)
{
    fake_transport_set_config(&fake, 0, 8, UINT64_C(0x1122334455667788));
    fake_transport_set_config(&fake, 8, 4, 0xAABBCCDD);
    fake_transport_set_config(&fake, 12, 2, 0xEEFF);
    fake_transport_set_config(&fake, 14, 1, 0x99);
    fake_transport_set_config(&fake, 16, 4, 0x12345678);
    fake.config_bytes = bytes;
    assert_int_equal(vio_device_bring_up(&device, &plan), VIO_OK);
    fake_log_start();
}

static vio_status read_fields(struct values *values)
{
    *values = (struct values){.optional = 77};
    return vio_device_read_config(&device, fields, ARRAY_LENGTH(fields), values);
}

static void given_fields_when_read_then_each_with_its_own_width(void **state)
{
    /* Checks: CFG-1a, CFG-2, PCI-ACC-1 */
    (void)state;
    static const struct {
        uint32_t at;
        unsigned width_bytes;
    } expected[] = {{0, 4}, {4, 4}, {8, 4}, {12, 2}, {14, 1}, {16, 4}};
    struct values values;
    fake.offered |= VIO_FEATURE(OPTIONAL_BIT);
    fill_config(20);

    assert_int_equal(read_fields(&values), VIO_OK);

    assert_true(values.wide == UINT64_C(0x1122334455667788));
    assert_true(values.word == 0xAABBCCDD);
    assert_true(values.half == 0xEEFF);
    assert_true(values.byte == 0x99);
    assert_true(values.optional == 0x12345678);
    assert_int_equal(fake_log_at(0)->kind, FAKE_GENERATION_READ);
    for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_int_equal(fake_log_at(i + 1)->kind, FAKE_CONFIG_READ);
        assert_int_equal(fake_log_at(i + 1)->at, expected[i].at);
        assert_int_equal(fake_log_at(i + 1)->width_bytes, expected[i].width_bytes);
    }
    assert_int_equal(fake_log_at(7)->kind, FAKE_GENERATION_READ);
    assert_int_equal(fake_log_length(), 8);
}

static void given_optional_field_when_not_offered_then_not_read(void **state)
{
    /* Checks: CFG-3, CFG-5 */
    (void)state;
    struct values values;
    fill_config(16); /* it is not even there */

    assert_int_equal(read_fields(&values), VIO_OK);

    assert_true(values.optional == 77);
    for (size_t i = 0; i < fake_log_length(); i++)
        assert_false(fake_log_at(i)->kind == FAKE_CONFIG_READ && fake_log_at(i)->at >= 16);
}

static void given_optional_field_when_offered_but_not_accepted_then_read(void **state)
{
    /* Checks: CFG-3 */
    (void)state;
    struct values values;
    fake.offered |= VIO_FEATURE(OPTIONAL_BIT);
    fill_config(20);
    assert_false(vio_device_has(&device, OPTIONAL_BIT));

    assert_int_equal(read_fields(&values), VIO_OK);

    assert_true(values.optional == 0x12345678);
}

static void given_longer_space_when_read_then_fine(void **state)
{
    /* Checks: CFG-4, CFG-5 */
    (void)state;
    static const uint32_t sizes[] = {20, 21, 64, 256, UINT32_MAX};
    struct values values;
    fake.offered |= VIO_FEATURE(OPTIONAL_BIT);

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        fill_config(sizes[i] < FAKE_CONFIG_BYTES ? sizes[i] : FAKE_CONFIG_BYTES);
        fake.config_bytes = sizes[i];

        assert_int_equal(read_fields(&values), VIO_OK);
        assert_true(values.optional == 0x12345678);
    }
}

static void given_shorter_space_when_read_then_device_error_and_no_field_read(void **state)
{
    /* Checks: CFG-5 */
    (void)state;
    static const uint32_t sizes[] = {0, 1, 7, 8, 14, 15, 16, 19};
    struct values values;
    fake.offered |= VIO_FEATURE(OPTIONAL_BIT);

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        fill_config(sizes[i]);

        assert_int_equal(read_fields(&values), VIO_ERR_DEVICE);

        assert_int_equal(fake_log_count(FAKE_CONFIG_READ), 0);
        assert_int_equal(device.failure.value, sizes[i]);
    }
}

static void given_field_at_the_end_of_the_number_range_when_read_then_device_error(void **state)
{
    (void)state;
    static const struct vio_config_field far = {UINT32_MAX - 1, 4, VIO_CONFIG_ALWAYS, 0};
    uint64_t value;
    fill_config(20);

    assert_int_equal(vio_device_read_config(&device, &far, 1, &value), VIO_ERR_DEVICE);
}

static void given_changing_generation_when_it_settles_then_last_values_are_returned(void **state)
{
    /* Checks: CFG-2, CFG-1b */
    (void)state;
    for (unsigned n = 0; n <= 15; n++) {
        struct values values;
        fill_config(20);
        fake.lie = FAKE_GENERATION_MOVES;
        fake.lie_count = n;

        assert_int_equal(read_fields(&values), VIO_OK);

        assert_true(values.wide == UINT64_C(0x1122334455667788));
        /* Both reads of one try gave the same. */
        size_t last = fake_log_find_last(FAKE_GENERATION_READ);
        size_t before = 0;
        for (size_t i = 0; i < last; i++)
            before = fake_log_at(i)->kind == FAKE_GENERATION_READ ? i : before;
        assert_int_equal(fake_log_at(before)->value, fake_log_at(last)->value);
        assert_int_equal(last - before, 6); /* five reads lie between */
    }
}

static void given_generation_that_never_settles_when_read_then_device_error(void **state)
{
    /* Checks: CFG-2 */
    (void)state;
    struct values values;
    fill_config(20);
    fake.lie = FAKE_GENERATION_MOVES;
    fake.lie_count = UINT32_MAX;

    assert_int_equal(read_fields(&values), VIO_ERR_DEVICE);

    assert_in_range(fake_log_count(FAKE_GENERATION_READ), 2, 100);
    assert_non_null(device.failure.what);
}

/* Between the two halves of the 64-bit field it changes from 0x00000000FFFFFFFF to 2^32, once. */
static void change_between_halves(void *context, uint32_t offset)
{
    struct fake_transport *transport = context;

    if (offset != 4 || transport->generation != 7)
        return;
    fake_transport_set_config(transport, 0, 8, UINT64_C(0x100000000));
    transport->generation++;
}

static void given_64_bit_field_when_it_changes_between_halves_then_not_torn(void **state)
{
    /* Checks: CFG-1a, CFG-2, PCI-ACC-2 */
    (void)state;
    struct values values;
    fill_config(20);
    fake_transport_set_config(&fake, 0, 8, 0xFFFFFFFF);
    fake.on_config_read = change_between_halves;
    fake.context = &fake;

    assert_int_equal(read_fields(&values), VIO_OK);

    assert_true(values.wide == UINT64_C(0x100000000));
}

/* The word and the half change together, once, in between. */
static void change_between_fields(void *context, uint32_t offset)
{
    struct fake_transport *transport = context;

    if (offset != 12 || transport->generation != 7)
        return;
    fake_transport_set_config(transport, 8, 4, 1);
    fake_transport_set_config(transport, 12, 2, 1);
    transport->generation++;
}

static void given_two_fields_when_they_change_in_between_then_of_one_version(void **state)
{
    /* Checks: CFG-1b, CFG-2 */
    (void)state;
    struct values values;
    fill_config(20);
    fake.on_config_read = change_between_fields;
    fake.context = &fake;

    assert_int_equal(read_fields(&values), VIO_OK);

    assert_true(values.word == 1);
    assert_true(values.half == 1);
}

/* --- The seams -------------------------------------------------------------------------------- */

static void given_transport_with_one_member_missing_when_opened_then_invalid(void **state)
{
    (void)state;
    for (size_t at = 0; at < sizeof(struct vio_transport_ops); at += sizeof(void (*)(void))) {
        struct vio_transport_ops ops = *fake.transport.ops;
        memset((uint8_t *)&ops + at, 0, sizeof(void (*)(void)));
        struct vio_transport transport = {.ops = &ops, .context = &fake};
        struct vio_device other;

        assert_int_equal(vio_device_open(&other, &transport, &platform.platform), VIO_ERR_INVALID);
    }
    struct vio_device other;
    struct vio_transport none = {0};
    assert_int_equal(vio_device_open(&other, &none, &platform.platform), VIO_ERR_INVALID);
}

static void given_platform_with_one_member_missing_when_opened_then_invalid(void **state)
{
    (void)state;
    for (size_t at = 0; at < sizeof(struct vio_platform_ops); at += sizeof(void (*)(void))) {
        struct vio_platform_ops ops = *platform.platform.ops;
        memset((uint8_t *)&ops + at, 0, sizeof(void (*)(void)));
        struct vio_platform incomplete = {.ops = &ops, .context = &platform};
        struct vio_device other;

        assert_int_equal(vio_device_open(&other, &fake.transport, &incomplete), VIO_ERR_INVALID);
    }
}

static void given_device_when_opened_then_no_register_is_touched(void **state)
{
    (void)state;
    struct vio_device other;
    memset(&other, 0xA5, sizeof(other));

    assert_int_equal(vio_device_open(&other, &fake.transport, &platform.platform), VIO_OK);

    assert_int_equal(fake_log_length(), 0);
    assert_int_equal(other.offered, 0);
    assert_int_equal(other.accepted, 0);
    assert_null(other.failure.what);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_good_device_when_brought_up_then_eight_steps_in_order),
        TEST(given_two_queues_when_brought_up_then_both_enabled_as_planned),
        TEST(given_dirty_ring_memory_when_brought_up_then_zero_before_enabled),
        TEST(given_odd_queue_maximum_when_brought_up_then_power_of_two_is_used),
        TEST(given_device_brought_up_when_nothing_is_sent_then_no_notification),
        TEST(given_features_ok_refused_when_brought_up_then_failed_and_no_queue),
        TEST(given_failed_device_when_brought_up_again_then_reset_first_and_works),
        TEST(given_no_version_1_when_brought_up_then_failed_and_no_features_written),
        TEST(given_any_offer_when_brought_up_then_accepted_is_offered_and_supported),
        TEST(given_dependent_feature_when_its_base_is_missing_then_not_accepted),
        TEST(given_physical_pointers_when_brought_up_then_untranslated_addresses),
        TEST(given_physical_pointers_when_behind_an_iommu_then_bus_addresses),
        TEST(given_other_pointers_when_brought_up_then_bus_addresses),
        TEST(given_judge_when_it_drops_a_feature_then_not_accepted),
        TEST(given_judge_when_it_adds_an_unoffered_feature_then_not_accepted),
        TEST(given_judge_when_it_drops_a_required_feature_then_failed),
        TEST(given_judge_when_it_refuses_then_failed_with_its_reason),
        TEST(given_absent_queue_when_brought_up_then_unsupported),
        TEST(given_refused_queue_when_brought_up_then_its_error),
        TEST(given_enough_vectors_when_brought_up_then_each_queue_has_its_own),
        TEST(given_too_few_vectors_when_brought_up_then_all_share_the_first),
        TEST(given_a_line_when_brought_up_then_no_vectors),
        TEST(given_nothing_ready_when_brought_up_then_polled),
        TEST(given_a_refused_queue_vector_when_brought_up_then_that_queue_shares),
        TEST(given_all_vectors_refused_when_brought_up_then_polled),
        TEST(given_only_the_shared_vector_refused_when_brought_up_then_config_goes_without),
        TEST(given_a_polled_device_when_brought_up_again_then_it_is_asked_anew),
        TEST(given_refused_config_vector_when_brought_up_then_its_error),
        TEST(given_too_little_ring_memory_when_brought_up_then_invalid),
        TEST(given_device_needing_reset_when_brought_up_then_stops_at_once),
        TEST(given_device_gone_when_brought_up_then_nothing_more_is_written),
        TEST(given_stuck_reset_when_brought_up_then_timeout_and_no_step_further),
        TEST(given_slow_device_when_reset_then_waited_for),
        TEST(given_stuck_device_when_reset_then_timeout_with_its_status),
        TEST(given_long_pause_when_reset_is_done_meanwhile_then_no_timeout),
        TEST(given_long_pause_when_still_stuck_then_timeout_after_one_more_look),
        TEST(given_gone_device_when_reset_then_gone_at_once),
        TEST(given_live_device_when_reset_then_nothing_is_allocated),
        TEST(given_device_when_asked_whether_alive_then_each_answer),
        TEST(given_fields_when_read_then_each_with_its_own_width),
        TEST(given_optional_field_when_not_offered_then_not_read),
        TEST(given_optional_field_when_offered_but_not_accepted_then_read),
        TEST(given_longer_space_when_read_then_fine),
        TEST(given_shorter_space_when_read_then_device_error_and_no_field_read),
        TEST(given_field_at_the_end_of_the_number_range_when_read_then_device_error),
        TEST(given_changing_generation_when_it_settles_then_last_values_are_returned),
        TEST(given_generation_that_never_settles_when_read_then_device_error),
        TEST(given_64_bit_field_when_it_changes_between_halves_then_not_torn),
        TEST(given_two_fields_when_they_change_in_between_then_of_one_version),
        TEST(given_transport_with_one_member_missing_when_opened_then_invalid),
        TEST(given_platform_with_one_member_missing_when_opened_then_invalid),
        TEST(given_device_when_opened_then_no_register_is_touched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
