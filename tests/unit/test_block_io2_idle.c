/* EFI_BLOCK_IO2_PROTOCOL while its caller waits in the firmware; and what level a call may sleep at. */

#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define DEPTH 32u

static int idle_set_up(void **state)
{
    int result = efi_disk_set_up(state);

    efi_disk.platform.platform.interrupts.n_vectors = 2;
    efi_disk.device.transport.vectors = 3;
    efi_disk.device.transport.offered |= VIO_FEATURE(VIRTIO_F_EVENT_IDX);
    return result;
}

static void start_reads(void)
{
    for (unsigned i = 0; i < DEPTH; i++)
        efi_disk_start_read(i, i, 1);
}

static void answer_half(void)
{
    assert_int_equal(efi_disk.device.n_interrupts, 0);
    fake_blk_device_serve(&efi_disk.device, DEPTH / 2 - 1);
    assert_int_equal(efi_disk.device.n_interrupts, 0);
    fake_blk_device_serve(&efi_disk.device, 1);
    assert_int_equal(efi_disk.device.n_interrupts, 1);
}

static void given_reads_outstanding_when_firmware_idles_then_woken_and_signalled(void **state)
{
    (void)state;
    efi_disk_open(true);
    start_reads();

    fake_uefi_idle(answer_half);

    for (unsigned i = 0; i < DEPTH / 2; i++)
        efi_assert_signalled(i, EFI_SUCCESS);
    efi_assert_outstanding(DEPTH / 2);
}

static void given_firmware_that_does_not_idle_when_answered_then_no_interrupt(void **state)
{
    /* Checks: SUP-USED-2 */
    (void)state;
    efi_disk_open(true);
    start_reads();

    efi_disk_answer();

    assert_int_equal(efi_disk.device.n_interrupts, 0);
    fake_uefi_tick();
    efi_assert_signalled(DEPTH - 1, EFI_SUCCESS);
}

static void given_nothing_outstanding_when_firmware_idles_then_nothing_happens(void **state)
{
    (void)state;
    efi_disk_open(true);

    fake_uefi_idle(NULL);

    assert_int_equal(efi_disk.device.n_requests, 0);
    assert_int_equal(efi_disk.device.n_interrupts, 0);
}

static void given_polled_disk_when_opened_then_the_firmware_is_not_asked(void **state)
{
    (void)state;
    efi_disk.platform.platform.interrupts.n_vectors = 0;
    efi_disk_open(true);
    start_reads();

    fake_uefi_idle(efi_disk_answer);

    assert_int_equal(efi_disk.device.n_interrupts, 0);
    efi_assert_outstanding(0);
}

static void given_no_idle_events_when_opened_then_the_timer_serves(void **state)
{
    (void)state;
    fake_uefi_fail_event = 3; /* behind the timer's and the batch's */
    efi_disk_open(true);
    start_reads();

    fake_uefi_idle(efi_disk_answer);
    fake_uefi_tick();

    efi_assert_signalled(0, EFI_SUCCESS);
}

static void given_closed_disk_when_firmware_idles_then_nothing_of_ours_runs(void **state)
{
    (void)state;
    efi_disk_open(true);
    start_reads();
    efi_disk_close();

    fake_uefi_idle(NULL); /* an event that is left would look into what is gone */

    assert_int_equal(efi_disk.device.n_interrupts, 0);
}

/* --- Levels ----------------------------------------------------------------------------------- */

static void given_each_level_when_read_then_it_sleeps_below_notify_only(void **state)
{
    static const EFI_TPL levels[] = {TPL_APPLICATION, TPL_CALLBACK, TPL_NOTIFY};

    (void)state;
    efi_disk.platform.can_sleep = true;
    efi_disk.platform.on_sleep = efi_disk.platform.on_wait;
    efi_disk.platform.on_sleep_context = efi_disk.platform.on_wait_context;
    efi_disk_open(true);
    efi_disk.blk.spin_limit_us = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(levels); i++) {
        uint64_t sleeps = efi_disk.blk.counters.sleeps;
        EFI_TPL old = BS->RaiseTPL(levels[i]);

        assert_int_equal(efi_disk_read_block(1000 - 200 * i), EFI_SUCCESS);

        BS->RestoreTPL(old);
        assert_int_equal(efi_disk.blk.counters.sleeps > sleeps, levels[i] < TPL_NOTIFY);
    }
}

int main(void)
{
#define IDLE_TEST(name) cmocka_unit_test_setup_teardown(name, idle_set_up, efi_disk_tear_down)
    const struct CMUnitTest tests[] = {
        IDLE_TEST(given_reads_outstanding_when_firmware_idles_then_woken_and_signalled),
        IDLE_TEST(given_firmware_that_does_not_idle_when_answered_then_no_interrupt),
        IDLE_TEST(given_nothing_outstanding_when_firmware_idles_then_nothing_happens),
        IDLE_TEST(given_polled_disk_when_opened_then_the_firmware_is_not_asked),
        IDLE_TEST(given_no_idle_events_when_opened_then_the_timer_serves),
        IDLE_TEST(given_closed_disk_when_firmware_idles_then_nothing_of_ours_runs),
        IDLE_TEST(given_each_level_when_read_then_it_sleeps_below_notify_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
