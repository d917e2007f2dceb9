/* Contract and terms: efi/message.h. */

#include "efi/message.h"

static bool message_progress_is_open;
static unsigned message_n_errors;

static void message_print(const CHAR16 *format, va_list arguments)
{
    (void)VPrint(format, arguments); /* a console that fails cannot be told about it */
    (void)Print(L"\n");
}

void message_progress_break(void)
{
    if (message_progress_is_open)
        (void)Print(L"\n");
    message_progress_is_open = false;
}

void message_line(const CHAR16 *format, ...)
{
    va_list arguments;

    message_progress_break();
    (void)Print(L"%s: ", message_program);
    va_start(arguments, format);
    message_print(format, arguments);
    va_end(arguments);
}

void message_error(const CHAR16 *device, const CHAR16 *path, const CHAR16 *format, ...)
{
    va_list arguments;

    message_n_errors++;
    message_progress_break();
    (void)Print(L"%s: error: ", message_program);
    if (device)
        (void)Print(L"%s: ", device);
    if (path)
        (void)Print(L"%s: ", path);
    va_start(arguments, format);
    message_print(format, arguments);
    va_end(arguments);
}

unsigned message_error_count(void)
{
    return message_n_errors;
}

void message_progress(const CHAR16 *path, UINT64 done_bytes, UINT64 all_bytes)
{
    /* No wrap: ensured by VOLUME_FILE_BYTES_MAX. */
    (void)Print(L"\r%s: reading %s %3d %%", message_program, path,
                (UINT32)(done_bytes * 100 / all_bytes));
    message_progress_is_open = true;
    if (done_bytes >= all_bytes)
        message_progress_break();
}
