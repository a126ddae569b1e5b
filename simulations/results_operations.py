"""Operations of many seeds, sorted once by phase, kind and seed, so that any figure of them is quick.

Decides how a figure follows from operations, in the same words as `Metrics.figure`. Refuses to know intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulations.statistics import nearest_rank

Key = tuple[str, str]
"""Phase and kind."""

MEANS: Final = {"mean": "took", "hops": "hops", "requests": "requests", "failures": "failures"}
"""Figures that are means, and of which column."""


class Operations:
    """The operations of a run. `table` is the merged one, with its seed column."""

    def __init__(self, table: Any, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self._table = table
        phases, self._phases = _codes(table, "phase")
        kinds, self._kinds = _codes(table, "kind")
        self._number = {seed: at for at, seed in enumerate(self.seeds)}
        recorded = _numpy(table, "seed")
        known = np.array(self.seeds or [0], dtype=np.int64)
        order = np.argsort(known)
        seed_codes = order[np.searchsorted(known, recorded, sorter=order)] if len(recorded) else recorded
        group = phases * max(1, len(self._kinds)) + kinds
        cell = group * max(1, len(self.seeds)) + seed_codes
        self._order = np.argsort(cell, kind="stable")
        cells, starts, counts = np.unique(cell[self._order], return_index=True, return_counts=True)
        self._cells = {int(one): slice(int(at), int(at + n)) for one, at, n in zip(cells, starts, counts, strict=True)}
        _, firsts = np.unique(group, return_index=True)
        self.keys: list[Key] = [self._key(int(group[first])) for first in sorted(firsts)]
        """Every phase and kind there is, in the order in which they first came."""
        self._columns: dict[str, NDArray[Any]] = {}

    def _key(self, group: int) -> Key:
        return self._phases[group // len(self._kinds)], self._kinds[group % len(self._kinds)]

    def __len__(self) -> int:
        return len(self._order)

    @cached_property
    def kinds(self) -> list[str]:
        """Every kind, in the order in which they first came."""
        return list(dict.fromkeys(kind for _, kind in self.keys))

    def of(self, key: Key, column: str, seed: int | None = None) -> NDArray[Any]:
        """One column of the operations of a phase and kind, of one seed or of all; in the order of ending."""
        if column not in self._columns:
            self._columns[column] = _numpy(self._table, column)[self._order]
        values = self._columns[column]
        if key not in self.keys:
            return values[:0]
        group = self._phases.index(key[0]) * len(self._kinds) + self._kinds.index(key[1])
        wanted = range(len(self.seeds)) if seed is None else (self._number[seed],)
        parts = [values[self._cells[cell]] for at in wanted if (cell := group * len(self.seeds) + at) in self._cells]
        return np.concatenate(parts) if parts else values[:0]

    def of_kind(self, kind: str, column: str, seed: int | None = None, phase: str | None = None) -> NDArray[Any]:
        """One column of the operations of a kind, in one phase or in all of them."""
        keys = [key for key in self.keys if key[1] == kind and phase in (None, key[0])]
        parts = [self.of(key, column, seed) for key in keys]
        return np.concatenate(parts) if parts else self.of(("", ""), column)

    def figure(self, kind: str, what: str, *, seed: int | None = None, phase: str | None = None) -> float:
        """One of `OPERATION_FIGURES`; NaN of no operations, but for their number."""
        ok = self.of_kind(kind, "ok", seed, phase)
        if what == "count":
            return float(len(ok))
        if not len(ok):
            return math.nan
        if what == "success":
            return float(ok.mean())
        if what in MEANS:
            return float(self.of_kind(kind, MEANS[what], seed, phase).mean())
        took = self.of_kind(kind, "took", seed, phase)
        return float(took.max()) if what == "max" else nearest_rank(np.sort(took), int(what[1:]) / 100)


def _codes(table: Any, column: str) -> tuple[NDArray[np.int64], list[str]]:
    """A column of text as numbers, and the texts they stand for."""
    import pyarrow.compute as pc

    chunks = table.column(column).combine_chunks()
    if not hasattr(chunks, "indices"):
        chunks = pc.dictionary_encode(chunks)
    return chunks.indices.to_numpy(zero_copy_only=False).astype(np.int64), chunks.dictionary.to_pylist()


def _numpy(table: Any, column: str) -> NDArray[Any]:
    values: NDArray[Any] = table.column(column).to_numpy()
    return values
