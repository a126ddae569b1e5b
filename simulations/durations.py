"""Spans of time as people write them: "50ms", "1.5h", "2d".

Decides the units and nothing else. A number without a unit is refused: seconds and milliseconds are both at home
in a scenario, and a guess would be wrong by a factor of a thousand.
"""

from __future__ import annotations

import math
import re

from simulations.errors import BadScenario

UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
"""Seconds in each unit that may be written."""

_FORM = re.compile(r"\s*([0-9.eE+-]+)\s*([a-zµ]+)\s*")


def parse_duration(text: str, what: str = "duration") -> float:
    """Give the seconds that a text such as "50ms" names; never negative, never infinite.

    Raises `BadScenario` naming `what` was read, the text, and the units there are.
    """
    expected = f"expected a number from 0 up and a unit ({', '.join(UNITS)}), as in 50ms"
    form = _FORM.fullmatch(text)
    if form is None or form[2] not in UNITS:
        raise BadScenario(f"{what} {text!r} is no span of time: {expected}")
    try:
        seconds = float(form[1]) * UNITS[form[2]]
    except ValueError:
        raise BadScenario(f"{what} {text!r} is no span of time: {expected}") from None
    if not 0 <= seconds < math.inf:
        raise BadScenario(f"{what} {text!r} is no span of time: {expected}")
    return seconds
