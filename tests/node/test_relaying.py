"""What a relay decides: who may join what, loops, quotas, overload, shares; and that it makes nothing of its own."""

from __future__ import annotations

import pytest

from dht.identity import IdentityKey, PublicKey
from node.protocols.circuit import Granted, Join, Refused, RelayRefusal, Reserve, Role
from node.protocols.relaying import CarriedCircuit, Relaying, RelayLimits, Seat
from node.protocols.relaying_shares import LARGEST_PIECE, Flow, Shares

OWN = IdentityKey.from_seed(bytes([200]) * 32).public
NOW = 1_000.0


def key(number: int) -> PublicKey:
    return IdentityKey.from_seed(number.to_bytes(32, "big")).public


PEERS = [key(n) for n in range(1, 60)]


def relay(**limits: float) -> Relaying:
    return Relaying(OWN, NOW, RelayLimits(**limits))  # type: ignore[arg-type]


def join(
    at: Relaying,
    peer: int,
    circuit: int,
    role: Role = Role.FIRST,
    *,
    now: float = NOW,
    prefix: bytes = b"",
    **more: object,
) -> Seat | Refused:
    asked = Join(circuit.to_bytes(16, "big"), role, **({"hops": 0} | more))  # type: ignore[arg-type]
    return at.join(PEERS[peer], prefix, asked, now, willing=True)


def standing(at: Relaying, circuit: int, now: float = NOW) -> CarriedCircuit:
    first = join(at, 2 * circuit, circuit, now=now)
    second = join(at, 2 * circuit + 1, circuit, Role.SECOND, now=now)
    assert isinstance(first, Seat)
    assert isinstance(second, Seat)
    assert second.partner is first
    return at.tie(second, now)


def reason(verdict: Seat | Granted | Refused) -> RelayRefusal | None:
    return verdict.reason if isinstance(verdict, Refused) else None


def test_two_ends_of_one_circuit_are_tied_and_no_third_gets_in():
    at = relay()
    first = join(at, 0, 7)
    assert reason(join(at, 2, 8)) is None
    # The same end again, be it a replay or a stranger, harms nothing.
    assert reason(join(at, 0, 7)) is RelayRefusal.TAKEN
    assert reason(join(at, 3, 7)) is RelayRefusal.TAKEN
    # Nor is one peer both ends.
    assert reason(join(at, 0, 7, Role.SECOND)) is RelayRefusal.TAKEN
    second = join(at, 1, 7, Role.SECOND)
    assert isinstance(second, Seat)
    assert second.partner is first
    circuit = at.tie(second, NOW)
    for role in Role:
        assert reason(join(at, 4, 7, role)) is RelayRefusal.TAKEN
    at.leave(second)
    assert circuit.ended
    at.leave(first)
    assert at.counters(NOW).circuits == 0
    # Played once more after its end it only waits, and lapses.
    assert isinstance(join(at, 0, 7), Seat)


def test_the_unwilling_relay_refuses_all():
    at = relay()
    asked = Join(bytes(16), Role.FIRST, 0)
    assert reason(at.join(PEERS[0], b"", asked, NOW, willing=False)) is RelayRefusal.NOT_WILLING
    assert reason(at.reserve(PEERS[0], Reserve(1), NOW, willing=False)) is RelayRefusal.NOT_WILLING
    assert at.counters(NOW).refusals == {"not-willing": 2}


@pytest.mark.parametrize(
    "peer, hops, path, visited, refusal",
    [
        (0, 2, (OWN,), (), RelayRefusal.LOOP),
        (0, 2, (PEERS[5], PEERS[5]), (), RelayRefusal.LOOP),
        (0, 2, (PEERS[0],), (), RelayRefusal.LOOP),
        (6, 1, (PEERS[6],), (PEERS[6],), RelayRefusal.LOOP),
        (6, 0, (), (OWN, PEERS[6]), RelayRefusal.LOOP),
        (6, 1, (PEERS[5],), (PEERS[5], PEERS[6]), RelayRefusal.LOOP),
        (0, 1, (PEERS[5], PEERS[6]), (), RelayRefusal.HOP_LIMIT),
        (6, 2, (PEERS[5],), (PEERS[6],), RelayRefusal.HOP_LIMIT),
        (6, 1, (PEERS[7],), (PEERS[5], PEERS[6]), RelayRefusal.HOP_LIMIT),
        (0, 0, (), (PEERS[5],), RelayRefusal.BAD_REQUEST),
        (0, 2, (PEERS[5], PEERS[6]), (), None),
        (6, 1, (PEERS[5],), (PEERS[6],), None),
        (6, 0, (), (PEERS[5], PEERS[6]), None),
    ],
)
def test_loops_and_hops(peer, hops, path, visited, refusal):
    assert reason(join(relay(), peer, 1, hops=hops, path=path, visited=visited)) is refusal


def test_quotas_of_a_peer_of_its_network_and_of_all():
    at = relay(per_peer=3, per_prefix=5, circuits=16, half_joined=9)
    seats = [join(at, 0, n) for n in range(3)]
    assert all(isinstance(seat, Seat) for seat in seats)
    assert reason(join(at, 0, 50)) is RelayRefusal.PEER_QUOTA
    at.leave(seats[0])  # type: ignore[arg-type]
    assert reason(join(at, 0, 50)) is None
    for n in range(5):
        assert reason(join(at, 1 + n, 60 + n, prefix=b"net")) is None
    assert reason(join(at, 10, 70, prefix=b"net")) is RelayRefusal.PEER_QUOTA
    assert reason(join(at, 10, 70, prefix=b"other")) is None
    assert reason(join(at, 11, 71)) is RelayRefusal.FULL


def test_requests_in_masses_are_refused_until_time_has_passed():
    at = relay(joins_a_minute=10)
    outcomes = [reason(join(at, 0, 1)) for _ in range(12)]
    assert outcomes == [None, *[RelayRefusal.TAKEN] * 9, *[RelayRefusal.RATE_LIMITED] * 2]
    assert reason(join(at, 1, 2)) is None
    assert reason(join(at, 0, 1, now=NOW + 6.1)) is RelayRefusal.TAKEN


def test_a_quarter_of_the_places_is_for_those_with_a_reservation():
    at = relay(circuits=8)
    granted = at.reserve(PEERS[50], Reserve(2), NOW, willing=True)
    assert isinstance(granted, Granted)
    assert (granted.circuits, granted.seconds, granted.allowance) == (2, 1800, RelayLimits().allowance)
    for n in range(6):
        assert reason(join(at, n, n)) is None
    assert reason(join(at, 6, 6)) is RelayRefusal.FULL
    assert reason(join(at, 50, 6)) is None
    assert reason(join(at, 50, 7)) is None
    assert reason(join(at, 50, 8)) is RelayRefusal.FULL
    # One that lapsed is worth nothing.
    later = NOW + granted.seconds + 1
    at = relay(circuits=8)
    at.reserve(PEERS[50], Reserve(2), NOW, willing=True)
    for n in range(6):
        assert reason(join(at, n, n, now=later)) is None
    assert reason(join(at, 50, 6, now=later)) is RelayRefusal.FULL
    assert at.counters(later).reservations == 0


def test_reservations_are_bounded_and_forgotten():
    at = relay(reservations=3)
    for n in range(3):
        assert isinstance(at.reserve(PEERS[n], Reserve(1), NOW, willing=True), Granted)
    assert reason(at.reserve(PEERS[3], Reserve(1), NOW, willing=True)) is RelayRefusal.FULL
    assert isinstance(at.reserve(PEERS[0], Reserve(1), NOW, willing=True), Granted)
    for n in range(4, 59):
        at.reserve(PEERS[n], Reserve(1), NOW + 2000 + n * 70, willing=False)
    assert len(at._peers) < 8


def test_the_allowance_runs_out_and_a_renewed_reservation_fills_it():
    at = relay(allowance=100_000)
    circuit = standing(at, 1)
    at.ask(circuit, circuit.flows[0], 60_000, NOW)
    assert at.over(circuit, NOW) is None
    at.reserve(circuit.peers[0], Reserve(1), NOW, willing=True)
    at.ask(circuit, circuit.flows[0], 60_000, NOW)
    assert at.over(circuit, NOW) is None
    at.ask(circuit, circuit.flows[1], 60_000, NOW)
    assert at.over(circuit, NOW) is RelayRefusal.USED_UP


def test_an_idle_circuit_is_over():
    at = relay()
    circuit = standing(at, 1)
    assert at.over(circuit, NOW + 119) is None
    assert at.over(circuit, NOW + 121) is RelayRefusal.IDLE


# When there is less than is wanted


def served(shares: Shares, wants: dict[str, tuple[Flow, int]], start: float, seconds: float) -> dict[str, int]:
    """Let flows ask without end, in pieces of their sizes; returns the bytes of each."""
    got = dict.fromkeys(wants, 0)
    names = {id(flow): name for name, (flow, _) in wants.items()}
    now = start

    def ask(name: str) -> None:
        flow, size = wants[name]
        while shares.ask(flow, size, now):
            got[name] += size

    for name in wants:
        ask(name)
    while (due := shares.next_timer()) is not None and due < start + seconds:
        now = max(now, due)
        if (flow := shares.grant(now)) is not None:
            got[names[id(flow)]] += flow.size
            ask(names[id(flow)])
    return got


def test_what_there_is_is_shared_by_bytes_whatever_the_size_of_pieces():
    shares = Shares(1_000_000, 1e9, NOW)
    flows = {name: shares.flows(1e9, (name, "other"), NOW)[0] for name in ("large", "middle", "small")}
    wants = {"large": (flows["large"], 65_536), "middle": (flows["middle"], 20_000), "small": (flows["small"], 1_500)}
    got = served(shares, wants, NOW, 20)
    assert sum(got.values()) == pytest.approx(20_000_000, rel=0.03)
    for share in got.values():
        assert share == pytest.approx(20_000_000 / 3, rel=0.05)


def test_a_circuit_or_peer_at_its_limit_leaves_the_rest_to_the_others():
    shares = Shares(1_000_000, 1e9, NOW)
    slow, fast = shares.flows(100_000, ("a", "b"), NOW)[0], shares.flows(1e9, ("c", "d"), NOW)[0]
    got = served(shares, {"slow": (slow, 1_500), "fast": (fast, 65_536)}, NOW, 20)
    assert got["slow"] == pytest.approx(2_000_000, rel=0.06)
    assert got["fast"] == pytest.approx(18_000_000, rel=0.06)
    # Two circuits of one peer have no more than one.
    shares = Shares(10_000_000, 1_000_000, NOW)
    greedy = [shares.flows(1e9, ("greedy", n), NOW)[0] for n in range(2)]
    got = served(shares, {str(n): (flow, 65_536) for n, flow in enumerate(greedy)}, NOW, 20)
    assert sum(got.values()) == pytest.approx(20_000_000, rel=0.05)


def test_under_overload_new_circuits_are_refused_and_standing_ones_keep_their_share():
    at = relay(total_rate=1_048_576.0, circuit_rate=1e9, peer_rate=1e9, least_share=131_072.0)
    circuits = [standing(at, n) for n in range(1, 8)]
    got = dict.fromkeys(range(7), 0)
    numbers = {id(circuit.flows[0]): n for n, circuit in enumerate(circuits)}

    def ask(n: int, now: float) -> None:
        while at.ask(circuits[n], circuits[n].flows[0], LARGEST_PIECE, now):
            got[n] += LARGEST_PIECE

    def run(start: float, seconds: float) -> float:
        now = start
        while (due := at.shares.next_timer()) is not None and due < start + seconds:
            now = max(now, due)
            if (flow := at.shares.grant(now)) is not None:
                got[numbers[id(flow)]] += flow.size
                ask(numbers[id(flow)], now)
        return now

    for n in got:
        ask(n, NOW)
    now = run(NOW, 20)
    assert at.load(now) > 200
    before = dict(got)
    # Room for an eighth of 128 KiB/s each, and for no ninth.
    refused = [reason(join(at, 20 + n, 100 + n, now=now)) for n in range(30)]
    assert refused[0] is None
    circuits.append(standing(at, 8, now))
    numbers[id(circuits[7].flows[0])] = 7
    got[7] = 0
    ask(7, now)
    now = run(now, 10)
    verdict = join(at, 55, 999, now=now)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.retry_after) == (RelayRefusal.OVERLOADED, 60)
    during = {n: got[n] - before.get(n, 0) for n in range(7)}
    for count in during.values():
        assert count / 10 >= 0.9 * 131_072
    assert at.counters(now).refusals["overloaded"] == 1


def test_answers_are_no_longer_than_what_was_asked():
    asked = len(Join(bytes(16), Role.FIRST, 0).to_bytes())
    assert len(Refused(RelayRefusal.FULL, 60).to_bytes()) < asked
    # What goes on to the next relay is as long as what came: one key moves from the path to those visited.
    came = Join(bytes(16), Role.FIRST, 2, (PEERS[1], PEERS[2]))
    on = Join(bytes(16), Role.FIRST, 1, (PEERS[2],), (OWN,))
    assert len(on.to_bytes()) == len(came.to_bytes())
