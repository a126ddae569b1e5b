"""A network of real nodes on this machine, each a process of its own with a folder of its own.

Decides what an operator would do by hand to get it: make signers' keys, sign a list of first contacts, serve it, point
nodes to it. Nodes get public settings only, and their first contacts from the list alone. Refuses to know what the
nodes are then used for, so that tests use it too.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dht.errors import RookeryError
from node.adapters.http_client import ApiClient
from node.cli_session import release
from node.demo_processes import Command, CommandFailed, Nursery

Document = dict[str, Any]
T = TypeVar("T")

NETWORK: Final = "rookery-demo"

SIGNERS: Final = ("alice", "bob")
"""Both must have signed a list for a node to take it."""

SERVER: Final = "bootstrap"
"""Name of the bootstrap server."""

READY: Final = 30.0
JOINED: Final = 30.0
"""Seconds a node gets to listen, and to find the network. UNSOURCED: about a second each on an idle machine."""

STOPPED: Final = 2.0
"""Seconds in which a node that is told to end has saved its state: a promise of the command's."""

POLL: Final = 0.1
"""Seconds between two looks at a node. UNSOURCED: not felt by people, and nothing to a node."""

AT_ONCE: Final = 4
"""Nodes started at a time: a start is a second of a core's work. UNSOURCED"""

BIRDS: Final = (
    "rook", "jay", "crow", "raven", "magpie", "jackdaw", "chough", "treepie", "nutcracker", "hooded", "carrion", "fish",
)  # fmt: skip
"""Names of the nodes, for people; then numbers."""


@dataclass(eq=False)
class Host:
    """One node of the network: a folder that stays, and the process that runs from it now."""

    name: str
    folder: Path
    settings: dict[str, str]
    process: Command
    ready: Document
    """What it said when it was ready."""

    @property
    def peer(self) -> str:
        """Its peer id: the one thing another needs to know."""
        return str(self.ready["identity"])

    @property
    def port(self) -> int:
        """Its UDP port."""
        return int(self.ready["port"])

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.exit_code is None

    async def published(self, timeout: float = JOINED) -> Document:
        """Wait until it has stored its peer record, and return what it said of that the last time."""
        await self.process.logged("published", timeout)
        fields: Document = [said["fields"] for said in self.process.said if said.get("kind") == "published"][-1]
        return fields

    async def call(self, command: str, **params: Any) -> Document:
        """Do one command of its local API."""
        async with ApiClient(unix=Path(self.ready["api"]), release=release()) as client:
            return await client.call(command, params)

    async def until(self, command: str, wanted: Callable[[Document], bool], timeout: float, **params: Any) -> Document:
        """Do a command again and again until its document is the wanted one. Raises `CommandFailed` when it is not."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not wanted(document := await self.call(command, **params)):
            if loop.time() > deadline:
                raise CommandFailed(self.name, f"did not show what was wanted of {command!r}", str(document))
            await asyncio.sleep(POLL)
        return document


class Network:
    """A bootstrap server and its nodes."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.folder = folder
        self.nursery = nursery
        self.hosts: list[Host] = []
        self.server: Host | None = None
        self.list_url = ""
        self.list_file = folder / "bootstrap.json"
        self.settings = {"ROOKERY_CONFIG": str(folder / "config.toml")}
        """What every node is started with, as environment variables."""

    # The list and its server

    async def keygen(self, signer: str) -> str:
        """Make a signer's key; returns its public half."""
        said = await self.nursery.run(f"keygen {signer}", "bootstrap", "keygen", str(self.key_file(signer)), "--json")
        return str(said[0]["public"])

    async def sign(self, signer: str, source: Path) -> None:
        """Have a signer make the list from a draft, or sign a list."""
        arguments = ("bootstrap", "sign", str(source), "--key", str(self.key_file(signer)))
        await self.nursery.run(f"sign {signer}", *arguments, "--out", str(self.list_file), "--json")

    async def server_contact(self) -> str:
        """The server's KEY@HOST:PORT, which must be known before it can be signed: it runs once without a list."""
        first = await self._start(SERVER, "run", "--mode", "server")
        await self.stop([first])
        return str(first.ready["contact"])

    async def make_signers(self) -> list[str]:
        """Make all signers' keys and the nodes' configuration; returns the public halves."""
        keys = await gathered(*(self.keygen(signer) for signer in SIGNERS))
        lines = [
            f'network = "{NETWORK}"',
            'listen = "127.0.0.1"',
            "port = 0",
            "include_loopback = true",
            f"bootstrap_signers = {json.dumps(keys)}",
            f"bootstrap_threshold = {len(keys)}",
        ]
        (self.folder / "config.toml").write_text("\n".join(lines) + "\n")
        return keys

    async def start_server(self) -> Host:
        """Have the server's contact signed by everybody, and serve the list. Nodes started later ask there."""
        signers = await self.make_signers()
        contact = await self.server_contact()
        key, _, address = contact.partition("@")
        draft = self.folder / "draft.toml"
        draft.write_text(
            f'network = "{NETWORK}"\n'
            f"[trust]\nsigners = {json.dumps(signers)}\nthreshold = {len(signers)}\n"
            f'[[contact]]\nkey = "{key}"\naddress = "{address}"\n'
        )
        await self.sign(SIGNERS[0], draft)
        for signer in SIGNERS[1:]:
            await self.sign(signer, self.list_file)
        port = address.rpartition(":")[2]
        self.server = await self._start(
            SERVER, "bootstrap", "run", "--list", str(self.list_file), "--http", "127.0.0.1:0", "--port", port
        )
        self.list_url = str(self.server.ready["list"])
        return self.server

    def key_file(self, signer: str) -> Path:
        """Where a signer's key lies."""
        return self.folder / f"{signer}.key"

    # Nodes

    async def start_hosts(self, names: Sequence[str]) -> list[Host]:
        """Start a node for each name; returns once all of them have joined and stored their records."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> Host:
            async with slots:
                host = await self.start_host(name)
                await host.process.logged("joined", JOINED)
            await host.published()
            return host

        started = await gathered(*(one(name) for name in names))
        self.hosts += started
        return started

    async def start_host(self, name: str, **settings: str) -> Host:
        """Start one node, with further settings of its own, and wait until it listens. Its folder may be an old one."""
        return await self._start(name, "run", **{"ROOKERY_BOOTSTRAP_LISTS": self.list_url, **settings})

    async def restart(self, host: Host, **settings: str) -> None:
        """Start a node that has ended anew, from the same folder."""
        again = await self._start(host.name, "run", **{**host.settings, **settings})
        host.process, host.ready = again.process, again.ready

    async def stop(self, hosts: Sequence[Host]) -> list[float]:
        """Tell nodes to end; returns how many seconds each took. Raises `CommandFailed` for one that does it badly."""
        loop = asyncio.get_running_loop()

        async def one(host: Host) -> float:
            begun = loop.time()
            host.process.signal(signal.SIGTERM)
            code = await host.process.wait(STOPPED)
            if code:
                raise CommandFailed(host.name, f"ended with exit code {code}", host.process.complaints)
            return loop.time() - begun

        return await gathered(*(one(host) for host in hosts))

    async def _start(self, name: str, *arguments: str, **settings: str) -> Host:
        folder = self.folder / name
        own = {**self.settings, **{key: text for key, text in settings.items() if text}}
        process = await self.nursery.start(name, *arguments, "--data-dir", str(folder), "--json", settings=own)
        ready = await process.event("ready", READY, "being ready")
        return Host(name, folder, dict(settings), process, ready)


@asynccontextmanager
async def network(kind: type[Network] = Network) -> AsyncIterator[Network]:
    """A network with nothing in it yet. When this is left, so are its processes and files, whatever happened."""
    # Short, for Unix sockets lie below it.
    try:
        folder = tempfile.TemporaryDirectory(prefix="rookery-")
    except OSError as error:
        raise RookeryError(f"no temporary folder can be made: {error}") from None
    with folder as path:
        async with Nursery(Path(path)) as nursery:
            yield kind(Path(path), nursery)


async def gathered(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all at once; when one fails, the others are cancelled, and it is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def names_of(count: int) -> list[str]:
    """Names for so many nodes."""
    return [*BIRDS[:count], *(f"bird-{number}" for number in range(len(BIRDS) + 1, count + 1))]
