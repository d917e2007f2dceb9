/* Contract and terms: tests/fakes/fake_platform.h. */

#define _POSIX_C_SOURCE 200112L /* posix_memalign: no rounding up, so ASan sees each overrun */

#include "tests/fakes/fake_platform.h"

#include "tests/fakes/fake_log.h"
#include "tests/fakes/testing.h"

#define FAKE_PAGE_BYTES 4096u
#define FAKE_FIRST_ADDR UINT64_C(0x180000000)
/* No mapping starts at a page, as no caller's buffer does. */
#define FAKE_MAP_SKEW  24u
#define FAKE_WAITS_MAX 10000000u

struct fake_block {
    struct fake_block *next;
    enum fake_call kind;
    uint8_t *memory;
    size_t bytes;
    dma_addr addr; /* 0: no device reaches it */
    enum vio_direction direction;
    uint8_t *buffer; /* of a mapping: the caller's */
};

static bool fake_must_fail(struct fake_platform *fake, enum fake_call call)
{
    unsigned n = ++fake->calls[call];

    return n == fake->fail_at[call] || (fake->fail_from[call] && n >= fake->fail_from[call]);
}

static struct fake_block *fake_new_block(struct fake_platform *fake, enum fake_call kind,
                                         size_t bytes, size_t alignment)
{
    struct fake_block *block = calloc(1, sizeof(*block));
    void *memory = NULL;

    assert_non_null(block);
    assert_true(bytes > 0);
    assert_int_equal(posix_memalign(&memory, alignment, bytes), 0);
    *block =
        (struct fake_block){.next = fake->blocks, .kind = kind, .memory = memory, .bytes = bytes};
    fake->blocks = block;
    return block;
}

/* Addresses are never used twice, and between two blocks lies a page that is nobody's. */
static dma_addr fake_new_addr(struct fake_platform *fake, size_t bytes)
{
    dma_addr addr = fake->next_addr;

    fake->next_addr += (bytes + 2 * FAKE_PAGE_BYTES - 1) / FAKE_PAGE_BYTES * FAKE_PAGE_BYTES;
    fake->next_addr += FAKE_PAGE_BYTES;
    return addr;
}

static void fake_delete_block(struct fake_platform *fake, const void *bookkeeping,
                              enum fake_call kind)
{
    struct fake_block **link = &fake->blocks;

    while (*link && *link != bookkeeping)
        link = &(*link)->next;
    if (!*link || (*link)->kind != kind)
        fail_msg("something was given back that is not allocated or mapped");
    struct fake_block *block = *link;
    *link = block->next;
    memset(block->memory, FAKE_POISON, block->bytes);
    free(block->memory);
    free(block);
}

static void *fake_alloc(void *context, size_t bytes)
{
    struct fake_platform *fake = context;

    if (fake_must_fail(fake, FAKE_CALL_ALLOC))
        return NULL;
    struct fake_block *block = fake_new_block(fake, FAKE_CALL_ALLOC, bytes, sizeof(max_align_t));
    memset(block->memory, 0, bytes);
    fake_log_add((struct fake_event){.kind = FAKE_ALLOC, .value = bytes});
    return block->memory;
}

static void fake_free(void *context, void *memory, size_t bytes)
{
    struct fake_platform *fake = context;
    struct fake_block *block = fake->blocks;

    if (!memory)
        return;
    while (block && block->memory != memory)
        block = block->next;
    if (!block || block->bytes != bytes)
        fail_msg("free() of memory that alloc() did not give, or of another size");
    fake_log_add((struct fake_event){.kind = FAKE_FREE, .value = bytes});
    fake_delete_block(fake, block, FAKE_CALL_ALLOC);
}

static vio_status fake_dma_alloc(void *context, size_t bytes, struct vio_dma *ret_dma)
{
    struct fake_platform *fake = context;

    if (fake_must_fail(fake, FAKE_CALL_DMA_ALLOC))
        return VIO_ERR_NO_MEMORY;
    struct fake_block *block = fake_new_block(fake, FAKE_CALL_DMA_ALLOC, bytes, FAKE_PAGE_BYTES);
    memset(block->memory, 0, bytes);
    block->addr = fake_new_addr(fake, bytes);
    fake_log_add((struct fake_event){.kind = FAKE_DMA_ALLOC, .at = block->addr, .value = bytes});
    *ret_dma = (struct vio_dma){
        .memory = block->memory, .addr = block->addr, .bytes = bytes, .bookkeeping = block};
    return VIO_OK;
}

static void fake_dma_free(void *context, struct vio_dma *dma)
{
    fake_log_add((struct fake_event){.kind = FAKE_DMA_FREE, .at = dma->addr, .value = dma->bytes});
    fake_delete_block(context, dma->bookkeeping, FAKE_CALL_DMA_ALLOC);
}

static vio_status fake_map(void *context, void *buffer, size_t bytes, enum vio_direction direction,
                           struct vio_mapping *ret_mapping)
{
    struct fake_platform *fake = context;

    if (fake_must_fail(fake, FAKE_CALL_MAP))
        return VIO_ERR_NO_MEMORY;
    if (fake->map_bytes_max && bytes > fake->map_bytes_max)
        return VIO_ERR_NO_MEMORY;
    struct fake_block *block = fake_new_block(fake, FAKE_CALL_MAP, bytes, sizeof(max_align_t));
    if (direction == VIO_DEVICE_READABLE)
        memcpy(block->memory, buffer, bytes);
    else
        memset(block->memory, FAKE_POISON, bytes);
    block->addr = fake_new_addr(fake, bytes) + FAKE_MAP_SKEW;
    block->direction = direction;
    block->buffer = buffer;
    fake_log_add((struct fake_event){.kind = FAKE_MAP, .at = block->addr, .value = bytes});
    *ret_mapping = (struct vio_mapping){.addr = block->addr, .bookkeeping = block};
    return VIO_OK;
}

static vio_status fake_unmap(void *context, struct vio_mapping *mapping)
{
    struct fake_platform *fake = context;
    struct fake_block *block = mapping->bookkeeping;
    vio_status status = fake_must_fail(fake, FAKE_CALL_UNMAP) ? VIO_ERR_IO : VIO_OK;

    if (status == VIO_OK && block->direction == VIO_DEVICE_WRITABLE)
        memcpy(block->buffer, block->memory, block->bytes);
    fake_log_add((struct fake_event){.kind = FAKE_UNMAP, .at = mapping->addr});
    fake_delete_block(fake, block, FAKE_CALL_MAP);
    return status;
}

static uint64_t fake_now_us(void *context)
{
    struct fake_platform *fake = context;

    return fake->now_us += fake->step_us;
}

static void fake_wait(void *context, uint64_t limit_us)
{
    struct fake_platform *fake = context;
    bool shorter = fake->wait_us && fake->wait_us < limit_us;

    if (++fake->waits > FAKE_WAITS_MAX)
        fail_msg("an endless wait");
    fake->now_us += shorter ? fake->wait_us : limit_us;
    if (fake->tick_us)
        fake->now_us += 2 * fake->tick_us - fake->now_us % fake->tick_us;
    fake_log_add((struct fake_event){.kind = FAKE_WAIT, .value = limit_us});
    if (fake->on_wait)
        fake->on_wait(fake->on_wait_context);
}

static unsigned fake_sleep(void *context)
{
    struct fake_platform *fake = context;
    unsigned slept = VIO_SLEPT;

    if (!fake->can_sleep)
        return 0;
    if (++fake->sleeps > FAKE_WAITS_MAX)
        fail_msg("an endless sleep");
    fake->now_us += fake->sleep_us;
    if (fake->slept_config)
        slept |= VIO_SLEPT_CONFIG | VIO_SLEPT_INTERRUPT;
    fake->slept_config = false;
    fake->slept_interrupt = false;
    fake_log_add((struct fake_event){.kind = FAKE_SLEEP});
    if (fake->on_sleep)
        fake->on_sleep(fake->on_sleep_context);
    return slept | (fake->slept_interrupt ? VIO_SLEPT_INTERRUPT : 0);
}

static const struct vio_platform_ops fake_platform_ops = {
    .alloc = fake_alloc,
    .free = fake_free,
    .dma_alloc = fake_dma_alloc,
    .dma_free = fake_dma_free,
    .map = fake_map,
    .unmap = fake_unmap,
    .now_us = fake_now_us,
    .wait = fake_wait,
    .sleep = fake_sleep,
};

void fake_platform_init(struct fake_platform *fake)
{
    *fake = (struct fake_platform){
        .platform = {.ops = &fake_platform_ops, .context = fake},
        .now_us = 1000,
        .step_us = 1,
        .next_addr = FAKE_FIRST_ADDR,
    };
}

void fake_platform_lend(struct fake_platform *fake, void *buffer, size_t bytes)
{
    fake->platform.pointers_are_physical = true;
    fake->lent = buffer;
    fake->lent_bytes = bytes;
}

void fake_platform_fail(struct fake_platform *fake, enum fake_call call, unsigned nth)
{
    fake->fail_at[call] = fake->calls[call] + nth;
}

void fake_platform_fail_from(struct fake_platform *fake, enum fake_call call, unsigned nth)
{
    fake->fail_from[call] = fake->calls[call] + nth;
}

/* No bus address of ours is as high as a pointer of the host's. */
static void *fake_reach_pointer(uint8_t *memory, size_t memory_bytes, dma_addr addr, size_t bytes)
{
    dma_addr start = (uintptr_t)memory;

    if (!memory || addr < start || addr - start >= memory_bytes)
        return NULL;
    if (bytes > memory_bytes - (addr - start))
        fail_msg("the device reaches beyond what is lent, at 0x%llx", (unsigned long long)addr);
    return memory + (addr - start);
}

static bool fake_uses_pointers(const struct fake_platform *fake)
{
    return fake->platform.pointers_are_physical && !fake->is_translated;
}

static void *fake_reach_lent(const struct fake_platform *fake, dma_addr addr, size_t bytes)
{
    void *reached = fake_reach_pointer(fake->lent, fake->lent_bytes, addr, bytes);

    if (!fake_uses_pointers(fake))
        return NULL;
    for (const struct fake_block *block = fake->blocks; block && !reached; block = block->next) {
        if (block->kind == FAKE_CALL_ALLOC || block->kind == FAKE_CALL_DMA_ALLOC)
            reached = fake_reach_pointer(block->memory, block->bytes, addr, bytes);
    }
    return reached;
}

void *fake_platform_reach(struct fake_platform *fake, dma_addr addr, size_t bytes,
                          bool device_writes)
{
    for (struct fake_block *block = fake->blocks; block; block = block->next) {
        if (block->addr == 0 || addr < block->addr || addr - block->addr >= block->bytes)
            continue;
        if (bytes > block->bytes - (addr - block->addr))
            fail_msg("the device reaches beyond a block, at 0x%llx", (unsigned long long)addr);
        if (block->kind == FAKE_CALL_DMA_ALLOC && fake_uses_pointers(fake))
            fail_msg("0x%llx was to be translated, and nobody does", (unsigned long long)addr);
        if (block->kind == FAKE_CALL_MAP &&
            device_writes != (block->direction == VIO_DEVICE_WRITABLE))
            fail_msg("the device uses a mapping the wrong way, at 0x%llx",
                     (unsigned long long)addr);
        return block->memory + (addr - block->addr);
    }
    void *lent = fake_reach_lent(fake, addr, bytes);
    if (!lent)
        fail_msg("the device reaches for 0x%llx, where nothing is", (unsigned long long)addr);
    return lent;
}

unsigned fake_platform_live(const struct fake_platform *fake, enum fake_call kind)
{
    unsigned count = 0;

    for (const struct fake_block *block = fake->blocks; block; block = block->next)
        count += block->kind == kind;
    return count;
}

void fake_platform_assert_no_leaks(const struct fake_platform *fake)
{
    assert_int_equal(fake_platform_live(fake, FAKE_CALL_MAP), 0);
    assert_int_equal(fake_platform_live(fake, FAKE_CALL_DMA_ALLOC), 0);
    assert_int_equal(fake_platform_live(fake, FAKE_CALL_ALLOC), 0);
}

void fake_platform_assert_quarantined(struct fake_platform *fake, unsigned n_dma_blocks)
{
    assert_int_equal(fake_platform_live(fake, FAKE_CALL_MAP), 0);
    assert_int_equal(fake_platform_live(fake, FAKE_CALL_ALLOC), 0);
    assert_int_equal(fake_platform_live(fake, FAKE_CALL_DMA_ALLOC), n_dma_blocks);
    while (fake->blocks)
        fake_delete_block(fake, fake->blocks, fake->blocks->kind);
}
