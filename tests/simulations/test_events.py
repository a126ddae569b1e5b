import math

import pytest

from simulations.errors import BadScenario, Deadlock, SimulationError, VirtualTimeout
from simulations.events import EventQueue


def test_events_of_one_instant_run_in_the_order_they_were_put_in():
    seen: list[str] = []
    queue = EventQueue(start=100.0)
    for name in "abc":
        queue.at(105.0, seen.append, name)
    queue.at(101.0, seen.append, "first")
    queue.at(7.0, seen.append, "past, so at once")
    assert queue.run() == 5
    assert seen == ["past, so at once", "first", "a", "b", "c"]
    assert (queue.now, queue.elapsed) == (105.0, 5.0)


def test_run_stops_at_its_limit_and_leaves_the_clock_there():
    seen: list[float] = []
    queue = EventQueue(start=0.0)
    queue.at(1.0, seen.append, 1)
    queue.at(2.0, seen.append, 2)
    queue.at(3.0, seen.append, 3)
    assert queue.run(2.0) == 2
    assert (seen, queue.now) == ([1, 2], 2.0)
    assert queue.run_for(0.5) == 0
    assert queue.now == 2.5


def test_run_until_stops_right_after_the_event_that_makes_it_true():
    seen: list[float] = []
    queue = EventQueue(start=0.0)
    for at in (1.0, 2.0, 3.0):
        queue.at(at, seen.append, at)
    queue.run_until(lambda: len(seen) == 2, timeout=10)
    assert (queue.now, seen) == (2.0, [1.0, 2.0])


def test_run_until_looks_only_as_often_as_asked():
    queue, looks = EventQueue(start=0.0), []
    for step in range(100):
        queue.at(step / 100, lambda: None)
    queue.at(2.0, lambda: None)

    def look() -> bool:
        looks.append(queue.now)
        return queue.now >= 0.5

    queue.run_until(look, timeout=10, check_every=0.25)
    assert looks == [0.0, 0.25, 0.5]


def test_waiting_for_what_cannot_come_is_a_deadlock_not_a_hang():
    queue = EventQueue(start=0.0)
    queue.at(1.0, lambda: None)
    with pytest.raises(Deadlock, match="a pig to fly can never happen"):
        queue.run_until(lambda: False, timeout=10, what="a pig to fly")


def test_waiting_too_long_is_a_timeout_in_virtual_time():
    queue = EventQueue(start=0.0)

    def again() -> None:
        queue.after(1.0, again)

    again()
    with pytest.raises(VirtualTimeout, match="within 5 s") as caught:
        queue.run_until(lambda: False, timeout=5.0)
    assert (caught.value.timeout, queue.now) == (5.0, 5.0)


def test_an_event_may_not_run_the_queue():
    queue = EventQueue()
    queue.after(1.0, lambda: queue.run_for(1.0))
    with pytest.raises(SimulationError, match="running already"):
        queue.run()
    queue.after(1.0, lambda: None)
    assert queue.run() == 1


@pytest.mark.parametrize("when", [math.nan, math.inf])
def test_times_that_would_break_the_order_are_refused(when):
    with pytest.raises(BadScenario):
        EventQueue().at(when, lambda: None)
    with pytest.raises(BadScenario):
        EventQueue(start=when)
