"""Scenarios of deaths, returns and cuts, at small size: they record what they promise, and it comes out right."""

import math

import pytest

from simulations.running import run_seed
from simulations.settings import RunSpec
from tests.simulations.scenarios.small import phases, play, played, samples, unmet, value


def test_churn() -> None:
    result, _ = played("churn")
    assert unmet(result) == []
    assert phases(result, "get") == ["quiet", "churn"]
    assert len(samples(result, "reads right")) == 10
    # Somebody died and was still listed.
    assert 0 < value(result, "dead contacts, mean") < 0.5
    assert max(samples(result, "alive")) > min(samples(result, "alive"))


def test_an_ordinary_hour() -> None:
    result, _ = played("ordinary")
    assert phases(result, "get") == ["quiet", "churn"]
    assert phases(result, "put") == ["quiet", "churn"]
    assert samples(result, "records alive") == [1.0, 1.0]
    assert value(result, "alive in the end") < 40 + 3 + 3
    # Six in ten stand behind routers that let nobody in, or hardly anybody.
    assert 0 < value(result, "servers in the end") < 0.6 * value(result, "alive in the end")


def test_mass_death() -> None:
    result, _ = played("mass-death")
    assert unmet(result) == []
    assert phases(result, "get") == ["before", "at once", "later"]
    assert value(result, "dead contacts at once") == pytest.approx(1 / 3, abs=0.1)
    assert value(result, "copies at once") < value(result, "copies before")
    # Fifteen minutes of silence make a contact questionable (BEP 5).
    assert 1 <= value(result, "tables clean after") <= 19
    assert [mark for _, mark in result.tables["marks"].rows()] == ["14 killed"]


def test_partition() -> None:
    result, _ = played("partition")
    assert unmet(result) == []
    assert phases(result, "get") == ["before", "cut at once", "cut", "cut, old records", "healing", "after"]
    assert 0 <= value(result, "found again after") <= 120
    assert len(samples(result, "found across the cut")) == 6


def test_cold_start_with_saved_state() -> None:
    result, _ = played("cold-start")
    assert unmet(result) == []
    assert value(result, "50% joined after") <= value(result, "90% joined after") <= value(result, "99% joined after")
    assert value(result, "records found after") < 30


def test_cold_start_by_saved_contacts_alone() -> None:
    result = play("cold-start", bootstraps_back=False)
    assert unmet(result) == []
    assert value(result, "joined in the end") == 1


def test_cold_start_of_nothing_but_the_list() -> None:
    result = play("cold-start", keep_state=False)
    assert unmet(result) == []
    assert value(result, "joined in the end") == 1
    # Whatever had been stored is lost with the disks.
    assert math.isnan(value(result, "records found after"))


def test_cold_start_without_contacts_and_list_stays_dark() -> None:
    result = play("cold-start", keep_state=False, bootstraps_back=False)
    assert value(result, "joined in the end") == 0
    assert phases(result, "put") == ["before"]


def test_bootstrap_outage() -> None:
    result, _ = played("bootstrap-outage")
    # Of five newcomers the p95 is the slowest, and may be the one that drew three dead servers of three.
    assert [one for one in unmet(result) if not one.startswith("newcomers p95, list 50% dead")] == []
    assert value(result, "newcomers in, list alive") == 1
    assert value(result, "newcomers p50, list alive") <= value(result, "newcomers p95, list alive") < 3
    # With nobody of the list alive the old come back, and the new do not get in.
    assert value(result, "rejoined, list all dead") == 1
    assert value(result, "newcomers in, list all dead") == 0
    assert math.isnan(value(result, "newcomers p50, list all dead"))


def test_diurnal() -> None:
    result, _ = played("diurnal")
    assert unmet(result) == []
    assert phases(result, "get") == ["day 1"]
    assert len(samples(result, "reads right")) == 2
    regions = {label for _, metric, label, _ in result.tables["series"].rows() if metric == "alive by region"}
    assert regions == {"Americas", "Europe and Africa", "Asia and Oceania"}
    assert value(result, "alive, least") <= value(result, "alive, most") <= 23


def test_record_survival() -> None:
    result, _ = played("record-survival")
    assert unmet(result) == []
    assert samples(result, "records alive") == [1.0, 1.0]
    assert value(result, "upkeep a holder, record and day") > 0
    assert value(result, "repairs a record and day") > 0
    assert value(result, "comparisons a record and day") > 0


def test_no_record_outlives_what_nodes_store() -> None:
    spec = RunSpec.model_validate({"scenario": "record-survival", "parameters": {"hours": 192}})
    assert "hours = 192" in run_seed(spec, 1).error


def test_records_that_are_followed() -> None:
    result, _ = played("watch")
    assert unmet(result) == []
    assert value(result, "subscriptions") == 3 * 4
    assert value(result, "told by a notice") > 0.9
    assert 0 < value(result, "bytes a watcher and hour") < 1_000_000


def test_signals_arrive_while_one_of_three_home_nodes_lives() -> None:
    result, _ = played("homes")
    assert unmet(result) == []
    columns = result.tables["operations"].columns
    arrived = [
        ok
        for ok, kind, phase in zip(columns["ok"], columns["kind"], columns["phase"], strict=True)
        if kind == "delivered" and phase == "2 of 3 dead"
    ]
    assert len(arrived) > 20 and all(arrived)
    assert 0 < value(result, "bytes a peer and hour") < 2_000_000


@pytest.mark.slow
def test_who_has_both_families_is_told_and_called_when_one_of_them_dies() -> None:
    result, _ = played("families-reached")
    assert unmet(result) == []
    assert phases(result, "called by v6") == ["both", "one cut off"]


def test_home_nodes_that_are_not_asked_are_missed_later() -> None:
    result = play("homes", check=300)
    assert [one for one in unmet(result) if "replaced" in one]
    assert not [one for one in unmet(result) if "delivered" in one]
