"""The runner of the fuzzers: what is not shown does not pass."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from runner import load_runner

SOURCE = "int one;\nint two;\nint three;\n"
PATCH = """Two is lost.

--- a/core/x.c
+++ b/core/x.c
@@ -1,3 +1,2 @@
 int one;
-int two;
 int three;
"""


class Project:
    """A project whose fuzzer, named ring, is a shell script."""

    def __init__(self, run: ModuleType, root: Path) -> None:
        self.run = run
        self.root = root
        self.verdicts = run.Verdicts()
        for folder in ("core", "build/fuzz", "tests/fuzz/bugs", "tests/fuzz/corpus/ring"):
            (root / folder).mkdir(parents=True)
        (root / "core/x.c").write_text(SOURCE)
        (root / "tests/fuzz/corpus/ring/plain").write_bytes(b"x")
        self.patch = self.write_patch(PATCH)

    def write_patch(self, text: str) -> Path:
        path = self.root / "tests/fuzz/bugs/ring-two.patch"
        path.write_text(text)
        return path

    def fuzzer(self, body: str, at: str = "build/fuzz/fuzz_ring") -> Path:
        """A script as the fuzzer; $prefix is where libFuzzer would leave an input that fails."""
        path = self.root / at
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\nprefix="${{1#-artifact_prefix=}}"\nshift\n{body}\n')
        path.chmod(0o755)
        return path

    def find_bug(self, seconds: int = 10) -> None:
        options = argparse.Namespace(bug_seconds=seconds, without_rows=False)
        self.run.find_bug(self.patch, "ring", options, self.verdicts)

    @property
    def counts(self) -> tuple[int, int]:
        return self.verdicts.passed, self.verdicts.failed


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    run = load_runner(Path(__file__).parent)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "HERE", tmp_path / "tests/fuzz")
    monkeypatch.setattr(run, "BUILD", tmp_path / "build/fuzz")
    monkeypatch.setattr(run, "FAILED", tmp_path / "build/fuzz/failed")
    return Project(run, tmp_path)


@pytest.fixture
def bug(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same, and the fuzzer with the bug is a script, too."""

    def build_with(patch: Path, target: str) -> Path:
        return project.root / f"build/fuzz/bug/build/fuzz/fuzz_{target}"

    monkeypatch.setattr(project.run, "build_with", build_with)
    return project


BUGGY = "build/fuzz/bug/build/fuzz/fuzz_ring"
RAN = "echo stat::number_of_executed_units: 7"
CRASHES = f'{RAN}; echo "==1==ERROR: AddressSanitizer: SEGV"; echo x >"${{prefix}}crash-1"; exit 77'


# --- Patches ---------------------------------------------------------------------------------


def test_given_lines_moved_when_patch_applied_then_they_are_found(project: Project) -> None:
    (project.root / "core/x.c").write_text("int zero;\n" * 9 + SOURCE)

    project.run.apply_patch(project.patch, project.root)

    assert (project.root / "core/x.c").read_text() == "int zero;\n" * 9 + "int one;\nint three;\n"


def test_given_lines_twice_when_patch_applied_then_the_nearest_are_changed(
    project: Project,
) -> None:
    (project.root / "core/x.c").write_text(SOURCE + SOURCE)

    project.run.apply_patch(project.patch, project.root)

    assert (project.root / "core/x.c").read_text() == "int one;\nint three;\n" + SOURCE


def test_given_a_line_changed_when_patch_applied_then_error_shows_what_is_missing(
    project: Project,
) -> None:
    (project.root / "core/x.c").write_text(SOURCE.replace("two", "too"))

    with pytest.raises(project.run.PatchError, match="int two;"):
        project.run.apply_patch(project.patch, project.root)


def test_given_file_gone_when_patch_applied_then_error(project: Project) -> None:
    (project.root / "core/x.c").unlink()

    with pytest.raises(project.run.PatchError):
        project.run.apply_patch(project.patch, project.root)


def test_given_patch_without_a_change_when_applied_then_error(project: Project) -> None:
    project.write_patch("Nothing.\n")

    with pytest.raises(project.run.PatchError, match="no change"):
        project.run.apply_patch(project.patch, project.root)


@pytest.mark.parametrize(
    "patch", sorted(Path(__file__).with_name("bugs").glob("*.patch")), ids=lambda path: path.stem
)
def test_each_bug_fits_the_sources(patch: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    for folder in ("core", "transports", "devices"):
        shutil.copytree(root / folder, tmp_path / folder)

    load_runner(Path(__file__).parent).apply_patch(patch, tmp_path)


# --- Targets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "seconds", "counts"),
    [
        (f"sleep 1; {RAN}", 1, (1, 0)),
        (RAN, 30, (0, 1)),
        ("sleep 1", 1, (0, 1)),
        (f"sleep 1; {RAN}; exit 1", 1, (0, 1)),
        (f"sleep 1; {CRASHES}", 1, (0, 1)),
    ],
)
def test_target_passes_only_if_it_ran_all_the_time_and_nothing_failed(
    project: Project, body: str, seconds: int, counts: tuple[int, int]
) -> None:
    project.fuzzer(body)

    project.run.fuzz_target("ring", seconds, project.verdicts)

    assert project.counts == counts


def test_given_crash_when_fuzzed_then_input_and_reason_are_named(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.fuzzer(CRASHES)

    project.run.fuzz_target("ring", 1, project.verdicts)

    said = capsys.readouterr().out
    assert "AddressSanitizer: SEGV" in said
    assert str(project.root / "build/fuzz/failed/fuzz_ring-crash-1") in said


@pytest.mark.parametrize(
    ("body", "good"),
    [("echo Executed $1", True), ("true", False), ("echo Executed $1; exit 77", False)],
)
def test_corpus_passes_only_if_each_input_was_executed(
    project: Project, body: str, good: bool
) -> None:
    project.fuzzer(body)

    assert project.run.run_corpus("ring", project.verdicts) is good


def test_given_empty_corpus_when_run_then_failed(project: Project) -> None:
    (project.root / "tests/fuzz/corpus/ring/plain").unlink()
    project.fuzzer(RAN)

    assert project.run.run_corpus("ring", project.verdicts) is False


# --- Bugs ------------------------------------------------------------------------------------


def test_given_input_that_fails_with_the_bug_alone_when_sought_then_found(bug: Project) -> None:
    bug.fuzzer(CRASHES, BUGGY)
    bug.fuzzer(RAN)

    bug.find_bug()

    assert bug.counts == (1, 0)


def test_given_input_that_fails_without_the_bug_when_sought_then_failed(bug: Project) -> None:
    bug.fuzzer(CRASHES, BUGGY)
    bug.fuzzer(CRASHES)

    bug.find_bug()

    assert bug.counts == (0, 1)


@pytest.mark.parametrize("body", [RAN, f"{RAN}; exit 1"])
def test_given_no_input_when_sought_then_failed(bug: Project, body: str) -> None:
    bug.fuzzer(body, BUGGY)
    bug.fuzzer(RAN)

    bug.find_bug()

    assert bug.counts == (0, 1)


def test_given_input_after_the_time_is_up_when_sought_then_failed(bug: Project) -> None:
    bug.fuzzer(CRASHES, BUGGY)
    bug.fuzzer(RAN)

    bug.find_bug(seconds=0)

    assert bug.counts == (0, 1)


def test_given_patch_that_does_not_apply_when_sought_then_failed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "Makefile").write_text("")
    (project.root / "core/x.c").write_text("int other;\n")
    for folder in ("transports", "devices", "build/fuzz/obj"):
        (project.root / folder).mkdir(parents=True)

    project.find_bug()

    assert project.counts == (0, 1)
    assert "these lines are not there" in capsys.readouterr().out


def test_given_target_without_bugs_when_sought_then_failed(project: Project) -> None:
    project.patch.unlink()
    options = argparse.Namespace(targets=["ring"], only=None, bug_seconds=1, without_rows=False)

    project.run.find_bugs(options, project.verdicts)

    assert project.counts == (0, 1)


def test_given_nothing_that_ran_when_ended_then_exit_status_1(project: Project) -> None:
    assert project.verdicts.end() == 1
