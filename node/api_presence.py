"""The commands about presence: who is there, what we say of ourselves, and what happens meanwhile.

Decides their parameters and documents. Refuses to know how a request came in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from node.adapters.http import ApiFailure
from node.api_errors import kebab
from node.api_json import to_json
from node.api_params import Params

if TYPE_CHECKING:
    from node.node import Node

Document = dict[str, Any]

STATUSES: Final = ("online", "away", "busy")


class PresenceCommands:
    """What can be asked about presence."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def presence(self, params: Params) -> Document:
        """What we say of ourselves, and of one peer or all what is known."""
        peer = params.peer_or_none("peer")
        topology = params.flag("topology")
        params.done()
        presence = self._node.presence
        document: Document = {"own": to_json(presence.own())}
        if peer is None:
            document["peers"] = to_json(presence.all())
        else:
            document["peer"] = to_json(presence.of(peer))
        if topology:
            document["topology"] = to_json(presence.topology())
        return document

    async def set_presence(self, params: Params) -> Document:
        """Say something else of ourselves."""
        status = params.text("status")
        text = params.text_or_none("text") or ""
        params.done()
        if status not in STATUSES:
            raise ApiFailure("bad-input", f"set-presence: status = {status!r} must be one of {', '.join(STATUSES)}")
        self._node.presence.set(status, text)
        return {"own": to_json(self._node.presence.own())}

    async def watch_presence(self, params: Params) -> AsyncGenerator[Document, None]:
        """Everybody now, then each event with what is known of its peer; everybody again from time to time."""
        every = params.seconds("every", 5.0)
        params.done()
        presence = self._node.presence
        loop = asyncio.get_running_loop()
        async with aclosing(presence.watch()) as events:
            yield self._everybody()
            due = loop.time() + every
            following = asyncio.ensure_future(anext(events))
            try:
                while True:
                    await asyncio.wait([following], timeout=max(0.0, due - loop.time()))
                    if following.done():
                        try:
                            event = following.result()
                        except StopAsyncIteration:
                            return
                        document: Document = to_json(event)
                        kind = kebab(type(event).__name__)
                        yield {"event": kind, **document, "now": to_json(presence.of(event.peer))}
                        following = asyncio.ensure_future(anext(events))
                    else:
                        yield self._everybody()
                        due = loop.time() + every
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following

    def _everybody(self) -> Document:
        presence = self._node.presence
        return {"event": "peers", "own": to_json(presence.own()), "peers": to_json(presence.all())}
