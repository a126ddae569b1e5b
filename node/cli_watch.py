"""The command `watch`: a record as it is now, and each newer one as soon as its holders tell of it.

Decides how changes look: a line each, and on a terminal one more that says how things stand. Refuses to know who tells.
"""

from __future__ import annotations

import sys
import time
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.adapters.http import ApiFailure
from node.cli_options import Json, NodeCommand, node_config
from node.cli_peers import known_peer
from node.cli_records import encoded, shown
from node.cli_session import open_session, run_async

if TYPE_CHECKING:
    from rich.status import Status

Document = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("watch", cls=NodeCommand)(watch)


def watch(
    ctx: typer.Context,
    peer: Annotated[str | None, typer.Argument(metavar="[PEER]", help="Whose record.")] = None,
    salt: Annotated[
        str | None, typer.Option("--salt", "-s", help="Name of the record; without it the peer record.")
    ] = None,
    place: Annotated[str | None, typer.Option("--place", help="Place of a record, as `put` printed it.")] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many records.")] = None,
    json: Json = False,
) -> None:
    """Follow a record: as it is now, and every change as soon as the nodes that hold it tell of it."""
    from node import cli_render as render

    if (peer is None) == (place is None) or (place is not None and salt is not None):
        raise ApiFailure("bad-input", "say which record: PEER, PEER with --salt, or --place")
    params: Document = {}
    if peer is not None:
        params["peer"] = known_peer(ctx, peer)
    if salt is not None:
        params["salt_base64"] = encoded(salt.encode())
    if place is not None:
        params["place"] = place
    if count is not None:
        params["count"] = count

    async def work() -> None:
        async with open_session(node_config(ctx)) as session:
            live = not json and sys.stderr.isatty()
            with render.margin().status("reading the record …") if live else nullcontext() as status:
                async with aclosing(session.stream("watch", params)) as events:
                    async for event in events:
                        if json:
                            render.emit_line(event)
                        else:
                            show(event, status)

    run_async(work)


def show(event: Document, status: Status | None) -> None:
    """One change as a line; how things stand beside it."""
    line = line_of(event)
    if line:
        print(line, flush=True)
    if status is not None and event["event"] != "watching":
        status.update(standing(event))
    elif event["event"] == "holders" and status is None:
        print(standing(event), file=sys.stderr, flush=True)


def line_of(event: Document) -> str:
    """What has changed, as one line; nothing for what is no change of the record."""
    from node import cli_render as render

    record = event.get("record")
    if event["event"] not in ("record", "lapsed") or record is None:
        return ""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    if event["event"] == "lapsed":
        return f"{moment} expired: number {record['seq']}, and none has come in its place"
    via = "" if event["via"] is None else f" (told by {event['via'].rpartition('@')[2]})"
    return f"{moment} number {record['seq']}{via}: {render.plain(said(record))}"


def said(record: Document) -> str:
    """What a record says, in one line."""
    import base64

    peer = record.get("peer_record")
    if peer is None:
        return shown(base64.b64decode(record["value_base64"])).replace("\n", " ")
    ways = [*peer["direct"], *peer["homes"]]
    parts = [f"reached at {ways[0].rpartition('@')[2]}" if peer["direct"] else f"reached by {len(ways)} home nodes"]
    if not ways:
        parts = ["not reached by any node"]
    if peer["status"]:
        parts.append(f"status “{peer['status']}”")
    parts.append(", ".join(peer["capabilities"]))
    return "; ".join(part for part in parts if part)


def standing(event: Document) -> str:
    """How things stand, for the line below."""
    holders = event["holders"]
    if not holders:
        return "nobody tells of changes yet: looking for the nodes that hold the record"
    told = f"{holders} node{'s tell' if holders > 1 else ' tells'} of changes"
    return f"watching: {told}" if event["record"] else f"watching: {told}; there is no record yet"
