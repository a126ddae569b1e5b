"""How the network sees us: our public address by vote, and whether our port is reached from outside.

A pure decision over samples; the engine collects them. Each voter's prefix counts once and its last word holds, so one
network cannot elect an address for us; a near-tie elects nobody (the rule of discv5's ip_vote).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from dht.config import DhtConfig
from dht.contact import Address
from dht.events import Mode
from dht.identity import address_prefix, is_exempt
from dht.nat_report import NatReport, observed

VOTES_KEPT: Final = 64
"""Voters remembered; the oldest is forgotten first."""

VOTE_LIFETIME: Final = 1800.0
"""Seconds a vote counts. UNSOURCED: home lines change address daily at most."""

MAJORITY: Final = 2 / 3
"""Part of the votes an address needs, so that a near-tie elects nobody. UNSOURCED beyond that."""

LOST_ROUNDS: Final = 3
"""Failed dial-back rounds in a row after which a server withdraws: hysteresis against flapping."""

MOST_PROOFS: Final = 8
"""Good rounds in a row that are asked at the most of a node that has withdrawn before: one at first, then twice as many
each time, so that a port which is open now and then does not come and go in everybody's tables. With rounds every
600 s no role changes more often than three times in any hour, and over a day about once an hour. UNSOURCED"""

STEADY_ROUNDS: Final = 12
"""Good rounds in a row after which a server's withdrawals are forgotten. UNSOURCED: two hours of rounds every 600 s."""


class Reachability:
    """Votes, dial-back results, and the role that follows from them."""

    def __init__(self, config: DhtConfig) -> None:
        self._config = config
        self._votes: OrderedDict[object, tuple[Address, float]] = OrderedDict()
        self._voters: dict[object, Address] = {}
        self.own: tuple[Address, ...] = ()
        """Our own endpoints, as far as we know them: this machine's addresses with our port."""
        self._forced: Mode | None = None
        self._failed_rounds = 0
        self._good_rounds = 0
        self._proofs = 1
        """Good rounds in a row that make a server."""
        self._proven = False
        """Whether this port was reached since a role was presumed or forced."""
        self.mode = Mode.CLIENT
        self.reason = "no peer has reached this port from outside yet"

    def vote(self, voter: Address, seen_at: Address, now: float) -> None:
        """`voter` saw us at `seen_at`."""
        source = _source(voter)
        if is_exempt(seen_at[0]) and not is_exempt(voter[0]):
            return  # a public voter cannot see a private address
        self._votes[source] = (seen_at, now)
        self._votes.move_to_end(source)
        self._voters[source] = voter
        if len(self._votes) > VOTES_KEPT:
            # Neighbours first: there may be many, and those outside know what they do not.
            near = (source for source, one in self._voters.items() if is_exempt(one[0]))
            forgotten = next(near, next(iter(self._votes)))
            del self._votes[forgotten], self._voters[forgotten]

    def says_so_already(self, voter: Address, seen_at: Address) -> bool:
        """Whether `voter`, or another of its network, saw us at that IP the last time, too."""
        last = self._votes.get(_source(voter))
        return last is not None and last[0][0] == seen_at[0]

    def forget_votes(self) -> None:
        """We seem to be at another address: what was seen before says nothing."""
        self._votes.clear()
        self._voters.clear()

    def public_addresses(self, now: float) -> tuple[Address, ...]:
        """The endpoints that enough voters agree on, or our own where no vote is against it; one a family."""
        votes = [address for address, _ in self._fresh(now)]
        found: list[Address] = []
        for ipv6 in (False, True):
            counts = Counter(address for address in votes if (":" in address[0]) == ipv6)
            # Too few have seen us over this family: a public address of this machine's own is the best guess as long as
            # nobody has seen us elsewhere.
            own = next((a for a in self.own if (":" in a[0]) == ipv6 and not is_exempt(a[0])), None)
            address = self._elect(counts) or (own if counts.keys() <= {own} else None)
            if address is not None:
                found.append(address)
        return tuple(found)

    def public_address(self, now: float) -> Address | None:
        """The first of them, or None."""
        return next(iter(self.public_addresses(now)), None)

    def nat_report(self, now: float) -> NatReport:
        """What the votes say about the router before our IPv4 address; of IPv6 only where there is no other."""
        votes = [address for address, _ in self._fresh(now)]
        seen = [address for address in votes if ":" not in address[0]] or votes
        if len(seen) < self._config.address_votes:
            return NatReport()
        ours = next((own for own in self.own if own in seen), ("", next((port for _, port in self.own), 0)))
        return observed(ours, seen, len(seen))

    def votes(self, now: float) -> tuple[tuple[Address, Address], ...]:
        """Who saw us where, oldest first: voter and endpoint."""
        return tuple((self._voters[source], vote[0]) for source, vote in self._votes.items() if self._young(vote, now))

    def forget(self) -> None:
        """We are on another network: what was seen on the last one says nothing."""
        self.forget_votes()
        self._proofs = 1

    def force(self, mode: Mode | None) -> bool:
        """Fix the role (None: decide from evidence). Returns whether it changed."""
        if mode is None:
            if self._forced is not None:
                self.reason = "set by configuration until now; not tried from outside yet"
            self._forced = None
            return False
        self._forced = mode
        self._failed_rounds = self._good_rounds = 0
        self._proven = False
        return self._become(mode, "set by configuration")

    def presume(self) -> bool:
        """Serve unasked, until the first round of dial-backs says otherwise. Returns whether the role changed."""
        if self._forced is not None or self.mode is Mode.SERVER:
            return False
        self._failed_rounds = LOST_ROUNDS - 1
        self._proven = False
        return self._become(Mode.SERVER, "nobody who serves was found: others may begin with this node")

    def on_dial_back_round(self, reached: int, asked: int) -> bool:
        """A round of dial-backs ended: `reached` of `asked` peers got through. Returns whether the role changed."""
        if asked == 0:
            return False
        if self._forced is not None:
            if self._forced is Mode.SERVER:
                said = f"{reached} of {asked}" if reached else f"none of {asked}"
                self.reason = f"set by configuration; {said} peers asked reached this port from outside"
            return False
        if reached:
            self._failed_rounds = 0
            return self._on_good_round(f"{reached} of {asked} peers reached this port from outside")
        self._failed_rounds += 1
        self._good_rounds = 0
        if self.mode is Mode.SERVER and self._failed_rounds >= LOST_ROUNDS:
            if self._proven:  # a presumption that was wrong is no coming and going
                self._proofs = min(2 * self._proofs, MOST_PROOFS)
            return self._become(Mode.CLIENT, f"nobody reached this port in {self._failed_rounds} rounds of asking")
        if self.mode is Mode.CLIENT:
            self.reason = f"none of {asked} peers asked could reach this port from outside"
        return False

    def _on_good_round(self, said: str) -> bool:
        self._good_rounds += 1
        self._proven = True
        if self._good_rounds >= STEADY_ROUNDS:
            self._proofs = 1
        if self.mode is Mode.CLIENT and self._good_rounds < self._proofs:
            self.reason = f"{said}, for {self._good_rounds} of {self._proofs} rounds: it came and went before"
            return False
        return self._become(Mode.SERVER, said)

    def _become(self, mode: Mode, reason: str) -> bool:
        changed = mode is not self.mode
        self.mode = mode
        self.reason = reason
        return changed

    def _fresh(self, now: float) -> list[tuple[Address, float]]:
        """The votes that count: those of neighbours, who see our private address, only where nobody else has voted."""
        fresh = [(source, vote) for source, vote in self._votes.items() if self._young(vote, now)]
        outside = [vote for source, vote in fresh if not is_exempt(self._voters[source][0])]
        return outside or [vote for _, vote in fresh]

    @staticmethod
    def _young(vote: tuple[Address, float], now: float) -> bool:
        return now - vote[1] < VOTE_LIFETIME

    def _elect(self, counts: Counter[Address]) -> Address | None:
        if not counts:
            return None
        address, votes = counts.most_common(1)[0]
        if votes < self._config.address_votes or votes < counts.total() * MAJORITY:
            return None
        return address


def _source(voter: Address) -> object:
    # On private networks every neighbour is a network of its own, else a LAN could never agree.
    return voter if is_exempt(voter[0]) else address_prefix(voter[0])
