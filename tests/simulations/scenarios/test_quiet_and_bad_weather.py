"""Scenarios of good and bad weather, at small size, and what the model engine says to the same questions."""

from tests.simulations.scenarios.small import phases, play, played, samples, unmet, value


def test_lookup_scaling() -> None:
    result, _ = played("lookup-scaling")
    assert unmet(result) == []
    assert value(result, "nodes") == 53
    assert 0.7 < value(result, "recall") <= 1
    assert phases(result, "find_node") == [""]


def test_more_nodes_are_more_hops_by_the_model() -> None:
    def hops(nodes: int) -> float:
        columns = play("lookup-scaling", engine="model", nodes=nodes, lookups=500).tables["operations"].columns
        found = [hop for hop, kind in zip(columns["hops"], columns["kind"], strict=True) if kind == "find_node"]
        return float(sum(found) / len(found))

    small, large = hops(1_000), hops(100_000)
    # Two decades, of half a hop each (Cai and Devroye).
    assert 0.8 < large - small < 1.4


def test_the_model_of_churn_has_dead_contacts() -> None:
    result = play("churn", engine="model", nodes=2_000, reads_a_minute=30)
    assert unmet(result) == []
    assert 0 < value(result, "dead contacts, mean") < 0.5
    assert any(result.tables["operations"].columns["failures"])


def test_the_model_of_survival() -> None:
    often, rarely = (
        play("record-survival", engine="model", records=1_000, hours=72, repair_hours=hours) for hours in (1.0, 4.0)
    )
    assert unmet(often) == []
    assert samples(often, "copies a record")[0] == 20
    assert 15 < value(often, "repairs a record and day") <= 24
    # Rarer repair costs less, and leaves fewer copies.
    assert value(rarely, "repairs a record and day") < value(often, "repairs a record and day") / 3
    assert value(rarely, "copies of a record, mean") < value(often, "copies of a record, mean")


def test_weather() -> None:
    result, _ = played("weather")
    assert unmet(result) == []
    names = ["calm", "loss", "duplication", "jitter", "frozen", "clock skew"]
    assert phases(result, "get") == names
    # Who waits for late answers asks others meanwhile.
    assert value(result, "bytes an operation, jitter") > value(result, "bytes an operation, calm")
    assert value(result, "get.p95 against calm, calm") == 1
    assert value(result, "get.p95 against calm, jitter") > 1
    assert result.facts["dropped"]["loss"] > 0
