/* Contract and terms: efi/entries.h. */

#include "efi/entries.h"

#include "boot/utf16.h"
#include "efi/message.h"

static CHAR16 entries_folder[] = L"\\loader\\entries";

/* UTF-16 to UTF-8 takes at most three bytes a unit. */
#define NAME_BYTES_PER_UNIT 3

/* The longest name that FAT and its kin can have, and its terminator. */
#define NAME_UNITS_MAX 256

#ifdef __x86_64__
#define ENTRIES_ARCHITECTURE "x64"
#else
#define ENTRIES_ARCHITECTURE "aa64"
#endif

/* One file name in the folder, in the order in which entries are tried. */
struct entry_name {
    struct entry_name *next;
    CHAR16 *file_name;
    struct text_slice utf8; /* points behind this structure */
};

static void names_free(struct entry_name **list)
{
    while (*list) {
        struct entry_name *name = *list;
        *list = name->next;
        uefi_free_pool_at(&name->file_name);
        uefi_free_pool_at(&name);
    }
}

#define cleanup_names __attribute__((cleanup(names_free)))

static struct entry_name *names_make(const CHAR16 *file_name)
{
    UINTN units = StrLen(file_name);
    UINTN bytes = units * NAME_BYTES_PER_UNIT;
    struct entry_name *name = uefi_allocate(sizeof(*name) + bytes);

    if (!name)
        return NULL;
    name->file_name = StrDuplicate(file_name);
    if (name->file_name && utf16_to_utf8((const uint16_t *)file_name, units, (char *)(name + 1),
                                         bytes, &name->utf8) == BOOT_OK)
        return name;
    names_free(&name);
    return NULL;
}

static void names_insert(struct entry_name **list, struct entry_name *name)
{
    while (*list && entry_file_name_compare((*list)->utf8, name->utf8) < 0)
        list = &(*list)->next;
    name->next = *list;
    *list = name;
}

/* Names that cannot be read, or that are no entries', are left out. */
static void names_collect(EFI_FILE_PROTOCOL *folder, struct entry_name **list)
{
    for (;;) {
        uint8_t buffer[sizeof(EFI_FILE_INFO) + NAME_UNITS_MAX * sizeof(CHAR16)]
            __attribute__((aligned(8)));
        EFI_FILE_INFO *info = (EFI_FILE_INFO *)buffer;
        UINTN bytes = sizeof(buffer);

        EFI_STATUS status = folder->Read(folder, &bytes, buffer);
        if (EFI_ERROR(status) || bytes == 0)
            return;
        if (info->Attribute & EFI_FILE_DIRECTORY)
            continue;
        struct entry_name *name = names_make(info->FileName);
        if (name && entry_file_name_is_entry(name->utf8))
            names_insert(list, name);
        else
            names_free(&name);
    }
}

static EFI_STATUS entries_read_text(const struct volume *volume, const struct entry_name *name,
                                    char **ret_text, UINTN *ret_bytes)
{
    struct volume_file file;
    char path[sizeof("/loader/entries/") + NAME_UNITS_MAX * NAME_BYTES_PER_UNIT] =
        "/loader/entries/";
    size_t folder_bytes = sizeof("/loader/entries/") - 1;

    if (name->utf8.bytes > sizeof(path) - folder_bytes)
        return EFI_BAD_BUFFER_SIZE;
    __builtin_memcpy(path + folder_bytes, name->utf8.start, name->utf8.bytes);
    struct text_slice slice = {.start = path, .bytes = folder_bytes + name->utf8.bytes};

    EFI_STATUS status = volume_open_file(volume, slice, &file);
    if (EFI_ERROR(status))
        return status;
    cleanup_pool char *text = NULL;
    /* One byte more than allowed is enough for the parser to refuse it. */
    UINTN bytes =
        file.bytes > BOOT_ENTRY_MAX_FILE_BYTES ? BOOT_ENTRY_MAX_FILE_BYTES + 1 : (UINTN)file.bytes;
    text = uefi_allocate(bytes);
    status = text ? file.file->Read(file.file, &bytes, text) : EFI_OUT_OF_RESOURCES;
    if (EFI_ERROR(status))
        disk_report_failure(volume->disk, file.shown_path, status);
    volume_close_file(&file);
    if (EFI_ERROR(status))
        return status;
    *ret_text = TAKE_POINTER(text);
    *ret_bytes = bytes;
    return EFI_SUCCESS;
}

static bool entries_parse(const struct volume *volume, const struct entry_name *name,
                          struct chosen_entry *ret_entry)
{
    cleanup_pool char *text = NULL;
    unsigned line = 0;
    UINTN bytes = 0;

    if (EFI_ERROR(entries_read_text(volume, name, &text, &bytes)))
        return false;
    boot_status result = entry_parse(text, bytes, &ret_entry->entry, &line);
    if (result != BOOT_OK) {
        message_error(volume->disk->name, name->file_name, L"line %d: %a; the entry is skipped",
                      line, boot_status_reason(result));
        return false;
    }
    if (!entry_fits_architecture(&ret_entry->entry, ENTRIES_ARCHITECTURE))
        return false;
    ret_entry->volume = volume;
    ret_entry->text = TAKE_POINTER(text);
    return true;
}

static bool entries_choose_on(const struct volume *volume, struct text_slice wanted,
                              struct chosen_entry *ret_entry)
{
    cleanup_names struct entry_name *names = NULL;
    cleanup_file EFI_FILE_PROTOCOL *folder = NULL;

    EFI_STATUS status =
        volume->root->Open(volume->root, &folder, entries_folder, EFI_FILE_MODE_READ, 0);
    if (EFI_ERROR(status)) {
        if (status != EFI_NOT_FOUND)
            disk_report_failure(volume->disk, L"/loader/entries", status);
        return false;
    }
    names_collect(folder, &names);
    for (struct entry_name *name = names; name; name = name->next) {
        if (wanted.bytes && !entry_file_name_matches(name->utf8, wanted))
            continue;
        if (entries_parse(volume, name, ret_entry)) {
            ret_entry->file_name = TAKE_POINTER(name->file_name);
            return true;
        }
    }
    return false;
}

EFI_STATUS entries_choose(const struct volume_list *list, struct text_slice wanted,
                          struct chosen_entry *ret_entry)
{
    for (UINTN i = 0; i < list->n_volumes; i++) {
        if (entries_choose_on(&list->volumes[i], wanted, ret_entry))
            return EFI_SUCCESS;
    }
    message_error(NULL, NULL,
                  L"no boot entry: no usable /loader/entries/*.conf on any virtio disk "
                  L"(%ld file systems searched)",
                  (UINT64)list->n_volumes);
    return EFI_NOT_FOUND;
}

void entries_release(struct chosen_entry *entry)
{
    uefi_free_pool_at(&entry->file_name);
    uefi_free_pool_at(&entry->text);
    *entry = (struct chosen_entry){0};
}
