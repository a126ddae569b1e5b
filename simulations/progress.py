"""How far seeds are, for people: bars on a terminal, a line now and then elsewhere, nothing when that is asked for.

Decides what is shown and how often. Refuses to influence anything: who is not shown plays on just the same.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from simulations.board import Notice
from simulations.running import Progress
from simulations.tables import number

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LEAST_SHARE: Final = 0.01
"""Part of the work that must be done before what is left is guessed: the start, when all nodes join, is slow.
UNSOURCED"""

LINE_EVERY: Final = 10.0
"""Seconds between lines where there is no terminal: a log is read later. UNSOURCED"""


class Watch:
    """Shows nothing. The base of those that do."""

    def __init__(self, total: int, notices: Callable[[], list[Notice]], name: Callable[[str], str]) -> None:
        """`total` seeds are to be played; `notices()` tells of those under way, and `name` what people call them."""
        self.total = total
        self.done = 0
        self.failed = 0
        self.notices = notices
        self.name = name
        self.began = time.monotonic()
        self._rates: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to take down."""

    def took(self, *, ok: bool) -> None:
        """Count a seed that ended."""
        self.done += 1
        self.failed += not ok
        self.look()

    def look(self) -> None:
        """Show how far everything is, if it is time."""

    def left(self, notices: list[Notice]) -> float | None:
        """Seconds that all of it will take from now on, if it goes on as so far; None while nobody can know."""
        under_way = sum(_share(notice.progress) for notice in notices)
        finished = (self.done + under_way) / self.total if self.total else 1.0
        if finished < LEAST_SHARE:
            return None
        return (time.monotonic() - self.began) * (1 - finished) / finished

    def rate(self, notice: Notice) -> float:
        """Events a second since the last look at this seed, or since its start."""
        now = notice.progress
        wall, events = self._rates.get(notice.name, (0.0, 0))
        if now.wall <= wall or now.events < events:
            wall, events = 0.0, 0
        self._rates[notice.name] = (now.wall, now.events)
        return (now.events - events) / (now.wall - wall) if now.wall > wall else 0.0

    def told(self, notice: Notice) -> str:
        """One seed under way, in words."""
        now = notice.progress
        parts = []
        if now.events or not now.planned:
            of = f" of {_time(now.planned)}" if now.planned else ""
            parts.append(f"{_time(now.done)}{of} simulated")
            parts.append(f"{number(round(self.rate(notice)))} events/s")
        else:
            parts.append(f"{number(now.done)} of {number(now.planned)} computed")
        parts.append(f"{now.memory / 1e6:,.0f} MB")
        if LEAST_SHARE <= _share(now) < 1:
            parts.append(f"{_time(now.wall * (1 - _share(now)) / _share(now))} left")
        return ", ".join(parts)


class Lines(Watch):
    """A line on standard error every ten seconds at most."""

    _last = 0.0

    def look(self) -> None:
        """Write the line, if the last one is old enough."""
        now = time.monotonic()
        if now - max(self._last, self.began) < LINE_EVERY:
            return
        self._last = now
        notices = self.notices()
        parts = [f"{_time(now - self.began)}: {self.done} of {self.total} seeds done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        left = self.left(notices)
        parts += [f"about {_time(left)} left"] if left else []
        line = ", ".join(parts)
        print("; ".join([line, *(f"{self.name(one.name)}: {self.told(one)}" for one in notices)]), file=sys.stderr)


class TerminalBars(Watch):
    """Bars on a terminal: one for all seeds, and one for each that is under way."""

    def __init__(self, total: int, notices: Callable[[], list[Notice]], name: Callable[[str], str]) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        from node.cli_render import margin

        super().__init__(total, notices, name)
        self._bars: Bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[said]}", style="dim"),
            console=margin(),
            transient=True,
        )
        self._all = self._bars.add_task("seeds", total=total, said="")
        self._each: dict[str, TaskID] = {}
        # Seeds of this process are looked at by a thread of theirs while the main thread takes one.
        self._lock = threading.Lock()

    def __enter__(self) -> Watch:
        self._bars.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._bars.stop()

    def look(self) -> None:
        """Bring the bars up to date."""
        with self._lock:
            notices = self.notices()
            left = self.left(notices)
            said = f"{self.done} of {self.total} done" + (f", {self.failed} failed" if self.failed else "")
            said += f", about {_time(left)} left" if left and self.done < self.total else ""
            under_way = sum(_share(notice.progress) for notice in notices)
            self._bars.update(self._all, completed=self.done + under_way, said=said)
            for gone in self._each.keys() - {notice.name for notice in notices}:
                self._bars.remove_task(self._each.pop(gone))
            for notice in notices:
                planned = notice.progress.planned or None
                if notice.name not in self._each:
                    self._each[notice.name] = self._bars.add_task(self.name(notice.name), total=planned, said="")
                done = notice.progress.done
                self._bars.update(self._each[notice.name], total=planned, completed=done, said=self.told(notice))


def watch(
    total: int, notices: Callable[[], list[Notice]], name: Callable[[str], str], *, quiet: bool, stream: Any = None
) -> Watch:
    """The watch that fits: none when `quiet`, bars on a terminal, lines elsewhere."""
    if quiet:
        return Watch(total, notices, name)
    kind = TerminalBars if (stream or sys.stderr).isatty() else Lines
    return kind(total, notices, name)


def _share(progress: Progress) -> float:
    return min(1.0, progress.done / progress.planned) if progress.planned else 0.0


def _time(seconds: float) -> str:
    from node.cli_render import span

    return span(seconds) if seconds >= 1 else f"{seconds:.1f} s"
