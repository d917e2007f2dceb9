/** @file
 * The split virtqueue as it lies in memory.
 * Spec:  virtio 1.4, 2.7 Split Virtqueues; 2.7.2 Legacy Interfaces: A Note on Virtqueue Layout; 2.7.5
 *        The Virtqueue Descriptor Table; 2.7.6 The Virtqueue Available Ring; 2.7.8 The Virtqueue Used
 *        Ring; 4.1.5.1.3.1 Legacy Interface: A Note on Virtqueue Configuration.
 */
#ifndef CORE_SPLIT_SPEC_H
#define CORE_SPLIT_SPEC_H

#include <stddef.h>
#include <stdint.h>

#include "core/le.h"

#define VIRTQ_DESC_F_NEXT     1u
#define VIRTQ_DESC_F_WRITE    2u
#define VIRTQ_DESC_F_INDIRECT 4u

#define VIRTQ_AVAIL_F_NO_INTERRUPT 1u
#define VIRTQ_USED_F_NO_NOTIFY     1u

#define VIRTQ_DESC_ALIGN  16u
#define VIRTQ_AVAIL_ALIGN 2u
#define VIRTQ_USED_ALIGN  4u
/** Of the whole, and of the used ring in it, for a legacy PCI device. */
#define VIRTQ_LEGACY_ALIGN 4096u

struct virtq_desc {
    le64 addr;
    union {
        struct {
            le32 len;
            le16 flags;
            le16 next;
        };
        le64 len_flags_next; /**< the three in one: len | flags << 32 | next << 48 */
    };
};

struct virtq_avail {
    le16 flags;
    le16 idx;
    le16 ring[]; /**< queue size entries, then le16 used_event */
};

struct virtq_used_elem {
    le32 id;
    le32 len;
};

struct virtq_used {
    le16 flags;
    le16 idx;
    struct virtq_used_elem ring[]; /**< queue size entries, then le16 avail_event */
};

_Static_assert(sizeof(struct virtq_desc) == 16, "2.7.5");
_Static_assert(offsetof(struct virtq_desc, len) == 8, "2.7.5");
_Static_assert(offsetof(struct virtq_desc, flags) == 12, "2.7.5");
_Static_assert(offsetof(struct virtq_desc, next) == 14, "2.7.5");
_Static_assert(offsetof(struct virtq_avail, ring) == 4, "2.7.6");
_Static_assert(sizeof(struct virtq_used_elem) == 8, "2.7.8");
_Static_assert(offsetof(struct virtq_used, ring) == 4, "2.7.8");

#endif
