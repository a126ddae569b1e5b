"""Inviting others: makes invites, keeps count of them, and lets in who proves to have one.

Decides what an invite of this node says of where it is, in which order a redemption is checked, and how often a peer
may try. Refuses to know the bytes of an invite, and what makes somebody a member of a private network (`Grantor`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from dht.contact import Address, Contact
from dht.errors import LocalError
from dht.events import Mode
from dht.identity import IdentityKey, PublicKey, is_exempt
from dht.limits import RateLimiter
from node.adapters.invite_ledger import Entry, InviteLedger, LedgerFault, Taking
from node.config import NodeConfig
from node.driver import Datagrams, Driver
from node.node_events import EventLog, NodeEvent
from node.node_links import Links
from node.ports import Link, LinkError, Stream, StreamHandler, StreamReset
from node.protocols.invite import MAX_USES, TOKEN_BYTES, Invite, make_invite, token_text
from node.protocols.invite_ports import MAX_CERTIFICATE, Grantor, GrantRefused
from node.protocols.invite_redeeming import NONCE_BYTES, STREAM_NAME, Asked, InviterSide, Refusal, Refused
from node.protocols.peer_record import few_homes

if TYPE_CHECKING:
    from dht.engine import DhtEngine

log = logging.getLogger("rookery.invites")

T = TypeVar("T")

TIMEOUT: Final = 10.0
"""Seconds that a redemption may take, from the opened stream on. UNSOURCED: two round trips and a disk"""

AT_ONCE: Final = 32
"""Redemptions under way. UNSOURCED: each has a stream and a file open"""

TRIES: Final = 10
TRIES_WITHIN: Final = 60.0
"""Attempts that a peer has at once, and seconds until they are all there again. UNSOURCED: a proof of 32 bytes is not
guessed anyway; this keeps the disk quiet"""

HOMES_WAIT: Final = 5.0
"""Seconds a node that has just started gets to find its home nodes before it makes an invite. UNSOURCED"""

_REFUSALS: Final = {
    Taking.USED_UP: Refusal.USED_UP,
    Taking.EXPIRED: Refusal.EXPIRED,
    Taking.REVOKED: Refusal.REVOKED,
    Taking.UNKNOWN: Refusal.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class InviteMade(NodeEvent):
    """An invite was made."""

    id: str
    network: str
    uses: int
    expires: int

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"made invite {self.id} into {self.network}, for {self.uses}"


@dataclass(frozen=True, slots=True)
class InviteRedeemed(NodeEvent):
    """Somebody was let in."""

    id: str
    network: str
    peer: PublicKey
    again: bool
    """By one who had redeemed it before: no use was counted."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"{self.peer.text} came into {self.network} with invite {self.id}{' again' if self.again else ''}"


@dataclass(frozen=True, slots=True)
class InviteRefused(NodeEvent):
    """Somebody was not let in."""

    id: str
    peer: PublicKey
    reason: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"{self.peer.text} was not let in with invite {self.id}: {self.reason}"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning"


class Inviting:
    """The invites of one node."""

    def __init__(
        self,
        identity: IdentityKey,
        config: NodeConfig,
        driver: Driver[DhtEngine],
        datagrams: Datagrams,
        links: Links,
        events: EventLog,
        rng: random.Random,
        *,
        fingerprint: bytes = b"",
        ways_out: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        """`fingerprint`: of the certificate under which links are taken with no answer; `ways_out` gives the addresses
        of this machine on the way to others."""
        self._identity = identity
        self._config = config
        self._driver = driver
        self._datagrams = datagrams
        self._events = events
        self._rng = rng
        self._fingerprint = fingerprint
        self._ways_out = ways_out
        self.ledger = InviteLedger(config.invites_file)
        self.grantor: Grantor | None = None
        """Who makes members of private networks; set by whoever has that part."""
        self._limit = RateLimiter(TRIES / TRIES_WITHIN, TRIES, capacity=1024)
        self._under_way = 0
        self._since = driver.clock()
        links.serve(STREAM_NAME, self._handler_for)

    # Making and taking back

    async def make(self, *, network: str | None = None, uses: int = 1, lifetime: float = 7 * 86400.0) -> Invite:
        """Make an invite for `uses` peers, good for `lifetime` seconds. Raises `LocalError` or `GrantRefused`."""
        if not 1 <= uses <= MAX_USES:
            raise LocalError(f"an invite is for 1 to {MAX_USES} peers, not {uses}")
        network = network or self._config.network
        key = self._key_of(network)
        await self._homes_found()
        while True:
            now = self._driver.now()
            lan_only = key is not None and self._lan_only(network)
            until = self._key_until(network, key)
            if until <= now + 1:
                raise LocalError(f"the key of {network} is being renewed: invite again in a moment")
            said = self._said(network, key, lan_only, uses, int(now), int(min(until, now + lifetime)))
            invite = make_invite(self._identity, said)
            if await self._in_thread(partial(self.ledger.add, invite, now)):
                break
        self._events.add(InviteMade(self._driver.now(), invite.id, network, uses, invite.expires))
        return invite

    async def entries(self) -> list[Entry]:
        """The invites there are, the newest first. Raises `LedgerFault`."""
        return await self._in_thread(self.ledger.entries)

    async def revoke(self, text: str) -> Entry:
        """Take back the invite that people call `text`; gives what became of it so far. Raises `LedgerFault`."""

        def work() -> Entry:
            entry = self.ledger.named(text)
            self.ledger.revoke(entry.invite.token, self._driver.now())
            return self.ledger.named(text)

        return await self._in_thread(work)

    def _key_of(self, network: str) -> bytes | None:
        if self.grantor is not None and (key := self.grantor.key_of(network)) is not None:
            return key
        if network != self._config.network:
            raise LocalError(
                f"this node is not in a network {network!r}, so it cannot invite into it: it is in"
                f" {self._config.network!r}"
            )
        return self._config.network_key

    def _key_until(self, network: str, key: bytes | None) -> float:
        """Until when the network's key is in force: an invite, in which it stands, ends with it."""
        if self.grantor is None or key is None or self.grantor.key_of(network) is None:
            return math.inf
        return self.grantor.key_until(network)

    def _lan_only(self, network: str) -> bool:
        """Whether whoever comes in has to stay on the local network: as its founder said, or as our settings do where
        the network has no members."""
        if self.grantor is not None and self.grantor.key_of(network) is not None:
            return self.grantor.lan_only(network)
        return self._config.scope == "lan"

    def _said(self, network: str, key: bytes | None, lan_only: bool, uses: int, issued: int, expires: int) -> Invite:
        engine = self._driver.engine
        server = engine.mode is Mode.SERVER
        own = [address for address in self._datagrams.addresses if address[0] not in ("0.0.0.0", "::")]
        port = self._datagrams.port
        taken = {":" in host for host, _ in self._datagrams.addresses}
        own = own or [(ip, port) for ip in sorted(self._ways_out()) if (":" in ip) in taken]
        public = list(engine.public_addresses) if server else []
        # A router's far side is no address of a client; whoever keeps local addresses to himself does so here, too.
        shared = [one for one in own if self._config.local_addresses_to == ("all",) or not is_exempt(one[0])]
        addresses: list[Address] = list(dict.fromkeys([*public, *shared])) if server or self._fingerprint else []
        return Invite(
            inviter=self._identity.public,
            token=self._rng.randbytes(TOKEN_BYTES),
            issued=issued,
            expires=expires,
            uses=uses,
            network=network,
            key=key,
            lan_only=lan_only,
            node_key=engine.own_key if server and addresses else None,
            fingerprint=self._fingerprint if addresses else b"",
            addresses=tuple(addresses),
            homes=few_homes((*engine.homes(), *engine.homes_elsewhere())),
        )

    async def _homes_found(self) -> None:
        """Wait for home nodes, where there are others or may soon be, and nobody reaches this node itself."""
        engine, clock = self._driver.engine, self._driver.clock
        young, asked = self._since + HOMES_WAIT, clock() + HOMES_WAIT
        while engine.mode is not Mode.SERVER and not engine.homes():
            if clock() > (asked if engine.contacts() else young):
                return
            await asyncio.sleep(0.05)

    # Letting in

    def _handler_for(self, link: Link) -> StreamHandler:
        async def serve(stream: Stream) -> None:
            self._under_way += 1
            try:
                async with asyncio.timeout(TIMEOUT):
                    await self._serve(link.peer, stream)
            except (LinkError, StreamReset, TimeoutError) as error:
                log.info("%s broke off the redemption of an invite: %s", link.peer.short, error or "it took too long")
            finally:
                self._under_way -= 1

        return serve

    async def _serve(self, joiner: PublicKey, stream: Stream) -> None:
        side = InviterSide(self._identity.public, joiner, self._rng.randbytes(NONCE_BYTES))
        now = self._driver.now()
        if self._under_way > AT_ONCE or not self._limit.allow(joiner.raw, now):
            side.refuse(Refusal.BUSY, now, "too many attempts: try again in a minute")
        while not side.finished:
            if not (data := await stream.read()):
                return
            side.receive_data(data)
            match side.next_event():
                case Asked(token=token):
                    await self._decide(side, joiner, token)
                case Refused():
                    return
            await stream.write(side.data_to_send())
        await stream.write(side.data_to_send())
        await stream.close()

    async def _decide(self, side: InviterSide, joiner: PublicKey, token: bytes) -> None:
        """Grant or refuse; the use is on the disk before the joiner hears of it."""
        now = self._driver.now()
        refusal, words, again = Refusal.UNKNOWN, "", False
        try:
            entry = await self._in_thread(lambda: self.ledger.find(token))
            if entry is not None and side.proves(entry.invite.secret):
                taking = await self._in_thread(lambda: self.ledger.take(token, joiner, now))
                again = taking is Taking.AGAIN
                if taking is Taking.TAKEN or again:
                    certificate = await self._granted(entry.invite, joiner, again=again)
                    side.grant(certificate, self._contacts(), now)
                    self._events.add(InviteRedeemed(now, entry.invite.id, entry.invite.network, joiner, again))
                    return
                refusal = _REFUSALS[taking]
        except LedgerFault as error:
            refusal, words = Refusal.FAILED, "the inviter's list of invites cannot be read or written"
            log.warning("an invite could not be redeemed: %s", error)
        except GrantRefused as error:
            refusal, words = Refusal.NOT_GRANTED, error.reason
        side.refuse(refusal, now, words)
        reason = refusal.name.lower().replace("_", "-")
        self._events.add(InviteRefused(now, token_text(token), joiner, f"{reason} {words}".strip()))

    async def _granted(self, invite: Invite, joiner: PublicKey, *, again: bool) -> bytes:
        """The certificate; a use that brings none is given back. Raises `GrantRefused`."""
        if invite.key is None or self.grantor is None:
            return b""
        try:
            certificate = await self.grantor.grant(invite.network, joiner)
            if len(certificate) > MAX_CERTIFICATE:
                raise GrantRefused(f"its certificate has {len(certificate)} bytes, and {MAX_CERTIFICATE} are allowed")
            return certificate
        except GrantRefused:
            if not again:
                await self._in_thread(lambda: self.ledger.give_back(invite.token, joiner))
            raise

    def _contacts(self) -> tuple[Contact, ...]:
        """First contacts for a newcomer: this node if it can be reached, our home nodes, and others of our table."""
        engine = self._driver.engine
        public = engine.public_addresses if engine.mode is Mode.SERVER else ()
        own = tuple(Contact(engine.own_key, address) for address in public)
        return tuple(dict.fromkeys((*own, *engine.homes(), *engine.contacts())))

    @staticmethod
    def _in_thread(work: Callable[[], T]) -> Awaitable[T]:
        """The ledger waits for the disk, and the loop must go on."""
        return asyncio.to_thread(work)
