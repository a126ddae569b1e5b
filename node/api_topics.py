"""Topics over the local API: who is in them as a stream of events, and what to say as calls beside it.

Decides what the documents say. Refuses to know how members find each other: the node does.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from node.adapters.http import ApiFailure
from node.api_errors import kebab
from node.api_json import to_json
from node.api_params import Params

if TYPE_CHECKING:
    from node.node import Node
    from node.node_member_events import TopicEvent

Document = dict[str, Any]


class TopicCommands:
    """The commands about topics."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def calls(self) -> dict[str, Callable[[Params], Awaitable[Document]]]:
        """Calls by name."""
        return {
            "topics": self._all,
            "topic": self._one,
            "topic-announce": self._announce,
            "topic-leave": self._leave,
            "topic-say": self._say,
        }

    @property
    def streams(self) -> dict[str, Callable[[Params], AsyncGenerator[Document, None]]]:
        """Streams by name."""
        return {"topic-join": self._join}

    async def _all(self, params: Params) -> Document:
        params.done()
        return {"topics": to_json(self._node.topics.all())}

    async def _one(self, params: Params) -> Document:
        name, secret = params.text("topic"), params.text_or_none("secret")
        params.done()
        status = await self._node.topics.get(name, secret=secret)
        if status is None:
            raise _not_in(name)
        document: Document = to_json(status)
        return document

    async def _announce(self, params: Params) -> Document:
        given = _joining(params)
        params.done()
        document: Document = to_json(await self._node.topics.keep(**given))
        return document

    async def _leave(self, params: Params) -> Document:
        name, secret = params.text("topic"), params.text_or_none("secret")
        params.done()
        if not await self._node.topics.drop(name, secret=secret):
            raise _not_in(name)
        still = await self._node.topics.get(name, secret=secret)
        return {"topic": name, "left": still is None}

    async def _say(self, params: Params) -> Document:
        name, secret = params.text("topic"), params.text_or_none("secret")
        text, data = params.text_or_none("text"), params.data("data_base64")
        to = params.peer_or_none("to")
        params.done()
        if (text is None) == (data is None):
            raise ApiFailure("bad-input", "topic-say: give text or data_base64")
        status = await self._node.topics.get(name, secret=secret)
        if status is None:
            raise _not_in(name)
        said = data if data is not None else (text or "").encode()
        async with await self._node.topics.join(name, secret=secret, app=status.app) as topic:
            outcome = await (topic.broadcast(said) if to is None else topic.send(to, said))
        document: Document = to_json(outcome)
        if "deliveries" in document:
            document["deliveries"] = [
                {"peer": peer, "delivery": delivery} for peer, delivery in document["deliveries"].items()
            ]
        return document

    async def _join(self, params: Params) -> AsyncGenerator[Document, None]:
        given = _joining(params)
        params.done()
        topic = await self._node.topics.join(**given)
        try:
            yield {"event": "joined", "topic": topic.name, "private": given["secret"] is not None}
            async for event in topic:
                yield event_of(event)
        finally:
            await topic.leave()


def event_of(event: TopicEvent) -> Document:
    """What happened in a topic; data in base64, and as text where it is text."""
    document: Document = {"event": kebab(type(event).__name__), **to_json(event)}
    if "data" in document:
        data = bytes.fromhex(document.pop("data"))
        document["data_base64"] = base64.b64encode(data).decode()
        with suppress(UnicodeDecodeError):
            document["data_text"] = data.decode()
    return document


def _joining(params: Params) -> dict[str, Any]:
    return {
        "name": params.text("topic"),
        "secret": params.text_or_none("secret"),
        "app": params.text_or_none("app") or "",
        "app_version": params.integer("app_version", 0, 65535, 0),
    }


def _not_in(name: str) -> ApiFailure:
    return ApiFailure(
        "not-in-topic", f"this node is not in the topic {name!r}", "`rookery topic announce NAME` puts it there"
    )
