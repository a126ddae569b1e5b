"""What runs on a machine of the laboratory: what `rookery run` runs, and ways to end a link and to mislead the node.

Decides nothing about the node; its settings are environment variables, as for every node. Links are ended over a socket
of its own, `control.sock` beside the node's data, for people have no command for that: a link ends by itself. By the
same way a node forgets where a peer was, or remembers that it was where nobody is.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from dht.contact import parse_contact
from dht.identity import PublicKey
from node.cli_exit import Terminated
from node.cli_run import Speaker, serve
from node.cli_session import run_async
from node.config import NodeConfig
from node.node import Node
from node.ports import Hint

CONTROL: Final = "control.sock"

FINGERPRINT_BYTES: Final = 32

AGAIN: Final = 2.0
"""Seconds for a link that is there to be given. UNSOURCED"""


def main(arguments: Sequence[str]) -> int:
    """Run the node of the settings in the environment until SIGTERM."""
    config = NodeConfig.load({}, os.environ)
    with suppress(Terminated):
        run_async(lambda: serve(config, Speaker(True, "debug"), control))
    return 0


@asynccontextmanager
async def control(node: Node) -> AsyncIterator[dict[str, Any]]:
    """Listen for `{"disconnect": PEER}`, which is answered when no link with the peer is left, for `{"forget": PEER}`,
    and for `{"mislead": PEER, "to": KEY@HOST:PORT}`."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = json.loads(await reader.readline())
        whereabouts = node.inside.outside.whereabouts
        if "forget" in said:
            whereabouts.forget(PublicKey.parse(said["forget"]))
        if "mislead" in said:
            there = Hint((parse_contact(said["to"]),), (), bytes(FINGERPRINT_BYTES))
            whereabouts.note(PublicKey.parse(said["mislead"]), there, "host")
        peer = PublicKey.parse(said["disconnect"]) if "disconnect" in said else None
        if any(link.peer == peer for link in node.links()):
            assert peer is not None
            outcome = await node.connect(peer, timeout=AGAIN)
            if outcome.connected:
                await outcome.link.close()
        writer.write(b"{}\n")
        writer.close()

    path = node.status().data_dir / CONTROL
    server = await asyncio.start_unix_server(take, path)
    try:
        yield {"control": str(path)}
    finally:
        server.close()
