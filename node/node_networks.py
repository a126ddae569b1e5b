"""The private networks of this machine: founding one, being let into one, and the settings of a node in one.

Decides what a founder's own certificate says, and what a node in a network takes from the settings of others. Refuses
to know the form of the file (`adapters/network_store`) and who is a member (`protocols/membership`).
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from dht.constants import KEY_BYTES
from dht.contact import Contact
from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey, is_exempt
from node.adapters.network_store import (
    FILE_NAME,
    MAX_CONTACTS,
    Network,
    NetworkStore,
    load_network,
    networks_folder,
    save_network,
)
from node.config import NodeConfig
from node.protocols.invite_ports import GrantRefused
from node.protocols.membership import NoMember, Rights, chain_bytes, check_chain, issue, read_chain
from node.protocols.renewal import LONGEST_AHEAD, Renewal, renew
from node.protocols.revocation import Revocation, Revocations, revoke


def store_of(config: NodeConfig) -> NetworkStore:
    """The networks that a node of this configuration is, or may be, in."""
    return NetworkStore(networks_folder(config.data_dir))


def found(
    store: NetworkStore,
    name: str,
    identity: IdentityKey,
    now: float,
    *,
    members_invite: bool = False,
    lan_only: bool = False,
) -> Network:
    """Found a private network with `identity` as its first member. Raises `LocalError`."""
    authority = IdentityKey.generate()
    own = issue(authority, authority.public, identity.public, Rights.INVITE, now)
    network = Network(
        name,
        authority.public,
        os.urandom(KEY_BYTES),
        chain_bytes([own]),
        founder_seed=authority.seed,
        members_invite=members_invite,
        lan_only=lan_only,
    )
    store.add(network, identity)
    return network


def in_network(config: NodeConfig) -> NodeConfig:
    """The settings of a node in the private network that `config` names, or `config` where that is none of ours.

    It has a folder of its own, and so its own journal, keys, invites and local API. What belongs to the public network
    stays there: lists, gateways, the API's address, and first contacts unless they were said together with the network,
    for a datagram sent there would tell that this machine is in another network, too. Raises `LocalError`.
    """
    store = store_of(config)
    if config.network_key is not None or config.network not in store.names():
        return config
    network = store.load(config.network).at(time.time())
    lan = network.lan_only or config.scope == "lan"
    contacts = dict.fromkeys((*(config.contacts if _said_together(config) else ()), *network.contacts))
    return config.replace(
        data_dir=store.folder_of(network.name),
        network_key=network.key,
        contacts=tuple(contact for contact in contacts if not lan or is_exempt(contact.ip)),
        scope="lan" if lan else "any",
        port_mapping=config.port_mapping and not lan,
        bootstrap_lists=(),
        bootstrap_signers=(),
        bootstrap_threshold=1,
        gateways=(),
        api=None,
        api_http=None,
    )


def beside(config: NodeConfig, name: str) -> NodeConfig:
    """The settings of a further node in the private network `name`, in the process of another. Raises `LocalError`."""
    store_of(config).load(name)
    return in_network(config.replace(network=name, network_key=None, contacts=(), port=0, websocket=None))


def _said_together(config: NodeConfig) -> bool:
    """Whether first contacts were named where the network was, or nearer to the command: then they are its own."""
    return _nearness(config.origins["contacts"]) >= _nearness(config.origins["network"])


def _nearness(origin: str) -> int:
    return 2 if origin.startswith("flag ") else 1 if origin.startswith("variable ") else 0


def network_of(config: NodeConfig) -> Network | None:
    """The network whose members a node of this configuration lets in; None where everybody with the key is welcome."""
    if config.network_key is None or not (config.data_dir / FILE_NAME).exists():
        return None
    network = load_network(config.data_dir)
    # The next key may have come into force since the configuration was read, or before the file was written.
    return next((one for one in (network, network.at(math.inf)) if one.key == config.network_key), None)


class StoredMembership:
    """Keeps what an invite brought (`Membership`)."""

    def __init__(self, store: NetworkStore, identity: IdentityKey, now: Callable[[], float]) -> None:
        self._store = store
        self._identity = identity
        self._now = now

    async def accept_grant(
        self, network: str, key: bytes, certificate: bytes, contacts: tuple[Contact, ...], *, lan_only: bool = False
    ) -> None:
        """Check the certificate, and keep it with the network's key. Raises `GrantRefused` or `LocalError`."""
        try:
            chain = check_chain(certificate, None, self._identity.public, Revocations(), self._now())
        except NoMember as error:
            raise GrantRefused(error.detail) from None
        authority: PublicKey = chain[0].authority
        if network in self._store.names():
            known = await asyncio.to_thread(self._store.load, network)
            if known.authority != authority:
                raise GrantRefused(f"this machine is in another network of the name {network}: leave that first")
            if read_chain(known.chain)[0].member != self._identity.public:
                whose = f"this machine is somebody else in {network}"
                raise GrantRefused(f"{whose}: `rookery join --network {network}` joins as that one")
            await asyncio.to_thread(partial(self._store.renew, network, key, certificate, lan_only=lan_only))
            return
        may_invite = bool(chain[0].rights & Rights.INVITE)
        joined = Network(
            network,
            authority,
            key,
            certificate,
            members_invite=may_invite,
            lan_only=lan_only,
            contacts=contacts[:MAX_CONTACTS],
        )
        await asyncio.to_thread(partial(self._store.add, joined, self._identity))


def renewal_by(network: Network, now: float, after: float) -> Renewal:
    """Make the next key of a network as its founder, in force `after` so many seconds. Raises `LocalError`."""
    founder = network.authority_key
    if founder is None:
        raise LocalError(f"{network.name} was founded elsewhere: only its founder can renew its key")
    if network.next:
        raise LocalError(f"the next key of {network.name} is on its way already, and not in force yet")
    if not 0 < after <= LONGEST_AHEAD:
        raise LocalError(f"a key is in force within {LONGEST_AHEAD // 86_400} days")
    return renew(founder, network.epoch + 1, now + after, os.urandom(KEY_BYTES))


def revocation_by(network: Network, identity: IdentityKey, member: PublicKey, now: float) -> Revocation:
    """Say as founder, or as who invited it, that `member` is one no longer. Raises `LocalError`."""
    if member == identity.public:
        raise LocalError("this is the node's own key: `rookery network leave` leaves the network")
    founder = network.authority_key
    invited = any(met.peer == member and met.invited_by == identity.public for met in network.members)
    if founder is None and not invited:
        raise LocalError(f"{member.text} was invited by somebody else: its inviter or the founder can revoke it")
    return revoke(founder or identity, network.authority, member, now)


def renew_on_disk(store: NetworkStore, name: str, now: float, after: float) -> Renewal:
    """Make a network's next key where no node runs; the next one tells the members. Raises `LocalError`."""
    network = store.load(name).at(now)
    said = renewal_by(network, now, after)
    save_network(store.folder_of(name), replace(network, next=said.raw))
    return said


def revoke_on_disk(store: NetworkStore, name: str, identity: IdentityKey, member: PublicKey, now: float) -> Revocation:
    """The same where no node runs that could tell others; the next one will. Raises `LocalError`."""
    network = store.load(name)
    said = revocation_by(network, identity, member, now)
    save_network(store.folder_of(name), replace(network, revocations=(*network.revocations, said.raw)))
    return said
