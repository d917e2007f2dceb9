"""Disks behind an IOMMU that translates, and one beside it, which must not be given its addresses.

The firmware's own driver does give it to that one, and waits for ever; so it is not given back.

programs/translate_dma.c programs the IOMMU; a device that reaches for anything that was not mapped
for it finds nothing there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from image import DiskImage, build_image
from machine import Disk, Machine, Shell
from probe import raw_image, slot_name

pytestmark = pytest.mark.xdist_group("dma_translation")

DRIVER = "virtio.efi"
IOMMU = ("-device", "intel-iommu,intremap=off")
BEHIND = {"iommu_platform": "on", "disable-legacy": "on"}
OPTIONS = [
    BEHIND,
    {**BEHIND, "num-queues": 4, "queue-size": 16},
    {**BEHIND, "seg-max-adjust": "off", "event_idx": "off", "indirect_desc": "off"},
]
BESIDE = [{"iommu_platform": "off", "disable-legacy": "on"}, {"iommu_platform": "off"}]
DISK_BYTES = 6 * 1024 * 1024


@dataclass(frozen=True)
class Run:
    """What the program said, and what is on the disks."""

    output: str
    images: list[DiskImage]

    def counts(self, when: str) -> list[int]:
        """The numbers of a line."""
        found = re.search(rf"^translate: {when}: (.*)$", self.output, re.M)
        assert found, self.output
        return [int(number) for number in re.findall(r"\d+", found[1])]


def translate(
    folder: Path, files: Mapping[str, Path], options: Sequence[Mapping[str, str | int]], word: str
) -> Run:
    """One visit to the shell, which does not come back from the program."""
    tools = build_image(folder / "tools.img", files, size_mib=70)
    images = [
        raw_image(folder / f"disk{number}.img", DISK_BYTES, seed=number)
        for number in range(len(options))
    ]
    disks = [
        Disk(image, options=its_options, boot=False)
        for image, its_options in zip(images, options, strict=True)
    ]
    disks.append(Disk(tools, bus="ahci"))
    with Machine(disks, first_arguments=IOMMU) as machine:
        Shell(machine).begin(f"fs0:t.efi {DRIVER} {word}")
        machine.wait_for("translate: faults", "translate: Success")
        output = machine.text
        machine.finish()
    return Run(output, images)


@pytest.fixture(scope="module")
def files(virtio_driver: Path, program: Callable[[str], Path]) -> Mapping[str, Path]:
    """What the shell finds."""
    return {DRIVER: virtio_driver, "t.efi": program("translate_dma")}


@pytest.fixture(scope="module")
def run(module_folder: Path, files: Mapping[str, Path]) -> Run:
    """Disks behind the IOMMU."""
    return translate(module_folder, files, OPTIONS, "")


def assert_right(run: Run, number: int) -> None:
    """What was read is what is on the disk."""
    checksum = zlib.crc32(run.images[number].path.read_bytes())

    assert f"translate: {slot_name(number)} Success crc32 {checksum:08X}\n".lower() in (
        run.output.lower()
    )


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_given_translated_addresses_when_read_then_all_is_right(number: int, run: Run) -> None:
    """Whatever the shape of the queues."""
    assert_right(run, number)


def test_given_disk_beside_the_iommu_when_read_then_it_was_given_physical_addresses(
    folder: Path, files: Mapping[str, Path]
) -> None:
    """Although the firmware maps for whoever asks.

    Checks: RSVD-5
    """
    run = translate(folder, files, BESIDE, "stay")

    for number in range(len(BESIDE)):
        assert_right(run, number)
    assert run.counts("mapped in all")[:2] == [0, 0]
    assert "translate: faults 0" in run.output


def test_given_translated_disks_when_read_then_every_buffer_was_mapped(run: Run) -> None:
    """Data is device-writable for a read, rings and headers are common."""
    _, writable, common = run.counts("mapped in all")

    assert writable >= 30
    assert common >= 3 * len(OPTIONS)
    assert run.counts("with the driver")[:2] == [0, 0]


def test_given_driver_when_unloaded_then_nothing_stays_mapped(run: Run) -> None:
    """Neither mappings nor buffers."""
    assert run.counts("without it") == [0, 0, 0, 0]


def test_given_all_that_was_done_then_the_iommu_had_nothing_to_refuse(run: Run) -> None:
    """Not even from a device that was let go of."""
    assert "translate: faults 0" in run.output
