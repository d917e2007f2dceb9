"""A disk of the machine for which another process answers: lying_back_end.py."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from image import SECTOR_BYTES, DiskImage, SectorRange
from lying_back_end import Plan, Report
from machine import Disk, die_with_parent

PROGRAM = Path(__file__).with_name("lying_back_end.py")

# The back end ends by itself when QEMU closes the connection.
END_LIMIT_S = 60


class LyingDisk:
    """The back end's process, from before QEMU's start until after its end.

    What it lies about, and from which sectors on, is described with lying_back_end.Plan.
    """

    def __init__(
        self,
        image: DiskImage,
        *,
        lie: str | None = None,
        sectors: SectorRange | None = None,
        config: Mapping[str, int] | None = None,
        more_features: Sequence[int] = (),
        dies_at: str | None = None,
    ) -> None:
        plan = Plan(
            image=str(image.path),
            capacity=image.size_bytes // SECTOR_BYTES,
            lie=lie,
            sectors=(sectors.start, sectors.end) if sectors else (),
            config=config or {},
            more_features=more_features,
            dies_at=dies_at,
        )
        self._image = image
        self._folder = Path(tempfile.mkdtemp(prefix="virtboot-"))
        self._socket = self._folder / "socket"
        with socket.socket(socket.AF_UNIX) as listening:
            # Here and not in the back end, so that QEMU finds somebody whenever it starts.
            listening.bind(str(self._socket))
            listening.listen(1)
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), json.dumps(asdict(plan))],
                stdin=listening,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        """The back end's process."""
        return self._process.pid

    def disk(self, *, boot: bool = False) -> Disk:
        """For the machine."""
        return Disk(self._image, bus="vhost-user", socket=self._socket, boot=boot)

    def report(self) -> Report:
        """What the back end saw, once the machine has ended."""
        output, errors = self._process.communicate(timeout=END_LIMIT_S)
        if self._process.returncode != 0 or errors:
            raise AssertionError(f"the back end ended with {self._process.returncode}: {errors}")
        return Report.parse(output)

    def close(self) -> None:
        """Leave neither process nor files behind, whatever happened."""
        self._process.kill()
        _, errors = self._process.communicate()
        # Whatever else has failed, this may be why; pytest shows it then.
        print(errors, end="")
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> LyingDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
