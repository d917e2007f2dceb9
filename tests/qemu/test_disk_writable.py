"""disk_set_writable(): the one way to write to a disk that is published read-only.

programs/set_writable.c holds our drivers, takes the disks as virtboot.efi does, and says what each
of its commands answered. What the disks saw is in QEMU's trace: reads of blocks that nobody else
reads tell the steps in it apart.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

import pytest
from image import (
    DEFAULT_ENTRY,
    ESP_OFFSET_BYTES,
    MIB,
    SECTOR_BYTES,
    DiskImage,
    ImageError,
    build_image,
    damage_backup_gpt,
    run_tool,
)
from machine import Disk, Machine, RunResult, Shell, device_name
from probe import data_answer, filled, is_flush, own_session, raw_image, slot_name
from qemu_trace import (
    STATUS_LEGACY_RUNNING,
    Event,
    Pop,
    Read,
    Write,
    of_disk,
    sessions,
    writes,
)

PREFIX = "set-writable: "
PROGRAM = "w.efi"  # short, for all of a command is typed
READ_FILE = "read_file.efi"

DISK_MIB = 70
DATA = Random(7).randbytes(3 * MIB // 4)
OTHER = Random(8).randbytes(MIB // 2)
NEW_BYTES = 5000
NEW = filled(NEW_BYTES, 0)

ENTRY = DEFAULT_ENTRY.replace(".conf", "+3.conf")
COUNTED = DEFAULT_ENTRY.replace(".conf", "+2-1.conf")

# Between the partition and the backup of its table: nobody looks there.
GAP = DISK_MIB * MIB // SECTOR_BYTES - 1024
MARK_SECTORS = 5

LARGE_BLOCK = 128 * 1024

REFUSED = "Write Protected"


@pytest.fixture(scope="module")
def tools(module_folder: Path, program: Callable[[str], Path]) -> DiskImage:
    """The disk that the UEFI shell finds our programs on."""
    tree = {PROGRAM: program("set_writable"), READ_FILE: program("read_file")}
    return build_image(module_folder / "tools.img", tree, size_mib=DISK_MIB)


class WritableMachine(Machine):
    """A machine in the UEFI shell, with one virtio disk and the program to use it."""

    def __init__(self, disk: Disk, tools: DiskImage) -> None:
        super().__init__([disk, Disk(tools, bus="ahci")])
        self._shell: Shell | None = None

    def run(self, command: str) -> str:
        """One command of the shell, for which all volumes have their names."""
        if self._shell is None:
            self._shell = Shell(self)
        self._shell.run("map -r")
        return self._shell.run(command)

    def use(self, *commands: str) -> list[str]:
        """The disk is taken, used and given back. Returns the answers, one line each."""
        output = self.run(f"fs0:\\{PROGRAM} {slot_name(0)} {' '.join(commands)}")
        lines = (line.rstrip() for line in output.split("\n"))
        said = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
        assert said[-1:] == ["given back: Success"], output
        return said[:-1]

    def read_file(self, path: str) -> str:
        """What a program reads from all volumes that have such a file."""
        return self.run(f"fs0:\\{READ_FILE} {path}")


def uefi_path(name: str) -> str:
    """As the program wants it."""
    return "\\" + name.replace("/", "\\")


def mark(number: int) -> str:
    """A read that is told from all others in the trace."""
    return f"blocks {GAP + number * 64} {MARK_SECTORS}"


def place_of_mark(events: list[Event], number: int) -> int:
    """Where it is among these events. It was carried out once."""
    wanted = (GAP + number * 64, MARK_SECTORS)
    reads = [event for event in events if isinstance(event, Read)]
    (found,) = [read for read in reads if (read.sector, read.n_sectors) == wanted]
    return events.index(found)


def mark_answer(image_bytes: bytes, number: int) -> str:
    """The answer to the mark."""
    start = (GAP + number * 64) * SECTOR_BYTES
    return data_answer("blocks", image_bytes[start : start + MARK_SECTORS * SECTOR_BYTES])


def media(number: int, *, read_only: bool) -> str:
    """The answer to "media"."""
    return f"media: id {number} read-only {int(read_only)}"


# --- The whole story ------------------------------------------------------------------------------

RAW = GAP + 512
TREE = {"data.bin": DATA, ENTRY: "title A\n", "other.bin": OTHER}
CREATE = f"create \\new.bin {NEW_BYTES}"
RENAME = f"rename {uefi_path(ENTRY)} {Path(COUNTED).name}"
RENAME_BACK = f"rename {uefi_path(COUNTED)} {Path(ENTRY).name}"
CREATED = data_answer("create", NEW)
WRITE = f"write {RAW}"


@dataclass(frozen=True)
class Story:
    """A disk that is read-only, writable and read-only again, and then the firmware's."""

    before: list[str]
    writable: list[str]
    after: list[str]
    firmware: dict[str, str]
    image: DiskImage
    original: bytes
    result: RunResult

    @property
    def events(self) -> list[Event]:
        """What the disk saw of our driver."""
        return list(own_session(self.result, 0).events)


STEPS = (
    ["media", "read \\data.bin", CREATE, RENAME, WRITE, "keep", mark(0)],
    ["writable", "media", "kept", mark(1), CREATE, RENAME, "read \\new.bin", "keep", WRITE],
    ["read-only", mark(2), "media", "kept", "read \\new.bin", "read \\other.bin"]
    + [CREATE, RENAME_BACK, WRITE, mark(3)],
)


@pytest.fixture(scope="module")
def story(module_folder: Path, tools: DiskImage) -> Story:
    """One run of the program, and the firmware's own driver after it."""
    image = build_image(module_folder / "disk.img", TREE, size_mib=DISK_MIB)
    original = image.path.read_bytes()
    with WritableMachine(Disk(image, may_change=True), tools) as machine:
        answers = machine.use(*(command for step in STEPS for command in step))
        firmware = {name: machine.read_file(f"\\{name}") for name in ("data.bin", "new.bin")}
        result = machine.finish()
    assert len(answers) == sum(len(step) for step in STEPS), "\n".join(answers)
    first, second = len(STEPS[0]), len(STEPS[0]) + len(STEPS[1])
    parts = answers[:first], answers[first:second], answers[second:]
    return Story(*parts, firmware, image, original, result)


@pytest.mark.xdist_group("writable_disk")
def test_given_disk_published_read_only_when_written_then_refused_and_the_disk_sees_nothing(
    story: Story,
) -> None:
    assert story.before == [
        media(1, read_only=True),
        data_answer("read", DATA),
        f"create: {REFUSED}",
        f"rename: {REFUSED}",
        f"write: {REFUSED}",
        "keep: Success",
        mark_answer(story.original, 0),
    ]
    before = story.events[: place_of_mark(story.events, 0)]
    assert not writes(before)


@pytest.mark.xdist_group("writable_disk")
def test_given_set_writable_when_volume_found_anew_then_files_are_written_and_renamed(
    story: Story,
) -> None:
    assert story.writable == [
        "writable: Success",
        media(2, read_only=False),
        "kept: Media changed",
        mark_answer(story.original, 1),
        CREATED,
        "rename: Success",
        data_answer("read", NEW),
        "keep: Success",
        "write: Success",
    ]
    # Connecting file systems to it writes nothing; what writes is what was asked to.
    connecting = story.events[: place_of_mark(story.events, 1)]
    assert not writes(connecting)


@pytest.mark.xdist_group("writable_disk")
def test_given_files_written_when_all_is_over_then_they_are_in_the_image_and_nothing_else_is(
    story: Story, folder: Path
) -> None:
    image, original = story.image, story.original
    assert image.read_file("new.bin") == NEW
    assert image.read_file(COUNTED) == b"title A\n"
    with pytest.raises(ImageError):
        image.read_file(ENTRY)
    assert image.read_file("data.bin") == DATA
    assert image.read_file("other.bin") == OTHER

    data = image.path.read_bytes()
    volume = slice(ESP_OFFSET_BYTES, len(data) - MIB)
    block = slice(RAW * SECTOR_BYTES, (RAW + 1) * SECTOR_BYTES)
    assert data[block] == filled(SECTOR_BYTES, 0)
    assert data[: volume.start] == original[: volume.start]
    assert data[volume.stop : block.start] == original[volume.stop : block.start]
    assert data[block.stop :] == original[block.stop :]
    check_file_system(data[volume], folder / "volume")


def check_file_system(data: bytes, path: Path) -> None:
    """Fails for whatever somebody would have to repair, as a volume that was not closed."""
    path.write_bytes(data)
    run_tool("fsck.vfat", "-n", path)


@pytest.mark.xdist_group("writable_disk")
def test_given_written_disk_when_set_read_only_then_flushed_first_and_nothing_is_written_after_it(
    story: Story,
) -> None:
    assert story.after == [
        "read-only: Success",
        mark_answer(story.original, 2),
        media(3, read_only=True),
        "kept: Media changed",
        data_answer("read", NEW),
        data_answer("read", OTHER),
        f"create: {REFUSED}",
        f"rename: {REFUSED}",
        f"write: {REFUSED}",
        mark_answer(story.original, 3),
    ]
    last = [event for event in story.events if isinstance(event, Write)][-1]
    assert last.sector == RAW
    after = story.events[story.events.index(last) : place_of_mark(story.events, 2)]
    (first, *_) = [event for event in after if isinstance(event, Pop)]
    assert is_flush(first), first
    assert not writes(after[1:])
    assert not writes(story.events[place_of_mark(story.events, 2) :])


AT = (100, 300)  # two blocks that no driver looks for a table in


def test_given_written_disk_that_nobody_else_flushes_when_set_read_only_then_it_is_flushed_once(
    folder: Path, tools: DiskImage
) -> None:
    # Where there is a partition, the firmware's driver for it asks for a flush as well.
    image = raw_image(folder / "disk.img", MIB, seed=701)
    blocks = image.path.read_bytes()
    before, after = (data_answer("blocks", blocks[at * SECTOR_BYTES :][:SECTOR_BYTES]) for at in AT)
    commands = ("writable", "write 9", f"blocks {AT[0]} 1", "read-only", f"blocks {AT[1]} 1")

    answers, result = use_once(Disk(image, may_change=True), tools, *commands)

    assert answers == ["writable: Success", "write: Success", before, "read-only: Success", after]
    events = own_session(result, 0).events
    reads = {event.sector: event.place for event in events if isinstance(event, Read)}
    (flush,) = [event for event in events if isinstance(event, Pop) and is_flush(event)]
    assert reads[AT[0]] < flush.place < reads[AT[1]]


@pytest.mark.xdist_group("writable_disk")
def test_given_disk_that_was_writable_when_given_back_then_the_firmwares_driver_reads_it(
    story: Story,
) -> None:
    for path, data in (("data.bin", DATA), ("new.bin", NEW)):
        answer = f"read-file: \\{path} {len(data)} bytes crc32 {zlib.crc32(data):08x}"
        assert answer in story.firmware[path], story.firmware[path]
    reading = sessions(story.result.events, 0)[-1]
    assert reading.status == STATUS_LEGACY_RUNNING
    assert reading.covers(story.image.file_sectors("data.bin"))
    after = of_disk(story.result.events, 0)
    assert not [write for write in writes(after) if write.place > reading.start]


# --- Disks that are not to be written -------------------------------------------------------------


ASKED = ("media", "keep", "writable", "media", "kept", "read \\data.bin", CREATE, WRITE)


def refused_answers(data: bytes) -> list[str]:
    """Nothing has changed: not even open files are lost."""
    return [
        media(1, read_only=True),
        "keep: Success",
        f"writable: {REFUSED}",
        media(1, read_only=True),
        "kept: Success",
        data_answer("read", data),
        f"create: {REFUSED}",
        f"write: {REFUSED}",
    ]


def use_once(disk: Disk, tools: DiskImage, *commands: str) -> tuple[list[str], RunResult]:
    """A machine for one run of the program."""
    with WritableMachine(disk, tools) as machine:
        return machine.use(*commands), machine.finish()


def test_given_read_only_device_when_set_writable_then_write_protected_and_all_as_before(
    folder: Path, tools: DiskImage
) -> None:
    # Checks: X-BLK-3
    image = build_image(folder / "disk.img", TREE, size_mib=DISK_MIB)

    answers, _ = use_once(Disk(image, read_only=True), tools, *ASKED)

    assert answers == refused_answers(DATA)


@pytest.mark.parametrize("table", ["primary", "backup"])
def test_given_damaged_gpt_when_set_writable_then_write_protected_and_nobody_repairs_it(
    table: str, folder: Path, tools: DiskImage
) -> None:
    # The firmware has not connected the disk, for it would have written before us.
    image = build_image(
        folder / "disk.img", TREE, size_mib=DISK_MIB, damage_primary_gpt=table == "primary"
    )
    if table == "backup":
        damage_backup_gpt(image)

    # Zero writes and an unchanged image are checked in every run.
    answers, _ = use_once(Disk(image, boot=False), tools, *ASKED)

    assert answers == refused_answers(DATA)


def test_given_blocks_too_large_to_be_searched_when_set_writable_then_write_protected(
    folder: Path, tools: DiskImage
) -> None:
    image = raw_image(folder / "disk.img", 8 * LARGE_BLOCK, seed=700)
    options = {"logical_block_size": LARGE_BLOCK, "physical_block_size": LARGE_BLOCK}

    answers, result = use_once(
        Disk(image, boot=False, options=options), tools, "media", "writable", "read-only", "media"
    )

    assert answers == [
        f"{device_name(0)}: its blocks are too large for file systems to be looked for",
        media(1, read_only=True),
        f"writable: {REFUSED}",
        "read-only: Success",
        media(1, read_only=True),
    ]
    assert not own_session(result, 0).reads, "somebody was connected, who looked for a table"


# --- Somebody does not let go ---------------------------------------------------------------------

NAMES = ("a.bin", "b.bin")
SECOND_MIB = 8


def files(seed: int) -> dict[str, bytes]:
    """Other ones for each volume. A file is read once only: the file system remembers it."""
    return {name: Random(seed + n).randbytes(100_000 + seed) for n, name in enumerate(NAMES)}


def two_volumes(path: Path) -> list[DiskImage]:
    """One disk with two partitions, as it looks from each of them."""
    first = build_image(path, files(10), size_mib=DISK_MIB)
    second = DiskImage(path, DISK_MIB * MIB)
    start = DISK_MIB * MIB // SECTOR_BYTES
    with path.open("r+b") as file:
        file.truncate((DISK_MIB + SECOND_MIB + 1) * MIB)
    run_tool("sgdisk", "--move-second-header", f"--new=2:{start}:+{SECOND_MIB}M", path)
    run_tool("mkfs.vfat", "--offset", str(start), path, str(SECOND_MIB * 1024))
    for name, data in files(20).items():
        source = path.with_suffix(".file")
        source.write_bytes(data)
        run_tool("mcopy", "-i", second.drive, source, f"::/{name}")
    return [first, second]


def read_of_both(name: str) -> list[str]:
    """The answers from both volumes."""
    return [data_answer("read", files(seed)[name]) for seed in (10, 20)]


def in_order(answers: Iterable[str]) -> list[str]:
    """The same, with the answers to each command sorted: volumes come in any order."""
    groups = groupby(answers, key=lambda answer: answer.split(":")[0])
    return [answer for _, group in groups for answer in sorted(group)]


@pytest.mark.parametrize("volume", [0, 1])
def test_given_somebody_who_does_not_let_go_when_set_then_read_only_and_all_can_read_on(
    volume: int, folder: Path, tools: DiskImage
) -> None:
    images = two_volumes(folder / "disk.img")
    commands = [f"hold {volume}", "writable", "media", "read \\a.bin", CREATE, "let-go", mark(0)]
    commands += ["writable", CREATE, mark(1)]
    # The file system that stays still takes it for writable: so the disk is asked, not a file.
    commands += [f"hold {volume}", "read-only", "media", "read \\b.bin", WRITE, "let-go"]

    answers, result = use_once(Disk(images[0], may_change=True), tools, *commands)

    asked = [answer for answer in answers if answer == "asked to let go"]
    assert asked
    assert in_order(answer for answer in answers if answer not in asked) == in_order([
        "hold: Success",
        "writable: Access Denied",
        media(1, read_only=True),
        *read_of_both("a.bin"),
        *[f"create: {REFUSED}"] * 2,
        "let-go: Success",
        mark_answer(images[0].path.read_bytes(), 0),
        "writable: Success",
        *[CREATED] * 2,
        mark_answer(images[0].path.read_bytes(), 1),
        "hold: Success",
        "read-only: Access Denied",
        media(2, read_only=True),
        *read_of_both("b.bin"),
        f"write: {REFUSED}",
        "let-go: Success",
    ])
    events = list(own_session(result, 0).events)
    start, end = (place_of_mark(events, number) for number in (0, 1))
    assert not writes(events[:start])
    assert writes(events[start:end])
    assert not writes(events[end:])
    assert [image.read_file("new.bin") for image in images] == [NEW, NEW]


def test_given_flush_that_fails_when_set_read_only_then_it_says_so_and_is_read_only_all_the_same(
    folder: Path, tools: DiskImage
) -> None:
    image = build_image(folder / "disk.img", TREE, size_mib=DISK_MIB)
    rule = {"event": "none", "iotype": "flush", "errno": errno.EIO}
    filters = ({"driver": "blkdebug", "inject-error": [rule]},)

    answers, result = use_once(
        Disk(image, may_change=True, filters=filters),
        tools,
        *("writable", WRITE, "read-only", "media", WRITE, "read \\data.bin"),
    )

    assert answers == [
        "writable: Success",
        "write: Success",
        "read-only: Device Error",
        media(3, read_only=True),
        f"write: {REFUSED}",
        data_answer("read", DATA),
    ]
    assert [write.sector for write in writes(result.events)] == [RAW]
