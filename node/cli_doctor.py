"""The command `doctor`: what is wrong with this node's network, in words, and what to do about it.

Decides how findings look. What is looked at stands in `node_doctor`, what it means in `node_diagnosis`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from node.cli_exit import failed
from node.cli_options import Json, NodeCommand, node_config
from node.cli_session import as_usual, open_session, run_async, running_node, short_lived

OBSERVED: Final = 15.0
"""Seconds that a node started for this looks around: for a round of dial-backs, three home nodes, the router's answer.
The first round comes with the join, a second, where votes were too few, after 15 s (docs/protocol.md)."""

MARKS: Final = {"ok": ("✓", "green"), "note": ("•", "yellow"), "problem": ("✗", "red"), "unknown": ("?", "dim")}
"""How each state looks."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor", cls=NodeCommand)(doctor)


def doctor(
    ctx: typer.Context,
    observe: Annotated[
        float,
        typer.Option(
            "--observe",
            min=0,
            max=120,
            metavar="SECONDS",
            help="Where no node runs here: how long one that is started for this looks around before.",
        ),
    ] = OBSERVED,
    json: Json = False,
) -> None:
    """Say what is wrong with this node's network, and what to do about it."""
    from node import cli_render as render

    config = node_config(ctx)

    async def work() -> dict[str, Any]:
        if running_node(config) is not None:
            async with open_session(config) as session:
                return await session.call("doctor", {})
        # A client of a moment knows nothing of how others see it: nobody dials it back, no router is asked for a port.
        async with short_lived(config, prepare=as_usual, observe=observe) as session:
            return await session.call("doctor", {})

    document = run_async(work)
    if json:
        render.emit(document)
    else:
        for finding in document["findings"]:
            show(finding)
    problems = [finding for finding in document["findings"] if finding["state"] == "problem"]
    if problems:
        failed("unhealthy", f"{len(problems)} problem{'s' if len(problems) > 1 else ''} with this node's network")


def show(finding: dict[str, Any]) -> None:
    """One finding as a line, and below it what to do."""
    from node import cli_render as render

    mark, colour = MARKS[finding["state"]]
    screen = render.screen()
    screen.print(f"[{colour}]{mark}[/{colour}] {finding['name']:8} {render.escape(finding['text'])}")
    if finding["advice"] and finding["state"] != "ok":
        screen.print(f"{'':10} [dim]→[/dim] {render.escape(finding['advice'])}")
