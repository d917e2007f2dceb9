"""The benchmark of the disk notices what it is there to notice: each goal can be missed."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import bench_blk
import blk_report
import blk_runs
from bench_blk import FILE_KEY, GOALS
from blk_runs import (
    JOBS,
    RANDOM_4K,
    RANDOM_4K_32,
    SEQUENTIAL_512,
    BenchError,
    Counts,
    Job,
    Key,
    Output,
    Run,
)

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = ROOT / "build/x86_64"

# ------------------------------------------------------------------------- reading the console

CONSOLE = """\
BdsDxe: starting Boot0001
bench: clock 2600000
bench: cost RaiseTPL+RestoreTPL 78
bench: run 3 1 firmware 1 rand4k 1 128 2560 17 ok
bench: run 4 1 ours 2 rand4k 32 4096 0 0 absent
bench: done
"""


def test_given_console_when_read_then_every_figure_is_in_its_place() -> None:
    output = blk_runs.parse_output(CONSOLE)

    assert output == Output(
        runs=(
            Run(3, 1, "firmware", RANDOM_4K.key, ops=128, ticks=2560, least=17, result="ok"),
            Run(4, 1, "ours", RANDOM_4K_32.key, ops=4096, ticks=0, least=0, result="absent"),
        ),
        ticks_per_ms=2600000,
        costs={"RaiseTPL+RestoreTPL": 78},
        is_complete=True,
    )


@pytest.mark.parametrize(
    "line",
    [
        "error Device Error",
        "line 3 of the job makes no sense",
        "run 3 1 firmware 1 rand4k 1 128 25",
        "run 3 1 theirs 1 rand4k 1 128 2560 17 ok",
        "run 3 1 ours 1 rand4k 1 128 2560 17 splendid",
    ],
)
def test_given_line_that_is_no_figure_when_read_then_it_is_an_error(line: str) -> None:
    output = blk_runs.parse_output(f"bench: {line}\n")

    assert output == Output(errors=(line,))


def test_given_end_that_is_missing_when_read_then_the_run_is_not_complete() -> None:
    output = blk_runs.parse_output(CONSOLE.replace("bench: done", ""))

    assert not output.is_complete
    assert bench_blk.problems({"file": output}) == ["file: bench.efi did not reach its end"]


# --------------------------------------------------------------------------- reading the trace

TRACE = """\
1@1.000001:pci_cfg_write virtio-blk-pci 00:10.0 @0x3c <- 0xa
1@1.000002:virtio_queue_notify vdev 0x1 n 0 vq 0x2
1@1.000002:pci_cfg_write virtio-blk-pci 00:10.0 @0x3c <- 0xbe0a
1@1.000003:virtio_queue_notify vdev 0x1 n 0 vq 0x2
1@1.000004:virtqueue_pop vq 0x2 elem 0x7 in_num 2 out_num 1
1@1.000005:virtio_blk_handle_read vdev 0x1 req 0x7 sector 0 nsectors 8
1@1.000006:virtio_blk_handle_read vdev 0x1 req 0x8 sector 8 nsectors 8
1@1.000007:virtio_blk_req_complete vdev 0x1 req 0x7 status 0
1@1.000008:virtio_notify vdev 0x1 vq 0x2
1@1.000009:virtio_blk_req_complete vdev 0x1 req 0x9 status 0
1@1.000010:virtio_blk_req_complete vdev 0x1 req 0x8 status 0
1@1.000011:virtio_notify_irqfd vdev 0x1 vq 0x2
1@1.000012:virtio_blk_req_complete vdev 0x1 req 0x7 status 0
1@1.000013:pci_cfg_write virtio-blk-pci 00:10.0 @0x3c <- 0xbe00
1@1.000014:virtio_queue_notify vdev 0x1 n 0 vq 0x2
1@1.000015:pci_cfg_write ICH9-SMB 00:1f.3 @0x3c <- 0xbe0b
1@1.000016:virtio_queue_notify vdev 0x1 n 0 vq 0x2
"""


def test_given_trace_when_counted_then_only_what_is_between_the_marks() -> None:
    counts = blk_runs.parse_trace(TRACE.splitlines(keepends=True))

    # Completions of what never was a read: 0x9, and 0x7 when its address is used again.
    assert counts == {10: Counts(reads=2, notifications=1, interrupts=2, others=2)}


def test_given_write_in_the_trace_when_counted_then_nothing_is_measured() -> None:
    line = "virtio_blk_handle_write vdev 0x1 req 0x7 sector 0 nsectors 8"

    with pytest.raises(BenchError, match="wrote"):
        blk_runs.parse_trace([line])


# ------------------------------------------------------------------------------------ judging

FIRMWARE_TICKS = 1_000_000
Outputs = dict[str, Output]


def runs_of(job: Job, firmware_ticks: int, our_ticks: int) -> Output:
    """A made-up output in which each line of the job has its figures."""
    runs = []
    keys = [pattern.key for pattern in job.ops] + ([FILE_KEY] if job.read_file else [])
    for key in keys:
        for driver in ("firmware", "ours"):
            if driver == "firmware" and key.api == 2:
                continue
            ticks = firmware_ticks if driver == "firmware" else our_ticks
            runs.append(Run(len(runs) + 1, 0, driver, key, 100, 100 * ticks, ticks, "ok"))
    counts = {run.mark: Counts(reads=100, notifications=4) for run in runs} if job.traced else {}
    return Output(tuple(runs), 2_600_000, is_complete=True, counts=counts)


def good_outputs() -> Outputs:
    """In these every goal is reached."""
    times = {job.name: FIRMWARE_TICKS // 100 for job in JOBS} | {"instructions": 300}
    return {job.name: runs_of(job, FIRMWARE_TICKS, times[job.name]) for job in JOBS}


def changed(outputs: Outputs, change: Callable[[Run], Run | None]) -> Outputs:
    """The same with other runs; None leaves one out."""
    return {
        name: replace(output, runs=tuple(new for run in output.runs if (new := change(run))))
        for name, output in outputs.items()
    }


def verdicts(outputs: Outputs) -> list[bool]:
    return [verdict.ok for verdict in bench_blk.judge(outputs)]


def published(outputs: Outputs, folder: Path) -> int:
    return bench_blk.publish(outputs, {}, folder)


def test_given_every_goal_reached_when_published_then_success_and_the_files_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = published(good_outputs(), tmp_path)

    assert status == 0
    assert capsys.readouterr().out.count("PASS") == len(GOALS)
    assert "FAIL" not in (tmp_path / "bench.md").read_text()
    n_ours = sum(row.is_ours for row in blk_report.rows(good_outputs(), {}))
    assert (tmp_path / "bench.svg").read_text().count(" fill=\"#") == n_ours


def slower(run: Run) -> Run:
    return replace(run, ticks=run.ticks * 200, least=run.least * 200) if is_ours(run) else run


def is_ours(run: Run) -> bool:
    return run.driver == "ours"


@pytest.mark.parametrize("number", range(len(GOALS)))
def test_given_figure_beyond_its_limit_when_judged_then_that_goal_is_missed(number: int) -> None:
    limit = GOALS[number].limit
    worse = limit + 0.01 if GOALS[number].is_at_most else limit - 0.01

    goals = [replace(goal, measure=lambda _, limit=goal.limit: limit) for goal in GOALS]
    goals[number] = replace(goals[number], measure=lambda _: worse)

    expected = [index != number for index in range(len(GOALS))]
    assert [verdict.ok for verdict in bench_blk.judge({}, goals)] == expected


def test_given_our_driver_slower_when_published_then_all_goals_of_time_are_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = changed(good_outputs(), slower)

    is_of_time = [goal.unit not in ("a read", "requests") for goal in GOALS]
    assert verdicts(slow) == [not of_time for of_time in is_of_time]
    assert published(slow, tmp_path) == 1
    assert capsys.readouterr().out.count("FAIL") == sum(is_of_time)


def test_given_costs_when_judged_then_the_floor_of_a_goal_is_their_sum() -> None:
    outputs = good_outputs()
    outputs["instructions"].costs.update({"RaiseTPL+RestoreTPL": 70, "bare-token": 130, "ring": 9})

    floors = [verdict.floor for verdict in bench_blk.judge(outputs) if verdict.floor]

    assert floors == ["RaiseTPL+RestoreTPL 70 + ring 9 = 79", "bare-token 130"]
    table = "\n".join(blk_report.goal_table(bench_blk.judge(outputs)))
    assert all(floor in table for floor in floors)


def test_given_cost_that_is_missing_when_judged_then_there_is_no_floor() -> None:
    outputs = good_outputs()
    outputs["instructions"].costs.update({"RaiseTPL+RestoreTPL": 70})

    assert not any(verdict.floor for verdict in bench_blk.judge(outputs))


def test_given_more_notifications_and_a_flush_when_judged_then_these_goals_are_missed() -> None:
    outputs = good_outputs()
    for counts in outputs["counts"].counts.values():
        counts.notifications = 6
        counts.others = 1

    assert verdicts(outputs) == [goal.unit not in ("a read", "requests") for goal in GOALS]


@pytest.mark.parametrize("job", [job.name for job in JOBS])
def test_given_run_that_did_not_take_place_when_judged_then_its_goals_are_missed(job: str) -> None:
    outputs = good_outputs()
    needed = {
        "file": ["file", "all disks"],
        "null-0": ["all disks"],
        "null-100us": ["all disks"],
        "null-1ms": ["1 ms", "all disks"],
        "instructions": ["no latency"],
        "counts": ["notifications", "FLUSH"],
    }
    del outputs[job]

    missed = [verdict.goal.words for verdict in bench_blk.judge(outputs) if not verdict.ok]

    for words in needed.get(job, []):
        assert any(words in goal for goal in missed), words
    assert bool(missed) == (job in needed)


@pytest.mark.parametrize("result", ["absent", "wrong"])
@pytest.mark.parametrize("key", [RANDOM_4K.key, RANDOM_4K_32.key, SEQUENTIAL_512.key, FILE_KEY])
def test_given_row_without_good_data_when_judged_then_its_goals_are_missed(
    key: Key, result: str
) -> None:
    def spoil(run: Run) -> Run:
        return replace(run, result=result) if is_ours(run) and run.key == key else run

    assert not all(verdicts(changed(good_outputs(), spoil)))


def test_given_one_pattern_slower_on_one_disk_when_judged_then_the_slowest_is_missed() -> None:
    def slow_down(run: Run) -> Run:
        is_it = is_ours(run) and run.key == SEQUENTIAL_512.key
        return replace(run, ticks=run.ticks * 101) if is_it else run

    outputs = good_outputs()
    outputs |= changed({"null-100us": outputs["null-100us"]}, slow_down)

    missed = [verdict.goal.words for verdict in bench_blk.judge(outputs) if not verdict.ok]
    assert missed == ["the slowest of all patterns on all disks"]


def test_given_wrong_data_when_published_then_failure_that_names_the_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = good_outputs()
    spoilt = changed({"null-0": outputs["null-0"]}, lambda run: replace(run, result="wrong"))

    assert published(outputs | spoilt, tmp_path) == 1
    assert "error: null-0: ours, rand4k, depth 1: wrong" in capsys.readouterr().out
    assert "null-0: firmware, rand4k, depth 1: wrong" in (tmp_path / "bench.md").read_text()


def test_given_rounds_of_which_one_was_slow_when_compared_then_the_median_ratio_counts() -> None:
    def run(number: int, driver: str, ticks: int) -> Run:
        return Run(1, number, driver, RANDOM_4K.key, 10, ticks, ticks, "ok")

    firmware, ours = (100, 10_000, 300), (50, 5_000, 3000)
    runs = [run(number, "firmware", ticks) for number, ticks in enumerate(firmware)]
    runs += [run(number, "ours", ticks) for number, ticks in enumerate(ours)]

    assert Output(tuple(runs)).speed(RANDOM_4K.key, RANDOM_4K.key) == 2.0


@pytest.mark.parametrize(("load", "is_noted"), [(0.3, False), (3.0, True)])
def test_given_load_when_started_then_it_is_noted_if_others_use_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, load: float, is_noted: bool
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))

    bench_blk.publish(good_outputs(), {}, tmp_path, bench_blk.note_load())

    assert ("The load was 3.0" in (tmp_path / "bench.md").read_text()) == is_noted


# --------------------------------------------------------------------------- the disk, and QEMU


def test_given_numbered_blocks_then_each_holds_its_number_and_the_complement() -> None:
    first, second = blk_runs.numbered_blocks(7, 2)

    assert first == struct.pack("<QQ", 7, 2**64 - 8) * 32
    assert second == struct.pack("<QQ", 8, 2**64 - 9) * 32


class Doubtful(Job):
    """Reads the same blocks once more as what they are not."""

    def text(self) -> str:
        wrong = replace(RANDOM_4K, name="doubted").line(8)
        return f"{super().text()}expect zeroes\n{wrong}"


def test_given_machine_when_both_drivers_read_then_figures_and_what_was_read_is_checked(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk.img"
    blk_runs.build_disk(disk)
    ops = {RANDOM_4K: 64, replace(RANDOM_4K, name="again", api=2, depth=4, reap=4): 8}
    job = Doubtful("test", "test", ops, rounds=2, costs=True, traced=True)

    bench, virtio = PRODUCTS / "bench.efi", PRODUCTS / "virtio.efi"
    output = blk_runs.run_job(job, bench=bench, virtio=virtio, disk=disk)

    assert output.is_complete and not output.errors, output
    assert output.ticks_per_ms > 0 and output.costs["Map+Unmap"] > 0
    by_line = {(run.round, run.driver, run.key.name): run for run in output.runs}
    for number in range(2):
        for driver in ("firmware", "ours"):
            good = by_line[number, driver, "rand4k"]
            assert (good.result, good.ops) == ("ok", 64)
            assert 0 < good.least <= good.ticks_per_op
            assert output.counts[good.mark].reads == 64
            assert by_line[number, driver, "doubted"].result == "wrong"
        assert by_line[number, "ours", "again"].result in ("ok", "absent")


def test_given_jobs_then_every_line_is_within_what_the_program_takes() -> None:
    header = (ROOT / "tests/bench/bench.h").read_text()
    limits = dict(re.findall(r"#define BENCH_(\w+_MAX)\s+(\d+)u", header))

    for job in JOBS:
        assert len(job.text().splitlines()) < int(limits["LINES_MAX"])
        for pattern, ops in job.ops.items():
            assert pattern.depth <= ops <= int(limits["OPS_MAX"])
            assert 1 <= pattern.reap <= pattern.depth <= int(limits["DEPTH_MAX"])
