/** @file
 * The first of the two seams: what the surroundings (UEFI, another operating system, a test) give
 * to core/, devices/ and transports/.
 * Knows:      core/status.h.
 * Ownership:  each alloc/map is undone by exactly one free/unmap with the same structure.
 * Errors:     VIO_ERR_NO_MEMORY unless said otherwise; nothing is left behind on failure.
 * Units:      lengths in bytes, times in microseconds of a clock that never goes back.
 */
#ifndef CORE_PLATFORM_H
#define CORE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/** What the device puts on its bus to reach memory; only by chance equal to a pointer. */
typedef uint64_t dma_addr;

/** Memory that we and the device use at the same time (rings, headers, status bytes). */
struct vio_dma {
    void *memory;      /**< zeroed, aligned to 4096 */
    dma_addr addr;     /**< the same memory as the device sees it, also aligned to 4096 */
    size_t bytes;      /**< as asked for */
    void *bookkeeping; /**< the platform's own */
};

/** What the device will do with a mapped buffer. */
enum vio_direction {
    VIO_DEVICE_READABLE,
    VIO_DEVICE_WRITABLE,
};

/** One caller's buffer, made reachable for the device between map and unmap. */
struct vio_mapping {
    dma_addr addr;
    void *bookkeeping; /**< the platform's own */
};

/**
 * All members are required; vio_platform_is_complete() checks that once, when a device is opened.
 */
struct vio_platform_ops {
    /** Private memory, zeroed, that no device can reach. NULL when there is none. */
    void *(*alloc)(void *context, size_t bytes);
    /** Undo alloc(); accepts NULL. */
    void (*free)(void *context, void *memory, size_t bytes);

    /** Memory shared with the device for as long as it is allocated. */
    vio_status (*dma_alloc)(void *context, size_t bytes, struct vio_dma *ret_dma);
    /** Undo dma_alloc(). The device must have let go of it: reset, and read back as reset. */
    void (*dma_free)(void *context, struct vio_dma *dma);

    /**
     * Make @p buffer reachable for the device. The data may be copied (bounced), so between map and
     * unmap the caller leaves the buffer alone. The mapping is contiguous for the device.
     */
    vio_status (*map)(void *context, void *buffer, size_t bytes, enum vio_direction direction,
                      struct vio_mapping *ret_mapping);
    /**
     * Undo map(); what the device wrote is in the buffer afterwards.
     *
     * @return VIO_ERR_IO when the data could not be brought back
     */
    vio_status (*unmap)(void *context, struct vio_mapping *mapping);

    /** Microseconds since some moment in the past. */
    uint64_t (*now_us)(void *context);
    /**
     * Wait for a moment, at most @p limit_us, without giving the processor away: the caller looks
     * for what he waits for before and after.
     */
    void (*wait)(void *context, uint64_t limit_us);
    /**
     * Give the processor away until the device has raised an interrupt since the last call, at most
     * VIO_SLEEP_LIMIT_US; other things may end it too. The caller asks for the interrupt before,
     * looks for what he waits for, and calls this only if it is not there.
     *
     * @return VIO_SLEPT, with VIO_SLEPT_INTERRUPT if the device has raised an interrupt, and
     *         VIO_SLEPT_CONFIG if that spoke of its configuration; 0: it is not possible, or not now,
     *         and no time has passed
     */
    unsigned (*sleep)(void *context);
};

/** What vio_platform_ops.sleep() says. */
#define VIO_SLEPT           1u
#define VIO_SLEPT_CONFIG    2u
#define VIO_SLEPT_INTERRUPT 4u

/** Longest sleep: a lost interrupt costs no more. */
#define VIO_SLEEP_LIMIT_US 100000u

/** What the surroundings have made ready of a device's interrupts; all zero: nothing. */
struct vio_interrupts {
    /** Vectors that the device may be told to use: 0 .. n_vectors - 1 (4.1.5.1.2). */
    uint16_t n_vectors;
    /** Without vectors: all interrupts of the device come over one line (4.1.4.5). */
    bool has_line;
};

struct vio_platform {
    const struct vio_platform_ops *ops;
    void *context;
    /**
     * A pointer is the physical address of what it points to, and all memory is contiguous. Then a
     * buffer need not be mapped for a device without VIRTIO_F_ACCESS_PLATFORM, which reaches the
     * same memory by the same addresses as we do (6 Reserved Feature Bits).
     */
    bool pointers_are_physical;
    struct vio_interrupts interrupts;
};

static inline bool vio_platform_is_complete(const struct vio_platform *platform)
{
    const struct vio_platform_ops *ops = platform->ops;

    return ops && ops->alloc && ops->free && ops->dma_alloc && ops->dma_free && ops->map &&
           ops->unmap && ops->now_us && ops->wait && ops->sleep;
}

/**
 * A bounded range of a device's registers, or of its PCI configuration space.
 * Offsets are relative to the window; an access that does not lie in it completely, or is not
 * aligned to its width, is not carried out and reads as all ones, like a device that is gone.
 */
struct vio_window_ops {
    uint32_t (*read)(void *context, uint64_t offset, unsigned width_bytes);
    void (*write)(void *context, uint64_t offset, unsigned width_bytes, uint32_t value);
};

struct vio_window {
    const struct vio_window_ops *ops;
    void *context;
    uint64_t base;  /**< added to each offset before it reaches ops */
    uint64_t bytes; /**< length of the window; 0 = no window */
};

/** Whether an access of @p width_bytes at @p offset lies in the window, and is aligned for ops. */
static inline bool vio_window_covers(const struct vio_window *window, uint64_t offset,
                                     unsigned width_bytes)
{
    return offset < window->bytes && width_bytes <= window->bytes - offset &&
           ((window->base + offset) & (width_bytes - 1)) == 0;
}

static inline uint32_t vio_window_read(const struct vio_window *window, uint64_t offset,
                                       unsigned width_bytes)
{
    if (!vio_window_covers(window, offset, width_bytes))
        return UINT32_MAX >> (8 * (4 - width_bytes));
    return window->ops->read(window->context, window->base + offset, width_bytes);
}

static inline void vio_window_write(const struct vio_window *window, uint64_t offset,
                                    unsigned width_bytes, uint32_t value)
{
    if (vio_window_covers(window, offset, width_bytes))
        window->ops->write(window->context, window->base + offset, width_bytes, value);
}

static inline uint8_t reg_read8(const struct vio_window *window, uint64_t offset)
{
    return (uint8_t)vio_window_read(window, offset, 1);
}

static inline uint16_t reg_read16(const struct vio_window *window, uint64_t offset)
{
    return (uint16_t)vio_window_read(window, offset, 2);
}

static inline uint32_t reg_read32(const struct vio_window *window, uint64_t offset)
{
    return vio_window_read(window, offset, 4);
}

static inline void reg_write8(const struct vio_window *window, uint64_t offset, uint8_t value)
{
    vio_window_write(window, offset, 1, value);
}

static inline void reg_write16(const struct vio_window *window, uint64_t offset, uint16_t value)
{
    vio_window_write(window, offset, 2, value);
}

static inline void reg_write32(const struct vio_window *window, uint64_t offset, uint32_t value)
{
    vio_window_write(window, offset, 4, value);
}

#endif
