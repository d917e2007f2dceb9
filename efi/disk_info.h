/** @file
 * EFI_DISK_INFO_PROTOCOL: the serial number of a virtio disk.
 * Spec:      UEFI Platform Initialization 1.7, Disk Info Protocol; virtio 1.4, 5.2.6 Device Operation:
 *            VIRTIO_BLK_T_GET_ID.
 * Knows:     efi/block_io.h.
 * Format:    the interface's GUID is DISK_INFO_VIRTIO_INTERFACE_GUID, for a virtio disk is none of
 *            those that the specification names, and who reads its data as theirs would be misled.
 *            Identify() gives the answer to GET_ID: VIRTIO_BLK_ID_BYTES of text, shorter ones padded
 *            with zeroes. Inquiry() and SenseData() have nothing to give, WhichIde() neither.
 */
#ifndef EFI_DISK_INFO_H
#define EFI_DISK_INFO_H

#include "efi/block_io.h"
#include "efi/uefi.h"

#define EFI_DISK_INFO_PROTOCOL_GUID                                                                \
    {                                                                                              \
        0xd432a67f, 0x14dc, 0x484b,                                                                \
        {                                                                                          \
            0xb3, 0xbb, 0x3f, 0x02, 0x91, 0x84, 0x93, 0x27                                         \
        }                                                                                          \
    }

/** Of our own. */
#define DISK_INFO_VIRTIO_INTERFACE_GUID                                                            \
    {                                                                                              \
        0x7d1f0b0e, 0x53c4, 0x4c8a,                                                                \
        {                                                                                          \
            0x9a, 0x5e, 0x21, 0x76, 0xb0, 0x4d, 0x8e, 0x13                                         \
        }                                                                                          \
    }

struct disk_info_protocol;

typedef EFI_STATUS(EFIAPI *disk_info_get)(struct disk_info_protocol *protocol, VOID *buffer,
                                          UINT32 *bytes);
typedef EFI_STATUS(EFIAPI *disk_info_sense)(struct disk_info_protocol *protocol, VOID *buffer,
                                            UINT32 *bytes, UINT8 *number);
typedef EFI_STATUS(EFIAPI *disk_info_which)(struct disk_info_protocol *protocol, UINT32 *channel,
                                            UINT32 *device);

/** The specification's layout. */
struct disk_info_protocol {
    EFI_GUID interface;
    disk_info_get inquiry;
    disk_info_get identify;
    disk_info_sense sense_data;
    disk_info_which which_ide;
};

struct disk_info {
    struct disk_info_protocol protocol; /**< what is installed on the handle */
    struct block_io *block_io;
};

/**
 * Fill in the protocol. Nothing is asked of the device before somebody asks for it.
 *
 * @param disk_info  any content; stays where it is while the protocol is installed
 * @param block_io   initialised, and outlives it
 */
void disk_info_init(struct disk_info *disk_info, struct block_io *block_io);

#endif
