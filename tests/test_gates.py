"""The tests of the tools that judge the other tests: each kind of lie has to be noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import report

TESTS = Path(__file__).resolve().parent
PROGRAM = "tests/unit/test_ring.c"
RING_TEST = f"{PROGRAM}::given_ring_when_reset_then_empty"
RING_SOURCE = """
static void given_ring_when_reset_then_empty(void **state)
{
    /* Checks: STAT-1,
     *         INIT-1a */
    assert_string_equal(text, "/* Checks: STAT-2 */");
}
"""
PYTHON_SOURCE = '''
def test_boot():
    """The kernel starts. Checks: PCI-CAP-1."""
    text = "Checks: PCI-CAP-2"  # Checks: PCI-CAP-3
'''
OTHER_TEST = "static void given_nothing_then_nothing(void **state)\n{\n}\n"


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    arguments = [str(word) for word in command]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=cwd)


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# ------------------------------------------------------------------------------- check_layers.sh


def check_layers(root: Path, *objects: Path) -> list[str]:
    """The breaches found, after a check that the exit status agrees with them."""
    ended = run(TESTS / "check_layers.sh", "--root", root, *objects)
    assert ended.returncode == (1 if ended.stdout else 0), ended.stderr
    return ended.stdout.splitlines()


def lines_of_function(n_lines: int) -> str:
    return "int f(int a,\n      int b)\n{\n" + "    a++;\n" * (n_lines - 4) + "}\n"


ASM = '__asm__ volatile("hlt");\n'

BREACHES = [
    ("core/a.c", '#include "devices/blk.h"\n', "core/a.c:1: core/ does not include from devices/"),
    ("core/a.h", '\n# include "efi/x.h"\n', "core/a.h:2: core/ does not include from efi/"),
    ("transports/a.c", '#include "devices/blk.h"\n', "transports/ does not include from devices/"),
    ("devices/a.c", '#include "transports/a.h"\n', "devices/ does not include from transports/"),
    ("boot/a.c", '#include "core/le.h"\n', "boot/ does not include from core/"),
    ("efi/a.c", '#include "fakes/a.h"\n', "efi/ does not include from fakes/"),
    ("devices/a.c", '#include "blk.h"\n', "an include names its folder"),
    ("devices/a.c", '#include "devices/../efi/a.h"\n', "an include names its folder"),
    ("core/a.c", "#include <efi.h>\n", "<efi.h> is not for core/"),
    ("boot/a.c", "#include <stdio.h>\n", "<stdio.h> is not for boot/"),
    ("boot/a.c", "#include HEADER\n", "an include through a macro cannot be checked"),
    ("core/a.c", "volatile int *x;\n", "core/a.c:1: the word volatile outside core/mem.h"),
    ("devices/a.c", "int a; /* b\n*/ volatile int *x;\n", "devices/a.c:2: the word volatile"),
    ("core/a.c", 'int x; __asm("hlt");\n', "core/a.c:1: inline assembly outside a file named"),
    ("core/mem.h", ASM, "inline assembly outside a file named after an architecture"),
    ("efi/a.c", "void f(void) { asm(\"hlt\"); }\n", "efi/a.c:1: inline assembly"),
    ("core/a_x86_64.c", ASM + "volatile int *x;\n", "core/a_x86_64.c:2: the word volatile"),
    ("efi/a.S", "hlt\n", "efi/a.S:1: assembly in a file not named after an architecture"),
    ("core/a.c", lines_of_function(61), "core/a.c:1: a function of 61 lines, more than 60"),
    ("efi/a.c", "int x;\n" * 601, "efi/a.c:601: 601 lines, more than 600"),
]


@pytest.mark.parametrize(("path", "text", "breach"), BREACHES)
def test_planted_breach_is_found(tmp_path: Path, path: str, text: str, breach: str) -> None:
    write(tmp_path / path, text)
    found = check_layers(tmp_path)
    assert len(found) == 1 and found[0].startswith(f"{path}:") and breach in found[0]


ALLOWED = [
    ("core/a.c", '#include "core/b.h"\n#include <stdint.h>\n#include <string.h>\n'),
    ("transports/a.c", '#include "core/b.h"\n#include "transports/b.h"\n'),
    ("efi/a.c", '#include <efi.h>\n#include "boot/b.h"\nvolatile int *x;\n'),
    ("tests/unit/a.c", '#include <efi.h>\n#include "fakes/b.h"\n#include "efi/b.h"\n'),
    ("core/mem.h", "static volatile int *x;\n"),
    ("core/a_aarch64.c", ASM),
    ("core/a.c", '/* volatile "asm */ // asm\nchar *x = "volatile /*", y = \'"\';\nint asmx;\n'),
    ("core/a.c", '/*\n#include "efi/a.h"\n*/\n'),
    ("core/a.c", lines_of_function(60) + "\n" + lines_of_function(60)),
    ("tests/unit/a.c", lines_of_function(700)),
    ("core/a.c", "const int a[] = {\n" + "    F(1),\n" * 100 + "};\n"),
]


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_what_is_allowed_passes(tmp_path: Path, path: str, text: str) -> None:
    write(tmp_path / path, text)
    assert check_layers(tmp_path) == []


def test_folder_without_sources_is_a_breach(tmp_path: Path) -> None:
    assert "no sources" in check_layers(tmp_path)[0]


OBJECT_SOURCE = """
void g(void);
struct ops { void (*f)(void); };
const struct ops k = { g };
static const struct ops k2 = { g };
static int counter;
int start = 3;
const struct ops *f(void) { static int calls; calls++; counter++; return calls ? &k2 : &k; }
"""


@pytest.mark.parametrize("flags", [["-fpic"], ["-fno-pic", "-g"], ["-fcommon"]])
def test_variables_that_can_change_are_found(tmp_path: Path, flags: list[str]) -> None:
    source = write(tmp_path / "core/a.c", OBJECT_SOURCE)
    made = run("gcc", *flags, "-c", source, "-o", tmp_path / "a.o")
    assert made.returncode == 0, made.stderr
    found = check_layers(tmp_path, tmp_path / "a.o")
    names = sorted(line.split(": ")[1].split(".")[0] for line in found)
    assert names == ["calls", "counter", "start"]


def test_unreadable_object_is_a_breach(tmp_path: Path) -> None:
    write(tmp_path / "core/a.c", "\n")
    assert "cannot be read" in check_layers(tmp_path, tmp_path / "a.o")[0]


# ---------------------------------------------------------------- report.py: adding up, run_unit.sh


def group(*cases: str, failures: int = 0, errors: int = 0) -> str:
    """What cmocka prints for a group."""
    return (
        f'<testsuites>\n  <testsuite name="tests" time="0.000" tests="{len(cases)}"'
        f' failures="{failures}" errors="{errors}" skipped="0" >\n{"".join(cases)}'
        "  </testsuite>\n</testsuites>\n"
    )


def case(name: str, body: str = "") -> str:
    return f'    <testcase name="{name}" time="0.000" >\n{body}    </testcase>\n'


XML = '<?xml version="1.0" encoding="UTF-8" ?>\n'
GOOD = XML + group(case("given_ring_when_reset_then_empty"))
BAD_CASE = case("bad", """      <failure><![CDATA["<" != "]]>"
a.c:9: error: Failure!]]></failure>
""")
SKIPPED_CASE = case("later", "      <skipped/>\n")


class Project:
    """A small project with one cmocka program, whose results can be anything."""

    def __init__(self, root: Path) -> None:
        self.root, self.results = root, root / "results"
        self.results.mkdir()
        self.rows = {id_: [id_, "open", "no test yet", "do it"] for id_ in report.inventory()}
        self.ran("test_ring", GOOD)

    def ran(self, program: str, xml: str, status: str = "0\n", stderr: str = "") -> None:
        write(self.results / f"unit-{program}.xml", xml)
        write(self.results / f"unit-{program}.status", status)
        write(self.results / f"unit-{program}.stderr", stderr)

    def pytest_ran(self, *cases: str) -> None:
        write(self.results / "pytest.xml", f"<testsuites><testsuite>{''.join(cases)}"
              "</testsuite></testsuites>")

    def report(self, *options: str) -> tuple[int, list[str]]:
        command = [sys.executable, TESTS / "report.py", "--root", self.root, self.results]
        ended = run(*command, *options)
        assert ended.stderr == ""
        return ended.returncode, ended.stdout.splitlines()

    def partial(self, *options: str) -> tuple[int, str, str]:
        """Exit status, last line and all that was printed, without the conformance table."""
        status, lines = self.report("--partial", *options)
        return status, lines[-1], "\n".join(lines)

    def write_table(self) -> None:
        lines = ["\t".join(row) for row in [report.HEADER, *self.rows.values()]]
        write(self.root / "tests/conformance.tsv", "\n".join(lines) + "\n")

    def table_lies(self) -> list[str]:
        """The failures of the table's checks, title and lies by turns."""
        self.write_table()
        status, lines = self.report()
        assert status == (1 if len(lines) > 1 else 0)
        return lines[:-1]

    def fill(self) -> None:
        command = [sys.executable, TESTS / "report.py", "--root", self.root, "--fill"]
        assert run(*command).returncode == 0
        self.rows = {row.id: [row.id, row.state, row.evidence, row.requirement]
                     for row in report.read_table(self.root).rows}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_all_pass(project: Project) -> None:
    project.pytest_ran('<testcase classname="tests.qemu.test_boot" name="test_boot[q35]"/>')
    write(project.results / "gates.txt", "layers ok\nheader-docs ok\n")
    last = "4 passed, 0 failed"
    assert project.partial("--expect", "gates.txt") == (0, last, last)


def test_several_groups_in_one_file_are_added(project: Project) -> None:
    project.ran("test_ring", GOOD + group(case("a"), case("b")))
    assert project.partial()[:2] == (0, "3 passed, 0 failed")


def test_one_fails(project: Project) -> None:
    project.ran("test_blk", XML + group(case("a"), BAD_CASE, failures=1), status="1\n")
    status, last, text = project.partial()
    assert (status, last) == (1, "2 passed, 1 failed")
    assert 'FAILED test_blk::bad\n    "<" != "]]>"\n    a.c:9: error: Failure!\n' in text


def test_failed_group_set_up(project: Project) -> None:
    project.ran("test_blk", XML + group(errors=1), status="1\n")
    assert project.partial()[:2] == (1, "1 passed, 1 failed")


@pytest.mark.parametrize("xml", [XML + group(), ""])
def test_program_without_tests(project: Project, xml: str) -> None:
    project.ran("test_blk", xml)
    assert project.partial()[:2] == (1, "1 passed, 1 failed")


CRASHES = [
    ("", "1", "ERROR: AddressSanitizer: heap-buffer-overflow", 2),
    ("", "134", "assertion", 2),
    (GOOD, "134", "", 1),
    (GOOD, "1", "==7==ERROR: LeakSanitizer: detected memory leaks", 1),
    (GOOD, "0", "a.c:3:4: runtime error: signed integer overflow", 1),
    (GOOD, "124", "", 1),
    (GOOD, "", "", 1),
    (GOOD + group(case("a"), case("b"))[:-40], "0", "", 1),
]


@pytest.mark.parametrize(("xml", "status", "stderr", "failures"), CRASHES)
def test_crashed_program(
    project: Project, xml: str, status: str, stderr: str, failures: int
) -> None:
    project.ran("test_ring", xml, status, stderr)
    code, last, text = project.partial()
    assert (code, last) == (1, f"{1 if xml else 0} passed, {failures} failed")
    assert stderr in text


def test_skipped_test_counts_as_failed(project: Project) -> None:
    project.ran("test_ring", XML + group(case("a"), SKIPPED_CASE))
    assert project.partial()[:2] == (1, "1 passed, 1 failed")


def test_skipped_test_with_a_reason_does_not_count(project: Project) -> None:
    project.ran("test_ring", XML + group(case("a"), SKIPPED_CASE))
    status, last, text = project.partial("--allow-skip", f"{PROGRAM}::later=needs x = 3")
    assert (status, last) == (0, "1 passed, 0 failed")
    assert "skipped test_ring::later: needs x = 3" in text


def test_nothing_but_skipped_tests_fails(project: Project) -> None:
    project.ran("test_ring", XML + group(SKIPPED_CASE))
    assert project.partial("--allow-skip", "test_ring.c::later=not here")[0] == 1


def test_pytest_failure_error_and_skip(project: Project) -> None:
    project.pytest_ran(*(f'<testcase classname="q.test_boot" name="{tag}"><{tag} message="m"/>'
                         "</testcase>" for tag in ("failure", "error", "skipped")))
    assert project.partial()[:2] == (1, "1 passed, 3 failed")


@pytest.mark.parametrize("text", ["<testsuites><testsuite/></testsuites>", "<testsuites><te"])
def test_pytest_results_without_tests_or_cut_off(project: Project, text: str) -> None:
    write(project.results / "pytest.xml", text)
    assert project.partial()[:2] == (1, "1 passed, 1 failed")


@pytest.mark.parametrize("line", ["layers failed", "layers", "ok", "layers maybe", ""])
def test_failed_or_unclear_gate(project: Project, line: str) -> None:
    write(project.results / "gates.txt", line + "\n")
    assert project.partial()[:2] == (1, "1 passed, 1 failed")


def test_missing_expected_file(project: Project) -> None:
    assert project.partial("--expect", "pytest.xml")[:2] == (1, "1 passed, 1 failed")


def test_nothing_ran(project: Project) -> None:
    for path in project.results.iterdir():
        path.unlink()
    assert project.partial()[:2] == (1, "0 passed, 1 failed")


def run_unit(folder: Path, *scripts: str) -> subprocess.CompletedProcess[str]:
    """Runs shell scripts as if they were cmocka programs."""
    programs = [write(folder / f"test_{n}", "#!/bin/sh\n" + script, 0o755)
                for n, script in enumerate(scripts)]
    return run(TESTS / "run_unit.sh", folder / "results", *programs)


def test_run_unit_shows_each_program_and_the_report_agrees(project: Project) -> None:
    good, bad = f"cat >$CMOCKA_XML_FILE <<'E'\n{GOOD}E\n", "echo boom >&2; exit 3"
    for _ in range(2):  # the second run has to replace the results of the first
        ended = run_unit(project.root, good, bad, good)
        assert ended.returncode == 1
        lines = ended.stdout.splitlines()
        assert lines[0].split(None, 1) == ["test_0", "1 passed, 0 failed"]
        assert lines[1].split(None, 1) == ["test_1", "0 passed, 2 failed"]
        assert "    boom" in lines
        assert lines[-1].split(None, 1) == ["test_2", "1 passed, 0 failed"]
    assert project.partial()[:2] == (1, "3 passed, 2 failed")


def test_run_unit_succeeds(tmp_path: Path) -> None:
    assert run_unit(tmp_path, f"cat >$CMOCKA_XML_FILE <<'E'\n{GOOD}E\n").returncode == 0


def test_run_unit_ends_a_program_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIT_LIMIT_S", "1")
    ended = run_unit(tmp_path, "exec sleep 50")
    assert ended.returncode == 1 and "took too long" in ended.stdout


# ---------------------------------------------------------- report.py: the conformance table


@pytest.fixture
def filled(project: Project) -> Project:
    """A project whose table says the truth."""
    write(project.root / PROGRAM, RING_SOURCE + OTHER_TEST)
    for id_ in ("STAT-1", "INIT-1a"):
        project.rows[id_][1:3] = ["tested", RING_TEST]
    return project


CHECK_FAILED = "FAILED conformance::"


def assert_lie(project: Project, kind: str, lie: str) -> None:
    lines = project.table_lies()
    assert [line for line in lines if line.startswith("FAILED")] == [CHECK_FAILED + kind]
    assert lie in lines[1]


def test_inventory_has_every_requirement_once() -> None:
    ids = report.inventory()
    assert len(ids) == len(set(ids)) == 296
    assert {"STAT-1", "INIT-1h", "FEAT-7b", "RSVD-11a", "BLK-ZONE-10c", "X-MMIOL-16"} <= set(ids)
    assert not {"FEAT-7", "RSVD-11", "CFG-1", "BLK-INIT-8", "BLK-ZONE-10"} & set(ids)


def test_truthful_table_passes_and_each_kind_of_check_counts_once(filled: Project) -> None:
    assert filled.table_lies() == []
    assert filled.report() == (0, ["9 passed, 0 failed"])


def test_missing_row_is_found(filled: Project) -> None:
    del filled.rows["CFG-1b"]
    assert_lie(filled, "every requirement has one row", "CFG-1b: no row")


def test_doubled_row_is_found(filled: Project) -> None:
    filled.rows["again"] = filled.rows["CFG-2"]
    assert_lie(filled, "every requirement has one row", "CFG-2: 2 rows")


def test_unknown_row_is_found(filled: Project) -> None:
    filled.rows["CFG-9"] = ["CFG-9", "open", "no test yet", "do it"]
    assert_lie(filled, "every row is a requirement", "CFG-9: no such id")


@pytest.mark.parametrize("reason", ["", "-", "todo", "   "])
@pytest.mark.parametrize("state", ["n/a", "open"])
def test_row_without_reason_is_found(filled: Project, state: str, reason: str) -> None:
    filled.rows["CFG-2"][1:3] = [state, reason]
    assert_lie(filled, "every row that is not tested has a reason", "CFG-2")


@pytest.mark.parametrize(
    "row", [["CFG-2", "open", "no test yet"], ["CFG-2", "open", "no test yet", ""]]
)
def test_malformed_row_is_found(filled: Project, row: list[str]) -> None:
    filled.rows["CFG-2"] = row
    lines = filled.table_lies()
    assert lines[0] == CHECK_FAILED + "the table is well-formed"


def test_unknown_state_is_found(filled: Project) -> None:
    filled.rows["CFG-2"][1] = "done"
    assert "unknown state 'done'" in filled.table_lies()[1]


def test_missing_table_is_found(project: Project) -> None:
    assert project.report()[0] == 1


@pytest.mark.parametrize(
    "test", [f"{PROGRAM}::no_such_test", "tests/unit/test_no.c::x", PROGRAM, ""]
)
def test_named_test_that_does_not_exist_is_found(filled: Project, test: str) -> None:
    filled.rows["STAT-1"][2] = f"{RING_TEST}, {test}"
    lines = filled.table_lies()
    assert lines[0] == CHECK_FAILED + "the named tests exist" and repr(test) in lines[1]


@pytest.mark.parametrize(("xml", "how"), [
    (XML + group(case("other")), "did not run"),
    (XML + group(case("given_ring_when_reset_then_empty", "      <skipped/>\n")), "did not pass"),
    (GOOD.replace("    </testcase>", "      <failure><![CDATA[x]]></failure>\n    </testcase>"),
     "did not pass"),
])
def test_named_test_that_did_not_pass_is_found(filled: Project, xml: str, how: str) -> None:
    filled.ran("test_ring", xml)
    filled.write_table()
    lines = filled.report("--allow-skip", "test_ring.c::other=no")[1]
    at = lines.index(CHECK_FAILED + "the named tests passed")
    assert f"{RING_TEST} {how}" in lines[at + 1]


def test_failing_case_of_a_parametrised_test_is_found(filled: Project) -> None:
    write(filled.root / "tests/qemu/test_boot.py", PYTHON_SOURCE)
    for id_ in ("PCI-CAP-1", "PCI-CAP-3"):
        filled.rows[id_][1:3] = ["tested", "tests/qemu/test_boot.py::test_boot"]
    passes = '<testcase classname="tests.qemu.test_boot" name="test_boot[q35]"/>'
    filled.pytest_ran(passes)
    assert filled.table_lies() == []
    filled.pytest_ran(passes, passes.replace("q35", "pc").replace("/>", "><failure/></testcase>"))
    assert CHECK_FAILED + "the named tests passed" in filled.table_lies()


def test_named_test_without_a_comment_is_found(filled: Project) -> None:
    filled.rows["STAT-2"][1:3] = ["tested", RING_TEST]
    assert_lie(filled, "the named tests say what they check", "has no comment 'Checks: STAT-2'")


@pytest.mark.parametrize("id_", ["STAT-3", "STAT-99"])
def test_comment_without_a_tested_row_is_found(filled: Project, id_: str) -> None:
    write(filled.root / PROGRAM, RING_SOURCE.replace("STAT-1", f"STAT-1, {id_}"))
    assert_lie(filled, "what a test says it checks is a tested row", f"checks {id_}")


def test_comment_outside_a_function_is_found(filled: Project) -> None:
    write(filled.root / PROGRAM, "/* Checks: STAT-1 */" + RING_SOURCE)
    assert_lie(filled, "what a test says it checks is a tested row", "inside no function")


def test_two_test_files_of_the_same_name_are_found(filled: Project) -> None:
    write(filled.root / "tests/qemu/test_ring.py", "def test_x():\n    pass\n")
    assert_lie(filled, "the named tests exist", "2 test files are named test_ring")


def test_fill_follows_the_comments_and_keeps_reasons(filled: Project) -> None:
    write(filled.root / "tests/qemu/test_boot.py", PYTHON_SOURCE)
    filled.rows["INIT-2"][1:3] = ["tested", "tests/unit/test_gone.c::x"]
    filled.rows["CFG-2"][1:3] = ["n/a", "never accepted"]
    filled.rows["STAT-1"][1:3] = ["open", "planned"]
    filled.write_table()
    filled.fill()
    changed = {id_: row[1:3] for id_, row in filled.rows.items() if row[2] != "no test yet"}
    boot = "tests/qemu/test_boot.py::test_boot"
    assert changed == {
        "STAT-1": ["tested", RING_TEST], "INIT-1a": ["tested", RING_TEST],
        "PCI-CAP-1": ["tested", boot], "PCI-CAP-3": ["tested", boot],
        "CFG-2": ["n/a", "never accepted"],
    }
    assert filled.rows["INIT-2"][1] == "open"
