"""Links of sessions, for tests of what is below a node."""

from __future__ import annotations

from typing import Any, Final

from dht.identity import PublicKey
from node.adapters.lasting_channel import LastingChannel
from node.adapters.lasting_greeting import Greeted
from node.adapters.stream_link import StreamLink, link_over
from node.ports import LinkStats, Opened, Session
from node.protocols.continuity import Continuity

LINK_ID: Final = bytes(range(16))


async def linked(
    session: Session, peer: PublicKey, answer: bytes | None = None, *, timeout: float | None = None, **options: Any
) -> StreamLink:
    """Open the session's channel and make a link of it; whoever has an answer has dialled."""
    opened = await session.connect(peer, answer, timeout=timeout)
    return link_over(opened, peer, initiated=answer is not None, **options)


async def lasting_over(opened: Opened, peer: PublicKey, *, initiated: bool, **options: Any) -> StreamLink:
    """A link that can go on over another channel, as `Links.join` makes them; without a node around it."""
    greeted = Greeted(opened)
    channel = LastingChannel(Continuity(LINK_ID, initiated=initiated))
    if initiated:
        channel.begin(greeted)
    else:
        hello = await greeted.hello()
        assert hello is not None
        channel.accept(greeted, hello)
    stats = LinkStats(path=opened.path, phases=opened.phases)
    return StreamLink(channel, peer, initiated=initiated, stats=stats, **options)


async def lasting(
    session: Session, peer: PublicKey, answer: bytes | None = None, *, timeout: float | None = None, **options: Any
) -> StreamLink:
    """Open the session's channel and make a lasting link of it."""
    opened = await session.connect(peer, answer, timeout=timeout)
    return await lasting_over(opened, peer, initiated=answer is not None, **options)
