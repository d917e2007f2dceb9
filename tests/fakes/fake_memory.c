/* Contract and terms: tests/fakes/fake_memory.h. */

#include "tests/fakes/fake_memory.h"

#include "tests/fakes/fake_log.h"

static fake_memory_callback fake_callback;
static void *fake_callback_context;

void fake_memory_before_access(fake_memory_callback callback, void *context)
{
    fake_callback = callback;
    fake_callback_context = context;
}

static const struct {
    enum fake_event_kind kind;
    unsigned width_bytes;
} fake_accesses[] = {
    [VIO_MEM_LOAD8] = {FAKE_LOAD, 1},
    [VIO_MEM_LOAD16] = {FAKE_LOAD, 2},
    [VIO_MEM_LOAD32] = {FAKE_LOAD, 4},
    [VIO_MEM_STORE8] = {FAKE_STORE, 1},
    [VIO_MEM_STORE16] = {FAKE_STORE, 2},
    [VIO_MEM_STORE32] = {FAKE_STORE, 4},
    [VIO_MEM_STORE64] = {FAKE_STORE, 8},
    [VIO_MEM_WMB] = {FAKE_WMB, 0},
    [VIO_MEM_RMB] = {FAKE_RMB, 0},
    [VIO_MEM_MB] = {FAKE_MB, 0},
    [VIO_MEM_DEVICE_WMB] = {FAKE_DEVICE_WMB, 0},
    [VIO_MEM_DEVICE_RMB] = {FAKE_DEVICE_RMB, 0},
    [VIO_MEM_DEVICE_MB] = {FAKE_DEVICE_MB, 0},
};

void vio_mem_hook(enum vio_mem_access access, const void *where)
{
    fake_log_add((struct fake_event){
        .kind = fake_accesses[access].kind,
        .width_bytes = fake_accesses[access].width_bytes,
        .where = where,
    });
    if (fake_callback)
        fake_callback(fake_callback_context, access, where);
}
