"""Profiles: one word that sets every interval and source.

Decides what each word means. A setting that somebody gives wins over the profile; what a profile does not name keeps
its default. docs/profiles.md says what each does, and what it costs a phone by simulation. Refuses to know what any of
the settings does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from node.config_values import Lower, Settings, setting

ALWAYS_ONLINE: Final = "always-online"
MAX_DECENTRALIZATION: Final = "max-decentralization"
PRIVACY_FIRST: Final = "privacy-first"
BATTERY_SAVER: Final = "battery-saver"

PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    # Reached within seconds whatever happens around it: a machine on mains. Everything that notices a change is asked
    # for twice as often as by default, and whoever was met is remembered.
    ALWAYS_ONLINE: {
        "home_keepalive": 15.0,
        "liveness_interval": 600.0,
        "refresh_interval": 1800.0,
        "dial_back_interval": 300.0,
        "network_watch": 1.0,
        "republish_interval": 6 * 3600.0,
        "remembered_peers": 4096,
        "look_up_head_start": 0.0,
        "presence_refresh": 900.0,
        "lan_interval": 30,
    },
    # Carries its share and more, and leans on nobody in particular.
    MAX_DECENTRALIZATION: {
        "relay": "always",
        "stun": True,
        "port_mapping": True,
        "remembered_peers": 4096,
        "refresh_interval": 1800.0,
        "republish_interval": 12 * 3600.0,
        "presence_news": 120.0,
        "presence_neighbours": 8,
    },
    # Tells as few as possible as little as possible. A client is in nobody's table, its node key changes with every
    # start, and home nodes hear of it when entries are renewed, not every six seconds. Who is to be met by invitation
    # only sets `network_key` as well, which no profile can; who would be reached by relays alone sets `hide_address`,
    # which a network without relays cannot afford.
    PRIVACY_FIRST: {
        "mode": "client",
        "relay": "never",
        "stun": False,
        "port_mapping": False,
        "local_addresses_to": (),
        "lan": "known",
        "remembered_peers": 0,
        "presence": False,
        "home_check": 300.0,
        "look_up_head_start": 1.0,
    },
    # Awake as rarely as being reachable allows: as `home_check` is long, entries at home nodes are renewed as rarely as
    # the router is found to allow. What else is due comes about once a minute.
    BATTERY_SAVER: {
        # One family is half the upkeep, and IPv4 gets out of every phone's network (RFC 6877).
        "listen": "0.0.0.0",
        "mode": "client",
        "relay": "never",
        "stun": False,
        "port_mapping": False,
        "home_check": 300.0,
        "upkeep_interval": 900.0,
        "timer_slack": 60.0,
        "liveness_interval": 4 * 3600.0,
        "refresh_interval": 8 * 3600.0,
        "dial_back_interval": 3600.0,
        "keep_relays": False,
        "presence_interval": 60.0,
        "presence_neighbours": 2,
        "presence_links": False,
        "presence_news": 6.0,
        "network_watch": 60.0,
        "lan_interval": 900,
        "republish_interval": 24 * 3600.0,
        "look_up_head_start": 0.5,
        "call_head_start": 0.4,
        "lan_mdns": False,
        "presence_refresh": 3600.0,
    },
}
"""What each profile sets. The figures are UNSOURCED but for `home_check` of `battery-saver`, to which renewals are
stretched: of 34 home routers the median kept a UDP mapping that is used both ways for 3 minutes, and all but a few for
more than one (Hätönen et al., IMC 2010, figure 5)."""


class ProfileSettings(Settings):
    """What kind of node it is."""

    profile: Annotated[
        Literal["none", "always-online", "max-decentralization", "privacy-first", "battery-saver"], Lower
    ] = setting(
        "none",
        "One word that sets intervals and sources for a purpose (docs/profiles.md); settings given beside it win.",
        allowed="none, always-online, max-decentralization, privacy-first or battery-saver",
        source="none: the defaults of this table",
    )


def settings_of(profile: object) -> Mapping[str, Any]:
    """What a profile sets; nothing for one that does not exist, which whoever checks settings will tell."""
    return PROFILES.get(profile.lower(), {}) if isinstance(profile, str) else {}
