/*
 * core/device_spec.h, core/split_spec.h: numbers as virtio 1.4 gives them, written down a second
 * time. Fakes and code share the headers, so a wrong number would be wrong on both sides.
 */

#include "core/device_spec.h"
#include "core/split_spec.h"
#include "tests/fakes/testing.h"

struct number {
    const char *name;
    uint64_t ours;
    uint64_t specified;
};

#define NUMBER(name, value)                                                                        \
    {                                                                                              \
#name, name, value                                                                         \
    }

static void assert_all(const struct number *numbers, size_t n_numbers)
{
    for (size_t i = 0; i < n_numbers; i++) {
        if (numbers[i].ours != numbers[i].specified)
            fail_msg("%s is %#jx, not %#jx", numbers[i].name, (uintmax_t)numbers[i].ours,
                     (uintmax_t)numbers[i].specified);
    }
}

static void given_device_status_when_compared_with_2_1_then_same_bits(void **state)
{
    (void)state;
    static const struct number numbers[] = {
        NUMBER(VIRTIO_STATUS_ACKNOWLEDGE, 1),         NUMBER(VIRTIO_STATUS_DRIVER, 2),
        NUMBER(VIRTIO_STATUS_DRIVER_OK, 4),           NUMBER(VIRTIO_STATUS_FEATURES_OK, 8),
        NUMBER(VIRTIO_STATUS_DEVICE_NEEDS_RESET, 64), NUMBER(VIRTIO_STATUS_FAILED, 128),
    };

    assert_all(numbers, ARRAY_LENGTH(numbers));
}

static void given_reserved_features_when_compared_with_6_then_same_numbers(void **state)
{
    (void)state;
    static const struct number numbers[] = {
        NUMBER(VIRTIO_F_INDIRECT_DESC, 28),
        NUMBER(VIRTIO_F_EVENT_IDX, 29),
        NUMBER(VIRTIO_F_VERSION_1, 32),
        NUMBER(VIRTIO_F_ACCESS_PLATFORM, 33),
        NUMBER(VIRTIO_F_RING_PACKED, 34),
        NUMBER(VIRTIO_F_IN_ORDER, 35),
        NUMBER(VIRTIO_F_ORDER_PLATFORM, 36),
        NUMBER(VIRTIO_F_SR_IOV, 37),
        NUMBER(VIRTIO_F_NOTIFICATION_DATA, 38),
        NUMBER(VIRTIO_F_NOTIF_CONFIG_DATA, 39),
        NUMBER(VIRTIO_F_RING_RESET, 40),
        NUMBER(VIO_FEATURE(VIRTIO_F_RING_RESET), UINT64_C(0x10000000000)),
    };

    assert_all(numbers, ARRAY_LENGTH(numbers));
}

static void given_split_virtqueue_when_compared_with_2_7_then_same_numbers(void **state)
{
    (void)state;
    static const struct number numbers[] = {
        NUMBER(VIRTQUEUE_SIZE_MAX, 32768),     NUMBER(VIRTQ_DESC_F_NEXT, 1),
        NUMBER(VIRTQ_DESC_F_WRITE, 2),         NUMBER(VIRTQ_DESC_F_INDIRECT, 4),
        NUMBER(VIRTQ_AVAIL_F_NO_INTERRUPT, 1), NUMBER(VIRTQ_USED_F_NO_NOTIFY, 1),
        NUMBER(VIRTQ_DESC_ALIGN, 16),          NUMBER(VIRTQ_AVAIL_ALIGN, 2),
        NUMBER(VIRTQ_USED_ALIGN, 4),
    };

    assert_all(numbers, ARRAY_LENGTH(numbers));
}

static void given_device_types_when_compared_with_5_then_same_numbers(void **state)
{
    (void)state;
    static const struct number numbers[] = {
        NUMBER(VIRTIO_ID_BLOCK, 2),
        NUMBER(VIRTIO_ID_CONSOLE, 3),
        NUMBER(VIRTIO_ID_ENTROPY, 4),
    };

    assert_all(numbers, ARRAY_LENGTH(numbers));
}

/* One descriptor, byte by byte: addr, len, flags, next, each of them little-endian (1.4, 2.7.5). */
static void given_descriptor_when_looked_at_as_bytes_then_each_field_has_its_place(void **state)
{
    (void)state;
    static const uint8_t bytes[16] = {0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
                                      0x14, 0x13, 0x12, 0x11, 0x22, 0x21, 0x32, 0x31};
    const struct virtq_desc desc = {
        .addr = le64_from(UINT64_C(0x0102030405060708)),
        .len = le32_from(0x11121314),
        .flags = le16_from(0x2122),
        .next = le16_from(0x3132),
    };

    assert_memory_equal(&desc, bytes, sizeof(bytes));
    assert_int_equal(le64_to(desc.len_flags_next), UINT64_C(0x3132212211121314));
    assert_int_equal(le64_to(desc.addr), UINT64_C(0x0102030405060708));
    assert_int_equal(le32_to(desc.len), 0x11121314);
    assert_int_equal(le16_to(desc.next), 0x3132);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_device_status_when_compared_with_2_1_then_same_bits),
        cmocka_unit_test(given_reserved_features_when_compared_with_6_then_same_numbers),
        cmocka_unit_test(given_split_virtqueue_when_compared_with_2_7_then_same_numbers),
        cmocka_unit_test(given_device_types_when_compared_with_5_then_same_numbers),
        cmocka_unit_test(given_descriptor_when_looked_at_as_bytes_then_each_field_has_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
