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
from qemu_trace import STATUS_LEGACY_RUNNING, STATUS_RUNNING, Session, sessions, statuses

DRIVER_NAME = "virtio driver (virtboot)"
DEVICE_NAME = "virtio block device"
DATA_PATH = "data.bin"
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
        handle = driver_handle(outputs["drivers"])
        step("unload", f"unload -n {handle}")
        step("reconnect", "reconnect -r", "map -r")
        step("drivers afterwards", "drivers")
        step("firmware reads again", READ_COMMAND)
        yield DriverRun(outputs, machine.finish(), image)


def driver_handle(drivers: str) -> str:
    """The handle of our driver in the shell's table, whose first column it is."""
    match = re.search(rf"^([0-9A-F]+) .*{re.escape(DRIVER_NAME)}", drivers, re.M)
    assert match is not None, f"no {DRIVER_NAME} among the drivers:\n{drivers}"
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
    assert len(own) == 1, "the data was not read after our driver's DRIVER_OK"


def test_given_driver_unloaded_when_reconnected_then_the_firmwares_driver_reads_the_file_again(
    run: DriverRun,
) -> None:
    assert READ_RIGHT in run.outputs["firmware reads"]
    assert DRIVER_NAME not in run.outputs["drivers afterwards"]
    assert READ_RIGHT in run.outputs["firmware reads again"], run.outputs["firmware reads again"]
    found = [part.status for part in run.reading_sessions()]
    assert found == [STATUS_LEGACY_RUNNING, STATUS_RUNNING, STATUS_LEGACY_RUNNING]
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
