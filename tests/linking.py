"""Links of sessions, for tests of what is below a node."""

from __future__ import annotations

from typing import Any

from dht.identity import PublicKey
from node.adapters.stream_link import StreamLink, link_over
from node.ports import Session


async def linked(
    session: Session, peer: PublicKey, answer: bytes | None = None, *, timeout: float | None = None, **options: Any
) -> StreamLink:
    """Open the session's channel and make a link of it; whoever has an answer has dialled."""
    opened = await session.connect(peer, answer, timeout=timeout)
    return link_over(opened, peer, initiated=answer is not None, **options)
