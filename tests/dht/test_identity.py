"""Keys, ids, the strict Ed25519 rule, and reading what people type."""

import ipaddress
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.constants import BEP42_MASK_V4, BEP42_MASK_V6, BEP42_PREFIX_BITS, ID_BITS
from dht.errors import BadPeerId, LocalError, RemoteError, WeakKey
from dht.identity import (
    IdentityKey,
    NodeKey,
    PublicKey,
    address_prefix,
    bep42_prefix,
    check_strict_point,
    from_zbase32,
    hash_place,
    is_exempt,
    node_id,
    to_zbase32,
    verify_strict,
)

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


RFC8032 = load("rfc8032.json")["vectors"]
BEP42 = load("bep42.json")
BEP44 = load("bep44.json")
STRICT = load("ed25519_strict.json")
ALICE = IdentityKey.from_seed(bytes(range(32)))


class TestSignatures:
    @pytest.mark.parametrize("vector", RFC8032)
    def test_rfc8032(self, vector: dict[str, str]) -> None:
        identity = IdentityKey.from_seed(bytes.fromhex(vector["seed"]))
        message = bytes.fromhex(vector["message"])
        assert identity.public.raw.hex() == vector["public"]
        assert identity.sign(message).hex() == vector["signature"]
        assert identity.public.verify(bytes.fromhex(vector["signature"]), message)

    @pytest.mark.parametrize("vector", BEP44["mutable"])
    def test_bep44_signatures_hold(self, vector: dict[str, str]) -> None:
        key = PublicKey(bytes.fromhex(vector["public"]))
        signature = bytes.fromhex(vector["signature"])
        assert key.verify(signature, vector["signed"].encode())
        assert not key.verify(signature, vector["signed"].encode() + b"!")

    @pytest.mark.parametrize("flipped", range(0, 512, 37))
    def test_one_bit_flipped_is_refused(self, flipped: int) -> None:
        signature = bytearray(ALICE.sign(b"message"))
        signature[flipped // 8] ^= 1 << flipped % 8
        assert not ALICE.public.verify(bytes(signature), b"message")

    @pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
    def test_signatures_of_other_lengths_are_refused(self, length: int) -> None:
        signature = (ALICE.sign(b"") * 2)[:length]
        assert not ALICE.public.verify(signature, b"")

    def test_bytes_moved_from_message_to_signature_are_refused(self) -> None:
        signature = ALICE.sign(b"Xrest")
        assert not ALICE.public.verify(signature + b"X", b"rest")


class TestStrictRule:
    """Chalkias et al. 2020: implementations disagree on these, so nobody may take them."""

    @pytest.mark.parametrize("encoding", STRICT["small_order"])
    def test_all_eight_small_order_points_are_refused(self, encoding: str) -> None:
        with pytest.raises(WeakKey, match="small order"):
            check_strict_point(bytes.fromhex(encoding))
        with pytest.raises(WeakKey):
            PublicKey(bytes.fromhex(encoding))

    def test_there_are_eight(self) -> None:
        assert len(set(STRICT["small_order"])) == 8

    @pytest.mark.parametrize("encoding", STRICT["non_canonical"])
    def test_non_canonical_encodings_are_refused(self, encoding: str) -> None:
        with pytest.raises(WeakKey):
            check_strict_point(bytes.fromhex(encoding))

    @pytest.mark.parametrize("encoding", STRICT["small_order"] + STRICT["non_canonical"])
    def test_refused_as_r_of_a_signature(self, encoding: str) -> None:
        signature = bytes.fromhex(encoding) + ALICE.sign(b"m")[32:]
        assert not ALICE.public.verify(signature, b"m")

    @pytest.mark.parametrize("case", STRICT["cases"], ids=lambda case: case["what"])
    def test_cases_of_the_paper(self, case: dict[str, Any]) -> None:
        public, signature, message = (bytes.fromhex(case[name]) for name in ("public", "signature", "message"))
        assert verify_strict(public, signature, message) is case["valid"]

    def test_largest_canonical_y_is_not_refused(self) -> None:
        check_strict_point((2**255 - 21).to_bytes(32, "little"))

    @pytest.mark.parametrize("length", [0, 31, 33])
    def test_keys_of_other_lengths_are_refused(self, length: int) -> None:
        with pytest.raises(WeakKey, match=f"not {length}"):
            check_strict_point(bytes(length))

    def test_a_weak_key_is_the_peers_fault(self) -> None:
        assert issubclass(WeakKey, RemoteError)

    @given(st.binary(max_size=40), st.binary(max_size=70), st.binary(max_size=20))
    def test_any_bytes_get_a_verdict(self, public: bytes, signature: bytes, message: bytes) -> None:
        assert verify_strict(public, signature, message) is False


class TestPeerIdText:
    def test_known_text(self) -> None:
        # pkarr's README shows ids of this form: 52 characters of z-base-32 over the raw key.
        assert to_zbase32(bytes(32)) == "y" * 52
        assert to_zbase32(b"\xff" * 32) == "9" * 51 + "o"
        assert len(ALICE.public.text) == 52

    @given(st.binary(min_size=32, max_size=32))
    def test_round_trip(self, raw: bytes) -> None:
        assert from_zbase32(to_zbase32(raw)) == raw

    @pytest.mark.parametrize("form", ["{}", " {}\n", "pk:{}", "rookery:{}", "PK:{}"])
    def test_parse_takes_what_people_paste(self, form: str) -> None:
        assert PublicKey.parse(form.format(ALICE.public.text)) == ALICE.public
        assert PublicKey.parse(form.format(ALICE.public.text).upper()) == ALICE.public

    @pytest.mark.parametrize("wrong, meant", [("l", "1"), ("0", "o"), ("2", "z"), ("v", "u")])
    def test_lookalikes_are_suggested(self, wrong: str, meant: str) -> None:
        text = ALICE.public.text
        with pytest.raises(BadPeerId, match=f"character 11 is '{wrong}'.*did you mean '{meant}'"):
            PublicKey.parse(text[:10] + wrong + text[11:])

    @pytest.mark.parametrize("foreign", ["é", "-", "\x00", "٣", "\ud800"])
    def test_foreign_characters_are_named(self, foreign: str) -> None:
        with pytest.raises(BadPeerId, match="character 1 is"):
            PublicKey.parse(foreign + ALICE.public.text[1:])

    @pytest.mark.parametrize("text, fault", [("", "52 too few"), ("y" * 51, "1 too few"), ("y" * 54, "2 too many")])
    def test_wrong_length_says_by_how_much(self, text: str, fault: str) -> None:
        with pytest.raises(BadPeerId, match=fault):
            PublicKey.parse(text)

    def test_a_second_spelling_of_a_key_is_refused(self) -> None:
        text = ALICE.public.text
        spellings = [text[:-1] + char for char in "ybndrfg8ejkmcpqxot1uwisza345h769"]
        read = [spelling for spelling in spellings if from_zbase32(spelling) == ALICE.public.raw]
        assert read == [text]
        with pytest.raises(BadPeerId, match="cannot end a peer id"):
            PublicKey.parse(text[:-1] + ("b" if text[-1] != "b" else "n"))

    def test_most_typing_errors_are_noticed(self) -> None:
        rng = random.Random(1)
        text, noticed = ALICE.public.text, 0
        for _ in range(200):
            at = rng.randrange(51)
            char = rng.choice([char for char in "ybndrfg8ejkmcpqxot1uwisza345h769" if char != text[at]])
            try:
                PublicKey.parse(text[:at] + char + text[at + 1 :])
            except BadPeerId as error:
                assert "mistyped" in str(error)
                noticed += 1
        assert noticed > 170  # a point of the prime-order group is hit in 1 of 16 tries: 187 expected

    @pytest.mark.parametrize("encoding", STRICT["small_order"])
    def test_weak_keys_are_refused_as_typed(self, encoding: str) -> None:
        with pytest.raises(BadPeerId, match="not a valid key"):
            PublicKey.parse(to_zbase32(bytes.fromhex(encoding)))

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with pytest.raises(BadPeerId) as caught:
            PublicKey.parse(text)
        assert caught.value.text == text
        assert isinstance(caught.value, LocalError)


class TestPrivateKeys:
    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_seeds_of_other_lengths_are_refused(self, length: int) -> None:
        with pytest.raises(LocalError, match=f"not {length}"):
            IdentityKey.from_seed(bytes(length))
        with pytest.raises(LocalError, match=f"not {length}"):
            NodeKey.from_secret(bytes(length))

    def test_x25519_of_rfc7748(self) -> None:
        # RFC 7748 section 6.1, Alice's pair.
        secret = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
        public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        assert NodeKey.from_secret(secret).public.hex() == public

    def test_generated_keys_differ_and_come_back(self) -> None:
        first, second = IdentityKey.generate(), IdentityKey.generate()
        assert first.public != second.public
        assert IdentityKey.from_seed(first.seed) == first
        node = NodeKey.generate()
        assert NodeKey.from_secret(node.secret) == node
        assert NodeKey.generate() != node

    def test_secrets_are_not_printed(self) -> None:
        node = NodeKey.from_secret(bytes(range(32)))
        for secret, shown in ((ALICE.seed, repr(ALICE)), (node.secret, repr(node))):
            assert secret.hex() not in shown
            assert repr(secret) not in shown
            assert len(shown) < 40


class TestNodeIds:
    @pytest.mark.parametrize("vector", BEP42["ipv4"])
    def test_bep42_ipv4(self, vector: dict[str, Any]) -> None:
        wanted = int(vector["id_prefix_hex"], 16) >> 24 - vector["bits"]
        assert bep42_prefix(vector["ip"], vector["rand"]) == wanted

    @pytest.mark.parametrize("vector", BEP42["ipv6"])
    def test_bep42_ipv6(self, vector: dict[str, Any]) -> None:
        wanted = int(vector["id_prefix_hex"], 16) >> 24 - vector["bits"]
        assert bep42_prefix(vector["ip"], vector["r"]) == wanted

    def test_masks_are_those_of_bep42(self) -> None:
        assert int(BEP42["masks"]["ipv4"], 16) == BEP42_MASK_V4
        assert int(BEP42["masks"]["ipv6"], 16) == BEP42_MASK_V6

    @pytest.mark.parametrize("ip", ["124.31.75.21", "2001:b829:2123:be84:e16c:d6ae:5290:49f1"])
    def test_an_address_owns_at_most_eight_places(self, ip: str) -> None:
        ids = [node_id(index.to_bytes(32, "big"), ip) for index in range(300)]
        assert len(set(ids)) == 300
        assert len({number >> ID_BITS - BEP42_PREFIX_BITS for number in ids}) == 8

    def test_an_ipv6_64_owns_what_an_address_does(self) -> None:
        ips = [f"2a00:1234:5678:9abc::{host:x}" for host in range(1, 200)]
        assert len({node_id(ip.encode().ljust(32), ip) >> ID_BITS - BEP42_PREFIX_BITS for ip in ips}) == 8

    def test_the_id_follows_from_key_and_address(self) -> None:
        key = bytes(range(32))
        here = node_id(key, "124.31.75.21")
        assert here == node_id(key, "124.31.75.21")
        assert here != node_id(key[::-1], "124.31.75.21")
        assert here >> ID_BITS - BEP42_PREFIX_BITS == bep42_prefix("124.31.75.21", here & 7)
        # Only the 21 bits of the address change when a node moves.
        moved = node_id(key, "21.75.31.124")
        assert moved != here
        assert moved & (1 << 139) - 1 == here & (1 << 139) - 1

    def test_private_addresses_are_free(self) -> None:
        key = bytes(range(32))
        assert node_id(key, "127.0.0.1") == node_id(key, "10.1.2.3") == node_id(key, "::1") == node_id(key, "fd00::1")

    @pytest.mark.parametrize(
        "ip, exempt",
        [
            *(("10.0.0.1", True), ("172.16.0.1", True), ("172.32.0.1", False), ("192.168.9.9", True)),
            *(("169.254.1.1", True), ("127.8.8.8", True), ("8.8.8.8", False), ("100.64.0.1", False)),
            *(("::1", True), ("fe80::1", True), ("fd12::1", True), ("2a00::1", False)),
            # Python calls these private in some releases; whoever has one would get free choice of ids.
            *(("2001:0:53aa::1", False), ("2001:db8::1", False), ("192.0.0.9", False), ("240.0.0.1", False)),
        ],
    )
    def test_which_addresses_are_exempt(self, ip: str, exempt: bool) -> None:
        assert is_exempt(ip) is exempt

    @given(st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
    def test_ids_lie_in_the_space(self, address: int, key: bytes) -> None:
        assert 0 <= node_id(key, str(ipaddress.IPv4Address(address))) < 1 << ID_BITS

    def test_address_prefixes(self) -> None:
        assert address_prefix("1.2.3.4") == address_prefix("1.2.3.200") == bytes((1, 2, 3))
        assert address_prefix("1.2.4.4") != address_prefix("1.2.3.4")
        assert address_prefix("2a00:1:2:3::1") == address_prefix("2a00:1:2:ffff::2") == bytes.fromhex("2a0000010002")


class TestHashPlace:
    def test_parts_do_not_run_together(self) -> None:
        places = [hash_place(b"d", *parts) for parts in [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b"")]]
        assert len(set(places)) == 4

    def test_domains_do_not_mix(self) -> None:
        assert hash_place(b"one", b"x") != hash_place(b"two", b"x")
        assert len(hash_place(b"one", b"x")) == 20
