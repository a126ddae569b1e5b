"""The congestion window on made-up bottlenecks: does it fill the path, and does it leave the queue short?"""

from __future__ import annotations

import pytest

from node.protocols.congestion import INITIAL_PACKETS, MIN_PACKETS, CongestionWindow, Phase
from tests.node.sctp_path import Path

PAYLOAD_SHARE = 1160 / (1176 + 77)
"""What a packet carries of what it weighs: no more can arrive."""


def share(path: Path, seconds: float = 10.0) -> float:
    return path.fill(seconds) / (path.rate * PAYLOAD_SHARE)


@pytest.mark.parametrize(
    ("rate", "delay", "loss", "queue", "least"),
    [
        (2.5e6, 0.025, 0.0, 0.05, 0.85),
        (2.5e6, 0.025, 0.001, 0.05, 0.85),
        (2.5e6, 0.025, 0.01, 0.05, 0.8),
        (2.5e6, 0.05, 0.01, 0.1, 0.8),
        (2.5e6, 0.025, 0.0, 0.01, 0.6),
        (1.25e6, 0.01, 0.0, 0.3, 0.85),
        (1.25e5, 0.05, 0.0, 0.2, 0.8),
    ],
)
def test_it_fills_the_path(rate: float, delay: float, loss: float, queue: float, least: float) -> None:
    path = Path(rate=rate, delay=delay, loss=loss, queue=queue)
    assert share(path) >= least
    assert path.sender.timeouts == 0


def test_a_deep_queue_is_left_mostly_empty() -> None:
    path = Path(rate=1.25e6, delay=0.025, queue=2.0)
    path.fill(5.0)
    path.longest_queue = 0.0
    path.fill(5.0)
    assert path.longest_queue < 0.05


def test_heavy_loss_makes_it_give_way() -> None:
    path = Path(rate=2.5e6, delay=0.025, loss=0.2, queue=0.05)
    assert 0 < share(path) < 0.5


def test_it_follows_a_path_that_becomes_slower_and_faster() -> None:
    path = Path(rate=2.5e6, delay=0.025, queue=0.1)
    path.fill(4.0)
    path.rate = 0.5e6
    path.fill(4.0)
    path.received.clear()
    path.dropped = 0
    assert path.fill(4.0) >= 0.75 * 0.5e6 * PAYLOAD_SHARE
    path.rate = 2.5e6
    path.fill(4.0)
    path.received.clear()
    assert path.fill(4.0) >= 0.75 * 2.5e6 * PAYLOAD_SHARE


def test_start_up_doubles_and_a_time_out_begins_with_little() -> None:
    window = CongestionWindow(1000, 10_000_000)
    first = window.window
    assert first == INITIAL_PACKETS * 1000
    window.on_idle(1.0)
    window.on_rtt(0.05, 1.05)
    window.on_ack(first, 1.05, delivered=0, delivered_at=1.0, sent=1.0, first_sent=1.0, limited=True)
    assert window.phase is Phase.START_UP
    assert window.window == 2 * first
    window.on_timeout()
    assert window.window == MIN_PACKETS * 1000


def test_an_idle_sender_does_not_lower_what_is_known() -> None:
    path = Path(rate=2.5e6, delay=0.025, queue=0.05)
    path.fill(4.0)
    known = path.sender.congestion.rate
    path.run()
    for _ in range(50):
        path.sender.queue_message(0, 53, b"a little")
        path.run()
    assert path.sender.congestion.rate >= 0.9 * known


def test_what_was_measured_long_ago_is_measured_again() -> None:
    path = Path(rate=2.5e6, delay=0.01, queue=0.1)
    path.fill(3.0)
    path.delay = 0.05  # the route changed
    path.fill(25.0)
    assert path.sender.congestion.min_rtt > 0.09
    path.received.clear()
    assert path.fill(4.0) >= 0.7 * 2.5e6 * PAYLOAD_SHARE
