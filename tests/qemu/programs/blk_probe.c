/** @file
 * Uses the virtio disks through the protocols on their PCI functions, as its command line says, and
 * prints one line for each thing done.
 *
 * usage, in the UEFI shell: blk_probe.efi DISK COMMAND...
 *
 * DISK is a PCI address as 00:10.0, or its beginning, or "all". Each disk gets all the commands:
 *
 *   media                   what EFI_BLOCK_IO_MEDIA says
 *   checksum, checksum2     read everything, with EFI_BLOCK_IO or with tokens of EFI_BLOCK_IO2
 *   read LBA BLOCKS         read once; read2 with a token
 *   reads COUNT BLOCKS      COUNT times, to the beginning, so that no driver takes it for a stream
 *   stream COUNT BLOCKS     COUNT times, from the beginning
 *   quiet COUNT BLOCKS      COUNT times, backwards, with one line for all: what the processor does is
 *                           the driver's doing, and so the buffer is not filled before
 *   keep COUNT BLOCKS DEPTH as quiet, with DEPTH tokens, each started again as soon as it has ended
 *   write LBA BLOCKS SEED   write what fill() makes of the seed; write2 with a token
 *   flush, flush2, reset
 *   many LBA BLOCKS COUNT   start COUNT reads with tokens, and only then look for their ends
 *   took                    how many ticks of the processor's clock the command before took
 *   say NUMBER              print the number, for who waits for it
 *   id NUMBER               media id of the commands that follow; 0: what the media says
 *   watch SECONDS           wait until the media is another, or the disk is gone
 *   volumes                 how many file systems are on the disk
 *   erase LBA BLOCKS        EFI_ERASE_BLOCK_PROTOCOL
 *   identify                EFI_DISK_INFO_PROTOCOL.Identify()
 *
 * The buffer of any other read is filled before it, so that what never came is not taken for data.
 */

#include <efi.h>
#include <efilib.h>

#include "tests/qemu/programs/crc32.h"

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

#define BUFFER_BYTES   (16u * 1024 * 1024)
#define TOKENS_MAX     16u
#define DEPTH_MAX      32u
#define STALE          0xa5
#define NUMBERS_MAX    3u
#define TOKEN_LIMIT_MS 200000u
#define WATCH_STEP_US  10000u
#define MS_PER_TICKS   10000u /* EFI timers count in 100 ns */
#define IDENTIFY_BYTES 64u

/* What GNU-EFI 3.0.15 lacks: UEFI 2.10, 13.12 Erase Block; PI 1.7, Disk Info. */
typedef struct erase_block_protocol {
    UINT64 Revision;
    UINT32 EraseLengthGranularity;
    EFI_STATUS(EFIAPI *EraseBlocks)
    (struct erase_block_protocol *, UINT32 media_id, EFI_LBA lba, EFI_BLOCK_IO2_TOKEN *token,
     UINTN bytes);
} erase_block_protocol;

typedef struct disk_info_protocol {
    EFI_GUID Interface;
    EFI_STATUS(EFIAPI *Inquiry)(struct disk_info_protocol *, VOID *data, UINT32 *bytes);
    EFI_STATUS(EFIAPI *Identify)(struct disk_info_protocol *, VOID *data, UINT32 *bytes);
    EFI_STATUS(EFIAPI *SenseData)
    (struct disk_info_protocol *, VOID *data, UINT32 *bytes, UINT8 *number);
    EFI_STATUS(EFIAPI *WhichIde)(struct disk_info_protocol *, UINT32 *channel, UINT32 *device);
} disk_info_protocol;

/* From the PI specification, volume 2, 12.3 CPU Architectural Protocol. */
typedef struct cpu_arch_protocol {
    VOID *others[6];
    EFI_STATUS(EFIAPI *GetTimerValue)
    (struct cpu_arch_protocol *, UINT32 timer, UINT64 *ret_ticks, UINT64 *ret_period_fs);
} cpu_arch_protocol;

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static EFI_GUID block_io2_guid = EFI_BLOCK_IO2_PROTOCOL_GUID;
static EFI_GUID erase_block_guid = {
    0x95a9a93e, 0xa86e, 0x4926, {0xaa, 0xef, 0x99, 0x18, 0xe7, 0x72, 0xd9, 0x87}};
static EFI_GUID cpu_arch_guid = {
    0x26baccb1, 0x6f42, 0x11d4, {0xbc, 0xe7, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}};
static EFI_GUID disk_info_guid = {
    0xd432a67f, 0x14dc, 0x484b, {0xb3, 0xbb, 0x3f, 0x02, 0x91, 0x84, 0x93, 0x27}};

/* One disk, looked up anew for each command: a command may be what makes it go. */
struct disk {
    EFI_HANDLE handle;
    CHAR16 name[16];
    UINT32 media_id; /* 0: what the media says */
    EFI_BLOCK_IO *block_io;
    EFI_BLOCK_IO2_PROTOCOL *block_io2; /* NULL if there is none */
};

struct command {
    const CHAR16 *name;
    unsigned n_numbers;
    EFI_STATUS (*run)(struct disk *disk, const UINT64 *numbers);
};

static UINT8 *buffer;
static UINT64 last_ticks;

/* What is written: probe.py makes the same of the same seed. */
static void fill(UINT8 *data, UINTN n_bytes, UINT64 seed)
{
    for (UINTN i = 0; i < n_bytes; i++)
        data[i] = (UINT8)(seed + 7 * i + (i >> 8));
}

static UINT32 media_id(const struct disk *disk)
{
    return disk->media_id ? disk->media_id : disk->block_io->Media->MediaId;
}

static UINTN block_bytes(const struct disk *disk)
{
    return disk->block_io->Media->BlockSize;
}

/* --- Tokens ---------------------------------------------------------------------------------- */

/* A token whose end nobody tells would be a test that hangs, so the wait has an end of its own. */
static EFI_STATUS token_wait(EFI_BLOCK_IO2_TOKEN *token)
{
    EFI_EVENT events[2] = {token->Event, NULL};
    UINTN which = 1;

    EFI_STATUS status = BS->CreateEvent(EVT_TIMER, 0, NULL, NULL, &events[1]);
    if (EFI_ERROR(status))
        return status;
    status = BS->SetTimer(events[1], TimerRelative, (UINT64)TOKEN_LIMIT_MS * MS_PER_TICKS);
    if (!EFI_ERROR(status))
        status = BS->WaitForEvent(2, events, &which);
    (void)BS->CloseEvent(events[1]);
    if (EFI_ERROR(status))
        return status;
    return which == 0 ? token->TransactionStatus : EFI_TIMEOUT;
}

static EFI_STATUS token_open(EFI_BLOCK_IO2_TOKEN *token)
{
    *token = (EFI_BLOCK_IO2_TOKEN){.TransactionStatus = EFI_NOT_READY};
    return BS->CreateEvent(0, 0, NULL, NULL, &token->Event);
}

/* Not closed after a time-out: the driver may still signal it. */
static EFI_STATUS token_finish(EFI_BLOCK_IO2_TOKEN *token, EFI_STATUS started)
{
    EFI_STATUS status = EFI_ERROR(started) ? started : token_wait(token);

    if (status != EFI_TIMEOUT)
        (void)BS->CloseEvent(token->Event);
    return status;
}

/* --- Reading --------------------------------------------------------------------------------- */

static EFI_STATUS report_data(const struct disk *disk, const CHAR16 *what, EFI_STATUS status,
                              UINTN n_bytes)
{
    UINT32 crc = EFI_ERROR(status) ? 0 : ~crc_add(0xffffffffu, buffer, n_bytes);

    Print(L"blk-probe: %s %s: %r %ld bytes crc32 %08x\n", disk->name, what, status, n_bytes, crc);
    return status;
}

static EFI_STATUS read_piece(const struct disk *disk, EFI_LBA lba, UINTN n_bytes, UINT8 *data)
{
    SetMem(data, n_bytes, STALE);
    return disk->block_io->ReadBlocks(disk->block_io, media_id(disk), lba, n_bytes, data);
}

static EFI_STATUS run_read(struct disk *disk, const UINT64 *numbers)
{
    UINTN n_bytes = numbers[1] * block_bytes(disk);

    EFI_STATUS status = n_bytes > BUFFER_BYTES ? EFI_OUT_OF_RESOURCES
                                               : read_piece(disk, numbers[0], n_bytes, buffer);
    return report_data(disk, L"read", status, n_bytes);
}

static EFI_STATUS run_reads(struct disk *disk, const UINT64 *numbers)
{
    EFI_STATUS status = EFI_SUCCESS;

    for (UINT64 i = numbers[0]; i > 0; i--) {
        EFI_STATUS ended = run_read(disk, (UINT64[]){(i - 1) * numbers[1], numbers[1]});
        if (EFI_ERROR(ended))
            status = ended;
    }
    return status;
}

static EFI_STATUS run_stream(struct disk *disk, const UINT64 *numbers)
{
    EFI_STATUS status = EFI_SUCCESS;

    for (UINT64 i = 0; i < numbers[0]; i++) {
        EFI_STATUS ended = run_read(disk, (UINT64[]){i * numbers[1], numbers[1]});
        if (EFI_ERROR(ended))
            status = ended;
    }
    return status;
}

static EFI_STATUS report_count(const struct disk *disk, const CHAR16 *what, EFI_STATUS status,
                               UINT64 n_reads)
{
    Print(L"blk-probe: %s %s: %r %ld reads\n", disk->name, what, status, n_reads);
    return status;
}

/* Nothing but the reads: what else the processor did would be taken for the driver's work. */
static EFI_STATUS run_quiet(struct disk *disk, const UINT64 *numbers)
{
    UINTN n_bytes = numbers[1] * block_bytes(disk);
    EFI_STATUS status = EFI_SUCCESS;
    UINT64 n_left = n_bytes > BUFFER_BYTES ? 0 : numbers[0];

    for (; n_left && !EFI_ERROR(status); n_left--)
        status = disk->block_io->ReadBlocks(disk->block_io, media_id(disk),
                                            (n_left - 1) * numbers[1], n_bytes, buffer);
    return report_count(disk, L"quiet", status, numbers[0] - n_left);
}

static EFI_STATUS start_read2(const struct disk *disk, EFI_BLOCK_IO2_TOKEN *token, EFI_LBA lba,
                              UINTN n_bytes, UINT8 *data)
{
    SetMem(data, n_bytes, STALE);
    EFI_STATUS status = token_open(token);
    if (EFI_ERROR(status))
        return status;
    return disk->block_io2->ReadBlocksEx(disk->block_io2, media_id(disk), lba, token, n_bytes,
                                         data);
}

static EFI_STATUS run_read2(struct disk *disk, const UINT64 *numbers)
{
    UINTN n_bytes = numbers[1] * block_bytes(disk);
    EFI_BLOCK_IO2_TOKEN token;

    if (!disk->block_io2 || n_bytes > BUFFER_BYTES)
        return report_data(disk, L"read2", EFI_UNSUPPORTED, n_bytes);
    EFI_STATUS started = start_read2(disk, &token, numbers[0], n_bytes, buffer);
    return report_data(disk, L"read2", token_finish(&token, started), n_bytes);
}

/* A piece of the whole disk: as long as the rest of it allows. */
static UINTN piece_bytes(const struct disk *disk, EFI_LBA lba, UINTN most)
{
    UINTN block = block_bytes(disk);
    UINTN n_blocks = block < most ? most / block : 1;
    UINT64 left = disk->block_io->Media->LastBlock + 1 - lba;

    return (left < n_blocks ? left : n_blocks) * block;
}

static EFI_STATUS report_checksum(const struct disk *disk, const CHAR16 *what, EFI_STATUS status,
                                  UINT64 n_bytes, UINT32 crc)
{
    Print(L"blk-probe: %s %s: %r %ld bytes crc32 %08x\n", disk->name, what, status, n_bytes,
          EFI_ERROR(status) ? 0 : ~crc);
    return status;
}

static EFI_STATUS run_checksum(struct disk *disk, const UINT64 *numbers)
{
    UINT64 n_blocks = disk->block_io->Media->LastBlock + 1;
    EFI_STATUS status = EFI_SUCCESS;
    UINT32 crc = 0xffffffffu;
    EFI_LBA lba = 0;

    (void)numbers;
    while (lba < n_blocks) {
        UINTN n_bytes = piece_bytes(disk, lba, BUFFER_BYTES);
        status = read_piece(disk, lba, n_bytes, buffer);
        if (EFI_ERROR(status))
            break;
        crc = crc_add(crc, buffer, n_bytes);
        lba += n_bytes / block_bytes(disk);
    }
    return report_checksum(disk, L"checksum", status, lba * block_bytes(disk), crc);
}

/* A place in the buffer, and what is on its way into it. */
struct flight {
    EFI_BLOCK_IO2_TOKEN token;
    EFI_STATUS started;
    EFI_LBA lba;
    UINTN n_bytes;
    UINT8 *data;
};

/* Starts reads until all tokens are in flight, and ends them in the same order. */
static EFI_STATUS run_checksum2(struct disk *disk, const UINT64 *numbers)
{
    struct flight flights[TOKENS_MAX];
    UINT64 n_blocks = disk->block_io->Media->LastBlock + 1;
    UINTN most = BUFFER_BYTES / TOKENS_MAX / 16;
    EFI_STATUS status = EFI_SUCCESS;
    UINT32 crc = 0xffffffffu;
    EFI_LBA lba = 0;
    UINTN n_started = 0, n_ended = 0;

    (void)numbers;
    if (!disk->block_io2)
        return report_checksum(disk, L"checksum2", EFI_UNSUPPORTED, 0, crc);
    UINTN n_tokens = block_bytes(disk) > BUFFER_BYTES / TOKENS_MAX ? 2 : TOKENS_MAX;
    while (n_ended < n_started || (lba < n_blocks && !EFI_ERROR(status))) {
        while (lba < n_blocks && n_started - n_ended < n_tokens && !EFI_ERROR(status)) {
            struct flight *next = &flights[n_started % n_tokens];
            next->lba = lba;
            next->n_bytes = piece_bytes(disk, lba, most);
            next->data = buffer + n_started % n_tokens * (BUFFER_BYTES / n_tokens);
            next->started = start_read2(disk, &next->token, lba, next->n_bytes, next->data);
            lba += next->n_bytes / block_bytes(disk);
            n_started++;
        }
        struct flight *oldest = &flights[n_ended++ % n_tokens];
        EFI_STATUS ended = token_finish(&oldest->token, oldest->started);
        if (EFI_ERROR(ended) && !EFI_ERROR(status))
            status = ended;
        crc = crc_add(crc, oldest->data, oldest->n_bytes);
    }
    return report_checksum(disk, L"checksum2", status, lba * block_bytes(disk), crc);
}

static EFI_STATUS run_many(struct disk *disk, const UINT64 *numbers)
{
    struct flight flights[TOKENS_MAX];
    UINTN n_bytes = numbers[1] * block_bytes(disk);
    UINTN count = numbers[2];

    if (!disk->block_io2 || count > TOKENS_MAX || n_bytes > BUFFER_BYTES / TOKENS_MAX)
        return report_data(disk, L"many", EFI_UNSUPPORTED, 0);
    for (UINTN i = 0; i < count; i++) {
        flights[i].data = buffer + i * n_bytes;
        flights[i].started = start_read2(disk, &flights[i].token, numbers[0] + i * numbers[1],
                                         n_bytes, flights[i].data);
    }
    Print(L"blk-probe: %s many: started\n", disk->name);
    EFI_STATUS status = EFI_SUCCESS;
    for (UINTN i = 0; i < count; i++) {
        EFI_STATUS ended = token_finish(&flights[i].token, flights[i].started);
        Print(L"blk-probe: %s token %d: %r\n", disk->name, i, ended);
        if (EFI_ERROR(ended))
            status = ended;
    }
    return report_data(disk, L"many", status, count * n_bytes);
}

/* Starts what is left to start in place of a token, or leaves the token alone. */
static EFI_STATUS keep_start(const struct disk *disk, const UINT64 *numbers, UINT64 *left,
                             EFI_BLOCK_IO2_TOKEN *token, UINT8 *data)
{
    if (*left == 0)
        return EFI_SUCCESS;
    (*left)--;
    token->TransactionStatus = EFI_NOT_READY;
    return disk->block_io2->ReadBlocksEx(disk->block_io2, media_id(disk), *left * numbers[1], token,
                                         numbers[1] * block_bytes(disk), data);
}

/* All events at once, as a program waits that does not care which comes first. */
static EFI_STATUS keep_reading(struct disk *disk, const UINT64 *numbers,
                               EFI_BLOCK_IO2_TOKEN *tokens, EFI_EVENT *events, UINT64 *ret_ended)
{
    UINTN depth = numbers[2], n_bytes = numbers[1] * block_bytes(disk), which = 0;
    EFI_STATUS status = EFI_SUCCESS;
    UINT64 left = numbers[0];

    for (UINTN i = 0; i < depth && !EFI_ERROR(status); i++)
        status = keep_start(disk, numbers, &left, &tokens[i], buffer + i * n_bytes);
    for (*ret_ended = 0; *ret_ended < numbers[0] && !EFI_ERROR(status); (*ret_ended)++) {
        status = BS->WaitForEvent(depth + 1, events, &which);
        if (!EFI_ERROR(status))
            status = which == depth ? EFI_TIMEOUT : tokens[which].TransactionStatus;
        if (!EFI_ERROR(status))
            status = keep_start(disk, numbers, &left, &tokens[which], buffer + which * n_bytes);
    }
    return status;
}

/* After an error tokens may still be in flight, so nothing of them is given back then. */
static EFI_STATUS run_keep(struct disk *disk, const UINT64 *numbers)
{
    EFI_BLOCK_IO2_TOKEN tokens[DEPTH_MAX];
    EFI_EVENT events[DEPTH_MAX + 1];
    UINTN depth = numbers[2];
    UINT64 n_ended = 0;

    if (!disk->block_io2 || depth > DEPTH_MAX ||
        numbers[1] * block_bytes(disk) > BUFFER_BYTES / DEPTH_MAX)
        return report_count(disk, L"keep", EFI_UNSUPPORTED, 0);
    EFI_STATUS status = BS->CreateEvent(EVT_TIMER, 0, NULL, NULL, &events[depth]);
    for (UINTN i = 0; i < depth && !EFI_ERROR(status); i++) {
        status = token_open(&tokens[i]);
        events[i] = tokens[i].Event;
    }
    if (!EFI_ERROR(status))
        status = BS->SetTimer(events[depth], TimerRelative, (UINT64)TOKEN_LIMIT_MS * MS_PER_TICKS);
    if (!EFI_ERROR(status))
        status = keep_reading(disk, numbers, tokens, events, &n_ended);
    for (UINTN i = 0; i <= depth && !EFI_ERROR(status); i++)
        (void)BS->CloseEvent(events[i]);
    return report_count(disk, L"keep", status, n_ended);
}

/* --- Writing --------------------------------------------------------------------------------- */

static EFI_STATUS report(const struct disk *disk, const CHAR16 *what, EFI_STATUS status)
{
    Print(L"blk-probe: %s %s: %r\n", disk->name, what, status);
    return status;
}

static EFI_STATUS run_write(struct disk *disk, const UINT64 *numbers)
{
    UINTN n_bytes = numbers[1] * block_bytes(disk);

    if (n_bytes > BUFFER_BYTES)
        return report(disk, L"write", EFI_OUT_OF_RESOURCES);
    fill(buffer, n_bytes, numbers[2]);
    EFI_STATUS status =
        disk->block_io->WriteBlocks(disk->block_io, media_id(disk), numbers[0], n_bytes, buffer);
    return report(disk, L"write", status);
}

static EFI_STATUS run_write2(struct disk *disk, const UINT64 *numbers)
{
    UINTN n_bytes = numbers[1] * block_bytes(disk);
    EFI_BLOCK_IO2_TOKEN token;

    if (!disk->block_io2 || n_bytes > BUFFER_BYTES)
        return report(disk, L"write2", EFI_UNSUPPORTED);
    fill(buffer, n_bytes, numbers[2]);
    EFI_STATUS status = token_open(&token);
    if (EFI_ERROR(status))
        return report(disk, L"write2", status);
    EFI_STATUS started = disk->block_io2->WriteBlocksEx(disk->block_io2, media_id(disk), numbers[0],
                                                        &token, n_bytes, buffer);
    return report(disk, L"write2", token_finish(&token, started));
}

static EFI_STATUS run_flush(struct disk *disk, const UINT64 *numbers)
{
    (void)numbers;
    return report(disk, L"flush", disk->block_io->FlushBlocks(disk->block_io));
}

static EFI_STATUS run_flush2(struct disk *disk, const UINT64 *numbers)
{
    EFI_BLOCK_IO2_TOKEN token;

    (void)numbers;
    if (!disk->block_io2)
        return report(disk, L"flush2", EFI_UNSUPPORTED);
    EFI_STATUS status = token_open(&token);
    if (EFI_ERROR(status))
        return report(disk, L"flush2", status);
    EFI_STATUS started = disk->block_io2->FlushBlocksEx(disk->block_io2, &token);
    return report(disk, L"flush2", token_finish(&token, started));
}

static EFI_STATUS run_reset(struct disk *disk, const UINT64 *numbers)
{
    (void)numbers;
    return report(disk, L"reset", disk->block_io->Reset(disk->block_io, TRUE));
}

static EFI_STATUS run_erase(struct disk *disk, const UINT64 *numbers)
{
    erase_block_protocol *erase = NULL;
    EFI_BLOCK_IO2_TOKEN token;

    EFI_STATUS status = BS->HandleProtocol(disk->handle, &erase_block_guid, (VOID **)&erase);
    if (EFI_ERROR(status))
        return report(disk, L"erase", status);
    Print(L"blk-probe: %s erase granularity %d\n", disk->name, erase->EraseLengthGranularity);
    status = token_open(&token);
    if (EFI_ERROR(status))
        return report(disk, L"erase", status);
    EFI_STATUS started = erase->EraseBlocks(erase, media_id(disk), numbers[0], &token,
                                            numbers[1] * block_bytes(disk));
    return report(disk, L"erase", token_finish(&token, started));
}

/* --- What the disk says of itself ------------------------------------------------------------ */

static EFI_STATUS run_media(struct disk *disk, const UINT64 *numbers)
{
    const EFI_BLOCK_IO_MEDIA *media = disk->block_io->Media;

    (void)numbers;
    Print(L"blk-probe: %s media: id %d present %d read-only %d caching %d block %d align %d "
          L"last %ld",
          disk->name, media->MediaId, media->MediaPresent, media->ReadOnly, media->WriteCaching,
          media->BlockSize, media->IoAlign, media->LastBlock);
    if (disk->block_io->Revision >= EFI_BLOCK_IO_PROTOCOL_REVISION2)
        Print(L" lowest %ld physical %d", media->LowestAlignedLba,
              media->LogicalBlocksPerPhysicalBlock);
    if (disk->block_io->Revision >= EFI_BLOCK_IO_PROTOCOL_REVISION3)
        Print(L" optimal %d", media->OptimalTransferLengthGranularity);
    Print(L" block-io2 %d\n", disk->block_io2 != NULL);
    return EFI_SUCCESS;
}

static EFI_STATUS run_identify(struct disk *disk, const UINT64 *numbers)
{
    disk_info_protocol *info = NULL;
    CHAR8 data[IDENTIFY_BYTES + 1];
    UINT32 n_bytes = IDENTIFY_BYTES;

    (void)numbers;
    EFI_STATUS status = BS->HandleProtocol(disk->handle, &disk_info_guid, (VOID **)&info);
    SetMem(data, sizeof(data), 0);
    if (!EFI_ERROR(status))
        status = info->Identify(info, data, &n_bytes);
    Print(L"blk-probe: %s identify: %r %d bytes \"%a\"\n", disk->name, status, n_bytes, data);
    return status;
}

/* While a driver polls, no timer of the firmware's goes on. */
static UINT64 ticks_now(void)
{
    cpu_arch_protocol *cpu = NULL;
    UINT64 ticks = 0, period_fs;

    if (!EFI_ERROR(BS->LocateProtocol(&cpu_arch_guid, NULL, (VOID **)&cpu)))
        (void)cpu->GetTimerValue(cpu, 0, &ticks, &period_fs);
    return ticks;
}

static EFI_STATUS run_took(struct disk *disk, const UINT64 *numbers)
{
    (void)numbers;
    Print(L"blk-probe: %s took: %ld\n", disk->name, last_ticks);
    return EFI_SUCCESS;
}

static EFI_STATUS run_say(struct disk *disk, const UINT64 *numbers)
{
    Print(L"blk-probe: %s say: %ld\n", disk->name, numbers[0]);
    return EFI_SUCCESS;
}

static EFI_STATUS run_id(struct disk *disk, const UINT64 *numbers)
{
    disk->media_id = (UINT32)numbers[0];
    return EFI_SUCCESS;
}

static BOOLEAN find_protocols(struct disk *disk)
{
    disk->block_io2 = NULL;
    (void)BS->HandleProtocol(disk->handle, &block_io2_guid, (VOID **)&disk->block_io2);
    return !EFI_ERROR(BS->HandleProtocol(disk->handle, &BlockIoProtocol, (VOID **)&disk->block_io));
}

static EFI_STATUS run_watch(struct disk *disk, const UINT64 *numbers)
{
    EFI_BLOCK_IO_MEDIA before = *disk->block_io->Media;

    Print(L"blk-probe: %s watch: started\n", disk->name);
    for (UINT64 step = 0; step < numbers[0] * (1000000 / WATCH_STEP_US); step++) {
        (void)BS->Stall(WATCH_STEP_US);
        if (!find_protocols(disk))
            return report(disk, L"watch", EFI_NOT_FOUND);
        const EFI_BLOCK_IO_MEDIA *media = disk->block_io->Media;
        if (media->MediaId != before.MediaId || media->LastBlock != before.LastBlock ||
            media->MediaPresent != before.MediaPresent || media->ReadOnly != before.ReadOnly)
            return report(disk, L"watch", EFI_MEDIA_CHANGED);
    }
    return report(disk, L"watch", EFI_TIMEOUT);
}

/* A partition's device path begins with that of its disk. */
static BOOLEAN is_below(EFI_HANDLE handle, EFI_HANDLE disk)
{
    EFI_DEVICE_PATH *path = DevicePathFromHandle(handle);
    EFI_DEVICE_PATH *disk_path = DevicePathFromHandle(disk);

    if (!path || !disk_path)
        return FALSE;
    UINTN n_bytes = DevicePathSize(disk_path) - sizeof(EFI_DEVICE_PATH); /* without its end node */
    return DevicePathSize(path) > n_bytes && CompareMem(path, disk_path, n_bytes) == 0;
}

static EFI_STATUS run_volumes(struct disk *disk, const UINT64 *numbers)
{
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0, n_below = 0;

    (void)numbers;
    if (!EFI_ERROR(LibLocateHandle(ByProtocol, &FileSystemProtocol, NULL, &n_handles, &handles))) {
        for (UINTN i = 0; i < n_handles; i++)
            n_below += is_below(handles[i], disk->handle);
        (void)BS->FreePool(handles);
    }
    Print(L"blk-probe: %s volumes: %d\n", disk->name, n_below);
    return EFI_SUCCESS;
}

/* --- The command line ------------------------------------------------------------------------ */

static const struct command commands[] = {
    {L"media", 0, run_media}, {L"checksum", 0, run_checksum}, {L"checksum2", 0, run_checksum2},
    {L"read", 2, run_read},   {L"reads", 2, run_reads},       {L"read2", 2, run_read2},
    {L"many", 3, run_many},   {L"write", 3, run_write},       {L"write2", 3, run_write2},
    {L"flush", 0, run_flush}, {L"flush2", 0, run_flush2},     {L"reset", 0, run_reset},
    {L"erase", 2, run_erase}, {L"identify", 0, run_identify}, {L"id", 1, run_id},
    {L"watch", 1, run_watch}, {L"volumes", 0, run_volumes},   {L"say", 1, run_say},
    {L"took", 0, run_took},   {L"stream", 2, run_stream},     {L"quiet", 2, run_quiet},
    {L"keep", 3, run_keep},
};

static const struct command *find_command(const CHAR16 *name)
{
    for (UINTN i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (StrCmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static void run_commands(struct disk *disk, CHAR16 **words, UINTN n_words)
{
    for (UINTN at = 0; at < n_words;) {
        const struct command *command = find_command(words[at]);
        UINT64 numbers[NUMBERS_MAX];

        if (!command || n_words - at - 1 < command->n_numbers) {
            Print(L"blk-probe: not understood: %s\n", words[at]);
            return;
        }
        for (UINTN i = 0; i < command->n_numbers; i++)
            numbers[i] = Atoi(words[at + 1 + i]);
        UINT64 start = ticks_now();
        if (find_protocols(disk))
            (void)command->run(disk, numbers);
        else
            Print(L"blk-probe: %s %s: no EFI_BLOCK_IO\n", disk->name, command->name);
        last_ticks = ticks_now() - start;
        at += 1 + command->n_numbers;
    }
}

/* Only drivers of virtio disks put EFI_BLOCK_IO onto the handle of the PCI function itself. */
static BOOLEAN open_disk(EFI_HANDLE handle, const CHAR16 *wanted, struct disk *ret_disk)
{
    EFI_PCI_IO_PROTOCOL *pci_io = NULL;
    UINTN segment, bus, device, function;

    *ret_disk = (struct disk){.handle = handle};
    if (EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, (VOID **)&pci_io)) ||
        EFI_ERROR(pci_io->GetLocation(pci_io, &segment, &bus, &device, &function)))
        return FALSE;
    SPrint(ret_disk->name, sizeof(ret_disk->name), L"%02x:%02x.%x", bus, device, function);
    if (StrCmp(wanted, L"all") == 0)
        return find_protocols(ret_disk);
    return StrnCmp(wanted, ret_disk->name, StrLen(wanted)) == 0;
}

static EFI_STATUS run_on_disks(CHAR16 **words, UINTN n_words)
{
    EFI_HANDLE *handles = NULL;
    UINTN n_handles = 0, n_disks = 0;

    EFI_STATUS status =
        BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, &n_handles, &handles);
    for (UINTN i = 0; !EFI_ERROR(status) && i < n_handles; i++) {
        struct disk disk;
        if (!open_disk(handles[i], words[0], &disk))
            continue;
        run_commands(&disk, words + 1, n_words - 1);
        n_disks++;
    }
    if (handles)
        (void)BS->FreePool(handles);
    Print(L"blk-probe: done, %d disks\n", n_disks);
    return status;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    EFI_PHYSICAL_ADDRESS address = 0;
    CHAR16 **words;

    InitializeLib(self, system);
    INTN n_words = GetShellArgcArgv(self, &words);
    if (n_words < 3) {
        Print(L"blk-probe: usage: blk_probe.efi DISK COMMAND...\n");
        return EFI_INVALID_PARAMETER;
    }
    EFI_STATUS status = BS->AllocatePages(AllocateAnyPages, EfiBootServicesData,
                                          BUFFER_BYTES / EFI_PAGE_SIZE, &address);
    if (EFI_ERROR(status))
        return status;
    buffer = (UINT8 *)(UINTN)address;
    make_crc_table();
    status = run_on_disks(words + 1, (UINTN)n_words - 1);
    (void)BS->FreePages(address, BUFFER_BYTES / EFI_PAGE_SIZE);
    return status;
}
