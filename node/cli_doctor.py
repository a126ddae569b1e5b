"""The command `doctor`: what is wrong with this node's network, in words, and what to do about it.

Decides how findings look. What is looked at stands in `node_doctor`, what it means in `node_diagnosis`.
"""

from __future__ import annotations

from typing import Any, Final

import typer

from node.cli_exit import failed
from node.cli_options import Json, NodeCommand
from node.cli_peers import ask

MARKS: Final = {"ok": ("✓", "green"), "note": ("•", "yellow"), "problem": ("✗", "red"), "unknown": ("?", "dim")}
"""How each state looks."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor", cls=NodeCommand)(doctor)


def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Say what is wrong with this node's network, and what to do about it."""
    from node import cli_render as render

    document = ask(ctx, "doctor", {})
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
