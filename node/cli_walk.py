"""What `rookery find --explain` draws: a look-up in time and by distance, who led to whom, and why it ended.

Decides how a walk looks. Refuses to walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.tree import Tree

Document = Mapping[str, Any]

ID_BITS: Final = 160

BAR: Final = 28
"""Columns of the time line. UNSOURCED: beside the other columns it fits 100."""

ENDS: Final = {
    "agreed": "It ended when enough nodes had answered with the same newest record ({copies} equal copies).",
    "all": "It ended when every node there is had been asked: the network has fewer than a record has copies.",
    "closest": "It ended when the nodes closest to the place, as many as a record has copies, had answered.",
    "exhausted": "It ended because nobody was left to ask.",
    "nobody": "It ended at once: this node knows no other node.",
}
"""Why a look-up ended, for people."""

COLOURS: Final = {"answered": "green", "slow": "yellow", "waiting": "yellow", "failed": "red"}


def draw(document: Document) -> None:
    """Print the walk of a look-up: its time line, then who led to whom, then how it ended."""
    from node import cli_render as render

    screen = render.screen()
    asked = sorted(document.get("trace", []), key=lambda each: each["asked_at"])
    screen.print()
    if asked:
        screen.print(time_line(asked, document["seconds"]))
        screen.print()
        screen.print(tree(asked))
        screen.print()
    screen.print(summary(document, asked), highlight=False)


def time_line(asked: Sequence[Document], seconds: float) -> Any:
    """Who was asked when, how near they are, how long they took, and what they said."""
    from rich.table import Table

    from node import cli_render as render

    length = max([seconds, *(each["asked_at"] + (each["rtt"] or 0.0) for each in asked)]) or 1.0
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for head, justify in (
        ("#", "right"),
        ("asked", "left"),
        ("common bits", "right"),
        ("took", "right"),
        ("said", "left"),
    ):
        grid.add_column(head, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    grid.add_column(f"0 … {render.span(length)}", no_wrap=True)
    for number, each in enumerate(asked, 1):
        colour = COLOURS.get(each["state"], "")
        took = render.span(each["rtt"]) if each["rtt"] is not None else ""
        grid.add_row(
            str(number),
            short(each["contact"]),
            str(ID_BITS - each["distance_bits"]),
            took,
            f"[{colour}]{said(each)}[/{colour}]" if colour else said(each),
            f"[{colour}]{bar(each, length)}[/{colour}]" if colour else bar(each, length),
        )
    return grid


def tree(asked: Sequence[Document]) -> Tree:
    """Who led to whom: below each node those that it named first and that were asked."""
    from rich.tree import Tree

    numbers = {each["contact"]: number for number, each in enumerate(asked, 1)}
    root = Tree("this node's own table")
    places: dict[str | None, Tree] = {None: root}
    # Whoever names somebody was asked before: its place in the tree is there.
    for number, each in enumerate(asked, 1):
        parent = places.get(each["by"], root)
        mark = " [green]●[/green]" if each["had_value"] else " [red]✗[/red]" if each["state"] == "failed" else ""
        places[each["contact"]] = parent.add(f"#{numbers.get(each['contact'], number)} {short(each['contact'])}{mark}")
    return root


def said(each: Document) -> str:
    """What one node answered."""
    if each["state"] == "failed":
        return "nothing"
    if each["state"] != "answered":
        return "not waited for" if each["state"] == "waiting" else "slow, not waited for"
    new = f"{each['named']} new node{'s' if each['named'] != 1 else ''}"
    return f"the record, {new}" if each["had_value"] else new


def bar(each: Document, length: float) -> str:
    """When a node was asked and until when it was waited for."""
    start = min(BAR - 1, int(BAR * each["asked_at"] / length))
    end = length if each["rtt"] is None else each["asked_at"] + each["rtt"]
    width = max(1, round(BAR * end / length) - start)
    fill = "█" if each["rtt"] is not None else "░"
    return " " * start + fill * min(width, BAR - start)


def short(contact: str) -> str:
    """A node with as much of its key as tells it from others."""
    key, _, address = contact.partition("@")
    return f"{key[:6]}…@{address}"


def summary(document: Document, asked: Sequence[Document]) -> str:
    """Why it ended, and what it took, in a sentence or two."""
    from node import cli_render as render

    end = ENDS.get(document.get("ended", ""), "").format(copies=document.get("copies", 0))
    stats = document.get("stats") or {}
    lost = sum(each["state"] == "failed" for each in asked)
    silent = f", {lost} of them silent" if lost else ""
    took = f"{len(asked)} nodes asked{silent}, {stats.get('hops', 0)} hops, {render.span(document['seconds'])}."
    return f"{end} {took}".strip()
