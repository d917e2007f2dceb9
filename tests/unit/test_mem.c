/* core/mem.h: what is copied arrives, and nothing else changes. */

#include "core/mem.h"
#include "tests/fakes/testing.h"

#define LENGTHS 200u
#define MARGIN  16u

static void given_each_length_and_place_when_copied_then_that_and_no_more(void **state)
{
    uint8_t source[LENGTHS + MARGIN], target[LENGTHS + 2 * MARGIN];

    (void)state;
    for (unsigned i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i + 1);

    for (size_t bytes = 0; bytes <= LENGTHS; bytes++) {
        size_t from = bytes % 7, to = MARGIN - bytes % 5;
        memset(target, 0xEE, sizeof(target));
        vio_mem_copy(target + to, source + from, bytes);
        assert_memory_equal(target + to, source + from, bytes);
        for (size_t i = 0; i < sizeof(target); i++) {
            if (i < to || i >= to + bytes)
                assert_int_equal(target[i], 0xEE);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_each_length_and_place_when_copied_then_that_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
