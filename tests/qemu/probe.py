"""A machine whose virtio disks virtio.efi drives and programs/blk_probe.c uses.

The firmware never has the disks: they are not in its boot order, and the tools come from an AHCI
disk. So all that the trace shows of a disk is our driver's doing.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from image import DiskImage, build_image
from machine import FIRST_SLOT, Disk, Machine, RunResult, Shell
from qemu_trace import Pop, Session, own_driver_oks

PREFIX = "blk-probe: "
FUNCTIONS = 8

# 30 s of the guest's time take about 1 s. Not for what takes time on the host: that comes too late.
FAST_CLOCK = ("-icount", "shift=10,sleep=off")
DRIVER = "virtio.efi"
PROGRAM = "p.efi"  # short: what is typed into the shell takes longer than what it does


def raw_image(path: Path, size_bytes: int, *, seed: int) -> DiskImage:
    """A disk without partitions. Every seed has other bytes, so that no disk passes for another."""
    path.write_bytes(Random(seed).randbytes(size_bytes))
    return DiskImage(path, 0)


def zero_image(path: Path, size_bytes: int) -> DiskImage:
    """What a null-co node shows."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return DiskImage(path, 0)


def numbered_image(path: Path, size_bytes: int) -> DiskImage:
    """Each eight bytes are their own offset."""
    path.write_bytes(struct.pack(f"<{size_bytes // 8}Q", *range(0, size_bytes, 8)))
    return DiskImage(path, 0)


def latency_node(size_bytes: int, latency_ns: int) -> dict[str, Any]:
    """For Disk.protocol: each read takes so long, and gives what is in zero_image()."""
    node = {"driver": "null-co", "size": size_bytes, "read-zeroes": True}
    return {**node, "latency-ns": latency_ns}


def filled(n_bytes: int, seed: int) -> bytes:
    """What blk_probe writes; fill() in its source."""
    return bytes((seed + 7 * i + (i >> 8)) & 0xFF for i in range(n_bytes))


def data_answer(command: str, data: bytes) -> str:
    """What blk_probe says after it has read exactly `data`."""
    return f"{command}: Success {len(data)} bytes crc32 {zlib.crc32(data):08X}"


def spread(disks: Sequence[Disk]) -> list[Disk]:
    """The same disks, eight in each slot as functions of one device."""
    return [
        replace(disk, options={**function_address(number), **disk.options}, boot=False)
        for number, disk in enumerate(disks)
    ]


def function_address(number: int) -> dict[str, str]:
    """Where disk `number` of spread() is."""
    slot, function = divmod(number, FUNCTIONS)
    address = {"addr": f"{FIRST_SLOT + slot - 8:#x}.{function}"}
    return {**address, "multifunction": "on"} if function == 0 else address


def function_name(number: int) -> str:
    """What blk_probe calls disk `number` of spread()."""
    slot, function = divmod(number, FUNCTIONS)
    return f"00:{FIRST_SLOT + slot - 8:02X}.{function}"


def slot_name(number: int) -> str:
    """What blk_probe calls disk `number` of a machine where each has its own slot."""
    return f"00:{FIRST_SLOT + number:02X}.0"


@dataclass(frozen=True)
class Tools:
    """The disk that the UEFI shell finds our programs on."""

    image: DiskImage

    @classmethod
    def build(cls, path: Path, driver: Path, program: Callable[[str], Path]) -> Tools:
        """With the driver and the program on it."""
        tree = {DRIVER: driver, PROGRAM: program("blk_probe")}
        return cls(build_image(path, tree, size_mib=70))

    def disk(self) -> Disk:
        """For the machine, behind all virtio disks."""
        return Disk(self.image, bus="ahci")


class ProbeMachine(Machine):
    """A machine in the UEFI shell. load() gives the disks to our driver."""

    def __init__(self, disks: Sequence[Disk], tools: Tools, **options: Any) -> None:
        super().__init__([*disks, tools.disk()], **options)
        self.shell: Shell | None = None

    def load(self) -> str:
        """Load virtio.efi, which takes all disks. Returns what it said."""
        self.shell = Shell(self)
        return self.shell.run(f"load fs0:\\{DRIVER}")

    def probe(self, disk: str, *commands: str) -> list[str]:
        """Run commands on one disk; returns one line for each, without what they all begin with."""
        return self._answers(disk, self._run(self._command_line(disk, *commands)))

    def probe_all(self, *commands: str, disks: str = "all") -> dict[str, list[str]]:
        """Run commands on all disks, or all whose names have this beginning."""
        output = self._run(self._command_line(disks, *commands))
        names = dict.fromkeys(re.findall(rf"^{PREFIX}(\w\w:\w\w\.\w) ", output, re.M))
        return {name: self._answers(name, output) for name in names}

    def begin(self, disk: str, *commands: str) -> int:
        """As probe(), but do not wait for the end: end() does, with what this returns."""
        assert self.shell is not None, "load() comes first"
        return self.shell.begin(self._command_line(disk, *commands))

    def end(self, disk: str, begun: int) -> list[str]:
        """The answers to what was begun."""
        assert self.shell is not None, "load() comes first"
        return self._answers(disk, self.shell.finish(begun))

    def wait_for_new(self, begun: int, text: str) -> None:
        """Until what was begun has said so."""
        self.wait_until(lambda all_text: text in all_text[begun:])

    def freeze(self, number: int, *, what: str = "bps_rd") -> None:
        """The disk reads nearly nothing any more, from the second request on; bps_wr: writes."""
        self._limit(number, {what: 1})

    def thaw(self, number: int) -> None:
        """All that is frozen is answered at once."""
        self._limit(number, {})

    def _limit(self, number: int, limits: dict[str, int]) -> None:
        """Here and not in a node below, because a reset waits for what such a node holds back."""
        none = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
        self.qmp().execute("block_set_io_throttle", id=virtio_path(number), **{**none, **limits})

    def _run(self, command: str) -> str:
        assert self.shell is not None, "load() comes first"
        output = self.shell.run(command)
        assert f"{PREFIX}done" in output, output
        return output

    @staticmethod
    def _command_line(disk: str, *commands: str) -> str:
        return f"fs0:{PROGRAM} {disk} {' '.join(commands)}"

    @staticmethod
    def _answers(disk: str, output: str) -> list[str]:
        beginning = f"{PREFIX}{disk} "
        lines = (line.rstrip() for line in output.split("\n"))
        return [line.removeprefix(beginning) for line in lines if line.startswith(beginning)]


def virtio_path(number: int) -> str:
    """What QMP calls the virtio device of disk `number`."""
    return f"/machine/peripheral/device{number}/virtio-backend"


def own_session(result: RunResult, disk: int) -> Session:
    """Our driver's time on a disk, which it had only once."""
    (session,) = own_driver_oks(result.events, disk)
    return session


def is_flush(pop: Pop) -> bool:
    """Only a flush has nothing but its header and its status (5.2.6)."""
    return (pop.device_readable, pop.device_writable) == (1, 1)


def flushes(session: Session) -> int:
    """How many the device took."""
    return sum(is_flush(event) for event in session.events if isinstance(event, Pop))
