"""The command `log`: what the running node did.

Decides what is shown of an event and which are left out. Refuses to know what the events mean.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Annotated, Any

import typer

from node.cli_options import Json, NodeCommand, node_config
from node.cli_session import open_session, run_async

Document = dict[str, Any]

LEVELS = ("debug", "info", "warning", "error")
"""From chatty to grave, as the logging package ranks them."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("log", cls=NodeCommand)(log)


def log(
    ctx: typer.Context,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Show so many past events first.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events until Ctrl-C.")] = False,
    level: Annotated[str, typer.Option("--level", "-l", help=f"Least level: {', '.join(LEVELS)}.")] = "info",
    json: Json = False,
) -> None:
    """Show what the running node did, newest last."""
    from node import cli_render as render

    if level not in LEVELS:
        raise typer.BadParameter(f"{level!r} is not one of {', '.join(LEVELS)}", param_hint="--level")
    params = {"last": last, "follow": follow, "level": level}

    async def work() -> None:
        async with (
            open_session(node_config(ctx), start=False) as session,
            aclosing(session.stream("log", params)) as events,
        ):
            async for event in events:
                if json:
                    render.emit_line(event)
                else:
                    print(event_line(event), flush=True)

    run_async(work)


def event_line(event: Document) -> str:
    """One event as a line: local time, level, text."""
    from node import cli_render as render

    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    return f"{moment} {event.get('level', 'info').upper():7} {render.plain(event['text'])}"
