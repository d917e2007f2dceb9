/* Contract and terms: tests/fakes/fake_blk_device.h. */

#include "tests/fakes/fake_blk_device.h"

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/testing.h"

/* A request while it is looked at. */
struct fake_job {
    struct fake_ring *ring;
    uint16_t head;
    unsigned number;
    struct fake_part parts[1024];
    unsigned n_parts;
    struct fake_blk_request request;
};

static bool fake_accepted(const struct fake_blk_device *device, unsigned feature_bit)
{
    return (device->transport.accepted & VIO_FEATURE(feature_bit)) != 0;
}

static uint32_t fake_config32(const struct fake_blk_device *device, uint32_t offset)
{
    uint32_t value;

    memcpy(&value, &device->transport.config[offset], sizeof(value));
    return value;
}

static void fake_read_header(const struct fake_blk_device *device, struct fake_job *job)
{
    struct virtio_blk_req_header header;

    assert_true(job->n_parts >= 2);
    assert_int_equal(job->parts[0].len, sizeof(header));
    assert_false(job->parts[0].device_writable);
    memcpy(&header,
           fake_platform_reach(device->platform, job->parts[0].addr, sizeof(header), false),
           sizeof(header));
    assert_int_equal(le32_to(header.reserved), 0);
    job->request.type = le32_to(header.type);
    job->request.sector = le64_to(header.sector);
    job->request.n_descriptors = job->n_parts;
}

/* The last byte of the chain. It must not hold what means success. */
static uint8_t *fake_status_byte(const struct fake_blk_device *device, const struct fake_job *job)
{
    const struct fake_part *part = &job->parts[job->n_parts - 1];

    assert_int_equal(part->len, 1);
    assert_true(part->device_writable);
    return fake_platform_reach(device->platform, part->addr, 1, true);
}

static void fake_sum_data(const struct fake_blk_device *device, struct fake_job *job)
{
    bool device_writes =
        job->request.type == VIRTIO_BLK_T_IN || job->request.type == VIRTIO_BLK_T_GET_ID;
    unsigned n_data = job->n_parts - 2;
    const struct fake_part *first = &job->parts[1];

    if (n_data) {
        job->request.data_addr = first->addr;
        job->request.data =
            fake_platform_reach(device->platform, first->addr, first->len, device_writes);
    }

    for (unsigned i = 1; i <= n_data; i++) {
        assert_int_equal(job->parts[i].device_writable, device_writes);
        job->request.data_bytes += job->parts[i].len;
        if (job->request.longest_part < job->parts[i].len)
            job->request.longest_part = job->parts[i].len;
    }
    if (fake_accepted(device, VIRTIO_BLK_F_SIZE_MAX))
        assert_true(job->request.longest_part <= fake_config32(device, VIRTIO_BLK_CONFIG_SIZE_MAX));
    if (fake_accepted(device, VIRTIO_BLK_F_SEG_MAX) &&
        fake_config32(device, VIRTIO_BLK_CONFIG_SEG_MAX) != 0)
        assert_true(n_data <= fake_config32(device, VIRTIO_BLK_CONFIG_SEG_MAX));
}

/* 5.2.6.1: a whole number of segments, of which this driver sends one; within the limits. */
static void fake_check_range(const struct fake_blk_device *device,
                             const struct fake_blk_request *request)
{
    static const struct {
        uint32_t type;
        unsigned feature_bit;
        uint32_t sectors_max_at;
    } kinds[] = {
        {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_CONFIG_MAX_DISCARD_SECTORS},
        {VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_F_WRITE_ZEROES,
         VIRTIO_BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS},
        {VIRTIO_BLK_T_SECURE_ERASE, VIRTIO_BLK_F_SECURE_ERASE,
         VIRTIO_BLK_CONFIG_MAX_SECURE_ERASE_SECTORS},
    };
    unsigned kind = 0;

    while (kinds[kind].type != request->type)
        kind++;
    assert_true(fake_accepted(device, kinds[kind].feature_bit));
    assert_int_equal(request->data_bytes, sizeof(struct virtio_blk_discard_write_zeroes));
    assert_int_equal(request->sector, 0);
    assert_in_range(request->range_sectors, 1, fake_config32(device, kinds[kind].sectors_max_at));
    assert_true(request->range_sector <= device->sectors);
    assert_true(request->range_sectors <= device->sectors - request->range_sector);
    uint32_t block_sectors = device->block_bytes / VIRTIO_BLK_SECTOR_BYTES;
    assert_int_equal(request->range_sector % block_sectors, 0);
    assert_int_equal(request->range_sectors % block_sectors, 0);
    assert_false(request->range_flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
    if (request->type != VIRTIO_BLK_T_WRITE_ZEROES)
        assert_int_equal(request->range_flags, 0);
}

static bool fake_is_range(uint32_t type)
{
    return type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES ||
           type == VIRTIO_BLK_T_SECURE_ERASE;
}

static void fake_check_request(const struct fake_blk_device *device, const struct fake_job *job)
{
    const struct fake_blk_request *request = &job->request;
    uint64_t n_sectors = request->data_bytes / VIRTIO_BLK_SECTOR_BYTES;

    assert_int_not_equal(*fake_status_byte(device, job), VIRTIO_BLK_S_OK);
    if (request->type == VIRTIO_BLK_T_FLUSH) {
        assert_true(fake_accepted(device, VIRTIO_BLK_F_FLUSH));
        assert_int_equal(request->sector, 0);
        assert_int_equal(request->data_bytes, 0);
        return;
    }
    if (request->type == VIRTIO_BLK_T_GET_ID) {
        assert_int_equal(request->sector, 0);
        assert_int_equal(request->data_bytes, VIRTIO_BLK_ID_BYTES);
        return;
    }
    if (request->type != VIRTIO_BLK_T_IN)
        assert_false(device->transport.offered & VIO_FEATURE(VIRTIO_BLK_F_RO));
    if (fake_is_range(request->type)) {
        fake_check_range(device, request);
        return;
    }
    if (request->type != VIRTIO_BLK_T_IN && request->type != VIRTIO_BLK_T_OUT)
        fail_msg("a request of type %u", request->type);
    assert_true(request->data_bytes > 0);
    assert_int_equal(request->data_bytes % device->block_bytes, 0);
    assert_int_equal(request->sector % (device->block_bytes / VIRTIO_BLK_SECTOR_BYTES), 0);
    assert_true(request->sector <= device->sectors);
    assert_true(n_sectors <= device->sectors - request->sector);
}

static void fake_read_range(const struct fake_blk_device *device, struct fake_job *job)
{
    struct virtio_blk_discard_write_zeroes range;

    assert_int_equal(job->n_parts, 3);
    memcpy(&range, fake_platform_reach(device->platform, job->parts[1].addr, sizeof(range), false),
           sizeof(range));
    job->request.range_sector = le64_to(range.sector);
    job->request.range_sectors = le32_to(range.num_sectors);
    job->request.range_flags = le32_to(range.flags);
}

static void fake_read_job(struct fake_blk_device *device, const struct fake_pending *pending,
                          struct fake_job *job)
{
    job->ring = &device->rings[pending->queue];
    job->head = pending->head;
    job->request = (struct fake_blk_request){.head = pending->head, .queue = pending->queue};
    job->n_parts = fake_ring_read_chain(job->ring, pending->head, job->parts);
    fake_read_header(device, job);
    job->request.status_byte = fake_status_byte(device, job);
    fake_sum_data(device, job);
    if (fake_is_range(job->request.type))
        fake_read_range(device, job);
}

static void fake_take_from_queue(struct fake_blk_device *device, uint16_t queue)
{
    static struct fake_job job;
    struct fake_ring *ring = &device->rings[queue];
    struct fake_pending pending = {.queue = queue};

    while (fake_ring_take(ring, &pending.head)) {
        fake_read_job(device, &pending, &job);
        fake_check_request(device, &job);
        job.request.n_before = device->n_pending;
        if (device->n_requests < FAKE_BLK_RECORDS)
            device->requests[device->n_requests] = job.request;
        device->n_requests++;
        assert_true(device->n_pending < FAKE_BLK_PENDING);
        device->pending[device->n_pending++] = pending;
    }
    if (fake_accepted(device, VIRTIO_F_EVENT_IDX))
        fake_ring_set_no_notify(ring, device->polls);
}

static void fake_take_requests(struct fake_blk_device *device)
{
    for (uint16_t i = 0; i < FAKE_QUEUES; i++) {
        if (device->transport.queues[i].enabled)
            fake_take_from_queue(device, i);
    }
    if (device->n_pending > device->n_pending_max)
        device->n_pending_max = device->n_pending;
}

/* As QEMU does it: the string with its end, if there is room for that, and nothing behind it. */
static void fake_write_id(struct fake_blk_device *device, const struct fake_job *job)
{
    const char *id = device->id ? device->id : "";
    size_t bytes = strlen(id) + 1;

    if (bytes > VIRTIO_BLK_ID_BYTES)
        bytes = VIRTIO_BLK_ID_BYTES;
    memcpy(fake_platform_reach(device->platform, job->parts[1].addr, bytes, true), id, bytes);
}

static void fake_move_data(struct fake_blk_device *device, const struct fake_job *job)
{
    if (job->request.type == VIRTIO_BLK_T_GET_ID) {
        fake_write_id(device, job);
        return;
    }
    if (!device->image)
        return;
    if (fake_is_range(job->request.type)) {
        memset(device->image + job->request.range_sector * VIRTIO_BLK_SECTOR_BYTES, 0,
               (size_t)job->request.range_sectors * VIRTIO_BLK_SECTOR_BYTES);
        return;
    }
    uint8_t *image = device->image + job->request.sector * VIRTIO_BLK_SECTOR_BYTES;

    for (unsigned i = 1; i + 1 < job->n_parts; i++) {
        const struct fake_part *part = &job->parts[i];
        uint8_t *memory =
            fake_platform_reach(device->platform, part->addr, part->len, part->device_writable);
        if (part->device_writable)
            memcpy(memory, image, part->len);
        else
            memcpy(image, memory, part->len);
        image += part->len;
    }
}

static uint32_t fake_honest_len(const struct fake_job *job)
{
    bool device_writes =
        job->request.type == VIRTIO_BLK_T_IN || job->request.type == VIRTIO_BLK_T_GET_ID;

    return 1 + (device_writes ? (uint32_t)job->request.data_bytes : 0);
}

static bool fake_is_bad(const struct fake_blk_device *device,
                        const struct fake_blk_request *request)
{
    uint64_t bad = device->bad_sector;

    return bad && request->type == VIRTIO_BLK_T_IN && bad >= request->sector &&
           (bad - request->sector) * VIRTIO_BLK_SECTOR_BYTES < request->data_bytes;
}

static void fake_serve(struct fake_blk_device *device, const struct fake_job *job)
{
    bool is_unknown = job->request.type == VIRTIO_BLK_T_GET_ID && !device->id;

    if (fake_is_bad(device, &job->request)) {
        *fake_status_byte(device, job) = VIRTIO_BLK_S_IOERR;
        fake_ring_return(job->ring, job->head, 1);
        return;
    }
    fake_move_data(device, job);
    *fake_status_byte(device, job) = is_unknown ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_OK;
    fake_ring_return(job->ring, job->head, fake_honest_len(job));
}

static void fake_serve_falsely(struct fake_blk_device *device, const struct fake_job *job)
{
    uint32_t len = fake_honest_len(job);
    uint32_t value = device->lie_value;
    struct fake_ring *ring = job->ring;

    if (device->lie != FAKE_BLK_STATUS && device->lie != FAKE_BLK_NO_DATA)
        fake_move_data(device, job);
    if (device->lie != FAKE_BLK_NO_STATUS)
        *fake_status_byte(device, job) =
            device->lie == FAKE_BLK_STATUS ? (uint8_t)value : VIRTIO_BLK_S_OK;
    switch (device->lie) {
    case FAKE_BLK_STATUS:
        if (value == VIRTIO_BLK_S_OK)
            fake_move_data(device, job);
        fake_ring_return(ring, job->head, value == VIRTIO_BLK_S_OK ? len : 1);
        break;
    case FAKE_BLK_LEN:
        fake_ring_return(ring, job->head, value);
        break;
    case FAKE_BLK_NO_DATA:
        fake_ring_return(ring, job->head, 1);
        break;
    case FAKE_BLK_ID:
        fake_ring_return(ring, value, len);
        break;
    case FAKE_BLK_ID_TWICE:
        fake_ring_return(ring, job->head, len);
        fake_ring_return(ring, job->head, len);
        break;
    case FAKE_BLK_IDX_JUMPS:
        fake_ring_return(ring, job->head, len);
        fake_ring_set_used_idx(ring, (uint16_t)(ring->used_idx + value));
        break;
    default:
        fake_ring_return(ring, job->head, len);
        break;
    }
}

static unsigned fake_choose(struct fake_blk_device *device)
{
    switch (device->order) {
    case FAKE_BLK_REVERSED:
        return device->n_pending - 1;
    case FAKE_BLK_SHUFFLED:
        return test_random(&device->shuffle) % device->n_pending;
    default:
        return 0;
    }
}

static void fake_interrupt(struct fake_blk_device *device, const struct fake_ring *ring,
                           uint16_t old_idx)
{
    if (ring->used_idx == old_idx || !fake_ring_interrupt_wanted(ring, old_idx))
        return;
    device->n_interrupts++;
    if (device->on_interrupt)
        device->on_interrupt(device);
}

/* One pending request is answered, or kept for ever. */
static void fake_serve_one(struct fake_blk_device *device)
{
    static struct fake_job job;
    unsigned chosen = fake_choose(device);
    bool lies = device->lie != FAKE_BLK_HONEST && device->n_returned >= device->lie_from &&
                (device->lie_until == 0 || device->n_returned < device->lie_until);

    fake_read_job(device, &device->pending[chosen], &job);
    device->n_pending--;
    memmove(&device->pending[chosen], &device->pending[chosen + 1],
            (device->n_pending - chosen) * sizeof(device->pending[0]));
    device->n_returned++;
    uint16_t old_idx = job.ring->used_idx;
    if (!lies)
        fake_serve(device, &job);
    else if (device->lie != FAKE_BLK_NEVER)
        fake_serve_falsely(device, &job);
    fake_interrupt(device, job.ring, old_idx);
}

void fake_blk_device_serve(struct fake_blk_device *device, unsigned n_requests)
{
    fake_take_requests(device);
    while (device->n_pending && n_requests--)
        fake_serve_one(device);
}

void fake_blk_device_serve_all(struct fake_blk_device *device)
{
    fake_take_requests(device);
    while (device->n_pending)
        fake_serve_one(device);
}

static void fake_on_notify(void *context, uint16_t index)
{
    struct fake_blk_device *device = context;

    assert_true(index < FAKE_QUEUES);
    if (device->delay_waits == 0)
        fake_blk_device_serve_all(device);
    else
        fake_take_requests(device);
}

static void fake_on_enable(void *context, uint16_t index)
{
    struct fake_blk_device *device = context;
    const struct fake_queue *queue = &device->transport.queues[index];

    device->platform->is_translated = fake_accepted(device, VIRTIO_F_ACCESS_PLATFORM);
    fake_ring_attach(&device->rings[index], device->platform, queue->size, &queue->addresses,
                     device->transport.accepted);
    if (device->polls)
        fake_ring_set_no_notify(&device->rings[index], true);
}

static void fake_after_reset(struct fake_blk_device *device)
{
    if (++device->n_resets != device->reset_is_honest)
        return;
    device->lie = FAKE_BLK_HONEST;
    device->transport.lie = FAKE_HONEST;
}

static void fake_on_reset(void *context)
{
    struct fake_blk_device *device = context;

    device->n_pending = 0;
    fake_after_reset(device);
}

static void fake_on_queue_reset(void *context, uint16_t index)
{
    struct fake_blk_device *device = context;
    unsigned n_kept = 0;

    for (unsigned i = 0; i < device->n_pending; i++) {
        if (device->pending[i].queue != index)
            device->pending[n_kept++] = device->pending[i];
    }
    device->n_pending = n_kept;
    fake_after_reset(device);
}

static void fake_on_wait(void *context)
{
    struct fake_blk_device *device = context;

    if (device->on_wait)
        device->on_wait(device);
    if (!device->transport.queues[0].enabled || device->transport.lie == FAKE_GONE)
        return;
    if (device->polls)
        fake_blk_device_serve_all(device);
    if (device->n_pending && ++device->waits_left >= device->delay_waits) {
        device->waits_left = 0;
        fake_serve_one(device);
    }
}

/* No two words of the image are the same. */
static void fake_make_image(struct fake_blk_device *device)
{
    uint64_t n_words = device->sectors * VIRTIO_BLK_SECTOR_BYTES / sizeof(uint64_t);
    uint64_t *words = malloc(n_words * sizeof(uint64_t));

    assert_non_null(words);
    for (uint64_t i = 0; i < n_words; i++)
        words[i] = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    device->image = (uint8_t *)words;
}

void fake_blk_device_init(struct fake_blk_device *device, struct fake_platform *platform,
                          uint64_t sectors)
{
    memset(device, 0, sizeof(*device));
    fake_transport_init(&device->transport);
    device->transport.offered |= VIO_FEATURE(VIRTIO_BLK_F_FLUSH);
    device->transport.queues[0].size_max = 128;
    device->transport.context = device;
    device->transport.on_notify = fake_on_notify;
    device->transport.on_enable = fake_on_enable;
    device->transport.on_reset = fake_on_reset;
    device->transport.on_queue_reset = fake_on_queue_reset;
    fake_transport_set_config(&device->transport, VIRTIO_BLK_CONFIG_CAPACITY, 8, sectors);
    device->platform = platform;
    platform->on_wait = fake_on_wait;
    platform->on_wait_context = device;
    device->sectors = sectors;
    device->block_bytes = VIRTIO_BLK_SECTOR_BYTES;
    device->shuffle = 1;
    fake_make_image(device);
}

void fake_blk_device_free(struct fake_blk_device *device)
{
    free(device->image);
    device->image = NULL;
}

void fake_blk_device_offer(struct fake_blk_device *device, unsigned feature_bit, uint32_t offset,
                           unsigned width_bytes, uint64_t value)
{
    device->transport.offered |= VIO_FEATURE(feature_bit);
    fake_transport_set_config(&device->transport, offset, width_bytes, value);
    if (feature_bit == VIRTIO_BLK_F_BLK_SIZE && value >= VIRTIO_BLK_SECTOR_BYTES &&
        value % VIRTIO_BLK_SECTOR_BYTES == 0)
        device->block_bytes = (uint32_t)value;
}
