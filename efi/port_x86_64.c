/* Contract and terms: efi/port.h. */

#include "efi/port.h"

uint32_t port_read(uint16_t port, unsigned width_bytes)
{
    uint32_t value = 0;

    if (width_bytes == 1)
        __asm__ volatile("inb %w1, %b0" : "+a"(value) : "Nd"(port) : "memory");
    else if (width_bytes == 2)
        __asm__ volatile("inw %w1, %w0" : "+a"(value) : "Nd"(port) : "memory");
    else
        __asm__ volatile("inl %w1, %0" : "+a"(value) : "Nd"(port) : "memory");
    return value;
}

void port_write(uint16_t port, unsigned width_bytes, uint32_t value)
{
    if (width_bytes == 1)
        __asm__ volatile("outb %b0, %w1" : : "a"(value), "Nd"(port) : "memory");
    else if (width_bytes == 2)
        __asm__ volatile("outw %w0, %w1" : : "a"(value), "Nd"(port) : "memory");
    else
        __asm__ volatile("outl %0, %w1" : : "a"(value), "Nd"(port) : "memory");
}
