"""The commands `rookery book …`: what this machine's user calls peers.

Decides how the book is shown. Works on the file itself, so it needs no node; a running one sees the change at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.adapters.http import ApiFailure
from node.cli_options import Json, NodeCommand, complete_peer, node_config

if TYPE_CHECKING:
    from node.node_book import AddressBook

Document = dict[str, Any]

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="What you call the peer.", autocompletion=complete_peer, show_default=False),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    book = typer.Typer(no_args_is_help=True, help="Name peers: commands take a name wherever they take a peer's id.")
    book.command("add", cls=NodeCommand)(add)
    book.command("list", cls=NodeCommand)(show_all)
    book.command("show", cls=NodeCommand)(show)
    book.command("rename", cls=NodeCommand)(rename)
    book.command("remove", cls=NodeCommand)(remove)
    book.command("export", cls=NodeCommand)(export)
    book.command("import", cls=NodeCommand)(take)
    app.add_typer(book, name="book")


def add(
    ctx: typer.Context,
    name: Name,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="The peer's id.")],
    note: Annotated[str, typer.Option("--note", help="A line for yourself.")] = "",
    json: Json = False,
) -> None:
    """Name a peer. Names stay on this machine: nobody is told them."""
    tell(book_of(ctx).add(name, peer, note), json=json, done="is")


def show_all(ctx: typer.Context, json: Json = False) -> None:
    """List everybody who has a name."""
    from node import cli_render as render
    from node.api_json import to_json

    entries = to_json(book_of(ctx).entries)
    if json:
        render.emit({"entries": entries})
    else:
        render.table(entries, {"name": "name", "peer": "peer", "note": "note"}, empty="nobody has a name yet")


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, or a peer's id.", autocompletion=complete_peer)],
    json: Json = False,
) -> None:
    """Show who has a name, or what a peer is called."""
    from node import cli_render as render
    from node.api_json import to_json

    entry = book_of(ctx).show(name)
    if not entry.name:
        raise ApiFailure("unknown-name", f"{entry.peer.text} has no name", "`rookery book add NAME PEER` gives it one")
    if json:
        render.emit(to_json(entry))
    else:
        render.fields({key: value for key, value in to_json(entry).items() if value})


def rename(
    ctx: typer.Context,
    name: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="What you call it from now on.")],
    json: Json = False,
) -> None:
    """Give a peer another name."""
    tell(book_of(ctx).rename(name, new), json=json, done="is now")


def remove(ctx: typer.Context, name: Name, json: Json = False) -> None:
    """Forget a name."""
    tell(book_of(ctx).remove(name), json=json, done="is no longer")


def export(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to; standard output without it.")] = None,
    json: Json = False,
) -> None:
    """Write the book as a file, for another machine of yours."""
    data = book_of(ctx).export()
    if file is None:
        sys.stdout.write(data.decode())
        return
    from bootstrap.store import replace_file

    replace_file(file, data, 0o600)
    if json:
        from node import cli_render as render

        render.emit({"path": str(file.resolve()), "bytes": len(data)})
    else:
        print(f"{file} written")


def take(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `rookery book export` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Forget all names there are.")] = False,
    json: Json = False,
) -> None:
    """Take in an exported book; names that are there already stay as they are."""
    from bootstrap.store import read_file
    from node import cli_render as render
    from node.api_json import to_json
    from node.protocols.petnames import MAX_FILE

    added, left = book_of(ctx).take(read_file(file, MAX_FILE), replace=replace)
    if json:
        render.emit({"added": to_json(added), "left_out": left})
        return
    print(f"{len(added)} added")
    for line in left:
        print(f"left out: {render.plain(line)}", file=sys.stderr)


def book_of(ctx: typer.Context) -> AddressBook:
    """The book of the data folder in force."""
    from node import node_book

    return node_book.book_of(node_config(ctx))


def tell(entry: Any, *, json: bool, done: str) -> None:
    """Say what was done."""
    from node import cli_render as render
    from node.api_json import to_json

    if json:
        render.emit(to_json(entry))
    else:
        print(f"{entry.peer.text} {done} {entry.name}")
