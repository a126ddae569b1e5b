"""The command `run`: a headless node, from start to saved state.

Decides what it says (a few lines for people on standard error, or JSON lines on standard output) and how it ends:
SIGTERM or one Ctrl-C stops it in good order, a second Ctrl-C at once. Refuses to know what the node does meanwhile.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli_exit import Terminated
from node.cli_log import LEVELS, event_line
from node.cli_options import Json, ServerCommand, machine_config, node_config
from node.cli_session import node_for, release, run_async

if TYPE_CHECKING:
    from node.cli_further import Further
    from node.config import NodeConfig
    from node.node import Node

Document = dict[str, Any]

EVENTS_LOGGER = "rookery.node"
"""Where the node logs its events, for those who use it as a library."""

Port = int

Service = Callable[[Any], AbstractAsyncContextManager[Document]]
"""Something that runs beside a node; yields what to say of it when it is ready."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run", cls=ServerCommand)(run)


def run(
    ctx: typer.Context,
    all_networks: Annotated[
        bool, typer.Option("--all", help="Also run a node in every private network of this machine.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say everything, not only what matters.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    json: Json = False,
) -> None:
    """Run a node until Ctrl-C or SIGTERM. Needs no configuration at all."""
    config, machine = node_config(ctx), machine_config(ctx)
    level = "debug" if verbose else "warning" if quiet else config.log_level
    as_json = json or config.log_json

    from node.cli_further import Further

    async def run_beside(name: str) -> None:
        from node.node_networks import beside

        speaker = Speaker(as_json, level, network=name)
        await over_to_next_keys(lambda: beside(machine, name), lambda one: serve(one, speaker, log_lines=False))

    further = Further(networks_beside(machine, every=all_networks), run_beside)
    with suppress(Terminated):  # SIGTERM is how a service is told to end: it did as told.
        speaker = Speaker(as_json, level)
        read = iter([config])  # What was read is what the first node gets; the file may hold another key by then.
        run_async(
            lambda: over_to_next_keys(
                lambda: next(read, None) or node_config(ctx), lambda one: serve(one, speaker, further=further)
            )
        )


async def over_to_next_keys(
    read: Callable[[], NodeConfig], run: Callable[[NodeConfig], Awaitable[Port | None]]
) -> None:
    """Run a node, and again whenever its network has got another key; at the same port, where others know it."""
    port: Port | None = None
    while True:
        config = read()
        port = await run(config if port is None else config.replace(port=port))
        if port is None:
            return


def networks_beside(machine: NodeConfig, *, every: bool) -> list[str]:
    """The networks in which a node is to run beside that of the configuration."""
    from node.node_networks import store_of

    wanted = (*machine.networks, *(store_of(machine).names() if every else ()))
    return [name for name in dict.fromkeys(wanted) if name != machine.network]


class Speaker:
    """Says what happens: JSON lines for programs, text lines for people."""

    def __init__(self, as_json: bool, level: str, *, network: str | None = None) -> None:
        """`network`: the one it speaks of, where several nodes speak."""
        self._as_json = as_json
        self._least = LEVELS.index(level)
        self._network = network

    def event(self, document: Document) -> None:
        """Say one event of the node's, if it is grave enough."""
        if LEVELS.index(document.get("level", "info")) < self._least:
            return
        if self._as_json:
            self.document({"event": "log", **document})
        else:
            said = {**document, "text": f"{self._network}: {document['text']}"} if self._network else document
            print(event_line(said), file=sys.stderr, flush=True)

    def ready(self, document: Document) -> None:
        """Say that the node can be talked to, and where."""
        if self._as_json:
            self.document({"event": "ready", **document})
            return
        if self._network:
            print(f"{'network':9} {self._network}", file=sys.stderr, flush=True)
        for name in ("identity", "contact", "mode", "data_dir", "api", "api_http", "http", "list"):
            if name in document:
                print(f"{name.replace('_', ' '):9} {document[name]}", file=sys.stderr, flush=True)

    def document(self, document: Document) -> None:
        """Say one JSON line."""
        from node.cli_render import emit_line

        if self._as_json:
            emit_line(document if self._network is None else {**document, "network": self._network})


class LogLines(logging.Handler):
    """Brings what the parts of the node log to the same place as the node's events."""

    def __init__(self, speaker: Speaker) -> None:
        super().__init__(logging.INFO)
        self._speaker = speaker

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record; the node's own events come by another way."""
        if record.name == EVENTS_LOGGER:
            return
        text = " ".join(record.getMessage().split())
        if record.exc_info and record.exc_info[1] is not None:
            reason = " ".join(str(record.exc_info[1]).split())
            text = f"{text}: {type(record.exc_info[1]).__name__}: {reason}"
        level = record.levelname.lower()
        self._speaker.event(
            {
                "time": record.created,
                "level": level if level in LEVELS else "error",
                "kind": "log-line",
                "text": text,
                "fields": {"logger": record.name},
            }
        )


async def serve(
    config: NodeConfig,
    speaker: Speaker,
    more: Service | None = None,
    *,
    further: Further | None = None,
    log_lines: bool = True,
) -> Port | None:
    """Run a node with its local API, what `more` adds to it, and `further` nodes beside it, until cancelled, or until
    its network has another key: then its port, for the next one. `log_lines`: say what the parts log; of several nodes
    in a process, one does."""
    async with AsyncExitStack() as stack:
        if log_lines:
            lines = LogLines(speaker)
            logging.getLogger().addHandler(lines)
            stack.callback(logging.getLogger().removeHandler, lines)
        if further is not None:
            stack.push_async_callback(further.ended)
        node = node_for(config)
        stack.callback(_say_end, node, speaker)
        await stack.enter_async_context(node)
        api, where = await stack.enter_async_context(api_server(node, config))
        if more is not None:
            where |= await stack.enter_async_context(more(node))
        speaker.ready({**ready_document(await api.call("status", {})), **where})
        if further is not None:
            further.start()
        try:
            async with aclosing(api.stream("log", {"last": 1000, "follow": True, "level": "debug"})) as events:
                async for event in events:
                    speaker.event(event)
                    if event["kind"] == "network-key-due":
                        return node.inside.datagrams.port
        finally:
            if further is not None:
                further.cancel()
            speaker.document({"event": "stopping"})
    return None


def _say_end(node: Node, speaker: Speaker) -> None:
    """Say that the state was saved: nobody follows the events any more when that happens."""
    from node.api import event_document
    from node.node_events import Stopped

    for event in node.recent_events():
        if isinstance(event, Stopped):
            speaker.event(event_document(event))


@asynccontextmanager
async def api_server(node: Any, config: NodeConfig) -> AsyncIterator[tuple[Any, Document]]:
    """Serve the local API of `node`; yields it, and where it listens."""
    from node.adapters.http import TOKEN_NAME, make_token, socket_path, tcp_url
    from node.adapters.http_api import ApiServer
    from node.api import Api

    api = Api(node)
    server = ApiServer(api, release=release())
    try:
        where = {}
        if hasattr(socket, "AF_UNIX"):  # Windows: Python has none there, so api_http is the only way.
            path = config.api or socket_path(config.data_dir)
            await server.listen_unix(path)
            where["api"] = str(path)
        if config.api_http is not None:
            host, port = config.api_http
            token = make_token(config.data_dir / TOKEN_NAME)
            where["api_http"] = tcp_url((host, await server.listen_http(host, port, token)))
        yield api, where
    finally:
        await server.stop()


def ready_document(status: Document) -> Document:
    """Of the status, what those who talk to the node need first."""
    first = {name: status[name] for name in ("identity", "contact", "mode", "network", "data_dir", "version")}
    port = int(status["listening"][0].rpartition(":")[2])
    return {**first, "listening": status["listening"], "port": port, "pid": os.getpid()}
