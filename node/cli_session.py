"""Where a command's work is done: by the running node of this data directory, or by a short-lived one.

Decides which, and says so on standard error when it starts one. Both answer the same commands with the same documents,
so that the commands need not know. Refuses to know any command.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from node.cli_exit import INTERRUPTED, Terminated

if TYPE_CHECKING:
    import asyncio

    from node.adapters.http_client import ApiClient
    from node.config import NodeConfig
    from node.node import Node

T = TypeVar("T")

JOIN_TIMEOUT: Final = 10.0
"""Seconds a short-lived node gets to find the network: a cold join with half of the first contacts dead takes about
three."""


class Session(Protocol):
    """Somebody who does commands: a running node behind its local API, or one in this process."""

    async def call(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Do one command and return its document. Raises `ApiFailure`."""

    def stream(self, command: str, params: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Do one command and yield its events. Raises `ApiFailure`."""


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on a loop of its own, on uvloop where it is installed.

    SIGTERM and the first Ctrl-C cancel it, so that a node in it stops in good order and saves its state; a second
    Ctrl-C ends the process at once.
    """
    import asyncio

    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:  # An extra: not everybody has it.
        pass
    told: list[int] = []
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_until_told(work(), told))
    except asyncio.CancelledError:
        raise (Terminated if told[:1] == [signal.SIGTERM] else KeyboardInterrupt) from None


async def _until_told(work: Coroutine[Any, Any, T], told: list[int]) -> T:
    """Do `work`; signals that ask for its end cancel it and are noted in `told`."""
    import asyncio

    task = asyncio.current_task()
    assert task is not None

    def tell(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            task.cancel()
        elif number == signal.SIGINT:
            os._exit(INTERRUPTED)

    loop = asyncio.get_running_loop()
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, tell, number)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread.
        return await work
    try:
        return await work
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def running_node(config: NodeConfig) -> ApiClient | None:
    """A client for the node that runs with this configuration, or None when none does."""
    from node.adapters.http import TOKEN_NAME, read_token, socket_path, tcp_url
    from node.adapters.http_client import ApiClient, node_listens, port_listens

    path = config.api or socket_path(config.data_dir)
    if node_listens(path):
        return ApiClient(unix=path, release=release())
    if config.api_http is not None and port_listens(config.api_http):
        token = read_token(config.data_dir / TOKEN_NAME)
        return ApiClient(url=tcp_url(config.api_http), token=token, release=release())
    return None


def release() -> str:
    """The release of this command."""
    from importlib.metadata import version

    return version("rookery")


@asynccontextmanager
async def open_session(config: NodeConfig, *, start: bool = True) -> AsyncIterator[Session]:
    """Reach the running node, or start a short-lived one. Raises `ApiFailure` when there is none and `start` is off."""
    client = running_node(config)
    if client is not None:
        async with client:
            yield client
        return
    if not start:
        from node.adapters.http_client import NoNode

        raise NoNode(str(config.data_dir))
    async with short_lived(config) as session:
        yield session


@asynccontextmanager
async def short_lived(
    config: NodeConfig, *, prepare: Callable[[NodeConfig], NodeConfig] | None = None, observe: float = 0.0
) -> AsyncIterator[Session]:
    """A node in this process for one command: in client mode on any port, or as `prepare` has it. `observe`: seconds
    for which it looks around before."""
    import asyncio

    from node.api import Api
    from node.node_events import ClockWrong

    async with AsyncExitStack() as stack:
        with waiting("no node runs here: starting one for this command"):
            node = await stack.enter_async_context(node_for((prepare or as_client)(config)))
            joined = await joined_or_alone(node)
        told = warn(node, set())
        if not joined and not told:
            print("warning: no other node was found so far", file=sys.stderr)
        if observe > 0 and joined:
            with waiting(f"looking for {observe:g} s at how others see this node (Ctrl-C ends it)"):
                await asyncio.sleep(observe)
        try:
            yield Api(node)
        finally:
            warn(node, told, only=ClockWrong)


async def joined_or_alone(node: Node) -> bool:
    """Wait until the node found others, or until it knows that nobody is there: no contact, or none that answers."""
    import asyncio

    from node.node_events import Alone

    async def alone() -> None:
        async with aclosing(node.events()) as events:
            if any(isinstance(event, Alone) for event in node.recent_events()):
                return
            async for event in events:
                if isinstance(event, Alone):
                    return

    waiters = [asyncio.ensure_future(node.wait_joined(JOIN_TIMEOUT)), asyncio.ensure_future(alone())]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
        results = await asyncio.gather(*waiters, return_exceptions=True)
    return results[0] is True


def warn(node: Node, told: set[str], only: type | None = None) -> set[str]:
    """Say what went wrong with the node itself (its list, its journal, its clock); returns what was said so far."""
    from node.node_events import Alone

    for event in node.recent_events():
        grave = event.level in ("warning", "error") or isinstance(event, Alone)
        if grave and (only is None or isinstance(event, only)) and event.text not in told:
            told.add(event.text)
            print(f"warning: {event.text}", file=sys.stderr)
    return told


def node_for(config: NodeConfig) -> Node:
    """The node of this configuration, not started yet."""
    from node.node import Node

    return Node(config)


def as_client(config: NodeConfig) -> NodeConfig:
    """The same configuration for a node of a minute: any port, client mode."""
    return config.replace(port=0, mode="client", api=None, api_http=None)


def as_usual(config: NodeConfig) -> NodeConfig:
    """The same configuration for a node of a minute that finds out its role as a lasting one does, on any port."""
    return config.replace(port=0, api=None, api_http=None)


def waiting(what: str) -> AbstractContextManager[Any]:
    """Say on standard error what is waited for: with a spinner on a terminal, else as one line."""
    if not sys.stderr.isatty():
        print(f"{what} …", file=sys.stderr)
        return nullcontext()
    from node.cli_render import margin

    return margin().status(what)


def can_ask() -> bool:
    """Whether somebody sits there: standard input is a terminal. It may be closed, as under some job runners."""
    return sys.stdin is not None and sys.stdin.isatty()
