"""QEMU's qtest socket: ports and memory of a running machine, as no driver in it would use them."""

from __future__ import annotations

import socket
from pathlib import Path

LIMIT_S = 60


class Qtest:
    """A connection. qtest answers each line with one that begins with OK."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rw")

    @staticmethod
    def arguments(path: Path) -> tuple[str, ...]:
        """What QEMU is told, besides what it is told anyway."""
        return ("-qtest", f"unix:{path},server=on,wait=off", "-qtest-log", "none")

    def outl(self, port: int, value: int) -> None:
        """Write 32 bits to a port."""
        self._command(f"outl {port:#x} {value:#x}")

    def inl(self, port: int) -> int:
        """Read 32 bits from a port."""
        return int(self._command(f"inl {port:#x}").split()[1], 0)

    def read16(self, addr: int) -> int:
        """Read 16 bits of the guest's physical memory, or of a register."""
        return int(self._command(f"readw {addr:#x}").split()[1], 0)

    def write16(self, addr: int, value: int) -> None:
        """Write 16 bits there."""
        self._command(f"writew {addr:#x} {value:#x}")

    def write32(self, addr: int, value: int) -> None:
        """Write 32 bits there."""
        self._command(f"writel {addr:#x} {value:#x}")

    def close(self) -> None:
        """Close the connection, not QEMU."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Qtest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self, line: str) -> str:
        self._file.write(f"{line}\n")
        self._file.flush()
        answer = self._file.readline()
        assert answer.startswith("OK"), f"qtest {line}: {answer}"
        return answer
