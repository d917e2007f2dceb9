/* Contract and terms: tests/bench/bench.h. */

#include "tests/bench/bench.h"

#define TRIES     200u
#define MAP_BYTES 4096u

/* What the calls that are measured work on. */
struct costs {
    EFI_PCI_IO_PROTOCOL *pci_io;
    EFI_EVENT event;
    VOID *buffer;
    UINT8 bar; /**< that can be read */
};

static void cost_nothing(struct costs *costs)
{
    (void)costs;
}

static void cost_tpl(struct costs *costs)
{
    (void)costs;
    BS->RestoreTPL(BS->RaiseTPL(TPL_NOTIFY));
}

static void cost_signal(struct costs *costs)
{
    (void)BS->SignalEvent(costs->event); /* always EFI_SUCCESS */
}

static void cost_signal_check(struct costs *costs)
{
    (void)BS->SignalEvent(costs->event); /* always EFI_SUCCESS */
    (void)BS->CheckEvent(costs->event);  /* as it was just signalled */
}

static void cost_map(struct costs *costs)
{
    EFI_PCI_IO_PROTOCOL *pci_io = costs->pci_io;
    EFI_PHYSICAL_ADDRESS address;
    UINTN bytes = MAP_BYTES;
    VOID *mapping;

    if (!EFI_ERROR(pci_io->Map(pci_io, EfiPciIoOperationBusMasterWrite, costs->buffer, &bytes,
                               &address, &mapping)))
        (void)pci_io->Unmap(pci_io, mapping); /* it was mapped */
}

static void cost_register(struct costs *costs)
{
    uint16_t value;

    /* bar was tried */
    (void)costs->pci_io->Mem.Read(costs->pci_io, EfiPciIoWidthUint16, costs->bar, 0, 1, &value);
}

static void print_cost(const char *name, EFI_TPL tpl, void (*call)(struct costs *),
                       struct costs *costs)
{
    uint64_t least = UINT64_MAX;

    EFI_TPL old_tpl = BS->RaiseTPL(tpl);
    for (unsigned i = 0; i < TRIES; i++) {
        uint64_t begin = bench_now();
        call(costs);
        uint64_t ticks = bench_now() - begin;
        if (ticks < least)
            least = ticks;
    }
    BS->RestoreTPL(old_tpl);
    Print(L"bench: cost %a%a %ld\n", name, tpl == TPL_NOTIFY ? "@TPL_NOTIFY" : "", least);
}

static UINT8 find_bar(EFI_PCI_IO_PROTOCOL *pci_io)
{
    uint16_t value;
    UINT8 bar = 0;

    while (bar < 6 && EFI_ERROR(pci_io->Mem.Read(pci_io, EfiPciIoWidthUint16, bar, 0, 1, &value)))
        bar++;
    return bar;
}

static void print_floor(void)
{
    UINT64 ring, token;

    bench_floor(&ring, &token);
    if (ring)
        Print(L"bench: cost ring %ld\n", ring);
    if (token)
        Print(L"bench: cost bare-token %ld\n", token);
}

void bench_costs(EFI_PCI_IO_PROTOCOL *pci_io)
{
    struct costs costs = {.pci_io = pci_io, .bar = find_bar(pci_io)};

    print_floor();
    if (EFI_ERROR(BS->CreateEvent(0, 0, NULL, NULL, &costs.event)))
        return;
    if (!EFI_ERROR(BS->AllocatePool(EfiBootServicesData, MAP_BYTES, &costs.buffer))) {
        print_cost("nothing", TPL_APPLICATION, cost_nothing, &costs);
        print_cost("RaiseTPL+RestoreTPL", TPL_APPLICATION, cost_tpl, &costs);
        print_cost("RaiseTPL+RestoreTPL", TPL_NOTIFY, cost_tpl, &costs);
        print_cost("SignalEvent", TPL_APPLICATION, cost_signal, &costs);
        print_cost("SignalEvent", TPL_NOTIFY, cost_signal, &costs);
        print_cost("SignalEvent+CheckEvent", TPL_APPLICATION, cost_signal_check, &costs);
        print_cost("Map+Unmap", TPL_APPLICATION, cost_map, &costs);
        print_cost("Mem.Read", TPL_APPLICATION, cost_register, &costs);
        (void)BS->FreePool(costs.buffer); /* allocated above */
    }
    (void)BS->CloseEvent(costs.event); /* created above */
}
