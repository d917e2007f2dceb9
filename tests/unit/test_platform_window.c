/* core/platform.h: the bounds of register windows, and the completeness of a platform. */

#include "core/platform.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/testing.h"

#define BASE UINT64_C(0xFFFF00000)

/* Counts what reaches the device, and where. */
struct device {
    unsigned reads;
    unsigned writes;
    uint64_t offset;
    unsigned width_bytes;
    uint32_t value;
};

static uint32_t device_read(void *context, uint64_t offset, unsigned width_bytes)
{
    struct device *device = context;

    device->reads++;
    device->offset = offset;
    device->width_bytes = width_bytes;
    return device->value;
}

static void device_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct device *device = context;

    device->writes++;
    device->offset = offset;
    device->width_bytes = width_bytes;
    device->value = value;
}

static const struct vio_window_ops device_ops = {.read = device_read, .write = device_write};

static struct vio_window make_window(struct device *device, uint64_t bytes)
{
    *device = (struct device){0};
    return (struct vio_window){.ops = &device_ops, .context = device, .base = BASE, .bytes = bytes};
}

static const struct {
    uint64_t bytes;
    uint64_t offset;
    unsigned width_bytes;
    bool covered;
} window_cases[] = {
    {4, 0, 1, true},
    {4, 0, 2, true},
    {4, 0, 4, true},
    {4, 3, 1, true},
    {4, 2, 2, true},
    {8, 4, 4, true},
    {UINT64_MAX, UINT64_C(0xFFFFFFFFFFFFFFF8), 4, true},
    /* beyond the end */
    {4, 4, 1, false},
    {4, 4, 4, false},
    {3, 2, 2, false},
    {3, 0, 4, false},
    {7, 4, 4, false},
    {1, 0, 2, false},
    {0, 0, 1, false},
    {0, 0, 4, false},
    /* sums that would wrap */
    {4, UINT64_MAX, 1, false},
    {4, UINT64_MAX - 1, 2, false},
    {4, UINT64_MAX - 3, 4, false},
    {UINT64_MAX, UINT64_MAX, 1, false},
    {UINT64_MAX, UINT64_MAX - 1, 2, false},
    {UINT64_MAX, UINT64_MAX - 3, 4, false},
    /* not aligned to the width */
    {8, 1, 2, false},
    {8, 3, 2, false},
    {8, 1, 4, false},
    {8, 2, 4, false},
    {8, 3, 4, false},
};

static void given_window_when_read_then_only_covered_access_reaches_device(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(window_cases); i++) {
        struct device device;
        struct vio_window window = make_window(&device, window_cases[i].bytes);
        unsigned width = window_cases[i].width_bytes;
        device.value = 0x12;

        uint32_t value = vio_window_read(&window, window_cases[i].offset, width);

        assert_int_equal(device.reads, window_cases[i].covered ? 1 : 0);
        if (window_cases[i].covered) {
            assert_int_equal(value, 0x12);
            assert_true(device.offset == BASE + window_cases[i].offset);
            assert_int_equal(device.width_bytes, width);
        } else {
            assert_int_equal(value, width == 1 ? 0xFF : width == 2 ? 0xFFFF : UINT32_MAX);
        }
    }
}

static void given_window_when_written_then_only_covered_access_reaches_device(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(window_cases); i++) {
        struct device device;
        struct vio_window window = make_window(&device, window_cases[i].bytes);

        vio_window_write(&window, window_cases[i].offset, window_cases[i].width_bytes, 0x34);

        assert_int_equal(device.writes, window_cases[i].covered ? 1 : 0);
        assert_int_equal(device.value, window_cases[i].covered ? 0x34 : 0);
    }
}

/* A notify structure may begin two bytes behind a multiple of 4 (4.1.4). */
static void given_window_that_is_not_aligned_when_used_then_the_access_counts(void **state)
{
    /* Checks: PCI-ACC-1 */
    (void)state;
    struct device device;
    struct vio_window window = make_window(&device, 64);
    window.base = BASE + 2;

    assert_int_equal(vio_window_read(&window, 0, 4), UINT32_MAX);
    vio_window_write(&window, 4, 4, 1);
    assert_int_equal(device.reads + device.writes, 0);

    vio_window_write(&window, 2, 4, 1);
    assert_true(device.offset == BASE + 4);
    vio_window_write(&window, 4, 2, 1);
    assert_true(device.offset == BASE + 6);
    assert_int_equal(device.writes, 2);
}

static void given_window_when_reg_helpers_used_then_width_is_in_their_name(void **state)
{
    (void)state;
    struct device device;
    struct vio_window window = make_window(&device, 64);
    device.value = 0xAABBCCDD;

    assert_int_equal(reg_read8(&window, 1), 0xDD);
    assert_int_equal(device.width_bytes, 1);
    assert_int_equal(reg_read16(&window, 2), 0xCCDD);
    assert_int_equal(device.width_bytes, 2);
    assert_int_equal(reg_read32(&window, 4), 0xAABBCCDD);
    assert_int_equal(device.width_bytes, 4);

    reg_write8(&window, 1, 0xEE);
    assert_int_equal(device.width_bytes, 1);
    assert_int_equal(device.value, 0xEE);
    reg_write16(&window, 2, 0xEEEE);
    assert_int_equal(device.width_bytes, 2);
    assert_int_equal(device.value, 0xEEEE);
    reg_write32(&window, 4, 0xEEEEEEEE);
    assert_int_equal(device.width_bytes, 4);
    assert_int_equal(device.value, 0xEEEEEEEE);
}

static void given_no_window_when_used_then_reads_all_ones_without_ops(void **state)
{
    (void)state;
    struct vio_window window = {0};

    reg_write32(&window, 0, 1);

    assert_int_equal(reg_read8(&window, 0), 0xFF);
    assert_int_equal(reg_read16(&window, 0), 0xFFFF);
    assert_int_equal(reg_read32(&window, 0), UINT32_MAX);
}

static void given_platform_with_one_member_missing_when_asked_then_not_complete(void **state)
{
    (void)state;
    struct fake_platform fake;
    fake_platform_init(&fake);
    assert_true(vio_platform_is_complete(&fake.platform));

    for (size_t at = 0; at < sizeof(struct vio_platform_ops); at += sizeof(void (*)(void))) {
        struct vio_platform_ops ops = *fake.platform.ops;
        memset((uint8_t *)&ops + at, 0, sizeof(void (*)(void)));
        struct vio_platform platform = {.ops = &ops, .context = &fake};

        assert_false(vio_platform_is_complete(&platform));
    }
    struct vio_platform none = {0};
    assert_false(vio_platform_is_complete(&none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_window_when_read_then_only_covered_access_reaches_device),
        cmocka_unit_test(given_window_when_written_then_only_covered_access_reaches_device),
        cmocka_unit_test(given_window_that_is_not_aligned_when_used_then_the_access_counts),
        cmocka_unit_test(given_window_when_reg_helpers_used_then_width_is_in_their_name),
        cmocka_unit_test(given_no_window_when_used_then_reads_all_ones_without_ops),
        cmocka_unit_test(given_platform_with_one_member_missing_when_asked_then_not_complete),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
