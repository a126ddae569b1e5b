"""Scripts of a user's own, for tests of how they are run: quick, and failing in every way that is asked for."""

from pathlib import Path

QUICK = '''
"""A scenario whose network is one node, and whose seeds end as its parameters say."""

import asyncio
import os
import signal
import time
from pathlib import Path

from simulations.scenario import scenario
from simulations.settings import Parameters


class Quick(Parameters):
    """Waits, and fails as told."""

    nodes: int = 1
    wait: float = 10.0
    fails: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    once: str = ""
    slow: float = 0.0
    began: str = ""


@scenario("quick", "A quick one", Quick, bootstraps=1, latency="constant:10ms")
async def quick(world, p):
    world.planned = p.wait
    if p.began:
        (Path(p.began) / f"{world.seed}-{os.getpid()}").touch()
    if world.seed in p.deadly and not (p.once and Path(p.once).exists()):
        if p.once:
            Path(p.once).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    await world.run(seconds=p.wait)
    world.metrics.operation("wait", started=0.0, took=p.wait + world.seed, ok=True)
    world.metrics.value("nodes", p.nodes)
    until = time.monotonic() + p.slow
    while time.monotonic() < until:
        time.sleep(0.01)
        await asyncio.sleep(1)
    assert world.seed not in p.fails, f"seed {world.seed} was to fail"
'''


def quick_script(folder: Path) -> Path:
    """Write the script, and give its path."""
    path = folder / "quick.py"
    path.write_text(QUICK, encoding="utf-8")
    return path
