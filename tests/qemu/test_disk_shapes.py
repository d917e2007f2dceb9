"""Disks of every shape that QEMU can give them: each is read whole, and what it is is told.

Nearly all are in one machine; what is read is compared with the image of just that disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from image import MIB, DiskImage, SectorRange
from machine import Disk, RunResult
from probe import (
    ProbeMachine,
    Tools,
    data_answer,
    flushes,
    function_address,
    function_name,
    own_session,
    raw_image,
    spread,
)
from qemu_trace import Pop, statuses

KIB = 1024
LIMIT_S = 600
N_MANY = 64

# Read at once, it is more than one request.
LARGE = 9 * MIB

SMALL_QUEUES = "4_queues_of_4"

# Shapes that differ in the path to the device: what the bus is called, and the name on it.
PORTS = (
    *("-device", "pcie-root-port,id=port1,chassis=1,addr=0x2"),
    *("-device", "pcie-root-port,id=port2,chassis=2,addr=0x3"),
    *("-device", "pcie-pci-bridge,id=bridge,bus=port2,addr=0x0"),
)
BEHIND_PORT = ({"bus": "port1", "addr": "0x0"}, "01:00.0")
BEHIND_BRIDGE = ({"bus": "bridge", "addr": "0x1"}, "03:01.0")

# DMA of devices with iommu_platform=on passes through it; nobody has told it to translate.
IOMMU = ("-device", "intel-iommu,intremap=off,device-iotlb=on")
IOTHREAD = ("-object", "iothread,id=iothread0")


@dataclass(frozen=True)
class Shape:
    """One disk: what QEMU is told, and the words of the media's description that follow from it."""

    name: str
    options: Mapping[str, str | int] = field(default_factory=dict)
    media: str = ""
    read_only: bool = False
    ioeventfd: bool = False
    place: tuple[Mapping[str, str], str] | None = None
    least_bytes: int = 0

    def size_bytes(self, number: int) -> int:
        """No two are equally large, but for those of a few large blocks."""
        unit = max(64 * KIB, int(self.options.get("logical_block_size", 0)))
        return self.least_bytes + min(number + 1, 4 * MIB // unit) * unit


def blocks(logical: int, physical: int, media: str, **more: int) -> Shape:
    """A disk with blocks of this size."""
    options = {"logical_block_size": logical, "physical_block_size": physical, **more}
    return Shape("_".join(["blocks", str(logical), str(physical), *more]), options, media)


MODERN = {"disable-legacy": "on"}
PLATFORM = {**MODERN, "iommu_platform": "on"}

# Disks behind a port come first: QEMU's trace numbers them so.
SHAPES = (
    Shape("port_ats", {**PLATFORM, "ats": "on"}, place=BEHIND_PORT),
    Shape("bridge", place=BEHIND_BRIDGE),
    Shape("plain", media="read-only 0 caching 1 block 512 ", least_bytes=LARGE),
    Shape("queue_of_4", {"queue-size": 4}, least_bytes=LARGE),
    *(Shape(f"queue_of_{2**n}", {"queue-size": 2**n}) for n in range(3, 10)),
    Shape("queue_of_1024", {"queue-size": 1024}, least_bytes=LARGE),
    Shape("queue_of_4_no_seg_max_adjust", {"queue-size": 4, "seg-max-adjust": "off"}),
    Shape("queue_of_4_no_tables", {"queue-size": 4, "indirect_desc": "off"}),
    Shape("queue_of_1024_no_seg_max_adjust", {"queue-size": 1024, "seg-max-adjust": "off"}),
    *(Shape(f"{n}_queues", {"num-queues": n}) for n in (1, 4)),
    Shape(SMALL_QUEUES, {"num-queues": 4, "queue-size": 4}, least_bytes=LARGE),
    Shape("no_event_idx", {"event_idx": "off"}),
    Shape("no_indirect_desc", {"indirect_desc": "off"}),
    Shape("no_queue_reset", {"queue_reset": "off"}),
    Shape("no_ring_features", {"event_idx": "off", "indirect_desc": "off", "queue_reset": "off"}),
    Shape("packed", {**MODERN, "packed": "on"}),
    Shape("modern", MODERN),
    Shape("iommu_platform", PLATFORM),
    Shape("no_msix", {"vectors": 0}),
    Shape("page_per_vq", {"page-per-vq": "on"}),
    Shape("iothread", {"iothread": "iothread0"}, ioeventfd=True, least_bytes=LARGE),
    Shape("iothread_4_queues", {"iothread": "iothread0", "num-queues": 4}, ioeventfd=True),
    Shape("read_only", media="read-only 1 ", read_only=True),
    Shape("no_flush", {"config-wce": "off", "write-cache": "off"}, media="read-only 0 "),
    blocks(512, 4096, "block 512 .* lowest 0 physical 8 "),
    blocks(4096, 4096, "block 4096 .* lowest 0 physical 1 "),
    blocks(65536, 65536, "block 65536 .* lowest 0 physical 1 "),
    blocks(2 * MIB, 2 * MIB, "block 2097152 .* physical 1 "),
    blocks(512, 512, "block 512 .* physical 1 optimal 64 ", opt_io_size=64 * 512),
)
N_BEHIND_PORTS = sum(shape.place is not None for shape in SHAPES)
READ_ONLY = next(number for number, shape in enumerate(SHAPES) if shape.read_only)


@dataclass(frozen=True)
class ShapesRun:
    """What was said of each disk, and what the devices saw."""

    answers: Mapping[str, Sequence[str]]
    refusals: Sequence[str]
    images: Sequence[DiskImage]
    result: RunResult


def place_of(number: int) -> tuple[Mapping[str, str], str]:
    """Where disk `number` of SHAPES is, for QEMU and for blk_probe."""
    on_root_bus = number - N_BEHIND_PORTS
    return SHAPES[number].place or (function_address(on_root_bus), function_name(on_root_bus))


def serial_of(number: int) -> str:
    """As long as may be (5.2.6.1), shorter, or none."""
    return f"serial number of {number:03}"[: 20 - number % 21]


def shape_disk(number: int, image: DiskImage) -> Disk:
    """Disk `number` of SHAPES."""
    shape = SHAPES[number]
    return Disk(
        image,
        options={"serial": serial_of(number), **place_of(number)[0], **shape.options},
        read_only=shape.read_only,
        ioeventfd=shape.ioeventfd,
        boot=False,
    )


@pytest.fixture(scope="module")
def run(module_folder: Path, tools: Tools) -> ShapesRun:
    """All shapes in one machine: each is described and read, one is asked to be written."""
    images = [
        raw_image(module_folder / f"{shape.name}.img", shape.size_bytes(number), seed=number)
        for number, shape in enumerate(SHAPES)
    ]
    disks = [shape_disk(number, image) for number, image in enumerate(images)]
    with ProbeMachine(
        disks,
        tools,
        first_arguments=(*IOMMU, *PORTS),
        extra_arguments=IOTHREAD,
        limit_s=LIMIT_S,
    ) as machine:
        machine.load()
        answers = machine.probe_all("media", "checksum", "checksum2", "flush", "flush2", "identify")
        refusals = machine.probe(
            place_of(READ_ONLY)[1], "write 0 1 1", "write2 0 1 1", "flush", "erase 0 1"
        )
        return ShapesRun(answers, refusals, images, machine.finish())


@pytest.mark.xdist_group("disk_shapes")
@pytest.mark.parametrize("number", range(len(SHAPES)), ids=[shape.name for shape in SHAPES])
def test_given_disk_of_a_shape_when_read_whole_then_its_bytes_and_its_description_are_right(
    number: int, run: ShapesRun
) -> None:
    # Checks: BLK-REQ-8
    image, (_, name) = run.images[number], place_of(number)

    media, checksum, checksum2, *others = run.answers[name]
    last = image.size_bytes // int(SHAPES[number].options.get("logical_block_size", 512)) - 1
    assert re.search(rf"present 1 .*{SHAPES[number].media}", media), media
    assert f" last {last} " in media
    assert checksum == data_answer("checksum", image.path.read_bytes())
    assert checksum2 == data_answer("checksum2", image.path.read_bytes())
    serial = serial_of(number)
    assert others == ["flush: Success", "flush2: Success", f'identify: Success 20 bytes "{serial}"']
    assert statuses(run.result.events, number) == [0, 1, 3, 11, 15]
    session = own_session(run.result, number)
    assert session.covers([SectorRange(0, image.size_bytes // 512)])
    assert flushes(session) == 0, "a flush, though nothing was written"


@pytest.mark.xdist_group("disk_shapes")
def test_given_small_queues_when_a_disk_has_several_then_all_of_them_are_used(
    run: ShapesRun,
) -> None:
    number = next(number for number, shape in enumerate(SHAPES) if shape.name == SMALL_QUEUES)
    events = own_session(run.result, number).events
    assert {event.queue for event in events if isinstance(event, Pop)} == {0, 1, 2, 3}


@pytest.mark.xdist_group("disk_shapes")
def test_given_read_only_disk_when_written_and_flushed_then_nothing_but_reads_reaches_it(
    run: ShapesRun,
) -> None:
    # Checks: BLK-REQ-3
    assert run.refusals[:3] == [
        "write: Write Protected",
        "write2: Write Protected",
        "flush: Success",
    ]
    assert run.refusals[-1] in ("erase: Write Protected", "erase: Unsupported")
    session = own_session(run.result, READ_ONLY)
    assert session.reads
    # And the question for its serial number.
    assert len(session.reads) + 1 == sum(isinstance(event, Pop) for event in session.events)


def test_given_64_disks_when_the_driver_comes_then_it_drives_all_of_them(
    folder: Path, tools: Tools
) -> None:
    images = [
        raw_image(folder / f"{number}.img", (4 + number) * KIB, seed=100 + number)
        for number in range(N_MANY)
    ]

    disks = spread([Disk(image) for image in images])
    with ProbeMachine(disks, tools, limit_s=LIMIT_S) as machine:
        machine.load()
        answers = machine.probe_all("checksum")
        result = machine.finish()

    assert answers == {
        function_name(number): [data_answer("checksum", image.path.read_bytes())]
        for number, image in enumerate(images)
    }
    for number in range(N_MANY):
        assert statuses(result.events, number) == [0, 1, 3, 11, 15]
