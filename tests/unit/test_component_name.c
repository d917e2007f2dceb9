/* What the driver, its controllers and its disks are called. */

#include "efi/component_name.h"
#include "efi/device_name.h"
#include "tests/fakes/fake_pci_io.h"
#include "tests/fakes/fake_uefi.h"
#include "tests/fakes/testing.h"

static char driven, not_driven, child;

#define DRIVEN     ((EFI_HANDLE)&driven)
#define NOT_DRIVEN ((EFI_HANDLE)&not_driven)
#define CHILD      ((EFI_HANDLE)&child)

static int set_up(void **state)
{
    (void)state;
    fake_uefi_init();
    fake_uefi_disk_controller = DRIVEN;
    return 0;
}

static void assert_text(const CHAR16 *text, const char *expected)
{
    size_t at = 0;

    do {
        assert_int_equal(text[at], expected[at]);
    } while (expected[at++]);
}

/* The two protocols by version: they differ in nothing but the form of their languages. */
static EFI_STATUS ask_driver(unsigned version, const char *language, CHAR16 **ret_name)
{
    return version == 1
               ? component_name.GetDriverName(&component_name, (CHAR8 *)language, ret_name)
               : component_name2.GetDriverName(&component_name2, (CHAR8 *)language, ret_name);
}

static EFI_STATUS ask_controller(unsigned version, EFI_HANDLE controller, EFI_HANDLE child_handle,
                                 const char *language, CHAR16 **ret_name)
{
    return version == 1
               ? component_name.GetControllerName(&component_name, controller, child_handle,
                                                  (CHAR8 *)language, ret_name)
               : component_name2.GetControllerName(&component_name2, controller, child_handle,
                                                   (CHAR8 *)language, ret_name);
}

static void given_supported_languages_when_asked_for_names_then_the_names(void **state)
{
    const char *const languages[] = {(const char *)component_name.SupportedLanguages,
                                     (const char *)component_name2.SupportedLanguages};

    (void)state;
    assert_string_equal(languages[0], "eng");
    assert_string_equal(languages[1], "en");
    for (unsigned version = 1; version <= 2; version++) {
        CHAR16 *driver = NULL, *controller = NULL;

        EFI_STATUS asked = ask_driver(version, languages[version - 1], &driver);
        assert_int_equal(asked, EFI_SUCCESS);
        asked = ask_controller(version, DRIVEN, NULL, languages[version - 1], &controller);
        assert_int_equal(asked, EFI_SUCCESS);

        assert_text(driver, "virtio driver (virtboot)");
        assert_text(controller, "virtio block device");
    }
}

static void given_other_languages_when_asked_for_names_then_unsupported(void **state)
{
    static const struct {
        unsigned version;
        const char *language;
    } cases[] = {
        {1, "en"}, {1, "engl"}, {1, "Eng"}, {1, "eng;"}, {1, "deu"},   {1, "xx"}, {1, ""},
        {2, "e"},  {2, "eng"},  {2, "EN"},  {2, "en;"},  {2, "en-US"}, {2, "xx"}, {2, ""},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        CHAR16 untouched[] = L"?", *name = untouched;

        EFI_STATUS driver = ask_driver(cases[i].version, cases[i].language, &name);
        EFI_STATUS controller =
            ask_controller(cases[i].version, DRIVEN, NULL, cases[i].language, &name);

        assert_int_equal(driver, EFI_UNSUPPORTED);
        assert_int_equal(controller, EFI_UNSUPPORTED);
        assert_ptr_equal(name, untouched);
    }
}

static void given_short_language_when_asked_for_name_then_nothing_behind_it_is_read(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        char *language = strdup("e");
        CHAR16 *name = NULL;

        EFI_STATUS status = ask_driver(version, language, &name);

        free(language);
        assert_int_equal(status, EFI_UNSUPPORTED);
    }
}

static void given_null_pointers_when_asked_for_names_then_invalid_parameter(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        const char *language = version == 1 ? "eng" : "en";
        CHAR16 untouched[] = L"?", *name = untouched;

        EFI_STATUS driver = ask_driver(version, language, NULL);
        EFI_STATUS controller = ask_controller(version, DRIVEN, NULL, language, NULL);
        EFI_STATUS no_controller = ask_controller(version, NULL, NULL, language, &name);

        EFI_STATUS no_language = ask_driver(version, NULL, &name);
        EFI_STATUS no_controller_language = ask_controller(version, DRIVEN, NULL, NULL, &name);

        assert_int_equal(no_language, EFI_INVALID_PARAMETER);
        assert_int_equal(no_controller_language, EFI_INVALID_PARAMETER);
        assert_int_equal(driver, EFI_INVALID_PARAMETER);
        assert_int_equal(controller, EFI_INVALID_PARAMETER);
        assert_int_equal(no_controller, EFI_INVALID_PARAMETER);
        assert_ptr_equal(name, untouched);
    }
}

static void given_child_or_other_controller_when_asked_for_its_name_then_unsupported(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        const char *language = version == 1 ? "eng" : "en";
        CHAR16 untouched[] = L"?", *name = untouched;

        EFI_STATUS with_child = ask_controller(version, DRIVEN, CHILD, language, &name);
        EFI_STATUS other = ask_controller(version, NOT_DRIVEN, NULL, language, &name);

        assert_int_equal(with_child, EFI_UNSUPPORTED);
        assert_int_equal(other, EFI_UNSUPPORTED);
        assert_ptr_equal(name, untouched);
    }
}

static void given_places_on_the_bus_when_disks_are_named_then_type_and_place(void **state)
{
    static const struct {
        UINTN location[4];
        const char *name;
    } cases[] = {
        {{0, 0, 3, 0}, "virtio-blk 0000:00:03.0"},
        {{1, 2, 0x1f, 7}, "virtio-blk 0001:02:1F.7"},
        {{0xffff, 0xfe, 0x10, 5}, "virtio-blk FFFF:FE:10.5"},
    };
    struct fake_pci_io pci_io;

    (void)state;
    fake_pci_io_init(&pci_io);
    fake_uefi_pci_io = &pci_io.protocol;
    for (unsigned i = 0; i < ARRAY_LENGTH(cases); i++) {
        CHAR16 name[DEVICE_NAME_UNITS], name_of_handle[DEVICE_NAME_UNITS];
        memcpy(pci_io.location, cases[i].location, sizeof(pci_io.location));

        device_name_make(&pci_io.protocol, name);
        device_name_of(DRIVEN, name_of_handle);

        assert_text(name, cases[i].name);
        assert_text(name_of_handle, cases[i].name);
    }
}

static void given_handle_without_pci_io_when_disk_is_named_then_type_only(void **state)
{
    CHAR16 name[DEVICE_NAME_UNITS];

    (void)state;
    device_name_of(DRIVEN, name);

    assert_text(name, "virtio-blk");
}

#define NAME_TEST(test) cmocka_unit_test_setup(test, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NAME_TEST(given_supported_languages_when_asked_for_names_then_the_names),
        NAME_TEST(given_other_languages_when_asked_for_names_then_unsupported),
        NAME_TEST(given_short_language_when_asked_for_name_then_nothing_behind_it_is_read),
        NAME_TEST(given_null_pointers_when_asked_for_names_then_invalid_parameter),
        NAME_TEST(given_child_or_other_controller_when_asked_for_its_name_then_unsupported),
        NAME_TEST(given_places_on_the_bus_when_disks_are_named_then_type_and_place),
        NAME_TEST(given_handle_without_pci_io_when_disk_is_named_then_type_only),
    };

    return cmocka_run_group_tests_name("component_name", tests, NULL, NULL);
}
