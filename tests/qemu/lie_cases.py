"""What the lying disks of test_lying_disk.py lie about, and what virtboot is to say of each.

On each of them are two entries, which virtboot skips for their last line. A disk that is none the
worse for its lie shows that by two messages that only a reader of all the lines can print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from image import ENTRY_FOLDER
from vhost_user_blk import Feature

# In the order in which virtboot looks at them, each with the number of its last line.
ENTRIES = {"entry-2.conf": 1002, "entry-1.conf": 1001}

# How much the firmware's FAT driver reads at once of such a file, with its neighbours.
PAGE_BYTES = 64 * 1024

# Requests of 4 KiB where there would be one for 64: sixteen are in flight together.
MANY_IN_FLIGHT: Mapping[str, Any] = {
    "config": {"size_max": 4096, "seg_max": 1},
    "more_features": (Feature.SIZE_MAX,),
}
RING_FEATURES: Mapping[str, Any] = {"more_features": (Feature.EVENT_IDX, Feature.INDIRECT_DESC)}

# What virtboot's driver says; what the device answered comes last.
ID_TOO_LARGE = "used id is no descriptor of the queue"
WRONG_ID = "used id is not the head of a chain in flight 0x[0-9A-F]+"
WRONG_IDX = "used idx is not within the chains in flight 0x[0-9A-F]+"
TOO_LONG = "used len is more than the chain's writable bytes"
TOO_SHORT = "the device claims success but wrote too few bytes:"
STRANGE_STATUS = "the device gave an unknown status:"
CAUGHT = f"({WRONG_IDX}|{WRONG_ID}|{STRANGE_STATUS} 0xFF)"
NO_ANSWER = "no answer, after microseconds 0x([0-9A-F]+)"
STRANGE_BLOCKS = "not supported: its logical block size is no power of two from 512 to 2 MiB:"
OVERFLOW = "the device breaks the specification: its capacity overflows, in sectors:"


@dataclass(frozen=True)
class Row:
    """A lying disk, and patterns for all errors that virtboot is to report of it, in order.

    The lie begins with the first read of the file `since`, or with the first request. `plan` is
    LyingDisk's. `line` is something else that virtboot says of the disk. Of `undriven` ones it has
    seen enough before DRIVER_OK.
    """

    name: str
    errors: Sequence[str]
    lie: str | None = None
    since: str | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    line: str | None = None
    undriven: bool = False


def failed(what: str) -> str:
    """The error when the disk cannot be read."""
    return rf"read failed: Device Error: read of \d+ bytes at sector \d+: {what}"


def unreadable(entry: str, what: str) -> str:
    """The error when an entry cannot be read."""
    return f"/{ENTRY_FOLDER}/{entry}: {failed(what)}"


def skipped(entry: str) -> str:
    """The error when an entry was read, and every line of it rightly."""
    line = ENTRIES[entry]
    return rf'{entry}: line {line}: path contains a "\.\." component; the entry is skipped'


UNHARMED = tuple(skipped(entry) for entry in ENTRIES)


def fails(lie: str, what: str, **plan: Any) -> Row:
    """Told when the entries are read, which fails."""
    return told_late(lie, [unreadable(entry, what) for entry in ENTRIES], **plan)


def told_late(lie: str, errors: Sequence[str], **plan: Any) -> Row:
    """Told from the first read of an entry on."""
    return Row(lie, errors, lie, since=f"{ENTRY_FOLDER}/{next(iter(ENTRIES))}", plan=plan)


def fails_at_once(lie: str, what: str) -> Row:
    """Told from virtboot's first request on, so that no file system is found."""
    return Row(f"{lie}_at_once", (failed(what),), lie)


def harmless(lie: str, **plan: Any) -> Row:
    """Told from virtboot's first request on, and the disk is as good as any."""
    return Row(lie, UNHARMED, lie, plan=plan)


def refused(name: str, why: str, **config: int) -> Row:
    """A configuration space that virtboot only has to read."""
    errors = (f"cannot be driven: {why}",)
    return Row(name, errors, plan={"config": config}, undriven=True)


def accepted(name: str, *features: Feature, **config: int) -> Row:
    """A configuration space that is wrong, on a disk that is as good as any."""
    return Row(name, UNHARMED, plan={"config": config, "more_features": features})


def with_ring_features(row: Row) -> Row:
    """The same with all features of the queue offered, whichever the driver accepts."""
    return replace(row, name=f"{row.name}_with_ring_features", plan={**row.plan, **RING_FEATURES})


def of_many(row: Row) -> Row:
    """The same with many requests in flight."""
    return replace(row, name=f"{row.name}_of_many", plan={**row.plan, **MANY_IN_FLIGHT})


# Each group is one machine, which has room for fourteen in front of the good disk.
GROUPS: Mapping[str, Sequence[Row]] = {
    # The queue is broken: not a word of the device is believed any more.
    "queue": (
        fails("id_beyond_the_queue", f"{ID_TOO_LARGE} 0x80"),
        # An id has 32 bits. Of this one the lower 16 are right.
        fails("id_right_in_its_low_half_only", f"{ID_TOO_LARGE} 0x100[0-9A-F]{{2}}"),
        fails("id_inside_the_chain", WRONG_ID),
        fails("id_of_a_free_descriptor", WRONG_ID),
        of_many(fails("id_of_the_first_in_the_batch", WRONG_ID)),
        fails("answered_twice", WRONG_IDX),
        fails("idx_one_too_far", WRONG_IDX),
        of_many(fails("idx_one_too_far", WRONG_IDX)),
        fails("idx_far_away", WRONG_IDX),
        fails("idx_goes_back", WRONG_IDX),
        # Once caught, the device is not listened to any more, though it is right again.
        fails("idx_taken_back", WRONG_IDX),
        fails("len_one_too_many", f"{TOO_LONG} 0x{PAGE_BYTES + 2:X}"),
        fails("len_all_ones", f"{TOO_LONG} 0xFFFFFFFF"),
        with_ring_features(fails("len_all_ones", f"{TOO_LONG} 0xFFFFFFFF")),
    ),
    # The request has failed: what was in the buffer before is not taken for the file.
    "answer": (
        fails("len_0", f"{TOO_SHORT} 0x0"),
        # All of the data; but the status byte counts too.
        fails("len_one_too_few", f"{TOO_SHORT} 0x{PAGE_BYTES:X}"),
        fails("only_the_status_written", f"{TOO_SHORT} 0x1"),
        with_ring_features(fails("only_the_status_written", f"{TOO_SHORT} 0x1")),
        fails("status_not_written", f"{STRANGE_STATUS} 0xFF"),
        fails("status_1", "the device reports an I/O error, status 0x1"),
        fails("status_2", "the device does not support the request, status 0x2"),
        fails("status_3", f"{STRANGE_STATUS} 0x3"),
        fails("status_255", f"{STRANGE_STATUS} 0xFF"),
        # Where virtboot is when it meets the lie is a matter of luck: still at the answer before it,
        # or at a request that is not carried out yet.
        told_late(
            "answered_before_it_was_asked",
            [
                f"{skipped('entry-2.conf')}|{unreadable('entry-2.conf', WRONG_IDX)}",
                unreadable("entry-1.conf", CAUGHT),
            ],
        ),
        # It may also see none but the right index.
        told_late(
            "idx_flickers",
            [f"{skipped(entry)}|{unreadable(entry, CAUGHT)}" for entry in ENTRIES],
        ),
        # Slow is not dishonest.
        told_late("answered_late", UNHARMED),
        # Nothing to be found out here: the entry is somebody's text, as it always is.
        told_late(
            "other_data", [rf"{entry}: line \d+: .*; the entry is skipped" for entry in ENTRIES]
        ),
    ),
    # The firmware's partition driver, which comes first, sees a disk of which every read fails.
    "at_once": (
        fails_at_once("id_beyond_the_queue", f"{ID_TOO_LARGE} 0x80"),
        fails_at_once("id_of_a_free_descriptor", WRONG_ID),
        fails_at_once("idx_far_away", WRONG_IDX),
        fails_at_once("idx_goes_back", WRONG_IDX),
        fails_at_once("len_0", f"{TOO_SHORT} 0x0"),
        fails_at_once("len_all_ones", f"{TOO_LONG} 0xFFFFFFFF"),
        fails_at_once("only_the_status_written", f"{TOO_SHORT} 0x1"),
        fails_at_once("status_not_written", f"{STRANGE_STATUS} 0xFF"),
        fails_at_once("status_1", "the device reports an I/O error, status 0x1"),
        # Another partition table with every read; no read has failed.
        Row("other_data_at_once", (), "other_data"),
    ),
    # The private shadow knows what is in flight, so nothing of this matters.
    "harmless": (
        Row("honest", UNHARMED),
        with_ring_features(Row("honest", UNHARMED)),
        of_many(harmless("answered_in_reverse_order")),
        harmless("descriptors_overwritten"),
        with_ring_features(harmless("descriptors_overwritten")),
        harmless("available_ring_overwritten"),
        harmless("used_ring_overwritten"),
        with_ring_features(harmless("used_ring_overwritten")),
        harmless("notifications_not_wanted"),
        with_ring_features(harmless("notifications_not_wanted")),
        harmless("interrupts_never"),
        harmless("interrupts_for_nothing"),
        # Of a disk that has shrunk to a sector or to nothing no entry is read.
        Row("config_changes", (), "config_changes"),
    ),
    "config": (
        refused("capacity_0", "not supported: the disk is empty, its sectors are 0x0", capacity=0),
        refused("capacity_all_ones", f"{OVERFLOW} 0xF{{16}}", capacity=2**64 - 1),
        # Its bytes are 2 to the power of 64.
        refused("capacity_overflows_by_one", f"{OVERFLOW} 0x80000000000000", capacity=2**55),
        accepted("capacity_as_large_as_can_be", capacity=2**55 - 1),
        refused("blk_size_0", f"{STRANGE_BLOCKS} 0x0", blk_size=0),
        refused("blk_size_513", f"{STRANGE_BLOCKS} 0x201", blk_size=513),
        refused("blk_size_2_gib", f"{STRANGE_BLOCKS} 0x80000000", blk_size=2**31),
        # Nothing is where it was, and the memory of 64 such blocks would be half the machine's.
        Row(
            "blk_size_2_mib",
            (),
            plan={"config": {"blk_size": 2**21}},
            line="its blocks are too large for file systems to be looked for",
        ),
        # Without VIRTIO_BLK_F_SIZE_MAX then, for by it not a block could be read.
        accepted("size_max_0", size_max=0),
        accepted("size_max_1", size_max=1),
        accepted("size_max_511", Feature.SIZE_MAX, size_max=511),
        accepted("seg_max_0", seg_max=0),
        accepted("seg_max_all_ones", Feature.SIZE_MAX, seg_max=2**32 - 1, size_max=4096),
        accepted("topology_all_ones", physical_block_exp=255, alignment_offset=255),
    ),
}

# Each of these costs virtboot the whole of its request limit.
SILENT: Sequence[Row] = (
    fails("never_answered", NO_ANSWER),
    fails("dies", NO_ANSWER),
    # To the driver the device has come up. QEMU knows that there is nobody.
    Row("dies_at_bring_up", (failed(NO_ANSWER),), plan={"dies_at": "SET_VRING_ENABLE"}),
)
