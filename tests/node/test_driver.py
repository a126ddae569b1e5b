import asyncio
import hashlib
import logging
from dataclasses import dataclass

import pytest

from node.driver import MAX_LOGGED, Driver, Stopped

ADDR = ("192.0.2.1", 4000)


@dataclass(frozen=True)
class Done:
    op: int
    text: str = ""


@dataclass(frozen=True)
class Later(Done):
    pass


@dataclass(frozen=True)
class Noticed:
    data: bytes


class Echo:
    """Sends back what it gets; `b"boom"` is a bug; each command ends when its timer fires."""

    def __init__(self, now):
        self.made_at = now
        self.out = []
        self.events = []
        self.due = []
        self.taken = []
        self.timer_fault = False

    def receive_datagram(self, data, addr, now):
        if data == b"boom":
            raise ZeroDivisionError("a bug")
        self.taken.append((data, addr, now))
        self.out.append((data, addr))
        self.events.append(Noticed(data))

    def datagrams_to_send(self, now):
        out, self.out = self.out, []
        return out

    def next_timer(self):
        return min((when for when, _ in self.due), default=None)

    def handle_timer(self, now):
        if self.timer_fault:
            raise RuntimeError("a faulty timer")
        self.events += [event for when, event in self.due if when <= now]
        self.due = [(when, event) for when, event in self.due if when > now]

    def next_event(self):
        return self.events.pop(0) if self.events else None

    def start(self, op, now, after=0.0, event=None):
        self.due.append((now + after, event or Done(op)))
        return op


@pytest.fixture
async def wired():
    sent = []
    driver = Driver(Echo, lambda data, addr: sent.append((data, addr)))
    yield driver, sent
    driver.close()


async def test_a_batch_is_taken_in_and_drained_once(wired):
    driver, sent = wired
    driver.receive([(b"one", ADDR), (b"two", ADDR)])
    assert sent == [(b"one", ADDR), (b"two", ADDR)]
    assert [data for data, _, _ in driver.engine.taken] == [b"one", b"two"]


async def test_an_operation_ends_with_the_event_of_its_number(wired):
    driver, _ = wired
    first = asyncio.ensure_future(driver.run(lambda e, now: e.start(1, now, 0.02)))
    second = asyncio.ensure_future(driver.run(lambda e, now: e.start(2, now, 0.01)))
    assert [(await second).op, (await first).op] == [2, 1]


async def test_an_event_that_is_there_at_once_is_not_missed(wired):
    driver, _ = wired

    def at_once(engine, now):
        engine.events.append(Done(7, "now"))
        return 7

    assert (await driver.run(at_once)).text == "now"


async def test_an_operation_may_wait_for_a_later_event(wired):
    driver, _ = wired

    def both(engine, now):
        engine.events += [Done(3, "acknowledged"), Later(3, "done")]
        return 3

    assert (await driver.run(both, Later)).text == "done"
    assert (await driver.run(both)).text == "acknowledged"


async def test_subscribers_get_their_kind_and_may_give_commands(wired):
    driver, sent = wired
    heard: list[bytes] = []

    def answer(event):
        heard.append(event.data)
        if event.data == b"first":
            driver.command(lambda e, now: e.receive_datagram(b"second", ADDR, now))

    driver.subscribe(Noticed, answer)
    driver.receive([(b"first", ADDR)])
    assert heard == [b"first", b"second"]
    assert sent == [(b"first", ADDR), (b"second", ADDR)]


async def test_a_fault_of_the_engine_is_logged_once_with_the_datagrams_hash_and_kills_nothing(wired, caplog):
    driver, sent = wired
    with caplog.at_level(logging.ERROR, "rookery.driver"):
        for _ in range(5):
            driver.receive([(b"boom", ADDR), (b"after", ADDR)])
    assert driver.counters["engine_faults"] == 5
    assert sent == [(b"after", ADDR)] * 5
    assert len(caplog.records) == 1
    assert hashlib.sha256(b"boom").hexdigest() in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_fault_of_a_subscriber_is_counted_and_the_others_still_hear(wired):
    driver, _ = wired
    heard: list[Noticed] = []
    driver.subscribe(Noticed, lambda event: 1 / 0)
    driver.subscribe(Noticed, heard.append)
    driver.receive([(b"x", ADDR)])
    assert driver.counters["subscriber_faults"] == 1
    assert heard == [Noticed(b"x")]


async def test_a_faulty_timer_is_tried_again_later_and_not_in_a_busy_loop(wired):
    driver, _ = wired
    driver.engine.timer_fault = True
    driver.command(lambda e, now: e.start(1, now))
    await asyncio.sleep(0.1)
    assert driver.counters["engine_faults"] == 1


async def test_what_a_command_raises_is_the_callers(wired):
    driver, _ = wired
    with pytest.raises(ZeroDivisionError):
        driver.command(lambda e, now: e.receive_datagram(b"boom", ADDR, now))
    with pytest.raises(ZeroDivisionError):
        await driver.run(lambda e, now: e.receive_datagram(b"boom", ADDR, now))
    assert not driver.counters["engine_faults"]


async def test_a_cancelled_operation_leaves_nothing_waiting(wired):
    driver, _ = wired
    task: asyncio.Future[object] = asyncio.ensure_future(driver.run(lambda e, now: e.start(9, now, 60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not driver._waiters


async def test_closing_ends_operations_with_stopped_and_sends_what_was_left():
    sent: list[bytes] = []
    driver: Driver[Echo] = Driver(Echo, lambda data, addr: sent.append(data))
    task: asyncio.Future[object] = asyncio.ensure_future(driver.run(lambda e, now: e.start(9, now, 60)))
    await asyncio.sleep(0)
    driver.engine.out.append((b"bye", ADDR))
    driver.close()
    with pytest.raises(Stopped):
        await task
    assert sent == [b"bye"]
    driver.receive([(b"late", ADDR)])
    with pytest.raises(Stopped):
        await driver.run(lambda e, now: 1)
    assert sent == [b"bye"] and not driver.engine.taken


async def test_now_is_unix_time_and_follows_a_clock_that_ran_ahead(wired):
    wall = [1000.0]
    driver = Driver(Echo, lambda data, addr: None, wall=lambda: wall[0])
    assert driver.engine.made_at == pytest.approx(1000.0, abs=0.5)
    wall[0] = 5000.0  # The machine slept.
    await driver.run(lambda e, now: e.start(1, now, 0.01))
    assert driver.now() >= 5000.0
    assert driver.counters["clock_jumps"] == 1
    wall[0] = 10.0  # Time never goes back.
    await driver.run(lambda e, now: e.start(2, now, 0.01))
    assert driver.now() >= 5000.0
    driver.close()


async def test_one_timer_is_armed_however_many_datagrams_come(wired):
    driver, _ = wired
    driver.command(lambda e, now: e.start(1, now, 0.05))
    armed = driver._timer
    for _ in range(100):
        driver.receive([(b"x", ADDR)])
    assert driver._timer is armed
    driver.command(lambda e, now: e.start(2, now, 0.01))
    assert driver._timer is not armed


async def test_the_number_of_logged_faults_is_bounded(wired):
    driver, _ = wired
    driver._logged = {("file", line) for line in range(MAX_LOGGED)}
    driver.receive([(b"boom", ADDR)])
    assert driver.counters["engine_faults"] == 1 and len(driver._logged) == MAX_LOGGED
