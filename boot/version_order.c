/** @file
 * The algorithm of UAPI.10 step by step. The order of the steps is the order of the versions.
 */
#include "boot/version_order.h"

static bool version_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool version_is_significant(char c)
{
    return version_is_letter(c) || text_is_digit(c) || c == '-' || c == '.' || c == '~' || c == '^';
}

static void version_skip_separators(struct text_slice *rest)
{
    while (rest->bytes > 0 && !version_is_significant(rest->start[0]))
        *rest = text_skip(*rest, 1);
}

static bool version_starts_with(struct text_slice rest, char c)
{
    return rest.bytes > 0 && rest.start[0] == c;
}

/* Takes the mark off both, or says which of the two has it and so is the older one. */
static int version_compare_mark(struct text_slice *a, struct text_slice *b, char mark)
{
    bool a_has = version_starts_with(*a, mark);
    bool b_has = version_starts_with(*b, mark);

    if (a_has && b_has) {
        *a = text_skip(*a, 1);
        *b = text_skip(*b, 1);
    }
    return (int)b_has - (int)a_has;
}

/* Takes the digits off rest and returns them without leading zeros. */
static struct text_slice version_take_number(struct text_slice *rest)
{
    size_t bytes = 0;
    struct text_slice number;

    while (version_starts_with(*rest, '0'))
        *rest = text_skip(*rest, 1);
    while (bytes < rest->bytes && text_is_digit(rest->start[bytes]))
        bytes++;
    number = text_first(*rest, bytes);
    *rest = text_skip(*rest, bytes);
    return number;
}

/* Compares without computing: without leading zeros the longer number is the bigger one. */
static int version_compare_numbers(struct text_slice *a, struct text_slice *b)
{
    struct text_slice a_number = version_take_number(a);
    struct text_slice b_number = version_take_number(b);

    if (a_number.bytes != b_number.bytes)
        return a_number.bytes < b_number.bytes ? -1 : 1;
    for (size_t i = 0; i < a_number.bytes; i++) {
        if (a_number.start[i] != b_number.start[i])
            return a_number.start[i] < b_number.start[i] ? -1 : 1;
    }
    return 0;
}

static int version_compare_letters(struct text_slice *a, struct text_slice *b)
{
    bool a_has = a->bytes > 0 && version_is_letter(a->start[0]);
    bool b_has = b->bytes > 0 && version_is_letter(b->start[0]);

    while (a_has && b_has && a->start[0] == b->start[0]) {
        *a = text_skip(*a, 1);
        *b = text_skip(*b, 1);
        a_has = a->bytes > 0 && version_is_letter(a->start[0]);
        b_has = b->bytes > 0 && version_is_letter(b->start[0]);
    }
    if (a_has && b_has)
        return a->start[0] < b->start[0] ? -1 : 1;
    return (int)a_has - (int)b_has;
}

int version_order_compare(struct text_slice a, struct text_slice b)
{
    static const char marks[] = {'-', '^', '.'};
    int order;

    /* Every turn takes something off a or b, or returns. */
    for (;;) {
        version_skip_separators(&a);
        version_skip_separators(&b);

        /* Before the end is looked at: 1~rc1 is older than 1. */
        order = version_compare_mark(&a, &b, '~');
        if (order != 0)
            return order;
        if (a.bytes == 0 || b.bytes == 0)
            return (int)(a.bytes > 0) - (int)(b.bytes > 0);

        for (size_t i = 0; i < sizeof(marks); i++) {
            order = version_compare_mark(&a, &b, marks[i]);
            if (order != 0)
                return order;
        }
        order = version_compare_numbers(&a, &b);
        if (order == 0)
            order = version_compare_letters(&a, &b);
        if (order != 0)
            return order;
    }
}
