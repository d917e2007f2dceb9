/** @file
 * A driver for the machine's pair of 8259s, which publishes EFI_LEGACY_8259_PROTOCOL as firmware did
 * that had a timer behind them. OVMF's timer is that of the local APIC, so nobody else uses them.
 * Spec:  Framework for EFI, Compatibility Support Module 0.97, Legacy 8259 Protocol.
 */

#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define VECTOR_OF_IRQ_0 0x68u
#define IRQS            16
#define MASTER_PORT     0x20u
#define SLAVE_PORT      0xA0u
#define LEVELS_PORT     0x4D0u /* of the master; the slave's is the next */
#define ICW1            0x11u
#define ICW4            0x01u
#define SLAVE_IRQ       2u
#define END_OF          0x60u /* with the number of an input: the end of that one */

typedef struct legacy_8259 {
    EFI_STATUS(EFIAPI *others[4])(VOID);
    EFI_STATUS(EFIAPI *GetVector)(struct legacy_8259 *, INT32 irq, UINT8 *ret_vector);
    EFI_STATUS(EFIAPI *EnableIrq)(struct legacy_8259 *, INT32 irq, BOOLEAN is_level);
    EFI_STATUS(EFIAPI *DisableIrq)(struct legacy_8259 *, INT32 irq);
    EFI_STATUS(EFIAPI *GetInterruptLine)(VOID);
    EFI_STATUS(EFIAPI *EndOfInterrupt)(struct legacy_8259 *, INT32 irq);
} legacy_8259;

static EFI_GUID legacy_8259_guid = {
    0x38321dba, 0x4fe0, 0x4e17, {0x8a, 0xec, 0x41, 0x30, 0x55, 0xea, 0xed, 0xc1}};
static UINT16 mask;

static VOID out(UINTN port, UINTN value)
{
    __asm__ volatile("outb %b0, %w1" : : "a"((UINT8)value), "d"((UINT16)port));
}

static UINT8 in(UINTN port)
{
    UINT8 value;

    __asm__ volatile("inb %w1, %b0" : "=a"(value) : "d"((UINT16)port));
    return value;
}

static VOID write_mask(VOID)
{
    out(MASTER_PORT + 1, mask & 0xFFu);
    out(SLAVE_PORT + 1, mask >> 8);
}

static VOID start_8259(UINTN port, UINTN vector, UINTN wiring)
{
    out(port, ICW1);
    out(port + 1, vector);
    out(port + 1, wiring);
    out(port + 1, ICW4);
}

static EFI_STATUS EFIAPI unsupported(VOID)
{
    return EFI_UNSUPPORTED;
}

static EFI_STATUS EFIAPI get_vector(legacy_8259 *this, INT32 irq, UINT8 *ret_vector)
{
    (void)this;
    if (irq < 0 || irq >= IRQS)
        return EFI_INVALID_PARAMETER;
    *ret_vector = (UINT8)(VECTOR_OF_IRQ_0 + (UINT32)irq);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI enable_irq(legacy_8259 *this, INT32 irq, BOOLEAN is_level)
{
    UINTN port = LEVELS_PORT + (UINTN)irq / 8;
    UINTN bit = (UINTN)1 << irq % 8;

    (void)this;
    out(port, is_level ? in(port) | bit : in(port) & ~bit);
    mask = (UINT16)(mask & ~(1u << irq));
    write_mask();
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI disable_irq(legacy_8259 *this, INT32 irq)
{
    (void)this;
    mask = (UINT16)(mask | 1u << irq);
    write_mask();
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI end_of_interrupt(legacy_8259 *this, INT32 irq)
{
    (void)this;
    if (irq >= 8) {
        out(SLAVE_PORT, END_OF | (UINT32)irq % 8);
        irq = SLAVE_IRQ;
    }
    out(MASTER_PORT, END_OF | (UINT32)irq);
    return EFI_SUCCESS;
}

static legacy_8259 protocol = {
    .others = {unsupported, unsupported, unsupported, unsupported},
    .GetVector = get_vector,
    .EnableIrq = enable_irq,
    .DisableIrq = disable_irq,
    .GetInterruptLine = unsupported,
    .EndOfInterrupt = end_of_interrupt,
};

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_HANDLE handle = NULL;

    (void)self;
    InitializeLib(self, system);
    start_8259(MASTER_PORT, VECTOR_OF_IRQ_0, 1u << SLAVE_IRQ);
    start_8259(SLAVE_PORT, VECTOR_OF_IRQ_0 + 8, SLAVE_IRQ);
    mask = (UINT16) ~(1u << SLAVE_IRQ);
    write_mask();
    return BS->InstallProtocolInterface(&handle, &legacy_8259_guid, EFI_NATIVE_INTERFACE,
                                        &protocol);
}
