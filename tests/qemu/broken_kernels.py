"""Kernels with one thing wrong each, made from a good one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

# Offsets in the PE headers (Microsoft PE Format).
_LFANEW = 0x3C
_COFF_BYTES = 24
_OPTIONAL_SIZE = 20
_ENTRY_POINT = 16
_SIZE_OF_IMAGE = 56
_CERTIFICATES = 112 + 4 * 8  # data directory 4
_N_SECTIONS = 6
_SECTION_BYTES = 40
_SECTION_VIRTUAL_SIZE = 8
_SECTION_VIRTUAL_ADDRESS = 12

# In the setup header (The Linux/x86 Boot Protocol).
_INIT_SIZE = 0x260

_FAR_OUTSIDE = 0x7000_0000
_MORE_THAN_MEMORY = 0x6000_0000


def cut_in_headers(kernel: bytes) -> bytes:
    """Ends in the middle of the PE headers."""
    return kernel[: _coff(kernel) + 8]


def cut_in_content(kernel: bytes) -> bytes:
    """Half a download: good headers, and sections that are not all there."""
    return kernel[: len(kernel) // 2]


def cut_in_content_unsigned(kernel: bytes) -> bytes:
    """The same without a signature, whose table at the end would be missing too."""
    directory = _coff(kernel) + _COFF_BYTES + _CERTIFICATES
    unsigned = _patched(_patched(kernel, directory, 0), directory + 4, 0)
    return cut_in_content(unsigned)


def empty(_: bytes) -> bytes:
    """A download that never began."""
    return b""


def not_pe(_: bytes) -> bytes:
    """Something else with a kernel's name."""
    return b"#!/bin/sh\nexit 0\n" * 64


def entry_point_outside(kernel: bytes) -> bytes:
    """The firmware's LoadImage would jump there."""
    return _patched(kernel, _coff(kernel) + _COFF_BYTES + _ENTRY_POINT, _FAR_OUTSIDE)


def section_outside(kernel: bytes) -> bytes:
    """The first section wants to be loaded behind the end of the image."""
    return _patched(kernel, _section(kernel, 0) + _SECTION_VIRTUAL_ADDRESS, _FAR_OUTSIDE)


def larger_than_memory(kernel: bytes) -> bytes:
    """Nothing wrong with it: its last section only wants more memory than there is."""
    coff = _coff(kernel)
    (n_sections,) = struct.unpack_from("<H", kernel, coff + _N_SECTIONS)
    last = _section(kernel, n_sections - 1)
    (start,) = struct.unpack_from("<I", kernel, last + _SECTION_VIRTUAL_ADDRESS)
    grown = _patched(kernel, coff + _COFF_BYTES + _SIZE_OF_IMAGE, _MORE_THAN_MEMORY)
    return _patched(grown, last + _SECTION_VIRTUAL_SIZE, _MORE_THAN_MEMORY - start)


def unpacked_larger_than_memory(kernel: bytes) -> bytes:
    """It can be loaded, but says that it needs more to unpack itself into."""
    return _patched(kernel, _INIT_SIZE, _MORE_THAN_MEMORY)


def _section(kernel: bytes, number: int) -> int:
    coff = _coff(kernel)
    (optional_bytes,) = struct.unpack_from("<H", kernel, coff + _OPTIONAL_SIZE)
    return int(coff + _COFF_BYTES + optional_bytes + number * _SECTION_BYTES)


def _coff(kernel: bytes) -> int:
    (offset,) = struct.unpack_from("<I", kernel, _LFANEW)
    assert kernel[offset : offset + 4] == b"PE\0\0"
    return int(offset)


def _patched(kernel: bytes, offset: int, value: int) -> bytes:
    return kernel[:offset] + struct.pack("<I", value) + kernel[offset + 4 :]


@dataclass(frozen=True)
class BrokenKernel:
    """How to break a kernel, and the word of virtboot's reason that tells."""

    name: str
    make: Callable[[bytes], bytes]
    reason: str


BROKEN_KERNELS = (
    BrokenKernel("cut_in_headers", cut_in_headers, "truncated"),
    BrokenKernel("cut_in_content", cut_in_content, "truncated"),
    BrokenKernel("cut_in_content_unsigned", cut_in_content_unsigned, "truncated"),
    BrokenKernel("empty", empty, "truncated"),
    BrokenKernel("not_pe", not_pe, "not a PE"),
    BrokenKernel("entry_point_outside", entry_point_outside, "entry point"),
    BrokenKernel("section_outside", section_outside, "section"),
    BrokenKernel("larger_than_memory", larger_than_memory, "not enough memory: "),
    BrokenKernel(
        "unpacked_larger_than_memory",
        unpacked_larger_than_memory,
        "not enough memory in one piece: the kernel needs 1538 MiB, ",
    ),
)
