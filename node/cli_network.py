"""The commands `rookery network …`: found private networks, see who is in them, revoke, leave.

Decides what works on the files and what asks a running node. Refuses to know what makes somebody a member.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.adapters.http import ApiFailure
from node.cli_options import Json, NodeCommand, complete_peer, machine_config
from node.cli_session import can_ask, run_async, running_node

if TYPE_CHECKING:
    from node.adapters.network_store import NetworkStore
    from node.config import NodeConfig

Document = dict[str, Any]

COLUMNS: Final = {
    "peer": "member",
    "name": "name",
    "invited_by": "invited by",
    "may_invite": "may invite",
    "last_met": "last met",
    "state": "state",
}


def complete_network(ctx: typer.Context, incomplete: str) -> list[str]:
    """The networks that this machine is in."""
    return [name for name in store(machine_config(ctx)).names() if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(metavar="NAME", help="The network's name.", autocompletion=complete_network)]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(no_args_is_help=True, help="Private networks: found, see who is in one, revoke, renew, leave.")
    group.command("create", cls=NodeCommand)(create)
    group.command("list", cls=NodeCommand)(show_all)
    group.command("show", cls=NodeCommand)(show)
    group.command("members", cls=NodeCommand)(members)
    group.command("revoke", cls=NodeCommand)(revoke)
    group.command("renew", cls=NodeCommand)(renew)
    group.command("leave", cls=NodeCommand)(leave)
    app.add_typer(group, name="network")


def store(config: NodeConfig) -> NetworkStore:
    """The networks of this machine."""
    from node.node_networks import store_of

    return store_of(config)


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called: 1-64 letters, digits, . - and _.")],
    members_invite: Annotated[
        bool, typer.Option("--members-invite", help="Let those whom you invite invite others.")
    ] = False,
    lan_only: Annotated[
        bool, typer.Option("--lan-only", help="This machine's node in it talks to the local network alone.")
    ] = False,
    own_identity: Annotated[
        bool, typer.Option("--own-identity", help="Be somebody else there: nobody can tell that it is this node.")
    ] = False,
    json: Json = False,
) -> None:
    """Found a private network. Invite others with `rookery invite --network NAME`."""
    from dht.identity import IdentityKey
    from node import cli_render as render
    from node.adapters.keyfile import load_or_create_identity
    from node.api_networks import network_document
    from node.node_networks import found

    config = machine_config(ctx)
    identity = IdentityKey.generate() if own_identity else load_or_create_identity(config.identity_file)
    made = found(store(config), name, identity, time.time(), members_invite=members_invite, lan_only=lan_only)
    document = network_document(made)
    if json:
        render.emit(document)
        return
    print(f"founded {name}; this node is {document['identity']} in it")
    print(f"`rookery run --network {name}` runs a node in it,", file=sys.stderr)
    print(f"`rookery invite --network {name}` lets others in", file=sys.stderr)


def show_all(ctx: typer.Context, json: Json = False) -> None:
    """List the private networks that this machine is in."""
    from node import cli_render as render
    from node.api_networks import network_document

    networks = store(machine_config(ctx))
    rows = [network_document(networks.load(name).at(time.time())) for name in networks.names()]
    if json:
        render.emit({"networks": rows})
        return
    for row in rows:
        row["members"] = len(row["members"]) + 1
    columns = {"network": "network", "members": "members known", "may_invite": "may invite", "identity": "as"}
    render.table(rows, columns, empty="this machine is in no private network: `rookery network create NAME` founds one")


def show(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Show what is known of one network."""
    from node import cli_render as render

    document = asked(ctx, name, "members", {})
    if json:
        render.emit(document)
    else:
        render.fields(document, skip=("members", "revoked"))


def members(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """List the members that this node has met."""
    from node import cli_render as render

    document = asked(ctx, name, "members", {})
    if json:
        render.emit(document)
        return
    now = time.time()
    for row in document["members"]:
        row["last_met"] = render.moment(row["last_met"])
        over = "expired" if row["expires_at"] < now else "linked" if row.get("linked") else ""
        row["state"] = over if row["revoked_at"] is None else "revoked"
    render.table(document["members"], COLUMNS, empty="no other member was met yet")


def revoke(
    ctx: typer.Context,
    name: Name,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="Whose membership ends.", autocompletion=complete_peer)],
    json: Json = False,
) -> None:
    """End somebody's membership: members refuse links with it as soon as they hear of it."""
    from node import cli_render as render
    from node.node_book import book_of

    config = machine_config(ctx)
    document = asked(ctx, name, "revoke-member", {"peer": book_of(inside(config, name)).resolve(peer).text})
    if json:
        render.emit(document)
        return
    print(f"{document['peer']} is a member of {name} no longer")
    print("it still has the network's key: it can watch the network's DHT, but open no link", file=sys.stderr)
    print(f"`rookery network renew {name}` gives all others another one", file=sys.stderr)


def renew(
    ctx: typer.Context,
    name: Name,
    after: Annotated[
        str, typer.Option("--in", metavar="TIME", help="When it is in force: 30min, 12h, 1d; 31d at the most.")
    ] = "1d",
    json: Json = False,
) -> None:
    """Give the network another key, which who was revoked never hears of. Only its founder can.

    Members hear of it over their links until it is in force; then all go over to it at once. Who was away all the time
    needs another invite.
    """
    from node import cli_render as render
    from node.cli_invite import span_of
    from node.protocols.renewal import LONGEST_AHEAD

    seconds = span_of(after, "--in", 1, LONGEST_AHEAD, "a second to 31 days")
    document = asked(ctx, name, "renew-network", {"after": seconds})
    if json:
        render.emit(document)
        return
    print(f"{name} has key {document['epoch']} from {render.moment(document['since'])} on")
    print("members hear of it whenever they are linked; who was away until then needs another invite", file=sys.stderr)


def leave(
    ctx: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Leave a network: its keys, its journal and received files in its folder are deleted."""
    from node import cli_render as render

    config = machine_config(ctx)
    networks = store(config)
    network = networks.load(name)
    if running_node(inside(config, name)) is not None:
        raise ApiFailure("node-runs", f"a node runs in {name}", "end it first")
    if not yes:
        if json or not can_ask():
            raise ApiFailure("needs-consent", f"leaving deletes {networks.folder_of(name)}", "say --yes")
        last = " Nobody can revoke members without its founder's key." if network.founder_seed else ""
        typer.confirm(f"delete {networks.folder_of(name)}?{last}", err=True, abort=True)
    networks.remove(name)
    if json:
        render.emit({"network": name, "left": True})
    else:
        print(f"left {name}")


def inside(config: NodeConfig, name: str) -> NodeConfig:
    """The settings of this machine's node in a network. Raises `NoSuchNetwork`."""
    from node.node_networks import in_network

    store(config).load(name)
    return in_network(config.replace(network=name, network_key=None))


def asked(ctx: typer.Context, name: str, command: str, params: Document) -> Document:
    """Ask the node that runs in the network, or else its files."""
    config = inside(machine_config(ctx), name)
    client = running_node(config)
    if client is None:
        return on_disk(config, name, command, params)

    async def work() -> Document:
        async with client:
            return await client.call(command, params)

    return run_async(work)


def on_disk(config: NodeConfig, name: str, command: str, params: Document) -> Document:
    """The same with no node running: members hear of a revocation when one does."""
    from dht.identity import PublicKey
    from node.adapters.keyfile import load_identity
    from node.api_networks import network_document, renewal_document
    from node.node_networks import renew_on_disk, revoke_on_disk

    networks = store(config)
    if command == "members":
        return network_document(networks.load(name).at(time.time()))
    if command == "renew-network":
        return renewal_document(renew_on_disk(networks, name, time.time(), params["after"]))
    member = PublicKey.parse(params["peer"])
    said = revoke_on_disk(networks, name, load_identity(config.identity_file), member, time.time())
    return {"peer": member.text, "revoked_by": said.issuer.text, "since": said.since}
