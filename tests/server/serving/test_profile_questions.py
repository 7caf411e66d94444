"""GetModel says which sign-up answers a model takes."""

from __future__ import annotations

from cofactor.v1.catalog_pb2 import GetModelRequest
from cofactor.v1.manifest_pb2 import ProfileFeature
from cofactor_server.serving.profile_questions import profile_question


def test_a_choice_has_its_answers_in_order() -> None:
    question = profile_question(ProfileFeature(key="job", categorical={"categories": ["artist", "engineer"]}))
    assert (question.key, question.WhichOneof("kind")) == ("job", "choice")
    assert list(question.choice.answers) == ["artist", "engineer"]


def test_a_number_has_its_mean_and_its_range_if_the_version_says_it() -> None:
    known = profile_question(ProfileFeature(key="age", numeric={"mean": 30, "scale": 10, "lowest": 0, "highest": 70}))
    assert (known.number.mean, known.number.lowest, known.number.highest) == (30, 0, 70)
    assert known.number.HasField("lowest")
    older = profile_question(ProfileFeature(key="age", numeric={"mean": 30, "scale": 10}))
    assert older.number.mean == 30
    assert not older.number.HasField("lowest")
    assert not older.number.HasField("highest")


def test_an_exported_version_has_the_questions_of_its_training_data(profile_version, serve) -> None:
    from tests.support import synthetic

    ages = sorted(synthetic.with_profiles(synthetic.make_dataset()).profiles["age"].dropna())
    model = serve(profile_version.parents[1], model="profile").catalog.GetModel(GetModelRequest(), timeout=10).model
    age, mood = model.profile_questions
    assert (age.number.lowest, age.number.highest) == (ages[4], ages[-5])
    assert list(mood.choice.answers) == ["generous", "strict"]
