"""The live view of `peers --watch`: a table that stays up to date on a terminal, a JSON line for each event elsewhere.

Decides what is on the screen. Refuses to know how the node learns of it.
"""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import typer

from node.cli_options import node_config
from node.cli_session import open_session, run_async

if TYPE_CHECKING:
    from rich.table import Table

Document = dict[str, Any]

COLUMNS = {
    "peer_name": "name",
    "peer": "peer",
    "status": "status",
    "status_text": "says",
    "last_seen": "last seen",
    "hops": "hops",
    "linked": "linked",
}
COLOURS = {"online": "green", "away": "yellow", "busy": "red", "offline": "dim"}


def watch_peers(ctx: typer.Context, *, json: bool) -> None:
    """Show who is there until Ctrl-C: a live table on a terminal, a line for each event elsewhere."""
    from node import cli_render as render

    live = sys.stdout.isatty() and not json

    async def work() -> None:
        async with (
            open_session(node_config(ctx), start=False) as session,
            aclosing(session.stream("watch-presence", {"every": 2.0 if live else 3600.0})) as events,
        ):
            if live:
                await _live_table(events)
                return
            async for event in events:
                if json or not sys.stdout.isatty():
                    render.emit_line(event)

    run_async(work)


async def _live_table(events: Any) -> None:
    from rich.live import Live

    from node import cli_render as render

    peers: dict[str, Document] = {}
    news: list[str] = []
    own: Document = {}
    with Live(console=render.screen(), auto_refresh=False, screen=False) as screen:
        async for event in events:
            if event["event"] == "peers":
                own = event["own"]
                peers = {one["peer"]: one for one in event["peers"]}
            else:
                if event["now"] is not None:
                    peers[event["peer"]] = event["now"]
                moment = time.strftime("%H:%M:%S", time.localtime(event["time"]))
                news = [*news[-4:], f"{moment} {render.plain(event['text'])}"]
            screen.update(_screen(own, list(peers.values()), news), refresh=True)


SHOWN = 30
"""Peers on the screen: the close ones come first."""


def _screen(own: Document, peers: list[Document], news: list[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from node import cli_render as render

    there = sum(one["status"] != "offline" for one in peers)
    title = f"{there} of {len(peers)} peers are there · you are {own.get('status', 'online')} · Ctrl-C ends this"
    grid = Table(title=title, title_justify="left", caption="\n".join(news), caption_justify="left", box=None)
    for key, head in COLUMNS.items():
        grid.add_column(head, no_wrap=key != "status_text", min_width=render.ID_WIDTH if key == "peer" else None)
    for one in peers[:SHOWN]:
        status = f"{one['status']}?" if one["state"] == "suspected" else one["status"]
        cells = [render.text(one.get(key), key) for key in COLUMNS if key != "status"]
        grid.add_row(*cells[:2], Text(status, style=COLOURS.get(one["status"], "")), *cells[2:])
    return grid
