#!/usr/bin/python3
"""Judge what gcovr has counted: run.py COVERAGE_JSON

Prints lines and branches per file and per folder. core/ needs every line and 95 % of its branches;
and whatever no test reaches, in any of the folders, has to be explained in exceptions.tsv (file, the
text of the line, why). What is not explained has failed, as has an explanation of what is reached.
The last line is "N passed, N failed".
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDERS = ("core", "transports", "devices")
LINES_OF_CORE = 100.0
BRANCHES_OF_CORE = 95.0


@dataclass
class Counts:
    """What there is and what was reached."""

    lines: int = 0
    lines_reached: int = 0
    branches: int = 0
    branches_reached: int = 0

    def add(self, other: Counts) -> None:
        self.lines += other.lines
        self.lines_reached += other.lines_reached
        self.branches += other.branches
        self.branches_reached += other.branches_reached

    @property
    def line_share(self) -> float:
        return 100 * self.lines_reached / self.lines if self.lines else 0.0

    @property
    def branch_share(self) -> float:
        return 100 * self.branches_reached / self.branches if self.branches else 100.0


@dataclass(frozen=True)
class Gap:
    """A line that no test reaches, or that always goes the same way."""

    file: str
    number: int
    text: str
    what: str


def code_lines(file: dict) -> list[dict]:
    """gcovr lists the lines between them, too."""
    return [line for line in file["lines"] if not line["gcovr/noncode"]]


def count(file: dict) -> Counts:
    lines = code_lines(file)
    branches = [branch for line in lines for branch in line["branches"]]
    return Counts(
        len(lines),
        sum(line["count"] > 0 for line in lines),
        len(branches),
        sum(branch["count"] > 0 for branch in branches),
    )


def gaps(file: dict) -> Iterator[Gap]:
    """In the order of the lines; functions that are inlined in several places count once."""
    source = (ROOT / file["file"]).read_text("utf-8").splitlines()
    for line in code_lines(file):
        number = line["line_number"]
        text = source[number - 1].strip()
        missed = sum(branch["count"] == 0 for branch in line["branches"])
        if line["count"] == 0:
            yield Gap(file["file"], number, text, "is not reached")
        elif missed:
            yield Gap(file["file"], number, text, f"{missed} of {len(line['branches'])} ways not taken")


def read_reasons() -> dict[tuple[str, str], list[str]]:
    """A row explains one line; lines of the same text need as many."""
    rows = [line.split("\t") for line in (HERE / "exceptions.tsv").read_text("utf-8").splitlines()[1:]]
    for row in rows:
        if len(row) != 3 or len(row[2]) < 8:
            raise SystemExit(f"exceptions.tsv: not a file, a text and a reason: {row}")
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file, text, reason in rows:
        reasons[file, text].append(reason)
    return reasons


class Report:
    """Counts verdicts as they are printed."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def say(self, good: bool, text: str) -> None:
        self.passed += good
        self.failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {text}")


def print_table(name: str, counts: Counts) -> None:
    print(
        f"{name:<32} lines {counts.lines_reached:>4}/{counts.lines:<4} {counts.line_share:6.1f} %"
        f"   branches {counts.branches_reached:>4}/{counts.branches:<4} {counts.branch_share:6.1f} %"
    )


def main() -> int:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    files = json.loads(Path(sys.argv[1]).read_text())["files"]
    files = sorted((f for f in files if code_lines(f)), key=lambda file: file["file"])
    folders: dict[str, Counts] = defaultdict(Counts)
    for file in files:
        folders[file["file"].split("/")[0]].add(count(file))
        print_table(file["file"], count(file))
    for folder in FOLDERS:
        print_table(f"{folder}/", folders[folder])

    report = Report()
    core = folders["core"]
    report.say(core.line_share >= LINES_OF_CORE, f"core/: {core.line_share:.1f} % of its lines")
    report.say(
        core.branch_share >= BRANCHES_OF_CORE, f"core/: {core.branch_share:.1f} % of its branches"
    )
    reasons = read_reasons()
    for gap in (gap for file in files for gap in gaps(file)):
        left = reasons[gap.file, gap.text]
        reason = left.pop(0) if left else ""
        where = f"{gap.file}:{gap.number}: {gap.what}: {gap.text}"
        report.say(bool(reason), f"{where}: {reason or 'without a reason'}")
    for name, text in (key for key, left in reasons.items() for _ in left):
        report.say(False, f"{name}: exceptions.tsv explains what is reached: {text}")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
