"""virtboot's own words on its command line, in the UEFI shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from image import build_image
from machine import Disk, Machine, RunResult, Shell
from qemu_trace import own_driver_oks

WORDS = ("--help", "--version", "--no-such-word")


@pytest.fixture(scope="module")
def run(module_folder: Path, virtboot: Path) -> Iterator[tuple[dict[str, str], RunResult]]:
    """Each word in turn, with the status that the shell got back."""
    image = build_image(module_folder / "disk.img", {"virtboot.efi": virtboot}, size_mib=70)
    outputs = {}
    with Machine([Disk(image)]) as machine:
        shell = Shell(machine)
        for word in WORDS:
            outputs[word] = shell.run(f"fs0:\\virtboot.efi {word}")
            outputs[f"{word} status"] = shell.run("echo status=%lasterror%")
        yield outputs, machine.finish()


def test_given_help_when_asked_for_then_usage_is_printed_and_success_returned(
    run: tuple[dict[str, str], RunResult],
) -> None:
    outputs, _ = run

    assert "usage" in outputs["--help"].lower()
    assert "--decline-feature" in outputs["--help"]
    assert "status=0x0\n" in outputs["--help status"] + "\n"


def test_given_version_when_asked_for_then_it_is_printed_and_success_returned(
    run: tuple[dict[str, str], RunResult],
) -> None:
    outputs, _ = run

    assert "virtboot 0.1.0" in outputs["--version"]
    assert "status=0x0\n" in outputs["--version status"] + "\n"


def test_given_unknown_word_when_started_then_usage_is_printed_and_nothing_is_booted(
    run: tuple[dict[str, str], RunResult],
) -> None:
    outputs, result = run

    assert "--no-such-word" in outputs["--no-such-word"]
    assert "usage" in outputs["--no-such-word"].lower()
    assert "status=0x0\n" not in outputs["--no-such-word status"] + "\n"
    assert own_driver_oks(result.events, 0) == [], "no word of these is a reason to take a disk"
