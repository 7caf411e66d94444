"""From RecommendRequest to RecommendResponse: one, or many that run together and fail alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cofactor.v1.recommender_pb2 import RecommendRequest
from cofactor_server.errors import InvalidField, RatingsUnsupported, RequestError
from cofactor_server.filters import EVERYTHING
from cofactor_server.pages import Page, open_page
from cofactor_server.recommender import Ranking, RankingQuery, always_wanted
from cofactor_server.repository import ModelRepository
from cofactor_server.requests import RequestReader, Selected, check_number
from cofactor_server.responses import recommendation_id
from cofactor_server.version import ModelVersion

LARGEST_PENALTY = 10.0
_PREDICTED_RATING = RecommendRequest.RANKING_PREDICTED_RATING
_POPULARITY_CORRECTED = RecommendRequest.RANKING_POPULARITY_CORRECTED
_NO_FILTER = Selected(EVERYTHING)


@dataclass(slots=True, eq=False)
class OpenRequest:
    """A request that was read and can run."""

    page: Page
    query: RankingQuery
    selected: Selected
    return_items: bool


class Recommendations:
    """Answers Recommend requests."""

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader

    def answer(self, repository: ModelRepository, request: RecommendRequest, is_wanted: Callable[[], bool]) -> bytes:
        """One answer, an encoded RecommendResponse."""
        opened = self._open(open_page(repository, request, request.user.user_id), request, is_wanted)
        return _response(opened, opened.page.version.recommender.rank(opened.query), with_model=True)

    def answer_each(
        self, repository: ModelRepository, requests: Sequence[RecommendRequest], *, with_model: bool
    ) -> list[bytes | RequestError]:
        """An encoded RecommendResponse or an error for each request; those of one version run together.

        Canaries take no part: one answer to many requests names one version.
        """
        answers: list[bytes | RequestError | None] = [None] * len(requests)
        by_version: dict[ModelVersion, list[tuple[int, OpenRequest]]] = {}
        for position, request in enumerate(requests):
            try:
                opened = self._open(open_page(repository, request), request, always_wanted)
            except RequestError as error:
                answers[position] = error
            else:
                by_version.setdefault(opened.page.version, []).append((position, opened))
        for version, entries in by_version.items():
            rankings = version.recommender.rank_many([opened.query for _, opened in entries])
            for (position, opened), ranking in zip(entries, rankings, strict=True):
                answers[position] = _response(opened, ranking, with_model=with_model)
        return [answer for answer in answers if answer is not None]

    def _open(self, page: Page, request: RecommendRequest, is_wanted: Callable[[], bool]) -> OpenRequest:
        reader = self._reader
        version = page.version
        page_size = reader.page_size(request.page_size)
        check_number(request.diversity, "diversity", 0, 1)
        check_number(request.popularity_penalty, "popularity_penalty", 0, LARGEST_PENALTY)
        selected = reader.selection(version, request.filter) if request.HasField("filter") else _NO_FILTER
        query = RankingQuery(
            user=reader.user(version, request.user, request.unknown_user_policy),
            offset=page.offset,
            page_size=page_size,
            selection=selected.selection,
            popularity_weight=_popularity_weight(version, request),
            leave_out_rated=not request.include_rated,
            diversity=request.diversity,
            min_rating=_min_rating(version, request),
            is_wanted=is_wanted,
        )
        return OpenRequest(page, query, selected, request.return_items)


def _response(opened: OpenRequest, ranking: Ranking, *, with_model: bool) -> bytes:
    return opened.page.version.encoder.response(
        ranking,
        recommendation_id=recommendation_id(),
        with_items=opened.return_items,
        next_page_token=opened.page.next_token(opened.query.page_size) if ranking.has_more else "",
        missing_item_ids=opened.selected.missing_item_ids,
        is_fallback=opened.query.user.is_fallback,
        with_model=with_model,
    )


def _popularity_weight(version: ModelVersion, request: RecommendRequest) -> float:
    """The multiple of log(rating count + 1) in the score; a model's own, where the request leaves the ranking to it."""
    default = version.manifest.default_popularity_weight
    if request.ranking == _PREDICTED_RATING:
        return -request.popularity_penalty
    if request.ranking == _POPULARITY_CORRECTED:
        return (default or 1.0) - request.popularity_penalty
    if request.ranking != 0:
        raise InvalidField("ranking", f"{request.ranking} is not a ranking; use one that the API names")
    return default - request.popularity_penalty


def _min_rating(version: ModelVersion, request: RecommendRequest) -> float | None:
    if not request.HasField("min_predicted_rating"):
        return None
    if not version.predicts_ratings:
        raise RatingsUnsupported("min_predicted_rating")
    low, high = version.manifest.rating_min, version.manifest.rating_max
    return check_number(request.min_predicted_rating, "min_predicted_rating", low, high)
