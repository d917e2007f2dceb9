/* Contract and terms: tests/bench/bench.h. */

#include "tests/bench/bench.h"

#define CHUNK_BYTES (1u << 20)

/* The first volume on the measured disk itself, which has no partitions. */
static EFI_FILE_IO_INTERFACE *find_volume(struct bench_disk *disk)
{
    EFI_FILE_IO_INTERFACE *volume = NULL;

    /* FAT drivers sit on any disk; what cannot be connected shows by the missing volume. */
    (void)BS->ConnectController(disk->handle, NULL, NULL, TRUE);
    if (EFI_ERROR(BS->HandleProtocol(disk->handle, &FileSystemProtocol, (VOID **)&volume)))
        return NULL;
    return volume;
}

static enum bench_result read_all(EFI_FILE_HANDLE file, VOID *chunk, struct bench_time *time)
{
    uint64_t start = bench_now(), all_bytes = 0;

    for (UINTN bytes = CHUNK_BYTES; bytes != 0;) {
        bytes = CHUNK_BYTES;
        if (EFI_ERROR(file->Read(file, &bytes, chunk)))
            return BENCH_FAILED;
        all_bytes += bytes;
    }
    time->ticks = bench_now() - start;
    return all_bytes ? BENCH_OK : BENCH_WRONG;
}

enum bench_result bench_read_file(struct bench_disk *disk, const struct bench_line *line,
                                  struct bench_time *ret_time)
{
    EFI_FILE_HANDLE root = NULL, file = NULL;
    EFI_FILE_IO_INTERFACE *volume = find_volume(disk);

    *ret_time = (struct bench_time){.least = 0};
    if (!volume)
        return BENCH_ABSENT;
    if (EFI_ERROR(volume->OpenVolume(volume, &root)))
        return BENCH_FAILED;
    enum bench_result result = BENCH_FAILED;
    if (!EFI_ERROR(root->Open(root, &file, (CHAR16 *)line->path, EFI_FILE_MODE_READ, 0))) {
        result = read_all(file, disk->pool, ret_time);
        (void)file->Close(file); /* always EFI_SUCCESS */
    }
    (void)root->Close(root); /* always EFI_SUCCESS */
    return result;
}
