/** @file
 * The processor with its local APIC, a pair of 8259s, and the firmware's protocols for them. Handlers
 * run with interrupts disabled, as they do in EDK2, and what they must not do fails the test: to call
 * the firmware (but for the 8259's registers), to end no interrupt or another one. So does an
 * interrupt that comes where no handler is: EDK2 would end it never, and its timer with it.
 * Spec:   as efi/pi.h; Intel 64 Architectures Software Developer's Manual, volume 3, Advanced
 *         Programmable Interrupt Controller.
 * Stands: for efi/interrupt_x86_64.c.
 */
#ifndef TESTS_FAKES_FAKE_PROCESSOR_H
#define TESTS_FAKES_FAKE_PROCESSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "efi/pi.h"

#define FAKE_VECTORS         256u
#define FAKE_IRQS            16u
#define FAKE_IRQ_VECTOR      0x68u /**< of IRQ 0 */
#define FAKE_APIC_PAGE_WORDS 1024u

struct fake_processor {
    /* The firmware; for writing. */
    bool has_cpu_protocol, has_timer_protocol, has_8259_protocol;
    bool is_taken[FAKE_VECTORS]; /**< by somebody else's handler */
    uint64_t timer_period;       /**< 100 ns */
    bool timer_fails;

    /* The processor; for writing. */
    bool is_enabled;    /**< interrupts are */
    uint64_t apic_base; /**< the MSR, without an address; that is a page of the fake */
    uint32_t apic_id;   /**< of this processor */
    uint32_t apic_spurious;
    void (*before_halt)(void); /**< behind the last look, when interrupts are disabled */
    void (*at_halt)(void);     /**< nothing is pending; if nothing comes of it, the timer ticks */
    bool (*line_is_raised)(unsigned irq); /**< of each that is not masked; may be NULL */

    /* For reading. */
    EFI_CPU_INTERRUPT_HANDLER handlers[FAKE_VECTORS]; /**< of the code under test */
    unsigned n_handled;
    unsigned n_halts;
    unsigned n_ticks; /**< halts that nothing else ended */
    bool irq_is_enabled[FAKE_IRQS];

    /* Private. */
    bool is_pending[FAKE_VECTORS];
    bool is_handling;
    int irq_in_service; /**< -1: none */
    unsigned n_msr_ends;
};
extern struct fake_processor fake_processor;

/** All protocols are there but the 8259's, the clock ticks each 10 ms; after fake_uefi_init(). */
void fake_processor_init(void);

/** Somebody raises a vector. It is delivered at once, or when interrupts are enabled. */
void fake_processor_raise(uint8_t vector);

/** As a message of a device, which fails the test if it does not reach this processor. */
void fake_processor_receive(uint64_t address, uint32_t data);

/** Look at the lines, as after one has changed. */
void fake_processor_look_at_lines(void);

/** How many handlers of the code under test there are. */
unsigned fake_processor_handlers(void);

#endif
