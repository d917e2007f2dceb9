/* core/virtqueue.h: chains in indirect tables (virtio 1.4, 2.7.5.3 Indirect Descriptors). */

#include "tests/fakes/fake_log.h"
#include "tests/fakes/queue_fixture.h"
#include "tests/fakes/testing.h"

#include <limits.h>

#define INDIRECT VIO_FEATURE(VIRTIO_F_INDIRECT_DESC)
#define IN_ORDER VIO_FEATURE(VIRTIO_F_IN_ORDER)

static int set_up(void **state)
{
    (void)state;
    make_queue_with(8, INDIRECT);
    return 0;
}

/* The queue's own descriptor of a chain. */
static struct virtq_desc *head_desc(uint16_t head)
{
    return &fake_ring_desc(&ring)[head];
}

static bool is_indirect(uint16_t head)
{
    return (le16_to(head_desc(head)->flags) & VIRTQ_DESC_F_INDIRECT) != 0;
}

static void fill_bufs(struct vio_buffer *bufs, unsigned n_bufs)
{
    for (unsigned i = 0; i < n_bufs; i++)
        bufs[i] = i < n_bufs / 2 ? readable(0x10000 + i, i + 1) : writable(0x20000 + i, i + 1);
}

static void given_feature_when_chain_added_then_one_descriptor_stands_for_a_table(void **state)
{
    /* Checks: SPLIT-IND-1, SPLIT-IND-2, SPLIT-IND-4 */
    (void)state;
    struct vio_buffer bufs[8];
    struct fake_part parts[8];

    for (unsigned n_bufs = 2; n_bufs <= 8; n_bufs++) {
        fill_bufs(bufs, n_bufs);
        assert_int_equal(virtqueue_add(&vq, bufs, n_bufs, &cookies[n_bufs]), VIO_OK);
        virtqueue_publish(&vq);
        uint16_t head = take_head();

        assert_int_equal(virtqueue_free_descriptors(&vq), 7);
        assert_int_equal(le16_to(head_desc(head)->flags), VIRTQ_DESC_F_INDIRECT);
        assert_int_equal(le32_to(head_desc(head)->len), 16 * n_bufs);
        assert_int_equal(fake_ring_read_chain(&ring, head, parts), n_bufs);
        for (unsigned i = 0; i < n_bufs; i++) {
            assert_true(parts[i].addr == bufs[i].addr);
            assert_int_equal(parts[i].len, bufs[i].len);
            assert_int_equal(parts[i].device_writable, bufs[i].device_writable);
        }
        fake_ring_return(&ring, head, bufs[n_bufs - 1].len);
        assert_pops(&cookies[n_bufs], bufs[n_bufs - 1].len);
    }
}

static void given_single_buffer_when_added_then_no_table_as_it_saves_nothing(void **state)
{
    (void)state;
    assert_int_equal(virtqueue_descriptors_needed(&vq, 1), 1);

    uint16_t head = give_one(&cookies[0]);

    assert_false(is_indirect(head));
    assert_true(le64_to(head_desc(head)->addr) == 0x1000);
}

static void given_no_feature_when_chain_added_then_direct(void **state)
{
    /* Checks: SPLIT-IND-1 */
    (void)state;
    free_queue();
    make_queue(8);
    struct fake_part parts[8];

    add_chain(5, &cookies[0]);
    virtqueue_publish(&vq);

    assert_int_equal(virtqueue_descriptors_needed(&vq, 5), 5);
    assert_int_equal(virtqueue_free_descriptors(&vq), 3);
    uint16_t head = take_head();
    assert_false(is_indirect(head));
    assert_int_equal(fake_ring_read_chain(&ring, head, parts), 5);
}

static void given_feature_but_no_memory_for_tables_when_chain_added_then_direct(void **state)
{
    (void)state;
    config.indirect = NULL;
    init_queue();

    add_chain(4, &cookies[0]);

    assert_int_equal(virtqueue_free_descriptors(&vq), 4);
}

static void given_chain_longer_than_a_table_when_added_then_direct(void **state)
{
    (void)state;
    config.indirect_entries = 3;
    init_queue();
    struct fake_part parts[8];

    assert_int_equal(virtqueue_descriptors_needed(&vq, 3), 1);
    assert_int_equal(virtqueue_descriptors_needed(&vq, 4), 4);
    add_chain(3, &cookies[0]);
    add_chain(4, &cookies[1]);
    virtqueue_publish(&vq);

    uint16_t heads[] = {take_head(), take_head()};
    assert_true(is_indirect(heads[0]));
    assert_false(is_indirect(heads[1]));
    assert_int_equal(fake_ring_read_chain(&ring, heads[0], parts), 3);
    assert_int_equal(fake_ring_read_chain(&ring, heads[1], parts), 4);
    assert_int_equal(virtqueue_free_descriptors(&vq), 3);
    fake_ring_return(&ring, heads[1], 1);
    fake_ring_return(&ring, heads[0], 2);
    assert_pops(&cookies[1], 1);
    assert_pops(&cookies[0], 2);
    assert_int_equal(virtqueue_free_descriptors(&vq), 8);
}

/* --- Chains that need no table while there is room -------------------------------------------- */

static void use_direct(uint16_t direct_max)
{
    config.direct_max = direct_max;
    init_queue();
}

static void given_direct_max_when_chains_added_then_tables_begin_where_it_ends(void **state)
{
    (void)state;
    struct fake_part parts[8];

    for (unsigned direct_max = 0; direct_max <= 9; direct_max++) {
        unsigned n_direct = (direct_max < 8 ? direct_max : 8) / 3;
        unsigned n_chains = n_direct + (8 - 3 * n_direct);
        use_direct((uint16_t)direct_max);

        for (unsigned i = 0; i < n_chains; i++) {
            unsigned n_free = virtqueue_free_descriptors(&vq);
            add_chain(3, &cookies[i]);
            virtqueue_publish(&vq);
            uint16_t head = take_head();
            assert_int_equal(is_indirect(head), i >= n_direct);
            assert_int_equal(n_free - virtqueue_free_descriptors(&vq), i < n_direct ? 3 : 1);
            assert_int_equal(fake_ring_read_chain(&ring, head, parts), 3);
        }

        struct vio_buffer bufs[3];
        fill_bufs(bufs, 3);
        assert_int_equal(virtqueue_free_descriptors(&vq), 0);
        assert_int_equal(virtqueue_add(&vq, bufs, 3, cookies), VIO_ERR_QUEUE_FULL);
    }
}

static void given_direct_max_when_room_comes_back_then_no_table_again(void **state)
{
    (void)state;
    uint16_t heads[3];

    use_direct(4);
    for (unsigned i = 0; i < 3; i++) {
        add_chain(3, &cookies[i]);
        virtqueue_publish(&vq);
        heads[i] = take_head();
    }
    assert_false(is_indirect(heads[0]));
    assert_true(is_indirect(heads[1]));

    /* With one in a table still there, three more would be four: that is allowed. */
    fake_ring_return(&ring, heads[0], 1);
    fake_ring_return(&ring, heads[1], 1);
    assert_pops(&cookies[0], 1);
    assert_pops(&cookies[1], 1);
    add_chain(3, &cookies[0]);
    virtqueue_publish(&vq);

    assert_false(is_indirect(take_head()));
    assert_int_equal(virtqueue_free_descriptors(&vq), 4);
}

static void given_direct_max_when_chain_is_empty_or_too_long_then_invalid(void **state)
{
    (void)state;
    static const unsigned lengths[] = {0, 9, 65536, UINT_MAX - 4, UINT_MAX};
    struct vio_buffer buf = writable(0x1000, 1);

    use_direct(4);
    for (unsigned i = 0; i < ARRAY_LENGTH(lengths); i++)
        assert_int_equal(virtqueue_add(&vq, &buf, lengths[i], cookies), VIO_ERR_INVALID);
    assert_int_equal(virtqueue_free_descriptors(&vq), 8);
}

static void given_direct_max_but_no_feature_when_chains_added_then_direct_to_the_end(void **state)
{
    (void)state;
    config.features &= ~INDIRECT;
    use_direct(2);

    add_chain(4, &cookies[0]);
    add_chain(4, &cookies[1]);

    assert_int_equal(virtqueue_free_descriptors(&vq), 0);
}

static void given_each_size_when_chain_as_long_as_the_queue_then_taken_and_none_longer(void **state)
{
    /* Checks: SPLIT-IND-3 */
    (void)state;
    static struct vio_buffer bufs[VIRTQUEUE_SIZE_MAX + 1];
    static struct fake_part parts[VIRTQUEUE_SIZE_MAX];

    for (unsigned i = 0; i < ARRAY_LENGTH(bufs); i++)
        bufs[i] = writable(0x1000 + i, 3);
    for (uint32_t size = 1; size <= VIRTQUEUE_SIZE_MAX; size *= 2) {
        free_queue();
        make_queue_with((uint16_t)size, INDIRECT);
        /* A table of the queue's length for the first descriptor, which is the one that is used. */
        struct vio_dma long_table;
        assert_int_equal(
            platform.platform.ops->dma_alloc(&platform, 16 * (size_t)size, &long_table), VIO_OK);
        vq.tables = long_table.memory;
        vq.tables_addr = long_table.addr;
        vq.table_entries = (uint16_t)size;

        assert_int_equal(virtqueue_add(&vq, bufs, size + 1, cookies), VIO_ERR_INVALID);
        assert_int_equal(virtqueue_add(&vq, bufs, size, cookies), VIO_OK);
        virtqueue_publish(&vq);
        uint16_t head = take_head();
        assert_int_equal(virtqueue_free_descriptors(&vq), size - 1);
        assert_int_equal(fake_ring_read_chain(&ring, head, parts), size);
        fake_ring_return(&ring, head, 3 * size);
        assert_pops(cookies, 3 * size);
        platform.platform.ops->dma_free(&platform, &long_table);
    }
}

static void given_bad_chain_when_added_to_a_table_then_invalid_and_nothing_taken(void **state)
{
    /* Checks: SPLIT-FRAME-1, SPLIT-DESC-1 */
    (void)state;
    const struct vio_buffer cases[][2] = {
        {readable(0x1000, 0), readable(0x2000, 1)},
        {readable(0x1000, 1), readable(0x2000, 0)},
        {readable(0x1000, 1), writable(0x2000, 0)},
        {writable(0x1000, 0), writable(0x2000, 1)},
        {writable(0x1000, 1), readable(0x2000, 1)},
        {readable(0x1000, UINT32_MAX), readable(0x2000, 1)},
        {writable(0x1000, UINT32_MAX), writable(0x2000, 1)},
        {readable(0x1000, 0x80000000), writable(0x2000, 0x80000000)},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        assert_int_equal(virtqueue_add(&vq, cases[i], 2, cookies), VIO_ERR_INVALID);
        assert_int_equal(virtqueue_free_descriptors(&vq), 8);
        assert_int_equal(virtqueue_in_flight(&vq), 0);
    }
    virtqueue_publish(&vq);
    assert_int_equal(fake_ring_n_available(&ring), 0);
}

static void given_table_longer_than_the_queue_when_chain_too_long_then_invalid(void **state)
{
    /* Checks: SPLIT-IND-3 */
    (void)state;
    struct vio_buffer bufs[4];

    free_queue();
    make_queue_with(2, INDIRECT);
    fill_bufs(bufs, 4);

    assert_int_equal(virtqueue_add(&vq, bufs, 3, cookies), VIO_ERR_INVALID);
    assert_int_equal(virtqueue_add(&vq, bufs, 2, cookies), VIO_OK);
    assert_int_equal(virtqueue_free_descriptors(&vq), 1);
}

static void given_full_queue_of_tables_when_returned_then_each_had_memory_of_its_own(void **state)
{
    (void)state;
    static const unsigned rounds = 9000; /* past 65536 chains */

    for (unsigned round = 0; round < rounds; round++) {
        uint16_t heads[8];
        struct fake_part parts[8];

        for (unsigned i = 0; i < 8; i++) {
            const struct vio_buffer bufs[] = {readable(round, 1), writable(i, 2), writable(i, 3)};
            assert_int_equal(virtqueue_add(&vq, bufs, 3, &cookies[i]), VIO_OK);
        }
        assert_int_equal(virtqueue_free_descriptors(&vq), 0);
        virtqueue_publish(&vq);
        for (unsigned i = 0; i < 8; i++)
            heads[i] = take_head();
        for (unsigned i = 0; i < 8; i++) {
            unsigned chosen = (i * 3 + round) % 8;
            assert_int_equal(fake_ring_read_chain(&ring, heads[chosen], parts), 3);
            assert_true(parts[0].addr == round && parts[2].addr == chosen);
            fake_ring_return(&ring, heads[chosen], chosen % 6);
            assert_pops(&cookies[chosen], chosen % 6);
        }
    }
}

static void given_full_queue_when_table_added_then_queue_full_and_nothing_written(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        add_chain(2, &cookies[i]);
    const struct vio_buffer bufs[] = {readable(1, 1), readable(2, 2)};
    fake_log_start();

    assert_int_equal(virtqueue_add(&vq, bufs, 2, cookies), VIO_ERR_QUEUE_FULL);

    assert_int_equal(fake_log_length(), 0);
}

static void given_one_free_descriptor_when_chain_added_then_a_table_still_fits(void **state)
{
    (void)state;
    config.indirect_entries = 4;
    init_queue();
    add_chain(7, &cookies[0]); /* direct, as it is longer than a table */
    assert_int_equal(virtqueue_free_descriptors(&vq), 1);

    add_chain(4, &cookies[1]);

    assert_int_equal(virtqueue_free_descriptors(&vq), 0);
}

static void given_table_of_long_ago_when_reused_then_no_entry_of_it_is_left(void **state)
{
    (void)state;
    struct fake_part parts[8];

    for (unsigned i = 0; i < 8; i++) {
        add_chain(8, &cookies[i]);
        virtqueue_publish(&vq);
        fake_ring_return(&ring, take_head(), 0);
        assert_pops(&cookies[i], 0);
    }
    add_chain(2, &cookies[0]);
    virtqueue_publish(&vq);

    assert_int_equal(fake_ring_read_chain(&ring, take_head(), parts), 2);
}

static void given_table_and_descriptor_rewritten_when_returned_then_shadow_counts(void **state)
{
    (void)state;
    add_chain(3, &cookies[0]);
    virtqueue_publish(&vq);
    uint16_t head = take_head();

    memset(tables.memory, 0xFF, tables.bytes);
    memset(fake_ring_desc(&ring), 0xFF, sizeof(struct virtq_desc) * 8);
    fake_ring_return(&ring, head, 2 * 512);
    assert_pops(&cookies[0], 2 * 512);

    add_chain(3, &cookies[1]);
    virtqueue_publish(&vq);
    fake_ring_return(&ring, take_head(), 2 * 512 + 1);
    assert_broken(VIRTQUEUE_FAULT_LEN, 2 * 512 + 1);
}

static void given_in_order_when_tables_and_chains_mixed_then_all_in_table_order(void **state)
{
    /* Checks: SPLIT-IND-5, X-SPLIT-5, SPLIT-DESC-2 */
    (void)state;
    free_queue();
    make_queue_with(8, INDIRECT | IN_ORDER);
    config.indirect_entries = 3;
    init_queue();
    struct fake_part parts[8];
    unsigned wrapped = 0;

    for (unsigned i = 0; i < 100; i++) {
        unsigned n_bufs = i % 5 + 1; /* 1: direct; 2, 3: a table; 4, 5: direct */
        add_chain(n_bufs, &cookies[i]);
        virtqueue_publish(&vq);
        uint16_t head = take_head(); /* checks the order of the heads */
        wrapped += head == 0;
        assert_int_equal(is_indirect(head), n_bufs == 2 || n_bufs == 3);
        assert_int_equal(fake_ring_read_chain(&ring, head, parts), n_bufs);
        fake_ring_return(&ring, head, 0);
        assert_pops(&cookies[i], 0);
    }
    assert_in_range(wrapped, 3, 100);
}

static void given_table_when_added_then_written_before_idx(void **state)
{
    /* Checks: X-SPLIT-1 */
    (void)state;
    const void *avail_idx = &fake_ring_avail(&ring)->idx;
    fake_log_start();

    add_chain(3, &cookies[0]);
    virtqueue_publish(&vq);

    /* Three entries and the descriptor of two words each, the ring entry, idx. */
    assert_int_equal(fake_log_count(FAKE_STORE), 2 * 4 + 1 + 1);
    assert_int_equal(fake_log_count(FAKE_LOAD), 0);
    size_t idx_store = fake_log_find_access(FAKE_STORE, avail_idx, 0);
    assert_int_equal(idx_store, fake_log_length() - 1);
    assert_int_equal(fake_log_at(idx_store - 1)->kind, FAKE_WMB);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, queue_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_feature_when_chain_added_then_one_descriptor_stands_for_a_table),
        TEST(given_single_buffer_when_added_then_no_table_as_it_saves_nothing),
        TEST(given_no_feature_when_chain_added_then_direct),
        TEST(given_feature_but_no_memory_for_tables_when_chain_added_then_direct),
        TEST(given_chain_longer_than_a_table_when_added_then_direct),
        TEST(given_direct_max_when_chains_added_then_tables_begin_where_it_ends),
        TEST(given_direct_max_when_room_comes_back_then_no_table_again),
        TEST(given_direct_max_when_chain_is_empty_or_too_long_then_invalid),
        TEST(given_direct_max_but_no_feature_when_chains_added_then_direct_to_the_end),
        TEST(given_each_size_when_chain_as_long_as_the_queue_then_taken_and_none_longer),
        TEST(given_bad_chain_when_added_to_a_table_then_invalid_and_nothing_taken),
        TEST(given_table_longer_than_the_queue_when_chain_too_long_then_invalid),
        TEST(given_full_queue_of_tables_when_returned_then_each_had_memory_of_its_own),
        TEST(given_full_queue_when_table_added_then_queue_full_and_nothing_written),
        TEST(given_one_free_descriptor_when_chain_added_then_a_table_still_fits),
        TEST(given_table_of_long_ago_when_reused_then_no_entry_of_it_is_left),
        TEST(given_table_and_descriptor_rewritten_when_returned_then_shadow_counts),
        TEST(given_in_order_when_tables_and_chains_mixed_then_all_in_table_order),
        TEST(given_table_when_added_then_written_before_idx),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
