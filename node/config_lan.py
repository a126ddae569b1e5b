"""Settings of the local network: whether peers on it are found, and how visible this node is there.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from node.config_values import Lower, Settings, setting
from node.protocols.lan_beacon import MAX_INTERVAL


class LanSettings(Settings):
    """The local network."""

    lan: Annotated[Literal["on", "known", "off"], Lower] = setting(
        "on",
        "Find peers on the local network by mDNS and multicast, with no internet and no first contact. `known`: be "
        "seen there only by peers that know this node's peer id; `off`: neither announce nor look.",
        allowed="on, known or off",
        source="UNSOURCED: a node that nobody near can find is of little use without internet",
    )
    lan_interfaces: tuple[str, ...] = setting(
        (),
        "Network interfaces on which that is done; none named: all but loopback and tunnels.",
        allowed="a list of names as the system has them, such as eth0",
        source="all",
        list=True,
    )
    lan_interval: int = setting(
        60,
        "Seconds between announcements on the local network, once the first minute is over.",
        allowed="a whole number, 10-3600",
        source="UNSOURCED: one small datagram a minute; who asks is answered at once",
        ge=10,
        le=MAX_INTERVAL,
    )
    lan_mdns: bool = setting(
        True,
        "Use mDNS (UDP port 5353) beside the node's own multicast and broadcast (UDP port 7717).",
        allowed="true or false",
        source="RFC 6762: the one way that networks and their firewalls know",
    )
