/** @file
 * boot/entry.c with the conversions and the version order below it.
 *
 * Every file is parsed from a heap block of exactly its size, so that the address sanitizer sees a
 * read past its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/entry.h"
#include "boot/utf16.h"
#include "boot/version_order.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A literal and its length; the literal may contain zeros. */
#define BYTES(literal) (literal), sizeof(literal) - 1

static const char full_entry[] = "# the whole vocabulary\n"
                                 "title        Fedora 19 (Rawhide)\n"
                                 "sort-key     fedora\n"
                                 "machine-id   6a9857a393724b7a981ebb5b8495b9ea\n"
                                 "version      3.8.0-2.fc19.x86_64\n"
                                 "options      root=UUID=6d3376e4 quiet\n"
                                 "architecture x64\n"
                                 "linux        /6a98/3.8.0/linux\n"
                                 "initrd       /6a98/3.8.0/initrd\n"
                                 "initrd       /6a98/microcode\n"
                                 "options      console=ttyS0\n"
                                 "devicetree   /6a98/board.dtb\n";

static char *exact_copy(const char *text, size_t bytes)
{
    char *copy = malloc(bytes);

    assert_non_null(copy);
    if (bytes > 0)
        memcpy(copy, text, bytes);
    return copy;
}

static struct text_slice slice(const char *text)
{
    return text_from_string(text);
}

static void assert_slice(struct text_slice actual, const char *expected)
{
    assert_int_equal(actual.bytes, strlen(expected));
    if (actual.bytes > 0)
        assert_memory_equal(actual.start, expected, actual.bytes);
}

static void assert_units(const uint16_t *actual, size_t n_actual, const uint16_t *expected,
                         size_t n_expected)
{
    assert_int_equal(n_actual, n_expected);
    assert_memory_equal(actual, expected, n_expected * sizeof(expected[0]));
    assert_int_equal(actual[n_actual], 0);
}

/* Parses what must be valid. The caller frees the file when it is done with the entry. */
static char *parse_valid(const char *text, size_t bytes, struct boot_entry *ret_entry)
{
    char *file = exact_copy(text, bytes);

    assert_int_equal(entry_parse(file, bytes, ret_entry, NULL), BOOT_OK);
    return file;
}

/* Parses what must be refused; the result must not be touched then. */
static void assert_refused(const char *text, size_t bytes, boot_status expected, unsigned line)
{
    struct boot_entry entry;
    struct boot_entry untouched;
    unsigned error_line = 12345;
    char *file = exact_copy(text, bytes);

    memset(&entry, 0x5a, sizeof(entry));
    memset(&untouched, 0x5a, sizeof(untouched));
    assert_string_equal(boot_status_reason(entry_parse(file, bytes, &entry, &error_line)),
                        boot_status_reason(expected));
    assert_int_equal(error_line, line);
    assert_memory_equal(&entry, &untouched, sizeof(entry));
    free(file);
}

/* What the file is made of when it is long: the same line again and again. */
static char *repeat(const char *head, const char *line, unsigned n, size_t *ret_bytes)
{
    size_t bytes = strlen(head) + n * strlen(line);
    char *text = malloc(bytes + 1);

    assert_non_null(text);
    strcpy(text, head);
    for (unsigned i = 0; i < n; i++)
        strcpy(text + strlen(head) + i * strlen(line), line);
    *ret_bytes = bytes;
    return text;
}

/* A line "<key> aaa...": a value of value_bytes. */
static char *long_line(const char *head, const char *key, size_t value_bytes, size_t *ret_bytes)
{
    size_t start = strlen(head) + strlen(key) + 1;
    char *text = malloc(start + value_bytes + 1);

    assert_non_null(text);
    sprintf(text, "%s%s ", head, key);
    memset(text + start, 'a', value_bytes);
    *ret_bytes = start + value_bytes;
    return text;
}

static void given_every_key_when_parsed_then_every_value_is_found(void **state)
{
    struct boot_entry entry;
    char *file;

    (void)state;

    file = parse_valid(BYTES(full_entry), &entry);

    assert_slice(entry.title, "Fedora 19 (Rawhide)");
    assert_slice(entry.sort_key, "fedora");
    assert_slice(entry.machine_id, "6a9857a393724b7a981ebb5b8495b9ea");
    assert_slice(entry.version, "3.8.0-2.fc19.x86_64");
    assert_slice(entry.architecture, "x64");
    assert_slice(entry.linux_path, "/6a98/3.8.0/linux");
    assert_slice(entry.efi_path, "");
    assert_int_equal(entry.n_initrds, 2);
    assert_slice(entry.initrd_paths[0], "/6a98/3.8.0/initrd");
    assert_slice(entry.initrd_paths[1], "/6a98/microcode");
    assert_int_equal(entry.n_option_lines, 2);
    assert_slice(entry.option_lines[0], "root=UUID=6d3376e4 quiet");
    assert_slice(entry.option_lines[1], "console=ttyS0");
    assert_true(entry.title.start >= file && entry.title.start < file + sizeof(full_entry));
    free(file);
}

static void given_odd_layout_when_parsed_then_linux_path_is_the_same(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
    } cases[] = {
        {BYTES("linux /k")},
        {BYTES("linux /k\n")},
        {BYTES("linux /k\r\n")},
        {BYTES("linux /k\r")},
        {BYTES("\r\n\r\nlinux /k\r\n")},
        {BYTES("\xef\xbb\xbflinux /k\n")},
        {BYTES("linux\t/k\t\n")},
        {BYTES(" \tlinux \t /k  \n")},
        {BYTES("\n\n \t \n\nlinux /k\n\n")},
        {BYTES("#linux /x\n # linux /y\nlinux /k\n#")},
        {BYTES("linux-x /x\nlinu /y\nlinuxes /z\nLinux /w\nlinux /k\n")},
        {BYTES("linux/x\nlinux=/y\nlinux /k\n")},
        {BYTES("something\nelse value\nlinux /k\nnot\0a key\n")},
        {BYTES("title\nversion \nlinux /k\ntitle x\n")},
        {BYTES("linux /k\nefi /x\n")},
        {BYTES("efi /x\nlinux /k\n")},
        {BYTES("efi /k\n")},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct boot_entry entry;
        char *file = parse_valid(cases[i].text, cases[i].bytes, &entry);

        assert_slice(entry_image_path(&entry), "/k");
        free(file);
    }
}

static void given_blanks_in_a_value_when_parsed_then_only_those_around_it_vanish(void **state)
{
    struct boot_entry entry;
    char *file;

    (void)state;

    file = parse_valid(BYTES("linux  /my kernel \noptions  a  b\t\n"), &entry);

    assert_slice(entry.linux_path, "/my kernel");
    assert_slice(entry.option_lines[0], "a  b");
    free(file);
}

/* One fault each; those of size and number have tests of their own. */
static const struct {
    const char *text;
    size_t bytes;
    boot_status expected;
    unsigned line;
} faulty_files[] = {
    {BYTES(""), BOOT_ERR_NO_KERNEL, 0},
    {BYTES("\xef\xbb\xbf"), BOOT_ERR_NO_KERNEL, 0},
    {BYTES("\xef\xbb"), BOOT_ERR_NO_KERNEL, 0},
    {BYTES("\n\n"), BOOT_ERR_NO_KERNEL, 0},
    {BYTES("title x\ninitrd /i\noptions y\n"), BOOT_ERR_NO_KERNEL, 0},
    {BYTES("l\0i\0n\0u\0x\0 \0/\0k\0"), BOOT_ERR_NO_KERNEL, 0},
    {BYTES("\0\0\0\0"), BOOT_ERR_NO_KERNEL, 0},
    {BYTES("linux /k\nlinux /k\n"), BOOT_ERR_DUPLICATE_KEY, 2},
    {BYTES("efi /k\n\nefi /x\n"), BOOT_ERR_DUPLICATE_KEY, 3},
    {BYTES("title a\ntitle b\nlinux /k\n"), BOOT_ERR_DUPLICATE_KEY, 2},
    {BYTES("version 1\nversion 2\n"), BOOT_ERR_DUPLICATE_KEY, 2},
    {BYTES("machine-id 1\nmachine-id 2\n"), BOOT_ERR_DUPLICATE_KEY, 2},
    {BYTES("sort-key 1\nsort-key 2\n"), BOOT_ERR_DUPLICATE_KEY, 2},
    {BYTES("architecture 1\narchitecture 2\n"), BOOT_ERR_DUPLICATE_KEY, 2},
    {BYTES("linux"), BOOT_ERR_PATH_MISSING, 1},
    {BYTES("\nlinux \n"), BOOT_ERR_PATH_MISSING, 2},
    {BYTES("linux /\n"), BOOT_ERR_PATH_MISSING, 1},
    {BYTES("linux ././/\n"), BOOT_ERR_PATH_MISSING, 1},
    {BYTES("efi\n"), BOOT_ERR_PATH_MISSING, 1},
    {BYTES("linux /k\ninitrd\n"), BOOT_ERR_PATH_MISSING, 2},
    {BYTES("linux ..\n"), BOOT_ERR_PATH_PARENT, 1},
    {BYTES("linux ../k\n"), BOOT_ERR_PATH_PARENT, 1},
    {BYTES("linux /a/../k\n"), BOOT_ERR_PATH_PARENT, 1},
    {BYTES("linux /a/..\n"), BOOT_ERR_PATH_PARENT, 1},
    {BYTES("linux /a/.././k\n"), BOOT_ERR_PATH_PARENT, 1},
    {BYTES("efi /../k\n"), BOOT_ERR_PATH_PARENT, 1},
    {BYTES("linux /k\ninitrd /a//../k\n"), BOOT_ERR_PATH_PARENT, 2},
    {BYTES("linux \\k\n"), BOOT_ERR_PATH_BACKSLASH, 1},
    {BYTES("linux /a\\..\\k\n"), BOOT_ERR_PATH_BACKSLASH, 1},
    {BYTES("linux /k\ninitrd a\\b\n"), BOOT_ERR_PATH_BACKSLASH, 2},
    {BYTES("linux /k\0x\n"), BOOT_ERR_CONTROL_BYTE, 1},
    {BYTES("linux /k\0"), BOOT_ERR_CONTROL_BYTE, 1},
    {BYTES("linux /k\r\r\n"), BOOT_ERR_CONTROL_BYTE, 1},
    {BYTES("linux /k\x7f\n"), BOOT_ERR_CONTROL_BYTE, 1},
    {BYTES("title \x1b[2J\nlinux /k\n"), BOOT_ERR_CONTROL_BYTE, 1},
    {BYTES("linux /k\noptions a\x01\n"), BOOT_ERR_CONTROL_BYTE, 2},
    {BYTES("linux /k\ninitrd /i\b\n"), BOOT_ERR_CONTROL_BYTE, 2},
};

static void given_faulty_file_when_parsed_then_status_and_line_say_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(faulty_files); i++)
        assert_refused(faulty_files[i].text, faulty_files[i].bytes, faulty_files[i].expected,
                       faulty_files[i].line);
}

static void given_as_many_initrds_as_allowed_when_parsed_then_all_are_kept_in_order(void **state)
{
    struct boot_entry entry;
    size_t bytes;
    char *text = repeat("linux /k\n", "initrd /i\n", BOOT_ENTRY_MAX_INITRDS, &bytes);
    char *file;

    (void)state;
    text[bytes - 2] = 'z';

    file = parse_valid(text, bytes, &entry);

    assert_int_equal(entry.n_initrds, BOOT_ENTRY_MAX_INITRDS);
    assert_slice(entry.initrd_paths[0], "/i");
    assert_slice(entry.initrd_paths[BOOT_ENTRY_MAX_INITRDS - 1], "/z");
    free(file);
    free(text);
}

static void given_one_initrd_too_many_when_parsed_then_its_line_is_named(void **state)
{
    size_t bytes;
    char *text = repeat("linux /k\n", "initrd /i\n", BOOT_ENTRY_MAX_INITRDS + 1, &bytes);

    (void)state;

    assert_refused(text, bytes, BOOT_ERR_TOO_MANY_INITRDS, BOOT_ENTRY_MAX_INITRDS + 2);
    free(text);
}

static void given_one_option_line_too_many_when_parsed_then_its_line_is_named(void **state)
{
    struct boot_entry entry;
    size_t bytes;
    char *text = repeat("linux /k\n", "options o\n", BOOT_ENTRY_MAX_OPTION_LINES + 1, &bytes);

    (void)state;

    free(parse_valid(text, bytes - strlen("options o\n"), &entry));
    assert_refused(text, bytes, BOOT_ERR_TOO_MANY_OPTION_LINES, BOOT_ENTRY_MAX_OPTION_LINES + 2);
    free(text);
}

static void
given_values_around_their_limit_when_parsed_then_only_the_longer_is_refused(void **state)
{
    static const struct {
        const char *head;
        const char *key;
        size_t most_bytes;
        boot_status expected;
        unsigned line;
    } cases[] = {
        {"", "linux", BOOT_ENTRY_MAX_VALUE_BYTES, BOOT_ERR_VALUE_TOO_LONG, 1},
        {"linux /k\n", "initrd", BOOT_ENTRY_MAX_VALUE_BYTES, BOOT_ERR_VALUE_TOO_LONG, 2},
        {"linux /k\n", "title", BOOT_ENTRY_MAX_VALUE_BYTES, BOOT_ERR_VALUE_TOO_LONG, 2},
        {"linux /k\n", "options", BOOT_ENTRY_MAX_OPTIONS_BYTES, BOOT_ERR_OPTIONS_TOO_LONG, 2},
        {"options 123\nlinux /k\n", "options", BOOT_ENTRY_MAX_OPTIONS_BYTES - 4,
         BOOT_ERR_OPTIONS_TOO_LONG, 3},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct boot_entry entry;
        size_t bytes;
        char *text = long_line(cases[i].head, cases[i].key, cases[i].most_bytes + 1, &bytes);

        free(parse_valid(text, bytes - 1, &entry));
        assert_refused(text, bytes, cases[i].expected, cases[i].line);
        free(text);
    }
}

static void given_file_above_the_limit_when_parsed_then_refused_as_a_whole(void **state)
{
    struct boot_entry entry;
    size_t bytes;
    size_t comment_bytes = BOOT_ENTRY_MAX_FILE_BYTES + 1 - strlen("linux /k\n# ");
    char *text = long_line("linux /k\n", "#", comment_bytes, &bytes);

    (void)state;

    free(parse_valid(text, bytes - 1, &entry));
    assert_refused(text, bytes, BOOT_ERR_ENTRY_TOO_LARGE, 0);
    free(text);
}

static void given_null_text_when_parsed_then_no_kernel(void **state)
{
    struct boot_entry entry;

    (void)state;

    assert_int_equal(entry_parse(NULL, 0, &entry, NULL), BOOT_ERR_NO_KERNEL);
}

static void given_any_prefix_of_an_entry_when_parsed_then_nothing_past_it_is_read(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < sizeof(full_entry); bytes++) {
        struct boot_entry entry;
        char *file = exact_copy(full_entry, bytes);
        boot_status status = entry_parse(file, bytes, &entry, NULL);

        if (status == BOOT_OK)
            assert_true(entry_image_path(&entry).bytes > 0);
        else
            assert_true(status == BOOT_ERR_NO_KERNEL || status == BOOT_ERR_PATH_MISSING);
        free(file);
    }
}

static void given_any_byte_changed_when_parsed_then_values_stay_inside_the_file(void **state)
{
    size_t bytes = sizeof(full_entry) - 1;

    (void)state;
    for (size_t i = 0; i < bytes * 256; i++) {
        struct boot_entry entry;
        uint16_t path[128];
        size_t units;
        char *file = exact_copy(full_entry, bytes);

        file[i / 256] = (char)(i % 256);
        if (entry_parse(file, bytes, &entry, NULL) == BOOT_OK) {
            struct text_slice image = entry_image_path(&entry);

            assert_true(image.start >= file && image.start + image.bytes <= file + bytes);
            if (entry_path_to_uefi(image, path, COUNT(path), &units) == BOOT_OK)
                assert_in_range(units, 2, image.bytes + 1);
        }
        free(file);
    }
}

static void given_architecture_keys_when_compared_then_case_does_not_matter(void **state)
{
    static const struct {
        const char *text;
        const char *architecture;
        bool fits;
    } cases[] = {
        {"linux /k\n", "x64", true},
        {"linux /k\narchitecture\n", "x64", true},
        {"linux /k\narchitecture x64\n", "x64", true},
        {"linux /k\narchitecture X64\n", "x64", true},
        {"linux /k\narchitecture AA64\n", "aa64", true},
        {"linux /k\narchitecture aa64\n", "x64", false},
        {"linux /k\narchitecture x6\n", "x64", false},
        {"linux /k\narchitecture x64 aa64\n", "x64", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct boot_entry entry;
        char *file = parse_valid(cases[i].text, strlen(cases[i].text), &entry);

        assert_int_equal(entry_fits_architecture(&entry, cases[i].architecture), cases[i].fits);
        free(file);
    }
}

static void given_option_lines_when_made_a_uefi_string_then_joined_and_terminated(void **state)
{
    static const uint16_t expected[] = {'a', 0xe9, ' ', 0x20ac, ' ', 0xd83d, 0xde00};
    struct boot_entry entry;
    char *file = parse_valid(BYTES("options a\xc3\xa9\nlinux /k\noptions \xe2\x82\xac\n"
                                   "options\noptions \xf0\x9f\x98\x80\n"),
                             &entry);

    (void)state;
    assert_int_equal(entry.options_bytes, 3 + 1 + 3 + 1 + 4); /* an empty line joins nothing */
    for (size_t capacity = 0; capacity <= COUNT(expected) + 1; capacity++) {
        bool fits = capacity > COUNT(expected);
        size_t units = 99;
        uint16_t *buffer = malloc(capacity * sizeof(buffer[0]));

        assert_int_equal(entry_options_to_uefi(&entry, buffer, capacity, &units),
                         fits ? BOOT_OK : BOOT_ERR_BUFFER_TOO_SMALL);
        if (fits)
            assert_units(buffer, units, expected, COUNT(expected));
        else
            assert_int_equal(units, 99);
        free(buffer);
    }
    free(file);
}

static void given_no_options_when_made_a_uefi_string_then_empty(void **state)
{
    struct boot_entry entry;
    uint16_t buffer[1] = {0x5a5a};
    size_t units = 99;
    char *file = parse_valid(BYTES("linux /k\n"), &entry);

    (void)state;

    assert_int_equal(entry_options_to_uefi(&entry, buffer, 1, &units), BOOT_OK);

    assert_units(buffer, units, (const uint16_t[]){0}, 0);
    free(file);
}

static void given_options_in_latin_1_when_made_a_uefi_string_then_encoding_is_refused(void **state)
{
    struct boot_entry entry;
    uint16_t buffer[16];
    size_t units;
    char *file = parse_valid(BYTES("linux /k\noptions caf\xe9\n"), &entry);

    (void)state;

    assert_int_equal(entry_options_to_uefi(&entry, buffer, COUNT(buffer), &units),
                     BOOT_ERR_ENCODING);
    free(file);
}

static void given_entry_paths_when_made_uefi_paths_then_absolute_with_backslashes(void **state)
{
    static const struct {
        const char *path;
        const char *expected;
    } cases[] = {
        {"k", "\\k"},
        {"/k", "\\k"},
        {"/a/b/k", "\\a\\b\\k"},
        {"a//b/", "\\a\\b"},
        {"/./a/./k", "\\a\\k"},
        {"/a b/k", "\\a b\\k"},
        {"/.a/..b/c..", "\\.a\\..b\\c.."},
        {"...", "\\..."},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t length = strlen(cases[i].expected);
        size_t units = 0;
        uint16_t *buffer = malloc((length + 1) * sizeof(buffer[0]));

        assert_int_equal(entry_path_to_uefi(slice(cases[i].path), buffer, length, &units),
                         BOOT_ERR_BUFFER_TOO_SMALL);
        assert_int_equal(entry_path_to_uefi(slice(cases[i].path), buffer, length + 1, &units),
                         BOOT_OK);

        assert_int_equal(units, length);
        for (size_t j = 0; j <= length; j++)
            assert_int_equal(buffer[j], cases[i].expected[j]);
        assert_true(length + 1 <= strlen(cases[i].path) + 2);
        free(buffer);
    }
}

static void given_faulty_path_when_made_a_uefi_path_then_status_says_so(void **state)
{
    static const struct {
        const char *path;
        boot_status expected;
    } cases[] = {
        {"", BOOT_ERR_PATH_MISSING},       {"/.", BOOT_ERR_PATH_MISSING},
        {"/a/../b", BOOT_ERR_PATH_PARENT}, {"/a\\b", BOOT_ERR_PATH_BACKSLASH},
        {"/a\nb", BOOT_ERR_CONTROL_BYTE},  {"/a\xff", BOOT_ERR_ENCODING},
        {"/\xc0\xaf", BOOT_ERR_ENCODING},  {"/\xc0\xae\xc0\xae/k", BOOT_ERR_ENCODING},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint16_t buffer[16];
        size_t units = 99;

        assert_int_equal(entry_path_to_uefi(slice(cases[i].path), buffer, COUNT(buffer), &units),
                         cases[i].expected);
        assert_int_equal(units, 99);
    }
}

static void given_utf8_at_the_limits_when_appended_then_utf16_is_exact(void **state)
{
    static const uint16_t expected[] = {0x01,   0x7f,   0x80,   0x7ff,  0x800,  0xd7ff,
                                        0xe000, 0xffff, 0xd800, 0xdc00, 0xdbff, 0xdfff};
    static const char source[] = "\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"
                                 "\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
    uint16_t buffer[COUNT(expected) + 1];
    struct utf16_text target = {buffer, COUNT(buffer), 0};

    (void)state;

    assert_int_equal(utf16_append(&target, slice(source)), BOOT_OK);

    assert_units(buffer, target.n_units, expected, COUNT(expected));
}

static void given_utf8_that_is_none_when_appended_then_refused_and_target_unchanged(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        boot_status expected;
    } cases[] = {
        {BYTES("\x80"), BOOT_ERR_ENCODING},             /* continuation alone */
        {BYTES("\xbf"), BOOT_ERR_ENCODING},             /* the same */
        {BYTES("\xc0\x80"), BOOT_ERR_ENCODING},         /* overlong NUL */
        {BYTES("\xc1\xbf"), BOOT_ERR_ENCODING},         /* overlong DEL */
        {BYTES("\xe0\x9f\xbf"), BOOT_ERR_ENCODING},     /* overlong U+07FF */
        {BYTES("\xf0\x8f\xbf\xbf"), BOOT_ERR_ENCODING}, /* overlong U+FFFF */
        {BYTES("\xed\xa0\x80"), BOOT_ERR_ENCODING},     /* U+D800 */
        {BYTES("\xed\xbf\xbf"), BOOT_ERR_ENCODING},     /* U+DFFF */
        {BYTES("\xf4\x90\x80\x80"), BOOT_ERR_ENCODING}, /* U+110000 */
        {BYTES("\xf8\x88\x80\x80\x80"), BOOT_ERR_ENCODING},
        {BYTES("\xff"), BOOT_ERR_ENCODING},
        {BYTES("\xc3"), BOOT_ERR_ENCODING}, /* cut short */
        {BYTES("\xe2\x82"), BOOT_ERR_ENCODING},
        {BYTES("\xf0\x9f\x98"), BOOT_ERR_ENCODING},
        {BYTES("\xc3z"), BOOT_ERR_ENCODING}, /* interrupted */
        {BYTES("\xe2\x82\xc3"), BOOT_ERR_ENCODING},
        {BYTES("a\0b"), BOOT_ERR_CONTROL_BYTE},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint16_t buffer[16] = {'x', 0};
        struct utf16_text target = {buffer, COUNT(buffer), 1};
        char *text = exact_copy(cases[i].text, cases[i].bytes);
        struct text_slice source = {text, cases[i].bytes};

        assert_int_equal(utf16_append(&target, source), cases[i].expected);
        assert_int_equal(target.n_units, 1);
        free(text);
    }
}

static void given_uefi_string_when_made_utf8_then_ends_at_zero_or_length(void **state)
{
    static const uint16_t units[] = {'a', 'z', 0x7ff, 0xffff, 0xdbff, 0xdfff, 0, 'x'};
    static const char expected[] = "az\xdf\xbf\xef\xbf\xbf\xf4\x8f\xbf\xbf";
    size_t most_bytes = sizeof(expected) - 1;
    struct text_slice text = {0};
    char *buffer = malloc(most_bytes);

    (void)state;

    for (size_t capacity = 0; capacity < most_bytes; capacity++)
        assert_int_equal(utf16_to_utf8(units, COUNT(units), buffer, capacity, &text),
                         BOOT_ERR_BUFFER_TOO_SMALL);
    assert_int_equal(utf16_to_utf8(units, COUNT(units), buffer, most_bytes, &text), BOOT_OK);
    assert_slice(text, expected);
    assert_int_equal(utf16_to_utf8(units, 1, buffer, most_bytes, &text), BOOT_OK);

    assert_slice(text, "a");
    free(buffer);
}

static void given_lone_surrogate_when_made_utf8_then_encoding_is_refused(void **state)
{
    static const uint16_t cases[][3] = {
        {'a', 0xd800, 0},    {0xd800, 'a', 0},      {0xdc00, 'a', 'b'},
        {0xd800, 0xd800, 0}, {0xdfff, 0xd800, 'a'}, {'a', 'b', 0xdbff},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct text_slice text;
        char buffer[16];
        uint16_t *units = malloc(sizeof(cases[i]));

        memcpy(units, cases[i], sizeof(cases[i]));
        assert_int_equal(utf16_to_utf8(units, COUNT(cases[i]), buffer, sizeof(buffer), &text),
                         BOOT_ERR_ENCODING);
        free(units);
    }
}

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void assert_version_order(const char *a, const char *b, int expected)
{
    struct text_slice a_exact = {exact_copy(a, strlen(a)), strlen(a)};
    struct text_slice b_exact = {exact_copy(b, strlen(b)), strlen(b)};
    int forward = sign(version_order_compare(a_exact, b_exact));
    int backward = sign(version_order_compare(b_exact, a_exact));

    if (forward != expected || backward != -expected)
        print_error("'%s' against '%s'\n", a, b);
    assert_int_equal(forward, expected);
    assert_int_equal(backward, -expected);
    free((void *)a_exact.start);
    free((void *)b_exact.start);
}

static void given_examples_of_the_version_format_when_compared_then_order_as_published(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        int order;
    } cases[] = {
        {"11", "11", 0},
        {"systemd-123", "systemd-123", 0},
        {"bar-123", "foo-123", -1},
        {"123a", "123", 1},
        {"123.a", "123", 1},
        {"123.a", "123.b", -1},
        {"123a", "123.a", 1},
        {"11\xce\xb1", "11\xce\xb2", 0},
        {"B", "a", -1},
        {"", "0", -1},
        {"0.", "0", 1},
        {"0.0", "0", 1},
        {"0", "~", 1},
        {"", "~", 1},
        {"1_", "1", 0},
        {"_1", "1", 0},
        {"1_", "1.2", -1},
        {"1_2_3", "1.3.3", 1},
        {"1+", "1", 0},
        {"+1", "1", 0},
        {"1+", "1.2", -1},
        {"1+2+3", "1.3.3", 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_version_order(cases[i].a, cases[i].b, cases[i].order);
}

static void
given_published_sequence_when_compared_pairwise_then_each_is_below_the_next(void **state)
{
    static const char *const oldest_first[] = {
        "122.1",   "123~rc1-1", "123",     "123-a",   "123-a.1", "123-1",
        "123-1.1", "123^post1", "123.a-1", "123.1-1", "123a-1",  "124-1",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(oldest_first); i++) {
        for (size_t j = i; j < COUNT(oldest_first); j++)
            assert_version_order(oldest_first[i], oldest_first[j], i < j ? -1 : 0);
    }
}

static void given_long_and_padded_numbers_when_compared_then_by_value(void **state)
{
    (void)state;

    assert_version_order("99999999999999999999999", "100000000000000000000000", -1);
    assert_version_order("18446744073709551617", "1", 1);
    assert_version_order("007", "7", 0);
    assert_version_order("000", "0", 0);
    assert_version_order("1.10", "1.9", 1);
    assert_version_order("1.19", "1.21", -1);
    assert_version_order("a", "b", -1);
    assert_version_order("ab", "abc", -1);
    assert_version_order("~~", "~1", -1);
    assert_version_order("1-~", "1-", -1);
}

static void given_entry_names_when_compared_then_newest_first_and_exhausted_last(void **state)
{
    static const char *const first_to_last[] = {
        "debian-6.10.0-1.conf",
        "debian-6.9.0-10.conf",
        "debian-6.9.0-9.conf",
        "debian-6.1.conf",
        "debian-6.1~rc2.conf",
        "arch-7+00.5.conf",
        "arch-7+0-x.conf",
        "arch-7.0+3-1.conf",
        "arch-7.0+3.conf",
        "arch-7.0.conf",
        "0.conf",
        "debian-9.0+0-3.conf",
        "debian-8.0+0.conf",
        "debian-8.0+000.conf",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(first_to_last); i++) {
        for (size_t j = 0; j < COUNT(first_to_last); j++) {
            int order = entry_file_name_compare(slice(first_to_last[i]), slice(first_to_last[j]));
            int expected = (i > j) - (i < j);

            if (sign(order) != expected)
                print_error("%s against %s\n", first_to_last[i], first_to_last[j]);
            assert_int_equal(sign(order), expected);
        }
    }
}

static void given_names_of_one_version_when_compared_then_still_in_one_order(void **state)
{
    (void)state;

    assert_int_equal(entry_file_name_compare(slice("a_1.conf"), slice("a_1.conf")), 0);
    assert_true(entry_file_name_compare(slice("a+1.conf"), slice("a_1.conf")) < 0);
    assert_true(entry_file_name_compare(slice("a_1.conf"), slice("a+1.conf")) > 0);
    assert_true(entry_file_name_compare(slice("a1"), slice("a1.conf")) < 0);
    assert_true(entry_file_name_compare(slice("a1.conf"), slice("a1")) > 0);
}

static void given_file_names_when_asked_then_only_conf_files_are_entries(void **state)
{
    (void)state;

    assert_true(entry_file_name_is_entry(slice("a.conf")));
    assert_true(entry_file_name_is_entry(slice("A.CONF")));
    assert_false(entry_file_name_is_entry(slice("")));
    assert_false(entry_file_name_is_entry(slice(".conf")));
    assert_false(entry_file_name_is_entry(slice(".a.conf")));
    assert_false(entry_file_name_is_entry(slice("conf")));
    assert_false(entry_file_name_is_entry(slice("aconf")));
    assert_false(entry_file_name_is_entry(slice("a.conf~")));
    assert_false(entry_file_name_is_entry(slice("a\x1b[2J.conf")));
}

static void given_wanted_name_when_matched_then_case_and_suffix_do_not_matter(void **state)
{
    (void)state;

    assert_true(entry_file_name_matches(slice("Debian-6.1.conf"), slice("debian-6.1.conf")));
    assert_true(entry_file_name_matches(slice("Debian-6.1.conf"), slice("Debian-6.1")));
    assert_false(entry_file_name_matches(slice("debian-6.1.conf"), slice("debian-6")));
    assert_false(entry_file_name_matches(slice("debian-6.1.conf"), slice("debian-6.10")));
    assert_false(entry_file_name_matches(slice("debian-6.1.conf"), slice("")));
}

static void given_all_statuses_when_explained_then_each_has_its_own_reason(void **state)
{
    (void)state;
    for (int i = 0; i < BOOT_STATUS_COUNT; i++) {
        assert_string_not_equal(boot_status_reason((boot_status)i), "");
        for (int j = i + 1; j <= BOOT_STATUS_COUNT; j++)
            assert_string_not_equal(boot_status_reason((boot_status)i),
                                    boot_status_reason((boot_status)j));
    }
    assert_string_equal(boot_status_reason((boot_status)1000), "unknown status");
    assert_string_equal(boot_status_reason((boot_status)-1), "unknown status");
}

static void given_limits_when_explained_then_reasons_name_the_real_numbers(void **state)
{
    char number[16];

    (void)state;

    snprintf(number, sizeof(number), "%d", BOOT_ENTRY_MAX_INITRDS);
    assert_non_null(strstr(boot_status_reason(BOOT_ERR_TOO_MANY_INITRDS), number));
    snprintf(number, sizeof(number), "%d", BOOT_ENTRY_MAX_OPTION_LINES);
    assert_non_null(strstr(boot_status_reason(BOOT_ERR_TOO_MANY_OPTION_LINES), number));
    snprintf(number, sizeof(number), "%d", BOOT_ENTRY_MAX_VALUE_BYTES);
    assert_non_null(strstr(boot_status_reason(BOOT_ERR_VALUE_TOO_LONG), number));
    snprintf(number, sizeof(number), "%d KiB", BOOT_ENTRY_MAX_OPTIONS_BYTES / 1024);
    assert_non_null(strstr(boot_status_reason(BOOT_ERR_OPTIONS_TOO_LONG), number));
    snprintf(number, sizeof(number), "%d KiB", BOOT_ENTRY_MAX_FILE_BYTES / 1024);
    assert_non_null(strstr(boot_status_reason(BOOT_ERR_ENTRY_TOO_LARGE), number));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_every_key_when_parsed_then_every_value_is_found),
        cmocka_unit_test(given_odd_layout_when_parsed_then_linux_path_is_the_same),
        cmocka_unit_test(given_blanks_in_a_value_when_parsed_then_only_those_around_it_vanish),
        cmocka_unit_test(given_faulty_file_when_parsed_then_status_and_line_say_so),
        cmocka_unit_test(given_as_many_initrds_as_allowed_when_parsed_then_all_are_kept_in_order),
        cmocka_unit_test(given_one_initrd_too_many_when_parsed_then_its_line_is_named),
        cmocka_unit_test(given_one_option_line_too_many_when_parsed_then_its_line_is_named),
        cmocka_unit_test(
            given_values_around_their_limit_when_parsed_then_only_the_longer_is_refused),
        cmocka_unit_test(given_file_above_the_limit_when_parsed_then_refused_as_a_whole),
        cmocka_unit_test(given_null_text_when_parsed_then_no_kernel),
        cmocka_unit_test(given_any_prefix_of_an_entry_when_parsed_then_nothing_past_it_is_read),
        cmocka_unit_test(given_any_byte_changed_when_parsed_then_values_stay_inside_the_file),
        cmocka_unit_test(given_architecture_keys_when_compared_then_case_does_not_matter),
        cmocka_unit_test(given_option_lines_when_made_a_uefi_string_then_joined_and_terminated),
        cmocka_unit_test(given_no_options_when_made_a_uefi_string_then_empty),
        cmocka_unit_test(given_options_in_latin_1_when_made_a_uefi_string_then_encoding_is_refused),
        cmocka_unit_test(given_entry_paths_when_made_uefi_paths_then_absolute_with_backslashes),
        cmocka_unit_test(given_faulty_path_when_made_a_uefi_path_then_status_says_so),
        cmocka_unit_test(given_utf8_at_the_limits_when_appended_then_utf16_is_exact),
        cmocka_unit_test(given_utf8_that_is_none_when_appended_then_refused_and_target_unchanged),
        cmocka_unit_test(given_uefi_string_when_made_utf8_then_ends_at_zero_or_length),
        cmocka_unit_test(given_lone_surrogate_when_made_utf8_then_encoding_is_refused),
        cmocka_unit_test(
            given_examples_of_the_version_format_when_compared_then_order_as_published),
        cmocka_unit_test(
            given_published_sequence_when_compared_pairwise_then_each_is_below_the_next),
        cmocka_unit_test(given_long_and_padded_numbers_when_compared_then_by_value),
        cmocka_unit_test(given_entry_names_when_compared_then_newest_first_and_exhausted_last),
        cmocka_unit_test(given_names_of_one_version_when_compared_then_still_in_one_order),
        cmocka_unit_test(given_file_names_when_asked_then_only_conf_files_are_entries),
        cmocka_unit_test(given_wanted_name_when_matched_then_case_and_suffix_do_not_matter),
        cmocka_unit_test(given_all_statuses_when_explained_then_each_has_its_own_reason),
        cmocka_unit_test(given_limits_when_explained_then_reasons_name_the_real_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
