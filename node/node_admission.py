"""The door of a private network: a link is of use to anybody only once both ends have shown that they are members.

Decides when that is asked, what is remembered of members, and what happens to links of those who are revoked. Refuses
to know what makes somebody a member (`protocols/membership`), and where it is kept.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dht.errors import DecodeError
from dht.identity import IdentityKey, PublicKey
from node.adapters.network_store import MAX_MEMBERS, MemberMet, Network
from node.node_events import EventLog, NodeEvent
from node.node_kept_network import NetworkFile
from node.node_networks import revocation_by
from node.node_renewals import Renewals, read_to_end
from node.ports import Link, LinkEnd, LinkError, LinkFault, Stream, StreamEnded, StreamHandler, StreamReset
from node.protocols.admission import (
    MOST_REVOCATIONS,
    NEWS_STREAM,
    STREAM_NAME,
    Hello,
    hello_bytes,
    hello_length,
    read_hello,
    read_revocations,
    refusal_bytes,
)
from node.protocols.invite_ports import GrantRefused
from node.protocols.invite_redeeming import STREAM_NAME as INVITE_STREAM
from node.protocols.membership import (
    LONGEST_CHAIN,
    Certificate,
    NoMember,
    Rights,
    chain_bytes,
    check_chain,
    issue,
    read_chain,
)
from node.protocols.revocation import REVOCATION_BYTES, Revocation, Revocations, read_revocation

if TYPE_CHECKING:
    from node.node_links import Links

log = logging.getLogger("rookery.members")

TIMEOUT: Final = 10.0
"""Seconds both ends have for their hellos. UNSOURCED: a few round trips over a slow relay"""


@dataclass(frozen=True, slots=True)
class MemberAdmitted(NodeEvent):
    """A peer has shown that it is a member."""

    peer: PublicKey
    invited_by: PublicKey

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"{self.peer.text} is a member, invited by {self.invited_by.short}…"


@dataclass(frozen=True, slots=True)
class MemberRefused(NodeEvent):
    """A peer, or its other end, did not show that it is a member."""

    peer: PublicKey
    reason: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"no link with {self.peer.text}: {self.reason}"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning"


@dataclass(frozen=True, slots=True)
class MemberRevoked(NodeEvent):
    """Somebody's membership was revoked."""

    peer: PublicKey
    issuer: PublicKey

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"the membership of {self.peer.text} was revoked by {self.issuer.short}…"


class Admission:
    """The door of the network that one node is in; also lets others in (`Grantor`)."""

    def __init__(
        self,
        identity: IdentityKey,
        network: Network,
        file: NetworkFile,
        links: Links,
        events: EventLog,
        now: Callable[[], float],
    ) -> None:
        """`file` keeps a changed network."""
        self._identity = identity
        self.network = network
        self._file = file
        self._links = links
        self._events = events
        self._now = now
        self._hellos: dict[Link, asyncio.Future[tuple[Certificate, ...]]] = {}
        self._chains: dict[Link, bytes] = {}
        """Of the links there are: a revocation may end any of them."""
        self._above = (identity.public, *(certificate.issuer for certificate in read_chain(network.chain)))
        self._inviters: dict[PublicKey, None] = {}
        """Who is known to invite, those last met last: whose revocations are of any use."""
        self._know(met.peer for met in reversed(network.members) if met.may_invite)
        self._tasks: set[asyncio.Task[None]] = set()
        self.revocations = Revocations(network.authority, map(read_revocation, network.revocations))
        self.renewals = Renewals(self, links, events, now)
        """The network's next key."""
        links.gate = self

    # The door (`Gate`)

    open_names = frozenset({INVITE_STREAM})

    def handlers(self, link: Link) -> dict[str, StreamHandler]:
        """What is served on a link before anybody is let in."""
        self._hellos[link] = asyncio.get_running_loop().create_future()
        return {STREAM_NAME: lambda stream: self._greeted(link, stream)}

    async def admit(self, link: Link) -> None:
        """Return once both ends have shown that they are members. Raises `LinkError`, and closes the link."""
        waiting = self._hellos[link]
        try:
            async with asyncio.timeout(TIMEOUT):
                chain = await (self._greet(link) if link.initiated else waiting)
        except (NoMember, DecodeError, StreamEnded, StreamReset, LinkError, TimeoutError) as error:
            reason = _reason(error)
            if link.initiated:  # Perhaps we were invited again, in another process: then the next try succeeds.
                self.network = await self._file.renewal(self.network)
            if not isinstance(error, LinkError):  # A guest who redeems an invite comes and goes with no certificate.
                self._events.add(MemberRefused(self._now(), link.peer, reason))
            await link.close()
            raise LinkError(LinkEnd(LinkFault.NOT_ADMITTED, reason)) from None
        finally:
            waiting.cancel()
            self._hellos.pop(link, None)
        self._met(link, chain)
        self.renewals.admitted(link)
        link.register(NEWS_STREAM, self._hear)

    def is_member(self, link: Link) -> bool:
        """Whether the other end has shown that it is one, and is one still."""
        return link in self._chains

    async def close(self) -> None:
        """Stop telling, and write down what is known."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._file.close()

    async def _greet(self, link: Link) -> tuple[Certificate, ...]:
        stream = await link.open_stream(STREAM_NAME)
        await stream.write(hello_bytes(self.network.chain, self.revocations))
        hello = await _read(stream)
        with suppress(LinkError, StreamReset):
            await stream.close()
        return self._checked(link.peer, hello)

    async def _greeted(self, link: Link, stream: Stream) -> None:
        waiting = self._hellos.get(link)
        if waiting is None or waiting.done():
            stream.reset()
            return
        try:
            chain = self._checked(link.peer, await _read(stream))
        except (NoMember, DecodeError, StreamEnded) as error:
            # The link goes with it: what is said has to be on its way by then.
            await stream.write(refusal_bytes(_reason(error)))
            if not waiting.done():
                waiting.set_exception(error)
            return
        await stream.write(hello_bytes(self.network.chain, self.revocations))
        if not waiting.done():
            waiting.set_result(chain)

    def _checked(self, peer: PublicKey, hello: Hello) -> tuple[Certificate, ...]:
        if not hello.chain:
            raise DecodeError("member", hello.reason or "it refused without a reason")
        chain = check_chain(hello.chain, self.network.authority, peer, self.revocations, self._now())
        self._know(certificate.member for certificate in chain if certificate.rights & Rights.INVITE)
        # Only a member's news are worth a look; they may be about itself.
        self.learn(hello.revocations)
        return check_chain(hello.chain, self.network.authority, peer, self.revocations, self._now())

    def _know(self, inviters: Iterable[PublicKey]) -> None:
        for one in (*inviters, *self._above):
            self._inviters.pop(one, None)
            self._inviters[one] = None
        while len(self._inviters) > MAX_MEMBERS:
            del self._inviters[next(iter(self._inviters))]

    def _met(self, link: Link, chain: tuple[Certificate, ...]) -> None:
        peer, own = link.peer, chain[0]
        self._chains[link] = chain_bytes(chain)
        link.closed.add_done_callback(lambda _ended: self._chains.pop(link, None))
        may_invite = bool(own.rights & Rights.INVITE)
        met = MemberMet(peer, own.issuer, may_invite, own.expires, int(self._now()))
        others = tuple(one for one in self.network.members if one.peer != peer)
        self.keep(replace(self.network, members=(met, *others[: MAX_MEMBERS - 1])))
        self._events.add(MemberAdmitted(self._now(), peer, own.issuer))

    def keep(self, network: Network) -> None:
        """Go on with this state of the network, and write it down."""
        self.network = network
        self._file.keep(network)

    def run_soon(self, work: object) -> None:
        """Await this, with nobody waiting for it."""

        async def carefully() -> None:
            with suppress(LinkError, StreamReset):
                await work  # type: ignore[misc]

        task = asyncio.get_running_loop().create_task(carefully())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Revoking

    def revoke(self, member: PublicKey) -> Revocation:
        """Make somebody a member no longer, as the founder or as who invited it. Raises `LocalError`."""
        said = revocation_by(self.network, self._identity, member, self._now())
        self.learn((said,))
        return said

    def learn(self, said: tuple[Revocation, ...]) -> None:
        """Take revocations in; what is new is kept, told to all members, and ends the links of those it is about."""
        now = self._now()
        new = [one for one in said if self.revocations.add(one, self._inviters, now)]
        if not new:
            return
        for one in new:
            self._events.add(MemberRevoked(self._now(), one.member, one.issuer))
        self.keep(replace(self.network, revocations=tuple(one.raw for one in self.revocations)))
        for link in self._links.all():
            raw = self._chains.get(link)
            if raw is None:
                continue
            try:
                check_chain(raw, self.network.authority, link.peer, self.revocations, self._now())
            except NoMember as error:
                self._events.add(MemberRefused(self._now(), link.peer, _reason(error)))
                del self._chains[link]
                self.run_soon(link.close())
            else:
                self.run_soon(self._tell(link, new))

    async def _tell(self, link: Link, news: list[Revocation]) -> None:
        stream = await link.open_stream(NEWS_STREAM)
        await stream.write(b"".join(one.raw for one in news[:MOST_REVOCATIONS]))
        await stream.close()

    async def _hear(self, stream: Stream) -> None:
        with suppress(DecodeError):
            self.learn(read_revocations(await read_to_end(stream, MOST_REVOCATIONS * REVOCATION_BYTES)))

    # Letting in (`Grantor`)

    def key_of(self, network: str) -> bytes | None:
        """The network's key, for an invite into it. Raises `GrantRefused` when this node may not invite."""
        if network != self.network.name:
            return None
        self._own()
        return self.network.key

    def lan_only(self, network: str) -> bool:
        """Whether nodes of that network stay on the local network."""
        return network == self.network.name and self.network.lan_only

    def key_until(self, network: str) -> float:
        """Unix seconds until which that network has its key."""
        coming = self.renewals.next
        return coming.since if coming is not None and network == self.network.name else math.inf

    async def grant(self, network: str, joiner: PublicKey) -> bytes:
        """Make `joiner` a member. Raises `GrantRefused`."""
        if network != self.network.name:
            raise GrantRefused(f"this node is in {self.network.name}, not in {network}")
        chain = self._own()
        inviting = self.network.members_invite and len(chain) + 1 < LONGEST_CHAIN
        rights = Rights.INVITE if inviting else Rights.MEMBER
        now = self._now()
        certificate = issue(self._identity, self.network.authority, joiner, rights, now)
        made = chain_bytes((certificate, *chain))
        try:
            check_chain(made, self.network.authority, joiner, self.revocations, now)
        except NoMember as error:
            raise GrantRefused(error.detail) from None
        return made

    def _own(self) -> tuple[Certificate, ...]:
        chain = read_chain(self.network.chain)
        if not chain[0].rights & Rights.INVITE or len(chain) >= LONGEST_CHAIN:
            raise GrantRefused(f"this member of {self.network.name} may not invite others")
        return chain


async def _read(stream: Stream) -> Hello:
    return read_hello(await stream.read_exactly(hello_length(await stream.read_exactly(4))))


def _reason(error: Exception) -> str:
    if isinstance(error, NoMember):
        return f"{error.fault.value}: {error.detail}"
    if isinstance(error, TimeoutError):
        return f"it did not show a certificate within {TIMEOUT:g} s"
    if isinstance(error, DecodeError):
        return f"it was not let in: {error.problem}"
    return str(error) or "the link ended before both ends had shown their certificates"
