"""The command `crawl`: a map of the network, by a node of its own that asks everybody it hears of.

Decides where the crawling node gets its first contacts and how a map is kept. Refuses to know how it is asked.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import failed
from node.cli_options import Json, NodeCommand, node_config
from node.cli_session import as_client, joined_or_alone, node_for, run_async, running_node, waiting, warn

if TYPE_CHECKING:
    from node.config import NodeConfig
    from node.node import Node
    from node.node_crawling import Progress
    from node.node_map import NetworkMap

RATE: Final = 200.0
"""Requests a second: a network of ten thousand takes four minutes, at 2 Mbit/s each way."""

MOST: Final = 5000.0
"""Requests a second at most: what one core answers. UNSOURCED"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("crawl", cls=NodeCommand)(crawl)


def crawl(
    ctx: typer.Context,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the map here: .json (to go on with it), .csv or .svg.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw a picture of it here.")] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=1.0, max=MOST, help="Requests a second, at most.", show_default=True)
    ] = RATE,
    questions: Annotated[int, typer.Option("--questions", min=1, max=160, help="Requests to each node.")] = 4,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="Stop after so long.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with this map (.json).")] = None,
    json: Json = False,
) -> None:
    """Map the network: ask every node for its neighbours until nobody is left; Ctrl-C keeps what there is."""
    from node import cli_render as render
    from node.node_map import from_json, to_json

    check_target(output, (".json", ".csv", ".svg"))
    check_target(svg, (".svg",))
    before = None if resume is None else from_json(read(resume))

    async def work() -> NetworkMap:
        async with crawling_node(node_config(ctx)) as node:
            return await crawled(node, before, rate=rate, questions=questions, seconds=seconds, quiet=json)

    found = run_async(work)
    for path in (output, svg):
        if path is not None:
            write(path, found)
    if json:
        import json as encoder

        document = encoder.loads(to_json(found)) if output is None else {}
        render.emit({**found.summary(), **document})
    else:
        render.fields(found.summary())
    if not found.count("answered"):
        failed("not-joined", "no node answered, so there is nothing to map")


@asynccontextmanager
async def crawling_node(config: NodeConfig) -> AsyncIterator[Node]:
    """A short-lived client. Where a node runs already, it is started beside it with that node's contacts."""
    import tempfile

    from dht.contact import parse_contact

    with ExitStack() as stack:
        client = running_node(config)
        config = as_client(config)
        if client is not None:
            async with client:
                peers = await client.call("peers", {})
            known = [parse_contact(each["contact"]) for each in peers["contacts"]]
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rookery-crawl-"))
            config = config.replace(data_dir=Path(folder), contacts=(*config.contacts, *known))
        async with node_for(config) as node:
            with waiting("looking for the network"):
                await joined_or_alone(node)
            warn(node, set())
            yield node


async def crawled(
    node: Node, before: NetworkMap | None, *, rate: float, questions: int, seconds: float | None, quiet: bool
) -> NetworkMap:
    """Crawl with a progress bar. Ctrl-C, or the end of the seconds, ends it with what there is."""
    import asyncio

    from node.node_crawling import Crawler

    stop = asyncio.Event()
    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, stop.set)
    crawler = Crawler(node.driver, node.config.network)
    with ExitStack() as stack:
        progress = None if quiet or not sys.stderr.isatty() else bar(stack)
        task = asyncio.ensure_future(
            crawler.crawl(rate=rate, questions=questions, before=before, on_progress=progress, stop=stop)
        )
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set()
            print("stopped: the map has what was found so far", file=sys.stderr)
            return await task


def bar(stack: ExitStack) -> Progress:
    """A progress bar; what it is to be called with."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from node import cli_render as render

    columns = (TextColumn("addresses"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = stack.enter_context(Progress(*columns, console=render.margin()))
    task = shown.add_task("addresses", total=None)
    return lambda done, heard_of: shown.update(task, completed=done, total=heard_of)


def check_target(path: Path | None, endings: tuple[str, ...]) -> None:
    """Refuse a file that could not be written, before the network is asked."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise ApiFailure("bad-input", f"{path} ends with {path.suffix or 'nothing'}: expected {', '.join(endings)}")
    if not path.resolve().parent.is_dir():
        raise ApiFailure("unwritable-file", f"{path} cannot be written: there is no folder {path.resolve().parent}")


def read(path: Path) -> str:
    """A map as it was written."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ApiFailure("no-such-file", f"{path} cannot be read: {error}") from None


def write(path: Path, found: NetworkMap) -> None:
    """Write the map in the form that the file's name asks for; whole, or not at all."""
    from node.node_map import to_csv, to_json, to_svg

    text: Any = {".json": to_json, ".csv": to_csv, ".svg": to_svg}[path.suffix.lower()](found)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ApiFailure("unwritable-file", f"{path} cannot be written: {error.strerror}") from None
