"""Disks wherever PCI lets them be: behind ports, switches and bridges, as functions of one device,
with registers above 4 GiB, with notifications through a port, and with BARs that nobody assigned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from image import DiskImage, build_image
from machine import Disk, Machine, RunResult, Shell
from probe import DRIVER, PROGRAM, ProbeMachine, Tools, data_answer, raw_image, virtio_path
from qemu_trace import statuses

KIB = 1024
GIB = 1 << 30

MODERN = {"disable-legacy": "on", "disable-modern": "off"}
TRANSITIONAL = {"disable-legacy": "off", "disable-modern": "off"}
LEGACY = {"disable-legacy": "off", "disable-modern": "on"}
PIO_NOTIFY = {"modern-pio-notify": "on"}

STATUS_OF = {"legacy": {"ACKNOWLEDGE", "DRIVER", "DRIVER_OK"}}
STATUS_OF["modern"] = STATUS_OF["legacy"] | {"FEATURES_OK"}

# BAR 4 has the modern registers, BAR 2 the port for notifications, BAR 0 the legacy registers, and
# BAR 1 the MSI-X table.
MODERN_BAR = 4

NOTIFIED_BY_PORT = "virtio_pci_notify_write_pio"
NOTIFIED_BY_MEMORY = "virtio_pci_notify_write "
NOTIFIED = "virtio_queue_notify "


def bridge(driver: str, name: str, **options: str) -> tuple[str, str]:
    """QEMU's words for a port, a switch or a bridge."""
    words = [driver, f"id={name}", *(f"{key}={value}" for key, value in options.items())]
    return ("-device", ",".join(words))


# A chassis number per slot, as PCI Express wants it.
Q35_BRIDGES = (
    *bridge("pcie-root-port", "port1", chassis="1", addr="0x2"),
    *bridge("pcie-root-port", "port2", chassis="2", addr="0x3"),
    *bridge("pcie-root-port", "port3", chassis="3", addr="0x4"),
    *bridge("pcie-root-port", "port4", chassis="4", addr="0x5"),
    *bridge("x3130-upstream", "switch", bus="port3"),
    *bridge("xio3130-downstream", "switch1", bus="switch", chassis="5", addr="0x0"),
    *bridge("xio3130-downstream", "switch2", bus="switch", chassis="6", addr="0x1"),
    *bridge("pcie-pci-bridge", "bridge1", bus="port4"),
    *bridge("pci-bridge", "bridge2", bus="bridge1", chassis_nr="7", addr="0x2"),
)
PC_BRIDGES = (
    *bridge("pci-bridge", "bridge1", chassis_nr="1", addr="0x8"),
    *bridge("pci-bridge", "bridge2", bus="bridge1", chassis_nr="2", addr="0x2"),
)


@dataclass(frozen=True)
class Place:
    """One disk: where it is, and of which kind."""

    name: str
    where: Mapping[str, str]
    kind: Mapping[str, str]
    bridges: int = 0  # above it

    @property
    def interface(self) -> str:
        """By which our driver is to drive it."""
        return "legacy" if self.kind.get("disable-modern") == "on" else "modern"

    @property
    def has_port(self) -> bool:
        """For notifications."""
        return "modern-pio-notify" in self.kind


def functions(bus: str, slot: str, kinds: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Addresses in one slot; the first says that there are others."""
    first = {"bus": bus, "addr": slot, "multifunction": "on"}
    return [first, *({"bus": bus, "addr": f"{slot}.{n}"} for n in range(1, len(kinds)))]


EIGHT_KINDS = (MODERN, TRANSITIONAL, LEGACY, {**MODERN, **PIO_NOTIFY}) * 2
PLACES: Mapping[str, Sequence[Place]] = {
    "q35": (
        Place("root_bus", {"addr": "0x10"}, MODERN),
        Place("port_on_root_bus", {"addr": "0x11"}, {**MODERN, **PIO_NOTIFY}),
        Place("root_port", {"bus": "port1", "addr": "0x0"}, MODERN, 1),
        *(
            Place(f"function_{number}_of_8", where, kind, 1)
            for number, (where, kind) in enumerate(
                zip(functions("port2", "0x0", EIGHT_KINDS), EIGHT_KINDS, strict=True)
            )
        ),
        Place("switch", {"bus": "switch1", "addr": "0x0"}, MODERN, 3),
        Place("switch_transitional", {"bus": "switch2", "addr": "0x0"}, TRANSITIONAL, 3),
        Place("bridge", {"bus": "bridge1", "addr": "0x1"}, MODERN, 2),
        Place("bridge_legacy", {"bus": "bridge1", "addr": "0x3"}, LEGACY, 2),
        Place("bridge_port", {"bus": "bridge1", "addr": "0x4"}, {**MODERN, **PIO_NOTIFY}, 2),
        Place("bridge_bridge_transitional", {"bus": "bridge2", "addr": "0x1"}, TRANSITIONAL, 3),
        Place("bridge_bridge_legacy", {"bus": "bridge2", "addr": "0x2"}, LEGACY, 3),
    ),
    "pc": (
        Place("root_bus_port", {"addr": "0x10"}, {**TRANSITIONAL, **PIO_NOTIFY}),
        Place("bridge", {"bus": "bridge1", "addr": "0x1"}, MODERN, 1),
        Place("bridge_legacy", {"bus": "bridge1", "addr": "0x3"}, LEGACY, 1),
        *(
            Place(f"bridge_function_{number}_of_4", where, kind, 1)
            for number, (where, kind) in enumerate(
                zip(functions("bridge1", "0x4", EIGHT_KINDS[:4]), EIGHT_KINDS[:4], strict=True)
            )
        ),
        Place("bridge_bridge", {"bus": "bridge2", "addr": "0x1"}, TRANSITIONAL, 2),
        Place("bridge_bridge_legacy", {"bus": "bridge2", "addr": "0x2"}, LEGACY, 2),
    ),
}
BRIDGES = {"q35": Q35_BRIDGES, "pc": PC_BRIDGES}
ALL_PLACES = [
    pytest.param(
        machine,
        number,
        id=f"{machine}-{place.name}",
        marks=pytest.mark.xdist_group(f"{machine}_places"),
    )
    for machine, places in PLACES.items()
    for number, place in enumerate(places)
]
ON_EACH_MACHINE = pytest.mark.parametrize(
    "machine",
    [pytest.param(name, marks=pytest.mark.xdist_group(f"{name}_places")) for name in PLACES],
)


# --- What QEMU says of a function -----------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """One PCI function, as the firmware has set it up."""

    name: str
    n_bridges: int
    bars: Mapping[int, int | None]  # addresses; None: it has none


def walk(devices: Sequence[Mapping[str, Any]], n_bridges: int) -> Iterator[tuple[str, Function]]:
    """All below, by the names on QEMU's command line."""
    for device in devices:
        name = f"{device['bus']:02X}:{device['slot']:02X}.{device['function']:X}"
        bars = {
            region["bar"]: region["address"] if 0 < region["address"] < 1 << 63 else None
            for region in device["regions"]
        }
        yield device["qdev_id"], Function(name, n_bridges, bars)
        if "pci_bridge" in device:
            yield from walk(device["pci_bridge"].get("devices", []), n_bridges + 1)


def pci_functions(machine: Machine) -> dict[str, Function]:
    """All of a machine."""
    return dict(
        found for bus in machine.qmp().execute("query-pci") for found in walk(bus["devices"], 0)
    )


# --- Places ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlacesRun:
    """One machine: where the disks were found, and what came of them."""

    images: Sequence[DiskImage]
    functions: Sequence[Function]
    answers: Mapping[str, Sequence[str]]
    devices: Sequence[Mapping[str, Any]]
    counts: Mapping[int, Mapping[str, int]]  # of those with a port, while they were read once more


def count_notifications(machine: ProbeMachine, name: str) -> dict[str, int]:
    """How a disk is notified while it is read."""
    kinds = (NOTIFIED, NOTIFIED_BY_PORT, NOTIFIED_BY_MEMORY)
    before = {kind: machine.trace_count(kind) for kind in kinds}
    machine.probe(name, "checksum")
    return {kind: machine.trace_count(kind) - before[kind] for kind in kinds}


def run_places(folder: Path, tools: Tools, name: str) -> PlacesRun:
    """All disks of one machine are read whole, in both ways."""
    places = PLACES[name]
    images = [
        raw_image(folder / f"{name}{number}.img", (256 + 4 * number) * KIB, seed=2000 + number)
        for number in range(len(places))
    ]
    disks = [
        Disk(image, options={**place.where, **place.kind}, boot=False)
        for image, place in zip(images, places, strict=True)
    ]
    with ProbeMachine(disks, tools, machine=name, first_arguments=BRIDGES[name]) as machine:
        machine.qmp().execute(
            "trace-event-set-state", name="virtio_pci_notify_write*", enable=True
        )
        machine.load()
        found = pci_functions(machine)
        disk_functions = [found[f"device{number}"] for number in range(len(disks))]
        answers = machine.probe_all("checksum", "checksum2")
        counts = {
            number: count_notifications(machine, disk_functions[number].name)
            for number, place in enumerate(places)
            if place.has_port
        }
        devices = [
            machine.qmp().execute("x-query-virtio-status", path=virtio_path(number))
            for number in range(len(disks))
        ]
        machine.finish()
    return PlacesRun(images, disk_functions, answers, devices, counts)


@pytest.fixture(scope="module")
def q35_run(module_folder: Path, tools: Tools) -> PlacesRun:
    """The machine with PCI Express."""
    return run_places(module_folder, tools, "q35")


@pytest.fixture(scope="module")
def pc_run(module_folder: Path, tools: Tools) -> PlacesRun:
    """The machine without."""
    return run_places(module_folder, tools, "pc")


@pytest.fixture
def run(machine: str, request: pytest.FixtureRequest) -> PlacesRun:
    """That of the test's machine."""
    found: PlacesRun = request.getfixturevalue(f"{machine}_run")
    return found


def device_status(device: Mapping[str, Any]) -> set[str]:
    """The bits of the device status, by QEMU's names."""
    names = {text.split(":")[0] for text in device["status"]["statuses"]}
    return {name.removeprefix("VIRTIO_CONFIG_S_") for name in names}


@pytest.mark.parametrize(("machine", "number"), ALL_PLACES)
def test_given_disk_in_a_place_when_read_whole_then_bytes_and_interface_are_right(
    machine: str, number: int, run: PlacesRun
) -> None:
    place = PLACES[machine][number]
    content = run.images[number].path.read_bytes()

    assert run.functions[number].n_bridges == place.bridges
    assert run.answers[run.functions[number].name] == [
        data_answer("checksum", content),
        data_answer("checksum2", content),
    ]
    assert device_status(run.devices[number]) == STATUS_OF[place.interface]


@ON_EACH_MACHINE
def test_given_port_for_notifications_when_disk_read_then_all_of_them_go_there(
    machine: str, run: PlacesRun
) -> None:
    assert len(run.counts) == sum(place.has_port for place in PLACES[machine])
    for number, count in run.counts.items():
        assert count[NOTIFIED_BY_PORT] == count[NOTIFIED] > 0, PLACES[machine][number].name
        assert count[NOTIFIED_BY_MEMORY] == 0, PLACES[machine][number].name


@ON_EACH_MACHINE
def test_given_registers_above_4_gib_when_disk_read_then_it_was_driven_there(
    machine: str, run: PlacesRun
) -> None:
    """OVMF puts prefetchable BARs there, but not behind a bridge that cannot reach so far."""
    far = [
        place
        for place, function in zip(PLACES[machine], run.functions, strict=True)
        if (function.bars.get(MODERN_BAR) or 0) >= 4 * GIB
    ]
    assert {place.name for place in far} >= {
        place.name for place in PLACES[machine] if place.interface == "modern" and not place.bridges
    }
    assert {place.interface for place in far} == {"modern"}


# --- BARs without an address ----------------------------------------------------------------------

UNASSIGN = "u.efi"


@dataclass(frozen=True)
class Unassigned:
    """One disk, the BARs that lose their addresses, and what is to come of it."""

    name: str
    kind: Mapping[str, str]
    bars: Sequence[int] = ()
    error: str | None = None


NO_BAR_0 = r"cannot be driven: .*BAR (0x)?0\b"

# Of a disk with a port, BAR 2 and BAR 4 are not taken both: QEMU's window does not tell one from the
# other, so that a notification would go to what is in BAR 4 at the port's offset.
UNASSIGNED = (
    Unassigned("untouched", MODERN),
    Unassigned("modern", MODERN, (4,)),
    Unassigned("modern_all", MODERN, (1, 4)),
    Unassigned("modern_msix_table", MODERN, (1,)),
    Unassigned("modern_port", {**MODERN, **PIO_NOTIFY}, (2,)),
    Unassigned("modern_all_but_port", {**MODERN, **PIO_NOTIFY}, (1, 4)),
    Unassigned("transitional", TRANSITIONAL, (4,)),
    Unassigned("transitional_all", TRANSITIONAL, (0, 1, 4)),
    Unassigned("transitional_legacy_registers", TRANSITIONAL, (0,)),
    Unassigned("legacy_msix_table", LEGACY, (1,)),
    Unassigned("legacy", LEGACY, (0,), NO_BAR_0),
    Unassigned("legacy_all", LEGACY, (0, 1), NO_BAR_0),
)


@dataclass(frozen=True)
class UnassignedRun:
    """What was said of each disk, and where its registers were."""

    images: Sequence[DiskImage]
    functions: Sequence[Function]
    said: str
    answers: Mapping[str, Sequence[str]]
    result: RunResult


@pytest.fixture(scope="module")
def unassigned(
    module_folder: Path, virtio_driver: Path, program: Callable[[str], Path]
) -> UnassignedRun:
    """Addresses are taken away, and then the driver is loaded."""
    tree = {
        DRIVER: virtio_driver,
        PROGRAM: program("blk_probe"),
        UNASSIGN: program("unassign_bar"),
    }
    tools = Tools(build_image(module_folder / "unassign.img", tree, size_mib=70))
    images = [
        raw_image(module_folder / f"u{number}.img", (256 + 4 * number) * KIB, seed=3000 + number)
        for number in range(len(UNASSIGNED))
    ]
    disks = [
        Disk(image, options=case.kind, boot=False)
        for image, case in zip(images, UNASSIGNED, strict=True)
    ]
    with ProbeMachine(disks, tools) as machine:
        shell = Shell(machine)
        shell.run(f"fs0:{UNASSIGN} {' '.join(words_to_unassign(machine))}")
        found = pci_functions(machine)
        functions_found = [found[f"device{number}"] for number in range(len(disks))]
        said = machine.load()
        answers = machine.probe_all("checksum", "checksum2")
        return UnassignedRun(images, functions_found, said, answers, machine.finish())


def words_to_unassign(machine: Machine) -> list[str]:
    """What unassign_bar is told."""
    found = pci_functions(machine)
    return [
        word
        for number, case in enumerate(UNASSIGNED)
        if case.bars
        for word in (found[f"device{number}"].name, *map(str, case.bars))
    ]


ALL_UNASSIGNED = [
    pytest.param(number, id=case.name, marks=pytest.mark.xdist_group("unassigned"))
    for number, case in enumerate(UNASSIGNED)
]


def has_no_address(function: Function, bars: Sequence[int]) -> bool:
    """Just these of its BARs."""
    return sorted(bar for bar, address in function.bars.items() if address is None) == list(bars)


@pytest.mark.parametrize("number", ALL_UNASSIGNED)
def test_given_bar_without_an_address_when_driver_loaded_then_disk_is_read_or_left_alone(
    number: int, unassigned: UnassignedRun
) -> None:
    """What lies in such a BAR is reached through the configuration space; if not, it is said.

    Checks: PCI-CFGA-1, PCI-CFGA-2, PCI-CFGA-3
    """
    case, function = UNASSIGNED[number], unassigned.functions[number]
    content = unassigned.images[number].path.read_bytes()
    said = [line for line in unassigned.said.split("\n") if f"0000:{function.name}: " in line]
    errors = [line for line in said if "error: " in line]

    assert has_no_address(function, case.bars), function
    if case.error:
        assert errors and all(re.search(case.error, line) for line in errors), unassigned.said
        assert function.name not in unassigned.answers
        assert statuses(unassigned.result.events, number) == [0]
        return
    assert errors == []
    assert unassigned.answers[function.name] == [
        data_answer("checksum", content),
        data_answer("checksum2", content),
    ]
    legacy = case.kind == LEGACY
    expected = [0, 1, 3, 7] if legacy else [0, 1, 3, 11, 15]
    assert statuses(unassigned.result.events, number) == expected
