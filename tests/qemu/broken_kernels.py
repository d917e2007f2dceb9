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
_SECTION_VIRTUAL_ADDRESS = 12

_FAR_OUTSIDE = 0x7000_0000


def cut_in_headers(kernel: bytes) -> bytes:
    """Ends in the middle of the PE headers."""
    return kernel[: _coff(kernel) + 8]


def cut_in_content(kernel: bytes) -> bytes:
    """Half a download: good headers, and sections that are not all there."""
    return kernel[: len(kernel) // 2]


def not_pe(_: bytes) -> bytes:
    """Something else with a kernel's name."""
    return b"#!/bin/sh\nexit 0\n" * 64


def entry_point_outside(kernel: bytes) -> bytes:
    """The firmware's LoadImage would jump there."""
    return _patched(kernel, _coff(kernel) + _COFF_BYTES + _ENTRY_POINT, _FAR_OUTSIDE)


def section_outside(kernel: bytes) -> bytes:
    """The first section wants to be loaded behind the end of the image."""
    coff = _coff(kernel)
    (optional_bytes,) = struct.unpack_from("<H", kernel, coff + _OPTIONAL_SIZE)
    section = coff + _COFF_BYTES + optional_bytes
    return _patched(kernel, section + _SECTION_VIRTUAL_ADDRESS, _FAR_OUTSIDE)


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
    BrokenKernel("not_pe", not_pe, "not a PE"),
    BrokenKernel("entry_point_outside", entry_point_outside, "entry point"),
    BrokenKernel("section_outside", section_outside, "section"),
)
