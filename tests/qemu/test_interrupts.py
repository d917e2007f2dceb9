"""Interrupts of disks that virtio.efi drives: vectors, lines, and what it leaves behind.

programs/interrupts.c does things to the processor's vectors and looks at what the driver does with
them; programs/legacy_8259.c gives the firmware what it lacks, a way to interrupt lines. QEMU's TCG
has no x2APIC: that is for the tests on the host (tests/unit/test_interrupt.c).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from image import DiskImage, build_image
from machine import FIRST_SLOT, Disk, Machine, RunResult, Shell, device_name
from probe import PREFIX as PROBE_PREFIX
from probe import latency_node, numbered_image, slot_name, zero_image
from qemu_trace import Interrupt, Read, of_disk, own_driver_oks
from qtest import Qtest
from test_driver import driver_handle

DRIVER = "virtio.efi"
PREFIX = "interrupts: "
DISK_BYTES = 4 * 1024 * 1024
LATENCY_NS = 1_000_000
READS = 300
READ_BLOCKS = 8
STORM = 10_000
NO_VECTORS = {"vectors": 0}
# Four slots on is the same line. Any of its interrupts stays until somebody acknowledges it.
SAME_LINE = 4
EDU_RAISE = 0x60
VECTORS_FREE = 223  # 0x20 to 0xff, less the firmware's timer

# Reads that are faster than a spinning look, or waited for by the firmware's tick, cost none.
INTERRUPTS_AT_LEAST = READS // 2


def slow_disk(folder: Path, **options: str | int) -> Disk:
    """Each of its reads takes a millisecond, and gives zeros."""
    image = folder / "slow.img"
    node = latency_node(DISK_BYTES, LATENCY_NS)
    found = DiskImage(image, 0) if image.exists() else zero_image(image, DISK_BYTES)
    return Disk(found, boot=False, protocol=node, options=options)


@pytest.fixture(scope="module")
def numbered(module_folder: Path) -> DiskImage:
    """What all other disks show."""
    return numbered_image(module_folder / "numbered.img", DISK_BYTES)


@pytest.fixture(scope="module")
def toolbox(
    module_folder: Path, virtio_driver: Path, program: Callable[[str], Path]
) -> Iterator[Disk]:
    """The disk that the UEFI shell finds our programs on."""
    names = {"i.efi": "interrupts", "p.efi": "blk_probe", "pic.efi": "legacy_8259"}
    tree = {name: program(source) for name, source in names.items()}
    image = build_image(
        module_folder / "tools.img", {DRIVER: virtio_driver, **tree}, size_mib=70
    )
    yield Disk(image, bus="ahci")


@dataclass(frozen=True)
class Outcome:
    """What each command printed, and what the devices saw."""

    outputs: tuple[str, ...]
    result: RunResult

    @property
    def said(self) -> list[str]:
        """What interrupts.efi said."""
        text = "\n".join(self.outputs)
        lines = (line.rstrip() for line in text.split("\n"))
        return [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]

    def interrupts(self, disk: int) -> int:
        """How many the device raised in our driver's only time on it."""
        (session,) = own_driver_oks(self.result.events, disk)
        return sum(isinstance(event, Interrupt) for event in session.events)


def run_commands(
    disks: Sequence[Disk], toolbox: Disk, *commands: str, **options: object
) -> Outcome:
    """Run shell commands on a machine with these disks."""
    with Machine([*disks, toolbox], **options) as machine:  # type: ignore[arg-type]
        shell = Shell(machine)
        outputs = tuple(shell.run(command) for command in commands)
        return Outcome(outputs, machine.finish())


def story(*commands: str) -> str:
    """One call of interrupts.efi."""
    return f"fs0:i.efi {' '.join(commands)}"


def probe(disk: str, *commands: str) -> str:
    """One call of blk_probe.efi."""
    return f"fs0:p.efi {disk} {' '.join(commands)}"


def completion(number: int, how: str) -> str:
    """What virtio.efi says of a disk."""
    size = DISK_BYTES // (1024 * 1024)
    return f"virtio: {device_name(number)}: {size} MiB, 512-byte blocks, writable, {how}\n"


def assert_reads_right(output: str, number: int, data: bytes) -> None:
    """blk_probe read all of it, and it is this."""
    answer = f"checksum: Success {len(data)} bytes crc32 {zlib.crc32(data):08X}"
    assert f"{PROBE_PREFIX}{slot_name(number)} {answer}" in output, output


# --- Asked for ------------------------------------------------------------------------------------


def test_given_interrupts_asked_for_when_driven_then_used_and_who_has_none_is_named(
    folder: Path, numbered: DiskImage, virtio_driver: Path, program: Callable[[str], Path]
) -> None:
    """Without spinning first they end more reads of a fast disk than as the driver comes."""
    tree: dict[str, Path | bytes] = {
        DRIVER: virtio_driver,
        "p.efi": program("blk_probe"),
        "loader/loader.conf": b"virtboot-completion interrupt\n",
    }
    tools = Disk(build_image(folder / "tools.img", tree, size_mib=70), bus="ahci")
    plain = build_image(folder / "plain.img", {DRIVER: virtio_driver}, size_mib=70)
    disks = [Disk(numbered, boot=False), slow_disk(folder, **NO_VECTORS)]
    reading = probe("all", f"quiet {READS} {READ_BLOCKS}")

    with Machine([*disks, tools, Disk(plain, bus="ahci")]) as machine:
        shell = Shell(machine)
        loaded, read = shell.run(f"load fs0:\\{DRIVER}"), shell.run(reading)
        shell.run(f"unload -n {driver_handle(shell.run('drivers'))}")
        shell.run(f"load fs1:\\{DRIVER}")
        read += shell.run(reading)
        result = machine.finish()

    assert completion(0, "MSI-X with 2 vectors") in f"{loaded}\n"
    reason = "the firmware offers no way to its interrupt line"
    assert completion(1, f"polled: {reason}") in f"{loaded}\n"
    error = f"virtio: error: {device_name(1)}: cannot have interrupts, so it is polled: {reason}\n"
    assert loaded.count(error) == 1
    assert read.count(f"quiet: Success {READS} reads") == 4
    first, *_, last = own_driver_oks(result.events, 0)
    asked_for, as_it_comes = (
        sum(isinstance(event, Interrupt) for event in session.events) for session in (first, last)
    )
    # Of a fast disk a spinning look sees nearly all; some of both are the host's affair.
    assert asked_for >= 4 * as_it_comes + READS // 15


# --- Vectors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_given_msix_when_reads_take_long_then_one_interrupt_ends_each(
    module_folder: Path, toolbox: Disk, machine: str
) -> None:
    disk = slow_disk(module_folder)

    outcome = run_commands(
        [disk],
        toolbox,
        f"load fs0:{DRIVER}",
        probe(slot_name(0), f"reads {READS} {READ_BLOCKS}"),
        machine=machine,
    )

    assert completion(0, "MSI-X with 2 vectors") in outcome.result.text
    assert outcome.outputs[1].count("read: Success") == READS
    reads = sum(isinstance(event, Read) for event in of_disk(outcome.result.events, 0))
    n_interrupts = outcome.interrupts(0)
    print(f"{n_interrupts} interrupts for {reads} reads")
    assert INTERRUPTS_AT_LEAST <= n_interrupts <= reads


def test_given_no_vectors_when_there_is_no_way_to_the_line_then_polled_and_no_interrupts_asked_for(
    module_folder: Path, toolbox: Disk
) -> None:
    disk = slow_disk(module_folder, **NO_VECTORS)

    outcome = run_commands(
        [disk],
        toolbox,
        f"load fs0:{DRIVER}",
        probe(slot_name(0), f"reads {READS} {READ_BLOCKS}"),
    )

    reason = "polled: the firmware offers no way to its interrupt line"
    assert completion(0, reason) in outcome.result.text
    assert outcome.outputs[1].count("read: Success") == READS
    # QEMU raises the first in any case: it does not know yet that nobody wants it.
    assert outcome.interrupts(0) <= 1


def test_given_more_disks_than_vectors_when_driven_then_some_poll_and_all_read_right(
    numbered: DiskImage, toolbox: Disk
) -> None:
    disks = [Disk(numbered, boot=False, read_only=True) for _ in range(3)]

    outcome = run_commands(
        disks,
        toolbox,
        story("take 3", f"load {DRIVER}", "vectors", "free"),
        probe("all", "checksum"),
    )

    ways = ["MSI-X with 2 vectors", "MSI-X with 1 vector", "polled: all interrupt vectors are taken"]
    for number, way in enumerate(ways):
        line = completion(number, way).replace("writable", "read-only")
        assert line in outcome.result.text, outcome.outputs[0]
        assert_reads_right(outcome.outputs[1], number, numbered.path.read_bytes())
    assert "0 free, 3 of the driver" in outcome.said


@pytest.mark.parametrize("vectors", [1, 2, 9, 2048])
def test_given_any_msix_table_when_driven_then_no_more_vectors_than_there_are_queues(
    module_folder: Path, toolbox: Disk, vectors: int
) -> None:
    """Checks: PCI-MSIX-1, PCI-MSIX-3, PCI-MSIX-4"""
    disk = slow_disk(module_folder, vectors=vectors)

    outcome = run_commands(
        [disk],
        toolbox,
        story(f"load {DRIVER}", "vectors", "msix"),
        probe(slot_name(0), f"reads {READS} {READ_BLOCKS}"),
    )

    used = min(vectors, 2)
    assert f"{VECTORS_FREE - used} free, {used} of the driver" in outcome.said
    control = 0x8000 | (vectors - 1)
    masked = f"{vectors - used} of {vectors} masked"
    assert any(f"control {control:04X}, {masked}" in line for line in outcome.said), outcome.said
    assert outcome.outputs[1].count("read: Success") == READS
    assert outcome.interrupts(0) >= INTERRUPTS_AT_LEAST


# --- Afterwards -----------------------------------------------------------------------------------


def test_given_driver_when_unloaded_then_vectors_are_free_and_msix_is_off(
    module_folder: Path, numbered: DiskImage, toolbox: Disk
) -> None:
    disks = [slow_disk(module_folder), Disk(numbered, boot=False, read_only=True)]

    outcome = run_commands(
        disks,
        toolbox,
        story("vectors", f"load {DRIVER}", "vectors", "storm 100", "unload", "vectors", "msix"),
    )

    counts = [line for line in outcome.said if line.endswith("of the driver")]
    assert counts == [
        f"{VECTORS_FREE} free, 0 of the driver",
        f"{VECTORS_FREE - 4} free, 4 of the driver",
        f"{VECTORS_FREE} free, 0 of the driver",
    ]
    controls = [line for line in outcome.said if "control" in line]
    assert len(controls) == 2
    for line in controls:
        assert re.search(r"control 0001, 2 of 2 masked, command 0\d07$", line), line


def test_given_driver_when_boot_services_end_then_handlers_are_gone_and_msix_is_off(
    module_folder: Path, numbered: DiskImage, toolbox: Disk
) -> None:
    disks = [slow_disk(module_folder), Disk(numbered, boot=False, read_only=True)]
    commands = story(
        f"load {DRIVER}", "vectors", "storm 100", "exit", "vectors", "msix", "apic"
    )

    with Machine([*disks, toolbox]) as machine:
        shell = Shell(machine)
        shell.begin(commands)
        machine.wait_for(f"{PREFIX}done")
        result = machine.finish()

    text = result.text
    assert f"{PREFIX}{VECTORS_FREE - 4} free, 4 of the driver" in text
    after = text[text.index(f"{PREFIX}left: 1") :]
    assert f"{PREFIX}{VECTORS_FREE} free, 0 of the driver" in after
    assert len(re.findall(r"control 0001, 2 of 2 masked", after)) == 2, after
    # Not even the next kernel finds anything of ours; the firmware's tick is its own affair.
    assert re.search(r"0 in service, [01] requested", after), after


def test_given_storm_when_nothing_has_caused_it_then_all_is_read_right_and_afterwards_too(
    numbered: DiskImage, toolbox: Disk
) -> None:
    disks = [Disk(numbered, boot=False, read_only=True) for _ in range(2)]

    outcome = run_commands(
        disks,
        toolbox,
        story(
            f"load {DRIVER}",
            f"storm {STORM}",
            "unload",
            "catch",
            f"late {STORM}",
            "free",
            f"load {DRIVER}",
            f"storm {STORM}",
        ),
        probe("all", "checksum"),
    )

    # A hundred times, on two disks.
    storms = [line for line in outcome.said if line.startswith("storm")]
    assert storms == [f"storm of {STORM}, 200 reads, 0 errors"] * 2, outcome.said
    assert "4 of 4 caught" in outcome.said
    assert f"{STORM} of {STORM} came late" in outcome.said
    for number in range(2):
        assert_reads_right(outcome.outputs[1], number, numbered.path.read_bytes())


# --- Lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_given_an_8259_when_disks_have_no_vectors_then_their_lines_end_each_read(
    module_folder: Path, toolbox: Disk, machine: str
) -> None:
    first = slow_disk(module_folder, **NO_VECTORS)
    second = slow_disk(module_folder, addr=f"{FIRST_SLOT + SAME_LINE:#x}", **NO_VECTORS)
    reads = f"reads {READS} {READ_BLOCKS}"

    outcome = run_commands(
        [first, second],
        toolbox,
        "load fs0:pic.efi",
        story(f"load {DRIVER}", "vectors"),
        probe(slot_name(0), reads),
        probe(slot_name(SAME_LINE), reads),
        machine=machine,
    )

    lines = re.findall(r"writable, interrupts over line (\d+)\n", outcome.result.text)
    assert len(lines) == 2 and lines[0] == lines[1], outcome.outputs[1]
    assert f"{VECTORS_FREE - 1} free, 1 of the driver" in outcome.said
    for number in range(2):
        assert outcome.outputs[2 + number].count("read: Success") == READS
        assert outcome.interrupts(number) >= INTERRUPTS_AT_LEAST


def bar_0(qtest: Qtest, slot: int) -> int:
    """Where the firmware has put it."""
    qtest.outl(0xCF8, 0x80000000 | slot << 11 | 0x10)
    return qtest.inl(0xCFC) & 0xFFFFFFF0


def masked_irqs(machine: Machine) -> int:
    """As the two 8259s say, the first one's in the low byte."""
    said = machine.qmp().execute("human-monitor-command", **{"command-line": "info pic"})
    masks = dict(re.findall(r"^pic(\d): .*?imr=(\w\w)", said, re.M))
    return int(masks["0"], 16) | int(masks["1"], 16) << 8


def test_given_somebody_else_on_the_line_when_he_raises_it_for_good_then_polled(
    module_folder: Path, toolbox: Disk
) -> None:
    """Nobody acknowledges QEMU's edu device, as nobody does a device without a driver."""
    slot = FIRST_SLOT + SAME_LINE
    socket = module_folder / "qtest"
    arguments = ("-device", f"edu,addr={slot:#x}", *Qtest.arguments(socket))
    reads = probe(slot_name(0), f"reads {READS} {READ_BLOCKS}")

    disks = [slow_disk(module_folder, **NO_VECTORS), toolbox]
    with Machine(disks, extra_arguments=arguments) as machine:
        shell = Shell(machine)
        shell.run("load fs0:pic.efi")
        said = shell.run(f"load fs0:{DRIVER}")
        line = int(re.findall(r"interrupts over line (\d+)", said)[0])
        before = masked_irqs(machine)
        with Qtest(socket) as qtest:
            qtest.write32(bar_0(qtest, slot) + EDU_RAISE, 1)
        output = shell.run(reads)
        after = masked_irqs(machine)
        machine.finish()

    assert output.count("read: Success") == READS
    assert not before & 1 << line, said
    assert after & 1 << line


def test_given_line_when_driver_unloaded_then_masked_and_its_vector_free(
    module_folder: Path, toolbox: Disk
) -> None:
    disk = slow_disk(module_folder, **NO_VECTORS)

    with Machine([disk, toolbox]) as machine:
        shell = Shell(machine)
        shell.run("load fs0:pic.efi")
        before = masked_irqs(machine)
        output = shell.run(story(f"load {DRIVER}", "vectors", "unload", "vectors"))
        after = masked_irqs(machine)
        machine.finish()

    assert "interrupts over line" in output
    assert f"{VECTORS_FREE - 1} free, 1 of the driver" in output
    assert f"{VECTORS_FREE} free, 0 of the driver" in output
    assert before == after
