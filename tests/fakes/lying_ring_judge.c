/* Contract and terms: tests/fakes/lying_ring.h. What the driver may make of the device's answers. */

#include "tests/fakes/lying_ring_private.h"

/* --- What the driver stored ------------------------------------------------------------------- */

static const struct virtq_desc *stored_desc(const struct lying_ring *ring, unsigned at)
{
    const uint8_t *stored = ring->rings_stored + ((uint8_t *)ring->desc - ring->rings.memory);

    return (const struct virtq_desc *)(const void *)stored + at;
}

static uint16_t stored16(const struct lying_ring *ring, const le16 *where)
{
    uint16_t value;

    memcpy(&value, ring->rings_stored + ((const uint8_t *)where - ring->rings.memory),
           sizeof(value));
    return value;
}

static void expect_idx(const struct lying_ring *ring)
{
    uint16_t idx = stored16(ring, &ring->avail->idx);

    if (idx != (uint16_t)ring->n_published)
        fail_msg("available idx %u instead of %u", idx, (uint16_t)ring->n_published);
}

/* 2.7.7: asked for, it stays so; else no chain that the device has makes an honest one interrupt. */
static void expect_used_event(const struct lying_ring *ring, bool wanted)
{
    uint16_t event = stored16(ring, &ring->avail->ring[ring->setup.size]);

    if (wanted && event != ring->wished_event)
        fail_msg("used_event %u instead of %u", event, ring->wished_event);
    if (!wanted && (uint16_t)(event - ring->n_announced) < ring->n_published - ring->n_announced)
        fail_msg("used_event %u is of a chain with the device, and nobody asked", event);
}

static void expect_wish(const struct lying_ring *ring)
{
    bool wanted = ring->wish == LYING_WISH_CALLBACKS;

    if (ring->wish == LYING_WISH_UNKNOWN || ring->broken)
        return;
    if (lying_ring_has(ring, VIRTIO_F_EVENT_IDX))
        expect_used_event(ring, wanted);
    else
        assert_int_equal(stored16(ring, &ring->avail->flags),
                         wanted ? 0 : VIRTQ_AVAIL_F_NO_INTERRUPT);
}

/* --- Calls ------------------------------------------------------------------------------------ */

void lying_ring_begin_call(struct lying_ring *ring)
{
    expect_idx(ring);
    expect_wish(ring);
    memset(&ring->call, 0, sizeof(ring->call));
}

/* What is read twice could be checked once and used once, as another value. */
static void expect_words_read_once(const struct lying_ring *ring)
{
    for (unsigned word = 0; word < RING_WORDS; word++) {
        if (ring->call.answers[word].n_reads > 1)
            fail_msg("a word of the device's (%u) was read %u times in one call", word,
                     ring->call.answers[word].n_reads);
    }
}

void lying_ring_end_call(struct lying_ring *ring)
{
    lying_ring_capture_store(ring);
    expect_words_read_once(ring);
    ring->outcome->n_notified += ring->call.n_notified;
}

/* A broken queue is left alone by its driver. */
static void judge_untouched(const struct lying_ring *ring)
{
    if (ring->call.n_accesses || ring->call.n_notified)
        fail_msg("a broken queue: %u accesses, %u notifications", ring->call.n_accesses,
                 ring->call.n_notified);
}

static bool was_said(const struct lying_answer *answer, uint64_t value)
{
    return answer->n_reads && answer->value == value;
}

void lying_ring_judge_accounts(struct lying_ring *ring)
{
    const struct ring_driver *driver = ring->driver;
    unsigned n_in_flight = ring->setup.size - ring->n_free_slots;
    unsigned n_free = ring->broken ? 0 : ring->setup.size - ring->n_owned;
    unsigned says_free = driver->free_descriptors(ring->self);

    if (driver->in_flight(ring->self) != n_in_flight)
        fail_msg("%u chains in flight, and the driver says %u", n_in_flight,
                 driver->in_flight(ring->self));
    if (says_free != n_free)
        fail_msg("%u descriptors are free, and the driver says %u", n_free, says_free);
}

/* --- Chains that are added -------------------------------------------------------------------- */

/* A cookie says which slot it is of, and never comes again. */
void *lying_ring_next_cookie(struct lying_ring *ring)
{
    unsigned slot = ring->n_free_slots ? ring->free_slots[ring->n_free_slots - 1] : 0;

    ring->serial++;
    return (void *)(uintptr_t)(ring->serial << 16 | slot);
}

static struct lying_chain *chain_of_cookie(const struct lying_ring *ring, const void *cookie)
{
    struct lying_chain *chain = &ring->chains[((uintptr_t)cookie & 0xFFFF) % ring->setup.size];

    if (!chain->serial || chain->serial != (uintptr_t)cookie >> 16)
        fail_msg("cookie %p is of no chain in flight", cookie);
    return chain;
}

static void expect_part(const struct virtq_desc *desc, const struct ring_buffer *buf, bool is_last)
{
    unsigned flags =
        (buf->device_writable ? VIRTQ_DESC_F_WRITE : 0) | (is_last ? 0 : VIRTQ_DESC_F_NEXT);

    if (le64_to(desc->addr) != buf->addr || le32_to(desc->len) != buf->len)
        fail_msg("a descriptor of another buffer: %#llx, %u bytes",
                 (unsigned long long)le64_to(desc->addr), le32_to(desc->len));
    if (le16_to(desc->flags) != flags)
        fail_msg("descriptor flags %#x instead of %#x", le16_to(desc->flags), flags);
}

static uint32_t slot_mark(const struct lying_ring *ring, const struct lying_chain *chain)
{
    return (uint32_t)(chain - ring->chains) + 1;
}

static void own_descriptor(struct lying_ring *ring, struct lying_chain *chain, uint16_t at)
{
    if (at >= ring->setup.size)
        fail_msg("descriptor %u in a queue of %u", at, ring->setup.size);
    if (ring->owners[at])
        fail_msg("descriptor %u is used twice", at);
    ring->owners[at] = slot_mark(ring, chain);
    ring->n_owned++;
    if (chain->n_descriptors == 1)
        chain->second = at;
    chain->n_descriptors++;
    chain->tail = at;
}

static void walk_table(struct lying_ring *ring, struct lying_chain *chain,
                       const struct virtq_desc *whole, const struct ring_buffer *bufs,
                       unsigned n_bufs)
{
    const struct virtq_desc *stored = (const struct virtq_desc *)(const void *)ring->tables_stored;
    uint64_t offset = le64_to(whole->addr) - ring->setup.tables.addr;

    if (!lying_ring_has(ring, VIRTIO_F_INDIRECT_DESC) || n_bufs < 2 ||
        le16_to(whole->flags) != VIRTQ_DESC_F_INDIRECT)
        fail_msg("an indirect descriptor of flags %#x", le16_to(whole->flags));
    if (le32_to(whole->len) != n_bufs * sizeof(*stored) || offset % sizeof(*stored) ||
        offset + le32_to(whole->len) > ring->tables.bytes)
        fail_msg("an indirect table of %u bytes at offset %#llx", le32_to(whole->len),
                 (unsigned long long)offset);
    chain->first_entry = (uint32_t)(offset / sizeof(*stored));
    chain->n_entries = n_bufs;
    for (unsigned i = 0; i < n_bufs; i++) {
        const struct virtq_desc *entry = &stored[chain->first_entry + i];
        expect_part(entry, &bufs[i], i == n_bufs - 1);
        if (i < n_bufs - 1)
            assert_int_equal(le16_to(entry->next), i + 1);
        if (ring->entry_owners[chain->first_entry + i])
            fail_msg("table entry %u is used twice", chain->first_entry + i);
        ring->entry_owners[chain->first_entry + i] = slot_mark(ring, chain);
    }
}

/* As the device would, from the available ring's slot on; the buffers are what was asked for. */
static void walk_chain(struct lying_ring *ring, struct lying_chain *chain,
                       const struct ring_buffer *bufs, unsigned n_bufs)
{
    uint16_t at = stored16(ring, &ring->avail->ring[ring->n_added % ring->setup.size]);

    chain->head = chain->second = at;
    for (unsigned i = 0; i < n_bufs; i++) {
        own_descriptor(ring, chain, at);
        const struct virtq_desc *desc = stored_desc(ring, at);
        if (i == 0 && (le16_to(desc->flags) & VIRTQ_DESC_F_INDIRECT)) {
            walk_table(ring, chain, desc, bufs, n_bufs);
            break;
        }
        expect_part(desc, &bufs[i], i == n_bufs - 1);
        if (i < n_bufs - 1)
            ring->links[at] = le16_to(desc->next);
        at = ring->links[at];
    }
}

static bool buffers_are_valid(const struct lying_ring *ring, const struct ring_buffer *bufs,
                              unsigned n_bufs, uint64_t *ret_writable)
{
    uint64_t total = 0, writable = 0;

    if (n_bufs == 0 || n_bufs > ring->setup.size)
        return false;
    for (unsigned i = 0; i < n_bufs; i++) {
        if (bufs[i].len == 0 || (!bufs[i].device_writable && writable))
            return false;
        total += bufs[i].len;
        writable += bufs[i].device_writable ? bufs[i].len : 0;
    }
    *ret_writable = writable;
    return total <= UINT32_MAX;
}

static unsigned descriptors_needed(const struct lying_ring *ring, unsigned n_bufs)
{
    bool in_table = lying_ring_has(ring, VIRTIO_F_INDIRECT_DESC) && n_bufs > 1 &&
                    n_bufs <= ring->setup.table_entries;

    return in_table ? 1 : n_bufs;
}

/* While no more descriptors are in use than may be without tables, a chain has none. */
static unsigned descriptors_taken(const struct lying_ring *ring, unsigned n_bufs)
{
    return ring->n_owned + n_bufs <= ring->setup.direct_max ? n_bufs
                                                            : descriptors_needed(ring, n_bufs);
}

static void take_in(struct lying_ring *ring, const struct ring_buffer *bufs, unsigned n_bufs,
                    const void *cookie, uint64_t writable)
{
    struct lying_chain *chain = &ring->chains[ring->free_slots[--ring->n_free_slots]];
    unsigned n_descriptors = descriptors_taken(ring, n_bufs);

    *chain = (struct lying_chain){
        .serial = (uintptr_t)cookie >> 16,
        .number = ring->n_added,
        .writable_bytes = writable,
        .older = ring->newest,
    };
    if (ring->newest)
        ring->newest->newer = chain;
    else
        ring->oldest = chain;
    ring->newest = chain;
    walk_chain(ring, chain, bufs, n_bufs);
    if (chain->n_descriptors != n_descriptors)
        fail_msg("a chain of %u buffers in %u descriptors", n_bufs, chain->n_descriptors);
    ring->n_added++;
}

void lying_ring_judge_add(struct lying_ring *ring, const struct ring_buffer *bufs, unsigned n_bufs,
                          void *cookie, vio_status status)
{
    uint64_t writable = 0;
    bool valid = buffers_are_valid(ring, bufs, n_bufs, &writable);
    bool fits = descriptors_needed(ring, n_bufs) <= ring->setup.size - ring->n_owned;

    if (ring->call.n_notified)
        fail_msg("a notification for a chain that was not published");
    if (ring->broken) {
        judge_untouched(ring);
        assert_int_equal(status, VIO_ERR_QUEUE_BROKEN);
    } else if (status == VIO_OK) {
        if (!valid || !fits)
            fail_msg("a chain was taken that %s", valid ? "does not fit" : "breaks the rules");
        take_in(ring, bufs, n_bufs, cookie, writable);
    } else if (!(status == VIO_ERR_INVALID && !valid) && !(status == VIO_ERR_QUEUE_FULL && !fits)) {
        fail_msg("a chain was refused with status %d", (int)status);
    }
}

void lying_ring_judge_publish(struct lying_ring *ring)
{
    if (ring->broken) {
        judge_untouched(ring);
        return;
    }
    ring->n_published = ring->n_added;
    expect_idx(ring);
}

/* --- Notifications ---------------------------------------------------------------------------- */

/* 2.7.10, step by step, so that no arithmetic is believed. */
static bool is_wanted(const struct lying_ring *ring, uint32_t said)
{
    if (!lying_ring_has(ring, VIRTIO_F_EVENT_IDX))
        return !(said & VIRTQ_USED_F_NO_NOTIFY);
    for (uint64_t idx = ring->n_notified; idx != ring->n_published; idx++) {
        if ((uint16_t)idx == said)
            return true;
    }
    return false;
}

void lying_ring_judge_notify(struct lying_ring *ring, bool notified)
{
    bool event_idx = lying_ring_has(ring, VIRTIO_F_EVENT_IDX);
    const struct lying_answer *wish =
        &ring->call.answers[event_idx ? RING_WORD_AVAIL_EVENT : RING_WORD_FLAGS];

    assert_int_equal(ring->call.n_notified, notified);
    if (ring->broken) {
        judge_untouched(ring);
        return;
    }
    if (ring->n_notified == ring->n_published) {
        assert_false(notified);
        return;
    }
    /* Who does not ask may notify, but not leave it out. */
    if (notified != (wish->n_reads == 0 || is_wanted(ring, wish->value)))
        fail_msg("the device was %s, against its wish", notified ? "notified" : "not notified");
    ring->n_notified = ring->n_published;
}

/* Chains that idx announced in this call; what it says is a lie if these are more than there are. */
static uint16_t n_announced_by(const struct lying_ring *ring, uint32_t idx)
{
    return (uint16_t)(idx - ring->n_used);
}

void lying_ring_judge_look(struct lying_ring *ring, bool answer, unsigned n_chains)
{
    const struct lying_answer *idx = &ring->call.answers[RING_WORD_IDX];
    bool was_announced = ring->n_announced - ring->n_used >= n_chains;

    if (!was_announced && idx->n_reads == 0)
        fail_msg("the driver says %s, and did not look", answer ? "something" : "nothing");
    if (answer != (was_announced || n_announced_by(ring, idx->value) >= n_chains))
        fail_msg("%s, says the driver, against used idx", answer ? "something" : "nothing");
}

void lying_ring_judge_enable(struct lying_ring *ring, bool answer, uint16_t n_chains)
{
    uint64_t n = ring->n_published - ring->n_used;

    if (ring->broken) {
        judge_untouched(ring);
        assert_true(answer);
        return;
    }
    n = n_chains < n ? n_chains : n;
    n = n ? n : 1;
    lying_ring_judge_look(ring, answer, (unsigned)n);
    ring->wish = LYING_WISH_CALLBACKS;
    ring->wished_event = (uint16_t)(ring->n_used + n - 1);
    expect_wish(ring);
}

void lying_ring_judge_disable(struct lying_ring *ring)
{
    ring->wish = LYING_WISH_NO_CALLBACKS;
    expect_wish(ring);
}

/* --- Chains that come back -------------------------------------------------------------------- */

static void let_go(struct lying_ring *ring, struct lying_chain *chain)
{
    uint16_t at = chain->head;

    for (unsigned i = 0; i < chain->n_descriptors; i++) {
        ring->owners[at] = 0;
        at = ring->links[at];
    }
    for (unsigned i = 0; i < chain->n_entries; i++)
        ring->entry_owners[chain->first_entry + i] = 0;
    ring->n_owned -= chain->n_descriptors;
    if (chain->older)
        chain->older->newer = chain->newer;
    else
        ring->oldest = chain->newer;
    if (chain->newer)
        chain->newer->older = chain->older;
    else
        ring->newest = chain->older;
    chain->serial = 0;
    ring->free_slots[ring->n_free_slots++] = (uint16_t)(chain - ring->chains);
}

static void note_announcements(struct lying_ring *ring)
{
    const struct lying_answer *idx = &ring->call.answers[RING_WORD_IDX];
    uint64_t n = n_announced_by(ring, idx->value);

    if (idx->n_reads && n <= ring->n_published - ring->n_used &&
        ring->n_used + n > ring->n_announced)
        ring->n_announced = ring->n_used + n;
}

/* With IN_ORDER an element stands for all chains up to the one that it names. */
static void note_batch(struct lying_ring *ring)
{
    const struct lying_answer *id = &ring->call.answers[RING_WORD_ID];
    const struct lying_chain *last = lying_ring_chain_of_head(ring, id->value);

    if (id->n_reads == 0 || !last || last->number >= ring->n_announced)
        return;
    ring->batch_end = last->number + 1;
    ring->batch_len = ring->call.answers[RING_WORD_LEN];
}

static void judge_in_order(struct lying_ring *ring, const struct lying_chain *chain, uint32_t len)
{
    note_batch(ring);
    if (chain != ring->oldest || chain->number >= ring->batch_end)
        fail_msg("chain %llu out of order", (unsigned long long)chain->number);
    if (chain->number + 1 == ring->batch_end && !was_said(&ring->batch_len, len))
        fail_msg("len %u, which the device did not say", len);
    if (chain->number + 1 < ring->batch_end && len != chain->writable_bytes)
        fail_msg("len %u of a chain that was left out", len);
}

static void judge_popped(struct lying_ring *ring, void *cookie, uint32_t len)
{
    struct lying_chain *chain = chain_of_cookie(ring, cookie);

    if (!lying_ring_is_published(ring, chain))
        fail_msg("a chain that the device did not have came back");
    if (ring->n_used >= ring->n_announced)
        fail_msg("a chain came back that idx did not announce");
    if (len > chain->writable_bytes)
        fail_msg("len %u of %llu writable bytes", len, (unsigned long long)chain->writable_bytes);
    if (lying_ring_has(ring, VIRTIO_F_IN_ORDER))
        judge_in_order(ring, chain, len);
    else if (!was_said(&ring->call.answers[RING_WORD_ID], chain->head) ||
             !was_said(&ring->call.answers[RING_WORD_LEN], len))
        fail_msg("head %u with len %u, which the device did not say", chain->head, len);
    ring->popped_head = chain->head;
    let_go(ring, chain);
    ring->n_used++;
    ring->outcome->n_popped++;
}

/* Whether a word that was said in this call is the lie that it is called. */
static bool is_a_lie(const struct lying_ring *ring, enum ring_fault fault, uint64_t value)
{
    const struct lying_answer *answers = ring->call.answers;
    const struct lying_chain *chain = lying_ring_chain_of_head(ring, (uint32_t)value);

    switch (fault) {
    case RING_FAULT_USED_IDX:
        return was_said(&answers[RING_WORD_IDX], value) &&
               n_announced_by(ring, (uint32_t)value) > ring->n_published - ring->n_used;
    case RING_FAULT_ID_RANGE:
        return was_said(&answers[RING_WORD_ID], value) && value >= ring->setup.size;
    case RING_FAULT_ID_NOT_HEAD:
        return was_said(&answers[RING_WORD_ID], value) && value < ring->setup.size &&
               (!chain || !lying_ring_is_published(ring, chain));
    case RING_FAULT_ORDER:
        return was_said(&answers[RING_WORD_ID], value) && chain &&
               lying_ring_has(ring, VIRTIO_F_IN_ORDER) && chain->number >= ring->n_announced;
    case RING_FAULT_LEN:
        chain = lying_ring_chain_of_head(ring, answers[RING_WORD_ID].value);
        return answers[RING_WORD_ID].n_reads && chain && value > chain->writable_bytes &&
               was_said(&answers[RING_WORD_LEN], value);
    default:
        return false;
    }
}

static void judge_break(struct lying_ring *ring)
{
    const char *text = NULL;
    uint64_t value = 0;
    enum ring_fault fault = ring->driver->fault(ring->self, &text, &value);

    if (!text || !text[0])
        fail_msg("a queue that is broken, and no word about why");
    if (ring->broken) {
        judge_untouched(ring);
        if (fault != ring->outcome->fault || value != ring->outcome->fault_value)
            fail_msg("a fault that became another one: %s", text);
        return;
    }
    if (!is_a_lie(ring, fault, value))
        fail_msg("broken without a lie: %s: %#llx", text, (unsigned long long)value);
    ring->broken = true;
    ring->outcome->fault = fault;
    ring->outcome->fault_value = value;
}

void lying_ring_judge_pop(struct lying_ring *ring, vio_status status, void *cookie, uint32_t len)
{
    if (ring->broken)
        assert_int_equal(status, VIO_ERR_QUEUE_BROKEN);
    note_announcements(ring);
    if (status == VIO_OK)
        judge_popped(ring, cookie, len);
    else if (status == VIO_ERR_QUEUE_BROKEN)
        judge_break(ring);
    else if (status != VIO_EMPTY ||
             !was_said(&ring->call.answers[RING_WORD_IDX], (uint16_t)ring->n_used))
        fail_msg("pop gave status %d", (int)status);
}

void lying_ring_judge_drained(struct lying_ring *ring, void *cookie)
{
    struct lying_chain *chain = chain_of_cookie(ring, cookie);

    ring->former_head = chain->head;
    let_go(ring, chain);
}
