"""What waiting for a disk costs: the host's processor time, and interrupts. Runs alone.

One machine, with drivers one after the other: the firmware's own, ours as it comes, ours when told
to poll. The disks have no content, so that a read takes just as long as it is told to.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from image import DiskImage, build_image
from machine import Disk, Machine, Shell, device_name
from probe import DRIVER, PREFIX, PROGRAM, latency_node, slot_name, zero_image
from qemu_trace import TRACE_EVENTS
from test_driver import driver_handle

LIMIT_S = 300

READS = 2_000
BLOCKS = 8  # 4 KiB
DEPTH = 32
DISK_BYTES = READS * BLOCKS * 512
LATENCY_NS = 1_000_000

SETTINGS = "loader/loader.conf"
POLL = "virtboot-completion poll\n"
AS_IT_COMES = "MSI-X with 2 vectors"
ASKED_FOR = r"polled \(asked for\)"

# So often is each driver's time taken. What others do to the host makes a driver that sleeps cost more,
# and one that spins until a time has come cost less: so the least and the most of these count. And for
# so long is an idle machine looked at.
ROUNDS = 3
IDLE_S = 3.0

# Of the host's time that the firmware's driver takes. And interrupts for each read: when many are
# in flight; of a disk whose answers are there before anyone would go to sleep.
COST_LIMIT = 0.10
INTERRUPTS_AT_DEPTH = 1 / 4
INTERRUPTS_OF_FAST_DISK = 1 / 10

# On a disk with a latency most of single reads are slept for; else their count would show nothing.
INTERRUPTS_AT_LEAST = 1 / 2


def latency_disk(image: DiskImage, latency_ns: int, **options: str | int) -> Disk:
    """Each of its reads takes so long, and gives zeros."""
    node = latency_node(DISK_BYTES, latency_ns)
    return Disk(image, boot=False, protocol=node, options={"disable-legacy": "on", **options})


# What is read of each disk, and how.
QUIET = f"quiet {READS} {BLOCKS}"
KEEP = f"keep {READS} {BLOCKS} {DEPTH}"
SLOW, DEEP, DEEP_WITHOUT_EVENT_IDX, FAST, COSTLY = range(5)
COMMANDS = {SLOW: QUIET, DEEP: KEEP, DEEP_WITHOUT_EVENT_IDX: KEEP, FAST: QUIET}


@dataclass(frozen=True)
class Phase:
    """What the disk saw while one command ran."""

    reads: int
    interrupts: int

    @property
    def interrupts_per_read(self) -> float:
        """Of just the reads that were asked for."""
        assert self.reads == READS, self
        return self.interrupts / self.reads


@dataclass(frozen=True)
class CompletionRun:
    """What reading took, by driver: seconds of the host's processors; phases."""

    costs: dict[str, list[float]]  # beyond those of an idle machine
    idle_seconds: dict[str, float]  # of a second of an idle machine
    boot_seconds: float
    phases: dict[str, dict[int, Phase]]
    said: dict[str, str]

    def interrupts_per_read(self, driver: str, disk: int) -> float:
        """Of the processor."""
        return self.phases[driver][disk].interrupts_per_read


def processor_seconds(machine: Machine) -> float:
    """What all of QEMU has used so far, for itself and in the kernel."""
    fields = Path(f"/proc/{machine.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Seconds:
    """Of the host's processors, and of the clock."""

    processor: float
    passed: float

    def beyond(self, idle_rate: float) -> float:
        """What is left if the machine had idled for as long."""
        return self.processor - idle_rate * self.passed


class CompletionMachine(Machine):
    """A machine whose reads are measured."""

    def read(self, shell: Shell, disk: int, command: str) -> None:
        """Run a command of blk_probe, to its success."""
        output = shell.run(f"fs0:{PROGRAM} {slot_name(disk)} {command}")
        name, count = command.split()[:2]
        assert f"{PREFIX}{slot_name(disk)} {name}: Success {count} reads\n" in f"{output}\n", output

    def measure(self, shell: Shell) -> tuple[list[float], float]:
        """What the reads cost the host beyond idling for as long, and what that costs a second.

        The command that reads nothing stands for all but the reads. What is traced would cost, too.
        """
        self._trace("virtio*", enable=False)
        idle = self._seconds(lambda: time.sleep(IDLE_S))
        idle_rate = idle.processor / idle.passed
        nothing, everything = (
            [self._seconds(lambda: self.read(shell, COSTLY, command)) for _ in range(ROUNDS)]
            for command in (f"quiet 0 {BLOCKS}", QUIET)
        )
        for event in TRACE_EVENTS:
            self._trace(event, enable=True)
        others = min(each.beyond(idle_rate) for each in nothing)
        return [each.beyond(idle_rate) - others for each in everything], idle_rate

    def _seconds(self, action: Callable[[], None]) -> Seconds:
        start, before = time.monotonic(), processor_seconds(self)
        action()
        return Seconds(processor_seconds(self) - before, time.monotonic() - start)

    def count(self, shell: Shell, disk: int, command: str) -> Phase:
        """What a disk sees of a command. Nothing else is read meanwhile."""
        before = self._seen()
        self.read(shell, disk, command)
        after = self._seen()
        return Phase(after.reads - before.reads, after.interrupts - before.interrupts)

    def _trace(self, event: str, *, enable: bool) -> None:
        self.qmp().execute("trace-event-set-state", name=event, enable=enable)

    def _seen(self) -> Phase:
        return Phase(
            self.trace_count("virtio_blk_handle_read "), self.trace_count("virtio_notify ")
        )


def tools(folder: Path, name: str, tree: Mapping[str, Path | str]) -> Disk:
    """A disk for the firmware to find programs on."""
    return Disk(build_image(folder / name, tree, size_mib=70), bus="ahci")


@pytest.fixture(scope="module")
def run(
    module_folder: Path, virtio_driver: Path, program: Callable[[str], Path]
) -> CompletionRun:
    """Each disk is read by each driver; then once more the idle rest of the same."""
    image = zero_image(module_folder / "zero.img", DISK_BYTES)
    disks = [
        latency_disk(image, LATENCY_NS),
        latency_disk(image, LATENCY_NS),
        latency_disk(image, LATENCY_NS, event_idx="off"),
        latency_disk(image, 0),
        replace(latency_disk(image, LATENCY_NS), ioeventfd=True),  # as QEMU has it
        tools(module_folder, "0.img", {DRIVER: virtio_driver, PROGRAM: program("blk_probe")}),
        tools(module_folder, "1.img", {DRIVER: virtio_driver, SETTINGS: POLL}),
    ]
    run = CompletionRun({}, {}, 0, {}, {})
    with CompletionMachine(disks, limit_s=LIMIT_S) as machine:
        shell = Shell(machine)
        run = replace(run, boot_seconds=processor_seconds(machine))
        measure(machine, shell, run, "firmware", "connect -r")
        measure(machine, shell, run, "ours", f"load fs0:\\{DRIVER}")
        handle = driver_handle(shell.run("drivers"))
        measure(machine, shell, run, "polling", f"unload -n {handle}", f"load fs1:\\{DRIVER}")
        machine.finish()
    return run


def measure(
    machine: CompletionMachine, shell: Shell, run: CompletionRun, driver: str, *load: str
) -> None:
    """One driver is loaded and reads. That of the firmware has no tokens."""
    said = "\n".join(shell.run(command) for command in load)
    run.said[driver] = said
    run.costs[driver], run.idle_seconds[driver] = machine.measure(shell)
    run.phases[driver] = {
        disk: machine.count(shell, disk, command)
        for disk, command in COMMANDS.items()
        if driver != "firmware"
    }


def test_given_disk_with_a_latency_when_read_then_the_host_works_a_tenth_of_the_firmwares(
    run: CompletionRun, record_property: Callable[[str, object], None]
) -> None:
    """2,000 reads of 4 KiB, one at a time."""
    for driver, costs in run.costs.items():
        text = ", ".join(f"{cost:.2f}" for cost in costs)
        record_property(f"processor seconds, {driver}", text)
        print(f"{READS} reads by {driver}: {text} s, idle {run.idle_seconds[driver]:.3f} a second")
    print(f"boot until the shell: {run.boot_seconds:.2f} s")

    ratio = min(run.costs["ours"]) / max(run.costs["firmware"])
    record_property("ratio of processor seconds", f"{ratio:.3f}")
    assert 0 < ratio <= COST_LIMIT, run.costs


@pytest.mark.parametrize(("driver", "how"), [("ours", AS_IT_COMES), ("polling", ASKED_FOR)])
def test_given_settings_when_driver_loaded_then_it_says_how_completion_is_learnt(
    driver: str, how: str, run: CompletionRun
) -> None:
    for disk in COMMANDS:
        line = rf"virtio: {device_name(disk)}: .*, {how}\r?$"
        assert re.search(line, run.said[driver], re.M), run.said[driver]


@pytest.mark.parametrize("disk", COMMANDS)
def test_given_driver_that_polls_when_disk_read_then_there_are_no_interrupts(
    disk: int, run: CompletionRun
) -> None:
    assert run.interrupts_per_read("polling", disk) == 0


def test_given_many_reads_in_flight_when_waited_for_then_an_interrupt_ends_several(
    run: CompletionRun, record_property: Callable[[str, object], None]
) -> None:
    """A program that keeps 32 tokens in flight."""
    per_read = run.interrupts_per_read("ours", DEEP)
    without = run.interrupts_per_read("ours", DEEP_WITHOUT_EVENT_IDX)
    record_property("interrupts per read at depth 32", f"{per_read:.3f}")
    record_property("interrupts per read at depth 32 without EVENT_IDX", f"{without:.3f}")
    print(f"interrupts per read at depth {DEPTH}: {per_read:.3f}, without EVENT_IDX {without:.3f}")

    assert 0 < per_read <= INTERRUPTS_AT_DEPTH
    assert without <= 1


def test_given_one_read_in_flight_when_waited_for_then_there_is_at_most_one_interrupt(
    run: CompletionRun, record_property: Callable[[str, object], None]
) -> None:
    """And nearly none where the answer comes while the driver still looks."""
    slow, fast = run.interrupts_per_read("ours", SLOW), run.interrupts_per_read("ours", FAST)
    record_property("interrupts per read of a disk with a latency", f"{slow:.3f}")
    record_property("interrupts per read of a fast disk", f"{fast:.3f}")
    print(f"interrupts per read: {slow:.3f} of a disk with a latency, {fast:.3f} of a fast one")

    assert INTERRUPTS_AT_LEAST <= slow <= 1
    assert fast <= INTERRUPTS_OF_FAST_DISK
