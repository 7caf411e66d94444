"""Predict: one user's or many users' ratings of items."""

from __future__ import annotations

import numpy as np

from cofactor.v1.recommender_pb2 import PredictRequest, PredictResponse
from cofactor_server.errors import InvalidField, RatingsUnsupported, RequestError, UserNotFound
from cofactor_server.services.request_parsing import RequestReader
from cofactor_server.services.response_messages import entry_error
from cofactor_server.serving.registry import ModelRegistry


def predict(repository: ModelRegistry, reader: RequestReader, request: PredictRequest) -> PredictResponse:
    """Answers Predict; with allow_partial_success, entries with unknown ids fail alone."""
    version = repository.resolve(request.model, request.user.user_id)
    if not version.predicts_ratings:
        raise RatingsUnsupported("model")
    if request.HasField("user") == bool(request.user_ids):
        raise InvalidField("user", "and user_ids exclude each other; send exactly one of them")
    if request.user_ids and len(request.user_ids) != len(request.item_ids):
        raise InvalidField(
            "user_ids", f"has {len(request.user_ids)} entries and item_ids {len(request.item_ids)}; send one per item"
        )
    item_rows, user_rows, failures = reader.rows_or_errors(version, request.item_ids, request.user_ids)
    if failures and not request.allow_partial_success:
        raise next(iter(failures.values()))
    ratings = np.full(len(item_rows), np.nan, dtype=np.float32)
    good = np.ones(len(item_rows), dtype=bool)
    good[list(failures)] = False
    try:
        if len(user_rows):
            factors, bias = version.users.factors_and_biases(user_rows[good])
        else:
            user = reader.user(version, request.user)
            factors, bias = user.factors, user.bias
    except UserNotFound as error:
        if not request.allow_partial_success:
            raise
        failures = _everywhere(error, failures, len(item_rows))
    else:
        if good.any():
            ratings[good] = version.engine.predict(factors, bias, item_rows[good])[1]
    return PredictResponse(
        ratings=ratings.tolist(),
        errors=[entry_error(index, error) for index, error in failures.items()],
        model=version.served_model,
    )


def _everywhere(error: RequestError, failures: dict[int, RequestError], n_entries: int) -> dict[int, RequestError]:
    """The error of the one user for every entry that has none of its own."""
    return {index: failures.get(index, error) for index in range(n_entries)}
