"""Test that profile answers are encoded as the columns that the manifest describes."""

from __future__ import annotations

import pytest

from cofactor.v1.manifest_pb2 import ProfileFeature
from cofactor_server.errors import InvalidField
from cofactor_server.ranking.profile_encoder import ProfileEncoder

FEATURES = [
    ProfileFeature(key="age", numeric={"mean": 30, "scale": 10}),
    ProfileFeature(key="occupation", categorical={"categories": ["artist", "engineer", "none"]}),
]


@pytest.mark.parametrize(
    ("profile", "columns", "ignored"),
    [
        ({}, [0, 0, 0, 0, 0], []),
        ({"age": "50"}, [2, 4, 0, 0, 0], []),
        ({"age": " 25 ", "occupation": "engineer"}, [-0.5, 0.25, 0, 1, 0], []),
        ({"occupation": "pilot", "city": "Rome"}, [0, 0, 0, 0, 0], ["city", "occupation"]),
    ],
)
def test_answers_are_encoded_in_the_order_of_the_manifest(profile, columns, ignored):
    encoded, unused = ProfileEncoder(FEATURES).encode(profile, "profile")
    assert encoded.tolist() == [columns]
    assert unused == ignored


def test_a_model_without_features_ignores_every_answer():
    encoded, unused = ProfileEncoder([]).encode({"b": "1", "a": "2"}, "profile")
    assert encoded.shape == (1, 0)
    assert unused == ["a", "b"]


@pytest.mark.parametrize("answer", ["old", "", "nan", "inf", "1e30", "x" * 500])
def test_an_answer_that_is_not_a_usable_number_is_refused_with_its_field(answer):
    with pytest.raises(InvalidField) as caught:
        ProfileEncoder(FEATURES).encode({"age": answer}, "user.history.profile")
    assert caught.value.field == 'user.history.profile["age"]'
    assert len(str(caught.value)) < 200
