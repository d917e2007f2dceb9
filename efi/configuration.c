/* Contract and terms: efi/configuration.h. */

#include "efi/configuration.h"

#include "boot/loader_conf.h"
#include "boot/utf16.h"
#include "efi/message.h"

/* As messages show it; Open() wants the separators of UEFI. */
static const CHAR16 configuration_shown_path[] = L"/loader/loader.conf";
static CHAR16 configuration_path[] = L"\\loader\\loader.conf";

/* As much of a wrong value as a message shows. */
#define CONFIGURATION_SHOWN_BYTES 40

/* --- The file -------------------------------------------------------------------------------- */

/* Any bytes may stand in the file, and a console obeys some of them. */
static void configuration_report_line(const struct loader_conf *conf, boot_status reason)
{
    char shown[CONFIGURATION_SHOWN_BYTES + 1];
    UINTN n = 0;

    for (; n < conf->value.bytes && n < CONFIGURATION_SHOWN_BYTES; n++) {
        char c = conf->value.start[n];
        shown[n] = c >= ' ' && c <= '~' ? c : '?';
    }
    shown[n] = '\0';
    message_error(NULL, configuration_shown_path, L"line %d: \"%a\": %a; the line is ignored",
                  conf->line, shown, boot_status_reason(reason));
}

static void configuration_understand(struct text_slice text, struct settings *settings)
{
    struct loader_conf conf = loader_conf_begin(text);
    boot_status status;

    while ((status = loader_conf_read(&conf, settings)) != BOOT_OK)
        configuration_report_line(&conf, status);
}

/* The text, for settings may point into it. */
static EFI_STATUS configuration_read_text(EFI_FILE_PROTOCOL *file, char **ret_text,
                                          UINTN *ret_bytes)
{
    cleanup_pool EFI_FILE_INFO *info = LibFileInfo(file);
    UINTN done = 0;

    if (!info)
        return EFI_DEVICE_ERROR;
    if (info->Attribute & EFI_FILE_DIRECTORY)
        return EFI_UNSUPPORTED;
    if (info->FileSize > CONFIGURATION_FILE_BYTES_MAX)
        return EFI_BAD_BUFFER_SIZE;
    cleanup_pool char *text = uefi_allocate((UINTN)info->FileSize + 1);
    if (!text)
        return EFI_OUT_OF_RESOURCES;
    while (done < info->FileSize) {
        UINTN bytes = (UINTN)info->FileSize - done;
        EFI_STATUS status = file->Read(file, &bytes, text + done);
        if (EFI_ERROR(status))
            return status;
        if (bytes == 0 || bytes > info->FileSize - done)
            return EFI_END_OF_FILE;
        done += bytes;
    }
    *ret_text = TAKE_POINTER(text);
    *ret_bytes = done;
    return EFI_SUCCESS;
}

/* Neither a file system nor a file in it need be there. */
static EFI_STATUS configuration_open_file(EFI_HANDLE device, EFI_FILE_PROTOCOL **ret_file)
{
    cleanup_file EFI_FILE_PROTOCOL *root = NULL;
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *file_system = NULL;

    if (!device)
        return EFI_NOT_FOUND;
    EFI_STATUS status =
        BS->HandleProtocol(device, &gEfiSimpleFileSystemProtocolGuid, (VOID **)&file_system);
    if (status == EFI_UNSUPPORTED)
        return EFI_NOT_FOUND;
    if (!EFI_ERROR(status))
        status = file_system->OpenVolume(file_system, &root);
    if (!EFI_ERROR(status))
        status = root->Open(root, ret_file, configuration_path, EFI_FILE_MODE_READ, 0);
    return status;
}

static void configuration_read_file(EFI_HANDLE device, struct configuration *configuration)
{
    cleanup_file EFI_FILE_PROTOCOL *file = NULL;
    UINTN bytes = 0;

    EFI_STATUS status = configuration_open_file(device, &file);
    if (status == EFI_NOT_FOUND)
        return;
    if (!EFI_ERROR(status))
        status = configuration_read_text(file, &configuration->file, &bytes);
    if (status == EFI_BAD_BUFFER_SIZE)
        message_error(NULL, configuration_shown_path, L"is larger than %d KiB and not used",
                      CONFIGURATION_FILE_BYTES_MAX >> 10);
    else if (EFI_ERROR(status))
        message_error(NULL, configuration_shown_path, L"cannot be read: %r; it is not used",
                      status);
    else
        configuration_understand((struct text_slice){configuration->file, bytes},
                                 &configuration->settings);
}

/* --- The command line ------------------------------------------------------------------------ */

void configuration_print_usage(enum settings_program program)
{
    struct settings_usage usage = settings_usage(program);

    (void)Print(L"%a%a", usage.head, usage.tail);
}

static UINTN configuration_line_units(const EFI_LOADED_IMAGE *loaded)
{
    return loaded->LoadOptions ? loaded->LoadOptionsSize / sizeof(CHAR16) : 0;
}

/* Load options that are no text are somebody else's data. */
static struct text_slice configuration_line(EFI_LOADED_IMAGE *loaded, char *buffer, UINTN bytes)
{
    struct text_slice line = {0};

    if (utf16_to_utf8(loaded->LoadOptions, configuration_line_units(loaded), buffer, bytes,
                      &line) != BOOT_OK)
        return (struct text_slice){0};
    return text_trimmed(line);
}

static EFI_STATUS configuration_read_line(EFI_LOADED_IMAGE *loaded, enum settings_program program,
                                          struct configuration *configuration)
{
    /* One unit is three bytes at most; the last one is for a terminator. */
    UINTN capacity = configuration_line_units(loaded) * 3 + 1;
    struct text_slice bad_word = {0};

    configuration->command_line = uefi_allocate(capacity);
    if (!configuration->command_line) {
        message_error(NULL, NULL, L"no memory for the command line");
        return EFI_OUT_OF_RESOURCES;
    }
    struct text_slice line = configuration_line(loaded, configuration->command_line, capacity - 1);
    /* The shell puts the program's name first, a boot option does not. */
    bool with_program_name = line.bytes > 0 && line.start[0] != '-';
    boot_status result =
        settings_parse(program, line, with_program_name, &configuration->settings, &bad_word);
    if (result == BOOT_OK)
        return EFI_SUCCESS;

    /* The word ends where the next begins, and nothing behind it is needed any more. */
    ((char *)(uintptr_t)bad_word.start)[bad_word.bytes] = '\0';
    message_error(NULL, NULL, L"%a: %a", bad_word.start, boot_status_reason(result));
    configuration_print_usage(program);
    return EFI_INVALID_PARAMETER;
}

/* --- Both ------------------------------------------------------------------------------------ */

EFI_STATUS configuration_read(EFI_LOADED_IMAGE *loaded, enum settings_program program,
                              struct configuration *ret_configuration)
{
    configuration_read_file(loaded->DeviceHandle, ret_configuration);
    return configuration_read_line(loaded, program, ret_configuration);
}

void configuration_release(struct configuration *configuration)
{
    uefi_free_pool_at(&configuration->command_line);
    uefi_free_pool_at(&configuration->file);
    *configuration = (struct configuration){0};
}

void configuration_apply(const struct settings *settings, struct bind_policy *policy)
{
    static const uint8_t modes[] = {
        [SETTINGS_COMPLETION_AUTO] = INTERRUPT_AUTO,
        [SETTINGS_COMPLETION_POLL] = INTERRUPT_POLL,
        [SETTINGS_COMPLETION_INTERRUPT] = INTERRUPT_ALWAYS,
    };

    policy->declined_features = settings->declined_features;
    policy->request_limit_us = settings->disk_timeout_s * UINT64_C(1000000);
    policy->interrupt_mode = modes[settings->completion];
}
