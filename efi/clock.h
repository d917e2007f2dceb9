/** @file
 * Time that passes, and giving the processor a rest; one .c file per architecture.
 * Units: microseconds since clock_init().
 */
#ifndef EFI_CLOCK_H
#define EFI_CLOCK_H

#include <stdint.h>

/** Measures the counter against the firmware's Stall(); takes about 8 ms. Once, before all else. */
void clock_init(void);

/**
 * Never goes back. Whether it goes on while the virtual machine is paused is the hypervisor's choice,
 * so a deadline must not count one long step as waiting.
 */
uint64_t clock_now_us(void);

/** For loops that wait: some hints to the processor, about a microsecond; no time to rely on. */
void clock_relax(void);

#endif
