"""Pack the sign-up answers that a model uses into messages."""

from __future__ import annotations

from cofactor.v1.manifest_pb2 import ProfileFeature
from cofactor.v1.model_pb2 import ProfileQuestion


def profile_question(feature: ProfileFeature) -> ProfileQuestion:
    """Return the question whose answer a feature encodes."""
    question = ProfileQuestion(key=feature.key)
    if feature.WhichOneof("kind") != "numeric":
        question.choice.answers.extend(feature.categorical.categories)
        return question
    question.number.mean = feature.numeric.mean
    if feature.numeric.HasField("lowest") and feature.numeric.HasField("highest"):
        question.number.lowest, question.number.highest = feature.numeric.lowest, feature.numeric.highest
    return question
