/*
 * A PCI function that misbehaves, one way per row: in its capability list, in its registers. What
 * holds in every row is checked by tests/fakes/lying_pci.h; a row adds how the driver has to take
 * this one. Each row is a seed of tests/fuzz/fuzz_pci.c, too.
 */

#include "core/device_spec.h"
#include "tests/fakes/fake_pci_caps.h"
#include "tests/fakes/hostile_rows.h"
#include "tests/fakes/lying_pci.h"
#include "tests/fakes/testing.h"

#define SEEDS "tests/fuzz/corpus/pci"

/* Of virtio_pci_common_cfg, shorter than in transports/pci_spec.h. */
#define FEATURES      VIRTIO_PCI_COMMON_DEVICE_FEATURE
#define CONFIG_VECTOR VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR
#define NUM_QUEUES    VIRTIO_PCI_COMMON_NUM_QUEUES
#define STATUS        VIRTIO_PCI_COMMON_DEVICE_STATUS
#define GENERATION    VIRTIO_PCI_COMMON_CONFIG_GENERATION
#define QUEUE_SIZE    VIRTIO_PCI_COMMON_QUEUE_SIZE
#define QUEUE_VECTOR  VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR
#define QUEUE_ENABLE  VIRTIO_PCI_COMMON_QUEUE_ENABLE
#define NOTIFY_OFF    VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF
#define QUEUE_RESET   VIRTIO_PCI_COMMON_QUEUE_RESET
#define NOTIF_DATA    VIRTIO_PCI_COMMON_QUEUE_NOTIF_CONFIG_DATA

#define DRIVER_OK VIRTIO_STATUS_DRIVER_OK

/* The high half is what is read second; bits count from 32. */
#define HIGH(feature_bit) (1u << ((feature_bit)-32))

/* Changes of the usual capability list: a byte, a word; a capability's fields by name. */
#define BYTE(where, number)                                                                        \
    {                                                                                              \
        .at = (where), .width_bytes = 1, .value = (number)                                         \
    }
#define WORD(where, number)                                                                        \
    {                                                                                              \
        .at = (where), .width_bytes = 4, .value = (number)                                         \
    }
#define NEXT_OF(cap, number)   BYTE((cap) + VIRTIO_PCI_CAP_NEXT, number)
#define LEN_OF(cap, number)    BYTE((cap) + VIRTIO_PCI_CAP_LEN, number)
#define TYPE_OF(cap, number)   BYTE((cap) + VIRTIO_PCI_CAP_CFG_TYPE, number)
#define BAR_OF(cap, number)    BYTE((cap) + VIRTIO_PCI_CAP_BAR, number)
#define OFFSET_OF(cap, number) WORD((cap) + VIRTIO_PCI_CAP_OFFSET, number)
#define LENGTH_OF(cap, number) WORD((cap) + VIRTIO_PCI_CAP_LENGTH, number)
#define FIRST(number)          BYTE(PCI_CAPABILITIES_POINTER, number)
#define MULTIPLIER(number)     WORD(FAKE_CAP_NOTIFY + VIRTIO_PCI_CAP_MULTIPLIER, number)

/* Lies of registers. */
#define REGISTER(where, number)                                                                    \
    {                                                                                              \
        .about = LIE_COMMON, .at = (where), .value = (number)                                      \
    }
#define REGISTER_AFTER(bits, where, number)                                                        \
    {                                                                                              \
        .about = LIE_COMMON, .at = (where), .after = (bits), .value = (number)                     \
    }
#define OFFERS(bits)                                                                               \
    {                                                                                              \
        .about = LIE_COMMON, .at = FEATURES, .from = 1, .count = 1, .how = LIE_XOR,                \
        .value = (bits)                                                                            \
    }

#define ANY_VALUE UINT64_C(0x5EED)

struct poke {
    uint8_t at;
    uint8_t width_bytes; /* 0 ends the list */
    uint32_t value;
};

struct row {
    const char *name;
    struct fake_cap caps[2];
    struct poke pokes[6];
    uint8_t bar; /* of another size than usual, unless both are 0 */
    uint64_t bar_bytes;
    bool config_is_all_ones;
    struct lie lies[4];

    vio_status found; /* if not VIO_OK, what opening gives, too */
    vio_status opened;
    vio_status brought_up;
    vio_status config_read;
    vio_status queue_reset;
    bool isolated;
    unsigned n_untold;      /* lies for which the driver gives no occasion, as it should */
    uint64_t value;         /* that the failure names */
    uint64_t common_offset; /* where the common structure has to be found */
};

#define WORKS               .found = VIO_OK
#define BROKEN              .found = VIO_ERR_DEVICE
#define LEGACY              .found = VIO_ERR_UNSUPPORTED
#define STOPS(what, number) .brought_up = VIO_ERR_##what, .value = (number)

/* --- The capability list ---------------------------------------------------------------------- */

/* A second capability of a kind, behind the usual ones. */
#define COMMON_CAP(where, bar_number, place, length_bytes)                                         \
    {                                                                                              \
        .at = (where), .cap_len = VIRTIO_PCI_CAP_BYTES, .cfg_type = VIRTIO_PCI_CAP_COMMON_CFG,     \
        .bar = (bar_number), .offset = (place), .length = (length_bytes)                           \
    }

/* What leads to BARs that are out of reach, behind the usual ones. */
#define CFG_CAP(where, length_bytes)                                                               \
    {                                                                                              \
        .at = (where), .cap_len = (length_bytes), .cfg_type = VIRTIO_PCI_CAP_PCI_CFG               \
    }
#define OUT_OF_REACH .bar = FAKE_PCI_BAR, .bar_bytes = 0

static const struct row list_rows[] = {
    {"no capability list", .pokes = {BYTE(PCI_STATUS, 0)}, LEGACY},
    {"a list without an entry", .pokes = {FIRST(0)}, LEGACY},
    {"a list that points into the header", .pokes = {FIRST(0x3C)}, LEGACY},
    {"a list that points to itself at its end",
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_DEVICE)}, BROKEN},
    {"a list that is a loop of two", .pokes = {NEXT_OF(FAKE_CAP_NOTIFY, FAKE_CAP_COMMON)}, BROKEN},
    {"a list that is a loop of all", .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_COMMON)}, BROKEN},
    {"a list that turns into the header", .pokes = {NEXT_OF(FAKE_CAP_NOTIFY, 0x3C)}, BROKEN},
    {"links with their reserved bits set",
     .pokes = {FIRST(FAKE_CAP_COMMON | 3), NEXT_OF(FAKE_CAP_COMMON, FAKE_CAP_NOTIFY | 2)}, WORKS},
    {"a link into the middle of a capability",
     .pokes = {NEXT_OF(FAKE_CAP_COMMON, FAKE_CAP_NOTIFY + 4)}, BROKEN},
    {"a capability at 0xfc",
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, 0xFC), BYTE(0xFC, PCI_CAPABILITY_VENDOR), BYTE(0xFD, 0),
               BYTE(0xFE, 16), BYTE(0xFF, VIRTIO_PCI_CAP_COMMON_CFG)},
     WORKS},
    {"the only common capability at 0xfc",
     .pokes = {FIRST(FAKE_CAP_NOTIFY), NEXT_OF(FAKE_CAP_DEVICE, 0xFC),
               BYTE(0xFC, PCI_CAPABILITY_VENDOR), BYTE(0xFD, 0), BYTE(0xFE, 16),
               BYTE(0xFF, VIRTIO_PCI_CAP_COMMON_CFG)},
     BROKEN},
    {"a notify capability whose multiplier is beyond the end",
     .caps = {{.at = 0xF0,
               .cap_len = VIRTIO_PCI_NOTIFY_BYTES,
               .cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
               .bar = FAKE_PCI_BAR,
               .offset = FAKE_PCI_NOTIFY_OFFSET,
               .length = FAKE_PCI_NOTIFY_BYTES}},
     .pokes = {TYPE_OF(FAKE_CAP_NOTIFY, 9), NEXT_OF(FAKE_CAP_DEVICE, 0xF0)}, BROKEN},
    {"all of the configuration space is 0xff", .config_is_all_ones = true, BROKEN,
     .opened = VIO_ERR_GONE},
    {"a common capability of length 0", .pokes = {LEN_OF(FAKE_CAP_COMMON, 0)}, BROKEN},
    {"a common capability a byte too short", .pokes = {LEN_OF(FAKE_CAP_COMMON, 15)}, BROKEN},
    {"a notify capability without its multiplier", .pokes = {LEN_OF(FAKE_CAP_NOTIFY, 16)}, BROKEN},
    {"a capability of 255 bytes", .pokes = {LEN_OF(FAKE_CAP_COMMON, 255)}, WORKS},
    {"no common structure", .pokes = {TYPE_OF(FAKE_CAP_COMMON, 5)}, BROKEN},
    {"no notify structure", .pokes = {TYPE_OF(FAKE_CAP_NOTIFY, 8)}, BROKEN},
    {"no ISR structure", .pokes = {TYPE_OF(FAKE_CAP_ISR, 9)}, BROKEN},
    {"no device structure", .pokes = {TYPE_OF(FAKE_CAP_DEVICE, 9)}, .config_read = VIO_ERR_DEVICE,
     .value = 0},
    {"a capability of shared memory that claims all of 64 bits",
     .caps = {{.at = FAKE_CAP_FREE,
               .cap_len = 24,
               .cfg_type = 8,
               .bar = FAKE_PCI_BAR,
               .offset = UINT32_MAX,
               .length = UINT32_MAX}},
     .pokes = {WORD(FAKE_CAP_FREE + 16, UINT32_MAX), WORD(FAKE_CAP_FREE + 20, UINT32_MAX),
               NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE)},
     WORKS},
    {"structures of a type that nobody has defined", .pokes = {TYPE_OF(FAKE_CAP_COMMON, 0)},
     BROKEN},
    {"capabilities of another vendor kind", .pokes = {BYTE(FAKE_CAP_COMMON, 0x11)}, BROKEN},
    {"BAR 6", .pokes = {BAR_OF(FAKE_CAP_COMMON, 6)}, BROKEN},
    {"BAR 255", .pokes = {BAR_OF(FAKE_CAP_COMMON, 255)}, BROKEN},
    {"BAR 255 for what is optional", .pokes = {BAR_OF(FAKE_CAP_DEVICE, 255)},
     .config_read = VIO_ERR_DEVICE, .value = 0},
    {"a BAR of 0 bytes", .pokes = {BAR_OF(FAKE_CAP_ISR, 0)}, BROKEN},
    {"a BAR out of reach", OUT_OF_REACH, BROKEN},
    {"a BAR out of reach, but for configuration space", OUT_OF_REACH,
     .caps = {CFG_CAP(FAKE_CAP_FREE, 20)}, .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE)},
     WORKS},
    {"one structure of five out of reach, but for configuration space",
     .caps = {CFG_CAP(FAKE_CAP_FREE, 255)},
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE), BAR_OF(FAKE_CAP_NOTIFY, 0)}, WORKS},
    {"a way to what is out of reach without its data", OUT_OF_REACH,
     .caps = {CFG_CAP(FAKE_CAP_FREE, 19)}, .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE)},
     BROKEN},
    {"a way to what is out of reach whose data is beyond the end", OUT_OF_REACH,
     .caps = {CFG_CAP(0xF0, 20)}, .pokes = {NEXT_OF(FAKE_CAP_DEVICE, 0xF0)}, BROKEN},
    {"out of reach, and beyond 4 GiB", OUT_OF_REACH, .caps = {CFG_CAP(FAKE_CAP_FREE, 20)},
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE), OFFSET_OF(FAKE_CAP_COMMON, 0xFFFFFFC4)},
     BROKEN},
    {"out of reach, and up to 4 GiB", OUT_OF_REACH, .caps = {CFG_CAP(FAKE_CAP_FREE, 20)},
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE), OFFSET_OF(FAKE_CAP_COMMON, 0xFFFFFFC0)},
     WORKS, .common_offset = 0xFFFFFFC0},
    {"a notify structure of 4 GiB less 4 that is out of reach", OUT_OF_REACH,
     .caps = {CFG_CAP(FAKE_CAP_FREE, 20)},
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE), OFFSET_OF(FAKE_CAP_NOTIFY, 4),
               LENGTH_OF(FAKE_CAP_NOTIFY, 0xFFFFFFFC), WORD(FAKE_CAP_NOTIFY + 16, UINT32_MAX)},
     STOPS(DEVICE, 1)},
    {"a BAR too small for its structures, and a way through configuration space",
     .bar = FAKE_PCI_BAR, .bar_bytes = 0x1000, .caps = {CFG_CAP(FAKE_CAP_FREE, 20)},
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE)}, BROKEN},
    {"a BAR too small for its structures", .bar = FAKE_PCI_BAR, .bar_bytes = 0x1000, BROKEN},
    {"offset plus length one byte beyond the BAR",
     .pokes = {OFFSET_OF(FAKE_CAP_COMMON, FAKE_PCI_BAR_BYTES - 60)}, BROKEN},
    {"offset plus length up to the end of the BAR",
     .pokes = {OFFSET_OF(FAKE_CAP_COMMON, FAKE_PCI_BAR_BYTES - 64),
               LENGTH_OF(FAKE_CAP_NOTIFY, 0xFC0)},
     WORKS, .common_offset = FAKE_PCI_BAR_BYTES - 64},
    {"offset plus length that wraps at 32 bits",
     .pokes = {OFFSET_OF(FAKE_CAP_COMMON, 0xFFFFFFC0), LENGTH_OF(FAKE_CAP_COMMON, 0x80)}, BROKEN},
    {"offset plus length that wraps to 0",
     .pokes = {OFFSET_OF(FAKE_CAP_COMMON, 0xFFFFFFC0), LENGTH_OF(FAKE_CAP_COMMON, 0x40)}, BROKEN},
    {"a structure at the very end of a BAR of 4 GiB", .bar = FAKE_PCI_BAR,
     .bar_bytes = UINT64_C(1) << 32, .pokes = {OFFSET_OF(FAKE_CAP_COMMON, 0xFFFFFFC0)}, WORKS,
     .common_offset = 0xFFFFFFC0},
    {"a structure across 4 GiB in a BAR of 8 GiB", .bar = FAKE_PCI_BAR,
     .bar_bytes = UINT64_C(1) << 33, .pokes = {OFFSET_OF(FAKE_CAP_COMMON, 0xFFFFFFE0)}, WORKS,
     .common_offset = 0xFFFFFFE0},
    {"a common structure a byte too short", .pokes = {LENGTH_OF(FAKE_CAP_COMMON, 55)}, BROKEN},
    {"a common structure of 0 bytes", .pokes = {LENGTH_OF(FAKE_CAP_COMMON, 0)}, BROKEN},
    {"a common structure of 4 GiB less 1", .pokes = {LENGTH_OF(FAKE_CAP_COMMON, UINT32_MAX)},
     BROKEN},
    {"a common structure without the registers of RING_RESET",
     .pokes = {LENGTH_OF(FAKE_CAP_COMMON, 58)}, WORKS},
    {"a common structure that is not aligned", .pokes = {OFFSET_OF(FAKE_CAP_COMMON, 2)}, BROKEN},
    {"a notify structure that is not aligned",
     .pokes = {OFFSET_OF(FAKE_CAP_NOTIFY, FAKE_PCI_NOTIFY_OFFSET + 1)}, BROKEN},
    {"a device structure that is not aligned",
     .pokes = {OFFSET_OF(FAKE_CAP_DEVICE, FAKE_PCI_DEVICE_OFFSET + 1)},
     .config_read = VIO_ERR_DEVICE, .value = 0},
    {"a notify structure of one byte", .pokes = {LENGTH_OF(FAKE_CAP_NOTIFY, 1)}, BROKEN},
    {"an ISR structure of 0 bytes", .pokes = {LENGTH_OF(FAKE_CAP_ISR, 0)}, BROKEN},
    {"all structures in one place",
     .pokes = {OFFSET_OF(FAKE_CAP_NOTIFY, 0), OFFSET_OF(FAKE_CAP_ISR, 0),
               OFFSET_OF(FAKE_CAP_DEVICE, 0)},
     WORKS},
    {"a bad common capability and a good one behind it",
     .caps = {COMMON_CAP(FAKE_CAP_FREE, FAKE_PCI_BAR, 0x100, 64)},
     .pokes = {BAR_OF(FAKE_CAP_COMMON, 7), NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE)}, WORKS,
     .common_offset = 0x100},
    {"a good common capability and a bad one behind it",
     .caps = {COMMON_CAP(FAKE_CAP_FREE, FAKE_PCI_BAR, 0xFFFFFF00, 64)},
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE)}, WORKS},
    {"two good common capabilities", .caps = {COMMON_CAP(FAKE_CAP_FREE, 1, 0x100, 64)},
     .pokes = {NEXT_OF(FAKE_CAP_DEVICE, FAKE_CAP_FREE)}, WORKS},
};

/* --- Registers -------------------------------------------------------------------------------- */

static const struct row register_rows[] = {
    {"a notify multiplier of 2^32 - 1", .pokes = {MULTIPLIER(UINT32_MAX)}, STOPS(DEVICE, 1)},
    {"a notify offset whose product with the multiplier is 2^32", .pokes = {MULTIPLIER(0x10000000)},
     .lies = {REGISTER(NOTIFY_OFF, 16)}, STOPS(DEVICE, 0)},
    {"a notify offset of 65535", .lies = {REGISTER(NOTIFY_OFF, 0xFFFF)}, STOPS(DEVICE, 0)},
    {"a notify offset that is out of range at the second look",
     .lies = {{.about = LIE_COMMON, .at = NOTIFY_OFF, .from = 1, .count = 1, .value = 0xFFFF}},
     STOPS(DEVICE, 1)},
    {"a notify offset one beyond the structure",
     .lies = {REGISTER(NOTIFY_OFF, FAKE_PCI_NOTIFY_BYTES / 4)}, STOPS(DEVICE, 0)},
    {"a notify offset at the end of the structure",
     .lies = {REGISTER(NOTIFY_OFF, FAKE_PCI_NOTIFY_BYTES / 4 - 1)}, WORKS},
    {"a notify address that is odd", .pokes = {MULTIPLIER(1)}, STOPS(DEVICE, 1)},
    {"a notify multiplier of 0", .pokes = {MULTIPLIER(0)}, WORKS},
    {"a notify address that is not aligned for its data", .pokes = {MULTIPLIER(2)},
     .lies = {OFFERS(HIGH(VIRTIO_F_NOTIFICATION_DATA))}, STOPS(DEVICE, 1)},
    {"a notify structure that is not aligned for its data",
     .pokes = {OFFSET_OF(FAKE_CAP_NOTIFY, FAKE_PCI_NOTIFY_OFFSET - 2)},
     .lies = {OFFERS(HIGH(VIRTIO_F_NOTIFICATION_DATA))}, STOPS(DEVICE, 0)},
    {"a notify structure too small for its data",
     .pokes = {LENGTH_OF(FAKE_CAP_NOTIFY, 2), MULTIPLIER(0)},
     .lies = {OFFERS(HIGH(VIRTIO_F_NOTIFICATION_DATA))}, STOPS(DEVICE, 0)},
    {"a notify offset that changes with each look",
     .lies = {{.about = LIE_COMMON, .at = NOTIFY_OFF, .how = LIE_GROWS, .value = 3}}, WORKS},
    {"notification data that are no queue's number",
     .lies = {OFFERS(HIGH(VIRTIO_F_NOTIFICATION_DATA) | HIGH(VIRTIO_F_NOTIF_CONFIG_DATA)),
              REGISTER(NOTIF_DATA, 0xFFFF)},
     WORKS},
    {"notification data on offer and no register for them",
     .pokes = {LENGTH_OF(FAKE_CAP_COMMON, 56)}, .lies = {OFFERS(HIGH(VIRTIO_F_NOTIF_CONFIG_DATA))},
     WORKS},
    {"no queues", .lies = {REGISTER(NUM_QUEUES, 0)}, STOPS(UNSUPPORTED, 0)},
    {"one queue where two are needed", .lies = {REGISTER(NUM_QUEUES, 1)}, STOPS(UNSUPPORTED, 1)},
    {"65535 queues", .lies = {REGISTER(NUM_QUEUES, 0xFFFF)}, WORKS},
    {"a queue size register of 0", .lies = {REGISTER(QUEUE_SIZE, 0)}, STOPS(UNSUPPORTED, 0)},
    {"a queue size register that takes no value", .lies = {REGISTER(QUEUE_SIZE, 256)},
     STOPS(DEVICE, 0)},
    {"a queue size register that is no power of two",
     .lies = {{.about = LIE_COMMON, .at = QUEUE_SIZE, .count = 1, .value = 63}}, WORKS},
    {"a queue size register of 65535",
     .lies = {{.about = LIE_COMMON, .at = QUEUE_SIZE, .count = 1, .value = 0xFFFF}}, WORKS},
    {"the second queue is enabled before it is set up",
     .lies = {{.about = LIE_COMMON, .at = QUEUE_ENABLE, .from = 1, .value = 1}},
     STOPS(UNSUPPORTED, 1)},
    {"queue_enable reads all ones", .lies = {REGISTER(QUEUE_ENABLE, 0xFFFF)},
     STOPS(UNSUPPORTED, 0)},
    {"the vectors of queues are refused", .lies = {REGISTER(QUEUE_VECTOR, VIO_NO_VECTOR)}, WORKS},
    {"the vector of a queue reads back as another", .lies = {REGISTER(QUEUE_VECTOR, 7)}, WORKS},
    {"only the shared vector is taken", .lies = {REGISTER(QUEUE_VECTOR, 0)}, WORKS},
    {"the vector for the configuration is refused",
     .lies = {REGISTER(CONFIG_VECTOR, VIO_NO_VECTOR)}, WORKS},
    {"the vector for the configuration reads back as another", .lies = {REGISTER(CONFIG_VECTOR, 1)},
     WORKS},
    {"a queue whose reset is never done", .lies = {REGISTER(QUEUE_RESET, 1)},
     .queue_reset = VIO_ERR_TIMEOUT, .value = 0},
    {"a queue whose reset reads all ones", .lies = {REGISTER(QUEUE_RESET, 0xFFFF)},
     .queue_reset = VIO_ERR_TIMEOUT, .value = 0},
    {"a queue whose reset is done after 400 looks",
     .lies = {{.about = LIE_COMMON, .at = QUEUE_RESET, .count = 400, .value = 1}}, WORKS},
    {"a queue that is enabled still after its reset",
     .lies = {{.about = LIE_COMMON, .at = QUEUE_ENABLE, .from = 2, .value = 1}},
     .queue_reset = VIO_ERR_UNSUPPORTED, .value = 0},
    {"a queue that is smaller after its reset",
     .lies = {{.about = LIE_COMMON, .at = QUEUE_SIZE, .from = 4, .count = 1, .value = 8}}, WORKS},
    {"a queue that is gone after its reset",
     .lies = {{.about = LIE_COMMON, .at = NUM_QUEUES, .from = 2, .value = 0}},
     .queue_reset = VIO_ERR_UNSUPPORTED, .value = 0},
    {"DEVICE_NEEDS_RESET while a queue is reset",
     .lies = {REGISTER(QUEUE_RESET, 1),
              {.about = LIE_COMMON,
               .at = STATUS,
               .from = 1,
               .after = DRIVER_OK,
               .how = LIE_XOR,
               .value = VIRTIO_STATUS_DEVICE_NEEDS_RESET}},
     .queue_reset = VIO_ERR_NEEDS_RESET, .value = 0x4F},
    {"the function is gone while a queue is reset",
     .lies = {{.about = LIE_COMMON, .at = STATUS, .from = 1, .after = DRIVER_OK, .value = 0xFF},
              REGISTER_AFTER(DRIVER_OK, QUEUE_RESET, 0xFFFF),
              {.about = LIE_REGISTERS, .after = LIE_AT_LAST_RESET, .value = UINT64_MAX}},
     .queue_reset = VIO_ERR_GONE, .value = 0xFF, .isolated = true},
    {"every register reads all ones", .lies = {{.about = LIE_REGISTERS, .value = UINT64_MAX}},
     STOPS(GONE, 0xFF), .isolated = true},
    {"every register reads 0", .lies = {{.about = LIE_REGISTERS, .value = 0}},
     STOPS(UNSUPPORTED, VIO_FEATURE(VIRTIO_F_VERSION_1))},
    {"the status register stays after the reset", .lies = {REGISTER(STATUS, 0x8F)},
     STOPS(TIMEOUT, 0x8F), .isolated = true},
    {"the low features are said again as the high ones",
     .lies = {{.about = LIE_COMMON, .at = FEATURES, .value = 0}},
     STOPS(UNSUPPORTED, VIO_FEATURE(VIRTIO_F_VERSION_1))},
    {"the generation register counts for ever",
     .lies = {{.about = LIE_COMMON, .at = GENERATION, .how = LIE_GROWS, .value = 1}},
     .config_read = VIO_ERR_DEVICE, .value = ANY_VALUE},
    {"the generation register counts ten times",
     .lies = {{.about = LIE_COMMON, .at = GENERATION, .how = LIE_GROWS, .count = 10, .value = 1}},
     WORKS},
    {"a device structure a byte too short for a field", .pokes = {LENGTH_OF(FAKE_CAP_DEVICE, 9)},
     .config_read = VIO_ERR_DEVICE, .value = 9},
    {"the ISR register is all ones", .lies = {{.about = LIE_ISR, .value = UINT64_MAX}}, WORKS},
};

static void make_script(const struct row *row, struct pci_script *ret_script)
{
    pci_script_init(ret_script);
    for (unsigned i = 0; i < ARRAY_LENGTH(row->caps) && row->caps[i].at; i++)
        fake_caps_write(ret_script->config, &row->caps[i]);
    for (unsigned i = 0; i < ARRAY_LENGTH(row->pokes) && row->pokes[i].width_bytes; i++) {
        const struct poke *poke = &row->pokes[i];
        if (poke->width_bytes == 1)
            fake_caps_poke(ret_script->config, poke->at, (uint8_t)poke->value);
        else
            fake_caps_poke32(ret_script->config, poke->at, poke->value);
    }
    if (row->bar || row->bar_bytes)
        ret_script->bar_bytes[row->bar] = row->bar_bytes;
    if (row->config_is_all_ones)
        memset(ret_script->config, 0xFF, sizeof(ret_script->config));
    memcpy(ret_script->lies, row->lies, sizeof(row->lies));
}

static void row_is_taken_as_it_should(void **state)
{
    const struct row *row = *state;
    struct pci_script script;
    struct pci_outcome outcome;
    make_script(row, &script);

    pci_script_play(&script, &outcome);

    assert_int_equal(outcome.found, row->found);
    assert_int_equal(outcome.opened, row->opened ? row->opened : row->found);
    assert_int_equal(outcome.brought_up, row->brought_up);
    assert_int_equal(outcome.config_read, row->config_read);
    assert_int_equal(outcome.queue_reset, row->queue_reset);
    assert_int_equal(outcome.isolated, row->isolated);
    assert_int_equal(outcome.n_untold, row->n_untold);
    if (row->value != ANY_VALUE)
        assert_true(outcome.value == row->value);
    if (row->found == VIO_OK)
        assert_true(outcome.findings.places[PCI_PLACE_COMMON].offset == row->common_offset);
}

/* The file that the fuzzer reads as the same script. */
static size_t row_seed(const void *row, uint8_t *ret_bytes)
{
    struct pci_script script, as_read;

    make_script(row, &script);
    size_t n_bytes = pci_script_write(&script, ret_bytes);
    pci_script_read(ret_bytes, n_bytes, &as_read);
    assert_memory_equal(&as_read, &script, sizeof(script));
    return n_bytes;
}

static const struct hostile_table tables[] = {
    HOSTILE_TABLE("capabilities", list_rows),
    HOSTILE_TABLE("registers", register_rows),
};

int main(int argc, char **argv)
{
    const struct hostile_program program = {
        .tables = tables,
        .n_tables = ARRAY_LENGTH(tables),
        .test = row_is_taken_as_it_should,
        .seed = row_seed,
        .seed_folder = SEEDS,
    };

    _Static_assert(PCI_SCRIPT_BYTES_MAX <= HOSTILE_SEED_BYTES_MAX, "a seed fits");
    return hostile_main(&program, argc, argv);
}
