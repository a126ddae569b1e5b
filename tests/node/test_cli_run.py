"""What `rookery run` says: which events, in which form, and what the parts of the node log."""

import json
import logging
import signal
import subprocess
import sys

import pytest

from node.cli_run import LogLines, Speaker

EVENT = {"time": 0.0, "level": "info", "kind": "joined", "text": "joined", "fields": {}}
READY = {"identity": "me", "contact": "key@127.0.0.1:1", "mode": "server", "data_dir": "/data", "api": "/data/api.sock"}


@pytest.mark.parametrize(("level", "said"), [("debug", 2), ("info", 1), ("warning", 0)])
def test_what_matters_less_is_left_out(capsys, level, said):
    speaker = Speaker(True, level)
    speaker.event(EVENT)
    speaker.event({**EVENT, "level": "debug"})
    assert len(capsys.readouterr().out.splitlines()) == said


def test_people_get_lines_on_standard_error(capsys):
    speaker = Speaker(False, "info")
    speaker.ready(READY)
    speaker.event({**EVENT, "text": "evil\x1b[31m"})
    speaker.document({"event": "stopping"})
    captured = capsys.readouterr()
    assert captured.out == ""
    *ready, event = captured.err.splitlines()
    assert [line.split()[-1] for line in ready] == list(READY.values())
    assert event.endswith("INFO    evil�[31m")


def test_programs_get_json_lines_on_standard_output(capsys):
    speaker = Speaker(True, "info")
    speaker.ready(READY)
    speaker.event(EVENT)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert [json.loads(line) for line in captured.out.splitlines()] == [
        {"event": "ready", **READY},
        {"event": "log", **EVENT},
    ]


def test_faults_that_the_parts_log_are_said_in_one_line(capsys):
    handler = LogLines(Speaker(True, "info"))
    try:
        raise ValueError("bad\nthing")
    except ValueError as error:
        record = logging.LogRecord(
            "rookery.driver", logging.ERROR, "", 0, "a timer %s", ("failed",), (ValueError, error, None)
        )
    handler.handle(record)
    handler.handle(logging.LogRecord("rookery.node", logging.WARNING, "", 0, "an event", (), None))
    [line] = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    assert (document["level"], document["text"]) == ("error", "a timer failed: ValueError: bad thing")
    assert document["fields"] == {"logger": "rookery.driver"}


@pytest.mark.parametrize(
    ("signals", "code"), [([signal.SIGINT, signal.SIGINT], 130), ([signal.SIGTERM, signal.SIGINT], 130)]
)
def test_a_second_ctrl_c_ends_what_hangs(signals, code):
    program = (
        "import asyncio\nfrom node.cli_session import run_async\n"
        "async def work():\n"
        "    print('up', flush=True)\n"
        "    try: await asyncio.sleep(1000)\n"
        "    finally:\n"
        "        print('stopping', flush=True)\n"
        "        await asyncio.sleep(1000)\n"
        "run_async(work)\n"
    )
    hung = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert hung.stdout is not None
    for number in signals:
        assert hung.stdout.readline()
        hung.send_signal(number)
    hung.communicate(timeout=60)
    assert hung.returncode == code
