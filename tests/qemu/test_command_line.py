"""virtboot's own words on its command line, in the UEFI shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image import boot_image, build_image, entry_text
from machine import Disk, Machine, RunResult, Shell, device_name
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


def test_given_several_entries_when_chosen_then_newest_usable_or_the_named_one_is_booted(
    folder: Path, virtboot: Path
) -> None:
    # All kernels are missing, so that virtboot comes back: what it chose is what it says.
    entries = {
        "linux-6.1.conf": entry_text(title="The older"),
        "linux-6.10.conf": entry_text(title="The newer"),
        "linux-7+0.conf": entry_text(title="Tried too often"),
        "99-bad.conf": b"title No kernel\n",
        "zz-arm.conf": b"architecture aa64\n" + entry_text(title="Another machine").encode(),
    }
    image = boot_image(
        folder / "disk.img",
        application=None,
        kernel=None,
        initrd=None,
        extra={
            "virtboot.efi": virtboot,
            "loader/entries/debian.conf": None,
            **{f"loader/entries/{name}": text for name, text in entries.items()},
        },
        size_mib=70,
    )
    words = {
        "": 'booting "The newer" (linux-6.10.conf)',
        "--entry linux-6.1": 'booting "The older" (linux-6.1.conf)',
        "--entry LINUX-7+0.conf": 'booting "Tried too often" (linux-7+0.conf)',
        "--entry nobody": None,
    }

    with Machine([Disk(image)]) as machine:
        shell = Shell(machine)
        outputs = {word: shell.run(f"fs0:\\virtboot.efi {word}") for word in words}
        machine.finish()

    skipped = f"virtboot: error: {device_name(0)}: 99-bad.conf: line "
    for word, booting in words.items():
        output = outputs[word]
        if booting is None:
            assert "booting" not in output
            assert "no boot entry" in output
            assert "nobody.conf" in output
        else:
            assert f"virtboot: {booting} from {device_name(0)}" in output
            assert "not found" in output
        # It is looked at only on the way to the newest one that is usable.
        assert (skipped in output) == (word == ""), output
        assert "devices given back" in output


def test_given_options_without_a_program_name_when_started_then_the_first_one_counts(
    folder: Path, virtboot: Path, program: Callable[[str], Path]
) -> None:
    tree = {"virtboot.efi": virtboot, "start.efi": program("start_with_options")}
    image = build_image(folder / "disk.img", tree, size_mib=70)

    with Machine([Disk(image)]) as machine:
        output = Shell(machine).run("fs0:\\start.efi")
        result = machine.finish()

    _, version, entry = output.split('start-with-options: "')
    assert version.split("\n") == [
        '--version"',
        "virtboot 0.1.0",
        "start-with-options: Success",
        "",
    ]
    assert "no usable /loader/entries/x.conf" in entry
    assert "start-with-options: Not Found\nstart-with-options: done" in entry
    assert len(own_driver_oks(result.events, 0)) == 1, "only the second is a reason to take a disk"
