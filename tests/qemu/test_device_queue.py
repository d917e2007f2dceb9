"""The device's side of a queue that the tests use: it must find fault with a bad driver."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import pytest
from device_queue import (
    DESC_F_INDIRECT,
    DESC_F_NEXT,
    DESC_F_WRITE,
    DriverFault,
    GuestMemory,
    Kind,
    Queue,
)

SIZE = 4
MEMORY_BYTES = 0x10000
USER_ADDR = 0x7F0000000000
DESCRIPTORS, AVAILABLE, USED, TABLE, HEADER, DATA, STATUS = range(0, 0x7000, 0x1000)

Descriptor = tuple[int, int, int, int]

HEAD: Descriptor = (HEADER, 16, DESC_F_NEXT, 1)
BODY: Descriptor = (DATA, 512, DESC_F_NEXT | DESC_F_WRITE, 2)
TAIL: Descriptor = (STATUS, 1, DESC_F_WRITE, 0)


class Driver:
    """Just enough of one, without a guest."""

    def __init__(self) -> None:
        file = os.memfd_create("guest")
        os.ftruncate(file, MEMORY_BYTES)
        self.memory = GuestMemory([(0, MEMORY_BYTES, USER_ADDR, 0)], [file])
        addresses = (USER_ADDR + DESCRIPTORS, USER_ADDR + USED, USER_ADDR + AVAILABLE)
        self.queue = Queue(self.memory, SIZE, addresses, 0)

    def write(self, addr: int, content: bytes) -> None:
        """Into the guest's memory."""
        self.memory.at(addr, len(content))[:] = content

    def publish(self, chain: Sequence[Descriptor], *, table: Sequence[Descriptor] = ()) -> None:
        """A read of sector 7, described by `chain`."""
        self.write(HEADER, struct.pack("<IIQ", Kind.IN, 0, 7))
        for place, descriptors in ((DESCRIPTORS, chain), (TABLE, table)):
            for number, descriptor in enumerate(descriptors):
                self.write(place + 16 * number, struct.pack("<QIHH", *descriptor))
        self.write(AVAILABLE, struct.pack("<HHH", 0, 1, 0))


def test_given_good_chains_when_taken_then_they_are_the_request_that_they_describe() -> None:
    direct, indirect = Driver(), Driver()
    direct.publish([HEAD, BODY, TAIL])
    indirect.publish([(TABLE, 48, DESC_F_INDIRECT, 0)], table=[HEAD, BODY, TAIL])

    for driver, descriptors in ((direct, (0, 1, 2)), (indirect, (0,))):
        (request,) = driver.queue.take()

        assert request.descriptors == descriptors
        assert (request.kind, request.sector, request.data_bytes) == (Kind.IN, 7, 512)
        assert request.reads_any_of(7, 8)
        assert not request.reads_any_of(8, 9)
        assert not request.reads_any_of(6, 7)
        assert driver.queue.take() == []


BAD_CHAINS = {
    "loop": ([HEAD, (DATA, 512, DESC_F_NEXT | DESC_F_WRITE, 1)], "longer than the queue"),
    "next_beyond_the_table": ([(HEADER, 16, DESC_F_NEXT, SIZE)], "beyond its table"),
    "no_memory": ([HEAD, (MEMORY_BYTES - 511, 512, BODY[2], 2), TAIL], "no memory"),
    "readable_behind_writable": (
        [HEAD, BODY, (STATUS, 1, DESC_F_WRITE | DESC_F_NEXT, 3), (DATA, 1, 0, 0)],
        "readable buffer behind",
    ),
    "short_header": ([(HEADER, 15, DESC_F_NEXT, 1), BODY, TAIL], "no header"),
    "header_only": ([(HEADER, 16, 0, 0)], "no status byte"),
    "long_status": ([HEAD, BODY, (STATUS, 2, DESC_F_WRITE, 0)], "no status byte"),
    "indirect_with_next": ([(TABLE, 48, DESC_F_INDIRECT | DESC_F_NEXT, 1), TAIL], "a next one"),
    "indirect_behind_direct": ([HEAD, (TABLE, 48, DESC_F_INDIRECT, 0)], "inside a chain"),
}


@pytest.mark.parametrize("name", BAD_CHAINS)
def test_given_bad_chain_when_taken_then_the_driver_is_at_fault(name: str) -> None:
    chain, reason = BAD_CHAINS[name]
    driver = Driver()
    driver.publish(chain)

    with pytest.raises(DriverFault, match=reason):
        driver.queue.take()


def test_given_available_idx_beyond_the_queue_when_taken_then_the_driver_is_at_fault() -> None:
    driver = Driver()
    driver.write(AVAILABLE, struct.pack("<HH", 0, SIZE + 1))

    with pytest.raises(DriverFault, match="further than the queue"):
        driver.queue.take()


def test_given_event_index_when_used_idx_passes_it_then_an_interrupt_is_due() -> None:
    driver = Driver()
    driver.write(AVAILABLE + 4 + 2 * SIZE, struct.pack("<H", 1))

    driver.queue.put(0, 1)
    assert not driver.queue.wants_interrupt(0, event_idx=True)
    driver.queue.put(0, 1)
    assert driver.queue.wants_interrupt(0, event_idx=True)
    assert driver.queue.wants_interrupt(1, event_idx=True)
    driver.queue.put(0, 1)
    assert not driver.queue.wants_interrupt(2, event_idx=True)
