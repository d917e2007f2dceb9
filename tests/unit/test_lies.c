/* tests/fakes/lies.h: the lies of the hostile devices are told when and as they are meant. */

#include "tests/fakes/lies.h"
#include "core/device_spec.h"
#include "tests/fakes/testing.h"

static struct lies lies;

static int set_up(void **state)
{
    (void)state;
    lies = (struct lies){0};
    return 0;
}

static uint64_t ask(enum lie_about about, uint64_t truth)
{
    return lies_answer(&lies, about, 0, 4, truth);
}

static const struct {
    enum lie_how how;
    uint64_t value;
    uint64_t answers[3]; /* to a truth of 0xF0 */
} ways[] = {
    {LIE_IS, 0x123, {0x123, 0x123, 0x123}},
    {LIE_XOR, 0xFF, {0x0F, 0x0F, 0x0F}},
    {LIE_CLEARS, 0x30, {0xC0, 0xC0, 0xC0}},
    {LIE_PLUS, (uint64_t)-0xF1, {UINT32_MAX, UINT32_MAX, UINT32_MAX}},
    {LIE_GROWS, 0x10, {0x100, 0x110, 0x120}},
};

static void given_each_way_to_lie_when_asked_then_answers_as_it_says(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(ways); i++) {
        lies = (struct lies){0};
        lies.list[0] =
            (struct lie){.about = LIE_STATUS, .how = (uint8_t)ways[i].how, .value = ways[i].value};

        for (unsigned n = 0; n < ARRAY_LENGTH(ways[i].answers); n++)
            assert_true(ask(LIE_STATUS, 0xF0) == ways[i].answers[n]);
    }
}

static void given_from_and_count_when_asked_then_lies_in_between_only(void **state)
{
    (void)state;
    lies.list[0] = (struct lie){.about = LIE_USED_IDX, .from = 1, .count = 2, .value = 9};
    static const uint64_t expected[] = {5, 9, 9, 5, 5};

    for (unsigned i = 0; i < ARRAY_LENGTH(expected); i++)
        assert_true(ask(LIE_USED_IDX, 5) == expected[i]);
}

static void given_another_question_when_asked_then_truth_and_not_counted(void **state)
{
    (void)state;
    lies.list[0] = (struct lie){.about = LIE_USED_ID, .count = 1, .value = 9};

    assert_true(ask(LIE_USED_LEN, 5) == 5);
    assert_int_equal(lies_untold(&lies), 1);
    assert_true(ask(LIE_USED_ID, 5) == 9);
    assert_int_equal(lies_untold(&lies), 0);
}

static void given_place_when_asked_elsewhere_then_truth(void **state)
{
    (void)state;
    lies.list[0] = (struct lie){.about = LIE_CONFIG, .at = 20, .value = 9};
    lies.list[1] = (struct lie){.about = LIE_COMMON, .at = LIE_ANYWHERE, .value = 7};

    assert_true(lies_answer(&lies, LIE_CONFIG, 16, 4, 5) == 5);
    assert_true(lies_answer(&lies, LIE_CONFIG, 20, 4, 5) == 9);
    assert_true(lies_answer(&lies, LIE_COMMON, 16, 4, 5) == 7);
}

static void given_registers_when_asked_then_all_of_them_and_no_memory(void **state)
{
    (void)state;
    lies.list[0] = (struct lie){.about = LIE_REGISTERS, .value = UINT64_MAX};

    for (unsigned about = LIE_STATUS; about < LIE_KINDS; about++) {
        bool is_memory = (about >= LIE_USED_FLAGS && about <= LIE_ANSWER) || about == LIE_ID;
        if (about != LIE_REGISTERS)
            assert_true(ask((enum lie_about)about, 5) == (is_memory ? 5 : UINT32_MAX));
    }
}

static void given_state_when_status_written_then_lies_in_that_state_only(void **state)
{
    (void)state;
    lies.list[0] = (struct lie){.about = LIE_STATUS, .after = VIRTIO_STATUS_DRIVER, .value = 0x40};
    lies.list[1] = (struct lie){.about = LIE_FEATURES, .after = LIE_AT_LAST_RESET, .value = 0x80};

    lies_status_written(&lies, 0);
    assert_true(ask(LIE_STATUS, 0) == 0);
    assert_true(ask(LIE_FEATURES, 0) == 0); /* the first reset is not the last */
    lies_status_written(&lies, 1);
    assert_true(ask(LIE_STATUS, 1) == 1);
    lies_status_written(&lies, 3);
    assert_true(ask(LIE_STATUS, 3) == 0x40);
    assert_true(ask(LIE_FEATURES, 0) == 0);
    lies_status_written(&lies, 0);
    assert_true(ask(LIE_STATUS, 0) == 0);
    assert_true(ask(LIE_FEATURES, 0) == 0x80);
}

static void given_reset_when_asked_then_lies_before_or_after_it_only(void **state)
{
    (void)state;
    lies.list[0] = (struct lie){.about = LIE_USED_IDX, .after = LIE_UNTIL_RESET, .value = 8};
    lies.list[1] = (struct lie){.about = LIE_USED_LEN, .after = LIE_ONCE_RESET, .value = 9};

    lies_status_written(&lies, 0); /* of a device that was not in use yet */
    lies_status_written(&lies, 0x0F);
    assert_true(ask(LIE_USED_IDX, 5) == 8 && ask(LIE_USED_LEN, 5) == 5);
    lies_status_written(&lies, 0);
    assert_true(ask(LIE_USED_IDX, 5) == 5 && ask(LIE_USED_LEN, 5) == 9);
    lies_status_written(&lies, 0x0F);
    assert_true(ask(LIE_USED_IDX, 5) == 5 && ask(LIE_USED_LEN, 5) == 9);
}

static void given_queue_when_reset_then_it_counts_as_a_reset(void **state)
{
    (void)state;
    lies.list[0] = (struct lie){.about = LIE_USED_IDX, .after = LIE_UNTIL_RESET, .value = 8};

    assert_true(ask(LIE_USED_IDX, 5) == 8);
    lies_queue_reset(&lies);
    assert_true(ask(LIE_USED_IDX, 5) == 5);
}

static void given_any_bytes_when_read_then_lies_that_can_be_told(void **state)
{
    (void)state;
    uint8_t bytes[(LIES_MAX + 1) * LIE_BYTES + 3];
    struct lie list[LIES_MAX];
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)test_random(&seed);

    for (size_t n = 0; n <= sizeof(bytes); n++) {
        size_t n_lies = n / LIE_BYTES < LIES_MAX ? n / LIE_BYTES : LIES_MAX;
        lies_read(bytes, n, list);
        for (size_t i = 0; i < LIES_MAX; i++) {
            assert_true(i < n_lies ? list[i].about != LIE_NOTHING : list[i].about == LIE_NOTHING);
            assert_true(list[i].about < LIE_KINDS && list[i].how < LIE_HOWS);
        }
    }
}

static void given_each_kind_when_written_and_read_then_the_same(void **state)
{
    (void)state;
    uint8_t bytes[LIES_MAX * LIE_BYTES];

    for (unsigned about = LIE_STATUS; about < LIE_KINDS; about++) {
        const struct lie list[LIES_MAX] = {{.about = (uint8_t)about,
                                            .how = LIE_GROWS,
                                            .after = 3,
                                            .at = 20,
                                            .from = 0x1234,
                                            .count = 0x5678,
                                            .value = UINT64_C(0x0123456789ABCDEF)}};
        struct lie as_read[LIES_MAX];

        size_t n_bytes = lies_write(list, bytes);
        lies_read(bytes, n_bytes, as_read);

        assert_int_equal(n_bytes, LIE_BYTES);
        assert_memory_equal(as_read, list, sizeof(list));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(given_each_way_to_lie_when_asked_then_answers_as_it_says, set_up),
        cmocka_unit_test_setup(given_from_and_count_when_asked_then_lies_in_between_only, set_up),
        cmocka_unit_test_setup(given_another_question_when_asked_then_truth_and_not_counted,
                               set_up),
        cmocka_unit_test_setup(given_place_when_asked_elsewhere_then_truth, set_up),
        cmocka_unit_test_setup(given_registers_when_asked_then_all_of_them_and_no_memory, set_up),
        cmocka_unit_test_setup(given_state_when_status_written_then_lies_in_that_state_only,
                               set_up),
        cmocka_unit_test_setup(given_reset_when_asked_then_lies_before_or_after_it_only, set_up),
        cmocka_unit_test_setup(given_queue_when_reset_then_it_counts_as_a_reset, set_up),
        cmocka_unit_test(given_any_bytes_when_read_then_lies_that_can_be_told),
        cmocka_unit_test(given_each_kind_when_written_and_read_then_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
