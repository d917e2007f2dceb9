#!/usr/bin/python3
"""Judge what gcovr has counted.

run.py --tests-status N COVERAGE_JSON [--root FOLDER] [--exceptions FILE]

N is the exit status of the tests: where it is not 0, or gcovr has left nothing, that has failed.
Prints lines and branches per file and per folder. core/ needs every line and 95 % of its branches;
and whatever no test reaches, in any of the folders, has to be explained in exceptions.tsv (file,
what of the line is not reached, its text, why). What is not explained has failed, as has an
explanation of what is reached, and a source that no test is linked with. The last line is
"N passed, N failed".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from report import FAILED, PASSED, Result, counts, exit_status  # noqa: E402

FOLDERS = ("core", "transports", "devices")
LINES_OF_CORE = 100.0
BRANCHES_OF_CORE = 95.0

# By file, what is missing and the text of the line.
Reasons = dict[tuple[str, str, str], list[str]]


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


def gaps(root: Path, file: dict) -> Iterator[Gap]:
    """In the order of the lines; functions that are inlined in several places count once."""
    source = (root / file["file"]).read_text("utf-8").splitlines()
    for line in code_lines(file):
        number = line["line_number"]
        text = source[number - 1].strip()
        missed = sum(branch["count"] == 0 for branch in line["branches"])
        if line["count"] == 0:
            yield Gap(file["file"], number, text, "not reached")
        elif missed:
            what = f"{missed} of {len(line['branches'])} ways not taken"
            yield Gap(file["file"], number, text, what)


def read_reasons(path: Path) -> Reasons:
    """A row explains one line; lines of the same text need as many."""
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
    for row in rows:
        if len(row) != 4 or not all(map(str.strip, row)):
            raise SystemExit(f"{path}: not a file, what of it, a text and a reason: {row}")
    reasons: Reasons = defaultdict(list)
    for file, what, text, reason in rows:
        reasons[file, what, text].append(reason)
    return reasons


def print_table(name: str, total: Counts) -> None:
    print(
        f"{name:<32} lines {total.lines_reached:>4}/{total.lines:<4} {total.line_share:6.1f} %"
        f"   branches {total.branches_reached:>4}/{total.branches:<4}"
        f" {total.branch_share:6.1f} %"
    )


def judge_tools(tests_status: int, files: list[dict]) -> Iterator[Result]:
    for what, good, otherwise in (
        ("the tests pass", tests_status == 0, f"they ended with status {tests_status}"),
        ("gcovr has counted", bool(files), "it left nothing"),
    ):
        yield Result("coverage", what, PASSED if good else FAILED, "" if good else otherwise)


def read_files(path: Path) -> list[dict]:
    """What gcovr says of each file with code; of a gcovr that failed there is nothing."""
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
    except (OSError, ValueError) as error:
        print(f"{path}: {error}")
        return []
    return sorted((f for f in files if code_lines(f)), key=lambda file: file["file"])


def judge_shares(core: Counts) -> Iterator[Result]:
    for what, share, wanted in (
        ("lines", core.line_share, LINES_OF_CORE),
        ("branches", core.branch_share, BRANCHES_OF_CORE),
    ):
        text = f"core/: {share:.1f} % of its {what}, at least {wanted:.0f} %"
        yield Result("coverage", text, PASSED if share >= wanted else FAILED)


def judge_sources(root: Path, files: list[dict]) -> Iterator[Result]:
    """What no program is linked with is not in gcovr's account at all."""
    counted = {file["file"] for file in files}
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*.c")):
            name = f"{folder}/{path.name}"
            if name not in counted:
                yield Result("coverage", f"{name}: in no test program", FAILED)


def judge_gaps(found: list[Gap], reasons: Reasons) -> Iterator[Result]:
    for gap in found:
        left = reasons[gap.file, gap.what, gap.text]
        reason = left.pop(0) if left else ""
        name = f"{gap.file}:{gap.number}: {gap.what}: {gap.text}"
        yield Result("coverage", name, PASSED if reason else FAILED, reason or "without a reason")
    for file, what, text in (key for key, left in reasons.items() for _ in left):
        yield Result("coverage", f"{file}: {what}: {text}", FAILED, "explained, and not so")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests-status", type=int, required=True, metavar="N")
    parser.add_argument("json", type=Path, metavar="COVERAGE_JSON")
    parser.add_argument("--root", type=Path, default=HERE.parents[1], metavar="FOLDER")
    parser.add_argument("--exceptions", type=Path, default=HERE / "exceptions.tsv", metavar="FILE")
    options = parser.parse_args()

    files = read_files(options.json)
    folders: dict[str, Counts] = defaultdict(Counts)
    for file in files:
        folders[file["file"].split("/")[0]].add(count(file))
        print_table(file["file"], count(file))
    for folder in FOLDERS:
        print_table(f"{folder}/", folders[folder])

    found = [gap for file in files for gap in gaps(options.root, file)]
    results = [*judge_tools(options.tests_status, files)]
    if files:
        results += [
            *judge_shares(folders["core"]),
            *judge_sources(options.root, files),
            *judge_gaps(found, read_reasons(options.exceptions)),
        ]
    for result in results:
        word = "ok    " if result.outcome == PASSED else "FAILED"
        print(f"{word} {result.name}{': ' if result.message else ''}{result.message}")
    print(counts(results))
    return exit_status(results)


if __name__ == "__main__":
    sys.exit(main())
