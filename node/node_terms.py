"""What an offer and its answer say about relays, and the circuits that follow from both.

Decides which circuits are tried, in which order: one relay that both ends reach, the nearest first; two or three where
no single one is reached by both. Refuses to know how circuits are joined.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from dht.constants import KEY_BYTES
from dht.errors import DecodeError
from dht.identity import PublicKey
from node.node_relays import UNKNOWN_RTT, KnownRelay, RelayBook
from node.ports import Extras
from node.protocols.circuit import MAX_RELAYS
from node.protocols.circuit_relays import DISTANCE_STEP, UNKNOWN_DISTANCE, ProposedRelay, ways_of
from node.protocols.circuit_seal import CircuitKeys, circuit_keys, circuit_public
from node.protocols.offer import Extra

SECRET_BYTES: Final = KEY_BYTES

Way = tuple[ProposedRelay, ...]
"""Relays in order from the end whose offer it was."""


class NoRelay(DecodeError):
    """Raised when what both sides said holds no relay that both reach."""


@dataclass(slots=True)
class MeshTerms:
    """What one side said, and the secret behind it."""

    extras: Extras
    secret: bytes
    ways: tuple[Way, ...] = ()
    """The answering side's decision; empty in an offer."""


def offer_terms(rng: random.Random, relays: Sequence[KnownRelay]) -> MeshTerms:
    """The terms of an offer that proposes `relays`. `rng` makes the circuit key."""
    return _terms(rng, [(_proposed(one),) for one in relays[:MAX_RELAYS]], decided=False)


def answer_terms(
    rng: random.Random,
    own: PublicKey,
    peer: PublicKey,
    remote: Extras,
    book: RelayBook,
    families: frozenset[int],
    reserved: tuple[PublicKey, ...],
) -> MeshTerms:
    """The terms of an answer to an offer that said `remote`: the circuits, in order. Empty where it wants none."""
    try:
        theirs = [one for way in _said_ways(remote) for one in way]
        _key_of(remote)
    except DecodeError:
        return MeshTerms((), b"")
    theirs = [one for one in theirs if one.relay.identity not in (own, peer)]
    reached = [one for one in theirs if book.reaches(one.relay, families) and not book.failing(one.relay.identity)]
    # What it proposes tells over what it reaches relays; where it proposes nothing, all is hoped for.
    its_families = frozenset().union(*(one.relay.families for one in theirs)) or frozenset({4, 6})
    known = book.choose(
        2 * MAX_RELAYS,
        families=families,
        without=(own, peer, *(one.relay.identity for one in theirs)),
        first=reserved,
    )
    mine = [_proposed(one) for one in known]
    common: list[ProposedRelay] = sorted(reached, key=lambda one: _cost(one, book))
    added = [replace(one, distance=UNKNOWN_DISTANCE) for one in mine if one.relay.families & its_families]
    ways: list[Way]
    if common:
        # One of ours last: theirs may all be dead, and we would not know.
        ways = [(one,) for one in (*common[: MAX_RELAYS - bool(added)], *added)]
    elif theirs and mine and families:
        middles = [_proposed(one) for one in book.all() if one.contact.identity not in (own, peer)]
        ways = _long_ways(theirs, mine, middles) or [(one,) for one in added]
    else:
        # Whom no family gets out for is linked with its relays already, and others reach those.
        ways = [(one,) for one in added]
    return _terms(rng, _within(ways), decided=True)


def agree(
    terms: MeshTerms, own: PublicKey, peer: PublicKey, remote: Extras, *, initiated: bool
) -> list[tuple[Way, CircuitKeys]]:
    """The circuits to try with their keys, from what both sides said. Raises `DecodeError` with what is missing, of
    which `NoRelay` may pass."""
    if not terms.secret:
        raise DecodeError("relays", "the peer's offer asks for no circuit")
    theirs = _key_of(remote)
    ways = _said_ways(remote) if initiated else list(terms.ways)
    if not ways:
        raise NoRelay("relays", "neither side knows a relay that the other could reach")
    if any(one.relay.identity in (own, peer) for way in ways for one in way):
        raise DecodeError("relays", "an end of the link is named as its relay")
    ends = (own, peer) if initiated else (peer, own)
    return [
        (way, circuit_keys(terms.secret, theirs, *ends, tuple(one.relay.identity for one in way), initiated=initiated))
        for way in ways
    ]


def _terms(rng: random.Random, ways: Sequence[Way], *, decided: bool) -> MeshTerms:
    secret = rng.randbytes(SECRET_BYTES)
    extras: list[tuple[int, bytes]] = [(Extra.CIRCUIT_KEY, circuit_public(secret))]
    for way in ways:
        for at, one in enumerate(way):
            extras.append((Extra.RELAY, replace(one, continues=at < len(way) - 1).to_bytes()))
    return MeshTerms(tuple(extras), secret, tuple(ways) if decided else ())


def _proposed(one: KnownRelay) -> ProposedRelay:
    return ProposedRelay(one.contact, one.distance)


def _said_ways(remote: Extras) -> list[Way]:
    return ways_of([ProposedRelay.from_bytes(value) for tag, value in remote if tag == Extra.RELAY])


def _key_of(remote: Extras) -> bytes:
    keys = [value for tag, value in remote if tag == Extra.CIRCUIT_KEY]
    if len(keys) != 1 or len(keys[0]) != KEY_BYTES:
        raise DecodeError("circuit key", f"{len(keys)} of them, or not of {KEY_BYTES} bytes: the peer has no relaying")
    return keys[0]


def _cost(one: ProposedRelay, book: RelayBook) -> float:
    """Seconds through it, from end to end."""
    known = book.get(one.relay.identity)
    ours = UNKNOWN_RTT if known is None else known.cost()
    return ours + (UNKNOWN_RTT if one.distance == UNKNOWN_DISTANCE else one.distance * DISTANCE_STEP)


def _long_ways(theirs: list[ProposedRelay], mine: list[ProposedRelay], middles: list[ProposedRelay]) -> list[Way]:
    """Ways from a relay that only the other end reaches to one that we reach, by a third one if they do not meet."""
    for near in theirs:
        for far in mine:
            if near.relay.families & far.relay.families:
                return [(near, far)]
    for near in theirs:
        for middle in middles:
            for far in mine:
                before, after = near.relay.families, far.relay.families
                between = middle.relay.identity not in (near.relay.identity, far.relay.identity)
                if between and middle.relay.families & before and middle.relay.families & after:
                    return [(near, middle, far)]
    return []


def _within(ways: list[Way]) -> list[Way]:
    """As many as a description may name."""
    kept: list[Way] = []
    for way in ways:
        if sum(map(len, kept)) + len(way) <= MAX_RELAYS:
            kept.append(way)
    return kept
