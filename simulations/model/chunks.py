"""Work in chunks on several threads.

Decides who does which numbers, never what: each look-up has its own stream of randomness, so that neither the number
of threads nor the order shows in any result. Between chunks a caller is told how far it is, and can be interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from simulations.errors import BadScenario

Progress = Callable[[int, int], object]
"""Called with how many are done and how many there are."""

CHUNK = 2_000
"""Look-ups between two reports: about a tenth of a second."""


def in_chunks(
    count: int, work: Callable[[int, int], None], *, threads: int | None = None, progress: Progress | None = None
) -> None:
    """Call `work(first, last)` for all of 0 to `count`, on as many threads as there are processors unless said.

    An exception, of `progress` too, ends it once the chunks begun are done, and is raised.
    """
    threads = (
        (os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count() or 1)
        if threads is None
        else threads
    )
    if threads < 1:
        raise BadScenario(f"threads = {threads!r}: expected at least 1")
    # Small enough that all threads end at about the same time.
    size = max(1, min(CHUNK, -(-count // (4 * threads))))
    spans = [(first, min(first + size, count)) for first in range(0, count, size)]
    done = 0
    if spans:
        # The first alone: where machine code is missing yet, only one thread shall make it.
        work(*spans[0])
        done = spans[0][1]
        if progress is not None:
            progress(done, count)
    if threads == 1:
        for first, last in spans[1:]:
            work(first, last)
            done += last - first
            if progress is not None:
                progress(done, count)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="model") as pool:
        futures = {pool.submit(work, first, last): last - first for first, last in spans[1:]}
        try:
            for future in as_completed(futures):
                future.result()
                done += futures[future]
                if progress is not None:
                    progress(done, count)
        finally:
            for future in futures:
                future.cancel()
