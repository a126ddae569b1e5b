"""One attempt at a link, from either side: the ways that are tried, when each begins, and what a failure is called.

Decides what a dial, an offer and an answer take, and that a relay carries the link when ICE takes long. Refuses to know
where the peer is looked for (`node_climb`), which attempts there are, and what becomes of links.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dht.contact import Address, Contact
from dht.errors import DecodeError, LocalError
from dht.identity import PublicKey
from node.node_calls import CallEnd, Calls
from node.node_climb import Climb
from node.node_ladder import Ladder
from node.node_links import Links
from node.node_results import Reason
from node.node_ways import AttemptFailed, CallAgain, Race, Trace
from node.ports import Answerless, Extras, Hint, Link, LinkEnd, LinkError, LinkFault, Opened, Relays, Session, Terms
from node.protocols.offer import Extra, SessionDescription, decode_description
from node.protocols.signaling_events import AnswerReceived, CallFailed, CallRefused, Fault, OfferReceived
from node.protocols.signaling_events import Reason as RefusalReason

ANSWER_TIMEOUT: Final = 20.0
"""Seconds a link that a peer asked for may take to open. UNSOURCED: ICE's 15 s, and the handshakes."""

DIAL_TIMEOUT: Final = 5.0
"""Seconds such a dial may take. UNSOURCED: handshakes with one lost flight."""

RELAY_HEAD_START: Final = 1.0
"""Seconds ICE gets before a relay is asked: restricted pairs open in 0.05-0.25 s in a lab, and a round trip round the
world has three of its checks. UNSOURCED beyond that."""

RELAYS_WAIT: Final = 0.7
"""Seconds a first offer or answer waits until relays are known: they are named in it. UNSOURCED: two look-ups."""

RELAY_TIMEOUT: Final = 12.0
"""Seconds a circuit may take: a link to the relay, and the peer's. UNSOURCED"""

_FAULTS: Final = {
    Fault.NO_HOME_NODE: Reason.NO_HOME_NODE,
    Fault.NOT_REGISTERED: Reason.NOT_REGISTERED,
    Fault.UNREACHED: Reason.UNREACHED,
    Fault.NO_ANSWER: Reason.NO_ANSWER,
    Fault.BAD_ANSWER: Reason.BAD_ANSWER,
}


class Attempts:
    """Makes attempts for one identity."""

    def __init__(
        self,
        links: Links,
        calls: Calls,
        clock: Callable[[], float],
        ladder: Ladder,
        new_session: Callable[[PublicKey], Session],
        answerless: Answerless | None,
        prepare: Callable[[], object] | None,
    ) -> None:
        """`prepare` runs once, in a thread, before the first session is used."""
        self._links = links
        self.calls = calls
        self._clock = clock
        self.ladder = ladder
        """Where peers are looked for."""
        self.new_session = new_session
        self._answerless = answerless
        self.mesh: Relays | None = None
        """Relays; set by whoever makes both."""
        self.called_by: Callable[[PublicKey], bool] = lambda _peer: False
        """Whether a peer has called us, and we are answering; set by whoever answers."""
        self.families: Callable[[], frozenset[int]] = lambda: frozenset({4, 6})
        """Families of addresses from which this machine gets out."""
        self.hidden = False
        """Whether no peer may learn an address of ours: links go through relays only."""
        self._prepare_once = prepare
        self._prepared: asyncio.Task[object] | None = None
        self._late: set[asyncio.Task[Link | None]] = set()
        """Ways that may still improve a link which has opened."""

    def prepare_soon(self) -> None:
        """Get ready for a link that somebody waits for, so that the first caller does not wait for it."""
        if self._prepare_once is not None and self._prepared is None:
            self._prepared = asyncio.get_running_loop().create_task(asyncio.to_thread(self._prepare_once))

    async def close(self, timeout: float) -> None:
        """Give up what is still tried for links that are open."""
        for task in self._late:
            task.cancel()
        ending: set[asyncio.Task[Link | None] | asyncio.Task[object]] = set(self._late)
        if self._prepared is not None:
            ending.add(self._prepared)
        if ending:
            await asyncio.wait(ending, timeout=timeout)

    async def dial(
        self, peer: PublicKey, trace: Trace, join: Callable[[], Awaitable[Link]], *, relayed: bool = True
    ) -> Link:
        """Open a link with `peer`, or a new path for the one there is. `join` waits for the peer's own attempt, when it
        takes the place of ours. Raises `AttemptFailed`; `CallAgain` where another attempt may do better at once.
        """
        climb = Climb(self, peer, trace, join, relayed=relayed)
        try:
            link = await climb.run()
        except LinkError as error:
            await climb.give_up()
            refused = error.end.fault in (LinkFault.REFUSED, LinkFault.NOT_ADMITTED)
            reason = Reason.REFUSED if refused else Reason.LINK_FAILED
            raise AttemptFailed(reason, str(error.end)) from None
        except BaseException:
            await climb.give_up()
            raise
        finally:
            session = climb.session
            if session is not None:
                trace.phases.update({name: took for name, took in session.phases.items() if name != "gather"})
        late = self._leave(climb.race)
        trace.over(still=("ice",) if late else ())
        await climb.end()
        if session is not None and not late:
            await session.close()
        return link

    def dialable(self, hint: Hint) -> list[Address]:
        """The addresses of a hint at which its peer could be dialled from here, best first."""
        if self._answerless is None or not hint.fingerprint or self.hidden:
            return []
        families = self.families()
        known = dict.fromkeys(contact.address for contact in hint.direct)
        return [address for address in known if (6 if ":" in address[0] else 4) in families]

    def callable(self, ways: Sequence[Contact]) -> tuple[Contact, ...]:
        """Those of the ways to a peer whose family gets out here; all where a gateway carries datagrams."""
        families = self.families()
        return tuple(way for way in ways if not families or (6 if ":" in way.ip else 4) in families)

    async def dial_address(self, peer: PublicKey, address: Address, fingerprint: bytes) -> Opened:
        """Dial a peer with no word from it before. Raises `LinkError`."""
        assert self._answerless is not None
        return await self._answerless.dial(peer, address, fingerprint, timeout=DIAL_TIMEOUT)

    def begin(
        self,
        peer: PublicKey,
        session: Session,
        ended: CallEnd,
        terms: Terms | None,
        race: Race,
        trace: Trace,
        *,
        won: Callable[[Link], object],
    ) -> None:
        """Our call has ended: begin what its answer makes possible. Raises `AttemptFailed` where that is nothing."""
        self._begin(peer, session, _answer_of(ended), terms, race, trace, initiated=True, won=won)

    def _begin(
        self,
        peer: PublicKey,
        session: Session,
        description: bytes,
        terms: Terms | None,
        race: Race,
        trace: Trace,
        *,
        initiated: bool,
        won: Callable[[Link], object] = lambda _link: None,
    ) -> None:
        """Offer and answer have crossed: look for a direct path, and for a relay when that takes long. `won` is called
        once one of them has made a link."""
        answer, timeout = (description, None) if initiated else (None, ANSWER_TIMEOUT)

        async def taken(opened: Opened) -> Link | None:
            link = await self.take(peer, opened, race, initiated=initiated)
            if link is not None:
                won(link)
            return link

        async def by_ice() -> Link | None:
            try:
                opened = await trace.way("ice", session.connect(peer, answer, timeout=timeout), session)
                return await taken(opened)
            finally:
                await session.close()

        mesh = self.mesh
        if not self.hidden:
            race.add("ice", by_ice())
        elif mesh is None or terms is None:
            raise AttemptFailed(Reason.LINK_FAILED, "only a relay may carry the link, and this attempt has none")
        if mesh is None or terms is None:
            return
        remote = _extras_of(description)

        async def through_relay() -> Opened:
            try:
                return await mesh.open(peer, terms, remote, initiated=initiated, timeout=RELAY_TIMEOUT)
            except LinkError as error:
                if error.end.fault is not LinkFault.NO_RELAY:
                    raise
                if not initiated:
                    # Who called looks for one, and calls again: whoever waits for this link waits for that.
                    await asyncio.sleep(RELAY_TIMEOUT)
                    raise
                trace.at("relay", f"looking for a relay: {error.end.detail}")
                if why := await mesh.sought(RELAY_TIMEOUT):
                    raise LinkError(LinkEnd(LinkFault.NO_RELAY, f"{error.end.detail}; {why}")) from None
                raise CallAgain(Reason.LINK_FAILED, f"{error.end}; one was found since") from None

        async def by_relay() -> Link | None:
            return await taken(await trace.way("relay", through_relay()))

        # Where theory says that no direct path can open, waiting for one helps nobody.
        race.add(
            "relay", by_relay(), after=0.0 if session.hopeless else RELAY_HEAD_START, behind=("dial", "call", "ice")
        )

    async def take(self, peer: PublicKey, opened: Opened, race: Race, *, initiated: bool) -> Link | None:
        """Make a link of what opened, or put the one there is on it; nobody goes from a direct path to another."""
        if race.direct:
            await opened.channel.close()
            return None
        return await self._links.join(peer, opened, initiated=initiated)

    def _leave(self, race: Race) -> bool:
        """End a race that was won. A relayed link goes on over a direct path if that opens after all: says whether."""
        late = race.stop(but=() if race.direct else ("ice",))
        for task in late:
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        return bool(late)

    async def answer(self, offer: OfferReceived) -> Link:
        """Answer a peer's call with a link. Raises `LinkError` or `AttemptFailed`."""
        trace, race = Trace(self._clock), Race()
        if self.hidden and not any(tag == Extra.CIRCUIT_KEY for tag, _ in _extras_of(offer.payload)):
            self.calls.refuse(offer, RefusalReason.NO_COMMON_PATH)
            raise AttemptFailed(Reason.LINK_FAILED, "only a relay may carry the link, and the peer proposed none")
        await self._prepare(trace)
        session = self.new_session(offer.peer)
        try:
            terms = None
            if self.mesh is not None:
                await self.mesh.ready(RELAYS_WAIT)
                terms = self.mesh.accept(offer.peer, _extras_of(offer.payload))
            try:
                answer = await session.answer(offer.payload, () if terms is None else terms.extras)
            except LinkError:
                self.calls.refuse(offer, RefusalReason.BAD_OFFER)
                raise
            if not self.calls.answer(offer, answer):
                raise LinkError(LinkEnd(LinkFault.LOST, "gathering took longer than the offer lives"))
            self._begin(offer.peer, session, offer.payload, terms, race, trace, initiated=False)
            link = await race.first()
        except BaseException:
            await race.stopped()
            await session.close()
            raise
        if not self._leave(race):
            await session.close()
        return link

    async def offer(
        self, peer: PublicKey, session: Session, trace: Trace, *, relayed: bool
    ) -> tuple[bytes, Terms | None]:
        """Gather, and write our offer. Raises `AttemptFailed`."""
        await self._prepare(trace)
        terms, mesh = None, self.mesh if relayed else None
        if mesh is not None:
            await trace.timed(mesh.ready(RELAYS_WAIT), "relays")
            terms = mesh.propose(peer)
        try:
            return await trace.timed(session.offer(() if terms is None else terms.extras), "gather"), terms
        except LinkError as error:
            raise AttemptFailed(Reason.LINK_FAILED, str(error.end)) from None

    async def _prepare(self, trace: Trace) -> None:
        """Once, and in a thread: half a second in which the loop must go on answering others."""
        self.prepare_soon()
        if self._prepared is not None and not self._prepared.done():
            await trace.timed(asyncio.shield(self._prepared), "prepare")


def import_webrtc() -> None:
    """Import aiortc and what is built on it: 0.4 s and 44 MB, spent only when a first link is made."""
    for name in ("webrtc", "webrtc_ice", "webrtc_dtls", "webrtc_sctp", "webrtc_channel"):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"node.adapters.{name}")


def _answer_of(ended: CallEnd) -> bytes:
    match ended:
        case AnswerReceived():
            return ended.payload
        case CallRefused():
            raise AttemptFailed(Reason.REFUSED, ended.reason.name.lower().replace("_", "-"))
        case CallFailed():
            raise AttemptFailed(_FAULTS[ended.fault], ended.detail)
        case _:
            raise LocalError("an offer is no answer")


def _extras_of(description: bytes) -> Extras:
    """What a description carries besides ICE; nothing where it cannot be read, which the session will tell."""
    try:
        said = decode_description(description)
    except DecodeError:
        return ()
    return said.extras if isinstance(said, SessionDescription) else ()
