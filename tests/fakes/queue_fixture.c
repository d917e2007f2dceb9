/* Contract and terms: tests/fakes/queue_fixture.h. */

#include "tests/fakes/queue_fixture.h"

#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_memory.h"
#include "tests/fakes/testing.h"

struct fake_platform platform;
struct fake_transport transport;
struct virtqueue vq;
struct fake_ring ring;
struct vio_dma rings;
struct vio_dma tables;
void *shadow;
size_t shadow_bytes;
struct virtqueue_config config;
char cookies[FIXTURE_COOKIES];

static void make_dma(size_t bytes, struct vio_dma *ret_dma)
{
    assert_int_equal(platform.platform.ops->dma_alloc(&platform, bytes, ret_dma), VIO_OK);
    memset(ret_dma->memory, 0xA5, ret_dma->bytes);
}

void init_queue(void)
{
    assert_int_equal(virtqueue_init(&vq, &config), VIO_OK);
    struct virtqueue_addresses addresses = virtqueue_addresses(&vq);
    fake_ring_attach(&ring, &platform, config.size, &addresses, config.features);
}

void make_queue_with(uint16_t size, uint64_t features)
{
    fake_platform_init(&platform);
    fake_transport_init(&transport);
    transport.status = VIRTIO_STATUS_DRIVER_OK;
    transport.queues[FIXTURE_QUEUE_INDEX].enabled = true;
    make_dma(virtqueue_ring_bytes(size), &rings);
    make_dma(virtqueue_indirect_bytes(size, FIXTURE_TABLE_ENTRIES), &tables);
    shadow_bytes = virtqueue_shadow_bytes(size);
    shadow = platform.platform.ops->alloc(&platform, shadow_bytes);
    memset(shadow, 0xA5, shadow_bytes);
    config = (struct virtqueue_config){
        .transport = &transport.transport,
        .index = FIXTURE_QUEUE_INDEX,
        .size = size,
        .features = VIO_FEATURE(VIRTIO_F_VERSION_1) | features,
        .rings = &rings,
        .shadow = shadow,
        .indirect = &tables,
        .indirect_entries = FIXTURE_TABLE_ENTRIES,
    };
    init_queue();
}

void make_queue(uint16_t size)
{
    make_queue_with(size, 0);
}

void free_queue(void)
{
    platform.platform.ops->dma_free(&platform, &tables);
    platform.platform.ops->dma_free(&platform, &rings);
    platform.platform.ops->free(&platform, shadow, shadow_bytes);
    fake_platform_assert_no_leaks(&platform);
}

int queue_set_up(void **state)
{
    (void)state;
    make_queue(8);
    return 0;
}

int queue_tear_down(void **state)
{
    (void)state;
    fake_log_stop();
    fake_memory_before_access(NULL, NULL);
    free_queue();
    return 0;
}

struct vio_buffer readable(dma_addr addr, uint32_t len)
{
    return (struct vio_buffer){.addr = addr, .len = len};
}

struct vio_buffer writable(dma_addr addr, uint32_t len)
{
    return (struct vio_buffer){.addr = addr, .len = len, .device_writable = true};
}

void add_one(void *cookie)
{
    struct vio_buffer buf = writable(0x1000, 100);

    assert_int_equal(virtqueue_add(&vq, &buf, 1, cookie), VIO_OK);
}

void add_chain(unsigned n_bufs, void *cookie)
{
    struct vio_buffer bufs[8];

    assert_true(n_bufs <= ARRAY_LENGTH(bufs));
    for (unsigned i = 0; i < n_bufs; i++)
        bufs[i] = i == 0 ? readable(0x1000, 16) : writable(0x2000 + i * 0x1000, 512);
    assert_int_equal(virtqueue_add(&vq, bufs, n_bufs, cookie), VIO_OK);
}

uint16_t take_head(void)
{
    uint16_t head = 0;

    assert_true(fake_ring_take(&ring, &head));
    return head;
}

uint16_t give_one(void *cookie)
{
    add_one(cookie);
    virtqueue_publish(&vq);
    return take_head();
}

void assert_pops(void *expected_cookie, uint32_t expected_len)
{
    void *cookie = NULL;
    uint32_t len = UINT32_MAX;

    assert_int_equal(virtqueue_pop_used(&vq, &cookie, &len), VIO_OK);
    assert_ptr_equal(cookie, expected_cookie);
    assert_int_equal(len, expected_len);
}

void assert_pop_fails(vio_status status)
{
    void *cookie = &cookie;
    uint32_t len = 0xABCD;

    assert_int_equal(virtqueue_pop_used(&vq, &cookie, &len), status);
    assert_ptr_equal(cookie, &cookie);
    assert_int_equal(len, 0xABCD);
}

void *drain(void)
{
    void *cookie = NULL;

    return virtqueue_drain(&vq, &cookie) ? cookie : NULL;
}

void assert_broken(enum virtqueue_fault fault, uint64_t value)
{
    struct vio_buffer buf = writable(0x1000, 100);
    uint64_t said = 0;

    assert_pop_fails(VIO_ERR_QUEUE_BROKEN);
    fake_log_start();
    assert_pop_fails(VIO_ERR_QUEUE_BROKEN);
    assert_int_equal(virtqueue_add(&vq, &buf, 1, cookies), VIO_ERR_QUEUE_BROKEN);
    virtqueue_publish(&vq);
    assert_false(virtqueue_notify(&vq));
    assert_false(virtqueue_used_interrupt(&vq));
    assert_true(virtqueue_enable_callbacks(&vq));
    assert_int_equal(fake_log_length(), 0);
    fake_log_stop();
    assert_int_equal(virtqueue_fault(&vq), fault);
    assert_non_null(virtqueue_fault_text(&vq, &said));
    assert_true(said == value);
}
