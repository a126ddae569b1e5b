"""Whether a bootstrap server is well: what of a node's state makes it useless to newcomers, in words for the public.

Decides what counts as ill. Refuses to know HTTP and the list, and to tell strangers paths or other nodes' addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dht.config import DhtConfig
from dht.identity import is_exempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.node_results import ContactInfo
    from node.node_status import NodeStatus

GRACE: Final = 180.0
"""Seconds after its start in which a server may still be alone or not know its address. UNSOURCED: three of the longest
pauses between two tries to join."""

CLOCK_TOLERANCE: Final = DhtConfig().clock_tolerance
"""Seconds the clock may be off, as the node itself judges it."""

OUTSIDE_VOTERS: Final = 6
"""Contacts on public addresses that should agree on ours by then. UNSOURCED: twice the votes it takes."""


def ailments(status: NodeStatus, contacts: Sequence[ContactInfo], *, others_known: bool) -> tuple[str, ...]:
    """Why this node is no good server just now; empty when it is. `others_known`: it was told of others."""
    found = []
    settled = status.uptime >= GRACE
    if settled and others_known and not contacts:
        found.append(f"it has found no other node {status.uptime / 60:.0f} min after its start")
    if status.journal_problem is not None:
        found.append("its journal cannot be written")
    if status.clock_offset is not None and abs(status.clock_offset) > CLOCK_TOLERANCE:
        found.append(f"its clock is {abs(status.clock_offset) / 60:.0f} min off that of others")
    if settled and (outside := _outside(status, contacts)):
        found.append(outside)
    return tuple(found)


def _outside(status: NodeStatus, contacts: Sequence[ContactInfo]) -> str:
    """What the others' view of our address says against our being reached."""
    seen = status.public_address
    if seen is None:
        voters = sum(not is_exempt(contact.address[0]) for contact in contacts)
        if voters >= OUTSIDE_VOTERS:
            return f"{voters} nodes outside do not agree on its address: a NAT hides it"
        return ""
    if seen[1] not in {port for _, port in status.listening}:
        return f"others see it on UDP port {seen[1]}, where it does not listen: a NAT hides it"
    return ""
