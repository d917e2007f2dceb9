/*
 * Stands in for the parts of gnu-efi's library that we use a little of and that bring all the rest:
 * its linker takes whole files, and the file for device paths alone, with the names of all their
 * kinds, is a tenth of this program. Same names and contracts as there, so that nobody sees it.
 */

#include "efi/uefi.h"

/* Started by crt0; what its own version sets up beyond these we have no use for. */
VOID InitializeLib(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    (void)image;
    ST = system_table;
    BS = system_table->BootServices;
    RT = system_table->RuntimeServices;
}

void *memset(void *memory, int value, size_t bytes);

/* The compiler calls it for what it clears, and must not make such a call of its loop. */
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memset(void *memory, int value,
                                                                           size_t bytes)
{
    for (UINT8 *at = memory; bytes; bytes--)
        *at++ = (UINT8)value;
    return memory;
}

/* --- Device paths (UEFI 2.10, 10.2 EFI Device Path Protocol) ---------------------------------- */

EFI_DEVICE_PATH *DevicePathFromHandle(EFI_HANDLE handle)
{
    EFI_DEVICE_PATH *path = NULL;

    if (EFI_ERROR(BS->HandleProtocol(handle, &gEfiDevicePathProtocolGuid, (VOID **)&path)))
        return NULL;
    return path;
}

UINTN DevicePathSize(EFI_DEVICE_PATH *path)
{
    const EFI_DEVICE_PATH *node = path;

    while (!IsDevicePathEnd(node))
        node = NextDevicePathNode(node);
    return (UINTN)((const UINT8 *)node - (const UINT8 *)path) + sizeof(EFI_DEVICE_PATH);
}

EFI_DEVICE_PATH *DuplicateDevicePath(EFI_DEVICE_PATH *path)
{
    UINTN bytes = DevicePathSize(path);
    EFI_DEVICE_PATH *copy = uefi_allocate(bytes);

    if (copy)
        __builtin_memcpy(copy, path, bytes);
    return copy;
}

/* 10.3.5.4 File Path Media Device Path, behind the path of the device. */
EFI_DEVICE_PATH *FileDevicePath(EFI_HANDLE device, CHAR16 *file_name)
{
    EFI_DEVICE_PATH *device_path = DevicePathFromHandle(device);
    UINTN before = device_path ? DevicePathSize(device_path) - sizeof(EFI_DEVICE_PATH) : 0;
    UINTN name_bytes = StrSize(file_name);
    UINTN node_bytes = sizeof(EFI_DEVICE_PATH) + name_bytes;
    UINT8 *path = uefi_allocate(before + node_bytes + sizeof(EFI_DEVICE_PATH));

    if (!path)
        return NULL;
    if (before)
        __builtin_memcpy(path, device_path, before);
    EFI_DEVICE_PATH *node = (EFI_DEVICE_PATH *)(path + before);
    node->Type = MEDIA_DEVICE_PATH;
    node->SubType = MEDIA_FILEPATH_DP;
    SetDevicePathNodeLength(node, node_bytes);
    __builtin_memcpy(node + 1, file_name, name_bytes);
    SetDevicePathEndNode((EFI_DEVICE_PATH *)((UINT8 *)node + node_bytes));
    return (EFI_DEVICE_PATH *)path;
}

/* --- Files ------------------------------------------------------------------------------------ */

EFI_FILE_INFO *LibFileInfo(EFI_FILE_HANDLE file)
{
    EFI_GUID guid = EFI_FILE_INFO_ID;
    UINTN bytes = 0;

    EFI_STATUS status = file->GetInfo(file, &guid, &bytes, NULL);
    if (status != EFI_BUFFER_TOO_SMALL)
        return NULL;
    cleanup_pool EFI_FILE_INFO *info = uefi_allocate(bytes);
    if (!info || EFI_ERROR(file->GetInfo(file, &guid, &bytes, info)))
        return NULL;
    return TAKE_POINTER(info);
}

/* --- What is referred to and not used: of Print() %D, %g and waiting at the end of a page ------ */

CHAR16 *DevicePathToStr(EFI_DEVICE_PATH *path)
{
    (void)path;
    return NULL;
}

INTN CompareGuid(EFI_GUID *a, EFI_GUID *b)
{
    return CompareMem(a, b, sizeof(*a));
}

VOID GuidToString(CHAR16 *buffer, EFI_GUID *guid)
{
    (void)guid;
    *buffer = L'\0';
}

VOID Input(CHAR16 *prompt, CHAR16 *text, UINTN units)
{
    (void)prompt;
    (void)units;
    *text = L'\0';
}
