"""Settings of how links come to be, and whose it carries.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from node.config_values import Gateway, Listener, Lower, PeerId, Settings, setting


class LinkSettings(Settings):
    """How links come to be, and whose it carries."""

    relay: Annotated[Literal["auto", "always", "never"], Lower] = setting(
        "auto",
        "Whether the node carries links of others who cannot reach each other: `auto` does so while it serves the DHT.",
        allowed="auto, always or never",
        source="UNSOURCED: who can be reached helps those who cannot",
    )
    gateways: tuple[Gateway, ...] = setting(
        (),
        "Nodes that carry this one's traffic over TCP where UDP does not get through, best first.",
        allowed="a list of PEER@HOST:PORT, where PEER has 52 characters",
        source="none: nobody is known who does it",
        list=True,
    )
    websocket: Listener | None = setting(
        None,
        "Address and TCP port where this node takes links of others over TLS, and carries their DHT traffic: for "
        "networks that let nothing but HTTPS through.",
        allowed="IP:PORT; 0.0.0.0:443 is what such networks let through",
        source="off: nothing listens that was not asked for",
    )
    port_mapping: bool = setting(
        True,
        "Ask the router to forward the node's port (UPnP IGD, NAT-PMP, PCP; a pinhole where it speaks IPv6).",
        allowed="true or false",
        source="RFC 6886, RFC 6887, UPnP IGD:2",
    )
    local_addresses_to: tuple[PeerId | Literal["all"], ...] = setting(
        ("all",),
        "Who is told this machine's private addresses when a link is opened: without them, peers in one network may "
        "meet only by way of its router.",
        allowed='a list of peer ids of 52 characters, or "all" as its one item; empty for nobody',
        source="RFC 8828, section 5.2: mode 1 of its WebRTC IP handling",
        list=True,
    )
    hide_address: bool = setting(
        False,
        "Tell no peer an address of this machine, and dial none: every link goes through a relay, which sees the "
        "address in the peer's place. Needs mode = client.",
        allowed="true or false",
        source="RFC 8828, section 5.2: mode 4 of its WebRTC IP handling; off, for relays are others' and slower",
    )
    include_loopback: bool = setting(
        False,
        "Offer loopback addresses to peers: for several nodes on one machine.",
        allowed="true or false",
        source="RFC 8445, section 5.1.1.1: loopback addresses must not be candidates",
    )
