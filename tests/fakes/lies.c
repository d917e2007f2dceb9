/* Contract and terms: tests/fakes/lies.h. */

#include "tests/fakes/lies.h"

#include "core/device_spec.h"
#include "tests/fakes/testing.h"

_Static_assert(sizeof(struct lie) == LIE_BYTES, "written to files as it is");

void lies_status_written(struct lies *lies, uint8_t status)
{
    lies->status_written = status;
    if (status & VIRTIO_STATUS_ACKNOWLEDGE)
        lies->acknowledged = true;
    if (status & VIRTIO_STATUS_DRIVER_OK)
        lies->was_in_use = true;
    if (status == 0 && lies->was_in_use)
        lies->was_reset = true;
}

void lies_queue_reset(struct lies *lies)
{
    lies->was_reset = true;
}

static bool lie_is_due(const struct lies *lies, const struct lie *lie)
{
    if (lie->after == LIE_AT_LAST_RESET)
        return lies->acknowledged && lies->status_written == 0;
    if (lie->after == LIE_ONCE_RESET || lie->after == LIE_UNTIL_RESET)
        return lies->was_reset == (lie->after == LIE_ONCE_RESET);
    return (lies->status_written & lie->after) == lie->after;
}

static bool lie_concerns(const struct lie *lie, enum lie_about about, unsigned at)
{
    bool is_register = about < LIE_REGISTERS || (about > LIE_ANSWER && about != LIE_ID);
    bool has_place = about != LIE_STATUS && about != LIE_FEATURES && about != LIE_VECTOR &&
                     about != LIE_CONFIG_BYTES && about != LIE_GENERATION && about != LIE_ISR;

    if (lie->about == LIE_REGISTERS)
        return is_register;
    return lie->about == about && (!has_place || lie->at == LIE_ANYWHERE || lie->at == at);
}

static uint64_t lie_tell(const struct lie *lie, unsigned times, uint64_t truth)
{
    switch (lie->how) {
    case LIE_IS:
        return lie->value;
    case LIE_XOR:
        return truth ^ lie->value;
    case LIE_CLEARS:
        return truth & ~lie->value;
    case LIE_PLUS:
        return truth + lie->value;
    default:
        return truth + times * lie->value;
    }
}

uint64_t lies_answer(struct lies *lies, enum lie_about about, unsigned at, unsigned width_bytes,
                     uint64_t truth)
{
    uint64_t mask = UINT64_MAX >> (64 - 8 * width_bytes);
    uint64_t answer = truth;

    for (unsigned i = 0; i < LIES_MAX && lies->list[i].about != LIE_NOTHING; i++) {
        const struct lie *lie = &lies->list[i];
        if (!lie_concerns(lie, about, at) || !lie_is_due(lies, lie))
            continue;
        unsigned n = lies->seen[i]++;
        if (n < lie->from || (lie->count && n - lie->from >= lie->count))
            continue;
        uint64_t before = answer;
        answer = lie_tell(lie, n - lie->from + 1, before) & mask;
        lies->told[i] += answer != before;
    }
    return answer;
}

unsigned lies_untold(const struct lies *lies)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LIES_MAX && lies->list[i].about != LIE_NOTHING; i++)
        n += lies->told[i] == 0;
    return n;
}

size_t lies_write(const struct lie *list, uint8_t *ret_bytes)
{
    size_t n = 0;

    while (n < LIES_MAX && list[n].about != LIE_NOTHING)
        n++;
    memcpy(ret_bytes, list, n * LIE_BYTES);
    return n * LIE_BYTES;
}

void lies_read(const uint8_t *bytes, size_t n_bytes, struct lie ret_list[LIES_MAX])
{
    size_t n = n_bytes / LIE_BYTES < LIES_MAX ? n_bytes / LIE_BYTES : LIES_MAX;

    memset(ret_list, 0, LIES_MAX * sizeof(ret_list[0]));
    memcpy(ret_list, bytes, n * LIE_BYTES);
    for (size_t i = 0; i < n; i++) {
        /* A kind stays what it is, and any other byte becomes one. */
        ret_list[i].about = (uint8_t)((ret_list[i].about + LIE_KINDS - 2u) % (LIE_KINDS - 1u) + 1);
        ret_list[i].how %= LIE_HOWS;
    }
}
