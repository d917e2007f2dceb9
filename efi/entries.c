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
    if (!name->file_name)
        names_free(&name);
    else if (utf16_to_utf8((const uint16_t *)file_name, units, (char *)(name + 1), bytes,
                           &name->utf8) != BOOT_OK)
        name->utf8 = (struct text_slice){0}; /* no text, so no entry's name */
    return name;
}

static void names_insert(struct entry_name **list, struct entry_name *name)
{
    while (*list && entry_file_name_compare((*list)->utf8, name->utf8) < 0)
        list = &(*list)->next;
    name->next = *list;
    *list = name;
}

/* One directory entry into the list; what is no boot entry's name is left out. */
static EFI_STATUS names_take(const EFI_FILE_INFO *info, struct entry_name **list)
{
    if (info->Attribute & EFI_FILE_DIRECTORY)
        return EFI_SUCCESS;
    struct entry_name *name = names_make(info->FileName);
    if (!name)
        return EFI_OUT_OF_RESOURCES;
    if (entry_file_name_is_entry(name->utf8))
        names_insert(list, name);
    else
        names_free(&name);
    return EFI_SUCCESS;
}

/* All or nothing: a list that lacks the newest entry would boot an older kernel without a word. */
static EFI_STATUS names_collect(EFI_FILE_PROTOCOL *folder, struct entry_name **list)
{
    for (;;) {
        uint8_t buffer[offsetof(EFI_FILE_INFO, FileName) + NAME_UNITS_MAX * sizeof(CHAR16)]
            __attribute__((aligned(8)));
        UINTN bytes = sizeof(buffer);

        EFI_STATUS status = folder->Read(folder, &bytes, buffer);
        if (!EFI_ERROR(status) && bytes == 0)
            return EFI_SUCCESS;
        if (!EFI_ERROR(status))
            status = names_take((const EFI_FILE_INFO *)buffer, list);
        if (EFI_ERROR(status))
            return status;
    }
}

static EFI_STATUS entries_open(const struct volume *volume, const struct entry_name *name,
                               struct volume_file *ret_file)
{
    static const char folder[] = "/loader/entries/";
    char path[sizeof(folder) + NAME_UNITS_MAX * NAME_BYTES_PER_UNIT];
    size_t folder_bytes = sizeof(folder) - 1;

    /* No overflow: names_collect() took no name longer than NAME_UNITS_MAX. */
    __builtin_memcpy(path, folder, folder_bytes);
    __builtin_memcpy(path + folder_bytes, name->utf8.start, name->utf8.bytes);
    struct text_slice slice = {.start = path, .bytes = folder_bytes + name->utf8.bytes};
    return volume_open_file(volume, slice, ret_file);
}

static EFI_STATUS entries_read_text(const struct volume *volume, const struct entry_name *name,
                                    char **ret_text, UINTN *ret_bytes)
{
    cleanup_volume_file struct volume_file file = {0};

    EFI_STATUS status = entries_open(volume, name, &file);
    if (EFI_ERROR(status))
        return status;
    /* One byte more than allowed is enough for the parser to refuse it. */
    UINTN bytes =
        file.bytes > BOOT_ENTRY_MAX_FILE_BYTES ? BOOT_ENTRY_MAX_FILE_BYTES + 1 : (UINTN)file.bytes;
    cleanup_pool char *text = uefi_allocate(bytes);
    if (!text) {
        message_error(volume->device, name->file_name, L"no memory to read it");
        return EFI_OUT_OF_RESOURCES;
    }
    status = volume_read_bytes(&file, text, bytes);
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
        message_error(volume->device, name->file_name, L"line %d: %a; the entry is skipped", line,
                      boot_status_reason(result));
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
            volume_report_failure(volume, L"/loader/entries", status);
        return false;
    }
    status = names_collect(folder, &names);
    if (EFI_ERROR(status)) {
        volume_report_failure(volume, L"/loader/entries", status);
        return false;
    }
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

static void entries_report_none(UINTN n_volumes, struct text_slice wanted)
{
    char name[NAME_UNITS_MAX] = "*";

    if (wanted.bytes && wanted.bytes < sizeof(name)) {
        __builtin_memcpy(name, wanted.start, wanted.bytes);
        name[wanted.bytes] = '\0';
    }
    message_error(NULL, NULL,
                  L"no boot entry: no usable /loader/entries/%a.conf on any virtio disk "
                  L"(%ld file systems searched)",
                  name, (UINT64)n_volumes);
}

EFI_STATUS entries_choose(const struct volume_list *list, struct text_slice wanted,
                          struct chosen_entry *ret_entry)
{
    for (UINTN i = 0; i < list->n_volumes; i++) {
        if (entries_choose_on(&list->volumes[i], wanted, ret_entry))
            return EFI_SUCCESS;
    }
    entries_report_none(list->n_volumes, wanted);
    return EFI_NOT_FOUND;
}

void entries_release(struct chosen_entry *entry)
{
    uefi_free_pool_at(&entry->file_name);
    uefi_free_pool_at(&entry->text);
    *entry = (struct chosen_entry){0};
}
