"""Interrupts that are dropped, doubled and delayed on their way, and 20,000 reads meanwhile.

programs/bend_interrupts.c stands between the driver and the processor. What it is for is in its
first lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from image import build_image
from machine import Disk, Machine, Shell
from probe import latency_node, numbered_image, zero_image

pytestmark = pytest.mark.xdist_group("bent_interrupts")

DRIVER = "virtio.efi"
READS = 10_000  # of each disk
DISK_BYTES = 8 * 1024 * 1024
LATENCY_NS = 1_000_000

# The firmware's tick takes 10 ms. Without one a lost wake-up would last until the request's deadline,
# 30 s; what a busy host adds is far from that.
LONGEST_MS = 5_000


@pytest.fixture(scope="module")
def output(
    module_folder: Path, virtio_driver: Path, program: Callable[[str], Path]
) -> str:
    """What the program says on a machine with a disk of a file and one with a latency."""
    tree = {DRIVER: virtio_driver, "bend.efi": program("bend_interrupts")}
    tools = build_image(module_folder / "tools.img", tree, size_mib=70)
    slow = latency_node(DISK_BYTES, LATENCY_NS)
    disks = [
        Disk(numbered_image(module_folder / "fast.img", DISK_BYTES), boot=False),
        Disk(zero_image(module_folder / "slow.img", DISK_BYTES), boot=False, protocol=slow),
        Disk(tools, bus="ahci"),
    ]
    with Machine(disks, limit_s=300) as machine:
        said = Shell(machine).run(f"fs0:bend.efi {DRIVER} {READS}")
        machine.finish()
    return said


def test_given_bent_interrupts_when_read_20000_times_then_all_are_done_once(output: str) -> None:
    """Nothing is lost, signalled twice, or wrong."""
    found = re.findall(
        r"^bend: (\d+) reads, 0 errors, 0 signalled twice, 0 wrong, longest", output, re.M
    )

    assert [int(count) >= READS for count in found] == [True, True], output
    assert "bend: Success" in output


def test_given_dropped_interrupts_when_waited_for_then_the_time_lost_is_bounded(
    output: str,
) -> None:
    """No round takes more than some ticks of the clock."""
    longest = [int(ms) for ms in re.findall(r"longest round (\d+) ms", output)]

    assert len(longest) == 2
    assert max(longest) < LONGEST_MS, output


def test_given_bent_interrupts_when_counted_then_of_each_kind_there_were_many(output: str) -> None:
    """Else the rest would show nothing."""
    found = re.search(
        r"bend: (\d+) interrupts, (\d+) dropped, (\d+) doubled, (\d+) delayed", output
    )

    assert found, output
    assert min(int(count) for count in found.groups()) >= 10, output


def test_given_driver_when_unloaded_then_no_handler_stays(output: str) -> None:
    """The vectors are free again."""
    assert re.search(r"bend: [1-9]\d* handlers before the driver is unloaded", output), output
    assert "bend: 0 handlers after that" in output
