"""One QEMU machine with OVMF: started, watched on its serial line, ended, and judged.

Every run has a time limit and ends with a RunResult. What must hold in every run (no CPU
exception, no complaint of QEMU about the driver, disks as they were) is checked here by default,
so that no test can forget it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qemu_trace
from image import DiskImage

QEMU = "qemu-system-x86_64"
FIRMWARE_FOLDER = Path("/usr/share/OVMF")

# Nothing takes as long, even where several others want the processors too.
DEFAULT_LIMIT_S = 180.0
ANSWER_LIMIT_S = 60.0
TAIL_LINES = 40
POLL_S = 0.2
TRACE_S = 0.005

# Disk n of the list sits here plus n, on every machine type, so that tests know its name.
FIRST_SLOT = 0x10

# The UEFI shell waits five seconds before its script unless a key comes.
SHELL_COUNTDOWN = ("to skip startup.nsh", b"\r")

# QEMU colours nothing, but OVMF positions, clears and colours, and Linux's tty layer may too.
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?=]*[A-Za-z]|[()][A-Za-z0-9]|[A-Za-z=>])")
_CARRIAGE_RETURNS = re.compile(r"\r+\n")

# Words that stand on the serial line only when the guest's CPU met an exception.
CPU_EXCEPTION = "X64 Exception"

# prctl(2): the signal that a process gets when its parent ends. Loaded here: fork() comes too late.
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class MachineError(AssertionError):
    """A run did not end as the test asked, or broke what holds for every run."""


def device_name(number: int) -> str:
    """What virtboot calls disk `number` of the machine."""
    return f"virtio-blk 0000:00:{FIRST_SLOT + number:02X}.0"


@dataclass(frozen=True)
class Firmware:
    """An OVMF build with its variables, and what the machine needs for it."""

    code: Path
    variables: Path
    machine_suffix: str = ""
    arguments: tuple[str, ...] = ()


FIRMWARE = Firmware(FIRMWARE_FOLDER / "OVMF_CODE_4M.fd", FIRMWARE_FOLDER / "OVMF_VARS_4M.fd")

# Starts only what Debian's well-known test key has signed. Its variables are guarded by SMM.
SECURE_BOOT = Firmware(
    FIRMWARE_FOLDER / "OVMF_CODE_4M.secboot.fd",
    FIRMWARE_FOLDER / "OVMF_VARS_4M.snakeoil.fd",
    machine_suffix=",smm=on",
    arguments=("-global", "driver=cfi.pflash01,property=secure,value=on"),
)


@dataclass(frozen=True)
class ReadErrors:
    """Reads that touch `sector` fail with EIO, for good."""

    sector: int

    def filter(self) -> dict[str, Any]:
        """The block node that makes them fail."""
        rule = {"event": "none", "iotype": "read", "errno": 5, "sector": self.sector}
        return {"driver": "blkdebug", "inject-error": [rule]}


@dataclass(frozen=True)
class Disk:
    """One disk of the machine.

    `options` go to the device (logical_block_size=4096, iommu_platform=on); `boot` puts it into
    the firmware's boot order, in the order of the list. On the bus "vhost-user" another process
    answers for it, at `socket`. `protocol` is a QEMU block node that stands for the image's file,
    and `filters` are nodes above it, the lowest first.
    """

    image: DiskImage
    bus: str = "virtio"
    options: Mapping[str, str | int] = field(default_factory=dict)
    read_only: bool = False
    errors: ReadErrors | None = None
    boot: bool = True
    ioeventfd: bool = False
    may_change: bool = False
    socket: Path | None = None
    protocol: Mapping[str, Any] | None = None
    filters: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_virtio(self) -> bool:
        """Whether it is a virtio device to the guest."""
        return self.bus in ("virtio", "vhost-user")

    def arguments(self, number: int, boot_index: int | None) -> list[str]:
        """QEMU's words for the back end and the device."""
        device = {**self._device(number), **self.options}
        if boot_index is not None:
            device["bootindex"] = boot_index
        words = [f"{name}={value}" for name, value in device.items() if name != "driver"]
        text = ",".join([str(device["driver"]), *words])
        return [*self._back_end(number), "-device", text]

    def _back_end(self, number: int) -> list[str]:
        if self.bus == "vhost-user":
            return ["-chardev", f"socket,id=back-end{number},path={self.socket}"]
        return self._block_nodes(number)

    def _block_nodes(self, number: int) -> list[str]:
        nodes = [self._protocol_node(number)]
        filters = [self.errors.filter()] if self.errors is not None else []
        for place, node in enumerate([*filters, *self.filters, {"driver": "raw"}]):
            child = "image" if node["driver"] == "blkdebug" else "file"
            name = f"disk{number}" if node["driver"] == "raw" else f"filter{number}-{place}"
            links = {child: nodes[-1]["node-name"], "node-name": name}
            nodes.append({**node, **links, "read-only": self.read_only, "discard": "unmap"})
        return [word for node in nodes for word in ("-blockdev", json.dumps(node))]

    def _protocol_node(self, number: int) -> dict[str, Any]:
        file = {"driver": "file", "filename": str(self.image.path)}
        return {
            **(self.protocol or file),
            "node-name": f"file{number}",
            "read-only": self.read_only,
            "discard": "unmap",
        }

    def _device(self, number: int) -> dict[str, str | int]:
        match self.bus:
            case "virtio":
                return {
                    "driver": "virtio-blk-pci",
                    "addr": f"{FIRST_SLOT + number:#x}",
                    "drive": f"disk{number}",
                    "id": f"device{number}",
                    "rerror": "report",
                    "werror": "report",
                    "ioeventfd": "on" if self.ioeventfd else "off",
                }
            case "vhost-user":
                return {
                    "driver": "vhost-user-blk-pci",
                    "addr": f"{FIRST_SLOT + number:#x}",
                    "chardev": f"back-end{number}",
                    "id": f"device{number}",
                    "num-queues": 1,
                    "disable-legacy": "on",
                }
            case "ahci":
                return {
                    "driver": "ide-hd",
                    "drive": f"disk{number}",
                    "id": f"device{number}",
                    "bus": f"ahci{number}.0",
                }
        raise ValueError(f"no such bus: {self.bus}")

    def controller(self, number: int) -> list[str]:
        """An AHCI disk brings its own controller, so that `pc` has one too."""
        return ["-device", f"ahci,id=ahci{number}"] if self.bus == "ahci" else []


@dataclass(frozen=True)
class RunResult:
    """What a run left behind."""

    serial: bytes
    stderr: str
    exit_code: int | None
    seconds: float
    events: list[qemu_trace.Event]
    disks: tuple[Disk, ...]
    arguments: tuple[str, ...]

    @property
    def text(self) -> str:
        """The serial line as a reader sees it: no escape sequences, plain line ends."""
        return plain_text(self.serial)

    @property
    def virtboot_lines(self) -> list[str]:
        """What virtboot said, in order, without the progress display."""
        lines = (line.rstrip() for line in self.text.split("\n"))
        return [line.split("\r")[-1] for line in lines if "virtboot" in line]

    def reads_and_notifications(self, disk: int) -> list[qemu_trace.Event]:
        """What only a running driver causes."""
        kinds = (qemu_trace.Read, qemu_trace.Notify)
        return [event for event in self.events if event.disk == disk and isinstance(event, kinds)]

    def assert_ordered(self, *texts: str) -> None:
        """Each of `texts` stands on the serial line, one after the other."""
        position = 0
        for wanted in texts:
            found = self.text.find(wanted, position)
            if found < 0:
                where = "after the text before it" if wanted in self.text else "at all"
                raise MachineError(f"not on the serial line {where}: {wanted!r}\n{self.tail()}")
            position = found + len(wanted)

    def tail(self) -> str:
        """The end of the serial line and QEMU's own words, for failure messages."""
        return _tail(self.serial, self.stderr)


def plain_text(raw: bytes) -> str:
    """Strip what a terminal would not show. Lone carriage returns stay: progress uses them."""
    text = _ESCAPE.sub("", raw.decode("utf-8", errors="replace"))
    return _CARRIAGE_RETURNS.sub("\n", text)


def _tail(serial: bytes, stderr: str) -> str:
    lines = [line for line in plain_text(serial).splitlines() if line.strip()]
    text = "\n".join(lines[-TAIL_LINES:])
    return f"--- end of the serial line ---\n{text}\n--- QEMU's messages ---\n{stderr}"


class Qmp:
    """A few QMP commands over the unix socket."""

    def __init__(self, path: Path, deadline: float) -> None:
        self._socket = _connect(path, deadline)
        self._file = self._socket.makefile("rw")
        self._file.readline()  # greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its answer; events in between are dropped."""
        request = {"execute": command, "arguments": arguments}
        self._file.write(json.dumps(request) + "\n")
        self._file.flush()
        while line := self._file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise MachineError(f"QMP {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise MachineError(f"QMP {command}: QEMU has gone")

    def close(self) -> None:
        """Close the connection, not QEMU."""
        self._file.close()
        self._socket.close()


def _connect(path: Path, deadline: float) -> socket.socket:
    """QEMU makes its socket shortly after its start."""
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(ANSWER_LIMIT_S)
        try:
            client.connect(str(path))
            return client
        except (FileNotFoundError, ConnectionRefusedError):
            client.close()
            if time.monotonic() > deadline:
                raise MachineError("QEMU offers no QMP socket") from None
            time.sleep(0.02)


def machine_arguments(
    folder: Path,
    disks: Sequence[Disk],
    *,
    machine: str = "q35",
    memory_mib: int = 256,
    firmware: Firmware = FIRMWARE,
    first_arguments: Sequence[str] = (),
) -> list[str]:
    """The part of the command line that every machine here has; serial and QMP not included."""
    variables = folder / "variables.fd"
    if not variables.exists():
        shutil.copyfile(firmware.variables, variables)
    machine += firmware.machine_suffix
    memory = []
    if any(disk.bus == "vhost-user" for disk in disks):
        # Who answers for the device has to reach the guest's memory.
        machine += ",memory-backend=memory"
        memory = ["-object", f"memory-backend-memfd,id=memory,size={memory_mib}M,share=on"]
    words = [QEMU, "-nodefaults", "-machine", machine, "-accel", "tcg", "-cpu", "max"]
    words += ["-m", str(memory_mib), *memory, "-display", "none", "-net", "none", "-no-reboot"]
    words += [*firmware.arguments]
    words += _pflash(0, firmware.code, read_only=True) + _pflash(1, variables, read_only=False)
    words += first_arguments
    boot_index = 0
    for number, disk in enumerate(disks):
        words += disk.controller(number)
        words += disk.arguments(number, boot_index if disk.boot else None)
        boot_index += disk.boot
    return words


def die_with_parent() -> None:
    """Runs in the child: a test process that is killed can end nothing any more."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _pflash(unit: int, file: Path, *, read_only: bool) -> list[str]:
    state = "on" if read_only else "off"
    return ["-drive", f"if=pflash,format=raw,unit={unit},readonly={state},file={file}"]


class Machine:
    """A running QEMU. Use run_machine() unless the test must talk to it on the way."""

    def __init__(
        self,
        disks: Sequence[Disk],
        *,
        machine: str = "q35",
        memory_mib: int = 256,
        firmware: Firmware = FIRMWARE,
        limit_s: float = DEFAULT_LIMIT_S,
        keys: Sequence[tuple[str, bytes]] = (SHELL_COUNTDOWN,),
        first_arguments: Sequence[str] = (),
        extra_arguments: Sequence[str] = (),
        never: Sequence[str] = (),
        tolerated: Sequence[str] = (),
        on_serial: Callable[[bytes], None] | None = None,
    ) -> None:
        """`keys` answers texts by typing. A text of `never` ends the run as failed, at once.

        `first_arguments` come before the disks, for the buses that these refer to. Lines of
        QEMU's that match a pattern of `tolerated` are no complaint.
        """
        self._never = tuple(never)
        self._tolerated = tuple(tolerated)
        self._on_serial = on_serial
        self.disks = tuple(disks)
        self._keys = list(keys)
        self._limit_s = limit_s
        self._folder = Path(tempfile.mkdtemp(prefix="virtboot-"))
        self._serial = bytearray()
        self._ended = False
        # Several disks may show the same image.
        images = {disk.image for disk in self.disks if not disk.may_change}
        self._checksums = {image: image.sha256() for image in images}
        arguments = machine_arguments(
            self._folder,
            self.disks,
            machine=machine,
            memory_mib=memory_mib,
            firmware=firmware,
            first_arguments=first_arguments,
        )
        arguments += self._watching_arguments() + list(extra_arguments)
        self._arguments = tuple(arguments)
        self._started = time.monotonic()
        self._deadline = self._started + limit_s
        with (self._folder / "stderr").open("wb") as stderr:
            # A session of its own, so that the time limit can end all of it.
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._qmp: Qmp | None = None

    def _watching_arguments(self) -> list[str]:
        events = self._folder / "events"
        events.write_text("".join(f"{event}\n" for event in qemu_trace.TRACE_EVENTS))
        return [
            *("-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"),
            *("-qmp", f"unix:{self._folder}/qmp,server=on,wait=off"),
            *("-trace", f"events={events},file={self._folder}/trace"),
        ]

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._process.pid

    @property
    def text(self) -> str:
        """The serial line so far."""
        return plain_text(bytes(self._serial))

    def qmp(self) -> Qmp:
        """The machine's QMP connection, made at first use."""
        if self._qmp is None:
            self._qmp = Qmp(self._folder / "qmp", self._deadline)
        return self._qmp

    def wait_for(self, *texts: str) -> None:
        """Follow the serial line until all of `texts` stood on it; the machine keeps running."""
        if not self.wait_until(lambda text: all(wanted in text for wanted in texts)):
            missing = [wanted for wanted in texts if wanted not in self.text]
            raise MachineError(f"QEMU ended before {missing} appeared\n{self._evidence()}")

    def trace_count(self, text: str) -> int:
        """How often a text is in QEMU's trace so far. Much quicker than events()."""
        return (self._folder / "trace").read_text(errors="replace").count(text)

    def wait_for_trace(self, text: str, count: int) -> None:
        """Until the text is in the trace so often; the machine keeps running."""
        while self.trace_count(text) < count:
            if time.monotonic() > self._deadline:
                raise MachineError(f"{text!r} not in the trace in time\n{self._evidence()}")
            time.sleep(TRACE_S)

    def wait_until_reset(self) -> None:
        """Until the last that was done to every virtio disk is a reset."""
        disks = range(len(self._virtio_disks()))
        while any(qemu_trace.statuses(self._events(), disk)[-1:] != [0] for disk in disks):
            if time.monotonic() > self._deadline:
                raise MachineError(f"a disk is not reset\n{self._evidence()}")
            time.sleep(POLL_S)

    def wait_for_end(self) -> None:
        """Follow the serial line until QEMU exits by itself."""
        self.wait_until(lambda text: False)

    def wait_until(self, is_enough: Callable[[str], bool]) -> bool:
        """Follow the serial line until its text is enough. False if QEMU ended before."""
        with selectors.DefaultSelector() as selector:
            assert self._process.stdout is not None
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                text = self.text
                if is_enough(text):
                    return True
                self._refuse(text)
                self._press_keys(text)
                if not self._follow(selector):
                    return is_enough(self.text)

    def _follow(self, selector: selectors.BaseSelector) -> bool:
        """Take what is there. False at the end of the serial line, which is QEMU's."""
        if time.monotonic() > self._deadline:
            raise MachineError(f"time limit of {self._limit_s:.0f} s\n{self._evidence()}")
        for key, _ in selector.select(POLL_S):
            chunk = os.read(key.fd, 65536)
            if not chunk:
                self._ended = True
                return False
            self._serial += chunk
            if self._on_serial is not None:
                self._on_serial(chunk)
        return True

    def _refuse(self, text: str) -> None:
        """Waiting on for the time limit would tell nothing more."""
        for unwanted in self._never:
            if unwanted in text:
                raise MachineError(f"{unwanted!r} must not appear\n{self._evidence()}")

    def _press_keys(self, text: str) -> None:
        for pattern, keys in self._keys:
            if pattern in text:
                self._keys.remove((pattern, keys))
                self.press(keys)
                return

    def press_no_more_keys(self) -> None:
        """What `keys` was to answer has passed."""
        self._keys.clear()

    def shorten_limit(self, limit_s: float) -> None:
        """So long from now on, and no longer."""
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s

    def press(self, keys: bytes) -> None:
        """Type on the serial console."""
        assert self._process.stdin is not None
        self._process.stdin.write(keys)
        self._process.stdin.flush()

    def finish(self, *, check: bool = True) -> RunResult:
        """End QEMU if it still runs, collect what it left, and check what must always hold."""
        self._quit()
        result = RunResult(
            serial=bytes(self._serial),
            stderr=self._stderr(),
            exit_code=self._process.returncode,
            seconds=time.monotonic() - self._started,
            events=self._events(),
            disks=self.disks,
            arguments=self._arguments,
        )
        if check:
            self._check(result)
        return result

    def close(self) -> None:
        """Leave neither process nor files behind, whatever happened."""
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _quit(self) -> None:
        """QMP's quit ends QEMU without the message that a signal would add to stderr."""
        if not self._ended and self._process.poll() is None:
            try:
                self.qmp().execute("quit")
            except (MachineError, OSError):
                pass  # it ended at the same moment
        try:
            rest, _ = self._process.communicate(timeout=ANSWER_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise MachineError(f"QEMU does not end\n{self._evidence()}") from None
        self._serial += rest

    def _stderr(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")

    def _events(self) -> list[qemu_trace.Event]:
        n_disks = len(self._virtio_disks())
        file = self._folder / "trace"
        if n_disks == 0 or not file.exists():
            return []
        text = file.read_text(errors="replace")
        whole_lines = text[: text.rfind("\n") + 1]  # QEMU may be writing
        return qemu_trace.parse_trace(whole_lines, n_disks)

    def _check(self, result: RunResult) -> None:
        """What holds in every run, whatever the test is about."""
        if CPU_EXCEPTION in result.text:
            raise MachineError(f"the CPU met an exception\n{result.tail()}")
        if any(self._is_complaint(line) for line in result.stderr.splitlines()):
            raise MachineError(f"QEMU complains:\n{result.tail()}")
        allowed = {number for number, disk in enumerate(self._virtio_disks()) if disk.may_change}
        writes = qemu_trace.writes(result.events)
        written = [write for write in writes if write.disk not in allowed]
        if written:
            raise MachineError(f"{len(written)} write requests, the first {written[0]}")
        for image, checksum in self._checksums.items():
            if image.sha256() != checksum:
                raise MachineError(f"{image.path.name} has changed")

    def _is_complaint(self, line: str) -> bool:
        words = line.removeprefix(f"{QEMU}: ").strip()
        return bool(words) and not any(re.fullmatch(text, words) for text in self._tolerated)

    def _virtio_disks(self) -> list[Disk]:
        """In the order in which the trace counts them."""
        return [disk for disk in self.disks if disk.is_virtio]

    def _evidence(self) -> str:
        return _tail(bytes(self._serial), self._stderr())


def run_machine(
    disks: Sequence[Disk],
    *,
    until: str | Sequence[str] | None = None,
    until_reset: bool = False,
    settle_s: float = 0,
    check: bool = True,
    **options: Any,
) -> RunResult:
    """Run a machine until all texts of `until` stood on its serial line, or until it ends.

    `options` are Machine's. Without `until` the machine must end by itself within the limit.
    `until_reset` lets it go on after the texts until every virtio disk was reset, and `settle_s`
    for a while after all that, for what is not to happen.
    """
    texts = [until] if isinstance(until, str) else list(until or [])
    with Machine(disks, **options) as machine:
        if texts:
            machine.wait_for(*texts)
            if until_reset:
                machine.wait_until_reset()
            time.sleep(settle_s)
        else:
            machine.wait_for_end()
        return machine.finish(check=check)


class Shell:
    """The UEFI shell on the serial line: type a command, get what it printed."""

    _PROMPT = re.compile(r"^(?:Shell|[A-Za-z]+\d+:[^>\n]*)> $", re.M)
    _READY = "ready-for-commands"

    def __init__(self, machine: Machine) -> None:
        """The machine must end in the shell, and no disk of it may have a startup.nsh."""
        self._machine = machine
        self._await_prompt(0)
        # The key that ends the countdown may have come too late, and then makes a prompt of its own.
        machine.press_no_more_keys()
        start = self.begin(f"echo {self._READY}")
        if not machine.wait_until(lambda text: f"\n{self._READY}\n" in text[start:]):
            raise MachineError("QEMU ended in the UEFI shell")
        self._await_prompt(machine.text.rindex(self._READY))

    def run(self, command: str) -> str:
        """Run one command; returns its output without the echo."""
        return self.finish(self.begin(command))

    def begin(self, command: str) -> int:
        """Type one command, for finish()."""
        start = len(self._machine.text)
        self._machine.press(command.encode() + b"\r")
        return start

    def finish(self, start: int) -> str:
        """Wait until the command that was begun has ended; returns its output without the echo."""
        return self._await_prompt(start)

    def _await_prompt(self, start: int) -> str:
        ended = not self._machine.wait_until(lambda text: self._at_prompt(text, start))
        if ended:
            raise MachineError("QEMU ended in the UEFI shell")
        output = self._machine.text[start:].split("\n")
        return "\n".join(output[1:-1])

    def _at_prompt(self, text: str, start: int) -> bool:
        """At the end of the text and behind the line with the command."""
        last = text.rfind("\n") + 1
        return last > start and self._PROMPT.match(text, last) is not None
