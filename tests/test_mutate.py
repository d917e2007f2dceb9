"""tests/mutate/run.py notices what it is there to notice, shown on a project of two functions and
on core/mem.h.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "tests/mutate/run.py"
COMPILE = "gcc -I. -MMD -MP"
LINK = "gcc % -lcmocka"
TEST_LIMIT = "build/host/test_limit"
CODEGEN = "tests/test_codegen.py"

FILES = {
    "core/limit.h": "#define LIMIT 3\n",
    "core/limit.c": """
#include "core/limit.h"

_Static_assert(LIMIT > 0, "or nothing is let through");

int limited(int value)
{
    return value > LIMIT ? LIMIT : value;
}

int halvings(int value)
{
    int n = 0;
    for (; value > 0; value /= 2)
        n++;
    return n;
}
""",
    "tests/unit/test_limit.c": """
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

int limited(int value);
int halvings(int value);

static void given_small_when_limited_then_same(void **state)
{
    (void)state;
    assert_int_equal(limited(2), 2);
}

static void given_large_when_limited_then_3(void **state)
{
    (void)state;
    assert_int_equal(limited(9), 3);
}

static void given_8_when_halved_then_4_times(void **state)
{
    (void)state;
    assert_int_equal(halvings(8), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_small_when_limited_then_same),
        cmocka_unit_test(given_large_when_limited_then_3),
        cmocka_unit_test(given_8_when_halved_then_4_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as make would have built it."""
    root = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for path in (*(ROOT / "core").glob("*.h"), ROOT / CODEGEN):
        shutil.copy(path, root / path.relative_to(ROOT))

    def do(command: str) -> None:
        subprocess.run(command, shell=True, cwd=root, check=True, timeout=60)

    for name in ("core/limit", "tests/unit/test_limit"):
        (root / "build/host/obj" / name).parent.mkdir(parents=True)
        do(f"{COMPILE} -c {name}.c -o build/host/obj/{name}.o")
    do("ar rcs build/host/libhost.a build/host/obj/core/limit.o")
    objects = "build/host/obj/tests/unit/test_limit.o build/host/libhost.a"
    do(f"{LINK.replace('%', objects)} -o build/host/test_limit")
    return root


def mutate(
    project: Path,
    folder: Path,
    mutant: tuple[str, ...],
    reason: str = "",
    program: str = TEST_LIMIT,
) -> tuple[int, list[str]]:
    """Exit status, and what is printed behind the control's line. Its mutant is called "it"."""
    for name, rows in (
        ("mutants", ["head", "\t".join(("it", *mutant))]),
        ("survivors", ["head", f"it\t{reason}" if reason else ""]),
    ):
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    words = [sys.executable, RUN, "--root", project, "--tables", folder, "--grace", "1"]
    words += ["--kit", "build/host", COMPILE, LINK, program]
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"ok     {Path(program).stem} passes without any fault"), done
    return done.returncode, lines[1:]


NOTICED = ("core/limit.c", "value > LIMIT", "value < LIMIT", "the smaller one")
SAME = ("core/limit.c", "value > LIMIT", "value >= LIMIT", "the same program")

VERDICTS = {
    "noticed": (NOTICED, "noticed by test_limit::given_small_when_limited_then_same (assertion)"),
    "in a header": (
        ("core/limit.h", "LIMIT 3", "LIMIT 4", "one too many"),
        "noticed by test_limit::given_large_when_limited_then_3 (assertion)",
    ),
    "a crash": (
        ("core/limit.c", "int n = 0;", "int n = *(volatile int *)0;", "no memory there"),
        "noticed by test_limit::given_8_when_halved_then_4_times (",
    ),
    "a program that does not end": (
        ("core/limit.c", "value /= 2", "value /= 1", "nothing gets smaller"),
        "noticed by test_limit::given_8_when_halved_then_4_times (does not end)",
    ),
    "the compiler": (
        ("core/limit.h", "LIMIT 3", "LIMIT 0", "nothing is let through", "compiler"),
        "noticed by compiler (error: static assertion failed",
    ),
}

FAILURES = {
    "it survives": (SAME, "SURVIVES"),
    "its text is not there": (
        ("core/limit.c", "value > 3", "value < 3", "of an older source"),
        "its text stands 0 times in the file",
    ),
    "its text is there twice": (
        ("core/limit.c", "int value", "long value", "ambiguous"),
        "its text stands 2 times in the file",
    ),
    "its file is not there": (
        ("core/gone.c", "x", "y", "of an older tree"),
        "its text stands 0 times in the file",
    ),
    "it does not compile": (
        ("core/limit.c", "return n;", "return m;", "no such variable"),
        "it cannot be built:",
    ),
    "it does not link": (
        ("core/limit.c", "int halvings(", "int thirds(", "no such function"),
        "it cannot be built:",
    ),
    "the compiler has nothing against it": (
        (*NOTICED, "compiler"),
        "the compiler has nothing against it",
    ),
    "the compiler is against something else": (
        ("core/limit.c", "return n;", "return m;", "no such variable", "compiler"),
        "it cannot be built:",
    ),
    "not the compiler but the linker is against it": (
        ("core/limit.c", "int halvings(", "int thirds(", "no such function", "compiler"),
        "it cannot be built:",
    ),
    "somebody else ends the program": (
        ("core/limit.c", "return n;", "extern int raise(int); return raise(9);", "SIGKILL"),
        "test_limit ended with status -9",
    ),
    "it is in no program": (
        ("tests/unit/test_limit.txt", "nothing", "something", "a text"),
        "no program is made of the file",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_given_fault_that_tests_notice_when_run_then_says_which_test(
    project: Path, tmp_path: Path, name: str
) -> None:
    mutant, expected = VERDICTS[name]

    status, lines = mutate(project, tmp_path, mutant)

    assert lines[0].startswith(f"ok     it: {mutant[3]}: {expected}")
    assert (status, lines[-1]) == (0, "2 passed, 0 failed")


@pytest.mark.parametrize("name", FAILURES)
def test_given_mutant_that_shows_nothing_when_run_then_failed(
    project: Path, tmp_path: Path, name: str
) -> None:
    mutant, expected = FAILURES[name]
    (project / "tests/unit/test_limit.txt").write_text("nothing\n")

    status, lines = mutate(project, tmp_path, mutant)

    assert lines[0].startswith(f"FAILED it: {mutant[3]}: {expected}")
    assert (status, lines[-1]) == (1, "1 passed, 1 failed")


LOAD16 = "return *(const volatile uint16_t *)&where->raw;"
OF_CODEGEN = {
    "noticed": (
        ("core/mem.h", LOAD16, LOAD16.replace("volatile ", ""), "may be merged"),
        "ok     it: may be merged: noticed by test_codegen::test_given_two_accesses_to_one_place",
    ),
    "it survives": (
        ("core/mem.h", LOAD16, f"/* no comment */ {LOAD16}", "nothing is wrong"),
        "FAILED it: nothing is wrong: SURVIVES",
    ),
    "it does not compile": (
        ("core/mem.h", LOAD16, "return no_such_variable;", "nonsense"),
        "FAILED it: nonsense: test_codegen ended with status 3",
    ),
    "it is in a file that is not named": (
        NOTICED,
        "FAILED it: the smaller one: no program is made of the file",
    ),
}


@pytest.mark.parametrize("name", OF_CODEGEN)
def test_given_program_of_pytest_when_run_then_a_fault_that_compiles_is_noticed_and_no_other(
    project: Path, tmp_path: Path, name: str
) -> None:
    mutant, expected = OF_CODEGEN[name]

    status, lines = mutate(project, tmp_path, mutant, program=CODEGEN)

    assert lines[0].startswith(expected)
    n_failed = int(expected.startswith("FAILED"))
    assert (status, lines[-1]) == (n_failed, f"{2 - n_failed} passed, {n_failed} failed")


def test_given_survivor_with_a_reason_when_run_then_passed_and_the_reason_said(
    project: Path, tmp_path: Path
) -> None:
    status, lines = mutate(project, tmp_path, SAME, "at the limit both are the limit")

    assert lines[0] == "ok     it: the same program: survives: at the limit both are the limit"
    assert (status, lines[-1]) == (0, "2 passed, 0 failed")


def test_given_reason_for_a_fault_that_is_noticed_when_run_then_failed(
    project: Path, tmp_path: Path
) -> None:
    status, lines = mutate(project, tmp_path, NOTICED, "nobody can see it")

    assert lines[0].startswith("FAILED it: ") and "survivors.tsv says that nothing can" in lines[0]
    assert (status, lines[-1]) == (1, "1 passed, 1 failed")


def test_given_tests_that_fail_anyway_when_run_then_no_mutant_is_tried(
    project: Path, tmp_path: Path
) -> None:
    source = project / "core/limit.c"
    source.write_text(FILES["core/limit.c"].replace("? LIMIT", "? 4"))
    try:
        with pytest.raises(AssertionError, match="0 passed, 1 failed"):
            mutate(project, tmp_path, NOTICED)
    finally:
        source.write_text(FILES["core/limit.c"])


@pytest.mark.parametrize(
    ("mutants", "survivors", "expected"),
    [
        ("a\tf\to\tn\tw\na\tf\to\tn\tw\n", "", "stand there twice: ['a']"),
        ("a\tf\to\tn\n", "", "not 5 filled cells"),
        ("a\tf\to\tn\tw\tsomebody\n", "", "only the compiler"),
        ("a\tf\to\tn\tw\n", "b\tno such mutant\n", "no such mutants: ['b']"),
        ("a\tf\to\tn\tw\n", "a\t\n", "not 2 filled cells"),
    ],
)
def test_given_malformed_table_when_run_then_refused(
    project: Path, tmp_path: Path, mutants: str, survivors: str, expected: str
) -> None:
    (tmp_path / "mutants.tsv").write_text(f"head\n{mutants}")
    (tmp_path / "survivors.tsv").write_text(f"head\n{survivors}")

    words = [sys.executable, RUN, "--root", project, "--tables", tmp_path]
    words += ["--kit", "build/host", COMPILE, LINK, TEST_LIMIT]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60)

    assert done.returncode == 1 and expected in done.stderr
