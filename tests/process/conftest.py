"""What the tests over separate processes share: a network of their own, with short paths, gone when the test ends."""

import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bootstrap import operations
from dht.contact import Contact
from node.adapters.keyfile import load_or_create_node_key
from node.demo_network import SERVER, Network, network


class QuickNetwork(Network):
    """The same network, but keys and lists are made without starting five commands first: the demo's test does that."""

    async def keygen(self, signer: str) -> str:
        return operations.keygen(self.key_file(signer)).text

    async def sign(self, signer: str, source: Path) -> None:
        operations.sign(source, self.key_file(signer), self.list_file)

    async def server_contact(self) -> str:
        folder = self.folder / SERVER
        folder.mkdir(mode=0o700)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            return Contact(load_or_create_node_key(folder / "node.key").public, free.getsockname()).text


@pytest.fixture
async def net() -> AsyncIterator[Network]:
    """A network with nothing in it yet."""
    async with network(QuickNetwork) as made:
        yield made


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """A file that no compression, and no luck, makes smaller."""
    file = tmp_path / "payload.bin"
    file.write_bytes(random.Random(9).randbytes(64_000_000))
    return file


def free_port() -> int:
    """A UDP port of loopback that nobody has at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
