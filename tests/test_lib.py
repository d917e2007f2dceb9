"""The library as another project gets it: an archive and a folder of headers, and nothing else."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# They share build/lib, which one of them changes.
pytestmark = pytest.mark.xdist_group("lib")

ROOT = Path(__file__).resolve().parents[1]
LIB = ROOT / "build/lib"
EXAMPLE = ROOT / "tests/example"
SOURCES = ("ring_example.c", "example_device.c", "example_device.h")
KINDS = ("host", "freestanding")

# What gcc calls for a structure or an array, also in freestanding code.
SYMBOLS_ALLOWED = {"memcpy", "memmove", "memset", "memcmp"}

# Features to decline, so that each way of working is the one that runs.
INDIRECT_DESC, EVENT_IDX, IN_ORDER = 1 << 28, 1 << 29, 1 << 35
EVERYTHING = (1 << 64) - 1
DECLINED = {
    "nothing": 0,
    "indirect": INDIRECT_DESC,
    "event-idx": EVENT_IDX,
    "in-order": IN_ORDER,
    "everything": EVERYTHING,
}

EXPECTED = """\
ring -> RING
chain -> CHAIN
head -> HEAD
index -> INDEX
buffer -> BUFFER
available -> AVAILABLE
ok: 6 chains, 1 notification, 1 interrupt
"""


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command's end, whatever it is."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=cwd)


def output(*command: object, cwd: Path | None = None) -> str:
    """What a command prints, which has to succeed."""
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def make_lib() -> None:
    """`make lib`, one at a time; the jobs of an outer make are no concern here."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment.pop("MFLAGS", None)
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build/.lib-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            ["make", "--no-print-directory", "lib"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """The library of these sources."""
    make_lib()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder elsewhere with what another project takes, and the example as its program."""
    shutil.copytree(LIB / "include", tmp_path / "include")
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        shutil.copy(LIB / kind / "libvirtio.a", tmp_path / kind)
    for source in SOURCES:
        shutil.copy(EXAMPLE / source, tmp_path)
    return tmp_path


def build(project: Path, *options: str, kind: str = "host") -> Path:
    """The example built as its first comment says."""
    sources = [source for source in SOURCES if source.endswith(".c")]
    output(
        "cc", *options, "-I", "include", *sources, f"{kind}/libvirtio.a", "-o", "a.out", cwd=project
    )
    return project / "a.out"


# --------------------------------------------------------------------------------- headers


def public_headers() -> list[str]:
    """The headers of the layers that make up the library, without those that are not for others."""
    folders = ("core", "transports", "devices")
    found = [path for folder in folders for path in (ROOT / folder).glob("*.h")]
    public = [path for path in found if not path.stem.endswith("_private")]
    return sorted(str(path.relative_to(ROOT)) for path in public)


def test_given_library_when_headers_are_listed_then_they_are_the_public_ones() -> None:
    include = LIB / "include"
    listed = sorted(str(path.relative_to(include)) for path in include.rglob("*") if path.is_file())

    assert listed == public_headers()
    assert "core/virtqueue.h" in listed
    for name in listed:
        assert (include / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_given_header_that_sources_have_no_more_when_made_again_then_it_is_gone() -> None:
    stale = LIB / "include/core/was_removed.h"
    stale.touch()

    make_lib()

    assert not stale.exists()


def includes(project: Path, header: str) -> set[Path]:
    """All that a header makes the compiler read, resolved."""
    program = project / "alone.c"
    # Twice: the second time it has nothing to say.
    program.write_text(f'#include "{header}"\n' * 2 + "int main(void) { return 0; }\n")
    options = ("-std=c11", "-ffreestanding", "-Wall", "-Wextra", "-pedantic", "-Werror")
    rule = output("cc", *options, "-I", "include", "-M", program.name, cwd=project)
    output("cc", *options, "-I", "include", "-c", program.name, "-o", "alone.o", cwd=project)
    names = rule.partition(":")[2].replace("\\\n", " ").split()
    return {(project / name).resolve() for name in names} - {program}


@pytest.mark.parametrize("header", public_headers())
def test_given_headers_elsewhere_when_one_is_included_alone_then_it_needs_no_other_folder(
    project: Path, header: str
) -> None:
    compilers_own = Path(output("cc", "-print-file-name=include").strip()).resolve()

    read = includes(project, header)

    assert (project / "include" / header).resolve() in read
    others = [path for path in read if (project / "include").resolve() not in path.parents]
    assert all(compilers_own in path.parents for path in others), others


# -------------------------------------------------------------------------------- archives


def undefined_symbols(archive: Path, folder: Path) -> set[str]:
    """What a program has to bring for all of an archive."""
    whole = folder / "whole.o"
    output("ld", "-r", "--whole-archive", archive, "-o", whole)
    return {line.split()[-1] for line in output("nm", "--undefined-only", whole).splitlines()}


def test_given_freestanding_library_when_linked_then_only_what_gcc_emits_itself_is_missing(
    tmp_path: Path,
) -> None:
    assert undefined_symbols(LIB / "freestanding/libvirtio.a", tmp_path) <= SYMBOLS_ALLOWED


def test_given_archive_that_prints_when_symbols_are_listed_then_that_is_noticed(
    tmp_path: Path,
) -> None:
    source = tmp_path / "prints.c"
    source.write_text("#include <stdio.h>\nint f(void) { return puts(0); }\n")
    output("cc", "-c", source.name, cwd=tmp_path)
    output("ar", "rcs", "prints.a", "prints.o", cwd=tmp_path)

    assert undefined_symbols(tmp_path / "prints.a", tmp_path) == {"puts"}


def test_given_freestanding_library_when_disassembled_then_no_vectors_and_no_red_zone() -> None:
    code = output("objdump", "-d", "--no-show-raw-insn", LIB / "freestanding/libvirtio.a")

    assert "<virtqueue_add>:" in code
    assert not re.findall(r"%[xyz]mm\d+", code)
    assert not re.findall(r"-0x[0-9a-f]+\(%rsp", code)


@pytest.mark.parametrize("kind", KINDS)
def test_given_library_when_symbols_are_listed_then_no_variable_can_change(kind: str) -> None:
    listed = output("nm", "-f", "sysv", LIB / kind / "libvirtio.a")

    assert re.search(r"^virtqueue_add\s*\|", listed, re.MULTILINE)
    variables = re.findall(r"^[^|]+\|[^|]*\|\s*[bBdDC]\s*\|.*$", listed, re.MULTILINE)
    assert [line for line in variables if ".data.rel.ro" not in line] == []


# -------------------------------------------------------------------------------- the example


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("declined", DECLINED.values(), ids=DECLINED.keys())
def test_given_example_elsewhere_when_built_and_run_then_all_words_come_back(
    project: Path, declined: int, kind: str
) -> None:
    program = build(project, kind=kind)

    assert output(program, f"{declined:x}") == EXPECTED


@pytest.mark.parametrize("declined", [0, EVERYTHING])
def test_given_example_when_run_under_memcheck_then_no_error_and_no_leak(
    project: Path, declined: int
) -> None:
    program = build(project, "-g")

    checked = ("valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full")
    assert output(*checked, program, f"{declined:x}") == EXPECTED


def test_given_example_when_built_with_warnings_and_sanitizers_then_it_has_nothing_to_hide(
    project: Path,
) -> None:
    sanitized = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = build(project, "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", *sanitized)

    for declined in DECLINED.values():
        assert output(program, f"{declined:x}") == EXPECTED


def spoil(project: Path, good: str, bad: str) -> None:
    """Make the copy of the device another one."""
    device = project / "example_device.c"
    text = device.read_text()
    assert text.count(good) == 1, good
    device.write_text(text.replace(good, bad))


LIES = {
    "a wrong letter": ("letter - 'a' + 'A'", "letter - 'a' + 'B'"),
    "one byte too few": ("ring_store32(&elem->len, len)", "ring_store32(&elem->len, len - 1)"),
    "more than was writable": ("ring_store32(&elem->len, len)", "ring_store32(&elem->len, 17)"),
    "another id": ("ring_store32(&elem->id, head)", "ring_store32(&elem->id, head + 1u)"),
    "an id out of range": ("ring_store32(&elem->id, head)", "ring_store32(&elem->id, 16)"),
    "one chain kept": ("if (n_available == 0 ||", "if (n_available <= 1 ||"),
    "no answer": ("ring_store16(&device->used->idx, device->n_returned)", "(void)0"),
    "an idx that jumps": ("ring_store16(&device->used->idx, device->n_returned)",
                          "ring_store16(&device->used->idx, 7)"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_given_device_that_errs_when_example_is_run_then_it_says_so_and_fails(
    project: Path, lie: str
) -> None:
    spoil(project, *LIES[lie])
    program = build(project)

    done = run(program)

    assert done.returncode == 1, done.stdout
    assert done.stdout.splitlines()[-1].startswith("failed: ")


def test_given_device_without_indirect_tables_when_they_are_not_declined_then_example_fails(
    project: Path,
) -> None:
    spoil(project, "return has(device, VIRTIO_F_INDIRECT_DESC) &&", "return false &&")
    program = build(project)

    assert run(program).returncode == 1
    assert output(program, f"{INDIRECT_DESC:x}") == EXPECTED
