"""Checks of what a server does for others: forwards signals, dials back, tells of newer records."""

from __future__ import annotations

from typing import TypeVar

from dht.forwarding import registration_message
from dht.identity import IdentityKey
from dht.records import Refusal, peer_place
from dht.wire import (
    DialBack,
    Dialed,
    Get,
    Message,
    Notice,
    Noticed,
    Probe,
    Register,
    Registered,
    Signal,
    Signaled,
    Value,
    Watch,
    Watched,
)
from node.conformance.answers import note, owner, put
from node.conformance.suite import check
from node.conformance.target import Failed, Speaker, Target, Unjudged

M = TypeVar("M", bound=Message)

FORWARD_PATIENCE = 4.0
"""Seconds a signal may take that the peer has acknowledged. UNSOURCED"""


async def registered(speaker: Speaker, identity: IdentityKey, **changed: object) -> Registered:
    """Register an identity; `changed` are fields to be said otherwise than they were signed."""
    token = await speaker.prove()
    expires = int(speaker.line.now()) + 600
    said = registration_message(speaker.key.public, speaker.target.key, token, expires)
    fields: dict[str, object] = {
        "owner": identity.public.raw, "expires": expires, "signature": identity.sign(said), **changed
    }  # fmt: skip
    request = Register(speaker.rid(), token, False, **fields)  # type: ignore[arg-type]
    return await speaker.ask(request, Registered)


@check(
    "register", "Register, signal, answer", "REGISTER is taken with the owner's signature over keys, token and expiry"
)
async def registers(target: Target) -> None:
    """And refused where anything of that differs."""
    async with target.lines() as line:
        speaker, identity = target.speaker(line), owner(target)
        answer = await registered(speaker, identity)
        if answer.status == Refusal.FULL:
            raise Unjudged("it has as many forwarding entries as it takes")
        if answer.status != Refusal.NONE or not answer.lifetime:
            raise Failed(f"a registration signed rightly got status {answer.status} for {answer.lifetime} s")
        token, other = speaker.token, owner(target)
        expires = int(line.now()) + 600
        wrong: dict[str, dict[str, object]] = {
            "another owner": {"owner": other.public.raw},
            "another expiry": {"expires": expires + 7},
            "a signature over another token": {
                "signature": identity.sign(registration_message(speaker.key.public, target.key, bytes(8), expires)),
                "expires": expires,
            },
            "a signature for another home node": {
                "signature": identity.sign(registration_message(speaker.key.public, bytes(32), token, expires)),
                "expires": expires,
            },
            "a signature for another node": {
                "signature": identity.sign(registration_message(bytes(32), target.key, token, expires)),
                "expires": expires,
            },
        }
        for what, changed in wrong.items():
            status = (await registered(speaker, identity, **changed)).status
            if status != Refusal.BAD_SIGNATURE:
                raise Failed(f"a registration with {what} got status {status}, not BAD_SIGNATURE")
        long = int(line.now()) + 10**6
        said = registration_message(speaker.key.public, target.key, speaker.token, long)
        status = (await registered(speaker, identity, expires=long, signature=identity.sign(said))).status
        if status == Refusal.NONE:
            raise Failed("it took a registration that may be shown for eleven days")


@check(
    "signal", "Register, signal, answer", "a SIGNAL reaches the registered peer; NONE comes after the peer's own word"
)
async def forwards(target: Target) -> None:
    """To a peer and to nobody; and the answer under the reply handle."""
    async with target.lines() as line, target.lines() as far:
        caller, callee, identity = target.speaker(line), target.speaker(far), owner(target)
        await caller.prove()
        status = (await _signal(caller, target.rng.randbytes(20), b"")).status
        if status != Refusal.NOT_REGISTERED:
            raise Failed(f"a SIGNAL to nobody got status {status}, not {Refusal.NOT_REGISTERED.value} (NOT_REGISTERED)")
        if (await registered(callee, identity)).status != Refusal.NONE:
            raise Unjudged("it takes no registration: see the check `register`")
        handle, blob = target.rng.randbytes(20), target.rng.randbytes(300)
        request = Signal(caller.rid(), caller.token, False, peer_place(identity.public), handle, blob)
        caller.say(request)
        handed = await _next(callee, Signal)
        if handed is None:
            raise Failed("a SIGNAL did not reach the peer that had registered")
        if (handed.recipient, handed.reply, handed.blob) != (request.recipient, handle, blob):
            raise Failed("a SIGNAL reached the peer with other contents than it was sent with")
        early = await caller.hear(0.2)
        if isinstance(early, Signaled) and early.status == Refusal.NONE:
            raise Failed("it said that the peer took the SIGNAL before the peer had said so")
        callee.say(Signaled(handed.rid, b"", Refusal.NONE))
        answer = await _next(caller, Signaled)
        if answer is None or answer.status != Refusal.NONE:
            raise Failed(f"the peer took the SIGNAL, and its sender was told {answer and answer.status}")
        await callee.prove()
        callee.say(Signal(callee.rid(), callee.token, False, handle, b"", b"answer"))
        back = await _next(caller, Signal)
        if back is None or back.blob != b"answer":
            raise Failed("the answer under the reply handle did not come back")


@check("dial-back", "Dial back", "DIAL_BACK brings a PROBE with the nonce from a port that was never written to")
async def dials_back(target: Target) -> None:
    """A port that lets nobody in unasked cannot tell."""
    async with target.lines() as line:
        speaker, nonce = target.speaker(line), target.rng.randbytes(8)
        token = await speaker.prove()
        request = DialBack(speaker.rid(), token, False, nonce, bytes(20))
        speaker.say(request)
        dialed, probe, elsewhere = None, None, False
        while (message := await speaker.hear()) is not None and (dialed is None or probe is None):
            if isinstance(message, Dialed):
                dialed = message
            elif isinstance(message, Probe):
                probe, elsewhere = message, not line.from_target()
            if dialed is not None and probe is not None:
                break
        if dialed is None:
            raise Failed("no answer to DIAL_BACK")
        if dialed.status == Refusal.RATE_LIMITED:
            raise Unjudged("it dials back no more for now")
        if dialed.status != Refusal.NONE:
            raise Failed(f"DIAL_BACK with a token got status {dialed.status}")
        if probe is None:
            raise Unjudged("no PROBE came: our router may let nothing in that was not asked for")
        if probe.nonce != nonce:
            raise Failed("its PROBE has another nonce than the one asked with")
        if not elsewhere:
            raise Failed("its PROBE came from the very address we had written to: that proves nothing")


@check("watch", "Watch", "a newer record is told to whoever watches its place, until that is ended")
async def tells(target: Target) -> None:
    """Told once while it is acknowledged, not told of a refresh, nor after the end."""
    async with target.lines() as line, target.lines() as far:
        watcher, publisher, by = target.speaker(line), target.speaker(far), owner(target)
        await watcher.prove()
        await publisher.prove()
        first = note(far, by)
        stored = await put(publisher, first.raw)
        if stored.status != Refusal.NONE:
            raise Unjudged(f"it takes no record of ours now: status {stored.status}")
        value = await watcher.ask(Get(watcher.rid(), watcher.token, False, first.place, True), Value)
        assert isinstance(value, Value)
        answer = await watcher.ask(Watch(watcher.rid(), watcher.token, False, first.place, 1, 100), Watched)
        if answer.status in (Refusal.FULL, Refusal.PREFIX_QUOTA):
            raise Unjudged("it has as many subscriptions as it takes")
        if answer.status != Refusal.NONE or not 0 < answer.lifetime <= 100:
            raise Failed(f"a WATCH for 100 s got status {answer.status} and {answer.lifetime} s")
        await put(publisher, first.raw)
        if await _next(watcher, Notice, 0.3) is not None:
            raise Failed("it told of a record that was only stored again")
        second = note(far, by, seq=2, payload=b"newer")
        await put(publisher, second.raw)
        notice = await _next(watcher, Notice)
        if notice is None:
            raise Failed("a newer record was stored, and no NOTICE came")
        if notice.record != second.raw:
            raise Failed("its NOTICE has other bytes than the record that was stored")
        watcher.say(Noticed(notice.rid, b"", Refusal.NONE))
        again = await _next(watcher, Notice, 3.0)
        if again is not None and again.rid != notice.rid:
            raise Failed("it told of one record a second time, though that was acknowledged")
        await watcher.ask(Watch(watcher.rid(), watcher.token, False, first.place, 2, 0), Watched)
        await put(publisher, note(far, by, seq=3, payload=b"newest").raw)
        if await _next(watcher, Notice, 1.5) is not None:
            raise Failed("it told of a record after the subscription had been ended")


async def _signal(speaker: Speaker, recipient: bytes, reply: bytes) -> Signaled:
    return await speaker.ask(Signal(speaker.rid(), speaker.token, False, recipient, reply, bytes(40)), Signaled)


async def _next(speaker: Speaker, kind: type[M], timeout: float = FORWARD_PATIENCE) -> M | None:
    """The next message of a kind; others are passed over."""
    while (message := await speaker.hear(timeout)) is not None:
        if isinstance(message, kind):
            return message
    return None
