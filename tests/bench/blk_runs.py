"""The runs of the disk's benchmark: which disks, what is read from them, and what came of it.

A run is one QEMU with bench.efi (tests/bench/bench.h has its job and its output) on an AHCI disk,
so that the only virtio device is the disk that is measured.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "qemu"))
from image import BOOT_PATH, MIB, SECTOR_BYTES, build_image, run_tool  # noqa: E402
from machine import Disk, die_with_parent, machine_arguments, plain_text  # noqa: E402

RUN_LIMIT_S = 240  # with -icount the firmware alone takes half a minute
MEMORY_MIB = 1024
ESP_MIB = 70  # FAT32 has no less

# The measured file: a FAT volume with a file, then blocks that hold their number.
VOLUME_MIB = 16
BLOCKS_MIB = 112
FIRST_BLOCK = VOLUME_MIB * MIB // SECTOR_BYTES
FILE_PATH = "DATA.BIN"
FILE_BYTES = 4 * MIB + 4321
NULL_BYTES = 1 << 30

TRACE_EVENTS = (
    "pci_cfg_write",
    "virtio_queue_notify",
    "virtqueue_pop",
    "virtio_blk_handle_read",
    "virtio_blk_handle_write",
    "virtio_blk_req_complete",
    "virtio_notify",
    "virtio_notify_irqfd",
)
INTERRUPT_LINE = 0x3C
MARK = 0xBE  # BENCH_MARK: tells the marks from what the firmware writes


class BenchError(Exception):
    """A run that says nothing about any driver."""


# --------------------------------------------------------------------------------- what is read


@dataclass(frozen=True)
class Pattern:
    """What one line of the job reads; `api` 2 is EFI_BLOCK_IO2."""

    name: str
    access: str
    n_bytes: int
    api: int = 1
    depth: int = 1
    reap: int = 1

    @property
    def key(self) -> Key:
        return Key(self.name, self.api, self.depth)

    def line(self, ops: int) -> str:
        words = (self.name, self.access, self.n_bytes, self.api, self.depth, self.reap, ops)
        return f"read {' '.join(map(str, words))}\n"


@dataclass(frozen=True, order=True)
class Key:
    """What tells lines of one job apart."""

    name: str
    api: int = 1
    depth: int = 1


KIB = 1024
# Small reads go in batches: all are done before new ones are submitted, with one notification. Of
# large ones the device always has as many as there are.
RANDOM_4K = Pattern("rand4k", "random", 4 * KIB)
RANDOM_4K_8 = Pattern("rand4k", "random", 4 * KIB, api=2, depth=8, reap=8)
RANDOM_4K_32 = Pattern("rand4k", "random", 4 * KIB, api=2, depth=32, reap=32)
SEQUENTIAL_64K = Pattern("seq64k", "sequential", 64 * KIB)
SEQUENTIAL_1M = Pattern("seq1m", "sequential", MIB)
SEQUENTIAL_1M_8 = Pattern("seq1m", "sequential", MIB, api=2, depth=8, reap=1)
SEQUENTIAL_512 = Pattern("seq512", "sequential", 512)
PATTERNS = (
    RANDOM_4K,
    RANDOM_4K_8,
    RANDOM_4K_32,
    SEQUENTIAL_64K,
    SEQUENTIAL_1M,
    SEQUENTIAL_1M_8,
    SEQUENTIAL_512,
)


@dataclass(frozen=True)
class Job:
    """One run: a disk, and how many reads of which patterns. `image` names who needs the file."""

    name: str
    title: str
    ops: dict[Pattern, int]
    latency_us: int | None = None  # of a disk without content; None: the file
    rounds: int = 5
    costs: bool = False
    traced: bool = False
    counts_instructions: bool = False
    read_file: bool = False

    @property
    def is_file(self) -> bool:
        return self.latency_us is None

    @property
    def is_timed(self) -> bool:
        return not self.traced and not self.counts_instructions

    def text(self) -> str:
        """The job as bench.efi reads it."""
        lines = [f"rounds {self.rounds}\n", "costs\n" if self.costs else ""]
        lines += [f"from {FIRST_BLOCK}\nexpect blocks\n" if self.is_file else "expect zeroes\n"]
        lines += [pattern.line(ops) for pattern, ops in self.ops.items()]
        lines += [f"file \\{FILE_PATH}\n"] if self.read_file else []
        return "".join(lines)


# On a disk without content these are there to be seen, and no goal hangs on them. Without latency
# it takes more of them: 64 MiB take 4 ms, in which the host's scheduler may well spend as much.
LARGE_AND_SMALL = {SEQUENTIAL_1M: 64, SEQUENTIAL_1M_8: 64, SEQUENTIAL_512: 256}
MORE_LARGE_AND_SMALL = {SEQUENTIAL_1M: 1024, SEQUENTIAL_1M_8: 1024, SEQUENTIAL_512: 8192}

JOBS = (
    Job(
        "file",
        "raw file in the page cache",
        {
            RANDOM_4K: 1024,
            RANDOM_4K_8: 4096,
            RANDOM_4K_32: 8192,
            SEQUENTIAL_64K: 512,
            SEQUENTIAL_1M: 64,
            SEQUENTIAL_1M_8: 64,
            SEQUENTIAL_512: 2048,
        },
    ),
    Job(
        "null-0",
        "null-co, no latency",
        {
            RANDOM_4K: 1024,
            RANDOM_4K_8: 4096,
            RANDOM_4K_32: 8192,
            SEQUENTIAL_64K: 512,
            **MORE_LARGE_AND_SMALL,
        },
        latency_us=0,
    ),
    Job(
        "null-100us",
        "null-co, 100 us",
        {
            RANDOM_4K: 512,
            RANDOM_4K_8: 2048,
            RANDOM_4K_32: 8192,
            SEQUENTIAL_64K: 256,
            **LARGE_AND_SMALL,
        },
        latency_us=100,
    ),
    Job(
        "null-1ms",
        "null-co, 1 ms",
        {
            RANDOM_4K: 128,
            RANDOM_4K_8: 1024,
            RANDOM_4K_32: 4096,
            SEQUENTIAL_64K: 256,
            **LARGE_AND_SMALL,
        },
        latency_us=1000,
    ),
    Job(
        "instructions",
        "null-co, no latency, -icount",
        {RANDOM_4K: 2048, RANDOM_4K_32: 2048},
        latency_us=0,
        rounds=1,
        costs=True,
        counts_instructions=True,
    ),
    Job(
        "counts",
        "raw file, traced",
        {
            RANDOM_4K: 64,
            RANDOM_4K_8: 256,
            RANDOM_4K_32: 640,
            SEQUENTIAL_64K: 128,
            SEQUENTIAL_1M: 32,
            SEQUENTIAL_1M_8: 32,
            SEQUENTIAL_512: 512,
        },
        rounds=1,
        traced=True,
        read_file=True,
    ),
)


# --------------------------------------------------------------------------------- what came of it


@dataclass(frozen=True)
class Run:
    """One line of bench.efi's."""

    mark: int
    round: int
    driver: str
    key: Key
    ops: int
    ticks: int
    least: int
    result: str

    @property
    def ticks_per_op(self) -> float:
        return self.ticks / self.ops


@dataclass
class Counts:
    """What the device saw while one line ran."""

    reads: int = 0
    notifications: int = 0
    interrupts: int = 0
    others: int = 0  # requests that neither read nor write: a FLUSH


@dataclass(frozen=True)
class Output:
    """What bench.efi said in one run, and what the device saw."""

    runs: tuple[Run, ...] = ()
    ticks_per_ms: int = 0
    costs: dict[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    is_complete: bool = False
    counts: dict[int, Counts] = field(default_factory=dict)

    def of(self, driver: str, key: Key) -> list[Run]:
        """The rounds of one line that give figures."""
        wanted = [run for run in self.runs if (run.driver, run.key) == (driver, key)]
        return [run for run in wanted if run.result == "ok"]

    def ticks_per_op(self, driver: str, key: Key) -> float | None:
        return median([run.ticks_per_op for run in self.of(driver, key)] or [0]) or None

    def least(self, driver: str, key: Key) -> int | None:
        return min((run.least for run in self.of(driver, key)), default=None)

    def speed(self, key: Key, base: Key) -> float | None:
        """Ours as a multiple of the firmware's: in each round, then the median."""
        firmware = {run.round: run.ticks_per_op for run in self.of("firmware", base)}
        ours = {run.round: run.ticks_per_op for run in self.of("ours", key)}
        ratios = [firmware[number] / ours[number] for number in ours.keys() & firmware.keys()]
        return median(ratios) if ratios else None

    def counted(self, driver: str, key: Key) -> tuple[Run, Counts] | None:
        for run in self.of(driver, key):
            if run.mark in self.counts:
                return run, self.counts[run.mark]
        return None


_RUN = re.compile(
    r"run (\d+) (\d+) (firmware|ours) (\d+) (\S+) (\d+) (\d+) (\d+) (\d+) (ok|wrong|failed|absent)"
)


def parse_output(text: str) -> Output:
    """The lines on the console. One that is cut off or unknown is an error, and no figure."""
    runs: list[Run] = []
    costs: dict[str, int] = {}
    errors: list[str] = []
    ticks_per_ms, is_complete = 0, False
    for line in re.findall(r"bench: (.*)", text):
        words = line.split()
        if match := _RUN.fullmatch(line):
            mark, number, driver, api, name, depth, ops, ticks, least, result = match.groups()
            key = Key(name, int(api), int(depth))
            figures = (int(ops), int(ticks), int(least))
            runs.append(Run(int(mark), int(number), driver, key, *figures, result))
        elif match := re.fullmatch(r"cost (\S+) (\d+)", line):
            costs[match.group(1)] = int(match.group(2))
        elif match := re.fullmatch(r"clock (\d+)", line):
            ticks_per_ms = int(match.group(1))
        elif words == ["done"]:
            is_complete = True
        else:
            errors.append(line)
    return Output(tuple(runs), ticks_per_ms, costs, tuple(errors), is_complete)


_TRACE_LINE = re.compile(r"(pci_cfg_write|virt\w+) (.*)")
_MARK = re.compile(rf"virtio-blk\S* \S+ @{INTERRUPT_LINE:#x} <- {MARK:#x}([0-9a-f]{{2}})$")


def parse_trace(lines: Iterable[str]) -> dict[int, Counts]:
    """Counts by mark. A request is known by its address from its start to its end."""
    counts: dict[int, Counts] = {}
    current = Counts()
    transfers: set[str] = set()
    for line in lines:
        if (found := _TRACE_LINE.search(line)) is None:
            continue
        name, rest = found.groups()
        request = re.search(r"req (0x[0-9a-f]+)", rest)
        if name == "pci_cfg_write":
            if mark := _MARK.search(rest):
                current = counts.setdefault(int(mark.group(1), 16), Counts())
        elif name == "virtio_queue_notify":
            current.notifications += 1
        elif name in ("virtio_notify", "virtio_notify_irqfd"):
            current.interrupts += 1
        elif name in ("virtio_blk_handle_read", "virtio_blk_handle_write") and request:
            if name == "virtio_blk_handle_write":
                raise BenchError("a driver wrote to the disk, although nobody asked for that")
            transfers.add(request.group(1))
            current.reads += 1
        elif name == "virtio_blk_req_complete" and request:
            if request.group(1) not in transfers:
                current.others += 1
            transfers.discard(request.group(1))
    counts.pop(0, None)  # between the lines
    return counts


# ---------------------------------------------------------------------------------- the machine


def numbered_blocks(first: int, n_blocks: int) -> Iterator[bytes]:
    """What bench_read.c expects."""
    for number in range(first, first + n_blocks):
        yield struct.pack("<QQ", number, number ^ (1 << 64) - 1) * (SECTOR_BYTES // 16)


def build_disk(path: Path) -> None:
    """A FAT volume with a file, without a partition table, and numbered blocks behind it."""
    with path.open("wb") as disk:
        disk.truncate(VOLUME_MIB * MIB)
    run_tool("mkfs.vfat", "-n", "BENCH", "-i", "76697274", "--invariant", path)
    content = path.with_suffix(".data")
    content.write_bytes(bytes(FILE_BYTES))
    run_tool("mcopy", "-i", path, content, f"::/{FILE_PATH}")
    content.unlink()
    with path.open("ab") as disk:
        disk.writelines(numbered_blocks(FIRST_BLOCK, BLOCKS_MIB * MIB // SECTOR_BYTES))


def back_end(job: Job, disk: Path) -> str:
    """The disk's node, in QEMU's words; qemu-img understands them too."""
    if job.is_file:
        return f"driver=raw,file.driver=file,file.filename={disk}"
    latency_ns = 1000 * (job.latency_us or 0)
    return f"driver=null-co,size={NULL_BYTES},read-zeroes=on,latency-ns={latency_ns}"


def disk_arguments(job: Job, disk: Path) -> list[str]:
    """The measured disk. In QEMU's main loop a latency would be rounded up to a millisecond."""
    device = "virtio-blk-pci,drive=measured,addr=0x10,disable-legacy=on,bootindex=1"
    words = ["-blockdev", f"node-name=measured,{back_end(job, disk)}"]
    if job.latency_us:
        words += ["-object", "iothread,id=io"]
        device += ",iothread=io"
    if job.traced or job.counts_instructions:
        device += ",ioeventfd=off"  # so that the notification stands where it was made
    return [*words, "-device", device]


def run_job(job: Job, *, bench: Path, virtio: Path, disk: Path) -> Output:
    """Run one job and read what it left."""
    tree = {BOOT_PATH: bench, "virtio.efi": virtio, "bench.txt": job.text()}
    with tempfile.TemporaryDirectory(prefix="virtboot-bench-") as name:
        folder = Path(name)
        esp = build_image(folder / "esp.img", tree, size_mib=ESP_MIB)
        words = machine_arguments(folder, [Disk(esp, bus="ahci")], memory_mib=MEMORY_MIB)
        words += disk_arguments(job, disk)
        words += ["-mem-prealloc", "-serial", f"file:{folder}/serial"]
        if job.counts_instructions:
            words += ["-icount", "shift=0,sleep=off"]
        if job.traced:
            (folder / "events").write_text("".join(f"{event}\n" for event in TRACE_EVENTS))
            words += ["-trace", f"events={folder}/events,file={folder}/trace"]
        complaint = run_qemu(words)
        output = parse_output(plain_text((folder / "serial").read_bytes()))
        errors = (*output.errors, *([complaint] if complaint else []))
        counts: dict[int, Counts] = {}
        if job.traced:
            with (folder / "trace").open(errors="replace") as lines:
                counts = parse_trace(lines)
    return Output(
        output.runs, output.ticks_per_ms, output.costs, errors, output.is_complete, counts
    )


def run_qemu(words: Sequence[str]) -> str:
    """Run QEMU until it ends by itself; returns what it complained about."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUN_LIMIT_S,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        return f"QEMU did not end within {RUN_LIMIT_S} s"
    return done.stderr.strip()


# ------------------------------------------------------------------------------- the host's limit


def host_limit(job: Job, pattern: Pattern, disk: Path) -> float | None:
    """Reads per second that qemu-img does with the same disk; None: not comparable.

    It cannot read at random: it steps over the disk instead, which neither a page cache nor a disk
    without content minds. A latency is rounded up to a millisecond here.
    """
    if job.latency_us and job.latency_us < 1000:
        return None
    step = 128 * KIB if pattern.access == "random" else pattern.n_bytes
    ops = 8 * job.ops[pattern]
    text = run_tool(
        *("qemu-img", "bench", "--image-opts", "-U", "-c", str(ops), "-d", str(pattern.depth)),
        *("-s", str(pattern.n_bytes), "-S", str(step), "-t", "writeback"),
        back_end(job, disk),
    )
    found = re.search(r"in ([0-9.]+) seconds", text)
    if found is None or float(found.group(1)) == 0:
        raise BenchError(f"qemu-img bench is not understood: {text}")
    return ops / float(found.group(1))
