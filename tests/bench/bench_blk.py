#!/usr/bin/python3
"""The speed of a virtio disk under UEFI: the firmware's own driver against virtio.efi.

bench_blk.py [--output FOLDER] [--bench FILE] [--virtio FILE] [--job NAME]...
    Runs bench.efi in QEMU (blk_runs.py), on several disks. Prints a table of what was measured, and
    one of the goals with PASS or FAIL each. FOLDER gets both as bench.md, and bench.svg. A goal
    whose figure is missing, or whose reads brought wrong data, is missed. Exit status 1 if one is.

Times are compared only within one QEMU, where the drivers take turns, and in ratios: absolute ones
vary with the machine. Counts are from a run of their own, for a trace slows things down;
instructions from one with -icount, where a tick of the processor's counter is an instruction. There
the least of all reads is taken, because how long the device takes is the host's time. What no driver
is without, the firmware's calls and the bare ring, is measured in the same run and shown as floor.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import blk_report
from blk_runs import (
    JOBS,
    RANDOM_4K,
    RANDOM_4K_32,
    SEQUENTIAL_1M,
    SEQUENTIAL_1M_8,
    SEQUENTIAL_512,
    SEQUENTIAL_64K,
    BenchError,
    Job,
    Key,
    Output,
    Pattern,
    build_disk,
    host_limit,
    run_job,
)
from image import ROOT, ImageError  # blk_runs knows where this is

PRODUCTS = ROOT / "build/x86_64"

Outputs = Mapping[str, Output]

# Above this, somebody else uses the machine, and what waits for a disk's latency is not itself.
QUIET_LOAD = 1.0

# The file of the run that counts FLUSH requests.
FILE_KEY = Key("file", 0)


@dataclass(frozen=True)
class Goal:
    """One thing to reach: a figure out of the runs, and its limit."""

    words: str
    measure: Callable[[Outputs], float | None]
    limit: float
    is_at_most: bool = False
    unit: str = "x"
    floor: tuple[str, ...] = ()  # costs that bench.efi measures, and no driver is without

    @property
    def limit_words(self) -> str:
        return f"{'at most' if self.is_at_most else 'at least'} {self.limit:g} {self.unit}"


@dataclass(frozen=True)
class Verdict:
    """How far a goal was reached."""

    goal: Goal
    measured: float | None
    floor: str = ""  # what of the limit is gone before a driver has done anything

    @property
    def ok(self) -> bool:
        if self.measured is None:
            return False
        if self.goal.is_at_most:
            return self.measured <= self.goal.limit
        return self.measured >= self.goal.limit


# --------------------------------------------------------------------------------- the figures


def speed(job: str, pattern: Pattern, base: Pattern) -> Callable[[Outputs], float | None]:
    """Our rate as a multiple of the firmware's, of bytes for reads of the same length."""
    return lambda outputs: outputs[job].speed(pattern.key, base.key)


def slowest(outputs: Outputs) -> float | None:
    """The least of our rates, of all disks and patterns, as a multiple of the firmware's."""
    ratios = [
        outputs[job.name].speed(pattern.key, Key(pattern.name))
        for job in JOBS
        if job.is_timed
        for pattern in job.ops
    ]
    known = [ratio for ratio in ratios if ratio is not None]
    return min(known) if len(known) == len(ratios) else None


def duration(job: str, pattern: Pattern) -> Callable[[Outputs], float | None]:
    """Our time as a part of the firmware's."""

    def measure(outputs: Outputs) -> float | None:
        found = outputs[job].speed(pattern.key, pattern.key)
        return 1 / found if found else None

    return measure


def notifications(pattern: Pattern) -> Callable[[Outputs], float | None]:
    """What one read costs the device, from the trace; of our driver."""

    def measure(outputs: Outputs) -> float | None:
        found = outputs["counts"].counted("ours", pattern.key)
        return found[1].notifications / found[0].ops if found else None

    return measure


def instructions(pattern: Pattern) -> Callable[[Outputs], float | None]:
    """The least that a read took."""
    return lambda outputs: outputs["instructions"].least("ours", pattern.key)


def flushes(outputs: Outputs) -> float | None:
    """Over all that our driver did; reading a file has to be part of it."""
    output = outputs["counts"]
    if output.counted("ours", FILE_KEY) is None:
        return None
    ours = [run for run in output.runs if run.driver == "ours"]
    return sum(output.counts[run.mark].others for run in ours if run.mark in output.counts)


GOALS = (
    Goal("4 KiB random, depth 1, 1 ms", duration("null-1ms", RANDOM_4K), 0.60, True, "of the time"),
    Goal("4 KiB random, depth 32, 1 ms", speed("null-1ms", RANDOM_4K_32, RANDOM_4K), 45),
    Goal("4 KiB random, depth 32, file", speed("file", RANDOM_4K_32, RANDOM_4K), 5),
    Goal(
        "4 KiB random, depth 32, file: notifications",
        notifications(RANDOM_4K_32),
        0.05,
        True,
        "a read",
    ),
    Goal(
        "64 KiB sequential, EFI_BLOCK_IO, 1 ms",
        speed("null-1ms", SEQUENTIAL_64K, SEQUENTIAL_64K),
        15,
    ),
    Goal(
        "512 B sequential, EFI_BLOCK_IO, file", speed("file", SEQUENTIAL_512, SEQUENTIAL_512), 10
    ),
    Goal("1 MiB sequential, EFI_BLOCK_IO, file", speed("file", SEQUENTIAL_1M, SEQUENTIAL_1M), 1.0),
    Goal("1 MiB sequential, depth 8, file", speed("file", SEQUENTIAL_1M_8, SEQUENTIAL_1M), 1.5),
    Goal(
        "4 KiB random, depth 1, no latency",
        instructions(RANDOM_4K),
        1000,
        True,
        "instructions",
        ("RaiseTPL+RestoreTPL", "ring"),
    ),
    Goal(
        "4 KiB random, depth 32, no latency",
        instructions(RANDOM_4K_32),
        300,
        True,
        "instructions",
        ("bare-token",),
    ),
    Goal("the slowest of all patterns on all disks", slowest, 1.0),
    Goal("FLUSH requests while only reading", flushes, 0, True, "requests"),
)


# ------------------------------------------------------------------------------------ judging


def problems(outputs: Outputs) -> list[str]:
    """What makes a run no measurement, whatever its figures say."""
    found = []
    for job, output in outputs.items():
        found += [f"{job}: {error}" for error in output.errors]
        if not output.is_complete:
            found.append(f"{job}: bench.efi did not reach its end")
        bad = {run for run in output.runs if run.result in ("wrong", "failed")}
        found += [
            f"{job}: {run.driver}, {run.key.name}, depth {run.key.depth}: {run.result}"
            for run in sorted(bad, key=lambda run: run.mark)
        ]
    return found


def floor_words(goal: Goal, outputs: Outputs) -> str:
    """What the parts of the floor cost, and their sum."""
    costs = outputs["instructions"].costs
    if not goal.floor or any(part not in costs for part in goal.floor):
        return ""
    parts = " + ".join(f"{part} {costs[part]}" for part in goal.floor)
    total = sum(costs[part] for part in goal.floor)
    return f"{parts} = {total}" if len(goal.floor) > 1 else parts


def judge(outputs: Outputs, goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """A goal about a run that did not take place is missed, not passed over."""
    everywhere = {job.name: Output() for job in JOBS} | dict(outputs)
    return [
        Verdict(goal, goal.measure(everywhere), floor_words(goal, everywhere)) for goal in goals
    ]


def limits(jobs: Sequence[Job], disk: Path) -> blk_report.Limits:
    """The host's, for each row of the table that can have one."""
    wanted = [job for job in jobs if job.is_timed]
    return {
        (job.name, pattern.key): host_limit(job, pattern, disk)
        for job in wanted
        for pattern in job.ops
    }


def measure(
    jobs: Sequence[Job], folder: Path, bench: Path, virtio: Path
) -> tuple[Outputs, blk_report.Limits]:
    """All runs, one after the other: two at once would disturb each other."""
    disk = folder / "disk.img"
    outputs = {}
    try:
        build_disk(disk)
        for job in jobs:
            print(f"bench: {job.title}", file=sys.stderr, flush=True)
            outputs[job.name] = run_job(job, bench=bench, virtio=virtio, disk=disk)
        return outputs, limits(jobs, disk)
    finally:
        disk.unlink(missing_ok=True)


def note_load() -> str:
    """What to think of the figures of a machine that others use as well."""
    load = os.getloadavg()[0]
    if load <= QUIET_LOAD:
        return ""
    return f"The load was {load:.1f} at the start: ratios to a polling driver mean little."


def publish(outputs: Outputs, host: blk_report.Limits, folder: Path, note: str = "") -> int:
    """Print the tables, write the files, and return the exit status."""
    verdicts = judge(outputs)
    rows = blk_report.rows(outputs, host)
    lines = [*blk_report.goal_table(verdicts), "", *blk_report.figures(rows, outputs)]
    text = "\n".join([*lines, "", note] if note else lines)
    wrong = problems(outputs)
    errors = "".join(f"\n- {line}" for line in wrong)
    (folder / "bench.md").write_text(f"# The virtio disk's speed\n\n{text}\n{errors}\n")
    (folder / "bench.svg").write_text(blk_report.plot(rows))
    print(text)
    print("".join(f"error: {line}\n" for line in wrong), end="")
    n_missed = sum(not verdict.ok for verdict in verdicts)
    print(f"{len(verdicts) - n_missed} goals reached, {n_missed} missed; {folder}/bench.md")
    return 1 if n_missed or wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the drivers of a virtio disk.")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench")
    parser.add_argument("--bench", type=Path, default=PRODUCTS / "bench.efi")
    parser.add_argument("--virtio", type=Path, default=PRODUCTS / "virtio.efi")
    parser.add_argument("--job", choices=[job.name for job in JOBS], action="append")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    jobs = [job for job in JOBS if options.job is None or job.name in options.job]
    try:
        note = note_load()
        found = measure(jobs, options.output, options.bench, options.virtio)
        return publish(*found, options.output, note)
    except (BenchError, ImageError, OSError) as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
