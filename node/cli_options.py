"""Options that many commands share, and the node's settings as flags of every command that needs a node.

Decides how flags are named and how they reach the configuration. The flags are read off `NodeConfig` itself, and only
when such a command runs or is asked for its help: that costs time which `rookery id` need not pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from node.config import NodeConfig

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def complete_peer(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of the address book for the shell; with the @ where one was typed. Never fails: a shell asks."""
    from node.node_book import book_of

    try:
        entries = book_of(node_config(ctx)).entries
    except Exception:  # Whatever is wrong with the settings is said when the command runs.
        return []
    at = "@" if incomplete.startswith("@") else ""
    begun = incomplete.removeprefix("@").casefold()
    return [(at + one.name, one.note or one.peer.short) for one in entries if one.name.casefold().startswith(begun)]


Peer = Annotated[
    str,
    typer.Argument(
        metavar="PEER",
        help="The peer's id (52 characters, as its `rookery id` prints), or its name in your address book.",
        autocompletion=complete_peer,
    ),
]


class NodeCommand(TyperCommand):
    """A command that needs a node: takes every setting of the node as a flag."""

    shows_all = False
    """Whether the help lists every setting, or only those that say which node is meant."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's own parameters, then the settings."""
        from node.cli_settings import options

        own = super().get_params(ctx)
        taken = {name for param in own for name in getattr(param, "opts", ())}
        return [*own[:-1], *options(taken, shows_all=self.shows_all), *own[-1:]]


class ServerCommand(NodeCommand):
    """A command that is a node: its help lists every setting."""

    shows_all = True


def node_config(ctx: typer.Context) -> NodeConfig:
    """The configuration in force: defaults, file, environment, and this command's flags; of the node in a private
    network where they name one that this machine is in. Raises `LocalError`."""
    from node.node_networks import in_network

    return in_network(machine_config(ctx))


def machine_config(ctx: typer.Context) -> NodeConfig:
    """The same of this machine, whichever network is named. Raises `LocalError`."""
    from node.cli_settings import GIVEN, load

    return load(dict(ctx.meta.get(GIVEN, {})))
