"""Values as a person writes them on a command line: `100`, `0.1`, `true`, `cities`, and several of them at once.

Decides `KEY=VALUE`, lists (`1,2,5`) and ranges (`0:0.3:0.1`). Refuses to know which keys there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from simulations.errors import BadScenario
from simulations.settings import RunSpec

WORLD: Final = "world."
"""Begins the key of a setting of the world; everything else is a parameter of the scenario."""

MOST_VALUES: Final = 10_000
"""Values of one range: more is a slip of the pen. UNSOURCED"""

_INDEXED: Final = re.compile(r"(?P<name>[\w-]+)(?P<indices>(\[\d+\])*)")
_RANGE: Final = re.compile(r"[-+.\deE]+:[-+.\deE]+(:[-+.\deE]+)?")


def value(text: str) -> Any:
    """A number, a truth value, or else the text itself."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


def values(text: str) -> list[Any]:
    """Several values: `A,B,C`, or `FIRST:LAST:STEP` with both ends in it. Raises `BadScenario`.

    A comma inside a value is doubled: `lognormal:50ms,,0.4` is one.
    """
    if _RANGE.fullmatch(text.strip()):
        return _range(text.strip())
    # What no key holds, and no shell hands over, stands for the doubled comma meanwhile.
    parts = [part.replace("\0", ",").strip() for part in text.replace(",,", "\0").split(",")]
    if not all(parts):
        raise BadScenario(f"{text!r} names no values: expected VALUE,VALUE,… or FIRST:LAST:STEP")
    return [value(part) for part in parts]


def assignment(text: str) -> tuple[str, str]:
    """Part `KEY=VALUE`. Raises `BadScenario`."""
    key, equals, written = text.partition("=")
    if not equals or not key.strip():
        raise BadScenario(f"{text!r} is not KEY=VALUE")
    return key.strip(), written


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Several `KEY=VALUE`, the later of one key counting. Raises `BadScenario`."""
    return {key: value(written) for key, written in map(assignment, texts)}


def applied(spec: RunSpec, settings: Mapping[str, Any]) -> RunSpec:
    """A run with other settings of the world (`world.loss`) and other parameters (everything else)."""
    world, parameters = dict(spec.world), dict(spec.parameters)
    for key, new in settings.items():
        if key.startswith(WORLD):
            world[key.removeprefix(WORLD)] = new
        else:
            parameters = changed(parameters, key, new)
    return spec.model_copy(update={"world": world, "parameters": parameters})


def _range(text: str) -> list[Any]:
    try:
        # Decimals, since 0.1 added three times is not 0.3 in binary.
        first, last, step = (Decimal(part) for part in (*text.split(":"), "1")[:3])
    except InvalidOperation:
        raise BadScenario(f"{text!r} is no range: expected FIRST:LAST:STEP, three numbers") from None
    if not step or (last - first) / step < 0:
        raise BadScenario(f"{text!r} never gets from {first} to {last} by steps of {step}")
    count = int((last - first) / step) + 1
    if count > MOST_VALUES:
        raise BadScenario(f"{text!r} has {count:,} values: at most {MOST_VALUES:,} are allowed")
    steps = [first + step * index for index in range(count)]
    whole = all(one == one.to_integral_value() for one in (first, step))
    return [int(one) if whole else float(one) for one in steps]


def changed(parameters: Mapping[str, Any], key: str, new: Any) -> dict[str, Any]:
    """The parameters with one of them another. A key may reach into lists: `step[2].fraction`, counted from 1.

    Raises `BadScenario` for a place in a list that is not there.
    """
    first, *rest = _steps(key)
    # In a scenario file the list of steps is written as [[step]] tables.
    name = str(first) if first in parameters or f"{first}s" not in parameters else f"{first}s"
    return {**parameters, name: _replaced(parameters.get(name), rest, new, key) if rest else new}


def _steps(key: str) -> list[str | int]:
    parts: list[str | int] = []
    for dotted in key.split("."):
        match = _INDEXED.fullmatch(dotted)
        if match is None:
            raise BadScenario(f"{key!r} is no key: expected NAME, or NAME[2].NAME for what lies in a list")
        parts.append(match["name"])
        parts += [int(number) for number in re.findall(r"\d+", match["indices"])]
    return parts


def _replaced(within: Any, path: list[str | int], new: Any, key: str) -> Any:
    if not path:
        return new
    first, *rest = path
    if isinstance(first, int):
        if not isinstance(within, list | tuple) or not 1 <= first <= len(within):
            length = len(within) if isinstance(within, list | tuple) else 0
            raise BadScenario(f"{key!r}: there is no element {first}, only {length}, counted from 1")
        items = list(within)
        items[first - 1] = _replaced(items[first - 1], rest, new, key)
        return items
    if not isinstance(within, Mapping):
        raise BadScenario(f"{key!r}: {first!r} lies in nothing that has names")
    return {**within, first: _replaced(within.get(first), rest, new, key)}
