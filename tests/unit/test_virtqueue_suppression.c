/*
 * core/virtqueue.h: who wants to be told, and when (virtio 1.4, 2.7.7 Used Buffer Notification
 * Suppression; 2.7.10 Available Buffer Notification Suppression), with EVENT_IDX and without.
 */

#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_memory.h"
#include "tests/fakes/queue_fixture.h"
#include "tests/fakes/ring_driver_virtboot.h"
#include "tests/fakes/testing.h"

#define EVENT_IDX VIO_FEATURE(VIRTIO_F_EVENT_IDX)

static int set_up(void **state)
{
    (void)state;
    make_queue_with(8, EVENT_IDX);
    return 0;
}

/* A fresh queue whose indices stand at @p at, as after so many chains. */
static void stand_at(uint16_t at)
{
    init_queue();
    ring_driver_age_queue(&vq, at);
    ring.avail_seen = at;
    fake_ring_set_used_idx(&ring, at);
}

static void add_many(unsigned n_chains)
{
    for (unsigned i = 0; i < n_chains; i++)
        add_one(&cookies[i]);
}

static void use_many(unsigned n_chains)
{
    for (unsigned i = 0; i < n_chains; i++)
        fake_ring_return(&ring, take_head(), 0);
}

static void pop_all(void)
{
    void *cookie;
    uint32_t len;

    while (virtqueue_pop_used(&vq, &cookie, &len) == VIO_OK)
        ;
}

/* --- Available buffer notifications ----------------------------------------------------------- */

static void given_each_index_when_batch_published_then_notified_iff_event_is_in_it(void **state)
{
    /* Checks: SUP-AVAIL-6, SUP-AVAIL-7 */
    (void)state;
    static const unsigned batches[] = {1, 3, 8};

    for (uint32_t at = 0; at <= UINT16_MAX; at++) {
        unsigned n_chains = batches[at % ARRAY_LENGTH(batches)];
        /* From two in front of the batch to two behind it. */
        for (int offset = -2; offset < (int)n_chains + 2; offset++) {
            stand_at((uint16_t)at);
            fake_ring_set_avail_event(&ring, (uint16_t)(at + (unsigned)offset));
            add_many(n_chains);
            virtqueue_publish(&vq);

            bool notified = virtqueue_notify(&vq);

            if (notified != (offset >= 0 && offset < (int)n_chains))
                fail_msg("%u chains at index %u, event at %+d: %d", n_chains, at, offset, notified);
        }
    }
}

static void given_far_event_when_published_then_not_notified(void **state)
{
    /* Checks: SUP-AVAIL-7 */
    (void)state;
    for (uint32_t event = 0; event <= UINT16_MAX; event++) {
        stand_at(100);
        fake_ring_set_avail_event(&ring, (uint16_t)event);
        add_one(&cookies[0]);
        virtqueue_publish(&vq);

        assert_int_equal(virtqueue_notify(&vq), event == 100);
    }
}

static void given_event_idx_when_no_notify_flag_set_then_it_means_nothing(void **state)
{
    /* Checks: SUP-AVAIL-5 */
    (void)state;
    fake_ring_used(&ring)->flags = le16_from(0xFFFF);
    fake_log_start();
    add_one(&cookies[0]);
    virtqueue_publish(&vq);

    assert_true(virtqueue_notify(&vq));

    assert_int_equal(fake_log_count_accesses(FAKE_LOAD, &fake_ring_used(&ring)->flags), 0);
}

static void given_event_idx_when_notified_then_full_barrier_before_the_event_is_read(void **state)
{
    /* Checks: SUP-BAR-1 */
    (void)state;
    const void *avail_event = &fake_ring_used(&ring)->ring[8];
    fake_log_start();

    add_one(&cookies[0]);
    virtqueue_publish(&vq);
    assert_true(virtqueue_notify(&vq));

    size_t idx_store = fake_log_find_access(FAKE_STORE, &fake_ring_avail(&ring)->idx, 0);
    size_t barrier = fake_log_find(FAKE_MB, 0);
    size_t event_load = fake_log_find_access(FAKE_LOAD, avail_event, 0);
    assert_true(idx_store < barrier && barrier < event_load);
    assert_true(event_load < fake_log_find(FAKE_NOTIFY, 0));
    assert_int_equal(fake_log_count(FAKE_LOAD), 1);
}

static void given_batches_when_published_one_by_one_then_all_count_for_the_decision(void **state)
{
    /* Checks: SUP-AVAIL-6 */
    (void)state;
    fake_ring_set_avail_event(&ring, 0);
    for (unsigned i = 0; i < 3; i++) {
        add_one(&cookies[i]);
        virtqueue_publish(&vq);
    }

    assert_true(virtqueue_notify(&vq));
    assert_false(virtqueue_notify(&vq));

    /* What was decided is not decided again: the event lies before this batch. */
    add_one(&cookies[3]);
    virtqueue_publish(&vq);
    assert_false(virtqueue_notify(&vq));
    assert_int_equal(vq.counters.notifications, 1);
    assert_int_equal(vq.counters.notifications_suppressed, 1);
}

/* A driver that publishes and never asks: the device polls. */
static void publish_through(uint32_t n_chains)
{
    for (uint32_t i = 0; i < n_chains; i++) {
        fake_ring_return(&ring, give_one(cookies), 0);
        assert_pops(cookies, 0);
    }
}

static void given_65536_chains_unnotified_when_notified_then_not_taken_for_none(void **state)
{
    /* Checks: SUP-AVAIL-6 */
    (void)state;
    static const uint32_t counts[] = {65535, 65536, 65537, 131072};

    for (unsigned features = 0; features < 2; features++) {
        for (unsigned i = 0; i < ARRAY_LENGTH(counts); i++) {
            free_queue();
            make_queue_with(8, features ? EVENT_IDX : 0);
            /* An event that the last 65535 chains crossed, and so do all counts above. */
            fake_ring_set_avail_event(&ring, (uint16_t)(counts[i] - 3));
            publish_through(counts[i]);

            assert_true(virtqueue_notify(&vq));
        }
    }
}

/* --- Used buffer notifications ---------------------------------------------------------------- */

static void given_event_idx_when_callbacks_switched_then_flags_stay_0(void **state)
{
    /* Checks: SUP-USED-3 */
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 0);
        (void)virtqueue_enable_callbacks(&vq);
        assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 0);
        virtqueue_disable_callbacks(&vq);
        assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 0);
        (void)virtqueue_enable_callbacks_after(&vq, 5);
        assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 0);
    }
}

static void given_each_index_when_enabled_then_interrupt_at_the_next_used_chain_only(void **state)
{
    /* Checks: SUP-USED-4 */
    (void)state;
    for (uint32_t at = 0; at <= UINT16_MAX; at++) {
        stand_at((uint16_t)at);
        add_many(2);
        virtqueue_publish(&vq);

        assert_false(virtqueue_enable_callbacks(&vq));

        use_many(1);
        assert_true(fake_ring_interrupt_wanted(&ring, (uint16_t)at));
        use_many(1);
        assert_false(fake_ring_interrupt_wanted(&ring, (uint16_t)(at + 1)));
    }
}

static void given_each_index_when_enabled_after_n_then_interrupt_at_the_nth(void **state)
{
    /* Checks: SUP-USED-4 */
    (void)state;
    for (uint32_t at = 0; at <= UINT16_MAX; at++) {
        unsigned n = at % 8 + 1;
        stand_at((uint16_t)at);
        add_many(8);
        virtqueue_publish(&vq);

        assert_false(virtqueue_enable_callbacks_after(&vq, (uint16_t)n));

        use_many(n - 1);
        assert_false(fake_ring_interrupt_wanted(&ring, (uint16_t)at));
        use_many(1);
        assert_true(fake_ring_interrupt_wanted(&ring, (uint16_t)(at + n - 1)));
    }
}

static void given_n_out_of_range_when_enabled_after_then_it_means_the_nearest(void **state)
{
    (void)state;
    static const struct {
        unsigned with_device;
        uint16_t asked;
        unsigned meant;
    } cases[] = {{3, 0, 1}, {3, 3, 3}, {3, 4, 3}, {3, 65535, 3}, {0, 0, 1}, {0, 7, 1}};

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        stand_at(65534);
        add_many(cases[i].with_device);
        virtqueue_publish(&vq);
        add_one(cookies); /* not with the device, so it is not waited for */

        assert_false(virtqueue_enable_callbacks_after(&vq, cases[i].asked));

        assert_int_equal(fake_ring_used_event(&ring), (65534 + cases[i].meant - 1) & 0xFFFF);
    }
}

static void given_used_chains_when_enabled_then_said_at_once(void **state)
{
    (void)state;
    for (unsigned features = 0; features < 2; features++) {
        for (unsigned n_there = 0; n_there <= 4; n_there++) {
            free_queue();
            make_queue_with(8, features ? EVENT_IDX : 0);
            add_many(4);
            virtqueue_publish(&vq);
            use_many(n_there);

            assert_int_equal(virtqueue_enable_callbacks(&vq), n_there >= 1);
            for (uint16_t n = 1; n <= 4; n++)
                assert_int_equal(virtqueue_enable_callbacks_after(&vq, n), n_there >= n);
        }
    }
}

static void given_chain_announced_but_not_popped_when_enabled_then_said_at_once(void **state)
{
    (void)state;
    add_many(3);
    virtqueue_publish(&vq);
    use_many(3);
    assert_pops(&cookies[0], 0);
    /* A device that takes idx back does not make us forget what it announced. */
    fake_ring_set_used_idx(&ring, 1);

    assert_true(virtqueue_enable_callbacks(&vq));
    assert_true(virtqueue_enable_callbacks_after(&vq, 2));
    assert_true(virtqueue_enable_callbacks_after(&vq, 3)); /* all that are with the device */
    assert_true(virtqueue_has_used(&vq));
}

/* The device uses a chain at the very moment in which the driver asks for an interrupt. */
struct late_device {
    const void *wish; /* the word by which the driver asks */
    bool used;
};

static void use_before_wish_is_seen(void *context, enum vio_mem_access access, const void *where)
{
    struct late_device *device = context;

    if (access != VIO_MEM_STORE16 || where != device->wish || device->used)
        return;
    device->used = true;
    fake_ring_return(&ring, take_head(), 0);
}

static void given_chain_used_while_enabling_when_looked_then_not_lost(void **state)
{
    /* Checks: X-SUP-1 */
    (void)state;
    for (unsigned features = 0; features < 2; features++) {
        free_queue();
        make_queue_with(8, features ? EVENT_IDX : 0);
        add_one(&cookies[0]);
        virtqueue_publish(&vq);
        struct late_device device = {
            .wish = features ? (const void *)&fake_ring_avail(&ring)->ring[8]
                             : (const void *)&fake_ring_avail(&ring)->flags,
        };
        fake_memory_before_access(use_before_wish_is_seen, &device);

        bool there = virtqueue_enable_callbacks(&vq);

        fake_memory_before_access(NULL, NULL);
        assert_true(device.used);
        assert_true(there);
    }
}

static void given_enabled_when_looked_then_full_barrier_between_wish_and_look(void **state)
{
    /* Checks: X-SUP-1 */
    (void)state;
    for (unsigned features = 0; features < 2; features++) {
        free_queue();
        make_queue_with(8, features ? EVENT_IDX : 0);
        const void *wish = features ? (const void *)&fake_ring_avail(&ring)->ring[8]
                                    : (const void *)&fake_ring_avail(&ring)->flags;
        fake_log_start();

        (void)virtqueue_enable_callbacks_after(&vq, 2);

        size_t store = fake_log_find_access(FAKE_STORE, wish, 0);
        size_t barrier = fake_log_find(FAKE_MB, 0);
        size_t load = fake_log_find_access(FAKE_LOAD, &fake_ring_used(&ring)->idx, 0);
        assert_true(store < barrier && barrier < load && load != FAKE_LOG_NONE);
        assert_int_equal(fake_log_length(), 3);
        fake_log_stop();
    }
}

/* A driver that never sleeps, over so many chains that an old event would come round twice. */
static void given_disabled_when_polled_past_65536_then_no_interrupt_wanted(void **state)
{
    /* Checks: SUP-USED-4 */
    (void)state;
    unsigned wanted = 0;

    (void)virtqueue_enable_callbacks(&vq);
    virtqueue_disable_callbacks(&vq);
    for (uint32_t i = 0; i < 200000; i += 8) {
        add_many(8);
        virtqueue_publish(&vq);
        uint16_t before = ring.used_idx;
        use_many(8);
        wanted += fake_ring_interrupt_wanted(&ring, before);
        pop_all();
    }

    assert_int_equal(wanted, 0);
}

static void given_disabled_when_polled_past_65536_then_event_seldom_written(void **state)
{
    (void)state;
    fake_log_start();
    for (uint32_t i = 0; i < 65536; i += 8) {
        add_many(8);
        virtqueue_publish(&vq);
        use_many(8);
        pop_all();
    }

    assert_in_range(fake_log_count_accesses(FAKE_STORE, &fake_ring_avail(&ring)->ring[8]), 1, 4);
}

static void given_enabled_when_polled_on_then_the_wish_is_not_moved(void **state)
{
    (void)state;
    add_many(8);
    virtqueue_publish(&vq);
    assert_false(virtqueue_enable_callbacks_after(&vq, 8));
    uint16_t event = fake_ring_used_event(&ring);

    use_many(4);
    pop_all();

    assert_int_equal(fake_ring_used_event(&ring), event);
}

static void given_largest_queue_when_polled_past_65536_then_no_interrupt_wanted(void **state)
{
    (void)state;
    unsigned wanted = 0;

    free_queue();
    make_queue_with(VIRTQUEUE_SIZE_MAX, EVENT_IDX);
    for (uint32_t round = 0; round < 40; round++) {
        add_many(VIRTQUEUE_SIZE_MAX);
        virtqueue_publish(&vq);
        uint16_t before = ring.used_idx;
        use_many(VIRTQUEUE_SIZE_MAX);
        wanted += fake_ring_interrupt_wanted(&ring, before);
        /* Said again in the middle of what is there: the event must not fall behind. */
        for (uint32_t i = 0; i < round % 20 * (VIRTQUEUE_SIZE_MAX / 20) + 1; i++)
            assert_pops(&cookies[i], 0);
        if (round < 20)
            virtqueue_disable_callbacks(&vq);
        pop_all();
    }

    assert_int_equal(wanted, 0);
}

/* --- Barriers of a device behind a bus -------------------------------------------------------- */

static void given_order_platform_when_used_then_every_barrier_is_device_grade(void **state)
{
    /* Checks: RSVD-8 */
    (void)state;
    free_queue();
    make_queue_with(8, VIO_FEATURE(VIRTIO_F_ORDER_PLATFORM));
    fake_log_start();

    fake_ring_return(&ring, give_one(&cookies[0]), 0);
    assert_true(virtqueue_notify(&vq));
    assert_pops(&cookies[0], 0);
    assert_false(virtqueue_enable_callbacks(&vq));

    assert_int_equal(fake_log_count(FAKE_DEVICE_WMB), 1);
    assert_int_equal(fake_log_count(FAKE_DEVICE_RMB), 1);
    assert_int_equal(fake_log_count(FAKE_DEVICE_MB), 2);
    assert_int_equal(fake_log_count(FAKE_WMB) + fake_log_count(FAKE_RMB) + fake_log_count(FAKE_MB),
                     0);
}

static void given_no_order_platform_when_used_then_no_barrier_is_device_grade(void **state)
{
    /* Checks: RSVD-8 */
    (void)state;
    fake_log_start();

    fake_ring_return(&ring, give_one(&cookies[0]), 0);
    assert_true(virtqueue_notify(&vq));
    assert_pops(&cookies[0], 0);
    assert_false(virtqueue_enable_callbacks(&vq));

    assert_int_equal(fake_log_count(FAKE_WMB), 1);
    assert_int_equal(fake_log_count(FAKE_RMB), 1);
    assert_int_equal(fake_log_count(FAKE_MB), 2);
    assert_int_equal(fake_log_count(FAKE_DEVICE_WMB) + fake_log_count(FAKE_DEVICE_RMB) +
                         fake_log_count(FAKE_DEVICE_MB),
                     0);
}

/* --- What a notification carries -------------------------------------------------------------- */

static void
given_each_publication_when_notified_then_transport_is_told_the_published_idx(void **state)
{
    /* Checks: X-NOTIF-1 */
    (void)state;
    static const uint16_t starts[] = {0, 0x7FFE, 0x7FFF, 0x8000, 0xFFFD, 0xFFFE, 0xFFFF};

    for (unsigned i = 0; i < ARRAY_LENGTH(starts); i++) {
        stand_at(starts[i]);
        fake_ring_set_avail_event(&ring, starts[i]);
        add_many(2);
        virtqueue_publish(&vq);
        add_one(&cookies[2]); /* not published, so not told */

        assert_true(virtqueue_notify(&vq));

        assert_int_equal(transport.notified_avail_idx, (uint16_t)(starts[i] + 2));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, queue_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_each_index_when_batch_published_then_notified_iff_event_is_in_it),
        TEST(given_far_event_when_published_then_not_notified),
        TEST(given_event_idx_when_no_notify_flag_set_then_it_means_nothing),
        TEST(given_event_idx_when_notified_then_full_barrier_before_the_event_is_read),
        TEST(given_batches_when_published_one_by_one_then_all_count_for_the_decision),
        TEST(given_65536_chains_unnotified_when_notified_then_not_taken_for_none),
        TEST(given_event_idx_when_callbacks_switched_then_flags_stay_0),
        TEST(given_each_index_when_enabled_then_interrupt_at_the_next_used_chain_only),
        TEST(given_each_index_when_enabled_after_n_then_interrupt_at_the_nth),
        TEST(given_n_out_of_range_when_enabled_after_then_it_means_the_nearest),
        TEST(given_used_chains_when_enabled_then_said_at_once),
        TEST(given_chain_announced_but_not_popped_when_enabled_then_said_at_once),
        TEST(given_chain_used_while_enabling_when_looked_then_not_lost),
        TEST(given_enabled_when_looked_then_full_barrier_between_wish_and_look),
        TEST(given_disabled_when_polled_past_65536_then_no_interrupt_wanted),
        TEST(given_disabled_when_polled_past_65536_then_event_seldom_written),
        TEST(given_enabled_when_polled_on_then_the_wish_is_not_moved),
        TEST(given_largest_queue_when_polled_past_65536_then_no_interrupt_wanted),
        TEST(given_order_platform_when_used_then_every_barrier_is_device_grade),
        TEST(given_no_order_platform_when_used_then_no_barrier_is_device_grade),
        TEST(given_each_publication_when_notified_then_transport_is_told_the_published_idx),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
