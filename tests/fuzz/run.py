#!/usr/bin/python3
"""Run the fuzzers that `make fuzz` has built, and judge them by the bugs that they find.

run.py fuzz [--seconds N] [--bug-seconds N] [--only PART] [--without-rows] TARGET...
    Each target for N seconds from its corpus: no input may make it fail. Then each patch
    bugs/TARGET-WHAT.patch is applied to a copy of the sources, and the fuzzer built from that has
    to fail within --bug-seconds (10); the input that made it fail must be harmless without the
    patch. --only: bugs with this in their names, and no run of the target itself.
    --without-rows: look for the bugs without the seeds of the hostile tables, so that no bug is found
    only because a row tells of it.
run.py corpus --results FOLDER TARGET...
    Each target with its corpus alone; FOLDER/gates-fuzz.txt gets a line "NAME ok" or "NAME failed".
run.py grow TARGET...
    Of what the last `fuzz` left, take into the corpus what reaches code that the corpus does not.

The last line is "N passed, N failed". Inputs that made a target fail are left in build/fuzz/failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/fuzz"
BUILD = ROOT / "build/fuzz"
FAILED = BUILD / "failed"

# What a copy of the project needs so that a fuzzer can be built in it.
COPIED = ("Makefile", "core", "transports", "devices", "tests", "build/fuzz/obj")

BUILD_LIMIT_S = 300
CORPUS_LIMIT_S = 120
GRACE_S = 60  # beyond the time that libFuzzer is told to take
KILLED = 124

OPTIONS = (
    "-max_len=1024",  # the longest seed that the hostile tables write
    "-timeout=10",
    "-rss_limit_mb=2048",
    "-entropic_scale_per_exec_time=1",  # else the largest queues would take all the time
    "-print_final_stats=1",
)
EXECUTIONS = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.MULTILINE)
SANITIZER = re.compile(r"^(?:==\d+==)?ERROR: (\w+Sanitizer: [\w-]+)|(runtime error: .*)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run of a fuzzer."""

    status: int  # of the process; KILLED: it did not end by itself
    output: str
    seconds: float
    input: Path | None  # that made it fail

    @property
    def executions(self) -> int:
        found = EXECUTIONS.search(self.output)
        return int(found[1]) if found else 0

    @property
    def reason(self) -> str:
        """What it says about its failure: the line in front of abort(), or the sanitizer's."""
        for before, line in zip(self.output.splitlines(), self.output.splitlines()[1:]):
            if line.endswith("an assertion failed"):
                return before
        found = SANITIZER.search(self.output)
        return (found[1] or found[2]) if found else f"exit status {self.status}"


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    kept.pop("MFLAGS", None)
    # Freed memory is kept from reuse for a while; with the default the fuzzer mostly waits for it.
    return kept | {"ASAN_OPTIONS": "quarantine_size_mb=8:detect_leaks=1"}


def run_fuzzer(program: Path, limit_s: float, arguments: list[str], inputs_to: Path) -> Run:
    inputs_to.mkdir(parents=True, exist_ok=True)
    for old in inputs_to.glob(f"{program.name}-*"):
        old.unlink()
    begin = time.monotonic()
    command = [str(program), f"-artifact_prefix={inputs_to}/{program.name}-", *arguments]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s,
            env=environment(), cwd=ROOT,
        )
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        status, output = KILLED, error.stdout or b""
    inputs = sorted(inputs_to.glob(f"{program.name}-*"))
    return Run(status, output.decode("utf-8", "replace"), time.monotonic() - begin,
               inputs[0] if inputs else None)


def corpus_of(target: str) -> Path:
    return HERE / "corpus" / target


def found_of(target: str) -> Path:
    return BUILD / "found" / target


class Verdicts:
    """Counts, and says each verdict in a line."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def say(self, name: str, good: bool, text: str) -> None:
        self.passed += good
        self.failed += not good
        print(f"{name:<44} {'ok' if good else 'FAILED':<7} {text}", flush=True)

    def end(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def print_end_of(output: str) -> None:
    print("\n".join(f"    {line}" for line in output.splitlines()[-40:]))


# ------------------------------------------------------------------------------------- targets


def fuzz_target(target: str, seconds: int, verdicts: Verdicts) -> None:
    found = found_of(target)
    found.mkdir(parents=True, exist_ok=True)
    arguments = [*OPTIONS, f"-max_total_time={seconds}", str(found), str(corpus_of(target))]
    run = run_fuzzer(BUILD / f"fuzz_{target}", seconds + GRACE_S, arguments, FAILED)
    text = f"{run.seconds:.0f} s, {run.executions} executions"
    # A run that did nothing, or was cut short, shows nothing.
    ended_well = run.status == 0 and run.input is None
    good = ended_well and run.executions > 0 and run.seconds >= seconds
    if not good:
        text += f": {run.reason}; input: {run.input or 'none'}"
    verdicts.say(target, good, text)
    if not good:
        print_end_of(run.output)


def run_corpus(target: str, verdicts: Verdicts) -> bool:
    seeds = sorted(str(path) for path in corpus_of(target).glob("*"))
    run = run_fuzzer(BUILD / f"fuzz_{target}", CORPUS_LIMIT_S, seeds, FAILED)
    executed = len(re.findall(r"^Executed ", run.output, re.MULTILINE))
    good = run.status == 0 and bool(seeds) and executed == len(seeds)
    verdicts.say(f"fuzz-corpus-{target}", good, f"{executed} of {len(seeds)} inputs")
    if not good:
        print_end_of(run.output)
    return good


def grow_corpus(target: str) -> int:
    """How many inputs the corpus has gained."""
    whole = BUILD / "grown" / target
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(corpus_of(target), whole)
    # Code reached, and not how often nor with which values: a corpus for people is small.
    arguments = ["-merge=1", "-use_counters=0", "-use_value_profile=0", "-max_len=1024", str(whole),
                 str(found_of(target))]
    run = run_fuzzer(BUILD / f"fuzz_{target}", 10 * CORPUS_LIMIT_S, arguments, FAILED)
    if run.status != 0:
        print_end_of(run.output)
        sys.exit(f"merging failed: {run.reason}")
    known = {path.name for path in corpus_of(target).iterdir()}
    new = sorted(path for path in whole.iterdir() if path.name not in known)
    for path in new:
        shutil.copy(path, corpus_of(target) / f"found-{path.name[:8]}")
    return len(new)


# ---------------------------------------------------------------------------------------- bugs


class PatchError(Exception):
    """A patch does not fit the sources any more."""


def find_lines(text: list[str], wanted: list[str], expected: int) -> int:
    """Where these lines stand in a row: at the place nearest to the expected one."""
    places = [i for i in range(len(text) - len(wanted) + 1) if text[i : i + len(wanted)] == wanted]
    if not places:
        raise PatchError(f"these lines are not there:\n{''.join(wanted)}")
    return min(places, key=lambda place: abs(place - expected))


def apply_patch(patch: Path, root: Path) -> None:
    """A unified diff whose context has to fit to the letter, wherever it stands by now."""
    file: Path | None = None
    text: list[str] = []
    hunk: list[str] = []
    expected = 0

    def apply_hunk() -> None:
        if not hunk or file is None:
            return
        old = [line[1:] for line in hunk if line[0] in " -"]
        new = [line[1:] for line in hunk if line[0] in " +"]
        at = find_lines(text, old, expected)
        text[at : at + len(old)] = new
        file.write_text("".join(text))
        hunk.clear()

    for line in patch.read_text().splitlines(keepends=True):
        if line.startswith("--- "):
            apply_hunk()
        elif line.startswith("+++ b/"):
            file = root / line[6:].strip()
            text = file.read_text().splitlines(keepends=True) if file.is_file() else []
        elif header := re.match(r"@@ -(\d+)", line):
            apply_hunk()
            expected = int(header[1]) - 1
        elif file and line[0] in " +-":
            hunk.append(line)
    if not hunk:
        raise PatchError("no change in it")
    apply_hunk()


def build_with(patch: Path, target: str) -> Path:
    """The fuzzer built from a copy of the sources that has this bug. What is the same is not built
    again: the copies are as old as the originals."""
    copy = BUILD / "bug"
    shutil.rmtree(copy, ignore_errors=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name)
    apply_patch(patch, copy)
    program = f"build/fuzz/fuzz_{target}"
    done = subprocess.run(
        ["make", "--no-print-directory", program], cwd=copy, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_LIMIT_S,
    )
    if done.returncode != 0:
        raise PatchError(f"what it makes does not build:\n{done.stdout}")
    return copy / program


def find_bug(patch: Path, target: str, options: argparse.Namespace, verdicts: Verdicts) -> None:
    name = f"bug {patch.stem}"
    try:
        program = build_with(patch, target)
    except PatchError as error:
        verdicts.say(name, False, str(error))
        return
    start = BUILD / "bug/start"
    ignored = shutil.ignore_patterns("hostile-*") if options.without_rows else None
    shutil.copytree(corpus_of(target), start, ignore=ignored)
    arguments = [*OPTIONS, f"-max_total_time={options.bug_seconds}", str(start)]
    run = run_fuzzer(program, options.bug_seconds + GRACE_S, arguments, BUILD / "bug/failed")
    text = f"{run.seconds:.1f} s, {run.executions} executions"
    # By the clock: libFuzzer's own limit stops neither the seeds nor an input that hangs.
    if run.status == 0 or run.input is None or run.seconds > options.bug_seconds:
        verdicts.say(name, False, f"not found in time: {text}")
        return
    # What fails without the bug, too, was no finding.
    again = run_fuzzer(BUILD / f"fuzz_{target}", GRACE_S, [str(run.input)], FAILED)
    harmless = again.status == 0
    verdicts.say(name, harmless, f"{text}: {run.reason}" if harmless else "fails without it, too")


def find_bugs(options: argparse.Namespace, verdicts: Verdicts) -> None:
    patches = sorted((HERE / "bugs").glob("*.patch"))
    for patch in patches:
        target = patch.stem.partition("-")[0]
        if target in options.targets and (not options.only or options.only in patch.stem):
            find_bug(patch, target, options, verdicts)
    for target in options.targets:
        if not any(patch.stem.startswith(f"{target}-") for patch in patches):
            verdicts.say(target, False, "there is no bug for it to find")


# -------------------------------------------------------------------------------- command line


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    fuzz = commands.add_parser("fuzz")
    fuzz.add_argument("--seconds", type=int, default=60)
    fuzz.add_argument("--bug-seconds", type=int, default=10)
    fuzz.add_argument("--only", metavar="PART")
    fuzz.add_argument("--without-rows", action="store_true")
    corpus = commands.add_parser("corpus")
    corpus.add_argument("--results", type=Path, required=True, metavar="FOLDER")
    grow = commands.add_parser("grow")
    for command in (fuzz, corpus, grow):
        command.add_argument("targets", nargs="+", metavar="TARGET")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    verdicts = Verdicts()
    if options.command == "fuzz":
        if not options.only:
            for target in options.targets:
                fuzz_target(target, options.seconds, verdicts)
        find_bugs(options, verdicts)
    elif options.command == "corpus":
        options.results.mkdir(parents=True, exist_ok=True)
        results = {target: run_corpus(target, verdicts) for target in options.targets}
        lines = [f"fuzz-corpus-{t} {'ok' if good else 'failed'}\n" for t, good in results.items()]
        (options.results / "gates-fuzz.txt").write_text("".join(lines))
    else:
        for target in options.targets:
            verdicts.say(target, True, f"{grow_corpus(target)} new inputs")
    return verdicts.end()


if __name__ == "__main__":
    sys.exit(main())
