"""The runner of the model: what spin did not show does not pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runner import load_runner

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


run = load_runner(HERE)

# ------------------------------------------------------------------------- what a search said

GOOD = """
(Spin Version 6.5.2 -- 6 December 2019)

Full statespace search for:
\tnever claim         \t- (none specified)
\tassertion violations\t+
\tcycle checks       \t- (disabled by -DSAFETY)
\tinvalid end states\t+

State-vector 92 byte, depth reached 149, errors: 0
      613 states, stored

unreached in proctype driver
\tvirtqueue.pml:405, state 556, "-end-"
\t(1 of 556 states)
"""
STALE = "pan:1: assertion violated  !(element_stale) (at depth 12)\n"
ONE_ERROR = GOOD.replace("errors: 0", "errors: 1")


def test_given_complete_search_without_error_when_judged_then_it_holds() -> None:
    assert run.judge(GOOD) == run.Verdict(run.HOLDS, "613 states, depth 149")


@pytest.mark.parametrize("sign", run.INCOMPLETE)
def test_given_incomplete_search_when_judged_then_broken(sign: str) -> None:
    assert run.judge(f"Warning: {sign}\n{GOOD}").outcome == run.BROKEN


@pytest.mark.parametrize(
    "said",
    [
        "",
        "spin: virtqueue.pml:12, Error: syntax error",
        GOOD.replace("Full statespace", "Bit statespace"),
        GOOD.replace("invalid end states\t+", "invalid end states\t- (disabled by -E flag)"),
        GOOD.replace("assertion violations\t+", "assertion violations\t- (disabled by -A flag)"),
        GOOD.replace("613 states, stored", ""),
        GOOD.replace("State-vector", ""),
        ONE_ERROR,
        GOOD[: GOOD.index("unreached")],
        GOOD.replace('"-end-"', '"D_STEP405"'),
        GOOD[: len(GOOD) // 2],
    ],
)
def test_given_anything_but_a_whole_result_when_judged_then_broken(said: str) -> None:
    assert run.judge(said).outcome == run.BROKEN


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (STALE, "element_stale"),
        (STALE.replace("!(element_stale)", "!buffer_full"), "buffer_full"),
        ("pan:1: invalid end state (at depth 7)\n", "invalid end state"),
    ],
)
def test_given_error_when_judged_then_named(error: str, outcome: str) -> None:
    assert run.judge(error + "Warning: Search not completed\n" + ONE_ERROR).outcome == outcome


# ------------------------------------------------------------------------- tools that fail


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Check one configuration that holds and one that does not with tools that do as they are told:
    exit status, and what the report gets to see."""
    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    names = ("model-flags", "model-flags-without-pop-rmb")
    kept = [c for c in run.configurations() if c.name in names]
    monkeypatch.setattr(run, "configurations", lambda: kept)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def check(spin: str = "", gcc: str = "", pan: str = "") -> tuple[int, str]:
        monkeypatch.setattr(run, "SEARCH_LIMIT_S", 2 if "sleep" in pan else 60)
        (tmp_path / "pan").write_text(f"#!/bin/sh\n{pan}\n")
        (tmp_path / "spin").write_text(f"#!/bin/sh\n{spin or ':'}\n")
        (tmp_path / "gcc").write_text(f"#!/bin/sh\n{gcc or f'cp {tmp_path}/pan pan'}\n")
        for tool in ("pan", "spin", "gcc"):
            (tmp_path / tool).chmod(0o755)
        status = run.check(tmp_path / "results", "")
        lines = (tmp_path / "results/gates-model.txt").read_text().splitlines()
        assert lines[0] == "model-mapping ok"
        return status, "\n".join(lines[1:])

    return check


NOTHING_PASSES = (1, "model-flags failed\nmodel-flags-without-pop-rmb failed")


def say(text: str) -> str:
    return f"cat <<'END'\n{text}END"


def test_given_tools_that_work_when_checked_then_each_is_judged_by_what_it_has_to_show(
    tools: Callable[..., tuple[int, str]],
) -> None:
    assert tools(pan=say(GOOD)) == (1, "model-flags ok\nmodel-flags-without-pop-rmb failed")
    assert tools(pan=say(STALE + ONE_ERROR)) == (
        1,
        "model-flags failed\nmodel-flags-without-pop-rmb ok",
    )


@pytest.mark.parametrize(
    "broken",
    [
        {"spin": "exit 1"},
        {"spin": "kill -SEGV $$"},
        {"spin": "echo 'spin: virtqueue.pml:12, Error: syntax error'"},
        {"spin": "echo trouble >&2"},
        {"gcc": "exit 1"},
        {"gcc": "true"},
        {"pan": "true"},
        {"pan": "exec sleep 20"},
        {"pan": say("pan:1: assertion violated  !(interrupt_lost) (at depth 12)\n" + ONE_ERROR)},
    ],
)
@pytest.mark.parametrize("result", [GOOD, STALE + ONE_ERROR])
def test_given_broken_tool_when_checked_then_nothing_passes(
    tools: Callable[..., tuple[int, str]], broken: dict[str, str], result: str
) -> None:
    assert tools(**{"pan": say(result)} | broken) == NOTHING_PASSES


@pytest.mark.parametrize("end", ["exit 1", "kill -SEGV $$"])
def test_given_search_that_ends_badly_when_checked_then_nothing_passes(
    tools: Callable[..., tuple[int, str]], end: str
) -> None:
    for result in (GOOD, STALE + ONE_ERROR):
        assert tools(pan=f"{say(result)}\n{end}") == NOTHING_PASSES


# ------------------------------------------------------------------------- spin itself

SMALL = """
bit lost;
active proctype a()
{
    byte n;
    do
    :: n < 200 -> n++
    :: n == 200 -> break
    od;
    %s
}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The outcome of a search with spin itself of a model that ends like this."""
    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    monkeypatch.setattr(run, "HERE", tmp_path)

    def outcome(end: str) -> str:
        (tmp_path / run.MODEL).write_text(SMALL % end)
        return run.search(run.Configuration("small", (), run.HOLDS)).outcome

    return outcome


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("skip", "holds"),
        ("lost = 1; assert(!lost)", "lost"),
        ("lost", "invalid end state"),
        ("if :: n == 200 :: else -> lost = 1 fi", "broken"),
        ("no such word", "broken"),
    ],
)
def test_given_small_model_when_searched_then_its_outcome(
    small: Callable[[str], str], end: str, outcome: str
) -> None:
    assert small(end) == outcome


@pytest.mark.parametrize(("limit", "value"), [("DEPTH_LIMIT", 100), ("MEMORY_LIMIT_MIB", 1)])
def test_given_too_little_room_when_searched_then_broken(
    small: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(run, limit, value)
    assert small("skip") == run.BROKEN


# ------------------------------------------------------------------------- model and C code

MODEL = (HERE / run.MODEL).read_text()
CORE = "".join(path.read_text() for path in sorted((ROOT / "core").glob("virtqueue*.c")))
TESTS = {path.name: path.read_text() for path in (ROOT / "tests/unit").glob("test_*.c")}
READ_BARRIER = "    virtio_rmb(vq->order_platform);\n"
A_TEST = "given_batch_when_published_then_idx_written_once_behind_the_write_barrier"


def test_given_sources_as_they_are_when_compared_then_no_gap() -> None:
    assert READ_BARRIER in CORE
    assert list(run.gaps(MODEL, CORE, TESTS)) == []


@pytest.mark.parametrize(
    "barriers",
    ["", 2 * READ_BARRIER, READ_BARRIER.replace("rmb", "wmb")],
)
def test_given_other_barrier_in_a_function_when_compared_then_gap(barriers: str) -> None:
    assert list(run.gaps(MODEL, CORE.replace(READ_BARRIER, barriers), TESTS))


@pytest.mark.parametrize(
    "code",
    [
        f"static void vq_more(struct virtqueue *vq)\n{{\n{READ_BARRIER}}}\n",
        "#define VQ_MORE(vq) virtio_mb(vq->order_platform)\n",
    ],
)
def test_given_barrier_elsewhere_when_compared_then_gap(code: str) -> None:
    assert list(run.gaps(MODEL, f"{CORE}\n{code}", TESTS))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("mb(DRIVER, NOTIFY_MB)", "skip"),
        ("mb(DRIVER, NOTIFY_MB)", "mb(DRIVER, OTHER_MB)"),
        ("FAULT == BATCH_CUT", "FAULT == OTHER"),
        ("virtqueue_publish(): virtio_wmb", "virtqueue_add(): virtio_wmb"),
        (A_TEST, "given_nothing"),
        (f"test_virtqueue.c: {A_TEST}", ""),
        ("forbid(used_idx_too_far, n_ready > minus(n_published, n_used))", "skip"),
        ("forbid(used_idx_too_far,", "forbid(element_stale,"),
        (" *   used_idx_too_far     the", " *                        the"),
        (" *   invalid end state    every", " *                        every"),
    ],
)
def test_given_other_model_when_compared_then_gap(text: str, other: str) -> None:
    assert text in MODEL
    assert list(run.gaps(MODEL.replace(text, other), CORE, TESTS))


@pytest.mark.parametrize("fault", ["USED_IDX_GOES_BACK", "WAITS_FOR_TOO_MANY"])
def test_given_breach_that_nothing_finds_when_compared_then_gap(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    _, schemes = run.FAULTS[fault]
    monkeypatch.setitem(run.FAULTS, fault, ("element_stale", schemes))

    assert list(run.gaps(MODEL, CORE, TESTS)) == [
        "not each breach of the model is asserted, and found in some configuration"
    ]


def test_given_test_that_does_not_run_when_compared_then_gap() -> None:
    text = TESTS["test_virtqueue.c"].replace(f"({A_TEST})", "(given_other)")
    assert list(run.gaps(MODEL, CORE, TESTS | {"test_virtqueue.c": text}))


def test_each_configuration_has_a_name_of_its_own() -> None:
    names = [configuration.name for configuration in run.configurations()]
    assert len(names) == len(set(names)) == 43
