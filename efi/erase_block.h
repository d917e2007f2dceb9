/** @file
 * EFI_ERASE_BLOCK_PROTOCOL on a virtio disk that offers WRITE_ZEROES or DISCARD.
 * Spec:      UEFI 2.10, 13.12 Erase Block Protocol; virtio 1.4, 5.2.6 Device Operation.
 * Knows:     efi/block_io.h.
 * Erased:    with WRITE_ZEROES blocks read as zeroes afterwards, deallocated where the device can.
 *            With DISCARD alone what they read as is undefined.
 */
#ifndef EFI_ERASE_BLOCK_H
#define EFI_ERASE_BLOCK_H

#include "efi/block_io.h"
#include "efi/uefi.h"

#define EFI_ERASE_BLOCK_PROTOCOL_GUID                                                              \
    {                                                                                              \
        0x95a9a93e, 0xa86e, 0x4926,                                                                \
        {                                                                                          \
            0xaa, 0xef, 0x99, 0x18, 0xe7, 0x72, 0xd9, 0x87                                         \
        }                                                                                          \
    }

#define EFI_ERASE_BLOCK_PROTOCOL_REVISION ((2u << 16) | 60u)

struct erase_block_protocol;

/* A token is laid out as one of EFI_BLOCK_IO2_PROTOCOL: event, status. */
typedef EFI_STATUS(EFIAPI *erase_block_erase)(struct erase_block_protocol *protocol,
                                              UINT32 media_id, EFI_LBA lba,
                                              EFI_BLOCK_IO2_TOKEN *token, UINTN bytes);

/** The specification's layout. */
struct erase_block_protocol {
    UINT64 revision;
    UINT32 erase_length_granularity; /**< in logical blocks */
    erase_block_erase erase_blocks;
};

struct erase_block {
    struct erase_block_protocol protocol; /**< what is installed on the handle */
    struct block_io *block_io;
};

/**
 * Fill in the protocol.
 *
 * @param erase_block  any content; stays where it is while the protocol is installed
 * @param block_io     initialised, and outlives it
 */
void erase_block_init(struct erase_block *erase_block, struct block_io *block_io);

/** Whether the device can do it, so that the protocol is to be installed. */
bool erase_block_is_possible(const struct block_io *block_io);

#endif
