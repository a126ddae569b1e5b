"""The API's command on the local network.

Decides what its document says. Refuses to know how peers are found.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from node.api_json import to_json
from node.api_params import Params

if TYPE_CHECKING:
    from node.node import Node

MAX_WAIT: Final = 10.0
"""Seconds a caller may have the answer wait for. UNSOURCED"""


class LanCommands:
    """What is asked of `node.lan`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def lan(self, params: Params) -> dict[str, Any]:
        """Who is on the local network; a node that has just started gets `wait` seconds from its start to look."""
        wait = params.seconds("wait", 0.0, MAX_WAIT)
        params.done()
        lan = self._node.lan
        if lan.wanted:
            await asyncio.sleep(max(0.0, wait - lan.age))
        return {"time": lan.now(), **to_json(lan.status())}
