"""The build's promises: packages are installed where they are missing, and nothing is built twice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTALL = ROOT / "tests/install_packages.sh"
PACKAGE = "some-package"

# What the script needs of a machine besides what each test is about.
TOOLS = ("sh", "mktemp", "rm", "tail", "env")


class Stubs:
    """A PATH that holds only what a test says, each call of a stub being noted."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        self.log.touch()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(self._find(tool))

    @staticmethod
    def _find(tool: str) -> Path:
        return next(path for part in ("/usr/bin", "/bin") if (path := Path(part, tool)).exists())

    def add(self, name: str, body: str = "") -> None:
        """A command that notes its words and then does what `body` says."""
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.log}"\n{body}\n')
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        """How a stub was called, in order."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(name + " ")]

    def install(self, *packages: str) -> subprocess.CompletedProcess[str]:
        """Run the script under test on this machine of stubs."""
        return subprocess.run(
            ["/bin/sh", INSTALL, *packages],
            env={"PATH": str(self.bin), "TMPDIR": str(self.bin.parent)},
            capture_output=True,
            text=True,
            timeout=30,
        )


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    """A machine where nothing is installed yet."""
    made = Stubs(tmp_path)
    made.add("dpkg-query", "exit 1")
    made.add("apt-get")
    made.add("id", "echo 0")
    return made


def test_given_all_installed_when_packages_asked_for_then_nothing_is_said_or_done(
    stubs: Stubs,
) -> None:
    stubs.add("dpkg-query", "printf installed")

    done = stubs.install(PACKAGE)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not stubs.calls("apt-get")


def test_given_root_and_one_package_missing_when_asked_for_then_only_it_is_installed(
    stubs: Stubs,
) -> None:
    stubs.add("dpkg-query", f'case "$*" in *{PACKAGE}) exit 1;; *) printf installed;; esac')

    done = stubs.install("another-one", PACKAGE)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"installing missing Debian packages: {PACKAGE}\n"
    update, install = stubs.calls("apt-get")
    assert update == "apt-get update"
    assert install.endswith(f" {PACKAGE}") and "another-one" not in install


def test_given_a_user_with_sudo_when_package_missing_then_installed_through_it(
    stubs: Stubs,
) -> None:
    stubs.add("id", "echo 1000")
    stubs.add("sudo", 'exec "$@"')

    done = stubs.install(PACKAGE)

    assert done.returncode == 0, done.stderr
    assert len(stubs.calls("sudo")) == len(stubs.calls("apt-get")) == 2


def test_given_a_user_without_sudo_when_package_missing_then_error_names_it(stubs: Stubs) -> None:
    stubs.add("id", "echo 1000")

    done = stubs.install(PACKAGE)

    assert done.returncode != 0
    assert f"neither root nor sudo to install them: {PACKAGE}" in done.stderr
    assert not stubs.calls("apt-get")


def test_given_apt_that_fails_when_package_missing_then_its_words_and_an_error(
    stubs: Stubs,
) -> None:
    stubs.add("apt-get", "echo E: no such thing >&2; exit 100")

    done = stubs.install(PACKAGE)

    assert done.returncode != 0
    assert "E: no such thing" in done.stderr
    assert f"could not be installed: {PACKAGE}" in done.stderr


def test_given_no_apt_when_package_missing_then_error_says_debian(stubs: Stubs) -> None:
    (stubs.bin / "apt-get").unlink()

    done = stubs.install(PACKAGE)

    assert done.returncode != 0
    assert "Debian 12" in done.stderr


def make(*words: str) -> str:
    """The output of make, which has to succeed. The jobs of an outer make are no concern here."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    environment.pop("MFLAGS", None)
    done = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_given_everything_built_when_made_again_then_nothing_happens() -> None:
    make("all")

    assert make("all") == ""


def test_given_header_changed_when_made_then_all_that_includes_it_is_built_again() -> None:
    make("all")

    # -W: as if the file were new; -n: only say what would be done.
    would_do = make("-n", "V=1", "-W", "core/virtqueue.h", "all")

    for source in ("core/virtqueue.c", "core/device.c", "devices/blk.c", "efi/bind.c"):
        assert f"-c {source} " in would_do, source
    assert "-c boot/entry.c " not in would_do
    assert "virtboot.efi" in would_do and "virtio.efi" in would_do


def test_given_help_asked_for_when_made_then_every_target_of_the_readme_is_listed() -> None:
    listed = {line.split()[0] for line in make("help").splitlines()}

    assert {"all", "run", "test", "clean", "help"} <= listed
