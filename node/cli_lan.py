"""The command `lan`: peers on the local network, and what keeps others from being found.

Decides what is shown. Refuses to know how peers are found.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any

import typer

from node.cli_log import event_line
from node.cli_options import Json, NodeCommand, node_config
from node.cli_session import open_session, run_async

Document = dict[str, Any]

COLUMNS = {
    "peer": "peer",
    "address": "address",
    "rtt": "rtt",
    "since": "since",
    "interface": "interface",
    "ways": "heard by",
}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("lan", cls=NodeCommand)(lan)


def lan(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with who comes and goes until Ctrl-C.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0.0, max=10.0, help="Seconds that a node just started gets to look around.")
    ] = 1.5,
    json: Json = False,
) -> None:
    """List the peers on the local network, and what keeps others from being found."""
    from node import cli_render as render

    async def work() -> None:
        async with open_session(node_config(ctx)) as session:
            document = await session.call("lan", {"wait": wait})
            if json:
                (render.emit_line if watch else render.emit)(document)
            else:
                show(document)
            if not watch:
                return
            async with aclosing(session.stream("log", {"last": 100, "follow": True})) as events:
                async for event in events:
                    if not event["kind"].startswith("lan-") or event["time"] <= document["time"]:
                        continue
                    if json:
                        render.emit_line(event)
                    else:
                        print(event_line(event), flush=True)

    run_async(work)


def show(document: Document) -> None:
    """The peers as a table, then what ails."""
    from node import cli_render as render

    if document["visible"] == "off":
        render.screen().print("the local network is not used (setting lan, or the node listens on loopback only)")
        return
    peers = [{**peer, "address": peer["contact"].partition("@")[2]} for peer in document["peers"]]
    render.table(peers, COLUMNS, empty="nobody else is on the local network")
    screen = render.screen()
    looked = "; ".join(document["interfaces"]) or "no interface"
    screen.print(f"\nlooked on {looked} by {', '.join(document['ways']) or 'no way'}", style="dim", markup=False)
    for problem in document["problems"]:
        screen.print(problem, style="yellow", markup=False)
