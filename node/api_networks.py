"""The commands about the private network that a node is in: `members`, `revoke-member`, `renew-network`.

Decides their documents. Refuses to know what makes somebody a member.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from node.adapters.http import ApiFailure
from node.api_params import Params
from node.protocols.membership import Rights, read_chain
from node.protocols.renewal import LONGEST_AHEAD, Renewal, read_renewal

if TYPE_CHECKING:
    from node.adapters.network_store import Network
    from node.node import Node
    from node.node_admission import Admission

Document = dict[str, Any]

DAY: Final = 86_400
"""Seconds until a new key is in force, unless told otherwise. UNSOURCED: most members are there once a day"""


class NetworkCommands:
    """The commands of one node that are about its network."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def calls(self) -> dict[str, Callable[[Params], Awaitable[Document]]]:
        """The commands by name."""
        return {"members": self._members, "revoke-member": self._revoke, "renew-network": self._renew}

    def _door(self) -> Admission:
        door = self._node.inside.admission
        if door is None:
            raise ApiFailure(
                "no-members",
                f"the network {self._node.config.network} of this node has no members: everybody with its key is in it",
                "`rookery network create NAME` founds one that has",
            )
        return door

    async def _members(self, params: Params) -> Document:
        params.done()
        linked = {link.peer.text for link in self._node.links()}
        document = network_document(self._door().network)
        for member in document["members"]:
            member["linked"] = member["peer"] in linked
        return document

    async def _revoke(self, params: Params) -> Document:
        peer = params.peer()
        params.done()
        said = self._door().revoke(peer)
        return {"peer": peer.text, "revoked_by": said.issuer.text, "since": said.since}

    async def _renew(self, params: Params) -> Document:
        after = params.integer("after", 1, LONGEST_AHEAD, DAY)
        params.done()
        return renewal_document(self._door().renewals.begin(after or DAY))


def renewal_document(said: Renewal) -> Document:
    """What there is to say of a network's next key."""
    return {"epoch": said.epoch, "since": said.since}


def network_document(network: Network) -> Document:
    """What there is to know of a network, without its secrets."""
    chain = read_chain(network.chain)
    revoked: dict[str, int] = {}
    for raw in network.revocations:
        from node.protocols.revocation import read_revocation

        said = read_revocation(raw)
        revoked[said.member.text] = max(said.since, revoked.get(said.member.text, 0))
    return {
        "network": network.name,
        "authority": network.authority.text,
        "founded_here": network.founder_seed is not None,
        "identity": chain[0].member.text,
        "invited_by": None if network.founder_seed is not None else chain[0].issuer.text,
        "may_invite": bool(chain[0].rights & Rights.INVITE),
        "members_invite": network.members_invite,
        "lan_only": network.lan_only,
        "epoch": network.epoch,
        "next_key_at": read_renewal(network.next).since if network.next else None,
        "expires_at": chain[0].expires,
        "members": [
            {
                "peer": met.peer.text,
                "invited_by": met.invited_by.text,
                "may_invite": met.may_invite,
                "expires_at": met.expires,
                "last_met": met.last_met,
                "revoked_at": revoked.get(met.peer.text),
            }
            for met in network.members
        ],
        "revoked": [{"peer": peer, "since": since} for peer, since in revoked.items()],
    }
