"""Asking simulated neighbours by STUN how a socket looks from outside."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from random import Random

from dht.stun import BINDING_SUCCESS, HEADER, binding_request
from simulations.hops import Address
from simulations.link_words import CHECK_INTERVAL, STUN_TIMEOUT


class StunQuestions:
    """The questions of one socket."""

    def __init__(self, send: Callable[[Address, bytes], object]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._asked: dict[bytes, asyncio.Future[Address]] = {}

    async def ask(self, servers: Sequence[Address], rng: Random) -> list[Address]:
        """How neighbours see the socket, in the order in which they were asked; who is silent is left out."""
        requests = {}
        for server in servers:
            transaction = rng.randbytes(12)
            self._asked[transaction] = self._loop.create_future()
            requests[transaction] = server
        waiting, deadline, pause = list(self._asked.values()), self._loop.time() + STUN_TIMEOUT, CHECK_INTERVAL
        while waiting and (left := deadline - self._loop.time()) > 0:
            for transaction, server in requests.items():
                if not self._asked[transaction].done():
                    self._send(server, binding_request(transaction))
            _, late = await asyncio.wait(waiting, timeout=min(pause, left))
            waiting = [future for future in waiting if future in late]
            pause *= 2
        answered = [future.result() for future in self._asked.values() if future.done()]
        self._asked.clear()
        return answered

    def receive(self, data: bytes) -> None:
        """Take a STUN message that came to the socket."""
        kind, _, cookie, transaction = HEADER.unpack_from(data)
        asked = self._asked.get(transaction)
        if kind != BINDING_SUCCESS or asked is None or asked.done():
            return
        # Of our own simulated neighbours: one attribute, XOR-MAPPED-ADDRESS over IPv4 (RFC 8489 section 14.2).
        port = int.from_bytes(data[26:28], "big") ^ cookie >> 16
        ip = ipaddress.IPv4Address(int.from_bytes(data[28:32], "big") ^ cookie)
        asked.set_result((str(ip), port))
