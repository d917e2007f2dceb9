/* Contract and terms: tests/fakes/fake_uefi.h. Task priority levels, events and timers. */

#include "tests/fakes/fake_uefi.h"

#include "tests/fakes/testing.h"

/* What an EFI_EVENT points to. */
struct fake_uefi_event {
    struct fake_uefi_event *next;
    UINT32 type;
    EFI_TPL notify_tpl;
    EFI_EVENT_NOTIFY notify;
    VOID *context;
    bool signalled;
    unsigned queued; /* its place in the order of signalling; 0: no notification is due */
    bool timer_runs;
    bool timer_is_periodic;
    bool is_idle_group;
};

EFI_TPL fake_uefi_tpl;
unsigned fake_uefi_events;
unsigned fake_uefi_fail_event;
unsigned fake_uefi_fail_timer;
unsigned fake_uefi_signals;

static struct fake_uefi_event *fake_events;
static unsigned fake_n_queued;

/* --- Notifications ---------------------------------------------------------------------------- */

/* Of the highest level, and there the first that was signalled; NULL: none is above the level. */
static struct fake_uefi_event *fake_next_due(EFI_TPL level)
{
    struct fake_uefi_event *best = NULL;

    for (struct fake_uefi_event *event = fake_events; event; event = event->next) {
        if (!event->queued || event->notify_tpl <= level)
            continue;
        if (!best || event->notify_tpl > best->notify_tpl ||
            (event->notify_tpl == best->notify_tpl && event->queued < best->queued))
            best = event;
    }
    return best;
}

static void fake_dispatch(EFI_TPL level)
{
    struct fake_uefi_event *event;

    while ((event = fake_next_due(level))) {
        EFI_TPL notify_tpl = event->notify_tpl;
        event->queued = 0;
        event->signalled = false;
        fake_uefi_tpl = notify_tpl;
        event->notify(event, event->context); /* may close it */
        assert_int_equal(fake_uefi_tpl, notify_tpl);
    }
    fake_uefi_tpl = level;
}

static EFI_TPL EFIAPI fake_raise_tpl(EFI_TPL level)
{
    EFI_TPL old = fake_uefi_tpl;

    assert_true(level >= old);
    fake_uefi_tpl = level;
    return old;
}

static VOID EFIAPI fake_restore_tpl(EFI_TPL level)
{
    assert_true(level <= fake_uefi_tpl);
    fake_dispatch(level);
}

/* --- Events ----------------------------------------------------------------------------------- */

/* The link to it; an event that was closed or never created fails the test. */
static struct fake_uefi_event **fake_find_event(EFI_EVENT handle)
{
    struct fake_uefi_event **link = &fake_events;

    while (*link && *link != handle)
        link = &(*link)->next;
    if (!*link)
        fail_msg("an event is used that does not exist");
    return link;
}

static EFI_STATUS EFIAPI fake_create_event(UINT32 type, EFI_TPL notify_tpl, EFI_EVENT_NOTIFY notify,
                                           VOID *context, EFI_EVENT *ret_event)
{
    bool notifies = (type & EVT_NOTIFY_SIGNAL) != 0;
    struct fake_uefi_event *event;

    assert_int_equal(type & ~(UINT32)(EVT_TIMER | EVT_NOTIFY_SIGNAL), 0);
    if (notifies) {
        assert_non_null(notify);
        assert_in_range(notify_tpl, TPL_APPLICATION + 1, TPL_HIGH_LEVEL - 1);
    }
    if (fake_uefi_fail_event && --fake_uefi_fail_event == 0)
        return EFI_OUT_OF_RESOURCES;
    event = calloc(1, sizeof(*event));
    assert_non_null(event);
    *event = (struct fake_uefi_event){.next = fake_events,
                                      .type = type,
                                      .notify_tpl = notify_tpl,
                                      .notify = notify,
                                      .context = context};
    fake_events = event;
    fake_uefi_events++;
    *ret_event = event;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_create_event_ex(UINT32 type, EFI_TPL notify_tpl,
                                              EFI_EVENT_NOTIFY notify, const VOID *context,
                                              const EFI_GUID *group, EFI_EVENT *ret_event)
{
    static const EFI_GUID idle_group = {
        0x3c8d294c, 0x5fc3, 0x4451, {0xbb, 0x31, 0xc4, 0xc0, 0x32, 0x29, 0x5e, 0x6c}};

    assert_memory_equal(group, &idle_group, sizeof(idle_group));
    EFI_STATUS status =
        fake_create_event(type, notify_tpl, notify, (VOID *)(UINTN)context, ret_event);
    if (status == EFI_SUCCESS)
        ((struct fake_uefi_event *)*ret_event)->is_idle_group = true;
    return status;
}

static EFI_STATUS EFIAPI fake_close_event(EFI_EVENT handle)
{
    struct fake_uefi_event **link = fake_find_event(handle);
    struct fake_uefi_event *event = *link;

    *link = event->next;
    fake_uefi_events--;
    free(event);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_signal_event(EFI_EVENT handle)
{
    struct fake_uefi_event *event = *fake_find_event(handle);

    fake_uefi_signals++;
    if (event->signalled)
        return EFI_SUCCESS;
    event->signalled = true;
    if (event->type & EVT_NOTIFY_SIGNAL)
        event->queued = ++fake_n_queued;
    fake_dispatch(fake_uefi_tpl);
    return EFI_SUCCESS;
}

/* 7.1.6: for an event without a notification function only; asking clears the signal. */
static EFI_STATUS EFIAPI fake_check_event(EFI_EVENT handle)
{
    struct fake_uefi_event *event = *fake_find_event(handle);
    bool signalled = event->signalled;

    assert_int_equal(event->type & EVT_NOTIFY_SIGNAL, 0);
    event->signalled = false;
    return signalled ? EFI_SUCCESS : EFI_NOT_READY;
}

/* --- Timers ----------------------------------------------------------------------------------- */

static EFI_STATUS EFIAPI fake_set_timer(EFI_EVENT handle, EFI_TIMER_DELAY kind, UINT64 period)
{
    struct fake_uefi_event *event = *fake_find_event(handle);

    assert_int_not_equal(event->type & EVT_TIMER, 0);
    if (kind != TimerCancel && fake_uefi_fail_timer && --fake_uefi_fail_timer == 0)
        return EFI_OUT_OF_RESOURCES;
    assert_true(kind == TimerCancel || period > 0);
    event->timer_runs = kind != TimerCancel;
    event->timer_is_periodic = kind == TimerPeriodic;
    return EFI_SUCCESS;
}

unsigned fake_uefi_timers(void)
{
    unsigned count = 0;

    for (const struct fake_uefi_event *event = fake_events; event; event = event->next)
        count += event->timer_runs;
    return count;
}

/* The clock's interrupt is above all levels: what it signals is notified when it returns. */
void fake_uefi_tick(void)
{
    EFI_TPL old = fake_raise_tpl(TPL_HIGH_LEVEL);

    for (struct fake_uefi_event *event = fake_events; event; event = event->next) {
        if (!event->timer_runs)
            continue;
        event->timer_runs = event->timer_is_periodic;
        (void)fake_signal_event(event); /* always EFI_SUCCESS */
    }
    fake_restore_tpl(old);
}

static void (*fake_halt)(void);

/* The firmware's own notification in the group, which was there first. */
static VOID EFIAPI fake_on_halt(EFI_EVENT event, VOID *context)
{
    (void)event;
    (void)context;
    if (fake_halt)
        fake_halt();
}

void fake_uefi_idle(void (*halt)(void))
{
    EFI_EVENT processor;

    fake_halt = halt;
    assert_int_equal(fake_uefi_tpl, TPL_APPLICATION);
    EFI_TPL old = fake_raise_tpl(TPL_HIGH_LEVEL);
    for (struct fake_uefi_event *event = fake_events; event; event = event->next) {
        if (event->is_idle_group)
            (void)fake_signal_event(event); /* always EFI_SUCCESS */
    }
    assert_int_equal(
        fake_create_event(EVT_NOTIFY_SIGNAL, TPL_NOTIFY, fake_on_halt, NULL, &processor),
        EFI_SUCCESS);
    (void)fake_signal_event(processor); /* always EFI_SUCCESS */
    fake_restore_tpl(old);
    (void)fake_close_event(processor); /* always EFI_SUCCESS */
}

void fake_uefi_init_events(EFI_BOOT_SERVICES *services)
{
    services->RaiseTPL = fake_raise_tpl;
    services->RestoreTPL = fake_restore_tpl;
    services->CreateEvent = fake_create_event;
    services->CreateEventEx = fake_create_event_ex;
    services->CloseEvent = fake_close_event;
    services->SignalEvent = fake_signal_event;
    services->CheckEvent = fake_check_event;
    services->SetTimer = fake_set_timer;
    while (fake_events)
        (void)fake_close_event(fake_events); /* of a test that failed */
    fake_uefi_tpl = TPL_APPLICATION;
    fake_uefi_events = 0;
    fake_uefi_fail_event = 0;
    fake_uefi_fail_timer = 0;
    fake_uefi_signals = 0;
    fake_n_queued = 0;
}
