"""The commands about peers: `status`, `peers`, `find`, `ping`, `connect`.

Decides what is asked of the node and in which order it is shown. Refuses to know who does it (`cli_session`) and how
values are written (`cli_render`).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.cli_exit import FAILED
from node.cli_options import Json, NodeCommand, Peer, node_config
from node.cli_session import open_session, run_async

Document = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("status", cls=NodeCommand)(status)
    app.command("peers", cls=NodeCommand)(peers)
    app.command("find", cls=NodeCommand)(find)
    app.command("ping", cls=NodeCommand)(ping)
    app.command("connect", cls=NodeCommand)(connect)


def status(ctx: typer.Context, json: Json = False) -> None:
    """Show what the node is and does: identity, addresses, contacts, published record, links."""
    from node import cli_render as render

    document = ask(ctx, "status", {})
    if json:
        render.emit(document)
    else:
        render.fields(document)


def peers(ctx: typer.Context, json: Json = False) -> None:
    """List the nodes of the routing table and the open links."""
    from node import cli_render as render

    document = ask(ctx, "peers", {})
    if json:
        render.emit(document)
        return
    render.screen().print("[bold]contacts[/bold]")
    render.table(document["contacts"], CONTACT_COLUMNS, empty="none yet")
    render.screen().print("\n[bold]links[/bold]")
    render.table(document["links"], LINK_COLUMNS, empty="none")


def find(
    ctx: typer.Context,
    peer: Peer,
    trace: Annotated[bool, typer.Option("--trace", help="Show every node that was asked, and what it said.")] = False,
    json: Json = False,
) -> None:
    """Look up a peer's signed record: its addresses, home nodes and presence."""
    from node import cli_render as render

    document = ask(ctx, "find", {"peer": known_peer(peer), "trace": trace})
    if json:
        render.emit(document)
    else:
        render.fields(document, skip=("trace",))
        if trace:
            render.screen().print()
            render.table(document.get("trace", []), TRACE_COLUMNS, empty="nobody was asked")
    if not document["found"]:
        raise typer.Exit(FAILED)


def ping(
    ctx: typer.Context,
    peer: Peer,
    dht: Annotated[bool, typer.Option("--dht", help="Only over the DHT: look it up, ping its home nodes.")] = False,
    link: Annotated[bool, typer.Option("--link", help="Only over the data channel (connects when needed).")] = False,
    count: Annotated[int, typer.Option("--count", "-c", min=1, help="How many pings of each kind.")] = 1,
    json: Json = False,
) -> None:
    """Measure the way to a peer: over the DHT and over the data channel, each by itself."""
    from node import cli_render as render

    params = {"peer": known_peer(peer), "dht": dht, "link": link}

    async def work() -> bool:
        reached = False
        async with open_session(node_config(ctx)) as session:
            for number in range(1, count + 1):
                document = {"number": number, **await session.call("ping", params)}
                reached = any(part in document and _reached(document[part]) for part in ("dht", "link")) or reached
                if json:
                    render.emit_line(document)
                else:
                    show_ping(document)
        return reached

    if not run_async(work):
        raise typer.Exit(FAILED)


def connect(
    ctx: typer.Context,
    peer: Peer,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to try for.")] = 30.0,
    json: Json = False,
) -> None:
    """Open a data channel to a peer and show how long each phase took."""
    from node import cli_render as render

    params = {"peer": known_peer(peer), "timeout": timeout}
    document: Document = {}

    async def work() -> None:
        async with open_session(node_config(ctx)) as session:
            async for event in session.stream("connect", params):
                document.update(event)
                if json:
                    render.emit_line(event)

    run_async(work)
    if not json:
        render.fields(document, skip=("event",))
    if not document.get("connected"):
        raise typer.Exit(FAILED)


CONTACT_COLUMNS = {"contact": "contact", "address": "address", "rtt": "rtt", "last_seen": "last seen", "state": "state"}
LINK_COLUMNS = {"peer": "peer", "address": "address", "type": "type", "rtt": "rtt", "age": "age"}
TRACE_COLUMNS = {"contact": "contact", "state": "state", "rtt": "rtt", "hops": "hops", "distance_bits": "distance"}


def show_ping(document: Document) -> None:
    """One ping as lines."""
    from node import cli_render as render

    for part in ("dht", "link"):
        if part in document:
            render.fields({f"{part} #{document['number']}": document[part]})


def ask(ctx: typer.Context, command: str, params: Document) -> Document:
    """Do one command in a session of its own."""

    async def work() -> Document:
        async with open_session(node_config(ctx)) as session:
            return await session.call(command, params)

    return run_async(work)


def known_peer(text: str) -> str:
    """A peer id as the user typed it, checked here so that a typo costs no start of a node."""
    from dht.identity import PublicKey

    return PublicKey.parse(text).text


def _reached(part: Document) -> bool:
    return bool(part.get("reached"))
