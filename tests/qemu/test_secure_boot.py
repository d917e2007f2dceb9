"""Secure Boot: the kernel goes through the firmware's LoadImage, so the firmware's policy applies.

The firmware trusts one key, which Debian's ovmf package publishes for tests.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from image import boot_image
from machine import SECURE_BOOT, Disk, device_name, run_machine
from qemu_trace import assert_driver_is_virtboots

KEY = Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
CERTIFICATE = Path("/usr/share/ovmf/PkKek-1-snakeoil.pem")
PASSPHRASE = "snakeoil"
GIVEN_BACK = "virtboot: devices given back to the firmware"
FILES = ("debian/vmlinuz", "debian/initrd.img")


@pytest.fixture(scope="module")
def key(module_folder: Path) -> Path:
    """The key without its passphrase, which sbsign would ask a terminal for."""
    path = module_folder / "key"
    command = ["openssl", "pkey", "-in", KEY, "-passin", f"pass:{PASSPHRASE}", "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    return path


def sign(source: Path, key: Path, target: Path) -> Path:
    """A copy with the signature that the firmware asks for."""
    command = ["sbsign", "--key", key, "--cert", CERTIFICATE, "--output", target, source]
    subprocess.run(command, check=True, capture_output=True)
    return target


def flip_one_bit(source: Path, target: Path) -> Path:
    """The same file, but for one bit in the middle of its code."""
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    return target


def test_given_signed_virtboot_and_kernel_when_secure_boot_is_on_then_userspace_is_reached(
    folder: Path, virtboot: Path, kernel: Path, initramfs: Path, key: Path
) -> None:
    image = boot_image(
        folder / "disk.img",
        application=sign(virtboot, key, folder / "virtboot.signed"),
        kernel=sign(kernel, key, folder / "vmlinuz.signed"),
        initrd=initramfs,
    )

    result = run_machine([Disk(image)], firmware=SECURE_BOOT)

    result.assert_ordered("EFI stub: UEFI Secure Boot is enabled", "userspace reached, Linux 6.")
    assert_driver_is_virtboots(result.events, result.text, image, FILES)


@pytest.mark.parametrize("change", ["unsigned", "one bit flipped"])
def test_given_kernel_that_the_firmware_does_not_trust_when_started_then_refused_and_given_back(
    change: str, folder: Path, virtboot: Path, kernel: Path, initramfs: Path, key: Path
) -> None:
    # Debian's own signature is none that this firmware knows.
    bad = kernel
    if change == "one bit flipped":
        bad = flip_one_bit(sign(kernel, key, folder / "signed"), folder / "flipped")
    image = boot_image(
        folder / "disk.img",
        application=sign(virtboot, key, folder / "virtboot.signed"),
        kernel=bad,
        initrd=initramfs,
    )

    result = run_machine([Disk(image)], until=GIVEN_BACK, firmware=SECURE_BOOT)

    error = f"virtboot: error: {device_name(0)}: /debian/vmlinuz: refused by Secure Boot: "
    result.assert_ordered(error, GIVEN_BACK)
    assert "userspace reached" not in result.text
    assert "EFI stub" not in result.text
