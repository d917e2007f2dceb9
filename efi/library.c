/*
 * What we use of gnu-efi's library, and no more: its own is five times as large, for each of its
 * parts needs most of the others. Contract: efilib.h. Who needs another of its functions, or the
 * GUID of another protocol, adds it here.
 */

#include "efi/uefi.h"

/* Tries of a call whose answer may grow between two of them. */
#define LIBRARY_TRIES 8

EFI_SYSTEM_TABLE *ST;
EFI_BOOT_SERVICES *BS;
EFI_RUNTIME_SERVICES *RT;

EFI_GUID gEfiBlockIo2ProtocolGuid = EFI_BLOCK_IO2_PROTOCOL_GUID;
EFI_GUID gEfiBlockIoProtocolGuid = EFI_BLOCK_IO_PROTOCOL_GUID;
EFI_GUID gEfiDevicePathProtocolGuid = EFI_DEVICE_PATH_PROTOCOL_GUID;
EFI_GUID gEfiDiskIo2ProtocolGuid = EFI_DISK_IO2_PROTOCOL_GUID;
EFI_GUID gEfiDiskIoProtocolGuid = EFI_DISK_IO_PROTOCOL_GUID;
EFI_GUID gEfiFileInfoGuid = EFI_FILE_INFO_ID;
EFI_GUID gEfiLoadedImageProtocolGuid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
EFI_GUID gEfiPciIoProtocolGuid = EFI_PCI_IO_PROTOCOL_GUID;
EFI_GUID gEfiSimpleFileSystemProtocolGuid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;

VOID InitializeLib(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    (void)image;
    ST = system_table;
    BS = system_table->BootServices;
    RT = system_table->RuntimeServices;
}

/* --- Text and memory ------------------------------------------------------------------------- */

UINTN StrLen(const CHAR16 *text)
{
    UINTN n_units = 0;

    while (text[n_units])
        n_units++;
    return n_units;
}

UINTN StrSize(const CHAR16 *text)
{
    return (StrLen(text) + 1) * sizeof(CHAR16);
}

static void *library_duplicate(const void *memory, UINTN bytes)
{
    void *copy = uefi_allocate(bytes);

    if (copy)
        __builtin_memcpy(copy, memory, bytes);
    return copy;
}

CHAR16 *StrDuplicate(const CHAR16 *text)
{
    return library_duplicate(text, StrSize(text));
}

INTN CompareMem(const VOID *a, const VOID *b, UINTN bytes)
{
    const uint8_t *left = a;
    const uint8_t *right = b;

    while (bytes && *left == *right) {
        left++;
        right++;
        bytes--;
    }
    return bytes ? *left - *right : 0;
}

/* --- Device paths ---------------------------------------------------------------------------- */

EFI_DEVICE_PATH *DevicePathFromHandle(EFI_HANDLE handle)
{
    EFI_DEVICE_PATH *path = NULL;

    if (EFI_ERROR(BS->HandleProtocol(handle, &gEfiDevicePathProtocolGuid, (VOID **)&path)))
        return NULL;
    return path;
}

UINTN DevicePathSize(EFI_DEVICE_PATH *path)
{
    EFI_DEVICE_PATH *end = path;

    while (!IsDevicePathEnd(end))
        end = NextDevicePathNode(end);
    return (UINTN)((uint8_t *)end - (uint8_t *)path) + sizeof(EFI_DEVICE_PATH);
}

EFI_DEVICE_PATH *DuplicateDevicePath(EFI_DEVICE_PATH *path)
{
    return library_duplicate(path, DevicePathSize(path));
}

static void library_end_path(EFI_DEVICE_PATH *end)
{
    *end = (EFI_DEVICE_PATH){
        .Type = END_DEVICE_PATH_TYPE,
        .SubType = END_ENTIRE_DEVICE_PATH_SUBTYPE,
        .Length = {sizeof(*end), 0},
    };
}

/* A name's length fits a node's: ensured by BOOT_ENTRY_MAX_VALUE_BYTES. */
EFI_DEVICE_PATH *FileDevicePath(EFI_HANDLE device, CHAR16 *file_name)
{
    EFI_DEVICE_PATH *device_path = DevicePathFromHandle(device);
    UINTN device_bytes = device_path ? DevicePathSize(device_path) - sizeof(EFI_DEVICE_PATH) : 0;
    UINTN node_bytes = SIZE_OF_FILEPATH_DEVICE_PATH + StrSize(file_name);
    EFI_DEVICE_PATH node = {
        .Type = MEDIA_DEVICE_PATH,
        .SubType = MEDIA_FILEPATH_DP,
        .Length = {(UINT8)node_bytes, (UINT8)(node_bytes >> 8)},
    };

    uint8_t *path = uefi_allocate(device_bytes + node_bytes + sizeof(EFI_DEVICE_PATH));
    if (!path)
        return NULL;
    if (device_bytes)
        __builtin_memcpy(path, device_path, device_bytes);
    uint8_t *at = path + device_bytes;
    __builtin_memcpy(at, &node, sizeof(node));
    __builtin_memcpy(at + SIZE_OF_FILEPATH_DEVICE_PATH, file_name, StrSize(file_name));
    library_end_path((EFI_DEVICE_PATH *)(at + node_bytes));
    return (EFI_DEVICE_PATH *)path;
}

/* --- What the firmware fills a buffer with ----------------------------------------------------- */

EFI_FILE_INFO *LibFileInfo(EFI_FILE_HANDLE file)
{
    UINTN bytes = sizeof(EFI_FILE_INFO) + 64 * sizeof(CHAR16); /* enough for most names */

    for (unsigned i = 0; i < LIBRARY_TRIES; i++) {
        cleanup_pool EFI_FILE_INFO *info = uefi_allocate(bytes);
        if (!info)
            return NULL;
        EFI_STATUS status = file->GetInfo(file, &gEfiFileInfoGuid, &bytes, info);
        if (!EFI_ERROR(status))
            return TAKE_POINTER(info);
        if (status != EFI_BUFFER_TOO_SMALL)
            return NULL;
    }
    return NULL;
}

EFI_MEMORY_DESCRIPTOR *LibMemoryMap(UINTN *n_entries, UINTN *key, UINTN *descriptor_bytes,
                                    UINT32 *version)
{
    UINTN bytes = EFI_PAGE_SIZE;

    for (unsigned i = 0; i < LIBRARY_TRIES; i++) {
        cleanup_pool EFI_MEMORY_DESCRIPTOR *map = uefi_allocate(bytes);
        if (!map)
            return NULL;
        EFI_STATUS status = BS->GetMemoryMap(&bytes, map, key, descriptor_bytes, version);
        if (!EFI_ERROR(status)) {
            *n_entries = bytes / *descriptor_bytes;
            return TAKE_POINTER(map);
        }
        if (status != EFI_BUFFER_TOO_SMALL)
            return NULL;
        bytes += EFI_PAGE_SIZE; /* the next buffer is in the map too */
    }
    return NULL;
}
