"""What the QEMU tests share: the products under test, a kernel, and places for images.

Each product has a default place below build/ and an environment variable that overrides it. Tests
share nothing that one of them could change: they also run with pytest-xdist (-n 2).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image import ROOT, DiskImage, boot_image, payload_initramfs
from probe import Tools

BUILD = ROOT / "build"
PAYLOAD_MIB = 8

PRODUCTS = {
    "VIRTBOOT_EFI": BUILD / "x86_64/virtboot.efi",
    "VIRTIO_EFI": BUILD / "x86_64/virtio.efi",
    "VIRTBOOT_TEST_PROGRAMS": BUILD / "x86_64/test",
    "VIRTBOOT_KERNEL": BUILD / "kernel/vmlinuz",
    "VIRTBOOT_INITRAMFS": BUILD / "initramfs.img",
}


def product(variable: str) -> Path:
    """A product's place. A missing one is a failure: a skipped test would hide it."""
    path = Path(os.environ.get(variable, PRODUCTS[variable]))
    if not path.exists():
        pytest.fail(f"{path} is missing; `make test` builds it, {variable} says where else it is")
    return path


@pytest.fixture(scope="session")
def virtboot() -> Path:
    """The boot application."""
    return product("VIRTBOOT_EFI")


@pytest.fixture(scope="session")
def virtio_driver() -> Path:
    """The plain UEFI driver."""
    return product("VIRTIO_EFI")


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """The EFI test programs by name."""
    folder = product("VIRTBOOT_TEST_PROGRAMS")

    def find(name: str) -> Path:
        path = folder / f"{name}.efi"
        if not path.exists():
            pytest.fail(f"{path} is missing; `make test` builds it")
        return path

    return find


@pytest.fixture(scope="session")
def kernel() -> Path:
    """Debian's cloud kernel."""
    return product("VIRTBOOT_KERNEL")


@pytest.fixture(scope="session")
def initramfs() -> Path:
    """The machine's first initramfs."""
    return product("VIRTBOOT_INITRAMFS")


@pytest.fixture(scope="session")
def payload() -> bytes:
    """A further initramfs that proves its own content."""
    return payload_initramfs(PAYLOAD_MIB)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for images. Emptied at once: pytest keeps folders of three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As `folder`, for images that the tests of one file share."""
    path = tmp_path_factory.mktemp("images")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def debian_image(
    tmp_path_factory: pytest.TempPathFactory, virtboot: Path, kernel: Path, initramfs: Path
) -> Iterator[DiskImage]:
    """The plain case: virtboot, kernel, initrd and the repository's own entry on one disk."""
    path = tmp_path_factory.mktemp("debian") / "debian.img"
    yield boot_image(path, application=virtboot, kernel=kernel, initrd=initramfs)
    shutil.rmtree(path.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def tools(module_folder: Path, virtio_driver: Path, program: Callable[[str], Path]) -> Tools:
    """virtio.efi and the program that uses its disks, where no virtio disk is needed for them."""
    return Tools.build(module_folder / "tools.img", virtio_driver, program)
