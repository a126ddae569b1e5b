"""Share a folder in a topic; others list what is there and fetch it, and go on where it stopped.

python docs/examples/file_share.py share holiday --dir photos
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from dht.errors import LocalError
from dht.identity import PublicKey
from node.config import NodeConfig
from node.node import Node
from node.node_member_events import Message, PeerJoined
from node.node_results import FileOffered
from node.node_topics import Topic

APP = "example-file-share/1"


def packed(**said: object) -> bytes:
    """A message's bytes: {"ask": "list"}, {"files": {name: size}}, {"ask": "send", "name": …}, {"error": …}."""
    return json.dumps(said).encode()


def unpacked(data: bytes) -> dict[str, object]:
    """A message, empty when it is none."""
    with contextlib.suppress(ValueError):
        if isinstance(said := json.loads(data), dict):
            return said
    return {}


def shared(folder: Path) -> dict[str, int]:
    """The folder's files by name: nothing of its folders, nothing hidden, no links out of it."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink() and path.name[0] != "."]
    return {path.name: path.stat().st_size for path in sorted(files)[:500]}


async def share(node: Node, topic: Topic, folder: Path) -> None:
    """Answer whoever asks, until interrupted."""
    print(f"sharing {len(shared(folder))} files in {topic.name} as {node.identity.text}", flush=True)
    sending: list[asyncio.Task[None]] = []
    async for event in topic:
        sending = [task for task in sending if not task.done()]
        if not isinstance(event, Message) or not event.direct:
            continue
        said = unpacked(event.data)
        if said.get("ask") == "list":
            await topic.send(event.author, packed(files=shared(folder)))
        elif said.get("ask") == "send" and said.get("name") in shared(folder):
            sending.append(asyncio.create_task(send(node, event.author, folder / str(said["name"]))))
        elif said.get("ask") == "send":
            await topic.send(event.author, packed(error="there is no such file"))


async def send(node: Node, peer: PublicKey, path: Path) -> None:
    """Send one file to one who asked for it."""
    outcome = await node.send_file(peer, path)
    print(f"{path.name} to {peer.short}: {'sent' if outcome.ok else outcome.reason}", flush=True)


async def offers(topic: Topic, seconds: float, wanted: str = "") -> dict[PublicKey, dict[str, int]]:
    """What members say they have, those that answer in time; or until one has what is wanted."""
    found: dict[PublicKey, dict[str, int]] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in topic:
                if isinstance(event, PeerJoined):
                    await topic.send(event.peer, packed(ask="list"))
                elif isinstance(event, Message) and isinstance(files := unpacked(event.data).get("files"), dict):
                    found[event.author] = {str(name): int(size) for name, size in files.items()}
                    if wanted in files:
                        break
    return found


async def fetch(node: Node, topic: Topic, name: str, folder: Path) -> None:
    """Ask one who has a file for it, and take it from nobody else."""
    having = [peer for peer, files in (await offers(topic, 60, name)).items() if name in files]
    if not having:
        sys.exit(f"error: nobody who answered has {name}")
    folder.mkdir(parents=True, exist_ok=True)

    def asked(offer: FileOffered) -> bool:
        return offer.peer == having[0] and offer.name == name

    receiving = asyncio.create_task(node.receive_files(folder, decide=asked, count=1))
    await asyncio.sleep(0)  # Ready before it comes.
    await topic.send(having[0], packed(ask="send", name=name))
    await receiving
    print(f"{folder / name} fetched from {having[0].text}", flush=True)


async def main() -> None:
    """Read the flags, join, do it."""
    flags = argparse.ArgumentParser()
    flags.add_argument("what", choices=["share", "list", "fetch"])
    flags.add_argument("topic")
    flags.add_argument("name", nargs="?", help="of the file to fetch")
    flags.add_argument("--dir", type=Path, default=Path())
    flags.add_argument("--secret")
    flags.add_argument("--data-dir", type=Path, default=Path("share-data"))
    flags.add_argument("--contact", action="append", default=[])
    flags.add_argument("--loopback", action="store_true")  # Several nodes on one machine.
    given = flags.parse_args()
    more: dict[str, Any] = {"listen": "127.0.0.1", "include_loopback": True} if given.loopback else {}
    config = NodeConfig(data_dir=given.data_dir, port=0, contacts=tuple(given.contact), **more)
    async with Node(config) as node, await node.topics.join(given.topic, secret=given.secret, app=APP) as topic:
        if given.what == "share":
            await share(node, topic, given.dir)
        elif given.what == "fetch" and given.name:
            await fetch(node, topic, given.name, given.dir)
        else:
            for peer, files in (await offers(topic, 15)).items():
                for name, size in files.items():
                    print(f"{size:>12} {name}  ({peer.text})", flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (LocalError, KeyboardInterrupt) as error:
        sys.exit(f"ended: {error or 'interrupted'}")
