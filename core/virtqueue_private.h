/** @file
 * What core/virtqueue.c and core/virtqueue_setup.c share, and nobody else sees.
 * Spec:  virtio 1.4, 2.7.5 The Virtqueue Descriptor Table.
 */
#ifndef CORE_VIRTQUEUE_PRIVATE_H
#define CORE_VIRTQUEUE_PRIVATE_H

#include "core/virtqueue.h"

/* Flags of a descriptor, where they stand in its len_flags_next. */
#define VQ_NEXT     ((uint64_t)VIRTQ_DESC_F_NEXT << 32)
#define VQ_WRITE    ((uint64_t)VIRTQ_DESC_F_WRITE << 32)
#define VQ_INDIRECT ((uint64_t)VIRTQ_DESC_F_INDIRECT << 32)

/** Of a link: one index further. */
#define VQ_NEXT_INDEX (UINT64_C(1) << 48)

#endif
