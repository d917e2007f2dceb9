/** @file
 * Protocols of the firmware's own drivers that gnu-efi's headers lack, as far as they are called here.
 * Spec:  UEFI Platform Initialization 1.7, volume 2, 12 DXE Architectural Protocols: CPU, Timer;
 *        Framework for EFI, Compatibility Support Module 0.97: Legacy 8259 Protocol.
 * Names: the protocols' own; what is not called is a VOID pointer.
 */
#ifndef EFI_PI_H
#define EFI_PI_H

#include "efi/uefi.h"

/** Runs with interrupts disabled; the context is the interrupted program's registers. */
typedef VOID(EFIAPI *EFI_CPU_INTERRUPT_HANDLER)(INTN vector, VOID *context);

#define EFI_CPU_ARCH_PROTOCOL_GUID                                                                 \
    {                                                                                              \
        0x26baccb1, 0x6f42, 0x11d4,                                                                \
        {                                                                                          \
            0xbc, 0xe7, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81                                         \
        }                                                                                          \
    }

typedef struct cpu_arch_protocol {
    VOID *FlushDataCache;
    VOID *EnableInterrupt;
    VOID *DisableInterrupt;
    VOID *GetInterruptState;
    VOID *Init;
    /** EFI_ALREADY_STARTED where there is a handler; NULL for none, where there is one. */
    EFI_STATUS(EFIAPI *RegisterInterruptHandler)
    (struct cpu_arch_protocol *, INTN vector, EFI_CPU_INTERRUPT_HANDLER);
    VOID *GetTimerValue;
    VOID *SetMemoryAttributes;
    UINT32 NumberOfTimers;
    UINT32 DmaBufferAlignment;
} EFI_CPU_ARCH_PROTOCOL;

#define EFI_TIMER_ARCH_PROTOCOL_GUID                                                               \
    {                                                                                              \
        0x26baccb3, 0x6f42, 0x11d4,                                                                \
        {                                                                                          \
            0xbc, 0xe7, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81                                         \
        }                                                                                          \
    }

typedef struct timer_arch_protocol {
    VOID *RegisterHandler;
    VOID *SetTimerPeriod;
    /** Between two ticks, in 100 ns; 0: it does not tick. */
    EFI_STATUS(EFIAPI *GetTimerPeriod)(struct timer_arch_protocol *, UINT64 *ret_period);
    VOID *GenerateSoftInterrupt;
} EFI_TIMER_ARCH_PROTOCOL;

#define EFI_LEGACY_8259_PROTOCOL_GUID                                                              \
    {                                                                                              \
        0x38321dba, 0x4fe0, 0x4e17,                                                                \
        {                                                                                          \
            0x8a, 0xec, 0x41, 0x30, 0x55, 0xea, 0xed, 0xc1                                         \
        }                                                                                          \
    }

typedef struct legacy_8259_protocol {
    VOID *SetVectorBase;
    VOID *GetMask;
    VOID *SetMask;
    VOID *SetMode;
    EFI_STATUS(EFIAPI *GetVector)(struct legacy_8259_protocol *, INT32 irq, UINT8 *ret_vector);
    EFI_STATUS(EFIAPI *EnableIrq)(struct legacy_8259_protocol *, INT32 irq, BOOLEAN is_level);
    EFI_STATUS(EFIAPI *DisableIrq)(struct legacy_8259_protocol *, INT32 irq);
    VOID *GetInterruptLine;
    EFI_STATUS(EFIAPI *EndOfInterrupt)(struct legacy_8259_protocol *, INT32 irq);
} EFI_LEGACY_8259_PROTOCOL;

#endif
