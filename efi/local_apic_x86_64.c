/*
 * Contract and terms: efi/interrupt_arch.h. Intel 64 Architectures Software Developer's Manual, volume
 * 3, Advanced Programmable Interrupt Controller: Local APIC; Extended xAPIC (x2APIC); Message
 * Signalled Interrupts.
 */

#include "efi/local_apic_x86_64.h"

#include <stddef.h>

#include "efi/interrupt_arch.h"

#define MSR_APIC_BASE       0x1Bu
#define MSR_X2APIC          0x800u /* register n of the page is this plus n / 16 */
#define APIC_BASE_ENABLED   (UINT64_C(1) << 11)
#define APIC_BASE_IS_X2APIC (UINT64_C(1) << 10)
#define APIC_BASE_ADDRESS   UINT64_C(0x000FFFFFFFFFF000)

#define APIC_ID        0x20u
#define APIC_END       0xB0u
#define APIC_SPURIOUS  0xF0u
#define APIC_IS_ON     0x100u /* in the spurious vector register */
#define XAPIC_ID_SHIFT 24

#define MESSAGE_ADDRESS  UINT64_C(0xFEE00000)
#define MESSAGE_ID_SHIFT 12
#define MESSAGE_ID_ALL   0xFFu /* and larger ones cannot be addressed at all */

static volatile uint8_t *apic_page; /* NULL: registers are MSRs */
static uint32_t apic_id;

static uint32_t apic_read(uint32_t at)
{
    return apic_page ? *(volatile uint32_t *)(apic_page + at)
                     : (uint32_t)local_apic_read_msr(MSR_X2APIC + at / 16);
}

bool interrupt_arch_open(void)
{
    uint64_t base = local_apic_read_msr(MSR_APIC_BASE);

    if (!(base & APIC_BASE_ENABLED))
        return false;
    apic_page = base & APIC_BASE_IS_X2APIC
                    ? NULL
                    : (volatile uint8_t *)(uintptr_t)(base & APIC_BASE_ADDRESS);
    apic_id = apic_read(APIC_ID) >> (apic_page ? XAPIC_ID_SHIFT : 0);
    return apic_read(APIC_SPURIOUS) & APIC_IS_ON && apic_id < MESSAGE_ID_ALL;
}

/* Fixed delivery, edge-triggered, to one processor by its number: all other bits are 0. */
void interrupt_arch_message(uint8_t vector, uint64_t *ret_address, uint32_t *ret_data)
{
    *ret_address = MESSAGE_ADDRESS | apic_id << MESSAGE_ID_SHIFT;
    *ret_data = vector;
}

void interrupt_arch_end(void)
{
    if (apic_page)
        *(volatile uint32_t *)(apic_page + APIC_END) = 0;
    else
        local_apic_write_msr(MSR_X2APIC + APIC_END / 16, 0);
}
