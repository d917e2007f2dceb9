"""The harness itself: a proof is worth nothing if it cannot fail."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from image import (
    BOOT_PATH,
    MIB,
    ROOT,
    DiskImage,
    SectorRange,
    boot_image,
    build_image,
    payload_initramfs,
)
from machine import SHELL_COUNTDOWN, Disk, Machine, MachineError, Shell, plain_text, run_machine
from qemu_trace import (
    Notify,
    Read,
    RequestDone,
    TraceError,
    assert_driver_is_virtboots,
    parse_trace,
    sessions,
    statuses,
)

# Two disks. At power-on QEMU resets the last one first.
TRACE = """\
virtio_set_status vdev 0xb val 0
virtio_set_status vdev 0xa val 0
virtio_set_status vdev 0xa val 1
virtio_set_status vdev 0xa val 3
virtio_set_status vdev 0xa val 11
virtio_set_status vdev 0xa val 15
virtio_queue_notify vdev 0xa n 0 vq 0xa0
virtqueue_pop vq 0xa0 elem 0xe0 in_num 2 out_num 1
virtio_blk_handle_read vdev 0xa req 0xe0 sector 8 nsectors 16
virtio_blk_rw_complete vdev 0xa req 0xe0 ret 0
virtio_blk_req_complete vdev 0xa req 0xe0 status 0
virtio_set_status vdev 0xa val 0
virtio_set_status vdev 0xa val 0
"""


def test_given_trace_when_parsed_then_events_carry_their_disk_and_sessions_their_bounds() -> None:
    events = parse_trace(TRACE, n_disks=2)

    assert statuses(events, 0) == [0, 1, 3, 11, 15, 0]
    assert statuses(events, 1) == [0]
    (session,) = sessions(events, 0)
    assert (session.status, session.start, session.end) == (15, 5, 11)
    assert session.reads == [Read(8, 0, 8, 16)]
    assert [type(event) for event in session.events][0::4] == [Notify, RequestDone]
    assert session.covers([SectorRange(10, 20), SectorRange(20, 24)])
    assert not session.covers([SectorRange(10, 25)])
    assert not session.covers([SectorRange(7, 9)])


def test_given_another_number_of_devices_when_parsed_then_it_is_refused() -> None:
    with pytest.raises(TraceError, match="1 virtio disks, but 2"):
        parse_trace(TRACE, n_disks=1)


def test_given_escape_sequences_when_made_plain_then_only_the_words_stay() -> None:
    raw = b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[0m\x1b[37mBdsDxe: ok\r\r\nnext  1 %\rnext  2 %\r\n"

    assert plain_text(raw) == "BdsDxe: ok\nnext  1 %\rnext  2 %\n"


def test_given_image_when_file_located_then_those_sectors_hold_its_bytes(folder: Path) -> None:
    content = os.urandom(3 * MIB + 5)
    for block_bytes, size_mib in ((512, 70), (4096, 320)):
        tree = {"a/b/c.bin": content, "x.txt": "text"}
        image = build_image(folder / "i", tree, size_mib=size_mib, block_bytes=block_bytes)

        raw = image.path.read_bytes()
        found = b"".join(
            raw[part.start * 512 : part.end * 512] for part in image.file_sectors("a/b/c.bin")
        )

        assert found[: len(content)] == content
        assert len(found) - len(content) < 512
        assert image.read_file("/x.txt") == b"text"


def test_given_same_input_when_images_and_payloads_built_twice_then_they_are_equal(
    folder: Path,
) -> None:
    payload = payload_initramfs(1)

    assert payload == payload_initramfs(1)
    assert payload != payload_initramfs(1, seed=2)
    names = subprocess.run(
        ["cpio", "--list", "--quiet"], input=payload, capture_output=True, check=True
    )
    assert names.stdout.split() == [b"payload", b"payload.sha256", b"second-initrd"]


def test_given_same_kernel_when_initramfs_made_twice_then_the_bytes_are_equal(
    folder: Path, kernel: Path
) -> None:
    script = ROOT / "tests/qemu/make_initramfs.sh"
    for name in ("one", "two"):
        subprocess.run([script, kernel.parent, folder / name], check=True)

    content = (folder / "one").read_bytes()
    assert content == (folder / "two").read_bytes()
    assert gzip.decompress(content).startswith(b"070701")
    assert sorted(os.listdir(folder)) == ["one", "two"]


@pytest.fixture(scope="module")
def firmware_run_image(module_folder: Path, kernel: Path) -> DiskImage:
    """The kernel as the boot application: the firmware's own driver reads it."""
    return boot_image(module_folder / "stub.img", application=kernel, kernel=None, initrd=None)


def test_given_firmwares_driver_left_in_place_when_it_reads_a_kernel_then_the_proof_fails(
    firmware_run_image: DiskImage,
) -> None:
    result = run_machine([Disk(firmware_run_image)], until="BdsDxe: starting")
    (session,) = sessions(result.events, 0)
    assert session.covers(firmware_run_image.file_sectors(BOOT_PATH)), "no control at all"
    claim = (
        f"virtboot: read {session.read_bytes} bytes in {len(session.reads)} requests, "
        f"{session.notifications} notifications, 1 ms\n"
    )

    with pytest.raises(TraceError, match="no driver reached DRIVER_OK with FEATURES_OK"):
        assert_driver_is_virtboots(result.events, claim, firmware_run_image, [BOOT_PATH])
    with pytest.raises(TraceError, match="0 times"):
        assert_driver_is_virtboots(result.events, result.text, firmware_run_image, [BOOT_PATH])


def test_given_a_write_when_the_run_is_judged_then_it_fails(folder: Path) -> None:
    image = build_image(folder / "disk.img", {"a.txt": "a"}, size_mib=70)

    with Machine([Disk(image)]) as machine:
        Shell(machine).run("cp fs0:\\a.txt fs0:\\b.txt")
        with pytest.raises(MachineError, match="write requests"):
            machine.finish()


def test_given_text_that_never_comes_when_waited_for_then_the_limit_ends_the_machine(
    folder: Path,
) -> None:
    image = build_image(folder / "disk.img", {}, size_mib=70)

    with Machine([Disk(image)]) as machine:
        machine.wait_for("BdsDxe")
        machine.shorten_limit(2)
        with pytest.raises(MachineError, match="time limit of 2 s") as failure:
            machine.wait_for("never printed")

    assert "BdsDxe" in str(failure.value), "the message shows the end of the serial line"
    with pytest.raises(ProcessLookupError):
        os.kill(machine.pid, 0)


def test_given_disk_that_is_not_reset_when_waited_for_then_the_limit_ends_the_machine(
    folder: Path,
) -> None:
    image = build_image(folder / "disk.img", {}, size_mib=70)

    with Machine([Disk(image)]) as machine:
        Shell(machine)
        machine.shorten_limit(1)
        with pytest.raises(MachineError, match="a disk is not reset"):
            machine.wait_until_reset()


def test_given_more_prompts_than_commands_when_the_shell_is_used_then_answers_are_not_mixed_up(
    folder: Path,
) -> None:
    image = build_image(folder / "disk.img", {}, size_mib=70)
    countdown, key = SHELL_COUNTDOWN

    with Machine([Disk(image)], keys=[(countdown, key * 5)]) as machine:
        shell = Shell(machine)
        assert [shell.run(f"echo {word}") for word in ("one", "two")] == ["one", "two"]


HOLD_A_MACHINE = """\
import sys, time
from pathlib import Path
from image import DiskImage
from machine import Disk, Machine

machine = Machine([Disk(DiskImage(Path(sys.argv[1]), 0))])
print(machine.pid, flush=True)
time.sleep(60)
"""


def test_given_running_machine_when_its_test_process_is_killed_then_qemu_ends_too(
    folder: Path,
) -> None:
    assert_ends_with_its_holder(HOLD_A_MACHINE, build_image(folder / "disk.img", {}, size_mib=70))


def assert_ends_with_its_holder(holder_text: str, image: DiskImage) -> None:
    """A program starts a process and prints its number. When it is killed, that process ends."""
    folder = str(image.path.parent)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests/qemu"), "TMPDIR": folder}
    command = [sys.executable, "-c", holder_text, str(image.path)]

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        assert is_running(pid)
        holder.kill()

    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whoever inherits an ended process need not collect it at once."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def test_given_products_when_run_unattended_then_userspace_is_reached_and_success_returned(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> None:
    done = run_script(folder, virtboot, kernel, initramfs)

    assert done.returncode == 0, done.stdout[-2000:]
    assert b"virtboot-init: userspace reached" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(b"virtboot run: userspace reached")


def test_given_no_application_when_run_unattended_then_it_fails_with_a_reason(
    folder: Path, kernel: Path, initramfs: Path
) -> None:
    done = run_script(folder, folder / "missing.efi", kernel, initramfs)

    assert done.returncode != 0
    assert b"virtboot run: failed: " in done.stderr
    assert b"missing.efi" in done.stderr


def run_script(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path
) -> subprocess.CompletedProcess[bytes]:
    """`make run` without a terminal."""
    return subprocess.run(
        [
            *(sys.executable, ROOT / "tests/qemu/run.py", "--image", folder / "disk.img"),
            *("--virtboot", virtboot, "--kernel", kernel, "--initrd", initramfs),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def test_given_programs_when_run_in_the_shell_then_they_say_what_they_did(
    folder: Path, program: Callable[[str], Path]
) -> None:
    tree = {
        "read_file.efi": program("read_file"),
        "returns.efi": program("returns"),
        "data.bin": b"123456789",
    }
    image = build_image(folder / "disk.img", tree, size_mib=70)

    with Machine([Disk(image)]) as machine:
        shell = Shell(machine)
        outputs = [shell.run(f"fs0:\\{name}") for name in ("read_file.efi", "returns.efi")]
        missing = shell.run("fs0:\\read_file.efi \\no-such-file")
        machine.finish()

    # The check value of CRC-32.
    assert "read-file: \\data.bin 9 bytes crc32 cbf43926" in outputs[0]
    assert "returns: hello" in outputs[1]
    assert "read-file: \\no-such-file failed 800000000000000e" in missing
