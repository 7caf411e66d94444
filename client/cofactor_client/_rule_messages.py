"""Build messages of filters and rules from plain values."""

from __future__ import annotations

from cofactor.v1 import recommender_pb2
from cofactor_client._filter_types import ItemFilter
from cofactor_client._rule_types import Boost, Guarantee, RuleSet


def item_filter_message(filter: ItemFilter | None) -> recommender_pb2.ItemFilter | None:
    """Build an ItemFilter message; None without a filter."""
    if filter is None:
        return None
    if not isinstance(filter, ItemFilter):
        raise TypeError(f"filter: must be an ItemFilter, not {type(filter).__name__}")
    return recommender_pb2.ItemFilter(
        candidate_item_ids=filter.candidate_item_ids,
        excluded_item_ids=filter.excluded_item_ids,
        any_genres=filter.any_genres,
        excluded_genres=filter.excluded_genres,
        min_release_year=filter.min_release_year,
        max_release_year=filter.max_release_year,
        min_rating_count=filter.min_rating_count,
        expression=filter.expression,
    )


def add_rules(
    request: recommender_pb2.RecommendRequest, rules: RuleSet | recommender_pb2.RuleSet | None, rule_set: str | None
) -> None:
    """Put rules, or the name of a rule set, into a request. Raises TypeError or ValueError for other values."""
    if rules is not None and rule_set is not None:
        raise ValueError("rules and rule_set: give only one of them")
    if rule_set is not None:
        request.rule_set = rule_set
    if isinstance(rules, recommender_pb2.RuleSet):
        request.rules.CopyFrom(rules)
    elif isinstance(rules, RuleSet):
        request.rules.CopyFrom(_rule_set(rules))
    elif rules is not None:
        raise TypeError(f"rules: must be a RuleSet, not {type(rules).__name__}; rule_set takes the name of one")


def _rule_set(rules: RuleSet) -> recommender_pb2.RuleSet:
    message = recommender_pb2.RuleSet
    return message(
        boosts=[_boost(boost) for boost in rules.boosts],
        pins=[message.Pin(name=pin.name, item_id=pin.item_id, position=pin.position) for pin in rules.pins],
        caps=[
            message.Cap(name=cap.name, attribute=cap.attribute, max_count=cap.max_count, window=cap.window)
            for cap in rules.caps
        ],
        guarantees=[_guarantee(guarantee) for guarantee in rules.guarantees],
    )


def _boost(boost: Boost) -> recommender_pb2.RuleSet.Boost:
    return recommender_pb2.RuleSet.Boost(
        name=boost.name, filter=item_filter_message(boost.filter), add=boost.add, multiply=boost.multiply
    )


def _guarantee(guarantee: Guarantee) -> recommender_pb2.RuleSet.Guarantee:
    return recommender_pb2.RuleSet.Guarantee(
        name=guarantee.name,
        filter=item_filter_message(guarantee.filter),
        min_count=guarantee.min_count,
        min_share=guarantee.min_share,
        window=guarantee.window,
    )
