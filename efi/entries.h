/** @file
 * Finds the boot entry to use on the volumes of our disks.
 * Spec:      UAPI.1 Boot Loader Specification, Type #1 Boot Loader Specification Entries.
 * Knows:     boot/entry.h, efi/volume.h.
 * Ownership: a chosen entry points into its own text; entries_release() frees both.
 */
#ifndef EFI_ENTRIES_H
#define EFI_ENTRIES_H

#include "boot/entry.h"
#include "efi/uefi.h"
#include "efi/volume.h"

struct chosen_entry {
    const struct volume *volume;
    CHAR16 *file_name; /**< pool memory */
    char *text;        /**< the file, pool memory */
    struct boot_entry entry;
};

/**
 * Choose: on the first volume that has a usable entry, the one whose file name sorts first. An entry
 * that cannot be used is passed over with a line that says why.
 *
 * @param list       in order of preference; outlives the choice
 * @param wanted     file name to choose instead, with or without ".conf"; empty for any
 * @param ret_entry  to be released; written only on success
 * @return EFI_SUCCESS; EFI_NOT_FOUND, reported
 */
EFI_STATUS entries_choose(const struct volume_list *list, struct text_slice wanted,
                          struct chosen_entry *ret_entry);

/** Accepts a zeroed entry. */
void entries_release(struct chosen_entry *entry);

#endif
