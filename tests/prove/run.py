#!/usr/bin/python3
"""Prove what can be proven of the ring core, and show that the proofs can fail.

Eva (Frama-C) runs over tests/prove/eva_ring.c, which is core/virtqueue.c and its set-up called in any
order, the rings being memory that changes at every read: for queues of 1, 2, 4 and 8 and each set of
features there is to be no alarm. Each of FAULTS, put into a copy of the source, has to raise one.
Eva also visits every state of the queues of STATES, by tests/prove/eva_states.c, and is to prove each
check in it; each of BROKEN_PROMISES has to leave one unproven, and so has each claim that something
never happens. In both, a check that Eva did not come to is not proven.
WP (Frama-C) proves the contracts of tests/prove/wp_index.c on the functions that do the arithmetic
with indices; each of WRONG_CODE leaves the one unproven that it breaks.
z3 looks for counterexamples to the sentences of tests/prove/index.smt2, whose functions are compared
with the source; each of WRONG, put into a copy of that file, has to have one. A tool that is missing
or takes too long has shown nothing, and what it was asked for fails.

Prints a line for each; the last is "N passed, N failed".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build/prove"
LIMIT_S = 1200  # for a tool; the longest takes some minutes
WORKERS = 2

INDIRECT, EVENT_IDX, IN_ORDER = 1 << 28, 1 << 29, 1 << 35
SOME_DIRECT = 1 << 63  # no feature: chains may take some descriptors without tables
FEATURES = {
    "none": 0,
    "indirect, events": INDIRECT | EVENT_IDX,
    "in order": IN_ORDER,
    "all": INDIRECT | EVENT_IDX | IN_ORDER,
    "all, some chains without tables": INDIRECT | EVENT_IDX | IN_ORDER | SOME_DIRECT,
}
SIZES = (1, 2, 4, 8)
STATES = [(4, "in order")] + [(size, name) for size in (1, 2) for name in FEATURES]  # the longest first

EVA = ["frama-c", "-c11", "-machdep", "gcc_x86_64", "-eva", "-eva-no-show-progress"]
# One state through the calls, so that any order of them is in it; as many as it takes elsewhere.
ALL_IN_ONE = [
    *EVA, "-eva-slevel", "40", "-eva-slevel-function", "call_any:0", "-eva-auto-loop-unroll", "400",
    "-eva-split-return", "auto", "-eva-split-return-function",
    "virtqueue_init:0,virtqueue_pop_used:0,vq_config_is_valid:0",
]
# No two states become one, unless one of them is among what the other stands for.
ONE_BY_ONE = [*EVA, "-eva-slevel", "1000000", "-eva-split-return", "full", "-eva-no-results"]


@dataclass(frozen=True)
class Fault:
    """What is wrong in a copy of a file, and then has to be noticed."""

    name: str
    old: str
    new: str
    size: int = 2  # of the queue in which it shows
    features: int = INDIRECT


FAULTS = (
    Fault("any id is taken", "    if (id >= vq->size)\n", "    if (0)\n"),
    Fault("one id too many", "    if (id >= vq->size)\n", "    if (id > vq->size)\n"),
    Fault("the id is loaded again", "head = &vq->shadow[id];", "head = &vq->shadow[ring_load32(&elem->id)];"),
    Fault("slots without a mask", "vq->used->ring[vq->n_used & vq->mask]", "vq->used->ring[vq->n_used]"),
    Fault("a table for one more", "n_bufs <= vq->table_entries ? 1", "n_bufs <= vq->table_entries + 1u ? 1", size=8),
    Fault("the table of the next", "(size_t)head->index * vq->table_entries,", "(head->index + 1u) * vq->table_entries,"),
    Fault("in order without an end", "head->n_descriptors) & vq->mask);", "head->n_descriptors));", features=IN_ORDER),
    Fault("a drain without an end", "vq->drain_next < vq->size;", "vq->drain_next <= vq->size;"),
)

BROKEN_PROMISES = (
    Fault("any used idx is taken", "if (n_ready > vq->n_published - vq->n_used) {", "if (0) {", features=0),
    Fault("more is used than published", "if (n_ready > vq->n_published - vq->n_used) {", "if (n_ready > vq->n_added - vq->n_used) {", features=0),
    Fault("a chain comes back twice", "if (head->n_descriptors == 0 || head->number", "if (head->number", features=0),
    Fault("a chain comes back unpublished", "head->n_descriptors == 0 || head->number >= vq->n_published", "head->n_descriptors == 0", features=0),
    Fault("any len is taken", "if (len > head->writable_bytes)", "if (0)", features=0),
    Fault("the bound of another chain", "if (len > head->writable_bytes)", "if (len > vq->shadow[vq->in_order_head].writable_bytes)", features=IN_ORDER),
    Fault("only the last writable buffer counts", "writable += len;", "writable = len;", features=IN_ORDER | INDIRECT),
    Fault("any batch is taken", "if (n_batch > vq->n_ready)", "if (0)", features=IN_ORDER),
    Fault("what a batch leaves out is as long as its last", "vq->n_batch == 0 ? vq->batch_len : head->writable_bytes", "vq->batch_len", features=IN_ORDER),
    Fault("a refused chain counts", "    head->n_descriptors = 0;\n    vq->n_added--;\n", "    head->n_descriptors = 0;\n", features=0),
    Fault("a broken queue takes chains", "    vq->n_free = 0;\n    vq->n_ready = 0;\n    return NULL;\n", "    vq->n_ready = 0;\n    return NULL;\n", features=0),
    Fault("a broken queue publishes", "if (vq->n_published == vq->n_added || vq->fault != VIRTQUEUE_FAULT_NONE)", "if (vq->n_published == vq->n_added)", features=0),
    Fault(
        "a chain without a table counted as one with",
        "head = vq_take(vq, n_bufs, cookie);", "head = vq_take(vq, 1, cookie);",
        features=INDIRECT | SOME_DIRECT,
    ),
    Fault("a table without a free descriptor", "return fits_table && vq->n_free ?", "return fits_table ?"),
    Fault("the free list ends at a head", "vq->free_tail = head->tail;", "vq->free_tail = head;", features=0),
    Fault("a drain misses chains of one", "        if (head->n_descriptors == 0)\n            continue;\n", "        if (head->n_descriptors < 2)\n            continue;\n", features=0),
    Fault("a drained chain comes back", "    if (head->n_descriptors == 0) /* drained since the batch began */\n        return vq_break(vq, VIRTQUEUE_FAULT_ID_NOT_HEAD, head->index);\n", "", features=IN_ORDER),
    Fault("what was announced is forgotten", "return n_there < vq->n_ready ? vq->n_ready : n_there;", "return n_there;", features=0),
)

WP = ["frama-c", "-c11", "-machdep", "gcc_x86_64", "-wp", "-wp-prover", "z3", "-wp-par", "2"]
WP_ASSUMED = "barrier_device_"  # instructions, of which WP knows nothing
WP_LIMIT_S = 60  # for a goal; none takes more than 2
WP_LIMIT_WRONG_S = 3  # what cannot be proven is given up

COMPARISON = "(uint16_t)((uint16_t)end - index - 1) < end - first;"

# What is wrong, and the goal that it has to leave unproven.
WRONG_CODE = {
    "vq_is_among it_is_among": Fault("one chain too many", COMPARISON, COMPARISON.replace(" < ", " <= ")),
    "vq_is_among none_is_missed": Fault("a comparison without a wrap", COMPARISON, "end - index - 1 < end - first;"),
    "vq_distance ahead": Fault("a distance without a wrap", "(uint16_t)(idx - (uint16_t)n_taken);", "(uint16_t)(idx > n_taken ? idx - n_taken : 0);"),
    "vq_look_at_used_idx window": Fault("a window of one more", "if (n_ready > vq->n_published - vq->n_used) {", "if (n_ready > vq->n_published - vq->n_used + 1) {"),
    "virtqueue_enable_callbacks_after at_the_nth": Fault("an event one later", "vq->n_used + n_chains - 1u", "vq->n_used + n_chains"),
    "virtqueue_disable_callbacks at_the_last": Fault("an event behind what was popped", "vq->n_used + vq->n_ready - 1)", "vq->n_used - 1)"),
    "vq_stay_quiet not_far_behind": Fault("an event left behind", "vq->used_event) > VQ_QUIET_CHAINS", "vq->used_event) > VQ_QUIET_CHAINS + 1"),
    "vq_n_there no_less_than_announced": Fault("what was announced is forgotten", "return n_there < vq->n_ready ? vq->n_ready : n_there;", "return n_there;"),
}

# The functions of index.smt2, as they stand in the source.
TRANSCRIBED = {
    "return (uint16_t)((uint16_t)end - index - 1) < end - first;": "core/virtqueue.c",
    "return (uint16_t)(idx - (uint16_t)n_taken);": "core/virtqueue.c",
    "vq_set_used_event(vq, vq->n_used + n_chains - 1u);": "core/virtqueue.c",
    "vq_set_used_event(vq, vq->n_used + vq->n_ready - 1);": "core/virtqueue.c",
    "ring_fill16(&vq->avail->ring[number & vq->mask], head->index);": "core/virtqueue.c",
    "elem = &vq->used->ring[vq->n_used & vq->mask];": "core/virtqueue.c",
    "vq->mask = size - 1u;": "core/virtqueue_setup.c",
    "return size != 0 && size <= VIRTQUEUE_SIZE_MAX && (size & (size - 1)) == 0;": "core/virtqueue_setup.c",
}

WRONG = (
    Fault("the comparison takes one too many", "(bvult (wide (bvsub (bvsub (low end)", "(bvule (wide (bvsub (bvsub (low end)"),
    Fault("the comparison is one off", "(low end) index) #x0001)) (bvsub end first)))", "(low end) index) #x0000)) (bvsub end first)))"),
    Fault("the comparison does not wrap", "(bvult (wide (bvsub (bvsub (low end) index) #x0001))", "(bvult (bvsub (bvsub end (wide index)) #x0000000000000001)"),
    Fault("the event is one later", "(bvsub (bvadd n_used (wide n_chains)) #x0000000000000001)", "(bvadd n_used (wide n_chains))"),
    Fault("the mask has a hole", "(bvsub (wide size) #x0000000000000001)", "(bvsub (wide size) #x0000000000000002)"),
    Fault("the mask is the size", "(bvsub (wide size) #x0000000000000001)", "(wide size)"),
    Fault("any size is taken", "(= (bvand size (bvsub size #x0001)) #x0000)", "true"),
    Fault("the distance has 8 bits", "u16 (bvsub idx (low n_taken)))", "u16 (bvand #x00FF (bvsub idx (low n_taken))))"),
)


def run(words: list[str], folder: Path = ROOT) -> str:
    """What a tool says, also when it fails: then that is looked at."""
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, errors="replace", timeout=LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr


def command(options: list[str], harness: str, size: int, features: int, more: str = "") -> list[str]:
    defines = f"-DVQ_SIZE={size} -DVQ_ENTRIES={min(size, 4)}"
    defines += f" -DVQ_FEATURES={features & ~SOME_DIRECT | 1 << 32}ull"
    defines += f" -DVQ_DIRECT={max(2, size // 2) if features & SOME_DIRECT else 0}"
    return [*options, f"-cpp-extra-args=-I. {defines} {more}", f"tests/prove/{harness}"]


def count_alarms(text: str) -> tuple[int, list[str]]:
    """How many alarms Eva counts, -1 if it did not come to an end, and where they are."""
    count = re.search(r"^\s*(\d+) alarms? generated by the analysis", text, re.M)
    if count is None:
        return -1, text.splitlines()[-8:]
    # An assertion of the harness that is not proven is no alarm of this count.
    unproven = len(re.findall(r"got status (?:unknown|invalid)", text))
    return int(count[1]) + unproven, re.findall(r"^\[eva:alarm\] (.*\n\s*.*)$", text, re.M)


def first_alarm(words: list[str], tree: Path) -> str:
    """The first check that is not proven or alarm, at which Eva is stopped; empty if there is none."""
    with subprocess.Popen(
        ["timeout", str(LIMIT_S), *words], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as eva:
        for line in eva.stdout or ():
            if line.startswith("[eva:alarm]"):
                eva.terminate()
                return next(iter(eva.stdout or ()), "").strip()
    return ""


def count_unreached(harness: str, text: str) -> int:
    """How many checks of a harness Eva did not come to: what lies behind them is not analysed."""
    source = (HERE / harness).read_text("utf-8")
    source = re.sub(r"^#ifdef VQ_CLAIMS$.*?^#endif$", "", source, flags=re.M | re.S)
    reached = re.search(r"^\s*Assertions .*\s(\d+) total$", text, re.M)
    return len(re.findall(r"/\*@ (?:check|assert) ", source)) - int(reached[1] if reached else 0)


def judge_no_alarm(what: str, harness: str, text: str) -> tuple[bool, str]:
    n_alarms, where = count_alarms(text)
    n_unreached = count_unreached(harness, text)
    if n_alarms == 0 and n_unreached == 0:
        return True, f"{what}: no alarm"
    if n_alarms == 0:
        return False, f"{what}: no alarm, but {n_unreached} checks are not reached"
    return False, f"{what}: {n_alarms} alarms\n" + "\n".join(f"    {line}" for line in where)


def judge_case(case: tuple[int, str]) -> tuple[bool, str]:
    size, name = case
    text = run(command(ALL_IN_ONE, "eva_ring.c", size, FEATURES[name]))
    return judge_no_alarm(f"Eva: queue of {size}, features: {name}", "eva_ring.c", text)


def judge_states(case: tuple[int, str]) -> tuple[bool, str]:
    size, name = case
    text = run(command(ONE_BY_ONE, "eva_states.c", size, FEATURES[name]))
    what = f"Eva: every state of a queue of {size}, features: {name}"
    return judge_no_alarm(what, "eva_states.c", text)


def judge_claims() -> tuple[bool, str]:
    """What eva_states.c rests on: that the states it is about do come up."""
    claims = set(re.findall(r"check (never_\w+):", (HERE / "eva_states.c").read_text("utf-8")))
    text = run(command(ONE_BY_ONE, "eva_states.c", 2, IN_ORDER, "-DVQ_CLAIMS"))
    refuted = claims & set(re.findall(r"'(never_\w+)' got status invalid", text))
    what = f"Eva: {len(refuted)} of {len(claims)} claims of what never happens are refuted"
    return bool(claims) and refuted == claims, what + "".join(f", not {name}" for name in sorted(claims - refuted))


def faulty_tree(fault: Fault) -> Path | None:
    """The sources with one fault; None if its text is not there exactly once."""
    source = (ROOT / "core/virtqueue.c").read_text("utf-8")
    if source.count(fault.old) != 1:
        return None
    # Frama-C looks in the folder that it is started in before all others.
    tree = WORK / fault.name.replace(" ", "-")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT / "core", tree / "core")
    shutil.copytree(HERE, tree / "tests/prove")
    (tree / "core/virtqueue.c").write_text(source.replace(fault.old, fault.new), "utf-8")
    return tree


def judge_fault(fault: Fault) -> tuple[bool, str]:
    tree = faulty_tree(fault)
    if not tree:
        return False, f"Eva: {fault.name}: its text is not in core/virtqueue.c exactly once"
    text = run(command(ALL_IN_ONE, "eva_ring.c", fault.size, fault.features), tree)
    n_alarms, _ = count_alarms(text)
    return n_alarms > 0, f"Eva: {fault.name}: {n_alarms} alarms, as there have to be"


def judge_broken_promise(fault: Fault) -> tuple[bool, str]:
    tree = faulty_tree(fault)
    if not tree:
        return False, f"Eva: {fault.name}: its text is not in core/virtqueue.c exactly once"
    alarm = first_alarm(command(ONE_BY_ONE, "eva_states.c", fault.size, fault.features), tree)
    return bool(alarm), f"Eva: {fault.name}: {alarm or 'nothing was noticed'}"


def prove_contracts(functions: list[str], limit_s: int, tree: Path = ROOT) -> tuple[int, list[str]]:
    """How many goals WP has for these functions, -1 if it did not come to an end; the unproven ones."""
    options = ["-wp-timeout", str(limit_s), "-wp-fct", ",".join(functions), "-cpp-extra-args=-I."]
    text = run([*WP, *options, "tests/prove/wp_index.c"], tree)
    count = re.search(r"Proved goals:\s+(\d+) / (\d+)", text)
    unproven = re.findall(r"Goal typed_(\w+) : (?!Valid)", text)
    if count is None or int(count[2]) - int(count[1]) != len(unproven):
        return -1, text.splitlines()[-8:]
    return int(count[2]), unproven


def judge_contracts() -> Iterator[tuple[bool, str]]:
    """Each contract of wp_index.c on the source; then each piece of wrong code."""
    os.environ["WHY3CONFIG"] = str(WORK / "why3.conf")
    run(["why3", "config", "detect"])
    declared = re.findall(r"^\w.*?(\w+)\(.*\);$", (HERE / "wp_index.c").read_text("utf-8"), re.M)
    functions = [name for name in declared if not name.startswith(WP_ASSUMED)]
    n_goals, unproven = prove_contracts(functions, WP_LIMIT_S)
    what = f"WP: {n_goals} goals for {len(functions)} functions, {len(unproven)} not proven"
    yield n_goals > len(functions) and not unproven, what + "".join(f"\n    {goal}" for goal in unproven)
    for goal, fault in WRONG_CODE.items():
        tree = faulty_tree(fault)
        if not tree:
            yield False, f"WP: {fault.name}: its text is not in core/virtqueue.c exactly once"
            continue
        function, name = goal.split()
        _, unproven = prove_contracts([function], WP_LIMIT_WRONG_S, tree)
        broken = f"{function}_ensures_{name}"
        yield broken in unproven, f"WP: {fault.name}: {goal} is not to be proven, and {'is not' if broken in unproven else 'is'}"


def sentences(text: str) -> list[tuple[str, str]]:
    """Each sentence with z3's answer to its negation."""
    WORK.mkdir(parents=True, exist_ok=True)
    file = WORK / "index.smt2"
    file.write_text(text, "utf-8")
    answers = run(["z3", f"-T:{LIMIT_S}", str(file)]).splitlines()
    names = re.findall(r'\(echo "(.*)"\)', text)
    return [(name, answers[answers.index(name) + 1]) for name in names if name in answers[:-1]]


def judge_transcript(root: Path = ROOT) -> Iterator[tuple[bool, str]]:
    text = (HERE / "index.smt2").read_text("utf-8")
    for line, file in TRANSCRIBED.items():
        source = (root / file).read_text("utf-8")
        same = source.count(line) == 1 and text.count(f"; {line}\n") == 1
        yield same, f"z3: {line} {'is' if same else 'is not'} what {file} says"


def judge_arithmetic() -> Iterator[tuple[bool, str]]:
    yield from judge_transcript()
    text = (HERE / "index.smt2").read_text("utf-8")
    proven = sentences(text)
    yield len(proven) == len(re.findall(r"^\(check-sat\)", text, re.M)), f"z3: {len(proven)} sentences are answered"
    for name, answer in proven:
        yield answer == "unsat", f"z3: {name}: {answer}"
    for fault in WRONG:
        if text.count(fault.old) != 1:
            yield False, f"z3: {fault.name}: its text is not in index.smt2 exactly once"
            continue
        refuted = [n for n, answer in sentences(text.replace(fault.old, fault.new)) if answer == "sat"]
        yield bool(refuted), f"z3: {fault.name}: {len(refuted)} sentences are refuted, as there have to be"


def nondeterminism() -> tuple[bool, str]:
    """What all rests on: two reads of the same place may differ, so Eva must not prove that they agree."""
    folder = WORK / "reads"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reads.c").write_text(
        '#define __atomic_thread_fence(order) ((void)(order))\n#include "core/mem.h"\n'
        "static le16 place;\nint main(void)\n{\n    uint16_t first = ring_load16(&place);\n"
        "    uint16_t second = ring_load16(&place);\n    /*@ assert same: first == second; */\n"
        "    return first == second;\n}\n"
    )
    text = run([*EVA, f"-cpp-extra-args=-I{ROOT}", str(folder / "reads.c")])
    return "'same' got status unknown" in text, "Eva: two reads of a ring may differ"


def main() -> int:
    verdicts: list[tuple[bool, str]] = []

    def say(verdict: tuple[bool, str]) -> None:
        verdicts.append(verdict)
        print(f"{'ok    ' if verdict[0] else 'FAILED'} {verdict[1]}", flush=True)

    for verdict in judge_arithmetic():
        say(verdict)
    for verdict in judge_contracts():
        say(verdict)
    say(nondeterminism())
    with ThreadPoolExecutor(WORKERS) as pool:
        for verdict in pool.map(judge_case, [(size, name) for size in SIZES for name in FEATURES]):
            say(verdict)
        for verdict in pool.map(judge_states, STATES):
            say(verdict)
        for verdict in pool.map(judge_fault, FAULTS):
            say(verdict)
        for verdict in pool.map(judge_broken_promise, BROKEN_PROMISES):
            say(verdict)
    say(judge_claims())
    n_passed = sum(good for good, _ in verdicts)
    print(f"{n_passed} passed, {len(verdicts) - n_passed} failed")
    return 0 if n_passed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
