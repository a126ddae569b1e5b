"""An estimate of how many nodes the network has, from how dense they lie around what we look up.

With n nodes at random ids, the k-th nearest to any target lies k/n of the id space away on average, so k / distance is
an estimate of n (as pubky/mainline does, docs/dht_size_estimate.md); a running mean over look-ups narrows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from dht.constants import ID_SPACE
from dht.contact import Contact

_GAIN: Final = 0.125
"""Weight of a new sample: a memory of about 16 look-ups, which Mainline measured as good for ± 14 %."""

_REMEMBERED: Final = 15
"""Independent look-ups that a running mean of this gain is worth: (2 - gain) / gain."""

CONFIDENT_SAMPLES: Final = 4
"""Look-ups after which the estimate is good to about 1 / sqrt(4 k), 11 % for k = 20."""


LASTS: Final = 600.0
"""Seconds for which a count anew is trusted. UNSOURCED: who is led to places that are crowded indeed pays for four
look-ups in ten minutes."""


class SizeEstimate:
    """Running estimate of the number of nodes."""

    __slots__ = ("_density", "began", "samples")

    def __init__(self, began: float = -inf) -> None:
        self.began = began
        """When it was begun, at places drawn for it; Unix seconds, or minus infinity for one that began with us."""
        self._density = 0.0
        """Mean share of the id space for each node: averaged rather than n itself, whose mean is dominated by luck."""
        self.samples = 0

    def is_of_late(self, now: float) -> bool:
        """Whether it was begun so lately that the network cannot have grown much since."""
        return now - self.began < LASTS

    def sample(self, target: int, closest: Sequence[Contact], k: int) -> None:
        """Take in the k closest that answered a look-up; fewer than k say only that the network is small."""
        if len(closest) < k:
            return
        share = (closest[-1].long_id ^ target) / ID_SPACE / len(closest)
        self.samples += 1
        self._density += max(_GAIN, 1 / self.samples) * (share - self._density)

    @property
    def nodes(self) -> float | None:
        """Estimated number of nodes, None before there is any evidence."""
        return 1 / self._density if self._density else None

    def counted(self, k: int) -> int:
        """How many distances the estimate is worth, where each look-up gave k."""
        return k * min(self.samples, _REMEMBERED)

    def expected_distance(self, rank: int, *, samples: int = CONFIDENT_SAMPLES) -> int:
        """How far the `rank`-th nearest node to a random target lies on average; 0 before there are `samples`."""
        if self.samples < samples:
            return 0
        return int(rank * self._density * ID_SPACE)
