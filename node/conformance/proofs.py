"""Checks of tokens: what is refused without one, and whose one holds for whom; and of limits on rates."""

from __future__ import annotations

from collections.abc import Callable

from dht.forwarding import registration_message
from dht.identity import NodeKey
from dht.records import Refusal
from dht.stun import binding_request, is_stun
from dht.wire import (
    DialBack,
    Dialed,
    Message,
    Ping,
    Pong,
    Put,
    PutMany,
    Register,
    Registered,
    RegisterFor,
    Request,
    Signal,
    Signaled,
    Stored,
    StoredMany,
    Watch,
    Watched,
)
from node.conformance.answers import note, owner
from node.conformance.suite import check
from node.conformance.target import PING_PAD, Failed, Speaker, Target, Unjudged

TOKEN_LIFE = 600.0
"""Seconds a token lives at most (docs/protocol.md, Tokens)."""

STUN_BURST = 200
"""STUN requests sent at once. UNSOURCED: five a second are enough for anybody who gathers addresses."""

MASSES = 4000
"""PINGs sent at once. UNSOURCED: far more than a second of anybody's honest work."""

Asks = dict[str, tuple[Callable[[Speaker, bytes], Request], type[Message]]]


def privileged(target: Target, by: Speaker) -> Asks:
    """The requests that need a token, each made for a speaker and a token, with the kind of their answer."""
    identity = owner(target)
    record = note(by.line, identity).raw
    expires = int(by.line.now()) + 600

    def register(speaker: Speaker, token: bytes) -> Request:
        said = registration_message(speaker.key.public, target.key, token, expires)
        return Register(speaker.rid(), token, False, identity.public.raw, expires, identity.sign(said))

    def register_for(speaker: Speaker, token: bytes) -> Request:
        said = registration_message(speaker.key.public, target.key, token, expires)
        signature = identity.sign(said)
        return RegisterFor(speaker.rid(), token, False, identity.public.raw, expires, signature, 100, 0)

    return {
        "PUT": (lambda s, token: Put(s.rid(), token, False, record, 600, False), Stored),
        "PUT_MANY": (lambda s, token: PutMany(s.rid(), token, False, [(record, 600)], False), StoredMany),
        "REGISTER": (register, Registered),
        "REGISTER_FOR": (register_for, Registered),
        "DIAL_BACK": (lambda s, token: DialBack(s.rid(), token, False, bytes(8), bytes(20)), Dialed),
        "SIGNAL": (lambda s, token: Signal(s.rid(), token, False, bytes(20), b"", bytes(40)), Signaled),
        "WATCH": (lambda s, token: Watch(s.rid(), token, False, bytes(20), None, 60), Watched),
    }


async def _all_refused(target: Target, speaker: Speaker, token: bytes, what: str) -> None:
    """Ask everything that needs a token with this one."""
    for name, (make, kind) in privileged(target, speaker).items():
        answer = await speaker.ask(make(speaker, token), kind)
        status = answer.verdicts[0][0] if isinstance(answer, StoredMany) else getattr(answer, "status", None)
        if status != Refusal.BAD_TOKEN:
            raise Failed(f"{name} with {what} got status {status}, not {Refusal.BAD_TOKEN.value} (BAD_TOKEN)")
        if len(answer.token) != 8:
            raise Failed(f"its refusal of {name} with {what} does not bring a token for the next try")


@check("token-missing", "Tokens", "what needs a token is refused with BAD_TOKEN without one; the reply brings one")
async def refuses_without_a_token(target: Target) -> None:
    """PUT, PUT_MANY, REGISTER, REGISTER_FOR, DIAL_BACK, a SIGNAL to be handed on, WATCH."""
    async with target.lines() as line:
        await _all_refused(target, target.speaker(line), b"", "no token")


@check("token-foreign", "Tokens", "a token that the node never gave is refused")
async def refuses_made_up_tokens(target: Target) -> None:
    """Random bytes, zeros, and one bit off."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        token = await speaker.prove()
        near = bytes((token[0] ^ 1,)) + token[1:]
        for what, other in (("eight random bytes", target.rng.randbytes(8)), ("zeros", bytes(8)), ("a bit off", near)):
            await _all_refused(target, speaker, other, f"a token of {what}")


@check("token-address", "Tokens", "a token holds only at the address it was given to, port included")
async def refuses_tokens_of_other_addresses(target: Target) -> None:
    """The same key on another port of ours."""
    async with target.lines() as line, target.lines() as elsewhere:
        speaker = target.speaker(line)
        token = await speaker.prove()
        await _all_refused(target, Speaker(target, elsewhere, speaker.key), token, "a token of another address")


@check("token-key", "Tokens", "a token holds only for the node key it was given to")
async def refuses_tokens_of_other_keys(target: Target) -> None:
    """Another key on the same port."""
    async with target.lines() as line:
        token = await target.speaker(line).prove()
        other = Speaker(target, line, NodeKey.from_secret(target.rng.randbytes(32)))
        await _all_refused(target, other, token, "a token of another node key")


@check("token-taken", "Tokens", "a token just given is taken")
async def takes_its_own_tokens(target: Target) -> None:
    """The other side of the coin: otherwise a node that refuses everything would pass."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.prove()
        for name, (make, kind) in privileged(target, speaker).items():
            answer = await speaker.ask(make(speaker, speaker.token), kind)
            if getattr(answer, "status", None) == Refusal.BAD_TOKEN:
                raise Failed(f"{name} with a token just given got BAD_TOKEN")


@check("token-expired", "Tokens", "a token is refused after ten minutes", thorough=True)
async def refuses_old_tokens(target: Target) -> None:
    """Takes those ten minutes."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        token = await speaker.prove()
        for _ in range(int(TOKEN_LIFE // 20) + 1):
            await line.pause(20.0)
            await speaker.ping()  # So that a router on the way keeps its mapping.
        await _all_refused(target, speaker, token, "a token of ten minutes ago")


@check("stun-rate", "STUN on the same port", "STUN answers to one address have a rate limit of their own")
async def limits_stun(target: Target) -> None:
    """They are the one exception to the rule that nobody unproven gets more than he sent."""
    async with target.lines() as line:
        for number in range(STUN_BURST):
            line.send(binding_request(number.to_bytes(12, "big")))
        answered = 0
        while (data := await line.receive(0.3)) is not None:
            answered += is_stun(data)
        if answered == 0:
            raise Unjudged("no answer at all: see the check `stun`, or another run of a moment ago used the rate up")
        if answered >= STUN_BURST // 2:
            raise Failed(f"{answered} of {STUN_BURST} STUN requests sent at once were answered")


@check("request-rate", "Tokens", "requests of one address in masses are not all answered", thorough=True)
async def limits_requests(target: Target) -> None:
    """Sends some hundred kilobytes at once."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.prove()
        sent = {}
        for _ in range(MASSES):
            request = Ping(speaker.rid(), speaker.token, False, bytes(PING_PAD))
            sent[request.rid] = request
            speaker.say(request)
        answered = 0
        while (message := await speaker.hear(0.5)) is not None:
            answered += isinstance(message, Pong) and message.rid in sent
        if answered >= MASSES:
            raise Failed(f"all of {MASSES} PINGs sent at once were answered")
        if not answered:
            raise Failed("after PINGs in masses it answers nothing at all")
