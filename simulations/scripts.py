"""Scenarios in a script of the user's own: `my_scenario.py`, or `my_scenario.py:name` where it holds several.

Decides how such a file is loaded, in this process or in a worker's, and what is said when it cannot be. Refuses to
play anything.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
import types
from pathlib import Path
from typing import Final

from simulations.errors import BadScenario
from simulations.scenario import Scenario, named, scenarios
from simulations.settings import RunSpec

_SCRIPT: Final = re.compile(r"(?P<path>.+\.py)(?::(?P<name>[^:/\\]+))?")

MODULE: Final = "rookery_script"
"""The module that a script is: the same for all, so that one script's scenario may take the place of another's."""

_loaded: dict[str, dict[str, Scenario]] = {}
"""What each script registered, by path and text: a worker loads a script once, not once a seed."""


def is_script(scenario: str) -> bool:
    """Whether the text names a script rather than a scenario that comes with Rookery."""
    return _SCRIPT.fullmatch(scenario) is not None


def script_path(scenario: str) -> Path:
    """The file of `PATH` or `PATH:NAME`."""
    return Path(_parts(scenario)[0])


def absolute(scenario: str) -> str:
    """The same scenario, named so that it is found from every folder; a name stays a name."""
    if not is_script(scenario):
        return scenario
    path, name = _parts(scenario)
    return f"{Path(path).absolute()}{f':{name}' if name else ''}"


def scenario_of(spec: RunSpec, script: str | None = None) -> Scenario:
    """The scenario that a run plays; `script` is the text of its file, where the file itself may be elsewhere.

    Raises `BadScenario` when there is none of that name, or its script cannot be loaded.
    """
    if not is_script(spec.scenario):
        return named(spec.scenario)
    return load_script(spec.scenario, script)


def script_text(scenario: str) -> str | None:
    """The text of a scenario's script; None for a scenario that comes with Rookery. Raises `BadScenario`."""
    if not is_script(scenario):
        return None
    path = script_path(scenario)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadScenario(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise BadScenario(
            f"{path}: is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        ) from None


def load_script(scenario: str, text: str | None = None) -> Scenario:
    """Run the file and give the scenario it registers: the one, or the one named. Raises `BadScenario`."""
    path, name = _parts(scenario)
    if text is None:
        text = script_text(scenario) or ""
    key = hashlib.blake2b(f"{path}\0{text}".encode(), digest_size=16).hexdigest()
    if key not in _loaded:
        _loaded[key] = _execute(Path(path), text)
    offered = _loaded[key]
    if not offered:
        raise BadScenario(
            f"{path} registers no scenario: give a coroutine function in it @scenario(name, title, parameters)"
        )
    if name is None:
        if len(offered) > 1:
            there_are = ", ".join(sorted(offered))
            raise BadScenario(f"{path} registers several scenarios: say {path}:NAME; there are {there_are}")
        return next(iter(offered.values()))
    if name not in offered:
        raise BadScenario(f"{path} has no scenario {name!r}: there are {', '.join(sorted(offered))}")
    return offered[name]


def _parts(scenario: str) -> tuple[str, str | None]:
    match = _SCRIPT.fullmatch(scenario)
    if match is None:
        raise BadScenario(f"{scenario!r} is no script: expected PATH.py or PATH.py:NAME")
    return match["path"], match["name"]


def _execute(path: Path, text: str) -> dict[str, Scenario]:
    """Run a script as a module; give the scenarios that are new or changed since."""
    module = types.ModuleType(MODULE)
    module.__file__ = str(path)
    before = scenarios()
    # pydantic and dataclasses look their module up while a class is made.
    sys.modules[MODULE] = module
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        # At the end: a script may import what lies beside it, but must not hide anybody else's modules.
        sys.path.append(folder)
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise BadScenario(f"{_place(path, error)}: {type(error).__name__}: {error}") from error
    return {one.name: one for one in scenarios().values() if before.get(one.name) is not one}


def _place(path: Path, error: Exception) -> str:
    """FILE:LINE of the script's own line that failed."""
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
