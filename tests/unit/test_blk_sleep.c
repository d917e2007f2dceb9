/*
 * Blocking calls that sleep: when they do, what that costs in interrupts, and that none is missed. Time
 * passes in steps here, in wait() and in sleep(); the device answers one request each latency_us, and a
 * sleep ends by an interrupt or by the tick of a timer.
 */

#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

#define TICK_US    10000u
#define STEP_US    10u
#define SLOW_US    1000u /* more than a call spins */
#define FAST_US    (BLK_SPIN_LIMIT_US / 2)
#define READS      100000u
#define QUIRK_EACH 16u /* of so many interrupts about one each is delayed, doubled or dropped */

/* What becomes of an interrupt. */
enum quirk {
    QUIRK_NONE,
    QUIRK_DELAYED,
    QUIRK_DOUBLED,
    QUIRK_DROPPED,
};

/* Interrupts between the device and the processor, and the time of both. */
static struct {
    uint64_t opened_us;
    uint64_t latency_us;
    uint64_t next_answer_us;
    bool is_pending;
    uint64_t due_us;  /* of the pending one */
    bool comes_again; /* after it was taken */
    enum quirk quirk; /* of each interrupt; QUIRK_NONE: at random where quirks are */
    bool is_random;
    uint64_t random;
    unsigned n_dropped;
    unsigned n_woken_by_tick;
} line;

static enum quirk next_quirk(void)
{
    if (!line.is_random)
        return line.quirk;
    uint64_t chance = test_random(&line.random) % QUIRK_EACH;
    return chance <= QUIRK_DROPPED ? (enum quirk)chance : QUIRK_NONE;
}

static void raise_interrupt(struct fake_blk_device *device)
{
    enum quirk quirk = next_quirk();

    (void)device;
    if (quirk == QUIRK_DROPPED) {
        line.n_dropped++;
        return;
    }
    line.due_us = machine.now_us + (quirk == QUIRK_DELAYED ? 7 * STEP_US : 0);
    line.comes_again = quirk == QUIRK_DOUBLED;
    line.is_pending = true;
}

static bool take_interrupt(void)
{
    if (!line.is_pending || machine.now_us < line.due_us)
        return false;
    line.is_pending = line.comes_again;
    line.comes_again = false;
    return true;
}

static void let_device_work(void)
{
    if (!disk.transport.queues[0].enabled || machine.now_us < line.next_answer_us)
        return;
    fake_blk_device_serve(&disk, 1);
    line.next_answer_us = machine.now_us + line.latency_us;
}

static void on_wait(void *context)
{
    (void)context;
    let_device_work();
}

static void on_sleep(void *context)
{
    uint64_t tick_us = machine.now_us - machine.now_us % TICK_US + TICK_US;

    (void)context;
    while (!take_interrupt()) {
        if (machine.now_us >= tick_us) {
            line.n_woken_by_tick++;
            return;
        }
        machine.now_us += STEP_US;
        let_device_work();
    }
    machine.slept_interrupt = true;
}

static int sleep_set_up(void **state)
{
    int result = disk_set_up(state);

    memset(&line, 0, sizeof(line));
    line.latency_us = SLOW_US;
    line.random = 1;
    machine.can_sleep = true;
    machine.wait_us = 1;
    machine.on_wait = on_wait;
    machine.on_sleep = on_sleep;
    machine.platform.interrupts.n_vectors = 2;
    disk.transport.vectors = 3;
    disk.delay_waits = NEVER_BY_ITSELF;
    disk.on_interrupt = raise_interrupt;
    offer(VIRTIO_F_EVENT_IDX);
    return result;
}

static void open_sleeping_disk(void)
{
    open_disk();
    line.opened_us = machine.now_us;
    line.next_answer_us = machine.now_us + line.latency_us;
}

static uint64_t passed_us(void)
{
    return machine.now_us - line.opened_us;
}

static void read_one(void)
{
    line.next_answer_us = machine.now_us + line.latency_us;
    assert_int_equal(virtio_blk_read(&blk, 3, buffer + 3 * SECTOR, SECTOR), VIO_OK);
    assert_was_read(3, 1);
}

/* A read whose requests are small, so that there are many. */
static void read_many(uint64_t n_requests)
{
    assert_int_equal(virtio_blk_read(&blk, 0, buffer, n_requests * SECTOR), VIO_OK);
    assert_was_read(0, n_requests);
}

static void make_requests_small(void)
{
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, SECTOR);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 1);
}

/* --- When ------------------------------------------------------------------------------------- */

static void given_slow_disk_when_read_then_one_sleep_and_one_interrupt(void **state)
{
    (void)state;
    open_sleeping_disk();

    read_one();

    assert_int_equal(blk.counters.sleeps, 1);
    assert_int_equal(disk.n_interrupts, 1);
    assert_int_equal(line.n_woken_by_tick, 0);
    assert_true(passed_us() < 2 * SLOW_US);
    close_disk();
}

static void given_sleeps_that_answers_end_when_read_then_no_look_at_the_status(void **state)
{
    (void)state;
    open_sleeping_disk();
    fake_log_start();

    for (unsigned i = 0; i < 10; i++)
        read_one();

    assert_true(fake_log_find(FAKE_SLEEP, 0) != FAKE_LOG_NONE);
    assert_true(fake_log_find(FAKE_STATUS_READ, 0) == FAKE_LOG_NONE);
    close_disk();
}

static void given_slow_disk_when_read_then_it_spins_first_and_not_for_long(void **state)
{
    (void)state;
    open_sleeping_disk();
    unsigned waits = machine.waits;

    read_one();

    assert_in_range(machine.waits - waits, BLK_SPIN_LIMIT_US / 4, 2 * BLK_SPIN_LIMIT_US);
    close_disk();
}

static void given_disk_that_stays_slow_when_read_then_it_spins_no_more(void **state)
{
    (void)state;
    open_sleeping_disk();
    for (unsigned i = 0; i < 4; i++)
        read_one();
    unsigned waits = machine.waits;

    for (unsigned i = 0; i < 100; i++)
        read_one();

    assert_int_equal(machine.waits, waits);
    assert_int_equal(disk.n_interrupts, 104); /* and some of the sleeps end by the tick */
    close_disk();
}

static void given_disk_that_gets_fast_when_read_then_it_spins_again(void **state)
{
    (void)state;
    open_sleeping_disk();
    for (unsigned i = 0; i < 10; i++)
        read_one();
    line.latency_us = FAST_US;
    read_one();
    assert_int_equal(disk.n_interrupts, 11);

    for (unsigned i = 0; i < 100; i++)
        read_one();

    assert_int_equal(disk.n_interrupts, 11);
    close_disk();
}

static void given_disk_that_is_slow_at_times_when_read_then_it_goes_on_spinning(void **state)
{
    (void)state;
    open_sleeping_disk();

    for (unsigned i = 0; i < 20; i++) {
        line.latency_us = i % 2 ? FAST_US : SLOW_US;
        read_one();
    }

    assert_int_equal(disk.n_interrupts, 10);
    close_disk();
}

static void given_fast_disk_when_read_then_no_sleep_and_no_interrupt(void **state)
{
    /* Checks: SUP-USED-2 */
    (void)state;
    for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
        new_disk(DISK_SECTORS);
        assert_int_equal(disk_tear_down(state), 0);
        assert_int_equal(sleep_set_up(state), 0);
        if (!event_idx)
            disk.transport.offered &= ~VIO_FEATURE(VIRTIO_F_EVENT_IDX);
        line.latency_us = FAST_US;
        open_sleeping_disk();

        for (unsigned i = 0; i < 1000; i++)
            read_one();

        assert_int_equal(blk.counters.sleeps, 0);
        assert_int_equal(disk.n_interrupts, 0);
        close_disk();
    }
}

static void given_answer_before_the_interrupt_is_asked_for_when_read_then_no_sleep(void **state)
{
    (void)state;
    disk.delay_waits = 0; /* it is there before the notification is over */
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    unsigned waits = machine.waits;

    read_one();

    assert_int_equal(machine.sleeps, 0);
    assert_int_equal(machine.waits, waits);
    assert_int_equal(disk.n_interrupts, 0);
    close_disk();
}

static void given_no_spinning_when_read_then_it_sleeps_at_once(void **state)
{
    (void)state;
    line.latency_us = FAST_US;
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    unsigned waits = machine.waits;

    read_one();

    assert_int_equal(blk.counters.sleeps, 1);
    assert_int_equal(machine.waits, waits);
    close_disk();
}

static void assert_polls(void)
{
    open_sleeping_disk();
    blk.may_sleep = machine.platform.interrupts.n_vectors == 0 || !machine.can_sleep;
    unsigned sleeps = machine.sleeps;

    read_one();

    assert_int_equal(machine.sleeps, sleeps);
    assert_int_equal(blk.counters.sleeps, 0);
    assert_int_equal(line.n_woken_by_tick, 0);
    close_disk();
}

static void given_no_vectors_when_read_then_polled(void **state)
{
    (void)state;
    machine.platform.interrupts.n_vectors = 0;
    assert_polls();
    assert_int_equal(disk.n_interrupts, 0);
}

static void given_refused_vectors_when_read_then_polled(void **state)
{
    /* Checks: PCI-MSIX-6 */
    (void)state;
    disk.transport.vectors_refused = UINT64_MAX;
    open_sleeping_disk();

    read_one();

    assert_int_equal(blk.device.interrupt_use, VIO_POLLED);
    assert_int_equal(machine.sleeps, 0);
    close_disk();
}

static void given_no_leave_to_sleep_when_read_then_polled(void **state)
{
    (void)state;
    assert_polls();
    assert_int_equal(disk.n_interrupts, 0);
}

static void given_platform_that_cannot_sleep_now_when_read_then_polled(void **state)
{
    (void)state;
    machine.can_sleep = false;
    assert_polls();
    assert_int_equal(disk.n_interrupts, 0);
}

static void given_a_line_when_read_then_it_sleeps(void **state)
{
    (void)state;
    machine.platform.interrupts = (struct vio_interrupts){.has_line = true};
    open_sleeping_disk();

    read_one();

    assert_int_equal(blk.device.interrupt_use, VIO_LINE);
    assert_int_equal(blk.counters.sleeps, 1);
    close_disk();
}

/* --- What it costs ---------------------------------------------------------------------------- */

static void given_many_requests_when_read_then_one_interrupt_a_sleep(void **state)
{
    (void)state;
    make_requests_small();
    line.latency_us = STEP_US;
    open_sleeping_disk();
    blk.spin_limit_us = 0;

    read_many(32);

    assert_int_equal(disk.n_requests, 32);
    assert_int_equal(blk.counters.sleeps, 1);
    assert_int_equal(disk.n_interrupts, 1);
    assert_true(passed_us() <= 33 * STEP_US + TICK_US / 10);
    close_disk();
}

static void given_more_requests_than_fit_when_read_then_the_device_does_not_run_dry(void **state)
{
    (void)state;
    make_requests_small();
    line.latency_us = STEP_US;
    open_sleeping_disk();
    blk.spin_limit_us = 0;

    read_many(1000);

    assert_true(disk.n_interrupts <= blk.counters.sleeps);
    assert_true(blk.counters.sleeps * 4 <= disk.n_requests);
    /* An answer each step, and no step without one but for the last sleeps. */
    assert_true(passed_us() <= 1000 * STEP_US + TICK_US);
    close_disk();
}

static void given_several_queues_when_read_then_one_is_asked_at_a_time(void **state)
{
    (void)state;
    make_requests_small();
    offer_queues(4, 16);
    machine.platform.interrupts.n_vectors = 5;
    disk.transport.vectors = 0x1F;
    line.latency_us = STEP_US;
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    assert_int_equal(blk.info.n_queues, 4);

    read_many(16);

    assert_true(disk.n_interrupts <= blk.counters.sleeps);
    assert_in_range(blk.counters.sleeps, 1, 4);
    close_disk();
}

static void given_older_reads_in_another_queue_when_read_then_woken_by_its_own_answer(void **state)
{
    (void)state;
    offer_queues(2, 16);
    machine.platform.interrupts.n_vectors = 3;
    disk.transport.vectors = 7;
    disk.order = FAKE_BLK_REVERSED;
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    submit_reads(0, 1);
    virtio_blk_publish(&blk);

    read_one();

    assert_false(transfers[0].done);
    assert_int_equal(blk.counters.sleeps, 1);
    assert_int_equal(disk.n_interrupts, 1);
    assert_int_equal(line.n_woken_by_tick, 0);
    serve_until_idle();
    close_disk();
}

static void given_reads_under_way_when_written_then_their_answers_wake_it(void **state)
{
    (void)state;
    line.latency_us = 4 * STEP_US; /* all that before the timer's first tick */
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    submit_reads(0, 8);
    virtio_blk_publish(&blk);

    assert_int_equal(virtio_blk_write(&blk, 100, buffer, SECTOR), VIO_OK);

    assert_int_equal(count_done(8), 8);
    assert_int_equal(disk.requests[8].n_before, 0);
    /* At half of what is in flight: of 8, 4, 2 and 1 reads, and then of the write. */
    assert_int_equal(blk.counters.sleeps, 5);
    assert_int_equal(disk.n_interrupts, 5);
    assert_int_equal(line.n_woken_by_tick, 0);
    close_disk();
}

static void given_no_event_idx_when_slept_then_interrupts_are_declined_again(void **state)
{
    /* Checks: SUP-USED-2 */
    (void)state;
    disk.transport.offered &= ~VIO_FEATURE(VIRTIO_F_EVENT_IDX);
    open_sleeping_disk();
    read_one();
    assert_int_equal(disk.n_interrupts, 1);

    submit_reads(0, 8);
    virtio_blk_publish(&blk);
    fake_blk_device_serve_all(&disk);

    assert_int_equal(disk.n_interrupts, 1);
    serve_until_idle();
    close_disk();
}

/* --- Who is woken elsewhere ------------------------------------------------------------------- */

static void given_requests_when_asked_for_an_interrupt_then_it_comes_at_half_of_them(void **state)
{
    (void)state;
    open_sleeping_disk();
    submit_reads(0, 32);
    virtio_blk_publish(&blk);

    assert_false(virtio_blk_ask_interrupt(&blk));

    fake_blk_device_serve(&disk, 15);
    assert_int_equal(disk.n_interrupts, 0);
    fake_blk_device_serve(&disk, 1);
    assert_int_equal(disk.n_interrupts, 1);
    assert_true(virtio_blk_ask_interrupt(&blk));
    serve_until_idle();
    close_disk();
}

static void given_interrupt_asked_for_when_polled_then_it_is_declined(void **state)
{
    (void)state;
    for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
        assert_int_equal(disk_tear_down(state), 0);
        assert_int_equal(sleep_set_up(state), 0);
        if (!event_idx)
            disk.transport.offered &= ~VIO_FEATURE(VIRTIO_F_EVENT_IDX);
        open_sleeping_disk();
        submit_reads(0, 32);
        virtio_blk_publish(&blk);
        assert_false(virtio_blk_ask_interrupt(&blk));

        assert_int_equal(virtio_blk_poll(&blk), 0);

        fake_blk_device_serve_all(&disk);
        assert_int_equal(disk.n_interrupts, 0);
        serve_until_idle();
        close_disk();
    }
}

static void given_nothing_in_flight_when_asked_for_an_interrupt_then_none_will_come(void **state)
{
    (void)state;
    open_sleeping_disk();

    assert_true(virtio_blk_ask_interrupt(&blk));

    close_disk();
}

/* --- What goes wrong -------------------------------------------------------------------------- */

static void given_dropped_interrupt_when_read_then_at_most_a_tick_is_lost(void **state)
{
    (void)state;
    line.quirk = QUIRK_DROPPED;
    open_sleeping_disk();

    read_one();

    assert_int_equal(line.n_woken_by_tick, 1);
    assert_true(passed_us() <= SLOW_US + TICK_US);
    close_disk();
}

static void given_interrupts_that_never_come_when_read_then_polled_in_the_end(void **state)
{
    (void)state;
    line.quirk = QUIRK_DROPPED;
    open_sleeping_disk();
    for (unsigned i = 0; i < 7; i++)
        read_one();
    assert_int_equal(blk.device.interrupt_use, VIO_OWN_VECTORS);
    read_one();
    assert_int_equal(blk.device.interrupt_use, VIO_POLLED);
    uint64_t start_us = machine.now_us;

    for (unsigned i = 0; i < 10; i++)
        read_one();

    assert_true(machine.now_us - start_us < 10 * 2 * SLOW_US);
    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);
    assert_int_equal(blk.device.interrupt_use, VIO_OWN_VECTORS);
    close_disk();
}

/* The tick finds answers, but not yet the one that is to raise the interrupt. */
static void given_answers_before_the_one_asked_for_when_ticks_come_then_none_is_missed(void **state)
{
    (void)state;
    make_requests_small();
    open_sleeping_disk();

    read_many(400);

    assert_int_equal(blk.device.interrupt_use, VIO_OWN_VECTORS);
    assert_true(line.n_woken_by_tick > 20);
    assert_true(disk.n_interrupts > 0);
    close_disk();
}

static void given_write_behind_reads_when_waited_for_then_it_sleeps_for_them(void **state)
{
    (void)state;
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    submit_reads(0, 8);

    assert_int_equal(virtio_blk_write(&blk, 100, buffer, SECTOR), VIO_OK);

    assert_int_equal(count_done(8), 8);
    assert_in_range(disk.n_interrupts, 2, 8);
    assert_true(passed_us() < 9 * SLOW_US + TICK_US);
    close_disk();
}

/* Others' answers come before: no interrupt is asked for by those that alone are waited for. */
static void
given_others_in_flight_when_one_read_is_waited_for_then_its_answers_are_asked_for(void **state)
{
    (void)state;
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    submit_reads(0, 8);
    submit(8, VIRTIO_BLK_READ, 8, 1);

    assert_int_equal(virtio_blk_wait(&blk, &transfers[8]), VIO_OK);

    /* The first answers are those of others: each asks for one, which is what the read has. */
    assert_in_range(disk.n_interrupts, 1, 9);
    assert_int_equal(blk.n_asked, 1);
    close_disk();
}

static void given_fewer_vectors_than_queues_when_opened_then_all_share_one(void **state)
{
    /* Checks: PCI-MSIX-4 */
    (void)state;
    make_requests_small();
    offer_queues(4, 16);
    disk.transport.vectors = 3;
    open_sleeping_disk();

    assert_int_equal(blk.info.n_queues, 4);
    assert_int_equal(blk.device.interrupt_use, VIO_SHARED_VECTOR);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(disk.transport.queues[i].vector, 0);
    read_many(16);
    close_disk();
}

static void given_one_queue_asked_when_another_is_then_the_first_is_declined(void **state)
{
    (void)state;
    make_requests_small();
    offer_queues(2, 16);
    disk.transport.offered &= ~VIO_FEATURE(VIRTIO_F_EVENT_IDX);
    machine.platform.interrupts.n_vectors = 3;
    disk.transport.vectors = 7;
    disk.order = FAKE_BLK_REVERSED; /* what is in the first queue comes last */
    open_sleeping_disk();
    submit_reads(0, 8);
    virtio_blk_publish(&blk);
    assert_false(virtio_blk_ask_interrupt(&blk));
    struct virtqueue *first = blk.asked;
    blk.spin_limit_us = 0;
    struct virtio_blk_transfer *other = NULL;
    for (const struct blk_slot *slot = blk.oldest; slot && !other; slot = slot->next) {
        if (&blk.queues[slot->queue] != first)
            other = slot->transfer;
    }
    assert_non_null(other);

    assert_int_equal(virtio_blk_wait(&blk, other), VIO_OK);

    unsigned n_interrupts = disk.n_interrupts;
    assert_true(count_done(8) < 6);
    serve_until_idle();
    assert_int_equal(disk.n_interrupts, n_interrupts);
    close_disk();
}

static void given_an_interrupt_now_and_then_when_read_then_it_goes_on_sleeping(void **state)
{
    (void)state;
    open_sleeping_disk();

    for (unsigned i = 0; i < 100; i++) {
        line.quirk = i % 8 ? QUIRK_DROPPED : QUIRK_NONE;
        read_one();
    }

    assert_int_equal(blk.device.interrupt_use, VIO_OWN_VECTORS);
    close_disk();
}

static void given_disk_slower_than_the_tick_when_read_then_it_goes_on_sleeping(void **state)
{
    (void)state;
    line.latency_us = 10 * TICK_US;
    open_sleeping_disk();

    for (unsigned i = 0; i < 10; i++)
        read_one();

    assert_int_equal(blk.device.interrupt_use, VIO_OWN_VECTORS);
    assert_int_equal(disk.n_interrupts, 10);
    close_disk();
}

static void given_interrupt_asked_for_when_reset_then_the_new_queues_are_left_alone(void **state)
{
    (void)state;
    make_requests_small();
    offer_queues(4, 16);
    machine.platform.interrupts.n_vectors = 5;
    disk.transport.vectors = 0x1F;
    open_sleeping_disk();
    submit_reads(0, 16);
    virtio_blk_publish(&blk);
    fake_blk_device_serve(&disk, 2);
    (void)virtio_blk_poll(&blk);
    assert_false(virtio_blk_ask_interrupt(&blk));

    assert_int_equal(virtio_blk_reset(&blk), VIO_OK);

    assert_null(blk.asked);
    close_disk();
}

static void given_interrupt_before_the_sleep_when_read_then_it_is_not_missed(void **state)
{
    (void)state;
    open_sleeping_disk();
    line.is_pending = true; /* left over: the sleep ends at once, and another one follows */

    read_one();

    assert_int_equal(blk.counters.sleeps, 2);
    assert_int_equal(line.n_woken_by_tick, 0);
    close_disk();
}

static void given_shut_down_disk_when_waited_for_then_gone_without_a_sleep(void **state)
{
    (void)state;
    open_sleeping_disk();
    blk.spin_limit_us = 0;
    submit_reads(0, 1);
    virtio_blk_publish(&blk);
    virtio_blk_shutdown(&blk);

    assert_true(virtio_blk_ask_interrupt(&blk));
    assert_int_equal(virtio_blk_wait(&blk, &transfers[0]), VIO_ERR_GONE);

    assert_int_equal(machine.sleeps, 0);
    close_disk();
}

static void need_reset(void *context)
{
    (void)context;
    disk.transport.status |= VIRTIO_STATUS_DEVICE_NEEDS_RESET;
    machine.now_us += STEP_US;
    machine.slept_config = true;
    machine.on_sleep = on_sleep;
}

static void given_configuration_interrupt_when_asleep_then_needs_reset_is_seen_at_once(void **state)
{
    /* Checks: PCI-INT-1 */
    (void)state;
    open_sleeping_disk();
    machine.slept_config = true;
    machine.on_sleep = need_reset;
    line.next_answer_us = machine.now_us + SLOW_US;

    assert_int_equal(virtio_blk_read(&blk, 3, buffer + 3 * SECTOR, SECTOR), VIO_OK);

    assert_int_equal(blk.counters.recoveries, 1);
    assert_was_read(3, 1);
    assert_true(passed_us() < 3 * SLOW_US);
    close_disk();
}

static void given_silent_disk_when_read_then_asleep_until_the_deadline_and_not_longer(void **state)
{
    (void)state;
    disk.lie = FAKE_BLK_NEVER;
    open_sleeping_disk();
    blk.request_limit_us = 1000000;

    assert_int_equal(virtio_blk_read(&blk, 3, buffer, SECTOR), VIO_ERR_TIMEOUT);

    /* Twice, for it is sent again. */
    assert_in_range(passed_us(), 2000000, 2000000 + 4 * TICK_US);
    assert_in_range(blk.counters.sleeps, 190, 210);
    close_disk();
}

/* --- Many reads, and interrupts that are not what they should be ------------------------------ */

static void read_at_random_depth(unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        submit(i, VIRTIO_BLK_READ, test_random(&line.random) % DISK_SECTORS, 1);
    for (unsigned i = 0; i < depth; i++) {
        assert_int_equal(virtio_blk_wait(&blk, &transfers[i]), VIO_OK);
        assert_was_read(transfers[i].sector, 1);
    }
}

static void stress(void **state, bool event_idx, unsigned n_queues, bool is_fast)
{
    unsigned n_reads = 0;

    assert_int_equal(disk_tear_down(state), 0);
    assert_int_equal(sleep_set_up(state), 0);
    if (!event_idx)
        disk.transport.offered &= ~VIO_FEATURE(VIRTIO_F_EVENT_IDX);
    if (n_queues > 1)
        offer_queues((uint16_t)n_queues, 32);
    machine.platform.interrupts.n_vectors = (uint16_t)(1 + n_queues);
    disk.transport.vectors = (UINT64_C(2) << n_queues) - 1;
    disk.order = FAKE_BLK_SHUFFLED;
    line.is_random = true;
    open_sleeping_disk();

    while (n_reads < READS / 4) {
        unsigned depth = 1 + (unsigned)(test_random(&line.random) % 64);
        line.latency_us = test_random(&line.random) % (is_fast ? FAST_US : 2 * BLK_SPIN_LIMIT_US);
        machine.waits = machine.sleeps = 0;
        disk.n_requests %= FAKE_BLK_RECORDS / 2; /* what is older is not looked at */
        uint64_t start_us = machine.now_us;
        unsigned n_dropped = line.n_dropped;

        read_at_random_depth(depth);

        n_reads += depth;
        /* Of each dropped interrupt a tick, of each delayed one a few steps, and the spinning. */
        uint64_t longest_us = depth * (line.latency_us + 10 * STEP_US + 2 * BLK_SPIN_LIMIT_US) +
                              (line.n_dropped - n_dropped) * TICK_US;
        assert_true(machine.now_us - start_us <= longest_us + STEP_US);
    }
    assert_true(line.n_dropped > 10);
    assert_int_equal(blk.counters.requests, n_reads);
    assert_int_equal(blk.counters.recoveries, 0);
    close_disk();
}

static void given_unreliable_interrupts_when_read_100000_times_then_all_come_once(void **state)
{
    /* A request that is answered twice breaks the queue, and one that never is ends the test. */
    stress(state, true, 1, false);
    stress(state, false, 1, false);
    stress(state, true, 4, false);
    stress(state, true, 1, true);
}

int main(void)
{
#define SLEEP_TEST(name) cmocka_unit_test_setup_teardown(name, sleep_set_up, disk_tear_down)
    const struct CMUnitTest tests[] = {
        SLEEP_TEST(given_slow_disk_when_read_then_one_sleep_and_one_interrupt),
        SLEEP_TEST(given_sleeps_that_answers_end_when_read_then_no_look_at_the_status),
        SLEEP_TEST(given_slow_disk_when_read_then_it_spins_first_and_not_for_long),
        SLEEP_TEST(given_disk_that_stays_slow_when_read_then_it_spins_no_more),
        SLEEP_TEST(given_disk_that_gets_fast_when_read_then_it_spins_again),
        SLEEP_TEST(given_disk_that_is_slow_at_times_when_read_then_it_goes_on_spinning),
        SLEEP_TEST(given_fast_disk_when_read_then_no_sleep_and_no_interrupt),
        SLEEP_TEST(given_answer_before_the_interrupt_is_asked_for_when_read_then_no_sleep),
        SLEEP_TEST(given_no_spinning_when_read_then_it_sleeps_at_once),
        SLEEP_TEST(given_no_vectors_when_read_then_polled),
        SLEEP_TEST(given_refused_vectors_when_read_then_polled),
        SLEEP_TEST(given_no_leave_to_sleep_when_read_then_polled),
        SLEEP_TEST(given_platform_that_cannot_sleep_now_when_read_then_polled),
        SLEEP_TEST(given_a_line_when_read_then_it_sleeps),
        SLEEP_TEST(given_many_requests_when_read_then_one_interrupt_a_sleep),
        SLEEP_TEST(given_more_requests_than_fit_when_read_then_the_device_does_not_run_dry),
        SLEEP_TEST(given_several_queues_when_read_then_one_is_asked_at_a_time),
        SLEEP_TEST(given_older_reads_in_another_queue_when_read_then_woken_by_its_own_answer),
        SLEEP_TEST(given_reads_under_way_when_written_then_their_answers_wake_it),
        SLEEP_TEST(given_no_event_idx_when_slept_then_interrupts_are_declined_again),
        SLEEP_TEST(given_requests_when_asked_for_an_interrupt_then_it_comes_at_half_of_them),
        SLEEP_TEST(given_interrupt_asked_for_when_polled_then_it_is_declined),
        SLEEP_TEST(given_nothing_in_flight_when_asked_for_an_interrupt_then_none_will_come),
        SLEEP_TEST(given_dropped_interrupt_when_read_then_at_most_a_tick_is_lost),
        SLEEP_TEST(given_interrupts_that_never_come_when_read_then_polled_in_the_end),
        SLEEP_TEST(given_answers_before_the_one_asked_for_when_ticks_come_then_none_is_missed),
        SLEEP_TEST(given_write_behind_reads_when_waited_for_then_it_sleeps_for_them),
        SLEEP_TEST(
            given_others_in_flight_when_one_read_is_waited_for_then_its_answers_are_asked_for),
        SLEEP_TEST(given_fewer_vectors_than_queues_when_opened_then_all_share_one),
        SLEEP_TEST(given_one_queue_asked_when_another_is_then_the_first_is_declined),
        SLEEP_TEST(given_an_interrupt_now_and_then_when_read_then_it_goes_on_sleeping),
        SLEEP_TEST(given_disk_slower_than_the_tick_when_read_then_it_goes_on_sleeping),
        SLEEP_TEST(given_interrupt_asked_for_when_reset_then_the_new_queues_are_left_alone),
        SLEEP_TEST(given_interrupt_before_the_sleep_when_read_then_it_is_not_missed),
        SLEEP_TEST(given_shut_down_disk_when_waited_for_then_gone_without_a_sleep),
        SLEEP_TEST(given_configuration_interrupt_when_asleep_then_needs_reset_is_seen_at_once),
        SLEEP_TEST(given_silent_disk_when_read_then_asleep_until_the_deadline_and_not_longer),
        SLEEP_TEST(given_unreliable_interrupts_when_read_100000_times_then_all_come_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
