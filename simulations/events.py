"""The event queue: the one clock of a simulation, and the order in which things happen.

Decides: time only moves by jumping to the next event; events of one instant run in the order in which they were
put in. Refuses to know networks, engines or asyncio: an event is a time and a call.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

from simulations.errors import BadScenario, Deadlock, SimulationError, VirtualTimeout

DEFAULT_START = 1_700_000_000.0
"""Unix seconds at which a simulation begins (2023-11-14); any plausible date does. UNSOURCED"""

Entry = tuple[float, int, Callable[[Any, Any, Any], object], Any, Any, Any]
"""When, insertion number, and a call of exactly three arguments: one flat tuple an event, nothing more."""


def _call(fn: Callable[..., object], args: tuple[Any, ...], _: None) -> None:
    fn(*args)


class EventQueue:
    """A heap of timed calls. `now` is Unix seconds and never goes back."""

    __slots__ = ("_running", "heap", "next_number", "now", "start")

    def __init__(self, start: float = DEFAULT_START) -> None:
        if not math.isfinite(start):
            raise BadScenario(f"a simulation cannot start at {start!r}: expected Unix seconds")
        self.start = start
        self.now = start
        self.heap: list[Entry] = []
        """Open to `Network.send` and the loop, which push here without a call in between: it is the hot path."""
        self.next_number = itertools.count().__next__
        self._running = False

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the start."""
        return self.now - self.start

    def at(self, when: float, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` at the Unix time `when`; a time already past means as soon as possible."""
        self.schedule(when, _call, fn, args)

    def after(self, delay: float, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` `delay` virtual seconds from now."""
        self.schedule(self.now + delay, _call, fn, args)

    def schedule(
        self, when: float, fn: Callable[[Any, Any, Any], object], a: Any = None, b: Any = None, c: Any = None
    ) -> None:
        """Call `fn(a, b, c)` at `when`: the form without a second tuple, for whatever happens often."""
        if math.isnan(when) or when == math.inf:
            raise BadScenario(f"an event cannot be scheduled at {when!r}")
        heappush(self.heap, (max(when, self.now), self.next_number(), fn, a, b, c))

    def step(self) -> bool:
        """Run the next event; false when there is none."""
        if not self.heap:
            return False
        when, _, fn, a, b, c = heappop(self.heap)
        self.now = when
        fn(a, b, c)
        return True

    def run(self, until: float | None = None) -> int:
        """Run every event up to and including the time `until` (all of them without it); say how many ran.

        With `until`, the clock stands at `until` afterwards, whether or not an event fell on it.
        """
        limit = math.inf if until is None else until
        heap, pop = self.heap, heappop
        count = 0
        with self.exclusively():
            while heap:
                if heap[0][0] > limit:
                    break
                self.now, _, fn, a, b, c = pop(heap)
                fn(a, b, c)
                count += 1
        if until is not None and until > self.now:
            self.now = until
        return count

    def run_for(self, span: float) -> int:
        """Run every event of the next `span` virtual seconds."""
        return self.run(self.now + span)

    def run_until(
        self,
        predicate: Callable[[], bool],
        timeout: float,
        *,
        what: str = "the awaited condition",
        check_every: float = 0.0,
    ) -> None:
        """Run until `predicate()` is true, looking after each event, or each `check_every` virtual seconds.

        Raises `VirtualTimeout` past `timeout`, and `Deadlock` when no event is left before that.
        """
        deadline = self.now + timeout
        heap, pop = self.heap, heappop
        with self.exclusively():
            if predicate():
                return
            next_check = self.now + check_every
            while heap and heap[0][0] <= deadline:
                if check_every and heap[0][0] > next_check:
                    # Time is set before looking, so that a predicate which reads the clock sees its own check.
                    self.now = next_check
                    if predicate():
                        return
                    next_check += check_every
                    continue
                self.now, _, fn, a, b, c = pop(heap)
                fn(a, b, c)
                if not check_every and predicate():
                    return
            if check_every and predicate():
                return
        if not heap:
            raise Deadlock(f"{what} can never happen: at {self.now:.6f} no event is left to run")
        self.now = deadline
        raise VirtualTimeout(what, timeout, self.now)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the clock: whoever else tries to run the queue meanwhile is refused."""
        # An event that runs the queue would see its own instant end before it has ended itself.
        if self._running:
            raise SimulationError("the event queue is running already: an event may schedule, but not run, others")
        self._running = True
        try:
            yield
        finally:
            self._running = False
