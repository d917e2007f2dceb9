"""QEMU's trace of the virtio devices, as typed events: what the driver in the guest really did.

The trace comes from the device's side, so it convicts a driver that claims to have read something.
QEMU names devices by address; the events here name them by the number of the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from image import SECTOR_BYTES, DiskImage, SectorRange

TRACE_EVENTS = (
    "virtio_blk_handle_read",
    "virtio_blk_handle_write",
    "virtio_blk_rw_complete",
    "virtio_blk_req_complete",
    "virtio_notify",
    "virtio_queue_notify",
    "virtio_set_status",
    "virtqueue_pop",
)

STATUS_DRIVER_OK = 0x04
STATUS_FEATURES_OK = 0x08
STATUS_FAILED = 0x80
STATUS_LEGACY_RUNNING = 0x07  # what a driver ends with that never sets FEATURES_OK
STATUS_RUNNING = 0x0F

_LINE = re.compile(r"(virt\w+) (.*)")
_FIELD = re.compile(r"(\w+) (0x[0-9a-f]+|-?\d+)")


class TraceError(AssertionError):
    """The trace shows something else than what was claimed."""


@dataclass(frozen=True)
class Event:
    """Something that happened on one device. `place` is its position in the whole trace."""

    place: int
    disk: int


@dataclass(frozen=True)
class SetStatus(Event):
    """The driver wrote the device status."""

    value: int


@dataclass(frozen=True)
class Notify(Event):
    """The driver notified a queue."""

    queue: int


@dataclass(frozen=True)
class Interrupt(Event):
    """The device raised an interrupt for a queue."""

    queue: int


@dataclass(frozen=True)
class Pop(Event):
    """The device took a chain from a queue."""

    queue: int
    device_writable: int
    device_readable: int


@dataclass(frozen=True)
class Transfer(Event):
    """The device parsed a read or write request."""

    sector: int
    n_sectors: int

    @property
    def sectors(self) -> SectorRange:
        return SectorRange(self.sector, self.sector + self.n_sectors)


@dataclass(frozen=True)
class Read(Transfer):
    """A read request."""


@dataclass(frozen=True)
class Write(Transfer):
    """A write request."""


@dataclass(frozen=True)
class BackendDone(Event):
    """The host finished a transfer; `result` is 0 or a negative errno."""

    result: int


@dataclass(frozen=True)
class RequestDone(Event):
    """The device answered a request with this status byte."""

    status: int


@dataclass(frozen=True)
class Session:
    """One driver's time on a device: from DRIVER_OK to the next reset."""

    disk: int
    status: int
    start: int
    end: int | None
    events: tuple[Event, ...] = field(repr=False)

    @property
    def reads(self) -> list[Read]:
        return [event for event in self.events if isinstance(event, Read)]

    @property
    def notifications(self) -> int:
        return sum(isinstance(event, Notify) for event in self.events)

    @property
    def read_bytes(self) -> int:
        return sum(read.n_sectors for read in self.reads) * SECTOR_BYTES

    def covers(self, ranges: Iterable[SectorRange]) -> bool:
        """True if every sector of `ranges` was asked for."""
        return not _uncovered(ranges, [read.sectors for read in self.reads])


class Parser:
    """Turns lines into events. Learns which address is which disk and which queue."""

    def __init__(self, n_disks: int) -> None:
        self._n_disks = n_disks
        self._devices: list[str] = []
        self._queues: dict[str, tuple[int, int]] = {}

    def parse(self, text: str) -> list[Event]:
        """The events of the disks, in order; anything else in the text is left out."""
        lines = [match for line in text.splitlines() if (match := _LINE.search(line))]
        parsed = [(match.group(1), dict(_FIELD.findall(match.group(2)))) for match in lines]
        self._learn(parsed)
        events = []
        for place, (name, fields) in enumerate(parsed):
            event = self._event(place, name, fields)
            if event is not None:
                events.append(event)
        return events

    def _learn(self, parsed: Sequence[tuple[str, dict[str, str]]]) -> None:
        """QEMU resets the devices at power-on, the last on the command line first."""
        for name, fields in parsed:
            if name == "virtio_set_status" and fields["vdev"] not in self._devices:
                self._devices.append(fields["vdev"])
        if len(self._devices) != self._n_disks:
            raise TraceError(f"{self._n_disks} virtio disks, but {len(self._devices)} in the trace")
        self._devices.reverse()
        for name, fields in parsed:
            if name == "virtio_queue_notify":
                disk = self._devices.index(fields["vdev"])
                self._queues[fields["vq"]] = (disk, int(fields["n"]))

    def _event(self, place: int, name: str, fields: dict[str, str]) -> Event | None:
        if name == "virtqueue_pop":
            disk, queue = self._queues[fields["vq"]]
            return Pop(place, disk, queue, int(fields["in_num"]), int(fields["out_num"]))
        if name == "virtio_notify":
            return Interrupt(place, *self._queues[fields["vq"]])
        if "vdev" not in fields:  # of a transport, which a test has asked for
            return None
        disk = self._devices.index(fields["vdev"])
        match name:
            case "virtio_set_status":
                return SetStatus(place, disk, int(fields["val"]))
            case "virtio_queue_notify":
                return Notify(place, disk, int(fields["n"]))
            case "virtio_blk_handle_read":
                return Read(place, disk, int(fields["sector"]), int(fields["nsectors"]))
            case "virtio_blk_handle_write":
                return Write(place, disk, int(fields["sector"]), int(fields["nsectors"]))
            case "virtio_blk_rw_complete":
                return BackendDone(place, disk, int(fields["ret"]))
            case "virtio_blk_req_complete":
                return RequestDone(place, disk, int(fields["status"]))
        return None


def parse_trace(text: str, n_disks: int) -> list[Event]:
    """Parse a whole trace file."""
    return Parser(n_disks).parse(text)


def of_disk(events: Iterable[Event], disk: int) -> list[Event]:
    """The events of one disk."""
    return [event for event in events if event.disk == disk]


def statuses(events: Iterable[Event], disk: int) -> list[int]:
    """The device status as it changed. QEMU repeats the value when it stops: that is left out."""
    values: list[int] = []
    for event in of_disk(events, disk):
        if isinstance(event, SetStatus) and (not values or values[-1] != event.value):
            values.append(event.value)
    return values


def writes(events: Iterable[Event]) -> list[Write]:
    """All write requests, whoever made them."""
    return [event for event in events if isinstance(event, Write)]


def sessions(events: Iterable[Event], disk: int) -> list[Session]:
    """Each driver's time on a disk, in order: firmware's, virtboot's, Linux's."""
    found: list[Session] = []
    start: SetStatus | None = None
    inside: list[Event] = []
    for event in of_disk(events, disk):
        if isinstance(event, SetStatus) and start is not None and event.value == 0:
            found.append(Session(disk, start.value, start.place, event.place, tuple(inside)))
            start = None
        elif isinstance(event, SetStatus) and start is None and event.value & STATUS_DRIVER_OK:
            start, inside = event, []
        elif start is not None:
            inside.append(event)
    if start is not None:
        found.append(Session(disk, start.value, start.place, None, tuple(inside)))
    return found


def own_driver_oks(events: Iterable[Event], disk: int) -> list[Session]:
    """The sessions that a driver with FEATURES_OK began.

    The firmware's driver runs a transitional device in legacy mode and never sets that bit, so on
    such a device the first of these is virtboot's and a later one is Linux's.
    """
    return [session for session in sessions(events, disk) if session.status == STATUS_RUNNING]


@dataclass(frozen=True)
class ReadReport:
    """virtboot's own line about what it read."""

    n_bytes: int
    n_requests: int
    n_notifications: int

    LINE = re.compile(
        r"(?:^|\r)virtboot: read (\d+) bytes in (\d+) requests, (\d+) notifications, \d+ ms$",
        re.M,
    )

    @classmethod
    def find(cls, text: str) -> ReadReport:
        """The line, which must be there exactly once."""
        lines = cls.LINE.findall(text)
        if len(lines) != 1:
            raise TraceError(f"virtboot said {len(lines)} times what it read, not once")
        return cls(*(int(number) for number in lines[0]))


def assert_driver_is_virtboots(
    events: Sequence[Event],
    text: str,
    image: DiskImage,
    files: Iterable[str],
    *,
    disk: int = 0,
    transitional: bool = True,
    exact_notifications: bool = True,
) -> Session:
    """Fail unless virtboot's own driver read `files`, by the device's account and by its own.

    Each sector of the files was asked for between virtboot's DRIVER_OK and its reset, no file was
    read by an earlier driver, and the device counted what virtboot reports. Without `transitional`
    the firmware's driver sets FEATURES_OK too, and the counts tell which session was virtboot's.
    """
    wanted = {name: image.file_sectors(name) for name in files}
    report = ReadReport.find(text)
    session = _reading_session(events, wanted, disk, transitional)
    for name, ranges in wanted.items():
        missing = _uncovered(ranges, [read.sectors for read in session.reads])
        if missing:
            raise TraceError(f"{name}: not read after DRIVER_OK {session.status:#x}: {missing}")
        _assert_not_read_before(events, session, name, ranges)
    if session.end is None:
        raise TraceError("the device was not reset after the reading")
    found = ReadReport(session.read_bytes, len(session.reads), session.notifications)
    if not exact_notifications:
        found = ReadReport(found.n_bytes, found.n_requests, report.n_notifications)
    if found != report:
        raise TraceError(f"virtboot reports {report}, the device saw {found}")
    return session


def _reading_session(
    events: Sequence[Event],
    wanted: dict[str, list[SectorRange]],
    disk: int,
    transitional: bool,
) -> Session:
    own = own_driver_oks(events, disk)
    if not own:
        raise TraceError(f"disk {disk}: no driver reached DRIVER_OK with FEATURES_OK")
    if transitional:
        return own[0]
    everything = [part for ranges in wanted.values() for part in ranges]
    for session in own:
        if session.covers(everything):
            return session
    raise TraceError(f"disk {disk}: no one session read {', '.join(wanted)}")


def _assert_not_read_before(
    events: Iterable[Event], session: Session, name: str, ranges: Sequence[SectorRange]
) -> None:
    """The firmware's FAT driver reads 64 KiB at once, so it may have seen some neighbour's end."""
    for earlier in sessions(events, session.disk):
        if earlier.start < session.start and earlier.covers(ranges):
            raise TraceError(f"{name}: read before virtboot's DRIVER_OK by {earlier}")


def _overlap(one: SectorRange, other: SectorRange) -> bool:
    return one.start < other.end and other.start < one.end


def _uncovered(wanted: Iterable[SectorRange], read: Iterable[SectorRange]) -> list[SectorRange]:
    """The parts of `wanted` that no range of `read` contains."""
    left = list(wanted)
    for part in sorted(read, key=lambda item: item.start):
        left = [piece for item in left for piece in _without(item, part)]
    return left


def _without(item: SectorRange, part: SectorRange) -> Iterator[SectorRange]:
    if not _overlap(item, part):
        yield item
        return
    if item.start < part.start:
        yield SectorRange(item.start, part.start)
    if part.end < item.end:
        yield SectorRange(part.end, item.end)
