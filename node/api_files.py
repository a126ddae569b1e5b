"""Sending and receiving files as streams of events, with decisions that come in by another call.

Decides how often progress is told and how a person's yes or no finds the offer it is for. Refuses to know how bytes
cross: the node does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from node.adapters.http import ApiFailure
from node.api_json import to_json
from node.api_params import Params

if TYPE_CHECKING:
    from node.node import Node

Document = dict[str, Any]

PROGRESS_EVERY: Final = 0.1
"""Seconds between two progress events of one transfer: ten a second look fluent and cost nothing. UNSOURCED"""

DECISION_TIMEOUT: Final = 300.0
"""Seconds a person gets to accept an offer before it is refused for them. UNSOURCED"""


class Feed:
    """Events from callbacks, in order; of the progress of one transfer only the newest is kept."""

    def __init__(self) -> None:
        self._queue: list[Document] = []
        self._progress: dict[str, Document] = {}
        self._wake = asyncio.Event()

    def tell(self, event: Document) -> None:
        """Add an event; progress told before it comes first."""
        self._queue += self._progress.values()
        self._progress.clear()
        self._queue.append(event)
        self._wake.set()

    def progress(self, key: str, event: Document) -> None:
        """Replace what is known of the transfer `key`; comes out with the next beat."""
        self._progress[key] = event

    async def during(self, work: Coroutine[Any, Any, Any]) -> AsyncGenerator[Document, None]:
        """Run `work` and yield what is told meanwhile; raises what it raises, ends it when closed."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self._wake.set())
        try:
            while True:
                done = task.done()
                for event in self._drain():
                    yield event
                if done:
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), PROGRESS_EVERY)
                self._wake.clear()
            await task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    def _drain(self) -> list[Document]:
        events = self._queue + list(self._progress.values())
        self._queue = []
        self._progress.clear()
        return events


class Decisions:
    """Offers that wait for a person's yes or no."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """A number for the next offer, unique while this node runs."""
        return str(next(self._numbers))

    async def wait(self, offer: str) -> bool:
        """Wait until `decide` is called for this offer; silence is a no."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[offer] = answer
        try:
            return await asyncio.wait_for(answer, DECISION_TIMEOUT)
        except TimeoutError:
            return False
        finally:
            del self._waiting[offer]

    def decide(self, offer: str, accept: bool) -> None:
        """Answer an offer. Raises `ApiFailure` when it does not wait (any more)."""
        answer = self._waiting.get(offer)
        if answer is None or answer.done():
            raise ApiFailure("no-such-offer", f"no offer {offer!r} waits for a decision", "it may have been withdrawn")
        answer.set_result(accept)

    def withdraw(self, offers: Iterable[str]) -> None:
        """Refuse those of these offers that still wait: nobody is left who could answer."""
        for offer in offers:
            answer = self._waiting.get(offer)
            if answer is not None and not answer.done():
                answer.set_result(False)


class FileCommands:
    """The commands `send`, `receive` and `decide`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._decisions = Decisions()

    async def send(self, params: Params) -> AsyncGenerator[Document, None]:
        """Send one file; yields `progress` events, then `done` with the outcome."""
        peer = params.peer()
        path = params.path("path")
        params.done()
        yield {"event": "sending", "peer": peer.text, "path": str(path)}
        feed = Feed()

        def on_progress(done: int, total: int) -> None:
            feed.progress("send", {"event": "progress", "done": done, "total": total})

        async def work() -> None:
            outcome = await self._node.send_file(peer, path, on_progress=on_progress)
            feed.tell({"event": "done", "peer": peer.text, **to_json(outcome)})

        async for event in feed.during(work()):
            yield event

    async def receive(self, params: Params) -> AsyncGenerator[Document, None]:
        """Take files into a directory until the stream is closed or `count` files have come."""
        directory = params.path("directory")
        allowed = {peer.raw for peer in params.peers("accept_from")}
        everybody = params.flag("yes")
        ask = params.flag("ask")
        count = params.integer("count", 1, 1_000_000)
        params.done()
        feed = Feed()
        asked: list[str] = []

        async def decide(offer: Any) -> bool:
            number = self._decisions.new()
            trusted = everybody or offer.peer.raw in allowed
            answer = True if trusted else None if ask else False
            told = {"event": "offer", "offer": number, **to_json(offer), "accepted": answer}
            feed.tell(told)
            if answer is None:
                asked.append(number)
                answer = await self._decisions.wait(number)
                feed.tell({"event": "decided", "offer": number, "accepted": answer})
            return answer

        def on_event(event: Any) -> None:
            document = to_json(event)
            if document["event"] == "progress":
                feed.progress(document["transfer"], document)
            else:
                feed.tell(document)

        yield {"event": "waiting", "directory": str(directory), "identity": self._node.identity.text}
        work = self._node.receive_files(directory, decide=decide, on_event=on_event, count=count)
        try:
            async for event in feed.during(work):
                yield event
        finally:
            self._decisions.withdraw(asked)

    async def decide(self, params: Params) -> Document:
        """Answer an offer that waits."""
        offer = params.text("offer")
        accept = params.flag("accept")
        params.done()
        self._decisions.decide(offer, accept)
        return {"offer": offer, "accepted": accept}
