/* core/virtqueue.h: each lie has words of its own, and the value that the device gave. */

#include "tests/fakes/queue_fixture.h"
#include "tests/fakes/testing.h"

#define NO_FEATURES 0u
#define ANY_HEAD    UINT32_MAX

/* Two chains of 100 bytes are with the device; it returns this. */
static const struct {
    uint64_t features;
    uint16_t n_announced;
    uint32_t chain; /* 0 or 1; ANY_HEAD: not a head but `id` */
    uint32_t id;
    uint32_t len;
    enum virtqueue_fault fault;
    uint64_t value;
    const char *text;
} lies[] = {
    {NO_FEATURES, 3, 0, 0, 0, VIRTQUEUE_FAULT_USED_IDX, 3,
     "used idx is not within the chains in flight"},
    {NO_FEATURES, 1, ANY_HEAD, 0x10000, 0, VIRTQUEUE_FAULT_ID_RANGE, 0x10000,
     "used id is no descriptor of the queue"},
    {NO_FEATURES, 1, ANY_HEAD, 7, 0, VIRTQUEUE_FAULT_ID_NOT_HEAD, 7,
     "used id is not the head of a chain in flight"},
    {NO_FEATURES, 1, 0, 0, 101, VIRTQUEUE_FAULT_LEN, 101,
     "used len is more than the chain's writable bytes"},
    {VIO_FEATURE(VIRTIO_F_IN_ORDER), 1, 1, 0, 0, VIRTQUEUE_FAULT_ORDER, 1,
     "used id is out of order, which IN_ORDER forbids"},
};

static void given_each_lie_when_popped_then_named_in_words_with_its_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(lies); i++) {
        make_queue_with(8, lies[i].features);
        const uint16_t heads[] = {give_one(&cookies[0]), give_one(&cookies[1])};
        uint32_t id = lies[i].chain == ANY_HEAD ? lies[i].id : heads[lies[i].chain];
        fake_ring_write_used(&ring, 0, id, lies[i].len);
        fake_ring_set_used_idx(&ring, lies[i].n_announced);

        assert_pop_fails(VIO_ERR_QUEUE_BROKEN);

        uint64_t value = 0;
        assert_string_equal(virtqueue_fault_text(&vq, &value), lies[i].text);
        assert_int_equal(value, lies[i].value);
        assert_int_equal(virtqueue_fault(&vq), lies[i].fault);
        free_queue();
    }
}

static void given_queue_without_fault_when_asked_then_says_so(void **state)
{
    (void)state;
    uint64_t value = 1;

    assert_string_equal(virtqueue_fault_text(&vq, &value), "no fault");

    assert_int_equal(value, 0);
    assert_int_equal(virtqueue_fault(&vq), VIRTQUEUE_FAULT_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_each_lie_when_popped_then_named_in_words_with_its_value),
        QUEUE_TEST(given_queue_without_fault_when_asked_then_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
