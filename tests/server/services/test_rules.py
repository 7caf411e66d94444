"""Recommend by rules on a real server: what each rule does, named rule sets, and rules beside all other options."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    AppliedRule,
    BatchRecommendRequest,
    EmbedNewUserRequest,
    ItemFilter,
    Rating,
    RatingHistory,
    RecommendRequest,
    RuleSet,
    StreamRecommendRequest,
    User,
)
from tests.support import synthetic
from tests.support.expected import COUNTS, DATASET, ITEM_IDS, KNOWN, N_ITEMS, RATED, ids_of, logits_of, ordered

GENRES = DATASET.catalogue.genres
DRAMAS = {row for row in range(N_ITEMS) if "Drama" in GENRES[row]}
UNRATED = set(range(N_ITEMS)) - set(RATED)
SCORES = logits_of("dot") + np.log1p(COUNTS)
DRAMA = ItemFilter(any_genres=["Drama"])
MANY = {
    "boosts": [
        {"filter": {"any_genres": ["Drama"]}, "multiply": 3},
        {"name": "old", "filter": {"max_release_year": 1990}, "add": -0.5},
    ],
    "pins": [{"item_id": "i007", "position": 2}, {"name": "ad", "item_id": ITEM_IDS[RATED[0]], "position": 5}],
    "caps": [{"attribute": "brand", "max_count": 2, "window": 4}],
    "guarantees": [{"name": "new", "filter": {"expression": 'tags:"new"'}, "min_count": 1, "window": 4}],
}


def rules(**fields) -> RuleSet:
    return json_format.ParseDict(fields, RuleSet())


def ask(api, **request):
    fields = {"user": KNOWN, "page_size": 1000, **request}
    return api.recommender.Recommend(RecommendRequest(**fields), timeout=10)


def unit_of(name: str) -> float:
    """Return the unit of calibrated scores by its definition: the median deviation of the scores of some users."""
    users = np.unique(np.linspace(0, synthetic.N_USERS - 1, 32).astype(int))
    return float(np.median([np.std(logits_of(name, user) + np.log1p(COUNTS)) for user in users]))


def test_a_boost_adds_to_the_calibrated_score_and_multiplies_its_odds(api, name) -> None:
    scores = logits_of(name) + np.log1p(COUNTS)
    change = unit_of(name) * (0.5 + np.log(2))
    boosted = scores + change * np.isin(np.arange(N_ITEMS), list(DRAMAS))
    rule_set = rules(boosts=[{"filter": {"any_genres": ["Drama"]}, "add": 0.5, "multiply": 2}])
    response = ask(api, rules=rule_set, model=ModelRef(name=name), explain_rules=True)
    assert ids_of(response) == ordered(boosted, UNRATED)
    rows = [ITEM_IDS.index(item_id) for item_id in ids_of(response)]
    np.testing.assert_allclose([result.score for result in response.results], boosted[rows], atol=1e-4)
    for row, result in zip(rows, response.results, strict=True):
        assert [rule.kind for rule in result.applied_rules] == [AppliedRule.KIND_BOOST] * (row in DRAMAS)
        assert all(rule.score_change == pytest.approx(change, rel=1e-4) for rule in result.applied_rules)


def test_a_boost_applies_to_a_ranking_part_and_to_a_model_that_only_ranks(api) -> None:
    rule_set = rules(boosts=[{"filter": {"any_genres": ["Drama"]}, "add": 100}])
    dramas = {ITEM_IDS[row] for row in DRAMAS & UNRATED}
    for name in ("ranker", "hybrid"):
        found = ids_of(ask(api, rules=rule_set, model=ModelRef(name=name)))
        assert set(found[: len(dramas)]) == dramas


def test_pins_stand_at_their_positions_even_if_the_user_rated_them_or_a_condition_excludes_them(api) -> None:
    rated, comedy = ITEM_IDS[RATED[0]], ITEM_IDS[next(row for row in UNRATED - DRAMAS if row > 0)]
    pins = [{"item_id": rated, "position": 1}, {"item_id": comedy, "position": 3, "name": "advert"}]
    response = ask(api, rules=rules(pins=pins), filter=DRAMA, explain_rules=True, return_items=True)
    rest = ordered(SCORES, UNRATED & DRAMAS)
    assert ids_of(response) == [rated, rest[0], comedy, *rest[1:]]
    assert [rule.name for rule in response.results[2].applied_rules] == ["advert"]
    assert response.results[0].applied_rules[0] == AppliedRule(name="pins[0]", kind=AppliedRule.KIND_PIN)
    assert response.results[2].item.item_id == comedy
    assert response.results[2].HasField("predicted_rating")


def test_a_request_that_names_its_items_leaves_out_pins_of_others(api) -> None:
    pins = rules(pins=[{"item_id": "i007", "position": 1}, {"item_id": "i008", "position": 2}])
    without = ask(api, rules=pins, filter=ItemFilter(excluded_item_ids=["i007"]))
    assert "i007" not in ids_of(without)
    assert ids_of(without)[1] == "i008"
    few = ask(api, rules=pins, filter=ItemFilter(candidate_item_ids=["i008", "i009", "i010"]))
    assert set(ids_of(few)) <= {"i008", "i009", "i010"}
    assert ids_of(few)[1] == "i008"


def test_unknown_items_of_pins_are_left_out_and_named(api) -> None:
    response = ask(api, rules=rules(pins=[{"item_id": "nothing", "position": 1}]))
    assert list(response.missing_item_ids) == ["nothing"]
    assert ids_of(response) == ordered(SCORES, UNRATED)


def test_pins_beyond_the_end_of_a_short_list_follow_at_its_end(api) -> None:
    pins = rules(pins=[{"item_id": "i008", "position": 90}, {"item_id": "i007", "position": 50}])
    response = ask(api, rules=pins, filter=ItemFilter(candidate_item_ids=["i007", "i008", "i009", "i011"]))
    assert ids_of(response)[-2:] == ["i007", "i008"]


@pytest.mark.parametrize(
    ("attribute", "size"), [("genres", 3), ("brand", 3), ("release_year", 60), ("tags", 3), ("in_stock", 2)]
)
def test_a_cap_holds_in_every_window_of_the_list(api, attribute, size) -> None:
    rule_set = rules(caps=[{"name": "cap", "attribute": attribute, "max_count": 1, "window": size}])
    response = ask(api, rules=rule_set, explain_rules=True, model=ModelRef(name="dot"))
    rows = [ITEM_IDS.index(item_id) for item_id in ids_of(response)]
    assert len(rows) > 5

    def values(row):
        if attribute == "genres":
            return set(GENRES[row])
        if attribute == "release_year":
            return {int(DATASET.catalogue.release_years[row])} - {0}
        value = synthetic.attribute_values(row)[attribute]
        return set() if value is None else set(value) if isinstance(value, tuple) else {value}

    for start in range(len(rows)):
        window = [value for row in rows[start : start + size] for value in values(row)]
        assert len(window) == len(set(window))
    held_back = [bool(result.applied_rules) for result in response.results]
    assert any(held_back)
    best = ordered(SCORES, UNRATED)
    moved_up = [best.index(id_) for id_, held in zip(ids_of(response), held_back, strict=True) if not held]
    assert moved_up == sorted(moved_up)


def test_a_guaranteed_share_holds_in_every_window_and_takes_the_last_places(api) -> None:
    share = {"name": "drama", "filter": {"any_genres": ["Drama"]}, "min_share": 0.75, "window": 4}
    response = ask(api, rules=rules(guarantees=[share]), explain_rules=True)
    is_drama = [ITEM_IDS.index(item_id) in DRAMAS for item_id in ids_of(response)]
    for start in range(len(is_drama) - 3):
        if sum(is_drama[start:]) >= 3:
            assert sum(is_drama[start : start + 4]) >= 3
    assert ids_of(response)[0] == ordered(SCORES, UNRATED)[0]
    assert sorted(ids_of(response)) == sorted(ordered(SCORES, UNRATED))
    reserved = [result.applied_rules for result in response.results if result.applied_rules]
    assert {(rule.name, rule.kind) for applied in reserved for rule in applied} == {
        ("drama", AppliedRule.KIND_GUARANTEE)
    }


def test_a_guarantee_for_more_items_than_there_are_gives_what_there_is(api) -> None:
    wanted = [ITEM_IDS[row] for row in sorted(UNRATED)[-2:]]
    group = {"filter": {"candidate_item_ids": [*wanted, "unknown"]}, "min_count": 4, "window": 5}
    response = ask(api, rules=rules(guarantees=[group]), page_size=5)
    assert set(ids_of(response)) >= set(wanted)
    nobody = {"filter": {"candidate_item_ids": ["unknown"]}, "min_count": 4, "window": 5}
    assert ids_of(ask(api, rules=rules(guarantees=[nobody]))) == ordered(SCORES, UNRATED)


OPTIONS = [
    {},
    {"diversity": 0.5},
    {"popularity_penalty": 1.0},
    {"min_predicted_rating": 2.0},
    {"include_rated": True},
    {"ranking": RecommendRequest.RANKING_PREDICTED_RATING, "min_predicted_rating": 2.5},
    {"filter": ItemFilter(min_release_year=1980)},
    {"user": User(history=RatingHistory(ratings=[Rating(item_id="i003", rating=5)]))},
    {"user": User(user_id="nobody"), "unknown_user_policy": RecommendRequest.UNKNOWN_USER_POLICY_POPULAR},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_pages_are_one_list_with_every_option(api, options) -> None:
    request = {"rules": rules(**MANY), "explain_rules": True, "model": ModelRef(name="dot"), **options}
    whole = ask(api, **request)
    assert whole.next_page_token == ""
    assert ids_of(whole)[1] == "i007"
    assert len(set(ids_of(whole))) == len(whole.results) > 20
    results, token = [], ""
    while True:
        page = ask(api, **request, page_size=9, page_token=token)
        results += page.results
        token = page.next_page_token
        if not token:
            break
    assert results == list(whole.results)


def test_a_batch_a_stream_and_an_embedding_give_the_same_list(api) -> None:
    model = ModelRef(name="dot")
    request = RecommendRequest(user=KNOWN, rules=rules(**MANY), page_size=20)
    plain = RecommendRequest(user=KNOWN, page_size=20)
    expected = [ids_of(ask(api, user=KNOWN, rules=request.rules, page_size=20)), ids_of(ask(api, page_size=20))]
    assert expected[0] != expected[1]
    batch = api.recommender.BatchRecommend(BatchRecommendRequest(requests=[request, plain, request], model=model))
    assert [ids_of(entry.response) for entry in batch.entries] == [expected[0], expected[1], expected[0]]
    messages = [StreamRecommendRequest(request_id=str(n), request=r) for n, r in enumerate([request, plain])]
    streamed = {m.request_id: ids_of(m.response) for m in api.recommender.StreamRecommend(iter(messages))}
    assert streamed == {"0": expected[0], "1": expected[1]}
    history = RatingHistory(ratings=[Rating(item_id="i003", rating=5), Rating(item_id="i030", rating=1)])
    embedded = api.recommender.EmbedNewUser(EmbedNewUserRequest(ratings=history.ratings)).embedding
    by_history = ask(api, user=User(history=history), rules=rules(**MANY))
    assert ids_of(by_history) == ids_of(ask(api, user=User(embedding=embedded), rules=rules(**MANY)))


def test_an_entry_of_a_batch_fails_alone_and_explains_nothing(api) -> None:
    wrong = RecommendRequest(user=KNOWN, rules=rules(pins=[{"item_id": "i001"}]))
    explained = RecommendRequest(user=KNOWN, rules=rules(**MANY), explain_rules=True)
    right = RecommendRequest(user=KNOWN, rules=rules(**MANY))
    batch = api.recommender.BatchRecommend(BatchRecommendRequest(requests=[wrong, explained, right]))
    assert "rules.pins[0].position" in batch.entries[0].error.message
    assert "explain_rules" in batch.entries[1].error.message
    assert batch.entries[2].response.results


GROUP = {"filter": {"any_genres": ["Drama"]}}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("boosts[0].filter", {"boosts": [{"add": 1}]}),
        ("boosts[1].add", {"boosts": [GROUP, {**GROUP, "add": 101}]}),
        ("boosts[0].add", {"boosts": [{**GROUP, "add": "NaN"}]}),
        ("boosts[0].multiply", {"boosts": [{**GROUP, "multiply": 0}]}),
        ("boosts[0].multiply", {"boosts": [{**GROUP, "multiply": "Infinity"}]}),
        ("boosts[0].name", {"boosts": [{**GROUP, "name": "x" * 65}]}),
        ("boosts[0].filter.any_genres[0]", {"boosts": [{"filter": {"any_genres": [""]}}]}),
        ("boosts[0].filter.expression", {"boosts": [{"filter": {"expression": "release_year >"}}]}),
        ("boosts[0].filter.expression", {"boosts": [{"filter": {"expression": "colour = 'red'"}}]}),
        ("boosts", {"boosts": [GROUP] * 17}),
        ("pins[0].item_id", {"pins": [{"position": 1}]}),
        ("pins[0].position", {"pins": [{"item_id": "i001", "position": 10_001}]}),
        ("pins[1].position", {"pins": [{"item_id": "i001", "position": 1}, {"item_id": "i002", "position": 1}]}),
        ("pins[1].item_id", {"pins": [{"item_id": "i001", "position": 1}, {"item_id": "i001", "position": 2}]}),
        ("caps[0].attribute", {"caps": [{"max_count": 1}]}),
        ("caps[0].attribute", {"caps": [{"attribute": "colour", "max_count": 1}]}),
        ("caps[0].max_count", {"caps": [{"attribute": "genres"}]}),
        ("caps[0].window", {"caps": [{"attribute": "genres", "max_count": 3, "window": 3}]}),
        ("guarantees[0].window", {"guarantees": [{**GROUP, "min_count": 1}]}),
        ("guarantees[0].min_count", {"guarantees": [{**GROUP, "window": 5}]}),
        ("guarantees[0].min_count", {"guarantees": [{**GROUP, "min_count": 6, "window": 5}]}),
        ("guarantees[0].min_share", {"guarantees": [{**GROUP, "min_share": 1.1, "window": 5}]}),
        (
            "guarantees[1].window",
            {"guarantees": [{**GROUP, "min_count": 1, "window": 5}, {**GROUP, "min_count": 1, "window": 6}]},
        ),
        ("guarantees", {"guarantees": [{**GROUP, "min_count": 3, "window": 5}] * 2}),
    ],
)
def test_wrong_and_contradictory_rules_are_refused_with_their_field(api, field, fields) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        ask(api, rules=rules(**fields))
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.value.details().startswith(f"rules.{field}: ")


def test_a_page_whose_explanation_may_be_too_large_is_refused(serve, served_models) -> None:
    api = serve(served_models, max_page_size=10_000, max_response_mib=1)
    assert ask(api, rules=rules(**MANY), page_size=120).results
    with pytest.raises(grpc.RpcError, match="explain_rules"):
        ask(api, rules=rules(**MANY), page_size=9000, explain_rules=True)


# Named rule sets.


@pytest.fixture
def shop(serve, dot_version, versions, tmp_path):
    """Return a server of one model, and a function that writes its rules.json and polls."""
    versions.copy(dot_version, tmp_path / "models")
    api = serve(tmp_path / "models", poll_interval_s=0, cache_mib=8)

    def write(content) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "models" / "dot" / "rules.json").write_text(text)
        api.server._live.watcher.poll()

    return api, write


def pin(item_id: str, position: int = 1):
    return {"pins": [{"item_id": item_id, "position": position}]}


def failure_of(api, **request):
    with pytest.raises(grpc.RpcError) as failure:
        ask(api, **request)
    return failure.value.code(), failure.value.details()


def test_a_named_rule_set_is_followed_from_poll_to_poll(shop) -> None:
    api, write = shop
    assert failure_of(api, rule_set="home")[0] == grpc.StatusCode.NOT_FOUND
    write({"rule_sets": {"home": pin("i005"), "mail": MANY}})
    assert ids_of(ask(api, rule_set="home"))[0] == "i005"
    assert ids_of(ask(api, rule_set="mail")) == ids_of(ask(api, rules=rules(**MANY)))
    write({"rule_sets": {"home": pin("i006")}})
    assert ids_of(ask(api, rule_set="home"))[0] == "i006"  # and not the cached response
    code, message = failure_of(api, rule_set="hoem")
    assert (code, '"home"' in message) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "rules.json"),
        ("[]", "must be a JSON object"),
        ('{"rule_sets": {"home": {"pinz": []}}}', "pinz"),
        ('{"rule_sets": {"Home": {}}}', "name of a rule set"),
        ('{"rule_sets": {"home": {"pins": [{"position": 1}]}}}', "rule_sets[home].pins[0].item_id"),
        ('{"rule_sets": {"home": {"boosts": [{"filter": {"expression": "a ="}}]}}}', "boosts[0].filter.expression"),
    ],
)
def test_an_invalid_file_is_refused_and_the_last_good_one_stays(shop, caplog, text, complaint) -> None:
    api, write = shop
    write({"rule_sets": {"home": pin("i005")}})
    write(text)
    write(text)
    assert ids_of(ask(api, rule_set="home"))[0] == "i005"
    logged = [record.message for record in caplog.records if "previous rule sets stay" in record.message]
    assert len(logged) == 1
    assert complaint in logged[0]


def test_a_rule_set_that_does_not_fit_the_version_says_so(shop) -> None:
    api, write = shop
    write({"rule_sets": {"home": {"caps": [{"attribute": "colour", "max_count": 1}]}}})
    code, message = failure_of(api, rule_set="home")
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert 'the model has no attribute "colour"' in message


def test_unknown_pins_of_a_named_rule_set_are_no_business_of_the_caller(shop) -> None:
    api, write = shop
    write({"rule_sets": {"home": pin("nothing")}})
    assert not ask(api, rule_set="home").missing_item_ids


def test_a_page_token_lasts_as_long_as_its_rule_set(shop) -> None:
    api, write = shop
    write({"rule_sets": {"home": pin("i005", 3), "mail": {}}})
    whole = ids_of(ask(api, rule_set="home"))
    first = ask(api, rule_set="home", page_size=4)
    second = ask(api, rule_set="home", page_size=4, page_token=first.next_page_token)
    assert ids_of(first) + ids_of(second) == whole[:8]
    write({"rule_sets": {"home": pin("i005", 3), "mail": pin("i001")}})
    assert ask(api, rule_set="home", page_size=4, page_token=second.next_page_token).results
    write({"rule_sets": {"home": pin("i005", 4)}})
    code, message = failure_of(api, rule_set="home", page_size=4, page_token=second.next_page_token)
    assert (code, "rule set has changed" in message) == (grpc.StatusCode.FAILED_PRECONDITION, True)


def test_requests_are_counted_by_rule_set_and_the_cache_serves_them(shop) -> None:
    api, write = shop
    write({"rule_sets": {"home": pin("i005")}})
    responses = [ask(api, rule_set="home") for _ in range(3)]
    ask(api, rules=rules(**MANY))
    failure_of(api, rule_set="unknown")
    counters = api.server.reporter.report().totals.counters
    assert counters["cofactor_rule_requests"] == {"home": 3, "(request)": 1}
    assert counters["cofactor_cache_requests"] == {"hit": 2, "miss": 2}
    assert len({tuple(ids_of(response)) for response in responses}) == 1
    assert len({response.recommendation_id for response in responses}) == 3


def test_an_empty_name_is_refused_and_a_request_without_rules_is_as_before(shop) -> None:
    api, write = shop
    assert failure_of(api, rule_set="")[0] == grpc.StatusCode.INVALID_ARGUMENT
    write({"rule_sets": {"home": {}}})
    plain = ask(api)
    assert ids_of(ask(api, rule_set="home")) == ids_of(plain) == ordered(SCORES, UNRATED)
