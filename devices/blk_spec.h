/** @file
 * The block device as the specification defines it.
 * Spec:  virtio 1.4, 5.2.3 Feature bits; 5.2.4 Device configuration layout; 5.2.6 Device Operation.
 */
#ifndef DEVICES_BLK_SPEC_H
#define DEVICES_BLK_SPEC_H

#include <stddef.h>
#include <stdint.h>

#include "core/le.h"

/* 5.2.3 Feature bits, by bit number */
#define VIRTIO_BLK_F_SIZE_MAX 1
#define VIRTIO_BLK_F_SEG_MAX  2
#define VIRTIO_BLK_F_RO       5
#define VIRTIO_BLK_F_BLK_SIZE 6
#define VIRTIO_BLK_F_FLUSH    9
#define VIRTIO_BLK_F_TOPOLOGY 10

/* 5.2.4 struct virtio_blk_config: offsets of its fields */
#define VIRTIO_BLK_CONFIG_CAPACITY           0u  /* u64, in sectors */
#define VIRTIO_BLK_CONFIG_SIZE_MAX           8u  /* u32 */
#define VIRTIO_BLK_CONFIG_SEG_MAX            12u /* u32 */
#define VIRTIO_BLK_CONFIG_BLK_SIZE           20u /* u32 */
#define VIRTIO_BLK_CONFIG_PHYSICAL_BLOCK_EXP 24u /* u8 */
#define VIRTIO_BLK_CONFIG_ALIGNMENT_OFFSET   25u /* u8 */

/** The unit of capacity and of a request's sector, whatever the logical block size is. */
#define VIRTIO_BLK_SECTOR_BYTES 512u

/* 5.2.6 request types */
#define VIRTIO_BLK_T_IN    0u
#define VIRTIO_BLK_T_OUT   1u
#define VIRTIO_BLK_T_FLUSH 4u

/* 5.2.6 status byte */
#define VIRTIO_BLK_S_OK     0u
#define VIRTIO_BLK_S_IOERR  1u
#define VIRTIO_BLK_S_UNSUPP 2u

/** First, device-readable part of each request. */
struct virtio_blk_req_header {
    le32 type;
    le32 reserved;
    le64 sector;
};

_Static_assert(sizeof(struct virtio_blk_req_header) == 16, "5.2.6");
_Static_assert(offsetof(struct virtio_blk_req_header, sector) == 8, "5.2.6");

#endif
