"""A chat over a topic: whoever runs this with the same room hears what the others type.

python docs/examples/chat.py --name alice lobby
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
from node.cli_topics import typed_lines
from node.config import NodeConfig
from node.node import Node
from node.node_member_events import EventsLost, Message, PeerJoined, PeerLeft
from node.node_topics import Topic

APP = "example-chat/1"


def printable(text: str) -> str:
    """What a stranger wrote, without what steers a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def show(line: str) -> None:
    """One line, at once."""
    print(line, flush=True)


class Chat:
    """One person in one room. A message is JSON: {"name": …, "text": …}."""

    def __init__(self, topic: Topic, name: str) -> None:
        self.topic = topic
        self.name = name
        self.names: dict[str, str] = {}

    def who(self, peer: str) -> str:
        """The name somebody gives itself is its own claim: the key's first characters stand beside it."""
        return f"{self.names.get(peer, '?')} [{peer[:8]}]"

    async def listen(self) -> None:
        """Show what happens until the topic ends."""
        async for event in self.topic:
            match event:
                case PeerJoined():
                    show(f"* connected with {self.who(event.peer.text)}")
                    await self.topic.send(event.peer, self.packed(""))  # Tells it our name.
                case PeerLeft():
                    show(f"* {self.who(event.peer.text)} is gone ({event.reason})")
                case EventsLost():
                    show(f"* {event.count} lines were missed")
                case Message():
                    self.hear(event)

    def hear(self, message: Message) -> None:
        """Show one message; whatever does not fit is not shown."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(message.data)
            name, text = printable(str(said["name"]))[:32], printable(str(said["text"]))
            self.names[message.author.text] = name
            if text:
                show(f"{self.who(message.author.text)}{' to you' if message.direct else ''}: {text}")

    def packed(self, text: str) -> bytes:
        """A message's bytes."""
        return json.dumps({"name": self.name, "text": text}).encode()

    async def say(self, line: str) -> bool:
        """Do what was typed; false when that was to end."""
        words = line.split(maxsplit=2)
        if line == "/quit":
            return False
        if line == "/who":
            show("* " + (", ".join(self.who(one.peer.text) for one in self.topic.peers) or "nobody yet"))
        elif words[0] == "/to" and len(words) == 3:
            matching = [peer for peer in self.topic.members if peer.text.startswith(words[1])]
            if len(matching) != 1:
                show(f"* {len(matching)} members have a key that begins with {words[1]}")
            elif not (outcome := await self.topic.send(matching[0], self.packed(words[2]))).sent:
                show(f"* not sent: {outcome.delivery.value} {outcome.detail}")
        elif not (told := await self.topic.broadcast(self.packed(line))).reached:
            show(f"* not said: {told.detail or 'everybody is too slow'}")
        return True


async def main() -> None:
    """Read the flags, join, talk."""
    flags = argparse.ArgumentParser()
    flags.add_argument("room")
    flags.add_argument("--name", default="somebody")
    flags.add_argument("--secret")
    flags.add_argument("--data-dir", type=Path, default=Path("chat-data"))
    flags.add_argument("--contact", action="append", default=[])
    flags.add_argument("--loopback", action="store_true")  # Several nodes on one machine.
    given = flags.parse_args()
    more: dict[str, Any] = {"listen": "127.0.0.1", "include_loopback": True} if given.loopback else {}
    config = NodeConfig(data_dir=given.data_dir, port=0, contacts=tuple(given.contact), **more)
    async with Node(config) as node, await node.topics.join(given.room, secret=given.secret, app=APP) as topic:
        show(f"* you are {given.name} [{node.identity.short}] in {topic.name}; /who, /to KEY TEXT, /quit")
        chat = Chat(topic, given.name)
        listening = asyncio.create_task(chat.listen())
        async for line in typed_lines():
            if line.strip() and not await chat.say(line.strip()):
                break
        listening.cancel()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (LocalError, KeyboardInterrupt) as error:
        sys.exit(f"ended: {error or 'interrupted'}")
