"""Every kind of virtio PCI device that QEMU can make, in every machine, or QEMU's words why not.

All disks that can be in one machine are in one, each with content of its own. The kernel is booted
from a few kinds of them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from image import INITRD_PATH, KERNEL_PATH, SECTOR_BYTES, DiskImage, SectorRange
from machine import QEMU, Disk, RunResult, run_machine
from probe import (
    ProbeMachine,
    Tools,
    data_answer,
    function_name,
    raw_image,
    spread,
    virtio_path,
)
from qemu_trace import Notify, ReadReport, sessions, statuses

KIB = 1024

MACHINES = ("q35", "pc")
INTERFACES = {
    "modern": {"disable-legacy": "on", "disable-modern": "off"},
    "transitional": {"disable-legacy": "off", "disable-modern": "off"},
    "legacy": {"disable-legacy": "off", "disable-modern": "on"},
}
INTERRUPTS: Mapping[str, Mapping[str, str | int]] = {"msix": {}, "no_vectors": {"vectors": 0}}

# This firmware has no driver for the 8259s, so nobody can be on an interrupt line.
COMPLETION = {
    "msix": "MSI-X with 2 vectors",
    "no_vectors": "polled: the firmware offers no way to its interrupt line",
}
IOMMU = ("-device", "intel-iommu")

LEGACY_BRING_UP = [0, 1, 3, 7]
MODERN_BRING_UP = [0, 1, 3, 11, 15]

VERSION_1 = "VIRTIO_F_VERSION_1"
ACCESS_PLATFORM = "VIRTIO_F_IOMMU_PLATFORM"
EVENT_IDX = "VIRTIO_RING_F_EVENT_IDX"


@dataclass(frozen=True)
class Flavour:
    """One kind of device in one kind of machine."""

    machine: str
    interface: str
    interrupts: str
    event_idx: str
    iommu_platform: str
    has_iommu: bool

    def __str__(self) -> str:
        iommu = "iommu" if self.has_iommu else "no_iommu"
        event_idx, platform = f"event_idx_{self.event_idx}", f"platform_{self.iommu_platform}"
        words = (self.machine, self.interface, self.interrupts, event_idx, platform, iommu)
        return "-".join(words)

    @property
    def options(self) -> dict[str, str | int]:
        """What QEMU is told of the device."""
        return {
            **INTERFACES[self.interface],
            **INTERRUPTS[self.interrupts],
            "event_idx": self.event_idx,
            "iommu_platform": self.iommu_platform,
        }

    @property
    def is_legacy(self) -> bool:
        """Whether there is nothing but the legacy interface."""
        return self.interface == "legacy"

    @property
    def place(self) -> tuple[str, bool]:
        """The machine that it is in, with all others of which the same holds."""
        return (self.machine, self.has_iommu)

    @property
    def features(self) -> set[str]:
        """Of those that differ between flavours, what is to be negotiated."""
        found = {EVENT_IDX} if self.event_idx == "on" else set()
        found |= {ACCESS_PLATFORM} if self.iommu_platform == "on" else set()
        return found if self.is_legacy else found | {VERSION_1}


PRODUCT = tuple(
    Flavour(*values)
    for values in product(
        MACHINES, INTERFACES, INTERRUPTS, ("on", "off"), ("off", "on"), (False, True)
    )
)


@dataclass(frozen=True)
class Refusal:
    """What QEMU does not make, and what it says instead."""

    message: str
    refuses: Callable[[Flavour], bool]


REFUSALS = (
    Refusal(
        "Parameter 'driver' expects a dynamic sysbus device type for the machine",
        lambda flavour: flavour.machine == "pc" and flavour.has_iommu,
    ),
    Refusal(
        "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device",
        lambda flavour: flavour.iommu_platform == "on" and flavour.interface != "modern",
    ),
)

# What is in each machine that is started, by the names of interfaces and values of iommu_platform.
BOOTS: Mapping[tuple[str, bool], Sequence[tuple[str, str]]] = {
    place: (("modern", "off"), ("modern", "on"), ("transitional", "off"), ("legacy", "off"))
    for place in (("q35", False), ("q35", True), ("pc", False))
}


def refusals_of(flavour: Flavour) -> list[str]:
    """QEMU says the first."""
    return [refusal.message for refusal in REFUSALS if refusal.refuses(flavour)]


def flavours_in(place: tuple[str, bool]) -> list[Flavour]:
    """The disks of a machine, in order."""
    return [
        flavour
        for flavour in PRODUCT
        if flavour.place == place
        and (flavour.interface, flavour.iommu_platform) in BOOTS[place]
    ]


DRIVEN = [flavour for place in BOOTS for flavour in flavours_in(place)]
REFUSED = [flavour for flavour in PRODUCT if refusals_of(flavour)]


def grouped(flavours: Sequence[Flavour]) -> list[Any]:
    """As parameters: what needs the same machine is run by the same process."""
    return [
        pytest.param(
            flavour,
            id=str(flavour),
            marks=pytest.mark.xdist_group(f"flavours_{flavour.machine}_{flavour.has_iommu}"),
        )
        for flavour in flavours
    ]


def machine_options(place: tuple[str, bool]) -> dict[str, Any]:
    """For Machine."""
    machine, has_iommu = place
    return {"machine": machine, "first_arguments": IOMMU if has_iommu else ()}


# --- The product is whole -------------------------------------------------------------------------


def test_given_product_of_flavours_when_counted_then_each_is_driven_or_refused() -> None:
    """None is missing, and none is both."""
    assert len(set(PRODUCT)) == 2 * 3 * 2 * 2 * 4
    assert sorted(map(str, PRODUCT)) == sorted(map(str, [*DRIVEN, *REFUSED]))


@pytest.mark.parametrize("flavour", REFUSED, ids=str)
def test_given_flavour_that_cannot_be_when_qemu_started_then_it_says_why(
    flavour: Flavour,
) -> None:
    device = {"drive": "disk", **flavour.options}
    words = [QEMU, "-nodefaults", "-machine", flavour.machine, "-accel", "tcg", "-S"]
    words += ["-display", "none", "-monitor", "stdio", *(IOMMU if flavour.has_iommu else ())]
    words += ["-blockdev", "driver=null-co,node-name=disk", "-device"]
    words += ["virtio-blk-pci," + ",".join(f"{name}={value}" for name, value in device.items())]

    ended = subprocess.run(
        words, input="quit\n", capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1, "QEMU makes it, so it belongs to what is driven"
    assert ended.stderr.rstrip().endswith(f": {refusals_of(flavour)[0]}")


# --- Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlavourRun:
    """One machine: what was said of each disk, and what the devices say."""

    flavours: Sequence[Flavour]
    images: Sequence[DiskImage]
    said: str
    answers: Mapping[str, Sequence[str]]
    devices: Sequence[Mapping[str, Any]]
    result: RunResult


def run_flavours(folder: Path, tools: Tools, place: tuple[str, bool]) -> FlavourRun:
    """All disks of one machine are read whole, in both ways."""
    flavours = flavours_in(place)
    images = [
        raw_image(
            folder / f"{flavour}.img",
            (256 + 4 * number) * KIB,
            seed=1000 + PRODUCT.index(flavour),
        )
        for number, flavour in enumerate(flavours)
    ]
    disks = [
        Disk(image, options=flavour.options)
        for image, flavour in zip(images, flavours, strict=True)
    ]
    with ProbeMachine(spread(disks), tools, **machine_options(place)) as machine:
        said = machine.load()
        answers = machine.probe_all("checksum", "checksum2")
        devices = [
            machine.qmp().execute("x-query-virtio-status", path=virtio_path(number))
            for number in range(len(disks))
        ]
        return FlavourRun(flavours, images, said, answers, devices, machine.finish())


@pytest.fixture(scope="module")
def q35_run(module_folder: Path, tools: Tools) -> FlavourRun:
    """The disks of a machine."""
    return run_flavours(module_folder, tools, ("q35", False))


@pytest.fixture(scope="module")
def q35_iommu_run(module_folder: Path, tools: Tools) -> FlavourRun:
    """The disks of a machine with an IOMMU."""
    return run_flavours(module_folder, tools, ("q35", True))


@pytest.fixture(scope="module")
def pc_run(module_folder: Path, tools: Tools) -> FlavourRun:
    """The disks of an old machine."""
    return run_flavours(module_folder, tools, ("pc", False))


@pytest.fixture
def run(flavour: Flavour, request: pytest.FixtureRequest) -> FlavourRun:
    """That of the test's machine."""
    iommu = "_iommu" if flavour.has_iommu else ""
    found: FlavourRun = request.getfixturevalue(f"{flavour.machine}{iommu}_run")
    return found


def negotiated(device: Mapping[str, Any]) -> set[str]:
    """What the driver has accepted, by QEMU's names, of what the flavours differ in."""
    features = device["guest-features"]
    names = {text.split(":")[0] for text in features["transports"]}
    return names & {VERSION_1, ACCESS_PLATFORM, EVENT_IDX}


@pytest.mark.parametrize("flavour", grouped(DRIVEN))
def test_given_flavour_when_read_whole_then_bytes_interface_and_features_are_right(
    flavour: Flavour, run: FlavourRun
) -> None:
    number = run.flavours.index(flavour)
    content = run.images[number].path.read_bytes()

    assert run.answers[function_name(number)] == [
        data_answer("checksum", content),
        data_answer("checksum2", content),
    ]
    bring_up = LEGACY_BRING_UP if flavour.is_legacy else MODERN_BRING_UP
    assert statuses(run.result.events, number) == bring_up
    (session,) = sessions(run.result.events, number)
    assert session.covers([SectorRange(0, run.images[number].size_bytes // SECTOR_BYTES)])
    assert negotiated(run.devices[number]) == flavour.features


@pytest.mark.parametrize("flavour", grouped(DRIVEN))
def test_given_flavour_when_driver_loaded_then_it_says_how_completion_is_learnt(
    flavour: Flavour, run: FlavourRun
) -> None:
    """By a vector for the configuration and one for the queue, or by looking."""
    name = function_name(run.flavours.index(flavour))

    (line,) = re.findall(rf"^virtio: virtio-blk 0000:{name}: (.*)$", run.said, re.M)
    assert line.endswith(f", {COMPLETION[flavour.interrupts]}"), line


# --- Booting --------------------------------------------------------------------------------------

BOOTED = (
    Flavour("pc", "legacy", "msix", "on", "off", False),
    Flavour("q35", "legacy", "msix", "on", "off", False),
    Flavour("q35", "transitional", "no_vectors", "on", "off", False),
    Flavour("q35", "modern", "msix", "on", "on", True),
)


@pytest.mark.parametrize("flavour", BOOTED, ids=str)
def test_given_flavour_when_booted_then_virtboots_driver_reads_the_kernel(
    flavour: Flavour, debian_image: DiskImage
) -> None:
    """Checks: PCI-LEG-4, PCI-LEG-5, X-CONF-2"""
    result = run_machine(
        [Disk(debian_image, options=flavour.options)],
        never=["BdsDxe: failed"],
        **machine_options(flavour.place),
    )

    result.assert_ordered(
        "virtboot: booting", "virtboot: read ", "virtboot-init: userspace reached", "powering off"
    )
    # The firmware's driver, which prefers the legacy interface; ours; Linux's.
    legacy, modern = LEGACY_BRING_UP, MODERN_BRING_UP
    firmware = modern if flavour.interface == "modern" else legacy
    ours = legacy if flavour.is_legacy else modern
    assert statuses(result.events, 0)[: len(firmware + ours + ours)] == firmware + ours + ours
    assert_virtboot_read(result, debian_image)


def assert_virtboot_read(result: RunResult, image: DiskImage) -> None:
    """The second driver of the disk has read the files, and what it says of that is so."""
    session = sessions(result.events, 0)[1]
    for path in (KERNEL_PATH, INITRD_PATH):
        assert session.covers(image.file_sectors(path)), path
    n_notifications = sum(isinstance(event, Notify) for event in session.events)
    report = ReadReport.find(result.text)
    assert report == ReadReport(session.read_bytes, len(session.reads), n_notifications)
