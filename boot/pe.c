/** @file
 * Headers from front to back: nothing is read before a check says that it is there. All sums are
 * made of 32-bit fields in 64 bits, so none of them wraps.
 */
#include "boot/pe.h"

#include <stdbool.h>

#include "boot/bytes.h"

/* A header that starts later than this is rather some other file that begins with "MZ". */
#define PE_MAX_LFANEW (1024u * 1024)

/* The file and what is known of it so far. */
struct pe_file {
    const uint8_t *data;
    size_t bytes;
    size_t optional; /* file offset of the optional header */
    size_t sections; /* file offset of the section table */
    uint32_t n_directories;
    uint32_t header_bytes;
    struct pe_info info;
};

static uint32_t pe_get16(const struct pe_file *file, size_t offset)
{
    return bytes_get16(file->data + offset);
}

static uint32_t pe_get32(const struct pe_file *file, size_t offset)
{
    return bytes_get32(file->data + offset);
}

static bool pe_is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Finds the COFF file header; *ret_coff is its offset, that of the signature. */
static boot_status pe_find_coff(const struct pe_file *file, size_t *ret_coff)
{
    size_t coff;

    if (file->bytes < 2 || pe_get16(file, 0) != PE_DOS_MAGIC)
        return BOOT_ERR_PE_SIGNATURE;
    if (file->bytes < PE_DOS_HEADER_BYTES)
        return BOOT_ERR_PE_TRUNCATED;
    coff = pe_get32(file, PE_DOS_LFANEW);
    if (coff > PE_MAX_LFANEW)
        return BOOT_ERR_PE_SIGNATURE;
    if (file->bytes < coff + 4)
        return BOOT_ERR_PE_TRUNCATED;
    if (pe_get32(file, coff) != PE_SIGNATURE)
        return BOOT_ERR_PE_SIGNATURE;
    if (file->bytes < coff + PE_COFF_HEADER_BYTES)
        return BOOT_ERR_PE_TRUNCATED;
    *ret_coff = coff;
    return BOOT_OK;
}

/* Everything up to the end of the section table: is it there, and is it of our kind? */
static boot_status pe_check_headers(struct pe_file *file, size_t coff, uint16_t machine)
{
    uint32_t optional_bytes = pe_get16(file, coff + PE_COFF_SIZE_OF_OPTIONAL);
    uint32_t n_sections = pe_get16(file, coff + PE_COFF_NUMBER_OF_SECTIONS);

    /* The machine first: a 32-bit image for another machine differs in its optional header too. */
    if (pe_get16(file, coff + PE_COFF_MACHINE) != machine)
        return BOOT_ERR_PE_MACHINE;
    if (n_sections == 0 || n_sections > PE_MAX_SECTIONS)
        return BOOT_ERR_PE_SECTION_COUNT;
    if (optional_bytes < PE_OPT_DIRECTORIES)
        return BOOT_ERR_PE_FORMAT;
    file->info.section_count = n_sections;
    file->optional = coff + PE_COFF_HEADER_BYTES;
    file->sections = file->optional + optional_bytes;
    if (file->bytes < file->sections + n_sections * PE_SECTION_HEADER_BYTES)
        return BOOT_ERR_PE_TRUNCATED;

    if (pe_get16(file, file->optional + PE_OPT_MAGIC) != PE_OPT_MAGIC_PE32_PLUS)
        return BOOT_ERR_PE_FORMAT;
    file->n_directories = pe_get32(file, file->optional + PE_OPT_NUMBER_OF_DIRECTORIES);
    if (file->n_directories > PE_MAX_DIRECTORIES ||
        PE_OPT_DIRECTORIES + file->n_directories * PE_DIRECTORY_BYTES > optional_bytes)
        return BOOT_ERR_PE_FORMAT;
    if (pe_get16(file, file->optional + PE_OPT_SUBSYSTEM) != PE_SUBSYSTEM_EFI_APPLICATION)
        return BOOT_ERR_PE_SUBSYSTEM;
    return BOOT_OK;
}

/* Alignments, SizeOfHeaders and SizeOfImage. SizeOfImage need not be aligned: systemd's is not. */
static boot_status pe_check_sizes(struct pe_file *file)
{
    uint32_t section_alignment = pe_get32(file, file->optional + PE_OPT_SECTION_ALIGNMENT);
    uint32_t file_alignment = pe_get32(file, file->optional + PE_OPT_FILE_ALIGNMENT);
    size_t table_bytes = (size_t)file->info.section_count * PE_SECTION_HEADER_BYTES;

    if (!pe_is_power_of_two(section_alignment) || !pe_is_power_of_two(file_alignment) ||
        section_alignment > PE_MAX_SECTION_ALIGNMENT || file_alignment > PE_MAX_FILE_ALIGNMENT ||
        file_alignment > section_alignment)
        return BOOT_ERR_PE_ALIGNMENT;

    file->info.image_bytes = pe_get32(file, file->optional + PE_OPT_SIZE_OF_IMAGE);
    file->header_bytes = pe_get32(file, file->optional + PE_OPT_SIZE_OF_HEADERS);
    if (file->header_bytes < file->sections + table_bytes ||
        file->header_bytes > file->info.image_bytes)
        return BOOT_ERR_PE_HEADERS;
    return file->header_bytes > file->bytes ? BOOT_ERR_PE_TRUNCATED : BOOT_OK;
}

/* One section: what it takes from the file, where it lies in memory, whether we enter there. */
static boot_status pe_check_section(const struct pe_file *file, size_t header, bool *has_entry)
{
    uint64_t raw_bytes = pe_get32(file, header + PE_SECTION_SIZE_OF_RAW_DATA);
    uint64_t raw_start = pe_get32(file, header + PE_SECTION_POINTER_TO_RAW_DATA);
    uint64_t start = pe_get32(file, header + PE_SECTION_VIRTUAL_ADDRESS);
    uint64_t memory_bytes = pe_get32(file, header + PE_SECTION_VIRTUAL_SIZE);
    uint64_t loaded_bytes;

    /* Firmware loads the raw data of a section that states no size in memory. */
    if (memory_bytes == 0)
        memory_bytes = raw_bytes;
    if (memory_bytes == 0)
        return BOOT_OK;
    if (start < file->header_bytes || start + memory_bytes > file->info.image_bytes)
        return BOOT_ERR_PE_SECTION;
    if (raw_bytes == 0)
        return BOOT_OK;
    if (raw_start + raw_bytes > UINT32_MAX)
        return BOOT_ERR_PE_SECTION;
    if (raw_start + raw_bytes > file->bytes)
        return BOOT_ERR_PE_TRUNCATED;

    /* Behind the raw data there are zeros only: nothing to jump to. */
    loaded_bytes = raw_bytes < memory_bytes ? raw_bytes : memory_bytes;
    if (file->info.entry >= start && file->info.entry < start + loaded_bytes)
        *has_entry = true;
    return BOOT_OK;
}

static boot_status pe_check_sections(struct pe_file *file)
{
    bool has_entry = false;

    file->info.entry = pe_get32(file, file->optional + PE_OPT_ENTRY_POINT);
    for (unsigned i = 0; i < file->info.section_count; i++) {
        size_t header = file->sections + (size_t)i * PE_SECTION_HEADER_BYTES;
        boot_status status = pe_check_section(file, header, &has_entry);

        if (status != BOOT_OK)
            return status;
    }
    return has_entry ? BOOT_OK : BOOT_ERR_PE_ENTRY_POINT;
}

/* A directory's end, or 0 when it is absent or empty. */
static uint64_t pe_directory(const struct pe_file *file, unsigned index, uint64_t *ret_start)
{
    size_t directory = file->optional + PE_OPT_DIRECTORIES + (size_t)index * PE_DIRECTORY_BYTES;
    uint32_t bytes = index < file->n_directories ? pe_get32(file, directory + 4) : 0;

    if (bytes == 0)
        return 0;
    *ret_start = pe_get32(file, directory);
    return *ret_start + bytes;
}

static boot_status pe_check_directories(const struct pe_file *file)
{
    uint64_t start = 0;
    uint64_t end = pe_directory(file, PE_DIRECTORY_RELOCATIONS, &start);

    /* The firmware writes where the relocations tell it to, so it must find them in the image. */
    if (end != 0 && (start < file->header_bytes || end > file->info.image_bytes))
        return BOOT_ERR_PE_DIRECTORY;

    end = pe_directory(file, PE_DIRECTORY_CERTIFICATES, &start);
    if (end != 0 && (start < file->header_bytes || end > UINT32_MAX))
        return BOOT_ERR_PE_DIRECTORY;
    return end > file->bytes ? BOOT_ERR_PE_TRUNCATED : BOOT_OK;
}

boot_status pe_check(const void *file, size_t bytes, uint16_t machine, struct pe_info *ret_info)
{
    struct pe_file image = {.data = file, .bytes = bytes};
    size_t coff = 0;
    boot_status status = pe_find_coff(&image, &coff);

    if (status == BOOT_OK)
        status = pe_check_headers(&image, coff, machine);
    if (status == BOOT_OK)
        status = pe_check_sizes(&image);
    if (status == BOOT_OK)
        status = pe_check_sections(&image);
    if (status == BOOT_OK)
        status = pe_check_directories(&image);
    if (status == BOOT_OK)
        *ret_info = image.info;
    return status;
}
