"""A vhost-user-blk back end: QEMU shows the guest a disk, and this process answers for it.

BackEnd is honest; a liar changes its methods answer(), config(), interrupt(), handle() and
patience_s(). The protocol is that of QEMU's docs/interop/vhost-user.rst, as far as a disk with one
queue needs it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from device_queue import SECTOR_BYTES, DriverFault, GuestMemory, Kind, Queue, Request

STATUS_OK = 0
STATUS_IOERR = 1
STATUS_UNSUPP = 2
ID_BYTES = 20

_HEADER = struct.Struct("=III")  # message, flags, bytes of the payload
_VERSION = 1
_REPLY = _VERSION | 4
_FILES_MAX = 8

_PROTOCOL_FEATURES = 1 << 5 | 1 << 9  # messages to QEMU, and the configuration space
_CONFIG_CHANGED = 2  # our one message to QEMU


class Feature(IntEnum):
    """Feature bits of virtio that this back end knows, and one that is between QEMU and it."""

    SIZE_MAX = 1
    SEG_MAX = 2
    GEOMETRY = 4
    BLK_SIZE = 6
    FLUSH = 9
    TOPOLOGY = 10
    INDIRECT_DESC = 28
    EVENT_IDX = 29
    PROTOCOL_FEATURES = 30
    VERSION_1 = 32


class Message(IntEnum):
    """What QEMU says."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SET_BACKEND_REQ_FD = 21
    GET_CONFIG = 24
    SET_CONFIG = 25
    RESET_DEVICE = 34


@dataclass(frozen=True)
class Config:
    """The configuration space (5.2.4), as far as this back end says anything with it."""

    capacity: int
    size_max: int = 0
    seg_max: int = 126
    cylinders: int = 1
    heads: int = 1
    sectors: int = 1
    blk_size: int = SECTOR_BYTES
    physical_block_exp: int = 0
    alignment_offset: int = 0

    def pack(self) -> bytes:
        """More than any QEMU asks for: what is behind these fields is 0."""
        known = struct.pack(
            "<QIIHBBIBB",
            *(self.capacity, self.size_max, self.seg_max),
            *(self.cylinders, self.heads, self.sectors, self.blk_size),
            *(self.physical_block_exp, self.alignment_offset),
        )
        return known.ljust(256, b"\0")


@dataclass
class Session:
    """One driver's time on the device: from its DRIVER_OK to its reset.

    `complaints` are about the driver: what the specification forbids it.
    """

    features: int
    requests: int = 0
    writes: int = 0
    config_reads: int = 0
    lies: int = 0
    is_reset: bool = False
    complaints: list[str] = field(default_factory=list)


@dataclass
class _QueueSetUp:
    """What QEMU has said about the queue so far."""

    size: int = 0
    base: int = 0
    addresses: tuple[int, int, int] | None = None
    files: dict[Message, int] = field(default_factory=dict)
    enabled: bool = False


class BackEnd:
    """One disk, served to one QEMU until QEMU goes."""

    def __init__(
        self, connection: socket.socket, image: str, config: Config, features: Sequence[int]
    ) -> None:
        self.sessions: list[Session] = []
        self._connection = connection
        self._image = os.open(image, os.O_RDONLY)
        self._config = config
        self._offered = sum(1 << bit for bit in {*features, Feature.PROTOCOL_FEATURES})
        self.accepted = 0
        self._memory: GuestMemory | None = None
        self._set_up = _QueueSetUp()
        self._queue: Queue | None = None
        self._to_qemu: socket.socket | None = None

    # --- What a liar changes ---------------------------------------------------------------------

    def answer(self, requests: Sequence[Request]) -> None:
        """Answer what the driver has published at once."""
        for request in requests:
            self.queue.put(request.head, self.carry_out(request))
        self.queue.publish()

    def config(self) -> Config:
        """What the configuration space holds now."""
        return self._config

    def handle(self, message: Message, payload: bytes, files: Sequence[int]) -> None:
        """One message of QEMU."""
        match message:
            case Message.GET_FEATURES:
                self._reply(message, struct.pack("=Q", self._offered))
            case Message.SET_FEATURES:
                (self.accepted,) = struct.unpack("=Q", payload)
            case Message.GET_PROTOCOL_FEATURES:
                self._reply(message, struct.pack("=Q", _PROTOCOL_FEATURES))
            case Message.GET_QUEUE_NUM:
                self._reply(message, struct.pack("=Q", 1))
            case Message.GET_CONFIG:
                self._reply_config(payload)
            case Message.SET_MEM_TABLE:
                regions = struct.iter_unpack("=QQQQ", payload[8:])
                self._memory = GuestMemory(list(regions), files)
            case Message.SET_BACKEND_REQ_FD:
                self._to_qemu = socket.socket(fileno=files[0])
            case Message.RESET_OWNER | Message.RESET_DEVICE:
                self._stop()
            case Message.SET_OWNER | Message.SET_PROTOCOL_FEATURES | Message.SET_CONFIG:
                pass
            case _:
                self._handle_queue(message, payload, files)

    def patience_s(self) -> float | None:
        """After which silence of QEMU the queue is looked at unasked; None for never."""
        return None

    # --- What a liar uses ------------------------------------------------------------------------

    @property
    def queue(self) -> Queue:
        """The queue, while a driver runs."""
        assert self._queue is not None
        return self._queue

    @property
    def session(self) -> Session:
        """The driver that runs, or the last one that did."""
        return self.sessions[-1]

    def has(self, feature: Feature) -> bool:
        """Whether the driver accepted it."""
        return bool(self.accepted >> feature & 1)

    def carry_out(self, request: Request) -> int:
        """Do what is asked. Returns the bytes written, which is the used len."""
        status, n_bytes = self._transfer(request)
        request.status[0] = status
        return n_bytes + 1

    def interrupt(self) -> None:
        """Tell the driver that there is something in the used ring."""
        call = self._set_up.files.get(Message.SET_VRING_CALL)
        if call is not None:
            os.write(call, struct.pack("=Q", 1))

    def wait_for_message(self, limit_s: float) -> None:
        """Until QEMU has something to say, which is not read here."""
        select.select([self._connection], [], [], limit_s)

    def announce_config(self) -> None:
        """QEMU will ask for the configuration, and tell the driver if the capacity has changed."""
        if self._to_qemu is not None:
            self._to_qemu.sendall(_HEADER.pack(_CONFIG_CHANGED, _VERSION, 0))

    # --- The disk --------------------------------------------------------------------------------

    def _transfer(self, request: Request) -> tuple[int, int]:
        match request.kind:
            case Kind.IN:
                n_bytes = os.preadv(self._image, request.writable, request.sector * SECTOR_BYTES)
                return (STATUS_OK if n_bytes == request.data_bytes else STATUS_IOERR), n_bytes
            case Kind.OUT:
                self.session.writes += 1
                return STATUS_IOERR, 0
            case Kind.FLUSH:
                return STATUS_OK, 0
            case Kind.GET_ID if request.data_bytes == ID_BYTES:
                request.writable[0][:] = b"virtboot test disk".ljust(ID_BYTES, b"\0")
                return STATUS_OK, ID_BYTES
        return STATUS_UNSUPP, 0

    def _look_at_queue(self) -> None:
        """Answer until there is nothing new."""
        while self._queue is not None and (requests := self._take()):
            event_idx = self.has(Feature.EVENT_IDX)
            if event_idx:
                self.queue.set_available_event(self.queue.available_next)
            self.session.requests += len(requests)
            self.session.complaints += self._judge(requests)
            old_used = self.queue.used_next
            self.answer(requests)
            if self.queue.wants_interrupt(old_used, event_idx=event_idx):
                self.interrupt()
            if not event_idx:
                return  # the driver notifies of every batch

    def _take(self) -> list[Request]:
        try:
            return self.queue.take()
        except DriverFault as fault:
            self.session.complaints.append(str(fault))
            self._queue = None
            return []

    def _judge(self, requests: Sequence[Request]) -> list[str]:
        """What is wrong with requests that can be carried out. Of wrong limits nobody can tell."""
        size_max = self._config.size_max if self.has(Feature.SIZE_MAX) else 0
        seg_max = self._config.seg_max if self.has(Feature.SEG_MAX) else 0
        found = []
        for request in requests:
            n_segments = len(request.writable)
            largest = max((len(segment) for segment in request.writable), default=0)
            if 0 < seg_max < n_segments:
                found.append(f"{n_segments} segments, seg_max is {seg_max}")
            if 0 < size_max < largest:
                found.append(f"a segment of {largest} bytes, size_max is {size_max}")
            if request.indirect_table is not None and not self.has(Feature.INDIRECT_DESC):
                found.append("an indirect descriptor, which was not negotiated")
        return found

    # --- The protocol ----------------------------------------------------------------------------

    def serve(self) -> None:
        """Until QEMU closes the connection."""
        while True:
            kick = self._set_up.files[Message.SET_VRING_KICK] if self._queue else None
            sources = [self._connection, *([] if kick is None else [kick])]
            ready, _, _ = select.select(sources, [], [], self.patience_s())
            if kick in ready:
                os.read(kick, 8)
            if kick in ready or not ready:
                self._look_at_queue()
            if self._connection in ready and not self._receive():
                return

    def _receive(self) -> bool:
        header, files, _, _ = socket.recv_fds(self._connection, _HEADER.size, _FILES_MAX)
        if not header:
            return False
        message, _, n_bytes = _HEADER.unpack(header)
        payload = self._connection.recv(n_bytes, socket.MSG_WAITALL) if n_bytes else b""
        self.handle(Message(message), payload, files)
        return True

    def _reply(self, message: Message, payload: bytes) -> None:
        self._connection.sendall(_HEADER.pack(message, _REPLY, len(payload)) + payload)

    def _reply_config(self, payload: bytes) -> None:
        offset, n_bytes, _ = struct.unpack_from("=III", payload)
        if self._queue is not None:
            self.session.config_reads += 1
        content = self.config().pack()[offset : offset + n_bytes]
        self._reply(Message.GET_CONFIG, payload[:12] + content)

    def _handle_queue(self, message: Message, payload: bytes, files: Sequence[int]) -> None:
        match message:
            case Message.SET_VRING_NUM:
                self._set_up.size = struct.unpack("=II", payload)[1]
            case Message.SET_VRING_BASE:
                self._set_up.base = struct.unpack("=II", payload)[1]
            case Message.SET_VRING_ADDR:
                self._set_up.addresses = struct.unpack_from("=QQQ", payload, 8)
            case Message.SET_VRING_KICK | Message.SET_VRING_CALL | Message.SET_VRING_ERR:
                self._replace_file(message, files)
            case Message.SET_VRING_ENABLE:
                self._set_up.enabled = bool(struct.unpack("=II", payload)[1])
            case Message.GET_VRING_BASE:
                base = self._queue.available_next if self._queue else self._set_up.base
                self._stop()
                self._reply(message, payload[:4] + struct.pack("=I", base))
        self._start_if_complete()

    def _replace_file(self, message: Message, files: Sequence[int]) -> None:
        old = self._set_up.files.pop(message, None)
        if old is not None:
            os.close(old)
        if files:
            self._set_up.files[message] = files[0]

    def _start_if_complete(self) -> None:
        set_up = self._set_up
        complete = set_up.enabled and set_up.addresses and Message.SET_VRING_KICK in set_up.files
        if self._queue is None and complete:
            self._queue = Queue(self._memory, set_up.size, set_up.addresses, set_up.base)
            self.sessions.append(Session(self.accepted))

    def _stop(self) -> None:
        """The driver has reset the device."""
        if self._queue is not None:
            self.session.is_reset = True
        for message in list(self._set_up.files):
            self._replace_file(message, ())
        self._queue = None
        self._set_up = _QueueSetUp()
