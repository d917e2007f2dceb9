/* Contract and terms: tests/fakes/lying_ring.h. The device's memory, and how it answers. */

#include <sanitizer/asan_interface.h>

#include "tests/fakes/lying_ring_private.h"

#define GUARD_BYTES 64u
#define GUARD_BYTE  0xC5u
#define ALIGNMENT   64u

#define RINGS_ADDR  UINT64_C(0x100000000)
#define TABLES_ADDR UINT64_C(0x700000000)

/* Enough for every row; a fuzzer's input must not spend its time here. */
#define SCRIBBLE_BUDGET (UINT64_C(1) << 19)

/* --- Memory ----------------------------------------------------------------------------------- */

static void make_piece(struct lying_piece *piece, size_t bytes)
{
    void *block = NULL;
    size_t whole = bytes + 2 * GUARD_BYTES;

    assert_int_equal(posix_memalign(&block, ALIGNMENT, whole), 0);
    *piece = (struct lying_piece){
        .block = block, .memory = (uint8_t *)block + GUARD_BYTES, .bytes = bytes};
    memset(block, GUARD_BYTE, whole);
    memset(piece->memory, 0xA5, bytes);
    ASAN_POISON_MEMORY_REGION(piece->block, GUARD_BYTES);
    ASAN_POISON_MEMORY_REGION(piece->memory + bytes, GUARD_BYTES);
}

static void free_piece(struct lying_piece *piece)
{
    const uint8_t *behind = piece->memory + piece->bytes;
    bool intact = true;

    ASAN_UNPOISON_MEMORY_REGION(piece->block, piece->bytes + 2 * GUARD_BYTES);
    for (unsigned i = 0; i < GUARD_BYTES; i++)
        intact = intact && piece->block[i] == GUARD_BYTE && behind[i] == GUARD_BYTE;
    free(piece->block);
    if (!intact)
        fail_msg("memory around a piece of the queue's was written");
}

static void *zeroed(size_t n, size_t bytes)
{
    void *memory = calloc(n ? n : 1, bytes);

    assert_non_null(memory);
    return memory;
}

static struct vio_dma dma_of(const struct lying_piece *piece, dma_addr addr)
{
    return (struct vio_dma){.memory = piece->memory, .addr = addr, .bytes = piece->bytes};
}

void lying_ring_make_memory(struct lying_ring *ring)
{
    const struct ring_driver *driver = ring->driver;
    struct ring_setup *setup = &ring->setup;
    uint16_t size = setup->size;

    make_piece(&ring->rings, driver->ring_bytes(size));
    make_piece(&ring->tables, driver->table_bytes(size, setup->table_entries));
    make_piece(&ring->private_memory, driver->private_bytes(size));
    setup->rings = dma_of(&ring->rings, RINGS_ADDR);
    setup->tables = dma_of(&ring->tables, TABLES_ADDR);
    setup->private_memory = ring->private_memory.memory;
    ring->rings_stored = zeroed(ring->rings.bytes, 1);
    ring->tables_stored = zeroed(ring->tables.bytes, 1);
    ring->chains = zeroed(size, sizeof(*ring->chains));
    ring->free_slots = zeroed(size, sizeof(*ring->free_slots));
    ring->owners = zeroed(size, sizeof(*ring->owners));
    ring->links = zeroed(size, sizeof(*ring->links));
    ring->entry_owners =
        zeroed(ring->tables.bytes / sizeof(struct virtq_desc), sizeof(*ring->entry_owners));
    ring->scribble_budget = SCRIBBLE_BUDGET;
    ring->noise = 1;
}

void lying_ring_free_memory(struct lying_ring *ring)
{
    free(ring->rings_stored);
    free(ring->tables_stored);
    free(ring->chains);
    free(ring->free_slots);
    free(ring->owners);
    free(ring->links);
    free(ring->entry_owners);
    free_piece(&ring->rings);
    free_piece(&ring->tables);
    free_piece(&ring->private_memory);
}

/* Where an area is; the device can only use it if it lies in the memory that was given. */
static void *area_at(const struct lying_ring *ring, dma_addr addr, size_t bytes, size_t alignment)
{
    uint64_t offset = addr - RINGS_ADDR;

    if (offset > ring->rings.bytes || bytes > ring->rings.bytes - offset || offset % alignment)
        fail_msg("an area of %zu bytes at offset %#llx", bytes, (unsigned long long)offset);
    return ring->rings.memory + offset;
}

void lying_ring_attach(struct lying_ring *ring)
{
    struct virtqueue_addresses at;
    size_t size = ring->setup.size;

    ring->driver->addresses(ring->self, &at);
    ring->desc = area_at(ring, at.descriptor_area, sizeof(*ring->desc) * size, VIRTQ_DESC_ALIGN);
    ring->avail = area_at(ring, at.driver_area, sizeof(*ring->avail) + sizeof(le16) * (size + 1),
                          VIRTQ_AVAIL_ALIGN);
    ring->used = area_at(ring, at.device_area,
                         sizeof(*ring->used) + sizeof(struct virtq_used_elem) * size + sizeof(le16),
                         VIRTQ_USED_ALIGN);
    memcpy(ring->rings_stored, ring->rings.memory, ring->rings.bytes);
    memcpy(ring->tables_stored, ring->tables.memory, ring->tables.bytes);
    ring->last_store = NULL;
    memset(ring->chains, 0, sizeof(*ring->chains) * size);
    memset(ring->owners, 0, sizeof(*ring->owners) * size);
    memset(ring->entry_owners, 0,
           sizeof(*ring->entry_owners) * (ring->tables.bytes / sizeof(struct virtq_desc)));
    for (unsigned i = 0; i < size; i++)
        ring->free_slots[i] = (uint16_t)(size - 1 - i);
    ring->n_free_slots = (unsigned)size;
    ring->oldest = ring->newest = NULL;
    ring->n_added = ring->n_published = ring->n_notified = ring->n_used = 0;
    ring->n_announced = ring->batch_end = 0;
    ring->n_owned = 0;
    ring->wish = LYING_WISH_UNKNOWN;
    ring->broken = false;
}

/* --- Scribbling ------------------------------------------------------------------------------- */

static void fill(struct lying_ring *ring, void *where, size_t bytes, uint8_t byte)
{
    uint8_t *at = where;
    bool is_noise = byte != 0 && byte != 0xFF;

    if (bytes > ring->scribble_budget)
        bytes = ring->scribble_budget;
    ring->scribble_budget -= bytes;
    if (!is_noise) {
        memset(where, byte, bytes);
        return;
    }
    for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
        uint32_t noise = test_random(&ring->noise);
        memcpy(at + i, &noise, bytes - i < sizeof(noise) ? bytes - i : sizeof(noise));
    }
}

void lying_ring_scribble(struct lying_ring *ring, uint8_t area, uint8_t byte)
{
    size_t size = ring->setup.size;

    if (area == RING_AREA_DESCRIPTORS || area == RING_AREA_ALL)
        fill(ring, ring->desc, sizeof(*ring->desc) * size, byte);
    if (area == RING_AREA_AVAIL || area == RING_AREA_ALL)
        fill(ring, ring->avail, sizeof(*ring->avail) + sizeof(le16) * (size + 1), byte);
    if (area == RING_AREA_USED || area == RING_AREA_ALL)
        fill(ring, ring->used,
             sizeof(*ring->used) + sizeof(struct virtq_used_elem) * size + sizeof(le16), byte);
    if (area == RING_AREA_TABLES || area == RING_AREA_ALL)
        fill(ring, ring->tables.memory, ring->tables.bytes, byte);
}

static void scribble_if_due(struct lying_ring *ring)
{
    if (ring->manners & RING_MANNER_SCRIBBLES)
        lying_ring_scribble(ring, RING_AREA_ALL, RING_MANNER_SCRIBBLES);
    if (ring->scribble_waits && --ring->scribble_countdown == 0) {
        ring->scribble_waits = false;
        lying_ring_scribble(ring, ring->scribble_area, ring->scribble_byte);
    }
}

/* --- What the driver stores ------------------------------------------------------------------- */

static bool lies_in(const struct lying_piece *piece, const void *where, size_t bytes)
{
    uintptr_t offset = (uintptr_t)where - (uintptr_t)piece->memory;

    return offset < piece->bytes && bytes <= piece->bytes - offset;
}

/* The hook runs before an access, so what a store left is there when the next access comes. */
void lying_ring_capture_store(struct lying_ring *ring)
{
    const uint8_t *where = ring->last_store;

    if (!where)
        return;
    if (lies_in(&ring->rings, where, ring->last_store_bytes))
        memcpy(ring->rings_stored + (where - ring->rings.memory), where, ring->last_store_bytes);
    else
        memcpy(ring->tables_stored + (where - ring->tables.memory), where, ring->last_store_bytes);
    ring->last_store = NULL;
}

/* Among elements of @p size bytes from @p base on: the one that a store goes to. */
static bool find_element(const void *base, size_t n, size_t size, const void *where, size_t *ret_i)
{
    uintptr_t offset = (uintptr_t)where - (uintptr_t)base;

    *ret_i = offset / size;
    return *ret_i < n;
}

/* What a chain in flight consists of is the device's: nothing of it may change. */
static void expect_not_in_flight(const struct lying_ring *ring, const void *where)
{
    size_t size = ring->setup.size;
    size_t n_entries = ring->tables.bytes / sizeof(struct virtq_desc);
    size_t i;

    if (find_element(ring->desc, size, sizeof(*ring->desc), where, &i) && ring->owners[i])
        fail_msg("descriptor %zu is written while its chain is in flight", i);
    if (find_element(ring->tables.memory, n_entries, sizeof(struct virtq_desc), where, &i) &&
        ring->entry_owners[i])
        fail_msg("table entry %zu is written while its chain is in flight", i);
    if (find_element(ring->avail->ring, size, sizeof(le16), where, &i) &&
        (i + size - ring->n_used % size) % size < ring->n_added - ring->n_used)
        fail_msg("slot %zu of the available ring is written while it may be needed", i);
}

static void expect_store(struct lying_ring *ring, const void *where, unsigned bytes)
{
    const uint8_t *used = (const uint8_t *)ring->used;
    bool in_used =
        (const uint8_t *)where + bytes > used &&
        (const uint8_t *)where < (const uint8_t *)&ring->used->ring[ring->setup.size + 1];

    if (in_used)
        fail_msg("the driver writes the device's area");
    if (!lies_in(&ring->rings, where, bytes) && !lies_in(&ring->tables, where, bytes))
        fail_msg("the driver shares memory that is not the queue's");
    expect_not_in_flight(ring, where);
    ring->last_store = where;
    ring->last_store_bytes = bytes;
}

/* --- Values ----------------------------------------------------------------------------------- */

uint8_t lying_ring_next_byte(struct lying_ring *ring, bool from_back)
{
    if (ring->front >= ring->back)
        return 0;
    return from_back ? ring->program[--ring->back] : ring->program[ring->front++];
}

static uint32_t next_number(struct lying_ring *ring, bool from_back, unsigned n_bytes)
{
    uint32_t number = 0;

    for (unsigned i = 0; i < n_bytes; i++)
        number |= (uint32_t)lying_ring_next_byte(ring, from_back) << (8 * i);
    return number;
}

struct lying_value lying_ring_next_value(struct lying_ring *ring, bool from_back)
{
    uint8_t first = lying_ring_next_byte(ring, from_back);
    struct lying_value value = {
        .kind = (uint8_t)((first & ~RING_HIGH) % RING_VALUES),
        .high = (first & RING_HIGH) != 0,
    };

    switch (value.kind) {
    case RING_RAW:
        value.argument = next_number(ring, from_back, 4);
        break;
    case RING_USED:
        value.argument = (int16_t)next_number(ring, from_back, 2);
        break;
    case RING_PLUS:
        value.argument = (int8_t)next_number(ring, from_back, 1);
        break;
    case RING_HEAD:
    case RING_SECOND:
    case RING_TAIL:
        value.argument = lying_ring_next_byte(ring, from_back);
        break;
    default:
        break;
    }
    return value;
}

struct lying_chain *lying_ring_chain_of_head(const struct lying_ring *ring, uint32_t head)
{
    if (head >= ring->setup.size || !ring->owners[head])
        return NULL;
    struct lying_chain *chain = &ring->chains[ring->owners[head] - 1];
    return chain->head == head ? chain : NULL;
}

/* The n-th chain with the device; the last one if there are fewer, NULL if there is none. */
static const struct lying_chain *nth_published(const struct lying_ring *ring, int64_t n)
{
    const struct lying_chain *chain = ring->oldest;

    if (!chain || !lying_ring_is_published(ring, chain))
        return NULL;
    while (n-- > 0 && chain->newer && lying_ring_is_published(ring, chain->newer))
        chain = chain->newer;
    return chain;
}

static uint32_t honest_len(const struct lying_ring *ring)
{
    const struct lying_answer *id = &ring->call.answers[RING_WORD_ID];
    const struct lying_chain *chain = NULL;

    if (id->n_reads)
        chain = lying_ring_chain_of_head(ring, id->value);
    if (!chain)
        chain = nth_published(ring, 0);
    return chain ? (uint32_t)chain->writable_bytes : 0;
}

static uint32_t honest(const struct lying_ring *ring, enum ring_word word)
{
    const struct lying_chain *oldest = nth_published(ring, 0);

    switch (word) {
    case RING_WORD_IDX:
        return (uint16_t)ring->n_published;
    case RING_WORD_ID:
        return oldest ? oldest->head : 0;
    case RING_WORD_LEN:
        return honest_len(ring);
    case RING_WORD_AVAIL_EVENT:
        return (uint16_t)ring->n_notified;
    default:
        return 0;
    }
}

static uint32_t a_free_descriptor(const struct lying_ring *ring)
{
    for (uint32_t i = 0; i < ring->setup.size; i++) {
        if (!ring->owners[i])
            return i;
    }
    return ring->setup.size;
}

static uint32_t an_unpublished_head(const struct lying_ring *ring)
{
    const struct lying_chain *newest = ring->newest;

    return newest && !lying_ring_is_published(ring, newest) ? newest->head : ring->setup.size;
}

static uint32_t evaluate(const struct lying_ring *ring, enum ring_word word,
                         const struct lying_value *value)
{
    static const struct lying_chain none = {
        .head = UINT16_MAX, .second = UINT16_MAX, .tail = UINT16_MAX};
    const struct lying_chain *chain = nth_published(ring, value->argument);

    chain = chain ? chain : &none;
    switch (value->kind) {
    case RING_RAW:
        return (uint32_t)value->argument;
    case RING_USED:
        return (uint16_t)(ring->n_used + (uint64_t)value->argument);
    case RING_PLUS:
        return honest(ring, word) + (uint32_t)value->argument;
    case RING_HEAD:
        return chain->head;
    case RING_SECOND:
        return chain->second;
    case RING_TAIL:
        return chain->tail;
    case RING_UNPUBLISHED:
        return an_unpublished_head(ring);
    case RING_POPPED:
        return ring->popped_head;
    case RING_FREE:
        return a_free_descriptor(ring);
    case RING_FORMER_LIFE:
        return ring->former_head;
    default:
        return honest(ring, word);
    }
}

/* --- Answers ---------------------------------------------------------------------------------- */

static bool find_word(const struct lying_ring *ring, const void *where, enum ring_word *ret_word)
{
    const struct virtq_used *used = ring->used;
    const struct virtq_used_elem *in_turn = &used->ring[ring->n_used % ring->setup.size];
    const void *const places[RING_WORDS] = {
        [RING_WORD_FLAGS] = &used->flags,
        [RING_WORD_IDX] = &used->idx,
        [RING_WORD_ID] = &in_turn->id,
        [RING_WORD_LEN] = &in_turn->len,
        [RING_WORD_AVAIL_EVENT] = &used->ring[ring->setup.size],
    };

    for (unsigned word = 0; word < RING_WORDS; word++) {
        if (places[word] == where) {
            *ret_word = (enum ring_word)word;
            return true;
        }
    }
    return false;
}

static bool take_saying(struct lying_ring *ring, enum ring_word word, struct lying_value *ret_value)
{
    for (unsigned i = 0; i < ring->n_sayings; i++) {
        if (ring->sayings[i].word != word)
            continue;
        *ret_value = ring->sayings[i].value;
        ring->n_sayings--;
        memmove(&ring->sayings[i], &ring->sayings[i + 1],
                sizeof(ring->sayings[0]) * (ring->n_sayings - i));
        return true;
    }
    return false;
}

static struct lying_value choose_answer(struct lying_ring *ring, enum ring_word word)
{
    struct lying_value value = {.kind = RING_HONEST};

    if (ring->has_again[word] && ring->call.answers[word].n_reads)
        return ring->again[word];
    if (!take_saying(ring, word, &value) && (ring->manners & RING_MANNER_TALKATIVE))
        value = lying_ring_next_value(ring, true);
    return value;
}

static void answer_word(struct lying_ring *ring, enum ring_word word, void *where, unsigned bytes)
{
    struct lying_answer *answer = &ring->call.answers[word];
    struct lying_value value = choose_answer(ring, word);
    uint32_t said = 0;

    if (value.kind != RING_STALE) {
        said = evaluate(ring, word, &value) ^ (value.high ? 0x10000 : 0);
        memcpy(where, &said, bytes);
    }
    said = 0;
    memcpy(&said, where, bytes);
    if (answer->n_reads++ == 0)
        answer->value = said;
}

/* A load from anywhere else: what is there is the device's to choose, too. */
static void answer(struct lying_ring *ring, const void *load, unsigned bytes)
{
    void *where = (void *)(uintptr_t)load;
    enum ring_word word;

    if (find_word(ring, where, &word)) {
        answer_word(ring, word, where, bytes);
        return;
    }
    if (!lies_in(&ring->rings, where, bytes) && !lies_in(&ring->tables, where, bytes))
        fail_msg("the driver reads memory that is not the queue's");
    if (ring->manners & RING_MANNER_TALKATIVE) {
        uint32_t said = next_number(ring, true, bytes);
        memcpy(where, &said, bytes);
    }
}

void lying_ring_before_access(void *context, enum vio_mem_access access, const void *where)
{
    static const struct {
        bool is_load;
        uint8_t bytes;
    } accesses[] = {
        [VIO_MEM_LOAD8] = {true, 1},       [VIO_MEM_LOAD16] = {true, 2},
        [VIO_MEM_LOAD32] = {true, 4},      [VIO_MEM_STORE8] = {false, 1},
        [VIO_MEM_STORE16] = {false, 2},    [VIO_MEM_STORE32] = {false, 4},
        [VIO_MEM_STORE64] = {false, 8},    [VIO_MEM_WMB] = {false, 0},
        [VIO_MEM_RMB] = {false, 0},        [VIO_MEM_MB] = {false, 0},
        [VIO_MEM_DEVICE_WMB] = {false, 0}, [VIO_MEM_DEVICE_RMB] = {false, 0},
        [VIO_MEM_DEVICE_MB] = {false, 0},
    };
    struct lying_ring *ring = context;
    unsigned bytes = accesses[access].bytes;

    lying_ring_capture_store(ring);
    if (++ring->call.n_accesses > 64 + 8u * ring->setup.size)
        fail_msg("a call without end: %u accesses", ring->call.n_accesses);
    scribble_if_due(ring);
    if (accesses[access].is_load)
        answer(ring, where, bytes);
    else if (bytes)
        expect_store(ring, where, bytes);
}
