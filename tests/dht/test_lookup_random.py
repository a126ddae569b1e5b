"""One look-up through random networks: it keeps to its window and finds who is nearest."""

import random

import pytest

from dht.constants import ID_BITS
from dht.contact import Contact
from dht.lookup import Lookup


@pytest.mark.parametrize("alpha", [1, 3, 10])
def test_never_more_than_alpha_in_flight_on_any_path(alpha: int) -> None:
    rng = random.Random(alpha)
    nodes = [Contact(rng.randbytes(32), ("10.0.0.1", 1000 + i)) for i in range(150)]
    path = Lookup(rng.getrandbits(ID_BITS), 20, alpha, 10.0)
    path.seed(nodes[:5])
    flying: list[Contact] = []
    slow: list[Contact] = []
    while not path.finished:
        flying += path.next_requests(10.0)
        assert len(flying) <= alpha
        happening = rng.random()
        if flying and happening < 0.6:
            path.on_reply(flying.pop(rng.randrange(len(flying))), rng.sample(nodes, 20), 10.0)
        elif flying and happening < 0.8:
            slow.append(flying.pop(rng.randrange(len(flying))))
            path.on_slow(slow[-1])
        elif slow:
            late = slow.pop()
            if happening < 0.9:
                path.on_reply(late, rng.sample(nodes, 20), 10.0)
            else:
                path.on_failure(late)


@pytest.mark.parametrize("seed", range(6))
def test_finds_the_true_k_closest_of_a_static_network(seed: int) -> None:
    """Every node knows 2 k contacts for each length of shared prefix and names 2 k, so that the dead hide nobody."""
    rng = random.Random(seed)
    k, size = 8, 250
    nodes = [Contact(rng.randbytes(32), ("10.0.0.1", 1000 + i)) for i in range(size)]
    knows = {node.key: known_to(node, nodes, k, rng) for node in nodes}
    for _ in range(8):
        target = rng.getrandbits(ID_BITS)
        dead = {node.key for node in rng.sample(nodes, 20)}
        path = Lookup(target, k, 3, 10.0)
        path.seed([node for node in rng.sample(nodes, 6) if node.key not in dead])
        flying: list[Contact] = []
        while not path.finished:
            flying += path.next_requests(10.0)
            asked = flying.pop(rng.randrange(len(flying)))
            if asked.key in dead:
                path.on_failure(asked)
            else:
                nearest = sorted(knows[asked.key], key=lambda node: node.long_id ^ target)
                path.on_reply(asked, nearest[: 2 * k], 10.0)
        living = [node for node in nodes if node.key not in dead]
        assert path.closest(k) == sorted(living, key=lambda node: node.long_id ^ target)[:k]
        assert path.stats(10.0).requests < size / 2


def known_to(node: Contact, nodes: list[Contact], k: int, rng: random.Random) -> list[Contact]:
    buckets: dict[int, list[Contact]] = {}
    for other in rng.sample(nodes, len(nodes)):
        bucket = buckets.setdefault((other.long_id ^ node.long_id).bit_length(), [])
        if other is not node and len(bucket) < 2 * k:
            bucket.append(other)
    return [other for bucket in buckets.values() for other in bucket]
