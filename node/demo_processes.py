"""Child processes that cannot outlive whoever started them, and that say in JSON lines what they do.

Decides how a `rookery` command is started, heard and ended: each in a session of its own, so that a Ctrl-C reaches it
only through us; killed by the kernel when we die (Linux), and by us, with all it started, in every other case. Refuses
to know what the commands are for.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dht.errors import RookeryError

Document = dict[str, Any]

COMMAND: Final = (sys.executable, "-m", "node.cli")
"""The `rookery` command, of this very interpreter: the one on the PATH may be another release."""

_PR_SET_PDEATHSIG: Final = 1
"""prctl(2), Linux."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None

LINE_LIMIT: Final = 1 << 20
"""Bytes of one line of a command's output: a status with a hundred contacts has some ten thousand."""

TAIL: Final = 3
"""Lines of a command's complaints that are repeated when it fails."""


class CommandFailed(RookeryError):
    """Raised when a command ended otherwise than it should, or did not say in time what it was to say."""

    def __init__(self, name: str, problem: str, complaints: str = "") -> None:
        super().__init__(f"{name} {problem}" + (f": {complaints}" if complaints else ""))
        self.name = name
        self.problem = problem


class Command:
    """One running `rookery` command. Made by `Nursery.start`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, complaints: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.started = time.monotonic()
        self.said: list[Document] = []
        """The JSON lines of its standard output so far."""
        self._process = process
        self._complaints = complaints
        self._news = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when one killed it."""
        return self._process.returncode

    @property
    def complaints(self) -> str:
        """The end of its standard error or, where it said nothing there, the last events it told."""
        lines = [line.strip() for line in self._complaints.read_text(errors="replace").splitlines()]
        return " | ".join((lines or [str(said["text"]) for said in self.said if "text" in said])[-TAIL:])

    async def hear(self, wanted: Callable[[Document], bool], timeout: float, what: str, *, skip: int = 0) -> Document:
        """Wait until it says a wanted line, from line `skip` on. Raises `CommandFailed` when it ends or is too late."""
        seen = skip
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._news:
                while True:
                    while seen < len(self.said):
                        seen += 1
                        if wanted(self.said[seen - 1]):
                            return self.said[seen - 1]
                    if self._reader.done():
                        code = await self._process.wait()
                        raise CommandFailed(self.name, f"ended with exit code {code} before {what}", self.complaints)
                    await self._news.wait()
        raise CommandFailed(self.name, f"did not get to {what} within {timeout:.0f} s", self.complaints)

    async def event(self, name: str, timeout: float, what: str = "", *, skip: int = 0) -> Document:
        """Wait for a line with this `event`."""
        return await self.hear(lambda said: said.get("event") == name, timeout, what or f"its {name!r} line", skip=skip)

    async def logged(self, kind: str, timeout: float, *, skip: int = 0) -> Document:
        """Wait for a node's log event of this kind."""
        return await self.hear(
            lambda said: said.get("event") == "log" and said.get("kind") == kind, timeout, f"being {kind}", skip=skip
        )

    async def wait(self, timeout: float) -> int:
        """Wait for its end and return the exit code. Raises `CommandFailed` when it goes on for longer."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._reader)
                return await self._process.wait()
        except TimeoutError:
            raise CommandFailed(self.name, f"still ran after {timeout:.0f} s", self.complaints) from None

    def signal(self, number: int) -> None:
        """Send a signal to the command alone."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it and all it started, without a word of warning, and wait until it is gone."""
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        begun = b""
        async for line in self._process.stdout:
            # A document may be indented over several lines; what does not begin as one is for people.
            begun = begun + line if begun or line.startswith(b"{") else b""
            with suppress(ValueError):
                self.said.append(json.loads(begun))
                begun = b""
                await self._tell()
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


class Nursery:
    """Starts commands, and ends every one of them when it is left, however that happens."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where the commands run and their complaints are kept."""
        self._folder = folder
        # What is set for the nodes of whoever runs this is not meant for these.
        self._environment = {name: text for name, text in os.environ.items() if not name.startswith("ROOKERY_")}
        self._commands: list[Command] = []

    async def __aenter__(self) -> Nursery:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*(command.kill() for command in self._commands))

    async def start(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> Command:
        """Start `rookery ARGUMENTS`, called `name` in messages; `settings` are environment variables of its own."""
        complaints = self._folder / f"{len(self._commands):02}-{name.replace(' ', '-')}.log"
        with complaints.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
                limit=LINE_LIMIT,
                cwd=self._folder,
                env={**self._environment, **(settings or {})},
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        command = Command(name, process, complaints)
        self._commands.append(command)
        return command

    async def run(
        self, name: str, *arguments: str, timeout: float = 30.0, settings: Mapping[str, str] | None = None
    ) -> list[Document]:
        """Start a command, wait for it and return what it said. Raises `CommandFailed` unless it ends with 0."""
        command = await self.start(name, *arguments, settings=settings)
        code = await command.wait(timeout)
        if code:
            raise CommandFailed(name, f"ended with exit code {code}", command.complaints)
        return command.said


def die_with(parent: int) -> Callable[[], None] | None:
    """What a child does before it becomes its program, so that the kernel kills it when `parent` dies; Linux only."""
    libc = _LIBC
    if libc is None:
        return None

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It died before we asked.
            os._exit(1)

    return ask
