"""The DHT's settings: each bad value is refused by name."""

import dataclasses
import math

import pytest

from dht.config import DhtConfig
from dht.errors import BadConfig

NUMBERS = [field.name for field in dataclasses.fields(DhtConfig) if field.type not in (bool, "bool")]


def test_defaults_are_allowed() -> None:
    assert DhtConfig() == DhtConfig(k=20, alpha=10)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DhtConfig().k = 3  # type: ignore[misc]


def test_each_setting_is_named_when_given() -> None:
    with pytest.raises(TypeError):
        DhtConfig(20)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [0, -1, math.nan])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_above_zero(name: str, value: float) -> None:
    with pytest.raises(BadConfig, match=name) as caught:
        DhtConfig(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name


@pytest.mark.parametrize(
    "field, changes",
    [
        ("k", {"k": 21}),
        ("alpha", {"alpha": 65}),
        ("paths", {"paths": 17}),
        ("homes", {"homes": 9}),
        ("write_quorum", {"write_quorum": 1.01}),
        ("min_timeout", {"min_timeout": 4.0}),
        ("min_timeout", {"max_timeout": 0.05}),
        ("max_in_flight", {"max_in_flight": 9}),
        ("max_in_flight", {"max_in_flight": 20, "alpha": 21}),
    ],
)
def test_bounds(field: str, changes: dict[str, float]) -> None:
    with pytest.raises(BadConfig) as caught:
        DhtConfig(**changes)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["k", "alpha", "paths", "homes", "owner_quota", "max_in_flight"])
@pytest.mark.parametrize("value", [2.5, True])
def test_counts_are_whole_numbers(name: str, value: float) -> None:
    with pytest.raises(BadConfig) as caught:
        DhtConfig(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name


@pytest.mark.parametrize("changes", [{"k": 20}, {"alpha": 64}, {"paths": 16}, {"homes": 8}, {"write_quorum": 1.0}])
def test_bounds_themselves_are_allowed(changes: dict[str, float]) -> None:
    assert DhtConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "quorum, replicas, needed",
    [
        (0.75, 20, 15),
        (0.75, 3, 3),
        (0.75, 1, 1),
        (0.75, 0, 0),
        (0.01, 20, 1),
        (1.0, 20, 20),
        (0.55, 20, 11),
        (0.1, 30, 3),
    ],
)
def test_acknowledgements_a_put_needs(quorum: float, replicas: int, needed: int) -> None:
    assert DhtConfig(write_quorum=quorum).acknowledgements(replicas) == needed


@pytest.mark.parametrize("k", range(1, 21))
@pytest.mark.parametrize("quorum", [0.1, 0.5, 0.55, 0.75, 1.0])
def test_read_and_write_quorum_share_a_node(k: int, quorum: float) -> None:
    config = DhtConfig(k=k, write_quorum=quorum)
    assert config.read_quorum + config.acknowledgements(k) == k + 1
