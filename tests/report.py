#!/usr/bin/python3
"""Add up everything that a test run left in its results folder.

report.py RESULTS [--expect FILE]... [--allow-skip FILE::TEST=REASON]... [--partial]
    Read the results, check tests/conformance.tsv against them and against the sources of the
    tests, print what failed, and as the last line "N passed, N failed". Exit status 0 only if
    something ran and nothing failed. --expect: RESULTS/FILE has to be there. --partial: only a
    part of the tests ran, so leave the conformance table alone.
report.py --program NAME RESULTS
    One short line about one cmocka program, then what failed in it.
report.py --fill
    Rewrite state and evidence of the conformance table from the "Checks:" comments in the
    sources of the tests. Rows without such a comment keep their reason.

The results folder holds
    unit-NAME.xml, .status, .stderr   of the cmocka program NAME, left by run_unit.sh
    *.xml                             of pytest --junitxml, any other name
    gates*.txt                        lines "NAME ok" or "NAME failed"

A test names what it checks in a comment inside the C function, "Checks: STAT-1, INIT-1a", or in
the docstring or a comment of the Python function. A test is written FILE::FUNCTION; names of test
files are unique in tests/, so results are matched by file name without folder and suffix.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
STDERR_LINES_SHOWN = 60

# ---------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Result:
    """One test that ran. For a parametrised test one of several with the same base name."""

    file: str  # without folder and suffix
    name: str
    outcome: str
    message: str = ""

    @property
    def key(self) -> tuple[str, str]:
        # pytest-xdist puts the test's group behind its name.
        return self.file, re.split(r"[\[@]", self.name)[0]


def failed(file: str, name: str, message: str) -> Result:
    return Result(file, name, FAILED, message)


def read_text(path: Path) -> str:
    """Text of a file that may hold anything, "" for one that is not there."""
    return path.read_text("utf-8", "replace") if path.is_file() else ""


# ------------------------------------------------------------------- results of cmocka programs

# cmocka escapes nothing, writes one <testsuites> per group into the same file, and reports a
# failing group set-up by an error count alone. So its output is read by line patterns.
CMOCKA_GROUP = re.compile(
    r'<testsuite name="(?P<name>[^"\n]*)" [^\n]*?tests="(?P<tests>\d+)"'
    r' failures="(?P<failures>\d+)" errors="(?P<errors>\d+)"[^\n]*>\n(?P<body>.*?)^  </testsuite>\n</testsuites>$',
    re.MULTILINE | re.DOTALL,
)
CMOCKA_CASE = re.compile(
    r'^    <testcase name="(?P<name>[^\n]*)" time="[^"\n]*" >\n(?P<body>.*?)^    </testcase>$',
    re.MULTILINE | re.DOTALL,
)
SANITIZER = re.compile(r"^.*(?:ERROR: \w+Sanitizer|runtime error:).*$", re.MULTILINE)


def cmocka_case(program: str, name: str, body: str) -> Result:
    if "<skipped/>" in body and "<![CDATA[" not in body:
        return Result(program, name, SKIPPED)
    if not body.strip():
        return Result(program, name, PASSED)
    message = re.sub(r"^\s*<\w+>(<!\[CDATA\[)?|(\]\]>)?</\w+>\s*$", "", body)
    return failed(program, name, message)


def cmocka_group(program: str, group: re.Match[str]) -> Iterator[Result]:
    """The tests of one group, and what its counts say beyond them."""
    found = CMOCKA_CASE.finditer(group["body"])
    cases = [cmocka_case(program, case["name"], case["body"]) for case in found]
    yield from cases
    n_failed = sum(case.outcome == FAILED for case in cases)
    if int(group["failures"]) + int(group["errors"]) > n_failed:
        yield failed(program, f"({group['name']})", "the group's set-up or tear-down failed")
    elif not cases:
        yield failed(program, "(program)", f"group {group['name']!r} has no tests")
    elif len(cases) != int(group["tests"]):
        yield failed(program, f"({group['name']})", f"{group['tests']} tests, {len(cases)} listed")


def cmocka_results(program: str, text: str) -> Iterator[Result]:
    groups = list(CMOCKA_GROUP.finditer(text))
    for group in groups:
        yield from cmocka_group(program, group)
    if not groups:
        yield failed(program, "(program)", "left no results")
    elif len(groups) != len(re.findall(r"^<testsuites>$", text, re.MULTILINE)):
        yield failed(program, "(program)", "its results are cut off")


def ended_badly(status: str, stderr: str, n_failed: int) -> str:
    """Why the end of a program counts as a failure of its own; "" if it does not."""
    sanitizer = SANITIZER.search(stderr)
    if sanitizer:
        return sanitizer[0].strip()
    if status in ("124", "137"):  # of timeout, and of its SIGKILL
        return "took too long and was ended"
    if not status.isdigit():
        return "nobody saw it end"
    if int(status) > 128:
        return f"ended by signal {int(status) - 128}"
    if (int(status) == 0) == (n_failed == 0):
        return ""
    return f"ended with status {status}, its results show {n_failed} failed"


def program_results(folder: Path, program: str) -> list[Result]:
    results = list(cmocka_results(program, read_text(folder / f"unit-{program}.xml")))
    status = read_text(folder / f"unit-{program}.status").strip()
    stderr = read_text(folder / f"unit-{program}.stderr")
    n_failed = sum(r.outcome == FAILED and r.name != "(program)" for r in results)
    reason = ended_badly(status, stderr, n_failed)
    if reason:
        shown = "\n".join(stderr.splitlines()[:STDERR_LINES_SHOWN])
        results.append(failed(program, "(end)", f"{reason}\n{shown}".strip()))
    return results


# --------------------------------------------------------- results of pytest, and of the gates


def pytest_case(case: ElementTree.Element) -> Result:
    parts = [part for part in case.get("classname", "").split(".") if part.startswith("test_")]
    file = parts[-1] if parts else case.get("classname", "") or "pytest"
    name = case.get("name", "")
    for tag, outcome in (("failure", FAILED), ("error", FAILED), ("skipped", SKIPPED)):
        found = case.find(tag)
        if found is not None:
            return Result(file, name, outcome, found.text or found.get("message", ""))
    return Result(file, name, PASSED)


def pytest_results(path: Path) -> list[Result]:
    try:
        cases = [pytest_case(case) for case in ElementTree.parse(path).iter("testcase")]
    except ElementTree.ParseError as error:
        return [failed(path.stem, "(results)", f"cannot be read: {error}")]
    return cases or [failed(path.stem, "(results)", "no tests")]


def gate_result(line: str) -> Result:
    name, _, state = line.strip().rpartition(" ")
    if state == "ok" and name:
        return Result("gate", name, PASSED)
    return failed("gate", name or line.strip(), "" if state == "failed" else f"unclear: {line!r}")


def gates_results(path: Path) -> list[Result]:
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    return [gate_result(line) for line in lines] or [failed("gate", path.name, "no gates in it")]


def all_results(folder: Path) -> list[Result]:
    left = sorted([*folder.glob("unit-*.xml"), *folder.glob("unit-*.status")])
    programs = dict.fromkeys(path.stem.removeprefix("unit-") for path in left)
    results = [r for program in programs for r in program_results(folder, program)]
    for path in sorted(folder.glob("*.xml")):
        if not path.name.startswith("unit-"):
            results += pytest_results(path)
    for path in sorted(folder.glob("gates*.txt")):
        results += gates_results(path)
    return results or [failed("report", str(folder), "nothing ran")]


def missing_files(folder: Path, expected: Iterable[str]) -> list[Result]:
    return [
        failed("report", file, "expected, but not there")
        for file in expected
        if not (folder / file).is_file()
    ]


def judge_skips(results: Iterable[Result], allowed: dict[tuple[str, str], str]) -> list[Result]:
    """Skipped tests count as failed, but for those that the allow list gives a reason for."""
    judged = []
    for result in results:
        reason = allowed.get((result.file, result.name)) or allowed.get(result.key)
        if result.outcome != SKIPPED or reason:
            judged.append(result)
        else:
            judged.append(failed(result.file, result.name, f"skipped: {result.message}"))
    return judged


# ----------------------------------------------------------------- what the tests say they check

REQUIREMENT_ID = r"[A-Z]+(?:-[A-Z]+)*-\d+[a-z]?\b"
CHECKS = re.compile(rf"\bChecks:((?:{REQUIREMENT_ID}|[\s,;*#/]|\band\b)+)")
C_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
C_FUNCTION = re.compile(r"^[A-Za-z_][^;{}]*?\b(\w+)[ \t]*\([^;{}]*\)\n\{\n.*?^\}", re.M | re.S)


@dataclass(frozen=True)
class Claim:
    """One id in one "Checks:" comment. Without a function nobody can tell which test it means."""

    id: str
    file: str
    line: int
    function: str

    @property
    def test(self) -> str:
        return f"{self.file}::{self.function}"


@dataclass(frozen=True)
class Source:
    """What a source file of tests has: its functions, and what they claim to check."""

    functions: frozenset[str]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Function:
    name: str
    first_line: int
    last_line: int


def claims_of(file: str, comments: Iterable[tuple[int, str]], found: list[Function]) -> Source:
    claims = []
    for line, text in comments:
        inside = [f.name for f in found if f.first_line <= line <= f.last_line]
        for checks in CHECKS.finditer(text):
            for id_ in re.findall(REQUIREMENT_ID, checks[1]):
                claims.append(Claim(id_, file, line, inside[-1] if inside else ""))
    return Source(frozenset(f.name for f in found), tuple(claims))


def c_source(file: str, text: str) -> Source:
    def line_of(offset: int) -> int:
        return text.count("\n", 0, offset) + 1

    def blank(token: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", token[0])

    tokens = [m for m in C_TOKEN.finditer(text) if m[0].startswith("/")]
    comments = [(line_of(m.start()), m[0]) for m in tokens]
    bodies = C_FUNCTION.finditer(C_TOKEN.sub(blank, text))
    functions = [Function(m[1], line_of(m.start()), line_of(m.end())) for m in bodies]
    return claims_of(file, comments, functions)


def python_comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments, those on consecutive lines as one."""
    line, block, last = 0, "", -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] == last + 1:
            block += "\n" + token.string
        else:
            yield line, block
            line, block = token.start[0], token.string
        last = token.start[0]
    yield line, block


def python_source(file: str, text: str) -> Source:
    try:
        tree = ast.parse(text)
    except SyntaxError:  # pytest reports it
        return claims_of(file, [], [])
    functions, comments = [], list(python_comments(text))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            functions.append(Function(node.name, node.lineno, node.end_lineno or node.lineno))
            comments.append((node.lineno, ast.get_docstring(node) or ""))
    return claims_of(file, comments, functions)


def read_sources(root: Path) -> dict[str, Source]:
    """All C and Python files below tests/, by their path from the root."""
    sources = {}
    for path in sorted((root / "tests").rglob("*.[cp]*")):
        file = path.relative_to(root).as_posix()
        if path.suffix == ".c":
            sources[file] = c_source(file, read_text(path))
        elif path.suffix == ".py":
            sources[file] = python_source(file, read_text(path))
    return sources


# ---------------------------------------------------------------------------- conformance table

HEADER = ["id", "state", "evidence", "requirement"]
TESTED, NOT_APPLICABLE, OPEN = "tested", "n/a", "open"
SHORTEST_REASON = 8  # characters; shorter is a placeholder

# Every requirement on a driver, listed apart from the table so that a lost row is noticed.
INVENTORY = """
    STAT 1-4          INIT 1 1a-1h 2-7     INIT-LEG 1         SUSP 1-6
    FEAT 1-6 7a-7b 8  FEAT-LEG 1-2         RSVD 1-10 11a-11b 12-13
    RSVD-LEG 1-2      CFG 1a-1b 2-5        CFG-LEG 1          RESET 1
    CLEAN 1-2         QRESET 1-3           SPLIT-ALIGN 1      SPLIT-LEG 1-4
    SPLIT-FRAME 1-2   SPLIT-DESC 1-2       SPLIT-AVAIL 1      SPLIT-USED 1-2
    SPLIT-IDX 1       SPLIT-IND 1-5        SUP-USED 1-5       SUP-AVAIL 1-7
    SUP-BAR 1         PCI-DISC 1-4         PCI-ACC 1-2        PCI-CAP 1-8
    PCI-COM 1-11      PCI-ISR 1            PCI-VND 1-2        PCI-CFGA 1-3
    PCI-MSIX 1-6      PCI-NOTIF 1-6        PCI-INT 1          PCI-LEG 1-7
    MMIO-REG 1-23     MMIO-INIT 1-6        MMIO-INT 1-3       BLK-INIT 1-7 8a-8b 9-10
    BLK-REQ 1-16      BLK-ZONE 1-9 10a-10c BLK-LEG 1-12       CON-OP 1-2
    CON-MP 1-4        CON-LEG 1-4          RNG-REQ 1-2        X-CONF 1-3
    X-SPLIT 1-6       X-SUP 1              X-PCI 1-4          X-BLK 1-3
    X-PACK 1-2        X-MMIOL 1-16         X-PCIL 1-6         X-CFGL 1
    X-CFG 1           X-NOTIF 1            X-SPLITL 1         X-MMIO 1-4
    X-CON 1-4
"""


def expand_range(text: str) -> list[str]:
    """"3-5" is 3 4 5, "7a-7c" is 7a 7b 7c."""
    first, _, last = text.partition("-")
    if not last:
        return [first]
    if first.isdigit():
        return [str(n) for n in range(int(first), int(last) + 1)]
    return [first[:-1] + chr(letter) for letter in range(ord(first[-1]), ord(last[-1]) + 1)]


def inventory() -> list[str]:
    ids, prefix = [], ""
    for word in INVENTORY.split():
        if word[0].isalpha():
            prefix = word
        else:
            ids += [f"{prefix}-{number}" for number in expand_range(word)]
    return ids


@dataclass(frozen=True)
class Row:
    line: int
    id: str
    state: str
    evidence: str
    requirement: str

    @property
    def tests(self) -> list[str]:
        return [t.strip() for t in self.evidence.split(",")] if self.state == TESTED else []


@dataclass(frozen=True)
class Table:
    rows: list[Row]
    malformed: list[str]


def read_table(root: Path) -> Table:
    lines = read_text(root / "tests/conformance.tsv").splitlines()
    if not lines or lines[0].split("\t") != HEADER:
        return Table([], ["line 1 has to be the header: " + " ".join(HEADER)])
    rows, malformed = [], []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(HEADER) or not cells[3].strip():
            malformed.append(f"line {number}: not four filled columns")
        elif cells[1] not in (TESTED, NOT_APPLICABLE, OPEN):
            malformed.append(f"line {number}: {cells[0]}: unknown state {cells[1]!r}")
        else:
            rows.append(Row(number, *cells))
    return Table(rows, malformed)


def find_missing(table: Table) -> Iterator[str]:
    count = Counter(row.id for row in table.rows)
    yield from (f"{id_}: no row" for id_ in inventory() if count[id_] == 0)
    yield from (f"{id_}: {n} rows" for id_, n in count.items() if n > 1)


def find_unknown(table: Table) -> Iterator[str]:
    known = set(inventory())
    yield from (f"line {r.line}: {r.id}: no such id" for r in table.rows if r.id not in known)


def find_reasonless(table: Table) -> Iterator[str]:
    for row in table.rows:
        if row.state != TESTED and len(row.evidence.strip()) < SHORTEST_REASON:
            yield f"line {row.line}: {row.id}: {row.state} without a reason"


def find_nonexistent(table: Table, sources: dict[str, Source]) -> Iterator[str]:
    names = Counter(Path(f).stem for f in sources if Path(f).name.startswith("test_"))
    yield from (f"{n} test files are named {name}" for name, n in names.items() if n > 1)
    for row in table.rows:
        for test in row.tests:
            file, _, function = test.partition("::")
            if file not in sources or function not in sources[file].functions:
                yield f"line {row.line}: {row.id}: there is no test {test!r}"


def find_not_passed(table: Table, results: Iterable[Result]) -> Iterator[str]:
    outcomes: dict[tuple[str, str], set[str]] = {}
    for result in results:
        outcomes.setdefault(result.key, set()).add(result.outcome)
    for row in table.rows:
        for test in row.tests:
            file, _, function = test.partition("::")
            found = outcomes.get((Path(file).stem, function), set())
            if found != {PASSED}:
                how = "did not pass" if FAILED in found else "did not run"
                yield f"line {row.line}: {row.id}: {test} {how}"


def find_unclaimed(table: Table, claims: list[Claim]) -> Iterator[str]:
    claimed = {(claim.id, claim.test) for claim in claims}
    for row in table.rows:
        for test in row.tests:
            if (row.id, test) not in claimed:
                yield f"line {row.line}: {row.id}: {test} has no comment 'Checks: {row.id}'"


def find_unlisted(table: Table, claims: list[Claim]) -> Iterator[str]:
    tested = {row.id for row in table.rows if row.state == TESTED}
    for claim in claims:
        if not claim.function:
            yield f"{claim.file}:{claim.line}: Checks: {claim.id} is inside no function"
        elif claim.id not in tested:
            yield f"{claim.file}:{claim.line}: checks {claim.id}, which is no tested row"


def check_table(root: Path, results: list[Result]) -> list[Result]:
    """One result for each kind of lie that the table could tell."""
    table, sources = read_table(root), read_sources(root)
    claims = [claim for source in sources.values() for claim in source.claims]
    kinds: dict[str, Iterable[str]] = {
        "the table is well-formed": table.malformed,
        "every requirement has one row": find_missing(table),
        "every row is a requirement": find_unknown(table),
        "every row that is not tested has a reason": find_reasonless(table),
        "the named tests exist": find_nonexistent(table, sources),
        "the named tests passed": find_not_passed(table, results),
        "the named tests say what they check": find_unclaimed(table, claims),
        "what a test says it checks is a tested row": find_unlisted(table, claims),
    }
    judged = []
    for kind, found in kinds.items():
        lies = "\n".join(found)
        judged.append(Result("conformance", kind, FAILED if lies else PASSED, lies))
    return judged


def fill_row(row: Row, tests: list[str]) -> Row:
    if tests:
        return Row(row.line, row.id, TESTED, ", ".join(tests), row.requirement)
    if row.state == TESTED:
        return Row(row.line, row.id, OPEN, "no test yet", row.requirement)
    return row


def fill(root: Path) -> int:
    table = read_table(root)
    tests: dict[str, set[str]] = {}
    if table.malformed:
        print("\n".join(table.malformed))
        return 1
    for source in read_sources(root).values():
        for claim in source.claims:
            if claim.function:
                tests.setdefault(claim.id, set()).add(claim.test)
    rows = [fill_row(row, sorted(tests.get(row.id, ()))) for row in table.rows]
    lines = ["\t".join((row.id, row.state, row.evidence, row.requirement)) for row in rows]
    text = "\n".join(["\t".join(HEADER), *lines]) + "\n"
    (root / "tests/conformance.tsv").write_text(text, "utf-8")
    print(", ".join(f"{n} {state}" for state, n in Counter(row.state for row in rows).items()))
    return 0


# --------------------------------------------------------------------------------- command line


def print_failures(results: Iterable[Result]) -> None:
    for result in results:
        if result.outcome == FAILED:
            print(f"FAILED {result.file}::{result.name}")
            for line in result.message.strip().splitlines():
                print(f"    {line}")


def counts(results: list[Result]) -> str:
    n_failed = sum(r.outcome == FAILED for r in results)
    return f"{sum(r.outcome == PASSED for r in results)} passed, {n_failed} failed"


def exit_status(results: list[Result]) -> int:
    return 1 if any(r.outcome == FAILED for r in results) else 0


def report_program(folder: Path, program: str) -> int:
    results = judge_skips(program_results(folder, program), {})
    print(f"{program:<28} {counts(results)}")
    print_failures(results)
    return exit_status(results)


def report(options: argparse.Namespace) -> int:
    folder = Path(options.results)
    allowed = dict(options.allow_skip)
    results = judge_skips(all_results(folder) + missing_files(folder, options.expect), allowed)
    if all(result.outcome == SKIPPED for result in results):
        results.append(failed("report", str(folder), "all that there is was skipped"))
    if not options.partial:
        results += check_table(options.root, results)
    print_failures(results)
    for result in results:
        if result.outcome == SKIPPED:
            reason = allowed.get((result.file, result.name)) or allowed[result.key]
            print(f"skipped {result.file}::{result.name}: {reason}")
    print(counts(results))
    return exit_status(results)


def allow_skip(text: str) -> tuple[tuple[str, str], str]:
    test, _, reason = text.partition("=")
    file, _, name = test.partition("::")
    if not name or not reason.strip():
        raise argparse.ArgumentTypeError("write FILE::TEST=REASON")
    return (Path(file).stem, name), reason.strip()


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="?", metavar="RESULTS")
    parser.add_argument("--expect", action="append", default=[], metavar="FILE")
    parser.add_argument(
        "--allow-skip", action="append", default=[], type=allow_skip, metavar="FILE::TEST=REASON"
    )
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--program", metavar="NAME")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args(arguments)
    if not options.fill and not options.results:
        parser.error("which results folder?")
    return options


def main(arguments: list[str] | None = None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    options = parse_arguments(arguments)
    if options.fill:
        return fill(options.root)
    if options.program:
        return report_program(Path(options.results), options.program)
    return report(options)


if __name__ == "__main__":
    sys.exit(main())
