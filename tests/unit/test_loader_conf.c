/** @file
 * boot/loader_conf.c. Every file is read from a heap block of exactly its size.
 */
#include "boot/loader_conf.h"

#include "tests/fakes/testing.h"

#define FAULTS_MAX 8

/* What was wrong, in order. */
struct fault {
    unsigned line;
    boot_status status;
    const char *value;
};

struct outcome {
    struct settings settings;
    unsigned n_faults;
    struct fault faults[FAULTS_MAX]; /* the values are copies in memory of their own */
};

/* strndup() looks for a terminator behind the text. */
static const char *copy_of(struct text_slice text)
{
    char *copy = calloc(1, text.bytes + 1);

    assert_non_null(copy);
    if (text.bytes > 0)
        memcpy(copy, text.start, text.bytes);
    return copy;
}

static struct outcome read_bytes(const char *text, size_t bytes)
{
    char *copy = malloc(bytes);
    struct outcome outcome = {0};
    boot_status status;

    assert_true(copy || bytes == 0);
    if (bytes > 0)
        memcpy(copy, text, bytes);
    struct loader_conf conf = loader_conf_begin((struct text_slice){copy, bytes});
    while ((status = loader_conf_read(&conf, &outcome.settings)) != BOOT_OK) {
        assert_true(conf.value.bytes == 0 || (conf.value.start >= copy &&
                                              conf.value.start + conf.value.bytes <= copy + bytes));
        if (outcome.n_faults < FAULTS_MAX)
            outcome.faults[outcome.n_faults] = (struct fault){
                .line = conf.line,
                .status = status,
                .value = copy_of(conf.value),
            };
        outcome.n_faults++;
    }
    free(copy);
    return outcome;
}

static void forget(struct outcome *outcome)
{
    for (unsigned i = 0; i < outcome->n_faults && i < FAULTS_MAX; i++)
        free((void *)outcome->faults[i].value);
}

static void given_right_lines_when_read_then_settings_are_as_by_the_options(void **state)
{
    static const struct {
        const char *text;
        uint64_t declined_features;
        uint32_t disk_timeout_s;
        enum settings_completion completion;
    } cases[] = {
        {"", 0, 0, 0},
        {"\n\n\r\n", 0, 0, 0},
        {"virtboot-completion poll", 0, 0, SETTINGS_COMPLETION_POLL},
        {"virtboot-completion poll\n", 0, 0, SETTINGS_COMPLETION_POLL},
        {"virtboot-completion\tinterrupt\r\n", 0, 0, SETTINGS_COMPLETION_INTERRUPT},
        {"  virtboot-completion \t poll \t\r\n", 0, 0, SETTINGS_COMPLETION_POLL},
        {"\xef\xbb\xbfvirtboot-completion poll\n", 0, 0, SETTINGS_COMPLETION_POLL},
        {"virtboot-completion poll\nvirtboot-completion auto\n", 0, 0, SETTINGS_COMPLETION_AUTO},
        {"virtboot-disk-timeout 5\nvirtboot-disk-timeout 3600", 0, 3600, 0},
        {"virtboot-decline-feature 29\nvirtboot-decline-feature 0\n", 0x20000001, 0, 0},
        {"# virtboot-completion poll\n #virtboot-disk-timeout 5\n", 0, 0, 0},
        {"timeout 5\ndefault debian-*\nvirtboot-disk-timeout 7\nconsole-mode max\n", 0, 7, 0},
        /* None of our keys, though almost, and none of a file. */
        {"completion poll\ndisk-timeout 5\n--completion poll\n", 0, 0, 0},
        {"virtboot-\nvirtboot-entry x\nvirtboot-help\nvirtboot-complet poll\n", 0, 0, 0},
        {"Virtboot-completion poll\nvirtboot-completions poll\n", 0, 0, 0},
        {"virtboot-completion=poll\n", 0, 0, 0},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct outcome outcome = read_bytes(cases[i].text, strlen(cases[i].text));

        if (outcome.n_faults)
            print_error("%s: %s\n", cases[i].text, boot_status_reason(outcome.faults[0].status));
        assert_int_equal(outcome.n_faults, 0);
        assert_true(outcome.settings.declined_features == cases[i].declined_features);
        assert_int_equal(outcome.settings.disk_timeout_s, cases[i].disk_timeout_s);
        assert_int_equal(outcome.settings.completion, cases[i].completion);
        assert_int_equal(outcome.settings.entry_name.bytes, 0);
        assert_false(outcome.settings.show_help || outcome.settings.show_version);
    }
}

static void given_wrong_lines_when_read_then_each_is_told_and_the_rest_counts(void **state)
{
    static const char text[] = "# first line\n"
                               "virtboot-disk-timeout 12\n"
                               "virtboot-completion sometimes\r\n"
                               "\n"
                               "virtboot-disk-timeout 0\n"
                               "virtboot-decline-feature 32\n"
                               "virtboot-decline-feature 64\n"
                               "virtboot-completion\n"
                               "virtboot-completion poll # really\n"
                               "virtboot-decline-feature 5\n"
                               "virtboot-completion interrupt\n"
                               "virtboot-disk-timeout 3601";
    static const struct fault expected[] = {
        {3, BOOT_ERR_COMPLETION, "sometimes"}, {5, BOOT_ERR_TIMEOUT, "0"},
        {6, BOOT_ERR_FEATURE_REQUIRED, "32"},  {7, BOOT_ERR_FEATURE_NUMBER, "64"},
        {8, BOOT_ERR_OPTION_NO_VALUE, ""},     {9, BOOT_ERR_COMPLETION, "poll # really"},
        {12, BOOT_ERR_TIMEOUT, "3601"},
    };

    (void)state;

    struct outcome outcome = read_bytes(text, strlen(text));

    assert_int_equal(outcome.n_faults, ARRAY_LENGTH(expected));
    for (unsigned i = 0; i < ARRAY_LENGTH(expected); i++) {
        assert_int_equal(outcome.faults[i].line, expected[i].line);
        assert_string_equal(boot_status_reason(outcome.faults[i].status),
                            boot_status_reason(expected[i].status));
        assert_string_equal(outcome.faults[i].value, expected[i].value);
    }
    assert_int_equal(outcome.settings.disk_timeout_s, 12);
    assert_true(outcome.settings.declined_features == 0x20);
    assert_int_equal(outcome.settings.completion, SETTINGS_COMPLETION_INTERRUPT);
    forget(&outcome);
}

static void given_nul_bytes_when_read_then_they_are_bytes_like_others(void **state)
{
    static const char text[] =
        "\0\0\nvirtboot-completion poll\0\nvirtboot-\0\nvirtboot-disk-timeout 7";

    (void)state;

    struct outcome outcome = read_bytes(text, sizeof(text)); /* with the one at its end */

    assert_int_equal(outcome.n_faults, 2);
    assert_int_equal(outcome.faults[0].line, 2);
    assert_int_equal(outcome.faults[1].line, 4);
    assert_int_equal(outcome.settings.completion, SETTINGS_COMPLETION_AUTO);
    assert_int_equal(outcome.settings.disk_timeout_s, 0);
    forget(&outcome);
}

static void given_huge_file_when_read_then_all_of_it_counts(void **state)
{
    static const char last[] = "\nvirtboot-disk-timeout 7\nvirtboot-completion ";
    size_t line_bytes = 1 << 20, n_short = 1 << 18;
    size_t bytes = line_bytes + 2 * n_short + strlen(last) + line_bytes;
    char *text = malloc(bytes);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', bytes);
    for (size_t i = 0; i < n_short; i++)
        text[line_bytes + 2 * i] = '\n';
    memcpy(text + line_bytes + 2 * n_short, last, strlen(last));

    struct outcome outcome = read_bytes(text, bytes);

    assert_int_equal(outcome.settings.disk_timeout_s, 7);
    assert_int_equal(outcome.n_faults, 1);
    assert_int_equal(outcome.faults[0].line, n_short + 3);
    assert_int_equal(strlen(outcome.faults[0].value), line_bytes);
    forget(&outcome);
    free(text);
}

/* What is right has only values that are allowed. */
static void assert_safe(const struct outcome *outcome)
{
    assert_true((outcome->settings.declined_features >> 32 & 1) == 0);
    assert_in_range(outcome->settings.disk_timeout_s, 0, 3600);
    assert_in_range(outcome->settings.completion, 0, SETTINGS_COMPLETION_INTERRUPT);
}

static const char sample[] = "\xef\xbb\xbf# a file\r\n"
                             "virtboot-completion poll\n"
                             "\tvirtboot-decline-feature 32\n"
                             "timeout 5\n"
                             "virtboot-disk-timeout  60 \r\n"
                             "virtboot-decline-feature 29";

static void given_any_prefix_when_read_then_nothing_past_it_is_read(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < sizeof(sample); bytes++) {
        struct outcome outcome = read_bytes(sample, bytes);

        assert_safe(&outcome);
        forget(&outcome);
    }
}

static void given_any_byte_changed_when_read_then_values_stay_in_bounds(void **state)
{
    char text[sizeof(sample)];

    (void)state;
    for (size_t i = 0; i < (sizeof(sample) - 1) * 256; i++) {
        memcpy(text, sample, sizeof(text));
        text[i / 256] = (char)(i % 256);

        struct outcome outcome = read_bytes(text, sizeof(text) - 1);

        assert_safe(&outcome);
        forget(&outcome);
    }
}

static void given_pieces_at_random_when_read_then_values_stay_in_bounds(void **state)
{
    static const char *const pieces[] = {
        "virtboot-", "completion", "decline-feature", "disk-timeout", "\n", "\r\n", " ",
        "\t",        "poll",       "interrupt",       "auto",         "3",  "2",    "0",
        "#",         "\xff",
    };
    uint64_t random = 7;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        char text[1024] = "";
        for (unsigned n = test_random(&random) % 40; n > 0; n--)
            strcat(text, pieces[test_random(&random) % ARRAY_LENGTH(pieces)]);
        size_t bytes = strlen(text);
        if (bytes > 0 && i % 4 == 0)
            text[test_random(&random) % bytes] = '\0';

        struct outcome outcome = read_bytes(text, bytes);

        assert_safe(&outcome);
        forget(&outcome);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_right_lines_when_read_then_settings_are_as_by_the_options),
        cmocka_unit_test(given_wrong_lines_when_read_then_each_is_told_and_the_rest_counts),
        cmocka_unit_test(given_nul_bytes_when_read_then_they_are_bytes_like_others),
        cmocka_unit_test(given_huge_file_when_read_then_all_of_it_counts),
        cmocka_unit_test(given_any_prefix_when_read_then_nothing_past_it_is_read),
        cmocka_unit_test(given_any_byte_changed_when_read_then_values_stay_in_bounds),
        cmocka_unit_test(given_pieces_at_random_when_read_then_values_stay_in_bounds),
    };

    return cmocka_run_group_tests_name("loader_conf", tests, NULL, NULL);
}
