"""The device's side of a split virtqueue, straight in the guest's memory.

virtio 1.4, 2.7 Split Virtqueues and 5.2.6 Device Operation. The driver is judged on the way: what
the specification forbids it is a DriverFault.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

SECTOR_BYTES = 512
HEADER_BYTES = 16

DESC_BYTES = 16
DESC_F_NEXT = 1
DESC_F_WRITE = 2
DESC_F_INDIRECT = 4
AVAIL_F_NO_INTERRUPT = 1
USED_F_NO_NOTIFY = 1

_INDEX_RANGE = 0x10000


class Kind(IntEnum):
    """What a request asks for."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8


class DriverFault(Exception):
    """The driver did what the specification forbids."""


class _Region(NamedTuple):
    """A part of the guest's memory, under the addresses of the guest and of QEMU."""

    guest_addr: int
    user_addr: int
    view: memoryview


class GuestMemory:
    """The guest's memory, as QEMU shares it. Takes the files over."""

    def __init__(self, regions: Sequence[tuple[int, int, int, int]], files: Sequence[int]) -> None:
        """`regions` are guest address, bytes, QEMU's address, and offset in the region's file."""
        self._regions = []
        for (guest_addr, n_bytes, user_addr, offset), file in zip(regions, files, strict=True):
            view = memoryview(mmap.mmap(file, offset + n_bytes))[offset:]
            self._regions.append(_Region(guest_addr, user_addr, view))
            os.close(file)

    def at(self, addr: int, n_bytes: int) -> memoryview:
        """Memory under an address that the driver gave."""
        for region in self._regions:
            start = addr - region.guest_addr
            if 0 <= start <= len(region.view) - n_bytes:
                return region.view[start : start + n_bytes]
        raise DriverFault(f"no memory of {n_bytes} bytes at {addr:#x}")

    def at_user(self, addr: int, n_bytes: int) -> memoryview:
        """Memory under an address of QEMU's, which is how it names the parts of a queue."""
        for region in self._regions:
            start = addr - region.user_addr
            if 0 <= start <= len(region.view) - n_bytes:
                return region.view[start : start + n_bytes]
        raise RuntimeError(f"QEMU names a queue at {addr:#x}, where it shares no memory")


class Descriptor(NamedTuple):
    """One descriptor, read once."""

    addr: int
    n_bytes: int
    flags: int
    next: int

    @classmethod
    def parse(cls, table: memoryview, index: int) -> Descriptor:
        """The descriptor number `index` of a table."""
        if (index + 1) * DESC_BYTES > len(table):
            raise DriverFault(f"descriptor {index} is beyond its table")
        return cls(*struct.unpack_from("<QIHH", table, index * DESC_BYTES))


@dataclass(frozen=True)
class Request:
    """A block request, as its chain describes it. The memory is the guest's."""

    head: int
    descriptors: tuple[int, ...]  # of the queue's own table, the head first
    kind: int
    sector: int
    writable: tuple[memoryview, ...]  # without the status byte
    status: memoryview
    indirect_table: memoryview | None

    @property
    def data_bytes(self) -> int:
        """What the device has to write, without the status byte."""
        return sum(len(view) for view in self.writable)

    def reads_any_of(self, start: int, end: int) -> bool:
        """Whether it reads from the sectors `start` to `end`, the latter not included."""
        behind = self.sector + self.data_bytes // SECTOR_BYTES
        return self.kind == Kind.IN and self.sector < end and start < behind


class Queue:
    """One split queue.

    An index is written as an element of a view of 16-bit words: one store, so the driver never sees
    half of an old value and half of a new one.
    """

    def __init__(
        self, memory: GuestMemory, size: int, addresses: tuple[int, int, int], base: int
    ) -> None:
        """`addresses` of descriptor table, used ring and available ring are QEMU's."""
        self._memory = memory
        self.size = size
        self.descriptor_table = memory.at_user(addresses[0], DESC_BYTES * size)
        self.used_ring = memory.at_user(addresses[1], 6 + 8 * size)
        self.available_ring = memory.at_user(addresses[2], 6 + 2 * size)
        self._used_words = self.used_ring.cast("H")
        self._available_words = self.available_ring.cast("H")
        self.available_next = base
        self.used_next = self._used_words[1]

    def take(self) -> list[Request]:
        """All chains that the driver has added. Each of its words is read once."""
        requests = []
        end = self._available_words[1]
        if (end - self.available_next) % _INDEX_RANGE > self.size:
            raise DriverFault(f"available idx {end} is further than the queue is long")
        while self.available_next != end:
            requests.append(self._parse(self._available_words[2 + self.available_next % self.size]))
            self.available_next = (self.available_next + 1) % _INDEX_RANGE
        return requests

    def put(self, index: int, n_bytes: int) -> None:
        """One more used element; the driver does not see it before publish()."""
        place = 4 + 8 * (self.used_next % self.size)
        struct.pack_into("<II", self.used_ring, place, index, n_bytes)
        self.used_next = (self.used_next + 1) % _INDEX_RANGE

    def publish(self, idx: int | None = None) -> None:
        """Show the driver all elements, or whatever a liar says instead."""
        self._used_words[1] = (self.used_next if idx is None else idx) % _INDEX_RANGE

    def set_used_flags(self, flags: int) -> None:
        """USED_F_NO_NOTIFY, or something else that a liar says."""
        self._used_words[0] = flags

    def set_available_event(self, idx: int) -> None:
        """With EVENT_IDX: after which available idx the driver is to notify (2.7.10)."""
        self._used_words[2 + 4 * self.size] = idx % _INDEX_RANGE

    def wants_interrupt(self, old_used: int, *, event_idx: bool) -> bool:
        """Whether the driver is to be told that used idx has moved on from `old_used` (2.7.7)."""
        if not event_idx:
            return not self._available_words[0] & AVAIL_F_NO_INTERRUPT
        event = self._available_words[2 + self.size]
        n_since_event = (self.used_next - event - 1) % _INDEX_RANGE
        return n_since_event < (self.used_next - old_used) % _INDEX_RANGE

    def _parse(self, head: int) -> Request:
        chain = list(self._walk(self.descriptor_table, head))
        indices = tuple(index for index, _ in chain)
        buffers = [descriptor for _, descriptor in chain]
        table = None
        if buffers[0].flags & DESC_F_INDIRECT:
            if len(buffers) > 1:
                raise DriverFault("an indirect descriptor that has a next one")
            table = self._memory.at(buffers[0].addr, buffers[0].n_bytes)
            buffers = [descriptor for _, descriptor in self._walk(table, 0)]
        return self._make_request(indices, buffers, table)

    def _walk(self, table: memoryview, index: int) -> Iterator[tuple[int, Descriptor]]:
        """A chain is at most as long as the queue, wherever its descriptors are (2.7.5.3.1)."""
        for _ in range(self.size):
            descriptor = Descriptor.parse(table, index)
            yield index, descriptor
            if not descriptor.flags & DESC_F_NEXT:
                return
            index = descriptor.next
        raise DriverFault("a chain is longer than the queue")

    def _make_request(
        self, indices: tuple[int, ...], buffers: Sequence[Descriptor], table: memoryview | None
    ) -> Request:
        """header | data | status, as everybody lays them out although nobody must (5.2.6.4)."""
        writable = [bool(buffer.flags & DESC_F_WRITE) for buffer in buffers]
        if any(buffer.flags & DESC_F_INDIRECT for buffer in buffers):
            raise DriverFault("an indirect descriptor inside a chain")
        if writable != sorted(writable):
            raise DriverFault("a readable buffer behind a writable one")
        if writable[0] or buffers[0].n_bytes != HEADER_BYTES:
            raise DriverFault("no header of 16 bytes at the beginning")
        if not writable[-1] or buffers[-1].n_bytes != 1:
            raise DriverFault("no status byte at the end")
        views = [self._memory.at(buffer.addr, buffer.n_bytes) for buffer in buffers]
        kind, _, sector = struct.unpack("<IIQ", views[0])
        first_writable = writable.index(True)
        return Request(
            head=indices[0],
            descriptors=indices,
            kind=kind,
            sector=sector,
            writable=tuple(views[first_writable:-1]),
            status=views[-1],
            indirect_table=table,
        )
