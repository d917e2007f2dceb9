"""tests/coverage/run.py notices what it is there to notice, on counts that gcovr could give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parent / "coverage/run.py"

SOURCES = {
    "core/ring.c": "one();\nif (two)\nthree();\n" + "more();\n" * 17,
    "devices/disk.c": "one();\n",
    "transports/bus.c": "one();\n",
}

# Each line of a file: how often it ran, and each of its branches.
Counts = list[tuple[int, list[int]]]
ALL: dict[str, Counts] = {
    "core/ring.c": [(1, []), (2, [1, 1]), *[(1, [])] * 18],
    "devices/disk.c": [(1, [])],
    "transports/bus.c": [(1, [])],
}
HALF_A_BRANCH = "core/ring.c\t1 of 2 ways not taken\tif (two)\tboth ways are the same\n"
NO_LINE = "core/ring.c\tnot reached\tthree();\tthe other way\n"
NO_DISK = "devices/disk.c\tnot reached\tone();\tno disk here\n"


def with_counts(file: str, number: int, count: int, branches: list[int]) -> dict[str, Counts]:
    lines = list(ALL[file])
    lines[number - 1] = (count, branches)
    return ALL | {file: lines}


def many_branches(n_missed: int) -> dict[str, Counts]:
    """Of twenty."""
    return with_counts("core/ring.c", 2, 1, [0] * n_missed + [1] * (20 - n_missed))


def run(folder: Path, tests_status: int = 0) -> tuple[int, list[str]]:
    """Exit status and what is printed."""
    words = [sys.executable, RUN, "--tests-status", tests_status, folder / "coverage.json"]
    words += ["--root", folder, "--exceptions", folder / "exceptions.tsv"]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines() + done.stderr.splitlines()


def write(folder: Path, counted: dict[str, Counts], exceptions: str) -> None:
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    files = [
        {
            "file": name,
            "lines": [
                {
                    "line_number": number,
                    "count": count,
                    "branches": [{"count": taken} for taken in branches],
                    "gcovr/noncode": False,
                }
                for number, (count, branches) in enumerate(lines, 1)
            ],
        }
        for name, lines in counted.items()
    ]
    (folder / "coverage.json").write_text(json.dumps({"files": files}))
    (folder / "exceptions.tsv").write_text(f"head\n{exceptions}")


PASSES = {
    "everything is reached": (ALL, "", 4),
    "a way not taken has a reason": (
        with_counts("core/ring.c", 2, 1, [0, 1] + [1] * 18),
        HALF_A_BRANCH.replace("1 of 2", "1 of 20"),
        5,
    ),
    "a line of a device has a reason": (with_counts("devices/disk.c", 1, 0, []), NO_DISK, 5),
}

FAILURES = {
    "a way not taken has no reason": (
        many_branches(1), "", "core/ring.c:2: 1 of 20 ways not taken: if (two): without a reason"
    ),
    "a line of a device has no reason": (
        with_counts("devices/disk.c", 1, 0, []),
        "",
        "devices/disk.c:1: not reached: one();: without a reason",
    ),
    "a line of core/ is not reached, whatever the reason": (
        with_counts("core/ring.c", 3, 0, []), NO_LINE, "core/: 95.0 % of its lines, at least 100 %"
    ),
    "too many ways of core/, whatever the reason": (
        many_branches(2),
        HALF_A_BRANCH.replace("1 of 2", "2 of 20"),
        "core/: 90.0 % of its branches, at least 95 %",
    ),
    "the reason was for less": (
        with_counts("devices/disk.c", 1, 0, []),
        "devices/disk.c\t1 of 2 ways not taken\tone();\tno disk here\n",
        "devices/disk.c:1: not reached: one();: without a reason",
    ),
    "the reason is of a line that is reached": (
        ALL, NO_DISK, "devices/disk.c: not reached: one();: explained, and not so"
    ),
    "a reason is there twice": (
        with_counts("devices/disk.c", 1, 0, []),
        NO_DISK * 2,
        "devices/disk.c: not reached: one();: explained, and not so",
    ),
    "a source is in no program": (
        {name: lines for name, lines in ALL.items() if name != "transports/bus.c"},
        "",
        "transports/bus.c: in no test program",
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_given_what_is_reached_or_explained_when_judged_then_passed(
    tmp_path: Path, name: str
) -> None:
    counted, exceptions, n_passed = PASSES[name]

    write(tmp_path, counted, exceptions)

    status, lines = run(tmp_path)

    assert (status, lines[-1]) == (0, f"{n_passed} passed, 0 failed")


@pytest.mark.parametrize("name", FAILURES)
def test_given_gap_without_its_reason_when_judged_then_failed(tmp_path: Path, name: str) -> None:
    counted, exceptions, expected = FAILURES[name]

    write(tmp_path, counted, exceptions)

    status, lines = run(tmp_path)

    assert f"FAILED {expected}" in lines
    assert status == 1 and not lines[-1].endswith(" 0 failed")


def test_given_tests_that_failed_when_judged_then_that_is_one_more_failure(tmp_path: Path) -> None:
    write(tmp_path, ALL, "")

    status, lines = run(tmp_path, tests_status=1)

    assert "FAILED the tests pass: they ended with status 1" in lines
    assert (status, lines[-1]) == (1, "3 passed, 1 failed")


@pytest.mark.parametrize("text", [None, "", '{"files": [', '{"files": []}'])
def test_given_gcovr_that_failed_when_judged_then_the_last_line_counts_it(
    tmp_path: Path, text: str | None
) -> None:
    write(tmp_path, ALL, "")
    (tmp_path / "coverage.json").unlink()
    if text is not None:
        (tmp_path / "coverage.json").write_text(text)

    status, lines = run(tmp_path)

    assert "FAILED gcovr has counted: it left nothing" in lines
    assert (status, lines[-1]) == (1, "1 passed, 1 failed")


def test_given_row_without_a_reason_when_judged_then_refused(tmp_path: Path) -> None:
    write(tmp_path, ALL, "core/ring.c\tnot reached\tthree();\t\n")

    status, lines = run(tmp_path)

    assert status == 1 and "not a file, what of it, a text and a reason" in lines[-1]
