/** @file
 * One word after the other; an option that wants a value may take the next word along. A key of a
 * configuration file goes to the same setter as the option of its name.
 */
#include "boot/settings.h"

#define SETTINGS_FEATURE_COUNT 64
#define SETTINGS_TIMEOUT_MAX   3600

/* virtio 1.4, 6 Reserved Feature Bits: VIRTIO_F_VERSION_1 */
#define SETTINGS_FEATURE_VERSION_1 32

/* One option as it stands on the line. */
struct settings_option {
    struct text_slice name;
    struct text_slice value;
    bool has_value;
};

static struct settings_option settings_split(struct text_slice word)
{
    struct settings_option option = {0};

    option.has_value = text_contains(word, '=');
    option.name = text_take_until(&word, '=');
    option.value = word;
    return option;
}

/* Takes the next word as the value. One that begins with "--" is rather a forgotten value. */
static boot_status settings_need_value(struct settings_option *option, struct text_slice *rest)
{
    struct text_slice after = *rest;

    if (!option->has_value) {
        option->value = text_take_word(&after);
        if (text_starts_with(option->value, "--"))
            return BOOT_ERR_OPTION_NO_VALUE;
        *rest = after;
    }
    return option->value.bytes > 0 ? BOOT_OK : BOOT_ERR_OPTION_NO_VALUE;
}

static boot_status settings_set_flag(const struct settings_option *option, bool *flag)
{
    if (option->has_value)
        return BOOT_ERR_OPTION_VALUE;
    *flag = true;
    return BOOT_OK;
}

static boot_status settings_set_entry(struct settings *settings, struct text_slice name)
{
    if (text_contains(name, '/') || text_contains(name, '\\') || text_has_control(name))
        return BOOT_ERR_ENTRY_NAME;
    settings->entry_name = name;
    return BOOT_OK;
}

/* Decimal digits and nothing else; a value is never empty. */
static bool settings_number(struct text_slice text, unsigned max, unsigned *ret_number)
{
    unsigned number = 0;

    for (size_t i = 0; i < text.bytes; i++) {
        if (!text_is_digit(text.start[i]))
            return false;
        number = number * 10 + (unsigned)(text.start[i] - '0');
        if (number > max)
            return false;
    }
    *ret_number = number;
    return true;
}

static boot_status settings_decline(struct settings *settings, struct text_slice value)
{
    unsigned feature;

    if (!settings_number(value, SETTINGS_FEATURE_COUNT - 1, &feature))
        return BOOT_ERR_FEATURE_NUMBER;
    if (feature == SETTINGS_FEATURE_VERSION_1)
        return BOOT_ERR_FEATURE_REQUIRED;
    settings->declined_features |= UINT64_C(1) << feature;
    return BOOT_OK;
}

static boot_status settings_set_timeout(struct settings *settings, struct text_slice value)
{
    unsigned seconds;

    if (!settings_number(value, SETTINGS_TIMEOUT_MAX, &seconds) || seconds == 0)
        return BOOT_ERR_TIMEOUT;
    settings->disk_timeout_s = seconds;
    return BOOT_OK;
}

static boot_status settings_set_completion(struct settings *settings, struct text_slice value)
{
    static const char modes[][10] = {
        [SETTINGS_COMPLETION_AUTO] = "auto",
        [SETTINGS_COMPLETION_POLL] = "poll",
        [SETTINGS_COMPLETION_INTERRUPT] = "interrupt",
    };

    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (text_equals(value, modes[i])) {
            settings->completion = (enum settings_completion)i;
            return BOOT_OK;
        }
    }
    return BOOT_ERR_COMPLETION;
}

typedef boot_status (*settings_setter)(struct settings *settings, struct text_slice value);

/* What takes a value and says how disks are driven; NULL for anything else. */
static settings_setter settings_find_setter(struct text_slice name)
{
    if (text_equals(name, "completion"))
        return settings_set_completion;
    if (text_equals(name, "decline-feature"))
        return settings_decline;
    return text_equals(name, "disk-timeout") ? settings_set_timeout : NULL;
}

static settings_setter settings_find_option(enum settings_program program, struct text_slice name)
{
    if (!text_starts_with(name, "--"))
        return NULL;
    name = text_skip(name, 2);
    if (program == SETTINGS_VIRTBOOT && text_equals(name, "entry"))
        return settings_set_entry;
    return settings_find_setter(name);
}

static boot_status settings_apply(enum settings_program program, struct settings *settings,
                                  struct settings_option option, struct text_slice *rest)
{
    settings_setter set = settings_find_option(program, option.name);

    if (text_equals(option.name, "--help"))
        return settings_set_flag(&option, &settings->show_help);
    if (text_equals(option.name, "--version"))
        return settings_set_flag(&option, &settings->show_version);
    if (set == NULL)
        return BOOT_ERR_UNKNOWN_WORD;
    boot_status status = settings_need_value(&option, rest);
    return status == BOOT_OK ? set(settings, option.value) : status;
}

/* A quoted name may contain blanks. Without a closing quote all of the line is the name. */
static struct text_slice settings_skip_program_name(struct text_slice line)
{
    line = text_trimmed(line);
    if (text_starts_with(line, "\"")) {
        line = text_skip(line, 1);
        (void)text_take_until(&line, '"'); /* the name is of no interest */
    } else {
        (void)text_take_word(&line); /* nor is it here */
    }
    return line;
}

boot_status settings_parse(enum settings_program program, struct text_slice line,
                           bool with_program_name, struct settings *settings,
                           struct text_slice *ret_bad_word)
{
    struct settings changed = *settings;
    struct text_slice word;

    if (with_program_name)
        line = settings_skip_program_name(line);
    for (word = text_take_word(&line); word.bytes > 0; word = text_take_word(&line)) {
        boot_status status = settings_apply(program, &changed, settings_split(word), &line);

        if (status != BOOT_OK && ret_bad_word != NULL)
            *ret_bad_word = word;
        if (status != BOOT_OK)
            return status;
    }
    *settings = changed;
    return BOOT_OK;
}

boot_status settings_set_key(struct settings *settings, struct text_slice key,
                             struct text_slice value)
{
    static const char prefix[] = "virtboot-";
    settings_setter set = NULL;

    if (text_starts_with(key, prefix))
        set = settings_find_setter(text_skip(key, sizeof(prefix) - 1));
    if (set == NULL)
        return BOOT_OK;
    return value.bytes > 0 ? set(settings, value) : BOOT_ERR_OPTION_NO_VALUE;
}

struct settings_usage settings_usage(enum settings_program program)
{
    static const char virtboot_head[] =
        "Usage: virtboot.efi [OPTION]...\n"
        "Boot a kernel from a virtio disk, as an entry in \\loader\\entries says.\n"
        "\n"
        "  --entry NAME             boot the entry file NAME (with or without .conf, no\n"
        "                           blanks) instead of the newest one that fits this\n"
        "                           machine on the first file system that has any\n";
    static const char virtio_head[] =
        "Usage: virtio.efi [OPTION]...\n"
        "Drive the virtio disks of this machine, until it is unloaded.\n"
        "\n";
    static const char tail[] =
        "  --decline-feature BIT    do not use feature BIT (0 to 63, but not 32) of any\n"
        "                           virtio disk: works around one whose feature is\n"
        "                           faulty; may be repeated\n"
        "  --disk-timeout SECONDS   wait so long for a disk to answer (1 to 3600; 30)\n"
        "  --completion MODE        how to wait for a disk: poll; interrupt (sleep until\n"
        "                           it has one; a disk that cannot is named and polled);\n"
        "                           auto (poll for a moment, then sleep if that can be\n"
        "                           done; the default)\n"
        "  --version                show the version and do nothing else\n"
        "  --help                   show version and this text, and do nothing else\n"
        "\n"
        "Values may also be written --option=value. What is not said here may be said in\n"
        "\\loader\\loader.conf: virtboot-completion MODE, virtboot-disk-timeout SECONDS,\n"
        "virtboot-decline-feature BIT.\n";

    return (struct settings_usage){
        .head = program == SETTINGS_VIRTBOOT ? virtboot_head : virtio_head,
        .tail = tail,
    };
}
