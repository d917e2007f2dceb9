/* efi/print.c: what is printed, on a console that takes it in pieces, and into a buffer. */

#include "efi/uefi.h"

#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

static int set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    return 0;
}

#define assert_prints(expected, ...)                                                               \
    do {                                                                                           \
        memset(&fake_uefi_console, 0, sizeof(fake_uefi_console));                                  \
        assert_int_equal(Print(__VA_ARGS__), strlen(expected));                                    \
        assert_string_equal(fake_uefi_console.text, expected);                                     \
    } while (0)

static void given_each_letter_when_printed_then_its_value_in_its_form(void **state)
{
    (void)state;
    assert_prints("plain", L"plain");
    assert_prints("a wide b", L"a %s b", L"wide");
    assert_prints("a narrow b", L"a %a b", "narrow");
    assert_prints("(null) (null)", L"%s %a", NULL, NULL);
    assert_prints("7 -7 0", L"%d %d %d", 7, -7, 0);
    assert_prints("-2147483648 2147483647", L"%d %d", INT32_MIN, INT32_MAX);
    assert_prints("5000000000 -1", L"%ld %ld", UINT64_C(5000000000), (UINT64)INT64_C(-1));
    assert_prints("-9223372036854775808", L"%ld", (UINT64)INT64_MIN);
    assert_prints("  7  42 100 1000", L"%3d %3d %3d %3d", 7, 42, 100, 1000);
    assert_prints("002A:0F.7", L"%04x:%02x.%x", 42u, 15u, 7u);
    assert_prints("FFFFFFFF 0 FFFFFFFFFFFFFFFF", L"%x %lx %lx", UINT32_MAX, UINT64_C(0),
                  UINT64_MAX);
    assert_prints("1 then 2", L"%d%a%d", 1, " then ", 2);
}

static void given_status_when_printed_then_its_words(void **state)
{
    static const struct {
        EFI_STATUS status;
        const char *words;
    } cases[] = {
        {EFI_SUCCESS, "Success"},
        {EFI_LOAD_ERROR, "Load Error"},
        {EFI_INVALID_PARAMETER, "Invalid Parameter"},
        {EFI_UNSUPPORTED, "Unsupported"},
        {EFI_BUFFER_TOO_SMALL, "Buffer Too Small"},
        {EFI_DEVICE_ERROR, "Device Error"},
        {EFI_WRITE_PROTECTED, "Write Protected"},
        {EFI_OUT_OF_RESOURCES, "Out of Resources"},
        {EFI_NO_MEDIA, "No Media"},
        {EFI_NOT_FOUND, "Not Found"},
        {EFI_ACCESS_DENIED, "Access Denied"},
        {EFI_TIMEOUT, "Time out"},
        {EFI_ABORTED, "Aborted"},
        {EFI_SECURITY_VIOLATION, "Security Policy Violation"},
        {EFI_CRC_ERROR, "CRC Error"},
        {EFI_END_OF_MEDIA, "End of Media"},
        {EFI_END_OF_FILE, "End of File"},
        {EFI_COMPROMISED_DATA, "Compromised Data"},
        {EFIERR(0), "8000000000000000"},
        {EFIERR(34), "8000000000000022"},
        {EFIERR(0x7FFFFFFFFFFFFFFF), "FFFFFFFFFFFFFFFF"},
        {EFI_WARN_UNKNOWN_GLYPH, "1"},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_prints(cases[i].words, L"%r", cases[i].status);
}

static void given_odd_formats_when_printed_then_nothing_behind_them_is_read(void **state)
{
    (void)state;
    assert_prints("", L"");
    assert_prints("100 %", L"%d %%", 100);
    assert_prints("x", L"x%");
    assert_prints("x", L"x%04l");
    assert_prints("q", L"%q");
}

static void given_long_text_when_printed_then_all_of_it_in_pieces(void **state)
{
    char text[512];

    (void)state;
    for (size_t bytes = 0; bytes < sizeof(text); bytes++) {
        for (size_t i = 0; i < bytes; i++)
            text[i] = (char)('a' + i % 26);
        text[bytes] = '\0';

        assert_prints(text, L"%a", text);

        assert_true(fake_uefi_console.longest_piece < 200);
    }
    assert_true(fake_uefi_console.n_pieces > 1);
}

static void given_new_line_when_printed_then_return_goes_before_it_on_a_console_only(void **state)
{
    CHAR16 text[8];

    (void)state;
    assert_prints("a\r\nb\r\n", L"a\n%a", "b\n");
    assert_int_equal(UnicodeSPrint(text, sizeof(text), L"a\n"), 2);
    assert_memory_equal(text, L"a\n", 3 * sizeof(CHAR16));
}

static void given_too_little_room_when_printed_into_then_cut_off_and_ended(void **state)
{
    (void)state;
    for (UINTN capacity = 1; capacity < 10; capacity++) {
        CHAR16 *text = malloc(capacity * sizeof(CHAR16)); /* ASan finds a byte too much */
        UINTN expected = capacity - 1 < 7 ? capacity - 1 : 7;

        UINTN n_units = UnicodeSPrint(text, capacity * sizeof(CHAR16), L"%x%a", 0x123u, "abcd");

        assert_int_equal(n_units, expected);
        assert_memory_equal(text, L"123abcd", expected * sizeof(CHAR16));
        assert_int_equal(text[expected], 0);
        free(text);
    }
    assert_int_equal(fake_uefi_console.n_pieces, 0);
}

#define PRINT_TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PRINT_TEST(given_each_letter_when_printed_then_its_value_in_its_form),
        PRINT_TEST(given_status_when_printed_then_its_words),
        PRINT_TEST(given_odd_formats_when_printed_then_nothing_behind_them_is_read),
        PRINT_TEST(given_long_text_when_printed_then_all_of_it_in_pieces),
        PRINT_TEST(given_new_line_when_printed_then_return_goes_before_it_on_a_console_only),
        PRINT_TEST(given_too_little_room_when_printed_into_then_cut_off_and_ended),
    };

    return cmocka_run_group_tests_name("print", tests, NULL, NULL);
}
