/* tests/fakes/ring_driver_virtboot.h: what it does behind the queue's back is what use does. */

#include "core/mem.h"
#include "tests/fakes/queue_fixture.h"
#include "tests/fakes/ring_driver_virtboot.h"
#include "tests/fakes/testing.h"

#define N_CHAINS 65528u /* a whole number of rounds, so that the free list begins at 0 again */

/* Of what two queues have in common: not how often the device was notified, nor about what. */
static struct virtqueue quiet_copy(void)
{
    virtqueue_disable_callbacks(&vq);
    struct virtqueue copy = vq;
    memset(&copy.counters, 0, sizeof(copy.counters));
    copy.batch_len = 0;
    return copy;
}

static void given_each_layout_when_aged_then_equal_to_a_queue_that_was_used(void **state)
{
    static const uint64_t features[] = {0, VIO_FEATURE(VIRTIO_F_EVENT_IDX),
                                        VIO_FEATURE(VIRTIO_F_IN_ORDER)};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(features); i++) {
        make_queue_with(8, features[i]);
        for (unsigned n = 0; n < N_CHAINS; n++) {
            fake_ring_return(&ring, give_one(&cookies[n % 8]), 100);
            (void)virtqueue_notify(&vq); /* whether the device wanted it is no matter here */
            assert_pops(&cookies[n % 8], 100);
        }
        struct virtqueue used = quiet_copy();
        uint16_t used_idx = le16_to(fake_ring_avail(&ring)->idx);
        init_queue();

        ring_driver_age_queue(&vq, N_CHAINS);

        struct virtqueue aged = quiet_copy();
        assert_memory_equal(&aged, &used, sizeof(aged));
        assert_int_equal(le16_to(fake_ring_avail(&ring)->idx), used_idx);
        free_queue();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_each_layout_when_aged_then_equal_to_a_queue_that_was_used),
    };

    return cmocka_run_group_tests_name("ring_driver", tests, NULL, NULL);
}
