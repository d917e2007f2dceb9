/** @file
 * What of interrupts is the processor's: where a message has to go, and giving the processor away.
 * Files:  interrupt_$(ARCH).c has the instructions, local_apic_$(ARCH).c the interrupt controller.
 */
#ifndef EFI_INTERRUPT_ARCH_H
#define EFI_INTERRUPT_ARCH_H

#include <stdbool.h>
#include <stdint.h>

/**
 * The vectors to look for free ones in, the last one first: not those of exceptions, nor those where
 * firmware has its timer and its 8259 (0x20 to 0x2F, 0x40, 0x68 to 0x77), for a handler can also come
 * later. Above are those of the interrupt controller itself.
 */
#define INTERRUPT_ARCH_VECTOR_FIRST 0x78
#define INTERRUPT_ARCH_VECTOR_LAST  0xEF

/** Look at the interrupt controller; false: messages do not reach this processor. */
bool interrupt_arch_open(void);

/** The message that raises a vector on this processor; after interrupt_arch_open(). */
void interrupt_arch_message(uint8_t vector, uint64_t *ret_address, uint32_t *ret_data);

/** The handler of a message is done. */
void interrupt_arch_end(void);

/** Whether interrupts are delivered. */
bool interrupt_arch_is_enabled(void);
void interrupt_arch_disable(void);
void interrupt_arch_enable(void);

/** Enable them, and halt until the next one: one that is pending already ends it at once. */
void interrupt_arch_enable_and_halt(void);

#endif
