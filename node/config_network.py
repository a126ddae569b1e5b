"""Settings of which network it is in, how it finds it, and what it does for it.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dht.records import MAX_LIFETIME
from node.config_values import FirstContact, Lower, PeerId, SecretKey, Settings, setting

NetworkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class NetworkSettings(Settings):
    """Which network it is in, how it finds it, and what it does for it."""

    mode: Annotated[Literal["auto", "server", "client"], Lower] = setting(
        "auto",
        "Whether the node serves the DHT: `auto` does so once peers have reached it from outside.",
        allowed="auto, server or client",
        source="Kademlia nodes that cannot be reached harm look-ups (libp2p's client mode)",
    )
    network: str = setting(
        "main",
        "Name of the network: nodes of different networks ignore each other.",
        allowed="1-64 letters, digits, dots, dashes and underscores",
        source="UNSOURCED",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )
    networks: tuple[NetworkName, ...] = setting(
        (),
        "Private networks that `rookery run` runs a node in as well, in the same process.",
        allowed="a list of names of networks that `rookery network list` shows",
        source="none: nobody is anywhere unasked",
        list=True,
    )
    scope: Annotated[Literal["any", "lan"], Lower] = setting(
        "any",
        "Whom the node talks to: with `lan` private, loopback and link-local addresses alone. It then fetches no list, "
        "asks no router for a port, and uses no gateway.",
        allowed="any or lan",
        source="any: a network is of use across places; exempt addresses as BEP 42 has them",
    )
    network_key: SecretKey | None = setting(
        None,
        "Shared secret of a private network; whoever lacks it cannot say a word in it.",
        allowed="64 hexadecimal digits (32 bytes)",
        source="no key: an open network",
        secret=True,
        repr=False,
    )
    bootstrap_lists: tuple[str, ...] = setting(
        (),
        "Signed lists of first contacts: files or http(s) addresses.",
        allowed="a list of paths and http:// or https:// addresses",
        source="no list: saved contacts, `contacts` and the local network only",
        list=True,
        path=True,
    )
    bootstrap_signers: tuple[PeerId, ...] = setting(
        (),
        "Who may sign such a list.",
        allowed="a list of peer ids of 52 characters",
        source="nobody is trusted unasked",
        list=True,
    )
    bootstrap_threshold: int = setting(
        1,
        "How many of the signers must have signed a list.",
        allowed="a whole number from 1 to the number of bootstrap_signers",
        source="UNSOURCED: the least that means anything",
        ge=1,
        le=255,
    )
    contacts: tuple[FirstContact, ...] = setting(
        (),
        "Further first contacts.",
        allowed="a list of KEY@HOST:PORT, where KEY has 52 characters and HOST is an IP address",
        source="none",
        list=True,
    )
    republish_interval: float = setting(
        17 * 3600.0,
        "Seconds between publications of an unchanged record. Holders repair copies meanwhile.",
        allowed="seconds, from 60 to half of record_ttl",
        source="17 copies of 20 lived for 30 h on the Mainline DHT (pkarr, churn measurement)",
        ge=60,
        le=MAX_LIFETIME / 2,
    )
    record_ttl: float = setting(
        48 * 3600.0,
        "Seconds that a published record lives when it is not published again.",
        allowed="seconds, from 300 to 691200 (8 days, the most that nodes store)",
        source="IPFS keeps provider records for 48 h",
        ge=300,
        le=MAX_LIFETIME,
    )
    stun: bool = setting(
        True,
        "Answer STUN binding requests on the node's port, so that neighbours learn their addresses.",
        allowed="true or false",
        source="RFC 8489: every server node is its neighbours' STUN server",
    )
