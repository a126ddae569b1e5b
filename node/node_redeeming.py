"""Redeeming an invite: from what somebody was given to a place in the network.

Decides which ways to the inviter are tried (a dial at the addresses of the invite; its home nodes and the DHT behind
them), and what each failure is called. Refuses to know where what was granted is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dht.contact import Contact
from dht.events import JoinDone
from dht.identity import PublicKey
from node.driver import Driver
from node.node_links import Links, path_text
from node.node_results import ConnectOutcome, Reason
from node.ports import Answerless, Hint, Link, LinkError, StreamReset
from node.protocols.invite import Invite
from node.protocols.invite_faults import BadInvite, InviteFault, JoinFailed
from node.protocols.invite_ports import Membership
from node.protocols.invite_redeeming import FAULTS, STREAM_NAME, Granted, JoinerSide, Refusal, Refused

if TYPE_CHECKING:
    from dht.engine import DhtEngine

DIAL_TIMEOUT: Final = 5.0
"""Seconds a dial at one address of the invite may take. UNSOURCED: handshakes with one lost flight"""

PAUSE: Final = 1.0
"""Seconds between two tries while the inviter is not found: it may have started just now. UNSOURCED"""

ANSWER_TIMEOUT: Final = 12.0
"""Seconds the inviter has to decide: its own limit is 10 s."""

SKEW_TOLD: Final = 60.0
"""Seconds by which clocks must differ until it is said. UNSOURCED"""

Said = Callable[[str], object]

HINTS_KEPT: Final = 16
"""Inviters whose ways are remembered, the last ones. UNSOURCED"""

_WORTH_ANOTHER: Final = frozenset(
    {
        Reason.NOT_JOINED,
        Reason.NOT_FOUND,
        Reason.NO_HOME_NODE,
        Reason.NOT_REGISTERED,
        Reason.UNREACHED,
        Reason.NO_ANSWER,
    }
)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What an invite brought."""

    certificate: bytes
    """Of membership; empty in an open network."""
    contacts: tuple[Contact, ...]
    """First contacts: the inviter's word on whom to ask, and those of the invite."""
    path: str
    """How the inviter was reached."""
    skew: float
    """The inviter's clock less ours, in seconds."""


class InviteHints:
    """A `PeerSource`: what invites say of where inviters are."""

    name = "invite"

    def __init__(self) -> None:
        self._hints: dict[PublicKey, Hint] = {}

    def learn(self, invite: Invite) -> None:
        """Remember the ways to an inviter."""
        self._hints.pop(invite.inviter, None)
        self._hints[invite.inviter] = Hint(invite.direct, invite.homes, invite.fingerprint)
        if len(self._hints) > HINTS_KEPT:
            del self._hints[next(iter(self._hints))]

    async def find(self, peer: PublicKey) -> Hint | None:
        """What an invite said of a peer; None without one."""
        return self._hints.get(peer)


class Redeeming:
    """Redeems invites for one node, which must be in the network that they are for."""

    def __init__(
        self,
        own: PublicKey,
        driver: Driver[DhtEngine],
        links: Links,
        connect: Callable[[PublicKey, float], Coroutine[Any, Any, ConnectOutcome]],
        answerless: Answerless | None,
    ) -> None:
        """`connect` opens a link with a peer of the network."""
        self._own = own
        self._driver = driver
        self._links = links
        self._connect = connect
        self._answerless = answerless
        self.membership: Membership | None = None
        """Who keeps memberships of private networks; set by whoever has that part."""
        self.hints = InviteHints()
        """The ways to inviters, for whoever looks for a way to a peer."""

    async def redeem(self, invite: Invite, *, timeout: float, say: Said = lambda text: None) -> Redeemed:
        """Reach the inviter and redeem. Raises `BadInvite` or `JoinFailed`."""
        if invite.inviter == self._own:
            raise BadInvite(InviteFault.OWN, "this invite is this node's own: give it to somebody else")
        invite.check_time(self._driver.now())
        self.hints.learn(invite)
        deadline = self._driver.clock() + timeout
        link = await self._reach(invite, deadline, say)
        say("redeeming the invite")
        try:
            return await self._ask(invite, link)
        except LinkError:
            # A link from before may have died unnoticed. The use, if it was taken, is still ours.
            await link.close()
            link = await self._reach(invite, deadline, say)
        try:
            return await self._ask(invite, link)
        except LinkError as error:
            raise JoinFailed(
                InviteFault.UNREACHED,
                f"the link with the inviter broke before it answered ({error.end}): try again, no use is lost by it",
            ) from None

    # Reaching the inviter

    async def _reach(self, invite: Invite, deadline: float, say: Said) -> Link:
        link = self._links.get(invite.inviter)
        if link is not None and not self._links.suspended(invite.inviter):
            return link
        say(f"reaching {invite.inviter.text}")
        problems: list[str] = []
        tries = {asyncio.ensure_future(self._by_network(invite, deadline, problems))}
        if self._answerless is not None and invite.fingerprint and invite.node_key is None:
            # Of a client that stands in our own network: `connect` dials those alone whose node key is known.
            tries |= {asyncio.ensure_future(self._by_dial(invite, address, problems)) for address in invite.addresses}
        try:
            while tries:
                done, tries = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    if (link := one.result()) is not None:
                        return link
        finally:
            for one in tries:
                one.cancel()
            if tries:
                await asyncio.wait(tries)
        said = "; ".join(problems) or "the invite names no way to it"
        raise JoinFailed(InviteFault.UNREACHED, f"the inviter {invite.inviter.text} was not reached: {said}")

    async def _by_dial(self, invite: Invite, address: tuple[str, int], problems: list[str]) -> Link | None:
        assert self._answerless is not None
        try:
            opened = await self._answerless.dial(invite.inviter, address, invite.fingerprint, timeout=DIAL_TIMEOUT)
            return await self._links.join(invite.inviter, opened, initiated=True)
        except LinkError as error:
            problems.append(f"{address[0]} port {address[1]}: {error.end}")
            return None

    async def _by_network(self, invite: Invite, deadline: float, problems: list[str]) -> Link | None:
        """By its record and its home nodes, once the network is joined by the contacts of the invite."""
        clock = self._driver.clock
        contacts = list(invite.contacts)
        while True:
            if contacts and not self._driver.engine.contacts():
                # Before the link: whom a newcomer asks how it looks from outside are nodes that it knows.
                await self._driver.run(lambda engine, now: engine.join(contacts, now), JoinDone)
            outcome = await self._connect(invite.inviter, max(0.1, deadline - clock()))
            if outcome.connected:
                return outcome.link
            problem = outcome.detail or outcome.reason.value
            if contacts and not self._driver.engine.contacts():
                problem = f"none of its {len(contacts)} first contacts answered, and {problem}"
            if outcome.reason not in _WORTH_ANOTHER or clock() + PAUSE >= deadline:
                problems.append(problem)
                return None
            await asyncio.sleep(PAUSE)

    # Asking

    async def _ask(self, invite: Invite, link: Link) -> Redeemed:
        side = JoinerSide(invite, self._own)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                stream = await link.open_stream(STREAM_NAME)
                await stream.write(side.data_to_send())
                while not side.finished and (data := await stream.read()):
                    side.receive_data(data)
                    if said := side.data_to_send():
                        await stream.write(said)
                with suppress(LinkError, StreamReset):
                    await stream.close()
        except StreamReset as reset:
            raise JoinFailed(InviteFault.PROTOCOL, f"the inviter takes no invites here: {reset}") from None
        except TimeoutError:
            raise JoinFailed(InviteFault.BUSY, f"the inviter did not decide within {ANSWER_TIMEOUT:g} s") from None
        match side.next_event():
            case Granted(certificate=certificate, contacts=contacts, clock=clock):
                known = tuple(dict.fromkeys((*contacts, *invite.contacts)))
                skew = clock - self._driver.now()
                return Redeemed(certificate, known, path_text(link), skew)
            case Refused() as refused:
                raise self._refused(refused)
            case _:
                raise JoinFailed(InviteFault.PROTOCOL, "the inviter ended the conversation without an answer")

    def _refused(self, refused: Refused) -> JoinFailed:
        said = {
            Refusal.UNKNOWN: "the inviter knows of no such invite: it comes from somebody else, or its ledger is new",
            Refusal.USED_UP: "this invite is used up: ask the inviter for another one",
            Refusal.EXPIRED: "this invite has expired, by the inviter's clock: ask for another one",
            Refusal.REVOKED: "the inviter has taken this invite back",
            Refusal.NOT_GRANTED: "the inviter may not make members of this network",
            Refusal.BUSY: "the inviter is busy",
            Refusal.BAD_REQUEST: "the inviter and this node do not understand each other",
            Refusal.FAILED: "the inviter cannot write down that the invite was used",
        }.get(refused.refusal, "the inviter refused")
        words = f" ({refused.words})" if refused.words else ""
        skew = refused.clock - self._driver.now() if refused.clock else 0.0
        clocks = f"; its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        return JoinFailed(FAULTS[refused.refusal], said + words + (clocks if abs(skew) > SKEW_TOLD else ""))
