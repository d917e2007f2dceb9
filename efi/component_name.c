/* Contract and terms: efi/component_name.h. */

#include "efi/component_name.h"

#include "efi/bind.h"

static CHAR16 driver_name[] = L"virtio driver (virtboot)";
static CHAR16 disk_name[] = L"virtio block device";

static bool language_is(const CHAR8 *language, const char *wanted)
{
    size_t at = 0;

    while (wanted[at] && language[at] == (CHAR8)wanted[at])
        at++;
    return wanted[at] == '\0' && language[at] == '\0';
}

static EFI_STATUS get_driver_name(const CHAR8 *language, const char *english, CHAR16 **ret_name)
{
    if (!language || !ret_name)
        return EFI_INVALID_PARAMETER;
    if (!language_is(language, english))
        return EFI_UNSUPPORTED;
    *ret_name = driver_name;
    return EFI_SUCCESS;
}

static EFI_STATUS get_controller_name(EFI_HANDLE controller, EFI_HANDLE child,
                                      const CHAR8 *language, const char *english, CHAR16 **ret_name)
{
    if (!controller || !language || !ret_name)
        return EFI_INVALID_PARAMETER;
    /* A device driver has no children to name. */
    if (child || !language_is(language, english) || !bind_find_disk(controller))
        return EFI_UNSUPPORTED;
    *ret_name = disk_name;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI name_get_driver(EFI_COMPONENT_NAME_PROTOCOL *protocol, CHAR8 *language,
                                         CHAR16 **ret_name)
{
    (void)protocol;
    return get_driver_name(language, "eng", ret_name);
}

static EFI_STATUS EFIAPI name_get_controller(EFI_COMPONENT_NAME_PROTOCOL *protocol,
                                             EFI_HANDLE controller, EFI_HANDLE child,
                                             CHAR8 *language, CHAR16 **ret_name)
{
    (void)protocol;
    return get_controller_name(controller, child, language, "eng", ret_name);
}

static EFI_STATUS EFIAPI name2_get_driver(EFI_COMPONENT_NAME2_PROTOCOL *protocol, CHAR8 *language,
                                          CHAR16 **ret_name)
{
    (void)protocol;
    return get_driver_name(language, "en", ret_name);
}

static EFI_STATUS EFIAPI name2_get_controller(EFI_COMPONENT_NAME2_PROTOCOL *protocol,
                                              EFI_HANDLE controller, EFI_HANDLE child,
                                              CHAR8 *language, CHAR16 **ret_name)
{
    (void)protocol;
    return get_controller_name(controller, child, language, "en", ret_name);
}

EFI_COMPONENT_NAME_PROTOCOL component_name = {
    .GetDriverName = name_get_driver,
    .GetControllerName = name_get_controller,
    .SupportedLanguages = (CHAR8 *)"eng",
};

EFI_COMPONENT_NAME2_PROTOCOL component_name2 = {
    .GetDriverName = name2_get_driver,
    .GetControllerName = name2_get_controller,
    .SupportedLanguages = (CHAR8 *)"en",
};
