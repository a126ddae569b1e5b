import asyncio
import sys

import pytest

from node.node_running import loop_factory, run


def test_main_runs_on_uvloop_where_it_is_installed():
    async def main():
        return type(asyncio.get_running_loop()).__module__

    uvloop = pytest.importorskip("uvloop", reason="not on this platform")
    assert run(main()) == uvloop.__name__


def test_without_it_asyncios_own_loop_serves(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None

    async def main():
        return "ran"

    assert run(main()) == "ran"


def test_on_windows_a_loop_that_watches_sockets_is_taken(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert loop_factory() is asyncio.SelectorEventLoop
