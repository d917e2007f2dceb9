/* Contract and terms: tests/fakes/lying_ring.h. The program, instruction by instruction. */

#include "tests/fakes/fake_memory.h"
#include "tests/fakes/lying_ring_private.h"

#define BUFFERS_MAX     30u /* of RING_ADD: 15 of each kind */
#define BUFFERS_ADDR    UINT64_C(0x2000000000)
#define LONG_LEN        UINT32_MAX
#define NO_LEN          0xA5A5A5A5u
#define LAST_LIFE_ADDS  40u
#define ADDS_BEYOND_RUN 4096u

/* --- The driver's calls, each judged ---------------------------------------------------------- */

static struct ring_buffer buffer(const struct lying_ring *ring, unsigned i, uint32_t len,
                                 bool device_writable)
{
    return (struct ring_buffer){
        .addr = BUFFERS_ADDR + (ring->serial << 20) + (dma_addr)i * 0x1000,
        .len = len,
        .device_writable = device_writable,
    };
}

static vio_status add(struct lying_ring *ring, const struct ring_buffer *bufs, unsigned n_bufs)
{
    if (ring->adds_left == 0)
        return VIO_ERR_QUEUE_FULL;
    ring->adds_left--;
    void *cookie = lying_ring_next_cookie(ring);
    lying_ring_begin_call(ring);
    vio_status status = ring->driver->add(ring->self, bufs, n_bufs, cookie);
    lying_ring_end_call(ring);
    lying_ring_judge_add(ring, bufs, n_bufs, cookie, status);
    return status;
}

static vio_status add_chain(struct lying_ring *ring, unsigned n_readable, unsigned n_writable,
                            uint32_t len)
{
    struct ring_buffer bufs[BUFFERS_MAX];
    unsigned n = n_readable + n_writable;

    for (unsigned i = 0; i < n; i++)
        bufs[i] = buffer(ring, i, len, i >= n_readable);
    return add(ring, bufs, n);
}

static void publish(struct lying_ring *ring)
{
    lying_ring_begin_call(ring);
    ring->driver->publish(ring->self);
    lying_ring_end_call(ring);
    assert_int_equal(ring->call.n_notified, 0);
    lying_ring_judge_publish(ring);
}

static void notify(struct lying_ring *ring)
{
    lying_ring_begin_call(ring);
    bool notified = ring->driver->notify(ring->self);
    lying_ring_end_call(ring);
    lying_ring_judge_notify(ring, notified);
}

static vio_status pop(struct lying_ring *ring)
{
    void *cookie = ring;
    uint32_t len = NO_LEN;

    lying_ring_begin_call(ring);
    vio_status status = ring->driver->pop(ring->self, &cookie, &len);
    lying_ring_end_call(ring);
    assert_int_equal(ring->call.n_notified, 0);
    if (status != VIO_OK && (cookie != ring || len != NO_LEN))
        fail_msg("a pop that failed gave a chain all the same");
    lying_ring_judge_pop(ring, status, cookie, len);
    return status;
}

static void look(struct lying_ring *ring, bool (*call)(void *driver))
{
    lying_ring_begin_call(ring);
    bool answer = call(ring->self);
    lying_ring_end_call(ring);
    if (ring->broken) {
        assert_false(answer);
        assert_int_equal(ring->call.n_accesses, 0);
        return;
    }
    lying_ring_judge_look(ring, answer, 1);
}

static void enable(struct lying_ring *ring, uint16_t n_chains)
{
    lying_ring_begin_call(ring);
    bool answer = ring->driver->enable_callbacks(ring->self, n_chains);
    lying_ring_end_call(ring);
    lying_ring_judge_enable(ring, answer, n_chains);
}

static void disable(struct lying_ring *ring)
{
    lying_ring_begin_call(ring);
    ring->driver->disable_callbacks(ring->self);
    lying_ring_end_call(ring);
    lying_ring_judge_disable(ring);
}

/* --- The life of a queue ---------------------------------------------------------------------- */

static void notified(void *context)
{
    struct lying_ring *ring = context;

    ring->call.n_notified++;
}

static void begin_life(struct lying_ring *ring)
{
    fake_memory_before_access(NULL, NULL);
    assert_int_equal(ring->driver->init(ring->self, &ring->setup), VIO_OK);
    lying_ring_attach(ring);
    ring->outcome->fault = RING_FAULT_NONE;
    ring->outcome->fault_value = 0;
    fake_memory_before_access(lying_ring_before_access, ring);
}

/* A lie is not forgotten, whatever is tried. */
static void try_everything(struct lying_ring *ring)
{
    (void)add_chain(ring, 1, 1, 512); /* each is judged */
    publish(ring);
    notify(ring);
    (void)pop(ring);
    look(ring, ring->driver->has_used);
    look(ring, ring->driver->interrupt);
    enable(ring, 1);
}

/* The device is reset, so it neither says nor does anything any more. */
static void end_life(struct lying_ring *ring)
{
    void *cookie = NULL;
    unsigned n_left = ring->setup.size - ring->n_free_slots;

    ring->adds_left++;
    if (ring->broken)
        try_everything(ring);
    ring->outcome->n_unsaid += ring->scribble_waits;
    ring->scribble_waits = false;
    lying_ring_begin_call(ring);
    for (; n_left; n_left--) {
        if (!ring->driver->drain(ring->self, &cookie))
            fail_msg("%u chains were not drained", n_left);
        lying_ring_judge_drained(ring, cookie);
        lying_ring_judge_accounts(ring);
    }
    if (ring->driver->drain(ring->self, &cookie))
        fail_msg("one more chain was drained than there were");
    assert_int_equal(ring->call.n_accesses, 0);
}

static void rounds(struct lying_ring *ring, unsigned n_rounds)
{
    for (; n_rounds; n_rounds--) {
        (void)add_chain(ring, 0, 1, 512); /* judged; whether there was room is no matter */
        publish(ring);
        notify(ring);
        (void)pop(ring); /* judged */
    }
}

static void fill_up(struct lying_ring *ring)
{
    while (add_chain(ring, 0, 1, 512) == VIO_OK)
        ;
}

static void pop_all(struct lying_ring *ring)
{
    while (pop(ring) == VIO_OK)
        ;
}

/* Whatever happened before: a queue that is begun anew serves an honest device. */
static void serve_again(struct lying_ring *ring)
{
    struct lying_ring_outcome unused = {0};

    ring->outcome = &unused;
    ring->manners = 0;
    ring->n_sayings = 0;
    memset(ring->has_again, 0, sizeof(ring->has_again));
    begin_life(ring);
    lying_ring_judge_accounts(ring);
    ring->adds_left = LAST_LIFE_ADDS;
    rounds(ring, 3);
    if (add_chain(ring, 1, 2, 512) == VIO_OK)
        publish(ring);
    pop_all(ring);
    fill_up(ring);
    publish(ring);
    notify(ring);
    pop_all(ring);
    lying_ring_judge_accounts(ring);
    if (unused.fault != RING_FAULT_NONE || unused.n_popped != ring->n_added ||
        unused.n_notified < 4)
        fail_msg("a queue that was begun anew does not serve");
    end_life(ring);
}

/* --- Instructions ----------------------------------------------------------------------------- */

static void run_add(struct lying_ring *ring)
{
    uint8_t shape = lying_ring_next_byte(ring, false);
    uint8_t code = lying_ring_next_byte(ring, false);
    uint32_t len = code ? UINT32_C(1) << ((code - 1) % 32) : 512;

    (void)add_chain(ring, shape >> 4, shape & 0xF, len); /* judged, whatever it gave */
}

static void run_add_flawed(struct lying_ring *ring)
{
    uint8_t flaw = lying_ring_next_byte(ring, false) % RING_FLAWS;
    unsigned n = 2;

    if (flaw == RING_FLAW_NO_BUFFERS)
        n = 0;
    else if (flaw == RING_FLAW_MORE_THAN_QUEUE)
        n = ring->setup.size + 1u;
    struct ring_buffer *bufs = calloc(n + 1, sizeof(*bufs));
    assert_non_null(bufs);
    for (unsigned i = 0; i < n; i++)
        bufs[i] = buffer(ring, i, flaw == RING_FLAW_TOO_LONG ? LONG_LEN : 512, i > 0);
    if (flaw == RING_FLAW_EMPTY_BUFFER)
        bufs[1].len = 0;
    if (flaw == RING_FLAW_READABLE_LAST) {
        bufs[0].device_writable = true;
        bufs[1].device_writable = false;
    }
    (void)add(ring, bufs, n); /* judged: it is refused */
    free(bufs);
}

static void run_say(struct lying_ring *ring)
{
    uint8_t word = lying_ring_next_byte(ring, false) % RING_WORDS;
    struct lying_value value = lying_ring_next_value(ring, false);

    if (ring->n_sayings < LYING_SAYINGS_MAX)
        ring->sayings[ring->n_sayings++] = (struct lying_saying){.word = word, .value = value};
}

static void run_again(struct lying_ring *ring)
{
    uint8_t word = lying_ring_next_byte(ring, false) % RING_WORDS;

    ring->again[word] = lying_ring_next_value(ring, false);
    ring->has_again[word] = true;
}

static void run_scribble(struct lying_ring *ring)
{
    uint8_t area = lying_ring_next_byte(ring, false) % RING_AREAS;
    uint8_t countdown = lying_ring_next_byte(ring, false);
    uint8_t byte = lying_ring_next_byte(ring, false);

    if (countdown == 0) {
        lying_ring_scribble(ring, area, byte);
        return;
    }
    ring->outcome->n_unsaid += ring->scribble_waits;
    ring->scribble_waits = true;
    ring->scribble_countdown = countdown;
    ring->scribble_area = area;
    ring->scribble_byte = byte;
}

static void run_reset(struct lying_ring *ring)
{
    end_life(ring);
    begin_life(ring);
}

static void run_instruction(struct lying_ring *ring, enum ring_op op)
{
    switch (op) {
    case RING_ADD:
        run_add(ring);
        break;
    case RING_ADD_FLAWED:
        run_add_flawed(ring);
        break;
    case RING_FILL:
        fill_up(ring);
        break;
    case RING_PUBLISH:
        publish(ring);
        break;
    case RING_NOTIFY:
        notify(ring);
        break;
    case RING_POP:
        (void)pop(ring); /* judged */
        break;
    case RING_POP_ALL:
        pop_all(ring);
        break;
    case RING_HAS_USED:
        look(ring, ring->driver->has_used);
        break;
    case RING_INTERRUPT:
        look(ring, ring->driver->interrupt);
        break;
    case RING_ENABLE:
        enable(ring, lying_ring_next_byte(ring, false));
        break;
    case RING_DISABLE:
        disable(ring);
        break;
    case RING_RESET:
        run_reset(ring);
        break;
    case RING_ROUNDS:
        rounds(ring, lying_ring_next_byte(ring, false));
        break;
    case RING_SAY:
        run_say(ring);
        break;
    case RING_AGAIN:
        run_again(ring);
        break;
    case RING_SCRIBBLE:
        run_scribble(ring);
        break;
    case RING_OPS:
        break;
    }
}

/* --- From the head to the end ----------------------------------------------------------------- */

/* All that RING_ADD makes fits into the tables of a small queue; a large one's would take too much. */
static unsigned entries_max(const struct lying_ring *ring)
{
    unsigned n = RING_ENTRIES / ring->setup.size;

    if (n > RING_ENTRIES_MAX)
        return RING_ENTRIES_MAX;
    return n < RING_ENTRIES_MIN ? RING_ENTRIES_MIN : n;
}

static void read_head(struct lying_ring *ring)
{
    static const unsigned features[] = {VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX,
                                        VIRTIO_F_IN_ORDER, VIRTIO_F_ORDER_PLATFORM};

    uint8_t log2 = lying_ring_next_byte(ring, false);
    ring->setup.size = (uint16_t)(1u << (log2 < RING_LOG2S ? log2 : log2 % RING_SMALL_LOG2S));
    ring->manners = lying_ring_next_byte(ring, false);
    uint8_t tables = lying_ring_next_byte(ring, false);
    ring->setup.table_entries = (uint16_t)(tables % (entries_max(ring) + 1));
    ring->setup.direct_max = (uint16_t)(tables / (entries_max(ring) + 1) % (ring->setup.size + 1u));
    ring->setup.features = VIO_FEATURE(VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < ARRAY_LENGTH(features); i++) {
        if (ring->manners & (1u << i))
            ring->setup.features |= VIO_FEATURE(features[i]);
    }
    ring->setup.notified = notified;
    ring->setup.context = ring;
    ring->adds_left = ring->setup.size + ADDS_BEYOND_RUN;
}

/* As if this many chains had come and gone. */
static void age(struct lying_ring *ring, uint16_t n_chains)
{
    ring->driver->age(ring->self, n_chains);
    ring->n_added = ring->n_published = ring->n_notified = ring->n_used = n_chains;
    ring->n_announced = ring->batch_end = n_chains;
    lying_ring_capture_store(ring);
    lying_ring_judge_publish(ring);
}

void lying_ring_play(const struct ring_driver *driver, const uint8_t *program, size_t n_bytes,
                     struct lying_ring_outcome *ret_outcome)
{
    struct lying_ring ring = {
        .driver = driver, .program = program, .back = n_bytes, .outcome = ret_outcome};

    *ret_outcome = (struct lying_ring_outcome){0};
    read_head(&ring);
    uint16_t n_before = lying_ring_next_byte(&ring, false);
    n_before = (uint16_t)(n_before | lying_ring_next_byte(&ring, false) << 8);
    lying_ring_make_memory(&ring);
    ring.self = driver->make();
    assert_non_null(ring.self);
    begin_life(&ring);
    age(&ring, n_before);
    lying_ring_judge_accounts(&ring);
    while (ring.front < ring.back) {
        run_instruction(&ring, lying_ring_next_byte(&ring, false) % RING_OPS);
        lying_ring_judge_accounts(&ring);
    }
    end_life(&ring);
    ret_outcome->n_unsaid += ring.n_sayings;
    serve_again(&ring);
    fake_memory_before_access(NULL, NULL);
    driver->destroy(ring.self);
    lying_ring_free_memory(&ring);
}
