"""Latency from measured round-trip matrices, read from files.

Decides which row a host has (by seed and IP, or seed and number), and what stands in for what was not measured.
Two forms are read: a square of milliseconds, as PlanetLab's were published, and a table of directed pairs, as
WonderNetwork's pings were. Refuses to know where the files come from; none belongs to the project.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from simulations.errors import BadScenario
from simulations.hops import Address
from simulations.places import city_by_name
from simulations.randomness import Streams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SOURCE_COLUMNS = ("src_city", "src", "source", "from")
TARGET_COLUMNS = ("dst", "dst_city", "destination", "to")
AVERAGE_COLUMNS = ("avg_ms", "rtt_ms", "ms")
DEVIATION_COLUMN = "mdev_ms"
"""Columns that a table of pairs may have; the first of each row that is there is read."""
_LARGEST_FILE = 1 << 30
"""Bytes read of one file, unpacked: a square of 10,000 hosts has a fifth of that. UNSOURCED"""


class Square:
    """Round trips between every two of `names`, in seconds; both directions of a pair may differ."""

    __slots__ = ("deviations", "names", "seconds", "unknown")

    def __init__(
        self,
        names: Sequence[str],
        milliseconds: Sequence[float],
        deviations: Sequence[float] = (),
        *,
        source: str = "a matrix",
    ) -> None:
        """Take what was measured row by row; zero, negative and NaN mean unknown.

        The other direction stands in for what is unknown, and the median of all for what was measured in neither.
        Two hosts may share a row: they are as far apart as the nearest other row is. Errors name the `source`.
        """
        size = len(names)
        self.names = tuple(names)
        known = [value if 0 < value < math.inf else 0.0 for value in milliseconds]
        usual = median([value for value in known if value] or [0.0])
        if not usual or size < 2:
            trips = sum(map(bool, known))
            raise BadScenario(f"{source}: {size} hosts and {trips} round trips: expected two hosts or more, one known")
        self.unknown = 0
        """Pairs (directed) of different rows for which something had to stand in."""
        for row in range(size):
            for column in range(size):
                if row != column and not known[row * size + column]:
                    self.unknown += 1
        filled = array("d", known)
        for row in range(size):
            for column in range(size):
                if row != column and not known[row * size + column]:
                    filled[row * size + column] = known[column * size + row] or usual
        for row in range(size):
            if not filled[row * size + row]:
                others = (filled[row * size + column] for column in range(size) if column != row)
                filled[row * size + row] = min(others)
        self.seconds = array("d", (value / 1000 for value in filled))
        self.deviations = array("d", (value / 1000 if 0 < value < math.inf else 0.0 for value in deviations))
        """Mean deviation of each round trip in seconds; empty when the file has none."""


class Matrix:
    """A latency model over a `Square`: each host has a row, drawn by seed and IP; one way is half the round trip."""

    __slots__ = ("_jitter", "_key", "_rows", "_size", "offset", "square")

    def __init__(self, square: Square, streams: Streams, *, jitter: bool = False) -> None:
        """With `jitter`, each packet's delay has the measured mean and deviation of its pair."""
        if jitter and not square.deviations:
            raise BadScenario("this matrix has no deviations, so no jitter can be drawn: leave the jitter out")
        self.square = square
        self._jitter = jitter
        self._size = len(square.names)
        rng = streams.stream("latency/matrix")
        self._key = rng.randbytes(32)
        self.offset = rng.getrandbits(64)
        self._rows: dict[str, int] = {}

    def row(self, ip: str) -> int:
        """Give the row of a host."""
        row = self._rows.get(ip)
        if row is None:
            digest = hashlib.blake2b(ip.encode(), key=self._key, digest_size=8).digest()
            row = self._rows[ip] = int.from_bytes(digest, "big") % self._size
        return row

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Give half of the measured round trip, with jitter drawn from `rng` where it was asked for."""
        rows = self._rows
        here, there = rows.get(src[0]), rows.get(dst[0])
        if here is None or there is None:
            here, there = self.row(src[0]), self.row(dst[0])
        at = here * self._size + there
        one_way = self.square.seconds[at] / 2
        if not self._jitter:
            return one_way
        deviation = self.square.deviations[at] / 2
        # An exponential wait deviates by its own mean; what is left of the average is the part that stays.
        return max(0.0, one_way - deviation) + (rng.expovariate(1 / deviation) if deviation else 0.0)

    def coordinates(self, ip: str) -> tuple[float, float] | None:
        """Give longitude and latitude of a host's row where its name is that of a known city."""
        place = city_by_name().get(self.square.names[self.row(ip)])
        return None if place is None else (place.longitude, place.latitude)

    def round_trips(self, a_index: NDArray[np.integer], b_index: NDArray[np.integer]) -> NDArray[np.float64]:
        """Give the round trips in seconds between hosts of those numbers, element by element, without jitter."""
        import numpy as np

        from simulations.latency_kernel import words

        size = np.uint64(self._size)
        here, there = (words(np.asarray(index), np.uint64(self.offset)) % size for index in (a_index, b_index))
        found: NDArray[np.float64] = np.frombuffer(self.square.seconds)[(here * size + there).astype(np.int64)]
        return found


def read_square(path: str | Path) -> Square:
    """Read a matrix file, plain or gzip: a table of pairs if its first line names the columns, else a square.

    Raises `BadScenario` with file, line and what is expected.
    """
    lines = _lines(Path(path))
    first = lines[0] if lines else ""
    columns = [column.strip() for column in first.split(",")]
    if any(column in SOURCE_COLUMNS for column in columns):
        return _from_pairs(Path(path), lines)
    return _from_square(Path(path), lines)


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream: io.BufferedIOBase = gzip.GzipFile(fileobj=file) if packed else file
            data = stream.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise BadScenario(f"{path}: more than {_LARGEST_FILE} bytes: expected a matrix that fits in memory")
        return data.decode().splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise BadScenario(f"{path} cannot be read as a latency matrix: {problem}") from problem


def _number(path: Path, line: int, text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadScenario(f"{path}, line {line}: {what} {text!r} is no number: expected milliseconds") from None


def _from_square(path: Path, lines: Iterable[str]) -> Square:
    values: list[float] = []
    rows = width = 0
    for number, line in enumerate(lines, start=1):
        cells = re.split(r"[,\s]+", line.strip())
        if cells == [""] or cells[0].startswith("#"):
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise BadScenario(f"{path}, line {number}: {len(cells)} values: expected {width}, as in the first row")
        values += [_number(path, number, cell, f"value {at}") for at, cell in enumerate(cells, start=1)]
        rows += 1
    if rows != width or not rows:
        raise BadScenario(
            f"{path}: {rows} rows of {width} values: expected a square of milliseconds, separated by tabs, spaces or "
            f"commas, or a table whose first line has a column {' or '.join(SOURCE_COLUMNS)}"
        )
    return Square([str(row) for row in range(rows)], values, source=str(path))


def _from_pairs(path: Path, lines: list[str]) -> Square:
    reader = csv.reader(lines)
    header = [column.strip() for column in next(reader)]
    source, target, average = (
        _column(path, header, names) for names in (SOURCE_COLUMNS, TARGET_COLUMNS, AVERAGE_COLUMNS)
    )
    deviation = header.index(DEVIATION_COLUMN) if DEVIATION_COLUMN in header else None
    pairs: list[tuple[str, str, float, float]] = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise BadScenario(f"{path}, line {reader.line_num}: {len(cells)} columns: expected {len(header)}")
        mean = _number(path, reader.line_num, cells[average], header[average])
        spread = 0.0 if deviation is None else _number(path, reader.line_num, cells[deviation], DEVIATION_COLUMN)
        pairs.append((cells[source].strip(), cells[target].strip(), mean, spread))
    names = sorted({here for here, *_ in pairs})
    number_of = {name: number for number, name in enumerate(names)}
    # Targets may carry a country behind the name ("Albany United States, North America").
    for there in sorted({there for _, there, *_ in pairs}):
        number_of.setdefault(there, number_of.get(_source_in(there, number_of), -1))
        if number_of[there] < 0:
            number_of[there] = len(names)
            names.append(there)
    size = len(names)
    means, spreads = [0.0] * size**2, [0.0] * size**2
    for here, there, mean, spread in pairs:
        at = number_of[here] * size + number_of[there]
        means[at], spreads[at] = mean, spread
    return Square(names, means, () if deviation is None else spreads, source=str(path))


def _column(path: Path, header: list[str], names: tuple[str, ...]) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise BadScenario(f"{path}, line 1: no column {' or '.join(names)}: expected one among {', '.join(header)}")


def _source_in(name: str, known: dict[str, int]) -> str:
    """Give the longest known name that the text begins with, as whole words; the text itself if there is none."""
    words = name.split(" ")
    for count in range(len(words), 0, -1):
        start = " ".join(words[:count]).rstrip(",")
        if start in known:
            return start
    return name
