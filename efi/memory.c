/*
 * What the compiler may call where it copies or clears much at once. Not on the host, which has its
 * own. By words, for memory that the device gets is cleared here.
 */

#include "core/mem.h"

void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *where, int value, size_t bytes);

void *memcpy(void *to, const void *from, size_t bytes)
{
    vio_mem_copy(to, from, bytes);
    return to;
}

void *memset(void *where, int value, size_t bytes)
{
    uint64_t word = (uint8_t)value * UINT64_C(0x0101010101010101);
    uint8_t *at = where;

    for (; bytes >= sizeof(word); bytes -= sizeof(word), at += sizeof(word))
        *(vio_mem_word *)at = word;
    while (bytes--)
        *at++ = (uint8_t)word;
    return where;
}
