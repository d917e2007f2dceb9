"""The main job: a stock Debian kernel, read by virtboot's own driver, reaches userspace."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from image import (
    INITRD_PATH,
    KERNEL_PATH,
    MIB,
    DiskImage,
    boot_image,
    damage_backup_gpt,
    entry_text,
)
from machine import Disk, RunResult, device_name, run_machine
from qemu_trace import (
    STATUS_RUNNING,
    assert_driver_is_virtboots,
    own_driver_oks,
    sessions,
    statuses,
    writes,
)

USERSPACE = "virtboot-init: userspace reached, Linux 6."
POWERED_OFF = "virtboot-init: powering off"
PAYLOAD_PATH = "debian/payload.img"
FILES = (KERNEL_PATH, INITRD_PATH)
NO_ENTRY = {"loader/entries/debian.conf": None}
BLOCKS_OF_4096 = {"logical_block_size": 4096, "physical_block_size": 4096}


def boot(*disks: Disk, **options: Any) -> RunResult:
    """Run until Linux has powered the machine off, as it must."""
    result = run_machine(disks, never=["BdsDxe: failed"], **options)
    result.assert_ordered(USERSPACE, POWERED_OFF)
    return result


def boot_from_elsewhere(image: DiskImage, folder: Path, virtboot: Path) -> RunResult:
    """virtboot is on an AHCI disk, and the firmware has not connected the virtio disk."""
    starter = boot_image(
        folder / "ahci.img", application=virtboot, kernel=None, initrd=None, extra=NO_ENTRY
    )
    return boot(Disk(image, boot=False), Disk(starter, bus="ahci"))


def assert_taken(
    result: RunResult, number: int, size_mib: int, block_bytes: int, mode: str
) -> None:
    """virtboot names each disk it drives, with what the device says of itself."""
    line = f"virtboot: {device_name(number)}: {size_mib} MiB, {block_bytes}-byte blocks, {mode}, "
    assert any(said.startswith(line) for said in result.virtboot_lines)


def assert_booting(result: RunResult, number: int, title: str, file: str = "debian.conf") -> None:
    """The line that says what is started, from where."""
    line = f'virtboot: booting "{title}" ({file}) from {device_name(number)}'
    assert line in result.virtboot_lines


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_given_virtio_disk_when_virtboot_started_from_it_then_kernel_and_initrds_reach_userspace(
    machine: str, folder: Path, virtboot: Path, kernel: Path, initramfs: Path, payload: bytes
) -> None:
    entry = entry_text(
        initrds=[f"/{INITRD_PATH}", f"/{PAYLOAD_PATH}"],
        options="console=ttyS0,115200 loglevel=4 panic=-1 virtboot.test=main,job",
    )
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=kernel,
        initrd=initramfs,
        entry=entry,
        extra={PAYLOAD_PATH: payload},
    )

    result = boot(Disk(image), machine=machine)

    result.assert_ordered(
        "virtboot 0.1.0\n",
        f"virtboot: {device_name(0)}: 128 MiB, 512-byte blocks, writable, MSI-X with 2 vectors\n",
        f'virtboot: booting "Debian 12 (cloud kernel)" (debian.conf) from {device_name(0)}\n',
        f"\rvirtboot: reading /{KERNEL_PATH} ",
        f"\rvirtboot: reading /{INITRD_PATH} ",
        f"\rvirtboot: reading /{PAYLOAD_PATH} ",
        "virtboot: read ",
        USERSPACE,
        f"virtboot-init: disk vda {image.size_bytes}\n",
        "virtboot-init: payload ok\n",
        "virtboot-init: second initrd present\n",
    )
    assert "virtboot.test=main,job" in linux_command_line(result)
    assert "virtboot: devices given back" not in result.text
    assert "virtboot: error" not in result.text
    session = assert_driver_is_virtboots(result.events, result.text, image, (*FILES, PAYLOAD_PATH))
    assert 0 < session.notifications <= len(session.reads)
    assert_progress(result, KERNEL_PATH)
    assert_time_is_plausible(result)
    # Firmware's legacy driver, virtboot's bring-up in eight steps, its reset, Linux from reset.
    assert statuses(result.events, 0)[:10] == [0, 1, 3, 7, 0, 1, 3, 11, 15, 0]


def assert_progress(result: RunResult, path: str) -> None:
    """From 0 to 100 and never back, with steps between: the file is read in several pieces."""
    shown = re.findall(rf"\rvirtboot: reading /{re.escape(path)} +(\d+) %", result.text)
    percentages = [int(text) for text in shown]
    assert percentages == sorted(percentages), percentages
    assert (percentages[0], percentages[-1]) == (0, 100), percentages
    assert len(set(percentages)) >= 4, percentages


def assert_time_is_plausible(result: RunResult) -> None:
    """What virtboot says it took is part of what the run took, and reading takes some time."""
    match = re.search(r"^virtboot: read .*, (\d+) ms$", result.text, re.M)
    assert match is not None
    assert 0 < int(match.group(1)) < result.seconds * 1000


def linux_command_line(result: RunResult) -> str:
    """The kernel's own account of its options."""
    match = re.search(r"^virtboot-init: cmdline (.*)$", result.text, re.M)
    assert match is not None
    return match.group(1)


@pytest.mark.parametrize("access_platform", ["off", "on"])
def test_given_modern_only_device_when_booted_then_virtboots_driver_reads_the_kernel(
    access_platform: str, debian_image: DiskImage
) -> None:
    """With `iommu_platform` the device takes no features without VIRTIO_F_ACCESS_PLATFORM.

    Checks: RSVD-3, RSVD-4
    """
    options = {"disable-legacy": "on", "iommu_platform": access_platform}

    result = boot(Disk(debian_image, options=options))

    assert_driver_is_virtboots(
        result.events, result.text, debian_image, FILES, transitional=False
    )


# QEMU offers INDIRECT_DESC, EVENT_IDX and RING_RESET unless told otherwise, so all other boots accept
# them, and use the first two. A queue of 4 holds one direct chain of a request, or four in tables.
RING_OPTIONS = {
    "none": {"indirect_desc": "off", "event_idx": "off", "queue_reset": "off"},
    "tables-in-a-queue-of-4": {"queue-size": 4, "event_idx": "off"},
    "events-in-a-queue-of-4": {"queue-size": 4, "indirect_desc": "off"},
}


@pytest.mark.parametrize("name", sorted(RING_OPTIONS))
def test_given_fewer_ring_features_when_booted_then_virtboots_driver_reads_the_kernel(
    name: str, debian_image: DiskImage
) -> None:
    result = boot(Disk(debian_image, options=RING_OPTIONS[name]))

    assert_driver_is_virtboots(result.events, result.text, debian_image, FILES)


def test_given_qemus_default_notification_path_when_booted_then_every_request_is_answered(
    debian_image: DiskImage,
) -> None:
    result = boot(Disk(debian_image, ioeventfd=True))

    assert_driver_is_virtboots(
        result.events, result.text, debian_image, FILES, exact_notifications=False
    )


def test_given_virtboot_on_an_ahci_disk_when_started_then_kernel_comes_from_the_virtio_disk(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    image = boot_image(
        folder / "virtio.img", application=None, kernel=kernel, initrd=initramfs
    )

    result = boot_from_elsewhere(image, folder, virtboot)

    assert_booting(result, 0, "Debian 12 (cloud kernel)")
    assert_driver_is_virtboots(result.events, result.text, image, FILES)


@pytest.mark.parametrize("n_disks", [2, 5])
def test_given_several_virtio_disks_when_only_the_last_has_an_entry_then_it_is_booted(
    n_disks: int, folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    images = [
        boot_image(
            folder / f"disk{number}.img",
            application=virtboot if number == 0 else None,
            kernel=None,
            initrd=None,
            extra=NO_ENTRY,
            size_mib=70 + number,
        )
        for number in range(n_disks - 1)
    ]
    last = boot_image(folder / "last.img", application=None, kernel=kernel, initrd=initramfs)

    result = boot(*(Disk(image) for image in [*images, last]))

    for number in range(n_disks - 1):
        assert_taken(result, number, 70 + number, 512, "writable")
        # Reset before Linux came, though nothing was booted from it.
        assert own_driver_oks(result.events, number)[0].end is not None
    assert_taken(result, n_disks - 1, 128, 512, "writable")
    assert_booting(result, n_disks - 1, "Debian 12 (cloud kernel)")
    assert_driver_is_virtboots(result.events, result.text, last, FILES, disk=n_disks - 1)


def test_given_entries_on_all_disks_when_started_from_the_third_then_the_third_is_booted(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    own = 2
    disks = []
    for number in range(5):
        image = boot_image(
            folder / f"disk{number}.img",
            application=virtboot if number == own else None,
            kernel=kernel if number == own else None,
            initrd=initramfs if number == own else None,
            entry=entry_text(title=f"Disk {number}"),
        )
        disks.append(Disk(image, boot=number == own))

    result = boot(*disks)

    assert_booting(result, own, f"Disk {own}")
    assert_driver_is_virtboots(result.events, result.text, disks[own].image, FILES, disk=own)


def test_given_4096_byte_blocks_when_booted_then_userspace_is_reached(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    # FAT32 with 4096-byte sectors needs 65525 clusters of at least one sector.
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=kernel,
        initrd=initramfs,
        size_mib=320,
        block_bytes=4096,
    )

    result = boot(Disk(image, options=BLOCKS_OF_4096))

    assert_taken(result, 0, 320, 4096, "writable")
    session = assert_driver_is_virtboots(result.events, result.text, image, FILES)
    assert all(read.sector % 8 == 0 and read.n_sectors % 8 == 0 for read in session.reads)


def test_given_read_only_disk_when_booted_then_userspace_is_reached(
    debian_image: DiskImage,
) -> None:
    result = boot(Disk(debian_image, read_only=True))

    assert_taken(result, 0, 128, 512, "read-only")
    assert_driver_is_virtboots(result.events, result.text, debian_image, FILES)


def test_given_6_gib_of_memory_when_booted_then_userspace_is_reached(
    debian_image: DiskImage,
) -> None:
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 2048 * MIB:
        pytest.fail("this test needs a host with 2 GiB of memory")

    result = boot(Disk(debian_image), memory_mib=6144)

    assert_driver_is_virtboots(result.events, result.text, debian_image, FILES)


ENTRIES: Mapping[str, bytes] = {
    "keys_in_any_order_with_comments_and_unknown_keys": (
        b"# initrd /debian/not-this-one.img\n"
        b"\n"
        b"options console=ttyS0,115200 loglevel=4\n"
        b"initrd\t/debian/initrd.img\n"
        b"sort-key zzz\n"
        b"version 6.1\n"
        b"machine-id 0123456789abcdef0123456789abcdef\n"
        b"x-nobody-knows this = that\n"
        b"   linux   /debian/vmlinuz   \n"
        b"title\t Odd but right\n"
        b"options panic=-1 virtboot.test=second-line"
    ),
    "windows_line_ends": (
        b"title Odd but right\r\n"
        b"# a comment\r\n"
        b"linux /debian/vmlinuz\r\n"
        b"initrd /debian/initrd.img\r\n"
        b"options console=ttyS0,115200 loglevel=4\r\n"
        b"options panic=-1 virtboot.test=second-line\r\n"
    ),
}


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_given_unusual_entry_when_booted_then_kernel_initrd_and_options_are_found(
    name: str, folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=kernel,
        initrd=initramfs,
        entry=ENTRIES[name],
    )

    result = boot(Disk(image))

    assert_booting(result, 0, "Odd but right")
    options = "console=ttyS0,115200 loglevel=4 panic=-1 virtboot.test=second-line"
    assert linux_command_line(result).endswith(options)


def test_given_entry_without_initrd_when_booted_then_kernel_runs_and_what_was_read_is_reported(
    folder: Path, virtboot: Path, kernel: Path
) -> None:
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=kernel,
        initrd=None,
        entry=entry_text(initrds=[], options="console=ttyS0,115200 panic=-1"),
    )

    # No initrd, no root: the kernel can only panic, and says so.
    result = run_machine([Disk(image)], until="Kernel panic - not syncing: VFS")

    assert_driver_is_virtboots(result.events, result.text, image, [KERNEL_PATH])


def test_given_damaged_primary_gpt_when_virtboot_is_elsewhere_then_it_boots_and_nobody_writes(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    # The firmware finds the ESP by the backup, and repairs whatever it may write to. virtboot is
    # on another disk, because the firmware's own driver would write before virtboot is started.
    image = boot_image(
        folder / "virtio.img",
        application=None,
        kernel=kernel,
        initrd=initramfs,
        damage_primary_gpt=True,
    )

    # Zero writes and an unchanged image are checked in every run.
    result = boot_from_elsewhere(image, folder, virtboot)

    assert_driver_is_virtboots(result.events, result.text, image, FILES)


def test_given_damaged_backup_gpt_when_virtboot_is_elsewhere_then_it_boots_and_nobody_writes(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    image = boot_image(
        folder / "virtio.img", application=None, kernel=kernel, initrd=initramfs
    )
    damage_backup_gpt(image)

    # Zero writes and an unchanged image are checked in every run.
    result = boot_from_elsewhere(image, folder, virtboot)

    assert_driver_is_virtboots(result.events, result.text, image, FILES)


def test_given_damaged_primary_gpt_when_virtboot_started_from_it_then_only_the_firmware_wrote(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=kernel,
        initrd=initramfs,
        damage_primary_gpt=True,
    )

    result = boot(Disk(image, may_change=True))

    session = assert_driver_is_virtboots(result.events, result.text, image, FILES)
    # The firmware's driver repairs the table before virtboot is started, with or without it.
    assert writes(result.events), "no repair: the damage does not do what it is for"
    assert all(write.place < session.start for write in writes(result.events))


def test_given_damaged_gpt_on_a_disk_that_cannot_be_driven_when_another_boots_then_nobody_writes(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    # A disk behind an IOMMU takes no driver that declines ACCESS_PLATFORM.
    image = boot_image(
        folder / "debian.img",
        application=virtboot,
        kernel=kernel,
        initrd=initramfs,
        extra={"loader/loader.conf": b"virtboot-decline-feature 33\n"},
    )
    # No driver has the second disk before virtboot comes; the firmware's would repair it.
    damaged = boot_image(
        folder / "damaged.img",
        application=None,
        kernel=None,
        initrd=None,
        extra=NO_ENTRY,
        damage_primary_gpt=True,
    )

    # Zero writes and unchanged images are checked in every run.
    behind = {"iommu_platform": "on", "disable-legacy": "on"}
    result = boot(Disk(image), Disk(damaged, options=behind, boot=False))

    assert f"virtboot: error: {device_name(1)}: cannot be driven" in result.text
    assert_driver_is_virtboots(result.events, result.text, image, FILES)


def test_given_program_that_asks_for_initrds_in_every_way_when_started_then_the_answers_are_right(
    folder: Path, virtboot: Path, program: Any
) -> None:
    # Two files need padding, and the last one is not padded: 5 + 3, 6 + 2, 7.
    initrds = {"debian/one": b"first", "debian/two": b"second", "debian/three": b"seventh"}
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=program("ask_initrd"),
        initrd=None,
        entry=entry_text(initrds=[f"/{path}" for path in initrds], options="ask me"),
        extra=initrds,
        size_mib=70,
    )

    result = run_machine([Disk(image)], until="devices given back", never=["BdsDxe: failed"])

    untouched = "EE" * 32
    loaded = b"first\0\0\0second\0\0seventh".hex().upper()
    answers = [line for line in result.text.split("\n") if line.startswith("ask-initrd: ")]
    assert answers == [
        "ask-initrd: options: 14 bytes, terminated",
        f"ask-initrd: no buffer: Buffer Too Small, 23 bytes: {untouched}",
        f"ask-initrd: no buffer, but a length: Buffer Too Small, 23 bytes: {untouched}",
        f"ask-initrd: one byte less: Buffer Too Small, 23 bytes: {untouched}",
        f"ask-initrd: boot policy: Unsupported, 32 bytes: {untouched}",
        f"ask-initrd: more than needed: Success, 23 bytes: {loaded}{untouched[len(loaded) :]}",
        f"ask-initrd: once more: Not Found, 32 bytes: {untouched}",
    ]
    result.assert_ordered(*answers, f"virtboot: /{KERNEL_PATH} came back\n")
    assert "virtboot: error" not in result.text


def test_given_kernel_that_only_exits_boot_services_when_started_then_every_device_is_reset(
    folder: Path, virtboot: Path, initramfs: Path, program: Any
) -> None:
    image = boot_image(
        folder / "disk.img",
        application=virtboot,
        kernel=program("exit_boot_services"),
        initrd=initramfs,
    )
    bystander = boot_image(
        folder / "other.img", application=None, kernel=None, initrd=None, extra=NO_ENTRY
    )

    result = run_machine(
        [Disk(image), Disk(bystander)],
        until="exit-boot-services: called",
        until_reset=True,
        settle_s=1,
    )

    assert "exit-boot-services: refused" not in result.text
    for number in (0, 1):
        last = sessions(result.events, number)[-1]
        assert last.status == STATUS_RUNNING, "virtboot's driver was the last one"
        assert last.end is not None, "the device is still running after ExitBootServices"
        assert statuses(result.events, number)[-1] == 0
        assert all(event.place <= last.end for event in result.reads_and_notifications(number))
