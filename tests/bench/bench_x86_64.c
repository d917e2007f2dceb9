/* Contract and terms: tests/bench/bench.h. */

#include "tests/bench/bench.h"

uint64_t bench_now(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}
