"""`rookery bootstrap`: the commands of `bootstrap.cli`, loaded when asked for, and `run`.

Decides what a bootstrap server is: a node in server mode that also serves the signed list and a health page. Refuses
to know the list's format.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import Terminated
from node.cli_later import loading
from node.cli_options import Json, ServerCommand, node_config
from node.cli_run import Document, Service, Speaker, serve
from node.cli_session import run_async

if TYPE_CHECKING:
    from bootstrap.trust import TrustRoot
    from node.config import NodeConfig
    from node.node import Node

DEFAULT_HTTP: Final = "127.0.0.1:8468"
"""UNSOURCED: loopback, for a web server with certificates stands before it; a free port beside common ones."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        name="bootstrap",
        cls=loading("bootstrap.cli"),
        help="Make, sign, check and serve the signed list of first contacts.",
        no_args_is_help=True,
    )
    # A group with one command of its own would else become that command.
    group.callback()(lambda: None)
    group.command("run", cls=ServerCommand)(run)
    app.add_typer(group)


def run(
    ctx: typer.Context,
    list_file: Annotated[Path, typer.Option("--list", metavar="FILE", help="The signed list to serve.")],
    trust: Annotated[
        Path | None, typer.Option("--trust", metavar="FILE", help="Whom to trust: a file with a \\[trust] table.")
    ] = None,
    http: Annotated[str, typer.Option("--http", metavar="HOST:PORT", help="Where to serve it.")] = DEFAULT_HTTP,
    json: Json = False,
) -> None:
    """Run a node in server mode that serves the signed list and a health page over HTTP."""
    config = server_config(ctx)
    host, port = endpoint(http)
    service = list_service(config, list_file, trust, host, port)
    with suppress(Terminated):
        run_async(lambda: serve(config, Speaker(json, "info"), service))


def server_config(ctx: typer.Context) -> NodeConfig:
    """The configuration in force, in server mode: a bootstrap server is there to be asked."""
    return node_config(ctx).replace(mode="server")


def endpoint(text: str) -> tuple[str, int]:
    """Read HOST:PORT as a person wrote it."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ApiFailure("bad-input", f"--http {text!r} is not HOST:PORT", "for example 127.0.0.1:8468, or [::]:80")
    return host.strip("[]"), int(port)


def trust_root(config: NodeConfig, trust: Path | None) -> TrustRoot:
    """Whom the served list must be signed by: a trust file's signers, or those of the configuration."""
    from bootstrap.operations import trust_of
    from bootstrap.trust import TrustRoot

    if trust is not None:
        return trust_of(trust)
    if not config.bootstrap_signers:
        raise ApiFailure(
            "bad-input",
            "nobody is trusted, so no list is good",
            "give --trust FILE, or --bootstrap-signer KEY and --bootstrap-threshold N",
        )
    return TrustRoot(frozenset(config.bootstrap_signers), config.bootstrap_threshold)


def list_service(config: NodeConfig, list_file: Path, trust: Path | None, host: str, port: int) -> Service:
    """The HTTP server, as a service beside the node. Raises `ApiFailure` when the list is not fit to be served."""
    from bootstrap.operations import verify_file
    from bootstrap.server import BootstrapServer, Health, create_app
    from node.api_json import endpoint_text
    from node.cli_health import ailments

    root = trust_root(config, trust)
    # A server that starts with a bad list would look well and help nobody.
    report = verify_file(list_file, root, config.network)
    if report.verified is None:
        raise ApiFailure(
            "bad-list",
            f"{list_file} is refused ({report.refusal}): {report.message}",
            "check it with `rookery bootstrap verify`, and sign a new one",
        )
    listed = report.verified.content.contacts

    @asynccontextmanager
    async def service(node: Node) -> AsyncIterator[Document]:
        own = node.status().contact.key
        others_known = bool(config.contacts) or any(contact.key != own for contact in listed)

        def health() -> Health:
            contacts = node.contacts()
            reasons = ailments(node.status(), contacts, others_known=others_known)
            return Health(ok=not reasons, contacts=len(contacts), reasons=reasons)

        app = create_app(list_file, root, config.network, health)
        async with BootstrapServer(app, host, port) as server:
            where = endpoint_text(server.address)
            yield {"http": f"http://{where}", "list": f"http://{where}/bootstrap.json"}

    return service
