/*
 * Formatted text: in place of gnu-efi's, which brings all that it can print along (device paths,
 * floating point, time, input). Contract: efilib.h, for the letters in efi/message.h and no others.
 */

#include "efi/uefi.h"

/* What is printed reaches the console in pieces of so many units. */
#define PRINT_PIECE_UNITS 128

/* Of 64 bits: 20 decimal digits and a sign. */
#define PRINT_NUMBER_UNITS 21

struct print_target {
    CHAR16 *units;
    UINTN n_units;
    UINTN capacity_units; /* with room for a terminator */
    UINTN n_printed;
    bool is_console; /* it is written there when it is full; else the rest is cut off */
};

/* What stands between "%" and the letter. */
struct print_form {
    bool pads_with_zeros;
    bool is_long;
    UINTN width;
};

/*
 * UEFI 2.10, appendix D Status Codes: the errors from 1 on, one behind the other. A table of
 * pointers would be four times as large: each is a relocation too.
 */
static const char print_errors[] = "Load Error\0"
                                   "Invalid Parameter\0"
                                   "Unsupported\0"
                                   "Bad Buffer Size\0"
                                   "Buffer Too Small\0"
                                   "Not Ready\0"
                                   "Device Error\0"
                                   "Write Protected\0"
                                   "Out of Resources\0"
                                   "Volume Corrupt\0"
                                   "Volume Full\0"
                                   "No Media\0"
                                   "Media changed\0"
                                   "Not Found\0"
                                   "Access Denied\0"
                                   "No Response\0"
                                   "No mapping\0"
                                   "Time out\0"
                                   "Not started\0"
                                   "Already started\0"
                                   "Aborted\0"
                                   "ICMP Error\0"
                                   "TFTP Error\0"
                                   "Protocol Error\0"
                                   "Incompatible Version\0"
                                   "Security Policy Violation\0"
                                   "CRC Error\0"
                                   "End of Media\0"
                                   "Error 29\0"
                                   "Error 30\0"
                                   "End of File\0"
                                   "Invalid Languages\0"
                                   "Compromised Data";

static void print_flush(struct print_target *target)
{
    target->units[target->n_units] = L'\0';
    if (!target->is_console)
        return;
    (void)ST->ConOut->OutputString(ST->ConOut, target->units); /* whom to tell? */
    target->n_units = 0;
}

static void print_unit(struct print_target *target, CHAR16 unit)
{
    if (unit == L'\n' && target->is_console)
        print_unit(target, L'\r');
    if (target->n_units + 1 == target->capacity_units)
        print_flush(target);
    if (target->n_units + 1 == target->capacity_units)
        return;
    target->units[target->n_units++] = unit;
    target->n_printed++;
}

static void print_wide(struct print_target *target, const CHAR16 *text)
{
    for (text = text ? text : L"(null)"; *text; text++)
        print_unit(target, *text);
}

static void print_narrow(struct print_target *target, const char *text)
{
    for (text = text ? text : "(null)"; *text; text++)
        print_unit(target, (CHAR16)(unsigned char)*text);
}

static void print_number(struct print_target *target, const struct print_form *form, UINT64 value,
                         unsigned base)
{
    CHAR16 text[PRINT_NUMBER_UNITS + 1];
    UINTN at = PRINT_NUMBER_UNITS;
    bool is_negative = base == 10 && (INT64)value < 0;

    text[at] = L'\0';
    if (is_negative)
        value = -value;
    do {
        text[--at] = (CHAR16) "0123456789ABCDEF"[value % base];
        value /= base;
    } while (value);
    if (is_negative)
        text[--at] = L'-';
    for (UINTN width = PRINT_NUMBER_UNITS - at; width < form->width; width++)
        print_unit(target, form->pads_with_zeros ? L'0' : L' ');
    print_wide(target, text + at);
}

static void print_status(struct print_target *target, EFI_STATUS status)
{
    UINTN number = status & ~EFI_ERROR_MASK;
    const char *text = print_errors;
    const char *end = print_errors + sizeof(print_errors);

    while (text < end && --number) {
        while (*text++)
            ;
    }
    if (status == EFI_SUCCESS)
        print_narrow(target, "Success");
    else if (EFI_ERROR(status) && text < end)
        print_narrow(target, text);
    else
        print_number(target, &(struct print_form){0}, status, 16);
}

/* Takes the form off *format and leaves it at the letter. */
static struct print_form print_take_form(const CHAR16 **format)
{
    struct print_form form = {.pads_with_zeros = **format == L'0'};

    for (; **format >= L'0' && **format <= L'9'; (*format)++)
        form.width = form.width * 10 + (UINTN)(**format - L'0');
    if (**format == L'l') {
        form.is_long = true;
        (*format)++;
    }
    return form;
}

static UINT64 print_take_number(va_list *arguments, const struct print_form *form, bool is_signed)
{
    if (form->is_long)
        return va_arg(*arguments, UINT64);
    return is_signed ? (UINT64)va_arg(*arguments, INT32) : va_arg(*arguments, UINT32);
}

/* Anything else, "%" for one, stands for itself. */
static void print_item(struct print_target *target, CHAR16 letter, const struct print_form *form,
                       va_list *arguments)
{
    if (letter == L's')
        print_wide(target, va_arg(*arguments, const CHAR16 *));
    else if (letter == L'a')
        print_narrow(target, va_arg(*arguments, const char *));
    else if (letter == L'r')
        print_status(target, va_arg(*arguments, EFI_STATUS));
    else if (letter == L'd')
        print_number(target, form, print_take_number(arguments, form, true), 10);
    else if (letter == L'x')
        print_number(target, form, print_take_number(arguments, form, false), 16);
    else
        print_unit(target, letter);
}

/* Number of units that were printed. */
static UINTN print_all(struct print_target *target, const CHAR16 *format, va_list *arguments)
{
    while (*format) {
        CHAR16 unit = *format++;
        if (unit != L'%') {
            print_unit(target, unit);
            continue;
        }
        struct print_form form = print_take_form(&format);
        if (*format)
            print_item(target, *format++, &form, arguments);
    }
    print_flush(target);
    return target->n_printed;
}

static UINTN print_to_console(const CHAR16 *format, va_list *arguments)
{
    CHAR16 piece[PRINT_PIECE_UNITS];
    struct print_target target = {
        .units = piece,
        .capacity_units = PRINT_PIECE_UNITS,
        .is_console = true,
    };

    return print_all(&target, format, arguments);
}

UINTN Print(const CHAR16 *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    UINTN n_printed = print_to_console(format, &arguments);
    va_end(arguments);
    return n_printed;
}

UINTN VPrint(const CHAR16 *format, va_list arguments)
{
    va_list copy; /* there is no pointer to a parameter of this type */

    va_copy(copy, arguments);
    UINTN n_printed = print_to_console(format, &copy);
    va_end(copy);
    return n_printed;
}

UINTN UnicodeSPrint(CHAR16 *text, UINTN bytes, const CHAR16 *format, ...)
{
    struct print_target target = {.units = text, .capacity_units = bytes / sizeof(CHAR16)};
    va_list arguments;

    va_start(arguments, format);
    UINTN n_printed = print_all(&target, format, &arguments);
    va_end(arguments);
    return n_printed;
}
