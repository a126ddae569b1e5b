"""Entering a network by an invite: in the node that runs, or in one of a few seconds beside it.

Decides who redeems (a node must be in the network to reach anybody there) and where what was granted goes. Refuses to
know the ways to an inviter (`node_redeeming`) and the form of a configuration file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dht.contact import Contact
from dht.identity import IdentityKey, NodeKey, PublicKey, is_exempt
from node.adapters.memory_storage import MemoryStorage
from node.config import NodeConfig
from node.node import Node
from node.node_keys import HeldKeys
from node.node_parts import NodeParts
from node.node_redeeming import Redeemed, Said
from node.protocols.invite import Invite
from node.protocols.invite_faults import InviteFault, JoinFailed
from node.protocols.invite_ports import GrantRefused, Membership

JOURNAL, MEMBERSHIP, NOWHERE = "journal", "membership", "nowhere"


@dataclass(frozen=True, slots=True)
class Entered:
    """What became of an invite that was good."""

    network: str
    private: bool
    lan_only: bool
    """Whether its nodes stay on the local network."""
    inviter: PublicKey
    path: str
    """How the inviter was reached."""
    skew: float
    """Its clock less ours, in seconds."""
    contacts: tuple[Contact, ...]
    member: bool
    """Whether a certificate of membership was granted."""
    kept: str
    """Where the next start of a node finds the network: `journal` (it is the configured one), `membership` (the private
    networks of this node), or `nowhere` (the configuration has to name it)."""


def is_in(config: NodeConfig, invite: Invite) -> bool:
    """Whether a node of this configuration is in the network of the invite."""
    return config.network == invite.network and config.network_key == invite.key


async def enter(
    invite: Invite,
    config: NodeConfig,
    identity: IdentityKey,
    parts: NodeParts,
    membership: Membership | None,
    *,
    node: Node | None = None,
    timeout: float,
    say: Said = lambda text: None,
) -> Entered:
    """Redeem `invite` and keep what it brings. `node` is the one that runs with `config`, if there is one; without it,
    or when it is in another network, a guest does it. Raises `BadInvite`, `JoinFailed` or `LocalError`."""
    if node is not None and is_in(config, invite):
        redeemed = await node.redeeming.redeem(invite, timeout=timeout, say=say)
        return await _kept(invite, redeemed, membership, JOURNAL)
    say(f"entering {invite.network}")
    async with Node(guest_config(config, invite), _guest_parts(parts, identity)) as guest:
        redeemed = await guest.redeeming.redeem(invite, timeout=timeout, say=say)
    return await _kept(invite, redeemed, membership, NOWHERE)


def guest_config(config: NodeConfig, invite: Invite) -> NodeConfig:
    """The settings of a node that is in the network of the invite for as long as redeeming takes."""
    scope = "lan" if invite.lan_only else config.scope
    return config.replace(
        network=invite.network,
        network_key=invite.key,
        scope=scope,
        contacts=tuple(
            contact
            for contact in invite.contacts
            if config.reaches(contact.ip) and (scope == "any" or is_exempt(contact.ip))
        ),
        bootstrap_lists=(),
        bootstrap_signers=(),
        bootstrap_threshold=1,
        port=0,
        mode="client",
        websocket=None,
        # Those of the network the machine is in otherwise: they would see that it is in this one, too.
        gateways=config.gateways if invite.key is None else (),
        port_mapping=False,
        api=None,
        api_http=None,
    )


def _guest_parts(parts: NodeParts, identity: IdentityKey) -> NodeParts:
    async def forgotten(_path: object) -> MemoryStorage:
        return MemoryStorage()

    keys = HeldKeys(identity, NodeKey.from_secret(parts.rng.randbytes(32)))
    return replace(parts, open_keys=lambda _config: keys, open_storage=forgotten)


async def _kept(invite: Invite, redeemed: Redeemed, membership: Membership | None, where: str) -> Entered:
    if invite.key is not None and redeemed.certificate and membership is not None:
        try:
            await membership.accept_grant(
                invite.network, invite.key, redeemed.certificate, redeemed.contacts, lan_only=invite.lan_only
            )
        except GrantRefused as error:
            problem = f"what the inviter granted is no membership of {invite.network}: {error.reason}"
            raise JoinFailed(InviteFault.NOT_KEPT, problem) from None
        where = MEMBERSHIP
    return Entered(
        invite.network,
        invite.key is not None,
        invite.lan_only,
        invite.inviter,
        redeemed.path,
        redeemed.skew,
        redeemed.contacts,
        bool(redeemed.certificate),
        where,
    )
