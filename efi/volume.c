/* Contract and terms: efi/volume.h. */

#include "efi/volume.h"

#include "boot/entry.h"
#include "boot/utf16.h"
#include "efi/bind.h"
#include "efi/message.h"

/* Large enough to make the disk's work large, small enough for a progress display. */
#define VOLUME_CHUNK_BYTES (4u << 20)

/* --- Device paths ---------------------------------------------------------------------------- */

static UINTN path_bytes_without_end(EFI_DEVICE_PATH *path)
{
    return DevicePathSize(path) - sizeof(EFI_DEVICE_PATH);
}

static bool path_begins_with(EFI_DEVICE_PATH *path, EFI_DEVICE_PATH *prefix)
{
    UINTN prefix_bytes = path_bytes_without_end(prefix);

    return path_bytes_without_end(path) >= prefix_bytes &&
           CompareMem(path, prefix, prefix_bytes) == 0;
}

static bool path_is_same(EFI_DEVICE_PATH *a, EFI_DEVICE_PATH *b)
{
    return path_bytes_without_end(a) == path_bytes_without_end(b) && path_begins_with(a, b);
}

static const struct disk *volume_find_disk(EFI_DEVICE_PATH *path)
{
    for (const struct disk *disk = bind_first_disk(); disk; disk = disk->next) {
        EFI_DEVICE_PATH *disk_path = DevicePathFromHandle(disk->controller);
        if (disk_path && path_begins_with(path, disk_path))
            return disk;
    }
    return NULL;
}

/* --- Volumes --------------------------------------------------------------------------------- */

static EFI_STATUS volume_open(EFI_HANDLE handle, const struct disk *disk, struct volume *ret_volume)
{
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *file_system = NULL;

    struct volume volume = {.handle = handle, .controller = disk->controller};
    __builtin_memcpy(volume.device, disk->name, sizeof(volume.device));
    EFI_STATUS status =
        BS->HandleProtocol(handle, &gEfiSimpleFileSystemProtocolGuid, (VOID **)&file_system);
    if (!EFI_ERROR(status))
        status = file_system->OpenVolume(file_system, &volume.root);
    if (EFI_ERROR(status)) {
        volume_report_failure(&volume, NULL, status);
        return status;
    }
    *ret_volume = volume;
    return EFI_SUCCESS;
}

static void volume_move_to_front(struct volume_list *list, UINTN at)
{
    struct volume first = list->volumes[at];

    for (; at > 0; at--)
        list->volumes[at] = list->volumes[at - 1];
    list->volumes[0] = first;
}

/* A file system that cannot be opened was reported and is left out. */
static void volume_add(struct volume_list *list, EFI_HANDLE handle, EFI_DEVICE_PATH *first_path)
{
    EFI_DEVICE_PATH *path = DevicePathFromHandle(handle);
    const struct disk *disk = path ? volume_find_disk(path) : NULL;

    if (!disk || EFI_ERROR(volume_open(handle, disk, &list->volumes[list->n_volumes])))
        return;
    if (first_path && path_is_same(path, first_path))
        volume_move_to_front(list, list->n_volumes);
    list->n_volumes++;
}

EFI_STATUS volume_find_all(EFI_DEVICE_PATH *first_path, struct volume_list *ret_list)
{
    cleanup_pool EFI_HANDLE *handles = NULL;
    struct volume_list list = {0};
    UINTN n_handles = 0;

    EFI_STATUS status = BS->LocateHandleBuffer(ByProtocol, &gEfiSimpleFileSystemProtocolGuid, NULL,
                                               &n_handles, &handles);
    if (status == EFI_NOT_FOUND) {
        *ret_list = list;
        return EFI_SUCCESS;
    }
    if (!EFI_ERROR(status)) {
        list.volumes = uefi_allocate(n_handles * sizeof(struct volume));
        status = list.volumes ? EFI_SUCCESS : EFI_OUT_OF_RESOURCES;
    }
    if (EFI_ERROR(status)) {
        message_error(NULL, NULL, L"the file systems cannot be listed: %r", status);
        return status;
    }
    for (UINTN i = 0; i < n_handles; i++)
        volume_add(&list, handles[i], first_path);
    *ret_list = list;
    return EFI_SUCCESS;
}

void volume_close_all(struct volume_list *list)
{
    for (UINTN i = 0; i < list->n_volumes; i++)
        uefi_close_file_at(&list->volumes[i].root);
    uefi_free_pool_at(&list->volumes);
    *list = (struct volume_list){0};
}

void volume_report_failure(const struct volume *volume, const CHAR16 *path, EFI_STATUS status)
{
    const struct disk *disk = bind_find_disk(volume->controller);

    if (disk)
        disk_report_failure(disk, path, status);
    else
        message_error(volume->device, path, L"read failed: %r: the disk is gone", status);
}

/* --- Files ----------------------------------------------------------------------------------- */

static EFI_STATUS file_report(const struct volume_file *file, EFI_STATUS status)
{
    const CHAR16 *device = file->volume->device;

    if (status == EFI_NOT_FOUND)
        message_error(device, file->shown_path, L"not found");
    else if (status == EFI_END_OF_FILE)
        message_error(device, file->shown_path, L"truncated: the file ends before its length");
    else
        volume_report_failure(file->volume, file->shown_path, status);
    return status;
}

static EFI_STATUS file_make_paths(struct volume_file *file, struct text_slice path)
{
    UINTN capacity = path.bytes + 2;
    size_t n_units;

    file->path = uefi_allocate(capacity * sizeof(CHAR16));
    file->shown_path = uefi_allocate(capacity * sizeof(CHAR16));
    if (!file->path || !file->shown_path)
        return file_report(file, EFI_OUT_OF_RESOURCES);

    struct utf16_text shown = {.units = (uint16_t *)file->shown_path, .capacity_units = capacity};
    boot_status result = utf16_append(&shown, path);
    if (result == BOOT_OK)
        result = entry_path_to_uefi(path, (uint16_t *)file->path, capacity, &n_units);
    if (result == BOOT_OK)
        return EFI_SUCCESS;
    message_error(file->volume->device, NULL, L"a path in the entry: %a",
                  boot_status_reason(result));
    return EFI_INVALID_PARAMETER;
}

static EFI_STATUS file_get_bytes(struct volume_file *file)
{
    cleanup_pool EFI_FILE_INFO *info = LibFileInfo(file->file);

    if (!info)
        return file_report(file, EFI_DEVICE_ERROR);
    if (info->Attribute & EFI_FILE_DIRECTORY) {
        message_error(file->volume->device, file->shown_path, L"is a folder, not a file");
        return EFI_INVALID_PARAMETER;
    }
    if (info->FileSize == 0) {
        message_error(file->volume->device, file->shown_path, L"truncated: the file is empty");
        return EFI_END_OF_FILE;
    }
    if (info->FileSize > VOLUME_FILE_BYTES_MAX) {
        message_error(file->volume->device, file->shown_path,
                      L"its file system claims a length of %ld bytes", info->FileSize);
        return EFI_VOLUME_CORRUPTED;
    }
    file->bytes = info->FileSize;
    return EFI_SUCCESS;
}

EFI_STATUS volume_open_file(const struct volume *volume, struct text_slice path,
                            struct volume_file *ret_file)
{
    struct volume_file file = {.volume = volume};

    EFI_STATUS status = file_make_paths(&file, path);
    if (!EFI_ERROR(status)) {
        status = volume->root->Open(volume->root, &file.file, file.path, EFI_FILE_MODE_READ, 0);
        status = EFI_ERROR(status) ? file_report(&file, status) : file_get_bytes(&file);
    }
    if (EFI_ERROR(status)) {
        volume_close_file(&file);
        return status;
    }
    *ret_file = file;
    return EFI_SUCCESS;
}

void volume_close_file(struct volume_file *file)
{
    uefi_close_file_at(&file->file);
    uefi_free_pool_at(&file->path);
    uefi_free_pool_at(&file->shown_path);
    *file = (struct volume_file){0};
}

EFI_STATUS volume_read_bytes(const struct volume_file *file, void *buffer, UINTN bytes)
{
    uint8_t *target = buffer;

    while (bytes) {
        UINTN got = bytes;
        EFI_STATUS status = file->file->Read(file->file, &got, target);
        if (EFI_ERROR(status))
            return file_report(file, status);
        if (got == 0 || got > bytes)
            return file_report(file, EFI_END_OF_FILE);
        target += got;
        bytes -= got;
    }
    return EFI_SUCCESS;
}

EFI_STATUS volume_read_file(const struct volume_file *file, void *buffer)
{
    UINT64 done = 0;

    while (done < file->bytes) {
        UINT64 left = file->bytes - done;
        UINTN bytes = left < VOLUME_CHUNK_BYTES ? (UINTN)left : VOLUME_CHUNK_BYTES;
        message_progress(file->shown_path, done, file->bytes);
        EFI_STATUS status = volume_read_bytes(file, (uint8_t *)buffer + done, bytes);
        if (EFI_ERROR(status))
            return status;
        done += bytes;
    }
    message_progress(file->shown_path, file->bytes, file->bytes);
    return EFI_SUCCESS;
}
