"""Pack results into response messages."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cofactor.v1.model_pb2 import Item, ServingLimits
from cofactor.v1.recommender_pb2 import (
    EmbedNewItemResponse,
    EmbedNewUserResponse,
    EntryError,
    ExplainResponse,
    ItemEmbedding,
    ScoredItem,
    UserEmbedding,
)
from cofactor_server.config import ServerConfig
from cofactor_server.errors import RequestError
from cofactor_server.ranking.explanation import Explanation
from cofactor_server.ranking.new_items.fold_in import FoldedItem
from cofactor_server.ranking.ranker import Ranking
from cofactor_server.ranking.user_vectors import FoldedUser
from cofactor_server.services.parsing.histories import ParsedHistory
from cofactor_server.services.parsing.new_items import ParsedItem
from cofactor_server.serving.loaded_version import LoadedVersion

_PROCESS_ID = secrets.token_hex(6)
_COUNTER = itertools.count()


def new_recommendation_id() -> str:
    """Return an id that no other response of any server has: a random number of the process, and a counter."""
    return f"{_PROCESS_ID}-{next(_COUNTER):x}"


def limits_message(config: ServerConfig) -> ServingLimits:
    """Pack the limits that callers must keep to."""
    return ServingLimits(
        max_page_size=config.max_page_size,
        max_items_per_request=config.max_items_per_request,
        max_requests_per_batch=config.max_requests_per_batch,
        max_queue_size=config.max_queue_size,
        max_response_bytes=config.max_response_mib * 2**20,
        max_request_bytes=config.max_message_mib * 2**20,
    )


def item_messages(version: LoadedVersion, rows: npt.NDArray[np.signedinteger]) -> Iterable[Item]:
    """Pack the items of some rows, in their order."""
    return [version.response_encoder.item(row) for row in rows.tolist()]


def scored_item_messages(version: LoadedVersion, ranking: Ranking, *, with_items: bool) -> list[ScoredItem]:
    """Pack a ranking, with the title and attributes of every item if `with_items`."""
    ids = version.item_ids.ids
    rows, scores = ranking.rows.tolist(), ranking.scores.tolist()
    if not with_items:
        return [ScoredItem(item_id=ids[row], score=score) for row, score in zip(rows, scores, strict=True)]
    item = version.response_encoder.item
    return [ScoredItem(item_id=ids[row], score=score, item=item(row)) for row, score in zip(rows, scores, strict=True)]


def embedding_response(version: LoadedVersion, parsed: ParsedHistory, folded: FoldedUser) -> EmbedNewUserResponse:
    """Pack a new user's embedding."""
    return EmbedNewUserResponse(
        embedding=UserEmbedding(
            factors=folded.vector.factors[0].tolist(),
            bias=float(folded.vector.bias[0]),
            embedding_space=version.manifest.embedding_space,
            rated_item_ids=[version.item_ids.ids[row] for row in folded.vector.rated_rows.tolist()],
        ),
        # A weight of events is not predicted.
        fit_rmse=folded.fit_rmse if version.predicts_ratings or version.event_weights is None else 0.0,
        used_rating_count=parsed.n_ratings,
        used_event_count=parsed.n_events,
        missing_item_ids=parsed.missing_item_ids,
        ignored_profile_keys=parsed.ignored_profile_keys,
        model=version.served_model,
    )


def item_embedding_response(version: LoadedVersion, parsed: ParsedItem, folded: FoldedItem) -> EmbedNewItemResponse:
    """Pack the row of a new item."""
    return EmbedNewItemResponse(
        embedding=ItemEmbedding(
            factors=folded.factors.tolist(),
            bias=folded.bias,
            embedding_space=version.manifest.embedding_space,
            rating_count=parsed.n_users,
        ),
        fit_rmse=folded.fit_rmse,
        used_rating_count=parsed.n_ratings,
        used_event_count=parsed.n_events,
        missing_user_ids=parsed.missing_user_ids,
        ignored_attributes=parsed.ignored_attributes,
        model=version.served_model,
    )


def explanation_response(version: LoadedVersion, explanation: Explanation) -> ExplainResponse:
    """Pack an explanation."""
    ids, prediction, history = version.item_ids.ids, explanation.prediction, explanation.history
    response = ExplainResponse(
        score=prediction.score,
        global_bias=prediction.global_bias,
        user_bias=prediction.user_bias,
        item_bias=prediction.item_bias,
        interaction=prediction.interaction,
        remainder=explanation.remainder,
        ranking_score=explanation.ranking.score,
        popularity=explanation.ranking.popularity,
        average_interaction=prediction.average_interaction,
        other_contributions=explanation.other_contributions,
        other_rating_count=len(history.rated.item_rows) - len(explanation.listed),
        unexplained=explanation.unexplained,
        ranking=_score_message(version, explanation),
        model=version.served_model,
    )
    if version.predicts_ratings:
        response.predicted_rating = prediction.predicted_rating
    for position in explanation.listed.tolist():
        response.contributions.add(
            item_id=ids[history.item_rows[position]],
            rating=history.ratings[position],
            contribution=prediction.contributions[position],
        )
    return response


def _score_message(version: LoadedVersion, explanation: Explanation) -> ExplainResponse.RankingScore:
    ids, history, parts = version.item_ids.ids, explanation.history, explanation.ranking
    message = ExplainResponse.RankingScore(
        rating_weight=parts.order.rating_weight,
        ranking_weight=parts.order.ranking_weight,
        ranking_logit=parts.ranking_logit,
        item_part=parts.item_part,
        user_part=parts.user_part,
        other_part=parts.other_part,
        other_rating_count=parts.n_other_ratings,
        unexplained=parts.unexplained,
    )
    for reason in parts.reasons:
        message.reasons.add(
            item_id=ids[history.item_rows[reason.position]],
            rating=history.ratings[reason.position],
            contribution=reason.contribution,
            own_contribution=reason.own_contribution,
            similar_rating_count=reason.n_similar,
            event_weight=0.0 if history.both is None else history.both.weights[reason.position],
        )
    return message


def entry_error_message(index: int, error: RequestError) -> EntryError:
    """Pack the error of one entry of a request."""
    return EntryError(index=index, reason=error.reason, message=str(error))
