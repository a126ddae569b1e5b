"""Device classes: what a kind of device is like in a network.

Decides role, place behind a NAT, access rates and sessions of each. Refuses to know what a world does with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dht.events import Mode
from simulations.errors import BadScenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One device class."""

    name: str
    mode: Mode | None = None
    """Its role in the DHT; None lets evidence from outside decide, as a real node does by default."""
    behind: bool = False
    """Whether it stands behind the world's kind of NAT."""
    up: float = 1e9
    """Upload rate of the access link, bits a second; counts in a world with bandwidth."""
    down: float = 1e9
    """Download rate, bits a second."""
    queue: int = 262_144
    """Bytes its access link queues in each direction before it drops."""
    sessions: str = ""
    """Length of its sessions, a model of `simulations.sessions`; empty for always on."""
    downtime: str = ""
    """Time between its sessions, such a model too."""
    identity: bool = False
    """Whether it is reachable as a peer: keeps forwarding entries at home nodes."""
    keeps_state: bool = True
    """Whether contacts, records and node key survive a restart."""


PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        # A machine in a data centre, or one whose operator opened the port.
        Profile(name="server", mode=Mode.SERVER),
        # A computer at home that is always on: it may serve if its router lets others in. Rates: world medians of
        # fixed broadband are near 100 down and 50 up (Ookla Speedtest Global Index, 2024); buffers about 100 ms.
        Profile(name="home", behind=True, up=50e6, down=100e6, queue=640_000, identity=True),
        # The same, on for some hours at a time. Sessions: the longest-lived of the three BitTorrent populations of
        # Stutzbach and Rejaie (IMC 2006). Downtime UNSOURCED: as long as people are away.
        Profile(
            name="desktop",
            behind=True,
            up=50e6,
            down=100e6,
            queue=640_000,
            identity=True,
            sessions="weibull:0.59,41.9m",
            downtime="exponential:8h",
        ),
        # A phone: never a server, on for minutes. Rates as of mobile networks (Ookla, 2024: 11 up, 55 down).
        # Sessions and downtime UNSOURCED.
        Profile(
            name="phone",
            mode=Mode.CLIENT,
            behind=True,
            up=11e6,
            down=55e6,
            queue=256_000,
            identity=True,
            sessions="exponential:10m",
            downtime="exponential:1h",
        ),
        # A thing on a battery with a thin link. UNSOURCED
        Profile(name="sensor", mode=Mode.CLIENT, behind=True, up=0.25e6, down=0.25e6, queue=16_000, identity=True),
    )
}
"""The device classes that come with Rookery, by name."""


def profile_named(profile: str | Profile) -> Profile:
    """The profile of that name. Raises `BadScenario` that lists those there are."""
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise BadScenario(f"there is no profile {profile!r}: there are {', '.join(PROFILES)}")
    return PROFILES[profile]
