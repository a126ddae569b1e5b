"""One climb of the ladder: from a peer's key to a link, by whichever rung finds the peer and whichever way opens first.

Decides what is done with what is found: an address is dialled once, whoever names it; the peer is called through its
homes, those found later included; the first link ends everything. Refuses to know where peers are looked for
(`node_ladder`) and how a way opens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from dht.contact import Address, Contact
from dht.identity import PublicKey
from node.node_ladder import BOOTSTRAP, DHT, DIRECT, INSTANT, Ladder, hint_of
from node.node_links import path_text
from node.node_results import FindOutcome
from node.node_ways import Race, Trace
from node.ports import Hint, Link, LinkError, LinkFault, PeerSource, Session, Terms
from node.protocols.signaling_events import OfferReceived

if TYPE_CHECKING:
    from node.node_attempt import Attempts

DIAL_HEAD_START: Final = 0.4
"""Seconds the dial of an address of the peer's record gets before the peer is called as well: its six round trips at
60 ms. An address that only a source named gets less (`HeadStarts.call`)."""

DIALS_A_HINT: Final = 2
"""Addresses dialled of what one source says: one of each family. Bounds what a liar on the local network sets off."""

MAX_DIALS: Final = 8
"""Addresses dialled in one attempt, whoever names them."""

_WRONG: Final = (LinkFault.FINGERPRINT_MISMATCH, LinkFault.NO_PROOF)
"""Somebody else is at that address."""


class Climb:
    """One attempt at one peer."""

    def __init__(
        self,
        attempts: Attempts,
        peer: PublicKey,
        trace: Trace,
        join: Callable[[], Awaitable[Link]],
        *,
        relayed: bool,
    ) -> None:
        self._attempts = attempts
        self._ladder: Ladder = attempts.ladder
        self._peer = peer
        self._trace = trace
        self._join = join
        self._relayed = relayed
        self.race = Race()
        self.session: Session | None = None
        self._offering: asyncio.Task[tuple[bytes, Terms | None]] | None = None
        self._dialled: set[tuple[Address, bytes]] = set()
        self._dials_until = 0.0
        """Seconds after the beginning until which a call leaves the dials alone."""
        self._ways: dict[Contact, str] = {}
        """Through whom the peer is called, and which rung named them first."""
        self._calling = self._called = False
        self._looked_up = False
        self._hints: dict[str, Hint] = {}
        self._call_by = DHT

    async def run(self) -> Link:
        """Climb. Raises `AttemptFailed` or `LinkError`."""
        sources = self._ladder.sources
        for source in sources:
            self.race.add(source.name, self._by_source(source))
        self.race.add(DHT, self._by_look_up([source.name for source in sources]))
        self.race.add(BOOTSTRAP, self._by_list())
        return await self.race.first()

    async def give_up(self) -> None:
        """End everything, and wait until it has ended."""
        await self.race.stopped()
        await self.end()
        if self.session is not None:
            await self.session.close()

    async def end(self) -> None:
        """Free what no way uses any more."""
        if self._offering is not None and not self._offering.done():
            self._offering.cancel()
            await asyncio.wait([self._offering])

    # The rungs

    async def _by_source(self, source: PeerSource) -> Link | None:
        hint = await self._trace.rung(source.name, self._ladder.ask(source, self._peer), _words)
        if hint is not None:
            self._found(source.name, hint)
        return None

    async def _by_look_up(self, sources: list[str]) -> Link | None:
        await self.race.head_start(INSTANT, behind=sources)
        if self._dialled or self._ways:
            ways = ("dial",) if self._dialled else ("call", "ice")
            await self.race.head_start(self._ladder.starts.look_up, behind=ways)
        self._offer_soon()
        looking = self._trace.timed(self._ladder.look_up(self._peer), "lookup")
        self._on_record(DHT, await self._trace.rung(DHT, looking, _found_words))
        return None

    async def _by_list(self) -> Link | None:
        heard = self._ladder.heard()
        await self.race.head_start(self._ladder.starts.bootstrap, behind=(DHT,))
        if self.race.runs(DHT) and self._ladder.heard() != heard:
            await self.race.head_start(None, behind=(DHT,))  # Somebody answers: the look-up is only slow.
        if self._looked_up:
            self._trace.passed_over(BOOTSTRAP, "the DHT knew the peer")
            return None
        self._offer_soon()
        looking = self._ladder.look_up_anew(self._peer)
        self._on_record(BOOTSTRAP, await self._trace.rung(BOOTSTRAP, looking, _found_words))
        return None

    def _on_record(self, rung: str, found: FindOutcome) -> None:
        self._looked_up = True
        self._found(rung, hint_of(found))
        if not self._dialled:
            self._trace.skipped("dial", "the peer's record names no address at which it could be dialled from here")
        if not self._calling:
            self._call()

    # What is done with what they find

    def _found(self, rung: str, hint: Hint) -> None:
        self._hints[rung] = hint
        for address in self._attempts.dialable(hint)[: 1 if rung in (DHT, BOOTSTRAP) else DIALS_A_HINT]:
            key = (address, hint.fingerprint)
            if key in self._dialled or len(self._dialled) >= MAX_DIALS:
                continue
            self._dialled.add(key)
            known = self._ladder.starts.call if rung not in (DHT, BOOTSTRAP) else DIAL_HEAD_START
            self._dials_until = max(self._dials_until, self._trace.elapsed + known)
            self.race.add("dial", self._by_dial(rung, address, hint))
        # What is sent to the peer's own node shows it where we are.
        direct = () if self._attempts.hidden else hint.direct
        ways = self._attempts.callable((*direct, *hint.homes))
        new = [way for way in dict.fromkeys(ways) if way not in self._ways]
        self._ways.update(dict.fromkeys(new, DIRECT if rung == "cache" else rung))
        if new and not self._calling:
            self._call()
        elif new and self._called:
            self._attempts.calls.add_ways(self._peer, new)

    async def _by_dial(self, rung: str, address: Address, hint: Hint) -> Link | None:
        """Dial a peer that can be reached, with no word from it before."""
        dialled = self._attempts.dial_address(self._peer, address, hint.fingerprint)
        try:
            opened = await self._trace.way("dial", dialled, rung=rung, remote=f"{address[0]} {address[1]}")
        except LinkError as error:
            if error.end.fault in _WRONG:
                self._ladder.on_wrong(self._peer, hint)
            raise
        self._trace.phases.update(opened.phases)
        link = await self._attempts.take(self._peer, opened, self.race, initiated=True)
        if link is not None:
            self._won(rung, link, next((one for one in hint.direct if one.address == address), None))
        return link

    def _call(self) -> None:
        self._calling = True
        self.race.add("call", self._by_call())

    async def _by_call(self) -> Link | None:
        """Call the peer; with its answer two ways begin."""
        if self._offering is None and self._dialled:
            await self.race.head_start(self._ladder.starts.look_up, behind=("dial",))
        offering = self._offer_soon()
        while (pause := self._dials_until - self._trace.elapsed) > 0 and self.race.runs("dial"):
            await self.race.head_start(pause, behind=("dial",))
        offer, terms = await asyncio.shield(offering)
        session, ways = self.session, tuple(self._ways)
        assert session is not None
        if self._relayed and self._attempts.called_by(self._peer):
            return await self._join()  # Its call came while we looked for it: one of the two is enough.
        self._called = True
        self._call_by = next(iter(self._ways.values()), DHT)
        calling = self._attempts.calls.call(self._peer, ways, offer, self._on_delivered)
        calling = self._trace.timed(calling, "signaling")
        if self._call_by == DIRECT:
            ended = await self._trace.rung(DIRECT, calling, lambda _ended: f"called through {len(ways)} nodes")
        else:
            ended = await calling
        if isinstance(ended, OfferReceived):
            return await self._join()
        self._attempts.begin(
            self._peer,
            session,
            ended,
            terms,
            self.race,
            self._trace,
            won=lambda link: self._won(self._call_by, link),
        )
        return None

    def _on_delivered(self, way: Contact) -> None:
        self._call_by = self._ways.get(way, self._call_by)

    def _offer_soon(self) -> asyncio.Task[tuple[bytes, Terms | None]]:
        """Look for our own addresses, once."""
        if self._offering is None:
            self._offering = asyncio.get_running_loop().create_task(self._offer())
            self._offering.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return self._offering

    async def _offer(self) -> tuple[bytes, Terms | None]:
        await asyncio.sleep(0)  # A first session is imported for 80 ms: let a look-up leave before.
        self.session = self._attempts.new_session(self._peer)
        return await self._attempts.offer(self._peer, self.session, self._trace, relayed=self._relayed)

    def _won(self, rung: str, link: Link, dialled: Contact | None = None) -> None:
        """Remember where the peer was: the address that was dialled first, and what the newest record says."""
        self._trace.won(rung)
        known = [self._hints[name] for name in (DHT, BOOTSTRAP, *self._hints) if name in self._hints]
        if rung == DIRECT:
            rung = "cache"
        newest = next(iter(known), Hint())
        hint = self._hints.get(rung, newest)
        direct = dict.fromkeys((*((dialled,) if dialled else ()), *newest.direct, *hint.direct))
        homes = newest.homes or next((one.homes for one in known if one.homes), ())
        fingerprint = (hint if dialled else newest).fingerprint
        self._ladder.on_linked(self._peer, Hint(tuple(direct), homes, fingerprint), path_text(link))


def _words(hint: Hint | None) -> str:
    if hint is None:
        return ""
    said = [f"{contact.address[0]} {contact.address[1]}" for contact in hint.direct[:DIALS_A_HINT]]
    if hint.homes:
        said.append(f"{len(hint.homes)} home nodes")
    return ", ".join(said)


def _found_words(found: FindOutcome) -> str:
    return _words(hint_of(found)) or "its record, which names nobody"
