/** @file
 * The sentences for people, one table. Its test finds a status without a sentence.
 */
#include "boot/status.h"

#include <stddef.h>

static const char *const boot_reasons[BOOT_STATUS_COUNT] = {
    [BOOT_OK] = "no error",
    [BOOT_ERR_BUFFER_TOO_SMALL] = "text is too long for its buffer",
    [BOOT_ERR_ENCODING] = "text is not valid Unicode",
    [BOOT_ERR_CONTROL_BYTE] = "value contains a control character",
    [BOOT_ERR_ENTRY_TOO_LARGE] = "boot entry is larger than 256 KiB",
    [BOOT_ERR_NO_KERNEL] = "boot entry has neither a linux nor an efi key",
    [BOOT_ERR_DUPLICATE_KEY] = "key stands twice in the boot entry",
    [BOOT_ERR_PATH_MISSING] = "key needs the path of a file",
    [BOOT_ERR_PATH_PARENT] = "path contains a \"..\" component",
    [BOOT_ERR_PATH_BACKSLASH] = "path contains a backslash, the separator is \"/\"",
    [BOOT_ERR_VALUE_TOO_LONG] = "value is longer than 4096 bytes",
    [BOOT_ERR_OPTIONS_TOO_LONG] = "options are longer than 64 KiB",
    [BOOT_ERR_TOO_MANY_INITRDS] = "more than 16 initrd keys",
    [BOOT_ERR_TOO_MANY_OPTION_LINES] = "more than 64 options keys",
    [BOOT_ERR_PE_SIGNATURE] = "not a PE image",
    [BOOT_ERR_PE_TRUNCATED] = "image is truncated: its headers promise more than the file holds",
    [BOOT_ERR_PE_MACHINE] = "image is for another machine type",
    [BOOT_ERR_PE_FORMAT] = "image has no valid 64-bit (PE32+) optional header",
    [BOOT_ERR_PE_SUBSYSTEM] = "image is no EFI application",
    [BOOT_ERR_PE_ALIGNMENT] = "image has an impossible alignment",
    [BOOT_ERR_PE_HEADERS] = "image headers contradict each other about their size",
    [BOOT_ERR_PE_SECTION_COUNT] = "image has no section or more than 96 of them",
    [BOOT_ERR_PE_SECTION] = "section lies outside the image or over its headers",
    [BOOT_ERR_PE_ENTRY_POINT] = "entry point lies outside the image's loaded code",
    [BOOT_ERR_PE_DIRECTORY] = "certificate or relocation table lies outside the image",
    [BOOT_ERR_UNKNOWN_WORD] = "unknown option",
    [BOOT_ERR_OPTION_NO_VALUE] = "option needs a value",
    [BOOT_ERR_OPTION_VALUE] = "option takes no value",
    [BOOT_ERR_ENTRY_NAME] = "entry is named by its file name, not by a path",
    [BOOT_ERR_FEATURE_NUMBER] = "feature is a decimal number from 0 to 63",
    [BOOT_ERR_FEATURE_REQUIRED] = "feature 32 (VERSION_1) cannot be declined, the driver needs it",
    [BOOT_ERR_TIMEOUT] = "time is a number of seconds from 1 to 3600",
    [BOOT_ERR_COMPLETION] = "completion is auto, poll or interrupt",
};

const char *boot_status_reason(boot_status status)
{
    /* Unsigned, so that a negative value is out of bounds too. */
    if ((unsigned)status >= BOOT_STATUS_COUNT || boot_reasons[status] == NULL)
        return "unknown status";
    return boot_reasons[status];
}
