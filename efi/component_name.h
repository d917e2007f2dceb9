/** @file
 * The names that the UEFI shell shows for our driver and its controllers.
 * Spec:  UEFI 2.10, 11.5 EFI Component Name Protocol (version 2: languages as in RFC 4646).
 */
#ifndef EFI_COMPONENT_NAME_H
#define EFI_COMPONENT_NAME_H

#include "efi/uefi.h"

/** To be installed on the handle of the driver binding; constant for the firmware too. */
extern EFI_COMPONENT_NAME_PROTOCOL component_name;
extern EFI_COMPONENT_NAME2_PROTOCOL component_name2;

#endif
