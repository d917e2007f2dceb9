/* Contract and terms: tests/fakes/fake_processor.h. */

#include "tests/fakes/fake_processor.h"

#include "efi/interrupt_arch.h"
#include "efi/local_apic_x86_64.h"
#include "tests/fakes/testing.h"

#define MSR_APIC_BASE  0x1Bu
#define MSR_X2APIC_ID  0x802u
#define MSR_X2APIC_END 0x80Bu
#define MSR_X2APIC_SVR 0x80Fu
#define IS_X2APIC      0x400u
#define PAGE_ID        (0x20u / 4)
#define PAGE_END       (0xB0u / 4)
#define PAGE_SPURIOUS  (0xF0u / 4)
#define NOT_ENDED      0x5A5A5A5Au

#define MESSAGE_AREA 0xFEEu

#define TIMER_VECTOR 0x20u

struct fake_processor fake_processor;

static _Alignas(4096) uint32_t apic_page[FAKE_APIC_PAGE_WORDS];

static bool is_x2apic(void)
{
    return fake_processor.apic_base & IS_X2APIC;
}

/* --- Delivering ------------------------------------------------------------------------------- */

static void run_handler(uint8_t vector)
{
    fake_processor.is_enabled = false;
    fake_processor.is_handling = true;
    fake_processor.handlers[vector](vector, NULL);
    fake_processor.is_handling = false;
    fake_processor.is_enabled = true;
    fake_processor.n_handled++;
}

static void deliver(uint8_t vector)
{
    unsigned n_msr_ends = fake_processor.n_msr_ends;

    if (!fake_processor.handlers[vector])
        fail_msg("vector 0x%x comes, and nobody would end it", vector);
    apic_page[PAGE_END] = NOT_ENDED;
    run_handler(vector);
    assert_int_equal(fake_processor.n_msr_ends - n_msr_ends, is_x2apic());
    assert_int_equal(apic_page[PAGE_END], is_x2apic() ? NOT_ENDED : 0);
}

/* The highest first. */
static bool deliver_pending(void)
{
    for (unsigned vector = FAKE_VECTORS; vector-- > 0;) {
        if (!fake_processor.is_pending[vector])
            continue;
        fake_processor.is_pending[vector] = false;
        deliver((uint8_t)vector);
        return true;
    }
    return false;
}

static bool deliver_line(void)
{
    for (unsigned irq = 0; irq < FAKE_IRQS; irq++) {
        unsigned vector = FAKE_IRQ_VECTOR + irq;
        if (!fake_processor.irq_is_enabled[irq] || !fake_processor.line_is_raised ||
            !fake_processor.line_is_raised(irq))
            continue;
        if (!fake_processor.handlers[vector])
            fail_msg("IRQ %u comes, and nobody would end it", irq);
        fake_processor.irq_in_service = (int)irq;
        run_handler((uint8_t)vector);
        assert_int_equal(fake_processor.irq_in_service, -1);
        return true;
    }
    return false;
}

/* Whether anything came. */
static bool deliver_all(void)
{
    bool any = false;

    while (fake_processor.is_enabled && (deliver_pending() || deliver_line()))
        any = true;
    return any;
}

void fake_processor_raise(uint8_t vector)
{
    fake_processor.is_pending[vector] = true;
    (void)deliver_all();
}

void fake_processor_receive(uint64_t address, uint32_t data)
{
    assert_int_equal(address >> 20, MESSAGE_AREA);
    assert_int_equal((address >> 12) & 0xFF, fake_processor.apic_id);
    assert_int_equal(address & 0xFFF, 0); /* to one processor, by its number */
    assert_in_range(data, 0x20, 0xFE);    /* fixed delivery, edge */
    fake_processor_raise((uint8_t)data);
}

void fake_processor_look_at_lines(void)
{
    (void)deliver_all();
}

unsigned fake_processor_handlers(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < FAKE_VECTORS; i++)
        n += fake_processor.handlers[i] != NULL;
    return n;
}

/* --- Instructions ----------------------------------------------------------------------------- */

bool interrupt_arch_is_enabled(void)
{
    return fake_processor.is_enabled;
}

void interrupt_arch_disable(void)
{
    fake_processor.is_enabled = false;
}

void interrupt_arch_enable(void)
{
    fake_processor.is_enabled = true;
    (void)deliver_all();
}

void interrupt_arch_enable_and_halt(void)
{
    assert_false(fake_processor.is_enabled);
    fake_processor.n_halts++;
    if (fake_processor.before_halt)
        fake_processor.before_halt();
    fake_processor.is_enabled = true;
    if (deliver_all())
        return;
    unsigned n_handled = fake_processor.n_handled;
    if (fake_processor.at_halt)
        fake_processor.at_halt();
    fake_processor.n_ticks += fake_processor.n_handled == n_handled;
}

uint64_t local_apic_read_msr(uint32_t number)
{
    apic_page[PAGE_ID] = fake_processor.apic_id << 24;
    apic_page[PAGE_SPURIOUS] = fake_processor.apic_spurious;
    if (number == MSR_APIC_BASE)
        return fake_processor.apic_base | (uintptr_t)apic_page;
    assert_true(is_x2apic()); /* elsewhere such registers are an exception */
    assert_true(number == MSR_X2APIC_ID || number == MSR_X2APIC_SVR);
    return number == MSR_X2APIC_ID ? fake_processor.apic_id : fake_processor.apic_spurious;
}

void local_apic_write_msr(uint32_t number, uint64_t value)
{
    assert_true(is_x2apic());
    assert_int_equal(number, MSR_X2APIC_END);
    assert_int_equal(value, 0); /* all else is an exception */
    fake_processor.n_msr_ends++;
}

/* --- Protocols -------------------------------------------------------------------------------- */

static EFI_STATUS EFIAPI fake_register(EFI_CPU_ARCH_PROTOCOL *protocol, INTN vector,
                                       EFI_CPU_INTERRUPT_HANDLER handler)
{
    (void)protocol;
    assert_false(fake_processor.is_handling);
    if (vector < 0 || vector >= (INTN)FAKE_VECTORS)
        return EFI_UNSUPPORTED;
    if (handler)
        assert_true(vector >= (INTN)TIMER_VECTOR); /* nobody else would see his exceptions */
    if (handler && (fake_processor.is_taken[vector] || fake_processor.handlers[vector]))
        return EFI_ALREADY_STARTED;
    if (!handler && !fake_processor.handlers[vector])
        fail_msg("vector 0x%x is given back, and nobody of ours has it", (unsigned)vector);
    fake_processor.handlers[vector] = handler;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_get_timer_period(EFI_TIMER_ARCH_PROTOCOL *protocol,
                                               UINT64 *ret_period)
{
    (void)protocol;
    assert_false(fake_processor.is_handling);
    *ret_period = fake_processor.timer_period;
    return fake_processor.timer_fails ? EFI_DEVICE_ERROR : EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_get_vector(EFI_LEGACY_8259_PROTOCOL *protocol, INT32 irq,
                                         UINT8 *ret_vector)
{
    (void)protocol;
    if (irq < 0 || irq >= (INT32)FAKE_IRQS)
        return EFI_INVALID_PARAMETER;
    *ret_vector = (UINT8)(FAKE_IRQ_VECTOR + (UINT32)irq);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_enable_irq(EFI_LEGACY_8259_PROTOCOL *protocol, INT32 irq,
                                         BOOLEAN is_level)
{
    (void)protocol;
    assert_in_range(irq, 0, FAKE_IRQS - 1);
    assert_true(is_level);
    assert_false(fake_processor.is_handling);
    fake_processor.irq_is_enabled[irq] = true;
    (void)deliver_all();
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_disable_irq(EFI_LEGACY_8259_PROTOCOL *protocol, INT32 irq)
{
    (void)protocol;
    assert_in_range(irq, 0, FAKE_IRQS - 1);
    fake_processor.irq_is_enabled[irq] = false;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_end_of_interrupt(EFI_LEGACY_8259_PROTOCOL *protocol, INT32 irq)
{
    (void)protocol;
    assert_int_equal(fake_processor.irq_in_service, irq);
    fake_processor.irq_in_service = -1;
    return EFI_SUCCESS;
}

static EFI_CPU_ARCH_PROTOCOL cpu_protocol = {.RegisterInterruptHandler = fake_register};
static EFI_TIMER_ARCH_PROTOCOL timer_protocol = {.GetTimerPeriod = fake_get_timer_period};
static EFI_LEGACY_8259_PROTOCOL legacy_8259_protocol = {
    .GetVector = fake_get_vector,
    .EnableIrq = fake_enable_irq,
    .DisableIrq = fake_disable_irq,
    .EndOfInterrupt = fake_end_of_interrupt,
};

static bool is_guid(const EFI_GUID *guid, EFI_GUID other)
{
    return memcmp(guid, &other, sizeof(other)) == 0;
}

static EFI_STATUS EFIAPI fake_locate(EFI_GUID *guid, VOID *registration, VOID **ret_protocol)
{
    assert_null(registration);
    assert_false(fake_processor.is_handling);
    *ret_protocol = NULL;
    if (is_guid(guid, (EFI_GUID)EFI_CPU_ARCH_PROTOCOL_GUID) && fake_processor.has_cpu_protocol)
        *ret_protocol = &cpu_protocol;
    if (is_guid(guid, (EFI_GUID)EFI_TIMER_ARCH_PROTOCOL_GUID) && fake_processor.has_timer_protocol)
        *ret_protocol = &timer_protocol;
    if (is_guid(guid, (EFI_GUID)EFI_LEGACY_8259_PROTOCOL_GUID) && fake_processor.has_8259_protocol)
        *ret_protocol = &legacy_8259_protocol;
    return *ret_protocol ? EFI_SUCCESS : EFI_NOT_FOUND;
}

void fake_processor_init(void)
{
    fake_processor = (struct fake_processor){
        .has_cpu_protocol = true,
        .has_timer_protocol = true,
        .timer_period = 100000,
        .is_enabled = true,
        .apic_base = 0x900,
        .apic_spurious = 0x10F,
        .irq_in_service = -1,
    };
    fake_processor.is_taken[TIMER_VECTOR] = true;
    BS->LocateProtocol = fake_locate;
}
