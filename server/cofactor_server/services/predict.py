"""Predict ratings: one user's of many items, or those of pairs of a user and an item."""

from __future__ import annotations

import numpy as np

from cofactor.v1.recommender_pb2 import PredictRequest, PredictResponse
from cofactor_server.errors import InvalidField, RatingsUnsupported, UserNotFound
from cofactor_server.services.parsing.requests import RequestParser
from cofactor_server.services.response_messages import entry_error_message
from cofactor_server.serving.registry import ModelRegistry


def predict(registry: ModelRegistry, parser: RequestParser, request: PredictRequest) -> PredictResponse:
    """Predict ratings; with allow_partial_success, an entry with an unknown id gets NaN and an error of its own."""
    version = registry.resolve(request.model, request.user.user_id)
    if not version.predicts_ratings:
        raise RatingsUnsupported("model")
    _check_users(request)
    pairs = parser.ids.pairs(version, request.item_ids, request.user_ids)
    errors, n_entries = pairs.errors, len(pairs.item_rows)
    if errors and not request.allow_partial_success:
        raise next(iter(errors.values()))
    ratings = np.full(n_entries, np.nan, dtype=np.float32)
    is_known = np.ones(n_entries, dtype=bool)
    is_known[list(errors)] = False
    try:
        if request.user_ids:
            factors, bias = version.users.factors_and_biases(pairs.user_rows[is_known])
        else:
            user = parser.users.parse(version, request.user)
            factors, bias = user.factors, user.bias
    except UserNotFound as error:
        if not request.allow_partial_success:
            raise
        errors = {index: errors.get(index, error) for index in range(n_entries)}  # without the user every entry fails
    else:
        if is_known.any():
            ratings[is_known] = version.predictor.predict(factors, bias, pairs.item_rows[is_known])[1]
    return PredictResponse(
        ratings=ratings.tolist(),
        errors=[entry_error_message(index, error) for index, error in errors.items()],
        model=version.served_model,
    )


def _check_users(request: PredictRequest) -> None:
    """Raise InvalidField unless the request has either one user, or a user id for every item id."""
    if request.HasField("user") == bool(request.user_ids):
        raise InvalidField("user", "excludes user_ids; send exactly one of the two")
    n_users, n_items = len(request.user_ids), len(request.item_ids)
    if n_users and n_users != n_items:
        raise InvalidField("user_ids", f"has {n_users} entries and item_ids {n_items}; send one per item")
