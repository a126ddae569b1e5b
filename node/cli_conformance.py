"""The command `conformance`: whether a running node, of whatever make, keeps the rules of the wire protocol.

Decides how a node is named and how verdicts look. What is checked stands in `node/conformance/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import failed
from node.cli_options import Json, NodeCommand, node_config
from node.cli_session import run_async

if TYPE_CHECKING:
    from dht.contact import Contact
    from node.conformance.suite import Verdict

MARKS = {"passed": "green", "failed": "red", "unjudged": "yellow", "skipped": "dim"}
"""Outcomes and their colours."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("conformance", cls=NodeCommand)(conformance)


def conformance(
    ctx: typer.Context,
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="The node: HOST:PORT, or KEY@HOST:PORT as nodes print it.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Its node key, where TARGET is HOST:PORT.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run this check alone (repeatable).")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="Also what takes minutes, or sends in masses.")] = False,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks and end.")] = False,
    json: Json = False,
) -> None:
    """Check over UDP that a running node keeps the rules of the protocol, and say which it breaks."""
    from node import cli_render as render
    from node.conformance import suite

    unknown = [name for name in only or () if name not in suite.load()]
    if unknown:
        raise ApiFailure("bad-input", f"there is no check {unknown[0]!r}", "`rookery conformance --list` names them")
    if list_checks:
        show_checks(as_json=json)
        return
    if target is None:
        raise ApiFailure("bad-input", "say which node: HOST:PORT with --key, or KEY@HOST:PORT")
    contact = named(target, key)
    verdicts: list[Verdict] = []

    async def work() -> None:
        async for verdict in suite.run(opened(ctx, contact, thorough=thorough), only or ()):
            verdicts.append(verdict)
            if not json:
                show(verdict)

    run_async(work)
    counts = {outcome: sum(each.outcome == outcome for each in verdicts) for outcome in MARKS}
    if json:
        from node.api_json import to_json

        render.emit({"target": contact.text, "ok": not counts["failed"], **counts, "checks": to_json(verdicts)})
    else:
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        render.screen().print(f"\n{contact.text}: {told}", highlight=False)
    if counts["failed"]:
        failed("not-conforming", f"{counts['failed']} of {len(verdicts)} checks failed")


def named(target: str, key: str | None) -> Contact:
    """The node as the user named it. Raises `LocalError`."""
    from dht.contact import parse_contact

    if "@" in target:
        if key is not None and not target.startswith(f"{key}@"):
            raise ApiFailure("bad-input", "TARGET names another node key than --key")
        return parse_contact(target)
    if key is None:
        raise ApiFailure(
            "bad-input",
            "a node only understands what is sealed to its key: say which it has",
            "give --key, or KEY@HOST:PORT as `rookery status` prints it under contact",
        )
    return parse_contact(f"{key}@{target}")


def opened(ctx: typer.Context, contact: Contact, *, thorough: bool) -> Any:
    """The suite's view of that node, in the network of the configuration."""
    import random
    from functools import partial

    from dht.sealing import PUBLIC_NETWORK
    from node.adapters.probe_line import udp_line
    from node.conformance.target import Target
    from node.node_parts import network_secret

    config = node_config(ctx)
    return Target(
        contact.key,
        partial(udp_line, contact.address),
        random.SystemRandom(),
        network=PUBLIC_NETWORK,
        network_key=network_secret(config.network, config.network_key),
        thorough=thorough,
    )


def show(verdict: Verdict) -> None:
    """One verdict as a line, and below it why, where it is not good."""
    from node import cli_render as render

    screen = render.screen()
    colour = MARKS[verdict.outcome]
    screen.print(f"[{colour}]{verdict.outcome:9}[/{colour}] {verdict.name:18} {render.escape(verdict.rule)}")
    if verdict.outcome in ("failed", "unjudged"):
        screen.print(f"{'':28} {render.escape(verdict.reason)} [dim](protocol.md, {verdict.part})[/dim]")


def show_checks(*, as_json: bool) -> None:
    """What can be checked."""
    from node import cli_render as render
    from node.conformance.suite import load

    rows = [
        {"name": each.name, "part": each.part, "rule": each.rule, "thorough": each.thorough} for each in load().values()
    ]
    if as_json:
        render.emit({"checks": rows})
    else:
        shown = [{**row, "thorough": "--thorough" if row["thorough"] else ""} for row in rows]
        render.table(shown, {"name": "check", "part": "part of protocol.md", "rule": "rule", "thorough": ""}, empty="")
