"""The simulation of docs/scale.md agrees with what queueing theory knows exactly."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest

pytest.importorskip("simpy", reason="needs the dev extra")
from benchmarks.scale_out import check, plan
from benchmarks.scale_out.simulation import CallCost, Zones, closed_loop, open_loop

ONE = Zones(1, 1, math.inf, 0)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_server_with_random_services_waits_as_in_the_formula_of_m_m_1(load) -> None:
    generator = random.Random(1)
    services = [generator.expovariate(1) for _ in range(20_000)]
    outcome = open_loop(ONE, load, services, 40_000, seed=2)
    assert statistics.fmean(outcome.seconds) == pytest.approx(1 / (1 - load), rel=0.1)
    assert outcome.percentile(0.99) == pytest.approx(math.log(100) / (1 - load), rel=0.15)


def test_one_server_with_equal_services_waits_half_as_long() -> None:
    outcome = open_loop(ONE, 0.7, [1.0], 40_000, seed=3)
    assert statistics.fmean(outcome.seconds) == pytest.approx(1 + 0.7 / (2 * 0.3), rel=0.07)


@pytest.mark.parametrize(
    ("n_servers", "n_cores", "in_flight", "rate"),
    [
        (1, 2, 1, 1 / 0.012),  # one call at a time
        (1, 2, 4, 1 / 0.010),  # the server
        (2, 4, 8, 2 / 0.010),  # both servers
        (3, 2, 9, 2 / 0.012),  # the processors
        (8, 9, 64, 1 / 0.002),  # the client
    ],
)
def test_a_closed_loop_is_limited_by_the_scarcest_part(n_servers, n_cores, in_flight, rate) -> None:
    outcome = closed_loop(n_servers, in_flight, CallCost([0.010], 0.002), n_cores, seconds=8, seed=4)
    assert outcome.rate == pytest.approx(rate, rel=0.05)
    assert statistics.fmean(outcome.seconds) == pytest.approx(in_flight / outcome.rate, rel=0.05)  # Little's law


def test_a_delay_keeps_neither_the_server_nor_a_processor_busy() -> None:
    cost = CallCost([0.010], 0.0, delay=0.010)
    assert closed_loop(1, 1, cost, 1, seconds=8, seed=6).rate == pytest.approx(50, rel=0.05)
    assert closed_loop(1, 4, cost, 1, seconds=8, seed=6).rate == pytest.approx(100, rel=0.05)


def test_calls_to_a_lost_zone_wait_until_the_loss_is_noticed_and_none_is_lost() -> None:
    lost = open_loop(Zones(10, 3, lost_at=5, notice=1), 1200, [0.01], 15, seed=5)
    whole = open_loop(Zones(10, 3, lost_at=math.inf, notice=1), 1200, [0.01], 15, seed=5)
    assert len(lost.seconds) == pytest.approx(len(whole.seconds), rel=0.01)
    assert 0.9 < max(lost.seconds) < 2
    assert max(whole.seconds) < 0.5
    late = [seconds for seconds, end in zip(lost.seconds, lost.ends, strict=True) if end > 10]
    assert statistics.fmean(late) > statistics.fmean(whole.seconds) * 1.1, "twenty servers do the work of thirty"


def test_the_recorded_comparison_with_real_servers_meets_its_target() -> None:
    rows = json.loads((Path(plan.__file__).parent / "check.json").read_text("utf-8"))["rows"]
    assert [(row["servers"], row["in_flight"]) for row in rows] == list(check.CASES)
    assert {row["servers"] for row in rows} == {1, 2, 3}
    for row in rows:
        assert row["predicted_rate"] == pytest.approx(row["rate"], rel=check.TARGET)


def test_the_plan_grows_with_the_demand() -> None:
    small, large = (plan.shards(plan.Demand(rate=rate), plan.Costs()) for rate in (1e6, 2e6))
    assert large["cores"] == pytest.approx(2 * small["cores"])
    more_users = plan.shards(plan.Demand(users=4e9), plan.Costs())
    assert more_users["shards"] > small["shards"]
    for found in (small, large, more_users):
        assert found["machines"] * plan.Costs().cores >= found["cores"]
        assert 2 * found["version_gb"] <= plan.Costs().memory_gb
