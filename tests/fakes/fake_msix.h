/** @file
 * A PCI function with an MSI-X table in a BAR, and what it would send. What the specification forbids
 * fails the test: an access of another width than 32 bits, to a place outside of the table, to the
 * message of an entry that is not masked, or while MSI-X is disabled, for then some functions have no
 * table; and any write to configuration space but to the control words.
 * Spec:   PCI Local Bus 3.0, 6.8.2 MSI-X Capability and Table Structures; 6.2.2 Device Control.
 * Knows:  struct pci_function, tests/fakes/fake_log.h.
 */
#ifndef TESTS_FAKES_FAKE_MSIX_H
#define TESTS_FAKES_FAKE_MSIX_H

#include <stdbool.h>

#include "transports/pci_msix.h"

#define FAKE_MSIX_ENTRIES_MAX  2048u
#define FAKE_MSIX_BAR          1u
#define FAKE_MSIX_BAR_BASE     UINT64_C(0x500000000) /**< what the BAR's window begins with */
#define FAKE_MSIX_TABLE_OFFSET 0x800u
#define FAKE_MSIX_AT           0x98u /**< of the capability; another one stands before it */
#define FAKE_MSIX_BEFORE       0x84u

struct fake_msix {
    struct pci_function function; /**< to be given to the code under test */
    uint8_t config[PCI_CONFIG_BYTES];
    unsigned n_entries;
    uint32_t table[FAKE_MSIX_ENTRIES_MAX * 4];
    bool is_pending[FAKE_MSIX_ENTRIES_MAX];
    void (*on_message)(uint64_t address, uint32_t data); /**< of each that is sent; may be NULL */
    unsigned n_messages;
};

/** A function with so many entries, all masked and full of rubbish, MSI-X disabled. */
void fake_msix_init(struct fake_msix *fake, unsigned n_entries);

/** Its control word in configuration space. */
uint16_t fake_msix_control(const struct fake_msix *fake);
void fake_msix_set_control(struct fake_msix *fake, uint16_t control);

/** BIR and offset, as they stand in the capability. */
void fake_msix_set_table(struct fake_msix *fake, uint32_t value);

/** Whether an entry is masked, by itself. */
bool fake_msix_is_masked(const struct fake_msix *fake, unsigned entry);

/** The function wants to send an entry's message: does it, keeps it for later, or cannot at all. */
void fake_msix_raise(struct fake_msix *fake, unsigned entry);

#endif
