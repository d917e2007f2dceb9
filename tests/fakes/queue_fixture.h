/** @file
 * A virtqueue, the device's side of it, and nothing in between: what the tests of the queue share.
 * Knows:  core/virtqueue.h and the fakes.
 * State:  one queue per test program, because a test's words are about "the" queue.
 */
#ifndef TESTS_FAKES_QUEUE_FIXTURE_H
#define TESTS_FAKES_QUEUE_FIXTURE_H

#include "core/virtqueue.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_ring.h"
#include "tests/fakes/fake_transport.h"

#define FIXTURE_QUEUE_INDEX   2u
#define FIXTURE_TABLE_ENTRIES 8u
#define FIXTURE_COOKIES       (VIRTQUEUE_SIZE_MAX + 1u)

extern struct fake_platform platform;
extern struct fake_transport transport;
extern struct virtqueue vq;
extern struct fake_ring ring;
extern struct vio_dma rings;
extern struct vio_dma tables; /**< indirect */
extern void *shadow;
extern size_t shadow_bytes;
extern struct virtqueue_config config; /**< of the queue as it was made */
extern char cookies[FIXTURE_COOKIES];  /**< their addresses serve as cookies */

/** Memory full of rubbish, and a queue in it with these VIO_FEATURE() bits besides VERSION_1. */
void make_queue_with(uint16_t size, uint64_t features);
void make_queue(uint16_t size);

/** Make the queue anew in the memory that it has, and let the device's side know. */
void init_queue(void);

/** Fails the test if anything is left allocated. */
void free_queue(void);

/* For cmocka: a queue of 8 without features. */
int queue_set_up(void **state);
int queue_tear_down(void **state);

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, queue_set_up, queue_tear_down)

struct vio_buffer readable(dma_addr addr, uint32_t len);
struct vio_buffer writable(dma_addr addr, uint32_t len);

/** A chain of one device-writable buffer of 100 bytes. */
void add_one(void *cookie);

/** A chain of up to 8 buffers: one device-readable, the others device-writable, of 512 bytes. */
void add_chain(unsigned n_bufs, void *cookie);

/** The device takes the next chain, which must be there; its head. */
uint16_t take_head(void);

/** Add, publish and take one chain; its head. */
uint16_t give_one(void *cookie);

void assert_pops(void *expected_cookie, uint32_t expected_len);

/** The next pop gives this status and writes neither cookie nor length. */
void assert_pop_fails(vio_status status);

/** The next chain that the device did not return; NULL: there is none. */
void *drain(void);

/** The next pop breaks the queue; then every entry point fails cleanly and touches nothing. */
void assert_broken(enum virtqueue_fault fault, uint64_t value);

#endif
