/** @file
 * A platform that forgives nothing. Bus addresses lie above 4 GiB and have nothing to do with
 * pointers; map() always bounces, into memory that holds rubbish for a device-writable buffer;
 * everything given back is poisoned first; the device reaches memory only through
 * fake_platform_reach(), which fails the test for any address that is not allocated, mapped or lent.
 * The clock moves in wait(), and a little in now_us(), so a timeout costs nothing.
 * Knows:  core/platform.h, tests/fakes/fake_log.h.
 */
#ifndef TESTS_FAKES_FAKE_PLATFORM_H
#define TESTS_FAKES_FAKE_PLATFORM_H

#include "core/platform.h"

/** What is in memory that was given back, or that a device was to write and did not. */
#define FAKE_POISON 0xDBu

/** Calls that can be made to fail. */
enum fake_call {
    FAKE_CALL_ALLOC,
    FAKE_CALL_DMA_ALLOC,
    FAKE_CALL_MAP,
    FAKE_CALL_UNMAP,
    FAKE_CALL_KINDS,
};

struct fake_block;

struct fake_platform {
    struct vio_platform platform; /**< to be given to the code under test */
    uint64_t now_us;
    uint64_t step_us;     /**< by which each call of now_us() moves the clock */
    uint64_t wait_us;     /**< by which wait() moves the clock; 0: by its limit */
    uint64_t tick_us;     /**< at whose next but one beat wait() ends; 0: in time */
    size_t map_bytes_max; /**< a longer map() fails; 0: no limit */
    void (*on_wait)(void *context);
    void *on_wait_context;
    unsigned waits;

    bool can_sleep;       /**< else sleep() says 0 */
    uint64_t sleep_us;    /**< by which a sleep moves the clock */
    bool slept_config;    /**< the next sleep ends by a configuration change */
    bool slept_interrupt; /**< the next sleep ends by an interrupt; for on_sleep to set */
    void (*on_sleep)(void *context);
    void *on_sleep_context;
    unsigned sleeps;

    /**
     * With platform.pointers_are_physical: whether the device is behind an IOMMU, and uses bus
     * addresses and no others; else it uses pointers, and no bus address but a mapping's.
     */
    bool is_translated;
    /* With platform.pointers_are_physical: what the device reaches by its pointer. */
    uint8_t *lent;
    size_t lent_bytes;

    struct fake_block *blocks; /**< what is allocated and mapped */
    dma_addr next_addr;
    unsigned calls[FAKE_CALL_KINDS];
    unsigned fail_at[FAKE_CALL_KINDS]; /**< this call fails, counted from 1; 0: none */
    unsigned fail_from[FAKE_CALL_KINDS];
};

void fake_platform_init(struct fake_platform *fake);

/**
 * From now on pointers are physical, and the device reaches this buffer, and what alloc() and
 * dma_alloc() gave, by them, unless it is_translated; no other memory of the test's. NULL: no buffer,
 * though they are physical.
 */
void fake_platform_lend(struct fake_platform *fake, void *buffer, size_t bytes);

/** Let the @p nth call from now fail (1: the next one), and no other. */
void fake_platform_fail(struct fake_platform *fake, enum fake_call call, unsigned nth);

/** Let the @p nth call from now fail (1: the next one), and all that follow. */
void fake_platform_fail_from(struct fake_platform *fake, enum fake_call call, unsigned nth);

/**
 * The device's way to memory. Fails the test unless all bytes lie in one live block that the device
 * may use in this way.
 */
void *fake_platform_reach(struct fake_platform *fake, dma_addr addr, size_t bytes,
                          bool device_writes);

/** Blocks of a kind (FAKE_CALL_ALLOC, _DMA_ALLOC, _MAP) that are alive. */
unsigned fake_platform_live(const struct fake_platform *fake, enum fake_call kind);

/** Fails the test if anything is allocated or mapped. */
void fake_platform_assert_no_leaks(const struct fake_platform *fake);

/**
 * A device that never confirmed its reset keeps its memory: fails the test unless exactly this many
 * shared blocks live, no mapping and no private memory. Then lets the host have them back.
 */
void fake_platform_assert_quarantined(struct fake_platform *fake, unsigned n_dma_blocks);

#endif
