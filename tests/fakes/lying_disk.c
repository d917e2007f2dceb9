/* Contract and terms: tests/fakes/lying_disk.h. */

#include "tests/fakes/lying_disk.h"

#include "core/device_spec.h"
#include "devices/blk_spec.h"
#include "tests/fakes/lying_disk_private.h"
#include "tests/fakes/testing.h"

#define MANY_BYTES    (48u * 1024)
#define BLOCK_MAX     (32u * 1024)
#define SLACK_US      200000u /* between a limit and the clock's next look at it */
#define BUFFER_FILLER 0x11

/* --- What is done ----------------------------------------------------------------------------- */

static void add_step(struct use *use, enum disk_operation operation, uint64_t sector, size_t bytes)
{
    uint64_t first = use->steps[0].sector; /* the buffer's */
    struct disk_step *step = &use->steps[use->n_steps++];

    *step = (struct disk_step){.operation = operation, .sector = sector, .bytes = bytes};
    if (operation == DISK_OP_READ || operation == DISK_OP_WRITE)
        step->buffer = use->buffer + (sector - first) * VIRTIO_BLK_SECTOR_BYTES;
    if (operation == DISK_OP_GET_ID)
        step->buffer = use->id;
}

/* A part of the blocks each; the flush is for what goes in front of it. */
static void add_steps_together(struct use *use, uint64_t sector, uint32_t block)
{
    static const enum disk_operation parts[] = {DISK_OP_READ, DISK_OP_WRITE, DISK_OP_READ,
                                                DISK_OP_WRITE, DISK_OP_DISCARD};
    size_t bytes = use->bytes / ARRAY_LENGTH(parts);

    bytes -= bytes % block;
    for (unsigned i = 0; i < ARRAY_LENGTH(parts); i++)
        add_step(use, parts[i], sector + i * bytes / VIRTIO_BLK_SECTOR_BYTES, bytes);
    add_step(use, DISK_OP_GET_ID, 0, 0);
    add_step(use, DISK_OP_FLUSH, 0, 0);
}

static void add_steps(struct use *use, uint64_t sector, uint32_t block)
{
    static const enum disk_operation operations[DISK_USES] = {
        [DISK_READ_BLOCK] = DISK_OP_READ,
        [DISK_READ_MANY] = DISK_OP_READ,
        [DISK_WRITE_BLOCK] = DISK_OP_WRITE,
        [DISK_WRITE_MANY] = DISK_OP_WRITE,
        [DISK_FLUSH] = DISK_OP_WRITE,
        [DISK_GET_ID] = DISK_OP_GET_ID,
        [DISK_DISCARD] = DISK_OP_DISCARD,
        [DISK_WRITE_ZEROES] = DISK_OP_WRITE_ZEROES,
        [DISK_SECURE_ERASE] = DISK_OP_SECURE_ERASE,
        [DISK_RESET] = DISK_OP_READ,
        [DISK_REFRESH] = DISK_OP_READ,
    };

    if (use->kind == DISK_TOGETHER)
        add_steps_together(use, sector, block);
    else if (use->kind == DISK_GET_ID)
        add_step(use, DISK_OP_GET_ID, 0, 0);
    else
        add_step(use, operations[use->kind], sector, use->bytes);
    if (use->kind == DISK_FLUSH || use->kind == DISK_DISCARD || use->kind == DISK_WRITE_ZEROES ||
        use->kind == DISK_SECURE_ERASE)
        add_step(use, DISK_OP_FLUSH, 0, 0);
}

static bool is_of_one_block(enum disk_use kind)
{
    return kind == DISK_READ_BLOCK || kind == DISK_WRITE_BLOCK || kind == DISK_FLUSH ||
           kind == DISK_RESET || kind == DISK_REFRESH;
}

/* False for blocks too large to be worth a test's time. */
static bool choose_steps(const struct disk_driver *driver, const void *driven, struct use *use)
{
    uint32_t block = driver->block_bytes(driven);
    uint64_t sectors = driver->capacity_sectors(driven);
    uint32_t block_sectors = block / VIRTIO_BLK_SECTOR_BYTES;
    uint64_t sector = 0;

    if (block > BLOCK_MAX)
        return false;
    if (sectors > LYING_DISK_SECTORS)
        sectors = LYING_DISK_SECTORS;
    if (sectors >= 2 * block_sectors)
        sector = block_sectors;
    use->bytes = block;
    if (!is_of_one_block(use->kind)) {
        use->bytes = (size_t)(sectors - sector) * VIRTIO_BLK_SECTOR_BYTES;
        if (use->bytes > MANY_BYTES)
            use->bytes = MANY_BYTES;
        use->bytes -= use->bytes % block;
    }
    /* Of exactly this size, so that a byte behind it is noticed. */
    use->buffer = malloc(use->bytes ? use->bytes : 1);
    assert_non_null(use->buffer);
    use->id = malloc(DISK_ID_BYTES);
    assert_non_null(use->id);
    use->n_steps = 0;
    use->steps[0] = (struct disk_step){.sector = sector};
    add_steps(use, sector, block);
    return true;
}

static vio_status first_failure(const struct use *use)
{
    for (unsigned i = 0; i < use->n_steps; i++) {
        if (use->steps[i].status != VIO_OK)
            return use->steps[i].status;
    }
    return VIO_OK;
}

/* In turn, and no further than one that fails; a read-only disk is flushed all the same. */
static vio_status run_steps(const struct disk_driver *driver, void *driven, struct use *use)
{
    vio_status status = VIO_OK;

    if (use->kind == DISK_TOGETHER) {
        driver->run_together(driven, use->steps, use->n_steps);
        return first_failure(use);
    }
    for (unsigned i = 0; i < use->n_steps; i++) {
        bool goes_on = use->kind == DISK_FLUSH && i == 0;
        status = use->steps[i].status = driver->run(driven, &use->steps[i]);
        if (status != VIO_OK && (status != VIO_ERR_READ_ONLY || !goes_on))
            use->n_steps = i + 1;
    }
    return status;
}

/* --- What is checked -------------------------------------------------------------------------- */

/* What lies beyond the end is refused without asking the device, also where a sum would wrap. */
static void check_range(struct lying_disk *disk, const struct disk_driver *driver, void *driven)
{
    uint32_t block = driver->block_bytes(driven);
    uint64_t block_sectors = block / VIRTIO_BLK_SECTOR_BYTES;
    uint64_t capacity = driver->capacity_sectors(driven);
    unsigned n_requests = disk->honest.n_requests;
    struct disk_step step = {.operation = DISK_OP_READ, .buffer = &(uint8_t){0}};
    const struct {
        uint64_t sector;
        size_t bytes;
    } beyond[] = {{capacity, block},
                  {capacity - block_sectors, 2 * (size_t)block},
                  {0 - block_sectors, block}};

    assert_true(capacity == disk->honest.sectors);
    for (unsigned i = 0; i < ARRAY_LENGTH(beyond); i++) {
        step.sector = beyond[i].sector;
        step.bytes = beyond[i].bytes;
        assert_int_equal(driver->run(driven, &step), VIO_ERR_RANGE);
    }
    lying_disk_serve(disk);
    assert_int_equal(disk->honest.n_requests, n_requests);
}

/* A device that is out of use is asked for nothing any more. */
static void check_dead(struct lying_disk *disk, const struct disk_driver *driver, void *driven,
                       struct use *use)
{
    unsigned n_requests = disk->honest.n_requests;

    vio_status why = run_steps(driver, driven, use);
    assert_int_not_equal(why, VIO_OK);
    if (!disk->reset_failed)
        lying_disk_judge_death(disk, why);
    lying_disk_serve(disk);
    assert_int_equal(disk->honest.n_requests, n_requests);
}

/* What is flushed is not flushed again, and what is not, is. */
static void check_flush_again(struct lying_disk *disk, const struct disk_driver *driver,
                              void *driven, vio_status first)
{
    struct disk_step step = {.operation = DISK_OP_FLUSH};
    unsigned n_requests = disk->honest.n_requests;

    vio_status status = driver->run(driven, &step);
    if (first == VIO_OK) {
        assert_int_equal(status, VIO_OK);
        assert_int_equal(disk->honest.n_requests, n_requests);
    }
    if (status == VIO_OK)
        lying_disk_judge_flushed(disk);
}

/* What the driver refuses by itself is the caller's fault, and he knows. */
static bool has_words(const struct lying_disk *disk, const struct use *use, vio_status status)
{
    bool was_asked = disk->honest.n_requests != use->first_request;

    if (use->kind == DISK_TOGETHER &&
        (status == VIO_ERR_NO_MEMORY || status == VIO_ERR_UNSUPPORTED))
        return false;
    return status != VIO_OK && status != VIO_ERR_RANGE && status != VIO_ERR_READ_ONLY &&
           (status != VIO_ERR_UNSUPPORTED || was_asked);
}

/* Each failure that is not the caller's has words; those of the first are kept. */
static void explain(const struct disk_driver *driver, const void *driven,
                    struct disk_outcome *outcome)
{
    uint64_t value;
    const char *text = driver->explain(driven, &value);

    assert_non_null(text);
    assert_true(text[0] != '\0');
    if (outcome->text[0])
        return;
    snprintf(outcome->text, sizeof(outcome->text), "%s", text);
    outcome->value = value;
}

/* --- The encounter ---------------------------------------------------------------------------- */

static void close_disk(struct lying_disk *disk, const struct disk_driver *driver, void *driven)
{
    uint64_t start_us = disk->fake.now_us;

    driver->close(driven);
    assert_true(disk->fake.now_us - start_us <= DISK_DRIVER_RESET_LIMIT_US + SLACK_US);
}

static void begin_use(const struct lying_disk *disk, struct use *use)
{
    use->first_request = disk->honest.n_requests;
    use->first_reset = disk->n_resets;
    use->was_in_use = lying_disk_is_in_use(disk);
}

static void begin_callers_reset(struct lying_disk *disk)
{
    disk->reset_by_caller = true;
    disk->n_resets_before = disk->n_resets;
}

static void end_callers_reset(struct lying_disk *disk)
{
    disk->reset_by_caller = false;
    if (disk->n_resets != disk->n_resets_before)
        disk->reset_failed = !lying_disk_is_in_use(disk);
}

/* Whatever the device has done, the caller may try again. */
static vio_status reset_and_run(struct lying_disk *disk, const struct disk_driver *driver,
                                void *driven, struct use *use)
{
    (void)run_steps(driver, driven, use); /* judged as any other use is */
    lying_disk_judge(disk, driver, driven, use);

    begin_callers_reset(disk);
    vio_status status = driver->reset(driven);
    end_callers_reset(disk);
    assert_int_equal(lying_disk_is_in_use(disk), status == VIO_OK);
    use->first_request = disk->honest.n_requests;
    use->steps[0].status = status;
    return status == VIO_OK ? run_steps(driver, driven, use) : status;
}

static vio_status use_once(struct lying_disk *disk, const struct disk_driver *driver, void *driven,
                           struct use *use)
{
    unsigned first_request = disk->honest.n_requests;
    uint64_t start_us = disk->fake.now_us;

    begin_use(disk, use);
    vio_status status = use->kind == DISK_RESET ? reset_and_run(disk, driver, driven, use)
                                                : run_steps(driver, driven, use);

    /* What was sent again counts again. */
    uint64_t n_waits = 1u + disk->honest.n_requests - first_request;
    uint64_t n_resets = disk->n_resets - use->first_reset;
    assert_true(disk->fake.now_us - start_us <=
                n_waits * (DISK_DRIVER_REQUEST_LIMIT_US + SLACK_US) +
                    n_resets * (DISK_DRIVER_RESET_LIMIT_US + SLACK_US));
    lying_disk_judge(disk, driver, driven, use);
    /* Also after a success, behind which a lie was seen. */
    if (!lying_disk_is_in_use(disk))
        check_dead(disk, driver, driven, use);
    return status;
}

/* What is taken over was the same at two looks, or is nothing; an idle disk may get a reset. */
static void refresh(struct lying_disk *disk, const struct disk_driver *driver, void *driven)
{
    begin_callers_reset(disk);
    driver->refresh(driven);
    end_callers_reset(disk);
    uint64_t capacity = driver->capacity_sectors(driven);
    if (lying_disk_is_in_use(disk))
        assert_true(capacity == 0 || capacity == disk->honest.sectors);
}

static void use_disk(struct lying_disk *disk, const struct disk_driver *driver, void *driven,
                     const struct disk_script *script, struct disk_outcome *outcome)
{
    check_range(disk, driver, driven);
    for (unsigned i = 0; i <= script->repeats; i++) {
        struct use use = {.kind = script->use};
        if (use.kind == DISK_REFRESH)
            refresh(disk, driver, driven);
        if (!choose_steps(driver, driven, &use))
            return;
        memset(use.buffer, BUFFER_FILLER + (int)i, use.bytes);
        vio_status status = use_once(disk, driver, driven, &use);
        if (has_words(disk, &use, status))
            explain(driver, driven, outcome);
        if (use.kind == DISK_FLUSH && lying_disk_is_in_use(disk))
            check_flush_again(disk, driver, driven, status);
        free(use.buffer);
        free(use.id);
        outcome->was_used = true;
        outcome->used_last = status;
        if (i == 0)
            outcome->used = status;
    }
}

void disk_script_play(const struct disk_script *script, struct disk_outcome *ret_outcome)
{
    static struct lying_disk disk; /* too large for a stack */
    const struct disk_driver *driver = disk_driver_under_test();
    void *driven = malloc(driver->disk_bytes);
    struct disk_outcome outcome = {0};

    assert_non_null(driven);
    memset(driven, 0xA5, driver->disk_bytes);
    lying_disk_init(&disk, script);
    uint64_t start_us = disk.fake.now_us;

    outcome.opened = driver->open(driven, &disk.transport, &disk.platform);
    assert_true(disk.fake.now_us - start_us <= 2 * DISK_DRIVER_RESET_LIMIT_US + SLACK_US);
    if (outcome.opened == VIO_OK) {
        outcome.capacity_sectors = driver->capacity_sectors(driven);
        lying_disk_judge_opened(&disk);
        use_disk(&disk, driver, driven, script, &outcome);
        outcome.took_us = disk.fake.now_us - start_us;
        close_disk(&disk, driver, driven);
    } else {
        outcome.took_us = disk.fake.now_us - start_us;
        assert_int_equal(disk.honest.n_requests, 0);
        explain(driver, driven, &outcome);
    }
    lying_disk_end(&disk);
    outcome.isolated = disk.isolated;
    outcome.n_untold =
        lies_untold(&disk.lies) + (script->fail_nth > disk.fake.calls[script->fail_call]);
    free(driven);
    *ret_outcome = outcome;
}

size_t disk_script_write(const struct disk_script *script, uint8_t ret_bytes[DISK_SCRIPT_BYTES_MAX])
{
    ret_bytes[0] = (uint8_t)(script->use | (script->is_legacy ? DISK_SCRIPT_LEGACY : 0));
    ret_bytes[1] = script->fail_call;
    ret_bytes[2] = script->fail_nth;
    ret_bytes[3] = script->repeats;
    return 4 + lies_write(script->lies, ret_bytes + 4);
}

void disk_script_read(const uint8_t *bytes, size_t n_bytes, struct disk_script *ret_script)
{
    uint8_t head[4] = {0};
    size_t n_head = n_bytes < sizeof(head) ? n_bytes : sizeof(head);

    memcpy(head, bytes, n_head);
    *ret_script = (struct disk_script){
        .use = (uint8_t)((head[0] & ~DISK_SCRIPT_LEGACY) % DISK_USES),
        .is_legacy = head[0] & DISK_SCRIPT_LEGACY,
        .fail_call = head[1] % FAKE_CALL_KINDS,
        .fail_nth = head[2],
        .repeats = head[3] % (DISK_REPEATS_MAX + 1),
    };
    lies_read(bytes + n_head, n_bytes - n_head, ret_script->lies);
}
