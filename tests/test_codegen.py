"""What compilers make of core/mem.h, core/barrier_x86_64.h and core/barrier_aarch64.h.

The tests on the host see each access and barrier by a hook in front of it, but not whether an
instruction follows. Both architectures are looked at, AArch64 before anything runs on it.

MUTATE_OVERLAY: a folder whose headers come before the project's. What the compilers refuse there is
not tested, and pytest ends with status 3.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OVERLAY = os.environ.get("MUTATE_OVERLAY", "")

COMPILERS = {
    "x86_64": ["gcc", "-mno-red-zone"],
    "aarch64": ["clang", "--target=aarch64-none-elf"],
    # clang keeps accesses apart at any asm; gcc, which will build this, only where it is told to.
    # It need not be a gcc for AArch64, for none looks into the text of an asm.
    "aarch64 in gcc": ["gcc", "-U__x86_64__", "-D__aarch64__"],
}

# Two accesses to one place. A compiler that may merges them: both are there only if it may not.
ACCESSES = """
#include "core/mem.h"

unsigned load8(const uint8_t *p) { return ring_load8(p) + ring_load8(p); }
unsigned load16(const le16 *p) { return ring_load16(p) + ring_load16(p); }
unsigned load32(const le32 *p) { return ring_load32(p) + ring_load32(p); }
void store8(uint8_t *p) { ring_store8(p, 1); ring_store8(p, 1); }
void store16(le16 *p) { ring_store16(p, 1); ring_store16(p, 1); }
void store32(le32 *p) { ring_store32(p, 1); ring_store32(p, 1); }
void store64(le64 *p) { ring_store64(p, 1); ring_store64(p, 1); }
"""

# Accesses that nothing but the barrier between them keeps apart.
BARRIERS = """
#include "core/mem.h"

void wmb(unsigned *p) { *p = 1; virtio_wmb(false); *p = 2; }
unsigned rmb(const unsigned *p) { unsigned old = *p; virtio_rmb(false); return old + *p; }
unsigned mb(unsigned *p) { *p = 1; virtio_mb(false); return *p; }
void device_wmb(unsigned *p) { *p = 1; virtio_wmb(true); *p = 2; }
unsigned device_rmb(const unsigned *p) { unsigned old = *p; virtio_rmb(true); return old + *p; }
unsigned device_mb(unsigned *p) { *p = 1; virtio_mb(true); return *p; }
"""

# x86-64 itself keeps all in order but a store and a later load; for those gcc locks the stack.
EXPECTED_BARRIERS = {
    "x86_64": {
        "wmb": [],
        "rmb": [],
        "mb": ["lock"],
        "device_wmb": ["sfence"],
        "device_rmb": ["lfence"],
        "device_mb": ["mfence"],
    },
    "aarch64": {
        "wmb": ["dmb ish"],
        "rmb": ["dmb ishld"],
        "mb": ["dmb ish"],
        "device_wmb": ["dmb oshst"],
        "device_rmb": ["dmb oshld"],
        "device_mb": ["dmb osh"],
    },
}
EXPECTED_BARRIERS["aarch64 in gcc"] = {
    function: expected
    for function, expected in EXPECTED_BARRIERS["aarch64"].items()
    if function.startswith("device_")
}

ACCESS = "access"
INSTRUCTION = re.compile(
    r"(?P<access>\(%rdi\)|\[x0\])|\b(?P<barrier>[slm]fence|lock|dmb\s+\w+)\b"
)


@functools.cache
def functions(architecture: str, source: str) -> dict[str, list[str]]:
    """Of each function its barriers, and its accesses to what its argument leads to, in order."""
    includes = [f"-I{folder}" for folder in (OVERLAY, ROOT) if folder]
    # A folder without core/: where a source stands is looked into before all others.
    words = [*COMPILERS[architecture], "-std=c11", "-O2", "-ffreestanding", *includes]
    made = subprocess.run(
        [*words, "-S", "-x", "c", "-", "-o", "-"],
        input=source, capture_output=True, text=True, timeout=60, cwd=ROOT / "tests",
    )
    if OVERLAY and made.returncode != 0:
        pytest.exit(f"{architecture}: {made.stderr}", returncode=3)
    assert made.returncode == 0, made.stderr
    found: dict[str, list[str]] = {}
    body: list[str] = []
    for line in made.stdout.splitlines():
        if label := re.match(r"(\w+):", line):
            body = found.setdefault(label[1], [])
        elif seen := INSTRUCTION.search(line):
            body.append(ACCESS if seen["access"] else " ".join(seen["barrier"].split()))
    return found


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    "function", ["load8", "load16", "load32", "store8", "store16", "store32", "store64"]
)
def test_given_two_accesses_to_one_place_when_compiled_then_both_are_there(
    architecture: str, function: str
) -> None:
    assert functions(architecture, ACCESSES)[function] == [ACCESS, ACCESS]


@pytest.mark.parametrize(
    ("architecture", "function"),
    [(name, function) for name, expected in EXPECTED_BARRIERS.items() for function in expected],
)
def test_given_barrier_when_compiled_then_it_stands_between_the_accesses(
    architecture: str, function: str
) -> None:
    expected = [ACCESS, *EXPECTED_BARRIERS[architecture][function], ACCESS]
    assert functions(architecture, BARRIERS)[function] == expected
