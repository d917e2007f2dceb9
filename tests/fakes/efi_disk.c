/* Contract and terms: tests/fakes/efi_disk.h. */

#include "tests/fakes/efi_disk.h"

#include "tests/fakes/testing.h"

/* No status that anybody writes. */
#define TOKEN_UNWRITTEN EFIERR(0x5A5A)

#define BUFFER_FILL 0xA5

struct efi_disk efi_disk;
struct efi_token efi_tokens[EFI_TOKENS_MAX];

static bool is_open;
static unsigned n_orders;

int efi_disk_set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    fake_platform_init(&efi_disk.platform);
    fake_blk_device_init(&efi_disk.device, &efi_disk.platform, EFI_DISK_BLOCKS);
    efi_disk.device.delay_waits = 1;
    memset(efi_disk.buffer, BUFFER_FILL, sizeof(efi_disk.buffer));
    memset(efi_tokens, 0, sizeof(efi_tokens));
    is_open = false;
    n_orders = 0;
    return 0;
}

int efi_disk_tear_down(void **state)
{
    (void)state;
    efi_disk_close();
    for (unsigned i = 0; i < EFI_TOKENS_MAX; i++) {
        if (efi_tokens[i].token.Event)
            (void)BS->CloseEvent(efi_tokens[i].token.Event);
    }
    fake_blk_device_free(&efi_disk.device);
    fake_platform_assert_no_leaks(&efi_disk.platform);
    assert_int_equal(fake_uefi_events, 0);
    assert_int_equal(fake_uefi_pool_blocks, 0);
    assert_int_equal(fake_uefi_tpl, TPL_APPLICATION);
    return 0;
}

void efi_disk_open(bool publish_read_only)
{
    assert_int_equal(virtio_blk_open(&efi_disk.blk, &efi_disk.device.transport.transport,
                                     &efi_disk.platform.platform, 0),
                     VIO_OK);
    block_io_init(&efi_disk.block_io, &efi_disk.blk, publish_read_only);
    assert_int_equal(block_io2_open(&efi_disk.block_io), EFI_SUCCESS);
    is_open = true;
}

void efi_disk_close(void)
{
    if (!is_open)
        return;
    is_open = false;
    virtio_blk_close(&efi_disk.blk);
    block_io2_close(&efi_disk.block_io);
    block_io_release(&efi_disk.block_io);
}

EFI_BLOCK_IO_PROTOCOL *efi_disk_io(void)
{
    return &efi_disk.block_io.protocol;
}

EFI_BLOCK_IO2_PROTOCOL *efi_disk_io2(void)
{
    return &efi_disk.block_io.protocol2;
}

UINT32 efi_disk_media_id(void)
{
    return efi_disk.block_io.media.MediaId;
}

void efi_disk_answer(void)
{
    fake_blk_device_serve_all(&efi_disk.device);
}

/* --- Data ------------------------------------------------------------------------------------- */

uint8_t *efi_disk_place(EFI_LBA lba)
{
    assert_true(lba < EFI_DISK_BLOCKS);
    return efi_disk.buffer + lba * EFI_DISK_BLOCK_BYTES;
}

uint8_t *efi_disk_image(EFI_LBA lba)
{
    assert_true(lba < EFI_DISK_BLOCKS);
    return efi_disk.device.image + lba * EFI_DISK_BLOCK_BYTES;
}

void efi_disk_fill(EFI_LBA lba, UINTN n_blocks, uint8_t seed)
{
    memset(efi_disk_place(lba), seed, n_blocks * EFI_DISK_BLOCK_BYTES);
}

void efi_assert_was_read(EFI_LBA lba, UINTN n_blocks)
{
    assert_memory_equal(efi_disk_place(lba), efi_disk_image(lba), n_blocks * EFI_DISK_BLOCK_BYTES);
}

/* --- Tokens ----------------------------------------------------------------------------------- */

static VOID EFIAPI token_on_signal(EFI_EVENT event, VOID *context)
{
    struct efi_token *token = context;

    assert_ptr_equal(event, token->token.Event);
    token->n_signalled++;
    token->status = token->token.TransactionStatus;
    token->order = ++n_orders;
    if (token->on_signal)
        token->on_signal(token);
}

EFI_BLOCK_IO2_TOKEN *efi_token_at(unsigned index, EFI_TPL notify_tpl)
{
    struct efi_token *token = &efi_tokens[index];

    assert_true(index < EFI_TOKENS_MAX);
    if (!token->token.Event)
        assert_int_equal(BS->CreateEvent(EVT_NOTIFY_SIGNAL, notify_tpl, token_on_signal, token,
                                         &token->token.Event),
                         EFI_SUCCESS);
    token->token.TransactionStatus = TOKEN_UNWRITTEN;
    return &token->token;
}

EFI_BLOCK_IO2_TOKEN *efi_token(unsigned index)
{
    return efi_token_at(index, TPL_CALLBACK);
}

void efi_disk_start_read(unsigned index, EFI_LBA lba, UINTN n_blocks)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    assert_int_equal(io2->ReadBlocksEx(io2, efi_disk_media_id(), lba, efi_token(index),
                                       n_blocks * EFI_DISK_BLOCK_BYTES, efi_disk_place(lba)),
                     EFI_SUCCESS);
}

void efi_disk_start_write(unsigned index, EFI_LBA lba, UINTN n_blocks)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    assert_int_equal(io2->WriteBlocksEx(io2, efi_disk_media_id(), lba, efi_token(index),
                                        n_blocks * EFI_DISK_BLOCK_BYTES, efi_disk_place(lba)),
                     EFI_SUCCESS);
}

void efi_disk_start_flush(unsigned index)
{
    EFI_BLOCK_IO2_PROTOCOL *io2 = efi_disk_io2();

    assert_int_equal(io2->FlushBlocksEx(io2, efi_token(index)), EFI_SUCCESS);
}

void efi_assert_signalled(unsigned index, EFI_STATUS status)
{
    assert_int_equal(efi_tokens[index].n_signalled, 1);
    assert_int_equal(efi_tokens[index].status, status);
}

void efi_assert_outstanding(unsigned index)
{
    assert_int_equal(efi_tokens[index].n_signalled, 0);
    assert_int_equal(efi_tokens[index].token.TransactionStatus, TOKEN_UNWRITTEN);
}

EFI_STATUS efi_disk_read_block(EFI_LBA lba)
{
    EFI_BLOCK_IO_PROTOCOL *io = efi_disk_io();

    return io->ReadBlocks(io, efi_disk_media_id(), lba, EFI_DISK_BLOCK_BYTES, efi_disk_place(lba));
}

void efi_tick_until_signalled(unsigned index)
{
    for (unsigned i = 0; efi_tokens[index].n_signalled == 0; i++) {
        assert_true(i < 10000);
        efi_disk_answer();
        fake_uefi_tick();
    }
}
