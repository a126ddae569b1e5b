"""Where each key of a TOML file stands: key path → line.

Decides nothing about meaning: `tomllib` has read the file before, so only well-formed text comes here, and what is
looked for is keys and the places where values end. Refuses to read values. (TOML 1.0.0, https://toml.io/en/v1.0.0)
"""

from __future__ import annotations

from typing import Final

Path = tuple[str | int, ...]
"""Keys and list positions from the top: `("step", 2, "hours")`."""

_SPACE: Final = " \t"
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\", "e": "\x1b"}


def key_lines(text: str) -> dict[Path, int]:
    """Give the line (counted from 1) on which each key, table and list element of a valid TOML text begins."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the innermost table around it that is written down; 1 for the file itself."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 1


class _Scanner:
    """One pass over the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.lengths: dict[Path, int] = {}
        """How many elements each array of tables has so far."""

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._blank(newlines=True)
            if self.at >= len(self.text):
                return self.lines
            if self._peek() == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _header(self) -> Path:
        line = self.line
        many = self.text.startswith("[[", self.at)
        self._skip(2 if many else 1)
        keys = self._key()
        self._skip(2 if many else 1)
        path = self._within((), keys[:-1])
        path = self._element((*path, keys[-1])) if many else self._within(path, keys[-1:])
        # Tables that only a deeper header names begin where that header stands.
        for end in range(1, len(path) + 1):
            self.lines.setdefault(path[:end], line)
        return path

    def _within(self, path: Path, keys: list[str]) -> Path:
        """Follow keys down; an array of tables on the way means its last element, as TOML has it."""
        for key in keys:
            path = (*path, key)
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
        return path

    def _element(self, array: Path) -> Path:
        index = self.lengths.get(array, 0)
        self.lengths[array] = index + 1
        return (*array, index)

    def _assignment(self, table: Path) -> None:
        line = self.line
        keys = self._key()
        for end in range(1, len(keys) + 1):
            self.lines.setdefault((*table, *keys[:end]), line)
        self._skip(1)  # The equals sign.
        self._value((*table, *keys))

    # Keys

    def _key(self) -> list[str]:
        """Read a key, bare, quoted or dotted, and the space around it."""
        parts = []
        while True:
            self._blank()
            char = self._peek()
            parts.append(self._string() if char in "\"'" else self._bare())
            self._blank()
            if self._peek() != ".":
                return parts
            self._skip(1)

    def _bare(self) -> str:
        start = self.at
        while (char := self._peek()) and (char.isalnum() or char in "_-"):
            self.at += 1
        return self.text[start : self.at]

    # Values

    def _value(self, path: Path) -> None:
        self._blank()
        char = self._peek()
        if char and char in "\"'":
            self._string()
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            # Numbers, dates and truth values hold none of these; a date may hold a space, which ends nothing.
            while (char := self._peek()) and char not in ",]}\n#":
                self.at += 1

    def _array(self, path: Path) -> None:
        self._skip(1)
        index = 0
        while True:
            self._blank(newlines=True)
            char = self._peek()
            if char in ("]", ""):
                self._skip(1)
                return
            if char == ",":
                self._skip(1)
                continue
            self.lines[(*path, index)] = self.line
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: Path) -> None:
        self._skip(1)
        while True:
            self._blank(newlines=True)
            char = self._peek()
            if char in ("}", ""):
                self._skip(1)
                return
            if char == ",":
                self._skip(1)
                continue
            self._assignment(path)

    def _string(self) -> str:
        quote = self._peek()
        fence = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self._skip(len(fence))
        said: list[str] = []
        while self.at < len(self.text):
            if self.text.startswith(fence, self.at):
                self._skip(len(fence))
                # Up to two quotes may stand right before the closing fence of a long string.
                while len(fence) == 3 and self._peek() == quote:
                    self._skip(1)
                return "".join(said)
            if quote == '"' and self._peek() == "\\":
                said.append(self._escape())
            else:
                said.append(self._peek())
                self._skip(1)
        return "".join(said)

    def _escape(self) -> str:
        """Read an escape; keys need what it stands for, or two spellings of one key would be two keys."""
        kind = self.text[self.at + 1 : self.at + 2]
        digits = {"u": 4, "U": 8, "x": 2}.get(kind, 0)
        written = self.text[self.at + 2 : self.at + 2 + digits]
        self._skip(2 + digits)
        return chr(int(written, 16)) if digits else _ESCAPES.get(kind, "")

    # Steps

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _skip(self, count: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count

    def _blank(self, *, newlines: bool = False) -> None:
        """Pass over white space; with `newlines`, over line ends and comments too."""
        while char := self._peek():
            if char in _SPACE or (newlines and char == "\n"):
                self._skip(1)
            elif newlines and char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return
