"""Answers as messages."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cofactor.v1 import model_pb2, recommender_pb2
from cofactor_server.errors import RequestError
from cofactor_server.ranking.explanation import Explanation
from cofactor_server.ranking.ranker import Ranking
from cofactor_server.serving.loaded_version import LoadedVersion

_PROCESS = secrets.token_hex(6)
_ANSWERS = itertools.count()


def recommendation_id() -> str:
    """An id that no other answer of any server has: one random number per process, and a counter."""
    return f"{_PROCESS}-{next(_ANSWERS):x}"


def item_messages(version: LoadedVersion, rows: npt.NDArray[np.signedinteger]) -> Iterable[model_pb2.Item]:
    """The items of some rows, in their order."""
    return [version.response_encoder.item(row) for row in rows.tolist()]


def similar_items(version: LoadedVersion, ranking: Ranking, *, with_items: bool) -> list[recommender_pb2.ScoredItem]:
    """The results of SimilarItems."""
    ids = version.item_ids.ids
    rows, scores = ranking.rows.tolist(), ranking.scores.tolist()
    if not with_items:
        return [
            recommender_pb2.ScoredItem(item_id=ids[row], score=score) for row, score in zip(rows, scores, strict=True)
        ]
    return [
        recommender_pb2.ScoredItem(item_id=ids[row], score=score, item=version.response_encoder.item(row))
        for row, score in zip(rows, scores, strict=True)
    ]


def explanation_message(version: LoadedVersion, explanation: Explanation) -> recommender_pb2.ExplainResponse:
    """An explanation."""
    ids = version.item_ids.ids
    response = recommender_pb2.ExplainResponse(
        score=explanation.score,
        global_bias=explanation.global_bias,
        user_bias=explanation.user_bias,
        item_bias=explanation.item_bias,
        interaction=explanation.interaction,
        remainder=explanation.remainder,
        model=version.served_model,
    )
    if version.predicts_ratings:
        response.predicted_rating = explanation.predicted_rating
    parts = zip(explanation.item_rows.tolist(), explanation.ratings.tolist(), explanation.contributions, strict=True)
    for row, rating, contribution in parts:
        response.contributions.add(item_id=ids[row], rating=rating, contribution=contribution)
    return response


def entry_error(index: int, error: RequestError) -> recommender_pb2.EntryError:
    """Why one entry of a request failed."""
    return recommender_pb2.EntryError(index=index, reason=error.reason, message=str(error))
