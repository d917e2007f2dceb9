"""A vhost-user-blk back end that lies, to virtboot's driver only.

    lying_back_end.py PLAN < LISTENING-SOCKET

PLAN is a Plan as JSON. The program serves the first QEMU that connects, ends with it, and prints
a Report as JSON: what each driver asked for, and how often it was lied to. Firmware and Linux hear
the truth, because either may wait for a liar for ever; but what is wrong in the configuration space
is so for everybody, because QEMU asks for that once, at its start.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from device_queue import USED_F_NO_NOTIFY, Request
from vhost_user_blk import BackEnd, Config, Feature, Message, Session

FIRMWARE, VIRTBOOT, LINUX = "firmware", "virtboot", "linux"

# SEG_MAX and GEOMETRY are there to tell the drivers apart.
USUAL_FEATURES = (
    Feature.SEG_MAX,
    Feature.GEOMETRY,
    Feature.BLK_SIZE,
    Feature.FLUSH,
    Feature.TOPOLOGY,
    Feature.VERSION_1,
)

# Chunks of read-ahead and a read: no more are in flight at the same time while booting.
MAY_BE_UNREAD = 64
LATE_S = 1.5
EARLY_S = 0.1
FLICKER_S = 0.02
# Until a driver that was caught by a lie has reset the device.
SEEN_LIMIT_S = 60
POLL_S = 0.001

# Longer than any test, for the case that nobody is left to end this program.
LIMIT_S = 900


def driver_of(features: int) -> str:
    """Who accepts these features: the firmware takes no SEG_MAX, virtboot no GEOMETRY."""
    if not features >> Feature.SEG_MAX & 1:
        return FIRMWARE
    return LINUX if features >> Feature.GEOMETRY & 1 else VIRTBOOT


@dataclass(frozen=True)
class Plan:
    """What a disk lies about, and from when on.

    A lie of the queue begins with the first request that reads one of `sectors` (start, and end not
    included) or, without them, with virtboot's first one. It goes on until virtboot's driver resets
    the device. `config` replaces fields of the configuration space. With `dies_at` the back end
    dies when QEMU sends this message for virtboot's driver.
    """

    image: str
    capacity: int
    lie: str | None = None
    sectors: Sequence[int] = ()
    config: Mapping[str, int] = field(default_factory=dict)
    more_features: Sequence[int] = ()
    dies_at: str | None = None


@dataclass(frozen=True)
class Report:
    """What has happened. `died_under` names the driver under which the back end died."""

    sessions: Sequence[Session]
    died_under: str | None

    def of(self, driver: str) -> list[Session]:
        """A driver's sessions, in order."""
        return [session for session in self.sessions if driver_of(session.features) == driver]

    @classmethod
    def parse(cls, text: str) -> Report:
        """What to_json() made."""
        values = json.loads(text)
        sessions = [Session(**session) for session in values.pop("sessions")]
        return cls(sessions=sessions, **values)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Died(Exception):
    """The back end goes away in the middle of something."""


class LyingBackEnd(BackEnd):
    """Honest up to a certain request of virtboot's."""

    def __init__(self, connection: socket.socket, plan: Plan) -> None:
        config = Config(**{"capacity": plan.capacity, **plan.config})
        features = (*USUAL_FEATURES, *plan.more_features)
        super().__init__(connection, plan.image, config, features)
        self._plan = plan
        self._lying_in: Session | None = None
        # What a lie switches on, for the rest of the driver's session.
        self.polls = False
        self.is_mute = False
        self.capacities: Sequence[int] = ()
        # All requests that the driver published together with the one that is lied about.
        self.batch: Sequence[Request] = ()

    @property
    def driver(self) -> str:
        """Who is on the other side of the queue, or about to be."""
        return driver_of(self.accepted)

    @property
    def is_lying(self) -> bool:
        """Whether the lie has begun, and goes on."""
        return bool(self.sessions) and self._lying_in is self.session and not self.session.is_reset

    def answer(self, requests: Sequence[Request]) -> None:
        """Each request with the truth or with the lie; then they are published together."""
        self.batch = requests
        idx = None
        for request in requests:
            if self._is_to_lie_about(request):
                self.session.lies += 1
                idx = LIES[self._plan.lie](self, request)
            else:
                self.put_truth(request)
        self.queue.publish(idx)

    def put_truth(self, request: Request) -> None:
        """The honest answer, not published yet."""
        self.queue.put(request.head, self.carry_out(request))

    def _is_to_lie_about(self, request: Request) -> bool:
        if self._plan.lie is None or self.driver != VIRTBOOT:
            return False
        if not self._plan.sectors or request.reads_any_of(*self._plan.sectors):
            self._lying_in = self.session
        return self.is_lying

    def config(self) -> Config:
        config = super().config()
        if not self.is_lying or not self.capacities:
            return config
        capacity = self.capacities[self.session.config_reads % len(self.capacities)]
        return replace(config, capacity=capacity)

    def interrupt(self) -> None:
        if not (self.is_lying and self.is_mute):
            super().interrupt()

    def patience_s(self) -> float | None:
        return POLL_S if self.is_lying and self.polls else None

    def handle(self, message: Message, payload: bytes, files: Sequence[int]) -> None:
        if message.name == self._plan.dies_at and self.driver == VIRTBOOT:
            raise Died
        super().handle(message, payload, files)


# --- The lies: each answers one request, and returns the used idx to publish if it is a lie -------

Lie = Callable[[LyingBackEnd, Request], int | None]
LIES: dict[str, Lie] = {}


def lie(function: Lie) -> Lie:
    """Puts a function into the table, under its name."""
    LIES[function.__name__] = function
    return function


@lie
def id_beyond_the_queue(disk: LyingBackEnd, request: Request) -> None:
    disk.queue.put(disk.queue.size, disk.carry_out(request))


@lie
def id_right_in_its_low_half_only(disk: LyingBackEnd, request: Request) -> None:
    disk.queue.put(0x10000 + request.head, disk.carry_out(request))


@lie
def id_inside_the_chain(disk: LyingBackEnd, request: Request) -> None:
    """Of the chain's last descriptor. Needs a driver without indirect descriptors."""
    disk.queue.put(request.descriptors[-1], disk.carry_out(request))


@lie
def id_of_a_free_descriptor(disk: LyingBackEnd, request: Request) -> None:
    disk.queue.put(disk.queue.size - 1, disk.carry_out(request))


@lie
def id_of_the_first_in_the_batch(disk: LyingBackEnd, request: Request) -> None:
    """Alone in its batch a request is answered rightly, so this needs several in flight."""
    disk.queue.put(disk.batch[0].head, disk.carry_out(request))


@lie
def answered_twice(disk: LyingBackEnd, request: Request) -> None:
    n_bytes = disk.carry_out(request)
    disk.queue.put(request.head, n_bytes)
    disk.queue.put(request.head, n_bytes)


@lie
def answered_in_reverse_order(disk: LyingBackEnd, request: Request) -> None:
    """No lie at all (2.7.8): whoever expects the order of the requests finds other data."""
    place = disk.batch.index(request)
    disk.put_truth(disk.batch[len(disk.batch) - 1 - place])


@lie
def answered_before_it_was_asked(disk: LyingBackEnd, request: Request) -> None:
    """The truth, and, when the driver has taken it, the same chain again: likely the next one's."""
    disk.put_truth(request)
    disk.queue.publish()
    time.sleep(EARLY_S)
    disk.queue.put(request.head, request.data_bytes + 1)


@lie
def len_0(disk: LyingBackEnd, request: Request) -> None:
    disk.carry_out(request)
    disk.queue.put(request.head, 0)


@lie
def len_one_too_few(disk: LyingBackEnd, request: Request) -> None:
    disk.queue.put(request.head, disk.carry_out(request) - 1)


@lie
def len_one_too_many(disk: LyingBackEnd, request: Request) -> None:
    disk.queue.put(request.head, disk.carry_out(request) + 1)


@lie
def len_all_ones(disk: LyingBackEnd, request: Request) -> None:
    disk.carry_out(request)
    disk.queue.put(request.head, 0xFFFFFFFF)


@lie
def only_the_status_written(disk: LyingBackEnd, request: Request) -> None:
    """What was in the buffer before is still there."""
    request.status[0] = 0
    disk.queue.put(request.head, 1)


@lie
def idx_one_too_far(disk: LyingBackEnd, request: Request) -> int:
    disk.put_truth(request)
    return disk.queue.used_next + 1


@lie
def idx_far_away(disk: LyingBackEnd, request: Request) -> int:
    disk.put_truth(request)
    return disk.queue.used_next + 0x4000


@lie
def idx_goes_back(disk: LyingBackEnd, request: Request) -> int:
    disk.put_truth(request)
    return disk.queue.used_next - 2


@lie
def idx_taken_back(disk: LyingBackEnd, request: Request) -> None:
    """Wrong for as long as it takes to see it, and then right."""
    disk.put_truth(request)
    disk.queue.publish(disk.queue.used_next + 0x4000)
    disk.wait_for_message(SEEN_LIMIT_S)


@lie
def idx_flickers(disk: LyingBackEnd, request: Request) -> None:
    """Right and wrong in turns, faster than a driver looks; right at the end."""
    disk.put_truth(request)
    right = disk.queue.used_next
    end = time.monotonic() + FLICKER_S
    while time.monotonic() < end:
        for idx in (right + 0x4000, right, right - 2, right + 1):
            disk.queue.publish(idx)


@lie
def never_answered(disk: LyingBackEnd, request: Request) -> None:
    del disk, request


@lie
def answered_late(disk: LyingBackEnd, request: Request) -> None:
    """Slow, not dishonest."""
    time.sleep(LATE_S)
    disk.put_truth(request)


@lie
def status_not_written(disk: LyingBackEnd, request: Request) -> None:
    preset = request.status[0]
    disk.put_truth(request)
    request.status[0] = preset


def _status(name: str, value: int) -> None:
    def tell(disk: LyingBackEnd, request: Request) -> None:
        disk.put_truth(request)
        request.status[0] = value

    tell.__name__ = name
    lie(tell)


_status("status_1", 1)
_status("status_2", 2)
_status("status_3", 3)
_status("status_255", 255)


@lie
def other_data(disk: LyingBackEnd, request: Request) -> None:
    """Well answered, but each time with something else: nobody can check that, or trust it."""
    disk.put_truth(request)
    for view in request.writable:
        view[:] = random.Random(disk.session.requests).randbytes(len(view))


@lie
def descriptors_overwritten(disk: LyingBackEnd, request: Request) -> None:
    disk.put_truth(request)
    _spoil(disk.queue.descriptor_table)
    if request.indirect_table is not None:
        _spoil(request.indirect_table)


@lie
def available_ring_overwritten(disk: LyingBackEnd, request: Request) -> None:
    """With EVENT_IDX the back end itself would look there again too early."""
    disk.put_truth(request)
    _spoil(disk.queue.available_ring)


@lie
def used_ring_overwritten(disk: LyingBackEnd, request: Request) -> None:
    """All elements but those that the driver may still have to read: as many as it has in flight."""
    size, next_slot = disk.queue.size, disk.queue.used_next % disk.queue.size
    for slot in range(size):
        if (next_slot - slot) % size > MAY_BE_UNREAD:
            _spoil(disk.queue.used_ring[4 + 8 * slot : 4 + 8 * (slot + 1)])
    disk.put_truth(request)


def _spoil(memory: memoryview) -> None:
    memory[:] = b"\xff" * len(memory)


@lie
def notifications_not_wanted(disk: LyingBackEnd, request: Request) -> None:
    """Whoever believes it and waits to be asked is never answered; here the back end looks."""
    disk.polls = True
    disk.queue.set_used_flags(USED_F_NO_NOTIFY)
    disk.queue.set_available_event(disk.queue.available_next + 0x7FFF)
    disk.put_truth(request)


@lie
def interrupts_never(disk: LyingBackEnd, request: Request) -> None:
    disk.is_mute = True
    disk.put_truth(request)


@lie
def interrupts_for_nothing(disk: LyingBackEnd, request: Request) -> None:
    """Whether they are wanted or not, and before there is anything."""
    for _ in range(20):
        disk.interrupt()
        time.sleep(0.001)
    disk.put_truth(request)


@lie
def config_changes(disk: LyingBackEnd, request: Request) -> None:
    """The capacity, with every request."""
    disk.capacities = (1, 0, 2**64 - 1, 2**55)
    disk.announce_config()
    disk.put_truth(request)


@lie
def dies(disk: LyingBackEnd, request: Request) -> None:
    """Everything is written, and nothing said."""
    disk.carry_out(request)
    raise Died


# --- The program ----------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Serve one QEMU, as planned, and report."""
    signal.alarm(LIMIT_S)
    (plan,) = arguments
    with socket.socket(fileno=sys.stdin.fileno()) as listening:
        connection, _ = listening.accept()
    disk = LyingBackEnd(connection, Plan(**json.loads(plan)))
    died_under = None
    try:
        disk.serve()
    except Died:
        died_under = disk.driver
    print(Report(disk.sessions, died_under).to_json(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
