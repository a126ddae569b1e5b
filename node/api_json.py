"""How the node's values look as JSON: one rule for each type, so that every command writes them the same way.

Refuses to guess: a type without a rule is an error of ours, not a `repr` in somebody's script.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import math
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Final

from dht.contact import Contact
from dht.identity import PublicKey
from dht.records import Kind, SignedRecord


def to_json(value: Any) -> Any:
    """Return `value` in JSON's types. Raises `TypeError` for a type that has no rule.

    Bytes become hexadecimal, identities their 52 characters, contacts `KEY@HOST:PORT`, endpoints `HOST:PORT`, enums
    their value (numbers on the wire: their name), dataclasses objects of their fields and properties.
    """
    if value is None or (isinstance(value, bool | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name.lower().replace("_", "-")
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PublicKey | Contact):
        return value.text
    if isinstance(value, SignedRecord):
        return record_to_json(value)
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {_key(key): to_json(item) for key, item in value.items()}
    if is_endpoint(value):
        return endpoint_text(value)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Set):
        return sorted(to_json(item) for item in value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")


def record_to_json(record: SignedRecord) -> dict[str, Any]:
    """A record without its payload, which each kind shows in its own way."""
    return {
        "kind": record.kind.name.lower(),
        "owner": None if record.kind is Kind.IMMUTABLE else PublicKey(record.owner).text,
        "place": record.place.hex(),
        "salt": record.salt.hex(),
        "seq": record.seq,
        "expires": record.expires,
        "bytes": len(record.raw),
    }


def is_endpoint(value: object) -> bool:
    """Whether this is an `Address`: a pair of IP text and port."""
    if not (isinstance(value, tuple) and len(value) == 2):
        return False
    host, port = value
    if not isinstance(host, str) or not isinstance(port, int):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def endpoint_text(address: tuple[str, int]) -> str:
    """`HOST:PORT`, with IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _key(key: object) -> str:
    written = to_json(key)
    return written if isinstance(written, str) else str(written)


HANDLES: Final = frozenset({"link"})
"""Properties that hand out something alive, for code only."""


def _names(kind: type) -> list[str]:
    """The fields a reader may see, then the properties, which are part of what the value says."""
    fields = [field.name for field in dataclasses.fields(kind) if not field.name.startswith("_")]
    properties = [
        name
        for owner in reversed(kind.__mro__)
        for name, member in vars(owner).items()
        if isinstance(member, property) and not name.startswith("_") and name not in HANDLES
    ]
    return list(dict.fromkeys(fields + properties))
