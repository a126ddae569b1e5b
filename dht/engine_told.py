"""What an engine is told of the machine it runs on: role, addresses, another network.

Decides what is looked at anew then. Refuses to know how a role is decided and how an address is found out.
"""

from __future__ import annotations

from dht.contact import Address
from dht.events import Mode
from dht.known import Known
from dht.watching import Watching


class Told(Known):
    """The part of an engine that is told about this machine."""

    watching: Watching

    def set_mode(self, mode: Mode | None, now: float) -> None:
        """Fix the role; None lets evidence from outside decide."""
        self._families.force(mode, now)

    def set_own_addresses(self, addresses: tuple[Address, ...], now: float) -> None:
        """Say at which endpoints of this machine we listen, so that a router that changes nothing is told from one, and
        by which families of addresses we get out."""
        self._families.set_own(addresses, now)

    def network_changed(self, now: float) -> None:
        """This machine is on another network: find out anew how we are seen, and tell our home nodes where we are."""
        for seat in self._families.usable:
            seat.outlook.reachability.forget()
            seat.outlook.start_round(now)
        for keepers in (self._homes, self.watching):
            keepers.renew_all(now)

    def try_reachability(self, now: float) -> None:
        """Something has changed that may let others reach us: have it tried now."""
        for seat in self._families.usable:
            seat.outlook.start_round(now)

    def presume_server(self, now: float) -> None:
        """Serve though nobody has tried us from outside yet, unless the role is fixed; the next round of dial-backs
        decides. For a node that finds nobody who serves: of clients alone no network grows."""
        for seat in self._families.all:
            seat.outlook.presume(now)
