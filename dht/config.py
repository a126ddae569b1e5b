"""What an operator or a simulation may tune in the DHT. Each field has its unit and its source.

What the wire fixes is in `dht.constants`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil

from dht.errors import BadConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DhtConfig:
    """Tunables of one engine. Raises `BadConfig` naming the field for a value out of range."""

    k: int = 20
    """`k` of the Kademlia paper (section 2.2): bucket size, replicas of a record, width of a look-up."""

    alpha: int = 10
    """`α` of the paper (section 2.3): requests a look-up keeps in flight. The paper says 3; IPFS and libtorrent found
    10 and 5 faster at equal success; requests found slow no longer count, so dead contacts do not hold it up."""

    paths: int = 1
    """`d` of S/Kademlia (section 4.4): disjoint paths of a look-up, unless the call asks for more. More than one brings
    reads that ask until six agree nothing: measured in `docs/results/hostile.md`."""

    random_start: bool = False
    """Whether look-ups begin from contacts drawn at random rather than from the nearest known, so that who has filled
    the table near a place meets fewer of them. Costs more than it brings: measured in `docs/results/hostile.md`."""

    write_quorum: float = 0.75
    """Part of the replica set that must acknowledge a put: 15 of 20."""

    first_timeout: float = 0.5
    """Seconds to wait for a peer never heard of, before any round trip was measured. BEP 5 implementations wait 2 s and
    more; RFC 6298 starts at 1 s; over 95 % of round trips between cities are under 0.5 s (WonderNetwork 2018)."""

    min_timeout: float = 0.1
    """Seconds beyond the mean round trip until a request is lost, at least: RFC 6298's floor of 1 s is for TCP's
    delayed acknowledgements; Linux's TCP adds 0.2 s to the mean at least."""

    max_timeout: float = 3.0
    """Ceiling of a time-out, seconds. UNSOURCED: longer than any round trip seen but on a broken path."""

    min_hedge: float = 0.01
    """Seconds beyond the mean round trip until a request counts as slow and another contact is asked beside it, at
    least. UNSOURCED: about ten scheduling quanta of a loaded machine."""

    max_in_flight: int = 512
    """Requests outstanding over all operations. Bounds sockets' buffers: 512 x 1,232 bytes are 0.6 MB."""

    bucket_prefix_limit: int = 2
    """Contacts of one /24 or /48 in a bucket and in a replica set: makes an eclipse cost networks, not addresses."""

    table_prefix_limit: int = 10
    """Contacts of one /24 or /48 in the whole table."""

    max_failures: int = 2
    """Unanswered requests in a row after which a contact is dropped. One lost datagram must not cost a contact."""

    refresh_interval: float = 3600.0
    """Seconds after which a bucket nobody looked into is refreshed (Kademlia paper, section 2.3)."""

    liveness_interval: float = 900.0
    """Seconds of silence after which a contact is questionable and asked (BEP 5: 15 minutes)."""

    store_max_bytes: int = 16 * 1024 * 1024
    """Memory for others' records, in bytes of records: bounds a flood of stores."""

    store_max_records: int = 65536
    """Number of others' records, which bounds what the per-record overhead adds to the above."""

    owner_quota: int = 64
    """Records of one owner held here. UNSOURCED: an honest owner's salts spread over all nodes."""

    prefix_quota: int = 4096
    """Records stored from one /24 or /48: one network cannot fill the store."""

    topic_quota: int = 128
    """Announcements under one topic place held here."""

    topic_prefix_quota: int = 16
    """Of them, those stored from one /24 or /48: who would fill a topic with made-up members needs eight networks.
    UNSOURCED: members behind one carrier's NAT beyond that are found through those they connect to."""

    topic_wait: float = 15.0
    """Seconds that a network's first announcement waits at a topic's place that is full; each further one of the same
    /24 or /48 waits twice as long, and longer than `token_rotation` nobody does. UNSOURCED: short beside the 31 minutes
    that an announcement lives; measured in `docs/results/topics.md`."""

    token_rotation: float = 300.0
    """Seconds a token secret is fresh; the one before is still taken, so tokens live 5-10 minutes (BEP 5)."""

    rate_limit: float = 1000.0
    """Requests a second answered to one address, sustained: at 40 µs each, one source costs 4 % of a core at most,
    and a busy gateway's reads through a small network still fit."""

    rate_burst: float = 2000.0
    """Requests answered to one address at once before the rate counts."""

    network_rate: float = 4000.0
    """Requests a second answered to one /24 or /48, and twice that at once: 16 % of a core. UNSOURCED: four busy
    addresses; a carrier's NAT of thousands of quiet ones fits as well."""

    stranger_rate: float = 200.0
    """Datagrams a second from one address under keys never met, each of which costs a scalar multiplication (32 µs)."""

    stranger_network_rate: float = 400.0
    """The same from one /24 or /48. UNSOURCED: two such addresses."""

    stranger_total: float = 500.0
    """The same from everybody but the contacts of our table: 3 % of an idle core with the answers (56 µs each), however
    many addresses a flood has or makes up; at 2,000 a node on a busy machine fell behind, and lost honest datagrams
    (`docs/results/benchmarks.md`). UNSOURCED: in a million nodes that look up once a minute each meets far fewer than
    one a second, and a bootstrap server 40 million newcomers a day."""

    verify_rate: float = 20.0
    """Contacts a second that asked us something and are asked back, to see whether they belong into the table."""

    stun_rate: float = 5.0
    """STUN answers a second to one address: 32 bytes for 20 is the one exception to the byte rule, so it is narrow."""

    homes: int = 3
    """Home nodes that hold a forwarding entry for a peer (HyperDHT keeps 3 relays)."""

    home_keepalive: float = 25.0
    """Seconds between renewals of a forwarding entry: UDP mappings live 30 s on the strictest common NATs
    (RFC 4787 REQ-5 asks for 120 s; many home routers give 30)."""

    home_check: float = 6.0
    """Seconds of silence after which a home node is asked whether it lives: with the time-outs of two questions, and
    the registration elsewhere, one that dies is replaced within 10 s. At `home_keepalive` or more nothing is asked but
    renewals. Measured in `docs/results/homes.md`."""

    home_lifetime: float = 90.0
    """Seconds a forwarding entry lives without renewal: three lost renewals."""

    max_forwards: int = 4096
    """Forwarding entries kept for others: about 1 MB."""

    signal_rate: float = 5.0
    """Signals a second forwarded to one peer: a home node must not be a way to flood it."""

    signal_timeout: float = 4.0
    """Seconds until a signal that nobody acknowledged has failed."""

    watch_holders: int = 3
    """Holders of a watched record with which a subscription is kept: as many as there are home nodes, for the same
    reason. Measured in `docs/results/watch.md`."""

    watch_keepalive: float = 240.0
    """Seconds between renewals of a subscription by a node that is reached from outside: less than a token is fresh.
    One that is not keeps its router's mapping open and renews every `home_keepalive`."""

    watch_lifetime: float = 900.0
    """Seconds a subscription lives here without renewal, at most: bounds what is kept for those who vanished."""

    max_watches: int = 4096
    """Subscriptions kept for others: about 2 MB."""

    watch_place_quota: int = 128
    """Subscriptions to one place: bounds how many datagrams one PUT sets off. Twenty holders have 2,560 in all."""

    watch_source_quota: int = 64
    """Subscriptions of one address or IPv6 /64. UNSOURCED: a household's devices with twenty peers each."""

    watch_prefix_quota: int = 512
    """Subscriptions of one /24 or /48: one network cannot take all the places."""

    watch_rate: float = 200.0
    """Notices a second sent to all subscribers together: at 1.1 kB each 2 Mbit/s, and 1 % of a core."""

    repair_interval: float = 4 * 3600.0
    """Seconds after which a holder that saw nobody compare a record does it itself; adapts from there. The paper has an
    hour (section 2.5); where newcomers are given what belongs to them, the rarest of 60 records kept 14 copies of 20 at
    four hours and sessions of four (`docs/results/dht.md`)."""

    upkeep_interval: float = 15.0
    """Seconds between looks at what is due of the table's upkeep. UNSOURCED: much finer than any interval it serves."""

    timer_slack: float = 0.001
    """Seconds by which upkeep may come early when the node is awake for something else: on a battery, waking is what
    costs (RFC 6202 section 5.5 and Linux's timer slack have the idea). UNSOURCED: next to nothing, as machines on mains
    need."""

    dial_back_interval: float = 600.0
    """Seconds between checks whether our port is reached from outside. UNSOURCED."""

    address_votes: int = 3
    """Distinct prefixes that must agree on our address (discv5 elects with 10 of 11; hyperdht with 3 samples)."""

    clock_tolerance: float = 600.0
    """Seconds our clock may differ from the median of those who answered before it is reported. UNSOURCED."""

    answer_stun: bool = True
    """Whether STUN binding requests on our port are answered (RFC 8489)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "bool":
                continue
            if field.type == "int" and type(value) is not int:
                raise BadConfig(field.name, value, "a whole number")
            if not value > 0:
                raise BadConfig(field.name, value, "a number above 0")
        for name, limit in (("k", 20), ("alpha", 64), ("paths", 16), ("homes", 8)):
            if getattr(self, name) > limit:
                raise BadConfig(name, getattr(self, name), f"at most {limit}")
        if self.max_in_flight < self.alpha:
            # A look-up waits until there is room for α requests: it would wait for ever.
            raise BadConfig("max_in_flight", self.max_in_flight, f"at least alpha ({self.alpha})")
        if self.write_quorum > 1:
            raise BadConfig("write_quorum", self.write_quorum, "a part of the replica set, at most 1")
        if self.min_timeout > self.max_timeout:
            raise BadConfig("min_timeout", self.min_timeout, f"at most max_timeout ({self.max_timeout})")

    def acknowledgements(self, replicas: int) -> int:
        """How many of `replicas` nodes must acknowledge a put."""
        # Rounded first: 0.55 x 20 is 11, not the 11.000000000000002 of floating point, which would ask for 12.
        return max(1, ceil(round(replicas * self.write_quorum, 9))) if replicas else 0

    @property
    def read_quorum(self) -> int:
        """Equal answers that end a read: with 15 of 20 acknowledged, any 6 holders include one that has the newest
        (R + W > N, Gifford 1979)."""
        return self.k - self.acknowledgements(self.k) + 1
