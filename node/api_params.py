"""Reads the parameters of a command: types, ranges and unknown names, with one sentence for each fault.

Refuses to know what a parameter is for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dht.identity import PublicKey
from node.adapters.http import ApiFailure


class Params:
    """The parameters of one command. Every reader takes its name away; `done` refuses what is left."""

    def __init__(
        self, command: str, given: Mapping[str, Any], resolve: Callable[[str], PublicKey] = PublicKey.parse
    ) -> None:
        """`resolve` makes a peer of an id or a name."""
        self._resolve = resolve
        self._command = command
        self._left = dict(given)

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self._take(name, str, "a string")
        if value is None:
            raise self._fault(f"{name} is missing")
        return str(value)

    def text_or_none(self, name: str) -> str | None:
        """A string, if it is there."""
        value = self._take(name, str, "a string")
        return None if value is None else str(value)

    def peer(self, name: str = "peer") -> PublicKey:
        """A peer by its id or its name. Raises `LocalError` with what is wrong with it."""
        return self._resolve(self.text(name))

    def peer_or_none(self, name: str) -> PublicKey | None:
        """A peer by its id or its name, if it is there."""
        text = self.text_or_none(name)
        return None if text is None else self._resolve(text)

    def peers(self, name: str) -> list[PublicKey]:
        """A list of peers by ids or names; empty when it is not there."""
        return [self._resolve(str(text)) for text in self._take(name, list, "a list of peer ids") or []]

    def objects(self, name: str, most: int) -> list[Params]:
        """A list of 1 to `most` objects, each with parameters of its own."""
        given = self._take(name, list, "a list of objects")
        if not given or len(given) > most:
            raise self._fault(f"{name} must have 1 to {most} entries, not {len(given or ())}")
        if not all(isinstance(one, Mapping) for one in given):
            raise self._fault(f"{name} must be a list of objects")
        return [Params(f"{self._command}: {name}[{at}]", one, self._resolve) for at, one in enumerate(given)]

    def path(self, name: str) -> Path:
        """An absolute path: the node's working directory is not the caller's."""
        path = Path(self.text(name))
        if not path.is_absolute():
            raise self._fault(f"{name} = {str(path)!r} must be an absolute path")
        return path

    def flag(self, name: str) -> bool:
        """A boolean, false when it is not there."""
        return bool(self._take(name, bool, "true or false"))

    def integer(self, name: str, least: int, most: int, default: int | None = None) -> int | None:
        """A whole number in least..most, `default` when it is not there."""
        value = self._take(name, int, "a whole number")
        if value is None:
            return default
        if not least <= value <= most:
            raise self._fault(f"{name} = {value} must lie in {least}..{most}")
        return int(value)

    def seconds(self, name: str, default: float, most: float = 3600.0) -> float:
        """A span of time in seconds, more than zero."""
        value = self._take(name, int | float, "a number of seconds")
        if value is None:
            return default
        if not 0 < value <= most:
            raise self._fault(f"{name} = {value} must lie between 0 and {most:g} seconds")
        return float(value)

    def data(self, name: str) -> bytes | None:
        """Bytes in base64, if they are there."""
        text = self.text_or_none(name)
        if text is None:
            return None
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._fault(f"{name} is not base64") from None

    def place(self, name: str) -> bytes | None:
        """A place in hexadecimal, if it is there."""
        text = self.text_or_none(name)
        if text is None:
            return None
        try:
            place = bytes.fromhex(text)
        except ValueError:
            place = b""
        if len(place) != 20:
            raise self._fault(f"{name} = {text!r} is not a place: 40 hexadecimal digits")
        return place

    def done(self) -> None:
        """Refuse parameters that no reader asked for: a misspelt one must not be ignored."""
        if self._left:
            names = ", ".join(sorted(self._left))
            raise self._fault(f"unknown parameter {names}")

    def _take(self, name: str, kind: Any, expected: str) -> Any:
        value = self._left.pop(name, None)
        # True is an int in Python; as a number it is a mistake.
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise self._fault(f"{name} must be {expected}")
        return value

    def _fault(self, problem: str) -> ApiFailure:
        return ApiFailure("bad-input", f"{self._command}: {problem}")
