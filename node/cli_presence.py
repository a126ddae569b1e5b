"""The commands about presence: `presence set` and `presence show`.

Decides what is asked of the node and how it is shown. Refuses to know how the node learns of it.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from node.adapters.http import ApiFailure
from node.cli_live import COLUMNS
from node.cli_options import Json, NodeCommand, node_config
from node.cli_peers import ask, known_peer
from node.cli_session import open_session, run_async

Document = dict[str, Any]

STATUSES = ("online", "away", "busy")

EDGE_COLUMNS = {"peer": "peer", "neighbour": "neighbour", "mutual": "both say so"}


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(name="presence", help="Say whether you are there, and see who is.", no_args_is_help=True)
    group.command("set", cls=NodeCommand)(set_status)
    group.command("show", cls=NodeCommand)(show)
    app.add_typer(group)


def set_status(
    ctx: typer.Context,
    status: Annotated[str, typer.Argument(metavar="STATUS", help=f"One of {', '.join(STATUSES)}.")],
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="A line that others see beside it.")] = "",
    json: Json = False,
) -> None:
    """Tell all who know this node that you are online, away or busy. Lasts as long as the node runs."""
    from node import cli_render as render

    if status not in STATUSES:
        raise typer.BadParameter(f"{status!r} is not one of {', '.join(STATUSES)}", param_hint="STATUS")

    async def work() -> Document:
        async with open_session(node_config(ctx), start=False) as session:
            return await session.call("set-presence", {"status": status, "text": text})

    document = run_async(work)
    if json:
        render.emit(document)
    else:
        own = document["own"]
        said = f": {own['status_text']}" if own["status_text"] else ""
        render.screen().print(f"{own['status']}{render.escape(said)}, told to {len(own['neighbours'])} neighbours")


def show(
    ctx: typer.Context,
    peer: Annotated[str | None, typer.Argument(metavar="[PEER]", help="Only this one.")] = None,
    topology: Annotated[bool, typer.Option("--topology", help="Show who is linked with whom.")] = False,
    json: Json = False,
) -> None:
    """Show what you say of yourself, and who is there as far as this node knows."""
    from node import cli_render as render

    params: Document = {"topology": topology}
    if peer is not None:
        params["peer"] = known_peer(ctx, peer)
    document = ask(ctx, "presence", params)
    if json:
        render.emit(document)
    elif peer is None:
        render.fields(document["own"], skip=("counters",))
        render.screen().print("\n[bold]peers[/bold]")
        render.table(document["peers"], COLUMNS, empty="nobody yet: gossip goes over links, and needs one")
        if topology:
            render.screen().print("\n[bold]links among them[/bold]")
            render.table(document["topology"], EDGE_COLUMNS, empty="none known")
    elif document["peer"] is not None:
        render.fields(document["peer"])
    if peer is not None and document["peer"] is None:
        raise ApiFailure("not-found", f"gossip has brought nothing of {peer} to this node; `rookery find` asks the DHT")
