/** @file
 * Slices of text, shared by the parsers.
 * Knows:     nothing; plain C without a library.
 * Ownership: a slice borrows; it lives as long as the text that it points into.
 * Trust:     nothing is read outside [start, start + bytes) of a slice. What comes as a plain string is
 *            ours, a constant with its terminator.
 * Units:     bytes, of UTF-8 unless said otherwise.
 */
#ifndef BOOT_TEXT_H
#define BOOT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/** Part of a text. An empty slice has bytes == 0; its start means nothing and may be NULL. */
struct text_slice {
    const char *start;
    size_t bytes;
};

static inline struct text_slice text_from_string(const char *terminated)
{
    size_t bytes = 0;

    while (terminated[bytes] != '\0')
        bytes++;
    return (struct text_slice){terminated, bytes};
}

static inline bool text_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool text_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/** C0 controls and DEL. A tab is none here: it is a blank. Bytes of UTF-8 above 0x7f are none. */
static inline bool text_is_control(char c)
{
    unsigned char byte = (unsigned char)c;

    return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

/** ASCII only: the file names and words that we compare are ASCII by their specifications. */
static inline char text_to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/** The text without its first n bytes, n <= text.bytes. Keeps NULL + 0 from being computed. */
static inline struct text_slice text_skip(struct text_slice text, size_t n)
{
    return n == 0 ? text : (struct text_slice){text.start + n, text.bytes - n};
}

/** Its first n bytes, n <= text.bytes. */
static inline struct text_slice text_first(struct text_slice text, size_t n)
{
    return (struct text_slice){text.start, n};
}

/** How many bytes stand before the first c; text.bytes when there is none. */
static inline size_t text_find(struct text_slice text, char c)
{
    size_t i = 0;

    while (i < text.bytes && text.start[i] != c)
        i++;
    return i;
}

static inline bool text_contains(struct text_slice text, char c)
{
    return text_find(text, c) < text.bytes;
}

static inline bool text_has_control(struct text_slice text)
{
    for (size_t i = 0; i < text.bytes; i++) {
        if (text_is_control(text.start[i]))
            return true;
    }
    return false;
}

static inline bool text_starts_with(struct text_slice text, const char *prefix)
{
    size_t i = 0;

    while (prefix[i] != '\0' && i < text.bytes && text.start[i] == prefix[i])
        i++;
    return prefix[i] == '\0';
}

static inline bool text_equals(struct text_slice text, const char *other)
{
    return text_starts_with(text, other) && text.bytes == text_from_string(other).bytes;
}

static inline bool text_equals_ignoring_case(struct text_slice a, struct text_slice b)
{
    if (a.bytes != b.bytes)
        return false;
    for (size_t i = 0; i < a.bytes; i++) {
        if (text_to_lower(a.start[i]) != text_to_lower(b.start[i]))
            return false;
    }
    return true;
}

/** Without the blanks at both ends. */
static inline struct text_slice text_trimmed(struct text_slice text)
{
    size_t blanks = 0;

    while (blanks < text.bytes && text_is_blank(text.start[blanks]))
        blanks++;
    text = text_skip(text, blanks);
    while (text.bytes > 0 && text_is_blank(text.start[text.bytes - 1]))
        text.bytes--;
    return text;
}

/** Takes the part before the next separator off *rest, and the separator too. */
static inline struct text_slice text_take_until(struct text_slice *rest, char separator)
{
    size_t bytes = text_find(*rest, separator);
    struct text_slice part = text_first(*rest, bytes);

    *rest = text_skip(*rest, bytes < rest->bytes ? bytes + 1 : bytes);
    return part;
}

/** Takes the next word off *rest, with the blanks around it; empty when there is none. */
static inline struct text_slice text_take_word(struct text_slice *rest)
{
    struct text_slice text = text_trimmed(*rest);
    size_t bytes = 0;

    while (bytes < text.bytes && !text_is_blank(text.start[bytes]))
        bytes++;
    *rest = text_trimmed(text_skip(text, bytes));
    return text_first(text, bytes);
}

/** Takes the next line off *rest, without its end, of either kind, and the blanks around it. */
static inline struct text_slice text_take_line(struct text_slice *rest)
{
    struct text_slice line = text_take_until(rest, '\n');

    if (line.bytes > 0 && line.start[line.bytes - 1] == '\r')
        line.bytes--;
    return text_trimmed(line);
}

/** Of a whole file in UTF-8: some editors put such a mark in front of it. */
static inline struct text_slice text_without_byte_order_mark(struct text_slice text)
{
    return text_starts_with(text, "\xef\xbb\xbf") ? text_skip(text, 3) : text;
}

#endif
