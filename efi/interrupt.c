/* Contract and terms: efi/interrupt.h. */

#include "efi/interrupt.h"

#include "efi/interrupt_arch.h"
#include "efi/pi.h"

#define TICKS_PER_US 10u /* the firmware counts in 100 ns */
#define ISR_IS_GONE  0xFFu
#define ISR_QUEUE    0x1u
#define ISR_CONFIG   0x2u

static struct {
    EFI_CPU_ARCH_PROTOCOL *cpu;
    EFI_TIMER_ARCH_PROTOCOL *timer;
    EFI_LEGACY_8259_PROTOCOL *pic;
    struct interrupt *first; /* all that have vectors or a line */
    unsigned n_strays;
    unsigned n_on_line; /* since the last sleep */
} interrupts;

/* --- Handlers: no call of the firmware but of the 8259's registers -------------------------------- */

static void interrupt_note(struct interrupt *interrupt, unsigned flags)
{
    (void)__atomic_fetch_or(&interrupt->pending, (UINT8)(flags | VIO_SLEPT_INTERRUPT),
                            __ATOMIC_RELAXED);
    interrupt->n_interrupts++;
    interrupt->n_unexpected += !interrupt->is_asleep;
}

/* The first vector may be shared by all that the device has to tell. */
static VOID EFIAPI interrupt_on_message(INTN vector, VOID *context)
{
    (void)context;
    for (struct interrupt *each = interrupts.first; each; each = each->next) {
        for (unsigned i = 0; i < each->n_vectors; i++) {
            if (each->vectors[i] == vector)
                interrupt_note(each, i == 0 ? VIO_SLEPT_CONFIG : 0);
        }
    }
    interrupt_arch_end();
}

/* One interrupt may speak of both (4.1.5.4); what reads as all ones is a device that is gone. */
static bool interrupt_ask_device(struct interrupt *interrupt)
{
    const struct vio_transport *transport = interrupt->transport;
    UINT8 isr = transport->ops->read_interrupt_status(transport->context);

    if (isr == ISR_IS_GONE || !(isr & (ISR_QUEUE | ISR_CONFIG)))
        return false;
    interrupt_note(interrupt, isr & ISR_CONFIG ? VIO_SLEPT_CONFIG : 0);
    return true;
}

static bool interrupt_is_on_line(const struct interrupt *interrupt, INTN vector)
{
    return interrupt->has_line && interrupt->vectors[0] == vector;
}

/* Whoever else is on the line has nobody to ask him, or one of ours lies: it is raised for ever. */
static void interrupt_give_up_line(INTN vector)
{
    for (struct interrupt *each = interrupts.first; each; each = each->next) {
        if (!interrupt_is_on_line(each, vector))
            continue;
        each->is_given_up = true;
        (void)interrupts.pic->DisableIrq(interrupts.pic, each->irq); /* it was enabled */
    }
}

static VOID EFIAPI interrupt_on_line(INTN vector, VOID *context)
{
    bool is_ours = false;
    UINT8 irq = 0;

    (void)context;
    for (struct interrupt *each = interrupts.first; each; each = each->next) {
        if (!interrupt_is_on_line(each, vector))
            continue;
        irq = each->irq;
        is_ours |= interrupt_ask_device(each);
    }
    interrupts.n_strays = is_ours ? 0 : interrupts.n_strays + 1;
    interrupts.n_on_line++;
    if (interrupts.n_strays >= INTERRUPT_STRAYS_MAX ||
        interrupts.n_on_line >= INTERRUPT_STORM_MAX) {
        interrupts.n_strays = 0;
        interrupts.n_on_line = 0;
        interrupt_give_up_line(vector);
    }
    (void)interrupts.pic->EndOfInterrupt(interrupts.pic, irq); /* a write to a register */
}

static void interrupt_add(struct interrupt *interrupt)
{
    interrupt->next = interrupts.first;
    interrupts.first = interrupt;
}

static void interrupt_remove(struct interrupt *interrupt)
{
    for (struct interrupt **link = &interrupts.first; *link; link = &(*link)->next) {
        if (*link == interrupt) {
            *link = interrupt->next;
            return;
        }
    }
}

/* --- Vectors -------------------------------------------------------------------------------------- */

static EFI_STATUS interrupt_register(UINT8 vector, EFI_CPU_INTERRUPT_HANDLER handler)
{
    return interrupts.cpu->RegisterInterruptHandler(interrupts.cpu, vector, handler);
}

/* A vector that has a handler is refused; so the first that is not refused was free. */
static void interrupt_take_vectors(struct interrupt *interrupt, unsigned n_wanted)
{
    for (unsigned vector = INTERRUPT_ARCH_VECTOR_LAST;
         vector >= INTERRUPT_ARCH_VECTOR_FIRST && interrupt->n_vectors < n_wanted; vector--) {
        if (!EFI_ERROR(interrupt_register((UINT8)vector, interrupt_on_message)))
            interrupt->vectors[interrupt->n_vectors++] = (UINT8)vector;
    }
}

static void interrupt_send_to_vectors(struct interrupt *interrupt)
{
    pci_msix_enable(&interrupt->msix);
    for (UINT16 i = 0; i < interrupt->n_vectors; i++) {
        uint64_t address;
        uint32_t data;
        interrupt_arch_message(interrupt->vectors[i], &address, &data);
        pci_msix_set(&interrupt->msix, i, address, data);
    }
    pci_msix_start(&interrupt->msix);
}

/* Why it cannot be done; NULL: it was, or the function has no MSI-X. */
static const char *interrupt_open_vectors(struct interrupt *interrupt,
                                          const struct pci_function *function)
{
    vio_status status = pci_msix_open(&interrupt->msix, function);
    if (status == VIO_ERR_UNSUPPORTED)
        return NULL;
    if (status != VIO_OK)
        return "its MSI-X table cannot be reached";
    if (!interrupt_arch_open())
        return "its messages cannot reach the processor";
    interrupt_take_vectors(interrupt, interrupt->msix.n_entries < INTERRUPT_VECTORS_MAX
                                          ? interrupt->msix.n_entries
                                          : INTERRUPT_VECTORS_MAX);
    if (interrupt->n_vectors == 0)
        return "all interrupt vectors are taken";
    interrupt_add(interrupt);
    interrupt_send_to_vectors(interrupt);
    return NULL;
}

static void interrupt_drop_last(struct interrupt *interrupt)
{
    UINT8 last = --interrupt->n_vectors; /* now nobody is found by it any more */

    (void)interrupt_register(interrupt->vectors[last], NULL); /* ours, so it can be undone */
}

/* --- The line --------------------------------------------------------------------------------------- */

static unsigned interrupt_n_on_line(INTN vector)
{
    unsigned n = 0;

    for (const struct interrupt *each = interrupts.first; each; each = each->next)
        n += interrupt_is_on_line(each, vector);
    return n;
}

/* Nothing else of the command register: the device may have been cut off from the bus meanwhile. */
static UINT16 interrupt_set_disable(const struct interrupt *interrupt, UINT16 disable)
{
    UINT16 command = reg_read16(&interrupt->config, PCI_COMMAND);

    reg_write16(&interrupt->config, PCI_COMMAND,
                (UINT16)((command & ~PCI_COMMAND_INTERRUPT_DISABLE) | disable));
    return command & PCI_COMMAND_INTERRUPT_DISABLE;
}

/* Why it cannot be done, or NULL. */
static const char *interrupt_open_line(struct interrupt *interrupt)
{
    EFI_LEGACY_8259_PROTOCOL *pic = interrupts.pic;
    UINT8 irq = reg_read8(&interrupt->config, PCI_INTERRUPT_LINE);

    if (interrupt->transport->isr_is_indirect)
        return "its ISR status cannot be read by a handler";
    if (!pic)
        return "the firmware offers no way to its interrupt line";
    if (irq == 0 || reg_read8(&interrupt->config, PCI_INTERRUPT_PIN) == 0 ||
        EFI_ERROR(pic->GetVector(pic, irq, &interrupt->vectors[0])))
        return "its interrupt line leads nowhere";
    if (interrupt_n_on_line(interrupt->vectors[0]) == 0 &&
        EFI_ERROR(interrupt_register(interrupt->vectors[0], interrupt_on_line)))
        return "its interrupt line is taken";
    interrupt->irq = irq;
    interrupt->found_disable = interrupt_set_disable(interrupt, 0);
    interrupt->has_line = true;
    interrupt_add(interrupt);
    /* It has a vector, so it can be enabled. PCI's lines are level-triggered. */
    (void)pic->EnableIrq(pic, irq, TRUE);
    return NULL;
}

/* The last on the line masks it first: then nothing can come any more that nobody would end. */
static void interrupt_close_line(struct interrupt *interrupt)
{
    (void)interrupt_set_disable(interrupt, interrupt->found_disable);
    if (interrupt_n_on_line(interrupt->vectors[0]) == 1) {
        (void)interrupts.pic->DisableIrq(interrupts.pic, interrupt->irq); /* it was enabled */
        (void)interrupt_register(interrupt->vectors[0], NULL); /* ours, so it can be undone */
    }
    interrupt->has_line = false;
}

/* --- Opening and closing ------------------------------------------------------------------------------ */

static void *interrupt_locate(EFI_GUID guid)
{
    void *protocol = NULL;

    return EFI_ERROR(BS->LocateProtocol(&guid, NULL, &protocol)) ? NULL : protocol;
}

void interrupt_open(struct interrupt *interrupt, const struct pci_function *function,
                    enum interrupt_mode mode)
{
    *interrupt = (struct interrupt){.mode = mode, .config = function->config};
    if (mode == INTERRUPT_POLL)
        return;
    interrupts.cpu = interrupt_locate((EFI_GUID)EFI_CPU_ARCH_PROTOCOL_GUID);
    interrupts.timer = interrupt_locate((EFI_GUID)EFI_TIMER_ARCH_PROTOCOL_GUID);
    interrupts.pic = interrupt_locate((EFI_GUID)EFI_LEGACY_8259_PROTOCOL_GUID);
    interrupt->reason = interrupts.cpu && interrupts.timer
                            ? interrupt_open_vectors(interrupt, function)
                            : "the firmware lets nobody have interrupts";
}

void interrupt_attach(struct interrupt *interrupt, const struct vio_transport *transport)
{
    if (interrupt->n_vectors || interrupt->mode == INTERRUPT_POLL || !interrupts.cpu ||
        !interrupts.timer)
        return;
    interrupt->transport = transport;
    const char *reason = interrupt_open_line(interrupt);
    /* Who has MSI-X is told what is wrong with that. */
    if (!reason || !interrupt->reason)
        interrupt->reason = reason;
}

struct vio_interrupts interrupt_ready(const struct interrupt *interrupt)
{
    return (struct vio_interrupts){.n_vectors = interrupt->n_vectors,
                                   .has_line = interrupt->has_line};
}

/* MSI-X stays enabled, even for nothing: a transport's registers may lie where they do because of it. */
void interrupt_settle(struct interrupt *interrupt, enum vio_interrupt_use use, unsigned n_queues)
{
    unsigned n_used = interrupt->n_vectors > n_queues ? 1 + n_queues : 1;

    /* Who has too few for all uses the first. */
    if (use == VIO_POLLED)
        n_used = 0;

    if (n_used == 0 && !interrupt->reason)
        interrupt->reason = "it has no resources for interrupts";
    while (interrupt->n_vectors > n_used) {
        pci_msix_mask(&interrupt->msix, interrupt->n_vectors - 1);
        interrupt_drop_last(interrupt);
    }
}

void interrupt_close(struct interrupt *interrupt)
{
    if (interrupt->has_line)
        interrupt_close_line(interrupt);
    if (interrupt->msix.n_entries)
        pci_msix_close(&interrupt->msix);
    while (interrupt->n_vectors)
        interrupt_drop_last(interrupt);
    interrupt_remove(interrupt);
}

/* --- Sleeping ------------------------------------------------------------------------------------- */

/* Without a tick in time there would be no end to a sleep whose interrupt is lost. */
static bool interrupt_timer_ticks(void)
{
    EFI_TIMER_ARCH_PROTOCOL *timer = interrupts.timer;
    UINT64 period = 0;

    return !EFI_ERROR(timer->GetTimerPeriod(timer, &period)) && period != 0 &&
           period <= (UINT64)VIO_SLEEP_LIMIT_US * TICKS_PER_US;
}

/* What comes between the look and the halt is held back until the latter, and ends it. */
unsigned interrupt_sleep(struct interrupt *interrupt)
{
    bool has_line = interrupt->has_line && !interrupt->is_given_up;

    if ((!interrupt->n_vectors && !has_line) || !interrupt_timer_ticks() ||
        !interrupt_arch_is_enabled())
        return 0;
    interrupt_arch_disable();
    interrupts.n_on_line = 0;
    interrupt->is_asleep = true;
    if (__atomic_load_n(&interrupt->pending, __ATOMIC_RELAXED))
        interrupt_arch_enable();
    else
        interrupt_arch_enable_and_halt();
    interrupt->is_asleep = false;
    return VIO_SLEPT | __atomic_exchange_n(&interrupt->pending, 0, __ATOMIC_RELAXED);
}
