"""When a request is slow, and when it is lost: the rules of `dht/requests.py`, and two others to compare with.

Decides the times only; knows no look-up. A contact of one's own table has been asked before, so its round trip is
known; of all others only what round trips are like in general.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from dht.config import DhtConfig
from simulations.errors import BadScenario
from simulations.model.compiled import inlined
from simulations.model.round_trips import RoundTrips, Spread, steady

ASKED_BEFORE: Final = 4
"""Times that a contact of one's own table has been asked: a join, and liveness checks of a first hour."""
_DEVIATIONS: Final = 4.0
_HEDGE_DEVIATIONS: Final = 2.0
_FLOOR: Final = 0.0005
"""Seconds of patience at the very least, so that a wait always ends later than it began. UNSOURCED."""


class Patience(NamedTuple):
    """A rule, as compiled code takes it."""

    hedge: bool
    """Whether a slow request lets another be sent before it is lost."""
    fixed: float
    """Seconds after which any request is lost; 0 for what was measured."""
    first: float
    least: float
    most: float
    least_hedge: float
    """As in `DhtConfig`: first_timeout, min_timeout, max_timeout, min_hedge."""
    around: Spread
    """What round trips are like in general."""
    guessed: float
    """What is left of the first guess of a known contact's deviation, as a part of its round trip."""


def patience(text: str, config: DhtConfig, around: Spread, asked: int = ASKED_BEFORE) -> Patience:
    """Read a rule from text.

    `hedged` is ours. `measured` is mean + 4 deviations without hedging (Rhea, Geels, Roscoe and Kubiatowicz 2004,
    "Handling Churn in a DHT"; RFC 6298). `fixed:5s` waits as long for everybody. `asked` is how often contacts of one's
    own table have been asked before: the first guess of their deviation, half the round trip, shrinks by a quarter with
    each further answer (RFC 6298 section 2: R/2, gain 1/4). Raises `BadScenario`.
    """
    if asked < 1:
        raise BadScenario(f"asked = {asked!r}: a contact is in a table because it has answered, once at least")
    guessed = 0.5 * 0.75 ** (asked - 1)
    rules = (config.first_timeout, config.min_timeout, config.max_timeout, config.min_hedge)
    if text == "hedged":
        return Patience(True, 0.0, *rules, around, guessed)
    if text == "measured":
        return Patience(False, 0.0, *rules, around, guessed)
    name, _, seconds = text.partition(":")
    try:
        fixed = float(seconds.removesuffix("s"))
    except ValueError:
        fixed = 0.0
    if name != "fixed" or not _FLOOR <= fixed < math.inf:
        raise BadScenario(f"timeouts = {text!r} is no rule: expected hedged, measured or fixed:5s")
    return Patience(False, fixed, *rules, around, guessed)


@inlined
def waits(rule: Patience, model: RoundTrips, own: int, peer: int, known: bool) -> tuple[float, float]:
    """Seconds until a request from `own` to `peer` is slow, and until it is lost. Without hedging they are equal."""
    if rule.fixed > 0.0:
        return rule.fixed, rule.fixed
    around = rule.around
    if known:
        base = steady(model, own, peer)
        mean = base + around.extra_mean
        deviation = max(around.extra_deviation, rule.guessed * mean)
        lost = min(mean + max(_DEVIATIONS * deviation, rule.least), rule.most)
        slow = mean + max(_HEDGE_DEVIATIONS * deviation, rule.least_hedge)
        slow = min(slow, lost - min(rule.least_hedge, lost / 10.0))
    else:
        deviations = _DEVIATIONS * around.deviation
        lost = rule.first if rule.hedge else min(around.mean + max(deviations, rule.least), rule.most)
        slow = min(around.mean + max(deviations, rule.least_hedge), rule.first / 2.0)
    if not rule.hedge:
        return max(lost, _FLOOR), max(lost, _FLOOR)
    return max(slow, _FLOOR), max(lost, slow, _FLOOR)
