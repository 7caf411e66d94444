"""Pack results into response messages."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cofactor.v1.model_pb2 import Item, ServingLimits
from cofactor.v1.recommender_pb2 import EmbedNewUserResponse, EntryError, ExplainResponse, ScoredItem, UserEmbedding
from cofactor_server.config import ServerConfig
from cofactor_server.errors import RequestError
from cofactor_server.ranking.explanation import Explanation
from cofactor_server.ranking.ranker import Ranking
from cofactor_server.ranking.user_vectors import FoldedUser
from cofactor_server.services.parsing.users import ParsedHistory
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
    item_rows = parsed.history.item_rows
    return EmbedNewUserResponse(
        embedding=UserEmbedding(
            factors=folded.vector.factors[0].tolist(),
            bias=float(folded.vector.bias[0]),
            embedding_space=version.manifest.embedding_space,
            rated_item_ids=[version.item_ids.ids[row] for row in item_rows.tolist()],
        ),
        fit_rmse=folded.fit_rmse,
        used_rating_count=len(item_rows),
        missing_item_ids=parsed.missing_item_ids,
        ignored_profile_keys=parsed.ignored_profile_keys,
        model=version.served_model,
    )


def explanation_response(version: LoadedVersion, explanation: Explanation) -> ExplainResponse:
    """Pack an explanation."""
    ids = version.item_ids.ids
    response = ExplainResponse(
        score=explanation.score,
        global_bias=explanation.global_bias,
        user_bias=explanation.user_bias,
        item_bias=explanation.item_bias,
        interaction=explanation.interaction,
        remainder=explanation.remainder,
        ranking_score=explanation.score + explanation.popularity,
        popularity=explanation.popularity,
        average_interaction=explanation.average_interaction,
        other_contributions=explanation.other_contributions,
        other_rating_count=explanation.n_other_ratings,
        unexplained=explanation.unexplained,
        model=version.served_model,
    )
    if version.predicts_ratings:
        response.predicted_rating = explanation.predicted_rating
    parts = zip(explanation.item_rows.tolist(), explanation.ratings.tolist(), explanation.contributions, strict=True)
    for row, rating, contribution in parts:
        response.contributions.add(item_id=ids[row], rating=rating, contribution=contribution)
    return response


def entry_error_message(index: int, error: RequestError) -> EntryError:
    """Pack the error of one entry of a request."""
    return EntryError(index=index, reason=error.reason, message=str(error))
