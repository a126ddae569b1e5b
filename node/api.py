"""Commands and queries on a node, as JSON documents and JSON lines: what `docs/api.md` lists.

Decides the names of commands, their parameters and what their documents say. Refuses to know how a request came in
(`node.adapters.http_api`, or the command line in the same process) and how an answer is shown (`node.cli_render`).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from dht.records import topic_place
from node.adapters.http import ApiFailure
from node.api_book import BookCommands
from node.api_errors import failure_of, kebab
from node.api_files import FileCommands
from node.api_invites import InviteCommands
from node.api_json import record_to_json, to_json
from node.api_lan import LanCommands
from node.api_networks import NetworkCommands
from node.api_params import Params
from node.api_presence import PresenceCommands
from node.api_topics import TopicCommands
from node.node_results import capability_names
from node.node_values import Value

if TYPE_CHECKING:
    from node.node import GetOutcome, Node, NodeEvent, RecordNews
    from node.protocols.peer_record import PeerRecord

Document = dict[str, Any]

LEVELS: Final = ("debug", "info", "warning", "error")
"""How grave an event is, as the logging package ranks it."""

MAX_RECORDS: Final = 1000
"""Records stored in one call. UNSOURCED: a minute's work of the network."""

MAX_LOG_TAIL: Final = 100_000
"""Events asked for at once; the node's own ring is far smaller."""


class Api:
    """The commands of one node. `call` and `stream` raise nothing but `ApiFailure`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        files, topics = FileCommands(node), TopicCommands(node)
        invites = InviteCommands(node)
        presence = PresenceCommands(node)
        self._calls: dict[str, Callable[[Params], Awaitable[Document]]] = {
            "status": self._status,
            "peers": self._peers,
            "doctor": self._doctor,
            "find": self._find,
            "ping": self._ping,
            "put": self._put,
            "put-many": self._put_many,
            "get": self._get,
            "decide": files.decide,
            "invite": invites.invite,
            "invites": invites.invites,
            "revoke-invite": invites.revoke,
            "lan": LanCommands(node).lan,
            **BookCommands(node.book).calls,
            **NetworkCommands(node).calls,
            **topics.calls,
            "presence": presence.presence,
            "set-presence": presence.set_presence,
        }
        self._streams: dict[str, Callable[[Params], AsyncGenerator[Document, None]]] = {
            "connect": self._connect,
            "send": files.send,
            "receive": files.receive,
            "join": invites.join,
            "log": self._log,
            "watch-presence": presence.watch_presence,
            "watch": self._watch,
            **topics.streams,
        }

    @property
    def commands(self) -> tuple[str, ...]:
        """The names that `call` and `stream` know."""
        return (*self._calls, *self._streams)

    async def call(self, command: str, params: Document) -> Document:
        """Do one command and return its document."""
        handler = self._calls.get(command)
        if handler is None:
            raise self._unknown(command, self._calls, self._streams)
        try:
            return self._told(await handler(Params(command, params, self._node.book.resolve)))
        except Exception as error:
            raise failure_of(error) from error

    async def stream(self, command: str, params: Document) -> AsyncGenerator[Document, None]:
        """Do one command and yield its events. The last one tells the outcome; closing the iterator gives up."""
        handler = self._streams.get(command)
        if handler is None:
            raise self._unknown(command, self._streams, self._calls)
        try:
            async with aclosing(handler(Params(command, params, self._node.book.resolve))) as events:
                async for event in events:
                    yield self._told(event)
        except Exception as error:
            raise failure_of(error) from error

    def _told(self, document: Document) -> Document:
        told: Document = self._node.book.annotate(document)
        return told

    @staticmethod
    def _unknown(command: str, here: dict[str, Any], there: dict[str, Any]) -> ApiFailure:
        if command in there:
            return ApiFailure("unknown-command", f"{command!r} is a {'stream' if 'status' in here else 'call'}")
        return ApiFailure("unknown-command", f"there is no command {command!r}", f"known are {', '.join(sorted(here))}")

    async def _status(self, params: Params) -> Document:
        params.done()
        document: Document = to_json(self._node.status())
        return document

    async def _peers(self, params: Params) -> Document:
        params.done()
        return {"contacts": to_json(self._node.contacts()), "links": to_json(self._node.links())}

    async def _doctor(self, params: Params) -> Document:
        params.done()
        findings = await self._node.examine()
        healthy = not any(finding.state == "problem" for finding in findings)
        return {"healthy": healthy, "findings": to_json(findings)}

    async def _find(self, params: Params) -> Document:
        peer = params.peer()
        trace = params.flag("trace")
        params.done()
        outcome: Document = {"peer": peer.text, **to_json(await self._node.find(peer, explain=trace))}
        if not trace:
            outcome.pop("trace", None)
        return outcome

    async def _ping(self, params: Params) -> Document:
        peer = params.peer()
        dht, link = params.flag("dht"), params.flag("link")
        params.done()
        both = dht == link
        document: Document = {"peer": peer.text}
        if dht or both:
            document["dht"] = to_json(await self._node.ping_dht(peer))
        if link or both:
            document["link"] = to_json(await self._node.ping_link(peer))
        return document

    async def _put(self, params: Params) -> Document:
        value = params.data("value_base64")
        salt = params.data("salt_base64")
        topic = params.text_or_none("topic")
        expected_seq = params.integer("expected_seq", 0, 2**63 - 1)
        params.done()
        if value is None:
            raise ApiFailure("bad-input", "put: value_base64 is missing")
        if salt is not None and topic is not None:
            raise ApiFailure("bad-input", "put: a record has a salt or a topic, not both")
        if expected_seq is not None and salt is None:
            raise ApiFailure("bad-input", "put: expected_seq is for a record with a salt: only such a one is replaced")
        document: Document = to_json(await self._node.put(value, salt=salt, topic=topic, expected_seq=expected_seq))
        return document

    async def _put_many(self, params: Params) -> Document:
        values = []
        for number, one in enumerate(params.objects("records", MAX_RECORDS), 1):
            value, salt, topic = one.data("value_base64"), one.data("salt_base64"), one.text_or_none("topic")
            one.done()
            if value is None:
                raise ApiFailure("bad-input", f"put-many: record {number}: value_base64 is missing")
            if salt is not None and topic is not None:
                raise ApiFailure("bad-input", f"put-many: record {number}: a record has a salt or a topic, not both")
            values.append(Value(value, salt, topic))
        params.done()
        receipts = await self._node.put_many(values)
        return {"ok": all(receipt.ok for receipt in receipts), "receipts": to_json(receipts)}

    async def _get(self, params: Params) -> Document:
        owner = params.peer_or_none("owner")
        salt = params.data("salt_base64")
        place = params.place("place")
        topic = params.text_or_none("topic")
        params.done()
        if topic is not None:
            place = topic_place(topic)
        if (place is None) == (salt is None):
            raise ApiFailure("bad-input", "get: give a salt (with the owner, if it is not this node), or a place")
        if salt is not None and owner is None:
            owner = self._node.identity
        outcome = await self._node.get(owner=owner, salt=salt, place=place)
        return get_document(outcome)

    async def _connect(self, params: Params) -> AsyncGenerator[Document, None]:
        peer = params.peer()
        timeout = params.seconds("timeout", 30.0)
        params.done()
        yield {"event": "connecting", "peer": peer.text}
        outcome = await self._node.connect(peer, timeout=timeout)
        yield {"event": "done", "peer": peer.text, **to_json(outcome)}

    async def _watch(self, params: Params) -> AsyncGenerator[Document, None]:
        peer = params.peer_or_none("peer")
        salt = params.data("salt_base64")
        place = params.place("place")
        count = params.integer("count", 1, 2**31)
        params.done()
        if (peer is None) == (place is None) or (place is not None and salt is not None):
            raise ApiFailure("bad-input", "watch: give a peer (with a salt, for another record of its), or a place")
        yield {"event": "watching", "peer": None if peer is None else peer.text}
        records = 0
        async with aclosing(self._node.watch(peer, salt=salt, place=place)) as changes:
            async for news in changes:
                yield news_document(news)
                records += news.event == "record"
                if count is not None and records >= count:
                    return

    async def _log(self, params: Params) -> AsyncGenerator[Document, None]:
        last = params.integer("last", 0, MAX_LOG_TAIL, 20)
        follow = params.flag("follow")
        level = params.text_or_none("level") or "info"
        params.done()
        if level not in LEVELS:
            raise ApiFailure("bad-input", f"log: level = {level!r} must be one of {', '.join(LEVELS)}")
        least = LEVELS.index(level)
        # Subscribed before the past is read: nothing falls between the two.
        async with aclosing(self._node.events()) as events:
            past = [event_document(event) for event in self._node.recent_events()]
            shown = [document for document in past if LEVELS.index(document["level"]) >= least]
            for document in shown[len(shown) - min(last or 0, len(shown)) :]:
                yield document
            if not follow:
                return
            async for event in events:
                document = event_document(event)
                if LEVELS.index(document["level"]) >= least:
                    yield document


def event_document(event: NodeEvent) -> Document:
    """An event of the node's: when, how grave, one sentence, its kind, and all its fields."""
    document: Document = to_json(event)
    return {
        "time": document.pop("time"),
        "level": document.pop("level", "info"),
        "kind": kebab(type(event).__name__),
        "text": document.pop("text"),
        "fields": document,
    }


def get_document(outcome: GetOutcome) -> Document:
    """What a read brought: each record with its value in base64, and as text where it is text."""
    document: Document = to_json(outcome)
    document["records"] = [{**record_to_json(record), **value_document(record.payload)} for record in outcome.records]
    return document


def news_document(news: RecordNews) -> Document:
    """What has changed of a record that is watched: of a peer record what it says, of another its value."""
    document: Document = to_json(news)
    if news.record is not None:
        said = news.peer()
        more = value_document(news.record.payload) if said is None else {"peer_record": said_document(said)}
        document["record"] = {**record_to_json(news.record), **more}
    return document


def said_document(said: PeerRecord) -> Document:
    """What a peer record says, as `find` tells it."""
    document: Document = to_json(
        {
            "direct": said.direct,
            "homes": said.homes,
            "capabilities": capability_names(said.capabilities),
            "status": said.status,
            "online_since": said.online_since,
            "changed": said.changed,
            "fingerprint": said.fingerprint,
        }
    )
    return document


def value_document(value: bytes) -> Document:
    """Bytes of an app, for programs in base64 and for people as text."""
    document: Document = {"value_base64": base64.b64encode(value).decode()}
    with suppress(UnicodeDecodeError):
        document["value_text"] = value.decode()
    return document
