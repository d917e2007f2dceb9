/* core/virtqueue.h: the queue of a device that is driven by its legacy interface. */

#include "tests/fakes/fake_log.h"
#include "tests/fakes/queue_fixture.h"
#include "tests/fakes/testing.h"

#define PAGE 4096u

static struct vio_dma legacy_rings;

static void make_legacy_queue(uint16_t size)
{
    size_t bytes = virtqueue_legacy_ring_bytes(size);

    make_queue(size);
    assert_int_equal(platform.platform.ops->dma_alloc(&platform, bytes, &legacy_rings), VIO_OK);
    memset(legacy_rings.memory, 0xA5, bytes);
    config.is_legacy = true;
    config.rings = &legacy_rings;
    init_queue();
}

static void free_legacy_queue(void)
{
    platform.platform.ops->dma_free(&platform, &legacy_rings);
    free_queue();
}

static void given_each_size_when_initialised_then_one_piece_with_the_used_ring_on_a_page(void **s)
{
    /* Checks: SPLIT-LEG-2, SPLIT-LEG-3, X-PCIL-1 */
    (void)s;
    for (uint32_t size = 1; size <= VIRTQUEUE_SIZE_MAX; size *= 2) {
        make_legacy_queue((uint16_t)size);
        struct virtqueue_addresses at = virtqueue_addresses(&vq);
        size_t used_offset = (16 * size + 6 + 2 * size + PAGE - 1) / PAGE * PAGE;
        size_t used_bytes = (6 + 8 * size + PAGE - 1) / PAGE * PAGE;

        assert_int_equal(virtqueue_legacy_ring_bytes((uint16_t)size), used_offset + used_bytes);
        assert_true(at.descriptor_area == legacy_rings.addr);
        assert_true(at.driver_area == legacy_rings.addr + 16 * size);
        assert_true(at.device_area == legacy_rings.addr + used_offset);
        /* All zero, the gap in front of the used ring too, but for the wish to get no interrupts. */
        const uint8_t *bytes = legacy_rings.memory;
        for (size_t i = 0; i < legacy_rings.bytes; i++)
            assert_int_equal(bytes[i], i == 16 * size ? VIRTQ_AVAIL_F_NO_INTERRUPT : 0);
        free_legacy_queue();
    }
}

static void given_known_sizes_when_asked_then_bytes_match_the_specification(void **state)
{
    /* Checks: SPLIT-LEG-2 */
    (void)state;
    assert_int_equal(virtqueue_legacy_ring_bytes(128), 4096 + 4096);
    assert_int_equal(virtqueue_legacy_ring_bytes(256), 8192 + 4096);
    assert_int_equal(virtqueue_legacy_ring_bytes(1024), 20480 + 12288);
}

static void given_memory_off_a_page_or_too_short_when_initialised_then_invalid(void **state)
{
    (void)state;
    make_legacy_queue(8);
    struct vio_dma other = legacy_rings;
    config.rings = &other;

    other.addr += 16;
    assert_int_equal(virtqueue_init(&vq, &config), VIO_ERR_INVALID);
    other.addr = legacy_rings.addr;
    other.bytes--;
    assert_int_equal(virtqueue_init(&vq, &config), VIO_ERR_INVALID);
    other.bytes++;
    assert_int_equal(virtqueue_init(&vq, &config), VIO_OK);

    /* The tables have no such needs. */
    struct vio_dma moved = tables;
    moved.addr += 16;
    config.indirect = &moved;
    assert_int_equal(virtqueue_init(&vq, &config), VIO_OK);
    free_legacy_queue();
}

static void given_chain_when_published_then_all_words_in_the_order_of_this_processor(void **state)
{
    /* Checks: SPLIT-LEG-4 */
    (void)state;
    make_legacy_queue(8);
    const uint8_t *memory = legacy_rings.memory;
    uint64_t addr;
    uint32_t len;
    uint16_t idx;

    add_one(cookies);
    virtqueue_publish(&vq);

    memcpy(&addr, memory, sizeof(addr));
    memcpy(&len, memory + 8, sizeof(len));
    memcpy(&idx, memory + 16 * 8 + 2, sizeof(idx));
    assert_int_equal(addr, 0x1000);
    assert_int_equal(len, 100);
    assert_int_equal(idx, 1);
    free_legacy_queue();
}

static void given_any_len_when_popped_then_no_more_than_fits_and_not_broken(void **state)
{
    /* Checks: X-SPLITL-1 */
    (void)state;
    static const uint32_t lens[] = {0, 99, 100, 101, 116, UINT32_MAX};

    make_legacy_queue(8);
    for (unsigned i = 0; i < ARRAY_LENGTH(lens); i++) {
        uint16_t head = give_one(&cookies[i]);

        fake_ring_return(&ring, head, lens[i]);

        assert_pops(&cookies[i], lens[i] < 100 ? lens[i] : 100);
    }
    free_legacy_queue();
}

static void given_any_other_lie_when_popped_then_broken(void **state)
{
    (void)state;
    make_legacy_queue(8);
    give_one(cookies);

    fake_ring_return(&ring, 8, 0);

    assert_broken(VIRTQUEUE_FAULT_ID_RANGE, 8);
    free_legacy_queue();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            given_each_size_when_initialised_then_one_piece_with_the_used_ring_on_a_page),
        cmocka_unit_test(given_known_sizes_when_asked_then_bytes_match_the_specification),
        cmocka_unit_test(given_memory_off_a_page_or_too_short_when_initialised_then_invalid),
        cmocka_unit_test(given_chain_when_published_then_all_words_in_the_order_of_this_processor),
        cmocka_unit_test(given_any_len_when_popped_then_no_more_than_fits_and_not_broken),
        cmocka_unit_test(given_any_other_lie_when_popped_then_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
