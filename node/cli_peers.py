"""The commands about peers: `status`, `peers`, `find`, `ping`, `connect`.

Decides what is asked of the node and in which order it is shown. Refuses to know who does it (`cli_session`) and how
values are written (`cli_render`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import failed, warn_of_crowd
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


def peers(
    ctx: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show who is there and what they say, live, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """List the nodes of the routing table and the open links; with --watch, who is there."""
    from node import cli_render as render

    if watch:
        from node.cli_live import watch_peers

        watch_peers(ctx, json=json)
        return

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
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw the walk: who was asked when, what they said, why it ended.")
    ] = False,
    json: Json = False,
) -> None:
    """Look up a peer's signed record: its addresses, home nodes and presence."""
    from node import cli_render as render

    document = ask(ctx, "find", {"peer": known_peer(ctx, peer), "trace": explain})
    if json:
        render.emit(document)
    else:
        if document["found"]:
            render.fields(known(document), skip=("found", "trace", "stats", "ways", "ended"))
        if explain:
            from node.cli_walk import draw

            draw(document)
    warn_of_crowd(document)
    if not document["found"]:
        failed(document["reason"], sentence(document))


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

    params = {"peer": known_peer(ctx, peer), "dht": dht, "link": link}

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
        failed("not-reached", f"{peer} was not reached")


def connect(
    ctx: typer.Context,
    peer: Peer,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to try for.")] = 30.0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what was tried: ways, addresses, pairs, and why not direct.")
    ] = False,
    json: Json = False,
) -> None:
    """Open a data channel to a peer and show how long each phase took."""
    from node import cli_render as render
    from node.cli_explain import show

    params = {"peer": known_peer(ctx, peer), "timeout": timeout}
    document: Document = {}

    async def work() -> None:
        async with open_session(node_config(ctx)) as session:
            async for event in session.stream("connect", params):
                document.update(event)
                if json:
                    render.emit_line(event)

    run_async(work)
    if explain and not json:
        show(document)
    if not document["connected"]:
        failed(document["reason"], sentence(document))
    if not json:
        if explain:
            render.screen().print()
        render.fields(known(document), skip=("event", "connected", "ways", "rungs"))


SLIP = 0.9
"""Part of the characters that must agree: 52 less two or three. UNSOURCED; two random ids agree in a few."""

CONTACT_COLUMNS = {"contact": "contact", "rtt": "rtt", "last_seen": "last seen", "state": "state"}
LINK_COLUMNS = {
    "peer_name": "name",
    "peer": "peer",
    "address": "address",
    "type": "type",
    "rtt": "rtt",
    "age": "age",
    "bytes_sent": "sent",
    "bytes_received": "received",
}
WAY_COLUMNS = {"contact": "by way of", "kind": "kind", "rtt": "rtt"}


SENTENCES = {
    "not-joined": "this node found no other node, so nobody could be asked",
    "not-found": "no node that was asked has a record of {peer}",
    "bad-record": "the record of {peer} says nothing that this release understands",
    "self": "{peer} is this node itself",
    "no-home-node": "{peer} names no node through which it can be reached",
    "peer-not-registered": "the nodes that {peer} names no longer forward to it",
    "peer-unreached": "{peer} did not take the offer: it is probably offline",
    "no-answer": "{peer} took the offer and did not answer in time",
    "bad-answer": "{peer} answered with something that fits no offer of ours",
    "refused": "{peer} refused",
    "link-failed": "offer and answer crossed, but no path to {peer} worked",
    "timeout": "{peer} was not reached in time",
    "stopping": "the node was stopped meanwhile",
}
"""Reasons for people; programs read them as they are."""


def sentence(outcome: Document, more: Mapping[str, str] | None = None) -> str:
    """Why an operation on a peer failed, as one sentence; `more` has those of reasons of its own."""
    reason, detail = outcome["reason"], outcome.get("detail")
    text = {**SENTENCES, **(more or {})}.get(reason, f"{{peer}}: {reason}").format(peer=who(outcome))
    return f"{text} ({detail})" if detail else text


def who(document: Document, key: str = "peer") -> str:
    """A peer for people: its name, where the address book has one, and its id."""
    name = document.get(f"{key}_name")
    return f"{name} ({document[key]})" if name else str(document[key])


def known(document: Document) -> Document:
    """A document without the fields that say nothing."""
    return {name: value for name, value in document.items() if value not in (None, "", [], {})}


def show_ping(document: Document) -> None:
    """One ping as lines: over the DHT with every node asked, over the data channel with its round trip."""
    from node import cli_render as render

    screen = render.screen()
    for part, name in (("dht", "DHT"), ("link", "data channel")):
        if part not in document:
            continue
        ping = document[part]
        head = f"{name} #{document['number']}:"
        if not ping["reached"]:
            why = ": ".join(part for part in (ping["reason"], ping["detail"]) if part)
            screen.print(f"{head} [red]not reached[/red], {render.escape(why)}")
            continue
        if part == "dht":
            screen.print(f"{head} reached, look-up {render.span(ping['lookup_seconds'])}")
            render.table(ping["ways"], WAY_COLUMNS, empty="no way was tried")
        else:
            opened = " (opened for this)" if ping["connected_now"] else ""
            screen.print(f"{head} {render.text(ping['rtt'], 'rtt')}{opened}")


def ask(ctx: typer.Context, command: str, params: Document) -> Document:
    """Do one command in a session of its own."""

    async def work() -> Document:
        async with open_session(node_config(ctx)) as session:
            return await session.call(command, params)

    return run_async(work)


def known_peer(ctx: typer.Context, text: str) -> str:
    """The id of a peer whose id or name the user typed, checked here so that a typo costs no start of a node.

    Raises `UnknownName`, `BadPeerId`, or `ApiFailure` when the running node has a link with a peer whose id is nearly
    this one.
    """
    from dht.errors import BadPeerId
    from node.node_book import book_of

    try:
        return book_of(node_config(ctx)).resolve(text).text
    except BadPeerId as error:
        near = linked_peer_like(ctx, text.strip().lower())
        if near is None:
            raise
        hint = f"did you mean {near}, with which a link is open?"
        raise ApiFailure("bad-peer-id", str(error), hint) from None


def linked_peer_like(ctx: typer.Context, text: str) -> str | None:
    """The peer linked with the running node whose id differs from `text` by a slip or two, if there is one."""
    import difflib

    from node.cli_session import running_node

    client = running_node(node_config(ctx))
    if client is None:
        return None

    async def work() -> list[str]:
        async with client:
            return [link["peer"] for link in (await client.call("peers", {}))["links"]]

    try:
        peers = run_async(work)
    except ApiFailure:  # What is wrong with the id is the news; this was to help only.
        return None
    return next(iter(difflib.get_close_matches(text, peers, 1, SLIP)), None)


def _reached(part: Document) -> bool:
    return bool(part.get("reached"))
