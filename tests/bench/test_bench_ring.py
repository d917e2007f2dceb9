"""The benchmark of the ring notices what it is there to notice: each goal can be missed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import bench_ring
from bench_ring import GOAL, Case, Cost, Profile

ROOT = Path(__file__).resolve().parents[2]

# -------------------------------------------------------------------------- reading a profile

PROFILE = """\
version: 1
part: 1
desc: Trigger: Client Request: 3 0 2 256 0 0 1
events: Ir
fn=phase_supply
10 5
cfn=virtqueue_add
calls=1 90
11 70
cfn=virtqueue_add
calls=1 90
11 60
cfi=core/virtqueue.c
cfn=virtqueue_publish
calls=1 95
12 10
fn=phase_notify
cfn=virtqueue_notify
calls=1 100
13 50
fn=virtqueue_notify
100 30
cfn=example_device_notify
calls=1 20
101 15
fn=phase_pop
cfn=virtqueue_pop_used
calls=2 200
14 90
fn=phase_look
cfn=virtqueue_pop_used
calls=1 200
15 20
part: 2
desc: Trigger: Program termination
fn=phase_supply
cfn=virtqueue_add
calls=1 90
11 1000
"""
PROFILED = Case(n_bufs=3, indirect=False, batch=2, size=256, n_rounds=1)


def profiled() -> Profile:
    return bench_ring.profiles(PROFILE.splitlines(keepends=True))[PROFILED.argument()]


def test_given_profile_when_read_then_only_calls_from_the_phases_of_the_case_count() -> None:
    found = bench_ring.cost(PROFILED, profiled())

    assert found == Cost(add_publish=(70 + 60 + 10) / 2, notify=50 - 15, pop=90 / 2, look=20)


@pytest.mark.parametrize("call", sorted(profiled()))
def test_given_call_that_the_profile_does_not_show_when_read_then_no_cost(
    call: tuple[str, str],
) -> None:
    profile = profiled()
    del profile[call]

    with pytest.raises(SystemExit, match=f"{call[0]} called {call[1]} 0 times"):
        bench_ring.cost(PROFILED, profile)


# ------------------------------------------------------------------------------ the verdicts

GOOD = Cost(add_publish=80.0, notify=30.0, pop=50.0, look=20.0)
LONGER = replace(GOAL, n_rounds=2 * GOAL.n_rounds)
LARGER = replace(GOAL, size=1024)
FULLER = replace(GOAL, n_held=GOAL.capacity - GOAL.batch)


def failed(changed: dict[Case, Cost]) -> set[str]:
    """The goals that are missed when these cases cost something else."""
    costs = {GOAL: GOOD, LONGER: GOOD, LARGER: GOOD, FULLER: GOOD, **changed}
    return {verdict.name for verdict in bench_ring.verdicts(costs) if not verdict.ok}


def test_given_costs_at_the_limits_when_judged_then_all_goals_are_reached() -> None:
    assert failed({}) == set()


def test_given_costs_that_differ_by_one_when_judged_then_they_count_as_constant() -> None:
    assert failed({LARGER: replace(GOOD, pop=51.0), FULLER: replace(GOOD, look=21.0)}) == set()


@pytest.mark.parametrize("field", vars(GOOD))
def test_given_cost_that_grows_when_judged_then_the_goal_is_missed(field: str) -> None:
    more = replace(GOOD, **{field: vars(GOOD)[field] + 1.1})

    assert failed({LARGER: more}) == {"bench-queue-size"}
    assert failed({FULLER: more}) == {"bench-in-flight"}


def test_given_cost_above_its_limit_when_judged_then_the_goal_is_missed() -> None:
    slow_add, slow_pop = replace(GOOD, add_publish=80.1), replace(GOOD, pop=50.1)

    assert failed({GOAL: slow_add, LONGER: slow_add}) == {"bench-add-publish"}
    assert failed({GOAL: slow_pop, LONGER: slow_pop}) == {"bench-pop"}


def test_given_runs_of_two_lengths_that_disagree_when_judged_then_it_is_not_exact() -> None:
    assert failed({LONGER: replace(GOOD, pop=49.9)}) == {"bench-exact"}


def test_given_nothing_to_compare_when_judged_then_it_is_an_error() -> None:
    with pytest.raises(SystemExit, match="nothing to compare"):
        bench_ring.spread({GOAL: GOOD}, size=0)


# -------------------------------------------------------------------------- from end to end

SLOWER = """
#include "core/virtqueue.h"

static void waste(unsigned n_rounds)
{
    for (volatile unsigned i = 0; i < n_rounds;)
        i++;
}

void unspoiled_virtqueue_publish(struct virtqueue *vq);

void virtqueue_publish(struct virtqueue *vq)
{
    waste(PUBLISH_WASTES);
    unspoiled_virtqueue_publish(vq);
}

vio_status unspoiled_virtqueue_pop_used(struct virtqueue *vq, void **ret_cookie, uint32_t *ret_len);

vio_status virtqueue_pop_used(struct virtqueue *vq, void **ret_cookie, uint32_t *ret_len)
{
    waste(POP_WASTES);
    return unspoiled_virtqueue_pop_used(vq, ret_cookie, ret_len);
}
"""

# What is missed, and what the functions above waste for that.
SPOILED = {
    "bench-add-publish": {"PUBLISH": "2000"},
    "bench-pop": {"POP": "50"},
    "bench-queue-size": {"PUBLISH": "vq->size / 8u"},
    "bench-in-flight": {"POP": "virtqueue_in_flight(vq) / 8u"},
}


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=cwd)


def spoiled_program(folder: Path, wastes: dict[str, str]) -> Path:
    """The benchmark with the sources of the core as they are, and two functions around them."""

    def done(*command: object) -> None:
        ended = run(*command, cwd=folder)
        assert ended.returncode == 0, ended.stderr

    (folder / "slower.c").write_text(SLOWER)
    defines = [f"-D{name}_WASTES=({wastes.get(name, '0')})" for name in ("PUBLISH", "POP")]
    options = ("-O2", "-g", "-D_GNU_SOURCE", f"-I{ROOT}", f"-I{ROOT}/tests/example")
    done("cc", *options, "-c", *sorted(ROOT.glob("core/*.c")))
    for name in ("virtqueue_publish", "virtqueue_pop_used"):
        done("objcopy", "--redefine-sym", f"{name}=unspoiled_{name}", "virtqueue.o")
    sources = ("tests/bench/bench_ring.c", "tests/example/example_device.c")
    done("cc", *options, "-c", *defines, "slower.c", *(ROOT / source for source in sources))
    done("cc", *sorted(folder.glob("*.o")), "-o", "bench_ring")
    return folder / "bench_ring"


@pytest.mark.parametrize("goal", SPOILED)
def test_given_slower_library_when_measured_then_the_goal_is_missed_and_the_run_fails(
    tmp_path: Path, goal: str
) -> None:
    program = spoiled_program(tmp_path, SPOILED[goal])

    ended = run(sys.executable, bench_ring.__file__, program, tmp_path, "--quick", cwd=tmp_path)

    gates = (tmp_path / "gates-bench.txt").read_text().splitlines()
    assert f"{goal} failed" in gates
    assert "bench-exact ok" in gates
    assert ended.returncode == 1
    n_failed = sum(gate.endswith(" failed") for gate in gates)
    assert ended.stdout.splitlines()[-1] == f"{len(gates) - n_failed} passed, {n_failed} failed"


def test_given_program_that_fails_when_measured_then_no_verdicts_are_left(tmp_path: Path) -> None:
    (tmp_path / "gates-bench.txt").write_text("bench-pop ok\n")

    ended = run(sys.executable, bench_ring.__file__, "/bin/false", tmp_path, cwd=tmp_path)

    assert ended.returncode == 1 and "ended with 1" in ended.stderr
    assert not (tmp_path / "gates-bench.txt").exists()
