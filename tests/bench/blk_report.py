"""How the figures of the disk's benchmark are shown: Markdown tables, and a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from blk_runs import JOBS, Key, Output, Pattern

MIB = 1 << 20

# Reads per second of the host, by job and line; None: cannot be compared.
Limits = dict[tuple[str, Key], float | None]


class _Goal(Protocol):
    words: str
    unit: str

    @property
    def limit_words(self) -> str: ...


class _Verdict(Protocol):
    goal: _Goal
    measured: float | None
    floor: str

    @property
    def ok(self) -> bool: ...


@dataclass(frozen=True)
class Row:
    """One pattern on one disk through one protocol of one driver."""

    disk: str
    pattern: Pattern
    driver: str
    state: str  # "ok", or why there are no figures
    reads_per_s: float | None = None
    ratio: float | None = None  # to the firmware's driver
    host_ratio: float | None = None  # of the host's rate

    @property
    def is_ours(self) -> bool:
        return self.driver == "ours"

    @property
    def name(self) -> str:
        size = self.pattern.n_bytes
        length = f"{size} B" if size < 1024 else f"{size >> 10} KiB"
        length = f"{size >> 20} MiB" if size >= MIB else length
        return f"{length} {self.pattern.access}"

    @property
    def way(self) -> str:
        protocol = "EFI_BLOCK_IO" if self.pattern.api == 1 else "EFI_BLOCK_IO2"
        return f"{protocol}, depth {self.pattern.depth}"


# --------------------------------------------------------------------------------- gathering


def rows(outputs: Mapping[str, Output], limits: Limits) -> list[Row]:
    """The timed runs, by disk and pattern, the firmware's driver first."""
    found = []
    for job in JOBS:
        if job.name not in outputs or not job.is_timed:
            continue
        for pattern in sorted(job.ops, key=lambda item: (item.name, item.api, item.depth)):
            for driver in ("firmware", "ours") if pattern.api == 1 else ("ours",):
                limit = limits.get((job.name, pattern.key))
                found.append(_row(outputs[job.name], job.title, pattern, driver, limit))
    return found


def _row(output: Output, disk: str, pattern: Pattern, driver: str, limit: float | None) -> Row:
    results = {run.result for run in output.runs if (run.driver, run.key) == (driver, pattern.key)}
    state = ", ".join(sorted(results)) or "missing"
    ticks = output.ticks_per_op(driver, pattern.key)
    if ticks is None or state != "ok":
        return Row(disk, pattern, driver, state)
    rate = output.ticks_per_ms * 1000 / ticks
    ratio = 1.0 if driver == "firmware" else output.speed(pattern.key, Key(pattern.name))
    return Row(disk, pattern, driver, state, rate, ratio, rate / limit if limit else None)


# ------------------------------------------------------------------------------------- tables


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown that is also readable as it stands."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for line in (head, ["-" * width for width in widths], *lines):
        yield "| " + " | ".join(word.ljust(width) for word, width in zip(line, widths)) + " |"


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text + unit


def goal_table(verdicts: Sequence[_Verdict]) -> Iterator[str]:
    """What was to be reached."""
    lines = [
        (
            verdict.goal.words,
            verdict.goal.limit_words,
            "missing" if verdict.measured is None else _number(verdict.measured),
            "PASS" if verdict.ok else "FAIL",
            verdict.floor or "-",
        )
        for verdict in verdicts
    ]
    yield from _table(("goal", "limit", "measured", "verdict", "floor"), lines)


def figures(found: Sequence[Row], outputs: Mapping[str, Output]) -> Iterator[str]:
    """Everything that was measured."""
    yield from _timed(found)
    if "counts" in outputs:
        yield ""
        yield from _counted(outputs["counts"])
    if "instructions" in outputs:
        yield ""
        yield from _instructions(outputs["instructions"])


def _timed(found: Sequence[Row]) -> Iterator[str]:
    lines = [
        (
            row.disk,
            row.name,
            f"{row.driver}, {row.way}",
            _number(row.reads_per_s) if row.state == "ok" else row.state,
            _number(row.reads_per_s and row.reads_per_s * row.pattern.n_bytes / MIB),
            _number(row.ratio, " x"),
            _number(row.host_ratio and 100 * row.host_ratio, " %"),
        )
        for row in found
    ]
    head = ("disk", "pattern", "driver", "reads/s", "MiB/s", "to firmware", "of qemu-img bench")
    yield from _table(head, lines)


def _counted(output: Output) -> Iterator[str]:
    lines = []
    for run in output.runs:
        counts = output.counts.get(run.mark)
        if counts is None or run.result != "ok":
            continue
        each = (counts.reads, counts.notifications, counts.interrupts)
        per_op = [_number(number if run.key.api == 0 else number / run.ops) for number in each]
        name = f"{run.key.name}, depth {run.key.depth}"
        lines.append((name, run.driver, *per_op, str(counts.others)))
    head = ("pattern", "driver", "requests", "notifications", "interrupts", "FLUSH")
    yield "Seen by the device, for each read; of the file and of FLUSH the whole:"
    yield ""
    yield from _table(head, lines)


def _instructions(output: Output) -> Iterator[str]:
    lines = [
        (f"{run.driver}, {run.key.name}, depth {run.key.depth}", _number(run.least))
        for run in output.runs
        if run.result == "ok"
    ]
    lines += [(f"alone: {name}", _number(n)) for name, n in output.costs.items()]
    yield "Guest instructions, the least of all reads, and what the firmware's calls and the ring take:"
    yield ""
    yield from _table(("what", "instructions"), lines)


# --------------------------------------------------------------------------------------- plot

BAR_HEIGHT, ROW_HEIGHT, TEXT_WIDTH, PLOT_WIDTH, TOP = 14, 20, 430, 520, 50
DECADES = (0.1, 1.0, 10.0, 100.0, 1000.0)


def _x(ratio: float) -> float:
    """Logarithmic, and never outside the plot."""
    share = math.log10(ratio / DECADES[0]) / math.log10(DECADES[-1] / DECADES[0])
    return TEXT_WIDTH + PLOT_WIDTH * min(max(share, 0.0), 1.0)


def plot(found: Sequence[Row]) -> str:
    """Bars from 1 (the firmware's driver) to the ratio; a row without figures says why."""
    ours = [row for row in found if row.is_ours]
    height = TOP + ROW_HEIGHT * len(ours) + 10
    width = TEXT_WIDTH + PLOT_WIDTH + 80
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="10" y="20" font-size="15">virtio.efi: reads per second, as a multiple of the'
        " firmware's driver</text>",
    ]
    parts += [line for ratio in DECADES for line in _grid_line(ratio, height)]
    for number, row in enumerate(ours):
        parts += _bar(row, TOP + ROW_HEIGHT * number)
    return "\n".join([*parts, "</svg>", ""])


def _grid_line(ratio: float, height: int) -> Iterator[str]:
    x = _x(ratio)
    colour = "black" if ratio == 1 else "#cccccc"
    yield f'<line x1="{x}" y1="{TOP - 5}" x2="{x}" y2="{height - 8}" stroke="{colour}"/>'
    yield f'<text x="{x}" y="{TOP - 10}" text-anchor="middle">{ratio:g}</text>'


def _bar(row: Row, y: float) -> Iterator[str]:
    text_y = y + BAR_HEIGHT - 3
    label = escape(f"{row.disk}: {row.name}, {row.way}")
    yield f'<text x="{TEXT_WIDTH - 10}" y="{text_y}" text-anchor="end">{label}</text>'
    if row.ratio is None:
        yield f'<text x="{_x(1) + 6}" y="{text_y}" fill="#aa0000">{escape(row.state)}</text>'
        return
    left, right = sorted((_x(1), _x(row.ratio)))
    colour = "#3b7dd8" if row.pattern.api == 1 else "#2e9e5b"
    size = f'width="{right - left:.1f}" height="{BAR_HEIGHT}"'
    yield f'<rect x="{left:.1f}" y="{y}" {size} fill="{colour}"/>'
    yield f'<text x="{right + 4:.1f}" y="{text_y}">{_number(row.ratio)}</text>'
