"""Disks whose registers are not all in memory, with queues of all kinds, and after a reset."""

from __future__ import annotations

from pathlib import Path

from image import MIB
from machine import Disk
from probe import (
    FAST_CLOCK,
    ProbeMachine,
    Tools,
    data_answer,
    filled,
    function_name,
    raw_image,
    spread,
)
from qemu_trace import statuses

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


# Blocks of 512 bytes from the eighth on are written, as probe.py's filled() says.
SEED = 9
AT, N_BYTES = 8 * 512, 4 * 512
COMMANDS = ("checksum", "checksum2", f"write 8 4 {SEED}", "flush", "reset", "checksum")


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
        [
            Disk(image, options=dict(shape), may_change=True)
            for image, shape in zip(images, SHAPES, strict=True)
        ]
    )

    with ProbeMachine(disks, tools, limit_s=LIMIT_S, extra_arguments=FAST_CLOCK) as machine:
        machine.load()
        answers = machine.probe_all(*COMMANDS)
        result = machine.finish()

    for number, content in enumerate(contents):
        written = content[:AT] + filled(N_BYTES, SEED) + content[AT + N_BYTES :]
        assert answers[function_name(number)] == [
            data_answer("checksum", content),
            data_answer("checksum2", content),
            "write: Success",
            "flush: Success",
            "reset: Success",
            data_answer("checksum", written),
        ]
        assert images[number].path.read_bytes() == written
        running = [0, 1, 3, 7] if "disable-modern" in SHAPES[number] else [0, 1, 3, 11, 15]
        assert statuses(result.events, number) == 2 * running
