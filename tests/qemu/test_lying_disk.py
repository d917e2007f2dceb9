"""Disks that lie to virtboot's driver: each is named and let go of, and the good one boots.

For each of them a process answers QEMU's vhost-user-blk device (lying_back_end.py). Many are in one
machine, in front of the good disk, and virtboot is started from an AHCI disk: so it looks at all of
them before it comes to the good one. The firmware's driver, which many of these lies would hang,
never has them, because they are not in the boot order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from image import (
    BOOT_PATH,
    ENTRY_FOLDER,
    INITRD_PATH,
    KERNEL_PATH,
    Content,
    DiskImage,
    SectorRange,
    boot_image,
    build_image,
    entry_text,
)
from lie_cases import (
    ENTRIES,
    GROUPS,
    ID_TOO_LARGE,
    NO_ANSWER,
    PAGE_BYTES,
    RING_FEATURES,
    SILENT,
    TOO_SHORT,
    WRONG_IDX,
    Row,
    failed,
    fails,
    harmless,
)
from lying_back_end import FIRMWARE, LINUX, VIRTBOOT, Report, driver_of
from lying_disk import LyingDisk
from machine import Disk, RunResult, device_name, run_machine
from qemu_trace import (
    Event,
    Read,
    ReadReport,
    assert_driver_is_virtboots,
    of_disk,
    own_driver_oks,
    statuses,
)
from test_boot import FILES, NO_ENTRY, PAYLOAD_PATH, POWERED_OFF, USERSPACE, boot
from test_errors import GIVEN_BACK, NEXT_OPTION, REFUSED, error_lines
from test_harness import assert_ends_with_its_holder
from vhost_user_blk import Session

# Of processor time a boot with fourteen liars takes 10 s, and a minute on the fast clock 40 s. Each of
# the liars is a process of its own, and other machines run beside this one.
LIMIT_S = 600

# 30 s of the guest's time take about 10 s. More would be too little for Linux to get anywhere.
FAST_CLOCK = ("-icount", "shift=7,sleep=off")
REQUEST_LIMIT_US = 30_000_000

# A disk whose configuration is refused: RESET, ACKNOWLEDGE, DRIVER, FAILED, and again RESET.
UNDRIVEN = [0, 1, 3, 131, 0]

# QEMU about a back end that has died, none of it about the driver.
BACK_END_GONE = (
    "Unexpected end-of-file before all data were read",
    r"Failed to set msg fds\.",
    r"vhost VQ 0 ring restore failed: .*",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a machine, and what each lying disk in it has seen."""

    result: RunResult
    reports: Sequence[Report]


def lying_tree() -> dict[str, Content]:
    """Two entries that are read separately from all else: fillers keep their sectors apart."""
    tree: dict[str, Content] = {
        f"{ENTRY_FOLDER}/{name}": "# nothing\n" * (line - 1) + "linux /../vmlinuz\n"
        for name, line in ENTRIES.items()
    }
    tree["a-filler"] = tree[f"{ENTRY_FOLDER}/entry-1.filler"] = bytes(2 * PAGE_BYTES)
    return tree


@pytest.fixture(scope="module")
def lying_image(module_folder: Path) -> DiskImage:
    """What all lying disks have on them."""
    return build_image(module_folder / "lying.img", lying_tree(), size_mib=70)


@pytest.fixture(scope="module")
def starter(module_folder: Path, virtboot: Path) -> Disk:
    """The disk that virtboot is started from, which is no virtio disk."""
    image = boot_image(
        module_folder / "starter.img",
        application=virtboot,
        kernel=None,
        initrd=None,
        extra=NO_ENTRY,
        size_mib=70,
    )
    return Disk(image, bus="ahci")


def liar(row: Row, image: DiskImage) -> LyingDisk:
    """The disk of a row."""
    sectors = image.file_sectors(row.since)[0] if row.since else None
    return LyingDisk(image, lie=row.lie, sectors=sectors, **row.plan)


def run_behind(
    rows: Sequence[Row],
    image: DiskImage,
    others: Sequence[Disk],
    run: Callable[..., RunResult],
    **options: Any,
) -> Outcome:
    """A machine with the lying disks in front of the others; `run` is boot() or another such."""
    with ExitStack() as stack:
        liars = [stack.enter_context(liar(row, image)) for row in rows]
        result = run(*(each.disk() for each in liars), *others, limit_s=LIMIT_S, **options)
        return Outcome(result, [each.report() for each in liars])


def boot_behind(
    rows: Sequence[Row], image: DiskImage, good: DiskImage, starter: Disk, **options: Any
) -> Outcome:
    """Linux comes from the good disk, whatever the ones in front of it say."""
    others = [Disk(good, boot=False), starter]
    outcome = run_behind(rows, image, others, boot, **options)
    result = outcome.result
    assert_driver_is_virtboots(result.events, result.text, good, FILES, disk=len(rows))
    return outcome


def errors_about(text: str, number: int) -> list[str]:
    """virtboot's errors about one disk, without its name."""
    beginning = f"virtboot: error: {device_name(number)}: "
    lines = [line for line in error_lines(text) if line.startswith(beginning)]
    return [line.removeprefix(beginning) for line in lines]


def assert_errors(text: str, number: int, patterns: Sequence[str]) -> None:
    """These errors about one disk, and no others."""
    errors = errors_about(text, number)
    assert len(errors) == len(patterns), errors
    for error, pattern in zip(errors, patterns, strict=True):
        assert re.fullmatch(pattern, error), f"{error}\nis not\n{pattern}"


def assert_told(report: Report) -> Session:
    """virtboot's driver, and nobody else, has heard the lie. Returns its session."""
    (session,) = report.of(VIRTBOOT)
    assert session.lies > 0, "the lie was never told"
    assert sum(each.lies for each in report.sessions) == session.lies
    return session


def assert_driven_well(report: Report, plan: Mapping[str, Any]) -> None:
    """Nobody wrote, the device has nothing to say against virtboot's driver, and that took all that
    the plan has more on offer."""
    assert sum(session.writes for session in report.sessions) == 0
    for session in report.of(VIRTBOOT):
        assert session.complaints == []
        assert session.is_reset
        for feature in plan.get("more_features", ()):
            assert session.features >> feature & 1, f"{feature!r} was not accepted"


def before_kernel(result: RunResult, good: DiskImage) -> list[Event]:
    """What happened before the good disk's kernel was read, so none of it is Linux's."""
    n_good = next(n for n, disk in enumerate(result.disks) if disk.image == good)
    middle = middle_of(good, KERNEL_PATH)
    reads = [event for event in of_disk(result.events, n_good) if isinstance(event, Read)]
    reading = next(read for read in reads if read.sectors.start <= middle.start < read.sectors.end)
    return [event for event in result.events if event.place < reading.place]


def assert_broken_off(result: RunResult, number: int, good: DiskImage) -> None:
    """The device was reset before anything else was done."""
    session = own_driver_oks(before_kernel(result, good), number)[0]
    assert session.end is not None, "not reset before the kernel was read"


def middle_of(image: DiskImage, name: str) -> SectorRange:
    """One sector that is read with nothing but this file."""
    (sectors,) = image.file_sectors(name)
    middle = (sectors.start + sectors.end) // 2
    return SectorRange(middle, middle + 1)


class GroupBoots:
    """One boot for each group, by the test that asks for it first. One that failed has failed."""

    def __init__(self, boot_rows: Callable[[Sequence[Row]], Outcome]) -> None:
        self._boot_rows = boot_rows
        self._ended: dict[str, Outcome | AssertionError] = {}

    def of(self, group: str) -> Outcome:
        """What became of the machine with this group's disks."""
        if group not in self._ended:
            try:
                self._ended[group] = self._boot_rows(GROUPS[group])
            except AssertionError as error:
                self._ended[group] = error
        ended = self._ended[group]
        if isinstance(ended, AssertionError):
            raise ended
        return ended


@pytest.fixture(scope="module")
def group_boots(lying_image: DiskImage, debian_image: DiskImage, starter: Disk) -> GroupBoots:
    """Shared by all rows; the mark keeps those of a group in one process of pytest-xdist's."""
    return GroupBoots(lambda rows: boot_behind(rows, lying_image, debian_image, starter))


@pytest.mark.parametrize(
    ("group", "row"),
    [
        pytest.param(group, row, id=row.name, marks=pytest.mark.xdist_group(f"lies_{group}"))
        for group, rows in GROUPS.items()
        for row in rows
    ],
)
def test_given_disk_that_lies_when_another_has_a_kernel_then_it_is_named_and_the_other_boots(
    group: str, row: Row, group_boots: GroupBoots, debian_image: DiskImage
) -> None:
    outcome = group_boots.of(group)

    number = GROUPS[group].index(row)
    text, report = outcome.result.text, outcome.reports[number]
    assert_errors(text, number, row.errors)
    if row.line is not None:
        assert f"virtboot: {device_name(number)}: {row.line}\n" in text
    assert_driven_well(report, row.plan)
    assert bool(report.of(VIRTBOOT)) == (not row.undriven)
    if row.undriven:
        assert statuses(before_kernel(outcome.result, debian_image), number) == UNDRIVEN
    if row.lie is not None:
        session = assert_told(report)
        assert session.config_reads > 0 or row.lie != "config_changes", "QEMU never asked"
    if group == "queue":
        assert_broken_off(outcome.result, number, debian_image)


def test_given_lying_disks_when_boot_services_end_then_each_has_been_reset(
    folder: Path, lying_image: DiskImage, starter: Disk, program: Callable[[str], Path]
) -> None:
    # Linux would reset them too, so another program stands in its place.
    good = boot_image(
        folder / "good.img",
        application=None,
        kernel=program("exit_boot_services"),
        initrd=None,
        entry=entry_text(initrds=[]),
        size_mib=70,
    )
    rows = [
        fails("idx_far_away", WRONG_IDX),
        fails("status_1", "the device reports an I/O error, status 0x1"),
        harmless("descriptors_overwritten"),
        harmless("notifications_not_wanted"),
    ]

    outcome = run_behind(
        rows, lying_image, [Disk(good, boot=False), starter], exit_boot_services
    )

    for number, (row, report) in enumerate(zip(rows, outcome.reports, strict=True)):
        assert_errors(outcome.result.text, number, row.errors)
        assert_told(report)
        assert_driven_well(report, row.plan)
        assert statuses(outcome.result.events, number) == [0, 1, 3, 11, 15, 0]


def exit_boot_services(*disks: Disk, **options: Any) -> RunResult:
    """Until all disks are reset: the program says something before it calls ExitBootServices()."""
    result = run_machine(disks, until="exit-boot-services: called", until_reset=True, **options)
    assert "exit-boot-services: refused" not in result.text
    return result


@pytest.mark.parametrize(
    ("path", "lie", "what"),
    [
        (KERNEL_PATH, "idx_far_away", WRONG_IDX),
        (INITRD_PATH, "only_the_status_written", f"{TOO_SHORT} 0x1"),
    ],
    ids=["kernel", "initrd"],
)
def test_given_lie_in_the_middle_of_a_file_when_booted_from_that_disk_then_the_next_option_boots(
    path: str, lie: str, what: str, debian_image: DiskImage
) -> None:
    # The same bytes on both disks: neither may be taken for the other. A stub that failed keeps the
    # kernel that it had unpacked, anywhere: there must be a piece for the second one whatever happens.
    with LyingDisk(debian_image, lie=lie, sectors=middle_of(debian_image, path)) as lying:
        result = run_machine([lying.disk(boot=True), Disk(debian_image)], memory_mib=512)
        report = lying.report()

    assert_errors(result.text, 0, [f"/{path}: {failed(what)}"])
    result.assert_ordered(
        f"from {device_name(0)}\n",
        "virtboot: error",
        GIVEN_BACK,
        REFUSED,
        NEXT_OPTION,
        f"from {device_name(1)}\n",
        USERSPACE,
        POWERED_OFF,
    )
    # The firmware's driver before and after the liar's exposure, then virtboot from the other disk.
    drivers = [driver_of(session.features) for session in report.sessions]
    assert drivers == [FIRMWARE, VIRTBOOT, FIRMWARE, VIRTBOOT, LINUX]
    assert [session.lies for session in report.sessions] == [0, 1, 0, 0, 0]
    assert_driven_well(report, {})


def test_given_virtboot_on_the_lying_disk_when_its_entries_cannot_be_read_then_the_other_disk_boots(
    folder: Path, virtboot: Path, debian_image: DiskImage
) -> None:
    tree = {**lying_tree(), BOOT_PATH: virtboot}
    image = build_image(folder / "lying.img", tree, size_mib=70)
    row = fails("id_right_in_its_low_half_only", f"{ID_TOO_LARGE} 0x100[0-9A-F]{{2}}")

    with liar(row, image) as lying:
        result = boot(lying.disk(boot=True), Disk(debian_image, boot=False))
        report = lying.report()

    assert_errors(result.text, 0, row.errors)
    assert_driver_is_virtboots(result.events, result.text, debian_image, FILES, disk=1)
    drivers = [driver_of(session.features) for session in report.sessions]
    assert drivers == [FIRMWARE, VIRTBOOT, LINUX]
    assert_told(report)
    assert_driven_well(report, row.plan)


def boot_to_userspace(*disks: Disk, **options: Any) -> RunResult:
    """Linux waits for a dead disk for ever, so not until it has powered off."""
    return run_machine(disks, until=USERSPACE, never=["BdsDxe: failed"], **options)


@pytest.mark.parametrize("row", SILENT, ids=lambda row: row.name)
def test_given_disk_that_falls_silent_when_another_has_a_kernel_then_it_boots_after_the_deadline(
    row: Row, lying_image: DiskImage, debian_image: DiskImage, starter: Disk
) -> None:
    outcome = run_behind(
        [row],
        lying_image,
        [Disk(debian_image, boot=False), starter],
        boot_to_userspace,
        extra_arguments=FAST_CLOCK,
        tolerated=() if row.lie == "never_answered" else BACK_END_GONE,
    )

    result, (report,) = outcome.result, outcome.reports
    assert_errors(result.text, 0, row.errors)
    if row.lie == "never_answered":
        # Reset once, and asked again.
        assert [session.lies > 0 for session in report.of(VIRTBOOT)] == [True, True]
    else:
        assert report.died_under == VIRTBOOT
    assert_broken_off(result, 0, debian_image)
    assert_driver_is_virtboots(result.events, result.text, debian_image, FILES, disk=1)
    waited = re.search(NO_ANSWER, errors_about(result.text, 0)[0])
    assert waited is not None
    assert REQUEST_LIMIT_US <= int(waited[1], 16) < REQUEST_LIMIT_US * 1.01


def test_given_honest_back_end_when_booted_from_it_then_all_that_is_read_is_right(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path, payload: bytes
) -> None:
    # What is said about liars is worth nothing if the same process cannot be honest.
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=kernel,
        initrd=initramfs,
        entry=entry_text(initrds=[f"/{INITRD_PATH}", f"/{PAYLOAD_PATH}"]),
        extra={PAYLOAD_PATH: payload},
    )

    with LyingDisk(image, **RING_FEATURES) as honest:
        result = boot(honest.disk(boot=True))
        report = honest.report()

    result.assert_ordered(USERSPACE, "virtboot-init: payload ok\n")
    drivers = [driver_of(session.features) for session in report.sessions]
    assert drivers == [FIRMWARE, VIRTBOOT, LINUX]
    assert_driven_well(report, RING_FEATURES)
    (session,) = report.of(VIRTBOOT)
    assert session.requests == ReadReport.find(result.text).n_requests
    with pytest.raises(AssertionError, match="never told"):
        assert_told(report)


HOLD_A_BACK_END = """\
import sys, time
from pathlib import Path
from image import DiskImage
from lying_disk import LyingDisk

lying = LyingDisk(DiskImage(Path(sys.argv[1]), 0))
print(lying.pid, flush=True)
time.sleep(60)
"""


def test_given_running_back_end_when_its_test_process_is_killed_then_it_ends_too(
    lying_image: DiskImage,
) -> None:
    assert_ends_with_its_holder(HOLD_A_BACK_END, lying_image)
