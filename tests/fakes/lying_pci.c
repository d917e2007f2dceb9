/* Contract and terms: tests/fakes/lying_pci.h. */

#include "tests/fakes/lying_pci.h"

#include "core/device.h"
#include "tests/fakes/fake_pci_caps.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/testing.h"

#define QUEUES       2u
#define NO_QUEUE     QUEUES
#define COMMON_BYTES 64u
#define DEVICE_BYTES 64u
#define SLACK_US     200000u
#define AVAIL_IDX    0xA55Au /* of all notifications */

/* The BARs lie far apart, so that an address tells the BAR also if it is beyond its end. */
#define BAR_SHIFT     56u
#define BAR_BASE(bar) (((bar) + UINT64_C(1)) << BAR_SHIFT)

/* One queue's registers are those of the common structure from queue_size on. */
#define QUEUE_REGISTERS VIRTIO_PCI_COMMON_QUEUE_SIZE

struct lying_pci {
    const struct pci_script *script;
    uint8_t config[PCI_CONFIG_BYTES];
    struct lies lies;
    struct pci_findings findings;

    /* Registers of an honest device; those behind QUEUE_REGISTERS by queue, one for all others. */
    uint8_t common[QUEUES + 1][COMMON_BYTES];
    uint8_t device[DEVICE_BYTES];
    uint16_t told_size[QUEUES + 1];
    uint16_t told_notify_off[QUEUES + 1];
    uint16_t told_notif_data[QUEUES + 1];
    bool notification_expected;
    uint64_t notification_at;
    uint32_t notification_value;
    bool is_cut_off;
    bool is_open;
    bool by_cfg_data; /* the access at hand */
    unsigned n_notifications;

    struct fake_platform platform;
    struct vio_transport transport;
    struct vio_device vio;
    struct virtqueue queues[QUEUES];
    struct vio_dma rings[QUEUES];
    void *shadows[QUEUES];
};

/* --- Registers -------------------------------------------------------------------------------- */

static uint16_t common_get16(const struct lying_pci *pci, unsigned queue, unsigned offset)
{
    uint16_t value;

    memcpy(&value, &pci->common[queue][offset], sizeof(value));
    return value;
}

static void common_set16(struct lying_pci *pci, unsigned queue, unsigned offset, uint16_t value)
{
    memcpy(&pci->common[queue][offset], &value, sizeof(value));
}

static unsigned selected_queue(const struct lying_pci *pci)
{
    uint16_t select = common_get16(pci, 0, VIRTIO_PCI_COMMON_QUEUE_SELECT);

    return select < QUEUES ? select : NO_QUEUE;
}

static void common_reset(struct lying_pci *pci)
{
    memset(pci->common, 0, sizeof(pci->common));
    common_set16(pci, 0, VIRTIO_PCI_COMMON_NUM_QUEUES, QUEUES);
    common_set16(pci, 0, VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, VIO_NO_VECTOR);
    for (uint16_t i = 0; i < QUEUES; i++) {
        common_set16(pci, i, VIRTIO_PCI_COMMON_QUEUE_SIZE, LYING_PCI_QUEUE_SIZE);
        common_set16(pci, i, VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, VIO_NO_VECTOR);
        common_set16(pci, i, VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF, i);
    }
}

static uint8_t *common_register(struct lying_pci *pci, uint64_t offset)
{
    return &pci->common[offset < QUEUE_REGISTERS ? 0 : selected_queue(pci)][offset];
}

static void common_offer_features(struct lying_pci *pci)
{
    const uint64_t offered = VIO_FEATURE(VIRTIO_F_VERSION_1) | VIO_FEATURE(VIRTIO_F_RING_RESET);
    uint32_t half = pci->common[0][VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT] ? offered >> 32 : 0;

    memcpy(&pci->common[0][VIRTIO_PCI_COMMON_DEVICE_FEATURE], &half, sizeof(half));
}

static void note_told(struct lying_pci *pci, uint64_t offset, uint16_t answer)
{
    unsigned queue = selected_queue(pci);

    if (offset == VIRTIO_PCI_COMMON_QUEUE_SIZE)
        pci->told_size[queue] = answer;
    else if (offset == VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF)
        pci->told_notify_off[queue] = answer;
    else if (offset == VIRTIO_PCI_COMMON_QUEUE_NOTIF_CONFIG_DATA)
        pci->told_notif_data[queue] = answer;
}

static uint32_t common_read(struct lying_pci *pci, uint64_t offset, unsigned width_bytes)
{
    uint64_t truth = 0;

    if (offset + width_bytes > COMMON_BYTES)
        return UINT32_MAX;
    common_offer_features(pci);
    memcpy(&truth, common_register(pci, offset), width_bytes);
    uint32_t answer =
        (uint32_t)lies_answer(&pci->lies, LIE_COMMON, (unsigned)offset, width_bytes, truth);
    note_told(pci, offset, (uint16_t)answer);
    return answer;
}

/* 4.1.4.3.2: what a queue is enabled with: a size that the device can have, and its three areas. */
static void check_queue(const struct lying_pci *pci, unsigned queue)
{
    static const unsigned places[] = {VIRTIO_PCI_COMMON_QUEUE_DESC, VIRTIO_PCI_COMMON_QUEUE_DRIVER,
                                      VIRTIO_PCI_COMMON_QUEUE_DEVICE};
    assert_true(queue < QUEUES);
    const struct virtqueue_addresses at = virtqueue_addresses(&pci->queues[queue]);
    const dma_addr areas[] = {at.descriptor_area, at.driver_area, at.device_area};
    uint16_t size = common_get16(pci, queue, VIRTIO_PCI_COMMON_QUEUE_SIZE);

    assert_int_equal(size, virtqueue_free_descriptors(&pci->queues[queue]));
    for (unsigned i = 0; i < ARRAY_LENGTH(areas); i++)
        assert_memory_equal(&pci->common[queue][places[i]], &areas[i], sizeof(areas[i]));
}

static void check_size(const struct lying_pci *pci, unsigned queue, uint32_t size)
{
    if (size == 0 || (size & (size - 1)) || size > pci->told_size[queue])
        fail_msg("a queue size of %u, and the device takes %u", size, pci->told_size[queue]);
}

static void common_write(struct lying_pci *pci, uint64_t offset, unsigned width_bytes,
                         uint32_t value)
{
    if (offset + width_bytes > COMMON_BYTES)
        return;
    if (offset == VIRTIO_PCI_COMMON_DEVICE_STATUS)
        lies_status_written(&pci->lies, (uint8_t)value);
    if (offset == VIRTIO_PCI_COMMON_DEVICE_STATUS && value == 0) {
        common_reset(pci);
        return;
    }
    if (offset == VIRTIO_PCI_COMMON_QUEUE_RESET) {
        common_set16(pci, selected_queue(pci), VIRTIO_PCI_COMMON_QUEUE_ENABLE, 0);
        return;
    }
    if (offset == VIRTIO_PCI_COMMON_QUEUE_SIZE)
        check_size(pci, selected_queue(pci), value);
    if (offset == VIRTIO_PCI_COMMON_QUEUE_ENABLE)
        check_queue(pci, selected_queue(pci));
    memcpy(common_register(pci, offset), &value, width_bytes);
}

/* --- The function's address space ------------------------------------------------------------- */

static bool place_holds(const struct pci_place *place, unsigned bar, uint64_t offset,
                        unsigned width_bytes)
{
    return place->bar == bar && place->bytes >= width_bytes && offset >= place->offset &&
           offset - place->offset <= place->bytes - width_bytes;
}

/*
 * The structure that an access is meant for. A hostile function may let them overlap; then the
 * first that it fits is as good as any, for there is no telling.
 */
static enum pci_places find_place(const struct lying_pci *pci, uint64_t address,
                                  unsigned width_bytes, uint64_t *ret_offset)
{
    unsigned bar = (unsigned)(address >> BAR_SHIFT) - 1;
    uint64_t offset = address - BAR_BASE(bar);

    if (width_bytes != 1 && width_bytes != 2 && width_bytes != 4)
        fail_msg("an access of %u bytes", width_bytes);
    if (bar >= PCI_BAR_COUNT ||
        (!pci->by_cfg_data && (offset >= pci->script->bar_bytes[bar] ||
                               width_bytes > pci->script->bar_bytes[bar] - offset)))
        fail_msg("an access outside all BARs, at 0x%llx", (unsigned long long)address);
    for (unsigned i = 0; i < PCI_PLACES; i++) {
        const struct pci_place *place = &pci->findings.places[i];
        *ret_offset = offset - place->offset;
        if (place_holds(place, bar, offset, width_bytes) && offset % width_bytes == 0 &&
            place->by_cfg_data == pci->by_cfg_data)
            return (enum pci_places)i;
    }
    fail_msg("an access of %u bytes to offset 0x%llx of BAR %u lies in no structure, aligned",
             width_bytes, (unsigned long long)offset, bar);
    return PCI_PLACES;
}

static uint32_t bar_read(void *context, uint64_t address, unsigned width_bytes)
{
    struct lying_pci *pci = context;
    uint64_t truth = 0;
    uint64_t offset;

    switch (find_place(pci, address, width_bytes, &offset)) {
    case PCI_PLACE_COMMON:
        return common_read(pci, offset, width_bytes);
    case PCI_PLACE_DEVICE:
        if (offset + width_bytes <= DEVICE_BYTES)
            memcpy(&truth, &pci->device[offset], width_bytes);
        return (uint32_t)lies_answer(&pci->lies, LIE_DEVICE_CONFIG, (unsigned)offset & 0xFF,
                                     width_bytes, truth);
    default:
        return (uint32_t)lies_answer(&pci->lies, LIE_ISR, 0, width_bytes, 0);
    }
}

static void bar_write(void *context, uint64_t address, unsigned width_bytes, uint32_t value)
{
    struct lying_pci *pci = context;
    uint64_t offset;

    enum pci_places place = find_place(pci, address, width_bytes, &offset);
    if (pci->notification_expected) {
        assert_true(address == pci->notification_at);
        assert_int_equal(value, pci->notification_value);
        assert_int_equal(width_bytes, vio_device_has(&pci->vio, VIRTIO_F_NOTIFICATION_DATA)
                                          ? VIRTIO_PCI_NOTIFY_DATA_WIDTH
                                          : VIRTIO_PCI_NOTIFY_WIDTH);
        pci->n_notifications++;
    } else if (place == PCI_PLACE_COMMON) {
        common_write(pci, offset, width_bytes, value);
    }
}

/* Whether the access is one of pci_cfg_data. Before the transport is there, it reads a list. */
static bool is_cfg_data(const struct lying_pci *pci, uint64_t offset)
{
    uint64_t at = pci->findings.cfg_access;

    return pci->is_open && at && offset >= at + VIRTIO_PCI_CFG_DATA &&
           offset < at + VIRTIO_PCI_CFG_BYTES;
}

/* 4.1.4.9.2: what it stands for at the moment. */
static uint64_t cfg_target(struct lying_pci *pci, uint64_t offset, unsigned width_bytes)
{
    const uint8_t *cap = &pci->config[pci->findings.cfg_access];
    uint32_t target, length;

    memcpy(&target, cap + VIRTIO_PCI_CAP_OFFSET, sizeof(target));
    memcpy(&length, cap + VIRTIO_PCI_CAP_LENGTH, sizeof(length));
    assert_int_equal(offset, pci->findings.cfg_access + VIRTIO_PCI_CFG_DATA);
    assert_int_equal(length, width_bytes);
    assert_int_equal(target % length, 0);
    assert_true(cap[VIRTIO_PCI_CAP_BAR] < PCI_BAR_COUNT);
    return BAR_BASE(cap[VIRTIO_PCI_CAP_BAR]) + target;
}

static bool aims_cfg_access(const struct lying_pci *pci, uint64_t offset, unsigned width_bytes)
{
    uint64_t at = pci->findings.cfg_access;

    return at && ((offset == at + VIRTIO_PCI_CAP_BAR && width_bytes == 1) ||
                  (offset == at + VIRTIO_PCI_CAP_OFFSET && width_bytes == 4) ||
                  (offset == at + VIRTIO_PCI_CAP_LENGTH && width_bytes == 4));
}

static uint32_t config_read(void *context, uint64_t offset, unsigned width_bytes)
{
    struct lying_pci *pci = context;
    uint32_t value = 0;

    assert_true(offset + width_bytes <= PCI_CONFIG_BYTES);
    if (is_cfg_data(pci, offset)) {
        pci->by_cfg_data = true;
        value = bar_read(pci, cfg_target(pci, offset, width_bytes), width_bytes);
        pci->by_cfg_data = false;
        return value;
    }
    memcpy(&value, &pci->config[offset], width_bytes);
    return value;
}

static void config_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct lying_pci *pci = context;
    uint16_t command;

    if (is_cfg_data(pci, offset)) {
        pci->by_cfg_data = true;
        bar_write(pci, cfg_target(pci, offset, width_bytes), width_bytes, value);
        pci->by_cfg_data = false;
        return;
    }
    if (aims_cfg_access(pci, offset, width_bytes)) {
        memcpy(&pci->config[offset], &value, width_bytes);
        return;
    }
    memcpy(&command, &pci->config[PCI_COMMAND], sizeof(command));
    if (!pci->is_cut_off || offset != PCI_COMMAND || width_bytes != 2 || (value & ~command))
        fail_msg("configuration space is written at 0x%llx", (unsigned long long)offset);
    memcpy(&pci->config[offset], &value, width_bytes);
}

static const struct vio_window_ops bar_ops = {.read = bar_read, .write = bar_write};
static const struct vio_window_ops config_ops = {.read = config_read, .write = config_write};

/* --- The encounter ---------------------------------------------------------------------------- */

/* Such a place is in a BAR that cannot be reached; the capability is one, and leads there. */
static void check_cfg_access(const struct pci_script *script, const struct pci_findings *findings,
                             const struct pci_place *place)
{
    unsigned at = findings->cfg_access;

    assert_true(script->bar_bytes[place->bar] == 0);
    assert_true(place->offset <= UINT32_MAX && place->bytes <= (UINT64_C(1) << 32) - place->offset);
    assert_true(at >= PCI_FIRST_CAPABILITY && at + VIRTIO_PCI_CFG_BYTES <= PCI_CONFIG_BYTES);
    assert_int_equal(at % 4, 0);
    assert_int_equal(script->config[at + VIRTIO_PCI_CAP_ID], PCI_CAPABILITY_VENDOR);
    assert_int_equal(script->config[at + VIRTIO_PCI_CAP_CFG_TYPE], VIRTIO_PCI_CAP_PCI_CFG);
    assert_true(script->config[at + VIRTIO_PCI_CAP_LEN] >= VIRTIO_PCI_CFG_BYTES);
}

static void check_findings(const struct pci_script *script, const struct pci_findings *findings)
{
    static const struct {
        uint64_t bytes_min;
        uint64_t alignment;
    } rules[PCI_PLACES] = {
        [PCI_PLACE_COMMON] = {VIRTIO_PCI_COMMON_BYTES, 4},
        [PCI_PLACE_NOTIFY] = {VIRTIO_PCI_NOTIFY_WIDTH, 2},
        [PCI_PLACE_ISR] = {VIRTIO_PCI_ISR_BYTES, 1},
        [PCI_PLACE_DEVICE] = {1, 4},
    };

    for (unsigned i = 0; i < PCI_PLACES; i++) {
        const struct pci_place *place = &findings->places[i];
        if (place->bytes == 0 && i == PCI_PLACE_DEVICE)
            continue;
        assert_true(place->bar < PCI_BAR_COUNT);
        assert_true(place->bytes >= rules[i].bytes_min);
        assert_int_equal(place->offset % rules[i].alignment, 0);
        if (place->by_cfg_data) {
            check_cfg_access(script, findings, place);
            continue;
        }
        assert_true(place->offset <= script->bar_bytes[place->bar]);
        assert_true(place->bytes <= script->bar_bytes[place->bar] - place->offset);
    }
}

static vio_status find(const struct pci_driver *driver, const struct pci_script *script,
                       struct pci_findings *ret_findings)
{
    struct pci_findings untouched;

    memset(&untouched, 0xEE, sizeof(untouched));
    memset(ret_findings, 0xEE, sizeof(*ret_findings));
    vio_status status = driver->find(script->config, script->bar_bytes, ret_findings);
    if (status == VIO_OK)
        check_findings(script, ret_findings);
    else
        assert_memory_equal(ret_findings, &untouched, sizeof(untouched));
    return status;
}

static vio_status bring_up(struct lying_pci *pci)
{
    struct vio_queue_plan queues[QUEUES];
    const struct vio_bring_up_plan plan = {
        .supported_features = VIO_COMMON_FEATURES,
        .required_features = VIO_FEATURE(VIRTIO_F_VERSION_1),
        .queues = queues,
        .n_queues = QUEUES,
    };
    uint64_t start_us = pci->platform.now_us;

    for (uint16_t i = 0; i < QUEUES; i++) {
        queues[i] = (struct vio_queue_plan){
            .vq = &pci->queues[i],
            .index = i,
            .size_wanted = LYING_PCI_QUEUE_SIZE,
            .rings = &pci->rings[i],
            .shadow = pci->shadows[i],
        };
    }
    vio_status status = vio_device_bring_up(&pci->vio, &plan);
    assert_true(pci->platform.now_us - start_us <= VIO_RESET_LIMIT_US + SLACK_US);
    return status;
}

static vio_status read_config(struct lying_pci *pci)
{
    struct {
        uint64_t wide;
        uint64_t narrow;
    } values;
    static const struct vio_config_field fields[] = {
        {.offset = 0, .width_bytes = 8, .feature_bit = VIO_CONFIG_ALWAYS, .destination = 0},
        {.offset = 9, .width_bytes = 1, .feature_bit = VIO_CONFIG_ALWAYS, .destination = 8},
    };

    return vio_device_read_config(&pci->vio, fields, ARRAY_LENGTH(fields), &values);
}

/* 4.1.5.2 */
static uint32_t notification_value(const struct lying_pci *pci, unsigned queue, uint16_t avail_idx)
{
    uint32_t value =
        vio_device_has(&pci->vio, VIRTIO_F_NOTIF_CONFIG_DATA) ? pci->told_notif_data[queue] : queue;

    if (vio_device_has(&pci->vio, VIRTIO_F_NOTIFICATION_DATA))
        value |= (uint32_t)avail_idx << 16;
    return value;
}

/* The same section: where the notification of a queue goes, in numbers that cannot wrap. */
static void notify(struct lying_pci *pci, unsigned queue)
{
    const struct pci_place *place = &pci->findings.places[PCI_PLACE_NOTIFY];

    pci->notification_at =
        BAR_BASE(place->bar) + place->offset +
        (uint64_t)pci->told_notify_off[queue] * pci->findings.notify_off_multiplier;
    pci->notification_value = notification_value(pci, queue, AVAIL_IDX);
    pci->notification_expected = true;
    pci->n_notifications = 0;
    pci->transport.ops->notify(pci->transport.context, (uint16_t)queue, AVAIL_IDX);
    assert_int_equal(pci->n_notifications, 1);
    pci->notification_expected = false;
}

static vio_status reset_queue(struct lying_pci *pci)
{
    const struct vio_queue_plan plan = {
        .vq = &pci->queues[0],
        .index = 0,
        .size_wanted = LYING_PCI_QUEUE_SIZE,
        .rings = &pci->rings[0],
        .shadow = pci->shadows[0],
    };
    uint64_t start_us = pci->platform.now_us;

    vio_status status = vio_device_reset_queue(&pci->vio, 0);
    assert_true(pci->platform.now_us - start_us <= VIO_RESET_LIMIT_US + SLACK_US);
    return status == VIO_OK ? vio_device_set_up_queue(&pci->vio, &plan) : status;
}

/* What a driver does with a device, until something fails. */
static void use_device(struct lying_pci *pci, struct pci_outcome *outcome)
{
    outcome->brought_up = bring_up(pci);
    if (outcome->brought_up != VIO_OK)
        return;
    for (unsigned i = 0; i < QUEUES; i++)
        notify(pci, i);
    (void)pci->transport.ops->read_interrupt_status(pci->transport.context);
    outcome->config_read = read_config(pci);
    if (outcome->config_read != VIO_OK || !vio_device_has(&pci->vio, VIRTIO_F_RING_RESET))
        return;
    outcome->queue_reset = reset_queue(pci);
    if (outcome->queue_reset == VIO_OK)
        notify(pci, 0);
}

static void stop_device(struct lying_pci *pci, struct pci_outcome *outcome)
{
    if (vio_device_reset(&pci->vio) == VIO_OK)
        return;
    pci->is_cut_off = true;
    pci->transport.ops->isolate(pci->transport.context);
    assert_false(pci->config[PCI_COMMAND] & PCI_COMMAND_BUS_MASTER);
    outcome->isolated = true;
}

static void meet_device(struct lying_pci *pci, struct pci_outcome *outcome)
{
    const struct vio_platform *platform = &pci->platform.platform;

    for (unsigned i = 0; i < QUEUES; i++) {
        assert_int_equal(platform->ops->dma_alloc(platform->context,
                                                  virtqueue_ring_bytes(LYING_PCI_QUEUE_SIZE),
                                                  &pci->rings[i]),
                         VIO_OK);
        pci->shadows[i] =
            platform->ops->alloc(platform->context, virtqueue_shadow_bytes(LYING_PCI_QUEUE_SIZE));
    }
    pci->platform.platform.interrupts.n_vectors = 1 + QUEUES;
    assert_int_equal(vio_device_open(&pci->vio, &pci->transport, platform), VIO_OK);
    use_device(pci, outcome);
    if (outcome->brought_up || outcome->config_read || outcome->queue_reset) {
        assert_non_null(pci->vio.failure.what);
        outcome->value = pci->vio.failure.value;
    }
    stop_device(pci, outcome);
    for (unsigned i = 0; i < QUEUES; i++) {
        platform->ops->dma_free(platform->context, &pci->rings[i]);
        platform->ops->free(platform->context, pci->shadows[i],
                            virtqueue_shadow_bytes(LYING_PCI_QUEUE_SIZE));
    }
    fake_platform_assert_no_leaks(&pci->platform);
}

static void lying_pci_init(struct lying_pci *pci, const struct pci_script *script,
                           const struct pci_findings *findings)
{
    *pci = (struct lying_pci){.script = script, .findings = *findings};
    memcpy(pci->config, script->config, sizeof(pci->config));
    memcpy(pci->lies.list, script->lies, sizeof(pci->lies.list));
    fake_platform_init(&pci->platform);
    common_reset(pci);
}

static vio_status open_function(struct lying_pci *pci, const struct pci_driver *driver,
                                void *memory)
{
    const struct vio_window config = {
        .ops = &config_ops, .context = pci, .bytes = PCI_CONFIG_BYTES};
    struct vio_window bars[PCI_BAR_COUNT];
    const char *text = NULL;

    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        bars[i] = (struct vio_window){.ops = &bar_ops,
                                      .context = pci,
                                      .base = BAR_BASE(i),
                                      .bytes = pci->script->bar_bytes[i]};
    vio_status status = driver->open(memory, &config, bars, &pci->transport, &text);
    pci->is_open = true;
    if (status != VIO_OK) {
        assert_non_null(text);
        assert_true(text[0] != '\0');
        assert_null(pci->transport.ops);
    }
    return status;
}

void pci_script_play(const struct pci_script *script, struct pci_outcome *ret_outcome)
{
    static struct lying_pci pci; /* too large for a stack */
    const struct pci_driver *driver = pci_driver_under_test();
    struct pci_outcome outcome = {0};

    outcome.found = find(driver, script, &outcome.findings);
    lying_pci_init(&pci, script, &outcome.findings);
    void *memory = malloc(driver->transport_bytes);
    assert_non_null(memory);
    memset(memory, 0xA5, driver->transport_bytes);
    outcome.opened = open_function(&pci, driver, memory);
    /* What cannot be found cannot be opened. Of a function that is gone, all can be "found". */
    if (outcome.found != VIO_OK)
        assert_int_not_equal(outcome.opened, VIO_OK);
    if (outcome.opened == VIO_OK)
        meet_device(&pci, &outcome);
    free(memory);
    outcome.n_untold = lies_untold(&pci.lies);
    *ret_outcome = outcome;
}

/* --- Scripts ---------------------------------------------------------------------------------- */

void pci_script_init(struct pci_script *script)
{
    *script = (struct pci_script){0};
    fake_caps_init(script->config);
    fake_caps_poke32(script->config, FAKE_CAP_COMMON + VIRTIO_PCI_CAP_LENGTH, COMMON_BYTES);
    script->bar_bytes[1] = 0x1000;
    script->bar_bytes[FAKE_PCI_BAR] = FAKE_PCI_BAR_BYTES;
}

size_t pci_script_write(const struct pci_script *script, uint8_t ret_bytes[PCI_SCRIPT_BYTES_MAX])
{
    memcpy(ret_bytes, script->bar_bytes, sizeof(script->bar_bytes));
    memcpy(ret_bytes + sizeof(script->bar_bytes), script->config, sizeof(script->config));
    return PCI_SCRIPT_HEAD_BYTES + lies_write(script->lies, ret_bytes + PCI_SCRIPT_HEAD_BYTES);
}

void pci_script_read(const uint8_t *bytes, size_t n_bytes, struct pci_script *ret_script)
{
    uint8_t head[PCI_SCRIPT_HEAD_BYTES] = {0};
    size_t n_head = n_bytes < sizeof(head) ? n_bytes : sizeof(head);

    memcpy(head, bytes, n_head);
    memcpy(ret_script->bar_bytes, head, sizeof(ret_script->bar_bytes));
    memcpy(ret_script->config, head + sizeof(ret_script->bar_bytes), sizeof(ret_script->config));
    /* No BAR is larger than what a 64-bit bus holds of them. */
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        ret_script->bar_bytes[i] &= (UINT64_C(1) << BAR_SHIFT) - 1;
    lies_read(bytes + n_head, n_bytes - n_head, ret_script->lies);
}
