#!/usr/bin/python3
"""Check the model of the ring's protocol (virtqueue.pml, over memory.pml) with spin.

run.py RESULTS [--only PART]
    For both schemes of suppression: as it is the model has to hold, in all interleavings; without
    any one of its barriers, or with any one fault, the right assertion has to break. Prints a line
    for each configuration and, last, "N passed, N failed"; RESULTS gets gates-model.txt, a line
    "NAME ok" or "NAME failed" each. --only: configurations with PART in their names, for trying
    things out; RESULTS is left alone.
run.py --story NAME
    The shortest way to what breaks in a configuration, step by step.

Only a search that spin says was complete, that looked for assertions and for states in which
nothing moves, and that reached every statement, shows that a configuration holds. Whatever else
happens (spin or the compiler fails, the memory or the time does not suffice, another assertion
breaks) is a failure, whatever was expected.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/model"
BUILD = ROOT / "build/model"
MODEL = "virtqueue.pml"

WORKERS = 2
SEARCH_LIMIT_S = 600  # on a machine that does other things, too
MEMORY_LIMIT_MIB = 1500
DEPTH_LIMIT = 1_500_000

HOLDS = "holds"
BROKEN = "broken"  # no result at all
STANDSTILL = "invalid end state"  # as spin says it; all other breaches are assertions
SCHEMES = {"flags": ("EVENT_IDX=0",), "event": ("EVENT_IDX=1",)}
BOTH = tuple(SCHEMES)
EVENT = ("event",)

# What has to be found without each barrier, in both schemes.
BARRIERS = {
    "PUBLISH_WMB": "element_stale",
    "NOTIFY_MB": "notification_lost",
    "POP_RMB": "element_stale",
    "ENABLE_MB": "interrupt_lost",
    "TAKE_RMB": "element_stale",
    "RETURN_WMB": "element_stale",
    "INTERRUPT_MB": "interrupt_lost",
    "SLEEP_MB": "notification_lost",
}
# What has to be found with each fault, and the schemes in which it is one.
FAULTS = {
    "IDX_BEFORE_ENTRY": ("element_stale", BOTH),
    "WISH_BEFORE_IDX": ("notification_lost", BOTH),
    "EVENT_WITHOUT_WRAP": ("notification_lost", EVENT),
    "DISTANCE_WRAPS": ("notification_lost", EVENT),
    "DECISION_FORGOTTEN": ("notification_lost", EVENT),
    "SLEEP_WITHOUT_LOOK": ("interrupt_lost", BOTH),
    "LOOK_BEFORE_WISH": ("interrupt_lost", BOTH),
    "DELAY_OFF_BY_ONE": ("interrupt_lost", EVENT),
    "USED_WITHOUT_WRAP": ("interrupt_lost", BOTH),
    "BATCH_CUT": ("chain_lost", BOTH),
    "DEVICE_WITHOUT_LOOK": ("notification_lost", BOTH),
    "DEVICE_REPEATS": ("element_out_of_turn", BOTH),
    "USED_IDX_GOES_BACK": ("used_idx_too_far", BOTH),
    "WAITS_FOR_TOO_MANY": (STANDSTILL, EVENT),
}


@dataclass(frozen=True)
class Configuration:
    """The model with these macros, and what has to come of it."""

    name: str
    macros: tuple[str, ...]
    expected: str

    @property
    def folder(self) -> Path:
        return BUILD / self.name

    @property
    def defines(self) -> list[str]:
        return [f"-D{macro}" for macro in self.macros]


def named(scheme: str, macro: str, expected: str) -> Configuration:
    name = f"model-{scheme}-{macro}".removesuffix("=1").rstrip("-")
    macros = SCHEMES[scheme] + ((macro,) if macro else ())
    return Configuration(re.sub("[_=]", "-", name.lower()), macros, expected)


def configurations() -> list[Configuration]:
    """All, those that take longest first."""
    found = []
    for scheme in ("event", "flags"):
        found += [named(scheme, "SPURIOUS=1", HOLDS), named(scheme, "", HOLDS)]
    for barrier, breach in BARRIERS.items():
        found += [named(scheme, f"WITHOUT={barrier}", breach) for scheme in BOTH]
    for fault, (breach, schemes) in FAULTS.items():
        found += [named(scheme, f"FAULT={fault}", breach) for scheme in schemes]
    return found


# ------------------------------------------------------------------------------- the search


@dataclass(frozen=True)
class Verdict:
    """What came of a search: HOLDS, the name of what broke, or BROKEN."""

    outcome: str
    text: str


def broken(reason: str) -> Verdict:
    return Verdict(BROKEN, reason)


class ToolFailed(Exception):
    """A tool that does not do its work; with what it said."""


def run(words: list[str], folder: Path) -> str:
    """What a tool says on standard output. It has nothing to say on standard error."""
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=SEARCH_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(str(error)) from error
    if done.returncode != 0 or done.stderr.strip():
        said = (done.stderr + done.stdout).strip().splitlines()
        raise ToolFailed("\n".join([f"{words[0]} ended with status {done.returncode}", *said[:10]]))
    return done.stdout


def build(configuration: Configuration, *options: str) -> None:
    folder = configuration.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for model in HERE.glob("*.pml"):
        shutil.copy(model, folder)
    said = run(["spin", "-a", *configuration.defines, MODEL], folder)
    if said.strip():
        raise ToolFailed(f"spin says:\n{said.strip()}")
    run(["gcc", "-w", *options, "pan.c", "-o", "pan"], folder)


def search_options() -> tuple[str, ...]:
    """Without partial order reduction, so that nothing depends on what spin may leave out."""
    return "-DSAFETY", "-DNOREDUCE", f"-DMEMLIM={MEMORY_LIMIT_MIB}"


def search(configuration: Configuration) -> Verdict:
    # Most of what must break does so at once: neither optimised code nor a large table pays.
    long = configuration.expected == HOLDS
    try:
        build(configuration, "-O2" if long else "-O0", *search_options())
        said = run(["./pan", f"-m{DEPTH_LIMIT}", "-w24" if long else "-w18"], configuration.folder)
    except ToolFailed as failure:
        return broken(str(failure))
    shutil.rmtree(configuration.folder)
    return judge(said)


# ------------------------------------------------------------------------------- what spin said

# Signs of a search that left something out.
INCOMPLETE = (
    "Search not completed",
    "max search depth too small",
    "out of memory",
    "reached -DMEMLIM bound",
    "aborted",
    "Bit statespace search",
    "Hash-Compact",
)
LOOKED_FOR = ("assertion violations\t+", "invalid end states\t+")
COUNTS = re.compile(r"^State-vector \d+ byte, depth reached (\d+), errors: (\d+)$", re.MULTILINE)
STORED = re.compile(r"^\s*(\d+) states, stored$", re.MULTILINE)
ERROR = re.compile(r"^pan:1: (.*) \(at depth -?\d+\)$", re.MULTILINE)
ASSERTION = re.compile(r"assertion violated\s+!\(?(\w+)\)?")
UNREACHED = re.compile(r'^\t(\S+:\d+), state \d+, "(.*)"$', re.MULTILINE)


def judge(said: str) -> Verdict:
    counts, stored, error = COUNTS.search(said), STORED.search(said), ERROR.search(said)
    if not counts or not stored or "Full statespace search for:" not in said:
        return broken(f"not a search:\n{said.strip()[-600:]}")
    text = f"{int(stored[1]):,} states, depth {int(counts[1]):,}"
    if any(words not in said for words in LOOKED_FOR):
        return broken("did not look for all that it should")
    if error:
        assertion = ASSERTION.match(error[1])
        return Verdict(assertion[1] if assertion else error[1], text)
    return judge_whole(said, int(counts[2]), text)


def judge_whole(said: str, n_errors: int, text: str) -> Verdict:
    """Of a search that found nothing."""
    missing = [words for words in INCOMPLETE if words in said]
    unreached = [where for where, what in UNREACHED.findall(said) if what != "-end-"]
    if n_errors != 0:
        return broken(f"{n_errors} errors, but none is named")
    if missing:
        return broken(f"not complete: {missing[0]}")
    if "unreached in proctype" not in said:
        return broken("does not say what it did not reach")
    if unreached:
        return broken(f"did not reach {', '.join(unreached)}")
    return Verdict(HOLDS, text)


# -------------------------------------------------------------------- the model and the C code

BARRIER_IN_MODEL = re.compile(r"\b(?:wmb|rmb|mb)\((?:DRIVER|DEVICE), (\w+)\)")
FAULT_IN_MODEL = re.compile(r"\bFAULT [!=]= (?!NO_FAULT)(\w+)")
BREACH_IN_MODEL = re.compile(r"\bforbid\((\w+),|\bassert\(!(\w+)\)")
MACRO_IN_MODEL = re.compile(r"^#define (?:.*\\\n)*.*\n", re.MULTILINE)
BREACH_IN_TABLE = re.compile(r"^ \*   ([a-z_]+(?: [a-z]+)*)  +\w", re.MULTILINE)
BARRIER_IN_TABLE = re.compile(r"\b[A-Z]+_(?:WMB|RMB|MB)\s+(\w+)\(\): (virtio_(?:wmb|rmb|mb))\b")
TEST_IN_TABLE = re.compile(r"\b(test_\w+\.c): (given_\w+)")
BARRIER_IN_C = re.compile(r"\b(virtio_(?:wmb|rmb|mb))\(")
FUNCTION_IN_C = re.compile(r"^\w[^;{}\n]*?\b(\w+)\([^;{}]*\)\n\{\n(.*?)^\}", re.M | re.S)


def table_of(model: str) -> str:
    """The comment at the head of the model, in one line."""
    return re.sub(r"\s*\n \*\s*", " ", model.split("*/")[0])


def gaps(model: str, core: str, tests: dict[str, str]) -> Iterator[str]:
    """Where model, configurations, core/virtqueue.c and the unit tests do not fit together."""
    if set(BARRIER_IN_MODEL.findall(model)) != set(BARRIERS):
        yield "not each barrier of the model is taken away in turn"
    if set(FAULT_IN_MODEL.findall(model)) != set(FAULTS):
        yield "not each fault of the model is tried"
    head, _, rest = model.partition("*/")
    asserted = {a or b for a, b in BREACH_IN_MODEL.findall(MACRO_IN_MODEL.sub("", rest))}
    found = {*BARRIERS.values(), *(breach for breach, _ in FAULTS.values())}
    if not set(BREACH_IN_TABLE.findall(head)) == asserted | {STANDSTILL} == found:
        yield "not each breach of the model is asserted, and found in some configuration"
    table = table_of(model)
    said = BARRIER_IN_TABLE.findall(table)
    there = [
        (function, barrier)
        for function, body in FUNCTION_IN_C.findall(core)
        for barrier in BARRIER_IN_C.findall(body)
    ]
    if sorted(said) != sorted(there) or len(there) != len(BARRIER_IN_C.findall(core)):
        yield f"barriers in core/virtqueue.c: {there}; the model says {said}"
    # What stands behind each barrier of the table, up to the next one.
    for (function, barrier), text in zip(said, re.split(BARRIER_IN_TABLE.pattern, table)[3::3]):
        if not TEST_IN_TABLE.search(text):
            yield f"{barrier} in {function}() has no test"
    for file, test in TEST_IN_TABLE.findall(table):
        # Once as a function, once in the list of those that run.
        if len(re.findall(rf"\b{test}\b", tests.get(file, ""))) < 2:
            yield f"tests/unit/{file} has no test {test}"


def check_mapping() -> Verdict:
    model = (HERE / MODEL).read_text()
    core = "".join(path.read_text() for path in sorted((ROOT / "core").glob("virtqueue*.c")))
    tests = {path.name: path.read_text() for path in (ROOT / "tests/unit").glob("test_*.c")}
    found = list(gaps(model, core, tests))
    if found:
        return broken("\n".join(found))
    return Verdict(HOLDS, "model, core/virtqueue.c and unit tests")


# ------------------------------------------------------------------------------- report


def show(name: str, expected: str, verdict: Verdict) -> bool:
    good = verdict.outcome == expected
    word = "ok    " if good else "FAILED"
    print(f"{word} {name:<40} {verdict.outcome}, {verdict.text}", flush=True)
    if not good:
        print(f"       expected: {expected}", flush=True)
    return good


def check(results: Path, only: str) -> int:
    chosen = [c for c in configurations() if only in c.name]
    if not chosen:
        print(f"there is no {only}", file=sys.stderr)
        return 1
    gates = results / "gates-model.txt"
    if not only:
        results.mkdir(parents=True, exist_ok=True)
        gates.unlink(missing_ok=True)
    passed = {"model-mapping": show("model-mapping", HOLDS, check_mapping())}
    with ThreadPoolExecutor(WORKERS) as pool:
        for configuration, verdict in zip(chosen, pool.map(search, chosen)):
            passed[configuration.name] = show(configuration.name, configuration.expected, verdict)
    if not only:
        lines = [f"{name} {'ok' if good else 'failed'}\n" for name, good in passed.items()]
        gates.write_text("".join(lines))
    n_failed = sum(not good for good in passed.values())
    print(f"{len(passed) - n_failed} passed, {n_failed} failed")
    return 1 if n_failed else 0


def tell(name: str) -> int:
    """Searched breadth first, what is found is the shortest way to it."""
    for configuration in configurations():
        if configuration.name == name:
            break
    else:
        print(f"there is no {name}", file=sys.stderr)
        return 1
    try:
        build(configuration, "-O2", *search_options(), "-DBFS")
        found = judge(run(["./pan"], configuration.folder))
        if not list(configuration.folder.glob("*.trail")):
            print(f"{found.outcome}, {found.text}: there is no story")
            return 1
        said = run(["spin", "-t", "-B", "-T", *configuration.defines, MODEL], configuration.folder)
    except ToolFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    # The step that breaks something is told up to its assertion.
    for line in said.splitlines():
        if line.startswith("spin:"):
            break
        print(line)
    print(f"=> {found.outcome}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--only", default="", metavar="PART")
    parser.add_argument("--story", metavar="NAME")
    options = parser.parse_args(arguments)
    if options.story:
        return tell(options.story)
    if not options.results:
        parser.error("which results folder?")
    return check(options.results, options.only)


if __name__ == "__main__":
    sys.exit(main())
