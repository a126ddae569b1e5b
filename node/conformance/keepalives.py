"""Checks of keep-alives that lengthen: REGISTER_FOR, and the AGAIN that comes unasked."""

from __future__ import annotations

from dht.constants import MAX_AGAIN, MAX_ENTRY
from dht.forwarding import registration_message
from dht.identity import IdentityKey
from dht.records import Refusal, peer_place
from dht.wire import Again, Message, Registered, RegisterFor, Signal, encode_message
from node.conformance.answers import owner
from node.conformance.suite import check
from node.conformance.target import Failed, Speaker, Target, Unjudged

ORDINARY = 90
"""Seconds that an entry lives at the least (docs/protocol.md, Register, signal, answer)."""

LATE = 3.0
"""Seconds after its time within which an AGAIN counts (docs/protocol.md, as above)."""

MANY = 120
"""Entries that want their AGAIN at once. UNSOURCED: ten a second go to one address, and a handful more at once."""

SILENCE = 200.0
"""Seconds of silence that an entry has to outlive: more than it would without the wish, less than a token lives."""


def register_for(
    speaker: Speaker, identity: IdentityKey, *, lifetime: int, again: int, signature: bytes | None = None
) -> RegisterFor:
    """A request for an entry, signed for the token at hand."""
    expires = int(speaker.line.now()) + 600
    said = registration_message(speaker.key.public, speaker.target.key, speaker.token, expires)
    signed = identity.sign(said) if signature is None else signature
    return RegisterFor(
        speaker.rid(), speaker.token, False, identity.public.raw, expires, signed, lifetime, again
    )  # fmt: skip


async def granted(speaker: Speaker, identity: IdentityKey, *, lifetime: int = ORDINARY, again: int = 0) -> RegisterFor:
    """Have an entry made; the request that was granted."""
    request = register_for(speaker, identity, lifetime=lifetime, again=again)
    answer = await speaker.ask(request, Registered)
    if answer.status == Refusal.FULL:
        raise Unjudged("it has as many forwarding entries as it takes")
    if answer.status != Refusal.NONE:
        raise Failed(f"a REGISTER_FOR signed rightly got status {answer.status}")
    return request


@check(
    "register-for",
    "Register, signal, answer",
    "REGISTER_FOR is granted the life it wants, from 90 to 390 s, or is refused",
)
async def registers_for(target: Target) -> None:
    """Too little, enough, too much; and wrongly signed, or of too long a silence."""
    async with target.lines() as line:
        speaker, identity = target.speaker(line), owner(target)
        await speaker.prove()
        wrong = register_for(speaker, identity, lifetime=ORDINARY, again=0, signature=bytes(64))
        status = (await speaker.ask(wrong, Registered)).status
        if status not in (Refusal.BAD_SIGNATURE, Refusal.WEAK_KEY):
            raise Failed(f"a REGISTER_FOR that nobody signed got status {status}, not BAD_SIGNATURE")
        for wanted in (0, ORDINARY, 215, MAX_ENTRY, 10**6):
            answer = await speaker.ask(register_for(speaker, identity, lifetime=wanted, again=0), Registered)
            if answer.status == Refusal.FULL:
                raise Unjudged("it has as many forwarding entries as it takes")
            if answer.status != Refusal.NONE:
                raise Failed(f"a REGISTER_FOR of {wanted} s got status {answer.status}")
            right = min(max(wanted, ORDINARY), MAX_ENTRY)
            if answer.lifetime not in (right, ORDINARY):
                raise Failed(f"a REGISTER_FOR of {wanted} s was granted {answer.lifetime} s, not {right}")
            if answer.lifetime != right:
                raise Unjudged("it is half full of forwarding entries and grants 90 s")
        long = register_for(speaker, identity, lifetime=ORDINARY, again=MAX_AGAIN + 1)
        await speaker.silent(f"a REGISTER_FOR with an AGAIN after {MAX_AGAIN + 1} s", speaker.seal(long))


@check("again", "Register, signal, answer", "AGAIN comes once, unasked, after the seconds that REGISTER_FOR named")
async def says_again(target: Target) -> None:
    """Under its request id, from the address asked, and no longer than what asked for it."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.prove()
        request = await granted(speaker, owner(target), again=2)
        began = line.now()
        said = await _again(speaker, 2 + LATE)
        if said is None:
            raise Failed("no AGAIN came when its time was over")
        if line.now() - began < 1.0:
            raise Failed(f"AGAIN came after {line.now() - began:.1f} s of 2")
        if said.rid != request.rid:
            raise Failed("its AGAIN has another request id than the REGISTER_FOR")
        if not line.from_target():
            raise Failed("its AGAIN came from another address than the one registered at: no filter is proved by that")
        if len(encode_message(said)) > len(encode_message(request)):
            raise Failed("its AGAIN is longer than what asked for it")
        if await _again(speaker, LATE) is not None:
            raise Failed("it said AGAIN twice for one REGISTER_FOR")


@check("again-latest", "Register, signal, answer", "the latest REGISTER_FOR of an entry replaces the one before")
async def says_it_of_the_latest(target: Target) -> None:
    """Also one that wants no AGAIN at all."""
    async with target.lines() as line:
        speaker, identity, quiet = target.speaker(line), owner(target), owner(target)
        await speaker.prove()
        await granted(speaker, quiet, again=1)
        await granted(speaker, quiet, again=0)
        first = await granted(speaker, identity, again=1)
        latest = await granted(speaker, identity, again=2)
        heard = []
        while (said := await _again(speaker, 2 + LATE)) is not None:
            heard.append(said.rid)
        if first.rid in heard:
            raise Failed("it said AGAIN for a REGISTER_FOR that another one had replaced")
        if heard and heard != [latest.rid]:
            raise Failed("it said AGAIN for an entry that wanted none any more")
        if not heard:
            raise Failed("no AGAIN came for the latest REGISTER_FOR")


@check("again-rate", "Register, signal, answer", "many AGAINs due at once do not all go to one address")
async def bundles_no_flood(target: Target) -> None:
    """So that nobody has a home node send in masses what was asked for one by one."""
    async with target.lines() as line:
        speaker = target.speaker(line)
        await speaker.prove()
        began = line.now()
        for _ in range(MANY):
            left = max(1, round(4 - (line.now() - began)))
            await granted(speaker, owner(target), again=left)
        heard = 0
        while await _again(speaker, 4 + LATE) is not None:
            heard += 1
        if heard == 0:
            raise Failed("no AGAIN came at all")
        if heard > MANY * 3 // 4:
            raise Failed(f"{heard} AGAINs of {MANY} that were due at once went to one address")


@check(
    "entry-lives",
    "Register, signal, answer",
    "an entry takes signals for as long as was granted, in silence",
    thorough=True,
)
async def keeps_entries(target: Target) -> None:
    """Takes some three minutes, in which nothing is said but the AGAIN at their end."""
    async with target.lines() as line, target.lines() as far:
        callee, identity = target.speaker(line), owner(target)
        await callee.prove()
        request = register_for(callee, identity, lifetime=MAX_ENTRY, again=int(SILENCE))
        answer = await callee.ask(request, Registered)
        if answer.status != Refusal.NONE or answer.lifetime < SILENCE + 30:
            raise Unjudged(f"it granted {answer.lifetime} s: see the check `register-for`")
        said = await _again(callee, SILENCE + LATE)
        if said is None:
            raise Unjudged("no AGAIN came: a router on the way may have forgotten us meanwhile")
        caller = target.speaker(far)
        await caller.prove()
        caller.say(Signal(caller.rid(), caller.token, False, peer_place(identity.public), b"", b"late"))
        message: Message | None = None
        while (message := await callee.hear(4.0)) is not None and not isinstance(message, Signal):
            continue
        if message is None:
            raise Failed(
                f"a SIGNAL did not reach a peer that had registered for {answer.lifetime} s, {SILENCE:.0f} s later"
            )


async def _again(speaker: Speaker, seconds: float) -> Again | None:
    """The next AGAIN within so many seconds; others are passed over."""
    end = speaker.line.now() + seconds
    while (left := end - speaker.line.now()) > 0:
        message = await speaker.hear(left)
        if isinstance(message, Again):
            return message
        if message is None:
            return None
    return None
