"""`make demo`: two peers that know only a key exchange a file; what helped them is killed, and two others do the same.

Decides the story and what counts as its success. Every process in it is a plain `rookery` command on loopback with
public settings. Ends with 0, or with 1 and one line that names the step that failed; with 130 and 143 after Ctrl-C and
SIGTERM. In every case its processes and files are gone by then.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from dht.errors import RookeryError
from node.demo_meeting import make_archive, meet
from node.demo_network import Host, Network, names_of, network
from node.demo_report import Report, Row, StepFailed

LEAST_NODES: Final = 8
NODES: Final = 9
"""A third of them is a whole number."""

TIME_LIMIT: Final = 110.0
"""Seconds for all of it: the demo promises to end within two minutes, come what may."""

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals after which we clean up. A terminal that is closed sends the last."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m node.demo", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--nodes", type=int, default=NODES, help=f"how many, {LEAST_NODES} or more (%(default)s)")
    parser.add_argument("--seed", type=int, help="who meets whom and who is killed (random)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON document")
    options = parser.parse_args(arguments)
    if options.nodes < LEAST_NODES:
        parser.error(f"--nodes {options.nodes}: at least {LEAST_NODES} are needed")
    # A terminal that lacks a sign shows another in its place.
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    told: list[int] = []
    try:
        return asyncio.run(until_told(options, told))
    except asyncio.CancelledError:
        print("interrupted: everything was cleaned up", file=sys.stderr)
        return 128 + told[0]
    except BrokenPipeError:
        # Whoever read our output went away, as `head` does; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


async def until_told(options: argparse.Namespace, told: list[int]) -> int:
    """Run the demo; the first signal ends it in good order, and further ones cannot disturb that."""
    task = asyncio.current_task()
    assert task is not None

    def tell(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            task.cancel()

    for number in ENDINGS:
        asyncio.get_running_loop().add_signal_handler(number, tell, number)
    report = Report(options.json)
    try:
        async with asyncio.timeout(TIME_LIMIT):
            await story(report, options.nodes, random.Random(options.seed))
    except StepFailed as failure:
        report.failed(failure)
        return 1
    except TimeoutError:
        report.failed(StepFailed(report.current, TimeoutError(f"all of it took more than {TIME_LIMIT:.0f} s")))
        return 1
    except RookeryError as error:
        report.failed(StepFailed(report.current, error))
        return 1
    report.finish()
    return 0


async def story(report: Report, count: int, rng: random.Random) -> None:
    """All of it, and the cleaning up."""
    async with network() as net:
        report.heading(f"A network of {count} nodes and a bootstrap server, each a process of its own")
        with report.step("sign a list of first contacts and serve it") as step:
            server = await net.start_server()
            step.note = f"at {urlsplit(net.list_url).netloc}"
        with report.step(f"start {count} nodes that know only the list; all join and publish"):
            hosts = await net.start_hosts(names_of(count))
        first, second = rng.sample(hosts, 2)
        await one_meeting(report, net, first, second, "first")
        report.rows += [await row_of(host) for host in (server, *hosts)]

        report.heading("The bootstrap server and a third of the nodes are killed (SIGKILL)")
        with report.step("kill them") as step:
            victims = [server, *rng.sample(hosts, -(-count // 3))]
            await asyncio.gather(*(host.process.kill() for host in victims))
            step.note = ", ".join(host.name for host in victims)
        left = [host for host in hosts if host not in (*victims, first, second)]
        third, fourth = rng.sample(left, 2)
        await one_meeting(report, net, third, fourth, "second")
        mark(report, victims, (first, second), (third, fourth))

        report.heading("The end")
        with report.step("stop the others; each saves its state") as step:
            seconds = await net.stop([host for host in hosts if host.alive])
            step.note = f"{len(seconds)} nodes, at most {max(seconds):.2f} s"


async def one_meeting(report: Report, net: Network, sender: Host, receiver: Host, which: str) -> None:
    """Two peers meet, and a file of their own crosses."""
    report.heading(f"{sender.name} sends to {receiver.name}, of whom it knows no more than the key\n{receiver.peer}")
    file = net.folder / f"{which}.tar"
    with report.step("pack a file: a part of Python's own library") as step:
        count = await asyncio.to_thread(make_archive, file, backwards=which == "second")
        step.note = f"{count} files, {file.stat().st_size / 1e6:.1f} MB"
    with report.step("look up, signal, connect, send; compare SHA-256") as step:
        meeting = await meet(net.nursery, sender, receiver, file)
        step.note = f"{meeting.throughput / 1e6:.1f} MB/s"
    report.meetings.append(meeting)


async def row_of(host: Host) -> Row:
    """A node as it is now."""
    status = await host.call("status")
    return Row(host.name, host.peer, host.port, status["contacts"])


def mark(report: Report, victims: Sequence[Host], first: Sequence[Host], second: Sequence[Host]) -> None:
    """Write into the picture who did what and who was killed."""
    parts = ("sends", "receives")
    for row in report.rows:
        row.killed = any(host.name == row.name for host in victims)
        row.first = next((part for host, part in zip(first, parts, strict=True) if host.name == row.name), "")
        row.second = next((part for host, part in zip(second, parts, strict=True) if host.name == row.name), "")


if __name__ == "__main__":
    sys.exit(main())
