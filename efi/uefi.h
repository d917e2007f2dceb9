/** @file
 * The UEFI headers, what gnu-efi's lack, and clean-up on leaving a scope. The functions that
 * efilib.h declares are those of efi/library.c and efi/print.c, and no others.
 * Spec:  UEFI 2.10; the names of the protocols are the specification's.
 * Calls: functions that the firmware calls are EFIAPI; efi_main is not (gnu-efi's start code calls
 *        it by the System V convention).
 */
#ifndef EFI_UEFI_H
#define EFI_UEFI_H

#include <efi.h>
#include <efilib.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* UEFI 2.10, 13.2 Load File 2 Protocol; its interface is that of 13.1 Load File Protocol. */
#define EFI_LOAD_FILE2_PROTOCOL_GUID                                                               \
    {                                                                                              \
        0x4006c0c1, 0xfcb3, 0x403e,                                                                \
        {                                                                                          \
            0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d                                         \
        }                                                                                          \
    }

/* Linux, Documentation/admin-guide/efi-stub: where the EFI stub looks for its initrd. */
#define LINUX_EFI_INITRD_MEDIA_GUID                                                                \
    {                                                                                              \
        0x5568e427, 0x68fc, 0x4f3d,                                                                \
        {                                                                                          \
            0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68                                         \
        }                                                                                          \
    }

/** Frees pool memory at the end of the scope: `cleanup_pool CHAR16 *name = NULL;` */
#define cleanup_pool __attribute__((cleanup(uefi_free_pool_at)))

static inline void uefi_free_pool_at(void *pointer_to_pointer)
{
    void *memory = *(void **)pointer_to_pointer;

    if (memory)
        (void)BS->FreePool(memory); /* fails only for memory that is no pool memory */
}

/** Closes a file at the end of the scope. */
#define cleanup_file __attribute__((cleanup(uefi_close_file_at)))

static inline void uefi_close_file_at(EFI_FILE_PROTOCOL **file)
{
    if (*file)
        (void)(*file)->Close(*file); /* always EFI_SUCCESS */
}

/** Moves a pointer out of a variable with clean-up. */
#define TAKE_POINTER(pointer)                                                                      \
    __extension__({                                                                                \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })

/** Zeroed pool memory; NULL when there is none. */
static inline void *uefi_allocate(UINTN bytes)
{
    void *memory = NULL;

    if (EFI_ERROR(BS->AllocatePool(EfiBootServicesData, bytes, &memory)))
        return NULL;
    __builtin_memset(memory, 0, bytes);
    return memory;
}

/** Pages of memory with their length, freed by uefi_free_pages(). */
struct uefi_pages {
    void *memory; /**< NULL: none */
    UINTN pages;
};

/** Rounds up to whole pages. */
static inline UINTN uefi_pages_of(UINTN bytes)
{
    return bytes / EFI_PAGE_SIZE + (bytes % EFI_PAGE_SIZE != 0);
}

static inline EFI_STATUS uefi_allocate_pages(UINTN bytes, struct uefi_pages *ret_pages)
{
    EFI_PHYSICAL_ADDRESS address = 0;
    UINTN pages = uefi_pages_of(bytes);

    EFI_STATUS status = BS->AllocatePages(AllocateAnyPages, EfiBootServicesData, pages, &address);
    if (!EFI_ERROR(status))
        *ret_pages = (struct uefi_pages){.memory = (void *)(UINTN)address, .pages = pages};
    return status;
}

/** Accepts a structure that holds none. */
static inline void uefi_free_pages(struct uefi_pages *pages)
{
    if (pages->memory)
        (void)BS->FreePages((EFI_PHYSICAL_ADDRESS)(UINTN)pages->memory, pages->pages);
    *pages = (struct uefi_pages){0};
}

#define cleanup_pages __attribute__((cleanup(uefi_free_pages)))

#endif
