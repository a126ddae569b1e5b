"""One crawl of the network by a node: starts it, collects what is found, and stops it with what there is.

Decides what a stopped crawl leaves behind. Refuses to know how a map is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import CrawlDone, NodeCrawled
from node.driver import Driver
from node.node_map import CrawledAddress, NetworkMap, gathered

Progress = Callable[[int, int], object]
"""Called with how many addresses are done and how many have been heard of."""


class Crawler:
    """Crawls by one node."""

    def __init__(self, driver: Driver[DhtEngine], network: str) -> None:
        self._driver = driver
        self._network = network
        self._nodes: dict[Contact, NodeCrawled] = {}
        self._on_progress: Progress | None = None
        driver.subscribe(NodeCrawled, self._on_node)

    async def crawl(
        self,
        *,
        rate: float,
        questions: int,
        before: NetworkMap | None = None,
        on_progress: Progress | None = None,
        stop: asyncio.Event | None = None,
    ) -> NetworkMap:
        """Map the network, `rate` requests a second; `before` is a map to go on with. When `stop` is set, it ends with
        what there is."""
        driver = self._driver
        self._nodes.clear()
        self._on_progress = on_progress
        known = () if before is None else before.addresses
        old = [one for one in known if one.state != "unasked"]
        left = [one.contact for one in known if one.state == "unasked"]
        started = driver.now()
        waiter = None if stop is None else asyncio.ensure_future(self._stop_when(stop))
        try:
            done = await driver.run(
                lambda engine, now: engine.crawl(
                    now, rate=rate, questions=questions, contacts=left, known=[one.contact for one in old]
                ),
                CrawlDone,
            )
        finally:
            if waiter is not None:
                waiter.cancel()
        return self._map(done, old, started if before is None else before.started, before)

    async def _stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._driver.command(lambda engine, now: engine.stop_crawl(now))

    def _on_node(self, event: NodeCrawled) -> None:
        self._nodes[event.contact] = event
        if self._on_progress is not None:
            self._on_progress(len(self._nodes), self._driver.engine.crawl_heard_of)

    def _map(self, done: CrawlDone, old: list[CrawledAddress], started: float, before: NetworkMap | None) -> NetworkMap:
        def named_by(contact: Contact) -> int:
            return done.named[":" in contact.ip].get(contact.key, 0)

        found = [
            CrawledAddress(
                contact, "answered" if event.answered else "silent", event.rtt, event.named, named_by(contact)
            )
            for contact, event in self._nodes.items()
        ]
        found += [CrawledAddress(contact, "unasked", None, 0, named_by(contact)) for contact in done.unasked]
        return NetworkMap(
            self._network,
            started,
            done.seconds + (before.seconds if before is not None else 0.0),
            done.requests + (before.requests if before is not None else 0),
            gathered([*old, *found]),
        )
