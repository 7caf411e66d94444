"""Parse the user of a request: a known one, an embedding, or a history of ratings or events."""

from __future__ import annotations

import numpy as np

from cofactor.v1.recommender_pb2 import RatingHistory, RecommendRequest, User, UserEmbedding
from cofactor_server.errors import EmbeddingSpaceMismatch, InvalidField, UserNotFound
from cofactor_server.ranking.ranker import UserVector
from cofactor_server.ranking.user_vectors import History
from cofactor_server.services.parsing.checks import check_number
from cofactor_server.services.parsing.histories import HistoryParser
from cofactor_server.services.parsing.ids import IdParser
from cofactor_server.serving.loaded_version import LoadedVersion

# Far beyond any trained factor, and small enough that products of two stay finite.
LARGEST_FACTOR = 1e6
_POLICIES = frozenset(RecommendRequest.UnknownUserPolicy.values())
_POPULAR = RecommendRequest.UNKNOWN_USER_POLICY_POPULAR


class UserParser:
    """Parse the users of requests."""

    def __init__(self, ids: IdParser, histories: HistoryParser) -> None:
        self._ids = ids
        self._histories = histories

    def parse(self, version: LoadedVersion, user: User, policy: int = 0) -> UserVector:
        """Return the vector of a user; `policy` is the request's unknown_user_policy.

        Raises InvalidField, UserNotFound, ItemNotFound, EmbeddingSpaceMismatch or NewUsersUnsupported.
        """
        identity = user.WhichOneof("identity")
        if identity == "user_id":
            user_id = user.user_id
            row = version.user_ids.row(user_id)
            return version.users.known(row) if row is not None else _unknown_user(version, user_id, policy)
        if identity == "embedding":
            return self._parse_embedding(version, user.embedding)
        if identity == "history":
            return self._fold_in(version, user.history)[0]
        raise _no_identity()

    def parse_with_history(self, version: LoadedVersion, user: User) -> tuple[UserVector, History]:
        """Return the vector and the history of a user; an embedding is refused, because it has no history."""
        identity = user.WhichOneof("identity")
        if identity == "embedding":
            raise InvalidField("user.embedding", f"does not contain the {_kind(version)}; send user_id or history")
        if identity == "history":
            return self._fold_in(version, user.history)
        if identity is None:
            raise _no_identity()
        row = version.user_ids.row(user.user_id)  # once: the user may be erased between two look-ups
        if row is None:
            raise _not_found(user.user_id)
        return version.users.known(row), version.users.history(row)

    def _fold_in(self, version: LoadedVersion, message: RatingHistory) -> tuple[UserVector, History]:
        """Embed the user of a history; return the vector and the history."""
        history = self._histories.parse(version, message, "user.history.").history
        return version.users.fold_in(history).vector, history

    def _parse_embedding(self, version: LoadedVersion, embedding: UserEmbedding) -> UserVector:
        if embedding.embedding_space != version.manifest.embedding_space:
            raise EmbeddingSpaceMismatch("user.embedding")
        field = "user.embedding.factors"
        n_factors = version.manifest.user_factor_count
        if len(embedding.factors) != n_factors:
            raise InvalidField(field, f"has {len(embedding.factors)} numbers; this model takes {n_factors}")
        factors = np.array([embedding.factors], dtype=np.float32)
        is_allowed = np.abs(factors[0]) <= LARGEST_FACTOR  # False for NaN
        if not is_allowed.all():
            index = int(np.argmin(is_allowed))
            check_number(float(factors[0, index]), f"{field}[{index}]", -LARGEST_FACTOR, LARGEST_FACTOR)
        check_number(embedding.bias, "user.embedding.bias", -LARGEST_FACTOR, LARGEST_FACTOR)
        rated_rows, _ = self._ids.known_item_rows(
            version, embedding.rated_item_ids, "user.embedding.rated_item_ids", row_of=version.item_ids.evidence_row
        )
        return UserVector(factors, np.array([embedding.bias], dtype=np.float32), rated_rows, is_new=True)


def _kind(version: LoadedVersion) -> str:
    if version.event_weights is None:
        return "ratings"
    return "ratings and events" if version.predicts_ratings else "events"


def _no_identity() -> InvalidField:
    return InvalidField("user", "is not set; send exactly one of user_id, embedding and history")


def _not_found(user_id: str) -> InvalidField | UserNotFound:
    if not user_id:
        return InvalidField("user.user_id", "is empty; name a user, or send an embedding or a history")
    return UserNotFound(user_id, "user.user_id")


def _unknown_user(version: LoadedVersion, user_id: str, policy: int) -> UserVector:
    """Return the average user if the policy asks for it; raises InvalidField or UserNotFound otherwise."""
    if not user_id:
        raise _not_found(user_id)
    if policy not in _POLICIES:
        raise InvalidField("unknown_user_policy", f"{policy} is not a policy; use one that the API names")
    if policy == _POPULAR:
        return version.users.average()
    raise _not_found(user_id)
