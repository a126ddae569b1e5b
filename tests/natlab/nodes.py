"""Real nodes on the laboratory's machines, each a process of its own, talked to over its local API.

Decides how one is started, heard, asked and ended, and how a network of them comes up. Sockets of the file system reach
into every network namespace, so that whoever asks need not enter any. Refuses to know what is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from dht.identity import to_zbase32
from node.adapters.http_client import ApiClient
from node.adapters.keyfile import load_or_create_identity, load_or_create_node_key
from node.cli_session import release
from tests.natlab.namespaces import LabError, Namespaces
from tests.natlab.topology import Host, Lab, Place

Document = dict[str, Any]

PORT: Final = 7716
"""Of the nodes in the open."""

TLS_PORT: Final = 443
"""Where bootstrap nodes take links over TLS: what networks without UDP let through."""

BOOTSTRAP: Final = 2
"""Nodes in the open that all others are told of; those have both families."""

READY: Final = 60.0
JOINED: Final = 60.0
"""Seconds for a node to listen, and to join and be found. UNSOURCED: a second each on an idle machine."""

POLL: Final = 0.02
"""Seconds between two looks. UNSOURCED: below what is measured."""

TAKES_FILES: Final = {"ROOKERY_RECEIVE": "accept", "ROOKERY_ACCEPT_FROM": "all"}
"""Settings of a node that takes files of everybody, into `received` in its folder."""

MAIN: Final = "tests.natlab.host:main"


class Machines(Protocol):
    """Where machines stand: a laboratory, or a switch."""

    spaces: Namespaces


class Daemon:
    """A node on a machine."""

    def __init__(self, lab: Machines, host: Host, folder: Path, settings: dict[str, str]) -> None:
        self.host = host
        self.folder = folder
        self.settings = settings
        self.said: list[Document] = []
        """The JSON lines of its standard output so far: `ready`, and a `log` line for each event."""
        self._lab = lab
        self._pid = 0
        self._read = 0
        self._client: ApiClient | None = None
        self.start()

    @property
    def name(self) -> str:
        """The machine's."""
        return self.host.name

    @property
    def pid(self) -> int:
        """Its process."""
        return self._pid

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._lab.spaces.exit_code(self._pid) is None

    def start(self) -> None:
        """Start its process, anew if it has ended: its data are still there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stdout").unlink(missing_ok=True)
        self.said, self._read = [], 0
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._pid = self._lab.spaces.start(self.host.space, MAIN, (), {**kept, **self.settings}, self.folder)

    def signal(self, number: int) -> None:
        """Send it a signal: SIGKILL kills it, SIGTERM ends it in good order, SIGSTOP makes it fall silent."""
        self._lab.spaces.signal(self._pid, number)

    async def kill(self) -> None:
        """Kill it without a word of warning, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self, timeout: float = READY) -> int:
        """Wait for its end; gives the exit code."""
        async with asyncio.timeout(timeout):
            while (code := self._lab.spaces.exit_code(self._pid)) is None:
                await asyncio.sleep(POLL)
        return code

    async def hear(self, wanted: Callable[[Document], bool], timeout: float, what: str) -> Document:
        """Wait until it says a wanted line. Raises `LabError` when it ends or is too late."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        seen = 0
        while True:
            self._listen()
            for line in self.said[seen:]:
                if wanted(line):
                    return line
            seen = len(self.said)
            late = loop.time() > deadline
            if late or not self.alive:
                why = f"did not get to {what} within {timeout:.0f} s" if late else f"ended before {what}"
                raise LabError(f"{self.name} {why}: {self.complaints}")
            await asyncio.sleep(POLL)

    async def ready(self) -> Document:
        """Wait until it can be talked to; gives what it said of itself then."""
        return await self.hear(lambda line: line.get("event") == "ready", READY, "being ready")

    async def logged(self, kind: str, timeout: float = JOINED) -> Document:
        """Wait for an event of its log."""
        return await self.hear(lambda line: line.get("kind") == kind, timeout, f"being {kind}")

    async def peer(self) -> str:
        """Its peer id."""
        return str((await self.ready())["identity"])

    @property
    def complaints(self) -> str:
        """The end of its standard error."""
        file = self.folder / "stderr"
        return " | ".join(file.read_text(errors="replace").splitlines()[-3:]) if file.exists() else ""

    async def call(self, command: str, **params: Any) -> Document:
        """Do one command of its local API."""
        async with ApiClient(unix=Path((await self.ready())["api"]), release=release()) as client:
            return await client.call(command, params)

    async def connect(self, peer: str, timeout: float) -> Document:
        """What `rookery connect PEER --json` says."""
        async with ApiClient(unix=Path((await self.ready())["api"]), release=release()) as client:
            said = [event async for event in client.stream("connect", {"peer": peer, "timeout": timeout})]
        return said[-1]

    async def send(
        self, peer: str, file: Path, timeout: float, half_way: Callable[[], Awaitable[object]] | None = None
    ) -> Document:
        """What `rookery send FILE PEER --json` says in the end; `half_way` is awaited when half of it is sent.

        The other end takes files unasked when it was started with `TAKES_FILES`. Raises `TimeoutError`.
        """
        said: Document = {}
        async with (
            asyncio.timeout(timeout),
            ApiClient(unix=Path((await self.ready())["api"]), release=release()) as client,
        ):
            async for said in client.stream("send", {"peer": peer, "path": str(file)}):
                if half_way is not None and said["event"] == "progress" and said["done"] * 2 >= said["total"]:
                    await half_way()
                    half_way = None
        return said

    async def disconnect(self, peer: str) -> None:
        """End the link with a peer, if there is one."""
        await self.control(disconnect=peer)

    async def control(self, **said: str) -> None:
        """Tell the process something that people have no command for (`tests.natlab.host`)."""
        reader, writer = await asyncio.open_unix_connection((await self.ready())["control"])
        try:
            writer.write(json.dumps(said).encode() + b"\n")
            await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()

    def _listen(self) -> None:
        try:
            with (self.folder / "stdout").open("rb") as file:
                file.seek(self._read)
                *lines, _ = file.read().split(b"\n")
        except FileNotFoundError:
            return
        for line in lines:
            self._read += len(line) + 1
            if line.startswith(b"{"):
                self.said.append(json.loads(line))


class Nodes:
    """A laboratory, the nodes in it, and their files. A context manager: when it is left, all are gone."""

    def __init__(self, folder: Path | None = None, **settings: str) -> None:
        """`folder`: where the nodes' files are kept for good; None for one that is deleted. `settings`: every node's,
        as environment variables."""
        # Short, for Unix sockets lie below it.
        self._temporary = tempfile.TemporaryDirectory(prefix="natlab-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary is not None else Path(folder or "").absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.daemons: dict[str, Daemon] = {}
        self.lab = Lab()
        # Nobody behind a router here hears another by multicast: each has a cable of its own.
        self._settings = {"ROOKERY_CONFIG": str(self.folder / "config.toml"), "ROOKERY_LAN": "off", **settings}
        (self.folder / "config.toml").write_text("")
        self._contacts: dict[int, list[str]] = {4: [], 6: []}
        self._gateways: dict[int, list[str]] = {4: [], 6: []}
        self.lab.spaces.preload()

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *exc: object) -> None:
        self.lab.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def open_network(self, count: int) -> list[Daemon]:
        """Start servers in the open, each in a prefix of its own; every second has IPv4 only."""
        names = [f"open-{number}" for number in range(count)]
        hosts = [self.lab.host(name, v6=number % 2 == 0) for number, name in enumerate(names)]
        dual = [host for host in hosts if host.v6]
        gates: dict[str, str] = {}
        for host in dual[:BOOTSTRAP]:
            folder = self.folder / host.name
            folder.mkdir()
            public = load_or_create_node_key(folder / "node.key").public
            identity = load_or_create_identity(folder / "identity.key").public.text
            for version, ip in ((4, host.v4), (6, f"[{host.v6}]")):
                self._contacts[version].append(f"{to_zbase32(public)}@{ip}:{PORT}")
            # A listener has one family: the first bootstrap node's is IPv4, the second's IPv6.
            version, any_ip, ip = (4, "0.0.0.0", host.v4) if not gates else (6, "[::]", f"[{host.v6}]")
            gates[host.name] = f"{any_ip}:{TLS_PORT}"
            self._gateways[version].append(f"{identity}@{ip}:{TLS_PORT}")
        started = []
        for host in hosts:
            gate = {"ROOKERY_WEBSOCKET": gates[host.name]} if host.name in gates else {}
            started.append(self.node(host, ROOKERY_MODE="server", ROOKERY_PORT=str(PORT), **gate))
        return started

    def behind(self, name: str, kind: str, place: Place | None = None, **settings: str) -> Daemon:
        """Start a node on a machine of its own, in a place of this kind: a new one, or the one given."""
        if place is None:
            place = self.lab.place(name, kind)
        return self.node(self.lab.host(name, place), ROOKERY_PORT="0", **settings)

    def node(self, host: Host, **settings: str) -> Daemon:
        """Start a node on a machine."""
        folder = self.folder / host.name
        version = 4 if host.v4 else 6
        own = {
            "ROOKERY_DATA_DIR": str(folder),
            "ROOKERY_LISTEN": "::" if host.v6 else "0.0.0.0",
            "ROOKERY_CONTACTS": ",".join(self._contacts[version]),
            "ROOKERY_GATEWAYS": ",".join(self._gateways[version]),
        }
        daemon = Daemon(self.lab, host, folder, {**self._settings, **own, **settings})
        self.daemons[host.name] = daemon
        return daemon

    async def joined(self, daemons: Sequence[Daemon], *, published: bool = True) -> None:
        """Wait until these have joined and, unless told not, others can find them. Raises `LabError`."""
        for daemon in daemons:
            await daemon.logged("joined")
            if published:
                await daemon.logged("published")
