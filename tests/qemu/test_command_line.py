"""What virtboot.efi and virtio.efi are told: words on their command lines, lines of loader.conf."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image import MIB, boot_image, build_image, entry_text
from machine import Disk, Machine, RunResult, Shell, device_name, run_machine
from probe import raw_image, virtio_path
from qemu_trace import own_driver_oks

LOADER_CONF = "loader/loader.conf"
WRONG_WORDS = ("--no-such-word", "--completion sometimes", "--completion", "--disk-timeout 0")
WORDS = ("--help", "--version", *WRONG_WORDS)

# Such a device insists on feature 33, so that whoever declines it is refused, and says so.
BEHIND_AN_IOMMU = {"iommu_platform": "on", "disable-legacy": "on"}

# The longest that a disk is waited for if nobody says otherwise, in seconds.
DEFAULT_TIMEOUT_S = 30


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
    for option in ("--entry", "--decline-feature", "--disk-timeout", "--completion"):
        assert option in outputs["--help"]
    assert "status=0x0\n" in outputs["--help status"] + "\n"


def test_given_version_when_asked_for_then_it_is_printed_and_success_returned(
    run: tuple[dict[str, str], RunResult],
) -> None:
    outputs, _ = run

    assert "virtboot 0.1.0" in outputs["--version"]
    assert "status=0x0\n" in outputs["--version status"] + "\n"


def test_given_wrong_words_when_started_then_usage_is_printed_and_nothing_is_booted(
    run: tuple[dict[str, str], RunResult],
) -> None:
    outputs, result = run
    reasons = {
        "--no-such-word": "--no-such-word: unknown option",
        "--completion sometimes": "--completion: completion is auto, poll or interrupt",
        "--completion": "--completion: option needs a value",
        "--disk-timeout 0": "--disk-timeout: time is a number of seconds from 1 to 3600",
    }

    for words in WRONG_WORDS:
        assert f"virtboot: error: {reasons[words]}\n" in outputs[words] + "\n"
        assert "Usage: virtboot.efi" in outputs[words]
        assert "status=0x0\n" not in outputs[f"{words} status"] + "\n"
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
        shell = Shell(machine)
        version = shell.run("fs0:\\start.efi \\virtboot.efi --version")
        entry = shell.run("fs0:\\start.efi \\virtboot.efi --entry x")
        result = machine.finish()

    assert version.split("\n") == [
        'start-with-options: "--version"',
        "virtboot 0.1.0",
        "start-with-options: Success",
    ]
    assert "no usable /loader/entries/x.conf" in entry
    assert "start-with-options: Not Found" in entry
    assert len(own_driver_oks(result.events, 0)) == 1, "only the second is a reason to take a disk"


def test_given_loader_conf_with_wrong_lines_when_booted_then_they_are_named_and_linux_runs(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    loader_conf = (
        b"# what nobody understands\r\n"
        b"virtboot-completion sometimes\r\n"
        b"timeout menu-hidden\r\n"
        b"\x00\x01\xff virtboot\r\n"
        b"virtboot-decline-feature 32\r\n"
        b"virtboot-disk-timeout \x1b[2J\x00" + b"9" * 5000 + b"\r\n"
        b"virtboot-completion poll"
    )
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=kernel,
        initrd=initramfs,
        extra={LOADER_CONF: loader_conf},
    )

    result = run_machine([Disk(image)], never=["BdsDxe: failed"])

    error = "virtboot: error: /loader/loader.conf: line"
    result.assert_ordered(
        f'{error} 2: "sometimes": completion is auto, poll or interrupt; the line is ignored\n',
        f'{error} 5: "32": feature 32 (VERSION_1) cannot be declined, the driver needs it; ',
        f'{error} 6: "?[2J?{"9" * 35}": time is a number of seconds from 1 to 3600; ',
        f"virtboot: {device_name(0)}: ",
        "virtboot-init: userspace reached",
    )
    assert result.text.count("virtboot: error: ") == 3


@pytest.mark.parametrize(
    ("loader_conf", "message"),
    [
        (b"#" * (64 * 1024 + 1), "is larger than 64 KiB and not used"),
        (None, "cannot be read: Unsupported; it is not used"),
    ],
    ids=["too large", "a folder"],
)
def test_given_loader_conf_that_is_no_such_file_when_started_then_said_and_on(
    loader_conf: bytes | None, message: str, folder: Path, virtboot: Path
) -> None:
    name = LOADER_CONF if loader_conf else f"{LOADER_CONF}/file"
    tree = {"virtboot.efi": virtboot, name: loader_conf or b"in a folder of that name"}
    image = build_image(folder / "disk.img", tree, size_mib=70)

    with Machine([Disk(image)]) as machine:
        output = Shell(machine).run("fs0:\\virtboot.efi")
        result = machine.finish()

    assert f"virtboot: error: /loader/loader.conf: {message}\n" in output
    assert "no boot entry" in output
    assert len(own_driver_oks(result.events, 0)) == 1


def test_given_loader_conf_when_started_then_it_counts_and_the_command_line_wins(
    folder: Path, virtboot: Path
) -> None:
    # One disk insists on a feature that the file declines; the other falls silent.
    tree = {
        "virtboot.efi": virtboot,
        LOADER_CONF: b"virtboot-decline-feature 33\n"
        b"virtboot-disk-timeout 1\n"
        b"virtboot-completion poll\n",
    }
    starter = build_image(folder / "ahci.img", tree, size_mib=70)
    insists = raw_image(folder / "insists.img", 8 * MIB, seed=1)
    silent = raw_image(folder / "silent.img", 8 * MIB, seed=2)
    disks = [
        Disk(insists, options=BEHIND_AN_IOMMU, boot=False),
        Disk(silent, boot=False),
        Disk(starter, bus="ahci"),
    ]

    with Machine(disks) as machine:
        shell = Shell(machine)
        machine.qmp().execute(
            "block_set_io_throttle",
            id=virtio_path(1),
            **{**dict.fromkeys(("bps", "bps_wr", "iops", "iops_rd", "iops_wr"), 0), "bps_rd": 1},
        )
        begun = time.monotonic()
        by_file = shell.run("fs0:\\virtboot.efi")
        file_s = time.monotonic() - begun
        begun = time.monotonic()
        by_line = shell.run("fs0:\\virtboot.efi --disk-timeout 6 --completion auto")
        line_s = time.monotonic() - begun
        machine.finish()

    for output in (by_file, by_line):
        assert f"virtboot: error: {device_name(0)}: cannot be driven: " in output
        assert "FEATURES_OK" in output
        assert f"virtboot: error: {device_name(1)}: read failed: " in output
    silent_line = rf"^virtboot: {re.escape(device_name(1))}: 8 MiB, .*, "
    assert re.search(silent_line + r"polled \(asked for\)$", by_file, re.M), by_file
    assert re.search(silent_line + r"MSI-X with \d vectors$", by_line, re.M), by_line
    # A read that is not answered is sent a second time.
    assert file_s < DEFAULT_TIMEOUT_S, "the file's 1 s did not count"
    assert 2 * 6 <= line_s < 2 * DEFAULT_TIMEOUT_S, "the command line's 6 s did not count"


def test_given_virtio_when_loaded_with_words_then_they_count_as_virtboots_do(
    folder: Path, virtio_driver: Path, program: Callable[[str], Path]
) -> None:
    tree = {
        "virtio.efi": virtio_driver,
        "start.efi": program("start_with_options"),
        LOADER_CONF: b"virtboot-completion never\n",
    }
    starter = build_image(folder / "ahci.img", tree, size_mib=70)
    insists = raw_image(folder / "insists.img", 8 * MIB, seed=1)
    disks = [Disk(insists, options=BEHIND_AN_IOMMU, boot=False), Disk(starter, bus="ahci")]
    start = "fs0:\\start.efi \\virtio.efi"

    with Machine(disks) as machine:
        shell = Shell(machine)
        shown = shell.run(f"{start} --help")
        version = shell.run(f"{start} --version")
        refused = shell.run(f"{start} --entry x")
        drivers = shell.run("drivers")
        declined = shell.run(f"{start} --completion poll --decline-feature 33")
        plain = shell.run("load fs0:\\virtio.efi")
        result = machine.finish()

    wrong_line = 'virtio: error: /loader/loader.conf: line 1: "never": completion is auto, '
    for output in (shown, version, refused, declined, plain):
        assert wrong_line in output
    assert "virtio 0.1.0\nUsage: virtio.efi" in shown
    assert "--entry" not in shown
    assert "--completion" in shown
    assert "virtio 0.1.0\nstart-with-options: Aborted" in version
    assert "virtio: error: --entry: unknown option\nUsage: virtio.efi" in refused
    assert "start-with-options: Invalid Parameter" in refused
    assert "virtboot" not in drivers, "none of these is a reason to stay in memory"
    assert f"virtio: error: {device_name(0)}: cannot be driven: " in declined
    assert "FEATURES_OK" in declined
    assert "start-with-options: Success" in declined
    assert "cannot be driven" not in plain
    assert len(own_driver_oks(result.events, 0)) == 1, "that of the driver that was told nothing"
