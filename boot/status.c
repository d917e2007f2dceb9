/** @file
 * The sentences for people. No default label: the compiler reports a status without a sentence.
 */
#include "boot/status.h"

const char *boot_status_reason(boot_status status)
{
    switch (status) {
    case BOOT_OK:
        return "no error";
    case BOOT_ERR_BUFFER_TOO_SMALL:
        return "text is too long for its buffer";
    case BOOT_ERR_ENCODING:
        return "text is not valid Unicode";
    case BOOT_ERR_CONTROL_BYTE:
        return "value contains a control character";
    case BOOT_ERR_ENTRY_TOO_LARGE:
        return "boot entry is larger than 256 KiB";
    case BOOT_ERR_NO_KERNEL:
        return "boot entry has neither a linux nor an efi key";
    case BOOT_ERR_DUPLICATE_KEY:
        return "key stands twice in the boot entry";
    case BOOT_ERR_PATH_MISSING:
        return "key needs the path of a file";
    case BOOT_ERR_PATH_PARENT:
        return "path contains a \"..\" component";
    case BOOT_ERR_PATH_BACKSLASH:
        return "path contains a backslash, the separator is \"/\"";
    case BOOT_ERR_VALUE_TOO_LONG:
        return "value is longer than 4096 bytes";
    case BOOT_ERR_OPTIONS_TOO_LONG:
        return "options are longer than 64 KiB";
    case BOOT_ERR_TOO_MANY_INITRDS:
        return "more than 16 initrd keys";
    case BOOT_ERR_TOO_MANY_OPTION_LINES:
        return "more than 64 options keys";
    case BOOT_ERR_PE_SIGNATURE:
        return "not a PE image";
    case BOOT_ERR_PE_TRUNCATED:
        return "image is truncated: its headers promise more than the file holds";
    case BOOT_ERR_PE_MACHINE:
        return "image is for another machine type";
    case BOOT_ERR_PE_FORMAT:
        return "image has no valid 64-bit (PE32+) optional header";
    case BOOT_ERR_PE_SUBSYSTEM:
        return "image is no EFI application";
    case BOOT_ERR_PE_ALIGNMENT:
        return "image has an impossible alignment";
    case BOOT_ERR_PE_HEADERS:
        return "image headers contradict each other about their size";
    case BOOT_ERR_PE_SECTION_COUNT:
        return "image has no section or more than 96 of them";
    case BOOT_ERR_PE_SECTION:
        return "section lies outside the image or over its headers";
    case BOOT_ERR_PE_ENTRY_POINT:
        return "entry point lies outside the image's loaded code";
    case BOOT_ERR_PE_DIRECTORY:
        return "certificate or relocation table lies outside the image";
    case BOOT_ERR_UNKNOWN_WORD:
        return "unknown option";
    case BOOT_ERR_OPTION_NO_VALUE:
        return "option needs a value";
    case BOOT_ERR_OPTION_VALUE:
        return "option takes no value";
    case BOOT_ERR_ENTRY_NAME:
        return "entry is named by its file name, not by a path";
    case BOOT_ERR_FEATURE_NUMBER:
        return "feature is a decimal number from 0 to 63";
    case BOOT_ERR_FEATURE_REQUIRED:
        return "feature 32 (VERSION_1) cannot be declined, the driver needs it";
    case BOOT_STATUS_COUNT:
        break;
    }
    return "unknown status";
}
