/** @file
 * core/virtqueue.h as a driver that the hostile rows and the fuzzer can be run against.
 * Knows:  tests/hostile/ring_driver.h, core/virtqueue.h.
 */
#ifndef TESTS_FAKES_RING_DRIVER_VIRTBOOT_H
#define TESTS_FAKES_RING_DRIVER_VIRTBOOT_H

#include "core/virtqueue.h"
#include "tests/hostile/ring_driver.h"

extern const struct ring_driver ring_driver_virtboot;

/** Behind a new queue's back: as if so many chains had come and gone. */
void ring_driver_age_queue(struct virtqueue *vq, uint16_t n_chains);

#endif
