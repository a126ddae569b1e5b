"""How many hosts stand behind which kind of box: shares from published measurements, by name.

Decides shares only; the kinds are in `nat_kinds.py`. Nobody has published a complete table of today's boxes. Where
a study gives one figure, the rest of a mix is the simplest choice that agrees with it, and is called UNSOURCED.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from simulations.errors import BadScenario
from simulations.nat_kinds import can_punch, kind_named

FORD_2005_UDP = 0.82
"""Share of boxes that allow UDP hole punching: 310 of 380, Ford, Srisuresh and Kegel, USENIX 2005, table 1."""
DCUTR_2025, DCUTR_2025_SPREAD = 0.70, 0.071
"""Share of hole punches that succeed, and its spread: 4.4 million tries of libp2p's DCUtR, arXiv 2510.27500."""
TRIBLER_2011_PUNCHABLE = 0.64
"""Share of all peers behind a box that should allow punching: Halkes and Pouwelse, NETWORKING 2011, abstract."""
TRIBLER_2011_SUCCESS = 0.80
"""Least share of punches between those that succeeded ("more than 80 %"), ibid."""
CARRIER_EYEBALL_2016 = 0.17
"""Share of networks with home users ("eyeball", 17 to 18 %) that put some behind a carrier's box: Richter et al.,
IMC 2016, "A Multi-perspective Analysis of Carrier-Grade NAT Deployment"."""
CARRIER_CELLULAR_2016 = 0.92
"""The same of mobile networks ("more than 92 %"), ibid. Shares of networks, which stand in for those of hosts."""

_PUNCHABLE = math.sqrt(DCUTR_2025)
"""With the strictest filters everywhere a pair needs two independent mappings, so this share of boxes squared is
the measured success: fitted, not measured."""
_OPEN = 0.40
"""Hosts without any box in the default world. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of kinds, which sum to 1, and what is known of where they come from."""

    shares: Mapping[str, float]
    source: str


_MIXES: dict[str, Mix] = {
    "open": Mix({"none": 1.0}, "nobody is behind anything: a world to compare with"),
    "ford-2005": Mix(
        {"port-restricted": FORD_2005_UDP, "symmetric": 1 - FORD_2005_UDP},
        "82 % of boxes have an endpoint-independent mapping (Ford et al. 2005); that all filter by port is UNSOURCED",
    ),
    "dcutr-2025": Mix(
        {"port-restricted": _PUNCHABLE, "symmetric": 1 - _PUNCHABLE},
        "fitted to 70 ± 7.1 % of pairs getting through (arXiv 2510.27500); that all filter by port is UNSOURCED",
    ),
    "tribler-2011": Mix(
        {"none": 0.11, "port-restricted": TRIBLER_2011_PUNCHABLE, "symmetric": 0.20, "udp-blocked": 0.05},
        "64 % of peers behind a box that allows punching (Halkes and Pouwelse 2011); the rest's split is UNSOURCED",
    ),
    "home": Mix(
        {
            "port-restricted": (1 - CARRIER_EYEBALL_2016) * _PUNCHABLE,
            "symmetric": (1 - CARRIER_EYEBALL_2016) * (1 - _PUNCHABLE),
            "cgnat": CARRIER_EYEBALL_2016 * _PUNCHABLE,
            "cgnat-symmetric": CARRIER_EYEBALL_2016 * (1 - _PUNCHABLE),
        },
        "17 % behind a carrier's box (Richter et al. 2016, counted in networks); mappings fitted as for dcutr-2025",
    ),
    "mobile": Mix(
        {
            "none": 1 - CARRIER_CELLULAR_2016,
            "cgnat": CARRIER_CELLULAR_2016 * _PUNCHABLE,
            "cgnat-symmetric": CARRIER_CELLULAR_2016 * (1 - _PUNCHABLE),
        },
        "92 % behind a carrier's box (Richter et al. 2016, counted in networks); mappings fitted as for dcutr-2025",
    ),
    "published": Mix(
        {
            "none": _OPEN,
            "port-restricted": (1 - _OPEN) * (1 - CARRIER_EYEBALL_2016) * _PUNCHABLE,
            "symmetric": (1 - _OPEN) * (1 - CARRIER_EYEBALL_2016) * (1 - _PUNCHABLE),
            "cgnat": (1 - _OPEN) * CARRIER_EYEBALL_2016 * _PUNCHABLE,
            "cgnat-symmetric": (1 - _OPEN) * CARRIER_EYEBALL_2016 * (1 - _PUNCHABLE),
        },
        "60 % behind boxes (UNSOURCED), those as in the mix home",
    ),
}
NAMES = tuple(_MIXES)
"""Every mix that a scenario may name."""


def mix(name_or_shares: str | Mapping[str, float]) -> dict[str, float]:
    """Give the shares of a named mix, or check those handed in: known kinds, no negative share, 1 in sum."""
    if isinstance(name_or_shares, str):
        found = _MIXES.get(name_or_shares)
        if found is None:
            raise BadScenario(f"there is no NAT mix {name_or_shares!r}: expected one of {', '.join(NAMES)}")
        return dict(found.shares)
    shares = dict(name_or_shares)
    for kind, share in shares.items():
        kind_named(kind)
        if not 0 <= share <= 1:
            raise BadScenario(f"share {share!r} of NAT kind {kind!r} is no share: expected 0 to 1")
    if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        raise BadScenario(f"shares of NAT kinds sum to {sum(shares.values()):g}: expected 1")
    return shares


def source_of(name: str) -> str:
    """Say where a named mix comes from, and what of it is UNSOURCED."""
    mix(name)
    return _MIXES[name].source


def draw(shares: Mapping[str, float], rng: Random) -> str:
    """Draw one host's kind; the order of the shares counts, so that a seed gives the same kinds again."""
    left = rng.random() * sum(shares.values())
    drawn = ""
    for kind, share in shares.items():
        if not share:
            continue
        # The last kind with a share stays drawn even when rounding leaves a crumb after it.
        drawn = kind
        left -= share
        if left < 0:
            break
    if not drawn:
        raise BadScenario("a NAT mix without any kind gives none: expected at least one share above 0")
    return drawn


def punchable(shares: Mapping[str, float], *, boxed_only: bool = True) -> float:
    """Say what share of pairs gets through by theory (`can_punch`); by default of pairs both behind some box."""
    counted = {kind: share for kind, share in shares.items() if not (boxed_only and kind_named(kind).open)}
    whole = sum(counted.values())
    if not whole:
        raise BadScenario("no host of this NAT mix is behind a box, so no pair of such hosts can be counted")
    return sum(p * q for a, p in counted.items() for b, q in counted.items() if can_punch(a, b)) / whole**2
