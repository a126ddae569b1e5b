"""The `rookery` command.

Decides which commands there are. What each does stands in a file of its own (`cli_peers`, `cli_files` …), how they
fail in `cli_exit`, how results look in `cli_render`. Imports nothing heavy: `rookery --help` must be quick.
"""

from __future__ import annotations

from typing import Annotated

import typer

from node import (
    cli_book,
    cli_bootstrap,
    cli_config,
    cli_conformance,
    cli_crawl,
    cli_doctor,
    cli_files,
    cli_invite,
    cli_join,
    cli_lan,
    cli_log,
    cli_network,
    cli_peers,
    cli_presence,
    cli_records,
    cli_run,
    cli_topics,
    cli_watch,
)
from node.cli_exit import RookeryGroup
from node.cli_later import add_group

app = typer.Typer(
    name="rookery",
    cls=RookeryGroup,
    help="Meet and talk to peers that you know only by their key, with no server between you.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """Print the release and end."""
    if wanted:
        from node.cli_session import release

        print(f"rookery {release()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the release and end.")
    ] = False,
) -> None:
    """Meet and talk to peers that you know only by their key, with no server between you."""


cli_run.add_to(app)
cli_config.add_to(app)
cli_peers.add_to(app)
cli_presence.add_to(app)
cli_lan.add_to(app)
cli_files.add_to(app)
cli_records.add_to(app)
cli_invite.add_to(app)
cli_join.add_to(app)
cli_watch.add_to(app)
cli_log.add_to(app)
cli_book.add_to(app)
cli_topics.add_to(app)
cli_network.add_to(app)
cli_conformance.add_to(app)
cli_crawl.add_to(app)
cli_doctor.add_to(app)
cli_bootstrap.add_to(app)
add_group(app, "simulate", "simulations.cli", "Play large networks on a virtual clock, and see what becomes of them.")


def main() -> None:
    """What the installed command calls."""
    typer.main.get_command(app).main()


if __name__ == "__main__":
    main()
