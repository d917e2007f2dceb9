/** @file
 * A disk below efi/block_io.c, and tokens for its asynchronous calls.
 * Knows:  efi/block_io.h and the fakes.
 * Device: answers one request at each wait of a blocking call, and asynchronous ones when it is
 *         told to: efi_disk_answer().
 * State:  one disk per test program, because a test's words are about "the" disk.
 */
#ifndef TESTS_FAKES_EFI_DISK_H
#define TESTS_FAKES_EFI_DISK_H

#include "efi/block_io.h"
#include "tests/fakes/fake_blk_device.h"
#include "tests/fakes/fake_platform.h"
#include "tests/fakes/fake_uefi.h"

#define EFI_DISK_BLOCKS      2048u
#define EFI_DISK_BLOCK_BYTES 512u
#define EFI_TOKENS_MAX       1000u

struct efi_disk {
    struct fake_platform platform;
    struct fake_blk_device device;
    struct virtio_blk blk;
    struct block_io block_io;
    uint8_t buffer[EFI_DISK_BLOCKS * EFI_DISK_BLOCK_BYTES]; /**< each block has its place in it */
};
extern struct efi_disk efi_disk;

/** A token, and what became of it. */
struct efi_token {
    EFI_BLOCK_IO2_TOKEN token;
    unsigned n_signalled;
    EFI_STATUS status; /**< when it was signalled last */
    unsigned order;    /**< its place among all that were signalled, from 1 */
    void (*on_signal)(struct efi_token *token); /**< may be NULL */
};
extern struct efi_token efi_tokens[EFI_TOKENS_MAX];

/** For cmocka: firmware and device, not opened; and the end of all, which leaves nothing behind. */
int efi_disk_set_up(void **state);
int efi_disk_tear_down(void **state);

#define EFI_DISK_TEST(name)                                                                        \
    cmocka_unit_test_setup_teardown(name, efi_disk_set_up, efi_disk_tear_down)

/** Open the device and both protocols. */
void efi_disk_open(bool publish_read_only);

/** Undo it, if it was done and not undone yet; the tokens are signalled then. */
void efi_disk_close(void);

/** The two protocols. */
EFI_BLOCK_IO_PROTOCOL *efi_disk_io(void);
EFI_BLOCK_IO2_PROTOCOL *efi_disk_io2(void);

UINT32 efi_disk_media_id(void);

/** The device answers all that it has. */
void efi_disk_answer(void);

/** The block's place in the buffer, and on the disk. */
uint8_t *efi_disk_place(EFI_LBA lba);
uint8_t *efi_disk_image(EFI_LBA lba);

/** Bytes of its own for a place in the buffer. */
void efi_disk_fill(EFI_LBA lba, UINTN n_blocks, uint8_t seed);

/** The token with its event, which is notified at TPL_CALLBACK if it does not exist yet. */
EFI_BLOCK_IO2_TOKEN *efi_token(unsigned index);

/** The same, notified at another level. */
EFI_BLOCK_IO2_TOKEN *efi_token_at(unsigned index, EFI_TPL notify_tpl);

/** Start with tokens[index], between the disk and the place in the buffer; must succeed. */
void efi_disk_start_read(unsigned index, EFI_LBA lba, UINTN n_blocks);
void efi_disk_start_write(unsigned index, EFI_LBA lba, UINTN n_blocks);
void efi_disk_start_flush(unsigned index);

/** Read one block by EFI_BLOCK_IO to its place in the buffer. */
EFI_STATUS efi_disk_read_block(EFI_LBA lba);

/** The device answers and the firmware's clock ticks until the token is signalled. */
void efi_tick_until_signalled(unsigned index);

/** Fails the test unless it was signalled once, with this status. */
void efi_assert_signalled(unsigned index, EFI_STATUS status);

/** Fails the test if it was signalled, or its status written. */
void efi_assert_outstanding(unsigned index);

/** Fails the test unless the buffer holds there what the disk holds. */
void efi_assert_was_read(EFI_LBA lba, UINTN n_blocks);

#endif
