/** @file
 * One list of what happened, in order, written by all fakes: memory accesses and barriers, calls
 * of the platform, calls of the transport, PCI register accesses.
 * Knows:  nothing. There is one log per test program, because vio_mem_hook() has no context.
 * Cost:   recording is off until fake_log_start().
 */
#ifndef TESTS_FAKES_FAKE_LOG_H
#define TESTS_FAKES_FAKE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum fake_event_kind {
    /* core/mem.h; where = the address */
    FAKE_LOAD,
    FAKE_STORE,
    FAKE_WMB,
    FAKE_RMB,
    FAKE_MB,
    FAKE_DEVICE_WMB,
    FAKE_DEVICE_RMB,
    FAKE_DEVICE_MB,
    /* platform; at = bus address, value = bytes or microseconds */
    FAKE_ALLOC,
    FAKE_FREE,
    FAKE_DMA_ALLOC,
    FAKE_DMA_FREE,
    FAKE_MAP,
    FAKE_UNMAP,
    FAKE_WAIT,
    FAKE_SLEEP,
    /* transport; at = queue, offset or vector */
    FAKE_STATUS_READ,
    FAKE_STATUS_WRITE,
    FAKE_FEATURES_READ,
    FAKE_FEATURES_WRITE,
    FAKE_QUEUE_SIZE_READ,
    FAKE_QUEUE_ENABLE,
    FAKE_QUEUE_RESET,
    FAKE_QUEUE_RESET_READ,
    FAKE_NOTIFY,
    FAKE_CONFIG_READ,
    FAKE_CONFIG_WRITE,
    FAKE_GENERATION_READ,
    FAKE_CONFIG_VECTOR,
    FAKE_ISR_READ,
    FAKE_ISOLATE,
    /* PCI registers; at = offset in the BAR or in configuration space */
    FAKE_REG_READ,
    FAKE_REG_WRITE,
    FAKE_PCI_CONFIG_READ,
    FAKE_PCI_CONFIG_WRITE,
};

struct fake_event {
    enum fake_event_kind kind;
    unsigned width_bytes;
    const void *where;
    uint64_t at;
    uint64_t value;
};

/** Answer of the searches: there is no such event. */
#define FAKE_LOG_NONE SIZE_MAX

/** Forget everything and record from now on. */
void fake_log_start(void);

/** Record no more; what was recorded stays readable. */
void fake_log_stop(void);

/** Add one event, if recording. */
void fake_log_add(struct fake_event event);

size_t fake_log_length(void);

/** Fails the test if there is no such event. */
const struct fake_event *fake_log_at(size_t position);

/** Position of the first event of a kind at or after @p from, or FAKE_LOG_NONE. */
size_t fake_log_find(enum fake_event_kind kind, size_t from);

/** Position of the first access of a kind to an address at or after @p from. */
size_t fake_log_find_access(enum fake_event_kind kind, const void *where, size_t from);

/** Position of the last event of a kind. */
size_t fake_log_find_last(enum fake_event_kind kind);

size_t fake_log_count(enum fake_event_kind kind);

size_t fake_log_count_accesses(enum fake_event_kind kind, const void *where);

/** What a transport is to have seen. */
struct fake_step {
    enum fake_event_kind kind;
    uint64_t value;
};

/** Fails the test unless a transport saw just these, in this order; memory and platform do not count. */
void fake_log_assert_transport(const struct fake_step *steps, size_t n_steps);

#endif
