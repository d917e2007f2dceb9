/** @file
 * Reads a file from every file system of the machine and prints its length and CRC-32, so that a
 * test can tell whether the bytes that came through a driver are the right ones.
 *
 * usage, in the UEFI shell: read_file.efi [PATH...]     (without a path: \data.bin)
 *
 * A file system without the file is passed over. Returns EFI_NOT_FOUND if no file was read.
 */

#include <efi.h>

#include "tests/qemu/programs/crc32.h"

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define CHUNK_BYTES      (64 * 1024)
#define MAX_PATH_CHARS   128
#define MAX_FILE_SYSTEMS 64

static const EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
static const EFI_GUID file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;

static EFI_SYSTEM_TABLE *system_table;
static EFI_BOOT_SERVICES *boot_services;
static UINT8 chunk[CHUNK_BYTES];

static void print(const CHAR16 *text)
{
    system_table->ConOut->OutputString(system_table->ConOut, (CHAR16 *)text);
}

static void print_number(UINT64 value, unsigned base, unsigned min_digits)
{
    CHAR16 digits[24];
    unsigned at = sizeof(digits) / sizeof(digits[0]) - 1;

    digits[at] = 0;
    do {
        digits[--at] = (CHAR16)L"0123456789abcdef"[value % base];
        value /= base;
        if (min_digits > 0)
            min_digits--;
    } while (value != 0 || min_digits > 0);
    print(&digits[at]);
}

static void report(const CHAR16 *path, UINT64 n_bytes, UINT32 crc)
{
    print(L"read-file: ");
    print(path);
    print(L" ");
    print_number(n_bytes, 10, 1);
    print(L" bytes crc32 ");
    print_number(crc, 16, 8);
    print(L"\r\n");
}

static void report_failure(const CHAR16 *path, EFI_STATUS status)
{
    print(L"read-file: ");
    print(path);
    print(L" failed ");
    print_number(status, 16, 16);
    print(L"\r\n");
}

static EFI_STATUS read_all(EFI_FILE_HANDLE file, const CHAR16 *path)
{
    UINT64 total_bytes = 0;
    UINT32 crc = 0xffffffffu;

    for (;;) {
        UINTN n_bytes = sizeof(chunk);
        EFI_STATUS status = file->Read(file, &n_bytes, chunk);
        if (EFI_ERROR(status)) {
            report_failure(path, status);
            return status;
        }
        if (n_bytes == 0)
            break;
        crc = crc_add(crc, chunk, n_bytes);
        total_bytes += n_bytes;
    }
    report(path, total_bytes, ~crc);
    return EFI_SUCCESS;
}

static EFI_STATUS read_from(EFI_HANDLE handle, const CHAR16 *path)
{
    EFI_FILE_IO_INTERFACE *volume;
    EFI_FILE_HANDLE root, file;

    EFI_STATUS status =
        boot_services->HandleProtocol(handle, (EFI_GUID *)&file_system_guid, (void **)&volume);
    if (EFI_ERROR(status))
        return status;
    status = volume->OpenVolume(volume, &root);
    if (EFI_ERROR(status)) {
        report_failure(path, status);
        return status;
    }
    status = root->Open(root, &file, (CHAR16 *)path, EFI_FILE_MODE_READ, 0);
    if (!EFI_ERROR(status)) {
        status = read_all(file, path);
        file->Close(file);
    } else if (status != EFI_NOT_FOUND) {
        report_failure(path, status);
    }
    root->Close(root);
    return status;
}

static EFI_STATUS read_everywhere(const CHAR16 *path)
{
    static EFI_HANDLE handles[MAX_FILE_SYSTEMS];
    UINTN n_bytes = sizeof(handles);
    EFI_STATUS result = EFI_NOT_FOUND;

    EFI_STATUS status = boot_services->LocateHandle(ByProtocol, (EFI_GUID *)&file_system_guid, NULL,
                                                    &n_bytes, handles);
    if (EFI_ERROR(status)) {
        report_failure(path, status);
        return status;
    }
    for (UINTN i = 0; i < n_bytes / sizeof(handles[0]); i++)
        if (!EFI_ERROR(read_from(handles[i], path)))
            result = EFI_SUCCESS;
    if (result == EFI_NOT_FOUND)
        report_failure(path, result);
    return result;
}

/* The shell passes its command line as load options; the first word is this program. */
static const CHAR16 *next_word(const CHAR16 *at, const CHAR16 *end, CHAR16 *ret_word)
{
    unsigned length = 0;

    while (at < end && *at == L' ')
        at++;
    while (at < end && *at != L' ' && *at != 0) {
        if (length + 1 < MAX_PATH_CHARS)
            ret_word[length++] = *at;
        at++;
    }
    ret_word[length] = 0;
    return at;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_LOADED_IMAGE *image;
    CHAR16 word[MAX_PATH_CHARS];
    EFI_STATUS result = EFI_SUCCESS;

    system_table = system;
    boot_services = system->BootServices;
    make_crc_table();

    EFI_STATUS status =
        boot_services->HandleProtocol(self, (EFI_GUID *)&loaded_image_guid, (void **)&image);
    if (EFI_ERROR(status))
        return status;

    const CHAR16 *at = image->LoadOptions;
    const CHAR16 *end = at + image->LoadOptionsSize / sizeof(CHAR16);
    at = next_word(at, end, word);
    at = next_word(at, end, word);
    if (word[0] == 0)
        return read_everywhere(L"\\data.bin");

    for (; word[0] != 0; at = next_word(at, end, word))
        if (EFI_ERROR(read_everywhere(word)))
            result = EFI_NOT_FOUND;
    return result;
}
