"""What is known of hops without any simulation.

Decides formulas only. A greedy step in a network with random buckets of k gains one bit and the best of k geometric
draws more: the hops of a look-up grow by log2(10) / E_k for each decade of nodes (the form c·log n is that of Cai and
Devroye, "The analysis of Kademlia for random IDs", arXiv 1309.5866).
"""

from __future__ import annotations

import math


def bits_per_hop(k: int) -> float:
    """E_k = 1 + Σ over m ≥ 1 of 1 - (1 - 2^-m)^k: bits by which one hop with buckets of `k` comes nearer on average."""
    return 1.0 + math.fsum(1.0 - (1.0 - 0.5**m) ** k for m in range(1, 80))


def hops_per_decade(k: int) -> float:
    """By how many hops a look-up grows when the network grows tenfold, with one request in flight."""
    return math.log2(10.0) / bits_per_hop(k)
