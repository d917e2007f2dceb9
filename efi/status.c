/* Contract and terms: efi/status.h. */

#include "efi/status.h"

static const struct {
    EFI_STATUS efi;
    const char *text;
} status_table[] = {
    [VIO_OK] = {EFI_SUCCESS, "success"},
    [VIO_ERR_INVALID] = {EFI_INVALID_PARAMETER, "invalid argument"},
    [VIO_ERR_RANGE] = {EFI_INVALID_PARAMETER, "beyond the end of the disk"},
    [VIO_ERR_READ_ONLY] = {EFI_WRITE_PROTECTED, "the disk is read-only"},
    [VIO_ERR_ABORTED] = {EFI_ABORTED, "the device was reset"},
    [VIO_ERR_NO_MEMORY] = {EFI_OUT_OF_RESOURCES, "out of memory"},
    [VIO_ERR_QUEUE_FULL] = {EFI_OUT_OF_RESOURCES, "the queue is full"},
    [VIO_ERR_NO_VECTOR] = {EFI_OUT_OF_RESOURCES, "the device refused an interrupt vector"},
    [VIO_EMPTY] = {EFI_NOT_READY, "nothing there yet"},
    [VIO_ERR_IO] = {EFI_DEVICE_ERROR, "I/O error"},
    [VIO_ERR_DEVICE] = {EFI_DEVICE_ERROR, "the device breaks the specification"},
    [VIO_ERR_QUEUE_BROKEN] = {EFI_DEVICE_ERROR, "the device broke its queue"},
    [VIO_ERR_TIMEOUT] = {EFI_TIMEOUT, "timeout"},
    [VIO_ERR_NEEDS_RESET] = {EFI_DEVICE_ERROR, "the device has failed"},
    [VIO_ERR_GONE] = {EFI_NO_MEDIA, "the device is gone"},
    [VIO_ERR_FEATURES_REFUSED] = {EFI_UNSUPPORTED, "the device refused our features"},
    [VIO_ERR_UNSUPPORTED] = {EFI_UNSUPPORTED, "not supported"},
};

EFI_STATUS status_to_efi(vio_status status)
{
    return status_table[status].efi;
}

const char *status_text(vio_status status)
{
    return status_table[status].text;
}
