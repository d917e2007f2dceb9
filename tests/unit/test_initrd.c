/* EFI_LOAD_FILE2_PROTOCOL for the initrds: the answers that UEFI 2.10, 13.2 gives. */

#include "efi/initrd.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define ALL_BYTES 15u

/* A file in memory that is read from its start; the volume does not matter to it. */
struct memory_file {
    EFI_FILE_PROTOCOL protocol;
    const char *data;
    UINTN bytes;
    UINTN position;
    EFI_STATUS status;
};

/* 5 + 3, 4 + 0, 3 and no padding behind the last. */
static const char expected[ALL_BYTES + 1] = "first\0\0\0fourend";

static struct memory_file memory_files[3];
static struct volume volume;
static struct volume_file files[3];
static struct initrd_offer offer;
static unsigned n_read_calls;
static unsigned n_on_read;

static EFI_STATUS EFIAPI memory_file_read(EFI_FILE_PROTOCOL *protocol, UINTN *bytes, VOID *buffer)
{
    struct memory_file *file = (struct memory_file *)protocol;
    UINTN left = file->bytes - file->position;

    n_read_calls++;
    if (EFI_ERROR(file->status))
        return file->status;
    if (*bytes > left)
        *bytes = left;
    memcpy(buffer, file->data + file->position, *bytes);
    file->position += *bytes;
    return EFI_SUCCESS;
}

static void count_on_read(void *context)
{
    assert_ptr_equal(context, &offer);
    n_on_read++;
}

static int set_up(void **state)
{
    static const char *const data[] = {"first", "four", "end"};

    (void)state;
    fake_uefi_init();
    for (unsigned i = 0; i < ARRAY_LENGTH(files); i++) {
        memory_files[i] = (struct memory_file){
            .protocol.Read = memory_file_read, .data = data[i], .bytes = strlen(data[i])};
        files[i] = (struct volume_file){
            .volume = &volume, .file = &memory_files[i].protocol, .bytes = memory_files[i].bytes};
    }
    offer = (struct initrd_offer){.files = files,
                                  .n_files = ARRAY_LENGTH(files),
                                  .status = EFI_ABORTED,
                                  .on_read = count_on_read,
                                  .context = &offer};
    n_read_calls = 0;
    n_on_read = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    initrd_withdraw();
    assert_null(fake_uefi_installed.handle);
    assert_int_equal(fake_uefi_pool_blocks, 0);
    return 0;
}

/* LoadFile() as the kernel's EFI stub finds it. The stub's path is what is left of the device's. */
static EFI_STATUS load_file(bool boot_policy, UINTN *bytes, VOID *buffer)
{
    EFI_DEVICE_PATH path = {.Type = END_DEVICE_PATH_TYPE,
                            .SubType = END_ENTIRE_DEVICE_PATH_SUBTYPE,
                            .Length = {sizeof(EFI_DEVICE_PATH), 0}};
    EFI_LOAD_FILE_PROTOCOL *protocol = fake_uefi_installed.interfaces[1];

    return protocol->LoadFile(protocol, &path, boot_policy, bytes, buffer);
}

static void assert_offered(void)
{
    assert_int_equal(initrd_offer(&offer), EFI_SUCCESS);
    assert_non_null(fake_uefi_installed.handle);
    assert_int_equal(offer.status, EFI_NOT_READY);
}

static void assert_nothing_read(void)
{
    assert_int_equal(offer.status, EFI_NOT_READY);
    assert_int_equal(n_read_calls, 0);
    assert_int_equal(n_on_read, 0);
}

static void given_files_when_offered_then_linux_path_and_load_file2_on_one_handle(void **state)
{
    /* A vendor media node with LINUX_EFI_INITRD_MEDIA_GUID, and the end. */
    static const uint8_t path[] = {
        0x04, 0x03, 0x14, 0x00, 0x27, 0xe4, 0x68, 0x55, 0xfc, 0x68, 0x3d, 0x4f,
        0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68, 0x7f, 0xff, 0x04, 0x00,
    };
    static const uint8_t load_file2[] = {0xc1, 0xc0, 0x06, 0x40, 0xb3, 0xfc, 0x3e, 0x40,
                                         0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d};

    (void)state;
    assert_offered();

    assert_ptr_equal(fake_uefi_installed.guids[0], &gEfiDevicePathProtocolGuid);
    assert_memory_equal(fake_uefi_installed.interfaces[0], path, sizeof(path));
    assert_memory_equal(fake_uefi_installed.guids[1], load_file2, sizeof(load_file2));
    assert_int_equal(offer.bytes, ALL_BYTES);
    assert_nothing_read();
}

static void given_no_buffer_or_a_short_one_when_loaded_then_too_small_and_the_length(void **state)
{
    static uint8_t buffer[ALL_BYTES];
    static const struct {
        UINTN bytes;
        bool has_buffer;
    } cases[] = {{0, false}, {ALL_BYTES, false}, {1000, false}, {0, true}, {ALL_BYTES - 1, true}};

    (void)state;
    assert_offered();
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        UINTN bytes = cases[i].bytes;

        EFI_STATUS status = load_file(false, &bytes, cases[i].has_buffer ? buffer : NULL);

        assert_int_equal(status, EFI_BUFFER_TOO_SMALL);
        assert_int_equal(bytes, ALL_BYTES);
        assert_nothing_read();
    }
}

static void given_boot_policy_when_loaded_then_unsupported_and_nothing_read(void **state)
{
    uint8_t buffer[ALL_BYTES];
    UINTN bytes = sizeof(buffer), no_bytes = 0;

    (void)state;
    assert_offered();

    EFI_STATUS status = load_file(true, &bytes, buffer);
    EFI_STATUS without_buffer = load_file(true, &no_bytes, NULL);

    assert_int_equal(status, EFI_UNSUPPORTED);
    assert_int_equal(without_buffer, EFI_UNSUPPORTED);
    assert_nothing_read();
}

static void given_null_pointers_when_loaded_then_invalid_parameter(void **state)
{
    uint8_t buffer[ALL_BYTES];
    UINTN bytes = sizeof(buffer);

    (void)state;
    assert_offered();
    EFI_LOAD_FILE_PROTOCOL *protocol = fake_uefi_installed.interfaces[1];
    EFI_DEVICE_PATH *path = fake_uefi_installed.interfaces[0];

    EFI_STATUS no_this = protocol->LoadFile(NULL, path, FALSE, &bytes, buffer);
    EFI_STATUS no_path = protocol->LoadFile(protocol, NULL, FALSE, &bytes, buffer);
    EFI_STATUS no_bytes = load_file(false, NULL, buffer);

    assert_int_equal(no_this, EFI_INVALID_PARAMETER);
    assert_int_equal(no_path, EFI_INVALID_PARAMETER);
    assert_int_equal(no_bytes, EFI_INVALID_PARAMETER);
    assert_nothing_read();
}

static void given_exact_buffer_when_loaded_then_files_padded_to_four_bytes(void **state)
{
    (void)state;
    assert_offered();
    UINTN bytes = ALL_BYTES;
    uint8_t *buffer = malloc(bytes); /* so that ASan sees one byte too many */
    assert_non_null(buffer);
    memset(buffer, 0xA5, bytes);

    EFI_STATUS status = load_file(false, &bytes, buffer);
    bool is_as_expected = memcmp(buffer, expected, ALL_BYTES) == 0;
    free(buffer);

    assert_int_equal(status, EFI_SUCCESS);
    assert_true(is_as_expected);
    assert_int_equal(bytes, ALL_BYTES);
    assert_int_equal(offer.status, EFI_SUCCESS);
    assert_int_equal(n_on_read, 1);
}

static void given_larger_buffer_when_loaded_then_its_length_is_corrected(void **state)
{
    uint8_t buffer[ALL_BYTES + 5];
    UINTN bytes = sizeof(buffer);

    (void)state;
    assert_offered();
    memset(buffer, 0xA5, sizeof(buffer));

    EFI_STATUS status = load_file(false, &bytes, buffer);

    assert_int_equal(status, EFI_SUCCESS);
    assert_int_equal(bytes, ALL_BYTES);
    assert_memory_equal(buffer, expected, ALL_BYTES);
    assert_int_equal(buffer[ALL_BYTES], 0xA5);
}

static void given_initrds_loaded_when_loaded_again_then_not_found_and_not_read_again(void **state)
{
    uint8_t buffer[ALL_BYTES];
    UINTN bytes = sizeof(buffer);

    (void)state;
    assert_offered();
    assert_int_equal(load_file(false, &bytes, buffer), EFI_SUCCESS);
    unsigned n_read_calls_before = n_read_calls;

    EFI_STATUS again = load_file(false, &bytes, buffer);

    assert_int_equal(again, EFI_NOT_FOUND);
    assert_int_equal(n_read_calls, n_read_calls_before);
    assert_int_equal(n_on_read, 1);
    assert_int_equal(offer.status, EFI_SUCCESS);
    assert_memory_equal(buffer, expected, ALL_BYTES);
}

static void given_read_error_when_loaded_then_its_status_now_and_not_found_later(void **state)
{
    uint8_t buffer[ALL_BYTES];
    UINTN bytes = sizeof(buffer);

    (void)state;
    assert_offered();
    memory_files[1].status = EFI_DEVICE_ERROR;

    EFI_STATUS status = load_file(false, &bytes, buffer);
    memory_files[1].status = EFI_SUCCESS;
    EFI_STATUS again = load_file(false, &bytes, buffer);

    assert_int_equal(status, EFI_DEVICE_ERROR);
    assert_int_equal(again, EFI_NOT_FOUND);
    assert_int_equal(offer.status, EFI_DEVICE_ERROR);
    assert_int_equal(n_on_read, 0);
    assert_int_equal(memory_files[2].position, 0);
    assert_int_equal(fake_uefi_errors, 1);
}

static void given_file_shorter_than_it_said_when_loaded_then_end_of_file(void **state)
{
    uint8_t buffer[ALL_BYTES];
    UINTN bytes = sizeof(buffer);

    (void)state;
    assert_offered();
    memory_files[2].bytes--;

    EFI_STATUS status = load_file(false, &bytes, buffer);

    assert_int_equal(status, EFI_END_OF_FILE);
    assert_int_equal(offer.status, EFI_END_OF_FILE);
    assert_int_equal(n_on_read, 0);
}

static void given_firmware_refuses_when_offered_then_reported_and_nothing_to_withdraw(void **state)
{
    (void)state;
    fake_uefi_install_status = EFI_OUT_OF_RESOURCES;

    EFI_STATUS status = initrd_offer(&offer);

    assert_int_equal(status, EFI_OUT_OF_RESOURCES);
    assert_int_equal(fake_uefi_errors, 1);
    initrd_withdraw();
}

static void given_offer_withdrawn_when_loaded_then_invalid_and_can_be_offered_anew(void **state)
{
    uint8_t buffer[ALL_BYTES];
    UINTN bytes = sizeof(buffer);
    EFI_DEVICE_PATH path = {0};

    (void)state;
    assert_offered();
    EFI_LOAD_FILE_PROTOCOL *protocol = fake_uefi_installed.interfaces[1];
    initrd_withdraw();

    EFI_STATUS status = protocol->LoadFile(protocol, &path, FALSE, &bytes, buffer);

    assert_null(fake_uefi_installed.handle);
    assert_int_equal(status, EFI_INVALID_PARAMETER);
    assert_nothing_read();
    initrd_withdraw();
    assert_offered();
    assert_int_equal(load_file(false, &bytes, buffer), EFI_SUCCESS);
}

#define INITRD_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INITRD_TEST(given_files_when_offered_then_linux_path_and_load_file2_on_one_handle),
        INITRD_TEST(given_no_buffer_or_a_short_one_when_loaded_then_too_small_and_the_length),
        INITRD_TEST(given_boot_policy_when_loaded_then_unsupported_and_nothing_read),
        INITRD_TEST(given_null_pointers_when_loaded_then_invalid_parameter),
        INITRD_TEST(given_exact_buffer_when_loaded_then_files_padded_to_four_bytes),
        INITRD_TEST(given_larger_buffer_when_loaded_then_its_length_is_corrected),
        INITRD_TEST(given_initrds_loaded_when_loaded_again_then_not_found_and_not_read_again),
        INITRD_TEST(given_read_error_when_loaded_then_its_status_now_and_not_found_later),
        INITRD_TEST(given_file_shorter_than_it_said_when_loaded_then_end_of_file),
        INITRD_TEST(given_firmware_refuses_when_offered_then_reported_and_nothing_to_withdraw),
        INITRD_TEST(given_offer_withdrawn_when_loaded_then_invalid_and_can_be_offered_anew),
    };

    return cmocka_run_group_tests_name("initrd", tests, NULL, NULL);
}
