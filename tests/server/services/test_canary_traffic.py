"""The requests of a canary and of the current version are counted apart, and nothing else is."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cofactor.v1.model_pb2 import ModelRef
from cofactor.v1.recommender_pb2 import (
    BatchRecommendRequest,
    EmbedNewUserRequest,
    PredictRequest,
    Rating,
    RatingHistory,
    RecommendRequest,
    RuleSet,
    StreamRecommendRequest,
    User,
)
from cofactor_server.observability.counters import SECONDS, Metrics, MetricTotals
from tests.support import synthetic
from tests.support.waiting import until

USERS = [f"u{number:03d}" for number in range(synthetic.N_USERS)]
CURRENT, CANARY = ("dot", "1", "current"), ("dot", "2", "canary")


@pytest.fixture
def models(dot_version, versions, tmp_path):
    """Return a repository whose version 2 serves 30 % of the users."""
    for version in ("1", "2"):
        versions.copy(dot_version, tmp_path / "models", version=version)
    set_policy(tmp_path / "models", labels={"stable": "1", "canary": "2"}, canary_percent={"canary": 30})
    return tmp_path / "models"


def set_policy(models, **policy) -> None:
    (models / "dot" / "serving.json").write_text(json.dumps(policy))


def routing(api):
    return api.server._live.watcher.snapshot["dot"].routing


def users_of(api, version):
    return [user for user in USERS if routing(api).version_for(user) == version]


def counted(api):
    """Return {(model, version, role): {code: number of requests}}."""
    found = {}
    for (*share, code), cells in api.server.reporter.report().totals.canaries.items():
        found.setdefault(tuple(share), {})[code] = sum(cells[:-1])
    return found


def ask(api, user_id, **request):
    return api.recommender.Recommend(RecommendRequest(user=User(user_id=user_id), **request), timeout=10)


def test_each_version_counts_the_requests_of_its_own_users(serve, models) -> None:
    api = serve(models)
    for user in USERS:
        ask(api, user)
        ask(api, user)  # from the cache
        ask(api, user, rules=RuleSet(pins=[RuleSet.Pin(item_id="i001", position=1)]))
        api.recommender.Predict(PredictRequest(user=User(user_id=user), item_ids=["i001"]), timeout=10)
    n_canary = len(users_of(api, "2"))
    assert 0 < n_canary < len(USERS) / 2
    n_current = len(USERS) - n_canary
    until(lambda: counted(api) == {CURRENT: {"OK": 4 * n_current}, CANARY: {"OK": 4 * n_canary}})


def test_a_request_that_the_share_does_not_decide_is_not_counted(serve, models) -> None:
    api = serve(models)
    user = users_of(api, "2")[0]
    page = ask(api, user, page_size=3)
    ask(api, user, page_size=3, page_token=page.next_page_token)
    ask(api, user, model=ModelRef(version="1"))
    ask(api, user, model=ModelRef(label="canary"))
    embedding = api.recommender.EmbedNewUser(
        EmbedNewUserRequest(ratings=[Rating(item_id="i001", rating=4)]), timeout=10
    ).embedding
    for anonymous in (User(embedding=embedding), User(history=RatingHistory())):
        api.recommender.Recommend(RecommendRequest(user=anonymous), timeout=10)
    batch = BatchRecommendRequest(requests=[RecommendRequest(user=User(user_id=user))])
    api.recommender.BatchRecommend(batch, timeout=10)
    with pytest.raises(grpc.RpcError):
        ask(api, user, model=ModelRef(name="absent"))
    assert counted(api) == {CANARY: {"OK": 1}}, "the first page"


def test_the_error_of_a_canary_is_its_own(serve, models) -> None:
    api = serve(models)
    canary, (user, broken) = api.server.repository.get("dot/2"), users_of(api, "2")[:2]
    del canary.user_ids._rows[user]
    rank = canary.ranker.rank

    def fail_for_one(query):
        if query.page_size == 7:
            raise RuntimeError("out of memory")
        return rank(query)

    canary.ranker.rank = fail_for_one
    for asked, request in ((user, {}), (broken, {"page_size": 7}), (broken, {"page_size": -1})):
        with pytest.raises(grpc.RpcError):
            ask(api, asked, **request)
    ask(api, broken)
    ask(api, users_of(api, "1")[0])
    codes = {"NOT_FOUND": 1, "INTERNAL": 1, "INVALID_ARGUMENT": 1, "OK": 1}
    assert counted(api) == {CURRENT: {"OK": 1}, CANARY: codes}


def test_calls_that_run_together_are_counted_one_by_one(serve, models) -> None:
    api = serve(models, cache_mib=0)
    with ThreadPoolExecutor(16) as callers:
        served = list(callers.map(lambda n: ask(api, USERS[n % len(USERS)]).model.version, range(400)))
    assert api.server.repository.coalesces_calls
    assert counted(api) == {CURRENT: {"OK": served.count("1")}, CANARY: {"OK": served.count("2")}}


def test_a_batch_that_fails_is_counted_once_by_the_calls_that_run_alone(serve, models, caplog) -> None:
    api = serve(models, cache_mib=0)

    def fail(_queries):
        raise RuntimeError("out of memory")

    api.server.repository.get("dot/2").ranker.rank_many = fail
    with ThreadPoolExecutor(16) as callers:
        served = list(callers.map(lambda n: ask(api, USERS[n % len(USERS)]).model.version, range(200)))
    assert "its calls are run one by one" in caplog.text
    assert counted(api) == {CURRENT: {"OK": served.count("1")}, CANARY: {"OK": served.count("2")}}


def test_the_requests_of_a_stream_are_counted(serve, models) -> None:
    api = serve(models)
    requests = [StreamRecommendRequest(request_id=u, request=RecommendRequest(user=User(user_id=u))) for u in USERS]
    wrong = StreamRecommendRequest(request_id="x", request=RecommendRequest(user=User(user_id="u000"), page_size=-1))
    assert len(list(api.recommender.StreamRecommend(iter([*requests, wrong]), timeout=20))) == len(USERS) + 1
    found = counted(api)
    assert found[CURRENT]["OK"] == len(users_of(api, "1"))
    assert found[CANARY]["OK"] == len(users_of(api, "2"))
    assert sum(codes.get("INVALID_ARGUMENT", 0) for codes in found.values()) == 1


def test_the_time_of_a_slow_canary_is_seen(serve, models) -> None:
    api = serve(models, cache_mib=0)
    canary = api.server.repository.get("dot/2")
    rank = canary.ranker.rank

    def wait_and_rank(query):
        time.sleep(0.03)
        return rank(query)

    canary.ranker.rank = wait_and_rank
    for version in ("1", "2"):
        for user in users_of(api, version)[:3]:
            ask(api, user)
    totals = api.server.reporter.report().totals.canaries
    assert totals[(*CANARY, "OK")][-1] >= 3 * 0.03
    assert totals[(*CURRENT, "OK")][-1] < totals[(*CANARY, "OK")][-1]
    assert sum(totals[(*CANARY, "OK")][: SECONDS.index(0.025) + 1]) == 0, "no request was quicker than its version"


@pytest.mark.parametrize(
    "policy",
    [
        {"labels": {"stable": "1"}},
        {"labels": {"stable": "1", "canary": "2"}, "canary_percent": {"canary": 0}},
        {"labels": {"stable": "1", "canary": "1"}, "canary_percent": {"canary": 50}},
    ],
    ids=["none", "no-share", "promoted"],
)
def test_without_a_second_version_in_use_nothing_is_counted(serve, models, policy) -> None:
    set_policy(models, **policy)
    api = serve(models)
    assert not api.server.repository.has_canaries
    ask(api, USERS[0])
    assert counted(api) == {}


def test_a_promoted_canary_counts_as_current_from_then_on(serve, models) -> None:
    api = serve(models, poll_interval_s=0)
    user = users_of(api, "2")[0]
    ask(api, user)
    set_policy(models, labels={"stable": "2", "canary": "1"}, canary_percent={"canary": 1})
    api.server._live.watcher.poll()
    user = users_of(api, "2")[0]
    ask(api, user)
    assert counted(api) == {CANARY: {"OK": 1}, ("dot", "2", "current"): {"OK": 1}}


def test_the_counts_of_workers_are_added_up() -> None:
    metrics = Metrics()
    metrics.record_canary(CANARY, "OK", 0.002)
    totals = MetricTotals.from_json(json.loads(json.dumps(metrics.totals().to_json())))
    totals.add(metrics.totals())
    (cells,) = totals.canaries.values()
    assert (sum(cells[:-1]), cells[-1]) == (2, pytest.approx(0.004))
