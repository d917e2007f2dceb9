"""Disks that go while they are read, or become another size while they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from image import MIB, SECTOR_BYTES
from machine import Disk
from probe import ProbeMachine, Tools, data_answer, raw_image, slot_name
from qemu_trace import Event, Read, of_disk
from qtest import Qtest

VICTIM, BYSTANDER = 0, 1

# One request at a time, so that there is always one that has still to be sent.
ONE_CHAIN = {"queue-size": 4, "indirect_desc": "off"}
LARGE = 12 * MIB
LARGE_BLOCKS = LARGE // SECTOR_BYTES

# ACPI's registers to eject a device of QEMU: which bus, and which slot of it.
PC_SELECT, PC_EJECT = 0xAE10, 0xAE08
Q35_SELECT, Q35_EJECT = 0xCD0, 0xCC8
PORT = ("-device", "pcie-root-port,id=port1,chassis=1,addr=0x2")


@dataclass(frozen=True)
class Slot:
    """Where the victim is, and how it is torn out of there."""

    machine: str
    name: str
    options: dict[str, str]
    first_arguments: Sequence[str]
    select_port: int
    eject_port: int
    eject_bit: int


SLOTS = {
    "pc": Slot("pc", slot_name(VICTIM), {}, (), PC_SELECT, PC_EJECT, 0x10),
    "port": Slot(
        "q35", "01:00.0", {"bus": "port1", "addr": "0x0"}, PORT, Q35_SELECT, Q35_EJECT, 0
    ),
}


def tear_out(machine: ProbeMachine, slot: Slot, socket: Path) -> None:
    """The guest is asked to let go of the device, and is not waited for."""
    machine.qmp().execute("device_del", id=f"device{VICTIM}")
    with Qtest(socket) as qtest:
        qtest.outl(slot.select_port, 0)
        qtest.outl(slot.eject_port, 1 << slot.eject_bit)


def reads_of_victim(events: Sequence[Event]) -> int:
    """How many were sent."""
    return sum(isinstance(event, Read) for event in of_disk(events, VICTIM))


@pytest.mark.parametrize("where", sorted(SLOTS))
def test_given_disk_torn_out_in_the_middle_of_a_read_when_read_then_there_is_no_media_at_once(
    where: str, folder: Path, tools: Tools
) -> None:
    slot, socket = SLOTS[where], folder / "qtest"
    victim = raw_image(folder / "victim.img", LARGE, seed=400)
    bystander = raw_image(folder / "bystander.img", MIB, seed=401)
    disks = [
        Disk(victim, options={**slot.options, **ONE_CHAIN}, boot=False),
        Disk(bystander, boot=False),
    ]

    with ProbeMachine(
        disks,
        tools,
        machine=slot.machine,
        first_arguments=slot.first_arguments,
        extra_arguments=Qtest.arguments(socket),
    ) as machine:
        machine.load()
        whole = machine.probe(slot.name, f"read 0 {LARGE_BLOCKS}")
        seen = reads_of_victim(machine.events())
        machine.freeze(VICTIM)
        begun = machine.begin(slot.name, f"read 0 {LARGE_BLOCKS}", "read 0 8", "flush")
        # One passes, one is held. QEMU answers it before the device goes; the next has no answer.
        machine.wait_for_events(lambda events: reads_of_victim(events) == seen + 2)
        tear_out(machine, slot, socket)
        answers = machine.end(slot.name, begun)
        other = machine.probe(slot_name(BYSTANDER), "checksum")
        machine.finish()

    assert whole == [data_answer("read", victim.path.read_bytes())]
    # With the deadline's answer it would be a device error.
    assert answers == [
        f"read: No Media {LARGE} bytes crc32 00000000",
        "read: No Media 4096 bytes crc32 00000000",
        "flush: No Media",
    ]
    assert other == [data_answer("checksum", bystander.path.read_bytes())]
