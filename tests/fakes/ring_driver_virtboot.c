/* Contract and terms: tests/fakes/ring_driver_virtboot.h. */

#include "tests/fakes/ring_driver_virtboot.h"

#include "core/mem.h"
#include "tests/fakes/testing.h"

struct virtboot_ring {
    struct virtqueue vq;
    struct vio_transport transport;
    struct ring_setup setup;
};

#define VIRTBOOT_BUFFERS_ON_STACK 32u

static struct virtqueue *queue_of(void *driver)
{
    return &((struct virtboot_ring *)driver)->vq;
}

static void virtboot_notify(void *context, uint16_t index, uint16_t avail_idx)
{
    struct virtboot_ring *self = context;

    (void)index;
    (void)avail_idx;
    self->setup.notified(self->setup.context);
}

/* All else is missing: the queue calls nothing but notify, or the test program ends here. */
static const struct vio_transport_ops virtboot_transport_ops = {.notify = virtboot_notify};

static void *virtboot_make(void)
{
    struct virtboot_ring *self = malloc(sizeof(*self));

    if (self)
        memset(self, 0xA5, sizeof(*self));
    return self;
}

static vio_status virtboot_init(void *driver, const struct ring_setup *setup)
{
    struct virtboot_ring *self = driver;
    const struct virtqueue_config config = {
        .transport = &self->transport,
        .size = setup->size,
        .features = setup->features,
        .rings = &setup->rings,
        .shadow = setup->private_memory,
        .indirect = &setup->tables,
        .indirect_entries = setup->table_entries,
        .direct_max = setup->direct_max,
    };

    self->setup = *setup;
    self->transport = (struct vio_transport){.ops = &virtboot_transport_ops, .context = self};
    return virtqueue_init(&self->vq, &config);
}

static void virtboot_addresses(void *driver, struct virtqueue_addresses *ret_addresses)
{
    *ret_addresses = virtqueue_addresses(queue_of(driver));
}

void ring_driver_age_queue(struct virtqueue *vq, uint16_t n_chains)
{
    vq->n_added = vq->n_published = vq->n_notified = vq->n_used = n_chains;
    ring_store16(&vq->avail->idx, n_chains);
    virtqueue_disable_callbacks(vq);
}

static void virtboot_age(void *driver, uint16_t n_chains)
{
    ring_driver_age_queue(queue_of(driver), n_chains);
}

static vio_status virtboot_add(void *driver, const struct ring_buffer *bufs, unsigned n_bufs,
                               void *cookie)
{
    struct vio_buffer some[VIRTBOOT_BUFFERS_ON_STACK];
    struct vio_buffer *copies =
        n_bufs > ARRAY_LENGTH(some) ? calloc(n_bufs, sizeof(*copies)) : some;

    assert_non_null(copies);
    for (unsigned i = 0; i < n_bufs; i++)
        copies[i] = (struct vio_buffer){
            .addr = bufs[i].addr, .len = bufs[i].len, .device_writable = bufs[i].device_writable};
    vio_status status = virtqueue_add(queue_of(driver), copies, n_bufs, cookie);
    if (copies != some)
        free(copies);
    return status;
}

static void virtboot_publish(void *driver)
{
    virtqueue_publish(queue_of(driver));
}

static bool virtboot_notify_device(void *driver)
{
    return virtqueue_notify(queue_of(driver));
}

static vio_status virtboot_pop(void *driver, void **ret_cookie, uint32_t *ret_len)
{
    return virtqueue_pop_used(queue_of(driver), ret_cookie, ret_len);
}

static bool virtboot_has_used(void *driver)
{
    return virtqueue_has_used(queue_of(driver));
}

static bool virtboot_interrupt(void *driver)
{
    return virtqueue_used_interrupt(queue_of(driver));
}

static bool virtboot_enable_callbacks(void *driver, uint16_t n_chains)
{
    return virtqueue_enable_callbacks_after(queue_of(driver), n_chains);
}

static void virtboot_disable_callbacks(void *driver)
{
    virtqueue_disable_callbacks(queue_of(driver));
}

static bool virtboot_drain(void *driver, void **ret_cookie)
{
    return virtqueue_drain(queue_of(driver), ret_cookie);
}

static enum ring_fault virtboot_fault(void *driver, const char **ret_text, uint64_t *ret_value)
{
    static const enum ring_fault faults[] = {
        [VIRTQUEUE_FAULT_NONE] = RING_FAULT_NONE,
        [VIRTQUEUE_FAULT_USED_IDX] = RING_FAULT_USED_IDX,
        [VIRTQUEUE_FAULT_ID_RANGE] = RING_FAULT_ID_RANGE,
        [VIRTQUEUE_FAULT_ID_NOT_HEAD] = RING_FAULT_ID_NOT_HEAD,
        [VIRTQUEUE_FAULT_LEN] = RING_FAULT_LEN,
        [VIRTQUEUE_FAULT_ORDER] = RING_FAULT_ORDER,
    };
    const struct virtqueue *vq = queue_of(driver);

    *ret_text = virtqueue_fault_text(vq, ret_value);
    return faults[virtqueue_fault(vq)];
}

static uint16_t virtboot_free_descriptors(void *driver)
{
    return virtqueue_free_descriptors(queue_of(driver));
}

static uint16_t virtboot_in_flight(void *driver)
{
    return virtqueue_in_flight(queue_of(driver));
}

const struct ring_driver ring_driver_virtboot = {
    .ring_bytes = virtqueue_ring_bytes,
    .table_bytes = virtqueue_indirect_bytes,
    .private_bytes = virtqueue_shadow_bytes,
    .make = virtboot_make,
    .destroy = free,
    .init = virtboot_init,
    .addresses = virtboot_addresses,
    .age = virtboot_age,
    .add = virtboot_add,
    .publish = virtboot_publish,
    .notify = virtboot_notify_device,
    .pop = virtboot_pop,
    .has_used = virtboot_has_used,
    .interrupt = virtboot_interrupt,
    .enable_callbacks = virtboot_enable_callbacks,
    .disable_callbacks = virtboot_disable_callbacks,
    .drain = virtboot_drain,
    .fault = virtboot_fault,
    .free_descriptors = virtboot_free_descriptors,
    .in_flight = virtboot_in_flight,
};
