/* EFI_DISK_INFO_PROTOCOL: the serial number of a virtio disk. */

#include "efi/disk_info.h"

#include "devices/blk_spec.h"
#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define ROOM 64u

static struct disk_info disk_info;
static uint8_t id[ROOM];

static void open_disk(const char *serial)
{
    efi_disk.device.id = serial;
    efi_disk_open(true);
    disk_info_init(&disk_info, &efi_disk.block_io);
    memset(id, 0xA5, sizeof(id));
}

static EFI_STATUS identify(void *buffer, UINT32 *bytes)
{
    return disk_info.protocol.identify(&disk_info.protocol, buffer, bytes);
}

static void given_disk_when_initialised_then_interface_is_ours_and_nothing_was_asked(void **state)
{
    static const EFI_GUID ours = DISK_INFO_VIRTIO_INTERFACE_GUID;

    (void)state;
    open_disk("serial");

    assert_memory_equal(&disk_info.protocol.interface, &ours, sizeof(ours));
    assert_int_equal(offsetof(struct disk_info, protocol), 0);
    assert_int_equal(offsetof(struct disk_info_protocol, which_ide),
                     sizeof(EFI_GUID) + 3 * sizeof(void *));
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void given_serial_number_when_identified_then_20_bytes_padded_with_zeroes(void **state)
{
    /* Checks: BLK-REQ-8 */
    static const char *const serials[] = {"", "a", "virtboot-0001", "12345678901234567890"};

    (void)state;
    open_disk(NULL);
    for (unsigned i = 0; i < ARRAY_LENGTH(serials); i++) {
        char expected[VIRTIO_BLK_ID_BYTES + 1] = {0};
        UINT32 bytes = i % 2 ? ROOM : VIRTIO_BLK_ID_BYTES;
        strcpy(expected, serials[i]);
        efi_disk.device.id = serials[i];
        memset(id, 0xA5, sizeof(id));

        EFI_STATUS status = identify(id, &bytes);

        assert_int_equal(status, EFI_SUCCESS);
        assert_int_equal(bytes, VIRTIO_BLK_ID_BYTES);
        assert_memory_equal(id, expected, VIRTIO_BLK_ID_BYTES);
        for (unsigned k = VIRTIO_BLK_ID_BYTES; k < ROOM; k++)
            assert_int_equal(id[k], 0xA5);
        assert_int_equal(efi_disk.device.requests[i].type, VIRTIO_BLK_T_GET_ID);
        assert_int_equal(efi_disk.device.requests[i].data_bytes, VIRTIO_BLK_ID_BYTES);
    }
}

static void given_too_little_room_when_identified_then_size_told_and_nothing_asked(void **state)
{
    static const UINT32 rooms[] = {0, 1, VIRTIO_BLK_ID_BYTES - 1};

    (void)state;
    open_disk("serial");
    for (unsigned i = 0; i < 2 * ARRAY_LENGTH(rooms); i++) {
        UINT32 bytes = rooms[i / 2];

        EFI_STATUS status = identify(i % 2 ? id : NULL, &bytes);

        assert_int_equal(status, EFI_BUFFER_TOO_SMALL);
        assert_int_equal(bytes, VIRTIO_BLK_ID_BYTES);
    }
    assert_int_equal(id[0], 0xA5);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void given_null_when_identified_then_invalid_parameter(void **state)
{
    UINT32 bytes = ROOM;

    (void)state;
    open_disk("serial");

    assert_int_equal(identify(id, NULL), EFI_INVALID_PARAMETER);
    assert_int_equal(identify(NULL, NULL), EFI_INVALID_PARAMETER);
    assert_int_equal(identify(NULL, &bytes), EFI_INVALID_PARAMETER);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

static void given_device_without_serial_number_when_identified_then_not_found(void **state)
{
    UINT32 bytes = ROOM;

    (void)state;
    open_disk(NULL);

    EFI_STATUS status = identify(id, &bytes);

    assert_int_equal(status, EFI_NOT_FOUND);
    for (unsigned i = 0; i < ROOM; i++)
        assert_int_equal(id[i], 0xA5);
    assert_int_equal(efi_disk.device.n_requests, 1);
}

static void given_device_error_when_identified_then_said_and_buffer_untouched(void **state)
{
    static const struct {
        enum fake_blk_lie lie;
        uint32_t value;
        EFI_STATUS status;
    } cases[] = {
        {FAKE_BLK_STATUS, VIRTIO_BLK_S_IOERR, EFI_DEVICE_ERROR},
        {FAKE_BLK_STATUS, VIRTIO_BLK_S_UNSUPP, EFI_NOT_FOUND},
        {FAKE_BLK_STATUS, 77, EFI_DEVICE_ERROR},
        {FAKE_BLK_LEN, VIRTIO_BLK_ID_BYTES, EFI_DEVICE_ERROR}, /* one byte is missing */
        {FAKE_BLK_NO_STATUS, 0, EFI_DEVICE_ERROR},
        {FAKE_BLK_IDX_JUMPS, 1000, EFI_DEVICE_ERROR}, /* last: out of use from now on */
        {FAKE_BLK_HONEST, 0, EFI_DEVICE_ERROR},
    };

    (void)state;
    open_disk("serial");
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        UINT32 bytes = ROOM;
        efi_disk.device.lie = cases[i].lie;
        efi_disk.device.lie_value = cases[i].value;

        EFI_STATUS status = identify(id, &bytes);

        assert_int_equal(status, cases[i].status);
        for (unsigned k = 0; k < ROOM; k++)
            assert_int_equal(id[k], 0xA5);
    }
}

static void given_tokens_outstanding_when_identified_then_both_are_answered(void **state)
{
    UINT32 bytes = ROOM;

    (void)state;
    open_disk("serial");
    efi_disk_start_read(0, 3, 1);

    EFI_STATUS status = identify(id, &bytes);

    assert_int_equal(status, EFI_SUCCESS);
    assert_string_equal((const char *)id, "serial");
    efi_assert_signalled(0, EFI_SUCCESS);
    efi_assert_was_read(3, 1);
}

static void given_disk_when_asked_for_anything_else_then_there_is_nothing(void **state)
{
    struct disk_info_protocol *protocol = &disk_info.protocol;
    UINT32 bytes = ROOM, channel = 7, device = 8;
    UINT8 number = 9;

    (void)state;
    open_disk("serial");

    assert_int_equal(protocol->inquiry(protocol, id, &bytes), EFI_NOT_FOUND);
    assert_int_equal(protocol->sense_data(protocol, id, &bytes, &number), EFI_NOT_FOUND);
    assert_int_equal(protocol->which_ide(protocol, &channel, &device), EFI_UNSUPPORTED);
    assert_int_equal(id[0], 0xA5);
    assert_int_equal(channel, 7);
    assert_int_equal(device, 8);
    assert_int_equal(efi_disk.device.n_requests, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EFI_DISK_TEST(given_disk_when_initialised_then_interface_is_ours_and_nothing_was_asked),
        EFI_DISK_TEST(given_serial_number_when_identified_then_20_bytes_padded_with_zeroes),
        EFI_DISK_TEST(given_too_little_room_when_identified_then_size_told_and_nothing_asked),
        EFI_DISK_TEST(given_null_when_identified_then_invalid_parameter),
        EFI_DISK_TEST(given_device_without_serial_number_when_identified_then_not_found),
        EFI_DISK_TEST(given_device_error_when_identified_then_said_and_buffer_untouched),
        EFI_DISK_TEST(given_tokens_outstanding_when_identified_then_both_are_answered),
        EFI_DISK_TEST(given_disk_when_asked_for_anything_else_then_there_is_nothing),
    };

    return cmocka_run_group_tests_name("disk_info", tests, NULL, NULL);
}
