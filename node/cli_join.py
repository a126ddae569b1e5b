"""`rookery join`: come into a network with an invite, given as a link, as text, or as a picture of a QR code.

Decides where an invite is looked for, what is asked before anything is changed, and what the configuration must say
afterwards. Refuses to know how an invite is redeemed.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.adapters.http import ApiFailure
from node.cli_options import Json, NodeCommand, node_config
from node.cli_session import can_ask, run_async, running_node, waiting

if TYPE_CHECKING:
    from node.config import NodeConfig
    from node.protocols.invite import Invite

Document = dict[str, Any]

LONGEST_ARGUMENT: Final = 255
"""Characters up to which an argument may be the name of a file: no file system takes longer ones."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("join", cls=NodeCommand)(join)


def join(
    ctx: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LINK|TEXT|IMAGE]", help="The invite, or a file with it; - for standard input."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Change the configuration without asking.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to try for.")] = 30.0,
    json: Json = False,
) -> None:
    """Come into a network with an invite: a link, its text, or a picture of its QR code."""
    from node.cli_settings import CONFIG, GIVEN

    invite = given_invite(what or [], as_json=json)
    invite.check_time(time.time())
    config = node_config(ctx)
    file = Path(ctx.meta.get(GIVEN, {}).get(CONFIG) or config_file())
    agreed(invite, config, file, yes=yes, as_json=json)

    async def work() -> Document:
        return await joined(invite, config, timeout, as_json=json)

    document = run_async(work)
    changes = settings_for(invite, document)
    if changes:
        config.replace(**changes)  # A file that no node could start with is not written.
        from node.adapters.config_file import change_file

        change_file(file, changes)
    tell(document, file if changes else None, running=running_node(config) is not None, as_json=json)


# What was given


def given_invite(what: list[str], *, as_json: bool = False) -> Invite:
    """The invite in the arguments, in the file they name, on standard input, or typed; programs are not asked to type.

    Raises `BadInvite` or `ApiFailure`.
    """
    from node.protocols.invite_text import find_invite

    said = " ".join(what)
    if sys.stdin is not None and (said == "-" or (not said and not can_ask())):
        return invite_in(sys.stdin.buffer.read(1 << 26), "standard input")
    if said == "-" or (not said and (as_json or not can_ask())):
        raise ApiFailure("bad-input", "no invite was given", "name a link, its text, or a picture of its QR code")
    if not said:
        return find_invite(asked_for())
    if len(said) <= LONGEST_ARGUMENT and ":" not in said[2:] and Path(said).expanduser().exists():
        path = Path(said).expanduser()
        try:
            return invite_in(path.read_bytes(), str(path))
        except OSError as error:
            raise ApiFailure("no-such-file", f"{path} cannot be read: {error.strerror}") from None
    if len(what) == 1 and "\n" not in said and Path(said).suffix.lower() in PICTURES:
        raise ApiFailure("no-such-file", f"there is no file {said}")
    return find_invite(said)


PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".txt"})
"""Names that end so are meant as files."""


def invite_in(data: bytes, where: str) -> Invite:
    """The invite in a file: a picture of its code, or text. Raises `BadInvite`."""
    from node.adapters.qr_reading import looks_like_a_picture, read_codes
    from node.protocols.invite_faults import BadInvite, InviteFault
    from node.protocols.invite_text import find_invite

    if not looks_like_a_picture(data):
        if b"\0" in data:
            raise BadInvite(InviteFault.NOT_AN_INVITE, f"{where} is neither text nor a picture that can be read")
        return find_invite(data.decode(errors="replace"))
    found: dict[bytes, Invite] = {}
    wrong: list[BadInvite] = []

    def is_one(code: str) -> bool:
        """Whether it is an invite, good or not: then the picture need not be looked at harder."""
        try:
            invite = find_invite(code)
        except BadInvite as error:
            wrong.append(error)
            return error.fault is not InviteFault.NOT_AN_INVITE
        found[invite.raw] = invite
        return True

    if not read_codes(data, is_one):
        problem = f"no QR code was found in {where}: take the picture nearer, straight, and without glare"
        raise BadInvite(InviteFault.NOT_AN_INVITE, problem)
    if len(found) > 1:
        named = " and ".join(f"{one.id} into {one.network}" for one in found.values())
        problem = f"{len(found)} invites are in {where} ({named}): take a picture of one alone"
        raise BadInvite(InviteFault.NOT_AN_INVITE, problem)
    if found:
        return next(iter(found.values()))
    raise next((one for one in wrong if one.fault is not InviteFault.NOT_AN_INVITE), wrong[0])


def asked_for() -> str:
    """What a person pastes when the command was given nothing."""
    print("paste the invite, then press Enter twice:", file=sys.stderr)
    lines: list[str] = []
    for line in sys.stdin:
        if not line.strip() and lines:
            break
        lines.append(line)
    return "".join(lines)


# What is asked


def agreed(invite: Invite, config: NodeConfig, file: Path, *, yes: bool, as_json: bool) -> None:
    """Tell what the invite is for, and ask before the configuration changes. Raises `ApiFailure` or `typer.Abort`."""
    from node.cli_render import moment
    from node.node_entering import is_in

    kind = "private network" if invite.key is not None else "network"
    if not as_json:
        print(f"an invite of {invite.inviter.text}", file=sys.stderr)
        alone = ", of the local network alone" if invite.lan_only else ""
        print(f"into the {kind} {invite.network}{alone}, expires {moment(invite.expires)}", file=sys.stderr)
    if is_in(config, invite) or yes:
        return
    change = f"this node is in {config.network}; joining {invite.network} changes {file}"
    if as_json or not can_ask():
        raise ApiFailure("needs-consent", f"{change}, and nobody can be asked here", "say --yes")
    typer.confirm(f"{change}: join", err=True, abort=True)


def config_file() -> str:
    """The configuration file that this command reads, unless a flag names another."""
    from node.config import default_config_file
    from node.config_sources import CONFIG_VARIABLE

    return os.environ.get(CONFIG_VARIABLE) or str(default_config_file())


# What is done


async def joined(invite: Invite, config: NodeConfig, timeout: float, *, as_json: bool) -> Document:
    """Redeem it: in the running node, or in one of this command. Raises `BadInvite`, `JoinFailed`, `ApiFailure`."""
    from node.protocols.invite_text import to_uri

    client = running_node(config)
    if client is not None:
        params = {"invite": to_uri(invite.raw), "timeout": timeout}
        async with client, aclosing(client.stream("join", params)) as events:
            async for event in events:
                if event["event"] == "step":
                    step(event["text"], as_json=as_json)
                else:
                    return event
        raise ApiFailure("bad-answer", "the node ended the conversation without an outcome", fault="internal")
    with waiting("no node runs here: starting one for this command"):
        return await joined_alone(invite, config, timeout, as_json=as_json)


async def joined_alone(invite: Invite, config: NodeConfig, timeout: float, *, as_json: bool) -> Document:
    """Redeem it with no node running: in this node's own folder, so that what it learns stays there."""
    from node.api_json import to_json
    from node.cli_session import as_client, node_for
    from node.node_entering import enter, is_in
    from node.node_keys import FileKeys
    from node.node_networks import StoredMembership, store_of
    from node.node_parts import NodeParts

    def say(text: str) -> None:
        step(text, as_json=as_json)

    if is_in(config, invite):
        met = [contact for contact in invite.contacts if config.reaches(contact.ip)]
        own = as_client(config).replace(contacts=(*met, *config.contacts))
        async with node_for(own) as node:
            parts, key = node.inside.parts, node.inside.identity_key
            membership = node.redeeming.membership
            entered = await enter(invite, config, key, parts, membership, node=node, timeout=timeout, say=say)
    else:
        with FileKeys(config) as keys:
            key = keys.identity()
            membership = StoredMembership(store_of(config), key, time.time)
            entered = await enter(invite, config, key, NodeParts(), membership, timeout=timeout, say=say)
    return {"event": "done", **to_json(entered)}


def settings_for(invite: Invite, document: Document) -> Document:
    """What the configuration must say so that the next node is in the network; nothing where it is in it already."""
    from dht.contact import parse_contact
    from dht.identity import is_exempt

    if document["kept"] != "nowhere":
        return {}
    key = {} if invite.key is None else {"network_key": invite.key.hex()}
    contacts = tuple(document["contacts"])
    if not invite.lan_only:
        return {"network": invite.network, **key, "contacts": contacts}
    near = tuple(text for text in contacts if is_exempt(parse_contact(text).ip))
    return {"network": invite.network, **key, "scope": "lan", "contacts": near}


def step(text: str, *, as_json: bool) -> None:
    """Say what goes on."""
    from node.cli_render import emit_line, plain

    if as_json:
        emit_line({"event": "step", "text": text})
    else:
        print(plain(text), file=sys.stderr, flush=True)


def tell(document: Document, changed: Path | None, *, running: bool, as_json: bool) -> None:
    """Say what came of it."""
    from node import cli_render as render

    if as_json:
        render.emit_line({**document, "configuration": None if changed is None else str(changed)})
        return
    kind = "the private network" if document["private"] else "the network"
    print(f"joined {kind} {document['network']}: {document['inviter']} let this node in")
    if changed is not None:
        then = "end the node that runs and start it again, to be in it" if running else "`rookery run` is in it"
        print(f"{changed} names it now: {then}", file=sys.stderr)
    elif document["kept"] == "membership":
        print(f"`rookery run --network {document['network']}` runs a node in it", file=sys.stderr)
    if abs(document["skew"]) > SKEW_TOLD:
        ahead = "ahead of" if document["skew"] > 0 else "behind"
        print(
            f"warning: the inviter's clock is {render.span(abs(document['skew']))} {ahead} this machine's",
            file=sys.stderr,
        )


SKEW_TOLD: Final = 60.0
"""Seconds by which clocks must differ until it is said. UNSOURCED"""
