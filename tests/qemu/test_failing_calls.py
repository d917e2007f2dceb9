"""One firmware call fails, each in its turn, over a whole run of virtboot.efi.

programs/fail_calls.c runs virtboot hundreds of times in one boot. In run n the n-th call of a kind
is not carried out and returns EFI_OUT_OF_RESOURCES, until a run makes fewer calls. It checks after
each run:

- virtboot came back: with an error and a message "virtboot: error: ...", or with success and then
  its kernel ran and got the right initrd; with success if no call failed;
- pool memory, pages, DMA buffers, mappings and events that virtboot's own code got were given back,
  to the piece; free memory as a whole does not shrink, so no file stays open either;
- no image, no driver binding and no other handle is left behind or missing;
- the firmware's own driver has the disk again, and its first block reads as before.

In the sweeps "own-..." only calls made by virtboot's code fail, so the firmware has no excuse: no
write is allowed. In the sweeps "all-..." the calls of the firmware's drivers fail too, on both sides
of the take-over. Three things are the firmware's own then, and are allowed there and only there:

- a driver whose call fails while virtboot gives the disk back does not come up; one more
  ConnectController() must bring all back;
- the FAT driver loses memory; what virtboot holds is still counted to the piece;
- the partition driver takes a call that failed for a damaged partition table and "repairs" it
  through the firmware's own disk driver. The bytes stay the same, which is checked.

OpenProtocol() and HandleProtocol() fail for virtboot's code only: fail_calls.c says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from image import BOOT_PATH, SECTOR_BYTES, DiskImage, boot_image, build_image, entry_text
from machine import Disk, RunResult, run_machine
from qemu_trace import STATUS_LEGACY_RUNNING, STATUS_RUNNING, sessions, statuses, writes

# What fail_calls.c, as the kernel, expects its initrd to be.
INITRD = bytes((i * 7 + i // 256) & 0xFF for i in range(40_000))
GPT_SECTORS = 33  # header and entries; in front, after the protective MBR, and at the end
VIRTIO = 0  # the number of the virtio disk in the trace

# Buffers are mapped only for a device behind an IOMMU: there Map() can fail as well. A transitional
# one tells by its status which driver has it: the firmware's never sets FEATURES_OK.
BEHIND_AN_IOMMU = {"disable-legacy": "on", "iommu_platform": "on"}
TRANSITIONAL: dict[str, str] = {}

# Per sweep the points that there are at least, so that a hook that hooks nothing is noticed.
OWN_SWEEPS = {
    "own-allocations": 20,
    "own-handle-protocol": 10,
    "own-open-protocol": 1,
    "own-install-protocols": 3,
    "own-locate-handles": 3,
    "own-create-event": 1,
    "own-load-image": 1,
    "own-disconnect": 2,
    "own-pci-io": 20,
}
ALL_SWEEPS = {
    "all-allocations": 100,
    "all-install-protocols": 8,
    "all-locate-handles": 5,
    "all-create-event": 2,
}


def run_sweeps(
    folder: Path,
    virtboot: Path,
    fail_calls: Path,
    prefix: str,
    options: dict[str, str],
    *,
    may_change: bool,
) -> tuple[RunResult, DiskImage]:
    """Started from an AHCI disk, so that the virtio disk may come and go. It stays as it was."""
    tree = {
        BOOT_PATH: fail_calls,
        "virtboot.efi": virtboot,
        "sweeps.txt": prefix,
        "loader/loader.conf": "virtboot-disk-timeout 20\n",  # to be read, or not
    }
    ahci = build_image(folder / "ahci.img", tree, size_mib=70)
    virtio = boot_image(
        folder / "virtio.img",
        application=None,
        kernel=fail_calls,
        initrd=INITRD,
        entry=entry_text(options="as-kernel"),
        size_mib=70,
    )
    checksum = virtio.sha256()
    under_test = Disk(virtio, boot=False, may_change=may_change, options=options)
    disks = [Disk(ahci, bus="ahci"), under_test]
    result = run_machine(disks, until="fail-calls: done", limit_s=600)
    assert virtio.sha256() == checksum
    return result, virtio


def assert_all_clean(result: RunResult, sweeps: dict[str, int]) -> None:
    """Each sweep came to its end, no point of it was bad, and it had points."""
    said = [line for line in result.text.split("\n") if line.startswith("fail-calls: ")]
    bad = [line for line in said if re.search(r": n=\d+: ", line)]
    assert not bad, "\n".join(bad)
    clean = re.findall(r"^fail-calls: (\S+): (\d+) points, all clean$", "\n".join(said), re.M)
    points = {name: int(count) for name, count in clean}
    assert points.keys() == sweeps.keys(), "\n".join(said)
    for name, at_least in sweeps.items():
        assert points[name] >= at_least, f"{name}: only {points[name]} points"


def test_given_own_call_that_fails_when_run_ends_then_all_is_as_before_and_nothing_was_written(
    folder: Path, virtboot: Path, program: Callable[[str], Path]
) -> None:
    result, _ = run_sweeps(
        folder, virtboot, program("fail_calls"), "own-", BEHIND_AN_IOMMU, may_change=False
    )

    assert_all_clean(result, OWN_SWEEPS)
    assert statuses(result.events, VIRTIO)[-1] == STATUS_RUNNING


def test_given_any_call_that_fails_when_run_ends_then_all_is_as_before(
    folder: Path, virtboot: Path, program: Callable[[str], Path]
) -> None:
    # The check of every machine for writes is done here, with the firmware's repair left out.
    result, image = run_sweeps(
        folder, virtboot, program("fail_calls"), "all-", TRANSITIONAL, may_change=True
    )

    assert_all_clean(result, ALL_SWEEPS)
    assert statuses(result.events, VIRTIO)[-1] == STATUS_LEGACY_RUNNING
    assert_writes_are_the_firmwares(result, image)


def assert_writes_are_the_firmwares(result: RunResult, image: DiskImage) -> None:
    """Only in sessions of the firmware's driver, and only to partition tables."""
    n_sectors = image.size_bytes // SECTOR_BYTES
    firmwares = [
        session
        for session in sessions(result.events, VIRTIO)
        if session.status == STATUS_LEGACY_RUNNING
    ]
    for write in writes(result.events):
        assert any(write in session.events for session in firmwares), f"virtboot: {write}"
        first, end = write.sectors.start, write.sectors.end
        in_front = 1 <= first and end <= 1 + GPT_SECTORS
        at_the_end = n_sectors - GPT_SECTORS <= first and end <= n_sectors
        assert in_front or at_the_end, write
