"""Whatever a peer says on a link's channel: a typed refusal, a typed end, or nothing; it never raises."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dht.errors import DecodeError
from dht.identity import IdentityKey
from node.adapters.memory_link import MemoryChannelPair
from node.node_events import EventLog
from node.node_links import Links
from node.ports import LinkError, LinkPath, Opened
from node.protocols.continuity import Hello, decode_control
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run
from simulations.network import Network
from simulations.randomness import Streams

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "continuity.json").read_text())
SEEDS = [bytes.fromhex(vector["raw"]) for part in ("valid", "invalid") for vector in VECTORS[part]]
PEER = IdentityKey.from_seed(bytes(32)).public

MUTANTS = st.tuples(st.sampled_from(SEEDS), st.integers(0, 40), st.binary(max_size=6), st.integers(0, 40)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[3] :]
)
MESSAGES = st.one_of(st.sampled_from(SEEDS), MUTANTS, st.binary(max_size=60))


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_any_bytes_are_a_control_message_or_refused(raw: bytes) -> None:
    try:
        said = decode_control(raw)
    except DecodeError:
        return
    if said is not None and isinstance(said[1], Hello):
        assert said[1].to_bytes()[8:] == raw[8:]


@settings(max_examples=60, deadline=None)
@given(st.lists(MESSAGES, max_size=8), st.booleans(), st.booleans())
def test_a_peer_may_say_anything_on_a_channel(messages: list[bytes], initiated: bool, resumes: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: failures.append(context))
        links = Links(EventLog(), loop.time, loop.time, lambda size: bytes(range(size)))
        for _ in range(2 if resumes else 1):
            pair = MemoryChannelPair()
            pair.far.start()
            for message in messages:
                pair.far.send(message)
            try:
                link = await links.join(PEER, Opened(pair.near, LinkPath()), initiated=initiated)
                await asyncio.sleep(0.5)
                assert link.peer == PEER
            except LinkError:
                continue
        await asyncio.sleep(60)
        await links.close()

    failures: list[object] = []
    run(main(), Network(EventQueue(), Streams(1), latency=Constant(0.01)))
    assert failures == []
