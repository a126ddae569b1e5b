"""One seed of one run, in this process: play it, watch it, and say what came of it, whatever that is.

Decides what a failed assertion, an exception and an interrupt become, what is measured on the way, and how somebody
is told how far it is. Refuses to know where results go and who else plays seeds at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import linecache
import signal
import threading
import time
import traceback
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from simulations.errors import BadScenario
from simulations.memory import peak_memory, reset_peak, resident_memory
from simulations.metrics import Metrics, SeedResult, Unmet
from simulations.randomness import Streams
from simulations.scenario import ModelRun, Scenario
from simulations.scripts import scenario_of
from simulations.settings import Parameters, RunSpec, WorldSettings
from simulations.specfile_faults import faults_of
from simulations.trace import Trace

if TYPE_CHECKING:
    from simulations.world import World

REPORT_EVERY: Final = 0.5
"""Wall seconds between reports of progress: often enough for an eye. UNSOURCED"""


SCENARIOS: Final = Path(__file__).parent / "scenarios"
NOT_THE_SCENARIO: Final = (
    Path(__file__).parent,
    Path(__file__).parent.parent / "dht",
    Path(asyncio.__file__).parent,
    Path(contextlib.__file__).parent,
)
"""Folders of code that a scenario calls: a failure's place is the scenario's own line, where it has one."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a seed is."""

    seed: int
    done: float
    """Virtual seconds that have passed; work done, where a model computes."""
    planned: float
    """Of how many; 0 where nobody knows."""
    events: int
    """Events put into the queue so far; 0 where a model computes."""
    memory: int
    """Bytes that this process holds now."""
    wall: float
    """Wall seconds since the seed began."""


Report = Callable[[Progress], object]
"""Told how far a seed is, by a thread of its own, twice a second; a true answer asks the seed to stop."""


class ReplayEnded(BaseException):
    """Raised on the virtual clock when as much was played as was asked for. No `Exception`: nothing may swallow it."""


def run_seed(
    spec: RunSpec,
    seed: int,
    *,
    progress: Report | None = None,
    script: str | None = None,
    trace: Trace | None = None,
    prepare: Callable[[World], object] | None = None,
) -> SeedResult:
    """Play one seed to its end.

    Never raises for what happens in the scenario: an unmet assertion or any exception becomes `SeedResult.error`
    with seed and virtual time (its traceback is the fact `traceback`), an interrupt becomes `SeedResult.stopped`.
    Raises `BadScenario` when the spec is not one that can be played.

    `script` is the text of the scenario's file, if it is one of the user's own. `trace` and `prepare(world)`, called
    before anything moves, are for whoever wants to look closer (protocol engine only).
    """
    scenario = scenario_of(spec, script)
    settings, parameters = checked(scenario, spec)
    # Worlds lie in circles: without this a seed would count what the last one left.
    gc.collect()
    reset_peak()
    if spec.engine == "model":
        return _Model(scenario, settings, parameters, spec, seed).play(progress)
    return _Protocol(scenario, settings, parameters, spec, seed, trace, prepare).play(progress)


def check_spec(spec: RunSpec, script: str | None = None) -> None:
    """Raise `BadScenario` unless the spec is one that can be played; nothing is played."""
    checked(scenario_of(spec, script), spec)


def checked(scenario: Scenario, spec: RunSpec) -> tuple[WorldSettings, Parameters]:
    """World and parameters of a run. Raises `BadScenario` with the first key that is not allowed, and why."""
    try:
        settings, parameters = scenario.settings_for(spec)
    except ValidationError as error:
        of_world = error.title == WorldSettings.__name__
        model, given = (WorldSettings, spec.world) if of_world else (scenario.parameters, spec.parameters)
        told = faults_of(error, model, given)
        raise BadScenario("; ".join(f"{scenario.name}: {'world.' if of_world else ''}{one}" for one in told)) from None
    for key, said in bad_names(settings).items():
        raise BadScenario(f"{scenario.name}: world.{key} = {getattr(settings, key)!r}: {said}")
    return settings, parameters


def bad_names(settings: WorldSettings) -> dict[str, str]:
    """Settings of the world that name models which there are not, and what there is: looked up before anything runs."""
    from simulations.conditions import nat_shares
    from simulations.latency_models import named as latency_named

    found = {}
    for key, look in (("latency", lambda text: latency_named(text, Streams(0))), ("nat", nat_shares)):
        try:
            look(getattr(settings, key))
        except BadScenario as error:
            found[key] = str(error)
    return found


class _Play:
    """What both engines' runs have in common."""

    engine = ""

    def __init__(
        self, scenario: Scenario, settings: WorldSettings, parameters: Parameters, spec: RunSpec, seed: int
    ) -> None:
        self.scenario = scenario
        self.settings = settings
        self.parameters = parameters
        self.spec = spec
        self.seed = seed
        self.error = ""
        self.stopped = ""
        self.traceback = ""
        self.began = time.perf_counter()

    def play(self, progress: Report | None) -> SeedResult:
        """Play, and make the result of whatever happened."""
        try:
            with _reported(self.progress, progress):
                self.perform()
            for one in self.spec.expect:
                self.metrics.expect(one.figure, at_least=one.at_least, at_most=one.at_most, phase=one.phase)
        except ReplayEnded as ended:
            self.stopped = str(ended)
        except KeyboardInterrupt:
            # A second one, while what there is is being gathered, would lose it.
            with _deaf():
                self.stopped = f"interrupted at {self.elapsed:.3f} s"
                return self.result()
        except Exception as error:
            self.error = self.told(error)
            self.traceback = "".join(traceback.format_exception(error))
        return self.result()

    def told(self, error: Exception) -> str:
        """The line that names seed, time and what was wrong."""
        # What fails in a task group comes wrapped: one fault is told as itself.
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, Unmet):
            return f"{error}{_where(error)}"
        said = " ".join(str(error).split())
        if isinstance(error, AssertionError) and not said:
            said = _failed_line(error)
        kind = type(error).__name__
        return f"seed {self.seed} at {self.elapsed:.3f} s: {kind}{f': {said}' if said else ''}{_where(error)}"

    def facts(self) -> dict[str, Any]:
        """What is known of every run."""
        facts: dict[str, Any] = {
            "engine": self.engine,
            "seal": self.settings.seal,
            "virtual_seconds": self.elapsed,
            "wall_seconds": time.perf_counter() - self.began,
            "peak_memory": peak_memory(),
        }
        if self.traceback:
            facts["traceback"] = self.traceback
        return facts

    metrics: Metrics

    @property
    def elapsed(self) -> float:
        """Virtual seconds so far."""
        raise NotImplementedError

    def perform(self) -> None:
        """Play the scenario to its end."""
        raise NotImplementedError

    def progress(self) -> Progress:
        """How far it is; called by another thread."""
        raise NotImplementedError

    def result(self) -> SeedResult:
        """What there is, at the end or earlier."""
        raise NotImplementedError


class _Protocol(_Play):
    """A run of the real code on the virtual clock."""

    engine = "protocol"

    def __init__(
        self,
        scenario: Scenario,
        settings: WorldSettings,
        parameters: Parameters,
        spec: RunSpec,
        seed: int,
        trace: Trace | None,
        prepare: Callable[[World], object] | None,
    ) -> None:
        from simulations.world import World

        super().__init__(scenario, settings, parameters, spec, seed)
        self.world = World.of(settings, seed, trace=trace)
        self.metrics = self.world.metrics
        if prepare is not None:
            prepare(self.world)

    @property
    def elapsed(self) -> float:
        return self.world.elapsed

    def perform(self) -> None:
        assert self.scenario.play is not None

        async def script() -> None:
            assert self.scenario.play is not None
            await self.scenario.play(self.world, self.parameters)

        self.world.play(script())

    def progress(self) -> Progress:
        # Taking a number leaves a gap in the events' numbers, of which only the order matters.
        events = self.world.queue.next_number()
        wall = time.perf_counter() - self.began
        return Progress(self.seed, self.elapsed, self.world.planned, events, resident_memory(), wall)

    def result(self) -> SeedResult:
        result = self.world.result()
        result.error, result.stopped = self.error, self.stopped
        result.facts = {**result.facts, **self.facts(), "events": self.world.queue.next_number()}
        return result


class _Model(_Play):
    """A run of the model engine."""

    engine = "model"

    def __init__(
        self, scenario: Scenario, settings: WorldSettings, parameters: Parameters, spec: RunSpec, seed: int
    ) -> None:
        super().__init__(scenario, settings, parameters, spec, seed)
        # A model computes outcomes, not a course of time: what it records over time it dates itself.
        self.metrics = Metrics(seed, lambda: 0.0)
        self.done = (0, 0)

    @property
    def elapsed(self) -> float:
        return 0.0

    def perform(self) -> None:
        assert self.scenario.model is not None

        def told(done: int, total: int) -> None:
            self.done = (done, total)

        self.scenario.model(ModelRun(self.seed, self.settings, self.metrics, told), self.parameters)

    def progress(self) -> Progress:
        done, total = self.done
        return Progress(self.seed, done, total, 0, resident_memory(), time.perf_counter() - self.began)

    def result(self) -> SeedResult:
        facts = {**self.facts(), "trace_hash": results_hash(self.metrics), "events": 0, "datagrams": 0}
        return SeedResult(
            self.seed, self.metrics.tables, self.metrics.expectations, facts, stopped=self.stopped, error=self.error
        )


def results_hash(metrics: Metrics) -> str:
    """A hash over every row of every table: what stands for the trace where no datagram travels."""
    hasher = hashlib.blake2b(digest_size=32, person=b"rookery-model")
    for name, table in metrics.tables.items():
        hasher.update(f"{name} {len(table)}\n".encode())
        for column, cells in table.columns.items():
            # Plain Python values first: NumPy's scalars are written differently by different releases of it.
            plain = [cell.item() if hasattr(cell, "item") else cell for cell in cells]
            hasher.update(f"{column} {plain!r}\n".encode())
    return hasher.hexdigest()


@contextmanager
def _reported(look: Callable[[], Progress], progress: Report | None) -> Iterator[None]:
    """Have a thread tell `progress` how far it is while the block runs; a true answer interrupts the block."""
    if progress is None:
        yield
        return
    ended = threading.Event()
    # Only the main thread can be interrupted: elsewhere a seed plays to its end.
    in_main = threading.current_thread() is threading.main_thread()

    def watch() -> None:
        while not ended.wait(REPORT_EVERY):
            if progress(look()) and in_main and not ended.is_set():
                interrupt_main(signal.SIGINT)
                return

    thread = threading.Thread(target=watch, name="progress of a seed", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """Take no Ctrl-C for the length of the block, where this thread can see to that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _own_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost line of the scenario itself: its file, not ours and not a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename)
        if SCENARIOS in path.parents or not any(folder in path.parents for folder in NOT_THE_SCENARIO):
            return frame
    return frames[-1] if frames else None


def _where(error: BaseException) -> str:
    frame = _own_frame(error)
    return f" ({Path(frame.filename).name}:{frame.lineno})" if frame is not None else ""


def _failed_line(error: BaseException) -> str:
    """The source of an assertion that says nothing itself."""
    frame = _own_frame(error)
    if frame is None or frame.lineno is None:
        return ""
    line = frame.line or linecache.getline(frame.filename, frame.lineno)
    return line.strip()
