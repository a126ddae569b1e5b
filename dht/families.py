"""The one or two families of addresses of a node, and what it does of its own accord in each.

A node begins with one, which the first address decides. Another opens when somebody of it is heard from, or when this
machine is said to have an address of it. A family that this machine has lost rests, with its table, until it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import Final

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.events import Mode
from dht.exchange import Exchange
from dht.family import Family
from dht.maintenance import Maintenance
from dht.operation import Context
from dht.operation_walk import QuietWalk
from dht.outlook import Outlook
from dht.repair import Repair

MEET_AGAIN: Final = 60.0
"""Seconds until contacts of a family in which few are known are asked for again by way of the other; twice as many
each time, up to `DhtConfig.refresh_interval`: a network of one family may have nobody of the other. UNSOURCED"""


class Seat(Family):
    """A family with its upkeep and outlook."""

    __slots__ = ("maintenance", "meet_after", "meet_pause", "meeting", "outlook")

    maintenance: Maintenance
    outlook: Outlook

    def __init__(self, key: bytes, config: DhtConfig, now: float, ipv6: bool | None) -> None:
        super().__init__(key, config, now, ipv6)
        self.meeting = False
        """Whether a walk among contacts that the other family named is under way."""
        self.meet_after = 0.0
        self.meet_pause = MEET_AGAIN


class Families:
    """All of them. Does what `dht.operation.Families` says, and opens what is not there yet."""

    def __init__(
        self,
        context: Context,
        exchange: Exchange,
        config: DhtConfig,
        repair: Repair,
        rng: Random,
        now: float,
        told: tuple[
            Callable[[Family, Address, float], None], Callable[[Family, float], None], Callable[[Family, float], None]
        ],
    ) -> None:
        """`told`: of another address of ours in a family, of another role, and of contacts where nobody was known."""
        self._context = context
        self._exchange = exchange
        self._config = config
        self._repair = repair
        self._rng = rng
        on_address, on_mode, self._on_joined = told
        self._told = on_address, on_mode
        self._forced: Mode | None = None
        self._own: tuple[Address, ...] = ()
        first = self._made(None, now)
        self.all: tuple[Seat, ...] = (first,)
        """IPv4 first."""
        self._first = first

    def of(self, ip: str, now: float) -> Seat:
        """The family of an address; opens it."""
        ipv6 = ":" in ip
        first = self._first
        if first.ipv6 is ipv6:
            return first
        if first.ipv6 is None:
            first.ipv6 = ipv6
            return first
        if len(self.all) == 1:
            self._open(ipv6, now)
        return self.all[ipv6]

    def other(self, seat: Seat) -> Seat | None:
        """The other one, where there are two."""
        if len(self.all) == 1:
            return None
        return self.all[not seat.ipv6]

    def elsewhere(self, contact: Contact) -> Contact | None:
        """The same node in the table of the other family."""
        return self.all[":" not in contact.ip].table.get(contact.key) if len(self.all) > 1 else None

    @property
    def main(self) -> Seat:
        """The one for what needs only one: IPv4, unless nobody is known there or this machine has lost it."""
        if len(self.all) == 1:
            return self._first
        usable = self.usable
        return next((seat for seat in usable if len(seat.table)), usable[0])

    @property
    def usable(self) -> tuple[Seat, ...]:
        """Those by which this machine gets out, as far as it has said so."""
        if len(self.all) == 1 or not self._own:
            return self.all
        own = {":" in ip for ip, _ in self._own}
        return tuple(seat for seat in self.all if seat.ipv6 in own) or self.all

    @property
    def ways_out(self) -> frozenset[bool]:
        """The kinds of addresses this machine can send to (is it IPv6): both, as long as it has not said."""
        return frozenset(":" in ip for ip, _ in self._own) or frozenset((False, True))

    @property
    def walked(self) -> list[Seat]:
        """Those that look-ups go through: where this machine gets out and somebody is known; at least one."""
        if len(self.all) == 1:
            return [self._first]
        return [seat for seat in self.usable if len(seat.table)] or [self.main]

    # What this machine is

    def set_own(self, addresses: tuple[Address, ...], now: float) -> None:
        """This machine has these endpoints: a family for each kind of them."""
        self._own = addresses
        for ip, _ in addresses:
            self.of(ip, now)
        for seat in self.all:
            seat.outlook.reachability.own = tuple(a for a in addresses if (":" in a[0]) is bool(seat.ipv6))
            seat.meet_after, seat.meet_pause = 0.0, MEET_AGAIN
        self.look_for_more(now)

    def force(self, mode: Mode | None, now: float) -> None:
        """Fix the role, or let evidence decide."""
        self._forced = mode
        for seat in self.all:
            seat.outlook.force(mode, now)

    @property
    def mode(self) -> Mode:
        """Server where we are one in any family."""
        return Mode.SERVER if any(seat.server for seat in self.all) else Mode.CLIENT

    @property
    def mode_reason(self) -> str:
        """Why."""
        deciding = next((seat for seat in self.all if seat.server), self.main)
        return deciding.outlook.reachability.reason

    # Upkeep

    @property
    def due(self) -> float:
        """When `tick` is to be called, Unix seconds."""
        first = self._first
        due = min(first.maintenance.due, first.outlook.due)
        if len(self.all) == 1:
            return due
        return min((min(seat.maintenance.due, seat.outlook.due) for seat in self.usable), default=inf)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for seat in self.usable:
            seat.maintenance.tick(now)
            seat.outlook.tick(now)
        if len(self.all) > 1:
            self.look_for_more(now)

    def look_for_more(self, now: float) -> None:
        """Ask for contacts of both families as long as few are known of one of them."""
        usable = self.usable
        lacking = len(usable) > 1 and any(self._lacks(seat, now) for seat in usable)
        self._exchange.want_both(lacking)

    def met(self, contacts: list[Contact], now: float) -> None:
        """Contacts of another family than the one asked were named: where few are known, walk among them."""
        ipv6 = bool(contacts) and ":" in contacts[0].ip
        seat = next((seat for seat in self.usable if seat.ipv6 is ipv6), None)
        if seat is None or not contacts or not self._lacks(seat, now):
            return
        seat.meeting = True
        self._context.count("families_met")
        walk = QuietWalk(self._context, seat.own_place, now, lambda _, then: self._on_met(seat, then), family=seat)
        walk.start(now, contacts)

    def _lacks(self, seat: Seat, now: float) -> bool:
        return not seat.meeting and now >= seat.meet_after and len(seat.table) < self._config.k

    def _on_met(self, seat: Seat, now: float) -> None:
        seat.meeting = False
        seat.meet_after = now + seat.meet_pause
        seat.meet_pause = min(2 * seat.meet_pause, self._config.refresh_interval)
        self.look_for_more(now)
        if len(seat.table):
            self._on_joined(seat, now)

    # How they come to be

    def _open(self, ipv6: bool, now: float) -> None:
        seat = self._made(ipv6, now)
        self.all = (self._first, seat) if ipv6 else (seat, self._first)
        # What holds of one family says nothing of the other: both begin with the role of who has not been tried.
        self._exchange.server, self._exchange.server6 = (one.server for one in self.all)
        seat.outlook.reachability.own = tuple(a for a in self._own if (":" in a[0]) is ipv6)
        if self._forced is not None:
            seat.outlook.force(self._forced, now)

    def _made(self, ipv6: bool | None, now: float) -> Seat:
        context, config, rng = self._context, self._config, self._rng
        seat = Seat(context.own_key, config, now, ipv6)
        seat.maintenance = Maintenance(context, seat, config, self._repair, rng, now)
        seat.outlook = Outlook(context, seat, config, rng, *self._told)
        return seat

    def seat(self, family: Family) -> Seat:
        """A family with its upkeep."""
        return next(seat for seat in self.all if seat is family)

    def on_mode(self, family: Family) -> None:
        """Our role in a family may be another: say so in what we send."""
        seat = self.seat(family)
        seat.server = seat.outlook.reachability.mode is Mode.SERVER
        self._exchange.server = self.all[0].server
        self._exchange.server6 = self.all[-1].server

    def by_family(self, contacts: Iterable[Contact], now: float) -> list[tuple[Seat, list[Contact]]]:
        """Contacts sorted by family, for all families by which this machine gets out."""
        sorted_out: dict[Seat, list[Contact]] = {}
        ways_out = self.ways_out
        for contact in contacts:
            if (":" in contact.ip) in ways_out:
                sorted_out.setdefault(self.of(contact.ip, now), []).append(contact)
        return [(seat, sorted_out.get(seat, [])) for seat in self.usable]
