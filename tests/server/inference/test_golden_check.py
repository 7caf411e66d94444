"""Golden tests refuse wrong outputs, and admit rounding on every rating scale that the trainer exports."""

import numpy as np
import pytest

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.inference.golden_check import _difference, _output_units
from cofactor_trainer.export.verification import tolerances
from tests.support.synthetic import make_dataset, make_model

RANGES = [(0.5, 5.5), (-124.0, 1125.0), (0.0, 1.0), None]


def manifest_of(rating_range, objective="rating"):
    manifest = Manifest(objective=objective, rating_min=0.5, rating_max=5.0)
    if rating_range is not None:
        manifest.rating_range.low, manifest.rating_range.high = rating_range
    return manifest


@pytest.mark.parametrize("objective", ["rating", "ranking"])
@pytest.mark.parametrize("rating_range", RANGES)
def test_outputs_have_the_units_of_the_trainer(rating_range, objective):
    model = make_model(rating_range=rating_range, objective=objective)
    assert _output_units(manifest_of(rating_range, objective)) == tolerances.output_units(model, make_dataset())


@pytest.mark.parametrize("value", [0.3, 5.0, 900.0])
@pytest.mark.parametrize("rating_range", RANGES)
def test_what_the_trainer_admits_is_accepted_and_three_times_as_much_is_refused(rating_range, value):
    units = _output_units(manifest_of(rating_range))
    expected = np.array([value], np.float32)
    largest = tolerances.LARGEST_TOLERANCE * max(units["ratings"], value / 10)
    assert _difference({"ratings": expected + np.float32(largest)}, {"ratings": expected}, units) == ""
    assert "ratings differ" in _difference(
        {"ratings": expected + np.float32(3 * largest)}, {"ratings": expected}, units
    )


def test_the_unit_of_a_scale_of_stars_is_one():
    """So versions of ordinary scales are checked as they always were."""
    units = _output_units(manifest_of((0.5, 5.5)))
    assert units["ratings"] == 1.25
    assert max(_output_units(manifest_of((0.0, 1.0))).values()) == 1
