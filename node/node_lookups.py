"""Reading the DHT: peers' records, other records, and whether the ways to a peer answer.

Decides what a look-up's end means to the one who asked. Refuses to know how a look-up walks.
"""

from __future__ import annotations

import asyncio

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.errors import DecodeError
from dht.events import GetDone, PingDone
from dht.identity import PublicKey
from dht.records import Kind, peer_place
from node.driver import Driver
from node.node_results import DhtPing, FindOutcome, GetOutcome, Reason, WayPing, found_record
from node.protocols.peer_record import PeerRecord


class Lookups:
    """The reads of one node."""

    def __init__(self, driver: Driver[DhtEngine]) -> None:
        self._driver = driver

    async def find(self, peer: PublicKey, *, explain: bool = False) -> FindOutcome:
        """Look up a peer's record; with `explain` the outcome says of every node that was asked what it answered."""
        done, seconds = await self._get(peer_place(peer), explain=explain)
        record = next((one for one in done.records if one.kind is Kind.PEER and one.owner == peer.raw), None)
        stats, trace, ended = done.stats, done.trace, done.ended
        if record is None:
            if not stats.requests:
                return FindOutcome(
                    False, Reason.NOT_JOINED, "this node knows no other node yet", stats=stats, ended=ended
                )
            detail = f"none of {stats.replies} nodes that answered has its record"
            return FindOutcome(False, Reason.NOT_FOUND, detail, seconds=seconds, stats=stats, trace=trace, ended=ended)
        try:
            said = PeerRecord.from_bytes(record.payload)
        except DecodeError as error:
            detail = str(error)
            return FindOutcome(
                False, Reason.BAD_RECORD, detail, seq=record.seq, seconds=seconds, trace=trace, ended=ended
            )
        return found_record(record, said, copies=done.copies, seconds=seconds, stats=stats, trace=trace, ended=ended)

    async def ping(self, peer: PublicKey) -> DhtPing:
        """Look a peer up and ping every node by way of which it is reached."""
        found = await self.find(peer)
        if not found.found:
            return DhtPing(False, found.reason, found.detail, found.seconds)
        pings = await asyncio.gather(*(self._ping(way) for way in found.ways))
        ways = tuple(
            WayPing(done.contact, "direct" if done.contact in found.direct else "home", done.rtt) for done in pings
        )
        if any(way.rtt is not None for way in ways):
            return DhtPing(True, Reason.NONE, "", found.seconds, ways)
        detail = f"none of its {len(ways)} home nodes answers" if ways else "its record names no home node"
        return DhtPing(False, Reason.NO_HOME_NODE, detail, found.seconds, ways)

    async def get(self, place: bytes, owner: PublicKey | None) -> GetOutcome:
        """Read what lies at `place`, of `owner` alone if one is given."""
        done, seconds = await self._get(place)
        refused: dict[str, int] = {}
        for _, refusal in done.refused:
            name = refusal.name.lower().replace("_", "-")
            refused[name] = refused.get(name, 0) + 1
        records = tuple(one for one in done.records if owner is None or one.owner == owner.raw)
        reason = ""
        if not records:
            answered = done.stats.replies
            reason = f"none of {answered} nodes that answered has it" if answered else "no node answered"
        return GetOutcome(bool(records), reason, place, records, done.copies, refused, seconds, done.stats)

    async def _get(self, place: bytes, *, explain: bool = False) -> tuple[GetDone, float]:
        started = self._driver.clock()
        done = await self._driver.run(lambda engine, now: engine.get(place, now, explain=explain), GetDone)
        return done, self._driver.clock() - started

    async def _ping(self, contact: Contact) -> PingDone:
        if contact.key == self._driver.engine.own_key:
            return PingDone(0, contact, 0.0, None)  # We are that home node ourselves.
        return await self._driver.run(lambda engine, now: engine.ping(contact, now), PingDone)
