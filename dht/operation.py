"""What every operation of the engine is made of: a context that sends, and a base that reacts to replies, slowness and
failure of its requests and ends with exactly one ending event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dht.config import DhtConfig
from dht.contact import Contact
from dht.events import Event
from dht.family import Family
from dht.records import Refusal, SignedRecord, VerdictCache
from dht.requests import Pending, Requests
from dht.wire import Message, Request


class Families(Protocol):
    """The one or two families of addresses of a node."""

    @property
    def main(self) -> Family:
        """The one for what needs only one: IPv4, unless nobody is known there."""

    @property
    def walked(self) -> Sequence[Family]:
        """Those that look-ups go through: where this machine gets out and somebody is known; at least one."""

    def of(self, ip: str, now: float) -> Family:
        """The family of an address."""

    def elsewhere(self, contact: Contact) -> Contact | None:
        """The same node in the table of the other family."""

    def met(self, contacts: list[Contact], now: float) -> None:
        """Contacts of another family than the one asked were named."""


class Context(Protocol):
    """The engine, as operations see it."""

    config: DhtConfig
    requests: Requests
    verdicts: VerdictCache
    own_key: bytes
    sent_at: list[float]
    """When the last datagram left over IPv4, and over IPv6, Unix seconds."""

    @property
    def families(self) -> Families:
        """What we are and know in each family of addresses."""

    def request(
        self,
        contact: Contact,
        owner: Operation,
        kind: type[Request],
        fields: tuple[object, ...],
        now: float,
        *,
        tag: object = None,
        resend: bool = False,
        timeout: float | None = None,
        bare: bool = False,
    ) -> int:
        """Send a request whose outcome goes to `owner`; returns its id. `fields` are those after token and server flag.

        `resend`: once more when it is slow. `timeout`: seconds, where the answer depends on a third party.
        `bare`: no padding to an address that knows us not, where a short reply will do.
        """

    def emit(self, event: Event) -> None:
        """Report to the application."""

    def wait(self, operation: Operation) -> None:
        """Call `operation.advance` again once there is room for requests."""

    def named_dead(self, referrer: Contact, dead: Contact, now: float) -> None:
        """`referrer` handed on a contact that does not answer."""

    def count(self, what: str) -> None:
        """Count an occurrence."""

    @property
    def kept_open(self) -> float:
        """Seconds between datagrams that keep a way through our router open, as far as it is known."""

    def held(self, place: bytes, now: float) -> list[SignedRecord]:
        """What we hold at a place for others."""

    def keep(self, record: SignedRecord, until: float, expected_seq: int | None, now: float) -> Refusal:
        """Hold a record ourselves."""


class Operation:
    """Base: an operation nobody waits for ignores what it does not override."""

    def __init__(self, context: Context, op: int) -> None:
        self.context = context
        self.op = op
        self.ended = False

    def advance(self, now: float) -> None:
        """Go on as far as possible."""

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """The asked node answered."""

    def on_slow(self, pending: Pending, now: float) -> None:
        """It takes longer than it should."""

    def on_failure(self, pending: Pending, now: float) -> None:
        """It did not answer."""
