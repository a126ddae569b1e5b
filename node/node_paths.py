"""Better paths for the links there are: another one when a path dies, a direct one when a relay carries the link.

Decides when another path is looked for, and how often. Refuses to know how one is found and how a link goes over to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Final

from dht.identity import PublicKey
from node.node_events import EventLog, LinkOpened, PathChanged
from node.node_links import Links
from node.node_meeting import Meeting

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

log = logging.getLogger("rookery.paths")

UPGRADES: Final = (5.0, 30.0, 120.0, 600.0)
"""Seconds between attempts at a direct path for a relayed link; the last goes on. UNSOURCED: the reasons why none
opened pass quickly (a lost signal, a full NAT) or not at all."""

SECOND_REDIAL: Final = 1.5
"""Seconds the side that did not open the link leaves to the other before it looks for a path itself: two attempts at
once cost one. UNSOURCED"""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds between attempts at a path for a link whose path has died, doubling. UNSOURCED"""


class Paths:
    """Looks for paths on behalf of the links of one node."""

    def __init__(self, links: Links, meeting: Meeting, driver: Driver[DhtEngine], events: EventLog) -> None:
        self._links = links
        self._meeting = meeting
        self._driver = driver
        self._events = events
        self.relays_wanted = False
        """Whether no direct path is looked for: a relay is what is wanted."""
        self._mending: dict[PublicKey, asyncio.Task[None]] = {}
        self._improving: dict[PublicKey, asyncio.Task[None]] = {}
        links.on_suspect = self.suspected

    def suspected(self, peer: PublicKey) -> None:
        """The path of the link with `peer` has died, or is silent while it should not be."""
        self._start(self._mending, peer, self._mend)

    def network_changed(self, own: Collection[str]) -> None:
        """This machine's addresses are others now: `own`, IP texts."""
        self._driver.command(lambda engine, now: engine.network_changed(now))
        for link in self._links.all():
            local = link.stats.path.local_address
            if link.stats.path.direct and local is not None and local[0] not in own:
                self._links.suspect(link.peer)
            elif not link.stats.path.direct and not self.relays_wanted:
                self._stop(self._improving, link.peer)
                self._start(self._improving, link.peer, self._improve)

    async def run(self) -> None:
        """Follow the links until cancelled."""
        try:
            async for event in self._events.follow():
                if isinstance(event, LinkOpened | PathChanged):
                    self._consider(event.peer)
        finally:
            tasks = [*self._mending.values(), *self._improving.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _consider(self, peer: PublicKey) -> None:
        link = self._links.get(peer)
        if link is not None and link.initiated and not link.stats.path.direct and not self.relays_wanted:
            self._start(self._improving, peer, self._improve)

    async def _mend(self, peer: PublicKey) -> None:
        link = self._links.get(peer)
        if link is not None and not link.initiated:
            await asyncio.sleep(SECOND_REDIAL)
        pause = FIRST_PAUSE
        while self._links.suspended(peer):
            outcome = await self._meeting.dial(peer)
            if outcome.connected:
                return
            log.info("no other path to %s yet: %s %s", peer.short, outcome.reason.value, outcome.detail)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _improve(self, peer: PublicKey) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(UPGRADES[min(attempt, len(UPGRADES) - 1)])
            attempt += 1
            link = self._links.get(peer)
            if link is None or link.stats.path.direct:
                return
            await self._meeting.dial(peer, relayed=False)

    def _start(
        self,
        tasks: dict[PublicKey, asyncio.Task[None]],
        peer: PublicKey,
        work: Callable[[PublicKey], Awaitable[None]],
    ) -> None:
        if peer in tasks:
            return

        async def run() -> None:
            await work(peer)

        task = asyncio.get_running_loop().create_task(run())
        tasks[peer] = task
        task.add_done_callback(lambda ended: self._on_done(tasks, peer, ended))

    def _stop(self, tasks: dict[PublicKey, asyncio.Task[None]], peer: PublicKey) -> None:
        task = tasks.pop(peer, None)
        if task is not None:
            task.cancel()

    def _on_done(self, tasks: dict[PublicKey, asyncio.Task[None]], peer: PublicKey, ended: asyncio.Task[None]) -> None:
        if tasks.get(peer) is ended:
            del tasks[peer]
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.error("looking for a path to %s failed", peer.short, exc_info=error)
