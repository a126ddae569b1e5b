"""Where ids come to rest for attackers of different means."""

from random import Random

import pytest

from dht.constants import ID_BITS
from dht.identity import address_prefix, is_exempt, node_id
from simulations.errors import BadScenario
from simulations.seats import everywhere, one_address, one_network

PLACE = bytes(range(20))
NUMBER = int.from_bytes(PLACE, "big")


def shared(seat):
    return ID_BITS - (seat.long_id ^ NUMBER).bit_length()


def test_with_all_networks_ids_lie_where_they_are_wanted():
    seats = everywhere(PLACE, 12, 8, Random(1))
    assert all(shared(seat) >= 8 for seat in seats)
    assert len({address_prefix(seat.address[0]) for seat in seats}) == 12
    assert all(seat.long_id == node_id(seat.key.public, seat.address[0]) for seat in seats)
    assert not any(is_exempt(seat.address[0]) or seat.address[0].startswith("11.") for seat in seats)


def test_one_network_has_two_thousand_places_and_no_more():
    seats = one_network(PLACE, 30, Random(1))
    assert len({address_prefix(seat.address[0]) for seat in seats}) == 1
    assert len({seat.address for seat in seats}) == 30
    # The nearest 30 of 2,032 random ids share about log2(2032 / 30) bits.
    assert 3 <= min(shared(seat) for seat in seats) <= 8
    with pytest.raises(BadScenario, match="one /24"):
        one_network(PLACE, 2033, Random(1))


def test_one_address_owns_eight_places_however_many_keys_are_ground():
    seats = one_address(PLACE, 40, Random(1))
    assert len({seat.address for seat in seats}) == 40
    assert len({seat.address[0] for seat in seats}) == 1
    assert len({seat.long_id >> (ID_BITS - 21) for seat in seats}) <= 8
    assert len({seat.long_id for seat in seats}) == 40


def test_the_same_randomness_gives_the_same_seats():
    assert everywhere(PLACE, 3, 5, Random(7)) == everywhere(PLACE, 3, 5, Random(7))


def test_an_address_decides_no_more_than_its_bits():
    with pytest.raises(BadScenario, match="0 to 21"):
        everywhere(PLACE, 1, 22, Random(1))
