/** @file
 * I/O ports; one .c file per architecture.
 * Units: widths in bytes, 1, 2 or 4.
 */
#ifndef EFI_PORT_H
#define EFI_PORT_H

#include <stdint.h>

uint32_t port_read(uint16_t port, unsigned width_bytes);
void port_write(uint16_t port, unsigned width_bytes, uint32_t value);

#endif
