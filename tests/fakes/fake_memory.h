/** @file
 * Sees each access and barrier of core/mem.h: writes them to the event log, and lets a test change
 * the memory just before an access, as a device does that rewrites it between two loads.
 * Knows:  core/mem.h, tests/fakes/fake_log.h.
 */
#ifndef TESTS_FAKES_FAKE_MEMORY_H
#define TESTS_FAKES_FAKE_MEMORY_H

#include "core/mem.h"

/** Called before each access, barriers included. */
typedef void (*fake_memory_callback)(void *context, enum vio_mem_access access, const void *where);

/** Set the callback; NULL for none. */
void fake_memory_before_access(fake_memory_callback callback, void *context);

#endif
