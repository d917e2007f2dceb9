/** @file
 * boot/settings.c. Every line is parsed from a heap block of exactly its size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/settings.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct text_slice exact_copy(const char *text, size_t bytes)
{
    char *copy = malloc(bytes);

    assert_non_null(copy);
    if (bytes > 0)
        memcpy(copy, text, bytes);
    return (struct text_slice){copy, bytes};
}

static void assert_slice(struct text_slice actual, const char *expected)
{
    assert_int_equal(actual.bytes, strlen(expected));
    if (actual.bytes > 0)
        assert_memory_equal(actual.start, expected, actual.bytes);
}

/* What a line must mean. */
struct meaning {
    const char *line;
    bool show_help;
    bool show_version;
    const char *entry_name;
    uint64_t declined_features;
    uint32_t disk_timeout_s;
    enum settings_completion completion;
};

static boot_status parse(struct text_slice line, bool with_program_name, struct settings *settings,
                         struct text_slice *ret_bad_word)
{
    return settings_parse(SETTINGS_VIRTBOOT, line, with_program_name, settings, ret_bad_word);
}

static void assert_meaning(const struct meaning *expected, bool with_program_name)
{
    struct settings settings = {0};
    struct text_slice bad_word;
    struct text_slice line = exact_copy(expected->line, strlen(expected->line));
    boot_status status = parse(line, with_program_name, &settings, &bad_word);

    if (status != BOOT_OK)
        print_error("line: %s\n", expected->line);
    assert_int_equal(status, BOOT_OK);
    assert_int_equal(settings.show_help, expected->show_help);
    assert_int_equal(settings.show_version, expected->show_version);
    assert_slice(settings.entry_name, expected->entry_name);
    assert_true(settings.declined_features == expected->declined_features);
    assert_int_equal(settings.disk_timeout_s, expected->disk_timeout_s);
    assert_int_equal(settings.completion, expected->completion);
    free((void *)line.start);
}

static void given_valid_line_when_parsed_then_every_setting_is_found(void **state)
{
    static const struct meaning cases[] = {
        {"", false, false, "", 0, 0, 0},
        {"  \t ", false, false, "", 0, 0, 0},
        {"--help", true, false, "", 0, 0, 0},
        {"--version", false, true, "", 0, 0, 0},
        {"--version --help", true, true, "", 0, 0, 0},
        {"--entry debian.conf", false, false, "debian.conf", 0, 0, 0},
        {"--entry=debian.conf", false, false, "debian.conf", 0, 0, 0},
        {"\t--entry \t debian.conf  ", false, false, "debian.conf", 0, 0, 0},
        {"--entry=a=b", false, false, "a=b", 0, 0, 0},
        {"--entry -odd", false, false, "-odd", 0, 0, 0},
        {"--entry=--odd", false, false, "--odd", 0, 0, 0},
        {"--entry a --entry b", false, false, "b", 0, 0, 0},
        {"--decline-feature 0", false, false, "", 1, 0, 0},
        {"--decline-feature=63", false, false, "", UINT64_C(1) << 63, 0, 0},
        {"--decline-feature 29 --decline-feature=28", false, false, "", 0x30000000, 0, 0},
        {"--decline-feature 31 --decline-feature 33", false, false, "", 0x280000000, 0, 0},
        {"--decline-feature 007", false, false, "", 0x80, 0, 0},
        {"--entry x --decline-feature 5 --help", true, false, "x", 0x20, 0, 0},
        {"--disk-timeout 1", false, false, "", 0, 1, 0},
        {"--disk-timeout=3600", false, false, "", 0, 3600, 0},
        {"--disk-timeout 5 --disk-timeout 007", false, false, "", 0, 7, 0},
        {"--completion auto", false, false, "", 0, 0, SETTINGS_COMPLETION_AUTO},
        {"--completion=poll", false, false, "", 0, 0, SETTINGS_COMPLETION_POLL},
        {"--completion interrupt", false, false, "", 0, 0, SETTINGS_COMPLETION_INTERRUPT},
        {"--completion poll --completion=auto", false, false, "", 0, 0, SETTINGS_COMPLETION_AUTO},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_meaning(&cases[i], false);
}

static void given_program_name_when_parsed_then_it_is_skipped(void **state)
{
    static const struct meaning cases[] = {
        {"", false, false, "", 0, 0, 0},
        {"virtboot.efi", false, false, "", 0, 0, 0},
        {" fs0:\\virtboot.efi --help", true, false, "", 0, 0, 0},
        {"\"fs0:\\my dir\\virtboot.efi\" --help", true, false, "", 0, 0, 0},
        {"\"fs0:\\my dir\\virtboot.efi\"", false, false, "", 0, 0, 0},
        {"\"fs0:\\never closed --help", false, false, "", 0, 0, 0},
        {"\"", false, false, "", 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_meaning(&cases[i], true);
}

/* One fault each. */
static const struct {
    const char *line;
    boot_status expected;
    const char *bad_word;
} faulty_lines[] = {
    {"virtboot.efi", BOOT_ERR_UNKNOWN_WORD, "virtboot.efi"},
    {"--help --nonsense --version", BOOT_ERR_UNKNOWN_WORD, "--nonsense"},
    {"--hel", BOOT_ERR_UNKNOWN_WORD, "--hel"},
    {"--helpful", BOOT_ERR_UNKNOWN_WORD, "--helpful"},
    {"--HELP", BOOT_ERR_UNKNOWN_WORD, "--HELP"},
    {"-h", BOOT_ERR_UNKNOWN_WORD, "-h"},
    {"--", BOOT_ERR_UNKNOWN_WORD, "--"},
    {"=", BOOT_ERR_UNKNOWN_WORD, "="},
    {"--entry-x=1", BOOT_ERR_UNKNOWN_WORD, "--entry-x=1"},
    {"--help\x01", BOOT_ERR_UNKNOWN_WORD, "--help\x01"},
    {"--help=yes", BOOT_ERR_OPTION_VALUE, "--help=yes"},
    {"--version=", BOOT_ERR_OPTION_VALUE, "--version="},
    {"--entry", BOOT_ERR_OPTION_NO_VALUE, "--entry"},
    {"--entry=", BOOT_ERR_OPTION_NO_VALUE, "--entry="},
    {"--entry= x", BOOT_ERR_OPTION_NO_VALUE, "--entry="},
    {"--entry --help", BOOT_ERR_OPTION_NO_VALUE, "--entry"},
    {"--decline-feature", BOOT_ERR_OPTION_NO_VALUE, "--decline-feature"},
    {"--decline-feature --help", BOOT_ERR_OPTION_NO_VALUE, "--decline-feature"},
    {"--entry=../x.conf", BOOT_ERR_ENTRY_NAME, "--entry=../x.conf"},
    {"--entry a\\b", BOOT_ERR_ENTRY_NAME, "--entry"},
    {"--entry=a\x07", BOOT_ERR_ENTRY_NAME, "--entry=a\x07"},
    {"--disk-timeout", BOOT_ERR_OPTION_NO_VALUE, "--disk-timeout"},
    {"--disk-timeout=0", BOOT_ERR_TIMEOUT, "--disk-timeout=0"},
    {"--disk-timeout=3601", BOOT_ERR_TIMEOUT, "--disk-timeout=3601"},
    {"--disk-timeout 1s", BOOT_ERR_TIMEOUT, "--disk-timeout"},
    {"--disk-timeout 4294967297", BOOT_ERR_TIMEOUT, "--disk-timeout"},
    {"--completion", BOOT_ERR_OPTION_NO_VALUE, "--completion"},
    {"--completion=", BOOT_ERR_OPTION_NO_VALUE, "--completion="},
    {"--completion --help", BOOT_ERR_OPTION_NO_VALUE, "--completion"},
    {"--completion=pol", BOOT_ERR_COMPLETION, "--completion=pol"},
    {"--completion=polling", BOOT_ERR_COMPLETION, "--completion=polling"},
    {"--completion Poll", BOOT_ERR_COMPLETION, "--completion"},
    {"--completion 1", BOOT_ERR_COMPLETION, "--completion"},
    {"--virtboot-completion=poll", BOOT_ERR_UNKNOWN_WORD, "--virtboot-completion=poll"},
    {"completion=poll", BOOT_ERR_UNKNOWN_WORD, "completion=poll"},
    {"xxcompletion=poll", BOOT_ERR_UNKNOWN_WORD, "xxcompletion=poll"},
    {"-xcompletion=poll", BOOT_ERR_UNKNOWN_WORD, "-xcompletion=poll"},
    {"x-completion=poll", BOOT_ERR_UNKNOWN_WORD, "x-completion=poll"},
    {"--decline-feature=64", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=64"},
    {"--decline-feature=4294967296", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=4294967296"},
    {"--decline-feature 99999999999999999999999", BOOT_ERR_FEATURE_NUMBER, "--decline-feature"},
    {"--decline-feature=0x1", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=0x1"},
    {"--decline-feature=-1", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=-1"},
    {"--decline-feature=+1", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=+1"},
    {"--decline-feature=1,2", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=1,2"},
    {"--decline-feature=1:", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=1:"},
    {"--decline-feature=/", BOOT_ERR_FEATURE_NUMBER, "--decline-feature=/"},
    {"--decline-feature=32", BOOT_ERR_FEATURE_REQUIRED, "--decline-feature=32"},
    {"--decline-feature 032", BOOT_ERR_FEATURE_REQUIRED, "--decline-feature"},
};

static void given_faulty_line_when_parsed_then_status_and_word_say_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(faulty_lines); i++) {
        struct settings settings = {.declined_features = 77};
        struct text_slice bad_word = {0};
        struct text_slice line = exact_copy(faulty_lines[i].line, strlen(faulty_lines[i].line));
        boot_status status = parse(line, false, &settings, &bad_word);

        assert_string_equal(boot_status_reason(status),
                            boot_status_reason(faulty_lines[i].expected));
        assert_slice(bad_word, faulty_lines[i].bad_word);
        assert_true(settings.declined_features == 77);
        assert_int_equal(parse(line, false, &settings, NULL), faulty_lines[i].expected);
        free((void *)line.start);
    }
}

static void given_empty_slice_without_text_when_parsed_then_nothing_is_changed(void **state)
{
    struct settings settings = {.show_help = true, .disk_timeout_s = 9};
    struct text_slice bad_word;

    (void)state;

    assert_int_equal(parse((struct text_slice){0}, true, &settings, &bad_word), BOOT_OK);

    assert_true(settings.show_help);
    assert_int_equal(settings.disk_timeout_s, 9);
    assert_int_equal(settings.entry_name.bytes, 0);
}

static void given_settings_when_a_line_is_parsed_then_it_counts_for_more(void **state)
{
    static const char line[] = "--disk-timeout 7 --decline-feature 3 --completion auto";
    struct settings settings = {
        .declined_features = 1 << 5,
        .disk_timeout_s = 9,
        .completion = SETTINGS_COMPLETION_POLL,
    };

    (void)state;

    assert_int_equal(parse(text_from_string(line), false, &settings, NULL), BOOT_OK);

    assert_int_equal(settings.disk_timeout_s, 7);
    assert_int_equal(settings.declined_features, 1 << 5 | 1 << 3);
    assert_int_equal(settings.completion, SETTINGS_COMPLETION_AUTO);
}

static void given_virtio_when_parsed_then_same_words_but_for_entry(void **state)
{
    static const char line[] = "--disk-timeout 7 --completion poll --decline-feature 3 --help";
    struct settings settings = {0};
    struct text_slice bad_word = {0};

    (void)state;

    assert_int_equal(
        settings_parse(SETTINGS_VIRTIO, text_from_string(line), false, &settings, &bad_word),
        BOOT_OK);
    assert_int_equal(settings.disk_timeout_s, 7);
    assert_true(settings.show_help);
    assert_int_equal(
        settings_parse(SETTINGS_VIRTIO, text_from_string("--entry x"), false, &settings, &bad_word),
        BOOT_ERR_UNKNOWN_WORD);
    assert_slice(bad_word, "--entry");
}

static void given_any_prefix_of_a_line_when_parsed_then_nothing_past_it_is_read(void **state)
{
    static const char full[] = "\"a b\" --entry=x.conf --decline-feature 29 --entry y --help";

    (void)state;
    for (size_t bytes = 0; bytes < sizeof(full); bytes++) {
        struct settings settings = {0};
        struct text_slice bad_word = {0};
        struct text_slice line = exact_copy(full, bytes);

        if (parse(line, true, &settings, &bad_word) != BOOT_OK) {
            assert_true(bad_word.start >= line.start);
            assert_true(bad_word.start + bad_word.bytes <= line.start + bytes);
        }
        free((void *)line.start);
    }
}

static void given_any_byte_changed_when_parsed_then_nothing_past_the_line_is_read(void **state)
{
    static const char full[] = "\"a b\" --entry=x --decline-feature 29 --help";
    size_t bytes = sizeof(full) - 1;

    (void)state;
    for (size_t i = 0; i < bytes * 256; i++) {
        struct settings settings = {0};
        struct text_slice bad_word;
        struct text_slice line = exact_copy(full, bytes);

        ((char *)line.start)[i / 256] = (char)(i % 256);
        if (parse(line, true, &settings, &bad_word) == BOOT_OK)
            assert_true((settings.declined_features >> 32 & 1) == 0);
        free((void *)line.start);
    }
}

static void assert_short_lines(const char *text)
{
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_non_null(strchr(line, '\n'));
        assert_in_range(strcspn(line, "\n"), 0, 79);
    }
}

static void given_usage_when_shown_then_every_option_is_explained_in_short_lines(void **state)
{
    static const char *const options[] = {
        "--help",
        "--version",
        "--decline-feature BIT",
        "--disk-timeout SECONDS",
        "--completion MODE",
        "virtboot-completion",
        "virtboot-disk-timeout",
        "virtboot-decline-feature",
    };

    (void)state;
    for (enum settings_program program = SETTINGS_VIRTBOOT; program <= SETTINGS_VIRTIO; program++) {
        struct settings_usage usage = settings_usage(program);

        for (size_t i = 0; i < COUNT(options); i++)
            assert_non_null(strstr(usage.tail, options[i]));
        assert_non_null(
            strstr(usage.head, program == SETTINGS_VIRTBOOT ? "virtboot.efi" : "virtio.efi"));
        assert_int_equal(strstr(usage.head, "--entry NAME") != NULL, program == SETTINGS_VIRTBOOT);
        assert_short_lines(usage.head);
        assert_short_lines(usage.tail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_valid_line_when_parsed_then_every_setting_is_found),
        cmocka_unit_test(given_program_name_when_parsed_then_it_is_skipped),
        cmocka_unit_test(given_faulty_line_when_parsed_then_status_and_word_say_so),
        cmocka_unit_test(given_empty_slice_without_text_when_parsed_then_nothing_is_changed),
        cmocka_unit_test(given_settings_when_a_line_is_parsed_then_it_counts_for_more),
        cmocka_unit_test(given_virtio_when_parsed_then_same_words_but_for_entry),
        cmocka_unit_test(given_any_prefix_of_a_line_when_parsed_then_nothing_past_it_is_read),
        cmocka_unit_test(given_any_byte_changed_when_parsed_then_nothing_past_the_line_is_read),
        cmocka_unit_test(given_usage_when_shown_then_every_option_is_explained_in_short_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
