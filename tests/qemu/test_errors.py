"""Every way to fail ends with a reason, the devices given back, and the next boot option.

After virtboot's failure the firmware goes on to its shell, whose script prints the marker file of
each disk: so the firmware's own driver holds the disks again and can read them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from broken_kernels import BROKEN_KERNELS, BrokenKernel
from image import (
    BOOT_PATH,
    DEFAULT_ENTRY,
    INITRD_PATH,
    KERNEL_PATH,
    MIB,
    Content,
    DiskImage,
    SectorRange,
    boot_image,
    build_image,
    entry_text,
)
from machine import (
    CPU_EXCEPTION,
    Disk,
    Machine,
    ReadErrors,
    RunResult,
    Shell,
    device_name,
    run_machine,
)
from qemu_trace import (
    STATUS_FAILED,
    STATUS_LEGACY_RUNNING,
    STATUS_RUNNING,
    Read,
    of_disk,
    own_driver_oks,
    sessions,
    statuses,
)

GIVEN_BACK = "virtboot: devices given back to the firmware"
NEXT_OPTION = "BdsDxe: starting"
REFUSED = "BdsDxe: failed to start"
MARKER_PATH = "marker.txt"
SCRIPT_END = "script: done"

# What no run here may come to: waiting for the script would last until the time limit.
WRONG_OUTCOMES = ("userspace reached", "Kernel panic", CPU_EXCEPTION)

# The shell numbers file systems by itself; the script asks all that there may be.
SCRIPT = (
    "@echo -off\r\n"
    "for %i run (0 9)\r\n"
    f"  if exist fs%i:\\{MARKER_PATH} then\r\n"
    f"    type fs%i:\\{MARKER_PATH}\r\n"
    "  endif\r\n"
    "endfor\r\n"
    f"echo {SCRIPT_END}\r\n"
)

Tree = Mapping[str, Content | None]


def marker(number: int) -> str:
    """What only a reader of disk `number` can know."""
    return f"marker: disk {number} is readable"


def failing_image(
    path: Path,
    *,
    application: Content | None,
    number: int = 0,
    kernel: Content | None = b"no kernel is reached",
    initrd: Content | None = b"no initrd is reached",
    extra: Tree | None = None,
    size_mib: int = 70,
) -> DiskImage:
    """A disk with a marker, and with the script on the first one."""
    files: dict[str, Content | None] = {MARKER_PATH: marker(number) + "\r\n"}
    if number == 0:
        files["startup.nsh"] = SCRIPT
    files.update(extra or {})
    return boot_image(
        path,
        application=application,
        kernel=kernel,
        initrd=initrd,
        extra=files,
        size_mib=size_mib,
    )


def run(disks: list[Disk], *, until: str = SCRIPT_END, **options: Any) -> RunResult:
    """Run until the firmware has gone on, but not longer than an obviously wrong outcome."""
    return run_machine(disks, until=until, never=WRONG_OUTCOMES, **options)


def error_lines(text: str) -> list[str]:
    """virtboot's errors, in order. The progress display may stand before one on its line."""
    lines = (line.split("\r")[-1].rstrip() for line in text.split("\n"))
    return [line for line in lines if line.startswith("virtboot: error")]


def assert_error(result: RunResult, reason: str, *, number: int | None, path: str | None) -> None:
    """One error line that names device, file and reason, then the devices given back."""
    parts = ["virtboot: error"]
    parts += [device_name(number)] if number is not None else []
    parts += [path] if path is not None else []
    beginning = ": ".join(parts) + ": "
    errors = error_lines(result.text)
    assert len(errors) == 1, result.tail()
    assert errors[0].startswith(beginning), errors[0]
    assert reason in errors[0].removeprefix(beginning), errors[0]
    result.assert_ordered(errors[0], GIVEN_BACK, REFUSED, NEXT_OPTION)


def assert_firmware_drives_again(
    result: RunResult, disk: int, image: DiskImage, *, status: int = STATUS_LEGACY_RUNNING
) -> None:
    """After virtboot's driver the firmware's came up again and read the marker."""
    found = sessions(result.events, disk)
    assert own_driver_oks(result.events, disk), "virtboot never drove the disk"
    assert found[-1].status == status, statuses(result.events, disk)
    assert found[-1].covers(image.file_sectors(MARKER_PATH))
    result.assert_ordered(GIVEN_BACK, marker(disk))


@pytest.fixture(scope="module")
def broken_kernels_run(
    module_folder: Path, virtboot: Path, kernel: Path
) -> tuple[RunResult, list[DiskImage]]:
    """All broken kernels in one boot: each disk is a boot option, each fails, the next is tried."""
    good = kernel.read_bytes()
    images = [
        failing_image(
            module_folder / f"{case.name}.img",
            application=virtboot,
            number=number,
            kernel=case.make(good),
        )
        for number, case in enumerate(BROKEN_KERNELS)
    ]
    return run([Disk(image) for image in images]), images


@pytest.mark.xdist_group("broken_kernels")
@pytest.mark.parametrize("case", BROKEN_KERNELS, ids=lambda case: case.name)
def test_given_broken_kernel_when_started_then_it_is_refused_by_name_and_the_next_option_is_tried(
    case: BrokenKernel, broken_kernels_run: tuple[RunResult, list[DiskImage]]
) -> None:
    result, images = broken_kernels_run
    number = BROKEN_KERNELS.index(case)

    text = attempt(result, number)

    beginning = f"virtboot: error: {device_name(number)}: /{KERNEL_PATH}: "
    (error,) = error_lines(text)
    assert error.startswith(beginning), error
    assert case.reason in error.removeprefix(beginning), error
    assert f"{GIVEN_BACK}\n" in text
    assert REFUSED in text
    assert_firmware_drives_again(result, number, images[number])


def attempt(result: RunResult, number: int) -> str:
    """What was said while the firmware tried its boot option number `number`."""
    attempts = re.split(r"^BdsDxe: starting .*$", result.text, flags=re.M)[1:]
    assert len(attempts) > number + 1, "the firmware did not go on to the next boot option"
    return attempts[number]


def test_given_no_virtio_disk_when_started_then_virtboot_says_so_and_returns(
    folder: Path, virtboot: Path
) -> None:
    image = failing_image(folder / "ahci.img", application=virtboot)

    result = run([Disk(image, bus="ahci")])

    assert_error(result, "no virtio disk found", number=None, path=None)
    result.assert_ordered(GIVEN_BACK, marker(0))


def test_given_no_entry_on_any_disk_when_started_then_virtboot_says_so_and_the_next_disk_boots(
    folder: Path, virtboot: Path, program: Callable[[str], Path]
) -> None:
    images = [
        failing_image(
            folder / f"disk{number}.img",
            application=application,
            number=number,
            kernel=None,
            initrd=None,
            extra={DEFAULT_ENTRY: None},
        )
        for number, application in enumerate([virtboot, program("returns")])
    ]

    result = run([Disk(image) for image in images], until="returns: hello")

    (error,) = error_lines(result.text)
    assert "no boot entry" in error
    result.assert_ordered(error, GIVEN_BACK, REFUSED, NEXT_OPTION, "returns: hello")
    # virtboot had the second disk too; the firmware's driver read the next boot option from it.
    assert own_driver_oks(result.events, 1)
    last = sessions(result.events, 1)[-1]
    assert last.status == STATUS_LEGACY_RUNNING
    assert last.covers(images[1].file_sectors(BOOT_PATH))


def test_given_idle_disk_with_damaged_gpt_when_boot_fails_then_it_is_left_reset_idle_and_unwritten(
    folder: Path, virtboot: Path
) -> None:
    # No driver has the disk before virtboot comes; the firmware's would repair its table.
    damaged = boot_image(
        folder / "damaged.img",
        application=None,
        kernel=None,
        initrd=None,
        extra={DEFAULT_ENTRY: None},
        size_mib=70,
        damage_primary_gpt=True,
    )
    starter = failing_image(
        folder / "ahci.img", application=virtboot, extra={DEFAULT_ENTRY: None}
    )

    result = run([Disk(damaged, boot=False), Disk(starter, bus="ahci")])

    # Zero writes and unchanged images are checked in every run.
    assert_error(result, "no boot entry", number=None, path=None)
    result.assert_ordered(GIVEN_BACK, marker(0))
    assert statuses(result.events, 0) == [0, 1, 3, 11, 15, 0]


def test_given_failed_virtboot_when_next_option_exits_boot_services_then_no_exception(
    folder: Path, virtboot: Path, program: Callable[[str], Path]
) -> None:
    images = [
        failing_image(folder / "virtboot.img", application=virtboot, kernel=None),
        failing_image(
            folder / "exits.img", application=program("exit_boot_services"), number=1
        ),
    ]

    # An event that virtboot left behind would run code that is gone: no run may have an exception.
    result = run(
        [Disk(image) for image in images],
        until="exit-boot-services: called",
        until_reset=True,
        settle_s=1,
    )

    result.assert_ordered("not found", GIVEN_BACK, REFUSED, "exit-boot-services: called")
    assert "exit-boot-services: refused" not in result.text
    for number in (0, 1):
        assert sessions(result.events, number)[-1].status == STATUS_LEGACY_RUNNING
        assert statuses(result.events, number)[-1] == 0


UNUSABLE: Mapping[str, tuple[Tree, str, str]] = {
    "linux_missing": ({KERNEL_PATH: None}, f"/{KERNEL_PATH}", "not found"),
    "linux_is_a_folder": (
        {KERNEL_PATH: None, f"{KERNEL_PATH}/file": b"x"},
        f"/{KERNEL_PATH}",
        "is a folder",
    ),
    "initrd_missing": ({INITRD_PATH: None}, f"/{INITRD_PATH}", "not found"),
}


@pytest.mark.parametrize("key", sorted(UNUSABLE))
def test_given_entry_that_names_no_file_when_started_then_what_it_names_is_told(
    key: str, folder: Path, virtboot: Path, kernel: Path
) -> None:
    extra, path, reason = UNUSABLE[key]
    image = failing_image(
        folder / "disk.img", application=virtboot, kernel=kernel, extra=extra
    )

    result = run([Disk(image)])

    assert_error(result, reason, number=0, path=path)
    assert_firmware_drives_again(result, 0, image)


def test_given_read_error_in_the_middle_of_the_initrd_when_started_then_the_initrd_is_named(
    folder: Path, virtboot: Path, kernel: Path, payload: bytes
) -> None:
    image = failing_image(
        folder / "disk.img", application=virtboot, kernel=kernel, initrd=payload, size_mib=128
    )
    (sectors,) = image.file_sectors(INITRD_PATH)
    bad = (sectors.start + sectors.end) // 2

    result = run([Disk(image, errors=ReadErrors(bad))])

    # The kernel's stub runs by then and gives up too, which is no second error of virtboot's.
    assert_error(result, "read failed", number=0, path=f"/{INITRD_PATH}")
    (error,) = error_lines(result.text)
    assert "the device reports an I/O error" in error
    request = re.search(r"read of (\d+) bytes at sector (\d+)", error)
    assert request is not None, error
    n_bytes, sector = (int(number) for number in request.groups())
    assert sector <= bad < sector + n_bytes // 512, error
    reads = [event for event in of_disk(result.events, 0) if isinstance(event, Read)]
    assert any(read.sectors.start <= bad < read.sectors.end for read in reads)
    assert_firmware_drives_again(result, 0, image)


def test_given_memory_in_pieces_when_started_then_the_kernel_is_refused_and_the_next_option_tried(
    folder: Path, virtboot: Path, kernel: Path, payload: bytes, program: Callable[[str], Path]
) -> None:
    # The stub of Linux 6.1, when started here, unpacks the kernel over the firmware.
    images = [
        failing_image(folder / "scatter.img", application=program("scatter_pages")),
        failing_image(
            folder / "disk.img", application=virtboot, number=1, kernel=kernel, initrd=payload
        ),
    ]

    result = run([Disk(image) for image in images])

    reason = "not enough memory in one piece: the kernel needs "
    assert_error(result, reason, number=1, path=f"/{KERNEL_PATH}")
    (error,) = error_lines(result.text)
    (largest,) = map(int, re.findall(r"the largest piece has (\d+) MiB", error))
    assert 0 < largest < 32
    assert "give the machine more memory" in error
    result.assert_ordered("scatter-pages: done", error, GIVEN_BACK, REFUSED, marker(1))


# The last ones are about where Debian's kernel begins to fit.
@pytest.mark.parametrize("memory_mib", [112, 128, 142, 144, 146])
def test_given_little_memory_when_started_then_the_kernel_is_refused_or_runs(
    memory_mib: int, debian_image: DiskImage
) -> None:
    with Machine([Disk(debian_image)], memory_mib=memory_mib, never=["Kernel panic", CPU_EXCEPTION]) as machine:
        machine.wait_until(lambda text: "userspace reached" in text or REFUSED in text)
        text = machine.finish().text

    if "userspace reached" not in text:
        (error,) = error_lines(text)
        assert "not enough memory in one piece" in error
        assert GIVEN_BACK in text


def test_given_initrd_larger_than_memory_when_started_then_memory_is_the_reason(
    folder: Path, virtboot: Path, kernel: Path
) -> None:
    large = folder / "large"
    with large.open("wb") as file:
        file.truncate(300 * MIB)
    image = failing_image(
        folder / "disk.img", application=virtboot, kernel=kernel, initrd=large, size_mib=400
    )

    result = run([Disk(image)], memory_mib=256)

    # All files together need too much: whichever is named, the sizes are told.
    (error,) = error_lines(result.text)
    assert re.match(rf"virtboot: error: {device_name(0)}: /debian/\S+: .*memory", error), error
    result.assert_ordered(error, GIVEN_BACK, REFUSED, NEXT_OPTION)
    assert_firmware_drives_again(result, 0, image)
    # And before the kernel was read for nothing. Its ends may have been read with their neighbours.
    (kernel_sectors,) = image.file_sectors(KERNEL_PATH)
    quarter = (kernel_sectors.end - kernel_sectors.start) // 4
    middle = SectorRange(kernel_sectors.start + quarter, kernel_sectors.end - quarter)
    for read in own_driver_oks(result.events, 0)[0].reads:
        assert not (read.sectors.start < middle.end and middle.start < read.sectors.end), read


def test_given_device_that_refuses_features_ok_when_started_then_it_is_named_and_left_failed(
    folder: Path, virtboot: Path
) -> None:
    # Behind an IOMMU the device insists on feature 33; virtboot is told not to accept it.
    tree = {"virtboot.efi": virtboot, MARKER_PATH: marker(0) + "\r\n", DEFAULT_ENTRY: entry_text()}
    image = build_image(folder / "disk.img", tree, size_mib=70)
    disk = Disk(image, options={"iommu_platform": "on", "disable-legacy": "on"})

    with Machine([disk]) as machine:
        shell = Shell(machine)
        output = shell.run("fs0:\\virtboot.efi --decline-feature 33")
        shell.run("map -r")
        read_again = shell.run(f"type fs0:\\{MARKER_PATH}")
        result = machine.finish()

    (error,) = error_lines(output)
    assert error.startswith(f"virtboot: error: {device_name(0)}: "), output
    assert "FEATURES_OK" in error
    assert GIVEN_BACK in output
    assert marker(0) in read_again
    values = statuses(result.events, 0)
    assert values[-1] == STATUS_RUNNING, values
    refused = values.index(0, values.index(STATUS_RUNNING))
    attempt_values = values[refused : values.index(0, refused + 1)]
    assert STATUS_RUNNING not in attempt_values, "DRIVER_OK on a device that refused"
    assert any(value & STATUS_FAILED for value in attempt_values), attempt_values
