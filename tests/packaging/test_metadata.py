"""The project's metadata, its lock files and what a built wheel holds agree with each other."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PACKAGES = ("bootstrap", "dht", "node", "simulations")


def locked(name: str) -> dict[str, set[str]]:
    """The pins of a lock file for any platform: canonical name → versions (a marker may choose between two)."""
    pins: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            package, _, rest = line.partition("==")
            pins.setdefault(canonicalize_name(package), set()).add(rest.split()[0])
    return pins


def wanted(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with the extras named."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(("lock", "extras"), [(LOCKS[0], ("speed",)), (LOCKS[1], ("speed", "simulate", "dev"))])
def test_every_dependency_is_pinned_to_a_version_it_allows(lock: str, extras: tuple[str, ...]) -> None:
    pins = locked(lock)
    for requirement in wanted(*extras):
        versions = pins.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} is not in {lock}: run `make lock`"
        wrong = [version for version in versions if Version(version) not in requirement.specifier]
        assert not wrong, f"{lock} pins {requirement.name} to {wrong}, against {requirement}: run `make lock`"


def imported_modules(folder: str) -> set[str]:
    """The top-level names of all modules that the Python files below a folder import."""
    modules = set()
    for path in (ROOT / folder).rglob("*.py"):
        for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if isinstance(found, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in found.names}
            elif isinstance(found, ast.ImportFrom) and found.module and not found.level:
                modules.add(found.module.split(".")[0])
    return modules


NEEDED = {"simulations": ("speed", "simulate"), "tests": ("speed", "simulate", "dev")}


@pytest.mark.parametrize(
    ("folder", "extras"), [(folder, NEEDED.get(folder, ("speed",))) for folder in (*PACKAGES, "tests")]
)
def test_whatever_is_imported_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    """A package that comes only along with another one goes away with that one's next release."""
    declared = {canonicalize_name(requirement.name) for requirement in wanted(*extras)}
    holders = packages_distributions()
    ours = {*PACKAGES, "tests", *sys.stdlib_module_names}
    undeclared = {
        module: holders.get(module)
        for module in imported_modules(folder) - ours
        if not {canonicalize_name(name) for name in holders.get(module, [module])} & declared
    }
    assert not undeclared, f"{folder} imports what pyproject.toml does not ask for: {undeclared}"


def test_both_locks_pin_the_same_versions() -> None:
    runtime, development = map(locked, LOCKS)
    assert {name: development.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text and "--extra-index" not in text and "--find-links" not in text
    # An entry runs to the next line that is not indented.
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > len(wanted())
    for entry in entries:
        assert re.match(r"\S+==\S+", entry), f"{lock}: not an exact pin: {entry[:80]}"
        assert "--hash=sha256:" in entry, f"{lock}: no hash: {entry[:80]}"


def test_a_wheel_holds_every_file_of_the_packages_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("rookery-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
    sources = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert sources <= names
    assert "rookery = node.cli:main" in entry_points
