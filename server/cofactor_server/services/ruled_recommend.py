"""Recommend by rules: choose the rule set of a request, rank by it, and say which rules had a say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from cofactor.v1.recommender_pb2 import AppliedRule, RecommendRequest, RecommendResponse, RuleSet, User
from cofactor_server.errors import InvalidField, PageTokenExpired, RequestError, RuleSetMismatch
from cofactor_server.observability.counters import Metrics
from cofactor_server.ranking.probabilities import Probabilities
from cofactor_server.ranking.ranker import RankingQuery, always_active
from cofactor_server.ranking.rules.rule_set import Kind, Pin, Rules
from cofactor_server.ranking.rules.ruled_ranker import RuledQuery, RuledRanking
from cofactor_server.services.pagination import RequestedPage, find_page
from cofactor_server.services.parsing.filters import ParsedFilter
from cofactor_server.services.parsing.rules import RuleParser
from cofactor_server.services.response_messages import scored_item_messages
from cofactor_server.serving.loaded_version import LoadedVersion
from cofactor_server.serving.registry import ModelRegistry

# Value of the metric's label for rules in the request itself; no rule set can have this name.
IN_REQUEST = "(request)"
_KINDS: dict[Kind, AppliedRule.Kind] = {
    "boost": AppliedRule.KIND_BOOST,
    "pin": AppliedRule.KIND_PIN,
    "cap": AppliedRule.KIND_CAP,
    "guarantee": AppliedRule.KIND_GUARANTEE,
}


class PlainRequest(Protocol):
    """A parsed Recommend request without its rules."""

    @property
    def query(self) -> RankingQuery:
        """The query without rules."""

    @property
    def item_filter(self) -> ParsedFilter:
        """The items that may be returned."""

    @property
    def return_items(self) -> bool:
        """True if the response has the title and attributes of every item."""

    @property
    def is_cacheable(self) -> bool:
        """True if the response may be cached."""

    @property
    def probabilities(self) -> Probabilities | None:
        """Computes the probabilities of the items; None if the request does not ask for them."""


@dataclass(slots=True, eq=False)
class _ChosenRules:
    """The rules of a request.

    Attributes:
        name: name of the rule set; empty for rules in the request.
        content: the serialized rule set.
        digest: changes with the content; empty for rules in the request, which its own bytes contain.
    """

    name: str
    content: bytes
    digest: bytes = b""


@dataclass(slots=True, eq=False)
class _RuledRequest:
    """A request with rules that is ready to be ranked."""

    page: RequestedPage
    plain: PlainRequest
    query: RuledQuery
    unknown_item_ids: Sequence[str]


class Complete(Protocol):
    """Completes an encoded response, as ListCompleter.complete does."""

    def __call__(
        self, page: RequestedPage, request: RecommendRequest, response: bytes, *, with_model: bool = True
    ) -> bytes:
        """Return the response with an id and, `with_model`, the model."""


class RuledRecommend:
    """Run Recommend requests that have rules.

    Args:
        rules: checks and parses rule sets.
        parse: parses the rest of a request.
        metrics: counts the requests by rule set.
        complete: completes responses.
    """

    def __init__(
        self,
        rules: RuleParser,
        parse: Callable[[RequestedPage, RecommendRequest, User, Callable[[], bool]], PlainRequest],
        metrics: Metrics,
        complete: Complete,
    ) -> None:
        self._complete = complete
        self._rules = rules
        self._parse_plain = parse
        self._metrics = metrics

    def run(
        self, registry: ModelRegistry, request: RecommendRequest, is_active: Callable[[], bool]
    ) -> tuple[RequestedPage, bytes]:
        """Return the page of a request and its encoded response, without the fields that the encoder completes."""
        page, rules = self._find_page(registry, request, request.user.user_id)
        response = self._cached(page)
        if response is None:
            ruled = self._parse(page, request, rules, is_active)
            response = self._encode(ruled, page.version.ruled_ranker.rank(ruled.query))
        return page, response

    def run_many(
        self, registry: ModelRegistry, requests: Sequence[RecommendRequest], *, with_model: bool
    ) -> list[bytes | RequestError]:
        """Return an encoded RecommendResponse or an error for every request; those of a version are ranked together."""
        responses: list[bytes | RequestError | None] = [None] * len(requests)
        by_version: dict[LoadedVersion, list[tuple[int, _RuledRequest]]] = {}
        for position, request in enumerate(requests):
            try:
                if request.explain_rules and not with_model:
                    # The size of a batch was checked before, without the names of the rules.
                    raise InvalidField("explain_rules", "must be false in an entry of a batch; use Recommend")
                page, rules = self._find_page(registry, request, request.user.user_id if with_model else "")
                response = self._cached(page)
                if response is None:
                    ruled = self._parse(page, request, rules, always_active)
                    by_version.setdefault(page.version, []).append((position, ruled))
                else:
                    responses[position] = self._complete(page, request, response, with_model=with_model)
            except RequestError as error:
                responses[position] = error.with_traceback(None)
        for version, entries in by_version.items():
            rankings = version.ruled_ranker.rank_many([ruled.query for _, ruled in entries])
            for (position, ruled), ranking in zip(entries, rankings, strict=True):
                encoded = self._encode(ruled, ranking)
                responses[position] = self._complete(ruled.page, requests[position], encoded, with_model=with_model)
        return [response for response in responses if response is not None]

    def rank_as_shadow(self, registry: ModelRegistry) -> Callable[[LoadedVersion, RecommendRequest], list[str]]:
        """Return a function that returns the ids of the items that a shadow version recommends by the same rules."""
        return partial(self._rank_as_shadow, registry)

    def _rank_as_shadow(self, registry: ModelRegistry, version: LoadedVersion, request: RecommendRequest) -> list[str]:
        rules = self._choose(registry, version, request)
        ruled = self._parse(RequestedPage(version, 0, b""), request, rules, always_active)
        rows = version.ruled_ranker.rank_many([ruled.query])[0].ranking.rows.tolist()
        return [version.item_ids.ids[row] for row in rows]

    def _cached(self, page: RequestedPage) -> bytes | None:
        response = page.version.response_cache.get(_cache_key(page))
        if response is not None:
            self._metrics.count("cofactor_cache_requests", "hit")
        return response

    def _find_page(
        self, registry: ModelRegistry, request: RecommendRequest, user_id: str
    ) -> tuple[RequestedPage, _ChosenRules]:
        """Return the page and the rules of a request; raises PageTokenExpired if the rule set has changed."""
        page = find_page(registry, request, user_id)
        rules = self._choose(registry, page.version, request)
        self._metrics.count("cofactor_rule_requests", rules.name or IN_REQUEST)
        if page.offset and page.rules_digest != rules.digest:
            raise PageTokenExpired("its rule set has changed")
        page.rules_digest = rules.digest
        return page, rules

    @staticmethod
    def _choose(registry: ModelRegistry, version: LoadedVersion, request: RecommendRequest) -> _ChosenRules:
        if request.WhichOneof("rule_choice") == "rules":
            return _ChosenRules("", request.rules.SerializeToString(deterministic=True))
        if not request.rule_set:
            raise InvalidField("rule_set", "is empty; name a rule set, or leave it unset")
        named = registry.rule_set(version.manifest.name, request.rule_set)
        return _ChosenRules(named.name, named.content, named.digest)

    def _parse(
        self, page: RequestedPage, request: RecommendRequest, rules: _ChosenRules, is_active: Callable[[], bool]
    ) -> _RuledRequest:
        version = page.version
        parsed = self._parse_plain(page, request, request.user, is_active)
        if request.explain_rules:
            version.response_sizes.check_explained(parsed.query.page_size, with_items=request.return_items)
        if parsed.query.exploration is not None:
            raise InvalidField("exploration_share", "must be 0 in a request with rules, which decide about every place")
        compiled = version.compiled_rules.get(rules.content, partial(self._compile, version, rules))
        pins = _shown_pins(version, compiled.pins, request)
        unit = 1.0
        if compiled.boosts:
            orders = version.orders.new if parsed.query.user.is_new else version.orders.known
            unit = version.score_units.of(orders[request.ranking])
        query = RuledQuery(parsed.query, compiled, pins, unit, request.explain_rules)
        unknown = () if rules.name else compiled.unknown_item_ids
        return _RuledRequest(page, parsed, query, unknown)

    def _compile(self, version: LoadedVersion, rules: _ChosenRules) -> Rules:
        message = RuleSet.FromString(rules.content)
        try:
            if not rules.name:  # those of the repository were checked when they were read
                self._rules.check(message)
            return self._rules.parse(version, message)
        except InvalidField as error:
            if rules.name:
                raise RuleSetMismatch(rules.name, str(error)) from None
            error.rename_field(f"rules.{error.field}")
            raise

    def _encode(self, ruled: _RuledRequest, found: RuledRanking) -> bytes:
        """Encode and cache a response, still without its id and its model."""
        page, plain, ranking = ruled.page, ruled.plain, found.ranking
        if plain.probabilities is not None:
            ranking = plain.probabilities.add_to(ranking, plain.query.user, page.version.scorer)
        encoder = page.version.response_encoder
        if found.applied is None:
            results = encoder.results([ranking], [plain.return_items])[0]
        else:
            results = _explained_results(page.version, replace(found, ranking=ranking), with_items=plain.return_items)
        response = encoder.response(
            results,
            next_page_token=page.next_token(plain.query.page_size) if ranking.has_more else "",
            missing_item_ids=[*plain.item_filter.missing_item_ids, *ruled.unknown_item_ids],
            is_fallback=plain.query.user.is_fallback,
        )
        if plain.is_cacheable:
            self._metrics.count("cofactor_cache_requests", "miss")
            page.version.response_cache.put(_cache_key(page), response)
        return response


def _cache_key(page: RequestedPage) -> tuple[bytes, int]:
    """Return the key of a page in the response cache. A rule set that changes makes another key."""
    return page.request_key + page.rules_digest, page.offset


def _shown_pins(version: LoadedVersion, pins: Sequence[Pin], request: RecommendRequest) -> Sequence[Pin]:
    """Return the pins that the request does not leave out by naming the item, or by naming others as candidates.

    Conditions on attributes do not leave out a pin: an operator wants it there.
    """
    candidates, excluded = request.filter.candidate_item_ids, request.filter.excluded_item_ids
    if not pins or not (candidates or excluded):
        return pins
    allowed, refused, item_ids = set(candidates), set(excluded), version.item_ids.ids
    return [pin for pin in pins if item_ids[pin.row] not in refused and (not allowed or item_ids[pin.row] in allowed)]


def _explained_results(version: LoadedVersion, found: RuledRanking, *, with_items: bool) -> bytes:
    """Encode results with the rules that had a say in their places."""
    results = scored_item_messages(version, found.ranking, with_items=with_items)
    ratings = found.ranking.ratings.tolist()
    probabilities = found.ranking.probabilities
    if probabilities is not None:
        for result, probability in zip(results, probabilities.tolist(), strict=True):
            if not math.isnan(probability):
                result.probability = probability
    for result, rating, applied in zip(results, ratings, found.applied or (), strict=True):
        if version.predicts_ratings:
            result.predicted_rating = rating
        for rule in applied:
            result.applied_rules.add(name=rule.name, kind=_KINDS[rule.kind], score_change=rule.score_change)
    return RecommendResponse(results=results).SerializeToString()
