/* efi/interrupt.h: vectors, lines, handlers and sleeping, on a processor that is strict with them. */

#include "efi/interrupt.h"
#include "tests/fakes/fake_msix.h"
#include "tests/fakes/fake_processor.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define DEVICES       3u
#define QUEUES        1u
#define VECTORS       2u /* of each device: configuration and queue */
#define IRQ           11u
#define IRQ_VECTOR    (FAKE_IRQ_VECTOR + IRQ)
#define ISR_QUEUE     1u
#define ISR_CONFIG    2u
#define FOUND_COMMAND 0x0406u /* interrupts disabled */

/* A device with a function and an ISR status. */
struct device {
    struct fake_msix function;
    struct interrupt interrupt;
    struct vio_transport transport;
    uint8_t isr;
    bool is_gone;
    unsigned n_isr_reads;
};

static struct device devices[DEVICES];
static struct interrupt *const interrupt = &devices[0].interrupt;
static bool others_raise_line; /* somebody else's device does, for good */

static uint8_t read_isr(void *context)
{
    struct device *device = context;
    uint8_t isr = device->isr;

    device->n_isr_reads++;
    device->isr = 0;
    return device->is_gone ? 0xFF : isr;
}

static bool line_is_raised(unsigned irq)
{
    bool is_raised = others_raise_line;

    for (unsigned i = 0; i < DEVICES; i++) {
        uint16_t command = (uint16_t)(devices[i].function.config[PCI_COMMAND] |
                                      devices[i].function.config[PCI_COMMAND + 1] << 8);
        is_raised |= devices[i].isr != 0 && !(command & PCI_COMMAND_INTERRUPT_DISABLE);
    }
    return irq == IRQ && is_raised;
}

static const struct vio_transport_ops transport_ops = {.read_interrupt_status = read_isr};

static int set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    fake_processor_init();
    fake_processor.line_is_raised = line_is_raised;
    fake_processor.apic_id = 3;
    others_raise_line = false;
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *device = &devices[i];
        *device = (struct device){.transport = {.ops = &transport_ops, .context = device}};
        fake_msix_init(&device->function, VECTORS);
        device->function.on_message = fake_processor_receive;
        device->function.config[PCI_INTERRUPT_LINE] = IRQ;
        device->function.config[PCI_INTERRUPT_PIN] = 1;
        device->function.config[PCI_COMMAND] = FOUND_COMMAND & 0xFF;
        device->function.config[PCI_COMMAND + 1] = FOUND_COMMAND >> 8;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEVICES; i++)
        interrupt_close(&devices[i].interrupt);
    assert_int_equal(fake_processor_handlers(), 0);
    assert_true(fake_processor.is_enabled);
    return 0;
}

static void open_device(unsigned number, enum interrupt_mode mode)
{
    struct device *device = &devices[number];

    memset(&device->interrupt, 0x5A, sizeof(device->interrupt));
    interrupt_open(&device->interrupt, &device->function.function, mode);
    interrupt_attach(&device->interrupt, &device->transport);
}

static void open_vectors(void)
{
    open_device(0, INTERRUPT_AUTO);
    assert_int_equal(interrupt_ready(interrupt).n_vectors, VECTORS);
}

static void remove_msix(unsigned number)
{
    devices[number].function.config[FAKE_MSIX_BEFORE + 1] = 0;
}

static void open_line(unsigned number)
{
    fake_processor.has_8259_protocol = true;
    remove_msix(number);
    open_device(number, INTERRUPT_AUTO);
    assert_true(interrupt_ready(&devices[number].interrupt).has_line);
}

static void raise(unsigned entry)
{
    fake_msix_raise(&devices[0].function, entry);
}

static void raise_queue(void)
{
    raise(1);
}

static void raise_line(unsigned number, uint8_t isr)
{
    devices[number].isr |= isr;
    fake_processor_look_at_lines();
}

static void take_vectors_but(unsigned n_free)
{
    for (unsigned vector = 0x21; vector < FAKE_VECTORS; vector++)
        fake_processor.is_taken[vector] = true;
    for (unsigned i = 0; i < n_free; i++)
        fake_processor.is_taken[0x80 + 7 * i] = false;
}

static uint16_t command_of(unsigned number)
{
    const uint8_t *config = devices[number].function.config;

    return (uint16_t)(config[PCI_COMMAND] | config[PCI_COMMAND + 1] << 8);
}

/* Polled: nothing was changed, and why is said. */
static void assert_polled(unsigned number, const char *reason)
{
    const struct interrupt *polled = &devices[number].interrupt;
    struct vio_interrupts ready = interrupt_ready(polled);

    assert_int_equal(ready.n_vectors, 0);
    assert_false(ready.has_line);
    assert_string_equal(polled->reason, reason);
    assert_int_equal(interrupt_sleep(&devices[number].interrupt), 0);
    assert_int_equal(fake_msix_control(&devices[number].function), VECTORS - 1);
    assert_int_equal(command_of(number), FOUND_COMMAND);
}

/* --- Vectors ---------------------------------------------------------------------------------- */

static void given_msix_when_opened_then_a_free_vector_for_each_entry(void **state)
{
    (void)state;
    open_vectors();

    raise(0);
    raise(1);

    assert_null(interrupt->reason);
    assert_int_equal(fake_processor_handlers(), VECTORS);
    assert_int_equal(interrupt->n_interrupts, 2);
    assert_true(fake_msix_control(&devices[0].function) & PCI_MSIX_ENABLE);
}

static void
given_any_table_size_when_opened_then_no_more_vectors_than_entries_or_queues(void **state)
{
    /* Checks: PCI-MSIX-1, PCI-MSIX-3, PCI-MSIX-4 */
    static const unsigned sizes[] = {1, 2, 8, 9, 10, 2048};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct fake_msix *function = &devices[0].function;
        fake_msix_init(function, sizes[i]);
        function->on_message = fake_processor_receive;

        open_device(0, INTERRUPT_AUTO);

        unsigned n_vectors = interrupt_ready(interrupt).n_vectors;
        unsigned n_expected = sizes[i] < INTERRUPT_VECTORS_MAX ? sizes[i] : INTERRUPT_VECTORS_MAX;
        assert_int_equal(n_vectors, n_expected);
        fake_msix_raise(function, n_vectors - 1);
        assert_int_equal(interrupt->n_interrupts, 1);
        interrupt_close(interrupt);
    }
}

static void given_taken_vectors_when_opened_then_others_are_found(void **state)
{
    (void)state;
    take_vectors_but(VECTORS);

    open_vectors();

    assert_non_null(fake_processor.handlers[0x80]);
    assert_non_null(fake_processor.handlers[0x87]);
}

static void
given_vectors_at_either_end_when_opened_then_those_of_others_are_left_alone(void **state)
{
    (void)state;
    take_vectors_but(0);
    fake_processor.is_taken[0x77] = false;
    fake_processor.is_taken[0x78] = false;
    fake_processor.is_taken[0xEF] = false;
    fake_processor.is_taken[0xF0] = false;

    open_vectors();

    assert_non_null(fake_processor.handlers[0x78]);
    assert_non_null(fake_processor.handlers[0xEF]);
    interrupt_close(interrupt);
    fake_processor.is_taken[0x78] = true;
    open_device(0, INTERRUPT_AUTO);
    assert_int_equal(interrupt_ready(interrupt).n_vectors, 1);
}

static void given_fewer_vectors_than_entries_when_opened_then_as_many_as_there_are(void **state)
{
    /* Checks: PCI-MSIX-6 */
    (void)state;
    take_vectors_but(1);

    open_device(0, INTERRUPT_AUTO);

    assert_int_equal(interrupt_ready(interrupt).n_vectors, 1);
    assert_null(interrupt->reason);
    raise(0);
    raise(1); /* nobody told the device of it, and its entry is masked */
    assert_int_equal(interrupt->n_interrupts, 1);
}

static void given_no_free_vector_when_opened_then_polled(void **state)
{
    (void)state;
    take_vectors_but(0);

    open_device(0, INTERRUPT_AUTO);

    assert_polled(0, "all interrupt vectors are taken");
}

static void given_more_devices_than_vectors_when_opened_then_the_rest_is_polled(void **state)
{
    (void)state;
    take_vectors_but(3);

    for (unsigned i = 0; i < DEVICES; i++)
        open_device(i, INTERRUPT_AUTO);

    assert_int_equal(interrupt_ready(&devices[0].interrupt).n_vectors, 2);
    assert_int_equal(interrupt_ready(&devices[1].interrupt).n_vectors, 1);
    assert_polled(2, "all interrupt vectors are taken");
    interrupt_close(&devices[0].interrupt);
    open_device(2, INTERRUPT_AUTO);
    assert_int_equal(interrupt_ready(&devices[2].interrupt).n_vectors, 2);
}

static void given_table_outside_of_its_bar_when_opened_then_polled(void **state)
{
    (void)state;
    fake_msix_set_table(&devices[0].function, 0x10000 | FAKE_MSIX_BAR);

    open_device(0, INTERRUPT_AUTO);

    assert_polled(0, "its MSI-X table cannot be reached");
}

static void given_a_reason_against_vectors_when_there_is_a_line_then_the_line(void **state)
{
    (void)state;
    fake_processor.has_8259_protocol = true;
    take_vectors_but(0);
    fake_processor.is_taken[IRQ_VECTOR] = false;

    open_device(0, INTERRUPT_AUTO);

    assert_true(interrupt_ready(interrupt).has_line);
    assert_null(interrupt->reason);
}

static void given_firmware_without_the_protocols_when_opened_then_polled(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        fake_processor.has_cpu_protocol = i != 0;
        fake_processor.has_timer_protocol = i != 1;
        fake_processor.has_8259_protocol = true;

        open_device(0, INTERRUPT_AUTO);

        assert_polled(0, "the firmware lets nobody have interrupts");
        interrupt_close(interrupt);
    }
}

static void given_polling_asked_for_when_opened_then_nothing_is_touched(void **state)
{
    (void)state;
    open_line(1); /* so that the way is known */

    open_device(0, INTERRUPT_POLL);

    assert_int_equal(fake_processor_handlers(), 1);
    assert_int_equal(interrupt_ready(interrupt).n_vectors, 0);
    assert_false(interrupt_ready(interrupt).has_line);
    assert_int_equal(interrupt_sleep(interrupt), 0);
    assert_int_equal(fake_msix_control(&devices[0].function), VECTORS - 1);
}

/* --- The local APIC --------------------------------------------------------------------------- */

static void given_any_apic_when_opened_then_reached_or_polled(void **state)
{
    static const struct {
        uint64_t base;
        uint32_t id;
        uint32_t spurious;
        bool is_reached;
    } cases[] = {
        {0x900, 0, 0x10F, true},     /* xAPIC */
        {0x900, 0xFE, 0x1FF, true},  /* its last number */
        {0x900, 0xFF, 0x10F, false}, /* that means all */
        {0x100, 0, 0x10F, false},    /* off */
        {0x900, 0, 0x00F, false},    /* off by software */
        {0xD00, 0, 0x10F, true},     /* x2APIC */
        {0xD00, 0xFE, 0x10F, true},  /* */
        {0xD00, 0xFF, 0x10F, false}, /* */
        {0xD00, 0x100, 0x10F, false} /* too large for a message */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake_processor.apic_base = cases[i].base;
        fake_processor.apic_id = cases[i].id;
        fake_processor.apic_spurious = cases[i].spurious;

        open_device(0, INTERRUPT_AUTO);

        if (cases[i].is_reached) {
            raise(0); /* the fake checks that it is ended as this APIC wants it */
            assert_int_equal(interrupt->n_interrupts, 1);
        } else {
            assert_polled(0, "its messages cannot reach the processor");
        }
        interrupt_close(interrupt);
    }
}

/* --- Sleeping --------------------------------------------------------------------------------- */

static void given_interrupt_while_asleep_when_woken_then_slept_once(void **state)
{
    (void)state;
    open_vectors();
    fake_processor.at_halt = raise_queue;

    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT | VIO_SLEPT_INTERRUPT);

    assert_int_equal(fake_processor.n_halts, 1);
    assert_int_equal(fake_processor.n_ticks, 0);
    assert_int_equal(interrupt->n_interrupts, 1);
    assert_int_equal(interrupt->n_unexpected, 0);
    raise_queue();
    assert_int_equal(interrupt->n_unexpected, 1);
}

static void given_interrupt_before_when_asleep_then_it_ends_at_once_and_only_once(void **state)
{
    (void)state;
    open_vectors();
    raise_queue();

    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT | VIO_SLEPT_INTERRUPT);
    assert_int_equal(fake_processor.n_halts, 0);
    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT);

    assert_int_equal(fake_processor.n_halts, 1);
    assert_int_equal(fake_processor.n_ticks, 1);
    assert_int_equal(interrupt->n_unexpected, 1);
}

static void given_interrupt_between_the_last_look_and_the_halt_then_not_lost(void **state)
{
    (void)state;
    open_vectors();
    fake_processor.before_halt = raise_queue;

    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT | VIO_SLEPT_INTERRUPT);

    assert_int_equal(fake_processor.n_halts, 1);
    assert_int_equal(fake_processor.n_ticks, 0);
}

static void given_no_interrupt_when_asleep_then_the_timer_ends_it(void **state)
{
    (void)state;
    open_vectors();

    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT);

    assert_int_equal(fake_processor.n_ticks, 1);
}

static void raise_config(void)
{
    raise(0);
}

static void given_vector_of_the_configuration_when_asleep_then_told_once(void **state)
{
    (void)state;
    open_vectors();
    fake_processor.at_halt = raise_config;

    assert_int_equal(interrupt_sleep(interrupt),
                     VIO_SLEPT | VIO_SLEPT_INTERRUPT | VIO_SLEPT_CONFIG);
    fake_processor.at_halt = raise_queue;
    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT | VIO_SLEPT_INTERRUPT);
}

static void given_other_devices_interrupt_when_asleep_then_not_taken_for_ours(void **state)
{
    (void)state;
    open_vectors();
    open_device(1, INTERRUPT_AUTO);

    fake_msix_raise(&devices[1].function, 0);

    assert_int_equal(interrupt->n_interrupts, 0);
    assert_int_equal(devices[1].interrupt.n_interrupts, 1);
    (void)interrupt_sleep(interrupt);
    assert_int_equal(fake_processor.n_halts, 1);
}

static void given_no_tick_in_time_when_asked_to_sleep_then_refused(void **state)
{
    static const uint64_t periods[] = {0, 1000001, UINT64_MAX};

    (void)state;
    open_vectors();
    for (unsigned i = 0; i < ARRAY_LENGTH(periods); i++) {
        fake_processor.timer_period = periods[i];
        assert_int_equal(interrupt_sleep(interrupt), 0);
    }
    fake_processor.timer_fails = true;
    fake_processor.timer_period = 1;
    assert_int_equal(interrupt_sleep(interrupt), 0);
    assert_int_equal(fake_processor.n_halts, 0);
    fake_processor.timer_fails = false;
    fake_processor.timer_period = 1000000;
    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT);
}

static void
given_interrupts_disabled_when_asked_to_sleep_then_refused_and_still_disabled(void **state)
{
    (void)state;
    open_vectors();
    fake_processor.is_enabled = false;

    assert_int_equal(interrupt_sleep(interrupt), 0);

    assert_false(fake_processor.is_enabled);
    fake_processor.is_enabled = true;
}

/* --- Settling and closing --------------------------------------------------------------------- */

static void given_vectors_to_spare_when_settled_then_others_can_have_them(void **state)
{
    (void)state;
    fake_msix_init(&devices[0].function, 9);
    devices[0].function.on_message = fake_processor_receive;
    take_vectors_but(9);
    open_device(0, INTERRUPT_AUTO);
    assert_int_equal(interrupt_ready(interrupt).n_vectors, 9);

    interrupt_settle(interrupt, VIO_OWN_VECTORS, QUEUES);

    assert_int_equal(interrupt_ready(interrupt).n_vectors, VECTORS);
    assert_int_equal(fake_processor_handlers(), VECTORS);
    raise(0);
    raise(1);
    raise(2); /* masked */
    assert_int_equal(interrupt->n_interrupts, 2);
    open_device(1, INTERRUPT_AUTO);
    assert_int_equal(interrupt_ready(&devices[1].interrupt).n_vectors, VECTORS);
}

static void given_too_few_vectors_for_all_when_settled_then_one_is_kept(void **state)
{
    (void)state;
    fake_msix_init(&devices[0].function, 3);
    devices[0].function.on_message = fake_processor_receive;
    open_device(0, INTERRUPT_AUTO);
    assert_int_equal(interrupt_ready(interrupt).n_vectors, 3);

    interrupt_settle(interrupt, VIO_SHARED_VECTOR, 4);

    assert_int_equal(interrupt_ready(interrupt).n_vectors, 1);
    assert_int_equal(fake_processor_handlers(), 1);
    raise(0);
    assert_int_equal(interrupt->n_interrupts, 1);
}

static void given_device_that_refused_one_when_settled_then_the_others_stay(void **state)
{
    (void)state;
    fake_msix_init(&devices[0].function, 3);
    devices[0].function.on_message = fake_processor_receive;
    open_device(0, INTERRUPT_AUTO);

    interrupt_settle(interrupt, VIO_SHARED_VECTOR, 2);

    assert_int_equal(interrupt_ready(interrupt).n_vectors, 3);
}

static void
given_device_that_refused_all_when_settled_then_polled_and_msix_stays_enabled(void **state)
{
    /* Checks: PCI-MSIX-6 */
    (void)state;
    open_vectors();

    interrupt_settle(interrupt, VIO_POLLED, QUEUES);

    assert_int_equal(fake_processor_handlers(), 0);
    assert_string_equal(interrupt->reason, "it has no resources for interrupts");
    assert_int_equal(interrupt_sleep(interrupt), 0);
    assert_true(fake_msix_control(&devices[0].function) & PCI_MSIX_ENABLE);
    raise(0);
    raise(1);
    interrupt_close(interrupt);
    assert_int_equal(fake_msix_control(&devices[0].function), VECTORS - 1);
}

static void given_a_reason_when_settled_then_it_stays(void **state)
{
    (void)state;
    take_vectors_but(0);
    open_device(0, INTERRUPT_AUTO);

    interrupt_settle(interrupt, VIO_POLLED, QUEUES);

    assert_polled(0, "all interrupt vectors are taken");
}

static void given_vectors_when_closed_then_handlers_gone_masked_and_as_found(void **state)
{
    (void)state;
    open_vectors();

    interrupt_close(interrupt);

    assert_int_equal(fake_processor_handlers(), 0);
    assert_int_equal(fake_msix_control(&devices[0].function), VECTORS - 1);
    assert_true(fake_msix_is_masked(&devices[0].function, 0));
    assert_true(fake_msix_is_masked(&devices[0].function, 1));
    assert_int_equal(interrupt_sleep(interrupt), 0);
    raise(0);
    raise(1);
    interrupt_close(interrupt); /* as after ExitBootServices(), when Stop() comes as well */
}

static void given_zeroed_when_closed_then_nothing(void **state)
{
    (void)state;
    *interrupt = (struct interrupt){0};

    interrupt_close(interrupt);
}

static void given_several_devices_when_one_is_closed_then_the_others_go_on(void **state)
{
    (void)state;
    for (unsigned closed = 0; closed < DEVICES; closed++) {
        for (unsigned i = 0; i < DEVICES; i++)
            open_device(i, INTERRUPT_AUTO);

        interrupt_close(&devices[closed].interrupt);

        for (unsigned i = 0; i < DEVICES; i++) {
            fake_msix_raise(&devices[i].function, 1);
            assert_int_equal(devices[i].interrupt.n_interrupts, i == closed ? 0 : 1);
            interrupt_close(&devices[i].interrupt);
        }
    }
}

/* --- What nobody asked for -------------------------------------------------------------------- */

static void given_storm_when_nobody_sleeps_then_counted_and_one_sleep_is_short(void **state)
{
    (void)state;
    open_vectors();

    for (unsigned i = 0; i < 10000; i++)
        raise(i % VECTORS);

    assert_int_equal(interrupt->n_interrupts, 10000);
    assert_int_equal(interrupt->n_unexpected, 10000);
    assert_int_equal(interrupt_sleep(interrupt),
                     VIO_SLEPT | VIO_SLEPT_INTERRUPT | VIO_SLEPT_CONFIG);
    assert_int_equal(fake_processor.n_halts, 0);
    (void)interrupt_sleep(interrupt);
    assert_int_equal(fake_processor.n_halts, 1);
}

static void
given_vector_that_somebody_else_raises_when_it_comes_then_ended_and_forgotten(void **state)
{
    (void)state;
    open_vectors();
    uint8_t vector = interrupt->vectors[0];
    EFI_CPU_INTERRUPT_HANDLER handler = fake_processor.handlers[vector];

    /* The device has gone and its handler not yet: between the two steps of closing. */
    interrupt_close(interrupt);
    fake_processor.handlers[vector] = handler;
    for (unsigned i = 0; i < 10000; i++)
        fake_processor_raise(vector);
    fake_processor.handlers[vector] = NULL;

    assert_int_equal(fake_processor.n_handled, 10000);
    assert_int_equal(interrupt->n_interrupts, 0);
}

/* --- The line --------------------------------------------------------------------------------- */

static void given_no_msix_when_there_is_an_8259_then_the_line(void **state)
{
    (void)state;
    open_line(0);

    assert_null(interrupt->reason);
    assert_int_equal(interrupt->irq, IRQ);
    assert_true(fake_processor.irq_is_enabled[IRQ]);
    assert_int_equal(command_of(0), FOUND_COMMAND & ~PCI_COMMAND_INTERRUPT_DISABLE);
    raise_line(0, ISR_QUEUE);
    assert_int_equal(interrupt->n_interrupts, 1);
}

static void given_no_way_to_a_line_when_opened_then_polled(void **state)
{
    static const struct {
        bool has_8259;
        uint8_t line, pin;
        bool is_taken;
        bool isr_is_indirect;
        const char *reason;
    } cases[] = {
        {false, IRQ, 1, false, false, "the firmware offers no way to its interrupt line"},
        {true, 255, 1, false, false, "its interrupt line leads nowhere"},
        {true, 16, 1, false, false, "its interrupt line leads nowhere"},
        {true, IRQ, 0, false, false, "its interrupt line leads nowhere"},
        {true, IRQ, 1, true, false, "its interrupt line is taken"},
        {true, IRQ, 1, false, true, "its ISR status cannot be read by a handler"},
    };

    (void)state;
    remove_msix(0);
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        fake_processor.has_8259_protocol = cases[i].has_8259;
        fake_processor.is_taken[IRQ_VECTOR] = cases[i].is_taken;
        devices[0].function.config[PCI_INTERRUPT_LINE] = cases[i].line;
        devices[0].function.config[PCI_INTERRUPT_PIN] = cases[i].pin;
        devices[0].transport.isr_is_indirect = cases[i].isr_is_indirect;

        open_device(0, INTERRUPT_AUTO);

        assert_polled(0, cases[i].reason);
        assert_false(fake_processor.irq_is_enabled[IRQ]);
        interrupt_close(interrupt);
    }
}

static void raise_both(void)
{
    raise_line(0, ISR_QUEUE | ISR_CONFIG);
}

static void given_interrupt_for_both_when_asleep_then_both_are_served(void **state)
{
    /* Checks: PCI-INT-1 */
    (void)state;
    open_line(0);
    fake_processor.at_halt = raise_both;

    assert_int_equal(interrupt_sleep(interrupt),
                     VIO_SLEPT | VIO_SLEPT_INTERRUPT | VIO_SLEPT_CONFIG);

    assert_int_equal(interrupt->n_interrupts, 1);
    assert_int_equal(devices[0].n_isr_reads, 1);
}

static void raise_line_for_config(void)
{
    raise_line(0, ISR_CONFIG);
}

static void given_line_for_the_configuration_alone_when_asleep_then_told(void **state)
{
    (void)state;
    open_line(0);
    fake_processor.at_halt = raise_line_for_config;

    assert_int_equal(interrupt_sleep(interrupt),
                     VIO_SLEPT | VIO_SLEPT_INTERRUPT | VIO_SLEPT_CONFIG);
    assert_int_equal(interrupt->n_interrupts, 1);
}

static void given_one_vector_for_both_when_asleep_then_both_are_served(void **state)
{
    /* Checks: PCI-INT-1 */
    (void)state;
    take_vectors_but(1);
    open_device(0, INTERRUPT_AUTO);
    interrupt_settle(interrupt, VIO_SHARED_VECTOR, QUEUES);
    fake_processor.at_halt = raise_config;

    assert_int_equal(interrupt_sleep(interrupt),
                     VIO_SLEPT | VIO_SLEPT_INTERRUPT | VIO_SLEPT_CONFIG);
}

static void given_vectors_when_interrupts_come_then_isr_is_not_read(void **state)
{
    /* Checks: PCI-ISR-1 */
    (void)state;
    open_vectors();

    raise(0);
    raise(1);
    (void)interrupt_sleep(interrupt);

    assert_int_equal(devices[0].n_isr_reads, 0);
}

static void given_line_of_several_when_one_raises_it_then_only_he_is_told(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEVICES; i++)
        open_line(i);
    assert_int_equal(fake_processor_handlers(), 1);

    raise_line(1, ISR_QUEUE);

    assert_int_equal(devices[0].interrupt.n_interrupts, 0);
    assert_int_equal(devices[1].interrupt.n_interrupts, 1);
    assert_int_equal(devices[2].interrupt.n_interrupts, 0);
}

static void given_two_lines_when_one_is_raised_then_only_its_devices_are_asked(void **state)
{
    (void)state;
    devices[1].function.config[PCI_INTERRUPT_LINE] = IRQ - 1;
    open_line(0);
    open_line(1);
    assert_int_equal(fake_processor_handlers(), 2);

    raise_line(0, ISR_QUEUE);

    assert_int_equal(devices[0].n_isr_reads, 1);
    assert_int_equal(devices[1].n_isr_reads, 0);
    interrupt_close(&devices[0].interrupt);
    assert_true(fake_processor.irq_is_enabled[IRQ - 1]);
    assert_false(fake_processor.irq_is_enabled[IRQ]);
}

static void given_line_of_several_when_closed_one_by_one_then_the_last_masks_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEVICES; i++)
        open_line(i);

    for (unsigned i = 0; i < DEVICES; i++) {
        assert_true(fake_processor.irq_is_enabled[IRQ]);
        assert_int_equal(fake_processor_handlers(), 1);
        interrupt_close(&devices[i].interrupt);
        assert_int_equal(command_of(i), FOUND_COMMAND);
        assert_int_equal(interrupt_sleep(&devices[i].interrupt), 0);
        if (i + 1 < DEVICES)
            raise_line(i + 1, ISR_QUEUE);
    }

    assert_false(fake_processor.irq_is_enabled[IRQ]);
    assert_int_equal(fake_processor_handlers(), 0);
}

static void given_device_cut_off_from_the_bus_when_its_line_is_closed_then_it_stays_so(void **state)
{
    (void)state;
    open_line(0);
    devices[0].function.config[PCI_COMMAND] &= (uint8_t)~PCI_COMMAND_BUS_MASTER;

    interrupt_close(interrupt);

    assert_int_equal(command_of(0), FOUND_COMMAND & ~PCI_COMMAND_BUS_MASTER);
}

static void given_line_that_stays_raised_when_nobody_of_ours_does_it_then_given_up(void **state)
{
    (void)state;
    open_line(0);
    open_line(1);
    others_raise_line = true;

    fake_processor_look_at_lines();

    assert_int_equal(fake_processor.n_handled, INTERRUPT_STRAYS_MAX);
    assert_false(fake_processor.irq_is_enabled[IRQ]);
    assert_int_equal(interrupt_sleep(interrupt), 0);
    assert_int_equal(interrupt_sleep(&devices[1].interrupt), 0);
    assert_int_equal(interrupt->n_interrupts, 0);
}

static void given_interrupts_of_any_device_when_there_are_many_then_none_is_a_stray(void **state)
{
    (void)state;
    open_line(0);
    open_line(1);

    for (unsigned number = 0; number < 2; number++) {
        for (unsigned i = 0; i < INTERRUPT_STRAYS_MAX; i++)
            raise_line(number, ISR_QUEUE);
        assert_true(fake_processor.irq_is_enabled[IRQ]);
    }
}

static void given_device_of_ours_that_raises_its_line_for_ever_then_given_up(void **state)
{
    (void)state;
    open_line(0);

    for (unsigned i = 0; i < INTERRUPT_STORM_MAX; i++)
        raise_line(0, ISR_QUEUE);

    assert_false(fake_processor.irq_is_enabled[IRQ]);
    assert_int_equal(interrupt->n_interrupts, INTERRUPT_STORM_MAX);
    assert_int_equal(interrupt_sleep(interrupt), 0);
}

static void given_many_interrupts_when_slept_in_between_then_the_line_is_kept(void **state)
{
    (void)state;
    open_line(0);

    for (unsigned i = 0; i < 2 * INTERRUPT_STORM_MAX; i++) {
        raise_line(0, ISR_QUEUE);
        assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT | VIO_SLEPT_INTERRUPT);
    }

    assert_true(fake_processor.irq_is_enabled[IRQ]);
}

static void given_stray_interrupts_between_ours_when_counted_then_the_line_is_kept(void **state)
{
    (void)state;
    open_line(0);
    for (unsigned i = 0; i < 2 * INTERRUPT_STRAYS_MAX; i++) {
        others_raise_line = true;
        fake_processor.irq_is_enabled[IRQ] = false;
        /* One stray, and then one of ours. */
        fake_processor.irq_in_service = IRQ;
        fake_processor.handlers[IRQ_VECTOR](IRQ_VECTOR, NULL);
        others_raise_line = false;
        fake_processor.irq_is_enabled[IRQ] = true;
        raise_line(0, ISR_QUEUE);
    }

    assert_true(fake_processor.irq_is_enabled[IRQ]);
    assert_int_equal(interrupt->n_interrupts, 2 * INTERRUPT_STRAYS_MAX);
    assert_int_equal(interrupt_sleep(interrupt), VIO_SLEPT | VIO_SLEPT_INTERRUPT);
}

static void
given_device_that_is_gone_when_its_isr_is_read_then_not_taken_for_an_answer(void **state)
{
    (void)state;
    open_line(0);
    devices[0].is_gone = true;

    raise_line(0, ISR_QUEUE);

    assert_int_equal(interrupt->n_interrupts, 0);
}

#define INTERRUPT_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INTERRUPT_TEST(given_msix_when_opened_then_a_free_vector_for_each_entry),
        INTERRUPT_TEST(
            given_any_table_size_when_opened_then_no_more_vectors_than_entries_or_queues),
        INTERRUPT_TEST(given_taken_vectors_when_opened_then_others_are_found),
        INTERRUPT_TEST(given_vectors_at_either_end_when_opened_then_those_of_others_are_left_alone),
        INTERRUPT_TEST(given_fewer_vectors_than_entries_when_opened_then_as_many_as_there_are),
        INTERRUPT_TEST(given_no_free_vector_when_opened_then_polled),
        INTERRUPT_TEST(given_more_devices_than_vectors_when_opened_then_the_rest_is_polled),
        INTERRUPT_TEST(given_table_outside_of_its_bar_when_opened_then_polled),
        INTERRUPT_TEST(given_a_reason_against_vectors_when_there_is_a_line_then_the_line),
        INTERRUPT_TEST(given_firmware_without_the_protocols_when_opened_then_polled),
        INTERRUPT_TEST(given_polling_asked_for_when_opened_then_nothing_is_touched),
        INTERRUPT_TEST(given_any_apic_when_opened_then_reached_or_polled),
        INTERRUPT_TEST(given_interrupt_while_asleep_when_woken_then_slept_once),
        INTERRUPT_TEST(given_interrupt_before_when_asleep_then_it_ends_at_once_and_only_once),
        INTERRUPT_TEST(given_interrupt_between_the_last_look_and_the_halt_then_not_lost),
        INTERRUPT_TEST(given_no_interrupt_when_asleep_then_the_timer_ends_it),
        INTERRUPT_TEST(given_vector_of_the_configuration_when_asleep_then_told_once),
        INTERRUPT_TEST(given_other_devices_interrupt_when_asleep_then_not_taken_for_ours),
        INTERRUPT_TEST(given_no_tick_in_time_when_asked_to_sleep_then_refused),
        INTERRUPT_TEST(
            given_interrupts_disabled_when_asked_to_sleep_then_refused_and_still_disabled),
        INTERRUPT_TEST(given_vectors_to_spare_when_settled_then_others_can_have_them),
        INTERRUPT_TEST(
            given_device_that_refused_all_when_settled_then_polled_and_msix_stays_enabled),
        INTERRUPT_TEST(given_a_reason_when_settled_then_it_stays),
        INTERRUPT_TEST(given_vectors_when_closed_then_handlers_gone_masked_and_as_found),
        INTERRUPT_TEST(given_zeroed_when_closed_then_nothing),
        INTERRUPT_TEST(given_several_devices_when_one_is_closed_then_the_others_go_on),
        INTERRUPT_TEST(given_storm_when_nobody_sleeps_then_counted_and_one_sleep_is_short),
        INTERRUPT_TEST(
            given_vector_that_somebody_else_raises_when_it_comes_then_ended_and_forgotten),
        INTERRUPT_TEST(given_no_msix_when_there_is_an_8259_then_the_line),
        INTERRUPT_TEST(given_no_way_to_a_line_when_opened_then_polled),
        INTERRUPT_TEST(given_interrupt_for_both_when_asleep_then_both_are_served),
        INTERRUPT_TEST(given_line_for_the_configuration_alone_when_asleep_then_told),
        INTERRUPT_TEST(given_one_vector_for_both_when_asleep_then_both_are_served),
        INTERRUPT_TEST(given_vectors_when_interrupts_come_then_isr_is_not_read),
        INTERRUPT_TEST(given_line_of_several_when_one_raises_it_then_only_he_is_told),
        INTERRUPT_TEST(given_two_lines_when_one_is_raised_then_only_its_devices_are_asked),
        INTERRUPT_TEST(given_line_of_several_when_closed_one_by_one_then_the_last_masks_it),
        INTERRUPT_TEST(given_device_cut_off_from_the_bus_when_its_line_is_closed_then_it_stays_so),
        INTERRUPT_TEST(given_line_that_stays_raised_when_nobody_of_ours_does_it_then_given_up),
        INTERRUPT_TEST(given_interrupts_of_any_device_when_there_are_many_then_none_is_a_stray),
        INTERRUPT_TEST(given_stray_interrupts_between_ours_when_counted_then_the_line_is_kept),
        INTERRUPT_TEST(given_device_of_ours_that_raises_its_line_for_ever_then_given_up),
        INTERRUPT_TEST(given_many_interrupts_when_slept_in_between_then_the_line_is_kept),
        INTERRUPT_TEST(given_too_few_vectors_for_all_when_settled_then_one_is_kept),
        INTERRUPT_TEST(given_device_that_refused_one_when_settled_then_the_others_stay),
        INTERRUPT_TEST(given_device_that_is_gone_when_its_isr_is_read_then_not_taken_for_an_answer),
    };

    return cmocka_run_group_tests_name("interrupt", tests, NULL, NULL);
}
