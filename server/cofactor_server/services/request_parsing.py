"""Requests, checked: ids become rows here, once; nothing behind this edge sees an unchecked id or number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cofactor.v1 import catalog_pb2, model_pb2, recommender_pb2
from cofactor_server.arrays import NO_ROWS, IndexArray
from cofactor_server.config import ServerConfig
from cofactor_server.errors import (
    EmbeddingSpaceMismatch,
    InvalidField,
    ItemNotFound,
    NoKnownItems,
    RequestError,
    UserNotFound,
    quoted,
)
from cofactor_server.ranking.filters import NO_FILTER, AttributeFilter, ItemSelection
from cofactor_server.ranking.ranker import UserVector
from cofactor_server.ranking.user_vectors import History
from cofactor_server.serving.loaded_version import LoadedVersion

DEFAULT_PAGE_SIZE = 10
DEFAULT_CONTRIBUTIONS = 5
LONGEST_QUERY = 256
MOST_GENRES = 100
MOST_PROFILE_ANSWERS = 100
# Far beyond any trained row, and its products still finite.
LARGEST_FACTOR = 1e6
_POLICIES = frozenset(recommender_pb2.RecommendRequest.UnknownUserPolicy.values())
_POPULAR = recommender_pb2.RecommendRequest.UNKNOWN_USER_POLICY_POPULAR


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """Which items may be returned, and the candidates that are unknown."""

    selection: ItemSelection
    missing_item_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ReadHistory:
    """A history, and what of it was of no use."""

    history: History
    missing_item_ids: Sequence[str]
    ignored_profile_keys: Sequence[str]


def limits_of(config: ServerConfig) -> model_pb2.ServingLimits:
    """The limits as callers see them."""
    return model_pb2.ServingLimits(
        max_page_size=config.max_page_size,
        max_items_per_request=config.max_items_per_request,
        max_requests_per_batch=config.max_requests_per_batch,
        max_queue_size=config.max_queue_size,
    )


def check_number(value: float, field: str, low: float, high: float) -> float:
    """`value` if it is a number between low and high; raises InvalidField."""
    if not low <= value <= high:  # false for NaN too
        raise InvalidField(field, f"must be between {low:g} and {high:g}, not {value:g}")
    return value


def check_year(year: int, field: str) -> int:
    """A year of release; raises InvalidField for one before 1."""
    if year < 1:
        raise InvalidField(field, f"must be a year, at least 1, not {year}")
    return year


class RequestReader:
    """Reads the fields that several requests have, within one server's limits."""

    def __init__(self, config: ServerConfig) -> None:
        self._max_page_size = config.max_page_size
        self._max_items = config.max_items_per_request

    def page_size(self, size: int, field: str = "page_size", default: int = DEFAULT_PAGE_SIZE) -> int:
        """The number of results wanted; raises InvalidField."""
        if size == 0:
            return min(default, self._max_page_size)
        if not 0 < size <= self._max_page_size:
            raise InvalidField(field, f"must be between 0 (for {default}) and {self._max_page_size}, not {size}")
        return size

    def check_length(self, values: Sequence[object], field: str) -> None:
        """Raises InvalidField for a list over the limit."""
        if len(values) > self._max_items:
            raise InvalidField(field, f"has {len(values)} entries; send at most {self._max_items}")

    def item_row(self, version: LoadedVersion, item_id: str, field: str) -> int:
        """Row of one known item; raises InvalidField or ItemNotFound."""
        row = version.item_ids.row(item_id)
        if row is None:
            if not item_id:
                raise InvalidField(field, "is empty; name an item")
            raise ItemNotFound(item_id, field)
        return row

    def item_rows(self, version: LoadedVersion, item_ids: Sequence[str], field: str) -> IndexArray:
        """Rows of 1 or more known items -> (n,); raises InvalidField or ItemNotFound."""
        if not item_ids:
            raise InvalidField(field, "is empty; name at least one item")
        self.check_length(item_ids, field)
        rows, failures = _rows(version.item_ids.row, item_ids, field, ItemNotFound)
        for error in failures.values():
            raise error
        return rows

    def known_rows(self, version: LoadedVersion, item_ids: Sequence[str], field: str) -> tuple[IndexArray, list[str]]:
        """Rows of the known items, ascending without repeats, and the ids of the others; raises InvalidField."""
        self.check_length(item_ids, field)
        rows, failures = _rows(version.item_ids.row, item_ids, field, ItemNotFound)
        missing = list(dict.fromkeys(item_ids[index] for index in failures))
        return np.unique(rows[rows >= 0]), missing

    def rows_or_errors(
        self, version: LoadedVersion, item_ids: Sequence[str], user_ids: Sequence[str]
    ) -> tuple[IndexArray, IndexArray, dict[int, RequestError]]:
        """Rows of items (n,) and users (n,) or (0,), -1 where unknown, and the first error of each entry that fails."""
        if not item_ids:
            raise InvalidField("item_ids", "is empty; name at least one item")
        self.check_length(item_ids, "item_ids")
        item_rows, item_errors = _rows(version.item_ids.row, item_ids, "item_ids", ItemNotFound)
        user_rows, user_errors = _rows(version.user_ids.row, user_ids, "user_ids", UserNotFound)
        return item_rows, user_rows, dict(sorted({**item_errors, **user_errors}.items()))

    def user(
        self, version: LoadedVersion, user: recommender_pb2.User, policy: int = 0, field: str = "user"
    ) -> UserVector:
        """Who a request is for; raises every error that a user can cause."""
        identity = user.WhichOneof("identity")
        if identity == "user_id":
            user_id = user.user_id
            row = version.user_ids.row(user_id)
            if row is not None:
                return version.users.known(row)
            if not user_id:
                raise InvalidField(f"{field}.user_id", "is empty; name a user, or send an embedding or a history")
            if policy not in _POLICIES:
                raise InvalidField("unknown_user_policy", f"{policy} is not a policy; use one that the API names")
            if policy == _POPULAR:
                return version.users.average()
            raise UserNotFound(user_id, f"{field}.user_id")
        if identity == "embedding":
            return self._embedded(version, user.embedding, f"{field}.embedding")
        if identity == "history":
            read = self.history(version, user.history.ratings, user.history.profile, f"{field}.history.")
            return version.users.fold_in(read.history).vector
        raise InvalidField(field, "is not set; send exactly one of user_id, embedding and history")

    def user_with_history(self, version: LoadedVersion, user: recommender_pb2.User) -> tuple[UserVector, History]:
        """Whose prediction is to be explained, and their ratings; an embedding does not say what its ratings were."""
        identity = user.WhichOneof("identity")
        if identity == "embedding":
            raise InvalidField("user.embedding", "does not say what its ratings were; send user_id or history")
        if identity == "history":
            read = self.history(version, user.history.ratings, user.history.profile, "user.history.")
            return version.users.fold_in(read.history).vector, read.history
        vector = self.user(version, user)
        row = version.user_ids.row(user.user_id)
        assert row is not None  # or self.user() would have raised
        return vector, version.users.history(row)

    def _embedded(self, version: LoadedVersion, embedding: recommender_pb2.UserEmbedding, field: str) -> UserVector:
        if embedding.embedding_space != version.manifest.embedding_space:
            raise EmbeddingSpaceMismatch(field)
        n_factors = version.manifest.user_factor_count
        if len(embedding.factors) != n_factors:
            raise InvalidField(
                f"{field}.factors", f"has {len(embedding.factors)} numbers; this model takes {n_factors}"
            )
        factors = np.array([embedding.factors], dtype=np.float32)
        usable = np.abs(factors[0]) <= LARGEST_FACTOR  # false for NaN too
        if not usable.all():
            index = int(np.argmin(usable))
            check_number(float(factors[0, index]), f"{field}.factors[{index}]", -LARGEST_FACTOR, LARGEST_FACTOR)
        check_number(embedding.bias, f"{field}.bias", -LARGEST_FACTOR, LARGEST_FACTOR)
        rated_rows, _ = self.known_rows(version, embedding.rated_item_ids, f"{field}.rated_item_ids")
        return UserVector(factors, np.array([embedding.bias], dtype=np.float32), rated_rows)

    def history(
        self,
        version: LoadedVersion,
        ratings: Sequence[recommender_pb2.Rating],
        profile: Mapping[str, str],
        prefix: str = "",
        *,
        skip_unknown: bool = False,
    ) -> ReadHistory:
        """A new user's ratings and answers; `prefix` is the path in front of the fields' names."""
        self.check_length(ratings, f"{prefix}ratings")
        if len(profile) > MOST_PROFILE_ANSWERS:
            raise InvalidField(f"{prefix}profile", f"has {len(profile)} answers; send at most {MOST_PROFILE_ANSWERS}")
        first_index = self._rating_indexes(version, ratings, f"{prefix}ratings")
        pairs: list[tuple[int, float]] = []
        missing: list[str] = []
        for item_id, index in first_index.items():
            row = version.item_ids.row(item_id)
            if row is not None:
                pairs.append((row, ratings[index].rating))
            elif skip_unknown:
                missing.append(item_id)
            else:
                raise ItemNotFound(item_id, f"{prefix}ratings[{index}].item_id")
        if missing and not pairs:
            raise NoKnownItems(f"{prefix}ratings")
        pairs.sort()
        columns, ignored = version.profile_encoder.encode(profile, f"{prefix}profile")
        item_rows = np.array([row for row, _ in pairs], dtype=np.int64)
        return ReadHistory(
            History(item_rows, np.array([rating for _, rating in pairs], dtype=np.float32), columns), missing, ignored
        )

    def _rating_indexes(
        self, version: LoadedVersion, ratings: Sequence[recommender_pb2.Rating], field: str
    ) -> dict[str, int]:
        """Each rated item's first index; raises InvalidField for a bad id or rating, or an item with two ratings."""
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
                    f"differs from that of {field}[{first}] for the same item {quoted(rating.item_id)}; "
                    "rate an item once",
                )
        return first_index

    def selection(self, version: LoadedVersion, item_filter: recommender_pb2.ItemFilter) -> Selected:
        """The items that a filter lets through."""
        conditions = self._conditions(item_filter)
        candidates: IndexArray | None = None
        missing: list[str] = []
        if item_filter.candidate_item_ids:
            candidates, missing = self.known_rows(version, item_filter.candidate_item_ids, "filter.candidate_item_ids")
        excluded = NO_ROWS
        if item_filter.excluded_item_ids:
            excluded, _ = self.known_rows(version, item_filter.excluded_item_ids, "filter.excluded_item_ids")
        return Selected(version.filters.select(conditions, candidates, excluded), missing)

    @staticmethod
    def _conditions(item_filter: recommender_pb2.ItemFilter) -> AttributeFilter:
        for field in ("any_genres", "excluded_genres"):
            genres = getattr(item_filter, field)
            if len(genres) > MOST_GENRES:
                raise InvalidField(f"filter.{field}", f"has {len(genres)} entries; send at most {MOST_GENRES}")
            if "" in genres:
                raise InvalidField(f"filter.{field}[{list(genres).index('')}]", "is empty; name a genre")
        years: dict[str, int | None] = dict.fromkeys(("min_release_year", "max_release_year"))
        for field in years:
            if item_filter.HasField(field):
                years[field] = check_year(getattr(item_filter, field), f"filter.{field}")
        low, high = years["min_release_year"], years["max_release_year"]
        if low is not None and high is not None and low > high:
            raise InvalidField("filter.min_release_year", f"is {low}, after filter.max_release_year {high}")
        if item_filter.min_rating_count < 0:
            raise InvalidField("filter.min_rating_count", f"must be 0 or more, not {item_filter.min_rating_count}")
        conditions = AttributeFilter(
            tuple(sorted(set(item_filter.any_genres))),
            tuple(sorted(set(item_filter.excluded_genres))),
            low,
            high,
            item_filter.min_rating_count,
        )
        return NO_FILTER if conditions.is_empty else conditions

    @staticmethod
    def query(request: catalog_pb2.SearchItemsRequest) -> str:
        """The words of a search; raises InvalidField."""
        if not request.query.strip():
            raise InvalidField("query", "is empty; give a word of the title, or its beginning")
        if len(request.query) > LONGEST_QUERY:
            raise InvalidField("query", f"has {len(request.query)} characters; send at most {LONGEST_QUERY}")
        return request.query


def _rows(
    row_of: Callable[[str], int | None],
    ids: Iterable[str],
    field: str,
    not_found: type[UserNotFound] | type[ItemNotFound],
) -> tuple[IndexArray, dict[int, RequestError]]:
    """Rows of ids, -1 for unknown ones, with their errors by index; raises InvalidField for an empty id."""
    found = list(map(row_of, ids))
    if None not in found:
        return np.array(found, dtype=np.int64), {}
    failures: dict[int, RequestError] = {}
    for index, (row, each) in enumerate(zip(found, ids, strict=True)):
        if row is None:
            if not each:
                raise InvalidField(f"{field}[{index}]", "is empty; name one by its id")
            failures[index] = not_found(each, f"{field}[{index}]")
            found[index] = -1
    return np.array(found, dtype=np.int64), failures
