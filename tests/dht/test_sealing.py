"""Sealed datagrams: who can open them, and what is refused."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.constants import (
    HEADER_BYTES,
    MAC_BYTES,
    MAX_DATAGRAM,
    MAX_MESSAGE,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    PROTOCOL_VERSION,
)
from dht.errors import BoxError
from dht.identity import NodeKey
from dht.sealing import CACHED_KEYS, PUBLIC_NETWORK, BoxKeys, Sealer, network_tag

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "sealing.json").read_text(encoding="utf-8"))

KEYS = sorted((NodeKey.from_secret(bytes((i,)) * 32) for i in (1, 2, 3)), key=lambda key: key.public)
LOW, MIDDLE, HIGH = KEYS
PAIRS = pytest.mark.parametrize("sender, receiver", [(LOW, HIGH), (HIGH, LOW)], ids=["low to high", "high to low"])
EVERY_BYTE_BEHIND_THE_PREFIX = range(5, OVERHEAD_BYTES + 5)

SMALL_ORDER = [
    # u coordinates of small order on Curve25519 and its twist (Bernstein, "Curve25519", section 3;
    # https://cr.yp.to/ecdh.html#validate), little-endian; those not below p are not canonical either.
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def sealer(key: NodeKey, seed: int = 1, *, network_key: bytes = b"", name: bytes = PUBLIC_NETWORK) -> Sealer:
    return Sealer(key, random.Random(seed), network_key=network_key, name=name)


def altered(datagram: bytes, at: int, bits: int) -> bytes:
    return datagram[:at] + bytes((datagram[at] ^ bits,)) + datagram[at + 1 :]


class TestFrozen:
    @pytest.mark.parametrize("vector", VECTORS["datagrams"], ids=lambda vector: vector["what"])
    def test_sealing_gives_the_frozen_bytes(self, vector: dict[str, str]) -> None:
        sender = NodeKey.from_secret(bytes.fromhex(vector["sender_secret"]))
        receiver = NodeKey.from_secret(bytes.fromhex(vector["receiver_secret"]))
        box = sealer(sender, VECTORS["seed"], network_key=bytes.fromhex(vector["network_key"]))
        datagram = box.seal(receiver.public, bytes.fromhex(vector["message"]))
        assert datagram.hex() == vector["datagram"]

    @pytest.mark.parametrize("vector", VECTORS["datagrams"], ids=lambda vector: vector["what"])
    def test_frozen_bytes_open(self, vector: dict[str, str]) -> None:
        sender = NodeKey.from_secret(bytes.fromhex(vector["sender_secret"]))
        receiver = NodeKey.from_secret(bytes.fromhex(vector["receiver_secret"]))
        box = sealer(receiver, network_key=bytes.fromhex(vector["network_key"]))
        assert box.open(bytes.fromhex(vector["datagram"])) == (sender.public, bytes.fromhex(vector["message"]))

    @pytest.mark.parametrize("tag", VECTORS["tags"], ids=lambda tag: tag["what"])
    def test_network_tags(self, tag: dict[str, str]) -> None:
        assert network_tag(bytes.fromhex(tag["network_key"]), tag["name"].encode()).hex() == tag["tag"]


class TestSealAndOpen:
    @PAIRS
    @given(message=st.binary(min_size=1, max_size=MAX_MESSAGE))
    def test_what_was_sealed_opens(self, sender: NodeKey, receiver: NodeKey, message: bytes) -> None:
        datagram = sealer(sender).seal(receiver.public, message)
        assert sealer(receiver).open(datagram) == (sender.public, message)

    def test_datagram_begins_with_version_tag_and_key(self) -> None:
        datagram = sealer(LOW).seal(HIGH.public, b"hello")
        assert datagram[0] == PROTOCOL_VERSION
        assert datagram[1:5] == network_tag(b"")
        assert datagram[5:37] == LOW.public
        assert datagram.startswith(sealer(HIGH).prefix)
        assert len(datagram) == OVERHEAD_BYTES + 5

    def test_largest_message_makes_the_largest_datagram(self) -> None:
        assert len(sealer(LOW).seal(HIGH.public, bytes(MAX_MESSAGE))) == MAX_DATAGRAM

    def test_nonces_never_repeat(self) -> None:
        box = sealer(LOW)
        nonces = {box.seal(key.public, b"x")[37:HEADER_BYTES] for _ in range(500) for key in (MIDDLE, HIGH)}
        assert len(nonces) == 1000
        assert all(len(nonce) == NONCE_BYTES for nonce in nonces)

    def test_nonces_of_two_runs_share_no_prefix(self) -> None:
        first, second = (sealer(LOW, seed).seal(HIGH.public, b"x")[37:53] for seed in (1, 2))
        assert first != second

    @PAIRS
    def test_first_bit_of_the_nonce_tells_the_direction(self, sender: NodeKey, receiver: NodeKey) -> None:
        datagram = sealer(sender).seal(receiver.public, b"x")
        assert (datagram[37] >= 0x80) is (sender.public > receiver.public)


class TestRefused:
    def test_who_it_is_not_for_cannot_open_it(self) -> None:
        with pytest.raises(BoxError, match="does not open"):
            sealer(MIDDLE).open(sealer(LOW).seal(HIGH.public, b"x"))

    @PAIRS
    def test_datagram_sent_back_is_refused(self, sender: NodeKey, receiver: NodeKey) -> None:
        box = sealer(sender)
        with pytest.raises(BoxError, match="sent back"):
            box.open(box.seal(receiver.public, b"x"))

    @PAIRS
    def test_datagram_sent_back_under_the_receivers_key_is_refused(self, sender: NodeKey, receiver: NodeKey) -> None:
        # Both directions share a box key, and the header is not part of the box.
        box = sealer(sender)
        datagram = box.seal(receiver.public, b"x")
        with pytest.raises(BoxError, match="sent back"):
            box.open(datagram[:5] + receiver.public + datagram[37:])

    @PAIRS
    def test_datagram_sent_back_with_the_other_direction_is_refused(self, sender: NodeKey, receiver: NodeKey) -> None:
        box = sealer(sender)
        datagram = box.seal(receiver.public, b"x")
        with pytest.raises(BoxError, match="does not open"):
            box.open(altered(datagram[:5] + receiver.public + datagram[37:], 37, 0x80))

    @PAIRS
    @pytest.mark.parametrize("bit", range(8))
    def test_any_altered_byte_is_refused(self, sender: NodeKey, receiver: NodeKey, bit: int) -> None:
        datagram = sealer(sender).seal(receiver.public, b"hello")
        box = sealer(receiver)
        opened = []
        for at in EVERY_BYTE_BEHIND_THE_PREFIX:
            try:
                opened.append((at, box.open(altered(datagram, at, 1 << bit))))
            except BoxError:
                continue
        assert opened == []

    @pytest.mark.parametrize("at", range(5))
    def test_altered_prefix_is_another_networks(self, at: int) -> None:
        assert not altered(sealer(LOW).seal(HIGH.public, b"x"), at, 1).startswith(sealer(HIGH).prefix)

    @pytest.mark.parametrize("size", [0, 1, HEADER_BYTES, HEADER_BYTES + MAC_BYTES, MAX_DATAGRAM + 1, 65535])
    def test_impossible_sizes_are_refused(self, size: int) -> None:
        datagram = (sealer(LOW).seal(HIGH.public, b"x") + bytes(65535))[:size]
        with pytest.raises(BoxError, match=f"a datagram of {size} bytes"):
            sealer(HIGH).open(datagram)

    @pytest.mark.parametrize("cut", [1, 2])
    def test_cut_datagram_is_refused(self, cut: int) -> None:
        with pytest.raises(BoxError):
            sealer(HIGH).open(sealer(LOW).seal(HIGH.public, b"hello")[:-cut])

    @given(st.binary(max_size=MAX_DATAGRAM + 50))
    def test_garbage_is_refused(self, garbage: bytes) -> None:
        box = sealer(HIGH)
        with pytest.raises(BoxError):
            box.open(box.prefix + garbage)

    @pytest.mark.parametrize("key", SMALL_ORDER)
    def test_nothing_is_sealed_to_a_weak_key(self, key: str) -> None:
        with pytest.raises(BoxError, match=r"small order|not canonical"):
            sealer(LOW).seal(bytes.fromhex(key), b"x")

    @pytest.mark.parametrize("key", SMALL_ORDER)
    def test_nothing_opens_from_a_weak_key(self, key: str) -> None:
        weak = bytes.fromhex(key)
        nonce = b"\xff" * NONCE_BYTES if weak > HIGH.public else bytes(NONCE_BYTES)
        with pytest.raises(BoxError, match=r"small order|not canonical"):
            sealer(HIGH).open(sealer(LOW).prefix + weak + nonce + bytes(40))

    def test_second_name_of_a_key_is_refused(self) -> None:
        # X25519 ignores the top bit (RFC 7748 section 5): the same box would open as from a second node.
        datagram = sealer(LOW).seal(HIGH.public, b"x")
        with pytest.raises(BoxError, match="not canonical"):
            sealer(HIGH).open(altered(datagram, 36, 0x80))


class TestNetworks:
    def test_other_network_has_another_prefix(self) -> None:
        prefixes = {
            sealer(LOW).prefix,
            sealer(LOW, name=b"rookery/test").prefix,
            sealer(LOW, network_key=b"secret").prefix,
            sealer(LOW, network_key=b"other").prefix,
        }
        assert len(prefixes) == 4

    @pytest.mark.parametrize("theirs", [b"", b"other"], ids=["public", "other key"])
    def test_without_the_network_key_nothing_opens(self, theirs: bytes) -> None:
        # Even with the tag set right, which everybody can see.
        datagram = sealer(LOW, network_key=theirs).seal(HIGH.public, b"x")
        private = sealer(HIGH, network_key=b"secret")
        with pytest.raises(BoxError, match="does not open"):
            private.open(private.prefix + datagram[5:])

    def test_members_of_a_private_network_understand_each_other(self) -> None:
        datagram = sealer(LOW, network_key=b"secret").seal(HIGH.public, b"x")
        assert sealer(HIGH, network_key=b"secret").open(datagram) == (LOW.public, b"x")


class TestCache:
    def test_who_sealed_once_is_known(self) -> None:
        box = sealer(HIGH)
        datagram = sealer(LOW).seal(HIGH.public, b"x")
        assert not box.knows(LOW.public)
        box.open(datagram)
        assert box.knows(LOW.public)

    def test_who_was_sealed_to_is_known(self) -> None:
        box = sealer(HIGH)
        box.seal(LOW.public, b"x")
        assert box.knows(LOW.public)

    def test_forgers_do_not_fill_the_cache(self) -> None:
        box = sealer(HIGH)
        datagram = sealer(LOW).seal(HIGH.public, b"x")
        for i in range(1, 100):
            key = i.to_bytes(32, "big")
            with pytest.raises(BoxError):
                box.open(datagram[:5] + key + datagram[37:])
        assert len(box._keys) == 0

    def test_weak_keys_do_not_fill_the_cache(self) -> None:
        box = sealer(HIGH)
        for key in SMALL_ORDER:
            with pytest.raises(BoxError):
                box.seal(bytes.fromhex(key), b"x")
        assert len(box._keys) == 0

    def test_caches_are_bounded_and_the_longest_silent_goes(self) -> None:
        for fill in (BoxKeys.add, BoxKeys.heard):
            keys = BoxKeys()
            for i in range(CACHED_KEYS + 20):
                fill(keys, i.to_bytes(32, "big"), bytes(32))
            assert len(keys) == CACHED_KEYS
            assert (19).to_bytes(32, "big") not in keys
            assert (20).to_bytes(32, "big") in keys

    def test_strangers_push_out_nobody_but_strangers(self) -> None:
        keys = BoxKeys()
        written_to, kept, stranger = (number.to_bytes(32, "little") for number in range(3))
        keys.add(written_to, b"a" * 32)
        keys.heard(kept, b"b" * 32)
        keys.heard(stranger, b"c" * 32)
        keys.keep(kept)
        for number in range(CACHED_KEYS):
            keys.heard(number.to_bytes(32, "big")[::-1] if number > 2 else b"x" * 31 + bytes((number,)), bytes(32))
        assert (keys.get(written_to), keys.get(kept), keys.get(stranger)) == (b"a" * 32, b"b" * 32, None)

    def test_known_and_forgotten_keys_open_alike(self) -> None:
        box = sealer(HIGH)
        datagrams = [sealer(LOW, seed).seal(HIGH.public, b"x") for seed in range(3)]
        box.open(datagrams[0])
        box.open(datagrams[1])
        box._keys = BoxKeys()
        assert box.open(datagrams[2]) == (LOW.public, b"x")
