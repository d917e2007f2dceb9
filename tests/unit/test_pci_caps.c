/* transports/pci_caps.h: the capability list of a device that may write anything into it. */

#include "core/device_spec.h"
#include "tests/fakes/fake_pci_caps.h"
#include "tests/fakes/testing.h"
#include "transports/pci_caps.h"

#define RANDOM_SPACES 100000u

/* A function with the usual list, and BARs as QEMU has them. */
struct function {
    uint8_t config[PCI_CONFIG_BYTES];
    uint64_t bar_bytes[PCI_BAR_COUNT];
    struct pci_caps caps;
    uint8_t lacking_bar;
};

static void function_init(struct function *function)
{
    *function = (struct function){0};
    fake_caps_init(function->config);
    function->bar_bytes[1] = 0x1000;
    function->bar_bytes[FAKE_PCI_BAR] = FAKE_PCI_BAR_BYTES;
    memset(&function->caps, 0xEE, sizeof(function->caps));
}

static vio_status function_parse(struct function *function)
{
    return pci_caps_parse(function->config, function->bar_bytes, &function->caps,
                          &function->lacking_bar);
}

/* Nothing was written to the result. */
static void assert_caps_untouched(const struct function *function)
{
    struct pci_caps untouched;

    memset(&untouched, 0xEE, sizeof(untouched));
    assert_memory_equal(&function->caps, &untouched, sizeof(untouched));
}

static void assert_structure(const struct pci_structure *structure, uint8_t bar, uint64_t offset,
                             uint64_t bytes)
{
    assert_int_equal(structure->bar, bar);
    assert_true(structure->offset == offset);
    assert_true(structure->bytes == bytes);
}

static void given_usual_list_when_parsed_then_all_structures_found(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_OK);
    assert_structure(&function.caps.common, FAKE_PCI_BAR, 0, VIRTIO_PCI_COMMON_BYTES);
    assert_structure(&function.caps.notify, FAKE_PCI_BAR, FAKE_PCI_NOTIFY_OFFSET, 0x1000);
    assert_structure(&function.caps.isr, FAKE_PCI_BAR, FAKE_PCI_ISR_OFFSET, 1);
    assert_structure(&function.caps.device, FAKE_PCI_BAR, FAKE_PCI_DEVICE_OFFSET, 0x60);
    assert_int_equal(function.caps.notify_off_multiplier, 4);
    assert_int_equal(function.caps.n_virtio_caps, 4);
}

static void given_no_device_structure_when_parsed_then_accepted_without(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);
    fake_caps_poke(function.config, FAKE_CAP_ISR + VIRTIO_PCI_CAP_NEXT, 0);

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_OK);
    assert_int_equal(function.caps.device.bytes, 0);
}

static void given_reserved_bits_in_links_when_parsed_then_ignored(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);
    function.config[PCI_CAPABILITIES_POINTER] |= 3;
    function.config[FAKE_CAP_COMMON + VIRTIO_PCI_CAP_NEXT] |= 2;

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_OK);
    assert_int_equal(function.caps.n_virtio_caps, 4);
}

/* One byte changed in the usual list, and what comes of it. */
static const struct {
    const char *what;
    uint8_t at;
    uint8_t value;
    vio_status status;
} byte_cases[] = {
    {"no capability list", PCI_STATUS, 0, VIO_ERR_UNSUPPORTED},
    {"pointer is 0", PCI_CAPABILITIES_POINTER, 0, VIO_ERR_UNSUPPORTED},
    {"pointer into the header", PCI_CAPABILITIES_POINTER, 0x3C, VIO_ERR_UNSUPPORTED},
    {"no virtio capability", PCI_CAPABILITIES_POINTER, 0xC0, VIO_ERR_UNSUPPORTED},
    {"first links to itself", FAKE_CAP_COMMON + 1, FAKE_CAP_COMMON, VIO_ERR_DEVICE},
    {"last links to itself", FAKE_CAP_DEVICE + 1, FAKE_CAP_DEVICE, VIO_ERR_DEVICE},
    {"last links to first", FAKE_CAP_DEVICE + 1, FAKE_CAP_COMMON, VIO_ERR_DEVICE},
    {"third links to second", FAKE_CAP_ISR + 1, FAKE_CAP_NOTIFY, VIO_ERR_DEVICE},
    {"list ends early", FAKE_CAP_NOTIFY + 1, 0, VIO_ERR_DEVICE},
    {"link into the header", FAKE_CAP_NOTIFY + 1, 0x10, VIO_ERR_DEVICE},
    {"link past the ISR capability", FAKE_CAP_NOTIFY + 1, FAKE_CAP_DEVICE, VIO_ERR_DEVICE},
    {"common is too short", FAKE_CAP_COMMON + 2, 15, VIO_ERR_DEVICE},
    {"notify is too short", FAKE_CAP_NOTIFY + 2, 19, VIO_ERR_DEVICE},
    {"ISR is too short", FAKE_CAP_ISR + 2, 15, VIO_ERR_DEVICE},
    {"common has cap_len 0", FAKE_CAP_COMMON + 2, 0, VIO_ERR_DEVICE},
    {"common is of a reserved type", FAKE_CAP_COMMON + 3, 0, VIO_ERR_DEVICE},
    {"notify is of a reserved type", FAKE_CAP_NOTIFY + 3, 10, VIO_ERR_DEVICE},
    {"ISR is of type 0xFF", FAKE_CAP_ISR + 3, 0xFF, VIO_ERR_DEVICE},
    {"common in BAR 6", FAKE_CAP_COMMON + 4, 6, VIO_ERR_DEVICE},
    {"notify in BAR 255", FAKE_CAP_NOTIFY + 4, 255, VIO_ERR_DEVICE},
    {"ISR in BAR 6", FAKE_CAP_ISR + 4, 6, VIO_ERR_DEVICE},
    {"common in an absent BAR", FAKE_CAP_COMMON + 4, 0, VIO_ERR_DEVICE},
    {"notify beyond its BAR", FAKE_CAP_NOTIFY + 4, 1, VIO_ERR_DEVICE},
    {"common at an odd offset", FAKE_CAP_COMMON + 8, 1, VIO_ERR_DEVICE},
    {"common at offset 2", FAKE_CAP_COMMON + 8, 2, VIO_ERR_DEVICE},
    {"notify at an odd offset", FAKE_CAP_NOTIFY + 8, 1, VIO_ERR_DEVICE},
    {"common is a byte short", FAKE_CAP_COMMON + 12, 55, VIO_ERR_DEVICE},
    {"common has no length", FAKE_CAP_COMMON + 12, 0, VIO_ERR_DEVICE},
    {"ISR has no length", FAKE_CAP_ISR + 12, 0, VIO_ERR_DEVICE},
    /* What is allowed. */
    {"common is longer", FAKE_CAP_COMMON + 2, 64, VIO_OK},
    {"notify is longer", FAKE_CAP_NOTIFY + 2, 255, VIO_OK},
    {"common's length is longer", FAKE_CAP_COMMON + 12, 64, VIO_OK},
    {"ISR at an odd offset", FAKE_CAP_ISR + 8, 3, VIO_OK},
    {"ISR is longer", FAKE_CAP_ISR + 12, 4, VIO_OK},
    {"id is not 0", FAKE_CAP_COMMON + 5, 77, VIO_OK},
    {"padding is not 0", FAKE_CAP_COMMON + 6, 77, VIO_OK},
    {"revision", 0x08, 77, VIO_OK},
    {"subsystem", 0x2E, 77, VIO_OK},
};

/* --- BARs that have not got what is claimed ------------------------------------------------------ */

static void given_bar_that_lacks_a_structure_when_parsed_then_named(void **state)
{
    (void)state;
    static const struct {
        uint8_t at; /* a capability, and the BAR that it is moved to */
        uint8_t bar;
        uint64_t bytes; /* of that BAR */
        uint8_t lacking_bar;
    } cases[] = {
        {FAKE_CAP_COMMON, 0, 0, 0},
        {FAKE_CAP_NOTIFY, 5, 0x3FFF, 5},
        {FAKE_CAP_ISR, 2, 0x1000, 2},
        {FAKE_CAP_ISR, 7, 0, PCI_BAR_COUNT}, /* not one that there can be */
    };
    struct function function;

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        function_init(&function);
        function.config[cases[i].at + VIRTIO_PCI_CAP_BAR] = cases[i].bar;
        if (cases[i].bar < PCI_BAR_COUNT)
            function.bar_bytes[cases[i].bar] = cases[i].bytes;
        function.lacking_bar = 0xEE;

        assert_int_equal(function_parse(&function), VIO_ERR_DEVICE);

        assert_int_equal(function.lacking_bar, cases[i].lacking_bar);
    }
}

static void add_cfg_access(struct function *function)
{
    static const struct fake_cap cap = {.at = FAKE_CAP_FREE,
                                        .next = FAKE_CAP_COMMON,
                                        .cap_len = VIRTIO_PCI_CFG_BYTES,
                                        .cfg_type = VIRTIO_PCI_CAP_PCI_CFG};

    fake_caps_write(function->config, &cap);
    function->config[PCI_CAPABILITIES_POINTER] = FAKE_CAP_FREE;
}

static void given_cfg_access_when_a_bar_has_no_length_then_its_structures_are_far(void **state)
{
    /* Checks: PCI-CFGA-3 */
    (void)state;
    struct function function;
    function_init(&function);
    add_cfg_access(&function);
    function.config[FAKE_CAP_COMMON + VIRTIO_PCI_CAP_BAR] = 2;

    assert_int_equal(function_parse(&function), VIO_OK);

    assert_int_equal(function.caps.cfg_access, FAKE_CAP_FREE);
    assert_true(function.caps.common.by_cfg_data);
    assert_structure(&function.caps.common, 2, 0, VIRTIO_PCI_COMMON_BYTES);
    assert_false(function.caps.notify.by_cfg_data);
    assert_false(function.caps.isr.by_cfg_data);
    assert_false(function.caps.device.by_cfg_data);
    assert_int_equal(function.caps.n_virtio_caps, 5);
}

static void given_two_structures_when_the_first_is_far_then_the_one_in_reach_wins(void **state)
{
    (void)state;
    static const struct fake_cap far = {.at = 0xA0,
                                        .next = FAKE_CAP_FREE,
                                        .cap_len = VIRTIO_PCI_NOTIFY_BYTES,
                                        .cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
                                        .bar = 2,
                                        .length = 4,
                                        .multiplier = 77};
    struct function function;
    function_init(&function);
    add_cfg_access(&function);
    fake_caps_write(function.config, &far);
    function.config[PCI_CAPABILITIES_POINTER] = 0xA0;

    assert_int_equal(function_parse(&function), VIO_OK);

    assert_structure(&function.caps.notify, FAKE_PCI_BAR, FAKE_PCI_NOTIFY_OFFSET, 0x1000);
    assert_int_equal(function.caps.notify_off_multiplier, 4);
}

/* Nothing of these makes a structure in a BAR without a length one that can be used. */
static void given_unfit_cfg_access_when_a_bar_has_no_length_then_not_found(void **state)
{
    (void)state;
    static const struct {
        uint8_t at;
        uint8_t value;
    } pokes[] = {
        {FAKE_CAP_FREE + VIRTIO_PCI_CAP_LEN, 19},
        {FAKE_CAP_FREE + VIRTIO_PCI_CAP_CFG_TYPE, 6},
        {FAKE_CAP_COMMON + VIRTIO_PCI_CAP_OFFSET + 3, 0xFF}, /* with the next: beyond 4 GiB */
        {FAKE_CAP_COMMON + VIRTIO_PCI_CAP_OFFSET, 2},
    };
    struct function function;

    for (unsigned i = 0; i < ARRAY_LENGTH(pokes); i++) {
        function_init(&function);
        add_cfg_access(&function);
        function.bar_bytes[FAKE_PCI_BAR] = 0;
        if (pokes[i].value == 0xFF)
            fake_caps_poke32(function.config, FAKE_CAP_COMMON + VIRTIO_PCI_CAP_OFFSET, 0xFFFFFFFC);
        else
            function.config[pokes[i].at] = pokes[i].value;

        assert_int_equal(function_parse(&function), VIO_ERR_DEVICE);
    }
}

static void given_cfg_access_at_the_end_when_parsed_then_not_used(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);
    function.bar_bytes[FAKE_PCI_BAR] = 0;
    const struct fake_cap cap = {.at = 0xF0,
                                 .next = FAKE_CAP_COMMON,
                                 .cap_len = VIRTIO_PCI_CFG_BYTES,
                                 .cfg_type = VIRTIO_PCI_CAP_PCI_CFG};
    fake_caps_write(function.config, &cap);
    function.config[PCI_CAPABILITIES_POINTER] = 0xF0; /* pci_cfg_data would be behind the end */

    assert_int_equal(function_parse(&function), VIO_ERR_DEVICE);
}

static void given_short_bar_when_there_is_cfg_access_then_no_way_around_it(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);
    add_cfg_access(&function);
    function.bar_bytes[FAKE_PCI_BAR] = FAKE_PCI_NOTIFY_OFFSET;

    assert_int_equal(function_parse(&function), VIO_ERR_DEVICE);

    assert_int_equal(function.lacking_bar, FAKE_PCI_BAR);
}

static void given_one_changed_byte_when_parsed_then_judged(void **state)
{
    /* Checks: PCI-CAP-1, PCI-CAP-3, PCI-CAP-4, PCI-CAP-7, PCI-DISC-3, PCI-DISC-4, CFG-4, CFG-5 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(byte_cases); i++) {
        struct function function;
        function_init(&function);
        fake_caps_poke(function.config, byte_cases[i].at, byte_cases[i].value);

        vio_status status = function_parse(&function);

        if (status != byte_cases[i].status)
            fail_msg("%s: status %d", byte_cases[i].what, (int)status);
        if (status != VIO_OK)
            assert_caps_untouched(&function);
    }
}

/* The notify structure: 0x1000 bytes at 0x3000 in a BAR of 0x4000. */
static const struct {
    uint32_t offset;
    uint32_t length;
    uint64_t bar_bytes;
    bool usable;
} range_cases[] = {
    {0x3000, 0x1000, 0x4000, true},
    {0x3000, 0x1001, 0x4000, false},
    {0x3002, 0x1000, 0x4000, false},
    {0x3FFE, 2, 0x4000, true},
    {0x3FFE, 1, 0x4000, false},
    {0x4000, 2, 0x4000, false},
    {0x4000, 0, 0x4000, false},
    {0, 0x4000, 0x4000, true},
    {0, 0x4001, 0x4000, false},
    /* near 2^32: a 32-bit sum would be small */
    {0xFFFFFFFE, 4, 0x4000, false},
    {0xFFFFFFF0, 0x20, 0x4000, false},
    {2, 0xFFFFFFFF, 0x4000, false},
    {0x3000, 0xFFFFFFFF, 0x4000, false},
    {0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFF, false},
    {0xFFFFFFFE, 0xFFFFFFFF, UINT64_C(0x1FFFFFFFC), false},
    /* a 64-bit BAR of more than 4 GiB */
    {0xFFFFFFFE, 0xFFFFFFFF, UINT64_C(0x1FFFFFFFD), true},
    {0xFFFFFFFE, 4, UINT64_C(0x200000000), true},
    {0x3000, 0xFFFFFFFF, UINT64_MAX, true},
    {0, 2, 0, false},
};

static void given_notify_range_when_parsed_then_usable_only_inside_its_bar(void **state)
{
    /* Checks: PCI-CAP-6 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(range_cases); i++) {
        struct function function;
        function_init(&function);
        fake_caps_poke(function.config, FAKE_CAP_NOTIFY + VIRTIO_PCI_CAP_BAR, 2);
        fake_caps_poke32(function.config, FAKE_CAP_NOTIFY + 8, range_cases[i].offset);
        fake_caps_poke32(function.config, FAKE_CAP_NOTIFY + 12, range_cases[i].length);
        function.bar_bytes[2] = range_cases[i].bar_bytes;

        vio_status status = function_parse(&function);

        if (status != (range_cases[i].usable ? VIO_OK : VIO_ERR_DEVICE))
            fail_msg("case %u: status %d", i, (int)status);
        if (status == VIO_OK)
            assert_structure(&function.caps.notify, 2, range_cases[i].offset,
                             range_cases[i].length);
    }
}

static void given_misaligned_device_structure_when_parsed_then_passed_over(void **state)
{
    (void)state;
    for (unsigned offset = 1; offset < 4; offset++) {
        struct function function;
        function_init(&function);
        fake_caps_poke(function.config, FAKE_CAP_DEVICE + 8, (uint8_t)offset);

        vio_status status = function_parse(&function);

        assert_int_equal(status, VIO_OK);
        assert_int_equal(function.caps.device.bytes, 0);
    }
}

/* Put @p cap in front of the usual list. */
static void function_put_first(struct function *function, struct fake_cap cap)
{
    cap.at = FAKE_CAP_FREE;
    cap.next = FAKE_CAP_COMMON;
    fake_caps_write(function->config, &cap);
    function->config[PCI_CAPABILITIES_POINTER] = FAKE_CAP_FREE;
}

static void given_two_usable_commons_when_parsed_then_first_wins(void **state)
{
    /* Checks: PCI-CAP-2 */
    (void)state;
    struct function function;
    function_init(&function);
    function_put_first(&function, (struct fake_cap){.cap_len = 16,
                                                    .cfg_type = VIRTIO_PCI_CAP_COMMON_CFG,
                                                    .bar = 1,
                                                    .offset = 0x100,
                                                    .length = 0x40});

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_OK);
    assert_structure(&function.caps.common, 1, 0x100, 0x40);
}

static void given_two_usable_notifies_when_parsed_then_multiplier_is_of_the_first(void **state)
{
    /* Checks: PCI-CAP-2 */
    (void)state;
    struct function function;
    function_init(&function);
    function_put_first(&function, (struct fake_cap){.cap_len = 20,
                                                    .cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
                                                    .bar = 1,
                                                    .offset = 0x100,
                                                    .length = 0x40,
                                                    .multiplier = 0x12345678});

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_OK);
    assert_structure(&function.caps.notify, 1, 0x100, 0x40);
    assert_int_equal(function.caps.notify_off_multiplier, 0x12345678);
}

/* A first capability that is of no use for one reason. */
static const struct fake_cap useless_caps[] = {
    {.cap_len = 15, .cfg_type = 1, .bar = 1, .offset = 0, .length = 0x40},
    {.cap_len = 16, .cfg_type = 1, .bar = 6, .offset = 0, .length = 0x40},
    {.cap_len = 16, .cfg_type = 1, .bar = 0, .offset = 0, .length = 0x40},
    {.cap_len = 16, .cfg_type = 1, .bar = 1, .offset = 0xFE0, .length = 0x40},
    {.cap_len = 16, .cfg_type = 1, .bar = 1, .offset = 0, .length = 0x20},
    {.cap_len = 16, .cfg_type = 1, .bar = 1, .offset = 2, .length = 0x40},
    {.cap_len = 19, .cfg_type = 2, .bar = 1, .offset = 0, .length = 0x40, .multiplier = 99},
    {.cap_len = 20, .cfg_type = 2, .bar = 7, .offset = 0, .length = 0x40, .multiplier = 99},
    {.cap_len = 20, .cfg_type = 2, .bar = 1, .offset = 0, .length = 1, .multiplier = 99},
    {.cap_len = 20, .cfg_type = 2, .bar = 1, .offset = 1, .length = 4, .multiplier = 99},
    {.cap_len = 16, .cfg_type = 3, .bar = 1, .offset = 0x1000, .length = 1},
    {.cap_len = 16, .cfg_type = 3, .bar = 1, .offset = 0, .length = 0},
    {.cap_len = 16, .cfg_type = 4, .bar = 1, .offset = 0, .length = 0},
    {.cap_len = 16, .cfg_type = 4, .bar = 1, .offset = 0xFFFFFFFC, .length = 8},
    /* other types, which are never looked at */
    {.cap_len = 16, .cfg_type = 0, .bar = 1, .offset = 0, .length = 0x40},
    {.cap_len = 20, .cfg_type = 5, .bar = 1, .offset = 0, .length = 0x40},
    {.cap_len = 24, .cfg_type = 8, .bar = 1, .offset = 0, .length = 0x40},
    {.cap_len = 16, .cfg_type = 9, .bar = 1, .offset = 0, .length = 0x40},
    {.cap_len = 16, .cfg_type = 255, .bar = 1, .offset = 0, .length = 0x40},
    /* of another vendor's kind, looking like ours */
    {.id = 0x11, .cap_len = 16, .cfg_type = 1, .bar = 1, .offset = 0, .length = 0x40},
};

static void given_useless_first_capability_when_parsed_then_the_usual_ones_are_taken(void **state)
{
    /* Checks: PCI-CAP-1, PCI-CAP-2, PCI-CAP-4 */
    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(useless_caps); i++) {
        struct function function;
        function_init(&function);
        function_put_first(&function, useless_caps[i]);

        vio_status status = function_parse(&function);

        assert_int_equal(status, VIO_OK);
        assert_structure(&function.caps.common, FAKE_PCI_BAR, 0, VIRTIO_PCI_COMMON_BYTES);
        assert_structure(&function.caps.notify, FAKE_PCI_BAR, FAKE_PCI_NOTIFY_OFFSET, 0x1000);
        assert_structure(&function.caps.isr, FAKE_PCI_BAR, FAKE_PCI_ISR_OFFSET, 1);
        assert_structure(&function.caps.device, FAKE_PCI_BAR, FAKE_PCI_DEVICE_OFFSET, 0x60);
        assert_int_equal(function.caps.notify_off_multiplier, 4);
    }
}

/* Put the notify capability of the usual list at @p at, with @p cap_len. */
static vio_status parse_with_notify_at(struct function *function, uint8_t at, uint8_t cap_len)
{
    struct fake_cap cap = {.at = at,
                           .next = FAKE_CAP_ISR,
                           .cap_len = cap_len,
                           .cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
                           .bar = FAKE_PCI_BAR,
                           .offset = FAKE_PCI_NOTIFY_OFFSET,
                           .length = 0x1000,
                           .multiplier = 8};

    function_init(function);
    fake_caps_write(function->config, &cap);
    fake_caps_poke(function->config, FAKE_CAP_COMMON + VIRTIO_PCI_CAP_NEXT, at);
    return function_parse(function);
}

static void given_capability_at_the_end_when_parsed_then_taken_only_if_it_fits(void **state)
{
    (void)state;
    struct function function;

    assert_int_equal(parse_with_notify_at(&function, 0xEC, 20), VIO_OK);
    assert_int_equal(function.caps.notify_off_multiplier, 8);

    /* The multiplier lies behind the end, whatever cap_len says. */
    assert_int_equal(parse_with_notify_at(&function, 0xF0, 20), VIO_ERR_DEVICE);
    assert_int_equal(parse_with_notify_at(&function, 0xF0, 16), VIO_ERR_DEVICE);
    assert_int_equal(parse_with_notify_at(&function, 0xF4, 20), VIO_ERR_DEVICE);
    assert_int_equal(parse_with_notify_at(&function, 0xFC, 255), VIO_ERR_DEVICE);
}

static void given_common_in_last_bytes_when_parsed_then_taken(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);
    struct fake_cap cap = {.at = 0xF0,
                           .next = FAKE_CAP_NOTIFY,
                           .cap_len = 16,
                           .cfg_type = VIRTIO_PCI_CAP_COMMON_CFG,
                           .bar = 1,
                           .length = 0x38};
    fake_caps_write(function.config, &cap);
    function.config[PCI_CAPABILITIES_POINTER] = 0xF0;

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_OK);
    assert_structure(&function.caps.common, 1, 0, 0x38);
}

/* What stands in the header is no capability, whatever it looks like. */
static void given_link_into_the_header_when_parsed_then_list_ends_there(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);
    struct fake_cap cap = {.at = 0x10,
                           .next = FAKE_CAP_ISR,
                           .cap_len = 16,
                           .cfg_type = VIRTIO_PCI_CAP_ISR_CFG,
                           .bar = 1,
                           .length = 1};
    fake_caps_write(function.config, &cap);
    fake_caps_poke(function.config, FAKE_CAP_NOTIFY + VIRTIO_PCI_CAP_NEXT, 0x10);

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_ERR_DEVICE);
    assert_caps_untouched(&function);
}

static void given_longest_possible_list_when_parsed_then_no_loop(void **state)
{
    (void)state;
    struct function function;
    function_init(&function);
    /* 48 capabilities of 4 bytes, of a kind that is nobody's. */
    for (unsigned at = PCI_FIRST_CAPABILITY; at < PCI_CONFIG_BYTES; at += 4) {
        fake_caps_poke32(function.config, at, 0);
        function.config[at] = 0x11;
        function.config[at + 1] = (uint8_t)(at + 4);
    }

    vio_status status = function_parse(&function);

    assert_int_equal(status, VIO_ERR_UNSUPPORTED);
}

static void assert_structure_in_bar(const struct pci_structure *structure,
                                    const uint64_t *bar_bytes)
{
    assert_true(structure->bar < PCI_BAR_COUNT);
    if (structure->bytes == 0)
        return;
    assert_true(structure->offset <= bar_bytes[structure->bar]);
    assert_true(structure->bytes <= bar_bytes[structure->bar] - structure->offset);
}

static void assert_result_is_sound(const struct function *function, vio_status status)
{
    if (status != VIO_OK) {
        assert_true(status == VIO_ERR_UNSUPPORTED || status == VIO_ERR_DEVICE);
        return;
    }
    assert_structure_in_bar(&function->caps.common, function->bar_bytes);
    assert_structure_in_bar(&function->caps.notify, function->bar_bytes);
    assert_structure_in_bar(&function->caps.isr, function->bar_bytes);
    assert_structure_in_bar(&function->caps.device, function->bar_bytes);
    assert_true(function->caps.common.bytes >= VIRTIO_PCI_COMMON_BYTES);
    assert_true(function->caps.notify.bytes >= VIRTIO_PCI_NOTIFY_WIDTH);
    assert_true(function->caps.isr.bytes >= 1);
}

static uint64_t random_bar_bytes(uint64_t *seed)
{
    return test_random(seed) % 3 == 0 ? 0 : UINT64_C(1) << (test_random(seed) % 36);
}

static void given_random_config_space_when_parsed_then_ranges_lie_in_bars(void **state)
{
    (void)state;
    uint64_t seed = 20240501;

    for (unsigned round = 0; round < RANDOM_SPACES; round++) {
        /* From the heap and of the exact size, so that a byte too far is noticed. */
        struct function function;
        function_init(&function);
        uint8_t *config = malloc(PCI_CONFIG_BYTES);
        assert_non_null(config);
        for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
            config[i] = (uint8_t)test_random(&seed);
        config[PCI_STATUS] |= PCI_STATUS_CAPABILITY_LIST;
        for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
            function.bar_bytes[i] = random_bar_bytes(&seed);

        vio_status status =
            pci_caps_parse(config, function.bar_bytes, &function.caps, &function.lacking_bar);

        assert_result_is_sound(&function, status);
        free(config);
    }
}

static void given_usual_list_with_random_bytes_when_parsed_then_ranges_lie_in_bars(void **state)
{
    (void)state;
    uint64_t seed = 20240502;
    unsigned n_ok = 0;

    for (unsigned round = 0; round < RANDOM_SPACES; round++) {
        struct function function;
        function_init(&function);
        for (unsigned n = test_random(&seed) % 4 + 1; n > 0; n--)
            fake_caps_poke(function.config, 0x34 + test_random(&seed) % 0x50,
                           (uint8_t)test_random(&seed));
        function.bar_bytes[test_random(&seed) % PCI_BAR_COUNT] = random_bar_bytes(&seed);

        vio_status status = function_parse(&function);

        assert_result_is_sound(&function, status);
        n_ok += status == VIO_OK;
    }
    assert_in_range(n_ok, RANDOM_SPACES / 10, RANDOM_SPACES);
}

static void given_pci_ids_when_asked_then_virtio_id_or_0(void **state)
{
    /* Checks: PCI-DISC-1, PCI-DISC-2 */
    (void)state;
    static const struct {
        uint16_t vendor;
        uint16_t device;
        uint16_t virtio_id;
    } cases[] = {
        {0x1AF4, 0x1042, VIRTIO_ID_BLOCK},
        {0x1AF4, 0x1043, VIRTIO_ID_CONSOLE},
        {0x1AF4, 0x1044, VIRTIO_ID_ENTROPY},
        {0x1AF4, 0x1041, 1},
        {0x1AF4, 0x107F, 63},
        {0x1AF4, 0x1001, VIRTIO_ID_BLOCK},
        {0x1AF4, 0x1003, VIRTIO_ID_CONSOLE},
        {0x1AF4, 0x1005, VIRTIO_ID_ENTROPY},
        {0x1AF4, 0x1000, 0},
        {0x1AF4, 0x1002, 0},
        {0x1AF4, 0x1004, 0},
        {0x1AF4, 0x103F, 0},
        {0x1AF4, 0x1040, 0},
        {0x1AF4, 0x1080, 0},
        {0x1AF4, 0x1110, 0},
        {0x1AF4, 0xFFFF, 0},
        {0x1AF4, 0x0000, 0},
        {0x1AF3, 0x1042, 0},
        {0x8086, 0x1001, 0},
        {0xFFFF, 0xFFFF, 0},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_int_equal(pci_caps_virtio_id(cases[i].vendor, cases[i].device), cases[i].virtio_id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_usual_list_when_parsed_then_all_structures_found),
        cmocka_unit_test(given_no_device_structure_when_parsed_then_accepted_without),
        cmocka_unit_test(given_reserved_bits_in_links_when_parsed_then_ignored),
        cmocka_unit_test(given_bar_that_lacks_a_structure_when_parsed_then_named),
        cmocka_unit_test(given_cfg_access_when_a_bar_has_no_length_then_its_structures_are_far),
        cmocka_unit_test(given_two_structures_when_the_first_is_far_then_the_one_in_reach_wins),
        cmocka_unit_test(given_unfit_cfg_access_when_a_bar_has_no_length_then_not_found),
        cmocka_unit_test(given_cfg_access_at_the_end_when_parsed_then_not_used),
        cmocka_unit_test(given_short_bar_when_there_is_cfg_access_then_no_way_around_it),
        cmocka_unit_test(given_one_changed_byte_when_parsed_then_judged),
        cmocka_unit_test(given_notify_range_when_parsed_then_usable_only_inside_its_bar),
        cmocka_unit_test(given_misaligned_device_structure_when_parsed_then_passed_over),
        cmocka_unit_test(given_two_usable_commons_when_parsed_then_first_wins),
        cmocka_unit_test(given_two_usable_notifies_when_parsed_then_multiplier_is_of_the_first),
        cmocka_unit_test(given_useless_first_capability_when_parsed_then_the_usual_ones_are_taken),
        cmocka_unit_test(given_capability_at_the_end_when_parsed_then_taken_only_if_it_fits),
        cmocka_unit_test(given_common_in_last_bytes_when_parsed_then_taken),
        cmocka_unit_test(given_link_into_the_header_when_parsed_then_list_ends_there),
        cmocka_unit_test(given_longest_possible_list_when_parsed_then_no_loop),
        cmocka_unit_test(given_random_config_space_when_parsed_then_ranges_lie_in_bars),
        cmocka_unit_test(given_usual_list_with_random_bytes_when_parsed_then_ranges_lie_in_bars),
        cmocka_unit_test(given_pci_ids_when_asked_then_virtio_id_or_0),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
