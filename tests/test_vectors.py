"""The vector registers that the firmware wants back (UEFI 2.10, 2.3.4.2 Detailed Calling Conventions).

XMM6 to XMM15 belong to the caller by the firmware's convention, and to nobody by the one that the
rest of the code is compiled for: a function that the firmware calls would have to save all ten
around every call it makes. Our sources are compiled without vector registers instead, which saves
that at each read; so it has to be true of all that is linked to them, too.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OBJECTS = ROOT / "build/x86_64/obj"
OURS = ("core", "transports", "devices", "boot", "efi")

FUNCTION = re.compile(r"[0-9a-f]+ <(?P<name>[^>]+)>:")
VECTOR = re.compile(r"%[xyz]mm\d+")
KEPT = re.compile(r"%[xyz]mm([6-9]|1[0-5])\b")
ON_STACK = re.compile(r"[-0-9a-fx]*\(%r[sb]p\)")


def disassemble(path: Path) -> str:
    """The instructions of an object or a program, with the names of its functions."""
    words = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def operands(instruction: str) -> tuple[str, str]:
    """All but the last one, and the last one, which is where an instruction writes."""
    text = instruction.split("#")[0].split(None, 1)[-1].strip()
    first, _, last = text.rpartition(",") if not text.endswith(")") else split_at_memory(text)
    return first, last


def split_at_memory(text: str) -> tuple[str, str, str]:
    """The same where the last operand is memory, which may have commas in it."""
    at = text.rfind(",", 0, text.rfind("("))
    return (text[:at], ",", text[at + 1 :]) if at >= 0 else ("", "", text)


def spoilt(listing: str) -> set[str]:
    """Functions that write a kept register, but for putting back there what they have saved."""
    found, function, saved = set(), "", set()
    for line in listing.splitlines():
        if begins := FUNCTION.match(line):
            function, saved = begins["name"], set()
            continue
        if not KEPT.search(line):
            continue
        first, last = operands(line.split("\t")[-1])
        if KEPT.fullmatch(first) and ON_STACK.fullmatch(last):
            saved.add((first, last))
        elif KEPT.search(last) and (last, first) not in saved:
            found.add(function)
    return found


@pytest.mark.parametrize("program", ["virtboot", "virtio"])
def test_given_program_when_disassembled_then_no_kept_register_is_spoilt(program: str) -> None:
    listing = disassemble(OBJECTS / f"{program}.so")

    assert "<block_io_read>:" in listing and "<Print>:" in listing  # ours, and the library's
    assert spoilt(listing) == set()


def test_given_our_objects_when_disassembled_then_they_use_no_vector_register() -> None:
    objects = [path for folder in OURS for path in sorted((OBJECTS / folder).glob("*.o"))]

    assert len(objects) > 30
    assert [path.name for path in objects if VECTOR.search(disassemble(path))] == []


@pytest.mark.parametrize(
    ("body", "is_spoilt"),
    [
        ("movaps %xmm6,0x20(%rsp)\n\tmovaps 0x20(%rsp),%xmm6", False),
        ("movups %xmm15,-0x90(%rbp)\n\tmovups -0x90(%rbp),%xmm15", False),
        ("movaps %xmm5,%xmm4\n\tpxor %xmm0,%xmm0", False),
        ("movq %xmm6,0x8(%rax,%rcx,2)", False),
        ("pxor %xmm7,%xmm7", True),
        ("cvtsi2sd %rax,%xmm10", True),
        ("movaps 0x20(%rsp),%xmm6", True),
        ("movaps %xmm6,0x20(%rsp)\n\tmovaps 0x30(%rsp),%xmm6", True),
        ("movaps %xmm6,0x20(%rsp)\n\tmovaps 0x20(%rsp),%xmm7", True),
        ("movaps %xmm6,0x20(%rsp)\n\tmovups 0x8(%rax,%rcx,2),%xmm6", True),
        ("vpxor %ymm1,%ymm2,%ymm12", True),
    ],
)
def test_given_function_when_read_then_spoilt_only_if_a_kept_register_is_not_put_back(
    body: str, is_spoilt: bool, tmp_path: Path
) -> None:
    source = tmp_path / "function.s"
    source.write_text(f"\t.globl some\nsome:\n\t{body}\n\tret\n")
    subprocess.run(["as", str(source), "-o", str(tmp_path / "function.o")], check=True)

    assert spoilt(disassemble(tmp_path / "function.o")) == ({"some"} if is_spoilt else set())
