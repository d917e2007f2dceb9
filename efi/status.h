/** @file
 * From the results of the lower layers to UEFI's, and to words.
 * Spec:  UEFI 2.10, Appendix D Status Codes.
 * Knows: core/status.h.
 */
#ifndef EFI_STATUS_H
#define EFI_STATUS_H

#include "core/status.h"
#include "efi/uefi.h"

/** The status that a UEFI caller gets for a result of core/, transports/ or devices/. */
EFI_STATUS status_to_efi(vio_status status);

/** The same in English, a constant. */
const char *status_text(vio_status status);

#endif
