/* Contract and terms: efi/image.h. */

#include "efi/image.h"

#include "boot/bzimage.h"
#include "boot/pe.h"
#include "efi/message.h"

#ifdef __x86_64__
#define IMAGE_MACHINE PE_MACHINE_X64
#else
#define IMAGE_MACHINE PE_MACHINE_AA64
#endif

#define MIB (1u << 20)

/* The firmware may hand out some of the largest piece between our look and the kernel's. */
#define IMAGE_ROOM (2 * MIB)

static const struct bzimage_need image_needs_nothing = {.alignment = EFI_PAGE_SIZE};

struct image_memory {
    UINT64 free_bytes;
    UINT64 largest_piece; /* of what the kernel can use */
};

static struct image_memory image_look_at_memory(const struct bzimage_need *need)
{
    UINTN n_entries = 0, key = 0, descriptor_bytes = 0;
    UINT32 version = 0;
    cleanup_pool EFI_MEMORY_DESCRIPTOR *map =
        LibMemoryMap(&n_entries, &key, &descriptor_bytes, &version);
    struct image_memory memory = {0};

    /* Not to be told: whoever allocates will find out. */
    if (!map)
        return (struct image_memory){UINT64_MAX, UINT64_MAX};
    for (UINTN i = 0; i < n_entries; i++) {
        const EFI_MEMORY_DESCRIPTOR *descriptor =
            (const EFI_MEMORY_DESCRIPTOR *)((const uint8_t *)map + i * descriptor_bytes);
        UINT64 bytes = descriptor->NumberOfPages * EFI_PAGE_SIZE;
        if (descriptor->Type != EfiConventionalMemory)
            continue;
        memory.free_bytes += bytes;
        bytes = bzimage_usable_bytes(need, descriptor->PhysicalStart, bytes);
        if (bytes > memory.largest_piece)
            memory.largest_piece = bytes;
    }
    return memory;
}

static EFI_STATUS image_check_memory(const struct volume_file *file, UINT64 needed)
{
    struct image_memory memory = image_look_at_memory(&image_needs_nothing);

    if (needed <= memory.free_bytes)
        return EFI_SUCCESS;
    message_error(file->volume->device, file->shown_path,
                  L"not enough memory: kernel and initrds need %ld MiB, %ld MiB are free",
                  (needed + MIB - 1) / MIB, memory.free_bytes / MIB);
    return EFI_OUT_OF_RESOURCES;
}

static EFI_STATUS image_check_piece(const struct volume_file *file, const struct bzimage_need *need)
{
    struct image_memory memory = image_look_at_memory(need);

    if (need->bytes == 0 || need->bytes + IMAGE_ROOM <= memory.largest_piece)
        return EFI_SUCCESS;
    message_error(file->volume->device, file->shown_path,
                  L"not enough memory in one piece: the kernel needs %ld MiB, the largest piece"
                  L" has %ld MiB; give the machine more memory or restart it",
                  (need->bytes + IMAGE_ROOM + MIB - 1) / MIB, memory.largest_piece / MIB);
    return EFI_OUT_OF_RESOURCES;
}

/* *ret_need is written only for a kernel that needs a piece of memory of its own. */
static EFI_STATUS image_check(const struct volume_file *file, const void *memory, UINT64 extra,
                              struct bzimage_need *ret_need)
{
    struct pe_info info;

    boot_status result = pe_check(memory, file->bytes, IMAGE_MACHINE, &info);
    if (result != BOOT_OK) {
        message_error(file->volume->device, file->shown_path, L"cannot be started: %a",
                      boot_status_reason(result));
        return EFI_LOAD_ERROR;
    }
    (void)bzimage_find_need(memory, file->bytes, info.image_bytes, ret_need);
    /* The firmware makes a second copy of the image while the file is still in memory. */
    return image_check_memory(file, info.image_bytes + extra);
}

static EFI_STATUS image_load_from(EFI_HANDLE parent, const struct volume_file *file, void *memory,
                                  EFI_HANDLE *ret_image)
{
    cleanup_pool EFI_DEVICE_PATH *path = FileDevicePath(file->volume->handle, file->path);
    EFI_HANDLE image = NULL;

    EFI_STATUS status = path ? BS->LoadImage(FALSE, parent, path, memory, file->bytes, &image)
                             : EFI_OUT_OF_RESOURCES;
    if (!EFI_ERROR(status)) {
        *ret_image = image;
        return EFI_SUCCESS;
    }
    /* 7.4: in this one case the image was loaded, but may not be started. */
    if (status == EFI_SECURITY_VIOLATION)
        (void)BS->UnloadImage(image); /* it was never started */
    message_error(file->volume->device, file->shown_path,
                  status == EFI_ACCESS_DENIED || status == EFI_SECURITY_VIOLATION
                      ? L"refused by Secure Boot: %r"
                      : L"refused by the firmware: %r",
                  status);
    return status;
}

static EFI_STATUS image_read_and_load(EFI_HANDLE parent, const struct volume_file *file,
                                      UINT64 extra_bytes, struct bzimage_need *ret_need,
                                      EFI_HANDLE *ret_image)
{
    cleanup_pages struct uefi_pages pages = {0};

    EFI_STATUS status = image_check_memory(file, file->bytes + extra_bytes);
    if (EFI_ERROR(status))
        return status;
    status = uefi_allocate_pages(file->bytes, &pages);
    if (EFI_ERROR(status)) {
        message_error(file->volume->device, file->shown_path, L"no memory for %ld bytes: %r",
                      file->bytes, status);
        return status;
    }
    status = volume_read_file(file, pages.memory);
    if (EFI_ERROR(status))
        return status;
    status = image_check(file, pages.memory, extra_bytes, ret_need);
    if (EFI_ERROR(status))
        return status;
    return image_load_from(parent, file, pages.memory, ret_image);
}

EFI_STATUS image_load(EFI_HANDLE parent, const struct volume_file *file, UINT64 extra_bytes,
                      EFI_HANDLE *ret_image)
{
    struct bzimage_need need = image_needs_nothing;
    EFI_HANDLE image = NULL;

    EFI_STATUS status = image_read_and_load(parent, file, extra_bytes, &need, &image);
    if (EFI_ERROR(status))
        return status;
    /* Not earlier: until now the file was in memory too. */
    status = image_check_piece(file, &need);
    if (EFI_ERROR(status)) {
        (void)BS->UnloadImage(image); /* it was never started */
        return status;
    }
    *ret_image = image;
    return EFI_SUCCESS;
}

EFI_STATUS image_set_options(EFI_HANDLE image, CHAR16 *options)
{
    EFI_LOADED_IMAGE *loaded_image = NULL;

    EFI_STATUS status =
        BS->HandleProtocol(image, &gEfiLoadedImageProtocolGuid, (VOID **)&loaded_image);
    if (EFI_ERROR(status)) {
        message_error(NULL, NULL, L"the kernel's options cannot be set: %r", status);
        return status;
    }
    loaded_image->LoadOptions = options;
    loaded_image->LoadOptionsSize = (UINT32)StrSize(options);
    return EFI_SUCCESS;
}
