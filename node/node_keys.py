"""Where a node's keys lie, and that nobody else uses them meanwhile.

Decides that a node holds its data folder before it reads a key. The format of the files, and when one is refused, is
decided in `node/adapters/keyfile.py`; which key a node uses, by the node.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from dht.identity import IdentityKey, NodeKey
from node.adapters.keyfile import (
    KeyFileExists,
    create_node_key,
    load_or_create_identity,
    load_or_create_node_key,
)
from node.adapters.keyfile_folder import DataDirLock
from node.config import NodeConfig


class Keys(Protocol):
    """The keys of one node, its alone within a `with` block."""

    def __enter__(self) -> Self:
        """Take hold of them. Raises `LocalError` when another node has them."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go."""

    def identity(self) -> IdentityKey:
        """The key that names the node, made at the first start. Raises `LocalError`."""

    def node_key(self) -> NodeKey:
        """The kept key of the node in the DHT, made when there is none. Raises `LocalError`."""

    def keep_node_key(self, key: NodeKey) -> None:
        """Keep this key for `node_key`, unless there is one. Raises `LocalError`."""


class FileKeys:
    """Keys in the data folder, which is locked meanwhile."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._lock = DataDirLock(config.data_dir)

    def __enter__(self) -> FileKeys:
        self._lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def identity(self) -> IdentityKey:
        """Read the identity's key file, or make one."""
        return load_or_create_identity(self._config.identity_file)

    def node_key(self) -> NodeKey:
        """Read the node's key file, or make one."""
        return load_or_create_node_key(self._config.node_key_file)

    def keep_node_key(self, key: NodeKey) -> None:
        """Write the node's key file, unless there is one."""
        with suppress(KeyFileExists):
            create_node_key(self._config.node_key_file, key)


class HeldKeys:
    """An identity that is at hand already: for a node of a few seconds beside the one that has the folder."""

    def __init__(self, identity: IdentityKey, fresh: NodeKey) -> None:
        self._identity = identity
        self._fresh = fresh

    def __enter__(self) -> HeldKeys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def identity(self) -> IdentityKey:
        """The key that names the node."""
        return self._identity

    def node_key(self) -> NodeKey:
        """Its key in the DHT, the same as long as this object lives."""
        return self._fresh

    def keep_node_key(self, key: NodeKey) -> None:
        """Nothing is kept."""
