"""What there is to know of an engine: read from its parts, never changed.

Decides the names by which the node, the simulator and tests read an engine. Refuses to know how the parts are wired.
"""

from __future__ import annotations

from dht.contact import Address, Contact
from dht.events import Mode
from dht.inbox import Inbox
from dht.keeping import Keepers
from dht.meeting import HomeKeeper
from dht.nat_report import NatReport
from dht.notices import Notices
from dht.outlook import Outlook
from dht.routing import Table
from dht.store import Store


class Known:
    """The part of an engine that is asked what it knows."""

    table: Table
    _own_id: int
    _outlook: Outlook
    _store: Store
    _inbox: Inbox
    _notices: Notices
    _homes: Keepers[HomeKeeper]

    @property
    def own_id(self) -> int:
        """Our node id as an integer; moves when our public address does."""
        return self._own_id

    @property
    def mode(self) -> Mode:
        """Server or client."""
        return self._outlook.reachability.mode

    @property
    def mode_reason(self) -> str:
        """Why."""
        return self._outlook.reachability.reason

    @property
    def public_address(self) -> Address | None:
        """The endpoint the network agrees to see us at."""
        return self._outlook.address

    @property
    def public_addresses(self) -> tuple[Address, ...]:
        """The endpoints the network agrees to see us at, IPv4 first."""
        return self._outlook.addresses

    def nat_report(self, now: float) -> NatReport:
        """What others' words say about the router before us."""
        return self._outlook.reachability.nat_report(now)

    def votes(self, now: float) -> tuple[tuple[Address, Address], ...]:
        """Who saw us where."""
        return self._outlook.reachability.votes(now)

    @property
    def clock_offset(self) -> float | None:
        """Median of other nodes' clocks less ours, seconds."""
        return self._outlook.clock_offset

    def contacts(self) -> list[Contact]:
        """The routing table."""
        return list(self.table)

    def held_records(self) -> int:
        """Records held for others."""
        return len(self._store)

    def records(self) -> list[tuple[bytes, float]]:
        """The records held for others, as `restore` takes them back: bytes, and until when."""
        return [(entry.record.raw, entry.expires) for entry in self._store.entries()]

    def forwards(self) -> int:
        """Forwarding entries held for others."""
        return self._inbox.forwards

    def watchers(self) -> int:
        """Subscriptions held for others."""
        return len(self._notices)

    def homes(self) -> tuple[Contact, ...]:
        """The nodes that forward to the identities served here."""
        return tuple(dict.fromkeys(home for keeper in self._homes for home in keeper.homes))

    def homes_elsewhere(self) -> tuple[Contact, ...]:
        """Those of them that have an address of the family we do not reach them by, at that address."""
        return tuple(dict.fromkeys(home for keeper in self._homes for home in keeper.elsewhere))
