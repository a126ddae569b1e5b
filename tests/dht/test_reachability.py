"""Votes on our address, and whether we serve: pure decisions over samples."""

import pytest

from dht.config import DhtConfig
from dht.contact import Address
from dht.events import Mode
from dht.nat_report import Allocation, Mapping, NatReport
from dht.reachability import LOST_ROUNDS, VOTE_LIFETIME, VOTES_KEPT, Reachability

US = ("20.9.9.9", 4000)
OTHER = ("20.8.8.8", 4000)


def voter(network: int, host: int = 1) -> Address:
    return (f"30.0.{network}.{host}", 1000)


def votes(*observed: Address, now: float = 10.0) -> Reachability:
    """One vote from each of as many networks."""
    outlook = Reachability(DhtConfig(address_votes=3))
    for network, address in enumerate(observed):
        outlook.vote(voter(network), address, now)
    return outlook


class TestAddress:
    def test_nobody_is_elected_without_votes(self) -> None:
        assert votes().public_address(10.0) is None

    def test_two_votes_are_too_few(self) -> None:
        assert votes(US, US).public_address(10.0) is None

    def test_our_own_public_address_stands_until_a_vote_is_against_it(self) -> None:
        for seen in ((), (US,), (US, US)):
            outlook = votes(*seen)
            outlook.own = (US,)
            assert outlook.public_address(10.0) == US
            outlook.vote(voter(9), OTHER, 10.0)
            assert outlook.public_address(10.0) is None

    def test_three_votes_elect(self) -> None:
        assert votes(US, US, US).public_address(10.0) == US

    def test_a_network_votes_once(self) -> None:
        outlook = votes(US, US)
        outlook.vote(voter(1, host=2), US, 10.0)
        outlook.vote(voter(1, host=3), US, 10.0)
        assert outlook.public_address(10.0) is None

    def test_ipv6_networks_are_counted_by_their_48(self) -> None:
        outlook = Reachability(DhtConfig(address_votes=3))
        for host in range(5):
            outlook.vote((f"2a00:1:2:{host}::1", 1000), US, 10.0)
        assert outlook.public_address(10.0) is None
        for network in range(2):
            outlook.vote((f"2a00:1:{network + 3}::1", 1000), US, 10.0)
        assert outlook.public_address(10.0) == US

    def test_last_word_of_a_network_holds(self) -> None:
        outlook = votes(US, US, US)
        for network in range(3):
            outlook.vote(voter(network), OTHER, 11.0)
        assert outlook.public_address(11.0) == OTHER

    def test_near_tie_elects_nobody(self) -> None:
        assert votes(US, US, US, OTHER, OTHER).public_address(10.0) is None

    @pytest.mark.parametrize("ours, others, elected", [(4, 2, True), (3, 2, False), (6, 3, True), (5, 3, False)])
    def test_two_thirds_elect(self, ours: int, others: int, elected: bool) -> None:
        outlook = votes(*[US] * ours, *[OTHER] * others)
        assert (outlook.public_address(10.0) == US) is elected

    def test_liars_of_one_network_elect_nothing(self) -> None:
        outlook = votes(US, US, US, US)
        for host in range(2, 100):
            outlook.vote(voter(0, host), OTHER, 11.0)
        assert outlook.public_address(11.0) == US

    def test_port_belongs_to_the_address(self) -> None:
        assert votes(US, (US[0], 4001), (US[0], 4002)).public_address(10.0) is None

    def test_votes_run_out(self) -> None:
        outlook = votes(US, US, US, now=10.0)
        assert outlook.public_address(10.0 + VOTE_LIFETIME - 1) == US
        assert outlook.public_address(10.0 + VOTE_LIFETIME) is None

    def test_oldest_voter_is_forgotten_first(self) -> None:
        outlook = votes(*[OTHER] * VOTES_KEPT)
        for network in range(VOTES_KEPT, 2 * VOTES_KEPT):
            outlook.vote((f"40.0.{network}.1", 1000), US, 11.0)
        assert len(outlook._votes) == VOTES_KEPT
        assert outlook.public_address(11.0) == US

    def test_public_voter_cannot_see_a_private_address(self) -> None:
        assert votes(*[("192.168.1.1", 4000)] * 5).public_address(10.0) is None

    def test_neighbours_in_a_private_network_are_one_voter_each(self) -> None:
        outlook = Reachability(DhtConfig(address_votes=3))
        for port in range(3):
            outlook.vote(("127.0.0.1", 1000 + port), ("127.0.0.1", 4000), 10.0)
        assert outlook.public_address(10.0) == ("127.0.0.1", 4000)


class TestNatReport:
    def test_unknown_before_there_are_enough_votes(self) -> None:
        assert votes(US, US).nat_report(10.0) == NatReport()

    def test_all_see_one_endpoint(self) -> None:
        reachability = votes(US, US, US)
        assert reachability.nat_report(10.0).mapping is Mapping.ENDPOINT_INDEPENDENT
        assert reachability.nat_report(10.0).allocation is Allocation.RANDOM
        reachability.own = (("192.168.1.2", US[1]),)
        assert reachability.nat_report(10.0).allocation is Allocation.PRESERVING
        reachability.own = (US,)
        assert reachability.nat_report(10.0).mapping is Mapping.NONE

    def test_one_host_with_many_ports(self) -> None:
        report = votes(US, (US[0], 4001), (US[0], 61000)).nat_report(10.0)
        assert (report.mapping, report.allocation) == (Mapping.ADDRESS_AND_PORT_DEPENDENT, Allocation.RANDOM)
        report = votes((US[0], 4001), (US[0], 4003), (US[0], 4005)).nat_report(10.0)
        assert (report.allocation, report.delta) == (Allocation.SEQUENTIAL, 2)

    def test_unknown_again_when_the_votes_ran_out_or_the_network_is_another(self) -> None:
        assert votes(US, US, US).nat_report(10.0 + VOTE_LIFETIME) == NatReport()
        reachability = votes(US, US, US)
        reachability.forget()
        assert reachability.nat_report(10.0) == NatReport()
        assert reachability.votes(10.0) == ()

    def test_each_family_has_its_own_election(self) -> None:
        reachability = votes(US, US, US)
        ours = ("2a00:1::1", 4000)
        for number in range(3):
            reachability.vote((f"2a00:{number + 2}::1", 1), ours, 10.0)
        assert reachability.public_addresses(10.0) == (US, ours)
        assert reachability.public_address(10.0) == US
        assert len(reachability.votes(10.0)) == 6


class TestMode:
    def test_client_until_somebody_got_through(self) -> None:
        outlook = votes()
        assert outlook.mode is Mode.CLIENT
        assert "no peer has reached this port" in outlook.reason

    def test_server_once_somebody_got_through(self) -> None:
        outlook = votes()
        assert outlook.on_dial_back_round(1, 5) is True
        assert (outlook.mode, outlook.reason) == (Mode.SERVER, "1 of 5 peers reached this port from outside")
        assert outlook.on_dial_back_round(5, 5) is False

    def test_client_stays_client_when_nobody_gets_through(self) -> None:
        outlook = votes()
        assert outlook.on_dial_back_round(0, 5) is False
        assert (outlook.mode, outlook.reason) == (
            Mode.CLIENT,
            "none of 5 peers asked could reach this port from outside",
        )

    def test_server_withdraws_after_three_lost_rounds_only(self) -> None:
        outlook = votes()
        outlook.on_dial_back_round(1, 5)
        assert [outlook.on_dial_back_round(0, 5) for _ in range(LOST_ROUNDS)] == [False, False, True]
        assert outlook.mode is Mode.CLIENT
        assert "in 3 rounds" in outlook.reason

    def test_one_good_round_in_between_starts_the_count_anew(self) -> None:
        outlook = votes()
        outlook.on_dial_back_round(1, 5)
        for reached in (0, 0, 1, 0, 0):
            outlook.on_dial_back_round(reached, 5)
        assert outlook.mode is Mode.SERVER

    def test_round_that_asked_nobody_says_nothing(self) -> None:
        outlook = votes()
        outlook.on_dial_back_round(1, 5)
        for _ in range(5):
            assert outlook.on_dial_back_round(0, 0) is False
        assert outlook.mode is Mode.SERVER

    @pytest.mark.parametrize("mode", list(Mode))
    def test_forced_mode_heeds_no_evidence(self, mode: Mode) -> None:
        outlook = votes()
        assert outlook.force(mode) is (mode is Mode.SERVER)
        for reached in (5, 0, 0, 0, 0):
            assert outlook.on_dial_back_round(reached, 5) is False
        assert outlook.mode is mode
        assert outlook.reason.startswith("set by configuration")

    def test_a_server_by_configuration_says_whether_it_was_reached(self) -> None:
        outlook = votes()
        outlook.force(Mode.SERVER)
        assert outlook.reason == "set by configuration"
        outlook.on_dial_back_round(2, 5)
        assert outlook.reason == "set by configuration; 2 of 5 peers asked reached this port from outside"
        outlook.on_dial_back_round(0, 5)
        assert outlook.reason == "set by configuration; none of 5 peers asked reached this port from outside"

    def test_set_free_it_heeds_evidence_again(self) -> None:
        outlook = votes()
        outlook.force(Mode.CLIENT)
        assert outlook.force(None) is False
        assert outlook.on_dial_back_round(1, 5) is True
        assert outlook.mode is Mode.SERVER

    def test_rounds_lost_before_it_was_forced_do_not_count_after(self) -> None:
        outlook = votes()
        for _ in range(5):
            outlook.on_dial_back_round(0, 5)
        outlook.force(Mode.SERVER)
        outlook.force(None)
        assert [outlook.on_dial_back_round(0, 5) for _ in range(LOST_ROUNDS)] == [False, False, True]

    def test_set_free_it_no_longer_says_it_is_set(self) -> None:
        outlook = votes()
        outlook.force(Mode.SERVER)
        outlook.force(None)
        assert outlook.reason == "set by configuration until now; not tried from outside yet"

    def test_setting_free_what_was_never_set_changes_nothing(self) -> None:
        outlook = votes()
        outlook.on_dial_back_round(1, 5)
        assert outlook.force(None) is False
        assert (outlook.mode, outlook.reason) == (Mode.SERVER, "1 of 5 peers reached this port from outside")

    def test_a_server_by_presumption_needs_one_bad_round_only(self) -> None:
        outlook = Reachability(DhtConfig())
        assert outlook.presume()
        assert outlook.mode.value == "server"
        assert not outlook.presume()
        assert outlook.on_dial_back_round(0, 5)
        assert outlook.mode is Mode.CLIENT

    def test_a_server_by_presumption_that_is_reached_is_as_any_other(self) -> None:
        outlook = Reachability(DhtConfig())
        outlook.presume()
        outlook.on_dial_back_round(2, 5)
        assert not outlook.on_dial_back_round(0, 5)
        assert outlook.mode is Mode.SERVER

    def test_a_fixed_role_is_not_presumed_away(self) -> None:
        outlook = Reachability(DhtConfig())
        outlook.force(Mode.CLIENT)
        assert not outlook.presume()
        assert outlook.mode is Mode.CLIENT
