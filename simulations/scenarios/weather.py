"""Bad weather: loss, copies, jitter, clocks that are off, nodes that stand still. One after another, in one network.

Each phase changes one thing, asks the same of the network, and changes it back: its figures beside those of the calm
phase are what that kind of weather costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pydantic import Field

from simulations.latency import Jitter
from simulations.observations import traffic
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

Weather = Callable[[World, "WeatherParameters"], AbstractContextManager[None]]


class WeatherParameters(Parameters):
    """What loss, duplication, jitter, frozen nodes and wrong clocks each cost in time and datagrams."""

    nodes: int = Field(150, ge=20, description="size of the network")
    loss: float = Field(0.05, ge=0, lt=1, description="share of datagrams lost")
    duplication: float = Field(0.2, ge=0, le=1, description="share of datagrams that arrive twice")
    jitter: float = Field(0.1, gt=0, description="mean of an exponential wait on top of the delay, seconds")
    frozen: float = Field(0.2, ge=0, lt=1, description="share of nodes that stand still (SIGSTOP)")
    skewed: float = Field(0.3, ge=0, le=1, description="share of nodes whose clocks are off")
    skew: float = Field(600.0, ge=0, description="by how much: standard deviation, seconds")
    records: int = Field(60, ge=1, description="records put in each phase")
    reads: int = Field(200, ge=1, description="reads in each phase, of records of all phases so far")


@contextmanager
def calm(world: World, p: WeatherParameters) -> Iterator[None]:
    """Nothing in the way."""
    yield


@contextmanager
def lossy(world: World, p: WeatherParameters) -> Iterator[None]:
    """Datagrams get lost."""
    world.network.set_loss(p.loss)
    yield
    world.network.set_loss(world.settings.loss)


@contextmanager
def doubled(world: World, p: WeatherParameters) -> Iterator[None]:
    """Datagrams arrive twice."""
    world.network.set_duplication(p.duplication)
    yield
    world.network.set_duplication(world.settings.duplication)


@contextmanager
def jittery(world: World, p: WeatherParameters) -> Iterator[None]:
    """Datagrams overtake one another."""
    world.network.set_latency(Jitter(world.latency, p.jitter))
    yield
    world.network.set_latency(world.latency)


@contextmanager
def frozen(world: World, p: WeatherParameters) -> Iterator[None]:
    """Nodes stand still, and nobody is told."""
    still = world.freeze(fraction=p.frozen)
    yield
    world.wake(still)


@contextmanager
def skewed(world: World, p: WeatherParameters) -> Iterator[None]:
    """Clocks are wrong, and stay so."""
    # A clock is read when an engine starts: whose clock goes wrong is restarted, and comes back with all it had.
    wrong, clocks = world.kill(fraction=p.skewed), world.streams.stream("weather/clocks")
    for peer in wrong:
        peer.clock_offset = clocks.gauss(0.0, p.skew)
    world.restart(wrong)
    yield


WEATHERS: dict[str, Weather] = {
    "calm": calm,
    "loss": lossy,
    "duplication": doubled,
    "jitter": jittery,
    "frozen": frozen,
    "clock skew": skewed,
}
"""Every kind of weather, in the order in which it comes; what cannot be changed back comes last."""


@scenario("weather", "Loss, copies, jitter, frozen nodes, wrong clocks", WeatherParameters)
async def weather(world: World, p: WeatherParameters) -> None:
    """Let each kind of weather come, ask for the same, and say what it cost beside the calm."""
    world.planned = p.nodes / 50 + len(WEATHERS) * (60 + (p.records + p.reads) / 10)
    world.add(p.nodes)
    await world.settle()
    await world.run(minutes=2)
    records = []
    for name, begin in WEATHERS.items():
        world.metrics.mark(name)
        with begin(world, p):
            await world.settle()
            before = traffic(world)
            with world.metrics.during(name):
                records += await world.puts(p.records)
                await world.gets(p.reads, records)
            sent = traffic(world) - before
        world.metrics.value(f"bytes an operation, {name}", sent / (p.records + p.reads), "B")
        slower = world.metrics.figure("get.p95", phase=name) / world.metrics.figure("get.p95", phase="calm")
        world.metrics.value(f"get.p95 against calm, {name}", slower)
        # Whoever was held up recovers before the next weather comes.
        await world.run(minutes=1)

    for name in WEATHERS:
        world.metrics.expect("get.success", at_least=0.99, phase=name)
        world.metrics.expect("put.success", at_least=0.97 if name in ("loss", "frozen") else 0.99, phase=name)
    world.metrics.expect("get.p95", at_most=2.0, phase="frozen")
