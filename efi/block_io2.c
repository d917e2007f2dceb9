/* Contract and terms: efi/block_io.h. Calls with a token. */

#include "efi/block_io.h"

/* Of 100 ns. The firmware's clock ticks more slowly, and then each tick is taken. */
#define BLOCK_IO2_TIMER_PERIOD 10000u

static struct block_io *block_io2_from(EFI_BLOCK_IO2_PROTOCOL *protocol)
{
    return (struct block_io *)((uint8_t *)protocol - offsetof(struct block_io, protocol2));
}

/* --- Memory ----------------------------------------------------------------------------------- */

/* Once at the start; again only for who has more calls outstanding than can be in flight. */
static bool block_io2_grow(struct block_io *block_io)
{
    struct block_io_request_block *block = uefi_allocate(sizeof(*block));

    if (!block)
        return false;
    block->next = block_io->blocks;
    block_io->blocks = block;
    for (unsigned i = BLOCK_IO_REQUESTS; i-- > 0;) {
        block->requests[i].next_free = block_io->free_requests;
        block_io->free_requests = &block->requests[i];
    }
    return true;
}

static void block_io2_free_memory(struct block_io *block_io)
{
    while (block_io->blocks) {
        struct block_io_request_block *block = block_io->blocks;
        block_io->blocks = block->next;
        (void)BS->FreePool(block); /* allocated by block_io2_grow() */
    }
    block_io->free_requests = NULL;
}

/* --- Signalling ------------------------------------------------------------------------------- */

void block_io2_end(EFI_BLOCK_IO2_TOKEN *token, EFI_STATUS status)
{
    if (!token || !token->Event)
        return;
    token->TransactionStatus = status;
    (void)BS->SignalEvent(token->Event); /* the caller's; there is nobody to tell */
}

void block_io2_signal(struct block_io *block_io)
{
    struct virtio_blk_transfer *transfer;

    while ((transfer = virtio_blk_next_done(block_io->blk))) {
        struct block_io_request *request = (struct block_io_request *)transfer;
        EFI_BLOCK_IO2_TOKEN *token = request->token;
        if (block_io->gpt_repair.blocks && transfer->status == VIO_OK &&
            transfer->operation == VIRTIO_BLK_READ)
            block_io_put_repair_over(block_io, transfer->sector, transfer->buffer, transfer->bytes);
        request->next_free = block_io->free_requests;
        block_io->free_requests = request;
        block_io->n_outstanding--;
        block_io2_end(token, block_io_status(block_io, transfer->status));
    }
}

void block_io2_serve(struct block_io *block_io)
{
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);

    (void)virtio_blk_poll(block_io->blk); /* how much was answered is seen from what is done */
    block_io2_signal(block_io);
    BS->RestoreTPL(old_tpl);
}

static VOID EFIAPI block_io2_on_timer(EFI_EVENT event, VOID *context)
{
    struct block_io *block_io = context;

    (void)virtio_blk_poll(block_io->blk); /* as above */
    block_io2_signal(block_io);
    if (block_io->n_outstanding == 0) {
        (void)BS->SetTimer(event, TimerCancel, 0); /* at worst it comes for nothing */
        block_io->timer_runs = false;
    }
}

static VOID EFIAPI block_io2_on_batch_end(EFI_EVENT event, VOID *context)
{
    struct block_io *block_io = context;

    (void)event;
    block_io->in_batch = false;
    (void)virtio_blk_poll(block_io->blk); /* publishes as well, unless the device is out of use */
    block_io2_signal(block_io);
}

/* --- While the firmware idles ----------------------------------------------------------------- */

/*
 * EDK2's WaitForEvent() signals this group each time that it has found nothing, and its processor
 * driver halts at TPL_NOTIFY then. Its own notification was there before ours: so at that level we
 * come first, and ask to be woken, and at the level below we come when that has happened.
 */
#define IDLE_LOOP_EVENT_GUID                                                                       \
    {                                                                                              \
        0x3c8d294c, 0x5fc3, 0x4451,                                                                \
        {                                                                                          \
            0xbb, 0x31, 0xc4, 0xc0, 0x32, 0x29, 0x5e, 0x6c                                         \
        }                                                                                          \
    }

static VOID EFIAPI block_io2_on_idle(EFI_EVENT event, VOID *context)
{
    struct block_io *block_io = context;

    (void)event;
    if (block_io->n_outstanding)
        (void)virtio_blk_ask_interrupt(
            block_io->blk); /* it halts in any case, at most for a tick */
}

static VOID EFIAPI block_io2_on_woken(EFI_EVENT event, VOID *context)
{
    struct block_io *block_io = context;

    (void)event;
    if (block_io->n_outstanding)
        block_io2_serve(block_io);
}

/* Where this cannot be had, the timer is all there is. */
static void block_io2_watch_idling(struct block_io *block_io)
{
    EFI_GUID group = IDLE_LOOP_EVENT_GUID;

    if (block_io->blk->device.interrupt_use == VIO_POLLED)
        return;
    (void)BS->CreateEventEx(EVT_NOTIFY_SIGNAL, TPL_NOTIFY, block_io2_on_idle, block_io, &group,
                            &block_io->idle);
    (void)BS->CreateEventEx(EVT_NOTIFY_SIGNAL, TPL_CALLBACK, block_io2_on_woken, block_io, &group,
                            &block_io->woken);
}

static void block_io2_close_event(EFI_EVENT *event)
{
    if (*event)
        (void)BS->CloseEvent(*event); /* ours, so it can be closed */
    *event = NULL;
}

/* --- Starting --------------------------------------------------------------------------------- */

/* A caller at TPL_NOTIFY may have more to come: all of it is published when he lowers the level. */
static void block_io2_publish(struct block_io *block_io, EFI_TPL caller_tpl)
{
    if (caller_tpl < TPL_NOTIFY) {
        (void)virtio_blk_poll(block_io->blk); /* publishes as well */
        block_io2_signal(block_io);
    } else if (!block_io->in_batch) {
        block_io->in_batch = true;
        (void)BS->SignalEvent(block_io->batch_end); /* ours */
    }
}

static EFI_STATUS block_io2_submit(struct block_io *block_io, EFI_BLOCK_IO2_TOKEN *token,
                                   const struct virtio_blk_transfer *transfer)
{
    struct block_io_request *request = block_io->free_requests;

    if (!request) {
        if (!block_io2_grow(block_io))
            return EFI_OUT_OF_RESOURCES;
        request = block_io->free_requests;
    }
    virtio_blk_copy_wish(&request->transfer, transfer);
    request->transfer.is_queued = true;
    request->token = token;
    if (virtio_blk_changes(transfer))
        read_ahead_drop(&block_io->read_ahead);
    vio_status result = virtio_blk_submit(block_io->blk, &request->transfer);
    if (result != VIO_OK)
        return block_io_status(block_io, result);
    block_io->free_requests = request->next_free;
    block_io->n_outstanding++;
    return EFI_SUCCESS;
}

EFI_STATUS block_io2_start(struct block_io *block_io, EFI_BLOCK_IO2_TOKEN *token,
                           const struct virtio_blk_transfer *transfer)
{
    if (!token || !token->Event) {
        struct virtio_blk_transfer blocking = *transfer;
        return block_io_run(block_io, &blocking);
    }
    /* In the middle of a batch the level is TPL_NOTIFY: its end comes when it is restored. */
    if (block_io->in_batch && block_io->timer_runs)
        return block_io2_submit(block_io, token, transfer);
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    EFI_STATUS status = block_io2_submit(block_io, token, transfer);
    if (!EFI_ERROR(status) && !block_io->timer_runs)
        block_io->timer_runs =
            !EFI_ERROR(BS->SetTimer(block_io->timer, TimerPeriodic, BLOCK_IO2_TIMER_PERIOD));
    block_io2_publish(block_io, old_tpl);
    BS->RestoreTPL(old_tpl);
    return status;
}

/* --- EFI_BLOCK_IO2_PROTOCOL ------------------------------------------------------------------- */

static EFI_STATUS EFIAPI block_io2_reset(EFI_BLOCK_IO2_PROTOCOL *protocol,
                                         BOOLEAN extended_verification)
{
    return block_io_do_reset(block_io2_from(protocol), extended_verification);
}

/* A call that has nothing to do looks for what others are waiting for. */
static EFI_STATUS block_io2_do_nothing(struct block_io *block_io, EFI_BLOCK_IO2_TOKEN *token)
{
    block_io2_serve(block_io);
    block_io2_end(token, EFI_SUCCESS);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI block_io2_read(EFI_BLOCK_IO2_PROTOCOL *protocol, UINT32 media_id,
                                        EFI_LBA lba, EFI_BLOCK_IO2_TOKEN *token, UINTN bytes,
                                        VOID *buffer)
{
    struct block_io *block_io = block_io2_from(protocol);

    EFI_STATUS status = block_io_check(block_io, media_id, lba, bytes, buffer);
    if (EFI_ERROR(status))
        return status;
    if (bytes == 0)
        return block_io2_do_nothing(block_io, token);
    struct virtio_blk_transfer transfer;
    virtio_blk_make_read(&transfer, block_io_sector(block_io, lba), buffer, bytes);
    return block_io2_start(block_io, token, &transfer);
}

static EFI_STATUS EFIAPI block_io2_write(EFI_BLOCK_IO2_PROTOCOL *protocol, UINT32 media_id,
                                         EFI_LBA lba, EFI_BLOCK_IO2_TOKEN *token, UINTN bytes,
                                         VOID *buffer)
{
    struct block_io *block_io = block_io2_from(protocol);

    EFI_STATUS status = block_io_check_write(block_io, media_id, lba, bytes, buffer);
    if (EFI_ERROR(status))
        return status;
    if (bytes == 0)
        return block_io2_do_nothing(block_io, token);
    const struct virtio_blk_transfer transfer = {
        .operation = VIRTIO_BLK_WRITE,
        .sector = block_io_sector(block_io, lba),
        .buffer = buffer,
        .bytes = bytes,
    };
    return block_io2_start(block_io, token, &transfer);
}

/* Also on read-only media: it waits for all before it. */
static EFI_STATUS EFIAPI block_io2_flush(EFI_BLOCK_IO2_PROTOCOL *protocol,
                                         EFI_BLOCK_IO2_TOKEN *token)
{
    struct block_io *block_io = block_io2_from(protocol);
    const struct virtio_blk_transfer transfer = {.operation = VIRTIO_BLK_FLUSH};

    return block_io->media.MediaPresent ? block_io2_start(block_io, token, &transfer)
                                        : EFI_NO_MEDIA;
}

EFI_STATUS block_io2_open(struct block_io *block_io)
{
    block_io->protocol2 = (EFI_BLOCK_IO2_PROTOCOL){
        .Media = &block_io->media,
        .Reset = block_io2_reset,
        .ReadBlocksEx = block_io2_read,
        .WriteBlocksEx = block_io2_write,
        .FlushBlocksEx = block_io2_flush,
    };
    if (!block_io2_grow(block_io))
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = BS->CreateEvent(EVT_TIMER | EVT_NOTIFY_SIGNAL, TPL_NOTIFY,
                                        block_io2_on_timer, block_io, &block_io->timer);
    if (EFI_ERROR(status))
        goto err_timer;
    status = BS->CreateEvent(EVT_NOTIFY_SIGNAL, TPL_NOTIFY, block_io2_on_batch_end, block_io,
                             &block_io->batch_end);
    if (EFI_ERROR(status))
        goto err_batch_end;
    block_io2_watch_idling(block_io);
    return EFI_SUCCESS;

err_batch_end:
    block_io2_close_event(&block_io->timer);
err_timer:
    block_io2_free_memory(block_io);
    return status;
}

void block_io2_close(struct block_io *block_io)
{
    if (!block_io->batch_end)
        return;
    EFI_TPL old_tpl = BS->RaiseTPL(TPL_NOTIFY);
    block_io2_signal(block_io);
    /* Notifications may call us once more, which is refused, and finds our events still there. */
    BS->RestoreTPL(old_tpl);
    block_io2_close_event(&block_io->woken);
    block_io2_close_event(&block_io->idle);
    block_io2_close_event(&block_io->timer);
    block_io2_close_event(&block_io->batch_end);
    block_io2_free_memory(block_io);
}
