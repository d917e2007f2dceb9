/* Contract and terms: efi/interrupt_arch.h and efi/local_apic_x86_64.h. The instructions. */

#include "efi/interrupt_arch.h"
#include "efi/local_apic_x86_64.h"

#define FLAGS_INTERRUPT 0x200u

bool interrupt_arch_is_enabled(void)
{
    uint64_t flags;

    __asm__ volatile("pushfq\n\tpopq %0" : "=r"(flags) : : "memory");
    return flags & FLAGS_INTERRUPT;
}

void interrupt_arch_disable(void)
{
    __asm__ volatile("cli" : : : "memory");
}

void interrupt_arch_enable(void)
{
    __asm__ volatile("sti" : : : "memory");
}

/* sti holds interrupts back for one instruction more: none can come between the two. */
void interrupt_arch_enable_and_halt(void)
{
    __asm__ volatile("sti\n\thlt" : : : "memory");
}

uint64_t local_apic_read_msr(uint32_t number)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (uint64_t)high << 32 | low;
}

void local_apic_write_msr(uint32_t number, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}
