"""Routers do what their kinds claim, seen by plain sockets; and the rules a box gets are the ones asked for."""

import pytest

from tests.natlab.kinds import KINDS
from tests.natlab.probes import Seen
from tests.natlab.selftest import fault_of, selftest


@pytest.fixture(scope="module")
def faults(machine):
    """What is wrong, by kind."""
    return selftest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_does_what_its_kind_claims(kind, faults):
    assert faults.get(kind, "") == ""


CONE = Seen(True, True, True, "endpoint-independent", "address-and-port-dependent", True, (0, 0), False)


@pytest.mark.parametrize(
    ("kind", "seen", "fault"),
    [
        ("port-restricted", CONE, ""),
        ("double", CONE, ""),
        ("endpoint-independent", CONE, "filtering is address-and-port-dependent, not endpoint-independent; hairpin"),
        ("symmetric", CONE, "mapping is endpoint-independent, not address-and-port-dependent; preserves is True"),
        ("udp-blocked", CONE, "UDP is to be blocked"),
        ("none", CONE, "translated is True, not False; filtering"),
    ],
)
def test_the_probes_notice_a_box_of_another_kind(kind, seen, fault):
    said = fault_of(kind, seen)
    assert said.startswith(fault) and bool(said) is bool(fault)
