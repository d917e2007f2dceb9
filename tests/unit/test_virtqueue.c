/* core/virtqueue.h: a split queue against a device that keeps the rules, and one that does not. */

#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_memory.h"
#include "tests/fakes/queue_fixture.h"
#include "tests/fakes/testing.h"

#define LARGEST      VIRTQUEUE_SIZE_MAX
#define MODEL_CHAINS 64u

/* --- Sizes and layout ------------------------------------------------------------------------- */

static void given_each_size_when_initialised_then_areas_are_aligned_and_inside(void **state)
{
    /* Checks: SPLIT-ALIGN-1, X-SPLIT-3, X-PCI-3, SUP-AVAIL-1 */
    (void)state;
    for (uint32_t size = 1; size <= LARGEST; size *= 2) {
        make_queue((uint16_t)size);
        struct virtqueue_addresses at = virtqueue_addresses(&vq);
        size_t used_offset = (16 * size + 6 + 2 * size + 3) / 4 * 4;

        assert_int_equal(virtqueue_ring_bytes((uint16_t)size), used_offset + 6 + 8 * size);
        assert_true(at.descriptor_area == rings.addr);
        assert_true(at.driver_area == rings.addr + 16 * size);
        assert_true(at.device_area == rings.addr + used_offset);
        assert_int_equal(at.descriptor_area % 16, 0);
        assert_int_equal(at.driver_area % 2, 0);
        assert_int_equal(at.device_area % 4, 0);
        /* All zero but for the wish to get no interrupts. */
        const uint8_t *bytes = rings.memory;
        for (size_t i = 0; i < rings.bytes; i++)
            assert_int_equal(bytes[i], i == 16 * size ? VIRTQ_AVAIL_F_NO_INTERRUPT : 0);
        assert_int_equal(virtqueue_free_descriptors(&vq), size);
        assert_int_equal(virtqueue_in_flight(&vq), 0);
        free_queue();
    }
}

static void given_known_sizes_when_asked_then_bytes_match_the_specification(void **state)
{
    /* Checks: X-SPLIT-3 */
    (void)state;
    assert_int_equal(virtqueue_ring_bytes(1), 16 + 8 + 14);
    assert_int_equal(virtqueue_ring_bytes(2), 32 + 12 + 22);
    assert_int_equal(virtqueue_ring_bytes(128), 2048 + 264 + 1030);
    assert_int_equal(virtqueue_ring_bytes(256), 4096 + 520 + 2054);
    assert_int_equal(virtqueue_ring_bytes(32768), 524288 + 65544 + 262150);
}

static void given_wish_and_limit_when_negotiated_then_power_of_two_that_suits_both(void **state)
{
    /* Checks: X-SPLIT-3, PCI-COM-3 */
    (void)state;
    static const struct {
        uint16_t wanted;
        uint16_t device_max;
        uint16_t size;
    } cases[] = {
        {128, 128, 128},       {128, 256, 128},       {128, 64, 64},         {128, 1, 1},
        {128, 0, 0},           {1, 32768, 1},         {32768, 32768, 32768}, {65535, 65535, 32768},
        {128, 127, 64},        {128, 3, 2},           {100, 256, 64},        {3, 3, 2},
        {128, 129, 128},       {32768, 65535, 32768}, {32769, 32769, 32768}, {0, 128, 0},
        {32767, 32768, 16384},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_int_equal(virtqueue_negotiate_size(cases[i].wanted, cases[i].device_max),
                         cases[i].size);
}

static void given_invalid_size_when_initialised_then_refused_and_nothing_changed(void **state)
{
    /* Checks: X-SPLIT-3 */
    (void)state;
    static const uint16_t sizes[] = {0, 3, 5, 6, 7, 100, 32767, 32769, 49152, 65535};
    static const struct virtqueue untouched;
    static uint8_t zero[64];

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct virtqueue other = {0};
        struct vio_dma huge = rings;
        huge.bytes = SIZE_MAX;
        uint8_t little_shadow[64] = {0};
        struct virtqueue_config bad = config;
        bad.size = sizes[i];
        bad.rings = bad.indirect = &huge;
        bad.shadow = little_shadow;

        vio_status status = virtqueue_init(&other, &bad);

        assert_int_equal(status, VIO_ERR_INVALID);
        assert_memory_equal(&other, &untouched, sizeof(other));
        assert_memory_equal(little_shadow, zero, sizeof(zero));
    }
}

static void given_unsuitable_memory_when_initialised_then_refused(void **state)
{
    /* Checks: SPLIT-ALIGN-1 */
    (void)state;
    const struct virtqueue_config good = config;

    for (unsigned piece = 0; piece < 2; piece++) {
        struct vio_dma whole = piece ? tables : rings;
        size_t needed =
            piece ? virtqueue_indirect_bytes(8, FIXTURE_TABLE_ENTRIES) : virtqueue_ring_bytes(8);
        struct vio_dma bad[] = {whole, whole, whole};

        bad[0].bytes = needed - 1;
        bad[1].addr += 8;
        bad[2].memory = (uint8_t *)whole.memory + 8;
        for (unsigned i = 0; i < ARRAY_LENGTH(bad); i++) {
            config = good;
            if (piece)
                config.indirect = &bad[i];
            else
                config.rings = &bad[i];
            assert_int_equal(virtqueue_init(&vq, &config), VIO_ERR_INVALID);
        }
    }
    config = good;
    config.shadow = NULL;
    assert_int_equal(virtqueue_init(&vq, &config), VIO_ERR_INVALID);
    config = good;
    assert_int_equal(virtqueue_init(&vq, &config), VIO_OK);
}

/* --- The way down: add, publish, notify ------------------------------------------------------- */

static void given_chain_when_added_then_descriptors_are_as_the_device_expects(void **state)
{
    /* Checks: SPLIT-FRAME-1 */
    (void)state;
    struct vio_buffer bufs[] = {readable(0x123456789000, 16), readable(0x2000, 0xFFFF),
                                writable(0x3000, 0x10000), writable(0x4000, 1)};
    struct fake_part parts[8];

    assert_int_equal(virtqueue_add(&vq, bufs, 4, &cookies[0]), VIO_OK);
    virtqueue_publish(&vq);
    unsigned n = fake_ring_read_chain(&ring, take_head(), parts);

    assert_int_equal(n, 4);
    for (unsigned i = 0; i < n; i++) {
        assert_true(parts[i].addr == bufs[i].addr);
        assert_int_equal(parts[i].len, bufs[i].len);
        assert_int_equal(parts[i].device_writable, bufs[i].device_writable);
    }
    assert_int_equal(virtqueue_free_descriptors(&vq), 4);
    assert_int_equal(virtqueue_in_flight(&vq), 1);
}

static void given_chain_when_added_then_device_sees_nothing_before_publish(void **state)
{
    /* Checks: X-SPLIT-1, X-SPLIT-2 */
    (void)state;
    add_one(&cookies[0]);
    add_chain(3, &cookies[1]);

    assert_int_equal(fake_ring_n_available(&ring), 0);
    assert_false(virtqueue_notify(&vq));

    virtqueue_publish(&vq);

    assert_int_equal(fake_ring_n_available(&ring), 2);
}

static void given_nothing_added_when_published_then_ring_untouched(void **state)
{
    (void)state;
    fake_log_start();

    virtqueue_publish(&vq);

    assert_int_equal(fake_log_length(), 0);
}

static void given_batch_when_published_then_idx_written_once_behind_the_write_barrier(void **state)
{
    /* Checks: SPLIT-IDX-1, X-SPLIT-1, X-SPLIT-2 */
    (void)state;
    const void *avail_idx = &fake_ring_avail(&ring)->idx;
    fake_log_start();

    add_chain(3, &cookies[0]);
    add_chain(2, &cookies[1]);
    virtqueue_publish(&vq);

    size_t idx_store = fake_log_find_access(FAKE_STORE, avail_idx, 0);
    assert_int_equal(idx_store, fake_log_length() - 1);
    assert_int_equal(fake_log_at(idx_store - 1)->kind, FAKE_WMB);
    assert_int_equal(fake_log_count_accesses(FAKE_STORE, avail_idx), 1);
    assert_int_equal(fake_log_count(FAKE_WMB), 1);
    /* Two words per descriptor, one ring entry per chain, idx; nothing is read. */
    assert_int_equal(fake_log_count(FAKE_STORE), 2 * 5 + 2 + 1);
    assert_int_equal(fake_log_count(FAKE_LOAD), 0);
}

static void given_published_chain_when_notified_then_full_barrier_before_flags(void **state)
{
    /* Checks: SUP-BAR-1, SUP-AVAIL-4, SUP-AVAIL-2 */
    (void)state;
    fake_log_start();

    add_one(&cookies[0]);
    virtqueue_publish(&vq);
    assert_true(virtqueue_notify(&vq));

    size_t idx_store = fake_log_find_access(FAKE_STORE, &fake_ring_avail(&ring)->idx, 0);
    size_t barrier = fake_log_find(FAKE_MB, 0);
    size_t flags_load = fake_log_find_access(FAKE_LOAD, &fake_ring_used(&ring)->flags, 0);
    assert_true(idx_store < barrier && barrier < flags_load);
    assert_true(flags_load < fake_log_find(FAKE_NOTIFY, 0));
    assert_int_equal(fake_log_count(FAKE_LOAD), 1);
    assert_int_equal(fake_log_count(FAKE_NOTIFY), 1);
}

static void given_no_notify_flag_when_notified_then_device_left_alone(void **state)
{
    /* Checks: SUP-AVAIL-3 */
    (void)state;
    fake_ring_set_no_notify(&ring, true);
    add_one(&cookies[0]);
    virtqueue_publish(&vq);

    assert_false(virtqueue_notify(&vq));

    assert_int_equal(transport.notifications, 0);
    assert_int_equal(vq.counters.notifications, 0);
    assert_int_equal(vq.counters.notifications_suppressed, 1);
}

static void given_flag_cleared_when_next_chain_notified_then_device_notified(void **state)
{
    /* Checks: SUP-AVAIL-4 */
    (void)state;
    fake_ring_set_no_notify(&ring, true);
    add_one(&cookies[0]);
    virtqueue_publish(&vq);
    assert_false(virtqueue_notify(&vq));
    fake_ring_set_no_notify(&ring, false);
    assert_false(virtqueue_notify(&vq));

    add_one(&cookies[1]);
    virtqueue_publish(&vq);

    assert_true(virtqueue_notify(&vq));
    assert_int_equal(transport.notifications, 1);
}

static void given_other_flag_bits_when_notified_then_ignored(void **state)
{
    /* Checks: SUP-AVAIL-4, SUP-AVAIL-2 */
    (void)state;
    fake_ring_used(&ring)->flags = le16_from(0xFFFE);
    /* avail_event, which means nothing here */
    memset(&fake_ring_used(&ring)->ring[8], 0xFF, 2);
    add_one(&cookies[0]);
    virtqueue_publish(&vq);

    assert_true(virtqueue_notify(&vq));
}

static void given_nothing_new_when_notified_then_no_notification(void **state)
{
    (void)state;
    assert_false(virtqueue_notify(&vq));
    add_one(&cookies[0]);
    assert_false(virtqueue_notify(&vq));
    virtqueue_publish(&vq);
    assert_true(virtqueue_notify(&vq));

    assert_false(virtqueue_notify(&vq));

    assert_int_equal(transport.notifications, 1);
    assert_int_equal(vq.counters.notifications, 1);
}

static void given_bad_chain_when_added_then_invalid_and_nothing_changed(void **state)
{
    /* Checks: SPLIT-IND-3, SPLIT-FRAME-1, SPLIT-DESC-1 */
    (void)state;
    const struct vio_buffer zero[] = {readable(0x1000, 16), readable(0x2000, 0)};
    const struct vio_buffer zero_writable[] = {readable(0x1000, 16), writable(0x2000, 0)};
    const struct vio_buffer mixed[] = {writable(0x1000, 1), readable(0x2000, 1)};
    const struct vio_buffer mixed_late[] = {readable(0, 1), writable(0x1000, 1),
                                            readable(0x2000, 1)};
    const struct vio_buffer too_long[] = {writable(0, UINT32_MAX), writable(0, 1)};
    const struct vio_buffer too_long_readable[] = {readable(0, UINT32_MAX), readable(0, 1)};
    const struct vio_buffer too_long_both[] = {readable(0, 0x80000000), writable(0, 0x80000000)};
    const struct vio_buffer many[9] = {readable(0, 1), readable(0, 1), readable(0, 1),
                                       readable(0, 1), readable(0, 1), readable(0, 1),
                                       readable(0, 1), readable(0, 1), readable(0, 1)};
    const struct {
        const struct vio_buffer *bufs;
        unsigned n_bufs;
        void *cookie;
    } cases[] = {
        {zero, 2, cookies},
        {zero_writable, 2, cookies},
        {mixed, 2, cookies},
        {mixed_late, 3, cookies},
        {too_long, 2, cookies},
        {too_long_both, 2, cookies},
        {many, 9, cookies},
        {many, 0, cookies},
        {many, UINT32_MAX, cookies},
        {many, 65537, cookies},
        {too_long_readable, 2, cookies},
    };

    uint16_t head = give_one(&cookies[7]);
    struct virtqueue before = vq;
    const struct virtq_desc desc_before = fake_ring_desc(&ring)[head];
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        vio_status status = virtqueue_add(&vq, cases[i].bufs, cases[i].n_bufs, cases[i].cookie);

        if (status != VIO_ERR_INVALID)
            fail_msg("case %u: status %d", i, (int)status);
        assert_memory_equal(&vq, &before, sizeof(vq));
        assert_int_equal(fake_ring_n_available(&ring), 0);
        assert_memory_equal(&fake_ring_desc(&ring)[head], &desc_before, sizeof(desc_before));
    }

    /* A refused chain leaves no trace: neither can it be returned, nor is anything lost. */
    for (unsigned i = 0; i < 7; i++)
        add_one(&cookies[i]);
    assert_int_equal(virtqueue_free_descriptors(&vq), 0);
    fake_ring_return(&ring, head, 1);
    assert_pops(&cookies[7], 1);
}

static void given_refused_chain_when_its_head_is_returned_then_broken(void **state)
{
    (void)state;
    const struct vio_buffer zero[] = {readable(0x1000, 16), readable(0x2000, 0)};

    uint16_t head = give_one(&cookies[0]);
    assert_int_equal(virtqueue_add(&vq, zero, 2, &cookies[1]), VIO_ERR_INVALID);
    fake_ring_return(&ring, (uint16_t)(head + 1), 0);

    assert_broken(VIRTQUEUE_FAULT_ID_NOT_HEAD, head + 1u);
}

static void given_refused_chain_when_drained_then_not_among_the_others(void **state)
{
    (void)state;
    const struct vio_buffer zero[] = {readable(0x1000, 16), readable(0x2000, 0)};

    add_one(&cookies[0]);
    assert_int_equal(virtqueue_add(&vq, zero, 2, &cookies[1]), VIO_ERR_INVALID);

    assert_ptr_equal(drain(), &cookies[0]);
    assert_null(drain());
}

static void given_any_cookie_when_added_then_it_comes_back(void **state)
{
    (void)state;
    add_one(NULL);
    virtqueue_publish(&vq);
    fake_ring_return(&ring, take_head(), 3);
    assert_pops(NULL, 3);

    void *cookie = cookies;
    add_one(NULL);
    assert_true(virtqueue_drain(&vq, &cookie));
    assert_null(cookie);
    assert_false(virtqueue_drain(&vq, &cookie));
}

static void given_longest_chain_when_added_then_taken(void **state)
{
    /* Checks: SPLIT-DESC-1 */
    (void)state;
    struct vio_buffer bufs[] = {readable(0, 0x7FFFFFFF), writable(0, 0x80000000)};

    assert_int_equal(virtqueue_add(&vq, bufs, 2, cookies), VIO_OK);
    virtqueue_publish(&vq);
    uint16_t head = take_head();
    fake_ring_return(&ring, head, 0x80000000);

    assert_pops(cookies, 0x80000000);
}

static void given_full_ring_when_chain_added_then_queue_full_and_ring_unchanged(void **state)
{
    (void)state;
    struct vio_buffer bufs[] = {readable(0x1000, 1), writable(0x2000, 1)};
    uint8_t *before = malloc(rings.bytes);
    uint8_t *shadow_before = malloc(shadow_bytes);
    assert_non_null(before);
    assert_non_null(shadow_before);
    add_chain(7, &cookies[0]);
    memcpy(before, rings.memory, rings.bytes);
    memcpy(shadow_before, shadow, shadow_bytes);

    assert_int_equal(virtqueue_add(&vq, bufs, 2, &cookies[1]), VIO_ERR_QUEUE_FULL);

    assert_memory_equal(rings.memory, before, rings.bytes);
    assert_memory_equal(shadow, shadow_before, shadow_bytes);
    assert_int_equal(virtqueue_add(&vq, bufs, 1, &cookies[1]), VIO_OK);
    assert_int_equal(virtqueue_free_descriptors(&vq), 0);
    assert_int_equal(virtqueue_add(&vq, bufs, 1, &cookies[2]), VIO_ERR_QUEUE_FULL);
    free(before);
    free(shadow_before);
}

static void given_each_size_when_filled_and_returned_then_all_descriptors_are_free(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= LARGEST; size *= 2) {
        make_queue((uint16_t)size);
        for (uint32_t i = 0; i < size; i++)
            add_one(&cookies[i]);
        assert_int_equal(virtqueue_free_descriptors(&vq), 0);
        virtqueue_publish(&vq);
        assert_int_equal(fake_ring_n_available(&ring), size);

        for (uint32_t i = 0; i < size; i++)
            fake_ring_return(&ring, take_head(), i % 101);

        for (uint32_t i = 0; i < size; i++)
            assert_pops(&cookies[i], i % 101);
        assert_pop_fails(VIO_EMPTY);
        assert_int_equal(virtqueue_free_descriptors(&vq), size);
        free_queue();
    }
}

static void given_each_size_when_one_chain_takes_all_then_it_works_twice(void **state)
{
    (void)state;
    static struct vio_buffer bufs[LARGEST];
    static struct fake_part parts[LARGEST];

    for (uint32_t size = 1; size <= LARGEST; size *= 2) {
        make_queue((uint16_t)size);
        for (uint32_t i = 0; i < size; i++)
            bufs[i] = writable(i, 2);
        for (unsigned round = 0; round < 2; round++) {
            assert_int_equal(virtqueue_add(&vq, bufs, size, cookies), VIO_OK);
            virtqueue_publish(&vq);
            uint16_t head = take_head();
            assert_int_equal(fake_ring_read_chain(&ring, head, parts), size);
            fake_ring_return(&ring, head, 2 * size);
            assert_pops(cookies, 2 * size);
        }
        free_queue();
    }
}

/* --- The way up: pop -------------------------------------------------------------------------- */

static void given_empty_ring_when_popped_then_empty_and_nothing_written(void **state)
{
    (void)state;
    assert_pop_fails(VIO_EMPTY);
    give_one(&cookies[0]);

    assert_pop_fails(VIO_EMPTY);
    assert_false(virtqueue_has_used(&vq));
}

static void given_used_chain_when_popped_then_read_barrier_between_idx_and_element(void **state)
{
    /* Checks: SPLIT-USED-1 */
    (void)state;
    fake_ring_return(&ring, give_one(&cookies[0]), 42);
    const struct virtq_used *used = fake_ring_used(&ring);
    fake_log_start();

    assert_pops(&cookies[0], 42);

    size_t idx_load = fake_log_find_access(FAKE_LOAD, &used->idx, 0);
    size_t barrier = fake_log_find(FAKE_RMB, 0);
    assert_true(idx_load < barrier);
    assert_true(barrier < fake_log_find_access(FAKE_LOAD, &used->ring[0].id, 0));
    assert_true(barrier < fake_log_find_access(FAKE_LOAD, &used->ring[0].len, 0));
    /* Three words of the device's, each read exactly once; nothing of ours read back. */
    assert_int_equal(fake_log_count_accesses(FAKE_LOAD, &used->idx), 1);
    assert_int_equal(fake_log_count_accesses(FAKE_LOAD, &used->ring[0].id), 1);
    assert_int_equal(fake_log_count_accesses(FAKE_LOAD, &used->ring[0].len), 1);
    assert_int_equal(fake_log_count(FAKE_LOAD), 3);
    assert_int_equal(fake_log_count(FAKE_STORE), 0);
}

static void given_many_used_chains_when_popped_then_each_element_is_behind_a_barrier(void **state)
{
    (void)state;
    const struct virtq_used *used = fake_ring_used(&ring);
    for (unsigned i = 0; i < 3; i++)
        fake_ring_return(&ring, give_one(&cookies[i]), i);
    fake_log_start();

    for (unsigned i = 0; i < 3; i++)
        assert_pops(&cookies[i], i);
    fake_ring_return(&ring, give_one(&cookies[3]), 3);
    assert_pops(&cookies[3], 3);

    /* idx is read once per batch, not per chain. */
    assert_int_equal(fake_log_count_accesses(FAKE_LOAD, &used->idx), 2);
    for (unsigned i = 0; i < 4; i++) {
        size_t elem = fake_log_find_access(FAKE_LOAD, &used->ring[i].id, 0);
        size_t last_barrier = FAKE_LOG_NONE;
        size_t last_idx = FAKE_LOG_NONE;
        for (size_t at = 0; at < elem; at++) {
            last_barrier = fake_log_at(at)->kind == FAKE_RMB ? at : last_barrier;
            last_idx = fake_log_at(at)->where == &used->idx ? at : last_idx;
        }
        assert_int_not_equal(last_barrier, FAKE_LOG_NONE);
        assert_true(last_idx < last_barrier);
    }
}

/* Rewrites the used element as soon as its id has been read. */
static void spoil_element(void *context, enum vio_mem_access access, const void *where)
{
    struct virtq_used *used = context;

    (void)access;
    if (where == &used->ring[0].len)
        used->ring[0].id = le32_from(0xFFFFFFFF);
    if (where == &used->ring[0].id)
        used->idx = le16_from(0x7777);
}

static void given_device_rewriting_words_after_they_were_read_then_no_effect(void **state)
{
    (void)state;
    fake_ring_return(&ring, give_one(&cookies[0]), 42);
    fake_memory_before_access(spoil_element, fake_ring_used(&ring));

    assert_pops(&cookies[0], 42);

    fake_memory_before_access(NULL, NULL);
    assert_broken(VIRTQUEUE_FAULT_USED_IDX, 0x7777);
}

static void given_chains_when_returned_out_of_order_then_cookies_match(void **state)
{
    (void)state;
    uint16_t heads[4];
    for (unsigned i = 0; i < 4; i++)
        heads[i] = give_one(&cookies[i]);

    static const unsigned order[] = {2, 0, 3, 1};
    for (unsigned i = 0; i < 4; i++)
        fake_ring_return(&ring, heads[order[i]], order[i]);

    for (unsigned i = 0; i < 4; i++)
        assert_pops(&cookies[order[i]], order[i]);
    assert_pop_fails(VIO_EMPTY);
    assert_int_equal(virtqueue_free_descriptors(&vq), 8);
    assert_int_equal(vq.n_added, 4);
    assert_int_equal(vq.n_used, 4);
}

static void given_readable_chain_when_returned_with_len_0_then_fine(void **state)
{
    (void)state;
    struct vio_buffer buf = readable(0x1000, 100);
    assert_int_equal(virtqueue_add(&vq, &buf, 1, cookies), VIO_OK);
    virtqueue_publish(&vq);

    fake_ring_return(&ring, take_head(), 0);

    assert_pops(cookies, 0);
}

static void given_writable_chain_when_returned_with_full_len_then_fine(void **state)
{
    (void)state;
    add_chain(3, cookies);
    virtqueue_publish(&vq);

    fake_ring_return(&ring, take_head(), 1024);

    assert_pops(cookies, 1024);
}

/* One chain stays with the device while all others come and go, so that indices wrap. */
static void cycle_others(uint16_t size, uint32_t rounds)
{
    make_queue(size);
    uint16_t kept = size > 1 ? give_one(&cookies[LARGEST]) : 0;

    for (uint32_t i = 0; i < rounds; i++) {
        uint16_t head = give_one(&cookies[i % LARGEST]);
        assert_true(size == 1 || head != kept);
        fake_ring_return(&ring, head, i % 101);
        assert_true(virtqueue_has_used(&vq));
        assert_pops(&cookies[i % LARGEST], i % 101);
    }

    assert_int_equal(le16_to(fake_ring_avail(&ring)->idx), (rounds + (size > 1)) & 0xFFFF);
    if (size > 1) {
        fake_ring_return(&ring, kept, 7);
        assert_pops(&cookies[LARGEST], 7);
    }
    assert_int_equal(virtqueue_free_descriptors(&vq), size);
    free_queue();
}

static void given_one_chain_kept_when_others_cycle_past_65536_then_indices_wrap(void **state)
{
    /* Checks: X-SPLIT-4, SPLIT-AVAIL-1 */
    (void)state;
    static const uint16_t sizes[] = {1, 2, 4, 256, 32768};

    for (unsigned i = 0; i < ARRAY_LENGTH(sizes); i++)
        cycle_others(sizes[i], 70001);
}

static void given_full_batches_when_cycled_past_65536_then_all_come_back(void **state)
{
    /* Checks: X-SPLIT-4 */
    (void)state;
    static uint16_t heads[LARGEST];
    static const uint16_t sizes[] = {256, 32768};

    for (unsigned n = 0; n < ARRAY_LENGTH(sizes); n++) {
        uint16_t size = sizes[n];
        make_queue(size);
        for (uint32_t done = 0; done < 70000; done += size) {
            for (uint32_t i = 0; i < size; i++)
                add_one(&cookies[i]);
            virtqueue_publish(&vq);
            assert_true(virtqueue_notify(&vq));
            for (uint32_t i = 0; i < size; i++)
                heads[i] = take_head();
            for (uint32_t i = size; i > 0; i--)
                fake_ring_return(&ring, heads[i - 1], 0);
            for (uint32_t i = size; i > 0; i--)
                assert_pops(&cookies[i - 1], 0);
        }
        free_queue();
    }
}

static void given_chain_in_flight_when_others_cycle_then_its_descriptors_untouched(void **state)
{
    /* Checks: CLEAN-1 */
    (void)state;
    add_chain(3, &cookies[0]);
    virtqueue_publish(&vq);
    uint16_t kept = take_head();
    const uint8_t *first = (const uint8_t *)&fake_ring_desc(&ring)[kept];
    const uint8_t *end = first + 3 * sizeof(struct virtq_desc);
    fake_log_start();

    for (unsigned i = 0; i < 100; i++) {
        add_chain(i % 5 + 1, &cookies[1]);
        virtqueue_publish(&vq);
        fake_ring_return(&ring, take_head(), 0);
        assert_pops(&cookies[1], 0);
    }

    /* The first chain of all: descriptors 0, 1, 2. */
    assert_int_equal(kept, 0);
    for (size_t i = 0; i < fake_log_length(); i++) {
        const uint8_t *where = fake_log_at(i)->where;
        assert_false(where >= first && where < end);
    }
}

/* --- Callbacks and interrupts ----------------------------------------------------------------- */

static void given_callbacks_when_switched_then_flags_are_0_or_1(void **state)
{
    /* Checks: SUP-USED-1, SUP-USED-2 */
    (void)state;
    assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 1);

    virtqueue_enable_callbacks(&vq);
    assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 0);
    virtqueue_enable_callbacks(&vq);
    assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 0);

    virtqueue_disable_callbacks(&vq);
    assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 1);
}

static void given_garbage_in_flags_when_callbacks_switched_then_flags_are_0_or_1(void **state)
{
    /* Checks: SUP-USED-1 */
    (void)state;
    fake_ring_avail(&ring)->flags = le16_from(0xFFFF);
    virtqueue_enable_callbacks(&vq);
    assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 0);

    fake_ring_avail(&ring)->flags = le16_from(0xFFFF);
    virtqueue_disable_callbacks(&vq);
    assert_int_equal(le16_to(fake_ring_avail(&ring)->flags), 1);
}

static void given_callbacks_enabled_when_ring_rechecked_then_full_barrier_between(void **state)
{
    /* Checks: X-SUP-1 */
    (void)state;
    fake_log_start();

    virtqueue_enable_callbacks(&vq);
    (void)virtqueue_has_used(&vq); /* nothing is there; what counts is the order */

    size_t flags_store = fake_log_find_access(FAKE_STORE, &fake_ring_avail(&ring)->flags, 0);
    size_t barrier = fake_log_find(FAKE_MB, flags_store);
    size_t idx_load = fake_log_find_access(FAKE_LOAD, &fake_ring_used(&ring)->idx, flags_store);
    assert_int_not_equal(barrier, FAKE_LOG_NONE);
    assert_true(barrier < idx_load);
}

static void given_interrupt_when_nothing_is_used_then_counted_as_spurious(void **state)
{
    /* Checks: SUP-USED-5 */
    (void)state;
    assert_false(virtqueue_used_interrupt(&vq)); /* early: nothing was ever added */
    add_one(&cookies[0]);
    assert_false(virtqueue_used_interrupt(&vq));
    virtqueue_publish(&vq);
    assert_false(virtqueue_used_interrupt(&vq));
    fake_ring_return(&ring, take_head(), 5);
    assert_true(virtqueue_used_interrupt(&vq));
    assert_true(virtqueue_used_interrupt(&vq));
    assert_pops(&cookies[0], 5);

    assert_false(virtqueue_used_interrupt(&vq)); /* late */

    assert_int_equal(vq.counters.interrupts, 6);
    assert_int_equal(vq.counters.interrupts_spurious, 4);
}

static void given_interrupt_when_callbacks_are_off_then_harmless(void **state)
{
    /* Checks: SUP-USED-5 */
    (void)state;
    virtqueue_disable_callbacks(&vq);
    fake_ring_return(&ring, give_one(&cookies[0]), 5);

    assert_true(virtqueue_used_interrupt(&vq));

    assert_pops(&cookies[0], 5);
}

static void given_two_of_three_popped_when_asked_then_has_used(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        fake_ring_return(&ring, give_one(&cookies[i]), i);
    assert_pops(&cookies[0], 0);
    assert_pops(&cookies[1], 1);

    assert_true(virtqueue_has_used(&vq));
    assert_pops(&cookies[2], 2);
    assert_false(virtqueue_has_used(&vq));
}

/* --- Lies ------------------------------------------------------------------------------------- */

static void given_used_idx_when_not_within_chains_in_flight_then_broken(void **state)
{
    (void)state;
    /* Two chains are with the device, a third is added but not published. */
    static const uint16_t lies[] = {3, 4, 8, 9, 100, 32768, 65534, 65535};

    for (unsigned i = 0; i < ARRAY_LENGTH(lies); i++) {
        free_queue();
        make_queue(8);
        give_one(&cookies[0]);
        give_one(&cookies[1]);
        add_one(&cookies[2]);
        fake_ring_set_used_idx(&ring, lies[i]);

        assert_true(virtqueue_has_used(&vq));
        assert_broken(VIRTQUEUE_FAULT_USED_IDX, lies[i]);
    }
}

static void given_used_idx_when_it_goes_back_then_broken(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        fake_ring_return(&ring, give_one(&cookies[i]), 0);
        assert_pops(&cookies[i], 0);
    }
    give_one(&cookies[3]);

    fake_ring_set_used_idx(&ring, 2);

    assert_broken(VIRTQUEUE_FAULT_USED_IDX, 2);
}

static void given_used_idx_when_nothing_is_in_flight_then_broken(void **state)
{
    (void)state;
    fake_ring_set_used_idx(&ring, 1);

    assert_broken(VIRTQUEUE_FAULT_USED_IDX, 1);
}

static void given_full_largest_queue_when_idx_is_one_too_far_then_broken(void **state)
{
    (void)state;
    free_queue();
    make_queue(32768);
    for (uint32_t i = 0; i < 32768; i++)
        add_one(&cookies[i]);
    virtqueue_publish(&vq);

    fake_ring_set_used_idx(&ring, 32769);

    assert_broken(VIRTQUEUE_FAULT_USED_IDX, 32769);
}

/* Three chains: heads 0, 1 (of two descriptors) and 3; 3 is not published; 4 .. 7 are free. */
static void given_used_id_when_not_a_head_in_flight_then_broken(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        enum virtqueue_fault fault;
    } cases[] = {
        {8, VIRTQUEUE_FAULT_ID_RANGE},          {9, VIRTQUEUE_FAULT_ID_RANGE},
        {0xFFFF, VIRTQUEUE_FAULT_ID_RANGE},     {0x10000, VIRTQUEUE_FAULT_ID_RANGE},
        {0x10001, VIRTQUEUE_FAULT_ID_RANGE},    {0x80000000, VIRTQUEUE_FAULT_ID_RANGE},
        {0xFFFFFFFF, VIRTQUEUE_FAULT_ID_RANGE}, {2, VIRTQUEUE_FAULT_ID_NOT_HEAD},
        {3, VIRTQUEUE_FAULT_ID_NOT_HEAD},       {4, VIRTQUEUE_FAULT_ID_NOT_HEAD},
        {7, VIRTQUEUE_FAULT_ID_NOT_HEAD},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        free_queue();
        make_queue(8);
        assert_int_equal(give_one(&cookies[0]), 0);
        add_chain(2, &cookies[1]);
        virtqueue_publish(&vq);
        assert_int_equal(take_head(), 1);
        add_one(&cookies[2]);

        fake_ring_return(&ring, cases[i].id, 0);

        assert_broken(cases[i].fault, cases[i].id);
        assert_int_equal(virtqueue_in_flight(&vq), 3);
    }
}

static void given_id_when_returned_twice_then_broken(void **state)
{
    (void)state;
    uint16_t head = give_one(&cookies[0]);
    give_one(&cookies[1]);
    fake_ring_return(&ring, head, 1);
    fake_ring_return(&ring, head, 1);

    assert_pops(&cookies[0], 1);

    assert_broken(VIRTQUEUE_FAULT_ID_NOT_HEAD, head);
}

static void given_old_id_when_its_descriptor_is_reused_but_not_published_then_broken(void **state)
{
    (void)state;
    free_queue();
    make_queue(2);
    give_one(&cookies[1]);
    uint16_t head = give_one(&cookies[0]);
    fake_ring_return(&ring, head, 1);
    assert_pops(&cookies[0], 1);
    add_one(&cookies[2]); /* the only descriptor that is free */
    assert_int_equal(le16_to(fake_ring_avail(&ring)->ring[0]), head);

    fake_ring_return(&ring, head, 1);

    assert_broken(VIRTQUEUE_FAULT_ID_NOT_HEAD, head);
}

static void given_used_len_when_more_than_writable_then_broken(void **state)
{
    (void)state;
    /* 16 device-readable bytes, 1024 device-writable ones. */
    static const uint32_t lens[] = {1025, 1040, 0x10000, 0x80000000, 0xFFFFFFFF};

    for (unsigned i = 0; i < ARRAY_LENGTH(lens); i++) {
        free_queue();
        make_queue(8);
        add_chain(3, &cookies[0]);
        virtqueue_publish(&vq);

        fake_ring_return(&ring, take_head(), lens[i]);

        assert_broken(VIRTQUEUE_FAULT_LEN, lens[i]);
    }
}

static void given_readable_chain_when_returned_with_len_1_then_broken(void **state)
{
    (void)state;
    struct vio_buffer buf = readable(0x1000, 100);
    assert_int_equal(virtqueue_add(&vq, &buf, 1, cookies), VIO_OK);
    virtqueue_publish(&vq);

    fake_ring_return(&ring, take_head(), 1);

    assert_broken(VIRTQUEUE_FAULT_LEN, 1);
}

static void given_broken_queue_when_device_becomes_honest_then_still_broken(void **state)
{
    (void)state;
    uint16_t head = give_one(&cookies[0]);
    fake_ring_set_used_idx(&ring, 5);
    assert_pop_fails(VIO_ERR_QUEUE_BROKEN);

    fake_ring_set_used_idx(&ring, 0);
    fake_ring_return(&ring, head, 1);

    assert_broken(VIRTQUEUE_FAULT_USED_IDX, 5);
    assert_false(virtqueue_has_used(&vq));
}

static void given_broken_queue_when_interrupted_then_harmless(void **state)
{
    /* Checks: SUP-USED-5 */
    (void)state;
    fake_ring_set_used_idx(&ring, 5);
    assert_true(virtqueue_used_interrupt(&vq)); /* a lie is something to look at */
    assert_pop_fails(VIO_ERR_QUEUE_BROKEN);

    assert_false(virtqueue_used_interrupt(&vq));

    assert_int_equal(vq.counters.interrupts, 2);
    assert_int_equal(vq.counters.interrupts_spurious, 1);
}

static void given_device_that_rewrites_our_areas_when_used_then_no_effect(void **state)
{
    (void)state;
    struct fake_part parts[8];
    add_chain(3, &cookies[0]);
    add_chain(2, &cookies[1]);
    virtqueue_publish(&vq);
    uint16_t first = take_head();
    uint16_t second = take_head();

    /* Everything that is ours to write, written by the device. */
    memset(fake_ring_desc(&ring), 0xFF, 8 * sizeof(struct virtq_desc));
    memset(fake_ring_avail(&ring), 0xFF, sizeof(struct virtq_avail) + 9 * sizeof(le16));
    fake_ring_return(&ring, second, 512);
    fake_ring_return(&ring, first, 1024);

    assert_pops(&cookies[1], 512);
    assert_pops(&cookies[0], 1024);
    assert_int_equal(virtqueue_free_descriptors(&vq), 8);
    /* And the next chain is complete again: idx goes on from where we were. */
    add_chain(8, &cookies[2]);
    virtqueue_publish(&vq);
    assert_int_equal(fake_ring_n_available(&ring), 1);
    assert_int_equal(fake_ring_read_chain(&ring, take_head(), parts), 8);
}

/* Keeps the descriptor table full of rubbish: each thing we store is overwritten at once. */
static void spoil_table(void *context, enum vio_mem_access access, const void *where)
{
    (void)access;
    (void)where;
    memset(context, 0xFF, 8 * sizeof(struct virtq_desc));
}

static void given_table_rewritten_while_filled_when_returned_then_shadow_counts(void **state)
{
    (void)state;
    fake_memory_before_access(spoil_table, fake_ring_desc(&ring));
    for (unsigned i = 0; i < 20; i++) {
        add_chain(5, &cookies[i]);
        virtqueue_publish(&vq);
        fake_ring_return(&ring, take_head(), 2048);

        assert_pops(&cookies[i], 2048);
        assert_int_equal(virtqueue_free_descriptors(&vq), 8);
    }
}

/* --- Taking everything back ------------------------------------------------------------------- */

static void given_chains_in_flight_when_drained_then_each_cookie_comes_once(void **state)
{
    /* Checks: CLEAN-2 */
    (void)state;
    unsigned seen[5] = {0};
    uint16_t first = give_one(&cookies[0]);
    add_chain(2, &cookies[1]);
    virtqueue_publish(&vq);
    add_one(&cookies[2]);
    add_one(&cookies[3]); /* not published */
    fake_ring_return(&ring, first, 0);
    assert_pops(&cookies[0], 0);

    for (char *cookie; (cookie = drain());)
        seen[cookie - cookies]++;

    const unsigned expected[5] = {0, 1, 1, 1, 0};
    assert_memory_equal(seen, expected, sizeof(seen));
    assert_null(drain());
    assert_int_equal(virtqueue_in_flight(&vq), 0);
    assert_int_equal(virtqueue_free_descriptors(&vq), 8);
}

static void given_broken_queue_when_drained_and_initialised_then_works_again(void **state)
{
    (void)state;
    give_one(&cookies[0]);
    give_one(&cookies[1]);
    fake_ring_set_used_idx(&ring, 77);
    assert_pop_fails(VIO_ERR_QUEUE_BROKEN);
    assert_non_null(drain());
    assert_non_null(drain());
    assert_null(drain());

    init_queue();

    assert_int_equal(virtqueue_fault(&vq), VIRTQUEUE_FAULT_NONE);
    for (unsigned i = 0; i < 20; i++) {
        fake_ring_return(&ring, give_one(&cookies[i]), i);
        assert_pops(&cookies[i], i);
    }
    give_one(&cookies[5]);
    assert_ptr_equal(drain(), &cookies[5]);
}

static void given_broken_queue_when_drained_then_still_takes_nothing(void **state)
{
    (void)state;
    const struct vio_buffer buf = writable(0x1000, 1);

    give_one(&cookies[0]);
    fake_ring_set_used_idx(&ring, 77);
    assert_pop_fails(VIO_ERR_QUEUE_BROKEN);
    assert_non_null(drain());
    assert_null(drain());

    assert_int_equal(virtqueue_free_descriptors(&vq), 0);
    assert_int_equal(virtqueue_add(&vq, &buf, 1, cookies), VIO_ERR_QUEUE_BROKEN);
}

static void given_empty_or_zeroed_queue_when_drained_then_nothing(void **state)
{
    (void)state;
    struct virtqueue zeroed = {0};
    void *cookie;

    assert_false(virtqueue_drain(&zeroed, &cookie));
    assert_null(drain());
}

/* --- A long random run against a model -------------------------------------------------------- */

struct model_chain {
    bool in_flight;
    bool with_device; /* taken by it */
    uint16_t head;
    unsigned n_bufs;
};

/* What the queue must agree with after each step. */
struct model {
    struct model_chain chains[MODEL_CHAINS]; /* the number is the cookie's offset */
    unsigned n_in_flight;
    unsigned n_free;
    unsigned n_added; /* not published yet: in order */
    unsigned added[MODEL_CHAINS];
    unsigned n_published; /* not taken yet */
    unsigned published[MODEL_CHAINS];
    unsigned n_returned; /* not popped yet */
    unsigned returned[MODEL_CHAINS];
    uint64_t seed;
};

static unsigned model_take_first(unsigned *list, unsigned *n)
{
    unsigned first = list[0];

    (*n)--;
    memmove(&list[0], &list[1], *n * sizeof(list[0]));
    return first;
}

static void model_add(struct model *model)
{
    unsigned n_bufs = test_random(&model->seed) % 5 + 1;
    struct vio_buffer bufs[5];
    unsigned number = 0;

    while (number < MODEL_CHAINS && model->chains[number].in_flight)
        number++;
    assert_true(number < MODEL_CHAINS);
    for (unsigned i = 0; i < n_bufs; i++)
        bufs[i] = writable(number, 20);
    vio_status status = virtqueue_add(&vq, bufs, n_bufs, &cookies[number]);

    vio_status too_many = n_bufs > ring.size ? VIO_ERR_INVALID : VIO_ERR_QUEUE_FULL;
    unsigned n_descriptors = virtqueue_descriptors_needed(&vq, n_bufs);
    assert_int_equal(status, n_descriptors <= model->n_free ? VIO_OK : too_many);
    if (status != VIO_OK)
        return;
    model->chains[number] = (struct model_chain){.in_flight = true, .n_bufs = n_bufs};
    model->n_free -= n_descriptors;
    model->n_in_flight++;
    model->added[model->n_added++] = number;
}

static void model_publish(struct model *model)
{
    virtqueue_publish(&vq);
    while (model->n_added)
        model->published[model->n_published++] = model_take_first(model->added, &model->n_added);
    assert_int_equal(fake_ring_n_available(&ring), model->n_published);
}

static void model_device_takes(struct model *model)
{
    struct fake_part parts[MODEL_CHAINS];
    uint16_t head;

    if (!fake_ring_take(&ring, &head))
        return;
    unsigned number = model_take_first(model->published, &model->n_published);
    assert_int_equal(fake_ring_read_chain(&ring, head, parts), model->chains[number].n_bufs);
    assert_true(parts[0].addr == number);
    model->chains[number].head = head;
    model->chains[number].with_device = true;
}

static void model_device_returns(struct model *model)
{
    unsigned start = test_random(&model->seed) % MODEL_CHAINS;

    for (unsigned i = 0; i < MODEL_CHAINS; i++) {
        unsigned number = (start + i) % MODEL_CHAINS;
        struct model_chain *chain = &model->chains[number];
        if (!chain->with_device)
            continue;
        chain->with_device = false;
        fake_ring_return(&ring, chain->head, 20 * chain->n_bufs);
        model->returned[model->n_returned++] = number;
        return;
    }
}

static void model_pop(struct model *model)
{
    if (model->n_returned == 0) {
        assert_pop_fails(VIO_EMPTY);
        return;
    }
    unsigned number = model_take_first(model->returned, &model->n_returned);
    struct model_chain *chain = &model->chains[number];
    assert_pops(&cookies[number], 20 * chain->n_bufs);
    model->n_free += virtqueue_descriptors_needed(&vq, chain->n_bufs);
    model->n_in_flight--;
    *chain = (struct model_chain){0};
}

static void model_step(struct model *model)
{
    switch (test_random(&model->seed) % 8) {
    case 0:
    case 1:
        model_add(model);
        break;
    case 2:
        model_publish(model);
        (void)virtqueue_notify(&vq); /* the device looks by itself here */
        break;
    case 3:
    case 4:
        model_device_takes(model);
        break;
    case 5:
    case 6:
        model_device_returns(model);
        break;
    default:
        model_pop(model);
        break;
    }
}

static void given_random_steps_when_compared_with_a_model_then_equal(void **state)
{
    /* Checks: X-SPLIT-4 */
    (void)state;
    static const struct {
        uint16_t size;
        uint64_t features;
    } cases[] = {
        {1, 0},
        {2, 0},
        {8, 0},
        {32, 0},
        {8, VIO_FEATURE(VIRTIO_F_INDIRECT_DESC)},
        {8, VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_EVENT_IDX)},
    };

    for (unsigned n = 0; n < ARRAY_LENGTH(cases); n++) {
        static struct model model;
        model = (struct model){.seed = 42 + n, .n_free = cases[n].size};
        free_queue();
        make_queue_with(cases[n].size, cases[n].features);

        for (unsigned step = 0; step < 1000000; step++) {
            model_step(&model);
            assert_int_equal(virtqueue_free_descriptors(&vq), model.n_free);
            assert_int_equal(virtqueue_in_flight(&vq), model.n_in_flight);
            assert_int_equal(virtqueue_has_used(&vq), model.n_returned != 0);
        }

        /* The larger ones have gone round the 16-bit indices. */
        assert_in_range(vq.n_used, cases[n].size < 8 ? 20000 : 66000, UINT32_MAX);
        for (unsigned i = 0; i < model.n_in_flight; i++)
            assert_non_null(drain());
        assert_null(drain());
        assert_int_equal(virtqueue_free_descriptors(&vq), cases[n].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_each_size_when_initialised_then_areas_are_aligned_and_inside),
        cmocka_unit_test(given_known_sizes_when_asked_then_bytes_match_the_specification),
        cmocka_unit_test(given_wish_and_limit_when_negotiated_then_power_of_two_that_suits_both),
        QUEUE_TEST(given_invalid_size_when_initialised_then_refused_and_nothing_changed),
        QUEUE_TEST(given_unsuitable_memory_when_initialised_then_refused),
        QUEUE_TEST(given_chain_when_added_then_descriptors_are_as_the_device_expects),
        QUEUE_TEST(given_chain_when_added_then_device_sees_nothing_before_publish),
        QUEUE_TEST(given_nothing_added_when_published_then_ring_untouched),
        QUEUE_TEST(given_batch_when_published_then_idx_written_once_behind_the_write_barrier),
        QUEUE_TEST(given_published_chain_when_notified_then_full_barrier_before_flags),
        QUEUE_TEST(given_no_notify_flag_when_notified_then_device_left_alone),
        QUEUE_TEST(given_flag_cleared_when_next_chain_notified_then_device_notified),
        QUEUE_TEST(given_other_flag_bits_when_notified_then_ignored),
        QUEUE_TEST(given_nothing_new_when_notified_then_no_notification),
        QUEUE_TEST(given_bad_chain_when_added_then_invalid_and_nothing_changed),
        QUEUE_TEST(given_refused_chain_when_its_head_is_returned_then_broken),
        QUEUE_TEST(given_refused_chain_when_drained_then_not_among_the_others),
        QUEUE_TEST(given_any_cookie_when_added_then_it_comes_back),
        QUEUE_TEST(given_longest_chain_when_added_then_taken),
        QUEUE_TEST(given_full_ring_when_chain_added_then_queue_full_and_ring_unchanged),
        cmocka_unit_test(given_each_size_when_filled_and_returned_then_all_descriptors_are_free),
        cmocka_unit_test(given_each_size_when_one_chain_takes_all_then_it_works_twice),
        QUEUE_TEST(given_empty_ring_when_popped_then_empty_and_nothing_written),
        QUEUE_TEST(given_used_chain_when_popped_then_read_barrier_between_idx_and_element),
        QUEUE_TEST(given_many_used_chains_when_popped_then_each_element_is_behind_a_barrier),
        QUEUE_TEST(given_device_rewriting_words_after_they_were_read_then_no_effect),
        QUEUE_TEST(given_chains_when_returned_out_of_order_then_cookies_match),
        QUEUE_TEST(given_readable_chain_when_returned_with_len_0_then_fine),
        QUEUE_TEST(given_writable_chain_when_returned_with_full_len_then_fine),
        cmocka_unit_test(given_one_chain_kept_when_others_cycle_past_65536_then_indices_wrap),
        cmocka_unit_test(given_full_batches_when_cycled_past_65536_then_all_come_back),
        QUEUE_TEST(given_chain_in_flight_when_others_cycle_then_its_descriptors_untouched),
        QUEUE_TEST(given_callbacks_when_switched_then_flags_are_0_or_1),
        QUEUE_TEST(given_garbage_in_flags_when_callbacks_switched_then_flags_are_0_or_1),
        QUEUE_TEST(given_callbacks_enabled_when_ring_rechecked_then_full_barrier_between),
        QUEUE_TEST(given_interrupt_when_nothing_is_used_then_counted_as_spurious),
        QUEUE_TEST(given_interrupt_when_callbacks_are_off_then_harmless),
        QUEUE_TEST(given_two_of_three_popped_when_asked_then_has_used),
        QUEUE_TEST(given_used_idx_when_not_within_chains_in_flight_then_broken),
        QUEUE_TEST(given_used_idx_when_it_goes_back_then_broken),
        QUEUE_TEST(given_used_idx_when_nothing_is_in_flight_then_broken),
        QUEUE_TEST(given_full_largest_queue_when_idx_is_one_too_far_then_broken),
        QUEUE_TEST(given_used_id_when_not_a_head_in_flight_then_broken),
        QUEUE_TEST(given_id_when_returned_twice_then_broken),
        QUEUE_TEST(given_old_id_when_its_descriptor_is_reused_but_not_published_then_broken),
        QUEUE_TEST(given_used_len_when_more_than_writable_then_broken),
        QUEUE_TEST(given_readable_chain_when_returned_with_len_1_then_broken),
        QUEUE_TEST(given_broken_queue_when_device_becomes_honest_then_still_broken),
        QUEUE_TEST(given_broken_queue_when_interrupted_then_harmless),
        QUEUE_TEST(given_device_that_rewrites_our_areas_when_used_then_no_effect),
        QUEUE_TEST(given_table_rewritten_while_filled_when_returned_then_shadow_counts),
        QUEUE_TEST(given_chains_in_flight_when_drained_then_each_cookie_comes_once),
        QUEUE_TEST(given_broken_queue_when_drained_and_initialised_then_works_again),
        QUEUE_TEST(given_broken_queue_when_drained_then_still_takes_nothing),
        QUEUE_TEST(given_empty_or_zeroed_queue_when_drained_then_nothing),
        QUEUE_TEST(given_random_steps_when_compared_with_a_model_then_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
