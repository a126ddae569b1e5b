"""Our place in the network of one family as others tell it: address, role, clock. Runs the dial-back rounds and reports
changes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from statistics import median
from typing import Final

from dht.config import DhtConfig
from dht.contact import Address, unpack_address
from dht.dialback import DialBackRound
from dht.errors import DecodeError
from dht.events import AddressChanged, ClockSuspect, Mode
from dht.family import Family
from dht.operation import Context, Operation
from dht.reachability import Reachability
from dht.requests import Pending
from dht.wire import Ping, Pong, Probe

_CLOCK_SAMPLES: Final = 16
"""Other nodes' clocks kept for the median."""

_FEW_CLOCKS: Final = 3
"""Below this many, one wrong clock would decide."""

_FIRST_ROUNDS: Final = 15.0
"""Seconds to the next round while nobody has told us our address or tried our port yet; after that twice as many each
time: behind a router that shows everybody another port nobody ever will."""


SUSPECT_AGAIN: Final = 60.0
"""Seconds until another round is set off by somebody who sees us at another IP than the others did; twice as many each
time that nothing came of it. Bounds what a liar sets off, and a carrier that gives us several addresses. It takes as
many votes as ever to move us."""

LOOK: Final = 60.0
"""Seconds without a word on where we are seen after which a server behind a router asks one contact: its table names it
to others at that address, and only who keeps home nodes hears of another one sooner. UNSOURCED: 0.3 kB a minute."""


class Outlook:
    """What others say of us."""

    def __init__(
        self,
        context: Context,
        family: Family,
        config: DhtConfig,
        rng: Random,
        on_address: Callable[[Family, Address, float], None],
        on_mode: Callable[[Family, float], None],
    ) -> None:
        """`on_address` is told where enough voters see us, `on_mode` that our role in this family may be another."""
        self.reachability = Reachability(config)
        self.address: Address | None = None
        """Where enough voters agree to see us."""
        self._context = context
        self._family = family
        self._config = config
        self._rng = rng
        self._on_address = on_address
        self._on_mode = on_mode
        self._round: DialBackRound | None = None
        self._next_round: float | None = None
        self._unsettled = _FIRST_ROUNDS
        self.due = inf
        """When `tick` is to be called, Unix seconds."""
        self._clocks: list[float] = []
        self._clock_reported = False
        self._deciding = True
        self._suspect_after = 0.0
        self._suspect_pause = SUSPECT_AGAIN
        self._heard = 0.0
        """When somebody last said where we are seen."""
        self._now = 0.0
        """When we last heard or did something."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others see us, or most likely would: one address at most."""
        return self.reachability.public_addresses(self._now)

    @property
    def clock_offset(self) -> float | None:
        """Median of the others' clocks less ours, seconds; None while fewer than three told theirs."""
        return median(self._clocks) if len(self._clocks) >= _FEW_CLOCKS else None

    def force(self, mode: Mode | None, now: float) -> None:
        """Fix the role, or let evidence decide."""
        self._deciding = mode is None
        if self.reachability.force(mode):
            self._report_mode(now)

    def presume(self, now: float) -> None:
        """Serve until evidence says otherwise, unless the role is fixed."""
        if self.reachability.presume():
            self._report_mode(now)

    def start_round(self, now: float) -> None:
        """Ask now: after a join, or when the network has changed."""
        self._unsettled = _FIRST_ROUNDS
        self._start_round(now)
        self._set_due()

    def _set_due(self) -> None:
        timer = self._round.ends if self._round is not None else self._next_round
        self.due = min(timer if timer is not None else inf, self._next_look)

    @property
    def _next_look(self) -> float:
        """When to have somebody say where we are seen, inf where that is known."""
        own = [ip for ip, _ in self.reachability.own]
        # An address of this machine's own does not change unseen.
        hidden = self.address is not None and bool(own) and self.address[0] not in own
        return self._heard + LOOK if hidden and self._family.server and self._round is None else inf

    def _look(self, now: float) -> None:
        self._heard = now
        contacts = [contact for contact in self._family.table if not contact.exempt]
        if contacts:
            self._context.request(self._rng.choice(contacts), Operation(self._context, 0), Ping, (), now)
        self._set_due()

    def _start_round(self, now: float) -> None:
        # Who is on our own network sees neither the router before us nor whether it lets others in.
        table = self._family.table
        contacts = [contact for contact in table if not contact.exempt] or list(table)
        if self._round is not None or not contacts:
            self._next_round = now + _FIRST_ROUNDS
            return
        self._next_round = None
        # A server by configuration asks as well: its operator wants to know.
        dial = self._deciding or self.reachability.mode is Mode.SERVER
        self._round = DialBackRound(self._context, self._rng, now, dial=dial, done=self._on_round)
        self._round.start(contacts, now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._now = now
        if self._round is not None and self._round.ends <= now:
            self._round.finish(now)
        if self._next_round is not None and self._next_round <= now + self._config.timer_slack:
            self._start_round(now)
            self._set_due()
        if self._next_look <= now + self._config.timer_slack:
            self._look(now)
        elif self.due <= now:
            self._set_due()  # somebody has said it meanwhile

    def on_pong(self, pending: Pending, message: Pong, now: float) -> None:
        """Somebody told us our address and the time."""
        try:
            observed = unpack_address(message.observed)
        except DecodeError:
            self._context.count("observed_malformed")
            return
        if observed == self.address:
            observed = self.address  # one object for all the votes that say the same
        self._now = self._heard = now
        self._look_for_move(pending.address, observed, now)
        self.reachability.vote(pending.address, observed, now)
        address = self.reachability.public_address(now)
        if address != self.address and address is not None:
            self.address = address
            self._suspect_pause = SUSPECT_AGAIN
            self._context.emit(AddressChanged(address))
            self._on_address(self._family, address, now)
        if len(self._clocks) == _CLOCK_SAMPLES:
            del self._clocks[0]
        self._clocks.append(message.time + 0.5 - (pending.sent + now) / 2)
        self._check_clock()

    def _look_for_move(self, voter: Address, observed: Address, now: float) -> None:
        """A router before us may have got another address, of which this machine learns nothing: ask others at once."""
        # Ports differ from one destination to the next behind many routers; IPs hardly do.
        if self.address is None or observed[0] == self.address[0] or now < self._suspect_after:
            return
        if not self.reachability.says_so_already(voter, observed):
            self._suspect_after = now + self._suspect_pause
            self._suspect_pause = min(2 * self._suspect_pause, self._config.dial_back_interval)
            self._context.count("moves_suspected")
            self.reachability.forget_votes()
            self.start_round(now)

    def on_probe(self, key: bytes, message: Probe, source: Address, now: float) -> None:
        """A probe came; only those asked for count."""
        if self._round is None or not self._round.on_probe(key, message.nonce, source, now):
            self._context.count("probe_unasked")

    def _on_round(self, reached: int, asked: int, now: float) -> None:
        self._round = None
        settled = self.address is not None and (asked > 0 or not self._deciding)
        interval = self._config.dial_back_interval * self._rng.uniform(0.8, 1.2)
        if not settled:
            interval = min(interval, self._unsettled)
            self._unsettled *= 2
        self._next_round = now + interval
        self._set_due()
        if self.reachability.on_dial_back_round(reached, asked):
            self._report_mode(now)

    def _report_mode(self, now: float) -> None:
        self._on_mode(self._family, now)

    def _check_clock(self) -> None:
        offset = self.clock_offset
        if offset is None:
            return
        off = abs(offset) > self._config.clock_tolerance
        if off and not self._clock_reported:
            self._context.emit(ClockSuspect(offset))
        self._clock_reported = off
