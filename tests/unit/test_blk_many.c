/* devices/blk.h: thousands of transfers at a time, against a model of the image. */

#include "core/device_spec.h"
#include "tests/fakes/blk_fixture.h"
#include "tests/fakes/testing.h"

#define N_TRANSFERS      4000u
#define N_AT_ONCE        60u
#define LONGEST          40u /* sectors */
#define ZEROES_AT_A_TIME 8u

/* A transfer, its own memory, and what has to be in it when it is done. */
struct work {
    struct virtio_blk_transfer transfer;
    uint8_t memory[LONGEST * SECTOR];
    uint64_t n_sectors;
    bool is_under_way;
};

static struct work works[N_AT_ONCE];
static uint8_t model[DISK_SECTORS * SECTOR];
static uint64_t seed;
static unsigned n_done;
static unsigned n_ends_out_of_order;
static unsigned n_flushed;

static uint32_t below(uint32_t limit)
{
    return test_random(&seed) % limit;
}

static bool is_read(const struct work *work)
{
    return work->transfer.operation == VIRTIO_BLK_READ;
}

/* Two of which one changes what the other touches: then nobody knows what comes of it. */
static bool are_in_conflict(const struct work *a, const struct work *b)
{
    return !(is_read(a) && is_read(b)) && a->transfer.sector < b->transfer.sector + b->n_sectors &&
           b->transfer.sector < a->transfer.sector + a->n_sectors;
}

static bool is_possible(const struct work *work)
{
    for (unsigned i = 0; i < N_AT_ONCE; i++) {
        if (works[i].is_under_way && are_in_conflict(&works[i], work))
            return false;
    }
    return true;
}

static void make_work(struct work *work)
{
    static const enum virtio_blk_operation operations[] = {
        VIRTIO_BLK_READ,  VIRTIO_BLK_READ,  VIRTIO_BLK_READ,         VIRTIO_BLK_WRITE,
        VIRTIO_BLK_WRITE, VIRTIO_BLK_WRITE, VIRTIO_BLK_WRITE_ZEROES, VIRTIO_BLK_FLUSH};
    enum virtio_blk_operation operation = operations[below(ARRAY_LENGTH(operations))];

    work->n_sectors = operation == VIRTIO_BLK_FLUSH ? 0 : below(LONGEST) + 1;
    work->transfer = (struct virtio_blk_transfer){
        .operation = operation,
        .sector = operation == VIRTIO_BLK_FLUSH ? 0 : below(DISK_SECTORS - LONGEST),
        .buffer = work->memory,
        .bytes = work->n_sectors * SECTOR,
        .after_all = below(16) == 0,
        .is_queued = true,
    };
}

static void fill_memory(struct work *work)
{
    uint8_t *in_model = model + work->transfer.sector * SECTOR;

    for (size_t i = 0; i < sizeof(work->memory); i += 4) {
        uint32_t word = test_random(&seed);
        memcpy(&work->memory[i], &word, sizeof(word));
    }
    if (work->transfer.operation == VIRTIO_BLK_WRITE)
        memcpy(in_model, work->memory, work->transfer.bytes);
    else if (work->transfer.operation == VIRTIO_BLK_WRITE_ZEROES)
        memset(in_model, 0, work->transfer.bytes);
}

/* Whether one was free. */
static bool submit_one(void)
{
    for (unsigned i = 0; i < N_AT_ONCE; i++) {
        struct work *work = &works[i];
        if (work->is_under_way)
            continue;
        do
            make_work(work);
        while (!is_possible(work));
        fill_memory(work);
        work->is_under_way = true;
        assert_int_equal(virtio_blk_submit(&blk, &work->transfer), VIO_OK);
        return true;
    }
    return false;
}

static void take_done(void)
{
    static unsigned last;
    struct virtio_blk_transfer *transfer;

    while ((transfer = virtio_blk_next_done(&blk))) {
        struct work *work = (struct work *)(void *)transfer;
        assert_true(work->is_under_way);
        assert_done(transfer, VIO_OK);
        if (is_read(work))
            assert_memory_equal(work->memory, model + transfer->sector * SECTOR, transfer->bytes);
        n_flushed += transfer->operation == VIRTIO_BLK_FLUSH;
        n_ends_out_of_order += (unsigned)(work - works) < last;
        last = (unsigned)(work - works);
        work->is_under_way = false;
        n_done++;
    }
}

static void run_all(void)
{
    memset(works, 0, sizeof(works));
    memcpy(model, disk.image, sizeof(model));
    n_done = n_ends_out_of_order = n_flushed = 0;
    for (unsigned n = 0; n < N_TRANSFERS;) {
        n += submit_one();
        if (below(3) == 0)
            virtio_blk_publish(&blk);
        if (below(3) == 0)
            fake_blk_device_serve(&disk, below(20));
        if (below(3) == 0)
            (void)virtio_blk_poll(&blk);
        take_done();
        if (below(500) == 0)
            assert_int_equal(virtio_blk_read(&blk, 0, buffer, SECTOR), VIO_OK);
    }
    while (virtio_blk_is_busy(&blk)) {
        virtio_blk_publish(&blk);
        fake_blk_device_serve_all(&disk);
        (void)virtio_blk_poll(&blk);
        take_done();
    }
}

static const struct {
    uint64_t features;
    uint16_t n_queues;
    uint16_t queue_size;
    enum fake_blk_order order;
    bool polls;
} surroundings[] = {
    {0, 1, 128, FAKE_BLK_SHUFFLED, false},
    {VIO_FEATURE(VIRTIO_F_INDIRECT_DESC), 1, 16, FAKE_BLK_SHUFFLED, false},
    {VIO_FEATURE(VIRTIO_F_EVENT_IDX), 4, 32, FAKE_BLK_SHUFFLED, false},
    {VIO_FEATURE(VIRTIO_F_INDIRECT_DESC) | VIO_FEATURE(VIRTIO_F_EVENT_IDX), 8, 4, FAKE_BLK_REVERSED,
     true},
    {VIO_FEATURE(VIRTIO_F_IN_ORDER), 1, 64, FAKE_BLK_IN_ORDER, false},
    {0, 3, 8, FAKE_BLK_SHUFFLED, false},
};

static void make_surroundings(unsigned i)
{
    new_disk(DISK_SECTORS);
    offer_queues(surroundings[i].n_queues, surroundings[i].queue_size);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 3 * SECTOR);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 4);
    fake_blk_device_offer(&disk, VIRTIO_BLK_F_WRITE_ZEROES,
                          VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS, 4, ZEROES_AT_A_TIME);
    fake_transport_set_config(&disk.transport, VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SEG, 4, 1);
    disk.transport.config_bytes = 60;
    disk.transport.offered |= surroundings[i].features;
    disk.order = surroundings[i].order;
    disk.polls = surroundings[i].polls;
    disk.delay_waits = 1;
}

static void
given_thousands_of_transfers_when_answered_in_any_order_then_the_image_is_right(void **s)
{
    /* Checks: BLK-REQ-6, BLK-REQ-7 */
    (void)s;
    for (unsigned i = 0; i < ARRAY_LENGTH(surroundings); i++) {
        seed = i + 1;
        make_surroundings(i);
        open_disk();

        run_all();

        assert_int_equal(n_done, N_TRANSFERS);
        assert_true(n_ends_out_of_order >
                    N_TRANSFERS / 50); /* places are used again in any order */
        assert_true(n_flushed > N_TRANSFERS / 20);
        assert_true(disk.n_pending_max > 4);
        assert_memory_equal(disk.image, model, sizeof(model));
        assert_int_equal(fake_platform_live(&machine, FAKE_CALL_MAP), 0);
        assert_int_equal(blk.counters.requests, disk.n_requests);
        assert_int_equal(blk.counters.recoveries, 0);
        close_disk();
    }
}

static void given_thousands_of_transfers_when_carried_out_then_nothing_is_allocated(void **state)
{
    (void)state;
    seed = 99;
    make_surroundings(0);
    open_disk();
    unsigned allocations = machine.calls[FAKE_CALL_ALLOC] + machine.calls[FAKE_CALL_DMA_ALLOC];

    run_all();

    assert_int_equal(machine.calls[FAKE_CALL_ALLOC] + machine.calls[FAKE_CALL_DMA_ALLOC],
                     allocations);
    unsigned n_data = 0;
    assert_true(disk.n_requests <= FAKE_BLK_RECORDS);
    for (unsigned i = 0; i < disk.n_requests; i++)
        n_data +=
            disk.requests[i].type == VIRTIO_BLK_T_IN || disk.requests[i].type == VIRTIO_BLK_T_OUT;
    assert_int_equal(machine.calls[FAKE_CALL_MAP], n_data);
    close_disk();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(given_thousands_of_transfers_when_answered_in_any_order_then_the_image_is_right),
        DISK_TEST(given_thousands_of_transfers_when_carried_out_then_nothing_is_allocated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
