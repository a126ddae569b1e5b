"""Settings of where peers are looked for, and how long each place leaves to those before it.

Decides names, defaults and bounds. Refuses to know where values come from: `node/config.py` does.
"""

from __future__ import annotations

from node.config_values import Settings, setting


class FindingSettings(Settings):
    """Where peers are looked for: the connection ladder."""

    remembered_peers: int = setting(
        512,
        "How many peers' addresses are remembered, the latest linked, so that they are found at once; 0 for none.",
        allowed="a whole number from 0 to 10000",
        source="UNSOURCED: twice the links a node has at most",
        ge=0,
        le=10_000,
    )
    look_up_head_start: float = setting(
        0.05,
        "Seconds the DHT leaves to a peer that was found at once, at a remembered address or in the same network. "
        "Longer spares look-ups; a stale address costs as much.",
        allowed="seconds, from 0 to 5",
        source="budget of the ladder's first rung: linked within 50 ms",
        ge=0,
        le=5,
    )
    call_head_start: float = setting(
        0.2,
        "Seconds that dialling such an address gets before the peer is called through its home nodes as well.",
        allowed="seconds, from 0 to 5",
        source="budget of the ladder's direct rung: linked within 200 ms",
        ge=0,
        le=5,
    )
