"""Disks whose registers are not all in memory: legacy ones, modern ones that are notified through a
port, and such with BARs that have no address.
"""

from __future__ import annotations

import re
from pathlib import Path

from image import INITRD_PATH, KERNEL_PATH, MIB, DiskImage
from machine import Disk, Shell, run_machine
from probe import (
    DRIVER,
    FAST_CLOCK,
    ProbeMachine,
    Tools,
    data_answer,
    function_name,
    raw_image,
    slot_name,
    spread,
)
from qemu_trace import ReadReport, sessions, statuses

LIMIT_S = 300
LEGACY = {"disable-modern": "on", "disable-legacy": "off"}

SHAPES = (
    LEGACY,
    {**LEGACY, "vectors": 0},
    {**LEGACY, "queue-size": 4},
    {**LEGACY, "queue-size": 1024},
    {**LEGACY, "num-queues": 4, "queue-size": 16},
    {**LEGACY, "event_idx": "off", "indirect_desc": "off"},
    {"modern-pio-notify": "on"},
    {"modern-pio-notify": "on", "disable-legacy": "on", "event_idx": "off"},
)


def test_given_registers_in_io_space_when_read_and_written_then_data_is_right(
    folder: Path, tools: Tools
) -> None:
    """Checks: PCI-LEG-1, PCI-LEG-5, X-PCIL-2, X-PCIL-3"""
    images = [
        raw_image(folder / f"{number}.img", MIB + number * 4096, seed=number)
        for number in range(len(SHAPES))
    ]
    contents = [image.path.read_bytes() for image in images]
    disks = spread(
        [Disk(image, options=dict(shape)) for image, shape in zip(images, SHAPES, strict=True)]
    )

    with ProbeMachine(disks, tools, limit_s=LIMIT_S, extra_arguments=FAST_CLOCK) as machine:
        machine.load()
        answers = machine.probe_all("checksum", "checksum2", "flush", "reset", "checksum")
        result = machine.finish()

    for number, content in enumerate(contents):
        assert answers[function_name(number)] == [
            data_answer("checksum", content),
            data_answer("checksum2", content),
            "flush: Success",
            "reset: Success",
            data_answer("checksum", content),
        ]
        running = [0, 1, 3, 7] if "disable-modern" in SHAPES[number] else [0, 1, 3, 11, 15]
        assert statuses(result.events, number) == 2 * running


def test_given_legacy_only_device_when_booted_then_virtboots_driver_reads_the_kernel(
    debian_image: DiskImage,
) -> None:
    """Checks: PCI-LEG-4, PCI-LEG-5, X-CONF-2"""
    result = run_machine([Disk(debian_image, options=LEGACY)], never=["BdsDxe: failed"])

    result.assert_ordered(
        "virtboot: booting", "virtboot: read ", "virtboot-init: userspace reached", "powering off"
    )
    # The firmware's driver, ours, and Linux's.
    assert statuses(result.events, 0)[:9] == [0, 1, 3, 7, 0, 1, 3, 7, 0]
    ours = sessions(result.events, 0)[1]
    report = ReadReport.find(result.text)
    assert (ours.read_bytes, len(ours.reads)) == (report.n_bytes, report.n_requests)
    for name in (KERNEL_PATH, INITRD_PATH):
        assert ours.covers(debian_image.file_sectors(name))


def take_address(shell: Shell, disk: str, *registers: int) -> None:
    """Leave BARs of the disk without an address, as a firmware that has none left would."""
    _, slot, function = re.split("[:.]", disk)
    for bar in registers:
        shell.run(f"mm 00{slot}{int(function):02X}{0x10 + 4 * bar:02X} 0 -w 4 -pci -n")


def test_given_bars_without_an_address_when_driven_then_by_another_way_or_named(
    folder: Path, tools: Tools
) -> None:
    """Checks: PCI-CFGA-1, PCI-CFGA-2, PCI-CFGA-3"""
    shapes = ({"disable-legacy": "on"}, {}, LEGACY)
    images = [
        raw_image(folder / f"{number}.img", MIB + number * 4096, seed=number)
        for number in range(len(shapes))
    ]
    content = [image.path.read_bytes() for image in images]
    disks = [
        Disk(image, options=dict(shape), boot=False)
        for image, shape in zip(images, shapes, strict=True)
    ]

    with ProbeMachine(disks, tools, limit_s=LIMIT_S, extra_arguments=FAST_CLOCK) as machine:
        machine.shell = shell = Shell(machine)
        for number, registers in enumerate([(4, 5), (4, 5), (0,)]):
            take_address(shell, slot_name(number), *registers)
        said = shell.run(f"load fs0:\\{DRIVER}")
        answers = [
            machine.probe(slot_name(number), "checksum", "flush", "reset", "checksum2")
            for number in (0, 1)
        ]
        result = machine.finish()

    # The modern registers of both are reached through configuration space.
    for number in (0, 1):
        assert answers[number] == [
            data_answer("checksum", content[number]),
            "flush: Success",
            "reset: Success",
            data_answer("checksum2", content[number]),
        ]
        assert statuses(result.events, number) == 2 * [0, 1, 3, 11, 15]
    assert re.search(r"the firmware gave no address to its BAR 0x0\b", said), said
    assert statuses(result.events, 2) == [0], "a disk that was to be left alone"
