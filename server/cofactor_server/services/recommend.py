"""From RecommendRequest to RecommendResponse: one, or many that run together and fail alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cofactor.v1.recommender_pb2 import RecommendRequest, User
from cofactor_server.errors import InvalidField, RatingsUnsupported, RequestError
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.filters import EVERYTHING
from cofactor_server.ranking.ranker import Ranking, RankingQuery, always_wanted
from cofactor_server.services.pagination import Page, open_page
from cofactor_server.services.request_parsing import RequestReader, Selected, check_number
from cofactor_server.services.response_messages import recommendation_id
from cofactor_server.services.shadow import ShadowTraffic
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

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
    may_be_kept: bool


class Recommendations:
    """Answers Recommend requests; those of known users from what was answered before, where that was kept."""

    def __init__(self, reader: RequestReader, metrics: Metrics, shadow: ShadowTraffic | None = None) -> None:
        self._reader = reader
        self._metrics = metrics
        self._shadow = shadow

    def answer(self, repository: ModelRegistry, request: RecommendRequest, is_wanted: Callable[[], bool]) -> bytes:
        """One answer, an encoded RecommendResponse."""
        user = request.user
        page = open_page(repository, request, user.user_id)
        response = self._kept(page)
        if response is None:
            opened = self._open(page, request, user, is_wanted)
            response = self._encode([opened], [page.version.recommender.rank(opened.query)])[0]
        if repository.has_shadows and self._shadow is not None:
            self._shadow.offer(repository, page, request, response, self._rank_as_shadow)
        return page.version.encoder.complete(response, recommendation_id())

    def answer_each(
        self, repository: ModelRegistry, requests: Sequence[RecommendRequest], *, with_model: bool
    ) -> list[bytes | RequestError]:
        """An encoded RecommendResponse or an error for each request; those of one version run together.

        Canaries take no part without `with_model`: one answer to many requests then names one version.
        """
        answers: list[bytes | RequestError | None] = [None] * len(requests)
        by_version: dict[LoadedVersion, list[tuple[int, OpenRequest]]] = {}
        for position, request in enumerate(requests):
            try:
                user = request.user
                page = open_page(repository, request, user.user_id if with_model else "")
                response = self._kept(page)
                if response is None:
                    opened = self._open(page, request, user, always_wanted)
                    by_version.setdefault(page.version, []).append((position, opened))
                else:
                    complete = page.version.encoder.complete
                    answers[position] = complete(response, recommendation_id(), with_model=with_model)
            except RequestError as error:
                # With its traceback it would hold this frame, and through it itself and all answers.
                answers[position] = error.with_traceback(None)
        for version, entries in by_version.items():
            rankings = version.recommender.rank_many([opened.query for _, opened in entries])
            complete = version.encoder.complete
            responses = self._encode([opened for _, opened in entries], rankings)
            for (position, _), response in zip(entries, responses, strict=True):
                answers[position] = complete(response, recommendation_id(), with_model=with_model)
        return [answer for answer in answers if answer is not None]

    def _rank_as_shadow(self, version: LoadedVersion, request: RecommendRequest) -> list[str]:
        """What a version recommends, by id; nothing is kept or counted, and no caller's run is joined."""
        opened = self._open(Page(version, 0, b""), request, request.user, always_wanted)
        rows = version.recommender.rank_many([opened.query])[0].rows.tolist()
        return [version.item_ids.ids[row] for row in rows]

    def _open(self, page: Page, request: RecommendRequest, user: User, is_wanted: Callable[[], bool]) -> OpenRequest:
        """`user` is that of the request: every look into a message costs."""
        reader = self._reader
        version = page.version
        page_size = reader.page_size(request.page_size)
        diversity = request.diversity and check_number(request.diversity, "diversity", 0, 1)
        selected = reader.selection(version, request.filter) if request.HasField("filter") else _NO_FILTER
        vector = reader.user(version, user, request.unknown_user_policy)
        query = RankingQuery(  # by position: names cost a microsecond
            vector,
            page.offset,
            page_size,
            selected.selection,
            _popularity_weight(version, request),
            not request.include_rated,
            diversity,
            _min_rating(version, request),
            is_wanted,
        )
        may_be_kept = version.answers.is_on and not vector.is_fallback and user.HasField("user_id")
        return OpenRequest(page, query, selected, request.return_items, may_be_kept)

    def _kept(self, page: Page) -> bytes | None:
        """What was answered before, as `_encode` gave it."""
        answers = page.version.answers
        if not answers.is_on:
            return None
        response = answers.get((page.request, page.offset))
        if response is not None:
            self._metrics.count("cofactor_cache_requests", "hit")
        return response

    def _encode(self, opened: Sequence[OpenRequest], rankings: Sequence[Ranking]) -> list[bytes]:
        """The answers of one version, but for what is new in each: its id, and the model if wanted."""
        encoder = opened[0].page.version.encoder
        responses = []
        encoded = encoder.results(rankings, [each.return_items for each in opened])
        for each, ranking, results in zip(opened, rankings, encoded, strict=True):
            response = encoder.response(
                results,
                next_page_token=each.page.next_token(each.query.page_size) if ranking.has_more else "",
                missing_item_ids=each.selected.missing_item_ids,
                is_fallback=each.query.user.is_fallback,
            )
            if each.may_be_kept:
                self._metrics.count("cofactor_cache_requests", "miss")
                each.page.version.answers.put((each.page.request, each.page.offset), response)
            responses.append(response)
        return responses


class CoalescedRecommend:
    """Recommend for the calls that arrive together."""

    def __init__(self, repository: Callable[[], ModelRegistry], recommendations: Recommendations) -> None:
        self._repository = repository
        self._recommendations = recommendations

    def should_coalesce(self) -> bool:
        """Return True if every version is so fast that calls are not batched at the engine."""
        return self._repository().coalesces_calls

    def answer_batch(self, requests: Sequence[RecommendRequest]) -> list[bytes | RequestError]:
        """Return an encoded RecommendResponse or an error for every request."""
        return self._recommendations.answer_each(self._repository(), requests, with_model=True)


def _popularity_weight(version: LoadedVersion, request: RecommendRequest) -> float:
    """The multiple of log(rating count + 1) in the score; a model's own, where the request leaves the ranking to it."""
    penalty = request.popularity_penalty and check_number(
        request.popularity_penalty, "popularity_penalty", 0, LARGEST_PENALTY
    )
    ranking, default = request.ranking, version.manifest.default_popularity_weight
    if ranking == 0:
        return default - penalty
    if ranking == _PREDICTED_RATING:
        return -penalty
    if ranking == _POPULARITY_CORRECTED:
        return (default or 1.0) - penalty
    raise InvalidField("ranking", f"{ranking} is not a ranking; use one that the API names")


def _min_rating(version: LoadedVersion, request: RecommendRequest) -> float | None:
    if not request.HasField("min_predicted_rating"):
        return None
    if not version.predicts_ratings:
        raise RatingsUnsupported("min_predicted_rating")
    low, high = version.manifest.rating_min, version.manifest.rating_max
    return check_number(request.min_predicted_rating, "min_predicted_rating", low, high)
