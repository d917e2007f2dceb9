"""A disk of the machine for which qemu-storage-daemon answers: another process, to be killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from image import DiskImage
from machine import Disk, Qmp, die_with_parent

DAEMON = "qemu-storage-daemon"
START_LIMIT_S = 60
GROUP = "slow"


class StorageDaemon:
    """The process, from before QEMU's start until it is killed."""

    def __init__(self, image: DiskImage) -> None:
        self._image = image
        self._folder = Path(tempfile.mkdtemp(prefix="virtboot-"))
        self._socket = self._folder / "disk"
        self._process = subprocess.Popen(
            self._arguments(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        self._qmp = Qmp(self._folder / "qmp", time.monotonic() + START_LIMIT_S)
        self._wait_for_socket()

    def _arguments(self) -> list[str]:
        nodes: list[dict[str, Any]] = [
            {"driver": "file", "filename": str(self._image.path), "node-name": "file"},
            {"driver": "throttle", "throttle-group": GROUP, "file": "file", "node-name": "disk"},
        ]
        export = "type=vhost-user-blk,id=export,node-name=disk,writable=on"
        words = [DAEMON, "--object", f"throttle-group,id={GROUP}"]
        words += [word for node in nodes for word in ("--blockdev", json.dumps(node))]
        words += ["--export", f"{export},addr.type=unix,addr.path={self._socket}"]
        words += ["--chardev", f"socket,id=qmp,path={self._folder}/qmp,server=on,wait=off"]
        return [*words, "--monitor", "chardev=qmp"]

    def _wait_for_socket(self) -> None:
        """QMP may answer before the export is there."""
        deadline = time.monotonic() + START_LIMIT_S
        while not self._socket.exists():
            assert self._process.poll() is None, self._process.communicate()[0]
            assert time.monotonic() < deadline, f"{DAEMON} offers no disk"
            time.sleep(0.02)

    def disk(self, **more: Any) -> Disk:
        """For the machine."""
        return Disk(self._image, bus="vhost-user", socket=self._socket, boot=False, **more)

    def freeze(self) -> None:
        """Nearly nothing is read any more, from the second request on."""
        limits = {"bps-total": 1}
        self._qmp.execute("qom-set", path=f"/objects/{GROUP}", property="limits", value=limits)

    def kill(self) -> None:
        """In the middle of whatever it does."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Leave neither process nor files behind, whatever happened."""
        self._qmp.close()
        self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> StorageDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
