/* Contract and terms: tests/fakes/fake_log.h. */

#include "tests/fakes/fake_log.h"

#include "tests/fakes/testing.h"

#define FAKE_LOG_EVENTS_MAX (1u << 20)

static struct {
    bool recording;
    size_t length;
    struct fake_event events[FAKE_LOG_EVENTS_MAX];
} fake_log;

void fake_log_start(void)
{
    fake_log.length = 0;
    fake_log.recording = true;
}

void fake_log_stop(void)
{
    fake_log.recording = false;
}

void fake_log_add(struct fake_event event)
{
    if (!fake_log.recording)
        return;
    if (fake_log.length == FAKE_LOG_EVENTS_MAX)
        fail_msg("the event log is full");
    fake_log.events[fake_log.length++] = event;
}

size_t fake_log_length(void)
{
    return fake_log.length;
}

const struct fake_event *fake_log_at(size_t position)
{
    assert_true(position < fake_log.length);
    return &fake_log.events[position];
}

size_t fake_log_find(enum fake_event_kind kind, size_t from)
{
    for (size_t i = from; i < fake_log.length; i++) {
        if (fake_log.events[i].kind == kind)
            return i;
    }
    return FAKE_LOG_NONE;
}

size_t fake_log_find_access(enum fake_event_kind kind, const void *where, size_t from)
{
    for (size_t i = from; i < fake_log.length; i++) {
        if (fake_log.events[i].kind == kind && fake_log.events[i].where == where)
            return i;
    }
    return FAKE_LOG_NONE;
}

size_t fake_log_find_last(enum fake_event_kind kind)
{
    for (size_t i = fake_log.length; i > 0; i--) {
        if (fake_log.events[i - 1].kind == kind)
            return i - 1;
    }
    return FAKE_LOG_NONE;
}

size_t fake_log_count(enum fake_event_kind kind)
{
    size_t count = 0;

    for (size_t i = 0; i < fake_log.length; i++)
        count += fake_log.events[i].kind == kind;
    return count;
}

size_t fake_log_count_accesses(enum fake_event_kind kind, const void *where)
{
    size_t count = 0;

    for (size_t i = 0; i < fake_log.length; i++)
        count += fake_log.events[i].kind == kind && fake_log.events[i].where == where;
    return count;
}

void fake_log_assert_transport(const struct fake_step *steps, size_t n_steps)
{
    size_t n = 0;

    for (size_t i = 0; i < fake_log_length(); i++) {
        const struct fake_event *event = fake_log_at(i);
        if (event->kind < FAKE_STATUS_READ)
            continue;
        assert_true(n < n_steps);
        assert_int_equal(event->kind, steps[n].kind);
        assert_int_equal(event->value, steps[n].value);
        n++;
    }
    assert_int_equal(n, n_steps);
}
