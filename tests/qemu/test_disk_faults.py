"""Errors and slowness of the back end: each call that meets one says so, and no other call does.

All disks are in one machine. What was asked of a disk again, or not at all, shows in the trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from image import MIB, SECTOR_BYTES, DiskImage
from machine import Disk, ReadErrors, RunResult
from probe import (
    ProbeMachine,
    Tools,
    data_answer,
    filled,
    flushes,
    function_name,
    latency_node,
    own_session,
    raw_image,
    spread,
    zero_image,
)
from qemu_trace import BackendDone, RequestDone, of_disk, writes

KIB = 1024
LIMIT_S = 600
EIO, ENOSPC = 5, 28
STATUS_IOERR = 1

# Larger than what is read below, and read at once only by more than one request.
SMALL, LARGE = 64 * KIB, 12 * MIB
BAD_SECTOR = 6 * MIB // SECTOR_BYTES
LATENCY_NS = 100_000_000
SLOW_PER_S = 10
STREAM_BAD_SECTOR = 67  # of the ninth read
TOKENS_LBA = BAD_SECTOR - 8 * 5  # the sixth token's

N_READS = 6
READS = ("checksum", f"reads {N_READS} 8")
READ_LBAS = tuple(8 * place for place in reversed(range(N_READS)))
# Some while the firmware looks for partitions, then the checksum and single reads.
NTHS = (1, 2, 5, 15, 16, 17, 22)

FAILED_CHECKSUM = "checksum: Device Error 0 bytes crc32 00000000"


def fails_at(event: str, iotype: str, errno: int, step: int, n_steps: int) -> Mapping[str, Any]:
    """A block node where just one occurrence of `event` fails. It counts them by its state."""
    steps = [{"event": event, "state": n, "new_state": n + 1} for n in range(1, n_steps)]
    error = {"event": event, "iotype": iotype, "state": step, "errno": errno, "once": True}
    return {"driver": "blkdebug", "set-state": steps, "inject-error": [error]}


def fails_always(iotype: str, errno: int) -> Mapping[str, Any]:
    """A block node that never does what `iotype` says."""
    return {
        "driver": "blkdebug",
        "inject-error": [{"event": "none", "iotype": iotype, "errno": errno}],
    }


def nth_read_fails(n: int) -> Mapping[str, Any]:
    """QEMU itself reads once, for the geometry, before the driver can."""
    return fails_at("read_aio", "read", EIO, n + 1, n + 2)


@dataclass(frozen=True)
class Case:
    """One disk, and what is done to it."""

    commands: Sequence[str]
    disk: Mapping[str, Any]
    size_bytes: int = SMALL
    is_zero: bool = False


LATENCY = latency_node(SMALL, LATENCY_NS)

CASES = {
    "healthy": Case(READS, {}),
    **{f"read_{n}": Case(READS, {"filters": (nth_read_fails(n),)}) for n in NTHS},
    # Up to here they are the functions of one slot.
    "no_read": Case(["read 0 8", "read 8 8"], {"filters": (fails_always("read", EIO),)}),
    "bad_sector": Case(
        [
            f"read 0 {LARGE // SECTOR_BYTES}",
            f"read {BAD_SECTOR} 1",
            f"read 0 {BAD_SECTOR}",
            f"read {BAD_SECTOR + 1} 8",
        ],
        # Merged, the others of a batch would fail with the one that covers the sector.
        {"errors": ReadErrors(BAD_SECTOR), "options": {"request-merging": "off"}},
        LARGE,
    ),
    "bad_sector_in_a_stream": Case(["stream 16 8"], {"errors": ReadErrors(STREAM_BAD_SECTOR)}),
    "bad_sector_for_a_token": Case(
        [f"many {TOKENS_LBA} 8 16", f"read2 {BAD_SECTOR} 1", f"read2 {BAD_SECTOR + 1} 8"],
        {"errors": ReadErrors(BAD_SECTOR), "options": {"request-merging": "off"}},
        LARGE,
    ),
    "no_write": Case(
        ["write 0 8 1", "read 0 8", "write 8 8 2"],
        {"filters": (fails_always("write", ENOSPC),), "may_change": True},
    ),
    "second_write": Case(
        ["write 0 8 1", "write 8 8 2", "write 16 8 3", "read 0 24"],
        {
            "filters": (fails_at("write_aio", "write", EIO, 2, 4),),
            "may_change": True,
        },
    ),
    "second_flush": Case(
        ["write 0 8 1", "flush", "write 8 8 2", "flush", "flush", "read 0 16"],
        {
            "filters": (fails_at("flush_to_disk", "flush", EIO, 2, 4),),
            "may_change": True,
        },
    ),
    "written_with_tokens": Case(
        ["flush2", "write2 0 8 1", "flush2", "flush"]
        + ["write 8 8 2", "flush", "flush2", "read2 0 16"],
        {"may_change": True},
    ),
    "second_flush_with_tokens": Case(
        ["write2 0 8 1", "flush2", "write2 8 8 2", "flush2", "flush2"],
        {"filters": (fails_at("flush_to_disk", "flush", EIO, 2, 4),), "may_change": True},
    ),
    "erased": Case(
        ["erase 16 32", "checksum", "erase 120 16", "write 20 8 1", "checksum"],
        {"may_change": True},
    ),
    "latency": Case(READS, {"protocol": LATENCY}, is_zero=True),
    "slow": Case(READS, {"filters": ({"driver": "throttle", "throttle-group": "slow"},)}),
}
NAMES = list(CASES)
THROTTLE = ("-object", f"throttle-group,id=slow,x-iops-total={SLOW_PER_S}")


@dataclass(frozen=True)
class FaultsRun:
    """What was answered about each disk, what was on it before, and what the devices saw."""

    answers: Mapping[str, Sequence[str]]
    before: Mapping[str, bytes]
    images: Mapping[str, DiskImage]
    result: RunResult

    def expected(self, name: str, lba: int, n_blocks: int) -> str:
        """The answer to a read that went well."""
        data = self.before[name][lba * SECTOR_BYTES : (lba + n_blocks) * SECTOR_BYTES]
        return data_answer("read", data)

    def reads(self, name: str) -> list[tuple[int, int]]:
        """What our driver asked the device for, in order."""
        session = own_session(self.result, NAMES.index(name))
        reads = [(read.sector, read.n_sectors) for read in session.reads]
        return reads[:-1] if name == "healthy" else reads  # its checksum again


def failed(command: str, n_blocks: int) -> str:
    """The answer to a read that went wrong."""
    return f"{command}: Device Error {n_blocks * SECTOR_BYTES} bytes crc32 00000000"


@pytest.fixture(scope="module")
def run(module_folder: Path, tools: Tools) -> FaultsRun:
    """All cases in one machine, the healthy disk once more at the end."""
    images, disks = {}, []
    for number, (name, case) in enumerate(CASES.items()):
        path = module_folder / f"{name}.img"
        if case.is_zero:
            images[name] = zero_image(path, case.size_bytes)
        else:
            images[name] = raw_image(path, case.size_bytes, seed=200 + number)
        disks.append(Disk(images[name], **case.disk))
    before = {name: image.path.read_bytes() for name, image in images.items()}
    with ProbeMachine(
        spread(disks), tools, extra_arguments=THROTTLE, limit_s=LIMIT_S
    ) as machine:
        machine.load()
        in_slot = machine.probe_all(*READS, disks=function_name(0).split(".")[0])
        answers = {
            name: in_slot.get(function_name(number))
            or machine.probe(function_name(number), *case.commands)
            for number, (name, case) in enumerate(CASES.items())
        }
        answers["healthy again"] = machine.probe(function_name(0), "checksum")
        return FaultsRun(answers, before, images, machine.finish())


def results(run: FaultsRun, name: str) -> list[int]:
    """How the host's side of each transfer ended."""
    events = of_disk(run.result.events, NAMES.index(name))
    return [event.result for event in events if isinstance(event, BackendDone)]


def assert_all_right(run: FaultsRun, name: str) -> None:
    """Nothing is missing from the answers to READS and a checksum."""
    checksum, *answers = run.answers[name]
    assert checksum == data_answer("checksum", run.before[name])
    assert answers == [run.expected(name, lba, 8) for lba in READ_LBAS]


@pytest.mark.xdist_group("disk_faults")
def test_given_faulty_disks_when_used_then_the_healthy_one_beside_them_never_notices(
    run: FaultsRun,
) -> None:
    assert_all_right(run, "healthy")
    assert run.answers["healthy again"] == [data_answer("checksum", run.before["healthy"])]
    assert set(results(run, "healthy")) == {0}


@pytest.mark.xdist_group("disk_faults")
def test_given_disk_that_reads_nothing_when_read_then_each_call_fails_and_none_is_repeated(
    run: FaultsRun,
) -> None:
    assert run.answers["no_read"] == [failed("read", 8)] * 2
    assert run.reads("no_read")[-2:] == [(0, 8), (8, 8)]
    assert set(results(run, "no_read")) == {-EIO}


@pytest.mark.xdist_group("disk_faults")
def test_given_one_bad_sector_when_read_then_only_what_covers_it_fails(run: FaultsRun) -> None:
    n_blocks = LARGE // SECTOR_BYTES
    assert run.answers["bad_sector"] == [
        failed("read", n_blocks),
        failed("read", 1),
        run.expected("bad_sector", 0, BAD_SECTOR),
        run.expected("bad_sector", BAD_SECTOR + 1, 8),
    ]
    # Once by each of the two calls that need it.
    reads = run.reads("bad_sector")
    covering = [n for n, read in enumerate(reads) if read[0] <= BAD_SECTOR < sum(read)]
    assert len(covering) == 2
    assert reads[covering[0]] != (0, n_blocks), "not more than one request"
    assert results(run, "bad_sector").count(-EIO) == 2


@pytest.mark.xdist_group("disk_faults")
def test_given_bad_sector_ahead_of_a_stream_when_read_then_only_the_read_that_needs_it_fails(
    run: FaultsRun,
) -> None:
    # What nobody has asked for yet may be read, and may fail, but that is nobody's error.
    name = "bad_sector_in_a_stream"
    expected = [run.expected(name, lba, 8) for lba in range(0, 128, 8)]
    expected[STREAM_BAD_SECTOR // 8] = failed("read", 8)
    assert run.answers[name] == expected


@pytest.mark.xdist_group("disk_faults")
def test_given_bad_sector_and_many_tokens_when_read_then_the_one_that_covers_it_fails(
    run: FaultsRun,
) -> None:
    name = "bad_sector_for_a_token"
    tokens = [f"token {n}: Success" for n in range(16)]
    tokens[5] = "token 5: Device Error"
    data = run.before[name][(BAD_SECTOR + 1) * SECTOR_BYTES : (BAD_SECTOR + 9) * SECTOR_BYTES]
    assert run.answers[name] == [
        "many: started",
        *tokens,
        failed("many", 16 * 8),
        failed("read2", 1),
        data_answer("read2", data),
    ]
    assert results(run, name).count(-EIO) == 2


@pytest.mark.xdist_group("disk_faults")
@pytest.mark.parametrize("n", NTHS)
def test_given_error_on_the_nth_read_when_many_are_done_then_only_that_one_fails_once(
    n: int, run: FaultsRun
) -> None:
    name = f"read_{n}"
    healthy = run.reads("healthy")
    n_probing = len(healthy) - 1 - N_READS
    expected = [data_answer("checksum", run.before[name])]
    expected += [run.expected(name, lba, 8) for lba in READ_LBAS]

    assert [place + 1 for place, result in enumerate(results(run, name)) if result] == [n]
    assert results(run, name)[n - 1] == -EIO
    if n > n_probing:
        number = n - n_probing - 1
        expected[number] = failed("read", 8) if number else FAILED_CHECKSUM
    assert run.answers[name] == expected
    # The firmware's probing for partitions may end early, all else is done as without the error.
    assert run.reads(name)[-1 - N_READS :] == healthy[-1 - N_READS :]


@pytest.mark.xdist_group("disk_faults")
def test_given_errors_on_several_places_when_swept_then_probing_and_calls_were_both_hit(
    run: FaultsRun,
) -> None:
    hit = [any("Device Error" in line for line in run.answers[f"read_{n}"]) for n in NTHS]
    assert hit[0] is False
    assert hit[-1] is True
    assert run.answers[f"read_{NTHS[-1]}"][0] != FAILED_CHECKSUM, "no single read was hit"


@pytest.mark.xdist_group("disk_faults")
def test_given_disk_without_space_when_written_then_each_call_fails_and_none_is_repeated(
    run: FaultsRun,
) -> None:
    assert run.answers["no_write"] == [
        "write: Device Error",
        run.expected("no_write", 0, 8),
        "write: Device Error",
    ]
    assert written(run, "no_write") == [(0, 8), (8, 8)]
    assert run.images["no_write"].path.read_bytes() == run.before["no_write"]


def written(run: FaultsRun, name: str) -> list[tuple[int, int]]:
    """What our driver asked the device to write, in order."""
    events = of_disk(run.result.events, NAMES.index(name))
    return [(write.sector, write.n_sectors) for write in writes(events)]


@pytest.mark.xdist_group("disk_faults")
def test_given_error_on_the_second_write_when_three_are_done_then_two_are_on_the_disk(
    run: FaultsRun,
) -> None:
    name, part = "second_write", 8 * SECTOR_BYTES
    old = run.before[name]
    new = filled(part, 1) + old[part : 2 * part] + filled(part, 3)

    assert run.answers[name] == [
        "write: Success",
        "write: Device Error",
        "write: Success",
        data_answer("read", new),
    ]
    assert written(run, name) == [(0, 8), (8, 8), (16, 8)]
    assert run.images[name].path.read_bytes() == new + old[3 * part :]


@pytest.mark.xdist_group("disk_faults")
def test_given_error_on_a_flush_when_flushed_again_then_only_one_call_failed(
    run: FaultsRun,
) -> None:
    name, part = "second_flush", 8 * SECTOR_BYTES
    new = filled(part, 1) + filled(part, 2)

    assert run.answers[name] == [
        "write: Success",
        "flush: Success",
        "write: Success",
        "flush: Device Error",
        # What was written is still not known to be safe, so this one is sent as well.
        "flush: Success",
        data_answer("read", new),
    ]
    session = own_session(run.result, NAMES.index(name))
    assert flushes(session) == 3
    answers = [event.status for event in session.events if isinstance(event, RequestDone)]
    assert answers.count(STATUS_IOERR) == 1
    assert run.images[name].path.read_bytes() == new + run.before[name][2 * part :]


@pytest.mark.xdist_group("disk_faults")
def test_given_writes_by_both_protocols_when_flushed_often_then_a_flush_is_sent_after_each_write(
    run: FaultsRun,
) -> None:
    name, part = "written_with_tokens", 8 * SECTOR_BYTES
    new = filled(part, 1) + filled(part, 2)

    assert run.answers[name] == [
        "flush2: Success",
        "write2: Success",
        "flush2: Success",
        "flush: Success",
        "write: Success",
        "flush: Success",
        "flush2: Success",
        data_answer("read2", new),
    ]
    assert flushes(own_session(run.result, NAMES.index(name))) == 2
    assert written(run, name) == [(0, 8), (8, 8)]
    assert run.images[name].path.read_bytes() == new + run.before[name][2 * part :]


@pytest.mark.xdist_group("disk_faults")
def test_given_error_on_a_flush_with_a_token_when_flushed_again_then_it_is_sent_again(
    run: FaultsRun,
) -> None:
    name = "second_flush_with_tokens"
    assert run.answers[name] == [
        "write2: Success",
        "flush2: Success",
        "write2: Success",
        "flush2: Device Error",
        "flush2: Success",
    ]
    assert flushes(own_session(run.result, NAMES.index(name))) == 3


@pytest.mark.xdist_group("disk_faults")
def test_given_disk_that_can_be_erased_when_erased_then_these_blocks_are_zeroes_and_no_others(
    run: FaultsRun,
) -> None:
    name = "erased"
    erased = bytearray(run.before[name])
    erased[16 * SECTOR_BYTES : 48 * SECTOR_BYTES] = bytes(32 * SECTOR_BYTES)
    written_to = bytearray(erased)
    written_to[20 * SECTOR_BYTES : 28 * SECTOR_BYTES] = filled(8 * SECTOR_BYTES, 1)

    answers = [line for line in run.answers[name] if not line.startswith("erase granularity ")]
    assert len(run.answers[name]) - len(answers) == 2
    assert answers == [
        "erase: Success",
        data_answer("checksum", erased),
        # Beyond the end: nothing of it is done.
        "erase: Invalid Parameter",
        "write: Success",
        data_answer("checksum", written_to),
    ]
    assert written(run, name) == [(20, 8)]
    assert run.images[name].path.read_bytes() == written_to


@pytest.mark.xdist_group("disk_faults")
@pytest.mark.parametrize("name", ["latency", "slow"])
def test_given_slow_disk_when_read_then_it_is_read_as_any_other(name: str, run: FaultsRun) -> None:
    assert_all_right(run, name)
    # All disks of this size are read by the same requests, unless one is repeated.
    assert run.reads(name) == run.reads("healthy")
    assert set(results(run, name)) == {0}
