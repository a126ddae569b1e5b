"""Records that are followed: how soon who watches one is told of a newer one, and what that costs.

    rookery simulate run watch

An hour of quiet gives the traffic of a subscription, by clients that watch beside as many that do not; then the
network churns while records are replaced.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from dht.events import Mode
from dht.identity import IdentityKey
from simulations.observations_watching import Told, follow
from simulations.peers import Peer
from simulations.profiles import Profile
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.workload import PutOutcome
from simulations.world import World

WATCHER = Profile(name="watcher", mode=Mode.CLIENT, behind=True)
"""Who watches: a client, behind a router where the world has them."""

PATIENCE = 20.0
"""Seconds after which a watcher counts as not told. UNSOURCED: longer than the three tries of a holder."""


class WatchedRecords(Parameters):
    """How soon watchers are told of a newer record while nodes come and go, and the traffic of a subscription."""

    nodes: int = Field(300, ge=20, description="servers")
    watchers: int = Field(60, ge=1, description="clients that watch one record each")
    records: int = Field(20, ge=1, description="records that are watched")
    sessions: str = Field(
        "weibull:0.59,41.9m", description="model of the servers' time on (the default: BitTorrent, 2006)"
    )
    downtime: str = Field("exponential:1h", description="model of their time off")
    calm: int = Field(60, ge=1, description="minutes of quiet over which traffic is measured")
    minutes: int = Field(60, ge=1, description="minutes of churn")
    puts_a_minute: int = Field(6, ge=1, description="records replaced in each of them")


@scenario("watch", "Records are followed", WatchedRecords)
async def watch(world: World, p: WatchedRecords) -> None:
    """Measure quiet traffic without and with watchers; then let servers come and go, and replace records."""
    world.planned = p.nodes / 50 + 60 * p.calm + 60 * p.minutes + 240
    servers = world.add(p.nodes)
    watchers = world.add(p.watchers, WATCHER, group="watchers")
    idle = world.add(p.watchers, WATCHER, group="idle")
    await world.settle()
    owners = [IdentityKey.from_seed(world.streams.stream(f"watch/owner/{n}").randbytes(32)) for n in range(p.records)]
    latest = [await world.put(owner=owner, by=world.bootstraps[0]) for owner in owners]
    await world.run(minutes=2)

    told = Told()
    world.watchers.append(told)
    followed = begin(watchers, latest)
    await world.run(minutes=2)
    before = [moved(world, peers) for peers in (watchers, idle)]
    await world.run(minutes=p.calm)
    watched, unwatched = (moved(world, peers) - bytes_ for peers, bytes_ in zip((watchers, idle), before, strict=True))
    world.metrics.value("bytes a watcher and hour", (watched - unwatched) / len(watchers) * 60 / p.calm)
    world.metrics.value("subscriptions", sum(peer.engine.watchers() for peer in world.living))

    # The first contacts stay, as they would: who comes back must find the network.
    world.churn(p.sessions, p.downtime, servers)
    read = len(told.at)
    asked: list[tuple[float, int, int]] = []
    rng = world.streams.stream("watch/which")
    publisher = world.bootstraps[0]
    for _ in range(p.minutes):
        for index in rng.sample(range(p.records), min(p.puts_a_minute, p.records)):
            seq = latest[index].record.seq + 1
            asked.append((world.queue.now, index, seq))
            latest[index] = await world.put(owner=owners[index], seq=seq, by=publisher)
            await world.run(seconds=max(0.0, 60 / p.puts_a_minute - (world.queue.now - asked[-1][0])))
    await world.run(seconds=PATIENCE)
    judge(world, told, asked, followed, latest)
    world.metrics.value("told by a notice", told.by_notice / max(1, len(told.at) - read))
    world.metrics.expect("told.success", at_least=0.99)
    world.metrics.expect("told.p95", at_most=3.0)


def moved(world: World, peers: Iterable[Peer]) -> int:
    """Bytes of datagrams that peers have sent and received so far."""
    hosts = [world.network.hosts[peer.address[0]] for peer in peers]
    return sum(host.bytes_sent + host.bytes_received for host in hosts)


def begin(watchers: Iterable[Peer], records: list[PutOutcome]) -> dict[int, list[int]]:
    """Let each of the watchers follow one record, in turn; says who follows which."""
    followed: dict[int, list[int]] = {index: [] for index in range(len(records))}
    for number, peer in enumerate(watchers):
        index = number % len(records)
        followed[index].append(peer.index)
        follow(peer, records[index].record.place)
    return followed


def judge(
    world: World,
    told: Told,
    asked: list[tuple[float, int, int]],
    followed: dict[int, list[int]],
    latest: list[PutOutcome],
) -> None:
    """Record for every replaced record and each of its watchers when it was told, counted from when the put began."""
    for began, index, seq in asked:
        for watcher in followed[index]:
            at = told.at.get((watcher, latest[index].record.place, seq))
            took = PATIENCE if at is None else at - began
            ok = at is not None and took <= PATIENCE
            reason = "" if ok else "never" if at is None else "late"
            world.metrics.operation(
                "told", started=began - world.started, took=took, ok=ok, reason=reason, node=watcher
            )
