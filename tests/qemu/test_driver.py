"""virtio.efi in the UEFI shell: a plain driver that comes, reads, and goes again."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from image import DiskImage, build_image
from machine import Disk, Machine, RunResult, Shell
from qemu_trace import (
    STATUS_LEGACY_RUNNING,
    STATUS_RUNNING,
    Notify,
    Pop,
    Read,
    Session,
    sessions,
    statuses,
)

DRIVER_NAME = "virtio driver (virtboot)"
DEVICE_NAME = "virtio block device"
DATA_PATH = "data.bin"
MIB = 1024 * 1024
DATA = Random(2).randbytes(3 * 1024 * 1024 + 17)
READ_COMMAND = "fs0:\\read_file.efi \\data.bin"
READ_RIGHT = f"read-file: \\data.bin {len(DATA)} bytes crc32 {zlib.crc32(DATA):08x}"


@dataclass(frozen=True)
class DriverRun:
    """What the shell printed at each step, and what the device saw."""

    outputs: dict[str, str]
    result: RunResult
    image: DiskImage

    def reading_sessions(self) -> list[Session]:
        """The sessions in which somebody read the data."""
        ranges = self.image.file_sectors(DATA_PATH)
        return [part for part in sessions(self.result.events, 0) if part.covers(ranges)]


@pytest.fixture(scope="module")
def run(
    module_folder: Path, virtio_driver: Path, program: Callable[[str], Path]
) -> Iterator[DriverRun]:
    """One visit to the shell: firmware's driver, ours, and firmware's again."""
    tree = {
        "virtio.efi": virtio_driver,
        "read_file.efi": program("read_file"),
        "read_block.efi": program("read_block"),
        "component_names.efi": program("component_names"),
        DATA_PATH: DATA,
    }
    image = build_image(module_folder / "disk.img", tree, size_mib=70)
    outputs: dict[str, str] = {}
    with Machine([Disk(image)]) as machine:
        shell = Shell(machine)

        def step(name: str, *commands: str) -> None:
            outputs[name] = "\n".join(shell.run(command) for command in commands)

        step("firmware reads", READ_COMMAND)
        step("load", "load fs0:\\virtio.efi")
        step("map", "map -r")
        step("ours reads", READ_COMMAND)
        step("drivers", "drivers")
        step("devices", "devices")
        step("read block", "fs0:\\read_block.efi")
        step("names", "fs0:\\component_names.efi")
        disk = disk_handle(outputs["devices"])
        step("disconnect", f"disconnect {disk}")
        step("read without a driver", READ_COMMAND)
        step("connect", f"connect -r {disk}", "map -r")
        step("ours reads again", READ_COMMAND)
        step("unload", f"unload -n {driver_handle(outputs['drivers'])}", "map -r")
        step("firmware reads after unload", READ_COMMAND)
        step("reconnect", "reconnect -r", "map -r")
        step("drivers afterwards", "drivers")
        step("firmware reads again", READ_COMMAND)
        yield DriverRun(outputs, machine.finish(), image)


def driver_handle(drivers: str) -> str:
    """The handle of our driver in the shell's table, whose first column it is."""
    match = re.search(rf"^([0-9A-F]+) .*{re.escape(DRIVER_NAME)}", drivers, re.M)
    assert match is not None, f"no {DRIVER_NAME} among the drivers:\n{drivers}"
    return match.group(1)


def disk_handle(devices: str) -> str:
    """The handle of our disk in the shell's table of devices, whose first column it is."""
    match = re.search(rf"^ *([0-9A-F]+) .*{re.escape(DEVICE_NAME)}", devices, re.M)
    assert match is not None, f"no {DEVICE_NAME} among the devices:\n{devices}"
    return match.group(1)


def test_given_shell_when_driver_loaded_then_it_takes_the_disk_over_from_the_firmware(
    run: DriverRun,
) -> None:
    assert "Success" in run.outputs["load"], run.outputs["load"]
    assert DEVICE_NAME in run.outputs["devices"]
    assert statuses(run.result.events, 0)[:9] == [0, 1, 3, 7, 0, 1, 3, 11, 15]


def test_given_driver_loaded_when_file_read_by_a_program_then_the_bytes_are_right(
    run: DriverRun,
) -> None:
    assert READ_RIGHT in run.outputs["ours reads"], run.outputs["ours reads"]
    own = [part for part in run.reading_sessions() if part.status == STATUS_RUNNING]
    assert own, "the data was not read after our driver's DRIVER_OK"


def test_given_10_mib_when_read_at_once_then_three_requests_follow_one_notification(
    run: DriverRun,
) -> None:
    data = run.image.path.read_bytes()[: 10 * MIB]
    report = f"read-block: Success, {len(data)} bytes, crc32 {zlib.crc32(data):08X}"
    assert report in run.outputs["read block"], run.outputs["read block"]
    session = next(
        part for part in sessions(run.result.events, 0) if part.status == STATUS_RUNNING
    )
    events = [
        event for event in session.events if isinstance(event, (Notify, Pop, Read))
    ]
    # The last piece is like no other read; the three pieces and what came between are before it.
    end = next(
        place
        for place, event in enumerate(events, start=1)
        if isinstance(event, Read) and (event.sector, event.n_sectors) == (16384, 4096)
    )
    start = max(place for place in range(end) if isinstance(events[place], Notify))
    batch = events[start + 1 : end]
    reads = [event for event in batch if isinstance(event, Read)]
    assert [(read.sector, read.n_sectors) for read in reads] == [
        (0, 8192),
        (8192, 8192),
        (16384, 4096),
    ], "not all that one notification was for"
    assert sum(isinstance(event, Pop) for event in batch) == 3


def test_given_driver_loaded_when_asked_for_names_then_it_knows_english_in_both_ways_to_say_it(
    run: DriverRun,
) -> None:
    lines = [
        line.removeprefix("component-names: ")
        for line in run.outputs["names"].split("\n")
        if line.startswith("component-names: ")
    ]
    driver, disk = f'Success, "{DRIVER_NAME}"', f'Success, "{DEVICE_NAME}"'
    known = {"driver eng": driver, "driver2 en": driver, "disk eng": disk, "disk2 en": disk}
    asked = [
        f"{what} {language}"
        for language in ("eng", "en", "e", "engl", "xx")
        for what in ("driver", "driver2", "disk", "disk2")
    ]
    asked += [
        f"{what} {which} {language}"
        for which in ("other", "child")
        for language in ("eng", "en")
        for what in ("disk", "disk2")
    ]
    expected = [f"{question}: {known.get(question, 'Unsupported')}" for question in asked]
    assert lines == ["languages eng and en", *expected]


def test_given_driver_disconnected_when_connected_again_then_it_drives_the_disk_a_second_time(
    run: DriverRun,
) -> None:
    assert READ_RIGHT not in run.outputs["read without a driver"]
    assert READ_RIGHT in run.outputs["ours reads again"], run.outputs["ours reads again"]
    own = [part for part in run.reading_sessions() if part.status == STATUS_RUNNING]
    assert len(own) == 2


def test_given_driver_unloaded_when_reconnected_then_the_firmwares_driver_reads_the_file_again(
    run: DriverRun,
) -> None:
    assert READ_RIGHT in run.outputs["firmware reads"]
    assert DRIVER_NAME not in run.outputs["drivers afterwards"]
    assert READ_RIGHT in run.outputs["firmware reads again"], run.outputs["firmware reads again"]
    # Unloading alone gives the disk back; whoever reconnects all drivers only does so once more.
    after_unload = run.outputs["firmware reads after unload"]
    assert READ_RIGHT in after_unload, after_unload
    found = [part.status for part in run.reading_sessions()]
    assert found == [
        STATUS_LEGACY_RUNNING,
        STATUS_RUNNING,
        STATUS_RUNNING,
        STATUS_LEGACY_RUNNING,
        STATUS_LEGACY_RUNNING,
    ]
    assert statuses(run.result.events, 0)[-1] == STATUS_LEGACY_RUNNING


def test_given_writable_disk_when_file_written_through_the_driver_then_it_is_on_the_disk(
    folder: Path, virtio_driver: Path
) -> None:
    tree = {"virtio.efi": virtio_driver, DATA_PATH: DATA}
    image = build_image(folder / "disk.img", tree, size_mib=70)

    with Machine([Disk(image, may_change=True)]) as machine:
        shell = Shell(machine)
        shell.run("load fs0:\\virtio.efi")
        shell.run("map -r")
        shell.run("cp fs0:\\data.bin fs0:\\copy.bin")
        result = machine.finish()

    assert sessions(result.events, 0)[-1].status == STATUS_RUNNING
    assert image.read_file("copy.bin") == DATA


def test_given_disk_not_connected_by_the_firmware_when_driver_loaded_then_it_binds_at_once(
    folder: Path, virtio_driver: Path, program: Callable[[str], Path]
) -> None:
    data = build_image(folder / "data.img", {DATA_PATH: DATA}, size_mib=70)
    tools = {"virtio.efi": virtio_driver, "read_file.efi": program("read_file")}
    starter = build_image(folder / "tools.img", tools, size_mib=71)

    disks = [
        Disk(data, options={"disable-legacy": "on"}, boot=False),
        Disk(starter, bus="ahci"),
    ]
    with Machine(disks) as machine:
        shell = Shell(machine)
        tools_volume = find_volume(shell, "virtio.efi")
        shell.run(f"load {tools_volume}\\virtio.efi")
        shell.run("map -r")
        tools_volume = find_volume(shell, "read_file.efi")
        output = shell.run(f"{tools_volume}\\read_file.efi \\data.bin")
        devices = shell.run("devices")
        result = machine.finish()

    assert READ_RIGHT in output, output
    assert DEVICE_NAME in devices, devices
    assert statuses(result.events, 0) == [0, 1, 3, 11, 15]


def find_volume(shell: Shell, file: str) -> str:
    """The shell numbers volumes as it likes."""
    for number in range(4):
        if file in shell.run(f"ls fs{number}:\\{file}"):
            return f"fs{number}:"
    raise AssertionError(f"no volume has {file}")
