/* Contract and terms: tests/fakes/fake_msix.h. */

#include "tests/fakes/fake_msix.h"

#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

/* Bits that nobody knows, which stay as they are. */
#define RESERVED_BITS 0xA5A5A5A4u

static uint16_t config16(const struct fake_msix *fake, unsigned at)
{
    return (uint16_t)(fake->config[at] | fake->config[at + 1] << 8);
}

static void set_config16(struct fake_msix *fake, unsigned at, uint16_t value)
{
    fake->config[at] = (uint8_t)value;
    fake->config[at + 1] = (uint8_t)(value >> 8);
}

uint16_t fake_msix_control(const struct fake_msix *fake)
{
    return config16(fake, FAKE_MSIX_AT + PCI_MSIX_CONTROL);
}

void fake_msix_set_control(struct fake_msix *fake, uint16_t control)
{
    set_config16(fake, FAKE_MSIX_AT + PCI_MSIX_CONTROL, control);
}

void fake_msix_set_table(struct fake_msix *fake, uint32_t value)
{
    memcpy(&fake->config[FAKE_MSIX_AT + PCI_MSIX_TABLE], &value, sizeof(value));
}

bool fake_msix_is_masked(const struct fake_msix *fake, unsigned entry)
{
    return fake->table[entry * 4 + 3] & PCI_MSIX_ENTRY_IS_MASKED;
}

static void send_pending(struct fake_msix *fake)
{
    uint16_t control = fake_msix_control(fake);

    if (!(control & PCI_MSIX_ENABLE) || control & PCI_MSIX_FUNCTION_MASK)
        return;
    for (unsigned i = 0; i < fake->n_entries; i++) {
        if (!fake->is_pending[i] || fake_msix_is_masked(fake, i))
            continue;
        const uint32_t *entry = &fake->table[i * 4];
        fake->is_pending[i] = false;
        fake->n_messages++;
        if (fake->on_message)
            fake->on_message((uint64_t)entry[1] << 32 | entry[0], entry[2]);
    }
}

void fake_msix_raise(struct fake_msix *fake, unsigned entry)
{
    assert_true(entry < fake->n_entries);
    if (fake_msix_control(fake) & PCI_MSIX_ENABLE)
        fake->is_pending[entry] = true;
    send_pending(fake);
}

static uint32_t *table_word(struct fake_msix *fake, uint64_t offset, unsigned width_bytes)
{
    uint64_t at = offset - FAKE_MSIX_BAR_BASE - FAKE_MSIX_TABLE_OFFSET;

    assert_int_equal(width_bytes, 4);
    assert_int_equal(at % 4, 0);
    assert_true(fake_msix_control(fake) & PCI_MSIX_ENABLE);
    if (offset < FAKE_MSIX_BAR_BASE + FAKE_MSIX_TABLE_OFFSET ||
        at / PCI_MSIX_ENTRY_BYTES >= fake->n_entries)
        fail_msg("an access to 0x%llx, which is outside of the table", (unsigned long long)offset);
    return &fake->table[at / 4];
}

static uint32_t bar_read(void *context, uint64_t offset, unsigned width_bytes)
{
    uint32_t value = *table_word(context, offset, width_bytes);

    fake_log_add((struct fake_event){
        .kind = FAKE_REG_READ, .width_bytes = width_bytes, .at = offset, .value = value});
    return value;
}

static void bar_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct fake_msix *fake = context;
    uint32_t *word = table_word(fake, offset, width_bytes);
    size_t index = (size_t)(word - fake->table);
    bool is_control = index % 4 == 3;

    fake_log_add((struct fake_event){
        .kind = FAKE_REG_WRITE, .width_bytes = width_bytes, .at = offset, .value = value});
    if (is_control)
        assert_int_equal(value & ~PCI_MSIX_ENTRY_IS_MASKED, RESERVED_BITS);
    else if (!fake_msix_is_masked(fake, (unsigned)(index / 4)))
        fail_msg("the message of an entry is written that is not masked");
    *word = value;
    send_pending(fake);
}

static uint32_t config_read(void *context, uint64_t offset, unsigned width_bytes)
{
    const struct fake_msix *fake = context;
    uint32_t value = 0;

    assert_true(offset + width_bytes <= PCI_CONFIG_BYTES);
    memcpy(&value, &fake->config[offset], width_bytes);
    return value;
}

static void config_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct fake_msix *fake = context;

    assert_int_equal(width_bytes, 2);
    if (offset != FAKE_MSIX_AT + PCI_MSIX_CONTROL && offset != PCI_COMMAND)
        fail_msg("configuration space was written at 0x%llx", (unsigned long long)offset);
    set_config16(fake, (unsigned)offset, (uint16_t)value);
    fake_log_add((struct fake_event){
        .kind = FAKE_PCI_CONFIG_WRITE, .width_bytes = width_bytes, .at = offset, .value = value});
    send_pending(fake);
}

static const struct vio_window_ops bar_ops = {.read = bar_read, .write = bar_write};
static const struct vio_window_ops config_ops = {.read = config_read, .write = config_write};

void fake_msix_init(struct fake_msix *fake, unsigned n_entries)
{
    assert_in_range(n_entries, 1, FAKE_MSIX_ENTRIES_MAX);
    *fake = (struct fake_msix){
        .function.config = {.ops = &config_ops, .context = fake, .bytes = PCI_CONFIG_BYTES},
        .n_entries = n_entries,
    };
    fake->function.bars[FAKE_MSIX_BAR] = (struct vio_window){
        .ops = &bar_ops,
        .context = fake,
        .base = FAKE_MSIX_BAR_BASE,
        .bytes = FAKE_MSIX_TABLE_OFFSET + n_entries * PCI_MSIX_ENTRY_BYTES,
    };
    for (unsigned i = 0; i < n_entries * 4; i++)
        fake->table[i] = i % 4 == 3 ? RESERVED_BITS | PCI_MSIX_ENTRY_IS_MASKED : 0xDEADBEEF;
    set_config16(fake, PCI_COMMAND, 0x0006);
    set_config16(fake, PCI_STATUS, PCI_STATUS_CAPABILITY_LIST);
    fake->config[PCI_CAPABILITIES_POINTER] = FAKE_MSIX_BEFORE;
    set_config16(fake, FAKE_MSIX_BEFORE, FAKE_MSIX_AT << 8 | PCI_CAPABILITY_VENDOR);
    set_config16(fake, FAKE_MSIX_AT, PCI_CAPABILITY_MSIX);
    fake_msix_set_control(fake, (uint16_t)(n_entries - 1));
    fake_msix_set_table(fake, FAKE_MSIX_TABLE_OFFSET | FAKE_MSIX_BAR);
}
