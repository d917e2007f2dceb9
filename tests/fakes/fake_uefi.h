/** @file
 * As much of the firmware as the parts of efi/ that are tested on the host need: the task priority
 * level, events and timers, pool memory, a console, one handle, a clock, and a file system of one contiguous
 * file above an EFI_BLOCK_IO_PROTOCOL, which reads whole blocks as the firmware's FAT driver does.
 * Spec:   UEFI 2.10, 7.1 Event, Timer, and Task Priority Services; 7.2 Memory Allocation Services;
 *         7.3 Protocol Handler Services; 13.5 File Protocol.
 */
#ifndef TESTS_FAKES_FAKE_UEFI_H
#define TESTS_FAKES_FAKE_UEFI_H

#include "efi/uefi.h"

/**
 * The level that RaiseTPL() and RestoreTPL() work on. Notification functions run when it is restored
 * to below theirs, and in SignalEvent() when it is below theirs already.
 */
extern EFI_TPL fake_uefi_tpl;

/** Events that exist now. One that does not exist any more fails the test when it is used. */
extern unsigned fake_uefi_events;

/** The CreateEvent(), or SetTimer(), that fails, counted from now (1: the next one); 0: none. */
extern unsigned fake_uefi_fail_event;
extern unsigned fake_uefi_fail_timer;

/** Calls of SignalEvent(), those of timers included. */
extern unsigned fake_uefi_signals;

/** Timers that are set now. */
unsigned fake_uefi_timers(void);

/** All timers that are set expire; those that are periodic stay set. */
void fake_uefi_tick(void);

/**
 * One round of WaitForEvent() in EDK2 that finds nothing: the group of the idle loop is signalled,
 * the latest event first, and the processor halts behind the notifications at TPL_NOTIFY.
 *
 * @param halt  what happens meanwhile; may be NULL
 */
void fake_uefi_idle(void (*halt)(void));

/** Number of messages that were printed as errors. */
extern unsigned fake_uefi_errors;

/** What was printed, errors as "error: DEVICE: PATH: text", in pieces; too much fails the test. */
#define FAKE_UEFI_CONSOLE_BYTES 8192u
struct fake_uefi_console {
    char text[FAKE_UEFI_CONSOLE_BYTES];
    size_t bytes;
    unsigned n_pieces;
    size_t longest_piece;
};
extern struct fake_uefi_console fake_uefi_console;

/** Pool memory that is allocated now; each new piece is full of rubbish. */
extern unsigned fake_uefi_pool_blocks;

/** The AllocatePool() that fails, counted from now (1: the next one); 0: none. */
extern unsigned fake_uefi_fail_pool;

/** What clock_now_us() says, and how often clock_relax() was called. */
extern uint64_t fake_uefi_now_us;
extern unsigned fake_uefi_relaxes;

/** The controller on which bind_find_disk() finds a disk, and what HandleProtocol() finds. */
extern EFI_HANDLE fake_uefi_disk_controller;
extern EFI_PCI_IO_PROTOCOL *fake_uefi_pci_io;

/** What InstallMultipleProtocolInterfaces() put onto its new handle: two protocols at most. */
struct fake_uefi_installed {
    EFI_HANDLE handle; /**< NULL: nothing is installed */
    EFI_GUID *guids[2];
    VOID *interfaces[2];
};
extern struct fake_uefi_installed fake_uefi_installed;

/** What the next InstallMultipleProtocolInterfaces() answers. */
extern EFI_STATUS fake_uefi_install_status;

/** Sets up BS and ST; at TPL_APPLICATION; everything above is zero again. */
void fake_uefi_init(void);

/** Its part in tests/fakes/fake_uefi_events.c. */
void fake_uefi_init_events(EFI_BOOT_SERVICES *services);

/** A file that begins at a block and is read from its start. */
struct fake_file {
    EFI_FILE_PROTOCOL protocol; /**< to be given to the code under test */
    EFI_BLOCK_IO_PROTOCOL *block_io;
    EFI_LBA first_block;
    UINT64 position;
    void (*before_read)(void); /**< called in front of and behind each ReadBlocks(); may be NULL */
    void (*after_read)(void);
};

void fake_file_init(struct fake_file *file, EFI_BLOCK_IO_PROTOCOL *block_io, EFI_LBA first_block);

#endif
