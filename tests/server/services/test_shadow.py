"""Shadow traffic: requests run on a second version too, and no caller notices."""

from __future__ import annotations

import dataclasses
import gc
import json
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import EmbedNewUserRequest, Rating, RecommendRequest, RuleSet, User
from cofactor_server.observability.counters import SECONDS, Metrics, MetricTotals
from cofactor_server.services.shadow import MOST_WAITING, overlap
from tests.support import synthetic
from tests.support.waiting import until

USERS = [f"u{number:03d}" for number in range(synthetic.N_USERS)]
PINS = [{"item_id": f"i{row:03d}", "position": row} for row in range(1, 11)]
FIRST_SECONDS = 3  # after the three outcomes
FIRST_OVERLAPS = FIRST_SECONDS + len(SECONDS) + 2


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory):
    """Return a model with version 1, and version 2 whose lists have about half of their items in common."""
    from cofactor_trainer.export.version_writer import export_version

    models, model = tmp_path_factory.mktemp("two"), synthetic.make_model()
    noise = np.random.default_rng(1).normal(0, 0.5, model.user_factors.shape).astype(np.float32)
    changed = dataclasses.replace(model, user_factors=model.user_factors + noise)
    for version, trained in (("1", model), ("2", changed)):
        export_version(trained, synthetic.make_dataset(), models, "dot", version, metrics={}, hyperparameters={})
    return models / "dot"


@pytest.fixture
def models(two_versions, versions, tmp_path):
    for version in ("1", "2"):
        versions.copy(two_versions / version, tmp_path / "models")
    set_policy(tmp_path / "models", labels={"stable": "1", "next": "2"}, shadow_percent={"next": 100})
    return tmp_path / "models"


def set_policy(models, **policy) -> None:
    (models / "dot" / "serving.json").write_text(json.dumps(policy))


def ask(api, user_id="u003", **request):
    return api.recommender.Recommend(RecommendRequest(user=User(user_id=user_id), **request), timeout=10)


def items(response):
    return [result.item_id for result in response.results]


def loaded(api, version):
    return api.server.repository.get(f"dot/{version}")


def counts(api):
    """Return how many requests version 2 compared, failed and dropped."""
    row = api.server.reporter.report().totals.shadows.get(("dot", "2"), [0, 0, 0])
    return tuple(row[:FIRST_SECONDS])


def test_callers_get_the_same_responses_and_the_overlap_is_measured(serve, models) -> None:
    api = serve(models)
    responses = {user: ask(api, user) for user in USERS}
    until(lambda: sum(counts(api)) == len(USERS))
    n_compared = int(counts(api)[0])
    totals = api.server.reporter.report().totals
    assert n_compared + counts(api)[2] == len(USERS)
    assert {response.model.version for response in responses.values()} == {"1"}
    assert len(loaded(api, "2").response_cache) == 0, "responses of the shadow are not cached"
    assert totals.counters["cofactor_cache_requests"] == {"miss": len(USERS)}
    assert list(totals.requests) == [("Recommend", "OK")]
    assert sum(totals.requests["Recommend", "OK"][: len(SECONDS) + 1]) == len(USERS)
    for user in USERS:
        assert items(ask(api, user, model=ModelRef(version="1"))) == items(responses[user])


def test_the_overlap_is_that_of_the_two_responses(serve, models) -> None:
    api = serve(models)
    for n_done, user in enumerate(USERS, 1):
        ask(api, user)
        until(lambda n=n_done: counts(api) == (n, 0, 0))
    row = api.server.reporter.report().totals.shadows["dot", "2"]
    expected = [
        overlap(items(ask(api, user, model=ModelRef(version="1"))), items(ask(api, user, model=ModelRef(version="2"))))
        for user in USERS
    ]
    assert 0.2 < np.mean(expected) < 0.9, "the two lists differ, and not in everything"
    assert row[-1] / row[0] == pytest.approx(np.mean(expected))
    assert sum(row[FIRST_OVERLAPS:-1]) == sum(row[FIRST_SECONDS : FIRST_OVERLAPS - 1]) == len(USERS)
    assert 0 < row[FIRST_OVERLAPS - 1] < 10, "seconds"


def test_concurrent_calls_are_all_shadowed_or_dropped(serve, models) -> None:
    api = serve(models)
    with ThreadPoolExecutor(16) as callers:
        responses = list(callers.map(lambda number: ask(api, USERS[number % len(USERS)]), range(400)))
    assert {response.model.version for response in responses} == {"1"}
    until(lambda: sum(counts(api)) == 400)
    assert counts(api)[1] == 0


def test_only_its_share_of_users_is_shadowed_from_the_cache_too(serve, models) -> None:
    set_policy(models, labels={"stable": "1", "next": "2"}, shadow_percent={"next": 30})
    api = serve(models)
    routing = api.server._live.watcher.snapshot["dot"].routing
    shadowed = [user for user in USERS if routing.shadow_for(user)]
    assert 0.1 * len(USERS) < len(shadowed) < 0.6 * len(USERS)
    for _ in range(2):
        for user in USERS:
            ask(api, user)
            time.sleep(0.002)
    until(lambda: sum(counts(api)) == 2 * len(shadowed))


def test_requests_that_choose_a_version_or_a_later_page_or_name_no_user_are_not_shadowed(serve, models) -> None:
    api = serve(models)
    page = ask(api, page_size=3)
    ask(api, page_size=3, page_token=page.next_page_token)
    ask(api, model=ModelRef(version="1"))
    ask(api, model=ModelRef(label="stable"))
    ask(api, model=ModelRef(label="next"))
    folded = api.recommender.EmbedNewUser(
        EmbedNewUserRequest(ratings=[Rating(item_id="i001", rating=4)]), timeout=10
    ).embedding
    api.recommender.Recommend(RecommendRequest(user=User(embedding=folded)), timeout=10)
    until(lambda: sum(counts(api)) == 1)  # the first page
    time.sleep(0.05)
    assert sum(counts(api)) == 1


def test_a_canary_is_not_its_own_shadow(serve, models) -> None:
    shares = {"canary_percent": {"next": 100}, "shadow_percent": {"next": 100}}
    set_policy(models, labels={"stable": "1", "next": "2"}, **shares)
    api = serve(models)
    assert ask(api).model.version == "2"
    time.sleep(0.05)
    assert sum(counts(api)) == 0


def test_a_failing_shadow_is_counted_and_logged_once(serve, models, caplog) -> None:
    api = serve(models)

    def fail(_queries):
        raise RuntimeError("out of memory")

    loaded(api, "2").ranker.rank_many = fail
    for n_done, user in enumerate(USERS[:5], 1):
        assert ask(api, user).model.version == "1"
        until(lambda n=n_done: counts(api) == (0, n, 0))
    assert caplog.text.count("shadow dot/2 fails") == 1
    assert "out of memory" in caplog.text


def test_a_user_unknown_to_the_shadow_counts_as_a_failure(serve, models) -> None:
    api = serve(models)
    del loaded(api, "2").user_ids._rows["u003"]
    assert ask(api, "u003").model.version == "1"
    until(lambda: counts(api) == (0, 1, 0))


def test_a_full_queue_drops_requests_and_no_caller_waits(serve, models) -> None:
    api = serve(models)
    entered, opened = threading.Event(), threading.Event()
    rank_many = loaded(api, "2").ranker.rank_many

    def wait_and_rank(queries):
        entered.set()
        opened.wait(20)
        return rank_many(queries)

    loaded(api, "2").ranker.rank_many = wait_and_rank
    ask(api)
    assert entered.wait(10)
    for number in range(MOST_WAITING + 7):
        ask(api, USERS[number % len(USERS)])
    assert counts(api) == (0, 0, 7)
    opened.set()
    until(lambda: counts(api) == (1 + MOST_WAITING, 0, 7))


def test_shadows_are_dropped_while_more_than_half_of_the_threads_are_busy(serve, models) -> None:
    api = serve(models, threads=4, cache_mib=0)
    opened, entered = threading.Event(), threading.Semaphore(0)
    rank = loaded(api, "1").ranker.rank

    def wait_and_rank(query):
        if query.page_size == 7:
            entered.release()
            opened.wait(20)
        return rank(query)

    loaded(api, "1").ranker.rank = wait_and_rank
    request = RecommendRequest(user=User(user_id="u001"), page_size=7, model=ModelRef(version="1"))
    slow = [api.recommender.Recommend.future(request, timeout=20) for _ in range(2)]
    for _ in slow:
        assert entered.acquire(timeout=10)
    ask(api)
    until(lambda: counts(api) == (0, 0, 1))  # three of four
    opened.set()
    for call in slow:
        call.result()
    until(lambda: ask(api) and counts(api)[0] > 0)


def test_a_version_that_is_no_longer_a_shadow_is_freed(serve, models) -> None:
    api = serve(models, poll_interval_s=0)
    ask(api)
    until(lambda: counts(api)[0] == 1)
    shadow = weakref.ref(loaded(api, "2"))
    set_policy(models, labels={"stable": "1"}, pinned=["1"])
    (models / "dot" / "2" / "manifest.json").unlink()  # or it would stay loaded, as the newest version
    api.server._live.watcher.poll()
    assert api.server.repository.get("dot/2") is None
    ask(api)

    def is_freed():
        gc.collect()
        return shadow() is None

    until(is_freed)


def test_a_shadow_does_not_outlive_its_server(serve, models) -> None:
    api = serve(models)
    ask(api)
    until(lambda: any(thread.name == "shadow" for thread in threading.enumerate()))
    api.server.stop()
    assert not any(thread.name == "shadow" for thread in threading.enumerate())


def test_without_a_shadow_there_is_no_thread(serve, models) -> None:
    set_policy(models, labels={"stable": "1", "next": "2"})
    api = serve(models)
    ask(api)
    assert not any(thread.name == "shadow" for thread in threading.enumerate())


def test_the_counts_of_workers_are_added_up() -> None:
    metrics = Metrics()
    metrics.record_shadow("dot", "2", seconds=0.002, overlap=0.5)
    metrics.count_shadow("dot", "2", "dropped")
    totals = MetricTotals.from_json(json.loads(json.dumps(metrics.totals().to_json())))
    totals.add(metrics.totals())
    assert totals.shadows["dot", "2"][:FIRST_SECONDS] == [2, 0, 2]
    assert totals.shadows["dot", "2"][-1] == 1.0


@pytest.mark.parametrize(
    ("served_ids", "shadow_ids", "expected"),
    [("abcd", "abcd", 1.0), ("abcd", "dcxy", 0.5), ("abcd", "", 0.0), ("", "", 1.0), ("ab", "abcd", 0.5)],
)
def test_overlap_is_the_share_of_common_items(served_ids, shadow_ids, expected) -> None:
    assert overlap(list(served_ids), list(shadow_ids)) == expected


def test_a_policy_with_an_unknown_shadow_label_is_ignored(serve, models, caplog) -> None:
    api = serve(models, poll_interval_s=0)
    set_policy(models, labels={"stable": "2"}, shadow_percent={"next": 5})
    api.server._live.watcher.poll()
    assert "the label next is on no version" in caplog.text
    assert ask(api).model.version == "1"


def test_a_shadow_ranks_by_the_rules_of_the_request(serve, models) -> None:
    (models / "dot" / "rules.json").write_text(json.dumps({"rule_sets": {"shop": {"pins": PINS}}}))
    api = serve(models)
    ask(api, rules=RuleSet(pins=[RuleSet.Pin(**pin) for pin in PINS]))
    ask(api, rule_set="shop")
    until(lambda: counts(api) == (2, 0, 0))
    row = api.server.reporter.report().totals.shadows["dot", "2"]
    assert row[-1] == 2, "both lists are the pinned items"
