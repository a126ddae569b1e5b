"""Files that peers send, and files we send: whose yes counts, where they go, and what is told of them.

Decides the policy: whoever watches (`receive`) is asked first, the latest of them; else the configuration decides,
and where it says "ask" nobody is there, so the file is refused. Refuses to know the transfer's messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from dht.identity import PublicKey
from node.adapters.file_outcomes import IncomingFile, Progress, ReceiveOutcome
from node.adapters.file_outcomes import SendOutcome as Sent
from node.adapters.file_sending import send_file
from node.adapters.files import FileReceiver
from node.config import NodeConfig
from node.node_events import EventLog, FileMissed, FileTaken
from node.node_links import Links
from node.node_results import ConnectOutcome, FileFailed, FileOffered, FileProgress, FileReceived, SendOutcome
from node.ports import Link, LinkFault, Stream, StreamHandler
from node.protocols.transfer import STREAM_NAME, TransferFault

FileEvent = FileProgress | FileReceived | FileFailed

Decide = Callable[[FileOffered], bool | Awaitable[bool]]


class Files:
    """Sends and receives on the links of one node."""

    def __init__(
        self,
        config: NodeConfig,
        links: Links,
        events: EventLog,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`now` gives Unix seconds, for events; `clock` those of a clock that nobody sets, for how long it took."""
        self._config = config
        self._events = events
        self._now = now
        self._clock = clock
        self._watchers: list[FileReceiver] = []
        self._default = self._receiver(config.received_dir, lambda file: config.accepts_from(file.peer), None)
        links.serve(STREAM_NAME, self._handler_for)

    async def receive(
        self,
        directory: Path | None,
        decide: Decide | None,
        on_event: Callable[[FileEvent], object] | None,
        count: int | None,
    ) -> None:
        """Take files into `directory` until cancelled, or until `count` have come whole."""
        done = asyncio.get_running_loop().create_future()
        left = count

        def on_received(event: FileEvent) -> None:
            nonlocal left
            if on_event is not None:
                on_event(event)
            if isinstance(event, FileReceived) and left is not None:
                left -= 1
                if left <= 0 and not done.done():
                    done.set_result(None)

        def accept(file: IncomingFile) -> bool | Awaitable[bool]:
            if decide is None:
                return self._config.accepts_from(file.peer)
            return decide(FileOffered(_transfer(file.peer, file.name), file.peer, file.name, file.size))

        watcher = self._receiver(directory or self._config.received_dir, accept, on_received)
        self._watchers.append(watcher)
        try:
            await watcher.sweep()
            await done
        finally:
            self._watchers.remove(watcher)

    async def send(
        self,
        peer: PublicKey,
        path: Path,
        connect: Callable[[], Awaitable[ConnectOutcome]],
        on_progress: Progress | None,
    ) -> SendOutcome:
        """Send one file over the link that `connect` gives. Raises `LocalError` when it cannot be read."""
        for attempt in (1, 2):
            outcome = await connect()
            if not outcome.connected:
                size = path.stat().st_size if path.is_file() else 0
                return SendOutcome(
                    False, outcome.reason.value, outcome.detail, path.name, size, phases=dict(outcome.phases)
                )
            sent, phases = await _timed_send(outcome.link, path, on_progress, self._clock)
            # A link kept from before may have died unnoticed; one opened just now has not.
            if sent.fault is TransferFault.LINK_LOST and outcome.reused and not sent.sent and attempt == 1:
                await outcome.link.close()
                continue
            break
        return _outcome(sent, {**outcome.phases, **phases})

    def _handler_for(self, link: Link) -> StreamHandler:
        async def serve(stream: Stream) -> None:
            receiver = self._watchers[-1] if self._watchers else self._default
            await receiver.serve(link.peer, stream)

        return serve

    def _receiver(
        self,
        directory: Path,
        accept: Callable[[IncomingFile], bool | Awaitable[bool]],
        on_event: Callable[[FileEvent], object] | None,
    ) -> FileReceiver:
        def on_progress(file: IncomingFile, done: int) -> None:
            if on_event is not None:
                on_event(FileProgress(_transfer(file.peer, file.name), done, file.size))

        def on_outcome(outcome: ReceiveOutcome) -> None:
            event = self._told(outcome)
            if on_event is not None:
                on_event(event)

        return FileReceiver(
            directory,
            accept=accept,
            max_size=self._config.max_receive_bytes,
            on_progress=on_progress,
            on_outcome=on_outcome,
        )

    def _told(self, outcome: ReceiveOutcome) -> FileEvent:
        transfer = _transfer(outcome.peer, outcome.name)
        if outcome.path is not None:
            self._events.add(FileTaken(self._now(), outcome.peer, str(outcome.path), outcome.size))
            return FileReceived(
                transfer,
                outcome.peer,
                outcome.name,
                outcome.path,
                outcome.size,
                outcome.resumed_at,
                outcome.digest.hex(),
            )
        fault = outcome.fault.value if outcome.fault is not None else LinkFault.LOST.value
        reason = f"{fault}: {outcome.detail}" if outcome.detail else fault
        self._events.add(FileMissed(self._now(), outcome.peer, outcome.name, reason))
        return FileFailed(transfer, outcome.peer, outcome.name, reason)


async def _timed_send(
    link: Link, path: Path, on_progress: Progress | None, clock: Callable[[], float]
) -> tuple[Sent, dict[str, float]]:
    started = clock()
    phases: dict[str, float] = {}

    def progress(done: int, total: int) -> None:
        # The first call says where it begins, which the receiver has just agreed to: now bytes flow.
        phases.setdefault("first_byte", clock() - started)
        if on_progress is not None:
            on_progress(done, total)

    sent = await send_file(link, path, on_progress=progress)
    phases["transfer"] = clock() - started - phases.get("first_byte", 0.0)
    return sent, phases


def _outcome(sent: Sent, phases: dict[str, float]) -> SendOutcome:
    seconds = phases.get("transfer", 0.0)
    return SendOutcome(
        sent.ok,
        "" if sent.fault is None else sent.fault.value,
        sent.detail,
        sent.name,
        sent.size,
        sent=sent.sent,
        resumed_at=sent.resumed_at,
        sha256=sent.digest.hex() if sent.ok else "",
        stored_as=sent.stored_as,
        throughput=sent.sent / seconds if sent.ok and seconds > 0 else None,
        phases=phases,
        fault=sent.fault,
    )


def _transfer(peer: PublicKey, name: str) -> str:
    return f"{peer.short}/{name}"
