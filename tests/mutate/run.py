#!/usr/bin/python3
"""Put small faults into core/, one at a time, and see that the tests notice each of them.

run.py --kit FOLDER COMPILE LINK... [--only PART]... PROGRAM...
    FOLDER is where make has built PROGRAMs: test programs, fuzzers (which are run on their
    corpora), and an archive of what they share. COMPILE is the command that makes an object, LINK
    the one that makes a program, with % where the objects stand. A PROGRAM that is a .py file is
    run by pytest, for faults in the files that it names; it finds them in the folder
    MUTATE_OVERLAY. That it cannot test has to end pytest with another status than a failing test.

First all PROGRAMs have to pass as they are. Then for each row of mutants.tsv its file is copied
with the text changed, what is made of it is compiled again and linked with all the rest as make
left it, and the programs that it is part of run, the quickest first, until one fails. Prints a line
per mutant: which test noticed, or that none did. --only: mutants with this in their ids. The last
line is "N passed, N failed".

mutants.tsv    id, file, text that stands there exactly once, text in its place, what is wrong then;
               a sixth cell says "compiler" where a static assertion has to notice. In the texts \\n
               is a new line and \\t a tab.
survivors.tsv  id of a mutant that no test can notice, and why: it is the same program.

A mutant fails when it survives without a reason, when it is noticed although a reason says that it
cannot be, when its text is not found exactly once, and when it cannot be compiled, linked or run.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from report import FAILED, PASSED, SANITIZER, Result, counts, exit_status  # noqa: E402

WORKERS = 2
COMPILE_LIMIT_S = 120
# What counts is the processor's time, which does not depend on who else uses the machine: a program
# gets as many times what it takes without a fault, and the grace. The other limit is for one that
# sleeps.
CPU_LIMIT_FACTOR = 3
WALL_LIMIT_S, GRACE_WALL_S = 120, 10
QUICK_S = 0.5
COULD_NOT_RUN = (126, 127, -signal.SIGKILL)
PYTEST_FAILED = 1  # all other statuses of pytest but 0 say that it could not test
ASSERTION = (PYTEST_FAILED, -signal.SIGABRT, 77)  # 77: libFuzzer has seen the abort

# What the last test that began is called, by cmocka, libFuzzer and pytest.
BEGUN = re.compile(
    r"^(?:\[ RUN      \] |Running: (?:.*/)?|FAILED (?:.*::)?)([^\s/]+)", re.MULTILINE
)
# In the words of gcc, or of clang 14.
STATIC_ASSERTION = re.compile(r"error: static(?: assertion|_assert) failed.*")
TRACED = re.compile(r"^\(.*\.a\)(\S+\.o)$", re.MULTILINE)  # "(libhost.a)virtqueue.o"


class CannotTry(Exception):
    """The mutant cannot be compiled, linked or run, which shows nothing."""


@dataclass(frozen=True)
class Mutant:
    """One row of mutants.tsv."""

    id: str
    file: str
    old: str
    new: str
    fault: str
    for_the_compiler: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killer: str = ""  # the program that noticed
    test: str = ""  # of that program
    how: str = ""
    error: str = ""  # why it could not be tried


# ----------------------------------------------------------------------------------------- tables


def unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


def rows(path: Path, n_cells: int) -> Iterator[list[str]]:
    """The rows of a table, without its header."""
    lines = path.read_text("utf-8").splitlines()[1:] if path.exists() else []
    for line in filter(str.strip, lines):
        cells = line.split("\t")
        if len(cells) < n_cells or not cells[0].strip() or not cells[n_cells - 1].strip():
            raise SystemExit(f"{path}: not {n_cells} filled cells: {cells}")
        yield cells


def read_mutants(path: Path) -> list[Mutant]:
    mutants = []
    for id_, file, old, new, fault, *killer in rows(path, 5):
        if killer not in ([], ["compiler"]):
            raise SystemExit(f"{path}: {id_}: only the compiler can stand behind the fault")
        mutants.append(Mutant(id_, file, unescape(old), unescape(new), fault, bool(killer)))
    twice = [id_ for id_, n in Counter(mutant.id for mutant in mutants).items() if n > 1]
    if twice:
        raise SystemExit(f"{path}: ids that stand there twice: {twice}")
    return mutants


def read_reasons(path: Path, mutants: list[Mutant]) -> dict[str, str]:
    reasons = {id_: reason for id_, reason in rows(path, 2)}
    unknown = set(reasons) - {mutant.id for mutant in mutants}
    if unknown:
        raise SystemExit(f"{path}: no such mutants: {sorted(unknown)}")
    return reasons


# ------------------------------------------------------------------------------ what make has built


def source_and_needs(notes: Path) -> tuple[str, frozenset[str]]:
    """What the compiler read for an object: its source, and all files."""
    words = notes.read_text().split("\n\n")[0].replace("\\\n", " ").partition(":")[2].split()
    # Newer notes go on with a rule for each header, on lines of their own.
    needs = [word for word in words if not word.endswith(":")]
    return needs[0], frozenset(needs)


def environment(**more: str) -> dict[str, str]:
    """Nothing chooses tests, nor is of an outer make; a failing cmocka test ends its program."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CMOCKA", "MAKE", "PYTEST"))}
    kept |= {"CMOCKA_TEST_ABORT": "1", "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
             "UBSAN_OPTIONS": "halt_on_error=1"}
    return kept | more


class Kit:
    """A folder of objects and an archive of them, and how make came by them."""

    def __init__(self, root: Path, folder: str, compile_: str, link: str) -> None:
        self._root = root
        self.objects = root / folder / "obj"
        # The notes on dependencies would be taken for those of make's own objects.
        self._compile = [w for w in shlex.split(compile_) if w not in ("-MMD", "-MP")]
        self._link = shlex.split(link)
        self._archive = next((root / folder).glob("*.a"))
        found = self.objects.rglob("*.d")
        notes = {path.with_suffix(".o"): source_and_needs(path) for path in found}
        # What was built of a source that is gone is nobody's any more.
        self._notes = {path: note for path, note in notes.items() if (root / note[0]).exists()}

    def named(self, file_name: str) -> list[Path]:
        return sorted(path for path in self._notes if path.name == file_name)

    def made_of(self, file: str) -> set[Path]:
        return {path for path, (_, needs) in self._notes.items() if file in needs}

    def _run(self, words: list[str]) -> str:
        try:
            done = subprocess.run(
                words, cwd=self._root, capture_output=True, text=True, errors="replace",
                timeout=COMPILE_LIMIT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise CannotTry(str(error)) from error
        if done.returncode != 0:
            raise CannotTry(done.stderr or done.stdout)
        return done.stdout

    def compile(self, object_: Path, overlay: Path) -> Path:
        """The object with the changed file, which comes before that of the tree."""
        source, _ = self._notes[object_]
        changed = overlay / source
        made = overlay / "obj" / object_.relative_to(self._root)
        if made.exists():
            return made
        made.parent.mkdir(parents=True, exist_ok=True)
        first, *rest = self._compile
        # What a fault leaves unused is nothing that a compiler should notice in place of a test; and
        # nobody debugs a mutant.
        words = [first, f"-I{overlay}", *rest, "-w", "-g0", "-c", "-o", str(made)]
        self._run([*words, str(changed) if changed.exists() else source])
        return made

    def link(self, main: Path, others: list[Path], program: Path, *options: str) -> str:
        """What stands in front of the archive takes the place of what is in it."""
        objects = [str(path) for path in (main, *others, self._archive)]
        at = self._link.index("%")
        return self._run(
            [*self._link[:at], *objects, *self._link[at + 1 :], *options, "-o", str(program)]
        )


@dataclass
class Program:
    """What can notice a fault."""

    path: Path
    root: Path
    kit: Kit | None = None
    main: Path | None = None
    grace_s: int = 5
    members: set[Path] = field(default_factory=set)  # of the archive
    cpu_s: float = 0.0

    @property
    def name(self) -> str:
        return self.path.stem

    def order(self) -> tuple[int, int]:
        """What needs no compiler here, then the quick ones, of these the ones made of least: they
        are linked soonest, and what they test is what they are made of."""
        return (int(self.cpu_s / QUICK_S) if self.kit else -1, len(self.members))

    def find_members(self, work: Path) -> None:
        """Which of the objects this program is made of; by name, so there may be one too many."""
        if self.kit and self.main:
            traced = self.kit.link(self.main, [], work / self.name, "-Wl,--trace", "-Wl,--trace")
            names = set(TRACED.findall(traced))
            self.members = {path for name in names for path in self.kit.named(name)} | {self.main}

    def _link(self, kit: Kit, overlay: Path, changed: set[Path]) -> Path:
        assert self.main
        made = [kit.compile(path, overlay) for path in sorted(changed - {self.main})]
        main = kit.compile(self.main, overlay) if self.main in changed else self.main
        kit.link(main, made, overlay / self.name)
        return overlay / self.name

    def _command(self, program: Path) -> list[str]:
        if not self.kit:
            words = [sys.executable, "-m", "pytest", "-x", "-q", "-rf", "-p", "no:cacheprovider"]
            return [*words, str(program)]
        target = self.name.removeprefix("fuzz_")
        corpus = self.root / "tests/fuzz/corpus" / target
        seeds = sorted(corpus.iterdir()) if target != self.name else []
        return [str(program), *map(str, seeds)]

    def as_built(self) -> list[str]:
        """How to run it without a fault."""
        return self._command(self.path)

    def command(self, mutant: Mutant, overlay: Path) -> list[str] | None:
        """How to run it with the fault; None: there is nothing of that file in it."""
        if not self.kit:
            return self.as_built() if mutant.file in self.path.read_text("utf-8") else None
        changed = self.members & self.kit.made_of(mutant.file)
        return self._command(self._link(self.kit, overlay, changed)) if changed else None

    def run(self, command: list[str], overlay: Path) -> tuple[str, str]:
        """The test that failed, and how; ("", "") when none did."""
        process = subprocess.Popen(
            command, cwd=self.root, env=environment(MUTATE_OVERLAY=str(overlay)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        )
        limit_s = self.grace_s + math.ceil(CPU_LIMIT_FACTOR * self.cpu_s)
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (limit_s, limit_s + 1))
        try:
            output, _ = process.communicate(timeout=WALL_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGXCPU)
            # One that ignores this has to be ended in a way that counts as no finding.
            threading.Timer(GRACE_WALL_S, process.kill).start()
            output, _ = process.communicate()
        return self._judge(process.returncode, output)

    def _judge(self, status: int, output: str) -> tuple[str, str]:
        if status == 0:
            return "", ""
        if status in COULD_NOT_RUN or (not self.kit and status != PYTEST_FAILED):
            raise CannotTry(f"{self.name} ended with status {status}:\n{output[-2000:]}")
        begun = BEGUN.findall(output)
        sanitizer = SANITIZER.search(output)
        if status == -signal.SIGXCPU:
            how = "does not end"
        elif sanitizer:
            how = re.sub(r"^.*?(\w+Sanitizer: [\w-]+|runtime error: ).*$", r"\1", sanitizer[0])
        else:
            how = "assertion" if status in ASSERTION else f"status {status}"
        return begun[-1] if begun else "(end)", how.strip(" :")


# ------------------------------------------------------------------------------------- the mutants


class Bench:
    """Builds and runs the tests with one file exchanged."""

    def __init__(self, root: Path, programs: list[Program]) -> None:
        self._root = root
        self._programs = programs
        self._work = root / "build/mutate"

    @contextlib.contextmanager
    def _overlay(self, name: str, files: dict[str, str]) -> Iterator[Path]:
        """A folder with changed files, to be looked into before the tree."""
        overlay = self._work / name
        shutil.rmtree(overlay, ignore_errors=True)
        overlay.mkdir(parents=True)
        for file, text in files.items():
            (overlay / file).parent.mkdir(parents=True, exist_ok=True)
            (overlay / file).write_text(text, "utf-8")
        try:
            yield overlay
        finally:
            shutil.rmtree(overlay, ignore_errors=True)

    def control(self, file: str) -> list[Result]:
        """All programs, made in the way of the mutants, with a file that was changed to itself."""
        same = Mutant("control", file, "", "", "nothing is wrong")
        path = self._root / file
        files = {file: path.read_text("utf-8")} if path.is_file() else {}
        with self._overlay(same.id, files) as overlay:
            results = [self._control(program, same, overlay) for program in self._programs]
        self._programs.sort(key=Program.order)
        return results

    def _control(self, program: Program, same: Mutant, overlay: Path) -> Result:
        name = f"{program.name} passes without any fault"
        try:
            program.find_members(overlay)
            command = program.command(same, overlay) or program.as_built()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            program.cpu_s = WALL_LIMIT_S  # nothing is known yet
            test, how = program.run(command, overlay)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            program.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        except CannotTry as error:
            test, how = "(end)", str(error)
        return Result("control", name, FAILED if test else PASSED, f"{test}: {how}" if test else "")

    def _try_in(self, mutant: Mutant, overlay: Path) -> Verdict:
        tried = False
        for program in self._programs:
            try:
                command = program.command(mutant, overlay)
            except CannotTry as error:
                objection = STATIC_ASSERTION.search(str(error))
                if mutant.for_the_compiler and objection:
                    return Verdict(mutant, "compiler", how=objection[0])
                return Verdict(mutant, error=f"it cannot be built:\n{error}")
            if not command:
                continue
            tried = True
            if mutant.for_the_compiler:
                continue
            try:
                test, how = program.run(command, overlay)
            except CannotTry as error:
                return Verdict(mutant, error=str(error))
            if test:
                return Verdict(mutant, program.name, test, how)
        if not tried:
            return Verdict(mutant, error="no program is made of the file")
        if mutant.for_the_compiler:
            return Verdict(mutant, error="the compiler has nothing against it")
        return Verdict(mutant)

    def try_mutant(self, mutant: Mutant) -> Verdict:
        """Exchange the file, and look who notices."""
        path = self._root / mutant.file
        text = path.read_text("utf-8") if path.is_file() else ""
        n_places = text.count(mutant.old)
        if n_places != 1:
            return Verdict(mutant, error=f"its text stands {n_places} times in the file")
        changed = text.replace(mutant.old, mutant.new)
        with self._overlay(mutant.id, {mutant.file: changed}) as overlay:
            return self._try_in(mutant, overlay)


def judge(verdict: Verdict, reason: str) -> Result:
    """Whether this is as it should be, and how to say it."""
    name = f"{verdict.mutant.id}: {verdict.mutant.fault}"
    if verdict.error:
        return Result("mutant", name, FAILED, verdict.error)
    if verdict.killer:
        by = f"noticed by {'::'.join(filter(None, (verdict.killer, verdict.test)))}"
        note = "; but survivors.tsv says that nothing can notice it" if reason else ""
        return Result("mutant", name, FAILED if reason else PASSED, f"{by} ({verdict.how}){note}")
    if reason:
        return Result("mutant", name, PASSED, f"survives: {reason}")
    return Result("mutant", name, FAILED, "SURVIVES")


def say(result: Result) -> None:
    word = "ok    " if result.outcome == PASSED else "FAILED"
    print(f"{word} {result.name}{': ' if result.message else ''}{result.message}", flush=True)


def find_programs(
    root: Path, kits: list[Kit], paths: list[Path], grace_s: int
) -> list[Program]:
    programs = []
    for path in paths:
        if path.suffix == ".py":
            programs.append(Program(root / path, root))
            continue
        kit = next(kit for kit in kits if kit.objects.parent == (root / path).parent)
        main = next(o for o in kit.named(f"{path.name}.o") if "tests" in o.parts)
        programs.append(Program(root / path, root, kit, main, grace_s))
    return programs


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kit", action="append", nargs=3, required=True, metavar=("FOLDER", "COMPILE", "LINK")
    )
    parser.add_argument("programs", nargs="+", type=Path, metavar="PROGRAM")
    parser.add_argument("--only", action="append", default=[], metavar="PART")
    parser.add_argument("--grace", type=int, default=5, metavar="SECONDS")
    parser.add_argument("--root", type=Path, default=HERE.parents[1])
    parser.add_argument("--tables", type=Path, default=HERE, metavar="FOLDER")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    root = options.root.resolve()
    mutants = read_mutants(options.tables / "mutants.tsv")
    reasons = read_reasons(options.tables / "survivors.tsv", mutants)
    chosen = [m for m in mutants if not options.only or any(p in m.id for p in options.only)]
    kits = [Kit(root, *words) for words in options.kit]
    bench = Bench(root, find_programs(root, kits, options.programs, options.grace))

    # The file that most mutants are of.
    results = bench.control(Counter(mutant.file for mutant in mutants).most_common(1)[0][0])
    for result in results:
        say(result)
    if exit_status(results) == 0 and chosen:
        killers: Counter[str] = Counter()
        with ThreadPoolExecutor(WORKERS) as pool:
            for verdict in pool.map(bench.try_mutant, chosen):
                results.append(judge(verdict, reasons.get(verdict.mutant.id, "")))
                killers[verdict.killer or ("not tried" if verdict.error else "survived")] += 1
                say(results[-1])
        for killer, n in killers.most_common():
            print(f"{n:5} {killer}")
    print(counts(results))
    return exit_status(results) if chosen else 1


if __name__ == "__main__":
    sys.exit(main())
