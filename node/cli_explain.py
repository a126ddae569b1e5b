"""What `rookery connect --explain` shows: the ways that were tried, the addresses of both ends, and why not direct.

Decides how an attempt is told to people. Refuses to try anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Document = Mapping[str, Any]

RUNG_COLUMNS: Final = {
    "rung": "looked for",
    "begun": "begun after",
    "took": "took",
    "outcome": "outcome",
    "why": "what",
}
WAY_COLUMNS: Final = {"way": "way", "begun": "begun after", "took": "took", "outcome": "outcome", "why": "why"}
PAIR_COLUMNS: Final = {"local": "ours", "remote": "the peer's", "outcome": "outcome", "checks": "checks"}

NAMES: Final = {
    "dial": "dialled, no answer needed",
    "ice": "offer and answer, then ICE",
    "relay": "through a relay",
    "websocket": "over TCP",
}


RUNGS: Final = {
    "cache": "where it was before",
    "invite": "where its invite says",
    "lan": "on the local network",
    "direct": "called through nodes remembered",
    "gossip": "by gossip",
    "dht": "in the DHT",
    "bootstrap": "after asking the lists again",
}


def show(document: Document) -> None:
    """Print how an attempt went, whether it ended in a link or not."""
    from node import cli_render as render

    screen = render.screen()
    if document.get("reused"):
        screen.print("The link was open already: nothing was tried.")
        return
    rungs = [
        {
            "rung": RUNGS.get(rung["rung"], rung["rung"]),
            "begun": render.span(rung["started"]),
            "took": "" if rung["outcome"] == "skipped" else render.span(rung["seconds"]),
            "outcome": rung["outcome"],
            "why": rung["detail"],
        }
        for rung in document.get("rungs", [])
    ]
    render.table(rungs, RUNG_COLUMNS, empty="")
    if rungs:
        screen.print()
    ways = document.get("ways", [])
    rows = [
        {
            "way": " ".join((NAMES.get(way["way"], way["way"]), *(way["remote"] if way["rung"] else ()))),
            "begun": render.span(way["started"]),
            "took": "" if way["outcome"] == "skipped" else render.span(way["seconds"]),
            "outcome": way["outcome"],
            "why": way["detail"],
        }
        for way in ways
    ]
    render.table(rows, WAY_COLUMNS, empty="No way was tried: " + (document.get("detail") or "nothing is known of it"))
    for way in ways:
        _show_addresses(way)
    if verdict := why_not_direct(document):
        screen.print()
        screen.print(render.escape(verdict))


def why_not_direct(document: Document) -> str:
    """In one sentence, why a relay carries the link; empty when it is direct, or there is none."""
    ways = {way["way"]: way for way in document.get("ways", [])}
    relay = ways.get("relay")
    if not document.get("connected") or relay is None or relay["outcome"] != "opened":
        return ""
    ice = ways.get("ice")
    if ice is None:
        return "A relay carries the link: no direct path was tried."
    if ice["outcome"] == "failed":
        return f"A relay carries the link: {ice['detail']}."
    return (
        "A relay carries the link: no direct path had opened when the relay's did. "
        "One is still looked for, and the link goes over to it."
    )


def _show_addresses(way: Document) -> None:
    from node import cli_render as render

    screen = render.screen()
    if not way["local"]:
        return  # An address that was dialled is in the table.
    screen.print()
    screen.print(f"{NAMES.get(way['way'], way['way'])}:", style="bold")
    for whose, addresses in (("our addresses", way["local"]), ("the peer's addresses", way["remote"])):
        screen.print(f"  {whose}: {', '.join(addresses) or 'none'}", highlight=False, markup=False)
    if way["pairs"]:
        render.table(way["pairs"], PAIR_COLUMNS, empty="")
