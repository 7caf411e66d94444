"""Parse the user of a request: a known one, an embedding, or a history of ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cofactor.v1.recommender_pb2 import Rating, RatingHistory, RecommendRequest, User, UserEmbedding
from cofactor_server.errors import (
    EmbeddingSpaceMismatch,
    InvalidField,
    ItemNotFound,
    NoKnownItems,
    UserNotFound,
    quoted,
)
from cofactor_server.ranking.ranker import UserVector
from cofactor_server.ranking.user_vectors import History
from cofactor_server.services.parsing.checks import check_length, check_number
from cofactor_server.services.parsing.ids import IdParser
from cofactor_server.serving.loaded_version import LoadedVersion

MOST_PROFILE_ANSWERS = 100
# Far beyond any trained factor, and small enough that products of two stay finite.
LARGEST_FACTOR = 1e6
_POLICIES = frozenset(RecommendRequest.UnknownUserPolicy.values())
_POPULAR = RecommendRequest.UNKNOWN_USER_POLICY_POPULAR


@dataclass(frozen=True, slots=True, eq=False)
class ParsedHistory:
    """The ratings and sign-up answers of a new user.

    Attributes:
        history: the ratings of known items, and the answers that the model uses.
        missing_item_ids: rated items that the model does not know.
        ignored_profile_keys: answers that the model does not use.
    """

    history: History
    missing_item_ids: Sequence[str]
    ignored_profile_keys: Sequence[str]


class UserParser:
    """Parse the users and the rating histories of requests."""

    def __init__(self, ids: IdParser) -> None:
        self._ids = ids

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
        raise InvalidField("user", "is not set; send exactly one of user_id, embedding and history")

    def parse_with_history(self, version: LoadedVersion, user: User) -> tuple[UserVector, History]:
        """Return the vector and the ratings of a user; an embedding is refused, because it has no ratings."""
        identity = user.WhichOneof("identity")
        if identity == "embedding":
            raise InvalidField("user.embedding", "does not contain the ratings; send user_id or history")
        if identity == "history":
            return self._fold_in(version, user.history)
        vector = self.parse(version, user)
        row = version.user_ids.row(user.user_id)
        assert row is not None  # or self.parse() would have raised
        return vector, version.users.history(row)

    def parse_history(
        self,
        version: LoadedVersion,
        ratings: Sequence[Rating],
        profile: Mapping[str, str],
        prefix: str = "",
        *,
        skip_unknown: bool = False,
    ) -> ParsedHistory:
        """Parse a new user's ratings and sign-up answers.

        `prefix` is the path of the message that holds the two fields, for errors. With `skip_unknown` unknown items are
        skipped. Raises InvalidField, ItemNotFound, or NoKnownItems if every rated item was skipped.
        """
        check_length(ratings, f"{prefix}ratings", self._ids.max_items)
        check_length(profile, f"{prefix}profile", MOST_PROFILE_ANSWERS, "answers")
        first_index = _index_ratings(version, ratings, f"{prefix}ratings")
        pairs: list[tuple[int, float]] = []
        missing_item_ids: list[str] = []
        for item_id, index in first_index.items():
            row = version.item_ids.row(item_id)
            if row is not None:
                pairs.append((row, ratings[index].rating))
            elif skip_unknown:
                missing_item_ids.append(item_id)
            else:
                raise ItemNotFound(item_id, f"{prefix}ratings[{index}].item_id")
        if missing_item_ids and not pairs:
            raise NoKnownItems(f"{prefix}ratings")
        pairs.sort()
        columns, ignored_keys = version.profile_encoder.encode(profile, f"{prefix}profile")
        item_rows = np.array([row for row, _ in pairs], dtype=np.int64)
        item_ratings = np.array([rating for _, rating in pairs], dtype=np.float32)
        return ParsedHistory(History(item_rows, item_ratings, columns), missing_item_ids, ignored_keys)

    def _fold_in(self, version: LoadedVersion, message: RatingHistory) -> tuple[UserVector, History]:
        """Embed the user of a history; return the vector and the history."""
        history = self.parse_history(version, message.ratings, message.profile, "user.history.").history
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
        rated_rows, _ = self._ids.known_item_rows(version, embedding.rated_item_ids, "user.embedding.rated_item_ids")
        return UserVector(factors, np.array([embedding.bias], dtype=np.float32), rated_rows, is_new=True)


def _unknown_user(version: LoadedVersion, user_id: str, policy: int) -> UserVector:
    """Return the average user if the policy asks for it; raises InvalidField or UserNotFound otherwise."""
    if not user_id:
        raise InvalidField("user.user_id", "is empty; name a user, or send an embedding or a history")
    if policy not in _POLICIES:
        raise InvalidField("unknown_user_policy", f"{policy} is not a policy; use one that the API names")
    if policy == _POPULAR:
        return version.users.average()
    raise UserNotFound(user_id, "user.user_id")


def _index_ratings(version: LoadedVersion, ratings: Sequence[Rating], field: str) -> dict[str, int]:
    """Return the first index of every rated item.

    Raises InvalidField for an empty id, a rating off the model's scale, or an item with two different ratings.
    """
    low, high = version.manifest.rating_min, version.manifest.rating_max
    first_index: dict[str, int] = {}
    for index, rating in enumerate(ratings):
        if not rating.item_id:
            raise InvalidField(f"{field}[{index}].item_id", "is empty; name an item")
        check_number(rating.rating, f"{field}[{index}].rating", low, high)
        first = first_index.setdefault(rating.item_id, index)
        if ratings[first].rating != rating.rating:
            raise InvalidField(
                f"{field}[{index}].rating",
                f"differs from {field}[{first}] for the same item {quoted(rating.item_id)}; rate an item once",
            )
    return first_index
