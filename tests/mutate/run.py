#!/usr/bin/python3
"""Put small faults into core/, one at a time, and see that the host tests notice each of them.

run.py --compiler WORDS --build FOLDER [--only ID]... PROGRAM...
    FOLDER is where make has built the PROGRAMs, the host tests; WORDS compile one source as make does. For each
    row of mutants.tsv the file is copied with its text changed, what includes it is compiled
    again, and the test programs that it is part of run until one fails. Prints a line per mutant:
    which program killed it, or that it survived. The last line is "N passed, N failed".

mutants.tsv    id, file, text that stands there exactly once, text in its place, what is wrong then.
               In the texts \\n is a new line and \\t a tab.
survivors.tsv  id of a mutant that no test can notice, and why: it is the same program.

A mutant fails when it survives without a reason, when it is killed although a reason says that it
cannot be, when its text is not found exactly once, or when it does not compile.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build/mutate"
WORKERS = 2
COMPILE_LIMIT_S = 120
RUN_LIMIT_S = 60  # of one program; the slowest takes a few seconds

# The quickest to notice come first. All others follow in the order of their names.
FIRST = ["test_virtqueue", "test_virtqueue_suppression", "test_virtqueue_in_order",
         "test_virtqueue_indirect", "test_device", "test_queue_reset", "test_hostile_ring"]


@dataclass(frozen=True)
class Mutant:
    """One row of mutants.tsv."""

    id: str
    file: str
    old: str
    new: str
    fault: str


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killer: str = ""  # the program that noticed
    error: str = ""  # why it could not be tried


def unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


def rows(path: Path, n_cells: int) -> list[list[str]]:
    """The rows of a table, without its header."""
    lines = path.read_text("utf-8").splitlines()[1:] if path.exists() else []
    table = [line.split("\t") for line in lines if line.strip()]
    for cells in table:
        if len(cells) != n_cells or not all(cell.strip() for cell in cells[:1] + cells[-1:]):
            raise SystemExit(f"{path}: not {n_cells} filled cells: {cells}")
    return table


def read_mutants(folder: Path) -> list[Mutant]:
    mutants = [
        Mutant(id_, file, unescape(old), unescape(new), fault)
        for id_, file, old, new, fault in rows(folder / "mutants.tsv", 5)
    ]
    ids = [mutant.id for mutant in mutants]
    twice = {id_ for id_ in ids if ids.count(id_) > 1}
    if twice:
        raise SystemExit(f"mutants.tsv: ids that stand there twice: {sorted(twice)}")
    return mutants


def objects_that_include(build: Path, file: str) -> list[Path]:
    """Objects made of `file`, or of a source that includes it, by the compiler's own account."""
    found = []
    for notes in sorted((build / "obj").rglob("*.d")):
        target, _, needs = notes.read_text().partition(":")
        if file in needs.split("\n\n")[0].replace("\\\n", " ").split():
            found.append(ROOT / target.strip())
    return found


class Bench:
    """Builds and runs the tests with one file exchanged."""

    def __init__(self, compiler: list[str], build: Path, programs: list[str]) -> None:
        self._compiler = compiler
        self._build = build
        rest = [name for name in sorted(programs) if name not in FIRST]
        self.programs = [name for name in FIRST if name in programs] + rest

    def _source(self, object_: Path, overlay: Path) -> Path:
        relative = object_.relative_to(ROOT / self._build / "obj").with_suffix(".c")
        mutated = overlay / relative
        return mutated if mutated.exists() else ROOT / relative

    def _run(self, words: list[str], limit_s: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=limit_s
        )

    def compile(self, overlay: Path, file: str) -> tuple[list[Path], str]:
        """The objects that the change reaches, and what the compiler has against it."""
        made = []
        for object_ in objects_that_include(ROOT / self._build, file):
            target = overlay / "obj" / object_.relative_to(ROOT / self._build / "obj")
            target.parent.mkdir(parents=True, exist_ok=True)
            source = self._source(object_, overlay)
            uefi = ["-isystem", "/usr/include/efi", "-isystem", "/usr/include/efi/x86_64",
                    "-DGNU_EFI_USE_MS_ABI"]
            # The changed file comes before that of the tree; what a fault leaves unused is no error.
            first = [self._compiler[0], f"-I{overlay}", *self._compiler[1:]]
            words = [*first, *uefi, "-w", "-c", str(source), "-o", str(target)]
            done = self._run(words, COMPILE_LIMIT_S)
            if done.returncode != 0:
                return [], done.stderr
            made.append(target)
        return made, "" if made else "no object is made of it"

    def _link(self, name: str, made: list[Path], overlay: Path) -> Path | None:
        """A test program with the changed objects in place of the library's; None: none is in it."""
        own = [p for p in (ROOT / self._build / "obj").rglob(f"{name}.o")]
        library = [p for p in made if "/tests/unit/" not in str(p) and "/tests/hostile/test_" not in str(p)]
        mains = [p for p in made if p.name == f"{name}.o"]
        program = overlay / name
        words = [*self._compiler, *map(str, mains or own), *map(str, library),
                 str(ROOT / self._build / "libhost.a"), "-lcmocka", "-o", str(program)]
        done = self._run(words, COMPILE_LIMIT_S)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return program

    def kills(self, name: str, made: list[Path], overlay: Path) -> bool:
        """Whether the program fails, or does not end."""
        program = self._link(name, made, overlay)
        try:
            return self._run([str(program)], RUN_LIMIT_S).returncode != 0
        except subprocess.TimeoutExpired:
            return True

    def try_mutant(self, mutant: Mutant) -> Verdict:
        """Exchange the file, and look who notices."""
        text = (ROOT / mutant.file).read_text("utf-8")
        if text.count(mutant.old) != 1:
            return Verdict(mutant, error=f"its text stands {text.count(mutant.old)} times in the file")
        overlay = WORK / mutant.id
        shutil.rmtree(overlay, ignore_errors=True)
        target = overlay / mutant.file
        target.parent.mkdir(parents=True)
        target.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        try:
            made, complaint = self.compile(overlay, mutant.file)
            if complaint:
                return Verdict(mutant, error=f"it does not compile:\n{complaint}")
            for name in self.programs:
                if self.kills(name, made, overlay):
                    return Verdict(mutant, killer=name)
            return Verdict(mutant)
        except RuntimeError as error:
            return Verdict(mutant, error=f"it cannot be linked:\n{error}")
        finally:
            shutil.rmtree(overlay, ignore_errors=True)


def control(bench: Bench) -> str:
    """What fails without a mutant: then nothing that follows would mean anything."""
    for name in bench.programs:
        done = subprocess.run([bench._build / name], cwd=ROOT, capture_output=True, timeout=RUN_LIMIT_S)
        if done.returncode != 0:
            return f"{name} fails without any fault"
    return "" if bench.programs else "there are no test programs"


def judge(verdict: Verdict, reasons: dict[str, str]) -> tuple[bool, str]:
    """Whether this is as it should be, and how to say it."""
    reason = reasons.get(verdict.mutant.id)
    if verdict.error:
        return False, verdict.error
    if verdict.killer:
        note = ", although survivors.tsv says that nothing can" if reason else ""
        return not reason, f"noticed by {verdict.killer}{note}"
    return bool(reason), f"survives: {reason}" if reason else "SURVIVES"


def report(verdicts: Iterable[Verdict], reasons: dict[str, str]) -> int:
    n_passed = n_failed = 0
    for verdict in verdicts:
        good, text = judge(verdict, reasons)
        n_passed += good
        n_failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {verdict.mutant.id}: {verdict.mutant.fault}: {text}")
        sys.stdout.flush()
    print(f"{n_passed} passed, {n_failed} failed")
    return 0 if n_passed and not n_failed else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compiler", required=True, metavar="WORDS")
    parser.add_argument("--build", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("programs", nargs="+", type=Path, metavar="PROGRAM")
    parser.add_argument("--only", action="append", default=[], metavar="ID")
    parser.add_argument("--tables", type=Path, default=HERE, metavar="FOLDER")
    options = parser.parse_args()
    mutants = read_mutants(options.tables)
    reasons = dict(rows(options.tables / "survivors.tsv", 2))
    unknown = set(reasons) - {mutant.id for mutant in mutants}
    if unknown:
        raise SystemExit(f"survivors.tsv: no such mutants: {sorted(unknown)}")
    chosen = [m for m in mutants if not options.only or m.id in options.only]
    bench = Bench(
        shlex.split(options.compiler), options.build, [path.name for path in options.programs]
    )
    complaint = control(bench)
    if complaint:
        print(f"{complaint}\n0 passed, 1 failed")
        return 1
    with ThreadPoolExecutor(WORKERS) as pool:
        return report(pool.map(bench.try_mutant, chosen), reasons)


if __name__ == "__main__":
    sys.exit(main())
