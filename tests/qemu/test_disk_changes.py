"""Disks that go while they are read, or become another size while they are used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from image import MIB, SECTOR_BYTES, DiskImage, build_image
from machine import Disk, RunResult
from probe import ProbeMachine, Tools, data_answer, raw_image, slot_name
from qemu_trace import Read, of_disk, writes
from qtest import Qtest

VICTIM, BYSTANDER = 0, 1

# One request at a time, so that there is always one that has still to be sent.
ONE_CHAIN = {"queue-size": 4, "indirect_desc": "off"}
LARGE = 12 * MIB
LARGE_BLOCKS = LARGE // SECTOR_BYTES

READ_TRACE = "virtio_blk_handle_read "
WATCH_S = 20

# ACPI's registers to eject a device of QEMU: which bus, and which slot of it.
PC_SELECT, PC_EJECT = 0xAE10, 0xAE08
Q35_SELECT, Q35_EJECT = 0xCD0, 0xCC8
PORT = ("-device", "pcie-root-port,id=port1,chassis=1,addr=0x2")


@dataclass(frozen=True)
class Slot:
    """Where the victim is, and how it is torn out of there."""

    machine: str
    name: str
    options: dict[str, str]
    first_arguments: Sequence[str]
    select_port: int
    eject_port: int
    eject_bit: int


SLOTS = {
    "pc": Slot("pc", slot_name(VICTIM), {}, (), PC_SELECT, PC_EJECT, 0x10),
    "port": Slot(
        "q35", "01:00.0", {"bus": "port1", "addr": "0x0"}, PORT, Q35_SELECT, Q35_EJECT, 0
    ),
}


def machine_with(
    slot: Slot, disks: Sequence[Disk], tools: Tools, socket: Path
) -> ProbeMachine:
    """A machine of the slot's kind, whose registers can be written from here."""
    return ProbeMachine(
        disks,
        tools,
        machine=slot.machine,
        first_arguments=slot.first_arguments,
        extra_arguments=Qtest.arguments(socket),
    )


def tear_out(machine: ProbeMachine, slot: Slot, socket: Path) -> None:
    """The guest is asked to let go of the device, and is not waited for."""
    machine.qmp().execute("device_del", id=f"device{VICTIM}")
    with Qtest(socket) as qtest:
        qtest.outl(slot.select_port, 0)
        qtest.outl(slot.eject_port, 1 << slot.eject_bit)


@pytest.mark.parametrize("where", sorted(SLOTS))
def test_given_disk_torn_out_in_the_middle_of_a_read_when_read_then_there_is_no_media_at_once(
    where: str, folder: Path, tools: Tools
) -> None:
    slot, socket = SLOTS[where], folder / "qtest"
    victim = raw_image(folder / "victim.img", LARGE, seed=400)
    bystander = raw_image(folder / "bystander.img", MIB, seed=401)
    disks = [
        Disk(victim, options={**slot.options, **ONE_CHAIN}, boot=False),
        Disk(bystander, boot=False),
    ]

    with machine_with(slot, disks, tools, socket) as machine:
        machine.load()
        whole = machine.probe(slot.name, f"read 0 {LARGE_BLOCKS}")
        seen = machine.trace_count(READ_TRACE)
        machine.freeze(VICTIM)
        begun = machine.begin(slot.name, f"read 0 {LARGE_BLOCKS}", "read 0 8", "flush")
        # One passes, one is held. QEMU answers it before the device goes; the next has no answer.
        machine.wait_for_trace(READ_TRACE, seen + 2)
        tear_out(machine, slot, socket)
        answers = machine.end(slot.name, begun)
        other = machine.probe(slot_name(BYSTANDER), "checksum")
        machine.finish()

    assert whole == [data_answer("read", victim.path.read_bytes())]
    # With the deadline's answer it would be a device error.
    assert answers == [
        f"read: No Media {LARGE} bytes crc32 00000000",
        "read: No Media 4096 bytes crc32 00000000",
        "flush: No Media",
    ]
    assert other == [data_answer("checksum", bystander.path.read_bytes())]


@pytest.mark.parametrize("where", sorted(SLOTS))
def test_given_idle_disk_when_torn_out_then_its_media_is_gone_and_a_reset_disk_goes_on(
    where: str, folder: Path, tools: Tools
) -> None:
    slot, socket = SLOTS[where], folder / "qtest"
    victim = raw_image(folder / "victim.img", MIB, seed=402)
    bystander = raw_image(folder / "bystander.img", MIB, seed=403)
    disks = [Disk(victim, options=slot.options, boot=False), Disk(bystander, boot=False)]

    with machine_with(slot, disks, tools, socket) as machine:
        machine.load()
        begun = machine.begin(slot.name, f"watch {WATCH_S}", "read 0 8", "flush", "flush2")
        machine.wait_for_new(begun, "watch: started")
        tear_out(machine, slot, socket)
        answers = machine.end(slot.name, begun)
        other = machine.probe(slot_name(BYSTANDER), "reset", "checksum")
        machine.finish()

    assert answers == [
        "watch: started",
        "watch: Media changed",
        "read: No Media 4096 bytes crc32 00000000",
        "flush: No Media",
        "flush2: No Media",
    ]
    assert other == ["reset: Success", data_answer("checksum", bystander.path.read_bytes())]


OLD_MIB, GROWN_MIB, SHRUNK_MIB = 70, 90, 80


@dataclass(frozen=True)
class ResizeRun:
    """What was answered before, after the growth and after the shrinking."""

    before: Sequence[str]
    grown: Sequence[str]
    shrunk: Sequence[str]
    image: DiskImage
    result: RunResult


def media_id(answers: Sequence[str]) -> int:
    """The last that was told."""
    (*_, told) = re.findall(r"^media: id (\d+) ", "\n".join(answers), re.M)
    return int(told)


def blocks(size_mib: int) -> int:
    """How many a disk of this size has."""
    return size_mib * MIB // SECTOR_BYTES


def resize_under(machine: ProbeMachine, size_mib: int, *commands: str) -> list[str]:
    """Make the disk another size while it is looked at, and then do something with it."""
    begun = machine.begin(slot_name(0), f"watch {WATCH_S}", "media", "volumes", *commands)
    machine.wait_for_new(begun, "watch: started")
    machine.qmp().execute("block_resize", **{"node-name": "disk0", "size": size_mib * MIB})
    return machine.end(slot_name(0), begun)


@pytest.fixture(scope="module")
def resized(module_folder: Path, tools: Tools) -> ResizeRun:
    """One disk, with a file system, that grows and shrinks again."""
    image = build_image(module_folder / "disk.img", {"a.txt": "a"}, size_mib=OLD_MIB)
    with ProbeMachine([Disk(image, boot=False, may_change=True)], tools) as machine:
        machine.load()
        before = machine.probe(slot_name(0), "media", "volumes", f"read {blocks(OLD_MIB)} 1")
        tail = blocks(OLD_MIB) - 8
        old = (f"id {media_id(before)}", "read 0 8")
        last = f"read {blocks(GROWN_MIB) - 1} 1"
        grown = resize_under(machine, GROWN_MIB, f"read {tail} 16", last, *old)
        old = (f"id {media_id(grown)}", "read 0 8")
        beyond = f"read {blocks(SHRUNK_MIB) - 1} 2"
        shrunk = resize_under(machine, SHRUNK_MIB, beyond, f"read {tail} 16", *old)
        return ResizeRun(before, grown, shrunk, image, machine.finish())


def changed_read() -> str:
    """The answer to who still thinks that the disk is as it was."""
    return "read: Media changed 4096 bytes crc32 00000000"


def assert_media(line: str, size_mib: int) -> None:
    """The description of the whole disk, present and of this size."""
    assert re.match(rf"media: id \d+ present 1 read-only 0 .* last {blocks(size_mib) - 1} ", line)


@pytest.mark.xdist_group("resized_disk")
def test_given_disk_that_grows_when_watched_then_it_is_new_media_with_its_file_system(
    resized: ResizeRun,
) -> None:
    # Checks: BLK-REQ-1
    media, volumes, beyond = resized.before
    assert_media(media, OLD_MIB)
    assert volumes == "volumes: 1"
    assert beyond == "read: Invalid Parameter 512 bytes crc32 00000000"

    assert resized.grown[:2] == ["watch: started", "watch: Media changed"]
    assert_media(resized.grown[2], GROWN_MIB)
    assert media_id(resized.grown) != media_id(resized.before)
    data = resized.image.path.read_bytes()
    start = (blocks(OLD_MIB) - 8) * SECTOR_BYTES
    assert resized.grown[3:] == [
        "volumes: 1",
        data_answer("read", data[start : start + 16 * SECTOR_BYTES]),
        data_answer("read", bytes(SECTOR_BYTES)),
        changed_read(),
    ]


@pytest.mark.xdist_group("resized_disk")
def test_given_disk_that_shrinks_when_watched_then_nothing_beyond_its_end_is_asked_for(
    resized: ResizeRun,
) -> None:
    # Checks: BLK-REQ-2
    assert resized.shrunk[:2] == ["watch: started", "watch: Media changed"]
    assert_media(resized.shrunk[2], SHRUNK_MIB)
    ids = [media_id(part) for part in (resized.before, resized.grown, resized.shrunk)]
    assert len(set(ids)) == 3, ids
    data = resized.image.path.read_bytes()
    start = (blocks(OLD_MIB) - 8) * SECTOR_BYTES
    assert resized.shrunk[3:] == [
        "volumes: 1",
        "read: Invalid Parameter 1024 bytes crc32 00000000",
        data_answer("read", data[start : start + 16 * SECTOR_BYTES]),
        changed_read(),
    ]
    # The disk says so itself if it is asked for what it has not.
    reads = [event for event in of_disk(resized.result.events, 0) if isinstance(event, Read)]
    assert max(read.sectors.end for read in reads) <= blocks(GROWN_MIB)
    last = [read for read in reads if read.sectors.end > blocks(SHRUNK_MIB)]
    assert [(read.sector, read.n_sectors) for read in last][-1:] == [(blocks(GROWN_MIB) - 1, 1)]
    assert not writes(resized.result.events)
