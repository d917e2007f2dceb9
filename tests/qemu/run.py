#!/usr/bin/python3
"""`make run`: a disk with virtboot and a stock Debian kernel, booted in QEMU.

On a terminal the machine is yours: a shell on its console, and QEMU's keys. Otherwise the console
goes to standard output, the machine ends by itself, and the exit status says whether userspace was
reached.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from image import DEFAULT_ENTRY, ESP_TEMPLATE, ROOT, DiskImage, ImageError, boot_image
from machine import Disk, Machine, MachineError, machine_arguments

USERSPACE = "virtboot-init: userspace reached"
LIMIT_S = 120
SHELL_WORD = "virtboot.shell"


def entry_with_shell() -> str:
    """The template's entry, with the word that makes init start a shell."""
    text = (ESP_TEMPLATE / DEFAULT_ENTRY).read_text()
    return re.sub(r"^(options\s.*)$", rf"\1 {SHELL_WORD}", text, flags=re.M)


def build_disk(options: argparse.Namespace, *, shell: bool) -> DiskImage:
    """A fresh image each time: it takes a second and cannot be stale."""
    return boot_image(
        options.image,
        application=options.virtboot,
        kernel=options.kernel,
        initrd=options.initrd,
        entry=entry_with_shell() if shell else None,
    )


def run_interactive(disk: Disk, options: argparse.Namespace) -> int:
    """Lend the terminal to QEMU. No time limit: somebody is sitting there."""
    print("virtboot run: 'exit' or Ctrl-A X leaves the machine", flush=True)
    with tempfile.TemporaryDirectory(prefix="virtboot-") as folder:
        command = machine_arguments(
            Path(folder), [disk], machine=options.machine, memory_mib=options.memory_mib
        )
        return subprocess.call([*command, "-serial", "mon:stdio"])


def write_through(chunk: bytes) -> None:
    """Show the console as it comes."""
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def run_unattended(disk: Disk, options: argparse.Namespace) -> int:
    """Run to the end and judge."""
    with Machine(
        [disk],
        machine=options.machine,
        memory_mib=options.memory_mib,
        limit_s=LIMIT_S,
        on_serial=write_through,
    ) as machine:
        try:
            machine.wait_for_end()
            result = machine.finish()
        except MachineError as error:
            # The console was shown already; what is new is the reason.
            print(f"\nvirtboot run: failed: {str(error).splitlines()[0]}")
            return 1
    if USERSPACE not in result.text:
        print(f"\nvirtboot run: failed: QEMU ended after {result.seconds:.0f} s without userspace")
        return 1
    print(f"\nvirtboot run: userspace reached, {result.seconds:.1f} s")
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Defaults are the products of the Makefile."""
    build = ROOT / "build"
    parser = argparse.ArgumentParser(description="Boot a Debian kernel with virtboot in QEMU.")
    parser.add_argument("--virtboot", type=Path, default=build / "x86_64/virtboot.efi")
    parser.add_argument("--kernel", type=Path, default=build / "kernel/vmlinuz")
    parser.add_argument("--initrd", type=Path, default=build / "initramfs.img")
    parser.add_argument("--image", type=Path, default=build / "run/disk.img")
    parser.add_argument("--machine", choices=("q35", "pc"), default="q35")
    parser.add_argument("--memory-mib", type=int, default=512)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the disk and run it in the way that fits where we stand."""
    options = parse_arguments(arguments)
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        disk = Disk(build_disk(options, shell=interactive))
        if interactive:
            return run_interactive(disk, options)
        return run_unattended(disk, options)
    except (ImageError, OSError) as error:
        print(f"virtboot run: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nvirtboot run: failed: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
