"""Test where graphs run, with times that are given, and that every run goes to its place."""

from __future__ import annotations

import pytest

from cofactor_server.inference.device.failure import DeviceFailure
from cofactor_server.inference.device.placement import (
    FAR_AHEAD,
    LONG_RUN_S,
    MARGIN,
    PlacedSession,
    Trial,
    decide,
    measure,
    on_cpu,
    shortest_run_s,
)


def trials(*times):
    return [Trial(size, cpu_s, device_s) for size, cpu_s, device_s in times]


def test_every_size_runs_where_it_was_faster():
    placement = decide("recommend", trials((1, 0.1, 0.4), (8, 0.8, 0.5), (32, 3.0, 0.6)))
    assert placement.on_device == (False, True, True)
    assert [placement.takes(size) for size in (1, 7, 8, 9, 31, 32, 33, 500)] == [False] * 2 + [True] * 6
    assert placement.uses_device
    assert placement.reason == "each size runs where it was faster"


def test_a_size_below_every_trial_runs_on_the_cpu():
    assert not decide("predict", trials((8, 2.0, 1.0))).takes(1)


@pytest.mark.parametrize(("share", "is_on_device"), [(MARGIN * 0.99, True), (MARGIN * 1.01, False), (1.0, False)])
def test_the_device_must_be_faster_by_a_margin(share, is_on_device):
    assert decide("predict", trials((1, 1.0, share))).takes(1) is is_on_device


def test_on_a_small_catalogue_the_cpu_stays():
    """The times of 1,653 items on one H200."""
    placement = decide("recommend", trials((1, 0.03e-3, 0.37e-3)))
    assert not placement.uses_device
    assert placement.reason == "the CPU was faster at every size"


def test_a_pinned_graph_runs_on_the_device_whatever_the_times_say():
    placement = decide("predict", trials((1, 0.1, 10.0), (8, 0.1, 10.0)), is_pinned=True)
    assert placement.takes(1)
    assert placement.takes(100)
    assert "--gpu-graphs" in placement.reason


def test_a_size_that_failed_on_the_device_runs_on_the_cpu_also_if_the_graph_is_pinned():
    for is_pinned in (False, True):
        placement = decide("recommend", trials((1, 1.0, 0.1), (8, None, None)), is_pinned=is_pinned)
        assert placement.takes(7)
        assert not placement.takes(8)


def test_a_graph_without_trials_runs_on_the_cpu():
    assert not on_cpu("predict", "it does not load").takes(1)


def timed(times, asked):
    def seconds(size):
        asked.append(size)
        return times[size]

    return seconds


def test_a_size_that_takes_long_on_the_cpu_is_not_tried_again_once_the_device_is_far_ahead():
    asked = []
    on_the_cpu = timed({1: LONG_RUN_S / 2, 8: 2 * LONG_RUN_S}, asked)
    found = measure([1, 8, 32, 128], on_the_cpu, lambda size: 0.01)
    assert asked == [1, 8]
    assert [trial.cpu_s for trial in found] == [LONG_RUN_S / 2, 2 * LONG_RUN_S, None, None]
    assert decide("recommend", found).on_device == (True,) * 4


def test_every_size_is_tried_while_the_outcome_is_open():
    asked = []
    times = {1: LONG_RUN_S * 2, 8: LONG_RUN_S * 4, 32: LONG_RUN_S * 8}
    measure(list(times), timed(times, asked), lambda size: times[size] / (FAR_AHEAD - 1))
    assert asked == [1, 8, 32]


def test_the_first_run_does_not_count_and_a_long_one_is_not_repeated(monkeypatch):
    def time_of(seconds):
        """Return what is measured for runs of these times, and how many of them ran."""
        now, ran = [0.0], iter(seconds)

        def run():
            now[0] += next(ran)

        monkeypatch.setattr("cofactor_server.inference.device.placement.time.perf_counter", lambda: now[0])
        return shortest_run_s(run), len(seconds) - len(list(ran))

    assert time_of([9.0, 0.03, 0.02, 0.04, 0.05, 0.06, 0.01]) == (pytest.approx(0.02), 6)
    assert time_of([9.0, LONG_RUN_S + 1, 0.01]) == (LONG_RUN_S + 1, 2)
    assert time_of([0.1, LONG_RUN_S / 2, LONG_RUN_S, 0.01]) == (LONG_RUN_S / 2, 3)


def test_runs_go_to_their_place_and_options_only_to_the_cpu():
    runs = []

    def session(place):
        def run(outputs, inputs, *options):
            runs.append((place, len(inputs["x"]), options))
            return [place]

        return run

    placement = decide("recommend", trials((1, 1.0, 2.0), (8, 2.0, 1.0)))
    size_of, is_accepted = lambda inputs: len(inputs["x"]), lambda inputs: "long" not in inputs
    placed = PlacedSession(session("cpu"), session("device"), placement, size_of, is_accepted, DeviceFailure())
    assert placed.run(["y"], {"x": [0]}, "shrink") == ["cpu"]
    assert placed.run(["y"], {"x": [0] * 9}, "shrink") == ["device"]
    assert placed.run(["y"], {"x": [0] * 9, "long": []}) == ["cpu"]
    assert runs == [("cpu", 1, ("shrink",)), ("device", 9, ()), ("cpu", 9, ())]
