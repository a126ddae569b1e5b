"""Settings of what a node does unasked, and how often: what it costs a battery.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from typing import Any, Final

from node.config_values import Settings, setting


class UpkeepSettings(Settings):
    """What the node does unasked, and how often."""

    home_keepalive: float = setting(
        25.0,
        "Seconds between renewals of the entries by which others reach this node behind its router, to begin with: "
        "with a longer `home_check` they become as rare as the router is found to allow, or more frequent.",
        allowed="seconds, from 5 to 80",
        source="RFC 4787 REQ-5 asks routers for 120 s; many give 30",
        ge=5,
        le=80,
    )
    home_check: float = setting(
        6.0,
        "Seconds of silence after which a home node is asked whether it lives: one that dies is replaced within "
        "10 s. From the keep-alive's length up nothing is asked in between, and renewals stretch up to this, at the "
        "most 290 s: that spares a battery.",
        allowed="seconds, from 2 to 300",
        source="10 s less two questions' time-outs (docs/results/homes.md)",
        ge=2,
        le=300,
    )
    upkeep_interval: float = setting(
        15.0,
        "Seconds between looks at what is due of the node's upkeep.",
        allowed="seconds, from 1 to 3600",
        source="UNSOURCED: much finer than any interval it serves",
        ge=1,
        le=3600,
    )
    timer_slack: float = setting(
        0.001,
        "Seconds by which upkeep may come early when the node is awake for something else, so that it is woken less.",
        allowed="seconds, from 0.001 to 600",
        source="UNSOURCED: next to nothing, as a machine on mains needs",
        ge=0.001,
        le=600,
    )
    liveness_interval: float = setting(
        900.0,
        "Seconds of silence after which a known node is asked whether it lives.",
        allowed="seconds, from 60 to 86400",
        source="BEP 5: 15 minutes",
        ge=60,
        le=86_400,
    )
    refresh_interval: float = setting(
        3600.0,
        "Seconds after which a part of the routing table that nobody looked into is refreshed.",
        allowed="seconds, from 60 to 86400",
        source="Kademlia paper, section 2.3",
        ge=60,
        le=86_400,
    )
    dial_back_interval: float = setting(
        600.0,
        "Seconds between questions to others of how this node looks from outside.",
        allowed="seconds, from 30 to 86400",
        source="UNSOURCED",
        ge=30,
        le=86_400,
    )
    keep_relays: bool = setting(
        True,
        "Keep links with relays open where the router calls for it, so that others get through at once. Without, a "
        "relay is looked for when a link is made.",
        allowed="true or false",
        source="UNSOURCED: being reached is what a node is for",
    )
    network_watch: float = setting(
        2.0,
        "Seconds between looks whether this machine's addresses have changed.",
        allowed="seconds, from 0.5 to 3600",
        source="UNSOURCED: a link goes on over another path within some seconds",
        ge=0.5,
        le=3600,
    )


DHT_TUNABLES: Final = (
    "home_keepalive",
    "home_check",
    "upkeep_interval",
    "timer_slack",
    "liveness_interval",
    "refresh_interval",
    "dial_back_interval",
)
"""Those that are the engine's, by the names they have there."""


def dht_tunables(settings: UpkeepSettings) -> dict[str, Any]:
    """What the engine is to be told: the tunables that differ from their defaults."""
    fields = type(settings).model_fields
    return {name: value for name in DHT_TUNABLES if (value := getattr(settings, name)) != fields[name].default}
