/** @file
 * Takes the virtio disks as virtboot.efi does, published read-only, does with one of them what its
 * command line says, in that order, and gives all of them back. Prints a line for each thing done.
 *
 * usage, in the UEFI shell: set_writable.efi DISK COMMAND...
 *
 * DISK is the end of the disk's name, as 00:10.0. File commands are carried out on each of its
 * volumes, which are looked for each time:
 *
 *   media              media id, and whether it is read-only
 *   writable           disk_set_writable(), and what it answers
 *   read-only          the same the other way round
 *   create PATH BYTES  a new file, or a longer one, of what fill() makes
 *   rename PATH NAME
 *   read PATH
 *   blocks LBA COUNT   read blocks, which is also seen in QEMU's trace
 *   write LBA          one block, as fill() makes it
 *   keep               keep the roots of the volumes open, and
 *   kept               try to open a file of them
 *   hold NUMBER        open a volume by a driver that does not let go,
 *   let-go             which lets go
 */

#include "efi/bind.h"
#include "efi/clock.h"
#include "efi/message.h"
#include "efi/volume.h"
#include "tests/qemu/programs/crc32.h"

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

const CHAR16 message_program[] = L"set-writable";

#define BUFFER_BYTES  (1024u * 1024)
#define ARGUMENTS_MAX 2u
#define NAME_UNITS    64u

struct command {
    const CHAR16 *name;
    unsigned n_arguments;
    void (*run)(struct disk *disk, CHAR16 **arguments);
};

static UINT8 *buffer;
static struct volume_list kept;

/* What is written: probe.py makes the same of seed 0. */
static void fill(UINT8 *data, UINTN n_bytes)
{
    for (UINTN i = 0; i < n_bytes; i++)
        data[i] = (UINT8)(7 * i + (i >> 8));
}

static void report(const CHAR16 *command, EFI_STATUS status)
{
    message_line(L"%s: %r", command, status);
}

static void report_data(const CHAR16 *command, EFI_STATUS status, UINTN n_bytes)
{
    if (EFI_ERROR(status))
        report(command, status);
    else
        message_line(L"%s: %r %ld bytes crc32 %08x", command, status, n_bytes,
                     ~crc_add(0xffffffffu, buffer, n_bytes));
}

/* --- The disk --------------------------------------------------------------------------------- */

static void run_media(struct disk *disk, CHAR16 **arguments)
{
    const EFI_BLOCK_IO_MEDIA *media = &disk->block_io.media;

    (void)arguments;
    message_line(L"media: id %d read-only %d", media->MediaId, media->ReadOnly);
}

static void run_writable(struct disk *disk, CHAR16 **arguments)
{
    (void)arguments;
    report(L"writable", disk_set_writable(disk, true));
}

static void run_read_only(struct disk *disk, CHAR16 **arguments)
{
    (void)arguments;
    report(L"read-only", disk_set_writable(disk, false));
}

static void run_blocks(struct disk *disk, CHAR16 **arguments)
{
    EFI_BLOCK_IO_PROTOCOL *block_io = &disk->block_io.protocol;
    UINTN n_bytes = Atoi(arguments[1]) * block_io->Media->BlockSize;

    EFI_STATUS status = EFI_BUFFER_TOO_SMALL;
    if (n_bytes <= BUFFER_BYTES)
        status = block_io->ReadBlocks(block_io, block_io->Media->MediaId, Atoi(arguments[0]),
                                      n_bytes, buffer);
    report_data(L"blocks", status, n_bytes);
}

static void run_write(struct disk *disk, CHAR16 **arguments)
{
    EFI_BLOCK_IO_PROTOCOL *block_io = &disk->block_io.protocol;
    UINT32 n_bytes = block_io->Media->BlockSize;

    fill(buffer, n_bytes);
    report(L"write", block_io->WriteBlocks(block_io, block_io->Media->MediaId, Atoi(arguments[0]),
                                           n_bytes, buffer));
}

/* --- Its volumes ------------------------------------------------------------------------------ */

static void for_each_volume(const struct disk *disk, const CHAR16 *command, CHAR16 **arguments,
                            void (*visit)(EFI_FILE_PROTOCOL *root, CHAR16 **arguments))
{
    struct volume_list list = {0};
    UINTN n_visited = 0;

    if (!EFI_ERROR(volume_find_all(NULL, &list))) {
        for (UINTN i = 0; i < list.n_volumes; i++) {
            if (list.volumes[i].controller != disk->controller)
                continue;
            visit(list.volumes[i].root, arguments);
            n_visited++;
        }
    }
    volume_close_all(&list);
    if (n_visited == 0)
        report(command, EFI_NOT_FOUND);
}

static void visit_create(EFI_FILE_PROTOCOL *root, CHAR16 **arguments)
{
    cleanup_file EFI_FILE_PROTOCOL *file = NULL;
    UINTN n_bytes = Atoi(arguments[1]);

    EFI_STATUS status =
        root->Open(root, &file, arguments[0],
                   EFI_FILE_MODE_READ | EFI_FILE_MODE_WRITE | EFI_FILE_MODE_CREATE, 0);
    if (!EFI_ERROR(status) && n_bytes > BUFFER_BYTES)
        status = EFI_BUFFER_TOO_SMALL;
    if (!EFI_ERROR(status)) {
        fill(buffer, n_bytes);
        status = file->Write(file, &n_bytes, buffer);
    }
    report_data(L"create", status, n_bytes);
}

static void run_create(struct disk *disk, CHAR16 **arguments)
{
    for_each_volume(disk, L"create", arguments, visit_create);
}

static EFI_STATUS rename_file(EFI_FILE_PROTOCOL *file, const CHAR16 *name)
{
    cleanup_pool EFI_FILE_INFO *old = LibFileInfo(file);
    UINTN n_bytes = SIZE_OF_EFI_FILE_INFO + StrSize(name);
    cleanup_pool EFI_FILE_INFO *info = uefi_allocate(n_bytes);

    if (!old || !info)
        return EFI_OUT_OF_RESOURCES;
    *info = *old;
    info->Size = n_bytes;
    StrCpy(info->FileName, name);
    return file->SetInfo(file, &gEfiFileInfoGuid, n_bytes, info);
}

static void visit_rename(EFI_FILE_PROTOCOL *root, CHAR16 **arguments)
{
    cleanup_file EFI_FILE_PROTOCOL *file = NULL;

    /* Who may not write cannot open it for writing either: but SetInfo() is what is asked here. */
    EFI_STATUS status =
        root->Open(root, &file, arguments[0], EFI_FILE_MODE_READ | EFI_FILE_MODE_WRITE, 0);
    if (status == EFI_WRITE_PROTECTED)
        status = root->Open(root, &file, arguments[0], EFI_FILE_MODE_READ, 0);
    if (!EFI_ERROR(status))
        status = rename_file(file, arguments[1]);
    report(L"rename", status);
}

static void run_rename(struct disk *disk, CHAR16 **arguments)
{
    for_each_volume(disk, L"rename", arguments, visit_rename);
}

static void visit_read(EFI_FILE_PROTOCOL *root, CHAR16 **arguments)
{
    cleanup_file EFI_FILE_PROTOCOL *file = NULL;
    UINTN n_bytes = BUFFER_BYTES;

    EFI_STATUS status = root->Open(root, &file, arguments[0], EFI_FILE_MODE_READ, 0);
    if (!EFI_ERROR(status))
        status = file->Read(file, &n_bytes, buffer);
    report_data(L"read", status, n_bytes);
}

static void run_read(struct disk *disk, CHAR16 **arguments)
{
    for_each_volume(disk, L"read", arguments, visit_read);
}

/* --- Who has been there before ---------------------------------------------------------------- */

static void run_keep(struct disk *disk, CHAR16 **arguments)
{
    (void)disk;
    (void)arguments;
    volume_close_all(&kept);
    report(L"keep", volume_find_all(NULL, &kept));
}

static void run_kept(struct disk *disk, CHAR16 **arguments)
{
    (void)arguments;
    for (UINTN i = 0; i < kept.n_volumes; i++) {
        EFI_FILE_PROTOCOL *root = kept.volumes[i].root;
        cleanup_file EFI_FILE_PROTOCOL *file = NULL;
        if (kept.volumes[i].controller == disk->controller)
            report(L"kept", root->Open(root, &file, L"\\", EFI_FILE_MODE_READ, 0));
    }
}

/* Only a driver of the UEFI driver model is asked to let go, and may say no. */
static EFI_STATUS EFIAPI holder_supported(EFI_DRIVER_BINDING_PROTOCOL *binding,
                                          EFI_HANDLE controller, EFI_DEVICE_PATH *remaining_path)
{
    (void)binding;
    (void)controller;
    (void)remaining_path;
    return EFI_UNSUPPORTED;
}

static EFI_STATUS EFIAPI holder_stop(EFI_DRIVER_BINDING_PROTOCOL *binding, EFI_HANDLE controller,
                                     UINTN n_children, EFI_HANDLE *children)
{
    (void)binding;
    (void)controller;
    (void)n_children;
    (void)children;
    message_line(L"asked to let go");
    return EFI_DEVICE_ERROR;
}

static EFI_GUID driver_binding_guid = EFI_DRIVER_BINDING_PROTOCOL_GUID;
static EFI_DRIVER_BINDING_PROTOCOL holder = {
    .Supported = holder_supported, .Start = holder_supported, .Stop = holder_stop, .Version = 1};
static EFI_HANDLE held;

static EFI_STATUS hold(EFI_HANDLE volume)
{
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *file_system;

    holder.DriverBindingHandle = NULL;
    EFI_STATUS status = BS->InstallProtocolInterface(
        &holder.DriverBindingHandle, &driver_binding_guid, EFI_NATIVE_INTERFACE, &holder);
    if (EFI_ERROR(status))
        return status;
    held = volume;
    return BS->OpenProtocol(held, &gEfiSimpleFileSystemProtocolGuid, (VOID **)&file_system,
                            holder.DriverBindingHandle, held, EFI_OPEN_PROTOCOL_BY_DRIVER);
}

static void run_hold(struct disk *disk, CHAR16 **arguments)
{
    struct volume_list list = {0};
    UINTN left = Atoi(arguments[0]);

    EFI_STATUS status = volume_find_all(NULL, &list);
    for (UINTN i = 0; !EFI_ERROR(status) && i < list.n_volumes; i++) {
        if (list.volumes[i].controller == disk->controller && left-- == 0)
            status = hold(list.volumes[i].handle);
    }
    volume_close_all(&list);
    report(L"hold", held ? status : EFI_NOT_FOUND);
}

static void run_let_go(struct disk *disk, CHAR16 **arguments)
{
    (void)disk;
    (void)arguments;
    EFI_STATUS status = BS->CloseProtocol(held, &gEfiSimpleFileSystemProtocolGuid,
                                          holder.DriverBindingHandle, held);
    if (!EFI_ERROR(status))
        status = BS->UninstallProtocolInterface(holder.DriverBindingHandle, &driver_binding_guid,
                                                &holder);
    report(L"let-go", status);
}

/* --- The command line ------------------------------------------------------------------------- */

static const struct command commands[] = {
    {L"media", 0, run_media},   {L"writable", 0, run_writable}, {L"read-only", 0, run_read_only},
    {L"create", 2, run_create}, {L"rename", 2, run_rename},     {L"read", 1, run_read},
    {L"blocks", 2, run_blocks}, {L"write", 1, run_write},       {L"keep", 0, run_keep},
    {L"kept", 0, run_kept},     {L"hold", 1, run_hold},         {L"let-go", 0, run_let_go},
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
        if (!command || n_words - at - 1 < command->n_arguments) {
            message_line(L"not understood: %s", words[at]);
            return;
        }
        command->run(disk, words + at + 1);
        at += 1 + command->n_arguments;
    }
}

static struct disk *find_disk(const CHAR16 *end)
{
    for (struct disk *disk = bind_first_disk(); disk; disk = disk->next) {
        UINTN length = StrLen(disk->name), end_length = StrLen(end);
        if (length >= end_length && StrCmp(disk->name + length - end_length, end) == 0)
            return disk;
    }
    return NULL;
}

static void use_disk(CHAR16 **words, UINTN n_words)
{
    struct disk *disk = find_disk(words[0]);

    if (disk)
        run_commands(disk, words + 1, n_words - 1);
    else
        message_line(L"no disk %s", words[0]);
    volume_close_all(&kept);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    const struct bind_policy policy = {.publish_read_only = true};
    CHAR16 **words;

    InitializeLib(self, system);
    clock_init();
    make_crc_table();
    INTN n_words = GetShellArgcArgv(self, &words);
    if (n_words < 3) {
        message_line(L"usage: set_writable.efi DISK COMMAND...");
        return EFI_INVALID_PARAMETER;
    }
    cleanup_pool UINT8 *memory = uefi_allocate(BUFFER_BYTES);
    EFI_STATUS status = memory ? bind_install(self, &policy) : EFI_OUT_OF_RESOURCES;
    if (EFI_ERROR(status))
        return status;
    buffer = memory;
    (void)bind_take_over(); /* whether it has the disk is seen when it is looked for */
    use_disk(words + 1, (UINTN)n_words - 1);
    status = bind_give_back();
    report(L"given back", status);
    /* The firmware would call what is gone. */
    if (EFI_ERROR(status))
        RT->ResetSystem(EfiResetShutdown, status, 0, NULL);
    return status;
}
