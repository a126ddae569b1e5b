"""The laboratory's command line: play the matrix, check the boxes, or leave a laboratory standing to look into.

Decides options and what is printed. Refuses to know how any of it is done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from dht.errors import RookeryError
from tests.natlab import lan, wire
from tests.natlab.kinds import KINDS
from tests.natlab.matrix import CONNECT, Matrix, Pair, Result, pairs_of
from tests.natlab.namespaces import search_path, why_not
from tests.natlab.page import page
from tests.natlab.selftest import selftest

QUICK = ("none", "port-restricted", "symmetric", "udp-blocked")
"""Kinds of `--quick`: one of each sort."""


DELAY = 25.0
"""Milliseconds one way: a round trip of 50 ms, about what hosts of one continent have. UNSOURCED"""


LABS = 3
"""Laboratories side by side: most of a pair's time is waiting. UNSOURCED"""

LAN_ROUNDS = 10
"""Times each case of the local network is played. UNSOURCED"""

SETTLE = 6.0
"""Seconds for nodes to find relays before they are called: they look every 5 s whether they need any."""


def main() -> int:
    """Do what the command line says; 0 when everything came out as it must, 1 when not, 2 when it cannot be done."""
    options = _options()
    if (problem := why_not()) is not None:
        print(f"natlab: {problem}", file=sys.stderr)
        return 2
    # A terminated laboratory is left in good order, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if options.what == "selftest":
            return _selftest(_kinds(options.kinds))
        if options.what == "lan":
            return asyncio.run(_lan(options))
        return asyncio.run(_matrix(options))
    except RookeryError as error:
        print(f"natlab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.natlab", description=main.__doc__)
    parser.add_argument("what", nargs="?", choices=("matrix", "selftest", "lan"), default="matrix")
    parser.add_argument("--kinds", default="", help=f"of {', '.join(KINDS)}; default all")
    parser.add_argument("--pairs", default="", help="A:B,... ; A:one-box and A:apart for two hosts behind one box")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}, in places of their own")
    parser.add_argument("--timeout", type=float, default=CONNECT, help="seconds for a pair (%(default)s)")
    parser.add_argument("--labs", type=int, default=LABS, help="laboratories that share the work (%(default)s)")
    parser.add_argument("--delay", type=float, default=DELAY, help="milliseconds one way (%(default)s)")
    parser.add_argument("--rounds", type=int, default=0, help="times each pair or case is played (1; lan: 10)")
    parser.add_argument("--out", type=Path, help="write the page there")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep files there, and the laboratory until Ctrl-C")
    return parser.parse_args()


def _kinds(text: str) -> list[str]:
    kinds = [kind for kind in text.split(",") if kind] or list(KINDS)
    for kind in kinds:
        if kind not in KINDS:
            raise RookeryError(f"there is no kind {kind!r}: expected one of {', '.join(KINDS)}")
    return kinds


def _pairs(options: argparse.Namespace) -> list[Pair]:
    if options.pairs:
        pairs = []
        for text in options.pairs.split(","):
            one, _, other = text.partition(":")
            together = other if other in ("one-box", "apart") else ""
            dialler, listener = _kinds(f"{one},{one if together else other}")
            pairs.append(Pair(dialler, listener, together))
        return pairs
    if options.quick:
        return [pair for pair in pairs_of(QUICK) if not pair.together]
    return pairs_of(_kinds(options.kinds))


def _selftest(kinds: Sequence[str]) -> int:
    return bool(selftest(kinds, lambda kind, fault: print(f"{kind:22} {fault or 'as it claims'}")))


async def _lan(options: argparse.Namespace) -> int:
    results = await lan.measure(options.rounds or LAN_ROUNDS, lambda row: print(row, file=sys.stderr, flush=True))
    if options.out is not None:
        options.out.write_text(lan.page(results))
    if options.json:
        print(json.dumps({case.text: [one.both for one in times] for case, times in results.items()}, indent=1))
    return 0 if all(one.both <= lan.BUDGET for times in results.values() for one in times) else 1


async def _matrix(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    pairs = _pairs(options)
    began = time.monotonic()
    console = Console(stderr=True)
    delay = options.delay / 1000
    if delay and (problem := wire.missing()):
        console.print(problem, markup=False)
        delay = 0.0
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar, ExitStack() as stack:
        task = bar.add_task("", total=len(pairs) * (options.rounds or 1))

        def say(text: str) -> None:
            bar.update(task, description=text)

        def done(result: Result) -> None:
            bar.advance(task)
            if not console.is_terminal:
                print(_line(result), file=sys.stderr, flush=True)

        labs = []
        for number, part in enumerate(_parts(pairs, options.labs)):
            folder = None if options.keep is None else options.keep / str(number)
            made = Matrix(part, timeout=options.timeout, delay=delay, settle=SETTLE, folder=folder, say=say)
            labs.append(stack.enter_context(made))

        async def play(lab: Matrix) -> None:
            await lab.build()
            for name, why in sorted(lab.late.items()):
                console.print(f"{name}: {why}", markup=False, highlight=False)
            await lab.play(done, rounds=options.rounds or 1)

        await asyncio.gather(*(play(lab) for lab in labs))
        took = time.monotonic() - began
        order = {pair: number for number, pair in enumerate(pairs)}
        results = sorted((result for lab in labs for result in lab.results), key=lambda result: order[result.pair])
        late = {name: why for lab in labs for name, why in lab.late.items()}
        if options.out is not None:
            options.out.write_text(page(results, late, took, delay))
        if options.keep is not None:
            for lab in labs:
                _tell(lab)
            print(f"PATH={search_path()}; everything stands until Ctrl-C", flush=True)
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    documents = [result.document() for result in results]
    if options.json:
        print(json.dumps(documents, indent=1))
    held = sum(result.holds for result in results)
    print(f"{held} of {len(results)} pairs came out as they must, in {took:.0f} s", file=sys.stderr)
    return 0 if held == len(results) else 1


def _line(result: Result) -> str:
    said = result.reason or f"{result.way or '-'} {result.path}"
    return f"{'ok  ' if result.holds else 'FAIL'} {result.pair.text:45} {result.outcome:8} {result.seconds:6.2f} {said}"


def _parts(pairs: Sequence[Pair], count: int) -> list[list[Pair]]:
    """Shares of the pairs: those of one dialler stay together, for they share its node."""
    parts: dict[int, list[Pair]] = {}
    heads = list(dict.fromkeys((pair.dialler, pair.together) for pair in pairs))
    for pair in pairs:
        parts.setdefault(heads.index((pair.dialler, pair.together)) % count, []).append(pair)
    return list(parts.values())


def _tell(lab: Matrix) -> None:
    spaces = lab.nodes.lab.spaces
    for name, host in sorted(lab.nodes.lab.hosts.items()):
        print(f"nsenter --net={spaces.path(host.space)} --  # {name} {host.v4} {host.v6}")
    for name, place in sorted(lab.nodes.lab.places.items()):
        for box in place.boxes:
            print(f"nsenter --net={spaces.path(box.space)} --  # box {name} {box.behaviour.kind.name}")


if __name__ == "__main__":
    sys.exit(main())
