"""The ring of a node's events, and the parts that keep running."""

import asyncio
from dataclasses import dataclass

import pytest

from dht.errors import LocalError
from node.api_json import to_json
from node.driver import Stopped
from node.node_events import KEPT, QUEUE, EventLog, NodeEvent, PartFailed
from node.node_tasks import Tasks


@dataclass(frozen=True, slots=True)
class Happened(NodeEvent):
    number: int

    @property
    def text(self) -> str:
        return f"number {self.number}"


async def test_the_last_events_are_kept_and_new_ones_followed():
    log = EventLog()
    for number in range(KEPT + 5):
        log.add(Happened(1.0, number))
    assert [event.text for event in log.recent()][:1] == ["number 5"] and len(log.recent()) == KEPT
    feed = log.follow()
    log.add(Happened(2.0, -1))
    log.end()
    assert [event.text async for event in feed] == ["number -1"]
    log.add(Happened(3.0, -2))  # Nobody follows any more.


async def test_a_follower_hears_from_the_call_on_and_a_slow_one_loses_the_oldest():
    log = EventLog()
    feed = log.follow()
    for number in range(QUEUE + 10):
        log.add(Happened(1.0, number))
    assert (await anext(feed)).text == "number 10"
    await feed.aclose()
    assert not log._followers


async def test_an_event_is_json_with_its_sentence_and_level():
    document = to_json(PartFailed(1.0, "the journal", "no space"))
    assert document == {
        "time": 1.0,
        "part": "the journal",
        "problem": "no space",
        "text": "the journal failed and is tried again: no space",
        "level": "error",
    }


async def test_a_part_that_fails_is_started_again_and_says_why(caplog):
    log = EventLog()
    turns: asyncio.Queue[None] = asyncio.Queue()
    faults = [LocalError("the disk is full"), ZeroDivisionError("a bug")]

    async def work():
        turns.put_nowait(None)
        if faults:
            raise faults.pop(0)
        await asyncio.Event().wait()

    tasks = Tasks(log, lambda: 5.0, pause=0.0)
    tasks.start("the part", work)
    for _ in range(3):
        await asyncio.wait_for(turns.get(), 10)
    await tasks.end()
    assert [event.text for event in log.recent()] == [
        "the part failed and is tried again: the disk is full",
        "the part failed and is tried again: ZeroDivisionError: a bug",
    ]
    assert "a bug" in caplog.text


async def test_a_part_whose_driver_is_closed_ends():
    log, turns = EventLog(), []

    async def work():
        turns.append(1)
        raise Stopped

    tasks = Tasks(log, lambda: 5.0, pause=0.0)
    tasks.start("the part", work)
    await asyncio.sleep(0.01)
    await tasks.end()
    assert turns == [1] and not log.recent()


async def test_the_base_has_no_sentence():
    with pytest.raises(NotImplementedError):
        NodeEvent(1.0).text  # noqa: B018
