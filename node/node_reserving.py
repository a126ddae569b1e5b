"""Relays kept ready: room reserved with them, and a link that stands.

Decides with how many and when to renew. Refuses to know why they are wanted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from dht.errors import DecodeError
from dht.identity import PublicKey
from node.node_links import Links
from node.node_relaying import direct_link, framed, read_message
from node.node_relays import KnownRelay, RelayBook
from node.ports import Link, LinkError, StreamEnded, StreamReset
from node.protocols.circuit import RELAY_STREAM, Granted, Refused, Reserve
from node.protocols.circuit_relays import RelayContact

KEPT: Final = 2
"""Relays kept ready by a node whose router calls for it: one may die. UNSOURCED"""

WANTED: Final = 4
"""Circuits asked room for. UNSOURCED"""

TIMEOUT: Final = 10.0
"""Seconds a reservation may take, its link included. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room that a relay promised."""

    relay: PublicKey
    granted: Granted
    renew: float
    """When to ask again: at half of its time."""
    lapses: float


class Reservations:
    """The reservations of one node."""

    def __init__(
        self,
        book: RelayBook,
        links: Links,
        reach: Callable[[RelayContact, float], Awaitable[Link]],
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._book = book
        self._links = links
        self._reach = reach
        self._clock = clock
        self._rng = rng
        self._held: dict[PublicKey, Reservation] = {}

    def relays(self) -> tuple[PublicKey, ...]:
        """The relays that are ready: reserved, and linked with."""
        now = self._clock()
        self._held = {key: one for key, one in self._held.items() if one.lapses > now}
        return tuple(key for key in self._held if direct_link(self._links, key) is not None)

    async def keep(self, families: frozenset[int]) -> None:
        """Renew what is due, and reserve with others until enough are ready."""
        now = self._clock()
        ready = self.relays()
        due = [key for key in ready if self._held[key].renew <= now]
        chosen = self._book.choose(KEPT + 2, families=families, without=[key for key in ready if key not in due])
        renewed = [one for one in chosen if one.contact.identity in due]
        others = [one for one in chosen if one.contact.identity not in ready][: max(0, KEPT - len(ready))]
        await asyncio.gather(*(self._reserve(one) for one in (*renewed, *others)))

    async def _reserve(self, known: KnownRelay) -> None:
        relay = known.contact.identity
        try:
            async with asyncio.timeout(TIMEOUT):
                link = direct_link(self._links, relay) or await self._reach(known.contact, TIMEOUT)
                stream = await link.open_stream(RELAY_STREAM)
                await stream.write(framed(Reserve(WANTED)))
                answer = await read_message(stream)
                await stream.close()
        except (LinkError, StreamReset, StreamEnded, DecodeError, TimeoutError):
            self._book.failed(relay)
            return
        now = self._clock()
        if isinstance(answer, Granted):
            self._book.worked(relay)
            known.load = answer.load
            renew = now + answer.seconds * self._rng.uniform(0.4, 0.6)
            self._held[relay] = Reservation(relay, answer, renew, now + answer.seconds)
        else:
            self._book.failed(relay)
            if isinstance(answer, Refused):
                known.load = 255
