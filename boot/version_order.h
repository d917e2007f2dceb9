/** @file
 * Which of two versions is the newer one.
 * Spec:      UAPI.10 Version Format Specification 1.0, Version Comparison.
 * Knows:     boot/text.h.
 * Trust:     any bytes of any length; numbers may have any number of digits.
 */
#ifndef BOOT_VERSION_ORDER_H
#define BOOT_VERSION_ORDER_H

#include "boot/text.h"

/**
 * Compare two versions. Different strings can be the same version ("1_" and "1").
 *
 * @param a  a version, or any string that contains one
 * @param b  the same
 * @return below 0 when a is older than b, 0 when they are the same version, above 0 when a is newer
 */
int version_order_compare(struct text_slice a, struct text_slice b);

#endif
