#!/usr/bin/python3
"""Check tests/model/ring.pml with spin, for both schemes of suppression.

As it is, every interleaving has to hold. With a barrier removed, of the driver's or of the device's,
or with one of the faults, an assertion has to break: else the model could not show anything. A
search that was cut short, or a model that spin does not take, has failed in any case. Prints a line
for each; the last is "N passed, N failed".
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).resolve().parent / "ring.pml"
WORKERS = 2
LIMIT_S = 300
MEMORY_MIB = 1500
DEPTH = 1_000_000

SCHEMES = {"flags": [], "EVENT_IDX": ["-DEVENT_IDX"]}
BARRIERS = [
    f"NO_{side}_{barrier}" for side in ("DRIVER", "DEVICE") for barrier in ("WMB", "MB", "RMB", "ARM_MB")
]
# Faults of the protocol, and the schemes in which they are one.
FAULTS = {
    "SLEEP_WITHOUT_LOOK": ("flags", "EVENT_IDX"),
    "OLD_NOT_UPDATED": ("EVENT_IDX",),
    "COMPARE_WITHOUT_WRAP": ("EVENT_IDX",),
}


@dataclass(frozen=True)
class Case:
    """One search, and whether it has to find something."""

    scheme: str
    without: str = ""

    @property
    def name(self) -> str:
        return f"{self.scheme}, {self.without or 'as it is'}"

    def defines(self) -> list[str]:
        return SCHEMES[self.scheme] + ([f"-D{self.without}"] if self.without else [])


def cases() -> list[Case]:
    found = [Case(scheme) for scheme in SCHEMES]
    found += [Case(scheme, barrier) for barrier in BARRIERS for scheme in SCHEMES]
    return found + [Case(scheme, fault) for fault, schemes in FAULTS.items() for scheme in schemes]


def search(case: Case, model: Path = MODEL) -> str:
    """All that spin, the compiler and the search have to say."""
    with tempfile.TemporaryDirectory() as folder:
        steps = (
            ["spin", "-a", *case.defines(), str(model)],
            ["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}", "pan.c", "-o", "pan"],
            ["./pan", f"-m{DEPTH}"],
        )
        said = ""
        for words in steps:
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
            said += done.stdout + done.stderr
            if words[0] != "./pan" and done.returncode != 0:
                return f"{words[0]} failed:\n{said}"
        return said


def judge(case: Case, said: str) -> tuple[bool, str]:
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"(\d+) states, stored", said)
    broken = re.search(r"pan:1: assertion violated (.*) \(at depth \d+\)", said)
    if not errors or not states:
        return False, said.strip()[-600:]
    if case.without:
        return broken is not None, f"broken: {broken[1].strip()}" if broken else "nothing breaks"
    whole = not re.search(r"max search depth too small|out of memory|not completed", said)
    text = f"{states[1]} states, {errors[1]} errors{'' if whole else ', and the search is not complete'}"
    return errors[1] == "0" and whole, text


def main() -> int:
    n_failed = 0
    all_cases = cases()
    with ThreadPoolExecutor(WORKERS) as pool:
        for case, said in zip(all_cases, pool.map(search, all_cases)):
            good, text = judge(case, said)
            n_failed += not good
            print(f"{'ok    ' if good else 'FAILED'} {case.name}: {text}", flush=True)
    print(f"{len(all_cases) - n_failed} passed, {n_failed} failed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
