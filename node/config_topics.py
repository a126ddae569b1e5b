"""Settings of topics.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from dht.errors import LocalError
from node.config_values import Settings, refuse, setting
from node.protocols.topics import checked_topic


def _to_topic(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return checked_topic(value)
    except LocalError as error:
        raise refuse(str(error)) from None


TopicName = Annotated[str, BeforeValidator(_to_topic)]


class TopicSettings(Settings):
    """Which topics the node is in, and with how many of their members it is connected."""

    topics: tuple[TopicName, ...] = setting(
        (),
        "Public topics that the node is in from its start on.",
        allowed="a list of names of 1 to 128 bytes",
        source="none: nobody is told what one is interested in unasked",
        list=True,
    )
    topic_peers: int = setting(
        6,
        "Members of a topic that the node connects to; it takes twice as many.",
        allowed="2 to 32",
        source="Erdős-Rényi: a random graph of degree 12 hangs together beyond 10,000 nodes",
        ge=2,
        le=32,
    )
    topic_announce_interval: float = setting(
        900.0,
        "Seconds between two announcements of the node under a topic; they live for twice that and a minute.",
        allowed="seconds, from 60 to 43200 (12 h)",
        source="UNSOURCED",
        ge=60,
        le=43200,
    )
