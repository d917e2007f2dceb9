/** @file
 * efi/clock_x86_64.c against the host's clock, with a Stall() that is nearly always late.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

/* The fakes have a clock of their own, so the real one does not come from the library. */
#include "efi/clock_x86_64.c"

#define LATE_FACTOR 20u

static unsigned n_stalls;
static unsigned in_time_stall; /* the one of all that takes no longer than it should */

EFI_BOOT_SERVICES *BS;

static uint64_t host_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void host_wait(uint64_t us)
{
    uint64_t start = host_now_us();

    while (host_now_us() - start < us)
        continue;
}

static EFI_STATUS EFIAPI stall(UINTN us)
{
    host_wait(n_stalls++ == in_time_stall ? us : us * LATE_FACTOR);
    return EFI_SUCCESS;
}

/* Both clocks go on while something else runs here, but the sample in time may be late as well. */
static void given_processor_taken_away_when_calibrated_then_time_is_right(void **state)
{
    static EFI_BOOT_SERVICES services = {.Stall = stall};
    uint64_t told = 0, was = 1;

    (void)state;
    BS = &services;
    for (unsigned attempt = 0; attempt < 16 && told * 10 < was * 9; attempt++) {
        n_stalls = 0;
        in_time_stall = 1 + attempt % (CLOCK_SAMPLES - 2); /* neither the first nor the last */
        clock_init();
        uint64_t host_start = host_now_us(), start = clock_now_us();
        host_wait(20000);
        told = clock_now_us() - start;
        was = host_now_us() - host_start;
    }

    assert_true(told * 10 >= was * 9);
    assert_true(told * 10 <= was * 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_processor_taken_away_when_calibrated_then_time_is_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
