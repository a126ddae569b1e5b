"""Nodes that break one rule each, continued: of watches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from dht.notices import Notices
from dht.records import Kind, SignedRecord
from dht.wire import Notice, Watch
from tests.node.conformance_doubles import double
from tests.node.conformance_lab import Breakage


@double(
    "it tells whoever says WATCH, proven or not",
    "watch-address",
    "amplification",
    "token-missing",
    "token-foreign",
    "token-address",
    "token-key",
    "token-expired",
)
def _(engine: Any) -> None:
    real = engine._responder.asking

    def asking(request: Any, *rest: Any) -> Any:
        who = real(request, *rest)
        who.proven = who.proven or isinstance(request, Watch)
        return who

    engine._responder.asking = asking


def _all(engine: Any) -> list[Any]:
    return [each for place in engine._notices._subscriptions._places.values() for each in place.values()]


def _watched(before: Any = None, after: Any = None) -> Breakage:
    """Do something to each subscription before or after a WATCH is answered."""

    def breakage(engine: Any) -> None:
        real = engine._notices.on_watch

        def on_watch(*args: Any) -> Any:
            for each in _all(engine) if before else ():
                setattr(each, *before)
            answer = real(*args)
            for each in _all(engine) if after else ():
                setattr(each, *after)
            return answer

        engine._notices.on_watch = on_watch

    return breakage


double("it sends a NOTICE for each WATCH", "watch-behind")(_watched(before=("told_at", -math.inf)))
double("it tells nobody what he has missed", "watch-behind")(_watched(after=("queued", math.inf)))
double("its watches never end", "watch-lifetime")(_watched(after=("expires", math.inf)))


@double("it grants watches of any life", "watch-lifetime")
def _(engine: Any) -> None:
    engine._notices._config = replace(engine._notices._config, watch_lifetime=1e9)


@double("it tells of each version at once", "watch-gap")
def _(engine: Any) -> None:
    real = engine._notices.on_stored

    def on_stored(record: SignedRecord, now: float) -> None:
        for each in _all(engine):
            each.told_at = -math.inf
        real(record, now)

    engine._notices.on_stored = on_stored


@double("it tells of announcements", "watch-topic")
def _(engine: Any) -> None:
    notices: Notices = engine._notices
    real = notices.on_stored

    def on_stored(record: SignedRecord, now: float) -> None:
        if record.kind is Kind.TOPIC:
            for each in notices._subscriptions.at(record.place, now):
                engine.request(each.contact, notices, Notice, (record.raw,), now, tag=(each, record.seq))
        real(record, now)

    notices.on_stored = on_stored  # type: ignore[method-assign]


@double("it takes any number of watches", "watch-bounds")
def _(engine: Any) -> None:
    subscriptions = engine._notices._subscriptions
    many = 10**9
    subscriptions._config = replace(
        subscriptions._config, max_watches=many, watch_source_quota=many, watch_prefix_quota=many
    )


@double("it tells the silent for ever", "watch-silent")
def _(engine: Any) -> None:
    real = engine._notices.on_failure

    def on_failure(pending: Any, now: float) -> None:
        pending.tag[0].misses = 0
        real(pending, now)

    engine._notices.on_failure = on_failure
