"""Keeping home nodes: the peer's side of being reached behind a router, and of learning what its router allows.

Decides which nodes hold our forwarding entries, when they are renewed, and when one of them is dead. How long the
router remembers follows from what home nodes say unasked; `dht/keeping_mapping.py` draws the conclusions.
"""

from __future__ import annotations

from typing import Final

from dht.constants import KEY_BYTES, MAX_ENTRY
from dht.contact import PACKED_V4, PACKED_V6, Address, Contact, unpack_address, unpack_contact
from dht.errors import DecodeError
from dht.events import HomesChanged
from dht.family import Family
from dht.forwarding import registration_message
from dht.identity import IdentityKey
from dht.keeping import SOON, EntryKeeper, refusal_of
from dht.keeping_mapping import MappingLifetime
from dht.meeting_silence import Heard, Silences
from dht.operation import Context
from dht.operation_walk import QuietWalk
from dht.records import Refusal, peer_place
from dht.requests import Pending
from dht.routing import diverse
from dht.wire import Message, Ping, Pong, Register, Registered, RegisterFor

_REGISTER_VALID = 600
"""Seconds a signed registration may be shown: as long as the token inside it can live (BEP 5: 10 minutes)."""

FURTHER: Final = 2
"""Nodes asked beyond those needed when none of them has both families: without one that has, nobody of the other family
can call. UNSOURCED: among nodes of which a third has both, that finds one for 87 of 100 peers."""

CHECKS: Final = 2
"""Questions, each sent twice, that a home node leaves unanswered before it counts as dead. Where one datagram in twenty
is lost, and a question or its answer one time in ten, that mistakes one in 10,000: at a question every 6 s to each of
three, one in six hours. UNSOURCED beyond that."""

SPARE_LIFE: Final = 65.0
"""Seconds for which an entry is asked to outlive the time of its renewal: what 90 s are beyond 25."""


class Served:
    """An identity that is served here, in whichever family."""

    def __init__(self, identity: IdentityKey) -> None:
        self.identity = identity
        self.reported: tuple[tuple[Contact, ...], ...] = ()
        """The home nodes that the application was told of last."""


class HomeKeeper(EntryKeeper):
    """Keeps forwarding entries for one identity alive at the nodes closest to its place that grant one."""

    def __init__(self, context: Context, served: Served, family: Family, now: float) -> None:
        super().__init__(context, peer_place(served.identity.public), context.config.homes, family, now)
        self._served = served
        self._identity = served.identity
        self._asked: set[Contact] = set()
        """Home nodes that are asked at present whether they live."""
        self._silent: dict[Contact, int] = {}
        """Questions in a row that home nodes have left unanswered."""
        self._silences = self._unmeasured()
        self._speaks: dict[bytes, bool] = {}
        """Node keys of home nodes, and whether they know REGISTER_FOR."""
        self._together = False
        """Whether all entries are to be renewed now."""
        self._observed: dict[Contact, Address] = {}
        """Where home nodes saw us last."""
        self._plain: set[Contact] = set()
        """Who was asked beyond those needed, and has no other address either."""
        self._others: dict[Contact, Contact] = {}
        """Home nodes, and where those reach them that cannot send to the address we know."""

    @property
    def elsewhere(self) -> tuple[Contact, ...]:
        """The home nodes that have an address of the family we do not reach them by, at that address."""
        return tuple(self._others[home] for home in self.homes if home in self._others)

    @property
    def homes(self) -> tuple[Contact, ...]:
        """The nodes that forward to us, nearest to our place first."""
        return tuple(sorted(self.entries, key=lambda home: home.long_id ^ self.target))

    @property
    def lifetime(self) -> float:
        """Seconds a forwarding entry lives at the most."""
        return MAX_ENTRY

    @property
    def keepalive(self) -> float:
        """Seconds between renewals: as many as the router before us was proven to remember."""
        return self._silences.interval

    def wait(self, node: Contact) -> float:
        """Seconds from one renewal at a home node to the next."""
        return self._silences.wait(node)

    def to_renew(self, now: float) -> list[Contact]:
        """Where entries are to be renewed now: together, but for one that tries a longer silence alone."""
        if self._together:
            self._together = False
            nodes = list(self.entries)
        else:
            nodes = super().to_renew(now)
            alone = self._silences.alone
            if alone in self.entries:
                return [node for node in nodes if node != alone or self.renew_at(node) <= now]
        if nodes and not self._checking:
            # With one out of step the radio would be woken twice, and no silence be one of all.
            fresh = now - self.beat
            nodes = [home for home in self.entries if home in nodes or self.granted.get(home, (0.0,))[0] < fresh]
            able = [home for home in self.homes if home in nodes and home not in self.trying]
            able = [home for home in able if self._speaks.get(home.key) is not False]
            self._silences.choose(able, now, others=len(self.entries) > 1)
        return nodes

    def renew_all(self, now: float) -> None:
        """We are on another network: what was learnt of the last one's router says nothing."""
        self._silences = self._unmeasured()
        self._observed.clear()
        super().renew_all(now)

    def tick(self, now: float) -> float:
        """Do what is due; ask home nodes that have been silent for long, all together."""
        if self._checking:
            early = now - self.context.config.home_check + max(SOON, self.context.config.timer_slack)
            for home in self.entries:
                if home not in self.trying and home not in self._asked and self._heard(home) <= early:
                    self._check(home, now)
        elif self._silences.overdue(self.entries, now):
            self._together = True
        return super().tick(now)

    def next_tick(self, now: float) -> float:
        """When something is to be done: at the latest when a home node has been silent for too long."""
        at = super().next_tick(now)
        if self._checking:
            check = self.context.config.home_check
            quiet = [
                self._heard(home) + check
                for home in self.entries
                if home not in self.trying and home not in self._asked
            ]
            at = min(at, max(now + SOON, min(quiet, default=at)))
        return at

    @property
    def _checking(self) -> bool:
        """Whether home nodes are asked between renewals."""
        return self.context.config.home_check < self.context.config.home_keepalive

    def _heard(self, home: Contact) -> float:
        peer = self.context.requests.peer(home)
        return max(peer.seen, peer.spoke) if peer is not None else 0.0

    def _check(self, home: Contact, now: float) -> None:
        self._asked.add(home)
        self.context.request(home, self, Ping, (), now, tag=Ping, resend=True)

    def on_failure(self, pending: Pending, now: float) -> None:
        """A home node is silent. Datagrams get lost: it is replaced when it leaves a second question unanswered."""
        if self.ended:
            return
        home = pending.contact
        if pending.tag is Ping:
            self._asked.discard(home)
            if home not in self.entries:
                return  # it has been replaced meanwhile
        elif pending.tag is RegisterFor and home in self.entries and home.key not in self._speaks:
            self._speaks[home.key] = False  # perhaps it does not know that message
            self.ask(home, now)
            return
        elif self._speaks.get(home.key) is False:
            del self._speaks[home.key]  # it knows no message at all any more
        self._silences.lost(home)
        self._silent[home] = self._silent.get(home, 0) + 1
        if home in self.entries and self._silent[home] < CHECKS:
            self.trying.pop(home, None)
            self._check(home, now)
            self.wanted(self.next_tick(now))
        else:
            self._silent.pop(home)
            super().on_failure(pending, now)

    def ask(self, node: Contact, now: float) -> None:
        """Register; where nothing is asked between renewals, for as long as it is until the next."""
        token = self.context.requests.token_for(node, now)
        expires = int(now) + _REGISTER_VALID
        signature = self._identity.sign(registration_message(self.context.own_key, node.key, token, expires))
        fields: tuple[object, ...] = (self._identity.public.raw, expires, signature)
        # The first time in plain words: who is silent then is dead, rather than of another time.
        if self._checking or node not in self.entries or self._speaks.get(node.key) is False:
            self.context.request(node, self, Register, fields, now, resend=True)
            return
        wait, again = self._silences.wanted_of(node)
        fields = (*fields, int(wait + SPARE_LIFE), again)
        rid = self.context.request(node, self, RegisterFor, fields, now, tag=RegisterFor, resend=True)
        self._silences.asked(node, rid)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """A registration's outcome."""
        if self.ended:
            return
        home = pending.contact
        self._silent.pop(home, None)
        if pending.tag is Ping:
            self._asked.discard(home)
            if isinstance(message, Pong):
                self._look_at_mapping(home, message.observed, now)
            self.wanted(self.next_tick(now))
            return
        if not isinstance(message, Registered):
            return
        refusal = refusal_of(message.status)
        if refusal not in (Refusal.NONE, Refusal.BAD_TOKEN):
            self.context.count("register_refused_" + refusal.name.lower())
        self._others.pop(home, None)
        if refusal is Refusal.NONE and (other := _other(home, message.other)) is not None:
            self._others[home] = other
        if refusal is Refusal.NONE:
            self._on_granted(pending, now)
        self.settle(home, refusal, message.lifetime, now)

    def on_again(self, key: bytes, address: Address, rid: int, now: float) -> bool:
        """A home node says something unasked. Returns whether that was wanted."""
        heard = self._silences.on_again(key, address, rid, now)
        if heard is Heard.UNASKED:
            return False
        self.context.count("again_" + heard.name.lower())
        if heard is Heard.IN_TIME:
            # The radio is awake: now is the time for all of them.
            self._together = True
            self.wanted(now)
        return True

    def _unmeasured(self) -> Silences:
        config = self.context.config
        most = config.home_keepalive if self._checking else config.home_check
        mapping, ipv6 = MappingLifetime(config.home_keepalive, most), bool(self.family.ipv6)
        return Silences(mapping, self._heard, lambda: self.context.sent_at[ipv6])

    def _on_granted(self, pending: Pending, now: float) -> None:
        if self._checking:
            return
        home = pending.contact
        if pending.tag is RegisterFor:
            self._speaks[home.key] = True
        if self._silences.granted(home, pending.rid, now):
            self.context.count("again_missed")
            self._check(home, now)
        elif home not in self._observed or (self._speaks.get(home.key) is False and home in self.homes[:1]):
            # Right behind a renewal, by the mapping that it went out by: where does it see us now?
            self._check(home, now)

    def _look_at_mapping(self, home: Contact, packed: bytes, now: float) -> None:
        """The router has given us another port since the last time: between the two it had forgotten us, and a signal
        would have been lost. One that gives the same port again is found out by what does not come in."""
        try:
            observed = unpack_address(packed)
        except DecodeError:
            return  # the engine counts it
        last = self._observed.get(home)
        self._observed[home] = observed
        if self._checking or last is None or last[0] != observed[0] or last == observed:
            return
        # Others saw us before that, too.
        self._observed = {home: observed}
        self.context.count("mapping_lost")
        self._silences.moved(home, now)

    def settle(self, node: Contact, refusal: Refusal, lifetime: float, now: float) -> None:
        """A node has answered. One more than enough was asked because none had both families: it stays if it has."""
        further = refusal is Refusal.NONE and node not in self.entries and len(self.entries) >= self.count
        if further and node not in self._others:
            self.trying.pop(node, None)
            self._plain.add(node)
        else:
            if further and self.entries:
                del self.entries[max(self.entries, key=lambda home: home.long_id ^ self.target)]
            super().settle(node, refusal, lifetime, now)
        if not self.trying and (next_one := self._further()) is not None:
            self._try(next_one, 1, now)
        self.noticed(now)

    @property
    def least_elsewhere(self) -> int | None:  # type: ignore[override]
        """Where nobody of the other family could call by way of a home node here: one; or two, where they are to tell
        what the router remembers, for which no home's word alone will do."""
        if any(home in self._others for home in self.entries):
            return 0
        if not self.idle or self._further() is not None:
            return None
        return 1 if self._checking else 2

    def _further(self) -> Contact | None:
        """Who is to be asked beyond those needed, as none of them has both families."""
        if len(self.entries) < self.full or any(home in self._others for home in self.entries):
            return None
        taken = self.taken()
        nearest = [candidate for candidate in self.candidates if candidate.key not in taken][:FURTHER]
        return next((one for one in nearest if one not in self.refused and one not in self._plain), None)

    def look(self, now: float) -> None:
        """Walk to our place."""
        # Few nodes: look again soon, they are still arriving. Otherwise nearer nodes appear at the pace of churn.
        thin = len(self.entries) < self.count
        self.next_look = now + (self.beat if thin else self.context.config.refresh_interval / 4)
        self._observed = {home: at for home, at in self._observed.items() if home in self.entries}
        # Who did not know a message may have learnt it, or was misheard.
        self._speaks = {home.key: True for home in self.entries if self._speaks.get(home.key)}
        QuietWalk(self.context, self.place, now, self._on_walk, family=self.family).start(now)

    def _on_walk(self, closest: list[Contact], now: float) -> None:
        if self.ended:
            return
        config = self.context.config
        candidates = diverse(closest, config.k, config.bucket_prefix_limit)
        wanted = candidates[: self.count]
        both = [candidate for candidate in candidates if candidate in self.entries and candidate in self._others]
        if both and wanted and not any(candidate in both for candidate in wanted):
            wanted[-1] = both[0]
        if len(wanted) == self.count:
            for home in [home for home in self.entries if home not in wanted]:
                del self.entries[home]  # a nearer node takes its place; the entry there runs out by itself
        self._plain.clear()
        self.found(candidates, now)

    def changed(self, now: float) -> None:
        """Report the home nodes when they are others."""
        keepers = [keeper for keeper in self.siblings() if isinstance(keeper, HomeKeeper)]
        homes = tuple(home for keeper in keepers for home in keeper.homes)
        elsewhere = tuple(home for keeper in keepers for home in keeper.elsewhere)
        if (homes, elsewhere) != self._served.reported and not any(keeper.trying for keeper in keepers):
            self._served.reported = homes, elsewhere
            self.context.emit(HomesChanged(self._identity.public.raw, homes, elsewhere))


def _other(home: Contact, packed: bytes) -> Contact | None:
    """The other address that a home node says it has; None where that is no host's address of the other family."""
    if len(packed) not in (PACKED_V4 - KEY_BYTES, PACKED_V6 - KEY_BYTES):
        return None
    other = unpack_contact(home.key + packed)
    if other is None or (":" in other.ip) == (":" in home.ip) or (other.exempt and not home.exempt):
        return None
    return other
