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
#define VIRTIO_BLK_F_SIZE_MAX     1
#define VIRTIO_BLK_F_SEG_MAX      2
#define VIRTIO_BLK_F_RO           5
#define VIRTIO_BLK_F_BLK_SIZE     6
#define VIRTIO_BLK_F_FLUSH        9
#define VIRTIO_BLK_F_TOPOLOGY     10
#define VIRTIO_BLK_F_CONFIG_WCE   11
#define VIRTIO_BLK_F_MQ           12
#define VIRTIO_BLK_F_DISCARD      13
#define VIRTIO_BLK_F_WRITE_ZEROES 14
#define VIRTIO_BLK_F_SECURE_ERASE 16
#define VIRTIO_BLK_F_ZONED        17

/* 5.2.4 struct virtio_blk_config: offsets of its fields */
#define VIRTIO_BLK_CONFIG_CAPACITY                 0u  /* u64, in sectors */
#define VIRTIO_BLK_CONFIG_SIZE_MAX                 8u  /* u32 */
#define VIRTIO_BLK_CONFIG_SEG_MAX                  12u /* u32 */
#define VIRTIO_BLK_CONFIG_BLK_SIZE                 20u /* u32 */
#define VIRTIO_BLK_CONFIG_PHYSICAL_BLOCK_EXP       24u /* u8 */
#define VIRTIO_BLK_CONFIG_ALIGNMENT_OFFSET         25u /* u8 */
#define VIRTIO_BLK_CONFIG_OPT_IO_SIZE              28u /* u32, in logical blocks */
#define VIRTIO_BLK_CONFIG_WRITEBACK                32u /* u8 */
#define VIRTIO_BLK_CONFIG_NUM_QUEUES               34u /* u16 */
#define VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS      36u /* u32 */
#define VIRTIO_BLK_CONFIG_MAX_DISCARD_SEG          40u /* u32 */
#define VIRTIO_BLK_CONFIG_DISCARD_SECTOR_ALIGNMENT 44u /* u32 */
#define VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS 48u /* u32 */
#define VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SEG     52u /* u32 */
#define VIRTIO_BLK_CONFIG_WRITE_ZEROES_MAY_UNMAP   56u /* u8 */
#define VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SECTORS 60u /* u32 */
#define VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SEG     64u /* u32 */
#define VIRTIO_BLK_CONFIG_SECURE_ERASE_ALIGNMENT   68u /* u32 */

/** The unit of capacity and of a request's sector, whatever the logical block size is. */
#define VIRTIO_BLK_SECTOR_BYTES 512u

/* 5.2.6 request types */
#define VIRTIO_BLK_T_IN           0u
#define VIRTIO_BLK_T_OUT          1u
#define VIRTIO_BLK_T_FLUSH        4u
#define VIRTIO_BLK_T_GET_ID       8u
#define VIRTIO_BLK_T_DISCARD      11u
#define VIRTIO_BLK_T_WRITE_ZEROES 13u
#define VIRTIO_BLK_T_SECURE_ERASE 14u

/* 5.2.6 status byte */
#define VIRTIO_BLK_S_OK     0u
#define VIRTIO_BLK_S_IOERR  1u
#define VIRTIO_BLK_S_UNSUPP 2u

/** Length of the answer to GET_ID; a shorter string is padded with zeroes, a full one is not. */
#define VIRTIO_BLK_ID_BYTES 20u

/** First, device-readable part of each request. */
struct virtio_blk_req_header {
    le32 type;
    le32 reserved;
    le64 sector;
};

_Static_assert(sizeof(struct virtio_blk_req_header) == 16, "5.2.6");
_Static_assert(offsetof(struct virtio_blk_req_header, sector) == 8, "5.2.6");

/** The data of DISCARD, WRITE_ZEROES and SECURE_ERASE: one or more of these. */
struct virtio_blk_discard_write_zeroes {
    le64 sector;
    le32 num_sectors;
    le32 flags;
};

_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "5.2.6");
_Static_assert(offsetof(struct virtio_blk_discard_write_zeroes, flags) == 12, "5.2.6");

#define VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP 0x1u

#endif
