"""Looks at a link's path every now and then, on the loop's clock: the shell around `node.protocols.liveness`.

Decides when the next look is due. Refuses to know what is done about a path that is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.protocols.liveness import LOOK_OFTEN, Liveness, Look


class PathWatch:
    """The looks at one link's path."""

    def __init__(
        self,
        clock: Callable[[], float],
        suspended_for: float,
        state: Callable[[], tuple[int | None, bool]],
        act: Callable[[Look], None],
    ) -> None:
        """`state()` gives the room in the path's queue (None without a path), and whether the other end owes an
        acknowledgement; `act` is called with what has to be done.
        """
        self.heard = False
        """Set when anything comes."""
        self.used = False
        """Set when messages that count are sent or come."""
        self.resting = False
        """Whether the next look is far: `hurry` then, when the link is used."""
        self.liveness = Liveness(clock(), suspended_for)
        self._clock = clock
        self._state = state
        self._act = act
        self._loop = asyncio.get_running_loop()
        self._room = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def suspected(self) -> bool:
        """Whether the path is held for dead."""
        return self.liveness.suspected_at is not None

    def suspect(self) -> bool:
        """Hold the path for dead; False when it was before."""
        self.heard = False
        self.hurry()
        return self.liveness.suspect(self._clock())

    def renew(self) -> None:
        """The link goes on over another path."""
        self._room = 0
        self.heard = self.used = False
        self.liveness.renew(self._clock())

    def ask(self) -> int:
        """A probe leaves: return its token."""
        return self.liveness.ask(self._clock())

    def on_answer(self, token: int) -> None:
        """The answer to a probe came."""
        self.liveness.on_answer(token, self._clock())

    def may_answer(self) -> bool:
        """Whether a probe of the other end is to be answered now."""
        return self.liveness.may_answer(self._clock())

    def hurry(self) -> None:
        """Look soon, and often from then on."""
        self._set(LOOK_OFTEN)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.resting = False

    def _set(self, pause: float) -> None:
        self.stop()
        self.resting = pause > LOOK_OFTEN
        self._timer = self._loop.call_later(pause, self._look)

    def _look(self) -> None:
        room, waiting = self._state()
        heard, used = self.heard, self.used
        self.heard = self.used = False
        if room is None:
            heard = False  # That was on the path that died.
        else:
            # A queue that empties shows that somebody takes what is in it.
            heard = heard or room > self._room
            self._room = room
        look = self.liveness.look(self._clock(), heard=heard, used=used, waiting=waiting)
        self._set(self.liveness.pause)
        if look is not Look.WELL:
            self._act(look)
