"""The file of the network that a running node is in: written one state after the other, the newest last.

Decides that a certificate which another process has renewed meanwhile (`rookery join`) is never overwritten by an older
one, and that what was said just before the node ends is still written. Refuses to know what is in a network.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Final

from dht.errors import DecodeError, LocalError
from node.adapters.network_store import Network, load_network, save_network
from node.protocols.membership import read_chain

log = logging.getLogger("rookery.members")

CLOSE_TIMEOUT: Final = 0.5
"""Seconds that the last state has to be written in: the node has to end within 2 s."""


class NetworkFile:
    """Keeps one network's file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest: Network | None = None
        self._writing: asyncio.Task[None] | None = None

    def keep(self, network: Network) -> None:
        """Write this state, after that which is being written; states in between are passed over."""
        self._newest = network
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def renewal(self, network: Network) -> Network:
        """The same network, with the newer certificate that was put into the file meanwhile, if there is one."""
        try:
            return await asyncio.to_thread(self._renewed, network)
        except LocalError as error:
            log.warning("the network %s was not read again: %s", network.name, error)
            return network

    async def close(self) -> None:
        """Let what is to be written be written."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=CLOSE_TIMEOUT)

    async def _write(self) -> None:
        while self._newest is not None:
            network, self._newest = self._newest, None
            try:
                await asyncio.to_thread(self._save, network)
            except LocalError as error:
                log.warning("the network %s was not saved: %s", network.name, error)

    def _save(self, network: Network) -> None:
        save_network(self._folder, self._renewed(network))

    def _renewed(self, network: Network) -> Network:
        kept = load_network(self._folder)
        newer = _issued(kept) > _issued(network) and kept.authority == network.authority
        return kept_with(network, kept) if newer else network


def kept_with(network: Network, kept: Network) -> Network:
    """What is known here, with the certificate and the key that stand in the file."""
    said = replace(network, chain=kept.chain)
    # One key may have become another there; which one is to come, this node may have heard since, or gone over to.
    if network.key in (kept.key, kept.at(math.inf).key):
        return said
    return replace(said, key=kept.key, epoch=kept.epoch, next=kept.next)


def _issued(network: Network) -> int:
    try:
        return read_chain(network.chain)[0].issued
    except DecodeError:
        return 0
