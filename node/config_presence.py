"""Settings of presence by gossip.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from node.config_values import Settings, setting


class PresenceGroup(Settings):
    """Whether and how the node tells others that it is there."""

    presence: bool = setting(
        True,
        "Tell linked peers by gossip that the node is there and what its status is, and hear the same of others.",
        allowed="true or false",
        source="UNSOURCED: who is there is what people want to know first",
    )
    presence_interval: float = setting(
        10.0,
        "Seconds between beats to neighbours. On battery 60 lets a radio sleep; a death is noticed as much later.",
        allowed="seconds, from 1 to 3600",
        source="UNSOURCED: a silent death is known to all within half a minute",
        ge=1,
        le=3600,
    )
    presence_refresh: float = setting(
        1800.0,
        "Seconds after which the node says to all anew that it is there, though nothing has changed. Who hears nothing "
        "for 2.5 times as long takes it for gone.",
        allowed="seconds, from 60 to 86400",
        source="UNSOURCED: a quarter of what a node of a large network hears",
        ge=60,
        le=86_400,
    )
    presence_neighbours: int = setting(
        5,
        "Links over which gossip goes. Fewer save battery, and let less of it through.",
        allowed="a whole number from 1 to 8",
        source="HyParView (Leitão et al. 2007): log10 of 10,000 nodes, plus 1",
        ge=1,
        le=8,
    )
    presence_links: bool = setting(
        True,
        "Whether the node may open links of its own to find neighbours; without, it uses those that apps opened.",
        allowed="true or false",
        source="UNSOURCED",
    )
    presence_news: float = setting(
        30.0,
        "News of others a minute that the node wants to hear at most. More lets it know more of a large network.",
        allowed="a number from 1 to 6000",
        source="UNSOURCED: 350 bytes each make 175 B/s",
        ge=1,
        le=6000,
    )
