/** @file
 * boot/bzimage.c: a setup header, then one wrong field at a time; and what alignment leaves of memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/bzimage.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The Linux/x86 Boot Protocol, "The Real-Mode Kernel Header". */
enum {
    BOOT_FLAG = 0x1fe,
    HEADER = 0x202,
    VERSION = 0x206,
    KERNEL_ALIGNMENT = 0x230,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    FILE_BYTES = 0x264,
    LOADED = 0xdcc000,
};

#define MIB 0x100000u

static void put(uint8_t *file, size_t offset, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        file[offset + i] = (uint8_t)(value >> (8 * i));
}

/* A heap block of exactly its size, so that the address sanitizer sees every over-read. */
static uint8_t *valid_header(void)
{
    uint8_t *file = calloc(1, FILE_BYTES);

    assert_non_null(file);
    put(file, BOOT_FLAG, 2, 0xaa55);
    put(file, HEADER, 4, 0x53726448);
    put(file, VERSION, 2, 0x020f);
    put(file, KERNEL_ALIGNMENT, 4, 2 * MIB);
    put(file, PREF_ADDRESS, 8, 16 * MIB);
    put(file, INIT_SIZE, 4, 0x3378000);
    return file;
}

static bool find_changed(size_t offset, unsigned bytes, uint64_t value, struct bzimage_need *need)
{
    uint8_t *file = valid_header();
    bool found;

    put(file, offset, bytes, value);
    found = bzimage_find_need(file, FILE_BYTES, LOADED, need);
    free(file);
    return found;
}

static void given_kernel_when_looked_at_then_its_need_is_told(void **state)
{
    struct bzimage_need need = {0};
    uint8_t *file = valid_header();

    (void)state;

    assert_true(bzimage_find_need(file, FILE_BYTES, LOADED, &need));

    assert_int_equal(need.bytes, 0x3400000); /* in units of the alignment */
    assert_int_equal(need.alignment, 2 * MIB);
    assert_int_equal(need.lowest, 16 * MIB);
    free(file);
}

static void given_extreme_values_when_looked_at_then_they_are_told(void **state)
{
    struct bzimage_need need = {0};

    (void)state;

    assert_true(find_changed(VERSION, 2, 0x020a, &need));
    assert_true(find_changed(INIT_SIZE, 4, UINT32_MAX, &need));
    assert_int_equal(need.bytes, UINT64_C(0x100000000));
    assert_true(find_changed(INIT_SIZE, 4, 64 * MIB, &need));
    assert_int_equal(need.bytes, 64 * MIB);
    assert_true(find_changed(KERNEL_ALIGNMENT, 4, 0x80000000, &need));
    assert_int_equal(need.alignment, 0x80000000);
    assert_int_equal(need.bytes, 0x80000000);
    assert_true(find_changed(KERNEL_ALIGNMENT, 4, 1, &need));
    assert_int_equal(need.alignment, 1);
    assert_int_equal(need.bytes, 0x3378000);
    assert_true(find_changed(PREF_ADDRESS, 8, UINT64_MAX - 1, &need));
    assert_int_equal(need.lowest, UINT64_MAX - 1);
}

static void given_header_that_makes_no_sense_when_looked_at_then_it_is_none(void **state)
{
    static const struct {
        size_t offset;
        unsigned bytes;
        uint32_t value;
    } wrong[] = {
        {BOOT_FLAG, 2, 0x55aa},        {HEADER, 4, 0x53726449},  {HEADER, 4, 0x52726448},
        {VERSION, 2, 0x0209},          {KERNEL_ALIGNMENT, 4, 0}, {KERNEL_ALIGNMENT, 4, 3 * MIB},
        {KERNEL_ALIGNMENT, 4, 0x2001}, {INIT_SIZE, 4, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct bzimage_need need = {7, 7, 7};
        assert_false(find_changed(wrong[i].offset, wrong[i].bytes, wrong[i].value, &need));
        assert_int_equal(need.bytes, 7);
        assert_int_equal(need.lowest, 7);
        assert_int_equal(need.alignment, 7);
    }
}

static void given_kernel_loaded_with_room_when_looked_at_then_it_needs_no_piece(void **state)
{
    struct bzimage_need need;

    (void)state;

    assert_false(find_changed(INIT_SIZE, 4, LOADED, &need));
    assert_true(find_changed(INIT_SIZE, 4, LOADED + 1, &need));
    assert_int_equal(need.bytes, 14 * MIB);
}

static void given_file_cut_anywhere_when_looked_at_then_nothing_behind_it_is_read(void **state)
{
    struct bzimage_need need;
    uint8_t *file = valid_header();

    (void)state;
    for (size_t bytes = 0; bytes < FILE_BYTES; bytes++) {
        uint8_t *cut = malloc(bytes + 1);
        uint8_t *exact = cut + 1; /* odd, and nothing may be read behind its end */
        assert_non_null(cut);
        memcpy(exact, file, bytes);
        assert_false(bzimage_find_need(exact, bytes, LOADED, &need));
        free(cut);
    }
    assert_false(bzimage_find_need(NULL, 0, LOADED, &need));
    free(file);
}

static void given_free_memory_when_looked_at_then_only_what_the_kernel_can_use_counts(void **state)
{
    static const struct {
        uint64_t lowest, alignment, start, bytes, usable;
    } rows[] = {
        {0, 2 * MIB, 0, 64 * MIB, 64 * MIB},
        {0, 2 * MIB, 4 * MIB, 8 * MIB, 8 * MIB},
        {0, 2 * MIB, 4 * MIB + 4096, 8 * MIB, 6 * MIB + 4096},
        {0, 2 * MIB, 6 * MIB - 4096, 4096, 0},
        {0, 2 * MIB, 6 * MIB - 4096, 8192, 4096},
        {0, 2 * MIB, 6 * MIB - 4096, 0, 0},
        {0, 1, 12345, 100, 100},
        /* Below the lowest address, across it, at it, and one that is not aligned. */
        {16 * MIB, 2 * MIB, MIB, 15 * MIB, 0},
        {16 * MIB, 2 * MIB, MIB, 15 * MIB + 1, 1},
        {16 * MIB, 2 * MIB, 8 * MIB, 64 * MIB, 56 * MIB},
        {16 * MIB, 2 * MIB, 16 * MIB, 64 * MIB, 64 * MIB},
        {16 * MIB, 2 * MIB, 17 * MIB, 64 * MIB, 63 * MIB},
        {16 * MIB + 1, 2 * MIB, 8 * MIB, 64 * MIB, 54 * MIB},
        /* The last bytes of all addresses, and nothing that wraps. */
        {0, 2 * MIB, UINT64_MAX - 4095, 4096, 0},
        {0, 2 * MIB, UINT64_MAX - 2 * MIB + 1, 2 * MIB, 2 * MIB},
        {0, 0x80000000, 0, UINT64_MAX, UINT64_MAX},
        {UINT64_MAX, 2 * MIB, 0, UINT64_MAX, 0},
        {UINT64_MAX - 1, 2 * MIB, 0, UINT64_MAX, 0},
        {UINT64_MAX, 1, UINT64_MAX, 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct bzimage_need need = {1, rows[i].lowest, rows[i].alignment};
        assert_int_equal(bzimage_usable_bytes(&need, rows[i].start, rows[i].bytes), rows[i].usable);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_kernel_when_looked_at_then_its_need_is_told),
        cmocka_unit_test(given_extreme_values_when_looked_at_then_they_are_told),
        cmocka_unit_test(given_header_that_makes_no_sense_when_looked_at_then_it_is_none),
        cmocka_unit_test(given_kernel_loaded_with_room_when_looked_at_then_it_needs_no_piece),
        cmocka_unit_test(given_file_cut_anywhere_when_looked_at_then_nothing_behind_it_is_read),
        cmocka_unit_test(given_free_memory_when_looked_at_then_only_what_the_kernel_can_use_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
