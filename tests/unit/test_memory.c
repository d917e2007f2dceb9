/* efi/memory.c, under other names: the host has its own. */

#include "core/mem.h"
#include "tests/fakes/testing.h"

#define memcpy our_memcpy
#define memset our_memset
#include "efi/memory.c"
#undef memcpy
#undef memset

#define MOST_BYTES 300u

static void
given_any_length_and_place_when_copied_or_set_then_these_bytes_and_no_others(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= MOST_BYTES; bytes++) {
        size_t at = bytes % 9;
        uint8_t source[MOST_BYTES], expected[MOST_BYTES + 16], copied[MOST_BYTES + 16];
        for (size_t i = 0; i < MOST_BYTES; i++)
            source[i] = (uint8_t)(i * 7 + bytes);

        memset(expected, 0xEE, sizeof(expected));
        memset(copied, 0xEE, sizeof(copied));
        memcpy(expected + at, source, bytes);
        assert_ptr_equal(our_memcpy(copied + at, source, bytes), copied + at);
        assert_memory_equal(copied, expected, sizeof(expected));

        memset(expected + at, 0x81, bytes);
        assert_ptr_equal(our_memset(copied + at, 0x7F81, bytes), copied + at);
        assert_memory_equal(copied, expected, sizeof(expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            given_any_length_and_place_when_copied_or_set_then_these_bytes_and_no_others),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
