/* core/virtqueue.h: VIRTIO_F_IN_ORDER (virtio 1.4, 2.7.9 In-order use of descriptors). */

#include "tests/fakes/fake_log.h"
#include "tests/fakes/queue_fixture.h"
#include "tests/fakes/testing.h"

#define IN_ORDER VIO_FEATURE(VIRTIO_F_IN_ORDER)

/* Bytes that a chain of add_chain(n) lets the device write. */
#define WRITABLE(n_bufs) (512u * ((n_bufs)-1))

static int set_up(void **state)
{
    (void)state;
    make_queue_with(8, IN_ORDER);
    return 0;
}

/* One element for the oldest n chains: it names the last of them. */
static void return_batch(const uint16_t *heads, unsigned n_chains, uint32_t len)
{
    fake_ring_write_used(&ring, ring.used_idx, heads[n_chains - 1], len);
    fake_ring_set_used_idx(&ring, (uint16_t)(ring.used_idx + n_chains));
}

/* @p n_chains chains of 2 buffers with the device. */
static void give_chains(unsigned n_chains, uint16_t *ret_heads)
{
    for (unsigned i = 0; i < n_chains; i++)
        add_chain(2, &cookies[i]);
    virtqueue_publish(&vq);
    for (unsigned i = 0; i < n_chains; i++)
        ret_heads[i] = take_head();
}

static void given_in_order_when_chains_cycle_then_descriptors_go_in_table_order(void **state)
{
    /* Checks: X-SPLIT-5, SPLIT-DESC-2 */
    (void)state;
    struct fake_part parts[8];

    for (unsigned i = 0; i < 200; i++) {
        unsigned n_bufs = i % 3 + 2; /* 2, 3, 4: links across the end of the table among them */
        add_chain(n_bufs, &cookies[i]);
        virtqueue_publish(&vq);
        uint16_t head = take_head();
        assert_int_equal(fake_ring_read_chain(&ring, head, parts), n_bufs);
        fake_ring_return(&ring, head, 5);
        assert_pops(&cookies[i], 5);
    }
}

static void given_one_element_for_a_batch_when_popped_then_all_chains_come(void **state)
{
    /* Checks: X-SPLIT-6 */
    (void)state;
    uint16_t heads[4];

    for (unsigned round = 0; round < 20000; round++) { /* past 65536 */
        unsigned n_chains = round % 4 + 1;
        give_chains(n_chains, heads);
        return_batch(heads, n_chains, 7);

        /* Those without an element of their own were written in full. */
        for (unsigned i = 0; i + 1 < n_chains; i++)
            assert_pops(&cookies[i], WRITABLE(2));
        assert_pops(&cookies[n_chains - 1], 7);
        assert_pop_fails(VIO_EMPTY);
        assert_int_equal(virtqueue_free_descriptors(&vq), 8);
    }
}

/* Against the contract, for the device was not reset; but no cookie may come twice for that. */
static void given_rest_of_a_batch_when_drained_and_popped_then_broken(void **state)
{
    (void)state;
    uint16_t heads[4];

    for (unsigned n_drained = 1; n_drained <= 3; n_drained++) {
        init_queue();
        give_chains(4, heads);
        return_batch(heads, 4, 7);
        assert_pops(&cookies[0], WRITABLE(2));
        for (unsigned i = 0; i < n_drained; i++)
            assert_ptr_equal(drain(), &cookies[1 + i]);

        assert_broken(VIRTQUEUE_FAULT_ID_NOT_HEAD, heads[1]);
    }
}

static void given_two_batches_at_once_when_popped_then_each_element_counts_for_its_own(void **state)
{
    /* Checks: X-SPLIT-6 */
    (void)state;
    uint16_t heads[4];
    give_chains(4, heads);
    fake_ring_write_used(&ring, 0, heads[2], 100);
    fake_ring_write_used(&ring, 3, heads[3], 200);
    fake_ring_set_used_idx(&ring, 4);

    assert_pops(&cookies[0], WRITABLE(2));
    assert_pops(&cookies[1], WRITABLE(2));
    assert_pops(&cookies[2], 100);
    assert_pops(&cookies[3], 200);
    assert_pop_fails(VIO_EMPTY);
}

static void given_batch_when_popped_then_one_element_and_one_idx_are_read(void **state)
{
    (void)state;
    uint16_t heads[4];
    give_chains(4, heads);
    return_batch(heads, 4, 1);
    fake_log_start();

    for (unsigned i = 0; i < 4; i++)
        assert_pops(&cookies[i], i == 3 ? 1 : WRITABLE(2));

    assert_int_equal(fake_log_count(FAKE_LOAD), 3); /* idx, id, len */
    assert_int_equal(fake_log_count(FAKE_RMB), 1);
}

static void given_element_for_each_chain_when_popped_then_the_same(void **state)
{
    (void)state;
    uint16_t heads[4];
    give_chains(4, heads);
    for (unsigned i = 0; i < 4; i++)
        fake_ring_return(&ring, heads[i], i);

    for (unsigned i = 0; i < 4; i++)
        assert_pops(&cookies[i], i);
}

static void given_half_a_batch_popped_when_more_is_added_then_the_rest_comes_first(void **state)
{
    (void)state;
    uint16_t heads[4];
    give_chains(3, heads);
    return_batch(heads, 3, 9);
    assert_pops(&cookies[0], WRITABLE(2));

    fake_ring_return(&ring, give_one(&cookies[10]), 10);

    assert_pops(&cookies[1], WRITABLE(2));
    assert_pops(&cookies[2], 9);
    assert_pops(&cookies[10], 10);
}

static void given_id_out_of_order_when_popped_then_broken(void **state)
{
    (void)state;
    uint16_t heads[4];
    give_chains(3, heads);

    fake_ring_return(&ring, heads[1], 0);

    assert_broken(VIRTQUEUE_FAULT_ORDER, heads[1]);
}

static void given_id_outside_the_queue_when_popped_then_broken(void **state)
{
    (void)state;
    uint16_t heads[1];
    give_chains(1, heads);

    fake_ring_return(&ring, 8, 0);

    assert_broken(VIRTQUEUE_FAULT_ID_RANGE, 8);
}

static void given_batch_reaching_behind_used_idx_when_popped_then_broken(void **state)
{
    (void)state;
    uint16_t heads[4];
    give_chains(4, heads);
    fake_ring_write_used(&ring, 0, heads[3], 0);
    fake_ring_set_used_idx(&ring, 3);

    assert_broken(VIRTQUEUE_FAULT_ORDER, heads[3]);
}

static void given_second_batch_naming_a_popped_chain_when_popped_then_broken(void **state)
{
    (void)state;
    uint16_t heads[4];
    give_chains(4, heads);
    return_batch(heads, 2, 0);
    assert_pops(&cookies[0], WRITABLE(2));
    assert_pops(&cookies[1], 0);

    return_batch(heads, 2, 0);

    assert_broken(VIRTQUEUE_FAULT_ID_NOT_HEAD, heads[1]);
}

static void given_len_of_the_last_chain_when_more_than_writable_then_broken(void **state)
{
    (void)state;
    uint16_t heads[2];
    give_chains(2, heads);
    return_batch(heads, 2, WRITABLE(2) + 1);

    assert_broken(VIRTQUEUE_FAULT_LEN, WRITABLE(2) + 1);
}

static void given_unpublished_chain_when_returned_then_broken(void **state)
{
    (void)state;
    uint16_t heads[1];
    give_chains(1, heads);
    add_chain(2, &cookies[1]);

    fake_ring_return(&ring, (uint16_t)(heads[0] + 2), 0);

    assert_broken(VIRTQUEUE_FAULT_ID_NOT_HEAD, heads[0] + 2u);
}

static void given_drained_queue_when_made_again_then_order_begins_at_0(void **state)
{
    (void)state;
    uint16_t heads[3];
    give_chains(3, heads);
    return_batch(heads, 2, 0);
    assert_pops(&cookies[0], WRITABLE(2));
    for (unsigned i = 0; i < 2; i++)
        assert_non_null(drain());
    assert_null(drain());
    assert_int_equal(virtqueue_in_flight(&vq), 0);

    init_queue();
    give_chains(2, heads);

    assert_int_equal(heads[0], 0);
    return_batch(heads, 2, 3);
    assert_pops(&cookies[0], WRITABLE(2));
    assert_pops(&cookies[1], 3);
}

static void given_each_size_when_one_element_returns_a_full_queue_then_all_come(void **state)
{
    /* Checks: X-SPLIT-6 */
    (void)state;
    for (uint32_t size = 1; size <= VIRTQUEUE_SIZE_MAX; size *= 2) {
        uint16_t last = 0;

        free_queue();
        make_queue_with((uint16_t)size, IN_ORDER);
        for (unsigned round = 0; round < 3; round++) {
            for (uint32_t i = 0; i < size; i++)
                add_one(&cookies[i]);
            virtqueue_publish(&vq);
            for (uint32_t i = 0; i < size; i++)
                last = take_head();
            return_batch(&last, 1, 4);
            fake_ring_set_used_idx(&ring, (uint16_t)(ring.used_idx + size - 1));
            for (uint32_t i = 0; i < size; i++)
                assert_pops(&cookies[i], i + 1 < size ? 100 : 4);
            assert_pop_fails(VIO_EMPTY);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, queue_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(given_in_order_when_chains_cycle_then_descriptors_go_in_table_order),
        TEST(given_one_element_for_a_batch_when_popped_then_all_chains_come),
        TEST(given_rest_of_a_batch_when_drained_and_popped_then_broken),
        TEST(given_two_batches_at_once_when_popped_then_each_element_counts_for_its_own),
        TEST(given_batch_when_popped_then_one_element_and_one_idx_are_read),
        TEST(given_element_for_each_chain_when_popped_then_the_same),
        TEST(given_half_a_batch_popped_when_more_is_added_then_the_rest_comes_first),
        TEST(given_id_out_of_order_when_popped_then_broken),
        TEST(given_id_outside_the_queue_when_popped_then_broken),
        TEST(given_batch_reaching_behind_used_idx_when_popped_then_broken),
        TEST(given_second_batch_naming_a_popped_chain_when_popped_then_broken),
        TEST(given_len_of_the_last_chain_when_more_than_writable_then_broken),
        TEST(given_unpublished_chain_when_returned_then_broken),
        TEST(given_drained_queue_when_made_again_then_order_begins_at_0),
        TEST(given_each_size_when_one_element_returns_a_full_queue_then_all_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
