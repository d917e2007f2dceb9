/** @file
 * From a file to a started image.
 * Spec:      UEFI 2.10, 7.4 Image Services: LoadImage(), StartImage(); the Secure Boot policy is the
 *            firmware's, applied by LoadImage() to the memory that it is given.
 * Knows:     boot/bzimage.h, boot/pe.h, efi/volume.h.
 * Errors:    reported here, once.
 */
#ifndef EFI_IMAGE_H
#define EFI_IMAGE_H

#include "efi/uefi.h"
#include "efi/volume.h"

/**
 * Read an image, check its headers, and let the firmware load it. The file is read once; what was
 * checked is what is loaded. A Linux kernel is refused if no piece of free memory is as large as its
 * header says: its stub may not look.
 *
 * @param parent        our image
 * @param file          open
 * @param extra_bytes   memory that will be needed besides: checked before anything is read
 * @param ret_image     to be started, or unloaded; written only on success
 * @return EFI_SUCCESS; EFI_OUT_OF_RESOURCES, EFI_LOAD_ERROR (no image that can be started),
 *         EFI_ACCESS_DENIED or EFI_SECURITY_VIOLATION (Secure Boot), or what the file system said
 */
EFI_STATUS image_load(EFI_HANDLE parent, const struct volume_file *file, UINT64 extra_bytes,
                      EFI_HANDLE *ret_image);

/**
 * Give an image its command line.
 *
 * @param image    from image_load()
 * @param options  stays allocated while the image runs; its terminator counts
 */
EFI_STATUS image_set_options(EFI_HANDLE image, CHAR16 *options);

#endif
