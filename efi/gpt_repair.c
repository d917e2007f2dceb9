/* Contract and terms: efi/gpt_repair.h. */

#include "efi/gpt_repair.h"

#define GPT_HEADER_LBA 1u

static const char gpt_signature[8] = {'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'};

/* UEFI 2.10, 5.3.2 GPT Header */
#define GPT_HEADER_MY_LBA 24u

/* The backup's header, or anything else that looks like one, says another place of itself. */
static bool gpt_repair_begins(EFI_LBA lba, const void *buffer)
{
    const uint8_t *header = buffer;
    EFI_LBA my_lba;

    __builtin_memcpy(&my_lba, header + GPT_HEADER_MY_LBA, sizeof(my_lba));
    return lba == GPT_HEADER_LBA && my_lba == GPT_HEADER_LBA &&
           CompareMem(header, gpt_signature, sizeof(gpt_signature)) == 0;
}

EFI_STATUS gpt_repair_write(struct gpt_repair *repair, UINT32 block_bytes, EFI_LBA lba, UINTN bytes,
                            const void *buffer)
{
    UINTN n_blocks = bytes / block_bytes;
    UINTN capacity = GPT_REPAIR_BYTES / block_bytes;

    if (!repair->blocks && !gpt_repair_begins(lba, buffer))
        return EFI_WRITE_PROTECTED;
    if (lba < GPT_HEADER_LBA || n_blocks > capacity || lba - GPT_HEADER_LBA > capacity - n_blocks)
        return EFI_WRITE_PROTECTED;
    if (!repair->blocks) {
        repair->blocks = uefi_allocate(capacity * block_bytes);
        if (!repair->blocks)
            return EFI_WRITE_PROTECTED;
        repair->n_blocks = (uint32_t)capacity;
    }
    UINTN first = (UINTN)(lba - GPT_HEADER_LBA);
    __builtin_memcpy(repair->blocks + first * block_bytes, buffer, bytes);
    __builtin_memset(repair->written + first, 1, n_blocks);
    return EFI_SUCCESS;
}

void gpt_repair_apply(const struct gpt_repair *repair, UINT32 block_bytes, EFI_LBA lba, UINTN bytes,
                      void *buffer)
{
    uint8_t *target = buffer;

    for (uint32_t i = 0; i < repair->n_blocks; i++) {
        EFI_LBA kept = GPT_HEADER_LBA + i;
        if (!repair->written[i] || kept < lba || (kept - lba) * block_bytes >= bytes)
            continue;
        __builtin_memcpy(target + (kept - lba) * block_bytes,
                         repair->blocks + (UINTN)i * block_bytes, block_bytes);
    }
}

void gpt_repair_release(struct gpt_repair *repair)
{
    uefi_free_pool_at(&repair->blocks);
    *repair = (struct gpt_repair){0};
}
