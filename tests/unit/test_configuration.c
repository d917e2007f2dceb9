/* efi/configuration.c: loader.conf on a file system that may fail, and the load options. */

#include "efi/configuration.h"

#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define DEVICE   ((EFI_HANDLE) "the file system that the image came from")
#define THE_PATH "/loader/loader.conf"

/* The file system. A status that is not success is what that step answers. */
static struct {
    EFI_STATUS find, open_volume, open, get_info, read;
    const char *text;
    UINT64 claimed_bytes; /* 0: as many as there are */
    UINT64 attributes;
    UINTN piece_bytes; /* most that a read gives; 0: all */
    UINTN position;
    int n_open; /* files, the root among them */
} disk;

static EFI_LOADED_IMAGE image;
static struct configuration configuration;

static EFI_STATUS EFIAPI file_get_info(EFI_FILE_PROTOCOL *file, EFI_GUID *guid, UINTN *bytes,
                                       VOID *buffer)
{
    EFI_FILE_INFO info = {.FileSize = strlen(disk.text), .Attribute = disk.attributes};

    (void)file;
    assert_ptr_equal(guid, &gEfiFileInfoGuid);
    if (disk.claimed_bytes)
        info.FileSize = disk.claimed_bytes;
    if (*bytes < sizeof(info)) {
        *bytes = sizeof(info);
        return EFI_BUFFER_TOO_SMALL;
    }
    memcpy(buffer, &info, sizeof(info));
    return disk.get_info;
}

static EFI_STATUS EFIAPI file_read(EFI_FILE_PROTOCOL *file, UINTN *bytes, VOID *buffer)
{
    UINTN left = strlen(disk.text) - disk.position;

    (void)file;
    if (disk.piece_bytes && left > disk.piece_bytes)
        left = disk.piece_bytes;
    if (*bytes > left)
        *bytes = left;
    memcpy(buffer, disk.text + disk.position, *bytes);
    disk.position += *bytes;
    return disk.read;
}

static EFI_STATUS EFIAPI file_close(EFI_FILE_PROTOCOL *file)
{
    (void)file;
    disk.n_open--;
    return EFI_SUCCESS;
}

static EFI_FILE_PROTOCOL the_file = {
    .GetInfo = file_get_info,
    .Read = file_read,
    .Close = file_close,
};

static EFI_STATUS EFIAPI root_open(EFI_FILE_PROTOCOL *root, EFI_FILE_PROTOCOL **ret_file,
                                   CHAR16 *path, UINT64 mode, UINT64 attributes)
{
    static const CHAR16 expected[] = L"\\loader\\loader.conf";

    (void)root;
    assert_memory_equal(path, expected, sizeof(expected));
    assert_int_equal(mode, EFI_FILE_MODE_READ);
    assert_int_equal(attributes, 0);
    if (EFI_ERROR(disk.open))
        return disk.open;
    if (!disk.text)
        return EFI_NOT_FOUND;
    disk.n_open++;
    *ret_file = &the_file;
    return EFI_SUCCESS;
}

static EFI_FILE_PROTOCOL the_root = {.Open = root_open, .Close = file_close};

static EFI_STATUS EFIAPI open_volume(EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *protocol,
                                     EFI_FILE_PROTOCOL **ret_root)
{
    (void)protocol;
    if (EFI_ERROR(disk.open_volume))
        return disk.open_volume;
    disk.n_open++;
    *ret_root = &the_root;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI find_file_system(EFI_HANDLE handle, EFI_GUID *guid, VOID **ret_found)
{
    static EFI_SIMPLE_FILE_SYSTEM_PROTOCOL protocol = {.OpenVolume = open_volume};

    assert_ptr_equal(handle, DEVICE);
    assert_ptr_equal(guid, &gEfiSimpleFileSystemProtocolGuid);
    *ret_found = &protocol;
    return disk.find;
}

static int set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    BS->HandleProtocol = find_file_system;
    memset(&disk, 0, sizeof(disk));
    memset(&configuration, 0, sizeof(configuration));
    image = (EFI_LOADED_IMAGE){.DeviceHandle = DEVICE};
    return 0;
}

/* Whatever became of it, nothing is left. */
static int tear_down(void **state)
{
    (void)state;
    configuration_release(&configuration);
    assert_int_equal(fake_uefi_pool_blocks, 0);
    assert_int_equal(disk.n_open, 0);
    return 0;
}

#define SET_LINE(line)                                                                             \
    do {                                                                                           \
        static CHAR16 line_[] = line;                                                              \
        image.LoadOptions = line_;                                                                 \
        image.LoadOptionsSize = sizeof(line_);                                                     \
    } while (0)

static EFI_STATUS read_all(void)
{
    return configuration_read(&image, SETTINGS_VIRTBOOT, &configuration);
}

static void given_file_and_command_line_when_read_then_command_line_wins(void **state)
{
    (void)state;
    disk.text = "virtboot-disk-timeout 9\nvirtboot-completion poll\nvirtboot-decline-feature 5\n";
    SET_LINE(L"virtboot.efi --disk-timeout 7 --decline-feature 3 --entry x");

    assert_int_equal(read_all(), EFI_SUCCESS);

    assert_int_equal(configuration.settings.disk_timeout_s, 7);
    assert_int_equal(configuration.settings.completion, SETTINGS_COMPLETION_POLL);
    assert_int_equal(configuration.settings.declined_features, 1 << 5 | 1 << 3);
    assert_int_equal(configuration.settings.entry_name.bytes, 1);
    assert_memory_equal(configuration.settings.entry_name.start, "x", 1);
    assert_string_equal(fake_uefi_console.text, "");
}

static void given_settings_when_applied_then_they_are_the_disks_policy(void **state)
{
    struct bind_policy policy = {.publish_read_only = true};

    (void)state;
    SET_LINE(L" --disk-timeout 7 --decline-feature 3 --completion interrupt");
    assert_int_equal(read_all(), EFI_SUCCESS);

    configuration_apply(&configuration.settings, &policy);

    assert_true(policy.publish_read_only);
    assert_int_equal(policy.request_limit_us, 7000000);
    assert_int_equal(policy.declined_features, 8);
    assert_int_equal(policy.interrupt_mode, INTERRUPT_ALWAYS);
}

static void given_each_completion_when_applied_then_the_mode_that_means_it(void **state)
{
    struct settings settings = {.completion = SETTINGS_COMPLETION_AUTO};
    struct bind_policy policy = {.interrupt_mode = INTERRUPT_ALWAYS};

    (void)state;
    configuration_apply(&settings, &policy);
    assert_int_equal(policy.interrupt_mode, INTERRUPT_AUTO);
    assert_int_equal(policy.request_limit_us, 0);

    settings.completion = SETTINGS_COMPLETION_POLL;
    configuration_apply(&settings, &policy);
    assert_int_equal(policy.interrupt_mode, INTERRUPT_POLL);
}

static void given_no_file_when_read_then_not_a_word(void **state)
{
    (void)state;
    SET_LINE(L"--disk-timeout 7");
    assert_int_equal(read_all(), EFI_SUCCESS);
    configuration_release(&configuration);

    disk.find = EFI_UNSUPPORTED;
    assert_int_equal(read_all(), EFI_SUCCESS);
    configuration_release(&configuration);

    image.DeviceHandle = NULL;
    assert_int_equal(read_all(), EFI_SUCCESS);

    assert_int_equal(configuration.settings.disk_timeout_s, 7);
    assert_string_equal(fake_uefi_console.text, "");
}

static void given_empty_file_or_one_in_pieces_when_read_then_all_of_it(void **state)
{
    (void)state;
    disk.text = "";
    assert_int_equal(read_all(), EFI_SUCCESS);
    configuration_release(&configuration);

    disk.text = "virtboot-disk-timeout 9\n";
    disk.piece_bytes = 5;
    assert_int_equal(read_all(), EFI_SUCCESS);

    assert_int_equal(configuration.settings.disk_timeout_s, 9);
    assert_string_equal(fake_uefi_console.text, "");
}

/* One step fails. The file counts for nothing then, and the command line still does. */
static void given_failing_file_system_when_read_then_message_and_on(void **state)
{
    static const struct {
        EFI_STATUS *step;
        EFI_STATUS status;
        const char *message;
    } cases[] = {
        {&disk.find, EFI_OUT_OF_RESOURCES, "cannot be read: Out of Resources; it is not used"},
        {&disk.open_volume, EFI_VOLUME_CORRUPTED, "cannot be read: Volume Corrupt; it is not used"},
        {&disk.open, EFI_DEVICE_ERROR, "cannot be read: Device Error; it is not used"},
        {&disk.get_info, EFI_NO_MEDIA, "cannot be read: Device Error; it is not used"},
        {&disk.read, EFI_MEDIA_CHANGED, "cannot be read: Media changed; it is not used"},
        {&disk.claimed_bytes, 100, "cannot be read: End of File; it is not used"},
        {&disk.claimed_bytes, 65537, "is larger than 64 KiB and not used"},
        {&disk.claimed_bytes, UINT64_MAX, "is larger than 64 KiB and not used"},
        {&disk.attributes, EFI_FILE_DIRECTORY, "cannot be read: Unsupported; it is not used"},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        char expected[128];
        (void)set_up(state);
        disk.text = "virtboot-disk-timeout 9\nvirtboot-completion poll\n";
        *cases[i].step = cases[i].status;
        SET_LINE(L"--disk-timeout 7");

        assert_int_equal(read_all(), EFI_SUCCESS);

        snprintf(expected, sizeof(expected), "error: " THE_PATH ": %s\r\n", cases[i].message);
        assert_string_equal(fake_uefi_console.text, expected);
        assert_int_equal(configuration.settings.disk_timeout_s, 7);
        assert_int_equal(configuration.settings.completion, SETTINGS_COMPLETION_AUTO);
        (void)tear_down(state);
    }
}

static void given_file_of_the_most_bytes_when_read_then_it_counts(void **state)
{
    char *text = malloc(CONFIGURATION_FILE_BYTES_MAX + 1);

    (void)state;
    memset(text, '\n', CONFIGURATION_FILE_BYTES_MAX);
    memcpy(text + CONFIGURATION_FILE_BYTES_MAX - 23, "virtboot-disk-timeout 9", 24);
    disk.text = text;

    assert_int_equal(read_all(), EFI_SUCCESS);

    assert_int_equal(configuration.settings.disk_timeout_s, 9);
    free(text);
}

static void given_wrong_lines_when_read_then_file_line_and_value_are_named(void **state)
{
    (void)state;
    disk.text = "virtboot-completion sometimes\n"
                "virtboot-disk-timeout 9\n"
                "virtboot-decline-feature \x1b[2J\xc3\xa4\x7f\n"
                "virtboot-disk-timeout 00000000000000000000000000000000000000000000000000000000x\n"
                "virtboot-completion\n";

    assert_int_equal(read_all(), EFI_SUCCESS);

    assert_string_equal(
        fake_uefi_console.text,
        "error: " THE_PATH ": line 1: \"sometimes\": completion is auto, poll or interrupt; "
        "the line is ignored\r\n"
        "error: " THE_PATH ": line 3: \"?[2J???\": feature is a decimal number from 0 to 63; "
        "the line is ignored\r\n"
        "error: " THE_PATH ": line 4: \"0000000000000000000000000000000000000000\": "
        "time is a number of seconds from 1 to 3600; the line is ignored\r\n"
        "error: " THE_PATH ": line 5: \"\": option needs a value; the line is ignored\r\n");
    assert_int_equal(configuration.settings.disk_timeout_s, 9);
}

static void given_bad_word_when_read_then_message_and_usage_of_the_program(void **state)
{
    (void)state;
    SET_LINE(L"--disk-timeout 7 --entry x");

    EFI_STATUS status = configuration_read(&image, SETTINGS_VIRTIO, &configuration);

    assert_int_equal(status, EFI_INVALID_PARAMETER);
    assert_non_null(strstr(fake_uefi_console.text, "error: --entry: unknown option\r\n"));
    assert_non_null(strstr(fake_uefi_console.text, "Usage: virtio.efi"));
    assert_int_equal(fake_uefi_errors, 1);
}

static void given_load_options_that_are_no_text_when_read_then_they_mean_nothing(void **state)
{
    static CHAR16 lone_surrogate[] = {L'-', L'-', 0xD800, L'x'};

    (void)state;
    image.LoadOptions = lone_surrogate;
    image.LoadOptionsSize = sizeof(lone_surrogate);
    assert_int_equal(read_all(), EFI_SUCCESS);
    configuration_release(&configuration);

    SET_LINE(L"--help");
    image.LoadOptionsSize = 1;
    assert_int_equal(read_all(), EFI_SUCCESS);
    configuration_release(&configuration);

    image.LoadOptions = NULL;
    image.LoadOptionsSize = 100;
    assert_int_equal(read_all(), EFI_SUCCESS);

    assert_false(configuration.settings.show_help);
    assert_string_equal(fake_uefi_console.text, "");
}

static void
given_line_that_fills_its_buffer_when_its_last_word_is_bad_then_it_is_named(void **state)
{
    static CHAR16 line[] = {L'-', L'-', 0x20AC, 0x20AC}; /* no terminator, three bytes each */

    (void)state;
    image.LoadOptions = line;
    image.LoadOptionsSize = sizeof(line);

    assert_int_equal(read_all(), EFI_INVALID_PARAMETER); /* ASan: the end of the word */

    assert_int_equal(fake_uefi_errors, 1);
}

static void given_no_memory_when_read_then_an_error_or_a_message(void **state)
{
    (void)state;
    disk.text = "virtboot-disk-timeout 9\n";
    for (unsigned n = 1; n <= 3; n++) {
        fake_uefi_fail_pool = n;

        EFI_STATUS status = read_all();

        assert_int_equal(status, n == 3 ? EFI_OUT_OF_RESOURCES : EFI_SUCCESS);
        assert_int_equal(fake_uefi_errors, n);
        assert_int_equal(fake_uefi_fail_pool, 0);
        configuration_release(&configuration);
    }
}

#define CONFIGURATION_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONFIGURATION_TEST(given_file_and_command_line_when_read_then_command_line_wins),
        CONFIGURATION_TEST(given_settings_when_applied_then_they_are_the_disks_policy),
        CONFIGURATION_TEST(given_each_completion_when_applied_then_the_mode_that_means_it),
        CONFIGURATION_TEST(given_no_file_when_read_then_not_a_word),
        CONFIGURATION_TEST(given_empty_file_or_one_in_pieces_when_read_then_all_of_it),
        CONFIGURATION_TEST(given_failing_file_system_when_read_then_message_and_on),
        CONFIGURATION_TEST(given_file_of_the_most_bytes_when_read_then_it_counts),
        CONFIGURATION_TEST(given_wrong_lines_when_read_then_file_line_and_value_are_named),
        CONFIGURATION_TEST(given_bad_word_when_read_then_message_and_usage_of_the_program),
        CONFIGURATION_TEST(given_load_options_that_are_no_text_when_read_then_they_mean_nothing),
        CONFIGURATION_TEST(
            given_line_that_fills_its_buffer_when_its_last_word_is_bad_then_it_is_named),
        CONFIGURATION_TEST(given_no_memory_when_read_then_an_error_or_a_message),
    };

    return cmocka_run_group_tests_name("configuration", tests, NULL, NULL);
}
