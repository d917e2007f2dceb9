/* Contract and terms: tests/fakes/fake_uefi.h. */

#include "tests/fakes/fake_uefi.h"

#include "efi/bind.h"
#include "efi/message.h"
#include "tests/fakes/testing.h"

EFI_TPL fake_uefi_tpl;
unsigned fake_uefi_errors;
EFI_BOOT_SERVICES *BS;
EFI_GUID gEfiSimpleFileSystemProtocolGuid;

/* --- Boot services --------------------------------------------------------------------------- */

static EFI_TPL EFIAPI fake_raise_tpl(EFI_TPL level)
{
    EFI_TPL old = fake_uefi_tpl;

    assert_true(level >= old);
    fake_uefi_tpl = level;
    return old;
}

static VOID EFIAPI fake_restore_tpl(EFI_TPL level)
{
    assert_true(level <= fake_uefi_tpl);
    fake_uefi_tpl = level;
}

static EFI_STATUS EFIAPI fake_allocate_pool(EFI_MEMORY_TYPE type, UINTN bytes, VOID **ret_memory)
{
    assert_int_equal(type, EfiBootServicesData);
    *ret_memory = malloc(bytes);
    return *ret_memory ? EFI_SUCCESS : EFI_OUT_OF_RESOURCES;
}

static EFI_STATUS EFIAPI fake_free_pool(VOID *memory)
{
    free(memory);
    return EFI_SUCCESS;
}

void fake_uefi_init(void)
{
    static EFI_BOOT_SERVICES services;

    services = (EFI_BOOT_SERVICES){
        .RaiseTPL = fake_raise_tpl,
        .RestoreTPL = fake_restore_tpl,
        .AllocatePool = fake_allocate_pool,
        .FreePool = fake_free_pool,
    };
    BS = &services;
    fake_uefi_tpl = TPL_APPLICATION;
    fake_uefi_errors = 0;
}

/* --- What the code under test links with and these tests do not reach, or only count ----------- */

UINTN DevicePathSize(EFI_DEVICE_PATH *path)
{
    (void)path;
    return sizeof(EFI_DEVICE_PATH);
}

INTN CompareMem(CONST VOID *a, CONST VOID *b, UINTN bytes)
{
    return memcmp(a, b, bytes);
}

EFI_DEVICE_PATH *DevicePathFromHandle(EFI_HANDLE handle)
{
    (void)handle;
    return NULL;
}

EFI_FILE_INFO *LibFileInfo(EFI_FILE_HANDLE file)
{
    (void)file;
    return NULL;
}

struct disk *bind_first_disk(void)
{
    return NULL;
}

struct disk *bind_find_disk(EFI_HANDLE controller)
{
    (void)controller;
    return NULL;
}

void message_error(const CHAR16 *device, const CHAR16 *path, const CHAR16 *format, ...)
{
    (void)device;
    (void)path;
    (void)format;
    fake_uefi_errors++;
}

void message_progress(const CHAR16 *path, UINT64 done_bytes, UINT64 all_bytes)
{
    (void)path;
    assert_true(done_bytes <= all_bytes);
}

void disk_report_failure(const struct disk *disk, const CHAR16 *path, EFI_STATUS status)
{
    (void)disk;
    (void)path;
    (void)status;
    fail_msg("there is no disk to report on");
}

/* --- A file ---------------------------------------------------------------------------------- */

static EFI_STATUS EFIAPI fake_file_read(EFI_FILE_PROTOCOL *protocol, UINTN *bytes, VOID *buffer)
{
    struct fake_file *file = (struct fake_file *)protocol;
    EFI_BLOCK_IO_PROTOCOL *block_io = file->block_io;
    UINT32 block_bytes = block_io->Media->BlockSize;

    assert_int_equal(*bytes % block_bytes, 0);
    if (file->before_read)
        file->before_read();
    EFI_STATUS status =
        block_io->ReadBlocks(block_io, block_io->Media->MediaId,
                             file->first_block + file->position / block_bytes, *bytes, buffer);
    if (file->after_read)
        file->after_read();
    if (!EFI_ERROR(status))
        file->position += *bytes;
    return status;
}

void fake_file_init(struct fake_file *file, EFI_BLOCK_IO_PROTOCOL *block_io, EFI_LBA first_block)
{
    *file = (struct fake_file){
        .protocol.Read = fake_file_read,
        .block_io = block_io,
        .first_block = first_block,
    };
}
