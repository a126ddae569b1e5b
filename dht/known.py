"""What there is to know of an engine: read from its parts, never changed.

Decides the names by which the node, the simulator and tests read an engine. Refuses to know how the parts are wired.
"""

from __future__ import annotations

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.events import Mode
from dht.families import Families
from dht.inbox import Inbox
from dht.keeping_families import Keepers
from dht.meeting_homes import HomeKeeper
from dht.nat_report import NatReport
from dht.notices import Notices
from dht.routing import Table
from dht.size import SizeEstimate
from dht.store import Store


class Known:
    """The part of an engine that is asked what it knows."""

    config: DhtConfig
    _families: Families
    _store: Store
    _inbox: Inbox
    _notices: Notices
    _homes: Keepers[HomeKeeper]

    @property
    def own_id(self) -> int:
        """Our node id as an integer, in the main family; moves when our public address does."""
        return self._families.main.own_id

    @property
    def table(self) -> Table:
        """The routing table of the main family."""
        return self._families.main.table

    @property
    def size(self) -> SizeEstimate:
        """How many nodes the network of the main family has."""
        return self._families.main.size

    @property
    def mode(self) -> Mode:
        """Server or client."""
        return self._families.mode

    @property
    def reached_over(self) -> frozenset[int]:
        """The families of addresses, 4 and 6, in which we are a server."""
        return frozenset(6 if seat.ipv6 else 4 for seat in self._families.usable if seat.server)

    @property
    def mode_reason(self) -> str:
        """Why."""
        return self._families.mode_reason

    @property
    def public_address(self) -> Address | None:
        """The endpoint the network agrees to see us at, in the main family."""
        return self._families.main.address

    @property
    def public_addresses(self) -> tuple[Address, ...]:
        """The endpoints the network agrees to see us at, IPv4 first."""
        return tuple(address for seat in self._families.usable for address in seat.outlook.addresses)

    def nat_report(self, now: float) -> NatReport:
        """What others' words say about the router before us."""
        each = [seat.outlook.reachability.nat_report(now) for seat in self._families.usable]
        return next((report for report in each if report != NatReport()), each[0])

    def votes(self, now: float) -> tuple[tuple[Address, Address], ...]:
        """Who saw us where."""
        return tuple(vote for seat in self._families.usable for vote in seat.outlook.reachability.votes(now))

    @property
    def clock_offset(self) -> float | None:
        """Median of other nodes' clocks less ours, seconds."""
        offsets = [seat.outlook.clock_offset for seat in self._families.usable]
        return next((offset for offset in offsets if offset is not None), None)

    def contacts(self) -> list[Contact]:
        """The routing tables, IPv4 first."""
        return [contact for seat in self._families.all for contact in seat.table]

    def answering(self) -> list[Contact]:
        """Those known that have not left our last question unanswered."""
        seats = self._families.all
        return [contact for seat in seats for contact in seat.table if contact.key not in seat.table.suspects]

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

    @property
    def kept_open(self) -> float:
        """Seconds between datagrams that keep a way through our router open, as far as it is known."""
        return min((one.keepalive for one in self._homes if one.count), default=self.config.home_keepalive)

    def homes_elsewhere(self) -> tuple[Contact, ...]:
        """Those of them that have an address of the family we do not reach them by, at that address."""
        return tuple(dict.fromkeys(home for keeper in self._homes for home in keeper.elsewhere))
