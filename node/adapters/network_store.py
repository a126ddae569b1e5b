"""Where the private networks of this machine are kept: a folder each, with all that a node in it needs.

    DATA_DIR/networks/NAME/network.json    key, authority, own certificate, first contacts, revocations, members met
    DATA_DIR/networks/NAME/identity.key    who this node is there: the same as elsewhere, unless another was asked for

Decides the form of that file, and that a reader sees the old one or the new one. Refuses to know who is a member.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bootstrap.store import read_file, replace_file
from dht.constants import KEY_BYTES
from dht.contact import Contact, parse_contact
from dht.errors import LocalError, RookeryError
from dht.identity import IdentityKey, PublicKey
from node.adapters.keyfile import create_identity, private_folder
from node.protocols.membership import MAX_CHAIN
from node.protocols.renewal import read_renewal
from node.protocols.revocation import MAX_REVOCATIONS

FILE_NAME: Final = "network.json"

NAME: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")
"""As the setting `network` has it, but none that begins with a dot: it is a folder's name, and `..` one outside."""

PUBLIC: Final = "main"
"""The public network's name: one of ours that was called so would take the place of it, unseen."""

MAX_FILE: Final = 4 * 1024 * 1024
"""Bytes: all revocations, members and contacts there may be."""

MAX_MEMBERS: Final = 4096
"""Members met that are remembered, those met last. UNSOURCED"""

MAX_CONTACTS: Final = 32
"""First contacts kept. UNSOURCED: a journal takes over after the first join."""

VERSION: Final = 1


class NoSuchNetwork(LocalError):
    """Raised when this machine is in no private network of that name."""

    kind = "no-such-network"


@dataclass(frozen=True, slots=True)
class MemberMet:
    """A member that this node had a link with."""

    peer: PublicKey
    invited_by: PublicKey
    may_invite: bool
    expires: int
    """Unix seconds: the end of its certificate."""
    last_met: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Network:
    """A private network that this machine is in."""

    name: str
    authority: PublicKey
    """The key that the network was founded with: its identity."""
    key: bytes
    """The shared secret that is mixed into the network's tag and boxes."""
    chain: bytes
    """Our own certificate, and those it rests on."""
    founder_seed: bytes | None = None
    """The authority's secret, where this machine founded the network."""
    members_invite: bool = False
    """Whether those whom we invite may invite others."""
    lan_only: bool = False
    """Whether our node in it talks to the local network alone."""
    contacts: tuple[Contact, ...] = ()
    revocations: tuple[bytes, ...] = ()
    members: tuple[MemberMet, ...] = ()
    epoch: int = 0
    """How often its key was renewed, as far as we know."""
    next: bytes = field(default=b"", repr=False)
    """The renewal to come: empty without."""

    def at(self, now: float) -> Network:
        """The network as it is at a time: with its next key once that is in force."""
        if not self.next or (said := read_renewal(self.next)).since > now:
            return self
        return replace(self, key=said.key, epoch=said.epoch, next=b"")

    @property
    def authority_key(self) -> IdentityKey | None:
        """The authority's key pair, where this machine founded the network."""
        return None if self.founder_seed is None else IdentityKey.from_seed(self.founder_seed)


class NetworkStore:
    """The private networks below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """The networks there are, by name."""
        if not self.folder.is_dir():
            return []
        return sorted(path.parent.name for path in self.folder.glob(f"*/{FILE_NAME}") if is_name(path.parent.name))

    def folder_of(self, name: str) -> Path:
        """The data folder of a node in that network. Raises `LocalError` for what is no name of one."""
        if name == PUBLIC:
            raise LocalError(f"{name!r} is the public network: a private one needs another name")
        if not is_name(name):
            problem = "1-64 letters, digits, dots, dashes and underscores, the first no dot"
            raise LocalError(f"{name!r} is no name of a network: {problem}")
        return self.folder / name

    def load(self, name: str) -> Network:
        """One network. Raises `NoSuchNetwork` or `LocalError`."""
        folder = self.folder_of(name)
        if not (folder / FILE_NAME).exists():
            known = ", ".join(self.names()) or "none"
            raise NoSuchNetwork(f"this machine is in no private network {name!r}; it is in: {known}")
        return load_network(folder)

    def add(self, network: Network, identity: IdentityKey) -> Path:
        """Keep a network that this machine is in from now on, as `identity`. Raises `LocalError` where one is."""
        folder = self.folder_of(network.name)
        if (folder / FILE_NAME).exists():
            raise LocalError(f"this machine is in a network {network.name!r} already: leave it first")
        private_folder(self.folder)
        private_folder(folder)
        if not (folder / "identity.key").exists():
            create_identity(folder / "identity.key", identity)
        save_network(folder, network)
        return folder

    def renew(self, name: str, key: bytes, chain: bytes, *, lan_only: bool = False) -> None:
        """Keep another certificate in a network that this machine is in already; what stays on the local network goes
        on to. Raises `LocalError`."""
        known = self.load(name)
        if known.next and read_renewal(known.next).key == key:
            known = known.at(math.inf)
        elif known.key != key:  # More than one key ago: which one it is, nobody says.
            known = replace(known, epoch=known.epoch + 1, next=b"")
        renewed = replace(known, key=key, chain=chain, lan_only=known.lan_only or lan_only)
        save_network(self.folder_of(name), renewed)

    def remove(self, name: str) -> None:
        """Forget a network, its keys and its journal. Raises `NoSuchNetwork` or `LocalError`."""
        self.load(name)
        try:
            shutil.rmtree(self.folder_of(name))
        except OSError as error:
            raise LocalError(f"{self.folder_of(name)} cannot be removed: {error.strerror}") from None


def is_name(name: str) -> bool:
    """Whether a private network may be called so."""
    return NAME.fullmatch(name) is not None and name != PUBLIC


def networks_folder(data_dir: Path) -> Path:
    """Where the networks are kept, seen from the folder of a node: its own or one of those."""
    return data_dir.parent if (data_dir / FILE_NAME).exists() else data_dir / "networks"


def load_network(folder: Path) -> Network:
    """The network whose node has its data in `folder`. Raises `LocalError` naming what is wrong with the file."""
    path = folder / FILE_NAME
    raw = read_file(path, MAX_FILE)
    try:
        said = json.loads(raw)
        if said["version"] != VERSION:
            raise ValueError(f"its version is {said['version']!r}, known is {VERSION}")
        return _from_json(said)
    except (ValueError, KeyError, TypeError, AttributeError, RookeryError) as error:
        raise LocalError(f"{path} is damaged: {error}; bring a copy back, or leave the network and join anew") from None


def save_network(folder: Path, network: Network) -> None:
    """Replace the network's file: it holds secrets, so nobody else may read it. Raises `LocalError`."""
    replace_file(folder / FILE_NAME, json.dumps(_to_json(network), indent=1).encode(), mode=0o600)


def _to_json(network: Network) -> dict[str, Any]:
    return {
        "version": VERSION,
        "name": network.name,
        "authority": network.authority.text,
        "key": network.key.hex(),
        "chain": network.chain.hex(),
        "founder_seed": None if network.founder_seed is None else network.founder_seed.hex(),
        "members_invite": network.members_invite,
        "lan_only": network.lan_only,
        "epoch": network.epoch,
        "next": network.next.hex(),
        "contacts": [contact.text for contact in network.contacts[:MAX_CONTACTS]],
        "revocations": [raw.hex() for raw in network.revocations[:MAX_REVOCATIONS]],
        "members": [
            {
                "peer": met.peer.text,
                "invited_by": met.invited_by.text,
                "may_invite": met.may_invite,
                "expires": met.expires,
                "last_met": met.last_met,
            }
            for met in sorted(network.members, key=lambda met: -met.last_met)[:MAX_MEMBERS]
        ],
    }


def _from_json(said: dict[str, Any]) -> Network:
    key, chain = bytes.fromhex(said["key"]), bytes.fromhex(said["chain"])
    if len(key) != KEY_BYTES or not 0 < len(chain) <= MAX_CHAIN:
        raise ValueError("its key or certificate has the wrong length")
    seed = said["founder_seed"]
    return Network(
        name=str(said["name"]),
        authority=PublicKey.parse(said["authority"]),
        key=key,
        chain=chain,
        founder_seed=None if seed is None else bytes.fromhex(seed),
        members_invite=bool(said["members_invite"]),
        lan_only=bool(said.get("lan_only", False)),
        epoch=int(said.get("epoch", 0)),
        next=_renewal_in(said.get("next", "")),
        contacts=tuple(parse_contact(text) for text in said["contacts"]),
        revocations=tuple(bytes.fromhex(text) for text in said["revocations"]),
        members=tuple(
            MemberMet(
                PublicKey.parse(met["peer"]),
                PublicKey.parse(met["invited_by"]),
                bool(met["may_invite"]),
                int(met["expires"]),
                int(met["last_met"]),
            )
            for met in said["members"]
        ),
    )


def _renewal_in(text: str) -> bytes:
    return read_renewal(bytes.fromhex(text)).raw if text else b""
