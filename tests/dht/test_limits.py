"""Write tokens and rate limits, by literal times."""

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.constants import TOKEN_BYTES
from dht.contact import Address
from dht.identity import is_exempt
from dht.limits import RateLimiter, SourceLimits, Tokens, prefix_of, source_of

KEY = b"\x01" * 32
OTHER_KEY = b"\x02" * 32
HOME = ("20.0.0.1", 1000)
ROTATION = 300.0


def tokens(now: float = 1000.0) -> Tokens:
    return Tokens(random.Random(1), ROTATION, now)


class TestTokens:
    def test_token_proves_who_got_it_where(self) -> None:
        box = tokens()
        token = box.make(KEY, HOME, 1000.0)
        assert len(token) == TOKEN_BYTES
        assert box.judge(token, KEY, HOME, 1000.0) == (token, True)

    @pytest.mark.parametrize(
        "key, address",
        [
            (OTHER_KEY, HOME),
            (KEY, ("20.0.0.2", 1000)),
            (KEY, ("20.0.0.1", 1001)),
            (KEY, ("2a00::1", 1000)),
        ],
        ids=["other key", "other host", "other port", "other family"],
    )
    def test_token_of_somebody_else_proves_nothing(self, key: bytes, address: Address) -> None:
        box = tokens()
        token = box.make(KEY, HOME, 1000.0)
        assert box.judge(token, key, address, 1000.0)[1] is False

    def test_token_of_another_node_proves_nothing(self) -> None:
        token = Tokens(random.Random(2), ROTATION, 1000.0).make(KEY, HOME, 1000.0)
        assert tokens().judge(token, KEY, HOME, 1000.0)[1] is False

    @given(st.binary(max_size=40))
    def test_garbage_proves_nothing(self, garbage: bytes) -> None:
        box = tokens()
        assert box.judge(garbage, KEY, HOME, 1000.0) == (box.make(KEY, HOME, 1000.0), False)

    @pytest.mark.parametrize("made, lives", [(1000.0, 600.0), (1150.0, 450.0), (1299.9, 300.1), (1300.0, 600.0)])
    def test_token_lives_to_the_end_of_the_next_rotation(self, made: float, lives: float) -> None:
        box = tokens()
        token = box.make(KEY, HOME, made)
        assert box.judge(token, KEY, HOME, made + lives - 0.05)[1] is True
        assert box.judge(token, KEY, HOME, made + lives)[1] is False

    @pytest.mark.parametrize("asked", [1300.0, 1450.0, 1599.9])
    def test_rare_questions_do_not_lengthen_its_life(self, asked: float) -> None:
        # The secret turns when somebody asks; how late that is must not add to the ten minutes.
        box = tokens()
        token = box.make(KEY, HOME, 1000.0)
        assert box.judge(token, KEY, HOME, asked)[1] is True
        assert box.judge(token, KEY, HOME, 1600.0)[1] is False

    def test_token_is_old_after_a_long_silence(self) -> None:
        box = tokens()
        token = box.make(KEY, HOME, 1299.0)
        assert box.judge(token, KEY, HOME, 5000.0)[1] is False

    def test_token_made_after_a_long_silence_lives_as_long_as_any(self) -> None:
        box = tokens()
        token = box.make(KEY, HOME, 5000.0)
        assert box.judge(token, KEY, HOME, 5300.0)[1] is True
        assert box.judge(token, KEY, HOME, 5600.0)[1] is False

    def test_judging_hands_out_the_newer_token(self) -> None:
        box = tokens()
        old = box.make(KEY, HOME, 1000.0)
        new, proven = box.judge(old, KEY, HOME, 1300.0)
        assert proven
        assert new != old
        assert box.judge(new, KEY, HOME, 1800.0)[1] is True

    @given(st.lists(st.floats(0.0, 400.0), min_size=1, max_size=30), st.integers(0, 29))
    def test_token_never_lives_under_one_rotation_nor_over_two(self, pauses: list[float], chosen: int) -> None:
        box = tokens(0.0)
        now, made, token = 0.0, 0.0, b""
        for index, pause in enumerate(pauses):
            now += pause
            current, proven = box.judge(token, KEY, HOME, now)
            if token and now - made < ROTATION - 1e-6:
                assert proven
            if now - made > 2 * ROTATION + 1e-6:
                assert not proven
            if index == chosen % len(pauses):
                made, token = now, current


class TestRateLimiter:
    def test_burst_then_nothing(self) -> None:
        limit = RateLimiter(rate=2.0, burst=3.0)
        assert [limit.allow("a", 10.0) for _ in range(4)] == [True, True, True, False]

    def test_bucket_refills_at_the_rate(self) -> None:
        limit = RateLimiter(rate=2.0, burst=3.0)
        for _ in range(4):
            limit.allow("a", 10.0)
        assert limit.allow("a", 10.4) is False
        assert limit.allow("a", 10.5) is True
        assert limit.allow("a", 10.5) is False

    def test_asking_in_vain_costs_nothing(self) -> None:
        limit = RateLimiter(rate=1.0, burst=1.0)
        limit.allow("a", 10.0)
        assert [limit.allow("a", 10.0 + i / 10) for i in range(1, 10)] == [False] * 9
        assert limit.allow("a", 11.0) is True

    def test_long_silence_saves_no_more_than_the_burst(self) -> None:
        limit = RateLimiter(rate=2.0, burst=3.0)
        limit.allow("a", 10.0)
        assert [limit.allow("a", 10_000.0) for _ in range(4)] == [True, True, True, False]

    def test_sources_do_not_share(self) -> None:
        limit = RateLimiter(rate=1.0, burst=1.0)
        assert [limit.allow(source, 10.0) for source in "abab"] == [True, True, False, False]

    def test_remembers_no_more_than_its_capacity(self) -> None:
        limit = RateLimiter(rate=1.0, burst=1.0, capacity=8)
        for source in range(1000):
            limit.allow(source, 10.0)
        assert len(limit) == 8

    def test_longest_silent_source_is_forgotten_first(self) -> None:
        limit = RateLimiter(rate=0.001, burst=1.0, capacity=2)
        limit.allow("a", 10.0)
        limit.allow("b", 11.0)
        limit.allow("a", 12.0)
        limit.allow("c", 13.0)
        assert limit.allow("a", 14.0) is False
        assert limit.allow("b", 14.0) is True

    @given(st.lists(st.floats(0.0, 2.0), max_size=60))
    def test_never_more_than_burst_and_rate_allow(self, pauses: list[float]) -> None:
        limit = RateLimiter(rate=3.0, burst=5.0)
        now, allowed = 10.0, 0
        for pause in pauses:
            now += pause
            allowed += limit.allow("a", now)
            assert allowed <= 5.0 + 3.0 * (now - 10.0) + 1e-6

    @given(st.lists(st.floats(0.0, 2.0), max_size=60))
    def test_whoever_stays_under_the_rate_is_never_refused(self, pauses: list[float]) -> None:
        limit = RateLimiter(rate=3.0, burst=5.0)
        now = 10.0
        for pause in pauses:
            now += 1 / 3 + 1e-6 + pause
            assert limit.allow("a", now)


class TestSources:
    def test_public_host_is_one_source_whatever_its_ports(self) -> None:
        assert source_of(("20.0.0.1", 1000)) == source_of(("20.0.0.1", 2000))
        assert source_of(("20.0.0.1", 1000)) != source_of(("20.0.0.2", 1000))

    def test_ipv6_line_is_one_source_whatever_its_hosts(self) -> None:
        # A line has 2^64 addresses: counted one by one, it would have as many full buckets.
        assert source_of(("2a00:1:2:3::1", 1000)) == source_of(("2a00:1:2:3:4:5:6:7", 2000))
        assert source_of(("2a00:1:2:3::1", 1000)) != source_of(("2a00:1:2:4::1", 1000))

    @pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1"])
    def test_private_endpoints_are_sources_of_their_own(self, ip: str) -> None:
        assert source_of((ip, 1000)) != source_of((ip, 2000))

    @given(st.lists(st.sampled_from([0, 0, 0, 1, 0x2A00, 0xFE80, 0xFFFF]), min_size=8, max_size=8))
    def test_a_line_told_by_its_text_is_the_one_told_by_its_bytes(self, groups: list[int]) -> None:
        ip = str(ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups)))
        packed = ipaddress.ip_address(ip).packed
        expected = ((ip, 1000), b"") if is_exempt(ip) else (packed[:8], packed[:6])
        assert (source_of((ip, 1000)), prefix_of((ip, 1000))) == expected

    def test_many_addresses_of_one_line_are_parsed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parsed: list[str] = []
        real = ipaddress.ip_address

        def counted(ip: str) -> object:
            parsed.append(ip)
            return real(ip)

        monkeypatch.setattr(ipaddress, "ip_address", counted)
        limits = SourceLimits(5, 10, 20)
        allowed = [limits.allow((f"2a00:7:7:7::{number:x}", 1000), 1000.0) for number in range(1, 2000)]
        assert sum(allowed) == 10
        assert set(parsed) <= {"2a00:7:7:7::"}
        assert len(parsed) <= 2


class TestEverybody:
    def test_who_comes_when_all_have_nothing_left_costs_no_parsing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limits = SourceLimits(5, 10, 20, 30)
        for network in range(15):
            limits.allow((f"20.9.{network}.1", 1000), 1000.0)
            limits.allow((f"20.9.{network}.2", 1000), 1000.0)
            limits.allow((f"20.9.{network}.3", 1000), 1000.0)
            limits.allow((f"20.9.{network}.4", 1000), 1000.0)

        def never(ip: str) -> None:
            raise AssertionError(f"parsed {ip}")

        monkeypatch.setattr(ipaddress, "ip_address", never)
        assert not limits.allow(("20.8.0.1", 1000), 1000.0)
        assert not limits.allow(("2a00:8::1", 1000), 1000.0)
        monkeypatch.undo()
        assert limits.allow(("20.8.0.2", 1000), 1000.0, apart=True)
        assert limits.allow(("20.8.0.3", 1000), 1001.0)

    def test_quotas_count_the_24_and_the_48(self) -> None:
        assert prefix_of(("20.0.1.1", 1000)) == b"\x14\x00\x01"
        assert prefix_of(("2a00:1:2:3::1", 1000)) == b"\x2a\x00\x00\x01\x00\x02"

    def test_quotas_do_not_count_private_addresses(self) -> None:
        assert prefix_of(("192.168.1.1", 1000)) == b""
