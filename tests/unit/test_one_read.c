/*
 * One read from end to end, on the real code of every layer: a file is asked for, and a device that
 * sits on a PCI bus of its own returns the data while the driver waits. The test asserts the twelve
 * steps of the README's section "One read, from end to end", in their order.
 */

#include "devices/blk.h"
#include "devices/blk_spec.h"
#include "efi/block_io.h"
#include "efi/volume.h"
#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/fake_log.h"
#include "tests/fakes/fake_pci.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"
#include "transports/pci_modern.h"

#define READ_FIRST_BLOCK 40u
#define READ_BYTES       4096u
#define READ_SECTORS     1000u

/* The real transport on fake registers, with a fake disk behind the notification register. */
struct machine {
    struct fake_platform platform;
    struct fake_pci pci;
    struct fake_blk_device disk;
    struct pci_modern transport_state;
    struct vio_transport transport;
    struct virtio_blk blk;
    struct block_io block_io;
    struct fake_file file;
    struct vio_window_ops bar_ops;
    const struct vio_window_ops *inner_ops;
};

/* Where in the log the calls that leave no event of their own began and ended. */
static size_t position_read_blocks;
static size_t position_read_blocks_end;
static size_t position_device;

static void note_read_blocks(void)
{
    position_read_blocks = fake_log_length();
}

static void note_read_blocks_end(void)
{
    position_read_blocks_end = fake_log_length();
}

static void note_device(struct fake_blk_device *disk)
{
    (void)disk;
    position_device = fake_log_length();
}

static void attach_ring(struct machine *machine)
{
    const struct fake_pci_queue *queue = &machine->pci.queues[0];
    const struct virtqueue_addresses addresses = {
        .descriptor_area = queue->descriptor_area,
        .driver_area = queue->driver_area,
        .device_area = queue->device_area,
    };

    fake_ring_attach(&machine->disk.rings[0], &machine->platform, queue->size, &addresses, 0);
    machine->disk.transport.queues[0].enabled = true;
}

static uint32_t bar_read(void *context, uint64_t offset, unsigned width_bytes)
{
    struct machine *machine = context;

    return machine->inner_ops->read(&machine->pci, offset, width_bytes);
}

static void bar_write(void *context, uint64_t offset, unsigned width_bytes, uint32_t value)
{
    struct machine *machine = context;
    uint64_t at = offset - FAKE_PCI_BAR_BASE;

    machine->inner_ops->write(&machine->pci, offset, width_bytes, value);
    if (at == VIRTIO_PCI_COMMON_QUEUE_ENABLE)
        attach_ring(machine);
    if (at >= FAKE_PCI_NOTIFY_OFFSET && at < FAKE_PCI_NOTIFY_OFFSET + FAKE_PCI_NOTIFY_BYTES)
        machine->disk.transport.on_notify(&machine->disk, (uint16_t)value);
}

static void machine_start(struct machine *machine)
{
    struct vio_failure failure;
    uint64_t capacity = READ_SECTORS;

    memset(machine, 0, sizeof(*machine));
    fake_uefi_init();
    fake_platform_init(&machine->platform);
    fake_blk_device_init(&machine->disk, &machine->platform, READ_SECTORS);
    machine->disk.delay_waits = 1;
    machine->disk.on_wait = note_device;
    fake_pci_init(&machine->pci);
    memcpy(&machine->pci.device_config[VIRTIO_BLK_CONFIG_CAPACITY], &capacity, sizeof(capacity));

    struct vio_window *bar = &machine->pci.function.bars[FAKE_PCI_BAR];
    machine->inner_ops = bar->ops;
    machine->bar_ops = (struct vio_window_ops){.read = bar_read, .write = bar_write};
    bar->ops = &machine->bar_ops;
    bar->context = machine;

    assert_int_equal(pci_modern_open(&machine->transport_state, &machine->pci.function,
                                     &machine->transport, &failure),
                     VIO_OK);
    assert_int_equal(
        virtio_blk_open(&machine->blk, &machine->transport, &machine->platform.platform, 0),
        VIO_OK);
    block_io_init(&machine->block_io, &machine->blk, true);
    fake_file_init(&machine->file, &machine->block_io.protocol, READ_FIRST_BLOCK);
    machine->file.before_read = note_read_blocks;
    machine->file.after_read = note_read_blocks_end;
}

static void machine_stop(struct machine *machine)
{
    virtio_blk_close(&machine->blk);
    fake_blk_device_free(&machine->disk);
    fake_platform_assert_no_leaks(&machine->platform);
}

/* The first event of a kind behind a position; that there is none fails the test. */
static size_t next(enum fake_event_kind kind, size_t behind)
{
    size_t position = fake_log_find(kind, behind);

    assert_int_not_equal(position, FAKE_LOG_NONE);
    return position;
}

static size_t next_access(enum fake_event_kind kind, const void *where, size_t behind)
{
    size_t position = fake_log_find_access(kind, where, behind);

    assert_int_not_equal(position, FAKE_LOG_NONE);
    return position;
}

/* Steps 3 to 7: the way down, from the request to the register. Returns where it ended. */
static size_t assert_way_down(const struct machine *machine)
{
    const struct virtqueue *vq = &machine->blk.queues[0];

    /* 3: the buffer is mapped, header and status written. */
    size_t mapped = next(FAKE_MAP, position_read_blocks);
    size_t header = next(FAKE_STORE, mapped);
    assert_int_equal(fake_log_at(mapped)->value, READ_BYTES);
    /* 4: the first descriptor, and the slot of the available ring. */
    size_t descriptor = next_access(FAKE_STORE, &vq->desc[0].addr, header);
    size_t slot = next_access(FAKE_STORE, &vq->avail->ring[0], header);
    /* 5: a write barrier between all of that and the index. */
    size_t write_barrier = next(FAKE_WMB, header);
    size_t idx = next_access(FAKE_STORE, &vq->avail->idx, header);
    assert_true(descriptor < write_barrier && slot < write_barrier && write_barrier < idx);
    assert_int_equal(fake_log_find_access(FAKE_STORE, &vq->avail->idx, 0), idx);
    /* 6: a full barrier between the index and the device's wish. */
    size_t full_barrier = next(FAKE_MB, idx);
    size_t flags = next_access(FAKE_LOAD, &vq->used->flags, idx);
    assert_true(full_barrier < flags);
    /* 7: exactly one access to the device. */
    size_t notification = next(FAKE_REG_WRITE, flags);
    assert_int_equal(fake_log_at(notification)->at, FAKE_PCI_NOTIFY_OFFSET);
    assert_int_equal(fake_log_at(notification)->width_bytes, 2);
    assert_int_equal(fake_log_at(notification)->value, 0);
    assert_int_equal(fake_log_count(FAKE_REG_WRITE), 1);
    assert_int_equal(fake_log_count(FAKE_REG_READ), 0);
    return notification;
}

/* Steps 8 to 12: the device, and the way up. */
static void assert_way_up(const struct machine *machine, size_t notification)
{
    const struct virtqueue *vq = &machine->blk.queues[0];

    /* 9 and 8: the driver waits, and the device answers meanwhile. */
    size_t wait = next(FAKE_WAIT, notification);
    assert_true(position_device > wait);
    assert_int_equal(machine->disk.n_requests, 1);
    assert_int_equal(machine->disk.requests[0].type, VIRTIO_BLK_T_IN);
    assert_int_equal(machine->disk.requests[0].sector, READ_FIRST_BLOCK);
    assert_int_equal(machine->disk.requests[0].data_bytes, READ_BYTES);
    /* 10: idx, read barrier, then id and len, each once. */
    size_t idx = next_access(FAKE_LOAD, &vq->used->idx, position_device);
    size_t read_barrier = next(FAKE_RMB, idx);
    size_t id = next_access(FAKE_LOAD, &vq->used->ring[0].id, idx);
    size_t len = next_access(FAKE_LOAD, &vq->used->ring[0].len, idx);
    assert_true(read_barrier < id && read_barrier < len);
    assert_int_equal(fake_log_count_accesses(FAKE_LOAD, &vq->used->ring[0].id), 1);
    assert_int_equal(fake_log_count_accesses(FAKE_LOAD, &vq->used->ring[0].len), 1);
    /* 11: the status byte is judged once, the buffer unmapped. */
    size_t status = next(FAKE_LOAD, id > len ? id + 1 : len + 1);
    size_t unmapped = next(FAKE_UNMAP, status);
    assert_int_equal(fake_log_at(status)->width_bytes, 1);
    /* 12: only then ReadBlocks() returns. */
    assert_true(unmapped < position_read_blocks_end);
}

static void given_open_file_when_read_then_twelve_steps_in_order(void **state)
{
    /* Checks: SPLIT-IDX-1, SUP-BAR-1, SUP-AVAIL-4, PCI-NOTIF-1, PCI-NOTIF-3, X-PCI-4 */
    static struct machine machine;
    static uint8_t buffer[READ_BYTES];
    struct volume volume = {0};

    (void)state;
    machine_start(&machine);
    struct volume_file file = {
        .volume = &volume, .file = &machine.file.protocol, .bytes = READ_BYTES};

    fake_log_start();
    EFI_STATUS status = volume_read_file(&file, buffer); /* step 1 */
    fake_log_stop();

    assert_int_equal(status, EFI_SUCCESS);
    assert_int_equal(position_read_blocks, 0); /* step 2: nothing is touched before it */
    assert_way_up(&machine, assert_way_down(&machine));
    assert_memory_equal(buffer, machine.disk.image + READ_FIRST_BLOCK * VIRTIO_BLK_SECTOR_BYTES,
                        READ_BYTES);
    assert_int_equal(fake_uefi_tpl, TPL_APPLICATION);
    machine_stop(&machine);
}

static void given_device_error_when_file_read_then_device_error_and_one_message(void **state)
{
    static struct machine machine;
    static uint8_t buffer[READ_BYTES];
    struct volume volume = {0};

    (void)state;
    machine_start(&machine);
    machine.disk.lie = FAKE_BLK_STATUS;
    machine.disk.lie_value = VIRTIO_BLK_S_IOERR;
    struct volume_file file = {
        .volume = &volume, .file = &machine.file.protocol, .bytes = READ_BYTES};

    EFI_STATUS status = volume_read_file(&file, buffer);

    assert_int_equal(status, EFI_DEVICE_ERROR);
    assert_int_equal(fake_uefi_errors, 1);
    machine_stop(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_open_file_when_read_then_twelve_steps_in_order),
        cmocka_unit_test(given_device_error_when_file_read_then_device_error_and_one_message),
    };

    return cmocka_run_group_tests_name("one_read", tests, NULL, NULL);
}
