/** @file
 * One pass over the lines; every value stays where it is, in the caller's text.
 */
#include "boot/entry.h"

#include "boot/utf16.h"
#include "boot/version_order.h"

static const char entry_suffix[] = ".conf";

/* The place of a key that stands once; NULL for every other key. */
static struct text_slice *entry_single_value(struct boot_entry *entry, struct text_slice key)
{
    if (text_equals(key, "title"))
        return &entry->title;
    if (text_equals(key, "version"))
        return &entry->version;
    if (text_equals(key, "machine-id"))
        return &entry->machine_id;
    if (text_equals(key, "sort-key"))
        return &entry->sort_key;
    if (text_equals(key, "architecture"))
        return &entry->architecture;
    if (text_equals(key, "linux"))
        return &entry->linux_path;
    if (text_equals(key, "efi"))
        return &entry->efi_path;
    return NULL;
}

static boot_status entry_check_value(struct text_slice value)
{
    if (value.bytes > BOOT_ENTRY_MAX_VALUE_BYTES)
        return BOOT_ERR_VALUE_TOO_LONG;
    return text_has_control(value) ? BOOT_ERR_CONTROL_BYTE : BOOT_OK;
}

/* Takes the next component off *rest; "." counts as none. Empty at the end of the path. */
static struct text_slice entry_take_component(struct text_slice *rest)
{
    struct text_slice component = {0};

    while (rest->bytes > 0 && component.bytes == 0) {
        component = text_take_until(rest, '/');
        if (text_equals(component, "."))
            component.bytes = 0;
    }
    return component;
}

/* A backslash would become a separator on the way to UEFI, behind the back of the ".." check. */
static boot_status entry_check_path(struct text_slice path)
{
    struct text_slice component;

    if (text_contains(path, '\\'))
        return BOOT_ERR_PATH_BACKSLASH;
    component = entry_take_component(&path);
    if (component.bytes == 0)
        return BOOT_ERR_PATH_MISSING;
    while (component.bytes > 0) {
        if (text_equals(component, ".."))
            return BOOT_ERR_PATH_PARENT;
        component = entry_take_component(&path);
    }
    return BOOT_OK;
}

static boot_status entry_set_single(struct boot_entry *entry, struct text_slice *place,
                                    struct text_slice value)
{
    boot_status status = entry_check_value(value);

    if (status == BOOT_OK && (place == &entry->linux_path || place == &entry->efi_path))
        status = entry_check_path(value);
    if (status != BOOT_OK)
        return status;
    if (place->bytes > 0)
        return BOOT_ERR_DUPLICATE_KEY;
    *place = value;
    return BOOT_OK;
}

static boot_status entry_add_initrd(struct boot_entry *entry, struct text_slice value)
{
    boot_status status = entry_check_value(value);

    if (status == BOOT_OK)
        status = entry_check_path(value);
    if (status != BOOT_OK)
        return status;
    if (entry->n_initrds == BOOT_ENTRY_MAX_INITRDS)
        return BOOT_ERR_TOO_MANY_INITRDS;
    entry->initrd_paths[entry->n_initrds++] = value;
    return BOOT_OK;
}

static boot_status entry_add_options(struct boot_entry *entry, struct text_slice value)
{
    size_t blanks = entry->n_option_lines > 0 ? 1 : 0;

    if (value.bytes == 0)
        return BOOT_OK;
    if (text_has_control(value))
        return BOOT_ERR_CONTROL_BYTE;
    if (entry->n_option_lines == BOOT_ENTRY_MAX_OPTION_LINES)
        return BOOT_ERR_TOO_MANY_OPTION_LINES;
    /* No wrap: the file as a whole has at most BOOT_ENTRY_MAX_FILE_BYTES. */
    if (entry->options_bytes + blanks + value.bytes > BOOT_ENTRY_MAX_OPTIONS_BYTES)
        return BOOT_ERR_OPTIONS_TOO_LONG;
    entry->options_bytes += blanks + value.bytes;
    entry->option_lines[entry->n_option_lines++] = value;
    return BOOT_OK;
}

static boot_status entry_parse_line(struct boot_entry *entry, struct text_slice line)
{
    struct text_slice *place;
    struct text_slice key;

    if (text_starts_with(line, "#"))
        return BOOT_OK;

    /* What is left of the line after its key is the value. */
    key = text_take_word(&line);
    if (text_equals(key, "initrd"))
        return entry_add_initrd(entry, line);
    if (text_equals(key, "options"))
        return entry_add_options(entry, line);
    place = entry_single_value(entry, key);
    return place == NULL ? BOOT_OK : entry_set_single(entry, place, line);
}

static boot_status entry_parse_lines(struct boot_entry *entry, struct text_slice rest,
                                     unsigned *line_number)
{
    if (rest.bytes > BOOT_ENTRY_MAX_FILE_BYTES)
        return BOOT_ERR_ENTRY_TOO_LARGE;
    rest = text_without_byte_order_mark(rest);
    while (rest.bytes > 0) {
        boot_status status;

        *line_number += 1;
        status = entry_parse_line(entry, text_take_line(&rest));
        if (status != BOOT_OK)
            return status;
    }
    *line_number = 0;
    return entry_image_path(entry).bytes > 0 ? BOOT_OK : BOOT_ERR_NO_KERNEL;
}

boot_status entry_parse(const char *text, size_t bytes, struct boot_entry *ret_entry,
                        unsigned *ret_error_line)
{
    struct boot_entry entry = {0};
    unsigned line_number = 0;
    boot_status status = entry_parse_lines(&entry, (struct text_slice){text, bytes}, &line_number);

    if (status == BOOT_OK)
        *ret_entry = entry;
    else if (ret_error_line != NULL)
        *ret_error_line = line_number;
    return status;
}

bool entry_fits_architecture(const struct boot_entry *entry, const char *architecture)
{
    return entry->architecture.bytes == 0 ||
           text_equals_ignoring_case(entry->architecture, text_from_string(architecture));
}

struct text_slice entry_image_path(const struct boot_entry *entry)
{
    return entry->linux_path.bytes > 0 ? entry->linux_path : entry->efi_path;
}

boot_status entry_options_to_uefi(const struct boot_entry *entry, uint16_t *buffer,
                                  size_t capacity_units, size_t *ret_units)
{
    struct utf16_text target = {buffer, capacity_units, 0};
    boot_status status = utf16_append(&target, text_from_string(""));

    for (unsigned i = 0; i < entry->n_option_lines && status == BOOT_OK; i++) {
        if (i > 0)
            status = utf16_append(&target, text_from_string(" "));
        if (status == BOOT_OK)
            status = utf16_append(&target, entry->option_lines[i]);
    }
    if (status == BOOT_OK)
        *ret_units = target.n_units;
    return status;
}

boot_status entry_path_to_uefi(struct text_slice path, uint16_t *buffer, size_t capacity_units,
                               size_t *ret_units)
{
    struct utf16_text target = {buffer, capacity_units, 0};
    struct text_slice component;
    boot_status status = entry_check_path(path);

    if (status == BOOT_OK && text_has_control(path))
        status = BOOT_ERR_CONTROL_BYTE;
    component = entry_take_component(&path);
    while (status == BOOT_OK && component.bytes > 0) {
        status = utf16_append(&target, text_from_string("\\"));
        if (status == BOOT_OK)
            status = utf16_append(&target, component);
        component = entry_take_component(&path);
    }
    if (status == BOOT_OK)
        *ret_units = target.n_units;
    return status;
}

/* The name without ".conf"; unchanged when it has no such end. */
static struct text_slice entry_stem(struct text_slice file_name)
{
    struct text_slice suffix = text_from_string(entry_suffix);

    if (file_name.bytes >= suffix.bytes) {
        size_t stem_bytes = file_name.bytes - suffix.bytes;

        if (text_equals_ignoring_case(text_skip(file_name, stem_bytes), suffix))
            file_name.bytes = stem_bytes;
    }
    return file_name;
}

bool entry_file_name_is_entry(struct text_slice file_name)
{
    size_t stem_bytes = entry_stem(file_name).bytes;

    return stem_bytes > 0 && stem_bytes < file_name.bytes && file_name.start[0] != '.' &&
           !text_has_control(file_name);
}

bool entry_file_name_matches(struct text_slice file_name, struct text_slice wanted)
{
    return text_equals_ignoring_case(entry_stem(file_name), entry_stem(wanted));
}

static size_t entry_count_digits_at_end(struct text_slice text)
{
    size_t n = 0;

    while (n < text.bytes && text_is_digit(text.start[text.bytes - n - 1]))
        n++;
    return n;
}

/* "+<tries left>" or "+<tries left>-<tries done>" at the end, with no tries left. */
static bool entry_has_no_tries_left(struct text_slice stem)
{
    size_t digits = entry_count_digits_at_end(stem);
    struct text_slice left;

    if (digits > 0 && digits < stem.bytes && stem.start[stem.bytes - digits - 1] == '-') {
        stem.bytes -= digits + 1;
        digits = entry_count_digits_at_end(stem);
    }
    if (digits == 0 || digits == stem.bytes || stem.start[stem.bytes - digits - 1] != '+')
        return false;
    left = text_skip(stem, stem.bytes - digits);
    while (left.bytes > 0 && left.start[0] == '0')
        left = text_skip(left, 1);
    return left.bytes == 0;
}

/* Any order will do, as long as it is one: the bytes'. */
static int entry_compare_bytes(struct text_slice a, struct text_slice b)
{
    for (size_t i = 0; i < a.bytes && i < b.bytes; i++) {
        if (a.start[i] != b.start[i])
            return a.start[i] < b.start[i] ? -1 : 1;
    }
    return (int)(a.bytes > b.bytes) - (int)(a.bytes < b.bytes);
}

int entry_file_name_compare(struct text_slice a, struct text_slice b)
{
    struct text_slice a_stem = entry_stem(a);
    struct text_slice b_stem = entry_stem(b);
    bool a_is_bad = entry_has_no_tries_left(a_stem);
    bool b_is_bad = entry_has_no_tries_left(b_stem);
    int order;

    if (a_is_bad != b_is_bad)
        return a_is_bad ? 1 : -1;
    order = version_order_compare(b_stem, a_stem);
    return order != 0 ? order : entry_compare_bytes(a, b);
}
