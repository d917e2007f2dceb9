/* Contract and terms: tests/fakes/fake_uefi.h. */

#include "tests/fakes/fake_uefi.h"

#include "efi/bind.h"
#include "efi/clock.h"
#include "efi/message.h"
#include "tests/fakes/testing.h"

unsigned fake_uefi_errors;
struct fake_uefi_console fake_uefi_console;
unsigned fake_uefi_pool_blocks;
unsigned fake_uefi_fail_pool;
uint64_t fake_uefi_now_us;
unsigned fake_uefi_relaxes;
EFI_HANDLE fake_uefi_disk_controller;
EFI_PCI_IO_PROTOCOL *fake_uefi_pci_io;
struct fake_uefi_installed fake_uefi_installed;
EFI_STATUS fake_uefi_install_status;

/* What new pool memory is full of. */
#define POOL_RUBBISH 0xAF

/* --- Boot services --------------------------------------------------------------------------- */

static EFI_STATUS EFIAPI fake_allocate_pool(EFI_MEMORY_TYPE type, UINTN bytes, VOID **ret_memory)
{
    assert_int_equal(type, EfiBootServicesData);
    /* 7.2: neither memory nor events may be asked for above TPL_NOTIFY. */
    assert_true(fake_uefi_tpl <= TPL_NOTIFY);
    if (fake_uefi_fail_pool && --fake_uefi_fail_pool == 0)
        return EFI_OUT_OF_RESOURCES;
    *ret_memory = malloc(bytes);
    assert_non_null(*ret_memory);
    memset(*ret_memory, POOL_RUBBISH, bytes);
    fake_uefi_pool_blocks++;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_free_pool(VOID *memory)
{
    assert_non_null(memory);
    assert_true(fake_uefi_pool_blocks > 0);
    fake_uefi_pool_blocks--;
    free(memory);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_handle_protocol(EFI_HANDLE handle, EFI_GUID *guid, VOID **ret_found)
{
    assert_non_null(handle);
    assert_ptr_equal(guid, &gEfiPciIoProtocolGuid);
    if (!fake_uefi_pci_io)
        return EFI_UNSUPPORTED;
    *ret_found = fake_uefi_pci_io;
    return EFI_SUCCESS;
}

/* The two that follow have no "..." as the services do: va_list knows only the host's convention. */
static EFI_STATUS EFIAPI fake_install(EFI_HANDLE *handle, EFI_GUID *guid, VOID *interface,
                                      EFI_GUID *second_guid, VOID *second_interface, VOID *end)
{
    EFI_STATUS status = fake_uefi_install_status;

    assert_null(end);
    assert_null(*handle);
    assert_null(fake_uefi_installed.handle);
    fake_uefi_install_status = EFI_SUCCESS;
    if (EFI_ERROR(status))
        return status;
    *handle = &fake_uefi_installed;
    fake_uefi_installed = (struct fake_uefi_installed){
        .handle = *handle,
        .guids = {guid, second_guid},
        .interfaces = {interface, second_interface},
    };
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_uninstall(EFI_HANDLE handle, EFI_GUID *guid, VOID *interface,
                                        EFI_GUID *second_guid, VOID *second_interface, VOID *end)
{
    assert_null(end);
    assert_non_null(handle);
    assert_ptr_equal(handle, fake_uefi_installed.handle);
    assert_ptr_equal(guid, fake_uefi_installed.guids[0]);
    assert_ptr_equal(interface, fake_uefi_installed.interfaces[0]);
    assert_ptr_equal(second_guid, fake_uefi_installed.guids[1]);
    assert_ptr_equal(second_interface, fake_uefi_installed.interfaces[1]);
    fake_uefi_installed = (struct fake_uefi_installed){0};
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI fake_output(SIMPLE_TEXT_OUTPUT_INTERFACE *protocol, CHAR16 *text)
{
    struct fake_uefi_console *console = &fake_uefi_console;
    size_t units = 0;

    assert_ptr_equal(protocol, ST->ConOut);
    for (; text[units]; units++) {
        assert_true(console->bytes + 1 < sizeof(console->text) && text[units] < 0x100);
        console->text[console->bytes++] = (char)text[units];
    }
    console->text[console->bytes] = '\0';
    console->n_pieces++;
    console->longest_piece = units > console->longest_piece ? units : console->longest_piece;
    return EFI_DEVICE_ERROR; /* nobody can be told */
}

void fake_uefi_init(void)
{
    static SIMPLE_TEXT_OUTPUT_INTERFACE console = {.OutputString = fake_output};
    static EFI_SYSTEM_TABLE table = {.ConOut = &console};
    static EFI_BOOT_SERVICES services;

    services = (EFI_BOOT_SERVICES){
        .AllocatePool = fake_allocate_pool,
        .FreePool = fake_free_pool,
        .HandleProtocol = fake_handle_protocol,
        .InstallMultipleProtocolInterfaces =
            (EFI_INSTALL_MULTIPLE_PROTOCOL_INTERFACES)(void (*)(void))fake_install,
        .UninstallMultipleProtocolInterfaces =
            (EFI_UNINSTALL_MULTIPLE_PROTOCOL_INTERFACES)(void (*)(void))fake_uninstall,
    };
    fake_uefi_init_events(&services);
    BS = &services;
    ST = &table;
    fake_uefi_errors = 0;
    memset(&fake_uefi_console, 0, sizeof(fake_uefi_console));
    fake_uefi_pool_blocks = 0;
    fake_uefi_fail_pool = 0;
    fake_uefi_now_us = 0;
    fake_uefi_relaxes = 0;
    fake_uefi_disk_controller = NULL;
    fake_uefi_pci_io = NULL;
    fake_uefi_installed = (struct fake_uefi_installed){0};
    fake_uefi_install_status = EFI_SUCCESS;
}

/* --- What the code under test links with and these tests do not reach, or only count ----------- */

struct disk *bind_first_disk(void)
{
    return NULL;
}

struct disk *bind_find_disk(EFI_HANDLE controller)
{
    static struct disk disk;

    return controller && controller == fake_uefi_disk_controller ? &disk : NULL;
}

uint64_t clock_now_us(void)
{
    return fake_uefi_now_us;
}

void clock_relax(void)
{
    fake_uefi_relaxes++;
}

void message_error(const CHAR16 *device, const CHAR16 *path, const CHAR16 *format, ...)
{
    va_list arguments;

    fake_uefi_errors++;
    if (!ST)
        return; /* it is no test of what is said */
    Print(L"error: %s%s%s%s", device ? device : L"", device ? L": " : L"", path ? path : L"",
          path ? L": " : L"");
    va_start(arguments, format);
    VPrint(format, arguments);
    va_end(arguments);
    Print(L"\n");
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
