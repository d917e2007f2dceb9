#!/usr/bin/python3
"""Disk images for the QEMU tests, made from plain files without root and without mounts.

An image is a GPT disk with one FAT32 EFI system partition (or a bare FAT32 volume, for block sizes
that sgdisk cannot write into a file). Content is a mapping of paths to bytes or files, so that
a test states what is wrong with its disk in one line.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECTOR_BYTES = 512
MIB = 1024 * 1024
ESP_OFFSET_BYTES = MIB
GPT_TAIL_BYTES = MIB
DEFAULT_SIZE_MIB = 128
GUID_NAMESPACE = uuid.UUID("6f0f7a2c-5d5c-4a3e-9a43-1c1d0e6b7a01")

# FAT32 needs 65525 clusters. 1 KiB clusters get there from 64 MiB on.
CLUSTER_BYTES = 1024

ROOT = Path(__file__).resolve().parents[2]
ESP_TEMPLATE = ROOT / "esp"
ENTRY_FOLDER = "loader/entries"
DEFAULT_ENTRY = f"{ENTRY_FOLDER}/debian.conf"
BOOT_PATH = "EFI/BOOT/BOOTX64.EFI"
KERNEL_PATH = "debian/vmlinuz"
INITRD_PATH = "debian/initrd.img"

Content = bytes | str | Path

TOOL_ENVIRONMENT = {
    **os.environ,
    "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
    "MTOOLS_SKIP_CHECK": "1",  # mtools doubts volumes with 4096-byte sectors
    "MTOOLSRC": "/dev/null",
    "LC_ALL": "C",
}


class ImageError(Exception):
    """A tool failed or an image is not as it should be."""


def run_tool(*command: str | Path) -> str:
    """Run one tool; its own words are the error message."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, env=TOOL_ENVIRONMENT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ImageError(f"{words[0]} is missing") from error
    if done.returncode != 0:
        raise ImageError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@dataclass(frozen=True)
class SectorRange:
    """512-byte sectors of the whole disk, `end` not included."""

    start: int
    end: int


@dataclass(frozen=True)
class DiskImage:
    """An image on the host's disk, and where its FAT volume begins."""

    path: Path
    fat_offset_bytes: int
    block_bytes: int = SECTOR_BYTES

    @property
    def drive(self) -> str:
        """What mtools calls the volume."""
        return f"{self.path}@@{self.fat_offset_bytes}"

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def sha256(self) -> str:
        """Checksum of the whole image, to prove that nobody wrote."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while chunk := file.read(MIB):
                digest.update(chunk)
        return digest.hexdigest()

    def read_file(self, name: str) -> bytes:
        """The bytes of one file on the volume."""
        command = ["mtype", "-i", self.drive, f"::/{name.lstrip('/')}"]
        done = subprocess.run(command, env=TOOL_ENVIRONMENT, capture_output=True, check=False)
        if done.returncode != 0:
            raise ImageError(f"{name}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def file_sectors(self, name: str) -> list[SectorRange]:
        """Where a file's bytes are on the disk, in the file's order.

        The answer comes from mtools, not from virtboot's own reading of the FAT, so it can be held
        against the sectors that a driver asked for.
        """
        path = f"::/{name.lstrip('/')}"
        size_bytes = self._file_size(path)
        geometry = self._geometry()
        ranges = []
        left_bytes = size_bytes
        for first, last in self._clusters(path):
            start_bytes = geometry.cluster_offset(first)
            length_bytes = min(left_bytes, (last - first + 1) * geometry.cluster_bytes)
            left_bytes -= length_bytes
            ranges.append(
                SectorRange(
                    start_bytes // SECTOR_BYTES,
                    -(-(start_bytes + length_bytes) // SECTOR_BYTES),
                )
            )
        if left_bytes != 0:
            raise ImageError(f"{name}: clusters hold {left_bytes} bytes fewer than its size")
        return ranges

    def _file_size(self, path: str) -> int:
        listing = run_tool("mdir", "-i", self.drive, path)
        match = re.search(r"1 file\s+([\d ]+) bytes", listing)
        if match is None:
            raise ImageError(f"{path}: not understood: {listing}")
        return int(match.group(1).replace(" ", ""))

    def _clusters(self, path: str) -> Iterator[tuple[int, int]]:
        listing = run_tool("mshowfat", "-i", self.drive, path)
        for match in re.finditer(r"<(\d+)(?:-(\d+))?>", listing):
            yield int(match.group(1)), int(match.group(2) or match.group(1))

    def _geometry(self) -> _FatGeometry:
        with self.path.open("rb") as file:
            file.seek(self.fat_offset_bytes)
            return _FatGeometry.parse(file.read(SECTOR_BYTES), self.fat_offset_bytes)


@dataclass(frozen=True)
class _FatGeometry:
    """The fields of a FAT32 boot sector that place its clusters."""

    data_offset_bytes: int
    cluster_bytes: int

    @classmethod
    def parse(cls, boot_sector: bytes, volume_offset_bytes: int) -> _FatGeometry:
        sector_bytes, per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot_sector, 11)
        (fat_sectors,) = struct.unpack_from("<I", boot_sector, 36)
        data = volume_offset_bytes + (reserved + fats * fat_sectors) * sector_bytes
        return cls(data, per_cluster * sector_bytes)

    def cluster_offset(self, cluster: int) -> int:
        """Data clusters are counted from 2."""
        return self.data_offset_bytes + (cluster - 2) * self.cluster_bytes


def build_image(
    path: Path,
    tree: Mapping[str, Content],
    *,
    size_mib: int = DEFAULT_SIZE_MIB,
    block_bytes: int = SECTOR_BYTES,
    damage_primary_gpt: bool = False,
) -> DiskImage:
    """Build an image with `tree` on its ESP. It appears at `path` complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partitioned = block_bytes == SECTOR_BYTES
    if damage_primary_gpt and not partitioned:
        raise ImageError("only an image with 512-byte blocks has a GPT")

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder:
        draft = Path(folder) / "disk"
        with draft.open("wb") as file:
            file.truncate(size_mib * MIB)
        if partitioned:
            _write_gpt(draft, path.name)
        _write_fat(draft, block_bytes, partitioned)
        image = DiskImage(draft, ESP_OFFSET_BYTES if partitioned else 0, block_bytes)
        _copy_tree(image, tree, Path(folder))
        if damage_primary_gpt:
            _damage_primary_gpt(draft)
        draft.rename(path)
    return DiskImage(path, image.fat_offset_bytes, block_bytes)


def _write_gpt(image: Path, name: str) -> None:
    """One ESP over the whole disk. Its identifiers follow from its name: unique and repeatable."""
    run_tool(
        "sgdisk",
        "--clear",
        f"--disk-guid={uuid.uuid5(GUID_NAMESPACE, name)}",
        f"--new=1:{ESP_OFFSET_BYTES // SECTOR_BYTES}:-{GPT_TAIL_BYTES // SECTOR_BYTES}",
        "--typecode=1:ef00",
        "--change-name=1:ESP",
        f"--partition-guid=1:{uuid.uuid5(GUID_NAMESPACE, f'{name} 1')}",
        image,
    )


def _write_fat(image: Path, block_bytes: int, partitioned: bool) -> None:
    """mkfs.vfat counts its size argument in KiB and its offset in sectors."""
    size_bytes = image.stat().st_size
    command: list[str | Path] = ["mkfs.vfat", "-F", "32", "-S", str(block_bytes), "-n", "ESP"]
    command += ["-i", "76697274", "--invariant"]
    command += ["-s", str(max(1, CLUSTER_BYTES // block_bytes))]
    if partitioned:
        size_bytes -= ESP_OFFSET_BYTES + GPT_TAIL_BYTES
        command += ["--offset", str(ESP_OFFSET_BYTES // block_bytes)]
    run_tool(*command, image, str(size_bytes // 1024))


def _damage_primary_gpt(image: Path) -> None:
    """Spoil the header's checksum: the backup at the end of the disk stays good."""
    with image.open("r+b") as file:
        file.seek(SECTOR_BYTES + 16)
        file.write(b"\xff\xff\xff\xff")


def damage_backup_gpt(image: DiskImage) -> None:
    """Spoil the checksum of the header in the last block: the primary stays good."""
    with image.path.open("r+b") as file:
        file.seek(image.size_bytes - image.block_bytes)
        assert file.read(8) == b"EFI PART"
        file.seek(image.size_bytes - image.block_bytes + 16)
        file.write(b"\xff\xff\xff\xff")


def _copy_tree(image: DiskImage, tree: Mapping[str, Content], scratch: Path) -> None:
    folders = sorted({str(parent) for name in tree for parent in _parents(name)})
    if folders:
        run_tool("mmd", "-i", image.drive, *(f"::/{folder}" for folder in folders))
    for name, content in sorted(tree.items()):
        source = content if isinstance(content, Path) else _spill(content, scratch)
        run_tool("mcopy", "-o", "-i", image.drive, source, f"::/{name.lstrip('/')}")


def _parents(name: str) -> Iterator[Path]:
    for parent in Path(name.lstrip("/")).parents:
        if parent != Path("."):
            yield parent


def _spill(content: bytes | str, scratch: Path) -> Path:
    """mcopy reads files only. Newlines stay as the test wrote them."""
    source = scratch / "content"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    return source


def esp_template() -> dict[str, Content]:
    """The files of esp/ in the repository, as the start of every boot disk."""
    return {
        str(file.relative_to(ESP_TEMPLATE)): file
        for file in sorted(ESP_TEMPLATE.rglob("*"))
        if file.is_file()
    }


def entry_text(
    *,
    title: str = "Debian 12 (cloud kernel)",
    linux: str = f"/{KERNEL_PATH}",
    initrds: Sequence[str] = (f"/{INITRD_PATH}",),
    options: str = "console=ttyS0,115200 loglevel=4 panic=-1",
) -> str:
    """A boot entry in the usual order, for tests that change one value."""
    lines = [f"title   {title}", f"linux   {linux}"]
    lines += [f"initrd  {initrd}" for initrd in initrds]
    lines += [f"options {options}"]
    return "".join(f"{line}\n" for line in lines)


def boot_image(
    path: Path,
    *,
    application: Content | None,
    kernel: Content | None,
    initrd: Content | None,
    entry: Content | None = None,
    extra: Mapping[str, Content | None] | None = None,
    size_mib: int = DEFAULT_SIZE_MIB,
    block_bytes: int = SECTOR_BYTES,
    damage_primary_gpt: bool = False,
) -> DiskImage:
    """A disk that boots: the ESP template, the application, a kernel and an initrd.

    Every part can be left out with None. `entry` replaces the template's entry; `extra` adds files
    and, with None, takes files of the template away.
    """
    parts: dict[str, Content | None] = dict(esp_template())
    parts[BOOT_PATH] = application
    parts[KERNEL_PATH] = kernel
    parts[INITRD_PATH] = initrd
    if entry is not None:
        parts[DEFAULT_ENTRY] = entry
    parts.update(extra or {})
    tree = {name: content for name, content in parts.items() if content is not None}
    return build_image(
        path,
        tree,
        size_mib=size_mib,
        block_bytes=block_bytes,
        damage_primary_gpt=damage_primary_gpt,
    )


def payload_initramfs(size_mib: int, seed: int = 1) -> bytes:
    """A second initramfs whose content proves itself: the machine's init checks /payload.

    Not compressed, so that Linux finds it only if the initrds before it were padded to 4 bytes.
    """
    payload = random.Random(seed).randbytes(size_mib * MIB)
    checksum = f"{hashlib.sha256(payload).hexdigest()}  payload\n".encode()
    return newc_archive({"payload": payload, "payload.sha256": checksum, "second-initrd": b""})


def newc_archive(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive in the format that Linux unpacks: files only, owner root, date 0."""
    members = [
        _newc_member(number, name, content)
        for number, (name, content) in enumerate(sorted(files.items()), start=1)
    ]
    return b"".join(members) + _newc_member(0, "TRAILER!!!", b"", mode=0)


def _newc_member(number: int, name: str, content: bytes, mode: int = 0o100644) -> bytes:
    encoded = name.encode() + b"\0"
    # inode, mode, uid, gid, links, date, size, device (2), special device (2), name size, checksum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _tree_argument(text: str) -> tuple[str, Path]:
    name, separator, source = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text}: expected PATH=FILE")
    return name, Path(source)


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build a disk image that boots with virtboot.")
    parser.add_argument("image", type=Path)
    parser.add_argument("--application", type=Path, help="becomes /" + BOOT_PATH)
    parser.add_argument("--kernel", type=Path, help="becomes /" + KERNEL_PATH)
    parser.add_argument("--initrd", type=Path, help="becomes /" + INITRD_PATH)
    parser.add_argument("--entry", type=Path, help="instead of the template's entry")
    parser.add_argument("--payload-mib", type=int, help="add debian/payload.img of this size")
    parser.add_argument("--size-mib", type=int, default=DEFAULT_SIZE_MIB)
    parser.add_argument("--block-bytes", type=int, default=SECTOR_BYTES)
    parser.add_argument("--damage-primary-gpt", action="store_true")
    parser.add_argument(
        "--file", type=_tree_argument, action="append", default=[], metavar="PATH=FILE"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: one image from files."""
    options = _parse_arguments(arguments)
    extra: dict[str, Content | None] = dict(options.file)
    if options.payload_mib is not None:
        extra["debian/payload.img"] = payload_initramfs(options.payload_mib)
    try:
        boot_image(
            options.image,
            application=options.application,
            kernel=options.kernel,
            initrd=options.initrd,
            entry=options.entry,
            extra=extra,
            size_mib=options.size_mib,
            block_bytes=options.block_bytes,
            damage_primary_gpt=options.damage_primary_gpt,
        )
    except (ImageError, OSError) as error:
        print(f"image: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
