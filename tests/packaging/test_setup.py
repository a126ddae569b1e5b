"""The set-up on machines that lack something: it says what to install, in one go, and changes nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="not on this platform: make and sh are for POSIX")

# A machine's commands that the script may count on: POSIX, all in Debian's essential packages.
BASIC_COMMANDS = ("cat", "dirname", "find", "id", "mkdir", "rm", "sh", "tail")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with the project's set-up and a `bin` with the basic commands, but no Python."""
    tmp_path = tmp_path.resolve()
    (tmp_path / "packaging").mkdir()
    for name in ("pyproject.toml", "requirements-dev.lock", "packaging/setup.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for command in BASIC_COMMANDS:
        found = shutil.which(command)
        assert found, f"this machine has no {command}"
        (tmp_path / "bin" / command).symlink_to(found)
    return tmp_path


def give_python(machine: Path, name: str, body: str) -> None:
    """Put an interpreter on the machine: a script that does what `body` says, else it is this very Python."""
    script = machine / "bin" / name
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f'#!/bin/sh\n{body}\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)


def set_up(machine: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the set-up as on a machine where it may not install anything by itself."""
    return subprocess.run(
        [machine / "packaging/setup.sh"],
        env={"PATH": str(machine / "bin"), "HOME": str(machine), "ROOKERY_NO_APT": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


NO_VENV = 'case "$*" in *"import ensurepip"*|"-m pip "*|"-m virtualenv "*) exit 1;; esac'
TOO_OLD = 'case "$*" in *version_info*) exit 1;; esac'


def test_without_python_it_says_what_to_install(machine: Path) -> None:
    done = set_up(machine)
    assert done.returncode == 2
    assert "no complete Python 3.11 or newer" in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr
    assert not (machine / ".venv").exists()


def test_an_old_python_is_passed_over_for_a_newer_one(machine: Path) -> None:
    give_python(machine, "python3", TOO_OLD)
    give_python(machine, "python3.12", NO_VENV)
    done = set_up(machine)
    assert done.returncode == 2
    assert f"{machine}/bin/python3.12 has neither ensurepip nor pip" in done.stderr


def test_only_an_old_python_is_no_python(machine: Path) -> None:
    give_python(machine, "python3", TOO_OLD)
    done = set_up(machine)
    assert done.returncode == 2
    assert "no complete Python 3.11 or newer" in done.stderr


def test_without_venv_and_pip_it_says_what_to_install(machine: Path) -> None:
    give_python(machine, "python3", NO_VENV)
    done = set_up(machine)
    assert done.returncode == 2
    assert "sudo apt-get install" in done.stderr and "-venv" in done.stderr
    assert not (machine / ".venv").exists()


def test_a_wrongly_named_python_is_refused_by_name(machine: Path) -> None:
    give_python(machine, "python3", "")
    done = set_up(machine, ROOKERY_PYTHON="/nowhere/python")
    assert done.returncode == 2
    assert "ROOKERY_PYTHON is '/nowhere/python'" in done.stderr


def test_a_finished_set_up_is_left_alone(machine: Path) -> None:
    give_python(machine, "../.venv/bin/python", "")
    stamp = machine / ".venv" / ".installed"
    stamp.write_text(f"{machine}\n")
    before = stamp.stat().st_mtime_ns
    done = set_up(machine)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == before


def test_a_set_up_older_than_the_lock_is_done_again(machine: Path) -> None:
    """The pip of this venv notes what it is asked for, so nothing is installed by the test itself."""
    asked = machine / "asked"
    note = f'case "$*" in "-m pip install"*) echo "$*" >>"{asked}"; exit 0;; esac'
    give_python(machine, "../.venv/bin/python", note)
    stamp = machine / ".venv" / ".installed"
    stamp.write_text(f"{machine}\n")
    os.utime(stamp, (0, 0))
    done = set_up(machine)
    assert done.returncode == 0, done.stderr
    lock, project = asked.read_text().splitlines()
    assert "--require-hashes -r requirements-dev.lock" in lock
    assert "--no-deps -e ." in project
    assert stamp.stat().st_mtime > 0


def test_a_copied_folder_is_set_up_again(machine: Path) -> None:
    """Scripts and links in a virtual environment name the folder it was made in."""
    asked = machine / "asked"
    note = f'case "$*" in "-m pip install"*) echo "$*" >>"{asked}"; exit 0;; esac'
    give_python(machine, "../.venv/bin/python", note)
    stamp = machine / ".venv" / ".installed"
    stamp.write_text("/somewhere/else\n")
    done = set_up(machine)
    assert done.returncode == 0, done.stderr
    assert len(asked.read_text().splitlines()) == 2
    assert stamp.read_text() == f"{machine}\n"
