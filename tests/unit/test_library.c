/* efi/library.c: device paths, and answers that grow between two calls. */

#include "efi/uefi.h"

#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

#define HANDLE ((EFI_HANDLE) "a handle")

static EFI_DEVICE_PATH *handle_path; /* NULL: it has none */

/* What the next calls with a buffer need; each adds to it, as an allocation adds to a memory map. */
static struct {
    UINTN needed_bytes;
    UINTN growth_bytes;
    EFI_STATUS status; /* once there is room */
    unsigned n_calls;
} answer;

static EFI_STATUS EFIAPI find_path(EFI_HANDLE handle, EFI_GUID *guid, VOID **ret_found)
{
    assert_ptr_equal(handle, HANDLE);
    assert_ptr_equal(guid, &gEfiDevicePathProtocolGuid);
    if (!handle_path)
        return EFI_UNSUPPORTED;
    *ret_found = handle_path;
    return EFI_SUCCESS;
}

static EFI_STATUS give_answer(UINTN *bytes, void *buffer)
{
    UINTN room = *bytes;

    answer.n_calls++;
    *bytes = answer.needed_bytes;
    answer.needed_bytes += answer.growth_bytes;
    if (room < *bytes)
        return EFI_BUFFER_TOO_SMALL;
    memset(buffer, 0x5A, *bytes);
    return answer.status;
}

static EFI_STATUS EFIAPI get_info(EFI_FILE_PROTOCOL *file, EFI_GUID *guid, UINTN *bytes,
                                  VOID *buffer)
{
    assert_non_null(file);
    assert_ptr_equal(guid, &gEfiFileInfoGuid);
    return give_answer(bytes, buffer);
}

static EFI_STATUS EFIAPI get_memory_map(UINTN *bytes, EFI_MEMORY_DESCRIPTOR *map, UINTN *key,
                                        UINTN *descriptor_bytes, UINT32 *version)
{
    *key = 1;
    *version = 2;
    *descriptor_bytes = sizeof(EFI_MEMORY_DESCRIPTOR) + 8;
    return give_answer(bytes, map);
}

static EFI_FILE_PROTOCOL file = {.GetInfo = get_info};

static int set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    BS->HandleProtocol = find_path;
    BS->GetMemoryMap = get_memory_map;
    handle_path = NULL;
    memset(&answer, 0, sizeof(answer));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return fake_uefi_pool_blocks != 0;
}

/* A node of 6 bytes, one of 5, the end; then what is no part of it. */
static uint8_t path_bytes[] = {1, 1, 6, 0, 7, 8, 3, 5, 5, 0, 9, 0x7F, 0xFF, 4, 0, 0xEE};
#define PATH_BYTES (sizeof(path_bytes) - 1)

static void given_path_when_measured_and_copied_then_up_to_its_end(void **state)
{
    (void)state;
    handle_path = (EFI_DEVICE_PATH *)path_bytes;

    EFI_DEVICE_PATH *path = DevicePathFromHandle(HANDLE);
    EFI_DEVICE_PATH *copy = DuplicateDevicePath(path);

    assert_ptr_equal(path, path_bytes);
    assert_int_equal(DevicePathSize(path), PATH_BYTES);
    assert_memory_equal(copy, path_bytes, PATH_BYTES);
    uefi_free_pool_at(&copy);
}

static void given_file_name_when_path_is_made_then_device_file_node_and_end(void **state)
{
    static const uint8_t file_node[] = {4, 4, 10, 0, 'a', 0, '\\', 0, 0, 0, 0x7F, 0xFF, 4, 0};
    size_t device_bytes = PATH_BYTES - sizeof(EFI_DEVICE_PATH);
    CHAR16 name[] = L"a\\";

    (void)state;
    handle_path = (EFI_DEVICE_PATH *)path_bytes;
    uint8_t *path = (uint8_t *)FileDevicePath(HANDLE, name);
    handle_path = NULL;
    uint8_t *path_alone = (uint8_t *)FileDevicePath(HANDLE, name);

    assert_memory_equal(path, path_bytes, device_bytes);
    assert_memory_equal(path + device_bytes, file_node, sizeof(file_node));
    assert_memory_equal(path_alone, file_node, sizeof(file_node));
    uefi_free_pool_at(&path);
    uefi_free_pool_at(&path_alone);
}

static void given_long_file_name_when_path_is_made_then_length_in_two_bytes(void **state)
{
    CHAR16 name[300];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(name) - 1; i++)
        name[i] = L'n';
    name[ARRAY_LENGTH(name) - 1] = L'\0';

    EFI_DEVICE_PATH *path = FileDevicePath(HANDLE, name);

    assert_int_equal(DevicePathNodeLength(path), 4 + sizeof(name));
    assert_int_equal(DevicePathSize(path), 4 + sizeof(name) + sizeof(EFI_DEVICE_PATH));
    uefi_free_pool_at(&path);
}

static void given_answer_that_grows_when_asked_for_then_asked_again_with_more_room(void **state)
{
    (void)state;
    answer.needed_bytes = 1000;
    EFI_FILE_INFO *info = LibFileInfo(&file);
    assert_int_equal(answer.n_calls, 2);
    assert_int_equal(info->FileSize, 0x5A5A5A5A5A5A5A5A);

    memset(&answer, 0, sizeof(answer));
    answer.needed_bytes = 48 * 300;
    answer.growth_bytes = 48;
    UINTN n_entries = 0, key = 0, descriptor_bytes = 0;
    UINT32 version = 0;
    EFI_MEMORY_DESCRIPTOR *map = LibMemoryMap(&n_entries, &key, &descriptor_bytes, &version);
    assert_int_equal(answer.n_calls, 2);
    assert_int_equal(n_entries, 301);
    assert_int_equal(descriptor_bytes, 48);
    assert_int_equal(map->Type, 0x5A5A5A5A);

    uefi_free_pool_at(&info);
    uefi_free_pool_at(&map);
}

static void given_failure_when_asked_for_then_null_and_nothing_is_kept(void **state)
{
    UINTN n_entries, key, descriptor_bytes;
    UINT32 version;

    (void)state;
    answer.status = EFI_DEVICE_ERROR;
    assert_null(LibFileInfo(&file));
    assert_null(LibMemoryMap(&n_entries, &key, &descriptor_bytes, &version));
    assert_int_equal(answer.n_calls, 2);

    /* One that is never content. */
    answer.needed_bytes = 4096;
    answer.growth_bytes = 8192;
    assert_null(LibFileInfo(&file));
    assert_null(LibMemoryMap(&n_entries, &key, &descriptor_bytes, &version));
}

static void given_no_memory_when_anything_is_made_then_null(void **state)
{
    UINTN n_entries, key, descriptor_bytes;
    UINT32 version;

    (void)state;
    fake_uefi_fail_pool = 1;
    assert_null(DuplicateDevicePath((EFI_DEVICE_PATH *)path_bytes));
    fake_uefi_fail_pool = 1;
    assert_null(FileDevicePath(HANDLE, L"x"));
    fake_uefi_fail_pool = 1;
    assert_null(LibFileInfo(&file));
    fake_uefi_fail_pool = 1;
    assert_null(LibMemoryMap(&n_entries, &key, &descriptor_bytes, &version));
    fake_uefi_fail_pool = 1;
    assert_null(StrDuplicate(L"x"));
}

static void given_memory_when_compared_then_first_difference_decides(void **state)
{
    (void)state;
    assert_int_equal(CompareMem("abc", "abd", 2), 0);
    assert_true(CompareMem("abc", "abd", 3) < 0);
    assert_true(CompareMem("a\xff", "a\x01", 2) > 0);
    assert_int_equal(CompareMem("a", "b", 0), 0);
}

#define LIBRARY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIBRARY_TEST(given_path_when_measured_and_copied_then_up_to_its_end),
        LIBRARY_TEST(given_file_name_when_path_is_made_then_device_file_node_and_end),
        LIBRARY_TEST(given_long_file_name_when_path_is_made_then_length_in_two_bytes),
        LIBRARY_TEST(given_answer_that_grows_when_asked_for_then_asked_again_with_more_room),
        LIBRARY_TEST(given_failure_when_asked_for_then_null_and_nothing_is_kept),
        LIBRARY_TEST(given_no_memory_when_anything_is_made_then_null),
        LIBRARY_TEST(given_memory_when_compared_then_first_difference_decides),
    };

    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
