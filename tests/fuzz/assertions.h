/** @file
 * cmocka's assertions for a program without cmocka: each that fails says so and aborts, which is
 * how a fuzzer learns of it. With them the fakes' strictness, written for tests, judges a fuzzer's
 * inputs as well. To be included by exactly one file of a program.
 */
#ifndef TESTS_FUZZ_ASSERTIONS_H
#define TESTS_FUZZ_ASSERTIONS_H

#include "tests/fakes/testing.h"

void print_error(const char *const format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

void _fail(const char *const file, const int line)
{
    fprintf(stderr, "%s:%d: an assertion failed\n", file, line);
    abort();
}

void _assert_true(const LargestIntegralType result, const char *const expression,
                  const char *const file, const int line)
{
    if (result)
        return;
    fprintf(stderr, "%s\n", expression);
    _fail(file, line);
}

void _assert_int_equal(const LargestIntegralType a, const LargestIntegralType b,
                       const char *const file, const int line)
{
    if (a == b)
        return;
    fprintf(stderr, "%#llx != %#llx\n", (unsigned long long)a, (unsigned long long)b);
    _fail(file, line);
}

void _assert_int_not_equal(const LargestIntegralType a, const LargestIntegralType b,
                           const char *const file, const int line)
{
    if (a != b)
        return;
    fprintf(stderr, "%#llx == %#llx\n", (unsigned long long)a, (unsigned long long)b);
    _fail(file, line);
}

void _assert_in_range(const LargestIntegralType value, const LargestIntegralType minimum,
                      const LargestIntegralType maximum, const char *const file, const int line)
{
    if (value >= minimum && value <= maximum)
        return;
    fprintf(stderr, "%#llx is not from %#llx to %#llx\n", (unsigned long long)value,
            (unsigned long long)minimum, (unsigned long long)maximum);
    _fail(file, line);
}

void _assert_memory_equal(const void *const a, const void *const b, const size_t size,
                          const char *const file, const int line)
{
    if (memcmp(a, b, size) == 0)
        return;
    fprintf(stderr, "%zu bytes of memory differ\n", size);
    _fail(file, line);
}

#endif
