#!/usr/bin/python3
"""What the driver's side of a ring costs per chain, and whether that is within the goals.

bench_ring.py PROGRAM RESULTS [--quick]
    PROGRAM is bench_ring.c, linked with the library as others would link it. --quick leaves out
    the rows that no verdict needs. Prints a table, then a line per goal, then "N passed, N failed".
    RESULTS gets bench-ring.tsv, the instructions, which are the same in every run of the same
    binary; and gates-bench.txt, the verdicts.

Instructions are those that callgrind counts from the entry of a library function to its return,
callees included, when it was called from the phase of the benchmark that the column names. So the
device's work and the benchmark's own loops, calls and arguments are not in them; nor is the
transport's notify, which is subtracted. Nanoseconds are of another run, without valgrind, and do
hold the loops and the calls; they vary with the machine and are judged by nobody.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

LIMIT_ADD_PUBLISH = 80.0
LIMIT_POP = 50.0
LIMIT_SPREAD = 1.0

ROUNDS_COUNTED = 64
ROUNDS_TIMED = 2000
RUN_LIMIT_S = 300

TABLE_ENTRIES = 4
BATCH = 32
SIZES = (16, 256, 1024)
LARGEST = 32768
# Chains of 3 that the smallest of the sizes takes, so that all sizes can be compared.
BATCH_OF_ALL = 5

FEATURES = {
    "none": 0,
    "EVENT_IDX": 1 << 29,
    "IN_ORDER": 1 << 35,
    "ORDER_PLATFORM": 1 << 36,
}
INDIRECT_DESC = 1 << 28


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    n_bufs: int
    indirect: bool
    batch: int
    size: int
    n_held: int = 0  # chains that the device has besides those of the batch
    feature: str = "none"
    n_rounds: int = ROUNDS_COUNTED

    @property
    def kind(self) -> str:
        return "indirect" if self.indirect else "direct"

    @property
    def capacity(self) -> int:
        """Chains that the queue takes."""
        return self.size if self.indirect else self.size // self.n_bufs

    def argument(self) -> str:
        """As bench_ring.c reads it."""
        entries = TABLE_ENTRIES if self.indirect else 0
        features = FEATURES[self.feature] | (INDIRECT_DESC if self.indirect else 0)
        return (
            f"{self.n_bufs} {entries} {self.batch} {self.size} {self.n_held} {features:x}"
            f" {self.n_rounds}"
        )


@dataclass(frozen=True)
class Cost:
    """Instructions: of add and publish and of pop per chain; of the others for each call."""

    add_publish: float
    notify: float
    pop: float
    look: float


# ------------------------------------------------------------------------------- which cases


GOAL = Case(n_bufs=3, indirect=False, batch=BATCH, size=256)


def grid() -> Iterator[Case]:
    """Every shape; where the queue is too small for the batch, the largest batch that fits."""
    for n_bufs in (1, 2, 3):
        for indirect in (False, True):
            for batch in (1, BATCH):
                for size in SIZES:
                    case = Case(n_bufs, indirect, batch, size)
                    yield replace(case, batch=min(batch, case.capacity))


def sizes() -> Iterator[Case]:
    """The same work in queues of different sizes."""
    for indirect in (False, True):
        for batch in (1, BATCH_OF_ALL):
            for size in (*SIZES, LARGEST):
                yield Case(3, indirect, batch, size)


def in_flight() -> Iterator[Case]:
    """The same work while the device has none, half and all of the chains that it can have."""
    for indirect in (False, True):
        for batch in (1, BATCH):
            case = Case(3, indirect, batch, size=1024)
            for n_held in (0, case.capacity // 2, case.capacity - batch):
                yield replace(case, n_held=n_held)


def features() -> Iterator[Case]:
    """What each feature adds."""
    for feature in FEATURES:
        yield replace(GOAL, feature=feature)


SECTIONS = {
    "shapes": grid,
    "queue size": sizes,
    "chains in flight": in_flight,
    "features": features,
}


# ------------------------------------------------------------------------------- measurement


def run(*command: object) -> str:
    """The output of a command, which has to succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_LIMIT_S)
    if done.returncode != 0:
        sys.exit(f"bench_ring.py: {words[0]} ended with {done.returncode}\n{done.stderr}")
    return done.stdout


# Of one case, by caller and callee: number of calls, and instructions from entry to return.
Profile = dict[tuple[str, str], tuple[int, int]]


def profiles(lines: Iterable[str]) -> dict[str, Profile]:
    """A file of callgrind's with names in full and a part for each case, by the case's argument."""
    found: dict[str, Profile] = {}
    profile: Profile = {}
    caller = callee = ""
    n_calls = 0
    for line in lines:
        key, _, value = line.rstrip("\n").partition("=")
        if n_calls:  # the line behind "calls=": position and instructions
            calls, instructions = profile[caller, callee]
            profile[caller, callee] = (calls + n_calls, instructions + int(line.split()[1]))
            n_calls = 0
        elif line.startswith("desc: Trigger: Client Request: "):
            profile = defaultdict(lambda: (0, 0))
            found[line.rstrip("\n").partition("Request: ")[2]] = profile
        elif line.startswith("part: "):
            profile = defaultdict(lambda: (0, 0))
        elif key == "fn":
            caller = value
        elif key == "cfn":
            callee = value
        elif key == "calls":
            n_calls = int(value.split()[0])
    return found


def cost(case: Case, profile: Profile) -> Cost:
    """What a profile says, if the phases called the library as often as they must have."""

    def instructions(caller: str, callee: str, n_calls: int) -> int:
        calls, total = profile.get((caller, callee), (0, 0))
        if calls != n_calls:
            sys.exit(f"bench_ring.py: {caller} called {callee} {calls} times, not {n_calls}")
        return total

    rounds = case.n_rounds
    chains = rounds * case.batch
    supply = instructions("phase_supply", "virtqueue_add", chains)
    supply += instructions("phase_supply", "virtqueue_publish", rounds)
    notify = instructions("phase_notify", "virtqueue_notify", rounds)
    notify -= instructions("virtqueue_notify", "example_device_notify", rounds)
    pop = instructions("phase_pop", "virtqueue_pop_used", chains)
    look = instructions("phase_look", "virtqueue_pop_used", rounds)
    return Cost(supply / chains, notify / rounds, pop / chains, look / rounds)


def count(program: Path, cases: Iterable[Case]) -> dict[Case, Cost]:
    """Instructions of each case."""
    cases = list(dict.fromkeys(cases))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "callgrind.out")
        run(
            "valgrind",
            "--quiet",
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            "--combine-dumps=yes",
            "--compress-strings=no",
            "--compress-pos=no",
            program,
            *(case.argument() for case in cases),
        )
        with out.open() as lines:
            found = profiles(lines)
    return {case: cost(case, found.get(case.argument(), {})) for case in cases}


def time(program: Path, cases: Iterable[Case]) -> dict[Case, tuple[float, ...]]:
    """Nanoseconds of each case: add and publish, notify, pop."""
    cases = list(dict.fromkeys(cases))
    arguments = (replace(case, n_rounds=ROUNDS_TIMED).argument() for case in cases)
    lines = run(program, *arguments).splitlines()
    return {case: tuple(map(float, line.split())) for case, line in zip(cases, lines, strict=True)}


# --------------------------------------------------------------------------------- verdicts


@dataclass(frozen=True)
class Verdict:
    """One goal: its name among the gates, and what was measured against which limit."""

    name: str
    words: str
    measured: float
    limit: float

    @property
    def ok(self) -> bool:
        return self.measured <= self.limit


def spread(costs: dict[Case, Cost], **same: object) -> float:
    """The most that cases differ which are alike but for the named field."""
    groups: dict[Case, list[Cost]] = defaultdict(list)
    for case, found in costs.items():
        groups[replace(case, **same)].append(found)
    compared = [group for group in groups.values() if len(group) > 1]
    if not compared:
        sys.exit(f"bench_ring.py: nothing to compare but for {', '.join(same)}")
    return max(
        max(values) - min(values)
        for group in compared
        for values in (
            [found.add_publish for found in group],
            [found.notify for found in group],
            [found.pop for found in group],
            [found.look for found in group],
        )
    )


def verdicts(costs: dict[Case, Cost]) -> list[Verdict]:
    """The goals, against what was counted."""
    goal = f"{GOAL.n_bufs} descriptors, direct, batch of {GOAL.batch}, queue of {GOAL.size}"
    longer = costs[replace(GOAL, n_rounds=2 * ROUNDS_COUNTED)]
    repeated = max(abs(a - b) for a, b in zip(vars(costs[GOAL]).values(), vars(longer).values()))
    return [
        Verdict(
            "bench-add-publish",
            f"add and publish per chain: {goal}",
            costs[GOAL].add_publish,
            LIMIT_ADD_PUBLISH,
        ),
        Verdict("bench-pop", f"pop per chain: {goal}", costs[GOAL].pop, LIMIT_POP),
        Verdict(
            "bench-queue-size",
            f"difference between queues of {SIZES[0]} to {LARGEST}",
            spread(costs, size=0),
            LIMIT_SPREAD,
        ),
        Verdict(
            "bench-in-flight",
            "difference between few and all chains in flight",
            spread(costs, n_held=0),
            LIMIT_SPREAD,
        ),
        Verdict(
            "bench-exact",
            "difference per chain when the run is twice as long",
            repeated,
            0.0,
        ),
    ]


# ---------------------------------------------------------------------------------- output


HEADINGS = ("bufs", "kind", "batch", "size", "in flight", "features")
COLUMNS = ("add+publish", "pop", "notify", "empty look")


def row(case: Case) -> tuple[object, ...]:
    in_flight = case.n_held + case.batch
    return case.n_bufs, case.kind, case.batch, case.size, in_flight, case.feature


def table(
    names: Iterable[str], costs: dict[Case, Cost], times: dict[Case, tuple[float, ...]]
) -> Iterator[str]:
    """For people."""
    form = "{:>4} {:>8} {:>5} {:>5} {:>9} {:>14} |{:>12} {:>6} {:>7} {:>10} |{:>12} {:>6} {:>7}"
    yield form.format(*[""] * 6, "instructions", *[""] * 3, "nanoseconds", *[""] * 2)
    yield form.format(*HEADINGS, *COLUMNS, *COLUMNS[:3])
    for name in names:
        yield f"-- {name}"
        for case in SECTIONS[name]():
            found, (add_ns, notify_ns, pop_ns) = costs[case], times[case]
            yield form.format(
                *row(case),
                f"{found.add_publish:.1f}",
                f"{found.pop:.1f}",
                f"{found.notify:.0f}",
                f"{found.look:.0f}",
                f"{add_ns:.1f}",
                f"{pop_ns:.1f}",
                f"{notify_ns:.0f}",
            )
    yield "add+publish and pop: per chain; notify: per batch; empty look: a pop that finds nothing"


def tsv(names: Iterable[str], costs: dict[Case, Cost]) -> Iterator[str]:
    """For programs; only what is the same in every run."""
    yield "\t".join(word.replace(" ", "_") for word in (*HEADINGS, *COLUMNS))
    for case in dict.fromkeys(case for name in names for case in SECTIONS[name]()):
        found = costs[case]
        numbers = (found.add_publish, found.pop, found.notify, found.look)
        yield "\t".join([*map(str, row(case)), *(f"{number:.3f}" for number in numbers)])


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    program, results = (Path(word) for word in arguments if not word.startswith("-"))
    results.mkdir(parents=True, exist_ok=True)
    gates = results / "gates-bench.txt"
    gates.unlink(missing_ok=True)

    names = [name for name in SECTIONS if not quick or name not in ("shapes", "features")]
    cases = [GOAL, *(case for name in names for case in SECTIONS[name]())]
    costs = count(program, [*cases, replace(GOAL, n_rounds=2 * ROUNDS_COUNTED)])
    print("\n".join(table(names, costs, time(program, cases))))
    (results / "bench-ring.tsv").write_text("\n".join(tsv(names, costs)) + "\n")

    reached = verdicts(costs)
    for verdict in reached:
        word = "ok" if verdict.ok else "failed"
        print(f"{word:6} {verdict.words}: {verdict.measured:.1f}, at most {verdict.limit:.0f}")
    gates.write_text("".join(f"{v.name} {'ok' if v.ok else 'failed'}\n" for v in reached))
    n_failed = sum(not verdict.ok for verdict in reached)
    print(f"{len(reached) - n_failed} passed, {n_failed} failed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
