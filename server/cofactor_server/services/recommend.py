"""Recommend: run one request, or rank many together, each of which succeeds or fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cofactor.v1.recommender_pb2 import RecommendRequest, User
from cofactor_server.errors import InvalidField, ProbabilitiesUnsupported, RatingsUnsupported, RequestError
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.orders import Order
from cofactor_server.ranking.probabilities import Probabilities
from cofactor_server.ranking.ranker import Exploration, Ranking, RankingQuery, UserVector, always_active
from cofactor_server.services.canary_traffic import CanaryTraffic
from cofactor_server.services.pagination import RequestedPage, find_page
from cofactor_server.services.parsing.checks import check_number
from cofactor_server.services.parsing.filters import UNFILTERED, ParsedFilter
from cofactor_server.services.parsing.requests import RequestParser
from cofactor_server.services.ruled_recommend import RuledRecommend
from cofactor_server.services.served_lists import ListCompleter
from cofactor_server.services.shadow import ShadowTraffic
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

LARGEST_PENALTY = 10.0


@dataclass(slots=True, eq=False)
class ParsedRequest:
    """A Recommend request that is checked and ready to be ranked.

    Attributes:
        page: the page that it asks for.
        query: the query for the ranker.
        item_filter: the items that may be returned.
        return_items: True if the response has the title and attributes of every item.
        is_cacheable: True if the response may be cached.
        probabilities: computes the probabilities of the items; None if the request does not ask for them.
    """

    page: RequestedPage
    query: RankingQuery
    item_filter: ParsedFilter
    return_items: bool
    is_cacheable: bool
    probabilities: Probabilities | None


class RecommendPipeline:
    """Parse, rank and encode Recommend requests; responses to known users come from the cache if they are in it."""

    def __init__(
        self,
        parser: RequestParser,
        metrics: Metrics,
        shadow: ShadowTraffic | None = None,
        completer: ListCompleter | None = None,
    ) -> None:
        """`completer` gives the responses their ids; without one no list is offered to a feedback log."""
        self._parser = parser
        self._parse_user = parser.users.parse
        self._metrics = metrics
        self._shadow = shadow
        self._canaries = CanaryTraffic(metrics)
        self._complete = (completer or ListCompleter()).complete
        self._ruled = RuledRecommend(parser.rules, self._parse, metrics, self._complete)

    def run(self, registry: ModelRegistry, request: RecommendRequest, is_active: Callable[[], bool]) -> bytes:
        """Return an encoded RecommendResponse; work may be dropped once `is_active` returns False."""
        if registry.has_canaries:
            return self._canaries.run(registry, request, partial(self._run, registry, request, is_active))
        return self._run(registry, request, is_active)

    def _run(self, registry: ModelRegistry, request: RecommendRequest, is_active: Callable[[], bool]) -> bytes:
        has_rules = request.WhichOneof("rule_choice") is not None
        if has_rules:
            page, response = self._ruled.run(registry, request, is_active)
        else:
            user = request.user
            page = find_page(registry, request, user.user_id)
            cached = self._cached(page)
            if cached is None:
                parsed = self._parse(page, request, user, is_active)
                response = self._encode([parsed], [page.version.ranker.rank(parsed.query)])[0]
            else:
                response = cached
        if registry.has_shadows and self._shadow is not None:
            rank = self._ruled.rank_as_shadow(registry) if has_rules else self._rank_as_shadow
            self._shadow.offer(registry, page, request, response, rank)
        return self._complete(page, request, response)

    def run_many(
        self, registry: ModelRegistry, requests: Sequence[RecommendRequest], *, with_model: bool
    ) -> list[bytes | RequestError]:
        """Return an encoded RecommendResponse or an error for every request; those of one version are ranked together.

        Without `with_model`, responses do not name their version, because the caller names one version for all of them.
        Canaries are then left out.
        """
        if with_model and registry.has_canaries:
            run = partial(self._run_many, registry, requests, with_model=True)
            return self._canaries.run_many(registry, requests, run)
        return self._run_many(registry, requests, with_model=with_model)

    def _run_many(
        self, registry: ModelRegistry, requests: Sequence[RecommendRequest], *, with_model: bool
    ) -> list[bytes | RequestError]:
        responses: list[bytes | RequestError | None] = [None] * len(requests)
        by_version: dict[LoadedVersion, list[tuple[int, ParsedRequest]]] = {}
        ruled: list[int] = []
        for position, request in enumerate(requests):
            try:
                if request.WhichOneof("rule_choice") is not None:
                    ruled.append(position)
                    continue
                user = request.user
                page = find_page(registry, request, user.user_id if with_model else "")
                response = self._cached(page)
                if response is None:
                    parsed = self._parse(page, request, user, always_active)
                    by_version.setdefault(page.version, []).append((position, parsed))
                else:
                    responses[position] = self._complete(page, request, response, with_model=with_model)
            except RequestError as error:
                # A traceback would refer to this frame, which refers to the error and to all responses: a cycle.
                responses[position] = error.with_traceback(None)
        for version, entries in by_version.items():
            rankings = version.ranker.rank_many([parsed.query for _, parsed in entries])
            encoded = self._encode([parsed for _, parsed in entries], rankings)
            for (position, parsed), response in zip(entries, encoded, strict=True):
                responses[position] = self._complete(parsed.page, requests[position], response, with_model=with_model)
        if ruled:
            found = self._ruled.run_many(registry, [requests[index] for index in ruled], with_model=with_model)
            for position, result in zip(ruled, found, strict=True):
                responses[position] = result
        return [response for response in responses if response is not None]

    def _rank_as_shadow(self, version: LoadedVersion, request: RecommendRequest) -> list[str]:
        """Return the ids of the items that a shadow version recommends; nothing is cached or counted."""
        parsed = self.parse_alone(version, request)
        # Not rank(), which may batch this query with those of callers.
        rows = version.ranker.rank_many([parsed.query])[0].rows.tolist()
        return [version.item_ids.ids[row] for row in rows]

    def parse_alone(self, version: LoadedVersion, request: RecommendRequest) -> ParsedRequest:
        """Parse a request outside of any call, for this version and the first page; raises RequestError."""
        return self._parse(RequestedPage(version, 0, b""), request, request.user, always_active)

    def _parse(
        self, page: RequestedPage, request: RecommendRequest, user: User, is_active: Callable[[], bool]
    ) -> ParsedRequest:
        """Parse a request; `user` is its user, passed along because reading a field of a message costs time."""
        version = page.version
        page_size = self._parser.page_size(request.page_size)
        if page_size > version.response_sizes.safe_page_size:
            version.response_sizes.check(page_size, with_items=request.return_items)
        diversity = request.diversity and check_number(request.diversity, "diversity", 0, 1)
        item_filter = self._parser.filters.parse(version, request.filter) if request.HasField("filter") else UNFILTERED
        vector = self._parse_user(version, user, request.unknown_user_policy)
        exploration = None
        if request.exploration_share:
            exploration = parse_exploration(request.exploration_share, page)
        query = RankingQuery(  # positional: keyword arguments cost a microsecond
            vector,
            page.offset,
            page_size,
            item_filter.selection,
            parse_order(version, vector, request.ranking, request.popularity_penalty),
            not request.include_rated,
            diversity,
            _min_rating(version, request),
            is_active,
            exploration,
        )
        is_cacheable = version.response_cache.is_on and not vector.is_fallback and user.HasField("user_id")
        probabilities = None
        if request.return_probabilities:
            probabilities = version.probabilities
            if probabilities is None:
                raise ProbabilitiesUnsupported
            version.response_sizes.check_probabilities(page_size, with_items=request.return_items)
        return ParsedRequest(page, query, item_filter, request.return_items, is_cacheable, probabilities)

    def _cached(self, page: RequestedPage) -> bytes | None:
        """Return the cached response for a page, as _encode() made it."""
        cache = page.version.response_cache
        if not cache.is_on:
            return None
        response = cache.get((page.request_key, page.offset))
        if response is not None:
            self._metrics.count("cofactor_cache_requests", "hit")
        return response

    def _encode(self, requests: Sequence[ParsedRequest], rankings: Sequence[Ranking]) -> list[bytes]:
        """Encode and cache the responses of one version, still without their ids and their model."""
        version = requests[0].page.version
        encoder, scorer = version.response_encoder, version.scorer
        rankings = [
            ranking if parsed.probabilities is None else parsed.probabilities.add_to(ranking, parsed.query.user, scorer)
            for parsed, ranking in zip(requests, rankings, strict=True)
        ]
        responses = []
        encoded = encoder.results(rankings, [parsed.return_items for parsed in requests])
        for parsed, ranking, results in zip(requests, rankings, encoded, strict=True):
            response = encoder.response(
                results,
                next_page_token=parsed.page.next_token(parsed.query.page_size) if ranking.has_more else "",
                missing_item_ids=parsed.item_filter.missing_item_ids,
                is_fallback=parsed.query.user.is_fallback,
            )
            if parsed.is_cacheable:
                self._metrics.count("cofactor_cache_requests", "miss")
                parsed.page.version.response_cache.put((parsed.page.request_key, parsed.page.offset), response)
            responses.append(response)
        return responses


class CoalescedRecommend:
    """Run the Recommend calls that arrived together as one; implements transport's CoalescedMethod."""

    def __init__(self, registry: Callable[[], ModelRegistry], pipeline: RecommendPipeline) -> None:
        self._registry = registry
        self._pipeline = pipeline

    def should_coalesce(self) -> bool:
        """Return True if every version is so quick that calls are coalesced here and not batched at the engine."""
        return self._registry().coalesces_calls

    def answer_batch(self, requests: Sequence[RecommendRequest]) -> list[bytes | RequestError]:
        """Return an encoded response or an error for every request."""
        return self._pipeline.run_many(self._registry(), requests, with_model=True)


def parse_order(version: LoadedVersion, user: UserVector, ranking: int, penalty: float) -> Order:
    """Return the order that a request asks for; raises InvalidField if there is none."""
    orders = version.orders
    order = (orders.new if user.is_new else orders.known).get(ranking)
    if order is None:
        raise InvalidField("ranking", f"{ranking} is not a ranking; use one that the API names")
    if penalty:
        return orders.penalised(order, check_number(penalty, "popularity_penalty", 0, LARGEST_PENALTY))
    return order


def parse_exploration(share: float, page: RequestedPage) -> Exploration:
    """Return the places for added items; raises InvalidField."""
    share = check_number(share, "exploration_share", 0, 1)
    seed = page.request_key + b"%d" % page.version.overlay_sequence
    return Exploration(round(share, 6), seed)  # a float of 32 bits is not quite the number that the caller wrote


def _min_rating(version: LoadedVersion, request: RecommendRequest) -> float | None:
    """Return the lowest predicted rating that the request allows, None if it names none."""
    if not request.HasField("min_predicted_rating"):
        return None
    if not version.predicts_ratings:
        raise RatingsUnsupported("min_predicted_rating")
    low, high = version.manifest.rating_min, version.manifest.rating_max
    return check_number(request.min_predicted_rating, "min_predicted_rating", low, high)
