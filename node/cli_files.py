"""The commands that move files: `send` and `receive`.

Decides how a person says yes or no to an offer and how progress looks. Refuses to know how bytes cross.
"""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import failed
from node.cli_options import Json, NodeCommand, Peer, complete_peer, node_config
from node.cli_peers import known, known_peer, sentence, who
from node.cli_session import Session, can_ask, open_session, run_async

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Document = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("send", cls=NodeCommand)(send)
    app.command("receive", cls=NodeCommand)(receive)


FAULTS = {
    "too-big": "{peer} takes no file of this size",
    "no-space": "{peer} has no room for it",
    "not-wanted": "{peer} did not accept it: nobody there waits for files, or not for yours",
    "bad-name": "{peer} cannot use its name",
    "busy": "{peer} is receiving it already, or as many files as it can",
    "hash-mismatch": "what arrived is not what was sent",
    "source-changed": "the file changed while it was sent",
    "cancelled": "it was cancelled",
    "io-error": "a disk failed",
    "protocol-error": "{peer} broke the transfer's protocol",
    "link-lost": "the link broke; send it again, and it goes on where it stopped",
}
"""Why a file did not arrive, for people."""


def send(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to send.")],
    peer: Peer,
    json: Json = False,
) -> None:
    """Send a file to a peer; one that was cut short goes on where it stopped."""
    from node import cli_render as render

    path = readable(file)
    params = {"peer": known_peer(ctx, peer), "path": str(path)}
    outcome: Document = {}

    async def work() -> None:
        async with open_session(node_config(ctx)) as session:
            with Bars(silent=json) as bars:
                async with aclosing(session.stream("send", params)) as events:
                    async for event in events:
                        if json:
                            render.emit_line(event)
                        bars.take("send", path.name, event)
                        if event["event"] == "done":
                            outcome.update(event)

    run_async(work)
    if not outcome["ok"]:
        failed(outcome["reason"], f"{path.name} was not sent: {sentence(outcome, FAULTS)}")
    if not json:
        render.fields(known(outcome), skip=("event", "ok", "sent", "fault"))


def receive(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Option("--dir", "-d", help="Where files go.")] = Path(),
    accept_from: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-from", metavar="PEER", help="Accept from this peer (repeatable).", autocompletion=complete_peer
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept everything from everybody.")] = False,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many files.")] = None,
    json: Json = False,
) -> None:
    """Wait for files; asks on a terminal unless told whom to accept from."""
    ask = not yes and not json and can_ask()
    if not (yes or accept_from or ask):
        raise ApiFailure(
            "bad-input", "nobody can be asked here, so no file would be accepted", "give --accept-from PEER or --yes"
        )
    params: Document = {"directory": str(writable(directory)), "yes": yes, "ask": ask}
    params["accept_from"] = [known_peer(ctx, peer) for peer in accept_from or []]
    if count is not None:
        params["count"] = count

    async def work() -> None:
        async with open_session(node_config(ctx)) as session:
            with Bars(silent=json) as bars:
                await take_files(session, params, bars, as_json=json)

    run_async(work)


async def take_files(session: Session, params: Document, bars: Bars, *, as_json: bool) -> None:
    """Show the events of `receive` and answer its questions."""
    from node import cli_render as render

    names: dict[str, str] = {}
    async with aclosing(session.stream("receive", params)) as events:
        async for event in events:
            if as_json:
                render.emit_line(event)
                continue
            key = str(event.get("transfer", ""))
            match event["event"]:
                case "waiting":
                    bars.say(f"waiting for files for {event['identity']} into {event['directory']}")
                case "offer":
                    names[key] = str(event["name"])
                    if event["accepted"] is None:
                        answer = await confirmed(bars, event)
                        await session.call("decide", {"offer": event["offer"], "accept": answer})
                    elif not event["accepted"]:
                        bars.say(f"refused {names[key]} from {who(event)}: not among those to accept from")
                case "received":
                    bars.say(f"received {event['path']} from {who(event)}, SHA-256 {event['sha256']}")
                case "failed":
                    bars.say(f"{names.get(key) or event['name']} was not received: {event['reason']}")
            bars.take(key, names.get(key, ""), event)


async def confirmed(bars: Bars, event: Document) -> bool:
    """Ask the person at the terminal; the node goes on meanwhile."""
    from node import cli_render as render

    bars.pause()
    question = f"accept {event['name']} ({render.size(event['size'])}) from {who(event)}? [y/N] "
    print(render.plain(question), end="", file=sys.stderr, flush=True)
    try:
        answer = await typed_line()
    finally:
        bars.resume()
    return answer.strip().lower() in ("y", "yes")


async def typed_line() -> str:
    """What is typed next. Nothing blocks until then: a thread that reads could not be told of Ctrl-C."""
    import asyncio

    loop = asyncio.get_running_loop()
    typed = asyncio.Event()
    try:
        loop.add_reader(sys.stdin, typed.set)
    except (NotImplementedError, OSError, ValueError):  # Windows, or no file at all.
        return await asyncio.to_thread(sys.stdin.readline)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline()


class Bars:
    """Progress bars on standard error; where that is no terminal, only what is said."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        if self._silent or not sys.stderr.isatty():
            return self
        from rich import progress

        from node.cli_render import margin

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=margin(),
        )
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, line: str) -> None:
        """Say one line above the bars; it may hold what a stranger wrote."""
        from node.cli_render import escape, plain

        if self._progress is not None:
            self._progress.console.print(escape(line))
        elif not self._silent:
            print(plain(line), file=sys.stderr)

    def take(self, key: str, name: str, event: Document) -> None:
        """Move the bar of transfer `key`."""
        from node.cli_render import escape

        if self._progress is None:
            return
        if event["event"] == "progress":
            if key not in self._tasks:
                self._tasks[key] = self._progress.add_task(escape(name), total=event["total"])
            self._progress.update(self._tasks[key], completed=event["done"], total=event["total"])
        elif event["event"] in ("done", "received", "failed") and key in self._tasks:
            self._progress.remove_task(self._tasks.pop(key))

    def pause(self) -> None:
        """Leave the terminal to a question."""
        if self._progress is not None:
            self._progress.stop()

    def resume(self) -> None:
        """Take the terminal back."""
        if self._progress is not None:
            self._progress.start()


def readable(file: Path) -> Path:
    """The absolute path of a file that can be read. Raises `ApiFailure` before any node is started."""
    try:
        with file.open("rb"):
            return file.resolve()
    except IsADirectoryError:
        raise ApiFailure("unreadable-file", f"{file} is a folder", "send its files one by one, or an archive") from None
    except OSError as error:
        raise ApiFailure("unreadable-file", f"{file} cannot be read: {error.strerror}", "check its name") from None


def writable(directory: Path) -> Path:
    """The absolute path of a folder that files can go into, made if need be."""
    import os

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ApiFailure("unwritable-folder", f"{directory} cannot be made: {error.strerror}", "give another") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ApiFailure("unwritable-folder", f"{directory} cannot be written to", "give another with --dir")
    return directory.resolve()
