/** @file
 * The interrupts of one device, and sleeping until one comes: its MSI-X vectors, or its line.
 * Spec:      UEFI Platform Initialization 1.7, volume 2, 12 DXE Architectural Protocols: CPU, Timer;
 *            PCI Local Bus 3.0, 6.2.4 Miscellaneous Registers (Interrupt Line), 6.8.2 MSI-X Capability
 *            and Table Structures; virtio 1.4, 4.1.4.5 ISR status capability.
 * Knows:     transports/pci_msix.h, efi/pi.h, efi/interrupt_arch.h.
 * Ownership: open, attach, settle, close, in this order; the structure stays where it is meanwhile, and
 *            what it was given as well.
 * Handlers:  only set flags, count, and end the interrupt, with interrupts disabled: a storm cannot
 *            nest, and an interrupt that nobody waits for is harmless. For a line they also read the
 *            device's ISR status, which takes the line back.
 * Failure:   a device that cannot have interrupts is polled; reason says why.
 */
#ifndef EFI_INTERRUPT_H
#define EFI_INTERRUPT_H

#include "core/device.h"
#include "efi/uefi.h"
#include "transports/pci_msix.h"

/** How a program wants to learn that a device is done. */
enum interrupt_mode {
    INTERRUPT_AUTO,
    INTERRUPT_POLL,
    INTERRUPT_ALWAYS, /**< as AUTO, without spinning first; who cannot have any is reported */
};

/** One for the configuration, and one for each queue; a device with more shares. */
#define INTERRUPT_VECTORS_MAX 9u

/** In a row, on a line, that none of our devices has raised: then it is somebody else's for good. */
#define INTERRUPT_STRAYS_MAX 1000u

/** On lines, without anybody sleeping: then a device of ours raises it for good. */
#define INTERRUPT_STORM_MAX 20000u

struct interrupt {
    const char *reason; /**< for reading: why there are none; NULL: there are some */
    UINT8 irq;          /**< for reading: the line, where has_line */
    bool has_line;      /**< for reading */
    UINT8 n_vectors;    /**< for reading: in force, of the processor and of MSI-X */

    /* Counted by the handlers; for reading. */
    UINT32 n_interrupts;
    UINT32 n_unexpected; /**< of these, while nobody slept */

    /* Private. */
    enum interrupt_mode mode;
    UINT8 vectors[INTERRUPT_VECTORS_MAX]; /**< of the processor; the line has the first */
    UINT8 pending; /**< VIO_SLEPT_INTERRUPT and VIO_SLEPT_CONFIG, since the last sleep */
    bool is_asleep;
    bool is_given_up;     /**< the line was */
    UINT16 found_disable; /**< of the function's command register, the bit for its line */
    struct pci_msix msix;
    struct vio_window config;
    const struct vio_transport *transport;
    struct interrupt *next;
};

/**
 * Get vectors for a device, as many as it and the processor have, and enable MSI-X: so before the
 * transport is opened, whose registers may lie elsewhere then.
 *
 * @param interrupt  any content
 * @param function   memory space enabled; the device raises nothing
 */
void interrupt_open(struct interrupt *interrupt, const struct pci_function *function,
                    enum interrupt_mode mode);

/**
 * Where no vectors could be had, use the device's line.
 *
 * @param interrupt  opened
 * @param transport  kept
 */
void interrupt_attach(struct interrupt *interrupt, const struct vio_transport *transport);

/** What the device may use, for vio_platform. */
struct vio_interrupts interrupt_ready(const struct interrupt *interrupt);

/**
 * Once it is known what the device has made of it: give back the vectors that it does not use, for
 * other devices.
 *
 * @param use       of the device that was brought up
 * @param n_queues  of it
 */
void interrupt_settle(struct interrupt *interrupt, enum vio_interrupt_use use, unsigned n_queues);

/** vio_platform_ops.sleep(). */
unsigned interrupt_sleep(struct interrupt *interrupt);

/**
 * Undo all: nothing comes any more, the handlers are gone, the function's registers as they were.
 * Allocates nothing; may be called more than once.
 *
 * @param interrupt  opened, or zeroed; the device has been reset, or is cut off
 */
void interrupt_close(struct interrupt *interrupt);

#endif
