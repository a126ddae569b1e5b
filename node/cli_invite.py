"""`rookery invite`: make invites, show them as a code, a link or text, list them, take them back.

Decides that a command which makes an invite with no node running stays until it was used: somebody has to be there.
Refuses to know what an invite holds, and how it is shown (`cli_forms`).
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from node.adapters.http import ApiFailure
from node.cli_forms import Dense, LightGround, Link, Png, Qr, Shown, Svg, Text
from node.cli_options import Json, NodeCommand, machine_config, node_config
from node.cli_session import Session, run_async, running_node, waiting

if TYPE_CHECKING:
    from node.adapters.invite_ledger import InviteLedger
    from node.config import NodeConfig

Document = dict[str, Any]

LEAST_LIFETIME: Final = 60.0
"""Seconds. UNSOURCED: nobody reads a code faster"""

Id = Annotated[str, typer.Argument(metavar="ID", help="The invite's id: seven characters, as `invite list` shows.")]


class InviteGroup(TyperGroup):
    """The group, which makes an invite when no command of it is named: takes every setting of the node as a flag."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The group's own parameters, then the settings."""
        from node.cli_settings import options

        own = super().get_params(ctx)
        taken = {name for param in own for name in getattr(param, "opts", ())}
        return [*own[:-1], *options(taken, shows_all=False), *own[-1:]]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(name="invite", cls=InviteGroup, invoke_without_command=True)
    group.callback()(invite)
    group.command("list", cls=NodeCommand)(list_invites)
    group.command("show", cls=NodeCommand)(show_again)
    group.command("revoke", cls=NodeCommand)(revoke)
    app.add_typer(group)


def invite(
    ctx: typer.Context,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="Into this network; else the node's own.")
    ] = None,
    uses: Annotated[int, typer.Option("--uses", "-n", min=1, max=65535, help="How many may come in with it.")] = 1,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="How long it is good for: 30min, 12h, 7d, 4w.")
    ] = "7d",
    qr: Qr = False,
    dense: Dense = False,
    light: LightGround = False,
    png: Png = None,
    svg: Svg = None,
    link: Link = False,
    text: Text = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Stay until it was used, telling by whom.")] = False,
    json: Json = False,
) -> None:
    """Invite somebody: make an invite, and show it as a QR code and a link.

    Whoever has it can come in until it is used up, expired or revoked. With no node running, this command is the node
    that lets them in, and stays until it is used up.
    """
    from node.cli_settings import GIVEN
    from node.node_networks import store_of

    if ctx.invoked_subcommand is not None:
        return
    params: Document = {"uses": uses, "lifetime": lifetime_of(expires)}
    if network is not None:
        params["network"] = network
        if network in store_of(machine_config(ctx)).names() or running_node(node_config(ctx)) is None:
            ctx.meta.setdefault(GIVEN, {})["network"] = network
    shown = Shown(qr=qr, dense=dense, light=light, png=png, svg=svg, link=link, text=text, as_json=json)
    shown.check()
    config = node_config(ctx)

    async def work() -> None:
        async with AsyncExitStack() as stack:
            session = running_node(config)
            stays = wait or session is None
            used: Session = await stack.enter_async_context(session) if session else await started(stack, config)
            events = await stack.enter_async_context(aclosing(used.stream("log", {"follow": True, "last": LOOK_BACK})))
            document = await used.call("invite", params)
            shown.show(document)
            if stays:
                await until_used(events, document, as_json=json)

    run_async(work)


def list_invites(ctx: typer.Context, json: Json = False) -> None:
    """List the invites this node has made, and who came in with them."""
    import time

    from node import cli_render as render
    from node.api_invites import entry_document

    now = time.time()
    rows = [entry_document(entry, now) for entry in ledger_of(ctx).entries()]
    if json:
        render.emit({"invites": rows})
        return
    for row in rows:
        row["who"] = [one["peer"] for one in row["redeemed_by"]]
        row["uses"] = f"{row['used']} of {row['uses']}"
    render.table(rows, COLUMNS, empty="no invite was made here yet: `rookery invite` makes one")


def show_again(
    ctx: typer.Context,
    named: Id,
    qr: Qr = False,
    dense: Dense = False,
    light: LightGround = False,
    png: Png = None,
    svg: Svg = None,
    link: Link = False,
    text: Text = False,
    json: Json = False,
) -> None:
    """Show an invite again, in any form. Whom it reaches is as it was when it was made."""
    from node.api_invites import invite_document

    shown = Shown(qr=qr, dense=dense, light=light, png=png, svg=svg, link=link, text=text, as_json=json)
    shown.check()
    shown.show(invite_document(ledger_of(ctx).named(named).invite, node_config(ctx).invite_page))


def revoke(ctx: typer.Context, named: Id, json: Json = False) -> None:
    """Take an invite back: nobody comes in with it any more. Who has come in stays in."""
    import time

    from node import cli_render as render
    from node.api_invites import entry_document

    ledger, now = ledger_of(ctx), time.time()
    token = ledger.named(named).invite.token
    news = ledger.revoke(token, now)
    document = entry_document(ledger.named(named), now)
    if json:
        render.emit(document)
        return
    said = "is revoked" if news else "was revoked before"
    print(f"invite {document['id']} {said}; {document['used']} of {document['uses']} had come in with it")


COLUMNS: Final = {
    "id": "id",
    "state": "state",
    "network": "network",
    "uses": "used",
    "issued_at": "made",
    "expires_at": "expires",
    "who": "who came in",
}


async def started(stack: AsyncExitStack, config: NodeConfig) -> Session:
    """A node in this process that stays as long as the command does."""
    from node.api import Api
    from node.cli_session import joined_or_alone, node_for, warn

    with waiting("no node runs here: this command is one until the invite was used"):
        node = await stack.enter_async_context(node_for(config.replace(api=None, api_http=None)))
        await joined_or_alone(node)
    warn(node, set())
    return Api(node)


async def until_used(events: Any, document: Document, *, as_json: bool) -> None:
    """Tell who comes in, until nobody can any more."""
    import asyncio
    import time

    from node.cli_render import emit_line, plain

    left = document["uses"]
    if not as_json:
        print("waiting for it to be used (Ctrl-C ends this)", file=sys.stderr)
    try:
        async with asyncio.timeout(max(0.0, document["expires_at"] - time.time())):
            async for event in events:
                fields = event["fields"]
                if fields.get("id") != document["id"] or event["kind"] not in ("invite-redeemed", "invite-refused"):
                    continue
                if as_json:
                    emit_line({"event": event["kind"], **fields})
                else:
                    print(plain(event["text"]), file=sys.stderr, flush=True)
                left -= event["kind"] == "invite-redeemed" and not fields["again"]
                if not left:
                    # The last one is still reading its answer.
                    await asyncio.sleep(LINGER)
                    return
    except TimeoutError:
        raise ApiFailure("invite-expired", "the invite has expired, and nobody used it up", fault="operation") from None


LOOK_BACK: Final = 100
"""Events of the past that are looked through: somebody may be quicker than this command. UNSOURCED"""

LINGER: Final = 2.0
"""Seconds for which a node of this command stays after the last use: the answer is on its way, and who lost it asks
again. UNSOURCED"""


def ledger_of(ctx: typer.Context) -> InviteLedger:
    """The ledger of this node; several processes may use it at once, so no running node is asked."""
    from node.adapters.invite_ledger import InviteLedger

    return InviteLedger(node_config(ctx).invites_file)


def lifetime_of(text: str) -> int:
    """Read how long an invite is to be good for: whole seconds. Raises `ApiFailure`."""
    from node.protocols.invite import MAX_LIFETIME

    return span_of(text, "--expires", LEAST_LIFETIME, MAX_LIFETIME, "a minute to 366 days")


def span_of(text: str, option: str, least: float, most: float, allowed: str) -> int:
    """Read a span of time as a person writes it: whole seconds, from `least` to `most`. Raises `ApiFailure`."""
    import re

    units = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|min|m|h|d|w)", text.strip().lower())
    seconds = float(found[1]) * units[found[2]] if found else 0.0
    if not least <= seconds <= most:
        raise ApiFailure("bad-input", f"{option} {text!r} is not allowed", f"write 30min, 12h, 7d or 4w: {allowed}")
    return int(seconds)
