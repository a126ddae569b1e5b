"""The kinds of values that a configuration holds: how a person writes them, and how they are written back.

Decides the text forms. Refuses to know which settings there are.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf
from pydantic_core import PydanticCustomError

from dht.constants import KEY_BYTES
from dht.contact import Contact, parse_contact
from dht.errors import LocalError
from dht.identity import PublicKey

Address = tuple[str, int]
"""IP text and port."""

LONGEST_SOCKET_PATH: Final = 103
"""Bytes of a Unix socket's path: `sun_path` holds 104 on macOS and BSD (unix(4)), 108 on Linux (unix(7)), less NUL."""


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """A node that is reached over TCP and TLS: whose it is, and where its WebSocket listens."""

    peer: PublicKey
    host: str
    """A name, or an IP text."""
    port: int

    @property
    def text(self) -> str:
        """`PEER@HOST:PORT`."""
        return f"{self.peer.text}@{_endpoint(self.host, self.port)}"


_SIZES: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4} | {
    f"{letter}i": 1024**power for power, letter in enumerate("kmgt", 1)
}
"""Prefixes of SI and of IEC 80000-13."""


class Settings(BaseModel):
    """A group of settings: frozen, checked with their defaults, none that nobody declared."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )


def setting(default: Any, description: str, *, allowed: str, source: str, **more: Any) -> Any:
    """Declare one setting: what it does, what it may be in words, and where its default comes from."""
    extra: dict[str, Any] = {"allowed": allowed, "source": source}
    extra |= {mark: more.pop(mark, False) for mark in ("secret", "list", "path")}
    if callable(default):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **more)
    return Field(default=default, description=description, json_schema_extra=extra, **more)


def refuse(problem: str) -> PydanticCustomError:
    """The fault of one value, in words that go into the one clear line."""
    return PydanticCustomError("rookery", "{problem}", {"problem": problem})


def _to_path(value: Any) -> Any:
    if isinstance(value, str):
        if not value or "\0" in value:
            raise refuse("it is no path")
        value = Path(value)
    if isinstance(value, Path):
        try:
            return value.expanduser()
        except RuntimeError:
            raise refuse("the home directory in it is not known") from None
    return value


def _to_peer(value: Any) -> Any:
    return _parsed(value, PublicKey.parse)


def _to_contact(value: Any) -> Any:
    return _parsed(value, parse_contact)


def _parsed(value: Any, parse: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except LocalError as error:
        raise refuse(str(error)) from None


def _to_key(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = bytes.fromhex(value)
        except ValueError:
            raise refuse("it is not hexadecimal") from None
    if isinstance(value, bytes) and len(value) != KEY_BYTES:
        raise refuse(f"it has {len(value)} bytes")
    return value


def _to_size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,18}) ?(|[kmgt]i?)b?", value.strip().lower())
    if found is None:
        raise refuse("it is not a size")
    return int(found[1]) * _SIZES[found[2]]


def _to_ip(value: Any) -> Any:
    try:
        return str(ipaddress.ip_address(str(value).strip("[]")))
    except ValueError:
        raise refuse("it is not an IP address") from None


def _to_listener(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    host, port = _host_and_port(value)
    return (_to_ip(host), port)


def _to_gateway(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    peer, at, place = value.partition("@")
    if not at:
        raise refuse("it has no @ between the peer id and the host")
    host, port = _host_and_port(place)
    host = host.strip("[]")
    if not port or not re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", host):
        raise refuse(f"{place!r} is no HOST:PORT")
    return GatewayAddress(_to_peer(peer), host, port)


def _host_and_port(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise refuse("it does not end in a port")
    return host, int(port)


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _to_loopback(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    host, port = _host_and_port(value)
    ip = "127.0.0.1" if host == "localhost" else _to_ip(host)
    if not ipaddress.ip_address(ip).is_loopback:
        raise refuse("whoever reaches it controls the node, so other machines must not")
    return (ip, port)


def _to_socket(value: Any) -> Any:
    path = _to_path(value)
    if isinstance(path, Path) and len(os.fsencode(path.absolute())) > LONGEST_SOCKET_PATH:
        size = len(os.fsencode(path.absolute()))
        raise refuse(f"its absolute path has {size} bytes and a socket's has at most {LONGEST_SOCKET_PATH}")
    return path


def _to_level(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_to_path)]
SocketPath = Annotated[Path, BeforeValidator(_to_socket)]
PeerId = Annotated[InstanceOf[PublicKey], BeforeValidator(_to_peer)]
FirstContact = Annotated[InstanceOf[Contact], BeforeValidator(_to_contact)]
SecretKey = Annotated[bytes, BeforeValidator(_to_key)]
Size = Annotated[int, BeforeValidator(_to_size)]
Ip = Annotated[str, BeforeValidator(_to_ip)]
Gateway = Annotated[InstanceOf[GatewayAddress], BeforeValidator(_to_gateway)]
Listener = Annotated[Address, BeforeValidator(_to_listener)]
Loopback = Annotated[Address, BeforeValidator(_to_loopback)]
Lower = BeforeValidator(_to_level)


def to_plain(value: object) -> str | int | float | bool | list[str] | None:
    """Write a setting's value as TOML and JSON can hold it."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Contact() | PublicKey() | GatewayAddress():
            return value.text
        case bytes():
            return value.hex()
        case (str(host), int(port)):
            return _endpoint(host, port)
        case tuple():
            return [str(to_plain(item)) for item in value]
        case _:
            return str(value)


def to_toml(value: object) -> str:
    """Write a setting's value as TOML. JSON's strings, numbers, booleans and lists of strings are TOML's, too."""
    return json.dumps(to_plain(value), ensure_ascii=False)
