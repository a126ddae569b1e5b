"""A seed played again, to the same event, with a log of it; or twice over, to the first event that differs.

Decides what the log says of each event and when two runs were the same. Refuses to know how results are kept, and
what is inside a datagram: that is sealed, here as on a real network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from simulations.hops import Address
from simulations.metrics import SeedResult
from simulations.running import ReplayEnded, Report, run_seed
from simulations.settings import RunSpec
from simulations.trace import Divergence, Trace, first_divergence

if TYPE_CHECKING:
    from simulations.peers import Peer
    from simulations.world import World

LAST: Final = 40
"""Lines of the log that are kept for the end, where the failure is. UNSOURCED: a screenful."""

LONGEST_EVENT: Final = 200
"""Characters of an engine's event that a line shows. UNSOURCED"""


@dataclass(slots=True)
class Replay:
    """What came of playing a seed again."""

    result: SeedResult
    recorded_hash: str
    """Of the run that is replayed; empty where that left none."""
    whole: bool
    """Whether it was played to its end, so that the hashes can be compared."""
    last: deque[str] = field(default_factory=deque)
    """The last lines of the log."""

    @property
    def hash(self) -> str:
        """Of this run, as far as it went."""
        return str(self.result.facts["trace_hash"])

    @property
    def same(self) -> bool | None:
        """Whether it was the same run, to the last byte; None where that cannot be told."""
        return self.hash == self.recorded_hash if self.whole and self.recorded_hash else None


class Log:
    """Writes one line for every delivery and every event of an engine, and remembers the last ones."""

    def __init__(self, world: World, write: Callable[[str], object], first: int, last: int | None) -> None:
        """Lines are written from delivery `first` up to `last`, counted from 1; then the run ends."""
        self.lines: deque[str] = deque(maxlen=LAST)
        self.world = world
        self._write = write
        self._first = first
        self._last = last
        self._names: dict[str, str] = {}
        self._named = 0
        world.watchers.append(self.event)

    def delivered(self, count: int, time: float, src: Address, dst: Address, size: int) -> None:
        """Write down a delivery."""
        text = f"{self._who(src)} → {self._who(dst)}, {size} B"
        self._line(f"{time - self.world.started:14.6f} {count:>10,}  {text}")
        if self._last is not None and count >= self._last:
            raise ReplayEnded(f"replayed up to event {count:,}, at {self.world.elapsed:.3f} s")

    def event(self, peer: Peer, event: object, now: float) -> None:
        """Write down what an engine reports."""
        self._line(f"{now - self.world.started:14.6f} {'':>10}  {self._who(peer.address)}: {event_text(event)}")

    def _line(self, line: str) -> None:
        self.lines.append(line)
        if self.world.trace.count >= self._first:
            self._write(line)

    def _who(self, address: Address) -> str:
        # Peers come all the time: only those that are new since are looked at.
        for peer in self.world.peers[self._named :]:
            name = f"node {peer.index} ({peer.group})"
            self._names[peer.address[0]] = name
            self._names.setdefault(peer.public_ip, name)
        self._named = len(self.world.peers)
        return f"{self._names.get(address[0], 'nobody known')} {address[0]}:{address[1]}"


class LoggedTrace(Trace):
    """A trace that tells a log of each delivery."""

    __slots__ = ("log",)

    def __init__(self) -> None:
        super().__init__()
        self.log: Log | None = None

    def delivered(self, time: float, src: Address, dst: Address, data: bytes) -> None:
        """Take one delivery into the hash, and tell of it."""
        super().delivered(time, src, dst, data)
        if self.log is not None:
            self.log.delivered(self.count, time, src, dst, len(data))


def replay(
    spec: RunSpec,
    seed: int,
    recorded_hash: str,
    *,
    script: str | None = None,
    until: float | None = None,
    events: tuple[int, int | None] = (1, None),
    write: Callable[[str], object] = lambda line: None,
    progress: Report | None = None,
) -> Replay:
    """Play a seed again; every line of its log from delivery `events[0]` to `events[1]` goes to `write`.

    It ends after `until` virtual seconds or with delivery `events[1]`, where these are given. A model computes no
    events: then there is no log, and the hash is all that is compared.
    """
    trace = LoggedTrace()

    def prepare(world: World) -> None:
        trace.log = Log(world, write, *events)
        if until is not None:
            world.queue.at(world.started + until, _end, world)

    result = run_seed(spec, seed, progress=progress, script=script, trace=trace, prepare=prepare)
    whole = not result.stopped
    return Replay(result, recorded_hash, whole, deque() if trace.log is None else trace.log.lines)


def twice(
    spec: RunSpec, seed: int, *, script: str | None = None, progress: Report | None = None
) -> tuple[Divergence | None, list[SeedResult]]:
    """Play a seed twice and find the first delivery that differs. All deliveries are kept, some 400 bytes each."""
    traces, results = [], []
    for _ in range(2):
        trace = Trace(keep_all=True)
        results.append(run_seed(spec, seed, script=script, trace=trace, progress=progress))
        traces.append(trace)
    return first_divergence(*traces), results


def same_results(results: list[SeedResult]) -> bool:
    """Whether two results hold the same hash and the same rows: what can be compared where nothing is delivered."""
    left, right = ({name: table.columns for name, table in one.tables.items()} for one in results)
    return results[0].facts["trace_hash"] == results[1].facts["trace_hash"] and _equal(left, right)


def event_text(event: object) -> str:
    """An engine's event in one line: its name and its fields, bytes as hex digits, long lists as their length."""
    if not is_dataclass(event):
        return _short(event)
    shown = (f"{one.name}={_short(getattr(event, one.name))}" for one in fields(event))
    text = f"{type(event).__name__} {', '.join(shown)}".rstrip()
    return text if len(text) <= LONGEST_EVENT else f"{text[: LONGEST_EVENT - 1]}…"


def _short(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.hex() if len(value) <= 8 else f"{value[:8].hex()}… ({len(value)} B)"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3f}"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple) and len(value) > 2:
        return f"[{len(value)} of them]"
    return " ".join(repr(value).split())


def _equal(left: Any, right: Any) -> bool:
    # By their text, for NaN is equal to nothing.
    return repr(left) == repr(right)


def _end(world: World) -> None:
    raise ReplayEnded(f"replayed up to {world.elapsed:.3f} s")
