/** @file
 * What efi/local_apic_x86_64.c needs of the processor, apart from it so that a test can stand in.
 */
#ifndef EFI_LOCAL_APIC_X86_64_H
#define EFI_LOCAL_APIC_X86_64_H

#include <stdint.h>

uint64_t local_apic_read_msr(uint32_t number);
void local_apic_write_msr(uint32_t number, uint64_t value);

#endif
