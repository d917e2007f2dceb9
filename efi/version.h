/** @file
 * The version of virtboot.efi and virtio.efi.
 */
#ifndef EFI_VERSION_H
#define EFI_VERSION_H

#define VIRTBOOT_VERSION L"0.1.0"

#endif
