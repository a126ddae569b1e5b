"""The commands `rookery topic …`: who is interested in the same, and what they say.

Decides how events look as lines, and that what is typed before anybody is connected waits for the first member. Refuses
to know who does the work (`cli_session`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.adapters.http import ApiFailure
from node.cli_exit import failed
from node.cli_options import Json, NodeCommand, complete_peer, node_config
from node.cli_peers import known_peer, who
from node.cli_session import open_session, run_async

if TYPE_CHECKING:
    import asyncio

    from node.cli_session import Session

Document = dict[str, Any]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The topic: any text of at most 128 bytes.")]
Secret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        envvar="ROOKERY_TOPIC_SECRET",
        help="For a private topic: only who knows it finds the members. Better in the variable: others see your flags.",
    ),
]
SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", help="The same from the first line of a file.", show_default=False)
]
App = Annotated[str, typer.Option("--app", help="Name of an app's protocol: only members with the same connect.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    topic = typer.Typer(no_args_is_help=True, help="Meet whoever is interested in the same.")
    topic.command("join", cls=NodeCommand)(join)
    topic.command("say", cls=NodeCommand)(say)
    topic.command("peers", cls=NodeCommand)(peers)
    topic.command("announce", cls=NodeCommand)(announce)
    topic.command("leave", cls=NodeCommand)(leave)
    topic.command("list", cls=NodeCommand)(show_all)
    app.add_typer(topic, name="topic")


def join(
    ctx: typer.Context,
    name: Name,
    secret: Secret = None,
    secret_file: SecretFile = None,
    app: App = "",
    seconds: Annotated[float | None, typer.Option("--for", min=0.1, help="End after so many seconds.")] = None,
    json: Json = False,
) -> None:
    """Be in a topic and show who comes, goes and says what; every line typed is said to all of them."""
    from node import cli_render as render

    params = joining(name, secret, secret_file, app)

    async def work() -> None:
        import asyncio

        async with open_session(node_config(ctx)) as session:
            connected = asyncio.Event()
            talking = asyncio.ensure_future(talk(session, params, connected, as_json=json))
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds), aclosing(session.stream("topic-join", params)) as events:
                        async for event in events:
                            if event["event"] == "peer-joined":
                                connected.set()
                            if json:
                                render.emit_line(event)
                            elif line := line_of(event):
                                print(line, flush=True)
            finally:
                talking.cancel()
                await asyncio.gather(talking, return_exceptions=True)

    run_async(work)


async def talk(session: Session, params: Document, connected: asyncio.Event, *, as_json: bool) -> None:
    """Say every line of standard input, the first ones once somebody is there to hear them."""
    from node import cli_render as render

    async for line in typed_lines():
        if not line.strip():
            continue
        await connected.wait()
        given = {"topic": params["topic"], "text": line}
        if params.get("secret"):
            given["secret"] = params["secret"]
        try:
            outcome = await session.call("topic-say", given)
        except ApiFailure as failure:
            print(f"error: {failure.message}", file=sys.stderr, flush=True)
            continue
        if as_json:
            render.emit_line({"event": "said", **outcome})
        elif not outcome["sent"] or not outcome["reached"]:
            print(
                f"not said: {outcome['detail'] or 'what waits for every member is full'}", file=sys.stderr, flush=True
            )


async def typed_lines() -> AsyncIterator[str]:
    """The lines of standard input, read beside everything else."""
    import asyncio
    import threading

    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with suppress(ValueError, OSError, RuntimeError):  # Standard input was closed, or the command has ended.
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\r\n"))
            loop.call_soon_threadsafe(lines.put_nowait, None)

    # A daemon: nothing can end a thread that waits for a terminal, and it must not hold up the end of the command.
    threading.Thread(target=read, daemon=True, name="standard input").start()
    while (line := await lines.get()) is not None:
        yield line


def say(
    ctx: typer.Context,
    name: Name,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="PEER", help="To this member only.", autocompletion=complete_peer)
    ] = None,
    secret: Secret = None,
    secret_file: SecretFile = None,
    json: Json = False,
) -> None:
    """Say something in a topic that the running node is in."""
    from node import cli_render as render

    params = joining(name, secret, secret_file)
    params["text"] = text
    if to is not None:
        params["to"] = known_peer(ctx, to)
    outcome = running(ctx, "topic-say", params)
    if json:
        render.emit(outcome)
    said = outcome["sent"] and (to is not None or outcome["reached"])
    if not said:
        failed("not-said", f"nobody was told: {outcome['detail'] or outcome.get('delivery', 'full')}")
    if not json:
        print("said" if to is not None else f"said to {outcome['reached']} neighbours, who tell the others")


def peers(
    ctx: typer.Context, name: Name, secret: Secret = None, secret_file: SecretFile = None, json: Json = False
) -> None:
    """Show the members of a topic with whom the running node is connected."""
    from node import cli_render as render

    document = running(ctx, "topic", joining(name, secret, secret_file))
    if json:
        render.emit(document)
        return
    render.table(document["peers"], PEER_COLUMNS, empty="nobody is connected yet")
    known, holders = document["known"], document["announced"]
    print(f"\n{known} members known, announced at {holders} nodes", file=sys.stderr)


def announce(
    ctx: typer.Context,
    name: Name,
    secret: Secret = None,
    secret_file: SecretFile = None,
    app: App = "",
    json: Json = False,
) -> None:
    """Have the running node be in a topic until `leave` or its end. The setting `topics` does so at each start."""
    from node import cli_render as render

    document = running(ctx, "topic-announce", joining(name, secret, secret_file, app))
    if json:
        render.emit(document)
    else:
        print(f"in the topic {render.plain(document['topic'])}: {len(document['peers'])} members connected so far")


def leave(
    ctx: typer.Context, name: Name, secret: Secret = None, secret_file: SecretFile = None, json: Json = False
) -> None:
    """Have the running node leave a topic, and withdraw its announcement."""
    from node import cli_render as render

    document = running(ctx, "topic-leave", joining(name, secret, secret_file))
    if json:
        render.emit(document)
    else:
        print("left" if document["left"] else "no longer kept; somebody still follows it")


def show_all(ctx: typer.Context, json: Json = False) -> None:
    """List the topics that the running node is in."""
    from node import cli_render as render

    document = running(ctx, "topics", {})
    if json:
        render.emit(document)
        return
    rows = [{**one, "peers": len(one["peers"])} for one in document["topics"]]
    render.table(rows, TOPIC_COLUMNS, empty="in no topic")


PEER_COLUMNS = {"peer_name": "name", "peer": "peer", "since": "since", "initiated": "dialled", "mesh": "in the mesh"}
TOPIC_COLUMNS = {
    "topic": "topic",
    "private": "private",
    "app": "app",
    "peers": "connected",
    "known": "known",
    "announced": "announced at",
    "kept": "kept",
}


def joining(name: str, secret: str | None, secret_file: Path | None, app: str = "") -> Document:
    """The parameters that say which topic. Raises `LocalError` for a name that is none."""
    from node.protocols.topics import checked_topic

    params: Document = {"topic": checked_topic(name)}
    if secret_file is not None:
        from bootstrap.store import read_file

        first = read_file(secret_file, 4096).decode(errors="replace").splitlines()[:1]
        secret = first[0].strip() if first else ""
    if secret is not None:
        if not secret:
            raise ApiFailure("bad-input", "the secret is empty")
        params["secret"] = secret
    if app:
        params["app"] = app
    return params


def running(ctx: typer.Context, command: str, params: Document) -> Document:
    """Do one command at the running node."""

    async def work() -> Document:
        async with open_session(node_config(ctx), start=False) as session:
            return await session.call(command, params)

    return run_async(work)


def line_of(event: Document) -> str:
    """What happened, as one line."""
    from node import cli_render as render

    clock = time.strftime("%H:%M:%S")
    match event["event"]:
        case "joined":
            return f"{clock} in the topic {render.plain(event['topic'])}; looking for others …"
        case "peer-joined":
            return f"{clock} + {who(event)}"
        case "peer-left":
            return f"{clock} - {who(event)} ({event['reason']})"
        case "message":
            text = event.get("data_text")
            said = f"{len(event['data_base64']) * 3 // 4} bytes" if text is None else render.plain(text)
            return f"{clock} {who(event, 'author')}{' to you' if event['direct'] else ''}: {said}"
        case "events-lost":
            return f"{clock} {event['count']} events were left out: they came faster than they were shown"
    return ""
