/** @file
 * boot/pe.c: one valid image, then one wrong field at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/pe.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The valid image: headers, .text, .data with zeros behind its raw data, .reloc, certificates. */
enum {
    LFANEW = 0x80,
    N_SECTIONS = 3,
    OPTIONAL_BYTES = 240,
    OPTIONAL = LFANEW + PE_COFF_HEADER_BYTES,
    TABLE = OPTIONAL + OPTIONAL_BYTES,
    TABLE_END = TABLE + N_SECTIONS * PE_SECTION_HEADER_BYTES,
    HEADER_BYTES = 0x400,
    TEXT_RAW = 0x400,
    TEXT_BYTES = 0x180,
    DATA_RAW = 0x600,
    DATA_RAW_BYTES = 0x200,
    RELOC_RAW = 0x800,
    CERTIFICATES = 0xa00,
    CERTIFICATE_BYTES = 0x88,
    FILE_BYTES = CERTIFICATES + CERTIFICATE_BYTES,

    TEXT_ADDRESS = 0x1000,
    DATA_ADDRESS = 0x2000,
    RELOC_ADDRESS = 0x4000,
    IMAGE_BYTES = 0x5000,
    ENTRY = TEXT_ADDRESS + 0x10,
};

#define SECTION(n)   (TABLE + (n)*PE_SECTION_HEADER_BYTES)
#define DIRECTORY(n) (OPTIONAL + PE_OPT_DIRECTORIES + (n)*PE_DIRECTORY_BYTES)

/* One field of the image and another value for it. */
struct change {
    size_t offset;
    unsigned bytes;
    uint64_t value;
};

static void put(uint8_t *file, size_t offset, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        file[offset + i] = (uint8_t)(value >> (8 * i));
}

static void put_section(uint8_t *file, unsigned n, uint32_t address, uint32_t memory_bytes,
                        uint32_t raw_start, uint32_t raw_bytes)
{
    put(file, SECTION(n) + PE_SECTION_VIRTUAL_ADDRESS, 4, address);
    put(file, SECTION(n) + PE_SECTION_VIRTUAL_SIZE, 4, memory_bytes);
    put(file, SECTION(n) + PE_SECTION_POINTER_TO_RAW_DATA, 4, raw_start);
    put(file, SECTION(n) + PE_SECTION_SIZE_OF_RAW_DATA, 4, raw_bytes);
}

/* A heap block of exactly the image's size, so that the address sanitizer sees every over-read. */
static uint8_t *valid_image(void)
{
    uint8_t *file = calloc(1, FILE_BYTES);

    assert_non_null(file);
    put(file, 0, 2, PE_DOS_MAGIC);
    put(file, PE_DOS_LFANEW, 4, LFANEW);
    put(file, LFANEW, 4, PE_SIGNATURE);
    put(file, LFANEW + PE_COFF_MACHINE, 2, PE_MACHINE_X64);
    put(file, LFANEW + PE_COFF_NUMBER_OF_SECTIONS, 2, N_SECTIONS);
    put(file, LFANEW + PE_COFF_SIZE_OF_OPTIONAL, 2, OPTIONAL_BYTES);
    put(file, OPTIONAL + PE_OPT_MAGIC, 2, PE_OPT_MAGIC_PE32_PLUS);
    put(file, OPTIONAL + PE_OPT_ENTRY_POINT, 4, ENTRY);
    put(file, OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 4, 0x1000);
    put(file, OPTIONAL + PE_OPT_FILE_ALIGNMENT, 4, 0x200);
    put(file, OPTIONAL + PE_OPT_SIZE_OF_IMAGE, 4, IMAGE_BYTES);
    put(file, OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, HEADER_BYTES);
    put(file, OPTIONAL + PE_OPT_SUBSYSTEM, 2, PE_SUBSYSTEM_EFI_APPLICATION);
    put(file, OPTIONAL + PE_OPT_NUMBER_OF_DIRECTORIES, 4, PE_MAX_DIRECTORIES);
    put(file, DIRECTORY(PE_DIRECTORY_CERTIFICATES), 4, CERTIFICATES);
    put(file, DIRECTORY(PE_DIRECTORY_CERTIFICATES) + 4, 4, CERTIFICATE_BYTES);
    put(file, DIRECTORY(PE_DIRECTORY_RELOCATIONS), 4, RELOC_ADDRESS);
    put(file, DIRECTORY(PE_DIRECTORY_RELOCATIONS) + 4, 4, 12);
    put_section(file, 0, TEXT_ADDRESS, TEXT_BYTES, TEXT_RAW, 0x200);
    put_section(file, 1, DATA_ADDRESS, 0x1800, DATA_RAW, DATA_RAW_BYTES);
    put_section(file, 2, RELOC_ADDRESS, 12, RELOC_RAW, 0x200);
    return file;
}

static boot_status check_changed(const struct change *change, struct pe_info *ret_info)
{
    uint8_t *file = valid_image();
    boot_status status;

    put(file, change->offset, change->bytes, change->value);
    status = pe_check(file, FILE_BYTES, PE_MACHINE_X64, ret_info);
    free(file);
    return status;
}

static void given_valid_image_when_checked_then_its_sizes_are_told(void **state)
{
    struct pe_info info = {0};
    uint8_t *file = valid_image();

    (void)state;

    assert_int_equal(pe_check(file, FILE_BYTES, PE_MACHINE_X64, &info), BOOT_OK);

    assert_int_equal(info.image_bytes, IMAGE_BYTES);
    assert_int_equal(info.entry, ENTRY);
    assert_int_equal(info.section_count, N_SECTIONS);
    free(file);
}

static void given_image_at_odd_address_when_checked_then_still_valid(void **state)
{
    struct pe_info info;
    uint8_t *file = valid_image();
    uint8_t *odd = malloc(FILE_BYTES + 1);

    (void)state;
    memcpy(odd + 1, file, FILE_BYTES);

    assert_int_equal(pe_check(odd + 1, FILE_BYTES, PE_MACHINE_X64, &info), BOOT_OK);
    free(odd);
    free(file);
}

static void given_image_for_aarch64_when_checked_there_then_valid(void **state)
{
    struct pe_info info;
    uint8_t *file = valid_image();

    (void)state;
    put(file, LFANEW + PE_COFF_MACHINE, 2, PE_MACHINE_AA64);

    assert_int_equal(pe_check(file, FILE_BYTES, PE_MACHINE_AA64, &info), BOOT_OK);
    assert_int_equal(pe_check(file, FILE_BYTES, PE_MACHINE_X64, &info), BOOT_ERR_PE_MACHINE);
    free(file);
}

/* One field each at the edge of what is allowed. */
static const struct change allowed_fields[] = {
    {OPTIONAL + PE_OPT_ENTRY_POINT, 4, TEXT_ADDRESS},
    {OPTIONAL + PE_OPT_ENTRY_POINT, 4, TEXT_ADDRESS + TEXT_BYTES - 1},
    {OPTIONAL + PE_OPT_ENTRY_POINT, 4, DATA_ADDRESS + DATA_RAW_BYTES - 1},
    {OPTIONAL + PE_OPT_SIZE_OF_IMAGE, 4, RELOC_ADDRESS + 12},
    {OPTIONAL + PE_OPT_SIZE_OF_IMAGE, 4, 0xffffffff},
    {OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, TABLE_END},
    {OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, CERTIFICATES},
    {OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 4, 0x200},
    {OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 4, PE_MAX_SECTION_ALIGNMENT},
    {OPTIONAL + PE_OPT_FILE_ALIGNMENT, 4, 1},
    {OPTIONAL + PE_OPT_FILE_ALIGNMENT, 4, 0x1000},
    {OPTIONAL + PE_OPT_NUMBER_OF_DIRECTORIES, 4, 0},
    {OPTIONAL + PE_OPT_NUMBER_OF_DIRECTORIES, 4, 6},
    {DIRECTORY(PE_DIRECTORY_CERTIFICATES), 8, 0},
    {DIRECTORY(PE_DIRECTORY_CERTIFICATES), 8, 0xffffffff}, /* size 0: absent */
    {DIRECTORY(PE_DIRECTORY_RELOCATIONS), 8, 0},
    {DIRECTORY(PE_DIRECTORY_RELOCATIONS) + 4, 4, IMAGE_BYTES - RELOC_ADDRESS},
    {SECTION(0) + PE_SECTION_VIRTUAL_SIZE, 4, 0},
    {SECTION(0) + PE_SECTION_VIRTUAL_ADDRESS, 4, ENTRY},
    {SECTION(1) + PE_SECTION_VIRTUAL_ADDRESS, 4, HEADER_BYTES},
    {SECTION(1) + PE_SECTION_VIRTUAL_SIZE, 4, IMAGE_BYTES - DATA_ADDRESS},
    {SECTION(1) + PE_SECTION_SIZE_OF_RAW_DATA, 4, 0},
    {SECTION(1) + PE_SECTION_SIZE_OF_RAW_DATA, 4, FILE_BYTES - DATA_RAW},
    {SECTION(2) + PE_SECTION_VIRTUAL_SIZE, 4, 0},
};

static void given_unusual_but_allowed_field_when_checked_then_valid(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(allowed_fields); i++) {
        struct pe_info info;
        boot_status status = check_changed(&allowed_fields[i], &info);

        if (status != BOOT_OK)
            print_error("case %zu\n", i);
        assert_string_equal(boot_status_reason(status), boot_status_reason(BOOT_OK));
    }
}

/* One wrong field each; the limits from both sides are in the table above. */
static const struct {
    struct change change;
    boot_status expected;
} wrong_fields[] = {
    {{0, 2, 0x4d5a}, BOOT_ERR_PE_SIGNATURE},
    {{0, 2, 0x004d}, BOOT_ERR_PE_SIGNATURE},
    {{0, 4, 0x464c457f}, BOOT_ERR_PE_SIGNATURE}, /* ELF */
    {{PE_DOS_LFANEW, 4, 0}, BOOT_ERR_PE_SIGNATURE},
    {{PE_DOS_LFANEW, 4, PE_DOS_HEADER_BYTES - 1}, BOOT_ERR_PE_SIGNATURE},
    {{PE_DOS_LFANEW, 4, LFANEW + 1}, BOOT_ERR_PE_SIGNATURE},
    {{PE_DOS_LFANEW, 4, FILE_BYTES - 4}, BOOT_ERR_PE_SIGNATURE},
    {{PE_DOS_LFANEW, 4, 0x100001}, BOOT_ERR_PE_SIGNATURE},
    {{PE_DOS_LFANEW, 4, 0xfffffffc}, BOOT_ERR_PE_SIGNATURE},
    {{LFANEW, 4, 0x0000454e}, BOOT_ERR_PE_SIGNATURE}, /* NE */
    {{LFANEW + 3, 1, 1}, BOOT_ERR_PE_SIGNATURE},
    {{PE_DOS_LFANEW, 4, FILE_BYTES - 3}, BOOT_ERR_PE_TRUNCATED},
    {{PE_DOS_LFANEW, 4, 0x100000}, BOOT_ERR_PE_TRUNCATED},
    {{LFANEW + PE_COFF_MACHINE, 2, PE_MACHINE_AA64}, BOOT_ERR_PE_MACHINE},
    {{LFANEW + PE_COFF_MACHINE, 2, 0x014c}, BOOT_ERR_PE_MACHINE}, /* IA32 */
    {{LFANEW + PE_COFF_MACHINE, 2, 0}, BOOT_ERR_PE_MACHINE},
    {{LFANEW + PE_COFF_NUMBER_OF_SECTIONS, 2, 0}, BOOT_ERR_PE_SECTION_COUNT},
    {{LFANEW + PE_COFF_NUMBER_OF_SECTIONS, 2, 97}, BOOT_ERR_PE_SECTION_COUNT},
    {{LFANEW + PE_COFF_NUMBER_OF_SECTIONS, 2, 0xffff}, BOOT_ERR_PE_SECTION_COUNT},
    {{LFANEW + PE_COFF_NUMBER_OF_SECTIONS, 2, 96}, BOOT_ERR_PE_TRUNCATED},
    {{LFANEW + PE_COFF_SIZE_OF_OPTIONAL, 2, 0}, BOOT_ERR_PE_FORMAT},
    {{LFANEW + PE_COFF_SIZE_OF_OPTIONAL, 2, PE_OPT_DIRECTORIES - 1}, BOOT_ERR_PE_FORMAT},
    {{LFANEW + PE_COFF_SIZE_OF_OPTIONAL, 2, OPTIONAL_BYTES - 1}, BOOT_ERR_PE_FORMAT},
    {{LFANEW + PE_COFF_SIZE_OF_OPTIONAL, 2, 0xffff}, BOOT_ERR_PE_TRUNCATED},
    {{OPTIONAL + PE_OPT_MAGIC, 2, 0x010b}, BOOT_ERR_PE_FORMAT}, /* PE32 */
    {{OPTIONAL + PE_OPT_MAGIC, 2, 0}, BOOT_ERR_PE_FORMAT},
    {{OPTIONAL + PE_OPT_NUMBER_OF_DIRECTORIES, 4, 17}, BOOT_ERR_PE_FORMAT},
    {{OPTIONAL + PE_OPT_NUMBER_OF_DIRECTORIES, 4, 0x20000000}, BOOT_ERR_PE_FORMAT},
    {{OPTIONAL + PE_OPT_SUBSYSTEM, 2, 11}, BOOT_ERR_PE_SUBSYSTEM}, /* boot driver */
    {{OPTIONAL + PE_OPT_SUBSYSTEM, 2, 3}, BOOT_ERR_PE_SUBSYSTEM},  /* Windows console */
    {{OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 4, 0}, BOOT_ERR_PE_ALIGNMENT},
    {{OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 4, 0x1800}, BOOT_ERR_PE_ALIGNMENT},
    {{OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 4, 0x100}, BOOT_ERR_PE_ALIGNMENT},
    {{OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 4, 0x2000000}, BOOT_ERR_PE_ALIGNMENT},
    {{OPTIONAL + PE_OPT_FILE_ALIGNMENT, 4, 0}, BOOT_ERR_PE_ALIGNMENT},
    {{OPTIONAL + PE_OPT_FILE_ALIGNMENT, 4, 0x201}, BOOT_ERR_PE_ALIGNMENT},
    {{OPTIONAL + PE_OPT_FILE_ALIGNMENT, 4, 0x2000}, BOOT_ERR_PE_ALIGNMENT},
    /* both alignments at once: 128 KiB */
    {{OPTIONAL + PE_OPT_SECTION_ALIGNMENT, 8, 0x0002000000020000}, BOOT_ERR_PE_ALIGNMENT},
    {{OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, 0}, BOOT_ERR_PE_HEADERS},
    {{OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, TABLE_END - 1}, BOOT_ERR_PE_HEADERS},
    {{OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, IMAGE_BYTES + 1}, BOOT_ERR_PE_HEADERS},
    {{OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, 0xffffffff}, BOOT_ERR_PE_HEADERS},
    {{OPTIONAL + PE_OPT_SIZE_OF_IMAGE, 4, 0}, BOOT_ERR_PE_HEADERS},
    {{OPTIONAL + PE_OPT_SIZE_OF_IMAGE, 4, HEADER_BYTES - 1}, BOOT_ERR_PE_HEADERS},
    {{OPTIONAL + PE_OPT_SIZE_OF_HEADERS, 4, FILE_BYTES + 1}, BOOT_ERR_PE_TRUNCATED},
    {{OPTIONAL + PE_OPT_SIZE_OF_IMAGE, 4, HEADER_BYTES}, BOOT_ERR_PE_SECTION},
    {{OPTIONAL + PE_OPT_SIZE_OF_IMAGE, 4, RELOC_ADDRESS + 11}, BOOT_ERR_PE_SECTION},
    {{SECTION(0) + PE_SECTION_VIRTUAL_ADDRESS, 4, 0}, BOOT_ERR_PE_SECTION},
    {{SECTION(0) + PE_SECTION_VIRTUAL_ADDRESS, 4, HEADER_BYTES - 1}, BOOT_ERR_PE_SECTION},
    {{SECTION(1) + PE_SECTION_VIRTUAL_ADDRESS, 4, 0xfffff000}, BOOT_ERR_PE_SECTION},
    {{SECTION(1) + PE_SECTION_VIRTUAL_SIZE, 4, 0xfffff000}, BOOT_ERR_PE_SECTION},
    {{SECTION(1) + PE_SECTION_VIRTUAL_SIZE, 4, IMAGE_BYTES - DATA_ADDRESS + 1},
     BOOT_ERR_PE_SECTION},
    {{SECTION(2) + PE_SECTION_POINTER_TO_RAW_DATA, 4, 0xfffffe00}, BOOT_ERR_PE_SECTION},
    {{SECTION(2) + PE_SECTION_SIZE_OF_RAW_DATA, 4, 0xffffffff}, BOOT_ERR_PE_SECTION},
    {{SECTION(0) + PE_SECTION_SIZE_OF_RAW_DATA, 4, FILE_BYTES}, BOOT_ERR_PE_TRUNCATED},
    {{SECTION(1) + PE_SECTION_POINTER_TO_RAW_DATA, 4, FILE_BYTES}, BOOT_ERR_PE_TRUNCATED},
    {{SECTION(1) + PE_SECTION_SIZE_OF_RAW_DATA, 4, FILE_BYTES - DATA_RAW + 1},
     BOOT_ERR_PE_TRUNCATED},
    {{OPTIONAL + PE_OPT_ENTRY_POINT, 4, 0}, BOOT_ERR_PE_ENTRY_POINT},
    {{OPTIONAL + PE_OPT_ENTRY_POINT, 4, HEADER_BYTES - 1}, BOOT_ERR_PE_ENTRY_POINT},
    {{OPTIONAL + PE_OPT_ENTRY_POINT, 4, TEXT_ADDRESS - 1}, BOOT_ERR_PE_ENTRY_POINT},
    {{OPTIONAL + PE_OPT_ENTRY_POINT, 4, TEXT_ADDRESS + TEXT_BYTES}, BOOT_ERR_PE_ENTRY_POINT},
    {{OPTIONAL + PE_OPT_ENTRY_POINT, 4, DATA_ADDRESS + DATA_RAW_BYTES}, BOOT_ERR_PE_ENTRY_POINT},
    {{OPTIONAL + PE_OPT_ENTRY_POINT, 4, IMAGE_BYTES}, BOOT_ERR_PE_ENTRY_POINT},
    {{OPTIONAL + PE_OPT_ENTRY_POINT, 4, 0xffffffff}, BOOT_ERR_PE_ENTRY_POINT},
    {{SECTION(0) + PE_SECTION_SIZE_OF_RAW_DATA, 4, 0}, BOOT_ERR_PE_ENTRY_POINT},
    {{DIRECTORY(PE_DIRECTORY_RELOCATIONS), 4, IMAGE_BYTES}, BOOT_ERR_PE_DIRECTORY},
    {{DIRECTORY(PE_DIRECTORY_RELOCATIONS), 4, HEADER_BYTES - 1}, BOOT_ERR_PE_DIRECTORY},
    {{DIRECTORY(PE_DIRECTORY_RELOCATIONS), 4, 0xfffffffc}, BOOT_ERR_PE_DIRECTORY},
    {{DIRECTORY(PE_DIRECTORY_RELOCATIONS) + 4, 4, IMAGE_BYTES - RELOC_ADDRESS + 1},
     BOOT_ERR_PE_DIRECTORY},
    {{DIRECTORY(PE_DIRECTORY_CERTIFICATES), 4, 0}, BOOT_ERR_PE_DIRECTORY},
    {{DIRECTORY(PE_DIRECTORY_CERTIFICATES), 4, 0xfffffffc}, BOOT_ERR_PE_DIRECTORY},
    {{DIRECTORY(PE_DIRECTORY_CERTIFICATES) + 4, 4, 0xffffffff}, BOOT_ERR_PE_DIRECTORY},
    {{DIRECTORY(PE_DIRECTORY_CERTIFICATES), 4, CERTIFICATES + 1}, BOOT_ERR_PE_TRUNCATED},
    {{DIRECTORY(PE_DIRECTORY_CERTIFICATES) + 4, 4, CERTIFICATE_BYTES + 1}, BOOT_ERR_PE_TRUNCATED},
};

static void given_one_wrong_field_when_checked_then_status_names_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(wrong_fields); i++) {
        struct pe_info info = {.image_bytes = 1, .entry = 2, .section_count = 3};
        boot_status status = check_changed(&wrong_fields[i].change, &info);

        if (status != wrong_fields[i].expected)
            print_error("case %zu\n", i);
        assert_string_equal(boot_status_reason(status),
                            boot_status_reason(wrong_fields[i].expected));
        assert_int_equal(info.image_bytes, 1);
        assert_int_equal(info.entry, 2);
        assert_int_equal(info.section_count, 3);
    }
}

static void given_too_small_optional_header_at_the_end_when_checked_then_not_read(void **state)
{
    size_t bytes = OPTIONAL + PE_SECTION_HEADER_BYTES;
    struct pe_info info;
    uint8_t *image = valid_image();
    uint8_t *file = malloc(bytes);

    (void)state;
    put(image, LFANEW + PE_COFF_NUMBER_OF_SECTIONS, 2, 1);
    put(image, LFANEW + PE_COFF_SIZE_OF_OPTIONAL, 2, 0);
    memcpy(file, image, bytes);

    assert_int_equal(pe_check(file, bytes, PE_MACHINE_X64, &info), BOOT_ERR_PE_FORMAT);
    free(file);
    free(image);
}

static void given_fewer_directories_when_checked_then_what_follows_them_is_none(void **state)
{
    struct pe_info info;
    uint8_t *file = valid_image();

    (void)state;
    put(file, OPTIONAL + PE_OPT_NUMBER_OF_DIRECTORIES, 4, PE_DIRECTORY_CERTIFICATES);
    put(file, DIRECTORY(PE_DIRECTORY_CERTIFICATES), 8, UINT64_MAX);
    put(file, DIRECTORY(PE_DIRECTORY_RELOCATIONS), 8, UINT64_MAX);

    assert_int_equal(pe_check(file, FILE_BYTES, PE_MACHINE_X64, &info), BOOT_OK);
    free(file);
}

static void given_something_else_when_checked_then_not_a_pe(void **state)
{
    static const char *const files[] = {"", "M", "#!/bin/sh\necho no kernel\n", "\x1f\x8b gzip"};
    struct pe_info info;

    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        size_t bytes = strlen(files[i]);
        char *file = malloc(bytes);

        if (bytes > 0)
            memcpy(file, files[i], bytes);
        assert_int_equal(pe_check(file, bytes, PE_MACHINE_X64, &info), BOOT_ERR_PE_SIGNATURE);
        free(file);
    }
    assert_int_equal(pe_check(NULL, 0, PE_MACHINE_X64, &info), BOOT_ERR_PE_SIGNATURE);
}

static void given_any_prefix_of_an_image_when_checked_then_truncated(void **state)
{
    uint8_t *image = valid_image();

    (void)state;
    for (size_t bytes = 2; bytes < FILE_BYTES; bytes++) {
        struct pe_info info;
        uint8_t *file = malloc(bytes);

        memcpy(file, image, bytes);
        assert_int_equal(pe_check(file, bytes, PE_MACHINE_X64, &info), BOOT_ERR_PE_TRUNCATED);
        free(file);
    }
    free(image);
}

static void given_any_header_byte_changed_when_checked_then_what_passes_is_sound(void **state)
{
    uint8_t *file = valid_image();

    (void)state;
    for (unsigned i = 0; i < HEADER_BYTES * 256; i++) {
        struct pe_info info;
        uint8_t *byte = &file[i / 256];
        uint8_t original = *byte;

        *byte = (uint8_t)i;
        if (pe_check(file, FILE_BYTES, PE_MACHINE_X64, &info) == BOOT_OK) {
            assert_in_range(info.entry, 1, info.image_bytes - 1);
            assert_in_range(info.section_count, 1, PE_MAX_SECTIONS);
        }
        *byte = original;
    }
    free(file);
}

static void given_any_header_byte_changed_and_file_cut_when_checked_then_no_over_read(void **state)
{
    uint8_t *image = valid_image();

    (void)state;
    for (size_t bytes = PE_DOS_HEADER_BYTES; bytes <= HEADER_BYTES; bytes += 4) {
        uint8_t *file = malloc(bytes);

        memcpy(file, image, bytes);
        for (size_t i = 0; i < bytes; i++) {
            struct pe_info info;

            file[i] = (uint8_t)~image[i];
            assert_int_not_equal(pe_check(file, bytes, PE_MACHINE_X64, &info), BOOT_OK);
            file[i] = image[i];
        }
        free(file);
    }
    free(image);
}

static void given_pe_statuses_when_explained_then_reasons_hold_the_promised_words(void **state)
{
    static const struct {
        boot_status status;
        const char *word;
    } cases[] = {
        {BOOT_ERR_PE_SIGNATURE, "not a PE"},      {BOOT_ERR_PE_TRUNCATED, "truncated"},
        {BOOT_ERR_PE_ENTRY_POINT, "entry point"}, {BOOT_ERR_PE_SECTION, "section"},
        {BOOT_ERR_PE_SECTION_COUNT, "section"},   {BOOT_ERR_PE_MACHINE, "machine"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int status = 0; status < BOOT_STATUS_COUNT; status++) {
            bool is_section = strcmp(cases[i].word, "section") == 0;
            bool has_word = strstr(boot_status_reason((boot_status)status), cases[i].word) != NULL;
            bool expected = status == (int)cases[i].status ||
                            (is_section && (status == BOOT_ERR_PE_SECTION ||
                                            status == BOOT_ERR_PE_SECTION_COUNT));

            assert_int_equal(has_word, expected);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_valid_image_when_checked_then_its_sizes_are_told),
        cmocka_unit_test(given_image_at_odd_address_when_checked_then_still_valid),
        cmocka_unit_test(given_image_for_aarch64_when_checked_there_then_valid),
        cmocka_unit_test(given_unusual_but_allowed_field_when_checked_then_valid),
        cmocka_unit_test(given_one_wrong_field_when_checked_then_status_names_it),
        cmocka_unit_test(given_too_small_optional_header_at_the_end_when_checked_then_not_read),
        cmocka_unit_test(given_fewer_directories_when_checked_then_what_follows_them_is_none),
        cmocka_unit_test(given_something_else_when_checked_then_not_a_pe),
        cmocka_unit_test(given_any_prefix_of_an_image_when_checked_then_truncated),
        cmocka_unit_test(given_any_header_byte_changed_when_checked_then_what_passes_is_sound),
        cmocka_unit_test(given_any_header_byte_changed_and_file_cut_when_checked_then_no_over_read),
        cmocka_unit_test(given_pe_statuses_when_explained_then_reasons_hold_the_promised_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
