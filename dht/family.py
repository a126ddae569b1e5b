"""One family of addresses, IPv4 or IPv6: what a node is and whom it knows there.

An id follows from an address (BEP 42), so a node with two families has two ids, two tables around them, and two
estimates of two networks' sizes. Decides what belongs to a family; refuses to know what is done with it.
"""

from __future__ import annotations

from collections.abc import Callable

from dht.config import DhtConfig
from dht.constants import ID_BYTES
from dht.contact import Address, Contact
from dht.identity import node_id
from dht.routing import Table
from dht.size import SizeEstimate
from dht.wire import WANT_V4, WANT_V6

_NO_ADDRESS, _NO_ADDRESS_V6 = ("127.0.0.1", 0), ("::1", 0)
"""Where we are, as long as nobody has told us: the id rules exempt it."""


class Family:
    """A node's part in the network of one family."""

    __slots__ = ("address", "counting", "ipv6", "key", "own_id", "server", "size", "table")

    def __init__(self, key: bytes, config: DhtConfig, now: float, ipv6: bool | None) -> None:
        """`ipv6`: None for the only one of a node, as long as no address has said which it is."""
        self.key = key
        self.ipv6 = ipv6
        self.own_id = node_id(key, _NO_ADDRESS[0])
        """Our id as an integer; moves when our address does."""
        self.table = Table(self.own_id, config, now)
        self.size = SizeEstimate()
        self.counting: list[Callable[[float], None]] = []
        """Who waits for the network to be counted anew, which is under way when somebody does."""
        self.address: Address | None = None
        """Where the others of this family agree to see us."""
        self.server = False
        """Whether others of this family may put us into their tables."""

    @property
    def own_place(self) -> bytes:
        """Our id as 20 bytes."""
        return self.own_id.to_bytes(ID_BYTES, "big")

    @property
    def own_contact(self) -> Contact | None:
        """Ourselves as others of this family know us; None for a client, whom nobody stores with."""
        nowhere = _NO_ADDRESS_V6 if self.ipv6 else _NO_ADDRESS
        return Contact(self.key, self.address or nowhere) if self.server else None

    @property
    def bit(self) -> int:
        """The family as `want` of a FIND_NODE writes it."""
        return WANT_V6 if self.ipv6 else WANT_V4

    def move(self, address: Address, now: float) -> bool:
        """We are at another address. Returns whether our id moves; the contacts stay."""
        self.address = address
        own_id = node_id(self.key, address[0])
        if own_id == self.own_id:
            return False
        self.own_id = own_id
        self.table = self.table.rebuilt(own_id, now)
        return True


class BothTables:
    """The tables of both families, for who wants to hear of both."""

    __slots__ = ("_asker", "_tables")

    def __init__(self, tables: tuple[Table, Table], asker: Table) -> None:
        """`asker`: the table in which the asker itself would be."""
        self._tables = tables
        self._asker = asker

    def get(self, key: bytes) -> Contact | None:
        """The contact with this node key in the asker's own family, or None."""
        return self._asker.get(key)

    def neighbours(self, target: int, count: int) -> list[Contact]:
        """The nearest of each family by turns, `count` in all, nearest first within each."""
        one, two = (table.neighbours(target, count) for table in self._tables)
        half = count // 2
        one, two = one[: max(half, count - len(two))], two[: max(half, count - len(one))]
        mixed = [contact for pair in zip(one, two, strict=False) for contact in pair]
        return mixed + one[len(two) :] + two[len(one) :]
