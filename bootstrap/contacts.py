"""One first contact: a node's key, where it is, and the rules for both.

This file refuses to know about lists and signatures. It does no input or output: names are not resolved here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from bootstrap.refusals import ListRefused, Refusal
from bootstrap.trust import read_key
from dht.errors import LocalError
from dht.identity import to_zbase32

MAX_ADDRESSES: Final = 8
"""Most addresses and names of one contact. UNSOURCED: two uplinks, each with IPv4 and IPv6, and as much again."""

MAX_LABEL: Final = 64
"""Most characters of a label. UNSOURCED: fits a line of a terminal beside the key."""

_NAME: Final = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
"""A host name in lower case (RFC 1035 section 2.3.1 and 2.3.4: labels of 63, 253 in all); the last label starts
with a letter, so that no mistyped IPv4 address is taken for a name."""

_PROBE: Final = bytes(range(1, 33))
"""Any X25519 secret: multiplying by it finds the keys of small order, which
libsodium refuses (RFC 7748 section 6.1)."""

HostPort = tuple[str, int]
"""IP text or host name, and port."""


@dataclass(frozen=True, slots=True)
class FirstContact:
    """A node that a newcomer may ask first: its X25519 node key, its addresses, and names as an extra."""

    key: bytes
    addresses: tuple[HostPort, ...]
    names: tuple[HostPort, ...] = ()
    label: str = ""

    @property
    def key_text(self) -> str:
        """The node key in z-base-32."""
        return to_zbase32(self.key)


class ContactForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A contact in JSON."""

    key: str
    addresses: list[str]
    names: list[str]
    label: str


def write_contact(contact: FirstContact) -> ContactForm:
    """Return the JSON form of a contact."""
    return ContactForm(
        contact.key_text,
        [format_endpoint(each) for each in contact.addresses],
        [format_endpoint(each) for each in contact.names],
        contact.label,
    )


def read_contact(form: ContactForm) -> FirstContact:
    """Read a contact strictly: what it names must be usable, and written in the one way. Raises `ListRefused`."""
    where = f"contact {form.label[:MAX_LABEL]!r} {form.key[:8]!r}…"
    key = read_key(form.key)
    if key is None:
        raise _bad(where, "its key is not 52 characters of z-base-32")
    if not usable_node_key(key):
        raise _bad(where, "its key is a point of small order")
    if not 1 <= len(form.addresses) + len(form.names) <= MAX_ADDRESSES:
        raise _bad(where, f"{len(form.addresses) + len(form.names)} addresses; 1 to {MAX_ADDRESSES} are allowed")
    if len(form.label) > MAX_LABEL or not form.label.isprintable():
        raise _bad(where, f"its label is longer than {MAX_LABEL} characters or not printable")
    addresses = tuple(_read_exact(text, where, named=False) for text in form.addresses)
    names = tuple(_read_exact(text, where, named=True) for text in form.names)
    if len({*addresses, *names}) != len(addresses) + len(names):
        raise _bad(where, "an address stands in it twice")
    return FirstContact(key, addresses, names, form.label)


def usable_node_key(key: bytes) -> bool:
    """Whether `key` (32 bytes) can agree on a secret: no point of small order."""
    try:
        bindings.crypto_scalarmult(_PROBE, key)
    except CryptoError:
        return False
    return True


def parse_endpoint(text: str) -> tuple[HostPort, bool]:
    """Read `1.2.3.4:7700`, `[2001:db8::1]:7700` or `node.example.org:7700`; also say whether it is a name.

    Raises `LocalError` with what is wrong.
    """
    host, colon, port_text = text.strip().rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit() or len(port_text) > 5:
        raise LocalError(f"{text!r} is not an address: write HOST:PORT, as in 192.0.2.1:7700 or [2001:db8::1]:7700")
    port = int(port_text)
    if not 1 <= port <= 65535:
        raise LocalError(f"{text!r}: the port must be 1 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        name = host.lower().removesuffix(".")
        if bracketed or not _NAME.fullmatch(name):
            raise LocalError(f"{text!r}: {host!r} is neither an IP address nor a host name") from None
        return (name, port), True
    if bracketed != (address.version == 6):
        raise LocalError(f"{text!r}: brackets belong around IPv6 addresses, and only there")
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id is not None or address.ipv4_mapped):
        raise LocalError(f"{text!r}: an address with a zone, or an IPv4 address in IPv6 form, means nothing elsewhere")
    if address.is_unspecified or address.is_multicast or int(address) == (1 << 32) - 1:
        raise LocalError(f"{text!r}: no single machine has this address")
    return (str(address), port), False


def format_endpoint(endpoint: HostPort) -> str:
    """Write an endpoint as `parse_endpoint` reads it."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_exact(text: str, where: str, *, named: bool) -> HostPort:
    try:
        endpoint, is_name = parse_endpoint(text)
    except LocalError as problem:
        raise _bad(where, str(problem)[:200]) from None
    if is_name != named:
        raise _bad(where, f"{text!r} stands among the {'names' if named else 'addresses'}")
    if format_endpoint(endpoint) != text:
        raise _bad(where, f"{text!r} is not in its shortest form, {format_endpoint(endpoint)}")
    return endpoint


def _bad(where: str, problem: str) -> ListRefused:
    return ListRefused(Refusal.BAD_CONTACT, f"{where}: {problem}")
