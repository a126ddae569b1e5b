"""What an app publishes, as it says it: a value, and under what it is to be found.

Decides which kind of record that becomes. Refuses to know how it is signed and stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from dht.errors import LocalError
from dht.records import Kind, topic_salt


@dataclass(frozen=True, slots=True)
class Value:
    """A value under our key and a `salt`, under a `topic`, or (neither) under its own hash."""

    data: bytes
    salt: bytes | None = None
    topic: str | None = None

    def __post_init__(self) -> None:
        if self.salt is not None and self.topic is not None:
            raise LocalError("a record has a salt or a topic, not both")

    @property
    def kind(self) -> Kind:
        """The kind of its record."""
        if self.topic is not None:
            return Kind.TOPIC
        return Kind.IMMUTABLE if self.salt is None else Kind.MUTABLE

    @property
    def record_salt(self) -> bytes:
        """The salt of its record."""
        return topic_salt(self.topic) if self.topic is not None else self.salt or b""
