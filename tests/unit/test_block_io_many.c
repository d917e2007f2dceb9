/*
 * EFI_BLOCK_IO and EFI_BLOCK_IO2: thousands of calls of all kinds, at all levels, in batches and out
 * of notifications, on a device that is slow and disordered, errs and dies, against a model.
 */

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/efi_disk.h"
#include "tests/fakes/testing.h"

#define BLOCK         EFI_DISK_BLOCK_BYTES
#define N_ROUNDS      12u
#define N_STEPS       1200u
#define N_AREAS       20u /* each with a token of its own, and content of one value */
#define AREA_BLOCKS   24u
#define N_FLUSHES     4u
#define N_TOKENS      (N_AREAS + N_FLUSHES)
#define STREAM_BLOCKS 1400u /* behind the areas; never written */
#define AREA_BYTES    (AREA_BLOCKS * (UINTN)BLOCK)
#define BLOCKS_USED   (N_AREAS * AREA_BLOCKS + STREAM_BLOCKS)
#define LIMIT_US      200000u
#define DEPTH_MAX     2u             /* of notifications in which something is done */
#define OURS          0xEE           /* in a buffer that is not lent to the driver */
#define STATUS_NONE   EFIERR(0x5A5A) /* what efi_token() leaves */

static struct area {
    bool may_hold[256]; /* in each of its blocks, all bytes alike: more than one after a failure */
    uint8_t coming;     /* what the write under way brings */
    bool saw_old;       /* a read that was started after it did not see it */
} areas[N_AREAS];

static struct call {
    bool is_out;
    bool is_write;
    unsigned started; /* its place among all that were */
    bool may_bring[256];
    unsigned n_ended;
} calls[N_TOKENS];

static uint64_t seed;
static unsigned n_started, n_succeeded, n_failed, n_aborted, depth;
static bool is_closing;
static EFI_LBA stream_at;

static uint32_t below(uint32_t limit)
{
    return test_random(&seed) % limit;
}

static EFI_LBA area_lba(unsigned area)
{
    return (EFI_LBA)area * AREA_BLOCKS;
}

static void assert_block(const uint8_t *block, const bool *may_hold)
{
    for (unsigned i = 1; i < BLOCK; i++)
        assert_int_equal(block[i], block[0]);
    assert_true(may_hold[block[0]]);
}

/* Nobody has written to the buffer of a call that has ended. */
static void assert_still_ours(unsigned index)
{
    static const bool may_hold[256] = {[OURS] = true};

    for (unsigned i = 0; i < AREA_BLOCKS && index < N_AREAS; i++)
        assert_block(efi_disk_place(area_lba(index) + i), may_hold);
}

static void settle_write(struct area *area, bool succeeded)
{
    if (succeeded) {
        assert_false(area->saw_old);
        memset(area->may_hold, 0, sizeof(area->may_hold));
    }
    area->may_hold[area->coming] = true;
}

static void act(void);

/* --- Calls with a token ----------------------------------------------------------------------- */

static bool has_ended(unsigned index)
{
    return !calls[index].is_out || efi_tokens[index].token.TransactionStatus != STATUS_NONE;
}

static void on_end(struct efi_token *token)
{
    unsigned index = (unsigned)(token - efi_tokens);
    struct call *call = &calls[index];
    bool succeeded = token->status == EFI_SUCCESS;

    assert_true(call->is_out);
    call->is_out = false;
    call->n_ended++;
    n_succeeded += succeeded;
    n_failed += token->status == EFI_DEVICE_ERROR;
    n_aborted += token->status == EFI_ABORTED;
    assert_true(succeeded || token->status == EFI_DEVICE_ERROR || token->status == EFI_ABORTED ||
                (is_closing && token->status == EFI_NO_MEDIA));
    if (index >= N_AREAS) {
        for (unsigned i = 0; i < N_TOKENS; i++)
            assert_true(calls[i].started > call->started || has_ended(i));
    } else if (call->is_write) {
        settle_write(&areas[index], succeeded);
    } else if (succeeded) {
        for (unsigned i = 0; i < AREA_BLOCKS; i++)
            assert_block(efi_disk_place(area_lba(index) + i), call->may_bring);
    }
    if (index < N_AREAS)
        efi_disk_fill(area_lba(index), AREA_BLOCKS, OURS);
    if (depth < DEPTH_MAX && below(2) == 0)
        act();
}

static EFI_STATUS start(unsigned index, bool is_write)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    EFI_LBA lba = area_lba(index);

    EFI_BLOCK_IO2_TOKEN *token = &efi_tokens[index].token;
    token->TransactionStatus = STATUS_NONE;
    if (index >= N_AREAS)
        return io2->FlushBlocksEx(io2, token);
    return is_write ? io2->WriteBlocksEx(io2, efi_disk_media_id(), lba, token, AREA_BYTES,
                                         efi_disk_place(lba))
                    : io2->ReadBlocksEx(io2, efi_disk_media_id(), lba, token, AREA_BYTES,
                                        efi_disk_place(lba));
}

static void start_call(unsigned index)
{
    struct call *call = &calls[index];
    bool is_write = index < N_AREAS && below(2);

    if (call->is_out)
        return;
    assert_still_ours(index);
    *call = (struct call){
        .is_out = true, .is_write = is_write, .started = ++n_started, .n_ended = call->n_ended};
    if (index < N_AREAS)
        memcpy(call->may_bring, areas[index].may_hold, sizeof(call->may_bring));
    if (is_write) {
        areas[index].coming = (uint8_t)below(256);
        areas[index].saw_old = false;
        efi_disk_fill(area_lba(index), AREA_BLOCKS, areas[index].coming);
    }
    unsigned n_ended = call->n_ended;
    EFI_STATUS status = start(index, is_write);
    if (!EFI_ERROR(status))
        return;
    assert_true(status == EFI_DEVICE_ERROR || (is_closing && status == EFI_NO_MEDIA));
    assert_int_equal(call->n_ended, n_ended);
    assert_int_equal(efi_tokens[index].token.TransactionStatus, STATUS_NONE);
    call->is_out = false;
    if (index < N_AREAS)
        efi_disk_fill(area_lba(index), AREA_BLOCKS, OURS);
}

/* --- Calls without ---------------------------------------------------------------------------- */

/* On from where the last one ended, as a rule, so that what comes behind it is read ahead. */
static void read_area(void)
{
    static unsigned at;
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    unsigned index = at / AREA_BLOCKS, left = AREA_BLOCKS - at % AREA_BLOCKS;
    unsigned n_blocks = left < 5 ? left : below(5) + 1;
    uint8_t *scratch = efi_disk_place(BLOCKS_USED);
    struct area *area = &areas[index];

    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY); /* until it is judged, nobody else comes */
    bool is_coming = calls[index].is_out && calls[index].is_write;
    EFI_STATUS status = io->ReadBlocks(io, efi_disk_media_id(), at, n_blocks * BLOCK, scratch);
    for (unsigned i = 0; i < n_blocks && !EFI_ERROR(status); i++) {
        const uint8_t *block = scratch + i * BLOCK;
        if (is_coming && block[0] == area->coming)
            continue;
        area->saw_old |= is_coming;
        assert_block(block, area->may_hold);
    }
    BS->RestoreTPL(old_tpl);
    at = (below(8) == 0 ? below(N_AREAS * AREA_BLOCKS) : at + n_blocks) % (N_AREAS * AREA_BLOCKS);
}

static void write_area(void)
{
    unsigned index = below(N_AREAS);
    uint8_t *scratch = efi_disk_place(BLOCKS_USED);
    struct area *area = &areas[index];
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    if (calls[index].is_out && calls[index].is_write)
        return;
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY); /* until it is settled, nobody else comes */
    area->coming = (uint8_t)below(256);
    area->saw_old = false;
    memset(scratch, area->coming, AREA_BYTES);
    EFI_STATUS status =
        io->WriteBlocks(io, efi_disk_media_id(), area_lba(index), AREA_BYTES, scratch);
    if (!EFI_ERROR(status) || status == EFI_DEVICE_ERROR)
        settle_write(area, !EFI_ERROR(status));
    BS->RestoreTPL(old_tpl);
}

static void read_stream(void)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();
    EFI_LBA first = area_lba(N_AREAS);
    uint8_t *bytes = efi_disk_place(BLOCKS_USED + AREA_BLOCKS + 8 * depth);

    if (below(20) == 0)
        stream_at = below(STREAM_BLOCKS);
    for (unsigned n = below(12); n > 0; n--) {
        unsigned n_blocks = below(8) + 1;
        if (stream_at + n_blocks > STREAM_BLOCKS)
            stream_at = 0;
        EFI_LBA lba = first + stream_at;
        stream_at += n_blocks;
        if (!EFI_ERROR(io->ReadBlocks(io, efi_disk_media_id(), lba, n_blocks * BLOCK, bytes)))
            assert_memory_equal(bytes, efi_disk_image(lba), n_blocks * BLOCK);
    }
}

static void reset(void)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();
    BOOLEAN extended = below(2) != 0;
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);

    EFI_STATUS status = io2->Reset(io2, extended);
    assert_true(status == EFI_SUCCESS || (extended && status == EFI_DEVICE_ERROR));
    for (unsigned i = 0; i < N_TOKENS; i++)
        assert_true(has_ended(i));
    BS->RestoreTPL(old_tpl);
}

/* --- What the device does --------------------------------------------------------------------- */

static void misbehave(void)
{
    struct fake_blk_device *device = &efi_disk.device;

    device->lie_from = device->n_returned + below(3);
    device->lie_until = device->lie_from + below(4) + 1;
    device->lie_value = VIRTIO_BLK_S_IOERR;
    switch (below(7)) {
    case 0:
        device->lie = FAKE_BLK_STATUS;
        break;
    case 1:
        device->lie = FAKE_BLK_NEVER;
        break;
    case 2:
        fake_transport_set_config(&device->transport, VIRTIO_BLK_CONFIG_CAPACITY, 8,
                                  EFI_DISK_BLOCKS - below(EFI_DISK_BLOCKS - BLOCKS_USED));
        device->transport.generation++;
        break;
    case 3:
        fake_platform_fail(&efi_disk.platform, FAKE_CALL_MAP, below(5) + 1);
        break;
    case 4:
        fake_platform_fail(&efi_disk.platform, FAKE_CALL_UNMAP, below(5) + 1);
        break;
    case 5:
        fake_platform_fail(&efi_disk.platform, FAKE_CALL_ALLOC, below(5) + 1);
        break;
    default:
        if (device->transport.lie == FAKE_HONEST)
            device->transport.lie = FAKE_NEEDS_RESET;
        break;
    }
}

static void tick_now_and_then(struct fake_blk_device *device)
{
    (void)device;
    if (below(3) == 0)
        fake_uefi_tick();
}

/* --- All of it -------------------------------------------------------------------------------- */

static void act_once(void)
{
    switch (below(16)) {
    case 0 ... 6:
        start_call(below(N_TOKENS));
        break;
    case 7:
        for (unsigned n = below(8); n > 0; n--)
            read_area();
        break;
    case 8:
        write_area();
        break;
    case 9:
        read_stream();
        break;
    case 10:
        if (below(12) == 0)
            reset();
        break;
    case 11:
        (void)block_io_refresh(&efi_disk.block_io);
        break;
    case 12:
        (void)efi_disk_io2()->ReadBlocksEx(efi_disk_io2(), efi_disk_media_id(), 0, NULL, 0, NULL);
        break;
    case 13:
        (void)efi_disk_io()->FlushBlocks(efi_disk_io());
        break;
    default:
        if (depth == 1)
            fake_blk_device_serve(&efi_disk.device, below(30));
        break;
    }
}

static void act(void)
{
    static const EFI_TPL levels[] = {TPL_APPLICATION, TPL_CALLBACK, TPL_NOTIFY};
    EFI_TPL level = levels[below(3)];

    depth++;
    EFI_TPL old_tpl = BS->RaiseTPL(level > fake_uefi_tpl ? level : fake_uefi_tpl);
    for (unsigned n = below(6) + 1; n > 0; n--)
        act_once();
    BS->RestoreTPL(old_tpl);
    depth--;
}

static void make_device(struct fake_blk_device *device)
{
    static const unsigned features[] = {VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC,
                                        VIRTIO_F_RING_RESET};

    device->transport.queues[0].size_max = (uint16_t)(8u << below(5));
    device->order = (enum fake_blk_order)below(3);
    device->on_wait = tick_now_and_then;
    for (unsigned i = 0; i < ARRAY_LENGTH(features); i++) {
        if (below(2))
            device->transport.offered |= VIO_FEATURE(features[i]);
    }
    if (below(2)) {
        fake_blk_device_offer(device, VIRTIO_BLK_F_MQ, VIRTIO_BLK_CONFIG_NUM_QUEUES, 2, 3);
        device->transport.queues[0].size_max = device->transport.queues[1].size_max = 8;
        device->transport.queues[2].size_max = 4;
    }
    if (below(2)) {
        fake_blk_device_offer(device, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_CONFIG_SIZE_MAX, 4, 1500);
        fake_blk_device_offer(device, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_CONFIG_SEG_MAX, 4, 4);
    }
}

static void open_everything(unsigned round)
{
    seed = round + 1;
    memset(calls, 0, sizeof(calls));
    memset(areas, 0, sizeof(areas));
    for (unsigned i = 0; i < N_AREAS; i++)
        areas[i].may_hold[0] = true;
    efi_disk_fill(0, area_lba(N_AREAS), OURS);
    is_closing = false;
    make_device(&efi_disk.device);
    efi_disk.platform.wait_us = 2000;
    if (below(2))
        fake_platform_lend(&efi_disk.platform, efi_disk.buffer, sizeof(efi_disk.buffer));
    efi_disk_open(false);
    efi_disk.blk.request_limit_us = LIMIT_US;
    efi_disk.blk.trust_queue_reset = below(2);
    memset(efi_disk_image(0), 0, (size_t)N_AREAS * AREA_BLOCKS * BLOCK);
    for (unsigned i = 0; i < N_TOKENS; i++) {
        (void)efi_token_at(i, below(2) ? TPL_CALLBACK : TPL_NOTIFY);
        efi_tokens[i].on_signal = on_end;
    }
}

static void let_all_end(void)
{
    efi_disk.device.lie = FAKE_BLK_HONEST;
    depth = DEPTH_MAX; /* so that nobody starts anything else */
    for (unsigned i = 0; i < N_TOKENS; i++) {
        for (unsigned n = 0; calls[i].is_out; n++) {
            assert_true(n < 10000);
            efi_disk.platform.now_us += 10000;
            efi_disk_answer();
            fake_uefi_tick();
        }
    }
    fake_uefi_tick();
    assert_int_equal(fake_uefi_timers(), 0);
    depth = 0;
}

static void
given_any_calls_at_any_level_when_the_device_errs_then_each_ends_once_and_right(void **s)
{
    (void)s;
    n_started = n_succeeded = n_failed = n_aborted = 0;
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        open_everything(round);
        for (unsigned step = 0; step < N_STEPS; step++) {
            act();
            if (below(3) == 0)
                efi_disk_answer();
            if (below(4) == 0)
                fake_uefi_tick();
            efi_disk.platform.now_us += below(20000);
            if (round % 2 && below(60) == 0)
                misbehave();
            if (efi_disk.blk.dead != VIO_OK)
                (void)efi_disk_io()->Reset(efi_disk_io(), TRUE);
        }
        if (round % 4 < 2)
            let_all_end();
        is_closing = true;
        efi_disk_close();
        for (unsigned i = 0; i < N_TOKENS; i++) {
            assert_false(calls[i].is_out);
            assert_still_ours(i);
        }
        assert_int_equal(efi_disk_tear_down(NULL), 0);
        assert_int_equal(efi_disk_set_up(NULL), 0);
    }
    assert_true(n_succeeded > n_started / 2);
    assert_true(n_failed > N_ROUNDS);
    assert_true(n_aborted > N_ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EFI_DISK_TEST(
            given_any_calls_at_any_level_when_the_device_errs_then_each_ends_once_and_right),
    };

    return cmocka_run_group_tests_name("block_io_many", tests, NULL, NULL);
}
