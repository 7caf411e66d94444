"""Recommend to many users of the training data, with all processors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any

import numpy as np

from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.arrays import FloatArray, IndexArray
from cofactor_server.config import ServerConfig
from cofactor_server.errors import InvalidField
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.ranker import Ranking, RankingQuery
from cofactor_server.services.parsing.requests import RequestParser
from cofactor_server.services.recommend import RecommendPipeline
from cofactor_server.serving.loaded_version import LoadedVersion


@dataclass(frozen=True)
class Recommendations:
    """The recommendations of some users, one after the other.

    Attributes:
        user_rows: (n_users,).
        counts: (n_users,) number of items of each user.
        item_rows: (n,) items of all users, best first.
        scores: (n,).
        ratings: (n,) predicted ratings.
    """

    user_rows: IndexArray
    counts: IndexArray
    item_rows: IndexArray
    scores: FloatArray
    ratings: FloatArray


class BatchRecommender:
    """Answers one request for many users of a version, as Recommend would.

    request: the page size, the filter, the order and so on; it has no user, no model and no page token.
    n_threads: number of runs of the engine at a time; by default one for each processor.

    Raises InvalidField or another RequestError if Recommend would refuse the request.
    """

    def __init__(
        self, version: LoadedVersion, request: RecommendRequest, batch_size: int, n_threads: int | None = None
    ) -> None:
        for field in ("user", "model"):
            if request.HasField(field):
                raise InvalidField(field, "must be unset: it is chosen by the flags")
        if request.page_token or request.return_items:
            raise InvalidField("page_token" if request.page_token else "return_items", "must be unset")
        self._version = version
        self._request = request
        self._batch_size = batch_size
        self._query = self._parse()
        self._threads = ThreadPoolExecutor(n_threads or len(os.sched_getaffinity(0)), "recommend")

    def recommend(self, user_rows: Sequence[int]) -> Recommendations:
        """Return the recommendations of users of the training data, in the order of their rows."""
        if not user_rows:
            no_rows, no_floats = np.empty(0, np.int64), np.empty(0, np.float32)
            return Recommendations(no_rows, no_rows, no_rows, no_floats, no_floats)
        runs = [user_rows[start : start + self._batch_size] for start in range(0, len(user_rows), self._batch_size)]
        rankings = [ranking for run in self._threads.map(self._rank, runs) for ranking in run]
        return Recommendations(
            np.array(user_rows, dtype=np.int64),
            np.array([len(ranking.rows) for ranking in rankings], dtype=np.int64),
            np.concatenate([ranking.rows for ranking in rankings]),
            np.concatenate([ranking.scores for ranking in rankings]),
            np.concatenate([ranking.ratings for ranking in rankings]),
        )

    def __enter__(self) -> BatchRecommender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads, after the runs that are under way."""
        self._threads.shutdown(cancel_futures=True)

    def _parse(self) -> dict[str, Any]:
        """Check the request as Recommend does, for one user; return the fields of the query that all users share."""
        user_id = next(filter(None, self._version.user_ids.ids), None)
        if user_id is None:  # all users are erased
            return {}
        request = RecommendRequest()
        request.CopyFrom(self._request)
        request.user.user_id = user_id
        config = ServerConfig(models="", max_page_size=10_000, max_items_per_request=10_000_000)
        parsed = RecommendPipeline(RequestParser(config), Metrics()).parse_alone(self._version, request)
        if parsed.item_filter.missing_item_ids:
            missing = ", ".join(parsed.item_filter.missing_item_ids[:3])
            raise InvalidField("filter", f"names items that the version does not have, such as {missing}")
        return {field.name: getattr(parsed.query, field.name) for field in fields(RankingQuery) if field.name != "user"}

    def _rank(self, user_rows: Sequence[int]) -> list[Ranking]:
        known, query = self._version.users.known, self._query
        return self._version.ranker.rank_many([RankingQuery(known(row), **query) for row in user_rows])
