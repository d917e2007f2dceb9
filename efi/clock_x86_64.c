/* Contract and terms: efi/clock.h. The time stamp counter: boot services have no clock as fine. */

#include "efi/clock.h"

#include "efi/uefi.h"

#define CLOCK_SAMPLES   8u
#define CLOCK_SAMPLE_US 1000u

static uint64_t clock_start;
static uint64_t clock_ticks_per_us = 1;

static uint64_t clock_read_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

void clock_init(void)
{
    uint64_t shortest = UINT64_MAX;

    /* A processor that is taken away meanwhile makes a sample longer; nothing makes one shorter. */
    for (unsigned i = 0; i < CLOCK_SAMPLES; i++) {
        clock_start = clock_read_tsc();
        (void)BS->Stall(CLOCK_SAMPLE_US); /* it only ever waits */
        uint64_t ticks = clock_read_tsc() - clock_start;
        if (ticks < shortest)
            shortest = ticks;
    }
    clock_ticks_per_us = shortest >= CLOCK_SAMPLE_US ? shortest / CLOCK_SAMPLE_US : 1;
}

uint64_t clock_now_us(void)
{
    return (clock_read_tsc() - clock_start) / clock_ticks_per_us;
}

void clock_relax(void)
{
    __asm__ volatile(".rept 16\n\tpause\n\t.endr");
}
